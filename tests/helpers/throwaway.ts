// A throwaway certificate authority, and those whom it vouches for, made with nothing but what Deno
// brings: for the demonstration, which needs nothing installed. Tests take `certificates.ts`, whose
// authority can also forge.

import { Buffer } from "node:buffer";
import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import type { Identity } from "./tls_peers.ts";

/** How long certificates are valid, before now (for clocks that jump) and after it. */
const VALID_MS = { before: 60_000, after: 30 * 86_400_000 } as const;

/** Tags and object identifiers of DER (X.690, RFC 5280), as hexadecimal digits. */
const OID = {
  ecdsaWithSha256: "06082a8648ce3d040302",
  commonName: "0603550403",
  basicConstraints: "0603551d13",
  keyUsage: "0603551d0f",
  extendedKeyUsage: "0603551d25",
  subjectAltName: "0603551d11",
  serverAuth: "06082b06010505070301",
  clientAuth: "06082b06010505070302",
} as const;

/** An authority, or somebody whom it vouches for. */
interface Named {
  readonly name: string;
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

/**
 * Writes, for each name, the files of somebody who is called that, listens at 127.0.0.1, and trusts
 * them all and nobody else.
 */
export function makeIdentities<Name extends string>(
  folder: string,
  names: readonly Name[],
): Record<Name, Identity> {
  const ca = createNamed("ambassadors");
  const caPath = `${folder}/ca.pem`;
  Deno.writeTextFileSync(caPath, certificate(ca, ca, caExtensions()));
  const identities = names.map((name) => {
    const [certPath, keyPath] = [`${folder}/${name}.pem`, `${folder}/${name}.key`];
    const one = createNamed(name);
    Deno.writeTextFileSync(certPath, certificate(one, ca, leafExtensions(name)));
    const key = one.privateKey.export({ type: "pkcs8", format: "pem" });
    Deno.writeTextFileSync(keyPath, String(key), { mode: 0o600 });
    return [name, { certPath, keyPath, caPath }] as const;
  });
  return Object.fromEntries(identities) as Record<Name, Identity>;
}

function createNamed(name: string): Named {
  return { name, ...generateKeyPairSync("ec", { namedCurve: "P-256" }) };
}

function certificate(subject: Named, issuer: Named, extensions: readonly Buffer[]): string {
  const nowMs = Date.now();
  const algorithm = der(0x30, OID.ecdsaWithSha256);
  const body = der(
    0x30,
    der(0xa0, der(0x02, "02")),
    der(0x02, "01", crypto.getRandomValues(new Uint8Array(15))),
    algorithm,
    nameOf(issuer),
    der(0x30, utcTime(nowMs - VALID_MS.before), utcTime(nowMs + VALID_MS.after)),
    nameOf(subject),
    subject.publicKey.export({ type: "spki", format: "der" }),
    der(0xa3, der(0x30, ...extensions)),
  );
  // A bit string begins with how many of its last bits are not used.
  const signature = der(0x03, "00", sign("sha256", body, issuer.privateKey));
  const base64 = der(0x30, body, algorithm, signature).toString("base64");
  const lines = base64.match(/.{1,64}/g) ?? [];
  return ["-----BEGIN CERTIFICATE-----", ...lines, "-----END CERTIFICATE-----", ""].join("\n");
}

function nameOf({ name }: Named): Buffer {
  return der(0x30, der(0x31, der(0x30, OID.commonName, der(0x0c, Buffer.from(name)))));
}

function caExtensions(): Buffer[] {
  return [
    extension(OID.basicConstraints, der(0x30, "0101ff")),
    // keyCertSign
    extension(OID.keyUsage, der(0x03, "0204")),
  ];
}

function leafExtensions(name: string): Buffer[] {
  const names = der(0x30, der(0x82, Buffer.from(name)), der(0x87, "7f000001"));
  return [
    extension(OID.basicConstraints, der(0x30)),
    // digitalSignature
    extension(OID.keyUsage, der(0x03, "0780")),
    extension(OID.extendedKeyUsage, der(0x30, OID.serverAuth, OID.clientAuth)),
    extension(OID.subjectAltName, names),
  ];
}

/** All are critical: who does not understand one must refuse. */
function extension(oid: string, value: Buffer): Buffer {
  return der(0x30, oid, "0101ff", der(0x04, value));
}

/** `261127082000Z` */
function utcTime(ms: number): Buffer {
  const text = new Date(ms).toISOString().replaceAll(/[-:T]|\.\d+/g, "").slice(2);
  return der(0x17, Buffer.from(text));
}

/** A value with its tag and its length; texts are hexadecimal digits. */
function der(tag: number, ...parts: readonly (string | Uint8Array)[]): Buffer {
  const content = Buffer.concat(
    parts.map((part) => typeof part === "string" ? Buffer.from(part, "hex") : part),
  );
  const { length } = content;
  const size = length < 0x80
    ? [length]
    : length < 0x100
    ? [0x81, length]
    : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...size]), content]);
}
