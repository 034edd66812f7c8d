import { assert, assertEquals } from "@std/assert";
import { Backoff, startDeadline } from "../../src/base/time.ts";
import { until, within } from "../helpers/mod.ts";

Deno.test("startDeadline() acts after its time and not before", async () => {
  const acted = Promise.withResolvers<number>();
  const beginMs = performance.now();
  using _deadline = startDeadline(30, () => acted.resolve(performance.now()));
  const ms = await within(acted.promise, "the deadline") - beginMs;
  // A timer counts whole milliseconds.
  assert(ms >= 29, `${ms} ms`);
});

Deno.test("startDeadline() gives each of those that begin later its own full time", async () => {
  const late: number[] = [];
  const deadlines: Disposable[] = [];
  for (let i = 0; i < 5; i++) {
    const beginMs = performance.now();
    deadlines.push(startDeadline(40, () => late.push(performance.now() - beginMs)));
    await until(() => performance.now() - beginMs >= 7, "some time has gone by");
  }
  await until(() => late.length === 5, "all have acted");
  for (const ms of late) assert(ms >= 39 && ms < 1000, `${late} ms`);
});

Deno.test("startDeadline() does nothing for one that ended in time, and goes on for the rest", async () => {
  const acted: string[] = [];
  const first = startDeadline(20, () => acted.push("first"));
  using _second = startDeadline(20, () => acted.push("second"));
  first[Symbol.dispose]();
  await until(() => acted.length > 0, "the second has acted");
  assertEquals(acted, ["second"]);
});

Deno.test("startDeadline() leaves no timer when the last one has ended", () => {
  // The sanitizer fails this test if there is one.
  startDeadline(60_000, () => {})[Symbol.dispose]();
  const [a, b] = [startDeadline(60_000, () => {}), startDeadline(60_000, () => {})];
  a[Symbol.dispose]();
  b[Symbol.dispose]();
});

Deno.test("startDeadline() can be begun and ended by a deadline that acts", async () => {
  const acted: number[] = [];
  const later: Disposable[] = [];
  using _first = startDeadline(10, () => {
    acted.push(1);
    for (const deadline of later) deadline[Symbol.dispose]();
    startDeadline(10, () => acted.push(3));
  });
  later.push(startDeadline(10, () => acted.push(2)));
  await until(() => acted.includes(3), "the third has acted");
  assertEquals(acted, [1, 3]);
});

Deno.test("startDeadline() begun by a deadline that acts leaves no second timer", async () => {
  const begun: Disposable[] = [];
  using _first = startDeadline(200, () => begun.push(startDeadline(200, () => {})));
  await until(() => begun.length > 0, "the first has acted");
  // The sanitizer fails this test if a timer is left.
  for (const deadline of begun) deadline[Symbol.dispose]();
});

Deno.test("Backoff.next() doubles from 5 ms and stays at a second", () => {
  const backoff = new Backoff();
  const waits = Array.from({ length: 10 }, () => backoff.next());
  assertEquals(waits, [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
});
