// Waits until every upstream accepts a connection. It knows routes only by their targets, and prints
// nothing: whoever calls it is told what happens.

import { type Address, formatAddress } from "../base/address.ts";
import { describeError } from "../base/errors.ts";
import { Backoff, pause, TimeLimit } from "../base/time.ts";
import { TRANSPORTS } from "../net/transports.ts";
import type { Route } from "../config/routes.ts";

/** How long to wait unless told otherwise, in milliseconds. */
export const WAIT_TIMEOUT_MS = 60_000;

/** An upstream that is waited for. */
export interface AwaitedUpstream {
  /** `HOST:PORT`. */
  readonly target: string;
  /** Whether it has accepted a connection. */
  accepts: boolean;
  /** Why the last try failed. */
  error: string | undefined;
}

/** Options for {@linkcode waitForUpstreams}; times in milliseconds, 0 is no limit. */
export interface WaitOptions {
  /** Give up after this long. */
  readonly timeoutMs: number;
  /** Limit for one try to resolve and connect. */
  readonly connectTimeoutMs: number;
  /** Told after each try: the upstream that was tried, and all of them. */
  readonly onTry?: (tried: AwaitedUpstream, all: readonly AwaitedUpstream[]) => void;
}

/**
 * Connects to the target of every route, all at the same time and each again and again, until each
 * has accepted once or the time is over. Names are looked up at each try.
 *
 * @returns every upstream, in the order of the routes
 */
export async function waitForUpstreams(
  routes: readonly Route[],
  { timeoutMs, connectTimeoutMs, onTry }: WaitOptions,
): Promise<readonly AwaitedUpstream[]> {
  const targets = new Map(
    routes.flatMap((route) => route.targets).map((target) => [formatAddress(target), target]),
  );
  const awaited = [...targets].map(([target, address]) => {
    const upstream: AwaitedUpstream = { target, accepts: false, error: undefined };
    return { address, upstream };
  });
  const all = awaited.map(({ upstream }) => upstream);
  using limit = new TimeLimit(timeoutMs);
  const { signal } = limit;
  await Promise.all(awaited.map(async ({ address, upstream }) => {
    const backoff = new Backoff();
    while (!signal.aborted) {
      await tryOnce(address, upstream, connectTimeoutMs, signal);
      onTry?.(upstream, all);
      if (upstream.accepts) return;
      await pause(backoff.next(), signal);
    }
  }));
  return all;
}

async function tryOnce(
  address: Address,
  upstream: AwaitedUpstream,
  connectTimeoutMs: number,
  outer: AbortSignal,
): Promise<void> {
  using limit = new TimeLimit(connectTimeoutMs, outer);
  try {
    using _conn = await TRANSPORTS.tcp.connect(address, limit.signal);
    upstream.accepts = true;
  } catch (error) {
    // What the last whole try said tells more than that there was no time for another.
    if (!outer.aborted || upstream.error === undefined) upstream.error = describeError(error);
  }
}
