// Keeps a failure that repeats under load from filling the log: its first line is written at once,
// then at most one a second, with the number of failures that it stands for. It knows no lines: the
// log says which failures are the same, and writes them.

const EVERY_MS = 1000;

/** A failure that has been written within the last second. */
interface Burst {
  readonly timer: ReturnType<typeof setInterval>;
  /** How often it has come again since. */
  count: number;
  /** Writes the last of these. */
  write: (count: number) => void;
}

/** The failures of one log. */
export class Bursts {
  readonly #bursts = new Map<string, Burst>();

  /**
   * Notes a failure. Two of the same kind are the same failure.
   *
   * @param write Called at once for the first; later, for the last in a second, with their count.
   */
  note(kind: string, write: (count?: number) => void): void {
    const burst = this.#bursts.get(kind);
    if (burst === undefined) {
      write();
      const timer = setInterval(() => this.#endSecond(kind), EVERY_MS);
      this.#bursts.set(kind, { timer, count: 0, write });
    } else {
      burst.count++;
      burst.write = write;
    }
  }

  /** Writes the counts that are still to be written, and stops all timers. */
  flush(): void {
    for (const { timer, count, write } of this.#bursts.values()) {
      clearInterval(timer);
      if (count > 0) write(count);
    }
    this.#bursts.clear();
  }

  #endSecond(kind: string): void {
    const burst = this.#bursts.get(kind);
    if (burst === undefined) return;
    if (burst.count > 0) {
      burst.write(burst.count);
      burst.count = 0;
    } else {
      clearInterval(burst.timer);
      this.#bursts.delete(kind);
    }
  }
}
