// Writes what a release has beside its executables: SHA256SUMS over them, and the notes, which are
// the version's section of CHANGELOG.md. Refuses a tag that is not the version of deno.json.

import config from "../deno.json" with { type: "json" };

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

async function write(tag: string): Promise<void> {
  checkTag(tag, config.version);
  const notes = notesOf(await Deno.readTextFile("CHANGELOG.md"), config.version);
  const names = [...Deno.readDirSync("dist")].map(({ name }) => name)
    .filter((name) => name.startsWith("ambassador-")).sort();
  const lines: string[] = [];
  for (const name of names) lines.push(await sumLine(name, await Deno.readFile(`dist/${name}`)));
  await Deno.writeTextFile("dist/SHA256SUMS", lines.join(""));
  await Deno.writeTextFile("dist/NOTES.md", notes);
}

if (import.meta.main) {
  try {
    await write(Deno.args[0] ?? "");
  } catch (error) {
    console.error(`release: ${error instanceof Error ? error.message : error}`);
    Deno.exit(1);
  }
}
