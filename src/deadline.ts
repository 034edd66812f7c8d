// Time limits of one length behind one timer. Thousands of dials a second have the same limit, nearly
// all of them end long before it, and a timer for each would cost more than anything else about them.

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
