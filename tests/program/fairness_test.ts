// The real program with hundreds of busy connections: each has its turn. The load comes from a process
// that serves its own sockets evenly, and goes to a Redis that does.

import { assert } from "@std/assert";
import type { ClosedLoopFigures } from "../../bench/closed_loop.ts";
import { pathOf } from "../../build/sources.ts";
import {
  freePort,
  type Program,
  runProgram,
  startProgram,
  startUpstream,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { networkOf } from "../helpers/namespace.ts";
import { LINUX, needs, programPath } from "../helpers/needs.ts";
import { descriptorsOf } from "../helpers/process.ts";
import { startRedis } from "../helpers/redis.ts";

/** The program before a Redis, and before what else is wanted. */
async function startBeforeRedis(
  otherTarget?: Deno.NetAddr,
): Promise<AsyncDisposable & { program: Program; port: number; otherPort: number }> {
  await using started = new AsyncDisposableStack();
  const redis = started.use(await startRedis());
  const [port, otherPort] = [freePort(), freePort()];
  const routes = [`127.0.0.1:${port}=127.0.0.1:${redis.port}`];
  if (otherTarget !== undefined) {
    routes.push(`127.0.0.1:${otherPort}=127.0.0.1:${otherTarget.port}`);
  }
  const program = started.use(startProgram(routes));
  await program.line(/ ready /);
  const running = started.move();
  return { program, port, otherPort, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

/** Has so many connections ask for two seconds, each again when it has its answer. */
async function closedLoop(port: number, connections: number): Promise<ClosedLoopFigures> {
  const load = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--quiet", "--no-config", "--allow-ffi", pathOf("bench/closed_loop.ts")],
      ...["127.0.0.1", `${port}`, `${connections}`, "2"],
    ],
    stderr: "inherit",
  });
  const { success, stdout } = await within(load.output(), "the load to end", 60_000);
  assert(success);
  return JSON.parse(new TextDecoder().decode(stdout));
}

/**
 * Without turns, of 500 connections the least served gets a tenth of what others do, and one answer in
 * a hundred takes sixty times as long as most.
 */
function assertEven(figures: ClosedLoopFigures): void {
  const { leastShare, p50Ms, p99Ms } = figures;
  assert(leastShare >= 0.25 && p99Ms <= 10 * p50Ms, JSON.stringify(figures));
}

Deno.test({
  name: "each of 500 busy connections has its turn",
  ...needs(LINUX, "redis-server"),
}, async () => {
  await using ambassador = await startBeforeRedis();
  assertEven(await closedLoop(ambassador.port, 500));
});

Deno.test({
  name: "each of 500 busy connections has its turn beside streams, and the streams have theirs",
  ...needs(LINUX, "redis-server"),
}, async () => {
  const chunk = new Uint8Array(1024 * 1024);
  await using sender = startUpstream(async (conn) => {
    // Until its reader has gone.
    await (async () => {
      for (;;) await writeAll(conn, chunk);
    })().catch(() => {});
  });
  await using ambassador = await startBeforeRedis(sender.address);
  const address = { hostname: "127.0.0.1", port: ambassador.otherPort };
  let received = 0;
  async function receive(conn: Deno.TcpConn): Promise<void> {
    const buffer = new Uint8Array(chunk.length);
    try {
      for (let count; (count = await conn.read(buffer)) !== null;) received += count;
    } catch {
      // Closed below.
    }
  }
  const conns = await Promise.all([Deno.connect(address), Deno.connect(address)]);
  const receiving = conns.map(receive);
  const before = received;
  const figures = await closedLoop(ambassador.port, 500);
  const megabytes = (received - before) / 1e6;
  for (const conn of conns) conn.close();
  await Promise.all(receiving);
  assertEven(figures);
  assert(megabytes > 20, `${megabytes} MB`);
});

Deno.test({
  name: "each of 12 streams has its share",
  ...needs(LINUX, "iperf3"),
}, async () => {
  const [port, target] = [freePort(), freePort()];
  const iperf3 = { command: [programPath("iperf3")] };
  await using server = startProgram(
    ["--server", "--bind", "127.0.0.1", "--port", `${target}`, "--forceflush"],
    iperf3,
  );
  await server.output(/Server listening/);
  await using program = startProgram([`127.0.0.1:${port}=127.0.0.1:${target}`]);
  await program.line(/ ready /);
  const { stdout } = await runProgram(
    ["--client", "127.0.0.1", "--port", `${port}`, "--parallel", "12", "--time", "2", "--json"],
    iperf3,
  );
  const { end } = JSON.parse(stdout) as { end: { streams: { receiver: { bytes: number } }[] } };
  const bytes = end.streams.map(({ receiver }) => receiver.bytes).sort((a, b) => a - b);
  // Eight have large buffers: a thirtieth, where each of the others reads once while these do.
  assert((bytes[0] ?? 0) > (bytes[6] ?? 0) / 5, `${bytes}`);
});

Deno.test({
  name: "300 busy connections have their turns beside a rush of new ones",
  ...needs(LINUX, "redis-server", "redis-benchmark"),
}, async () => {
  await using ambassador = await startBeforeRedis();
  await using _rush = startProgram(
    ["-p", `${ambassador.port}`, "-t", "ping_mbulk", "-n", "1000000", "-c", "400", "-k", "0"],
    { command: [programPath("redis-benchmark")] },
  );
  const figures = await closedLoop(ambassador.port, 300);
  assert(figures.leastShare >= 0.25, JSON.stringify(figures));
  // It is 1,400 ms where all who come are accepted at once.
  assert(figures.p50Ms < 400, JSON.stringify(figures));
});

Deno.test({
  name: "each of 150 busy connections has its turn also where no descriptor is left",
  ...needs(LINUX, "redis-server", "prlimit"),
}, async () => {
  await using ambassador = await startBeforeRedis();
  const { pid } = ambassador.program;
  // One too few for a connection of the program's own.
  const limit = descriptorsOf(pid) + 2 * 150 + 1;
  const prlimit = new Deno.Command(programPath("prlimit"), {
    args: ["--pid", `${pid}`, `--nofile=${limit}`],
  });
  assert((await prlimit.output()).success);
  assertEven(await closedLoop(ambassador.port, 150));
});

const PLAIN = networkOf("a network of its own", "");

Deno.test({
  name: "each of 300 busy connections has its turn where the program can't reach itself",
  ...needs("redis-server", "unshare", "nsenter", "ip", PLAIN),
}, async () => {
  const { stdout, stderr } = await PLAIN.run("tests/helpers/no_loopback.ts");
  assert(stdout.startsWith("{"), stdout + stderr);
  assertEven(JSON.parse(stdout));
});
