// How the program is run from its sources: the same for the tests, the bench and the executables, and
// the same as in the task `start`.

import config from "../deno.json" with { type: "json" };

const ROOT = new URL("../", import.meta.url);

/** The flags of V8 in the task `start`: small idle connections, and memory given back after a rush. */
export const V8_FLAGS: readonly string[] = v8Flags(config.tasks.start.command);

/**
 * What a shell line gives to V8.
 *
 * @throws {Error} if that is nothing: what is made here would be without it, and nobody would see
 */
export function v8Flags(shellLine: string): readonly string[] {
  const flags = shellLine.match(/--v8-flags=\S+/g);
  if (flags === null) throw new Error(`deno.json: no --v8-flags in the task start: ${shellLine}`);
  return flags;
}

/** Whether the packages themselves are in use, and not what stands in for them. */
export function hasPackages(): boolean {
  // Not "whether it is jsr:…": once a package is loaded, its name resolves to where it came from.
  return !import.meta.resolve("@std/cli/parse-args").startsWith(`${ROOT}offline/`);
}

/** The path of a file of the repository, whatever stands in the path of its folder. */
export function pathOf(name: string): string {
  return decodeURIComponent(new URL(name, ROOT).pathname);
}

/**
 * The Deno that runs this, and the arguments that make it run the program.
 *
 * @param folder The checkout that the program is in; this one unless given.
 */
export function sourceCommand(folder = pathOf("").slice(0, -1)): string[] {
  const map = hasPackages() ? "deno.json" : "offline/import_map.json";
  const options = ["-q", "-P", ...V8_FLAGS, `--config=${folder}/deno.json`];
  return [Deno.execPath(), "run", ...options, `--import-map=${folder}/${map}`, `${folder}/main.ts`];
}
