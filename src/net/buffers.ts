// The memory that a pump reads into: little while its connection is quiet, much while it streams. It
// knows how much has moved in the whole process, and nothing of sockets.

/** The most that a pump holds of its own. */
const LARGEST_OWN = 32 * 1024;
/** A pump begins with the first; after a read that has filled one, it takes the next. */
const OWN_SIZES = [256, 4 * 1024, LARGEST_OWN] as const;
/** After this many reads that a smaller buffer could have held, the pump takes that one. */
const READS_BEFORE_SHRINKING = 64;

/**
 * Fewer and larger system calls make a stream fast, but memory that waits with a connection is lost
 * to the others. So a large buffer is only lent, while more has come than the largest own one could
 * hold. If all are in use, the pump keeps its own.
 */
const LENT_SIZE = 1024 * 1024;
/** Maximum of lent buffers that move, and of those kept for the next: making one is expensive. */
const MAX_MOVING = 8;
/** Maximum of large buffers that exist. */
const MAX_LARGE = 64;
/**
 * A lent buffer whose contents nobody takes does not count as moving any more, once all connections
 * together have moved this many bytes without it: readers that stand still slow nobody down.
 */
const BYTES_UNTIL_STALLED = 64 * 1024 * 1024;

interface Loan {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** What had moved in the process when this buffer last moved. */
  movedAt: number;
}

const loans = new Set<Loan>();
const spare: Uint8Array<ArrayBuffer>[] = [];
let bytesMoved = 0;

function borrow(): Loan | undefined {
  let moving = 0;
  for (const { movedAt } of loans) if (bytesMoved - movedAt < BYTES_UNTIL_STALLED) moving++;
  if (moving >= MAX_MOVING || loans.size === MAX_LARGE) return undefined;
  const loan = { bytes: spare.pop() ?? new Uint8Array(LENT_SIZE), movedAt: bytesMoved };
  loans.add(loan);
  return loan;
}

function giveBack(loan: Loan): void {
  loans.delete(loan);
  if (spare.length < MAX_MOVING) spare.push(loan.bytes);
}

/** What one pump reads into. */
export class PumpBuffer implements Disposable {
  /** What the next read may fill. */
  bytes: Uint8Array<ArrayBuffer> = new Uint8Array(OWN_SIZES[0]);
  #own = this.bytes;
  // Messages of one kind often have one length: the view of the last one does for the next.
  #view = this.bytes;
  #size = 0;
  #smallReads = 0;
  #loan: Loan | undefined;

  /** What a read of this many bytes has brought. */
  filled(count: number): Uint8Array<ArrayBuffer> {
    if (this.#view.length !== count) this.#view = this.bytes.subarray(0, count);
    return this.#view;
  }

  /** Chooses the size for the next read, after one of this many bytes that have been passed on. */
  adapt(count: number): void {
    bytesMoved += count;
    // Nearly: what TLS puts around the bytes has been in the buffer too.
    const isFull = count >= this.bytes.length - (this.bytes.length >> 3);
    if (this.#loan !== undefined) {
      if (isFull) this.#loan.movedAt = bytesMoved;
      else this[Symbol.dispose]();
    } else if (isFull) {
      this.#smallReads = 0;
      if (count < LARGEST_OWN) this.#resize(this.#size + 1);
      else if ((this.#loan = borrow()) !== undefined) this.#use(this.#loan.bytes);
    } else if (count > (OWN_SIZES[this.#size - 1] ?? 0)) {
      this.#smallReads = 0;
    } else if (++this.#smallReads === READS_BEFORE_SHRINKING) {
      this.#smallReads = 0;
      this.#resize(this.#size - 1);
    }
  }

  /** Gives a lent buffer back; the pump may go on with its own. */
  [Symbol.dispose](): void {
    if (this.#loan === undefined) return;
    giveBack(this.#loan);
    this.#loan = undefined;
    this.#use(this.#own);
  }

  #resize(size: number): void {
    this.#size = size;
    this.#own = new Uint8Array(OWN_SIZES[size] ?? LARGEST_OWN);
    this.#use(this.#own);
  }

  #use(bytes: Uint8Array<ArrayBuffer>): void {
    this.bytes = this.#view = bytes;
  }
}
