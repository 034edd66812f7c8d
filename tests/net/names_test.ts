import { assertEquals, assertRejects } from "@std/assert";
import { shareLookups } from "../../src/net/names.ts";
import { within } from "../helpers/mod.ts";

/** A shared lookup whose answers the test gives. */
function startLookups(): {
  join: () => Promise<readonly string[]>;
  asked: PromiseWithResolvers<readonly string[]>[];
  ended: () => number;
} {
  const asked: PromiseWithResolvers<readonly string[]>[] = [];
  let ended = 0;
  const join = shareLookups(() => {
    const answer = Promise.withResolvers<readonly string[]>();
    asked.push(answer);
    return answer.promise;
  }, () => void ended++);
  return { join, asked, ended: () => ended };
}

/** Joins until there are so many lookups. */
async function joinUntil(
  { join, asked }: ReturnType<typeof startLookups>,
  count: number,
): Promise<Promise<readonly string[]>[]> {
  const joined: Promise<readonly string[]>[] = [];
  while (asked.length < count) {
    joined.push(join());
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return joined;
}

Deno.test("shareLookups() asks once for all who come at the same time", async () => {
  const { join, asked, ended } = startLookups();
  const joined = [join(), join(), join()];
  assertEquals(asked.length, 1);
  asked[0]?.resolve(["192.0.2.1"]);
  assertEquals(await Promise.all(joined), Array(3).fill(["192.0.2.1"]));
  assertEquals(ended(), 1);
});

Deno.test("shareLookups() asks anew for who comes after the answer", async () => {
  const { join, asked } = startLookups();
  const first = join();
  asked[0]?.resolve(["192.0.2.1"]);
  assertEquals(await first, ["192.0.2.1"]);
  const second = join();
  asked[1]?.resolve(["192.0.2.2"]);
  assertEquals(await second, ["192.0.2.2"]);
});

Deno.test("shareLookups() begins another where one takes long, and gives its answer to all", async () => {
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

Deno.test("shareLookups() has no more than three lookups under way", async () => {
  const lookups = startLookups();
  await joinUntil(lookups, 3);
  await new Promise((resolve) => setTimeout(resolve, 300));
  void lookups.join();
  assertEquals(lookups.asked.length, 3);
});

Deno.test("shareLookups() fails once no lookup is under way any more", async () => {
  const lookups = startLookups();
  const [first = lookups.join()] = await joinUntil(lookups, 2);
  let failed = false;
  first.catch(() => failed = true);
  lookups.asked[0]?.reject(new Error("first"));
  await new Promise((resolve) => setTimeout(resolve));
  assertEquals(failed, false);
  lookups.asked[1]?.reject(new Error("second"));
  await assertRejects(() => within(first, "the failure"), Error, "second");
  assertEquals(lookups.ended(), 1);
});
