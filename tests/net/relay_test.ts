import { assert, assertEquals } from "@std/assert";
import { newTraffic, relay, type Traffic } from "../../src/net/relay.ts";
import type { Stream } from "../../src/net/stream.ts";
import {
  concat,
  hash,
  pair,
  Random,
  readAll,
  readExactly,
  readText,
  until,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { IPV6, needs } from "../helpers/needs.ts";

/** A connection with a relay at work in it: the two ends, and what the relay says. */
interface Relayed extends AsyncDisposable {
  /** What connects. */
  readonly client: Deno.TcpConn;
  /** What it reaches. */
  readonly upstream: Deno.TcpConn;
  readonly traffic: Traffic;
  readonly end: ReturnType<typeof relay>;
  /** Closes the relay's own two sockets, as whoever runs it does at the end. */
  close(): void;
}

async function startRelay(clientHost?: string, upstreamHost = clientHost): Promise<Relayed> {
  const [client, accepted] = await pair(clientHost);
  const [dialled, upstream] = await pair(upstreamHost);
  for (const socket of [client, accepted, dialled, upstream]) socket.setNoDelay(true);
  const traffic = newTraffic();
  const end = relay(accepted, dialled, traffic);
  return {
    client,
    upstream,
    traffic,
    end,
    close(): void {
      for (const socket of [accepted, dialled]) socket[Symbol.dispose]();
    },
    async [Symbol.asyncDispose](): Promise<void> {
      for (const socket of [client, upstream, accepted, dialled]) socket[Symbol.dispose]();
      await within(end, "the relay to end");
    },
  };
}

function ended({ end }: Relayed): ReturnType<typeof relay> {
  return within(end, "the relay to end");
}

/**
 * A connection whose far end resets it when the listener is closed: the kernel does that to those that
 * nobody has accepted. Nothing in Deno sends a reset.
 */
async function resettable(): Promise<[Deno.TcpConn, Deno.TcpListener]> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const conn = await Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
  return [conn, listener];
}

/**
 * A server in a process of its own that answers unasked and reads nothing. When it is killed, the kernel
 * resets its connections, since there is something in them that was not read.
 */
const ANSWERER = `
const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
console.log(listener.addr.port);
for (;;) {
  await (await listener.accept()).write(new TextEncoder().encode("413 too large\\n".repeat(2000)));
  console.log("answered");
}
`;

/** What happens to a socket in the end: null when the peer has finished, an error when it was reset. */
async function fate(conn: Deno.TcpConn): Promise<"finished" | "reset"> {
  try {
    while (await within(conn.read(new Uint8Array(65536)), "the other side to end") !== null);
    return "finished";
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionReset) return "reset";
    throw error;
  }
}

Deno.test("relay() passes bytes on both ways and counts them", async () => {
  await using relayed = await startRelay();
  const { client, upstream, traffic } = relayed;
  await writeAll(client, "PING");
  assertEquals(await readExactly(upstream, 4), "PING");
  await writeAll(upstream, "+PONG\r\n");
  assertEquals(await readExactly(client, 7), "+PONG\r\n");
  assertEquals(traffic, {
    up: { bytes: 4, discarded: 0, finished: false, writing: false },
    down: { bytes: 7, discarded: 0, finished: false, writing: false },
    failure: undefined,
  });
  await client.closeWrite();
  await upstream.closeWrite();
  assertEquals(await ended(relayed), "finished");
  assert(traffic.up.finished && traffic.down.finished);
  assertEquals([traffic.up.bytes, traffic.down.bytes], [4, 7]);
});

Deno.test("relay() delivers a reply sent after the client has finished", async () => {
  await using relayed = await startRelay();
  const { client, upstream, traffic } = relayed;
  await writeAll(client, "question");
  await client.closeWrite();
  assertEquals(await readText(upstream), "question");
  assert(traffic.up.finished && !traffic.down.finished);
  for (const part of ["late ", "and ", "later"]) {
    await writeAll(upstream, part);
    assertEquals(await readExactly(client, part.length), part);
  }
  await upstream.closeWrite();
  assertEquals(await readText(client), "");
  assertEquals(await ended(relayed), "finished");
});

Deno.test("relay() delivers what the client sends after the upstream has finished", async () => {
  await using relayed = await startRelay();
  const { client, upstream, traffic } = relayed;
  await writeAll(upstream, "greeting");
  await upstream.closeWrite();
  assertEquals(await readText(client), "greeting");
  assert(traffic.down.finished && !traffic.up.finished);
  for (const part of ["late ", "and ", "later"]) {
    await writeAll(client, part);
    assertEquals(await readExactly(upstream, part.length), part);
  }
  await client.closeWrite();
  assertEquals(await readText(upstream), "");
  assertEquals(await ended(relayed), "finished");
});

Deno.test("relay() lets the upstream speak first", async () => {
  await using relayed = await startRelay();
  const { client, upstream } = relayed;
  await writeAll(upstream, "220 ready\r\n");
  assertEquals(await readExactly(client, 11), "220 ready\r\n");
  await writeAll(client, "HELO\r\n");
  assertEquals(await readExactly(upstream, 6), "HELO\r\n");
});

Deno.test("relay() passes an end on that comes without a byte before it", async () => {
  await using relayed = await startRelay();
  await relayed.client.closeWrite();
  assertEquals(await readText(relayed.upstream), "");
  await relayed.upstream.closeWrite();
  assertEquals(await readText(relayed.client), "");
  assertEquals(await ended(relayed), "finished");
});

Deno.test("relay() passes each of many 1-byte messages on at once", async () => {
  await using relayed = await startRelay();
  const { client, upstream, traffic } = relayed;
  const start = performance.now();
  for (let i = 0; i < 200; i++) {
    const message = String.fromCharCode(97 + i % 26);
    await writeAll(client, message);
    assertEquals(await readExactly(upstream, 1), message);
    await writeAll(upstream, message.toUpperCase());
    assertEquals(await readExactly(client, 1), message.toUpperCase());
  }
  // A delay of 40 ms on each (Nagle and a delayed acknowledgement) would make it 8 seconds.
  assert(performance.now() - start < 6000);
  assertEquals([traffic.up.bytes, traffic.down.bytes], [200, 200]);
});

Deno.test("relay() moves large data both ways at once, unchanged", async () => {
  await using relayed = await startRelay();
  const { client, upstream, traffic } = relayed;
  const size = 24 * 1024 * 1024;
  const random = new Random();
  console.log(`seed ${random.seed}`);
  const block = random.bytes(65521);
  // A block of a size that is no power of two, so that a chunk lost or doubled shows.
  const data = [0, 1].map((flip) => {
    const whole = new Uint8Array(size);
    for (let at = 0; at < size; at += block.length) {
      whole.set(block.subarray(0, Math.min(block.length, size - at)), at);
      whole[at] = (at / block.length + flip) & 255;
    }
    return whole;
  });
  const [up = new Uint8Array(), down = new Uint8Array()] = data;
  async function send(conn: Deno.TcpConn, whole: Uint8Array): Promise<void> {
    await within(writeAll(conn, whole), "all to be sent", 60_000);
    await conn.closeWrite();
  }
  const [gotUp, gotDown] = await Promise.all([
    readAll(upstream),
    readAll(client),
    send(client, up),
    send(upstream, down),
  ]);
  assertEquals(await hash(gotUp), await hash(up));
  assertEquals(await hash(gotDown), await hash(down));
  assertEquals([traffic.up.bytes, traffic.down.bytes], [size, size]);
  assertEquals(await ended(relayed), "finished");
});

Deno.test("relay() stalls the sender of a reader that stands still, and goes on with it", async () => {
  await using relayed = await startRelay();
  const { client, upstream, traffic } = relayed;
  let sent = 0;
  let isEnough = false;
  async function send(): Promise<void> {
    const chunk = new Uint8Array(256 * 1024);
    while (!isEnough) sent += await client.write(chunk);
    await client.closeWrite();
  }
  const sending = send();
  // Where an assertion fails first, its message is the one to be seen.
  sending.catch(() => {});
  // Nobody reads: what is under way is what the kernel's four buffers and one of the relay's hold.
  let last = -1;
  let quietSince = performance.now();
  await until(() => {
    if (sent !== last) [last, quietSince] = [sent, performance.now()];
    assert(sent < 512 * 1024 * 1024, "the sender was never stalled");
    return sent > 0 && performance.now() - quietSince > 300;
  }, "the sender to stand still");
  isEnough = true;
  let read = 0;
  const buffer = new Uint8Array(1024 * 1024);
  for (;;) {
    const count = await within(upstream.read(buffer), "the rest");
    if (count === null) break;
    read += count;
  }
  await within(sending, "the sender to finish");
  assertEquals([read, traffic.up.bytes], [sent, sent]);
});

/** Writes until the connection ends. */
async function flood(conn: Deno.TcpConn): Promise<void> {
  const chunk = new Uint8Array(1024 * 1024);
  try {
    for (;;) await conn.write(chunk);
  } catch {
    // The end.
  }
}

Deno.test("relay() goes on one way while the other stands still", async () => {
  let flooding: Promise<void>;
  {
    await using relayed = await startRelay();
    const { client, upstream, traffic } = relayed;
    flooding = flood(upstream);
    for (let i = 0; i < 50; i++) {
      await writeAll(client, "x");
      assertEquals(await readExactly(upstream, 1), "x");
    }
    assert(traffic.down.bytes > 0);
  }
  await within(flooding, "the flood to end");
});

Deno.test("relay() ends the other side at once when one resets", async () => {
  for (const reason of ["client_reset", "upstream_reset"] as const) {
    const [doomed, listener] = await resettable();
    using near = doomed;
    const [other, far] = await pair();
    using _far = far;
    using _other = other;
    const end = reason === "client_reset"
      ? relay(near, other, newTraffic())
      : relay(other, near, newTraffic());
    await writeAll(far, "x");
    listener.close();
    assertEquals(await readText(far), "");
    assertEquals(await within(end, "the relay to end"), reason);
  }
});

Deno.test("relay() ends when one side has finished and then resets, and is written to", async () => {
  for (
    const [who, other, reason] of [
      ["client", "upstream", "client_reset"],
      ["upstream", "client", "upstream_reset"],
    ] as const
  ) {
    await using relayed = await startRelay();
    const { traffic } = relayed;
    const taken = (): number => (who === "client" ? traffic.down : traffic.up).bytes;
    await relayed[who].closeWrite();
    assertEquals(await readText(relayed[other]), "");
    await writeAll(relayed[other], "unread");
    await until(() => taken() === 6, "it to have arrived");
    relayed[who].close();
    let end: Awaited<ReturnType<typeof relay>> | undefined;
    void relayed.end.then((reached) => end = reached);
    await until(async () => {
      if (end === undefined) await relayed[other].write(new Uint8Array(1));
      return end !== undefined;
    }, "the relay to end");
    assertEquals(end, reason);
  }
});

Deno.test("relay() delivers an answer that was given before a reset", async () => {
  await using server = new Deno.Command(Deno.execPath(), {
    args: ["eval", "-q", ANSWERER],
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const lines = server.stdout.pipeThrough(new TextDecoderStream())
    .getReader();
  const { value: port } = await within(lines.read(), "the server to listen");
  using sockets = new DisposableStack();
  const connections: [Deno.TcpConn, Deno.TcpConn, Deno.TcpConn][] = [];
  for (let i = 0; i < 10; i++) {
    const [client, accepted] = await pair();
    const dialled = await Deno.connect({ hostname: "127.0.0.1", port: Number(port) });
    for (const socket of [client, accepted, dialled]) sockets.use(socket);
    connections.push([client, accepted, dialled]);
    await writeAll(dialled, "a request ");
    await writeAll(client, "that goes on");
    // The line comes after the answer has been handed to the kernel.
    await within(lines.read(), "an answer");
  }
  server.kill("SIGKILL");
  await within(server.status, "the server to end");
  // The answer waits in the kernel, behind it the reset; a write is refused at once. It takes several
  // reads, so that it would be cut off if the refused write ended the connection.
  const answer = "413 too large\n".repeat(2000);
  for (const [client, accepted, dialled] of connections) {
    const traffic = newTraffic();
    const end = relay(accepted, dialled, traffic);
    assertEquals(await readText(client), answer);
    await client.closeWrite();
    assertEquals(await within(end, "the relay to end"), "upstream_reset");
    assertEquals([traffic.up.bytes, traffic.down.bytes], [0, answer.length]);
  }
  await lines.cancel();
});

/** A stream and how many bytes have been read from it. */
function counted(conn: Deno.TcpConn): { stream: Stream; read: () => number } {
  let bytes = 0;
  const stream: Stream = {
    localAddr: conn.localAddr,
    remoteAddr: conn.remoteAddr,
    async read(buffer): Promise<number | null> {
      const count = await conn.read(buffer);
      bytes += count ?? 0;
      return count;
    },
    write: (data) => conn.write(data),
    closeWrite: () => conn.closeWrite(),
    [Symbol.dispose]: () => conn[Symbol.dispose](),
  };
  return { stream, read: () => bytes };
}

/** Everything until the peer has finished, some 64 KiB every few milliseconds. */
async function readSlowly(conn: Deno.TcpConn): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  const buffer = new Uint8Array(64 * 1024);
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 4));
    const count = await within(conn.read(buffer), "the peer to finish");
    if (count === null) return concat(chunks);
    chunks.push(buffer.slice(0, count));
  }
}

for (const first of ["client", "upstream"] as const) {
  const reason = `${first}_reset` as const;
  Deno.test(`relay() delivers all that the ${first} sent before it left with much unread`, async () => {
    const [client, accepted] = await pair();
    const [dialled, upstream] = await pair();
    using sockets = new DisposableStack();
    for (const socket of [client, accepted, dialled, upstream]) sockets.use(socket);
    const [leaving, staying] = first === "client" ? [client, upstream] : [upstream, client];
    const near = counted(first === "client" ? accepted : dialled);
    const traffic = newTraffic();
    const end = first === "client"
      ? relay(near.stream, dialled, traffic)
      : relay(accepted, near.stream, traffic);
    // As whoever runs a relay does.
    void end.then(() => [accepted, dialled].forEach((socket) => socket.close()));
    // Far more than the leaving side takes: it reads nothing.
    const unread = new Uint8Array(10_000_000);
    const sending = writeAll(staying, unread);
    sending.catch(() => {});
    const sent = new Random().bytes(2_000_000);
    await within(writeAll(leaving, sent), "all to be sent");
    // What its own system has still to send is lost with it.
    await until(() => near.read() === sent.length, "the relay has it");
    leaving.close();
    const received = await readSlowly(staying);
    assertEquals(received.length, sent.length);
    assertEquals(await hash(received), await hash(sent));
    await within(sending, "the rest to be thrown away");
    await staying.closeWrite();
    assertEquals(await within(end, "the relay to end"), reason);
    const [there, back] = first === "client"
      ? [traffic.up, traffic.down]
      : [traffic.down, traffic.up];
    assertEquals([there.bytes, there.discarded], [sent.length, 0]);
    assertEquals(back.bytes + back.discarded, unread.length);
    assert(back.discarded > 0);
  });
}

for (const sent of [9, 100_000]) {
  const does = sent > 9 ? "holds a sender back that may still take" : "gives a sender up that has";
  Deno.test(`relay() ${does} what was sent to it, and never stops`, async () => {
    await using relayed = await startRelay();
    const { client, upstream, traffic: { up, down } } = relayed;
    await writeAll(client, "x".repeat(sent));
    await readExactly(upstream, sent);
    const flooding = flood(upstream);
    await readExactly(client, 1);
    client.close();
    await until(() => down.finished || down.resume !== undefined, "16 MiB have come");
    const megabytes = down.discarded / 1024 ** 2;
    assert(megabytes >= 16 && megabytes < 40, `${megabytes} MiB`);
    assertEquals(down.finished, sent === 9);
    const before = down.discarded;
    const mayGoOn = (): boolean => (down.resume?.(), down.discarded > before);
    if (!down.finished) await until(mayGoOn, "it may send a little more");
    relayed.close();
    await until(() => (down.resume?.(), down.finished), "it is given up");
    assertEquals(await ended(relayed), "client_reset");
    assertEquals(up.bytes, sent);
    await within(flooding, "the flood to end");
  });
}

Deno.test("relay() does not wait for a side that was sent nothing when the other resets", async () => {
  const [doomed, listener] = await resettable();
  const [other, far] = await pair();
  using _far = far;
  using _other = other;
  using near = doomed;
  const end = relay(other, near, newTraffic());
  // The far side says nothing, and does not finish by itself.
  listener.close();
  assertEquals(await within(end, "the relay to end"), "upstream_reset");
});

Deno.test("relay() ends when both its sockets are closed under it", async () => {
  const [client, accepted] = await pair();
  const [dialled, upstream] = await pair();
  using _client = client;
  using _upstream = upstream;
  const end = relay(accepted, dialled, newTraffic());
  accepted.close();
  dialled.close();
  await within(end, "the relay to end");
  assertEquals(await fate(client), "finished");
  assertEquals(await fate(upstream), "finished");
});

Deno.test("relay() takes IPv4 and IPv6 on either side", needs(IPV6), async () => {
  for (const clientHost of ["127.0.0.1", "::1"]) {
    for (const upstreamHost of ["127.0.0.1", "::1"]) {
      await using relayed = await startRelay(clientHost, upstreamHost);
      await writeAll(relayed.client, "PING");
      assertEquals(await readExactly(relayed.upstream, 4), "PING");
      await writeAll(relayed.upstream, "PONG");
      assertEquals(await readExactly(relayed.client, 4), "PONG");
    }
  }
});

/** Sends random chunks and finishes; resolves to all that was sent. */
async function sendChunks(conn: Deno.TcpConn, random: Random): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  const count = random.below(30);
  for (let i = 0; i < count; i++) {
    const chunk = random.bytes(1 + random.below(random.pick([1, 10, 4096, 4097, 20_000, 70_000])));
    chunks.push(chunk);
    await writeAll(conn, chunk);
    // A turn of the event loop now and then, so that chunks arrive apart.
    if (random.below(3) === 0) await new Promise((resolve) => setTimeout(resolve, 0));
  }
  await conn.closeWrite();
  return concat(chunks);
}

Deno.test("relay() delivers random chunks both ways unchanged", async () => {
  const random = new Random();
  console.log(`seed ${random.seed}`);
  const hosts = IPV6.isHere ? ["127.0.0.1", "::1"] : ["127.0.0.1"];
  for (let round = 0; round < 20; round++) {
    await using relayed = await startRelay(random.pick(hosts), random.pick(hosts));
    const { client, upstream, traffic } = relayed;
    const [up, down] = [new Random(random.below(2 ** 31)), new Random(random.below(2 ** 31))];
    const [gotUp, gotDown, sentUp, sentDown] = await within(
      Promise.all([
        readAll(upstream),
        readAll(client),
        sendChunks(client, up),
        sendChunks(upstream, down),
      ]),
      "both directions to end",
    );
    assertEquals(await hash(gotUp), await hash(sentUp));
    assertEquals(await hash(gotDown), await hash(sentDown));
    assertEquals([traffic.up.bytes, traffic.down.bytes], [sentUp.length, sentDown.length]);
    assertEquals(await ended(relayed), "finished");
  }
});
