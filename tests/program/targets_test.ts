// The real program with several targets of one route, which die, come back and never answer. Targets
// that come back at their port are at 127.0.0.2 and 127.0.0.3: nobody connects from there, so nobody
// else has their ports meanwhile.

import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  freePort,
  type Program,
  readExactly,
  readText,
  runProgram,
  startEcho,
  startProgram,
  type StartProgramOptions,
  startUpstream,
  until,
  type Upstream,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { withHosts } from "../helpers/namespace.ts";
import { LINUX, needs, ROOT_RIGHTS } from "../helpers/needs.ts";
import { commandWithLimit, linesOf, repeat, startSilent } from "../helpers/process.ts";
import { checkMetrics } from "../helpers/promtool.ts";
import { type Redis, startRedis } from "../helpers/redis.ts";

const [FIRST, SECOND] = ["127.0.0.2", "127.0.0.3"] as const;

/** Soon enough for a test to wait for the next try. */
const TRY_SOON = ["--fail-timeout", "200ms"] as const;

interface Address {
  readonly hostname: string;
  readonly port: number;
}

function textOf({ hostname, port }: Address): string {
  return `${hostname}:${port}`;
}

/** Where nobody listens, and nobody will unless the test does. */
function unused(hostname: string): Address {
  return { hostname, port: freePort(hostname) };
}

/** The program with one route, called REDIS, to several targets. */
interface Ambassador extends AsyncDisposable {
  readonly program: Program;
  /** Where the route listens. */
  readonly address: Address;
  /** `route=… listen=…`, as the log writes them. */
  readonly fields: string;
  /** A page of its status server. */
  page(path: string): Promise<Response>;
}

async function startAmbassador(
  targets: readonly Address[],
  { args = [], env, ...options }: StartProgramOptions & { args?: readonly string[] } = {},
): Promise<Ambassador> {
  const address = unused("127.0.0.1");
  const status = textOf(unused("127.0.0.1"));
  const value = `tcp://${targets.map(textOf).join(",")}`;
  const program = startProgram(["--bind", address.hostname, "--status", status, ...args], {
    env: { [`REDIS_PORT_${address.port}_TCP`]: value, ...env },
    ...options,
  });
  await program.line(/ ready /);
  return {
    program,
    address,
    fields: `route=REDIS listen=${textOf(address)}`,
    page: (path) => within(fetch(`http://${status}${path}`), path),
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
}

/** The samples of a metric by the target in their labels. */
async function byTarget(ambassador: Ambassador, metric: string): Promise<Map<string, number>> {
  const text = await (await ambassador.page("/metrics")).text();
  const [route, listen] = ["REDIS", textOf(ambassador.address)];
  const labels = `route="${route}",listen="${listen}",target="([^"]*)"`;
  const samples = text.matchAll(new RegExp(`^${metric}{${labels}} (\\S+)$`, "gm"));
  return new Map([...samples].map(([, target = "", value]) => [target, Number(value)]));
}

const TARGET_UP = "ambassador_target_up";
const TARGET_CONNECTIONS = "ambassador_target_connections_total";

/** The text of the page, without its tags. */
async function pageText(ambassador: Ambassador): Promise<string> {
  const html = await (await ambassador.page("/")).text();
  return html.replace(/<(script|style)>[^]*?<\/\1>/g, "").replace(/<[^>]*>/g, " ")
    .replace(/\s+/g, " ");
}

/** The targets of all lines of an event, in their order. */
function targetsOf(program: Program, event: string): string[] {
  return linesOf(program, event).map((line) => / target=(\S+)/.exec(line)?.[1] ?? line);
}

/** Waits for a line of this event and this target; gives its time, as `Date.now()` does. */
async function seeTarget(program: Program, event: string, target: Address): Promise<number> {
  const text = textOf(target).replaceAll(".", "\\.");
  const [, time = ""] = await program.line(
    new RegExp(`(\\S+) +\\w+ +${event} .*target=${text}\\b`),
  );
  return Date.parse(time);
}

/** Tells each client its own name, and ends. */
function startNamed(name: string, { hostname, port }: Address): Upstream {
  return startUpstream(async (conn) => {
    await writeAll(conn, name);
    await conn.closeWrite();
    await conn.read(new Uint8Array(1));
  }, { hostname, port });
}

/** Whom a new client gets, and how long it takes; "" if nobody. */
async function ask(address: Address): Promise<{ name: string; tookMs: number }> {
  const startMs = performance.now();
  using client = await Deno.connect(address);
  const name = await readText(client);
  return { name, tookMs: performance.now() - startMs };
}

/** One client of a Redis from its connect to its answer. */
async function ping(address: Address): Promise<void> {
  using client = await Deno.connect(address);
  await writeAll(client, "PING\r\n");
  assertEquals(await readExactly(client, 7), "+PONG\r\n");
}

/** The address of the Redis that a connection leads to. */
async function whereIs(client: Deno.Conn): Promise<string> {
  await writeAll(client, "CONFIG GET bind\r\n");
  const answer = await readExactly(client, `*2\r\n$4\r\nbind\r\n$9\r\n${FIRST}\r\n`.length);
  return answer.slice(-2 - FIRST.length).trimEnd();
}

/** Whether a connection ends without another byte. */
async function isEnded(client: Deno.Conn): Promise<boolean> {
  try {
    return await within(client.read(new Uint8Array(1)), "the end") === null;
  } catch (error) {
    return error instanceof Deno.errors.ConnectionReset;
  }
}

/** Clients that come as fast as they are served, eight at once, each by a new connection. */
class Load implements AsyncDisposable {
  /** How many have got their answer. */
  served = 0;
  /** Those who have not: when they began, as `Date.now()` tells it, and what they saw. */
  readonly failures: { readonly beganAt: number; readonly error: unknown }[] = [];
  readonly #clients: Promise<void>;
  #goesOn = true;

  constructor(address: Address) {
    const visit = async (): Promise<void> => {
      const beganAt = Date.now();
      try {
        await ping(address);
        this.served++;
      } catch (error) {
        this.failures.push({ beganAt, error });
      }
    };
    this.#clients = repeat(Infinity, 8, visit, () => this.#goesOn);
  }

  /** Waits until so many more have been served. */
  async serves(count: number): Promise<void> {
    const enough = this.served + count;
    const isServed = (): boolean => this.served >= enough;
    await until(isServed, `${enough} clients have been served`, 30_000);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#goesOn = false;
    await within(this.#clients, "the last clients");
  }
}

/** How clients were shared out while `act` ran: for each target, of 1. */
async function sharesDuring(
  ambassador: Ambassador,
  act: () => Promise<void>,
): Promise<Map<string, number>> {
  const before = await byTarget(ambassador, TARGET_CONNECTIONS);
  await act();
  const after = await byTarget(ambassador, TARGET_CONNECTIONS);
  const counts = [...after].map(([target, count]) =>
    [target, count - (before.get(target) ?? 0)] as const
  );
  const all = counts.reduce((sum, [, count]) => sum + count, 0);
  return new Map(counts.map(([target, count]) => [target, count / all]));
}

/** Sees that each of two has its share: the first all of it, or each half of it within 2 %. */
function assertShares(
  balance: string,
  shares: Map<string, number>,
  [a, b]: readonly Redis[],
): void {
  assert(a && b);
  const [first = NaN, second = NaN] = [a, b].map((redis) => shares.get(textOf(redis)));
  const isRight = balance === "first"
    ? first > 0.98
    : [first, second].every((share) => Math.abs(share - 0.5) < 0.02);
  assert(isRight, `${balance}: ${first}, ${second}`);
}

for (const balance of ["first", "roundrobin", "leastconn"] as const) {
  Deno.test({
    name: `a Redis that is killed fails no client that comes after target_down (${balance})`,
    ...needs(LINUX, "redis-server"),
  }, async () => {
    await using one = await startRedis({ hostname: FIRST });
    await using two = await startRedis({ hostname: SECOND });
    await using ambassador = await startAmbassador([one, two], {
      args: ["--balance", balance, ...TRY_SOON],
    });
    const { program, address } = ambassador;
    await using load = new Load(address);
    await load.serves(200);
    const places: string[] = [];
    {
      using clients = new DisposableStack();
      const held: Deno.TcpConn[] = [];
      const isEnough = (): boolean =>
        held.length >= 4 && (balance === "first" || new Set(places).size === 2);
      while (!isEnough()) {
        const client = clients.use(await Deno.connect(address));
        held.push(client);
        places.push(await whereIs(client));
      }
      if (balance === "first") assertEquals(new Set(places), new Set([FIRST]));

      await one.kill();
      const downAt = await seeTarget(program, "target_down", one);
      await load.serves(300);
      // Those who were on it are ended, and the others stay where they are.
      for (const [index, client] of held.entries()) {
        if (places[index] === FIRST) assert(await isEnded(client));
        else assertEquals(await whereIs(client), SECOND);
      }
      await using again = await startRedis(one);
      await seeTarget(program, "target_up", one);
      for (const [index, client] of held.entries()) {
        if (places[index] === SECOND) assertEquals(await whereIs(client), SECOND);
      }
      clients.dispose();
      await load.serves(50);
      const shares = await sharesDuring(ambassador, () => load.serves(2000));
      assertShares(balance, shares, [again, two]);
      assertEquals(load.failures.filter(({ beganAt }) => beganAt > downAt), []);
      // Who is cut off comes again at once, and may be cut off again before all of it is gone.
      assert(load.failures.length <= 32, `${load.failures.length} clients were cut off`);

      if (balance === "first") {
        const before = load.failures.length;
        await two.kill();
        await load.serves(300);
        assertEquals(load.failures.slice(before), []);
      }
      // Nobody has asked for the second of `first` since it was killed. Said here: at the end of the
      // block the first goes too, and there still are clients.
      assertEquals(targetsOf(program, "target_down"), [textOf(one)]);
      assertEquals(targetsOf(program, "target_up"), [textOf(one)]);
      assertEquals(linesOf(program, "connect_failed"), []);
    }
  });
}

/** How many connections a Redis has had, the one that asks left out. */
async function connectionsOf(redis: Redis): Promise<number> {
  using client = await Deno.connect({ hostname: redis.hostname, port: redis.port });
  await writeAll(client, "INFO stats\r\nQUIT\r\n");
  const text = await readText(client);
  return Number(/total_connections_received:(\d+)/.exec(text)?.[1]) - 1;
}

for (const balance of ["roundrobin", "leastconn"] as const) {
  Deno.test({
    name: `two Redis servers have equal shares of clients within 2 % (${balance})`,
    ...needs(LINUX, "redis-server"),
  }, async () => {
    await using one = await startRedis({ hostname: FIRST });
    await using two = await startRedis({ hostname: SECOND });
    await using ambassador = await startAmbassador([one, two], { args: ["--balance", balance] });
    const shares = await sharesDuring(ambassador, async () => {
      await using load = new Load(ambassador.address);
      await load.serves(3000);
      assertEquals(load.failures, []);
    });
    assertShares(balance, shares, [one, two]);
    // The servers have counted for themselves.
    const counted = await byTarget(ambassador, TARGET_CONNECTIONS);
    for (const redis of [one, two]) {
      assertEquals(await connectionsOf(redis), counted.get(textOf(redis)));
    }
  });
}

Deno.test({
  name: "leastconn gives new clients to the target whose clients have left",
  ...needs(LINUX),
}, async () => {
  await using one = startNamed("one", unused(FIRST));
  await using two = startNamed("two", unused(SECOND));
  await using ambassador = await startAmbassador([one.address, two.address], {
    args: ["--balance", "leastconn"],
  });
  using clients = new DisposableStack();
  async function join(): Promise<{ client: Deno.TcpConn; name: string }> {
    const client = clients.use(await Deno.connect(ambassador.address));
    return { client, name: await readExactly(client, 3) };
  }
  const first: Awaited<ReturnType<typeof join>>[] = [];
  for (let i = 0; i < 6; i++) first.push(await join());
  const names = first.map(({ name }) => name).sort();
  assertEquals(names, ["one", "one", "one", "two", "two", "two"]);
  assertMatch(await pageText(ambassador), statesOf([one.address, "up", 3], [two.address, "up", 3]));
  for (const { client, name } of first) if (name === "one") client[Symbol.dispose]();
  const left = statesOf([one.address, "up", 0], [two.address, "up", 3]);
  await until(async () => left.test(await pageText(ambassador)), "three clients have left");
  for (let i = 0; i < 3; i++) assertEquals((await join()).name, "one");
});

/** What the page shows of targets: their states and open connections. */
function statesOf(...targets: readonly (readonly [Address, "up" | "down", number])[]): RegExp {
  const cells = targets.map(([target, state, open]) =>
    `${textOf(target)} ${state} , ${open} open,`
  );
  return new RegExp(cells.join(".*"));
}

Deno.test({
  name:
    "a first target that refuses costs no client more than a moment, and is used when it is back",
  ...needs(LINUX),
}, async () => {
  const one = unused(FIRST);
  await using two = startNamed("two", unused(SECOND));
  await using ambassador = await startAmbassador([one, two.address], { args: TRY_SOON });
  const { program, address, fields } = ambassador;
  /** Asks so often, and each time within half a second. */
  async function see(name: string): Promise<void> {
    const answer = await ask(address);
    assertEquals(answer.name, name);
    assert(answer.tookMs < 500, `${answer.tookMs} ms`);
  }
  for (let i = 0; i < 30; i++) await see("two");
  await program.line(/ target_down /);
  const error = 'error="connection refused"';
  const [down = ""] = linesOf(program, "target_down");
  assertEquals(down.slice(25), `WARN  target_down ${fields} target=${textOf(one)} ${error}`);
  // It is tried, and said to be down once.
  const endMs = performance.now() + 1000;
  while (performance.now() < endMs) await see("two");
  assertEquals(targetsOf(program, "target_down"), [textOf(one)]);
  assertEquals(await byTarget(ambassador, TARGET_UP), upOf([one, 0], [two.address, 1]));
  {
    await using _back = startNamed("one", one);
    await seeTarget(program, "target_up", one);
    for (let i = 0; i < 10; i++) await see("one");
  }
  const [up = ""] = linesOf(program, "target_up");
  assertEquals(up.slice(25), `INFO  target_up ${fields} target=${textOf(one)}`);
  const counted = await byTarget(ambassador, TARGET_CONNECTIONS);
  // What the ambassador tries by itself is no connection.
  assertEquals(counted.get(textOf(one)), 10);
  // It goes down again, and that is news.
  for (let i = 0; i < 10; i++) await see("two");
  assertEquals(targetsOf(program, "target_down"), [one, one].map(textOf));
  assertEquals(targetsOf(program, "target_up"), [textOf(one)]);
});

function upOf(...targets: readonly (readonly [Address, number])[]): Map<string, number> {
  return new Map(targets.map(([target, up]) => [textOf(target), up]));
}

Deno.test({
  name:
    "a first target that never answers costs a fifth of --connect-timeout, and only those there first",
  ...needs(LINUX),
}, async () => {
  await using silent = await startSilent();
  await using two = startNamed("two", unused(SECOND));
  await using ambassador = await startAmbassador([silent.address, two.address], {
    args: ["--connect-timeout", "2s", "--fail-timeout", "100ms"],
  });
  const { program, address } = ambassador;
  const first = await ask(address);
  assertEquals(first.name, "two");
  assert(first.tookMs > 380 && first.tookMs < 1200, `${first.tookMs} ms`);
  // Many a --fail-timeout passes, and each time it is tried by nobody but the ambassador.
  const times: number[] = [];
  const endMs = performance.now() + 2500;
  while (performance.now() < endMs) {
    const { name, tookMs } = await ask(address);
    assertEquals(name, "two");
    times.push(tookMs);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert(Math.max(...times) < 300, `${Math.max(...times)} ms`);
  assertEquals(targetsOf(program, "target_down"), [textOf(silent.address)]);
  assertMatch(program.stderr, /target_down .* error="no answer within 400ms"\n/);
  assertEquals(targetsOf(program, "target_up"), []);
});

Deno.test({
  name:
    "clients that come together to a target that never answers wait together, not one after another",
  ...needs(LINUX),
}, async () => {
  await using silent = await startSilent();
  await using two = startNamed("two", unused(SECOND));
  await using ambassador = await startAmbassador([silent.address, two.address], {
    args: ["--connect-timeout", "2s"],
  });
  const answers = await Promise.all(Array.from({ length: 20 }, () => ask(ambassador.address)));
  for (const { name, tookMs } of answers) {
    assertEquals(name, "two");
    assert(tookMs < 1200, `${tookMs} ms`);
  }
  assertEquals(targetsOf(ambassador.program, "target_down"), [textOf(silent.address)]);
});

Deno.test({
  name:
    "when all targets are dead the client is closed, the log names each, and the next tries all",
  ...needs(LINUX),
}, async () => {
  const [one, two] = [unused(FIRST), unused(SECOND)];
  const nowhere = { hostname: "nosuch.invalid", port: 6379 };
  await using ambassador = await startAmbassador([one, two, nowhere], {
    args: ["--fail-timeout", "1h"],
  });
  const { program, address } = ambassador;
  assertEquals((await ask(address)).name, "");
  await program.line(/ connect_failed .*\n/);
  const [failed = "", ...more] = linesOf(program, "connect_failed");
  assertEquals(more, []);
  for (const target of [one, two]) {
    assertMatch(failed, new RegExp(`error=.*${textOf(target)}\\W+connection refused`));
  }
  assertMatch(failed, /error=.*nosuch\.invalid:6379\W+name does not resolve/);
  assertEquals(targetsOf(program, "target_down"), [one, two, nowhere].map(textOf));
  {
    await using _back = startNamed("two", two);
    for (let i = 0; i < 5; i++) {
      const { name, tookMs } = await ask(address);
      assertEquals(name, "two");
      assert(tookMs < 1000, `${tookMs} ms`);
    }
    await seeTarget(program, "target_up", two);
  }
  // The others were and are down.
  assertEquals(targetsOf(program, "target_down"), [one, two, nowhere].map(textOf));
  assertEquals(targetsOf(program, "target_up"), [textOf(two)]);
  assertEquals(
    await byTarget(ambassador, TARGET_UP),
    upOf([one, 0], [two, 1], [nowhere, 0]),
  );
});

Deno.test({
  name: "--retry goes round all targets until one is there",
  ...needs(LINUX),
}, async () => {
  const [one, two] = [unused(FIRST), unused(SECOND)];
  await using ambassador = await startAmbassador([one, two], {
    args: ["--retry", "10s", "--fail-timeout", "1h"],
  });
  const answer = ask(ambassador.address);
  await ambassador.program.line(/ connect_retrying .* error=.*connection refused/);
  await using _two = startNamed("two", two);
  assertEquals((await within(answer, "the client to be served", 8000)).name, "two");
  assertEquals(linesOf(ambassador.program, "connect_failed"), []);
});

for (const [hostname, balance] of [["127.0.0.1", "first"], ["localhost", "roundrobin"]] as const) {
  Deno.test({
    name: `descriptors that run out mark no target as down (${hostname}, ${balance})`,
    ...needs(LINUX, "bash"),
  }, async () => {
    await using one = startEcho();
    await using two = startEcho();
    const targets = [one, two].map(({ address: { port } }) => ({ hostname, port }));
    await using ambassador = await startAmbassador(targets, {
      args: ["--balance", balance, "--connect-timeout", "30s", ...TRY_SOON],
      command: commandWithLimit(80),
    });
    const { program, address } = ambassador;
    const leave = Promise.withResolvers<void>();
    let served = 0;
    async function visit(): Promise<void> {
      using client = await Deno.connect(address);
      await writeAll(client, "ping");
      assertEquals(await readExactly(client, 4), "ping");
      served++;
      await leave.promise;
    }
    const all = Promise.all(Array.from({ length: 120 }, visit));
    all.catch(() => {});
    await program.line(/ accept_failed .*out of file descriptors/);
    await until(() => served >= 15, "some are served");
    leave.resolve();
    await within(all, "all clients to be served", 40_000);
    assertEquals(targetsOf(program, "target_down"), []);
    assertEquals(linesOf(program, "connect_failed"), []);
    assertEquals(await byTarget(ambassador, TARGET_UP), upOf(...both(targets, 1)));
  });
}

function both(targets: readonly Address[], up: number): (readonly [Address, number])[] {
  return targets.map((target) => [target, up]);
}

Deno.test({
  name: "a name with several addresses is one target, and down only if none of them answers",
  ...needs(LINUX, ROOT_RIGHTS, "unshare"),
}, async () => {
  const folder = await Deno.makeTempDir();
  await Deno.writeTextFile(
    `${folder}/hosts`,
    `${FIRST} pair.example.com\n${SECOND} pair.example.com\n`,
  );
  for (const hostname of [FIRST, SECOND]) {
    const { port } = unused(hostname);
    await using other = startNamed("other", unused("127.0.0.1"));
    const pair = { hostname: "pair.example.com", port };
    await using ambassador = await startAmbassador([pair, other.address], {
      args: TRY_SOON,
      command: withHosts(`${folder}/hosts`),
    });
    const { program, address } = ambassador;
    {
      await using _up = startNamed("pair", { hostname, port });
      for (let i = 0; i < 5; i++) assertEquals((await ask(address)).name, "pair");
      const up = await byTarget(ambassador, TARGET_UP);
      assertEquals(up, upOf([pair, 1], [other.address, 1]));
      assertEquals(targetsOf(program, "target_down"), []);
    }
    for (let i = 0; i < 5; i++) assertEquals((await ask(address)).name, "other");
    assertEquals(targetsOf(program, "target_down"), [textOf(pair)]);
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test({
  name: "a name that does not resolve is followed by the next target",
  ...needs(LINUX),
}, async () => {
  const nowhere = { hostname: "nosuch.invalid", port: 6379 };
  await using two = startNamed("two", unused(SECOND));
  await using ambassador = await startAmbassador([nowhere, two.address]);
  assertEquals((await ask(ambassador.address)).name, "two");
  const { program } = ambassador;
  await program.line(/ target_down .* target=nosuch\.invalid:6379 error="name does not resolve/);
  const times: number[] = [];
  for (let i = 0; i < 10; i++) times.push((await ask(ambassador.address)).tookMs);
  assert(Math.max(...times) < 500, `${times}`);
  assertEquals(targetsOf(program, "target_down"), [textOf(nowhere)]);
});

Deno.test({
  name: "metrics, the page and /readyz show each target's state and its connections",
  ...needs(LINUX),
}, async () => {
  const one = unused(FIRST);
  await using two = startEcho(unused(SECOND));
  await using ambassador = await startAmbassador([one, two.address]);
  assertEquals(await byTarget(ambassador, TARGET_UP), upOf([one, 1], [two.address, 1]));
  assertEquals(await byTarget(ambassador, TARGET_CONNECTIONS), upOf([one, 0], [two.address, 0]));
  using clients = new DisposableStack();
  for (let i = 0; i < 3; i++) {
    const client = clients.use(await Deno.connect(ambassador.address));
    await writeAll(client, "x");
    await readExactly(client, 1);
  }
  assertEquals(await byTarget(ambassador, TARGET_UP), upOf([one, 0], [two.address, 1]));
  assertEquals(await byTarget(ambassador, TARGET_CONNECTIONS), upOf([one, 0], [two.address, 3]));
  assertMatch(await pageText(ambassador), statesOf([one, "down", 0], [two.address, "up", 3]));
  const response = await ambassador.page("/readyz");
  assertEquals(response.status, 200);
  const body = await response.json();
  assertEquals(body, {
    status: "ready",
    routes: [{
      aliases: ["REDIS"],
      listen: { protocol: "tcp", ...ambassador.address },
      targets: [
        { protocol: "tcp", ...one },
        { protocol: "tcp", hostname: two.address.hostname, port: two.address.port },
      ],
      open_connections: 3,
      last_connect_error: body.routes[0].last_connect_error,
    }],
  });
});

Deno.test({
  name: "the metrics of several targets pass promtool without a remark",
  ...needs(LINUX, "promtool"),
}, async () => {
  await using ambassador = await startAmbassador([unused(FIRST), unused(SECOND)]);
  assertEquals((await ask(ambassador.address)).name, "");
  const text = await (await ambassador.page("/metrics")).text();
  assertMatch(text, /ambassador_target_up\{/);
  assertEquals(await checkMetrics(text), { code: 0, remarks: "" });
});

Deno.test({
  name:
    "the log shows all targets of a route at the start, and at the end the one that was reached",
  ...needs(LINUX),
}, async () => {
  const one = unused(FIRST);
  await using two = startNamed("two", unused(SECOND));
  await using ambassador = await startAmbassador([one, two.address], {
    args: ["--log-level", "debug"],
  });
  const { program, address, fields } = ambassador;
  const [listening = ""] = linesOf(program, "listening");
  const targets = [one, two.address].map(textOf).join(",");
  assertEquals(listening.slice(25), `INFO  listening ${fields} target=${targets}`);
  await ask(address);
  await program.line(/ connection_closed .* reason=finished\n/);
  assertEquals(targetsOf(program, "connection_closed"), [textOf(two.address)]);
});

Deno.test("ambassador wait is content with any one of several targets", async () => {
  await using up = startEcho();
  await using silent = await startSilent();
  for (const dead of [unused("127.0.0.1"), silent.address]) {
    for (const targets of [[dead, up.address], [up.address, dead]]) {
      const text = targets.map(textOf).join(",");
      for (const argument of [text, `6379=${text}`]) {
        assertEquals(await runProgram(["wait", "--timeout", "5s", argument]), {
          code: 0,
          stdout: "",
          stderr: `ambassador: ${text} accepts connections\n`,
        });
      }
    }
  }
  const dead = [unused("127.0.0.1"), unused("127.0.0.1")].map(textOf).join(",");
  assertEquals(await runProgram(["wait", "--timeout", "100ms", `6379=${dead}`]), {
    code: 1,
    stdout: "",
    stderr: `ambassador: no connection within 100ms: ${dead} (connection refused)\n`,
  });
});

Deno.test("ambassador check prints several targets joined by commas, and as a list in JSON", async () => {
  const targets = [["a", 6379], ["b", 6380]].map(([hostname, port]) => (
    { protocol: "tcp", hostname, port }
  ));
  for (const value of ["tcp://a:6379,b:6380", "tcp://a:6379,tcp://b:6380"]) {
    const options = { env: { REDIS_PORT_6379_TCP: `${value}?balance=leastconn,fail-timeout=5s` } };
    const table = await runProgram(["check"], options);
    assertEquals([table.code, table.stderr], [0, ""]);
    assertMatch(
      table.stdout,
      /^REDIS +\[::\]:6379 +a:6379,b:6380 +balance=leastconn,fail-timeout=5s$/m,
    );
    const json = await runProgram(["check", "--format", "json"], options);
    const [route] = JSON.parse(json.stdout).routes;
    assertEquals(route.targets, targets);
    assertEquals(route.settings, { balance: "leastconn", "fail-timeout": "5s" });
  }
});

Deno.test("ambassador check finds one target twice, and says so", async () => {
  for (const value of ["tcp://a:6379,a:6379", "tcp://a:6379,b:1,TCP://A:6379"]) {
    const { code, stdout, stderr } = await runProgram(["check"], {
      env: { REDIS_PORT_6379_TCP: value },
    });
    assertEquals([code, stdout], [2, ""]);
    assertMatch(stderr, /^ambassador: REDIS_PORT_6379_TCP.*: .*a:6379.*(?:twice|more than once)/);
  }
});

Deno.test("ambassador check shows how to write targets of several variables as those of one", async () => {
  const env = { A_PORT_6379_TCP: "tcp://a:1,b:2", B_PORT_6379_TCP: "tcp://c:3" };
  const { code, stderr } = await runProgram(["check"], { env });
  assertEquals(code, 2);
  const shown = /A_PORT_6379_TCP=(tcp:\/\/[^\s;]*[^\s;,.])/.exec(stderr.split("hint")[1] ?? "")
    ?.[1];
  assert(shown, stderr);
  const { code: again, stdout } = await runProgram(["check"], { env: { A_PORT_6379_TCP: shown } });
  assertEquals(again, 0);
  assertMatch(stdout, /a:1,b:2,c:3/);
});
