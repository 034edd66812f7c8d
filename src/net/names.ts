// The addresses of a name. All who want the same name at the same time share its lookups, and nothing
// is kept once these have ended: who comes then asks anew.
//
// Deno looks names up on 32 threads, and a name server that does not answer keeps a thread for ten
// seconds, whoever has stopped waiting. Unshared, one dead name would take them all from the others.

/** How long a lookup may take before who comes later begins another: a packet may have been lost. */
const SHARED_MS = 250;

/** Maximum lookups of one name at once: each holds one of the threads that all names share. */
const MAX_UNDER_WAY = 3;

const lookups = new Map<string, SharedLookup>();

/**
 * Looks a name up.
 *
 * @returns its addresses, in the system's order
 * @throws an Error without a code if it does not resolve; the signal's reason as soon as it aborts
 */
export async function lookUp(name: string, signal: AbortSignal): Promise<readonly string[]> {
  const lookup = lookups.get(name) ??
    new SharedLookup(() => addressesOf(name), () => lookups.delete(name));
  lookups.set(name, lookup);
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(signal.reason);
  signal.addEventListener("abort", onAbort);
  if (signal.aborted) onAbort();
  try {
    return await Promise.race([lookup.join(), aborted.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

async function addressesOf(name: string): Promise<readonly string[]> {
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

/** Looks one name up for all who want it at the same time. Exported for its test. */
export class SharedLookup {
  readonly #find: () => Promise<readonly string[]>;
  readonly #onEnd: () => void;
  #answer = newAnswer();
  #underWay = 0;
  #nextAtMs = 0;

  /**
   * Does nothing yet.
   *
   * @param find Looks the name up.
   * @param onEnd Told whenever no lookup is under way any more.
   */
  constructor(find: () => Promise<readonly string[]>, onEnd: () => void) {
    this.#find = find;
    this.#onEnd = onEnd;
  }

  /**
   * The next answer.
   *
   * @throws the error of the lookup if no other goes on
   */
  join(): Promise<readonly string[]> {
    if (this.#underWay < MAX_UNDER_WAY && performance.now() >= this.#nextAtMs) void this.#begin();
    return this.#answer.promise;
  }

  async #begin(): Promise<void> {
    this.#underWay++;
    this.#nextAtMs = performance.now() + SHARED_MS;
    try {
      const addresses = await this.#find();
      this.#takeAnswer().resolve(addresses);
    } catch (error) {
      if (this.#underWay === 1) this.#takeAnswer().reject(error);
    }
    this.#underWay--;
    if (this.#underWay === 0) this.#onEnd();
  }

  /** What those wait for who have come until now; who comes later waits for another. */
  #takeAnswer(): PromiseWithResolvers<readonly string[]> {
    const answer = this.#answer;
    this.#answer = newAnswer();
    this.#nextAtMs = 0;
    return answer;
  }
}

function newAnswer(): PromiseWithResolvers<readonly string[]> {
  const answer = Promise.withResolvers<readonly string[]>();
  // All who waited may have gone.
  answer.promise.catch(() => {});
  return answer;
}
