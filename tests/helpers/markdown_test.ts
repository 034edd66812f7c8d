// What tests of the documents rely on: code is found wherever it stands, and read as a shell reads it.

import { assertEquals } from "@std/assert";
import { anchorsOf, commandsOf, parseDocument } from "./markdown.ts";

const TEXT = `# \`check\`, and more: it's \`--all\`

    indented

- a list

  \`\`\`sh mistake
  in a list
    deeper
  \`\`\`

\`\`\`text
# no heading
\`\`\`
## Again
## [Again](x.md)
`;

Deno.test("parseDocument() finds code between fences, in lists and indented", () => {
  const { blocks } = parseDocument("x.md", TEXT);
  assertEquals(blocks.map(({ info, line, text }) => [info.join(" "), line, text]), [
    ["", 3, "indented"],
    ["sh mistake", 8, "in a list\n  deeper"],
    ["text", 13, "# no heading"],
  ]);
});

Deno.test("anchorsOf() names headings as GitHub does", () => {
  assertEquals([...anchorsOf(parseDocument("x.md", TEXT))], [
    "check-and-more-its---all",
    "again",
    "again-1",
  ]);
});

Deno.test("commandsOf() takes lines apart as a shell does", () => {
  const text = [
    "# a comment",
    "$ A=1 B='x y' run 'one two' \"three\"four \\",
    "    five # six",
    "run --x=1 && other",
    "run >file",
    "run 2>file",
    "A=1",
  ].join("\n");
  assertEquals(
    commandsOf({ text }).map(({ line, env, words }) => [line, env, words]),
    [
      [0, {}, []],
      [1, { A: "1", B: "x y" }, ["run", "one two", "threefour", "five"]],
      [3, {}, ["run", "--x=1"]],
      [4, {}, ["run"]],
      [5, {}, ["run"]],
      [6, { A: "1" }, []],
    ],
  );
});
