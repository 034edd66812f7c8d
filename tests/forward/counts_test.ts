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

Deno.test("RouteCounts.report() tells of each last error whether any client has got an upstream since", () => {
  const counts = new RouteCounts();
  const served = (): unknown[] => {
    const { lastConnectError, lastHandshakeError } = counts.report();
    return [lastConnectError?.noneServedSince, lastHandshakeError?.noneServedSince];
  };
  counts.connected(0.001);
  assertEquals(served(), [undefined, undefined]);
  counts.connectFailed("connection refused");
  assertEquals(served(), [true, undefined]);
  counts.connected(60);
  counts.noteHandshakeError("not TLS");
  assertEquals(served(), [false, true]);
  counts.connected(0.001);
  assertEquals(served(), [false, false]);
  assertEquals(counts.report().lastConnectError?.message, "connection refused");
  counts.forgetConnectError();
  assertEquals(served(), [undefined, false]);
});

Deno.test("RouteCounts.report() tells of a loop as long as it is what the last client came to", () => {
  const counts = new RouteCounts();
  const isLooping = (): boolean => counts.report().loopingSince !== undefined;
  assertEquals(isLooping(), false);
  counts.noteLoop("back again");
  const { loopingSince, lastConnectError, connectErrors } = counts.report();
  assertEquals(loopingSince, lastConnectError?.at);
  assertEquals([lastConnectError?.message, connectErrors], ["back again", 0]);
  counts.noteLoop("back again");
  assertEquals(counts.report().loopingSince, loopingSince);
  counts.connected(0.001);
  assertEquals(isLooping(), false);
  counts.noteLoop("back again");
  counts.connectFailed("connection refused");
  assertEquals(isLooping(), false);
  counts.noteLoop("back again");
  counts.forgetConnectError();
  assertEquals(isLooping(), false);
});
