// Moves bytes between two sockets, both ways at once, until both directions have ended. It knows the
// two sockets and nothing else: no routes, no limits, no log.

/** What the relay needs of a socket; `Deno.TcpConn` is one. */
export interface Socket {
  /** Fills a part of the buffer; null at the end of what the peer sends. */
  read(buffer: Uint8Array): Promise<number | null>;
  /** Takes at least one byte of the data, perhaps not all. */
  write(data: Uint8Array): Promise<number>;
  /** Tells the peer that nothing more comes (FIN). */
  closeWrite(): Promise<void>;
  /** Closes both directions; may be called again. */
  [Symbol.dispose](): void;
}

/** One direction of a connection, kept up to date while bytes move. */
export interface Direction {
  /** Bytes that the receiving socket has taken. */
  bytes: number;
  /** Whether the sender has finished and the receiver has been told. */
  finished: boolean;
  /** Whether the receiver has still to take bytes. */
  writing: boolean;
}

/** Both directions of a connection. */
export interface Traffic {
  /** Client → upstream. */
  readonly up: Direction;
  /** Upstream → client. */
  readonly down: Direction;
}

/** How a relay ended. */
export type RelayEnd = "finished" | "client_reset" | "upstream_reset";

/** A connection on which nothing has moved yet. */
export function newTraffic(): Traffic {
  return {
    up: { bytes: 0, finished: false, writing: false },
    down: { bytes: 0, finished: false, writing: false },
  };
}

/**
 * Passes bytes and the end of each direction on until both have ended or one side is gone. Never
 * rejects. A side that can't be read any more ends the other at once; one that can't be written to is
 * still read to its end first, so that an answer that was given before the reset arrives.
 */
export async function relay(client: Socket, upstream: Socket, traffic: Traffic): Promise<RelayEnd> {
  const outcome: Outcome = { end: "finished" };
  const up = pump(client, upstream, {
    direction: traffic.up,
    unreadable: "client_reset",
    unwritable: "upstream_reset",
    outcome,
  });
  await pump(upstream, client, {
    direction: traffic.down,
    unreadable: "upstream_reset",
    unwritable: "client_reset",
    outcome,
  });
  await up;
  return outcome.end;
}

/** The first failure of either direction tells who it was; those after it are its consequences. */
interface Outcome {
  end: RelayEnd;
}

/** One direction's part of the whole. */
interface Leg {
  readonly direction: Direction;
  /** What it means that the sender can't be read any more. */
  readonly unreadable: RelayEnd;
  /** What it means that the receiver can't be written to. */
  readonly unwritable: RelayEnd;
  readonly outcome: Outcome;
}

/** What a busy connection may hold each way while it waits. */
const LARGEST_BUFFER = 32 * 1024;
/** The first is what a quiet one holds; after a read that has filled it, the next. */
const OWN_BUFFERS = [256, 4 * 1024, LARGEST_BUFFER] as const;
/** After so many reads that a smaller buffer could have held, it is made smaller. */
const READS_BEFORE_SHRINKING = 64;

/**
 * Fewer and larger system calls are what makes a stream fast, but memory that waits with a connection
 * is lost to the others. So a large buffer is only lent, while more has come than the largest own one
 * could hold. There are so many for all connections together and they are kept: making one costs more
 * than it wins where it is for a single message. Who finds none goes on with its own.
 */
const LENT_BUFFER = 1024 * 1024;
const MAX_LENT = 8;
const spare: Uint8Array<ArrayBuffer>[] = [];
let made = 0;

function borrow(): Uint8Array<ArrayBuffer> | undefined {
  if (spare.length > 0 || made === MAX_LENT) return spare.pop();
  made++;
  return new Uint8Array(LENT_BUFFER);
}

/**
 * Deno looks for what has come on other sockets only when nothing is ready any more, or else after 61
 * turns of its loop (`event_interval` in its runtime/tokio_util.rs). Streams that are always ready would
 * let a quiet connection wait for most of a second. So after so many bytes all streams stand back for
 * as many turns, which are empty and short.
 */
const BYTES_BEFORE_STANDING_BACK = 4 * 1024 * 1024;
const TURNS = 64;
let bytesMoved = 0;
let standingBack: Promise<void> | undefined;

/** Calls back in the next turn of the event loop. Every supported Deno has it; not all declare it. */
declare function setImmediate(callback: () => void): unknown;

async function standBack(): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) {
    await new Promise<void>((resolve) => void setImmediate(resolve));
  }
  bytesMoved = 0;
  standingBack = undefined;
}

function newBuffer(size: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(OWN_BUFFERS[size] ?? LARGEST_BUFFER);
}

async function pump(from: Socket, to: Socket, leg: Leg): Promise<void> {
  const { direction, outcome } = leg;
  let size = 0;
  let own = newBuffer(size);
  let buffer = own;
  // Messages of one kind often have one length: the view of the last one does for the next.
  let view = own;
  let smallReads = 0;
  for (;;) {
    let count: number | null;
    try {
      count = await from.read(buffer);
    } catch {
      from[Symbol.dispose]();
      to[Symbol.dispose]();
      if (outcome.end === "finished") outcome.end = leg.unreadable;
      break;
    }
    try {
      if (count === null) {
        await to.closeWrite();
        direction.finished = true;
        break;
      }
      if (view.length !== count) view = buffer.subarray(0, count);
      bytesMoved += count;
      direction.writing = true;
      let written = await to.write(view);
      direction.bytes += written;
      while (written < count) {
        const more = await to.write(buffer.subarray(written, count));
        direction.bytes += more;
        written += more;
      }
      direction.writing = false;
    } catch {
      direction.writing = false;
      if (outcome.end === "finished") outcome.end = leg.unwritable;
      break;
    }
    const isFull = count === buffer.length;
    if (count >= LARGEST_BUFFER && bytesMoved >= BYTES_BEFORE_STANDING_BACK) {
      await (standingBack ??= standBack());
    }
    if (buffer !== own) {
      if (isFull) continue;
      spare.push(buffer);
      view = buffer = own;
    } else if (isFull) {
      smallReads = 0;
      if (count < LARGEST_BUFFER) buffer = own = newBuffer(++size);
      else buffer = borrow() ?? own;
      view = buffer;
    } else if (count > (OWN_BUFFERS[size - 1] ?? 0)) {
      smallReads = 0;
    } else if (++smallReads === READS_BEFORE_SHRINKING) {
      smallReads = 0;
      view = buffer = own = newBuffer(--size);
    }
  }
  if (buffer !== own) spare.push(buffer);
}
