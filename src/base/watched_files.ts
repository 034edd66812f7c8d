// Files that others replace while the program runs: looks at them, waits until they are whole, and hands
// what they hold to whoever puts it to use. It doesn't know what they hold.

import type { ConfigError } from "./errors.ts";
import { readSmallFile } from "./files.ts";
import { type Pause, pause, startPause } from "./time.ts";

/** How often to wait for files to settle before it is left to the next look. */
const MAX_SETTLES = 8;

/** How long reading them may take. */
const READ_WITHIN_MS = 5000;
const TOO_SLOW = "it could not be read within 5s";
/** Maximum number of reads that are not waited for any more: each keeps a thread, of which there are few. */
const MAX_LATE = 3;

/** By path, the text of each file, or what keeps it from being read. */
export type FileTexts = ReadonlyMap<string, string | Error>;

/** Options for {@linkcode WatchedFiles}. */
export interface WatchedFilesOptions {
  /** How often to look, in milliseconds. */
  readonly everyMs: number;
  /** How long files must stay the same until they count as written to their end, in milliseconds. */
  readonly settleMs: number;
  /**
   * Puts to use what the files hold now; `changed` are the paths of those that are not as they are in
   * use. Or says why it can't be used, and has changed nothing then. Never rejects.
   */
  readonly take: (texts: FileTexts, changed: readonly string[]) => Promise<ConfigError | undefined>;
  /** Says why what the files hold is not in use: when that is found, and when somebody asks. */
  readonly complain: (flaw: ConfigError) => void;
  /** Whether what was refused last is to be tried again at each look: the cause may lie elsewhere. */
  readonly mayPass?: () => boolean;
  /** Says that files that had a flaw hold again what is in use. */
  readonly mended?: (paths: readonly string[]) => void;
}

/** Some files that belong together: what they hold is put to use as a whole, or not at all. */
export class WatchedFiles {
  readonly #options: WatchedFilesOptions;
  /** What was put to use last. */
  #inUse: FileTexts;
  /** What the files hold instead, if that can't be used. */
  #refused: { readonly texts: FileTexts; readonly flaw: ConfigError } | undefined;
  /** The read under way. */
  #reading: Promise<FileTexts> | undefined;
  /** How many that were too slow still go on. */
  #late = 0;
  /** When the files were read last, by `performance.now()`. */
  #readAtMs = performance.now();
  /** The look that began last. */
  #looking = Promise.resolve();
  /** The look that begins when that one has ended. */
  #next: Promise<void> | undefined;
  /** Whether somebody waits for that one. */
  #isAsked = false;
  /** What the look under way waits for. */
  #settling: Pause | undefined;

  /** Takes the files as they were read for what is in use now. */
  constructor(inUse: FileTexts, options: WatchedFilesOptions) {
    this.#inUse = inUse;
    this.#options = options;
  }

  /** Why what the files hold is not in use; undefined if it is. */
  get flaw(): ConfigError | undefined {
    return this.#refused?.flaw;
  }

  /**
   * Looks at the files again and again until the signal aborts. What stands still after a change is
   * taken within `everyMs` and `settleMs`.
   */
  async watch(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      // Since the last time that they were read: what has come after it has waited since then.
      const waitedMs = performance.now() - this.#readAtMs;
      await pause(Math.max(0, this.#options.everyMs - waitedMs), signal);
      if (!signal.aborted) await this.#queue(signal);
    }
  }

  /**
   * Looks at the files, of which somebody says that they are complete: what has changed is taken at
   * once. What can't be used then is looked at once more when it has settled. What is wrong is said
   * each time, and tried anew: the cause may lie elsewhere. After the signal aborts nothing is taken.
   */
  look(signal: AbortSignal): Promise<void> {
    this.#isAsked = true;
    this.#settling?.end();
    return this.#queue(signal);
  }

  /** One at a time; one that is under way may have read before the latest change. */
  #queue(signal: AbortSignal): Promise<void> {
    return this.#next ??= this.#looking = this.#looking.then(() => {
      const isAsked = this.#isAsked;
      this.#next = undefined;
      this.#isAsked = false;
      return this.#look(signal, isAsked);
    });
  }

  async #look(signal: AbortSignal, isAsked: boolean): Promise<void> {
    const texts = await this.#read();
    const isNew = this.#isNew(texts);
    if (isAsked || (!isNew && this.#refused !== undefined && this.#options.mayPass?.())) {
      const before = this.flaw?.message;
      const flaw = await this.#take(texts, signal);
      if (flaw === undefined) return;
      if (!isNew && (isAsked || flaw.message !== before)) return this.#refuse(texts, flaw);
    }
    if (!isNew) return;
    const settled = await this.#settled(texts, signal);
    // Whoever has not asked has heard of it.
    if (settled === undefined || !isAsked && !this.#isNew(settled)) return;
    const flaw = await this.#take(settled, signal);
    if (flaw !== undefined) this.#refuse(settled, flaw);
  }

  /** Whether they are not as they were when they were put to use, or refused. */
  #isNew(texts: FileTexts): boolean {
    return differing(texts, this.#refused?.texts ?? this.#inUse).length > 0;
  }

  /** Puts to use what is not yet, unless it is too late for that; or says why not. */
  async #take(texts: FileTexts, signal: AbortSignal): Promise<ConfigError | undefined> {
    if (signal.aborted) return undefined;
    const { take, mended } = this.#options;
    const changed = differing(texts, this.#inUse);
    const flaw = changed.length === 0 ? undefined : await take(texts, changed);
    if (flaw !== undefined) return flaw;
    const refused = this.#refused;
    this.#refused = undefined;
    this.#inUse = texts;
    if (changed.length === 0 && refused !== undefined) mended?.(differing(texts, refused.texts));
  }

  #refuse(texts: FileTexts, flaw: ConfigError): void {
    this.#refused = { texts, flaw };
    this.#options.complain(flaw);
  }

  /**
   * What the files hold once that has not changed for a while; undefined if it goes on changing, or
   * if the next look is to be at once.
   */
  async #settled(texts: FileTexts, signal: AbortSignal): Promise<FileTexts | undefined> {
    for (let times = 0; times < MAX_SETTLES && !this.#isAsked; times++) {
      this.#settling = startPause(this.#options.settleMs, signal);
      await this.#settling.over;
      this.#settling = undefined;
      if (signal.aborted || this.#isAsked) return undefined;
      const again = await this.#read();
      if (differing(texts, again).length === 0) return again;
      texts = again;
    }
    return undefined;
  }

  /**
   * What can't be read in time, from a place on the network or a pipe, may be another file by the next
   * look, which reads anew. Where that does not help either, the last read is waited for.
   */
  async #read(): Promise<FileTexts> {
    this.#readAtMs = performance.now();
    const paths = [...this.#inUse.keys()];
    this.#reading ??= this.#begin(paths);
    const limit = startPause(READ_WITHIN_MS);
    const texts = await Promise.race([this.#reading, limit.over]);
    limit.end();
    if (texts !== undefined) return texts;
    if (this.#late < MAX_LATE) {
      this.#late++;
      this.#reading = undefined;
    }
    return new Map(paths.map((path) => [path, new RangeError(TOO_SLOW)]));
  }

  #begin(paths: readonly string[]): Promise<FileTexts> {
    const reading = readFiles(paths).finally(() => {
      if (this.#reading === reading) this.#reading = undefined;
      else this.#late--;
    });
    return reading;
  }
}

/** Reads all of them; never rejects. */
export async function readFiles(paths: readonly string[]): Promise<FileTexts> {
  const read = (path: string): Promise<string | Error> =>
    readSmallFile(path).catch((error) => error);
  return new Map(
    await Promise.all(paths.map(async (path) => [path, await read(path)] as const)),
  );
}

/** The files that are not the same in both. */
function differing(one: FileTexts, other: FileTexts): string[] {
  return [...one.keys()].filter((path) => String(one.get(path)) !== String(other.get(path)));
}
