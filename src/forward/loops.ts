// Whether a connection comes back to the ambassador itself. It knows only addresses.

import { type Address, isIpv4, isLoopback, unmapped } from "../base/address.ts";
import type { Bound, Ends } from "../net/stream.ts";

/**
 * Whether a stream was connected to one of the listeners. It was if its far end is where one of them
 * listens, and on this machine: only one program can listen there. A NAT that sends this machine's own
 * address elsewhere can't be seen.
 */
export function leadsTo(
  { localAddr, remoteAddr }: Ends,
  listeners: Iterable<Pick<Bound, "addr">>,
): boolean {
  return isSameMachine(localAddr, remoteAddr) && listensAt(remoteAddr, listeners);
}

/** Whether one of the listeners is reached by an address, if that is one of this machine's. */
export function listensAt(
  remoteAddr: Address,
  listeners: Iterable<Pick<Bound, "addr">>,
): boolean {
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
