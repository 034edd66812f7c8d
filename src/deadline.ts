// Time limits of one length behind one timer. Thousands of dials a second have the same limit, nearly
// all of them end long before it, and a timer for each would cost more than anything else about them.

/** A time limit that has begun; disposing ends it before it acts. */
export interface Deadline extends Disposable {
  /** When it acts, in milliseconds as `performance.now()` counts them. */
  readonly atMs: number;
}

/** Calls `act` after so many milliseconds, unless it is disposed before that. */
export function startDeadline(afterMs: number, act: () => void): Deadline {
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

  start(act: () => void): Deadline {
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
      if (pending.atMs > nowMs) {
        this.#timer = setTimeout(() => this.#act(), Math.ceil(pending.atMs - nowMs));
        return;
      }
      this.#pending.delete(pending);
      pending.act();
    }
  }
}

class Pending implements Deadline {
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
