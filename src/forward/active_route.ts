// A route at work: what was bound for it, what it holds and what it has done.

import { type Address, formatListen, isIpv4, isLoopback, unmapped } from "../base/address.ts";
import { plain } from "../base/text.ts";
import type { RouteSettings } from "../config/options.ts";
import { type Route, routeName } from "../config/routes.ts";
import { listenError } from "../net/listen_error.ts";
import type { Ends, Listener, ListenOptions, Transport } from "../net/stream.ts";
import type { Log } from "../base/log.ts";
import type { Transports } from "../net/transports.ts";
import { type Admission, Share } from "./admission.ts";
import { RouteCounts } from "./counts.ts";
import { Targets } from "./targets.ts";

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
  /** One, or two where IPv6 and IPv4 need one each. */
  readonly listeners: readonly Listener[];
  /** What its clients owe before they are served, if anything. */
  readonly shakeHands: Transport["shakeHands"];
  /** What it holds. */
  readonly share: Share;
  /** What it has done so far. */
  readonly counts: RouteCounts;
  /** Until when its clients from this machine are taken for its own connections coming round. */
  loopsUntilMs: number;
}

/** What routes are put to work with. */
export interface RouteContext extends ListenOptions {
  /** How each protocol listens and connects. */
  readonly transports: Transports;
  /** Where to write. */
  readonly log: Log;
  /** Where a want of descriptors is known. */
  readonly admission: Admission;
}

/**
 * Binds every route. If one can't be bound, those before it are closed again.
 *
 * @throws {BindError} naming the route, the address and the reason
 */
export function bindRoutes(
  routes: readonly Route[],
  context: RouteContext,
): readonly ActiveRoute[] {
  using opened = new DisposableStack();
  const { transports, reusePort = false } = context;
  const bound = routes.map((route) => {
    try {
      const listeners = transports[route.listen.protocol].listen(route.listen, { reusePort });
      for (const listener of listeners) opened.defer(() => listener.close());
      return activate(route, listeners, context);
    } catch (cause) {
      const user = `route ${routeName(route, plain)}`;
      throw listenError(route.listen, user, { cause, reusePort });
    }
  });
  opened.move();
  return bound;
}

/** Puts a bound route to work. */
export function activate(
  route: Route,
  listeners: readonly Listener[],
  { transports, log, admission }: RouteContext,
): ActiveRoute {
  const { listen, settings } = route;
  // A port of 0 is the system's choice. The host stays as it was written: Deno drops its zone.
  const port = listeners[0]?.addr.port ?? listen.port;
  const bound = { ...route, listen: { ...listen, port } };
  const share = new Share(settings.maxConnections);
  const fields = { route: routeName(bound), listen: formatListen(bound.listen) };
  const mayTry = (): boolean => admission.mayDial(share);
  return {
    route: bound,
    name: fields.route,
    listen: fields.listen,
    targets: new Targets(route.targets, { settings, transports, log, fields, mayTry }),
    settings,
    listeners,
    shakeHands: transports[listen.protocol].shakeHands,
    share,
    counts: new RouteCounts(),
    loopsUntilMs: -Infinity,
  };
}

/**
 * Whether a stream was connected to one of the listeners. It was if its far end is where one of them
 * listens, and on this machine: only one program can listen there. A NAT that sends this machine's own
 * address elsewhere can't be seen.
 */
export function leadsTo(
  { localAddr, remoteAddr }: Ends,
  listeners: Iterable<Pick<Listener, "addr">>,
): boolean {
  if (!isSameMachine(localAddr, remoteAddr)) return false;
  const remote = unmapped(remoteAddr.hostname);
  for (const { addr: { hostname, port } } of listeners) {
    if (port === remoteAddr.port && covers(unmapped(hostname), remote)) return true;
  }
  return false;
}

/** Whether a stream has both ends on this machine: the system gives it the address that is dialled. */
export function isSameMachine(local: Address, remote: Address): boolean {
  return local.hostname === remote.hostname || isLoopback(unmapped(remote.hostname));
}

/** Whether a listener on one address is reached by another. */
function covers(listens: string, address: string): boolean {
  return listens === address || listens === "::" || (listens === "0.0.0.0" && isIpv4(address));
}
