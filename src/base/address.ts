// Hosts, ports and `HOST:PORT` as text and as values. Everything read here is hostile until it has
// passed: what comes out is safe to print, to compare and to hand to a shell line.

import { InputError } from "./errors.ts";

/** Where something listens or is reached. */
export interface Address {
  /** An IPv4 address, an IPv6 address without brackets, or a host name in lower case. */
  readonly hostname: string;
  /** 1 to 65535; 0 only where a test lets the system choose. */
  readonly port: number;
}

/** How bytes travel between two addresses. */
export type Protocol = "tcp" | "tls" | "udp";

/**
 * Whose ports a protocol takes: those of TCP, over which TLS is spoken too, or those of UDP. One number
 * is two ports, and listeners of different kinds never meet.
 */
export function portKind(protocol: Protocol): "tcp" | "udp" {
  return protocol === "udp" ? "udp" : "tcp";
}

/** An address and how it is spoken to. */
export interface Endpoint extends Address {
  /** How. */
  readonly protocol: Protocol;
}

/**
 * A port from 1 to 65535, in decimal digits without leading zeros.
 *
 * @param called What an error calls it.
 * @throws {SyntaxError} if it is not a number
 * @throws {RangeError} if it is out of range
 */
export function parsePort(text: string, called = "the port"): number {
  if (!/^\d+$/.test(text)) {
    if (/^\d+(?:[,-]\d+)+$/.test(text)) {
      throw new InputError(`${called} is one number`, "write one route for each port");
    }
    throw new SyntaxError(`${called} is not a number`);
  }
  if (text.length > 1 && text.startsWith("0")) {
    throw new SyntaxError(`${called} has a leading zero`);
  }
  const port = Number(text);
  if (port < 1 || port > 65535) throw new RangeError(`${called} is not from 1 to 65535`);
  return port;
}

const IPV6_HINT = "write [ADDRESS]:PORT, for example [2001:db8::7]:6379";
const OCTET = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
const IPV4 = new RegExp(`^${OCTET}(?:\\.${OCTET}){3}$`);
const ZONE = /^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$/;
const LABEL = /^[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/;

/** Whether the text is an IPv4 address in its usual form, four decimal numbers. */
export function isIpv4(text: string): boolean {
  return IPV4.test(text);
}

/**
 * The one spelling of an IPv6 address (with its zone, if any), or undefined if it is none. An IPv4
 * address that is written as IPv6 is the IPv4 address: the two can't be told apart on the wire.
 */
function canonicalIpv6(text: string): string | undefined {
  // In a URL the % before a zone is written %25 (RFC 6874); before a digit it may be the index 25.
  const [address = "", ...zone] = text.replace(/%25(?=[A-Za-z])/, "%").split("%");
  if (zone.length > 1 || (zone[0] !== undefined && !ZONE.test(zone[0]))) return undefined;
  if (!/^[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*$/.test(address)) return undefined;
  const url = URL.parse(`http://[${address}]`);
  if (url === null) return undefined;
  const mapped = /^\[::ffff:([0-9a-f]+):([0-9a-f]+)\]$/.exec(url.hostname);
  if (mapped === null || zone.length > 0) return [url.hostname.slice(1, -1), ...zone].join("%");
  const halves = mapped.slice(1).map((half) => parseInt(half, 16));
  return halves.flatMap((half) => [half >> 8, half & 255]).join(".");
}

/** Whether a parsed host name is an IPv6 address. */
export function isIpv6(hostname: string): boolean {
  return hostname.includes(":");
}

/** Whether a parsed host name is an address, and needs no looking up. */
export function isIp(hostname: string): boolean {
  return isIpv4(hostname) || isIpv6(hostname);
}

/**
 * A host as it is compared and printed: names in lower case, IPv6 in its shortest form, no brackets.
 *
 * @throws {SyntaxError} if it is neither an IPv4 address, an IPv6 address in brackets nor a name
 */
export function parseHost(text: string): string {
  if (text === "") throw new SyntaxError("the host is missing");
  if (text.startsWith("[")) {
    const ipv6 = text.endsWith("]") ? canonicalIpv6(text.slice(1, -1)) : undefined;
    if (ipv6 === undefined) {
      const hint = text.includes("]") ? "only IPv6 addresses stand in brackets" : IPV6_HINT;
      throw new InputError("not an IPv6 address between the brackets", hint);
    }
    return ipv6;
  }
  if (text.includes(":")) {
    // With a letter past F it is none, and there is a port too many.
    if (/^[\da-f:.]*(?:%.*)?$/i.test(text)) {
      throw new InputError("an IPv6 address must stand in brackets", IPV6_HINT);
    }
    throw new InputError("there is a colon too many", "write HOST:PORT");
  }
  if (isIpv4(text)) return text;
  const labels = withoutDot(text).split(".");
  // The resolver reads numbers in places of its own choosing (0x7f.1, 010.0.0.1, 2130706433): a last
  // label that is a number is an address, and this is not the one way to write one.
  if (/^(?:\d+|0[xX][0-9A-Fa-f]*)$/.test(labels.at(-1) ?? "")) {
    const hint = "an IPv4 address is four numbers from 0 to 255, without leading zeros";
    throw new InputError("not an IPv4 address", hint);
  }
  if (text.length > 253 || !labels.every((label) => LABEL.test(label))) {
    throw new InputError("not a host name", hostHint(text));
  }
  return text.toLowerCase();
}

/** How to write what is no host name. */
function hostHint(text: string): string {
  return /[^\0-\x7f]/.test(text)
    ? "write it in ASCII; other letters have a form that begins with xn--"
    : "a name has letters, digits, -, _ and dots";
}

/** A name without the dot that may stand at its end: what is asked for. */
export function withoutDot(name: string): string {
  return name.replace(/\.$/, "");
}

/** A name as it is compared: in lower case, without the dot that may stand at its end. */
export function canonicalName(name: string): string {
  return withoutDot(name.toLowerCase());
}

/**
 * `HOST:PORT` or `[v6]:PORT`.
 *
 * @param port What an error calls the port.
 * @throws {SyntaxError} if a part is missing or malformed
 * @throws {RangeError} if the port is out of range
 */
export function parseAddress(text: string, port = "the port"): Address {
  const colon = text.lastIndexOf(":");
  if (colon < 0 || text.endsWith("]")) throw new SyntaxError(`${port} is missing`);
  const hostname = parseHost(text.slice(0, colon));
  if (colon === text.length - 1) throw new SyntaxError(`${port} is missing`);
  return { hostname, port: parsePort(text.slice(colon + 1), port) };
}

/** `192.0.2.1:6379`, `[2001:db8::1]:6379`, `redis:6379`: what `parseAddress` reads back. */
export function formatAddress(address: Address): string {
  return `${formatHost(address.hostname)}:${address.port}`;
}

/** Where a route listens, as it is written: `[::]:6379`, `[::]:53/udp`. TCP goes without saying. */
export function formatListen(listen: Endpoint): string {
  return `${formatAddress(listen)}${listen.protocol === "tcp" ? "" : `/${listen.protocol}`}`;
}

/** A target as it is written: `192.0.2.1:6379`, `tls://redis:6380`. TCP goes without saying. */
export function formatTarget(target: Endpoint): string {
  return target.protocol === "tcp" ? formatAddress(target) : formatUrl(target);
}

/**
 * The targets of a route as they are written: `192.0.2.1:6379`, several joined by commas. Where not all
 * are TCP each has its scheme: one that is left out is that of the one before.
 */
export function formatTargets(targets: readonly Endpoint[]): string {
  const isPlain = targets.every(({ protocol }) => protocol === "tcp");
  return targets.map(isPlain ? formatAddress : formatUrl).join(",");
}

function formatUrl(target: Endpoint): string {
  return `${target.protocol}://${formatAddress(target)}`;
}

/** The host as it stands before a colon: IPv6 in brackets. */
export function formatHost(hostname: string): string {
  return isIpv6(hostname) ? `[${hostname}]` : hostname;
}

/** Whether the host is every address of the machine: `0.0.0.0` or `::`. */
export function isUnspecified(hostname: string): boolean {
  return /^(?:0\.0\.0\.0$|::(?:%|$))/.test(hostname);
}

/** Whether the host is this machine's loopback: 127.0.0.0/8, `::1` or `localhost`. */
export function isLoopback(hostname: string): boolean {
  return (isIpv4(hostname) && hostname.startsWith("127.")) ||
    /^(?:::1(?:%.*)?|(?:.*\.)?localhost\.?)$/.test(hostname);
}

/** IPv4 in its usual form where a dual-stack socket shows it as IPv6 (`::ffff:192.0.2.1`). */
export function unmapped(hostname: string): string {
  return /^::ffff:\d+\./.test(hostname) ? hostname.slice("::ffff:".length) : hostname;
}
