// A stream of which somebody has read too much: its reads give those bytes first, and then are the
// stream's own. It doesn't know whose bytes they are.

import type { Address } from "../base/address.ts";
import type { Stream } from "./stream.ts";

const NOTHING = new Uint8Array(0);

/** A stream that goes on with bytes that were read from it before their time. */
export class Unread implements Stream {
  /** This side. */
  readonly localAddr: Address;
  /** The peer. */
  readonly remoteAddr: Address;
  readonly #stream: Stream;
  #unread: Uint8Array;

  /** Takes the bytes as they are, without a copy: nobody may change them. */
  constructor(stream: Stream, unread: Uint8Array) {
    this.localAddr = stream.localAddr;
    this.remoteAddr = stream.remoteAddr;
    this.#stream = stream;
    this.#unread = unread;
  }

  /** Not async: once the bytes are taken, this is the path of every byte. */
  read(buffer: Uint8Array): Promise<number | null> {
    const unread = this.#unread;
    if (unread.length === 0) return this.#stream.read(buffer);
    const taken = unread.subarray(0, buffer.length);
    buffer.set(taken);
    // A view of nothing would keep the bytes in memory.
    this.#unread = taken.length === unread.length ? NOTHING : unread.subarray(taken.length);
    return Promise.resolve(taken.length);
  }

  /** Also of no data: so a reset is found. */
  write(data: Uint8Array): Promise<number> {
    return this.#stream.write(data);
  }

  /** Tells the peer that nothing more comes (FIN). */
  closeWrite(isCut?: boolean): Promise<void> {
    return this.#stream.closeWrite(isCut);
  }

  /** Closes the stream. What is unread is gone, as with any closed socket. */
  [Symbol.dispose](): void {
    this.#unread = NOTHING;
    this.#stream[Symbol.dispose]();
  }
}
