// A load generator of its own process: clients that come at a rate, whatever becomes of those before
// them; each asks once and leaves with the answer, or is closed without one. Its arguments are
// `HOST PORT SOURCE RATE SECONDS [PID,… [ANNOUNCED]]`; it says JSON on stdout.

import { cpuSeconds } from "./process.ts";
import { proxyHeader } from "./proxy_header.ts";
import { ADDRESS_BYTES, addressOf, Epoll, LINUX, openLibc } from "./sockets.ts";
import { quantile } from "./stats.ts";

/** What was found. */
export interface OpenLoopFigures {
  /** Clients a second that were answered. */
  readonly answeredPerSecond: number;
  /** Clients a second that were closed without an answer. */
  readonly refusedPerSecond: number;
  /**
   * The time from the connect to the answer that one client of a hundred exceeds, in milliseconds;
   * one that has not come counts as far as it got.
   */
  readonly p99Ms: number;
  /** CPU microseconds of the processes for a client; 0 where none was named. */
  readonly cpuMicros: number;
}

/** Options for {@linkcode openLoop}. */
export interface OpenLoopOptions {
  /** The address that they come from, one of this machine. */
  readonly source: string;
  /** Clients a second. */
  readonly rate: number;
  /** How long they come. */
  readonly seconds: number;
  /** Whose CPU time is counted. Default: none. */
  readonly processes?: readonly { readonly pid: number }[];
  /** The IPv4 address that each announces in a PROXY header before it asks. Default: no header. */
  readonly announced?: string | undefined;
}

const { AF_INET, SOCK_STREAM, SOCK_NONBLOCK, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT } = LINUX;
const { EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP, EPOLLET, MSG_NOSIGNAL } = LINUX;
const { SOL_SOCKET, SO_ERROR, ECONNRESET, EPIPE } = LINUX;
/** Maximum number of clients at once; while there are as many, those who would come stay away. */
const MOST = 5000;
/** How long those who have come last may wait for their answers. */
const PATIENCE_MS = 3000;
const PING = new TextEncoder().encode("PING\r\n");
const PLUS = "+".charCodeAt(0);

function openLoop(
  target: { hostname: string; port: number },
  { source, rate, seconds, processes = [], announced }: OpenLoopOptions,
): OpenLoopFigures {
  const libc = openLibc();
  const epoll = new Epoll(libc);
  const here = addressOf(source, 0);
  const there = addressOf(target.hostname, target.port);
  const question = announced === undefined
    ? PING
    : new Uint8Array([...proxyHeader(announced, target), ...PING]);
  const answer = new Uint8Array(64);
  /** When each began to connect, by its descriptor. */
  const beganMs = new Map<number, number>();
  /** Those who have not asked yet. */
  const silent = new Set<number>();
  const timesMs: number[] = [];
  let refused = 0;

  function open(): void {
    const descriptor = libc.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (descriptor < 0) throw new Error("no descriptor is left (ulimit -n)");
    // The port is chosen when it connects, from those that are free for this target.
    libc.setsockopt(descriptor, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, Int32Array.of(1), 4);
    if (libc.bind(descriptor, here, ADDRESS_BYTES) !== 0) {
      throw new Error(`${source} is not an address of this machine`);
    }
    beganMs.set(descriptor, performance.now());
    silent.add(descriptor);
    libc.connect(descriptor, there, ADDRESS_BYTES);
    // Told once when it is open, and once when something has come.
    epoll.add(descriptor, { data: descriptor, flags: EPOLLIN | EPOLLOUT | EPOLLET });
  }

  function refuse(descriptor: number): void {
    refused++;
    close(descriptor);
  }

  function close(descriptor: number): void {
    libc.close(descriptor);
    beganMs.delete(descriptor);
    silent.delete(descriptor);
  }

  /** Whether it was closed by a reset. A connect that failed ends all. */
  function isReset(descriptor: number): boolean {
    const error = new Int32Array(1);
    libc.getsockopt(descriptor, SOL_SOCKET, SO_ERROR, error, Int32Array.of(4));
    if (error[0] === ECONNRESET || error[0] === EPIPE) return true;
    throw new Error(`a connection could not be opened (error ${error[0]})`);
  }

  function serve(descriptor: number, flags: number): void {
    if ((flags & (EPOLLERR | EPOLLHUP)) !== 0 && isReset(descriptor)) return refuse(descriptor);
    if (silent.delete(descriptor)) {
      const sent = libc.send(descriptor, question, BigInt(question.length), MSG_NOSIGNAL);
      // It was open a moment ago.
      if (sent < 0) return refuse(descriptor);
    }
    if ((flags & EPOLLIN) === 0) return;
    const got = Number(libc.recv(descriptor, answer, BigInt(answer.length), 0));
    if (got <= 0 || answer[0] !== PLUS) return refuse(descriptor);
    timesMs.push(performance.now() - (beganMs.get(descriptor) ?? 0));
    close(descriptor);
  }

  /** Serves those who have something for as long as somebody is to come, or is there. */
  function run(goesOn: () => boolean): void {
    while (goesOn()) epoll.wait(1, ({ data, flags }) => serve(data, flags));
  }

  const cpuBefore = cpuSeconds(processes);
  const beginMs = performance.now();
  let due = 0;
  let elapsedMs = 0;
  run(() => {
    elapsedMs = performance.now() - beginMs;
    for (; due < elapsedMs * rate / 1000; due++) if (beganMs.size < MOST) open();
    return elapsedMs < seconds * 1000;
  });
  const endMs = performance.now();
  run(() => beganMs.size > 0 && performance.now() < endMs + PATIENCE_MS);
  const cpu = cpuSeconds(processes) - cpuBefore;
  const answered = timesMs.length;
  const nowMs = performance.now();
  for (const ms of beganMs.values()) timesMs.push(nowMs - ms);
  const tookSeconds = elapsedMs / 1000;
  return {
    answeredPerSecond: answered / tookSeconds,
    refusedPerSecond: refused / tookSeconds,
    p99Ms: quantile(timesMs, 0.99),
    cpuMicros: cpu * 1e6 / (answered + refused),
  };
}

if (import.meta.main) {
  const [hostname = "", port, source = "", rate, seconds, pids = "", announced] = Deno.args;
  try {
    console.log(JSON.stringify(openLoop({ hostname, port: Number(port) }, {
      ...{ source, announced, rate: Number(rate), seconds: Number(seconds) },
      processes: pids.split(",").filter((pid) => pid !== "").map((pid) => ({ pid: Number(pid) })),
    })));
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    Deno.exit(1);
  }
}
