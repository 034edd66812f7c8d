// The real program's TLS beside OpenSSL's: its test client, its test server, and socat, which ends one
// direction of a TLS connection and goes on with the other.

import { assertEquals, assertMatch } from "@std/assert";
import { createCa } from "../helpers/certificates.ts";
import {
  freePort,
  hash,
  readText,
  startEcho,
  startProgram,
  startUpstream,
  until,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { needs, PROGRAM_TLS, programPath } from "../helpers/needs.ts";
import { run } from "../helpers/run.ts";
import {
  ended,
  identify,
  type Identity,
  QUIET,
  said,
  startClient,
  startServer,
} from "../helpers/tls_peers.ts";
import { dialByTls, listenByTls } from "../helpers/tls_program.ts";

const VERSIONS = [["TLS 1.2", "-tls1_2", "TLSv1.2"], ["TLS 1.3", "-tls1_3", "TLSv1.3"]] as const;
const NAME = "far.example.com";
const NAMES = { dns: [NAME], ips: ["127.0.0.1"] };

async function connectTo(port: number): Promise<Deno.TcpConn> {
  return await within(Deno.connect({ hostname: "127.0.0.1", port }), "a connect");
}

function randomBytes(count: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(count);
  for (let at = 0; at < count; at += 65536) {
    crypto.getRandomValues(bytes.subarray(at, at + 65536));
  }
  return bytes;
}

for (const [version, flag, protocol] of VERSIONS) {
  Deno.test({
    name: `a TLS listener echoes a megabyte to s_client by ${version}`,
    ...needs(PROGRAM_TLS, "openssl"),
  }, async () => {
    using ca = await createCa();
    const who = await identify(ca, NAMES);
    await using upstream = startEcho();
    await using ambassador = await listenByTls(upstream.address.port, { who });
    const args = [...QUIET, "-nocommands", flag];
    await using client = startClient(ambassador.port, { who, name: NAME, args });
    const bytes = randomBytes(1_000_000);
    await client.write(bytes);
    await until(() => client.count >= bytes.length, "all is back");
    await client.end();
    const { code, stdout } = await ended(client);
    assertEquals(code, 0);
    assertEquals(await hash(stdout), await hash(bytes));
    const [closed] = await ambassador.program.line(/.* connection_closed .*/);
    assertMatch(closed, / bytes_up=1000000 bytes_down=1000000 .* reason=finished/);
  });

  Deno.test({
    name: `a TLS listener passes on what s_client by ${version} ends with, and its end`,
    ...needs(PROGRAM_TLS, "openssl"),
  }, async () => {
    using ca = await createCa();
    const who = await identify(ca, NAMES);
    const received: string[] = [];
    await using upstream = startUpstream(async (conn) => void received.push(await readText(conn)));
    await using ambassador = await listenByTls(upstream.address.port, { who });
    await using client = startClient(ambassador.port, { who, args: [...QUIET, flag] });
    await client.write("the last words");
    await client.end();
    assertEquals((await ended(client)).code, 0);
    await until(() => received.length === 1, "the upstream has had its client");
    assertEquals(received, ["the last words"]);
    await ambassador.program.line(/ connection_closed .* reason=finished/);
  });

  Deno.test({
    name: `a TLS listener ends s_client's connection by ${version} in order with the upstream's`,
    ...needs(PROGRAM_TLS, "openssl"),
  }, async () => {
    using ca = await createCa();
    const who = await identify(ca, NAMES);
    await using upstream = startUpstream((conn) => writeAll(conn, "a greeting, and goodbye\n"));
    await using ambassador = await listenByTls(upstream.address.port, { who });
    await using client = startClient(ambassador.port, { who, args: [...QUIET, flag] });
    const { code, text, stderr } = await ended(client);
    assertEquals([code, text], [0, "a greeting, and goodbye\n"]);
    // What it says of a stream that was cut.
    assertEquals(/unexpected eof/i.test(stderr), false, stderr);
  });

  Deno.test({
    name: `a TLS listener takes a session of s_client by ${version} up again, with its certificate`,
    ...needs(PROGRAM_TLS, "openssl"),
  }, async () => {
    using ca = await createCa();
    const who = await identify(ca, NAMES);
    await using upstream = startEcho();
    await using ambassador = await listenByTls(upstream.address.port, { who });
    const session = `${ca.directory}/session`;
    for (const [way, word] of [["-sess_out", "New"], ["-sess_in", "Reused"]] as const) {
      const args = [flag, way, session];
      await using client = startClient(ambassador.port, { who, name: NAME, args });
      await said(client, new RegExp(`^${word}, ${protocol}, `, "m"));
      // By TLS 1.3 the tickets come after the handshake, and before this.
      await client.write(`hello by ${word}\n`);
      await said(client, new RegExp(`hello by ${word}`));
      await client.end();
      assertEquals((await ended(client)).code, 0);
    }
    const known = /connection_closed .* peer=far\.example\.com /g;
    const count = (): number => ambassador.program.stderr.match(known)?.length ?? 0;
    await until(() => count() === 2, "both are closed, and were known by name");
  });

  Deno.test({
    name: `a TLS listener turns s_client by ${version} away that has no certificate`,
    ...needs(PROGRAM_TLS, "openssl"),
  }, async () => {
    using ca = await createCa();
    const who = await identify(ca, NAMES);
    await using upstream = startEcho();
    await using ambassador = await listenByTls(upstream.address.port, { who });
    await using client = startClient(ambassador.port, { args: [...QUIET, flag] });
    await client.write("let me in");
    const { code, text } = await ended(client);
    assertEquals([code, text], [1, ""]);
    await ambassador.program.line(/ WARN {2}tls_failed .*the client sent no certificate/);
    assertEquals(upstream.clients, 0);
  });

  Deno.test({
    name: `a TLS target of s_server by ${version} gives lines back`,
    ...needs(PROGRAM_TLS, "openssl"),
  }, async () => {
    using ca = await createCa();
    const who = await identify(ca, NAMES);
    await using server = await startServer(who, ["-rev", flag]);
    await using ambassador = await dialByTls(server.port, { who });
    for (const [line, reversed] of [["hello\n", "olleh\n"], ["again\n", "niaga\n"]] as const) {
      using client = await connectTo(ambassador.port);
      await writeAll(client, line);
      const buffer = new Uint8Array(100);
      const count = await within(client.read(buffer), "an answer");
      assertEquals(new TextDecoder().decode(buffer.subarray(0, count ?? 0)), reversed);
    }
    await ambassador.program.line(/ connection_closed .* reason=finished/);
  });

  Deno.test({
    name: `a late reply reaches socat that has ended its side by ${version}`,
    ...needs(PROGRAM_TLS, "openssl", "socat"),
  }, async () => {
    using ca = await createCa();
    const who = await identify(ca, NAMES);
    await using upstream = startUpstream(replyLate);
    await using ambassador = await listenByTls(upstream.address.port, { who });
    const address = `OPENSSL:127.0.0.1:${ambassador.port},${socatOptions(who)}`;
    const range = `openssl-min-proto-version=${protocol.slice(0, 3)}${protocol.slice(4)}`;
    const most = range.replace("min", "max");
    const args = ["-t20", "-", `${address},commonname=${NAME},${range},${most}`];
    const { code, text, stderr } = await run("socat", args, { stdin: "question" });
    assertEquals([code, text, stderr], [0, "late: question", ""]);
  });
}

/** Answers once its client has finished, and a while after that. */
async function replyLate(conn: Deno.TcpConn): Promise<void> {
  const text = await readText(conn);
  await new Promise((resolve) => setTimeout(resolve, 200));
  await writeAll(conn, `late: ${text}`);
  await conn.closeWrite();
}

function socatOptions({ certPath, keyPath, caPath }: Identity): string {
  return `cert=${certPath},key=${keyPath},cafile=${caPath},verify=1`;
}

Deno.test({
  name: "a late reply of socat's TLS server reaches a client that has finished",
  ...needs(PROGRAM_TLS, "openssl", "socat"),
}, async () => {
  using ca = await createCa();
  const who = await identify(ca, NAMES);
  await using upstream = startUpstream(replyLate);
  const port = freePort();
  const listen = `OPENSSL-LISTEN:${port},bind=127.0.0.1,reuseaddr,fork,${socatOptions(who)}`;
  const command = [programPath("socat")];
  const args = ["-d", "-d", "-t20", listen, `TCP:127.0.0.1:${upstream.address.port}`];
  await using socat = startProgram(args, { command });
  await socat.line(/ listening on /);
  await using ambassador = await dialByTls(port, { who });
  using client = await connectTo(ambassador.port);
  await writeAll(client, "question");
  await client.closeWrite();
  assertEquals(await readText(client), "late: question");
});

Deno.test({
  name: "a TLS listener goes on with new keys where s_client asks for them",
  ...needs(PROGRAM_TLS, "openssl"),
}, async () => {
  using ca = await createCa();
  const who = await identify(ca, NAMES);
  await using upstream = startEcho();
  await using ambassador = await listenByTls(upstream.address.port, { who });
  await using client = startClient(ambassador.port, { who, args: ["-tls1_3"] });
  for (let round = 1; round <= 5; round++) {
    await client.write(`before ${round}\n`);
    await said(client, new RegExp(`before ${round}`));
    // A command of s_client's: new keys for both directions. It throws away what it reads with it.
    await client.write("K\n");
    const updates = (): number => client.stderr.match(/KEYUPDATE/g)?.length ?? 0;
    await until(() => updates() === round, "the keys are new");
    await client.write(`after ${round}\n`);
    await said(client, new RegExp(`after ${round}`));
  }
  await client.end();
  assertEquals((await ended(client)).code, 0);
  await ambassador.program.line(/ connection_closed .* reason=finished/);
});

Deno.test({
  name: "a TLS listener does not shake hands again, and serves others when s_client asks for it",
  ...needs(PROGRAM_TLS, "openssl"),
}, async () => {
  using ca = await createCa();
  const who = await identify(ca, NAMES);
  await using upstream = startEcho();
  await using ambassador = await listenByTls(upstream.address.port, { who });
  await using client = startClient(ambassador.port, { who, args: ["-tls1_2"] });
  await client.write("before\n");
  await said(client, /^before$/m);
  await client.write("R\n");
  const { code, stderr } = await ended(client);
  assertEquals(code, 1);
  assertMatch(stderr, /RENEGOTIATING/);
  await ambassador.program.line(/ connection_closed /);
  await using other = startClient(ambassador.port, { who, args: [...QUIET, "-tls1_2"] });
  await other.write("still here\n");
  await said(other, /^still here$/m);
});

Deno.test({
  name: "a TLS listener does not speak TLS 1.1",
  ...needs(PROGRAM_TLS, "openssl"),
}, async () => {
  using ca = await createCa();
  const who = await identify(ca, NAMES);
  await using upstream = startEcho();
  await using ambassador = await listenByTls(upstream.address.port, { who });
  // OpenSSL itself has to be talked into it.
  const args = ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"];
  await using client = startClient(ambassador.port, { who, args });
  const { code, stderr } = await ended(client);
  assertEquals(code, 1);
  assertMatch(stderr, /alert (?:protocol version|handshake failure)/);
  await ambassador.program.line(/ tls_failed /);
  assertEquals(upstream.clients, 0);
});

Deno.test({
  name: "a TLS target that speaks nothing newer than TLS 1.1 gets no byte",
  ...needs(PROGRAM_TLS, "openssl"),
}, async () => {
  using ca = await createCa();
  const who = await identify(ca, NAMES);
  await using server = await startServer(who, ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]);
  await using ambassador = await dialByTls(server.port, { who });
  assertEquals(await refusedWith(ambassador.port), "");
  await ambassador.program.line(/ WARN {2}tls_failed /);
  assertEquals(server.text.includes("a secret"), false, server.text);
});

/** Sends a secret to a port where nobody may get it, and reads what comes back. */
async function refusedWith(port: number): Promise<string> {
  using client = await connectTo(port);
  try {
    await writeAll(client, "a secret\n");
    return await readText(client);
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionReset) return "";
    if (error instanceof Deno.errors.BrokenPipe) return "";
    throw error;
  }
}

/** Servers that must not get what a client sends, and the words for it. */
const REFUSED = [
  {
    what: "a server that is somebody else",
    names: { dns: ["other.example.com"], ips: ["192.0.2.1"] },
    settings: `tls-name=${NAME}`,
    words: `not for the name ."${NAME}`,
  },
  {
    what: "a server whose certificate is for a name, where an address is dialled",
    names: { dns: [NAME, "127.0.0.1"] },
    words: 'not for the name ."127.0.0.1',
  },
  {
    what: "a server whose certificate has expired",
    names: { ...NAMES, notBefore: daysAgo(20), notAfter: daysAgo(10) },
    words: "the certificate has expired",
  },
  {
    what: "a server whose certificate is not valid yet",
    names: { ...NAMES, notBefore: daysAgo(-10), notAfter: daysAgo(-20) },
    words: "the certificate is not valid yet",
  },
  {
    what: "a server with a client's certificate",
    names: { ...NAMES, usage: "client" },
    words: "the certificate is not for servers",
  },
] as const;

function daysAgo(days: number): Date {
  return new Date(Date.now() - days * 86_400_000);
}

for (const { what, names, words, ...more } of REFUSED) {
  Deno.test({
    name: `a TLS target gets no byte: ${what}`,
    ...needs(PROGRAM_TLS, "openssl"),
  }, async () => {
    using ca = await createCa();
    const who = await identify(ca, NAMES);
    await using server = await startServer(await identify(ca, names), []);
    const settings = "settings" in more ? more.settings : "";
    await using ambassador = await dialByTls(server.port, { who, settings });
    assertEquals(await refusedWith(ambassador.port), "");
    await ambassador.program.line(new RegExp(` WARN {2}tls_failed .*${words}`));
    assertEquals(server.text.includes("a secret"), false, server.text);
  });
}

Deno.test({
  name: "a TLS target gets no byte: a server of another authority",
  ...needs(PROGRAM_TLS, "openssl"),
}, async () => {
  using ca = await createCa();
  using otherCa = await createCa({ name: "other CA" });
  const who = await identify(ca, NAMES);
  // It trusts whoever comes, so that the refusal is the ambassador's.
  const other = { ...await identify(otherCa, NAMES), caPath: ca.path };
  await using server = await startServer(other, []);
  await using ambassador = await dialByTls(server.port, { who });
  assertEquals(await refusedWith(ambassador.port), "");
  await ambassador.program.line(/ WARN {2}tls_failed .*signed by an unknown authority/);
  assertEquals(server.text.includes("a secret"), false, server.text);
});

Deno.test({
  name: "a TLS target that does not trust the ambassador's certificate: the log says so",
  ...needs(PROGRAM_TLS, "openssl"),
}, async () => {
  using ca = await createCa();
  using otherCa = await createCa({ name: "other CA" });
  const server = { ...await identify(ca, NAMES), caPath: otherCa.path };
  await using strict = await startServer(server, ["-rev", "-tls1_2"]);
  await using ambassador = await dialByTls(strict.port, { who: await identify(ca, NAMES) });
  assertEquals(await refusedWith(ambassador.port), "");
  await ambassador.program.line(/ WARN {2}tls_failed .*(?:certificate|authority)/);
});
