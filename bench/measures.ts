// What is measured, one entry a run: the figures that it gives and how it is made.

import { idle, quiet, requests, stream } from "./loads.ts";
import type { Services } from "./services.ts";
import type { Candidate, Forwarder } from "./setup.ts";
import { median } from "./stats.ts";

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

/** All, in the order of the table. */
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
  {
    name: "idle",
    figures: [{ title: "an idle connection, KB", better: "less" }],
    async run({ candidate, effort }): Promise<number[]> {
      await using fresh = await candidate.launch();
      return [await idle(fresh, { connections: Math.ceil(5000 * effort) }) / 1000];
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

/** iperf3 takes whole seconds. */
function seconds(effort: number): number {
  return Math.max(1, Math.round(2 * effort));
}
