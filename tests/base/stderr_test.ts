import { assert, assertEquals, assertMatch } from "@std/assert";
import { LineQueue } from "../../src/base/stderr.ts";
import {
  cacheVariables,
  freePort,
  programCommand,
  readExactly,
  readText,
  ROOT,
  startEcho,
  startProgram,
  until,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { repeat } from "../helpers/process.ts";

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
  return { reader, queue: new LineQueue({ write: reader.write, maxLength }) };
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
  await queue.end(20_000);
  assertEquals(reader.writes, ["a\nb\n", "c\né\n"]);
  assertEquals(queue.isBusy, false);
});

Deno.test("LineQueue.add() writes all of a line that is taken in parts", async () => {
  const { queue, reader } = startQueue();
  queue.add("hello\n");
  queue.add("world\n");
  for (let i = 0; i < 4; i++) await reader.read(3);
  await queue.end(20_000);
  assertEquals(reader.writes, ["hel", "lo\n", "wor", "ld\n"]);
});

Deno.test("LineQueue.add() loses whole lines where there is no room, and tells how many there", async () => {
  const { queue, reader } = startQueue(8);
  const tellLost = (count: number): string => `lost ${count}\n`;
  const add = (line: string): void => queue.add(line, tellLost);
  add("1\n");
  await reader.begun();
  // The first is being written: it takes no room any more.
  for (const line of ["22\n", "333\n", "4444\n", "55555\n"]) add(line);
  assertEquals(await reader.read(), "1\n");
  assertEquals(await reader.read(), "22\n333\nlost 2\n");
  add("6\n");
  assertEquals(await reader.read(), "6\n");
  await queue.end(20_000);
});

Deno.test("LineQueue.add() goes on after an error, at the beginning of a line", async () => {
  const { queue, reader } = startQueue();
  queue.add("first\n");
  await reader.fail(new Deno.errors.BrokenPipe());
  await until(() => !queue.isBusy, "it has given up");
  queue.add("second\n");
  queue.add("third\n");
  await reader.read(9);
  await reader.fail(new Error("No space left on device (os error 28)"));
  await until(() => !queue.isBusy, "it has given up");
  queue.add("fourth\n");
  await reader.read();
  queue.add("fifth\n");
  await reader.read();
  await queue.end(20_000);
  assertEquals(reader.writes, ["second\nth", "\nfourth\n", "fifth\n"]);
});

Deno.test("LineQueue.add() waits where a stderr that is not to block is full", async () => {
  const { queue, reader } = startQueue();
  queue.add("first\n");
  await reader.read(3);
  for (let i = 0; i < 3; i++) await reader.fail(new Deno.errors.WouldBlock());
  await reader.read();
  await queue.end(20_000);
  assertEquals(reader.writes, ["fir", "st\n"]);
});

Deno.test("LineQueue.end() waits until all is written, and takes no more", async () => {
  const { queue, reader } = startQueue();
  queue.add("a\n");
  await reader.begun();
  queue.add("b\n");
  const ended = queue.end(20_000);
  queue.add("c\n");
  assertEquals([await reader.read(), await reader.read()], ["a\n", "b\n"]);
  await within(ended, "the end");
  await within(queue.end(Infinity), "another end");
  assertEquals(queue.isBusy, false);
});

Deno.test("LineQueue.end() waits no longer than it is told to", async () => {
  const { queue, reader } = startQueue();
  queue.add("a\n");
  await within(queue.end(20), "the end");
  assertEquals(queue.isBusy, true);
  await reader.read();
});

Deno.test("writeToStderr() writes after the lines of the log, and at once where there are none", async () => {
  const script = `
    import { endStderr, logToStderr, writeToStderr } from "${new URL("src/base/stderr.ts", ROOT)}";
    writeToStderr("1\\n");
    logToStderr("2\\n", () => "");
    writeToStderr("3\\n");
    await endStderr();
    writeToStderr("4\\n");
    Deno.exit();`;
  await using program = startProgram([], { command: [Deno.execPath(), "eval", script] });
  await within(program.status, "the end");
  assertEquals(program.stderr, "1\n2\n3\n4\n");
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
  await until(() => isRefused(program.port), "it drains");
  program.child.kill("SIGTERM");
  assertEquals((await within(program.child.status, "the end")).code, 143);
  const ms = performance.now() - startMs;
  assert(ms < 3000, `${ms} ms`);
});

async function isRefused(port: number): Promise<boolean> {
  try {
    (await Deno.connect({ hostname: "127.0.0.1", port })).close();
    return false;
  } catch {
    return true;
  }
}

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
      ? /^\d{4}-\S+Z (?:DEBUG|INFO |WARN ) (\w+)(?: \w+=\S+)*$/
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
