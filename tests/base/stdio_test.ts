import { assert, assertEquals, assertMatch } from "@std/assert";
import { LineQueue } from "../../src/base/stdio.ts";
import {
  cacheVariables,
  freePort,
  isRefused,
  programCommand,
  readExactly,
  readText,
  ROOT,
  startEcho,
  startOther,
  startProgram,
  until,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { linesOf, repeat } from "../helpers/process.ts";

/** A reader that reads when it is told to. */
class Reader {
  /** What arrived, one text a write. */
  readonly writes: string[] = [];
  #pending: { bytes: Uint8Array; done: PromiseWithResolvers<number> } | undefined;

  readonly write = (bytes: Uint8Array): Promise<number> => {
    assert(this.#pending === undefined, "two writes at once");
    const done = Promise.withResolvers<number>();
    this.#pending = { bytes, done };
    return done.promise;
  };

  /** Waits until something is being written. */
  async begun(): Promise<void> {
    await until(() => this.#pending !== undefined, "something is written");
  }

  /** Waits for a write and takes so many of its bytes. */
  async read(most = Infinity): Promise<string> {
    const { bytes, done } = await this.#next();
    const text = new TextDecoder().decode(bytes.subarray(0, most));
    this.writes.push(text);
    done.resolve(Math.min(most, bytes.length));
    return text;
  }

  /** Waits for a write and fails it. */
  async fail(error: Error): Promise<void> {
    (await this.#next()).done.reject(error);
  }

  async #next(): Promise<{ bytes: Uint8Array; done: PromiseWithResolvers<number> }> {
    await this.begun();
    const pending = this.#pending;
    if (pending === undefined) throw new Error("nothing is written");
    this.#pending = undefined;
    return pending;
  }
}

function startQueue(maxLength = 1000): { queue: LineQueue; reader: Reader } {
  const reader = new Reader();
  return { reader, queue: new LineQueue(reader.write, maxLength) };
}

Deno.test("LineQueue.add() writes what is added in one go in one go, and the rest after it", async () => {
  const { queue, reader } = startQueue();
  queue.add("a\n");
  queue.add("b\n");
  await reader.begun();
  queue.add("c\n");
  queue.add("é\n");
  await reader.read();
  await reader.read();
  await queue.written(20_000);
  assertEquals(reader.writes, ["a\nb\n", "c\né\n"]);
});

Deno.test("LineQueue.add() writes all of a line that is taken in parts", async () => {
  const { queue, reader } = startQueue();
  queue.add("hello\n");
  queue.add("world\n");
  for (let i = 0; i < 4; i++) await reader.read(3);
  await queue.written(20_000);
  assertEquals(reader.writes, ["hel", "lo\n", "wor", "ld\n"]);
});

Deno.test("LineQueue.add() loses whole lines where there is no room, and tells how many there", async () => {
  const { queue, reader } = startQueue(8);
  const tellLost = (count: number): string => `lost ${count}\n`;
  const add = async (line: string): Promise<void> => {
    queue.add(line, tellLost);
    await undefined;
  };
  await add("1\n");
  await reader.begun();
  // The first is being written: it takes no room any more.
  for (const line of ["22\n", "333\n", "4444\n", "55555\n", "6\n"]) await add(line);
  assertEquals(await reader.read(), "1\n");
  assertEquals(await reader.read(), "22\n333\n4444\nlost 2\n");
  await add("7\n");
  assertEquals(await reader.read(), "7\n");
  await queue.written(20_000);
});

Deno.test("LineQueue.add() takes what is added in one go whole, however much, or loses it whole", async () => {
  const { queue, reader } = startQueue(8);
  const tellLost = (count: number): string => `lost ${count}\n`;
  const go = Array.from({ length: 100 }, (_, index) => `line ${index}\n`);
  for (const line of go) queue.add(line, tellLost);
  await reader.begun();
  for (const line of go) queue.add(line, tellLost);
  await undefined;
  for (const line of go) queue.add(line, tellLost);
  assertEquals(await reader.read(), go.join(""));
  assertEquals(await reader.read(), `${go.join("")}lost 100\n`);
  await queue.written(20_000);
});

Deno.test("LineQueue.add() goes on after an error, at the beginning of a line", async () => {
  const { queue, reader } = startQueue();
  queue.add("first\n");
  await reader.fail(new Deno.errors.BrokenPipe());
  await within(queue.written(Infinity), "it gives up");
  queue.add("second\n");
  queue.add("third\n");
  await reader.read(9);
  await reader.fail(new Error("No space left on device (os error 28)"));
  await within(queue.written(Infinity), "it gives up");
  queue.add("fourth\n");
  await reader.read();
  queue.add("fifth\n");
  await reader.read();
  await queue.written(20_000);
  assertEquals(reader.writes, ["second\nth", "\nfourth\n", "fifth\n"]);
});

Deno.test("LineQueue.add() waits where a stderr that is not to block is full", async () => {
  const { queue, reader } = startQueue();
  queue.add("first\n");
  await reader.read(3);
  for (let i = 0; i < 3; i++) await reader.fail(new Deno.errors.WouldBlock());
  await reader.read();
  await queue.written(20_000);
  assertEquals(reader.writes, ["fir", "st\n"]);
});

Deno.test("LineQueue.written() resolves when all is written", async () => {
  const { queue, reader } = startQueue();
  queue.add("a\n");
  await reader.begun();
  queue.add("b\n");
  const written = queue.written(20_000);
  assertEquals([await reader.read(), await reader.read()], ["a\n", "b\n"]);
  await within(written, "the end");
  await within(queue.written(Infinity), "another end");
});

Deno.test("LineQueue.written() waits no longer than it is told to", async () => {
  const { queue, reader } = startQueue();
  queue.add("a\n");
  await within(queue.written(20), "the end");
  await reader.read();
});

Deno.test("endOutput() writes all that was printed, in its order, and what is printed before the end", async () => {
  const script = `
    import * as stdio from "${new URL("src/base/stdio.ts", ROOT)}";
    stdio.beforeOutputEnds(() => stdio.writeToStderr("5\\n"));
    stdio.writeToStderr("1\\n");
    stdio.writeToStderr("2\\n", () => "");
    stdio.writeToStderr("3 without an end");
    await stdio.writeToStdout("x".repeat(100_000) + "\\n");
    stdio.complain({ message: "4", hint: "h" });
    await stdio.endOutput();
    Deno.exit();`;
  await using program = startOther([Deno.execPath(), "eval", script]);
  await within(program.status, "the end");
  assertEquals(program.stderr, "1\n2\n3 without an endambassador: 4\n  hint: h\n5\n");
  assertEquals(program.stdout, `${"x".repeat(100_000)}\n`);
});

/** The program at debug, after so many clients of which nobody has read a line. */
interface Unread extends AsyncDisposable {
  readonly child: Deno.ChildProcess;
  readonly port: number;
  /** How many connections it has forwarded. */
  readonly clients: number;
}

async function startUnread(clients: number, format: string): Promise<Unread> {
  const upstream = startEcho();
  const port = freePort();
  const [executable = "", ...args] = programCommand();
  args.push("--log-level=debug", `--log-format=${format}`);
  args.push(`127.0.0.1:${port}=127.0.0.1:${upstream.address.port}`);
  const child = new Deno.Command(executable, {
    args,
    clearEnv: true,
    env: cacheVariables(),
    stdout: "null",
    stderr: "piped",
  }).spawn();
  async function dispose(): Promise<void> {
    try {
      child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await child.status;
    if (!child.stderr.locked) await child.stderr.cancel();
    await upstream[Symbol.asyncDispose]();
  }
  await until(() => roundTrip(port).then(() => true, () => false), "it listens");
  // More than fits into a pipe and the queue.
  await repeat(clients - 1, 16, () => roundTrip(port));
  return { child, port, clients, [Symbol.asyncDispose]: dispose };
}

async function roundTrip(port: number): Promise<void> {
  using client = await Deno.connect({ hostname: "127.0.0.1", port });
  await writeAll(client, "hello");
  await client.closeWrite();
  assertEquals(await readText(client), "hello");
}

Deno.test("ambassador forwards and stops with 0 while nobody reads its log", async () => {
  await using program = await startUnread(3000, "text");
  const startMs = performance.now();
  program.child.kill("SIGTERM");
  assertEquals((await within(program.child.status, "the end")).code, 0);
  const ms = performance.now() - startMs;
  assert(ms < 3000, `${ms} ms`);
});

Deno.test("ambassador ends at the second signal while nobody reads its log", async () => {
  await using program = await startUnread(3000, "text");
  using held = await Deno.connect({ hostname: "127.0.0.1", port: program.port });
  await writeAll(held, "hello");
  assertEquals(await readExactly(held, 5), "hello");
  const startMs = performance.now();
  program.child.kill("SIGTERM");
  await until(() => isRefused(program), "it drains");
  program.child.kill("SIGTERM");
  assertEquals((await within(program.child.status, "the end")).code, 143);
  const ms = performance.now() - startMs;
  assert(ms < 3000, `${ms} ms`);
});

for (const format of ["text", "json"]) {
  Deno.test(`ambassador tells how many lines of ${format} were lost, once its log is read again`, async () => {
    await using program = await startUnread(3000, format);
    let text = "";
    async function read(): Promise<void> {
      for await (const chunk of program.child.stderr.pipeThrough(new TextDecoderStream())) {
        text += chunk;
      }
    }
    const done = read();
    await until(() => text.includes("lines_lost"), "the loss is told");
    await roundTrip(program.port);
    program.child.kill("SIGTERM");
    assertEquals((await within(program.child.status, "the end")).code, 0);
    await done;
    const lines = text.trimEnd().split("\n");
    const lost = lines.filter((line) => line.includes("lines_lost"));
    const whole = format === "text"
      ? /^\d{4}-\S+Z (?:DEBUG|INFO |WARN ) (\w+)(?: \w+=(?:"[^"]*"|\S+))*$/
      : /^\{"time":"[^"]+","level":"\w+","event":"(\w+)",.*\}$/;
    for (const line of lines) assertMatch(line, whole);
    const one = format === "text"
      ? / WARN {2}lines_lost count=(\d+)$/
      : /"level":"WARN","event":"lines_lost","count":(\d+)\}$/;
    const count = lost.reduce((sum, line) => sum + Number(one.exec(line)?.[1]), 0);
    assert(count > 0);
    // Two for each client, listening, ready, draining and stopped.
    assertEquals(lines.length - lost.length + count, 2 * (program.clients + 1) + 4);
  });
}

/** The program with a stdout or stderr that is full and that nobody reads. */
async function startFull(
  args: readonly string[],
  full: "stdout" | "stderr",
): Promise<AsyncDisposable & { readonly child: Deno.ChildProcess }> {
  const folder = await Deno.makeTempDir();
  const fifo = `${folder}/full`;
  // Whoever has both ends of a pipe never hears that its reader has gone.
  const script = 'mkfifo "$1" && exec 3<>"$1" || exit 99; ' +
    'dd if=/dev/zero of="$1" oflag=nonblock bs=4096 2>/dev/null; shift; ' +
    `exec "$@" ${full === "stdout" ? ">" : "2>"}&3 3>&-`;
  const child = new Deno.Command("bash", {
    args: ["-c", script, "bash", fifo, ...programCommand(), ...args],
    clearEnv: true,
    env: cacheVariables(),
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  return {
    child,
    async [Symbol.asyncDispose](): Promise<void> {
      await Deno.remove(folder, { recursive: true });
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended.
      }
      await child.status;
    },
  };
}

const ENDS: readonly [name: string, code: number, args: () => string[]][] = [
  ["wait", 1, () => ["wait", "--timeout", "300ms", `9=127.0.0.1:${freePort()}`]],
  ["healthcheck", 1, () => ["healthcheck", "--status", `127.0.0.1:${freePort()}`]],
  ["wrong usage", 2, () => ["--no-such-option"]],
  ["check", 2, () => ["check"]],
];
for (const [name, code, args] of ENDS) {
  Deno.test({
    name: `ambassador ends as ever while nobody reads its full stderr: ${name}`,
    ignore: Deno.build.os !== "linux",
  }, async () => {
    await using program = await startFull(args(), "stderr");
    assertEquals((await within(program.child.status, "the end", 10_000)).code, code);
  });
}

Deno.test({
  name: "ambassador wait hears a signal while nobody reads its full stderr",
  ignore: Deno.build.os !== "linux",
}, async () => {
  await using upstream = startEcho();
  await using program = await startFull(
    ["wait", `9=127.0.0.1:${upstream.address.port}`, `8=127.0.0.1:${freePort()}`],
    "stderr",
  );
  await until(() => upstream.clients > 0, "it has begun");
  program.child.kill("SIGTERM");
  assertEquals((await within(program.child.status, "the end", 10_000)).code, 143);
});

Deno.test({
  name: "ambassador loses no line of a start with 3,000 routes while somebody reads",
  ignore: Deno.build.os !== "linux",
}, async () => {
  const routes = Array.from(
    { length: 3000 },
    (_, index) => `127.1.${index >> 8}.${index & 255}:4000=192.0.2.1:4000`,
  );
  await using program = startProgram(routes);
  await program.line(/ ready routes=3000\n/);
  assertEquals(linesOf(program, "listening").length, 3000);
  assertEquals(linesOf(program, "lines_lost"), []);
});
