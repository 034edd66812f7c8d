// Other people's TLS programs among themselves: what a test of the ambassador may expect of them.

import { assertEquals, assertMatch } from "@std/assert";
import { createCa } from "./certificates.ts";
import { readText, startEcho, within, writeAll } from "./mod.ts";
import { needs } from "./needs.ts";
import { POSTGRES, psql, startPostgres } from "./postgres.ts";
import { run } from "./run.ts";
import {
  ended,
  identify,
  QUIET,
  redisIdentity,
  said,
  startClient,
  startDialer,
  startHttp2,
  startListener,
  startServer,
  startTlsRedis,
  type Wrapper,
} from "./tls_peers.ts";

const WRAPPERS: readonly Wrapper[] = ["stunnel", "haproxy"];

async function roundTrip(port: number, text: string): Promise<string> {
  using client = await within(Deno.connect({ hostname: "127.0.0.1", port }), "a connect");
  await writeAll(client, text);
  await client.closeWrite();
  return await readText(client);
}

for (const near of WRAPPERS) {
  for (const far of WRAPPERS) {
    Deno.test({
      name: `startDialer() of ${near} reaches startListener() of ${far}, also after an end`,
      ...needs("openssl", near, far),
    }, async () => {
      using ca = await createCa();
      await using upstream = startEcho();
      const who = await identify(ca, { dns: ["far.example.com"] });
      await using listener = await startListener(far, upstream.address.port, who);
      const name = "far.example.com";
      await using dialer = await startDialer(near, listener.port, { ...who, name });
      assertEquals(await roundTrip(dialer.port, "hello"), "hello");
    });
  }
}

for (const wrapper of WRAPPERS) {
  Deno.test({
    name: `startListener() of ${wrapper} takes nobody without a certificate`,
    ...needs("openssl", wrapper),
  }, async () => {
    using ca = await createCa();
    await using upstream = startEcho();
    const who = await identify(ca, { dns: ["far.example.com"] });
    await using listener = await startListener(wrapper, upstream.address.port, who);
    await using client = startClient(listener.port, { args: ["-quiet"] });
    assertEquals((await ended(client)).code, 1);
    assertEquals(upstream.clients, 0);
  });
}

Deno.test({
  name: "startClient() and startServer() verify each other",
  ...needs("openssl"),
}, async () => {
  using ca = await createCa();
  const who = await identify(ca, { dns: ["far.example.com"] });
  await using server = await startServer(who);
  await using client = startClient(server.port, { who, name: "far.example.com", args: QUIET });
  await client.write("olleh\n");
  await said(client, /^hello$/m);
  await client.end();
  assertEquals((await ended(client)).code, 0);
  await using other = startClient(server.port, { who, name: "other.example.com" });
  assertMatch((await ended(other)).stderr, /[Hh]ostname mismatch/);
});

Deno.test({
  name: "startTlsRedis() takes TLS clients with a certificate alone",
  ...needs("openssl", "redis-server", "redis-cli"),
}, async () => {
  using ca = await createCa();
  const who = await identify(ca);
  await using redis = await startTlsRedis(who);
  const ping = ["-h", "127.0.0.1", "-p", `${redis.port}`, "PING"];
  assertEquals((await run("redis-cli", [...redisIdentity(who), ...ping])).text, "PONG\n");
  assertMatch((await run("redis-cli", ping)).stderr, /./);
});

Deno.test({
  name: "startPostgres() has TLS, which psql verifies in full",
  ...needs("openssl", ...POSTGRES),
}, async () => {
  using ca = await createCa();
  const who = await identify(ca, { dns: ["db.example.com"] });
  await using postgres = await startPostgres({ who });
  const query = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
  const verified = `host=db.example.com sslmode=verify-full sslrootcert=${ca.path}`;
  const ran = await psql(postgres.port, verified, query);
  assertEquals([ran.text, ran.stderr, ran.code], ["t\n", "", 0]);
  assertEquals((await psql(postgres.port, "sslmode=disable", query)).text, "f\n");
});

Deno.test({
  name: "startHttp2() answers curl in HTTP/2",
  ...needs("nghttpd", "curl"),
}, async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/file`, "content");
    await using server = await startHttp2(folder);
    const url = `http://127.0.0.1:${server.port}/file`;
    const args = ["-sS", "-m", "10", "--http2-prior-knowledge", "-w", " %{http_version}", url];
    const ran = await run("curl", args);
    assertEquals([ran.text, ran.stderr], ["content 2", ""]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test({
  name: "run() gives a program its stdin and takes what it says, also of one that reads nothing",
  ...needs("cat", "true"),
}, async () => {
  const bytes = crypto.getRandomValues(new Uint8Array(60_000));
  assertEquals((await run("cat", [], { stdin: bytes })).stdout, bytes);
  assertEquals((await run("true", [], { stdin: new Uint8Array(1_000_000) })).code, 0);
});
