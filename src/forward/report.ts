// What the status page, `/readyz` and the metrics are made from: one look at the forwarder. It knows
// nothing of HTTP, and is plain data: whoever renders it may take its time.

import type { ConnectError, Counts } from "./counts.ts";
import type { Ignored, Route } from "../config/routes.ts";
import type { CertificateInUse } from "../net/credentials.ts";

/** A target and what it has done so far. */
export interface TargetReport {
  /** `HOST:PORT`. */
  readonly name: string;
  /** Whether it could be reached when it was last tried; over UDP, whether its name was found. */
  readonly isUp: boolean;
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
 * Whether clients get no upstream now, as far as is known: the last who wanted one got none. Of several
 * targets one may be back without any client: the ambassador tries them itself. Over UDP it can't tell.
 */
export function isFailing(report: Pick<RouteReport, "route" | "targets" | "counts">): boolean {
  if (report.counts.failingSince === undefined) return false;
  const targets = report.targets.filter(({ isLeaving }) => !isLeaving);
  return isDatagrams(report) || targets.length < 2 || !targets.some(({ isUp }) => isUp);
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
