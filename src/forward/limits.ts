// Ends connections that are quiet for too long, idle and half-closed ones and what a reset has left, and
// those to a target that their route has no longer.
// One timer looks at counts that are kept anyway, so that a limit costs nothing when a byte moves.

import type { Reset } from "../net/relay.ts";
import { ResetDetector, type Sides } from "./reset_detector.ts";

/** What a route allows; times in milliseconds, 0 is no limit. */
export interface Limits {
  /** Close when no byte has moved either way for this long. */
  readonly idleTimeoutMs: number;
  /** Once one side has finished, close when no byte has moved for this long. */
  readonly halfCloseTimeoutMs: number;
}

/** What is watched of a connection. */
export interface Watched extends Sides {
  /** The limits of its route. */
  readonly settings: Limits;
  /** When its route ceased to have its target; undefined as long as it has it. */
  readonly goneMs?: number | undefined;
  /** Closes both sides at once. */
  end(reason: Reset | "idle_timeout" | "half_close_timeout" | "rewire_timeout"): void;
}

/**
 * How long a pending write may stand still, at least, before its connection counts as quiet: the
 * kernel takes in steps of about a megabyte, which are 20 s apart for a reader at 50 KB/s.
 */
export const WRITE_PATIENCE_MS = 60_000;
/** How long a sender whose receiver is gone may be quiet before it is closed. */
export const LINGER_QUIET_MS = 5000;
/** How long such a sender is read in all. */
export const LINGER_MS = 60_000;

/** How a connection looked when something last changed. */
interface Seen {
  readonly stage: "open" | "half_closed" | "lingering";
  readonly stageSinceMs: number;
  moved: number;
  movedMs: number;
}

/** Looks at connections, now and then, and ends those that are over a limit. */
export class Watcher {
  readonly #detector = new ResetDetector();
  readonly #seen = new WeakMap<Watched, Seen>();
  readonly #rewireTimeoutMs: number;

  /** Has seen nothing; `rewireTimeoutMs` is how long connections to a lost target may go on, 0 for ever. */
  constructor(rewireTimeoutMs = 0) {
    this.#rewireTimeoutMs = rewireTimeoutMs > 0 ? rewireTimeoutMs : Infinity;
  }

  /** Looks at one; `nowMs` counts from the beginning of its `goneMs`. */
  check(connection: Watched, nowMs: number): void {
    if (nowMs - (connection.goneMs ?? Infinity) >= this.#rewireTimeoutMs) {
      return connection.end("rewire_timeout");
    }
    this.#detector.check(connection);
    const { upstream, traffic: { up, down, failure }, settings } = connection;
    up.resume?.();
    down.resume?.();
    const { idleTimeoutMs, halfCloseTimeoutMs } = settings;
    if (failure === undefined) {
      if (upstream === undefined || (idleTimeoutMs === 0 && halfCloseTimeoutMs === 0)) return;
    } else if (upstream === undefined) {
      return connection.end(failure);
    }
    const isWriting = up.writing || down.writing;
    const lingers = failure !== undefined && !isWriting;
    const isHalfClosed = up.finished !== down.finished;
    const stage = lingers ? "lingering" : isHalfClosed ? "half_closed" : "open";
    const moved = up.bytes + down.bytes + (lingers ? up.discarded + down.discarded : 0);
    const seen = this.#seen.get(connection);
    if (seen === undefined || seen.stage !== stage) {
      this.#seen.set(connection, { stage, stageSinceMs: nowMs, moved, movedMs: nowMs });
      return;
    }
    if (seen.moved !== moved) [seen.moved, seen.movedMs] = [moved, nowMs];
    const quietMs = nowMs - seen.movedMs;
    const isOver = (limitMs: number): boolean =>
      limitMs > 0 && quietMs >= (isWriting ? Math.max(limitMs, WRITE_PATIENCE_MS) : limitMs);
    if (failure !== undefined) {
      const isLate = lingers && nowMs - seen.stageSinceMs >= LINGER_MS;
      if (isLate || isOver(LINGER_QUIET_MS)) connection.end(failure);
    } else if (isHalfClosed && isOver(halfCloseTimeoutMs)) {
      connection.end("half_close_timeout");
    } else if (isOver(idleTimeoutMs)) {
      connection.end("idle_timeout");
    }
  }
}

/** Options for {@linkcode watchLimits}. */
export interface WatchLimitsOptions {
  /** The limits of all routes, as they are at the time. */
  readonly limits: () => Iterable<Limits>;
  /** How long connections to a target may go on that their route has no longer; 0 is for ever. */
  readonly rewireTimeoutMs?: number;
}

/**
 * Watches the connections that are in the set at each look, until it is disposed. A connection is
 * never closed before its limit, and within a tenth of the limit (a second at most, 20 ms at least)
 * after it.
 */
export function watchLimits(
  connections: ReadonlySet<Watched>,
  { limits, rewireTimeoutMs = 0 }: WatchLimitsOptions,
): Disposable {
  const watcher = new Watcher(rewireTimeoutMs);
  let timer = setTimeout(look, intervalMs(limits(), rewireTimeoutMs));
  function look(): void {
    const nowMs = performance.now();
    const own = new Set<Limits>();
    for (const connection of connections) {
      watcher.check(connection, nowMs);
      // Its route may have others by now.
      own.add(connection.settings);
    }
    timer = setTimeout(look, intervalMs([...limits(), ...own], rewireTimeoutMs));
  }
  return { [Symbol.dispose]: () => clearTimeout(timer) };
}

/** How often to look: what happens between two looks shows at the second, and its age at a third. */
function intervalMs(limits: Iterable<Limits>, rewireTimeoutMs: number): number {
  let shortestMs = Math.min(10_000, rewireTimeoutMs || Infinity);
  for (const { idleTimeoutMs, halfCloseTimeoutMs } of limits) {
    shortestMs = Math.min(shortestMs, idleTimeoutMs || Infinity, halfCloseTimeoutMs || Infinity);
  }
  return Math.max(10, shortestMs / 20);
}
