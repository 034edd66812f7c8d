// Routes for tests.

import type { Address, Endpoint, Protocol } from "../../src/base/address.ts";
import type { RouteSettings } from "../../src/config/options.ts";
import { createLog } from "../../src/base/log.ts";
import { Admission } from "../../src/forward/admission.ts";
import { type ActiveRoute, EntryPoint, type RouteContext } from "../../src/forward/entry_point.ts";
import { PLAIN_TRANSPORTS } from "../../src/net/transports.ts";
import type { Route } from "../../src/config/routes.ts";
import { DEFAULT_SETTINGS } from "../../src/config/settings.ts";

/** What a route is put to work with, where nothing is short and nobody reads the log. */
export function routeContext(): RouteContext {
  const log = createLog({ level: "debug", format: "text", write: () => {} });
  return { transports: PLAIN_TRANSPORTS, log, admission: new Admission(0, []) };
}

/** An address, and how it is spoken to: plain unless given. */
export type PerhapsEndpoint = Address & { readonly protocol?: Protocol };

/** A route at work that listens nowhere. */
export function activate(route: Route, context: RouteContext): ActiveRoute {
  return new EntryPoint({ route, listeners: [] }, context).route;
}

/** A route with one target, and with the defaults but for what is given. */
export function routeTo(
  target: PerhapsEndpoint,
  { aliases = [], listen = { hostname: "127.0.0.1", port: 0 }, settings = {} }: {
    readonly aliases?: readonly string[];
    readonly listen?: PerhapsEndpoint;
    readonly settings?: Partial<RouteSettings>;
  } = {},
): Route {
  return {
    aliases,
    listen: endpointOf(listen),
    targets: [endpointOf(target)],
    settings: { ...DEFAULT_SETTINGS, ...settings },
  };
}

function endpointOf({ protocol = "tcp", hostname, port }: PerhapsEndpoint): Endpoint {
  return { protocol, hostname, port };
}
