// Reads the file that `--routes` names. What it holds is no concern of this.

import type { Problem } from "../base/errors.ts";
import { formatPath } from "../config/path.ts";
import type { RoutesFile } from "../config/routes_file.ts";

/** The file of routes, or why it can't be read. */
export async function readRoutesFile(path: string): Promise<RoutesFile | Problem> {
  try {
    return { path, text: await Deno.readTextFile(path), mayEverybodyWrite: false };
  } catch {
    return { message: `--routes ${formatPath(path)}: it can't be read` };
  }
}
