// Says who may go on while places or descriptors are scarce: the next client of a route, and the next
// dial for one. One for all routes, since the limits are those of the process. It opens nothing.
//
// How many descriptors there are can't be asked for; it is learned when one is missing. For a while
// that number is the limit then, and one rule shares what is left: what a route holds of something may
// not exceed what is still free of it. So whatever one route's target does, others find some.

import { startPause } from "../base/time.ts";

/** How long a shortage is remembered after it has last shown. */
const SHORTAGE_MS = 60_000;

/**
 * Where descriptors are short, how many stay free of clients at the most, for lookups, dials and the
 * status page: a quarter of all, where that is less.
 */
const MAX_RESERVED = 8;

/** A client's own descriptor, and the one that its upstream will need. */
const PER_CONNECTION = 2;

/** How long a dial or a handshake is left alone, in milliseconds: who wants to has answered by then. */
export const PATIENCE_MS = 500;
/** The same where clients come faster than their handshakes end: enough for one on a good network. */
const LEAST_PATIENCE_MS = 15;
/** How often those who wait look whether a shortage is over. */
const LOOK_EVERY_MS = 250;
/** How often room is made at the most. */
const ROOM_EVERY_MS = 10;

/** What one route holds. */
export class Share {
  /** Maximum connections of the route; none until there is a limit. */
  max: number = Infinity;
  /** Clients that are accepted and have not ended. */
  open = 0;
  /** Those of them that have no upstream yet. */
  held = 0;
  /** Those of them that have not said who they are, the oldest first. */
  readonly handshakes = new Set<Handshake>();
  /** The dials under way, the oldest first. */
  readonly dials = new Set<Dialler>();
  /** The clients that wait for a descriptor to dial with, the youngest last. */
  readonly waiting = new Set<Dialler>();
  /** Whether its target has let a dial wait too long, and has not answered since. */
  isSilent = false;

  /** From now on this is the maximum; who is there stays. 0 is no limit. */
  limit(max: number): void {
    this.max = max > 0 ? max : Infinity;
  }
}

/** A client that has still to say who it is. */
export interface Handshake {
  /** When it came, as `performance.now()` tells it. */
  readonly sinceMs: number;
  /** Ends, since another client needs its place. */
  giveWay(): void;
}

/** A client's way to its upstream. */
export interface Dialler {
  /** When its last dial began, as `performance.now()` tells it. */
  readonly sinceMs: number;
  /** Gives the descriptor of its dial back; it tries again when there is one. */
  giveWay(): void;
  /** Gives up, so that the client ends. */
  giveUp(): void;
}

/** Counts connections and descriptors. */
export class Admission {
  readonly #max: number;
  readonly #shares: Iterable<Share>;
  #open = 0;
  #descriptors = 0;
  /** How many descriptors forwarding can have; Infinity as long as none has been missing. */
  #ceiling = Infinity;
  #shortUntilMs = 0;
  #nextLookMs = 0;
  /** How long a handshake keeps its place where others wait for it: less, the more of them are idle. */
  #patienceMs = PATIENCE_MS;
  /** Those of all routes, the oldest first. */
  readonly #handshakes = new Set<Handshake>();
  readonly #dials = new Set<() => void>();
  readonly #accepts = new Set<() => void>();

  /**
   * Nothing is open yet.
   *
   * @param max Maximum connections of all routes together; 0 is no limit.
   * @param shares Those of all routes, as they are at each time.
   */
  constructor(max: number, shares: Iterable<Share>) {
    this.#max = max > 0 ? max : Infinity;
    this.#shares = shares;
  }

  /** Clients that are accepted and have not ended. */
  get open(): number {
    return this.#open;
  }

  /** Whether so few descriptors are left that other failures may come from that. */
  get isShort(): boolean {
    return this.#remembersShortage() && this.#free() < 0;
  }

  /** Takes note that a descriptor was missing; whether that is news. */
  noteShortage(): boolean {
    const isNews = !this.#remembersShortage();
    this.#ceiling = Math.min(this.#ceiling, this.#descriptors);
    this.#shortUntilMs = performance.now() + SHORTAGE_MS;
    this.#makeRoom();
    return isNews;
  }

  /** Whether the next client of a route may be accepted now. */
  mayAccept(share: Share): boolean {
    if (this.#hasNoPlace(share)) return false;
    // Somebody has to be served, however few descriptors there are.
    if (this.#open === 0 || !this.#remembersShortage()) return true;
    const free = this.#free();
    return free >= PER_CONNECTION && share.held < free;
  }

  /** Whether there is no place for a client of a route, and none that another would give up. */
  #hasNoPlace(share: Share): boolean {
    return this.#untilPlaceMs(share) > 0;
  }

  /** When one is given up, in milliseconds from now; Infinity if none is. */
  #untilPlaceMs(share: Share): number {
    return Math.max(
      this.#open < this.#max ? 0 : this.#leftMs(this.#handshakes),
      share.open < share.max ? 0 : this.#leftMs(share.handshakes),
    );
  }

  /** How long the oldest still keeps its place. */
  #leftMs([oldest]: Iterable<Handshake>): number {
    if (oldest === undefined) return Infinity;
    return Math.max(0, oldest.sinceMs + this.#patienceMs - performance.now());
  }

  /** Takes the places that a client of a route needs from those who have not said who they are. */
  makePlace(share: Share): void {
    if (share.open < share.max && this.#open < this.#max) {
      this.#patienceMs = Math.min(this.#patienceMs * 2, PATIENCE_MS);
      return;
    }
    // Who opens connections and says nothing on them must not be the only one who gets in.
    this.#patienceMs = Math.max(this.#patienceMs / 2, LEAST_PATIENCE_MS);
    const [oldest] = share.open < share.max ? this.#handshakes : share.handshakes;
    oldest?.giveWay();
  }

  /** Whether a route has not too many clients without an upstream to keep one more waiting. */
  mayHold({ held }: Share): boolean {
    return !this.#remembersShortage() || held <= Math.max(1, this.#free());
  }

  /** Whether a dial for a route may have a descriptor now. */
  mayDial({ dials }: Share): boolean {
    return !this.#remembersShortage() ||
      dials.size < Math.max(1, this.#free());
  }

  /** Resolves when the next client of a route may be accepted, or the signal has aborted. */
  async untilMayAccept(share: Share, signal: AbortSignal): Promise<void> {
    while (!this.mayAccept(share) && !signal.aborted) {
      this.#makeRoom();
      const withinMs = Math.min(this.#pollMs(), Math.ceil(this.#untilPlaceMs(share)) || Infinity);
      await this.#wait(this.#accepts, withinMs, signal);
    }
  }

  /** For an accept that failed: resolves when a connection has ended, or the time is over. */
  async untilChange(withinMs: number, signal: AbortSignal): Promise<void> {
    await this.#wait(this.#accepts, withinMs, signal);
  }

  /** Resolves when a dial for a route may have a descriptor, or the signal has aborted. */
  async untilMayDial(share: Share, dialler: Dialler, signal: AbortSignal): Promise<void> {
    share.waiting.add(dialler);
    do await this.#wait(this.#dials, this.#pollMs(), signal); while (
      !this.mayDial(share) && !signal.aborted
    );
    share.waiting.delete(dialler);
  }

  /** Counts a client that was accepted. */
  accepted(share: Share): void {
    this.#open++;
    this.#descriptors++;
    share.open++;
    share.held++;
  }

  /** Takes note of a client that is asked who it is. */
  handshakeBegins(share: Share, handshake: Handshake): void {
    share.handshakes.add(handshake);
    this.#handshakes.add(handshake);
  }

  /** The client has said it, or has ended. */
  handshakeEnded(share: Share, handshake: Handshake): void {
    share.handshakes.delete(handshake);
    this.#handshakes.delete(handshake);
  }

  /** Counts a dial that begins. */
  dialBegins(share: Share, dialler: Dialler): void {
    this.#descriptors++;
    share.dials.add(dialler);
  }

  /** Counts a dial that has ended, and whether its descriptor stays in use. */
  dialEnded(share: Share, dialler: Dialler, isConnected: boolean): void {
    share.dials.delete(dialler);
    if (!isConnected) {
      this.#descriptors--;
      return;
    }
    share.isSilent = false;
    wakeAll(this.#dials);
  }

  /** Counts a client that has no longer to wait for its upstream. */
  reached(share: Share): void {
    share.held--;
  }

  /** Counts a connection that has ended, with its upstream if it had one. */
  left(share: Share, hadUpstream: boolean): void {
    this.#open--;
    this.#descriptors -= hadUpstream ? 2 : 1;
    share.open--;
    if (!hadUpstream) share.held--;
    this.wake();
  }

  /**
   * Takes descriptors back from handshakes and dials that have had their time, where their route holds
   * more than its share. If that is not enough for one more client, the youngest who wait for such a
   * target go; and if more wait for a descriptor than are served, the youngest of all: they hold what
   * the others wait for. It comes to that where many shake hands at once, since nobody dials until that
   * is done.
   */
  #makeRoom(): void {
    const nowMs = performance.now();
    // Thousands of routes may wait for room, and each look is at all of them.
    if (!this.#remembersShortage() || nowMs < this.#nextLookMs) return;
    this.#nextLookMs = nowMs + ROOM_EVERY_MS;
    const beganBeforeMs = nowMs - PATIENCE_MS;
    let free = this.#free();
    let open = this.#open;
    let held = 0;
    const waiting: Dialler[] = [];
    const hopeless: Dialler[] = [];
    for (const share of this.#shares) {
      let heldHere = share.held;
      const isOver = free < PER_CONNECTION || heldHere >= free;
      for (const handshake of share.handshakes) {
        if (!isOver || handshake.sinceMs > beganBeforeMs) break;
        handshake.giveWay();
        heldHere--;
        open--;
        free++;
      }
      held += heldHere;
      waiting.push(...share.waiting);
      if (share.isSilent) hopeless.push(...share.waiting);
      let dials = share.dials.size;
      for (const dialler of share.dials) {
        if (dials <= free || dialler.sinceMs > beganBeforeMs) break;
        dialler.giveWay();
        share.isSilent = true;
        dials--;
        free++;
      }
    }
    while (free < PER_CONNECTION && hopeless.length > 1) {
      hopeless.pop()?.giveUp();
      free++;
    }
    if (free < PER_CONNECTION && waiting.length === held) {
      // Each that goes lets another have its upstream: one stops waiting for it.
      for (; held > 1 && held > open - held; held -= 2, open--) waiting.pop()?.giveUp();
    }
  }

  /** How many descriptors are left for clients and dials. */
  #free(): number {
    const reserved = Math.min(MAX_RESERVED, Math.floor(this.#ceiling / 4));
    return this.#ceiling - reserved - this.#descriptors;
  }

  /** Lets those go on who wait for a descriptor; dials first, since their clients are already here. */
  wake(): void {
    wakeAll(this.#dials);
    wakeAll(this.#accepts);
  }

  #remembersShortage(): boolean {
    if (this.#ceiling === Infinity) return false;
    if (performance.now() < this.#shortUntilMs) return true;
    this.#ceiling = Infinity;
    return false;
  }

  /**
   * A shortage ends without anybody's doing: others than forwarding hold descriptors too. A handshake
   * is to have had its time.
   */
  #pollMs(): number {
    const mayChange = this.#remembersShortage() || this.#handshakes.size > 0;
    return mayChange ? LOOK_EVERY_MS : Infinity;
  }

  async #wait(waiting: Set<() => void>, withinMs: number, signal: AbortSignal): Promise<void> {
    const { over, end } = startPause(withinMs, signal);
    waiting.add(end);
    await over;
    waiting.delete(end);
  }
}

function wakeAll(waiting: Set<() => void>): void {
  if (waiting.size === 0) return;
  const all = [...waiting];
  waiting.clear();
  for (const end of all) end();
}
