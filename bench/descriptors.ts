// How many connections the limit on open files allows to a process that the bench starts. Deno has
// raised its own to what it may be, and hands it on.

/** The most connections that the bench opens at once. */
const MOST = 10_000;
/** What a forwarder opens besides its connections and listeners, generously. */
const OWN = 100;

/** How many descriptors a process may have. */
export function descriptors(): number {
  return openFilesOf(Deno.readTextFileSync("/proc/self/limits"));
}

/** Reads the limit in force from what `/proc/PID/limits` holds. */
export function openFilesOf(limits: string): number {
  return Number(limits.match(/^Max open files\s+(\d+)/m)?.[1] ?? NaN);
}

/** How many connections a forwarder may have beside so many routes: two descriptors for each. */
export function connectionsFor(routes: number, limit: number = descriptors()): number {
  return Math.min(MOST, Math.floor((limit - OWN - routes) / 2));
}
