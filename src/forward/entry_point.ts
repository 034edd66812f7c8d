// Where clients arrive: a listen address with its listeners, what is held and counted there, and the
// route that stands there now. A rewiring gives it another route; the rest stays, so that nobody who
// waits in its queue is lost.

import {
  type Address,
  type Endpoint,
  formatAddress,
  formatListen,
  unmapped,
} from "../base/address.ts";
import { BindError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { plain } from "../base/text.ts";
import type { RouteSettings } from "../config/options.ts";
import { formatRoute, type Route, routeName } from "../config/routes.ts";
import { listenError } from "../net/listen_error.ts";
import type { DatagramListener, Listener, ListenOptions, Transport } from "../net/stream.ts";
import type { Transports } from "../net/transports.ts";
import { type Admission, Share } from "./admission.ts";
import { RouteCounts } from "./counts.ts";
import type { RouteReport } from "./report.ts";
import { type Target, Targets } from "./targets.ts";

/** What routes are put to work with. */
export interface RouteContext {
  /** How each protocol listens and connects. */
  readonly transports: Transports;
  /** Where to write. */
  readonly log: Log;
  /** Where a want of descriptors is known. */
  readonly admission: Admission;
}

/** A route at work. */
export interface ActiveRoute {
  /** The route, with the port that was really bound. */
  readonly route: Route;
  /** Its name in logs and metrics. */
  readonly name: string;
  /** Its listen address as text. */
  readonly listen: string;
  /** Where to connect. */
  readonly targets: Targets;
  /** What holds for it. */
  readonly settings: RouteSettings;
  /** What its clients owe before they are served, if anything. */
  readonly shakeHands: Transport["shakeHands"];
  /** What is held where it listens. */
  readonly share: Share;
  /** What has been done there so far. */
  readonly counts: RouteCounts;
  /** Until when its clients from this machine are taken for its own connections coming round. */
  loopsUntilMs: number;
}

/** What each line of the log on a client holds; the targets of the route unless one is known. */
export function clientFields(
  { name, listen, targets }: Pick<ActiveRoute, "name" | "listen" | "targets">,
  { hostname, port }: Address,
  target: string = targets.text,
): Record<string, string> {
  const client = formatAddress({ hostname: unmapped(hostname), port });
  return { route: name, listen, target, client };
}

/** A route and the listeners that were bound for it: one, or two where IPv6 and IPv4 need one each. */
export interface BoundRoute {
  /** The route, with the port that was really bound. */
  readonly route: Route;
  /** Where its clients arrive. */
  readonly listeners: readonly AnyListener[];
}

/** Where clients arrive, over any transport. */
export type AnyListener = Listener | DatagramListener;

/**
 * Binds every route. If any can't be bound, none stays open.
 *
 * @throws {AggregateError} of a {@linkcode BindError} for each of those, naming the route, the address
 *   and the reason
 */
export function bindRoutes(
  routes: readonly Route[],
  { transports, reusePort = false }: ListenOptions & Pick<RouteContext, "transports">,
): readonly BoundRoute[] {
  using opened = new DisposableStack();
  const errors: BindError[] = [];
  const bound: BoundRoute[] = [];
  for (const route of routes) {
    const { listen } = route;
    try {
      const listeners = transports[listen.protocol].listen(listen, { reusePort });
      for (const listener of listeners) opened.defer(() => listener.close());
      // A port of 0 is the system's choice. The host stays as it was written: Deno drops its zone.
      const port = listeners[0]?.addr.port ?? listen.port;
      bound.push({
        route: port === listen.port ? route : { ...route, listen: { ...listen, port } },
        listeners,
      });
    } catch (cause) {
      errors.push(listenError(listen, `route ${routeName(route, plain)}`, { cause, reusePort }));
    }
  }
  if (errors.length > 0) throw new AggregateError(errors);
  opened.move();
  return bound;
}

/** What tells entry points apart: TCP and TLS take the same socket, UDP takes another. */
export function socketOf(listen: Endpoint): string {
  return `${formatAddress(listen)}${listen.protocol === "udp" ? "/udp" : ""}`;
}

/** A listen address at work. */
export class EntryPoint {
  /** Where it listens. */
  readonly socket: string;
  /** What it holds. */
  readonly share = new Share();
  /** What it has done so far. */
  readonly counts = new RouteCounts();
  readonly #context: Omit<RouteContext, "transports">;
  #route: ActiveRoute;
  #listeners: readonly AnyListener[];
  #closing = new AbortController();
  #goneMs: number | undefined;
  /** The targets that it has, and others that still have connections, by their names. */
  #targets = new Map<string, Target>();

  /** Takes the listeners over. */
  constructor({ route, listeners }: BoundRoute, { transports, ...context }: RouteContext) {
    this.socket = socketOf(route.listen);
    this.#context = context;
    this.#listeners = listeners;
    this.#route = this.#activate(route, transports);
  }

  /** The route that the next client gets. */
  get route(): ActiveRoute {
    return this.#route;
  }

  /** When its route has gone, as `performance.now()` tells it; undefined as long as it has one. */
  get goneMs(): number | undefined {
    return this.#goneMs;
  }

  /** None once it is closed. */
  get listeners(): readonly AnyListener[] {
    return this.#listeners;
  }

  /** Aborts when it accepts no more clients. */
  get closing(): AbortSignal {
    return this.#closing.signal;
  }

  /**
   * Gives it another route, or the same: from now on its clients get that one.
   *
   * @returns whether anything has changed
   */
  rewire(route: Route, transports: Transports): boolean {
    if (this.#goneMs === undefined && isSame(route, this.#route.route)) return false;
    this.#goneMs = undefined;
    this.#route.targets[Symbol.dispose]();
    this.#route = this.#activate(route, transports);
    return true;
  }

  /** Opens one that was closed again, since its route has come back. */
  reopen({ route, listeners }: BoundRoute, transports: Transports): void {
    this.#listeners = listeners;
    this.#closing = new AbortController();
    this.rewire(route, transports);
  }

  /** Accepts nobody any more; the connections that it has go on. */
  close(): void {
    this.#closing.abort();
    for (const listener of this.#listeners) listener.close();
    this.#listeners = [];
    this.#route.targets[Symbol.dispose]();
  }

  /** The same, since its route is gone. */
  leave(): void {
    this.close();
    this.#goneMs = performance.now();
    for (const target of this.#targets.values()) target.goneMs ??= this.#goneMs;
  }

  /** How it fares, at this moment. */
  report(): RouteReport {
    const targets = [...this.#targets.values()].filter(({ goneMs, open }) =>
      goneMs === undefined || open > 0
    );
    return {
      route: this.#route.route,
      isLeaving: this.#goneMs !== undefined,
      targets: targets.map((target) => target.report()),
      counts: this.counts.report(),
    };
  }

  #activate(route: Route, transports: Transports): ActiveRoute {
    const { listen, settings } = route;
    const { share, counts } = this;
    share.limit(settings.maxConnections);
    return {
      route,
      name: routeName(route),
      listen: formatListen(listen),
      targets: this.#renewTargets(route, transports),
      settings,
      shakeHands: transports[listen.protocol].shakeHands,
      share,
      counts,
      loopsUntilMs: -Infinity,
    };
  }

  /** The targets of a route. Those that it has had already stay as they are, with their connections. */
  #renewTargets(route: Route, transports: Transports): Targets {
    const { log, admission } = this.#context;
    const targets = new Targets(route.targets, {
      settings: route.settings,
      transports,
      log,
      fields: { route: routeName(route), listen: formatListen(route.listen) },
      mayTry: () => admission.mayDial(this.share),
      known: this.#targets,
    });
    // What could not be reached is none of them, as far as is known.
    if (this.#route?.targets.text !== targets.text) this.counts.forgetConnectError();
    const nowMs = performance.now();
    const others = [...this.#targets.values()].filter((one) => !targets.all.includes(one));
    for (const other of others) other.goneMs ??= nowMs;
    const kept = [...targets.all, ...others.filter(({ load }) => load > 0)];
    this.#targets = new Map(kept.map((target) => [target.name, target]));
    return targets;
  }
}

function isSame(one: Route, other: Route): boolean {
  return one === other ||
    (String(one.aliases) === String(other.aliases) && formatRoute(one) === formatRoute(other));
}
