// Durations as people write them (`500ms`, `10s`, `5m`, `1h`; a bare number is seconds) to
// milliseconds and back.

const UNITS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const;

/** The longest time a timer can be set for; a longer one would fire at once. */
const MAX_DURATION_MS = 2 ** 31 - 1;

/**
 * Milliseconds of a duration such as `500ms`, `1.5s`, `10s`, `5m` or `1h`; a bare number is seconds.
 *
 * @throws {SyntaxError} if the text is not a duration
 * @throws {RangeError} if it is longer than 24 days, or shorter than 1 ms and not 0
 */
export function parseDuration(text: string): number {
  const parts = /^(\d{1,15}(?:\.\d{1,3})?)(ms|s|m|h)?$/.exec(text);
  if (parts === null) throw new SyntaxError("not a duration such as 500ms, 10s, 5m or 1h");
  const unit = (parts[2] ?? "s") as keyof typeof UNITS;
  const ms = Math.round(Number(parts[1]) * UNITS[unit]);
  // Rounded to nothing it would turn the limit off instead.
  if (ms === 0 && Number(parts[1]) > 0) throw new RangeError("shorter than 1ms");
  if (ms > MAX_DURATION_MS) throw new RangeError("longer than 24 days");
  return ms;
}

/** A short text that `parseDuration` reads back as the same number of milliseconds. */
export function formatDuration(ms: number): string {
  if (ms === 0) return "0";
  for (const unit of ["h", "m", "s"] as const) {
    if (ms % UNITS[unit] === 0) return `${ms / UNITS[unit]}${unit}`;
  }
  return `${ms}ms`;
}
