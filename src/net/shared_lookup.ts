// The lookups of one name that are under way, shared by all who want it. Nothing is kept once they
// have ended: who comes then asks anew.

/** One that takes longer than this may have lost a packet: who comes later begins another. */
const SHARED_MS = 250;

/** Each that goes on holds one of the threads that all names share. */
const MAX_UNDER_WAY = 3;

/** Looks one name up for all who want it at the same time. */
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
