// Writing to stderr as all of the program does: whoever reads it must not be able to stop it, neither
// by going away nor by no longer reading. Whoever writes to a pipe that is full waits until somebody
// reads it. So the log is written off the main thread, and what does not fit into its queue meanwhile
// is lost and counted.

import { pause } from "./time.ts";

/** About 2000 lines. */
const MAX_QUEUED_LENGTH = 256 * 1024;

/** How long the end of the program waits for somebody to read. */
const END_WITHIN_MS = 500;

/** A stderr that is not to block says instead that it is full; it is asked again after so long. */
const FULL_PAUSE_MS = 20;

const NEWLINE = 10;

const encoder = new TextEncoder();

/** Makes the line that says how many lines were lost. */
export type TellLost = (count: number) => string;

/** Options for {@linkcode LineQueue}. */
export interface LineQueueOptions {
  /** Writes some of the bytes; gives how many. */
  readonly write: (bytes: Uint8Array) => Promise<number>;
  /** How much text may wait, in UTF-16 units, beside what is being written. */
  readonly maxLength: number;
}

/** Writes whole lines in their order, as many at a time as there are. */
export class LineQueue {
  readonly #write: LineQueueOptions["write"];
  readonly #maxLength: number;
  #text = "";
  #lost = 0;
  #tellLost: TellLost = () => "";
  /** Whether the last line that was written is without its end. */
  #isTorn = false;
  #hasEnded = false;
  #running: Promise<void> | undefined;

  /** Nothing waits yet. */
  constructor({ write, maxLength }: LineQueueOptions) {
    this.#write = write;
    this.#maxLength = maxLength;
  }

  /** Whether something is still to be written. */
  get isBusy(): boolean {
    return this.#running !== undefined;
  }

  /**
   * Takes a line, with its end, or loses it where there is no room; never throws.
   *
   * @param tellLost Makes what stands where lines were lost; the one before unless given.
   */
  add(line: string, tellLost: TellLost = this.#tellLost): void {
    if (this.#hasEnded) return;
    this.#tellLost = tellLost;
    if (this.#text.length + line.length > this.#maxLength) {
      this.#lost++;
    } else {
      this.#text += line;
      this.#running ??= this.#run();
    }
  }

  /** Takes no more; resolves when all is written, or after so many milliseconds. Never rejects. */
  async end(withinMs: number): Promise<void> {
    this.#hasEnded = true;
    if (this.#running === undefined) return;
    const written = new AbortController();
    void this.#running.then(() => written.abort());
    await pause(withinMs, written.signal);
  }

  async #run(): Promise<void> {
    // What is logged in one go is written in one go.
    await undefined;
    while (this.#text !== "") {
      const start = this.#isTorn ? "\n" : "";
      const told = this.#lost > 0 ? this.#tellLost(this.#lost) : "";
      const bytes = encoder.encode(start + this.#text + told);
      this.#text = "";
      this.#lost = 0;
      await this.#writeAll(bytes);
    }
    this.#running = undefined;
  }

  /** Writes all of the bytes. What can't be written is lost. */
  async #writeAll(bytes: Uint8Array): Promise<void> {
    let done = 0;
    while (done < bytes.length) {
      try {
        done += await this.#write(bytes.subarray(done));
        this.#isTorn = bytes[done - 1] !== NEWLINE;
      } catch (error) {
        if (error instanceof Deno.errors.WouldBlock) {
          await pause(FULL_PAUSE_MS);
          continue;
        }
        // Nobody reads it any more, or the disk is full.
        return;
      }
    }
  }
}

const queue = new LineQueue({
  write: (bytes) => Deno.stderr.write(bytes),
  maxLength: MAX_QUEUED_LENGTH,
});

/** Writes a line of the log, given with its end, without ever waiting for whoever reads it. */
export function logToStderr(line: string, tellLost: TellLost): void {
  queue.add(line, tellLost);
}

/** Writes all of the text, after the lines of the log. What can't be written is lost. */
export function writeToStderr(text: string): void {
  if (queue.isBusy) return queue.add(text);
  const bytes = encoder.encode(text);
  try {
    for (let done = 0; done < bytes.length;) done += Deno.stderr.writeSync(bytes.subarray(done));
  } catch {
    // Nobody reads it any more.
  }
}

/** Resolves when everything is written, or nobody reads it; what comes later is lost. */
export async function endStderr(): Promise<void> {
  await queue.end(END_WITHIN_MS);
}
