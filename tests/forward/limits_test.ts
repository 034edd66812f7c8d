// What ends a connection that is quiet: the two limits on time, and a reset whose other side takes
// nothing. Where a limit is long the time is the test's own, and the sockets are real.

import { assert, assertEquals } from "@std/assert";
import {
  type Limits,
  LINGER_MS,
  LINGER_QUIET_MS,
  type Watched,
  Watcher,
  watchLimits,
  WRITE_PATIENCE_MS,
} from "../../src/forward/limits.ts";
import type { Stream } from "../../src/net/stream.ts";
import { type Direction, newTraffic, relay } from "../../src/net/relay.ts";
import {
  echo,
  type Forwarder,
  freePort,
  pair,
  readExactly,
  readText,
  readToAnyEnd,
  startEcho,
  startForwarder,
  until,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { needs, TLS } from "../helpers/needs.ts";

import { acceptTls, connectTls, everybody, testEveryWay, tlsPair } from "../helpers/tls_routes.ts";

const NONE: Limits = { idleTimeoutMs: 0, halfCloseTimeoutMs: 0 };

async function untilClosed(forwarder: Forwarder): Promise<string> {
  const find = (): string | undefined =>
    forwarder.lines.find((l) => l.includes(" connection_closed "));
  await until(() => find() !== undefined, "the connection is closed");
  return find() ?? "";
}

testEveryWay("idleTimeoutMs closes a connection on which nothing moves", async (way) => {
  await using upstream = way.startUpstream(echo);
  await using forwarder = await way.startForwarder([upstream.address], { idleTimeoutMs: 200 });
  using client = await way.connect(forwarder.address);
  await writeAll(client, "x");
  await readExactly(client, 1);
  const startMs = performance.now();
  await readToAnyEnd(client);
  const tookMs = performance.now() - startMs;
  assert(tookMs > 190 && tookMs < 1500, `${tookMs} ms`);
  assert((await untilClosed(forwarder)).endsWith("reason=idle_timeout"));
});

for (const direction of ["up", "down"] as const) {
  testEveryWay(`idleTimeoutMs starts again with every byte ${direction}`, async (way) => {
    const send = async (conn: Stream): Promise<void> => {
      for (let i = 0; i < 10; i++) {
        await writeAll(conn, "x");
        await new Promise((resolve) => setTimeout(resolve, 60));
      }
      await conn.closeWrite();
    };
    let received = "";
    await using upstream = way.startUpstream(async (conn) => {
      if (direction === "down") return await send(conn);
      received = await readText(conn);
    });
    await using forwarder = await way.startForwarder([upstream.address], { idleTimeoutMs: 300 });
    using client = await way.connect(forwarder.address);
    if (direction === "up") await send(client);
    const answer = await readText(client);
    assertEquals(direction === "up" ? received : answer, "xxxxxxxxxx");
    assert(!forwarder.lines.some((line) => line.includes("idle_timeout")));
  });
}

testEveryWay(
  "halfCloseTimeoutMs does not touch a connection of which both sides are open",
  async (way) => {
    await using upstream = way.startUpstream(echo);
    await using forwarder = await way.startForwarder([upstream.address], {
      halfCloseTimeoutMs: 50,
    });
    using client = await way.connect(forwarder.address);
    await new Promise((resolve) => setTimeout(resolve, 250));
    await writeAll(client, "still open");
    assertEquals(await readExactly(client, 10), "still open");
  },
);

for (const first of ["client", "upstream"] as const) {
  testEveryWay(
    `halfCloseTimeoutMs closes what is left after the ${first} has finished`,
    async (way) => {
      const other = Promise.withResolvers<void>();
      await using upstream = way.startUpstream(async (conn) => {
        if (first === "upstream") await conn.closeWrite();
        await other.promise;
      });
      await using forwarder = await way.startForwarder([upstream.address], {
        halfCloseTimeoutMs: 150,
      });
      using client = await way.connect(forwarder.address);
      if (first === "client") await client.closeWrite();
      const startMs = performance.now();
      const line = await untilClosed(forwarder);
      assert(performance.now() - startMs > 140, "too early");
      assert(line.endsWith("reason=half_close_timeout"), line);
      other.resolve();
    },
  );
}

testEveryWay("halfCloseTimeoutMs starts again with every byte", async (way) => {
  await using upstream = way.startUpstream(async (conn) => {
    for (let i = 0; i < 10; i++) {
      await writeAll(conn, "x");
      await new Promise((resolve) => setTimeout(resolve, 60));
    }
  });
  await using forwarder = await way.startForwarder([upstream.address], { halfCloseTimeoutMs: 300 });
  using client = await way.connect(forwarder.address);
  await client.closeWrite();
  assertEquals(await readText(client), "xxxxxxxxxx");
  assert((await untilClosed(forwarder)).endsWith("reason=finished"));
});

/**
 * A process that connects or accepts, writes for as long as it can and reads nothing. When it is killed
 * the kernel resets its connection, since there is something in it that was not read.
 */
const FLOODER = `
const [port, cert, key, ca] = Deno.args;
const [listen, connect] = cert === undefined
  ? [Deno.listen, Deno.connect]
  : [Deno.listenTls, Deno.connectTls];
let conn;
if (port === "") {
  const listener = listen({ hostname: "127.0.0.1", port: 0, cert, key });
  console.log(listener.addr.port);
  conn = await listener.accept();
} else {
  conn = await connect({ hostname: "127.0.0.1", port: Number(port), cert, key, caCerts: [ca] });
}
for (;;) await conn.write(new Uint8Array(65536));
`;

/** A relay that is watched, and the far end of one that floods its other side. */
interface Flooded extends AsyncDisposable {
  readonly connection: Watched;
  /** Reads nothing unless the test does. */
  readonly reader: Stream;
  /** What the flooder sends. */
  readonly flood: Direction;
  /** Looks at the connection at this time. */
  check(nowMs: number): void;
  /** Why it was ended, or how the relay has ended; undefined as long as neither has happened. */
  reason(): string | undefined;
  /** Kills the flooder, and waits until the reset is known; looks at the time given. */
  reset(nowMs: number): Promise<void>;
}

interface FloodedOptions extends Partial<Limits> {
  /** Whether both sides speak TLS. */
  readonly isTls?: boolean;
}

async function startFlooded(
  flooder: "client" | "upstream",
  { isTls = false, ...limits }: FloodedOptions = {},
): Promise<Flooded> {
  const settings = { ...NONE, ...limits };
  const { own, ca } = isTls ? await everybody() : {};
  const pems = own === undefined || ca === undefined ? [] : [own.cert, own.key, ca.pem];
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const child = new Deno.Command(Deno.execPath(), {
    args: ["eval", "-q", FLOODER, flooder === "client" ? String(listener.addr.port) : "", ...pems],
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const lines = child.stdout.getReader();
  let near: Stream;
  if (flooder === "client") {
    const conn = await within(listener.accept(), "the flooder");
    near = isTls ? await acceptTls(conn) : conn;
  } else {
    const { value } = await within(lines.read(), "the flooder to listen");
    const address = { hostname: "127.0.0.1", port: Number(new TextDecoder().decode(value)) };
    near = isTls ? await connectTls(address) : await Deno.connect(address);
  }
  listener.close();
  const [reader, other] = isTls ? await tlsPair() : await pair();
  const [client, upstream] = flooder === "client" ? [near, other] : [other, near];
  const { connection, check, reason, ended } = watch(client, upstream, settings);
  const { up, down } = connection.traffic;
  const [flood, back] = flooder === "client" ? [up, down] : [down, up];
  // More than Deno's TLS reads ahead.
  await writeAll(reader, new Uint8Array(200_000));
  await until(() => back.bytes === 200_000, "the flooder has something to leave unread");
  await untilStuck(flood);
  let isKilled = false;
  async function kill(): Promise<void> {
    if (isKilled) return;
    isKilled = true;
    child.kill("SIGKILL");
    await within(child.status, "the flooder to end");
    await lines.cancel();
  }
  return {
    connection,
    reader,
    flood,
    check,
    reason,
    async reset(nowMs): Promise<void> {
      await kill();
      await until(
        () => (check(nowMs), connection.traffic.failure !== undefined),
        "the reset is found",
      );
    },
    async [Symbol.asyncDispose](): Promise<void> {
      for (const socket of [reader, client, upstream]) socket[Symbol.dispose]();
      await kill();
      await within(ended, "the relay to end");
    },
  };
}

/** A relay whose connection the test looks at. */
interface Watching extends Pick<Flooded, "connection" | "check" | "reason"> {
  readonly ended: Promise<void>;
}

function watch(client: Stream, upstream: Stream, settings: Limits): Watching {
  const watcher = new Watcher();
  let reason: string | undefined;
  function close(): void {
    for (const socket of [client, upstream]) socket[Symbol.dispose]();
  }
  const connection: Watched = {
    client,
    upstream,
    traffic: newTraffic(),
    settings,
    end(why): void {
      reason ??= why;
      close();
    },
  };
  const ended = relay(client, upstream, connection.traffic).then((end) => {
    reason ??= end;
    close();
  });
  const check = (nowMs: number): void => watcher.check(connection, nowMs);
  return { connection, check, reason: () => reason, ended };
}

/** Waits until the receiver's system takes no more. */
async function untilStuck(direction: Direction): Promise<void> {
  let last = -1;
  let sinceMs = 0;
  await until(() => {
    if (direction.bytes !== last) [last, sinceMs] = [direction.bytes, performance.now()];
    return direction.writing && last > 0 && performance.now() - sinceMs > 300;
  }, "nothing moves any more");
}

/** Reads until the relay can write again; how much that was. */
async function readSome({ reader, flood }: Flooded): Promise<number> {
  const before = flood.bytes;
  let read = 0;
  while (flood.bytes === before) read += (await readExactly(reader, 100_000)).length;
  await untilStuck(flood);
  return read;
}

/** Runs a test over plain streams, and over TLS where that can be had. */
function testBoth(name: string, body: (isTls: boolean) => Promise<void>): void {
  Deno.test(name, () => body(false));
  Deno.test({ name: `${name} (tls)`, ...needs(TLS, "openssl"), fn: () => body(true) });
}

/** How many bytes come until the peer has finished or broken off. */
async function countToAnyEnd(conn: Stream): Promise<number> {
  const buffer = new Uint8Array(65536);
  for (let count = 0;;) {
    const more = await within(conn.read(buffer), "more").catch(() => null);
    if (more === null) return count;
    count += more;
  }
}

for (
  const [flooder, reason] of [
    ["client", "client_reset"],
    ["upstream", "upstream_reset"],
  ] as const
) {
  testBoth(`Watcher keeps what came before the ${flooder}'s reset for a minute`, async (isTls) => {
    await using flooded = await startFlooded(flooder, { isTls });
    const { check } = flooded;
    await flooded.reset(0);
    check(WRITE_PATIENCE_MS - 1);
    assertEquals(flooded.reason(), undefined);
    check(WRITE_PATIENCE_MS);
    assertEquals(flooded.reason(), reason);
  });
}

testBoth(
  "Watcher gives a reader that takes some in each minute all that came before a reset",
  async (isTls) => {
    await using flooded = await startFlooded("upstream", { isTls });
    const { check, reader, flood } = flooded;
    await flooded.reset(0);
    let read = 0;
    const before = flood.bytes;
    while (flood.bytes === before) read += (await readExactly(reader, 100_000)).length;
    check(WRITE_PATIENCE_MS - 1);
    check(2 * WRITE_PATIENCE_MS - 2);
    // A TLS reader is not told that this was all.
    read += await countToAnyEnd(reader);
    await reader.closeWrite();
    await until(() => flooded.reason() !== undefined, "the relay ends");
    assertEquals([flooded.reason(), flood.bytes], ["upstream_reset", read]);
  },
);

for (const limit of ["idleTimeoutMs", "halfCloseTimeoutMs"] as const) {
  testBoth(`${limit} is a minute at least while a write is pending`, async (isTls) => {
    await using flooded = await startFlooded("upstream", { isTls, [limit]: 10_000 });
    const { check, reader, connection } = flooded;
    if (limit === "halfCloseTimeoutMs") {
      await reader.closeWrite();
      await until(() => connection.traffic.up.finished, "the upstream is told");
    }
    check(0);
    check(WRITE_PATIENCE_MS - 1);
    assertEquals(flooded.reason(), undefined);
    await readSome(flooded);
    check(WRITE_PATIENCE_MS);
    check(2 * WRITE_PATIENCE_MS - 1);
    assertEquals(flooded.reason(), undefined);
    check(2 * WRITE_PATIENCE_MS);
    assertEquals(
      flooded.reason(),
      limit === "idleTimeoutMs" ? "idle_timeout" : "half_close_timeout",
    );
  });
}

Deno.test("Watcher waits longer for a pending write where idleTimeoutMs is longer", async () => {
  await using flooded = await startFlooded("upstream", { idleTimeoutMs: 100_000 });
  flooded.check(0);
  flooded.check(99_999);
  assertEquals(flooded.reason(), undefined);
  flooded.check(100_000);
  assertEquals(flooded.reason(), "idle_timeout");
});

Deno.test("Watcher looks at each connection by the settings of its own route", async () => {
  const ends: string[] = [];
  const connections = new Set<Watched>();
  using sockets = new DisposableStack();
  for (
    const [name, settings] of [
      ["short", { ...NONE, idleTimeoutMs: 20 }],
      ["long", { ...NONE, idleTimeoutMs: 60_000 }],
      ["none", NONE],
    ] as const
  ) {
    const [client, upstream] = await pair();
    sockets.use(client);
    sockets.use(upstream);
    const end = (why: string): void => void ends.push(`${name} ${why}`);
    connections.add({ client, upstream, traffic: newTraffic(), settings, end });
  }
  using _limits = watchLimits(connections, {
    limits: () => [...connections].map(({ settings }) => settings),
  });
  await until(() => ends.length > 2, "the short one is over its limit");
  assertEquals(new Set(ends), new Set(["short idle_timeout"]));
});

/** A relay whose client has gone and whose upstream is still read. */
async function startLingering(): Promise<
  Watching & AsyncDisposable & { readonly upstream: Deno.TcpConn }
> {
  const [client, accepted] = await pair();
  const [dialled, upstream] = await pair();
  const watching = watch(accepted, dialled, { ...NONE, idleTimeoutMs: 1_000_000 });
  await writeAll(client, "upload");
  assertEquals(await readExactly(upstream, 6), "upload");
  const { down } = watching.connection.traffic;
  await writeAll(upstream, "unread");
  await until(() => down.bytes === 6, "the answer has arrived");
  // It has been quiet for long when the client leaves.
  watching.check(-2 * LINGER_MS);
  watching.check(-1);
  client.close();
  // It is told at once, and may have more to say.
  assertEquals(await readText(upstream), "");
  const { traffic } = watching.connection;
  await until(async () => {
    if (traffic.failure === undefined) await writeAll(upstream, "x");
    return traffic.failure !== undefined;
  }, "the reset is noticed");
  assertEquals(traffic.failure, "client_reset");
  return {
    ...watching,
    upstream,
    async [Symbol.asyncDispose](): Promise<void> {
      for (const socket of [accepted, dialled, upstream]) socket[Symbol.dispose]();
      await within(watching.ended, "the relay to end");
    },
  };
}

Deno.test("Watcher closes a sender whose receiver is gone when nothing has come for five seconds", async () => {
  await using lingering = await startLingering();
  const { check, reason, upstream, connection, ended } = lingering;
  const { down } = connection.traffic;
  const before = down.discarded;
  check(0);
  check(LINGER_QUIET_MS - 1);
  await writeAll(upstream, "more");
  await until(() => down.discarded === before + 4, "it is thrown away");
  check(LINGER_QUIET_MS);
  check(2 * LINGER_QUIET_MS - 1);
  assertEquals(reason(), undefined);
  check(2 * LINGER_QUIET_MS);
  assertEquals(reason(), "client_reset");
  await within(ended, "the relay to end");
});

Deno.test("Watcher closes a sender whose receiver is gone after a minute, whatever comes", async () => {
  await using lingering = await startLingering();
  const { check, reason, upstream, connection } = lingering;
  const { down } = connection.traffic;
  check(0);
  for (let nowMs = 4000; nowMs < LINGER_MS; nowMs += 4000) {
    const before = down.discarded;
    await writeAll(upstream, "more");
    await until(() => down.discarded > before, "it is thrown away");
    check(nowMs);
  }
  check(LINGER_MS - 1);
  assertEquals(reason(), undefined);
  check(LINGER_MS);
  assertEquals(reason(), "client_reset");
});

Deno.test("relay() is over at once when its sockets are closed while it reads for nobody", async () => {
  await using lingering = await startLingering();
  const { connection, reason, ended } = lingering;
  // As a stop does.
  connection.client[Symbol.dispose]();
  connection.upstream?.[Symbol.dispose]();
  await within(ended, "the relay to end");
  assertEquals(reason(), "client_reset");
});

Deno.test("Watcher ends a client that has reset while it was held", async () => {
  const [client, accepted] = await pair();
  using _client = client;
  using _accepted = accepted;
  const ends: string[] = [];
  const held: Watched = {
    client: accepted,
    upstream: undefined,
    traffic: newTraffic(),
    settings: NONE,
    end: (why) => void ends.push(why),
  };
  const watcher = new Watcher();
  watcher.check(held, 0);
  assertEquals(ends, []);
  held.traffic.failure = "client_reset";
  watcher.check(held, 500);
  assertEquals(ends, ["client_reset"]);
});

testEveryWay(
  "serve() delivers an answer whose upstream left most of the upload unread",
  async (way) => {
    const answer = new Uint8Array(2_000_000).fill(7);
    await using upstream = way.startUpstream(async (conn) => {
      await writeAll(conn, answer);
      // What its own system has still to send is lost with it.
      await until(() => received > 1_500_000, "the rest is with the forwarder");
    });
    let received = 0;
    await using forwarder = await way.startForwarder([upstream.address]);
    using client = await way.connect(forwarder.address);
    const uploading = writeAll(client, new Uint8Array(10_000_000));
    const buffer = new Uint8Array(64 * 1024);
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      const count = await within(client.read(buffer), "the answer");
      if (count === null) break;
      received += count;
    }
    await within(uploading, "the upload to be thrown away");
    await client.closeWrite();
    assertEquals(received, answer.length);
    assert((await untilClosed(forwarder)).endsWith("reason=upstream_reset"));
  },
);

Deno.test("watchLimits() looks as often as the shortest limit in use needs", () => {
  const { setTimeout: realTimeout } = globalThis;
  const delays: unknown[] = [];
  let look = (): void => {};
  globalThis.setTimeout = ((callback: () => void, delay: number) => {
    look = callback;
    delays.push(delay);
    return 0;
  }) as unknown as typeof setTimeout;
  try {
    let limits: Limits[] = [];
    watchLimits(new Set(), { limits: () => limits });
    for (
      const [idleTimeoutMs, halfCloseTimeoutMs] of [[0, 0], [4000, 0], [60_000, 1000], [50, 9]]
    ) {
      limits = [NONE, {
        idleTimeoutMs: idleTimeoutMs ?? 0,
        halfCloseTimeoutMs: halfCloseTimeoutMs ?? 0,
      }];
      look();
    }
  } finally {
    globalThis.setTimeout = realTimeout;
  }
  assertEquals(delays, [500, 500, 200, 50, 10]);
});

Deno.test("watchLimits() looks as often as a connection from before a rewiring needs, or a lost target", async () => {
  const [client, upstream] = await pair();
  using _client = client;
  using _upstream = upstream;
  const ends: string[] = [];
  const end = (why: string): void => void ends.push(why);
  const old = { client, upstream, traffic: newTraffic(), end };
  const connections = new Set<Watched>([{ ...old, settings: { ...NONE, idleTimeoutMs: 20 } }]);
  // Nothing else looks within ten seconds.
  const limits = (): Limits[] => [NONE];
  using _own = watchLimits(connections, { limits });
  await until(() => ends.length > 0, "the limit of the connection holds", 5000);
  const lost = new Set<Watched>([{ ...old, settings: NONE, goneMs: performance.now() }]);
  using _lost = watchLimits(lost, { limits, rewireTimeoutMs: 20 });
  await until(() => ends.includes("rewire_timeout"), "the lost target is noticed", 400);
});

Deno.test("watchLimits() sets no timer when bytes move", async () => {
  await using upstream = startEcho();
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
  const startMs = performance.now();
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
  // The watcher's own look comes every half second.
  assert(timers <= 1 + (performance.now() - startMs) / 500, `${timers} timers`);
});

testEveryWay(
  "halfCloseTimeoutMs counts from the end of the first side, however quiet it was before",
  async (way) => {
    const finished = Promise.withResolvers<void>();
    await using upstream = way.startUpstream(async (conn) => {
      await readText(conn);
      finished.resolve();
      await new Promise((resolve) => setTimeout(resolve, 150));
      await writeAll(conn, "late");
    });
    await using forwarder = await way.startForwarder([upstream.address], {
      halfCloseTimeoutMs: 400,
    });
    using client = await way.connect(forwarder.address);
    await writeAll(client, "request");
    await new Promise((resolve) => setTimeout(resolve, 700));
    await client.closeWrite();
    await finished.promise;
    assertEquals(await readText(client), "late");
  },
);

testEveryWay("idleTimeoutMs does not touch a client that is held for its upstream", async (way) => {
  const address = { hostname: "127.0.0.1", port: freePort() };
  await using forwarder = await way.startForwarder([address], {
    retryMs: 60_000,
    idleTimeoutMs: 100,
  });
  using client = await way.connect(forwarder.address);
  await writeAll(client, "patience");
  await new Promise((resolve) => setTimeout(resolve, 400));
  await using _upstream = way.startUpstream(echo, address);
  await client.closeWrite();
  assertEquals(await readText(client), "patience");
});

Deno.test("idleTimeoutMs closes soon after its time", async () => {
  await using upstream = startEcho();
  await using forwarder = await startForwarder([upstream.address], { idleTimeoutMs: 400 });
  const times: number[] = [];
  for (let i = 0; i < 3; i++) {
    using client = await Deno.connect(forwarder.address);
    await writeAll(client, "x");
    await readExactly(client, 1);
    const startMs = performance.now();
    assertEquals(await within(client.read(new Uint8Array(1)), "the end"), null);
    times.push(performance.now() - startMs);
  }
  // A tenth of it, by the best: the machine has other things to do.
  assert(Math.min(...times) < 500, `${times} ms`);
});
