import { assertEquals, assertThrows } from "@std/assert";
import { doubtOf, formatDuration, parseDuration } from "../../src/base/duration.ts";
import { hintOf } from "../../src/base/errors.ts";
import { Random } from "../helpers/mod.ts";

Deno.test("parseDuration() reads each unit, and a bare number as seconds", () => {
  const cases = {
    "500ms": 500,
    "10s": 10_000,
    "5m": 300_000,
    "1h": 3_600_000,
    "10": 10_000,
    "0": 0,
    "0ms": 0,
    "0h": 0,
    "0.0": 0,
    "1.5s": 1500,
    "0.25": 250,
    "007s": 7000,
    "2147483647ms": 2_147_483_647,
  };
  for (const [text, ms] of Object.entries(cases)) assertEquals(parseDuration(text), ms, text);
});

Deno.test("parseDuration() refuses what is not a duration", () => {
  const texts = ["", " ", "1 s", " 1s", "1s ", "1s\n", "-1s", "+1s", "1d", "1S", "s", "ms", "1e3"];
  for (
    const text of [...texts, ".5s", "1.s", "1.2345s", "1m30s", "0x10", "Infinity", "NaN", "１s"]
  ) {
    assertThrows(() => parseDuration(text), SyntaxError, "not a duration such as");
  }
});

Deno.test("parseDuration() refuses what no timer can be set for", () => {
  for (const text of ["2147483648ms", "36000m", "597h", "999999999999999h"]) {
    assertThrows(() => parseDuration(text), RangeError, "longer than 24 days");
  }
  assertThrows(() => parseDuration("9".repeat(1 << 20)), SyntaxError, "not a duration");
});

Deno.test("parseDuration() says how to write what other programs take", () => {
  const cases = {
    "1m30s": "write 90s",
    "1h 30m": "write 90m",
    "10 s": "write 10s",
    "10 seconds": "write 10s",
    "5min": "write 5m",
    "5M": "write 5m",
    "1d": "write 24h",
    "1,5s": "write 1500ms",
    ".5s": "write 500ms",
    "+5s": "write 5s",
    "PT1M30S": "write 90s",
    "1:30": "write 90s",
    "25d": "24 days are the most, 576h (units: ms, s, m, h); 0 turns a limit off",
    "-1": "0 turns a limit off",
    "never": "0 turns a limit off",
    "100us": "ms is the smallest unit",
    "3000000": "a bare number is seconds; for milliseconds write 3000000ms",
  };
  for (const [text, expected] of Object.entries(cases)) {
    const error = assertThrows(() => parseDuration(text), SyntaxError);
    const hint = hintOf(error)?.replace(", one number and one unit (ms, s, m, h)", "");
    assertEquals(hint, expected, text);
  }
  // What stands before three digits may separate thousands.
  const commas = ["5,000ms", "1,500s", "1,500", "1,000,000ms"];
  for (const text of [...commas, "", "ten", "5x", "s", "1m5", `${"1m".repeat(40)}x`]) {
    assertEquals(hintOf(assertThrows(() => parseDuration(text), SyntaxError)), undefined, text);
  }
});

Deno.test("doubtOf() says how long a bare number is that was most likely meant as milliseconds", () => {
  const cases = {
    "1000": "1000 is 1000 seconds, 17 minutes: write 1000s, or 1000ms if milliseconds are meant",
    "5000": "5000 is 5000 seconds, 83 minutes: write 5000s, or 5000ms if milliseconds are meant",
    "30000": "30000 is 30000 seconds, 8 hours: write 500m, or 30000ms if milliseconds are meant",
    "300000":
      "300000 is 300000 seconds, 3 days: write 5000m, or 300000ms if milliseconds are meant",
  };
  for (const [text, doubt] of Object.entries(cases)) assertEquals(doubtOf(text), doubt);
  for (const text of ["0", "999", "0999", "5000s", "5000ms", "1000.5", "x", ""]) {
    assertEquals(doubtOf(text), undefined, text);
  }
});

Deno.test("parseDuration() does not round a limit to none", () => {
  assertThrows(() => parseDuration("0.4ms"), RangeError, "shorter than 1ms");
  assertEquals(parseDuration("0.5ms"), 1);
  assertEquals(parseDuration("0.001s"), 1);
});

Deno.test("formatDuration() is read back by parseDuration(), whatever the duration", () => {
  const random = new Random();
  console.log(`seed ${random.seed}`);
  for (let round = 0; round < 2000; round++) {
    const ms = random.below(2 ** 31) * random.pick([0, 1, 1]);
    for (const value of [ms, Math.floor(ms / 60_000) * 60_000]) {
      assertEquals(parseDuration(formatDuration(value)), value);
    }
  }
  assertEquals(
    [0, 500, 1000, 8000, 60_000, 90_000, 3_600_000, 1500].map(formatDuration),
    ["0", "500ms", "1s", "8s", "1m", "90s", "1h", "1500ms"],
  );
});
