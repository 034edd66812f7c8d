// `wait`: connects until a target of every route has accepted. It listens nowhere, and knows routes
// only by their targets.

import { formatTargets } from "../base/address.ts";
import { formatDuration } from "../base/duration.ts";
import { ConfigError, describeWithHint } from "../base/errors.ts";
import { complain, writeToStderr } from "../base/stdio.ts";
import { plain, some } from "../base/text.ts";
import { Backoff, pause, TimeLimit } from "../base/time.ts";
import type { Command } from "../config/command_line.ts";
import { isUdp, type Targets } from "../config/targets.ts";
import { REPLACED } from "../config/variables.ts";
import { PLAIN_TRANSPORTS, type Transports } from "../net/transports.ts";
import { EXIT } from "./command.ts";
import { prepareTransports } from "./transports.ts";
import { tryTarget } from "./trial.ts";
import { type AwaitedUpstream, describeUpstreams, REDRAW, showProgress } from "./progress.ts";

/** How long to wait unless told otherwise, in milliseconds. */
const WAIT_TIMEOUT_MS = 60_000;

/** Waits, and says what it waits for. */
export async function wait(command: Command): Promise<number> {
  command.warnings.forEach(complain);
  sayReplaced(command);
  const { timeoutMs = WAIT_TIMEOUT_MS } = command.options;
  const isTerminal = Deno.stderr.isTerminal();
  const columns = isTerminal ? terminalColumns() : undefined;
  const onTry = showProgress({ columns, write: writeToStderr });
  // Nobody listens here.
  const all = withoutUdp([
    ...command.routes.map(({ targets, settings }) => ({ targets, settings })),
    ...command.bare,
  ]);
  const { transports, credentials } = await prepareTransports(all, command.options);
  for (const message of credentials?.current.warnings ?? []) complain({ message });
  const upstreams = await waitForUpstreams(all, { timeoutMs, transports, onTry });
  const missing = upstreams.filter(({ accepts }) => !accepts);
  if (missing.length === 0) return EXIT.finished;
  if (isTerminal) writeToStderr(REDRAW);
  const limit = formatDuration(timeoutMs);
  complain({ message: `no connection within ${limit}: ${describeUpstreams(missing)}` });
  return EXIT.failed;
}

/**
 * Connects to the targets of every route, all at the same time and each again and again, until one of
 * each has accepted once, or the time is over (milliseconds; 0 is no limit). Names are looked up at
 * each try.
 *
 * @param options `onTry` is told after each try: what was tried, and all.
 * @returns what each route leads to, in the order of the routes
 */
export async function waitForUpstreams(
  routes: readonly Targets[],
  { timeoutMs, transports = PLAIN_TRANSPORTS, onTry }: {
    readonly timeoutMs: number;
    /** How each protocol connects; without TLS unless given. */
    readonly transports?: Transports;
    readonly onTry?: (tried: AwaitedUpstream, all: readonly AwaitedUpstream[]) => void;
  },
): Promise<readonly AwaitedUpstream[]> {
  // A target is asked once, in each of the ways in which routes speak to it.
  const different = new Map(routes.map((route) => {
    const target = formatTargets(route.targets);
    const { sendProxy, tlsName, starttls } = route.settings;
    return [[target, sendProxy, tlsName, starttls].join(" "), { target, route }];
  }));
  const awaited = [...different.values()].map(({ target, route }) => ({
    route,
    upstream: { target, accepts: false, error: undefined } as AwaitedUpstream,
  }));
  const all = awaited.map(({ upstream }) => upstream);
  using limit = new TimeLimit(timeoutMs);
  const { signal } = limit;
  await Promise.all(awaited.map(async ({ route, upstream }) => {
    const backoff = new Backoff();
    while (!signal.aborted) {
      const error = await tryOnce(route, { transports, outer: signal });
      upstream.accepts = error === undefined;
      // What the last whole try said tells more than that there was no time for another.
      if (!signal.aborted || upstream.error === undefined) upstream.error = error;
      onTry?.(upstream, all);
      if (upstream.accepts) return;
      await pause(backoff.next(), signal);
    }
  }));
  return all;
}

/** Undefined as soon as one of the targets has accepted, else why none has. */
async function tryOnce(
  { targets, settings }: Targets,
  { transports, outer }: { readonly transports: Transports; readonly outer: AbortSignal },
): Promise<string | undefined> {
  using limit = new TimeLimit(settings.connectTimeoutMs, outer);
  const accepted = new AbortController();
  const signal = AbortSignal.any([limit.signal, accepted.signal]);
  try {
    await Promise.any(
      targets.map((target) => tryTarget(target, { settings, transports, signal })),
    );
    return undefined;
  } catch (error) {
    const errors: readonly unknown[] = error instanceof AggregateError ? error.errors : [error];
    return [...new Set(errors.map(describeWithHint))].join(", ");
  } finally {
    accepted.abort();
  }
}

/**
 * Those that can be waited for; says which can't.
 *
 * @throws {ConfigError} if none can
 */
function withoutUdp(all: readonly Targets[]): readonly Targets[] {
  const udp = all.filter(isUdp);
  if (udp.length === 0) return all;
  const names = some([...new Set(udp.map(({ targets }) => formatTargets(targets)))], ", ");
  const reason = `UDP does not show whether a target is there: ${names}`;
  if (udp.length === all.length) {
    const hint = "wait for a TCP port of the same service, 53=HOST:53 beside 53/udp=HOST:53";
    throw new ConfigError([{ message: `nothing to wait for: ${reason}`, hint }]);
  }
  complain({ message: `left out: ${reason}` });
  return all.filter((one) => !isUdp(one));
}

/** One line, however many there are: in a pod with service links they are all its neighbours. */
function sayReplaced({ ignored }: Command): void {
  const replaced = ignored.filter(({ reason }) => reason === REPLACED);
  if (replaced.length === 0) return;
  const names = some(replaced.map(({ variable }) => plain(variable)), ", ");
  complain({ message: `ignored: ${names}: ${REPLACED}` });
}

function terminalColumns(): number {
  try {
    return Deno.consoleSize().columns || 80;
  } catch {
    return 80;
  }
}
