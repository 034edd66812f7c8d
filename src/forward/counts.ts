// What a route has done so far, as plain numbers: the source of the metrics and of the status page.

import type { Traffic } from "../net/relay.ts";

/** Why a connection was closed. */
export const REASONS = [
  "finished",
  "client_reset",
  "upstream_reset",
  "idle_timeout",
  "half_close_timeout",
  "drain_timeout",
  "connect_failed",
  "loop",
] as const;
/** One of {@linkcode REASONS}. */
export type Reason = typeof REASONS[number];

/** Upper bounds of the connect-duration histogram, in seconds; one more bucket has no bound. */
export const CONNECT_SECONDS = [
  0.0005,
  0.001,
  0.0025,
  0.005,
  0.01,
  0.025,
  0.05,
  0.1,
  0.25,
  0.5,
  1,
  2.5,
  5,
  10,
] as const;

/** A connect error worth showing. */
export interface ConnectError {
  /** When, in milliseconds since the epoch. */
  readonly at: number;
  /** What went wrong, in plain words. */
  readonly message: string;
}

/** What a route has done so far. Numbers only grow, but for `open`. */
export interface Counts {
  /** Connections that are open now. */
  readonly open: number;
  /** Clients accepted. */
  readonly connections: number;
  /** Connections closed, by reason. */
  readonly closed: Readonly<Record<Reason, number>>;
  /** Dials that failed. */
  readonly connectErrors: number;
  /** Accepts that failed. */
  readonly acceptErrors: number;
  /** The last dial that failed. */
  readonly lastConnectError: ConnectError | undefined;
  /** Dials that succeeded, by the first of {@linkcode CONNECT_SECONDS} that bounds them. */
  readonly connectBuckets: readonly number[];
  /** Seconds that the successful dials took in all. */
  readonly connectSecondsSum: number;
  /** Bytes moved client → upstream, by open and closed connections. */
  readonly bytesUp: number;
  /** Bytes moved upstream → client, by open and closed connections. */
  readonly bytesDown: number;
}

/** Counts what a route does. */
export class RouteCounts {
  /** Connections that are open now, by their traffic. */
  readonly open = new Set<Traffic>();
  /** Clients accepted. */
  connections = 0;
  /** Connections closed, by reason. */
  readonly closed: Record<Reason, number>;
  /** Dials that failed. */
  connectErrors = 0;
  /** Accepts that failed. */
  acceptErrors = 0;
  /** The last dial that failed. */
  lastConnectError: ConnectError | undefined;
  /** Dials that succeeded, by the first of {@linkcode CONNECT_SECONDS} that bounds them. */
  readonly connectBuckets: number[] = Array(CONNECT_SECONDS.length + 1).fill(0);
  /** Seconds that the successful dials took in all. */
  connectSecondsSum = 0;
  #closedUp = 0;
  #closedDown = 0;

  /** All zero. */
  constructor() {
    this.closed = Object.fromEntries(REASONS.map((reason) => [reason, 0])) as Record<
      Reason,
      number
    >;
  }

  /** Counts a client that was accepted. */
  opened(traffic: Traffic): void {
    this.connections++;
    this.open.add(traffic);
  }

  /** Counts a connection that has ended. */
  ended(traffic: Traffic, reason: Reason): void {
    this.open.delete(traffic);
    this.closed[reason]++;
    this.#closedUp += traffic.up.bytes;
    this.#closedDown += traffic.down.bytes;
  }

  /** Counts a dial that succeeded. */
  connected(seconds: number): void {
    const bucket = CONNECT_SECONDS.findIndex((bound) => seconds <= bound);
    const index = bucket < 0 ? CONNECT_SECONDS.length : bucket;
    this.connectBuckets[index] = (this.connectBuckets[index] ?? 0) + 1;
    this.connectSecondsSum += seconds;
  }

  /** Counts a dial that failed. */
  connectFailed(message: string): void {
    this.connectErrors++;
    this.lastConnectError = { at: Date.now(), message };
  }

  /** The counts at this moment, as plain data. */
  report(): Counts {
    const { connections, connectErrors, acceptErrors, lastConnectError, connectSecondsSum } = this;
    return {
      open: this.open.size,
      connections,
      closed: { ...this.closed },
      connectErrors,
      acceptErrors,
      lastConnectError,
      connectBuckets: [...this.connectBuckets],
      connectSecondsSum,
      bytesUp: this.bytesUp,
      bytesDown: this.bytesDown,
    };
  }

  /** Bytes moved client → upstream, by open and closed connections. */
  get bytesUp(): number {
    let sum = this.#closedUp;
    for (const { up } of this.open) sum += up.bytes;
    return sum;
  }

  /** Bytes moved upstream → client, by open and closed connections. */
  get bytesDown(): number {
    let sum = this.#closedDown;
    for (const { down } of this.open) sum += down.bytes;
    return sum;
  }
}
