// The real program with a file of routes that the test changes, and what it says of that. And upstreams
// and clients that show where a connection leads, for every test of rewiring.

import type { Stream } from "../../src/net/stream.ts";
import type { Issued } from "./certificates.ts";
import {
  freePort,
  type Program,
  readExactly,
  startOther,
  startProgram,
  type StartProgramOptions,
  startUpstream,
  until,
  type Upstream,
  within,
  writeAll,
} from "./mod.ts";
import { programPath } from "./needs.ts";
import { linesOf } from "./process.ts";

/** How soon a change is noticed at the latest, in milliseconds. */
export const NOTICED_MS = 5000;

/** How often the file is looked at, in milliseconds. */
export const LOOK_EVERY_MS = 2000;

/** The program at work, and its file. */
export interface Wired extends AsyncDisposable {
  /** The child process. */
  readonly program: Program;
  /** The file that it reads. */
  readonly path: string;
  /** Where its status page is. */
  readonly statusUrl: string;
  /** How often it has been rewired, and how often it has said that it can't be. */
  readonly said: { readonly rewired: number; readonly failed: number };
  /** Renames a file with this text over the present one. */
  replace(text: string): Promise<void>;
  /** The same, and sends SIGHUP. */
  take(text: string): Promise<void>;
  /** The same, and waits until the program says what has come of it; gives that line. */
  taken(text: string): Promise<string>;
  /** Waits for the next line with this event, or for the one after the first `known`; gives it. */
  next(
    event: RewiringEvent,
    options?: { readonly known?: number; readonly ms?: number },
  ): Promise<string>;
}

/** What the program says of a change. */
export type RewiringEvent = "rewired" | "rewire_failed";

/** Options for {@linkcode startWired}. */
export interface StartWiredOptions extends StartProgramOptions {
  /** More arguments. */
  readonly args?: readonly string[];
  /** The file; one in a folder of its own unless given. */
  readonly path?: string;
}

/** Starts the program with a file that holds this text; routes without an address listen on 127.0.0.1. */
export async function startWired(
  text: string,
  { args = [], path: given, ...options }: StartWiredOptions = {},
): Promise<Wired> {
  await using started = new AsyncDisposableStack();
  const folder = await Deno.makeTempDir({ prefix: "ambassador_routes_" });
  started.defer(() => Deno.remove(folder, { recursive: true }));
  const path = given ?? `${folder}/routes`;
  if (given === undefined) await Deno.writeTextFile(path, text);
  // A port that a route is given, and that does not listen yet, seems to be free.
  let port = freePort();
  while (text.includes(String(port))) port = freePort();
  const status = `127.0.0.1:${port}`;
  const own = ["--bind", "127.0.0.1", "--status", status, "--routes", path];
  const program = started.use(startProgram([...own, ...args], options));
  await program.line(/ ready /);
  const running = started.move();
  async function replace(text: string): Promise<void> {
    await renameOver(path, text);
  }
  async function take(text: string): Promise<void> {
    await replace(text);
    program.kill("SIGHUP");
  }
  async function next(
    event: RewiringEvent,
    { known = linesOf(program, event).length, ms }: {
      readonly known?: number;
      readonly ms?: number;
    } = {},
  ): Promise<string> {
    await until(() => linesOf(program, event).length > known, `it has ${event}`, ms);
    return linesOf(program, event)[known] ?? "";
  }
  return {
    program,
    path,
    statusUrl: `http://${status}`,
    get said(): Wired["said"] {
      const [rewired, failed] = [linesOf(program, "rewired"), linesOf(program, "rewire_failed")];
      return { rewired: rewired.length, failed: failed.length };
    },
    replace,
    take,
    async taken(text: string): Promise<string> {
      const find = (): string[] =>
        program.stderr.split("\n").filter((line) => / (?:rewired|rewire_failed) /.test(line));
      const known = find().length;
      await take(text);
      await until(() => find().length > known, "the program says what has come of the change");
      return find()[known] ?? "";
    },
    next,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** Writes a file of its own and renames it to that path. */
export async function renameOver(path: string, text: string): Promise<void> {
  await Deno.writeTextFile(`${path}.new`, text);
  await Deno.rename(`${path}.new`, path);
}

/** A line of the file. */
export function lineOf(
  port: number,
  target: { readonly port: number },
  { alias = "REDIS", listen = "TCP", settings = "" }: {
    readonly alias?: string;
    readonly listen?: "TCP" | "TLS";
    readonly settings?: string;
  } = {},
): string {
  const after = settings === "" ? "" : `?${settings}`;
  return `${alias}_PORT_${port}_${listen}=tcp://127.0.0.1:${target.port}${after}\n`;
}

/** So many ports that are free at an address of loopback that no other test uses. */
export function freePorts(hostname: string, count: number): number[] {
  const ports: number[] = [];
  // Below those that the system gives to clients.
  for (let port = 11_000; ports.length < count; port++) {
    try {
      Deno.listen({ hostname, port }).close();
      ports.push(port);
    } catch (error) {
      // Somebody has it at every address.
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
  return ports;
}

/** Resolves after that time: only where it is the passing of time that is tested. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/**
 * Holds a regular file so that whoever opens it waits until this is disposed, or 45 seconds, the kernel's
 * patience: as a place on the network does that does not answer. Only on Linux, with perl.
 */
export async function lease(path: string): Promise<AsyncDisposable> {
  // F_SETLEASE, F_WRLCK.
  const script = '$SIG{IO} = "IGNORE"; open my $file, "+<", $ARGV[0] or die; ' +
    'fcntl $file, 1024, 1 or die "$!"; $| = 1; print "held\\n"; sleep 60';
  const program = startOther([programPath("perl"), "-e", script, path]);
  try {
    await program.output(/held/);
  } catch (error) {
    await program[Symbol.asyncDispose]();
    throw error;
  }
  return program;
}

/** An upstream that says its name to everybody, and then echoes. */
export function startNamed(name: string): Upstream {
  return startUpstream(async (conn) => {
    await writeAll(conn, name);
    const buffer = new Uint8Array(1024);
    for (;;) {
      const count = await conn.read(buffer);
      if (count === null) return;
      await writeAll(conn, buffer.subarray(0, count));
    }
  });
}

/** Connects to a port of 127.0.0.1. */
export async function connect(port: number): Promise<Deno.TcpConn> {
  return await within(Deno.connect({ hostname: "127.0.0.1", port }), "a connect");
}

/** Who answers a new client. */
export async function whoAnswers(port: number): Promise<string> {
  using client = await connect(port);
  return await readExactly(client, 1);
}

/** Whether a connection that was made before still works. */
export async function works(client: Deno.TcpConn): Promise<boolean> {
  await writeAll(client, "still");
  return await readExactly(client, 5) === "still";
}

/** The PROXY header, version 1, that tells of a client that has connected to a port of 127.0.0.1. */
export function headerOf({ localAddr }: Pick<Stream, "localAddr">, port: number): string {
  return `PROXY TCP4 127.0.0.1 127.0.0.1 ${localAddr.port} ${port}\r\n`;
}

/** What the status page answers to this path: its status and its text. */
export async function get({ statusUrl }: Wired, path: string): Promise<[number, string]> {
  const response = await fetch(`${statusUrl}/${path}`);
  return [response.status, await response.text()];
}

/** All metrics. */
export async function metricsOf(wired: Wired): Promise<string> {
  return (await get(wired, "metrics"))[1];
}

/** The options of a program that is this and asks nobody who he is. */
export function tlsOptionsOf({ certPath, keyPath }: Issued): string[] {
  return ["--tls-cert", certPath, "--tls-key", keyPath, "--tls-client", "none"];
}
