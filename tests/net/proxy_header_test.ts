// The PROXY protocol's header: exact bytes both ways, in whatever pieces it comes, and what is none.

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import type { Address } from "../../src/base/address.ts";
import { formatIp, parseIp } from "../../src/base/ip.ts";
import { PROXY_VERSIONS } from "../../src/config/options.ts";
import { HEADROOM } from "../../src/net/arena.ts";
import {
  formatDatagramHeader,
  formatLocalHeader,
  formatProxyHeader,
  parseProxyHeader,
  type ProxyHeader,
  ProxyHeaderError,
  readProxyHeader,
} from "../../src/net/proxy_header.ts";
import {
  concat,
  pair,
  Random,
  readAll,
  readExactly,
  readText,
  until,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { IPV6, needs, programPath, RESETS } from "../helpers/needs.ts";
import net from "node:net";

const CASES = Number(Deno.env.get("FUZZ_CASES") ?? 100_000);
const SIGNATURE = "0d0a0d0a000d0a515549540a";
const NOBODY: ProxyHeader = { source: undefined, destination: undefined };

function ascii(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

/** A v2 header from its bytes after the signature, in hexadecimal. */
function v2(hex: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.fromHex(SIGNATURE + hex.replaceAll(" ", ""));
}

function header(from: [string, number], to: [string, number]): ProxyHeader {
  return {
    source: { hostname: from[0], port: from[1] },
    destination: { hostname: to[0], port: to[1] },
  };
}

const FULL = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
const IPV6_2001 = "20010db8000000000000000000000001";
const IPV6_FE80 = "fe800000000000000000000000000007";
const IPV6_MAPPED = "00000000000000000000ffffc0000201";

/** What is valid, and what it says. */
const VALID: readonly [Uint8Array<ArrayBuffer>, ProxyHeader][] = [
  [
    ascii("PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n"),
    header(["192.0.2.1", 56324], ["198.51.100.7", 443]),
  ],
  [
    ascii("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"),
    header(["255.255.255.255", 65535], ["255.255.255.255", 65535]),
  ],
  [ascii("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n"), header(["0.0.0.0", 0], ["0.0.0.0", 0])],
  [
    ascii(`PROXY TCP6 ${FULL} ${FULL} 65535 65535\r\n`),
    header([FULL, 65535], [FULL, 65535]),
  ],
  [ascii("PROXY TCP6 ::1 :: 1 2\r\n"), header(["::1", 1], ["::", 2])],
  [
    ascii("PROXY TCP6 2001:0DB8:0:0:0:0:0:00A 1:2:3:4:5:6:7:: 1 2\r\n"),
    header(["2001:db8::a", 1], ["1:2:3:4:5:6:7:0", 2]),
  ],
  [
    ascii("PROXY TCP6 ::ffff:192.0.2.1 ::FFFF:c633:6407 1 2\r\n"),
    header(["192.0.2.1", 1], ["198.51.100.7", 2]),
  ],
  [
    ascii("PROXY TCP6 ::192.0.2.1 64:ff9b::192.0.2.1 1 2\r\n"),
    header(["::c000:201", 1], ["64:ff9b::c000:201", 2]),
  ],
  [ascii("PROXY UNKNOWN\r\n"), NOBODY],
  [ascii(`PROXY UNKNOWN ${FULL} ${FULL} 65535 65535\r\n`), NOBODY],
  [ascii("PROXY UNKNOWN \r \n \xff\0 whatever\r\r\n"), NOBODY],
  [
    v2("21 11 000c c0000201 c6336407 dc04 01bb"),
    header(["192.0.2.1", 56324], ["198.51.100.7", 443]),
  ],
  [
    v2(`21 21 0024 ${IPV6_2001} ${IPV6_FE80} 0001 ffff`),
    header(["2001:db8::1", 1], ["fe80::7", 65535]),
  ],
  [
    v2(`21 21 0024 ${IPV6_MAPPED} ${IPV6_2001} 0000 0002`),
    header(["192.0.2.1", 0], ["2001:db8::1", 2]),
  ],
  // Additions are skipped, whatever they are.
  [
    v2("21 11 0013 c0000201 c6336407 dc04 01bb 030004 00000000"),
    header(["192.0.2.1", 56324], ["198.51.100.7", 443]),
  ],
  [
    v2("21 11 000e c0000201 c6336407 dc04 01bb ffff"),
    header(["192.0.2.1", 56324], ["198.51.100.7", 443]),
  ],
  // LOCAL, whatever else it says.
  [v2("20 00 0000"), NOBODY],
  [v2("20 11 0000"), NOBODY],
  [v2("20 21 000c c0000201 c6336407 dc04 01bb"), NOBODY],
  // Families that are not TCP over IP.
  [v2("21 00 0000"), NOBODY],
  [v2("21 00 0003 040000"), NOBODY],
  [v2("21 12 000c c0000201 c6336407 dc04 01bb"), NOBODY],
  [v2(`21 22 0024 ${IPV6_2001} ${IPV6_FE80} 0001 ffff`), NOBODY],
  [v2(`21 31 00d8 ${"2f".repeat(216)}`), NOBODY],
  [v2("21 ff 0001 00"), NOBODY],
];

/** What is none, and how many of its bytes say so, which is where an error must come at the latest. */
const INVALID: readonly [Uint8Array<ArrayBuffer>, number, RegExp][] = [
  [ascii("GET / HTTP/1.1\r\n"), 1, /^not a PROXY header$/],
  [ascii("POST / HTTP/1.1\r\n"), 2, /^not a PROXY header$/],
  [ascii("proxy TCP4"), 1, /^not a PROXY header$/],
  [ascii("PROXY\tTCP4"), 6, /^not a PROXY header$/],
  [ascii("\r\n\r\n\r\n"), 5, /^not a PROXY header$/],
  [Uint8Array.fromHex("1603010200"), 1, /^not a PROXY header but TLS$/],
  [ascii("PROXY  TCP4"), 7, /not of TCP4, TCP6 or UNKNOWN$/],
  [ascii("PROXY UDP4 "), 8, /not of TCP4, TCP6 or UNKNOWN$/],
  [ascii("PROXY TCP5"), 10, /not of TCP4, TCP6 or UNKNOWN$/],
  [ascii("PROXY \r\n"), 7, /not of TCP4, TCP6 or UNKNOWN$/],
  [ascii("PROXY TCP4\r\n"), 11, /not of TCP4, TCP6 or UNKNOWN$/],
  [ascii("PROXY UNKNOWNX\r\n"), 14, /not of TCP4, TCP6 or UNKNOWN$/],
  [ascii("PROXY TCP4 1.2.3.4\n"), 19, /a character that does not belong/],
  [ascii("PROXY TCP4 1.2.3.4\r "), 20, /a character that does not belong/],
  [ascii("PROXY TCP6 fe80::1%eth0"), 19, /a character that does not belong/],
  [ascii("PROXY TCP6 [::1]"), 12, /a character that does not belong/],
  [ascii("PROXY TCP4 1.2.3.4 5.6.7.8 1 +2"), 30, /a character that does not belong/],
  [ascii("PROXY TCP4 \xb2"), 12, /a character that does not belong/],
  [ascii("x").subarray(0, 1), 1, /^not a PROXY header$/],
  ...[
    "1.2.3.4",
    "1.2.3.4 5.6.7.8",
    "1.2.3.4 5.6.7.8 1",
    "1.2.3.4 5.6.7.8 1 2 3",
    "1.2.3.4 5.6.7.8 1 2 ",
    "1.2.3.4  5.6.7.8 1 2",
    " 1.2.3.4 5.6.7.8 1 2",
    "",
  ].map((fields) => line("TCP4", fields, /two addresses and two ports$/)),
  ...["01.2.3.4", "1.2.3.00", "1.2.3", "1.2.3.4.5", "256.2.3.4", "1.2.3.", "1..3.4", "0000.1.1.1"]
    .map((address) => line("TCP4", `${address} 5.6.7.8 1 2`, /is not IPv4$/)),
  line("TCP4", "1.2.3.4 ::1 1 2", /is not IPv4$/),
  line("TCP4", "::ffff:1.2.3.4 5.6.7.8 1 2", /is not IPv4$/),
  line("TCP6", "::1 1.2.3.4 1 2", /is not IPv6$/),
  ...[
    ":",
    ":::",
    "1",
    "::1::",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:",
    ":1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7::8",
    "1:2:3:4::5:6:7:8",
    "::12345",
    "::00001",
    "::1.2.3",
    "::01.2.3.4",
    "::1.2.3.4:5",
    "1:2:3:4:5:6:7:1.2.3.4",
    "1:2:3:4:5::1.2.3.4.5",
    "::a.2.3.4",
  ].map((address) => line("TCP6", `${address} ::1 1 2`, /is not IPv6$/)),
  ...["65536", "00", "01", "100000", "a", "", "99999999999999999999"].map((port) =>
    port === ""
      ? line("TCP6", "::1 ::2  2", /from 0 to 65535$/)
      : line("TCP6", `::1 ::2 1 ${port}`, /from 0 to 65535$/)
  ),
  [v2("11 11 000c"), 13, /not of version 2$/],
  [v2("31 11 000c"), 13, /not of version 2$/],
  [v2("0d 0a"), 13, /not of version 2$/],
  [v2("22 11 000c"), 13, /not LOCAL or PROXY$/],
  [v2("2f 11 000c"), 13, /not LOCAL or PROXY$/],
  [v2("21 11 0000"), 16, /too short for its addresses$/],
  [v2("21 11 000b"), 16, /too short for its addresses$/],
  [v2("21 21 0023"), 16, /too short for its addresses$/],
];

/** A whole v1 line that is known to be wrong when it is complete. */
function line(
  keyword: string,
  fields: string,
  message: RegExp,
): [Uint8Array<ArrayBuffer>, number, RegExp] {
  const bytes = ascii(`PROXY ${keyword} ${fields}\r\n`);
  return [bytes, bytes.length, message];
}

/** What the parser says: a header, that more is needed, or the message of its error. */
function verdict(bytes: Uint8Array): ReturnType<typeof parseProxyHeader> | string {
  try {
    return parseProxyHeader(bytes);
  } catch (error) {
    if (error instanceof ProxyHeaderError) return error.message;
    throw error;
  }
}

Deno.test("parseProxyHeader() reads what is valid, whatever follows, and of each beginning wants more", () => {
  for (const [bytes, expected] of VALID) {
    const { length } = bytes;
    assertEquals(parseProxyHeader(bytes), { ...expected, length });
    assertEquals(parseProxyHeader(concat([bytes, bytes])), { ...expected, length });
    assertEquals(parseProxyHeader(concat([bytes, new Uint8Array(10_000)])), {
      ...expected,
      length,
    });
    for (let cut = 0; cut < length; cut++) {
      assertEquals(verdict(bytes.subarray(0, cut)), undefined, `${cut} of ${bytes.toHex()}`);
    }
  }
});

Deno.test("parseProxyHeader() says what is wrong as soon as it can be known, and keeps to it", () => {
  for (const [bytes, known, message] of INVALID) {
    for (let cut = 0; cut <= bytes.length; cut++) {
      const said = verdict(bytes.subarray(0, cut));
      const where = `${said} at ${cut} of ${JSON.stringify(new TextDecoder().decode(bytes))}`;
      assertEquals(typeof said, cut < known ? "undefined" : "string", where);
    }
    assertThrows(() => parseProxyHeader(bytes), ProxyHeaderError);
    const said = String(verdict(bytes));
    assert(message.test(said), `${said} of ${bytes.toHex()}`);
    assert(/^[ -~]+$/.test(said), said);
  }
});

Deno.test("parseProxyHeader() takes a line of 107 bytes and none of 108", () => {
  const start = "PROXY UNKNOWN ";
  const fits = ascii(`${start.padEnd(105, "x")}\r\n`);
  assertEquals(parseProxyHeader(fits), { ...NOBODY, length: 107 });
  const long = ascii(`${start.padEnd(106, "x")}\r\n`);
  assertEquals(verdict(long.subarray(0, 106)), undefined);
  assertEquals(verdict(long.subarray(0, 107)), "the PROXY line does not end within 107 bytes");
  assertEquals(verdict(long), "the PROXY line does not end within 107 bytes");
  const digits = ascii(`PROXY TCP4 ${"1".repeat(200)}`);
  assertEquals(verdict(digits.subarray(0, 106)), undefined);
  assertEquals(verdict(digits), "the PROXY line does not end within 107 bytes");
});

Deno.test("parseProxyHeader() takes a binary header of 4096 bytes and none of 4097", () => {
  for (const command of ["21 11", "21 31", "20 00"]) {
    const fits = concat([v2(`${command} 0ff0`), new Uint8Array(4080)]);
    assertEquals(parseProxyHeader(fits)?.length, 4096);
    assertEquals(verdict(fits.subarray(0, 4095)), undefined);
    assertEquals(verdict(v2(`${command} 0ff1`)), "the PROXY header is longer than 4096 bytes");
    assertEquals(verdict(v2(`${command} ffff`)), "the PROXY header is longer than 4096 bytes");
  }
});

Deno.test("formatProxyHeader() writes exact bytes", () => {
  const cases: readonly [string, string, string, string][] = [
    ["192.0.2.1", "198.51.100.7", "TCP4 192.0.2.1 198.51.100.7", "11 000c c0000201 c6336407"],
    [
      "::ffff:192.0.2.1",
      "::ffff:198.51.100.7",
      "TCP4 192.0.2.1 198.51.100.7",
      "11 000c c0000201 c6336407",
    ],
    ["2001:db8::1", "fe80::7", "TCP6 2001:db8::1 fe80::7", `21 0024 ${IPV6_2001} ${IPV6_FE80}`],
    [
      "2001:DB8:0::1",
      "fe80::7%eth0",
      "TCP6 2001:db8::1 fe80::7",
      `21 0024 ${IPV6_2001} ${IPV6_FE80}`,
    ],
    [
      "192.0.2.1",
      "2001:db8::1",
      "TCP6 ::ffff:192.0.2.1 2001:db8::1",
      `21 0024 ${IPV6_MAPPED} ${IPV6_2001}`,
    ],
    [
      "2001:db8::1",
      "::ffff:192.0.2.1",
      "TCP6 2001:db8::1 ::ffff:192.0.2.1",
      `21 0024 ${IPV6_2001} ${IPV6_MAPPED}`,
    ],
  ];
  for (const [from, to, text, hex] of cases) {
    const source = { hostname: from, port: 56324 };
    const destination = { hostname: to, port: 443 };
    assertEquals(
      new TextDecoder().decode(formatProxyHeader("v1", source, destination)),
      `PROXY ${text} 56324 443\r\n`,
    );
    assertEquals(
      formatProxyHeader("v2", source, destination).toHex(),
      v2(`21 ${hex} dc04 01bb`).toHex(),
    );
  }
});

Deno.test("formatDatagramHeader() writes exact bytes", () => {
  const cases: readonly [string, string, string][] = [
    ["192.0.2.1", "198.51.100.7", "12 000c c0000201 c6336407"],
    ["::ffff:192.0.2.1", "198.51.100.7", "12 000c c0000201 c6336407"],
    ["2001:db8::1", "fe80::7%eth0", `22 0024 ${IPV6_2001} ${IPV6_FE80}`],
    ["192.0.2.1", "2001:db8::1", `22 0024 ${IPV6_MAPPED} ${IPV6_2001}`],
  ];
  for (const [from, to, hex] of cases) {
    const source = { hostname: from, port: 56324 };
    const header = formatDatagramHeader(source, { hostname: to, port: 443 });
    assertEquals(header.toHex(), v2(`21 ${hex} dc04 01bb`).toHex());
    // There is room for it in front of each datagram.
    assert(header.length <= HEADROOM);
  }
});

Deno.test("formatProxyHeader() refuses names", () => {
  const address = { hostname: "192.0.2.1", port: 1 };
  for (const hostname of ["redis", "", "localhost", "1.2.3", "[::1]"]) {
    for (const version of PROXY_VERSIONS) {
      const name = { hostname, port: 1 };
      assertThrows(() => formatProxyHeader(version, name, address), TypeError);
      assertThrows(() => formatProxyHeader(version, address, name), TypeError);
    }
  }
});

Deno.test("formatLocalHeader() announces nobody", () => {
  assertEquals(formatLocalHeader("v1"), ascii("PROXY UNKNOWN\r\n"));
  assertEquals(formatLocalHeader("v2"), v2("20 00 0000"));
});

Deno.test("formatIp() prints an address as sockets do, and parseIp() reads it", () => {
  const random = new Random();
  console.error(`seed: ${random.seed}`);
  for (let round = 0; round < CASES / 10; round++) {
    const units = Array.from({ length: 8 }, () => random.pick([0, 0, 0, 1, random.below(65536)]));
    const written = units.map((unit) => unit.toString(16)).join(":");
    const expected = new URL(`http://[${written}]`).hostname.slice(1, -1);
    const printed = formatIp(units);
    if (!printed.includes(".")) assertEquals(printed, expected, `SEED=${random.seed}`);
    assertEquals(parseIp(printed), units, `SEED=${random.seed}`);
    assertEquals(parseIp(written.toUpperCase()), units, `SEED=${random.seed}`);
  }
});

Deno.test("readProxyHeader() leaves what came with the header to be read, in whatever pieces", async () => {
  for (const [bytes, expected] of VALID) {
    const [client, server] = await pair();
    using _client = client;
    await writeAll(client, concat([bytes, ascii("first data")]));
    const read = await within(readProxyHeader(server), "the header");
    assert(read !== undefined);
    const { header, rest } = read;
    using _rest = rest;
    assertEquals(header, expected);
    assertEquals(rest.remoteAddr, server.remoteAddr);
    assertEquals(rest.localAddr, server.localAddr);
    const part = new Uint8Array(4);
    assertEquals(await rest.read(part), 4);
    assertEquals(part, ascii("firs"));
    await writeAll(client, "second data");
    await client.closeWrite();
    const all: Uint8Array[] = [];
    const buffer = new Uint8Array(64);
    for (;;) {
      const count = await within(rest.read(buffer), "the end");
      if (count === null) break;
      all.push(buffer.slice(0, count));
    }
    assertEquals(concat(all), ascii("t datasecond data"));
    await rest.write(ascii("answer"));
    await rest.closeWrite();
    assertEquals(await readText(client), "answer");
  }
});

Deno.test("readProxyHeader() gives the stream itself where nothing came with the header", async () => {
  const [client, server] = await pair();
  using _client = client;
  using _server = server;
  await writeAll(client, formatLocalHeader("v2"));
  const read = await within(readProxyHeader(server), "the header");
  assert(read?.rest === server);
});

Deno.test("readProxyHeader() reads a header that comes byte by byte", async () => {
  for (const [bytes, expected] of VALID) {
    const [client, server] = await pair();
    using _client = client;
    using _server = server;
    client.setNoDelay();
    const reading = within(readProxyHeader(server), "the header");
    for (const byte of bytes) {
      await client.write(Uint8Array.of(byte));
      // So that the reader has its turn: nothing depends on how many bytes it finds.
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
    const read = await reading;
    assertEquals(read?.header, expected);
    assert(read?.rest === server);
  }
});

/** A stream of these chunks, and how often it was read. */
function streamOf(
  chunks: readonly Uint8Array[],
): { reads: number; largest: number } & Parameters<typeof readProxyHeader>[0] {
  const rest = [...chunks];
  const address = { hostname: "192.0.2.1", port: 1 };
  return {
    reads: 0,
    largest: 0,
    localAddr: address,
    remoteAddr: address,
    read(buffer): Promise<number | null> {
      this.reads++;
      this.largest = Math.max(this.largest, buffer.length);
      const chunk = rest.shift();
      if (chunk === undefined) return Promise.resolve(null);
      buffer.set(chunk.subarray(0, buffer.length));
      if (chunk.length > buffer.length) rest.unshift(chunk.subarray(buffer.length));
      return Promise.resolve(Math.min(chunk.length, buffer.length));
    },
    write: (data) => Promise.resolve(data.length),
    closeWrite: () => Promise.resolve(),
    [Symbol.dispose](): void {},
  };
}

Deno.test("readProxyHeader() reads once in the usual case, and never has more than 4096 bytes", async () => {
  const address = { hostname: "192.0.2.1", port: 1 };
  for (const version of PROXY_VERSIONS) {
    const stream = streamOf([formatProxyHeader(version, address, address)]);
    await readProxyHeader(stream);
    assertEquals(stream.reads, 1);
  }
  const long = concat([v2("21 11 0ff0"), new Uint8Array(4080)]);
  const data = ascii("data".repeat(2000));
  const stream = streamOf([concat([long, data])]);
  const read = await readProxyHeader(stream);
  assertEquals(read?.header, header(["0.0.0.0", 0], ["0.0.0.0", 0]));
  assert(read?.rest === stream);
  assert(stream.largest <= 4096);
  const some = new Uint8Array(data.length);
  assertEquals(await read?.rest.read(some), data.length);
  assertEquals(some, data);
});

Deno.test("readProxyHeader() refuses what can't become a header before it is all there", async () => {
  for (const start of ["GET /", "PROXY TCP7", "\x16\x03\x01"]) {
    const [client, server] = await pair();
    using _client = client;
    using _server = server;
    await writeAll(client, ascii(start));
    await assertRejects(() => within(readProxyHeader(server), "a refusal"), ProxyHeaderError);
  }
});

Deno.test("readProxyHeader() tells a probe from a header that is cut off", async () => {
  for (const [bytes] of VALID) {
    for (const cut of [0, 1, bytes.length - 1]) {
      const [client, server] = await pair();
      using _client = client;
      using _server = server;
      await writeAll(client, bytes.subarray(0, cut));
      await client.closeWrite();
      const reading = within(readProxyHeader(server), "the end");
      if (cut === 0) assertEquals(await reading, undefined);
      else await assertRejects(() => reading, ProxyHeaderError, "the PROXY header is cut off");
    }
  }
});

Deno.test("readProxyHeader() ends when its stream is closed", async () => {
  const [client, server] = await pair();
  using _client = client;
  await writeAll(client, "PROXY ");
  const reading = assertRejects(() => readProxyHeader(server), Deno.errors.Interrupted);
  server.close();
  await within(reading, "the read to be given up");
});

Deno.test("Unread hands on the stream's own promises once its bytes are taken", async () => {
  const bytes = concat([formatLocalHeader("v1"), ascii("ab")]);
  const stream = streamOf([bytes]);
  const read = await readProxyHeader(stream);
  assert(read !== undefined && read.rest !== stream);
  assertEquals(await read.rest.read(new Uint8Array(2)), 2);
  const promise = Promise.resolve(null);
  stream.read = () => promise;
  assert(read.rest.read(new Uint8Array(2)) === promise);
});

Deno.test("Unread gives nothing more once it is closed, and closes the stream", async () => {
  const [client, server] = await pair();
  using _client = client;
  await writeAll(client, concat([formatLocalHeader("v1"), ascii("data")]));
  const read = await within(readProxyHeader(server), "the header");
  assert(read !== undefined && read.rest !== server);
  read.rest[Symbol.dispose]();
  read.rest[Symbol.dispose]();
  await assertRejects(() => read.rest.read(new Uint8Array(8)), Deno.errors.BadResource);
  assertEquals((await readAll(client)).length, 0);
});

Deno.test({
  name: "Unread finds a reset by a write of nothing",
  ...needs(RESETS),
  async fn(): Promise<void> {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const client = net.connect(listener.addr.port, "127.0.0.1");
    using server = await within(listener.accept(), "a client");
    client.write(concat([formatLocalHeader("v1"), ascii("data")]));
    const read = await within(readProxyHeader(server), "the header");
    assert(read !== undefined && read.rest !== server);
    assertEquals(await read.rest.write(new Uint8Array(0)), 0);
    client.resetAndDestroy();
    async function isReset(): Promise<boolean> {
      try {
        await read?.rest.write(new Uint8Array(0));
        return false;
      } catch {
        return true;
      }
    }
    await until(isReset, "the reset is found");
  },
});

/** What a HAProxy that forwards a connection to `port` sends first with these options. */
async function fromHaproxy(option: string, hostname: string): Promise<void> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const from = Deno.listen({ hostname, port: 0 });
  const { port } = from.addr;
  from.close();
  const bind = hostname.includes(":") ? `[${hostname}]` : hostname;
  const config = await Deno.makeTempFile();
  await Deno.writeTextFile(
    config,
    `defaults\n mode tcp\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n` +
      `listen l\n bind ${bind}:${port}\n server s 127.0.0.1:${listener.addr.port} ${option}\n`,
  );
  const haproxy = new Deno.Command(programPath("haproxy"), {
    args: ["-db", "-f", config],
    stdout: "null",
    stderr: "null",
  }).spawn();
  try {
    let conn: Deno.TcpConn | undefined;
    await until(async () => {
      try {
        conn = await Deno.connect({ hostname, port });
        return true;
      } catch {
        return false;
      }
    }, "HAProxy listens");
    assert(conn !== undefined);
    using client = conn;
    await writeAll(client, "data");
    using server = await within(listener.accept(), "HAProxy's connection");
    const version = option === "send-proxy" ? "v1" : "v2";
    const expected = formatProxyHeader(version, client.localAddr, client.remoteAddr);
    const bytes = ascii(await readExactlyBytes(server, expected.length));
    assertEquals(bytes, expected);
    assertEquals(parseProxyHeader(bytes), {
      source: { hostname, port: client.localAddr.port },
      destination: { hostname, port },
      length: expected.length,
    });
    assertEquals(await readExactly(server, 4), "data");
  } finally {
    haproxy.kill("SIGKILL");
    await haproxy.status;
    await Deno.remove(config);
  }
}

/** Exactly so many bytes, a character each. */
async function readExactlyBytes(conn: Deno.Conn, count: number): Promise<string> {
  let text = "";
  const buffer = new Uint8Array(1);
  while (text.length < count) {
    assertEquals(await within(conn.read(buffer), "a byte"), 1);
    text += String.fromCharCode(buffer[0] ?? 0);
  }
  return text;
}

Deno.test({
  name: "formatProxyHeader() writes what HAProxy writes, and parseProxyHeader() reads that",
  ...needs("haproxy"),
  async fn(): Promise<void> {
    const hostnames = ["127.0.0.1", ...(IPV6.isHere ? ["::1"] : [])];
    for (const option of ["send-proxy", "send-proxy-v2"]) {
      for (const hostname of hostnames) await fromHaproxy(option, hostname);
    }
  },
});

// Hostile bytes. `SEED=…` repeats a run, FUZZ_CASES says how long it is.

/** Runs the case; a failure says how to repeat it. */
function attempt(random: Random, bytes: Uint8Array, act: () => void): void {
  try {
    act();
  } catch (cause) {
    throw new Error(`SEED=${random.seed}: ${bytes.toHex()}`, { cause });
  }
}

function randomAddress(random: Random): Address {
  const units = Array.from(
    { length: random.pick([2, 8]) },
    () => random.pick([0, 0, 1, 0xffff, random.below(65536)]),
  );
  const mapped = random.below(8) === 0 && units.length === 2
    ? [0, 0, 0, 0, 0, 0xffff, ...units]
    : units;
  return { hostname: formatIp(mapped), port: random.below(65536) };
}

function plainAddress({ hostname, port }: Address): Address {
  return { hostname: hostname.replace(/^::ffff:(?=\d+\.)/, ""), port };
}

Deno.test("parseProxyHeader() reads what formatProxyHeader() writes, with any additions", () => {
  const random = new Random();
  console.error(`fuzz seed: ${random.seed}`);
  for (let round = 0; round < CASES / 2; round++) {
    const source = randomAddress(random);
    const destination = randomAddress(random);
    const version = random.pick(PROXY_VERSIONS);
    let bytes = formatProxyHeader(version, source, destination);
    if (version === "v2") {
      bytes = concat([bytes, random.bytes(random.below(random.pick([1, 20, 20, 300])))]);
      new DataView(bytes.buffer).setUint16(14, bytes.length - 16);
    }
    const { length } = bytes;
    attempt(random, bytes, () => {
      const expected = {
        source: plainAddress(source),
        destination: plainAddress(destination),
        length,
      };
      assertEquals(parseProxyHeader(concat([bytes, random.bytes(random.below(9))])), expected);
      assertEquals(parseProxyHeader(bytes.subarray(0, random.below(length))), undefined);
    });
  }
});

/** A valid header with a few bytes changed, left out, doubled or put in, perhaps cut. */
function mutated(random: Random): Uint8Array<ArrayBuffer> {
  let [bytes] = random.pick(VALID);
  if (random.below(3) === 0) {
    bytes = formatProxyHeader(
      random.pick(PROXY_VERSIONS),
      randomAddress(random),
      randomAddress(random),
    );
  }
  for (let rounds = random.below(4); rounds > 0; rounds--) {
    const at = random.below(bytes.length + 1);
    const piece = random.pick([
      () =>
        ascii(random.pick([" ", "\r\n", "\n", ":", "::", ".", "0", "1", "f", "TCP6", "UNKNOWN"])),
      () => random.bytes(random.below(3)),
      () => bytes.slice(at, at + random.below(6)),
    ])();
    bytes = concat([bytes.subarray(0, at), piece, bytes.subarray(at + random.below(3))]);
  }
  return bytes;
}

Deno.test("parseProxyHeader() throws nothing but ProxyHeaderError, and keeps to what it has said", () => {
  const random = new Random();
  let accepted = 0;
  for (let round = 0; round < CASES / 2; round++) {
    const bytes = mutated(random);
    attempt(random, bytes, () => {
      const said = verdict(bytes);
      const cut = random.below(bytes.length + 1);
      const earlier = verdict(bytes.subarray(0, cut));
      if (typeof earlier === "string") assertEquals(typeof said, "string");
      if (typeof earlier === "object") assertEquals(said, earlier);
      if (typeof said === "string") assert(/^[\w ,]+$/.test(said), said);
      if (typeof said !== "object") return;
      accepted++;
      const { source, destination, length } = said;
      assert(length <= bytes.length);
      if (length > cut) assertEquals(earlier, undefined);
      assertEquals(source === undefined, destination === undefined);
      if (source === undefined || destination === undefined) return;
      for (const version of PROXY_VERSIONS) {
        const again = parseProxyHeader(formatProxyHeader(version, source, destination));
        assertEquals([again?.source, again?.destination], [source, destination]);
      }
    });
  }
  assert(accepted > CASES / 20, `only ${accepted} were accepted: the generator is too wild`);
});
