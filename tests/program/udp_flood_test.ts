// A flood of datagrams on the real program: what it does to clients of TCP, to those of UDP who were
// there before, and to memory.

import { assert, assertEquals } from "@std/assert";
import { pathOf } from "../../build/sources.ts";
import { askUntilAnswered, freeUdpPort, startUdpEcho, startUdpPeer } from "../helpers/datagrams.ts";
import { readExactly, startEcho, startProgram, writeAll } from "../helpers/mod.ts";
import { LINUX, needs } from "../helpers/needs.ts";
import { memoryOf } from "../helpers/process.ts";
import { sleep } from "../helpers/rewiring.ts";
import { startUdpRoute } from "../helpers/udp_program.ts";

/** How long a client of TCP may wait for an echo, at the median, in milliseconds. */
const MEDIAN_MS = 50;

/** What a flood may cost in memory, in bytes: the sessions of all places, and what waits in them. */
const MEMORY = 128 * 1024 * 1024;

for (const sources of ["few", "new"]) {
  Deno.test({
    name: `a flood from ${sources} sources is no trouble for clients of TCP, nor for memory`,
    ...needs(LINUX),
  }, async () => {
    await using upstream = startEcho();
    await using target = startUdpEcho();
    // Nobody reads what comes here.
    using sink = new DisposableStack();
    const flooded = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
    sink.defer(() => flooded.close());
    const { port: flooding } = flooded.addr as Deno.NetAddr;
    const [tcp, udp] = [freeUdpPort(), freeUdpPort()];
    const routes = [
      `127.0.0.1:${tcp}=127.0.0.1:${upstream.address.port}`,
      `127.0.0.1:${udp}/udp=127.0.0.1:${target.address.port}`,
    ];
    await using route = await startUdpRoute([{ hostname: "127.0.0.1", port: flooding }], {
      args: ["--max-sessions", "1000", ...routes],
    });
    using client = await Deno.connect({ hostname: "127.0.0.1", port: tcp });
    await using regular = startUdpPeer();
    const address = { hostname: "127.0.0.1", port: udp };
    for (let i = 0; i < 2; i++) await askUntilAnswered(regular, address);
    const before = memoryOf(route.program.pid);
    const took: number[] = [];
    {
      const command = [Deno.execPath(), "run", "-q", "-A", "--unstable-net"];
      await using flood = startProgram([`${route.address.port}`, sources], {
        command: [...command, pathOf("tests/helpers/udp_flood.ts")],
      });
      await flood.output(/sending/);
      const startMs = performance.now();
      while (performance.now() < startMs + 2000) {
        const askedMs = performance.now();
        await writeAll(client, "ping");
        assertEquals(await readExactly(client, 4), "ping");
        took.push(performance.now() - askedMs);
        await sleep(10);
      }
    }
    const median = took.toSorted((a, b) => a - b)[took.length >> 1] ?? 0;
    assert(median < MEDIAN_MS, `${median} ms at the median of ${took.length}`);
    const grown = memoryOf(route.program.pid) - before;
    assert(grown < MEMORY, `${grown >> 20} MiB more`);
    // It was there before the flood, and has come twice.
    await askUntilAnswered(regular, address);
    assertEquals(target.sources, 1);
    const { opened, up } = await route.counts();
    assert(up.datagrams > 1000, `${up.datagrams} datagrams`);
    assert(
      sources === "few" ? opened === 5 : opened > 1000,
      `${opened} sessions`,
    );
  });
}
