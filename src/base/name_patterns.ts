// Which names a certificate may have: DNS names, one label of them open, and URIs. It knows no
// certificates, and not what the answer is for.

import { canonicalName, isIp, parseHost } from "./address.ts";

/** The names of a certificate, hostile as they come. */
export interface Names {
  /** DNS names. */
  readonly dns: readonly string[];
  /** URIs. */
  readonly uris: readonly string[];
}

/** One label of a DNS name. */
const LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;
/** Without what separates patterns, settings and their values, and what a shell may act on. */
const URI = /^[A-Za-z][A-Za-z0-9+.-]*:\/\/[A-Za-z0-9._~:/?#[\]+;%-]+$/;

/** A set of names, given as a list. It prints as it was written. */
export class NamePatterns {
  /** Every name, and a certificate without any. */
  static readonly ANY: NamePatterns = new NamePatterns([]);

  readonly #dns: ReadonlySet<string>;
  /** What follows the first label where that may be any. */
  readonly #parents: ReadonlySet<string>;
  readonly #uris: ReadonlySet<string>;

  /**
   * Takes DNS names, in any case (`*.example.com` stands for one label more, exactly), and URIs, which
   * are compared exactly.
   *
   * @throws {SyntaxError} if a piece is neither
   */
  constructor(pieces: readonly string[]) {
    const uris = pieces.filter(isUri);
    const dns = pieces.filter((piece) => !isUri(piece)).map(parseDns);
    this.#uris = new Set(uris.map(parseUri));
    this.#dns = new Set(dns);
    this.#parents = new Set(
      dns.filter((name) => name.startsWith("*.")).map((name) => name.slice(2)),
    );
  }

  /** Whether it is {@linkcode NamePatterns.ANY}. */
  get isAny(): boolean {
    return this === NamePatterns.ANY;
  }

  /**
   * Whether one of these names is in the set. A wildcard name of a certificate is none of the names that
   * it stands for: whoever may use `*.example.com` is not `redis.example.com`.
   */
  has(names: Names): boolean {
    return this.isAny || this.find(names) !== undefined;
  }

  /** The first of these names that is in the set by itself; undefined if that has all, too. */
  find({ dns, uris }: Names): string | undefined {
    return dns.find((name) => this.#hasDns(name)) ?? uris.find((uri) => this.#uris.has(uri));
  }

  #hasDns(name: string): boolean {
    // Outside of ASCII there are characters whose lower case is a letter of it.
    if (!/^[!-~]{1,254}$/.test(name)) return false;
    const plain = canonicalName(name);
    if (this.#dns.has(plain)) return true;
    const dot = plain.indexOf(".");
    return dot > 0 && LABEL.test(plain.slice(0, dot)) && this.#parents.has(plain.slice(dot + 1));
  }

  /** `redis.example.com,spiffe://example.com/web` or `all`: what `parseNamePatterns` reads back. */
  toString(): string {
    return this.isAny ? "all" : [...this.#dns, ...this.#uris].join(",");
  }
}

/**
 * `NAME[,…]`; `all`, in any case, only alone.
 *
 * @throws {SyntaxError} if a piece is neither a DNS name nor a URI
 */
export function parseNamePatterns(text: string): NamePatterns {
  if (text.toLowerCase() === "all") return NamePatterns.ANY;
  return new NamePatterns(text.split(","));
}

function isUri(piece: string): boolean {
  return piece.includes("://");
}

function parseUri(piece: string): string {
  if (piece.includes("*")) throw new SyntaxError("a * has no meaning in a URI");
  if (/\s/.test(piece)) throw new SyntaxError("there is white space in it");
  if (!URI.test(piece)) {
    throw new SyntaxError("not a URI such as spiffe://example.com/web, without = and @ in it");
  }
  return piece;
}

function parseDns(piece: string): string {
  if (piece === "") throw new SyntaxError("a name is missing");
  if (/\s/.test(piece)) throw new SyntaxError("there is white space in it");
  if (/^(?:all|any|none|off)$/i.test(piece)) {
    throw new SyntaxError("for clients of any name say all, without names beside it");
  }
  if (/^cn=/i.test(piece)) {
    throw new SyntaxError("common names (CN) are not looked at, only DNS names and URIs");
  }
  const host = piece.replace(/^\*\./, "");
  if (host.includes("*")) {
    throw new SyntaxError("a * stands only for the whole first label, as in *.example.com");
  }
  if (host.includes(":") || isIp(parseHost(host))) {
    throw new SyntaxError("neither a DNS name nor a URI; IP addresses can't be used here");
  }
  return canonicalName(piece);
}
