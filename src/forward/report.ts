// What the status page, `/readyz` and the metrics are made from: one look at the forwarder. It knows
// nothing of HTTP, and is plain data: whoever renders it may take its time.

import type { Counts } from "./counts.ts";
import type { Ignored, Route } from "../config/routes.ts";
import type { CertificateInUse } from "../net/credentials.ts";

/** A target and what it has done so far. */
export interface TargetReport {
  /** `HOST:PORT`. */
  readonly name: string;
  /** Whether it could be reached when it was last tried. */
  readonly isUp: boolean;
  /** Connections that it has. */
  readonly open: number;
  /** Connections that it has had. */
  readonly connections: number;
}

/** A route and what it has done so far. */
export interface RouteReport {
  /** The route as it was bound. */
  readonly route: Route;
  /** Its targets, in their order. */
  readonly targets: readonly TargetReport[];
  /** Its numbers. */
  readonly counts: Counts;
}

/** The forwarder at one moment. */
export interface Report {
  /** Of this program. */
  readonly version: string;
  /** When the program started, in milliseconds since the epoch. */
  readonly startedAt: number;
  /** Whether clients are welcome: all listeners are bound and no stop signal has come. */
  readonly ready: boolean;
  /** Every route, in the order in which `check` prints them. */
  readonly routes: readonly RouteReport[];
  /** This ambassador's own certificate, if it has one. */
  readonly certificate: CertificateInUse | undefined;
  /** Variables that look like a route and are not forwarded. */
  readonly ignored: readonly Ignored[];
}
