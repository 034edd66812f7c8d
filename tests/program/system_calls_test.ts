// What the real program asks of the system, where nobody at either end of a connection could tell.

import { assert, assertEquals } from "@std/assert";
import {
  freePort,
  programCommand,
  readExactly,
  startEcho,
  until,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { EXECUTABLE, JSR, LINUX, needs } from "../helpers/needs.ts";
import { commandWithLimit } from "../helpers/process.ts";
import { startTraced } from "../helpers/trace.ts";

Deno.test({
  name: "the program sets no delay and keepalive on both sides of a connection",
  ...needs(LINUX, "strace"),
}, async () => {
  await using upstream = startEcho();
  const port = freePort();
  const target = upstream.address.port;
  await using traced = await startTraced([`127.0.0.1:${port}=127.0.0.1:${target}`], {
    names: "accept4,connect,setsockopt",
    command: programCommand(),
  });
  await traced.program.line(/ ready /);
  using client = await Deno.connect({ hostname: "127.0.0.1", port });
  await writeAll(client, "x");
  await readExactly(client, 1);
  const from = client.localAddr.port;
  const calls = await traced.calls();
  const find = (pattern: RegExp): string => {
    const match = calls.map((call) => pattern.exec(call)).find((found) => found !== null);
    return match?.[1] ?? `none like ${pattern} in\n${calls.join("\n")}`;
  };
  for (
    const socket of [
      find(new RegExp(`accept4\\(.*htons\\(${from}\\).* = (\\d+)$`)),
      find(new RegExp(`connect\\((\\d+), .*htons\\(${target}\\)`)),
    ]
  ) {
    for (const option of ["SOL_TCP, TCP_NODELAY", "SOL_SOCKET, SO_KEEPALIVE"]) {
      const set = `setsockopt(${socket}, ${option}, [1],`;
      assert(calls.some((call) => call.includes(set)), `no ${set} in\n${calls.join("\n")}`);
    }
  }
});

Deno.test({
  name: "the program waits longer after each try to reach an upstream",
  ...needs(LINUX, "strace"),
}, async () => {
  const [port, target] = [freePort(), freePort()];
  const args = ["--retry", "1s", `127.0.0.1:${port}=127.0.0.1:${target}`];
  await using traced = await startTraced(args, { names: "connect", command: programCommand() });
  await traced.program.line(/ ready /);
  using client = await Deno.connect({ hostname: "127.0.0.1", port });
  assertEquals(await within(client.read(new Uint8Array(1)), "the client to be let go"), null);
  const tries = (await traced.calls()).filter((call) => call.includes(`htons(${target})`));
  // 5, 10, 20, … 320 ms, and what is left of the second.
  assert(tries.length >= 5 && tries.length <= 10, tries.join("\n"));
});

Deno.test({
  name: "the program waits longer after each accept that fails for want of a descriptor",
  ...needs(LINUX, "strace"),
}, async () => {
  await using upstream = startEcho();
  const port = freePort();
  const args = ["--connect-timeout", "30s", `127.0.0.1:${port}=127.0.0.1:${upstream.address.port}`];
  await using traced = await startTraced(args, {
    names: "accept4",
    command: commandWithLimit(60),
  });
  await traced.program.line(/ ready /);
  using clients = new DisposableStack();
  for (let i = 0; i < 60; i++) clients.use(await Deno.connect({ hostname: "127.0.0.1", port }));
  await traced.program.line(/ accept_failed /);
  const startMs = performance.now();
  // Two seconds are what is measured: nothing else tells that it has done nothing in them.
  await until(() => performance.now() - startMs >= 2000, "two seconds have gone by");
  const failed = (await traced.calls()).filter((call) => call.includes("EMFILE"));
  assert(failed.length <= 20, `${failed.length} failed accepts in two seconds`);
});

/** Whether the program starts from an empty cache without fetching anything. */
const NOTHING_TO_FETCH = {
  name: "the executable, or sources that need nothing from JSR",
  isHere: EXECUTABLE.isHere || !JSR.isHere,
};

Deno.test({
  name: "the program asks nobody anything when it starts, not even whether there is a newer Deno",
  ...needs(LINUX, "strace", NOTHING_TO_FETCH),
}, async () => {
  // Where Deno has looked not long ago it stands in its cache.
  const cache = await Deno.makeTempDir();
  try {
    await using traced = await startTraced([`127.0.0.1:${freePort()}=127.0.0.1:9`], {
      names: "connect,sendto",
      env: { DENO_DIR: cache },
      command: programCommand(),
    });
    await traced.program.line(/ ready /);
    const startMs = performance.now();
    // Deno does so half a second after the start.
    await until(() => performance.now() - startMs >= 1000, "a second has gone by");
    traced.program.kill("SIGTERM");
    assertEquals((await within(traced.program.status, "the end")).code, 0);
    const calls = await traced.calls();
    assertEquals(calls.filter((call) => call.includes("AF_INET")), []);
  } finally {
    await Deno.remove(cache, { recursive: true });
  }
});
