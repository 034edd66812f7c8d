import { assert, assertEquals, assertRejects } from "@std/assert";
import { startTls } from "../../src/net/starttls.ts";
import { TlsError } from "../../src/net/tls_error.ts";
import { createCa } from "../helpers/certificates.ts";
import {
  concat,
  pair,
  readAll,
  readExactly,
  readText,
  startUpstream,
  until,
  type Upstream,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { needs, TLS } from "../helpers/needs.ts";
import {
  createEngines,
  errorsOf,
  type Identity,
  loadTls,
  serveTls,
  type TlsForwarder,
} from "../helpers/tls.ts";

/** PostgreSQL documentation, "Message Formats". */
const SSL_REQUEST = Uint8Array.of(0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f);

Deno.test("startTls() asks nothing where nothing is to be asked", async () => {
  const [client, server] = await pair();
  using _client = client;
  using _server = server;
  await startTls(client, "off");
  await client.closeWrite();
  assertEquals(await readAll(server), new Uint8Array());
});

Deno.test("startTls() asks for TLS as PostgreSQL's clients do, and takes an S", async () => {
  const [client, server] = await pair();
  using _client = client;
  using _server = server;
  const asked = startTls(client, "postgres");
  const request = new Uint8Array(16);
  assertEquals(await within(server.read(request), "the request"), 8);
  assertEquals(request.subarray(0, 8), SSL_REQUEST);
  await writeAll(server, "S");
  await within(asked, "startTls() to take the S");
});

for (
  const [name, answer, reason] of [
    ["an N", "N", "the upstream offers no TLS (ssl = on in PostgreSQL)"],
    ["more than an S", "Smore", "the upstream sent more before TLS than its answer"],
    [
      "an S and a beginning of TLS",
      "S\x16\x03\x03",
      "the upstream sent more before TLS than its answer",
    ],
    ["an error", "E\0\0\0\x08oops", "the upstream does not answer as PostgreSQL does"],
    ["an s", "s", "the upstream does not answer as PostgreSQL does"],
    ["a NUL", "\0", "the upstream does not answer as PostgreSQL does"],
    ["HTTP", "HTTP/1.1 400\r\n\r\n", "the upstream does not answer as PostgreSQL does"],
    ["nothing", "", "the upstream closed the connection when asked for TLS"],
  ] as const
) {
  Deno.test(`startTls() refuses ${name}, and says nothing more`, async () => {
    const [client, server] = await pair();
    using _server = server;
    {
      using _client = client;
      const refused = assertRejects(() => startTls(client, "postgres"), TlsError, reason);
      await readExactly(server, SSL_REQUEST.length);
      await writeAll(server, answer);
      if (answer === "") await server.closeWrite();
      await within(refused, "startTls() to refuse");
    }
    assertEquals(await readAll(server), new Uint8Array());
  });
}

/** A plain listener before a server that is asked for TLS. */
function startNear(
  { address: { port } }: Upstream,
  identity: Identity,
  connectTimeoutMs = 10_000,
): Promise<TlsForwarder> {
  const target = { protocol: "tls", hostname: "127.0.0.1", port } as const;
  return serveTls(target, {
    listen: "tcp",
    identity,
    settings: { starttls: "postgres", tlsName: "localhost", connectTimeoutMs },
  });
}

/** Sends a secret through a forwarder; what comes back before its end. */
async function tell({ address }: TlsForwarder): Promise<string> {
  using client = await Deno.connect(address);
  try {
    await writeAll(client, "secret");
    await client.closeWrite();
    return await readText(client);
  } catch {
    return "";
  }
}

Deno.test("a target with --starttls gets its bytes by TLS", needs(TLS, "openssl"), async () => {
  using ca = await createCa();
  const { TlsStream } = await loadTls();
  await using upstream = startUpstream(async (conn) => {
    await readExactly(conn, SSL_REQUEST.length);
    await writeAll(conn, "S");
    using engines = await createEngines(ca);
    using stream = new TlsStream(conn, engines.server, "the client");
    await stream.shakeHands(() => {});
    const buffer = new Uint8Array(64);
    const count = await stream.read(buffer) ?? 0;
    await stream.write(buffer.subarray(0, count));
    await stream.closeWrite();
    await stream.read(buffer);
  });
  await using near = await startNear(upstream, { own: await ca.issue(), ca: ca.pem });
  assertEquals(await tell(near), "secret", near.lines.join("\n"));
  assertEquals(upstream.errors, []);
});

Deno.test(
  "a target with --starttls never gets a plain byte of a client:",
  needs(TLS, "openssl"),
  async (t) => {
    using ca = await createCa();
    const cases: readonly (readonly [string, readonly string[], RegExp])[] = [
      ["it says N", ["N"], /^the upstream offers no TLS/],
      ["it says more than S", ["Splain"], /^the upstream sent more before TLS/],
      ["it says more after S", ["S", "plain text of somebody else"], /^not TLS$/],
      ["it says something else", ["what?"], /^the upstream does not answer as PostgreSQL does$/],
      ["it says nothing", [], /timed out|TimeoutError|within|no answer/i],
    ];
    for (const [name, answers, reason] of cases) {
      await t.step(name, async () => {
        const got: Uint8Array[] = [];
        await using upstream = startUpstream(async (conn) => {
          await readExactly(conn, SSL_REQUEST.length);
          const [first, second] = answers;
          if (first !== undefined) await writeAll(conn, first);
          const hello = new Uint8Array(4096);
          if (second !== undefined) {
            // Between the answer and the handshake: what somebody on the way would do.
            got.push(hello.slice(0, await conn.read(hello) ?? 0));
            await writeAll(conn, second);
          }
          got.push(await readAll(conn));
        });
        await using near = await startNear(upstream, { ca: ca.pem }, 700);
        assertEquals(await tell(near), "");
        const events = ["tls_failed", "connect_failed"];
        const reasons = (): string[] => events.flatMap((event) => errorsOf(near.lines, event));
        await until(() => reasons().length > 0, "the log says why");
        assert(reason.test(reasons()[0] ?? ""), reasons()[0]);
        await until(() => got.length > (answers.length > 1 ? 1 : 0), "the upstream is left");
        const text = new TextDecoder("latin1").decode(concat(got));
        assert(!text.includes("secret"), text);
      });
    }
  },
);
