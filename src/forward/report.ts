// What the status page, `/readyz` and the metrics are made from: one look at the forwarder. It knows
// nothing of HTTP, and is plain data: whoever renders it may take its time.

import type { ConnectError, Counts } from "./counts.ts";
import type { Ignored, Route } from "../config/routes.ts";
import type { CertificateInUse } from "../net/credentials.ts";

/** A target and what it has done so far. */
export interface TargetReport {
  /** `HOST:PORT`. */
  readonly name: string;
  /**
   * Since when it could not be reached whenever it was tried, in milliseconds since the epoch; over UDP,
   * since when its name was not found. Undefined while it is up.
   */
  readonly downSince: number | undefined;
  /** Connections that it has. */
  readonly open: number;
  /** Connections that it has had. */
  readonly connections: number;
  /** Whether the route does not have it any more, but has connections to it. */
  readonly isLeaving: boolean;
}

/** A route and what it has done so far. */
export interface RouteReport {
  /** The route as it was bound. */
  readonly route: Route;
  /** Its targets, in their order. */
  readonly targets: readonly TargetReport[];
  /** Its numbers. */
  readonly counts: Counts;
  /** Whether it is gone from the routes, and some of its connections are still open. */
  readonly isLeaving: boolean;
}

/** Whether the route passes datagrams on. */
export function isDatagrams({ route }: Pick<RouteReport, "route">): boolean {
  return route.listen.protocol === "udp";
}

/**
 * Since when clients get no upstream, as far as is known, in milliseconds since the epoch: since the last
 * of the targets went down, or since they lead back to the ambassador. Undefined while one serves.
 */
export function failingSince(
  { targets, counts }: Pick<RouteReport, "targets" | "counts">,
): number | undefined {
  let since = -Infinity;
  for (const { downSince, isLeaving } of targets) {
    if (isLeaving) continue;
    if (downSince === undefined) return counts.loopingSince;
    since = Math.max(since, downSince);
  }
  return since === -Infinity ? counts.loopingSince : since;
}

/** When and from where the present routes came. */
export interface WiringReport {
  /** The path of `--routes`. */
  readonly file: string | undefined;
  /** When they took effect, in milliseconds since the epoch: at the start, or at the last change. */
  readonly since: number;
  /** Changes of the file that were made, and that could not be. */
  readonly rewires: { readonly ok: number; readonly failed: number };
  /** Why what the file holds now is not in force, every problem on a line; undefined when it is. */
  readonly flaw: ConnectError | undefined;
}

/** The forwarder at one moment. */
export interface Report {
  /** Of this program. */
  readonly version: string;
  /** When the program started, in milliseconds since the epoch. */
  readonly startedAt: number;
  /** Whether clients are welcome: all listeners are bound and no stop signal has come. */
  readonly ready: boolean;
  /** Every route, in the order in which `check` prints them, and those that are leaving. */
  readonly routes: readonly RouteReport[];
  /** When and from where they came. */
  readonly wiring: WiringReport;
  /** This ambassador's own certificate, if it has one. */
  readonly certificate: CertificateInUse | undefined;
  /** Variables that look like a route and are not forwarded. */
  readonly ignored: readonly Ignored[];
}
