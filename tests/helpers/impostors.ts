// Peers who are not to be served, by the certificates that they show, and what is said of each. It knows
// nothing of how they connect.

import { type Ca, issueBy, type Issued, type IssueOptions, openssl } from "./certificates.ts";
import { selfSigned } from "./certificates.ts";

/** A peer who is not to be served. */
export interface Impostor {
  /** What is wrong with it. */
  readonly name: string;
  /** What it shows; undefined for no certificate. */
  readonly own: Pick<Issued, "certPath" | "keyPath" | "cert" | "key"> | undefined;
  /** What the log says of it as a client. */
  readonly asClient: string;
  /** What the log says of it as an upstream; undefined where it can't be one, or is a good one. */
  readonly asUpstream: string | undefined;
}

const DAY_MS = 86_400_000;

/** Everybody whom `ca` does not vouch for, though all are called what `names` says. */
export async function createImpostors(
  ca: Ca,
  other: Ca,
  names: Pick<IssueOptions, "dns" | "ips" | "uris">,
): Promise<Impostor[]> {
  const unknown = "signed by an unknown authority";
  const noCa = "an issuer of the certificate is no CA";
  function from(days: number): IssueOptions {
    const fromMs = Date.now() + days * DAY_MS;
    return { ...names, notBefore: new Date(fromMs), notAfter: new Date(fromMs + DAY_MS) };
  }
  function all(name: string, own: Issued, reason: string): Impostor {
    return { name, own, asClient: reason, asUpstream: reason };
  }
  const intermediate = await ca.intermediate();
  const short = await ca.intermediate({ pathLength: 0 });
  const stale = await ca.intermediate(from(-2));
  return [
    {
      name: "without a certificate",
      own: undefined,
      asClient: "the client sent no certificate",
      asUpstream: undefined,
    },
    all("of another CA", await other.issue(names), unknown),
    all(
      "of another CA that is sent along",
      await (await other.intermediate()).issue(names),
      unknown,
    ),
    all("that has expired", await ca.issue(from(-2)), "the certificate has expired"),
    all("that is not valid yet", await ca.issue(from(1)), "the certificate is not valid yet"),
    {
      name: "with the usage of a server alone",
      own: await ca.issue({ ...names, usage: "server" }),
      asClient: "the certificate is not for clients",
      asUpstream: undefined,
    },
    {
      name: "with the usage of neither",
      own: await ca.issue({ ...names, extensions: ["extendedKeyUsage = codeSigning"] }),
      asClient: "the certificate is not for clients",
      asUpstream: "the certificate is not for servers",
    },
    all("that signed itself", await selfSigned(ca, names), "the certificate is self-signed"),
    all("without its chain", await withoutChain(await intermediate.issue(names)), unknown),
    all("signed by a leaf", await issueBy(await ca.issue(names), names), noCa),
    all(
      "signed by a leaf without key usage",
      await issueBy(await ca.issue({ ...names, keyUsage: "" }), names),
      noCa,
    ),
    all(
      "under an authority too many",
      await (await short.intermediate()).issue(names),
      "an issuer of the certificate allows fewer issuers below it",
    ),
    all(
      "under an authority that has expired",
      await stale.issue(names),
      "an issuer of the certificate has expired",
    ),
    all("that is the CA's own", ca.own, "the certificate is that of a CA"),
    all(
      "of X.509 version 1",
      await versionOne(ca),
      "the certificate is of an old kind (not X.509 version 3)",
    ),
  ];
}

/** The same without the certificates behind the first one. */
async function withoutChain(issued: Issued): Promise<Issued> {
  const end = "-----END CERTIFICATE-----\n";
  const cert = issued.cert.slice(0, issued.cert.indexOf(end) + end.length);
  await Deno.writeTextFile(issued.certPath, cert);
  return { ...issued, cert };
}

/** A certificate of X.509 version 1, which has no extensions: openssl makes one where it is told none. */
export async function versionOne(ca: Ca): Promise<Issued> {
  const base = `${ca.directory}/version_one`;
  const [certPath, keyPath, request] = [`${base}.pem`, `${base}.key`, `${base}.csr`];
  const key = [
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
    "-noenc",
    "-keyout",
    keyPath,
  ];
  await openssl("req", "-new", ...key, "-subj", "/CN=localhost", "-out", request);
  const by = ["-CA", ca.own.certPath, "-CAkey", ca.own.keyPath, "-CAcreateserial"];
  await openssl("x509", "-req", "-in", request, ...by, "-days", "30", "-out", certPath);
  const [cert, ownKey] = [Deno.readTextFileSync(certPath), Deno.readTextFileSync(keyPath)];
  return { certPath, keyPath, cert, key: ownKey };
}
