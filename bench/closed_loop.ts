// A load generator of its own process: many connections that each ask, wait for the answer and ask
// again, and how evenly they are served. It talks to the system's sockets itself: a generator that
// serves its own sockets unevenly could not tell. Its arguments are
// `HOST PORT CONNECTIONS SECONDS [QUIET [PID,…]]`; it says "opened" on stderr, then JSON on stdout.

import { cpuMeter } from "./process.ts";
import { ADDRESS_BYTES, addressOf, Epoll, LINUX, openLibc } from "./sockets.ts";
import { quantile, sum } from "./stats.ts";

/** What was found. */
export interface ClosedLoopFigures {
  /** Answers a second, of all connections together. */
  readonly perSecond: number;
  /** The median time of an answer in milliseconds. */
  readonly p50Ms: number;
  /** The time that one answer of a hundred exceeds, in milliseconds. */
  readonly p99Ms: number;
  /** The longest time of an answer in milliseconds; one that has not come counts as far as it got. */
  readonly longestMs: number;
  /** Answers to the connection that got fewest, as a share of the median connection's. */
  readonly leastShare: number;
  /** CPU microseconds of the processes for an answer; 0 where none was named. */
  readonly cpuMicros: number;
  /** The same of each process. */
  readonly cpuMicrosEach: readonly number[];
}

const { AF_INET, SOCK_STREAM, EPOLLIN, MSG_DONTWAIT, MSG_NOSIGNAL } = LINUX;
const { IPPROTO_TCP, TCP_NODELAY, SOL_SOCKET, SO_LINGER, SO_SNDTIMEO } = LINUX;
/** Few enough for socat's listen queue of 5. */
const CONNECTS_AT_ONCE = 4;
/** How long a connect and the first answers may take. */
const PATIENCE_SECONDS = 20;
/**
 * How long all ask before and after the time that is counted: what was started beside them then runs
 * through all of that time.
 */
const AROUND_SECONDS = 0.5;
const PING = new TextEncoder().encode("PING\r\n");
const PONG_LENGTH = "+PONG\r\n".length;

/** Options for {@linkcode closedLoop}. */
interface ClosedLoopOptions {
  /** An IPv4 address. */
  readonly hostname: string;
  readonly port: number;
  /** How many ask. */
  readonly connections: number;
  /** How many more are held without a word meanwhile. */
  readonly quiet: number;
  readonly seconds: number;
  /** Whose CPU time is counted. */
  readonly processes: readonly { readonly pid: number }[];
  /** Told when all are open and have been answered once. */
  readonly onOpen: () => void;
}

function closedLoop(options: ClosedLoopOptions): ClosedLoopFigures {
  const libc = openLibc();
  const { connections, quiet, seconds, processes } = options;
  const address = addressOf(options.hostname, options.port);
  const epoll = new Epoll(libc);
  const answer = new Uint8Array(4096);
  const total = connections + quiet;
  const descriptors: number[] = [];
  const missing = new Int32Array(total);
  const counts = new Int32Array(connections);
  const askedMs = new Float64Array(total);
  const timesMs: number[] = [];

  function open(index: number): void {
    const descriptor = libc.socket(AF_INET, SOCK_STREAM, 0);
    if (descriptor < 0) {
      throw new Error(`no descriptor is left for connection ${index} of ${total} (ulimit -n)`);
    }
    // It holds for connect() too.
    const limit = BigInt64Array.of(BigInt(PATIENCE_SECONDS), 0n);
    libc.setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, limit, 16);
    // Closed by a reset, or thousands of ports would stay in use for a minute (TIME_WAIT).
    libc.setsockopt(descriptor, SOL_SOCKET, SO_LINGER, Int32Array.of(1, 0), 8);
    libc.setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, Int32Array.of(1), 4);
    if (libc.connect(descriptor, address, ADDRESS_BYTES) !== 0) {
      throw new Error(`connection ${index} of ${total} could not be opened`);
    }
    epoll.add(descriptor, { data: index, flags: EPOLLIN });
    descriptors.push(descriptor);
  }

  function ask(index: number): void {
    missing[index] = PONG_LENGTH;
    askedMs[index] = performance.now();
    const sent = libc.send(descriptors[index] ?? -1, PING, BigInt(PING.length), MSG_NOSIGNAL);
    if (Number(sent) !== PING.length) throw new Error(`connection ${index} was closed`);
  }

  /** Waits for answers once and calls back for each that is whole; how many sockets had something. */
  function wait(limitMs: number, onAnswer: (index: number) => void): number {
    return epoll.wait(limitMs, ({ data: index }) => {
      const size = BigInt(answer.length);
      const got = Number(libc.recv(descriptors[index] ?? -1, answer, size, MSG_DONTWAIT));
      if (got <= 0) throw new Error(`connection ${index} was closed`);
      missing[index] = (missing[index] ?? 0) - got;
      if (missing[index] === 0) onAnswer(index);
    });
  }

  /** All ask, wait and ask again; the milliseconds that this took. */
  function askOn(forSeconds: number, onAnswer: (index: number) => void): number {
    const beginMs = performance.now();
    let nowMs = beginMs;
    for (; nowMs < beginMs + forSeconds * 1000; nowMs = performance.now()) {
      wait(100, (index) => {
        onAnswer(index);
        ask(index);
      });
    }
    return nowMs - beginMs;
  }

  for (let done = 0; done < total;) {
    let unanswered = Math.min(CONNECTS_AT_ONCE, total - done);
    for (const end = done + unanswered; done < end; done++) {
      open(done);
      ask(done);
    }
    while (unanswered > 0) {
      if (wait(PATIENCE_SECONDS * 1000, () => unanswered--) === 0) {
        throw new Error(`no answer on connection ${done} of ${total} in ${PATIENCE_SECONDS} s`);
      }
    }
  }
  options.onOpen();
  for (let index = 0; index < connections; index++) ask(index);
  askOn(AROUND_SECONDS, () => {});
  const cpuUsed = cpuMeter(processes);
  const tookMs = askOn(seconds, (index) => {
    timesMs.push(performance.now() - (askedMs[index] ?? 0));
    counts[index] = (counts[index] ?? 0) + 1;
  });
  const cpuMicrosEach = cpuUsed().map((each) => each * 1e6 / timesMs.length);
  const nowMs = performance.now();
  const unansweredMs = nowMs -
    askedMs.subarray(0, connections).reduce((first, ms) => Math.min(first, ms), nowMs);
  askOn(AROUND_SECONDS, () => {});
  return {
    perSecond: timesMs.length / (tookMs / 1000),
    p50Ms: quantile(timesMs, 0.5),
    p99Ms: quantile(timesMs, 0.99),
    longestMs: Math.max(quantile(timesMs, 1), unansweredMs),
    leastShare: quantile([...counts], 0) / Math.max(1, quantile([...counts], 0.5)),
    cpuMicros: sum(cpuMicrosEach),
    cpuMicrosEach,
  };
}

if (import.meta.main) {
  const [hostname = "", port, connections, seconds, quiet, pids = ""] = Deno.args;
  try {
    console.log(JSON.stringify(closedLoop({
      hostname,
      port: Number(port),
      connections: Number(connections),
      seconds: Number(seconds),
      quiet: Number(quiet ?? 0),
      processes: pids.split(",").filter((pid) => pid !== "").map((pid) => ({ pid: Number(pid) })),
      onOpen: () => console.error("opened"),
    })));
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    Deno.exit(1);
  }
}
