// What a route has done so far, as plain numbers: the source of the metrics and of the status page.

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
  "evicted",
  "loop",
] as const;
/** One of {@linkcode REASONS}. */
export type Reason = typeof REASONS[number];

/** Why a datagram was lost inside. */
export const DROP_REASONS = [
  // Its source is not in --allow.
  "not_allowed",
  // Its session led back to this ambassador.
  "loop",
  // No target could be reached: no name could be resolved.
  "connect_failed",
  // Too many wait for their session's target to be found, or for the system to take them.
  "queue_full",
  // With its PROXY header it is larger than a datagram can be.
  "too_large",
  // The system would not send it.
  "send_failed",
  // It came to a session's socket from somebody else than its target.
  "stranger",
  // Its session, or the route, ended before it was passed on; or it would begin a session in a drain.
  "closed",
] as const;
/** One of {@linkcode DROP_REASONS}. */
export type DropReason = typeof DROP_REASONS[number];

/** What a connection has moved, kept up to date by whoever moves it. */
export interface Moved {
  /** Client → upstream. */
  readonly up: { readonly bytes: number };
  /** Upstream → client. */
  readonly down: { readonly bytes: number };
}

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

/** An error because of which clients got no upstream. */
export interface ClientError extends ConnectError {
  /** Whether no client has got an upstream since. */
  readonly noneServedSince: boolean;
}

/**
 * What a route has done so far, at one moment. Numbers only grow, but for `open`. A session of UDP
 * counts as a connection.
 */
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
  /** The last dial that failed, or led back to the ambassador. */
  readonly lastConnectError: ClientError | undefined;
  /**
   * Since when dials have led back to the ambassador, in milliseconds since the epoch; undefined unless
   * the last has.
   */
  readonly loopingSince: number | undefined;
  /** The last client whose TLS handshake failed. */
  readonly lastHandshakeError: ClientError | undefined;
  /** Upstreams reached, by the first of {@linkcode CONNECT_SECONDS} that bounds the time it took. */
  readonly connectBuckets: readonly number[];
  /** Seconds that reaching them took in all. */
  readonly connectSecondsSum: number;
  /** Bytes moved client → upstream, by open and closed connections. */
  readonly bytesUp: number;
  /** Bytes moved upstream → client. */
  readonly bytesDown: number;
  /** Datagrams passed on client → upstream; 0 where the route is not UDP. */
  readonly datagramsUp: number;
  /** Datagrams passed on upstream → client; 0 where the route is not UDP. */
  readonly datagramsDown: number;
  /** Datagrams lost inside, by reason. */
  readonly dropped: Readonly<Record<DropReason, number>>;
}

/** An error, and how many clients had been served by then. */
interface Noted extends ConnectError {
  readonly served: number;
  /** Of a loop: since when there has been nothing else. */
  readonly loopingSince?: number;
}

/** Counts what a route does. */
export class RouteCounts {
  /** Accepts that failed. */
  acceptErrors = 0;
  /** Connections closed, by reason. */
  readonly closed: Record<Reason, number> = zeros(REASONS);
  /** Clients accepted. */
  connections = 0;
  /** Datagrams passed on client → upstream. */
  datagramsUp = 0;
  /** Datagrams passed on upstream → client. */
  datagramsDown = 0;
  /** Their bytes. */
  datagramBytesUp = 0;
  /** The same upstream → client. */
  datagramBytesDown = 0;
  /** Datagrams lost inside, by reason. */
  readonly dropped: Record<DropReason, number> = zeros(DROP_REASONS);
  readonly #open = new Set<Moved>();
  #sessions = 0;
  readonly #connectBuckets: number[] = Array(CONNECT_SECONDS.length + 1).fill(0);
  #connectSecondsSum = 0;
  #connectErrors = 0;
  #closedUp = 0;
  #closedDown = 0;
  #connectError: Noted | undefined;
  #handshakeError: Noted | undefined;

  /** Counts a client that was accepted. */
  opened(moved: Moved): void {
    this.connections++;
    this.#open.add(moved);
  }

  /** Counts a connection that has ended. */
  ended(moved: Moved, reason: Reason): void {
    this.#open.delete(moved);
    this.closed[reason]++;
    this.#closedUp += moved.up.bytes;
    this.#closedDown += moved.down.bytes;
  }

  /** Counts a session of UDP that begins. */
  sessionBegan(): void {
    this.connections++;
    this.#sessions++;
  }

  /** Counts one that has ended; what is still under way then counts on. */
  sessionEnded(reason: Reason): void {
    this.#sessions--;
    this.closed[reason]++;
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
    this.noteConnectError(message);
  }

  /** Keeps what went wrong with a target now, as the last that did. */
  noteConnectError(message: string): void {
    this.#connectError = this.#note(message);
  }

  /** The same of a target that leads back to the ambassador. */
  noteLoop(message: string): void {
    const loopingSince = this.#loopingSince() ?? Date.now();
    this.#connectError = { ...this.#note(message), loopingSince };
  }

  /** Keeps why a client's TLS handshake failed now, as the last that did. */
  noteHandshakeError(message: string): void {
    this.#handshakeError = this.#note(message);
  }

  /** There are other targets: what was the matter with the old ones says nothing about them. */
  forgetConnectError(): void {
    this.#connectError = undefined;
  }

  #note(message: string): Noted {
    return { at: Date.now(), message, served: this.#served() };
  }

  /** How many clients have got an upstream. It is made of what is counted anyway. */
  #served(): number {
    return this.#connectBuckets.reduce((all, count) => all + count);
  }

  #loopingSince(): number | undefined {
    const error = this.#connectError;
    return error?.served === this.#served() ? error.loopingSince : undefined;
  }

  #show(error: Noted | undefined): ClientError | undefined {
    if (error === undefined) return undefined;
    const { at, message, served } = error;
    return { at, message, noneServedSince: served === this.#served() };
  }

  /** The counts at this moment. */
  report(): Counts {
    let bytesUp = this.#closedUp + this.datagramBytesUp;
    let bytesDown = this.#closedDown + this.datagramBytesDown;
    for (const { up, down } of this.#open) {
      bytesUp += up.bytes;
      bytesDown += down.bytes;
    }
    return {
      open: this.#open.size + this.#sessions,
      connections: this.connections,
      closed: { ...this.closed },
      connectErrors: this.#connectErrors,
      acceptErrors: this.acceptErrors,
      lastConnectError: this.#show(this.#connectError),
      loopingSince: this.#loopingSince(),
      lastHandshakeError: this.#show(this.#handshakeError),
      connectBuckets: [...this.#connectBuckets],
      connectSecondsSum: this.#connectSecondsSum,
      bytesUp,
      bytesDown,
      datagramsUp: this.datagramsUp,
      datagramsDown: this.datagramsDown,
      dropped: { ...this.dropped },
    };
  }
}

/** A zero for each name. */
function zeros<Name extends string>(names: readonly Name[]): Record<Name, number> {
  return Object.fromEntries(names.map((name) => [name, 0])) as Record<Name, number>;
}
