// Writes what a release has beside its executables: completions, the man page, the files for systemd,
// the list of what is in the executables, SHA256SUMS over all of it, and the notes, which are the
// version's section of CHANGELOG.md. Refuses a tag that is not the version of deno.json, and
// executables that do not hold what the list says.

import config from "../deno.json" with { type: "json" };
import { parseOptions } from "./arguments.ts";
import { outputOf, TARGETS } from "./compile.ts";
import { writeCompletions } from "./completions.ts";
import { missingModules } from "./embedded.ts";
import { run } from "./engine.ts";
import { readOrigin } from "./image.ts";
import { writeManual } from "./manual.ts";
import { type Module, readModules, sbom } from "./sbom.ts";
import { pathOf } from "./sources.ts";
import { buildTimeMs } from "./time.ts";

/** What is written, and where to. */
export interface ReleaseOptions {
  /** The tag: `v` and the version. */
  readonly tag: string;
  /** The import map that the executables were made with. */
  readonly importMap: string;
  /** Where the executables are, all that a release has, and where the rest goes. */
  readonly folder: string;
  /** The text of CHANGELOG.md. */
  readonly changelog: string;
}

/** Beside the executables, what of a release is published; SHA256SUMS is over all of it. */
export const EXTRAS = [
  "ambassador-completions.tar.gz",
  "ambassador.1",
  "ambassador.env",
  "ambassador.service",
  "ambassador.spdx.json",
] as const;

/**
 * The section of a changelog for one version, without its heading.
 *
 * @throws {SyntaxError} if there is none, or it is empty
 */
export function notesOf(changelog: string, version: string): string {
  const sections = changelog.split(/^## /m).slice(1);
  const isWanted = (section: string): boolean => /^\[?([^\s\]]+)/.exec(section)?.[1] === version;
  const section = sections.find(isWanted);
  if (section === undefined) throw new SyntaxError(`CHANGELOG.md: no section "## ${version}"`);
  const [, ...lines] = section.split("\n");
  const notes = lines.join("\n").trim();
  if (notes === "") throw new SyntaxError(`CHANGELOG.md: nothing stands under "## ${version}"`);
  return `${notes}\n`;
}

/** The line of `sha256sum` for a file. */
export async function sumLine(name: string, content: Uint8Array<ArrayBuffer>): Promise<string> {
  const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", content)).toHex();
  return `${sum}  ${name}\n`;
}

/**
 * Refuses a tag that is not `v` and the version.
 *
 * @throws {SyntaxError} saying which version it should be
 */
export function checkTag(tag: string, version: string): void {
  if (tag !== `v${version}`) throw new SyntaxError(`tag ${tag}: deno.json says ${version}`);
}

/**
 * Refuses the stand-ins for the packages: what is released is made of the packages.
 *
 * @throws {Error} saying what is wrong
 */
export function checkImports(importMap: string): void {
  if (importMap === "deno.json") return;
  throw new Error(
    `${importMap}: stands in for the packages; a release is made where JSR can be reached`,
  );
}

/**
 * Writes all that a release has beside its executables.
 *
 * @returns the names of the files that the sums are over
 * @throws {Error} if the tag is of another version, the changelog has no notes, or an executable is
 * missing or does not hold the modules
 */
export async function writeRelease(
  { tag, importMap, folder, changelog }: ReleaseOptions,
): Promise<string[]> {
  checkTag(tag, config.version);
  const notes = notesOf(changelog, config.version);
  const executables = await readExecutables(folder);
  const modules = await readModules(importMap);
  for (const [name, content] of Object.entries(executables)) {
    checkModules(`${folder}/${name}`, content, modules);
  }
  await writeCompletions(`${folder}/completions`);
  await pack(folder);
  await writeManual(folder);
  for (const name of ["ambassador.env", "ambassador.service"]) {
    await Deno.copyFile(pathOf(`examples/systemd/${name}`), `${folder}/${name}`);
  }
  const { source, revision } = readOrigin();
  const list = await sbom(modules, {
    executables,
    createdMs: buildTimeMs(),
    origin: source === "" ? undefined : { repository: source, revision },
  });
  await Deno.writeTextFile(`${folder}/ambassador.spdx.json`, `${JSON.stringify(list, null, 2)}\n`);
  const names = [...Object.keys(executables), ...EXTRAS].sort();
  const lines: string[] = [];
  for (const name of names) {
    lines.push(await sumLine(name, await Deno.readFile(`${folder}/${name}`)));
  }
  await Deno.writeTextFile(`${folder}/SHA256SUMS`, lines.join(""));
  await Deno.writeTextFile(`${folder}/NOTES.md`, notes);
  return names;
}

/** Every executable of a release, by its name. */
async function readExecutables(folder: string): Promise<Record<string, Uint8Array<ArrayBuffer>>> {
  const executables: Record<string, Uint8Array<ArrayBuffer>> = {};
  for (const target of Object.keys(TARGETS)) {
    const name = outputOf(target).slice("dist/".length);
    try {
      executables[name] = await Deno.readFile(`${folder}/${name}`);
    } catch (cause) {
      if (!(cause instanceof Deno.errors.NotFound)) throw cause;
      throw new Error(`${folder}/${name}: missing; deno task compile:all makes it`, { cause });
    }
  }
  return executables;
}

/** Refuses an executable that is not made of the modules. */
function checkModules(
  path: string,
  content: Uint8Array<ArrayBuffer>,
  modules: readonly Module[],
): void {
  const [first, ...more] = missingModules(content, modules);
  if (first === undefined) return;
  const others = more.length === 0 ? "" : ` and ${more.length} more`;
  throw new Error(`${path}: does not hold ${first}${others}; deno task compile:all makes it`);
}

/** Packs the completions, so that the same ones always make the same archive. Needs GNU tar. */
async function pack(folder: string): Promise<void> {
  const same = ["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mode=u=rwX,go=rX"];
  const time = `--mtime=@${Math.floor(buildTimeMs() / 1000)}`;
  const archive = `--file=${folder}/ambassador-completions.tar.gz`;
  const args = [
    "--create",
    "--gzip",
    ...same,
    time,
    archive,
    `--directory=${folder}`,
    "completions",
  ];
  const { code, stderr } = await run(["tar", ...args]);
  if (code !== 0) throw new Error(`tar: ${stderr.trim()}`);
}

/**
 * Reads `--tag TAG [--import-map FILE]`.
 *
 * @throws {SyntaxError} if it can't be read
 */
export function parseReleaseCommand(
  args: readonly string[],
): Pick<ReleaseOptions, "tag" | "importMap"> {
  const values = parseOptions(args, { tag: { type: "string" }, "import-map": { type: "string" } });
  if (values.tag === undefined) throw new SyntaxError("--tag is missing");
  return { tag: values.tag, importMap: values["import-map"] ?? "deno.json" };
}

if (import.meta.main) {
  try {
    const asked = parseReleaseCommand(Deno.args);
    checkTag(asked.tag, config.version);
    checkImports(asked.importMap);
    const changelog = await Deno.readTextFile(pathOf("CHANGELOG.md"));
    const names = await writeRelease({ ...asked, folder: "dist", changelog });
    console.log([...names, "SHA256SUMS", "NOTES.md"].map((name) => `dist/${name}`).join("\n"));
  } catch (error) {
    console.error(`release: ${error instanceof Error ? error.message : error}`);
    Deno.exit(1);
  }
}
