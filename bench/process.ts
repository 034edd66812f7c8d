// Child processes of the bench: started, waited for, looked at through /proc, and ended by their own
// process ids, their children's included.

import { pause } from "../src/base/time.ts";

/** A process that runs until it is disposed. */
export interface Running extends AsyncDisposable {
  /** Its process id. */
  readonly pid: number;
  /** What it writes, where that was asked for. */
  readonly child: Pick<Deno.ChildProcess, "stdout" | "stderr">;
}

/** Starts a program. What it writes is lost unless `piped` names it; BENCH_DEBUG shows its stderr. */
export function start(
  [executable = "", ...args]: readonly string[],
  piped: readonly ("stdout" | "stderr")[] = [],
): Running {
  const child = new Deno.Command(executable, {
    args,
    stdin: "null",
    stdout: piped.includes("stdout") ? "piped" : "null",
    stderr: piped.includes("stderr")
      ? "piped"
      : Deno.env.get("BENCH_DEBUG") === undefined
      ? "null"
      : "inherit",
  }).spawn();
  running.add(child.pid);
  const status = child.status.then(() => void running.delete(child.pid));
  return {
    pid: child.pid,
    child,
    async [Symbol.asyncDispose](): Promise<void> {
      if (running.has(child.pid)) await killTree(child.pid);
      await status;
    },
  };
}

/** The processes that were started and have not ended. */
const running = new Set<number>();

/** Ends everything that was started and still runs, for when the bench itself is ended. */
export async function killAll(): Promise<void> {
  for (const pid of running) await killTree(pid);
}

/** Kills a process and all that it has started; stopped first, so that it starts no more of them. */
async function killTree(root: number): Promise<void> {
  kill(root, "SIGSTOP");
  // T: stopped, Z: has ended; nothing: has gone.
  while (!"TZ".includes(statOf(root)[0] ?? "")) await pause(1);
  for (const pid of treeOf(root)) kill(pid, "SIGKILL");
}

function kill(pid: number, signal: Deno.Signal): void {
  try {
    Deno.kill(pid, signal);
  } catch {
    // It has ended by itself.
  }
}

/** Runs a program to its end and gives what it wrote to stdout. */
export async function output([executable = "", ...args]: readonly string[]): Promise<string> {
  const command = new Deno.Command(executable, { args, stdin: "null" });
  const { success, stdout, stderr } = await command.output();
  const decoder = new TextDecoder();
  const text = decoder.decode(stdout);
  if (success) return text;
  throw new Error(`${executable} ${args.join(" ")}: ${text} ${decoder.decode(stderr)}`);
}

/** A port on which nothing listened a moment ago. */
export function freePort(hostname = "127.0.0.1"): number {
  using listener = Deno.listen({ hostname, port: 0 });
  return listener.addr.port;
}

/** A port for datagrams that nobody used a moment ago. */
export function freeDatagramPort(): number {
  const hostname = "127.0.0.1";
  const socket = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
  const { port } = socket.addr as Deno.NetAddr;
  socket.close();
  return port;
}

/** So many different ports on which nothing listened a moment ago, from low to high. */
export function freePorts(count: number): number[] {
  // Each is given back at once, so the system may name one twice; a set takes it once.
  const ports = new Set<number>();
  while (ports.size < count) ports.add(freePort());
  return [...ports].sort((a, b) => a - b);
}

/** Resolves with the first connection that is accepted; for a start, in a tight loop. */
export async function connectSoon(port: number, withinMs = 10_000): Promise<Deno.TcpConn> {
  const endMs = performance.now() + withinMs;
  for (;;) {
    try {
      return await Deno.connect({ hostname: "127.0.0.1", port });
    } catch (cause) {
      if (performance.now() < endMs) continue;
      throw new Error(`nothing accepts on port ${port} within ${withinMs} ms`, { cause });
    }
  }
}

/** Resolves when the port accepts connections. */
export async function untilAccepting(port: number): Promise<void> {
  (await connectSoon(port)).close();
}

/** CPU seconds of the processes and all their children so far, those that have ended included. */
export function cpuSeconds(processes: readonly { readonly pid: number }[]): number {
  // In ticks of 10 ms on every Linux that Deno runs on: utime, stime, cutime, cstime.
  const ticks = processes.flatMap(({ pid }) => treeOf(pid)).map((pid) =>
    statOf(pid).slice(11, 15).reduce((sum, field) => sum + Number(field), 0)
  );
  return ticks.reduce((sum, count) => sum + count, 0) / 100;
}

/** CPU seconds of each process, and its children, from now to the call of what this returns. */
export function cpuMeter(processes: readonly { readonly pid: number }[]): () => number[] {
  const before = processes.map((each) => cpuSeconds([each]));
  return () => processes.map((each, index) => cpuSeconds([each]) - (before[index] ?? 0));
}

/**
 * Bytes of memory that the processes and their children hold, shared pages counted once. Pages of files
 * are not in it: the system can drop those, and they are the same for any number of connections.
 */
export function memoryBytes(processes: readonly Running[]): number {
  const sizes = processes.flatMap(({ pid }) => treeOf(pid)).flatMap((pid) => {
    const rollup = read(`/proc/${pid}/smaps_rollup`);
    return [...rollup.matchAll(/^Pss_(?:Anon|Shmem):\s+(\d+) kB/gm)].map(([, kB]) =>
      Number(kB) * 1024
    );
  });
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** A process and its descendants. */
function treeOf(root: number): number[] {
  const children = Map.groupBy(allPids(), (pid) => Number(statOf(pid)[1] ?? 0));
  const tree = [root];
  for (const pid of tree) tree.push(...children.get(pid) ?? []);
  return tree;
}

function allPids(): number[] {
  return [...Deno.readDirSync("/proc")].map(({ name }) => Number(name)).filter((pid) => pid > 0);
}

/** The fields of /proc/PID/stat that follow the name: the state, the parent, … */
function statOf(pid: number): string[] {
  const stat = read(`/proc/${pid}/stat`);
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

function read(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return "";
  }
}
