// The two limits on time, and that neither costs a timer for each byte.

import { assert, assertEquals } from "@std/assert";
import {
  echo,
  type Forwarder,
  readExactly,
  readText,
  startEcho,
  startForwarder,
  startUpstream,
  until,
  within,
  writeAll,
} from "../helpers/mod.ts";

async function untilClosed(forwarder: Forwarder): Promise<string> {
  const find = (): string | undefined =>
    forwarder.lines.find((l) => l.includes(" connection_closed "));
  await until(() => find() !== undefined, "the connection is closed");
  return find() ?? "";
}

Deno.test("idleTimeoutMs closes a connection on which nothing moves", async () => {
  await using upstream = startEcho();
  await using forwarder = await startForwarder([upstream.address], { idleTimeoutMs: 200 });
  using client = await Deno.connect(forwarder.address);
  await writeAll(client, "x");
  await readExactly(client, 1);
  const startMs = performance.now();
  assertEquals(await within(client.read(new Uint8Array(1)), "the end"), null);
  const tookMs = performance.now() - startMs;
  assert(tookMs > 190 && tookMs < 1500, `${tookMs} ms`);
  assert((await untilClosed(forwarder)).endsWith("reason=idle_timeout"));
});

for (const direction of ["up", "down"] as const) {
  Deno.test(`idleTimeoutMs starts again with every byte ${direction}`, async () => {
    const send = async (conn: Deno.Conn): Promise<void> => {
      for (let i = 0; i < 10; i++) {
        await writeAll(conn, "x");
        await new Promise((resolve) => setTimeout(resolve, 60));
      }
      await conn.closeWrite();
    };
    let received = "";
    await using upstream = startUpstream(async (conn) => {
      if (direction === "down") return await send(conn);
      received = await readText(conn);
    });
    await using forwarder = await startForwarder([upstream.address], { idleTimeoutMs: 300 });
    using client = await Deno.connect(forwarder.address);
    if (direction === "up") await send(client);
    const answer = await readText(client);
    assertEquals(direction === "up" ? received : answer, "xxxxxxxxxx");
    assert(!forwarder.lines.some((line) => line.includes("idle_timeout")));
  });
}

Deno.test("idleTimeoutMs closes a connection whose client reads nothing", async () => {
  await using upstream = startUpstream(async (conn) => {
    try {
      for (;;) await conn.write(new Uint8Array(1 << 20));
    } catch {
      // Closed.
    }
  });
  await using forwarder = await startForwarder([upstream.address], { idleTimeoutMs: 200 });
  using client = await Deno.connect(forwarder.address);
  assert((await untilClosed(forwarder)).endsWith("reason=idle_timeout"));
  client.close();
});

Deno.test("halfCloseTimeoutMs does not touch a connection of which both sides are open", async () => {
  await using upstream = startEcho();
  await using forwarder = await startForwarder([upstream.address], { halfCloseTimeoutMs: 50 });
  using client = await Deno.connect(forwarder.address);
  await new Promise((resolve) => setTimeout(resolve, 250));
  await writeAll(client, "still open");
  assertEquals(await readExactly(client, 10), "still open");
});

for (const first of ["client", "upstream"] as const) {
  Deno.test(`halfCloseTimeoutMs closes what is left after the ${first} has finished`, async () => {
    const other = Promise.withResolvers<void>();
    await using upstream = startUpstream(async (conn) => {
      if (first === "upstream") await conn.closeWrite();
      await other.promise;
    });
    await using forwarder = await startForwarder([upstream.address], { halfCloseTimeoutMs: 150 });
    using client = await Deno.connect(forwarder.address);
    if (first === "client") await client.closeWrite();
    const startMs = performance.now();
    const line = await untilClosed(forwarder);
    assert(performance.now() - startMs > 140, "too early");
    assert(line.endsWith("reason=half_close_timeout"), line);
    other.resolve();
  });
}

Deno.test("halfCloseTimeoutMs starts again with every byte", async () => {
  await using upstream = startUpstream(async (conn) => {
    for (let i = 0; i < 10; i++) {
      await writeAll(conn, "x");
      await new Promise((resolve) => setTimeout(resolve, 60));
    }
  });
  await using forwarder = await startForwarder([upstream.address], { halfCloseTimeoutMs: 300 });
  using client = await Deno.connect(forwarder.address);
  await client.closeWrite();
  assertEquals(await readText(client), "xxxxxxxxxx");
  assert((await untilClosed(forwarder)).endsWith("reason=finished"));
});

Deno.test("the limits set no timer when bytes move", async () => {
  await using upstream = startUpstream(echo);
  await using forwarder = await startForwarder([upstream.address], {
    idleTimeoutMs: 10_000,
    halfCloseTimeoutMs: 10_000,
  });
  using client = await Deno.connect(forwarder.address);
  await writeAll(client, "x");
  await readExactly(client, 1);
  const { setTimeout: realTimeout, setInterval: realInterval } = globalThis;
  let timers = 0;
  globalThis.setTimeout = ((...args: Parameters<typeof setTimeout>) => {
    timers++;
    return realTimeout(...args);
  }) as typeof setTimeout;
  globalThis.setInterval = ((...args: Parameters<typeof setInterval>) => {
    timers++;
    return realInterval(...args);
  }) as typeof setInterval;
  try {
    const buffer = new Uint8Array(1);
    for (let i = 0; i < 200; i++) {
      await client.write(buffer);
      await client.read(buffer);
    }
  } finally {
    globalThis.setTimeout = realTimeout;
    globalThis.setInterval = realInterval;
  }
  assertEquals(timers, 0);
});
