// The lines of the log that a start and a rewiring have in common.

import { formatListen, formatTargets } from "../base/address.ts";
import type { Log } from "../base/log.ts";
import { type Ignored, type Route, routeName } from "../config/routes.ts";

/** Says where a route listens and where it leads. */
export function logListening(log: Log, route: Route): void {
  log.info("listening", {
    route: routeName(route),
    listen: formatListen(route.listen),
    target: formatTargets(route.targets),
  });
}

/** Says what is not forwarded: a slip of a file loudly, since it may have taken a route away. */
export function logIgnored(log: Log, { variable, reason, asked, isSlip }: Ignored): void {
  log[isSlip ? "warn" : asked ? "debug" : "info"]("ignored", { variable, reason });
}
