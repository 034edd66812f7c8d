// `check --probe`: every target of every route is tried once, as a client of the route would reach it.

import { type Endpoint, isIp } from "../base/address.ts";
import { describeWithHint } from "../base/errors.ts";
import { TimeLimit } from "../base/time.ts";
import type { RouteSettings } from "../config/options.ts";
import type { Targets } from "../config/targets.ts";
import type { Transports } from "../net/transports.ts";
import { tryTarget } from "./trial.ts";

/** Maximum targets that are tried at once: each takes a descriptor. */
const MAX_AT_ONCE = 100;

/** How a target fared. */
export interface Probe {
  /** What was tried. */
  readonly target: Endpoint;
  /** What it has shown: of UDP that its name is known, and of an address nothing. */
  readonly result: "reached" | "resolved" | "untried" | "failed";
  /** Why it could not be reached, if it failed. */
  readonly error?: string;
  /** How long that took, in milliseconds, if it was tried. */
  readonly durationMs?: number;
}

/**
 * Tries every target once, each within the `--connect-timeout` of its route.
 *
 * @returns for each route how its targets fared, in their order
 */
export async function probeTargets(
  routes: readonly Targets[],
  transports: Transports,
): Promise<readonly (readonly Probe[])[]> {
  const queue = routes.flatMap(({ targets, settings }, route) =>
    targets.map((target, place) => ({ target, settings, route, place }))
  ).values();
  const probes: Probe[][] = routes.map(() => []);
  await Promise.all(Array.from({ length: MAX_AT_ONCE }, async () => {
    for (const { target, settings, route, place } of queue) {
      (probes[route] ?? [])[place] = await probe(target, settings, transports);
    }
  }));
  return probes;
}

async function probe(
  target: Endpoint,
  settings: RouteSettings,
  transports: Transports,
): Promise<Probe> {
  const isUdp = target.protocol === "udp";
  // Nobody answers there for being there.
  if (isUdp && isIp(target.hostname)) return { target, result: "untried" };
  using limit = new TimeLimit(settings.connectTimeoutMs);
  const sinceMs = performance.now();
  const tookMs = (): number => Math.round(performance.now() - sinceMs);
  try {
    await tryTarget(target, { settings, transports, signal: limit.signal });
    return { target, result: isUdp ? "resolved" : "reached", durationMs: tookMs() };
  } catch (error) {
    return { target, result: "failed", error: describeWithHint(error), durationMs: tookMs() };
  }
}

/** What a probe has shown, in a few words. */
export function describeProbe({ result, error = "", durationMs = 0 }: Probe): string {
  if (result === "failed") return error;
  if (result === "reached") return `reached in ${durationMs} ms`;
  return result === "resolved"
    ? `name found in ${durationMs} ms; UDP does not show more`
    : "not tried: UDP does not show whether a target is there";
}

/** The same for machines. */
export function probeAsJson({ target, result, error, durationMs }: Probe): Record<string, unknown> {
  const shown = {
    reached: { reached: true },
    resolved: { resolved: true },
    untried: {},
    failed: { error },
  };
  return { target, ...shown[result], duration_ms: durationMs };
}
