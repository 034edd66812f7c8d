// DNS on the real program: dnsmasq, asked by dig. Each question comes from a port of its own, so each
// is a session.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { freeUdpPort, type UdpAddress } from "../helpers/datagrams.ts";
import { dig, DNS_ANSWER, startDnsmasq } from "../helpers/dns.ts";
import { type Program, startProgram } from "../helpers/mod.ts";
import { IPV6, needs } from "../helpers/needs.ts";
import { startUdpRoute } from "../helpers/udp_program.ts";

/** How many questions are asked; every one has to be answered. */
const QUESTIONS = 500;

const NAMES = Array.from({ length: QUESTIONS }, (_, index) => `name${index}.example.com`);
const ANSWERS = NAMES.map(() => DNS_ANSWER);

for (const hostname of ["127.0.0.1", "::1"]) {
  Deno.test({
    name:
      `a UDP route lets dig have ${QUESTIONS} of ${QUESTIONS} answers of dnsmasq at ${hostname}`,
    ...needs("dnsmasq", "dig", ...(hostname === "::1" ? [IPV6] : [])),
  }, async () => {
    await using server = await startDnsmasq({ hostname });
    await using route = await startUdpRoute([server.address], { hostname });
    assertEquals(await dig(route.address, NAMES), ANSWERS);
    const { up, down, lost } = await route.counts();
    assertEquals([up.datagrams, down.datagrams, lost], [QUESTIONS, QUESTIONS, 0]);
    // They are merely open.
    assertEquals(await route.stop(), 0);
  });
}

Deno.test({
  name: "a UDP route brings clients of IPv4 to a server of IPv6, and the other way round",
  ...needs("dnsmasq", "dig", IPV6),
}, async () => {
  for (const [from, to] of [["127.0.0.1", "::1"], ["::1", "127.0.0.1"]] as const) {
    await using server = await startDnsmasq({ hostname: to });
    await using route = await startUdpRoute([server.address], { hostname: from });
    assertEquals(await dig(route.address, ["www.example.com"]), [DNS_ANSWER]);
  }
});

/** The program with the variables that a link to a name server makes, ready. */
async function startLink(port: number, target: UdpAddress): Promise<Program> {
  const to = `${target.hostname}:${target.port}`;
  const program = startProgram(["--bind", "127.0.0.1"], {
    env: {
      DNS_PORT: `tcp://${to}`,
      [`DNS_PORT_${port}_TCP`]: `tcp://${to}`,
      [`DNS_PORT_${port}_UDP`]: `udp://${to}`,
      [`DNS_PORT_${port}_UDP_PROTO`]: "udp",
    },
  });
  await program.line(/ ready routes=2\b/);
  return program;
}

Deno.test({
  name: "a UDP route and a TCP route at one port are both served, by the variables of one link",
  ...needs("dnsmasq", "dig"),
}, async () => {
  await using server = await startDnsmasq();
  const address = { hostname: "127.0.0.1", port: freeUdpPort() };
  await using program = await startLink(address.port, server.address);
  const both = await Promise.all([dig(address, NAMES), dig(address, NAMES, ["+tcp"])]);
  assertEquals(both, [ANSWERS, ANSWERS]);
  const { hostname, port } = address;
  for (const listen of [`${hostname}:${port}`, `${hostname}:${port}/udp`]) {
    assertMatch(program.stderr, new RegExp(` listening route=DNS listen=${listen} `));
  }
  assert(!/ (?:WARN|ERROR) /.test(program.stderr), program.stderr);
});

Deno.test({
  name: "a UDP route brings answers that are larger than a frame, and those that are cut short",
  ...needs("dnsmasq", "dig"),
}, async () => {
  await using server = await startDnsmasq();
  const address = { hostname: "127.0.0.1", port: freeUdpPort() };
  await using _program = await startLink(address.port, server.address);
  const large = ["txt", "+bufsize=4096", "+notcp", "+ignore"];
  const [answer = ""] = await dig(address, ["large.example.com"], large);
  assertEquals(answer.length, 12 * 252 + 11);
  // With 512 bytes there is only a word that it does not fit, and dig asks again over TCP.
  const [again] = await dig(address, ["large.example.com"], ["txt", "+noedns"]);
  assertEquals(again, answer);
});

Deno.test({
  name: `two UDP routes in a chain let dig have ${QUESTIONS} of ${QUESTIONS} answers`,
  ...needs("dnsmasq", "dig"),
}, async () => {
  await using server = await startDnsmasq();
  await using far = await startUdpRoute([server.address]);
  await using near = await startUdpRoute([far.address]);
  assertEquals(await dig(near.address, NAMES), ANSWERS);
  for (const route of [near, far]) {
    const { opened, up, down, lost } = await route.counts();
    assertEquals([up.datagrams, down.datagrams, lost], [QUESTIONS, QUESTIONS, 0]);
    // A port may have been given to two questions.
    assert(opened > QUESTIONS * 0.9 && opened <= QUESTIONS, `${opened} sessions`);
  }
});
