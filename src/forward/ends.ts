// Recognises a connection that comes back to the ambassador itself, through whatever names and
// addresses it went: it is then there twice, once dialled and once accepted, with the same two ends.

import { unmapped } from "../base/address.ts";

/** One end of a socket. */
export type End = Readonly<Deno.NetAddr>;

/** Owners of sockets by both ends of the socket. */
export class Ends<T> {
  readonly #byPort = new Map<number, Entry<T>[]>();

  /** Adds a socket: the end that dialled it and the end that accepted it. */
  add(dialler: End, acceptor: End, owner: T): void {
    const entry = { dialler, acceptor, owner };
    const entries = this.#byPort.get(dialler.port);
    if (entries === undefined) this.#byPort.set(dialler.port, [entry]);
    else entries.push(entry);
  }

  /** Forgets the socket of an owner. */
  delete(dialler: End, owner: T): void {
    const entries = this.#byPort.get(dialler.port);
    const at = entries?.findIndex((entry) => entry.owner === owner) ?? -1;
    if (entries === undefined || at < 0) return;
    if (entries.length === 1) this.#byPort.delete(dialler.port);
    else entries.splice(at, 1);
  }

  /**
   * The owner of the socket with these two ends. Both are compared: the kernel gives one port to
   * several connections whose far ends differ, so that one end alone proves nothing.
   */
  find(dialler: End, acceptor: End): T | undefined {
    // The port alone rules out nearly all; no text is compared for those.
    return this.#byPort.get(dialler.port)?.find((entry) =>
      isSame(entry.dialler, dialler) && isSame(entry.acceptor, acceptor)
    )?.owner;
  }
}

interface Entry<T> {
  readonly dialler: End;
  readonly acceptor: End;
  readonly owner: T;
}

/** Whether two ends are one, IPv4 also as a dual-stack listener shows it (`::ffff:192.0.2.1`). */
function isSame(a: End, b: End): boolean {
  return a.port === b.port && unmapped(a.hostname) === unmapped(b.hostname);
}
