// A time limit as a signal, for one thing that is waited for.

import { formatDuration } from "./duration.ts";

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
