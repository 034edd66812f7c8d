// What the forwarder owes a stream whether it is plain or TLS: its bytes, its ends, and the difference
// between an end and a cut. And what only TLS has: targets whose handshake fails, or which refuse this
// ambassador after it.

import net from "node:net";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { parseNetworks } from "../../src/base/networks.ts";
import type { Stream } from "../../src/net/stream.ts";
import {
  concat,
  discard,
  echo,
  type Forwarder,
  hash,
  Random,
  readExactly,
  readText,
  startUpstream,
  until,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { needs, programPath, RESETS, TLS } from "../helpers/needs.ts";
import { connectAndReset } from "../helpers/process.ts";

import { everybody, testEveryWay, TLS_WAYS, type Way } from "../helpers/tls_routes.ts";

/** Bytes up, bytes down and the reason of the first connection's end. */
async function closed(forwarder: Forwarder): Promise<string> {
  const line = await lineOf(forwarder, "connection_closed");
  return line.replace(/.* bytes_up=(\d+) bytes_down=(\d+) .* reason=/, "$1/$2 ");
}

/** How a stream ends for its reader: `end` or the name of the error. */
async function endOf(conn: Pick<Stream, "read">): Promise<string> {
  try {
    await discard(conn);
    return "end";
  } catch (error) {
    return error instanceof Error ? error.name : String(error);
  }
}

testEveryWay(
  "serve() delivers a reply that comes long after the client has finished",
  async (way) => {
    const go = Promise.withResolvers<void>();
    await using upstream = way.startUpstream(async (conn) => {
      const request = await readText(conn);
      await go.promise;
      await writeAll(conn, `late ${request}`);
    });
    await using forwarder = await way.startForwarder([upstream.address]);
    using client = await way.connect(forwarder.address);
    await writeAll(client, "request");
    await client.closeWrite();
    // Another whole conversation takes place before the answer.
    await until(() => upstream.clients === 1, "the upstream has its client");
    using other = await way.connect(forwarder.address);
    await writeAll(other, "other");
    await other.closeWrite();
    await until(() => upstream.clients === 2, "the upstream has the other");
    go.resolve();
    assertEquals(await readText(client), "late request");
    assertEquals(await readText(other), "late other");
  },
);

testEveryWay(
  "serve() takes what the client sends long after the upstream has finished",
  async (way) => {
    let received = "";
    await using upstream = way.startUpstream(async (conn) => {
      await writeAll(conn, "all I had to say");
      await conn.closeWrite();
      received = await readText(conn);
    });
    await using forwarder = await way.startForwarder([upstream.address]);
    using client = await way.connect(forwarder.address);
    assertEquals(await readText(client), "all I had to say");
    for (const word of ["and ", "yet ", "more"]) await writeAll(client, word);
    await client.closeWrite();
    assertEquals(await closed(forwarder), "12/16 finished");
    assertEquals(received, "and yet more");
  },
);

/** Writes the data in pieces of any size. */
async function writeInPieces(
  conn: Stream,
  data: Uint8Array<ArrayBuffer>,
  random: Random,
): Promise<void> {
  for (let at = 0; at < data.length;) {
    const count = 1 + random.below(random.pick([10, 1000, 40_000, 300_000]));
    await writeAll(conn, data.subarray(at, at + count));
    at += count;
  }
  await conn.closeWrite();
}

/** Reads to the end in pieces of any size. */
async function readInPieces(conn: Stream, random: Random): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  for (;;) {
    const buffer = new Uint8Array(1 + random.below(random.pick([10, 1000, 40_000, 300_000])));
    const count = await within(conn.read(buffer), "more");
    if (count === null) return concat(chunks);
    chunks.push(buffer.subarray(0, count));
  }
}

testEveryWay(
  "serve() brings all bytes over unchanged in both ways at once, and counts them",
  async (way) => {
    const random = new Random();
    const [up, down] = [random.bytes(3_000_017), random.bytes(2_000_003)];
    const received = Promise.withResolvers<Uint8Array<ArrayBuffer>>();
    await using upstream = way.startUpstream(async (conn) => {
      const [all] = await Promise.all([
        readInPieces(conn, random),
        writeInPieces(conn, down, random),
      ]);
      received.resolve(all);
    });
    await using forwarder = await way.startForwarder([upstream.address]);
    using client = await way.connect(forwarder.address);
    const [answer] = await Promise.all([
      readInPieces(client, random),
      writeInPieces(client, up, random),
    ]);
    const seed = `SEED=${random.seed}`;
    assertEquals(await hash(answer), await hash(down), seed);
    assertEquals(await hash(await within(received.promise, "the upload")), await hash(up), seed);
    assertEquals(await closed(forwarder), `${up.length}/${down.length} finished`);
  },
);

testEveryWay(
  "serve() passes an upstream's break on as one: what came before it arrives, and no end",
  async (way) => {
    const text = new Random().bytes(100_000);
    await using upstream = way.startUpstream(async (conn) => {
      await writeAll(conn, text);
      // No close_notify.
      conn[Symbol.dispose]();
    });
    await using forwarder = await way.startForwarder([upstream.address]);
    using client = await way.connect(forwarder.address);
    const chunks: Uint8Array[] = [];
    const buffer = new Uint8Array(10_000);
    const end = await (async () => {
      for (;;) {
        const count = await within(client.read(buffer), "more").catch(() => "a break" as const);
        if (typeof count !== "number") return count ?? "an end";
        chunks.push(buffer.slice(0, count));
      }
    })();
    assertEquals(await hash(concat(chunks)), await hash(text));
    // Plain, the one can't be told from the other.
    assertEquals(end, way.listen === "tls" ? "a break" : "an end");
    client[Symbol.dispose]();
    assertEquals(await closed(forwarder), "0/100000 upstream_reset");
  },
  { ways: TLS_WAYS.filter(({ target }) => target === "tls") },
);

testEveryWay(
  "serve() passes a client's break on as one: what came before it arrives, and no end",
  async (way) => {
    const text = new Random().bytes(100_000);
    const seen = Promise.withResolvers<string>();
    await using upstream = way.startUpstream(async (conn) => {
      let count = 0;
      const buffer = new Uint8Array(10_000);
      for (;;) {
        const more = await conn.read(buffer).catch(() => "a break" as const);
        if (typeof more !== "number") return seen.resolve(`${count} ${more ?? "an end"}`);
        count += more;
      }
    });
    await using forwarder = await way.startForwarder([upstream.address]);
    {
      using client = await way.connect(forwarder.address);
      await writeAll(client, text);
    }
    const end = way.target === "tls" ? "a break" : "an end";
    assertEquals(await within(seen.promise, "the upstream to see it"), `100000 ${end}`);
    assertEquals(await closed(forwarder), "100000/0 client_reset");
  },
  { ways: TLS_WAYS.filter(({ listen }) => listen === "tls") },
);

/** What the TLS of Deno, which is none of ours, sees of an upstream that ends like this. */
async function seenByDeno(way: Way, end: (conn: Stream) => Promise<void> | void): Promise<string> {
  const { own, ca } = await everybody();
  await using upstream = way.startUpstream(async (conn) => {
    await writeAll(conn, "some");
    await end(conn);
  });
  await using forwarder = await way.startForwarder([upstream.address]);
  using client = await Deno.connectTls({
    hostname: "127.0.0.1",
    port: forwarder.address.port,
    cert: own.cert,
    key: own.key,
    caCerts: [ca.pem],
  });
  assertEquals(await readExactly(client, 4), "some");
  return await within(endOf(client), "the end");
}

testEveryWay(
  "serve() sends a close_notify for an end alone, as another's TLS sees it",
  async (way) => {
    assertEquals(await seenByDeno(way, (conn) => conn.closeWrite()), "end");
    if (way.target === "tcp") return;
    assertEquals(await seenByDeno(way, (conn) => conn[Symbol.dispose]()), "UnexpectedEof");
  },
  { ways: TLS_WAYS.filter(({ listen }) => listen === "tls") },
);

testEveryWay(
  "serve() sends no close_notify to openssl where the upstream has broken off",
  async (way) => {
    const { own, ca } = await everybody();
    for (const isEnd of [true, false]) {
      await using upstream = way.startUpstream(async (conn) => {
        await writeAll(conn, "some");
        if (isEnd) await conn.closeWrite();
        else conn[Symbol.dispose]();
      });
      await using forwarder = await way.startForwarder([upstream.address]);
      const who = ["-cert", own.certPath, "-key", own.keyPath, "-CAfile", ca.path];
      const connect = ["-connect", `127.0.0.1:${forwarder.address.port}`];
      const child = new Deno.Command(programPath("openssl"), {
        args: ["s_client", "-quiet", "-verify_return_error", "-no_ign_eof", ...connect, ...who],
        stdin: "piped",
        stdout: "piped",
        stderr: "piped",
      }).spawn();
      const { stdout, stderr } = await within(child.output(), "openssl to end");
      await child.stdin.close().catch(() => {});
      assertEquals(new TextDecoder().decode(stdout), "some");
      const complaint = new TextDecoder().decode(stderr);
      assertEquals(/unexpected eof/.test(complaint), !isEnd, complaint);
    }
  },
  { ways: TLS_WAYS.filter(({ listen, target }) => listen === target) },
);

testEveryWay("serve() closes a TLS client that is idle without a close_notify", async (way) => {
  await using upstream = way.startUpstream(discard);
  await using forwarder = await way.startForwarder([upstream.address], { idleTimeoutMs: 100 });
  using client = await way.connect(forwarder.address);
  assertEquals(await within(endOf(client), "the end"), "TlsError");
  assertEquals(await closed(forwarder), "0/0 idle_timeout");
}, { ways: TLS_WAYS.filter(({ listen }) => listen === "tls") });

/** Those in which one side is plain and the other is not. */
const [PLAIN_TO_TLS, TLS_TO_PLAIN] = [TLS_WAYS.slice(0, 1), TLS_WAYS.slice(1, 2)];

testEveryWay(
  "serve() sends no close_notify to the upstream of a plain client that resets",
  async (way) => {
    const seen = Promise.withResolvers<string>();
    await using upstream = way.startUpstream(async (conn) => {
      await readExactly(conn, 4);
      await writeAll(conn, "thus far");
      seen.resolve(await endOf(conn));
    });
    await using forwarder = await way.startForwarder([upstream.address]);
    await connectAndReset(forwarder.address, "some");
    assertEquals(await within(seen.promise, "the end"), "TlsError");
    assertEquals(await closed(forwarder), "4/8 client_reset");
  },
  { ways: PLAIN_TO_TLS, abilities: [RESETS] },
);

testEveryWay(
  "serve() sends no close_notify to the client of a plain upstream that resets",
  async (way) => {
    const server = net.createServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", () => socket.write("thus far"));
      socket.once("data", () => socket.once("data", () => socket.resetAndDestroy()));
    });
    const listening = Promise.withResolvers<number>();
    server.listen(
      0,
      "127.0.0.1",
      () => listening.resolve((server.address() as net.AddressInfo).port),
    );
    const port = await within(listening.promise, "the upstream to listen");
    {
      await using forwarder = await way.startForwarder([{ hostname: "127.0.0.1", port }]);
      using client = await way.connect(forwarder.address);
      await writeAll(client, "some");
      assertEquals(await readExactly(client, 8), "thus far");
      await writeAll(client, "more");
      assertEquals(await within(endOf(client), "the end"), "TlsError");
      client[Symbol.dispose]();
      assertEquals(await closed(forwarder), "8/8 upstream_reset");
    }
    await new Promise((resolve) => server.close(resolve));
  },
  { ways: TLS_TO_PLAIN, abilities: [RESETS] },
);

testEveryWay("serve() keeps few bytes of a sender whose reader has stopped", async (way) => {
  let sent = 0;
  const isOver = Promise.withResolvers<void>();
  await using upstream = way.startUpstream(async (conn) => {
    await readExactly(conn, 1);
    await isOver.promise;
  });
  await using forwarder = await way.startForwarder([upstream.address]);
  using client = await way.connect(forwarder.address);
  async function flood(): Promise<void> {
    const block = new Uint8Array(1 << 18);
    for (;;) sent += await client.write(block);
  }
  const flooding = flood().catch(() => {});
  let [last, sinceMs] = [-1, 0];
  await until(() => {
    if (sent !== last) [last, sinceMs] = [sent, performance.now()];
    return sent > 0 && performance.now() - sinceMs > 300;
  }, "the client can send no more");
  // What the systems of three sockets take, and not a buffer that grows.
  assert(sent < 32 * 1024 * 1024, `${sent} bytes`);
  client[Symbol.dispose]();
  isOver.resolve();
  await within(flooding, "the client to end");
});

/** The first line, without its end. */
async function readLine(conn: Stream): Promise<string> {
  let line = "";
  while (!line.endsWith("\r\n")) line += await readExactly(conn, 1);
  return line.trimEnd();
}

for (const version of ["v1", "v2"] as const) {
  Deno.test({
    name: `serve() sends a PROXY header (${version}) before TLS, and takes it there`,
    ...needs(TLS, "openssl"),
  }, async () => {
    const seen = Promise.withResolvers<string>();
    await using upstream = startUpstream(async (conn) => {
      seen.resolve(await readLine(conn));
      await echo(conn);
    });
    const [plainToTls] = PLAIN_TO_TLS;
    const [tlsToPlain] = TLS_TO_PLAIN;
    assert(plainToTls && tlsToPlain);
    const acceptProxy = parseNetworks("127.0.0.0/8");
    await using far = await tlsToPlain.startForwarder([upstream.address], {
      settings: { acceptProxy, sendProxy: "v1" },
    });
    const address = { hostname: "127.0.0.1", port: far.address.port };
    await using near = await plainToTls.startForwarder([address], {
      settings: { sendProxy: version },
    });
    using client = await Deno.connect(near.address);
    await writeAll(client, "through both");
    await client.closeWrite();
    assertEquals(await readText(client), "through both");
    const { hostname, port } = client.localAddr;
    const expected = `PROXY TCP4 ${hostname} 127.0.0.1 ${port} ${near.address.port}`;
    assertEquals(await seen.promise, expected);
    assertMatch(await lineOf(far, "connection_closed"), new RegExp(` client=${hostname}:${port} `));
  });
}

testEveryWay("serve() takes no TLS in the place of a PROXY header", async (way) => {
  await using upstream = way.startUpstream(echo);
  const acceptProxy = parseNetworks("127.0.0.0/8");
  await using forwarder = await way.startForwarder([upstream.address], {
    settings: { acceptProxy },
  });
  await assertRejects(() => way.connect(forwarder.address), Error);
  await lineOf(forwarder, "bad_proxy_header");
  assertEquals(upstream.clients, 0);
}, { ways: TLS_TO_PLAIN });

testEveryWay("serve() takes a PROXY header within TLS for data", async (way) => {
  await using upstream = way.startUpstream(echo);
  await using forwarder = await way.startForwarder([upstream.address]);
  using client = await way.connect(forwarder.address);
  const header = "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";
  await writeAll(client, header);
  await client.closeWrite();
  assertEquals(await readText(client), header);
}, { ways: TLS_TO_PLAIN });

/** Waits for the first line of an event. */
async function lineOf(forwarder: Forwarder, event: string): Promise<string> {
  const find = (): string | undefined => forwarder.lines.find((l) => l.includes(` ${event} `));
  await until(() => find() !== undefined, `${event} in\n${forwarder.lines.join("\n")}`);
  return find() ?? "";
}
