// The real program where descriptors run out, clients vanish, or thousands stay.

import { assert, assertEquals } from "@std/assert";
import {
  echo,
  freePort,
  readExactly,
  readText,
  startEcho,
  until,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { LINUX, needs, RESETS } from "../helpers/needs.ts";
import {
  connectAndReset,
  descriptorLimit,
  descriptorsOf,
  linesOf,
  memoryOf,
  repeat,
  startRoute,
  untilDescriptors,
} from "../helpers/process.ts";
import { testEveryWay, WAYS } from "../helpers/tls_routes.ts";

const KB = 1024;
const MB = 1024 * KB;

for (
  const [hostname, hasStatus] of [
    ["127.0.0.1", false],
    ["localhost", false],
    ["127.0.0.1", true],
    ["localhost", true],
  ] as const
) {
  testEveryWay(
    `the program serves every client in turn when descriptors run out (${hostname}${
      hasStatus ? ", with a status page" : ""
    })`,
    async (way) => {
      await using upstream = way.startUpstream(echo);
      const status = hasStatus ? ["--status", `127.0.0.1:${freePort()}`] : [];
      const { program, address } = await way.startRoute(
        { hostname, port: upstream.address.port },
        { maxDescriptors: 80, args: ["--connect-timeout", "30s", ...status] },
      );
      await using _program = program;
      const before = descriptorsOf(program.pid);
      const leave = Promise.withResolvers<void>();
      let served = 0;
      async function visit(id: string): Promise<void> {
        using client = await way.connect(address);
        await writeAll(client, id);
        assertEquals(await readExactly(client, id.length), id);
        served++;
        await leave.promise;
      }
      const visits = Array.from({ length: 120 }, (_, i) => visit(`client ${i}`));
      const all = Promise.all(visits);
      all.catch(() => {});
      await program.line(/accept_failed error="out of file descriptors"/);
      // As many as fit are served at once; the others wait.
      await until(() => served >= 15, "some are served");
      assert(served < 60, `${served} of 120 were served with 80 descriptors`);
      leave.resolve();
      await within(all, "all clients to be served", 40_000);
      assertEquals(served, 120);
      await visit("one more");
      const lines = program.stderr.trim().split("\n");
      assert(lines.length <= 6, program.stderr);
      assertEquals(linesOf(program, "connect_failed"), []);
      // A few were opened once and for all: the first lookup's, the first timer's.
      await untilDescriptors(program.pid, before + 6);
    },
    {
      // Whoever has to shake hands first is another matter, below.
      ways: hostname === "127.0.0.1" && !hasStatus ? WAYS.slice(0, 2) : WAYS.slice(0, 1),
      abilities: [LINUX],
      isProgram: true,
    },
  );
}

testEveryWay(
  "the program serves at least every other of those who take all descriptors to shake hands",
  async (way) => {
    await using upstream = way.startUpstream(echo);
    const { program, address } = await way.startRoute(upstream.address, {
      maxDescriptors: 80,
      args: ["--connect-timeout", "30s"],
    });
    await using _program = program;
    const leave = Promise.withResolvers<void>();
    const ends = { served: 0, refused: 0 };
    async function visit(): Promise<void> {
      using client = await way.connect(address);
      await writeAll(client, "ping");
      assertEquals(await readExactly(client, 4), "ping");
      ends.served++;
      await leave.promise;
    }
    // Nobody is dialled for before the handshake: by then there may be no descriptor for that.
    const visits = Array.from({ length: 120 }, () => visit().catch(() => void ends.refused++));
    await program.line(/accept_failed error="out of file descriptors"/);
    await until(() => ends.served >= 15, "some are served");
    leave.resolve();
    await within(Promise.all(visits), "all clients to be served or refused");
    assertEquals(ends.served + ends.refused, 120);
    assert(ends.refused <= 30, `${ends.refused} were refused`);
    await visit();
  },
  { ways: WAYS.slice(2), abilities: [LINUX], isProgram: true },
);

Deno.test({
  name: "the program keeps clients for whom there is no descriptor, and only them, waiting",
  ...needs(LINUX),
  async fn(): Promise<void> {
    await using upstream = startEcho();
    const { program, address } = await startRoute(upstream.address, {
      maxDescriptors: 80,
      args: ["--connect-timeout", "30s"],
    });
    await using _program = program;
    using clients = new DisposableStack();
    const first = clients.use(await Deno.connect(address));
    for (let count = 1; linesOf(program, "accept_failed").length === 0; count++) {
      assert(count < 120, "120 clients and no shortage");
      const open = descriptorsOf(program.pid);
      clients.use(await Deno.connect(address));
      await until(() => descriptorsOf(program.pid) > open || open >= 78, "the client is accepted");
    }
    // Those who have their upstream are served on while others wait.
    await writeAll(first, "still here");
    assertEquals(await readExactly(first, 10), "still here");
    assertEquals(linesOf(program, "accept_failed").length, 1, program.stderr);
  },
});

testEveryWay(
  "the program keeps no descriptor and no memory of clients that vanish",
  async (way) => {
    // More than 5000 in all, without those whose reset comes before their accept: that many make the
    // program return memory once it is quiet.
    const [warm, many] = way === WAYS[0] ? [2000, 8000] : [1000, 6400];
    await using upstream = way.startUpstream(async (conn) => {
      try {
        await echo(conn);
      } catch {
        // Most of its clients vanish.
      }
    });
    const { program, address } = await way.startRoute(upstream.address);
    await using _program = program;
    const kinds = [
      async () => {
        if (RESETS.isHere) await connectAndReset(address);
        else (await way.connect(address))[Symbol.dispose]();
      },
      async () => {
        // What it leaves unread makes its system reset the connection.
        using client = await way.connect(address);
        await writeAll(client, "reset in the middle");
        await readExactly(client, 1);
      },
      async () => {
        using client = await way.connect(address);
        await writeAll(client, "write, then close");
      },
      async () => {
        using client = await way.connect(address);
        await writeAll(client, "half-closed");
        await client.closeWrite();
        assertEquals(await readText(client), "half-closed");
      },
    ];
    async function vanish(times: number): Promise<void> {
      await repeat(times, 32, async (i) => await kinds[i % kinds.length]?.());
    }
    await vanish(500);
    await until(async () => {
      const count = descriptorsOf(program.pid);
      await new Promise((resolve) => setTimeout(resolve, 100));
      return count === descriptorsOf(program.pid);
    }, "the first clients are gone");
    const descriptors = descriptorsOf(program.pid);
    await vanish(warm);
    await untilDescriptors(program.pid, descriptors + 1);
    const memory = memoryOf(program.pid);
    await vanish(many);
    await untilDescriptors(program.pid, descriptors + 1);
    // What TLS takes is not V8's alone: it levels off later and higher, at some 105 MB. Engines that are
    // kept would be 100 MB more.
    const most = memory + (way === WAYS[0] ? 12 : 48) * MB;
    await until(
      () => memoryOf(program.pid) < most,
      `${many} connections left no memory behind, ${memory / MB} MB before`,
    );
    assertEquals(linesOf(program, "connect_failed"), []);
  },
  { ways: [...WAYS.slice(0, 1), ...WAYS.slice(-1)], abilities: [LINUX], isProgram: true },
);

Deno.test({
  name: "the program accepts the next client at once after hundreds that reset while they waited",
  ...needs(LINUX, RESETS),
  async fn(): Promise<void> {
    await using upstream = startEcho();
    const { program, address } = await startRoute(upstream.address, {
      args: ["--log-level", "debug"],
    });
    await using _program = program;
    program.kill("SIGSTOP");
    await repeat(300, 50, () => connectAndReset(address));
    using client = await Deno.connect(address);
    await writeAll(client, "next");
    program.kill("SIGCONT");
    const startMs = performance.now();
    assertEquals(await readExactly(client, 4), "next");
    const tookMs = performance.now() - startMs;
    assert(tookMs < 3000, `${tookMs} ms`);
    await until(
      () => linesOf(program, "accept_failed").length > 200,
      "the log tells of clients that reset before their accept",
    );
    assert(!/(WARN|ERROR) /.test(program.stderr), program.stderr);
  },
});

testEveryWay(
  "the program spends little on eight clients that never read an endless upstream",
  async (way) => {
    let sent = 0;
    await using upstream = way.startUpstream(async (conn) => {
      const block = new Uint8Array(MB);
      try {
        for (;;) sent += await conn.write(block);
      } catch {
        // The test is over.
      }
    });
    const { program, address } = await way.startRoute(upstream.address);
    await using _program = program;
    const before = memoryOf(program.pid);
    using clients = new DisposableStack();
    for (let i = 0; i < 8; i++) clients.use(await way.connect(address));
    await until(async () => {
      const last = sent;
      await new Promise((resolve) => setTimeout(resolve, 300));
      return sent > 0 && sent === last && upstream.clients === 8;
    }, "the upstream can send no more");
    const cost = memoryOf(program.pid) - before;
    // With TLS most of it is garbage of the first moments, before the first collection.
    const most = (way === WAYS[0] ? 48 : 112) * MB;
    assert(cost < most, `${cost / MB} MiB`);
  },
  { abilities: [LINUX], isProgram: true },
);

/**
 * Connections of which each takes two descriptors here and two there. With fewer, what the program
 * takes once and for all outweighs what the connections cost.
 */
const MANY = 5000;

const MANY_DESCRIPTORS = {
  name: `a limit of ${2 * MANY + 200} descriptors (ulimit -n)`,
  isHere: LINUX.isHere && descriptorLimit() >= 2 * MANY + 200,
};

Deno.test({
  name: "the program spends less than 20 KB on an idle connection, and gives it back",
  ...needs(LINUX, MANY_DESCRIPTORS),
  async fn(): Promise<void> {
    const count = MANY;
    await using upstream = startEcho();
    const { program, address } = await startRoute(upstream.address);
    await using _program = program;
    const descriptors = descriptorsOf(program.pid);
    const before = memoryOf(program.pid);
    let full: number;
    {
      using clients = new DisposableStack();
      await repeat(count, 50, async () => {
        const client = clients.use(await Deno.connect(address));
        await writeAll(client, "x");
        await readExactly(client, 1);
      });
      full = memoryOf(program.pid);
      const each = (full - before) / count;
      assert(each < 20_000, `${Math.round(each)} bytes each`);
    }
    await untilDescriptors(program.pid, descriptors + 6);
    const half = before + (full - before) / 2;
    await until(() => memoryOf(program.pid) < half, "at least half of the memory is back");
  },
});
