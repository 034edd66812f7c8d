// When a build takes place, for the files that say so.

/**
 * Now, or the moment that SOURCE_DATE_EPOCH names, so that a build can be repeated byte by byte; in
 * milliseconds since 1970.
 *
 * @throws {SyntaxError} if SOURCE_DATE_EPOCH is no number of seconds
 */
export function buildTimeMs(): number {
  const seconds = Deno.env.get("SOURCE_DATE_EPOCH");
  if (seconds === undefined) return Date.now();
  if (!/^\d{1,11}$/.test(seconds)) {
    throw new SyntaxError(`SOURCE_DATE_EPOCH: "${seconds}" is no number of seconds`);
  }
  return Number(seconds) * 1000;
}
