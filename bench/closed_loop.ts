// A load generator of its own process: many connections that each ask, wait for the answer and ask
// again, and how evenly they are served. It talks to the system's sockets itself (epoll, by FFI): a
// generator that serves its own sockets unevenly could not tell. Linux.

import { quantile } from "./stats.ts";

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
}

const LIBRARY = {
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  send: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
  recv: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  epoll_create1: { parameters: ["i32"], result: "i32" },
  epoll_ctl: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  epoll_wait: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

const [AF_INET, SOCK_STREAM, EPOLL_CTL_ADD, EPOLLIN] = [2, 1, 1, 1];
const [MSG_DONTWAIT, MSG_NOSIGNAL, IPPROTO_TCP, TCP_NODELAY] = [0x40, 0x4000, 6, 1];
const MAX_EVENTS = 512;
/** `struct epoll_event` is packed on this architecture alone. */
const EVENT_WORDS = Deno.build.arch === "x86_64" ? 3 : 4;
/** Few enough for any listen queue. */
const CONNECTS_AT_ONCE = 50;
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
}

function closedLoop(options: ClosedLoopOptions): ClosedLoopFigures {
  const { symbols: libc } = openLibc();
  const { connections, quiet, seconds } = options;
  const epoll = libc.epoll_create1(0);
  const events = new Int32Array(MAX_EVENTS * EVENT_WORDS);
  const answer = new Uint8Array(4096);
  const descriptors: number[] = [];
  const missing = new Int32Array(connections + quiet);
  const counts = new Int32Array(connections);
  const askedMs = new Float64Array(connections + quiet);
  const timesMs: number[] = [];

  function ask(index: number): void {
    missing[index] = PONG_LENGTH;
    askedMs[index] = performance.now();
    const sent = libc.send(descriptors[index] ?? -1, PING, BigInt(PING.length), MSG_NOSIGNAL);
    if (Number(sent) !== PING.length) throw new Error(`connection ${index} was closed`);
  }

  /** Waits for answers once; calls back for each that is whole. */
  function wait(limitMs: number, onAnswer: (index: number) => void): void {
    const count = libc.epoll_wait(epoll, events, MAX_EVENTS, limitMs);
    for (let at = 0; at < count; at++) {
      const index = events[at * EVENT_WORDS + EVENT_WORDS - 2] ?? 0;
      const size = BigInt(answer.length);
      const got = Number(libc.recv(descriptors[index] ?? -1, answer, size, MSG_DONTWAIT));
      if (got <= 0) throw new Error(`connection ${index} was closed`);
      missing[index] = (missing[index] ?? 0) - got;
      if (missing[index] === 0) onAnswer(index);
    }
  }

  function open(index: number): void {
    const descriptor = libc.socket(AF_INET, SOCK_STREAM, 0);
    if (descriptor < 0 || libc.connect(descriptor, addressOf(options), 16) !== 0) {
      throw new Error(`connection ${index} of ${connections + quiet} could not be opened`);
    }
    libc.setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, new Int32Array([1]), 4);
    const event = new Int32Array(EVENT_WORDS);
    event[0] = EPOLLIN;
    event[EVENT_WORDS - 2] = index;
    libc.epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, event);
    descriptors.push(descriptor);
  }

  for (let done = 0; done < connections + quiet;) {
    const from = done;
    for (; done < Math.min(from + CONNECTS_AT_ONCE, connections + quiet); done++) {
      open(done);
      ask(done);
    }
    let answered = 0;
    while (answered < done - from) wait(10_000, () => answered++);
  }
  const beginMs = performance.now();
  const endMs = beginMs + seconds * 1000;
  for (let index = 0; index < connections; index++) ask(index);
  let nowMs = beginMs;
  while (nowMs < endMs) {
    wait(100, (index) => {
      timesMs.push(performance.now() - (askedMs[index] ?? 0));
      counts[index] = (counts[index] ?? 0) + 1;
      ask(index);
    });
    nowMs = performance.now();
  }
  const unansweredMs = nowMs -
    askedMs.subarray(0, connections).reduce((first, ms) => Math.min(first, ms), nowMs);
  return {
    perSecond: timesMs.length / ((nowMs - beginMs) / 1000),
    p50Ms: quantile(timesMs, 0.5),
    p99Ms: quantile(timesMs, 0.99),
    longestMs: Math.max(quantile(timesMs, 1), unansweredMs),
    leastShare: quantile([...counts], 0) / Math.max(1, quantile([...counts], 0.5)),
  };
}

if (import.meta.main) {
  const [hostname = "", port, connections, seconds, quiet] = Deno.args;
  console.log(JSON.stringify(closedLoop({
    hostname,
    port: Number(port),
    connections: Number(connections),
    seconds: Number(seconds),
    quiet: Number(quiet ?? 0),
  })));
}

function openLibc(): Deno.DynamicLibrary<typeof LIBRARY> {
  return Deno.dlopen("libc.so.6", LIBRARY);
}

function addressOf({ hostname, port }: ClosedLoopOptions): Uint8Array<ArrayBuffer> {
  const parts = hostname.split(".").map(Number);
  return Uint8Array.of(AF_INET, 0, port >> 8, port & 255, ...parts, 0, 0, 0, 0, 0, 0, 0, 0);
}
