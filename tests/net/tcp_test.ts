// Listening: who shares a port with whom. Names and their addresses: the next one has its turn, lookups
// are shared, and one that hangs keeps nobody but those who want it.

import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { connectTcp, connectToFirst, listenTcp } from "../../src/net/tcp.ts";
import type { Stream } from "../../src/net/stream.ts";
import { freePort, runProgram, startEcho, within } from "../helpers/mod.ts";
import { FEW_PORTS, NAMES_HANG, networkOf } from "../helpers/namespace.ts";
import { IPV6, LINUX, needs } from "../helpers/needs.ts";
import { startSilent } from "../helpers/process.ts";

/** A network in which no name server answers. */
const NAMELESS = networkOf("a network in which no name server answers", NAMES_HANG);
/** A network with few ports. */
const CROWDED = networkOf("a network with few ports", FEW_PORTS);
const never = new AbortController().signal;

/** Listens, and gives the port; closes at the end of the block. */
function listening(
  hostname: string,
  port: number,
  reusePort: boolean,
): Disposable & { port: number } {
  const listeners = listenTcp({ hostname, port }, { reusePort });
  return {
    port: listeners[0]?.addr.port ?? 0,
    [Symbol.dispose](): void {
      for (const listener of listeners) listener.close();
    },
  };
}

Deno.test("listenTcp() shares a port only where both sides say so", needs(LINUX), () => {
  const hosts = ["127.0.0.1", "0.0.0.0", ...(IPV6.isHere ? ["::"] : [])];
  for (const first of hosts) {
    for (const second of hosts) {
      for (const [shared, wanted] of [[true, false], [false, true], [false, false]] as const) {
        using taken = listening(first, 0, shared);
        assertThrows(() => listening(second, taken.port, wanted), Deno.errors.AddrInUse);
      }
      using taken = listening(first, 0, true);
      using shared = listening(second, taken.port, true);
      assertEquals(shared.port, taken.port);
    }
  }
});

Deno.test(
  "listenTcp() is given a port that nobody has where it leaves the choice",
  needs(LINUX),
  () => {
    using all = new DisposableStack();
    const ports = Array.from({ length: 200 }, () => all.use(listening("127.0.0.1", 0, true)).port);
    assertEquals(new Set(ports).size, ports.length);
  },
);

Deno.test({
  name: "connectToFirst() goes on with the next address where one refuses",
  ...needs(LINUX),
  async fn(): Promise<void> {
    await using upstream = startEcho({ hostname: "127.0.0.2" });
    const { port } = upstream.address;
    for (const hostnames of [["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"]]) {
      using conn = await within(connectToFirst(hostnames, port, never), "the second address");
      assertEquals(conn.remoteAddr.hostname, "127.0.0.2");
    }
  },
});

Deno.test({
  name: "connectToFirst() goes on with the next address where one does not answer",
  ...needs(LINUX),
  async fn(): Promise<void> {
    await using silent = await startSilent();
    const { port } = silent.address;
    await using _upstream = startEcho({ hostname: "127.0.0.2", port });
    const hostnames = ["127.0.0.1", "127.0.0.2"];
    using conn = await within(connectToFirst(hostnames, port, never), "the second", 5000);
    assertEquals(conn.remoteAddr.hostname, "127.0.0.2");
  },
});

Deno.test("connectToFirst() says what was wrong with the last address", async () => {
  const port = freePort();
  await assertRejects(
    () => within(connectToFirst(["127.0.0.1", "127.0.0.1"], port, never), "both addresses"),
    Deno.errors.ConnectionRefused,
  );
});

Deno.test("connectToFirst() gives all addresses up when its signal aborts", async () => {
  await using silent = await startSilent();
  const { hostname, port } = silent.address;
  const over = new AbortController();
  const connecting = connectToFirst([hostname, hostname, hostname], port, over.signal);
  setTimeout(() => over.abort(new RangeError("over")), 300);
  await assertRejects(() => within(connecting, "the abort", 5000), RangeError, "over");
});

Deno.test("connectTcp() connects all who want one name at once", async () => {
  const [hostname = ""] = await localhost();
  await using upstream = startEcho({ hostname });
  const { port } = upstream.address;
  const all = Array.from(
    { length: 50 },
    () => connectTcp({ hostname: "localhost", port }, { signal: never }),
  );
  for (const conn of await within(Promise.all(all), "all connections")) {
    assertEquals(conn.remoteAddr.port, port);
    conn[Symbol.dispose]();
  }
});

Deno.test("connectTcp() tells all who want one name that it does not resolve", async () => {
  // Refused by every resolver without asking anybody: a label of 64 characters.
  const address = { hostname: "x".repeat(64), port: 1 };
  const all = Array.from({ length: 50 }, () => connectTcp(address, { signal: never }));
  for (const { status, reason } of await failures(all)) {
    assertEquals(status, "rejected");
    assertMatch(String(reason), /failed to lookup address information: Name or service not known/);
  }
});

Deno.test("connectTcp() ends as soon as its signal aborts, and leaves nothing open", async () => {
  const [hostname = ""] = await localhost();
  await using upstream = startEcho({ hostname });
  const address = { hostname: "localhost", port: upstream.address.port };
  const over = new AbortController();
  const all = Array.from({ length: 20 }, () => connectTcp(address, { signal: over.signal }));
  over.abort(new RangeError("over"));
  for (const { reason } of await failures(all)) assertEquals(String(reason), "RangeError: over");
  // The lookup that nobody waited for any more has also ended after this.
  using _conn = await within(connectTcp(address, { signal: never }), "a connection");
});

/** The addresses of this machine's own name. */
async function localhost(): Promise<string[]> {
  const { lookup } = await import("node:dns/promises");
  return (await lookup("localhost", { all: true })).map(({ address }) => address);
}

async function failures(
  all: readonly Promise<Stream>[],
): Promise<readonly { status: string; reason?: unknown }[]> {
  return await within(Promise.allSettled(all), "all of them");
}

Deno.test({
  name: "ambassador wait tells a name server that does not answer from its limit",
  ...needs("unshare", "ip", NAMELESS),
}, async () => {
  const startMs = performance.now();
  const { code, stderr } = await runProgram(
    ["wait", "--timeout", "600ms", "1=nosuch.example:80"],
    { command: NAMELESS.command },
  );
  assertEquals(
    stderr,
    "ambassador: no connection within 600ms: nosuch.example:80 (no answer within 600ms from the name server)\n",
  );
  assertEquals(code, 1);
  const tookMs = performance.now() - startMs;
  assert(tookMs < 5000, `${tookMs} ms`);
});

Deno.test({
  name: "a name that nobody resolves does not keep the others from being resolved",
  ...needs("unshare", "ip", NAMELESS),
}, async () => {
  // More than Deno has threads for lookups. Each is tried again after its limit, while the lookups of
  // the first tries still go on.
  const dead = Array.from({ length: 64 }, (_, i) => `${i + 1}=nosuch.example:${i + 1}`);
  const { stderr } = await runProgram(
    ["wait", "--timeout", "2s", "--connect-timeout", "300ms", ...dead, "99=localhost:9"],
    { command: NAMELESS.command },
  );
  assertMatch(stderr, /localhost:9 \(connection refused\)/);
  assertMatch(stderr, /nosuch\.example:64 \(no answer within 300ms from the name server\)/);
});

Deno.test({
  name: "ambassador wait does not take a connection to itself for an upstream",
  ...needs("unshare", "ip", CROWDED),
}, async () => {
  const { code, stderr } = await runProgram(
    ["wait", "--timeout", "3s", ...[1, 2, 3, 4].map((i) => `${i}=127.0.0.1:4000${i}`)],
    { command: CROWDED.command },
  );
  assertEquals(code, 1);
  assertMatch(stderr, /127\.0\.0\.1:40004 \(connection refused\)/);
});
