import { assert, assertEquals, assertThrows } from "@std/assert";
import { parseCommand } from "../../src/config/command_line.ts";
import { SPECS } from "../../src/config/options.ts";
import {
  changedSettings,
  DEFAULT_SETTINGS,
  formatSettings,
  parseSettings,
  settingsOf,
} from "../../src/config/settings.ts";
import { Random } from "../helpers/mod.ts";

function refusal(text: string): string {
  return assertThrows(() => parseSettings(text, DEFAULT_SETTINGS), SyntaxError).message;
}

Deno.test("DEFAULT_SETTINGS are those of the contract", () => {
  assertEquals(DEFAULT_SETTINGS, {
    connectTimeoutMs: 10_000,
    retryMs: 0,
    halfCloseTimeoutMs: 0,
    idleTimeoutMs: 0,
    maxConnections: 0,
  });
});

Deno.test("settingsOf() takes over the options, but not the connections of all routes together", () => {
  const args = ["--idle-timeout", "5m", "--max-connections", "7", "1=a:1"];
  const { options } = parseCommand(args, {});
  assertEquals(settingsOf(options), { ...DEFAULT_SETTINGS, idleTimeoutMs: 300_000 });
  assertEquals(options.maxConnections, 7);
});

Deno.test("parseSettings() lets a route's setting replace the option, and keeps the others", () => {
  const base = { ...DEFAULT_SETTINGS, retryMs: 1, idleTimeoutMs: 2 };
  assertEquals(parseSettings("idle-timeout=5m,max-connections=3", base), {
    ...base,
    idleTimeoutMs: 300_000,
    maxConnections: 3,
  });
  // Off for this route although the option says something.
  assertEquals(parseSettings("RETRY=0", base), { ...base, retryMs: 0 });
  assertEquals(parseSettings("retry=1s,retry=2s", base).retryMs, 2000);
});

Deno.test("parseSettings() says what is wrong, and quotes nothing but names and known values", () => {
  const cases = {
    "": "a setting is written NAME=VALUE",
    "hunter2": "a setting is written NAME=VALUE",
    "idle-timeout": "a setting is written NAME=VALUE",
    "idle-timeout=": "idle-timeout: the value is missing",
    "idle-timeout=5m&retry=1s": "settings are separated by commas, not by &",
    "idle-timeout=5x": 'idle-timeout "5x": not a duration such as 500ms, 10s, 5m or 1h',
    "idle-timeout=5m,7m": 'idle-timeout "5m,7m": not a duration such as 500ms, 10s, 5m or 1h',
    "idle-timeout=5m,": 'idle-timeout "5m,": not a duration such as 500ms, 10s, 5m or 1h',
    "max-connections=-1": 'max-connections "-1": not a whole number',
    "idel-timeout=hunter2": '"idel-timeout": no such setting; the nearest is idle-timeout',
    "--retry=hunter2": '"--retry": no such setting; the nearest is retry',
    "=hunter2": '"": no such setting; the nearest is retry',
    "drain-timeout=hunter2,hunter2":
      '"drain-timeout": no such setting; the nearest is idle-timeout',
    "a\nb=hunter2": '"a\\nb": no such setting; the nearest is retry',
    "allow=10.0.0.0/8,192.168.0.0/16,retry=x": "allow: not supported yet; " +
      'retry "x": not a duration such as 500ms, 10s, 5m or 1h',
    "__proto__=hunter2": '"__proto__": no such setting; the nearest is retry',
  };
  for (const [text, why] of Object.entries(cases)) assertEquals(refusal(text), why, text);
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
  const changed = changedSettings(parseSettings(text, DEFAULT_SETTINGS));
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
    const text = rows.map(({ name }) => `${name}=${random.below(1000)}`).join(",");
    const settings = parseSettings(text, DEFAULT_SETTINGS);
    const printed = formatSettings(settings);
    if (printed !== "") assertEquals(parseSettings(printed, DEFAULT_SETTINGS), settings);
  }
  assertEquals(formatSettings(DEFAULT_SETTINGS), "");
});
