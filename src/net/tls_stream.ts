// A stream of TLS over another stream: the handshake, and then bytes both ways. It knows nothing of whom
// to trust: whoever makes it asks it for the peer's certificates once the handshake is done.

import type { Names } from "../base/name_patterns.ts";
import type { Address } from "../base/address.ts";
import { isPeerGone } from "../base/errors.ts";
import { type Stream, writeAll } from "./stream.ts";
import type { TlsEngine } from "./tls_engine.ts";
import { type Role, TlsError } from "./tls_error.ts";
import { explain } from "./tls_words.ts";

/** How much of the peer's handshake is read at once. */
const HANDSHAKE_BYTES = 4096;

/** The largest record, and some more: what is read at once while one is incomplete. */
const RECORD_BYTES = 17 * 1024;
/** What is kept of the beginning of a handshake that fails: enough to say what was spoken instead. */
const FIRST_BYTES = 16;

/** A server that wants another certificate says so, or it only hangs up: this program can't say it. */
const REFUSED_SILENTLY =
  "the upstream closed the connection after the handshake: it may not accept this ambassador";

/** A stream over TLS. */
export class TlsStream implements Stream {
  /** This side. */
  readonly localAddr: Address;
  /** The peer. */
  readonly remoteAddr: Address;
  /** Who the peer is, by its certificate; whoever has checked that says it. */
  peer: string | undefined;
  /** All its names; likewise. */
  peerNames: Names | undefined;
  /** Why the peer has refused this side after the handshake, if it has. */
  refusal: TlsError | undefined;
  readonly #stream: Stream;
  readonly #engine: TlsEngine;
  readonly #role: Role;
  /** Whether the peer has taken the handshake for good: in TLS 1.3 a server refuses after its end. */
  #isAccepted = true;
  /** Why nothing more can be read. */
  #failure: unknown;
  /** Resolves when all is written that there was to send; undefined if nothing is being written. */
  #written: Promise<void> | undefined;

  /** Takes both over; `role` is what the peer is. */
  constructor(stream: Stream, engine: TlsEngine, role: Role) {
    this.localAddr = stream.localAddr;
    this.remoteAddr = stream.remoteAddr;
    this.#stream = stream;
    this.#engine = engine;
    this.#role = role;
  }

  /**
   * Shakes hands.
   *
   * @param verify Throws if the peer is not to be served. Until it returns the peer is sent nothing that
   *   it could take for a welcome.
   * @returns false if the peer left without a byte
   * @throws {TlsError} if it fails, in plain words
   * @throws what the stream below throws
   */
  async shakeHands(verify: () => void): Promise<boolean> {
    const engine = this.#engine;
    const buffer = new Uint8Array(HANDSHAKE_BYTES);
    let first: Uint8Array | undefined;
    engine.start();
    while (!engine.isEstablished) {
      const count = await this.#answer(buffer);
      if (count === null) {
        if (first === undefined) return false;
        throw new TlsError(
          `${this.#role} closed the connection during the handshake: it may not accept this ambassador`,
          { hint: `${this.#role}'s own log says why` },
        );
      }
      first ??= buffer.slice(0, Math.min(count, FIRST_BYTES));
      try {
        engine.receive(buffer.subarray(0, count));
      } catch (error) {
        // The peer is told; if it is not there any more, that is no news.
        await this.#flush()?.catch(() => {});
        throw explain(error, { role: this.#role, first });
      }
    }
    try {
      verify();
    } catch (error) {
      throw error instanceof TlsError ? error.of(this.#role) : error;
    }
    this.#isAccepted = this.#role === "the client" || engine.version !== "TLSv1.3";
    await this.#flush();
    return true;
  }

  /**
   * Resolves once the upstream has answered the handshake in a way that no refusal does, or when the
   * signal aborts: one that only waits can't be told from one that has accepted.
   *
   * @throws {TlsError} if it refuses
   */
  async untilAccepted(signal: AbortSignal): Promise<void> {
    if (this.#isAccepted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    signal.addEventListener("abort", () => resolve());
    if (signal.aborted) return;
    await Promise.race([promise, this.#receive(new Uint8Array(HANDSHAKE_BYTES))]);
  }

  /** Fills a part of the buffer; null at the peer's close_notify. */
  async read(buffer: Uint8Array): Promise<number | null> {
    const engine = this.#engine;
    // Encrypted bytes lie in the same buffer for a moment, so that no other is needed.
    let room = buffer;
    for (;;) {
      const count = engine.read(buffer);
      if (count > 0) return count;
      if (this.#failure !== undefined) throw this.#failure;
      if (engine.isEnded) return null;
      try {
        const isFull = await this.#receive(room) === room.length;
        room = isFull && room.length < RECORD_BYTES ? new Uint8Array(RECORD_BYTES) : buffer;
      } catch (error) {
        // What came before it is good.
        this.#failure = error;
      }
    }
  }

  /** Encrypts and writes some of the data; of none, fails if the peer has reset. */
  async write(data: Uint8Array): Promise<number> {
    if (data.length === 0) return await this.#stream.write(data);
    const count = this.#engine.write(data);
    await this.#flush();
    return count;
  }

  /** Tells the peer that nothing more comes: close_notify, unless more was to come, and FIN. */
  async closeWrite(isCut = false): Promise<void> {
    if (!isCut) {
      this.#engine.end();
      await this.#flush();
    }
    await this.#stream.closeWrite(isCut);
  }

  /** Closes both directions, without a close_notify. */
  [Symbol.dispose](): void {
    this.#stream[Symbol.dispose]();
    this.#engine[Symbol.dispose]();
  }

  /** Sends what this side has to say, and reads what the peer says to it; null if it has gone. */
  async #answer(buffer: Uint8Array): Promise<number | null> {
    try {
      await this.#flush();
      return await this.#stream.read(buffer);
    } catch (error) {
      if (isPeerGone(error)) return null;
      throw error;
    }
  }

  /** Takes what the peer sends next, and says how many bytes that was. */
  async #receive(room: Uint8Array): Promise<number> {
    let count: number | null;
    try {
      count = await this.#stream.read(room);
      if (count === null) throw new TlsError(`${this.#role} ended without a close_notify`);
      this.#engine.receive(room.subarray(0, count));
    } catch (cause) {
      this.#flush()?.catch(() => {});
      if (this.#isAccepted) throw explain(cause, { role: this.#role });
      // It is the answer to the handshake, unless this side has closed the stream.
      const hasLeft = cause instanceof TlsError || isPeerGone(cause);
      const error = hasLeft
        ? new TlsError(REFUSED_SILENTLY, { hint: "the upstream's own log says why", cause })
        : explain(cause, { role: this.#role });
      if (error instanceof TlsError) this.refusal = error;
      throw error;
    }
    this.#isAccepted = true;
    // An answer to a change of keys, say. The reader does not wait for it: the peer may not read now.
    this.#flush()?.catch(() => {});
    return count;
  }

  /** Writes what there is to send, if anything. Whoever is at it takes along what comes meanwhile. */
  #flush(): Promise<void> | undefined {
    if (this.#written !== undefined) return this.#written;
    const output = this.#engine.takeOutput();
    if (output.length === 0) return undefined;
    return this.#written = this.#writeAll(output);
  }

  async #writeAll(output: Uint8Array): Promise<void> {
    try {
      for (let rest = output; rest.length > 0; rest = this.#engine.takeOutput()) {
        await writeAll(this.#stream, rest);
      }
    } finally {
      this.#written = undefined;
    }
  }
}
