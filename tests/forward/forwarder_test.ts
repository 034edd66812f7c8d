// Accepting, the limit on connections, loops, the stop, and what the log says of each end.

import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Address } from "../../src/base/address.ts";
import type { Stream } from "../../src/net/stream.ts";
import {
  discard,
  echo,
  type Forwarder,
  freePort,
  hash,
  isRefused,
  Random,
  readAll,
  readExactly,
  readText,
  readToAnyEnd,
  startEcho,
  startForwarder,
  startProgram,
  until,
  type Upstream,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { LINUX, needs, RESETS } from "../helpers/needs.ts";
import {
  descriptorsOf,
  linesOf,
  startRoute,
  startSilent,
  untilDescriptors,
} from "../helpers/process.ts";
import { testEveryWay, WAYS } from "../helpers/tls_routes.ts";

/** For what takes seconds each. */
const SLOW_WAYS = WAYS.filter(({ listen, target }) => listen === target);

/** Waits for the end of one connection: `bytes_up/bytes_down reason`. */
async function nextClosed(forwarder: Forwarder, nth = 1): Promise<string> {
  const pattern =
    / connection_closed .* bytes_up=(\d+) bytes_down=(\d+) duration_ms=\d+ reason=(.*)$/;
  const closed = (): RegExpExecArray[] =>
    forwarder.lines.map((line) => pattern.exec(line)).filter((match) => match !== null);
  await until(() => closed().length >= nth, `connection_closed in\n${forwarder.lines.join("\n")}`);
  const [, up, down, reason] = closed()[nth - 1] ?? [];
  return `${up}/${down} ${reason}`;
}

testEveryWay("serve() logs the bytes of a connection that finished", async (way) => {
  await using upstream = way.startUpstream(async (conn) => {
    await readExactly(conn, 5);
    await writeAll(conn, "goodbye");
  });
  await using forwarder = await way.startForwarder([upstream.address]);
  using client = await way.connect(forwarder.address);
  await writeAll(client, "hello");
  await client.closeWrite();
  assertEquals(await readText(client), "goodbye");
  assertEquals(await nextClosed(forwarder), "5/7 finished");
});

testEveryWay("serve() logs client_reset when the client resets", async (way) => {
  await using upstream = way.startUpstream(async (conn) => {
    await readExactly(conn, 5);
    await writeAll(conn, "goodbye");
    await discard(conn);
  });
  await using forwarder = await way.startForwarder([upstream.address]);
  await way.breakOff(forwarder.address, "hello");
  assertEquals(await nextClosed(forwarder), "5/7 client_reset");
}, { abilities: [RESETS] });

testEveryWay(
  "serve() logs client_reset when the client leaves in the middle of an answer",
  async (way) => {
    await using upstream = way.startUpstream(async (conn) => {
      for (;;) await conn.write(new Uint8Array(1000));
    });
    await using forwarder = await way.startForwarder([upstream.address]);
    {
      using client = await way.connect(forwarder.address);
      await writeAll(client, "hello");
      await readExactly(client, 1);
    }
    assertMatch(await nextClosed(forwarder), /^5\/\d{4,} client_reset$/);
  },
);

testEveryWay("serve() logs upstream_reset when the upstream accepts and resets", async (way) => {
  await using upstream = way.startUpstream(async (conn) => {
    // What it leaves unread makes its system reset the connection.
    await readExactly(conn, 1);
    conn[Symbol.dispose]();
  });
  await using forwarder = await way.startForwarder([upstream.address]);
  using client = await way.connect(forwarder.address);
  await writeAll(client, "hello");
  await readToAnyEnd(client);
  assertEquals(await nextClosed(forwarder), "5/0 upstream_reset");
}, { ways: SLOW_WAYS });

Deno.test({
  name: "serve() logs upstream_reset also when the reset comes before the connect is heard of",
  ...needs(RESETS),
  async fn(): Promise<void> {
    // In a thread of its own it is quick enough for that, now and then.
    const url = `data:application/javascript,${encodeURIComponent(RESETTER)}`;
    const resetter = new Worker(url, { type: "module" });
    const port = await within(
      new Promise<number>((resolve) => resetter.onmessage = ({ data }) => resolve(data)),
      "the upstream to listen",
    );
    await using forwarder = await startForwarder([{ hostname: "127.0.0.1", port }]);
    for (let i = 1; i <= 300; i++) {
      using client = await Deno.connect(forwarder.address);
      assertEquals(await readText(client), "");
      assertEquals(await nextClosed(forwarder, i), "0/0 upstream_reset");
    }
    assertEquals(forwarder.lines.filter((line) => line.includes(" WARN ")), []);
    resetter.terminate();
  },
});

/** Resets each connection as soon as it is there. */
const RESETTER = `
import net from "node:net";
const server = net.createServer((socket) => void socket.resetAndDestroy());
server.listen(0, "127.0.0.1", () => postMessage(server.address().port));
`;

Deno.test("serve() logs upstream_reset when a connect says that it was reset", async () => {
  await using forwarder = await startForwarder([{ hostname: "127.0.0.1", port: 9 }]);
  const { connect } = Deno;
  let ends = 0;
  for (const code of ["ECONNRESET", "ENOTCONN"]) {
    const reset = (): Promise<never> => Promise.reject(Object.assign(new Error(code), { code }));
    Deno.connect = reset as typeof connect;
    try {
      using client = await connect(forwarder.address);
      assertEquals(await readText(client), "");
      assertEquals(await nextClosed(forwarder, ++ends), "0/0 upstream_reset");
    } finally {
      Deno.connect = connect;
    }
  }
  assertEquals(forwarder.lines.filter((line) => line.includes(" WARN ")), []);
});

testEveryWay(
  "serve() logs connect_failed once for a client whose upstream refuses",
  async (way) => {
    await using forwarder = await way.startForwarder([{ hostname: "127.0.0.1", port: freePort() }]);
    using client = await way.connect(forwarder.address);
    await readToAnyEnd(client);
    assertEquals(await nextClosed(forwarder), "0/0 connect_failed");
    const warnings = forwarder.lines.filter((line) => line.includes(" WARN "));
    assertEquals(warnings.length, 1);
    assertMatch(
      warnings[0] ?? "",
      /connect_failed route=ROUTE0 .* target=(?:tls:\/\/)?127\.0\.0\.1:\d+ .* error="connection refused"$/,
    );
  },
);

testEveryWay("serve() ends a half-closed connection whose client resets", async (way) => {
  const clients: Stream[] = [];
  await using upstream = way.startUpstream(async (conn) => {
    clients.push(conn);
    // Too much for one read: what is left makes its system reset the connection.
    await writeAll(conn, new Uint8Array(100_000));
    // Never finishes by itself: it waits for the end of a connection that it reads no more.
    await until(() => forwarder.lines.some((line) => line.includes("connection_closed")), "end");
  });
  await using forwarder = await way.startForwarder([upstream.address]);
  const client = await way.connect(forwarder.address);
  await client.closeWrite();
  await until(() => clients.length === 1, "the upstream has a client");
  await readExactly(client, 1);
  client[Symbol.dispose]();
  assertEquals(await nextClosed(forwarder), "0/100000 client_reset");
}, { ways: SLOW_WAYS });

testEveryWay("serve() leaves clients beyond maxConnections in the listen queue", async (way) => {
  await using upstream = way.startUpstream(echo);
  await using forwarder = await way.startForwarder([upstream.address], { maxConnections: 2 });
  const first = await way.connect(forwarder.address);
  using second = await way.connect(forwarder.address);
  for (const client of [first, second]) {
    await writeAll(client, "x");
    await readExactly(client, 1);
  }
  // With TLS the handshake is a part of what it waits for.
  const third = way.connect(forwarder.address);
  async function ask(): Promise<string> {
    using client = await third;
    await writeAll(client, "third");
    return await readExactly(client, 5);
  }
  const answer = ask();
  await writeAll(second, "y");
  await readExactly(second, 1);
  assertEquals(upstream.clients, 2);
  const opened = (): number =>
    forwarder.lines.filter((l) => l.includes("connection_opened")).length;
  assertEquals(opened(), 2);
  first[Symbol.dispose]();
  assertEquals(await answer, "third");
  assertEquals(opened(), 3);
});

testEveryWay("serve() counts maxConnections over all routes", async (way) => {
  await using upstream = way.startUpstream(echo);
  await using forwarder = await way.startForwarder([upstream.address, upstream.address], {
    maxConnections: 1,
  });
  const [, second] = forwarder.routes;
  assert(second !== undefined);
  const client = await way.connect(forwarder.address);
  await writeAll(client, "x");
  await readExactly(client, 1);
  async function ask(address: Address): Promise<string> {
    using other = await way.connect(address);
    await writeAll(other, "other");
    return await readExactly(other, 5);
  }
  const answer = ask(second.listen);
  await writeAll(client, "y");
  await readExactly(client, 1);
  assertEquals(upstream.clients, 1);
  client[Symbol.dispose]();
  assertEquals(await answer, "other");
});

/** Three routes of which one has the only place taken, and a client waits at each of the others. */
async function startFull(
  upstream: Upstream,
  clients: DisposableStack,
): Promise<{ forwarder: Forwarder; first: Deno.TcpConn; waiting: Deno.TcpConn[] }> {
  const forwarder = await startForwarder(Array(3).fill(upstream.address), {
    maxConnections: 1,
    drainTimeoutMs: 20_000,
  });
  const first = clients.use(await Deno.connect(forwarder.address));
  await writeAll(first, "x");
  await readExactly(first, 1);
  const waiting: Deno.TcpConn[] = [];
  for (const { listen } of forwarder.routes.slice(1)) {
    const client = clients.use(await Deno.connect(listen));
    await writeAll(client, "wait");
    waiting.push(client);
  }
  // Long enough for an accept that was under way to have taken them.
  await writeAll(first, "x");
  await readExactly(first, 1);
  return { forwarder, first, waiting };
}

Deno.test("serve() gives a place that comes free to one of those who wait at several routes", async () => {
  await using upstream = startEcho();
  using clients = new DisposableStack();
  const { forwarder, first, waiting } = await startFull(upstream, clients);
  await using _forwarder = forwarder;
  first.close();
  const answers = waiting.map(async (client) => {
    assertEquals(await readExactly(client, 4), "wait");
    return client;
  });
  const served = await within(Promise.any(answers), "one to be served");
  await writeAll(served, "again");
  assertEquals(await readExactly(served, 5), "again");
  assertEquals(upstream.clients, 2);
  served.close();
  for (const client of await Promise.all(answers)) client[Symbol.dispose]();
  assertEquals(upstream.clients, 3);
});

Deno.test("serve() does not serve those who still wait for a place when it stops", async () => {
  await using upstream = startEcho();
  using clients = new DisposableStack();
  const { forwarder, first, waiting } = await startFull(upstream, clients);
  const stopped = forwarder.stop();
  for (const client of waiting) await within(readToAnyEnd(client), "the end");
  assertEquals(upstream.clients, 1);
  first.close();
  assertEquals(await stopped, { cutOff: 0 });
  assertEquals(upstream.clients, 1);
});

Deno.test("serve() serves on while a neighbour's upstream refuses and another never answers", async () => {
  await using upstream = startEcho();
  await using silent = await startSilent();
  const dead = { hostname: "127.0.0.1", port: freePort() };
  await using forwarder = await startForwarder([upstream.address, dead, silent.address]);
  using client = await Deno.connect(forwarder.address);
  const held: Deno.TcpConn[] = [];
  for (let i = 0; i < 20; i++) {
    for (const route of forwarder.routes.slice(1)) held.push(await Deno.connect(route.listen));
    await writeAll(client, "ping");
    assertEquals(await readExactly(client, 4), "ping");
  }
  held.forEach((conn) => conn.close());
});

async function startLoop(targetHost: string, bind: string): ReturnType<typeof startRoute> {
  const [a, b] = [freePort(), freePort()];
  const program = startProgram([
    "--bind",
    bind,
    "--log-level",
    "debug",
    `${a}=${targetHost}:${b}`,
    `${b}=${targetHost}:${a}`,
  ]);
  await program.line(/ready/);
  return { program, address: { hostname: "127.0.0.1", port: a } };
}

const ownAddress = LINUX.isHere
  ? Deno.networkInterfaces().find(({ family, address }) =>
    family === "IPv4" && !address.startsWith("127.")
  )?.address
  : undefined;

for (
  const [name, targetHost, bind] of [
    ["an address", "127.0.0.1", "127.0.0.1"],
    ["a name", "localhost", "::"],
    ["another spelling of the address", "127.1.2.3", "::"],
    ["the machine's own address", ownAddress, "::"],
  ] as const
) {
  Deno.test({
    name: `serve() cuts a loop through ${name} within a few descriptors`,
    ...needs(LINUX, { name: "an address of its own", isHere: targetHost !== undefined }),
    async fn(): Promise<void> {
      const { program, address } = await startLoop(targetHost ?? "", bind);
      await using _program = program;
      const before = descriptorsOf(program.pid);
      let most = before;
      for (let i = 0; i < 20; i++) {
        using client = await Deno.connect(address);
        await writeAll(client, "round and round").catch(() => {});
        await within(readToAnyEnd(client), "the loop to be cut", 5000);
        most = Math.max(most, descriptorsOf(program.pid));
      }
      assert(most - before < 40, `${most - before} descriptors`);
      await untilDescriptors(program.pid, before + 8);
      // The log comes a moment after what the clients see, and is whole at the end.
      program.kill("SIGTERM");
      await within(program.status, "the end");
      const ends = linesOf(program, "connection_closed");
      const accepted = linesOf(program, "connection_opened").length;
      // Each of the 20 clients is accepted once itself, and the first comes back a time or two.
      assert(accepted >= 20 && accepted <= 60, `${accepted} connections of 20 clients`);
      assertEquals(ends.length, accepted);
      assert(linesOf(program, "loop_detected").length >= 20, program.stderr);
      assertMatch(program.stderr, /loop_detected .*point the route at the last target"\n/);
      assert(ends.every((line) => !line.includes("reason=finished")), program.stderr);
    },
  });
}

Deno.test({
  name: "serve() lets no client wait for dials that can't be its origin",
  ...needs(LINUX),
  async fn(): Promise<void> {
    await using upstream = startEcho();
    const [held, port] = [freePort(), freePort()];
    // For all that is known before they are reached, clients held at one route may come to the other.
    await using program = startProgram([
      ...["--retry", "60s", "--drain-timeout", "100ms"],
      `127.0.0.1:${held}=localhost:${port}`,
      `127.0.0.5:${port}=127.0.0.1:${upstream.address.port}`,
    ]);
    await program.line(/ready/);
    using clients = new DisposableStack();
    for (let i = 0; i < 20; i++) {
      clients.use(await Deno.connect({ hostname: "127.0.0.1", port: held }));
    }
    let leastMs = Infinity;
    for (let i = 0; i < 10; i++) {
      const startMs = performance.now();
      using client = await Deno.connect({ hostname: "127.0.0.5", port });
      await writeAll(client, "x");
      await readExactly(client, 1);
      leastMs = Math.min(leastMs, performance.now() - startMs);
    }
    assert(leastMs < 90, `each waited ${leastMs} ms`);
  },
});

Deno.test({
  name: "serve() survives a loop through another program, and is as before once that stops",
  ...needs(LINUX),
  async fn(): Promise<void> {
    // Neither can know the other's connections: descriptors, or --max-connections, stop it.
    const port = freePort();
    const args = ["--connect-timeout", "500ms"];
    const first = await startRoute({ hostname: "127.0.0.1", port }, { args, maxDescriptors: 80 });
    await using _first = first.program;
    const { program: second } = await startRoute(first.address, { args, maxDescriptors: 80, port });
    await using _second = second;
    const { pid } = first.program;
    const before = descriptorsOf(pid);
    using _client = await Deno.connect(first.address);
    await until(
      () => [first.program, second].some((one) => linesOf(one, "accept_failed").length > 0),
      "descriptors run out",
    );
    second.kill("SIGKILL");
    await untilDescriptors(pid, before + 8);
    const complaints = linesOf(first.program, "accept_failed").length;
    assert(complaints <= 2, first.program.stderr);
  },
});

testEveryWay(
  "serve() lets transfers finish after a stop signal, and refuses new clients",
  async (way) => {
    const random = new Random();
    const data = random.bytes(200_000);
    const chunk = 20_000;
    const go = Promise.withResolvers<void>();
    await using upstream = way.startUpstream(async (conn) => {
      await writeAll(conn, data.subarray(0, chunk));
      await go.promise;
      for (let at = chunk; at < data.length; at += chunk) {
        await writeAll(conn, data.subarray(at, at + chunk));
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    });
    const { program, address } = await way.startRoute(upstream.address);
    await using _program = program;
    const clients = await Promise.all(Array.from({ length: 5 }, () => way.connect(address)));
    await until(() => upstream.clients === 5, "five transfers are under way");
    const transfers = clients.map(async (client) => {
      using _client = client;
      return await hash(await readAll(client));
    });
    program.kill("SIGTERM");
    await program.line(/draining connections=5/);
    // The log says so before the listener is closed.
    await until(() => isRefused(address), "new clients are refused");
    go.resolve();
    const expected = await hash(data);
    assertEquals(await Promise.all(transfers), Array(5).fill(expected));
    const { code } = await within(program.status, "the program to end");
    assertEquals(code, 0);
    assertMatch(program.stderr, / INFO {2}stopped cut_off=0\n$/);
  },
  { isProgram: true },
);

testEveryWay("serve() cuts off what goes on past the deadline, and says how many", async (way) => {
  await using upstream = way.startUpstream(echo);
  const { program, address } = await way.startRoute(upstream.address, {
    args: ["--drain-timeout", "300ms", "--log-level", "debug"],
  });
  await using _program = program;
  const clients = await Promise.all([way.connect(address), way.connect(address)]);
  for (const client of clients) {
    await writeAll(client, "x");
    await readExactly(client, 1);
  }
  program.kill("SIGINT");
  const { code } = await within(program.status, "the program to end", 5000);
  assertEquals(code, 1);
  assertMatch(program.stderr, / WARN {2}stopped cut_off=2\n$/);
  assertEquals(
    linesOf(program, "connection_closed").filter((l) => /=1 .*=1 .*drain_timeout$/.test(l)).length,
    2,
  );
  for (const client of clients) client[Symbol.dispose]();
}, { isProgram: true });

testEveryWay("serve() ends at the deadline also when a client reads nothing", async (way) => {
  await using upstream = way.startUpstream(async (conn) => {
    const block = new Uint8Array(1 << 20);
    try {
      for (;;) await conn.write(block);
    } catch {
      // Cut off.
    }
  });
  const { program, address } = await way.startRoute(upstream.address, {
    args: ["--drain-timeout", "200ms"],
  });
  await using _program = program;
  using client = await way.connect(address);
  await readExactly(client, 1);
  program.kill("SIGTERM");
  const { code } = await within(program.status, "the program to end", 5000);
  assertEquals(code, 1);
}, { isProgram: true });

testEveryWay("serve() goes on accepting for the drain delay", async (way) => {
  await using upstream = way.startUpstream(echo);
  const { program, address } = await way.startRoute(upstream.address, {
    args: ["--drain-delay", "700ms"],
  });
  await using _program = program;
  const startMs = performance.now();
  program.kill("SIGTERM");
  await program.line(/draining .*delay=700ms/);
  {
    using client = await way.connect(address);
    await writeAll(client, "late");
    assertEquals(await readExactly(client, 4), "late");
  }
  const { code } = await within(program.status, "the program to end");
  assertEquals(code, 0);
  assert(performance.now() - startMs >= 690, "the delay was cut short");
  assertEquals(upstream.clients, 1);
}, { isProgram: true });

testEveryWay(
  "serve() cuts off a client that is held for its upstream at the deadline",
  async (way) => {
    const forwarder = await way.startForwarder([{ hostname: "127.0.0.1", port: freePort() }], {
      retryMs: 60_000,
      drainTimeoutMs: 100,
    });
    using client = await way.connect(forwarder.address);
    await until(() => forwarder.lines.some((line) => line.includes("opened")), "it is accepted");
    assertEquals(await forwarder.stop(), { cutOff: 1 });
    assertEquals(await nextClosed(forwarder), "0/0 drain_timeout");
    await readToAnyEnd(client);
  },
);

testEveryWay("serve() waits for a held client during the drain and serves it", async (way) => {
  const address = { hostname: "127.0.0.1", port: freePort() };
  const forwarder = await way.startForwarder([address], {
    retryMs: 60_000,
    drainTimeoutMs: 10_000,
  });
  using client = await way.connect(forwarder.address);
  await writeAll(client, "patience");
  await until(() => forwarder.lines.some((line) => line.includes("opened")), "it is accepted");
  const stopped = forwarder.stop();
  await using _upstream = way.startUpstream(echo, address);
  await client.closeWrite();
  assertEquals(await readText(client), "patience");
  assertEquals(await stopped, { cutOff: 0 });
});

Deno.test("serve() writes no line that a variable's name or value made up", async () => {
  await using upstream = startEcho();
  const port = freePort();
  const target = `tcp://127.0.0.1:${upstream.address.port}`;
  const program = startProgram(["--bind", "127.0.0.1", "--log-level", "debug"], {
    env: {
      [`X\n2026-01-01T00:00:00.000Z ERROR forged route Y_PORT_${port}_TCP`]: target,
      "Z\r\nforged_PORT_9_SCTP": "tcp://a\nforged:1",
      "AMBASSADOR_\u001b[31m\nforged": "1",
    },
  });
  await using _program = program;
  await program.line(/ready/);
  {
    using client = await Deno.connect({ hostname: "127.0.0.1", port });
    await writeAll(client, "x");
    await readExactly(client, 1);
  }
  await program.line(/connection_closed/);
  const lines = program.stderr.trimEnd().split("\n");
  for (const line of lines) {
    assertMatch(line, /^\d{4}-\d\d-\d\dT[\d:.]+Z (?:DEBUG|INFO |WARN |ERROR) [a-z_]+(?: |$)/);
    // deno-lint-ignore no-control-regex
    assert(!/[\u0000-\u001f\u007f-\u009f]/.test(line), line);
  }
  assertEquals(linesOf(program, "forged"), []);
});

testEveryWay(
  "serve() does not count as cut off what a side had broken before the stop",
  async (way) => {
    await using upstream = way.startUpstream(async (conn) => {
      await readExactly(conn, 1);
      await writeAll(conn, "bye");
      conn[Symbol.dispose]();
    });
    const forwarder = await way.startForwarder([upstream.address]);
    await using _forwarder = forwarder;
    using client = await way.connect(forwarder.address);
    // What is left unread makes the upstream's system reset the connection.
    await writeAll(client, "hello");
    assertEquals(await readExactly(client, 3), "bye");
    await readToAnyEnd(client);
    const uploading = setInterval(() => void writeAll(client, "more").catch(() => {}), 10);
    await within(new Promise((resolve) => setTimeout(resolve, 100)), "some more to be sent");
    assertEquals(await forwarder.stop(), { cutOff: 0 });
    clearInterval(uploading);
    assertMatch(await nextClosed(forwarder), / upstream_reset$/);
  },
);

testEveryWay(
  "serve() delivers an answer to a slow reader that goes on sending at full speed",
  async (way) => {
    const answer = new Random().bytes(1_000_000);
    await using upstream = way.startUpstream(async (conn) => {
      await readExactly(conn, 1000);
      await writeAll(conn, answer);
      await new Promise((resolve) => setTimeout(resolve, 200));
    });
    await using forwarder = await way.startForwarder([upstream.address]);
    using client = await way.connect(forwarder.address);
    let isOver = false;
    async function upload(): Promise<void> {
      const chunk = new Uint8Array(65536);
      try {
        while (!isOver) await client.write(chunk);
      } catch {
        // It is closed at the end.
      }
    }
    const uploading = upload();
    const buffer = new Uint8Array(8192);
    let received = 0;
    for (;;) {
      const count = await within(client.read(buffer), "more of the answer");
      if (count === null) break;
      received += count;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    assertEquals(received, answer.length);
    isOver = true;
    client[Symbol.dispose]();
    await within(uploading, "the upload to end");
  },
);
