// Sessions in this process, their sockets in the test's hand: who gives way, what is lost and as what it
// counts, when one ends. What the real program does is in tests/program/udp_*_test.ts.

import { assert, assertEquals, assertMatch } from "@std/assert";
import type { RouteSettings } from "../../src/config/options.ts";
import type { Route } from "../../src/config/routes.ts";
import { parseNetworks } from "../../src/base/networks.ts";
import type { Counts, DropReason } from "../../src/forward/counts.ts";
import type { ForwarderOptions } from "../../src/forward/forwarder.ts";
import { LoopError } from "../../src/forward/reach.ts";
import { Target } from "../../src/forward/targets.ts";
import { giveSlice, SLICES_A_CHUNK, takeSlice } from "../../src/net/arena.ts";
import {
  askUdp,
  freeUdpPort,
  isUdpFree,
  MAX_DATAGRAM,
  readAnnounced,
  startUdpEcho,
  startUdpNamed,
  startUdpPeer,
  type UdpAddress,
  type UdpPeer,
} from "../helpers/datagrams.ts";
import { Random, readExactly, startEcho, until, within, writeAll } from "../helpers/mod.ts";
import { IPV6, LINUX, needs } from "../helpers/needs.ts";
import { type Rewirable, startRewirable } from "../helpers/rewirable.ts";
import { sleep } from "../helpers/rewiring.ts";
import { routeTo } from "../helpers/routes.ts";
import { createUdpWire, noDescriptor, type UdpWire } from "../helpers/udp_wire.ts";

/** Maximum datagrams of a client that wait. */
const MAX_WAITING = 16;

/** How many slices of the oldest chunk nobody uses. */
function freeSlices(): number {
  const slice = takeSlice();
  giveSlice(slice);
  return slice.chunk.free.length;
}

/** A UDP route on loopback. */
function routeOf(
  port: number,
  target: UdpAddress,
  settings: Partial<RouteSettings> = {},
  hostname = "127.0.0.1",
): Route {
  const { hostname: host, port: targetPort } = target;
  return routeTo({ protocol: "udp", hostname: host, port: targetPort }, {
    aliases: ["DNS"],
    listen: { protocol: "udp", hostname, port },
    settings: { failTimeoutMs: 0, ...settings },
  });
}

/** A forwarder at work whose sockets are in the test's hand. */
interface House extends Rewirable {
  readonly wire: UdpWire;
  /** Where its first route listens. */
  readonly to: UdpAddress;
  /** What a route has counted; the first unless given. */
  counts(index?: number): Counts;
  /** Waits until that many sessions are open. */
  opens(count: number): Promise<void>;
  /** What has been dropped on the first route, without the zeros and what wanders about on this machine. */
  dropped(): Partial<Record<DropReason, number>>;
  /** The clients whose sessions have ended for a reason, in this order, by their ports. */
  ended(reason: string): number[];
}

function startHouse(
  routes: readonly Route[],
  { wire = createUdpWire(), ...rest }: Partial<ForwarderOptions> & { readonly wire?: UdpWire } = {},
): House {
  const options = { transports: wire.transports, drainTimeoutMs: 1, ...rest };
  const wired = startRewirable(routes, options);
  const counts = (index = 0): Counts => {
    const report = wired.forwarder.report().routes[index];
    if (report === undefined) throw new Error(`no route ${index}`);
    return report.counts;
  };
  const { hostname = "", port = 0 } = routes[0]?.listen ?? {};
  return {
    ...wired,
    async [Symbol.asyncDispose](): Promise<void> {
      await wired[Symbol.asyncDispose]();
      // What waits for a turn of the loop has it.
      await sleep(5);
      await until(() => freeSlices() === SLICES_A_CHUNK, "every slice is given back");
    },
    wire,
    to: { hostname: hostname === "::" ? "127.0.0.1" : hostname, port },
    counts,
    opens: (count) => until(() => counts().open === count, `${count} sessions are open`),
    dropped: () => nonZero({ ...counts().dropped, stranger: 0 }),
    ended(reason): number[] {
      const closed = wired.lines.filter((line) =>
        line.includes(" connection_closed ") && line.endsWith(` reason=${reason}`)
      );
      return closed.map((line) => Number(/ client=\S+:(\d+)/.exec(line)?.[1]));
    },
  };
}

function nonZero<Key extends string>(
  counts: Readonly<Record<Key, number>>,
): Partial<Record<Key, number>> {
  const entries = Object.entries<number>(counts).filter(([, count]) => count > 0);
  return Object.fromEntries(entries) as Partial<Record<Key, number>>;
}

/** The lines for somebody to act on. */
function complaints({ lines }: House): string[] {
  return lines.filter((line) => / (?:WARN|ERROR) /.test(line));
}

/** Opens clients, which are closed with the stack. */
function openClients(stack: AsyncDisposableStack, count: number): UdpPeer[] {
  return Array.from({ length: count }, () => stack.use(startUdpPeer()));
}

/** Sends once, and waits for the answer. */
async function ask(client: UdpPeer, to: UdpAddress, text = "?"): Promise<string> {
  await client.send(text, to);
  return (await client.next()).text;
}

/** Sends datagrams that are their numbers, each once the one before has come. */
async function sendNumbers(
  client: UdpPeer,
  { to, wire }: House,
  count: number,
  first = 0,
): Promise<void> {
  const before = wire.received;
  for (let i = 0; i < count; i++) {
    await client.send(`${first + i}`, to);
    await wire.receives(before + i + 1);
  }
}

/** The numbers in the next datagrams. */
async function nextNumbers(peer: UdpPeer, count: number): Promise<number[]> {
  const numbers: number[] = [];
  while (numbers.length < count) numbers.push(Number((await peer.next()).text));
  return numbers;
}

function range(count: number, first = 0): number[] {
  return Array.from({ length: count }, (_, index) => first + index);
}

const portsOf = (clients: readonly (UdpPeer | undefined)[]): number[] =>
  clients.map((one) => one?.address.port ?? 0);

/** Moves `performance.now()`, which all times of sessions are taken from; back at the end of the block. */
function shiftableClock(): Disposable & { shift(ms: number): void } {
  const { now } = performance;
  let shiftMs = 0;
  performance.now = () => now.call(performance) + shiftMs;
  return {
    shift(ms): void {
      shiftMs += ms;
    },
    [Symbol.dispose](): void {
      performance.now = now;
    },
  };
}

Deno.test("Sessions passes on a burst of a new client, and loses none of it", async () => {
  await using target = startUdpPeer();
  await using house = startHouse([routeOf(freeUdpPort(), target.address)]);
  await using client = startUdpPeer();
  const many = 100;
  house.wire.arrivals.hold();
  for (let i = 0; i < many; i++) await client.send(`${i}`, house.to);
  house.wire.arrivals.release();
  assertEquals(await nextNumbers(target, many), range(many));
  const { datagramsUp, connections } = house.counts();
  assertEquals([datagramsUp, connections, house.dropped()], [many, 1, {}]);
});

Deno.test("Sessions loses none of a burst either where nobody has a hand on the sockets", async () => {
  await using target = startUdpPeer();
  const port = freeUdpPort();
  await using wired = startRewirable([routeOf(port, target.address)], { drainTimeoutMs: 1 });
  await using client = startUdpPeer();
  const numbers = range(100);
  // All of them at once, in whatever order.
  await Promise.all(numbers.map((i) => client.send(`${i}`, { hostname: "127.0.0.1", port })));
  const received = await nextNumbers(target, numbers.length);
  assertEquals(received.toSorted((a, b) => a - b), numbers);
  assertEquals(wired.forwarder.report().routes[0]?.counts.dropped.queue_full, 0);
});

Deno.test("Sessions brings datagrams of many clients whole and in order, both ways, and counts each once", async () => {
  const random = new Random();
  await using target = startUdpEcho();
  await using house = startHouse([routeOf(freeUdpPort(), target.address)]);
  await using stack = new AsyncDisposableStack();
  const clients = openClients(stack, 10);
  // As many as are on their way fit into the buffers of the system.
  const [times, inFlight] = [100, 8];
  let bytes = 0;
  await Promise.all(clients.map(async (client) => {
    const sent: Uint8Array[] = [];
    for (let answered = 0; answered < times; answered++) {
      while (sent.length < Math.min(times, answered + inFlight)) {
        const datagram = random.bytes(random.below(1000));
        bytes += datagram.length;
        sent.push(datagram);
        await client.send(datagram, house.to);
      }
      assertEquals((await client.next()).data, sent[answered], `seed ${random.seed}`);
    }
  }));
  const { datagramsUp, datagramsDown, bytesUp, bytesDown, connections } = house.counts();
  const all = times * clients.length;
  assertEquals([datagramsUp, datagramsDown, connections], [all, all, clients.length]);
  assertEquals([bytesUp, bytesDown, house.dropped()], [bytes, bytes, {}]);
});

Deno.test("Sessions keeps 16 datagrams of a client that has no socket yet, in their order", async () => {
  await using target = startUdpPeer();
  await using house = startHouse([routeOf(freeUdpPort(), target.address)]);
  house.wire.connects.hold();
  await using client = startUdpPeer();
  await sendNumbers(client, house, MAX_WAITING + 3);
  await until(() => house.dropped().queue_full === 3, "what is too much is lost");
  house.wire.connects.release();
  assertEquals(await nextNumbers(target, MAX_WAITING), range(MAX_WAITING));
  assertEquals(await askUp(client, target, house), "after");
  const { datagramsUp, bytesUp } = house.counts();
  assertEquals([datagramsUp, bytesUp], [MAX_WAITING + 1, 10 + 6 * 2 + 5]);
});

/** What comes at the target of what is sent now. */
async function askUp(client: UdpPeer, target: UdpPeer, { to }: House): Promise<string> {
  await client.send("after", to);
  return (await target.next()).text;
}

Deno.test("Sessions keeps 16 behind one that the system does not take, and others go on", async () => {
  await using target = startUdpPeer();
  await using house = startHouse([routeOf(freeUdpPort(), target.address)]);
  await using client = startUdpPeer();
  await using other = startUdpPeer();
  await askUp(client, target, house);
  house.wire.writes.hold();
  await sendNumbers(client, house, 1 + MAX_WAITING + 5);
  await until(() => house.dropped().queue_full === 5, "what is too much is lost");
  // It takes its turns, and no more of them.
  await sendNumbers(other, house, 2, 100);
  house.wire.writes.release();
  const numbers = await nextNumbers(target, 1 + MAX_WAITING + 2);
  assertEquals(numbers.filter((one) => one < 100), range(1 + MAX_WAITING));
  assertEquals(numbers.filter((one) => one >= 100), [100, 101]);
  assertEquals(house.counts().datagramsUp, 1 + numbers.length);
});

Deno.test("Sessions keeps 4 MiB of all clients of a listener, again and again", async () => {
  await using target = startUdpPeer();
  await using house = startHouse([routeOf(freeUdpPort(), target.address)]);
  await using stack = new AsyncDisposableStack();
  const { wire, to } = house;
  // Each keeps 17 pages in use.
  const room = Math.ceil(4 * 1024 * 1024 / (17 * 4096));
  const each = 15;
  for (let round = 1; round <= 2; round++) {
    wire.connects.hold();
    for (const client of openClients(stack, 5)) {
      for (let i = 0; i < each; i++) {
        const before = wire.received;
        await client.send(new Uint8Array(MAX_DATAGRAM), to);
        await wire.receives(before + 1);
      }
    }
    const lost = 5 * each - room;
    await until(() => house.dropped().queue_full === round * lost, `${lost} are lost`);
    // Few enough at once for the system's buffer.
    wire.writes.hold();
    wire.connects.release();
    await until(() => wire.writes.waiting === 5, "all have a socket");
    wire.writes.release();
    await until(() => house.counts().datagramsUp === round * room, "the others are sent");
  }
});

Deno.test("Sessions counts what a session had as lost once, by how it ended", async () => {
  await using target = startUdpPeer();
  const label = "x".repeat(64);
  await using house = startHouse([
    routeOf(freeUdpPort(), target.address, { maxSessions: 1 }),
    routeOf(freeUdpPort(), { hostname: label, port: 9 }),
  ]);
  await using stack = new AsyncDisposableStack();
  const [one, two, three] = openClients(stack, 3) as [UdpPeer, UdpPeer, UdpPeer];
  // While it looks for its target.
  house.wire.connects.hold();
  await sendNumbers(one, house, 4);
  await two.send("next", house.to);
  await until(() => house.ended("evicted").length === 1, "it has given way");
  assertEquals(house.dropped(), { closed: 4 });
  house.wire.connects.release();
  assertEquals((await target.next()).text, "next");
  await until(() => house.wire.sockets.size === 1, "it leaves no socket behind");
  // Nothing was wrong with its target.
  assertEquals([house.counts().connectErrors, complaints(house)], [0, []]);
  // While the system does not take it.
  house.wire.writes.hold();
  await sendNumbers(two, house, 3);
  await three.send("last", house.to);
  await until(() => house.ended("evicted").length === 2, "it has given way");
  house.wire.writes.release();
  assertEquals((await target.next()).text, "last");
  await until(() => house.dropped().closed === 7, "all are counted");
  assertEquals([house.counts().datagramsUp, house.dropped()], [2, { closed: 7 }]);
  // Where no target is found.
  await one.send("lost", {
    hostname: "127.0.0.1",
    port: house.forwarder.routes[1]?.listen.port ?? 0,
  });
  await until(() => house.counts(1).closed.connect_failed === 1, "its target is not found");
  const { dropped, connectErrors, lastConnectError, open } = house.counts(1);
  assertEquals([nonZero(dropped), connectErrors, open], [{ connect_failed: 1 }, 1, 0]);
  assertMatch(lastConnectError?.message ?? "", /does not resolve/);
  assert(house.lines.some((line) => / WARN {2}connect_failed .*does not resolve/.test(line)));
});

Deno.test("Sessions counts what was passed on just when its session ended, with its bytes", async () => {
  await using target = startUdpPeer();
  await using house = startHouse([routeOf(freeUdpPort(), target.address, { maxSessions: 1 })]);
  const { wire } = house;
  await using client = startUdpPeer();
  await using other = startUdpPeer();
  wire.written.hold();
  await client.send("12345", house.to);
  await until(() => wire.written.waiting === 1, "it is sent");
  await other.send("123", house.to);
  await until(() => wire.written.waiting === 2, "the next one's too");
  assertEquals(house.ended("evicted"), portsOf([client]));
  wire.written.release();
  await until(() => house.counts().datagramsUp === 2, "both are counted");
  assertEquals([house.counts().bytesUp, house.dropped()], [8, {}]);
});

Deno.test("Sessions begins none for what has come just when its route went", async () => {
  await using target = startUdpPeer();
  const [port, other] = [freeUdpPort(), freeUdpPort()];
  await using house = startHouse([routeOf(port, target.address), routeOf(other, target.address)]);
  const { wire } = house;
  await using client = startUdpPeer();
  await using late = startUdpPeer();
  // Who is on its way keeps the route in the report.
  wire.connected.hold();
  await client.send("?", house.to);
  await until(() => wire.connected.waiting === 1, "it waits");
  wire.arrivals.hold();
  await late.send("too late", house.to);
  await until(() => wire.arrivals.waiting === 1, "it has come");
  const rewiring = house.rewire(routeOf(other, target.address));
  await until(() => house.counts(1).dropped.closed === 1, "the route has gone");
  wire.arrivals.release();
  await rewiring;
  const { dropped, connections } = house.counts(1);
  assertEquals([nonZero(dropped), connections], [{ closed: 2 }, 1]);
  wire.connected.release();
});

Deno.test("Sessions counts what the system does not send, and goes on", async () => {
  await using target = startUdpEcho();
  await using house = startHouse([routeOf(freeUdpPort(), target.address)]);
  const { wire } = house;
  await using client = startUdpPeer();
  await ask(client, house.to);
  wire.writes.error = Object.assign(new Error("no way"), { code: "ENETUNREACH" });
  await client.send("lost", house.to);
  await until(() => house.dropped().send_failed === 1, "it is counted");
  assertMatch(house.counts().lastConnectError?.message ?? "", /network unreachable/);
  assert(house.lines.some((line) => / connect_failed .*network unreachable/.test(line)));
  const lines = house.lines.length;
  wire.writes.error = Object.assign(new Error("too long"), { code: "EMSGSIZE" });
  await client.send("long", house.to);
  await until(() => house.dropped().too_large === 1, "it is counted");
  // Its client's fault: no line for it.
  assertEquals(house.lines.length, lines);
  wire.writes.error = undefined;
  wire.sends.error = Object.assign(new Error("no way"), { code: "EHOSTUNREACH" });
  await client.send("answered", house.to);
  await until(() => house.dropped().send_failed === 2, "its answer is counted");
  wire.sends.error = undefined;
  assertEquals(await ask(client, house.to, "again"), "again");
  const { datagramsUp, datagramsDown, connections } = house.counts();
  assertEquals([datagramsUp, datagramsDown, connections], [3, 2, 1]);
});

Deno.test({
  name: "Sessions counts what IPv6 can send and IPv4 can't as too large, both ways",
  ...needs(IPV6, LINUX),
}, async () => {
  const most = new Uint8Array(65_527);
  await using target = startUdpPeer();
  await using ipv6Target = startUdpPeer({ hostname: "::1" });
  await using house = startHouse([
    routeOf(freeUdpPort("::1"), target.address, {}, "::1"),
    routeOf(freeUdpPort(), ipv6Target.address),
  ]);
  await using ipv6Client = startUdpPeer({ hostname: "::1" });
  await ipv6Client.send(most, house.to);
  await until(() => house.dropped().too_large === 1, "it is counted");
  await using client = startUdpPeer();
  const [, second] = house.forwarder.routes;
  await client.send("?", second?.listen ?? house.to);
  const { from } = await ipv6Target.next();
  await ipv6Target.send(most, from);
  await until(() => house.counts(1).dropped.too_large === 1, "it is counted");
  await ipv6Target.send("small", from);
  assertEquals((await client.next()).text, "small");
});

Deno.test({
  name:
    "Sessions announces where the client has sent to, as far as a listener of both families knows",
  ...needs(IPV6, LINUX),
}, async () => {
  await using target = startUdpPeer();
  const port = freeUdpPort();
  await using house = startHouse([
    routeOf(port, target.address, { sendProxy: "v2" }, "::"),
  ]);
  const cases = [["127.0.0.1", 0x12, "0.0.0.0"], ["::1", 0x22, "::"]] as const;
  for (const [hostname, family, destination] of cases) {
    await using client = startUdpPeer({ hostname });
    house.wire.connects.hold();
    for (const text of ["one", "two"]) await client.send(text, { hostname, port });
    await until(() => house.wire.connects.waiting === 1, "it looks for its target");
    house.wire.connects.release();
    for (const text of ["one", "two"]) {
      const announced = readAnnounced((await target.next()).data);
      assertEquals(announced.family, family);
      assertEquals(announced.source, { hostname, port: client.address.port });
      assertEquals(announced.destination, { hostname: destination, port });
      assertEquals(new TextDecoder().decode(announced.data), text);
    }
  }
  const opened = house.lines.filter((line) => line.includes(" connection_opened "));
  assertEquals(opened.map((line) => / client=(\S+):\d+$/.exec(line)?.[1]), ["127.0.0.1", "[::1]"]);
  // What stands before a datagram is none of its bytes.
  assertEquals(house.counts().bytesUp, 12);
});

Deno.test("Sessions puts nothing before datagrams where streams get a header of version 1", async () => {
  await using target = startUdpPeer();
  await using house = startHouse([routeOf(freeUdpPort(), target.address, { sendProxy: "v1" })]);
  await using client = startUdpPeer();
  assertEquals(await askUp(client, target, house), "after");
});

Deno.test("Sessions lets those give way who have sent once, the longest quiet first, then the others", async () => {
  await using target = startUdpEcho();
  await using house = startHouse([routeOf(freeUdpPort(), target.address, { maxSessions: 4 })]);
  await using stack = new AsyncDisposableStack();
  const clients = openClients(stack, 9);
  const [a, b, c, d, e, f, g, h, i] = clients;
  for (const client of [a, a, b, c, d, e, c, f, g, g, f, h, i]) {
    if (client !== undefined) await ask(client, house.to);
    assert(house.counts().open <= 4, `${house.counts().open} sessions`);
  }
  assertEquals(house.ended("evicted"), portsOf([b, d, e, a, h]));
  const { open, connections, closed } = house.counts();
  assertEquals([open, connections, nonZero(closed)], [4, 9, { evicted: 5 }]);
});

Deno.test("Sessions of several datagrams keep three quarters of the places, and no more", async () => {
  await using target = startUdpEcho();
  await using house = startHouse([routeOf(freeUdpPort(), target.address)], { maxSessions: 40 });
  await using stack = new AsyncDisposableStack();
  const regulars = openClients(stack, 40);
  for (const client of [...regulars, ...regulars]) await ask(client, house.to);
  const newcomers = openClients(stack, 12);
  for (const client of newcomers) await ask(client, house.to);
  assertEquals(
    house.ended("evicted"),
    portsOf([...regulars.slice(0, 10), ...newcomers.slice(0, 2)]),
  );
});

Deno.test("Sessions of several datagrams keep all places of a small house", async () => {
  await using target = startUdpEcho();
  await using house = startHouse([routeOf(freeUdpPort(), target.address)], { maxSessions: 8 });
  await using stack = new AsyncDisposableStack();
  const regulars = openClients(stack, 7);
  for (const client of [...regulars, ...regulars]) await ask(client, house.to);
  const newcomers = openClients(stack, 4);
  for (const client of newcomers) await ask(client, house.to);
  assertEquals(house.ended("evicted"), portsOf(newcomers.slice(0, 3)));
});

Deno.test("Sessions takes an answer for life, whether its client has sent once or more", async () => {
  await using target = startUdpPeer();
  await using house = startHouse([routeOf(freeUdpPort(), target.address, { maxSessions: 3 })]);
  await using stack = new AsyncDisposableStack();
  const clients = openClients(stack, 6) as [UdpPeer, UdpPeer, UdpPeer, UdpPeer, UdpPeer, UdpPeer];
  const [a, b, c, d, e, f] = clients;
  const sessions = new Map<UdpPeer, UdpAddress>();
  async function send(client: UdpPeer): Promise<void> {
    await client.send("?", house.to);
    sessions.set(client, (await target.next()).from);
  }
  async function answer(client: UdpPeer): Promise<void> {
    await target.send("!", sessions.get(client) ?? house.to);
    await client.next();
  }
  for (const client of [a, b, c]) await send(client);
  await answer(a);
  await send(d);
  assertEquals(house.ended("evicted"), portsOf([b]));
  for (const client of [a, c, d]) await send(client);
  await answer(a);
  await send(e);
  await send(e);
  await send(f);
  assertEquals(house.ended("evicted"), portsOf([b, c, d]));
});

Deno.test("Sessions has places of a route and of all routes, and both hold", async () => {
  await using target = startUdpEcho();
  const [one, other] = [freeUdpPort(), freeUdpPort()];
  await using house = startHouse([
    routeOf(one, target.address, { maxSessions: 2 }),
    routeOf(other, target.address),
  ], { maxSessions: 3 });
  await using stack = new AsyncDisposableStack();
  const [a, b, c, d, e] = openClients(stack, 5) as [UdpPeer, UdpPeer, UdpPeer, UdpPeer, UdpPeer];
  const asks: [UdpPeer, number][] = [[a, other], [b, one], [c, one], [d, one], [e, other]];
  for (const [client, port] of asks) await ask(client, { hostname: "127.0.0.1", port });
  // The first takes the place of its own route's, though another has been quiet for longer.
  assertEquals(house.ended("evicted"), portsOf([b, a]));
  assertEquals([house.counts(0).open, house.counts(1).open], [2, 1]);
});

Deno.test({
  name: "Sessions has the places of a route for all its listeners together",
  ...needs(LINUX),
}, async () => {
  const wire = createUdpWire();
  wire.alsoAt = "127.0.0.2";
  await using target = startUdpEcho();
  const port = freeUdpPort();
  await using house = startHouse([routeOf(port, target.address, { maxSessions: 2 })], { wire });
  await using one = startUdpPeer();
  await using two = startUdpPeer({ hostname: "127.0.0.3" });
  await using three = startUdpPeer({ hostname: "127.0.0.3" });
  await ask(one, house.to);
  for (const client of [two, three]) await ask(client, { hostname: wire.alsoAt, port });
  assertEquals(house.ended("evicted"), portsOf([one]));
});

Deno.test("Sessions has no limit where that is 0", async () => {
  await using target = startUdpEcho();
  await using house = startHouse([routeOf(freeUdpPort(), target.address)], { maxSessions: 0 });
  await using stack = new AsyncDisposableStack();
  for (const client of openClients(stack, 20)) await ask(client, house.to);
  assertEquals(house.counts().open, 20);
});

Deno.test("Sessions forgets a session that ends while its answer is under way", async () => {
  await using target = startUdpEcho();
  await using house = startHouse([routeOf(freeUdpPort(), target.address, { maxSessions: 1 })]);
  const { wire } = house;
  await using stack = new AsyncDisposableStack();
  const [a, b, c] = openClients(stack, 3) as [UdpPeer, UdpPeer, UdpPeer];
  wire.sends.hold();
  await a.send("a", house.to);
  await until(() => wire.sends.waiting === 1, "its answer is under way");
  await b.send("b", house.to);
  await until(() => wire.sends.waiting === 2, "the next one's too");
  assertEquals(house.ended("evicted"), portsOf([a]));
  wire.sends.release();
  assertEquals((await b.next()).text, "b");
  assertEquals(await ask(c, house.to, "c"), "c");
  assertEquals(house.ended("evicted"), portsOf([a, b]));
  assertEquals([house.counts().datagramsDown, house.counts().bytesDown], [3, 3]);
  // One that the system does not send then was lost by the end.
  wire.sends.hold();
  await c.send("late", house.to);
  await until(() => wire.sends.waiting === 1, "its answer is under way");
  await a.send("a", house.to);
  await until(() => wire.sends.waiting === 2, "the next one's too");
  wire.sends.error = new Error("closed");
  wire.sends.release();
  await until(() => house.dropped().closed === 1, "it is counted");
  await until(() => house.dropped().send_failed === 1, "that of who is there is, too");
  await house[Symbol.asyncDispose]();
  assert(house.lines.some((line) => / draining connections=1 /.test(line)));
});

Deno.test("Sessions has 64 answers of a listener wait for the system, and drops more", async () => {
  await using target = startUdpEcho();
  await using house = startHouse([routeOf(freeUdpPort(), target.address)]);
  const { wire } = house;
  await using stack = new AsyncDisposableStack();
  const clients = openClients(stack, 70);
  for (let round = 1; round <= 2; round++) {
    wire.sends.hold();
    for (const client of clients) await client.send("?", house.to);
    await until(() => house.dropped().queue_full === 6 * round, "six answers are lost");
    assertEquals(wire.sends.waiting, 64);
    wire.sends.release();
    await until(() => house.counts().datagramsDown === 64 * round, "the others are passed on");
  }
  assertEquals(house.counts().datagramsUp, 140);
});

Deno.test("Sessions outlives what can't be received, from clients and from a target, and tries at ease", async () => {
  await using target = startUdpPeer();
  await using house = startHouse([routeOf(freeUdpPort(), target.address)]);
  const { wire } = house;
  await using client = startUdpPeer();
  const errors = (): number => house.counts().acceptErrors;
  /** How long so many errors take, in milliseconds. */
  async function take(count: number): Promise<number> {
    const before = errors();
    const startMs = performance.now();
    await until(() => errors() >= before + count, "they are counted");
    return performance.now() - startMs;
  }
  let session = client.address;
  const cases = [
    { gate: wire.arrivals, send: () => client.send("up", house.to), receiver: target },
    { gate: wire.reads, send: () => target.send("down", session), receiver: client },
  ];
  for (const { gate, send, receiver } of cases) {
    // They come ever more slowly; but for who has been well meanwhile they begin anew.
    for (let times = 0; times < 2; times++) {
      gate.error = new Error("no memory");
      await send();
      assert(await take(3) < 150);
      assert(await take(3) > 100);
      gate.error = undefined;
      await send();
      const { from } = await receiver.next();
      if (receiver === target) session = from;
    }
  }
  assert(house.lines.some((line) => / WARN {2}accept_failed .*no memory/.test(line)));
});

Deno.test("Sessions counts strangers, and passes nothing of theirs on", async () => {
  await using target = startUdpPeer();
  await using stranger = startUdpPeer();
  await using house = startHouse([routeOf(freeUdpPort(), target.address)]);
  await using client = startUdpPeer();
  await client.send("?", house.to);
  const { from } = await target.next();
  await stranger.send("forged", from);
  await until(() => house.counts().dropped.stranger > 0, "it is counted");
  await target.send("answer", from);
  assertEquals((await client.next()).text, "answer");
  assertEquals(house.counts().datagramsDown, 1);
});

Deno.test("Sessions begins none for who is not allowed", async () => {
  await using target = startUdpEcho();
  await using house = startHouse([
    routeOf(freeUdpPort(), target.address, {
      allow: parseNetworks("192.0.2.0/24"),
      maxSessions: 1,
    }),
  ]);
  await using client = startUdpPeer();
  await client.send("?", house.to);
  await until(() => house.dropped().not_allowed === 1, "it is counted");
  assertEquals(house.counts().connections, 0);
  assert(house.lines.some((line) => / WARN {2}not_allowed .*client=127\.0\.0\.1:/.test(line)));
});

Deno.test("Sessions ends what has been quiet for its limit, soon, beside one that has a longer one", async () => {
  await using target = startUdpEcho();
  await using house = startHouse([
    routeOf(freeUdpPort(), target.address),
    routeOf(freeUdpPort(), target.address, { udpTimeoutMs: 400 }),
  ]);
  await using patient = startUdpPeer();
  await using brief = startUdpPeer();
  await using another = startUdpPeer();
  await ask(patient, house.to);
  const [, second] = house.forwarder.routes;
  const startMs = performance.now();
  await ask(brief, second?.listen ?? house.to);
  await ask(another, house.to);
  await until(() => house.counts(1).open === 0, "it has ended");
  const tookMs = performance.now() - startMs;
  assert(tookMs >= 399 && tookMs < 700, `${tookMs} ms`);
  assertEquals([house.ended("idle_timeout"), house.counts().open], [portsOf([brief]), 2]);
  const line = house.lines.find((line) => line.includes(" connection_closed ")) ?? "";
  assertMatch(line, / client=127\.0\.0\.1:\d+ bytes_up=1 bytes_down=1 duration_ms=\d+ reason=/);
  const targetsOpen = (): number[] =>
    house.forwarder.report().routes.flatMap(({ targets }) => targets.map(({ open }) => open));
  await until(() => `${targetsOpen()}` === "2,0", "its target has it no more");
  assertEquals(house.wire.sockets.size, 2);
});

Deno.test("Sessions ends what has been quiet for its limit also while new ones begin all the time", async () => {
  await using target = startUdpPeer();
  await using house = startHouse([routeOf(freeUdpPort(), target.address, { udpTimeoutMs: 200 })]);
  const untilMs = performance.now() + 2000;
  while (house.ended("idle_timeout").length === 0 && performance.now() < untilMs) {
    await using client = startUdpPeer();
    await client.send("?", house.to);
    await sleep(1);
  }
  assert(house.ended("idle_timeout").length > 0);
});

Deno.test("Sessions goes on while datagrams go one way, up or down", async () => {
  await using target = startUdpPeer();
  await using house = startHouse([routeOf(freeUdpPort(), target.address, { udpTimeoutMs: 200 })]);
  await using talker = startUdpPeer();
  await using listener = startUdpPeer();
  await listener.send("tell me", house.to);
  const { from: session } = await target.next();
  for (let i = 0; i < 8; i++) {
    await askUp(talker, target, house);
    await target.send(`${i}`, session);
    await listener.next();
    await sleep(50);
  }
  assertEquals([house.counts().connections, house.counts().open], [2, 2]);
});

Deno.test("Sessions goes on while datagrams come that the system does not take", async () => {
  await using target = startUdpEcho();
  await using house = startHouse([routeOf(freeUdpPort(), target.address, { udpTimeoutMs: 150 })]);
  await using client = startUdpPeer();
  house.wire.writes.hold();
  for (let i = 0; i < 8; i++) {
    await client.send("?", house.to);
    await sleep(50);
  }
  assertEquals([house.counts().connections, house.counts().open], [1, 1]);
  house.wire.writes.release();
  assertEquals((await client.next()).text, "?");
});

Deno.test("Sessions ends nobody for quiet who has no target yet", async () => {
  await using target = startUdpEcho();
  await using house = startHouse([routeOf(freeUdpPort(), target.address, { udpTimeoutMs: 50 })]);
  await using client = startUdpPeer();
  house.wire.connects.hold();
  await client.send("patience", house.to);
  await sleep(200);
  assertEquals(house.counts().open, 1);
  house.wire.connects.release();
  assertEquals((await client.next()).text, "patience");
});

Deno.test("Sessions without a limit of time never end for quiet, and look names up each minute", async () => {
  using clock = shiftableClock();
  await using target = startUdpEcho();
  await using house = startHouse([routeOf(freeUdpPort(), target.address, { udpTimeoutMs: 0 })]);
  await using client = startUdpPeer();
  await ask(client, house.to);
  // They are looked at each second.
  clock.shift(58_500);
  await sleep(1200);
  assertEquals(house.wire.renewed.length, 0);
  await until(() => house.wire.renewed.length === 1, "the name is looked up");
  assertEquals(house.counts().open, 1);
});

/** Keeps a session busy until that holds. */
async function askWhile(client: UdpPeer, to: UdpAddress, goesOn: () => boolean): Promise<number> {
  for (let times = 0;; times++) {
    if (!goesOn()) return times;
    await ask(client, to);
    await sleep(10);
  }
}

Deno.test("Sessions looks the target's name up after its limit, one at a time, for as long as a connect", async () => {
  await using target = startUdpEcho();
  await using house = startHouse([
    routeOf(freeUdpPort(), target.address, { udpTimeoutMs: 100, connectTimeoutMs: 250 }),
  ]);
  const { wire } = house;
  await using client = startUdpPeer();
  wire.renewals.hold();
  const startMs = performance.now();
  await askWhile(client, house.to, () => wire.renewed.length === 0);
  assert(performance.now() - startMs >= 99);
  await askWhile(client, house.to, () => wire.renewed[0]?.aborted === false);
  // Two more would have been due.
  assertEquals(wire.renewed.length, 1);
  // Whatever becomes of it, the session goes on, and tries again.
  wire.renewals.error = noDescriptor();
  wire.renewals.release();
  await askWhile(client, house.to, () => wire.renewed.length < 2);
  const secondMs = performance.now();
  await askWhile(client, house.to, () => wire.renewed.length < 3);
  assert(performance.now() - secondMs > 60);
  assertEquals([house.counts().connections, house.dropped()], [1, {}]);
});

const LOOP = new LoopError(
  new Target({ protocol: "udp", hostname: "192.0.2.1", port: 53 }, createUdpWire().transports.udp),
);

Deno.test("Sessions ends where a target turns out to lead back, by its new address or the next", async () => {
  await using target = startUdpEcho();
  await using house = startHouse([routeOf(freeUdpPort(), target.address, { udpTimeoutMs: 100 })]);
  const { wire } = house;
  await using client = startUdpPeer();
  wire.renewals.error = LOOP;
  await askWhile(client, house.to, () => house.counts().closed.loop === 0);
  wire.renewals.error = undefined;
  wire.writes.error = LOOP;
  await client.send("round", house.to);
  await until(() => house.counts().closed.loop === 2, "it is cut");
  assertEquals(house.dropped(), { loop: 1 });
  assertEquals(house.lines.filter((line) => / ERROR loop_detected .*hint=/.test(line)).length, 2);
  assertEquals(nonZero(house.counts().closed), { loop: 2 });
});

Deno.test("Sessions says nothing of a loop that shows once a session has ended otherwise", async () => {
  await using target = startUdpEcho();
  await using house = startHouse([
    routeOf(freeUdpPort(), target.address, { udpTimeoutMs: 100, maxSessions: 1 }),
  ]);
  const { wire } = house;
  await using client = startUdpPeer();
  await using other = startUdpPeer();
  wire.renewals.hold();
  await askWhile(client, house.to, () => wire.renewals.waiting === 0);
  await ask(other, house.to);
  wire.renewals.error = LOOP;
  wire.renewals.release();
  await until(() => wire.renewals.waiting === 0, "it is found");
  assertEquals(nonZero(house.counts().closed), { evicted: 1 });
  assert(!house.lines.some((line) => line.includes("loop_detected")));
});

Deno.test("Forwarder cuts a UDP route that leads to itself, or round through another", async () => {
  const [one, two, three] = [freeUdpPort(), freeUdpPort(), freeUdpPort()];
  const local = (port: number): UdpAddress => ({ hostname: "127.0.0.1", port });
  await using house = startHouse([
    routeOf(one, local(one)),
    routeOf(two, { hostname: "localhost", port: three }),
    routeOf(three, local(two)),
  ]);
  await using client = startUdpPeer();
  for (const [index, port] of [one, two].entries()) {
    await client.send("round", local(port));
    await until(() => house.counts(index).closed.loop === 1, "it is cut");
    const { dropped, datagramsUp, connectErrors, loopingSince } = house.counts(index);
    assertEquals([nonZero(dropped), datagramsUp, connectErrors], [{ loop: 1 }, 0, 0]);
    assert(loopingSince !== undefined);
  }
  assertEquals(house.counts(2).connections, 0);
  assertEquals(house.lines.filter((line) => line.includes(" ERROR loop_detected ")).length, 2);
});

for (const hostname of ["127.0.0.1", "::"]) {
  Deno.test({
    name: `Sessions lets a datagram through a NAT go round twice at most, at ${hostname}`,
    ...needs(...(hostname === "::" ? [IPV6, LINUX] : [])),
  }, async () => {
    await using target = startUdpEcho();
    const port = freeUdpPort();
    await using house = startHouse([
      routeOf(port, { hostname: "192.0.2.53", port: 53 }, {}, hostname),
      routeOf(freeUdpPort(), target.address),
    ]);
    const { wire } = house;
    const [, second] = house.forwarder.routes;
    await using bystander = startUdpPeer();
    await ask(bystander, second?.listen ?? house.to);
    wire.nat = house.to;
    await using client = startUdpPeer();
    for (let times = 1; times <= 2; times++) {
      await client.send("round", house.to);
      await until(() => house.dropped().loop === times, "it is dropped");
      const { datagramsUp, connections } = house.counts();
      assertEquals([house.dropped(), datagramsUp, connections], [{ loop: times }, 3 * times, 3]);
    }
    assertEquals(house.counts(1).open, 1);
    const loops = house.lines.filter((line) => line.includes(" ERROR loop_detected "));
    assertMatch(loops[0] ?? "", / target=udp:\/\/192\.0\.2\.53:53 client=127\.0\.0\.1:\d+ hint=/);
  });
}

Deno.test("Sessions serves a client whose port a session has too, here or on another machine", async () => {
  await using target = startUdpPeer();
  await using house = startHouse([routeOf(freeUdpPort(), target.address)]);
  const { wire } = house;
  await using client = startUdpPeer();
  await client.send("?", house.to);
  let { from: { port } } = await target.next();
  // One of another machine is none of ours, however often.
  for (const hostname of ["127.0.0.1", ...Array(4).fill("192.0.2.7")]) {
    wire.seemsFrom = { hostname, port };
    await client.send(`from ${hostname}`, house.to);
    const { text, from } = await target.next();
    assertEquals(text, `from ${hostname}`);
    port = from.port;
  }
  assertEquals(house.dropped(), {});
});

Deno.test("Sessions knows targets and clients of other machines that have the port of a wildcard listener", async () => {
  await using target = startUdpPeer();
  const port = freeUdpPort("0.0.0.0");
  await using house = startHouse([
    routeOf(port, { hostname: "192.0.2.53", port }, {}, "0.0.0.0"),
  ]);
  const { wire } = house;
  wire.nat = target.address;
  wire.seemsFrom = { hostname: "192.0.2.7", port };
  await using client = startUdpPeer();
  await client.send("from afar", { hostname: "127.0.0.1", port });
  assertEquals((await target.next()).text, "from afar");
  assertEquals([house.counts().open, house.dropped()], [1, {}]);
});

Deno.test("Sessions drops a datagram that seems to come from a listener of the ambassador", async () => {
  await using target = startUdpEcho();
  await using house = startHouse([
    routeOf(freeUdpPort(), target.address),
    routeOf(freeUdpPort(), target.address),
  ]);
  const [, listener] = house.wire.listeners;
  await listener?.send(new TextEncoder().encode("forged"), house.to);
  await until(() => house.dropped().loop === 1, "it is counted");
  assertEquals([house.counts().connections, target.count], [0, 0]);
});

Deno.test("Forwarder.giveUpSessions() ends four that have a socket, and holds no more for a while", async () => {
  using clock = shiftableClock();
  await using target = startUdpEcho();
  await using house = startHouse([routeOf(freeUdpPort(), target.address)]);
  const { forwarder, wire } = house;
  await using stack = new AsyncDisposableStack();
  const clients = openClients(stack, 20);
  for (const client of clients) await ask(client, house.to);
  forwarder.giveUpSessions(noDescriptor());
  // Nothing has come free before the next turn of the loop.
  forwarder.giveUpSessions(noDescriptor());
  assertEquals(house.ended("evicted"), portsOf(clients.slice(0, 4)));
  await ask(stack.use(startUdpPeer()), house.to);
  assertEquals(house.counts().open, 16);
  await sleep(5);
  forwarder.giveUpSessions(noDescriptor());
  assertEquals(house.counts().open, 12);
  for (const client of openClients(stack, 3)) await ask(client, house.to);
  assertEquals(house.counts().open, 12);
  clock.shift(9900);
  await ask(stack.use(startUdpPeer()), house.to);
  assertEquals(house.counts().open, 12);
  clock.shift(200);
  await ask(stack.use(startUdpPeer()), house.to);
  assertEquals([house.counts().open, wire.sockets.size], [13, 13]);
  // Those that wait for their target have nothing to give.
  wire.connects.hold();
  for (const client of openClients(stack, 3)) await client.send("?", house.to);
  await until(() => wire.connects.waiting === 3, "they wait");
  for (let i = 0; i < 6; i++) {
    forwarder.giveUpSessions(noDescriptor());
    await sleep(5);
  }
  assertEquals([house.counts().open, wire.sockets.size], [3, 0]);
  wire.connects.release();
  await until(() => wire.sockets.size === 3, "they have their sockets");
  // A shortage has one line, until it has been over for a minute.
  assertEquals(complaints(house).length, 1);
  clock.shift(59_000);
  forwarder.giveUpSessions(noDescriptor());
  assertEquals(complaints(house).length, 1);
  await ask(stack.use(startUdpPeer()), house.to);
  clock.shift(61_000);
  forwarder.giveUpSessions(noDescriptor());
  assertEquals(complaints(house).length, 2);
});

Deno.test("Forwarder.giveUpSessions() waits for nothing of sessions that had no socket", async () => {
  await using target = startUdpEcho();
  const port = freeUdpPort();
  await using house = startHouse([routeOf(port, target.address)]);
  const { wire, forwarder } = house;
  await using client = startUdpPeer();
  wire.connects.hold();
  await client.send("?", house.to);
  await until(() => wire.connects.waiting === 1, "it waits");
  const rewiring = house.rewire(routeOf(freeUdpPort(), target.address));
  assertEquals(house.ended("rewire_timeout"), portsOf([client]));
  forwarder.giveUpSessions(noDescriptor());
  assertEquals(complaints(house), []);
  wire.connects.release();
  await rewiring;
});

Deno.test("Forwarder.giveUpSessions() gives streams four descriptors of all that come free just then", async () => {
  await using target = startUdpEcho();
  const [port, other] = [freeUdpPort(), freeUdpPort()];
  await using house = startHouse([routeOf(port, target.address), routeOf(other, target.address)]);
  await using stack = new AsyncDisposableStack();
  for (const client of openClients(stack, 10)) {
    await ask(client, house.to);
    await ask(client, { hostname: "127.0.0.1", port: other });
  }
  const rewiring = house.rewire(routeOf(port, target.address));
  house.forwarder.giveUpSessions(noDescriptor());
  await rewiring;
  // Ten have ended, and nobody else for it; the others may have six of these places.
  assertEquals(house.ended("evicted"), []);
  for (const client of openClients(stack, 8)) await ask(client, house.to);
  assertEquals([house.counts().open, house.ended("evicted").length], [16, 2]);
});

Deno.test("Forwarder.giveUpSessions() leaves a place to UDP where streams have got all", async () => {
  await using target = startUdpEcho();
  await using house = startHouse([routeOf(freeUdpPort(), target.address)]);
  await using stack = new AsyncDisposableStack();
  for (const client of openClients(stack, 3)) await ask(client, house.to);
  house.forwarder.giveUpSessions(noDescriptor());
  assertEquals(house.counts().open, 0);
  for (const client of openClients(stack, 3)) {
    await ask(client, house.to);
    assertEquals(house.counts().open, 1);
  }
});

Deno.test("Sessions serves all clients through as many sockets as there are", async () => {
  await using target = startUdpEcho();
  await using house = startHouse([routeOf(freeUdpPort(), target.address)]);
  house.wire.maxSockets = 10;
  for (let i = 0; i < 30; i++) assertEquals(await askUdp(house.to, `${i}`), `${i}`);
  const { connections, open, datagramsDown, connectErrors } = house.counts();
  assertEquals([connections, datagramsDown, connectErrors], [30, 30, 0]);
  assert(open <= 10 && open === house.wire.sockets.size, `${open} sessions`);
  assertEquals(house.dropped(), {});
  const [line, ...others] = complaints(house);
  assertEquals(others, []);
  assertMatch(
    line ?? "",
    / WARN {2}accept_failed .* connections=10 hint="sessions of UDP give way;/,
  );
});

Deno.test("Sessions that are short of descriptors take them from each other, one by one, and not from TCP", async () => {
  await using upstream = startEcho();
  await using target = startUdpEcho();
  const port = freeUdpPort();
  await using house = startHouse([
    routeOf(freeUdpPort(), target.address),
    routeTo(upstream.address, { listen: { hostname: "127.0.0.1", port } }),
  ]);
  const { wire } = house;
  await using stack = new AsyncDisposableStack();
  const clients = openClients(stack, 10);
  for (const client of clients) await ask(client, house.to);
  for (const client of clients.slice(0, 5)) await ask(client, house.to);
  wire.maxSockets = 10;
  const newcomers = openClients(stack, 20);
  for (const [index, client] of newcomers.entries()) {
    await ask(client, house.to);
    assertEquals(house.counts().open, 10, `after ${index + 1}`);
  }
  // Each takes the place of one that has sent once; those who came again stay.
  const gone = [...clients.slice(5), ...newcomers.slice(0, 15)];
  assertEquals(house.ended("evicted"), portsOf(gone));
  // Nor where many come at once.
  const crowd = openClients(stack, 10);
  for (const client of crowd) await client.send("?", house.to);
  for (const client of clients.slice(0, 5)) await ask(client, house.to);
  assertEquals(
    house.ended("evicted").filter((one) => portsOf(clients.slice(0, 5)).includes(one)),
    [],
  );
  for (let i = 0; i < 8; i++) {
    const conn = stack.use(await Deno.connect({ hostname: "127.0.0.1", port }));
    await writeAll(conn, "hello");
    assertEquals(await within(readExactly(conn, 5), "the echo"), "hello");
  }
});

Deno.test("Sessions serves who has come while there was no descriptor at all, once there is one", async () => {
  await using target = startUdpPeer();
  await using house = startHouse([routeOf(freeUdpPort(), target.address)]);
  house.wire.maxSockets = 0;
  await using client = startUdpPeer();
  await sendNumbers(client, house, 2);
  await until(() => house.lines.some((line) => / WARN {2}accept_failed /.test(line)), "it says so");
  // Nothing comes free by itself.
  await sleep(50);
  const { count } = house.wire.connects;
  assert(count < 5, `${count} tries`);
  house.wire.maxSockets = 1;
  assertEquals(await nextNumbers(target, 2), [0, 1]);
  const { connectErrors, closed } = house.counts();
  assertEquals([house.dropped(), connectErrors, nonZero(closed)], [{}, 0, {}]);
});

Deno.test("Sessions end for a client of TCP where descriptors are short, and one line says so", async () => {
  await using upstream = startEcho();
  await using target = startUdpEcho();
  const wire = createUdpWire();
  let isShort = false;
  let tries = 0;
  const { tcp } = wire.transports;
  const transports = {
    ...wire.transports,
    tcp: {
      ...tcp,
      connect(...call: Parameters<typeof tcp.connect>): ReturnType<typeof tcp.connect> {
        tries++;
        if (isShort && wire.sockets.size > 8) throw noDescriptor();
        return tcp.connect(...call);
      },
    },
  };
  const port = freeUdpPort();
  await using house = startHouse([
    routeOf(freeUdpPort(), target.address),
    routeTo(upstream.address, { listen: { hostname: "127.0.0.1", port } }),
  ], { wire, transports });
  await using stack = new AsyncDisposableStack();
  const clients = openClients(stack, 12);
  for (const client of clients) await ask(client, house.to);
  isShort = true;
  using client = await Deno.connect({ hostname: "127.0.0.1", port });
  await writeAll(client, "hello");
  assertEquals(await within(readExactly(client, 5), "the echo"), "hello");
  assertEquals(tries, 2);
  assertEquals(house.ended("evicted"), portsOf(clients.slice(0, 4)));
  const [line, ...others] = complaints(house);
  assertEquals(others, []);
  assertMatch(line ?? "", / WARN {2}accept_failed .* hint="sessions of UDP give way;/);
});

Deno.test("Forwarder takes what others give back before it ends sessions", async () => {
  await using upstream = startEcho();
  await using target = startUdpEcho();
  const wire = createUdpWire();
  let asked = 0;
  const { tcp } = wire.transports;
  const connect: typeof tcp.connect = (...call) =>
    asked === 0 ? Promise.reject(noDescriptor()) : tcp.connect(...call);
  const transports = { ...wire.transports, tcp: { ...tcp, connect } };
  const port = freeUdpPort();
  await using house = startHouse([
    routeOf(freeUdpPort(), target.address),
    routeTo(upstream.address, { listen: { hostname: "127.0.0.1", port } }),
  ], { wire, transports, onShortage: () => ++asked > 0 });
  await using udpClient = startUdpPeer();
  await ask(udpClient, house.to);
  using client = await Deno.connect({ hostname: "127.0.0.1", port });
  await writeAll(client, "hello");
  assertEquals(await within(readExactly(client, 5), "the echo"), "hello");
  assertEquals([asked, house.counts().open, complaints(house)], [1, 1, []]);
  // And so do sessions among themselves.
  wire.maxSockets = 1;
  const other = askUdp(house.to, "other");
  await until(() => asked > 1, "it is asked");
  wire.maxSockets = 2;
  assertEquals(await other, "other");
  assertEquals([house.counts().open, complaints(house)], [2, []]);
});

/** Stops it; for how many milliseconds that took. */
async function stop(house: House): Promise<number> {
  const startMs = performance.now();
  await house[Symbol.asyncDispose]();
  return performance.now() - startMs;
}

Deno.test("Forwarder.run() ends sessions that are quiet half a second after the stop, as finished", async () => {
  await using target = startUdpEcho();
  await using house = startHouse([routeOf(freeUdpPort(), target.address)], {
    drainTimeoutMs: 10_000,
  });
  await using stack = new AsyncDisposableStack();
  const clients = openClients(stack, 3);
  for (const client of clients) await ask(client, house.to);
  await sleep(300);
  const tookMs = await stop(house);
  assert(tookMs > 450 && tookMs < 3000, `${tookMs} ms`);
  assertEquals(house.ended("finished"), portsOf(clients));
  assert(house.lines.some((line) => / INFO {2}draining connections=3 /.test(line)));
  assert(house.lines.some((line) => / INFO {2}stopped cut_off=0$/.test(line)));
  assertEquals(house.wire.sockets.size, 0);
});

Deno.test("Forwarder.run() serves busy sessions to the end of drainTimeoutMs, and begins none", async () => {
  await using target = startUdpEcho();
  await using house = startHouse([routeOf(freeUdpPort(), target.address)], {
    drainTimeoutMs: 900,
  });
  await using busy = startUdpPeer();
  await using quiet = startUdpPeer();
  await using late = startUdpPeer();
  for (const client of [busy, quiet]) await ask(client, house.to);
  let runs = true;
  const stopping = stop(house).finally(() => runs = false);
  await late.send("too late", house.to);
  const asked: number[] = [];
  const asking = (async (): Promise<void> => {
    while (runs) {
      await busy.send("still here", house.to);
      await until(() => busy.waiting.length > 0 || !runs, "an answer");
      if (runs) {
        await busy.next();
        asked.push(house.counts().open);
      }
      await sleep(20);
    }
  })();
  const tookMs = await stopping;
  await asking;
  assert(tookMs > 850 && tookMs < 3000, `${tookMs} ms`);
  // The quiet one has ended meanwhile.
  assert(asked.includes(1), `${asked}`);
  assertEquals(house.ended("finished"), portsOf([quiet, busy]));
  const { connections, closed, dropped } = house.counts();
  assertEquals([connections, nonZero(closed)], [2, { finished: 2 }]);
  assert(dropped.closed >= 1);
  assertEquals(late.count, 0);
  assert(house.lines.some((line) => / INFO {2}stopped cut_off=0$/.test(line)));
});

Deno.test("Forwarder.run() waits for busy sessions for as long as they are where drainTimeoutMs is 0", async () => {
  await using target = startUdpEcho();
  await using house = startHouse([routeOf(freeUdpPort(), target.address)], { drainTimeoutMs: 0 });
  await using busy = startUdpPeer();
  await ask(busy, house.to);
  const stopping = stop(house);
  const untilMs = performance.now() + 800;
  await askWhile(busy, house.to, () => performance.now() < untilMs);
  const tookMs = await stopping;
  assert(tookMs > 1200 && tookMs < 4000, `${tookMs} ms`);
});

Deno.test("Forwarder.run() frees the ports of UDP once its sessions have ended, while connections go on", async () => {
  await using upstream = startEcho();
  await using target = startUdpEcho();
  const port = freeUdpPort();
  await using house = startHouse([
    routeOf(freeUdpPort(), target.address),
    routeTo(upstream.address, { listen: { hostname: "127.0.0.1", port } }),
  ], { drainTimeoutMs: 5000 });
  await using udpClient = startUdpPeer();
  await ask(udpClient, house.to);
  const client = await Deno.connect({ hostname: "127.0.0.1", port });
  async function echoes(): Promise<boolean> {
    await writeAll(client, "hello");
    return await within(readExactly(client, 5), "the echo") === "hello";
  }
  assert(await echoes());
  const stopping = stop(house);
  await until(() => isUdpFree(house.to), "its port is free");
  assert(await echoes());
  assertEquals(house.ended("finished"), portsOf([udpClient]));
  client.close();
  const tookMs = await stopping;
  assert(tookMs < 3000, `${tookMs} ms`);
});

Deno.test("Forwarder.run() begins sessions for as long as drainDelayMs", async () => {
  await using target = startUdpEcho();
  await using house = startHouse([routeOf(freeUdpPort(), target.address)], { drainDelayMs: 300 });
  const stopping = stop(house);
  assertEquals(await askUdp(house.to, "hello"), "hello");
  await stopping;
});

Deno.test("Forwarder.rewire() ends the sessions of a target that is gone, and no others", async () => {
  await using a = startUdpNamed("a");
  await using b = startUdpNamed("b");
  const port = freeUdpPort();
  const both = { ...routeOf(port, a.address, { balance: "roundrobin" }) };
  const { targets: [first] } = both;
  assert(first !== undefined);
  const second = { ...first, port: b.address.port };
  await using house = startHouse([{ ...both, targets: [first, second] }]);
  await using stack = new AsyncDisposableStack();
  const [one, two] = openClients(stack, 2) as [UdpPeer, UdpPeer];
  assertEquals([await ask(one, house.to), await ask(two, house.to)], ["a ?", "b ?"]);
  await house.rewire({ ...both, targets: [second] });
  assertEquals(house.ended("rewire_timeout"), portsOf([one]));
  const closed = house.lines.find((line) => line.includes(" connection_closed ")) ?? "";
  assert(closed.includes(` target=udp://127.0.0.1:${a.address.port} client=`), closed);
  assertEquals([await ask(two, house.to), await ask(one, house.to)], ["b ?", "b ?"]);
  assertEquals(house.counts().connections, 3);
});

Deno.test("Forwarder.rewire() leaves sessions the settings that they began with", async () => {
  await using target = startUdpEcho();
  const port = freeUdpPort();
  await using house = startHouse([routeOf(port, target.address)]);
  await using client = startUdpPeer();
  await ask(client, house.to);
  const changed = { udpTimeoutMs: 50, allow: parseNetworks("192.0.2.0/24") };
  await house.rewire(routeOf(port, target.address, changed));
  await sleep(200);
  assertEquals(await ask(client, house.to, "still"), "still");
  assertEquals([house.counts().connections, house.dropped()], [1, {}]);
});

Deno.test("Forwarder.rewire() judges anew who still waits for a target, and sends it to the new one", async () => {
  await using old = startUdpPeer();
  await using target = startUdpPeer();
  const port = freeUdpPort();
  await using house = startHouse([
    routeOf(port, old.address, {}, "127.0.0.1"),
  ]);
  const { wire } = house;
  await using refused = startUdpPeer({ hostname: "127.0.0.1" });
  wire.connects.hold();
  await sendNumbers(refused, house, 2);
  await until(() => wire.connects.waiting === 1, "it waits");
  await house.rewire(routeOf(port, target.address, { allow: parseNetworks("192.0.2.0/24") }));
  assertEquals(house.ended("not_allowed"), portsOf([refused]));
  assertEquals(house.dropped(), { closed: 2 });
  assert(house.lines.some((line) => / WARN {2}not_allowed .*client=127\.0\.0\.1:/.test(line)));
  wire.connects.release();
  await until(() => wire.sockets.size === 0 && wire.connects.waiting === 0, "its socket is closed");
  // And one who stays allowed.
  await house.rewire(routeOf(port, old.address));
  wire.connects.hold();
  await using client = startUdpPeer();
  await sendNumbers(client, house, 2);
  await until(() => wire.connects.waiting === 1, "it waits");
  await house.rewire(routeOf(port, target.address, { sendProxy: "v2" }));
  wire.connects.release();
  for (let i = 0; i < 2; i++) {
    const { data } = readAnnounced((await target.next()).data);
    assertEquals(new TextDecoder().decode(data), `${i}`);
  }
  assertEquals(old.count, 0);
});

Deno.test("Forwarder.rewire() leaves nobody at a target that went just when it was reached", async () => {
  await using old = startUdpPeer();
  await using target = startUdpPeer();
  const port = freeUdpPort();
  await using house = startHouse([routeOf(port, old.address)]);
  const { wire } = house;
  wire.connected.hold();
  await using client = startUdpPeer();
  await client.send("lost", house.to);
  await until(() => wire.connected.waiting === 1, "it is reached");
  await house.rewire(routeOf(port, target.address));
  wire.connected.release();
  await until(() => house.ended("rewire_timeout").length === 1, "it has ended");
  assertEquals(await askUp(client, target, house), "after");
  assertEquals([house.dropped(), old.count], [{ closed: 1 }, 0]);
});

Deno.test("Forwarder.rewire() ends who waits on a route that goes, and the route once it has none", async () => {
  await using target = startUdpPeer();
  const [port, other] = [freeUdpPort(), freeUdpPort()];
  await using house = startHouse([routeOf(port, target.address), routeOf(other, target.address)]);
  const { wire } = house;
  const routes = (): number => house.forwarder.report().routes.length;
  // Before there is a socket, and while nobody knows of it yet.
  for (const gate of [wire.connects, wire.connected]) {
    gate.hold();
    await using client = startUdpPeer();
    await sendNumbers(client, house, 2);
    await until(() => gate.waiting === 1, "it waits");
    await house.rewire(routeOf(other, target.address));
    assertEquals(house.ended("rewire_timeout").at(-1), client.address.port);
    const leaving = house.counts(1);
    assertEquals(nonZero(leaving.closed), { rewire_timeout: 1 });
    gate.release();
    await until(() => routes() === 1, "the route is forgotten");
    assertEquals([wire.sockets.size, target.count], [0, 0]);
    await house.rewire(routeOf(port, target.address), routeOf(other, target.address));
  }
  assertEquals(house.ended("rewire_timeout").length, 2);
});

Deno.test("Forwarder takes TCP and UDP at one port, and rewires each alone", async () => {
  await using upstream = startEcho();
  await using one = startUdpNamed("one");
  await using two = startUdpNamed("two");
  const port = freeUdpPort();
  const tcp = routeTo(upstream.address, { listen: { hostname: "127.0.0.1", port } });
  await using house = startHouse([routeOf(port, one.address), tcp]);
  await using udpClient = startUdpPeer();
  using client = await Deno.connect({ hostname: "127.0.0.1", port });
  async function echoes(): Promise<boolean> {
    await writeAll(client, "hello");
    return await within(readExactly(client, 5), "the echo") === "hello";
  }
  assertEquals([await ask(udpClient, house.to), await echoes()], ["one ?", true]);
  const { added, removed, changed } = await house.rewire(routeOf(port, two.address), tcp);
  assertEquals([added.length, removed.length, changed.length], [0, 0, 1]);
  assertEquals([await ask(udpClient, house.to), await echoes()], ["two ?", true]);
  await house.rewire(tcp);
  assertEquals(await echoes(), true);
  await udpClient.send("?", house.to);
  await house.rewire(routeOf(port, one.address), tcp);
  assertEquals(await ask(udpClient, house.to, "back"), "one back");
});

Deno.test("Sessions tells each retry once, and keeps the client until there is a target", async () => {
  await using target = startUdpPeer();
  await using house = startHouse([
    routeOf(freeUdpPort(), target.address, { retryMs: 10_000 }),
  ]);
  house.wire.connects.error = new Error("failed to lookup address information: not yet");
  await using client = startUdpPeer();
  await client.send("patience", house.to);
  const retrying = (): number =>
    house.lines.filter((line) => / WARN {2}connect_retrying .*not yet/.test(line)).length;
  await until(() => retrying() > 0, "it says so");
  assertMatch(house.counts().lastConnectError?.message ?? "", /not yet/);
  await sleep(50);
  house.wire.connects.error = undefined;
  assertEquals((await target.next()).text, "patience");
  assertEquals([retrying(), house.counts().connectErrors], [1, 0]);
  const { connectBuckets, connectSecondsSum } = house.counts();
  assertEquals(connectBuckets.reduce((sum, count) => sum + count, 0), 1);
  assert(connectSecondsSum >= 0.05 && connectSecondsSum < 10, `${connectSecondsSum} s`);
});
