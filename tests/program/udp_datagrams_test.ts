// Datagrams through the real program: whole, unchanged, in their order, whoever sends them and however
// many do.

import { assert, assertEquals } from "@std/assert";
import {
  askUdp,
  freeUdpPort,
  MAX_DATAGRAM,
  startUdpEcho,
  startUdpPeer,
  type UdpAddress,
  type UdpPeer,
} from "../helpers/datagrams.ts";
import { Random, readExactly, startEcho, writeAll } from "../helpers/mod.ts";
import { type Ability, IPV6, LINUX, needs } from "../helpers/needs.ts";
import { commandWithLimit, descriptorLimit, memoryOf, repeat } from "../helpers/process.ts";
import {
  startUdpRoute,
  type StartUdpRouteOptions,
  type UdpCounts,
} from "../helpers/udp_program.ts";

/** None, what fits a frame and what does not, a large frame, the most. */
const SIZES = [0, 1, 1472, 1473, 9000, MAX_DATAGRAM];

for (const hostname of ["127.0.0.1", "::1"]) {
  Deno.test({
    name: `a UDP route leaves datagrams of ${SIZES.join(", ")} bytes as they are, at ${hostname}`,
    ...needs(...(hostname === "::1" ? [IPV6] : [])),
  }, async () => {
    const random = new Random();
    await using target = startUdpPeer({ hostname });
    await using route = await startUdpRoute([target.address], { hostname });
    await using client = startUdpPeer({ hostname });
    for (const size of SIZES) {
      const [question, answer] = [random.bytes(size), random.bytes(size)];
      await client.send(question, route.address);
      const { data, from } = await target.next();
      assertEquals(data, question, `up, ${size} bytes, seed ${random.seed}`);
      await target.send(answer, from);
      const received = await client.next();
      assertEquals(received.data, answer, `down, ${size} bytes, seed ${random.seed}`);
      assertEquals(received.from.port, route.address.port);
    }
    const bytes = SIZES.reduce((sum, size) => sum + size, 0);
    const moved = { datagrams: SIZES.length, bytes };
    const { up, down, lost, opened } = await route.counts();
    assertEquals({ up, down, lost, opened }, { up: moved, down: moved, lost: 0, opened: 1 });
  });
}

/** A datagram with its number in front. */
function numbered(number: number, size: number, random: Random): Uint8Array<ArrayBuffer> {
  const bytes = random.bytes(Math.max(4, size));
  new DataView(bytes.buffer).setUint32(0, number);
  return bytes;
}

/** Sends datagrams, and checks the answers: all of them, unchanged, in their order. */
async function echoAll(
  client: UdpPeer,
  to: UdpAddress,
  { times, inFlight, maxSize, random }: {
    readonly times: number;
    readonly inFlight: number;
    readonly maxSize: number;
    readonly random: Random;
  },
): Promise<void> {
  const sent: Uint8Array[] = [];
  for (let answered = 0; answered < times; answered++) {
    while (sent.length < Math.min(times, answered + inFlight)) {
      const datagram = numbered(sent.length, random.below(maxSize), random);
      sent.push(datagram);
      await client.send(datagram, to);
    }
    assertEquals((await client.next()).data, sent[answered], `${answered}, seed ${random.seed}`);
  }
}

// What is on its way fits into the buffers of the system, which else drops some of it.
const LOADS = [
  { clients: 8, times: 500, inFlight: 8, maxSize: 100 },
  { clients: 4, times: 200, inFlight: 2, maxSize: 9000 },
];

for (const { clients, ...load } of LOADS) {
  const what = `datagrams of up to ${load.maxSize} bytes of ${clients} clients at once`;
  Deno.test(`a UDP route brings ${what} unchanged and in the order of each`, async () => {
    const random = new Random();
    await using target = startUdpEcho();
    await using route = await startUdpRoute([target.address]);
    await using stack = new AsyncDisposableStack();
    const peers = Array.from({ length: clients }, () => stack.use(startUdpPeer()));
    await Promise.all(peers.map((peer) => echoAll(peer, route.address, { ...load, random })));
    const all = clients * load.times;
    const { up, down, lost, opened } = await route.counts();
    assertEquals([up.datagrams, down.datagrams, lost, opened], [all, all, 0, clients]);
  });
}

Deno.test("a UDP route brings a target's unasked datagrams to its client, and each to its own", async () => {
  await using target = startUdpPeer();
  await using route = await startUdpRoute([target.address]);
  await using one = startUdpPeer();
  await using other = startUdpPeer();
  const sessions: Deno.NetAddr[] = [];
  for (const client of [one, other]) {
    await client.send("hello", route.address);
    sessions.push((await target.next()).from);
  }
  for (let i = 0; i < 20; i++) {
    for (const [index, session] of sessions.entries()) await target.send(`${index} ${i}`, session);
  }
  for (const [index, client] of [one, other].entries()) {
    for (let i = 0; i < 20; i++) assertEquals((await client.next()).text, `${index} ${i}`);
  }
});

Deno.test("a session takes datagrams from its target alone", async () => {
  await using target = startUdpPeer();
  await using stranger = startUdpPeer();
  await using route = await startUdpRoute([target.address]);
  await using client = startUdpPeer();
  await client.send("question", route.address);
  const { from } = await target.next();
  await stranger.send("forged", from);
  await target.send("answer", from);
  assertEquals((await client.next()).text, "answer");
  await route.counted(({ strangers }) => strangers > 0, "the forged one is counted");
  assertEquals((await route.counts()).down.datagrams, 1);
});

Deno.test({
  name: "a client is served whose port is that of a session's socket in the other family",
  ...needs(IPV6),
}, async () => {
  await using target = startUdpPeer();
  await using route = await startUdpRoute([target.address], { hostname: "::" });
  const { port } = route.address;
  await using first = startUdpPeer();
  await first.send("first", { hostname: "127.0.0.1", port });
  const { from: session } = await target.next();
  await using second = startUdpPeer({ hostname: "::1", port: session.port });
  await second.send("second", { hostname: "::1", port });
  const { text, from } = await target.next();
  await target.send(text, from);
  assertEquals((await second.next()).text, "second");
  assertEquals((await route.counts()).closed, {});
});

/** Asks once from an address and a port that no other client has had. */
async function askOnce(to: UdpAddress, index: number): Promise<void> {
  const hostname = `127.1.${index >> 8}.${index & 255}`;
  assertEquals(await askUdp(to, `question ${index}`, { hostname }), `question ${index}`);
}

/** What has become of a crowd, and of a client who was there before. */
interface Crowd {
  /** Through how many sockets of the ambassador the client has come who was there before and after. */
  readonly socketsOfRegular: number;
  /** What the route has counted. */
  readonly counts: UdpCounts;
  /** By how much the program's memory has grown, in bytes. */
  readonly grown: number;
}

/** Lets clients ask once, many at the same time, between two questions of one who stays. */
async function crowd(
  clients: number,
  options: StartUdpRouteOptions & { readonly atOnce: number },
): Promise<Crowd> {
  const sockets = new Set<number>();
  await using target = startUdpPeer({
    answer: ({ data, text, from }) => {
      if (text === "regular") sockets.add(from.port);
      return data;
    },
  });
  await using route = await startUdpRoute([target.address], options);
  await using regular = startUdpPeer();
  async function stay(): Promise<void> {
    await regular.send("regular", route.address);
    assertEquals((await regular.next()).text, "regular");
  }
  await repeat(2, 1, stay);
  const before = memoryOf(route.program.pid);
  await repeat(clients, options.atOnce, (index) => askOnce(route.address, index + 1));
  await stay();
  const counts = await route.counts();
  const grown = memoryOf(route.program.pid) - before;
  assertEquals(await route.stop(), 0);
  return { socketsOfRegular: sockets.size, counts, grown };
}

/** A machine on which a program may have a socket for each of 4,096 sessions. */
const MANY_DESCRIPTORS: Ability = {
  name: "a limit of 5,000 descriptors",
  get isHere(): boolean {
    return descriptorLimit() >= 5000;
  },
};

Deno.test({
  name:
    "10,000 clients are served through 4,096 places, and one that comes again keeps its session",
  ...needs(LINUX, MANY_DESCRIPTORS),
}, async () => {
  const { socketsOfRegular, counts, grown } = await crowd(10_000, { atOnce: 32 });
  // It had been quiet for longer than all others, but those had come only once.
  assertEquals(socketsOfRegular, 1);
  const { opened, open, closed, up, down, lost } = counts;
  assertEquals([opened, up.datagrams, down.datagrams, lost], [10_001, 10_003, 10_003, 0]);
  assertEquals([open, closed], [4096, { evicted: 10_001 - 4096 }]);
  // A session costs 16 KB at most, and what has ended leaves rubbish behind for a while.
  assert(grown < 4096 * 16 * 1024 + 64 * 1024 * 1024, `${grown >> 20} MiB more`);
});

Deno.test({
  name: "clients are served where descriptors are few, and one that comes again keeps its session",
  ...needs(LINUX, "bash"),
}, async () => {
  const command = commandWithLimit(100);
  const { socketsOfRegular, counts } = await crowd(500, { atOnce: 8, command });
  assertEquals(socketsOfRegular, 1);
  const { opened, up, down, lost } = counts;
  assertEquals([opened, up.datagrams, down.datagrams, lost], [501, 503, 503, 0]);
});

Deno.test({
  name: "clients of TCP are served where sessions have taken all descriptors",
  ...needs(LINUX, "bash"),
}, async () => {
  await using upstream = startEcho();
  await using target = startUdpEcho();
  const port = freeUdpPort();
  await using route = await startUdpRoute([target.address], {
    command: commandWithLimit(100),
    args: [`127.0.0.1:${port}=127.0.0.1:${upstream.address.port}`],
  });
  await repeat(200, 4, (index) => askOnce(route.address, index + 1));
  using stack = new DisposableStack();
  for (let client = 0; client < 20; client++) {
    const conn = stack.use(await Deno.connect({ hostname: "127.0.0.1", port }));
    await writeAll(conn, "hello");
    assertEquals(await readExactly(conn, 5), "hello");
  }
  // And those of UDP with what is left.
  await repeat(50, 4, (index) => askOnce(route.address, index + 1001));
});

Deno.test("--max-sessions lets the session give way that has been quiet longest", async () => {
  await using target = startUdpEcho();
  await using route = await startUdpRoute([target.address], { args: ["--max-sessions", "3"] });
  await using stack = new AsyncDisposableStack();
  const clients = Array.from({ length: 4 }, () => stack.use(startUdpPeer()));
  async function ask(client: UdpPeer | undefined, times: number): Promise<void> {
    for (let i = 0; i < times; i++) {
      await client?.send("hello", route.address);
      await client?.next();
    }
  }
  const [one, two, three, four] = clients;
  for (const client of [one, two, three]) await ask(client, 2);
  await ask(one, 1);
  // The second one is quiet longest now.
  await ask(four, 2);
  for (const client of [one, three, four]) await ask(client, 1);
  assertEquals([target.sources, (await route.counts()).closed], [4, { evicted: 1 }]);
  await ask(two, 1);
  assertEquals([target.sources, (await route.counts()).closed], [5, { evicted: 2 }]);
});
