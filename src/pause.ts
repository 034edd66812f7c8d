// Waiting that can be cut short.

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
