// UDP sockets: where they listen, whose datagrams they take, and which address of a name they send to.

import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import type { Address } from "../../src/base/address.ts";
import { lacksFamily, listenOnFamilies } from "../../src/net/families.ts";
import type { Bound, DatagramListener, Stream } from "../../src/net/stream.ts";
import { connectUdp, isOwnAddress, isSendingFrom, listenUdp } from "../../src/net/udp.ts";
import { freeUdpPort, startUdpEcho, startUdpPeer } from "../helpers/datagrams.ts";
import { within } from "../helpers/mod.ts";
import { networkOf } from "../helpers/namespace.ts";
import { IPV6, LINUX, needs } from "../helpers/needs.ts";

const never = new AbortController().signal;
const ENCODER = new TextEncoder();

/** A network that leads nowhere, with names that a script in it writes into /mnt/hosts. */
const NAMED = networkOf(
  "a network with names of its own",
  `ip link add side type veth peer name end
  ip -6 address add fe80::1/64 dev side nodad
  ip link set side up
  ip link set end up
  echo hosts: files > "$dir/nsswitch.conf"
  [ ! -e /etc/nsswitch.conf ] || mount --bind "$dir/nsswitch.conf" /etc/nsswitch.conf
  echo nameserver 127.0.0.1 > "$dir/resolv.conf"
  mount --bind "$dir/resolv.conf" /etc/resolv.conf
  : > "$dir/hosts"
  mount --bind "$dir/hosts" /etc/hosts`,
);

/** A network whose packets for 198.51.100.5:53 come to port 5300 of the machine itself. */
const REDIRECTED = networkOf(
  "a network with a NAT",
  `ip link add v0 type veth peer name v1
  ip address add 192.0.2.1/24 dev v0
  ip link set v0 up
  ip link set v1 up
  ip route add default via 192.0.2.2
  iptables -t nat -A OUTPUT -p udp -d 198.51.100.5 --dport 53 -j REDIRECT --to-ports 5300`,
);

function listening(hostname: string, port = 0): DatagramListener & Disposable {
  const [listener, ...others] = listenUdp({ hostname, port });
  assert(listener !== undefined && others.length === 0);
  return Object.assign(listener, { [Symbol.dispose]: () => listener.close() });
}

async function receive(listener: DatagramListener): Promise<[string, Address]> {
  const buffer = new Uint8Array(100);
  const { from, length } = await within(listener.receive(buffer), "a datagram");
  return [new TextDecoder().decode(buffer.subarray(0, length)), from];
}

Deno.test({
  name: "listenUdp() takes both families at ::, and answers each where it has come from",
  ...needs(IPV6, LINUX),
}, async () => {
  using listener = listening("::");
  const { port } = listener.addr;
  for (const [hostname, shown] of [["127.0.0.1", "::ffff:127.0.0.1"], ["::1", "::1"]] as const) {
    await using client = startUdpPeer({ hostname });
    await client.send("hello", { hostname, port });
    const [text, from] = await receive(listener);
    assertEquals([text, from.hostname, from.port], ["hello", shown, client.address.port]);
    await listener.send(ENCODER.encode("answer"), from);
    const answer = await client.next();
    assertEquals([answer.text, answer.from.port], ["answer", port]);
  }
});

Deno.test("listenUdp() fails where somebody has the port, and leaves nothing open", () => {
  using taken = listening("127.0.0.1");
  for (const hostname of ["127.0.0.1", "0.0.0.0", "::"]) {
    const { port } = taken.addr;
    assertThrows(() => listenUdp({ hostname, port }), Deno.errors.AddrInUse);
  }
});

Deno.test("listenUdp() shares a port with TCP", () => {
  const port = freeUdpPort();
  using _tcp = Deno.listen({ hostname: "127.0.0.1", port });
  using udp = listening("127.0.0.1", port);
  assertEquals(udp.addr.port, port);
});

/** An address that is bound, as far as it is told. */
function bound(address: Address, closed: string[] = []): Bound {
  return { addr: address, close: () => void closed.push(address.hostname) };
}

function systemError(code: string): Error {
  return Object.assign(new Error(code), { code });
}

Deno.test("listenOnFamilies() listens on IPv4 alone where there is no IPv6, and nowhere else", () => {
  for (const code of ["EAFNOSUPPORT", "EADDRNOTAVAIL"]) {
    const asked: string[] = [];
    const listeners = listenOnFamilies({ hostname: "::", port: 53 }, (address) => {
      asked.push(address.hostname);
      if (address.hostname === "::") throw systemError(code);
      return bound(address);
    });
    assertEquals(listeners.map(({ addr }) => addr), [{ hostname: "0.0.0.0", port: 53 }]);
    assertEquals(asked, ["::", "0.0.0.0"]);
    const failing = (): readonly Bound[] =>
      listenOnFamilies({ hostname: "::1", port: 53 }, () => {
        throw systemError(code);
      });
    assertThrows(failing, Error, code);
  }
  const taken = (): readonly Bound[] =>
    listenOnFamilies({ hostname: "::", port: 53 }, (address) => {
      if (address.hostname === "::") throw systemError("EADDRINUSE");
      return bound(address);
    });
  assertThrows(taken, Error, "EADDRINUSE");
});

Deno.test("lacksFamily() knows the errors of a machine without a family", () => {
  assert(lacksFamily(new Error("Address family not supported by protocol (os error 97)")));
  assert(lacksFamily(new Error("Cannot assign requested address (os error 99)")));
  assert(!lacksFamily(new Error("Too many open files (os error 24)")));
  assert(!lacksFamily(new Error("os error 970")));
});

/** Sends, and waits for the answer. */
async function ask(stream: Stream, text: string): Promise<string> {
  await stream.write(ENCODER.encode(text));
  const buffer = new Uint8Array(100);
  const count = await within(stream.read(buffer), "an answer");
  return new TextDecoder().decode(buffer.subarray(0, count ?? 0));
}

for (const hostname of ["127.0.0.1", "::1"]) {
  Deno.test({
    name: `connectUdp() moves whole datagrams, empty ones too, to and from ${hostname}`,
    ...needs(...(hostname === "::1" ? [IPV6] : [])),
  }, async () => {
    await using target = startUdpEcho({ hostname });
    using stream = await connectUdp(target.address, { signal: never });
    assertEquals(stream.localAddr.hostname, hostname === "::1" ? "::" : "0.0.0.0");
    assertEquals([stream.remoteAddr.hostname, stream.remoteAddr.port], [
      hostname,
      target.address.port,
    ]);
    for (const text of ["hello", "", "again"]) assertEquals(await ask(stream, text), text);
    await stream.closeWrite();
    assertEquals(await ask(stream, "still"), "still");
  });
}

const UNSPECIFIED = [["0.0.0.0", "127.0.0.1"], ["::", "::1"], ["localhost", undefined]] as const;

for (const [hostname, where] of UNSPECIFIED) {
  Deno.test({
    name: `connectUdp() finds a target of this machine at ${hostname}`,
    ...needs(IPV6),
  }, async () => {
    await using target = startUdpEcho({ hostname: where ?? "127.0.0.1" });
    const { port } = target.address;
    using stream = await connectUdp({ hostname, port }, { signal: never });
    assertEquals(stream.remoteAddr.hostname, where ?? "127.0.0.1");
    assertEquals(await ask(stream, "hello"), "hello");
  });
}

Deno.test({
  name: "connectUdp() takes datagrams of the target alone: of its address and of its port",
  ...needs(LINUX, IPV6),
}, async () => {
  for (const [hostname, other] of [["127.0.0.1", "127.0.0.2"], ["::1", undefined]] as const) {
    await using target = startUdpPeer({ hostname });
    let strays = 0;
    using stream = await connectUdp(target.address, {
      signal: never,
      onStray: () => void strays++,
    });
    await stream.write(ENCODER.encode("?"));
    const { from: { port } } = await target.next();
    const to = { hostname, port };
    await using otherPort = startUdpPeer({ hostname });
    await otherPort.send("forged", to);
    if (other !== undefined) {
      await using otherAddress = startUdpPeer({ hostname: other, port: target.address.port });
      await otherAddress.send("forged", to);
    }
    await target.send("answer", to);
    assertEquals(await ask(stream, "?"), "answer");
    assertEquals(strays, other === undefined ? 1 : 2);
  }
});

Deno.test({
  name: "connectUdp() knows its target in whatever way its address is written",
  ...needs(IPV6),
}, async () => {
  await using target = startUdpEcho({ hostname: "::1" });
  const { port } = target.address;
  for (const hostname of ["0:0:0:0:0:0:0:1", "::0001"]) {
    using stream = await connectUdp({ hostname, port }, { signal: never });
    for (const text of ["one", "two"]) assertEquals(await ask(stream, text), text);
  }
});

Deno.test("connectUdp() tells where it sends to, and closes its socket if that is not wanted", async () => {
  const told: Address[] = [];
  let local: Address | undefined;
  const failing = connectUdp({ hostname: "127.0.0.1", port: 53 }, {
    signal: never,
    onConnected({ localAddr, remoteAddr }): void {
      local = { hostname: localAddr.hostname, port: localAddr.port };
      told.push({ hostname: remoteAddr.hostname, port: remoteAddr.port });
      assert(isSendingFrom(localAddr));
      throw new Error("not wanted");
    },
  });
  await assertRejects(() => failing, Error, "not wanted");
  assertEquals(told, [{ hostname: "127.0.0.1", port: 53 }]);
  assert(local !== undefined && !isSendingFrom(local));
});

Deno.test("connectUdp() opens nothing once its signal has aborted", async () => {
  const signal = AbortSignal.abort(new Error("given up"));
  const failing = connectUdp({ hostname: "127.0.0.1", port: 53 }, { signal });
  await assertRejects(() => failing, Error, "given up");
});

Deno.test("connectUdp() may be closed again, and its read ends", async () => {
  await using target = startUdpPeer();
  const stream = await connectUdp(target.address, { signal: never });
  const { port } = stream.localAddr;
  const reading = assertRejects(() => stream.read(new Uint8Array(10)), Error);
  stream[Symbol.dispose]();
  // Nobody has got the port meanwhile.
  const other = await connectUdp(target.address, { signal: never });
  stream[Symbol.dispose]();
  assertEquals(isSendingFrom({ hostname: "127.0.0.1", port }), other.localAddr.port === port);
  assert(isSendingFrom(other.localAddr));
  other[Symbol.dispose]();
  await within(reading, "the end of the read");
});

Deno.test({
  name: "isSendingFrom() knows the ports of sockets to targets, of each family its own",
  ...needs(IPV6),
}, async () => {
  for (const [hostname, other] of [["127.0.0.1", "::1"], ["::1", "127.0.0.1"]] as const) {
    await using target = startUdpPeer({ hostname });
    using stream = await connectUdp(target.address, { signal: never });
    const { port } = stream.localAddr;
    assertEquals(isSendingFrom({ hostname, port }), true);
    assertEquals(isSendingFrom({ hostname: other, port }), false);
    assertEquals(isSendingFrom(target.address), false);
  }
});

Deno.test("connectUdp() leaves an address alone that is renewed", async () => {
  await using target = startUdpEcho();
  let told = 0;
  using stream = await connectUdp(target.address, {
    signal: never,
    onConnected: () => void told++,
  });
  await stream.renew?.(never);
  assertEquals([await ask(stream, "?"), told], ["?", 1]);
});

Deno.test("isOwnAddress() knows the addresses of this machine", needs(LINUX), () => {
  for (const hostname of ["127.0.0.1", "127.9.9.9", "::1", "localhost", "0.0.0.0"]) {
    assertEquals(isOwnAddress(hostname), true, hostname);
  }
  for (const hostname of ["192.0.2.1", "2001:db8::1", "fe80::1"]) {
    assertEquals(isOwnAddress(hostname), false, hostname);
  }
  for (const { address, family } of Deno.networkInterfaces()) {
    if (address.startsWith("fe80:")) continue;
    assertEquals(isOwnAddress(address), true, `${family} ${address}`);
  }
});

Deno.test({
  name: "connectUdp() follows a name: to its next address, and to where it has moved",
  ...needs(NAMED, LINUX, IPV6),
}, async () => {
  const { stdout, stderr } = await NAMED.run("tests/helpers/udp_names_probe.ts");
  const lines = stdout.trimEnd().split("\n");
  assertEquals(lines.filter((line) => !line.startsWith("ok: ")), [], stderr);
  assertMatch(lines.at(-1) ?? "", /^ok: an address is this machine's own/);
});

Deno.test({
  name: "isOwnAddress() and isSendingFrom() show a datagram that a NAT brings back",
  ...needs(REDIRECTED, LINUX),
}, async () => {
  const { stdout, stderr } = await REDIRECTED.run("tests/helpers/udp_nat_probe.ts");
  assertEquals(stdout, '{"up":3,"dropped":{"loop":1},"opened":3,"status":0}\n', stderr);
});
