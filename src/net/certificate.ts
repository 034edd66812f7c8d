// What an X.509 certificate says, read from its DER by a small strict reader: whoever connects may send
// any bytes. Nothing is taken from printed forms, which can be forged. It knows nothing of trust.

import { X509Certificate } from "node:crypto";
import { canonicalName } from "../base/address.ts";
import { formatIp, type IpUnits, parseIp, unmappedIp } from "../base/ip.ts";
import { quote } from "../base/text.ts";
import { REFUSALS, TlsError } from "./tls_error.ts";

/** The names that a certificate is for: those of its subjectAltName, and no others. */
export interface CertificateNames {
  /** DNS names in lower case, without a dot at the end; `*.example.com` is one of them. */
  readonly dns: readonly string[];
  /** IP addresses in their shortest form, IPv4 also where it was written as IPv6. */
  readonly ips: readonly string[];
  /** URIs, as they are written. */
  readonly uris: readonly string[];
}

/** What its key may be used for. */
export interface KeyUsage {
  /** Whether it may sign handshakes. */
  readonly digitalSignature: boolean;
  /** Whether it may sign certificates. */
  readonly keyCertSign: boolean;
}

/** An object identifier as the hexadecimal digits of its DER: nothing to decode, however large. */
export type Oid = string;

/** A certificate that is well-formed; whether anybody vouches for it is another matter. */
export interface Certificate {
  /** Its bytes. */
  readonly der: Uint8Array;
  /** Whom it is for. Names that are no printable ASCII are left out. */
  readonly names: CertificateNames;
  /** For people, in one line: its first name, else the common name, which anybody may have chosen. */
  readonly subject: string;
  /** The first moment at which it is valid, in milliseconds since 1970. */
  readonly notBeforeMs: number;
  /** The last moment at which it is valid, in milliseconds since 1970. */
  readonly notAfterMs: number;
  /** Whether it may sign other certificates (basicConstraints). */
  readonly isCa: boolean;
  /** How many authorities may stand between it and a leaf; undefined for any number. */
  readonly pathLength: number | undefined;
  /** Undefined where it does not say: any. */
  readonly keyUsage: KeyUsage | undefined;
  /** Object identifiers as {@linkcode Oid}; undefined where it does not say: any. */
  readonly extendedKeyUsage: readonly Oid[] | undefined;
  /** Whether something in it that must be understood is not. */
  readonly hasUnknownCritical: boolean;
  /** Whether it limits the names of what it signs. */
  readonly hasNameConstraints: boolean;
  /** The name of who signed it, in DER as text: for comparing. */
  readonly issuerName: string;
  /** Its own name, in DER as text: for comparing. */
  readonly subjectName: string;
  /** How it is signed. */
  readonly signatureAlgorithm: Oid;
  /** The same as node knows it: for its keys. */
  readonly x509: X509Certificate;
}

const BOOLEAN = 0x01;
const INTEGER = 0x02;
const BIT_STRING = 0x03;
const OCTET_STRING = 0x04;
const OBJECT_IDENTIFIER = 0x06;
const UTC_TIME = 0x17;
const GENERALIZED_TIME = 0x18;
const SEQUENCE = 0x30;
const SET = 0x31;
/** Context-specific and constructed. */
const CONTEXT = 0xa0;
/** The names of a subjectAltName, context-specific and primitive. */
const DNS_NAME = 0x82;
const URI = 0x86;
const IP_ADDRESS = 0x87;

/** 2.5.4.3 */
const COMMON_NAME: Oid = "550403";
/** 2.5.29.15 */
const KEY_USAGE: Oid = "551d0f";
/** 2.5.29.17 */
const SUBJECT_ALT_NAME: Oid = "551d11";
/** 2.5.29.19 */
const BASIC_CONSTRAINTS: Oid = "551d13";
/** 2.5.29.30 */
const NAME_CONSTRAINTS: Oid = "551d1e";
/** 2.5.29.37 */
const EXTENDED_KEY_USAGE: Oid = "551d25";

/** Maximum size of a certificate: what TLS can send is larger, what anybody needs is not. */
const MAX_BYTES = 64 * 1024;

/**
 * Reads a certificate.
 *
 * @throws {TlsError} if it is malformed, or not of version 3
 */
export function parseCertificate(der: Uint8Array): Certificate {
  if (der.length > MAX_BYTES) throw malformed();
  // A copy: the caller's buffer may be used again.
  const bytes = der.slice();
  const whole = new Der(bytes, 0, bytes.length);
  const certificate = whole.read(SEQUENCE);
  whole.end();
  const tbs = certificate.read(SEQUENCE);
  const outerAlgorithm = certificate.read(SEQUENCE);
  certificate.read(BIT_STRING);
  certificate.end();

  if (!tbs.isNext(CONTEXT) || tbs.read(CONTEXT).readSmallInteger() !== 2) {
    throw new TlsError(REFUSALS.oldVersion);
  }
  tbs.read(INTEGER);
  const innerAlgorithm = tbs.read(SEQUENCE);
  if (innerAlgorithm.text() !== outerAlgorithm.text()) throw malformed();
  const issuer = tbs.read(SEQUENCE);
  const validity = tbs.read(SEQUENCE);
  const [notBeforeMs, notAfterMs] = [validity.readTime(), validity.readTime()];
  validity.end();
  const subject = tbs.read(SEQUENCE);
  const subjectName = subject.text();
  tbs.read(SEQUENCE);
  // Unique identifiers, which nobody uses, may be primitive: 0x81 and 0x82.
  for (const tag of [0x81, 0x82]) if (tbs.isNext(tag)) tbs.read(tag);
  const extensions = tbs.isNext(CONTEXT | 3)
    ? readExtensions(tbs.read(CONTEXT | 3))
    : NO_EXTENSIONS;
  tbs.end();

  return {
    der: bytes,
    ...extensions,
    subject: describe(extensions.names, subject),
    notBeforeMs,
    notAfterMs,
    issuerName: issuer.text(),
    subjectName,
    signatureAlgorithm: innerAlgorithm.readOid(),
    x509: readByNode(bytes),
  };
}

function malformed(): TlsError {
  return new TlsError(REFUSALS.malformed);
}

function readByNode(der: Uint8Array): X509Certificate {
  try {
    return new X509Certificate(der);
  } catch {
    throw malformed();
  }
}

/** What the extensions of a certificate say. */
type Extensions = Pick<
  Certificate,
  | "names"
  | "isCa"
  | "pathLength"
  | "keyUsage"
  | "extendedKeyUsage"
  | "hasUnknownCritical"
  | "hasNameConstraints"
>;

const NO_EXTENSIONS: Extensions = {
  names: { dns: [], ips: [], uris: [] },
  isCa: false,
  pathLength: undefined,
  keyUsage: undefined,
  extendedKeyUsage: undefined,
  hasUnknownCritical: false,
  hasNameConstraints: false,
};

const READERS: Readonly<Record<Oid, (value: Der) => Partial<Extensions>>> = {
  [SUBJECT_ALT_NAME]: (value) => ({ names: readNames(value) }),
  [BASIC_CONSTRAINTS]: readBasicConstraints,
  [KEY_USAGE]: (value) => ({ keyUsage: readKeyUsage(value) }),
  [EXTENDED_KEY_USAGE]: (value) => ({ extendedKeyUsage: readOids(value) }),
  [NAME_CONSTRAINTS]: (value) => {
    value.read(SEQUENCE);
    return { hasNameConstraints: true };
  },
};

function readExtensions(wrapper: Der): Extensions {
  const list = wrapper.read(SEQUENCE);
  wrapper.end();
  let extensions = NO_EXTENSIONS;
  const seen = new Set<Oid>();
  while (!list.isAtEnd) {
    const extension = list.read(SEQUENCE);
    const oid = extension.readOid();
    const isCritical = extension.isNext(BOOLEAN) && extension.readBoolean();
    const value = extension.read(OCTET_STRING);
    extension.end();
    // Of two of a kind each reader would believe another one.
    if (seen.has(oid)) throw malformed();
    seen.add(oid);
    const read = Object.hasOwn(READERS, oid) ? READERS[oid] : undefined;
    if (read === undefined) {
      if (isCritical) extensions = { ...extensions, hasUnknownCritical: true };
      continue;
    }
    extensions = { ...extensions, ...read(value) };
    value.end();
  }
  return extensions;
}

function readNames(value: Der): CertificateNames {
  const names = { dns: [] as string[], ips: [] as string[], uris: [] as string[] };
  const list = value.read(SEQUENCE);
  while (!list.isAtEnd) {
    const { tag, content } = list.readAny();
    if (tag === IP_ADDRESS) {
      const units = content.units();
      if (units.length === 2 || units.length === 8) names.ips.push(formatIp(unmappedIp(units)));
      continue;
    }
    if (tag !== DNS_NAME && tag !== URI) continue;
    const text = content.text();
    // A NUL or a character of another alphabet would look like a name that it is not.
    if (!/^[\x21-\x7e]+$/.test(text)) continue;
    if (tag === DNS_NAME) names.dns.push(canonicalName(text));
    else names.uris.push(text);
  }
  return names;
}

function readBasicConstraints(value: Der): Partial<Extensions> {
  const constraints = value.read(SEQUENCE);
  const isCa = constraints.isNext(BOOLEAN) && constraints.readBoolean();
  const pathLength = constraints.isNext(INTEGER) ? constraints.readSmallInteger() : undefined;
  constraints.end();
  return { isCa, pathLength };
}

function readKeyUsage(value: Der): KeyUsage {
  const bits = value.read(BIT_STRING).bytes();
  const [unused = 8, first = 0] = bits;
  if (unused > 7 || (bits.length < 2 && unused > 0)) throw malformed();
  return { digitalSignature: (first & 0x80) !== 0, keyCertSign: (first & 0x04) !== 0 };
}

function readOids(value: Der): Oid[] {
  const oids: Oid[] = [];
  const list = value.read(SEQUENCE);
  while (!list.isAtEnd) oids.push(list.readOid());
  return oids;
}

function describe(names: CertificateNames, subject: Der): string {
  const name = names.dns[0] ?? names.uris[0] ?? names.ips[0] ?? readCommonName(subject);
  if (name === undefined) return "(no name)";
  return /^[\x21\x23-\x5b\x5d-\x7e]{1,120}$/.test(name) ? name : quote(name);
}

/** The last one: the most specific. */
function readCommonName(subject: Der): string | undefined {
  let name: string | undefined;
  while (!subject.isAtEnd) {
    const set = subject.read(SET);
    while (!set.isAtEnd) {
      const attribute = set.read(SEQUENCE);
      if (attribute.readOid() !== COMMON_NAME) continue;
      name = new TextDecoder().decode(attribute.readAny().content.bytes());
    }
  }
  return name;
}

/**
 * Whether a certificate is for a host: a DNS name, or an IP address without brackets, whose zone does not
 * count. A name is looked for among DNS names alone and an address among IP addresses alone; a common name
 * is none. A `*` stands for one whole label, the first, before at least two others.
 */
export function hasHost({ names }: Certificate, host: string): boolean {
  const address = parseIp(host.replace(/%.*/s, ""));
  if (address !== undefined) return names.ips.includes(formatIp(unmappedIp(address)));
  const name = canonicalName(host);
  // A pattern is no host: nobody may ask for one.
  if (name === "" || name.includes("*")) return false;
  const dot = name.indexOf(".");
  const parent = dot > 0 ? name.slice(dot) : "";
  const hasTwoLabels = parent.indexOf(".", 1) > 1;
  return names.dns.includes(name) || hasTwoLabels && names.dns.includes(`*${parent}`);
}

/** A piece of DER, and how far it has been read. Every reading moves on, or throws a TlsError. */
class Der {
  readonly #bytes: Uint8Array;
  readonly #end: number;
  #at: number;

  constructor(bytes: Uint8Array, start: number, end: number) {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#end;
  }

  /** Whether an element with this tag comes next. */
  isNext(tag: number): boolean {
    return this.#at < this.#end && this.#bytes[this.#at] === tag;
  }

  /** Nothing may be left. */
  end(): void {
    if (!this.isAtEnd) throw malformed();
  }

  /** The content of the next element, which must have this tag. */
  read(tag: number): Der {
    if (!this.isNext(tag)) throw malformed();
    return this.readAny().content;
  }

  readAny(): { readonly tag: number; readonly content: Der } {
    const tag = this.#byte();
    // A tag of several bytes stands in no certificate.
    if ((tag & 0x1f) === 0x1f) throw malformed();
    const length = this.#length();
    if (length > this.#end - this.#at) throw malformed();
    const start = this.#at;
    this.#at += length;
    return { tag, content: new Der(this.#bytes, start, this.#at) };
  }

  #byte(): number {
    const byte = this.#at < this.#end ? this.#bytes[this.#at++] : undefined;
    if (byte === undefined) throw malformed();
    return byte;
  }

  /** Definite, and written in as few bytes as possible. */
  #length(): number {
    const first = this.#byte();
    if (first < 0x80) return first;
    const count = first & 0x7f;
    if (count < 1 || count > 3) throw malformed();
    let length = 0;
    for (let index = 0; index < count; index++) length = length << 8 | this.#byte();
    if (length < 0x80 || length < 1 << 8 * (count - 1)) throw malformed();
    return length;
  }

  /** What has not been read. */
  bytes(): Uint8Array {
    return this.#bytes.subarray(this.#at, this.#end);
  }

  /** What has not been read, one character a byte. */
  text(): string {
    let text = "";
    for (const byte of this.bytes()) text += String.fromCharCode(byte);
    return text;
  }

  /** What has not been read, in units of 16 bits, if there are enough bytes. */
  units(): IpUnits {
    const bytes = this.bytes();
    if (bytes.length % 2 !== 0 || bytes.length > 16) return [];
    const units: number[] = [];
    for (let at = 0; at < bytes.length; at += 2) {
      units.push((bytes[at] ?? 0) << 8 | (bytes[at + 1] ?? 0));
    }
    return units;
  }

  readBoolean(): boolean {
    const [value, ...rest] = this.read(BOOLEAN).bytes();
    if (rest.length > 0 || (value !== 0 && value !== 0xff)) throw malformed();
    return value === 0xff;
  }

  /** From 0 to 32767: nothing that is looked at is more. */
  readSmallInteger(): number {
    const bytes = this.read(INTEGER).bytes();
    const [first = 0x80, second] = bytes;
    if (bytes.length > 2 || first >= 0x80) throw malformed();
    if (second === undefined) return first;
    if (first === 0 && second < 0x80) throw malformed();
    return first << 8 | second;
  }

  readOid(): Oid {
    const bytes = this.read(OBJECT_IDENTIFIER).bytes();
    if (bytes.length < 1 || bytes.length > 64) throw malformed();
    let digits = "";
    for (const byte of bytes) digits += byte.toString(16).padStart(2, "0");
    return digits;
  }

  /** In milliseconds since 1970. */
  readTime(): number {
    const { tag, content } = this.readAny();
    const text = content.text();
    const match = /^(\d{2}|\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(text);
    const [, digits = "", ...rest] = match ?? [];
    if (tag !== (digits.length === 2 ? UTC_TIME : GENERALIZED_TIME)) throw malformed();
    const year = digits.length === 4 ? digits : `${digits < "50" ? "20" : "19"}${digits}`;
    const [month, day, hour, minute, second] = rest;
    const iso = `${year}-${month}-${day}T${hour}:${minute}:${second}.000Z`;
    const time = Date.parse(iso);
    // Date takes a 31st of June for the 1st of July.
    if (Number.isNaN(time) || new Date(time).toISOString() !== iso) throw malformed();
    return time;
  }
}
