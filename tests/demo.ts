// The demonstration behind `deno task demo`: in ten seconds, why one wants ambassadors between an app
// and its Redis. It needs nothing installed, opens nothing but loopback, ends by itself and leaves
// nothing behind. What it tells it has just tried: where something is not so, it ends with status 1.

import { type Program, runProgram, startProgram, until, within } from "./helpers/mod.ts";
import { ask, askOn, NamedRedis, REDIS_PATH } from "./helpers/named_redis.ts";
import { formatMs, heading, quote, quoteLog, seen, step } from "./helpers/narrator.ts";
import { PROGRAM_TLS } from "./helpers/needs.ts";
import { makeIdentities } from "./helpers/throwaway.ts";
import { tlsVariables } from "./helpers/tls_program.ts";

const LOOPBACK = "127.0.0.1";
const STOP_SIGNALS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

/** Everything that has been started: it ends with the demonstration, however that ends. */
const started = new AsyncDisposableStack();
/** Whose logs are shown if something goes wrong. */
const ambassadors: Program[] = [];

/** What is demonstrated. */
interface Chain {
  /** Where the app connects. */
  readonly port: number;
  readonly farPort: number;
  readonly hasTls: boolean;
  /** What each ambassador is told to forward, and all the variables that it sees. */
  readonly near: Told;
  readonly far: Told;
  /** The file that tells it the far one. */
  readonly routesPath: string;
  readonly statusUrl: string;
  readonly old: NamedRedis;
  readonly next: NamedRedis;
}

interface Told {
  readonly route: string;
  readonly env: Readonly<Record<string, string>>;
}

/** Both ambassadors at work. */
interface Pair {
  readonly near: Program;
  readonly far: Program;
}

function plan(): Chain {
  const folder = Deno.makeTempDirSync({ prefix: "ambassador_demo_" });
  started.defer(() => Deno.remove(folder, { recursive: true }));
  const hasTls = PROGRAM_TLS.isHere;
  const [port, farPort, statusPort] = [quietPort(), quietPort(), quietPort()];
  const old = new NamedRedis("old", quietPort(), keep);
  const next = new NamedRedis("new", quietPort(), keep);
  const routesPath = `${folder}/routes`;
  const status = `${LOOPBACK}:${statusPort}`;
  const who = hasTls ? makeIdentities(folder, ["near", "far"]) : undefined;
  const variable = `REDIS_PORT_${port}_TCP`;
  const target = `${hasTls ? "tls" : "tcp"}://${LOOPBACK}:${farPort}`;
  const near = {
    route: `${variable}=${target}`,
    env: { AMBASSADOR_BIND: LOOPBACK, [variable]: target, ...who && tlsVariables(who.near) },
  };
  const far = {
    route: farRoute({ hasTls, farPort }, [old]),
    env: {
      AMBASSADOR_BIND: LOOPBACK,
      AMBASSADOR_ROUTES: routesPath,
      AMBASSADOR_STATUS: status,
      ...who && tlsVariables(who.far),
    },
  };
  Deno.writeTextFileSync(routesPath, `${far.route}\n`);
  return { port, farPort, hasTls, near, far, routesPath, statusUrl: `http://${status}`, old, next };
}

/** The line in the routes file of the far ambassador. */
function farRoute(
  { hasTls, farPort }: Pick<Chain, "hasTls" | "farPort">,
  targets: readonly NamedRedis[],
): string {
  const addresses = targets.map(({ port }) => `tcp://${LOOPBACK}:${port}`).join(",");
  const settings: string[] = [];
  if (hasTls) settings.push("tls-allow=near");
  if (targets.length > 1) settings.push("fail-timeout=1s");
  const line = `REDIS_PORT_${farPort}_${hasTls ? "TLS" : "TCP"}=${addresses}`;
  return settings.length === 0 ? line : `${line}?${settings.join(",")}`;
}

function introduce({ port, farPort, hasTls, old }: Chain): void {
  const between = hasTls ? "=== TLS over the network ==>" : "----- over the network ---->";
  const gap = " ".repeat(between.length + 13);
  console.log(`
An app connects to a port of its own machine, and reaches a Redis that is elsewhere:

   (app) --> (near ambassador) ${between} (far ambassador) --> (redis)
             :${port}${gap}:${farPort}               :${old.port}
`);
  const redis = REDIS_PATH === undefined
    ? "a stand-in for Redis: no redis-server is on the PATH"
    : `a real redis-server (${REDIS_PATH})`;
  console.log(`Here all of it runs on ${LOOPBACK}, with ${redis}.`);
  if (!hasTls) {
    console.log(`It goes without TLS: that needs Deno 2.9, and this is ${Deno.version.deno}.`);
  }
}

async function showCheck(chain: Chain): Promise<void> {
  await step("One line tells each what to forward; `ambassador check` shows what comes of it.");
  for (const name of ["near", "far"] as const) {
    const { route, env } = chain[name];
    const { code, stdout, stderr } = await runProgram(["check"], { env });
    expect(code === 0, `check of the ${name} ambassador: ${stderr}`);
    seen(`${name}: ${route}`);
    quote(stdout);
  }
}

async function showPing({ near, far, port, farPort, hasTls, old }: Chain): Promise<Pair> {
  await step("Both start. The app says PING, and is answered from the other end.");
  await old.start();
  const ready = stopwatch();
  const start = ({ env }: Told): Program => keep(() => startProgram([], { env }));
  const pair = { near: start(near), far: start(far) };
  ambassadors.push(pair.near, pair.far);
  await Promise.all([pair.near.line(/ ready /), pair.far.line(/ ready /)]);
  seen(`both ambassadors are ready, after ${ready()}`);
  const took = stopwatch();
  await expectAnswer(ask(port, "PING"), "PONG");
  seen(`PING -> PONG in ${took()}${hasTls ? ", with the first TLS handshake" : ""}`);
  if (!hasTls) return pair;
  expect(await ask(farPort, "PING") !== "PONG", "the far ambassador has let a stranger in");
  await pair.far.line(/ tls_failed /);
  seen("who says PING to the far ambassador in plain text gets nothing; its log says:");
  quoteLog(pair.far, "tls_failed");
  return pair;
}

async function showOutage({ port, old }: Chain, { far }: Pair): Promise<void> {
  await step(
    "Redis is killed: no client is left hanging, and the log says why. Then it comes back.",
  );
  await old.kill();
  const took = stopwatch();
  await expectAnswer(ask(port, "PING"), undefined);
  await far.line(/ connect_failed /);
  seen(`PING -> the connection is closed after ${took()}; the far ambassador's log says:`);
  quoteLog(far, "connect_failed");
  await old.start();
  await expectAnswer(ask(port, "PING"), "PONG");
  seen("PING -> PONG as soon as Redis is back; nothing else was touched");
}

async function showRewiring(chain: Chain, { far }: Pair): Promise<Deno.TcpConn> {
  const { port, old, next, routesPath } = chain;
  await step("Redis moves: its line in the file of routes is changed, and nobody is cut off.");
  await next.start();
  const open = await Deno.connect({ hostname: LOOPBACK, port });
  started.adopt(open, (conn) => conn[Symbol.dispose]());
  await expectAnswer(askOn(open, "GET name"), "old");
  const route = farRoute(chain, [next, old]);
  await Deno.writeTextFile(routesPath, `${route}\n`);
  const took = stopwatch();
  seen("the new Redis comes first now, and the old one is the spare:");
  quote(route);
  await far.line(/ rewired /);
  seen(`the far ambassador has seen it after ${took()}, without a restart or a signal:`);
  quoteLog(far, "rewired");
  await expectAnswer(ask(port, "GET name"), "new");
  await expectAnswer(askOn(open, "GET name"), "old");
  seen("the next client gets the new Redis; a connection that was open goes on with the old one");
  return open;
}

async function showSpare({ port, next }: Chain, { far }: Pair): Promise<void> {
  await step("The new Redis is killed: the spare takes over, until it is back.");
  await next.kill();
  const took = stopwatch();
  await expectAnswer(ask(port, "GET name"), "old");
  await far.line(/ target_down /);
  seen(`the next client gets the old Redis, in ${took()}:`);
  quoteLog(far, "target_down");
  await next.start();
  await far.line(/ target_up /);
  seen("the new one is back; the ambassador itself has found that out, at no client's cost:");
  quoteLog(far, "target_up");
  await expectAnswer(ask(port, "GET name"), "new");
}

async function showStatus({ statusUrl }: Chain): Promise<void> {
  await step("A page in the browser shows all that, and Prometheus gets the same as numbers.");
  seen(`the page: ${statusUrl}/ (for as long as the far ambassador runs)`);
  const metric = async (name: string): Promise<number> => {
    const metrics = await (await fetch(`${statusUrl}/metrics`)).text();
    return Number(new RegExp(`^ambassador_${name}{.*} (\\d+)$`, "m").exec(metrics)?.[1]);
  };
  // One that has just ended may still be counted.
  await until(async () => await metric("connections_open") === 1, "one connection is open");
  const total = await metric("connections_total");
  expect(total > 5, `the metrics say that there were ${total} connections`);
  seen(`the numbers: ${statusUrl}/metrics say ${total} connections so far, and 1 open`);
}

async function showStop({ port }: Chain, { near, far }: Pair, open: Deno.TcpConn): Promise<void> {
  await step("Both are told to stop: nobody new gets in, and who is connected may finish.");
  for (const one of [near, far]) one.kill("SIGTERM");
  await Promise.all([near.line(/ draining /), far.line(/ draining /)]);
  await until(async () => await ask(port, "PING") === undefined, "new clients are refused");
  await expectAnswer(askOn(open, "GET name"), "old");
  seen("the open connection still gets its answer, and then ends:");
  quoteLog(far, "draining");
  open.close();
  const ends = await within(Promise.all([near.status, far.status]), "both ambassadors to stop");
  const codes = ends.map(({ code }) => code).join(" and ");
  expect(codes === "0 and 0", `the ambassadors have stopped with ${codes}`);
  seen(`both have stopped, with exit status ${codes}`);
}

function showWhatNext(): void {
  const isFromNpm = Deno.execPath().includes("node_modules");
  const start = `${isFromNpm ? `npx -y deno@${Deno.version.deno}` : "deno"} task start`;
  console.log("");
  heading("Try next, with an address of yours in place of redis.example.com:");
  console.log(`
   ${start} check 6379=redis.example.com:6379
   ${start} 127.0.0.1:6379=redis.example.com:6379 --status 127.0.0.1:9090
   ${start} --help
`);
}

/** Nothing is told that is not so. */
function expect(isSo: boolean, otherwise: string): void {
  if (!isSo) throw new Error(otherwise);
}

async function expectAnswer(
  asked: Promise<string | undefined>,
  expected: string | undefined,
): Promise<void> {
  const answer = await asked;
  expect(answer === expected, `a client was answered ${answer}, not ${expected}`);
}

/** Starts something that ends with the demonstration; nothing, once that has ended. */
function keep<T extends AsyncDisposable>(start: () => T): T {
  expect(!started.disposed, "the demonstration has ended");
  return started.use(start());
}

/** A free port below those that systems give to clients: nobody takes it while a Redis is down. */
function quietPort(): number {
  for (let tries = 0; tries < 100; tries++) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    try {
      Deno.listen({ hostname: LOOPBACK, port }).close();
      return port;
    } catch {
      // It is taken.
    }
  }
  throw new Error(`no port of ${LOOPBACK} is free`);
}

/** Gives the time since now. */
function stopwatch(): () => string {
  const startMs = performance.now();
  return () => formatMs(performance.now() - startMs);
}

async function demonstrate(): Promise<number> {
  const chain = plan();
  introduce(chain);
  await showCheck(chain);
  const pair = await showPing(chain);
  await showOutage(chain, pair);
  const open = await showRewiring(chain, pair);
  await showSpare(chain, pair);
  await showStatus(chain);
  await showStop(chain, pair, open);
  showWhatNext();
  return 0;
}

/** The exit status of a signal that ends the demonstration. */
function untilInterrupted(): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>();
  for (const [name, status] of Object.entries(STOP_SIGNALS) as [Deno.Signal, number][]) {
    if (Deno.build.os === "windows" && name !== "SIGINT") continue;
    Deno.addSignalListener(name, () => resolve(status));
  }
  return promise;
}

async function main(): Promise<number> {
  await using _everything = started;
  try {
    return await Promise.race([untilInterrupted(), demonstrate()]);
  } catch (error) {
    for (const { stderr } of ambassadors) console.error(`\n${stderr.trimEnd()}`);
    console.error(`\ndemo: ${error instanceof Error ? error.message : error}`);
    return 1;
  }
}

Deno.exit(await main());
