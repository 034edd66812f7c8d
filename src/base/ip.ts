// IP addresses as text and as numbers, for what puts them on the wire: strict, and fast enough for
// every connection. It knows no names, zones or ports.

const DOT = 0x2e;
const COLON = 0x3a;

/**
 * An address in units of 16 bits, in the order of the wire: two for IPv4, eight for IPv6.
 */
export type IpUnits = readonly number[];

/** The units of an address, in any spelling but with leading zeros in IPv4; undefined for all else. */
export function parseIp(text: string): IpUnits | undefined {
  return text.includes(":") ? parseIpv6(text) : parseIpv4(text, 0);
}

/** Reads from `at` to the end of the text. */
function parseIpv4(text: string, at: number): number[] | undefined {
  let address = 0;
  for (let count = 1; count <= 4; count++, at++) {
    const start = at;
    let octet = 0;
    for (let code; (code = text.charCodeAt(at)) >= 0x30 && code <= 0x39; at++) {
      octet = octet * 10 + code - 0x30;
    }
    const length = at - start;
    if (length === 0 || length > 3 || octet > 255) return undefined;
    if (length > 1 && text.charCodeAt(start) === 0x30) return undefined;
    if (count < 4 ? text.charCodeAt(at) !== DOT : at !== text.length) return undefined;
    address = address << 8 | octet;
  }
  return [address >>> 16, address & 0xffff];
}

function parseIpv6(text: string): number[] | undefined {
  const units: number[] = [];
  /** How many units stand before the `::`. */
  let gap = text.startsWith("::") ? 0 : undefined;
  let at = gap === undefined ? 0 : 2;
  while (at < text.length) {
    const start = at;
    let unit = 0;
    for (let digit; (digit = hexDigit(text.charCodeAt(at))) >= 0; at++) unit = unit << 4 | digit;
    if (text.charCodeAt(at) === DOT) {
      const last = parseIpv4(text, start);
      if (last === undefined) return undefined;
      units.push(...last);
      break;
    }
    if (at === start || at > start + 4) return undefined;
    units.push(unit);
    if (at === text.length) break;
    if (text.charCodeAt(at++) !== COLON || at === text.length) return undefined;
    if (text.charCodeAt(at) === COLON) {
      if (gap !== undefined) return undefined;
      gap = units.length;
      at++;
    }
  }
  if (gap === undefined) return units.length === 8 ? units : undefined;
  if (units.length > 7) return undefined;
  const zeros = [0, 0, 0, 0, 0, 0, 0, 0].slice(units.length);
  return [...units.slice(0, gap), ...zeros, ...units.slice(gap)];
}

/** The value of a hexadecimal digit; -1 if it is none. */
function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

/** The address as it is compared and printed: lower case, shortest form (RFC 5952). */
export function formatIp(units: IpUnits): string {
  if (units.length === 2) return formatIpv4(units, 0);
  if (isMapped(units)) return `::ffff:${formatIpv4(units, 6)}`;
  const { start, end } = longestZeros(units);
  if (start === end) return joinHex(units, 0, 8);
  return `${joinHex(units, 0, start)}::${joinHex(units, end, 8)}`;
}

function formatIpv4(units: IpUnits, at: number): string {
  const { [at]: high = 0, [at + 1]: low = 0 } = units;
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
}

function joinHex(units: IpUnits, start: number, end: number): string {
  let text = "";
  for (let at = start; at < end; at++) {
    if (at > start) text += ":";
    text += units[at]?.toString(16);
  }
  return text;
}

/** The first of the longest runs of zeros; a single zero is none. */
function longestZeros(units: IpUnits): { readonly start: number; readonly end: number } {
  let longest = { start: 0, end: 0 };
  for (let start = 0; start < 8; start++) {
    let end = start;
    while (units[end] === 0) end++;
    if (end - start > Math.max(1, longest.end - longest.start)) longest = { start, end };
    start = Math.max(start, end);
  }
  return longest;
}

/** IPv4 as IPv6 sockets show it (`::ffff:192.0.2.1`) as IPv4; other addresses as they are. */
export function unmappedIp(units: IpUnits): IpUnits {
  return isMapped(units) ? units.slice(6) : units;
}

/** IPv4 as IPv6 (`::ffff:192.0.2.1`); IPv6 as it is. */
export function mappedIp(units: IpUnits): IpUnits {
  return units.length === 2 ? [0, 0, 0, 0, 0, 0xffff, ...units] : units;
}

function isMapped(units: IpUnits): boolean {
  if (units.length !== 8 || units[5] !== 0xffff) return false;
  return units[0] === 0 && units[1] === 0 && units[2] === 0 && units[3] === 0 && units[4] === 0;
}
