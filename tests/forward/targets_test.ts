// The targets of a route: who is down, what is said of it, and in what order clients get them.

import { assertEquals, assertRejects } from "@std/assert";
import { createLog } from "../../src/base/log.ts";
import type { RouteSettings } from "../../src/config/options.ts";
import { DEFAULT_SETTINGS } from "../../src/config/settings.ts";
import { Reach } from "../../src/forward/reach.ts";
import { Targets } from "../../src/forward/targets.ts";
import { PLAIN_TRANSPORTS } from "../../src/net/transports.ts";
import { freePort, within } from "../helpers/mod.ts";
import { activate, routeContext, routeTo } from "../helpers/routes.ts";

interface Tried extends Disposable {
  readonly targets: Targets;
  /** The lines of the log without their times. */
  readonly lines: readonly string[];
}

/** So many targets, of which the test says what happens to them. */
function targetsOf(count: number, settings: Partial<RouteSettings> = {}): Tried {
  const lines: string[] = [];
  const write = (line: string): void => void lines.push(line.slice(25));
  const endpoints = Array.from({ length: count }, (_, index) => ({
    protocol: "tcp" as const,
    hostname: "192.0.2.1",
    port: index + 1,
  }));
  const targets = new Targets(endpoints, {
    settings: { ...DEFAULT_SETTINGS, failTimeoutMs: 3_600_000, ...settings },
    transports: PLAIN_TRANSPORTS,
    // At debug nothing is left for later.
    log: createLog({ level: "debug", format: "text", write }),
    fields: { route: "A", listen: "[::]:1" },
    mayTry: () => false,
  });
  return { targets, lines, [Symbol.dispose]: () => targets[Symbol.dispose]() };
}

const REFUSED = new Deno.errors.ConnectionRefused("refused");

/** The ports in the order for the next client. */
function orderOf({ targets }: Tried): string {
  return targets.order().map(({ endpoint }) => endpoint.port).join();
}

/** Says that a dial that begins now fails. */
function fail({ targets }: Tried, index: number, sinceMs = performance.now()): void {
  const target = targets.all[index];
  if (target !== undefined) targets.failed(target, { error: REFUSED, sinceMs });
}

/** Says that a dial that began then, or now, has reached its target. */
function reach({ targets }: Tried, index: number, sinceMs = Infinity): void {
  const target = targets.all[index];
  if (target !== undefined) targets.reached(target, sinceMs);
}

function statesOf({ targets }: Tried): boolean[] {
  return targets.all.map((one) => one.report()).map(({ downSince }) => downSince === undefined);
}

Deno.test("Targets gives one that has failed after the others until it is reached, and says each once", () => {
  using tried = targetsOf(3);
  fail(tried, 0);
  fail(tried, 0);
  assertEquals([orderOf(tried), statesOf(tried)], ["2,3,1", [false, true, true]]);
  reach(tried, 0);
  reach(tried, 0);
  assertEquals([orderOf(tried), statesOf(tried)], ["1,2,3", [true, true, true]]);
  const fields = "route=A listen=[::]:1 target=192.0.2.1:1";
  assertEquals(tried.lines, [
    `WARN  target_down ${fields} error=refused`,
    `INFO  target_up ${fields}`,
  ]);
});

Deno.test("Targets believes no dial that began before the target was last reached", () => {
  using tried = targetsOf(2);
  const sinceMs = performance.now() - 1;
  reach(tried, 0);
  fail(tried, 0, sinceMs);
  assertEquals([orderOf(tried), tried.lines.length], ["1,2", 0]);
});

Deno.test("Targets takes none for up because of a dial that began before it was down", () => {
  using tried = targetsOf(2);
  const sinceMs = performance.now() - 1;
  fail(tried, 0);
  reach(tried, 0, sinceMs);
  assertEquals([orderOf(tried), statesOf(tried)], ["2,1", [false, true]]);
  assertEquals(tried.targets.all.map(({ open }) => open), [1, 0]);
});

Deno.test("Targets keeps the order with failTimeoutMs 0, and shows all the same who is down", () => {
  using tried = targetsOf(2, { failTimeoutMs: 0 });
  fail(tried, 0);
  assertEquals([orderOf(tried), statesOf(tried)], ["1,2", [false, true]]);
  reach(tried, 0);
  assertEquals([statesOf(tried), tried.lines.length], [[true, true], 2]);
});

Deno.test("Targets leaves it to its clients to say that the only target is down", () => {
  using tried = targetsOf(1);
  fail(tried, 0);
  assertEquals([orderOf(tried), statesOf(tried), tried.lines.length], ["1", [false], 0]);
  reach(tried, 0);
  assertEquals([statesOf(tried), tried.lines.length], [[true], 0]);
});

Deno.test("Targets says nothing of what fails after the stop", () => {
  const tried = targetsOf(2);
  tried.targets[Symbol.dispose]();
  fail(tried, 0);
  assertEquals(tried.lines, []);
});

Deno.test("Reach names what failed in the order of the route, whatever that of the client", async () => {
  const context = routeContext();
  const ports = [freePort(), freePort()];
  const [first, second] = ports.map((port) => ({ hostname: "127.0.0.1", port }));
  if (first === undefined || second === undefined) return;
  const settings = { balance: "roundrobin", failTimeoutMs: 0 } as const;
  const { targets: [target], ...route } = routeTo(first, { settings });
  if (target === undefined) return;
  const active = activate({ ...route, targets: [target, { ...target, ...second }] }, context);
  for (let turn = 0; turn < 2; turn++) {
    const reaching = new Reach(() => active, {
      ...context,
      onShortage: () => false,
      leadsBack: () => false,
    });
    const { message } = await assertRejects(() => within(reaching.connect(), "the dial"), Error);
    assertEquals(
      message,
      ports.map((port) => `127.0.0.1:${port} (connection refused)`).join(", "),
    );
  }
});
