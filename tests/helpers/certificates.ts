// A certificate authority for tests, made with the `openssl` program in a folder of its own: whatever a
// peer may show, good or forged. It knows nothing of how the program verifies.
//
// Tests that use it need("openssl").

import { programPath } from "./needs.ts";

/** What is to stand in a certificate. */
export interface IssueOptions {
  /** DNS names of the subjectAltName. */
  readonly dns?: readonly string[];
  /** IP addresses of the subjectAltName. */
  readonly ips?: readonly string[];
  /** URIs of the subjectAltName. */
  readonly uris?: readonly string[];
  /** The common name; `test` unless given. */
  readonly commonName?: string;
  /** The extendedKeyUsage of a leaf; `both` unless given, `none` leaves it out. */
  readonly usage?: "both" | "server" | "client" | "none";
  /** How many days it is valid from now on; 30 unless given. */
  readonly days?: number;
  /** The first moment at which it is valid; now unless given. */
  readonly notBefore?: Date;
  /** The last moment at which it is valid; `days` later unless given. */
  readonly notAfter?: Date;
  /** Whether it may sign others. */
  readonly isCa?: boolean;
  /** How many authorities may stand between this one and a leaf. */
  readonly pathLength?: number;
  /** As openssl writes it (`digitalSignature`); that of a CA or a leaf unless given, empty for none. */
  readonly keyUsage?: string;
  /** Whether its key is RSA with 2048 bits; else P-256. */
  readonly rsa?: boolean;
  /** The kind of its key in the words of `openssl req` (`["-newkey", "ed25519"]`). */
  readonly newKey?: readonly string[];
  /** The digest that is signed; `sha256` unless given. */
  readonly digest?: string;
  /**
   * More extensions, as lines of an openssl configuration (`1.2.3.4=critical,DER:0500`). One that is
   * made by default is replaced: `subjectAltName=DER:3003820161`.
   */
  readonly extensions?: readonly string[];
}

/** A certificate and its key. */
export interface Issued {
  /** The file of the certificate, and of the intermediates behind it, if any. */
  readonly certPath: string;
  /** The file of the key. */
  readonly keyPath: string;
  /** What is in `certPath`. */
  readonly cert: string;
  /** What is in `keyPath`. */
  readonly key: string;
}

/** An authority. */
export interface Ca {
  /** The file of its certificate alone: what is to be trusted. */
  readonly path: string;
  /** What is in `path`. */
  readonly pem: string;
  /** Its certificate with the intermediates behind it, and its key. */
  readonly own: Issued;
  /** The folder that holds all files. */
  readonly directory: string;
  /** Makes a key and a certificate that this authority has signed. */
  issue(options?: IssueOptions): Promise<Issued>;
  /** Makes an authority that this one has signed. */
  intermediate(options?: IssueOptions): Promise<Ca>;
}

/** An authority that trusts itself; disposing it removes its folder. */
export interface RootCa extends Ca, Disposable {}

/** Options for {@linkcode createCa}. */
export interface CreateCaOptions extends IssueOptions {
  /** Its common name; `test CA` unless given. */
  readonly name?: string;
  /** The folder for all files, which must be there and stays; a temporary one unless given. */
  readonly directory?: string;
}

/** Makes an authority with a key and a certificate of its own. */
export async function createCa(
  { name = "test CA", directory: given, ...options }: CreateCaOptions = {},
): Promise<RootCa> {
  const directory = given ?? await Deno.makeTempDir({ prefix: "ambassador_ca_" });
  const remove = (): void => {
    if (given === undefined) Deno.removeSync(directory, { recursive: true });
  };
  try {
    const own = await make(directory, { isCa: true, commonName: name, ...options });
    return { ...authority(directory, own, ""), [Symbol.dispose]: remove };
  } catch (error) {
    remove();
    throw error;
  }
}

/** Lets any certificate sign another, also one that may not. */
export function issueBy(issuer: Issued, options: IssueOptions = {}): Promise<Issued> {
  return make(folderOf(issuer), options, { ...issuer, chain: issuer.cert });
}

/** Makes a certificate that nobody but itself vouches for; its files lie beside the CA's. */
export function selfSigned(ca: Ca, options: IssueOptions = {}): Promise<Issued> {
  return make(ca.directory, options);
}

/** Writes the key once more, encrypted with the password `x`; gives the path. */
export async function encryptKey(
  issued: Issued,
  options: { readonly traditional?: boolean } = {},
): Promise<string> {
  const path = `${issued.keyPath}.${options.traditional ? "traditional" : "encrypted"}`;
  const form = options.traditional ? ["-traditional"] : [];
  await openssl(
    "pkey",
    "-in",
    issued.keyPath,
    "-out",
    path,
    "-aes256",
    "-passout",
    "pass:x",
    ...form,
  );
  return path;
}

/** The DER of every certificate in a PEM text. */
export function derOf(pem: string): Uint8Array[] {
  const blocks = pem.matchAll(/-----BEGIN CERTIFICATE-----([^-]+)-----END CERTIFICATE-----/g);
  return [...blocks].map(([, base64 = ""]) =>
    Uint8Array.from(atob(base64.replaceAll(/\s/g, "")), (character) => character.charCodeAt(0))
  );
}

/** Runs openssl and gives its stdout. */
export async function openssl(...args: readonly string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(programPath("openssl"), {
    args: [...args],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).output();
  const decoder = new TextDecoder();
  if (!success) throw new Error(`openssl ${args.join(" ")}: ${decoder.decode(stderr)}`);
  return decoder.decode(stdout);
}

/** @param chain What its certificates have behind them: nothing for a root. */
function authority(directory: string, own: Issued, chain: string): Ca {
  const pem = firstBlock(own.cert);
  const path = own.certPath.replace(/\.pem$/, ".alone.pem");
  Deno.writeTextFileSync(path, pem);
  return {
    path,
    pem,
    own,
    directory,
    issue: (options = {}) => make(directory, options, { ...own, chain }),
    intermediate: async (options = {}) => {
      const named = { isCa: true, commonName: "test intermediate CA", ...options };
      const made = await make(directory, named, { ...own, chain });
      return authority(directory, made, made.cert);
    },
  };
}

function folderOf({ certPath }: Issued): string {
  return certPath.slice(0, certPath.lastIndexOf("/"));
}

function firstBlock(pem: string): string {
  const end = "-----END CERTIFICATE-----\n";
  return pem.slice(0, pem.indexOf(end) + end.length);
}

let made = 0;

/** Makes a key and a certificate, signed by the issuer, or by itself. */
async function make(
  directory: string,
  options: IssueOptions,
  issuer?: Issued & { readonly chain: string },
): Promise<Issued> {
  const base = `${directory}/${++made}`;
  const [certPath, keyPath, config] = [`${base}.pem`, `${base}.key`, `${base}.cnf`];
  const { rsa = false, newKey, digest = "sha256", commonName = "test", notBefore, notAfter } =
    options;
  const p256 = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
  const key = newKey ?? (rsa ? ["-newkey", "rsa:2048"] : p256);
  await Deno.writeTextFile(config, configuration(base, options));
  const subject = ["-subj", `/CN=${commonName.replaceAll(/[\\/+]/g, "\\$&")}`];
  const request = ["req", "-config", config, ...key, "-noenc", "-keyout", keyPath, ...subject];
  const days = options.days ?? 30;
  const by = issuer === undefined ? [] : ["-CA", issuer.certPath, "-CAkey", issuer.keyPath];
  if (notBefore === undefined && notAfter === undefined) {
    const validity = ["-days", String(days)];
    await openssl(...request, "-x509", ...by, `-${digest}`, ...validity, "-out", certPath);
  } else {
    // `openssl req` knows no dates before 3.4; `openssl ca` always did.
    const start = notBefore ?? new Date();
    const end = notAfter ?? new Date(start.getTime() + days * 86_400_000);
    await Deno.writeTextFile(`${base}.index`, "");
    await openssl(...request, "-out", `${base}.csr`);
    const signer = issuer === undefined
      ? ["-selfsign", "-keyfile", keyPath]
      : ["-cert", issuer.certPath, "-keyfile", issuer.keyPath];
    const dates = ["-startdate", utcTime(start), "-enddate", utcTime(end)];
    const files = ["-in", `${base}.csr`, "-out", certPath];
    const how = ["-batch", "-notext", "-md", digest, "-config", config];
    await openssl("ca", ...how, ...signer, ...dates, ...files);
  }
  const cert = await Deno.readTextFile(certPath) + (issuer?.chain ?? "");
  await Deno.writeTextFile(certPath, cert);
  return { certPath, keyPath, cert, key: await Deno.readTextFile(keyPath) };
}

/** `20261124182000Z` */
function utcTime(date: Date): string {
  return date.toISOString().replace(/\.\d+/, "").replaceAll(/[-:T]/g, "");
}

/** What openssl is told in a file: the extensions, and where `openssl ca` keeps its books. */
function configuration(base: string, options: IssueOptions): string {
  const { dns = [], ips = [], uris = [], usage = "both", isCa = false, extensions = [] } = options;
  const names = [
    ...dns.map((name, index) => `DNS.${index} = ${escape(name)}`),
    ...ips.map((ip, index) => `IP.${index} = ${ip}`),
    ...uris.map((uri, index) => `URI.${index} = ${escape(uri)}`),
  ];
  const path = options.pathLength === undefined ? "" : `, pathlen:${options.pathLength}`;
  const keyUsage = options.keyUsage ?? (isCa ? "keyCertSign, cRLSign" : "digitalSignature");
  const lines = new Map([["basicConstraints", `critical, CA:${isCa ? `TRUE${path}` : "FALSE"}`]]);
  lines.set("subjectKeyIdentifier", "hash");
  if (keyUsage !== "") lines.set("keyUsage", `critical, ${keyUsage}`);
  if (!isCa && usage !== "none") lines.set("extendedKeyUsage", USAGES[usage]);
  if (names.length > 0) lines.set("subjectAltName", "@names");
  for (const line of extensions) {
    const equals = line.indexOf("=");
    lines.set(line.slice(0, equals).trim(), line.slice(equals + 1).trim());
  }
  return [
    "[req]",
    "distinguished_name = subject",
    "x509_extensions = extensions",
    "string_mask = utf8only",
    "utf8 = yes",
    "[subject]",
    "[ca]",
    "default_ca = books",
    "[books]",
    `database = ${base}.index`,
    `new_certs_dir = ${base.slice(0, base.lastIndexOf("/"))}`,
    "rand_serial = yes",
    "policy = policy",
    "x509_extensions = extensions",
    "[policy]",
    "commonName = supplied",
    "[names]",
    ...names,
    "[extensions]",
    ...[...lines].map(([name, value]) => `${name} = ${value}`),
    "",
  ].join("\n");
}

const USAGES = {
  both: "serverAuth, clientAuth",
  server: "serverAuth",
  client: "clientAuth",
} as const;

/** So that a value means itself in an openssl configuration. */
function escape(value: string): string {
  return value.replaceAll(/[\\$#"'`]/g, "\\$&");
}
