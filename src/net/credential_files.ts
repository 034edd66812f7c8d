// Certificates, keys and trust in use, and their files, which others replace while the program runs. A
// new set takes the place of the old one as a whole, or not at all. It doesn't know what they are for.

import { ConfigError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { type FileTexts, readFiles, WatchedFiles } from "../base/watched_files.ts";
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

/** The set in use. */
export class CredentialFiles {
  /** What holds now. */
  current: Credentials;
  /** Whether there is anything to look at: PEM may also stand in variables. */
  readonly hasFiles: boolean;
  readonly #sources: CredentialSources;
  readonly #files: WatchedFiles;
  #log: Log | undefined;

  private constructor(sources: CredentialSources, texts: FileTexts, current: Credentials) {
    this.#sources = sources;
    this.current = current;
    this.hasFiles = texts.size > 0;
    this.#files = new WatchedFiles(texts, {
      everyMs: LOOK_EVERY_MS,
      // Half a chain is a chain too.
      settleMs: SETTLE_MS,
      take: (texts, changed) => this.#take(texts, changed),
      complain: ({ message }) => {
        const hint = "those from before stay in use";
        this.#log?.error("certificate_changed", { error: message, hint });
      },
      mended: (paths) => this.#say(paths),
    });
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
    const texts = await readFiles([...new Set(paths)]);
    return new CredentialFiles(sources, texts, await load(sources, texts));
  }

  /** Looks at the files within every ten seconds until the signal aborts. */
  watch(log: Log, signal: AbortSignal): Promise<void> {
    this.#log = log;
    return this.#files.watch(signal);
  }

  /**
   * Looks at the files, of which somebody says that they are complete: what has changed takes effect at
   * once, and what is wrong with it is said each time.
   */
  look(log: Log, signal: AbortSignal): Promise<void> {
    this.#log = log;
    return this.#files.look(signal);
  }

  /** This ambassador's own certificate, if it has one. */
  get own(): CertificateInUse | undefined {
    const { tlsCert } = this.#sources;
    return this.current.certificates.find(({ option }) => option === tlsCert?.option);
  }

  async #take(texts: FileTexts, changed: readonly string[]): Promise<ConfigError | undefined> {
    const next = await loadOrError(this.#sources, texts);
    if (next instanceof ConfigError) return next;
    this.current = next;
    this.#say(changed);
  }

  /** Says what is in use now, and what is wrong with that. */
  #say(changed: readonly string[]): void {
    this.#log?.info("certificate_changed", {
      subject: this.own?.subject,
      expires: this.own && new Date(this.own.notAfterMs).toISOString(),
      files: changed.join(","),
    });
    for (const reason of this.current.warnings) this.#log?.error("warning", { reason });
  }
}

/** From what was read, so that all of it is of one moment. */
function load(sources: CredentialSources, texts: FileTexts): Promise<Credentials> {
  const read = (path: string): Promise<string> => {
    const text = texts.get(path);
    return typeof text === "string" ? Promise.resolve(text) : Promise.reject(text);
  };
  return loadCredentials(sources, { read });
}

async function loadOrError(
  sources: CredentialSources,
  texts: FileTexts,
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
