// Arguments, environment and signals in; exit status out. The only place that touches them.

import config from "./deno.json" with { type: "json" };
import { flushBursts } from "./src/base/burst.ts";
import { formatRoutes } from "./src/commands/check.ts";
import { type Command, noRoute, parseCommand, problemOf } from "./src/config/command_line.ts";
import { formatDuration } from "./src/base/duration.ts";
import { BindError, ConfigError, PERMISSION_HINT, type Problem } from "./src/base/errors.ts";
import { healthcheck, HEALTHCHECK_TIMEOUT_MS } from "./src/commands/healthcheck.ts";
import { createLog, type Log } from "./src/base/log.ts";
import { describeUpstreams, showProgress } from "./src/commands/progress.ts";
import { serve } from "./src/forward/forwarder.ts";
import { endStderr, writeToStderr } from "./src/base/stderr.ts";
import { usage } from "./src/config/help.ts";
import { WAIT_TIMEOUT_MS, waitForUpstreams } from "./src/commands/wait.ts";

/** Exit statuses; a second signal ends with 128 and its number. */
const EXIT = { finished: 0, failed: 1, usage: 2 } as const;

const STOP_SIGNALS = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

async function run(command: Command): Promise<number> {
  switch (command.name) {
    case "help":
      console.log(usage().trimEnd());
      return EXIT.finished;
    case "version":
      console.log(`ambassador ${config.version}`);
      return EXIT.finished;
    case "check":
      return check(command);
    case "serve":
      return await forward(command);
    case "healthcheck":
      return await probe(command);
    case "wait":
      return await waitFor(command);
  }
}

function check(command: Command): number {
  warn(command);
  const text = formatRoutes(command, command.options.format, { colour: hasColour() });
  if (text !== "") console.log(text);
  if (command.routes.length === 0) throw new ConfigError([noRoute(command)]);
  return EXIT.finished;
}

async function forward({ routes, ignored, warnings, options }: Command): Promise<number> {
  const log = createLog({ level: options.logLevel, format: options.logFormat });
  logSettings(log, { ignored, warnings });
  // The status page would be served where this says, not where --status does.
  Deno.env.delete("DENO_SERVE_ADDRESS");
  const { cutOff } = await serve(routes, {
    ...options,
    ignored,
    version: config.version,
    log,
    signal: stopSignal(),
  });
  return cutOff > 0 ? EXIT.failed : EXIT.finished;
}

async function waitFor(command: Command): Promise<number> {
  warn(command);
  const { routes, options } = command;
  // Nobody is connected yet: there is nothing to finish, and PID 1 would not end by itself.
  onStopSignal((status) => Deno.exit(status));
  const { timeoutMs = WAIT_TIMEOUT_MS, connectTimeoutMs } = options;
  const isTerminal = Deno.stderr.isTerminal();
  const progress = showProgress({
    columns: isTerminal ? terminalColumns() : undefined,
    write: writeToStderr,
  });
  const upstreams = await waitForUpstreams(routes, {
    timeoutMs,
    connectTimeoutMs,
    onTry: progress,
  });
  const missing = upstreams.filter(({ accepts }) => !accepts);
  if (missing.length === 0) return EXIT.finished;
  if (isTerminal) writeToStderr("\r\x1b[K");
  complain({
    message: `no connection within ${formatDuration(timeoutMs)}: ${describeUpstreams(missing)}`,
  });
  return EXIT.failed;
}

function terminalColumns(): number {
  try {
    return Deno.consoleSize().columns || 80;
  } catch {
    return 80;
  }
}

/** Colours are for a terminal that wants them (https://no-color.org). */
function hasColour(): boolean {
  return Deno.stdout.isTerminal() && (Deno.env.get("NO_COLOR") ?? "") === "" &&
    Deno.env.get("TERM") !== "dumb";
}

async function probe(command: Command): Promise<number> {
  warn(command);
  const { status, timeoutMs = HEALTHCHECK_TIMEOUT_MS } = command.options;
  if (status === undefined) {
    throw new ConfigError([{
      message: "healthcheck: there is no status page to ask, --status is off",
      hint: "set AMBASSADOR_STATUS=127.0.0.1:9090 for the ambassador and for its health check",
    }]);
  }
  const problem = await healthcheck(status, { timeoutMs });
  if (problem === undefined) return EXIT.finished;
  complain({ message: problem });
  return EXIT.failed;
}

function logSettings(log: Log, { ignored, warnings }: Pick<Command, "ignored" | "warnings">): void {
  for (const { setting, reason } of warnings) log.warn("ignored", { setting, reason });
  for (const { variable, reason, asked } of ignored) {
    if (asked) log.debug("ignored", { variable, reason });
    else log.info("ignored", { variable, reason });
  }
}

/** Aborts at the first stop signal; the second ends the program at once. */
function stopSignal(): AbortSignal {
  const stop = new AbortController();
  onStopSignal((status) => {
    if (!stop.signal.aborted) return stop.abort();
    flushBursts();
    void exit(status);
  });
  return stop.signal;
}

/** Calls `act` at each stop signal, with the exit status that belongs to it. */
function onStopSignal(act: (status: number) => void): void {
  for (const [name, status] of Object.entries(STOP_SIGNALS) as [Deno.Signal, number][]) {
    // As PID 1 of a container there is no default for any of them. Windows has but some.
    if (Deno.build.os === "windows" && name === "SIGTERM") continue;
    Deno.addSignalListener(name, () => act(status));
  }
}

function warn({ warnings }: Command): void {
  warnings.map(problemOf).forEach(complain);
}

function complain({ message, hint }: Problem): void {
  // Unlike console.error this does not throw where stderr is full, which would change the status.
  writeToStderr(`ambassador: ${message}\n${hint === undefined ? "" : `  hint: ${hint}\n`}`);
}

/** One line to the person, and the exit status. */
function report(error: unknown): number {
  if (error instanceof ConfigError) {
    error.problems.forEach(({ message, hint }, index) => {
      // Several that go wrong in the same way get one hint, after the last.
      const repeated = error.problems[index + 1]?.hint === hint;
      complain({ message, hint: repeated ? undefined : hint });
    });
    return EXIT.usage;
  }
  if (error instanceof BindError) {
    complain(error);
  } else if (error instanceof Deno.errors.NotCapable) {
    complain({ message: error.message, hint: PERMISSION_HINT });
  } else {
    complain({ message: error instanceof Error ? error.message : String(error) });
  }
  return EXIT.failed;
}

/** Ends the program once the log is written; soon also where nobody reads it. */
async function exit(status: number): Promise<void> {
  await endStderr();
  // A name lookup that hangs can't be cancelled and would keep the process.
  Deno.exit(status);
}

if (import.meta.main) {
  let status: number;
  try {
    status = await run(parseCommand(Deno.args, Deno.env.toObject()));
  } catch (error) {
    status = report(error);
  }
  await exit(status);
}
