// What the forwarder needs of a transport, so that each is a file of its own. It knows none of them.

import type { Address } from "../base/address.ts";

/** A connection over any transport; `Deno.TcpConn` is one. */
export interface Stream {
  /** This side. */
  readonly localAddr: Address;
  /** The peer. */
  readonly remoteAddr: Address;
  /** Fills a part of the buffer; null at the end of what the peer sends. */
  read(buffer: Uint8Array): Promise<number | null>;
  /** Takes at least one byte of the data, perhaps not all. Of no data, fails if the peer has reset. */
  write(data: Uint8Array): Promise<number>;
  /** Tells the peer that nothing more comes (FIN). */
  closeWrite(): Promise<void>;
  /** Closes both directions; may be called again. */
  [Symbol.dispose](): void;
}

/** How to listen. */
export interface ListenOptions {
  /** Whether other processes of this user may listen there too, if each of them says so. */
  readonly reusePort?: boolean;
}

/** How to connect. */
export interface ConnectOptions {
  /** Ends it. */
  readonly signal: AbortSignal;
  /** What the upstream gets before anything else, also before a handshake. */
  readonly preface?: Uint8Array | undefined;
}

/** Where clients arrive; `Deno.TcpListener` is one. */
export interface Listener {
  /** Where it listens. */
  readonly addr: Address;
  /** The next client. */
  accept(): Promise<Stream>;
  /** Stops listening. */
  close(): void;
}
