// `check --probe`: every target of every route is tried once, as a client of the route would reach it.

import { type Endpoint, isIp } from "../base/address.ts";
import { describeWithHint } from "../base/errors.ts";
import { TimeLimit } from "../base/time.ts";
import type { Targets } from "../config/targets.ts";
import type { Transports } from "../net/transports.ts";
import { tryTarget } from "./trial.ts";

/** Maximum targets that are tried at once: each takes a descriptor. */
const MAX_AT_ONCE = 32;

/** How a target fared. */
export interface Probe {
  /** What was tried. */
  readonly target: Endpoint;
  /** Why it could not be reached; undefined if it could. */
  readonly error: string | undefined;
  /** How long that took, in milliseconds. */
  readonly durationMs: number;
}

/**
 * Tries every target once, each within the `--connect-timeout` of its route.
 *
 * @returns for each route how its targets fared, in their order
 */
export async function probeTargets(
  routes: readonly Targets[],
  { transports, signal }: { readonly transports: Transports; readonly signal: AbortSignal },
): Promise<readonly (readonly Probe[])[]> {
  const left = routes.flatMap(({ targets, settings }, route) =>
    targets.map((target, place) => ({ target, settings, route, place }))
  );
  const probes: Probe[][] = routes.map(() => []);
  const queue = left.values();
  await Promise.all(Array.from({ length: MAX_AT_ONCE }, async () => {
    for (const { target, settings, route, place } of queue) {
      using limit = new TimeLimit(settings.connectTimeoutMs, signal);
      const sinceMs = performance.now();
      let error: string | undefined;
      try {
        await tryTarget(target, { settings, transports, signal: limit.signal });
      } catch (failure) {
        error = describeWithHint(failure);
      }
      const durationMs = Math.round(performance.now() - sinceMs);
      (probes[route] ?? [])[place] = { target, error, durationMs };
    }
  }));
  return probes;
}

/** What a probe has shown, in a few words. Over UDP nobody answers for being there. */
export function describeProbe({ target, error, durationMs }: Probe): string {
  if (error !== undefined) return error;
  if (target.protocol !== "udp") return `reached in ${durationMs} ms`;
  return isIp(target.hostname)
    ? "not tried: UDP does not show whether a target is there"
    : `name found in ${durationMs} ms; UDP does not show more`;
}

/** The same for machines. */
export function probeAsJson({ target, error, durationMs }: Probe): Record<string, unknown> {
  const success = target.protocol === "udp" ? "resolved" : "reached";
  return {
    target,
    ...(error === undefined ? { [success]: true } : { error }),
    duration_ms: durationMs,
  };
}
