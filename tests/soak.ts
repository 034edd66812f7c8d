// Minutes of mixed load on the real program: `deno task soak --minutes 10`. Every byte is checked by
// its hash; at the end stand a stop under load and the question of what has been left behind.

import { assert, assertEquals } from "@std/assert";
import { parseArgs } from "@std/cli/parse-args";
import {
  concat,
  freePort,
  hash,
  Random,
  readAll,
  startProgram,
  startUpstream,
  until,
  type Upstream,
  within,
  writeAll,
} from "./helpers/mod.ts";
import { RESETS } from "./helpers/needs.ts";
import {
  connectAndReset,
  descriptorsOf,
  linesOf,
  memoryOf,
  repeat,
  untilDescriptors,
} from "./helpers/process.ts";

type Address = { readonly hostname: string; readonly port: number };

const AT_ONCE = 40;
/** What the program may have grown by, from the first tenth of the run to its end. */
const MAX_GROWTH_BYTES = 32 * 2 ** 20;

const random = new Random();
const counts: Record<string, number> = {};
let bytes = 0;

function count(what: string): void {
  counts[what] = (counts[what] ?? 0) + 1;
}

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}

/** Random bytes, cheaply. */
function someBytes(most: number): Uint8Array<ArrayBuffer> {
  const block = random.bytes(256);
  return Uint8Array.from(
    { length: 1 + random.below(most) },
    (_, i) => (block[i & 255] ?? 0) ^ (i >> 8),
  );
}

/** Sends everything back as it comes; clients that vanish are no news. */
async function reply(conn: Deno.TcpConn): Promise<void> {
  const buffer = new Uint8Array(64 * 1024);
  try {
    for (;;) {
      const n = await conn.read(buffer);
      if (n === null) break;
      await writeAll(conn, buffer.subarray(0, n));
    }
    await conn.closeWrite();
  } catch {
    // A client of the kind that vanishes.
  }
}

/** Answers only when the client has finished, as `sort` would. */
async function replyLate(conn: Deno.TcpConn): Promise<void> {
  try {
    const all = await readAll(conn);
    await pause(20);
    await writeAll(conn, all);
  } catch {
    // As above.
  }
}

async function expectBack(
  sent: Uint8Array<ArrayBuffer>,
  got: Uint8Array<ArrayBuffer>,
): Promise<void> {
  assertEquals(got.length, sent.length, `${sent.length} bytes were sent, ${got.length} came back`);
  assertEquals(await hash(got), await hash(sent), "the bytes that came back are not those sent");
  bytes += 2 * sent.length;
}

/** Sends, finishes, and reads the answer meanwhile, a little at a time if it is slow. */
async function exchange(address: Address, most: number, slow: boolean): Promise<void> {
  const sent = someBytes(most);
  using conn = await Deno.connect(address);
  async function send(): Promise<void> {
    await writeAll(conn, sent);
    await conn.closeWrite();
  }
  async function receive(): Promise<Uint8Array<ArrayBuffer>> {
    if (!slow) return await readAll(conn);
    const chunks: Uint8Array[] = [];
    for (;;) {
      const buffer = new Uint8Array(16 * 1024);
      const n = await within(conn.read(buffer), "a slow client's bytes");
      if (n === null) return concat(chunks);
      chunks.push(buffer.subarray(0, n));
      await pause(2);
    }
  }
  const [, got] = await Promise.all([send(), receive()]);
  await expectBack(sent, got);
}

/**
 * An upstream that stops listening resets who is in its listen queue. Whom it has accepted, it serves:
 * nothing else may be lost.
 */
async function exchangeIfThere(address: Address): Promise<void> {
  const sent = someBytes(1000);
  using conn = await Deno.connect(address);
  await writeAll(conn, sent);
  await conn.closeWrite();
  const got = await readAll(conn).catch(() => new Uint8Array());
  if (got.length === 0) count("  of these reset in the upstream's listen queue");
  else await expectBack(sent, got);
}

/** Many questions and answers on one connection. */
async function chat(address: Address): Promise<void> {
  using conn = await Deno.connect(address);
  for (let i = 20 + random.below(30); i > 0; i--) {
    const sent = someBytes(300);
    await writeAll(conn, sent);
    const got = new Uint8Array(sent.length);
    for (let done = 0; done < got.length;) {
      const n = await within(conn.read(got.subarray(done)), "an answer");
      if (n === null) throw new Error("the connection ended in the middle of a conversation");
      done += n;
    }
    await expectBack(sent, got);
    await pause(random.below(20));
  }
}

async function vanish(address: Address): Promise<void> {
  if (RESETS.isHere && random.below(2) === 0) {
    return await connectAndReset(address, random.below(2) === 0 ? "" : "x");
  }
  using conn = await Deno.connect(address);
  await writeAll(conn, someBytes(100_000)).catch(() => {});
}

const KINDS: Record<string, (routes: Routes) => Promise<void>> = {
  short: ({ steady }) => exchange(steady, 1000, false),
  "held for an upstream that comes and goes": ({ flapping }) => exchangeIfThere(flapping),
  long: ({ steady }) => exchange(steady, 4_000_000, false),
  slow: ({ steady }) => exchange(steady, 400_000, true),
  "half-closed": ({ late }) => exchange(late, 100_000, false),
  conversation: ({ steady }) => chat(steady),
  vanishing: ({ steady }) => vanish(steady),
};

interface Routes {
  readonly steady: Address;
  readonly late: Address;
  readonly flapping: Address;
}

/** An upstream that is there and away in turn, until the signal; clients under way are served. */
async function flap(address: Address, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    let under = 0;
    const upstream: Upstream = startUpstream(async (conn) => {
      under++;
      await reply(conn);
      under--;
    }, address);
    await pause(500);
    // Nothing new from here on, and what has begun is finished.
    upstream.close();
    await until(() => under === 0, "the upstream's clients are served");
    await upstream[Symbol.asyncDispose]();
    await pause(500);
  }
}

function report(when: string, pid: number): void {
  const memory = (memoryOf(pid) / 2 ** 20).toFixed(1);
  const total = Object.values(counts).reduce((sum, n) => sum + n, 0);
  console.log(
    `${when.padEnd(8)} descriptors ${descriptorsOf(pid)}, memory ${memory} MiB, ` +
      `connections ${total}, bytes checked ${(bytes / 2 ** 20).toFixed(1)} MiB`,
  );
}

async function soak(minutes: number): Promise<void> {
  console.log(`soak: ${minutes} min, seed ${random.seed}`);
  await using steady = startUpstream(reply);
  await using late = startUpstream(replyLate);
  const away = { hostname: "127.0.0.1", port: freePort() };
  const listen = (): Address => ({ hostname: "127.0.0.1", port: freePort() });
  const routes: Routes = { steady: listen(), late: listen(), flapping: listen() };
  const route = (from: Address, to: Address): string =>
    `127.0.0.1:${from.port}=127.0.0.1:${to.port}`;
  await using program = startProgram([
    "--retry",
    "30s",
    "--drain-timeout",
    "20s",
    route(routes.steady, steady.address),
    route(routes.late, late.address),
    route(routes.flapping, away),
  ]);
  await program.line(/ready/);
  const { pid } = program;
  const descriptors = descriptorsOf(pid);
  report("start", pid);

  const stop = new AbortController();
  const flapping = flap(away, stop.signal);
  const endMs = performance.now() + minutes * 60_000;
  const warmMs = performance.now() + minutes * 6_000;
  let warmBytes = 0;
  await repeat(Infinity, AT_ONCE, async () => {
    if (warmBytes === 0 && performance.now() > warmMs) {
      warmBytes = memoryOf(pid);
      report("warm", pid);
    }
    const kind = random.pick(Object.keys(KINDS));
    await KINDS[kind]?.(routes);
    count(kind);
  }, () => performance.now() < endMs);
  report("loaded", pid);
  console.log(counts);

  await untilDescriptors(pid, descriptors + 8);
  await until(
    () => memoryOf(pid) < warmBytes + MAX_GROWTH_BYTES,
    `the program is within ${
      MAX_GROWTH_BYTES / 2 ** 20
    } MiB of its memory after a tenth of the run`,
    30_000,
  );
  report("quiet", pid);
  assertEquals(linesOf(program, "connect_failed"), [], program.stderr);
  assertEquals(linesOf(program, "accept_failed"), [], program.stderr);

  // The stop, in the middle of transfers.
  const accepted = steady.clients;
  const last = Array.from({ length: 10 }, () => exchange(routes.steady, 2_000_000, true));
  const all = Promise.all(last);
  all.catch(() => {});
  await until(() => steady.clients === accepted + 10, "ten transfers are under way");
  program.kill("SIGTERM");
  await within(all, "the transfers to finish", 60_000);
  const { code } = await within(program.status, "the program to end");
  assertEquals(code, 0, program.stderr);
  assert(/stopped cut_off=0\n$/.test(program.stderr), program.stderr);
  stop.abort();
  await flapping;
  console.log("stopped  nothing lost, nothing left behind");
}

if (import.meta.main) {
  const { minutes = "2" } = parseArgs(Deno.args, { boolean: [], string: ["minutes"], alias: {} });
  if (!(Number(minutes) > 0)) throw new Error("usage: deno task soak [--minutes N]");
  await soak(Number(minutes));
}
