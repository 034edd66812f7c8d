// Reaching the upstream: time limits, tries that are repeated, and clients that are held meanwhile.

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { Reach } from "../../src/forward/reach.ts";
import {
  discard,
  echo,
  freePort,
  readText,
  startForwarder,
  startUpstream,
  until,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { startUdpPeer } from "../helpers/datagrams.ts";
import { needs, RESETS } from "../helpers/needs.ts";
import { connectAndReset, startSilent } from "../helpers/process.ts";
import { activate, routeContext, routeTo } from "../helpers/routes.ts";

function reach(
  target: { hostname: string; port: number },
  { connectTimeoutMs = 5000, retryMs = 0 } = {},
): Reach {
  const context = routeContext();
  // No trial goes on behind the test.
  const settings = { connectTimeoutMs, retryMs, failTimeoutMs: 0 };
  const route = activate(routeTo(target, { settings }), context);
  return new Reach(() => route, { ...context, onShortage: () => false, leadsBack: () => false });
}

function refusing(): { hostname: string; port: number } {
  return { hostname: "127.0.0.1", port: freePort() };
}

/** Rejects, and says after how many milliseconds. */
async function failure(one: Reach): Promise<{ error: Error; tookMs: number }> {
  const startMs = performance.now();
  const error = await assertRejects(() => within(one.connect(), "the dial"), Error);
  return { error, tookMs: performance.now() - startMs };
}

Deno.test("Reach fails at once where the upstream refuses", async () => {
  const { error, tookMs } = await failure(reach(refusing()));
  assert(error instanceof Deno.errors.ConnectionRefused, String(error));
  assert(tookMs < 1000, `${tookMs} ms`);
});

Deno.test("Reach gives up after connectTimeoutMs on an upstream that never answers", async () => {
  await using silent = await startSilent();
  const { error, tookMs } = await failure(reach(silent.address, { connectTimeoutMs: 150 }));
  assertMatch(error.message, /no answer within 150ms/);
  assert(tookMs >= 149 && tookMs < 2000, `${tookMs} ms`);
});

Deno.test("Reach says that a name does not resolve", async () => {
  // Refused by every resolver without asking anybody: a label of 64 characters.
  const { error } = await failure(reach({ hostname: "x".repeat(64), port: 1 }));
  assertMatch(error.message, /lookup|resolve|name/i);
});

Deno.test("Reach retries until the upstream is there", async () => {
  const address = refusing();
  const connecting = reach(address, { retryMs: 20_000 }).connect();
  await new Promise((resolve) => setTimeout(resolve, 50));
  await using _upstream = startUpstream(discard, address);
  using conn = (await within(connecting, "the dial")).upstream;
  assertEquals(conn.remoteAddr.port, address.port);
});

Deno.test("Reach begins no try after retryMs", async () => {
  const { error, tookMs } = await failure(reach(refusing(), { retryMs: 200 }));
  assert(error instanceof Deno.errors.ConnectionRefused, String(error));
  assert(tookMs >= 199 && tookMs < 2000, `${tookMs} ms`);
});

Deno.test("Reach gives each try its own connectTimeoutMs", async () => {
  await using silent = await startSilent();
  const { tookMs } = await failure(reach(silent.address, { connectTimeoutMs: 100, retryMs: 350 }));
  assert(tookMs >= 350 && tookMs < 2000, `${tookMs} ms`);
});

Deno.test("Reach ends the last try with retryMs where tries have no limit", async () => {
  await using silent = await startSilent();
  const { error, tookMs } = await failure(
    reach(silent.address, { connectTimeoutMs: 0, retryMs: 200 }),
  );
  assertMatch(error.message, /no answer within 200ms/);
  assert(tookMs >= 199 && tookMs < 2000, `${tookMs} ms`);
  const refused = await failure(reach(refusing(), { connectTimeoutMs: 0, retryMs: 200 }));
  assert(refused.tookMs >= 199 && refused.tookMs < 2000, `${refused.tookMs} ms`);
});

Deno.test("Reach tells once why its first try failed, if another follows", async () => {
  for (const [retryMs, calls] of [[300, 1], [0, 0]] as const) {
    const told: unknown[] = [];
    const connecting = reach(refusing(), { retryMs }).connect({
      onFirstFailure: (error) => void told.push(error),
    });
    await assertRejects(() => within(connecting, "the dial"), Deno.errors.ConnectionRefused);
    assertEquals(told.length, calls);
    for (const error of told) assert(error instanceof Deno.errors.ConnectionRefused, String(error));
  }
});

Deno.test("Reach does not try again where the upstream was there and has reset", async () => {
  const { connect } = Deno;
  // Which of the two it is, and whether it fails at all, is a matter of microseconds.
  for (const code of ["ECONNRESET", "ENOTCONN"]) {
    let tries = 0;
    Deno.connect = (): Promise<never> => {
      tries++;
      return Promise.reject(Object.assign(new Error(code), { code }));
    };
    try {
      const { error } = await failure(reach(refusing(), { retryMs: 60_000 }));
      assertEquals([error.message, tries], [code, 1]);
    } finally {
      Deno.connect = connect;
    }
  }
});

Deno.test("Reach tries again at once where a descriptor is made free for it, and else waits for one", async () => {
  await using upstream = startUpstream(discard);
  const context = routeContext();
  const { tcp } = context.transports;
  let missing = 0;
  const connect: typeof tcp.connect = (...call) => {
    if (missing-- <= 0) return tcp.connect(...call);
    return Promise.reject(Object.assign(new Error("EMFILE"), { code: "EMFILE" }));
  };
  const transports = { ...context.transports, tcp: { ...tcp, connect } };
  const route = activate(routeTo(upstream.address), { ...context, transports });
  for (const hasRoom of [true, false]) {
    missing = 3;
    const told: unknown[] = [];
    const one = new Reach(() => route, {
      ...context,
      onShortage(error): boolean {
        told.push(error);
        return hasRoom;
      },
      leadsBack: () => false,
    });
    const reaching = one.connect();
    if (!hasRoom) {
      await until(() => told.length === 1, "it is told of the shortage");
      // Nothing comes free by itself.
      await new Promise((resolve) => setTimeout(resolve, 30));
      assertEquals(told.length, 1);
      missing = 0;
      context.admission.wake();
    }
    using conn = (await within(reaching, "the dial")).upstream;
    assertEquals(conn.remoteAddr.port, upstream.address.port);
    assertEquals(told.length, hasRoom ? 3 : 1);
  }
});

Deno.test("Reach tells of what strangers send to a socket of its own", async () => {
  await using target = startUdpPeer();
  await using stranger = startUdpPeer();
  const context = routeContext();
  const route = activate(routeTo({ ...target.address, protocol: "udp" }), context);
  const options = { ...context, onShortage: () => false, leadsBack: () => false };
  let strays = 0;
  const onStray = (): void => void strays++;
  const { upstream } = await new Reach(() => route, options).connect({ onStray });
  using stream = upstream;
  const { port } = stream.localAddr;
  const to = { hostname: "127.0.0.1", port };
  const reading = stream.read(new Uint8Array(10));
  await stranger.send("forged", to);
  await until(() => strays === 1, "it is told");
  await target.send("answer", to);
  assertEquals(await within(reading, "the answer"), 6);
});

Deno.test("Reach.cancel() ends a try and the wait for the next one", async () => {
  await using silent = await startSilent();
  for (const target of [silent.address, refusing()]) {
    const one = reach(target, { connectTimeoutMs: 0, retryMs: 60_000 });
    const failing = failure(one);
    await new Promise((resolve) => setTimeout(resolve, 30));
    one.cancel();
    const { tookMs } = await failing;
    assert(tookMs < 1000, `${tookMs} ms`);
  }
});

Deno.test("serve() says why an upstream can't be reached", async () => {
  await using silent = await startSilent();
  await using forwarder = await startForwarder(
    [refusing(), silent.address, { hostname: "x".repeat(64), port: 1 }],
    { connectTimeoutMs: 150 },
  );
  for (const { listen } of forwarder.routes) {
    using client = await Deno.connect(listen);
    assertEquals(await readText(client), "");
  }
  const reasons = forwarder.lines.flatMap((line) =>
    / connect_failed .* error=(.*)$/.exec(line)?.[1] ?? []
  );
  assertEquals(reasons.slice(0, 2), ['"connection refused"', '"no answer within 150ms"']);
  assertMatch(reasons[2] ?? "", /^"name does not resolve: /);
});

Deno.test("serve() holds a client and its bytes until the upstream is there", async () => {
  const address = refusing();
  await using forwarder = await startForwarder([address], { retryMs: 60_000 });
  using client = await Deno.connect(forwarder.address);
  await writeAll(client, "held ");
  await writeAll(client, "bytes");
  await client.closeWrite();
  await until(() => forwarder.lines.length > 2, "the client is accepted");
  await using _upstream = startUpstream(echo, address);
  assertEquals(await readText(client), "held bytes");
});

Deno.test("serve() says once why a client is held", async () => {
  const address = refusing();
  await using forwarder = await startForwarder([address], {
    retryMs: 60_000,
    status: { hostname: "127.0.0.1", port: 0 },
  });
  const startMs = performance.now();
  using client = await Deno.connect(forwarder.address);
  await writeAll(client, "held");
  await client.closeWrite();
  const said = (): string[] => forwarder.lines.filter((line) => line.includes("connect_retrying"));
  await until(() => said().length > 0, "the log says so");
  const ready = await (await fetch(`${forwarder.statusUrl}/readyz`)).json();
  assertEquals(ready.routes[0].last_connect_error?.error, "connection refused");
  await until(() => performance.now() - startMs > 100, "there were more tries");
  await using _upstream = startUpstream(echo, address);
  assertEquals(await readText(client), "held");
  assertEquals(said().length, 1);
  assertMatch(
    said()[0] ?? "",
    / WARN {2}connect_retrying route=ROUTE0 listen=\S+ target=\S+ client=\S+ error="connection refused"$/,
  );
});

Deno.test("serve() serves every client of an upstream that comes and goes", async () => {
  const address = refusing();
  await using forwarder = await startForwarder([address], { retryMs: 60_000 });
  for (let round = 0; round < 3; round++) {
    const clients = await Promise.all([1, 2, 3].map(() => Deno.connect(forwarder.address)));
    await Promise.all(clients.map((client) => writeAll(client, `round ${round}`)));
    await using _upstream = startUpstream(echo, address);
    for (const client of clients) {
      await client.closeWrite();
      assertEquals(await readText(client), `round ${round}`);
      client.close();
    }
  }
});

Deno.test({
  name: "serve() lets go of a held client that resets",
  ...needs(RESETS),
  async fn(): Promise<void> {
    await using forwarder = await startForwarder([refusing()], { retryMs: 60_000 });
    await connectAndReset(forwarder.address);
    await until(
      () => forwarder.lines.some((line) => /connection_closed .*reason=client_reset$/.test(line)),
      "the client is let go",
      5000,
    );
  },
});
