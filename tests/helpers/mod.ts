// What the tests share: real sockets on ports that the system chooses, the real program as a child
// process, and a limit on every wait.

import { sourceCommand } from "../../build/sources.ts";
import {
  type Address,
  formatAddress,
  formatTargets,
  type Protocol,
} from "../../src/base/address.ts";
import { createLog } from "../../src/base/log.ts";
import { routeTo } from "./routes.ts";
import type { RouteSettings } from "../../src/config/options.ts";
import { type Route, routeName } from "../../src/config/routes.ts";
import { serve, type ServeOptions } from "../../src/commands/forward.ts";
import type { Forwarded } from "../../src/forward/forwarder.ts";
import type { Stream } from "../../src/net/stream.ts";

// A test that leaves a socket or a timer behind fails. Since 2.8 Deno has to be asked for it; earlier
// versions do it unasked and know neither this function nor the setting for it in deno.json.
const { sanitizer } = Deno.test as {
  sanitizer?: (options: { ops: boolean; resources: boolean }) => void;
};
sanitizer?.({ ops: true, resources: true });

/** The folder of the repository. */
export const ROOT = new URL("../../", import.meta.url);

/** Resolves like the promise; rejects when that takes longer than `ms`. */
export async function within<T>(promise: Promise<T>, what: string, ms = 20_000): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`waited ${ms} ms for ${what}`)), ms);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** Asks again and again until the answer is true. */
export async function until(
  isTrue: () => boolean | Promise<boolean>,
  what: string,
  ms = 20_000,
): Promise<void> {
  const end = performance.now() + ms;
  while (!await isTrue()) {
    if (performance.now() > end) throw new Error(`waited ${ms} ms until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Writes all of the data. */
export async function writeAll(
  conn: Pick<Stream, "write">,
  data: Uint8Array | string,
): Promise<void> {
  let rest = typeof data === "string" ? new TextEncoder().encode(data) : data;
  while (rest.length > 0) rest = rest.subarray(await conn.write(rest));
}

/** Everything until the peer has finished. */
export async function readAll(conn: Pick<Stream, "read">): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  const buffer = new Uint8Array(64 * 1024);
  for (;;) {
    const count = await within(conn.read(buffer), "the peer to finish");
    if (count === null) return concat(chunks);
    chunks.push(buffer.slice(0, count));
  }
}

/** Everything until the peer has finished, as text. */
export async function readText(conn: Pick<Stream, "read">): Promise<string> {
  return new TextDecoder().decode(await readAll(conn));
}

/** Exactly so many bytes, as text. */
export async function readExactly(conn: Pick<Stream, "read">, count: number): Promise<string> {
  const bytes = new Uint8Array(count);
  for (let done = 0; done < count;) {
    const n = await within(conn.read(bytes.subarray(done)), `${count} bytes`);
    if (n === null) throw new Error(`the peer finished after ${done} of ${count} bytes`);
    done += n;
  }
  return new TextDecoder().decode(bytes);
}

/** Everything until the peer has finished or broken off; what has come is not told. */
export async function readToAnyEnd(conn: Pick<Stream, "read">): Promise<void> {
  try {
    await readAll(conn);
  } catch {
    // A reset is an end, too.
  }
}

/** Joins chunks. */
export function concat(chunks: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  return all;
}

/** SHA-256 in hexadecimal, to compare large data by. */
export async function hash(data: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", data)).toHex();
}

/** A seeded source of randomness (mulberry32): the same seed gives the same test. */
export class Random {
  /** Printed by tests, so that a failure can be repeated. */
  readonly seed: number;
  #state: number;

  /** @param seed From the environment variable `SEED` unless given, else from the clock. */
  constructor(seed = Number(Deno.env.get("SEED") ?? Date.now() % 2 ** 31)) {
    this.seed = seed;
    this.#state = seed;
  }

  /** A whole number from 0 up to, and without, the limit. */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor(((t ^ (t >>> 14)) >>> 0) / 2 ** 32 * limit);
  }

  /** One of the choices. */
  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)] as T;
  }

  /** The items in another order. */
  shuffled<T>(items: readonly T[]): T[] {
    const rest = [...items];
    return items.flatMap(() => rest.splice(this.below(rest.length), 1));
  }

  /** So many random bytes. */
  bytes(count: number): Uint8Array<ArrayBuffer> {
    return Uint8Array.from({ length: count }, () => this.below(256));
  }
}

/** A server for tests. */
export interface Upstream extends AsyncDisposable {
  /** Where it listens. */
  readonly address: Deno.NetAddr;
  /** How many clients it has had. */
  readonly clients: number;
  /** Errors thrown by the handler. */
  readonly errors: readonly unknown[];
  /** Stops listening; clients that it has are served on. */
  close(): void;
}

/** Starts a server that hands each client to `handle` and then closes it. */
export function startUpstream(
  handle: (conn: Deno.TcpConn) => Promise<void>,
  { hostname = "127.0.0.1", port = 0 }: { hostname?: string; port?: number } = {},
): Upstream {
  const listener = Deno.listen({ hostname, port });
  const open = new Set<Deno.TcpConn>();
  const handlers = new Set<Promise<void>>();
  const errors: unknown[] = [];
  let clients = 0;
  async function serveOne(conn: Deno.TcpConn): Promise<void> {
    open.add(conn);
    try {
      await handle(conn);
    } catch (error) {
      errors.push(error);
    } finally {
      open.delete(conn);
      conn[Symbol.dispose]();
    }
  }
  async function accept(): Promise<void> {
    for (;;) {
      let conn: Deno.TcpConn;
      try {
        conn = await listener.accept();
      } catch (error) {
        if (error instanceof Deno.errors.BadResource) return;
        if (error instanceof Deno.errors.Interrupted) return;
        continue;
      }
      clients++;
      const handler = serveOne(conn);
      handlers.add(handler);
      handler.finally(() => handlers.delete(handler));
    }
  }
  const accepting = accept();
  return {
    address: listener.addr,
    errors,
    get clients(): number {
      return clients;
    },
    close: () => listener[Symbol.dispose](),
    async [Symbol.asyncDispose](): Promise<void> {
      listener[Symbol.dispose]();
      await accepting;
      for (const conn of open) conn[Symbol.dispose]();
      await Promise.all(handlers);
    },
  };
}

/** Sends everything back, and finishes when the client has finished. */
export async function echo(conn: Stream): Promise<void> {
  const buffer = new Uint8Array(64 * 1024);
  for (;;) {
    const count = await conn.read(buffer);
    if (count === null) break;
    await writeAll(conn, buffer.subarray(0, count));
  }
  await conn.closeWrite();
}

/** Reads to the end and throws it away. */
export async function discard(conn: Pick<Stream, "read">): Promise<void> {
  const buffer = new Uint8Array(64 * 1024);
  while (await conn.read(buffer) !== null);
}

/** A server that echoes. */
export function startEcho(options?: { hostname?: string; port?: number }): Upstream {
  return startUpstream(echo, options);
}

/** A port on which nothing listened a moment ago. */
export function freePort(hostname = "127.0.0.1"): number {
  using listener = Deno.listen({ hostname, port: 0 });
  return listener.addr.port;
}

/** Whether a connect is refused now: nobody listens there, or not any more. */
export async function isRefused(
  { hostname = "127.0.0.1", port }: { readonly hostname?: string; readonly port: number },
): Promise<boolean> {
  try {
    using _client = await within(Deno.connect({ hostname, port }), "a connect");
    return false;
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused) return true;
    // The listener was closed while the connection waited in its queue.
    if (error instanceof Deno.errors.ConnectionReset) return false;
    throw error;
  }
}

/** Two ends of one connection: who dialled and who accepted. */
export async function pair(hostname = "127.0.0.1"): Promise<[Deno.TcpConn, Deno.TcpConn]> {
  using listener = Deno.listen({ hostname, port: 0 });
  const { port } = listener.addr;
  return await within(
    Promise.all([Deno.connect({ hostname, port }), listener.accept()]),
    "a connection",
  );
}

/** `serve` at work in this process. */
export interface Forwarder extends AsyncDisposable {
  /** The routes as they were bound, in the order in which they were given. */
  readonly routes: readonly Route[];
  /** Where the first route listens. */
  readonly address: Deno.ConnectOptions;
  /** The address of the status page; empty where there is none. */
  readonly statusUrl: string;
  /** Every line that it has logged, all levels. */
  readonly lines: readonly string[];
  /** Begins the stop and waits for its end. */
  stop(): Promise<Forwarded>;
}

/** Options for {@linkcode startForwarder}. */
export interface StartForwarderOptions
  extends Partial<ServeOptions & Omit<RouteSettings, "maxConnections">> {
  /** Where to listen; 127.0.0.1 unless given. */
  readonly hostname?: string;
  /** How to listen, and how to connect; plain unless given. */
  readonly protocols?: { readonly listen: Protocol; readonly target: Protocol };
  /** More settings of every route. */
  readonly settings?: Partial<RouteSettings>;
}

/** Forwards a free port to each target, in this process; 200 ms to drain unless given. */
export async function startForwarder(
  targets: readonly { hostname: string; port: number }[],
  {
    hostname = "127.0.0.1",
    connectTimeoutMs = 5000,
    retryMs = 0,
    halfCloseTimeoutMs = 0,
    idleTimeoutMs = 0,
    protocols: { listen, target } = { listen: "tcp", target: "tcp" },
    settings,
    ...options
  }: StartForwarderOptions = {},
): Promise<Forwarder> {
  const lines: string[] = [];
  const stop = new AbortController();
  const ready = Promise.withResolvers<{ routes: readonly Route[]; status: Address | undefined }>();
  const served = serve(
    targets.map(({ hostname: name, port }, index) =>
      routeTo({ protocol: target, hostname: name, port }, {
        aliases: [`ROUTE${index}`],
        listen: { protocol: listen, hostname, port: 0 },
        settings: { connectTimeoutMs, retryMs, halfCloseTimeoutMs, idleTimeoutMs, ...settings },
      })
    ),
    {
      maxConnections: 0,
      drainTimeoutMs: 200,
      drainDelayMs: 0,
      log: createLog({ level: "debug", format: "text", write: (line) => void lines.push(line) }),
      signal: stop.signal,
      onReady: (routes, status) => ready.resolve({ routes, status }),
      ...options,
    },
  );
  served.catch(ready.reject);
  const { routes, status } = await within(ready.promise, "all routes to be bound");
  const [first] = routes;
  if (first === undefined) throw new Error("no route");
  function end(): Promise<Forwarded> {
    stop.abort();
    return within(served, "the forwarder to stop");
  }
  return {
    routes,
    address: reachable(first),
    statusUrl: status === undefined ? "" : `http://${formatAddress(status)}`,
    lines,
    stop: end,
    async [Symbol.asyncDispose](): Promise<void> {
      await end();
    },
  };
}

function reachable({ listen }: Route): Deno.ConnectOptions {
  const hostname = listen.hostname === "::" ? "127.0.0.1" : listen.hostname;
  return { hostname, port: listen.port };
}

/** What a route is called in a failing test. */
export function describeRoute(route: Route): string {
  return `${routeName(route)} ${formatAddress(route.listen)} → ${formatTargets(route.targets)}`;
}

/** The program and its first arguments: the executable of `AMBASSADOR_BIN`, or the sources. */
export function programCommand(): string[] {
  const executable = Deno.env.get("AMBASSADOR_BIN");
  if (executable === undefined) return sourceCommand();
  return [executable.startsWith("/") ? executable : `${Deno.cwd()}/${executable}`];
}

/** The variables with which `deno run` finds its cache, and looks for no newer Deno at its start. */
export function cacheVariables(): Record<string, string> {
  const found = ["HOME", "DENO_DIR", "JSR_URL", "PATH"].flatMap((name) => {
    const value = Deno.env.get(name);
    return value === undefined ? [] : [[name, value]];
  });
  return { ...Object.fromEntries(found), DENO_NO_UPDATE_CHECK: "1" };
}

/** The program as a child process. */
export interface Program extends AsyncDisposable {
  /** Its process id. */
  readonly pid: number;
  /** What it has written to stderr so far. */
  readonly stderr: string;
  /** What it has written to stdout so far. */
  readonly stdout: string;
  /** Waits for a line of stderr; gives the match. */
  line(pattern: RegExp): Promise<RegExpExecArray>;
  /** Waits for a line of stdout; gives the match. */
  output(pattern: RegExp): Promise<RegExpExecArray>;
  /** Sends a signal. */
  kill(signal: Deno.Signal): void;
  /** Waits for its end. */
  readonly status: Promise<Deno.CommandStatus>;
}

/** Options for {@linkcode startProgram}. */
export interface StartProgramOptions {
  /** The only variables of its own that it sees. */
  readonly env?: Record<string, string>;
  /** What to run instead of the program, for instance the program under another one. */
  readonly command?: readonly string[];
}

/** Starts the program; ends it at the end of the block if it still runs. */
export function startProgram(
  args: readonly string[],
  { env = {}, command = programCommand() }: StartProgramOptions = {},
): Program {
  const [executable = "", ...first] = command;
  const child = new Deno.Command(executable, {
    args: [...first, ...args],
    clearEnv: true,
    env: { ...cacheVariables(), ...env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const out = collect(child.stdout);
  const err = collect(child.stderr);
  const ended = child.status.then(async (status) => {
    await Promise.all([out.done, err.done]);
    return status;
  });
  let hasEnded = false;
  void ended.then(() => hasEnded = true);
  async function waitFor(pattern: RegExp, text: () => string): Promise<RegExpExecArray> {
    const find = (): RegExpExecArray | null => pattern.exec(text());
    await until(() => find() !== null || hasEnded, `a line ${pattern} in:\n${text()}`);
    const match = find();
    if (match === null) throw new Error(`ended without a line ${pattern}:\n${text()}`);
    return match;
  }
  return {
    pid: child.pid,
    get stdout(): string {
      return out.text();
    },
    get stderr(): string {
      return err.text();
    },
    line: (pattern) => waitFor(pattern, err.text),
    output: (pattern) => waitFor(pattern, out.text),
    kill: (signal) => child.kill(signal),
    status: ended,
    async [Symbol.asyncDispose](): Promise<void> {
      if (!hasEnded) {
        try {
          child.kill("SIGKILL");
        } catch {
          // It has ended by itself in the meantime.
        }
      }
      await ended;
    },
  };
}

/** Starts another program than this one, such as a helper of a test, in the same way. */
export function startOther(
  command: readonly string[],
  options: Omit<StartProgramOptions, "command"> = {},
): Program {
  return startProgram([], { ...options, command });
}

/** Runs the program to its end. */
export async function runProgram(
  args: readonly string[],
  options: StartProgramOptions = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
  await using program = startProgram(args, options);
  const { code } = await within(program.status, `ambassador ${args.join(" ")} to end`);
  return { code, stdout: program.stdout, stderr: program.stderr };
}

function collect(stream: ReadableStream<Uint8Array>): { text: () => string; done: Promise<void> } {
  let text = "";
  const decoder = new TextDecoder();
  async function read(): Promise<void> {
    for await (const chunk of stream) text += decoder.decode(chunk, { stream: true });
  }
  return { text: () => text, done: read() };
}
