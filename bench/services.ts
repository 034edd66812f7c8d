// The servers behind the forwarders: Redis for requests, iperf3 for streams, one that sends to clients
// who don't read, and one for datagrams.

import { generatorCommand } from "./loads.ts";
import { findOnPath, howToInstall } from "./programs.ts";
import { freePort, type Running, start, untilAccepting } from "./process.ts";
import { startSender } from "./sender.ts";

/** Servers and load generators. */
export interface Services extends AsyncDisposable {
  /** Redis listens here on several addresses, one for each forwarder. */
  readonly redisPort: number;
  /** The iperf3 server listens here. */
  readonly iperfPort: number;
  /** A server that sends without end listens here. */
  readonly senderPort: number;
  /** A server of datagrams is here. */
  readonly datagramPort: number;
  /** The path of redis-benchmark. */
  readonly redisBenchmark: string;
  /** The path of iperf3. */
  readonly iperf3: string;
}

/**
 * The address that a forwarder reaches Redis by. Each has its own, so that ports which one of them has
 * used up (TIME_WAIT) are not missing for the next.
 */
export function redisAddress(index: number): string {
  return `127.0.0.${index + 1}`;
}

/** Starts all. Throws an error that says what is missing. */
export async function startServices(forwarders: number): Promise<Services> {
  const [redis, redisBenchmark, iperf3] = (["redis-server", "redis-benchmark", "iperf3"] as const)
    .map((name) => {
      const path = findOnPath(name);
      if (path === undefined) throw new Error(howToInstall(name));
      return path;
    }) as [string, string, string];
  await using started = new AsyncDisposableStack();
  const redisPort = freePort();
  const addresses = Array.from({ length: forwarders }, (_, index) => redisAddress(index));
  const run = (command: readonly string[]): Running => started.use(start(command));
  run([
    ...[redis, "--port", `${redisPort}`, "--bind", ...addresses],
    ...["--save", "", "--appendonly", "no", "--maxclients", "15000", "--tcp-backlog", "4096"],
    ...["--dir", "/tmp"],
  ]);
  const iperfPort = freePort();
  run([iperf3, "-s", "-B", "127.0.0.1", "-p", `${iperfPort}`]);
  await untilAccepting(redisPort);
  await untilAccepting(iperfPort);
  const { port: senderPort } = started.use(startSender());
  const { port: datagramPort } = started.use(await startDatagramServer());
  const kept = started.move();
  return {
    redisPort,
    iperfPort,
    senderPort,
    datagramPort,
    redisBenchmark,
    iperf3,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** A process that echoes datagrams, or counts them, until it is disposed. */
export async function startDatagramServer(): Promise<Running & { readonly port: number }> {
  const server = start(generatorCommand("datagram_server", []), ["stdout"]);
  const lines = server.child.stdout.pipeThrough(new TextDecoderStream()).values();
  const { value } = await lines.next();
  await lines.return?.();
  return { ...server, port: Number(value) };
}
