// The header of HAProxy's PROXY protocol, both versions, by its doc/proxy-protocol.txt: bytes to
// addresses, addresses to bytes, and a header off the front of a stream. It doesn't know who may
// send one, how long that may take, or what is done with what it says.

import type { Address } from "../base/address.ts";
import type { ProxyVersion } from "../config/options.ts";
import { formatIp, type IpUnits, mappedIp, parseIp, unmappedIp } from "../base/ip.ts";
import type { Stream } from "./stream.ts";
import { Unread } from "./unread.ts";

/**
 * Who is announced. Both are undefined where a header announces nobody (`LOCAL`, `UNKNOWN`, a family
 * that is not TCP over IP): then the socket's own addresses hold. IPv4 written as IPv6 is IPv4.
 */
export interface ProxyHeader {
  /** Who has connected to the proxy. */
  readonly source: Address | undefined;
  /** Where they have connected to. */
  readonly destination: Address | undefined;
}

/** What is wrong with a header, in plain words, and without a byte of it. */
export class ProxyHeaderError extends Error {
  /** Names the class in stack traces. */
  override readonly name = "ProxyHeaderError";
}

/** Maximum length of a v1 line, its end included. */
const MAX_V1_BYTES = 107;
/** Maximum length of a v2 header, all included. */
const MAX_V2_BYTES = 4096;
/** Length of a v2 header without its addresses and what follows them. */
const V2_FIXED_BYTES = 16;
/** What is read at first: any v1 line, and any v2 header without long additions. */
const FIRST_READ_BYTES = 256;

const V1_SIGNATURE = Uint8Array.from([0x50, 0x52, 0x4f, 0x58, 0x59, 0x20]);
const V2_SIGNATURE = Uint8Array.from(
  [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a],
);
const V2_LOCAL = 0x20;
const V2_PROXY = 0x21;
/** The family IPv4 or IPv6 in the upper half, in the lower a stream (TCP) or datagrams (UDP). */
const V2_TCP4 = 0x11;
const V2_TCP6 = 0x21;
const V2_UDP4 = 0x12;
const V2_UDP6 = 0x22;

const TCP4 = "PROXY TCP4 ";
const TCP6 = "PROXY TCP6 ";
const UNKNOWN = "PROXY UNKNOWN";

/** Bytes of v1 are ASCII; this decoder makes one character of each, whatever comes. */
const LATIN1 = new TextDecoder("latin1");
const ASCII = new TextEncoder();

/** A header that begins some bytes. */
export interface ParsedProxyHeader extends ProxyHeader {
  /** How many of the bytes it takes. */
  readonly length: number;
}

/**
 * The header that begins these bytes, and how many of them it takes; undefined as long as more are
 * needed. The addresses of a v1 line are looked at when the line is complete, as the protocol wants it.
 *
 * @throws {ProxyHeaderError} if it is none, or can't become one
 */
export function parseProxyHeader(bytes: Uint8Array): ParsedProxyHeader | undefined {
  if (bytes.length === 0) return undefined;
  if (beginsWith(bytes, V2_SIGNATURE)) return parseV2(bytes);
  if (beginsWith(bytes, V1_SIGNATURE)) return parseV1(bytes);
  const isTls = bytes[0] === 0x16 && bytes[1] === 0x03;
  throw new ProxyHeaderError(isTls ? "not a PROXY header but TLS" : "not a PROXY header");
}

/** Whether the bytes begin with the signature, or are the beginning of it. */
function beginsWith(bytes: Uint8Array, signature: Uint8Array): boolean {
  const count = Math.min(bytes.length, signature.length);
  for (let at = 0; at < count; at++) if (bytes[at] !== signature[at]) return false;
  return true;
}

function parseV1(bytes: Uint8Array): ParsedProxyHeader | undefined {
  const text = LATIN1.decode(bytes.subarray(0, MAX_V1_BYTES));
  const keyword = [TCP4, TCP6, UNKNOWN].find((one) => text.startsWith(one.slice(0, text.length)));
  // Unlike that of the others, the word ends with the line or with a space.
  const isWord = keyword !== UNKNOWN || /^[ \r]?$/.test(text.charAt(UNKNOWN.length));
  if (keyword === undefined || !isWord) {
    throw new ProxyHeaderError("the PROXY line is not of TCP4, TCP6 or UNKNOWN");
  }
  const end = text.indexOf("\r\n");
  if (end < 0) {
    if (text.length === MAX_V1_BYTES) {
      throw new ProxyHeaderError(`the PROXY line does not end within ${MAX_V1_BYTES} bytes`);
    }
    if (keyword !== UNKNOWN && !/^[\dA-Fa-f .:]*\r?$/.test(text.slice(keyword.length))) {
      throw new ProxyHeaderError("the PROXY line holds a character that does not belong there");
    }
    return undefined;
  }
  const length = end + 2;
  if (keyword === UNKNOWN) return { source: undefined, destination: undefined, length };
  const fields = text.slice(keyword.length, end).split(" ");
  if (fields.length !== 4) {
    throw new ProxyHeaderError("the PROXY line does not hold two addresses and two ports");
  }
  const [from = "", to = "", fromPort = "", toPort = ""] = fields;
  return {
    source: { hostname: v1Hostname(from, keyword), port: v1Port(fromPort) },
    destination: { hostname: v1Hostname(to, keyword), port: v1Port(toPort) },
    length,
  };
}

function v1Hostname(text: string, keyword: string): string {
  const isIpv6 = keyword === TCP6;
  const units = text.includes(":") === isIpv6 ? parseIp(text) : undefined;
  if (units !== undefined) return formatIp(unmappedIp(units));
  throw new ProxyHeaderError(`an address in the PROXY line is not IPv${isIpv6 ? 6 : 4}`);
}

function v1Port(text: string): number {
  const port = Number(text);
  if (/^(?:0|[1-9]\d{0,4})$/.test(text) && port <= 65535) return port;
  throw new ProxyHeaderError("a port in the PROXY line is not from 0 to 65535");
}

function parseV2(bytes: Uint8Array): ParsedProxyHeader | undefined {
  const { 12: command, 13: family, 14: high, 15: low } = bytes;
  if (command !== undefined && command >> 4 !== 2) {
    throw new ProxyHeaderError("the PROXY header is binary but not of version 2");
  }
  if (command !== undefined && command !== V2_LOCAL && command !== V2_PROXY) {
    throw new ProxyHeaderError("the command of the PROXY header is not LOCAL or PROXY");
  }
  if (high === undefined || low === undefined) return undefined;
  const length = V2_FIXED_BYTES + (high << 8 | low);
  if (length > MAX_V2_BYTES) {
    throw new ProxyHeaderError(`the PROXY header is longer than ${MAX_V2_BYTES} bytes`);
  }
  // How long each address is; 0 where nobody is announced.
  const units = command === V2_LOCAL ? 0 : family === V2_TCP4 ? 2 : family === V2_TCP6 ? 8 : 0;
  const to = V2_FIXED_BYTES + 2 * units;
  const ports = to + 2 * units;
  if (units > 0 && length < ports + 4) {
    throw new ProxyHeaderError("the PROXY header is too short for its addresses");
  }
  if (bytes.length < length) return undefined;
  if (units === 0) return { source: undefined, destination: undefined, length };
  return {
    source: { hostname: v2Hostname(bytes, V2_FIXED_BYTES, units), port: unitAt(bytes, ports) },
    destination: { hostname: v2Hostname(bytes, to, units), port: unitAt(bytes, ports + 2) },
    length,
  };
}

function v2Hostname(bytes: Uint8Array, at: number, count: number): string {
  const units: number[] = [];
  for (let index = 0; index < count; index++) units.push(unitAt(bytes, at + 2 * index));
  return formatIp(unmappedIp(units));
}

function unitAt(bytes: Uint8Array, at: number): number {
  const { [at]: high = 0, [at + 1]: low = 0 } = bytes;
  return high << 8 | low;
}

/**
 * The header of a connection from source to destination, as sockets tell them: zones are left out, and
 * IPv4 beside IPv6 is written as IPv6.
 *
 * @throws {TypeError} if one is a name
 */
export function formatProxyHeader(
  version: ProxyVersion,
  source: Address,
  destination: Address,
): Uint8Array<ArrayBuffer> {
  let from = socketIp(source);
  let to = socketIp(destination);
  if (from.length !== to.length) {
    from = mappedIp(from);
    to = mappedIp(to);
  }
  const isIpv4 = from.length === 2;
  if (version === "v1") {
    const addresses = `${formatIp(from)} ${formatIp(to)} ${source.port} ${destination.port}`;
    return ASCII.encode(`${isIpv4 ? TCP4 : TCP6}${addresses}\r\n`);
  }
  const units = [...from, ...to, source.port, destination.port];
  return v2Header(V2_PROXY, isIpv4 ? V2_TCP4 : V2_TCP6, units);
}

/**
 * The v2 header of a datagram from source to destination, as {@linkcode formatProxyHeader} makes it: 28
 * bytes for IPv4, 52 for IPv6.
 *
 * @throws {TypeError} if one is a name
 */
export function formatDatagramHeader(
  source: Address,
  destination: Address,
): Uint8Array<ArrayBuffer> {
  const header = formatProxyHeader("v2", source, destination);
  header[13] = header[13] === V2_TCP4 ? V2_UDP4 : V2_UDP6;
  return header;
}

function socketIp({ hostname }: Address): IpUnits {
  const zone = hostname.indexOf("%");
  const units = parseIp(zone < 0 ? hostname : hostname.slice(0, zone));
  if (units === undefined) throw new TypeError("a PROXY header takes IP addresses alone");
  return unmappedIp(units);
}

function v2Header(command: number, family: number, units: IpUnits): Uint8Array<ArrayBuffer> {
  const header = new Uint8Array(V2_FIXED_BYTES + 2 * units.length);
  header.set(V2_SIGNATURE);
  header[12] = command;
  header[13] = family;
  header[15] = 2 * units.length;
  let at = V2_FIXED_BYTES;
  for (const unit of units) {
    header[at++] = unit >> 8;
    header[at++] = unit;
  }
  return header;
}

/** The header of a connection that the proxy makes for itself: `PROXY UNKNOWN`, or `LOCAL`. */
export function formatLocalHeader(version: ProxyVersion): Uint8Array<ArrayBuffer> {
  return version === "v1" ? ASCII.encode(`${UNKNOWN}\r\n`) : v2Header(V2_LOCAL, 0, []);
}

/** A header off a stream. */
export interface ReadHeader {
  /** What it says. */
  readonly header: ProxyHeader;
  /** Goes on with what came after the header; closing it closes the stream. */
  readonly rest: Stream;
}

/**
 * Reads a header; undefined if the peer has ended before its first byte (a probe). There is no limit
 * of time: whoever closes the stream ends it.
 *
 * @throws {ProxyHeaderError} if what comes is no header, or ends in the middle of it
 * @throws what the stream's `read` throws
 */
export async function readProxyHeader(stream: Stream): Promise<ReadHeader | undefined> {
  let buffer = new Uint8Array(FIRST_READ_BYTES);
  let filled = 0;
  for (;;) {
    const count = await stream.read(buffer.subarray(filled));
    if (count === null && filled === 0) return undefined;
    if (count === null) throw new ProxyHeaderError("the PROXY header is cut off");
    filled += count;
    const parsed = parseProxyHeader(buffer.subarray(0, filled));
    if (parsed !== undefined) {
      const { length, ...header } = parsed;
      const unread = buffer.subarray(length, filled);
      return { header, rest: unread.length === 0 ? stream : new Unread(stream, unread) };
    }
    if (filled === buffer.length) {
      const longer = new Uint8Array(MAX_V2_BYTES);
      longer.set(buffer);
      buffer = longer;
    }
  }
}
