// Peers that speak UDP for tests: sockets on loopback that keep what comes, and those that answer it.
// They know nothing of the ambassador.

import { within } from "./mod.ts";

/** The most bytes that a datagram can have over IPv4. */
export const MAX_DATAGRAM = 65_507;

/** Where datagrams are sent to. */
export interface UdpAddress {
  /** A numeric address. */
  readonly hostname: string;
  /** The port. */
  readonly port: number;
}

/** A datagram that has come. */
export interface Datagram {
  /** Its bytes. */
  readonly data: Uint8Array<ArrayBuffer>;
  /** The same as text. */
  readonly text: string;
  /** Who has sent it. */
  readonly from: Deno.NetAddr;
}

/** A socket at work. */
export interface UdpPeer extends AsyncDisposable {
  /** Where it is. */
  readonly address: Deno.NetAddr;
  /** What has come and has not been taken by `next`, the first one first. */
  readonly waiting: readonly Datagram[];
  /** How many have come. */
  readonly count: number;
  /** From how many addresses and ports they have come. */
  readonly sources: number;
  /** Sends one datagram. */
  send(data: Uint8Array | string, to: UdpAddress): Promise<void>;
  /** Waits for the next datagram, and takes it. */
  next(): Promise<Datagram>;
  /** Closes the socket; nothing of it is left when this resolves. */
  close(): Promise<void>;
}

/** Options for {@linkcode startUdpPeer}. */
export interface UdpPeerOptions {
  /** Its address; 127.0.0.1 unless given. */
  readonly hostname?: string;
  /** Its port; any unless given. */
  readonly port?: number;
  /** What it sends back for a datagram, which it then does not keep. */
  readonly answer?: (datagram: Datagram) => Uint8Array | string;
}

/** Opens a socket that receives. */
export function startUdpPeer(
  { hostname = "127.0.0.1", port = 0, answer }: UdpPeerOptions = {},
): UdpPeer {
  const socket = Deno.listenDatagram({ transport: "udp", hostname, port });
  const waiting: Datagram[] = [];
  const sources = new Set<string>();
  let count = 0;
  let isClosed = false;
  let arrived = Promise.withResolvers<void>();
  async function send(data: Uint8Array | string, to: UdpAddress): Promise<void> {
    const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
    await socket.send(bytes, { transport: "udp", hostname: to.hostname, port: to.port });
  }
  async function receive(): Promise<void> {
    // One byte more than can come: a datagram is never cut short unseen.
    const buffer = new Uint8Array(MAX_DATAGRAM + 1);
    while (!isClosed) {
      let datagram: Datagram;
      try {
        const [bytes, from] = await socket.receive(buffer);
        datagram = makeDatagram(bytes.slice(), from as Deno.NetAddr);
      } catch {
        // It is closed, or what it has sent was refused, which is no end.
        continue;
      }
      count++;
      sources.add(`${datagram.from.hostname} ${datagram.from.port}`);
      if (answer !== undefined) {
        await send(answer(datagram), datagram.from);
        continue;
      }
      waiting.push(datagram);
      arrived.resolve();
      arrived = Promise.withResolvers();
    }
  }
  const receiving = receive();
  async function close(): Promise<void> {
    if (!isClosed) socket.close();
    isClosed = true;
    await receiving;
  }
  return {
    address: socket.addr as Deno.NetAddr,
    waiting,
    get count(): number {
      return count;
    },
    get sources(): number {
      return sources.size;
    },
    send,
    async next(): Promise<Datagram> {
      for (;;) {
        const first = waiting.shift();
        if (first !== undefined) return first;
        await within(arrived.promise, "a datagram");
      }
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

function makeDatagram(data: Uint8Array<ArrayBuffer>, from: Deno.NetAddr): Datagram {
  return {
    data,
    from,
    get text(): string {
      return new TextDecoder().decode(data);
    },
  };
}

/** A peer that sends everything back. */
export function startUdpEcho(options: Omit<UdpPeerOptions, "answer"> = {}): UdpPeer {
  return startUdpPeer({ ...options, answer: ({ data }) => data });
}

/** A peer that answers with its name and what it was sent. */
export function startUdpNamed(
  name: string,
  options: Omit<UdpPeerOptions, "answer"> = {},
): UdpPeer {
  return startUdpPeer({ ...options, answer: ({ text }) => `${name} ${text}` });
}

/** What a new client is answered. */
export async function askUdp(
  to: UdpAddress,
  text: string,
  { hostname = "127.0.0.1" }: { readonly hostname?: string } = {},
): Promise<string> {
  await using client = startUdpPeer({ hostname });
  await client.send(text, to);
  return (await client.next()).text;
}

/** What a client that asks again every 100 ms is answered first. */
export async function askUntilAnswered(
  client: UdpPeer,
  to: UdpAddress,
  text = "question",
): Promise<string> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  async function askAgain(): Promise<void> {
    await client.send(text, to);
    timer = setTimeout(askAgain, 100);
  }
  await askAgain();
  try {
    for (;;) {
      const answer = (await within(client.next(), "an answer")).text;
      // What was asked again may be answered twice.
      if (answer.endsWith(text)) return answer;
    }
  } finally {
    clearTimeout(timer);
  }
}

/**
 * A port that nobody has, neither for UDP nor for TCP. It is below those that the system gives to
 * clients: of these a session takes another one at any time.
 */
export function freeUdpPort(hostname = "127.0.0.1"): number {
  for (;;) {
    const port = 12_000 + Math.floor(Math.random() * 20_000);
    if (isTcpFree({ hostname, port }) && isUdpFree({ hostname, port })) return port;
  }
}

function isTcpFree({ hostname, port }: UdpAddress): boolean {
  try {
    Deno.listen({ hostname, port }).close();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) return false;
    throw error;
  }
}

/** Whether a UDP port can be bound now. */
export function isUdpFree({ hostname, port }: UdpAddress): boolean {
  try {
    Deno.listenDatagram({ transport: "udp", hostname, port }).close();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) return false;
    throw error;
  }
}

/** What stands in a PROXY header of version 2 before a datagram. */
export interface Announced {
  /** The family and transport: 0x12 is UDP over IPv4, 0x22 over IPv6. */
  readonly family: number;
  /** The client that it names. */
  readonly source: UdpAddress;
  /** Whom that client has sent to. */
  readonly destination: UdpAddress;
  /** What follows the header. */
  readonly data: Uint8Array;
}

const SIGNATURE = "\r\n\r\n\0\r\nQUIT\n";

/**
 * Reads HAProxy's `doc/proxy-protocol.txt`, 2.2, as a receiver does.
 *
 * @throws {SyntaxError} if there is no such header
 */
export function readAnnounced(datagram: Uint8Array): Announced {
  const signature = new TextDecoder().decode(datagram.subarray(0, 12));
  if (signature !== SIGNATURE) throw new SyntaxError("no PROXY header");
  const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
  if (view.getUint8(12) !== 0x21) throw new SyntaxError("not the command PROXY of version 2");
  const family = view.getUint8(13);
  const length = family >> 4 === 1 ? 4 : 16;
  const address = (at: number): string => {
    const bytes = [...datagram.subarray(at, at + length)];
    if (length === 4) return bytes.join(".");
    const groups = Array.from({ length: 8 }, (_, index) => view.getUint16(at + 2 * index));
    return new URL(`http://[${groups.map((group) => group.toString(16)).join(":")}]`).hostname
      .slice(1, -1);
  };
  const ports = 16 + 2 * length;
  return {
    family,
    source: { hostname: address(16), port: view.getUint16(ports) },
    destination: { hostname: address(16 + length), port: view.getUint16(ports + 2) },
    data: datagram.subarray(16 + view.getUint16(14)),
  };
}
