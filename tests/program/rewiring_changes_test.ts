// What a changed file of routes does to the clients of the real program, and what it does not do: all or
// nothing, ports that change hands, TLS that comes and goes, and a stop in the middle of it.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import tls from "node:tls";
import { createCa, type Issued } from "../helpers/certificates.ts";
import {
  freePort,
  isRefused,
  readExactly,
  readText,
  readToAnyEnd,
  until,
  within,
} from "../helpers/mod.ts";
import { LINUX, needs, PROGRAM_TLS, UNIX } from "../helpers/needs.ts";
import { linesOf } from "../helpers/process.ts";
import {
  connect,
  freePorts,
  get,
  lineOf,
  metricsOf,
  NOTICED_MS,
  sleep,
  startNamed,
  startWired,
  tlsOptionsOf,
  whoAnswers,
  works,
} from "../helpers/rewiring.ts";

/** Asks again and again until `act` has resolved; every answer, in its order. */
async function askMeanwhile(port: number, act: () => Promise<unknown>): Promise<string> {
  let answers = "";
  let isOver = false;
  async function ask(): Promise<void> {
    while (!isOver) answers += await whoAnswers(port);
  }
  const asking = ask();
  try {
    await act();
  } finally {
    isOver = true;
    await asking;
  }
  return answers + await whoAnswers(port);
}

Deno.test({
  name:
    "the program changes nothing if anything is wrong with the file, says all of it, and forgets it",
  ...needs(UNIX),
}, async () => {
  await using a = startNamed("a");
  await using b = startNamed("b");
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  using taken2 = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [port, other, free, twice] = [freePort(), freePort(), freePort(), freePort()];
  const good = lineOf(port, a.address) + lineOf(other, a.address, { alias: "OTHER" });
  await using wired = await startWired(good);
  using before = await connect(port);
  assertEquals(await readExactly(before, 1), "a");
  const wrong = [
    lineOf(port, b.address),
    "BAD_PORT_1_TCP=tcp://nowhere\n",
    `ONE_PORT_${twice}_TCP=tcp://127.0.0.1:1\n`,
    `TWO_PORT_${twice}_TCP=tcp://127.0.0.1:2\n`,
    "A_BARE_NAME\n",
    "AMBASSADOR_LOG_LEVEL=debug\n",
    lineOf(free, b.address, { alias: "FREE" }),
  ].join("");
  const unreadable = await wired.taken(wrong);
  for (
    const problem of [
      / ERROR rewire_failed file=\S+ error="/,
      / line 2: BAD_PORT_1_TCP=\\"tcp:\/\/nowhere\\": /,
      / line 3: ONE_PORT_/,
      / line 4: TWO_PORT_/,
      / line 5: there is no = in the line/,
      / line 6: AMBASSADOR_LOG_LEVEL: options have no place in a file of routes/,
    ]
  ) assertMatch(unreadable, problem);
  const unbound = await wired.taken([
    lineOf(port, b.address),
    lineOf(free, b.address, { alias: "FREE" }),
    lineOf(taken.addr.port, b.address, { alias: "THREE" }),
    lineOf(taken2.addr.port, b.address, { alias: "FOUR" }),
  ].join(""));
  assertMatch(unbound, / ERROR rewire_failed .* for route THREE: address in use/);
  assertMatch(unbound, / for route FOUR: address in use/);
  assert(await isRefused({ port: free }));
  assertEquals([await whoAnswers(port), await whoAnswers(other)], ["a", "a"]);
  assert(await works(before));
  assertEquals(await get(wired, "healthz"), [200, "ok\n"]);
  assertEquals((await get(wired, "readyz"))[0], 200);
  const [, page] = await get(wired, "");
  assertMatch(page, /2 routes from the environment and <bdi>\S+\/routes<\/bdi>,\s+since /);
  assertMatch(page, /What <bdi>\S+\/routes<\/bdi> holds now is not in force/);
  assertMatch(page, /address in use/);
  // The same that is in force: nothing to do, and nothing is wrong any more.
  assertMatch(await wired.taken(good), / INFO {2}rewired file=\S+ routes=2$/);
  assert(!(await get(wired, ""))[1].includes("address in use"));
  assertMatch(await metricsOf(wired), /^ambassador_rewires_total\{result="failed"\} 2$/m);
  assertEquals(wired.said, { rewired: 1, failed: 2 });
});

Deno.test({
  name: "the program says again at SIGHUP why the file can't be used",
  ...needs(UNIX),
}, async () => {
  await using a = startNamed("a");
  await using wired = await startWired(lineOf(freePort(), a.address));
  const first = await wired.taken("NONSENSE\n");
  wired.program.kill("SIGHUP");
  const again = await wired.next("rewire_failed", { known: 1 });
  assertEquals(again.replace(/^\S+/, ""), first.replace(/^\S+/, ""));
});

Deno.test({
  name: "two routes swap ports in a change, an alias moves in another, and no client is refused",
  ...needs(UNIX),
}, async () => {
  await using a = startNamed("a");
  await using b = startNamed("b");
  const [one, two, three] = [freePort(), freePort(), freePort()];
  await using wired = await startWired(
    lineOf(one, a.address, { alias: "A" }) + lineOf(two, b.address, { alias: "B" }),
  );
  const swapped = lineOf(two, a.address, { alias: "A" }) + lineOf(one, b.address, { alias: "B" });
  const answers = await Promise.all(
    [one, two].map((port) => askMeanwhile(port, () => wired.next("rewired", { known: 0 })))
      .concat(wired.taken(swapped)),
  );
  assertMatch(answers[0] ?? "", /^a*b+$/);
  assertMatch(answers[1] ?? "", /^b*a+$/);
  assertMatch(answers[2] ?? "", new RegExp(` changed=[AB]@\\S+,[AB]@\\S+$`));
  const moved = lineOf(three, a.address, { alias: "A" }) + lineOf(one, b.address, { alias: "B" });
  const kept = await askMeanwhile(one, async () => {
    assertMatch(
      await wired.taken(moved),
      new RegExp(` added=A@127\\.0\\.0\\.1:${three} removed=A@127\\.0\\.0\\.1:${two}$`),
    );
  });
  assertMatch(kept, /^b+$/);
  assertEquals(await whoAnswers(three), "a");
  assert(await isRefused({ port: two }));
  // The metrics know of each listen address what was done there.
  const metrics = await metricsOf(wired);
  assertStringIncludes(metrics, `{route="A",listen="127.0.0.1:${three}"} 1`);
  assertStringIncludes(metrics, `{route="B",listen="127.0.0.1:${one}"} `);
});

/** A client by TLS. */
interface TlsClient extends Disposable {
  /** Waits until so much text has come; gives it. */
  read(count: number): Promise<string>;
}

function connectByTls(port: number, { cert }: Issued): TlsClient {
  const socket = tls.connect({ host: "127.0.0.1", port, servername: "localhost", ca: cert });
  let text = "";
  let failure: unknown;
  socket.setEncoding("utf8");
  socket.on("data", (more: string) => void (text += more));
  socket.on("error", (error: unknown) => void (failure = error));
  return {
    async read(count): Promise<string> {
      await until(() => text.length >= count || failure !== undefined, `${count} bytes by TLS`);
      if (text.length < count) throw failure;
      return text;
    },
    [Symbol.dispose]: (): void => void socket.destroy(),
  };
}

async function whoAnswersByTls(port: number, own: Issued): Promise<string> {
  using client = connectByTls(port, own);
  return await client.read(1);
}

Deno.test({
  name: "a port changes to TLS and back on its socket: who waits in the queue meanwhile is served",
  ...needs(UNIX, "openssl", PROGRAM_TLS),
}, async () => {
  using ca = await createCa();
  const issued = await ca.issue({ dns: ["localhost"] });
  const own = { ...issued, cert: ca.pem };
  await using a = startNamed("a");
  const port = freePort();
  const plain = lineOf(port, a.address, { settings: "max-connections=1" });
  const byTls = lineOf(port, a.address, { settings: "max-connections=1", listen: "TLS" });
  await using wired = await startWired(plain, { args: tlsOptionsOf(issued) });
  // It is the first TLS route: files that no route needed so far are read now.
  assertMatch(
    wired.program.stderr,
    / WARN {2}ignored setting="--tls-cert, --tls-key, --tls-client" /,
  );
  const first = await connect(port);
  assertEquals(await readExactly(first, 1), "a");
  using waiting = connectByTls(port, own);
  assertMatch(await wired.taken(byTls), / rewired .* changed=REDIS@127\.0\.0\.1:\d+\/tls$/);
  assert(await works(first));
  first[Symbol.dispose]();
  assertEquals(await waiting.read(1), "a");
  using waitsPlainly = await connect(port);
  assertMatch(await wired.taken(plain), / rewired .* changed=REDIS@127\.0\.0\.1:\d+$/);
  waiting[Symbol.dispose]();
  assertEquals(await readExactly(waitsPlainly, 1), "a");
  assertEquals(wired.said, { rewired: 2, failed: 0 });
});

Deno.test({
  name: "a first TLS route waits until its certificate can be read",
  ...needs(UNIX, "openssl", PROGRAM_TLS),
}, async () => {
  using ca = await createCa();
  const issued = await ca.issue({ dns: ["localhost"] });
  const own = { ...issued, cert: ca.pem };
  await using a = startNamed("a");
  const [port, other] = [freePort(), freePort()];
  await Deno.writeTextFile(issued.certPath, "not yet\n");
  await using wired = await startWired(lineOf(port, a.address), { args: tlsOptionsOf(issued) });
  using before = await connect(port);
  assertEquals(await readExactly(before, 1), "a");
  const withTls = lineOf(port, a.address) + lineOf(other, a.address, { listen: "TLS" });
  const refused = await wired.taken(withTls);
  assertMatch(refused, / ERROR rewire_failed .*--tls-cert/);
  assert(await isRefused({ port: other }));
  await Deno.writeTextFile(issued.certPath, issued.cert);
  // The file of routes has not changed, and nobody asks: what was wrong lay elsewhere.
  const line = await wired.next("rewired", { known: 0, ms: NOTICED_MS });
  assertMatch(line, / added=REDIS@127\.0\.0\.1:\d+\/tls$/);
  assertEquals(wired.said, { rewired: 1, failed: 1 });
  assertEquals(await whoAnswersByTls(other, own), "a");
  assert(await works(before));
});

Deno.test({
  name: "--rewire-timeout ends connections to a target that is gone, and of a route that is gone",
  ...needs(UNIX),
}, async () => {
  await using a = startNamed("a");
  await using b = startNamed("b");
  const [changes, goes, stays] = [freePort(), freePort(), freePort()];
  const stay = lineOf(stays, a.address, { alias: "STAYS" });
  await using wired = await startWired(
    lineOf(changes, a.address) + lineOf(goes, a.address, { alias: "GOES" }) + stay,
    { args: ["--rewire-timeout", "1s", "--log-level", "debug"] },
  );
  using moved = await connect(changes);
  using gone = await connect(goes);
  using kept = await connect(stays);
  for (const client of [moved, gone, kept]) assertEquals(await readExactly(client, 1), "a");
  const startMs = performance.now();
  const line = await wired.taken(lineOf(changes, b.address) + stay);
  assertMatch(line, / routes=2 removed=GOES@\S+ changed=REDIS@\S+$/);
  assert(await isRefused({ port: goes }));
  assert(await works(gone));
  // It still counts, and it is no route.
  const leaving = `ambassador_connections_open{route="GOES",listen="127.0.0.1:${goes}"} 1`;
  assertStringIncludes(await metricsOf(wired), leaving);
  assert(!(await get(wired, "readyz"))[1].includes("GOES"));
  await Promise.all([moved, gone].map(readToAnyEnd));
  assert(performance.now() - startMs > 950);
  assert(await works(kept));
  await until(
    () => linesOf(wired.program, "connection_closed").length === 2,
    "both ends are in the log",
  );
  for (const closed of linesOf(wired.program, "connection_closed")) {
    assertMatch(closed, / reason=rewire_timeout$/);
  }
  const metrics = await metricsOf(wired);
  assertMatch(metrics, /closed_total\{route="REDIS",\S+reason="rewire_timeout"\} 1\n/);
  assert(!metrics.includes("GOES"));
  assertEquals(await whoAnswers(changes), "b");
});

Deno.test({
  name: "without --rewire-timeout connections of a route that is gone go on to their end",
  ...needs(UNIX),
}, async () => {
  await using a = startNamed("a");
  const port = freePort();
  await using wired = await startWired(lineOf(port, a.address));
  using client = await connect(port);
  assertEquals(await readExactly(client, 1), "a");
  assertMatch(await wired.taken(""), / routes=0 removed=REDIS@/);
  assert(await isRefused({ port }));
  assert(await works(client));
  await client.closeWrite();
  assertEquals(await readText(client), "");
  wired.program.kill("SIGTERM");
  assertEquals((await within(wired.program.status, "the end")).code, 0);
});

Deno.test({
  name: "a stop during a change and right after one ends the program as ever",
  ...needs(LINUX),
}, async () => {
  await using a = startNamed("a");
  await using b = startNamed("b");
  const waits = [0, 2, 5, 10, 20, 40, 80, 160];
  await Promise.all(waits.map(async (waitMs, index) => {
    const hostname = `127.15.3.${index + 1}`;
    const ports = freePorts(hostname, 400);
    const lines = ports.slice(200).map((port) => lineOf(port, a.address));
    await using wired = await startWired(lines.join(""), { args: ["--bind", hostname] });
    await wired.take(ports.map((port) => lineOf(port, b.address)).join(""));
    await sleep(waitMs);
    wired.program.kill("SIGTERM");
    const { code, signal } = await within(wired.program.status, "the end");
    assertEquals([waitMs, code, signal], [waitMs, 0, null]);
    assertMatch(wired.program.stderr, / INFO {2}stopped cut_off=0\n$/);
  }));
});

Deno.test({
  name: "nothing is rewired any more once a stop has begun",
  ...needs(UNIX),
}, async () => {
  await using a = startNamed("a");
  await using b = startNamed("b");
  const [port, other] = [freePort(), freePort()];
  const args = ["--drain-delay", "5s", "--drain-timeout", "1s", "--rewire-timeout", "100ms"];
  await using wired = await startWired(lineOf(port, a.address), { args });
  using client = await connect(port);
  assertEquals(await readExactly(client, 1), "a");
  wired.program.kill("SIGTERM");
  await wired.program.line(/ draining /);
  await wired.take(lineOf(port, b.address) + lineOf(other, b.address));
  // Longer than a change takes that nobody has to ask for.
  await sleep(3500);
  assertEquals(await whoAnswers(port), "a");
  assert(await isRefused({ port: other }));
  wired.program.kill("SIGHUP");
  assert(await works(client));
  await until(() => isRefused({ port }), "the drain has begun");
  await wired.take("NONSENSE\n");
  assert(await works(client));
  await client.closeWrite();
  assertEquals((await within(wired.program.status, "the end")).code, 0);
  assertEquals(wired.said, { rewired: 0, failed: 0 });
});
