// Why a TLS handshake or a peer is refused, in the words of the log. It knows nothing of sockets or
// certificates.

/** A TLS handshake failed, or its peer is refused; the message says why, in plain words. */
export class TlsError extends Error {
  /** Its class, as stack traces show it. */
  override readonly name = "TlsError";
}

/** What a peer is to this side. */
export type Role = "the client" | "the upstream";

/** What is said of a peer whose certificate is refused. */
export const REFUSALS = {
  noCertificate: "no certificate",
  malformed: "the certificate is malformed",
  oldVersion: "the certificate is of an old kind (not X.509 version 3)",
  expired: "the certificate has expired",
  notYetValid: "the certificate is not valid yet",
  notForServers: "the certificate is not for servers",
  notForClients: "the certificate is not for clients",
  isCa: "the certificate is that of a CA",
  weakKey: "the key of the certificate is too short (RSA below 2048 bits)",
  unknownKey: "the key of the certificate is of a kind that is not supported",
  weakSignature: "the certificate is signed in a way that is too weak or not supported",
  unknownExtension: "the certificate cannot be evaluated: it has an unknown critical extension",
  nameConstraints: "the certificate cannot be evaluated: it has name constraints",
  selfSigned: "the certificate is self-signed",
  unknownAuthority: "signed by an unknown authority",
  tooLong: "the chain of the certificate is too long",
  issuerNoCa: "an issuer of the certificate is no CA",
  issuerExpired: "an issuer of the certificate has expired",
  issuerNotYetValid: "an issuer of the certificate is not valid yet",
  issuerPathLength: "an issuer of the certificate allows fewer issuers below it",
  issuerNotForServers: "an issuer of the certificate is not for servers",
  issuerNotForClients: "an issuer of the certificate is not for clients",
  issuerKey: "an issuer of the certificate has a key that is too weak or not supported",
  issuerSignature:
    "an issuer of the certificate is signed in a way that is too weak or not supported",
  issuerUnknownExtension:
    "the certificate cannot be evaluated: an issuer has an unknown critical extension",
  issuerNameConstraints: "the certificate cannot be evaluated: an issuer has name constraints",
} as const;

/** The ways out, by how what is said begins: of a client, and of an upstream. */
const HINTS: readonly (readonly [starts: string, Readonly<Partial<Record<Role, string>>>])[] = [
  [REFUSALS.unknownAuthority, {
    "the client": "the CA of the client's certificate is not in --tls-client-ca or --tls-ca, " +
      "or the client does not send an intermediate",
    "the upstream": "the CA of the upstream's certificate is not in --tls-ca, " +
      "or the upstream does not send an intermediate",
  }],
  [REFUSALS.selfSigned, {
    "the client": "give the client a certificate of a CA that --tls-client-ca or --tls-ca names",
    "the upstream": "give the upstream a certificate of a CA that --tls-ca names",
  }],
  [REFUSALS.expired, {
    "the client": "the client needs a new certificate, or the clock here is wrong",
    "the upstream": "the upstream needs a new certificate, or the clock here is wrong",
  }],
  [REFUSALS.notYetValid, {
    "the client": "wait, or set the clock here right",
    "the upstream": "wait, or set the clock here right",
  }],
  [REFUSALS.notForClients, {
    "the client": "give the client one with clientAuth in its extendedKeyUsage",
  }],
  [REFUSALS.notForServers, {
    "the upstream": "give the upstream one with serverAuth in its extendedKeyUsage",
  }],
  ["not for the name", {
    "the upstream": "--tls-name says which name it must have",
  }],
  ["the client sent no certificate", {
    "the client": "give the client one that --tls-client-ca or --tls-ca vouches for",
  }],
  ["the client closed the connection during", {
    "the client": "the client's own log says why",
  }],
  ["the upstream closed the connection after", {
    "the upstream": "the upstream's own log says why",
  }],
  ["the upstream closed the connection during", {
    "the upstream": "the upstream's own log says why",
  }],
  ["the upstream closed the connection: ", {
    "the upstream": "write tcp:// for an upstream without TLS; some want --starttls",
  }],
  ["the upstream does not trust", {
    "the upstream": "the upstream has to trust the CA of --tls-cert",
  }],
  ["not TLS", {
    "the client": "a route for clients without TLS listens by _TCP, not _TLS",
    "the upstream": "write tcp:// for an upstream without TLS",
  }],
];

/** The way out of what is said of a peer, where there is a likely one. */
export function hintFor(message: string, role: Role): string | undefined {
  return HINTS.find(([starts]) => message.startsWith(starts))?.[1][role];
}

/** What is said of a peer and the way out, where there is room for one text alone. */
export function withHint(message: string, role: Role): string {
  const hint = hintFor(message, role);
  return hint === undefined ? message : `${message}; ${hint}`;
}
