// Durations as people write them (`500ms`, `10s`, `5m`, `1h`; a bare number is seconds) to
// milliseconds and back, and what was most likely meant by other ways to write them.

import { InputError } from "./errors.ts";

const UNITS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const;

/** The longest time a timer can be set for; a longer one would fire at once. */
const MAX_DURATION_MS = 2 ** 31 - 1;

/** Units as they are written elsewhere, in milliseconds. */
const OTHER_UNITS: readonly (readonly [RegExp, number])[] = [
  [/^(?:ms|msecs?|millis|milliseconds?)$/, UNITS.ms],
  [/^(?:s|secs?|seconds?)$/, UNITS.s],
  [/^(?:m|mins?|minutes?)$/, UNITS.m],
  [/^(?:h|hrs?|hours?)$/, UNITS.h],
  [/^(?:d|days?)$/, 24 * UNITS.h],
  [/^(?:w|weeks?)$/, 7 * 24 * UNITS.h],
];
/** What 0 means where nothing else is said. */
const ZERO = "0 turns a limit off";
/** Longer text is no duration in any way to write it. */
const MAX_LENGTH = 40;

/**
 * Milliseconds of a duration such as `500ms`, `1.5s`, `10s`, `5m` or `1h`; a bare number is seconds.
 *
 * @param zero What 0 means where it does not turn a limit off, for whoever wants no end.
 * @throws {InputError} if the text is not a duration, or a bare number of more than 24 days
 * @throws {RangeError} if it is longer than 24 days, or shorter than 1 ms and not 0
 */
export function parseDuration(text: string, zero?: string): number {
  const parts = /^(\d{1,15}(?:\.\d{1,3})?)(ms|s|m|h)?$/.exec(text);
  if (parts === null) {
    throw new InputError("not a duration such as 500ms, 10s, 5m or 1h", hintFor(text, zero));
  }
  const unit = (parts[2] ?? "s") as keyof typeof UNITS;
  const ms = Math.round(Number(parts[1]) * UNITS[unit]);
  // Rounded to nothing it would turn the limit off instead.
  if (ms === 0 && Number(parts[1]) > 0) throw new RangeError("shorter than 1ms");
  if (ms > MAX_DURATION_MS) {
    if (parts[2] !== undefined) throw new RangeError("longer than 24 days");
    const hint = `a bare number is seconds; for milliseconds write ${text}ms`;
    throw new InputError("longer than 24 days", hint);
  }
  return ms;
}

/** What to write instead of what is no duration. */
function hintFor(text: string, zero?: string): string | undefined {
  if (text.length > MAX_LENGTH) return undefined;
  if (/^\d+(?:ms|s|m|h)?\d+(?:\/\w+)?=/.test(text)) return "a space is missing before the route";
  if (
    /^-|^(?:off|no|none|never|false|disabled?|inf(?:inite|inity)?|∞|unlimited|forever)$/i.test(text)
  ) {
    return zero === undefined ? ZERO : `the longest is 576h; ${zero}`;
  }
  const ms = readOther(text);
  if (ms === undefined) return undefined;
  if (ms > MAX_DURATION_MS) {
    return `24 days are the most, 576h (units: ms, s, m, h); ${zero ?? ZERO}`;
  }
  if (ms < 1) return "ms is the smallest unit";
  return `write ${formatDuration(Math.round(ms))}, one number and one unit (ms, s, m, h)`;
}

/** Milliseconds of `1m30s`, `10 sec`, `5min`, `25d`, `1,5s`, `PT5S` or `1:30`; undefined of all else. */
function readOther(text: string): number | undefined {
  // 5,000 is five thousand for some and five for others.
  if (/\d,\d{3}(?!\d)/.test(text)) return undefined;
  const plain = text.trim().toLowerCase().replace(/^\+/, "").replace(/(\d),(\d)/, "$1.$2");
  const [, minutes, seconds] = /^(\d{1,5}):(\d\d)$/.exec(plain) ?? [];
  if (minutes !== undefined) return Number(minutes) * UNITS.m + Number(seconds) * UNITS.s;
  if (/^\d*\.?\d+ ?(?:us|µs|ns)$/.test(plain)) return 0;
  const body = plain.replace(/^pt(?=\d)/, "");
  if (!/^(?:\d*\.?\d+\.? ?[a-z]+[ ,]*)+$/.test(body)) return undefined;
  let sum = 0;
  for (const [, number, unit = ""] of body.matchAll(/(\d*\.?\d+)\.? ?([a-z]+)/g)) {
    const [, factor] = OTHER_UNITS.find(([names]) => names.test(unit)) ?? [];
    if (factor === undefined) return undefined;
    sum += Number(number) * factor;
  }
  return sum;
}

/**
 * What is to be said of a bare number so large that milliseconds were most likely meant; undefined of
 * all else.
 */
export function doubtOf(text: string): string | undefined {
  if (!/^\d{4,15}$/.test(text) || Number(text) < 1000) return undefined;
  const minutes = Number(text) / 60;
  const [count, unit] = minutes < 120
    ? [minutes, "minutes"]
    : minutes < 48 * 60
    ? [minutes / 60, "hours"]
    : [minutes / 60 / 24, "days"];
  return `${text} is ${text} seconds, ${Math.round(count)} ${unit}: write ${
    formatDuration(Number(text) * UNITS.s)
  }, or ${text}ms if milliseconds are meant`;
}

/** A short text that `parseDuration` reads back as the same number of milliseconds. */
export function formatDuration(ms: number): string {
  if (ms === 0) return "0";
  for (const unit of ["h", "m", "s"] as const) {
    if (ms % UNITS[unit] === 0) return `${ms / UNITS[unit]}${unit}`;
  }
  return `${ms}ms`;
}
