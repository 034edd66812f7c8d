// The real program beside the TLS of stunnel and HAProxy, with certificates on both sides, and beside
// HAProxy's PROXY protocol, which stands before TLS.

import { assertEquals, assertMatch } from "@std/assert";
import { createCa } from "../helpers/certificates.ts";
import { hash, readAll, startEcho, within, writeAll } from "../helpers/mod.ts";
import { needs, PROGRAM_TLS } from "../helpers/needs.ts";
import { askWho, endsOf, startTeller } from "../helpers/proxies.ts";
import {
  identify,
  startDialer,
  startListener,
  startTlsTeller,
  type Wrapper,
} from "../helpers/tls_peers.ts";
import { dialByTls, listenByTls } from "../helpers/tls_program.ts";

const WRAPPERS: readonly Wrapper[] = ["stunnel", "haproxy"];
const NAME = "far.example.com";
const NAMES = { dns: [NAME], ips: ["127.0.0.1"] };

async function connectTo(port: number): Promise<Deno.TcpConn> {
  return await within(Deno.connect({ hostname: "127.0.0.1", port }), "a connect");
}

/** Sends bytes, finishes, and holds that they come back: the end has to pass both ways for it. */
async function assertEchoes(port: number): Promise<void> {
  using client = await connectTo(port);
  const bytes = new Uint8Array(2_000_000);
  for (let at = 0; at < bytes.length; at += 50_000) {
    crypto.getRandomValues(bytes.subarray(at, at + 50_000));
  }
  async function send(): Promise<void> {
    await writeAll(client, bytes);
    await client.closeWrite();
  }
  const [back] = await Promise.all([readAll(client), send()]);
  assertEquals(await hash(back), await hash(bytes));
}

for (const wrapper of WRAPPERS) {
  Deno.test({
    name: `a TLS listener serves the clients of ${wrapper}, to the end of both directions`,
    ...needs(PROGRAM_TLS, "openssl", wrapper),
  }, async () => {
    using ca = await createCa();
    await using upstream = startEcho();
    const who = await identify(ca, NAMES);
    await using ambassador = await listenByTls(upstream.address.port, { who });
    const client = await identify(ca, { usage: "client", dns: ["near.example.com"] });
    await using dialer = await startDialer(wrapper, ambassador.port, { ...client, name: NAME });
    for (let i = 0; i < 3; i++) await assertEchoes(dialer.port);
    await ambassador.program.line(/ connection_closed .* reason=finished/);
    assertEquals(upstream.clients, 3);
  });

  Deno.test({
    name: `a TLS listener serves ${wrapper} by the names of --tls-allow alone`,
    ...needs(PROGRAM_TLS, "openssl", wrapper),
  }, async () => {
    using ca = await createCa();
    await using upstream = startEcho();
    const who = await identify(ca, NAMES);
    const settings = "tls-allow=*.near.example.com,spiffe://example.com/near";
    await using ambassador = await listenByTls(upstream.address.port, { who, settings });
    const allowed = [{ dns: ["a.near.example.com"] }, { uris: ["spiffe://example.com/near"] }];
    for (const names of allowed) {
      const client = await identify(ca, names);
      await using dialer = await startDialer(wrapper, ambassador.port, { ...client, name: NAME });
      await assertEchoes(dialer.port);
    }
    const clients = upstream.clients;
    const stranger = await identify(ca, { dns: ["near.example.com"] });
    await using dialer = await startDialer(wrapper, ambassador.port, { ...stranger, name: NAME });
    using client = await connectTo(dialer.port);
    // However the proxy tells its client.
    const refused = await readAll(client).catch(() => new Uint8Array());
    assertEquals(refused.length, 0);
    await ambassador.program.line(/ WARN {2}tls_failed .*near\.example\.com/);
    assertEquals(upstream.clients, clients);
  });

  Deno.test({
    name: `a TLS target of ${wrapper} is reached, to the end of both directions`,
    ...needs(PROGRAM_TLS, "openssl", wrapper),
  }, async () => {
    using ca = await createCa();
    await using upstream = startEcho();
    const server = await identify(ca, { usage: "server", dns: [NAME] });
    await using listener = await startListener(wrapper, upstream.address.port, server);
    const who = await identify(ca, { usage: "client" });
    const settings = `tls-name=${NAME}`;
    await using ambassador = await dialByTls(listener.port, { who, settings });
    for (let i = 0; i < 3; i++) await assertEchoes(ambassador.port);
    await ambassador.program.line(/ connection_closed .* reason=finished/);
    assertEquals(upstream.clients, 3);
  });

  Deno.test({
    name: `a TLS target of ${wrapper} turns an ambassador away that it does not trust`,
    ...needs(PROGRAM_TLS, "openssl", wrapper),
  }, async () => {
    using ca = await createCa();
    using otherCa = await createCa({ name: "other CA" });
    await using upstream = startEcho();
    const server = await identify(ca, NAMES);
    await using listener = await startListener(wrapper, upstream.address.port, server);
    const who = { ...await identify(otherCa), caPath: ca.path };
    await using ambassador = await dialByTls(listener.port, { who });
    using client = await connectTo(ambassador.port);
    const refused = await readAll(client).catch(() => new Uint8Array());
    assertEquals(refused.length, 0);
    // By TLS 1.3 the refusal comes after the handshake: an end of the connection, and no end in order.
    await ambassador.program.line(/ connection_closed .* reason=(?:tls_failed|upstream_reset)/);
    assertEquals(upstream.clients, 0);
  });
}

Deno.test({
  name: "send-proxy=v2 tells HAProxy who the client is, before TLS",
  ...needs(PROGRAM_TLS, "openssl", "haproxy"),
}, async () => {
  using ca = await createCa();
  const who = await identify(ca, NAMES);
  await using teller = await startTlsTeller(who);
  await using ambassador = await dialByTls(teller.port, { who, settings: "send-proxy=v2" });
  using client = await connectTo(ambassador.port);
  const ends = endsOf(client);
  assertEquals(await askWho("haproxy", client), ends);
});

Deno.test({
  name: "accept-proxy takes what HAProxy announces before TLS, and hands it on",
  ...needs(PROGRAM_TLS, "openssl", "haproxy"),
}, async () => {
  using ca = await createCa();
  const who = await identify(ca, NAMES);
  await using teller = await startTeller("haproxy");
  const settings = "accept-proxy=127.0.0.0/8,send-proxy=v2";
  await using ambassador = await listenByTls(teller.port, { who, settings });
  const dial = { ...who, name: NAME, sendProxy: true };
  await using dialer = await startDialer("haproxy", ambassador.port, dial);
  using client = await connectTo(dialer.port);
  const ends = endsOf(client);
  assertEquals(await askWho("haproxy", client), ends);
  await client.closeWrite();
  const [, announced = ""] = await ambassador.program.line(/connection_closed .* client=(\S+) /);
  assertEquals(announced.replace(":", " "), ends.split(" ").slice(0, 2).join(" "));
});

Deno.test({
  name: "accept-proxy of a TLS listener turns HAProxy away that does not announce",
  ...needs(PROGRAM_TLS, "openssl", "haproxy"),
}, async () => {
  using ca = await createCa();
  await using upstream = startEcho();
  const who = await identify(ca, NAMES);
  const settings = "accept-proxy=127.0.0.0/8";
  await using ambassador = await listenByTls(upstream.address.port, { who, settings });
  await using dialer = await startDialer("haproxy", ambassador.port, { ...who, name: NAME });
  using client = await connectTo(dialer.port);
  const refused = await readAll(client).catch(() => new Uint8Array());
  assertEquals(refused.length, 0);
  const [line] = await ambassador.program.line(/.* WARN {2}bad_proxy_header .*/);
  assertMatch(line, /127\.0\.0\.1/);
  assertEquals(upstream.clients, 0);
});
