import { assert, assertEquals, assertMatch } from "@std/assert";
import { Bursts } from "../../src/base/burst.ts";
import {
  freePort,
  readExactly,
  readText,
  startEcho,
  startProgram,
  until,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { linesOf, startRoute } from "../helpers/process.ts";

/** Notes failures of a kind, and collects what is written. */
function startBursts(): { bursts: Bursts; lines: string[]; fail(kind: string, who: string): void } {
  const bursts = new Bursts();
  const lines: string[] = [];
  const fail = (kind: string, who: string): void =>
    bursts.note(kind, (count) => void lines.push(`${kind} ${who} ${count ?? "first"}`));
  return { bursts, lines, fail };
}

Deno.test("Bursts.note() writes the first failure at once and the rest as one line with a count", async () => {
  const { bursts, lines, fail } = startBursts();
  for (const who of ["a", "b", "c"]) fail("refused", who);
  assertEquals(lines, ["refused a first"]);
  const startMs = performance.now();
  await until(() => lines.length > 1, "the count is written");
  assert(performance.now() - startMs > 500, "too early");
  assertEquals(lines[1], "refused c 2");
  fail("refused", "d");
  assertEquals(lines.length, 2);
  bursts.flush();
  assertEquals(lines[2], "refused d 1");
});

Deno.test("Bursts.note() writes a failure that comes after a quiet second at once again", async () => {
  const { bursts, lines, fail } = startBursts();
  fail("refused", "a");
  // A timer that is set later, for longer, fires later.
  await new Promise((resolve) => setTimeout(resolve, 1100));
  fail("refused", "b");
  assertEquals(lines, ["refused a first", "refused b first"]);
  bursts.flush();
});

Deno.test("Bursts.note() keeps failures of different kinds apart", () => {
  const { bursts, lines, fail } = startBursts();
  for (const kind of ["refused", "loop", "refused", "loop"]) fail(kind, "a");
  bursts.flush();
  bursts.flush();
  assertEquals(lines, ["refused a first", "loop a first", "refused a 1", "loop a 1"]);
});

Deno.test("ambassador logs an upstream that is down under load in few lines, and loses no count", async () => {
  const port = freePort();
  await using program = startProgram([`127.0.0.1:${port}=127.0.0.1:${freePort()}`]);
  await program.line(/ ready /);
  const clients = 300;
  for (let i = 0; i < clients; i++) {
    using client = await Deno.connect({ hostname: "127.0.0.1", port });
    await readText(client);
  }
  program.kill("SIGTERM");
  await within(program.status, "the end");
  const lines = linesOf(program, "connect_failed");
  assert(lines.length <= 10, `${lines.length} lines`);
  assertMatch(lines[0] ?? "", / error="connection refused"$/);
  assertEquals(countOf(lines), clients);
});

Deno.test("ambassador loses no count of failures when a second signal ends it", async () => {
  await using upstream = startEcho();
  const port = freePort();
  const { program, address } = await startRoute(upstream.address, {
    args: [`127.0.0.1:${port}=127.0.0.1:${freePort()}`],
  });
  await using _program = program;
  // The first signal waits for it, the second does not.
  using held = await Deno.connect(address);
  await writeAll(held, "x");
  assertEquals(await readExactly(held, 1), "x");
  for (let i = 0; i < 5; i++) {
    using client = await Deno.connect({ hostname: "127.0.0.1", port });
    await readText(client);
  }
  program.kill("SIGTERM");
  await program.line(/ draining /);
  program.kill("SIGTERM");
  assertEquals((await within(program.status, "the end")).code, 143);
  assertEquals(countOf(linesOf(program, "connect_failed")), 5);
});

/** How many failures the lines stand for. */
function countOf(lines: readonly string[]): number {
  const counts = lines.map((line) => Number(/ count=(\d+)$/.exec(line)?.[1] ?? 1));
  return counts.reduce((sum, count) => sum + count, 0);
}
