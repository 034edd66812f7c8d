// The PROXY protocol between the real program and those who speak it: nginx and HAProxy on either side,
// other ambassadors, and clients that write their headers by hand, rightly and wrongly.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { PROXY_VERSIONS } from "../../src/config/options.ts";
import { formatAddress } from "../../src/base/address.ts";
import {
  concat,
  echo,
  freePort,
  hash,
  type Program,
  readAll,
  readExactly,
  readText,
  runProgram,
  startEcho,
  startProgram,
  startUpstream,
  until,
  type Upstream,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { IPV6, LINUX, needs } from "../helpers/needs.ts";
import { descriptorsOf, linesOf } from "../helpers/process.ts";
import {
  ANNOUNCED_V2,
  askWho,
  endsOf,
  headerV2,
  type PeerName,
  startSender,
  startTeller,
  untilClosed,
  visitFrom,
} from "../helpers/proxies.ts";

const PEERS: readonly PeerName[] = ["nginx", "haproxy"];
const FROM_HERE = "--accept-proxy=127.0.0.0/8";
/** What `ANNOUNCED_V2` says, in version 1, and what `askWho` hears of it. */
const ANNOUNCED_V1 = "PROXY TCP4 192.0.2.7 198.51.100.9 1234 6379\r\n";
const ANNOUNCED = "192.0.2.7 1234 198.51.100.9 6379";
const LOCAL_V2 = headerV2(0x20, 0, []);

function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}

/** The program with one route, every line of its log, and where it listens. */
interface Ambassador extends AsyncDisposable {
  readonly program: Program;
  readonly port: number;
}

/** Starts it before a port of 127.0.0.1; `listen` is the address to listen at, with its colon. */
async function startAmbassador(
  to: number,
  { args = [], settings = "", listen = "127.0.0.1:" }: {
    readonly args?: readonly string[];
    readonly settings?: string;
    readonly listen?: string;
  } = {},
): Promise<Ambassador> {
  const port = freePort();
  const query = settings === "" ? "" : `?${settings}`;
  const route = `${listen}${port}=127.0.0.1:${to}${query}`;
  const program = startProgram(["--log-level=debug", ...args, route]);
  await program.line(/ ready /);
  return { program, port, [Symbol.asyncDispose]: () => program[Symbol.asyncDispose]() };
}

async function connectTo(port: number, hostname = "127.0.0.1"): Promise<Deno.TcpConn> {
  return await within(Deno.connect({ hostname, port }), "a connect");
}

/** A server that keeps what each client sends. */
function startRecorder(): Upstream & { readonly received: readonly Uint8Array<ArrayBuffer>[] } {
  const received: Uint8Array<ArrayBuffer>[] = [];
  const upstream = startUpstream(async (conn) => void received.push(await readAll(conn)));
  return Object.assign(upstream, { received });
}

/** Waits for the end of the first connection that ended for this; its line. */
async function endedBy(program: Program, reason: string): Promise<string> {
  const [line] = await program.line(new RegExp(`.* connection_closed .* reason=${reason}$`, "m"));
  return line;
}

/** How often connections have ended for this, as the status page tells. */
async function countOf(status: number, reason: string): Promise<number> {
  const response = await within(fetch(`http://127.0.0.1:${status}/metrics`), "the metrics");
  const name = "ambassador_connections_closed_total";
  const pattern = new RegExp(`^${name}\\{.*reason="${reason}"\\} (\\d+)$`, "m");
  const text = await response.text();
  const match = pattern.exec(text);
  assert(match !== null, text);
  return Number(match[1]);
}

async function assertEchoes(conn: Deno.Conn, text = "ping"): Promise<void> {
  await writeAll(conn, text);
  assertEquals(await readExactly(conn, text.length), text);
}

for (const version of PROXY_VERSIONS) {
  for (const peer of PEERS) {
    Deno.test({
      name: `send-proxy=${version} tells ${peer} who the client is`,
      ...needs(peer),
    }, async () => {
      await using teller = await startTeller(peer);
      await using ambassador = await startAmbassador(teller.port, {
        settings: `send-proxy=${version}`,
      });
      using client = await connectTo(ambassador.port);
      const ends = endsOf(client);
      assertEquals(await askWho(peer, client), ends);
    });

    Deno.test({
      name: `send-proxy=${version} tells ${peer} who an IPv6 client is`,
      ...needs(peer, IPV6),
    }, async () => {
      await using teller = await startTeller(peer);
      await using ambassador = await startAmbassador(teller.port, {
        args: [`--send-proxy=${version}`],
        listen: "[::1]:",
      });
      using client = await connectTo(ambassador.port, "::1");
      const ends = endsOf(client);
      assertEquals(await askWho(peer, client), ends);
    });

    Deno.test({
      name: `send-proxy=${version} tells ${peer} of an IPv4 client at an IPv6 listener as IPv4`,
      ...needs(peer, IPV6),
    }, async () => {
      await using teller = await startTeller(peer);
      await using ambassador = await startAmbassador(teller.port, {
        args: [`--send-proxy=${version}`],
        listen: "[::]:",
      });
      using client = await connectTo(ambassador.port);
      const ends = endsOf(client);
      assertEquals(await askWho(peer, client), ends);
    });

    Deno.test({
      name: `send-proxy=${version} tells ${peer} whom HAProxy has announced`,
      ...needs(peer, "haproxy"),
    }, async () => {
      await using teller = await startTeller(peer);
      await using ambassador = await startAmbassador(teller.port, {
        args: [FROM_HERE, `--send-proxy=${version}`],
      });
      await using sender = await startSender("haproxy", ambassador.port);
      using client = await connectTo(sender.port);
      const ends = endsOf(client);
      assertEquals(await askWho(peer, client), ends);
    });
  }

  const other = version === "v1" ? "v2" : "v1";
  Deno.test({
    name: `send-proxy=${version} and then ${other} tell nginx who came to the first of two`,
    ...needs("nginx", "haproxy"),
  }, async () => {
    await using teller = await startTeller("nginx");
    await using second = await startAmbassador(teller.port, {
      args: [FROM_HERE, `--send-proxy=${other}`],
    });
    await using first = await startAmbassador(second.port, { settings: `send-proxy=${version}` });
    using client = await connectTo(first.port);
    const ends = endsOf(client);
    assertEquals(await askWho("nginx", client), ends);
  });

  Deno.test({
    name: `send-proxy=${version} and then ${other} pass on what HAProxy has announced`,
    ...needs("nginx", "haproxy"),
  }, async () => {
    await using teller = await startTeller("nginx");
    await using second = await startAmbassador(teller.port, {
      args: [FROM_HERE, `--send-proxy=${other}`],
    });
    await using first = await startAmbassador(second.port, {
      args: [FROM_HERE, `--send-proxy=${version}`],
    });
    await using sender = await startSender("haproxy", first.port, other);
    using client = await connectTo(sender.port);
    const ends = endsOf(client);
    assertEquals(await askWho("nginx", client), ends);
  });

  Deno.test({
    name: `send-proxy=${version} passes on an announced client and its destination`,
    ...needs("nginx"),
  }, async () => {
    await using teller = await startTeller("nginx");
    await using ambassador = await startAmbassador(teller.port, {
      args: [FROM_HERE, `--send-proxy=${version}`],
    });
    for (const header of [ANNOUNCED_V1, headerV2(0x21, 0x11, ANNOUNCED_V2)]) {
      using client = await connectTo(ambassador.port);
      await writeAll(client, header);
      assertEquals(await askWho("nginx", client), ANNOUNCED);
    }
    using client = await connectTo(ambassador.port);
    await writeAll(client, "PROXY TCP6 2001:db8::7 2001:db8::9 1234 6379\r\n");
    assertEquals(await askWho("nginx", client), "2001:db8::7 1234 2001:db8::9 6379");
  });

  Deno.test({
    name: `send-proxy=${version} tells of a client that announced nobody by its socket`,
    ...needs("nginx"),
  }, async () => {
    await using teller = await startTeller("nginx");
    await using ambassador = await startAmbassador(teller.port, {
      args: [FROM_HERE, `--send-proxy=${version}`],
    });
    for (const header of ["PROXY UNKNOWN\r\n", LOCAL_V2]) {
      using client = await connectTo(ambassador.port);
      const ends = endsOf(client);
      await writeAll(client, header);
      assertEquals(await askWho("nginx", client), ends);
    }
  });

  Deno.test(`send-proxy=${version} is read by an upstream before its client says a word`, async () => {
    const length = version === "v1" ? undefined : 28;
    const seen = Promise.withResolvers<Uint8Array>();
    await using upstream = startUpstream(async (conn) => {
      const chunks: Uint8Array[] = [];
      const buffer = new Uint8Array(200);
      const isWhole = (all: Uint8Array): boolean =>
        length === undefined ? all.at(-1) === 10 : all.length >= length;
      while (!isWhole(concat(chunks))) {
        const count = await conn.read(buffer);
        if (count === null) return;
        chunks.push(buffer.slice(0, count));
      }
      seen.resolve(concat(chunks));
      await writeAll(conn, "hello");
      await echo(conn);
    });
    await using ambassador = await startAmbassador(upstream.address.port, {
      settings: `send-proxy=${version}`,
    });
    using client = await connectTo(ambassador.port);
    const { localAddr: from, remoteAddr: to } = client;
    assertEquals(await readExactly(client, 5), "hello");
    await assertEchoes(client);
    const header = version === "v1"
      ? bytesOf(`PROXY TCP4 127.0.0.1 127.0.0.1 ${from.port} ${to.port}\r\n`)
      : headerV2(0x21, 0x11, [
        ...[127, 0, 0, 1],
        ...[127, 0, 0, 1],
        ...[from.port >> 8, from.port & 255],
        ...[to.port >> 8, to.port & 255],
      ]);
    assertEquals(await within(seen.promise, "the header"), header);
    // It is none of the bytes that the client has sent.
    await client.closeWrite();
    assertEquals(await readText(client), "");
    assertMatch(await endedBy(ambassador.program, "finished"), / bytes_up=4 bytes_down=9 /);
  });

  Deno.test(`wait with send-proxy=${version} announces nobody and sends nothing else`, async () => {
    await using upstream = startRecorder();
    const target = `127.0.0.1:${upstream.address.port}?send-proxy=${version}`;
    const { code, stderr } = await runProgram(["wait", "--timeout=10s", target]);
    assertEquals(code, 0, stderr);
    await until(() => upstream.received.length === 1, "the connection has ended");
    const wanted = version === "v1" ? bytesOf("PROXY UNKNOWN\r\n") : LOCAL_V2;
    assertEquals(upstream.received, [wanted]);
  });

  Deno.test({
    name: `wait with send-proxy=${version} is no error to HAProxy`,
    ...needs("haproxy"),
  }, async () => {
    await using teller = await startTeller("haproxy");
    const errors = (): number => [...teller.log.matchAll(/PROXY protocol header/g)].length;
    const target = `127.0.0.1:${teller.port}?send-proxy=${version}`;
    const { code, stderr } = await runProgram(["wait", "--timeout=10s", target]);
    assertEquals(code, 0, stderr);
    // A client without a header is an error, and it came later.
    (await connectTo(teller.port)).close();
    await until(() => errors() > 0, "HAProxy has complained");
    assertEquals(errors(), 1, teller.log);
    const bare = await runProgram(["wait", "--timeout=10s", `127.0.0.1:${teller.port}`]);
    assertEquals(bare.code, 0, bare.stderr);
    await until(() => errors() > 1, "HAProxy has complained of a wait without the setting");
  });
}

for (
  const [peer, version] of [["nginx", "v1"], ["haproxy", "v1"], ["haproxy", "v2"]] as const
) {
  Deno.test({
    name: `--accept-proxy believes ${peer}, which sends ${version}, and changes no byte`,
    ...needs(peer),
  }, async () => {
    await using upstream = startEcho();
    await using ambassador = await startAmbassador(upstream.address.port, { args: [FROM_HERE] });
    await using sender = await startSender(peer, ambassador.port, version);
    const data = new Uint8Array(1024 * 1024);
    for (let at = 0; at < data.length; at += 65536) {
      crypto.getRandomValues(data.subarray(at, at + 65536));
    }
    using client = await connectTo(sender.port);
    const who = formatAddress(client.localAddr);
    const received = readAll(client);
    await writeAll(client, data);
    await client.closeWrite();
    assertEquals(await hash(await received), await hash(data));
    const closed = await endedBy(ambassador.program, "finished");
    assert(closed.includes(` client=${who} `), closed);
    assert(closed.includes(` bytes_up=${data.length} bytes_down=${data.length} `), closed);
  });
}

const HEADERS: readonly (readonly [name: string, header: Uint8Array, who: string | undefined])[] = [
  ["v1", bytesOf(ANNOUNCED_V1), "192.0.2.7:1234"],
  ["v2", headerV2(0x21, 0x11, ANNOUNCED_V2), "192.0.2.7:1234"],
  [
    "v2 with more than the addresses",
    headerV2(0x21, 0x11, [...ANNOUNCED_V2, 4, 15, 160, ...new Array<number>(4000).fill(7)]),
    "192.0.2.7:1234",
  ],
  ["UNKNOWN", bytesOf("PROXY UNKNOWN\r\n"), undefined],
  [
    "UNKNOWN with addresses",
    bytesOf("PROXY UNKNOWN 192.0.2.7 198.51.100.9 1234 6379\r\n"),
    undefined,
  ],
  ["LOCAL", LOCAL_V2, undefined],
  ["LOCAL with addresses", headerV2(0x20, 0x11, ANNOUNCED_V2), undefined],
];

for (const [name, header, who] of HEADERS) {
  Deno.test(`--accept-proxy takes a header (${name}) with the first bytes and one by one`, async () => {
    await using upstream = startEcho();
    await using ambassador = await startAmbassador(upstream.address.port, { args: [FROM_HERE] });
    for (const step of [header.length + 5, header.length > 1000 ? 100 : 1]) {
      using client = await connectTo(ambassador.port);
      const expected = who ?? formatAddress(client.localAddr);
      const all = concat([header, bytesOf("hello")]);
      for (let at = 0; at < all.length; at += step) {
        await writeAll(client, all.subarray(at, at + step));
        // A turn, so that what is written goes out by itself: a segment each.
        await new Promise((resolve) => setTimeout(resolve));
      }
      assertEquals(await readExactly(client, 5), "hello");
      await client.closeWrite();
      assertEquals(await readText(client), "");
      const end = new RegExp(`connection_closed .* client=${expected} bytes_up=5 .*=finished`);
      await ambassador.program.line(end);
      await ambassador.program.line(new RegExp(`connection_opened .* client=${expected}$`, "m"));
    }
  });
}

Deno.test({
  name: "--allow looks at the client that HAProxy announces, and not at HAProxy",
  ...needs("haproxy", LINUX),
}, async () => {
  await using upstream = startEcho();
  await using ambassador = await startAmbassador(upstream.address.port, {
    args: [FROM_HERE, "--allow=127.0.0.1"],
  });
  for (const version of PROXY_VERSIONS) {
    await using sender = await startSender("haproxy", ambassador.port, version);
    const { port } = sender;
    assertEquals((await visitFrom("127.0.0.1", { port, text: "ping" })).text, "ping");
    const refused = await visitFrom("127.0.0.2", { port, text: "ping" });
    assertEquals(refused.text, "");
    const [line] = await ambassador.program.line(
      new RegExp(`.* not_allowed .* client=${refused.client}\\b.*`),
    );
    assertMatch(line, / WARN {2}not_allowed route=\S+ listen=\S+ target=\S+ client=\S+$/);
  }
  assertEquals(upstream.clients, 2);
});

Deno.test("--allow looks at who is announced, and at the socket where nobody is", async () => {
  await using upstream = startEcho();
  const v2 = headerV2(0x21, 0x11, ANNOUNCED_V2);
  const stranger = bytesOf(ANNOUNCED_V1.replace("192.0.2.7", "198.51.100.1"));
  const strangerV2 = headerV2(0x21, 0x11, [198, 51, 100, 1, ...ANNOUNCED_V2.slice(4)]);
  const nobody = bytesOf("PROXY UNKNOWN 192.0.2.7 198.51.100.9 1234 6379\r\n");
  const local = headerV2(0x20, 0x11, ANNOUNCED_V2);
  const cases: readonly (readonly [list: string, served: Uint8Array[], refused: Uint8Array[]])[] = [
    ["192.0.2.0/24", [bytesOf(ANNOUNCED_V1), v2], [stranger, strangerV2, nobody, local, LOCAL_V2]],
    ["127.0.0.1", [nobody, local, LOCAL_V2], [bytesOf(ANNOUNCED_V1), v2, stranger, strangerV2]],
  ];
  let clients = 0;
  for (const [list, served, refused] of cases) {
    await using ambassador = await startAmbassador(upstream.address.port, {
      args: [FROM_HERE, `--allow=${list}`],
    });
    for (const header of refused) {
      using client = await connectTo(ambassador.port);
      await writeAll(client, header);
      assertEquals(await untilClosed(client), 0, new TextDecoder().decode(header));
    }
    for (const header of served) {
      using client = await connectTo(ambassador.port);
      await writeAll(client, header);
      await assertEchoes(client);
    }
    clients += served.length;
    const count = (): number => linesOf(ambassador.program, "not_allowed").length;
    await until(() => count() === refused.length, "every refusal is in the log");
  }
  assertEquals(upstream.clients, clients);
});

Deno.test({
  name: "--accept-proxy leaves a header from elsewhere to the upstream, as it is",
  ...needs(LINUX),
}, async () => {
  await using upstream = startEcho();
  const args = ["--accept-proxy=127.0.0.2"];
  await using ambassador = await startAmbassador(upstream.address.port, { args });
  for (const header of [bytesOf(ANNOUNCED_V1), headerV2(0x21, 0x11, ANNOUNCED_V2)]) {
    using client = await connectTo(ambassador.port);
    const who = formatAddress(client.localAddr);
    await writeAll(client, header);
    await client.closeWrite();
    assertEquals(await readAll(client), header);
    await ambassador.program.line(new RegExp(`connection_closed .* client=${who} .*=finished`));
  }
  const text = `${ANNOUNCED_V1}ping`;
  assertEquals((await visitFrom("127.0.0.2", { port: ambassador.port, text })).text, "ping");
});

Deno.test({
  name: "--allow looks at the socket of a client outside of --accept-proxy",
  ...needs(LINUX),
}, async () => {
  await using upstream = startEcho();
  const args = ["--accept-proxy=127.0.0.2", "--allow=192.0.2.0/24"];
  await using ambassador = await startAmbassador(upstream.address.port, { args });
  const { port } = ambassador;
  const text = `${ANNOUNCED_V1}ping`;
  assertEquals((await visitFrom("127.0.0.1", { port, text })).text, "");
  assertEquals((await visitFrom("127.0.0.2", { port, text })).text, "ping");
  await ambassador.program.line(/ not_allowed .* client=127\.0\.0\.1:/);
  assertEquals(upstream.clients, 1);
});

const TOO_MUCH = new Array<number>(5000).fill(0);
const BAD_HEADERS: readonly (readonly [what: string, header: Uint8Array, isEnd?: boolean])[] = [
  ["no header", bytesOf("GET / HTTP/1.0\r\n\r\n")],
  ["a port that is none", bytesOf("PROXY TCP4 192.0.2.7 198.51.100.9 1234 70000\r\n")],
  ["a port too few", bytesOf("PROXY TCP4 192.0.2.7 198.51.100.9 1234\r\n")],
  ["an address of the other family", bytesOf("PROXY TCP4 ::1 ::1 1234 6379\r\n")],
  ["a first line without an end", bytesOf(`PROXY UNKNOWN ${"x".repeat(200)}`)],
  ["a version 3", headerV2(0x31, 0x11, ANNOUNCED_V2)],
  ["addresses cut short", headerV2(0x21, 0x11, ANNOUNCED_V2.slice(2))],
  ["a length above 4 KiB", headerV2(0x21, 0x11, [...ANNOUNCED_V2, ...TOO_MUCH])],
  ["a v1 header that the end cuts", bytesOf(ANNOUNCED_V1.slice(0, 20)), true],
  ["a v2 header that the end cuts", headerV2(0x21, 0x11, ANNOUNCED_V2).slice(0, 20), true],
  ["one byte and no more", bytesOf("P")],
  ["not a byte", new Uint8Array()],
];

for (const [what, header, isEnd] of BAD_HEADERS) {
  Deno.test(`--accept-proxy ends a client whose header is wrong: ${what}`, async () => {
    await using upstream = startEcho();
    const status = freePort();
    const isSlow = header.length < 2;
    // Longer than the test waits where it is not the time that ends the client.
    const args = [FROM_HERE, `--handshake-timeout=${isSlow ? "300ms" : "10m"}`];
    await using ambassador = await startAmbassador(upstream.address.port, {
      args: [...args, `--status=127.0.0.1:${status}`],
    });
    const { program } = ambassador;
    using client = await connectTo(ambassador.port);
    const startMs = performance.now();
    await writeAll(client, header);
    if (isEnd) await client.closeWrite();
    assertEquals(await untilClosed(client), 0);
    const tookMs = performance.now() - startMs;
    if (isSlow) assert(tookMs >= 250 && tookMs < 5000, `${tookMs} ms`);
    await endedBy(program, "bad_proxy_header");
    const [line, ...more] = linesOf(program, "bad_proxy_header");
    assertEquals(more, []);
    assertMatch(line ?? "", / WARN {2}bad_proxy_header route=\S+ .*client=127\.0\.0\.1:\d+/);
    // The line is of things that anybody may write.
    assert(!line?.includes("HTTP"), line);
    assertEquals(await countOf(status, "bad_proxy_header"), 1);
    using next = await connectTo(ambassador.port);
    await writeAll(next, ANNOUNCED_V1);
    await assertEchoes(next);
    assertEquals(upstream.clients, 1);
  });
}

Deno.test("--accept-proxy takes a client that leaves before its first byte for no failure", async () => {
  await using upstream = startEcho();
  const status = freePort();
  await using ambassador = await startAmbassador(upstream.address.port, {
    args: [FROM_HERE, `--status=127.0.0.1:${status}`],
  });
  (await connectTo(ambassador.port)).close();
  await ambassador.program.line(/ connection_closed /);
  using next = await connectTo(ambassador.port);
  await writeAll(next, ANNOUNCED_V1);
  await assertEchoes(next);
  assertEquals(upstream.clients, 1);
  assertEquals(await countOf(status, "bad_proxy_header"), 0);
  assert(!/ (?:WARN|ERROR) /.test(ambassador.program.stderr), ambassador.program.stderr);
});

Deno.test({
  name: "--max-connections gives the place of the oldest without a header to the next",
  ...needs(LINUX),
}, async () => {
  await using upstream = startEcho();
  const args = [FROM_HERE, "--handshake-timeout=60s", "--max-connections=2"];
  await using ambassador = await startAmbassador(upstream.address.port, {
    args: [...args, "--drain-timeout=200ms"],
  });
  const { program, port } = ambassador;
  {
    using oldest = await connectTo(port);
    using second = await connectTo(port);
    using third = await connectTo(port);
    await writeAll(third, ANNOUNCED_V1);
    await assertEchoes(third);
    assertEquals(await untilClosed(oldest), 0);
    // The other one has its place still.
    await writeAll(second, ANNOUNCED_V1);
    await assertEchoes(second);
  }
  await until(() => linesOf(program, "connection_closed").length === 3, "all have left");
  assertEquals(linesOf(program, "bad_proxy_header").length, 1);
  const before = descriptorsOf(program.pid);
  using silent = await connectTo(port);
  using half = await connectTo(port);
  await writeAll(half, "PROXY TCP4 ");
  await until(() => descriptorsOf(program.pid) >= before + 2, "both are accepted");
  program.kill("SIGTERM");
  const { code } = await within(program.status, "the program to stop");
  assertEquals(code, 0, program.stderr);
  assertMatch(program.stderr, / stopped cut_off=0\n$/);
  assertEquals([await untilClosed(silent), await untilClosed(half)], [0, 0]);
});

Deno.test("--max-connections gives one place to one client, however many want it", async () => {
  await using upstream = startEcho();
  const args = [FROM_HERE, "--handshake-timeout=60s", "--max-connections=2"];
  await using ambassador = await startAmbassador(upstream.address.port, { args });
  const { program, port } = ambassador;
  using clients = new DisposableStack();
  const silent = [await connectTo(port), await connectTo(port)];
  silent.forEach((conn) => clients.use(conn));
  const served: Deno.TcpConn[] = [];
  const all = Promise.all(Array.from({ length: 10 }, async () => {
    const conn = clients.use(await connectTo(port));
    await writeAll(conn, ANNOUNCED_V1);
    await assertEchoes(conn);
    served.push(conn);
  }));
  for (let left = 10; left > 0; left -= 2) {
    await until(() => served.length === 2, "two are served");
    const open = linesOf(program, "connection_opened").length -
      linesOf(program, "connection_closed").length;
    assertEquals([open, upstream.clients], [2, 12 - left]);
    served.splice(0).forEach((conn) => conn.close());
  }
  await all;
  assertEquals(await Promise.all(silent.map(untilClosed)), [0, 0]);
});
