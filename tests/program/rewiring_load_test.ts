// A file of routes that changes again and again under load: no client is refused, no byte is lost, and
// nothing grows slow of it.

import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  concat,
  freePort,
  hash,
  readExactly,
  startUpstream,
  until,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { findOnPath, LINUX, needs, UNIX } from "../helpers/needs.ts";
import { descriptorsOf, linesOf, untilDescriptors } from "../helpers/process.ts";
import { startRedis } from "../helpers/redis.ts";
import { freePorts, lineOf, sleep, startWired, type Wired } from "../helpers/rewiring.ts";

const CLIENTS = 20;
const CHANGES = 100;
const LARGE_BYTES = 64 * 1024 * 1024;

/** A server that knows `who` it is, and perhaps something `large`. */
interface Server extends AsyncDisposable {
  readonly port: number;
}

/** Starts a Redis, or what answers as it does where there is none. */
async function startServer(name: string, large?: Uint8Array<ArrayBuffer>): Promise<Server> {
  const values = new Map([["who", new TextEncoder().encode(name)]]);
  if (large !== undefined) values.set("large", large);
  if (findOnPath("redis-server") === undefined) return startStandIn(values);
  const redis = await startRedis();
  using conn = await Deno.connect(redis);
  for (const [key, value] of values) {
    await writeAll(conn, `*3\r\n$3\r\nSET\r\n$${key.length}\r\n${key}\r\n$${value.length}\r\n`);
    await writeAll(conn, value);
    await writeAll(conn, "\r\n");
    assertEquals(await readExactly(conn, 5), "+OK\r\n");
  }
  return redis;
}

function startStandIn(values: ReadonlyMap<string, Uint8Array>): Server {
  const upstream = startUpstream(async (conn) => {
    const question = new Uint8Array(64);
    for (;;) {
      const count = await conn.read(question);
      if (count === null) return;
      const [, key = ""] = new TextDecoder().decode(question.subarray(0, count)).split(/\s/);
      const value = values.get(key) ?? new Uint8Array();
      await writeAll(conn, `$${value.length}\r\n`);
      await writeAll(conn, value);
      await writeAll(conn, "\r\n");
    }
  });
  const { port } = upstream.address;
  return { port, [Symbol.asyncDispose]: () => upstream[Symbol.asyncDispose]() };
}

async function ask(client: Deno.TcpConn): Promise<string> {
  await writeAll(client, "GET who\r\n");
  const answer = await readExactly(client, 7);
  assertMatch(answer, /^\$1\r\n[ab]\r\n$/);
  return answer.slice(4, 5);
}

/** Connects, asks, and disconnects. */
async function whoAnswers(port: number, hostname = "127.0.0.1"): Promise<string> {
  using client = await within(Deno.connect({ hostname, port }), "a connect");
  return await ask(client);
}

/** Clients that come and go until they are told to stop. */
interface Clients {
  /** How many have had each answer. */
  readonly answers: ReadonlyMap<string, number>;
  /** Stops them; rejects if one of them was not served. */
  stop(): Promise<void>;
}

function startClients(port: number, count: number): Clients {
  const answers = new Map<string, number>();
  let isOver = false;
  async function work(): Promise<void> {
    while (!isOver) {
      const answer = await whoAnswers(port);
      answers.set(answer, (answers.get(answer) ?? 0) + 1);
      // So that ports last: each is taken for a minute.
      await sleep(5);
    }
  }
  const asking = Promise.all(Array.from({ length: count }, work));
  // Whoever stops them hears of it.
  asking.catch(() => {});
  return {
    answers,
    async stop(): Promise<void> {
      isOver = true;
      await asking;
    },
  };
}

/** A transfer that is read no faster than it is let. */
interface Download {
  /** Lets it come as far as this share of the whole. */
  upTo(share: number): Promise<void>;
  /** All that has come. */
  readonly chunks: readonly Uint8Array[];
}

async function startDownload(client: Deno.TcpConn, bytes: number): Promise<Download> {
  const header = `$${bytes}\r\n`;
  await writeAll(client, "GET large\r\n");
  assertEquals(await readExactly(client, header.length), header);
  const chunks: Uint8Array[] = [];
  let read = 0;
  return {
    chunks,
    async upTo(share): Promise<void> {
      while (read < share * bytes) {
        const chunk = new Uint8Array(Math.min(256 * 1024, bytes - read));
        const count = await within(client.read(chunk), "more of the transfer");
        if (count === null) throw new Error(`the transfer ended after ${read} bytes`);
        chunks.push(chunk.subarray(0, count));
        read += count;
      }
    },
  };
}

async function metric(wired: Wired, name: string): Promise<number> {
  const text = await (await fetch(`${wired.statusUrl}/metrics`)).text();
  const lines = text.split("\n").filter((line) => line.startsWith(name));
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
}

Deno.test({
  name:
    "no client is refused and a transfer arrives whole while the file changes a hundred times, ten times to something broken",
  ...needs(UNIX),
}, async () => {
  const large = new Uint8Array(LARGE_BYTES);
  for (let at = 0; at < large.length; at += 65536) {
    crypto.getRandomValues(large.subarray(at, at + 65536));
  }
  await using a = await startServer("a", large);
  await using b = await startServer("b");
  const port = freePort();
  const other = freePort();
  const settings = "connect-timeout=5s";
  const unchanged = lineOf(other, a, { alias: "OTHER" });
  await using wired = await startWired(lineOf(port, a, { settings }) + unchanged);
  using client = await Deno.connect({ hostname: "127.0.0.1", port });
  const download = await startDownload(client, LARGE_BYTES);
  const clients = startClients(port, CLIENTS);
  const ofOther = startClients(other, 1);
  let isAtA = true;
  for (let change = 1; change <= CHANGES; change++) {
    const isBroken = change % 10 === 0;
    if (!isBroken) isAtA = !isAtA;
    const target = isAtA ? a : b;
    // What is broken would lead elsewhere if it were taken.
    const text = isBroken
      ? lineOf(port, isAtA ? b : a, { settings }) + "BROKEN\n"
      : lineOf(port, target, { settings }) + unchanged;
    assertMatch(
      await wired.taken(text),
      isBroken ? / rewire_failed / : / rewired .* changed=REDIS@/,
    );
    assertEquals([change, await whoAnswers(port)], [change, isAtA ? "a" : "b"]);
    await download.upTo(change / CHANGES);
  }
  await clients.stop();
  await ofOther.stop();
  assert(Math.min(...["a", "b"].map((name) => clients.answers.get(name) ?? 0)) > CLIENTS);
  assertEquals([...ofOther.answers.keys()], ["a"]);
  assertEquals(await hash(concat(download.chunks)), await hash(large));
  assertEquals(await metric(wired, 'ambassador_rewires_total{result="ok"}'), 90);
  assertEquals(await metric(wired, 'ambassador_rewires_total{result="failed"}'), 10);
  assertEquals(wired.said, { rewired: 90, failed: 10 });
  const asked = (all: Clients): number => [...all.answers.values()].reduce((sum, n) => sum + n, 0);
  // Those of the changes, and the transfer.
  const total = asked(clients) + CHANGES + 1;
  assertEquals(await metric(wired, 'ambassador_connections_total{route="REDIS"'), total);
  assertEquals(
    await metric(wired, 'ambassador_connections_total{route="OTHER"'),
    asked(ofOther),
  );
  assertEquals(await metric(wired, "ambassador_connect_errors_total"), 0);
  assert(!/ connect_failed | WARN /.test(wired.program.stderr), wired.program.stderr);
});

/** Changes a file every 50 ms for five seconds; then its last content has as long. */
async function isKeptUpWith(change: "replace" | "take"): Promise<void> {
  await using a = startStandIn(new Map([["who", new TextEncoder().encode("a")]]));
  await using b = startStandIn(new Map([["who", new TextEncoder().encode("b")]]));
  const port = freePort();
  await using wired = await startWired(lineOf(port, a));
  const clients = startClients(port, 4);
  const endMs = performance.now() + 5000;
  for (let count = 1; performance.now() < endMs; count++) {
    await wired[change](`${lineOf(port, count % 2 === 0 ? a : b)}# ${count}\n`);
    await sleep(50);
  }
  const last = freePort();
  await wired.replace(lineOf(port, b) + lineOf(last, b, { alias: "LAST" }));
  await within(wired.program.line(/ rewired .* added=LAST@/), "the last content", 5000);
  await clients.stop();
  assertEquals([await whoAnswers(port), await whoAnswers(last)], ["b", "b"]);
  assertEquals(wired.said.failed, 0);
  assertEquals(linesOf(wired.program, "connect_failed"), []);
  // Unasked nothing is taken that does not stand still, and a busy machine may halt the changes.
  const { rewired } = wired.said;
  assert(change === "take" ? rewired > 20 : rewired < 5, `${rewired} times`);
  wired.program.kill("SIGTERM");
  assertEquals((await within(wired.program.status, "the end")).code, 0);
}

Deno.test({
  name:
    "a file that changes every 50 ms, with SIGHUP or without, costs no client, and its last content is taken within five seconds",
  ...needs(UNIX),
}, async () => {
  await Promise.all([isKeptUpWith("replace"), isKeptUpWith("take")]);
});

Deno.test({
  name: "one of 3,000 routes changes at once, and the others do not notice",
  ...needs(LINUX),
}, async () => {
  await using a = startStandIn(new Map([["who", new TextEncoder().encode("a")]]));
  await using b = startStandIn(new Map([["who", new TextEncoder().encode("b")]]));
  const hostname = "127.15.1.1";
  const ports = freePorts(hostname, 3000);
  const lines = ports.map((port) => lineOf(port, a, { alias: `R${port}` }));
  const [other = 0, port = 0] = [ports[7], ports[1234]];
  await using wired = await startWired(lines.join(""), { args: ["--bind", hostname] });
  using client = await Deno.connect({ hostname, port: other });
  assertEquals(await ask(client), "a");
  const tookMs: number[] = [];
  for (const to of [b, a, b]) {
    const changed = lines.with(1234, lineOf(port, to, { alias: `R${port}` }));
    const startMs = performance.now();
    const line = await wired.taken(changed.join(""));
    tookMs.push(performance.now() - startMs);
    assertMatch(line, new RegExp(` routes=3000 changed=R${port}@127\\.15\\.1\\.1:${port}$`));
    assertEquals(await whoAnswers(port, hostname), to === a ? "a" : "b");
    assertEquals(await ask(client), "a");
  }
  // Many times what it takes, and less than it would take unasked.
  assert(Math.min(...tookMs) < 900, `${tookMs} ms`);
});

Deno.test({
  name: "routes that come and go leave no descriptor and no series of metrics behind",
  ...needs(LINUX),
}, async () => {
  await using a = startStandIn(new Map([["who", new TextEncoder().encode("a")]]));
  const hostname = "127.15.2.1";
  const ports = freePorts(hostname, 50);
  const [first = "", ...others] = ports.map((port) => lineOf(port, a, { alias: `R${port}` }));
  const last = ports.at(-1) ?? 0;
  await using wired = await startWired(first, { args: ["--bind", hostname] });
  const { pid } = wired.program;
  let before = 0;
  for (let round = 0; round < 20; round++) {
    assertMatch(await wired.taken(first + others.join("")), / routes=50 added=/);
    assertEquals(await whoAnswers(last, hostname), "a");
    assertMatch(await wired.taken(first), / routes=1 removed=/);
    // The first of them loads code, and opens what stays.
    if (round === 1) before = descriptorsOf(pid);
  }
  await untilDescriptors(pid, before + 2);
  const series = async (): Promise<number> => {
    const metrics = await (await fetch(`${wired.statusUrl}/metrics`)).text();
    return metrics.match(/^ambassador_connections_total\{/gm)?.length ?? 0;
  };
  await until(async () => await series() === 1, "only the first route is counted");
});
