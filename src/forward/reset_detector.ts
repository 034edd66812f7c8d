// Finds out whether a side that nobody reads has been reset: a client that is held until its upstream
// is there, a side that has finished while the other goes on, and one whose bytes the other does not
// take. A write of nothing moves nothing, and fails once the peer has reset the connection.

import { errorCode } from "../base/errors.ts";
import type { Direction } from "../net/relay.ts";
import type { Stream } from "../net/stream.ts";

/** For so long what was sent before a reset is kept for a reader that takes nothing of it. */
const UNTAKEN_MS = 10_000;

const NOTHING = new Uint8Array(0);

/** Watches one side of a connection. */
export class ResetDetector {
  readonly #socket: Pick<Stream, "write">;
  readonly #onGone: () => void;
  #isUnderWay = false;
  #bytes = 0;
  #failedMs: number | undefined;
  #wasReset = false;

  /**
   * Does nothing yet.
   *
   * @param socket The side.
   * @param onGone Called when it has been reset and nobody takes what it had sent.
   */
  constructor(socket: Pick<Stream, "write">, onGone: () => void) {
    this.#socket = socket;
    this.#onGone = onGone;
  }

  /** Whether the system has said so to this probe: who reads on sees an end like any other. */
  get wasReset(): boolean {
    return this.#wasReset;
  }

  /**
   * Looks whether there is something to find out. To be called now and then: it takes two times.
   *
   * @param sent What comes from this side; undefined while there is nobody to take it.
   * @param received What goes to it.
   * @param nowMs The time, from any beginning.
   */
  check(sent: Direction | undefined, received: Direction, nowMs: number): void {
    const isUntaken = sent !== undefined && !sent.finished;
    if (isUntaken && sent.bytes !== this.#bytes) {
      // Whoever takes what came before a reset gets all of it.
      this.#bytes = sent.bytes;
      this.#failedMs = undefined;
      return;
    }
    if (isUntaken && !sent.writing) return;
    // A write to this side would notice by itself, and once it has been told the end all of them fail.
    if (received.writing || received.finished || this.#isUnderWay) return;
    void this.#ask(nowMs, isUntaken ? UNTAKEN_MS : 0);
  }

  async #ask(nowMs: number, patienceMs: number): Promise<void> {
    this.#isUnderWay = true;
    try {
      await this.#socket.write(NOTHING);
    } catch (error) {
      if (errorCode(error) === "ECONNRESET") this.#wasReset = true;
      // A socket that the relay is just about to finish fails too; by the next time that is over.
      if (this.#failedMs === undefined) this.#failedMs = nowMs;
      else if (nowMs - this.#failedMs >= patienceMs) this.#onGone();
    } finally {
      this.#isUnderWay = false;
    }
  }
}
