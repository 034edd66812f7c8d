// Who may send datagrams through the real program, whom it tells the target of (`--send-proxy v2`), and
// that all that is sent is counted once. And what its commands say of UDP.

import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  askUdp,
  freeUdpPort,
  MAX_DATAGRAM,
  readAnnounced,
  startUdpEcho,
  startUdpPeer,
  type UdpAddress,
  type UdpPeer,
} from "../helpers/datagrams.ts";
import { dig, startDnsdist } from "../helpers/dns.ts";
import { runProgram, startEcho } from "../helpers/mod.ts";
import { IPV6, LINUX, needs } from "../helpers/needs.ts";
import { linesOf } from "../helpers/process.ts";
import { startUdpRoute } from "../helpers/udp_program.ts";

Deno.test({
  name: "--allow serves datagrams of those who are in the list, and no session begins for others",
  ...needs(LINUX),
}, async () => {
  await using target = startUdpEcho();
  await using route = await startUdpRoute([target.address], { args: ["--allow", "127.0.0.2"] });
  await using refused = startUdpPeer();
  const many = 100;
  for (let i = 0; i < many; i++) {
    await refused.send("let me in", route.address);
    assertEquals(await askUdp(route.address, "hello", { hostname: "127.0.0.2" }), "hello");
  }
  const { dropped, opened, up } = await route.counts();
  assertEquals([dropped, up.datagrams], [{ not_allowed: many }, many]);
  assert(opened <= many, `${opened} sessions`);
  assertEquals([refused.count, target.count], [0, many]);
  await route.program.line(/ not_allowed /);
  // A flood does not fill the log.
  const lines = linesOf(route.program, "not_allowed");
  assert(lines.length >= 1 && lines.length < 5, lines.join("\n"));
  assertMatch(lines[0] ?? "", / client=127\.0\.0\.1\b/);
});

const LISTS = [
  { list: "127.0.0.0/8", listen: "::", hostname: "127.0.0.1", served: true },
  { list: "::1", listen: "::", hostname: "127.0.0.1", served: false },
  { list: "::1", listen: "::", hostname: "::1", served: true },
  { list: "127.0.0.0/8", listen: "::1", hostname: "::1", served: false },
] as const;

for (const { list, listen, hostname, served } of LISTS) {
  Deno.test({
    name: `--allow ${list} ${served ? "serves" : "drops"} datagrams of ${hostname} at ${listen}`,
    ...needs(IPV6),
  }, async () => {
    await using target = startUdpEcho();
    await using route = await startUdpRoute([target.address], {
      hostname: listen,
      args: ["--allow", list],
    });
    const { port } = route.address;
    await using client = startUdpPeer({ hostname });
    await client.send("hello", { hostname, port });
    const { up, dropped } = await route.counted(
      (counts) => counts.up.datagrams + counts.lost === 1,
      "it is passed on or dropped",
    );
    if (served) assertEquals((await client.next()).text, "hello");
    assertEquals([up.datagrams, dropped], served ? [1, {}] : [0, { not_allowed: 1 }]);
  });
}

for (const hostname of ["127.0.0.1", "::1"]) {
  Deno.test({
    name: `--send-proxy v2 puts a header before every datagram that comes from ${hostname}`,
    ...needs(...(hostname === "::1" ? [IPV6] : [])),
  }, async () => {
    await using target = startUdpPeer();
    await using route = await startUdpRoute([target.address], {
      hostname,
      args: ["--send-proxy", "v2"],
    });
    await using one = startUdpPeer({ hostname });
    await using other = startUdpPeer({ hostname });
    for (const [client, text] of [[one, "1"], [other, "2"], [one, ""], [one, "3"]] as const) {
      await client.send(text, route.address);
      const { data, from } = await target.next();
      const { family, source, destination, data: rest } = readAnnounced(data);
      assertEquals(family, hostname === "::1" ? 0x22 : 0x12);
      assertEquals(source, where(client.address));
      assertEquals(destination, where(route.address));
      assertEquals(new TextDecoder().decode(rest), text);
      // What comes back has none.
      await target.send(`answer ${text}`, from);
      assertEquals((await client.next()).text, `answer ${text}`);
    }
    const headerBytes = hostname === "::1" ? 52 : 28;
    await one.send(new Uint8Array(MAX_DATAGRAM - headerBytes), route.address);
    assertEquals((await target.next()).data.length, MAX_DATAGRAM);
    await one.send(new Uint8Array(MAX_DATAGRAM - headerBytes + 1), route.address);
    const { dropped } = await route.counted(({ lost }) => lost > 0, "the large one is dropped");
    assertEquals(dropped, { too_large: 1 });
    assertEquals(target.waiting.length, 0);
  });
}

Deno.test({
  name: "--send-proxy v2 tells dnsdist who has asked each of 100 questions",
  ...needs(LINUX, "dnsdist", "dig"),
}, async () => {
  await using server = await startDnsdist();
  await using route = await startUdpRoute([server.address], { args: ["--send-proxy", "v2"] });
  const names = Array.from({ length: 100 }, (_, index) => `name${index}.example.com`);
  for (const client of ["127.0.0.5", "127.0.0.6"]) {
    assertEquals(await dig(route.address, names, ["-b", client]), names.map(() => client));
  }
});

function where({ hostname, port }: UdpAddress): UdpAddress {
  return { hostname, port };
}

Deno.test({
  name: "a UDP route counts everything that it was sent once: as passed on, or as lost and why",
  ...needs(LINUX),
}, async () => {
  await using target = startUdpPeer();
  await using route = await startUdpRoute([target.address], {
    args: ["--allow", "127.0.0.1", "--send-proxy", "v2"],
  });
  await using allowed = startUdpPeer();
  await using refused = startUdpPeer({ hostname: "127.0.0.2" });
  async function sendAll(client: UdpPeer, size: number, times: number): Promise<void> {
    for (let i = 0; i < times; i++) await client.send(new Uint8Array(size), route.address);
  }
  await sendAll(allowed, 100, 50);
  await sendAll(refused, 100, 20);
  // Few enough for the system's buffer.
  await sendAll(allowed, MAX_DATAGRAM, 1);
  await sendAll(allowed, 0, 10);
  const { up, dropped, down } = await route.counted(
    (counts) => counts.up.datagrams + counts.lost === 81,
    "all are counted",
  );
  assertEquals(up, { datagrams: 60, bytes: 5000 });
  assertEquals(dropped, { not_allowed: 20, too_large: 1 });
  assertEquals(down, { datagrams: 0, bytes: 0 });
  for (let i = 0; i < 60; i++) await target.next();
  assertEquals(target.waiting.length, 0);
});

Deno.test("wait says that UDP targets can't be waited for, and waits for the others", async () => {
  await using upstream = startEcho();
  const tcp = `127.0.0.1:${upstream.address.port}`;
  const both = await runProgram(["wait", "--timeout", "5s", tcp, "udp://127.0.0.1:9"]);
  assertEquals([both.code, both.stdout], [0, ""]);
  assertMatch(both.stderr, /^ambassador: left out: UDP .*: udp:\/\/127\.0\.0\.1:9$/m);
  const alone = await runProgram(["wait", "--timeout", "5s", "53/udp=127.0.0.1:9"]);
  assertEquals([alone.code, alone.stdout], [2, ""]);
  assertMatch(alone.stderr, /^ambassador: .*UDP/m);
});

Deno.test("check lists UDP routes, and opens no port of theirs", async () => {
  const port = freeUdpPort();
  await using taken = startUdpPeer({ port });
  const { code, stdout, stderr } = await runProgram(["check"], {
    env: {
      [`DNS_PORT_${taken.address.port}_TCP`]: "tcp://192.0.2.53:53",
      [`DNS_PORT_${taken.address.port}_UDP`]: "udp://192.0.2.53:53",
    },
  });
  assertEquals(code, 0, stderr);
  assertMatch(stdout, new RegExp(`^DNS .*\\[::\\]:${port} .*192\\.0\\.2\\.53:53$`, "m"));
  assertMatch(stdout, new RegExp(`^DNS .*\\[::\\]:${port}/udp .*udp://192\\.0\\.2\\.53:53$`, "m"));
});

Deno.test("a start fails in one line where a UDP port is taken, and none stays open", async () => {
  await using taken = startUdpPeer();
  const port = freeUdpPort();
  const routes = [
    `127.0.0.1:${port}/udp=192.0.2.1:53`,
    `127.0.0.1:${taken.address.port}/udp=192.0.2.1:53`,
  ];
  const { code, stdout, stderr } = await runProgram(routes);
  assertEquals([code, stdout], [1, ""]);
  assertMatch(
    stderr,
    new RegExp(`^ambassador: .*127\\.0\\.0\\.1:${taken.address.port}/udp.*in use`, "m"),
  );
});

Deno.test("settings that can't act on datagrams are errors that say so", async () => {
  const settings = [
    "max-connections=5",
    "accept-proxy=127.0.0.1",
    "send-proxy=v1",
    "idle-timeout=5m",
  ];
  for (const setting of settings) {
    const { code, stderr } = await runProgram(["check"], {
      env: { DNS_PORT_53_UDP: `udp://192.0.2.53:53?${setting}` },
    });
    assertEquals(code, 2, setting);
    const [name] = setting.split("=");
    assertMatch(stderr, new RegExp(`^ambassador: DNS_PORT_53_UDP=.*: ${name}: .+`, "m"));
  }
});
