// Options that look like protection, or like more, and have no effect on UDP routes beside the others. It
// knows nothing of datagrams but that.

import { Networks } from "../base/networks.ts";
import { plain, some } from "../base/text.ts";
import type { Options } from "./options.ts";
import type { Warning } from "./own_variables.ts";
import { type Route, routeName } from "./routes.ts";
import { isUdp } from "./targets.ts";
import type { Given } from "./tls_rules.ts";

/** What was said, and of what routes. */
export interface UdpUse {
  /** Every route. */
  readonly routes: readonly Route[];
  /** Every option. */
  readonly options: Options;
  /** Those that were given, by their names. */
  readonly given: ReadonlyMap<string, Given>;
}

/** Names each such option, and its routes. As a setting of such a route it is an error. */
export function findUdpWarnings({ routes, options, given }: UdpUse): readonly Warning[] {
  const { sendProxy, acceptProxy, maxConnections, reusePort } = options;
  const udp = routes.filter(isUdp);
  const found: [option: string, isGiven: boolean, why: string][] = [
    ["send-proxy", sendProxy === "v1", "v1 knows no UDP, v2 does"],
    ["accept-proxy", acceptProxy !== Networks.NONE, "the source of a datagram can be forged"],
    ["max-connections", maxConnections > 0, "--max-sessions limits UDP"],
    [
      "reuse-port",
      reusePort,
      "the system would spread the datagrams of one client over all processes",
    ],
  ];
  return found.filter(([, isGiven]) => isGiven).flatMap(([option, , why]): Warning[] => {
    // A route that is told v2 of its own gets what it wants.
    const without = option === "send-proxy"
      ? udp.filter(({ settings }) => settings.sendProxy === "off")
      : udp;
    if (without.length === 0) return [];
    const setting = given.get(option)?.source ?? `--${option}`;
    const reason = `no effect on ${namesOf(without)}: ${why}`;
    return [{ event: "warning", setting, reason, message: `${setting}: ${reason}` }];
  });
}

/** `UDP route DNS`, `3 UDP routes (DNS, STATSD, 514)`. */
export function namesOf(routes: readonly Route[]): string {
  const names = some(routes.map((route) => routeName(route, plain)), ", ");
  return routes.length === 1 ? `UDP route ${names}` : `${routes.length} UDP routes (${names})`;
}
