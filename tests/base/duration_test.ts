import { assertEquals, assertThrows } from "@std/assert";
import { formatDuration, parseDuration } from "../../src/base/duration.ts";
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
