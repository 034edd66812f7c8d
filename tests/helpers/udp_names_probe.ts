// Sockets to targets that have names, in the network that this is run in: it leads nowhere, an interface
// `side` has fe80::1, and /etc/hosts is the file /mnt/hosts. Prints what has become of each case. A
// program of its own: the names of the machine can't be changed in the tests' process.

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { errorCode } from "../../src/base/errors.ts";
import type { Stream } from "../../src/net/stream.ts";
import { connectUdp, isOwnAddress, isSendingFrom, listenUdp } from "../../src/net/udp.ts";
import { isUdpFree, startUdpEcho, startUdpNamed, startUdpPeer } from "./datagrams.ts";
import { until, within } from "./mod.ts";

const NAME = "target.example.com";
const never = new AbortController().signal;

/** Says which addresses the name has, in this order. */
function name(...addresses: readonly string[]): void {
  Deno.writeTextFileSync("/mnt/hosts", addresses.map((one) => `${one} ${NAME}\n`).join(""));
}

/** What comes next from the target, for as long as a test waits. */
async function next(stream: Stream): Promise<string> {
  const buffer = new Uint8Array(100);
  const count = await within(stream.read(buffer), "an answer", 5000);
  return new TextDecoder().decode(buffer.subarray(0, count ?? 0));
}

async function ask(stream: Stream): Promise<string> {
  await stream.write(new TextEncoder().encode("?"));
  return await next(stream);
}

const CASES: Readonly<Record<string, () => Promise<void>>> = {
  async "two listeners have one port where IPv6 does not take IPv4"(): Promise<void> {
    // Before anything else has listened: it is asked once.
    Deno.writeTextFileSync("/proc/sys/net/ipv6/bindv6only", "1");
    const listeners = listenUdp({ hostname: "::", port: 0 });
    assertEquals(listeners.map(({ addr }) => addr.hostname), ["::", "0.0.0.0"]);
    const [ipv6, ipv4] = listeners;
    assert(ipv6 !== undefined && ipv4 !== undefined);
    const { port } = ipv6.addr;
    assertEquals(ipv4.addr.port, port);
    for (const [listener, hostname] of [[ipv6, "::1"], [ipv4, "127.0.0.1"]] as const) {
      await using client = startUdpPeer({ hostname });
      await client.send("?", { hostname, port });
      const { from } = await within(listener.receive(new Uint8Array(10)), "a datagram", 5000);
      assertEquals([from.hostname, from.port], [hostname, client.address.port]);
    }
    for (const listener of listeners) listener.close();
    // Where only one of them can be had there is none.
    await using taken = startUdpPeer({ hostname: "0.0.0.0" });
    assertThrows(
      () => listenUdp({ hostname: "::", port: taken.address.port }),
      Deno.errors.AddrInUse,
    );
    assert(isUdpFree({ hostname: "::", port: taken.address.port }));
  },
  async "IPv4 goes before IPv6"(): Promise<void> {
    await using target = startUdpEcho();
    name("::1", "127.0.0.1");
    using stream = await connectUdp({ hostname: NAME, port: target.address.port }, {
      signal: never,
    });
    assertEquals(stream.remoteAddr.hostname, "127.0.0.1");
    assertEquals(stream.localAddr.hostname, "0.0.0.0");
    assertEquals(await ask(stream), "?");
  },
  async "the next address is taken where there is no way to one"(): Promise<void> {
    await using target = startUdpNamed("next", { hostname: "::1" });
    name("192.0.2.1", "192.0.2.2", "::1");
    const told: string[] = [];
    using stream = await connectUdp({ hostname: NAME, port: target.address.port }, {
      signal: never,
      onConnected: ({ remoteAddr }) => void told.push(remoteAddr.hostname),
    });
    // Who waits for an answer goes on to wait for it.
    const answer = next(stream);
    await stream.write(new TextEncoder().encode("?"));
    assertEquals(await answer, "next ?");
    assertEquals(told, ["192.0.2.1", "192.0.2.2", "::1"]);
    assertEquals(stream.localAddr.hostname, "::");
    assert(isSendingFrom(stream.localAddr));
    assertEquals(await ask(stream), "next ?");
    assertEquals(told.length, 3);
  },
  async "an error is thrown where there is no way to any, and told of the last"(): Promise<void> {
    for (const addresses of [["192.0.2.1"], ["192.0.2.1", "192.0.2.2"]]) {
      name(...addresses);
      using stream = await connectUdp({ hostname: NAME, port: 53 }, { signal: never });
      const error = await assertRejects(() => stream.write(new Uint8Array(1)), Error);
      assertEquals(errorCode(error), "ENETUNREACH");
      assertEquals(stream.remoteAddr.hostname, addresses.at(-1));
    }
  },
  async "an error that is none of the way is thrown at once"(): Promise<void> {
    name("127.0.0.1", "127.0.0.2");
    using stream = await connectUdp({ hostname: NAME, port: 53 }, { signal: never });
    const error = await assertRejects(() => stream.write(new Uint8Array(65_508)), Error);
    assertEquals(errorCode(error), "EMSGSIZE");
    assertEquals(stream.remoteAddr.hostname, "127.0.0.1");
  },
  async "what onConnected throws of the next address is thrown"(): Promise<void> {
    name("192.0.2.1", "::1");
    using stream = await connectUdp({ hostname: NAME, port: 53 }, {
      signal: never,
      onConnected({ remoteAddr }): void {
        if (remoteAddr.hostname === "::1") throw new Error("it leads back");
      },
    });
    await assertRejects(() => stream.write(new Uint8Array(1)), Error, "it leads back");
  },
  async "renew() goes where the name is now, of another family too, and who reads goes on"(): Promise<
    void
  > {
    await using one = startUdpNamed("one");
    const { port } = one.address;
    await using _two = startUdpNamed("two", { hostname: "127.0.0.2", port });
    await using _three = startUdpNamed("three", { hostname: "::1", port });
    name("127.0.0.1");
    const told: string[] = [];
    let strays = 0;
    using stream = await connectUdp({ hostname: NAME, port }, {
      signal: never,
      onConnected: ({ remoteAddr }) => void told.push(remoteAddr.hostname),
      onStray: () => void strays++,
    });
    assertEquals(await ask(stream), "one ?");
    const before = { ...stream.localAddr };
    for (const [address, who] of [["127.0.0.2", "two"], ["::1", "three"]] as const) {
      name(address);
      const answer = next(stream);
      await stream.renew?.(never);
      if (who === "two") {
        // It is the same socket, and who was the target before is a stranger now.
        assertEquals(stream.localAddr.port, before.port);
        await one.send("late", { hostname: "127.0.0.1", port: before.port });
        await until(() => strays === 1, "it is thrown away", 5000);
      }
      await stream.write(new TextEncoder().encode("?"));
      assertEquals(await answer, `${who} ?`);
    }
    assertEquals(told, ["127.0.0.1", "127.0.0.2", "::1"]);
    assert(isSendingFrom(stream.localAddr) && !isSendingFrom(before));
  },
  async "renew() stays where the name still is, does not resolve, or is given up"(): Promise<void> {
    await using target = startUdpNamed("stays", { hostname: "127.0.0.2" });
    name("127.0.0.2");
    const told: string[] = [];
    const address = { hostname: NAME, port: target.address.port };
    using stream = await connectUdp(address, {
      signal: never,
      onConnected: ({ remoteAddr }) => void told.push(remoteAddr.hostname),
    });
    name("127.0.0.3", "127.0.0.2");
    await stream.renew?.(never);
    name();
    await stream.renew?.(never);
    name("127.0.0.3");
    await stream.renew?.(AbortSignal.abort());
    assertEquals(await ask(stream), "stays ?");
    assertEquals(told, ["127.0.0.2"]);
  },
  async "renew() throws what onConnected throws of the new place"(): Promise<void> {
    name("127.0.0.2");
    using stream = await connectUdp({ hostname: NAME, port: 53 }, {
      signal: never,
      onConnected({ remoteAddr }): void {
        if (remoteAddr.hostname === "::1") throw new Error("it leads back");
      },
    });
    name("::1");
    await assertRejects(() => stream.renew?.(never) ?? Promise.resolve(), Error, "it leads back");
  },
  async "renew() opens nothing for a socket that is closed meanwhile"(): Promise<void> {
    name("127.0.0.2");
    const stream = await connectUdp({ hostname: NAME, port: 53 }, { signal: never });
    const before = { ...stream.localAddr };
    name("::1");
    const renewing = stream.renew?.(never);
    stream[Symbol.dispose]();
    await renewing;
    assertEquals([isSendingFrom(before), stream.remoteAddr.hostname], [false, "127.0.0.2"]);
  },
  async "a link-local address keeps its zone, of a client and of a target"(): Promise<void> {
    const [listener] = listenUdp({ hostname: "fe80::1%side", port: 0 });
    assert(listener !== undefined);
    try {
      const to = { hostname: "fe80::1%side", port: listener.addr.port };
      using stream = await connectUdp(to, { signal: never });
      await stream.write(new TextEncoder().encode("?"));
      const buffer = new Uint8Array(100);
      const { from, length } = await within(listener.receive(buffer), "a datagram", 5000);
      assertEquals([from.hostname, from.port], ["fe80::1%side", stream.localAddr.port]);
      await listener.send(buffer.subarray(0, length), from);
      assertEquals(await next(stream), "?");
      // Loopback has no zone.
      await using client = startUdpPeer({ hostname: "::1" });
      const [other] = listenUdp({ hostname: "::1", port: 0 });
      assert(other !== undefined);
      await client.send("?", { hostname: "::1", port: other.addr.port });
      assertEquals((await within(other.receive(buffer), "one", 5000)).from.hostname, "::1");
      other.close();
    } finally {
      listener.close();
    }
  },
  async "a name that does not resolve fails, and leaves nothing open"(): Promise<void> {
    name();
    const failing = connectUdp({ hostname: NAME, port: 53 }, { signal: never });
    await assertRejects(() => failing, Error, "Name or service not known");
  },
  async "an address is this machine's own if it can be bound, where not any can"(): Promise<void> {
    assertEquals(isOwnAddress("192.0.2.1"), false);
    for (const kind of ["ipv6", "ipv4"]) {
      Deno.writeTextFileSync(`/proc/sys/net/${kind}/ip_nonlocal_bind`, "1");
      for (const one of ["192.0.2.1", "2001:db8::1"]) assertEquals(isOwnAddress(one), false);
    }
    for (const address of ["127.0.0.1", "127.9.9.9", "::1"]) {
      assertEquals(isOwnAddress(address), true);
    }
    await Promise.resolve();
  },
};

if (import.meta.main) {
  for (const [title, test] of Object.entries(CASES)) {
    try {
      await test();
      console.log(`ok: ${title}`);
    } catch (error) {
      console.log(`failed: ${title}: ${error}`);
    }
  }
}
