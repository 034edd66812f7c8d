// Turns: how much one who takes part may do between two of them. That they are fair is tested on the real
// program (tests/program/fairness_test.ts).

import { setImmediate } from "node:timers";
import { assert, assertEquals } from "@std/assert";
import { Turns } from "../../src/net/turns.ts";
import { within } from "../helpers/mod.ts";

/** Does so much that turns are taken, and has its first. */
async function work(turns: Turns): Promise<void> {
  for (;;) {
    for (let i = 0; i < 500; i++) {
      const turn = turns.wait(100);
      if (turn === undefined) continue;
      await within(turn, "a turn");
      return;
    }
    await Promise.resolve();
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}

/** How many messages of a size are its turn. */
async function messagesATurn(turns: Turns, bytes: number): Promise<number> {
  for (let count = 1; count < 1000; count++) {
    const turn = turns.wait(bytes);
    if (turn === undefined) continue;
    await within(turn, "a turn");
    return count;
  }
  return Infinity;
}

Deno.test("Turns.wait() waits after each message, or after as many as are given, or a megabyte", async () => {
  for (
    const [batch, bytes, expected] of [
      [undefined, 100, 1],
      [undefined, 65_536, 11],
      [32, 100, 32],
      [
        32,
        65_536,
        11,
      ],
    ] as const
  ) {
    using others = new Turns();
    using turns = new Turns(batch);
    await work(others);
    // What it had done before turns were taken is forgotten.
    await messagesATurn(turns, bytes);
    assertEquals(await messagesATurn(turns, bytes), expected, `${bytes} bytes`);
  }
});

Deno.test("Turns.wait() lets one go on who does little", () => {
  using turns = new Turns();
  for (let i = 0; i < 10; i++) assert(turns.wait(100) === undefined);
});
