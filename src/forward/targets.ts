// The targets of a route at work: which of them are down, and in what order a client gets them. One
// that could not be reached is down until somebody reaches it; so that this costs no client anything,
// the ambassador tries it itself. It knows nothing of clients.

import { type Endpoint, formatTarget, formatTargets, isIp } from "../base/address.ts";
import { describeError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { pause, TimeLimit } from "../base/time.ts";
import type { RouteSettings } from "../config/options.ts";
import type { Transport } from "../net/stream.ts";
import type { Transports } from "../net/transports.ts";
import { inOrder } from "./balance.ts";
import type { TargetReport } from "./report.ts";
import { localHeaderOf } from "./proxy_protocol.ts";

/** How much of the connect timeout a target gets, where another is left. */
const PATIENCE = 1 / 5;
/** What counts as the connect timeout where there is none, in milliseconds. */
const WITHOUT_TIMEOUT_MS = 10_000;

/** How long one of several targets may take to answer, in milliseconds. */
export function patienceMs({ connectTimeoutMs }: Pick<RouteSettings, "connectTimeoutMs">): number {
  return Math.ceil((connectTimeoutMs || WITHOUT_TIMEOUT_MS) * PATIENCE);
}

/** One target at work. */
export class Target {
  /** Where it is. */
  readonly endpoint: Endpoint;
  /** The same as text. */
  readonly name: string;
  /** How it is reached. */
  readonly transport: Pick<Transport, "connect">;
  /** Connections that it has, and those on their way to it. */
  load = 0;
  /** Connections that it has. */
  open = 0;
  /** Connections that it has had. */
  connections = 0;
  /** When it was last reached, as `performance.now()` tells it. */
  reachedMs: number = -Infinity;
  /** When it has last turned out to be down. */
  downMs: number = -Infinity;
  /** Whether it could not be reached when it was last tried. */
  isDown = false;
  /** Ends the trials of one that is down; there while clients get it only after the others. */
  trials: AbortController | undefined;
  /** When its route ceased to have it, as `performance.now()` tells it; undefined as long as it has. */
  goneMs: number | undefined;

  /** Nobody is connected yet, and nothing is known against it. */
  constructor(endpoint: Endpoint, transport: Pick<Transport, "connect">) {
    this.endpoint = endpoint;
    this.name = formatTarget(endpoint);
    this.transport = transport;
  }

  /** Counts a connection that has ended. */
  left(): void {
    this.open--;
    this.load--;
  }

  /** How it fares, at this moment. */
  report(): TargetReport {
    const { name, isDown, downMs, open, connections, goneMs } = this;
    // By the clock as it is now: it may have been set since.
    const downSince = isDown ? Math.round(Date.now() - performance.now() + downMs) : undefined;
    return { name, downSince, open, connections, isLeaving: goneMs !== undefined };
  }
}

/** What {@linkcode Targets} is made with. */
export interface TargetsOptions {
  /** What holds for the route. */
  readonly settings: RouteSettings;
  /** How each protocol connects. */
  readonly transports: Transports;
  /** Where to write. */
  readonly log: Log;
  /** The route's part of a line: `route` and `listen`. */
  readonly fields: Readonly<Record<string, string>>;
  /** Whether there is a descriptor to try a target with. */
  readonly mayTry: () => boolean;
  /** Targets that are at work already, by name: they are taken as they are. None unless given. */
  readonly known?: ReadonlyMap<string, Target>;
}

/** All targets of a route. */
export class Targets implements Disposable {
  /** In the order in which they were given. */
  readonly all: readonly Target[];
  /** The same as text. */
  readonly text: string;
  /** Whether one of them is a name. */
  readonly isNamed: boolean;
  readonly #options: TargetsOptions;
  #isOver = false;
  #turn = 0;

  /** All are up until one shows that it is not; `endpoints` is at least one. */
  constructor(endpoints: readonly Endpoint[], options: TargetsOptions) {
    const { transports, known } = options;
    this.all = endpoints.map((one) =>
      known?.get(formatTarget(one)) ?? new Target(one, transports[one.protocol])
    );
    this.text = formatTargets(endpoints);
    this.isNamed = endpoints.some(({ hostname }) => !isIp(hostname));
    this.#options = options;
    for (const target of this.all) {
      target.goneMs = target.trials = undefined;
      if (target.isDown) this.#beginTrials(target);
    }
  }

  /** Those that the next client gets, one after the other: the ones that are down after the others. */
  order(): readonly Target[] {
    if (this.all.length === 1) return this.all;
    const { balance } = this.#options.settings;
    const turn = this.#turn++;
    const up = this.all.filter(({ trials }) => trials === undefined);
    if (up.length === this.all.length) return inOrder(up, { balance, turn });
    const down = this.all.filter(({ trials }) => trials !== undefined);
    return [up, down].flatMap((some) => inOrder(some, { balance, turn }));
  }

  /** Counts an upstream that was reached by a dial that began then. */
  reached(target: Target, sinceMs: number): void {
    target.open++;
    target.connections++;
    // The system may have connected it, and told of it late, before the target died.
    if (sinceMs > target.downMs) this.#isUp(target);
  }

  /** Takes note that a target could not be reached by a dial that began then. */
  failed(target: Target, { error, sinceMs }: { error: unknown; sinceMs: number }): void {
    const { log, fields } = this.#options;
    // One that others have reached since is there, and has more to do than it can.
    if (target.isDown || this.#isOver || target.reachedMs > sinceMs) return;
    if (target.goneMs !== undefined) return;
    target.isDown = true;
    target.downMs = performance.now();
    // Where it is the only one, every client tries it, and each failure has its line.
    if (this.all.length === 1) return;
    const line = { ...fields, target: target.name, error: describeError(error) };
    log.repeated("warn", "target_down", line);
    this.#beginTrials(target);
  }

  /** Tries no target any more. */
  [Symbol.dispose](): void {
    this.#isOver = true;
    for (const { trials } of this.all) trials?.abort();
  }

  #beginTrials(target: Target): void {
    if (this.all.length === 1 || this.#options.settings.failTimeoutMs === 0) return;
    target.trials = new AbortController();
    void this.#tryAgain(target, target.trials.signal);
  }

  #isUp(target: Target): void {
    target.reachedMs = performance.now();
    if (!target.isDown) return;
    target.isDown = false;
    target.trials?.abort();
    target.trials = undefined;
    if (this.all.length === 1) return;
    const { log, fields } = this.#options;
    log.repeated("info", "target_up", { ...fields, target: target.name });
  }

  async #tryAgain(target: Target, signal: AbortSignal): Promise<void> {
    const { settings, mayTry } = this.#options;
    // As long as a client would wait, or it would be up for the ambassador alone.
    const limitMs = patienceMs(settings);
    for (;;) {
      await pause(settings.failTimeoutMs, signal);
      if (signal.aborted) return;
      if (!mayTry()) continue;
      using limit = new TimeLimit(limitMs, signal);
      try {
        const preface = localHeaderOf(settings);
        using _upstream = await target.transport.connect(target.endpoint, {
          signal: limit.signal,
          settings,
          preface,
          isTrial: true,
        });
        // A client may have been faster, and a connection that came too late says nothing.
        if (!signal.aborted) this.#isUp(target);
        return;
      } catch {
        // It is as it was.
      }
    }
  }
}
