// The memory that datagrams are received into. A datagram arrives whole or is cut off, so each buffer
// has to be as large as the largest; but the system gives memory only to pages that are written to, so
// a buffer that is a slice of a large one costs what has come in it. It knows nothing of sockets.

/** Room before a datagram for what is put in front of it, in bytes. */
export const HEADROOM = 64;
/** Maximum length of a datagram's payload, over IPv6, in bytes. */
const MAX_PAYLOAD = 65_527;
/** Length of a slice in bytes: whole pages, so that a small datagram makes one its own. */
const SLICE_BYTES = Math.ceil((HEADROOM + MAX_PAYLOAD) / 4096) * 4096;
/**
 * Slices of one chunk, which are more than 32 MiB: only then does glibc always take its memory from the
 * system, untouched, and give it back at once.
 */
export const SLICES_A_CHUNK = 500;

/** Memory that is taken from the system in one piece. */
export interface Chunk {
  /** Those of its slices that nobody uses. */
  readonly free: Slice[];
}

/** A buffer for one datagram. */
export interface Slice {
  /** All of it. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Where a datagram is received: all behind the headroom. */
  readonly payload: Uint8Array<ArrayBuffer>;
  /** What it is a part of. */
  readonly chunk: Chunk;
}

/** Those of which something is free, the longest in use first. */
const chunks = new Set<Chunk>();

let letGo = 0;

/** How many bytes were let go so far: the collector may give them back to the system. */
export function bytesLetGo(): number {
  return letGo;
}

/** A slice; its user gives it back. */
export function takeSlice(): Slice {
  // The oldest: what was used last is taken again first, and the youngest chunks become free.
  const [chunk = newChunk()] = chunks;
  const slice = chunk.free.pop();
  if (slice === undefined) throw new Error("a chunk without a free slice");
  if (chunk.free.length === 0) chunks.delete(chunk);
  return slice;
}

/** Takes a slice back. */
export function giveSlice(slice: Slice): void {
  const { free } = slice.chunk;
  free.push(slice);
  // Another has room: this one goes back to the system.
  if (free.length < SLICES_A_CHUNK || chunks.size === 1) {
    chunks.add(slice.chunk);
  } else {
    chunks.delete(slice.chunk);
    letGo += SLICES_A_CHUNK * SLICE_BYTES;
  }
}

function newChunk(): Chunk {
  const memory = new ArrayBuffer(SLICES_A_CHUNK * SLICE_BYTES);
  const free: Slice[] = [];
  const chunk = { free };
  for (let index = 0; index < SLICES_A_CHUNK; index++) {
    const bytes = new Uint8Array(memory, index * SLICE_BYTES, SLICE_BYTES);
    free.push({ bytes, payload: bytes.subarray(HEADROOM), chunk });
  }
  chunks.add(chunk);
  return chunk;
}
