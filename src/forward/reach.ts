// Reaches one of a route's targets: within a time limit, again and again while none can be reached if
// that is wanted, and waiting rather than failing while the process is out of descriptors.

import { describeError, errorCode, isResetOnConnect, isShortage } from "../base/errors.ts";
import { some } from "../base/text.ts";
import { Backoff, pause, startDeadline, timeoutError } from "../base/time.ts";
import type { RouteSettings } from "../config/options.ts";
import type { Ends, Stream } from "../net/stream.ts";
import { missingDescriptor } from "../net/tcp.ts";
import { TlsError } from "../net/tls_error.ts";
import { closed } from "../net/udp.ts";
import type { Admission, Dialler, Share } from "./admission.ts";
import { patienceMs, type Target, type Targets } from "./targets.ts";

/** What {@linkcode Reach} needs to know of a route. */
export interface ReachableRoute {
  /** Where to connect. */
  readonly targets: Targets;
  /** `connectTimeoutMs` limits one try, `retryMs` the time in which tries begin. */
  readonly settings: RouteSettings;
  /** What the route holds. */
  readonly share: Share;
}

/** Options for {@linkcode Reach}. */
export interface ReachOptions {
  /** Where a want of descriptors is known. */
  readonly admission: Admission;
  /** Told when the process has run out of descriptors or memory; whether one has come free by that. */
  readonly onShortage: (error: unknown) => boolean;
  /** Whether a connection leads back to this process. */
  readonly leadsBack: (ends: Ends) => boolean;
}

/** The way out of a loop. */
export const LOOP_HINT =
  "the target leads back to this ambassador; point the route at the last target";

/** The target is the ambassador itself. */
export class LoopError extends Error {
  /** Its class, as stack traces show it. */
  override readonly name = "LoopError";

  /** Takes the target. */
  constructor(readonly target: Target) {
    super("the target leads back to this ambassador");
  }
}

/** An upstream, and which target it is. */
export interface Reached {
  /** The connection to it. */
  readonly upstream: Stream;
  /** Which it is. Its user tells it when the connection has ended. */
  readonly target: Target;
}

/** Options for {@linkcode Reach.connect}. */
export interface ReachCall {
  /** What the upstream gets first. */
  readonly preface?: () => Uint8Array | undefined;
  /** Told why the first round failed if another follows. */
  readonly onFirstFailure?: (error: unknown) => void;
  /** Told of each datagram that somebody else than the target has sent. */
  readonly onStray?: () => void;
}

/** How often a name is looked up that does not resolve while descriptors are short. */
const MAX_DOUBTFUL_LOOKUPS = 3;

/** Why a dial ends that is to begin again later. */
const GAVE_WAY = Symbol("gave way");
/** Why a dial ends whose route has changed: another begins by what holds now. */
const REWIRED = Symbol("rewired");

/** One client's way to its upstream. */
export class Reach implements Dialler {
  /** When the dial under way began, as `performance.now()` tells it. */
  sinceMs = 0;
  readonly #route: () => ReachableRoute;
  readonly #options: ReachOptions;
  /** Aborts the try under way. */
  #try = new AbortController();
  #isCancelled = false;
  #call: ReachCall = {};
  /** How many times a lookup has failed that may have wanted a descriptor. */
  #doubtfulLookups = 0;
  /** Whether a descriptor has come free since the last dial wanted one. */
  #hasRoom = false;
  /** Those of the round under way. */
  #targets: Targets | undefined;

  /** Does nothing yet; `route` gives the one that the client has at each time. */
  constructor(route: () => ReachableRoute, options: ReachOptions) {
    this.#route = route;
    this.#options = options;
  }

  /**
   * Connects to the first target that can be reached, in the order that the route has for this client.
   *
   * @throws the error of the last round; a `DOMException` if it took too long or was cancelled
   */
  async connect(call: ReachCall = {}): Promise<Reached> {
    this.#call = call;
    const { retryMs, connectTimeoutMs } = this.#route().settings;
    if (retryMs === 0) return await this.#tryOnce();
    const untilMs = performance.now() + retryMs;
    // A try that has begun keeps its own limit; it ends with this one if it has none.
    using _end = connectTimeoutMs > 0 ? null : startDeadline(retryMs, () => {
      this.#try.abort(timeoutError(retryMs));
    });
    const backoff = new Backoff();
    for (let isFirst = true;; isFirst = false) {
      try {
        return await this.#tryOnce();
      } catch (error) {
        const leftMs = untilMs - performance.now();
        // Where descriptors are short others need this client's.
        const mayGoOn = leftMs > 0 && !this.#isCancelled &&
          this.#options.admission.mayHold(this.#route().share);
        if (!mayGoOn || isAnswer(error)) throw error;
        if (isFirst) call.onFirstFailure?.(error);
        this.#try = new AbortController();
        await pause(Math.min(backoff.next(), leftMs), this.#try.signal);
        if (this.#try.signal.aborted) throw error;
      }
    }
  }

  /** Gives up; `connect` rejects. */
  cancel(): void {
    this.#isCancelled = true;
    this.#try.abort();
  }

  /** Ends the client, for want of a descriptor. */
  giveUp(): void {
    this.#isCancelled = true;
    this.#try.abort(new Error("out of file descriptors"));
  }

  /** Gives the descriptor of the dial under way back; it begins anew when there is one. */
  giveWay(): void {
    this.#abandon(GAVE_WAY);
  }

  /** The route may have changed: then the try under way begins anew, by what holds now. */
  follow(): void {
    if (this.#isRewired()) this.#abandon(REWIRED);
  }

  #isRewired(): boolean {
    return this.#targets !== undefined && this.#targets !== this.#route().targets;
  }

  /** Ends the dial under way, and not the try. */
  #abandon(reason: unknown): void {
    const abandoned = this.#try;
    if (abandoned.signal.aborted) return;
    this.#try = new AbortController();
    abandoned.abort(reason);
  }

  /** Whether a dial failed because of the target. */
  #isToBlame(error: unknown): boolean {
    if (this.#isCancelled || isAnswer(error)) return false;
    // No port is left here to connect from.
    if (errorCode(error) === "EADDRNOTAVAIL") return false;
    // One that was tried late may not have had the time to answer.
    const isLate = error instanceof DOMException ||
      (error instanceof TlsError && error.cause instanceof DOMException);
    return !isLate || performance.now() - this.sinceMs >= patienceMs(this.#route().settings) - 1;
  }

  /** One round of all targets; of those that the route has by then, if it is rewired meanwhile. */
  async #tryOnce(): Promise<Reached> {
    for (;;) {
      const { targets, settings: { connectTimeoutMs } } = this.#route();
      using _limit = connectTimeoutMs === 0 ? null : startDeadline(connectTimeoutMs, () => {
        this.#try.abort(timeoutError(connectTimeoutMs));
      });
      this.#targets = targets;
      try {
        return await this.#tryAll(targets);
      } catch (error) {
        if (this.#try.signal.aborted) throw error === REWIRED ? this.#try.signal.reason : error;
        if (!this.#isRewired()) throw error;
      }
    }
  }

  async #tryAll(targets: Targets): Promise<Reached> {
    const order = targets.order();
    const failures = new Map<Target, string>();
    for (let index = 0;; index++) {
      const target = order[index];
      if (target === undefined) throw unreachable(targets, failures);
      // The rest of an order that holds no longer.
      if (this.#isRewired()) throw REWIRED;
      const isLast = index === order.length - 1;
      target.load++;
      try {
        const limitMs = isLast ? Infinity : patienceMs(this.#route().settings);
        const upstream = await this.#tryTarget(target, limitMs);
        targets.reached(target, this.sinceMs);
        return { upstream, target };
      } catch (error) {
        target.load--;
        const isOver = this.#isCancelled || isAnswer(error) || error === REWIRED;
        if (order.length === 1 || isOver) throw error;
        failures.set(target, `${target.name} (${describeError(error)})`);
        if (this.#try.signal.aborted) throw unreachable(targets, failures);
      }
    }
  }

  /** Tries one target; another gets its turn after `limitMs`, if that is not Infinity. */
  async #tryTarget(target: Target, limitMs: number): Promise<Stream> {
    const { share } = this.#route();
    const { admission } = this.#options;
    const hasNext = limitMs !== Infinity;
    let shortage: unknown;
    let mustWait = false;
    for (;;) {
      // Others have waited for the same, and may have begun since: this look is the one that counts.
      while (mustWait || !admission.mayDial(share)) {
        await admission.untilMayDial(share, this, this.#try.signal);
        mustWait = false;
        if (this.#try.signal.aborted) throw shortage ?? this.#try.signal.reason;
        if (this.#isRewired()) throw REWIRED;
      }
      const { signal } = this.#try;
      using _patience = hasNext
        ? startDeadline(limitMs, () => this.#abandon(timeoutError(limitMs)))
        : null;
      try {
        return await this.#dial(target, signal);
      } catch (error) {
        if (signal.reason === REWIRED) throw REWIRED;
        const gaveWay = signal.reason === GAVE_WAY;
        if (!gaveWay) shortage = this.#shortageIn(error);
        // Not after a shortage: nothing has come free, and those who wait would find the same.
        if (gaveWay || shortage === undefined) admission.wake();
        if (!gaveWay && shortage === undefined) {
          if (this.#isToBlame(error)) {
            this.#route().targets.failed(target, { error, sinceMs: this.sinceMs });
          }
          throw error;
        }
        // It has had its time, as much as there was.
        if (gaveWay && hasNext) throw new Error("no answer yet while descriptors are short");
        mustWait = gaveWay || !this.#hasRoom;
        if (!mustWait) await closed();
      }
    }
  }

  async #dial(target: Target, signal: AbortSignal): Promise<Stream> {
    const { share, settings } = this.#route();
    const { admission, leadsBack } = this.#options;
    this.sinceMs = performance.now();
    admission.dialBegins(share, this);
    let stream: Stream | undefined;
    try {
      return stream = await target.transport.connect(target.endpoint, {
        signal,
        settings,
        preface: this.#call.preface?.(),
        onStray: this.#call.onStray,
        onConnected: (ends) => {
          if (leadsBack(ends)) throw new LoopError(target);
        },
      });
    } finally {
      admission.dialEnded(share, this, stream !== undefined);
    }
  }

  /** The shortage because of which a try failed, so that it is worth another; undefined if of none. */
  #shortageIn(error: unknown): unknown {
    // A name that can't be looked up for want of a descriptor looks like one that does not exist, or
    // fails with a code of the resolver's own (EBUSY).
    const isLookup = (errorCode(error) ?? "EBUSY") === "EBUSY" &&
      !(error instanceof DOMException || error instanceof TlsError || error instanceof LoopError);
    const shortage = isShortage(error) ? error : isLookup ? missingDescriptor() : undefined;
    this.#hasRoom = shortage !== undefined && this.#options.onShortage(shortage);
    const isDoubtful = isLookup && this.#options.admission.isShort &&
      ++this.#doubtfulLookups < MAX_DOUBTFUL_LOOKUPS;
    return shortage ?? (isDoubtful ? error : undefined);
  }
}

/** Whether a dial failed because of who answered it: no other try or target does better. */
function isAnswer(error: unknown): boolean {
  return isResetOnConnect(error) || error instanceof LoopError;
}

/** In the order of the route, whatever that of the client was: the same failures read the same. */
function unreachable({ all }: Targets, failures: ReadonlyMap<Target, string>): Error {
  return new Error(some(all.flatMap((target) => failures.get(target) ?? []), ", "));
}
