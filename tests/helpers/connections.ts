// One connection of the forwarder, without its listeners.

import type { Address } from "../../src/base/address.ts";
import type { RouteSettings } from "../../src/config/options.ts";
import { Connection } from "../../src/forward/connection.ts";
import { type Reason, REASONS, type RouteCounts } from "../../src/forward/counts.ts";
import type { Stream } from "../../src/net/stream.ts";
import { activate, routeContext, routeTo } from "./routes.ts";

/** A connection at work. */
export interface Served {
  /** The connection. */
  readonly connection: Connection;
  /** What its route has done. */
  readonly counts: RouteCounts;
  /** Why it has ended; undefined as long as it has not. */
  reason(): Reason | undefined;
  /** Resolves to the reason when it ends. */
  readonly end: Promise<Reason | undefined>;
}

/** Serves a client whose upstream is at the target. */
export function serveClient(
  client: Stream,
  target: Address,
  settings: Partial<RouteSettings> = {},
): Served {
  const context = routeContext();
  const route = activate(routeTo(target, { settings }), context);
  const connection = new Connection(client, { route, goneMs: undefined }, {
    ...context,
    onShortage: () => false,
    leadsBack: () => false,
  });
  const { counts } = route;
  const reason = (): Reason | undefined => REASONS.find((one) => counts.closed[one] === 1);
  return { connection, counts, reason, end: connection.serve().then(reason) };
}
