// Clients of the real program that have connected and have no upstream yet when the routes change: they
// are held, or owe their handshake. The routes of now decide what becomes of them.

import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  freePort,
  readExactly,
  readToAnyEnd,
  startUpstream,
  until,
  type Upstream,
  within,
} from "../helpers/mod.ts";
import { LINUX, needs, PROGRAM_TLS, TLS, UNIX } from "../helpers/needs.ts";
import { linesOf, startSilent } from "../helpers/process.ts";
import {
  connect,
  headerOf,
  lineOf,
  metricsOf,
  sleep,
  startNamed,
  startWired,
  whoAnswers,
  type Wired,
  works,
} from "../helpers/rewiring.ts";
import { ALLOWED, argsOf, connectTls, everybody } from "../helpers/tls_routes.ts";

/** A target that refuses everybody, so that the route holds its clients. */
function refusing(): { readonly port: number } {
  return { port: freePort() };
}

/** Connects, and waits until the program says that it holds the client. */
async function connectHeld(wired: Wired, port: number): Promise<Deno.TcpConn> {
  const known = linesOf(wired.program, "connect_retrying").length;
  const client = await connect(port);
  await until(
    () => linesOf(wired.program, "connect_retrying").length > known,
    "the client is held",
  );
  return client;
}

async function closedFor(wired: Wired, count: number): Promise<string[]> {
  const find = (): string[] => linesOf(wired.program, "connection_closed");
  await until(() => find().length >= count, `${count} ends are in the log`);
  return find().map((line) => / reason=(\S+)$/.exec(line)?.[1] ?? line);
}

Deno.test({
  name: "clients that are held by --retry follow a change of whatever kind, if they are let in",
  ...needs(UNIX),
}, async () => {
  await using a = startNamed("a");
  await using secret = startNamed("s");
  const [moves, narrows, closes] = [freePort(), freePort(), freePort()];
  const open = [moves, narrows, closes].map((port) =>
    lineOf(port, refusing(), { alias: `R${port}`, settings: "retry=60s" })
  );
  await using wired = await startWired(open.join(""), { args: ["--log-level", "debug"] });
  const clients: Deno.TcpConn[] = [];
  using held = new DisposableStack();
  for (const port of [moves, narrows, closes]) {
    clients.push(held.use(await connectHeld(wired, port)));
  }
  const line = await wired.taken([
    lineOf(moves, a.address, { alias: `R${moves}`, settings: "retry=60s" }),
    // Not the target alone: another order, other limits, a list that has the client.
    lineOf(narrows, a.address, {
      alias: `R${narrows}`,
      settings: "allow=127.0.0.0/8,idle-timeout=1h,max-connections=7,send-proxy=v1",
    }),
    lineOf(closes, secret.address, { alias: `R${closes}`, settings: "allow=192.0.2.0/24" }),
  ].join(""));
  assertMatch(line, / rewired file=\S+ routes=3 changed=/);
  const [moved, narrowed, closed] = clients;
  assert(moved && narrowed && closed);
  assertEquals(await readExactly(moved, 1), "a");
  // The upstream has been told of it first, and has sent that back.
  const expected = "a" + headerOf(narrowed, narrows);
  assertEquals(await readExactly(narrowed, expected.length), expected);
  assert(await works(moved) && await works(narrowed));
  await within(readToAnyEnd(closed), "the refusal");
  assertEquals(await closedFor(wired, 1), ["not_allowed"]);
  assertEquals(linesOf(wired.program, "not_allowed").length, 1);
  assertEquals(secret.clients, 0);
});

/** Where a client connects to the program at once, and says nothing until `go`. */
interface Gate extends AsyncDisposable {
  readonly address: { readonly hostname: string; readonly port: number };
  go(): void;
}

function startGate(port: number): Gate {
  const { promise, resolve } = Promise.withResolvers<void>();
  const upstream: Upstream = startUpstream(async (conn) => {
    using beyond = await connect(port);
    await promise;
    const copy = (from: Deno.TcpConn, to: Deno.TcpConn): Promise<void> =>
      from.readable.pipeTo(to.writable).catch(() => {});
    await Promise.all([copy(conn, beyond), copy(beyond, conn)]);
  });
  return {
    address: upstream.address,
    go: resolve,
    async [Symbol.asyncDispose](): Promise<void> {
      resolve();
      await upstream[Symbol.asyncDispose]();
    },
  };
}

Deno.test({
  name: "a TLS client that has connected is let in by the names of when it shakes hands",
  ...needs(UNIX, "openssl", TLS, PROGRAM_TLS),
}, async () => {
  await using secret = startNamed("s");
  const port = freePort();
  const allowing = (name: string): string =>
    lineOf(port, secret.address, { listen: "TLS", settings: `tls-allow=${name}` });
  const args = [...argsOf(await everybody()), "--log-level", "debug"];
  await using wired = await startWired(allowing(ALLOWED), { args });
  async function connectGated(times: number): Promise<Gate> {
    const gate = startGate(port);
    connecting.push(connectTls(gate.address));
    connecting.at(-1)?.catch(() => {});
    await until(
      () => linesOf(wired.program, "connection_opened").length === times,
      "the client is accepted",
    );
    return gate;
  }
  const connecting: ReturnType<typeof connectTls>[] = [];
  {
    await using gate = await connectGated(1);
    assertMatch(await wired.taken(allowing("other.example.com")), / rewired .* changed=/);
    gate.go();
    // Whether it hears of that while it shakes hands or after is a matter of its version of TLS.
    const client = await connecting[0]?.catch(() => undefined);
    if (client !== undefined) {
      using left = client;
      await readToAnyEnd(left);
    }
    assertEquals(await closedFor(wired, 1), ["not_allowed"]);
    assertEquals(linesOf(wired.program, "not_allowed").length, 1);
    assertEquals(secret.clients, 0);
  }
  await wired.taken(allowing(ALLOWED));
  {
    await using gate = await connectGated(2);
    const line = await wired.taken(allowing(`other.example.com,${ALLOWED}`));
    assertMatch(line, / rewired .* changed=/);
    gate.go();
    const client = await connecting[1];
    assert(client !== undefined);
    using served = client;
    assertEquals(await readExactly(served, 1), "s");
  }
  assertEquals(secret.clients, 1);
});

Deno.test({
  name: "--rewire-timeout ends clients that a route holds or dials for when it is gone, not before",
  ...needs(LINUX),
}, async () => {
  await using a = startNamed("a");
  await using silent = await startSilent();
  const [holds, hangs, back, stays] = [freePort(), freePort(), freePort(), freePort()];
  const settings = "retry=60s,connect-timeout=60s";
  const stay = lineOf(stays, a.address, { alias: "STAYS" });
  await using wired = await startWired(
    [
      lineOf(holds, refusing(), { alias: "HOLDS", settings }),
      lineOf(hangs, silent.address, { alias: "HANGS", settings }),
      lineOf(back, refusing(), { alias: "BACK", settings }),
      stay,
    ].join(""),
    { args: ["--rewire-timeout", "2s", "--log-level", "debug"] },
  );
  using held = await connectHeld(wired, holds);
  using comesBack = await connectHeld(wired, back);
  using dials = await connect(hangs);
  await until(
    () => linesOf(wired.program, "connection_opened").length === 3,
    "the third is accepted",
  );
  const startMs = performance.now();
  assertMatch(await wired.taken(stay), / routes=1 removed=\S+,\S+,\S+$/);
  // A route that comes back in time takes its client along.
  await wired.taken(stay + lineOf(back, a.address, { alias: "BACK", settings }));
  assertEquals(await readExactly(comesBack, 1), "a");
  await within(Promise.all([held, dials].map(readToAnyEnd)), "the end of those that were held");
  const tookMs = performance.now() - startMs;
  assert(tookMs > 1900, `${tookMs} ms`);
  assertEquals(await closedFor(wired, 2), ["rewire_timeout", "rewire_timeout"]);
  await sleep(500);
  assert(await works(comesBack));
  const metrics = await metricsOf(wired);
  assert(!/HOLDS|HANGS/.test(metrics), metrics);
  assertEquals(await whoAnswers(stays), "a");
});
