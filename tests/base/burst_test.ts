import { assert, assertEquals, assertMatch } from "@std/assert";
import { Bursts, flushBursts } from "../../src/base/burst.ts";
import { createLog, type Log } from "../../src/base/log.ts";
import type { LogLevel } from "../../src/base/log.ts";
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

function logTo(lines: string[], level: LogLevel = "info"): Log {
  const write = (line: string): void => void lines.push(line.replace(/^\S+ /, ""));
  return createLog({ level, format: "text", write });
}

Deno.test("Bursts.note() writes the first failure at once and the rest as one line with a count", async () => {
  const lines: string[] = [];
  const bursts = new Bursts(logTo(lines));
  const fail = (client: string): void =>
    bursts.note("warn", "connect_failed", { route: "R", client, error: "connection refused" });
  for (const client of ["a", "b", "c"]) fail(client);
  assertEquals(lines, ['WARN  connect_failed route=R client=a error="connection refused"']);
  const startMs = performance.now();
  await until(() => lines.length > 1, "the count is written");
  assert(performance.now() - startMs > 500, "too early");
  assertEquals(
    lines[1],
    'WARN  connect_failed route=R client=c error="connection refused" count=2',
  );
  fail("d");
  assertEquals(lines.length, 2);
  bursts.flush();
  assertEquals(
    lines[2],
    'WARN  connect_failed route=R client=d error="connection refused" count=1',
  );
});

Deno.test("Bursts.note() writes a failure that comes after a quiet second at once again", async () => {
  const lines: string[] = [];
  const bursts = new Bursts(logTo(lines));
  bursts.note("warn", "connect_failed", { error: "x" });
  // A timer that is set later, for longer, fires later.
  await new Promise((resolve) => setTimeout(resolve, 1100));
  bursts.note("warn", "connect_failed", { error: "x" });
  assertEquals(lines, ["WARN  connect_failed error=x", "WARN  connect_failed error=x"]);
  bursts.flush();
});

Deno.test("Bursts.note() keeps failures of different kinds apart", () => {
  const lines: string[] = [];
  const bursts = new Bursts(logTo(lines));
  bursts.note("warn", "connect_failed", { error: "connection refused" });
  bursts.note("warn", "connect_failed", { error: "no route to host" });
  bursts.note("error", "loop_detected", {});
  bursts.note("error", "loop_detected", {});
  bursts.flush();
  assertEquals(lines, [
    'WARN  connect_failed error="connection refused"',
    'WARN  connect_failed error="no route to host"',
    "ERROR loop_detected",
    "ERROR loop_detected count=1",
  ]);
});

Deno.test("Bursts.note() leaves nothing out at debug", () => {
  const lines: string[] = [];
  const bursts = new Bursts(logTo(lines, "debug"));
  for (let i = 0; i < 10; i++) bursts.note("warn", "connect_failed", { error: "x" });
  bursts.flush();
  assertEquals(lines, Array(10).fill("WARN  connect_failed error=x"));
});

Deno.test("flushBursts() writes the counts of all routes", () => {
  const lines: string[] = [];
  for (const route of ["A", "B"]) {
    const bursts = new Bursts(logTo(lines));
    bursts.note("warn", "connect_failed", { route });
    bursts.note("warn", "connect_failed", { route });
  }
  flushBursts();
  flushBursts();
  assertEquals(lines, [
    "WARN  connect_failed route=A",
    "WARN  connect_failed route=B",
    "WARN  connect_failed route=A count=1",
    "WARN  connect_failed route=B count=1",
  ]);
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
