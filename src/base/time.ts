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

/** Aborts its signal after a while, or when the outer signal does; not once it is disposed. */
export class TimeLimit implements Disposable {
  readonly #end = new AbortController();
  readonly #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #outer: AbortSignal | undefined;
  readonly #onOuter = (): void => this.#end.abort(this.#outer?.reason);

  /**
   * Starts now.
   *
   * @param ms Milliseconds; 0 is no limit.
   * @param outer Ends it early.
   */
  constructor(ms: number, outer?: AbortSignal) {
    this.#outer = outer;
    outer?.addEventListener("abort", this.#onOuter);
    if (outer?.aborted) this.#onOuter();
    if (ms === 0) return;
    this.#timer = setTimeout(() => {
      this.#end.abort(timeoutError(ms));
    }, ms);
  }

  /** Aborts at the end of the time; its reason says how long that was. */
  get signal(): AbortSignal {
    return this.#end.signal;
  }

  /** Forgets about it. */
  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#outer?.removeEventListener("abort", this.#onOuter);
  }
}

/** The reason of a signal that aborts after so many milliseconds. */
export function timeoutError(ms: number): DOMException {
  return new DOMException(`no answer within ${formatDuration(ms)}`, "TimeoutError");
}

/** Calls `act` after so many milliseconds, unless what it returns is disposed before that. */
export function startDeadline(afterMs: number, act: () => void): Disposable {
  let group = groups.get(afterMs);
  if (group === undefined) groups.set(afterMs, group = new Group(afterMs));
  return group.start(act);
}

/** By length. There are few: each comes from an option. */
const groups = new Map<number, Group>();

class Group {
  readonly #afterMs: number;
  /** Begun one after the other with one length, they also end in this order. */
  readonly #pending = new Set<Pending>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(afterMs: number) {
    this.#afterMs = afterMs;
  }

  start(act: () => void): Disposable {
    const pending = new Pending(performance.now() + this.#afterMs, act, this);
    this.#pending.add(pending);
    this.#timer ??= setTimeout(() => this.#act(), this.#afterMs);
    return pending;
  }

  end(pending: Pending): void {
    this.#pending.delete(pending);
    if (this.#pending.size > 0) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #act(): void {
    this.#timer = undefined;
    const nowMs = performance.now();
    for (const pending of this.#pending) {
      if (pending.atMs > nowMs) break;
      this.#pending.delete(pending);
      pending.act();
    }
    // One that was begun by a deadline that acted has set a timer already.
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const [next] = this.#pending;
    if (next === undefined) return;
    this.#timer = setTimeout(() => this.#act(), Math.ceil(next.atMs - nowMs));
  }
}

class Pending implements Disposable {
  /** When it acts, in milliseconds as `performance.now()` counts them. */
  readonly atMs: number;
  readonly act: () => void;
  readonly #group: Group;

  constructor(atMs: number, act: () => void, group: Group) {
    this.atMs = atMs;
    this.act = act;
    this.#group = group;
  }

  [Symbol.dispose](): void {
    this.#group.end(this);
  }
}
