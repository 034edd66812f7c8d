// Why a TLS handshake or a peer is refused, in the words of the log. It knows nothing of sockets or
// certificates.

/** What a peer is to this side. */
export type Role = "the client" | "the upstream";

/** A TLS handshake failed, or its peer is refused; the message says why, in plain words. */
export class TlsError extends Error {
  /** Its class, as stack traces show it. */
  override readonly name = "TlsError";
  /** The way out, where there is a likely one. One line. */
  readonly hint: string | undefined;

  /** Takes one line, and what is behind it. */
  constructor(
    message: string,
    { hint, cause }: { readonly hint?: string | undefined; readonly cause?: unknown } = {},
  ) {
    super(message, { cause });
    this.hint = hint;
  }

  /** The same of a peer of which it is known what it is, so that the way out is. */
  of(role: Role): TlsError {
    const { message, hint = HINTS[message]?.[role], cause } = this;
    return new TlsError(message, { hint, cause });
  }
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

/** The ways out of what is said of a peer's certificate. */
const HINTS: Readonly<Record<string, Readonly<Partial<Record<Role, string>>>>> = {
  [REFUSALS.unknownAuthority]: {
    "the client": "name the CA of the client's certificate in --tls-client-ca or --tls-ca; " +
      "or the client does not send an intermediate",
    "the upstream":
      "name the CA of the upstream's certificate in --tls-ca (without it only public " +
      "ones count); or the upstream does not send an intermediate",
  },
  [REFUSALS.selfSigned]: {
    "the client": "give the client a certificate of a CA that --tls-client-ca or --tls-ca names",
    "the upstream": "give the upstream a certificate of a CA that --tls-ca names",
  },
  [REFUSALS.isCa]: {
    "the client": "give the client a certificate that the CA has signed, not the CA's own",
    "the upstream": "give the upstream a certificate that the CA has signed, not the CA's own",
  },
  [REFUSALS.expired]: {
    "the client": "the client needs a new certificate, or the clock here is wrong",
    "the upstream": "the upstream needs a new certificate, or the clock here is wrong",
  },
  [REFUSALS.notYetValid]: {
    "the client": "wait, or set the clock here right",
    "the upstream": "wait, or set the clock here right",
  },
  [REFUSALS.notForClients]: {
    "the client": "give the client one with clientAuth in its extendedKeyUsage",
  },
  [REFUSALS.notForServers]: {
    "the upstream": "give the upstream one with serverAuth in its extendedKeyUsage",
  },
};
