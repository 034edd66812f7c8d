import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { parseNamePatterns } from "../../src/base/name_patterns.ts";
import { TimeLimit } from "../../src/base/time.ts";
import { DEFAULT_SETTINGS } from "../../src/config/settings.ts";
import type { Trust } from "../../src/net/trust.ts";
import { createCa, type Issued, openssl } from "../helpers/certificates.ts";
import { createImpostors, type Impostor, versionOne } from "../helpers/impostors.ts";
import { readText, startEcho, until, type Upstream, within, writeAll } from "../helpers/mod.ts";
import { needs, TLS } from "../helpers/needs.ts";
import {
  createEngines,
  credentialsOf,
  errorsOf,
  type Identity,
  sClient,
  serveTls,
  type TlsForwarder,
  type TlsForwarderOptions,
} from "../helpers/tls.ts";
import { startServer } from "../helpers/tls_peers.ts";
import { transportsOf } from "../helpers/tls_routes.ts";

const NEEDS = needs(TLS, "openssl");
const CLIENT = { dns: ["client.example.com"] };
const SERVER = { dns: ["localhost"] };

/** What the near side says of a far one that has checked its certificate after the handshake. */
const NOT_ACCEPTED =
  "the upstream closed the connection after the handshake: it may not accept this ambassador";
/** What the far side says of a near one that has gone away over its certificate. */
const LEFT =
  "the client closed the connection during the handshake: it may not accept this ambassador";
const NOT_TRUSTED =
  "the client does not trust this ambassador's certificate: an authority unknown to it signed it";

/** The service's side: TLS in front of a plain upstream. */
function startFar(
  { address: { hostname, port } }: Upstream,
  identity: Identity,
  options: Partial<TlsForwarderOptions> = {},
): Promise<TlsForwarder> {
  const target = { protocol: "tcp", hostname, port } as const;
  return serveTls(target, { ...options, listen: "tls", identity });
}

/** The consumer's side: plain in front of TLS at the far side, which it knows as `hostname`. */
function startNear(
  { address: { port } }: Pick<TlsForwarder, "address">,
  identity: Identity,
  { hostname = "localhost", ...settings }: TlsForwarderOptions["settings"] & {
    readonly hostname?: string;
  } = {},
): Promise<TlsForwarder> {
  const target = { protocol: "tls", hostname, port } as const;
  return serveTls(target, { listen: "tcp", identity, settings });
}

/** Whether an echo at the end of it all answers. */
async function isServed({ address }: TlsForwarder): Promise<boolean> {
  using client = await Deno.connect(address);
  try {
    await writeAll(client, "ping");
    await client.closeWrite();
    return await readText(client) === "ping";
  } catch {
    return false;
  }
}

/** Waits until the newest error that a forwarder has logged is one of these. */
async function untilSays({ lines }: TlsForwarder, ...expected: string[]): Promise<void> {
  const last = (): string => errorsOf(lines).at(-1) ?? "nothing";
  try {
    await until(() => expected.includes(last()), "the log says why", 5000);
  } catch (cause) {
    throw new Error(`the log says: ${last()}; not: ${expected.join(" | ")}`, { cause });
  }
}

Deno.test("a TLS listener refuses a client, and does not dial for it,", NEEDS, async (t) => {
  using ca = await createCa();
  using other = await createCa({ name: "another CA" });
  await using upstream = startEcho();
  await using far = await startFar(upstream, { own: await ca.issue(SERVER), ca: ca.pem });
  await using near = await startNear(far, { ca: ca.pem });
  for (const { name, own, asClient } of await createImpostors(ca, other, CLIENT)) {
    await t.step(name, async () => {
      await near.use({ own, ca: ca.pem });
      assert(!await isServed(near));
      await untilSays(far, asClient);
      const unasked = "the upstream needs a certificate, and this ambassador has none (--tls-cert)";
      await untilSays(near, own === undefined ? unasked : NOT_ACCEPTED);
      assertEquals(upstream.clients, 0);
    });
  }
  await near.use({ own: await ca.issue(CLIENT), ca: ca.pem });
  assert(await isServed(near));
  assertEquals(upstream.clients, 1);
});

Deno.test("a CA file with a certificate of X.509 version 1 is an error", NEEDS, async () => {
  using ca = await createCa();
  const { cert } = await versionOne(ca);
  await assertRejects(() => credentialsOf({ ca: ca.pem + cert }), Error, "of an old kind");
});

Deno.test(
  "a TLS listener refuses a client with a certificate of version 1 that the library has as a root",
  NEEDS,
  async () => {
    using ca = await createCa();
    await using upstream = startEcho();
    const stolen = await versionOne(ca);
    // The CA file can't hold it, but were it there: the library would not even check for its key.
    const credentials = await credentialsOf({ own: await ca.issue(SERVER), ca: ca.pem });
    const { clientTrust } = credentials;
    assert(clientTrust !== undefined);
    const trust = {
      pem: ca.pem + stolen.cert,
      anchors: clientTrust.anchors,
      verify: clientTrust.verify.bind(clientTrust),
    } as unknown as Trust;
    await using far = await startFar(upstream, {}, {
      credentials: { ...credentials, clientTrust: trust },
    });
    await using near = await startNear(far, { own: stolen, ca: ca.pem });
    assert(!await isServed(near));
    await untilSays(far, "the certificate is of an old kind (not X.509 version 3)");
    assertEquals(upstream.clients, 0);
  },
);

Deno.test("a TLS listener lets in whom its CA vouches for:", NEEDS, async (t) => {
  using ca = await createCa();
  await using upstream = startEcho();
  await using far = await startFar(upstream, { own: await ca.issue(SERVER), ca: ca.pem });
  await using near = await startNear(far, { ca: ca.pem });
  const intermediate = await ca.intermediate();
  const welcome: Record<string, Issued> = {
    "a client with the usage of clients alone": await ca.issue({ ...CLIENT, usage: "client" }),
    "a client whose certificate has no usages": await ca.issue({ ...CLIENT, usage: "none" }),
    "a client that sends its intermediate along": await intermediate.issue(CLIENT),
    "a client two intermediates below": await (await intermediate.intermediate()).issue(CLIENT),
    "a client with an RSA key": await ca.issue({ ...CLIENT, rsa: true }),
    "a client with an Ed25519 key": await ca.issue({ ...CLIENT, newKey: ["-newkey", "ed25519"] }),
    "a client without a name": await ca.issue(),
  };
  for (const [name, own] of Object.entries(welcome)) {
    await t.step(name, async () => {
      await near.use({ own, ca: ca.pem });
      assert(await isServed(near), errorsOf(far.lines).at(-1));
    });
  }
  assertEquals(upstream.clients, Object.keys(welcome).length);
});

Deno.test(
  "a TLS listener asks nobody for a certificate with --tls-client none",
  NEEDS,
  async () => {
    using ca = await createCa();
    await using upstream = startEcho();
    const own = await ca.issue(SERVER);
    await using far = await startFar(upstream, { own }, { tlsClient: "none" });
    await using near = await startNear(far, { ca: ca.pem });
    assert(await isServed(near));
  },
);

Deno.test("--tls-allow lets in whom it names alone:", NEEDS, async (t) => {
  using ca = await createCa();
  await using upstream = startEcho();
  const names = "redis.example.com,*.web.example.com,spiffe://example.com/ns/web";
  await using far = await startFar(upstream, { own: await ca.issue(SERVER), ca: ca.pem }, {
    settings: { tlsAllow: parseNamePatterns(names) },
  });
  await using near = await startNear(far, { ca: ca.pem });
  const uri = "spiffe://example.com/ns/web";
  const cases: readonly (readonly [string, boolean, Parameters<typeof ca.issue>[0]])[] = [
    ["a DNS name", true, { dns: ["redis.example.com"] }],
    ["a DNS name in capitals", true, { dns: ["REDIS.Example.com"] }],
    ["a DNS name beside others", true, { dns: ["a.example.com", "redis.example.com"] }],
    ["a name that a wildcard stands for", true, { dns: ["a.web.example.com"] }],
    ["a URI", true, { uris: [uri] }],
    ["not another DNS name", false, { dns: ["other.example.com"] }],
    ["not two labels for a wildcard", false, { dns: ["a.b.web.example.com"] }],
    ["not no label for a wildcard", false, { dns: ["web.example.com"] }],
    ["not a certificate for a wildcard", false, { dns: ["*.example.com"] }],
    ["not another URI", false, { uris: [`${uri}/more`] }],
    ["not a URI as a DNS name", false, { dns: [uri] }],
    ["not a DNS name as a URI", false, { uris: ["redis.example.com"] }],
    ["not a common name", false, { commonName: "redis.example.com" }],
    ["not a common name beside another name", false, {
      commonName: "redis.example.com",
      dns: ["other.example.com"],
    }],
    ["not a name with another one in it", false, {
      dns: ["other.example.com, DNS:redis.example.com"],
    }],
    ["not a name with a NUL after the one that is meant", false, {
      // DNS:redis.example.com\0.invalid
      extensions: [
        "subjectAltName = DER:301c821a72656469732e6578616d706c652e636f6d00" +
        "2e696e76616c6964",
      ],
    }],
    ["not an IP address", false, { ips: ["127.0.0.1"] }],
  ];
  let served = 0;
  for (const [name, isWelcome, options] of cases) {
    await t.step(name, async () => {
      await near.use({ own: await ca.issue(options), ca: ca.pem });
      assertEquals(await isServed(near), isWelcome, errorsOf(far.lines).at(-1));
      if (isWelcome) served++;
      else {
        await until(
          () => /^--tls-allow/.test(errorsOf(far.lines).at(-1) ?? ""),
          "the log says why",
        );
        await untilSays(near, NOT_ACCEPTED);
      }
      assertEquals(upstream.clients, served);
      (far.lines as string[]).length = 0;
    });
  }
});

Deno.test("connection_closed calls a client by the name that has let it in:", NEEDS, async (t) => {
  using ca = await createCa();
  await using upstream = startEcho();
  const dns = ["innocent.example.com", "admin.example.com"];
  const cases: readonly (readonly [string, string, Parameters<typeof ca.issue>[0]])[] = [
    ["admin.example.com", "admin.example.com", { dns }],
    ["all", "innocent.example.com", { dns }],
    ["all", "CN=dba", { commonName: "dba" }],
  ];
  for (const [allow, peer, options] of cases) {
    await t.step(`--tls-allow ${allow}: ${peer}`, async () => {
      await using far = await startFar(upstream, { own: await ca.issue(SERVER), ca: ca.pem }, {
        settings: { tlsAllow: parseNamePatterns(allow) },
      });
      await using near = await startNear(far, { own: await ca.issue(options), ca: ca.pem });
      assert(await isServed(near), errorsOf(far.lines).at(-1));
      await until(() => far.lines.some((line) => line.includes("connection_closed")), "its end");
      const line = far.lines.find((line) => line.includes("connection_closed")) ?? "";
      assertEquals(/ peer="?([^" ]*)/.exec(line)?.[1], peer, line);
    });
  }
});

Deno.test("a TLS target is refused, and sent nothing,", NEEDS, async (t) => {
  using ca = await createCa();
  using other = await createCa({ name: "another CA" });
  await using upstream = startEcho();
  await using far = await startFar(upstream, { own: await ca.issue(SERVER), ca: ca.pem });
  const own = await ca.issue(CLIENT);
  await using near = await startNear(far, { own, ca: ca.pem });
  // A session that was begun with a good certificate helps nobody.
  assert(await isServed(near));
  const named: Impostor[] = [{
    name: "with a name in its common name alone",
    own: await ca.issue({ commonName: "localhost" }),
    asClient: "",
    asUpstream: 'not for the name "localhost": the certificate has no usable name (subjectAltName)',
  }, {
    name: "with another name",
    own: await ca.issue({ dns: ["other.example.com"] }),
    asClient: "",
    asUpstream: 'not for the name "localhost": the certificate has "other.example.com"',
  }, {
    name: "with the usage of a client alone",
    own: await ca.issue({ ...SERVER, usage: "client" }),
    asClient: "",
    asUpstream: "the certificate is not for servers",
  }];
  for (const { name, own, asUpstream } of [...await createImpostors(ca, other, SERVER), ...named]) {
    if (asUpstream === undefined) continue;
    await t.step(name, async () => {
      await far.use({ own, ca: ca.pem });
      assert(!await isServed(near));
      await untilSays(near, asUpstream);
      await untilSays(far, LEFT, NOT_TRUSTED);
      assertEquals(upstream.clients, 1);
    });
  }
});

Deno.test("a TLS target must have the name that is wanted:", NEEDS, async (t) => {
  using ca = await createCa();
  await using upstream = startEcho();
  const own = await ca.issue(CLIENT);
  await using far = await startFar(upstream, { ca: ca.pem });
  const ip = "127.0.0.1";
  const cases: readonly {
    readonly says: string;
    readonly has: Parameters<typeof ca.issue>[0];
    readonly hostname: string;
    readonly tlsName?: string;
    readonly isGood: boolean;
  }[] = [
    { says: "its host", has: SERVER, hostname: "localhost", isGood: true },
    { says: "its address", has: { ips: [ip] }, hostname: ip, isGood: true },
    { says: "not an address as a DNS name", has: { dns: [ip] }, hostname: ip, isGood: false },
    { says: "not an address as a URI", has: { uris: [ip] }, hostname: ip, isGood: false },
    { says: "not another address", has: { ips: ["127.0.0.2"] }, hostname: ip, isGood: false },
    { says: "not a name for an address", has: SERVER, hostname: ip, isGood: false },
    {
      says: "not an address for a name",
      has: { ips: [ip] },
      hostname: "localhost",
      isGood: false,
    },
    {
      says: "--tls-name, whatever its host is",
      has: { dns: ["redis.example.com"] },
      hostname: ip,
      tlsName: "redis.example.com",
      isGood: true,
    },
    {
      says: "--tls-name, and its host is not enough",
      has: SERVER,
      hostname: "localhost",
      tlsName: "redis.example.com",
      isGood: false,
    },
    {
      says: "an address by --tls-name",
      has: { ips: ["192.0.2.1"] },
      hostname: ip,
      tlsName: "192.0.2.1",
      isGood: true,
    },
    {
      says: "a wildcard for one label",
      has: { dns: ["*.example.com"] },
      hostname: ip,
      tlsName: "redis.example.com",
      isGood: true,
    },
    {
      says: "not a wildcard for two labels",
      has: { dns: ["*.example.com"] },
      hostname: ip,
      tlsName: "a.redis.example.com",
      isGood: false,
    },
    {
      says: "not a wildcard for none",
      has: { dns: ["*.example.com"] },
      hostname: ip,
      tlsName: "example.com",
      isGood: false,
    },
    {
      says: "not a wildcard over a whole domain",
      has: { dns: ["*.com"] },
      hostname: ip,
      tlsName: "example.com",
      isGood: false,
    },
    {
      says: "not a wildcard for a part of a label",
      has: { dns: ["r*.example.com"] },
      hostname: ip,
      tlsName: "redis.example.com",
      isGood: false,
    },
  ];
  let served = 0;
  for (const { says, has, hostname, tlsName, isGood } of cases) {
    await t.step(says, async () => {
      await far.use({ own: await ca.issue(has), ca: ca.pem });
      const settings = tlsName === undefined ? {} : { tlsName };
      await using near = await startNear(far, { own, ca: ca.pem }, { hostname, ...settings });
      assertEquals(await isServed(near), isGood, errorsOf(near.lines).at(-1));
      if (isGood) served++;
      else {
        const [error = ""] = errorsOf(near.lines);
        assertStringIncludes(error, `not for the name "${tlsName ?? hostname}"`);
      }
      assertEquals(upstream.clients, served);
    });
  }
});

Deno.test("a TLS target's intermediates are taken from what it sends", NEEDS, async () => {
  using ca = await createCa();
  await using upstream = startEcho();
  const own = await (await (await ca.intermediate()).intermediate()).issue(SERVER);
  await using far = await startFar(upstream, { own, ca: ca.pem });
  await using near = await startNear(far, { own: await ca.issue(CLIENT), ca: ca.pem });
  assert(await isServed(near));
});

Deno.test("a TLS target is asked for by its name, and not by its address", NEEDS, async () => {
  using ca = await createCa();
  for (
    const [hostname, tlsName, asked] of [
      ["127.0.0.1", "redis.example.com", "redis.example.com"],
      ["localhost", undefined, "localhost"],
      ["127.0.0.1", undefined, undefined],
    ] as const
  ) {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const settings = tlsName === undefined ? {} : { tlsName };
    const address = listener.addr;
    await using near = await startNear({ address }, { ca: ca.pem }, { hostname, ...settings });
    using _client = await Deno.connect(near.address);
    using upstream = await within(listener.accept(), "the ambassador");
    const hello = new Uint8Array(4096);
    const count = await within(upstream.read(hello), "a ClientHello") ?? 0;
    assertEquals(serverNameOf(hello.subarray(0, count)), asked);
  }
});

/** The name in the extension server_name of a ClientHello in one record (RFC 8446, RFC 6066). */
function serverNameOf(record: Uint8Array): string | undefined {
  const view = new DataView(record.buffer, record.byteOffset, record.length);
  let at = 5 + 4 + 2 + 32;
  at += 1 + view.getUint8(at);
  at += 2 + view.getUint16(at);
  at += 1 + view.getUint8(at);
  const end = at + 2 + view.getUint16(at);
  for (at += 2; at < end; at += 4 + view.getUint16(at + 2)) {
    if (view.getUint16(at) !== 0) continue;
    const length = view.getUint16(at + 7);
    return new TextDecoder().decode(record.subarray(at + 9, at + 9 + length));
  }
  return undefined;
}

Deno.test(
  "a TLS target that no root of Deno's vouches for is refused without a CA of one's own",
  NEEDS,
  async () => {
    using ca = await createCa();
    await using upstream = startEcho();
    await using far = await startFar(upstream, { own: await ca.issue(SERVER), ca: ca.pem });
    await using near = await startNear(far, { own: await ca.issue(CLIENT) });
    assert(!await isServed(near));
    await untilSays(near, "signed by an unknown authority");
    assertEquals(upstream.clients, 0);
  },
);

Deno.test("a CA for upstreams is none for clients, and the reverse", NEEDS, async () => {
  using upstreams = await createCa({ name: "a CA for upstreams" });
  using clients = await createCa({ name: "a CA for clients" });
  await using upstream = startEcho();
  const trust = { ca: upstreams.pem, clientCa: clients.pem };
  await using far = await startFar(upstream, { ...trust, own: await upstreams.issue(SERVER) });
  await using near = await startNear(far, { ...trust, own: await upstreams.issue(CLIENT) });
  assert(!await isServed(near));
  await untilSays(far, "signed by an unknown authority");
  assertEquals(upstream.clients, 0);
  await far.use({ ...trust, own: await clients.issue(SERVER) });
  await near.use({ ...trust, own: await clients.issue(CLIENT) });
  assert(!await isServed(near));
  await untilSays(near, "signed by an unknown authority");
  assertEquals(upstream.clients, 0);
  await far.use({ ...trust, own: await upstreams.issue(SERVER) });
  assert(await isServed(near));
});

Deno.test(
  "a client is refused once its CA is trusted no more, and its connection goes on",
  NEEDS,
  async () => {
    using ca = await createCa();
    using next = await createCa({ name: "the next CA" });
    await using upstream = startEcho();
    const own = await ca.issue(SERVER);
    await using far = await startFar(upstream, { own, ca: ca.pem });
    await using near = await startNear(far, { own: await ca.issue(CLIENT), ca: ca.pem });
    using open = await Deno.connect(near.address);
    await writeAll(open, "begun ");
    await until(() => upstream.clients === 1, "the first client is served");
    await far.use({ own, ca: next.pem });
    assert(!await isServed(near));
    await untilSays(far, "signed by an unknown authority");
    assertEquals(upstream.clients, 1);
    await writeAll(open, "and ended");
    await open.closeWrite();
    assertEquals(await readText(open), "begun and ended");
    await near.use({ own: await next.issue(CLIENT), ca: ca.pem });
    assert(await isServed(near));
  },
);

Deno.test("a TLS target is refused once its CA is trusted no more", NEEDS, async () => {
  using ca = await createCa();
  using next = await createCa({ name: "the next CA" });
  await using upstream = startEcho();
  const own = await ca.issue(CLIENT);
  await using far = await startFar(upstream, { own: await ca.issue(SERVER), ca: ca.pem });
  await using near = await startNear(far, { own, ca: ca.pem });
  assert(await isServed(near));
  await near.use({ own, ca: next.pem });
  assert(!await isServed(near));
  await untilSays(near, "signed by an unknown authority");
  assertEquals(upstream.clients, 1);
});

Deno.test(
  "a client is refused if its CA is dropped in the middle of its handshake",
  NEEDS,
  async () => {
    using ca = await createCa();
    using next = await createCa({ name: "the next CA" });
    await using upstream = startEcho();
    const own = await ca.issue(SERVER);
    for (const isDropped of [false, true]) {
      const before = upstream.clients;
      await using far = await startFar(upstream, { own, ca: ca.pem });
      using engines = await createEngines(ca);
      const { client } = engines;
      using tcp = await Deno.connect(far.address);
      client.start();
      await writeAll(tcp, client.takeOutput());
      const buffer = new Uint8Array(16_384);
      while (!client.isEstablished) {
        const count = await within(tcp.read(buffer), "the server's part of the handshake");
        client.receive(buffer.subarray(0, count ?? 0));
      }
      if (isDropped) await far.use({ own, ca: next.pem });
      client.write(new TextEncoder().encode("ping"));
      client.end();
      await writeAll(tcp, client.takeOutput());
      await until(
        () => far.lines.some((line) => line.includes("connection_closed")),
        "the client is done",
      );
      assertEquals(upstream.clients - before, isDropped ? 0 : 1);
      if (isDropped) assertEquals(errorsOf(far.lines), ["signed by an unknown authority"]);
    }
  },
);

for (const version of ["-tls1_2", "-tls1_3"]) {
  Deno.test(`a session ticket (${version}) saves nobody from being verified:`, NEEDS, async (t) => {
    using ca = await createCa();
    using other = await createCa({ name: "another CA" });
    const own = await ca.issue(SERVER);
    const client = await ca.issue(CLIENT);
    await using upstream = startEcho();
    await using closed = startEcho();
    await using far = await startFar(upstream, { own, ca: ca.pem });
    const session = `${ca.directory}/session`;
    const shown = ["-cert", client.certPath, "-key", client.keyPath];

    async function getTicket(from: TlsForwarder, args: readonly string[] = shown): Promise<void> {
      await Deno.remove(session).catch(() => {});
      const { output, isServed } = await sClient(from.address, [
        version,
        ...args,
        "-sess_out",
        session,
      ]);
      assert(isServed, output);
      assertStringIncludes(output, "New, TLSv1");
      assertMatch(await openssl("sess_id", "-in", session, "-text", "-noout"), /SSL-Session/);
    }
    function useTicket(at: TlsForwarder): ReturnType<typeof sClient> {
      return sClient(at.address, [version, "-sess_in", session]);
    }

    await t.step("who is still trusted is served", async () => {
      await getTicket(far);
      const { output, isServed } = await useTicket(far);
      assert(isServed, output);
      assertStringIncludes(output, "Reused, TLSv1");
    });
    await t.step("a ticket of one listener is no use at one that trusts others", async () => {
      await using elsewhere = await startFar(closed, { own, ca: other.pem });
      await getTicket(far);
      assert(!(await useTicket(elsewhere)).isServed);
      await untilSays(elsewhere, "signed by an unknown authority");
      assertEquals(closed.clients, 0);
    });
    await t.step("a ticket of one listener is no use at one that lets in other names", async () => {
      const tlsAllow = parseNamePatterns("other.example.com");
      await using elsewhere = await startFar(closed, { own, ca: ca.pem }, {
        settings: { tlsAllow },
      });
      await getTicket(far);
      assert(!(await useTicket(elsewhere)).isServed);
      await untilSays(elsewhere, '--tls-allow does not have the client: "client.example.com"');
      assertEquals(closed.clients, 0);
    });
    await t.step("a ticket got without a certificate is no use where one is needed", async () => {
      await using open = await startFar(upstream, { own }, { tlsClient: "none" });
      await getTicket(open, []);
      await using elsewhere = await startFar(closed, { own, ca: ca.pem });
      assert(!(await useTicket(elsewhere)).isServed);
      await untilSays(elsewhere, "the client sent no certificate");
      assertEquals(closed.clients, 0);
    });
    await t.step("a ticket is no use once its CA is trusted no more", async () => {
      await using changing = await startFar(closed, { own, ca: ca.pem });
      await getTicket(changing);
      assertEquals(closed.clients, 1);
      await changing.use({ own, ca: other.pem });
      assert(!(await useTicket(changing)).isServed);
      await untilSays(changing, "signed by an unknown authority");
      assertEquals(closed.clients, 1);
    });
    await t.step("a ticket outlives no certificate", async () => {
      const brief = await ca.issue({
        ...CLIENT,
        notBefore: new Date(Date.now() - 60_000),
        notAfter: new Date(Date.now() + 4000),
      });
      await using short = await startFar(closed, { own, ca: ca.pem });
      const before = closed.clients;
      await getTicket(short, ["-cert", brief.certPath, "-key", brief.keyPath]);
      assertEquals(closed.clients - before, 1);
      await until(async () => !(await useTicket(short)).isServed, "the certificate has expired");
      await untilSays(short, "the certificate has expired");
      const refused = closed.clients;
      assert(!(await useTicket(short)).isServed);
      assertEquals(closed.clients, refused);
    });
  });
}

Deno.test("a TLS listener's own certificate is the one that holds now", NEEDS, async () => {
  using ca = await createCa();
  using next = await createCa({ name: "the next CA" });
  await using upstream = startEcho();
  await using far = await startFar(upstream, { own: await ca.issue(SERVER), ca: ca.pem });
  const own = await ca.issue(CLIENT);
  await using before = await startNear(far, { own, ca: ca.pem });
  await using after = await startNear(far, { own, ca: next.pem });
  assertEquals([await isServed(before), await isServed(after)], [true, false]);
  await far.use({ own: await next.issue(SERVER), ca: ca.pem });
  assertEquals([await isServed(before), await isServed(after)], [false, true]);
});

Deno.test(
  "a trial takes an upstream that only waits for one that has accepted, however little time it has",
  NEEDS,
  async () => {
    using ca = await createCa();
    const own = await ca.issue({ dns: ["localhost"] });
    const who = { certPath: own.certPath, keyPath: own.keyPath, caPath: ca.path };
    // No ticket says that the handshake was taken for good.
    await using server = await startServer(who, ["-rev", "-tls1_3", "-num_tickets", "0"]);
    const { tls } = await transportsOf({ own, ca: ca.pem });
    using limit = new TimeLimit(300);
    using _stream = await tls.connect({ hostname: "localhost", port: server.port }, {
      signal: limit.signal,
      settings: DEFAULT_SETTINGS,
      isTrial: true,
    });
    assert(limit.signal.aborted, "it waited for a refusal");
  },
);
