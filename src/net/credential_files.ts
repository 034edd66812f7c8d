// Certificates, keys and trust in use, and their files, which others replace while the program runs. A
// new set takes the place of the old one as a whole, or not at all. It doesn't know what they are for.

import { ConfigError } from "../base/errors.ts";
import { readSmallFile } from "../base/files.ts";
import type { Log } from "../base/log.ts";
import { pause } from "../base/time.ts";
import {
  type CertificateInUse,
  type Credentials,
  type CredentialSources,
  loadCredentials,
} from "./credentials.ts";

/** How often the files are looked at, in milliseconds: with the time to settle, ten seconds. */
const LOOK_EVERY_MS = 9000;
/** How long files must stay the same until they count as written to their end, in milliseconds. */
const SETTLE_MS = 1000;
/** How often to wait for that before it is left to the next look. */
const MAX_SETTLES = 8;

/** The text of each file, or what keeps it from being read. */
type Texts = ReadonlyMap<string, string | Error>;

/** The set in use. */
export class CredentialFiles {
  /** What holds now. */
  current: Credentials;
  readonly #sources: CredentialSources;
  readonly #paths: readonly string[];
  #texts: Texts;
  /** Why what the files hold is not in use, if it is not. */
  #flaw: ConfigError | undefined;
  /** The look that began last. */
  #looking = Promise.resolve();
  /** The look that begins when that one has ended. */
  #next: Promise<void> | undefined;

  private constructor(sources: CredentialSources, texts: Texts, current: Credentials) {
    this.#sources = sources;
    this.#paths = [...texts.keys()];
    this.#texts = texts;
    this.current = current;
  }

  /**
   * Reads all that is named.
   *
   * @throws {ConfigError} with everything that is wrong
   */
  static async open(sources: CredentialSources): Promise<CredentialFiles> {
    const { tlsCert, tlsKey, tlsCa, tlsClientCa } = sources;
    const named = [tlsCert, tlsKey, tlsCa, tlsClientCa];
    const paths = named.flatMap((source) => source && "path" in source ? source.path : []);
    const texts = await readAll([...new Set(paths)]);
    return new CredentialFiles(sources, texts, await load(sources, texts));
  }

  /** Whether there is anything to look at: PEM may also stand in variables. */
  get hasFiles(): boolean {
    return this.#paths.length > 0;
  }

  /** Looks at the files within every ten seconds until the signal aborts. */
  async watch(log: Log, signal: AbortSignal): Promise<void> {
    for (;;) {
      await pause(LOOK_EVERY_MS, signal);
      if (signal.aborted) return;
      await this.#queue(() => this.#look(log, { signal, isComplete: false }));
    }
  }

  /**
   * Looks at the files, of which somebody says that they are complete: what has changed takes effect at
   * once, and what is wrong with it is said each time.
   */
  look(log: Log, signal: AbortSignal): Promise<void> {
    return this.#queue(() => this.#look(log, { signal, isComplete: true }));
  }

  /** One at a time; one that is under way may have read before the latest change. */
  #queue(look: () => Promise<void>): Promise<void> {
    if (this.#next !== undefined) return this.#next;
    this.#next = this.#looking.then(() => {
      this.#next = undefined;
      return look();
    });
    return this.#looking = this.#next;
  }

  /** This ambassador's own certificate, if it has one. */
  get own(): CertificateInUse | undefined {
    const { tlsCert } = this.#sources;
    return this.current.certificates.find(({ option }) => option === tlsCert?.option);
  }

  /** Unless they are said to be complete, files must have settled: half a chain is a chain too. */
  async #look(
    log: Log,
    { signal, isComplete }: { readonly signal: AbortSignal; readonly isComplete: boolean },
  ): Promise<void> {
    let texts: Texts | undefined = await readAll(this.#paths);
    if (differing(texts, this.#texts).length === 0) {
      // Whoever says that they are complete takes silence for a yes.
      if (isComplete) this.#complain(log);
      return;
    }
    let next = isComplete ? await loadOrError(this.#sources, texts) : undefined;
    if (next === undefined || next instanceof ConfigError) {
      texts = await this.#settled(texts, signal);
      if (texts === undefined) return;
      next = await loadOrError(this.#sources, texts);
    }
    const files = differing(texts, this.#texts);
    if (files.length === 0) return;
    this.#texts = texts;
    this.#flaw = next instanceof ConfigError ? next : undefined;
    this.#complain(log);
    if (next instanceof ConfigError) return;
    this.current = next;
    log.info("certificate_changed", {
      subject: this.own?.subject,
      expires: this.own && new Date(this.own.notAfterMs).toISOString(),
      files: files.join(","),
    });
    for (const reason of next.warnings) log.error("warning", { reason });
  }

  #complain(log: Log): void {
    if (this.#flaw === undefined) return;
    const hint = "those from before stay in use";
    log.error("certificate_changed", { error: this.#flaw.message, hint });
  }

  /** What the files hold once that has not changed for a while; undefined if it goes on changing. */
  async #settled(texts: Texts, signal: AbortSignal): Promise<Texts | undefined> {
    for (let times = 0; times < MAX_SETTLES; times++) {
      await pause(SETTLE_MS, signal);
      if (signal.aborted) return undefined;
      const again = await readAll(this.#paths);
      if (differing(texts, again).length === 0) return again;
      texts = again;
    }
    return undefined;
  }
}

/** The files that are not the same in both. */
function differing(one: Texts, other: Texts): string[] {
  return [...one.keys()].filter((path) => String(one.get(path)) !== String(other.get(path)));
}

async function readAll(paths: readonly string[]): Promise<Texts> {
  const read = (path: string): Promise<string | Error> =>
    readSmallFile(path).catch((error) => error);
  return new Map(
    await Promise.all(paths.map(async (path) => [path, await read(path)] as const)),
  );
}

/** From what was read, so that all of it is of one moment. */
function load(sources: CredentialSources, texts: Texts): Promise<Credentials> {
  const read = (path: string): Promise<string> => {
    const text = texts.get(path);
    return typeof text === "string" ? Promise.resolve(text) : Promise.reject(text);
  };
  return loadCredentials(sources, { read });
}

async function loadOrError(
  sources: CredentialSources,
  texts: Texts,
): Promise<Credentials | ConfigError> {
  try {
    return await load(sources, texts);
  } catch (error) {
    if (error instanceof ConfigError) return error;
    // Nothing that a file holds may end a program that works. Its message may hold a part of the file.
    const name = error instanceof Error ? error.name : typeof error;
    return new ConfigError([{ message: `certificates can't be evaluated: ${name}` }]);
  }
}
