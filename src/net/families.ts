// Listening on both families of addresses at once: one socket where the machine gives IPv4 to a
// listener on `::` too, two where it does not, one where it has only one family. It knows no protocol.

import type { Address } from "../base/address.ts";
import { errorCode } from "../base/errors.ts";
import type { Bound } from "./stream.ts";

/**
 * Listens. `::` is IPv6 and IPv4, or one of them on a machine that has only that.
 *
 * @param open Binds one address; it is asked again for the other family, with the port of the first.
 * @throws the error of `open`; then nothing is open
 */
export function listenOnFamilies<T extends Bound>(
  { hostname, port }: Address,
  open: (address: Address) => T,
): readonly T[] {
  if (hostname !== "::") return [open({ hostname, port })];
  let isDual: boolean;
  let ipv6: T;
  try {
    isDual = takesIpv4();
    ipv6 = open({ hostname, port });
  } catch (error) {
    if (!lacksFamily(error)) throw error;
    return [open({ hostname: "0.0.0.0", port })];
  }
  if (isDual) return [ipv6];
  try {
    return [ipv6, open({ hostname: "0.0.0.0", port: ipv6.addr.port })];
  } catch (error) {
    if (lacksFamily(error)) return [ipv6];
    ipv6.close();
    throw error;
  }
}

let dualStack: boolean | undefined;

/**
 * Whether a listener on `::` takes IPv4 too, which is the machine's choice (net.ipv6.bindv6only; Windows
 * never does): then its port is taken for IPv4 as well. Asked with a port that nobody else has.
 */
function takesIpv4(): boolean {
  if (dualStack !== undefined) return dualStack;
  using ipv6 = Deno.listen({ hostname: "::", port: 0 });
  try {
    Deno.listen({ hostname: "0.0.0.0", port: ipv6.addr.port }).close();
    dualStack = false;
  } catch (error) {
    dualStack = error instanceof Deno.errors.AddrInUse;
  }
  return dualStack;
}

/** Whether an error means that the machine has no IPv6, or no IPv4, at all. */
export function lacksFamily(error: unknown): boolean {
  const code = errorCode(error);
  return code === "EAFNOSUPPORT" || code === "EADDRNOTAVAIL" ||
    (error instanceof Error && /os error (?:97|99)\b/.test(error.message));
}
