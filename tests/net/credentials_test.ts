import { assert, assertEquals, assertRejects } from "@std/assert";
import { ConfigError } from "../../src/base/errors.ts";
import type { PemSource } from "../../src/config/pem.ts";
import {
  type Credentials,
  type CredentialSources,
  loadCredentials,
} from "../../src/net/credentials.ts";
import {
  createCa,
  derOf,
  encryptKey,
  type Issued,
  openssl,
  type RootCa,
  selfSigned,
} from "../helpers/certificates.ts";
import { Random } from "../helpers/mod.ts";
import { needs } from "../helpers/needs.ts";

const OPTIONS = { ...needs("openssl"), sanitizeOps: true, sanitizeResources: true };

/** Files for the four options; all that is not given is left out. */
interface Files {
  readonly cert?: string;
  readonly key?: string;
  readonly ca?: string;
  readonly clientCa?: string;
}

function fromFiles({ cert, key, ca, clientCa }: Files): CredentialSources {
  return {
    tlsCert: source("tls-cert", cert),
    tlsKey: source("tls-key", key),
    tlsCa: source("tls-ca", ca),
    tlsClientCa: source("tls-client-ca", clientCa),
  };
}

function source(option: string, path: string | undefined): PemSource | undefined {
  return path === undefined ? undefined : { option: `--${option}`, path };
}

/** What is wrong, each with its hint, without the folder of the files. */
async function problemsOf(sources: CredentialSources, folder = "/none"): Promise<string[]> {
  const { problems } = await assertRejects(() => loadCredentials(sources), ConfigError);
  return problems.map(({ message, hint }) =>
    `${message}${hint === undefined ? "" : ` (${hint})`}`.replaceAll(folder, "…")
  );
}

/** Writes a text beside the CA's files. */
async function written(ca: RootCa, name: string, text: string | Uint8Array): Promise<string> {
  const path = `${ca.directory}/${name}`;
  await Deno.writeFile(path, typeof text === "string" ? new TextEncoder().encode(text) : text);
  return path;
}

/** Loads a pair under another form of its key or certificate. */
async function loadForm(
  ca: RootCa,
  { cert, key }: Pick<Issued, "cert" | "key">,
): Promise<Credentials> {
  return await loadCredentials(fromFiles({
    cert: await written(ca, "form.pem", cert),
    key: await written(ca, "form.key", key),
  }));
}

Deno.test(
  "loadCredentials() gives a pair, whom to trust, and what is in use",
  OPTIONS,
  async () => {
    using ca = await createCa({ name: "our CA" });
    using clients = await createCa({ name: "their CA" });
    const { certPath, keyPath, cert, key } = await ca.issue({ dns: ["redis"] });
    const files = { cert: certPath, key: keyPath, ca: ca.path, clientCa: clients.path };
    const credentials = await loadCredentials(fromFiles(files));
    assertEquals([credentials.cert, credentials.key], [cert, key]);
    assertEquals(credentials.upstreamTrust.pem, ca.pem);
    assertEquals(credentials.clientTrust?.pem, clients.pem);
    assertEquals(credentials.warnings, []);
    assertEquals(
      credentials.certificates.map((
        { option, path, subject, issuer },
      ) => [option, path, subject, issuer]),
      [
        ["--tls-cert", certPath, "redis", `"our CA"`],
        ["--tls-ca", ca.path, `"our CA"`, `"our CA"`],
        ["--tls-client-ca", clients.path, `"their CA"`, `"their CA"`],
      ],
    );
    const days = credentials.certificates.map(({ notBeforeMs, notAfterMs }) =>
      (notAfterMs - notBeforeMs) / 86_400_000
    );
    assertEquals(days, [30, 30, 30]);
  },
);

Deno.test(
  "loadCredentials() tells all names of the own certificate, and its signer if that is there too",
  OPTIONS,
  async () => {
    using ca = await createCa();
    const intermediate = await ca.intermediate({ commonName: "between" });
    const names = { dns: ["redis", "*.example.com"], uris: ["spiffe://x/redis"], ips: ["::1"] };
    const { certPath, keyPath } = await intermediate.issue(names);
    const { certificates: [own] } = await loadCredentials(
      fromFiles({ cert: certPath, key: keyPath }),
    );
    assertEquals(own?.names, ["redis", "*.example.com", "spiffe://x/redis", "::1"]);
    assertEquals(own?.issuer, "between");
    const alone = await ca.issue();
    const { certificates: [unknown] } = await loadCredentials(
      fromFiles({ cert: alone.certPath, key: alone.keyPath }),
    );
    assertEquals([unknown?.names, unknown?.issuer], [[], undefined]);
  },
);

Deno.test(
  "loadCredentials() trusts for clients what it trusts for upstreams, but never the roots",
  OPTIONS,
  async () => {
    using ca = await createCa();
    const one = await loadCredentials(fromFiles({ ca: ca.path }));
    assert(one.clientTrust === one.upstreamTrust);
    const none = await loadCredentials(fromFiles({}));
    assertEquals([none.upstreamTrust.pem, none.clientTrust], [undefined, undefined]);
    assertEquals([none.cert, none.key, none.certificates], [undefined, undefined, []]);
    const clients = await loadCredentials(fromFiles({ clientCa: ca.path }));
    assertEquals([clients.upstreamTrust.pem, clients.clientTrust?.pem], [undefined, ca.pem]);
  },
);

Deno.test("loadCredentials() takes PEM in every form that people have", OPTIONS, async () => {
  using ca = await createCa();
  const intermediate = await ca.intermediate({});
  const ec = await intermediate.issue({ dns: ["redis"] });
  const rsa = await ca.issue({ dns: ["redis"], rsa: true });
  const sec1 = await openssl("ec", "-in", ec.keyPath);
  const parameters = await openssl("ecparam", "-name", "prime256v1");
  const pkcs1 = await openssl("rsa", "-in", rsa.keyPath, "-traditional");
  assert(sec1.includes("BEGIN EC PRIVATE KEY") && pkcs1.includes("BEGIN RSA PRIVATE KEY"));
  const forms = [
    ec,
    rsa,
    { cert: ec.cert, key: sec1 },
    { cert: ec.cert, key: parameters + sec1 },
    { cert: rsa.cert, key: pkcs1 },
    { cert: ec.cert.replaceAll("\n", "\r\n"), key: ec.key.replaceAll("\n", "\r\n") },
    { cert: `\ufeffsubject: x\n${ec.cert}\nmore - text`, key: `Bag Attributes\n${ec.key}rest` },
    { cert: ec.cert.replaceAll(/^/gm, "    "), key: ec.key.replaceAll(/^/gm, "\t") },
    { cert: ec.cert + ec.key, key: ec.cert + ec.key },
    { cert: ec.cert.trim(), key: ec.key.trim() },
  ];
  for (const form of forms) {
    const { cert = "", key = "", warnings } = await loadForm(ca, form);
    assertEquals(derOf(cert), derOf(form.cert));
    assert(/^-----BEGIN (?:EC |RSA )?PRIVATE KEY-----\n(?:[\w+/=]{1,64}\n)+-----END /.test(key));
    assertEquals(warnings, []);
  }
  // Nothing but certificates is handed on as such.
  const { cert = "" } = await loadForm(ca, { cert: ec.cert + ec.key, key: ec.key });
  assertEquals(cert, ec.cert);
});

Deno.test("loadCredentials() reads PEM that stands in a variable", OPTIONS, async () => {
  using ca = await createCa();
  const { cert, key } = await ca.issue({ dns: ["redis"] });
  const credentials = await loadCredentials({
    tlsCert: { option: "AMBASSADOR_TLS_CERT", pem: cert },
    tlsKey: { option: "AMBASSADOR_TLS_KEY", pem: key },
    tlsCa: { option: "AMBASSADOR_TLS_CA", pem: ca.pem },
    tlsClientCa: undefined,
  });
  assertEquals([credentials.cert, credentials.key], [cert, key]);
  const [own] = credentials.certificates;
  assertEquals([own?.option, own?.path], ["AMBASSADOR_TLS_CERT", undefined]);
  const bad = { option: "AMBASSADOR_TLS_KEY", pem: cert };
  assertEquals(await problemsOf({ ...fromFiles({}), tlsKey: bad }), [
    "AMBASSADOR_TLS_KEY: it holds a certificate where a private key should be",
  ]);
});

Deno.test("loadCredentials() tells every problem of files in one go", OPTIONS, async () => {
  using ca = await createCa();
  const files = {
    cert: `${ca.directory}/missing.pem`,
    key: ca.directory,
    ca: await written(ca, "empty.pem", " \r\n"),
    clientCa: await written(ca, "large.pem", ca.pem.repeat(2000)),
  };
  assertEquals(
    await problemsOf(fromFiles(files), ca.directory),
    [
      `--tls-cert "…/missing.pem": no such file`,
      `--tls-key "…": it is a directory`,
      `--tls-ca "…/empty.pem": it is empty`,
      `--tls-client-ca "…/large.pem": it is larger than 1 MiB`,
    ],
  );
  assertEquals(await problemsOf(fromFiles({ key: "/dev/zero" })), [
    `--tls-key "/dev/zero": it is not a regular file`,
  ]);
  const denied = (): Promise<string> => Promise.reject(new Deno.errors.PermissionDenied("secret"));
  const { problems } = await assertRejects(
    () => loadCredentials(fromFiles({ key: "./key.pem" }), { read: denied }),
    ConfigError,
  );
  assertEquals(problems, [{
    message: `--tls-key "./key.pem": permission denied`,
    hint: "the user that the ambassador runs as has to be able to read it (65532 in its images)",
  }]);
  const special = (): Promise<string> => Promise.reject(new Deno.errors.NotCapable("secret"));
  const refused = await assertRejects(
    () => loadCredentials(fromFiles({ key: "/dev/stdin" }), { read: special }),
    ConfigError,
  );
  assertEquals(refused.problems, [{
    message: `--tls-key "/dev/stdin": Deno does not allow to read it`,
    hint: "nothing below /dev, /proc and /sys can be used: write it to a file elsewhere",
  }]);
});

Deno.test(
  "loadCredentials() says what a file holds instead of a certificate",
  OPTIONS,
  async () => {
    using ca = await createCa();
    const { key, cert, certPath, keyPath } = await ca.issue({ dns: ["redis"] });
    const request = await openssl("req", "-new", "-key", keyPath, "-subj", "/CN=x");
    const [der = new Uint8Array()] = derOf(cert);
    const [keyDer = new Uint8Array()] = derOf(key.replaceAll("PRIVATE KEY", "CERTIFICATE"));
    const cases: readonly (readonly [string | Uint8Array, words: RegExp])[] = [
      [key, /it holds a private key where a certificate should be$/],
      [request, /it holds a request for a certificate, and no certificate$/],
      [await openssl("pkey", "-in", keyPath, "-pubout"), /it holds no certificate$/],
      ["hello", /it is not PEM \(PEM is text with lines such as -----BEGIN CERTIFICATE-----\)$/],
      [der, /it is not PEM \(it looks like DER: /],
      [cert.slice(0, -40), /it is cut off: a block has no END line$/],
      [cert + cert.slice(0, 200), /it is cut off: a block has no END line$/],
      [cert.replace(/\n..../, "\n????"), /: the certificate is malformed$/],
      [cert.replace(/\n.{8}/, "\nAAAAAAAA"), /: the certificate is malformed$/],
      [
        `${cert}-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----`,
        /: number 2 of 2: .*malformed$/,
      ],
      [cert.replace(/\n[^-]*\n/, `\n${keyDer.toBase64()}\n`), /: the certificate is malformed$/],
    ];
    for (const [content, words] of cases) {
      const path = await written(ca, "wrong.pem", content);
      for (const files of [{ cert: path }, { ca: path }, { clientCa: path }]) {
        const problems = await problemsOf(fromFiles(files), ca.directory);
        assertEquals(problems.length, 1, problems.join("\n"));
        assert(words.test(problems[0] ?? ""), `${words} ${problems[0]}`);
      }
    }
    assertEquals(await problemsOf(fromFiles({ key: certPath }), ca.directory), [
      `--tls-key "${certPath.replace(ca.directory, "…")}": ` +
      "it holds a certificate where a private key should be",
    ]);
  },
);

Deno.test(
  "loadCredentials() refuses keys that can't be used, each in its own words",
  OPTIONS,
  async () => {
    using ca = await createCa();
    const { cert, key, ...issued } = await ca.issue({ dns: ["redis"] });
    const plain = await Deno.readTextFile(await encryptKey({ cert, key, ...issued }));
    const traditional = await Deno.readTextFile(
      await encryptKey({ cert, key, ...issued }, { traditional: true }),
    );
    assert(plain.includes("ENCRYPTED PRIVATE KEY") && traditional.includes("Proc-Type"));
    const generated = (...args: string[]): Promise<string> => openssl("genpkey", ...args);
    const hint = " (use RSA of 2048 to 8192 bits, P-256, P-384, P-521 or Ed25519)";
    const decrypt =
      " (openssl pkey -in KEY -out PLAIN_KEY asks for the password and writes it plain)";
    const openSsh = key.replaceAll("PRIVATE KEY", "OPENSSH PRIVATE KEY");
    const k1 = await generated("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1");
    const short = await generated("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024");
    const malformed = `the key is malformed, or of a kind that TLS can't use${hint}`;
    const cases: readonly (readonly [string, words: string])[] = [
      [plain, `the key is encrypted${decrypt}`],
      [traditional, `the key is encrypted${decrypt}`],
      [key + key, "it holds several private keys"],
      [openSsh, `it is a key in the form of OpenSSH, which TLS can't use${hint}`],
      [
        await generated("-algorithm", "X25519"),
        `it is a key of the kind x25519, which is not supported${hint}`,
      ],
      [
        await generated("-algorithm", "ED448"),
        `it is a key of the kind ed448, which is not supported${hint}`,
      ],
      [k1, `it is a key of the kind secp256k1, which is not supported${hint}`],
      [short, `it is an RSA key of 1024 bits, which is too short${hint}`],
      [key.replace(/\n.{8}/, "\nAAAAAAAA"), malformed],
      [key.replace(/\n..../, "\n????"), malformed],
      [await openssl("pkey", "-in", issued.keyPath, "-pubout"), "it holds no private key"],
    ];
    for (const [content, words] of cases) {
      const path = await written(ca, "wrong.key", content);
      const files = fromFiles({ cert: issued.certPath, key: path });
      assertEquals(await problemsOf(files, ca.directory), [`--tls-key "…/wrong.key": ${words}`]);
    }
  },
);

Deno.test("loadCredentials() refuses a key that is not the certificate's", OPTIONS, async () => {
  using ca = await createCa();
  const intermediate = await ca.intermediate({ commonName: "intermediate" });
  const one = await intermediate.issue({ dns: ["one"] });
  const other = await intermediate.issue({ dns: ["other"], rsa: true });
  const name = other.keyPath.replace(ca.directory, "…");
  assertEquals(
    await problemsOf(fromFiles({ cert: one.certPath, key: other.keyPath }), ca.directory),
    [`--tls-key "${name}": it is not the key of the certificate`],
  );
  const issuers = fromFiles({ cert: one.certPath, key: intermediate.own.keyPath });
  assertEquals((await problemsOf(issuers)).map((text) => text.replace(/^.*": /, "")), [
    "it fits a certificate that is not the first of its file (put it before those that have signed it)",
  ]);
});

Deno.test("loadCredentials() refuses a chain that is not in order", OPTIONS, async () => {
  using ca = await createCa();
  const first = await ca.intermediate({ commonName: "first" });
  const second = await first.intermediate({ commonName: "second" });
  const { cert, keyPath } = await second.issue({ dns: ["redis"] });
  const blocks = cert.split(/(?<=END CERTIFICATE-----\n)/);
  assertEquals(blocks.length, 3);
  const hint = "(the certificate comes first, then the one that has signed it, and so on)";
  for (const order of [blocks.toReversed(), [blocks[0], blocks[2]], [...blocks, blocks[1]]]) {
    const path = await written(ca, "order.pem", order.join(""));
    const [problem = ""] = await problemsOf(fromFiles({ cert: path, key: keyPath }), ca.directory);
    assertEquals(problem, `--tls-cert "…/order.pem": its certificates are not in order ${hint}`);
  }
  // With the root at its end it is.
  const path = await written(ca, "order.pem", cert + ca.pem);
  assertEquals((await loadCredentials(fromFiles({ cert: path, key: keyPath }))).warnings, []);
});

Deno.test("loadCredentials() refuses to trust what is no CA", OPTIONS, async () => {
  using ca = await createCa();
  const leaf = await ca.issue({ dns: ["redis"] });
  const own = await selfSigned(ca, { dns: ["own"] });
  const crl = await ca.issue({ isCa: true, keyUsage: "cRLSign", commonName: "crl" });
  const path = await written(ca, "bundle.pem", ca.pem + leaf.cert + own.cert + crl.cert);
  const hint = "(whom to trust is said by the certificate that has signed the others)";
  assertEquals(await problemsOf(fromFiles({ ca: path }), ca.directory), [
    `--tls-ca "…/bundle.pem": number 2 of 4: the certificate of redis is no CA ${hint}`,
    `--tls-ca "…/bundle.pem": number 3 of 4: the certificate of own is no CA ${hint}`,
    `--tls-ca "…/bundle.pem": number 4 of 4: the certificate of crl is no CA ${hint}`,
  ]);
});

Deno.test("loadCredentials() warns of what peers will refuse, and goes on", OPTIONS, async () => {
  const [notBefore, notAfter] = [
    new Date("2020-01-01T00:00:00Z"),
    new Date("2021-01-01T00:00:00Z"),
  ];
  using ca = await createCa({ name: "CA", notBefore, notAfter });
  const future = {
    notBefore: new Date("2040-01-01T00:00:00Z"),
    notAfter: new Date("2041-01-01T00:00:00Z"),
  };
  const intermediate = await ca.intermediate({ commonName: "between", ...future });
  const own = await intermediate.issue({ dns: ["redis"], notBefore, notAfter });
  const named = ["nameConstraints=critical,permitted;DNS:example.com"];
  using constrained = await createCa({ name: "constrained", extensions: named });
  using large = await createCa({
    name: "large",
    newKey: ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521"],
  });
  const bundle = await written(ca, "bundle.pem", constrained.pem + large.pem + large.own.key);
  const files = { cert: own.certPath, key: own.keyPath, ca: ca.path, clientCa: bundle };
  const { warnings } = await loadCredentials(fromFiles(files));
  assertEquals(warnings.map((text) => text.replace(/^(\S+) "[^"]*"/, "$1")), [
    "--tls-cert: the certificate of redis has expired, on 2021-01-01T00:00:00Z",
    "--tls-cert: the certificate of between is not valid before 2040-01-01T00:00:00Z",
    "--tls-ca: the certificate of CA has expired, on 2021-01-01T00:00:00Z",
    "--tls-client-ca: it holds a private key, which has no business there",
    "--tls-client-ca: the CA constrained vouches for nobody: it has name constraints",
    "--tls-client-ca: the CA large vouches for nobody: its key is of a kind not supported",
  ]);
  const pair = await selfSigned(ca, { commonName: "both", isCa: true });
  const both = { cert: pair.certPath, key: pair.keyPath, ca: pair.certPath };
  assertEquals(
    (await loadCredentials(fromFiles(both))).warnings.map((text) => text.replace(/^.*": /, "")),
    ["the certificate of both is that of a CA: many peers, ambassadors too, refuse it as yours"],
  );
  const nowMs = notBefore.getTime() + 1;
  const then = await loadCredentials(fromFiles({ ca: ca.path }), { nowMs });
  assertEquals(then.warnings, []);
});

Deno.test("loadCredentials() shows no byte of what it was given", OPTIONS, async () => {
  using ca = await createCa();
  const { cert, key, certPath } = await ca.issue({ dns: ["redis"] });
  // As a path too: somebody forgot that a variable holds the PEM and an argument the path.
  for (const name of ["cert", "key", "ca", "clientCa"]) {
    for (const path of [key, key.replaceAll("\n", ""), `/${key}`, btoa(key), `./${btoa(key)}`]) {
      const problems = await problemsOf(fromFiles({ [name]: path }));
      assertEquals(problems.length, 1);
      assertShowsNothing(problems, path);
    }
  }
  const random = new Random();
  for (let round = 0; round < 300; round++) {
    const characters = [...random.pick([key, cert, cert + key, key + cert])];
    for (let count = random.below(4); count >= 0; count--) {
      const [at, length] = [random.below(characters.length), random.below(60)];
      characters.splice(at, random.pick([0, 1, length]), random.pick(["", "A", "\n", "-", "\0"]));
    }
    const text = characters.join("");
    for (const name of ["tlsCert", "tlsKey", "tlsCa", "tlsClientCa"]) {
      const sources = fromFiles({ cert: certPath });
      try {
        await loadCredentials({ ...sources, [name]: { option: "AMBASSADOR_TLS", pem: text } });
      } catch (error) {
        assert(error instanceof ConfigError, `SEED=${random.seed} round ${round}: ${error}`);
        assertShowsNothing(
          error.problems.flatMap(({ message, hint = "" }) => [message, hint]),
          text,
        );
      }
    }
  }
});

/** No eight characters in a row that look like base64 of the text. */
function assertShowsNothing(lines: readonly string[], text: string): void {
  const shown = lines.join("\n");
  for (const [run = ""] of shown.matchAll(/[\w+/=]{8,}/g)) {
    for (let at = 0; at + 8 <= run.length; at++) {
      const piece = run.slice(at, at + 8);
      assert(!text.includes(piece) || "CERTIFICATE".includes(piece), shown);
    }
  }
}
