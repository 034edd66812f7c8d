// A forwarder at work between the bench and its servers.

import { LEAST_BYTES } from "./datagram.ts";
import type { ForwarderSpec } from "./forwarders.ts";
import { askOnce } from "./loads.ts";
import {
  connectSoon,
  freeDatagramPort,
  freePort,
  freePorts,
  type Running,
  start,
} from "./process.ts";
import { pause } from "../src/base/time.ts";
import { redisAddress, type Services } from "./services.ts";

/** A forwarder that runs, with a route to each of the servers, until it is disposed. */
export interface Forwarder extends AsyncDisposable {
  /** Its processes, without those that they have started. */
  readonly processes: readonly Running[];
  /** Leads to Redis. */
  readonly redisPort: number;
  /** Leads to iperf3. */
  readonly iperfPort: number;
  /** Leads to the server that sends without end. */
  readonly senderPort: number;
  /** Leads to the server of datagrams, where {@linkcode LaunchOptions.datagrams} says so. */
  readonly datagramPort: number;
  /** Lead where {@linkcode LaunchOptions.targets} says. */
  readonly targetPorts: readonly number[];
  /** Where the status page of an ambassador is, if it was asked for. */
  readonly statusPort: number;
}

/** Options for {@linkcode Candidate.launch}. All but the first three are for an ambassador alone. */
export interface LaunchOptions {
  /** One route for datagrams, and no other. Default: no such route. */
  readonly datagrams?: boolean;
  /** How many routes lead to Redis. Default: 1. */
  readonly routes?: number;
  /** The address of the only clients that are served. Default: all are. */
  readonly allow?: string;
  /** What stands behind the listener of one more route each: `127.0.0.1:80?allow=192.0.2.0/24`. */
  readonly targets?: readonly string[];
  /** With a status page. */
  readonly status?: boolean;
  /** With a line for each connection on a stderr that somebody reads, or that nobody does. */
  readonly log?: "read" | "unread";
}

/** One of those who are compared, ready to be started any number of times. */
export interface Candidate {
  /** The head of its column. */
  readonly name: string;
  /** Whether it is an ambassador. */
  readonly isAmbassador: boolean;
  /** Starts it and waits until Redis, or the server of datagrams, answers through it. */
  launch(options?: LaunchOptions): Promise<Forwarder>;
  /** Milliseconds from its start to the first client that is accepted. */
  startMs(): Promise<number>;
}

/** Puts a forwarder before the servers; `index` tells it from the others. */
export function candidate(
  spec: ForwarderSpec,
  { index, services, folder }: { index: number; services: Services; folder: string },
): Candidate {
  const hostname = redisAddress(index);
  const own = `${folder}/${index}`;
  Deno.mkdirSync(own, { recursive: true });
  async function launch(options: LaunchOptions = {}): Promise<Forwarder> {
    return await (options.datagrams ? launchForDatagrams() : launchForConnections(options));
  }
  /** Without a process of its own it is the server itself that is reached. */
  async function launchForDatagrams(): Promise<Forwarder> {
    const listenPort = freeDatagramPort();
    const port = services.datagramPort;
    const routes = [{ listenPort, hostname: "127.0.0.1", port, protocol: "udp" as const }];
    await using stack = new AsyncDisposableStack();
    const processes = spec.commands(routes, { folder: own, options: [] })
      .map((command) => stack.use(start(command)));
    const datagramPort = processes.length === 0 ? port : listenPort;
    await untilEchoed(datagramPort);
    const kept = stack.move();
    const others = { redisPort: 0, iperfPort: 0, senderPort: 0, targetPorts: [], statusPort: 0 };
    return {
      ...{ processes, datagramPort, ...others },
      [Symbol.asyncDispose]: () => kept.disposeAsync(),
    };
  }
  async function launchForConnections(
    { routes: count = 1, allow, targets = [], status, log }: LaunchOptions,
  ): Promise<Forwarder> {
    // The ambassador binds its routes in the order of their ports, the others as they are given.
    const ports = freePorts(count + targets.length + 3);
    const [iperfPort = 0, senderPort = 0, statusPort = 0, ...others] = ports;
    const [targetPorts, redisPorts] = [others.slice(0, -count), others.slice(-count)];
    const routes = [
      { listenPort: iperfPort, hostname: "127.0.0.1", port: services.iperfPort },
      { listenPort: senderPort, hostname: "127.0.0.1", port: services.senderPort },
      ...redisPorts.map((listenPort) => ({ listenPort, hostname, port: services.redisPort })),
    ];
    const options = [
      ...status ? [`--status=127.0.0.1:${statusPort}`] : [],
      ...log === undefined ? [] : ["--log-level=debug"],
      ...targets.map((target, index) => `127.0.0.1:${targetPorts[index]}=${target}`),
    ];
    await using stack = new AsyncDisposableStack();
    const processes = spec.commands(routes, { folder: own, options, allow }).map((command) =>
      stack.use(start(command, log === undefined ? [] : ["stderr"]))
    );
    if (log === "read") {
      for (const { child } of processes) void child.stderr.pipeTo(new WritableStream());
    }
    // The last route is the one that shows whether all are bound. No stranger's connection to iperf3.
    const redisPort = redisPorts.at(-1) ?? 0;
    await untilAnswered(redisPort);
    const kept = stack.move();
    return {
      ...{ processes, redisPort, iperfPort, senderPort, targetPorts, statusPort, datagramPort: 0 },
      [Symbol.asyncDispose]: () => kept.disposeAsync(),
    };
  }
  async function startMs(): Promise<number> {
    const listenPort = freePort();
    const routes = [{ listenPort, hostname, port: services.redisPort }];
    const [command = []] = spec.commands(routes, { folder: own, options: [] });
    const beginMs = performance.now();
    await using _running = start(command);
    using _client = await connectSoon(listenPort);
    return performance.now() - beginMs;
  }
  const { name, isAmbassador } = spec;
  return { name, isAmbassador, launch, startMs };
}

/** Resolves when a client is answered: the near one of a pair accepts before the far one does. */
export async function untilAnswered(port: number, withinMs = 10_000): Promise<void> {
  const endMs = performance.now() + withinMs;
  for (;;) {
    try {
      return await askOnce(port, Math.max(1, endMs - performance.now()));
    } catch (cause) {
      if (performance.now() < endMs) await pause(5);
      else throw new Error(`nothing answers on port ${port} within ${withinMs} ms`, { cause });
    }
  }
}

/** Resolves when a datagram comes back: one that comes before anybody listens is lost. */
export async function untilEchoed(port: number, withinMs = 10_000): Promise<void> {
  const hostname = "127.0.0.1";
  const address = { transport: "udp", hostname, port } as const;
  const socket = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
  const echoed = new AbortController();
  const receiving = socket.receive().then(() => echoed.abort(), () => {});
  const endMs = performance.now() + withinMs;
  try {
    while (!echoed.signal.aborted) {
      if (performance.now() > endMs) {
        throw new Error(`nothing is echoed by port ${port} within ${withinMs} ms`);
      }
      await socket.send(new Uint8Array(LEAST_BYTES), address);
      await pause(50, echoed.signal);
    }
  } finally {
    socket.close();
    await receiving;
  }
}
