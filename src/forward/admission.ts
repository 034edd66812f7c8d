// Says when the next client may be accepted: below the limit on connections, and not while one that
// was accepted already waits for a descriptor to reach its upstream with. One gate for all routes,
// since the limits are those of the process.

import { isShortage } from "../base/errors.ts";
import { startPause } from "../base/time.ts";

/** A shortage that has not shown for so long is over. */
export const SHORTAGE_OVER_MS = 10_000;

/** Where descriptors are short, so many stay free of forwarded connections. */
const ROOM = 8;

/** Counts connections and those that wait for something to be given back. */
export class Gate {
  readonly #max: number;
  #connections = 0;
  #starving = 0;
  #lastShortageMs = -Infinity;
  readonly #dials: Wake[] = [];
  readonly #accepts: Wake[] = [];

  /**
   * An open gate.
   *
   * @param max Connections at once; 0 is no limit.
   */
  constructor(max: number) {
    this.#max = max > 0 ? max : Infinity;
  }

  /** Connections that are open. */
  get connections(): number {
    return this.#connections;
  }

  /** Whether the next client may be accepted now. */
  get isOpen(): boolean {
    return this.#connections < this.#max && this.#starving === 0;
  }

  /** Whether a descriptor was missing not long ago, so that other failures may come from that. */
  get isShort(): boolean {
    return performance.now() - this.#lastShortageMs < SHORTAGE_OVER_MS;
  }

  /** Takes note that a descriptor was missing; whether that is news. */
  noteShortage(): boolean {
    const isNews = !this.isShort;
    this.#lastShortageMs = performance.now();
    return isNews;
  }

  /**
   * Whether others, like the status page, have descriptors left if a client is accepted now. Found out
   * by taking them for a moment, and only for as long as they are short.
   */
  hasRoom(): boolean {
    if (!this.isShort || this.#connections === 0 || areFree(ROOM)) return true;
    this.#lastShortageMs = performance.now();
    return false;
  }

  /** Counts a connection that has begun. */
  enter(): void {
    this.#connections++;
  }

  /** Counts a connection that has ended, and wakes those who can go on for it. */
  leave(): void {
    this.#connections--;
    // It has given back two descriptors. Dials go first: their clients are already here.
    this.#dials.shift()?.();
    this.#dials.shift()?.();
    this.#wakeAccepts();
  }

  /** Runs `act` while no further client is accepted, since it waits for a descriptor. */
  async starve<T>(act: () => Promise<T>): Promise<T> {
    this.#starving++;
    try {
      return await act();
    } finally {
      this.#starving--;
      this.#wakeAccepts();
    }
  }

  /** For a dial that wants a descriptor: resolves when one may be free, or the time is over. */
  async untilDescriptor(withinMs: number, signal: AbortSignal): Promise<void> {
    await this.#wait(this.#dials, withinMs, signal);
  }

  /** For an accept: resolves when the gate may have opened, or the time is over. */
  async untilChange(withinMs: number, signal: AbortSignal): Promise<void> {
    await this.#wait(this.#accepts, withinMs, signal);
  }

  #wakeAccepts(): void {
    for (const wake of this.#accepts.splice(0)) wake();
  }

  // Not by AbortSignal.any(): Deno 2.7 forgets such a signal, and with it who waits, if its memory is
  // collected in the meantime.
  async #wait(queue: Wake[], withinMs: number, signal: AbortSignal): Promise<void> {
    const { over, end } = startPause(withinMs, signal);
    queue.push(end);
    await over;
    const at = queue.indexOf(end);
    if (at >= 0) queue.splice(at, 1);
  }
}

/** Ends one wait. */
type Wake = () => void;

/** Whether so many descriptors could be opened. */
function areFree(count: number): boolean {
  using opened = new DisposableStack();
  try {
    for (let i = 0; i < count; i++) opened.use(Deno.listen({ hostname: "127.0.0.1", port: 0 }));
    return true;
  } catch (error) {
    return !isShortage(error);
  }
}
