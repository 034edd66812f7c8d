// Other routes in the place of those that there are: who notices, and who does not.

import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import type { Address } from "../../src/base/address.ts";
import type { RouteSettings } from "../../src/config/options.ts";
import type { Route } from "../../src/config/routes.ts";
import { parseNamePatterns } from "../../src/base/name_patterns.ts";
import { parseNetworks } from "../../src/base/networks.ts";
import { pause } from "../../src/base/time.ts";
import type { ConnectOptions, Listener, Stream, Transport } from "../../src/net/stream.ts";
import { PLAIN_TRANSPORTS } from "../../src/net/transports.ts";
import {
  freePort,
  isRefused,
  readExactly,
  readText,
  readToAnyEnd,
  startUpstream,
  until,
  type Upstream,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { startSilent } from "../helpers/process.ts";
import { EntryPoint } from "../../src/forward/entry_point.ts";
import { LOOP_HINT } from "../../src/forward/reach.ts";
import { failingSince } from "../../src/forward/report.ts";
import { type Rewirable, startRewirable } from "../helpers/rewirable.ts";
import { connect, headerOf, sleep, startNamed, whoAnswers, works } from "../helpers/rewiring.ts";
import { routeContext, routeTo } from "../helpers/routes.ts";
import { ALLOWED, connectTls, everybody } from "../helpers/tls_routes.ts";
import { needs, TLS } from "../helpers/needs.ts";

/** A route on loopback. */
function route(
  port: number,
  target: Address,
  { alias = "REDIS", ...settings }: Partial<RouteSettings> & { readonly alias?: string } = {},
): Route {
  const listen = { hostname: "127.0.0.1", port };
  return routeTo(target, { aliases: [alias], listen, settings });
}

/** The same with another target besides. */
function withSecond(one: Route, target: Address): Route {
  return { ...one, targets: [...one.targets, { protocol: "tcp", ...target }] };
}

const NOBODY = { hostname: "192.0.2.1", port: 1 };

Deno.test("Forwarder.rewire() leads new clients elsewhere, and open connections go on", async () => {
  await using a = startNamed("a");
  await using b = startNamed("b");
  const port = freePort();
  await using wired = startRewirable([route(port, a.address)]);
  using before = await connect(port);
  assertEquals(await readExactly(before, 1), "a");
  const { added, removed, changed } = await wired.rewire(route(port, b.address));
  assertEquals([added, removed], [[], []]);
  assertEquals(changed, [route(port, b.address)]);
  assertEquals(await whoAnswers(port), "b");
  assert(await works(before));
});

Deno.test("Forwarder.rewire() leaves a route alone that has not changed", async () => {
  await using a = startNamed("a");
  const [port, other] = [freePort(), freePort()];
  await using wired = startRewirable([route(port, a.address)]);
  using _before = await connect(port);
  await until(() => a.clients === 1, "the client is connected");
  const { added, changed } = await wired.rewire(
    route(port, a.address),
    route(other, a.address, { alias: "OTHER" }),
  );
  assertEquals([added.length, changed.length], [1, 0]);
  assertEquals(await whoAnswers(other), "a");
  const [first] = wired.forwarder.report().routes;
  assertEquals(first?.counts.connections, 1);
  assertEquals(first?.counts.open, 1);
});

Deno.test("Forwarder.rewire() keeps the queue of a route that changes: who waits there is served", async () => {
  await using a = startNamed("a");
  await using b = startNamed("b");
  const port = freePort();
  await using wired = startRewirable([route(port, a.address, { maxConnections: 1 })]);
  const first = await connect(port);
  assertEquals(await readExactly(first, 1), "a");
  using queued = await connect(port);
  await wired.rewire(route(port, b.address, { maxConnections: 1 }));
  first[Symbol.dispose]();
  assertEquals(await readExactly(queued, 1), "b");
});

Deno.test("Forwarder.rewire() lets those in who wait when there are more places", async () => {
  await using a = startNamed("a");
  const [port, other] = [freePort(), freePort()];
  await using wired = startRewirable([
    route(port, a.address, { maxConnections: 1 }),
    route(other, a.address),
  ]);
  using first = await connect(port);
  assertEquals(await readExactly(first, 1), "a");
  using queued = await connect(port);
  // Who comes later, elsewhere, has been served meanwhile.
  assertEquals(await whoAnswers(other), "a");
  assertEquals(a.clients, 2);
  await wired.rewire(route(port, a.address, { maxConnections: 2 }), route(other, a.address));
  assertEquals(await readExactly(queued, 1), "a");
});

Deno.test("Forwarder.rewire() closes the listener of a route that is gone, and its connections finish", async () => {
  await using a = startNamed("a");
  const [port, other] = [freePort(), freePort()];
  await using wired = startRewirable([route(port, a.address), route(other, a.address)]);
  using before = await connect(port);
  assertEquals(await readExactly(before, 1), "a");
  const { removed } = await wired.rewire(route(other, a.address));
  assertEquals(removed, [route(port, a.address)]);
  assert(await isRefused({ port }));
  assert(await works(before));
  const leaving = (): number =>
    wired.forwarder.report().routes.filter((one) => one.isLeaving).length;
  assertEquals(leaving(), 1);
  await before.closeWrite();
  assertEquals(await readText(before), "");
  await until(() => leaving() === 0, "nothing is left of the route");
  assertEquals(wired.forwarder.report().routes.length, 1);
});

Deno.test("Forwarder.rewire() may leave no route, and take some again", async () => {
  await using a = startNamed("a");
  const port = freePort();
  await using wired = startRewirable([route(port, a.address)]);
  await wired.rewire();
  assertEquals(wired.forwarder.report(), { ready: true, routes: [] });
  assert(await isRefused({ port }));
  await wired.rewire(route(port, a.address));
  assertEquals(await whoAnswers(port), "a");
});

Deno.test("Forwarder.rewire() knows a route again that comes back, with its connections and counts", async () => {
  await using a = startNamed("a");
  const port = freePort();
  const rewireTimeoutMs = 500;
  await using wired = startRewirable([route(port, a.address)], { rewireTimeoutMs });
  using before = await connect(port);
  assertEquals(await readExactly(before, 1), "a");
  await wired.rewire();
  await wired.rewire(route(port, a.address));
  using _after = await connect(port);
  await until(() => a.clients === 2, "the second client is connected");
  const [back, ...others] = wired.forwarder.report().routes;
  assertEquals(others, []);
  assertEquals(back?.isLeaving, false);
  assertEquals(back?.counts.open, 2);
  assertEquals(back?.targets.map(({ open }) => open), [2]);
  await new Promise((resolve) => setTimeout(resolve, 2 * rewireTimeoutMs));
  assert(await works(before));
});

Deno.test("Forwarder.rewire() changes nothing if a route can't be bound, and says so of each", async () => {
  await using a = startNamed("a");
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  using taken2 = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [port, free] = [freePort(), freePort()];
  await using wired = startRewirable([route(port, a.address)]);
  const { errors } = await assertRejects(
    () =>
      wired.rewire(
        route(port, NOBODY),
        route(free, NOBODY, { alias: "FREE" }),
        route(taken.addr.port, NOBODY, { alias: "ONE" }),
        route(taken2.addr.port, NOBODY, { alias: "TWO" }),
      ),
    AggregateError,
  );
  const messages = errors.map((error: Error) => error.message);
  assertEquals(messages.length, 2);
  assertStringIncludes(messages.join("\n"), "for route ONE: address in use");
  assertStringIncludes(messages.join("\n"), "for route TWO: address in use");
  for (const { hint } of errors) assertStringIncludes(hint, "another program");
  assert(await isRefused({ port: free }));
  assertEquals(await whoAnswers(port), "a");
});

Deno.test("Forwarder.rewire() can't bind what overlaps with a listener that leaves, but after it", async () => {
  const port = freePort();
  await using wired = startRewirable([route(port, NOBODY)]);
  const all = routeTo(NOBODY, { aliases: ["REDIS"], listen: { hostname: "0.0.0.0", port } });
  const { errors: [error] } = await assertRejects(() => wired.rewire(all), AggregateError);
  assertStringIncludes(error.message, "address in use");
  await wired.rewire();
  assertEquals((await wired.rewire(all)).added.length, 1);
});

Deno.test("Forwarder.rewire() lets two routes swap ports, and an alias move", async () => {
  await using a = startNamed("a");
  await using b = startNamed("b");
  const [one, two, three] = [freePort(), freePort(), freePort()];
  await using wired = startRewirable([
    route(one, a.address, { alias: "A" }),
    route(two, b.address, { alias: "B" }),
  ]);
  await wired.rewire(route(two, a.address, { alias: "A" }), route(one, b.address, { alias: "B" }));
  assertEquals([await whoAnswers(one), await whoAnswers(two)], ["b", "a"]);
  assertEquals(wired.forwarder.routes.map(({ aliases }) => aliases.join()), ["A", "B"]);
  const { added, removed, changed } = await wired.rewire(
    route(three, a.address, { alias: "A" }),
    route(one, b.address, { alias: "B" }),
  );
  assertEquals([added.length, removed.length, changed.length], [1, 1, 0]);
  assertEquals([await whoAnswers(three), await whoAnswers(one)], ["a", "b"]);
  assert(await isRefused({ port: two }));
});

Deno.test("Forwarder.rewire() ends connections to a target that is gone after rewireTimeoutMs, and no others", async () => {
  await using a = startNamed("a");
  await using b = startNamed("b");
  await using c = startNamed("c");
  const port = freePort();
  const rewireTimeoutMs = 300;
  const balance = "roundrobin";
  await using wired = startRewirable(
    [withSecond(route(port, a.address, { balance }), b.address)],
    { rewireTimeoutMs },
  );
  const clients = [await connect(port), await connect(port)];
  const names = await Promise.all(clients.map((client) => readExactly(client, 1)));
  const toA = clients[names.indexOf("a")];
  const toB = clients[names.indexOf("b")];
  assert(toA && toB);
  using _toB = toB;
  const startMs = performance.now();
  await wired.rewire(withSecond(route(port, b.address, { balance }), c.address));
  await readToAnyEnd(toA);
  const tookMs = performance.now() - startMs;
  toA[Symbol.dispose]();
  assert(tookMs >= rewireTimeoutMs - 1 && tookMs < 10 * rewireTimeoutMs, `${tookMs} ms`);
  await until(
    () => wired.lines.some((line) => line.endsWith("reason=rewire_timeout")),
    "the log says why",
  );
  assert(await works(toB));
});

Deno.test("Forwarder.rewire() ends none of a target that has come back in time", async () => {
  await using a = startNamed("a");
  await using b = startNamed("b");
  const port = freePort();
  // A busy machine may take its time for what comes next.
  const rewireTimeoutMs = 2000;
  await using wired = startRewirable([route(port, a.address)], { rewireTimeoutMs });
  using before = await connect(port);
  assertEquals(await readExactly(before, 1), "a");
  await wired.rewire(route(port, b.address));
  using between = await connect(port);
  assertEquals(await readExactly(between, 1), "b");
  await wired.rewire(route(port, a.address));
  // Whose target has not come back is the clock.
  await readToAnyEnd(between);
  assert(await works(before));
});

Deno.test("Forwarder.rewire() shows a target that is gone as long as it has connections", async () => {
  await using a = startNamed("a");
  await using b = startNamed("b");
  const port = freePort();
  await using wired = startRewirable([route(port, a.address)]);
  const before = await connect(port);
  assertEquals(await readExactly(before, 1), "a");
  await wired.rewire(route(port, b.address));
  const states = (): (boolean | undefined)[] =>
    wired.forwarder.report().routes[0]?.targets.map(({ isLeaving }) => isLeaving) ?? [];
  assertEquals(states(), [false, true]);
  before[Symbol.dispose]();
  await until(() => states().length === 1, "the connection has ended");
});

Deno.test("Forwarder.rewire() takes a client along that is held, and one whose dial hangs", async () => {
  await using a = startNamed("a");
  await using silent = await startSilent();
  const [held, hangs] = [freePort(), freePort()];
  const refusing = { hostname: "127.0.0.1", port: freePort() };
  const retryMs = 60_000;
  await using wired = startRewirable([
    route(held, refusing, { retryMs }),
    route(hangs, silent.address),
  ]);
  using one = await connect(held);
  using two = await connect(hangs);
  await until(() => wired.lines.some((line) => line.includes("connect_retrying")), "one is held");
  await until(() => wired.forwarder.report().routes[1]?.counts.open === 1, "the other is accepted");
  await wired.rewire(route(held, a.address, { retryMs }), route(hangs, a.address));
  assertEquals(await readExactly(one, 1), "a");
  assertEquals(await readExactly(two, 1), "a");
});

Deno.test("Forwarder.rewire() takes a client along whose dial hangs when a second target is added", async () => {
  await using a = startNamed("a");
  await using silent = await startSilent();
  const port = freePort();
  // Its only target may take all of this; the first of two, a part.
  const one = route(port, silent.address, { connectTimeoutMs: 4000 });
  await using wired = startRewirable([one]);
  using client = await connect(port);
  await until(() => wired.forwarder.report().routes[0]?.counts.open === 1, "it is accepted");
  await wired.rewire(withSecond(one, a.address));
  assertEquals(await readExactly(client, 1), "a");
});

Deno.test("Forwarder.rewire() gives a client that it takes along the whole connectTimeoutMs", async () => {
  await using a = startNamed("a");
  await using silent = await startSilent();
  const port = freePort();
  const settings = { connectTimeoutMs: 3000 };
  const { tcp } = PLAIN_TRANSPORTS;
  let beganMs: number | undefined;
  // The new target answers when the time for the old one is over.
  async function connectLate(address: Address, options: ConnectOptions): Promise<Stream> {
    beganMs ??= performance.now();
    if (address.port === a.address.port) {
      const untilMs = beganMs + settings.connectTimeoutMs + 200;
      await pause(untilMs - performance.now(), options.signal);
      options.signal.throwIfAborted();
    }
    return await tcp.connect(address, options);
  }
  await using wired = startRewirable([route(port, silent.address, settings)], {
    transports: { ...PLAIN_TRANSPORTS, tcp: { ...tcp, connect: connectLate } },
  });
  using client = await connect(port);
  await until(() => beganMs !== undefined, "its dial has begun");
  // Most of the time.
  await sleep(settings.connectTimeoutMs * 2 / 3);
  await wired.rewire(route(port, a.address, settings));
  assertEquals(await readExactly(client, 1), "a");
});

Deno.test("Forwarder.rewire() refuses a client that is accepted in the turn in which its route goes", async () => {
  await using secret = startNamed("s");
  const port = freePort();
  const [accepted, released] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  function gate(listener: Listener): Listener {
    return {
      addr: listener.addr,
      close: () => listener.close(),
      async accept(): Promise<Stream> {
        const client = await listener.accept();
        accepted.resolve();
        await released.promise;
        return client;
      },
    };
  }
  const { tcp } = PLAIN_TRANSPORTS;
  const listenGated: Transport["listen"] = (...args) => tcp.listen(...args).map(gate);
  await using wired = startRewirable([route(port, secret.address)], {
    transports: { ...PLAIN_TRANSPORTS, tcp: { ...tcp, listen: listenGated } },
  });
  using client = await connect(port);
  await within(accepted.promise, "the client to be accepted");
  // It is on its way when the route goes: it arrives in the turns that follow.
  released.resolve();
  await wired.rewire();
  assertEquals(await readText(client), "");
  assertEquals(secret.clients, 0);
  assertEquals(wired.forwarder.report().routes, []);
});

/** A client that is held, since its route's only target refuses; what is said once it is is awaited. */
async function hold(wired: Rewirable, connecting: Promise<Stream>): Promise<Stream> {
  const client = await connecting;
  await until(() => wired.lines.some((line) => line.includes("connect_retrying")), "it is held");
  return client;
}

/** A route that holds its clients. */
function holding(port: number, settings: Partial<RouteSettings> = {}): Route {
  return route(port, { hostname: "127.0.0.1", port: freePort() }, {
    retryMs: 60_000,
    ...settings,
  });
}

Deno.test("Forwarder.rewire() serves a client that is held by the settings of now, if they let it in", async () => {
  await using a = startNamed("a");
  const port = freePort();
  await using wired = startRewirable([holding(port)]);
  using client = await hold(wired, connect(port));
  const allow = parseNetworks("127.0.0.0/8");
  const settings = { allow, balance: "roundrobin", sendProxy: "v1" } as const;
  await wired.rewire(withSecond(route(port, a.address, settings), NOBODY));
  // The upstream has been told of it first, and has sent that back.
  const expected = "a" + headerOf(client, port);
  assertEquals(await readExactly(client, expected.length), expected);
});

Deno.test("Forwarder.rewire() refuses a client that is held where the new route does not let it in", async () => {
  await using secret = startNamed("s");
  const port = freePort();
  await using wired = startRewirable([holding(port)]);
  using client = await hold(wired, connect(port));
  await wired.rewire(route(port, secret.address, { allow: parseNetworks("192.0.2.0/24") }));
  await readToAnyEnd(client);
  assert(wired.lines.some((line) => line.includes("not_allowed")));
  assertEquals(secret.clients, 0);
  assertEquals(wired.forwarder.report().routes[0]?.counts.closed.not_allowed, 1);
});

Deno.test("Forwarder.rewire() refuses a client that owes what it has not been asked for", async () => {
  await using secret = startNamed("s");
  const port = freePort();
  await using wired = startRewirable([holding(port)]);
  using client = await hold(wired, connect(port));
  await wired.rewire(route(port, secret.address, { acceptProxy: parseNetworks("127.0.0.1") }));
  await readToAnyEnd(client);
  assertEquals(secret.clients, 0);
});

Deno.test("Forwarder.rewire() judges a client by the rules of when it has said who it is", async () => {
  await using secret = startNamed("s");
  const port = freePort();
  const acceptProxy = parseNetworks("127.0.0.1");
  await using wired = startRewirable([route(port, secret.address, { acceptProxy })]);
  using client = await connect(port);
  using other = await connect(port);
  await until(() => wired.forwarder.report().routes[0]?.counts.open === 2, "both are accepted");
  const allow = parseNetworks("192.0.2.7");
  await wired.rewire(route(port, secret.address, { acceptProxy, allow }));
  await writeAll(client, "PROXY TCP4 192.0.2.8 192.0.2.1 1000 2000\r\n");
  await writeAll(other, "PROXY TCP4 192.0.2.7 192.0.2.1 1000 2000\r\n");
  await readToAnyEnd(client);
  assertEquals(await readExactly(other, 1), "s");
  assertEquals(secret.clients, 1);
});

Deno.test(
  "Forwarder.rewire() refuses a TLS client that is held and whose name is taken out",
  needs(TLS),
  async () => {
    const { transports } = await everybody();
    const port = freePort();
    const byTls = (one: Route): Route => ({ ...one, listen: { ...one.listen, protocol: "tls" } });
    await using wired = startRewirable([byTls(holding(port))], { transports });
    using client = await hold(wired, connectTls({ hostname: "127.0.0.1", port }));
    const allowing = (name: string): Route =>
      byTls(holding(port, { tlsAllow: parseNamePatterns(name) }));
    await wired.rewire(allowing(ALLOWED));
    assertEquals(wired.forwarder.report().routes[0]?.counts.open, 1);
    await wired.rewire(allowing("other.example.com"));
    await readToAnyEnd(client);
    assert(wired.lines.some((line) => line.includes("not_allowed")));
  },
);

Deno.test("Forwarder.rewire() sends nobody to the rest of an order of targets that holds no longer", async () => {
  await using old = startNamed("o");
  await using a = startNamed("a");
  await using silent = await startSilent();
  const port = freePort();
  await using wired = startRewirable([withSecond(route(port, silent.address), old.address)]);
  using client = await connect(port);
  await until(() => wired.forwarder.report().routes[0]?.counts.open === 1, "it is accepted");
  // The first stays what it is, and the client is at it.
  await wired.rewire(withSecond(route(port, silent.address), a.address));
  assertEquals(await readExactly(client, 1), "a");
  assertEquals(old.clients, 0);
});

function startUpstreamAt({ hostname, port }: Address): Upstream {
  return startUpstream(async (conn) => {
    await writeAll(conn, "o");
    await readToAnyEnd(conn);
  }, { hostname, port });
}

Deno.test("Forwarder.rewire() still knows that a target is down, and goes on trying it", async () => {
  await using a = startNamed("a");
  await using b = startNamed("b");
  const port = freePort();
  const dead = { hostname: "127.0.0.1", port: freePort() };
  const failTimeoutMs = 50;
  await using wired = startRewirable([
    withSecond(route(port, dead, { failTimeoutMs }), a.address),
  ]);
  assertEquals(await whoAnswers(port), "a");
  assert(wired.lines.some((line) => line.includes("target_down")));
  await wired.rewire(withSecond(route(port, dead, { failTimeoutMs }), b.address));
  assert(wired.forwarder.report().routes[0]?.targets[0]?.downSince !== undefined);
  await using _back = startUpstreamAt(dead);
  await until(() => wired.lines.some((line) => line.includes("target_up")), "it is tried");
  assertEquals(wired.lines.filter((line) => line.includes("target_down")).length, 1);
});

Deno.test("Forwarder.rewire() cuts a loop through listeners that were not there at the start", async () => {
  const [one, two, three] = [freePort(), freePort(), freePort()];
  const local = (port: number): Address => ({ hostname: "127.0.0.1", port });
  await using wired = startRewirable([route(one, NOBODY)]);
  await wired.rewire(route(two, local(three)), route(three, local(two)));
  using client = await connect(two);
  await readToAnyEnd(client);
  assert(wired.lines.some((line) => line.includes("loop_detected")));
});

Deno.test({
  name: "Forwarder.rewire() forgets a loop that it ends",
  // Until 2.8 what a closed socket was asked may outlive the test: a thousand writes of nothing.
  ...needs(TLS),
}, async () => {
  await using a = startNamed("a");
  const port = freePort();
  await using wired = startRewirable([route(port, { hostname: "127.0.0.1", port })]);
  const lastError = (): [isFailing: boolean, message?: string] => {
    const [report] = wired.forwarder.report().routes;
    if (report === undefined) return [false];
    return [failingSince(report) !== undefined, report.counts.lastConnectError?.message ?? "none"];
  };
  {
    using client = await connect(port);
    await readToAnyEnd(client);
  }
  assertEquals(lastError(), [true, LOOP_HINT]);
  await wired.rewire(route(port, a.address));
  assertEquals(lastError(), [false, "none"]);
  assertEquals(await whoAnswers(port), "a");
});

Deno.test("Forwarder.rewire() gives a route its new name, and no new counts", async () => {
  await using a = startNamed("a");
  const port = freePort();
  await using wired = startRewirable([route(port, a.address, { alias: "OLD" })]);
  assertEquals(await whoAnswers(port), "a");
  const { changed } = await wired.rewire(route(port, a.address, { alias: "NEW" }));
  assertEquals(changed.length, 1);
  assertEquals(await whoAnswers(port), "a");
  await until(() => wired.lines.some((line) => line.includes("route=NEW")), "the log has the name");
  assertEquals(wired.forwarder.report().routes[0]?.counts.connections, 2);
});

Deno.test("Forwarder.rewire() ends the connections of a route that is gone after rewireTimeoutMs", async () => {
  await using a = startNamed("a");
  const [port, held] = [freePort(), freePort()];
  const refusing = { hostname: "127.0.0.1", port: freePort() };
  await using wired = startRewirable(
    [route(port, a.address), route(held, refusing, { retryMs: 60_000 })],
    { rewireTimeoutMs: 200 },
  );
  using before = await connect(port);
  assertEquals(await readExactly(before, 1), "a");
  using waiting = await connect(held);
  await until(() => wired.lines.some((line) => line.includes("connect_retrying")), "it is held");
  await wired.rewire();
  await Promise.all([readToAnyEnd(before), readToAnyEnd(waiting)]);
  await until(() => wired.forwarder.report().routes.length === 0, "nothing is left of them");
  const ends = wired.lines.filter((line) => line.endsWith("reason=rewire_timeout"));
  assertEquals(ends.length, 2);
});

Deno.test("Forwarder.rewire() has a client dial none of the old targets any more", async () => {
  await using a = startNamed("a");
  await using one = await startSilent();
  await using two = await startSilent();
  const port = freePort();
  // Whoever waits for the second has waited for too long.
  const settings = { connectTimeoutMs: 300_000 };
  await using wired = startRewirable([withSecond(route(port, one.address, settings), two.address)]);
  using client = await connect(port);
  await until(() => wired.forwarder.report().routes[0]?.counts.open === 1, "it is accepted");
  await wired.rewire(withSecond(route(port, a.address, settings), NOBODY));
  assertEquals(await readExactly(client, 1), "a");
});

Deno.test("EntryPoint.rewire() ends the trials of a target that is gone, and hears of it no more", () => {
  const context = routeContext();
  const { settings } = routeTo(NOBODY, { settings: { failTimeoutMs: 3_600_000 } });
  const one = withSecond(route(1, NOBODY, settings), { ...NOBODY, port: 2 });
  const entry = new EntryPoint({ route: one, listeners: [] }, context);
  const [target] = entry.route.targets.all;
  assert(target !== undefined);
  const failure = { error: new Error("no"), sinceMs: performance.now() };
  entry.route.targets.failed(target, failure);
  const signal = target.trials?.signal;
  assertEquals(signal?.aborted, false);
  entry.rewire(
    withSecond(route(1, { ...NOBODY, port: 2 }, settings), { ...NOBODY, port: 3 }),
    context.transports,
  );
  assertEquals(signal?.aborted, true);
  target.isDown = false;
  entry.route.targets.failed(target, failure);
  assertEquals(target.isDown, false);
  entry.close();
});
