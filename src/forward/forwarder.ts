// Binds all routes, accepts clients until told to stop, and lets open connections finish.

import { type Address, type Endpoint, formatAddress, isIp } from "../base/address.ts";
import { bindRoutes, type BoundRoute } from "../net/bind.ts";
import { Bursts } from "../base/burst.ts";
import { Connection, type ConnectionContext, type ConnectionRoute } from "./connection.ts";
import { RouteCounts } from "./counts.ts";
import type { Dial } from "./dial.ts";
import { formatDuration } from "../base/duration.ts";
import { Ends } from "./ends.ts";
import { describeError, isPeerGone, isShortage } from "../base/errors.ts";
import { Gate } from "./admission.ts";
import { watchLimits } from "./limits.ts";
import type { Log } from "../base/log.ts";
import { watchMemory } from "./memory.ts";
import type { Options } from "../config/options.ts";
import { Backoff, pause } from "../base/time.ts";
import type { Report } from "./report.ts";
import { type Ignored, type Route, routeName } from "../config/routes.ts";
import { StatusServer } from "../status/server.ts";

/** Options for {@linkcode serve}; see `Options` for each limit. */
export interface ServeOptions extends
  Pick<
    Options,
    | "connectTimeoutMs"
    | "retryMs"
    | "halfCloseTimeoutMs"
    | "idleTimeoutMs"
    | "maxConnections"
    | "drainTimeoutMs"
    | "drainDelayMs"
  > {
  /** Begins the stop when it aborts. */
  readonly signal: AbortSignal;
  /** Where to write. */
  readonly log: Log;
  /** Told the addresses that were really bound, in the order of the routes, when all are. */
  readonly onReady?: (routes: readonly Route[], status: Address | undefined) => void;
  /** Where to serve the status page; nowhere unless given. */
  readonly status?: Address | undefined;
  /** The program's version, for the status page. */
  readonly version?: string;
  /** What is not forwarded, for the status page. */
  readonly ignored?: readonly Ignored[];
}

/** How forwarding ended. */
export interface Served {
  /** Connections that had to be closed at the end of `drainTimeoutMs`. */
  readonly cutOff: number;
}

/**
 * Accepting must not run far ahead of looking up a target's name: a lookup wants descriptors of its
 * own, and where these are scarce there would be nothing but clients, none with an upstream.
 */
const MAX_DIALS_AHEAD = 16;

/**
 * Forwards all routes until the signal aborts and the connections have ended.
 *
 * @throws {BindError} if a route or the status page can't be bound; nothing is then
 */
export async function serve(routes: readonly Route[], options: ServeOptions): Promise<Served> {
  const bound = bindRoutes(routes);
  const forwarder = new Forwarder(bound, options);
  using status = forwarder.startStatus();
  options.onReady?.(bound.map(({ route }) => route), status?.address);
  return await forwarder.run();
}

/** A bound route at work. */
interface ActiveRoute extends ConnectionRoute {
  readonly route: Route;
  readonly listeners: readonly Deno.TcpListener[];
  /** Whether the target's name has to be resolved for each client. */
  readonly isNamed: boolean;
}

class Forwarder {
  readonly #options: ServeOptions;
  readonly #log: Log;
  readonly #routes: readonly ActiveRoute[];
  readonly #gate: Gate;
  readonly #connections = new Set<Connection>();
  readonly #context: ConnectionContext;
  /** Aborts when no more clients are to be accepted. */
  readonly #closing = new AbortController();
  /** Called when the last connection has ended. */
  #onEmpty = (): void => {};
  #status: StatusServer | undefined;

  constructor(bound: readonly BoundRoute[], options: ServeOptions) {
    this.#options = options;
    this.#log = options.log;
    this.#gate = new Gate(options.maxConnections);
    const dialling = bound.map(({ route }) => ({
      target: firstTarget(route),
      dials: new Set<Dial>(),
    }));
    const byTargetPort = Map.groupBy(dialling, ({ target }) => target.port);
    this.#routes = bound.map(({ route, listeners }, at) => ({
      route,
      name: routeName(route),
      listen: formatAddress(route.listen),
      target: firstTarget(route),
      counts: new RouteCounts(),
      failures: new Bursts(options.log),
      listeners,
      isNamed: !isIp(firstTarget(route).hostname),
      dials: dialling[at]?.dials ?? new Set(),
      feeders: byTargetPort.get(route.listen.port) ?? [],
    }));
    this.#context = {
      connectTimeoutMs: options.connectTimeoutMs,
      retryMs: options.retryMs,
      log: options.log,
      gate: this.#gate,
      onShortage: (error) => this.#noteShortage(error),
      clients: new Ends(),
      upstreams: new Ends(),
    };
  }

  /**
   * Serves the status page, if it is wanted.
   *
   * @throws {BindError} if its address can't be bound; the routes are then closed again
   */
  startStatus(): StatusServer | undefined {
    const { status } = this.#options;
    if (status === undefined) return undefined;
    try {
      return this.#status = new StatusServer(status, () => this.#report());
    } catch (error) {
      this.#closeListeners();
      throw error;
    }
  }

  #report(): Report {
    const { signal, version = "unknown", ignored = [] } = this.#options;
    const startedAt = performance.timeOrigin;
    const routes = this.#routes.map(({ route, counts }) => ({ route, counts: counts.report() }));
    return { version, startedAt, ready: !signal.aborted, routes, ignored };
  }

  async run(): Promise<Served> {
    using _limits = watchLimits(this.#connections, this.#options);
    using _memory = watchMemory(
      this.#connections,
      () => this.#routes.reduce((sum, { counts }) => sum + counts.connections, 0),
    );
    for (const { name, listen, target } of this.#routes) {
      this.#log.info("listening", { route: name, listen, target: formatAddress(target) });
    }
    const status = this.#status && formatAddress(this.#status.address);
    this.#log.info("ready", { routes: this.#routes.length, status });
    const accepting = this.#routes.flatMap((route) =>
      route.listeners.map((listener) => this.#accept(listener, route))
    );
    await aborted(this.#options.signal);
    const cutOff = await this.#drain(accepting);
    for (const { failures } of this.#routes) failures.flush();
    // The exit status is 1 then, and has to be explained also where only warnings are written.
    this.#log[cutOff > 0 ? "warn" : "info"]("stopped", { cut_off: cutOff });
    return { cutOff };
  }

  /** Accepts the clients of one listener until it is closed. */
  async #accept(listener: Deno.TcpListener, route: ActiveRoute): Promise<void> {
    const { signal } = this.#closing;
    let backoff: Backoff | undefined;
    while (!signal.aborted) {
      if (!this.#gate.isOpen) await this.#untilOpen();
      if (this.#status !== undefined) await this.#leaveRoom(this.#status);
      let client: Deno.TcpConn;
      try {
        client = await listener.accept();
        backoff = undefined;
      } catch (error) {
        if (signal.aborted) return;
        route.counts.acceptErrors++;
        // A client that has already gone says nothing about the next one.
        if (isPeerGone(error)) {
          this.#log.debug("accept_failed", { route: route.name, error: describeError(error) });
          continue;
        }
        this.#noteShortage(error);
        backoff ??= new Backoff();
        await this.#gate.untilChange(backoff.next(), signal);
        continue;
      }
      // Other listeners may have taken the last place since, and wait here for the next one too.
      while (!this.#gate.isOpen && !signal.aborted) await this.#untilOpen();
      // No place came free before the stop: it is a client that was left waiting, like those in the queue.
      if (!this.#gate.isOpen) return client.close();
      void this.#serve(client, route);
      if (route.isNamed && route.dials.size >= MAX_DIALS_AHEAD) await this.#letLookUp(route);
    }
  }

  async #untilOpen(): Promise<void> {
    const { signal } = this.#closing;
    while (!this.#gate.isOpen && !signal.aborted) await this.#gate.untilChange(Infinity, signal);
  }

  /** Where descriptors are short, some stay with the status page: who asks it may end the process. */
  async #leaveRoom(status: StatusServer): Promise<void> {
    const { signal } = this.#closing;
    const backoff = new Backoff();
    while (!signal.aborted && !this.#gate.hasRoom()) {
      // It may be the page itself that holds them.
      status.shed();
      await this.#gate.untilChange(backoff.next(), signal);
    }
  }

  /** Slows accepting down, and stops it where descriptors are scarce, until names are looked up. */
  async #letLookUp(route: ActiveRoute): Promise<void> {
    const { signal } = this.#closing;
    do await pause(1, signal); while (
      this.#gate.isShort && route.dials.size >= MAX_DIALS_AHEAD && !signal.aborted
    );
  }

  async #serve(client: Deno.TcpConn, route: ActiveRoute): Promise<void> {
    const connection = new Connection(client, route, this.#context);
    this.#connections.add(connection);
    this.#gate.enter();
    await connection.serve();
    this.#connections.delete(connection);
    this.#gate.leave();
    if (this.#connections.size === 0) this.#onEmpty();
  }

  /** Stops accepting, lets connections finish, closes the rest; how many those were. */
  async #drain(accepting: readonly Promise<void>[]): Promise<number> {
    const { drainDelayMs, drainTimeoutMs } = this.#options;
    this.#log.info("draining", {
      connections: this.#connections.size,
      delay: formatDuration(drainDelayMs),
      timeout: formatDuration(drainTimeoutMs),
    });
    if (drainDelayMs > 0) await pause(drainDelayMs);
    this.#closing.abort();
    this.#closeListeners();
    await Promise.all(accepting);
    if (this.#connections.size === 0) return 0;
    const empty = new AbortController();
    this.#onEmpty = () => empty.abort();
    await pause(drainTimeoutMs === 0 ? Infinity : drainTimeoutMs, empty.signal);
    const late = [...this.#connections];
    for (const connection of late) connection.end("drain_timeout");
    await aborted(empty.signal);
    return late.length;
  }

  #closeListeners(): void {
    for (const { listeners } of this.#routes) {
      for (const listener of listeners) listener.close();
    }
  }

  /** Logs a shortage once, and again only after it has been over for a while. */
  #noteShortage(error: unknown): void {
    this.#status?.shed();
    if (!this.#gate.noteShortage()) return;
    this.#log.warn("accept_failed", {
      error: describeError(error),
      connections: this.#connections.size,
      hint: isShortage(error)
        ? "clients wait until a connection ends; more open files allow more (ulimit -n)"
        : undefined,
    });
  }
}

function firstTarget({ targets: [target] }: Route): Endpoint {
  if (target === undefined) throw new TypeError("a route without a target");
  return target;
}

/** Resolves when the signal has aborted. */
async function aborted(signal: AbortSignal): Promise<void> {
  await pause(Infinity, signal);
}
