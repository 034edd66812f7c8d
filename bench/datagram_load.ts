// A load generator of its own process: clients that send datagrams, each from a socket of its own. It
// talks to the system's sockets itself, since Deno's are slower than what is measured. It says JSON on
// stdout; its arguments are those of one of four loads:
// `echo HOST PORT CLIENTS BYTES SECONDS IN_FLIGHT [PID,…]`: each keeps so many on the way, and sends
// another for each that comes back;
// `send HOST PORT CLIENTS BYTES SECONDS RATE SERVER_PORT [PID,…]`: all together send so many a second,
// or as many as they can if it is 0, and the server is asked how many came;
// `come HOST PORT CLIENTS BYTES TOTAL [PID,…]`: so many are there at once; each leaves with its first
// echo, and another comes in its place, until there have been so many in total;
// `hold HOST PORT CLIENTS BYTES`: each sends until one comes back; then it says "opened" on stderr,
// and stays until it is killed.

import { KIND, LEAST_BYTES, MOST_BYTES } from "./datagram.ts";
import { cpuMeter } from "./process.ts";
import { ADDRESS_BYTES, addressOf, Epoll, LINUX, openLibc } from "./sockets.ts";
import { quantile, sum } from "./stats.ts";

/** What became of datagrams that are echoed. */
export interface EchoFigures {
  /** Echoes a second, of all clients together. */
  readonly perSecond: number;
  /** The median time of an echo in milliseconds. */
  readonly p50Ms: number;
  /** The time that one echo of a hundred exceeds, in milliseconds. */
  readonly p99Ms: number;
  /** How many were given up, as a share of all. */
  readonly lostShare: number;
  /** CPU microseconds of the processes for an echo: two datagrams. */
  readonly cpuMicros: number;
}

/** What became of datagrams that are not answered. */
export interface SendFigures {
  /** How many were sent a second. */
  readonly sentPerSecond: number;
  /** How many came to the server a second. */
  readonly arrivedPerSecond: number;
  /** How many did not, as a share of those that were sent. */
  readonly lostShare: number;
  /** CPU microseconds of the processes for one that came. */
  readonly cpuMicros: number;
}

/** What became of clients that come for one echo. */
export interface ComeFigures {
  /** How many were served a second. */
  readonly perSecond: number;
  /** CPU microseconds of the processes for one. */
  readonly cpuMicros: number;
}

const { AF_INET, SOCK_DGRAM, EPOLLIN, MSG_DONTWAIT, MSG_NOSIGNAL } = LINUX;
/** How long a client waits for any echo before it gives up those that are on the way. */
const LOST_MS = 200;
/** How long the first echoes of all clients may take, with all that they send again meanwhile. */
const PATIENCE_MS = 20_000;
/** How many clients send their first at once: a forwarder may start a process for each. */
const OPENED_AT_ONCE = 4;
/** Of those who come, one of so many is not counted: the first of all. */
const NOT_COUNTED = 4;
/** They come from so many addresses of this machine in turn, so that hardly any port comes twice. */
const SOURCES = 16;
/** How long all work before the time that is counted. */
const BEFORE_SECONDS = 0.5;
/** How long what was sent last may be on its way. */
const SETTLE_MS = 300;
/** How long the clients wait between those that they send at a rate. */
const TICK_MS = 1;
/** Who was kept from sending for longer makes up for no more than this, or a burst would follow. */
const MOST_LATE_MS = 5;
/** How many are sent as fast as they can be between two looks at the clock. */
const BURST = 64;

/** Where the forwarder listens, and how many clients it has. */
interface ClientsOptions {
  /** An IPv4 address. */
  readonly hostname: string;
  readonly port: number;
  readonly clients: number;
  /** How long each datagram is. */
  readonly bytes: number;
}

/** Sockets that are connected to the forwarder, all of which have been answered once. */
class Clients {
  /** How many there are. */
  readonly count: number;
  readonly #libc = openLibc();
  readonly #epoll = new Epoll(this.#libc);
  readonly #descriptors: number[] = [];
  readonly #datagram: Uint8Array<ArrayBuffer>;
  readonly #view: DataView;
  readonly #size: bigint;
  readonly #answer = new Uint8Array(MOST_BYTES);
  readonly #answerView = new DataView(this.#answer.buffer);
  /** By client: echoes of earlier ones are of datagrams that were given up. */
  readonly #generations: Uint32Array;
  readonly #address: Uint8Array<ArrayBuffer>;
  #replaced = 0;

  constructor({ hostname, port, clients, bytes }: ClientsOptions) {
    this.count = clients;
    this.#datagram = new Uint8Array(Math.max(LEAST_BYTES, bytes));
    this.#view = new DataView(this.#datagram.buffer);
    this.#size = BigInt(this.#datagram.length);
    this.#generations = new Uint32Array(clients);
    this.#address = addressOf(hostname, port);
    const endMs = performance.now() + PATIENCE_MS;
    for (let done = 0; done < clients;) {
      const first = done;
      const end = Math.min(clients, done + OPENED_AT_ONCE);
      for (; done < end; done++) this.#open(done, "0.0.0.0");
      this.#greet(first, { end, endMs });
    }
  }

  #open(index: number, source: string): void {
    const descriptor = this.#libc.socket(AF_INET, SOCK_DGRAM, 0);
    if (descriptor < 0) {
      throw new Error(`no descriptor is left for client ${index} of ${this.count} (ulimit -n)`);
    }
    this.#libc.bind(descriptor, addressOf(source, 0), ADDRESS_BYTES);
    this.#libc.connect(descriptor, this.#address, ADDRESS_BYTES);
    this.#epoll.add(descriptor, { data: index, flags: EPOLLIN });
    this.#descriptors[index] = descriptor;
  }

  /** Another comes in its place, who has not been answered yet. */
  replace(index: number): void {
    this.#libc.close(this.#descriptors[index] ?? -1);
    this.#open(index, `127.0.0.${2 + this.#replaced++ % SOURCES}`);
  }

  /** Sends for each of some until it has an echo. */
  #greet(first: number, { end, endMs }: { end: number; endMs: number }): void {
    const silent = new Set(Array.from({ length: end - first }, (_, index) => first + index));
    for (let nowMs = performance.now(); silent.size > 0; nowMs = performance.now()) {
      if (nowMs > endMs) {
        throw new Error(`${first} of ${this.count} clients had an echo in ${PATIENCE_MS / 1000} s`);
      }
      for (const index of silent) this.send(index, KIND.echo, nowMs);
      const againMs = nowMs + LOST_MS;
      while (silent.size > 0 && performance.now() < againMs) {
        this.wait(LOST_MS, (index) => silent.delete(index));
      }
    }
    // More may come of those who were asked twice.
    for (let index = first; index < end; index++) this.giveUp(index);
  }

  /** Sends one; one that the system won't send, since nobody listened a moment ago, is lost. */
  send(index: number, kind: number, nowMs: number): void {
    this.#datagram[0] = kind;
    this.#view.setUint32(4, this.#generations[index] ?? 0);
    this.#view.setFloat64(8, nowMs);
    this.#libc.send(this.#descriptors[index] ?? -1, this.#datagram, this.#size, MSG_NOSIGNAL);
  }

  /** All that are on the way for a client count as lost. */
  giveUp(index: number): void {
    this.#generations[index] = (this.#generations[index] ?? 0) + 1;
  }

  /** Waits once and calls back for each client to whom something has come back, with when it left. */
  wait(limitMs: number, onEcho: (index: number, sentMs: number) => void): void {
    const size = BigInt(this.#answer.length);
    this.#epoll.wait(limitMs, ({ data: index }) => {
      const descriptor = this.#descriptors[index] ?? -1;
      const got = Number(this.#libc.recv(descriptor, this.#answer, size, MSG_DONTWAIT));
      if (got < LEAST_BYTES) return;
      const isGivenUp = this.#answerView.getUint32(4) !== this.#generations[index];
      if (!isGivenUp) onEcho(index, this.#answerView.getFloat64(8));
    });
  }

  /** How many the server has counted; for a client of the server itself. */
  ask(): number {
    const endMs = performance.now() + PATIENCE_MS;
    let counted = NaN;
    while (Number.isNaN(counted)) {
      const nowMs = performance.now();
      if (nowMs > endMs) throw new Error("the server does not say what has come");
      this.send(0, KIND.ask, nowMs);
      this.wait(LOST_MS, () => counted = this.#answerView.getUint32(0));
    }
    this.giveUp(0);
    return counted;
  }
}

/** Whose CPU time is counted. */
type Processes = readonly { readonly pid: number }[];

/** Options for {@linkcode echo}. */
interface EchoOptions {
  /** How many each client keeps on the way. */
  readonly inFlight: number;
  readonly seconds: number;
  readonly processes: Processes;
}

function echo(clients: Clients, { inFlight, seconds, processes }: EchoOptions): EchoFigures {
  const onTheWay = new Int32Array(clients.count);
  const heardMs = new Float64Array(clients.count);
  const timesMs: number[] = [];
  let lost = 0;

  function refill(index: number, nowMs: number): void {
    for (; (onTheWay[index] ?? 0) < inFlight; onTheWay[index] = (onTheWay[index] ?? 0) + 1) {
      clients.send(index, KIND.echo, nowMs);
    }
  }

  function giveUpTheLost(nowMs: number): void {
    for (let index = 0; index < clients.count; index++) {
      if (nowMs - (heardMs[index] ?? 0) < LOST_MS) continue;
      lost += onTheWay[index] ?? 0;
      clients.giveUp(index);
      onTheWay[index] = 0;
      heardMs[index] = nowMs;
      refill(index, nowMs);
    }
  }

  /** All work for so long; the milliseconds that it took. */
  function run(forSeconds: number, onEcho: (ms: number) => void): number {
    const beginMs = performance.now();
    let nowMs = beginMs;
    let checkedMs = beginMs;
    for (; nowMs < beginMs + forSeconds * 1000; nowMs = performance.now()) {
      clients.wait(LOST_MS, (index, sentMs) => {
        const hereMs = performance.now();
        onEcho(hereMs - sentMs);
        heardMs[index] = hereMs;
        onTheWay[index] = (onTheWay[index] ?? 0) - 1;
        refill(index, hereMs);
      });
      if (performance.now() < checkedMs + LOST_MS) continue;
      checkedMs = performance.now();
      giveUpTheLost(checkedMs);
    }
    return nowMs - beginMs;
  }

  const beginMs = performance.now();
  heardMs.fill(beginMs);
  for (let index = 0; index < clients.count; index++) refill(index, beginMs);
  run(BEFORE_SECONDS, () => {});
  lost = 0;
  const cpuUsed = cpuMeter(processes);
  const tookMs = run(seconds, (ms) => timesMs.push(ms));
  const cpuMicros = sum(cpuUsed()) * 1e6 / timesMs.length;
  return {
    perSecond: timesMs.length / (tookMs / 1000),
    p50Ms: quantile(timesMs, 0.5),
    p99Ms: quantile(timesMs, 0.99),
    lostShare: lost / (lost + timesMs.length),
    cpuMicros,
  };
}

/** Options for {@linkcode send}. */
interface SendOptions {
  /** Of all clients together, a second; 0: as many as they can. */
  readonly rate: number;
  readonly seconds: number;
  /** A client of the server itself. */
  readonly server: Clients;
  readonly processes: Processes;
}

function send(clients: Clients, { rate, seconds, server, processes }: SendOptions): SendFigures {
  let sent = 0;

  function sendSome(count: number): void {
    const nowMs = performance.now();
    for (let i = 0; i < count; i++) clients.send(sent++ % clients.count, KIND.count, nowMs);
  }

  /** All send for so long; the milliseconds that it took. */
  function run(forSeconds: number): number {
    const beginMs = performance.now();
    let sentUntilMs = beginMs;
    let nowMs = beginMs;
    for (; nowMs < beginMs + forSeconds * 1000; nowMs = performance.now()) {
      if (rate === 0) {
        sendSome(BURST);
        continue;
      }
      sentUntilMs = Math.max(sentUntilMs, nowMs - MOST_LATE_MS);
      const due = Math.floor((nowMs - sentUntilMs) * rate / 1000);
      sendSome(due);
      sentUntilMs += due * 1000 / rate;
      clients.wait(TICK_MS, () => {});
    }
    return nowMs - beginMs;
  }

  function settle(): void {
    const endMs = performance.now() + SETTLE_MS;
    while (performance.now() < endMs) clients.wait(SETTLE_MS, () => {});
  }

  run(BEFORE_SECONDS);
  settle();
  sent = 0;
  const before = server.ask();
  const cpuUsed = cpuMeter(processes);
  const tookMs = run(seconds);
  settle();
  const arrived = server.ask() - before;
  return {
    sentPerSecond: sent / (tookMs / 1000),
    arrivedPerSecond: arrived / (tookMs / 1000),
    lostShare: (sent - arrived) / sent,
    cpuMicros: sum(cpuUsed()) * 1e6 / arrived,
  };
}

/** Options for {@linkcode come}. */
interface ComeOptions {
  readonly total: number;
  readonly processes: Processes;
}

function come(clients: Clients, { total, processes }: ComeOptions): ComeFigures {
  const askedMs = new Float64Array(clients.count);
  let served = 0;

  function ask(index: number): void {
    askedMs[index] = performance.now();
    clients.send(index, KIND.echo, askedMs[index] ?? 0);
  }

  function serve(upTo: number): void {
    const endMs = performance.now() + PATIENCE_MS;
    let checkedMs = performance.now();
    while (served < upTo) {
      clients.wait(LOST_MS, (index) => {
        served++;
        clients.replace(index);
        ask(index);
      });
      const nowMs = performance.now();
      if (nowMs > endMs) {
        throw new Error(`${served} of ${total} clients had an echo in ${PATIENCE_MS / 1000} s`);
      }
      if (nowMs < checkedMs + LOST_MS) continue;
      checkedMs = nowMs;
      for (let index = 0; index < clients.count; index++) {
        if (nowMs - (askedMs[index] ?? 0) >= LOST_MS) ask(index);
      }
    }
  }

  for (let index = 0; index < clients.count; index++) {
    clients.replace(index);
    ask(index);
  }
  serve(Math.floor(total / NOT_COUNTED));
  const before = served;
  const beginMs = performance.now();
  const cpuUsed = cpuMeter(processes);
  serve(total);
  const counted = served - before;
  return {
    perSecond: counted / ((performance.now() - beginMs) / 1000),
    cpuMicros: sum(cpuUsed()) * 1e6 / counted,
  };
}

/** Stays with all sockets open until the process is killed. */
function hold(): never {
  console.error("opened");
  for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
}

function processesOf(pids = ""): Processes {
  return pids.split(",").filter((pid) => pid !== "").map((pid) => ({ pid: Number(pid) }));
}

function run(
  [load, hostname = "", ...args]: readonly string[],
): EchoFigures | SendFigures | ComeFigures {
  const [port = 0, count = 0, bytes = 0, first = 0, second = 0, third = 0] = args.map(Number);
  const clients = new Clients({ hostname, port, clients: count, bytes });
  switch (load) {
    case "echo":
      return echo(clients, { seconds: first, inFlight: second, processes: processesOf(args[5]) });
    case "send": {
      const server = new Clients({ hostname, port: third, clients: 1, bytes });
      const processes = processesOf(args[6]);
      return send(clients, { seconds: first, rate: second, server, processes });
    }
    case "come":
      return come(clients, { total: first, processes: processesOf(args[4]) });
    default:
      return hold();
  }
}

if (import.meta.main) {
  try {
    console.log(JSON.stringify(run(Deno.args)));
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    Deno.exit(1);
  }
}
