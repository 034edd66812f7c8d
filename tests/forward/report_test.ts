import { assertEquals } from "@std/assert";
import { RouteCounts } from "../../src/forward/counts.ts";
import { isFailing, type RouteReport, type TargetReport } from "../../src/forward/report.ts";
import "../helpers/mod.ts";
import { datagramRoute } from "../helpers/reports.ts";
import { routeTo } from "../helpers/routes.ts";

const UP: TargetReport = { name: "a:1", isUp: true, open: 0, connections: 0, isLeaving: false };
const DOWN: TargetReport = { ...UP, isUp: false };
const LEFT: TargetReport = { ...UP, isLeaving: true };

/** A route whose last dial has failed. */
function failing(...targets: readonly TargetReport[]): RouteReport {
  const counts = new RouteCounts();
  counts.connectFailed("connection refused");
  const route = routeTo({ hostname: "192.0.2.10", port: 6379 });
  return { route, targets, counts: counts.report(), isLeaving: false };
}

Deno.test("isFailing() is true after a dial that failed, whatever the target is taken for", () => {
  assertEquals(isFailing(failing(UP)), true);
  assertEquals(isFailing(failing(DOWN)), true);
  const counts = new RouteCounts().report();
  assertEquals(isFailing({ ...failing(DOWN), counts }), false);
});

Deno.test("isFailing() is false once one of several targets is back, and not for one that leaves", () => {
  assertEquals(isFailing(failing(DOWN, DOWN)), true);
  assertEquals(isFailing(failing(DOWN, UP)), false);
  assertEquals(isFailing(failing(DOWN, DOWN, LEFT)), true);
});

Deno.test("isFailing() does not believe a UDP target to be back for having a name", () => {
  const { counts } = failing();
  const { targets, ...route } = datagramRoute();
  assertEquals([targets.some(({ isUp }) => isUp), isFailing({ ...route, targets, counts })], [
    true,
    true,
  ]);
});
