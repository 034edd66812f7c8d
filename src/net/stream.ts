// What the forwarder needs of a transport, so that each is a file of its own. It knows none of them.

import type { Address } from "../base/address.ts";
import type { Names } from "../base/name_patterns.ts";
import type { RouteSettings } from "../config/options.ts";

/** Both ends of a connection. */
export interface Ends {
  /** This side. */
  readonly localAddr: Address;
  /** The peer. */
  readonly remoteAddr: Address;
}

/**
 * A connection over any transport; `Deno.TcpConn` is one. Without connections it is a socket to a
 * target: each `read` gives a whole datagram, perhaps an empty one, and each `write` sends one.
 */
export interface Stream extends Ends {
  /** Who the peer is, where its certificate has said that. */
  readonly peer?: string | undefined;
  /** All names of the peer, where its certificate has said them. */
  readonly peerNames?: Names | undefined;
  /** Why the peer has refused this side although it seemed to be connected, if it has. */
  readonly refusal?: Error | undefined;
  /** Fills a part of the buffer; null at the end of what the peer sends. */
  read(buffer: Uint8Array): Promise<number | null>;
  /** Takes at least one byte of the data, perhaps not all. Of no data, fails if the peer has reset. */
  write(data: Uint8Array): Promise<number>;
  /**
   * Tells the peer that nothing more comes (FIN). With `isCut`, more was to come: a peer that can tell
   * an end from a cut is not told of an end.
   */
  closeWrite(isCut?: boolean): Promise<void>;
  /**
   * Where there is no connection: looks the target's name up again, and from now on datagrams go to
   * where it is. A lookup that fails changes nothing.
   *
   * @throws what `onConnected` throws of the new place
   */
  renew?(signal: AbortSignal): Promise<void>;
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
  /** What holds for the route. */
  readonly settings: RouteSettings;
  /** Told of the connection before anything is sent; what it throws ends it. */
  readonly onConnected?: ((ends: Ends) => void) | undefined;
  /** Whether it is only tried: then it is connected once the upstream has shown that it accepts that. */
  readonly isTrial?: boolean;
  /** What the upstream gets before anything else, also before a handshake. */
  readonly preface?: Uint8Array | undefined;
  /** Told of each datagram that was thrown away since somebody else than the target has sent it. */
  readonly onStray?: (() => void) | undefined;
}

/** What is bound to an address of this machine. */
export interface Bound {
  /** Where. */
  readonly addr: Address;
  /** Gives it up; once. */
  close(): void;
}

/** Where clients arrive; `Deno.TcpListener` is one. */
export interface Listener extends Bound {
  /** The next client. */
  accept(): Promise<Stream>;
}

/** Where datagrams arrive, of all clients. */
export interface DatagramListener extends Bound {
  /** The next datagram, in the buffer from its start: who has sent it, and how long it is. */
  receive(buffer: Uint8Array): Promise<{ readonly from: Address; readonly length: number }>;
  /** Sends a datagram to a client, as `receive` has named it. The data is to stay until that is done. */
  send(data: Uint8Array, to: Address): Promise<void>;
}

/** How one protocol listens and connects. */
export interface Transport<L extends Bound = Listener> {
  /**
   * Listens: one listener, or two where IPv6 and IPv4 need one each.
   *
   * @throws the system's error if the address can't be had; then nothing is open
   */
  listen(address: Address, options?: ListenOptions): readonly L[];
  /**
   * Connects once, to an address or a name.
   *
   * @throws the error of the last address; the signal's reason as soon as it aborts
   */
  connect(address: Address, options: ConnectOptions): Promise<Stream>;
  /**
   * What a client owes before it is served, if anything.
   *
   * @returns the stream to go on with; undefined if the client has left without a byte
   * @throws {TlsError} if the client is not to be served
   */
  shakeHands?(client: Stream, settings: RouteSettings): Promise<Stream | undefined>;
}

/** Writes all of the data. */
export async function writeAll(stream: Pick<Stream, "write">, data: Uint8Array): Promise<void> {
  let rest = data;
  while (rest.length > 0) rest = rest.subarray(await stream.write(rest));
}
