// The house of all sessions: where datagrams arrive and find theirs, how many there may be, who gives
// way to whom, and when one has been quiet for too long.

import { type Address, formatAddress, unmapped } from "../base/address.ts";
import { describeError } from "../base/errors.ts";
import { Backoff, pause } from "../base/time.ts";
import { giveSlice, takeSlice } from "../net/arena.ts";
import type { DatagramListener } from "../net/stream.ts";
import { Turns } from "../net/turns.ts";
import { closed, isOwnAddress, isSendingFrom } from "../net/udp.ts";
import { Admission } from "./admission.ts";
import type { ConnectionContext } from "./connection.ts";
import { clientFields, type EntryPoint } from "./entry_point.ts";
import { LOOP_HINT } from "./reach.ts";
import { type Datagram, Session, type SessionPort } from "./session.ts";

/** How many datagrams of all clients of a listener are taken at once, while turns are taken. */
const BATCH = 32;
/** The part of all places that those keep, whatever comes, who have sent several datagrams. */
const MOST_OF_PLACES = 3 / 4;
/** With fewer places they keep all: there is nothing to divide. */
const LARGE_HOUSE = 32;
/** How many sessions a datagram may seem to have come through before it counts as going round. */
const MAX_ROUNDS = 2;
/** How many descriptors streams get at once when they are short: a connection wants two. */
const FOR_STREAMS = 4;
/** How long there are no more sessions than there were descriptors for, in milliseconds. */
const SHORTAGE_MS = 10_000;
/** How long a shortage has to be over before another is told, in milliseconds. */
const TOLD_EVERY_MS = 60_000;
/** How long a session has to be quiet to have finished once the program stops, in milliseconds. */
const QUIET_MS = 500;
/** How often that is looked at, in milliseconds. */
const DRAIN_LOOK_MS = 50;
/** How often sessions are looked at, in milliseconds; and where their limit is short. */
const LOOK_EVERY_MS = 1000;
const LEAST_LOOK_MS = 10;
/** To open a session is as much work as to move so many bytes. */
const OPENING_BYTES = 8 * 32 * 1024;

/** Options for {@linkcode Sessions}. */
export interface SessionsOptions extends Pick<ConnectionContext, "log" | "leadsBack"> {
  /** Maximum sessions of all routes together; 0 is no limit. */
  readonly maxSessions: number;
  /** Gives descriptors back that are only held for convenience; whether there were any. */
  readonly makeRoom: () => boolean;
  /** Told when there is no descriptor for a session, and none that others would give up. */
  readonly onShortage: (error: unknown) => void;
  /** Told when a session has ended and left nothing behind. */
  readonly onLeft: (entryPoint: EntryPoint) => void;
}

/** Sessions in the order in which they give way. */
class Order {
  /** Those whose client has sent one datagram: the longest quiet first. */
  readonly #once = new Set<Session>();
  /** The others. */
  readonly #more = new Set<Session>();

  /** How many there are. */
  get size(): number {
    return this.#once.size + this.#more.size;
  }

  /** Puts one at the end, since something passes just now. */
  passed(session: Session): void {
    if (session.heard === 2) this.#once.delete(session);
    const order = session.heard > 1 ? this.#more : this.#once;
    order.delete(session);
    order.add(session);
  }

  /** Takes one out. */
  delete(session: Session): void {
    this.#once.delete(session);
    this.#more.delete(session);
  }

  /** All, the first to give way in front; they may end meanwhile. */
  *[Symbol.iterator](): Generator<Session> {
    yield* this.#once;
    yield* this.#more;
  }

  /** Lets the first end until there is a place for another; 0 is no limit. */
  makePlace(max: number): void {
    while (max > 0 && this.size >= max) {
      const [once] = this.#once;
      const [more] = this.#more;
      // Two datagrams are as cheap as one: whoever sends them must not keep everybody else out.
      const isFull = max >= LARGE_HOUSE && this.#more.size > max * MOST_OF_PLACES;
      const first = isFull ? more : once ?? more;
      if (first === undefined) return;
      this.delete(first);
      first.end("evicted");
    }
  }
}

/** Who has sent a datagram. */
interface Sender {
  readonly client: Address;
  /** By what its session is known. */
  readonly key: string;
}

/** A listener at work. */
interface Port extends SessionPort {
  /** The sessions of its entry point. */
  readonly order: Order;
  /** Its sessions, by their clients. */
  readonly sessions: Map<string, Session>;
}

/** All sessions. */
export class Sessions {
  readonly #options: SessionsOptions;
  readonly #context: ConnectionContext;
  readonly #all = new Order();
  readonly #orders = new WeakMap<EntryPoint, Order>();
  /** Maximum for now, since descriptors were short. */
  #ceiling = 0;
  #shortageMs = -Infinity;
  /** Sockets of sessions that have just ended, and that Deno has still to close. */
  #closing = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** How long until all are looked at, from when that was set; Infinity if they are not. */
  #lookMs = Infinity;
  #isDraining = false;
  #begun = 0;

  /** There is none yet. */
  constructor(options: SessionsOptions) {
    this.#options = options;
    // Their descriptors are lent: streams that are short of one take it from them, never the reverse.
    const admission = new Admission(0, []);
    this.#context = {
      log: options.log,
      leadsBack: options.leadsBack,
      admission,
      onShortage: (error) => {
        if (options.makeRoom() || this.#giveUp(1, error)) return true;
        if (admission.noteShortage()) options.onShortage(error);
        return false;
      },
    };
  }

  /** How many there are. */
  get size(): number {
    return this.#all.size;
  }

  /** How many there have been. */
  get begun(): number {
    return this.#begun;
  }

  /** Takes the datagrams of a listener until it is closed. Never rejects. */
  async serve(listener: DatagramListener, entryPoint: EntryPoint): Promise<void> {
    const order = this.#orders.get(entryPoint) ?? new Order();
    this.#orders.set(entryPoint, order);
    const sessions = new Map<string, Session>();
    const port: Port = {
      listener,
      entryPoint,
      order,
      sessions,
      waitingBytes: 0,
      sending: 0,
      passed: (session) => {
        this.#all.passed(session);
        order.passed(session);
      },
      ended: (session) => {
        this.#all.delete(session);
        order.delete(session);
        sessions.delete(session.key);
        if (session.hasSocket) void this.#noteClosing();
      },
    };
    const { closing, counts } = entryPoint;
    using turns = new Turns(BATCH);
    let backoff: Backoff | undefined;
    while (!closing.aborted) {
      const slice = takeSlice();
      let from: Address;
      let length: number;
      try {
        ({ from, length } = await listener.receive(slice.payload));
        backoff = undefined;
      } catch (error) {
        giveSlice(slice);
        if (closing.aborted) return;
        counts.acceptErrors++;
        const { name: route, listen } = entryPoint.route;
        const line = { route, listen, error: describeError(error) };
        this.#options.log.repeated("warn", "accept_failed", line);
        await pause((backoff ??= new Backoff()).next(), closing);
        continue;
      }
      const key = formatAddress(from);
      while (sessions.get(key)?.wantsTurn()) await pause(0);
      const turn = turns.wait(this.#pass({ client: from, key }, { slice, length }, port));
      if (turn !== undefined) await turn;
    }
  }

  /** The routes have changed. */
  follow(): void {
    for (const session of this.#all) session.follow();
  }

  /** Lets sessions end, since streams are short of descriptors; whether some come free by that. */
  giveUp(error: unknown): boolean {
    return this.#giveUp(FOR_STREAMS, error);
  }

  /**
   * Begins no session any more, and waits until those that there are have been quiet for a moment, for
   * so many milliseconds at most; 0 is for as long as it takes.
   */
  async drain(timeoutMs: number): Promise<void> {
    this.#isDraining = true;
    clearTimeout(this.#timer);
    const untilMs = timeoutMs === 0 ? Infinity : performance.now() + timeoutMs;
    while (this.size > 0 && performance.now() < untilMs) {
      const nowMs = performance.now();
      for (const session of this.#all) {
        if (session.quietMs(nowMs) >= QUIET_MS) session.end("finished");
      }
      if (this.size > 0) await pause(Math.min(DRAIN_LOOK_MS, untilMs - nowMs));
    }
    for (const session of this.#all) session.end("finished");
    while (this.#closing > 0) await closed();
  }

  /** Passes a datagram to its session; how much work that was, as bytes that might have been moved. */
  #pass(sender: Sender, { slice, length }: Datagram, port: Port): number {
    const known = port.sessions.get(sender.key);
    const session = known ?? this.#open(sender, port);
    if (session === undefined) giveSlice(slice);
    else session.take({ slice, length });
    return session === known ? length : OPENING_BYTES;
  }

  /** A session for a client that is new here; undefined if there is to be none. */
  #open({ client, key }: Sender, port: Port): Session | undefined {
    const { entryPoint: { route, counts, closing }, order, sessions } = port;
    if (this.#isDraining || closing.aborted) {
      counts.dropped.closed++;
      return undefined;
    }
    const { log } = this.#options;
    if (!route.settings.allow.has(client.hostname)) {
      counts.dropped.not_allowed++;
      log.repeated("warn", "not_allowed", clientFields(route, client));
      return undefined;
    }
    const rounds = this.#roundsOf(client);
    if (rounds > MAX_ROUNDS) {
      counts.dropped.loop++;
      log.repeated("error", "loop_detected", { ...clientFields(route, client), hint: LOOP_HINT });
      return undefined;
    }
    order.makePlace(route.settings.maxSessions);
    this.#all.makePlace(this.#options.maxSessions);
    this.#all.makePlace(this.#ceilingAt(performance.now()));
    const session = new Session({ client, key, port, rounds }, this.#context);
    sessions.set(key, session);
    this.#begun++;
    void this.#serve(session);
    this.#lookWithin(lookMs(session));
    return session;
  }

  async #serve(session: Session): Promise<void> {
    await session.serve();
    this.#options.onLeft(session.port.entryPoint);
  }

  /**
   * How many sessions a client's datagram has come through. Mostly a session that leads back is known
   * by its target, and cut before it sends; but the machine may send its datagrams elsewhere (NAT), and
   * then it shows by who sends them. Once is no proof: a client of this machine may have closed its
   * socket, and its port may have gone to a session meanwhile.
   */
  #roundsOf(client: Address): number {
    const address = { ...client, hostname: unmapped(client.hostname) };
    try {
      // Somebody has forged it, or this listener would send to itself.
      if (this.#options.leadsBack({ localAddr: address, remoteAddr: address })) return Infinity;
      if (!isSendingFrom(address) || !isOwnAddress(address.hostname)) return 0;
    } catch {
      // No descriptor to find out with: the next round may have one.
      return 0;
    }
    for (const one of this.#all) if (one.sendsFrom(address)) return one.rounds + 1;
    return 0;
  }

  /**
   * Lets the first to give way end until so many descriptors come free; whether any do. From then on
   * there are for a while no more sessions than have a socket: newcomers take the places of others, and
   * what streams have got stays theirs.
   */
  #giveUp(count: number, error: unknown): boolean {
    let held = this.#closing;
    for (const session of this.#all) {
      if (!session.hasSocket) continue;
      held++;
      if (this.#closing < count) session.end("evicted");
    }
    if (this.#closing === 0) return false;
    const nowMs = performance.now();
    if (nowMs - this.#shortageMs >= TOLD_EVERY_MS) this.#options.onShortage(error);
    const forStreams = count === FOR_STREAMS ? Math.min(FOR_STREAMS, this.#closing) : 0;
    this.#ceiling = Math.max(1, held - forStreams);
    this.#shortageMs = nowMs;
    return true;
  }

  async #noteClosing(): Promise<void> {
    if (this.#isDraining) return;
    this.#closing++;
    await closed();
    this.#closing--;
  }

  #ceilingAt(nowMs: number): number {
    return nowMs - this.#shortageMs < SHORTAGE_MS ? this.#ceiling : 0;
  }

  /** Looks at all sessions within so many milliseconds, and so on as long as there are any. */
  #lookWithin(ms: number): void {
    if (ms >= this.#lookMs || this.#isDraining) return;
    clearTimeout(this.#timer);
    this.#lookMs = ms;
    this.#timer = setTimeout(() => {
      const nowMs = performance.now();
      this.#lookMs = Infinity;
      let nextMs = Infinity;
      for (const session of this.#all) {
        session.check(nowMs);
        nextMs = Math.min(nextMs, lookMs(session));
      }
      this.#lookWithin(nextMs);
    }, ms);
  }
}

/** How often a session is to be looked at, in milliseconds: its limit is kept to a tenth. */
function lookMs({ settings: { udpTimeoutMs } }: Session): number {
  return Math.max(LEAST_LOOK_MS, Math.min(LOOK_EVERY_MS, (udpTimeoutMs || Infinity) / 20));
}
