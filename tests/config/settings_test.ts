import { assert, assertEquals, assertThrows } from "@std/assert";
import { parseCommand } from "../../src/config/command_line.ts";
import { NamePatterns } from "../../src/base/name_patterns.ts";
import { Networks } from "../../src/base/networks.ts";
import { BALANCES, type RouteSettings, SPECS } from "../../src/config/options.ts";
import {
  changedSettings,
  DEFAULT_SETTINGS,
  formatSettings,
  parseSettings,
  settingsOf,
} from "../../src/config/settings.ts";
import { Random } from "../helpers/mod.ts";

/** What holds for a route that says this of its own, and otherwise the defaults. */
function complete(text: string): RouteSettings {
  return { ...DEFAULT_SETTINGS, ...parseSettings(text).own };
}

/** A value of the kind that has this placeholder. */
function valueOf(placeholder: string, random: Random): string {
  const network = (): string => `${random.below(256)}.${random.below(256)}.0.0/${random.below(33)}`;
  switch (placeholder) {
    case "CIDR[,...]":
      return random.pick(["all", "off", `${network()},::1`, network()]);
    case "ORDER":
      return random.pick(BALANCES);
    case "VERSION":
      return random.pick(["off", "v1", "v2"]);
    case "NAME[,...]":
      return random.pick(["all", "redis", "*.example.com,spiffe://example.com/web"]);
    case "NAME":
      return random.pick(["redis", "192.0.2.1", "2001:db8::1"]);
    case "PROTOCOL":
      return random.pick(["off", "postgres"]);
    default:
      return String(random.below(1000));
  }
}

function refusal(text: string): string {
  return assertThrows(() => parseSettings(text), SyntaxError).message;
}

Deno.test("DEFAULT_SETTINGS are those of the contract", () => {
  assertEquals(DEFAULT_SETTINGS, {
    connectTimeoutMs: 10_000,
    retryMs: 0,
    balance: "first",
    failTimeoutMs: 10_000,
    halfCloseTimeoutMs: 0,
    idleTimeoutMs: 0,
    udpTimeoutMs: 60_000,
    maxConnections: 0,
    // Of the option the default is 4096.
    maxSessions: 0,
    allow: Networks.ALL,
    sendProxy: "off",
    acceptProxy: Networks.NONE,
    handshakeTimeoutMs: 5000,
    tlsAllow: NamePatterns.ANY,
    tlsName: undefined,
    starttls: "off",
  });
});

Deno.test("settingsOf() takes over the options, but no limit of all routes together", () => {
  const args = ["--idle-timeout=5m", "--max-connections=7", "--udp-timeout=1s", "1=a:1"];
  const { options } = parseCommand([...args, "--max-sessions=9"], {});
  const changed = { idleTimeoutMs: 300_000, udpTimeoutMs: 1000 };
  assertEquals(settingsOf(options), { ...DEFAULT_SETTINGS, ...changed });
  assertEquals([options.maxConnections, options.maxSessions], [7, 9]);
});

Deno.test("parseSettings() gives what a route says of its own, and of one said twice the last", () => {
  assertEquals(parseSettings("idle-timeout=5m,max-connections=3").own, {
    idleTimeoutMs: 300_000,
    maxConnections: 3,
  });
  assertEquals(parseSettings("RETRY=0").own, { retryMs: 0 });
  assertEquals(parseSettings("retry=1s,retry=2s").own, { retryMs: 2000 });
});

Deno.test("parseSettings() doubts a bare number of seconds that is large, of one said twice the last", () => {
  const doubt =
    "5000 is 5000 seconds, 83 minutes: write 5000s, or 5000ms if milliseconds are meant";
  assertEquals(parseSettings("idle-timeout=5000,max-connections=5000").doubts, [
    `idle-timeout: ${doubt}`,
  ]);
  assertEquals(parseSettings("idle-timeout=5000,IDLE-TIMEOUT=5s").doubts, []);
});

Deno.test("parseSettings() goes on with a list after a comma, and adds up one that is given twice", () => {
  const cases = {
    "allow=10.0.0.0/8,192.168.0.0/16,idle-timeout=5m,allow=::1": "10.0.0.0/8,192.168.0.0/16,::1",
    "allow=10.0.0.1": "10.0.0.1",
    "ALLOW=all": "all",
  };
  for (const [text, allow] of Object.entries(cases)) {
    assertEquals(String(parseSettings(text).own.allow), allow, text);
  }
});

Deno.test("parseSettings() says what is wrong, and quotes nothing but names and known values", () => {
  const cases = {
    "": "no setting follows the ?",
    "hunter2": "a setting is written NAME=VALUE",
    "idle-timeout": "a setting is written NAME=VALUE",
    "idle-timeout=": "idle-timeout: the value is missing",
    "idle-timeout=5m&retry=1s": "settings are separated by commas, not by &",
    "idle-timeout=5x": 'idle-timeout "5x": not a duration such as 500ms, 10s, 5m or 1h',
    "idle-timeout=5m,7m": 'idle-timeout "5m,7m": not a duration such as 500ms, 10s, 5m or 1h',
    "idle-timeout=5m,": "nothing follows the last comma",
    "max-connections=-1": 'max-connections "-1": not a whole number',
    "idel-timeout=hunter2": '"idel-timeout": no such setting; the nearest is idle-timeout',
    "--retry=hunter2": '"--retry": no such setting; the nearest is retry',
    "=hunter2": '"": no such setting; the nearest is retry',
    "drain-timeout=hunter2,hunter2":
      '"drain-timeout": no such setting, only an option for all routes',
    "a\nb=hunter2": '"a\\nb": no such setting; the nearest is allow',
    "udp-timeout=x,retry=x": 'udp-timeout "x": not a duration such as 500ms, 10s, 5m or 1h; ' +
      'retry "x": not a duration such as 500ms, 10s, 5m or 1h',
    "allow=10.0.0.0/8,": "nothing follows the last comma",
    "allow=10.0.0.0/8,,::1": 'allow "10.0.0.0/8,,::1": an address is missing',
    "idle-timeout=5m;retry=1s": "settings are separated by commas, not by ;",
    "idle-timeout=5m?retry=1s": "a second ? stands there",
    "allow=10.0.0.0/8,allow=all":
      'allow "10.0.0.0/8,all": "all" stands alone, without addresses beside it',
    "send-proxy=v3": 'send-proxy "v3": not one of off, v1, v2',
    "tls-name=a_*": 'tls-name "a_*": not a host name',
    "starttls=mysql": 'starttls "mysql": not one of off, postgres',
    "tls-cert=hunter2": '"tls-cert": no such setting, only an option for all routes',
    "idel-timeout=5m,tls-allow=spiffe://example.com/ns/Production/serviceaccount/consumer":
      '"idel-timeout": no such setting; the nearest is idle-timeout',
    "__proto__=hunter2": '"__proto__": no such setting; the nearest is retry',
  };
  for (const [text, why] of Object.entries(cases)) assertEquals(refusal(text), why, text);
});

Deno.test("parseSettings() takes a ; and a ? in the name of a client", () => {
  const { tlsAllow, retryMs } = parseSettings("tls-allow=spiffe://a/b;c?d,retry=1s").own;
  assertEquals([String(tlsAllow), retryMs], ["spiffe://a/b;c?d", 1000]);
});

Deno.test("parseSettings() takes no time, and says little, for a megabyte", () => {
  const start = performance.now();
  for (const piece of ["a=b,", ",", "=", "retry=x,", "a", "&", "\ud800"]) {
    const text = piece.repeat((1 << 20) / piece.length);
    assert(refusal(text).length < 1000, piece);
  }
  const many = Array.from({ length: 100_000 }, (_, index) => `x${index}=1`).join(",");
  assert(refusal(many).length < 1000);
  const ms = performance.now() - start;
  assert(ms < 3000, `${ms} ms`);
});

Deno.test("changedSettings() are those that differ from the defaults, in the order of the options", () => {
  assertEquals(changedSettings(DEFAULT_SETTINGS), {});
  const text = "max-connections=3,idle-timeout=300s,connect-timeout=10s,retry=1.5s";
  const changed = changedSettings(complete(text));
  assertEquals(Object.entries(changed), [
    ["retry", "1500ms"],
    ["idle-timeout", "5m"],
    ["max-connections", "3"],
  ]);
});

Deno.test("formatSettings() is read back by parseSettings(), whatever the settings", () => {
  const random = new Random();
  console.log(`seed ${random.seed}`);
  const rows = SPECS.filter(({ route }) => route !== undefined);
  for (let round = 0; round < 500; round++) {
    const text = rows.map(({ name, kind }) => `${name}=${valueOf(kind.placeholder, random)}`).join(
      ",",
    );
    const printed = formatSettings(complete(text));
    if (printed !== "") assertEquals(formatSettings(complete(printed)), printed);
  }
  assertEquals(formatSettings(DEFAULT_SETTINGS), "");
});
