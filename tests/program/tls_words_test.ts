// What people read when TLS does not come about: in the logs of both sides, on the status pages, in
// /readyz, and from `ambassador wait`. One line each, which names the thing and the way out.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { createCa, type Issued, type RootCa } from "../helpers/certificates.ts";
import {
  freePort,
  type Program,
  readAll,
  runProgram,
  startEcho,
  startProgram,
  startUpstream,
  type Upstream,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { needs, PROGRAM_TLS, programPath } from "../helpers/needs.ts";
import { linesOf } from "../helpers/process.ts";

const NEEDS = needs("openssl", PROGRAM_TLS);

/** How one side of TLS is set. */
type Variables = Readonly<Record<string, string>>;

/** The variables of an ambassador with this certificate, which trusts that CA. */
function variables({ own, ca }: { readonly own?: Issued; readonly ca?: RootCa }): Variables {
  return {
    ...(own ? { AMBASSADOR_TLS_CERT: own.certPath, AMBASSADOR_TLS_KEY: own.keyPath } : {}),
    ...(ca ? { AMBASSADOR_TLS_CA: ca.path } : {}),
  };
}

/** What is read of one side. */
interface Read {
  /** Event, error and hint of each line that is not only information, as `event: error; hint`. */
  readonly lines: readonly string[];
  /** The last error of the status page. */
  readonly page: string;
  /** The errors of /readyz: of connecting, and of handshakes where clients make them. */
  readonly readiness: readonly (string | undefined)[];
}

/** An ambassador, and its status page. */
interface Side {
  readonly program: Program;
  readonly port: number;
  readonly status: string;
}

async function startSide(
  env: Variables,
  { protocol, target }: { readonly protocol: "TLS" | "TCP"; readonly target: string },
): Promise<Side> {
  const [port, status] = [freePort(), `127.0.0.1:${freePort()}`];
  const program = startProgram(["--status", status, "--connect-timeout", "1s"], {
    env: { ...env, [`REDIS_PORT_${port}_${protocol}`]: target, AMBASSADOR_BIND: "127.0.0.1" },
  });
  await program.line(/ ready /);
  return { program, port, status };
}

async function readSide({ program, status }: Side): Promise<Read> {
  const html = await (await fetch(`http://${status}/`)).text();
  const cell =
    /<td class="error" data-label="Last error"><span><span class="\w+">([^<]*)</.exec(html)?.[1] ??
      "";
  const { routes: [route] } = await (await fetch(`http://${status}/readyz`)).json();
  const events = ["tls_failed", "connect_failed", "connect_retrying"];
  const lines = events.flatMap((event) =>
    linesOf(program, event).map((line) => `${event}: ${fieldsOf(line).join("; ")}`)
  );
  return {
    lines,
    page: cell.replaceAll("&#39;", "'").replaceAll("&quot;", '"'),
    readiness: [route.last_connect_error?.error, route.last_handshake_error?.error],
  };
}

/** Error and hint of a line. */
function fieldsOf(line: string): string[] {
  return ["error", "hint"].flatMap((name) => {
    const [, quoted, bare] = new RegExp(` ${name}=(?:"((?:[^"\\\\]|\\\\.)*)"|(\\S+))`).exec(line) ??
      [];
    return quoted?.replaceAll('\\"', '"') ?? bare ?? [];
  });
}

/** What is said when a client goes through near to far, and then `wait` asks far. */
async function listenTo(
  near: Variables,
  far: Variables | number,
  host = "localhost",
): Promise<{ near: Read; far: Read | undefined; wait: string }> {
  await using upstream = startEcho();
  const target = `tcp://127.0.0.1:${upstream.address.port}`;
  const farSide = typeof far === "number"
    ? undefined
    : await startSide(far, { protocol: "TLS", target });
  const port = typeof far === "number" ? far : farSide?.port;
  const to = `tls://${host}:${port}`;
  await using stack = new AsyncDisposableStack();
  if (farSide) stack.use(farSide.program);
  const nearSide = await startSide(near, { protocol: "TCP", target: to });
  stack.use(nearSide.program);
  using client = await Deno.connect({ hostname: "127.0.0.1", port: nearSide.port });
  await writeAll(client, "PING\r\n");
  // It gets nothing, and its end comes as one or as a reset.
  assertEquals((await readAll(client).catch(() => new Uint8Array())).length, 0);
  await nearSide.program.line(/ (?:tls|connect)_failed /);
  await farSide?.program.line(/ tls_failed /);
  const read = [await readSide(nearSide), farSide && await readSide(farSide)] as const;
  // It is waited for by a bare target, with the same variables; the limit is that of a try as well.
  const { code, stdout, stderr } = await runProgram(["wait", "--timeout", "1500ms", to], {
    env: { ...near, AMBASSADOR_CONNECT_TIMEOUT: "1s" },
  });
  assertEquals([code, stdout], [1, ""], stderr);
  const [line = "", ...more] = stderr.split("\n").filter((one) => !one.includes("has expired, on"));
  assertEquals(more, [""]);
  const prefix = `ambassador: no connection within 1500ms: ${to} (`;
  assert(line.startsWith(prefix) && line.endsWith(")"), line);
  assertEquals(upstream.clients, 0);
  return { near: read[0], far: read[1], wait: line.slice(prefix.length, -1) };
}

/** What each side is to say, as `error; hint`. */
interface Words {
  readonly near: string;
  readonly far?: string;
  /** The event of the near side; `tls_failed` unless given. */
  readonly event?: string;
}

/** Compares all that is said. */
async function assertSaid(
  heard: ReturnType<typeof listenTo>,
  { near, far, event = "tls_failed" }: Words,
): Promise<void> {
  const said = await heard;
  assertEquals(said.near.lines, [`${event}: ${near}`]);
  assertEquals(said.near.page, near);
  assertEquals(said.near.readiness, [near, undefined]);
  assertEquals(
    said.wait.replace("within 1s ", "within … "),
    near.replace("within 1s ", "within … "),
  );
  if (far === undefined) return;
  // An ambassador that learns more by asking once more leaves another line.
  assertEquals(said.far?.lines[0], `tls_failed: ${far}`);
  assertEquals(said.far?.readiness[0], undefined);
  assertStringIncludes(said.far?.readiness[1] ?? "", "the client");
  assertStringIncludes(said.far?.page ?? "", "the client");
}

const NOT_ACCEPTED =
  "the upstream closed the connection after the handshake: it may not accept this ambassador; " +
  "the upstream's own log says why";
const LEFT =
  "the client closed the connection during the handshake: it may not accept this ambassador; " +
  "the client's own log says why";
const PAST = { notBefore: new Date(0), notAfter: new Date(1e12) };
const HOST = { dns: ["localhost"] };

Deno.test({
  name: "a client whose certificate is refused is named on both sides, with the way out",
  ...NEEDS,
}, async () => {
  using ca = await createCa();
  using other = await createCa({ name: "other CA" });
  const far = variables({ ca, own: await ca.issue(HOST) });
  const cases: readonly (readonly [own: Issued, far: Variables, words: string])[] = [
    [
      await other.issue({ dns: ["consumer"] }),
      far,
      "signed by an unknown authority; name the CA of the client's certificate in " +
      "--tls-client-ca or --tls-ca; or the client does not send an intermediate",
    ],
    [
      await ca.issue({ dns: ["consumer"], ...PAST }),
      far,
      "the certificate has expired; the client needs a new certificate, or the clock here is wrong",
    ],
    [
      await ca.issue({ dns: ["consumer"], usage: "server" }),
      far,
      "the certificate is not for clients; " +
      "give the client one with clientAuth in its extendedKeyUsage",
    ],
    [
      await ca.issue({ dns: ["consumer"] }),
      { ...far, AMBASSADOR_TLS_ALLOW: "app.example.com" },
      '--tls-allow does not have the client: "consumer"',
    ],
  ];
  for (const [own, farVariables, words] of cases) {
    const said = listenTo(variables({ ca, own }), farVariables);
    await assertSaid(said, { near: NOT_ACCEPTED, far: words });
  }
});

Deno.test({
  name:
    "an ambassador without a certificate is told that it needs one, also by strangers and by wait",
  ...NEEDS,
}, async () => {
  using ca = await createCa();
  const own = await ca.issue(HOST);
  const near = "the upstream needs a certificate, and this ambassador has none (--tls-cert)";
  await assertSaid(listenTo(variables({ ca }), variables({ ca, own })), {
    near,
    far: "the client sent no certificate; " +
      "give it one that --tls-client-ca or --tls-ca vouches for",
  });
  const port = freePort();
  const server = new Deno.Command(programPath("openssl"), {
    args: [
      ...["s_server", "-accept", `127.0.0.1:${port}`, "-cert", own.certPath, "-key", own.keyPath],
      ...["-CAfile", ca.path, "-Verify", "1", "-verify_return_error", "-quiet", "-tls1_3"],
    ],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  try {
    const wait = await runProgram(["wait", `tcp://127.0.0.1:${port}`]);
    assertEquals(wait.code, 0);
    await assertSaid(listenTo(variables({ ca }), port), { near });
  } finally {
    server.kill("SIGKILL");
    await server.status;
  }
});

Deno.test({
  name: "an upstream whose certificate is refused is named on both sides, with the way out",
  ...NEEDS,
}, async () => {
  using ca = await createCa();
  using other = await createCa({ name: "other CA" });
  const near = variables({ ca, own: await ca.issue({ dns: ["consumer"] }) });
  const strange =
    "signed by an unknown authority; name the CA of the upstream's certificate in --tls-ca " +
    "(without it only public ones count); or the upstream does not send an intermediate";
  const unknown = "the client does not trust this ambassador's certificate: " +
    "an authority unknown to it signed it; the client has to trust the CA of --tls-cert";
  const cases: readonly (readonly [far: Issued, near: Variables, Words])[] = [
    [await other.issue(HOST), near, { near: strange, far: unknown }],
    [await ca.issue(HOST), {}, { near: strange, far: unknown }],
    [await ca.issue({ ...HOST, ...PAST }), near, {
      near:
        "the certificate has expired; the upstream needs a new certificate, or the clock here is wrong",
      far: "the client says that this ambassador's certificate has expired, or is not valid yet",
    }],
    [await ca.issue({ dns: ["big-server"] }), near, {
      near: 'not for the name "localhost": the certificate has "big-server"; ' +
        "--tls-name says which name it must have",
      far: LEFT,
    }],
    [await ca.issue({ ...HOST, usage: "client" }), near, {
      near: "the certificate is not for servers; " +
        "give the upstream one with serverAuth in its extendedKeyUsage",
    }],
  ];
  // One after the other: many at once take each other's free ports.
  for (const [own, nearVariables, words] of cases) {
    await assertSaid(listenTo(nearVariables, variables({ ca, own })), words);
  }
});

/** A server that reads what comes, and does as it is told. */
function startPlain(act: (conn: Deno.TcpConn) => Promise<void>): Upstream {
  return startUpstream(async (conn) => {
    await conn.read(new Uint8Array(2048));
    await act(conn);
  });
}

Deno.test({
  name: "an upstream that does not speak TLS is said to be one",
  ...NEEDS,
}, async () => {
  using ca = await createCa();
  const near = variables({ ca });
  const hint = "write tcp:// for an upstream without TLS";
  // One like Redis takes what comes for the beginning of a command, and waits for the rest.
  await using waiting = startPlain(async (conn) => void await conn.read(new Uint8Array(1)));
  await assertSaid(listenTo(near, waiting.address.port, "127.0.0.1"), {
    near: "no answer within 1s to the TLS handshake: it may not speak TLS",
  });
  await using answering = startPlain((conn) => writeAll(conn, "-ERR unknown command\r\n"));
  await assertSaid(listenTo(near, answering.address.port), { near: `not TLS; ${hint}` });
  await using web = startPlain((conn) => writeAll(conn, "HTTP/1.1 400 Bad Request\r\n\r\n"));
  await assertSaid(listenTo(near, web.address.port), {
    near: `not TLS: it speaks HTTP without TLS; ${hint}`,
  });
  await using closing = startPlain(() => Promise.resolve());
  await assertSaid(listenTo(near, closing.address.port), {
    near: "the upstream closed the connection: it may not speak TLS; " +
      "write tcp:// for an upstream without TLS; some want --starttls",
  });
  await assertSaid(listenTo(near, freePort(), "127.0.0.1"), {
    near: "connection refused",
    event: "connect_failed",
  });
});

Deno.test({
  name: "a client that does not speak TLS is said to be one",
  ...NEEDS,
}, async () => {
  using ca = await createCa();
  await using upstream = startEcho();
  const target = `tcp://127.0.0.1:${upstream.address.port}`;
  const env = variables({ ca, own: await ca.issue(HOST) });
  const side = await startSide(env, { protocol: "TLS", target });
  await using _program = side.program;
  using client = await Deno.connect({ hostname: "127.0.0.1", port: side.port });
  await writeAll(client, "*1\r\n$4\r\nPING\r\n");
  await readAll(client).catch(() => {});
  await side.program.line(/ tls_failed /);
  const words =
    "not TLS; a client has to connect by TLS, or to an ambassador of its own that does (tls://)";
  assertEquals(await readSide(side), {
    lines: [`tls_failed: ${words}`],
    page: words,
    readiness: [undefined, words],
  });
  assertEquals(upstream.clients, 0);
});

Deno.test({
  name: "ambassador wait shakes hands with certificates that stand in variables, and ends with 0",
  ...NEEDS,
}, async () => {
  using ca = await createCa();
  await using upstream = startEcho();
  const target = `tcp://127.0.0.1:${upstream.address.port}`;
  const own = await ca.issue(HOST);
  const side = await startSide(variables({ ca, own }), { protocol: "TLS", target });
  await using _program = side.program;
  const pem = {
    AMBASSADOR_TLS_CA: ca.pem,
    AMBASSADOR_TLS_CERT: own.cert,
    AMBASSADOR_TLS_KEY: own.key,
  };
  const to = `tls://localhost:${side.port}`;
  const { code, stderr } = await within(runProgram(["wait", to], { env: pem }), "the upstream");
  assertEquals(code, 0, stderr);
  assertStringIncludes(stderr, `ambassador: ${to} accepts connections\n`);
  assert(!stderr.includes("-----BEGIN"), stderr);
});
