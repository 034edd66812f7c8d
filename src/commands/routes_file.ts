// Reads the file that `--routes` names. What it holds is no concern of this.

import type { Problem } from "../base/errors.ts";
import { explainFile, mayEverybodyWrite, readSmallFile } from "../base/files.ts";
import { formatPath } from "../config/path.ts";
import type { RoutesFile } from "../config/routes_file.ts";

/** The file of routes, or why it can't be read. */
export async function readRoutesFile(path: string): Promise<RoutesFile | Problem> {
  return await routesFileOf(path, await readSmallFile(path).catch((error) => error));
}

/** The same of a text that was read, or of what kept it from being read. */
export async function routesFileOf(
  path: string,
  text: string | Error,
): Promise<RoutesFile | Problem> {
  if (typeof text === "string") {
    return { path, text, mayEverybodyWrite: await mayEverybodyWrite(path) };
  }
  const { reason, hint } = explainFile(text, path);
  return { message: `--routes ${formatPath(path)}: ${reason}`, hint };
}
