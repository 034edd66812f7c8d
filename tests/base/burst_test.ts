import { assert, assertEquals, assertMatch } from "@std/assert";
import { createLog, type LogEvent } from "../../src/base/log.ts";
import { endOutput } from "../../src/base/stdio.ts";
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

/** Logs failures of a kind, and collects what is written. */
function startBursts(): { lines: string[]; fail(kind: LogEvent, who: string): void } {
  const lines: string[] = [];
  const write = (line: string): void => void lines.push(line.replace(/^\S+ WARN {2}/, ""));
  const log = createLog({ level: "info", format: "text", write });
  const fail = (kind: LogEvent, who: string): void => log.repeated("warn", kind, { who });
  return { lines, fail };
}

Deno.test("Log.repeated() writes the first failure at once and the rest as one line with a count", async () => {
  const { lines, fail } = startBursts();
  for (const who of ["a", "b", "c"]) fail("not_allowed", who);
  assertEquals(lines, ["not_allowed who=a"]);
  const startMs = performance.now();
  await until(() => lines.length > 1, "the count is written");
  assert(performance.now() - startMs > 500, "too early");
  assertEquals(lines[1], "not_allowed who=c count=2");
  fail("not_allowed", "d");
  assertEquals(lines.length, 2);
  await endOutput();
  assertEquals(lines[2], "not_allowed who=d count=1");
});

Deno.test("Log.repeated() writes a failure that comes after a quiet second at once again", async () => {
  const { lines, fail } = startBursts();
  fail("not_allowed", "a");
  // A timer that is set later, for longer, fires later.
  await new Promise((resolve) => setTimeout(resolve, 1100));
  fail("not_allowed", "b");
  assertEquals(lines, ["not_allowed who=a", "not_allowed who=b"]);
  await endOutput();
});

Deno.test("Log.repeated() keeps failures of different kinds apart", async () => {
  const { lines, fail } = startBursts();
  for (const kind of ["not_allowed", "loop_detected", "not_allowed", "loop_detected"] as const) {
    fail(kind, "a");
  }
  await endOutput();
  await endOutput();
  const firsts = ["not_allowed who=a", "loop_detected who=a"];
  assertEquals(lines, [...firsts, ...firsts.map((line) => `${line} count=1`)]);
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
