// Who this ambassador is and whom it trusts: reads the PEM that the configuration names, finds all that
// is wrong with it, and gives it in the one form that TLS takes. Never a byte of it stands in a message.
// It knows nothing of sockets, and not when to read again.

import { createPrivateKey, type KeyObject } from "node:crypto";
import { ConfigError, type Problem } from "../base/errors.ts";
import { explainFile, readSmallFile } from "../base/files.ts";
import { plain } from "../base/text.ts";
import type { Options } from "../config/options.ts";
import { type PemSource, quotePath } from "../config/pem.ts";
import { type Certificate, parseCertificate } from "./certificate.ts";
import { countUnended, formatPem, type PemBlock, readPem } from "./pem.ts";
import { REFUSALS, TlsError } from "./tls_error.ts";
import { canVouch, keyKind, kindOf, Trust } from "./trust.ts";

/** What the configuration names. */
export type CredentialSources = Pick<Options, "tlsCert" | "tlsKey" | "tlsCa" | "tlsClientCa">;

/** A certificate in use: for the metrics, and for people. */
export interface CertificateInUse {
  /** The option (`--tls-cert`) or variable that names it. */
  readonly option: string;
  /** The file that it comes from, if it comes from one. */
  readonly path?: string;
  /** Whose it is, as one line. */
  readonly subject: string;
  /** All whom it is for: DNS names, URIs and IP addresses. */
  readonly names: readonly string[];
  /** Who signed it, as one line; undefined unless that one's certificate is given too. */
  readonly issuer: string | undefined;
  /** The first moment at which it is valid, in milliseconds since 1970. */
  readonly notBeforeMs: number;
  /** The last moment at which it is valid, in milliseconds since 1970. */
  readonly notAfterMs: number;
}

/** All that TLS needs to be told. */
export interface Credentials {
  /** The own certificate and its chain, in PEM. */
  readonly cert?: string;
  /** The key of it, in PEM. */
  readonly key?: string;
  /** Who vouches for upstreams. */
  readonly upstreamTrust: Trust;
  /** Who vouches for clients; undefined if nobody. */
  readonly clientTrust: Trust | undefined;
  /** The own certificate and each CA. */
  readonly certificates: readonly CertificateInUse[];
  /** What will make peers be refused, but is no reason not to start. One line each. */
  readonly warnings: readonly string[];
}

/** Options for {@linkcode loadCredentials}. */
export interface LoadCredentialsOptions {
  /** Gives the text of a file; throws what it can't read. */
  readonly read?: (path: string) => Promise<string>;
  /** The time, in milliseconds since 1970. */
  readonly nowMs?: number;
}

/** Maximum length of what an option names, from wherever it comes. */
const MAX_BYTES = 1024 * 1024;

const KEY_LABEL = /PRIVATE KEY$/;
const GOOD_KEYS = "use RSA of 2048 to 8192 bits, P-256, P-384, P-521 or Ed25519";

/**
 * Reads and checks certificates, keys and trust.
 *
 * @throws {ConfigError} with everything that is wrong with them
 */
export async function loadCredentials(
  sources: CredentialSources,
  { read = readSmallFile, nowMs = Date.now() }: LoadCredentialsOptions = {},
): Promise<Credentials> {
  const findings = new Findings(nowMs);
  const { tlsCert, tlsKey, tlsCa, tlsClientCa } = sources;
  // One after the other, so that problems are always told in the same order.
  const certBlocks = await findings.read(tlsCert, read);
  const keyBlocks = await findings.read(tlsKey, read);
  const caBlocks = await findings.read(tlsCa, read);
  const clientCaBlocks = await findings.read(tlsClientCa, read);
  const chain = findings.own(tlsCert, certBlocks);
  const key = findings.key(tlsKey, keyBlocks);
  if (tlsKey !== undefined && key !== undefined && chain !== undefined) {
    findings.pair(tlsKey, key.object, chain);
  }
  const trust = findings.trust(tlsCa, caBlocks);
  const clientTrust = tlsClientCa === undefined
    ? trust
    : findings.trust(tlsClientCa, clientCaBlocks);
  if (findings.problems.length > 0) throw new ConfigError(findings.problems);
  const cert = chain?.map(({ der }) => formatPem("CERTIFICATE", der)).join("");
  return {
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key: key.pem }),
    upstreamTrust: trust ?? Trust.roots(),
    clientTrust,
    certificates: inUse(findings.certificates),
    warnings: findings.warnings,
  };
}

/** A certificate to be used, and which source holds it with what chain. */
interface Found {
  readonly source: PemSource;
  readonly certificate: Certificate;
  readonly chain: readonly Certificate[];
}

/** What is told of them. By name: who reads it knows whose they are, and trust is found otherwise. */
function inUse(found: readonly Found[]): CertificateInUse[] {
  const known = found.flatMap(({ certificate, chain }) => [certificate, ...chain]);
  return found.map(({ source, certificate }) => {
    const { subject, names, issuerName, notBeforeMs, notAfterMs } = certificate;
    const issuer = known.find(({ subjectName }) => subjectName === issuerName)?.subject;
    const path = "path" in source ? { path: source.path } : {};
    const all = [...names.dns, ...names.uris, ...names.ips];
    return { option: source.option, ...path, subject, names: all, issuer, notBeforeMs, notAfterMs };
  });
}

/** All that was found in one go, good and bad. */
class Findings {
  readonly problems: Problem[] = [];
  readonly warnings: string[] = [];
  readonly certificates: Found[] = [];
  readonly #nowMs: number;

  constructor(nowMs: number) {
    this.#nowMs = nowMs;
  }

  #problem(source: PemSource, reason: string, hint?: string): undefined {
    this.problems.push({ message: `${nameOf(source)}: ${reason}`, hint });
  }

  #warn(source: PemSource, reason: string): void {
    this.warnings.push(`${nameOf(source)}: ${reason}`);
  }

  /** The blocks of a source; undefined if it is not given, or something is wrong with it. */
  async read(
    source: PemSource | undefined,
    read: (path: string) => Promise<string>,
  ): Promise<readonly PemBlock[] | undefined> {
    if (source === undefined) return undefined;
    let text: string;
    try {
      text = "pem" in source ? source.pem : await read(source.path);
    } catch (error) {
      const { reason, hint } = explainFile(error, "path" in source ? source.path : "");
      return this.#problem(source, reason, hint);
    }
    if (text.trim() === "") return this.#problem(source, "it is empty");
    if (text.length > MAX_BYTES) return this.#problem(source, "it is larger than 1 MiB");
    const blocks = readPem(text);
    if (countUnended(text) > 0) {
      return this.#problem(source, "it is cut off: a block has no END line");
    }
    if (blocks.length > 0) return blocks;
    const isDer = text.startsWith("0\ufffd") || text.startsWith("0\x82");
    const hint = isDer
      ? "it looks like DER: openssl x509 -inform der (or openssl pkey -inform der) makes PEM of it"
      : "PEM is text with lines such as -----BEGIN CERTIFICATE-----";
    return this.#problem(source, "it is not PEM", hint);
  }

  #parse(source: PemSource, blocks: readonly PemBlock[]): Certificate[] | undefined {
    const found = blocks.filter(({ label }) => label === "CERTIFICATE");
    if (found.length === 0) {
      if (blocks.some(({ label }) => KEY_LABEL.test(label))) {
        return this.#problem(source, "it holds a private key where a certificate should be");
      }
      const isRequest = blocks.some(({ label }) => label.endsWith("CERTIFICATE REQUEST"));
      const what = isRequest ? "a request for a certificate, and no certificate" : "no certificate";
      return this.#problem(source, `it holds ${what}`);
    }
    const certificates: Certificate[] = [];
    for (const [index, { der }] of found.entries()) {
      try {
        if (der === undefined) throw new TlsError(REFUSALS.malformed);
        certificates.push(parseCertificate(der));
      } catch (error) {
        if (!(error instanceof TlsError)) throw error;
        return this.#problem(source, `${place(index, found.length)}${error.message}`);
      }
    }
    return certificates;
  }

  /** The own certificate and its chain. */
  own(
    source: PemSource | undefined,
    blocks: readonly PemBlock[] | undefined,
  ): readonly Certificate[] | undefined {
    const chain = source && blocks && this.#parse(source, blocks);
    const leaf = chain?.[0];
    if (source === undefined || chain === undefined || leaf === undefined) return undefined;
    const isInOrder = chain.slice(1).every(({ subjectName }, index) =>
      subjectName === chain[index]?.issuerName
    );
    if (!isInOrder) {
      const hint = "the certificate comes first, then the one that has signed it, and so on";
      return this.#problem(source, "its certificates are not in order", hint);
    }
    this.certificates.push({ source, certificate: leaf, chain });
    for (const certificate of chain) this.#checkDates(source, certificate);
    if (leaf.isCa) {
      const which = `the certificate of ${leaf.subject}`;
      this.#warn(
        source,
        `${which} is that of a CA: many peers, ambassadors too, refuse it as yours`,
      );
    }
    return chain;
  }

  /** The key, and the PEM of it. */
  key(
    source: PemSource | undefined,
    blocks: readonly PemBlock[] | undefined,
  ): { readonly object: KeyObject; readonly pem: string } | undefined {
    if (source === undefined || blocks === undefined) return undefined;
    const [block, ...others] = blocks.filter(({ label }) => KEY_LABEL.test(label));
    if (block === undefined) {
      const isCertificate = blocks.some(({ label }) => label === "CERTIFICATE");
      const what = isCertificate ? "a certificate where a private key should be" : "no private key";
      return this.#problem(source, `it holds ${what}`);
    }
    if (others.length > 0) return this.#problem(source, "it holds several private keys");
    if (block.isEncrypted) {
      const hint = "openssl pkey -in KEY -out PLAIN_KEY asks for the password and writes it plain";
      return this.#problem(source, "the key is encrypted", hint);
    }
    if (block.label === "OPENSSH PRIVATE KEY") {
      return this.#problem(
        source,
        "it is a key in the form of OpenSSH, which TLS can't use",
        GOOD_KEYS,
      );
    }
    const pem = block.der && formatPem(block.label, block.der);
    const object = pem === undefined ? undefined : parseKey(pem);
    if (pem === undefined || object === undefined) {
      return this.#problem(
        source,
        "the key is malformed, or of a kind that TLS can't use",
        GOOD_KEYS,
      );
    }
    const kind = kindOf(object);
    if (kind === "good") return { object, pem };
    const { modulusLength = 0, namedCurve } = object.asymmetricKeyDetails ?? {};
    const what = object.asymmetricKeyType === "rsa"
      ? `an RSA key of ${modulusLength} bits`
      : `a key of the kind ${plain(namedCurve ?? object.asymmetricKeyType ?? "unknown")}`;
    const why = kind === "weak" ? "too short" : "not supported";
    return this.#problem(source, `it is ${what}, which is ${why}`, GOOD_KEYS);
  }

  /** Whether key and certificate belong together. */
  pair(source: PemSource, key: KeyObject, [leaf, ...others]: readonly Certificate[]): void {
    if (leaf?.x509.checkPrivateKey(key)) return;
    if (others.some(({ x509 }) => x509.checkPrivateKey(key))) {
      const hint = "put it before those that have signed it";
      this.#problem(source, "it fits a certificate that is not the first of its file", hint);
    } else {
      this.#problem(source, "it is not the key of the certificate");
    }
  }

  /** Whom a source says to trust. */
  trust(
    source: PemSource | undefined,
    blocks: readonly PemBlock[] | undefined,
  ): Trust | undefined {
    const authorities = source && blocks && this.#parse(source, blocks);
    if (source === undefined || authorities === undefined) return undefined;
    if (blocks?.some(({ label }) => KEY_LABEL.test(label))) {
      this.#warn(source, "it holds a private key, which has no business there");
    }
    for (const [index, authority] of authorities.entries()) {
      if (!authority.isCa || authority.keyUsage?.keyCertSign === false) {
        const hint = "whom to trust is said by the certificate that has signed the others";
        const which = `${place(index, authorities.length)}the certificate of ${authority.subject}`;
        this.#problem(source, `${which} is no CA`, hint);
        continue;
      }
      this.certificates.push({ source, certificate: authority, chain: [] });
      this.#checkDates(source, authority);
      const reason = whyUnusable(authority);
      if (reason !== undefined) {
        this.#warn(source, `the CA ${authority.subject} vouches for nobody: ${reason}`);
      }
    }
    return Trust.of(authorities.map(({ der }) => formatPem("CERTIFICATE", der)).join(""));
  }

  #checkDates(source: PemSource, { subject, notBeforeMs, notAfterMs }: Certificate): void {
    const which = `the certificate of ${subject}`;
    if (this.#nowMs > notAfterMs) {
      this.#warn(source, `${which} has expired, on ${formatTime(notAfterMs)}`);
    } else if (this.#nowMs < notBeforeMs) {
      this.#warn(source, `${which} is not valid before ${formatTime(notBeforeMs)}`);
    }
  }
}

/** The option as it is written, and the path where it may be shown. */
function nameOf(source: PemSource): string {
  return "path" in source ? `${source.option} ${quotePath(source.path)}` : source.option;
}

/** Which of several. */
function place(index: number, count: number): string {
  return count === 1 ? "" : `number ${index + 1} of ${count}: `;
}

function parseKey(pem: string): KeyObject | undefined {
  try {
    return createPrivateKey(pem);
  } catch {
    return undefined;
  }
}

function whyUnusable(authority: Certificate): string | undefined {
  if (authority.hasUnknownCritical) return "it has a critical extension that is not known here";
  if (authority.hasNameConstraints) return "it has name constraints";
  if (canVouch(authority)) return undefined;
  return keyKind(authority) === "weak"
    ? "its key is too short"
    : "its key is of a kind not supported";
}

/** `2026-11-24T18:20:00Z` */
function formatTime(timeMs: number): string {
  return new Date(timeMs).toISOString().replace(".000Z", "Z");
}
