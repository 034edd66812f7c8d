// The real program where one route has nothing to give and takes what it can: descriptors, places and
// time. The others must not feel it.

import { assert, assertEquals } from "@std/assert";
import {
  discard,
  freePort,
  type Program,
  readExactly,
  readToAnyEnd,
  startEcho,
  startProgram,
  startUpstream,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { withResolver } from "../helpers/namespace.ts";
import { startNameServer } from "../helpers/names.ts";
import { LINUX, needs, PROGRAM_TLS, ROOT_RIGHTS } from "../helpers/needs.ts";

import { ALLOWED, argsOf, connectTls, everybody } from "../helpers/tls_routes.ts";
import {
  commandWithLimit,
  descriptorsOf,
  linesOf,
  repeat,
  startSilent,
} from "../helpers/process.ts";

/** One client from its connect to its answer. */
async function visit(address: { hostname: string; port: number }): Promise<void> {
  using client = await Deno.connect(address);
  await writeAll(client, "ping");
  assertEquals(await readExactly(client, 4), "ping");
}

/** Sees 400 clients, four at a time, served in time. */
async function seeServed(address: { hostname: string; port: number }): Promise<void> {
  const startMs = performance.now();
  await within(repeat(400, 4, () => visit(address)), "400 clients to be served");
  const tookMs = performance.now() - startMs;
  assert(tookMs < 6000, `${tookMs} ms`);
}

/** The program with few descriptors: one route to an upstream that answers, one to a dead target. */
async function startBeside(
  deadTarget: string,
  upstream: Deno.NetAddr,
  args: readonly string[] = [],
): Promise<
  AsyncDisposable & Record<"healthy" | "dead", { hostname: string; port: number }> & {
    program: Program;
  }
> {
  const [healthy, dead] = [freePort(), freePort()].map((port) => ({
    hostname: "127.0.0.1",
    port,
  }));
  assert(healthy && dead);
  const program = startProgram([
    ...args,
    `127.0.0.1:${healthy.port}=127.0.0.1:${upstream.port}`,
    `127.0.0.1:${dead.port}=${deadTarget}`,
  ], { command: commandWithLimit(60) });
  await program.line(/ ready /);
  return { program, healthy, dead, [Symbol.asyncDispose]: () => program[Symbol.asyncDispose]() };
}

Deno.test({
  name: "an upstream that never answers does not slow another route where descriptors are short",
  ...needs(LINUX, "bash"),
}, async () => {
  await using upstream = startEcho();
  await using silent = await startSilent();
  const target = `127.0.0.1:${silent.address.port}`;
  await using started = await startBeside(target, upstream.address);
  const { program, healthy, dead } = started;
  using held = new DisposableStack();
  const idle: Deno.TcpConn[] = [];
  while (linesOf(program, "accept_failed").length === 0) {
    const client = held.use(await Deno.connect(healthy));
    idle.push(client);
    await writeAll(client, "x");
    const served = readExactly(client, 1).catch(() => {});
    await Promise.race([served, program.line(/ accept_failed /)]);
  }
  // What some leave behind is enough for those who follow, and a few of them lead nowhere.
  for (let i = 0; i < 3; i++) held.use(await Deno.connect(dead));
  for (const client of idle.splice(-10)) client.close();
  await seeServed(healthy);
});

for (
  const [what, settings, silentTarget] of [
    ["does not answer", "", true],
    ["refuses, with --retry", "?retry=60s", false],
    ["does not resolve", "", false],
  ] as const
) {
  Deno.test({
    name: `a rush of clients to an upstream that ${what} leaves descriptors to another route`,
    ...needs(LINUX, "bash"),
  }, async () => {
    await using upstream = startEcho();
    await using silent = await startSilent();
    const target = silentTarget
      ? `127.0.0.1:${silent.address.port}`
      : settings === ""
      ? "nosuch.localhost:1"
      : `127.0.0.1:${freePort()}`;
    await using started = await startBeside(target + settings, upstream.address);
    const { healthy, dead } = started;
    using rush = new DisposableStack();
    for (let i = 0; i < 100; i++) rush.use(await Deno.connect(dead));
    await seeServed(healthy);
  });
}

Deno.test({
  name:
    "a rush of clients to an upstream that never shakes hands leaves descriptors to another route",
  ...needs(LINUX, PROGRAM_TLS, "bash", "openssl"),
}, async () => {
  await using upstream = startEcho();
  await using mute = startUpstream(discard);
  const target = `tls://127.0.0.1:${mute.address.port}`;
  const args = argsOf(await everybody());
  await using started = await startBeside(target, upstream.address, args);
  const { healthy, dead } = started;
  using rush = new DisposableStack();
  for (let i = 0; i < 100; i++) rush.use(await Deno.connect(dead));
  await seeServed(healthy);
});

Deno.test({
  name: "a rush of clients that never shake hands leaves descriptors to another route",
  ...needs(LINUX, PROGRAM_TLS, "bash", "openssl"),
}, async () => {
  await using upstream = startEcho();
  const [healthy, mute] = [freePort(), freePort()].map((port) => ({
    hostname: "127.0.0.1",
    port,
  }));
  assert(healthy && mute);
  const target = `127.0.0.1:${upstream.address.port}`;
  await using program = startProgram([
    ...argsOf(await everybody()),
    ...["--tls-allow", ALLOWED],
    `127.0.0.1:${healthy.port}=${target}`,
    `127.0.0.1:${mute.port}/tls=${target}`,
  ], { command: commandWithLimit(60) });
  await program.line(/ ready /);
  using rush = new DisposableStack();
  for (let i = 0; i < 100; i++) rush.use(await Deno.connect(mute));
  await seeServed(healthy);
});

for (const [routes, spare] of [[6, 6], [10, 8], [40, 14]] as const) {
  Deno.test({
    name:
      `${routes} clients that take all ${spare} descriptors at once, each of its own route, end nothing`,
    ...needs(LINUX, "bash"),
  }, async () => {
    await using upstream = startEcho();
    const ports = Array.from({ length: routes }, () => freePort());
    const args = ports.map((port) => `127.0.0.1:${port}=127.0.0.1:${upstream.address.port}`);
    let inUse: number;
    {
      await using idle = startProgram(args, { command: commandWithLimit(200) });
      await idle.line(/ ready /);
      inUse = descriptorsOf(idle.pid);
    }
    await using program = startProgram(args, { command: commandWithLimit(inUse + spare) });
    await program.line(/ ready /);
    {
      using rush = new DisposableStack();
      program.kill("SIGSTOP");
      for (const port of ports) rush.use(await Deno.connect({ hostname: "127.0.0.1", port }));
      program.kill("SIGCONT");
      await program.line(/ accept_failed /);
    }
    for (const port of ports.slice(0, 4)) await visit({ hostname: "127.0.0.1", port });
    program.kill("SIGTERM");
    assertEquals((await within(program.status, "the end", 5000)).code, 0);
  });
}

/** Sees ten clients of a looping route let go, the log say why, and another route served. */
async function seeLoopCut(
  program: Program,
  { loop, healthy, isTls = false }: { loop: number; healthy: number; isTls?: boolean },
): Promise<void> {
  using clients = new DisposableStack();
  const address = { hostname: "127.0.0.1", port: loop };
  async function enter(): Promise<void> {
    // Some are let go in the middle of their handshake.
    const client = await connectTls(address).catch(() => undefined);
    if (client !== undefined) await readToAnyEnd(clients.use(client));
  }
  const ends: Promise<void>[] = [];
  for (let i = 0; i < 10; i++) {
    if (isTls) ends.push(enter());
    else ends.push(readToAnyEnd(clients.use(await Deno.connect(address))));
  }
  await within(Promise.all(ends), "every client of the loop to be let go", 8000);
  // The log comes a moment after what the clients see.
  await program.line(/ ERROR loop_detected /);
  await within(visit({ hostname: "127.0.0.1", port: healthy }), "a client of another route");
}

/** Not seen for a loop when the routes are read: for that they would have to know the machine. */
const OWN_ADDRESS =
  Deno.networkInterfaces().find(({ family, address }) =>
    family === "IPv4" && !address.startsWith("127.")
  )?.address ?? "";

for (const limit of [1, 2, 7]) {
  Deno.test({
    name: `a loop is recognised also where all ${limit} places are taken by it`,
    ...needs(LINUX, { name: "an address of its own", isHere: OWN_ADDRESS !== "" }),
  }, async () => {
    await using upstream = startEcho();
    const [loop, healthy] = [freePort(), freePort()];
    await using program = startProgram([
      ...["--max-connections", `${limit}`],
      `${loop}=${OWN_ADDRESS}:${loop}`,
      `${healthy}=127.0.0.1:${upstream.address.port}`,
    ]);
    await program.line(/ ready /);
    await seeLoopCut(program, { loop, healthy });
  });
}

Deno.test({
  name: "a two-route loop is recognised also where all places are taken by it",
  ...needs(LINUX),
}, async () => {
  await using upstream = startEcho();
  const [a, b, healthy] = [freePort(), freePort(), freePort()];
  await using program = startProgram([
    ...["--max-connections", "2"],
    `${a}=localhost:${b}`,
    `${b}=localhost:${a}`,
    `${healthy}=127.0.0.1:${upstream.address.port}`,
  ]);
  await program.line(/ ready /);
  await seeLoopCut(program, { loop: a, healthy });
});

for (
  const [limit, protocols] of [
    ["1", [["tls", "tls"]]],
    ["2", [["tls", "tls"], ["tls", "tls"]]],
    ["2", [["tls", "tcp"], ["tcp", "tls"]]],
    ["2", [["tcp", "tls"], ["tls", "tcp"]]],
  ] as const
) {
  const names = protocols.map((two) => two.join(" → ")).join(", ");
  Deno.test({
    name: `a loop of ${names} is recognised also where all places are taken by it`,
    ...needs(LINUX, PROGRAM_TLS, "openssl", {
      name: "an address of its own",
      isHere: OWN_ADDRESS !== "",
    }),
  }, async () => {
    await using upstream = startEcho();
    const healthy = freePort();
    const ports = protocols.map(() => freePort());
    const routes = protocols.map(([listen, target], index) =>
      `${ports[index]}/${listen}=${target}://${OWN_ADDRESS}:${ports[(index + 1) % ports.length]}`
    );
    await using program = startProgram([
      ...argsOf(await everybody()),
      ...["--max-connections", limit, "--tls-allow", ALLOWED],
      ...routes,
      `${healthy}=127.0.0.1:${upstream.address.port}`,
    ]);
    await program.line(/ ready /);
    const isTls = protocols[0][0] === "tls";
    await seeLoopCut(program, { loop: ports[0] ?? 0, healthy, isTls });
  });
}

/** The middle one of the times, in milliseconds, that so many clients at once take. */
async function medianMs(
  count: number,
  address: { hostname: string; port: number },
): Promise<number> {
  const times = await Promise.all(Array.from({ length: count }, async () => {
    const startMs = performance.now();
    await visit(address);
    return performance.now() - startMs;
  }));
  return times.sort((a, b) => a - b)[count >> 1] ?? NaN;
}

Deno.test({
  name: "clients of this machine wait no longer where a named target has the listener's own port",
  ...needs(LINUX, ROOT_RIGHTS, "unshare"),
}, async () => {
  await using names = await startNameServer(50);
  const folder = await Deno.makeTempDir();
  await Deno.writeTextFile(`${folder}/resolv.conf`, names.config);
  await using same = startEcho();
  await using other = startEcho();
  const ports = { same: same.address.port, other: freePort() };
  await using program = startProgram([
    `127.0.0.5:${ports.same}=upstream.invalid:${same.address.port}`,
    `127.0.0.5:${ports.other}=upstream.invalid:${other.address.port}`,
  ], { command: withResolver(`${folder}/resolv.conf`) });
  await program.line(/ ready /);
  const ratios: number[] = [];
  // In turns, and by the best: the machine has other things to do.
  for (let round = 0; round < 5; round++) {
    const otherMs = await medianMs(8, { hostname: "127.0.0.5", port: ports.other });
    const sameMs = await medianMs(8, { hostname: "127.0.0.5", port: ports.same });
    ratios.push(sameMs / otherMs);
  }
  await Deno.remove(folder, { recursive: true });
  ratios.sort((a, b) => a - b);
  assert((ratios[2] ?? NaN) < 1.4, `${ratios.map((ratio) => ratio.toFixed(2))} times as long`);
});
