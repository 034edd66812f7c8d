// Why a TLS handshake or a peer is refused, in the words of the log. It knows nothing of sockets or
// certificates.

/** A TLS handshake failed, or its peer is refused; the message says why, in plain words. */
export class TlsError extends Error {
  /** Its class, as stack traces show it. */
  override readonly name = "TlsError";
}

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
