// What tests of YAML files rely on: the part of YAML that they are written in is read, and the rest is
// refused.

import { assertEquals, assertThrows } from "@std/assert";
import { parseYaml } from "./yaml.ts";

Deno.test("parseYaml() reads maps, lists, text and numbers", () => {
  const text = [
    "# a comment",
    "a: some text",
    "b:",
    "  - c: 1",
    '    d: [x, "y: z", true]',
    "  - plain",
    "e:",
    "- at the same depth",
    "f: |",
    "  two",
    "   lines",
    'g: "quo\\"ted"',
    "h:",
    "---",
    "i: tcp://host:1",
  ].join("\n");
  assertEquals(parseYaml(text), [
    {
      a: "some text",
      b: [{ c: 1, d: ["x", "y: z", true] }, "plain"],
      e: ["at the same depth"],
      f: "two\n lines\n",
      g: 'quo"ted',
      h: null,
    },
    { i: "tcp://host:1" },
  ]);
});

Deno.test("parseYaml() refuses what it does not know", () => {
  for (
    const text of [
      "a: &anchor x",
      "a: *alias",
      "a: !tag x",
      "a: { b: c }",
      "a: [b, [c]]",
      "a: >",
      "a: 'b'",
      "a: b: c",
      "a: b # comment",
      "a: 1\na: 2",
      "a: x\n  b: y",
      "\ta: x",
      "a: yes",
      "just text",
      "a: [b,\n  c]",
    ]
  ) {
    assertThrows(() => parseYaml(text), SyntaxError, "line ");
  }
});
