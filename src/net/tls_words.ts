// What the TLS library says went wrong, in the words of the log. Its own are for its developers, and
// change with Deno; what is known of them was measured on Deno 2.9.6.

import { EngineError } from "./tls_engine.ts";
import { REFUSALS, type Role, TlsError } from "./tls_error.ts";

/** Whose failure it is, and what is known of it. */
export interface Failure {
  /** What the peer is. */
  readonly role: Role;
  /** The first bytes that came from it. */
  readonly first?: Uint8Array | undefined;
}

/** The library's code for most of what it may have against an upstream's certificate. */
const UNCLEAR = "UNABLE_TO_VERIFY_LEAF_SIGNATURE";

/** What this side has against the peer's certificate, by the library's codes. */
const OWN: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: REFUSALS.expired,
  CERT_NOT_YET_VALID: REFUSALS.notYetValid,
  DEPTH_ZERO_SELF_SIGNED_CERT: REFUSALS.selfSigned,
  SELF_SIGNED_CERT_IN_CHAIN: REFUSALS.unknownAuthority,
  UNABLE_TO_GET_ISSUER_CERT: REFUSALS.unknownAuthority,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: REFUSALS.unknownAuthority,
  [UNCLEAR]: REFUSALS.unknownAuthority,
};

/** What the peer says in an alert, by the library's words for it. */
const ALERTS: Readonly<Record<string, string>> = {
  UnknownCA: "does not trust this ambassador's certificate: an authority unknown to it signed it",
  CertificateExpired: "says that this ambassador's certificate has expired, or is not valid yet",
  CertificateRequired: "needs a certificate, and this ambassador has none (--tls-cert)",
  BadCertificate: "does not accept this ambassador's certificate",
  CertificateUnknown: "does not accept this ambassador's certificate",
  CertificateRevoked: "says that this ambassador's certificate was revoked",
  UnsupportedCertificate: "says that this ambassador's certificate is not for this use",
  DecryptError: "does not accept the signature of this ambassador's certificate",
  AccessDenied: "does not let this ambassador in",
  ProtocolVersion: "speaks neither TLS 1.2 nor TLS 1.3",
  UnrecognisedName: "has no certificate for the name that is asked for (--tls-name)",
  HandshakeFailure: "refuses the handshake: no cipher in common, or a certificate is missing",
};

/** How HTTP begins, from either side. */
const HTTP = "GET |HEAD |POST |PUT |DELETE |OPTIONS |PATCH |CONNECT |PRI |HTTP/".split("|");

/** What is spoken in the place of TLS, by how it begins. */
const OTHERS: readonly (readonly [starts: readonly string[], what: string])[] = [
  // An SSLRequest, 80877103 (PostgreSQL documentation, "Message Formats").
  [
    ["\0\0\0\x08\x04\xd2\x16\x2f"],
    "it asks for TLS in the words of PostgreSQL; let it connect without TLS to an ambassador beside " +
    "it, whose target is this one",
  ],
  [HTTP, "it speaks HTTP without TLS"],
  [["SSH-"], "it speaks SSH"],
  [["PROXY ", "\r\n\r\n\0\r\nQUIT\n"], "it begins with a PROXY header (--accept-proxy)"],
];

/** Whether the library has left open what is wrong with an upstream's certificate. */
export function isUnclear(error: unknown): boolean {
  return error instanceof TlsError && error.cause instanceof EngineError &&
    error.cause.code === UNCLEAR;
}

/** An error of the library in plain words; any other as it is. */
export function explain(error: unknown, failure: Failure): unknown {
  return error instanceof EngineError ? translate(error, failure) : error;
}

function translate(cause: EngineError, { role, first }: Failure): TlsError {
  const { message, code } = cause;
  // Of a client's chain the library complains only afterwards, so that this is about its signature.
  if (code === UNCLEAR && role === "the client") return lacksKey(role, cause);
  const own = OWN[code];
  if (own !== undefined) return new TlsError(own, { cause }).of(role);
  if (code === "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE") {
    const hint = "give it one that --tls-client-ca or --tls-ca vouches for";
    return new TlsError(`${role} sent no certificate`, { hint, cause });
  }
  if (code === "ERR_SSL_WRONG_VERSION_NUMBER") return notTls(cause, { role, first });
  const alert = /^received fatal alert: (\w+)/.exec(message)?.[1];
  if (alert !== undefined) {
    const hint = alert === "UnknownCA" ? `${role} has to trust the CA of --tls-cert` : undefined;
    const words = ALERTS[alert] ?? `ended it with the alert ${alert}`;
    return new TlsError(`${role} ${words}`, { hint, cause });
  }
  const words = isOldHello(first)
    ? `${role} ${ALERTS["ProtocolVersion"]}`
    : `not a handshake that can be gone on with: ${message}`;
  return new TlsError(words, { cause });
}

/**
 * What is said of one whose signature the library does not take: of a certificate that may be stolen, or
 * one of which it can't make out the key.
 */
export function lacksKey(role: Role, cause?: unknown): TlsError {
  const words = "does not have the key of its certificate, or the certificate cannot be evaluated";
  return new TlsError(`${role} ${words}`, { cause });
}

function notTls(cause: EngineError, { role, first }: Failure): TlsError {
  const text = String.fromCharCode(...first ?? []);
  const [, other] = OTHERS.find(([starts]) => starts.some((one) => text.startsWith(one))) ?? [];
  if (role === "the upstream") {
    const hint = "write tcp:// for an upstream without TLS";
    return new TlsError(other === undefined ? "not TLS" : `not TLS: ${other}`, { hint, cause });
  }
  if (other !== undefined) return new TlsError(`not TLS: ${other}`, { cause });
  const hint = "a client has to connect by TLS, or to an ambassador of its own that does (tls://)";
  return new TlsError("not TLS", { hint, cause });
}

/** Whether a client's first bytes offer nothing newer than TLS 1.1: 0x0302 (RFC 5246, ClientHello). */
function isOldHello(first: Uint8Array | undefined): boolean {
  const [kind, , , , , message, , , , major = 3, minor = 3] = first ?? [];
  return kind === 0x16 && message === 1 && major === 3 && minor < 3;
}
