// The real program with a file of routes that the test changes, and what it says of that.

import { freePort, type Program, startProgram, type StartProgramOptions, until } from "./mod.ts";
import { linesOf } from "./process.ts";

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
  const status = `127.0.0.1:${freePort()}`;
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
