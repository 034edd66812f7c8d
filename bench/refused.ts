// What clients who are turned away cost those who are served: fifty connections that ask, and clients
// who come and go, without them and beside them.

import { arrivals, busy } from "./loads.ts";
import type { Measure, MeasureTable } from "./measures.ts";
import type { OpenLoopFigures } from "./open_loop.ts";
import type { Forwarder } from "./setup.ts";

/** Whom the forwarders serve. */
const ALLOWED = "127.0.0.1";
/** An address of this machine that they don't serve. */
const STRANGE = "127.0.0.2";
/** Clients a second who come and go. */
const RATE = 1000;
/** How long strangers go on when those who are counted have had their time, in seconds. */
const LONGER = 1;

/** What became of strangers. */
type Refusals = Pick<OpenLoopFigures, "refusedPerSecond" | "cpuMicros">;
/** Brings strangers for so many seconds. */
type Strangers = (forwarder: Forwarder, seconds: number) => Promise<Refusals>;

function strangersAt(rate: number): Strangers {
  return async ({ redisPort, processes }, seconds) => {
    const options = { source: STRANGE, rate, seconds, processes };
    const { answeredPerSecond, ...refusals } = await arrivals(redisPort, options);
    if (answeredPerSecond > 0) throw new Error("strangers were served");
    return refusals;
  };
}

function nobody(): Promise<Refusals> {
  return Promise.resolve({ refusedPerSecond: NaN, cpuMicros: NaN });
}

function refused(name: string, strangers: Strangers): Measure {
  return {
    name,
    figures: [
      { title: "PING/s", better: "more" },
      { title: "p99 ms", better: "less" },
      { title: "come and go/s", better: "more" },
      { title: "their p99 ms", better: "less" },
      { title: "refused/s", better: "more" },
      { title: "CPU µs/refused", better: "less" },
    ],
    async run({ candidate, effort }): Promise<number[]> {
      const seconds = 3 * effort;
      await using forwarder = await candidate.launch({ allow: ALLOWED });
      const { redisPort } = forwarder;
      const [asking, { refusedPerSecond }] = await busy(
        forwarder,
        { connections: 50, seconds },
        () => strangers(forwarder, seconds + LONGER),
      );
      const [coming] = await Promise.all([
        arrivals(redisPort, { source: ALLOWED, rate: RATE, seconds }),
        strangers(forwarder, seconds + LONGER),
      ]);
      const { cpuMicros } = await strangers(forwarder, seconds);
      return [
        ...[asking.perSecond, asking.p99Ms, coming.answeredPerSecond, coming.p99Ms],
        ...[refusedPerSecond, cpuMicros],
      ];
    },
  };
}

/** Without strangers, and beside them. */
export const REFUSED: MeasureTable = {
  name: "refused",
  text:
    "Clients who are allowed, beside strangers who are not: 50 connections that ask, then 1,000 " +
    "a second who ask once and leave. The CPU time is that of strangers alone. Every peer with one " +
    "worker. In brackets: how many times better than alone.",
  measures: [
    refused("alone", nobody),
    refused("10,000 strangers/s", strangersAt(10_000)),
  ],
  againstFirst: true,
};
