// temporary until merged
import type { Problem } from "./errors.ts";
import { endStderr, writeToStderr as write } from "./stderr.ts";
export { endStderr as endOutput };
export const writeToStderr = write;
export function complain({ message, hint }: Problem): void {
  write(`ambassador: ${message}\n${hint === undefined ? "" : `  hint: ${hint}\n`}`);
}
export async function writeToStdout(text: string): Promise<boolean> {
  await undefined;
  console.log(text.trimEnd());
  return true;
}
