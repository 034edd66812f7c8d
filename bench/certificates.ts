// Throwaway certificates for pairs that want to see each other's, made by openssl.

import { findOnPath, howToInstall } from "./programs.ts";

/** A certificate and its key, in files. */
export interface Identity {
  /** The certificate; HAProxy looks for the key beside it, by this name and `.key`. */
  readonly cert: string;
  /** The key. */
  readonly key: string;
}

/** What a pair needs: whom both trust, and who each is. */
export interface PairCertificates {
  /** The certificate that has signed both. */
  readonly ca: string;
  /** Who connects. */
  readonly near: Identity;
  /** Who listens, at 127.0.0.1. */
  readonly far: Identity;
}

/** Makes them in a folder, of elliptic curve P-256 as people make them today. */
export function makeCertificates(folder: string): PairCertificates {
  const openssl = findOnPath("openssl");
  if (openssl === undefined) throw new Error(howToInstall("openssl"));
  function make(name: string, args: readonly string[]): Identity {
    const cert = `${folder}/${name}.pem`;
    const key = `${cert}.key`;
    const command = [
      ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"],
      ...["-days", "30", "-subj", `/CN=${name}`, "-keyout", key, "-out", cert, ...args],
    ];
    const { success, stderr } = new Deno.Command(openssl ?? "", { args: command }).outputSync();
    if (!success) throw new Error(`openssl: ${new TextDecoder().decode(stderr)}`);
    return { cert, key };
  }
  const extensions = (...lines: string[]): string[] => lines.flatMap((line) => ["-addext", line]);
  const ca = make("ca", extensions("keyUsage=critical,keyCertSign"));
  const issue = (name: string): Identity =>
    make(name, [
      ...["-CA", ca.cert, "-CAkey", ca.key],
      ...extensions(
        "basicConstraints=critical,CA:false",
        "keyUsage=critical,digitalSignature",
        "extendedKeyUsage=serverAuth,clientAuth",
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
      ),
    ]);
  return { ca: ca.cert, near: issue("near"), far: issue("far") };
}
