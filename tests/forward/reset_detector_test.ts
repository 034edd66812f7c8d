import { assertEquals } from "@std/assert";
import { ResetDetector } from "../../src/forward/reset_detector.ts";
import "../helpers/mod.ts";

/** A side that has been reset. */
const reset = {
  write: (): Promise<number> =>
    Promise.reject(Object.assign(new Deno.errors.ConnectionReset("reset"), { code: "ECONNRESET" })),
};

/** A direction in which so many bytes have moved and more have still to be taken. */
function untaken(bytes: number): { bytes: number; finished: boolean; writing: boolean } {
  return { bytes, finished: false, writing: true };
}

/** A direction in which nothing has moved. */
const QUIET = { bytes: 0, finished: false, writing: false };

Deno.test("ResetDetector keeps what came before a reset for as long as some of it is taken in ten seconds", async () => {
  let gone = false;
  const probe = new ResetDetector(reset, () => gone = true);
  async function look(bytes: number, ...timesMs: number[]): Promise<void> {
    for (const timeMs of timesMs) {
      probe.check(untaken(bytes), QUIET, timeMs);
      // The answer of the socket, and what is done about it.
      for (let i = 0; i < 5; i++) await undefined;
    }
  }
  await look(100, 0, 500, 10_400);
  assertEquals(gone, false);
  await look(200, 20_000, 20_500, 30_400);
  assertEquals(gone, false);
  await look(200, 30_600);
  assertEquals(gone, true);
});

Deno.test("ResetDetector finds out by the second look about a reset of a side that is held", async () => {
  let gone = false;
  const probe = new ResetDetector(reset, () => gone = true);
  for (const [timeMs, isGone] of [[0, false], [500, true]] as const) {
    probe.check(undefined, QUIET, timeMs);
    for (let i = 0; i < 5; i++) await undefined;
    assertEquals(gone, isGone);
  }
});

Deno.test("ResetDetector asks nothing of a side that is written to, or has been told the end", () => {
  const unasked = {
    write: (): never => {
      throw new Error("asked");
    },
  };
  const probe = new ResetDetector(unasked, () => {});
  probe.check(untaken(0), { ...QUIET, writing: true }, 0);
  probe.check(untaken(0), { ...QUIET, finished: true }, 500);
  probe.check({ ...QUIET, bytes: 0 }, QUIET, 1000);
  assertEquals(probe.wasReset, false);
});
