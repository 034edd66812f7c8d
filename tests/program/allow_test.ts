// `--allow` on the real program: who is let in and who is not, what that costs, and how it is told.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import {
  freePort,
  type Program,
  runProgram,
  startEcho,
  startProgram,
  until,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { networkOf } from "../helpers/namespace.ts";
import { IPV6, LINUX, needs } from "../helpers/needs.ts";
import { linesOf } from "../helpers/process.ts";
import { untilClosed, visitFrom } from "../helpers/proxies.ts";

/** How many clients are refused where it is their number that counts. */
const MANY = 20;

/** Starts the program and waits until it accepts. */
async function start(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Program> {
  const program = startProgram(args, { env });
  await program.line(/\bready\b/);
  return program;
}

/** Whether a client gets its echo; one that does not has received no byte. */
async function isServed(port: number, hostname = "127.0.0.1"): Promise<boolean> {
  using client = await within(Deno.connect({ hostname, port }), "a connect");
  try {
    await writeAll(client, "ping");
  } catch {
    // It has been refused before it spoke.
    return false;
  }
  const buffer = new Uint8Array(4);
  try {
    return await within(client.read(buffer), "an answer") !== null;
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionReset) return false;
    throw error;
  }
}

const LISTS: readonly {
  readonly list: string;
  readonly listen: string;
  readonly hostname: string;
  readonly served: boolean;
}[] = [
  { list: "127.0.0.1", listen: "127.0.0.1", hostname: "127.0.0.1", served: true },
  { list: "127.0.0.2", listen: "127.0.0.1", hostname: "127.0.0.1", served: false },
  { list: "127.0.0.0/31", listen: "127.0.0.1", hostname: "127.0.0.1", served: true },
  { list: "192.0.2.0/24,127.0.0.0/8", listen: "127.0.0.1", hostname: "127.0.0.1", served: true },
  { list: "192.0.2.0/24,::1", listen: "127.0.0.1", hostname: "127.0.0.1", served: false },
  { list: "all", listen: "127.0.0.1", hostname: "127.0.0.1", served: true },
  { list: "127.0.0.1", listen: "[::]", hostname: "127.0.0.1", served: true },
  { list: "127.0.0.2", listen: "[::]", hostname: "127.0.0.1", served: false },
  { list: "::/0", listen: "[::]", hostname: "127.0.0.1", served: false },
  { list: "::ffff:127.0.0.1", listen: "[::]", hostname: "127.0.0.1", served: true },
  { list: "127.0.0.0/8", listen: "[::]", hostname: "::1", served: false },
  { list: "0.0.0.0/0", listen: "[::]", hostname: "::1", served: false },
  { list: "::1", listen: "[::1]", hostname: "::1", served: true },
  { list: "::/64", listen: "[::1]", hostname: "::1", served: true },
  { list: "2001:db8::/32", listen: "[::1]", hostname: "::1", served: false },
];

for (const { list, listen, hostname, served } of LISTS) {
  Deno.test({
    name: `--allow=${list} ${served ? "serves" : "refuses"} ${hostname} at ${listen}`,
    ...needs(...(listen.includes(":") ? [IPV6] : [])),
  }, async () => {
    await using upstream = startEcho();
    const port = freePort();
    const route = `${listen}:${port}=127.0.0.1:${upstream.address.port}`;
    await using program = await start([`--allow=${list}`, route]);
    assertEquals(await isServed(port, hostname), served);
    assertEquals(upstream.clients, served ? 1 : 0);
    if (!served) await program.line(/ not_allowed /);
    assertEquals(linesOf(program, "not_allowed").length, served ? 0 : 1);
  });
}

const LINK = networkOf(
  "a network with a link-local address",
  `ip link add side type veth peer name end
  ip -6 address add fe80::1/64 dev side nodad
  ip link set side up
  ip link set end up`,
);

Deno.test({
  name: "--allow knows a link-local client whatever its interface",
  ...needs("unshare", "ip", LINK),
}, async () => {
  const { stdout, stderr } = await LINK.run("tests/helpers/link_local.ts");
  const who = stdout.split("\n").map((line) => line.split("%")[0]);
  assertEquals(who, [
    "fe80::/10 serves fe80::1",
    "fe80::1 serves fe80::1",
    "fe80::/128 refuses fe80::1",
    "127.0.0.0/8,::1 refuses fe80::1",
    "",
  ], stderr);
});

Deno.test({
  name: "--allow serves those who are in the list and refuses others at the same time",
  ...needs(LINUX),
}, async () => {
  await using upstream = startEcho();
  const port = freePort();
  const route = `127.0.0.1:${port}=127.0.0.1:${upstream.address.port}`;
  // The refused ones keep their ends open, and take no place.
  await using _program = await start(["--allow=127.0.0.2", "--max-connections=1", route]);
  using refused = new DisposableStack();
  for (let client = 0; client < MANY; client++) {
    refused.use(await within(Deno.connect({ hostname: "127.0.0.1", port }), "a connect"));
    const { text } = await visitFrom("127.0.0.2", { port, text: "ping" });
    assertEquals(text, "ping");
  }
  assertEquals(upstream.clients, MANY);
});

/** What all lines of this kind stand for: one with a count is as many. */
function countOf(lines: readonly string[], count: RegExp): number {
  return lines.reduce((sum, line) => sum + Number(count.exec(line)?.[1] ?? 1), 0);
}

/** Connects as often as that at once; each is closed without a byte. */
async function beRefused(port: number, times: number): Promise<void> {
  await Promise.all(Array.from({ length: times }, async () => {
    using client = await within(Deno.connect({ hostname: "127.0.0.1", port }), "a connect");
    assertEquals(await untilClosed(client), 0);
  }));
}

Deno.test("--allow logs the first refusal at once, others once a second, and counts all", async () => {
  await using upstream = startEcho();
  const [port, status] = [freePort(), freePort()];
  const target = `127.0.0.1:${upstream.address.port}`;
  const args = ["--allow=192.0.2.0/24", `--status=127.0.0.1:${status}`];
  const env = { [`REDIS_PORT_${port}_TCP`]: `tcp://${target}` };
  await using program = await start(args, env);
  await beRefused(port, 1);
  const [first] = await program.line(/.* not_allowed .*/);
  const fields = `route=REDIS listen=\\[::\\]:${port} target=${target} client=127\\.0\\.0\\.1:\\d+`;
  const whole = new RegExp(`^\\S+ WARN {2}not_allowed ${fields}( count=\\d+)?$`);
  assertMatch(first, whole);
  assert(!first.includes(" count="), first);
  await beRefused(port, MANY);
  const lines = (): string[] => linesOf(program, "not_allowed");
  await until(() => countOf(lines(), / count=(\d+)$/) > MANY, "all are in the log");
  assertEquals(countOf(lines(), / count=(\d+)$/), MANY + 1);
  // The seconds are counted from the first; a slow machine takes more than one.
  assert(lines().length <= 4, program.stderr);
  for (const line of lines()) assertMatch(line, whole);
  // The status page is for whoever reaches it.
  const response = await within(fetch(`http://127.0.0.1:${status}/metrics`), "the metrics");
  const metrics = await response.text();
  const sample = `\\{route="REDIS",listen="\\[::\\]:${port}",reason="not_allowed"\\} ${MANY + 1}$`;
  assertMatch(metrics, new RegExp(`^ambassador_connections_closed_total${sample}`, "m"));
  assertMatch(metrics, /^ambassador_connections_open\{.*\} 0$/m);
  assertMatch(metrics, /^ambassador_connect_errors_total\{.*\} 0$/m);
  assertEquals(upstream.clients, 0);
});

Deno.test("--allow logs refusals as JSON too", async () => {
  const port = freePort();
  const route = `127.0.0.1:${port}=127.0.0.1:1`;
  await using program = await start(["--allow=192.0.2.0/24", "--log-format=json", route]);
  await beRefused(port, MANY);
  const lines = (): string[] =>
    program.stderr.split("\n").filter((line) => line.includes('"not_allowed"'));
  const count = /"count":(\d+)\}$/;
  await until(() => countOf(lines(), count) >= MANY, "all are in the log");
  assertEquals(countOf(lines(), count), MANY);
  const fields = ["time", "level", "event", "route", "listen", "target", "client"];
  for (const [index, line] of lines().entries()) {
    const told = JSON.parse(line);
    assertEquals(Object.keys(told).slice(0, fields.length), fields);
    assertEquals(Object.keys(told)[fields.length], index === 0 ? undefined : "count");
    assertEquals([told.level, told.event, told.listen, told.target], [
      "WARN",
      "not_allowed",
      `127.0.0.1:${port}`,
      "127.0.0.1:1",
    ]);
    assertMatch(told.client, /^127\.0\.0\.1:\d+$/);
  }
});

Deno.test("AMBASSADOR_ALLOW refuses as --allow does, and an argument replaces it", async () => {
  await using upstream = startEcho();
  const port = freePort();
  const route = `127.0.0.1:${port}=127.0.0.1:${upstream.address.port}`;
  const env = { AMBASSADOR_ALLOW: "192.0.2.0/24,127.0.0.2" };
  {
    await using _program = await start([route], env);
    assertEquals(await isServed(port), false);
  }
  await using _program = await start(["--allow=192.0.2.0/24", "--allow=127.0.0.1", route], env);
  assertEquals(await isServed(port), true);
});

for (const option of ["allow", "accept-proxy"]) {
  const variable = `AMBASSADOR_${option.toUpperCase().replace("-", "_")}`;
  for (const value of ["", " "]) {
    Deno.test(`${variable} that holds ${value === "" ? "nothing" : "a space"} is an error`, async () => {
      const env = { [variable]: value };
      const { code, stderr } = await runProgram([`127.0.0.1:${freePort()}=127.0.0.1:1`], { env });
      assertEquals(code, 2, stderr);
      assertStringIncludes(stderr, variable);
    });
  }

  Deno.test(`--${option} that names no network is an error`, async () => {
    const route = `127.0.0.1:${freePort()}=127.0.0.1:1`;
    for (const value of ["", "127.0.0.1/33", "example.com"]) {
      const { code, stderr } = await runProgram(["check", `--${option}=${value}`, route]);
      assertEquals(code, 2, stderr);
      assertStringIncludes(stderr, option);
    }
  });
}

/** A route with a list and another setting behind it, and an option that is stricter. */
const OWN = ["--allow=192.0.2.0/24", "?allow=127.0.0.2,127.0.0.1,idle-timeout=5m"] as const;

Deno.test("?allow= replaces --allow for its route", async () => {
  await using upstream = startEcho();
  const [own, other] = [freePort(), freePort()];
  const target = `127.0.0.1:${upstream.address.port}`;
  const [option, settings] = OWN;
  await using _program = await start([
    option,
    `127.0.0.1:${own}=${target}${settings}`,
    `127.0.0.1:${other}=${target}`,
  ]);
  assertEquals([await isServed(own), await isServed(other)], [true, false]);
});

Deno.test("check shows the list of each route", async () => {
  const [own, other] = [freePort(), freePort()].sort((a, b) => a - b);
  const [option, settings] = OWN;
  const args = [
    option,
    `127.0.0.1:${own}=192.0.2.10:6379${settings}`,
    `127.0.0.1:${other}=192.0.2.10:6379`,
  ];
  const json = await runProgram(["check", "--format=json", ...args]);
  assertEquals(json.code, 0, json.stderr);
  const { routes } = JSON.parse(json.stdout);
  assertEquals(routes.map((route: { settings: unknown }) => route.settings), [
    { "idle-timeout": "5m", allow: "127.0.0.2,127.0.0.1" },
    { allow: "192.0.2.0/24" },
  ]);
  const table = await runProgram(["check", ...args]);
  assertEquals(table.code, 0, table.stderr);
  assertMatch(table.stdout, /idle-timeout=5m\b.*allow=127\.0\.0\.2,127\.0\.0\.1(?![\d/,])/);
  assertStringIncludes(table.stdout, "allow=192.0.2.0/24");
});

for (const network of ["0.0.0.0/0", "::/0", "192.0.2.0/24,0.0.0.0/0"]) {
  Deno.test(`--accept-proxy=${network} is warned of once`, async () => {
    const port = freePort();
    const route = `127.0.0.1:${port}=127.0.0.1:1`;
    await using program = await start([`--accept-proxy=${network}`, route]);
    const [line, ...more] = linesOf(program, "warning");
    assertMatch(line ?? program.stderr, / WARN {2}warning .*setting=--accept-proxy\b/);
    assertEquals(more, []);
  });
}

Deno.test("--accept-proxy of some networks alone is warned of by nobody", async () => {
  const route = `127.0.0.1:${freePort()}=127.0.0.1:1`;
  await using program = await start(["--accept-proxy=192.0.2.0/24,::1", "--allow=all", route]);
  assertEquals(linesOf(program, "warning"), []);
});
