import { assert, assertEquals } from "@std/assert";
import type { Protocol } from "../../src/base/address.ts";
import { RouteCounts } from "../../src/forward/counts.ts";
import { EntryPoint } from "../../src/forward/entry_point.ts";
import { failingSince, type TargetReport } from "../../src/forward/report.ts";
import type { Target } from "../../src/forward/targets.ts";
import "../helpers/mod.ts";
import { routeContext, routeTo } from "../helpers/routes.ts";

const UP: TargetReport = {
  name: "a:1",
  downSince: undefined,
  open: 0,
  connections: 0,
  isLeaving: false,
};
const DOWN: TargetReport = { ...UP, downSince: 1000 };
const LEFT: TargetReport = { ...UP, isLeaving: true };

/** Since when a route with these targets has been failing. */
function sinceOf(...targets: readonly TargetReport[]): number | undefined {
  return failingSince({ targets, counts: new RouteCounts().report() });
}

/** A route at work that nobody is connected to, and the only target that it has. */
function working(protocol: Protocol): { entryPoint: EntryPoint; target: Target } {
  const context = routeContext();
  const at = { protocol, hostname: "192.0.2.10", port: 6379 };
  const route = routeTo(at, { listen: { protocol, hostname: "127.0.0.1", port: 0 } });
  const entryPoint = new EntryPoint({ route, listeners: [] }, context);
  const [target] = entryPoint.route.targets.all;
  assert(target);
  return { entryPoint, target };
}

const REFUSED = new Deno.errors.ConnectionRefused("refused");

Deno.test("failingSince() is since the last of all targets went down, but for those that leave", () => {
  assertEquals(sinceOf(UP), undefined);
  assertEquals(sinceOf(DOWN), 1000);
  assertEquals(sinceOf({ ...DOWN, downSince: 2000 }, DOWN), 2000);
  assertEquals(sinceOf(DOWN, UP), undefined);
  assertEquals(sinceOf(DOWN, LEFT), 1000);
  assertEquals(sinceOf(LEFT), undefined);
});

Deno.test("failingSince() is since targets lead back to the ambassador where they are up", () => {
  const counts = { ...new RouteCounts().report(), loopingSince: 3000 };
  assertEquals(failingSince({ targets: [UP], counts }), 3000);
  assertEquals(failingSince({ targets: [DOWN], counts }), 1000);
});

Deno.test("failingSince() is by the clock, and undefined again once the target is reached", () => {
  const { entryPoint, target } = working("tcp");
  const { targets, counts } = entryPoint.route;
  const beforeMs = Date.now();
  targets.failed(target, { error: REFUSED, sinceMs: performance.now() });
  counts.connectFailed("connection refused");
  const since = failingSince(entryPoint.report());
  assert(since !== undefined && Math.abs(since - beforeMs) < 1000, `${since}`);
  targets.reached(target, Infinity);
  assertEquals(failingSince(entryPoint.report()), undefined);
});

Deno.test("failingSince() does not believe a dial that fails late while the target serves others", () => {
  const { entryPoint, target } = working("tcp");
  const { targets, counts } = entryPoint.route;
  const sinceMs = performance.now() - 10_000;
  targets.reached(target, performance.now());
  counts.connected(0.001);
  targets.failed(target, { error: REFUSED, sinceMs });
  counts.connectFailed("no answer within 10s");
  assertEquals(failingSince(entryPoint.report()), undefined);
});

Deno.test("failingSince() is unmoved by datagrams of older sessions while the name is not found", () => {
  const { entryPoint, target } = working("udp");
  const { targets, counts } = entryPoint.route;
  counts.sessionBegan();
  targets.failed(target, { error: REFUSED, sinceMs: performance.now() });
  counts.connectFailed("name not found");
  counts.datagramsUp++;
  assert(failingSince(entryPoint.report()) !== undefined);
});
