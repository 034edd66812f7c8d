// Several targets of a route where TLS decides which of them are there: a handshake that fails, or is
// never answered, or a refusal that comes after it. The real program, and upstreams whose TLS is the
// test's.

import { assert, assertEquals } from "@std/assert";
import type { Stream, Transport } from "../../src/net/stream.ts";
import { createCa } from "../helpers/certificates.ts";
import {
  discard,
  echo,
  freePort,
  type Program,
  readExactly,
  readToAnyEnd,
  startProgram,
  startUpstream,
  until,
  type Upstream,
  writeAll,
} from "../helpers/mod.ts";
import { needs, PROGRAM_TLS } from "../helpers/needs.ts";
import { linesOf } from "../helpers/process.ts";

import { acceptTls, argsOf, everybody, transportsOf } from "../helpers/tls_routes.ts";

const NEEDS = needs(PROGRAM_TLS, "openssl");

/** The program with one plain route to several TLS targets. */
async function startBefore(
  targets: readonly Upstream[],
  settings: string,
): Promise<{ program: Program; address: { hostname: string; port: number } }> {
  const address = { hostname: "127.0.0.1", port: freePort() };
  const hosts = targets.map(({ address: { hostname, port } }) => `${hostname}:${port}`);
  const route = `127.0.0.1:${address.port}=tls://${hosts.join(",")}?${settings}`;
  const program = startProgram([...argsOf(await everybody()), "--log-level", "debug", route]);
  await program.line(/ ready /);
  return { program, address };
}

/** An upstream whose TLS may change, and which tells its name to each client that it serves. */
function startNamed(name: string, tls?: () => Transport): Upstream {
  return startUpstream(async (conn) => {
    using stream = await acceptTls(conn, tls?.());
    await writeAll(stream, name);
    await echo(stream);
  });
}

/** Whom a client gets. */
async function ask(address: { hostname: string; port: number }, name: string): Promise<string> {
  using client = await Deno.connect(address);
  return await readExactly(client, name.length);
}

for (
  const [what, handle, error] of [
    ["speaks HTTP", (conn) => writeAll(conn, "HTTP/1.1 400 Bad Request\r\n\r\n"), /HTTP/],
    ["hangs up", () => Promise.resolve(), /closed the connection: it may not speak TLS/],
    ["never answers the handshake", discard, /it may not speak TLS/],
    ["has a certificate of another CA", acceptAsStranger, /unknown authority/],
  ] as readonly (readonly [string, (conn: Stream) => Promise<void>, RegExp])[]
) {
  Deno.test(`a target that ${what} is down, and the client gets the next`, NEEDS, async () => {
    // Before anybody waits for it: a target has a fifth of the time.
    await (stranger ??= makeStranger());
    await using bad = startUpstream(handle);
    await using good = startNamed("good");
    const settings = "connect-timeout=1s,fail-timeout=100ms";
    const { program, address } = await startBefore([bad, good], settings);
    await using _program = program;
    assertEquals(await ask(address, "good"), "good");
    const [line] = await program.line(/.* target_down .*/);
    assert(line.includes(`target=tls://127.0.0.1:${bad.address.port}`), line);
    assert(error.test(line), line);
    // The next pays nothing for it, and the trials find no other.
    const clients = bad.clients;
    assertEquals(await ask(address, "good"), "good");
    await until(() => bad.clients >= clients + 3, "the target is tried again");
    assertEquals(linesOf(program, "target_up"), []);
    assertEquals(linesOf(program, "target_down").length, 1);
  });
}

let stranger: Promise<Transport> | undefined;

/** One whom nobody here trusts. */
async function makeStranger(): Promise<Transport> {
  using other = await createCa({ name: "another CA" });
  const own = await other.issue({ ips: ["127.0.0.1"] });
  return (await transportsOf({ own, ca: other.pem })).tls;
}

async function acceptAsStranger(conn: Stream): Promise<void> {
  using stream = await acceptTls(conn, await stranger);
  await discard(stream);
}

Deno.test(
  "a target that refuses this ambassador after the handshake is down until it does not",
  NEEDS,
  async () => {
    const { own, transports } = await everybody();
    using other = await createCa({ name: "another CA" });
    const picky = await transportsOf({ own, ca: other.pem });
    let tls = picky.tls;
    await using first = startNamed("first", () => tls);
    await using second = startNamed("second");
    const { program, address } = await startBefore([first, second], "fail-timeout=100ms");
    await using _program = program;
    // In TLS 1.3 this one is connected before it is refused.
    {
      using client = await Deno.connect(address);
      await readToAnyEnd(client);
    }
    await program.line(/ WARN +target_down .*may not accept this ambassador/);
    await program.line(/ connection_closed .*reason=tls_failed/);
    const tried = first.clients;
    assertEquals(await ask(address, "second"), "second");
    await until(() => first.clients >= tried + 3, "it is tried again");
    assertEquals(linesOf(program, "target_up"), []);
    tls = transports.tls;
    await program.line(/ INFO +target_up /);
    assertEquals(await ask(address, "first"), "first");
  },
);
