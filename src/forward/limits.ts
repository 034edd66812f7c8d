// Closes connections on which nothing has moved for too long, and those that were reset where nobody
// reads. One timer watches all of them and looks at the counts that are kept anyway, so that a limit
// costs nothing when a byte moves.

import type { Connection } from "./connection.ts";

/** Options for {@linkcode watchLimits}; times in milliseconds, 0 is no limit. */
export interface WatchLimitsOptions {
  /** Close when no byte has moved either way for this long. */
  readonly idleTimeoutMs: number;
  /** Once one side has finished, close when no byte has moved for this long. */
  readonly halfCloseTimeoutMs: number;
}

/** How a connection looked when something last changed. */
interface Seen {
  bytes: number;
  halfClosed: boolean;
  sinceMs: number;
}

/** The longest time from one look to the next. */
const LONGEST_MS = 500;

/**
 * Watches the connections that are in the set at each look, until it is disposed. A connection is
 * never closed before its limit, and within a tenth of the limit (a second at most, 20 ms at least)
 * after it.
 */
export function watchLimits(
  connections: ReadonlySet<Connection>,
): Disposable {
  const seen = new WeakMap<Connection, Seen>();
  // What happened between two looks is seen at the second one, and its age at a third: two a tenth.
  const everyMs = 10;
  const timer = setInterval(() => {
    const nowMs = performance.now();
    for (const connection of connections) {
      connection.checkForReset(nowMs);
      const { idleTimeoutMs, halfCloseTimeoutMs } = connection.settings;
      if (!connection.isRelaying) continue;
      const { up, down } = connection.traffic;
      const bytes = up.bytes + down.bytes;
      const halfClosed = up.finished !== down.finished;
      const last = seen.get(connection);
      if (last === undefined || last.bytes !== bytes || last.halfClosed !== halfClosed) {
        seen.set(connection, { bytes, halfClosed, sinceMs: nowMs });
        continue;
      }
      const quietMs = nowMs - last.sinceMs;
      if (halfClosed && halfCloseTimeoutMs > 0 && quietMs >= halfCloseTimeoutMs) {
        connection.end("half_close_timeout");
      } else if (idleTimeoutMs > 0 && quietMs >= idleTimeoutMs) {
        connection.end("idle_timeout");
      }
    }
  }, everyMs);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
