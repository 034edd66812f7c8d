// `--help` and `--version`.

import { writeToStdout } from "../base/stdio.ts";
import type { Command } from "../config/command_line.ts";
import { usage } from "../config/help.ts";
import { type CommandContext, EXIT } from "./command.ts";

/** Prints the help. */
export async function help(): Promise<number> {
  return await writeToStdout(usage()) ? EXIT.finished : EXIT.failed;
}

/** Prints the version. */
export async function version(_: Command, { version }: CommandContext): Promise<number> {
  return await writeToStdout(`ambassador ${version}\n`) ? EXIT.finished : EXIT.failed;
}
