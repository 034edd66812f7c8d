// Arguments, environment and signals in; exit status out. The only place that touches them.

import config from "./deno.json" with { type: "json" };
import type { Problem } from "./src/base/errors.ts";
import { keepReading } from "./src/base/permissions.ts";
import { endOutput, writeToStderr } from "./src/base/stdio.ts";
import { check } from "./src/commands/check.ts";
import { type CommandContext, fail, print } from "./src/commands/command.ts";
import { forward } from "./src/commands/forward.ts";
import { healthcheck } from "./src/commands/healthcheck.ts";
import { wait } from "./src/commands/wait.ts";
import { ask, type Asked, type Command, readCommand } from "./src/config/command_line.ts";
import { usage } from "./src/config/help.ts";
import { filesOf } from "./src/config/options.ts";
import type { RoutesFile } from "./src/config/routes_file.ts";
import { readEnvironment } from "./src/config/own_variables.ts";

type Run = (command: Command, context: CommandContext) => Promise<number>;

/** What each command does; it gives the exit status. */
const COMMANDS: Readonly<Record<Command["name"], Run>> = {
  forward,
  check,
  wait,
  healthcheck,
  help: () => print(usage()),
  version: (_, { version }) => print(`ambassador ${version}\n`),
};

/** Signals that end the program, with the exit status of an end at once. */
const STOP_SIGNALS = { SIGINT: 130, SIGTERM: 143 } as const;

async function run(): Promise<number> {
  try {
    const environment = readEnvironment(Deno.env);
    const asked = ask(Deno.args, environment);
    keepReading(filesOf(asked.options));
    const [stop, kill] = [new AbortController(), new AbortController()];
    ignoreHangup();
    const { version } = config;
    const context = { environment, signal: stop.signal, killed: kill.signal, version, onHangup };
    // The others have nothing to finish, and end at the first signal.
    const killed = untilKilled(kill, asked.name === "forward" ? stop : undefined);
    return await Promise.race([obey(asked, context), killed]);
  } catch (error) {
    return fail(error);
  }
}

async function obey(asked: Asked, context: CommandContext): Promise<number> {
  const { routes } = asked.options;
  const command = readCommand(asked, routes && await readFile(routes.path));
  return await COMMANDS[command.name](command, context);
}

/** Loads what that takes only where there is a file. */
async function readFile(path: string): Promise<RoutesFile | Problem> {
  const { readRoutesFile } = await import("./src/commands/routes_file.ts");
  return await readRoutesFile(path);
}

/**
 * Lets nohup work. Deno (2.9.6) catches SIGHUP whatever was inherited, so it can't be left alone; what is
 * far from any terminal, as nohup leaves it, has none that could hang up.
 */
function ignoreHangup(): void {
  const streams = [Deno.stdin, Deno.stdout, Deno.stderr];
  if (Deno.build.os === "windows" || streams.some((stream) => stream.isTerminal())) return;
  Deno.addSignalListener("SIGHUP", () => {});
}

/** SIGHUP is listened to only where there is something to look at again. */
function onHangup(look: () => void): void {
  if (Deno.build.os !== "windows") Deno.addSignalListener("SIGHUP", look);
}

/**
 * The status of the stop signal that ends the program at once, and aborts `kill`: the one after `stop`
 * has aborted.
 */
function untilKilled(kill: AbortController, stop: AbortController | undefined): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>();
  let stoppedAtMs = -Infinity;
  for (const [name, status] of Object.entries(STOP_SIGNALS) as [Deno.Signal, number][]) {
    // As PID 1 of a container there is no default for any of them. Windows has but some.
    if (Deno.build.os === "windows" && name === "SIGTERM") continue;
    Deno.addSignalListener(name, () => {
      if (stop !== undefined && name === "SIGINT") coverEcho();
      if (stop !== undefined && !stop.signal.aborted) {
        stoppedAtMs = performance.now();
        return stop.abort();
      }
      if (name === "SIGINT" && isEcho(performance.now() - stoppedAtMs)) return;
      // Who hears it may say a last line; nothing waits for more than that.
      kill.abort(name);
      resolve(status);
    });
  }
  return promise;
}

/**
 * Whether a SIGINT is the one before once more: a task runner (`deno task`, Deno 2.9.6) hands on the Ctrl-C
 * that the terminal gives to all, within some milliseconds. No person is as fast.
 */
function isEcho(afterMs: number): boolean {
  return afterMs < 50 && Deno.stdin.isTerminal();
}

/** The `^C` that a terminal shows stands where the next line of the log begins: it is written over. */
function coverEcho(): void {
  if (Deno.stderr.isTerminal()) writeToStderr("\r");
}

if (import.meta.main) {
  const status = await run();
  await endOutput();
  // A name lookup that hangs can't be cancelled and would keep the process.
  Deno.exit(status);
}
