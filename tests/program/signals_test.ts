// The signals of the system: which of them stop the real program, and which are not its business.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import {
  freePort,
  isRefused,
  type Program,
  programCommand,
  readExactly,
  readText,
  startEcho,
  startProgram,
  until,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { LINUX, needs, programPath, UNIX } from "../helpers/needs.ts";
import { linesOf, startRoute } from "../helpers/process.ts";
import { type Fed, feed } from "../helpers/run.ts";

/** Whether a process does something of its own at a signal (proc(5), SigCgt). */
function catches(pid: number, number: number): boolean {
  const caught = /SigCgt:\s*([0-9a-f]+)/.exec(Deno.readTextFileSync(`/proc/${pid}/status`))?.[1];
  return (BigInt(`0x${caught ?? 0}`) >> BigInt(number - 1) & 1n) === 1n;
}

Deno.test({
  name: "--drain-timeout 0 waits for open connections for as long as they take",
  ...needs(UNIX),
}, async () => {
  await using upstream = startEcho();
  const { program, address } = await startRoute(upstream.address, {
    args: ["--drain-timeout", "0"],
  });
  await using _program = program;
  using client = await Deno.connect(address);
  await writeAll(client, "before");
  await readExactly(client, 6);
  program.kill("SIGTERM");
  await until(() => isRefused(address), "new clients are refused");
  // Time enough for a deadline of nothing to have cut it.
  for (let i = 0; i < 50; i++) {
    await writeAll(client, "x");
    assertEquals(await readExactly(client, 1), "x");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await client.closeWrite();
  assertEquals(await readText(client), "");
  assertEquals((await within(program.status, "the end")).code, 0);
  assertMatch(program.stderr, / INFO {2}draining connections=\d .*timeout=0( hint=".*")?\n/);
  assertMatch(program.stderr, / INFO {2}stopped cut_off=0\n$/);
});

Deno.test("a stop signal tells that a second one ends at once, and the second tells what it cuts off", async () => {
  const stopped = async (signal: Deno.Signal, args: readonly string[]): Promise<Program> => {
    await using upstream = startEcho();
    const { program, address } = await startRoute(upstream.address, { args });
    await using _program = program;
    using one = await Deno.connect(address);
    using another = await Deno.connect(address);
    for (const client of [one, another]) {
      await writeAll(client, "x");
      await readExactly(client, 1);
    }
    program.kill(signal);
    await program.line(/draining/);
    program.kill(signal);
    const { code } = await within(program.status, "the end", 5000);
    assertEquals(code, signal === "SIGINT" ? 130 : 143);
    return program;
  };
  const text = await stopped("SIGTERM", ["--drain-timeout", "1h"]);
  const [draining = "", ...others] = linesOf(text, "draining");
  assertStringIncludes(
    draining,
    ' INFO  draining connections=2 delay=0 timeout=1h hint="a second signal ends at once"',
  );
  assertEquals(others, []);
  const end = / WARN {2}stopped cut_off=2 reason="a second signal" signal=SIGTERM\n$/;
  assertMatch(text.stderr, end);
  assertEquals(linesOf(text, "stopped").length, 1);
  const json = await stopped("SIGINT", ["--log-format", "json"]);
  const lines = json.stderr.trimEnd().split("\n").map((line) => JSON.parse(line));
  const [, , first, second] = lines;
  assertEquals(lines.length, 4);
  assertEquals([first.event, first.hint], ["draining", "a second signal ends at once"]);
  const { time: _, ...rest } = second;
  const reason = "a second signal";
  assertEquals(rest, { level: "WARN", event: "stopped", cut_off: 2, reason, signal: "SIGINT" });
});

Deno.test("two stop signals in one moment end with the line that tells the end", async () => {
  await using upstream = startEcho();
  const { program, address } = await startRoute(upstream.address);
  await using _program = program;
  using client = await Deno.connect(address);
  await writeAll(client, "x");
  await readExactly(client, 1);
  for (const signal of ["SIGINT", "SIGTERM"] as const) program.kill(signal);
  assert([130, 143].includes((await within(program.status, "the end", 5000)).code));
  assertMatch(program.stderr, / WARN {2}stopped cut_off=1 reason="a second signal" .*\n$/);
});

Deno.test("a stop signal speaks of no second one where nothing is open", async () => {
  await using program = startProgram([`127.0.0.1:${freePort()}=127.0.0.1:${freePort()}`]);
  await program.line(/ ready /);
  program.kill("SIGINT");
  assertEquals((await within(program.status, "the end")).code, 0);
  assertMatch(
    program.stderr,
    / draining connections=0 delay=0 timeout=8s\n.* stopped cut_off=0\n$/,
  );
});

/** The program on a terminal, with a client, and what it shows there. */
interface OnTerminal extends AsyncDisposable {
  readonly terminal: Fed;
  shows(text: string): Promise<void>;
  /** Lets the client be served for so long, in milliseconds. */
  serves(forMs: number): Promise<void>;
}

async function startOnTerminal(): Promise<OnTerminal> {
  await using opened = new AsyncDisposableStack();
  const upstream = opened.use(startEcho());
  const port = freePort();
  const route = `127.0.0.1:${port}=127.0.0.1:${upstream.address.port}`;
  const command = [...programCommand(), "--drain-timeout", "1h", route];
  const line = `exec ${command.map((word) => `'${word}'`).join(" ")}`;
  const terminal = opened.use(feed("script", ["-qec", line, "/dev/null"]));
  const shows = (text: string): Promise<void> =>
    until(() => terminal.text.includes(text), `the terminal shows ${text}`);
  await shows(" ready ");
  const client = opened.use(await Deno.connect({ hostname: "127.0.0.1", port }));
  async function serves(forMs: number): Promise<void> {
    const endMs = performance.now() + forMs;
    do {
      await writeAll(client, "x");
      await readExactly(client, 1);
    } while (performance.now() < endMs);
  }
  await serves(0);
  const all = opened.move();
  return { terminal, shows, serves, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

Deno.test({
  name: "Ctrl-C on a terminal leaves whole lines, and a second one ends at once",
  ...needs(LINUX, "script"),
}, async () => {
  await using scene = await startOnTerminal();
  const { terminal } = scene;
  await terminal.write("\x03");
  await scene.shows(" draining ");
  // By then it is a person's.
  await scene.serves(200);
  await terminal.write("\x03");
  const { code, text } = await within(terminal.result, "the end");
  assertEquals(code, 130);
  // Where the terminal has written ^C the line begins again.
  assertMatch(
    text,
    /\n\^C\r\d{4}-\S+ INFO {2}draining .*\r\n\^C\r\d{4}-\S+ WARN {2}stopped .*\r\n$/,
  );
});

Deno.test({
  name: "a Ctrl-C that a task runner hands on once more is no second one",
  ...needs(LINUX, "script"),
}, async () => {
  for (let tries = 0; tries < 10; tries++) {
    await using scene = await startOnTerminal();
    const sinceMs = performance.now();
    await scene.terminal.write("\x03");
    await scene.shows(" draining ");
    await scene.terminal.write("\x03");
    // A busy machine may have made a person's of it.
    if (performance.now() - sinceMs > 25) continue;
    await scene.serves(200);
    assertEquals(scene.terminal.text.includes(" stopped "), false, scene.terminal.text);
    return;
  }
  throw new Error("this machine is too busy to hand anything on at once");
});

Deno.test({
  name: "SIGHUP ends a program on a terminal by the system's default",
  ...needs(LINUX, "script"),
}, async () => {
  const route = `127.0.0.1:${freePort()}=127.0.0.1:${freePort()}`;
  await using program = startProgram([], {
    command: [
      programPath("script"),
      ...[
        "-qec",
        `${programCommand().join(" ")} ${route} & echo pid=$!.; wait $!; echo status=$?.`,
      ],
      "/dev/null",
    ],
  });
  const [, pid] = await program.output(/pid=(\d+)\./);
  await program.output(/ ready /);
  Deno.kill(Number(pid), "SIGHUP");
  const [, status] = await program.output(/status=(\d+)\./);
  assertEquals(status, "129");
  assert(!program.stdout.includes("draining"), program.stdout);
});

Deno.test({
  name: "SIGHUP does nothing to a program that was started with nohup",
  ...needs(UNIX),
}, async () => {
  await using upstream = startEcho();
  const port = freePort();
  await using program = startProgram([`127.0.0.1:${port}=127.0.0.1:${upstream.address.port}`], {
    command: ["sh", "-c", 'trap "" HUP; exec "$0" "$@"', ...programCommand()],
  });
  await program.line(/ ready /);
  using client = await Deno.connect({ hostname: "127.0.0.1", port });
  await writeAll(client, "x");
  await readExactly(client, 1);
  program.kill("SIGHUP");
  for (const text of ["still here", "and here"]) {
    await writeAll(client, text);
    assertEquals(await readExactly(client, text.length), text);
  }
  using another = await Deno.connect({ hostname: "127.0.0.1", port });
  await writeAll(another, "new");
  assertEquals(await readExactly(another, 3), "new");
  // A stop signal still stops it, in order.
  client.close();
  another.close();
  program.kill("SIGTERM");
  assertEquals((await within(program.status, "the end")).code, 0);
});

Deno.test({
  name: "the program catches SIGTERM and SIGINT, while it forwards and while it waits",
  ...needs(LINUX),
}, async () => {
  const nobody = `127.0.0.1:${freePort()}`;
  for (const args of [[`127.0.0.1:${freePort()}=${nobody}`], ["wait", `1=${nobody}`]]) {
    await using program = startProgram(args);
    const both = (): boolean => catches(program.pid, 15) && catches(program.pid, 2);
    await until(both, "it listens for both");
  }
});
