import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { createHash } from "node:crypto";
import type { Stream } from "../../src/net/stream.ts";
import { TlsError } from "../../src/net/tls_error.ts";
import type { TlsStream } from "../../src/net/tls_stream.ts";
import { createCa } from "../helpers/certificates.ts";
import { pair, Random, until, within } from "../helpers/mod.ts";
import { needs, TLS } from "../helpers/needs.ts";
import { createEngines, createStreams, loadTls, type Streams } from "../helpers/tls.ts";

const NEEDS = needs(TLS, "openssl");
const KB = 1024;
const MB = 1024 * KB;

async function writeAll(stream: Stream, data: Uint8Array | string): Promise<void> {
  let rest = typeof data === "string" ? new TextEncoder().encode(data) : data;
  while (rest.length > 0) rest = rest.subarray(await stream.write(rest));
}

async function readText(stream: Stream, size = 64 * KB): Promise<string> {
  let text = "";
  const buffer = new Uint8Array(size);
  for (;;) {
    const count = await within(stream.read(buffer), "the peer to finish");
    if (count === null) return text;
    text += new TextDecoder().decode(buffer.subarray(0, count));
  }
}

/** Both ends, each as who sends and who receives. */
function ways({ client, server }: Streams): readonly (readonly [string, TlsStream, TlsStream])[] {
  return [["client", client, server], ["server", server, client]];
}

/** How a promise ends. */
function outcome(promise: Promise<unknown>): Promise<"resolved" | "rejected"> {
  return promise.then(() => "resolved", () => "rejected");
}

/** One side of a connection that goes through `through`, which may do what it likes to it. */
async function createStreamsThrough(through: (tcp: Deno.TcpConn) => Stream): Promise<Streams> {
  const { TlsStream } = await loadTls();
  using ca = await createCa();
  const engines = await createEngines(ca);
  const [clientTcp, serverTcp] = await pair();
  const client = new TlsStream(through(clientTcp), engines.client, "the upstream");
  const server = new TlsStream(through(serverTcp), engines.server, "the client");
  const hands = [client.shakeHands(() => {}), server.shakeHands(() => {})];
  await within(Promise.all(hands), "a handshake");
  return {
    client,
    server,
    clientTcp,
    serverTcp,
    [Symbol.dispose](): void {
      client[Symbol.dispose]();
      server[Symbol.dispose]();
    },
  };
}

for (const index of [0, 1]) {
  const name = ["client", "server"][index] ?? "";

  Deno.test(
    `TlsStream passes on the end of a ${name}, and a reply that comes after it`,
    NEEDS,
    async () => {
      using ca = await createCa();
      using streams = await createStreams(ca);
      const [, one, other] = ways(streams)[index] ?? [];
      assert(one !== undefined && other !== undefined);
      await writeAll(one, "asked");
      await one.closeWrite();
      assertEquals(await readText(other), "asked");
      await writeAll(other, "x".repeat(200_000));
      await other.closeWrite();
      assertEquals((await readText(one)).length, 200_000);
      // The end stays the end.
      assertEquals(await one.read(new Uint8Array(8)), null);
      assertEquals(await other.read(new Uint8Array(8)), null);
    },
  );

  Deno.test(
    `TlsStream tells a ${name} that is cut off from one that has ended`,
    NEEDS,
    async () => {
      using ca = await createCa();
      for (const how of ["a cut", "a FIN", "a close"]) {
        using streams = await createStreams(ca);
        const [, one, other] = ways(streams)[index] ?? [];
        assert(one !== undefined && other !== undefined);
        await writeAll(one, "half of");
        const tcp = [streams.clientTcp, streams.serverTcp][index];
        if (how === "a cut") await one.closeWrite(true);
        else if (how === "a FIN") await tcp?.closeWrite();
        else one[Symbol.dispose]();
        const buffer = new Uint8Array(64);
        const count = await within(other.read(buffer), "what came before");
        assertEquals(count, 7, how);
        const who = ["the upstream", "the client"][1 - index];
        await assertRejects(
          () => within(other.read(buffer), "the cut"),
          TlsError,
          `${who} ended without a close_notify`,
        );
      }
    },
  );

  Deno.test(
    `TlsStream takes a ${name} that closes after its end for one that has ended`,
    NEEDS,
    async () => {
      using ca = await createCa();
      using streams = await createStreams(ca);
      const [, one, other] = ways(streams)[index] ?? [];
      assert(one !== undefined && other !== undefined);
      await writeAll(one, "all of it");
      await one.closeWrite();
      one[Symbol.dispose]();
      assertEquals(await readText(other), "all of it");
      assertEquals(await other.read(new Uint8Array(8)), null);
    },
  );
}

Deno.test(
  "TlsStream delivers to a reader of one byte what comes one byte at a time",
  NEEDS,
  async () => {
    using streams = await createStreamsThrough((tcp) => ({
      localAddr: tcp.localAddr,
      remoteAddr: tcp.remoteAddr,
      read: (buffer) => tcp.read(buffer.subarray(0, 1)),
      write: (data) => tcp.write(data.subarray(0, 1)),
      closeWrite: () => tcp.closeWrite(),
      [Symbol.dispose]: () => tcp[Symbol.dispose](),
    }));
    for (const [name, one, other] of ways(streams)) {
      const sent = writeAll(one, `from the ${name}`).then(() => one.closeWrite());
      assertEquals(await readText(other, 1), `from the ${name}`);
      await sent;
    }
  },
);

Deno.test(
  "TlsStream delivers 50 MB each way at once, whatever the pieces, to slow readers",
  NEEDS,
  async () => {
    using ca = await createCa();
    using streams = await createStreams(ca);
    const random = new Random();
    const total = 50 * MB;
    const noise = crypto.getRandomValues(new Uint8Array(64 * KB));
    async function send(stream: TlsStream): Promise<string> {
      const hash = createHash("sha256");
      for (let left = total; left > 0;) {
        const from = random.below(noise.length - 1);
        const length = random.pick([1, 100, 20_000, 64 * KB]);
        const data = noise.subarray(from, from + Math.min(left, length));
        hash.update(data);
        await writeAll(stream, data);
        left -= data.length;
      }
      await stream.closeWrite();
      return hash.digest("hex");
    }
    async function receive(stream: TlsStream): Promise<string> {
      const hash = createHash("sha256");
      const buffer = new Uint8Array(256 * KB);
      for (let reads = 1;; reads++) {
        const size = random.pick([1, 1000, 16 * KB, 17 * KB, buffer.length]);
        const count = await within(stream.read(buffer.subarray(0, size)), "more data");
        if (count === null) return hash.digest("hex");
        hash.update(buffer.subarray(0, count));
        // Time for the sender to get far ahead.
        if (reads % 500 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
      }
    }
    const { client, server } = streams;
    const [up, down, gotUp, gotDown] = await within(
      Promise.all([send(client), send(server), receive(server), receive(client)]),
      "50 MB each way",
      60_000,
    );
    assertEquals([gotUp, gotDown], [up, down], `seed ${random.seed}`);
  },
);

Deno.test("TlsStream takes no more from a sender than its reader does", NEEDS, async () => {
  let taken = 0;
  using streams = await createStreamsThrough((tcp) => ({
    localAddr: tcp.localAddr,
    remoteAddr: tcp.remoteAddr,
    async read(buffer): Promise<number | null> {
      const count = await tcp.read(buffer);
      taken += count ?? 0;
      return count;
    },
    write: (data) => tcp.write(data),
    closeWrite: () => tcp.closeWrite(),
    [Symbol.dispose]: () => tcp[Symbol.dispose](),
  }));
  const { client, server } = streams;
  let written = 0;
  async function fill(): Promise<void> {
    const data = new Uint8Array(64 * KB);
    for (;;) written += await client.write(data);
  }
  const filling = fill().catch(() => {});
  let before = -1;
  await until(() => {
    const isFull = written === before;
    before = written;
    return isFull && written > 0;
  }, "the sender is held up");
  // What the kernel holds for both, and nothing of the stream's own.
  assert(written < 32 * MB, `${written} bytes were taken`);
  taken = 0;
  const buffer = new Uint8Array(100);
  let got = 0;
  for (let reads = 0; reads < 1000; reads++) got += await within(server.read(buffer), "data") ?? 0;
  assert(taken <= got + 3 * 17 * KB, `${taken} bytes were taken for ${got}`);
  client[Symbol.dispose]();
  await within(filling, "the sender to give up");
});

Deno.test("TlsStream writes records whole, whoever else has something to send", NEEDS, async () => {
  const random = new Random();
  using streams = await createStreamsThrough((tcp) => ({
    localAddr: tcp.localAddr,
    remoteAddr: tcp.remoteAddr,
    read: (buffer) => tcp.read(buffer.subarray(0, 1 + random.below(buffer.length))),
    async write(data): Promise<number> {
      // A part, and others get their turn in the middle.
      await new Promise((resolve) => setTimeout(resolve, 0));
      return await tcp.write(data.subarray(0, 1 + random.below(data.length)));
    },
    closeWrite: () => tcp.closeWrite(),
    [Symbol.dispose]: () => tcp[Symbol.dispose](),
  }));
  const text = new Array(2000).fill(0).map((_, index) => `${index} `).join("");
  async function send(stream: TlsStream): Promise<void> {
    for (let at = 0; at < text.length;) {
      const length = 1 + random.below(1000);
      // Two at once: as the relay writes while a read has an answer to send.
      const parts = [text.slice(at, at + length), text.slice(at + length, at + 2 * length)];
      await Promise.all(parts.map((part) => writeAll(stream, part)));
      at += 2 * length;
    }
    await stream.closeWrite();
  }
  const { client, server } = streams;
  const [, , up, down] = await Promise.all([
    send(client),
    send(server),
    readText(server, 300),
    readText(client, 300),
  ]);
  assertEquals([up, down], [text, text], `seed ${random.seed}`);
});

Deno.test(
  "TlsStream can be disposed at any moment, and what waits for it rejects",
  NEEDS,
  async () => {
    using ca = await createCa();
    const { TlsStream } = await loadTls();
    const data = new Uint8Array(MB);
    async function fill(stream: TlsStream): Promise<void> {
      for (;;) await writeAll(stream, data);
    }
    const acts: Record<string, (streams: Streams) => Promise<unknown>[]> = {
      "during nothing": () => [],
      "during a read": ({ server }) => [server.read(new Uint8Array(64))],
      "during a write": ({ server }) => [fill(server)],
      "during a read and a write": ({ server }) => [server.read(new Uint8Array(64)), fill(server)],
      "after its own end": ({ server }) => [
        server.closeWrite().then(() => server.read(new Uint8Array(64))),
      ],
    };
    for (const [name, act] of Object.entries(acts)) {
      for (const isFirst of [true, false]) {
        using streams = await createStreams(ca);
        const pending = act(streams).map(outcome);
        await new Promise((resolve) => setTimeout(resolve, 20));
        const { server, client } = streams;
        // By itself, or since the peer has gone.
        (isFirst ? server : client)[Symbol.dispose]();
        const ends = await within(Promise.all(pending), `what waits ${name}`);

        for (const end of ends) assertEquals(end, "rejected", name);
        server[Symbol.dispose]();
        server[Symbol.dispose]();
        assertEquals(await outcome(server.read(new Uint8Array(8))), "rejected", `a read ${name}`);
        assertEquals(await outcome(server.write(new Uint8Array(8))), "rejected", `a write ${name}`);
      }
    }
    // During the handshake.
    using engines = await createEngines(ca);
    const [clientTcp, serverTcp] = await pair();
    using _client = clientTcp;
    const server = new TlsStream(serverTcp, engines.server, "the client");
    const hands = server.shakeHands(() => {});
    hands.catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 20));
    server[Symbol.dispose]();
    await hands.then(() => {}, () => {});
  },
);

Deno.test(
  "TlsStream.shakeHands() sends a client nothing once it was found wanting",
  NEEDS,
  async () => {
    using ca = await createCa();
    const { TlsStream } = await loadTls();
    using engines = await createEngines(ca);
    const [clientTcp, serverTcp] = await pair();
    using client = new TlsStream(clientTcp, engines.client, "the upstream");
    using server = new TlsStream(serverTcp, engines.server, "the client");
    const refusal = new TlsError("found wanting");
    const [welcome] = await Promise.allSettled([
      within(
        server.shakeHands(() => {
          throw refusal;
        }),
        "the server",
      ),
      within(client.shakeHands(() => {}), "the client"),
    ]);
    assertEquals(welcome, { status: "rejected", reason: refusal });
    server[Symbol.dispose]();
    await assertRejects(() => within(client.read(new Uint8Array(8)), "the refusal"), TlsError);
    assertStringIncludes(client.refusal?.message ?? "", "it may not accept this ambassador");
  },
);

Deno.test(
  "TlsStream.shakeHands() gives false for a peer that leaves without a byte",
  NEEDS,
  async () => {
    using ca = await createCa();
    const { TlsStream } = await loadTls();
    using engines = await createEngines(ca);
    const [clientTcp, serverTcp] = await pair();
    clientTcp.close();
    using server = new TlsStream(serverTcp, engines.server, "the client");
    assertEquals(await within(server.shakeHands(() => {}), "the peer to leave"), false);
  },
);

Deno.test(
  "TlsStream.untilAccepted() tells a server that refuses from one that only waits",
  NEEDS,
  async () => {
    using ca = await createCa();
    const { TlsStream } = await loadTls();
    using engines = await createEngines(ca);
    const [clientTcp, serverTcp] = await pair();
    using client = new TlsStream(clientTcp, engines.client, "the upstream");
    using server = new TlsStream(serverTcp, engines.server, "the client");
    const refused = server.shakeHands(() => {
      server[Symbol.dispose]();
    });
    refused.catch(() => {});
    await within(client.shakeHands(() => {}), "the server");
    await assertRejects(
      () => within(client.untilAccepted(AbortSignal.timeout(5000)), "the refusal"),
      TlsError,
      "it may not accept this ambassador",
    );
    await refused.catch(() => {});
    using waiting = await createStreams(ca);
    const stop = new AbortController();
    stop.abort();
    await within(waiting.client.untilAccepted(stop.signal), "the end of the trial");
  },
);

Deno.test(
  "TlsStream.read() gives what came before a record that is wrong, also in one piece with it",
  NEEDS,
  async () => {
    // A record that no key has made (RFC 8446, 5.2).
    const wrong = Uint8Array.from([0x17, 3, 3, 0, 19, ...Array(19).fill(7)]);
    for (const size of [5, 40_000]) {
      let isSpoilt = false;
      using streams = await createStreamsThrough((tcp) => ({
        localAddr: tcp.localAddr,
        remoteAddr: tcp.remoteAddr,
        read: (buffer) => tcp.read(buffer),
        closeWrite: () => tcp.closeWrite(),
        [Symbol.dispose]: () => tcp[Symbol.dispose](),
        async write(data): Promise<number> {
          const bytes = isSpoilt ? Uint8Array.from([...data, ...wrong]) : data;
          for (let rest = bytes; rest.length > 0;) rest = rest.subarray(await tcp.write(rest));
          return data.length;
        },
      }));
      const { client, server } = streams;
      isSpoilt = true;
      assertEquals(await client.write(new Uint8Array(size)), size);
      isSpoilt = false;
      const buffer = new Uint8Array(64 * KB);
      for (let count = 0; count < size;) {
        const more = await within(server.read(buffer), "what was right");
        assert(more !== null, `the end after ${count} of ${size} bytes`);
        count += more;
      }
      await assertRejects(() => within(server.read(buffer), "what was wrong"), TlsError);
    }
  },
);
