// One try of one target, as a client of its route would reach it: name, connection, TLS, and a PROXY
// header that announces nobody. `wait` and `check --probe` are made of it.

import type { Endpoint } from "../base/address.ts";
import type { RouteSettings } from "../config/options.ts";
import { localHeaderOf } from "../forward/proxy_protocol.ts";
import type { Transports } from "../net/transports.ts";

/**
 * Connects once and closes again. Over UDP nothing is sent: there it looks the name up.
 *
 * @throws why it could not be reached; the signal's reason as soon as it aborts
 */
export async function tryTarget(
  target: Endpoint,
  { settings, transports, signal }: {
    readonly settings: RouteSettings;
    readonly transports: Transports;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  using _stream = await transports[target.protocol].connect(target, {
    signal,
    settings,
    preface: localHeaderOf(settings),
    isTrial: true,
  });
}
