// What is measured of pairs with TLS between them, and what each of the two takes for it.

import { busy, idle, nothing, requests, stream } from "./loads.ts";
import { type Figure, type Measure, seconds } from "./measures.ts";

/** The rows of what each of the two takes. */
function ofBoth(what: string): Figure[] {
  return ["near", "far"].map((which) => ({ title: `${what}, ${which}`, better: "less" }));
}

function streamMeasure(name: string, what: string, backwards: boolean): Measure {
  return {
    name,
    figures: [
      { title: `one stream ${what}, Gbit/s`, better: "more" },
      ...ofBoth(`one stream ${what}, CPU µs/MB`),
    ],
    async run({ services, forwarder, effort }): Promise<number[]> {
      const options = { streams: 1, seconds: seconds(effort), backwards };
      const { gbits, cpuPerGigabyteEach } = await stream(services, forwarder, options);
      return [gbits, ...cpuPerGigabyteEach.map((each) => each * 1000)];
    },
  };
}

/** All, in the order of the table. */
export const TLS: readonly Measure[] = [
  streamMeasure("up", "up", false),
  streamMeasure("down", "down", true),
  {
    name: "redis",
    figures: [
      { title: "50 connections, PING/s", better: "more" },
      { title: "50 connections, p50 ms", better: "less" },
      { title: "50 connections, p99 ms", better: "less" },
      ...ofBoth("50 connections, CPU µs/PING"),
    ],
    async run({ forwarder, effort }): Promise<number[]> {
      const options = { connections: 50, seconds: 3 * effort };
      const [{ perSecond, p50Ms, p99Ms, cpuMicrosEach }] = await busy(forwarder, options, nothing);
      return [perSecond, p50Ms, p99Ms, ...cpuMicrosEach];
    },
  },
  {
    name: "latency",
    figures: [{ title: "one connection, ms/PING", better: "less" }],
    async run({ services, forwarder, effort }): Promise<number[]> {
      const options = { count: 10_000 * effort, connections: 1 };
      return [1000 / (await requests(services, forwarder, options)).perSecond];
    },
  },
  {
    name: "connect",
    figures: [
      { title: "new connections/s", better: "more" },
      ...ofBoth("new connections, CPU µs each"),
    ],
    async run({ services, forwarder, effort }): Promise<number[]> {
      const options = { count: 5000 * effort, connections: 50, extra: ["-k", "0"] };
      const { perSecond, cpuMicrosEach } = await requests(services, forwarder, options);
      return [perSecond, ...cpuMicrosEach];
    },
  },
  {
    name: "idle",
    figures: ofBoth("an idle connection, KB"),
    async run({ candidate, effort }): Promise<number[]> {
      await using fresh = await candidate.launch();
      const bytes = await idle(fresh, { connections: Math.ceil(Math.min(1, 5 * effort) * 1000) });
      return bytes.map((each) => each / 1000);
    },
  },
];
