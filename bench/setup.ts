// A forwarder at work between the bench and its two servers.

import type { ForwarderSpec } from "./forwarders.ts";
import { connectSoon, freePort, type Running, start, untilAccepting } from "./process.ts";
import { redisAddress, type Services } from "./services.ts";

/** A forwarder that runs, with one route to Redis and one to iperf3, until it is disposed. */
export interface Forwarder extends AsyncDisposable {
  /** Its processes, without those that they have started. */
  readonly processes: readonly Running[];
  /** Leads to Redis. */
  readonly redisPort: number;
  /** Leads to iperf3. */
  readonly iperfPort: number;
}

/** One of those who are compared, ready to be started any number of times. */
export interface Candidate {
  /** The head of its column. */
  readonly name: string;
  /** Starts it and waits until it accepts. */
  launch(): Promise<Forwarder>;
  /** Starts it with so many routes to Redis. */
  launchWithRoutes(count: number): Promise<Forwarder>;
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
  async function launchWithRoutes(count: number): Promise<Forwarder> {
    const ports = freePorts(count + 1);
    const [iperfPort = 0, ...redisPorts] = ports;
    const routes = redisPorts.map((listenPort) => ({
      listenPort,
      hostname,
      port: services.redisPort,
    }));
    const iperf = { listenPort: iperfPort, hostname: "127.0.0.1", port: services.iperfPort };
    await using stack = new AsyncDisposableStack();
    const processes = spec.commands([...routes, iperf], own).map((c) => stack.use(start(c)));
    // The last route is the one that shows whether all are bound. No stranger's connection to iperf3.
    const redisPort = redisPorts.at(-1) ?? 0;
    await untilAccepting(redisPort);
    const kept = stack.move();
    return { processes, redisPort, iperfPort, [Symbol.asyncDispose]: () => kept.disposeAsync() };
  }
  async function startMs(): Promise<number> {
    const listenPort = freePort();
    const [command = []] = spec.commands([{ listenPort, hostname, port: services.redisPort }], own);
    const beginMs = performance.now();
    await using _running = start(command);
    using _client = await connectSoon(listenPort);
    return performance.now() - beginMs;
  }
  return { name: spec.name, launch: () => launchWithRoutes(1), launchWithRoutes, startMs };
}

/** So many different ports on which nothing listened a moment ago. */
function freePorts(count: number): number[] {
  // Each is given back at once, so the system may name one twice; a set takes it once.
  const ports = new Set<number>();
  while (ports.size < count) ports.add(freePort());
  return [...ports];
}
