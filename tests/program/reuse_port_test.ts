// Several ambassadors on the same ports: who may share one, how clients are spread, and what it costs
// them when one stops or when their routes form a loop.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import {
  freePort,
  type Program,
  readAll,
  readExactly,
  runProgram,
  startEcho,
  startProgram,
  until,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { type Network, networkOf } from "../helpers/namespace.ts";
import { LINUX, needs, programPath, ROOT_RIGHTS } from "../helpers/needs.ts";
import { linesOf } from "../helpers/process.ts";

async function startShared(...args: string[]): Promise<Program> {
  const program = startProgram(["--reuse-port", ...args]);
  await program.line(/ ready /);
  return program;
}

Deno.test("--reuse-port lets ambassadors share their clients", needs(LINUX), async () => {
  await using upstream = startEcho();
  const port = freePort();
  const route = `127.0.0.1:${port}=127.0.0.1:${upstream.address.port}`;
  await using one = await startShared("--log-level=debug", route);
  await using other = await startShared("--log-level=debug", route);
  for (let client = 0; client < 40; client++) {
    using conn = await within(Deno.connect({ hostname: "127.0.0.1", port }), "a connect");
    await writeAll(conn, "ping");
    assertEquals(await readExactly(conn, 4), "ping");
  }
  const counts = (): number[] =>
    [one, other].map((program) => linesOf(program, "connection_opened").length);
  await until(() => counts().reduce((sum, count) => sum + count) === 40, "all are in the logs");
  // The system chooses by chance: once in 2^39 times one of them has none.
  assert(counts().every((count) => count > 0), String(counts()));
});

Deno.test("without --reuse-port a port is not shared, whoever has it", needs(LINUX), async () => {
  const port = freePort();
  const route = `127.0.0.1:${port}=127.0.0.1:1`;
  await using _shared = await startShared(route);
  const { code, stderr } = await runProgram([route]);
  assertMatch(stderr, /: address in use\n.*hint: another program, or another route, has port /s);
  assertEquals(code, 1);
});

Deno.test("--reuse-port does not share with a program that does not", needs(LINUX), async () => {
  const port = freePort();
  const route = `127.0.0.1:${port}=127.0.0.1:1`;
  await using alone = startProgram([route]);
  await alone.line(/ ready /);
  const { code, stderr } = await runProgram(["--reuse-port", route]);
  assertStringIncludes(stderr, "held by a program without --reuse-port, or of another user");
  assertEquals(code, 1);
});

Deno.test({
  name: "--reuse-port does not share with another user",
  ...needs(LINUX, ROOT_RIGHTS, "socat"),
}, async () => {
  const port = freePort();
  const address = `TCP4-LISTEN:${port},bind=127.0.0.1,reuseport`;
  const other = new Deno.Command(programPath("socat"), {
    args: ["-d", "-d", address, "PIPE"],
    uid: 65534,
    stderr: "piped",
  }).spawn();
  try {
    const reader = other.stderr.getReader();
    let text = "";
    while (!text.includes("listening on")) {
      const { value, done } = await within(reader.read(), "socat to listen");
      if (done) throw new Error(text);
      text += new TextDecoder().decode(value);
    }
    await reader.cancel();
    const { code, stderr } = await runProgram([
      "--reuse-port",
      `127.0.0.1:${port}=127.0.0.1:1`,
    ]);
    assertStringIncludes(stderr, "held by a program without --reuse-port, or of another user");
    assertEquals(code, 1);
  } finally {
    other.kill("SIGKILL");
    await other.status;
  }
});

Deno.test("--reuse-port leaves each ambassador its own status page", needs(LINUX), async () => {
  const [port, status] = [freePort(), freePort()];
  const args = [`--status=127.0.0.1:${status}`, `127.0.0.1:${port}=127.0.0.1:1`];
  await using _one = await startShared(...args);
  const { code, stderr } = await runProgram(["--reuse-port", ...args]);
  assertStringIncludes(stderr, `127.0.0.1:${status} for --status: address in use`);
  assertEquals(code, 1);
});

/** A network in which the system gives the clients of a listener that closes to another, or does not. */
function migrating(isOn: boolean): Network {
  const name = "a network with net.ipv4.tcp_migrate_req";
  return networkOf(name, `echo ${Number(isOn)} > /proc/sys/net/ipv4/tcp_migrate_req`);
}

const [MIGRATING, NOT_MIGRATING] = [migrating(true), migrating(false)];

/** How many of the 60 clients of an upgrade got their answer. */
async function upgradeIn(network: Network): Promise<number> {
  const { stdout, stderr } = await network.run("tests/helpers/upgrade.ts");
  const match = /^(\d+) of 60 answered\n$/.exec(stdout);
  assert(match !== null, stdout + stderr);
  return Number(match[1]);
}

Deno.test({
  name:
    "a new ambassador beside the old one loses no client, where the system moves those who wait",
  ...needs("unshare", "ip", MIGRATING),
}, async () => {
  assertEquals(await upgradeIn(MIGRATING), 60);
});

Deno.test({
  name: "a stop costs the clients who wait, where the system does not move them",
  ...needs("unshare", "ip", NOT_MIGRATING),
}, async () => {
  const answered = await upgradeIn(NOT_MIGRATING);
  assert(answered > 0 && answered < 60, String(answered));
});

Deno.test("a loop is cut by all who share its ports", needs(LINUX), async () => {
  const [first, second] = [freePort(), freePort("127.0.0.2")];
  const routes = [
    `127.0.0.1:${first}=127.0.0.2:${second}`,
    `127.0.0.2:${second}=127.0.0.1:${first}`,
  ];
  const programs = await Promise.all([1, 2].map(() => startShared("--log-level=debug", ...routes)));
  const [one, other] = programs;
  assert(one !== undefined && other !== undefined);
  await using _one = one;
  await using _other = other;
  const clients = 40;
  await Promise.all(Array.from({ length: clients }, async () => {
    using conn = await within(Deno.connect({ hostname: "127.0.0.1", port: first }), "a connect");
    assertEquals(await readAll(conn), new Uint8Array());
  }));
  const count = (event: string): number[] =>
    programs.map((program) => linesOf(program, event).length);
  const isOver = (): boolean =>
    count("connection_opened").toString() === count("connection_closed").toString();
  await until(isOver, "every connection has ended");
  const opened = count("connection_opened");
  const cut = count("loop_detected");
  // Each cuts what it has dialled, also where the other has taken the call.
  assert(cut.every((lines) => lines > 0), String(cut));
  assert(opened.reduce((sum, lines) => sum + lines) <= 8 * clients, String(opened));
});
