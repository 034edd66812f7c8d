// What the relay takes for itself: memory behind a read, and turns of the event loop. The sockets are
// real, and one of them is watched; but for a stream that is faster than any real one.

import { assert, assertEquals } from "@std/assert";
import { newTraffic, relay } from "../../src/net/relay.ts";
import type { Stream } from "../../src/net/stream.ts";
import { Random, readExactly, until, within, writeAll } from "../helpers/mod.ts";

/** Calls back in the next turn of the event loop. */
declare function setImmediate(callback: () => void): unknown;

/** Two ends of one connection: who dialled and who accepted. */
async function pair(): Promise<[Deno.TcpConn, Deno.TcpConn]> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  return await within(Promise.all([Deno.connect({ port }), listener.accept()]), "a connection");
}

/** A relay whose reads from the client are watched. */
interface Watched extends AsyncDisposable {
  readonly client: Deno.TcpConn;
  readonly upstream: Deno.TcpConn;
  /** The buffers of all reads from the client. */
  readonly buffers: ReadonlySet<ArrayBufferLike>;
  /** The size of the buffer of each read from the client; the last one waits. */
  readonly sizes: readonly number[];
  readonly end: ReturnType<typeof relay>;
}

async function startWatched(): Promise<Watched> {
  const [client, accepted] = await pair();
  const [dialled, upstream] = await pair();
  const buffers = new Set<ArrayBufferLike>();
  const sizes: number[] = [];
  const { localAddr, remoteAddr } = accepted;
  const watched: Stream = {
    localAddr,
    remoteAddr,
    read(buffer): Promise<number | null> {
      buffers.add(buffer.buffer);
      sizes.push(buffer.buffer.byteLength);
      return accepted.read(buffer);
    },
    write: (data) => accepted.write(data),
    closeWrite: () => accepted.closeWrite(),
    [Symbol.dispose]: () => accepted[Symbol.dispose](),
  };
  const end = relay(watched, dialled, newTraffic());
  return {
    client,
    upstream,
    buffers,
    sizes,
    end,
    async [Symbol.asyncDispose](): Promise<void> {
      for (const socket of [accepted, dialled, client, upstream]) socket[Symbol.dispose]();
      await within(end, "the relay to end");
    },
  };
}

/** Sends a message through and waits until the relay waits for the next one. */
async function sendThrough({ client, upstream, sizes }: Watched, message: string): Promise<void> {
  const reads = sizes.length;
  await writeAll(client, message);
  assertEquals(await readExactly(upstream, message.length), message);
  await until(() => sizes.length > reads, "the relay reads on");
}

/** Sends so many bytes through as fast as it goes. */
async function streamThrough({ client, upstream }: Watched, count: number): Promise<void> {
  const writing = writeAll(client, new Uint8Array(count));
  const buffer = new Uint8Array(64 * 1024);
  for (let left = count; left > 0;) {
    left -= await within(upstream.read(buffer), "the stream") ?? left;
  }
  await writing;
}

Deno.test("relay() waits with a quarter of a kilobyte where only small messages move", async () => {
  await using watched = await startWatched();
  for (let i = 0; i < 10; i++) await sendThrough(watched, "PING\r\n");
  assertEquals(new Set(watched.sizes), new Set([256]));
});

Deno.test("relay() reads a stream with a megabyte, and does not wait with one after it", async () => {
  await using watched = await startWatched();
  const { sizes } = watched;
  await streamThrough(watched, 16 * 1024 * 1024);
  await sendThrough(watched, "x");
  assertEquals(Math.max(...sizes), 1024 * 1024);
  assert((sizes.at(-1) ?? 0) <= 32 * 1024, `${sizes.slice(-20)}`);
});

Deno.test("relay() goes back to a quarter of a kilobyte when only small messages follow", async () => {
  await using watched = await startWatched();
  const { sizes } = watched;
  await streamThrough(watched, 1024 * 1024);
  for (let i = 0; i < 200 && sizes.at(-1) !== 256; i++) await sendThrough(watched, "PING\r\n");
  assertEquals(sizes.at(-1), 256);
});

Deno.test("relay() lends its large buffers again: what one has sent does not reach another", async () => {
  await using first = await startWatched();
  await using second = await startWatched();
  const random = new Random();
  console.error(`seed ${random.seed}`);
  for (let round = 0; round < 4; round++) {
    for (const { client, upstream } of [first, second]) {
      const sent = random.bytes(3_000_000);
      const writing = writeAll(client, sent);
      const received = new Uint8Array(sent.length);
      for (let at = 0; at < received.length;) {
        at += await within(upstream.read(received.subarray(at)), "the stream") ?? received.length;
      }
      await writing;
      assert(received.every((byte, at) => byte === sent[at]), `round ${round}`);
    }
  }
});

Deno.test("relay() lends eight large buffers to all connections together, and makes no more", async () => {
  await using relays = new AsyncDisposableStack();
  const all = await Promise.all(Array.from({ length: 12 }, startWatched));
  for (const watched of all) relays.use(watched);
  // Those that find none must get through as well.
  for (let round = 0; round < 2; round++) {
    await Promise.all(all.map((watched) => streamThrough(watched, 3 * 1024 * 1024)));
  }
  const buffers = new Set(all.flatMap(({ buffers }) => [...buffers]));
  const large = [...buffers].filter(({ byteLength }) => byteLength === 1024 * 1024);
  assert(large.length > 1 && large.length <= 8, `${large.length}`);
});

Deno.test("relay() gives a large buffer back also when its connection breaks", async () => {
  for (let i = 0; i < 20; i++) {
    let writing: Promise<void>;
    {
      await using watched = await startWatched();
      writing = writeAll(watched.client, new Uint8Array(8 * 1024 * 1024)).catch(() => {});
      // Nobody reads: it stands in a write when the upstream goes.
      await until(() => watched.sizes.includes(1024 * 1024), "a large buffer is lent");
      watched.upstream[Symbol.dispose]();
      await within(watched.end, "the relay to end");
    }
    await within(writing, "the client's write to fail");
  }
});

/** Streams that have more at any time. Their readers take it, or do until they are given a megabyte. */
interface Stalling extends AsyncDisposable {
  /** How many readers stand still with a megabyte. */
  stalled(): number;
  /** How many bytes have moved. */
  moved(): number;
  /** The large buffers that have been seen. */
  readonly large: ReadonlySet<ArrayBufferLike>;
}

function startStalling(count: number, { stalls = true } = {}): Stalling {
  const large = new Set<ArrayBufferLike>();
  const gone = Promise.withResolvers<never>();
  gone.promise.catch(() => {});
  let isOver = false;
  let stalled = 0;
  let moved = 0;
  const nowhere = { hostname: "127.0.0.1", port: 1 };
  const source: Stream = {
    localAddr: nowhere,
    remoteAddr: nowhere,
    async read(buffer): Promise<number | null> {
      await new Promise<void>((resolve) => void setImmediate(resolve));
      return isOver ? null : buffer.length;
    },
    write: () => gone.promise,
    closeWrite: () => Promise.resolve(),
    [Symbol.dispose]: () => {},
  };
  const sink: Stream = {
    ...source,
    read: () => gone.promise,
    write(data): Promise<number> {
      if (data.length >= 1024 * 1024) {
        large.add(data.buffer);
        if (stalls) {
          stalled++;
          return gone.promise;
        }
      }
      moved += data.length;
      return Promise.resolve(data.length);
    },
  };
  const relays = Array.from({ length: count }, () => relay(source, sink, newTraffic()));
  return {
    large,
    stalled: () => stalled,
    moved: () => moved,
    async [Symbol.asyncDispose](): Promise<void> {
      isOver = true;
      gone.reject(new Error("gone"));
      await within(Promise.all(relays), "the relays to end");
    },
  };
}

for (const count of [8, 40]) {
  Deno.test(`relay() lends a stream a large buffer beside ${count} readers that stand still`, async () => {
    await using stalling = startStalling(count);
    await until(() => stalling.stalled() === count, "all of them stand still");
    await using watched = await startWatched();
    for (let i = 0; i < 24 && !watched.sizes.includes(1024 * 1024); i++) {
      await streamThrough(watched, 4 * 1024 * 1024);
    }
    assert(watched.sizes.includes(1024 * 1024), "no large buffer after 96 MiB");
  });
}

Deno.test("relay() lends no more than eight large buffers to readers that all go on", async () => {
  await using streams = startStalling(12, { stalls: false });
  await until(() => streams.moved() > 512 * 1024 * 1024, "half a gigabyte has moved");
  assertEquals(streams.large.size, 8);
});

Deno.test("relay() makes no more than 64 large buffers, however many readers stand still", async () => {
  await using stalling = startStalling(70);
  await until(() => stalling.stalled() === 64, "64 of them stand still");
  const before = stalling.moved();
  await until(() => stalling.moved() - before > 80 * 1024 * 1024, "the others go on");
  assertEquals([stalling.stalled(), stalling.large.size], [64, 64]);
});

Deno.test("relay() passes on the message that came, not an earlier one of the same length", async () => {
  for (const length of [1, 255, 256, 257, 4095, 4096, 4097, 32 * 1024, 32 * 1024 + 1]) {
    await using watched = await startWatched();
    for (const letter of "abcdef") await sendThrough(watched, letter.repeat(length));
  }
});

/** A stream that has more at each turn of the event loop, and its receiver that takes all of it. */
function endlessStream(): { source: Stream; sink: Stream; stop: () => void } {
  const stopped = Promise.withResolvers<null>();
  let isStopped = false;
  const nowhere = { hostname: "127.0.0.1", port: 1 };
  const source: Stream = {
    localAddr: nowhere,
    remoteAddr: nowhere,
    async read(buffer): Promise<number | null> {
      await new Promise<void>((resolve) => void setImmediate(resolve));
      return isStopped ? null : buffer.length;
    },
    write: (data) => Promise.resolve(data.length),
    closeWrite: () => Promise.resolve(),
    [Symbol.dispose]: () => {},
  };
  const stop = (): void => {
    isStopped = true;
    stopped.resolve(null);
  };
  return { source, sink: { ...source, read: () => stopped.promise }, stop };
}

Deno.test("relay() lets a quiet connection in between the megabytes of a stream", async () => {
  const { source, sink, stop } = endlessStream();
  const stream = newTraffic();
  const streaming = relay(source, sink, stream);
  {
    await using quiet = await startWatched();
    for (let i = 0; i < 10; i++) {
      const before = stream.up.bytes;
      await writeAll(quiet.client, "PING");
      assertEquals(await readExactly(quiet.upstream, 4), "PING");
      // Deno looks for new events every 61 turns, and it has to do so twice: 122 MiB.
      const megabytes = (stream.up.bytes - before) / 1024 ** 2;
      assert(megabytes < 32, `${megabytes} MiB`);
    }
  }
  stop();
  assertEquals(await within(streaming, "the stream to end"), "finished");
});
