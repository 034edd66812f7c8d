// The table of transports: how each protocol listens and connects. A new protocol is a row here and a
// file of its own.

import type { Address, Protocol } from "../base/address.ts";
import type { ConnectOptions, Listener, ListenOptions, Stream } from "./stream.ts";
import { connectTcp, listenTcp } from "./tcp.ts";

/** How one protocol listens and connects. */
export interface Transport {
  /**
   * Listens: one listener, or two where IPv6 and IPv4 need one each.
   *
   * @throws the system's error if the address can't be had; then nothing is open
   */
  listen(address: Address, options?: ListenOptions): readonly Listener[];
  /**
   * Connects once, to an address or a name.
   *
   * @throws the error of the last address; the signal's reason as soon as it aborts
   */
  connect(address: Address, options: ConnectOptions): Promise<Stream>;
}

/** A transport for each protocol. */
export type Transports = Readonly<Record<Protocol, Transport>>;

/** Those of this program. */
export const TRANSPORTS: Transports = {
  tcp: { listen: listenTcp, connect: connectTcp },
};
