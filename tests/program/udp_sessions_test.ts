// How long the sessions of the real program last: while their clients are busy, when those are quiet,
// when the program stops, and when its routes change.

import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  askUdp,
  freeUdpPort,
  isUdpFree,
  startUdpEcho,
  startUdpNamed,
  startUdpPeer,
  type UdpAddress,
  type UdpPeer,
} from "../helpers/datagrams.ts";
import { isRefused, Random, startEcho, until, within } from "../helpers/mod.ts";
import { needs, UNIX } from "../helpers/needs.ts";
import { lineOf, sleep, startWired } from "../helpers/rewiring.ts";
import { countsOf, startUdpRoute } from "../helpers/udp_program.ts";

Deno.test("--udp-timeout ends a session that is quiet, and its client gets another", async () => {
  await using target = startUdpEcho();
  await using route = await startUdpRoute([target.address], {
    args: ["--udp-timeout", "300ms", "--log-level", "debug"],
  });
  await using client = startUdpPeer();
  for (let session = 1; session <= 2; session++) {
    await client.send("hello", route.address);
    assertEquals((await client.next()).text, "hello");
    const { opened } = await route.counted(({ open }) => open === 0, "the session has ended");
    assertEquals(opened, session);
  }
  const { closed, lost } = await route.counts();
  assertEquals([closed, lost], [{ idle_timeout: 2 }, 0]);
  assertEquals(target.sources, 2);
  await route.program.line(
    / connection_closed .* client=127\.0\.0\.1:\d+ .*bytes_up=5 bytes_down=5 .*reason=idle_timeout/,
  );
});

Deno.test("--udp-timeout lets a session go on in which datagrams go only one way", async () => {
  await using target = startUdpPeer();
  await using route = await startUdpRoute([target.address], { args: ["--udp-timeout", "500ms"] });
  await using talker = startUdpPeer();
  await using listener = startUdpPeer();
  await listener.send("tell me", route.address);
  const { from: session } = await target.next();
  // Three times as long as it allows.
  for (let i = 0; i < 15; i++) {
    await talker.send(`${i}`, route.address);
    assertEquals((await target.next()).text, `${i}`);
    await target.send(`${i}`, session);
    assertEquals((await listener.next()).text, `${i}`);
    await sleep(100);
  }
  assertEquals(target.sources, 2);
  const { opened, lost } = await route.counts();
  assertEquals([opened, lost], [2, 0]);
});

Deno.test("a UDP route passes on what comes just as the session of its client ends", async () => {
  await using target = startUdpPeer();
  await using route = await startUdpRoute([target.address], { args: ["--udp-timeout", "10ms"] });
  await using client = startUdpPeer();
  const random = new Random();
  for (let i = 0; i < 60; i++) {
    await client.send(`${i}`, route.address);
    assertEquals((await target.next()).text, `${i}`, `seed ${random.seed}`);
    await sleep(random.below(25));
  }
  const { opened, up, lost } = await route.counts();
  // Two that follow each other may be given one port.
  assert(opened > 5 && opened >= target.sources, `${opened} sessions, ${target.sources} sockets`);
  assertEquals([up.datagrams, lost], [60, 0], `seed ${random.seed}`);
});

Deno.test({
  name: "a stop ends UDP sessions that are quiet, soon and with status 0",
  ...needs(UNIX),
}, async () => {
  await using target = startUdpEcho();
  await using route = await startUdpRoute([target.address]);
  await using stack = new AsyncDisposableStack();
  for (let i = 0; i < 20; i++) {
    const client = stack.use(startUdpPeer());
    await client.send("hello", route.address);
    await client.next();
  }
  const startMs = performance.now();
  assertEquals(await route.stop(), 0);
  const tookMs = performance.now() - startMs;
  assert(tookMs < 3000, `it took ${tookMs} ms`);
  assertMatch(route.program.stderr, / INFO {2}draining connections=20 /);
  assertMatch(route.program.stderr, / INFO {2}stopped cut_off=0\n$/);
});

/** Asks and is answered, again and again, for as long as `goesOn`; how often. */
async function keepAsking(
  client: UdpPeer,
  to: UdpAddress,
  goesOn: () => boolean,
): Promise<number> {
  for (let times = 0;; times++) {
    await client.send("still here", to);
    await until(() => client.waiting.length > 0 || !goesOn(), "an answer");
    if (client.waiting.length === 0) return times;
    await client.next();
    await sleep(20);
  }
}

Deno.test({
  name: "a stop serves a busy session until --drain-timeout, nobody new, and ends with status 0",
  ...needs(UNIX),
}, async () => {
  await using target = startUdpEcho();
  await using route = await startUdpRoute([target.address], {
    args: ["--drain-timeout", "1500ms"],
  });
  await using busy = startUdpPeer();
  await using late = startUdpPeer();
  await busy.send("hello", route.address);
  await busy.next();
  let runs = true;
  const ended = route.program.status.then((status) => {
    runs = false;
    return status;
  });
  const startMs = performance.now();
  route.program.kill("SIGTERM");
  await route.program.line(/ draining /);
  const asking = keepAsking(busy, route.address, () => runs);
  await late.send("too late", route.address);
  const { dropped } = await route.counted(({ lost }) => lost > 0, "who comes late is counted");
  assertEquals(dropped, { closed: 1 });
  const { code } = await within(ended, "the program to end");
  const tookMs = performance.now() - startMs;
  assertEquals(code, 0);
  assert(tookMs > 1400 && tookMs < 4000, `it took ${tookMs} ms`);
  // Something like 60 times.
  const times = await asking;
  assert(times > 10, `answered ${times} times during the drain`);
  assertEquals(late.count, 0);
  assertMatch(route.program.stderr, / INFO {2}stopped cut_off=0\n$/);
});

Deno.test({
  name: "a stop serves new UDP clients for as long as --drain-delay",
  ...needs(UNIX),
}, async () => {
  await using target = startUdpEcho();
  await using route = await startUdpRoute([target.address], { args: ["--drain-delay", "1s"] });
  route.program.kill("SIGTERM");
  await route.program.line(/ draining /);
  assertEquals(await askUdp(route.address, "hello"), "hello");
  assertEquals((await within(route.program.status, "the end")).code, 0);
});

/** A line of the file for a UDP route. */
function udpLine(port: number, target: UdpPeer, settings = ""): string {
  const after = settings === "" ? "" : `?${settings}`;
  return `DNS_PORT_${port}_UDP=udp://127.0.0.1:${target.address.port}${after}\n`;
}

/** What this client is answered by the route at this port. */
async function ask(client: UdpPeer, port: number, text = "?"): Promise<string> {
  await client.send(text, { hostname: "127.0.0.1", port });
  return (await client.next()).text;
}

Deno.test({
  name:
    "rewiring gives the clients of a UDP route its new target at once, and leaves other routes alone",
  ...needs(UNIX),
}, async () => {
  await using old = startUdpNamed("old");
  await using other = startUdpNamed("new");
  await using untouched = startUdpEcho();
  const [port, otherPort] = [freeUdpPort(), freeUdpPort()];
  const rest = `OTHER_PORT_${otherPort}_UDP=udp://127.0.0.1:${untouched.address.port}\n`;
  await using wired = await startWired(udpLine(port, old) + rest);
  await using client = startUdpPeer();
  await using bystander = startUdpPeer();
  assertEquals(await ask(client, port), "old ?");
  assertEquals(await ask(bystander, otherPort), "?");
  const line = await wired.taken(udpLine(port, other) + rest);
  assertMatch(line, new RegExp(` rewired .*changed=DNS@\\S*:${port}/udp\\b`));
  // The same client, from the same port.
  assertEquals(await ask(client, port), "new ?");
  assertEquals(await ask(bystander, otherPort), "?");
  assertEquals([old.count, other.count, untouched.sources], [1, 1, 1]);
  const { closed, opened, lost } = await countsOf(wired.statusUrl);
  assertEquals([closed, opened, lost], [{ rewire_timeout: 1 }, 3, 0]);
});

Deno.test({
  name: "rewiring that changes only the settings of a UDP route leaves its sessions alone",
  ...needs(UNIX),
}, async () => {
  await using target = startUdpEcho();
  const port = freeUdpPort();
  await using wired = await startWired(udpLine(port, target));
  await using client = startUdpPeer();
  assertEquals(await ask(client, port), "?");
  assertMatch(await wired.taken(udpLine(port, target, "allow=192.0.2.0/24")), / rewired /);
  // Who is in stays in; who comes is judged anew.
  assertEquals(await ask(client, port), "?");
  await using stranger = startUdpPeer();
  await stranger.send("?", { hostname: "127.0.0.1", port });
  await until(
    async () => (await countsOf(wired.statusUrl)).dropped["not_allowed"] === 1,
    "the new one is refused",
  );
  assertEquals([stranger.count, target.sources], [0, 1]);
});

Deno.test({
  name: "rewiring changes a port from TCP to UDP and back, each in one change",
  ...needs(UNIX),
}, async () => {
  await using tcp = startEcho();
  await using udp = startUdpNamed("udp");
  const port = freeUdpPort();
  const tcpLine = lineOf(port, tcp.address);
  await using wired = await startWired(tcpLine);
  const listens = async (): Promise<boolean[]> => [
    !await isRefused({ port }),
    !isUdpFree({ hostname: "127.0.0.1", port }),
  ];
  assertEquals(await listens(), [true, false]);
  assertMatch(await wired.taken(udpLine(port, udp)), / rewired .*added=DNS.*removed=REDIS/);
  await using client = startUdpPeer();
  assertEquals(await ask(client, port), "udp ?");
  assertEquals(await listens(), [false, true]);
  assertMatch(await wired.taken(tcpLine), / rewired .*added=REDIS.*removed=DNS/);
  await until(async () => `${await listens()}` === "true,false", "the port listens to TCP alone");
  assertMatch(await wired.taken(tcpLine + udpLine(port, udp)), / rewired .*added=DNS/);
  assertEquals(await ask(client, port), "udp ?");
  assertEquals(await listens(), [true, true]);
});

Deno.test({
  name: "rewiring that takes a UDP route away ends its sessions and frees its port",
  ...needs(UNIX),
}, async () => {
  await using target = startUdpPeer();
  await using tcp = startEcho();
  const [port, otherPort] = [freeUdpPort(), freeUdpPort()];
  const rest = lineOf(otherPort, tcp.address);
  await using wired = await startWired(udpLine(port, target) + rest, {
    args: ["--log-level", "debug"],
  });
  await using client = startUdpPeer();
  await client.send("question", { hostname: "127.0.0.1", port });
  const { from: session } = await target.next();
  await wired.taken(rest);
  await until(() => isUdpFree({ hostname: "127.0.0.1", port }), "its port is free");
  await until(() => isUdpFree(session), "the session's socket is closed");
  await wired.program.line(/ connection_closed .*reason=rewire_timeout/);
  await target.send("late answer", session);
  assertEquals(client.count, 0);
});

Deno.test({
  name: "rewiring keeps the old UDP route where the new one can't be bound",
  ...needs(UNIX),
}, async () => {
  await using target = startUdpNamed("old");
  await using taken = startUdpPeer();
  const port = freeUdpPort();
  await using wired = await startWired(udpLine(port, target));
  const line = await wired.taken(udpLine(taken.address.port, target));
  assertMatch(line, new RegExp(` rewire_failed .*:${taken.address.port}/udp.*in use`));
  assertEquals(await askUdp({ hostname: "127.0.0.1", port }, "?"), "old ?");
});
