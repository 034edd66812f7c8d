// The man page, as roff and mandoc read it: without a warning, and with everything in it that the help
// and the table of options have.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { manual, writeManual } from "../../build/manual.ts";
import { EXAMPLES, STATUSES, TIMES } from "../../src/config/help.ts";
import { COMMANDS, SPECS, variableOf } from "../../src/config/options.ts";
import "../helpers/mod.ts";
import { needs } from "../helpers/needs.ts";
import { run } from "../helpers/run.ts";

const TEXT = manual({ version: "1.2.3", date: "2026-11-27" });

/** The page as a reader sees it, in wide lines. */
async function render(): Promise<string> {
  const { code, text, stderr } = await run(
    "groff",
    ["-man", "-ww", "-Tascii", "-rLL=900n", "-P-cbu"],
    {
      stdin: TEXT,
    },
  );
  assertEquals([code, stderr], [0, ""]);
  return text;
}

Deno.test(
  "manual() is read by groff and mandoc without a warning",
  needs("groff", "mandoc"),
  async () => {
    const roff = await run("groff", ["-man", "-ww", "-z"], { stdin: TEXT });
    assertEquals([roff.code, roff.stderr], [0, ""]);
    // All but matters of style: an example is longer than 80 columns.
    const lint = await run("mandoc", ["-T", "lint", "-W", "warning"], { stdin: TEXT });
    assertEquals([lint.code, lint.text, lint.stderr], [0, "", ""]);
  },
);

Deno.test(
  "manual() names every option, command, exit status and example",
  needs("groff"),
  async () => {
    const lines = (await render()).split("\n").map((line) => line.trim());
    for (const { name, kind, help, route, ...spec } of SPECS) {
      const head = `--${name} ${kind.placeholder}`.trim() + (route ? " *" : "");
      const at = lines.indexOf(head);
      assert(at > 0, head);
      const text = lines[at + 1] ?? "";
      assert(text.startsWith(`${help}.`), text);
      assert(text.endsWith(`Variable: ${variableOf(name)}.`), text);
      for (const choice of kind.choices ?? []) assert(text.includes(choice), text);
      if (spec.default !== undefined) assert(text.includes(`Default: ${spec.default}.`), text);
    }
    for (const command of COMMANDS) {
      assert(lines.some((line) => line.startsWith(`ambassador ${command} `)), command);
    }
    for (const { status } of STATUSES) {
      assert(lines.some((line) => line === status || line.startsWith(`${status} `)), status);
    }
    for (const example of EXAMPLES) assert(lines.includes(example), example);
    assert(lines.some((line) => line.includes(TIMES)), TIMES);
    assertMatch(lines[0] ?? "", /^AMBASSADOR\(1\)/);
    assertMatch(lines.at(-2) ?? "", /^ambassador 1\.2\.3 +2026-11-27/);
  },
);

Deno.test("manual() lets no text act as a request, and keeps dashes that can be copied", () => {
  for (const line of TEXT.split("\n")) {
    assert(!/^'/.test(line), line);
    if (line.startsWith(".")) assertMatch(line, /^\.(?:\\"|[A-Z]{2}\b|[Bb]r?\b|nh|ad)/);
    else assert(!/(?<!\\)-/.test(line), line);
  }
});

Deno.test("writeManual() takes its day from SOURCE_DATE_EPOCH, so that a build can be repeated", async () => {
  const folder = await Deno.makeTempDir();
  const before = Deno.env.get("SOURCE_DATE_EPOCH");
  try {
    Deno.env.set("SOURCE_DATE_EPOCH", "86400");
    const path = await writeManual(folder);
    assert((await Deno.readTextFile(path)).includes('"1970-01-02"'));
  } finally {
    if (before === undefined) Deno.env.delete("SOURCE_DATE_EPOCH");
    else Deno.env.set("SOURCE_DATE_EPOCH", before);
    await Deno.remove(folder, { recursive: true });
  }
});
