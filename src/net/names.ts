// The addresses of a name. All who want the same name at the same time share its lookups, and nothing
// is kept once these have ended: who comes then asks anew.
//
// Deno looks names up on 32 threads, and a name server that does not answer keeps a thread for ten
// seconds, whoever has stopped waiting. Unshared, one dead name would take them all from the others.

import { isTimeout } from "../base/time.ts";

/** How long a lookup may take before who comes later begins another: a packet may have been lost. */
const SHARED_MS = 250;

/** Maximum lookups of one name at once: each holds one of the threads that all names share. */
const MAX_UNDER_WAY = 3;

/** IP addresses, in the system's order. */
export type Addresses = readonly string[];
/** Gives the next answer to a lookup that is shared. */
export type Join = () => Promise<Addresses>;

const lookups = new Map<string, Join>();

/**
 * Looks a name up.
 *
 * @returns its addresses, in the system's order
 * @throws an Error without a code if it does not resolve; as soon as the signal aborts its reason, which
 *   says of a limit who has not answered
 */
export async function lookUp(name: string, signal: AbortSignal): Promise<Addresses> {
  const join = lookups.get(name) ??
    shareLookups(() => addressesOf(name), () => lookups.delete(name));
  lookups.set(name, join);
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(inWords(signal.reason));
  signal.addEventListener("abort", onAbort);
  if (signal.aborted) onAbort();
  try {
    return await Promise.race([join(), aborted.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** What has not answered is the name server: nobody is to look for the target. */
function inWords(reason: unknown): unknown {
  if (!isTimeout(reason)) return reason;
  return new DOMException(`${reason.message} from the name server`, reason.name);
}

async function addressesOf(name: string): Promise<Addresses> {
  // Deno 2.9.6 takes 15 ms to load this; a program without a name does not need it.
  const { lookup } = await import("node:dns/promises");
  try {
    return (await lookup(name, { all: true, verbatim: true })).map(({ address }) => address);
  } catch (cause) {
    // As `Deno.connect` says it, without a code: it is none of the system's.
    const isTemporary = (cause as { code?: unknown }).code === "EAI_AGAIN";
    const reason = isTemporary
      ? "Temporary failure in name resolution"
      : "Name or service not known";
    throw new Error(`failed to lookup address information: ${reason}`, { cause });
  }
}

/**
 * Looks one name up for all who want it at the same time. Exported for its test.
 *
 * @param onEnd Told whenever no lookup is under way any more.
 * @returns gives the next answer; rejects with the error of a lookup if no other goes on
 */
export function shareLookups(find: () => Promise<Addresses>, onEnd: () => void): Join {
  let answer = newAnswer();
  let underWay = 0;
  let nextAtMs = 0;
  /** What those wait for who have come until now; who comes later waits for another. */
  function takeAnswer(): PromiseWithResolvers<Addresses> {
    const taken = answer;
    answer = newAnswer();
    nextAtMs = 0;
    return taken;
  }
  async function begin(): Promise<void> {
    underWay++;
    nextAtMs = performance.now() + SHARED_MS;
    try {
      const addresses = await find();
      takeAnswer().resolve(addresses);
    } catch (error) {
      if (underWay === 1) takeAnswer().reject(error);
    }
    if (--underWay === 0) onEnd();
  }
  return () => {
    if (underWay < MAX_UNDER_WAY && performance.now() >= nextAtMs) void begin();
    return answer.promise;
  };
}

function newAnswer(): PromiseWithResolvers<Addresses> {
  const answer = Promise.withResolvers<Addresses>();
  // All who waited may have gone.
  answer.promise.catch(() => {});
  return answer;
}
