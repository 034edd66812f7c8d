// What somebody sees who runs the tests on a machine that lacks something.

import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { pathOf } from "../../build/sources.ts";
import { cacheVariables, within } from "./mod.ts";
import { JSR, needs, programPath } from "./needs.ts";

/** Tests of which some need what no machine has. */
const LACKING = `
import { needs, programPath } from ${JSON.stringify(import.meta.resolve("./needs.ts"))};
const SNOW = { name: "snow", isHere: false };
Deno.test("needs nothing", () => {});
Deno.test("needs a program", needs("no-such-program"), () => void programPath("no-such-program"));
Deno.test("needs it too", needs("no-such-program"), () => void programPath("no-such-program"));
Deno.test("needs snow", needs(SNOW), () => { throw new Error("no snow"); });
Deno.test("needs both", needs(SNOW, "no-such-program"), () => { throw new Error("neither"); });
`;

/** Runs those tests in a Deno of their own: the status, the last line, and what is said before. */
async function run(env: Record<string, string>): Promise<{ code: number; out: string }> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${folder}/tests`);
    await Deno.writeTextFile(`${folder}/tests/lacking_test.ts`, LACKING);
    const map = JSR.isHere ? "deno.json" : "offline/import_map.json";
    const command = new Deno.Command(Deno.execPath(), {
      args: ["test", "-A", "--no-check", `--import-map=${pathOf(map)}`, `${folder}/tests`],
      clearEnv: true,
      env: { ...cacheVariables(), ...env, NO_COLOR: "1" },
    });
    const { code, stdout, stderr } = await within(command.output(), "the tests to end", 60_000);
    const decoder = new TextDecoder();
    return { code, out: decoder.decode(stderr) + decoder.decode(stdout) };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("needs() has a test ignored that lacks something, and says once what", async () => {
  const { code, out } = await run({});
  assertEquals(code, 0, out);
  assertMatch(out, /^ok \| 1 passed \| 0 failed \| 4 ignored/m);
  assertEquals(out.match(/^ignored in tests\/lacking_test.ts: what needs .*$/gm), [
    "ignored in tests/lacking_test.ts: what needs no-such-program",
    "ignored in tests/lacking_test.ts: what needs snow",
  ]);
});

Deno.test("needs() lets a test fail for want of a program where all are needed", async () => {
  const { code, out } = await run({ AMBASSADOR_TESTS_NEED_ALL: "1" });
  assertEquals(code, 1, out);
  assertMatch(out, /^FAILED \| 1 passed \| 2 failed \| 2 ignored/m);
  assertMatch(out, /no-such-program is not installed/);
});

Deno.test("needs() has a test run that lacks nothing", () => {
  assertEquals(needs("sh"), { ignore: false });
  assertMatch(programPath("sh"), /\/sh$/);
  assertThrows(() => programPath("no-such-program"), Error, "no-such-program is not installed");
});
