// The real program between real processes that are killed, stopped and starved in the middle of a
// transfer. Nothing is looked at but what comes out at either end, and the exit status.

import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  freePort,
  type Program,
  programCommand,
  readExactly,
  runProgram,
  startEcho,
  startProgram,
  until,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { IPV6, LINUX, needs } from "../helpers/needs.ts";
import {
  commandWithLimit,
  descriptorsOf,
  linesOf,
  repeat,
  startRoute,
  untilDescriptors,
} from "../helpers/process.ts";

/** What moves, in steps small enough for a signal to come in the middle. */
const BYTES = 24 * 1024 * 1024;

/** Listens, says where, and gives each client a known stream; says when half of it is gone. */
const SENDER = `
const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
console.log("port " + listener.addr.port + ".");
for await (const conn of listener) {
  const chunk = Uint8Array.from({ length: 65536 }, (_, i) => i * 31 + (i >> 8));
  for (let sent = 0; sent < ${BYTES}; sent += chunk.length) {
    for (let rest = chunk; rest.length > 0;) rest = rest.subarray(await conn.write(rest));
    if (sent === ${BYTES / 2}) console.log("half");
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  conn.close();
}`;

/** Connects and says how much of the known stream has come, unchanged, and how it ended. */
const RECEIVER = `
const conn = await Deno.connect({ hostname: "127.0.0.1", port: Number(Deno.args[0]) });
const buffer = new Uint8Array(65536);
let count = 0, end = "finished";
try {
  for (let n; (n = await conn.read(buffer)) !== null;) {
    for (let i = 0; i < n; i++, count++) {
      const at = count & 65535;
      if (buffer[i] !== ((at * 31 + (at >> 8)) & 255)) throw new Error("changed at " + count);
    }
  }
} catch (error) {
  end = error.message.startsWith("changed") ? error.message : "reset";
}
console.log("received " + count + " " + end + ".");`;

function startPeer(code: string, ...args: string[]): Program {
  return startProgram(args, { command: [Deno.execPath(), "eval", code] });
}

/** A transfer that is half done: who sends, what forwards, who receives. */
interface Transfer extends AsyncDisposable {
  readonly upstream: Program;
  readonly ambassador: Program;
  readonly client: Program;
  /** Where the ambassador leads to the sender, and to an echo. */
  readonly ports: { readonly sender: number; readonly echo: number };
}

async function startTransfer(): Promise<Transfer> {
  await using started = new AsyncDisposableStack();
  const neighbour = started.use(startEcho());
  const upstream = started.use(startPeer(SENDER));
  const [, port] = await upstream.output(/port (\d+)\./);
  const ports = { sender: freePort(), echo: freePort() };
  const ambassador = started.use(startProgram([
    `127.0.0.1:${ports.sender}=127.0.0.1:${port}`,
    `127.0.0.1:${ports.echo}=127.0.0.1:${neighbour.address.port}`,
  ]));
  await ambassador.line(/ ready /);
  const client = started.use(startPeer(RECEIVER, String(ports.sender)));
  await upstream.output(/half/);
  const rest = started.move();
  return { upstream, ambassador, client, ports, [Symbol.asyncDispose]: () => rest.disposeAsync() };
}

async function ping(port: number, hostname = "127.0.0.1"): Promise<void> {
  using conn = await Deno.connect({ hostname, port });
  await writeAll(conn, "ping");
  assertEquals(await readExactly(conn, 4), "ping");
}

for (const who of ["upstream", "ambassador", "client"] as const) {
  Deno.test({
    name: `a transfer arrives whole although the ${who} stands still in the middle of it`,
    ...needs(LINUX),
  }, async () => {
    await using transfer = await startTransfer();
    const { pid } = transfer[who];
    transfer[who].kill("SIGSTOP");
    const stands = (): boolean => /^State:\tT/m.test(Deno.readTextFileSync(`/proc/${pid}/status`));
    await until(stands, "it stands still");
    if (who !== "ambassador") await ping(transfer.ports.echo);
    transfer[who].kill("SIGCONT");
    const [, count, end] = await transfer.client.output(/received (\d+) (.*)\./);
    assertEquals([Number(count), end], [BYTES, "finished"]);
  });
}

Deno.test("a client hears of it when its upstream is killed, and its neighbours do not", async () => {
  await using transfer = await startTransfer();
  using neighbour = await Deno.connect({ hostname: "127.0.0.1", port: transfer.ports.echo });
  await writeAll(neighbour, "before");
  await readExactly(neighbour, 6);
  transfer.upstream.kill("SIGKILL");
  const [, count, end] = await transfer.client.output(/received (\d+) (.*)\./);
  assert(Number(count) < BYTES && /^(?:finished|reset)$/.test(end ?? ""), `${count} ${end}`);
  await writeAll(neighbour, "after");
  assertEquals(await readExactly(neighbour, 5), "after");
  await ping(transfer.ports.echo);
});

Deno.test({
  name: "the program lets go of a client that is killed, and serves the next",
  ...needs(LINUX),
}, async () => {
  await using transfer = await startTransfer();
  const open = descriptorsOf(transfer.ambassador.pid);
  transfer.client.kill("SIGKILL");
  await untilDescriptors(transfer.ambassador.pid, open - 2);
  await ping(transfer.ports.echo);
});

Deno.test("a client hears of it when the ambassador is killed", async () => {
  await using transfer = await startTransfer();
  transfer.ambassador.kill("SIGKILL");
  const [, count, end] = await transfer.client.output(/received (\d+) (.*)\./);
  assert(Number(count) < BYTES && /^(?:finished|reset)$/.test(end ?? ""), `${count} ${end}`);
});

for (const limit of [32, 40, 80]) {
  Deno.test({
    name: `the program serves a hundred clients, ten at a time, with ${limit} descriptors`,
    ...needs(LINUX, "bash"),
  }, async () => {
    await using upstream = startEcho();
    const { program, address } = await startRoute(upstream.address, {
      maxDescriptors: limit,
      args: ["--connect-timeout", "30s"],
    });
    await using _program = program;
    await within(repeat(100, 10, () => ping(address.port)), "all to be served");
    assertEquals(linesOf(program, "connect_failed"), []);
    program.kill("SIGTERM");
    assertEquals((await within(program.status, "the end")).code, 0);
  });
}

Deno.test({
  name: "the program says so and ends with 1 where there are too few descriptors to listen",
  ...needs(LINUX, "bash"),
}, async () => {
  const routes = Array.from({ length: 60 }, () => `127.0.0.1:${freePort()}=127.0.0.1:9`);
  const { code, stderr } = await runProgram(routes, { command: commandWithLimit(40) });
  assertEquals(code, 1);
  assertMatch(stderr, /^ambassador: cannot listen on .*: out of file descriptors\n/);
});

Deno.test({
  name: "check says so and ends with 1 where its output can't be written",
  ...needs(LINUX),
}, async () => {
  const command = ["sh", "-c", '"$0" "$@" >/dev/full', ...programCommand()];
  const { code, stderr } = await runProgram(["check", "1=192.0.2.1:1"], { command });
  assertEquals(code, 1);
  assertMatch(stderr, /^ambassador: .*\n$/);
});

Deno.test("the program forwards among thousands of variables that are none of its business", async () => {
  await using upstream = startEcho();
  const port = freePort();
  const others = Array.from({ length: 3000 }, (_, i) => [
    [`SERVICE_${i}_SERVICE_HOST`, "192.0.2.1"],
    [`SERVICE_${i}_PORT_80_TCP_ADDR`, "192.0.2.1"],
  ]).flat();
  await using program = startProgram(["--bind", "127.0.0.1"], {
    env: {
      ...Object.fromEntries(others),
      [`REDIS_PORT_${port}_TCP`]: `tcp://127.0.0.1:${upstream.address.port}`,
    },
  });
  await program.line(/ ready routes=1\b/);
  await ping(port);
});

Deno.test({
  name: "the program forwards a thousand routes at once",
  ...needs(LINUX),
}, async () => {
  await using upstream = startEcho();
  const taken = new Set<number>();
  while (taken.size < 1000) taken.add(freePort());
  const ports = [...taken];
  await using program = startProgram(
    ports.map((port) => `127.0.0.1:${port}=127.0.0.1:${upstream.address.port}`),
  );
  await program.line(/ ready routes=1000\b/);
  await within(repeat(ports.length, 20, (i) => ping(ports[i] ?? 0)), "a client of each");
});

Deno.test({
  name: "a transfer arrives over IPv6 alone, from the client to the upstream",
  ...needs(IPV6),
}, async () => {
  await using upstream = startEcho({ hostname: "::1" });
  const port = freePort("::1");
  await using program = startProgram([`[::1]:${port}=[::1]:${upstream.address.port}`]);
  await program.line(/ ready /);
  await ping(port, "::1");
});
