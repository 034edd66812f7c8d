import { assert, assertEquals, assertThrows } from "@std/assert";
import { type Certificate, hasHost, parseCertificate } from "../../src/net/certificate.ts";
import { TlsError } from "../../src/net/tls_error.ts";
import { type Ca, createCa, derOf, type IssueOptions } from "../helpers/certificates.ts";
import { Random } from "../helpers/mod.ts";
import { needs } from "../helpers/needs.ts";

const OPTIONS = { ...needs("openssl"), sanitizeOps: true, sanitizeResources: true };

/** Issues one and parses it. */
async function issued(ca: Ca, options: IssueOptions = {}): Promise<Certificate> {
  return parseCertificate(leafOf((await ca.issue(options)).cert));
}

function leafOf(pem: string): Uint8Array {
  const [leaf] = derOf(pem);
  assert(leaf !== undefined);
  return leaf;
}

/** A subjectAltName of raw names: their tags and their bytes. */
function rawNames(...names: readonly (readonly [tag: number, text: string])[]): IssueOptions {
  const bytes = names.flatMap(([tag, text]) => [
    tag,
    text.length,
    ...Array.from(text, (character) => character.charCodeAt(0)),
  ]);
  const length = bytes.length < 128 ? [bytes.length] : [0x81, bytes.length];
  const hex = [0x30, ...length, ...bytes].map((byte) => byte.toString(16).padStart(2, "0"));
  return { extensions: [`subjectAltName=DER:${hex.join("")}`] };
}

Deno.test("parseCertificate() reads names, dates and usages", OPTIONS, async () => {
  using ca = await createCa();
  const certificate = await issued(ca, {
    dns: ["Redis.Example.com.", "*.example.com"],
    ips: ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.2"],
    uris: ["spiffe://example.com/a,b"],
    usage: "server",
    notBefore: new Date("2026-01-02T03:04:05Z"),
    notAfter: new Date("2051-01-02T03:04:05Z"),
  });
  assertEquals(certificate.names, {
    dns: ["redis.example.com", "*.example.com"],
    ips: ["192.0.2.1", "2001:db8::1", "192.0.2.2"],
    uris: ["spiffe://example.com/a,b"],
  });
  assertEquals(certificate.subject, "redis.example.com");
  assertEquals(certificate.notBeforeMs, Date.parse("2026-01-02T03:04:05Z"));
  assertEquals(certificate.notAfterMs, Date.parse("2051-01-02T03:04:05Z"));
  assertEquals(certificate.isCa, false);
  assertEquals(certificate.keyUsage, { digitalSignature: true, keyCertSign: false });
  assertEquals(certificate.extendedKeyUsage, ["2b06010505070301"]);
  assertEquals(certificate.hasUnknownCritical, false);
  assertEquals(certificate.hasNameConstraints, false);
  const authority = parseCertificate(leafOf(ca.pem));
  assertEquals(certificate.issuerName, authority.subjectName);
  assertEquals(authority.isCa, true);
  assertEquals(authority.pathLength, undefined);
  assertEquals(authority.keyUsage, { digitalSignature: false, keyCertSign: true });
  assertEquals(authority.extendedKeyUsage, undefined);
});

Deno.test(
  "parseCertificate() tells what limits an authority, and what can't be evaluated",
  OPTIONS,
  async () => {
    using ca = await createCa();
    const none = await issued(ca, { isCa: true, pathLength: 0, keyUsage: "" });
    assertEquals([none.pathLength, none.keyUsage], [0, undefined]);
    const some = await issued(ca, { isCa: true, pathLength: 300 });
    assertEquals(some.pathLength, 300);
    const unknown = await issued(ca, { extensions: ["1.2.3.4=critical,DER:0500"] });
    assertEquals(unknown.hasUnknownCritical, true);
    const harmless = await issued(ca, { extensions: ["1.2.3.4=DER:0500"] });
    assertEquals(harmless.hasUnknownCritical, false);
    const constrained = await issued(ca, {
      isCa: true,
      extensions: ["nameConstraints=critical,permitted;DNS:example.com"],
    });
    assertEquals([constrained.hasNameConstraints, constrained.hasUnknownCritical], [true, false]);
  },
);

Deno.test("parseCertificate() takes the names of people for people alone", OPTIONS, async () => {
  using ca = await createCa();
  const common = await issued(ca, { commonName: "redis" });
  assertEquals(common.names, { dns: [], ips: [], uris: [] });
  assertEquals(common.subject, "redis");
  assertEquals(hasHost(common, "redis"), false);
  const hostile = await issued(ca, { commonName: 'a "b"\u202e' });
  assertEquals(hostile.subject, String.raw`"a \"b\"\u202e"`);
  const uri = await issued(ca, { commonName: "redis", uris: ["spiffe://example.com/redis"] });
  assertEquals(uri.subject, "spiffe://example.com/redis");
});

Deno.test("parseCertificate() drops names that could be taken for others", OPTIONS, async () => {
  using ca = await createCa();
  const certificate = await issued(
    ca,
    rawNames(
      [0x82, "redis\0.evil.invalid"],
      [0x82, "red\xefs"],
      [0x82, "a b"],
      [0x82, ""],
      [0x82, "redis, DNS:other"],
      [0x82, "a,DNS:b"],
      [0x86, "spiffe://a\0"],
      [0x86, "spiffe://a"],
      [0x87, "\x7f\0\0\x01"],
      [0x87, "\x7f\0\0\x01\xff\0\0\0"],
      [0x87, "\x7f\0\0"],
      [0x81, "mail@example.com"],
      [0xa4, "\x30\0"],
    ),
  );
  assertEquals(certificate.names, {
    dns: ["a,dns:b"],
    ips: ["127.0.0.1"],
    uris: ["spiffe://a"],
  });
  for (const host of ["redis", "other", "a", "b", ""]) {
    assertEquals(hasHost(certificate, host), false);
  }
});

Deno.test(
  "parseCertificate() refuses what is malformed, doubled, or of an old version",
  OPTIONS,
  async () => {
    using ca = await createCa();
    const der = leafOf((await ca.issue({ dns: ["redis"] })).cert);
    for (
      const broken of [new Uint8Array(), der.slice(1), der.slice(0, -1), Uint8Array.of(...der, 0)]
    ) {
      assertThrows(() => parseCertificate(broken), TlsError, "malformed");
    }
    assertThrows(() => parseCertificate(new Uint8Array(10_000_000)), TlsError, "malformed");
    assertThrows(
      () => parseCertificate(new TextEncoder().encode(ca.pem)),
      TlsError,
      "malformed",
    );
    // 1.2.3.4 twice: of two names with two values, each reader would believe another.
    const twice = leafOf(
      (await ca.issue({ extensions: ["1.2.3.4=DER:0500", "1.2.3.5=DER:0500"] })).cert,
    );
    const at = twice.findLastIndex((_, index) =>
      twice[index] === 0x2a && twice[index + 1] === 3 && twice[index + 2] === 5
    );
    twice[at + 2] = 4;
    assertThrows(() => parseCertificate(twice), TlsError, "malformed");
    // The version: [0] { INTEGER 2 }.
    const old = der.slice();
    old[old.findIndex((byte, index) => byte === 0xa0 && old[index + 3] === 1) + 4] = 1;
    assertThrows(() => parseCertificate(old), TlsError, "version 3");
  },
);

Deno.test(
  "parseCertificate() throws a TlsError or reads, whatever the bytes",
  OPTIONS,
  async () => {
    using ca = await createCa();
    const samples = [
      leafOf(ca.pem),
      leafOf(
        (await ca.issue({ dns: ["a.example.com", "*.b"], ips: ["::1"], uris: ["x://y"] })).cert,
      ),
      leafOf((await ca.issue({ rsa: true, isCa: true, pathLength: 3 })).cert),
      leafOf((await ca.issue({ newKey: ["-newkey", "ed25519"], notAfter: new Date(3e12) })).cert),
    ];
    const random = new Random();
    const counts = { read: 0, refused: 0 };
    for (let round = 0; round < Number(Deno.env.get("FUZZ_CASES") ?? 20_000); round++) {
      const der = mutated(random.pick(samples), random);
      try {
        const certificate = parseCertificate(der);
        hasHost(certificate, "a.example.com");
        counts.read++;
      } catch (error) {
        assert(error instanceof TlsError, `SEED=${random.seed} round ${round}: ${error}`);
        counts.refused++;
      }
    }
    assert(counts.read > 100 && counts.refused > 100, JSON.stringify(counts));
  },
);

function mutated(sample: Uint8Array, random: Random): Uint8Array {
  let der: Uint8Array = sample.slice();
  for (let count = random.below(3); count >= 0; count--) {
    const at = random.below(der.length);
    const value = random.pick([0, 1, 0x7f, 0x80, 0x81, 0x82, 0x84, 0xff, random.below(256)]);
    const kind = random.below(10);
    if (kind < 7) der[at] = value;
    else if (kind < 8) der = Uint8Array.of(...der.slice(0, at), value, ...der.slice(at));
    else if (kind < 9) der = Uint8Array.of(...der.slice(0, at), ...der.slice(at + 1));
    else der = der.slice(0, at + 1);
  }
  return der;
}

Deno.test("hasHost() takes a name for a name, and an address for an address", OPTIONS, async () => {
  using ca = await createCa();
  const certificate = await issued(ca, {
    dns: ["redis", "Db.Example.com", "*.example.com", "*.org", "a*.example.net", "*", "192.0.2.7"],
    ips: ["192.0.2.1", "2001:db8::1"],
  });
  const cases: readonly (readonly [host: string, isFor: boolean])[] = [
    ["redis", true],
    ["REDIS.", true],
    ["redis2", false],
    ["db.example.com", true],
    ["any.example.com", true],
    ["ANY.EXAMPLE.COM.", true],
    ["two.labels.example.com", false],
    ["example.com", false],
    [".example.com", false],
    ["*.example.com", false],
    ["example.org", false],
    ["a.example.org", false],
    ["ab.example.net", false],
    ["a*.example.net", false],
    ["*", false],
    ["other", false],
    ["", false],
    [".", false],
    ["192.0.2.1", true],
    ["::ffff:192.0.2.1", true],
    ["::ffff:c000:201", true],
    ["192.0.2.2", false],
    ["192.0.2.7", false],
    ["2001:DB8:0::1", true],
    ["2001:db8::2", false],
    ["2001:db8::1%eth0", true],
  ];
  for (const [host, isFor] of cases) assertEquals(hasHost(certificate, host), isFor, host);
});
