// What is measured of datagrams, and the runs of their load generator.

import { pause } from "../src/base/time.ts";
import type { ComeFigures, EchoFigures, SendFigures } from "./datagram_load.ts";
import { connectionsFor } from "./descriptors.ts";
import { generatorCommand } from "./loads.ts";
import { type Measure, seconds } from "./measures.ts";
import { memoryBytes, output, type Running, start } from "./process.ts";
import type { Services } from "./services.ts";
import type { Forwarder } from "./setup.ts";

/** How long each datagram is. */
const BYTES = 128;

/** What so many clients get back, each of whom keeps some on the way. */
async function echoes(
  { datagramPort, processes }: Forwarder,
  { clients, inFlight, seconds }: { clients: number; inFlight: number; seconds: number },
): Promise<EchoFigures> {
  const text = await output(generatorCommand("datagram_load", [
    ...["echo", "127.0.0.1", datagramPort, clients, BYTES, seconds, inFlight],
    processes.map(({ pid }) => pid).join(),
  ]));
  return figuresOf<EchoFigures>(text, processes);
}

/** How many datagrams of so many clients come to the server, at a rate or (0) as they can be sent. */
async function oneWay(
  { datagramPort, processes }: Forwarder,
  { services, clients, rate, seconds }: {
    services: Services;
    clients: number;
    rate: number;
    seconds: number;
  },
): Promise<SendFigures> {
  const text = await output(generatorCommand("datagram_load", [
    ...["send", "127.0.0.1", datagramPort, clients, BYTES, seconds, rate, services.datagramPort],
    processes.map(({ pid }) => pid).join(),
  ]));
  return figuresOf<SendFigures>(text, processes);
}

/** What the generator has said; without a forwarder there is no CPU time of one. */
function figuresOf<T extends { cpuMicros: number }>(
  text: string,
  { length }: readonly Running[],
): T {
  const figures: T = JSON.parse(text, (_, value) => value ?? NaN);
  return length === 0 ? { ...figures, cpuMicros: NaN } : figures;
}

/** How fast clients are served that come for one echo, 32 of them at once. */
async function newcomers(
  { datagramPort, processes }: Forwarder,
  total: number,
): Promise<ComeFigures> {
  const text = await output(generatorCommand("datagram_load", [
    ...["come", "127.0.0.1", datagramPort, 32, BYTES, total],
    processes.map(({ pid }) => pid).join(),
  ]));
  return figuresOf<ComeFigures>(text, processes);
}

/** Bytes of memory that each of so many sessions costs that have had one echo. */
async function sessionBytes(
  { datagramPort, processes }: Forwarder,
  sessions: number,
): Promise<number> {
  const before = memoryBytes(processes);
  await using _clients = await holdSessions(datagramPort, sessions);
  await pause(5000);
  return (memoryBytes(processes) - before) / sessions;
}

/** Clients that have had one echo each, and that stay until they are disposed. */
export async function holdSessions(port: number, clients: number): Promise<Running> {
  const args = ["hold", "127.0.0.1", port, clients, BYTES];
  const holder = start(generatorCommand("datagram_load", args), ["stderr"]);
  const notes = holder.child.stderr.pipeThrough(new TextDecoderStream()).values();
  const { value: note } = await notes.next();
  await notes.return?.();
  if (note === "opened\n") return holder;
  await holder[Symbol.asyncDispose]();
  throw new Error(`the load generator: ${note?.trim()}`);
}

/** All, in the order of the table. */
export const UDP: readonly Measure[] = [
  {
    name: "echo",
    figures: [
      { title: "32 clients, echoes/s", better: "more" },
      { title: "32 clients, CPU µs/echo", better: "less" },
      { title: "32 clients, p50 ms", better: "less" },
      { title: "32 clients, p99 ms", better: "less" },
    ],
    async run({ forwarder, effort }): Promise<number[]> {
      const options = { clients: 32, inFlight: 1, seconds: 3 * effort };
      const { perSecond, cpuMicros, p50Ms, p99Ms } = await echoes(forwarder, options);
      return [perSecond, cpuMicros, p50Ms, p99Ms];
    },
  },
  {
    name: "window",
    figures: [
      { title: "4 clients, 16 each on the way, echoes/s", better: "more" },
      { title: "4 clients, 16 each on the way, CPU µs/echo", better: "less" },
    ],
    async run({ forwarder, effort }): Promise<number[]> {
      const options = { clients: 4, inFlight: 16, seconds: 3 * effort };
      const { perSecond, cpuMicros } = await echoes(forwarder, options);
      return [perSecond, cpuMicros];
    },
  },
  {
    name: "latency",
    figures: [{ title: "one client, ms/echo", better: "less" }],
    async run({ forwarder, effort }): Promise<number[]> {
      const options = { clients: 1, inFlight: 1, seconds: effort };
      return [1000 / (await echoes(forwarder, options)).perSecond];
    },
  },
  {
    name: "oneway",
    figures: [
      { title: "one way, as they can be sent, arrived/s", better: "more" },
      { title: "one way, as they can be sent, CPU µs each", better: "less" },
    ],
    async run({ services, forwarder, effort }): Promise<number[]> {
      const options = { services, clients: 32, rate: 0, seconds: seconds(effort) };
      const { arrivedPerSecond, cpuMicros } = await oneWay(forwarder, options);
      return [arrivedPerSecond, cpuMicros];
    },
  },
  {
    name: "paced",
    figures: [
      { title: "one way at 10,000/s, sent/s", better: "more" },
      { title: "one way at 10,000/s, arrived/s", better: "more" },
      { title: "one way at 10,000/s, lost %", better: "less" },
      { title: "one way at 10,000/s, CPU µs each", better: "less" },
    ],
    async run({ services, forwarder, effort }): Promise<number[]> {
      const options = { services, clients: 32, rate: 10_000, seconds: 3 * effort };
      const figures = await oneWay(forwarder, options);
      const { sentPerSecond, arrivedPerSecond, lostShare, cpuMicros } = figures;
      return [sentPerSecond, arrivedPerSecond, lostShare * 100, cpuMicros];
    },
  },
  {
    name: "new",
    figures: [
      { title: "new clients/s", better: "more" },
      { title: "new clients, CPU µs each", better: "less" },
    ],
    async run({ candidate, effort }): Promise<number[]> {
      // nginx keeps them all.
      await using fresh = await candidate.launch({ datagrams: true });
      const total = Math.min(8000, connectionsFor(1) * 0.8) * Math.min(1, 5 * effort);
      const { perSecond, cpuMicros } = await newcomers(fresh, Math.ceil(total));
      return [perSecond, cpuMicros];
    },
  },
  ...[1000, 4000].map(sessionsMeasure),
];

/** The memory of sessions that wait. */
function sessionsMeasure(count: number): Measure {
  return {
    name: `sessions${count}`,
    figures: [{ title: `${count.toLocaleString("en")} idle sessions, KB each`, better: "less" }],
    async run({ candidate, effort }): Promise<number[]> {
      await using fresh = await candidate.launch({ datagrams: true });
      if (fresh.processes.length === 0) return [];
      const sessions = Math.min(Math.ceil(Math.min(1, 5 * effort) * count), connectionsFor(1));
      return [await sessionBytes(fresh, sessions) / 1000];
    },
  };
}
