// One client of a UDP route: who it is, and its socket to a target, so that answers find their way. It
// is to datagrams what `connection.ts` is to streams. Which sessions there are, and who gives way to
// whom, is its house's business.

import { type Address, isIpv4, isUnspecified, unmapped } from "../base/address.ts";
import { describeWithHint, errorCode, errorFields } from "../base/errors.ts";
import type { LogEvent } from "../base/log.ts";
import { Backoff, pause, TimeLimit } from "../base/time.ts";
import type { RouteSettings } from "../config/options.ts";
import { giveSlice, HEADROOM, type Slice, takeSlice } from "../net/arena.ts";
import type { DatagramListener, Stream } from "../net/stream.ts";
import { Turns } from "../net/turns.ts";
import type { ConnectionContext } from "./connection.ts";
import type { DropReason, Reason } from "./counts.ts";
import { type ActiveRoute, clientFields, type EntryPoint } from "./entry_point.ts";
import { datagramHeaderOf } from "./proxy_protocol.ts";
import { LOOP_HINT, LoopError, Reach } from "./reach.ts";
import type { Target } from "./targets.ts";

/** Maximum datagrams of a client that wait for its target to be found, or for the system. */
const MAX_WAITING = 16;
/** Maximum memory for all that wait so at one listener, in bytes. */
const MAX_WAITING_BYTES = 4 * 1024 * 1024;
/** How many turns of Deno's loop a session is given before one is lost: 2.7 takes more than one. */
const MAX_TURNS = 4;
/** Maximum answers of a listener that may wait for the system to take them. */
const MAX_SENDING = 64;
/** How often names are looked up again where sessions have no limit of time, in milliseconds. */
const RENEW_MS = 60_000;
/** How long that may take where there is no limit, in milliseconds. */
const MAX_LOOKUP_MS = 10_000;

/** Where a session's client arrives. */
export interface SessionPort {
  /** Where its datagrams come from, and its answers leave. */
  readonly listener: DatagramListener;
  /** Whose listener that is. */
  readonly entryPoint: EntryPoint;
  /** Memory of the datagrams of all its sessions that wait, in bytes. */
  waitingBytes: number;
  /** Answers that the system has not taken yet. */
  sending: number;
  /** Told of each datagram that comes from the client, and of each answer that has passed. */
  passed(session: Session): void;
  /** Told of the end. */
  ended(session: Session): void;
}

/** A datagram in a slice, behind the headroom. */
export interface Datagram {
  /** Where it is. */
  readonly slice: Slice;
  /** Of its payload, in bytes. */
  readonly length: number;
}

/** A client and its socket to a target. */
export class Session {
  /** What holds for it. */
  settings: RouteSettings;
  /** Where its client arrives. */
  readonly port: SessionPort;
  /** The client's address as text. */
  readonly key: string;
  /** Datagrams that its client has sent. */
  heard = 0;
  /** How many sessions its client's datagrams seem to have come through before. */
  readonly rounds: number;
  readonly #client: Address;
  readonly #context: ConnectionContext;
  readonly #sinceMs = performance.now();
  #route: ActiveRoute;
  #upstream: Stream | undefined;
  #target: Target | undefined;
  #reach: Reach | undefined;
  /** What stands before each datagram to the target. */
  #header: Uint8Array | undefined;
  readonly #waiting: Datagram[] = [];
  #isSending = false;
  #turns = 0;
  #reason: Reason | undefined;
  #bytesUp = 0;
  #bytesDown = 0;
  /** Datagrams that have passed either way. */
  #passed = 0;
  /** How many had come from either side when somebody last looked. */
  #comeBefore = -1;
  /** Since when there have been so many, as far as is known. */
  #quietSinceMs = this.#sinceMs;
  #renewedMs = this.#sinceMs;
  #isRenewing = false;

  /** Begins with a client that may be served. */
  constructor(
    { client, key, port, rounds }: {
      readonly client: Address;
      readonly key: string;
      readonly port: SessionPort;
      readonly rounds: number;
    },
    context: ConnectionContext,
  ) {
    this.#client = client;
    this.key = key;
    this.port = port;
    this.rounds = rounds;
    this.#context = context;
    this.#route = port.entryPoint.route;
    this.settings = this.#route.settings;
  }

  /** Whether it has a socket, so that its end gives one back. */
  get hasSocket(): boolean {
    return this.#upstream !== undefined;
  }

  /** Whether an address is the one that it sends from to its target, as far as its socket tells. */
  sendsFrom({ hostname, port }: Address): boolean {
    const local = this.#upstream?.localAddr;
    return local?.port === port && isIpv4(local.hostname) === isIpv4(hostname);
  }

  /** Finds the target and passes its answers on, until the session ends. Never rejects. */
  async serve(): Promise<void> {
    const { counts, share } = this.port.entryPoint;
    const { admission, log } = this.#context;
    admission.accepted(share);
    counts.sessionBegan();
    if (log.debugs) log.debug("connection_opened", this.#fields());
    await this.#reachTarget();
    if (this.#upstream !== undefined) await this.#answer(this.#upstream);
    admission.left(share, this.#upstream !== undefined);
    this.#target?.left();
  }

  /**
   * Whether what comes now would be lost, and may be only because Deno has not looked at its sockets
   * meanwhile: the first datagram that a new socket sends waits for that. True a few times in a
   * session.
   */
  wantsTurn(): boolean {
    // A name may take long: that must not be at the cost of others.
    const max = this.#upstream === undefined ? 1 : MAX_TURNS;
    const mustWait = this.#upstream === undefined || this.#isSending;
    if (!mustWait || this.#turns >= max || this.#waiting.length < MAX_WAITING) return false;
    this.#turns++;
    return true;
  }

  /** Passes a datagram on, or keeps it until it can be. The slice is given back then. */
  take(datagram: Datagram): void {
    this.heard++;
    this.port.passed(this);
    if (this.#upstream !== undefined && !this.#isSending) {
      void this.#send(this.#upstream, datagram);
    } else if (this.#mayWait()) {
      this.#waiting.push(datagram);
      this.port.waitingBytes += memoryOf(datagram);
    } else {
      this.#drop("queue_full");
      giveSlice(datagram.slice);
    }
  }

  #mayWait(): boolean {
    return this.#waiting.length < MAX_WAITING && this.port.waitingBytes < MAX_WAITING_BYTES;
  }

  #nextWaiting(): Datagram | undefined {
    const next = this.#waiting.shift();
    if (next !== undefined) this.port.waitingBytes -= memoryOf(next);
    return next;
  }

  /** Ends it at once; the first reason stands. */
  end(reason: Reason): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    const { log } = this.#context;
    this.port.ended(this);
    this.#reach?.cancel();
    this.#upstream?.[Symbol.dispose]();
    const lostBy = reason === "connect_failed" || reason === "loop" ? reason : "closed";
    for (let one = this.#nextWaiting(); one !== undefined; one = this.#nextWaiting()) {
      this.#drop(lostBy);
      giveSlice(one.slice);
    }
    this.port.entryPoint.counts.sessionEnded(reason);
    if (!log.accesses) return;
    log.access("connection_closed", {
      ...this.#fields(),
      bytes_up: this.#bytesUp,
      bytes_down: this.#bytesDown,
      duration_ms: Math.round(performance.now() - this.#sinceMs),
      reason,
    });
  }

  /** The routes have changed. */
  follow(): void {
    const { goneMs, route } = this.port.entryPoint;
    if ((this.#target ?? { goneMs }).goneMs !== undefined) return this.end("rewire_timeout");
    if (this.#upstream !== undefined || route === this.#route) return;
    // It is served by what holds now.
    this.#route = route;
    this.settings = route.settings;
    if (route.settings.allow.has(this.#client.hostname)) return this.#reach?.follow();
    this.#context.log.repeated("warn", "not_allowed", this.#fields());
    this.end("not_allowed");
  }

  /** For how long nothing has come, in milliseconds: since it was asked the last time, at most. */
  quietMs(nowMs: number): number {
    const come = this.heard + this.#passed;
    if (come !== this.#comeBefore) {
      this.#comeBefore = come;
      this.#quietSinceMs = nowMs;
    }
    return nowMs - this.#quietSinceMs;
  }

  /** Ends it if it has been quiet for too long, and looks its target's name up again when that is due. */
  check(nowMs: number): void {
    // Until it has a target, other limits hold.
    if (this.#upstream === undefined) return;
    const { udpTimeoutMs } = this.settings;
    if (this.quietMs(nowMs) >= (udpTimeoutMs || Infinity)) return this.end("idle_timeout");
    if (this.#isRenewing || nowMs - this.#renewedMs < (udpTimeoutMs || RENEW_MS)) return;
    this.#renewedMs = nowMs;
    void this.#renew();
  }

  /** Opens a socket to a target, if one can be reached. */
  async #reachTarget(): Promise<void> {
    this.#reach = new Reach(() => this.#route, this.#context);
    try {
      const { upstream, target } = await this.#reach.connect({
        onFirstFailure: (error) => {
          this.#noteError(error);
          this.#complain("connect_retrying", error);
        },
        onStray: () => this.#drop("stranger"),
      });
      this.#upstream = upstream;
      this.#target = target;
      this.#context.admission.reached(this.port.entryPoint.share);
      // Its route may have changed in between.
      if (target.goneMs !== undefined) this.end("rewire_timeout");
      if (this.#reason === undefined) this.#begin(upstream);
      else upstream[Symbol.dispose]();
    } catch (error) {
      this.#notReached(error);
    } finally {
      this.#reach = undefined;
    }
  }

  #begin(upstream: Stream): void {
    this.port.entryPoint.counts.connected((performance.now() - this.#sinceMs) / 1000);
    this.#header = datagramHeaderOf(this.settings, {
      source: this.#client,
      destination: this.#listenAddress(),
    });
    const first = this.#nextWaiting();
    if (first !== undefined) void this.#send(upstream, first);
  }

  /** Where the client has sent its datagrams, as far as is known. */
  #listenAddress(): Address {
    const { hostname, port } = this.port.listener.addr;
    // One for both families tells of neither.
    const isIpv4Client = unmapped(this.#client.hostname) !== this.#client.hostname;
    return { hostname: isIpv4Client && isUnspecified(hostname) ? "0.0.0.0" : hostname, port };
  }

  /** Sends a datagram, and those that have come meanwhile: one after the other, in their order. */
  async #send(upstream: Stream, first: Datagram): Promise<void> {
    const { counts } = this.port.entryPoint;
    this.#isSending = true;
    let next: Datagram | undefined = first;
    while (next !== undefined) {
      try {
        await upstream.write(this.#whole(next));
        this.#bytesUp += next.length;
        this.#passed++;
        counts.datagramsUp++;
        counts.datagramBytesUp += next.length;
      } catch (error) {
        this.#notSent(error);
      }
      giveSlice(next.slice);
      next = this.#nextWaiting();
    }
    this.#isSending = false;
  }

  /** A datagram with what stands before it. */
  #whole({ slice, length }: Datagram): Uint8Array {
    const header = this.#header;
    if (header === undefined) return slice.payload.subarray(0, length);
    const start = HEADROOM - header.length;
    slice.bytes.set(header, start);
    return slice.bytes.subarray(start, HEADROOM + length);
  }

  #notSent(error: unknown): void {
    if (error instanceof LoopError) {
      this.#drop("loop");
      return this.#cutLoop();
    }
    this.#drop(this.#reason === undefined ? lossBy(error) : "closed");
    if (this.#reason !== undefined || errorCode(error) === "EMSGSIZE") return;
    this.#noteError(error);
    this.#complain("connect_failed", error);
  }

  /** Passes the answers on, each before the next is read. */
  async #answer(upstream: Stream): Promise<void> {
    const { counts } = this.port.entryPoint;
    let slice = takeSlice();
    using turns = new Turns();
    let backoff: Backoff | undefined;
    while (this.#reason === undefined) {
      let length: number;
      try {
        length = await upstream.read(slice.payload) ?? 0;
        backoff = undefined;
      } catch {
        if (this.#reason !== undefined) break;
        counts.acceptErrors++;
        await pause((backoff ??= new Backoff()).next());
        continue;
      }
      await this.#sendAnswer(slice.payload.subarray(0, length));
      // Perhaps not the same again: those who go on move together, and the memory of a rush comes free.
      giveSlice(slice);
      slice = takeSlice();
      const turn = turns.wait(length);
      if (turn !== undefined) await turn;
    }
    giveSlice(slice);
  }

  async #sendAnswer(data: Uint8Array): Promise<void> {
    const { port } = this;
    const { listener, entryPoint: { counts } } = port;
    // What the system takes at once is through after a turn. Answers to clients that are not there any
    // more may wait for seconds, in the one buffer that all clients of the listener share.
    if (port.sending >= MAX_SENDING) await pause(0);
    if (port.sending >= MAX_SENDING) return this.#drop("queue_full");
    port.sending++;
    try {
      await listener.send(data, this.#client);
      this.#bytesDown += data.length;
      this.#passed++;
      counts.datagramsDown++;
      counts.datagramBytesDown += data.length;
      if (this.#reason === undefined) port.passed(this);
    } catch (error) {
      this.#drop(this.#reason === undefined ? lossBy(error) : "closed");
    }
    port.sending--;
  }

  async #renew(): Promise<void> {
    this.#isRenewing = true;
    using limit = new TimeLimit(this.settings.connectTimeoutMs || MAX_LOOKUP_MS);
    try {
      await this.#upstream?.renew?.(limit.signal);
    } catch (error) {
      // Where there is no socket for another family, it stays with the one that it has.
      if (error instanceof LoopError) this.#cutLoop();
    }
    this.#isRenewing = false;
  }

  #notReached(error: unknown): void {
    if (error instanceof LoopError) return this.#cutLoop();
    if (this.#reason !== undefined) return;
    this.port.entryPoint.counts.connectFailed(describeWithHint(error));
    this.#complain("connect_failed", error);
    this.end("connect_failed");
  }

  #noteError(error: unknown): void {
    this.port.entryPoint.counts.noteConnectError(describeWithHint(error));
  }

  #complain(event: LogEvent, error: unknown): void {
    this.#context.log.repeated("warn", event, { ...this.#fields(), ...errorFields(error) });
  }

  /** Ends it, since its target is this ambassador itself. */
  #cutLoop(): void {
    if (this.#reason !== undefined) return;
    this.port.entryPoint.counts.noteLoop(LOOP_HINT);
    this.#context.log.repeated("error", "loop_detected", { ...this.#fields(), hint: LOOP_HINT });
    this.end("loop");
  }

  #drop(reason: DropReason): void {
    this.port.entryPoint.counts.dropped[reason]++;
  }

  #fields(): Record<string, string> {
    return clientFields(this.#route, this.#client, this.#target?.name);
  }
}

/** What a datagram that waits keeps in use: whole pages, in bytes. */
function memoryOf({ length }: Datagram): number {
  return Math.ceil((HEADROOM + length) / 4096) * 4096;
}

/** The reason under which a datagram counts that the system would not send. */
function lossBy(error: unknown): DropReason {
  return errorCode(error) === "EMSGSIZE" ? "too_large" : "send_failed";
}
