// Where the datagrams of the real program go: targets that are not there, come, go and move, several of
// them, names that are not answered, and routes that lead back to the program itself.

import { assert, assertEquals } from "@std/assert";
import {
  askUdp,
  askUntilAnswered,
  freeUdpPort,
  startUdpEcho,
  startUdpNamed,
  startUdpPeer,
} from "../helpers/datagrams.ts";
import { startNameServer } from "../helpers/names.ts";
import { until } from "../helpers/mod.ts";
import { LINUX, needs } from "../helpers/needs.ts";
import { linesOf } from "../helpers/process.ts";
import { NAMES, startNames } from "../helpers/udp_names.ts";
import { startUdpRoute } from "../helpers/udp_program.ts";

/** Longer than any test takes. */
const NEVER_MS = 3_600_000;

Deno.test("a UDP route starts before its target, and outlives it, without a word", async () => {
  const port = freeUdpPort();
  await using route = await startUdpRoute([{ hostname: "127.0.0.1", port }]);
  await using client = startUdpPeer();
  // The system answers these with a refusal.
  for (let i = 0; i < 10; i++) await client.send("nobody there", route.address);
  await route.counted(({ up }) => up.datagrams === 10, "all have been sent to nobody");
  for (const name of ["first", "second"]) {
    await using _target = startUdpNamed(name, { port });
    assertEquals(await askUntilAnswered(client, route.address, "hello"), `${name} hello`);
    // It is closed at the end of this block, and the client sends on.
  }
  await client.send("nobody there", route.address);
  await route.counted(({ up }) => up.datagrams >= 13, "the last one has been sent to nobody");
  const { opened, lost } = await route.counts();
  assertEquals([opened, lost], [1, 0]);
  assert(!/ (?:WARN|ERROR) /.test(route.program.stderr), route.program.stderr);
  assertEquals(await route.stop(), 0);
});

Deno.test({
  name: "a target that moves gets new clients at once, and a client that stays after --udp-timeout",
  ...needs(LINUX, ...NAMES),
}, async () => {
  await using before = startUdpNamed("before", { hostname: "127.0.0.2" });
  const { port } = before.address;
  await using _after = startUdpNamed("after", { hostname: "127.0.0.3", port });
  await using names = await startNames({ "target.example.com": "127.0.0.2" });
  await using route = await startUdpRoute([{ hostname: "target.example.com", port }], {
    args: ["--udp-timeout", "1s"],
    command: names.command,
  });
  await using client = startUdpPeer();
  assertEquals(await askUntilAnswered(client, route.address, "1"), "before 1");
  await names.write({ "target.example.com": "127.0.0.3" });
  assertEquals(await askUdp(route.address, "2"), "after 2");
  // It is never quiet for as long as that.
  await until(
    async () => await askUntilAnswered(client, route.address, "3") === "after 3",
    "the client that stays gets to the new address",
  );
});

Deno.test({
  name: "a UDP route says of a name that does not resolve, and serves the same client when it does",
  ...needs(LINUX, ...NAMES),
}, async () => {
  await using target = startUdpNamed("target");
  const { port } = target.address;
  await using names = await startNames({});
  await using route = await startUdpRoute([{ hostname: "target.example.com", port }], {
    command: names.command,
  });
  await using client = startUdpPeer();
  await client.send("lost", route.address);
  await route.program.line(/ WARN {2}connect_failed .*target\.example\.com:\d+ .*does not resolve/);
  const { dropped, open, closed } = await route.counted(({ lost }) => lost > 0, "it is counted");
  assertEquals([dropped, open, closed], [{ connect_failed: 1 }, 0, { connect_failed: 1 }]);
  await names.write({ "target.example.com": "127.0.0.1" });
  assertEquals(await askUntilAnswered(client, route.address, "hello"), "target hello");
});

Deno.test({
  name: "a session keeps a few datagrams while its target is looked up, in their order",
  ...needs(LINUX, ...NAMES),
}, async () => {
  await using target = startUdpPeer();
  const { port } = target.address;
  await using server = await startNameServer(500);
  await using names = await startNames({}, server.config);
  await using route = await startUdpRoute([{ hostname: "target.example.com", port }], {
    command: names.command,
  });
  await using client = startUdpPeer();
  for (const text of ["one", "two"]) await client.send(text, route.address);
  for (const text of ["one", "two"]) assertEquals((await target.next()).text, text);
  // Of those that are too many the last are lost, and counted.
  await using other = startUdpPeer();
  const many = 200;
  for (let i = 0; i < many; i++) await other.send(`${i}`, route.address);
  const { up, dropped } = await route.counted(
    (counts) => counts.up.datagrams + counts.lost === many + 2 && counts.up.datagrams > 2,
    "all are passed on or lost",
  );
  assertEquals(dropped, { queue_full: many + 2 - up.datagrams });
  for (let i = 0; i < up.datagrams - 2; i++) assertEquals((await target.next()).text, `${i}`);
});

Deno.test({
  name: "a name server that hangs costs the sessions that ask it, and no other route",
  ...needs(LINUX, ...NAMES),
}, async () => {
  await using target = startUdpEcho();
  await using server = await startNameServer(NEVER_MS);
  await using names = await startNames({}, server.config);
  const port = freeUdpPort();
  const hanging = `127.0.0.1:${port}/udp=target.example.com:53`;
  await using route = await startUdpRoute([target.address], {
    args: ["--connect-timeout", "2s", hanging],
    command: names.command,
  });
  await using stack = new AsyncDisposableStack();
  const clients = 50;
  for (let i = 0; i < clients; i++) {
    await stack.use(startUdpPeer()).send("lost", { hostname: "127.0.0.1", port });
  }
  await route.counted(({ opened }) => opened === clients, "all wait for the name server");
  const startMs = performance.now();
  for (let i = 0; i < 100; i++) assertEquals(await askUdp(route.address, `${i}`), `${i}`);
  const tookMs = performance.now() - startMs;
  assert(tookMs < 2000, `100 answers took ${tookMs} ms`);
  const { dropped, closed, up } = await route.counted(
    ({ lost }) => lost === clients,
    "they are given up",
  );
  assertEquals([dropped, closed], [{ connect_failed: clients }, { connect_failed: clients }]);
  assertEquals(up.datagrams, 100);
  await route.program.line(
    / connect_failed .*target\.example\.com:53 .*no answer within 2s from the name server/,
  );
  assertEquals(await route.stop(), 0);
});

Deno.test({
  name: "of several targets the next is taken where a name does not resolve, until it does",
  ...needs(LINUX, ...NAMES),
}, async () => {
  await using first = startUdpNamed("first");
  await using second = startUdpNamed("second");
  await using names = await startNames({});
  const named = { hostname: "first.example.com", port: first.address.port };
  await using route = await startUdpRoute([named, second.address], {
    args: ["--fail-timeout", "500ms"],
    command: names.command,
  });
  await using stays = startUdpPeer();
  assertEquals(await askUntilAnswered(stays, route.address, "1"), "second 1");
  assertEquals(await askUdp(route.address, "2"), "second 2");
  await route.program.line(/ target_down .*first\.example\.com/);
  await names.write({ "first.example.com": "127.0.0.1" });
  await route.program.line(/ target_up .*first\.example\.com/);
  assertEquals(await askUdp(route.address, "3"), "first 3");
  // A session that has begun is never moved.
  assertEquals(await askUntilAnswered(stays, route.address, "4"), "second 4");
  for (const event of ["target_down", "target_up"]) {
    assertEquals(linesOf(route.program, event).length, 1, route.program.stderr);
  }
});

Deno.test({
  name: "of several targets the next is taken where a name is not answered",
  ...needs(LINUX, ...NAMES),
}, async () => {
  await using target = startUdpNamed("second");
  await using server = await startNameServer(NEVER_MS);
  await using names = await startNames({}, server.config);
  const hanging = { hostname: "first.example.com", port: 53 };
  await using route = await startUdpRoute([hanging, target.address], {
    args: ["--connect-timeout", "2s"],
    command: names.command,
  });
  // Its one datagram has waited, for a fifth of that.
  assertEquals(await askUdp(route.address, "hello"), "second hello");
});

for (const balance of ["roundrobin", "leastconn"]) {
  Deno.test(`--balance ${balance} shares UDP clients out, and each stays where it is`, async () => {
    await using one = startUdpNamed("one");
    await using other = startUdpNamed("other");
    await using route = await startUdpRoute([one.address, other.address], {
      args: ["--balance", balance],
    });
    await using stack = new AsyncDisposableStack();
    const clients = Array.from({ length: 10 }, () => stack.use(startUdpPeer()));
    for (let time = 0; time < 3; time++) {
      for (const client of clients) {
        await client.send("hello", route.address);
        await client.next();
      }
    }
    assertEquals([one.sources, other.sources], [5, 5]);
    assertEquals([one.count, other.count], [15, 15]);
  });
}

Deno.test("a datagram that comes round through two routes is cut at once, and others are not", async () => {
  await using target = startUdpEcho();
  const [one, other] = [freeUdpPort(), freeUdpPort()];
  const round = [
    `127.0.0.1:${one}/udp=127.0.0.1:${other}`,
    `127.0.0.1:${other}/udp=127.0.0.1:${one}`,
  ];
  await using route = await startUdpRoute([target.address], { args: round });
  await using client = startUdpPeer();
  await client.send("round and round", { hostname: "127.0.0.1", port: one });
  await route.program.line(/ ERROR loop_detected .*127\.0\.0\.1:\d+/);
  const { dropped, up, closed } = await route.counted(({ lost }) => lost > 0, "it is counted");
  assertEquals([dropped, up.datagrams, closed["loop"]], [{ loop: 1 }, 0, 1]);
  assertEquals(await askUdp(route.address, "hello"), "hello");
  assertEquals(client.count, 0);
  assertEquals(await route.stop(), 0);
});

Deno.test({
  name: "a datagram that comes round through a name is cut at once",
  ...needs(LINUX, ...NAMES),
}, async () => {
  await using names = await startNames({ "loop.example.com": "127.0.0.1" });
  const port = freeUdpPort();
  const target = { hostname: "loop.example.com", port };
  for (const hostname of ["127.0.0.1", "0.0.0.0", "::"]) {
    await using route = await startUdpRoute([target], { hostname, port, command: names.command });
    await using client = startUdpPeer();
    await client.send("round and round", { hostname: "127.0.0.1", port });
    const { dropped } = await route.counted(({ lost }) => lost > 0, "it is counted");
    assertEquals(dropped, { loop: 1 });
    await route.program.line(/ ERROR loop_detected .*loop\.example\.com/);
  }
});
