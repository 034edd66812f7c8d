import { assert, assertEquals, assertMatch } from "@std/assert";
import { showProgress } from "../../src/commands/progress.ts";
import type { Route } from "../../src/config/routes.ts";
import type { AwaitedUpstream } from "../../src/commands/progress.ts";
import { waitForUpstreams } from "../../src/commands/wait.ts";
import {
  freePort,
  programCommand,
  runProgram,
  startEcho,
  startProgram,
  until,
  within,
} from "../helpers/mod.ts";
import { LINUX, needs, programPath, TLS } from "../helpers/needs.ts";
import { routeTo } from "../helpers/routes.ts";
import { ALLOWED, everybody, startTlsEcho } from "../helpers/tls_routes.ts";

const LIMITS = { timeoutMs: 20_000 };

function routesTo(...targets: readonly { hostname: string; port: number }[]): Route[] {
  return targets.map((target) => routeTo(target));
}

Deno.test("waitForUpstreams() asks a target in each of the ways in which routes speak to it", async () => {
  await using upstream = startEcho();
  const ways = ["off", "v1", "v2", "v2"] as const;
  const routes = ways.map((sendProxy) => routeTo(upstream.address, { settings: { sendProxy } }));
  const upstreams = await within(waitForUpstreams(routes, LIMITS), "the upstream");
  assertEquals(upstreams.map(({ accepts }) => accepts), [true, true, true]);
  await until(() => upstream.clients === 3, "all three ways");
});

Deno.test(
  "waitForUpstreams() asks a TLS target once for each name that it is to have",
  needs(TLS, "openssl"),
  async () => {
    const { transports } = await everybody();
    await using upstream = startTlsEcho();
    const routes = [undefined, "wrong.example.com", ALLOWED].map((tlsName) => {
      const route = routeTo(upstream.address, { settings: { tlsName } });
      return { ...route, targets: [{ protocol: "tls" as const, ...upstream.address }] };
    });
    const waiting = waitForUpstreams(routes, { timeoutMs: 1500, transports });
    const upstreams = await within(waiting, "the upstreams");
    assertEquals(upstreams.map(({ accepts }) => accepts), [true, false, true]);
  },
);

function patientRoute(target: { hostname: string; port: number }, connectTimeoutMs: number): Route {
  return routeTo(target, { settings: { connectTimeoutMs } });
}

Deno.test("waitForUpstreams() ends as soon as every upstream has accepted", async () => {
  await using one = startEcho();
  await using two = startEcho();
  const upstreams = await within(
    waitForUpstreams(routesTo(one.address, two.address, one.address), LIMITS),
    "the upstreams",
  );
  assertEquals(upstreams.map(({ accepts }) => accepts), [true, true]);
  // One target of two routes is asked once.
  await until(() => one.clients === 1 && two.clients === 1, "both have had a client");
});

Deno.test("waitForUpstreams() goes on trying one that is not there yet", async () => {
  const port = freePort();
  const refused = Promise.withResolvers<void>();
  const waiting = waitForUpstreams(routesTo({ hostname: "127.0.0.1", port }), {
    ...LIMITS,
    onTry: ({ error }) => error === "connection refused" && refused.resolve(),
  });
  await within(refused.promise, "the first refusal");
  await using _upstream = startEcho({ port });
  const [upstream] = await within(waiting, "the upstream");
  assertEquals(upstream?.accepts, true);
});

Deno.test("waitForUpstreams() gives up at its limit and knows who is missing and why", async () => {
  await using up = startEcho();
  const down = { hostname: "127.0.0.1", port: freePort() };
  const upstreams = await within(
    waitForUpstreams(routesTo(up.address, down), { ...LIMITS, timeoutMs: 200 }),
    "the limit",
    5000,
  );
  assertEquals(upstreams, [
    { target: `127.0.0.1:${up.address.port}`, accepts: true, error: undefined },
    { target: `127.0.0.1:${down.port}`, accepts: false, error: "connection refused" },
  ]);
});

Deno.test("waitForUpstreams() is content with one target of a route", async () => {
  await using up = startEcho();
  const [down, other] = [freePort(), freePort()].map((port) => ({ hostname: "127.0.0.1", port }));
  if (down === undefined || other === undefined) throw new Error("no port");
  const route = (...targets: { hostname: string; port: number }[]): Route => {
    const [first, ...more] = routesTo(...targets);
    if (first === undefined) throw new Error("no target");
    return { ...first, targets: [...first.targets, ...more.flatMap(({ targets }) => targets)] };
  };
  const routes = [route(down, up.address), route(down, other)];
  const upstreams = await within(waitForUpstreams(routes, { timeoutMs: 300 }), "the limit", 5000);
  assertEquals(upstreams.map(({ accepts, error }) => [accepts, error]), [
    [true, undefined],
    [false, "connection refused"],
  ]);
});

Deno.test("waitForUpstreams() looks a name up again at each try", async () => {
  // Refused by every resolver without asking anybody: a label of 64 characters.
  let tries = 0;
  const [upstream] = await within(
    waitForUpstreams(routesTo({ hostname: "x".repeat(64), port: 1 }), {
      ...LIMITS,
      timeoutMs: 300,
      onTry: () => void tries++,
    }),
    "the limit",
    5000,
  );
  assertMatch(upstream?.error ?? "", /^name does not resolve/);
  assert(tries > 1, `${tries} tries`);
});

/** A listener whose queue is full: whoever connects gets no answer. */
async function startSilent(): Promise<Disposable & { readonly address: Deno.NetAddr }> {
  const opened = new DisposableStack();
  const listener = opened.use(Deno.listen({ hostname: "127.0.0.1", port: 0 }));
  for (let isFull = false; !isFull;) {
    const limit = new AbortController();
    const timer = setTimeout(() => limit.abort(), 100);
    try {
      const { port } = listener.addr;
      opened.use(await Deno.connect({ hostname: "127.0.0.1", port, signal: limit.signal }));
    } catch {
      isFull = true;
    } finally {
      clearTimeout(timer);
    }
  }
  return { address: listener.addr, [Symbol.dispose]: () => opened.dispose() };
}

Deno.test("waitForUpstreams() bounds each try by the connect timeout", async () => {
  using silent = await startSilent();
  let tries = 0;
  const [upstream] = await within(
    waitForUpstreams([patientRoute(silent.address, 50)], {
      timeoutMs: 600,
      onTry: () => void tries++,
    }),
    "the limit",
    5000,
  );
  assertEquals(upstream?.error, "no answer within 50ms");
  assert(tries > 1, `${tries} tries`);
});

Deno.test("waitForUpstreams() ends a try that is under way when the time is over", async () => {
  using silent = await startSilent();
  const waiting = waitForUpstreams([patientRoute(silent.address, 0)], { timeoutMs: 100 });
  const [upstream] = await within(waiting, "the limit", 2000);
  assertEquals(upstream?.error, "no answer within 100ms");
});

function upstream(target: string, error?: string): AwaitedUpstream {
  return { target, accepts: error === undefined, error };
}

Deno.test("showProgress() writes a line for each upstream that accepts", () => {
  let text = "";
  const show = showProgress({ columns: undefined, write: (more) => void (text += more) });
  const [down, up] = [upstream("a:1", "connection refused"), upstream("b:2")];
  show(down, [down, up]);
  show(up, [down, up]);
  assertEquals(text, "ambassador: b:2 accepts connections\n");
});

Deno.test("showProgress() draws one line on a terminal and never fills it", () => {
  const writes: string[] = [];
  const show = showProgress({ columns: 40, write: (text) => void writes.push(text) });
  const [down, up] = [upstream("a:1", "connection refused"), upstream("b:2")];
  show(down, [down, up]);
  assertEquals(writes.pop(), "\r\x1b[Kwaiting for 1 of 2: a:1 (connection re…");
  show(up, [up, up]);
  assertEquals(writes.pop(), "\r\x1b[K2 of 2 upstreams accept connections\n");
});

Deno.test("ambassador wait ends with 0 and a line for each upstream", async () => {
  await using up = startEcho();
  const target = `127.0.0.1:${up.address.port}`;
  assertEquals(
    await runProgram(["wait"], { env: { REDIS_PORT_6379_TCP: `tcp://${target}` } }),
    { code: 0, stdout: "", stderr: `ambassador: ${target} accepts connections\n` },
  );
});

Deno.test("ambassador wait ends with 1 and one line that names who is missing", async () => {
  const [one, two] = [`127.0.0.1:${freePort()}`, `127.0.0.1:${freePort()}`];
  assertEquals(await runProgram(["wait", "--timeout", "100ms", `1=${one}`, `2=${two}`]), {
    code: 1,
    stdout: "",
    stderr: `ambassador: no connection within 100ms: ${one} (connection refused), ` +
      `${two} (connection refused)\n`,
  });
});

Deno.test("ambassador wait takes bare targets, and names the routes that they replace", async () => {
  await using one = startEcho();
  await using two = startEcho();
  const [first, second] = [one, two].map(({ address }) => `127.0.0.1:${address.port}`);
  const env = {
    REDIS_PORT_6379_TCP: "tcp://192.0.2.1:6379",
    KUBERNETES_PORT_443_TCP: "tcp://192.0.2.1:443",
  };
  const { code, stdout, stderr } = await runProgram(["wait", `${first}`, `tcp://${second}`], {
    env,
  });
  assertEquals([code, stdout], [0, ""]);
  assertEquals(
    stderr.trimEnd().split("\n").sort(),
    [
      `ambassador: ${first} accepts connections`,
      `ambassador: ${second} accepts connections`,
      "ambassador: ignored: REDIS_PORT_6379_TCP: replaced by the route arguments",
    ].sort(),
  );
});

Deno.test("ambassador wait names UDP targets and leaves them out", async () => {
  await using up = startEcho();
  const target = `127.0.0.1:${up.address.port}`;
  const env = {
    DNS_PORT_53_TCP: `tcp://${target}`,
    DNS_PORT_53_UDP: "udp://192.0.2.1:53",
    OTHER_PORT_54_UDP: "udp://192.0.2.1:53",
    TWO_PORT_55_UDP: "udp://a:55,b:55",
  };
  const { code, stderr } = await runProgram(["wait"], { env });
  assertEquals(code, 0);
  assertEquals(stderr.trimEnd().split("\n"), [
    "ambassador: left out: UDP does not show whether a target is there: udp://192.0.2.1:53, " +
    "udp://a:55,udp://b:55",
    `ambassador: ${target} accepts connections`,
  ]);
  const bare = await runProgram(["wait", "udp://192.0.2.1:53", target, "53/udp=localhost:53"]);
  assertEquals(bare.code, 0);
  assertMatch(bare.stderr, /left out: .*: udp:\/\/localhost:53, udp:\/\/192\.0\.2\.1:53\n/);
});

Deno.test("ambassador wait ends with 2 where there are no targets but UDP ones", async () => {
  for (
    const [args, target] of [
      [["udp://192.0.2.1:53"], "udp://192.0.2.1:53"],
      [["53/udp=dns:53", "54/udp=dns:53"], "udp://dns:53"],
    ] as const
  ) {
    const { code, stdout, stderr } = await runProgram(["wait", ...args]);
    assertEquals([code, stdout], [2, ""]);
    const [message, hint, ...more] = stderr.trimEnd().split("\n");
    assertEquals(
      message,
      `ambassador: nothing to wait for: UDP does not show whether a target is there: ${target}`,
    );
    assertMatch(hint ?? "", /hint: wait for a TCP port of the same service/);
    assertEquals(more, []);
  }
});

Deno.test("ambassador wait finds nothing wrong with a target on this machine's own port", async () => {
  await using up = startEcho();
  const { port } = up.address;
  const env = { [`A_PORT_${port}_TCP`]: `tcp://127.0.0.1:${port}` };
  assertEquals((await runProgram(["wait"], { env })).code, 0);
  assertEquals((await runProgram(["check"], { env })).code, 2);
});

/** Whether a process handles signal 15 (proc(5), SigCgt: bit 14). */
function catchesSigterm(pid: number): boolean {
  const caught = /SigCgt:\s*([0-9a-f]+)/.exec(Deno.readTextFileSync(`/proc/${pid}/status`))?.[1];
  return (BigInt(`0x${caught ?? 0}`) & (1n << 14n)) !== 0n;
}

Deno.test({
  name: "ambassador wait ends at once on a signal",
  ...needs(LINUX),
}, async () => {
  await using program = startProgram(["wait", `1=127.0.0.1:${freePort()}`]);
  // It says nothing while it waits, but the kernel knows when it has begun to listen for signals.
  await until(() => catchesSigterm(program.pid), "it listens for signals");
  program.kill("SIGTERM");
  assertEquals((await within(program.status, "the end", 5000)).code, 143);
});

Deno.test("ambassador wait draws its progress on a terminal", needs("script"), async () => {
  const command = [...programCommand(), "wait", "--timeout", "300ms", `1=127.0.0.1:${freePort()}`];
  const { code, stdout } = await runProgram([], {
    command: [
      programPath("script"),
      "-qec",
      command.map((word) => `'${word}'`).join(" "),
      "/dev/null",
    ],
  });
  assertEquals(code, 1);
  const lines = stdout.split("\r\x1b[K");
  assertEquals(lines.shift(), "");
  const last = lines.pop() ?? "";
  assertMatch(last, /^ambassador: no connection within 300ms: .*\r\n$/);
  assert(lines.length > 1, stdout);
  for (const line of lines) {
    assertMatch(line, /^waiting for 1 of 1: [\d.:]+ \(connection refused\)$/);
  }
});

Deno.test({
  name: "ambassador wait ends with 0 even when nobody reads what it says",
  ...needs("bash"),
}, async () => {
  await using up = startEcho();
  const command = [...programCommand(), "wait", `1=127.0.0.1:${up.address.port}`];
  const words = command.map((word) => `'${word}'`).join(" ");
  // The reader is gone before anything is written.
  const script = `{ sleep 0.1; ${words}; echo $?; } 2> >(exec true) | cat`;
  const { stdout } = await runProgram([], { command: ["bash", "-c", script] });
  assertEquals(stdout, "0\n");
});
