// The server behind the forwarders of datagrams, a process of its own: it echoes or counts, as each of
// them asks. It takes and sends many with one call of the system, so that it is never what limits. It
// says its port on stdout, and runs until it is killed.

import { KIND, MOST_BYTES } from "./datagram.ts";
import { ADDRESS_BYTES, addressOf, LINUX, openLibc } from "./sockets.ts";

/** Maximum number of datagrams that one call takes. */
const BATCH = 64;
/** What the socket may hold, in bytes; the system allows less as it likes (`net.core.rmem_max`). */
const RECEIVE_BYTES = 4 << 20;

/** A `struct mmsghdr` of a machine of 64 bits, in words of 8 bytes: what stands where. */
const HEADER = { words: 8, address: 0, addressBytes: 1, vector: 2, vectors: 3, bytes: 7 } as const;

function pointerOf(bytes: BufferSource): bigint {
  return BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes)));
}

/** So many buffers, and the headers by which the system fills or sends them. */
class Batch {
  readonly headers = new BigUint64Array(BATCH * HEADER.words);
  readonly bytes = new Uint8Array(BATCH * MOST_BYTES);
  readonly #addresses = new Uint8Array(BATCH * ADDRESS_BYTES);
  readonly #vectors = new BigUint64Array(BATCH * 2);
  readonly #first = pointerOf(this.bytes);
  readonly #firstAddress = pointerOf(this.#addresses);
  readonly #firstVector = pointerOf(this.#vectors);

  /** Makes the first ones ready to be filled. */
  clear(count: number): void {
    for (let at = 0; at < count; at++) this.set(at, { slot: at, bytes: MOST_BYTES });
  }

  /** How long a datagram is that has come, in bytes. */
  bytesAt(at: number): number {
    return Number(this.headers[at * HEADER.words + HEADER.bytes] ?? 0n);
  }

  /** Says in a header which slot it is about: its buffer and its address. */
  set(at: number, { slot, bytes }: { readonly slot: number; readonly bytes: number }): void {
    const header = at * HEADER.words;
    this.#vectors[at * 2] = this.#first + BigInt(slot * MOST_BYTES);
    this.#vectors[at * 2 + 1] = BigInt(bytes);
    this.headers[header + HEADER.address] = this.#firstAddress + BigInt(slot * ADDRESS_BYTES);
    this.headers[header + HEADER.addressBytes] = BigInt(ADDRESS_BYTES);
    this.headers[header + HEADER.vector] = this.#firstVector + BigInt(at * 16);
    this.headers[header + HEADER.vectors] = 1n;
  }
}

function serve(hostname: string): never {
  const libc = openLibc();
  const { AF_INET, SOCK_DGRAM, SOL_SOCKET, SO_RCVBUF, MSG_WAITFORONE } = LINUX;
  const socket = libc.socket(AF_INET, SOCK_DGRAM, 0);
  libc.setsockopt(socket, SOL_SOCKET, SO_RCVBUF, Int32Array.of(RECEIVE_BYTES), 4);
  if (libc.bind(socket, addressOf(hostname, 0), ADDRESS_BYTES) !== 0) {
    throw new Error(`${hostname} is not an address of this machine`);
  }
  const own = new Uint8Array(ADDRESS_BYTES);
  libc.getsockname(socket, own, Int32Array.of(ADDRESS_BYTES));
  console.log(((own[2] ?? 0) << 8) + (own[3] ?? 0));
  const batch = new Batch();
  const view = new DataView(batch.bytes.buffer);
  let counted = 0;
  for (let came = BATCH;;) {
    batch.clear(came);
    came = Math.max(0, libc.recvmmsg(socket, batch.headers, BATCH, MSG_WAITFORONE, null));
    let answers = 0;
    for (let slot = 0; slot < came; slot++) {
      const bytes = batch.bytesAt(slot);
      const kind = bytes === 0 ? KIND.echo : batch.bytes[slot * MOST_BYTES];
      if (kind === KIND.count) {
        counted++;
        continue;
      }
      if (kind === KIND.ask) {
        view.setUint32(slot * MOST_BYTES, counted);
      }
      batch.set(answers++, { slot, bytes });
    }
    // One that can't be sent is lost.
    if (answers > 0) libc.sendmmsg(socket, batch.headers, answers, 0);
  }
}

if (import.meta.main) serve("127.0.0.1");
