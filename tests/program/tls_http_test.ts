// curl and the real program's TLS: HTTP/2 through a pair, and https straight to a TLS listener before a
// server that speaks plain HTTP.

import { assert, assertEquals } from "@std/assert";
import { createCa } from "../helpers/certificates.ts";
import { freePort, hash } from "../helpers/mod.ts";
import { needs, PROGRAM_TLS } from "../helpers/needs.ts";
import { run } from "../helpers/run.ts";
import { identify, startHttp2 } from "../helpers/tls_peers.ts";
import { listenByTls, startPair } from "../helpers/tls_program.ts";

const NAME = "far.example.com";
const NAMES = { dns: [NAME], ips: ["127.0.0.1"] };
const QUIET = ["-sS", "-m", "20"];

function randomBytes(count: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(count);
  for (let at = 0; at < count; at += 65536) {
    crypto.getRandomValues(bytes.subarray(at, at + 65536));
  }
  return bytes;
}

Deno.test({
  name: "curl gets twenty files at once by HTTP/2 through a pair",
  ...needs(PROGRAM_TLS, "openssl", "curl", "nghttpd"),
}, async () => {
  using ca = await createCa();
  const bytes = randomBytes(500_000);
  await Deno.writeFile(`${ca.directory}/file`, bytes);
  await using server = await startHttp2(ca.directory);
  await using pair = await startPair(server.port, { who: await identify(ca, NAMES) });
  const url = `http://127.0.0.1:${pair.port}/file?[1-20]`;
  // A connection for each: curl 7.88 can't use one again that began with HTTP/2.
  const parallel = ["--parallel", "--parallel-immediate"];
  const how = ["--http2-prior-knowledge", ...parallel, "-w", "%{http_version}\n"];
  const output = ["-o", `${ca.directory}/got-#1`];
  const { code, text } = await run("curl", [...QUIET, ...how, ...output, url]);
  assertEquals([code, text], [0, "2\n".repeat(20)]);
  const expected = await hash(bytes);
  for (let i = 1; i <= 20; i++) {
    assertEquals(await hash(await Deno.readFile(`${ca.directory}/got-${i}`)), expected);
  }
});

/** A server that speaks plain HTTP and gives back what it is sent. */
function startHttp(): AsyncDisposable & { readonly port: number; readonly requests: number } {
  let requests = 0;
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    requests++;
    return new Response(request.body ?? "hello");
  });
  return {
    port: server.addr.port,
    get requests(): number {
      return requests;
    },
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

Deno.test({
  name: "curl with a client certificate gets and posts by https at a TLS listener",
  ...needs(PROGRAM_TLS, "openssl", "curl"),
}, async () => {
  using ca = await createCa();
  await using server = startHttp();
  await using ambassador = await listenByTls(server.port, { who: await identify(ca, NAMES) });
  const client = await ca.issue({ usage: "client" });
  const tls = ["--cert", client.certPath, "--key", client.keyPath, "--cacert", ca.path];
  const url = `https://${NAME}:${ambassador.port}/`;
  const args = [...QUIET, ...tls, "--resolve", `${NAME}:${ambassador.port}:127.0.0.1`, url];
  // Over one connection.
  const { code, text, stderr } = await run("curl", [...args, url]);
  assertEquals([code, text, stderr], [0, "hellohello", ""]);
  const bytes = randomBytes(5_000_000);
  const posted = await run("curl", [...args, "--data-binary", "@-"], { stdin: bytes });
  assertEquals([posted.code, posted.stderr], [0, ""]);
  assertEquals(await hash(posted.stdout), await hash(bytes));
  for (const version of ["1.2", "1.3"]) {
    const only = [`--tlsv${version}`, "--tls-max", version];
    assertEquals((await run("curl", [...args, ...only])).text, "hello");
  }
});

Deno.test({
  name: "curl without a certificate, by http, or for another name gets nothing at a TLS listener",
  ...needs(PROGRAM_TLS, "openssl", "curl"),
}, async () => {
  using ca = await createCa();
  await using server = startHttp();
  await using ambassador = await listenByTls(server.port, { who: await identify(ca, NAMES) });
  const { program, port } = ambassador;
  const trusting = [...QUIET, "--cacert", ca.path];
  const bare = await run("curl", [...trusting, `https://127.0.0.1:${port}/`]);
  assert(bare.code !== 0);
  await program.line(/ WARN {2}tls_failed .*the client sent no certificate/);
  const plain = await run("curl", [...QUIET, `http://127.0.0.1:${port}/`]);
  assert(plain.code !== 0);
  await program.line(/ tls_failed .*not TLS/);
  const client = await ca.issue({ usage: "client" });
  const identity = ["--cert", client.certPath, "--key", client.keyPath];
  const other = await run("curl", [...trusting, ...identity, `https://localhost:${port}/`]);
  // Its own refusal: the name.
  assertEquals(other.code, 60);
  assertEquals(server.requests, 0);
});

Deno.test({
  name: "curl without a certificate is served where --tls-client is none",
  ...needs(PROGRAM_TLS, "openssl", "curl"),
}, async () => {
  using ca = await createCa();
  await using server = startHttp();
  await using ambassador = await listenByTls(server.port, {
    who: await identify(ca, NAMES),
    // Without a target of TLS the CA would have no effect.
    env: { AMBASSADOR_TLS_CLIENT: "none", [`X_PORT_${freePort()}_TCP`]: "tls://127.0.0.1:1" },
  });
  const url = `https://127.0.0.1:${ambassador.port}/`;
  const { code, text, stderr } = await run("curl", [...QUIET, "--cacert", ca.path, url]);
  assertEquals([code, text, stderr], [0, "hello", ""]);
});
