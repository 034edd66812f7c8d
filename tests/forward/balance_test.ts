// The orders in which clients get the targets of a route.

import { assertEquals } from "@std/assert";
import { BALANCES } from "../../src/config/options.ts";
import { inOrder } from "../../src/forward/balance.ts";
import "../helpers/mod.ts";

/** The names of targets in the order that one client gets. */
function order(balance: typeof BALANCES[number], turn: number, loads: number[]): string {
  const targets = loads.map((load, index) => ({ name: "abc"[index], load }));
  return inOrder(targets, { balance, turn }).map(({ name }) => name).join("");
}

Deno.test("inOrder() keeps what was written, whatever the loads, for first", () => {
  for (const turn of [0, 1, 2]) assertEquals(order("first", turn, [5, 0, 3]), "abc");
});

Deno.test("inOrder() begins with another target each time for roundrobin", () => {
  const orders = [0, 1, 2, 3].map((turn) => order("roundrobin", turn, [5, 0, 3]));
  assertEquals(orders, ["abc", "bca", "cab", "abc"]);
});

Deno.test("inOrder() begins with the fewest connections for leastconn, and lets equals take turns", () => {
  assertEquals(order("leastconn", 0, [5, 0, 3]), "bca");
  assertEquals(order("leastconn", 1, [0, 2, 0]), "cab");
  assertEquals([0, 1, 2].map((turn) => order("leastconn", turn, [1, 1, 1])), ["abc", "bca", "cab"]);
});

Deno.test("inOrder() takes any order of one target and of none", () => {
  for (const balance of BALANCES) {
    assertEquals([order(balance, 7, [1]), order(balance, 7, [])], ["a", ""]);
  }
});
