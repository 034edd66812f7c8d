import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  formatAddress,
  formatHost,
  formatListen,
  formatTarget,
  formatTargets,
  isIpv4,
  isIpv6,
  isLoopback,
  isUnspecified,
  parseAddress,
  parseHost,
  parsePort,
  portKind,
  unmapped,
} from "../../src/base/address.ts";
import { Random } from "../helpers/mod.ts";

/** The class and the words of what `parse` throws for the text. */
function refusal(parse: (text: string) => unknown, text: string): string {
  try {
    return `accepted as ${JSON.stringify(parse(text))}`;
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof RangeError) return error.message;
    throw error;
  }
}

Deno.test("formatListen() and formatTargets() say what is not TCP, and leave no scheme to be guessed", () => {
  const plain = { protocol: "tcp", hostname: "a", port: 1 } as const;
  const tls = { protocol: "tls", hostname: "::1", port: 2 } as const;
  assertEquals([formatListen(plain), formatListen(tls)], ["a:1", "[::1]:2/tls"]);
  assertEquals([formatTarget(plain), formatTarget(tls)], ["a:1", "tls://[::1]:2"]);
  const udp = { protocol: "udp", hostname: "::1", port: 53 } as const;
  assertEquals([formatListen(udp), formatTarget(udp)], ["[::1]:53/udp", "udp://[::1]:53"]);
  assertEquals(formatTargets([udp, udp]), "udp://[::1]:53,udp://[::1]:53");
  assertEquals(formatTargets([plain, plain]), "a:1,a:1");
  assertEquals(formatTargets([tls, tls]), "tls://[::1]:2,tls://[::1]:2");
  assertEquals(formatTargets([tls, plain]), "tls://[::1]:2,tcp://a:1");
});

Deno.test("portKind() is one for TCP and TLS, and another for UDP", () => {
  assertEquals((["tcp", "tls", "udp"] as const).map(portKind), ["tcp", "tcp", "udp"]);
});

Deno.test("parsePort() takes 1 to 65535", () => {
  for (const port of [1, 80, 6379, 65535]) assertEquals(parsePort(String(port)), port);
});

Deno.test("parsePort() refuses everything else and says why", () => {
  for (const text of ["0", "65536", "99999999999999999999"]) {
    assertThrows(() => parsePort(text), RangeError, "the port is not from 1 to 65535");
  }
  for (const text of ["", " 1", "1 ", "1\n", "+1", "-1", "1.0", "1e3", "0x50", "http", "١", "１"]) {
    assertThrows(() => parsePort(text), SyntaxError, "the port is not a number");
  }
  for (const text of ["00", "080", "06379"]) {
    assertThrows(() => parsePort(text), SyntaxError, "the port has a leading zero");
  }
});

Deno.test("parseHost() gives each host one spelling", () => {
  const cases = {
    "192.0.2.1": "192.0.2.1",
    "0.0.0.0": "0.0.0.0",
    "redis": "redis",
    "Redis.Example.COM": "redis.example.com",
    "redis.": "redis.",
    "my_redis-1": "my_redis-1",
    "_srv.example": "_srv.example",
    "1st.example": "1st.example",
    "[::1]": "::1",
    "[2001:DB8:0:0:0:0:0:7]": "2001:db8::7",
    "[0::0]": "::",
    "[64:ff9b::192.0.2.33]": "64:ff9b::c000:221",
    "[::ffff:192.0.2.1]": "192.0.2.1",
    "[::FFFF:c000:0201]": "192.0.2.1",
    "[fe80::1%eth0]": "fe80::1%eth0",
    "[fe80::1%25eth0]": "fe80::1%eth0",
    "[fe80::1%2]": "fe80::1%2",
    "[fe80::1%25]": "fe80::1%25",
  };
  for (const [text, host] of Object.entries(cases)) assertEquals(parseHost(text), host);
});

Deno.test("parseHost() refuses what is no host and says why", () => {
  const cases = {
    "": "the host is missing",
    "::1": "an IPv6 address must stand in brackets",
    "[]": "not an IPv6 address between the brackets",
    "[::1": "not an IPv6 address between the brackets",
    "[::1]x": "not an IPv6 address between the brackets",
    "[192.0.2.1]": "not an IPv6 address between the brackets",
    "[1::2::3]": "not an IPv6 address between the brackets",
    "[::1%]": "not an IPv6 address between the brackets",
    "[::1%a%b]": "not an IPv6 address between the brackets",
    "[::1%a b]": "not an IPv6 address between the brackets",
    "[::1%;id]": "not an IPv6 address between the brackets",
    "[::g]": "not an IPv6 address between the brackets",
    "[::1]/[::2]": "not an IPv6 address between the brackets",
    "256.0.0.1": "not an IPv4 address",
    "1.2.3": "not an IPv4 address",
    "127.1": "not an IPv4 address",
    "1.2.3.4.5": "not an IPv4 address",
    "1.2.3.4.": "not an IPv4 address",
    "010.0.0.1": "not an IPv4 address",
    "2130706433": "not an IPv4 address",
    "0x7f000001": "not an IPv4 address",
    "0x7f.1": "not an IPv4 address",
    "redis.0X1F": "not an IPv4 address",
    ".": "not a host name",
    "a..b": "not a host name",
    ".a": "not a host name",
    "-a": "not a host name",
    "a-": "not a host name",
    "a b": "not a host name",
    "a\n": "not a host name",
    "réseau": "not a host name",
    "a@b": "not a host name",
    "$(id)": "not a host name",
    "`id`": "not a host name",
    "a;id": "not a host name",
    "a,fork": "not a host name",
    "\u212a": "not a host name",
    ["a".repeat(64)]: "not a host name",
    ["a.".repeat(127) + "b"]: "not a host name",
  };
  for (const [text, why] of Object.entries(cases)) assertEquals(refusal(parseHost, text), why);
  assertEquals(parseHost("a".repeat(63)), "a".repeat(63));
});

Deno.test("parseAddress() takes a host and a port apart", () => {
  assertEquals(parseAddress("192.0.2.1:6379"), { hostname: "192.0.2.1", port: 6379 });
  assertEquals(parseAddress("[2001:db8::7]:1"), { hostname: "2001:db8::7", port: 1 });
  assertEquals(parseAddress("Redis:65535"), { hostname: "redis", port: 65535 });
});

Deno.test("parseAddress() refuses what lacks a part or has too much", () => {
  const cases = {
    "": "the port is missing",
    "redis": "the port is missing",
    "redis:": "the port is missing",
    "[::1]": "the port is missing",
    "[::1]:": "the port is missing",
    ":6379": "the host is missing",
    ":": "the host is missing",
    "::1:6379": "an IPv6 address must stand in brackets",
    "redis:6379:6379": "there is a colon too many",
    "redis:6379x": "the port is not a number",
    "redis:0": "the port is not from 1 to 65535",
    "redis:06379": "the port has a leading zero",
    "redis:6379\n": "the port is not a number",
  };
  for (const [text, why] of Object.entries(cases)) assertEquals(refusal(parseAddress, text), why);
});

Deno.test("formatAddress() is read back by parseAddress(), whatever the address", () => {
  const random = new Random();
  console.log(`seed ${random.seed}`);
  for (let round = 0; round < 2000; round++) {
    const address = { hostname: randomHost(random), port: 1 + random.below(65535) };
    const text = formatAddress(address);
    assertEquals(parseAddress(text), address, text);
    assertEquals(formatAddress(parseAddress(text.toUpperCase())), text);
  }
});

/** A host as `parseHost` gives it. */
function randomHost(random: Random): string {
  const kind = random.below(3);
  if (kind === 0) return Array.from({ length: 4 }, () => random.below(256)).join(".");
  if (kind === 1) {
    const group = (): string =>
      random.pick(["0", "0", "1", "ffff", random.below(65536).toString(16)]);
    return parseHost(`[${Array.from({ length: 8 }, group).join(":")}]`);
  }
  const letter = (): string => random.pick([..."abcxyz0189_"]);
  const label = (): string =>
    `${letter()}${Array.from({ length: random.below(9) }, letter).join("")}z`;
  return Array.from({ length: 1 + random.below(4) }, label).join(".");
}

Deno.test("formatHost() puts brackets round IPv6 only", () => {
  assertEquals(formatHost("2001:db8::7"), "[2001:db8::7]");
  assertEquals(formatHost("192.0.2.1"), "192.0.2.1");
  assertEquals(formatHost("redis"), "redis");
});

Deno.test("isIpv4() and isIpv6() tell addresses from names", () => {
  assert(isIpv4("255.255.255.255") && !isIpv4("256.1.1.1") && !isIpv4("1.2.3") && !isIpv4("a"));
  assert(!isIpv4("1.2.3.4\n") && !isIpv4("01.2.3.4"));
  assert(isIpv6("::1") && !isIpv6("redis") && !isIpv6("192.0.2.1"));
});

Deno.test("isUnspecified() and isLoopback() see through every spelling", () => {
  for (const text of ["0.0.0.0", "[::]", "[0:0::0]", "[::ffff:0.0.0.0]", "[::%1]"]) {
    assert(isUnspecified(parseHost(text)), text);
    assert(!isLoopback(parseHost(text)), text);
  }
  const loopback = ["127.0.0.1", "127.255.0.9", "[::1]", "[0::1]", "[::ffff:127.0.0.2]", "[::1%1]"];
  for (const text of [...loopback, "localhost", "LOCALHOST.", "x.localhost"]) {
    assert(isLoopback(parseHost(text)), text);
    assert(!isUnspecified(parseHost(text)), text);
  }
  for (const text of ["128.0.0.1", "127.example", "localhost.example", "notlocalhost", "[::2]"]) {
    assert(!isLoopback(parseHost(text)) && !isUnspecified(parseHost(text)), text);
  }
});

Deno.test("unmapped() shows IPv4 as IPv4", () => {
  assertEquals(unmapped("::ffff:192.0.2.1"), "192.0.2.1");
  assertEquals(unmapped("::ffff:1"), "::ffff:1");
  assertEquals(unmapped("2001:db8::7"), "2001:db8::7");
  assertEquals(unmapped("192.0.2.1"), "192.0.2.1");
});

Deno.test("parseHost() and parseAddress() take no time for a megabyte", () => {
  const start = performance.now();
  for (const piece of ["1", "a", ".", ":", "%", "[", "a.", "0:", "-", "::", "%25a"]) {
    const text = piece.repeat((1 << 20) / piece.length);
    for (const whole of [text, `[${text}]`, `[::1%${text}]`, `${text}:1`, `h:${text}`]) {
      for (const parse of [parseHost, parseAddress]) {
        assert(!refusal(parse, whole).startsWith("accepted"), piece);
      }
    }
  }
  const ms = performance.now() - start;
  assert(ms < 3000, `${ms} ms`);
});
