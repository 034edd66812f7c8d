// Waiting: a pause that can be cut short, growing pauses between tries, a time limit as a signal, and
// many time limits behind one timer.

import { formatDuration } from "./duration.ts";

/** A wait that has begun. */
export interface Pause {
  /** Resolves when it is over; never rejects. */
  readonly over: Promise<void>;
  /** Ends it now. */
  end(): void;
}

/** Resolves after `ms` milliseconds, or as soon as the signal aborts; never rejects. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return startPause(ms, signal).over;
}

/** A pause that can also be ended by hand. */
export function startPause(ms: number, signal?: AbortSignal): Pause {
  const { promise, resolve } = Promise.withResolvers<void>();
  const end = (): void => {
    clearTimeout(timer);
    signal?.removeEventListener("abort", end);
    resolve();
  };
  const timer = ms === Infinity ? undefined : setTimeout(end, ms);
  if (signal?.aborted) end();
  else signal?.addEventListener("abort", end);
  return { over: promise, end };
}

/** The waits between tries: 5 ms, doubled each time, up to 1 s. */
export class Backoff {
  #ms = 5;

  /** The next wait, in milliseconds. */
  next(): number {
    const ms = this.#ms;
    this.#ms = Math.min(ms * 2, 1000);
    return ms;
  }
}

/** Aborts its signal after a while, or when the outer signal does. */
export class TimeLimit implements Disposable {
  /** Aborts at the end of the time; its reason says how long that was. */
  readonly signal: AbortSignal;
  readonly #deadline: Disposable | undefined;

  /** Starts now. `ms` is in milliseconds, 0 is no limit; `outer` ends it early. */
  constructor(ms: number, outer?: AbortSignal) {
    const end = new AbortController();
    this.signal = outer === undefined ? end.signal : AbortSignal.any([end.signal, outer]);
    if (ms > 0) this.#deadline = startDeadline(ms, () => end.abort(timeoutError(ms)));
  }

  /** Forgets the time. */
  [Symbol.dispose](): void {
    this.#deadline?.[Symbol.dispose]();
  }
}

/** The reason of a signal that aborts after so many milliseconds. */
export function timeoutError(ms: number): DOMException {
  return new DOMException(`no answer within ${formatDuration(ms)}`, "TimeoutError");
}

/** Whether that is the reason of a signal. */
export function isTimeout(reason: unknown): reason is DOMException {
  return reason instanceof DOMException && reason.name === "TimeoutError";
}

/** By length. There are few: each comes from an option. */
const deadlines = new Map<number, Deadlines>();

/** Calls `act` after so many milliseconds, unless what it returns is disposed before that. */
export function startDeadline(afterMs: number, act: () => void): Disposable {
  let group = deadlines.get(afterMs);
  if (group === undefined) deadlines.set(afterMs, group = new Deadlines(afterMs));
  return group.start(act);
}

/** Deadlines of one length: begun one after the other, they also end in this order. */
class Deadlines {
  readonly #afterMs: number;
  readonly #pending = new Set<{ readonly atMs: number; readonly act: () => void }>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(afterMs: number) {
    this.#afterMs = afterMs;
  }

  start(act: () => void): Disposable {
    const deadline = { atMs: performance.now() + this.#afterMs, act };
    this.#pending.add(deadline);
    if (this.#pending.size === 1) this.#setTimer();
    return {
      [Symbol.dispose]: (): void => {
        this.#pending.delete(deadline);
        if (this.#pending.size === 0) clearTimeout(this.#timer);
      },
    };
  }

  #act(): void {
    const nowMs = performance.now();
    for (const deadline of this.#pending) {
      if (deadline.atMs > nowMs) break;
      this.#pending.delete(deadline);
      deadline.act();
    }
    this.#setTimer();
  }

  /** Sets the timer for the first that is pending, in place of the one before. */
  #setTimer(): void {
    clearTimeout(this.#timer);
    const [first] = this.#pending;
    if (first === undefined) return;
    const leftMs = Math.ceil(first.atMs - performance.now());
    this.#timer = setTimeout(() => this.#act(), leftMs);
  }
}
