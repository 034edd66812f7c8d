// What the real program does about a file of routes that it can't use: it says all that is wrong, once,
// and tries again for as long as that is so.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { createCa } from "../helpers/certificates.ts";
import { freePort, isRefused, until, within } from "../helpers/mod.ts";
import { LINUX, needs, PROGRAM_TLS, UNIX } from "../helpers/needs.ts";
import { linesOf } from "../helpers/process.ts";
import {
  get,
  lease,
  lineOf,
  LOOK_EVERY_MS,
  metricsOf,
  NOTICED_MS,
  sleep,
  startNamed,
  startWired,
  tlsOptionsOf,
  whoAnswers,
} from "../helpers/rewiring.ts";

/** Long enough for the file to be looked at again. */
const SOME_LOOKS_MS = 2.5 * LOOK_EVERY_MS;

/** How long it may take until a file that can't be read is given up, and another one is taken. */
const SLOW_MS = 30_000;

Deno.test({
  name:
    "the program takes a port that another one had as soon as it is free, and nobody has to ask",
  ...needs(UNIX),
}, async () => {
  await using a = startNamed("a");
  await using b = startNamed("b");
  const taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [port, wanted] = [freePort(), taken.addr.port];
  await using wired = await startWired(lineOf(port, a.address));
  await wired.replace(lineOf(port, b.address) + lineOf(wanted, b.address, { alias: "WANTED" }));
  const line = await wired.next("rewire_failed", { known: 0, ms: NOTICED_MS });
  assertMatch(line, / error="[^"]* for route WANTED: address in use/);
  await sleep(SOME_LOOKS_MS);
  // It has been tried, and there was nothing else to say.
  assertEquals(wired.said, { rewired: 0, failed: 1 });
  assertMatch(await metricsOf(wired), /^ambassador_rewires_total\{result="failed"\} 1$/m);
  assertMatch((await get(wired, ""))[1], /holds now is not in force/);
  assertEquals(await whoAnswers(port), "a");
  taken.close();
  const rewired = await wired.next("rewired", { known: 0, ms: NOTICED_MS });
  assertMatch(rewired, / routes=2 added=WANTED@\S+ changed=REDIS@\S+$/);
  assertEquals([await whoAnswers(port), await whoAnswers(wanted)], ["b", "b"]);
  assertEquals(wired.said, { rewired: 1, failed: 1 });
  assert(!(await get(wired, ""))[1].includes("not in force"));
});

Deno.test({
  name:
    "the program says anew what is wrong when something else is, though the file has not changed",
  ...needs(UNIX),
}, async () => {
  await using a = startNamed("a");
  using one = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const two = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const port = freePort();
  await using wired = await startWired(lineOf(port, a.address));
  const first = await wired.taken([
    lineOf(port, a.address),
    lineOf(one.addr.port, a.address, { alias: "ONE" }),
    lineOf(two.addr.port, a.address, { alias: "TWO" }),
  ].join(""));
  // In the order of their ports.
  assertMatch(first, / rewire_failed .* for route (?:ONE|TWO): .* for route (?:ONE|TWO): /);
  assertMatch(first, / for route TWO: address in use/);
  two.close();
  const second = await wired.next("rewire_failed", { known: 1, ms: NOTICED_MS });
  assertMatch(second, / for route ONE: address in use/);
  assert(!second.includes("TWO"), second);
  assertEquals(wired.said, { rewired: 0, failed: 2 });
});

Deno.test({
  name: "the program says of a file all that is wrong at once: its lines, and ports that are taken",
  ...needs(UNIX),
}, async () => {
  await using a = startNamed("a");
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [port, free] = [freePort(), freePort()];
  // Misspelt: the start warns of it.
  const env = { AMBASSADOR_LOG_LEVLE: "debug" };
  await using wired = await startWired(lineOf(port, a.address), { env });
  assertStringIncludes(wired.program.stderr, "AMBASSADOR_LOG_LEVLE");
  const line = await wired.taken([
    lineOf(port, a.address),
    "BAD_PORT_1_TCP=tcp://nowhere\n",
    lineOf(taken.addr.port, a.address, { alias: "TAKEN" }),
    lineOf(free, a.address, { alias: "FREE" }),
  ].join(""));
  assertMatch(line, / rewire_failed .* line 2: BAD_PORT_1_TCP=.* for route TAKEN: address in use/);
  assert(!line.includes("FREE"), line);
  assert(!line.includes("LEVLE"), line);
  // What was only tried is not kept.
  assert(await isRefused({ port: free }));
  assertEquals(await whoAnswers(port), "a");
  // Nor does it say so of what is good.
  const good = await wired.taken(lineOf(port, a.address) + lineOf(free, a.address));
  assertMatch(good, / rewired .* routes=2 added=REDIS@\S+$/);
  assertEquals(wired.program.stderr.split("LEVLE").length, 2, wired.program.stderr);
});

Deno.test({
  name: "the program says of a file all that is wrong at once: TLS files, and ports that are taken",
  ...needs(UNIX, "openssl", PROGRAM_TLS),
}, async () => {
  using ca = await createCa();
  const issued = await ca.issue({ dns: ["localhost"] });
  await using a = startNamed("a");
  const taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [port, free] = [freePort(), freePort()];
  await Deno.writeTextFile(issued.certPath, "not yet\n");
  await using wired = await startWired(lineOf(port, a.address), { args: tlsOptionsOf(issued) });
  const line = await wired.taken([
    lineOf(port, a.address),
    lineOf(free, a.address, { alias: "FREE", listen: "TLS" }),
    lineOf(taken.addr.port, a.address, { alias: "TAKEN", listen: "TLS" }),
  ].join(""));
  assertMatch(line, / rewire_failed .*--tls-cert .* for route TAKEN: address in use/);
  assert(!line.includes("FREE"), line);
  // One is mended, and then the other: each is noticed.
  await Deno.writeTextFile(issued.certPath, issued.cert);
  const second = await wired.next("rewire_failed", { known: 1, ms: NOTICED_MS });
  assertMatch(second, / error="[^"]* for route TAKEN: address in use/);
  assert(!second.includes("--tls-cert"), second);
  taken.close();
  const rewired = await wired.next("rewired", { known: 0, ms: NOTICED_MS });
  assertMatch(rewired, / routes=3 added=(?:(?:FREE|TAKEN)@[^,]+\/tls,?){2}$/);
  assertEquals(wired.said, { rewired: 1, failed: 2 });
});

Deno.test({
  name:
    "the program is not held up by a file whose opening hangs, neither to be rewired nor to end",
  // 2.7 opens files on the thread that does all the rest.
  ...needs(LINUX, "perl", PROGRAM_TLS),
}, async () => {
  await using a = startNamed("a");
  await using b = startNamed("b");
  await Promise.all([true, false].map(async (isMended) => {
    const port = freePort();
    await using wired = await startWired(lineOf(port, a.address));
    await using _lease = await lease(wired.path);
    const known = { known: 0, ms: SLOW_MS };
    if (isMended) {
      const line = await wired.next("rewire_failed", known);
      assertMatch(line, / error="--routes \S+: it could not be read within 5s"/);
      assertEquals(await whoAnswers(port), "a");
      await wired.replace(lineOf(port, b.address));
      await wired.next("rewired", known);
      assertEquals(await whoAnswers(port), "b");
      assertEquals(wired.said, { rewired: 1, failed: 1 });
    } else {
      // It is read now.
      await sleep(LOOK_EVERY_MS + 500);
    }
    wired.program.kill("SIGTERM");
    assertEquals((await within(wired.program.status, "the end")).code, 0);
  }));
});

Deno.test({
  name:
    "the page's routes are as old as their last change: what changes none makes them no younger",
  ...needs(UNIX),
}, async () => {
  await using a = startNamed("a");
  await using b = startNamed("b");
  const port = freePort();
  await using wired = await startWired(lineOf(port, a.address));
  async function since(): Promise<string | undefined> {
    return /<\/bdi>,\s+since (.*? UTC)/.exec((await get(wired, ""))[1])?.[1];
  }
  const atStart = await since();
  assertMatch(atStart ?? "", /^\d{4}-\d\d-\d\d /);
  // The page tells no parts of a second.
  await sleep(1100);
  const comment = await wired.taken(`# said\n\n${lineOf(port, a.address)}`);
  assertMatch(comment, / rewired file=\S+ routes=1$/);
  assertEquals(await since(), atStart);
  assertMatch(await wired.taken("NONSENSE\n"), / rewire_failed /);
  assertEquals(await since(), atStart);
  assertMatch(await wired.taken(lineOf(port, a.address)), / rewired file=\S+ routes=1$/);
  assertEquals(await since(), atStart);
  await wired.taken(lineOf(port, b.address));
  assert(await since() !== atStart);
  await until(() => linesOf(wired.program, "rewired").length === 3, "three changes are in the log");
});

Deno.test({
  name: "the program warns of a line that takes its route away because it is misspelt",
  ...needs(UNIX),
}, async () => {
  await using a = startNamed("a");
  const [port, other] = [freePort(), freePort()];
  const good = lineOf(port, a.address);
  await using wired = await startWired(good + lineOf(other, a.address, { alias: "WEB" }));
  const line = await wired.taken(`${good}WEB-PORT-${other}-TCP=tcp://127.0.0.1:1\n`);
  assertMatch(line, / rewired file=\S+ routes=1 removed=WEB@/);
  const [ignored] = linesOf(wired.program, "ignored");
  assertMatch(
    ignored ?? "",
    / WARN {2}ignored variable=WEB-PORT-\d+-TCP reason="not a route: did you mean WEB_PORT_/,
  );
});
