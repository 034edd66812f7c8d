// The cost of growth: the same work with more and more connections, and with more and more routes.

import { connectionsFor } from "./descriptors.ts";
import { scrape } from "./forwarders.ts";
import { askOnce, busy, idle, nothing, requests } from "./loads.ts";
import type { Figure, Measure, MeasureTable } from "./measures.ts";
import { memoryBytes } from "./process.ts";
import { median, sum } from "./stats.ts";

const BUSY: readonly Figure[] = [
  { title: "PING/s", better: "more" },
  { title: "p50 ms", better: "less" },
  { title: "p99 ms", better: "less" },
  { title: "least/median", better: "more" },
  { title: "CPU µs/PING", better: "less" },
];

function busyMeasure(name: string, options: { connections: number; quiet?: number }): Measure {
  return {
    name,
    figures: BUSY,
    async run({ forwarder, effort }): Promise<number[]> {
      // Long enough for each of them to get some answers.
      const seconds = (2 + options.connections / 1000) * effort;
      const [figures] = await busy(forwarder, { ...options, seconds }, nothing);
      const { perSecond, p50Ms, p99Ms, leastShare, cpuMicros } = figures;
      return [perSecond, p50Ms, p99Ms, leastShare, cpuMicros];
    },
  };
}

function idleMeasure(connections: number): Measure {
  return {
    name: `${grouped(connections)} idle connections`,
    figures: [{ title: "KB each", better: "less" }],
    async run({ candidate }): Promise<number[]> {
      await using fresh = await candidate.launch();
      return [sum(await idle(fresh, { connections })) / 1000];
    },
  };
}

const ROUTES: readonly Figure[] = [
  { title: "start ms", better: "less" },
  { title: "memory MB", better: "less" },
  { title: "PING/s on the last", better: "more" },
  { title: "scrape ms", better: "less" },
];

function routesMeasure(routes: number): Measure {
  return {
    name: routes === 1 ? "1 route" : `${grouped(routes)} routes`,
    figures: ROUTES,
    async run({ candidate, services, effort }): Promise<number[]> {
      const beginMs = performance.now();
      await using forwarder = await candidate.launch({ routes, status: true });
      // A client is accepted by the kernel before there is somebody to serve it.
      await askOnce(forwarder.redisPort);
      const startMs = performance.now() - beginMs;
      const options = { count: 60_000 * effort, connections: 50 };
      const { perSecond } = await requests(services, forwarder, options);
      const memory = memoryBytes(forwarder.processes) / 1e6;
      const scrapeMs = candidate.isAmbassador ? await medianScrapeMs(forwarder.statusPort) : NaN;
      return [startMs, memory, perSecond, scrapeMs];
    },
  };
}

async function medianScrapeMs(statusPort: number): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < 11; i++) {
    const beginMs = performance.now();
    await scrape(`127.0.0.1:${statusPort}`);
    times.push(performance.now() - beginMs);
  }
  return median(times);
}

/** These as far as the limit on open files allows, else as many hundreds as it allows; each once. */
function possible(counts: readonly number[]): number[] {
  const most = Math.floor(connectionsFor(10) / 100) * 100;
  return [...new Set(counts.map((count) => Math.min(count, most)))];
}

function grouped(count: number): string {
  return count.toLocaleString("en");
}

const [most = 0] = possible([10_000]);

/** One table for each thing that grows. */
export const GROWTH: readonly MeasureTable[] = [
  {
    name: "busy",
    text: "Connections that ask, wait for the answer and ask again; every peer with one worker.",
    measures: [
      ...possible([10, 100, 300, 1000, 3000, 5000, 10_000]).map((connections) =>
        busyMeasure(`${grouped(connections)} connections`, { connections })
      ),
      busyMeasure(`${grouped(most)} connections, half of them busy`, {
        connections: most / 2,
        quiet: most / 2,
      }),
    ],
    againstFirst: false,
  },
  {
    name: "memory",
    text: "Memory of connections that have asked once.",
    measures: possible([100, 1000, 10_000]).map(idleMeasure),
    againstFirst: false,
  },
  {
    name: "routes",
    text:
      "Routes that are all bound, of which the last is asked; the ambassador with a status page. " +
      "The start ends with the first answer; the memory is that after the PINGs.",
    measures: [1, 100, 1000, 5000].map(routesMeasure),
    againstFirst: false,
  },
];
