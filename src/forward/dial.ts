// Connects to an upstream: within a time limit, again and again while it can't be reached if that is
// wanted, and waiting rather than failing while the process is out of descriptors.

import type { Address } from "../base/address.ts";
import { Backoff, pause, startDeadline, timeoutError } from "../base/time.ts";
import { errorCode, isResetOnConnect, isShortage } from "../base/errors.ts";
import type { Gate } from "./admission.ts";
import { connectTo } from "../net/connect.ts";

/** Options for {@linkcode Dial}; times in milliseconds, 0 is no limit. */
export interface DialOptions {
  /** Limit for one try to resolve and connect, waiting for a descriptor included. */
  readonly connectTimeoutMs: number;
  /**
   * No new try begins later than this after the first. One that has begun keeps its own limit; it
   * ends with this one if it has none.
   */
  readonly retryMs: number;
  /** Where a want of descriptors is known. */
  readonly gate: Gate;
  /** Told when the process has run out of descriptors or memory. */
  readonly onShortage: (error: unknown) => void;
}

/** One client's way to its upstream. */
export class Dial {
  readonly #target: Address;
  readonly #options: DialOptions;
  #try = new AbortController();
  #cancelled = false;
  #settled: PromiseWithResolvers<void> | undefined;
  #tryingSinceMs: number | undefined;

  /**
   * Does nothing yet.
   *
   * @param target Resolved at each try.
   * @param options See there.
   */
  constructor(target: Address, options: DialOptions) {
    this.#target = target;
    this.#options = options;
  }

  /**
   * Connects.
   *
   * @param onFirstFailure Told why the first try failed if another follows.
   * @throws the error of the last try; a `DOMException` if it took too long or was cancelled
   */
  async connect(onFirstFailure?: (error: unknown) => void): Promise<Deno.TcpConn> {
    const { retryMs, connectTimeoutMs } = this.#options;
    if (retryMs === 0) return await this.#tryOnce();
    const until = performance.now() + retryMs;
    using _end = connectTimeoutMs > 0 ? null : startDeadline(retryMs, () => {
      this.#try.abort(timeoutError(retryMs));
    });
    const backoff = new Backoff();
    for (let isFirst = true;; isFirst = false) {
      try {
        return await this.#tryOnce();
      } catch (error) {
        const left = until - performance.now();
        // One who resets has been reached.
        if (this.#cancelled || left <= 0 || isResetOnConnect(error)) throw error;
        if (isFirst) onFirstFailure?.(error);
        // One that was aborted by its time limit can't be used again.
        this.#try = new AbortController();
        await pause(Math.min(backoff.next(), left), this.#try.signal);
        if (this.#try.signal.aborted) throw error;
      }
    }
  }

  /** Gives up; `connect` rejects. */
  cancel(): void {
    this.#cancelled = true;
    this.#try.abort();
  }

  /** When the try that is under way began, as `performance.now()` tells it. */
  get tryingSinceMs(): number | undefined {
    return this.#tryingSinceMs;
  }

  /** Resolves once the try under way has failed, or its owner knows how it went. */
  settled(): Promise<void> {
    this.#settled ??= Promise.withResolvers();
    return this.#settled.promise;
  }

  /** Says that it is known. */
  settle(): void {
    this.#tryingSinceMs = undefined;
    this.#settled?.resolve();
    this.#settled = undefined;
  }

  async #tryOnce(): Promise<Deno.TcpConn> {
    const { connectTimeoutMs } = this.#options;
    const current = this.#try;
    using _limit = connectTimeoutMs === 0 ? null : startDeadline(connectTimeoutMs, () => {
      current.abort(timeoutError(connectTimeoutMs));
    });
    this.#tryingSinceMs = performance.now();
    try {
      return await connectTo(this.#target, current.signal);
    } catch (error) {
      this.settle();
      const want = this.#want(error);
      if (want === "none") throw error;
      const wait = (): Promise<Deno.TcpConn> => this.#connectWhenPossible(error);
      // A name that may just be wrong must not keep the other clients out.
      return await (want === "certain" ? this.#options.gate.starve(wait) : wait());
    }
  }

  /** Tries whenever a connection has ended, and now and then, until the time is over. */
  async #connectWhenPossible(shortage: unknown): Promise<Deno.TcpConn> {
    const { signal } = this.#try;
    const backoff = new Backoff();
    for (;;) {
      await this.#options.gate.untilDescriptor(backoff.next(), signal);
      if (signal.aborted) throw shortage;
      try {
        return await connectTo(this.#target, signal);
      } catch (error) {
        if (this.#want(error) === "none") throw error;
      }
    }
  }

  /** Whether a try failed for want of descriptors or memory, so that it is worth another. */
  #want(error: unknown): "certain" | "likely" | "none" {
    const { gate, onShortage } = this.#options;
    // A name that can't be looked up for want of a descriptor looks like one that does not exist, or
    // fails with a code of the resolver's own (EBUSY).
    const code = errorCode(error) ?? "EBUSY";
    const isLookup = code === "EBUSY" && !(error instanceof DOMException);
    const shortage = isShortage(error) ? error : isLookup ? presentShortage() : undefined;
    if (shortage !== undefined) {
      onShortage(shortage);
      return "certain";
    }
    return isLookup && gate.isShort ? "likely" : "none";
  }
}

/** The error of opening a descriptor at this moment, if there is none left. */
function presentShortage(): unknown {
  try {
    Deno.listen({ hostname: "127.0.0.1", port: 0 }).close();
    return undefined;
  } catch (error) {
    return isShortage(error) ? error : undefined;
  }
}
