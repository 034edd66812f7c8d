// What the tests of faults and load share: the real program with few descriptors, its descriptors and
// memory as the kernel counts them (Linux only), and clients that vanish.

import net from "node:net";
import { freePort, type Program, programCommand, startProgram, until, within } from "./mod.ts";

/** How many descriptors a process holds. */
export function descriptorsOf(pid: number): number {
  return [...Deno.readDirSync(`/proc/${pid}/fd`)].length;
}

/** The memory of a process that is in RAM, in bytes. */
export function memoryOf(pid: number): number {
  const status = Deno.readTextFileSync(`/proc/${pid}/status`);
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}

/** How many descriptors this process may hold. */
export function descriptorLimit(): number {
  const limits = Deno.readTextFileSync("/proc/self/limits");
  return Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? 1024);
}

/** The program with one route, ready, and where it listens. */
export interface ProgramWithRoute {
  /** The child process. */
  readonly program: Program;
  /** Where the route listens. */
  readonly address: { readonly hostname: string; readonly port: number };
}

/** Options for {@linkcode startRoute}. */
export interface StartRouteOptions {
  /** Options of the program. */
  readonly args?: readonly string[];
  /** How many descriptors it may hold; as many as this process unless given. */
  readonly maxDescriptors?: number;
  /** Where it listens; a free port unless given. */
  readonly port?: number;
}

/** Starts the program with one route to the target; the caller disposes of the program. */
export async function startRoute(
  target: { readonly hostname: string; readonly port: number },
  { args = [], maxDescriptors, port = freePort() }: StartRouteOptions = {},
): Promise<ProgramWithRoute> {
  const address = { hostname: "127.0.0.1", port };
  const program = startProgram(
    [...args, `127.0.0.1:${address.port}=${target.hostname}:${target.port}`],
    maxDescriptors === undefined ? {} : { command: commandWithLimit(maxDescriptors) },
  );
  await program.line(/ready/);
  return { program, address };
}

/** The program where descriptors are few. */
export function commandWithLimit(maxDescriptors: number): string[] {
  // What the tests have inherited would take places, and it is not the same everywhere. Not in sh:
  // dash knows no descriptor of two digits. Both limits, since `deno run` raises the soft one to the
  // hard one.
  const script = 'for fd in /dev/fd/*; do fd=${fd##*/}; ((fd > 2)) && eval "exec $fd>&-"; done; ' +
    `ulimit -n ${maxDescriptors}; exec "$0" "$@"`;
  return ["bash", "-c", script, ...programCommand()];
}

/** The lines of the log in which an event stands. */
export function linesOf(program: Program, event: string): string[] {
  return program.stderr.split("\n").filter((line) => line.split(/\s+/)[2] === event);
}

/** Waits until a process holds no more descriptors than this. */
export async function untilDescriptors(pid: number, most: number): Promise<void> {
  const enough = (): boolean => descriptorsOf(pid) <= most;
  try {
    await until(enough, `at most ${most} descriptors are open`);
  } catch (cause) {
    throw new Error(`${descriptorsOf(pid)} descriptors are open, not ${most}`, { cause });
  }
}

/** Runs `act` so many times, `atOnce` at a time, for as long as `goesOn`. */
export async function repeat(
  times: number,
  atOnce: number,
  act: (index: number) => Promise<void>,
  goesOn: () => boolean = () => true,
): Promise<void> {
  let next = 0;
  async function work(): Promise<void> {
    while (next < times && goesOn()) await act(next++);
  }
  await Promise.all(Array.from({ length: atOnce }, work));
}

/**
 * Connects, and resets the connection when it is there or when the first answer to `text` is. Only
 * where there is `RESETS`.
 */
export async function connectAndReset(
  { hostname = "127.0.0.1", port }: Deno.ConnectOptions,
  text = "",
): Promise<void> {
  const socket = net.connect({ host: hostname, port });
  const closed = Promise.withResolvers<void>();
  socket.once("error", () => {});
  socket.once("close", () => closed.resolve());
  socket.once("connect", () => text === "" ? socket.resetAndDestroy() : socket.write(text));
  socket.once("data", () => socket.resetAndDestroy());
  await within(closed.promise, "a client to reset its connection");
}

/** Something that is there and never answers a SYN: its listen queue is full. */
export async function startSilent(): Promise<AsyncDisposable & { readonly address: Deno.NetAddr }> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0, tcpBacklog: 1 });
  const queue: Deno.TcpConn[] = [];
  for (;;) {
    const timeout = new AbortController();
    const timer = setTimeout(() => timeout.abort(), 200);
    try {
      const { hostname, port } = listener.addr;
      queue.push(await Deno.connect({ hostname, port, signal: timeout.signal }));
    } catch {
      break;
    } finally {
      clearTimeout(timer);
    }
  }
  return {
    address: listener.addr,
    [Symbol.asyncDispose](): Promise<void> {
      listener.close();
      for (const conn of queue) conn.close();
      return Promise.resolve();
    },
  };
}
