// PostgreSQL and psql with the real program between: their own TLS inside a pair, and TLS that the
// ambassador asks the server for in the words of its protocol.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { createCa } from "../helpers/certificates.ts";
import { concat, readAll, startUpstream, type Upstream, within, writeAll } from "../helpers/mod.ts";
import { needs, PROGRAM_TLS } from "../helpers/needs.ts";
import { POSTGRES, psql, startPostgres } from "../helpers/postgres.ts";
import { identify } from "../helpers/tls_peers.ts";
import { dialByTls, listenByTls, startPair } from "../helpers/tls_program.ts";

const NAME = "db.example.com";
const NAMES = { dns: [NAME], ips: ["127.0.0.1"] };
const WANTS_POSTGRES = needs(PROGRAM_TLS, "openssl", ...POSTGRES);

/** Whether the server sees TLS, and as whom it sees the client. */
const SEEN = "select ssl, client_dn from pg_stat_ssl where pid = pg_backend_pid()";
/** What a client sends that wants TLS (PostgreSQL's documentation, "SSLRequest"). */
const SSL_REQUEST = Uint8Array.of(0, 0, 0, 8, 4, 210, 22, 47);

Deno.test({
  name: "psql sslmode=verify-full verifies the server through a pair, end to end",
  ...WANTS_POSTGRES,
}, async () => {
  using ca = await createCa();
  using ambassadorsCa = await createCa({ name: "the ambassadors' CA" });
  await using postgres = await startPostgres({
    who: await identify(ca, { dns: [NAME], usage: "server" }),
    isStrict: true,
  });
  await using pair = await startPair(postgres.port, {
    who: await identify(ambassadorsCa, { ips: ["127.0.0.1"] }),
  });
  const client = await ca.issue({ commonName: "postgres", usage: "client" });
  const identity = `sslcert=${client.certPath} sslkey=${client.keyPath} sslrootcert=${ca.path}`;
  const verified = `sslmode=verify-full ${identity}`;
  const ran = await psql(pair.port, `host=${NAME} ${verified}`, SEEN);
  assertEquals([ran.text, ran.stderr], ["t|/CN=postgres\n", ""]);
  const wrong = await psql(pair.port, `host=other.example.com ${verified}`, SEEN);
  assertEquals(wrong.code, 2);
  assertStringIncludes(wrong.stderr, "other.example.com");
});

Deno.test({
  name: "psql without TLS is served through a pair before a server without TLS",
  ...WANTS_POSTGRES,
}, async () => {
  using ca = await createCa();
  await using postgres = await startPostgres();
  await using pair = await startPair(postgres.port, { who: await identify(ca, NAMES) });
  const query = "select md5(string_agg(md5(n::text), '')) from generate_series(1, 100000) n";
  const direct = await psql(postgres.port, "sslmode=disable", query);
  const ran = await psql(pair.port, "sslmode=disable", query);
  assertEquals([ran.text, ran.stderr], [direct.text, ""]);
});

Deno.test({
  name: "starttls=postgres brings psql without TLS to a server that demands it, with a certificate",
  ...WANTS_POSTGRES,
}, async () => {
  using ca = await createCa();
  await using postgres = await startPostgres({
    who: await identify(ca, { dns: [NAME], usage: "server" }),
    isStrict: true,
  });
  const settings = `starttls=postgres,tls-name=${NAME}`;
  const who = await identify(ca, { commonName: "the ambassador", usage: "client" });
  await using ambassador = await dialByTls(postgres.port, { who, settings });
  const ran = await psql(ambassador.port, "sslmode=disable", SEEN);
  assertEquals([ran.text, ran.stderr], ["t|/CN=the ambassador\n", ""]);
  const large = "select repeat('x', 5000000)";
  assertEquals((await psql(ambassador.port, "sslmode=disable", large)).text.length, 5_000_001);
});

Deno.test({
  name: "starttls=postgres verifies the server's certificate",
  ...WANTS_POSTGRES,
}, async () => {
  using ca = await createCa();
  using otherCa = await createCa({ name: "other CA" });
  await using postgres = await startPostgres({ who: await identify(otherCa, NAMES) });
  const who = await identify(ca);
  await using ambassador = await dialByTls(postgres.port, { who, settings: "starttls=postgres" });
  const ran = await psql(ambassador.port, "sslmode=disable", SEEN);
  assertEquals([ran.code, ran.text], [2, ""]);
  await ambassador.program.line(/ WARN {2}tls_failed .*signed by an unknown authority/);
  const settings = "starttls=postgres,tls-name=other.example.com";
  const trusting = { ...await identify(ca), caPath: otherCa.path };
  await using named = await dialByTls(postgres.port, { who: trusting, settings });
  assertEquals((await psql(named.port, "sslmode=disable", SEEN)).code, 2);
  await named.program.line(
    / WARN {2}tls_failed .*not for the name ."other\.example\.com/,
  );
});

Deno.test({
  name: "starttls=postgres closes the client where the server has no TLS, and says so",
  ...WANTS_POSTGRES,
}, async () => {
  using ca = await createCa();
  await using postgres = await startPostgres();
  const who = await identify(ca);
  await using ambassador = await dialByTls(postgres.port, { who, settings: "starttls=postgres" });
  const ran = await psql(ambassador.port, "sslmode=disable", SEEN);
  assertEquals([ran.code, ran.text], [2, ""]);
  await ambassador.program.line(/ WARN {2}tls_failed .*the upstream offers no TLS/);
});

/**
 * A server that answers the request for TLS with these bytes, and what comes next with others; it keeps
 * all that comes.
 */
function startAnswering(
  answer: string,
  next = "",
): Upstream & { readonly received: Uint8Array[] } {
  const received: Uint8Array[] = [];
  const upstream = startUpstream(async (conn) => {
    const request = new Uint8Array(8);
    for (let count = 0; count < request.length;) {
      count += await conn.read(request.subarray(count)) ?? request.length;
    }
    received.push(request);
    await writeAll(conn, answer);
    if (next !== "") {
      const hello = new Uint8Array(4096);
      received.push(hello.subarray(0, await conn.read(hello) ?? 0));
      await writeAll(conn, next);
    }
    received.push(await readAll(conn));
  });
  return Object.assign(upstream, { received });
}

/** Sends this through, and reads until the ambassador closes. */
async function exchange(port: number, text: string): Promise<Uint8Array> {
  using client = await within(Deno.connect({ hostname: "127.0.0.1", port }), "a connect");
  try {
    await writeAll(client, text);
    return await readAll(client);
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionReset) return new Uint8Array();
    if (error instanceof Deno.errors.BrokenPipe) return new Uint8Array();
    throw error;
  }
}

/** Answers after which nothing may be sent, and what the log says of them. */
const ANSWERS = [
  ["N", /the upstream offers no TLS/],
  // Who can write on the way would put them before what the server says by TLS (CVE-2021-23222).
  ["S and more", /the upstream sent more before TLS than its answer/],
  ["E and an error of an old server", /the upstream does not answer as PostgreSQL does/],
  ["H", /the upstream does not answer as PostgreSQL does/],
] as const;

for (const [answer, words] of ANSWERS) {
  Deno.test({
    name: `starttls=postgres closes after the answer "${answer}", and sends no plain text`,
    ...needs(PROGRAM_TLS, "openssl"),
  }, async () => {
    using ca = await createCa();
    await using upstream = startAnswering(answer);
    const settings = "starttls=postgres";
    await using ambassador = await dialByTls(upstream.address.port, {
      who: await identify(ca),
      settings,
    });
    assertEquals(await exchange(ambassador.port, "a secret"), new Uint8Array());
    const [line] = await ambassador.program.line(/.* WARN {2}tls_failed .*/);
    assertMatch(line, words);
    // Not before it has read to the end.
    await upstream[Symbol.asyncDispose]();
    const [request = new Uint8Array(), ...rest] = upstream.received;
    assertEquals(request, SSL_REQUEST);
    assert(!new TextDecoder().decode(concat(rest)).includes("a secret"));
  });
}

Deno.test({
  name: "starttls=postgres takes no bytes between the yes and the handshake for the server's",
  ...needs(PROGRAM_TLS, "openssl"),
}, async () => {
  using ca = await createCa();
  await using upstream = startAnswering("S", "Z\0\0\0\x05I: ready, says who is on the way");
  const who = await identify(ca);
  await using ambassador = await dialByTls(upstream.address.port, {
    who,
    settings: "starttls=postgres",
  });
  assertEquals(await exchange(ambassador.port, "a secret"), new Uint8Array());
  await ambassador.program.line(/ WARN {2}tls_failed .*not TLS/);
  await upstream[Symbol.asyncDispose]();
  assert(!new TextDecoder().decode(concat(upstream.received)).includes("a secret"));
});

Deno.test({
  name: "starttls=postgres gives up a server that does not answer, within --connect-timeout",
  ...needs(PROGRAM_TLS, "openssl"),
}, async () => {
  using ca = await createCa();
  await using upstream = startAnswering("");
  const settings = "starttls=postgres,connect-timeout=500ms";
  await using ambassador = await dialByTls(upstream.address.port, {
    who: await identify(ca),
    settings,
  });
  assertEquals(await exchange(ambassador.port, "a secret"), new Uint8Array());
  await ambassador.program.line(
    / WARN {2}tls_failed .*no answer within 500ms to the request for TLS/,
  );
});

Deno.test({
  name: "a TLS listener that a Postgres client asks for TLS says in the log what to do",
  ...needs(PROGRAM_TLS, "openssl", "psql"),
}, async () => {
  using ca = await createCa();
  await using upstream = startUpstream((conn) => conn.closeWrite());
  await using ambassador = await listenByTls(upstream.address.port, {
    who: await identify(ca, NAMES),
  });
  const ran = await psql(ambassador.port, "sslmode=require", SEEN);
  assertEquals(ran.code, 2);
  const [line] = await ambassador.program.line(/.* tls_failed .*/);
  assertMatch(line, /asks for TLS in the words of PostgreSQL/);
  assertEquals(upstream.clients, 0);
});
