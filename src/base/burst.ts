// Keeps a failure that repeats under load from filling the log: its first line is written at once,
// then at most one a second, with the number of failures that it stands for. At debug nothing is
// left out.

import type { Fields, Log } from "./log.ts";

const AT_MOST_EVERY_MS = 1000;

/** A failure whose line was written within the last second. */
interface Burst {
  /** Writes a line. */
  readonly write: (fields: Fields) => void;
  /** At the end of the second. */
  timer: ReturnType<typeof setTimeout>;
  /** How often it came again since. */
  count: number;
  /** What the last of these looked like. */
  last: Fields;
}

/** Those in which a count may be still to be written. */
const waiting = new Set<Bursts>();

/** Writes what is still to be written of all routes, for an end that waits for nothing else. */
export function flushBursts(): void {
  for (const bursts of waiting) bursts.flush();
}

/** Writes the failures of one route. */
export class Bursts {
  readonly #log: Log;
  readonly #bursts = new Map<string, Burst>();

  /** Nothing has failed yet. */
  constructor(log: Log) {
    this.#log = log;
  }

  /**
   * Notes a failure.
   *
   * @param level How bad it is.
   * @param event The event's name.
   * @param fields As for a log; two failures with one `error` are the same failure.
   */
  note(level: "warn" | "error", event: string, fields: Fields): void {
    const write = (what: Fields): void => this.#log[level](event, what);
    if (this.#log.debugs) return write(fields);
    const key = `${event} ${fields["error"] ?? ""}`;
    const burst = this.#bursts.get(key);
    if (burst === undefined) {
      write(fields);
      waiting.add(this);
      this.#bursts.set(key, { write, timer: this.#wakeLater(key), count: 0, last: fields });
    } else {
      burst.count++;
      burst.last = fields;
    }
  }

  /** Writes what is still to be written, and sets no timer any more until the next failure. */
  flush(): void {
    for (const burst of this.#bursts.values()) {
      clearTimeout(burst.timer);
      writeCount(burst);
    }
    this.#bursts.clear();
    waiting.delete(this);
  }

  #wakeLater(key: string): ReturnType<typeof setTimeout> {
    return setTimeout(() => this.#wake(key), AT_MOST_EVERY_MS);
  }

  #wake(key: string): void {
    const burst = this.#bursts.get(key);
    if (burst === undefined) return;
    if (burst.count === 0) {
      this.#bursts.delete(key);
      if (this.#bursts.size === 0) waiting.delete(this);
      return;
    }
    writeCount(burst);
    burst.count = 0;
    burst.timer = this.#wakeLater(key);
  }
}

function writeCount({ write, count, last }: Burst): void {
  if (count > 0) write({ ...last, count });
}
