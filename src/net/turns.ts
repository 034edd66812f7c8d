// Lets each busy connection have its turn, and quiet ones theirs beside streams. It knows how much has
// moved, and nothing of who moved it.
//
// It is a workaround for Deno, measured on 2.9.6 and 2.7.11; docs/deno-fairness.md has the whole story:
//
// - A turn of Deno's loop serves 128 socket operations. What else is ready is put off and comes after
//   whatever has become ready since, so that some hundred busy connections leave the others nothing.
// - While something is ready, Deno looks for new events only after 61 turns, so that a quiet connection
//   would wait behind streams for most of a second.
//
// So while there is much to do, each direction that has moved something joins a queue before its next
// read, and after each look at the sockets only as many go on as one turn can serve; and only a few
// clients are accepted. A stream joins it after each megabyte, read in one piece or in several. With
// that nothing is put off, and the order of the queue is the order of service. Without this file
// `relay` would read at once, and so would a listener accept.

import { pause } from "../base/time.ts";

/**
 * What is counted as work: one for each message, and one more for each 32 KiB (2^15) in it, which take
 * about as long to copy as a message does to pass.
 */
const UNIT_BITS = 15;
/** Who goes on after a look: this much work is 80 operations, and clients arrive and leave besides. */
const WORK_A_LOOK = 40;
/** Who has read so much at once is most likely a stream, and goes on for a megabyte in all. */
const STREAM_READ = 16 * 1024;
const STREAM_WORK = 33;
/** How many clients are accepted then: each costs as much as ten messages. */
const ARRIVALS_A_LOOK = 4;
/** Turns are taken once more work than this is done in one turn of the loop, or is waiting for it. */
const MUCH_WORK = 128;
/** How often that is found out. */
const WORK_UNTIL_CHECK = 256;
/** Turns end after so many looks in a row with less work. */
const CALM_LOOKS = 64;

/** One who waits, in a list: taking the first of a long array would move all others. */
interface Waiting {
  /** What it did last, and most likely does next. */
  readonly work: number;
  /** Lets it go on. */
  readonly go: () => void;
  next: Waiting | undefined;
}

class Queue {
  /** What all who wait are likely to do. */
  work = 0;
  #first: Waiting | undefined;
  #last: Waiting | undefined;

  /** Waits for a turn. */
  join(work: number): Promise<void> {
    this.work += work;
    return new Promise((go) => {
      const waiting = { work, go, next: undefined };
      if (this.#last === undefined) this.#first = waiting;
      else this.#last.next = waiting;
      this.#last = waiting;
    });
  }

  /** Lets the first go on, for about so much work; how much it is. */
  release(most: number): number {
    let released = 0;
    while (this.#first !== undefined && released < most) {
      const { work, go, next } = this.#first;
      this.#first = next;
      if (next === undefined) this.#last = undefined;
      released += work;
      go();
    }
    this.work -= released;
    return released;
  }
}

/** Directions that have moved something. */
const directions = new Queue();
/** Listeners that have accepted a client. */
const listeners = new Queue();
/** What has been done since the last look. */
let doneWork = 0;
/** Clients that have come since. */
let arrivals = 0;
/** At this much work it is time for the next step: to check, then to take turns. */
let limit = WORK_UNTIL_CHECK;
let isChecking = false;
/** Watches the looks; there while turns are taken, and only then. */
let watch: Disposable | undefined;
let parts = 0;

/** One direction's part in the turns, to be held for as long as it may wait for one. */
export class Turns implements Disposable {
  readonly #batch: number;
  /** What it has done since its last turn began. */
  #work = 0;

  /** Takes part; a turn is `batch` messages, more than one for whoever has those of many. */
  constructor(batch = 1) {
    this.#batch = batch;
    parts++;
  }

  /** Counts bytes that it has moved; what it has to wait for before its next read. */
  wait(count: number): Promise<void> | undefined {
    const work = 1 + (count >> UNIT_BITS);
    doneWork += work;
    if (watch === undefined) {
      if (doneWork < limit) return undefined;
      if (!isChecking) {
        void check();
        return undefined;
      }
      watch = watchLooks();
    }
    this.#work += work;
    if (this.#work < (count >= STREAM_READ ? STREAM_WORK : this.#batch)) return undefined;
    const all = this.#work;
    this.#work = 0;
    return directions.join(all);
  }

  /** Takes part no longer. */
  [Symbol.dispose](): void {
    if (--parts === 0) closePair();
  }
}

/** Counts a client that has come; what its listener has to wait for before it accepts the next. */
export function waitToAccept(): Promise<void> | undefined {
  if (watch === undefined || ++arrivals < ARRIVALS_A_LOOK) return undefined;
  return listeners.join(1);
}

/** Finds out how much is done in one turn of the loop, and has turns taken if it is much. */
async function check(): Promise<void> {
  isChecking = true;
  if (pair === undefined) {
    // To open it takes several turns.
    limit = 8 * MUCH_WORK;
    await look();
  }
  doneWork = 0;
  limit = MUCH_WORK;
  await look();
  if (watch !== undefined) await takeTurns();
  isChecking = false;
  watch?.[Symbol.dispose]();
  watch = undefined;
  directions.release(Infinity);
  listeners.release(Infinity);
  doneWork = 0;
  limit = WORK_UNTIL_CHECK;
}

async function takeTurns(): Promise<void> {
  let released = 0;
  let calmLooks = 0;
  doneWork = 0;
  while (calmLooks < CALM_LOOKS && parts > 0) {
    // First: those who go on may use up what one turn of the loop serves.
    const looked = look();
    // Others than they have come to life, or were put off before.
    const others = Math.max(0, doneWork - released);
    calmLooks = directions.work < MUCH_WORK ? calmLooks + 1 : 0;
    doneWork = arrivals = 0;
    released = directions.release(WORK_A_LOOK - others);
    listeners.release(ARRIVALS_A_LOOK);
    await looked;
  }
}

/** A connection of the process with itself. */
interface Pair {
  readonly near: Deno.TcpConn;
  readonly far: Deno.TcpConn;
}

let pair: Pair | undefined;
/** Ends the opening of one. */
let opening = new AbortController();
/** How many looks a pair has made. */
let looks = 0;
/** Until then there is to be no pair. */
let noPairUntilMs = -Infinity;
/** How long that is after one was given up. */
const NO_PAIR_MS = 10_000;
const BYTE = new Uint8Array(1);
/** Larger than what comes, or Deno would try the next read before it looks. */
const received = new Uint8Array(16);

/**
 * Waits until Deno's loop has looked at its sockets: it must, to see a byte that comes on one, or to
 * see that a timer is due, but that takes a millisecond. One look at a time.
 */
async function look(): Promise<void> {
  // Nobody would close the pair.
  if (parts === 0) return;
  if (performance.now() < noPairUntilMs) return await pause(0);
  pair ??= await openPair();
  if (pair === undefined) return;
  if (parts === 0) return closePair();
  try {
    const [count] = await Promise.all([pair.far.read(received), pair.near.write(BYTE)]);
    if (count === null) giveUpPair();
    looks++;
  } catch {
    // If it is still there, nobody has closed it here.
    if (pair !== undefined) giveUpPair();
  }
}

/** Undefined where it can't be had: there is no descriptor, or no loopback. */
async function openPair(): Promise<Pair | undefined> {
  using opened = new DisposableStack();
  try {
    const listener = opened.use(Deno.listen({ hostname: "127.0.0.1", port: 0 }));
    const { port } = listener.addr;
    const { signal } = opening = new AbortController();
    const near = await Deno.connect({ hostname: "127.0.0.1", port, signal });
    opened.use(near);
    near.setNoDelay(true);
    const far = opened.use(await listener.accept());
    if (far.remoteAddr.port !== near.localAddr.port) throw new Error("somebody else's connection");
    opened.move();
    listener.close();
    return { near, far };
  } catch {
    giveUpPair();
    return undefined;
  }
}

function closePair(): void {
  pair?.near.close();
  pair?.far.close();
  pair = undefined;
}

/** Gives the descriptors of the pair back, for a while; whether there was one. */
export function giveUpPair(): boolean {
  noPairUntilMs = performance.now() + NO_PAIR_MS;
  const had = pair !== undefined;
  opening.abort();
  closePair();
  return had;
}

const TICK_MS = 100;
/** In so many ticks without a look, bytes are lost: a firewall drops them, or there is no loopback. */
const STALLED_TICKS = 3;

/** Gives the pair up if its byte does not come while nobody moves, or all would wait for ever. */
function watchLooks(): Disposable {
  let before = NaN;
  let stalled = 0;
  const timer = setInterval(() => {
    // A look may take long where thousands have come to life at once, but they move.
    const now = looks + doneWork;
    stalled = now === before && performance.now() > noPairUntilMs ? stalled + 1 : 0;
    before = now;
    if (stalled === STALLED_TICKS) giveUpPair();
  }, TICK_MS);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
