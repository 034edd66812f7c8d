// The real program before clients who shake hands slowly, wrongly, in tiny pieces or not at all: none of
// them costs the upstream a connection, or anybody else anything.

import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import net from "node:net";
import { createCa, type Issued, type RootCa } from "../helpers/certificates.ts";
import {
  concat,
  freePort,
  type Program,
  readText,
  startEcho,
  until,
  type Upstream,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { LINUX, needs, PROGRAM_TLS, programPath, RESETS } from "../helpers/needs.ts";
import { descriptorsOf, linesOf, repeat, untilDescriptors } from "../helpers/process.ts";
import {
  createEngines,
  errorsOf,
  loadTls,
  sClient,
  startTlsRoute,
  type StartTlsRouteOptions,
} from "../helpers/tls.ts";

const NEEDS = needs(PROGRAM_TLS, "openssl");
const LEFT =
  "the client closed the connection during the handshake: it may not accept this ambassador";

/** The program with a TLS listener before an echo, its CA, and a client's certificate. */
interface Scene extends AsyncDisposable {
  readonly ca: RootCa;
  readonly upstream: Upstream;
  readonly program: Program;
  readonly address: { readonly hostname: string; readonly port: number };
  readonly client: Issued;
}

async function startScene(options: Partial<StartTlsRouteOptions> = {}): Promise<Scene> {
  await using opened = new AsyncDisposableStack();
  const ca = opened.use(await createCa());
  const upstream = opened.use(startEcho());
  const own = await ca.issue({ dns: ["localhost"], ips: ["127.0.0.1"] });
  const client = await ca.issue({ dns: ["client.example.com"] });
  const started = await startTlsRoute(upstream.address, { own, caPath: ca.path, ...options });
  opened.use(started.program);
  const all = opened.move();
  return {
    ca,
    upstream,
    client,
    ...started,
    [Symbol.asyncDispose]: (): Promise<void> => all.disposeAsync(),
  };
}

/** Lets a client who does all right ask and hang up; gives the milliseconds that it took. */
async function visit({ address, ca, client: { cert, key } }: Scene): Promise<number> {
  const sinceMs = performance.now();
  using conn = await within(
    Deno.connectTls({ ...address, caCerts: [ca.pem], cert, key }),
    "a good client's handshake",
  );
  await writeAll(conn, "ping");
  await conn.closeWrite();
  assertEquals(await readText(conn), "ping");
  return performance.now() - sinceMs;
}

/** The reasons of the program's `tls_failed` lines. */
function refusals({ program }: Scene): string[] {
  return errorsOf(program.stderr.split("\n"));
}

/** Waits until the program has closed the connection; what it had to say before is thrown away. */
async function untilClosed(conn: Deno.Conn): Promise<void> {
  const buffer = new Uint8Array(4096);
  try {
    while (await within(conn.read(buffer), "the program to close") !== null);
  } catch (error) {
    if (!(error instanceof Deno.errors.ConnectionReset)) throw error;
  }
}

/** The first bytes of a client who does all right: one record. */
async function clientHello(ca: RootCa): Promise<Uint8Array<ArrayBuffer>> {
  using engines = await createEngines(ca);
  engines.client.start();
  return engines.client.takeOutput();
}

function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}

Deno.test(
  "the program serves a client at once beside 200 that don't shake hands, and cuts those off",
  {
    ...needs(PROGRAM_TLS, "openssl", LINUX),
  },
  async () => {
    const args = ["--handshake-timeout", "3s", "--log-level", "info"];
    await using scene = await startScene({ args });
    const { program, address, upstream } = scene;
    await visit(scene);
    await until(() => upstream.clients === 1, "the first is done");
    const before = descriptorsOf(program.pid);
    const silent = await Promise.all(Array.from({ length: 200 }, () => Deno.connect(address)));
    // The first client may have held some while they were counted.
    await until(() => descriptorsOf(program.pid) > before + 190, "they are accepted");
    const tookMs = await visit(scene);
    assert(tookMs < 2500, `${tookMs} ms`);
    assertEquals(linesOf(program, "tls_failed"), []);
    await Promise.all(silent.map(untilClosed));
    for (const conn of silent) conn.close();
    await untilDescriptors(program.pid, before);
    await program.line(/tls_failed .*count=/);
    const lines = linesOf(program, "tls_failed");
    assert(lines.length <= 3, lines.join("\n"));
    for (const line of lines) assertStringIncludes(line, 'error="no TLS handshake within 3s"');
    assertEquals(upstream.clients, 2);
  },
);

Deno.test(
  "the program dials for no client that speaks something else than TLS, and names it:",
  NEEDS,
  async (t) => {
    await using scene = await startScene();
    const { address, upstream, ca } = scene;
    const hello = await clientHello(ca);
    const zeros = new Uint8Array(64);
    const tooLong = concat([Uint8Array.of(0x16, 3, 1, 0xff, 0xff), new Uint8Array(65_535)]);
    const cases: readonly (readonly [string, Uint8Array<ArrayBuffer>, RegExp])[] = [
      [
        "HTTP",
        bytesOf("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        /^not TLS: it speaks HTTP without TLS$/,
      ],
      [
        "HTTP/2",
        bytesOf("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        /^not TLS: it speaks HTTP without TLS$/,
      ],
      ["SSH", bytesOf("SSH-2.0-OpenSSH_9.2\r\n"), /^not TLS: it speaks SSH$/],
      [
        "PostgreSQL's SSLRequest",
        Uint8Array.of(0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f),
        /^not TLS: it asks for TLS in the words of PostgreSQL; .*target is this one$/,
      ],
      [
        "a PROXY header that nobody asked for",
        bytesOf("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"),
        /^not TLS: it begins with a PROXY header \(--accept-proxy\)$/,
      ],
      ["Redis", bytesOf("*1\r\n$4\r\nPING\r\n"), /^not TLS$/],
      ["zeros", zeros, /^not TLS$/],
      ["random bytes", crypto.getRandomValues(new Uint8Array(5000)).fill(0xf7, 0, 1), /^not TLS$/],
      ["a record that is too long", tooLong, /./],
      ["an empty record", Uint8Array.of(0x16, 3, 1, 0, 0, ...zeros), /^not TLS$/],
      ["application data at first", Uint8Array.of(0x17, 3, 3, 0, 64, ...zeros), /./],
      [
        "an alert at first",
        Uint8Array.of(0x15, 3, 3, 0, 2, 2, 40),
        /^the client refuses the handshake/,
      ],
      ["a ClientHello with another length", hello.with(8, (hello[8] ?? 0) - 1), /./],
      ["two ClientHellos", concat([hello, hello]), /./],
      [
        "a thousand changes of cipher at first",
        concat(Array.from({ length: 1000 }, () => Uint8Array.of(0x14, 3, 3, 0, 1, 1))),
        /./,
      ],
    ];
    for (const [name, bytes, reason] of cases) {
      await t.step(name, async () => {
        const before = refusals(scene).length;
        using conn = await Deno.connect(address);
        await writeAll(conn, bytes).catch(() => {});
        await untilClosed(conn);
        await until(() => refusals(scene).length > before, "the log says why");
        assertMatch(refusals(scene)[before] ?? "", reason);

        assertEquals(refusals(scene).length, before + 1);
        assertEquals(upstream.clients, 0);
      });
    }
    await visit(scene);
  },
);

Deno.test("the program names a client that speaks an old TLS", NEEDS, async () => {
  await using scene = await startScene();
  const old = ["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"];
  assert(!(await sClient(scene.address, old)).isServed);
  await until(() => refusals(scene).length > 0, "the log says why");
  assertEquals(refusals(scene), ["the client speaks neither TLS 1.2 nor TLS 1.3"]);
  assertEquals(scene.upstream.clients, 0);
});

Deno.test(
  "the program names a client that ends in the middle of its handshake:",
  NEEDS,
  async (t) => {
    await using scene = await startScene({ args: ["--handshake-timeout", "700ms"] });
    const { address, upstream, ca } = scene;
    const half = (await clientHello(ca)).subarray(0, 100);
    async function refusalOf(act: () => Promise<void>): Promise<string> {
      const before = refusals(scene).length;
      await act();
      await until(() => refusals(scene).length > before, "the log says why");
      return refusals(scene)[before] ?? "";
    }
    await t.step("by silence", async () => {
      const refusal = await refusalOf(async () => {
        using conn = await Deno.connect(address);
        await writeAll(conn, half);
        await untilClosed(conn);
      });
      assertEquals(refusal, "no TLS handshake within 700ms");
    });
    await t.step("by silence after the ClientHello", async () => {
      const refusal = await refusalOf(async () => {
        using conn = await Deno.connect(address);
        await writeAll(conn, await clientHello(ca));
        await untilClosed(conn);
      });
      assertEquals(refusal, "no TLS handshake within 700ms");
    });
    await t.step("by finishing", async () => {
      const refusal = await refusalOf(async () => {
        using conn = await Deno.connect(address);
        await writeAll(conn, half);
        await conn.closeWrite();
        await untilClosed(conn);
      });
      assertEquals(refusal, LEFT);
    });
    await t.step({
      name: "by a reset",
      ...needs(RESETS),
      fn: async () => {
        const hello = await clientHello(ca);
        assertEquals(await refusalOf(() => resetAtAnswer(address, hello)), LEFT);
      },
    });
    assertEquals(upstream.clients, 0);
    await visit(scene);
  },
);

/** Sends the data, and resets the connection when an answer comes. */
async function resetAtAnswer(
  { hostname, port }: Scene["address"],
  data: Uint8Array,
): Promise<void> {
  const socket = net.connect({ host: hostname, port });
  const closed = Promise.withResolvers<void>();
  socket.once("error", () => {});
  socket.once("close", () => closed.resolve());
  socket.once("data", () => socket.resetAndDestroy());
  socket.write(data);
  await within(closed.promise, "a client to reset its connection");
}

Deno.test("the program names a client that does not trust it", NEEDS, async () => {
  await using scene = await startScene();
  const { address } = scene;
  using other = await createCa({ name: "another CA" });
  const reason = "the client does not trust this ambassador's certificate: " +
    "an authority unknown to it signed it";
  for (const version of ["-tls1_2", "-tls1_3"]) {
    const before = refusals(scene).length;
    await sClient(address, [version, "-verify_return_error", "-CAfile", other.path]);
    await until(() => refusals(scene).length > before, "the log says why");
    assertEquals(refusals(scene)[before], reason);
  }
  using conn = await Deno.connectTls({ ...address, caCerts: [other.pem] });
  await assertRejects(() => conn.handshake(), Error, "UnknownIssuer");
  await until(() => refusals(scene).length > 2, "the log says why");
  assertEquals(refusals(scene)[2], reason);
  assertEquals(scene.upstream.clients, 0);
});

Deno.test("the program takes a handshake and data one byte at a time", NEEDS, async () => {
  await using scene = await startScene();
  await talkInPieces(scene, (data) => Array.from(data, (byte) => Uint8Array.of(byte)));
});

Deno.test("the program takes a handshake in records of one byte", NEEDS, async () => {
  await using scene = await startScene();
  let isFirst = true;
  await talkInPieces(scene, (data) => {
    if (!isFirst) return [data];
    isFirst = false;
    const [, major = 3, minor = 1] = data;
    return Array.from(data.subarray(5), (byte) => Uint8Array.of(0x16, major, minor, 0, 1, byte));
  });
});

/** Lets a client who does all right be served, whose bytes are sent in other pieces. */
async function talkInPieces(
  { ca, client, address, upstream }: Scene,
  split: (data: Uint8Array) => readonly Uint8Array[],
): Promise<void> {
  const { TlsStream } = await loadTls();
  const { cert, key } = client;
  using engines = await createEngines(ca, { clientIs: { cert, key } });
  using tcp = await Deno.connect(address);
  tcp.setNoDelay();
  const stream = new TlsStream(
    {
      localAddr: tcp.localAddr,
      remoteAddr: tcp.remoteAddr,
      read: (buffer) => tcp.read(buffer),
      closeWrite: () => tcp.closeWrite(),
      [Symbol.dispose]: () => tcp[Symbol.dispose](),
      async write(data): Promise<number> {
        for (const piece of split(data)) await writeAll(tcp, piece);
        return data.length;
      },
    },
    engines.client,
    "the upstream",
  );
  await within(stream.shakeHands(() => {}), "a handshake in pieces");
  await stream.write(bytesOf("ping"));
  await stream.closeWrite();
  const buffer = new Uint8Array(64);
  const count = await within(stream.read(buffer), "the answer") ?? 0;
  assertEquals(new TextDecoder().decode(buffer.subarray(0, count)), "ping");
  assertEquals(await within(stream.read(buffer), "the end"), null);
  assertEquals(upstream.clients, 1);
}

Deno.test(
  "the program serves data that comes together with the end of the handshake",
  NEEDS,
  async () => {
    await using scene = await startScene();
    const { ca, client: { cert, key }, address } = scene;
    using engines = await createEngines(ca, { clientIs: { cert, key } });
    const { client } = engines;
    using tcp = await Deno.connect(address);
    client.start();
    await writeAll(tcp, client.takeOutput());
    const buffer = new Uint8Array(16_384);
    while (!client.isEstablished) {
      const count = await within(tcp.read(buffer), "the server's part of the handshake");
      client.receive(buffer.subarray(0, count ?? 0));
    }
    client.write(bytesOf("ping"));
    client.end();
    await writeAll(tcp, client.takeOutput());
    let text = "";
    while (!client.isEnded) {
      const count = await within(tcp.read(buffer), "the answer");
      client.receive(buffer.subarray(0, count ?? 0));
      const plain = new Uint8Array(64);
      text += new TextDecoder().decode(plain.subarray(0, client.read(plain)));
    }
    assertEquals(text, "ping");
  },
);

Deno.test("the program takes no early data", NEEDS, async () => {
  await using scene = await startScene();
  const { ca, client, address, upstream } = scene;
  const session = `${ca.directory}/session`;
  const shown = ["-tls1_3", "-cert", client.certPath, "-key", client.keyPath];
  assert((await sClient(address, [...shown, "-sess_out", session])).isServed);
  await Deno.writeTextFile(`${ca.directory}/early`, "early");
  const early = ["-early_data", `${ca.directory}/early`];
  const { output } = await sClient(address, [...shown, "-sess_in", session, ...early]);
  assertMatch(output, /Early data was (?:not sent|rejected)/);
  assert(!output.includes("Early data was accepted"), output);
  assert(upstream.clients >= 1);
});

Deno.test("the program takes the largest records, and none that is larger", NEEDS, async () => {
  await using scene = await startScene();
  const { TlsStream } = await loadTls();
  const { ca, client: { cert, key }, address, program } = scene;
  using engines = await createEngines(ca, { clientIs: { cert, key } });
  using tcp = await Deno.connect(address);
  let largest = 0;
  const stream = new TlsStream(
    {
      localAddr: tcp.localAddr,
      remoteAddr: tcp.remoteAddr,
      read: (buffer) => tcp.read(buffer),
      closeWrite: () => tcp.closeWrite(),
      [Symbol.dispose]: () => tcp[Symbol.dispose](),
      async write(data): Promise<number> {
        for (let at = 0; at < data.length;) {
          const length = (data[at + 3] ?? 0) << 8 | (data[at + 4] ?? 0);
          largest = Math.max(largest, length);
          at += 5 + length;
        }
        await writeAll(tcp, data);
        return data.length;
      },
    },
    engines.client,
    "the upstream",
  );
  await within(stream.shakeHands(() => {}), "a handshake");
  const sent = crypto.getRandomValues(new Uint8Array(48 * 1024));
  let rest: Uint8Array = sent;
  while (rest.length > 0) rest = rest.subarray(await stream.write(rest));
  assertEquals(largest, 16_384 + 1 + 16);
  const received: Uint8Array[] = [];
  for (let count = 0; count < sent.length;) {
    const buffer = new Uint8Array(64 * 1024);
    const got = await within(stream.read(buffer), "what was sent") ?? 0;
    received.push(buffer.subarray(0, got));
    count += got;
  }
  assertEquals(concat(received), sent);
  await writeAll(tcp, concat([Uint8Array.of(0x17, 3, 3, 0x41, 0x01), new Uint8Array(0x4101)]));
  await untilClosed(tcp);
  await program.line(/connection_closed .*reason=client_reset/);
  await visit(scene);
});

Deno.test("the program does not shake hands again when it is asked to", NEEDS, async () => {
  await using scene = await startScene();
  const { address, client, program, upstream } = scene;
  await using peer = startTalk(address, [
    "-tls1_2",
    "-cert",
    client.certPath,
    "-key",
    client.keyPath,
  ]);
  await peer.send("is anybody there\n", (output) => output.includes("is anybody there"));
  await peer.send("R\n", (output) => output.includes("no renegotiation"));
  await program.line(/connection_closed .* reason=client_reset/);
  assertEquals(upstream.clients, 1);
  await visit(scene);
});

Deno.test(
  "the program follows a client that changes its keys hundreds of times",
  NEEDS,
  async () => {
    await using scene = await startScene();
    const { address, client } = scene;
    await using peer = startTalk(address, [
      "-tls1_3",
      "-cert",
      client.certPath,
      "-key",
      client.keyPath,
    ]);
    await peer.send("before\n", (output) => output.includes("before"));
    for (let times = 1; times <= 200; times++) {
      // With a K it asks the program to do the same.
      const command = times % 2 === 0 ? "K\n" : "k\n";
      await peer.send(command, (output) => output.split("KEYUPDATE").length > times);
      await peer.send(`<${times}>\n`, (output) => output.includes(`<${times}>`));
    }
  },
);

Deno.test("the program ends a client that does nothing but change its keys", NEEDS, async () => {
  await using scene = await startScene();
  const { address, client, program } = scene;
  const shown = ["-tls1_3", "-cert", client.certPath, "-key", client.keyPath];
  await using peer = startTalk(address, shown);
  await peer.send("before\n", (output) => output.includes("before"));
  const isOver = (): boolean => linesOf(program, "connection_closed").length > 0;
  for (let times = 1; times <= 100 && !isOver(); times++) {
    await peer.send("K\n", (output) => output.split("KEYUPDATE").length > times || isOver());
  }
  await program.line(/connection_closed .* reason=client_reset/);
  await visit(scene);
});

/** `openssl s_client` that is talked to. */
interface Talk extends AsyncDisposable {
  /** Types a line, and waits until all that was printed is as it is to be. */
  send(line: string, isDone: (output: string) => boolean): Promise<void>;
}

function startTalk(
  { hostname, port }: { readonly hostname: string; readonly port: number },
  args: readonly string[],
): Talk {
  const child = new Deno.Command(programPath("openssl"), {
    args: ["s_client", "-connect", `${hostname}:${port}`, ...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  let output = "";
  async function read(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of stream) output += decoder.decode(chunk, { stream: true });
  }
  const ended = Promise.all([read(child.stdout), read(child.stderr), child.status]);
  return {
    async send(line, isDone): Promise<void> {
      await writer.write(bytesOf(line)).catch(() => {});
      await until(() => isDone(output), `openssl has taken ${line}`);
    },
    async [Symbol.asyncDispose](): Promise<void> {
      await writer.close().catch(() => {});
      await within(ended, "openssl to end").catch((error) => {
        child.kill("SIGKILL");
        throw error;
      });
    },
  };
}

Deno.test(
  "the program takes clients that leave without a byte for no failures",
  NEEDS,
  async () => {
    const status = { hostname: "127.0.0.1", port: freePort() };
    const args = ["--status", `127.0.0.1:${status.port}`];
    await using scene = await startScene({ args });
    const { address, program, upstream } = scene;
    await repeat(1000, 50, async () => {
      using conn = await Deno.connect(address);
      await conn.closeWrite();
      await untilClosed(conn);
    });
    await until(() => linesOf(program, "connection_closed").length === 1000, "all have ended");
    assertEquals(linesOf(program, "tls_failed"), []);
    const metrics = await (await fetch(`http://127.0.0.1:${status.port}/metrics`)).text();
    assertMatch(metrics, /^ambassador_connections_closed_total\{.*reason="finished"\} 1000$/m);
    assertMatch(metrics, /^ambassador_connections_closed_total\{.*reason="tls_failed"\} 0$/m);
    assertEquals(upstream.clients, 0);
  },
);

for (const where of ["option", "setting"]) {
  Deno.test(
    `the program takes a place from the oldest handshake when it needs one (${where})`,
    NEEDS,
    async () => {
      const long = ["--handshake-timeout", "60s"];
      await using scene = await startScene(
        where === "option"
          ? { args: [...long, "--max-connections", "3"] }
          : { args: long, settings: "?max-connections=3" },
      );
      const { address, upstream } = scene;
      const silent: Deno.TcpConn[] = [];
      for (let index = 0; index < 3; index++) silent.push(await Deno.connect(address));
      const half = (await clientHello(scene.ca)).subarray(0, 100);
      await writeAll(silent[0] as Deno.TcpConn, half);
      const tookMs = await visit(scene);
      assert(tookMs < 10_000, `${tookMs} ms`);
      await until(() => refusals(scene).length > 0, "the log says why");
      assertEquals(refusals(scene), ["no TLS handshake yet, and another client needs the place"]);
      await untilClosed(silent[0] as Deno.TcpConn);
      for (const conn of silent) conn.close();
      assertEquals(upstream.clients, 1);
    },
  );
}

Deno.test("the program gives a PROXY header and a handshake one limit", NEEDS, async () => {
  const args = ["--accept-proxy", "127.0.0.0/8", "--handshake-timeout", "2s"];
  await using scene = await startScene({ args });
  const { address, program, ca, client, upstream } = scene;
  const header = "PROXY TCP4 192.0.2.7 198.51.100.9 1234 6379\r\n";
  const sinceMs = performance.now();
  using slow = await Deno.connect(address);
  await new Promise((resolve) => setTimeout(resolve, 1400));
  await writeAll(slow, header);
  await untilClosed(slow);
  const tookMs = performance.now() - sinceMs;
  assert(tookMs > 1800 && tookMs < 3200, `${tookMs} ms`);
  const line = await program.line(/tls_failed.*/);
  assertStringIncludes(line[0], "client=192.0.2.7:1234");
  assertStringIncludes(line[0], 'error="no TLS handshake within 2s"');
  assertEquals(upstream.clients, 0);

  // Header and ClientHello in one packet.
  const { TlsStream } = await loadTls();
  using engines = await createEngines(ca, { clientIs: client });
  using tcp = await Deno.connect(address);
  let isFirst = true;
  const stream = new TlsStream(
    {
      localAddr: tcp.localAddr,
      remoteAddr: tcp.remoteAddr,
      read: (buffer) => tcp.read(buffer),
      closeWrite: () => tcp.closeWrite(),
      [Symbol.dispose]: () => tcp[Symbol.dispose](),
      async write(data): Promise<number> {
        await writeAll(tcp, isFirst ? concat([bytesOf(header), data]) : data);
        isFirst = false;
        return data.length;
      },
    },
    engines.client,
    "the upstream",
  );
  await within(stream.shakeHands(() => {}), "a handshake after a header");
  await stream.closeWrite();
  assertEquals(await within(stream.read(new Uint8Array(8)), "the end"), null);
  const closed = await program.line(/connection_closed.*peer=.*/);
  assertStringIncludes(closed[0], "client=192.0.2.7:1234");
  assertStringIncludes(closed[0], "peer=client.example.com");
});

Deno.test("the program cuts nobody off when it stops during handshakes", NEEDS, async () => {
  const args = ["--handshake-timeout", "60s", "--drain-timeout", "60s"];
  await using scene = await startScene({ args });
  const { address, program, ca } = scene;
  using silent = await Deno.connect(address);
  using begun = await Deno.connect(address);
  await writeAll(begun, await clientHello(ca));
  await until(() => linesOf(program, "connection_opened").length === 2, "both are accepted");
  program.kill("SIGTERM");
  const { code } = await within(program.status, "the program to end");
  assertMatch(program.stderr, /stopped cut_off=0$/m);
  assertEquals(code, 0);
  await untilClosed(silent);
  await untilClosed(begun);
});
