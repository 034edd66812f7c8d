// Everything that the program prints. A write to a full pipe lasts until somebody reads, and nobody who
// stops reading may stop the program: so nothing is written on the main thread, what waits is bounded,
// and the end waits only for a moment. It knows no levels and no events.

import type { Problem } from "./errors.ts";
import { pause, startPause } from "./time.ts";

/** Maximum length of the text that may wait for stderr before lines are lost: about 2000 lines. */
const MAX_WAITING_LENGTH = 256 * 1024;
/** How long the program waits for stderr before it prints on stdout, or ends. */
const STDERR_PATIENCE_MS = 500;
/** How long a reader of stdout may take nothing. */
const STDOUT_PATIENCE_MS = 60_000;
/** One page: a pipe takes it as soon as its reader has read as much. */
const STDOUT_PIECE_BYTES = 4096;
/** How long to wait before a full stream that does not block is tried again. */
const FULL_PAUSE_MS = 20;
const NEWLINE = 10;
const encoder = new TextEncoder();
/** Makes the line that says how many lines were lost. */
export type TellLost = (count: number) => string;
/** Writes some of the bytes; gives how many. */
export type Write = (bytes: Uint8Array) => Promise<number>;

/** Writes whole lines in their order, as many at a time as there are. */
export class LineQueue {
  readonly #write: Write;
  readonly #maxLength: number;
  #text = "";
  /** Whether there is room for what is added now, without a wait in between; undefined after that. */
  #hasRoom: boolean | undefined;
  #lost = 0;
  #tellLost: TellLost = () => "";
  /** Whether only a part of the last line could be written. */
  #isTorn = false;
  #running: Promise<void> | undefined;

  /** Nothing waits yet; `maxLength` is in UTF-16 units, beside what is being written. */
  constructor(write: Write, maxLength: number) {
    this.#write = write;
    this.#maxLength = maxLength;
  }

  /**
   * Takes a line, with its end, or loses it where there is no room; never throws. What is added in one
   * go is taken or lost whole: the start has a line for each route, however many there are.
   *
   * @param tellLost Makes what stands where lines were lost; the one before unless given.
   */
  add(line: string, tellLost: TellLost = this.#tellLost): void {
    this.#tellLost = tellLost;
    if (this.#hasRoom === undefined) {
      this.#hasRoom = this.#text.length < this.#maxLength;
      queueMicrotask(() => this.#hasRoom = undefined);
    }
    if (this.#hasRoom) {
      this.#text += line;
      this.#running ??= this.#run();
    } else {
      this.#lost++;
    }
  }

  /** Resolves when all is written, or after so many milliseconds. Never rejects. */
  async written(withinMs: number): Promise<void> {
    const { over, end } = startPause(withinMs);
    await Promise.race([this.#running, over]);
    end();
  }

  async #run(): Promise<void> {
    // What is added in one go is written in one go.
    await undefined;
    while (this.#text !== "") {
      const start = this.#isTorn ? "\n" : "";
      const told = this.#lost > 0 ? this.#tellLost(this.#lost) : "";
      let rest = encoder.encode(start + this.#text + told);
      this.#text = "";
      this.#lost = 0;
      try {
        while (rest.length > 0) {
          const count = await writeSome(this.#write, rest);
          this.#isTorn = rest[count - 1] !== NEWLINE;
          rest = rest.subarray(count);
        }
        this.#isTorn = false;
      } catch {
        // Nobody reads any more, or the disk is full: the rest is lost.
      }
    }
    this.#running = undefined;
  }
}

/** Writes some of the bytes once there is room; gives how many. */
async function writeSome(write: Write, bytes: Uint8Array): Promise<number> {
  for (;;) {
    try {
      return await write(bytes);
    } catch (error) {
      if (!(error instanceof Deno.errors.WouldBlock)) throw error;
      await pause(FULL_PAUSE_MS);
    }
  }
}

const stderr = new LineQueue((bytes) => Deno.stderr.write(bytes), MAX_WAITING_LENGTH);

/** Writes the text after all that came before it; where nobody reads it may be lost. */
export function writeToStderr(text: string, tellLost?: TellLost): void {
  stderr.add(text, tellLost);
}

/** Tells the person what is wrong, and the way out where there is one. */
export function complain({ message, hint }: Problem): void {
  writeToStderr(`ambassador: ${message}\n${hint === undefined ? "" : `  hint: ${hint}\n`}`);
}

/**
 * Writes the text to stdout, after all that came before it on stderr.
 *
 * @returns false, after a complaint, if it can't be written or nobody has read for a minute
 */
export async function writeToStdout(text: string): Promise<boolean> {
  await stderr.written(STDERR_PATIENCE_MS);
  try {
    for (let rest = encoder.encode(text); rest.length > 0;) {
      const piece = rest.subarray(0, STDOUT_PIECE_BYTES);
      const { over, end } = startPause(STDOUT_PATIENCE_MS);
      const count = await Promise.race([writeSome((part) => Deno.stdout.write(part), piece), over]);
      end();
      if (count === undefined) throw new Error("nobody has read it for a minute");
      rest = rest.subarray(count);
    }
  } catch (error) {
    // Whoever reads only the beginning (`| head`) has all that was wanted.
    if (error instanceof Deno.errors.BrokenPipe) return true;
    const reason = error instanceof Error ? error.message : String(error);
    complain({ message: `cannot write to stdout: ${reason}` });
    return false;
  }
  return true;
}

const lastWords: (() => void)[] = [];

/** Calls `act` when output ends, so that it can print what it still has. */
export function beforeOutputEnds(act: () => void): void {
  lastWords.push(act);
}

/** Resolves when all is written, or after a moment where nobody reads. */
export async function endOutput(): Promise<void> {
  for (const act of lastWords) act();
  await stderr.written(STDERR_PATIENCE_MS);
}
