// The load generators: those of Redis and iperf3, and two small ones for what these do not measure.

import { pause } from "../src/base/time.ts";
import { pathOf } from "../build/sources.ts";
import type { ClosedLoopFigures } from "./closed_loop.ts";
import type { OpenLoopFigures, OpenLoopOptions } from "./open_loop.ts";
import { cpuMeter, memoryBytes, output, start } from "./process.ts";
import type { Services } from "./services.ts";
import type { Forwarder } from "./setup.ts";
import { quantile, sum } from "./stats.ts";

/** Options for {@linkcode stream}. */
export interface StreamOptions {
  /** How many at once. */
  readonly streams: number;
  /** Whole ones. */
  readonly seconds: number;
  /** Whether the server sends and the client receives. Default: no. */
  readonly backwards?: boolean;
}

/** What a stream gave. */
export interface StreamFigures {
  /** Gbit/s of all streams together. */
  readonly gbits: number;
  /** CPU seconds of the forwarder for each gigabyte. */
  readonly cpuPerGigabyte: number;
  /** The same of each of its processes. */
  readonly cpuPerGigabyteEach: readonly number[];
}

/** Sends as much as goes through the forwarder with iperf3. */
export async function stream(
  services: Services,
  { processes, iperfPort }: Forwarder,
  options: StreamOptions,
): Promise<StreamFigures> {
  const cpuUsed = cpuMeter(processes);
  const report = JSON.parse(await output(iperfCommand(services, iperfPort, options)));
  const { bytes, bits_per_second } = report.end.sum_received;
  const cpuPerGigabyteEach = cpuUsed().map((each) => each / (bytes / 1e9));
  const cpuPerGigabyte = sum(cpuPerGigabyteEach);
  return { gbits: bits_per_second / 1e9, cpuPerGigabyte, cpuPerGigabyteEach };
}

function iperfCommand(
  { iperf3 }: Services,
  port: number,
  { streams, seconds, backwards = false }: StreamOptions,
): string[] {
  return [
    ...[iperf3, "-c", "127.0.0.1", "-p", `${port}`, "-P", `${streams}`, "-t", `${seconds}`, "-J"],
    ...backwards ? ["-R"] : [],
  ];
}

/** What redis-benchmark found. */
export interface RequestFigures {
  /** Requests a second. */
  readonly perSecond: number;
  /** The median time of a request in milliseconds. */
  readonly p50Ms: number;
  /** The time that one of a hundred exceeds, in milliseconds. */
  readonly p99Ms: number;
}

/** PINGs through the forwarder with redis-benchmark, and its CPU time for each, in microseconds. */
export async function requests(
  services: Services,
  { processes, redisPort }: Forwarder,
  { count, connections, extra = [] }: {
    count: number;
    connections: number;
    extra?: readonly string[];
  },
): Promise<RequestFigures & Pick<ClosedLoopFigures, "cpuMicros" | "cpuMicrosEach">> {
  const cpuUsed = cpuMeter(processes);
  const csv = await output([
    ...[services.redisBenchmark, "-h", "127.0.0.1", "-p", `${redisPort}`, "-t", "ping_mbulk"],
    ...["-n", `${Math.ceil(count)}`, "-c", `${connections}`, "--csv", ...extra],
  ]);
  const cpuMicrosEach = cpuUsed().map((each) => each * 1e6 / count);
  return { ...parseRequests(csv), cpuMicros: sum(cpuMicrosEach), cpuMicrosEach };
}

/** Reads the last line of what `redis-benchmark --csv` prints. */
export function parseRequests(csv: string): RequestFigures {
  const [perSecond = NaN, , , p50Ms = NaN, , p99Ms = NaN] = (csv.trim().split("\n").at(-1) ?? "")
    .split(",").slice(1).map((cell) => Number(cell.replaceAll('"', "")));
  return { perSecond, p50Ms, p99Ms };
}

/**
 * What many connections that ask, wait and ask again get through the forwarder, and what `beside` does
 * meanwhile: it is called when all of them are open, and they ask for a second longer than is counted.
 */
export async function busy<T>(
  { processes, redisPort }: Forwarder,
  { connections, quiet = 0, seconds }: { connections: number; quiet?: number; seconds: number },
  beside: () => Promise<T>,
): Promise<[ClosedLoopFigures, T]> {
  const command = generatorCommand("closed_loop", [
    ...["127.0.0.1", redisPort, connections, seconds, quiet],
    processes.map(({ pid }) => pid).join(),
  ]);
  await using generator = start(command, ["stdout", "stderr"]);
  const found = new Response(generator.child.stdout).text();
  const notes = generator.child.stderr.pipeThrough(new TextDecoderStream()).values();
  const { value: note } = await notes.next();
  if (note !== "opened\n") throw new Error(`the load generator: ${note?.trim()}`);
  const [text, result] = await Promise.all([found, beside()]);
  if (text === "") throw new Error(`the load generator: ${(await notes.next()).value?.trim()}`);
  return [JSON.parse(text, (_, value) => value ?? NaN), result];
}

/** What becomes of clients who come at a rate and ask once, by a route to whatever answers PINGs. */
export async function arrivals(
  port: number,
  { source, rate, seconds, processes = [], announced }: OpenLoopOptions,
): Promise<OpenLoopFigures> {
  const text = await output(generatorCommand("open_loop", [
    ...["127.0.0.1", port, source, rate, seconds],
    processes.map(({ pid }) => pid).join(),
    ...announced === undefined ? [] : [announced],
  ]));
  return JSON.parse(text, (_, value) => value ?? NaN);
}

/** A generator of this folder that runs as a process of its own. */
export function generatorCommand(name: string, args: readonly (string | number)[]): string[] {
  const deno = [Deno.execPath(), "run", "-q", "-A", "--no-config"];
  return [...deno, pathOf(`bench/${name}.ts`), ...args.map(String)];
}

/** Nothing, for {@linkcode busy}. */
export function nothing(): Promise<void> {
  return Promise.resolve();
}

/** The median time of a request on one connection while streams run beside it, in milliseconds. */
export async function quiet(
  services: Services,
  { redisPort, iperfPort }: Forwarder,
  { streams, seconds }: Pick<StreamOptions, "streams" | "seconds">,
): Promise<number> {
  using conn = await Deno.connect({ hostname: "127.0.0.1", port: redisPort });
  conn.setNoDelay(true);
  await ping(conn);
  let running = true;
  const streaming = output(iperfCommand(services, iperfPort, { streams, seconds }))
    .finally(() => running = false);
  const endMs = performance.now() + seconds * 1000;
  // Half a second for the streams to get going.
  await pause(Math.min(500, seconds * 500));
  const timesMs: number[] = [];
  while (running && performance.now() < endMs) {
    const beginMs = performance.now();
    await ping(conn);
    timesMs.push(performance.now() - beginMs);
    await pause(5);
  }
  await streaming;
  return quantile(timesMs, 0.5);
}

/**
 * Bytes of memory that each of so many connections costs that have asked once and then are idle, in
 * each process of the forwarder.
 */
export async function idle(
  { processes, redisPort }: Forwarder,
  { connections }: { connections: number },
): Promise<number[]> {
  const before = processes.map((each) => memoryBytes([each]));
  using opened = new DisposableStack();
  for (let done = 0; done < connections;) {
    // No more at once than socat's listen queue holds, or each batch waits for a SYN that is sent again.
    const batch = Math.min(4, connections - done);
    await Promise.all(Array.from({ length: batch }, async () => {
      await ping(opened.use(await Deno.connect({ hostname: "127.0.0.1", port: redisPort })));
    }));
    done += batch;
  }
  await pause(5000);
  return processes.map((each, index) => (memoryBytes([each]) - (before[index] ?? 0)) / connections);
}

const PING = new TextEncoder().encode("PING\r\n");
const PONG_LENGTH = "+PONG\r\n".length;

/**
 * Connects, asks once and leaves with the answer.
 *
 * @throws {Error} if there is none within the limit
 */
export async function askOnce(port: number, limitMs = 10_000): Promise<void> {
  using conn = await Deno.connect({ hostname: "127.0.0.1", port });
  const limit = setTimeout(() => conn.close(), limitMs);
  try {
    await ping(conn);
  } finally {
    clearTimeout(limit);
  }
}

async function ping(conn: Deno.TcpConn): Promise<void> {
  await conn.write(PING);
  const answer = new Uint8Array(PONG_LENGTH);
  for (let done = 0; done < PONG_LENGTH;) {
    const count = await conn.read(answer.subarray(done));
    if (count === null) throw new Error("the connection was closed before the answer");
    done += count;
  }
}
