// UDP: listening on one address or on both families at once, and a socket to a target, whose name may
// move. It knows nothing of sessions, time limits or what the datagrams hold.

import { type Address, isIp, isIpv4, isLoopback, isUnspecified } from "../base/address.ts";
import { errorCode } from "../base/errors.ts";
import { parseIp } from "../base/ip.ts";
import { pause } from "../base/time.ts";
import { listenOnFamilies } from "./families.ts";
import { lookUp } from "./names.ts";
import type { ConnectOptions, DatagramListener, Stream } from "./stream.ts";

/**
 * Listens. `::` is IPv6 and IPv4, or one of them on a machine that has only that.
 *
 * @throws the error of `Deno.listenDatagram`; then nothing is open
 */
export function listenUdp(address: Address): readonly DatagramListener[] {
  // Deno (2.9.6) drops the zone of a link-local address, and none can be answered without it.
  const [, zone] = address.hostname.split("%");
  return listenOnFamilies(address, ({ hostname, port }) => {
    const socket = bind(hostname, port);
    return {
      addr: addressOf(socket),
      async receive(buffer): Promise<{ readonly from: Address; readonly length: number }> {
        const [{ length }, addr] = await socket.receive(buffer);
        const from = addr as Deno.NetAddr;
        if (zone === undefined || !from.hostname.startsWith("fe80:")) return { from, length };
        return { from: { hostname: `${from.hostname}%${zone}`, port: from.port }, length };
      },
      async send(data, to): Promise<void> {
        await socket.send(data, { transport: "udp", hostname: to.hostname, port: to.port });
      },
      close: () => socket.close(),
    };
  });
}

function bind(hostname: string, port: number): Deno.DatagramConn {
  return Deno.listenDatagram({ transport: "udp", hostname, port });
}

function addressOf(socket: Deno.DatagramConn): Address {
  return socket.addr as Deno.NetAddr;
}

/**
 * How long Deno (2.9.6) may take to close a socket that is being read, in milliseconds: it does so in
 * the next turn of its loop.
 */
const CLOSING_MS = 2;

/** Resolves when sockets that were closed until now have given their descriptors back. */
export function closed(signal?: AbortSignal): Promise<void> {
  return pause(CLOSING_MS, signal);
}

/** Addresses that no machine has (RFC 1112, RFC 6666). */
const NOBODYS_IPV4 = "240.0.0.1";
const NOBODYS_IPV6 = "100::1";

/**
 * Whether an address is one of this machine's: only those can be bound. Where any can be
 * (net.ipv4.ip_nonlocal_bind) only loopback is known.
 */
export function isOwnAddress(hostname: string): boolean {
  if (isLoopback(hostname)) return true;
  return canBind(hostname) && !canBind(isIpv4(hostname) ? NOBODYS_IPV4 : NOBODYS_IPV6);
}

function canBind(hostname: string): boolean {
  try {
    bind(hostname, 0).close();
    return true;
  } catch (error) {
    // Of a link-local address without a zone it is EINVAL.
    if (error instanceof Deno.errors.AddrNotAvailable || error instanceof TypeError) return false;
    throw error;
  }
}

/** The ports of all sockets to targets; those of IPv6 are others than those of IPv4. */
const portsInUse = { ipv4: new Set<number>(), ipv6: new Set<number>() };

/** Whether a socket to a target has this port. */
export function isSendingFrom({ hostname, port }: Address): boolean {
  return portsOf(hostname).has(port);
}

function portsOf(hostname: string): Set<number> {
  return isIpv4(hostname) ? portsInUse.ipv4 : portsInUse.ipv6;
}

/**
 * Opens a socket to a target. A name is looked up now, or its answer shared with others who wait for it
 * now.
 *
 * @throws the error of the lookup or of opening; the signal's reason as soon as it aborts
 */
export async function connectUdp(
  target: Address,
  { signal, onConnected, onStray }: Pick<ConnectOptions, "signal" | "onConnected" | "onStray">,
): Promise<Stream> {
  const stream = new UdpStream(target, await addressesOf(target, signal), onStray);
  try {
    stream.onMoved = () => onConnected?.(stream);
    stream.onMoved();
    return stream;
  } catch (error) {
    stream[Symbol.dispose]();
    throw error;
  }
}

/**
 * Where datagrams to a target may go, what is tried first in front. Nobody says that a datagram was not
 * wanted, so there is no telling which address of a name is right: of both families IPv4 is it more
 * often, as many listen on `0.0.0.0` alone and many machines have an IPv6 that leads nowhere.
 */
async function addressesOf(
  { hostname }: Address,
  signal: AbortSignal,
): Promise<readonly string[]> {
  if (!isIp(hostname)) {
    const found = await lookUp(hostname, signal);
    return [...found.filter(isIpv4), ...found.filter((address) => !isIpv4(address))];
  }
  signal.throwIfAborted();
  // Answers come from an address, never from the unspecified one.
  if (isUnspecified(hostname)) return [isIpv4(hostname) ? "127.0.0.1" : "::1"];
  return [hostname];
}

/** A socket to a target. */
class UdpStream implements Stream {
  /** Told of each address that datagrams go to from now on; what it throws is thrown on. */
  onMoved = (): void => {};
  readonly #target: Address;
  readonly #onStray: (() => void) | undefined;
  /** Where the target is, the address in use in front. */
  #addresses: readonly string[];
  #to: Deno.NetAddr;
  #socket: Deno.DatagramConn;
  /** How Deno writes the address that answers come from. */
  #writtenAs: string;
  #isClosed = false;

  constructor(target: Address, addresses: readonly string[], onStray: (() => void) | undefined) {
    this.#target = target;
    this.#addresses = addresses;
    this.#onStray = onStray;
    const [hostname = ""] = addresses;
    this.#to = { transport: "udp", hostname, port: target.port };
    this.#writtenAs = hostname;
    this.#socket = bindFor(hostname);
  }

  get localAddr(): Address {
    return addressOf(this.#socket);
  }

  get remoteAddr(): Address {
    return this.#to;
  }

  /** The next datagram of the target. */
  async read(buffer: Uint8Array): Promise<number> {
    for (;;) {
      const socket = this.#socket;
      try {
        const [{ length }, from] = await socket.receive(buffer);
        if (this.#isTarget(from as Deno.NetAddr)) return length;
        this.#onStray?.();
      } catch (error) {
        if (socket === this.#socket) throw error;
      }
    }
  }

  /** Sends a datagram, to the next address of a name where there is no way to this one. */
  async write(data: Uint8Array): Promise<number> {
    for (;;) {
      try {
        return await this.#socket.send(data, this.#to);
      } catch (error) {
        const others = this.#addresses.slice(1);
        if (this.#isClosed || others.length === 0 || !hasNoWay(error)) throw error;
        this.#move(others);
      }
    }
  }

  async renew(signal: AbortSignal): Promise<void> {
    if (isIp(this.#target.hostname)) return;
    let addresses: readonly string[];
    try {
      addresses = await addressesOf(this.#target, signal);
    } catch {
      return;
    }
    if (!this.#isClosed && !addresses.includes(this.#to.hostname)) this.#move(addresses);
  }

  async closeWrite(): Promise<void> {
    // There is no end of what is sent.
  }

  [Symbol.dispose](): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    closeSocket(this.#socket);
  }

  #move(addresses: readonly string[]): void {
    const [hostname = ""] = addresses;
    if (isIpv4(hostname) !== isIpv4(this.#to.hostname)) {
      const former = this.#socket;
      this.#socket = bindFor(hostname);
      closeSocket(former);
    }
    this.#addresses = addresses;
    this.#to = { transport: "udp", hostname, port: this.#target.port };
    this.#writtenAs = hostname;
    this.onMoved();
  }

  #isTarget({ hostname, port }: Address): boolean {
    if (port !== this.#to.port) return false;
    if (hostname === this.#writtenAs) return true;
    if (!isSameIp(hostname, this.#to.hostname)) return false;
    this.#writtenAs = hostname;
    return true;
  }
}

/** A socket of an address's family, on a port of the system's choice. */
function bindFor(hostname: string): Deno.DatagramConn {
  const socket = bind(isIpv4(hostname) ? "0.0.0.0" : "::", 0);
  portsOf(hostname).add(addressOf(socket).port);
  return socket;
}

function closeSocket(socket: Deno.DatagramConn): void {
  const { hostname, port } = addressOf(socket);
  portsOf(hostname).delete(port);
  socket.close();
}

/** Whether two texts are the same address; Deno drops the zone of those that it receives from. */
function isSameIp(one: string, other: string): boolean {
  const [a, b] = [one, other].map((text) => parseIp(text.replace(/%.*/, "")));
  return a !== undefined && String(a) === String(b);
}

/** Whether a datagram could not be sent since this machine knows no way to its address. */
function hasNoWay(error: unknown): boolean {
  return /^(?:ENETUNREACH|EHOSTUNREACH|EADDRNOTAVAIL|EAFNOSUPPORT)$/.test(errorCode(error) ?? "");
}
