// Which PROXY header a route's settings send to an upstream. How it is written stands in
// `net/proxy_header.ts`.

import type { Address } from "../base/address.ts";
import type { RouteSettings } from "../config/options.ts";
import { formatDatagramHeader, formatLocalHeader, formatProxyHeader } from "../net/proxy_header.ts";

/** Who is connected with whom, as far as the ambassador knows. */
export interface Ends {
  /** The client. */
  readonly source: Address;
  /** Where it has connected to. */
  readonly destination: Address;
}

/** What tells the upstream who its client is; undefined where that is not wanted. */
export function headerOf(
  { sendProxy }: Pick<RouteSettings, "sendProxy">,
  { source, destination }: Ends,
): Uint8Array<ArrayBuffer> | undefined {
  return sendProxy === "off" ? undefined : formatProxyHeader(sendProxy, source, destination);
}

/** The same for each datagram of a client. */
export function datagramHeaderOf(
  { sendProxy }: Pick<RouteSettings, "sendProxy">,
  { source, destination }: Ends,
): Uint8Array<ArrayBuffer> | undefined {
  return sendProxy === "v2" ? formatDatagramHeader(source, destination) : undefined;
}

/** The same for a connection of the ambassador's own, which has no client. */
export function localHeaderOf(
  { sendProxy }: Pick<RouteSettings, "sendProxy">,
): Uint8Array<ArrayBuffer> | undefined {
  return sendProxy === "off" ? undefined : formatLocalHeader(sendProxy);
}
