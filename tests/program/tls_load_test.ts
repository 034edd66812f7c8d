// A pair of real programs with many clients at once: every byte, an orderly stop, and a sudden death.

import { createHash } from "node:crypto";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { createCa } from "../helpers/certificates.ts";
import {
  echo,
  Random,
  readExactly,
  startEcho,
  startUpstream,
  until,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { LINUX, needs, PROGRAM_TLS } from "../helpers/needs.ts";
import { linesOf } from "../helpers/process.ts";
import { ended, identify, QUIET, said, startClient } from "../helpers/tls_peers.ts";
import { listenByTls, startPair, startTlsProgram } from "../helpers/tls_program.ts";

const NAMES = { dns: ["far.example.com"], ips: ["127.0.0.1"] };
const CLIENTS = 200;
/** How long each of the two hashes is that an upstream ends with. */
const HASH = 32;

async function connectTo(port: number): Promise<Deno.TcpConn> {
  return await within(Deno.connect({ hostname: "127.0.0.1", port }), "a connect");
}

/** Sends so many random bytes, in pieces, and gives their hash. */
async function sendRandom(conn: Deno.TcpConn, count: number): Promise<Uint8Array> {
  const sent = createHash("sha256");
  for (let left = count; left > 0;) {
    const piece = crypto.getRandomValues(new Uint8Array(Math.min(left, 20_000)));
    sent.update(piece);
    await writeAll(conn, piece);
    left -= piece.length;
  }
  return sent.digest();
}

/** Sends random bytes while it hashes what comes; tells both hashes when the client has finished. */
async function tellHashes(conn: Deno.TcpConn): Promise<void> {
  const received = createHash("sha256");
  const buffer = new Uint8Array(64 * 1024);
  async function receive(): Promise<void> {
    for (;;) {
      const count = await conn.read(buffer);
      if (count === null) return;
      received.update(buffer.subarray(0, count));
    }
  }
  const [sent] = await Promise.all([sendRandom(conn, 50_000), receive()]);
  await writeAll(conn, received.digest());
  await writeAll(conn, sent);
  await conn.closeWrite();
}

/** Reads to the end; the bytes before the hashes are hashed, the hashes are what they are. */
async function readHashes(
  conn: Deno.TcpConn,
  onFirst: () => void,
): Promise<{ received: string; told: string[] }> {
  const received = createHash("sha256");
  let kept = new Uint8Array(0);
  const buffer = new Uint8Array(64 * 1024);
  for (;;) {
    const count = await within(conn.read(buffer), "the upstream", 60_000);
    if (count === null) break;
    onFirst();
    const all = new Uint8Array(kept.length + count);
    all.set(kept);
    all.set(buffer.subarray(0, count), kept.length);
    const cut = Math.max(0, all.length - 2 * HASH);
    received.update(all.subarray(0, cut));
    kept = all.slice(cut);
  }
  const told = [kept.slice(0, HASH), kept.slice(HASH)].map((part) => part.toHex());
  return { received: received.digest().toHex(), told };
}

Deno.test({
  name: "a pair brings 200 clients every byte both ways, also those whom a stop finds half-way",
  ...needs(PROGRAM_TLS, "openssl"),
}, async () => {
  using ca = await createCa();
  const random = new Random();
  await using upstream = startUpstream(tellHashes);
  await using pair = await startPair(upstream.address.port, {
    who: await identify(ca, NAMES),
    env: { AMBASSADOR_DRAIN_TIMEOUT: "1m" },
  });
  const stopped = Promise.withResolvers<void>();
  let halfWay = 0;
  async function visit(size: number): Promise<void> {
    using client = await connectTo(pair.port);
    const sent = createHash("sha256");
    const answered = Promise.withResolvers<void>();
    async function send(): Promise<void> {
      for (let i = 0; i < 2; i++) {
        const piece = crypto.getRandomValues(new Uint8Array(size));
        sent.update(piece);
        await writeAll(client, piece);
        // Whoever has heard of the upstream has come through both.
        await within(answered.promise, "an answer");
        if (i === 0 && ++halfWay === CLIENTS) stop();
        await within(stopped.promise, "all to be half-way", 60_000);
      }
      await client.closeWrite();
    }
    const [{ received, told }] = await Promise.all([readHashes(client, answered.resolve), send()]);
    assertEquals(told, [sent.digest().toHex(), received], `SEED=${random.seed}`);
  }
  function stop(): void {
    pair.near.program.kill("SIGTERM");
    pair.far.program.kill("SIGTERM");
    Promise.all([pair.near.program.line(/ draining /), pair.far.program.line(/ draining /)])
      .then(() => stopped.resolve(), stopped.reject);
  }
  await Promise.all(Array.from({ length: CLIENTS }, () => visit(1 + random.below(60_000))));
  for (const { program } of [pair.near, pair.far]) {
    assertEquals((await within(program.status, "the end")).code, 0, program.stderr);
    assertMatch(program.stderr, / INFO {2}stopped cut_off=0\n$/);
    const closed = linesOf(program, "connection_closed");
    assertEquals(closed.length, CLIENTS);
    assert(closed.every((line) => line.endsWith(" reason=finished")));
  }
  assertEquals(upstream.errors, []);
});

/** Reads until the connection is over, however. */
async function untilOver(conn: Deno.TcpConn): Promise<void> {
  const buffer = new Uint8Array(1000);
  try {
    while (await within(conn.read(buffer), "the connection to be over") !== null);
  } catch (error) {
    if (!(error instanceof Deno.errors.ConnectionReset)) throw error;
  }
}

Deno.test({
  name: "a pair whose far side is killed breaks its clients' connections at once",
  ...needs(PROGRAM_TLS, "openssl", LINUX),
}, async () => {
  using ca = await createCa();
  const who = await identify(ca, NAMES);
  await using upstream = startEcho();
  await using pair = await startPair(upstream.address.port, { who });
  using clients = new DisposableStack();
  const conns: Deno.TcpConn[] = [];
  for (let i = 0; i < 20; i++) {
    const client = clients.use(await connectTo(pair.port));
    await writeAll(client, "hello");
    assertEquals(await readExactly(client, 5), "hello");
    conns.push(client);
  }
  pair.far.program.kill("SIGKILL");
  // The shortest patience of the program is longer.
  await within(Promise.all(conns.map(untilOver)), "all to be told", 4000);
  clients.dispose();
  // Plain TCP has no other way to be told: the log and the counts know that it was no end.
  const closed = (): string[] => linesOf(pair.near.program, "connection_closed");
  await until(() => closed().length === conns.length, "all are closed");
  assertEquals(closed().filter((line) => !line.endsWith(" reason=upstream_reset")), []);
});

for (const flag of ["-tls1_2", "-tls1_3"]) {
  Deno.test({
    name: `a client of a TLS listener can tell that its upstream was killed, by ${flag.slice(1)}`,
    ...needs(PROGRAM_TLS, "openssl", LINUX),
  }, async () => {
    using ca = await createCa();
    const who = await identify(ca, NAMES);
    await using upstream = startUpstream(echo);
    await using far = await listenByTls(upstream.address.port, { who });
    await using near = await startTlsProgram("TLS", `tls://127.0.0.1:${far.port}`, { who });
    await using client = startClient(near.port, { who, args: [...QUIET, flag] });
    await client.write("hello\n");
    await said(client, /^hello$/m);
    far.program.kill("SIGKILL");
    const { code, stderr } = await ended(client);
    assertEquals(code, 1);
    // OpenSSL's words for a stream without its end, or for a reset.
    assertMatch(stderr, /unexpected eof while reading|errno=104/);
    await near.program.line(/ connection_closed .* reason=upstream_reset/);
  });
}

Deno.test({
  name: "an upstream of a pair whose near side is killed gets no more than was sent",
  ...needs(PROGRAM_TLS, "openssl", LINUX),
}, async () => {
  using ca = await createCa();
  const who = await identify(ca, NAMES);
  await using upstream = startEcho();
  await using pair = await startPair(upstream.address.port, { who });
  using client = await connectTo(pair.port);
  await writeAll(client, "hello");
  assertEquals(await readExactly(client, 5), "hello");
  pair.near.program.kill("SIGKILL");
  const [line] = await pair.far.program.line(/.* connection_closed .*/);
  assertMatch(line, / bytes_up=5 bytes_down=5 .* reason=client_reset$/);
});
