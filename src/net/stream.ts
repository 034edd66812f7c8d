// What every transport gives: streams of bytes, and listeners that accept them. It knows no protocol.

import type { Address } from "../base/address.ts";

/** A connection, as the relay needs it and with its two ends; `Deno.TcpConn` is one. */
export interface Stream extends Disposable {
  /** This end. */
  readonly localAddr: Address;
  /** The other end. */
  readonly remoteAddr: Address;
  /** Fills a part of the buffer; null at the end of what the peer sends. */
  read(buffer: Uint8Array): Promise<number | null>;
  /** Takes at least one byte of the data, perhaps not all. */
  write(data: Uint8Array): Promise<number>;
  /** Tells the peer that nothing more comes. */
  closeWrite(): Promise<void>;
  /** Closes both directions; may be called again. */
  [Symbol.dispose](): void;
}

/** Accepts streams at one address. */
export interface Listener {
  /** Where it really listens. */
  readonly addr: Address;
  /** The next client; rejects when the listener is closed, or for the reasons of the system. */
  accept(): Promise<Stream>;
  /** Accepts no more; may be called once. */
  close(): void;
}
