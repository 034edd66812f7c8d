// What the status page is made from, for tests.

import { type Counts, RouteCounts } from "../../src/forward/counts.ts";
import type { RouteReport, TargetReport, WiringReport } from "../../src/forward/report.ts";
import { routeTo } from "./routes.ts";

/** Routes that can't change while the program runs. */
export const FIXED_WIRING: WiringReport = {
  file: undefined,
  since: 0,
  rewires: { ok: 0, failed: 0 },
  flaw: undefined,
};

/** A target that is up, and has something to do. */
export const BUSY_TARGET: TargetReport = {
  name: "192.0.2.10:6379",
  downSince: undefined,
  open: 1,
  connections: 2,
  isLeaving: false,
};

/** A UDP route called DNS, with nothing counted but what is given. */
export function datagramRoute(counts: Partial<Counts> = {}): RouteReport {
  const [protocol, port] = ["udp" as const, 53];
  return {
    route: routeTo({ protocol, hostname: "192.0.2.53", port }, {
      aliases: ["DNS"],
      listen: { protocol, hostname: "::", port },
    }),
    targets: [
      {
        name: "udp://192.0.2.53:53",
        downSince: undefined,
        open: 2,
        connections: 30,
        isLeaving: false,
      },
      { name: "udp://dns.invalid:53", downSince: 0, open: 0, connections: 0, isLeaving: false },
    ],
    counts: { ...new RouteCounts().report(), ...counts },
    isLeaving: false,
  };
}

/** Many datagrams, and some that were lost. */
export const BUSY_DATAGRAMS: Partial<Counts> = {
  open: 4096,
  connections: 1_234_567,
  connectErrors: 7,
  bytesUp: 1536,
  bytesDown: 1_048_576,
  datagramsUp: 12_345_678,
  datagramsDown: 12_345_000,
  dropped: { ...new RouteCounts().dropped, not_allowed: 1000, queue_full: 1, stranger: 23 },
};
