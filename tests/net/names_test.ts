import { assertEquals, assertRejects } from "@std/assert";
import { SharedLookup } from "../../src/net/names.ts";
import { within } from "../helpers/mod.ts";

/** A shared lookup whose answers the test gives. */
function startLookups(): {
  shared: SharedLookup;
  asked: PromiseWithResolvers<readonly string[]>[];
  ended: () => number;
} {
  const asked: PromiseWithResolvers<readonly string[]>[] = [];
  let ended = 0;
  const shared = new SharedLookup(() => {
    const answer = Promise.withResolvers<readonly string[]>();
    asked.push(answer);
    return answer.promise;
  }, () => void ended++);
  return { shared, asked, ended: () => ended };
}

/** Joins until there are so many lookups. */
async function joinUntil(
  { shared, asked }: ReturnType<typeof startLookups>,
  count: number,
): Promise<Promise<readonly string[]>[]> {
  const joined: Promise<readonly string[]>[] = [];
  while (asked.length < count) {
    joined.push(shared.join());
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return joined;
}

Deno.test("SharedLookup asks once for all who come at the same time", async () => {
  const { shared, asked, ended } = startLookups();
  const joined = [shared.join(), shared.join(), shared.join()];
  assertEquals(asked.length, 1);
  asked[0]?.resolve(["192.0.2.1"]);
  assertEquals(await Promise.all(joined), Array(3).fill(["192.0.2.1"]));
  assertEquals(ended(), 1);
});

Deno.test("SharedLookup asks anew for who comes after the answer", async () => {
  const { shared, asked } = startLookups();
  const first = shared.join();
  asked[0]?.resolve(["192.0.2.1"]);
  assertEquals(await first, ["192.0.2.1"]);
  const second = shared.join();
  asked[1]?.resolve(["192.0.2.2"]);
  assertEquals(await second, ["192.0.2.2"]);
});

Deno.test("SharedLookup begins another where one takes long, and gives its answer to all", async () => {
  const lookups = startLookups();
  const joined = await joinUntil(lookups, 2);
  lookups.asked[1]?.resolve(["192.0.2.1"]);
  for (const addresses of await within(Promise.all(joined), "the answer")) {
    assertEquals(addresses, ["192.0.2.1"]);
  }
  assertEquals(lookups.ended(), 0);
  // Nobody waits for the first one any more, and so nobody is told.
  lookups.asked[0]?.reject(new Error("no answer"));
  await new Promise((resolve) => setTimeout(resolve));
  assertEquals(lookups.ended(), 1);
});

Deno.test("SharedLookup has no more than three lookups under way", async () => {
  const lookups = startLookups();
  await joinUntil(lookups, 3);
  await new Promise((resolve) => setTimeout(resolve, 300));
  void lookups.shared.join();
  assertEquals(lookups.asked.length, 3);
});

Deno.test("SharedLookup fails once no lookup is under way any more", async () => {
  const lookups = startLookups();
  const [first = lookups.shared.join()] = await joinUntil(lookups, 2);
  let failed = false;
  first.catch(() => failed = true);
  lookups.asked[0]?.reject(new Error("first"));
  await new Promise((resolve) => setTimeout(resolve));
  assertEquals(failed, false);
  lookups.asked[1]?.reject(new Error("second"));
  await assertRejects(() => within(first, "the failure"), Error, "second");
  assertEquals(lookups.ended(), 1);
});
