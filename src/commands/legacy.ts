import { formatRoutes } from "./check.ts";
import { type Command, noRoute, problemOf } from "../config/command_line.ts";
import { formatDuration } from "../base/duration.ts";
import { ConfigError } from "../base/errors.ts";
import { healthcheck as askHealth, HEALTHCHECK_TIMEOUT_MS } from "./healthcheck.ts";
import { describeUpstreams, showProgress } from "./progress.ts";
import { complain, writeToStderr } from "../base/stdio.ts";
import { WAIT_TIMEOUT_MS, waitForUpstreams } from "./wait.ts";
import { EXIT } from "./command.ts";
function warn({ warnings }: Command): void {
  warnings.map(problemOf).forEach(complain);
}
export function check(command: Command): Promise<number> {
  warn(command);
  const colour = Deno.stdout.isTerminal() && (Deno.env.get("NO_COLOR") ?? "") === "" &&
    Deno.env.get("TERM") !== "dumb";
  const text = formatRoutes(command, command.options.format, { colour });
  if (text !== "") console.log(text);
  if (command.routes.length === 0) throw new ConfigError([noRoute(command)]);
  return Promise.resolve(EXIT.finished);
}
export async function wait(command: Command): Promise<number> {
  warn(command);
  const { routes, options } = command;
  const { timeoutMs = WAIT_TIMEOUT_MS, connectTimeoutMs } = options;
  const isTerminal = Deno.stderr.isTerminal();
  const progress = showProgress({ columns: isTerminal ? 80 : undefined, write: writeToStderr });
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
export async function healthcheck(command: Command): Promise<number> {
  warn(command);
  const { status, timeoutMs = HEALTHCHECK_TIMEOUT_MS } = command.options;
  if (status === undefined) {
    throw new ConfigError([{
      message: "healthcheck: there is no status page to ask, --status is off",
      hint: "set AMBASSADOR_STATUS=127.0.0.1:9090 for the ambassador and for its health check",
    }]);
  }
  const problem = await askHealth(status, { timeoutMs });
  if (problem === undefined) return EXIT.finished;
  complain({ message: problem });
  return EXIT.failed;
}
