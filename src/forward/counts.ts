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
  "rewire_timeout",
  "connect_failed",
  "not_allowed",
  "bad_proxy_header",
  "tls_failed",
  "loop",
] as const;
/** One of {@linkcode REASONS}. */
export type Reason = typeof REASONS[number];

/** Upper bounds of the connect-duration histogram, in seconds; one more bucket has no bound. */
export const CONNECT_SECONDS: readonly number[] = //
  [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** An error worth showing. */
export interface ConnectError {
  /** When, in milliseconds since the epoch. */
  readonly at: number;
  /** What went wrong, in plain words. */
  readonly message: string;
}

/** What a route has done so far, at one moment. Numbers only grow, but for `open`. */
export interface Counts {
  /** Connections that are open. */
  readonly open: number;
  /** Clients accepted. */
  readonly connections: number;
  /** Connections closed, by reason. */
  readonly closed: Readonly<Record<Reason, number>>;
  /** Clients whose upstream could not be reached. */
  readonly connectErrors: number;
  /** Accepts that failed. */
  readonly acceptErrors: number;
  /** The last dial that failed. */
  readonly lastConnectError: ConnectError | undefined;
  /** The last client whose TLS handshake failed. */
  readonly lastHandshakeError: ConnectError | undefined;
  /** Upstreams reached, by the first of {@linkcode CONNECT_SECONDS} that bounds the time it took. */
  readonly connectBuckets: readonly number[];
  /** Seconds that reaching them took in all. */
  readonly connectSecondsSum: number;
  /** Bytes moved client → upstream, by open and closed connections. */
  readonly bytesUp: number;
  /** Bytes moved upstream → client. */
  readonly bytesDown: number;
}

/** Counts what a route does. */
export class RouteCounts {
  /** Accepts that failed. */
  acceptErrors = 0;
  /** The last dial that failed. */
  lastConnectError: ConnectError | undefined;
  /** The last client whose TLS handshake failed. */
  lastHandshakeError: ConnectError | undefined;
  /** Connections closed, by reason. */
  readonly closed: Record<Reason, number>;
  /** Clients accepted. */
  connections = 0;
  readonly #open = new Set<Traffic>();
  readonly #connectBuckets: number[] = Array(CONNECT_SECONDS.length + 1).fill(0);
  #connectSecondsSum = 0;
  #connectErrors = 0;
  #closedUp = 0;
  #closedDown = 0;

  /** All zero. */
  constructor() {
    const zeros = REASONS.map((reason) => [reason, 0]);
    this.closed = Object.fromEntries(zeros) as Record<Reason, number>;
  }

  /** Counts a client that was accepted. */
  opened(traffic: Traffic): void {
    this.connections++;
    this.#open.add(traffic);
  }

  /** Counts a connection that has ended. */
  ended(traffic: Traffic, reason: Reason): void {
    this.#open.delete(traffic);
    this.closed[reason]++;
    this.#closedUp += traffic.up.bytes;
    this.#closedDown += traffic.down.bytes;
  }

  /** Counts an upstream that was reached. */
  connected(seconds: number): void {
    const bucket = CONNECT_SECONDS.findIndex((bound) => seconds <= bound);
    const index = bucket < 0 ? CONNECT_SECONDS.length : bucket;
    this.#connectBuckets[index] = (this.#connectBuckets[index] ?? 0) + 1;
    this.#connectSecondsSum += seconds;
  }

  /** Counts an upstream that could not be reached. */
  connectFailed(message: string): void {
    this.#connectErrors++;
    this.lastConnectError = { at: Date.now(), message };
  }

  /** The counts at this moment. */
  report(): Counts {
    let [bytesUp, bytesDown] = [this.#closedUp, this.#closedDown];
    for (const { up, down } of this.#open) {
      bytesUp += up.bytes;
      bytesDown += down.bytes;
    }
    return {
      open: this.#open.size,
      connections: this.connections,
      closed: { ...this.closed },
      connectErrors: this.#connectErrors,
      acceptErrors: this.acceptErrors,
      lastConnectError: this.lastConnectError,
      lastHandshakeError: this.lastHandshakeError,
      connectBuckets: [...this.#connectBuckets],
      connectSecondsSum: this.#connectSecondsSum,
      bytesUp,
      bytesDown,
    };
  }
}
