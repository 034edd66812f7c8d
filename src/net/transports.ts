// The table of transports: how each protocol listens and connects. A new protocol is a row here and a
// file of its own; what only some routes want is loaded for them alone.

import type { Protocol } from "../base/address.ts";
import { ConfigError } from "../base/errors.ts";
import type { DatagramListener, Transport } from "./stream.ts";
import { connectTcp, listenTcp } from "./tcp.ts";
import type { TlsOptions } from "./tls.ts";
import { connectUdp, listenUdp } from "./udp.ts";

/** A transport for each protocol. */
export type Transports =
  & Readonly<Record<Exclude<Protocol, "udp">, Transport>>
  & { readonly udp: Transport<DatagramListener> };

const TCP: Transport = { listen: listenTcp, connect: connectTcp };
const UDP: Transport<DatagramListener> = { listen: listenUdp, connect: connectUdp };

/** Those of routes without TLS. */
export const PLAIN_TRANSPORTS: Transports = { tcp: TCP, tls: unprepared(), udp: UDP };

/** Stands for TLS where no route wants it. */
function unprepared(): Transport {
  function fail(): never {
    throw new Error("TLS was not prepared");
  }
  return { listen: fail, connect: fail };
}

/**
 * Makes sure that this Deno has a TLS that can be trusted: older ones let everybody in.
 *
 * @param what What wants it, for the message.
 * @throws {ConfigError} if it has not
 */
export function requireTls(what: string): void {
  const [major = 0, minor = 0] = Deno.version.deno.split(".").map(Number);
  if (major > 2 || (major === 2 && minor >= 9)) return;
  const message = `${what}: TLS needs Deno 2.9 or later, and this is Deno ${Deno.version.deno}`;
  const hint = "use an executable or an image that was made with Deno 2.9 or later";
  throw new ConfigError([{ message, hint }]);
}

/**
 * Those of routes with TLS: loads what that takes.
 *
 * @throws {ConfigError} if the TLS of this Deno is not the one that this program knows
 */
export async function loadTransports(tls: TlsOptions): Promise<Transports> {
  const { createTls } = await import("./tls.ts");
  return { ...PLAIN_TRANSPORTS, tls: createTls(tls) };
}
