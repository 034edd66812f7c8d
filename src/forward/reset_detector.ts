// Finds out whether a side that nobody reads has been reset: a client that is held until its upstream
// is there, a side that has finished while the other goes on, and one whose bytes the other does not
// take. A write of nothing moves nothing, and fails once the peer has reset the connection.

import type { Direction, Reset, Traffic } from "../net/relay.ts";
import type { Stream } from "../net/stream.ts";

const NOTHING = new Uint8Array(0);

/** Both sides of a connection. */
export interface Sides {
  /** Who connected. */
  readonly client: Stream;
  /** Undefined until it is reached. */
  readonly upstream: Stream | undefined;
  /** What has moved; a reset that is found becomes its failure. */
  readonly traffic: Traffic;
}

/** Looks at all connections, now and then. */
export class ResetDetector {
  /** Those whose answer has not come yet. */
  readonly #asked = new WeakSet<Stream>();

  /** Asks the sides that nobody reads. Their answers come later, mostly within the same turn. */
  check({ client, upstream, traffic }: Sides): void {
    const { up, down, failure } = traffic;
    if (failure !== undefined) return;
    if (upstream === undefined || isUnread(up)) {
      void this.#ask(client, down, () => traffic.failure ??= "client_reset");
    }
    if (upstream !== undefined && isUnread(down)) {
      void this.#ask(upstream, up, () => traffic.failure ??= "upstream_reset");
    }
  }

  async #ask(side: Stream, received: Direction, onReset: () => Reset): Promise<void> {
    // A pending write to this side notices by itself.
    if (received.writing || received.finished || this.#asked.has(side)) return;
    this.#asked.add(side);
    try {
      await side.write(NOTHING);
    } catch {
      // Once a side has been told the end, every write to it fails.
      if (!received.finished) onReset();
    } finally {
      this.#asked.delete(side);
    }
  }
}

/** Whether nobody reads the side that sends this way. */
function isUnread({ finished, writing }: Direction): boolean {
  return finished || writing;
}
