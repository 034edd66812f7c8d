// What the documents name is there: files of the repository, and where a link leads. It knows nothing of
// what they say of them. CHANGELOG.md tells of what was, and may name what is gone.

import { assert, assertEquals } from "@std/assert";
import { ROOT } from "../helpers/mod.ts";

/** A path from the repository's folder, in backticks, in an example or in a sentence. */
const PATH = /(?<![\w./-])(?:bench|build|docs|examples|src|tests)\/[\w./-]*(?<!\.)/g;

/** A link to another file: not to another place, and not to a heading of the same. */
const LINK = /\]\((?!\w+:|#)([^)#]+)/g;

/** What a document names, each with the document and the line. */
function readNames(document: string): readonly { readonly where: string; readonly url: URL }[] {
  const url = new URL(document, ROOT);
  const lines = Deno.readTextFileSync(url).split("\n");
  return lines.flatMap((line, index) => {
    const paths = [...line.matchAll(PATH)].map(([path]) => ({ name: path, base: ROOT }));
    const links = [...line.matchAll(LINK)].map(([, name = ""]) => ({ name, base: url }));
    return [...paths, ...links].map(({ name, base }) => ({
      where: `${document}:${index + 1} ${name}`,
      url: new URL(name, base),
    }));
  });
}

function exists(url: URL): boolean {
  try {
    Deno.statSync(url);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

Deno.test("every file that the documents name is there", () => {
  const documents = ["", "docs/"].flatMap((folder) =>
    [...Deno.readDirSync(new URL(folder, ROOT))].map(({ name }) => folder + name)
  ).filter((path) => path.endsWith(".md") && path !== "CHANGELOG.md");
  const names = documents.flatMap(readNames);
  for (const document of ["README.md", "ARCHITECTURE.md", "docs/tls.md"]) {
    assert(names.some(({ where }) => where.startsWith(document)), `${document} names nothing`);
  }
  const missing = names.filter(({ url }) => !exists(url)).map(({ where }) => where);
  assertEquals(missing.toSorted(), []);
});
