// Who gets past the real program's TLS, and who must not: clients and upstreams with all that can be
// wrong with a certificate, whatever the environment says, and tickets of better days.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { createCa, type Issued } from "../helpers/certificates.ts";
import { createImpostors, versionOne } from "../helpers/impostors.ts";
import {
  freePort,
  type Program,
  readText,
  runProgram,
  startEcho,
  startProgram,
  until,
  writeAll,
} from "../helpers/mod.ts";
import { needs, PROGRAM_TLS } from "../helpers/needs.ts";
import { errorsOf, sClient, serveTls, startTlsRoute } from "../helpers/tls.ts";

const NEEDS = needs(PROGRAM_TLS, "openssl");
const CLIENT = { dns: ["client.example.com"] };
const SERVER = { dns: ["localhost"] };
const VERSIONS = ["-tls1_2", "-tls1_3"];
/** What makes node:tls take anybody, unless it is told otherwise. */
const CARELESS = { NODE_TLS_REJECT_UNAUTHORIZED: "0" };

/** What makes openssl show a certificate, and what stands behind it. */
function show(own: Pick<Issued, "certPath" | "keyPath"> | undefined): string[] {
  if (own === undefined) return [];
  return ["-cert", own.certPath, "-key", own.keyPath, "-cert_chain", own.certPath];
}

/** The reasons of the program's `tls_failed` lines. */
function refusals({ stderr }: Program): string[] {
  return errorsOf(stderr.split("\n"));
}

/** Waits until the log has one refusal more than before, and gives it. */
async function nextRefusal(program: Program, before: number): Promise<string> {
  await until(() => refusals(program).length > before, "the log says why", 5000);
  return refusals(program)[before] ?? "";
}

/** Whether an echo behind a plain listener answers. */
async function isServed(port: number): Promise<boolean> {
  using client = await Deno.connect({ hostname: "127.0.0.1", port });
  try {
    await writeAll(client, "ping");
    await client.closeWrite();
    return await readText(client) === "ping";
  } catch {
    return false;
  }
}

for (const env of [{}, CARELESS]) {
  const where = Object.entries(env).map(([name, value]) => ` with ${name}=${value}`).join("");

  Deno.test(`the program dials for no client${where} that comes`, NEEDS, async (t) => {
    using ca = await createCa();
    using other = await createCa({ name: "another CA" });
    await using upstream = startEcho();
    const [own, good] = [await ca.issue(SERVER), await ca.issue(CLIENT)];
    const { program, address } = await startTlsRoute(upstream.address, {
      own,
      caPath: ca.path,
      env,
    });
    await using _program = program;
    const impostors = await createImpostors(ca, other, CLIENT);
    const unknown = await ca.issue({ ...CLIENT, extensions: ["1.2.3.4 = critical,DER:0500"] });
    // The library keeps such a certificate to itself: it finds no key in it to check a signature by.
    const unevaluated = {
      name: "with an unknown critical extension",
      own: unknown,
      asClient:
        "the client does not have the key of its certificate, or the certificate cannot be " +
        "evaluated",
    };
    for (const version of VERSIONS) {
      for (const { name, own, asClient } of [...impostors, unevaluated]) {
        await t.step(`${name} (${version})`, async () => {
          const before = refusals(program).length;
          const { isServed, output } = await sClient(address, [version, ...show(own)]);
          assert(!isServed, output);
          assertEquals(await nextRefusal(program, before), asClient);
          assertEquals(refusals(program).length, before + 1);
          assertEquals(upstream.clients, 0);
        });
      }
    }
    let served = 0;
    for (const version of VERSIONS) {
      const { isServed, output } = await sClient(address, [version, ...show(good)]);
      assert(isServed, output);
      assertEquals(upstream.clients, ++served);
    }
  });

  Deno.test(`the program sends nothing to an upstream${where} that is`, NEEDS, async (t) => {
    using ca = await createCa();
    using other = await createCa({ name: "another CA" });
    await using upstream = startEcho();
    const { hostname, port } = upstream.address;
    const [own, good] = [await ca.issue(CLIENT), await ca.issue(SERVER)];
    await using far = await serveTls({ protocol: "tcp", hostname, port }, {
      listen: "tls",
      identity: { own: good, ca: ca.pem },
    });
    const listen = freePort();
    await using program = startProgram([
      ...["--tls-cert", own.certPath, "--tls-key", own.keyPath, "--tls-ca", ca.path],
      ...["--log-level", "debug", `127.0.0.1:${listen}=tls://localhost:${far.address.port}`],
    ], { env });
    await program.line(/ready/);
    assert(await isServed(listen));
    const named = [
      { name: "named in its common name alone", own: await ca.issue({ commonName: "localhost" }) },
      { name: "of another name", own: await ca.issue({ dns: ["other.example.com"] }) },
    ].map((one) => ({ ...one, asUpstream: 'not for the name "localhost"' }));
    for (
      const { name, own, asUpstream } of [...await createImpostors(ca, other, SERVER), ...named]
    ) {
      if (asUpstream === undefined) continue;
      await t.step(name, async () => {
        await far.use({ own, ca: ca.pem });
        const before = refusals(program).length;
        assert(!await isServed(listen));
        assertStringIncludes(await nextRefusal(program, before), asUpstream);
        assertEquals(upstream.clients, 1);
      });
    }
  });
}

Deno.test(
  "the program trusts Deno's roots alone where it has no CA, whatever the environment says",
  NEEDS,
  async () => {
    using ca = await createCa();
    await using upstream = startEcho();
    const { hostname, port } = upstream.address;
    await using far = await serveTls({ protocol: "tcp", hostname, port }, {
      listen: "tls",
      identity: { own: await ca.issue(SERVER) },
      tlsClient: "none",
    });
    const [rightName, wrongName] = [freePort(), freePort()];
    const routes = [
      `127.0.0.1:${rightName}=tls://localhost:${far.address.port}`,
      `127.0.0.1:${wrongName}=tls://127.0.0.1:${far.address.port}`,
    ];
    {
      await using program = startProgram(routes, { env: CARELESS });
      await program.line(/ready/);
      assert(!await isServed(rightName));
      assertEquals(await nextRefusal(program, 0), "signed by an unknown authority");
      assertEquals(upstream.clients, 0);
    }
    // One more root.
    await using program = startProgram(routes, { env: { ...CARELESS, DENO_CERT: ca.path } });
    await program.line(/ready/);
    assert(await isServed(rightName), program.stderr);
    assert(!await isServed(wrongName));
    assertStringIncludes(await nextRefusal(program, 0), 'not for the name "127.0.0.1"');
    assertEquals(upstream.clients, 1);
  },
);

Deno.test(
  "the program serves nobody with a ticket from before its CA was changed",
  NEEDS,
  async (t) => {
    using ca = await createCa();
    using next = await createCa({ name: "the next CA" });
    await using upstream = startEcho();
    const [own, good] = [await ca.issue(SERVER), await ca.issue(CLIENT)];
    const caPath = `${ca.directory}/trusted`;
    await Deno.copyFile(ca.path, caPath);
    const { program, address } = await startTlsRoute(upstream.address, { own, caPath });
    await using _program = program;
    for (const version of VERSIONS) {
      const session = ["-sess_out", ca.directory + version];
      const { isServed, output } = await sClient(address, [version, ...show(good), ...session]);
      assert(isServed, output);
      const again = await sClient(address, [version, "-sess_in", ca.directory + version]);
      assert(again.isServed, again.output);
      assertStringIncludes(again.output, "Reused, TLSv1");
    }
    const served = upstream.clients;
    assertEquals(served, 4);
    await Deno.copyFile(next.path, `${caPath}.new`);
    await Deno.rename(`${caPath}.new`, caPath);
    program.kill("SIGHUP");
    await program.line(/certificate_changed/);
    for (const version of VERSIONS) {
      for (
        const [name, args] of [["a ticket", []], [
          "a ticket and its certificate",
          show(good),
        ]] as const
      ) {
        await t.step(`${name} (${version})`, async () => {
          const before = refusals(program).length;
          const session = ["-sess_in", ca.directory + version];
          const { isServed, output } = await sClient(address, [version, ...session, ...args]);
          assert(!isServed, output);
          assertEquals(await nextRefusal(program, before), "signed by an unknown authority");
          assertEquals(upstream.clients, served);
        });
      }
      await Deno.remove(ca.directory + version);
    }
    const { isServed } = await sClient(address, show(await next.issue(CLIENT)));
    assert(isServed);
  },
);

Deno.test("the program trusts a CA for what it is given for", NEEDS, async () => {
  using upstreams = await createCa({ name: "a CA for upstreams" });
  using clients = await createCa({ name: "a CA for clients" });
  await using echo = startEcho();
  const own = await upstreams.issue(SERVER);
  const { program, address } = await startTlsRoute(echo.address, {
    own,
    caPath: upstreams.path,
    // Without a target of TLS the other CA would have no effect.
    args: ["--tls-client-ca", clients.path, `127.0.0.1:${freePort()}=tls://localhost:1`],
  });
  await using _program = program;
  assert(!(await sClient(address, show(await upstreams.issue(CLIENT)))).isServed);
  assertEquals(await nextRefusal(program, 0), "signed by an unknown authority");
  assertEquals(echo.clients, 0);
  assert((await sClient(address, show(await clients.issue(CLIENT)))).isServed);

  const { hostname, port } = echo.address;
  await using far = await serveTls({ protocol: "tcp", hostname, port }, {
    listen: "tls",
    identity: { own: await clients.issue(SERVER), ca: upstreams.pem },
  });
  const [listen, unused] = [freePort(), freePort()];
  await using near = startProgram([
    ...["--tls-cert", own.certPath, "--tls-key", own.keyPath, "--tls-ca", upstreams.path],
    ...["--tls-client-ca", clients.path, "--log-level", "debug"],
    `127.0.0.1:${unused}/tls=127.0.0.1:${port}`,
    `127.0.0.1:${listen}=tls://localhost:${far.address.port}`,
  ]);
  await near.line(/ready/);
  assert(!await isServed(listen));
  assertEquals(await nextRefusal(near, 0), "signed by an unknown authority");
  assertEquals(echo.clients, 1);
  await far.use({ own: await upstreams.issue(SERVER), ca: upstreams.pem });
  assert(await isServed(listen));
});

Deno.test("the program lets in at each route whom that route names", NEEDS, async () => {
  using ca = await createCa();
  await using first = startEcho();
  await using second = startEcho();
  await using third = startEcho();
  const own = await ca.issue(SERVER);
  const [byName, byUri, byOption] = [freePort(), freePort(), freePort()];
  await using program = startProgram([
    ...["--tls-cert", own.certPath, "--tls-key", own.keyPath, "--tls-ca", ca.path],
    ...["--log-level", "debug", "--tls-allow", "option.example.com,*.option.example.com"],
    `127.0.0.1:${byName}/tls=127.0.0.1:${first.address.port}?tls-allow=a.example.com,b.example.com`,
    `127.0.0.1:${byUri}/tls=127.0.0.1:${second.address.port}?tls-allow=spiffe://example.com/web`,
    `127.0.0.1:${byOption}/tls=127.0.0.1:${third.address.port}`,
  ]);
  await program.line(/ready/);
  const clients = [
    [{ dns: ["a.example.com"] }, byName],
    [{ dns: ["b.example.com"] }, byName],
    [{ uris: ["spiffe://example.com/web"] }, byUri],
    [{ dns: ["option.example.com"] }, byOption],
    [{ dns: ["x.option.example.com"] }, byOption],
    [{ dns: ["c.example.com"] }, undefined],
    [{ commonName: "a.example.com" }, undefined],
  ] as const;
  for (const [names, welcomeAt] of clients) {
    const shown = show(await ca.issue(names));
    for (const port of [byName, byUri, byOption]) {
      const before = refusals(program).length;
      const { isServed, output } = await sClient({ hostname: "127.0.0.1", port }, shown);
      assertEquals(isServed, port === welcomeAt, output);
      if (isServed) continue;
      assertMatch(await nextRefusal(program, before), /^--tls-allow does not have the client: /);
    }
  }
  assertEquals([first.clients, second.clients, third.clients], [2, 1, 2]);
});

Deno.test("the program does not start with a CA of X.509 version 1", NEEDS, async () => {
  using ca = await createCa();
  const [own, old] = [await ca.issue(SERVER), await versionOne(ca)];
  const caPath = `${ca.directory}/both.pem`;
  await Deno.writeTextFile(caPath, ca.pem + old.cert);
  const { code, stderr } = await runProgram([
    ...["--tls-cert", own.certPath, "--tls-key", own.keyPath, "--tls-ca", caPath],
    `127.0.0.1:${freePort()}/tls=127.0.0.1:1`,
  ]);
  assertEquals(code, 2);
  assertMatch(stderr, /--tls-ca .*number 2 of 2: the certificate is of an old kind/);
});
