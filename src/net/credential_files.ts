// Certificates, keys and trust in use, and their files, which others replace while the program runs. A
// new set takes the place of the old one as a whole, or not at all. It doesn't know what they are for.

import { ConfigError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { pause } from "../base/time.ts";
import {
  type CertificateInUse,
  type Credentials,
  type CredentialSources,
  loadCredentials,
  readSmallFile,
} from "./credentials.ts";

/** How often the files are looked at, in milliseconds. */
const LOOK_EVERY_MS = 10_000;
/** A certificate and its key are replaced one after the other: how long that may take. */
const SETTLE_MS = 1000;

/** The text of each file, or what keeps it from being read. */
type Texts = ReadonlyMap<string, string | Error>;

/** The set in use. */
export class CredentialFiles {
  /** What holds now. */
  current: Credentials;
  readonly #sources: CredentialSources;
  readonly #paths: readonly string[];
  #texts: Texts;
  #looking: Promise<void> | undefined;

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

  /** Looks at the files every ten seconds until the signal aborts. */
  async watch(log: Log, signal: AbortSignal): Promise<void> {
    if (this.#paths.length === 0) return;
    while (!signal.aborted) {
      await pause(LOOK_EVERY_MS, signal);
      if (!signal.aborted) await this.look(log, signal);
    }
  }

  /** Looks at the files now; what has changed takes effect, or is said to be wrong once. */
  look(log: Log, signal: AbortSignal): Promise<void> {
    this.#looking ??= this.#look(log, signal).finally(() => this.#looking = undefined);
    return this.#looking;
  }

  /** This ambassador's own certificate, if it has one. */
  get own(): CertificateInUse | undefined {
    const { tlsCert } = this.#sources;
    return this.current.certificates.find(({ option }) => option === tlsCert?.option);
  }

  async #look(log: Log, signal: AbortSignal): Promise<void> {
    let texts = await readAll(this.#paths);
    if (this.#areKnown(texts)) return;
    let next = await loadOrError(this.#sources, texts);
    if (next instanceof ConfigError) {
      await pause(SETTLE_MS, signal);
      texts = await readAll(this.#paths);
      if (this.#areKnown(texts)) return;
      next = await loadOrError(this.#sources, texts);
    }
    this.#texts = texts;
    if (next instanceof ConfigError) {
      const hint = "those from before stay in use";
      log.error("certificate_changed", { error: next.message, hint });
      return;
    }
    this.current = next;
    log.info("certificate_changed", {
      subject: this.own?.subject,
      expires: this.own && new Date(this.own.notAfterMs).toISOString(),
    });
    for (const reason of next.warnings) log.error("warning", { reason });
  }

  #areKnown(texts: Texts): boolean {
    return this.#paths.every((path) => String(this.#texts.get(path)) === String(texts.get(path)));
  }
}

async function readAll(paths: readonly string[]): Promise<Texts> {
  const texts = new Map<string, string | Error>();
  await Promise.all(paths.map(async (path) => {
    texts.set(path, await readSmallFile(path).catch((error) => error));
  }));
  return texts;
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
    throw error;
  }
}
