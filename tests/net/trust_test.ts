import { assert, assertEquals, assertThrows } from "@std/assert";
import { TlsError } from "../../src/net/tls_error.ts";
import { type Purpose, Trust } from "../../src/net/trust.ts";
import {
  createCa,
  derOf,
  issueBy,
  type Issued,
  type IssueOptions,
  openssl,
  type RootCa,
  selfSigned,
} from "../helpers/certificates.ts";
import { Random } from "../helpers/mod.ts";
import { needs, TLS } from "../helpers/needs.ts";

const OPTIONS = { ...needs("openssl"), sanitizeOps: true, sanitizeResources: true };
const DAY_MS = 86_400_000;

/** Verifies what somebody sends; now unless said otherwise, and as a server. */
function verify(
  trust: Trust,
  sent: string,
  { purpose = "server", nowMs = Date.now() }: { purpose?: Purpose; nowMs?: number } = {},
): string {
  return trust.verify(derOf(sent), { purpose, nowMs }).subject;
}

function assertRefused(
  trust: Trust,
  sent: string,
  words: string,
  options: { purpose?: Purpose; nowMs?: number } = {},
): void {
  // Twice: a refusal is not remembered as anything else.
  for (let round = 0; round < 2; round++) {
    const error = assertThrows(() => verify(trust, sent, options), TlsError);
    assertEquals(error.message, words);
  }
}

/** A root, and a function that issues by it and refuses what it issued. */
async function withCa(body: (ca: RootCa, trust: Trust) => Promise<void>): Promise<void> {
  using ca = await createCa();
  await body(ca, Trust.of(ca.pem));
}

Deno.test(
  "Trust.verify() gives the certificate of a peer that a CA has signed",
  OPTIONS,
  () =>
    withCa(async (ca, trust) => {
      const { cert } = await ca.issue({ dns: ["redis"] });
      assertEquals(verify(trust, cert), "redis");
      assertEquals(verify(trust, cert, { purpose: "client" }), "redis");
      // Also with the root behind it, which nobody needs, or with anything else.
      assertEquals(verify(trust, cert + ca.pem), "redis");
      const der = [...derOf(cert), new Uint8Array(9)];
      assertEquals(trust.verify(der, { purpose: "server", nowMs: Date.now() }).subject, "redis");
    }),
);

for (
  const newKey of [["rsa:2048"], ["rsa:4096"], ["ed25519"], [
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-384",
  ]]
) {
  Deno.test(
    `Trust.verify() takes keys of ${newKey.at(-1)}, of a CA and of a peer`,
    // Deno 2.7 can't check all of them.
    { ...OPTIONS, ...needs(TLS, "openssl") },
    async () => {
      using ca = await createCa({ newKey: ["-newkey", ...newKey] });
      const { cert } = await ca.issue({ dns: ["redis"], newKey: ["-newkey", ...newKey] });
      assertEquals(verify(Trust.of(ca.pem), cert), "redis");
    },
  );
}

Deno.test(
  "Trust.verify() builds the chain from intermediates in any order",
  OPTIONS,
  () =>
    withCa(async (ca, trust) => {
      const first = await ca.intermediate({ commonName: "first" });
      const second = await first.intermediate({ commonName: "second" });
      const { cert } = await second.issue({ dns: ["redis"] });
      const [leaf = new Uint8Array(), ...issuers] = derOf(cert);
      assertEquals(issuers.length, 2);
      for (const order of [issuers, issuers.toReversed()]) {
        const options = { purpose: "server", nowMs: Date.now() } as const;
        assertEquals(trust.verify([leaf, ...order], options).subject, "redis");
      }
      const alone = cert.slice(0, cert.indexOf("-----BEGIN", 1));
      assertRefused(trust, alone, "signed by an unknown authority");
      // An intermediate that is trusted by itself, as in rustls.
      assertEquals(verify(Trust.of(second.pem), alone), "redis");
    }),
);

Deno.test(
  "Trust.verify() finds the way among CAs of one name",
  OPTIONS,
  () =>
    withCa(async (ca, trust) => {
      using other = await createCa();
      const { cert } = await ca.issue({ dns: ["redis"] });
      assertEquals(verify(Trust.of(other.pem + ca.pem), cert), "redis");
      assertRefused(Trust.of(other.pem), cert, "signed by an unknown authority");
      // The same intermediate by name, once expired: the other one counts.
      const old = await ca.intermediate({
        commonName: "twin",
        notBefore: new Date(Date.now() - 9 * DAY_MS),
        notAfter: new Date(Date.now() - 8 * DAY_MS),
      });
      const leaf = await old.issue({ dns: ["twin"] });
      assertRefused(trust, leaf.cert, "an issuer of the certificate has expired");
      const [der = new Uint8Array()] = derOf(leaf.cert);
      const request = `${ca.directory}/twin.csr`;
      const renewed = `${ca.directory}/twin.pem`;
      const extensions = `${ca.directory}/twin.cnf`;
      await Deno.writeTextFile(extensions, "basicConstraints=critical,CA:TRUE\n");
      await openssl("req", "-new", "-key", old.own.keyPath, "-subj", "/CN=twin", "-out", request);
      const by = ["-CA", ca.path, "-CAkey", ca.own.keyPath, "-extfile", extensions];
      await openssl("x509", "-req", "-in", request, ...by, "-out", renewed);
      const [twin = new Uint8Array()] = derOf(await Deno.readTextFile(renewed));
      const [expired = new Uint8Array()] = derOf(old.pem);
      const options = { purpose: "server", nowMs: Date.now() } as const;
      assertEquals(trust.verify([der, expired, twin], options).subject, "twin");
      assertEquals(trust.verify([der, twin, expired], options).subject, "twin");
    }),
);

Deno.test(
  "Trust.verify() looks at the dates each time",
  OPTIONS,
  () =>
    withCa(async (ca, trust) => {
      const { cert } = await ca.issue({ dns: ["redis"], days: 20 });
      const nowMs = Date.now();
      assertEquals(verify(trust, cert, { nowMs }), "redis");
      assertRefused(trust, cert, "the certificate has expired", { nowMs: nowMs + 21 * DAY_MS });
      assertRefused(trust, cert, "the certificate is not valid yet", { nowMs: nowMs - DAY_MS });
      assertEquals(verify(trust, cert, { nowMs }), "redis");
      const notAfter = new Date(nowMs + 90 * DAY_MS);
      const longer = await ca.issue({
        dns: ["redis"],
        notBefore: new Date(nowMs - DAY_MS),
        notAfter,
      });
      const words = "an issuer of the certificate has expired";
      assertEquals(verify(trust, longer.cert, { nowMs }), "redis");
      assertRefused(trust, longer.cert, words, { nowMs: nowMs + 40 * DAY_MS });
      const early = "an issuer of the certificate is not valid yet";
      assertRefused(trust, longer.cert, early, { nowMs: nowMs - DAY_MS / 2 });
    }),
);

/** What a CA may issue and nobody may trust. */
const REFUSED: readonly (readonly [IssueOptions & { purpose?: Purpose }, words: string])[] = [
  [
    { notBefore: new Date("2020-01-01"), notAfter: new Date("2021-01-01") },
    "the certificate has expired",
  ],
  [
    { notBefore: new Date("2040-01-01"), notAfter: new Date("2041-01-01") },
    "the certificate is not valid yet",
  ],
  [{ usage: "client" }, "the certificate is not for servers"],
  [{ usage: "server", purpose: "client" }, "the certificate is not for clients"],
  [
    { usage: "none", extensions: ["extendedKeyUsage=codeSigning"] },
    "the certificate is not for servers",
  ],
  [{ keyUsage: "keyAgreement" }, "the certificate is not for servers"],
  [{ isCa: true }, "the certificate is that of a CA"],
  [
    { extensions: ["1.2.3.4=critical,DER:0500"] },
    "the certificate cannot be evaluated: it has an unknown critical extension",
  ],
  [
    { extensions: ["nameConstraints=permitted;DNS:example.com"] },
    "the certificate cannot be evaluated: it has name constraints",
  ],
  [
    { newKey: ["-newkey", "rsa:1024"] },
    "the key of the certificate is too short (RSA below 2048 bits)",
  ],
  [
    { newKey: ["-newkey", "ed448"] },
    "the key of the certificate is of a kind that is not supported",
  ],
  [
    { digest: "sha1" },
    "the certificate is signed in a way that is too weak or not supported",
  ],
];

for (const [{ purpose = "server", ...options }, words] of REFUSED) {
  Deno.test(
    `Trust.verify() refuses ${JSON.stringify(options)}: ${words}`,
    OPTIONS,
    () =>
      withCa(async (ca, trust) => {
        const { cert } = await ca.issue({ dns: ["redis"], ...options });
        assertRefused(trust, cert, words, { purpose });
      }),
  );
}

Deno.test(
  "Trust.verify() takes a usage that is not said, or any",
  OPTIONS,
  () =>
    withCa(async (ca, trust) => {
      const open = { usage: "none", keyUsage: "", dns: ["redis"] } as const;
      const any = { ...open, extensions: ["extendedKeyUsage=anyExtendedKeyUsage"] };
      for (const options of [open, any]) {
        const { cert } = await ca.issue(options);
        for (const purpose of ["server", "client"] as const) {
          assertEquals(verify(trust, cert, { purpose }), "redis");
        }
      }
    }),
);

/** What an issuer between a CA and a leaf may be, so that nobody may trust the leaf. */
const REFUSED_ISSUERS: readonly (readonly [IssueOptions & { purpose?: Purpose }, words: string])[] =
  [
    [{ isCa: false }, "an issuer of the certificate is no CA"],
    [{ isCa: false, keyUsage: "" }, "an issuer of the certificate is no CA"],
    [{ keyUsage: "digitalSignature" }, "an issuer of the certificate is no CA"],
    [
      { notBefore: new Date("2020-01-01"), notAfter: new Date("2021-01-01") },
      "an issuer of the certificate has expired",
    ],
    [
      { notBefore: new Date("2040-01-01"), notAfter: new Date("2041-01-01") },
      "an issuer of the certificate is not valid yet",
    ],
    [
      { extensions: ["1.2.3.4=critical,DER:0500"] },
      "the certificate cannot be evaluated: an issuer has an unknown critical extension",
    ],
    [
      { extensions: ["nameConstraints=critical,permitted;DNS:redis"] },
      "the certificate cannot be evaluated: an issuer has name constraints",
    ],
    [
      { extensions: ["extendedKeyUsage=clientAuth"] },
      "an issuer of the certificate is not for servers",
    ],
    [
      { extensions: ["extendedKeyUsage=serverAuth"], purpose: "client" },
      "an issuer of the certificate is not for clients",
    ],
    [
      { newKey: ["-newkey", "rsa:1024"] },
      "an issuer of the certificate has a key that is too weak or not supported",
    ],
    [
      { newKey: ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521"] },
      "an issuer of the certificate has a key that is too weak or not supported",
    ],
    [
      { digest: "sha1" },
      "an issuer of the certificate is signed in a way that is too weak or not supported",
    ],
  ];

for (const [{ purpose = "server", ...options }, words] of REFUSED_ISSUERS) {
  Deno.test(
    `Trust.verify() refuses an issuer with ${JSON.stringify(options)}`,
    OPTIONS,
    () =>
      withCa(async (ca, trust) => {
        const issuer = await ca.intermediate({ ...options });
        const { cert } = await issuer.issue({ dns: ["redis"] });
        assertRefused(trust, cert, words, { purpose });
      }),
  );
}

Deno.test("Trust.verify() asks the same of a CA that is trusted by itself", OPTIONS, async () => {
  const cases: readonly (readonly [IssueOptions, words: string])[] = [
    [{ isCa: false }, "an issuer of the certificate is no CA"],
    [
      { notBefore: new Date("2020-01-01"), notAfter: new Date("2021-01-01") },
      "an issuer of the certificate has expired",
    ],
    [
      { extensions: ["nameConstraints=critical,permitted;DNS:redis"] },
      "the certificate cannot be evaluated: an issuer has name constraints",
    ],
    [{ keyUsage: "cRLSign" }, "an issuer of the certificate is no CA"],
  ];
  for (const [options, words] of cases) {
    using ca = await createCa(options);
    const { cert } = await ca.issue({ dns: ["redis"] });
    assertRefused(Trust.of(ca.pem), cert, words);
  }
  // How it is signed itself does not matter: who trusts it has its key.
  using old = await createCa({ digest: "sha1" });
  const { cert } = await old.issue({ dns: ["redis"] });
  assertEquals(verify(Trust.of(old.pem), cert), "redis");
});

Deno.test("Trust.verify() keeps to the path length of every CA", OPTIONS, async () => {
  using ca = await createCa({ pathLength: 1 });
  const trust = Trust.of(ca.pem);
  const first = await ca.intermediate({ commonName: "first" });
  const second = await first.intermediate({ commonName: "second" });
  assertEquals(verify(trust, (await first.issue({ dns: ["redis"] })).cert), "redis");
  const words = "an issuer of the certificate allows fewer issuers below it";
  assertRefused(trust, (await second.issue({ dns: ["redis"] })).cert, words);
  const last = await ca.intermediate({ commonName: "last", pathLength: 0 });
  assertEquals(verify(trust, (await last.issue({ dns: ["redis"] })).cert), "redis");
  const below = await last.intermediate({ commonName: "below" });
  assertRefused(trust, (await below.issue({ dns: ["redis"] })).cert, words);
});

Deno.test(
  "Trust.verify() refuses what vouches for itself, and what a leaf has signed",
  OPTIONS,
  () =>
    withCa(async (ca, trust) => {
      const own = await selfSigned(ca, { dns: ["redis"] });
      assertRefused(trust, own.cert, "the certificate is self-signed");
      // Also if it is in the list: who wants it trusted makes a CA.
      assertRefused(Trust.of(ca.pem + own.cert), own.cert, "the certificate is self-signed");
      const leaf = await ca.issue({ dns: ["leaf"], commonName: "leaf", keyUsage: "" });
      const forged = await issueBy(leaf, { dns: ["redis"] });
      assertRefused(trust, forged.cert, "an issuer of the certificate is no CA");
      assertRefused(
        Trust.of(ca.pem + leaf.cert),
        forged.cert,
        "an issuer of the certificate is no CA",
      );
      // Of the same name as the CA, and with its certificate behind it: but not signed by it.
      using twin = await createCa();
      const stranger = await twin.issue({ dns: ["redis"] });
      assertRefused(trust, stranger.cert + ca.pem, "signed by an unknown authority");
      assertRefused(trust, stranger.cert + twin.pem, "signed by an unknown authority");
    }),
);

Deno.test(
  "Trust.verify() refuses a certificate that was changed after it was signed",
  OPTIONS,
  () =>
    withCa(async (ca, trust) => {
      const { cert } = await ca.issue({ dns: ["redis-a.example.com"] });
      assertEquals(verify(trust, cert), "redis-a.example.com");
      const [der = new Uint8Array()] = derOf(cert);
      const at = new TextDecoder("latin1").decode(der).indexOf("redis-a");
      der[at + 6] = 0x62;
      const options = { purpose: "server", nowMs: Date.now() } as const;
      const error = assertThrows(() => trust.verify([der], options), TlsError);
      assertEquals(error.message, "signed by an unknown authority");
    }),
);

Deno.test(
  "Trust.verify() takes no chain, too long a chain and garbage for what they are",
  OPTIONS,
  () =>
    withCa(async (ca, trust) => {
      const { cert } = await ca.issue({ dns: ["redis"] });
      const options = { purpose: "server", nowMs: Date.now() } as const;
      assertRefused(trust, "", "no certificate");
      assertRefused(trust, cert.repeat(100), "the chain of the certificate is too long");
      assertThrows(() => trust.verify([new Uint8Array(1)], options), TlsError, "malformed");
      assertThrows(() => Trust.of("nothing"), TlsError, "no certificate");
      assertThrows(
        () => Trust.of("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----"),
        TlsError,
      );
    }),
);

Deno.test("Trust.verify() spends little on a chain of many CAs of one name", OPTIONS, async () => {
  using ca = await createCa({ name: "twin" });
  using mine = await createCa();
  // Each has signed each: all have one key.
  const authorities: string[] = [];
  for (let count = 0; count < 11; count++) {
    const path = `${ca.directory}/twin${count}.pem`;
    const key = ["-key", ca.own.keyPath, "-subj", "/CN=twin"];
    await openssl("req", "-x509", ...key, "-days", "9", "-out", path);
    authorities.push(await Deno.readTextFile(path));
  }
  const { cert } = await ca.issue({ dns: ["redis"] });
  const trust = Trust.of(mine.pem);
  const startMs = performance.now();
  assertRefused(trust, cert + authorities.join(""), "signed by an unknown authority");
  const tookMs = (performance.now() - startMs) / 2;
  // 16 signatures of half a millisecond each; 11! of them would never end.
  assert(tookMs < 500, `${tookMs} ms`);
});

Deno.test(
  "Trust.verify() remembers whom it has verified, for one purpose, and a thousand at most",
  OPTIONS,
  () =>
    withCa(async (ca, trust) => {
      const { cert } = await ca.issue({ dns: ["redis"], usage: "server" });
      const chain = derOf(cert);
      const options = { purpose: "server", nowMs: Date.now() } as const;
      const first = trust.verify(chain, options);
      assert(trust.verify(chain, options) === first);
      assertRefused(trust, cert, "the certificate is not for clients", { purpose: "client" });
      assert(Trust.of(ca.pem).verify(chain, options) !== first);
      // Each of these chains is another one: what stands behind the leaf differs.
      for (let count = 0; count < 1000; count++) {
        trust.verify([...chain, Uint8Array.of(count >> 8, count & 255)], options);
      }
      assert(trust.verify(chain, options) !== first);
      // The same bytes, cut elsewhere, are another chain.
      const [der = new Uint8Array()] = chain;
      assertThrows(() => trust.verify([der.slice(0, 9), der.slice(9)], options), TlsError);
    }),
);

Deno.test(
  "Trust.verify() throws a TlsError or verifies, whatever the chain",
  OPTIONS,
  () =>
    withCa(async (ca, trust) => {
      const intermediate = await ca.intermediate({});
      const chain = derOf((await intermediate.issue({ dns: ["redis"] })).cert);
      const random = new Random();
      const options = { purpose: "server", nowMs: Date.now() } as const;
      for (let round = 0; round < Number(Deno.env.get("FUZZ_CASES") ?? 1000); round++) {
        const sent = chain.map((der) => der.slice());
        const der = random.pick(sent);
        der[random.below(der.length)] = random.below(256);
        try {
          const leaf = trust.verify(random.below(9) === 0 ? random.shuffled(sent) : sent, options);
          // What the CA has not signed may differ in no byte but in those that nobody has signed.
          assertEquals(leaf.names.dns, ["redis"], `SEED=${random.seed} round ${round}`);
        } catch (error) {
          assert(error instanceof TlsError, `SEED=${random.seed} round ${round}: ${error}`);
        }
      }
    }),
);

Deno.test(
  "Trust.roots() judges the leaf, leaves its issuers to TLS, and trusts no client",
  OPTIONS,
  () =>
    withCa(async (ca) => {
      const trust = Trust.roots();
      assertEquals(trust.pem, undefined);
      const good: Issued = await ca.issue({ dns: ["redis"] });
      assertEquals(verify(trust, good.cert), "redis");
      assertRefused(trust, good.cert, "signed by an unknown authority", { purpose: "client" });
      const wrong = await ca.issue({ dns: ["redis"], usage: "client" });
      assertRefused(trust, wrong.cert, "the certificate is not for servers");
    }),
);
