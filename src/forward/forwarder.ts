// Binds all routes or none, accepts clients until told to stop, and lets open connections finish. It is
// handed its transports and its log, and does not know who looks at it.

import { describeError, isPeerGone, isShortage } from "../base/errors.ts";
import { formatDuration } from "../base/duration.ts";
import type { Log } from "../base/log.ts";
import { Backoff, pause, startDeadline } from "../base/time.ts";
import type { Route } from "../config/routes.ts";
import type { Listener, Stream } from "../net/stream.ts";
import { giveUpPair, waitToAccept } from "../net/turns.ts";
import type { Transports } from "../net/transports.ts";
import { type ActiveRoute, bindRoutes, leadsTo } from "./active_route.ts";
import { Admission, PATIENCE_MS, type Share } from "./admission.ts";
import { Connection, type ConnectionContext } from "./connection.ts";
import { watchLimits } from "./limits.ts";
import { watchMemory } from "./memory.ts";
import type { RouteReport } from "./report.ts";

/** Options for {@linkcode Forwarder}; times in milliseconds, 0 is no limit. */
export interface ForwarderOptions {
  /** How each protocol listens and connects. */
  readonly transports: Transports;
  /** Whether other processes of this user may listen on the same ports. */
  readonly reusePort?: boolean;
  /** Maximum connections of all routes together. */
  readonly maxConnections: number;
  /** How long open connections may finish after a stop signal. */
  readonly drainTimeoutMs: number;
  /** How long to go on accepting after a stop signal. */
  readonly drainDelayMs: number;
  /** Where to write. */
  readonly log: Log;
  /** Told whenever descriptors or memory have run out; whether others have given some back. */
  readonly onShortage?: () => boolean;
}

/** How forwarding ended. */
export interface Forwarded {
  /** Connections that had to be closed at the end of `drainTimeoutMs`. */
  readonly cutOff: number;
}

/**
 * How many clients of a route whose target is a name may wait for their upstreams before accepting is
 * slowed down: a lookup wants descriptors of its own, and where these are scarce there would be nothing
 * but clients, none with an upstream.
 */
const MAX_HELD_FOR_NAMES = 16;

/** Forwards routes. */
export class Forwarder implements Disposable {
  readonly #options: ForwarderOptions;
  readonly #routes: readonly ActiveRoute[];
  readonly #listenersByPort: ReadonlyMap<number, readonly Listener[]>;
  readonly #admission: Admission;
  readonly #connections = new Set<Connection>();
  readonly #context: ConnectionContext;
  /** Aborts when no more clients are to be accepted. */
  readonly #closing = new AbortController();
  #isStopping = false;
  /** Called when the last connection has ended. */
  #onEmpty = (): void => {};

  /**
   * Binds every route; accepts nobody yet.
   *
   * @throws {BindError} naming the route, the address and the reason; nothing is bound then
   */
  constructor(routes: readonly Route[], options: ForwarderOptions) {
    this.#options = options;
    const shares: Share[] = [];
    this.#admission = new Admission(options.maxConnections, shares);
    this.#routes = bindRoutes(routes, { ...options, admission: this.#admission });
    shares.push(...this.#routes.map(({ share }) => share));
    const listeners = this.#routes.flatMap((route) => route.listeners);
    this.#listenersByPort = Map.groupBy(listeners, ({ addr }) => addr.port);
    this.#context = {
      log: options.log,
      admission: this.#admission,
      onShortage: (error) => this.#noteShortage(error),
      leadsBack: (ends) => leadsTo(ends, this.#listenersByPort.get(ends.remoteAddr.port) ?? []),
    };
  }

  /** The routes with the ports that were really bound, in the order in which they were given. */
  get routes(): readonly Route[] {
    return this.#routes.map(({ route }) => route);
  }

  /** Whether clients are welcome, and how each route fares, at this moment. */
  report(): { readonly ready: boolean; readonly routes: readonly RouteReport[] } {
    const routes = this.#routes.map(({ route, counts, targets }) => ({
      route,
      targets: targets.report(),
      counts: counts.report(),
    }));
    return { ready: !this.#isStopping, routes };
  }

  /** Accepts clients until the signal aborts, and waits for their connections to end. */
  async run(signal: AbortSignal): Promise<Forwarded> {
    using _limits = watchLimits(
      this.#connections,
      () => this.#routes.map(({ settings }) => settings),
    );
    using _memory = watchMemory(
      this.#connections,
      () => this.#routes.reduce((sum, { counts }) => sum + counts.connections, 0),
    );
    const accepting = this.#routes.flatMap((route) =>
      route.listeners.map((listener) => this.#accept(listener, route))
    );
    await pause(Infinity, signal);
    this.#isStopping = true;
    const cutOff = await this.#drain(accepting);
    // The exit status is 1 then, and has to be explained also where only warnings are written.
    this.#options.log[cutOff > 0 ? "warn" : "info"]("stopped", { cut_off: cutOff });
    return { cutOff };
  }

  /** Accepts no more. */
  [Symbol.dispose](): void {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    for (const { listeners, targets } of this.#routes) {
      for (const listener of listeners) listener.close();
      targets[Symbol.dispose]();
    }
  }

  /** Accepts the clients of one listener until it is closed. */
  async #accept(listener: Listener, route: ActiveRoute): Promise<void> {
    const { signal } = this.#closing;
    const { share } = route;
    const { isNamed } = route.targets;
    let backoff: Backoff | undefined;
    while (!signal.aborted) {
      if (!this.#admission.mayAccept(share)) await this.#admission.untilMayAccept(share, signal);
      let client: Stream;
      try {
        client = await listener.accept();
        backoff = undefined;
      } catch (error) {
        if (signal.aborted) return;
        route.counts.acceptErrors++;
        // A client that has already gone says nothing about the next one.
        if (isPeerGone(error)) {
          this.#options.log.debug("accept_failed", {
            route: route.name,
            error: describeError(error),
          });
          continue;
        }
        this.#noteShortage(error);
        backoff ??= new Backoff();
        await this.#admission.untilChange(backoff.next(), signal);
        continue;
      }
      if (mayHaveAPlace(client, route)) {
        // Other listeners may have taken the last place since, and wait here for the next one too.
        while (!this.#admission.mayAccept(share) && !signal.aborted) {
          await this.#admission.untilMayAccept(share, signal);
        }
        // No place came free before the stop: it was left waiting, like those in the queue.
        if (!this.#admission.mayAccept(share)) return client[Symbol.dispose]();
        this.#admission.makePlace(share);
      }
      void this.#serve(client, route);
      const turn = waitToAccept();
      if (turn !== undefined) await turn;
      if (isNamed && share.held >= MAX_HELD_FOR_NAMES) await pause(1, signal);
    }
  }

  async #serve(client: Stream, route: ActiveRoute): Promise<void> {
    const connection = new Connection(client, route, this.#context);
    this.#connections.add(connection);
    await connection.serve();
    this.#connections.delete(connection);
    if (this.#connections.size === 0) this.#onEmpty();
  }

  /** Stops accepting, lets connections finish, closes the rest; how many those were. */
  async #drain(accepting: readonly Promise<void>[]): Promise<number> {
    const { drainDelayMs, drainTimeoutMs, log } = this.#options;
    log.info("draining", {
      connections: this.#connections.size,
      delay: formatDuration(drainDelayMs),
      timeout: formatDuration(drainTimeoutMs),
    });
    if (drainDelayMs > 0) await pause(drainDelayMs);
    this[Symbol.dispose]();
    await Promise.all(accepting);
    if (this.#connections.size === 0) return 0;
    const empty = new AbortController();
    this.#onEmpty = () => empty.abort();
    // Who has said nothing by then would hold the stop up for nobody.
    using _handshakes = startDeadline(PATIENCE_MS, () => {
      for (const one of this.#connections) if (one.isHandshaking) one.end("drain_timeout");
    });
    await pause(drainTimeoutMs === 0 ? Infinity : drainTimeoutMs, empty.signal);
    const late = [...this.#connections];
    // Where a side has broken, what is left is a courtesy to the other.
    const cutOff =
      late.filter(({ traffic, isHandshaking }) => traffic.failure === undefined && !isHandshaking)
        .length;
    for (const connection of late) connection.end("drain_timeout");
    await pause(Infinity, empty.signal);
    return cutOff;
  }

  /** Logs a shortage once, and again only after it has been over for a while. */
  #noteShortage(error: unknown): void {
    if (giveUpPair() || this.#options.onShortage?.()) return;
    if (!this.#admission.noteShortage()) return;
    this.#options.log.warn("accept_failed", {
      error: describeError(error),
      connections: this.#connections.size,
      hint: isShortage(error)
        ? "clients wait until a connection ends; more open files allow more (ulimit -n)"
        : undefined,
    });
  }
}

/** Whether a client may be served, as far as is known: one that is not allowed ends at once. */
function mayHaveAPlace({ remoteAddr: { hostname } }: Stream, { settings }: ActiveRoute): boolean {
  const { allow, acceptProxy } = settings;
  return allow.has(hostname) || acceptProxy.has(hostname);
}
