import { assertEquals } from "@std/assert";
import { DROP_REASONS, REASONS, RouteCounts } from "../../src/forward/counts.ts";
import "../helpers/mod.ts";

Deno.test("RouteCounts.report() begins with a zero for every reason", () => {
  const { closed, dropped, datagramsUp, datagramsDown } = new RouteCounts().report();
  for (const [numbers, reasons] of [[closed, REASONS], [dropped, DROP_REASONS]] as const) {
    assertEquals(Object.keys(numbers), [...reasons]);
    assertEquals(new Set(Object.values(numbers)), new Set([0]));
  }
  assertEquals([datagramsUp, datagramsDown], [0, 0]);
});

Deno.test("RouteCounts.report() has the bytes of what is open and of what has ended", () => {
  const counts = new RouteCounts();
  const ended = { up: { bytes: 5 }, down: { bytes: 6 } };
  counts.opened(ended);
  counts.opened({ up: { bytes: 70 }, down: { bytes: 71 } });
  counts.ended(ended, "evicted");
  const { open, connections, closed, bytesUp, bytesDown } = counts.report();
  assertEquals([open, connections, closed.evicted, bytesUp, bytesDown], [1, 2, 1, 75, 77]);
});

Deno.test("RouteCounts.report() has sessions beside connections, and all their bytes", () => {
  const counts = new RouteCounts();
  const ended = { up: { bytes: 5 }, down: { bytes: 6 } };
  counts.opened(ended);
  counts.ended(ended, "finished");
  for (let i = 0; i < 3; i++) counts.sessionBegan();
  counts.sessionEnded("evicted");
  counts.datagramBytesUp += 10;
  counts.datagramBytesDown += 20;
  const { open, connections, closed, bytesUp, bytesDown } = counts.report();
  assertEquals([open, connections, closed.evicted], [2, 4, 1]);
  assertEquals([bytesUp, bytesDown], [15, 26]);
});

Deno.test("RouteCounts.report() is of one moment, whatever is counted after it", () => {
  const counts = new RouteCounts();
  counts.dropped.stranger = 3;
  const report = counts.report();
  const copy = structuredClone(report);
  counts.datagramsUp++;
  counts.datagramsDown++;
  counts.dropped.stranger++;
  assertEquals(report, copy);
  assertEquals(counts.report().dropped.stranger, 4);
});

Deno.test("RouteCounts.report() tells since when each dial has failed, until one succeeds", () => {
  const counts = new RouteCounts();
  assertEquals(counts.report().failingSince, undefined);
  counts.connected(0.1);
  counts.connectFailed("connection refused");
  const { failingSince, lastConnectError } = counts.report();
  assertEquals(failingSince, lastConnectError?.at);
  counts.noteConnectError("no answer");
  assertEquals(counts.report().failingSince, failingSince);
  counts.connected(60);
  const { failingSince: mended, lastConnectError: last } = counts.report();
  assertEquals([mended, last?.message], [undefined, "no answer"]);
  counts.connectFailed("connection refused");
  // Other targets: what was the matter with the old ones says nothing about them.
  counts.lastConnectError = undefined;
  assertEquals(counts.report().failingSince, undefined);
  counts.connectFailed("connection refused");
  assertEquals(counts.report().failingSince, counts.report().lastConnectError?.at);
});

Deno.test("RouteCounts.report() takes a UDP route for failing until a datagram is sent, whatever begins", () => {
  const counts = new RouteCounts();
  const isFailing = (): boolean => counts.report().failingSince !== undefined;
  counts.sessionBegan();
  counts.connected(0.001);
  counts.noteConnectError("network unreachable");
  counts.sessionBegan();
  counts.connected(0.001);
  assertEquals(isFailing(), true);
  counts.datagramsUp++;
  assertEquals(isFailing(), false);
});

Deno.test("RouteCounts.report() tells whether clients are all refused, until one gets an upstream", () => {
  const counts = new RouteCounts();
  assertEquals(counts.report().refusesAll, false);
  counts.connected(0.001);
  counts.lastHandshakeError = { at: Date.now(), message: "not TLS" };
  const { failingSince, refusesAll } = counts.report();
  assertEquals([failingSince, refusesAll], [undefined, true]);
  counts.connected(0.001);
  assertEquals(counts.report().refusesAll, false);
});
