// Reaches a target: within a time limit, again and again while it can't be reached if that is wanted,
// and waiting rather than failing while the process is out of descriptors.

import type { Endpoint } from "../base/address.ts";
import { errorCode, isResetOnConnect, isShortage } from "../base/errors.ts";
import { Backoff, pause, startDeadline, timeoutError } from "../base/time.ts";
import type { RouteSettings } from "../config/options.ts";
import type { Stream } from "../net/stream.ts";
import { missingDescriptor } from "../net/tcp.ts";
import type { Transport } from "../net/transports.ts";
import type { Admission, Dialler, Share } from "./admission.ts";

/** What {@linkcode Reach} needs to know of a route. */
export interface ReachableRoute {
  /** Where to connect. */
  readonly target: Endpoint;
  /** How. */
  readonly transport: Pick<Transport, "connect">;
  /** `connectTimeoutMs` limits one try, `retryMs` the time in which tries begin. */
  readonly settings: Pick<RouteSettings, "connectTimeoutMs" | "retryMs">;
  /** What the route holds. */
  readonly share: Share;
}

/** Options for {@linkcode Reach}. */
export interface ReachOptions {
  /** Where a want of descriptors is known. */
  readonly admission: Admission;
  /** Told when the process has run out of descriptors or memory. */
  readonly onShortage: (error: unknown) => void;
}

/** How often a name is looked up that does not resolve while descriptors are short. */
const MAX_DOUBTFUL_LOOKUPS = 3;

/** Why a dial ends that is to begin again later. */
const GAVE_WAY = Symbol("gave way");

/** One client's way to its upstream. */
export class Reach implements Dialler {
  /** When the dial under way began, as `performance.now()` tells it. */
  sinceMs = 0;
  readonly #route: ReachableRoute;
  readonly #options: ReachOptions;
  /** Aborts the try under way. */
  #try = new AbortController();
  #isCancelled = false;
  /** How many times a lookup has failed that may have wanted a descriptor. */
  #doubtfulLookups = 0;

  /** Does nothing yet. */
  constructor(route: ReachableRoute, options: ReachOptions) {
    this.#route = route;
    this.#options = options;
  }

  /**
   * Connects.
   *
   * @param onFirstFailure Told why the first try failed if another follows.
   * @throws the error of the last try; a `DOMException` if it took too long or was cancelled
   */
  async connect(onFirstFailure?: (error: unknown) => void): Promise<Stream> {
    const { retryMs, connectTimeoutMs } = this.#route.settings;
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
        // One who resets has been reached. Where descriptors are short others need this client's.
        const mayGoOn = leftMs > 0 && !this.#isCancelled &&
          this.#options.admission.mayHold(this.#route.share);
        if (!mayGoOn || isResetOnConnect(error)) throw error;
        if (isFirst) onFirstFailure?.(error);
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
    const giving = this.#try;
    if (giving.signal.aborted) return;
    this.#try = new AbortController();
    giving.abort(GAVE_WAY);
  }

  async #tryOnce(): Promise<Stream> {
    const { share, settings: { connectTimeoutMs } } = this.#route;
    const { admission } = this.#options;
    using _limit = connectTimeoutMs === 0 ? null : startDeadline(connectTimeoutMs, () => {
      this.#try.abort(timeoutError(connectTimeoutMs));
    });
    let shortage: unknown;
    let mustWait = false;
    for (;;) {
      // Others have waited for the same, and may have begun since: this look is the one that counts.
      while (mustWait || !admission.mayDial(share)) {
        await admission.untilMayDial(share, this, this.#try.signal);
        mustWait = false;
        if (this.#try.signal.aborted) throw shortage ?? this.#try.signal.reason;
      }
      const { signal } = this.#try;
      try {
        return await this.#dial(signal);
      } catch (error) {
        if (signal.reason !== GAVE_WAY) shortage = this.#shortageIn(error);
        // Not after a shortage: nothing has come free, and those who wait would find the same.
        if (signal.reason === GAVE_WAY || shortage === undefined) admission.wake();
        if (signal.reason !== GAVE_WAY && shortage === undefined) throw error;
      }
      mustWait = true;
    }
  }

  async #dial(signal: AbortSignal): Promise<Stream> {
    const { share, target, transport } = this.#route;
    const { admission } = this.#options;
    this.sinceMs = performance.now();
    admission.dialBegins(share, this);
    let stream: Stream | undefined;
    try {
      return stream = await transport.connect(target, signal);
    } finally {
      admission.dialEnded(share, this, stream !== undefined);
    }
  }

  /** The shortage because of which a try failed, so that it is worth another; undefined if of none. */
  #shortageIn(error: unknown): unknown {
    // A name that can't be looked up for want of a descriptor looks like one that does not exist, or
    // fails with a code of the resolver's own (EBUSY).
    const isLookup = (errorCode(error) ?? "EBUSY") === "EBUSY" && !(error instanceof DOMException);
    const shortage = isShortage(error) ? error : isLookup ? missingDescriptor() : undefined;
    if (shortage !== undefined) this.#options.onShortage(shortage);
    const isDoubtful = isLookup && this.#options.admission.isShort &&
      ++this.#doubtfulLookups < MAX_DOUBTFUL_LOOKUPS;
    return shortage ?? (isDoubtful ? error : undefined);
  }
}
