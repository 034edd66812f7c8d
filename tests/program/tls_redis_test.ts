// Redis and its clients with TLS on either side of the real program, and with a pair between.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { createCa } from "../helpers/certificates.ts";
import { hash, startEcho } from "../helpers/mod.ts";
import { needs, PROGRAM_TLS } from "../helpers/needs.ts";
import { startRedis } from "../helpers/redis.ts";
import { type Ran, run } from "../helpers/run.ts";
import { identify, redisIdentity, startTlsRedis } from "../helpers/tls_peers.ts";
import { dialByTls, listenByTls, startPair } from "../helpers/tls_program.ts";

const NAMES = { dns: ["redis.example.com"], ips: ["127.0.0.1"] };
const LARGE = 50 * 1024 * 1024;

/** Runs redis-cli at a port of 127.0.0.1. */
async function redisCli(
  port: number,
  args: readonly string[],
  options: { readonly stdin?: Uint8Array; readonly ms?: number } = {},
): Promise<Ran> {
  return await run("redis-cli", ["-h", "127.0.0.1", "-p", `${port}`, ...args], options);
}

function randomValue(): Uint8Array<ArrayBuffer> {
  const value = new Uint8Array(LARGE);
  for (let at = 0; at < LARGE; at += 65536) {
    crypto.getRandomValues(value.subarray(at, at + 65536));
  }
  return value;
}

/** Sets a large value and gets it back; these arguments come first. */
async function assertKeepsLarge(port: number, args: readonly string[] = []): Promise<void> {
  const value = randomValue();
  const options = { stdin: value, ms: 90_000 };
  const set = await redisCli(port, [...args, "-x", "SET", "large"], options);
  assertEquals([set.text, set.stderr], ["OK\n", ""]);
  const got = await redisCli(port, [...args, "GET", "large"], { ms: 90_000 });
  // redis-cli ends what it prints with the end of a line.
  assertEquals(got.stdout.length, LARGE + 1, got.stderr);
  assertEquals(await hash(got.stdout.slice(0, -1)), await hash(value));
}

Deno.test({
  name: "redis-cli --tls with a certificate reaches a plain Redis, with 50 MiB each way",
  ...needs(PROGRAM_TLS, "openssl", "redis-server", "redis-cli"),
}, async () => {
  using ca = await createCa();
  const who = await identify(ca, NAMES);
  await using redis = await startRedis();
  await using ambassador = await listenByTls(redis.port, { who });
  const tls = [...redisIdentity(await identify(ca)), "--sni", "redis.example.com"];
  assertEquals((await redisCli(ambassador.port, [...tls, "PING"])).text, "PONG\n");
  await assertKeepsLarge(ambassador.port, tls);
});

Deno.test({
  name: "redis-cli --tls without a certificate, or without TLS, does not reach Redis",
  ...needs(PROGRAM_TLS, "openssl", "redis-cli"),
}, async () => {
  using ca = await createCa();
  const who = await identify(ca, NAMES);
  await using upstream = startEcho();
  await using ambassador = await listenByTls(upstream.address.port, { who });
  const bare = await redisCli(ambassador.port, ["--tls", "--cacert", ca.path, "PING"]);
  assert(!bare.text.includes("PONG"), bare.text);
  await ambassador.program.line(/ WARN {2}tls_failed .*the client sent no certificate/);
  const plain = await redisCli(ambassador.port, ["PING"]);
  assert(!plain.text.includes("PONG"), plain.text);
  await ambassador.program.line(/ tls_failed .*not TLS/);
  assertEquals(upstream.clients, 0);
});

Deno.test({
  name: "a plain redis-cli reaches a Redis that takes TLS alone, with 50 MiB each way",
  ...needs(PROGRAM_TLS, "openssl", "redis-server", "redis-cli"),
}, async () => {
  using ca = await createCa();
  await using redis = await startTlsRedis(await identify(ca, NAMES));
  await using ambassador = await dialByTls(redis.port, { who: await identify(ca) });
  assertEquals((await redisCli(ambassador.port, ["PING"])).text, "PONG\n");
  await assertKeepsLarge(ambassador.port);
});

Deno.test({
  name: "Redis behind a pair takes 50 MiB and gives them back",
  ...needs(PROGRAM_TLS, "openssl", "redis-server", "redis-cli"),
}, async () => {
  using ca = await createCa();
  await using redis = await startRedis();
  await using pair = await startPair(redis.port, { who: await identify(ca, NAMES) });
  await assertKeepsLarge(pair.port);
});

Deno.test({
  name: "redis-benchmark has no error through a pair, and none with TLS of its own inside it",
  ...needs(PROGRAM_TLS, "openssl", "redis-server", "redis-benchmark"),
}, async () => {
  using ca = await createCa();
  const who = await identify(ca, NAMES);
  await using plain = await startRedis();
  await using inner = await startTlsRedis(who);
  for (const [to, tls] of [[plain.port, []], [inner.port, redisIdentity(who)]] as const) {
    await using pair = await startPair(to, { who });
    const where = ["-h", "127.0.0.1", "-p", `${pair.port}`];
    const load = ["-n", "5000", "-c", "50", "-t", "ping,set,get,mset", "--csv"];
    const ran = await run("redis-benchmark", [...where, ...tls, ...load], { ms: 60_000 });
    assertEquals(ran.code, 0, ran.stderr);
    assertMatch(ran.text, /"MSET \(10 keys\)","\d/);
    assert(!/error/i.test(ran.text + ran.stderr), ran.stderr);
  }
});

Deno.test({
  name: "redis-benchmark --tls has no error at a TLS listener",
  ...needs(PROGRAM_TLS, "openssl", "redis-server", "redis-benchmark"),
}, async () => {
  using ca = await createCa();
  const who = await identify(ca, NAMES);
  await using redis = await startRedis();
  await using ambassador = await listenByTls(redis.port, { who });
  const where = ["-h", "127.0.0.1", "-p", `${ambassador.port}`, ...redisIdentity(who)];
  const load = ["-n", "5000", "-c", "50", "-t", "ping,set,get,mset", "--csv"];
  const ran = await run("redis-benchmark", [...where, ...load], { ms: 60_000 });
  assertEquals(ran.code, 0, ran.stderr);
  assertMatch(ran.text, /"MSET \(10 keys\)","\d/);
  assert(!/error/i.test(ran.text + ran.stderr), ran.stderr);
});
