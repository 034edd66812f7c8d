// A side that resets while the other takes nothing: who is to get what was sent before, and for how
// long that is kept. The time is the test's own, since these limits are long.

import { assert, assertEquals } from "@std/assert";
import type { Connection } from "../../src/forward/connection.ts";
import type { Direction } from "../../src/net/relay.ts";
import {
  discard,
  readAll,
  readExactly,
  readText,
  startUpstream,
  until,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { serveClient, type Served } from "../helpers/connections.ts";

/**
 * A process that connects or accepts, writes for as long as it can and reads nothing. When it is killed
 * the kernel resets its connection, since there is something in it that was not read.
 */
const FLOODER = `
const [port] = Deno.args;
let conn;
if (port === "") {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  console.log(listener.addr.port);
  conn = await listener.accept();
} else {
  conn = await Deno.connect({ hostname: "127.0.0.1", port: Number(port) });
}
for (;;) await conn.write(new Uint8Array(65536));
`;

/** Starts one that connects to the port, or accepts where none is given. */
function startFlooder(port = ""): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ["eval", "-q", FLOODER, port],
    stdout: "piped",
    stderr: "null",
  }).spawn();
}

async function kill(flooder: Deno.ChildProcess): Promise<void> {
  flooder.kill("SIGKILL");
  await within(flooder.status, "the flooder to end");
  await flooder.stdout.cancel();
}

/** Waits until the receiver's system takes no more. */
async function untilStuck(direction: Direction): Promise<void> {
  let last = -1;
  let sinceMs = 0;
  await until(() => {
    if (direction.bytes !== last) [last, sinceMs] = [direction.bytes, performance.now()];
    return direction.writing && last > 0 && performance.now() - sinceMs > 300;
  }, "nothing moves any more");
}

/** Probes at these times, each with its answer before the next. */
async function probe(connection: Connection, ...timesMs: number[]): Promise<void> {
  for (const timeMs of timesMs) {
    connection.checkForReset(timeMs);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A flooding upstream and a client that has said something and reads nothing. */
async function startDownload(): Promise<
  Served & { readonly flooder: Deno.ChildProcess; readonly client: Deno.TcpConn }
> {
  const flooder = startFlooder();
  const reader = flooder.stdout.getReader();
  const { value } = await within(reader.read(), "the flooder to listen");
  reader.releaseLock();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const client = await Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
  const target = { hostname: "127.0.0.1", port: Number(new TextDecoder().decode(value)) };
  const served = serveClient(await listener.accept(), target);
  await writeAll(client, "unread");
  await untilStuck(served.connection.traffic.down);
  return { flooder, client, ...served };
}

Deno.test("Connection ends when its upstream resets and its client takes nothing for ten seconds", async () => {
  const { flooder, client, connection, reason, end } = await startDownload();
  using _client = client;
  await probe(connection, 0, 500, 20_000);
  await kill(flooder);
  await probe(connection, 20_500, 21_000, 30_400);
  assertEquals(reason(), undefined);
  await probe(connection, 30_600);
  assertEquals(await within(end, "the end"), "upstream_reset");
});

Deno.test("Connection delivers all that came before a reset to a client that takes some in time", async () => {
  const { flooder, client, connection, end } = await startDownload();
  using _client = client;
  await kill(flooder);
  await probe(connection, 0, 500, 9000);
  const { down } = connection.traffic;
  const before = down.bytes;
  let read = 0;
  while (down.bytes === before) read += (await readExactly(client, 100_000)).length;
  // Perhaps all of the rest has gone by now.
  await probe(connection, 20_000);
  read += (await readAll(client)).length;
  // What the probes have been told is no reset to the relay any more, but to the log it is.
  await client.closeWrite();
  assertEquals(await within(end, "the end"), "upstream_reset");
  assertEquals(read, down.bytes);
  assert(read > before);
});

Deno.test("Connection ends when its client resets and its upstream takes nothing for ten seconds", async () => {
  const leave = Promise.withResolvers<void>();
  await using upstream = startUpstream(async (conn) => {
    await writeAll(conn, "unread");
    await leave.promise;
  });
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const flooder = startFlooder(String(listener.addr.port));
  const { connection, reason, end } = serveClient(await listener.accept(), upstream.address);
  await untilStuck(connection.traffic.up);
  await until(() => connection.traffic.down.bytes === 6, "the client has an answer");
  await probe(connection, 0, 500, 20_000);
  await kill(flooder);
  await probe(connection, 20_500, 30_400);
  assertEquals(reason(), undefined);
  await probe(connection, 30_600);
  assertEquals(await within(end, "the end"), "client_reset");
  leave.resolve();
});

Deno.test("Connection keeps a client that nobody reads for a while after the upstream has finished", async () => {
  const read = Promise.withResolvers<void>();
  await using upstream = startUpstream(async (conn) => {
    await conn.closeWrite();
    await read.promise;
    await discard(conn);
  });
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  using client = await Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
  const { connection, reason, end } = serveClient(await listener.accept(), upstream.address);
  assertEquals(await readText(client), "");
  const { up, down } = connection.traffic;
  let sent = 0;
  let isEnough = false;
  async function flood(): Promise<void> {
    while (!isEnough) sent += await client.write(new Uint8Array(65536));
    await client.closeWrite();
  }
  const flooding = flood();
  await untilStuck(up);
  assert(down.finished);
  await probe(connection, 0, 500, 1000, 20_000, 40_000);
  assertEquals(reason(), undefined);
  isEnough = true;
  read.resolve();
  await within(flooding, "the flood to end");
  assertEquals(await within(end, "the end"), "finished");
  assertEquals(up.bytes, sent);
});
