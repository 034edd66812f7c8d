// Which addresses lie in a list of networks. Every new connection asks it, so a check reads the text
// of the address once and allocates little. It doesn't know what the answer is for, nor any name.

import { InputError } from "./errors.ts";
import { formatIp, parseIp, unmappedIp } from "./ip.ts";

// An address is compared as its key: its family, then one UTF-16 unit for every 16 bits of it. Keys
// order as addresses do, and those of one network stand together.
const IPV4 = "4";
const IPV6 = "6";
/** What an IPv4 address begins with where it is written as IPv6. */
const MAPPED = "\0\0\0\0\0\uffff";
/** All of a family, in units of the smallest network that there is. */
const WHOLE = 1n << 128n;

/** A network: the keys from `first` to `last`, both included. */
interface Network {
  readonly first: string;
  readonly last: string;
  readonly prefix: number;
}

/** A set of networks, given as a list. Checks are fast, and the list prints as it was written. */
export class Networks {
  /** Every address there is, and what is none. */
  static readonly ALL: Networks = new Networks(["0.0.0.0/0", "::/0"]);
  /** No address. */
  static readonly NONE: Networks = new Networks([]);

  /** Whether it holds every IPv4 address or every IPv6 address. */
  readonly isEverybody: boolean;

  readonly #text: string;
  /** In the order of their keys; none lies in another. */
  readonly #networks: readonly Network[];

  /**
   * Takes networks (`10.0.0.0/8`, `2001:db8::/32`) and addresses.
   *
   * @throws {SyntaxError} if one is neither
   * @throws {RangeError} if a prefix is longer than the address
   */
  constructor(pieces: readonly string[]) {
    const networks = pieces.map(parseNetwork);
    this.#text = [...new Set(networks.map(formatNetwork))].join(",");
    this.#networks = outermost(networks);
    this.isEverybody = [IPV4, IPV6].some((family) => covers(this.#networks, family));
  }

  /**
   * Whether an address, as sockets tell it, lies in one of the networks. Its zone doesn't count, and
   * IPv4 that is written as IPv6 (`::ffff:192.0.2.1`) is IPv4. What is no address lies only in `ALL`.
   */
  has(address: string): boolean {
    if (this === Networks.ALL) return true;
    if (this === Networks.NONE) return false;
    const key = keyOf(address);
    if (key === undefined) return false;
    let low = 0;
    let high = this.#networks.length;
    let below: Network | undefined;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const network = this.#networks[middle];
      if (network !== undefined && network.first <= key) {
        below = network;
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return below !== undefined && key <= below.last;
  }

  /** `10.0.0.0/8,192.0.2.1,2001:db8::/32`, `all` or `off`: what `parseNetworks` reads back. */
  toString(): string {
    return this === Networks.ALL ? "all" : this.#text || "off";
  }
}

/**
 * `CIDR[,…]`; `all` or `off`, in any case, only alone.
 *
 * @throws {SyntaxError} if a piece is neither an address nor a network
 * @throws {RangeError} if a prefix is longer than the address
 */
export function parseNetworks(text: string): Networks {
  const pieces = text.split(",").map((piece) => piece.trim());
  const word = pieces.find((piece) => /^(?:all|off)$/i.test(piece))?.toLowerCase();
  if (word === undefined) return new Networks(pieces);
  if (pieces.length > 1) {
    throw new SyntaxError(`"${word}" stands alone, without addresses beside it`);
  }
  return word === "all" ? Networks.ALL : Networks.NONE;
}

function parseNetwork(text: string): Network {
  if (text === "") throw new SyntaxError("an address is missing");
  if (/;|\d\s+[\da-f]/i.test(text)) {
    throw new InputError("networks are separated by commas", "write 10.0.0.0/8,192.168.0.0/16");
  }
  if (/[[\]]/.test(text)) throw new SyntaxError("IPv6 addresses stand without brackets here");
  const [beforeZone = "", zone] = text.split("%", 2);
  if (zone !== undefined && beforeZone.includes(":")) {
    throw new SyntaxError("a zone can't be checked, since sockets do not tell it: leave it out");
  }
  const [beforeDash = "", end] = text.split("-", 2);
  if (end !== undefined && keyOf(beforeDash.trim()) !== undefined) {
    throw new SyntaxError("a range can't be used here: write networks, such as 192.0.2.0/24");
  }
  const slash = text.indexOf("/");
  const address = slash < 0 ? text : text.slice(0, slash);
  const key = keyOf(address);
  if (key === undefined) {
    throw new InputError(
      "not an IP address or a network; names can't be used here",
      hintFor(text),
    );
  }
  const bits = address.includes(":") ? 128 : 32;
  const prefix = slash < 0 ? bits : parsePrefix(text.slice(slash + 1), bits);
  const isMapped = bits === 128 && key.startsWith(IPV4);
  if (!isMapped) return network(key, prefix);
  return prefix < 96 ? network(IPV6 + MAPPED + key.slice(1), prefix) : network(key, prefix - 96);
}

/** What to write instead of what is no network. */
function hintFor(text: string): string | undefined {
  if (/^(?:\*|any(?:where|body)?|every(?:one|body)|world|open)$/i.test(text)) {
    return "everybody is all";
  }
  if (/^(?:no|none|nobody|false|disabled?)$/i.test(text)) {
    return "write off for nobody, all for everybody";
  }
  if (/^(?:on|yes|true|v?[12])$/i.test(text)) return "name the networks, for example 10.0.0.0/8";
  if (text === "localhost") return "write 127.0.0.0/8,::1";
  const [, address, port] = /^([\d.]+):(\d+)$/.exec(text) ?? [];
  if (address !== undefined && port !== undefined && keyOf(address) !== undefined) {
    return `leave the port out: ${address}`;
  }
  // 10/8, 10.0.* and 10.0 as other programs take them.
  const [, start = "", rest] =
    /^(\d{1,3}(?:\.\d{1,3}){0,2})(\/\d{1,2}|(?:\.\*)+|\.?)$/.exec(text) ?? [];
  if (rest === undefined) return undefined;
  const octets = start.split(".");
  const full = [...octets, "0", "0", "0"].slice(0, 4).join(".");
  const prefix = rest.startsWith("/") ? rest : `/${octets.length * 8}`;
  return keyOf(full) === undefined ? undefined : `write ${full}${prefix}`;
}

function parsePrefix(text: string, bits: number): number {
  if (keyOf(text) !== undefined) {
    throw new SyntaxError("a netmask can't be used here: write the prefix length, such as /24");
  }
  if (!/^\d+$/.test(text)) {
    throw new SyntaxError("the prefix length after the slash is not a number");
  }
  if (/^0\d/.test(text)) throw new SyntaxError("the prefix length has a leading zero");
  const prefix = Number(text);
  if (prefix > bits) throw new RangeError(`the prefix length is not from 0 to ${bits}`);
  return prefix;
}

/** The network that the address with this key lies in. */
function network(key: string, prefix: number): Network {
  let first = key.charAt(0);
  let last = first;
  for (let at = 1; at < key.length; at++) {
    const bits = Math.min(Math.max(prefix - 16 * (at - 1), 0), 16);
    const host = 0xffff >>> bits;
    first += String.fromCharCode(key.charCodeAt(at) & ~host);
    last += String.fromCharCode(key.charCodeAt(at) | host);
  }
  return { first, last, prefix };
}

function formatNetwork({ first, prefix }: Network): string {
  const units = Array.from({ length: first.length - 1 }, (_, at) => first.charCodeAt(at + 1));
  const address = formatIp(units);
  const bits = 16 * units.length;
  return prefix === bits ? address : `${address}/${prefix}`;
}

/** The networks that lie in no other, ordered. Two networks never overlap but by one lying in the other. */
function outermost(networks: readonly Network[]): Network[] {
  const ordered = networks.toSorted((a, b) =>
    a.first < b.first ? -1 : a.first > b.first ? 1 : a.prefix - b.prefix
  );
  const found: Network[] = [];
  for (const network of ordered) {
    const before = found.at(-1);
    if (before === undefined || network.first > before.last) found.push(network);
  }
  return found;
}

/** Whether networks of which none lies in another hold all of a family. */
function covers(networks: readonly Network[], family: string): boolean {
  const sizes = networks.filter(({ first }) => first.startsWith(family))
    .map(({ prefix }) => WHOLE >> BigInt(prefix));
  return sizes.reduce((sum, size) => sum + size, 0n) === WHOLE;
}

/** The key of an address, or undefined if the text is none. Every check reads an address this way. */
function keyOf(text: string): string | undefined {
  const zone = text.indexOf("%");
  const found = parseIp(zone < 0 ? text : text.slice(0, zone));
  // Only IPv6 has zones.
  if (found === undefined || (zone >= 0 && found.length === 2)) return undefined;
  if (zone === text.length - 1) return undefined;
  const units = unmappedIp(found);
  return (units.length === 2 ? IPV4 : IPV6) + String.fromCharCode(...units);
}
