// What is measured, one entry a run: the figures that it gives and how it is made.

import { busy, idle, nothing, quiet, requests, stream } from "./loads.ts";
import type { Services } from "./services.ts";
import type { Candidate, Forwarder } from "./setup.ts";
import { median, sum } from "./stats.ts";

/** One row of the table. */
export interface Figure {
  /** What and in which unit. */
  readonly title: string;
  /** Which way is better. */
  readonly better: "more" | "less";
}

/** What a measure works with. */
export interface Subject {
  /** Who is measured. */
  readonly candidate: Candidate;
  /** It, running, with everything that came before it behind it. */
  readonly forwarder: Forwarder;
  /** The servers. */
  readonly services: Services;
  /** 1 for figures to publish, less for a quick look: multiplies durations and counts. */
  readonly effort: number;
}

/** One run that gives one or more figures. */
export interface Measure {
  /** Its name for `--only`. */
  readonly name: string;
  /** Its rows. */
  readonly figures: readonly Figure[];
  /** One value for each of its figures. */
  run(subject: Subject): Promise<readonly number[]>;
}

/** A table of its own: one row for each measure and candidate, the figures beside each other. */
export interface MeasureTable {
  /** Its name for `--only`. */
  readonly name: string;
  /** What stands above it. */
  readonly text: string;
  /** Its rows; all have the same figures. */
  readonly measures: readonly Measure[];
  /** Whether each figure is followed by how many times better it is than that of the first row. */
  readonly againstFirst: boolean;
}

/** All of the usual table, in its order. */
export const MEASURES: readonly Measure[] = [
  {
    name: "stream",
    figures: [
      { title: "one stream, Gbit/s", better: "more" },
      { title: "one stream, CPU s/GB", better: "less" },
    ],
    async run({ services, forwarder, effort }): Promise<number[]> {
      const options = { streams: 1, seconds: seconds(effort) };
      const { gbits, cpuPerGigabyte } = await stream(services, forwarder, options);
      return [gbits, cpuPerGigabyte];
    },
  },
  {
    name: "streams",
    figures: [{ title: "8 streams, Gbit/s", better: "more" }],
    async run({ services, forwarder, effort }): Promise<number[]> {
      const options = { streams: 8, seconds: seconds(effort) };
      return [(await stream(services, forwarder, options)).gbits];
    },
  },
  {
    name: "redis",
    figures: [
      { title: "50 connections, PING/s", better: "more" },
      { title: "50 connections, CPU µs/PING", better: "less" },
      { title: "50 connections, p50 ms", better: "less" },
      { title: "50 connections, p99 ms", better: "less" },
    ],
    async run({ services, forwarder, effort }): Promise<number[]> {
      const options = { count: 60_000 * effort, connections: 50 };
      const { perSecond, cpuMicros, p50Ms, p99Ms } = await requests(services, forwarder, options);
      return [perSecond, cpuMicros, p50Ms, p99Ms];
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
    name: "pipeline",
    figures: [{ title: "pipelined by 16, PING/s", better: "more" }],
    async run({ services, forwarder, effort }): Promise<number[]> {
      const options = { count: 500_000 * effort, connections: 50, extra: ["-P", "16"] };
      return [(await requests(services, forwarder, options)).perSecond];
    },
  },
  {
    name: "messages",
    figures: [{ title: "50 connections, SETs of 40 kB/s", better: "more" }],
    async run({ services, forwarder, effort }): Promise<number[]> {
      const extra = ["-t", "set", "-d", "40000"];
      const options = { count: 20_000 * effort, connections: 50, extra };
      return [(await requests(services, forwarder, options)).perSecond];
    },
  },
  {
    name: "connect",
    figures: [
      { title: "new connections/s", better: "more" },
      { title: "new connections, CPU µs each", better: "less" },
    ],
    async run({ services, forwarder, effort }): Promise<number[]> {
      const options = { count: 5000 * effort, connections: 50, extra: ["-k", "0"] };
      const { perSecond, cpuMicros } = await requests(services, forwarder, options);
      return [perSecond, cpuMicros];
    },
  },
  {
    name: "quiet",
    figures: [{ title: "quiet beside 4 streams, ms/PING", better: "less" }],
    async run({ services, forwarder, effort }): Promise<number[]> {
      return [await quiet(services, forwarder, { streams: 4, seconds: seconds(effort) })];
    },
  },
  crowd(300),
  crowd(1000),
  {
    name: "mix",
    figures: [
      { title: "1,000 beside 4 streams, PING/s", better: "more" },
      { title: "1,000 beside 4 streams, p99 ms", better: "less" },
      { title: "1,000 beside 4 streams, least/median", better: "more" },
      { title: "4 streams beside 1,000, Gbit/s", better: "more" },
    ],
    async run({ services, forwarder, effort }): Promise<number[]> {
      const counted = seconds(2 * effort);
      const [{ perSecond, p99Ms, leastShare }, { gbits }] = await busy(
        forwarder,
        { connections: 1000, seconds: counted },
        // As long as all ask.
        () => stream(services, forwarder, { streams: 4, seconds: counted + 1 }),
      );
      return [perSecond, p99Ms, leastShare, gbits];
    },
  },
  {
    name: "held",
    figures: [{ title: "4 streams beside 1,000 quiet, Gbit/s", better: "more" }],
    async run({ services, forwarder, effort }): Promise<number[]> {
      const [, { gbits }] = await busy(
        forwarder,
        { connections: 0, quiet: 1000, seconds: seconds(effort) },
        () => stream(services, forwarder, { streams: 4, seconds: seconds(effort) }),
      );
      return [gbits];
    },
  },
  {
    name: "idle",
    figures: [{ title: "an idle connection, KB", better: "less" }],
    async run({ candidate, effort }): Promise<number[]> {
      await using fresh = await candidate.launch();
      const bytes = await idle(fresh, { connections: Math.ceil(5000 * effort) });
      return [sum(bytes) / 1000];
    },
  },
  {
    name: "start",
    figures: [{ title: "start to first accept, ms", better: "less" }],
    async run({ candidate, effort }): Promise<number[]> {
      const times: number[] = [];
      for (let i = 0; i < Math.ceil(5 * effort); i++) times.push(await candidate.startMs());
      return [median(times)];
    },
  },
];

/** Many connections that ask, wait and ask again, and how evenly they are served. */
function crowd(connections: number): Measure {
  const who = `${connections.toLocaleString("en")} connections`;
  return {
    name: `crowd${connections}`,
    figures: [
      { title: `${who}, PING/s`, better: "more" },
      { title: `${who}, p99 ms`, better: "less" },
      { title: `${who}, least/median`, better: "more" },
    ],
    async run({ forwarder, effort }): Promise<number[]> {
      const options = { connections, seconds: 3 * effort };
      const [{ perSecond, p99Ms, leastShare }] = await busy(forwarder, options, nothing);
      return [perSecond, p99Ms, leastShare];
    },
  };
}

/** How long a stream runs: iperf3 takes whole seconds. */
export function seconds(effort: number): number {
  return Math.max(1, Math.round(2 * effort));
}
