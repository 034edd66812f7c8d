// What other people send by UDP, through the real program: syslog, statsd, QUIC. DNS is in
// udp_dns_test.ts.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { createCa } from "../helpers/certificates.ts";
import { startUdpPeer, type UdpAddress } from "../helpers/datagrams.ts";
import { concat, hash, Random, within } from "../helpers/mod.ts";
import { needs } from "../helpers/needs.ts";
import { run } from "../helpers/run.ts";
import { startUdpRoute } from "../helpers/udp_program.ts";

Deno.test({
  name: "a UDP route brings the lines of logger to a receiver, one a datagram and in their order",
  ...needs("logger"),
}, async () => {
  await using receiver = startUdpPeer();
  await using route = await startUdpRoute([receiver.address]);
  const lines = Array.from({ length: 200 }, (_, index) => `line ${index} of the log`);
  const server = ["--udp", "--server", route.address.hostname, "--port", `${route.address.port}`];
  const { code, stderr } = await run("logger", [
    ...server,
    "--tag",
    "job",
    "--priority",
    "user.err",
  ], {
    stdin: lines.join("\n"),
  });
  assertEquals([code, stderr], [0, ""]);
  for (const line of lines) {
    const { text } = await receiver.next();
    // RFC 5424, and 8 times 1 plus 3 is user.err.
    assertMatch(text, /^<11>1 \S+ \S+ job /);
    assert(text.trimEnd().endsWith(` ${line}`), text);
  }
  assertEquals(receiver.sources, 1);
  const { up, down, lost } = await route.counts();
  assertEquals([up.datagrams, down.datagrams, lost], [lines.length, 0, 0]);
});

Deno.test("a UDP route brings statsd lines of clients who are never answered", async () => {
  await using receiver = startUdpPeer();
  await using route = await startUdpRoute([receiver.address]);
  await using stack = new AsyncDisposableStack();
  const clients = Array.from({ length: 20 }, () => stack.use(startUdpPeer()));
  const sums = new Map<string, number>();
  for (let i = 0; i < 50; i++) {
    for (const [index, client] of clients.entries()) {
      await client.send(`app.client${index}.requests:${i}|c`, route.address);
    }
    // As many as are on their way fit into every buffer.
    for (let received = 0; received < clients.length; received++) {
      const { text } = await receiver.next();
      const [, name = "", value] = /^(\S+):(\d+)\|c$/.exec(text) ?? [];
      sums.set(name, (sums.get(name) ?? 0) + Number(value));
    }
  }
  assertEquals([...sums.values()], clients.map(() => 49 * 50 / 2));
  assertEquals(receiver.sources, clients.length);
  const { opened, open, up, down, lost } = await route.counts();
  assertEquals([opened, open], [20, 20]);
  assertEquals([up.datagrams, down.datagrams, lost], [1000, 0, 0]);
  assertEquals(await route.stop(), 0);
});

/** How much goes each way by QUIC, in bytes. */
const TRANSFER = 8 * 1024 * 1024;

const ALPN = { alpnProtocols: ["test"] };

/** Accepts one connection and one stream in it, and sends back everything that comes. */
async function echoOnce(listener: Deno.QuicListener): Promise<void> {
  const conn = await listener.accept();
  for await (const { readable, writable } of conn.incomingBidirectionalStreams) {
    await readable.pipeTo(writable);
    break;
  }
  await conn.closed;
}

/** Sends the data by QUIC and reads what comes back. */
async function transfer(
  to: UdpAddress,
  data: Uint8Array,
  caCerts: string[],
): Promise<Uint8Array<ArrayBuffer>> {
  const endpoint = new Deno.QuicEndpoint({ hostname: "127.0.0.1", port: 0 });
  try {
    const names = { hostname: to.hostname, serverName: "upstream.example.com" };
    const conn = await Deno.connectQuic({ ...names, port: to.port, ...ALPN, caCerts, endpoint });
    const { readable, writable } = await conn.createBidirectionalStream();
    const sent = new Blob([data.slice()]).stream().pipeTo(writable);
    const chunks: Uint8Array[] = [];
    for await (const chunk of readable) chunks.push(chunk);
    await sent;
    conn.close({ closeCode: 0, reason: "done" });
    return concat(chunks);
  } finally {
    endpoint.close();
  }
}

Deno.test({
  name: "two UDP routes in a chain bring 8 MiB each way by QUIC",
  ...needs("openssl"),
}, async () => {
  using ca = await createCa();
  const { cert, key } = await ca.issue({ dns: ["upstream.example.com"] });
  const server = new Deno.QuicEndpoint({ hostname: "127.0.0.1", port: 0 });
  try {
    await using far = await startUdpRoute([server.addr]);
    await using near = await startUdpRoute([far.address]);
    const listener = server.listen({ ...ALPN, cert, key });
    const echoing = echoOnce(listener);
    const random = new Random();
    const block = random.bytes(64 * 1024);
    const data = new Uint8Array(TRANSFER);
    for (let at = 0; at < TRANSFER; at += block.length) {
      data.set(block.with(0, random.below(256)), at);
    }
    const received = await within(transfer(near.address, data, [ca.pem]), "the transfer", 60_000);
    assertEquals(received.length, TRANSFER);
    assertEquals(await hash(received), await hash(data), `seed ${random.seed}`);
    await within(echoing, "the server to be done");
    listener.stop();
    const { opened, up, down } = await near.counts();
    assertEquals(opened, 1);
    assert(up.bytes > TRANSFER && down.bytes > TRANSFER, `${up.bytes} and ${down.bytes} bytes`);
  } finally {
    server.close();
  }
});
