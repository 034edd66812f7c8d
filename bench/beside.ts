// What others cost fifty connections that ask: readers that don't read, scrapers that take their time,
// new connections, and a log.

import { pause } from "../src/base/time.ts";
import { scrape } from "./forwarders.ts";
import { askOnce, busy, nothing } from "./loads.ts";
import type { Measure, MeasureTable } from "./measures.ts";
import type { Forwarder, LaunchOptions } from "./setup.ts";

/** What is beside them; it begins its work at once and ends it when it is disposed. */
type Start = (forwarder: Forwarder) => Promise<Disposable>;

/** Options for {@linkcode beside}. */
interface BesideOptions {
  /** How the forwarder is launched; one that is no ambassador is left out where this is not empty. */
  readonly launch?: LaunchOptions;
  readonly start?: Start;
}

function beside(name: string, { launch, start }: BesideOptions): Measure {
  return {
    name,
    figures: [{ title: "PING/s", better: "more" }, { title: "p99 ms", better: "less" }],
    async run({ candidate, effort }): Promise<number[]> {
      if (launch !== undefined && !candidate.isAmbassador) return [];
      await using forwarder = await candidate.launch(launch);
      using _others = await start?.(forwarder);
      const options = { connections: 50, seconds: 4 * effort };
      const [{ perSecond, p99Ms }] = await busy(forwarder, options, nothing);
      return [perSecond, p99Ms];
    },
  };
}

/** Clients of a server that sends without end; they never read. */
async function stalledReaders({ senderPort }: Forwarder): Promise<Disposable> {
  using opened = new DisposableStack();
  for (let i = 0; i < 60; i++) {
    opened.use(await Deno.connect({ hostname: "127.0.0.1", port: senderPort }));
  }
  // Until all buffers are full.
  await pause(1000);
  return opened.move();
}

/** Twenty that read some bytes a second, and one that asks every second and reads all. */
function slowScrapers({ statusPort }: Forwarder): Promise<Disposable> {
  const ended = new AbortController();
  for (let i = 0; i < 20; i++) void scrapeSlowly(statusPort, ended.signal);
  const timer = setInterval(() => void scrape(`127.0.0.1:${statusPort}`), 1000);
  return Promise.resolve({
    [Symbol.dispose]: () => {
      clearInterval(timer);
      ended.abort();
    },
  });
}

async function scrapeSlowly(port: number, ended: AbortSignal): Promise<void> {
  const request = new TextEncoder().encode("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
  const some = new Uint8Array(16);
  while (!ended.aborted) {
    try {
      using conn = await Deno.connect({ hostname: "127.0.0.1", port });
      await conn.write(request);
      while (!ended.aborted && await conn.read(some) !== null) await pause(1000);
    } catch {
      // It was cut off, and comes again.
      await pause(1000);
    }
  }
}

/** A thousand clients a second that ask once and leave. */
function newConnections({ redisPort }: Forwarder): Promise<Disposable> {
  const timer = setInterval(() => {
    // The last of them find a forwarder that has been stopped.
    for (let i = 0; i < 20; i++) void askOnce(redisPort).catch(() => {});
  }, 20);
  return Promise.resolve({ [Symbol.dispose]: () => clearInterval(timer) });
}

const ONE_PAGE: LaunchOptions = { status: true };
const LARGE_PAGE: LaunchOptions = { status: true, routes: 1000 };

/** One row for each that is beside them. */
export const BESIDE: MeasureTable = {
  name: "beside",
  text:
    "50 connections that ask, alone and beside others; every peer with one worker. In brackets: " +
    "how many times better than alone.",
  measures: [
    beside("alone", {}),
    beside("60 stalled readers", { start: stalledReaders }),
    beside("20 slow scrapers", { launch: ONE_PAGE, start: slowScrapers }),
    beside("20 slow scrapers, 1,000 routes", { launch: LARGE_PAGE, start: slowScrapers }),
    beside("1,000 new connections/s", { start: newConnections }),
    beside("the same, each in a log", { launch: { log: "read" }, start: newConnections }),
    beside("the same, nobody reads it", { launch: { log: "unread" }, start: newConnections }),
  ],
  againstFirst: true,
};
