// A forwarder in this process whose routes the test changes.

import { createLog } from "../../src/base/log.ts";
import type { Route } from "../../src/config/routes.ts";
import { Forwarder, type ForwarderOptions } from "../../src/forward/forwarder.ts";
import { PLAIN_TRANSPORTS } from "../../src/net/transports.ts";
import { within } from "./mod.ts";

/** A forwarder at work. */
export interface Rewirable extends AsyncDisposable {
  /** The forwarder. */
  readonly forwarder: Forwarder;
  /** Every line that it has logged, all levels. */
  readonly lines: readonly string[];
  /** Gives it other routes, with the transports that it has. */
  rewire(...routes: readonly Route[]): ReturnType<Forwarder["rewire"]>;
}

/** Forwards the routes; 200 ms to drain unless given. */
export function startRewirable(
  routes: readonly Route[],
  { transports = PLAIN_TRANSPORTS, ...options }: Partial<ForwarderOptions> = {},
): Rewirable {
  const lines: string[] = [];
  const stop = new AbortController();
  const forwarder = new Forwarder(routes, {
    transports,
    maxConnections: 0,
    drainTimeoutMs: 200,
    drainDelayMs: 0,
    log: createLog({ level: "debug", format: "text", write: (line) => void lines.push(line) }),
    ...options,
  });
  const running = forwarder.run(stop.signal);
  return {
    forwarder,
    lines,
    rewire: (...routes) => forwarder.rewire(routes, transports),
    async [Symbol.asyncDispose](): Promise<void> {
      stop.abort();
      await within(running, "the forwarder to stop");
    },
  };
}
