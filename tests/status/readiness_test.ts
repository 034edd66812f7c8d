import { assert, assertEquals } from "@std/assert";
import type { Protocol } from "../../src/base/address.ts";
import { RouteCounts } from "../../src/forward/counts.ts";
import type { RouteReport } from "../../src/forward/report.ts";
import { formatReadiness } from "../../src/status/readiness.ts";
import "../helpers/mod.ts";
import { FIXED_WIRING } from "../helpers/reports.ts";
import { routeTo } from "../helpers/routes.ts";

/** What is said of a route with these counts that listens by this protocol. */
function readinessOf(counts: RouteCounts, protocol: Protocol): Record<string, unknown> {
  const plain = routeTo({ hostname: "192.0.2.10", port: 6379 });
  const route = { ...plain, listen: { ...plain.listen, protocol } };
  const text = [...formatReadiness({
    version: "1.2.3",
    startedAt: 0,
    certificate: undefined,
    wiring: FIXED_WIRING,
    ready: true,
    routes: [{ route, targets: [], counts: counts.report(), isLeaving: false }],
    ignored: [],
  })].join("");
  const { routes: [said] } = JSON.parse(text);
  return said;
}

Deno.test("formatReadiness() gives the last handshake that failed where clients make them, and null if none", () => {
  const counts = new RouteCounts();
  assertEquals(readinessOf(counts, "tls")["last_handshake_error"], null);
  counts.noteHandshakeError("not TLS");
  const at = counts.report().lastHandshakeError?.at ?? 0;
  const said = readinessOf(counts, "tls");
  assertEquals(said["last_handshake_error"], {
    time: new Date(at).toISOString(),
    error: "not TLS",
  });
  assertEquals(said["last_connect_error"], null);
  assertEquals("last_handshake_error" in readinessOf(new RouteCounts(), "tcp"), false);
});

Deno.test("formatReadiness() lists the routes that there are, and none that is leaving", () => {
  const route = routeTo({ hostname: "192.0.2.10", port: 6379 });
  const counts = new RouteCounts().report();
  const present = { route, targets: [], counts, isLeaving: false };
  const said = (...routes: readonly RouteReport[]): unknown =>
    JSON.parse([...formatReadiness({
      version: "1.2.3",
      startedAt: 0,
      certificate: undefined,
      wiring: FIXED_WIRING,
      ready: true,
      routes,
      ignored: [],
    })].join(""));
  const leaving = { ...present, isLeaving: true };
  assertEquals(said(leaving), { status: "ready", routes: [] });
  assertEquals(said(), { status: "ready", routes: [] });
  assertEquals(said(leaving, present, leaving), said(present));
});

Deno.test("formatReadiness() calls a UDP route's sessions open connections, as for the others", () => {
  const [route, plain] = (["udp", "tcp"] as const).map((protocol) => {
    const counts = new RouteCounts();
    counts.opened({ up: { bytes: 1 }, down: { bytes: 2 } });
    counts.connectFailed("name not found");
    return readinessOf(counts, protocol);
  });
  assert(route && plain);
  assertEquals(route["open_connections"], 1);
  assertEquals(Object.keys(route), Object.keys(plain));
});
