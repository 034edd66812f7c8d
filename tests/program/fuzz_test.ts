// Hostile input: whatever stands in the environment, in the arguments or in a duration, nothing is
// ever thrown but the error that says what is wrong with it, and what is accepted survives being
// printed and parsed again. `deno task fuzz` runs longer, and
// FUZZ_CASES says how long; `SEED=…` repeats a run.

import { assert, assertEquals } from "@std/assert";
import { formatAddress, parseAddress } from "../../src/base/address.ts";
import { formatCommand } from "../../src/commands/check.ts";
import { ask, type Command, parseCommand, readCommand } from "../../src/config/command_line.ts";
import { formatDuration, parseDuration } from "../../src/base/duration.ts";
import { ConfigError } from "../../src/base/errors.ts";
import { createLog } from "../../src/base/log.ts";
import { CHECK_FORMATS, SPECS, variableOf } from "../../src/config/options.ts";
import { formatRoute, type Route } from "../../src/config/routes.ts";
import { formatSettings } from "../../src/config/settings.ts";
import { isMistaken } from "../../src/config/unknown.ts";
import { Random } from "../helpers/mod.ts";

const CASES = Number(Deno.env.get("FUZZ_CASES") ?? 120_000);

/** Pieces from which nearly right input is made; a mutation then makes it wrong. */
const HOSTS = [
  "redis",
  "192.0.2.1",
  "0.0.0.0",
  "127.0.0.1",
  "localhost",
  "[::1]",
  "[2001:DB8::7]",
  "[fe80::1%eth0]",
  "[::ffff:192.0.2.1]",
  "a.b.example.com.",
  "0x7f.1",
  "2130706433",
  "ROOT:secret@redis",
  "",
];
const PORTS = ["1", "80", "6379", "65535", "0", "65536", "00080", "-1", "1e3", "６３７９", ""];
const SCHEMES = [
  "tcp://",
  "TCP://",
  "tcp://",
  "",
  "udp://",
  "UDP://",
  "tls://",
  "tcp:",
  "http://",
  "tcp:///",
];
const ALIASES = [
  "REDIS",
  "redis",
  "_",
  "",
  "X_ENV_Y",
  "X",
  "KUBERNETES",
  "__proto__",
  "A_PORT_1_TCP",
];
const PROTOCOLS = [
  "TCP",
  "tcp",
  "TCP",
  "TCP",
  "UDP",
  "TLS",
  "SCTP",
  "TCP_ADDR",
  "TCP_PORT",
  "XTCP",
];
const TIMES = ["0", "10s", "500ms", "1.5h", "5m", "-1s", "1e9", "99999999h", "1.2345s", "s", "∞"];
const WORDS = [
  "check",
  "wait",
  "healthcheck",
  "chekc",
  "--",
  "-",
  "-h",
  "--help",
  "--version",
  "-x",
];
const ODD = [
  "\0",
  "\n",
  "\r",
  "\u001b[31m",
  " ",
  "\t",
  "=",
  ":",
  "%",
  "@",
  "/",
  "é",
  "\ud800",
  "\u202e",
];
const SETTINGS = [
  "idle-timeout=5m",
  "retry=0",
  "RETRY=1.5",
  "max-connections=3",
  "connect-timeout=",
  "allow=10.0.0.0/8",
  "idel-timeout=secret@5m",
  "half-close-timeout=2s&retry=1",
  "bind=::1",
  "tls-allow=*.example.com,spiffe://a/b",
  "tls-name=redis",
  "starttls=postgres",
  "handshake-timeout=1s",
  "5m",
  "=",
  "",
];

function mutate(random: Random, text: string): string {
  for (let rounds = random.below(3); rounds > 0; rounds--) {
    const at = random.below(text.length + 1);
    const rest = at + random.below(3);
    const piece = random.below(2) === 0
      ? random.pick(ODD)
      : String.fromCharCode(random.below(0x250));
    text = text.slice(0, at) + piece.repeat(random.below(50) === 0 ? 500 : 1) + text.slice(rest);
  }
  return text;
}

function hostPort(random: Random): string {
  return `${random.pick(SCHEMES)}${random.pick(HOSTS)}:${random.pick(PORTS)}`;
}

/** Mostly one target, sometimes several, sometimes with settings. */
function targets(random: Random): string {
  const list = random.below(8) === 0 ? `${hostPort(random)},${hostPort(random)}` : hostPort(random);
  if (random.below(2) > 0) return list;
  const some = Array.from({ length: 1 + random.below(3) }, () => random.pick(SETTINGS));
  return `${list}?${some.join(",")}`;
}

function value(random: Random): string {
  return random.pick([
    () => targets(random),
    () => random.pick(TIMES),
    () => random.pick(ALIASES),
    () => random.pick(HOSTS),
    () => `${random.pick(ALIASES)},${random.pick(ALIASES)}`,
    () => random.pick(["debug", "JSON", "socat", "off", "on", "true"]),
    () => random.pick(["/run/key", "./x, y", "a,*.b", "none", "postgres", "-----BEGIN X-----"]),
    () => String(random.below(100_000)),
  ])();
}

function environment(random: Random): Record<string, string> {
  const variables: Record<string, string> = Object.create(null);
  if (random.below(2) > 0) {
    for (const name of ["CERT", "KEY", "CA"]) variables[`AMBASSADOR_TLS_${name}`] = `/${name}`;
  }
  for (let count = random.below(5); count > 0; count--) {
    const name = random.below(3) > 0
      ? `${random.pick(ALIASES)}_PORT_${random.pick(PORTS)}_${random.pick(PROTOCOLS)}`
      : random.below(2) > 0
      ? variableOf(random.pick(SPECS).name)
      : random.pick([
        "X_NAME",
        "AMBASSADOR_CONECT_TIMEOUT",
        "AMBASSADOR_",
        "AMBASADOR_BIND",
        "AMBASSADOR_TLS_CRT",
        "A_PORT_1",
        "A_1_TCP",
        "PATH",
        "__proto__",
      ]);
    variables[sometimes(random, name)] = sometimes(random, value(random));
  }
  return variables;
}

/** Mostly as it is, else mutated: input that is nearly right goes further than noise. */
function sometimes(random: Random, text: string): string {
  return random.below(4) === 0 ? mutate(random, text) : text;
}

function args(random: Random): string[] {
  return Array.from({ length: random.below(4) }, () => {
    const spec = random.pick(SPECS);
    return sometimes(
      random,
      random.pick([
        () => `--${spec.name}=${value(random)}`,
        () => `--${spec.name}`,
        () => `${random.pick(PORTS)}=${targets(random)}`,
        () => `${random.pick(PORTS)}/${random.pick(PROTOCOLS)}=${targets(random)}`,
        () => `${random.pick(HOSTS)}:${random.pick(PORTS)}=${targets(random)}`,
        () => random.pick(WORDS),
        () => value(random),
      ])(),
    );
  });
}

/** Runs the case; a failure says how to repeat it. */
function attempt(random: Random, input: unknown, act: () => void): void {
  try {
    act();
  } catch (cause) {
    throw new Error(`SEED=${random.seed}: ${JSON.stringify(input)}`, { cause });
  }
}

/** The result, or undefined where one of the errors is thrown that the parser documents. */
// deno-lint-ignore no-explicit-any
function parsed<T>(act: () => T, ...documented: (new (...args: any[]) => Error)[]): T | undefined {
  try {
    return act();
  } catch (error) {
    if (documented.some((known) => error instanceof known)) return undefined;
    throw error;
  }
}

// deno-lint-ignore no-control-regex
const CONTROL = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/;

function checkProblems(error: ConfigError): void {
  assert(error.problems.length > 0);
  for (const { message, hint = "" } of error.problems) {
    assert(message !== "" && !/[\n]/.test(message + hint), message);
    assert(!CONTROL.test(message + hint), message);
    assert(!(message + hint).includes("secret@"), message);
  }
}

/** A route as an argument that says all of it. */
function written({ listen, targets, settings }: Route): string {
  const list = targets.map((target) => `${target.protocol}://${formatAddress(target)}`).join(",");
  const own = formatSettings(settings);
  return `${formatAddress(listen)}/${listen.protocol}=${list}${own === "" ? "" : `?${own}`}`;
}

/** What listening by TLS needs, as the command says it. */
function tlsArguments({ routes, options: { tlsClient } }: Command): readonly string[] {
  if (!routes.some(({ listen }) => listen.protocol === "tls")) return [];
  const own = ["--tls-cert=c", "--tls-key=k", `--tls-client=${tlsClient}`];
  return tlsClient === "none" ? own : [...own, "--tls-ca=ca"];
}

function checkCommand(command: Command): void {
  const { routes, bare, warnings, name } = command;
  for (const format of CHECK_FORMATS) {
    const { text, notes } = formatCommand(command, format);
    assert(!CONTROL.test(text + notes.join("")), text);
    assertEquals(formatCommand(command, format), { text, notes });
  }
  if (warnings.length > 0) checkProblems(new ConfigError(warnings));
  assert(name === "wait" || bare.length === 0);
  if (routes.length === 0) return;
  // What is right must never look like a mistake, however it is printed.
  for (const route of routes) {
    for (const text of [formatRoute(route), written(route)]) assert(!isMistaken(text), text);
  }
  // What `wait` takes need not be able to start.
  const start = name === "wait" ? ["wait"] : ["check", ...tlsArguments(command)];
  const again = parseCommand([...start, ...routes.map(written)], {});
  assertEquals(again.routes, routes.map((route) => ({ ...route, aliases: [] })));
}

Deno.test("parseCommand() throws nothing but ConfigError, and what it accepts can be printed and parsed", () => {
  const random = new Random();
  console.error(`fuzz seed: ${random.seed}`);
  let accepted = 0;
  for (let i = 0; i < CASES / 3; i++) {
    const input = { args: args(random), environment: environment(random) };
    attempt(random, input, () => {
      let command: Command;
      try {
        command = parseCommand(input.args, input.environment);
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        return checkProblems(error);
      }
      accepted++;
      checkCommand(command);
    });
  }
  assert(accepted > CASES / 150, `only ${accepted} cases were accepted: the generator is too wild`);
});

/** Lines that were variables, or whatever has become of them. */
function linesOf(random: Random): string {
  const lines = Object.entries(environment(random))
    // Options would be refused, and nothing else be tried.
    .filter(([name]) => !name.startsWith("AMBASSADOR") || random.below(8) === 0)
    .map((pair) => `${pair.join("=")}\n`).join("");
  return random.below(2) === 0 ? lines : mutate(random, lines);
}

Deno.test("again() throws nothing but ConfigError, and gives the same as a first reading", () => {
  const random = new Random();
  console.error(`fuzz seed: ${random.seed}`);
  const path = "/etc/routes";
  for (let i = 0; i < CASES / 30; i++) {
    const args = random.below(2) === 0 ? ["--routes", path] : ["check", "--routes", path];
    const input = { args, environment: environment(random), texts: [] as string[] };
    const asked = ask(args, input.environment);
    for (let reading = 0; reading < 3; reading++) {
      const text = linesOf(random);
      input.texts.push(text);
      const file = { path, text, mayEverybodyWrite: false };
      attempt(random, input, () => {
        let command: Command;
        try {
          command = readCommand(asked, file);
        } catch (error) {
          if (!(error instanceof ConfigError)) throw error;
          return checkProblems(error);
        }
        const { again: _, ...rest } = parseCommand(args, input.environment, file);
        assertEquals({ ...command, again: undefined }, { ...rest, again: undefined });
        checkCommand(command);
      });
    }
  }
});

Deno.test("parseDuration() throws nothing but what it documents, and prints back", () => {
  const random = new Random();
  for (let i = 0; i < CASES / 3; i++) {
    const text = random.below(2) > 0
      ? mutate(random, random.pick(TIMES))
      : `${random.below(2 ** 31)}${random.pick(["", ".5", ".125"])}${
        random.pick(["", "ms", "s", "m", "h"])
      }`;
    attempt(random, text, () => {
      const ms = parsed(() => parseDuration(text), SyntaxError, RangeError);
      if (ms === undefined) return;
      assert(Number.isInteger(ms) && ms >= 0 && ms < 2 ** 31, String(ms));
      assertEquals(parseDuration(formatDuration(ms)), ms);
    });
  }
});

Deno.test("parseAddress() throws nothing but what it documents, and prints back", () => {
  const random = new Random();
  for (let i = 0; i < CASES / 3; i++) {
    const text = mutate(random, `${random.pick(HOSTS)}:${random.pick(PORTS)}`);
    attempt(random, text, () => {
      const address = parsed(() => parseAddress(text), SyntaxError, RangeError);
      if (address === undefined) return;
      assertEquals(parseAddress(formatAddress(address)), address);
      assert(/^[\w.:%-]+$/.test(address.hostname), address.hostname);
    });
  }
});

Deno.test("createLog() writes one line whatever the fields hold", () => {
  const random = new Random();
  const lines: string[] = [];
  const write = (line: string): void => void lines.push(line);
  const logs = (["text", "json"] as const).map((format) =>
    createLog({ level: "debug", format, write })
  );
  for (let i = 0; i < CASES / 20; i++) {
    const text = mutate(random, mutate(random, value(random)));
    attempt(random, text, () => {
      for (const log of logs) log.info("ready", { route: text, n: 1 });
      const [line = "", json = ""] = lines.splice(0);
      assert(!line.includes("\n") && !CONTROL.test(line), line);
      assert(!json.includes("\n"), json);
      assertEquals((JSON.parse(json) as { route: string }).route, text);
    });
  }
});
