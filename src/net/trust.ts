// Whom one trusts: builds the chain from what a peer has sent to a CA of one's own, and checks each link,
// on every connection, resumed or not. It knows nothing of sockets, files or which names are wanted.

import { createHash, type KeyObject } from "node:crypto";
import { type Certificate, type Oid, parseCertificate } from "./certificate.ts";
import { readPem } from "./pem.ts";
import { REFUSALS, TlsError } from "./tls_error.ts";

/** What the peer's certificate must be good for. */
export type Purpose = "server" | "client";

/** Options for {@linkcode Trust.verify}. */
export interface VerifyOptions {
  /** What the peer is. */
  readonly purpose: Purpose;
  /** The time, in milliseconds since 1970. */
  readonly nowMs: number;
}

/** Maximum number of certificates that a peer may send: two or three are usual. */
const MAX_SENT = 12;
/** Maximum number of issuers in a chain. */
const MAX_DEPTH = 8;
/** Maximum number of signatures that are checked for one peer: each costs up to 2 ms. */
const MAX_SIGNATURES = 16;
/** Maximum number of peers that are remembered. */
const MAX_REMEMBERED = 1000;
/** Shorter RSA keys can be broken, or may soon be. */
const MIN_RSA_BITS = 2048;
/** Longer ones cost their user little and whoever checks them much. */
const MAX_RSA_BITS = 8192;

/** What extendedKeyUsage must name, in DER: id-kp-serverAuth, id-kp-clientAuth. */
const USAGES: Readonly<Record<Purpose, Oid>> = {
  server: "2b06010505070301",
  client: "2b06010505070302",
};
/** What TLS can use here. */
const CURVES: ReadonlySet<string> = new Set(["prime256v1", "secp384r1", "secp521r1"]);

/** anyExtendedKeyUsage, in DER. */
const ANY_USAGE: Oid = "551d2500";

/** Those that are strong and that node can check; in DER. */
const SIGNATURE_ALGORITHMS: ReadonlySet<Oid> = new Set([
  // RSA PKCS#1 with SHA-256, SHA-384, SHA-512.
  "2a864886f70d01010b",
  "2a864886f70d01010c",
  "2a864886f70d01010d",
  // ECDSA with SHA-256, SHA-384, SHA-512.
  "2a8648ce3d040302",
  "2a8648ce3d040303",
  "2a8648ce3d040304",
  // Ed25519.
  "2b6570",
]);

const NOTHING = new Uint8Array();

/** A peer that was verified, and when that holds. */
interface Verified {
  readonly leaf: Certificate;
  /** The latest notBefore of the whole chain. */
  readonly notBeforeMs: number;
  /** The earliest notAfter of the whole chain. */
  readonly notAfterMs: number;
}

/**
 * The authorities that one trusts, and nobody else.
 *
 * Every CA certificate given is trusted by itself, as in rustls: it need not be a root, and who trusts an
 * intermediate trusts what that has signed, not its root. A certificate that is no CA is never trusted
 * for being in the list. Names are not looked at: see `hasHost()`.
 */
export class Trust {
  /** The certificates as they were given: what TLS itself is told. Undefined for {@linkcode roots}. */
  readonly pem: string | undefined;
  /** The certificates, parsed. Empty for {@linkcode roots}. */
  readonly anchors: readonly Certificate[];
  readonly #remembered = new Map<string, Verified>();

  private constructor(pem: string | undefined, anchors: readonly Certificate[]) {
    this.pem = pem;
    this.anchors = anchors;
  }

  /**
   * Trusts the certificates of a PEM text.
   *
   * @throws {TlsError} if there is none, or one is malformed
   */
  static of(pem: string): Trust {
    const anchors = readPem(pem).filter(({ label }) => label === "CERTIFICATE")
      .map(({ der = NOTHING }) => parseCertificate(der));
    if (anchors.length === 0) throw new TlsError(REFUSALS.noCertificate);
    return new Trust(pem, anchors);
  }

  /**
   * The roots that Deno brings, with those that `NODE_EXTRA_CA_CERTS`, `DENO_CERT` or
   * `DENO_TLS_CA_STORE=system` (and `SSL_CERT_FILE` with it) name: whoever sets the environment says whom
   * to trust. They can't be had as certificates without the right to ask for system information, so
   * {@linkcode verify} looks at the leaf alone: that a root vouches for it is the word of TLS itself,
   * which must be asked (`authorized`). No client is trusted for them.
   */
  static roots(): Trust {
    return new Trust(undefined, []);
  }

  /**
   * Verifies a peer, and gives its certificate: each link from it to an authority of ours, whatever the
   * peer has sent beside them.
   *
   * @param chain What the peer has sent, in DER: its certificate, then others in any order.
   * @throws {TlsError} if it can't be trusted
   */
  verify(chain: readonly Uint8Array[], { purpose, nowMs }: VerifyOptions): Certificate {
    if (chain.length === 0) throw new TlsError(REFUSALS.noCertificate);
    if (chain.length > MAX_SENT) throw new TlsError(REFUSALS.tooLong);
    const key = keyOf(chain, purpose);
    const known = this.#remembered.get(key);
    if (known !== undefined && nowMs >= known.notBeforeMs && nowMs <= known.notAfterMs) {
      return known.leaf;
    }
    const verified = this.#verify(chain, { purpose, nowMs });
    this.#remembered.delete(key);
    this.#remembered.set(key, verified);
    if (this.#remembered.size > MAX_REMEMBERED) {
      for (const oldest of this.#remembered.keys()) {
        this.#remembered.delete(oldest);
        break;
      }
    }
    return verified.leaf;
  }

  #verify(
    [first = new Uint8Array(), ...rest]: readonly Uint8Array[],
    options: VerifyOptions,
  ): Verified {
    const leaf = parseCertificate(first);
    checkLeaf(leaf, options);
    if (this.pem === undefined) {
      refuseIf(options.purpose === "client", "unknownAuthority");
      return { leaf, ...validityOf([leaf]) };
    }
    const search = new Search(this.anchors, rest.flatMap(parseIfWellFormed), options);
    return { leaf, ...validityOf([leaf, ...search.issuersOf(leaf)]) };
  }
}

/** Different for different chains: each length stands before its bytes. */
function keyOf(chain: readonly Uint8Array[], purpose: Purpose): string {
  const hash = createHash("sha256");
  hash.update(`${purpose} ${chain.map(({ length }) => length).join(" ")} `);
  for (const der of chain) hash.update(der);
  return hash.digest("base64");
}

/** A certificate beside the leaf that nobody needs does no harm, whatever it is. */
function parseIfWellFormed(der: Uint8Array): Certificate[] {
  try {
    return [parseCertificate(der)];
  } catch (error) {
    if (error instanceof TlsError) return [];
    throw error;
  }
}

function validityOf(
  chain: readonly Certificate[],
): { readonly notBeforeMs: number; readonly notAfterMs: number } {
  return {
    notBeforeMs: Math.max(...chain.map(({ notBeforeMs }) => notBeforeMs)),
    notAfterMs: Math.min(...chain.map(({ notAfterMs }) => notAfterMs)),
  };
}

function checkLeaf(leaf: Certificate, { purpose, nowMs }: VerifyOptions): void {
  refuseIf(nowMs > leaf.notAfterMs, "expired");
  refuseIf(nowMs < leaf.notBeforeMs, "notYetValid");
  refuseIf(leaf.hasUnknownCritical, "unknownExtension");
  refuseIf(leaf.hasNameConstraints, "nameConstraints");
  refuseIf(leaf.isCa, "isCa");
  const isForPurpose = leaf.keyUsage?.digitalSignature !== false && hasUsage(leaf, purpose);
  refuseIf(!isForPurpose, purpose === "server" ? "notForServers" : "notForClients");
  const key = keyKind(leaf);
  refuseIf(key === "unknown", "unknownKey");
  refuseIf(key === "weak", "weakKey");
  refuseIf(!SIGNATURE_ALGORITHMS.has(leaf.signatureAlgorithm), "weakSignature");
}

function refuseIf(isRefused: boolean, refusal: keyof typeof REFUSALS): void {
  if (isRefused) throw new TlsError(REFUSALS[refusal]);
}

function hasUsage({ extendedKeyUsage }: Certificate, purpose: Purpose): boolean {
  return extendedKeyUsage === undefined || extendedKeyUsage.includes(USAGES[purpose]) ||
    extendedKeyUsage.includes(ANY_USAGE);
}

/** What can be said of the key in a certificate. */
export type KeyKind = "good" | "weak" | "unknown";

/** Whether the key of a certificate is of a kind that TLS can use here, and long enough. */
export function keyKind({ x509 }: Certificate): KeyKind {
  try {
    return kindOf(x509.publicKey);
  } catch {
    return "unknown";
  }
}

/** The same of the key itself. */
export function kindOf({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): KeyKind {
  if (asymmetricKeyType === "ed25519") return "good";
  if (asymmetricKeyType === "ec") {
    return CURVES.has(asymmetricKeyDetails?.namedCurve ?? "") ? "good" : "unknown";
  }
  if (asymmetricKeyType !== "rsa") return "unknown";
  const bits = asymmetricKeyDetails?.modulusLength ?? 0;
  if (bits < MIN_RSA_BITS) return "weak";
  return bits <= MAX_RSA_BITS ? "good" : "unknown";
}

/** Whether certificates can be trusted for the key of this one: Deno checks no signature of P-521. */
export function canVouch(issuer: Certificate): boolean {
  return keyKind(issuer) === "good" &&
    issuer.x509.publicKey.asymmetricKeyDetails?.namedCurve !== "secp521r1";
}

/** Whether a certificate bears the name and the signature of another one. */
export function isIssuedBy(issued: Certificate, issuer: Certificate): boolean {
  // The names must be the same byte by byte, as in rustls.
  if (issuer.subjectName !== issued.issuerName) return false;
  try {
    return issued.x509.verify(issuer.x509.publicKey);
  } catch {
    return false;
  }
}

/** @param below How many authorities stand between it and the leaf. */
function checkIssuer(
  issuer: Certificate,
  below: number,
  { purpose, nowMs }: VerifyOptions,
): void {
  refuseIf(!issuer.isCa || issuer.keyUsage?.keyCertSign === false, "issuerNoCa");
  refuseIf(nowMs > issuer.notAfterMs, "issuerExpired");
  refuseIf(nowMs < issuer.notBeforeMs, "issuerNotYetValid");
  refuseIf(issuer.hasUnknownCritical, "issuerUnknownExtension");
  refuseIf(issuer.hasNameConstraints, "issuerNameConstraints");
  refuseIf(below > (issuer.pathLength ?? Infinity), "issuerPathLength");
  const isForPurpose = hasUsage(issuer, purpose);
  refuseIf(!isForPurpose, purpose === "server" ? "issuerNotForServers" : "issuerNotForClients");
}

/** The way from one leaf to an authority, among several issuers of one name. Its work is limited. */
class Search {
  readonly #anchors: readonly Certificate[];
  readonly #sent: readonly Certificate[];
  readonly #options: VerifyOptions;
  #signatures = 0;
  /** Why the first issuer that had really signed was refused: better than "unknown". */
  #refusal: TlsError | undefined;

  constructor(
    anchors: readonly Certificate[],
    sent: readonly Certificate[],
    options: VerifyOptions,
  ) {
    this.#anchors = anchors;
    this.#sent = sent;
    this.#options = options;
  }

  /** @throws {TlsError} if there is no way */
  issuersOf(leaf: Certificate): Certificate[] {
    const issuers = this.#find([leaf]);
    if (issuers !== undefined) return issuers;
    refuseIf(isIssuedBy(leaf, leaf), "selfSigned");
    throw this.#refusal ?? new TlsError(REFUSALS.unknownAuthority);
  }

  /** @param chain The leaf and its issuers so far; each of them has been checked. */
  #find(chain: readonly Certificate[]): Certificate[] | undefined {
    if (chain.length > MAX_DEPTH) return undefined;
    const anchor = this.#anchors.find((issuer) => this.#vouches(issuer, chain));
    if (anchor !== undefined) return [...chain.slice(1), anchor];
    for (const issuer of this.#sent) {
      if (chain.includes(issuer) || !this.#vouches(issuer, chain)) continue;
      const found = this.#find([...chain, issuer]);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** Whether it may be, and is, the next issuer of this chain. */
  #vouches(issuer: Certificate, chain: readonly Certificate[]): boolean {
    const issued = chain.at(-1);
    if (issuer.subjectName !== issued?.issuerName) return false;
    try {
      refuseIf(!canVouch(issuer), "issuerKey");
      if (++this.#signatures > MAX_SIGNATURES) return false;
      // Another authority of the same name: nothing is wrong with it.
      if (!isIssuedBy(issued, issuer)) return false;
      checkIssuer(issuer, chain.length - 1, this.#options);
      // How an authority of one's own is signed means nothing.
      const isSignedWell = SIGNATURE_ALGORITHMS.has(issuer.signatureAlgorithm);
      refuseIf(!isSignedWell && !this.#anchors.includes(issuer), "issuerSignature");
      return true;
    } catch (error) {
      if (!(error instanceof TlsError)) throw error;
      this.#refusal ??= error;
      return false;
    }
  }
}
