// Routes for tests.

import type { Address } from "../../src/base/address.ts";
import type { RouteSettings } from "../../src/config/options.ts";
import { createLog } from "../../src/base/log.ts";
import type { RouteContext } from "../../src/forward/active_route.ts";
import { Admission } from "../../src/forward/admission.ts";
import { PLAIN_TRANSPORTS } from "../../src/net/transports.ts";
import type { Route } from "../../src/config/routes.ts";
import { DEFAULT_SETTINGS } from "../../src/config/settings.ts";

/** What a route is put to work with, where nothing is short and nobody reads the log. */
export function routeContext(): RouteContext {
  const log = createLog({ level: "debug", format: "text", write: () => {} });
  return { transports: PLAIN_TRANSPORTS, log, admission: new Admission(0, []) };
}

/** A TCP route with one target, and with the defaults but for what is given. */
export function routeTo(
  target: Address,
  { aliases = [], listen = { hostname: "127.0.0.1", port: 0 }, settings = {} }: {
    readonly aliases?: readonly string[];
    readonly listen?: Address;
    readonly settings?: Partial<RouteSettings>;
  } = {},
): Route {
  return {
    aliases,
    listen: { protocol: "tcp", hostname: listen.hostname, port: listen.port },
    targets: [{ protocol: "tcp", hostname: target.hostname, port: target.port }],
    settings: { ...DEFAULT_SETTINGS, ...settings },
  };
}
