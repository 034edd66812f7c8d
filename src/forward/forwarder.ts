// Binds all routes or none, accepts clients until told to stop, puts other routes in the place of those
// that it has, and lets open connections finish. It is handed its transports and its log, and does not
// know who looks at it.

import { type BindError, describeError, isPeerGone, isShortage } from "../base/errors.ts";
import { formatDuration } from "../base/duration.ts";
import type { Log } from "../base/log.ts";
import { Backoff, pause, startDeadline } from "../base/time.ts";
import type { Route } from "../config/routes.ts";
import type { DatagramListener, Listener, Stream } from "../net/stream.ts";
import { giveUpPair, waitToAccept } from "../net/turns.ts";
import type { Transports } from "../net/transports.ts";
import { closed, isOwnAddress } from "../net/udp.ts";
import { Admission, PATIENCE_MS, type Share } from "./admission.ts";
import { Connection, type ConnectionContext } from "./connection.ts";
import {
  type ActiveRoute,
  type AnyListener,
  bindRoutes,
  type BoundRoute,
  EntryPoint,
  socketOf,
} from "./entry_point.ts";
import { watchLimits } from "./limits.ts";
import { leadsTo, listensAt } from "./loops.ts";
import { watchMemory } from "./memory.ts";
import { isDatagrams, type RouteReport } from "./report.ts";
import { Sessions } from "./sessions.ts";

/** Options for {@linkcode Forwarder}; times in milliseconds, 0 is no limit. */
export interface ForwarderOptions {
  /** How each protocol listens and connects. */
  readonly transports: Transports;
  /** Whether other processes of this user may listen on the same ports. */
  readonly reusePort?: boolean;
  /** Maximum connections of all routes together. */
  readonly maxConnections: number;
  /** Maximum sessions (UDP) of all routes together; no limit unless given. */
  readonly maxSessions?: number;
  /** How long open connections may finish after a stop signal. */
  readonly drainTimeoutMs: number;
  /** How long to go on accepting after a stop signal. */
  readonly drainDelayMs: number;
  /** How long connections may go on to a target that a rewired route no longer has. */
  readonly rewireTimeoutMs?: number;
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

/** What a rewiring has changed: routes with the ports that were really bound. */
export interface Rewired {
  /** Routes that listen where none did. */
  readonly added: readonly Route[];
  /** Routes that are gone. */
  readonly removed: readonly Route[];
  /** Routes as they are now that have other targets, settings or names. */
  readonly changed: readonly Route[];
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
  readonly #admission: Admission;
  readonly #shares = new Set<Share>();
  readonly #connections = new Set<Connection>();
  readonly #context: ConnectionContext;
  readonly #sessions: Sessions;
  /** Those of all routes, in their order. */
  #entryPoints: readonly EntryPoint[] = [];
  /** Those whose routes are gone, and that have connections left, by their sockets. */
  readonly #leaving = new Map<string, EntryPoint>();
  /** Those of TCP and TLS. */
  #listenersByPort: ReadonlyMap<number, readonly Listener[]> = new Map();
  /** Those of UDP. */
  #datagramListenersByPort: ReadonlyMap<number, readonly DatagramListener[]> = new Map();
  /** The accept loops of each, once clients are welcome. */
  #accepting: Map<EntryPoint, Promise<unknown>> | undefined;
  #accepted = 0;
  #isClosed = false;
  #isStopping = false;
  /** Whether the log says how it has ended. */
  #hasTold = false;
  /** Called when the last connection has ended. */
  #onEmpty = (): void => {};

  /**
   * Binds every route; accepts nobody yet.
   *
   * @throws {BindError} naming the route, the address and the reason; nothing is bound then
   */
  constructor(routes: readonly Route[], options: ForwarderOptions) {
    this.#options = options;
    this.#admission = new Admission(options.maxConnections, this.#shares);
    this.#context = {
      log: options.log,
      admission: this.#admission,
      onShortage: (error) => {
        if (this.#makeRoom() || this.#sessions.giveUp(error)) return true;
        if (this.#admission.noteShortage()) this.#logShortage(error);
        return false;
      },
      leadsBack: (ends) => leadsTo(ends, this.#listenersByPort.get(ends.remoteAddr.port) ?? []),
    };
    this.#sessions = new Sessions({
      log: options.log,
      maxSessions: options.maxSessions ?? 0,
      makeRoom: () => this.#makeRoom(),
      onShortage: (error) => this.#logShortage(error),
      leadsBack: ({ remoteAddr }) =>
        listensAt(remoteAddr, this.#datagramListenersByPort.get(remoteAddr.port) ?? []) &&
        isOwnAddress(remoteAddr.hostname),
      onLeft: (entryPoint) => this.#forget(entryPoint),
    });
    try {
      const bound = bindRoutes(routes, options);
      this.#use(bound.map((one) => this.#open(one, options.transports)));
    } catch (error) {
      throw error instanceof AggregateError ? error.errors[0] : error;
    }
  }

  /** The routes with the ports that were really bound, in the order in which they were given. */
  get routes(): readonly Route[] {
    return this.#entryPoints.map(({ route }) => route.route);
  }

  /** Whether clients are welcome, and how each route fares, at this moment. */
  report(): { readonly ready: boolean; readonly routes: readonly RouteReport[] } {
    const routes = [...this.#entryPoints, ...this.#leaving.values()].map((one) => one.report());
    return { ready: !this.#isStopping, routes };
  }

  /** Lets a few sessions (UDP) end, since somebody is short of descriptors. */
  giveUpSessions(error: unknown): void {
    this.#sessions.giveUp(error);
  }

  /** Accepts clients until the signal aborts, and waits for their connections to end. */
  async run(signal: AbortSignal): Promise<Forwarded> {
    using _limits = watchLimits(this.#connections, {
      limits: () => this.#entryPoints.map(({ route }) => route.settings),
      rewireTimeoutMs: this.#options.rewireTimeoutMs ?? 0,
    });
    using _memory = watchMemory(
      () => this.#connections.size + this.#sessions.size,
      () => this.#accepted + this.#sessions.begun,
    );
    this.#accepting = new Map();
    for (const one of this.#entryPoints) this.#welcome(one);
    await pause(Infinity, signal);
    this.#isStopping = true;
    // Two signals may come in one moment: then the end has been told already.
    const cutOff = this.#hasTold ? 0 : await this.#drain();
    this.#tellStopped(cutOff);
    return { cutOff };
  }

  /** Says that a second signal ends the program at once, and what that cuts off. It closes nothing. */
  tellKilled(signal: string): void {
    this.#tellStopped(this.#unfinished().length, { reason: "a second signal", signal });
  }

  /**
   * Puts these routes in the place of those that there are. What is new is bound before anything
   * changes; from then on new clients get the new routes, and connections go on. A route that stays what
   * it is does not notice. All that happens at once; what is returned waits until the listeners of
   * routes that are gone are closed.
   *
   * @throws {AggregateError} of a {@linkcode BindError} for each route that can't be bound; nothing has
   *   changed then
   */
  async rewire(routes: readonly Route[], transports: Transports): Promise<Rewired> {
    const present = new Map(this.#entryPoints.map((one) => [one.socket, one]));
    const missing = routes.filter(({ listen }) => !present.has(socketOf(listen)));
    const { reusePort = false } = this.#options;
    const bound = bindRoutes(missing, { transports, reusePort });
    // Nothing fails from here on.
    const changed = routes.filter((route) =>
      present.get(socketOf(route.listen))?.rewire(route, transports)
    );
    const added = bound.map((one) => this.#open(one, transports));
    for (const one of added) present.set(one.socket, one);
    const entryPoints = routes.flatMap(({ listen }) => present.get(socketOf(listen)) ?? []);
    for (const one of entryPoints) present.delete(one.socket);
    const removed = [...present.values()];
    const closing = removed.map((one) => this.#leave(one));
    this.#use(entryPoints);
    for (const one of added) this.#welcome(one);
    for (const connection of this.#connections) connection.follow();
    this.#sessions.follow();
    // There may be more places.
    this.#admission.wake();
    const routesOf = (some: readonly EntryPoint[]): Route[] => some.map(({ route }) => route.route);
    const rewired = { added: routesOf(added), removed: routesOf(removed), changed };
    await Promise.all(closing);
    return rewired;
  }

  /** Why routes that would be new can't be bound, if they can't; nothing stays bound. */
  findUnbindable(routes: readonly Route[], transports: Transports): readonly BindError[] {
    const missing = new Map(routes.map((route) => [socketOf(route.listen), route]));
    for (const { socket } of this.#entryPoints) missing.delete(socket);
    // Others who listen there would lose the clients that come meanwhile.
    if (this.#options.reusePort) return [];
    try {
      const bound = bindRoutes([...missing.values()], { transports });
      for (const listener of bound.flatMap(({ listeners }) => listeners)) listener.close();
      return [];
    } catch (error) {
      if (!(error instanceof AggregateError)) throw error;
      return error.errors;
    }
  }

  /** Accepts no more. */
  [Symbol.dispose](): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const one of this.#entryPoints) one.close();
  }

  /** What a bound route is put to work with: the entry point that it had if it has come back. */
  #open(bound: BoundRoute, transports: Transports): EntryPoint {
    const known = this.#leaving.get(socketOf(bound.route.listen));
    if (known !== undefined) {
      this.#leaving.delete(known.socket);
      known.reopen(bound, transports);
      return known;
    }
    const { log } = this.#options;
    const one = new EntryPoint(bound, { transports, log, admission: this.#admission });
    // Sessions take nothing from others.
    if (!isDatagrams(one.route)) this.#shares.add(one.share);
    return one;
  }

  #use(entryPoints: readonly EntryPoint[]): void {
    this.#entryPoints = entryPoints;
    const listeners: Listener[] = [];
    const datagramListeners: DatagramListener[] = [];
    for (const listener of entryPoints.flatMap((one) => one.listeners)) {
      if ("accept" in listener) listeners.push(listener);
      else datagramListeners.push(listener);
    }
    this.#listenersByPort = Map.groupBy(listeners, ({ addr }) => addr.port);
    this.#datagramListenersByPort = Map.groupBy(datagramListeners, ({ addr }) => addr.port);
  }

  /** Takes one out; resolves when its listeners are closed. */
  #leave(one: EntryPoint): Promise<unknown> | undefined {
    const accepting = this.#accepting?.get(one);
    this.#accepting?.delete(one);
    one.leave();
    this.#leaving.set(one.socket, one);
    this.#forget(one);
    return accepting;
  }

  /** Keeps an entry point that is left only as long as it has connections. */
  #forget(one: EntryPoint): void {
    if (one.share.open > 0 || this.#leaving.get(one.socket) !== one) return;
    this.#leaving.delete(one.socket);
    this.#shares.delete(one.share);
  }

  /** Begins to accept. */
  #welcome(one: EntryPoint): void {
    const serve = (listener: AnyListener): Promise<void> =>
      "accept" in listener ? this.#accept(listener, one) : this.#sessions.serve(listener, one);
    this.#accepting?.set(one, Promise.all(one.listeners.map(serve)));
  }

  /** Accepts the clients of one listener until it is closed. */
  async #accept(listener: Listener, entryPoint: EntryPoint): Promise<void> {
    const { share, counts, closing: signal } = entryPoint;
    let backoff: Backoff | undefined;
    while (!signal.aborted) {
      if (!this.#admission.mayAccept(share)) await this.#admission.untilMayAccept(share, signal);
      let client: Stream;
      try {
        client = await listener.accept();
        backoff = undefined;
      } catch (error) {
        if (signal.aborted) return;
        counts.acceptErrors++;
        // A client that has already gone says nothing about the next one.
        if (isPeerGone(error)) {
          this.#options.log.debug("accept_failed", {
            route: entryPoint.route.name,
            error: describeError(error),
          });
          continue;
        }
        if (this.#context.onShortage(error)) {
          await closed(signal);
          continue;
        }
        backoff ??= new Backoff();
        await this.#admission.untilChange(backoff.next(), signal);
        continue;
      }
      if (mayHaveAPlace(client, entryPoint.route)) {
        // Other listeners may have taken the last place since, and wait here for the next one too.
        while (!this.#admission.mayAccept(share) && !signal.aborted) {
          await this.#admission.untilMayAccept(share, signal);
        }
        // No place came free before the stop: it was left waiting, like those in the queue.
        if (!this.#admission.mayAccept(share)) return client[Symbol.dispose]();
        this.#admission.makePlace(share);
      }
      // Its route went while it came: like those in the queue, it is refused.
      if (entryPoint.goneMs !== undefined) return client[Symbol.dispose]();
      void this.#serve(client, entryPoint);
      const turn = waitToAccept();
      if (turn !== undefined) await turn;
      if (share.held >= MAX_HELD_FOR_NAMES && entryPoint.route.targets.isNamed) {
        await pause(1, signal);
      }
    }
  }

  async #serve(client: Stream, entryPoint: EntryPoint): Promise<void> {
    this.#accepted++;
    const connection = new Connection(client, entryPoint, this.#context);
    this.#connections.add(connection);
    await connection.serve();
    this.#connections.delete(connection);
    this.#forget(entryPoint);
    if (this.#connections.size === 0) this.#onEmpty();
  }

  /** Stops accepting, lets connections finish, closes the rest; how many those were. */
  async #drain(): Promise<number> {
    const { drainDelayMs, drainTimeoutMs, log } = this.#options;
    const connections = this.#connections.size + this.#sessions.size;
    log.info("draining", {
      connections,
      delay: formatDuration(drainDelayMs),
      timeout: formatDuration(drainTimeoutMs),
      hint: connections > 0 || drainDelayMs > 0 ? "a second signal ends at once" : undefined,
    });
    if (drainDelayMs > 0) await pause(drainDelayMs);
    // Answers leave from where the datagrams have come: that stays until the last session has ended.
    const streams = this.#entryPoints.filter(({ route }) => !isDatagrams(route));
    for (const one of streams) one.close();
    const [cutOff] = await Promise.all([
      this.#drainConnections(streams),
      this.#sessions.drain(drainTimeoutMs).then(() => this[Symbol.dispose]()),
    ]);
    await Promise.all(this.#accepting?.values() ?? []);
    return cutOff;
  }

  async #drainConnections(entryPoints: readonly EntryPoint[]): Promise<number> {
    const { drainTimeoutMs } = this.#options;
    await Promise.all(entryPoints.map((one) => this.#accepting?.get(one)));
    if (this.#connections.size === 0) return 0;
    const empty = new AbortController();
    this.#onEmpty = () => empty.abort();
    // Who has said nothing by then would hold the stop up for nobody.
    using _handshakes = startDeadline(PATIENCE_MS, () => {
      for (const one of this.#connections) if (one.isHandshaking) one.end("drain_timeout");
    });
    await pause(drainTimeoutMs === 0 ? Infinity : drainTimeoutMs, empty.signal);
    const cutOff = this.#unfinished().length;
    for (const connection of [...this.#connections]) connection.end("drain_timeout");
    await pause(Infinity, empty.signal);
    return cutOff;
  }

  /** Those that lose something if they end now. */
  #unfinished(): readonly Connection[] {
    // Where a side has broken, what is left is a courtesy to the other.
    return [...this.#connections].filter(({ traffic, isHandshaking }) =>
      traffic.failure === undefined && !isHandshaking
    );
  }

  /** Says how it has ended, once: a drain may end while the program does. */
  #tellStopped(
    cutOff: number,
    killed?: { readonly reason: string; readonly signal: string },
  ): void {
    if (this.#hasTold) return;
    this.#hasTold = true;
    // The exit status is not 0 then, and has to be explained also where only warnings are written.
    const level = cutOff > 0 || killed !== undefined ? "warn" : "info";
    this.#options.log[level]("stopped", { cut_off: cutOff, ...killed });
  }

  /** Gives descriptors back that are only held for convenience; whether there were any. */
  #makeRoom(): boolean {
    return giveUpPair() || (this.#options.onShortage?.() ?? false);
  }

  /** Says that something has run out; not again before it has been over for a while. */
  #logShortage(error: unknown): void {
    const sessions = this.#sessions.size;
    const what = sessions > 0 ? "sessions of UDP give way" : "clients wait until a connection ends";
    this.#options.log.warn("accept_failed", {
      error: describeError(error),
      connections: this.#connections.size + sessions,
      hint: isShortage(error) ? `${what}; more open files allow more (ulimit -n)` : undefined,
    });
  }
}

/** Whether a client may be served, as far as is known: one that is not allowed ends at once. */
function mayHaveAPlace({ remoteAddr: { hostname } }: Stream, { settings }: ActiveRoute): boolean {
  const { allow, acceptProxy } = settings;
  return allow.has(hostname) || acceptProxy.has(hostname);
}
