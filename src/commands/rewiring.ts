// `--routes FILE`: what the file holds is read as a part of the whole configuration, at the start and
// whenever it has changed, and the forwarder is rewired to that, or nothing changes and the log says why.

import { formatListen } from "../base/address.ts";
import { ConfigError, hintOf, type Problem } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { pause } from "../base/time.ts";
import { WatchedFiles } from "../base/watched_files.ts";
import { type Command, CommandError } from "../config/command_line.ts";
import type { Ignored, Route } from "../config/routes.ts";
import type { RoutesFile } from "../config/routes_file.ts";
import type { Forwarder, Rewired } from "../forward/forwarder.ts";
import type { ConnectError } from "../forward/counts.ts";
import type { WiringReport } from "../forward/report.ts";
import { PLAIN_TRANSPORTS, type Transports } from "../net/transports.ts";
import { logIgnored, logListening } from "./lines.ts";
import { routesFileOf } from "./routes_file.ts";

/** How often the file is looked at, in milliseconds: with the time to settle, within five seconds. */
const LOOK_EVERY_MS = 2000;
/** How long the file must stay the same until it counts as written to its end, in milliseconds. */
const SETTLE_MS = 1000;
/** What is said whatever is wrong. */
const UNCHANGED = "the routes from before go on";
/** Only listens, whether or not TLS is ready: its sockets are those of TCP. */
const SOCKETS: Transports = { ...PLAIN_TRANSPORTS, tls: PLAIN_TRANSPORTS.tcp };
/** Maximum number of routes that a line names. */
const MAX_NAMED = 20;
/** Maximum number of problems that a line names: a file may have as many as lines. */
const MAX_PROBLEMS = 100;
/** Maximum length of a problem, in characters: one may name every variable. */
const MAX_PROBLEM = 1000;

/** What {@linkcode Rewiring} works with. */
export interface RewiringOptions {
  /** What is rewired. */
  readonly forwarder: Forwarder;
  /** The file that is read. */
  readonly file: RoutesFile;
  /** Makes ready what routes are reached by. */
  readonly prepare: (routes: readonly Route[]) => Promise<Transports>;
  /** Where to write. */
  readonly log: Log;
  /** Ends it: nothing is rewired after that. */
  readonly signal: AbortSignal;
}

/** Keeps a forwarder wired as the file says. */
export class Rewiring {
  readonly #options: RewiringOptions;
  readonly #watched: WatchedFiles;
  readonly #rewires = { ok: 0, failed: 0 };
  #command: Command;
  /** Whether what was refused last may be right as it stands, and the cause lies elsewhere. */
  #mayPass = false;
  /** When the present routes took effect, in milliseconds since the epoch. */
  #since = Date.now();
  #flaw: ConnectError | undefined;

  /** Takes the command that came of the file as it was read at the start. */
  constructor(command: Command, options: RewiringOptions) {
    const { path, text } = options.file;
    this.#command = command;
    this.#options = options;
    this.#watched = new WatchedFiles(new Map([[path, text]]), {
      everyMs: LOOK_EVERY_MS,
      settleMs: SETTLE_MS,
      mayPass: () => this.#mayPass,
      take: async (texts) => await this.#take(texts.get(path) ?? ""),
      complain: (flaw) => this.#complain(flaw),
      mended: () => this.#mended(),
    });
  }

  /** What the present routes came from. */
  get command(): Command {
    return this.#command;
  }

  /** Looks at the file until the signal aborts. */
  async watch(): Promise<void> {
    await this.#watched.watch(this.#options.signal);
  }

  /** Looks at the file now: what it holds takes effect at once. */
  async look(): Promise<void> {
    await this.#watched.look(this.#options.signal);
  }

  /** Where the present routes came from. */
  report(): WiringReport {
    const { file: { path } } = this.#options;
    return { file: path, since: this.#since, rewires: { ...this.#rewires }, flaw: this.#flaw };
  }

  /** Rewires as the text says, or says why not. Nothing that a file holds ends a program that works. */
  async #take(text: string | Error): Promise<ConfigError | undefined> {
    const { forwarder, file: { path }, prepare, signal } = this.#options;
    let routes: readonly Route[] = [];
    try {
      const command = await this.#command.again(await routesFileOf(path, text));
      routes = command.routes;
      const transports = await prepare(routes);
      // With thousands of routes each part takes milliseconds: connections have their turn between them.
      await pause(0);
      if (signal.aborted) return undefined;
      this.#tell(command, await forwarder.rewire(routes, transports));
      this.#command = command;
      this.#flaw = undefined;
      this.#rewires.ok++;
      return undefined;
    } catch (error) {
      this.#mayPass = !(error instanceof CommandError);
      if (error instanceof AggregateError) return new ConfigError(problemsOf(error));
      // All that is wrong is said in one go: also what could not be bound if the rest were right.
      const understood = error instanceof CommandError ? error.routes : routes;
      const unbindable = forwarder.findUnbindable(understood, SOCKETS);
      return new ConfigError([...problemsOf(error), ...unbindable.flatMap(problemsOf)]);
    }
  }

  /** The last line of a change says that it is done, as `ready` does at the start. */
  #tell({ routes, ignored, warnings }: Command, { added, removed, changed }: Rewired): void {
    const { file: { path }, log } = this.#options;
    const before = this.#command;
    const known = new Set(before.warnings.map(({ message }) => message));
    for (const { event, setting, reason, message } of warnings) {
      if (!known.has(message)) log.warn(event, { setting, reason });
    }
    // A comment more moves all lines below it.
    const keyOf = ({ variable, reason }: Ignored): string =>
      variable.replace(/ line \d+$/, "") + reason;
    const knownIgnored = new Set(before.ignored.map(keyOf));
    for (const one of ignored) {
      if (!knownIgnored.has(keyOf(one))) logIgnored(log, one);
    }
    for (const route of [...added, ...changed]) logListening(log, route);
    log.info("rewired", {
      file: path,
      routes: routes.length,
      added: named(added),
      removed: named(removed),
      changed: named(changed),
    });
    if (added.length + removed.length + changed.length > 0) this.#since = Date.now();
  }

  #complain({ problems }: ConfigError): void {
    const { file: { path }, log } = this.#options;
    const hints = new Set(problems.map(({ hint }) => hint));
    // A hint stands behind all problems, and would seem to be for each of them.
    const [hint] = hints.size === 1 ? hints : [];
    const texts = problems.slice(0, MAX_PROBLEMS).map((problem) => {
      const { message } = problem;
      const text = hints.size === 1 || problem.hint === undefined
        ? message
        : `${message} (${problem.hint})`;
      return text.length > MAX_PROBLEM ? `${text.slice(0, MAX_PROBLEM)}…` : text;
    });
    const more = problems.length - texts.length;
    if (more > 0) texts.push(`and ${more} more`);
    this.#rewires.failed++;
    this.#flaw = { at: Date.now(), message: texts.join("\n") };
    const wayOut = hint === undefined ? UNCHANGED : `${hint}; ${UNCHANGED}`;
    log.error("rewire_failed", { file: path, error: texts.join("; "), hint: wayOut });
  }

  #mended(): void {
    const { file: { path }, log } = this.#options;
    this.#flaw = undefined;
    log.info("rewired", { file: path, routes: this.#command.routes.length });
  }
}

/** What an error says is wrong; warnings, which the start has shown, are not. */
function problemsOf(error: unknown): readonly Problem[] {
  if (error instanceof CommandError) return error.faults;
  if (error instanceof ConfigError) return error.problems;
  if (error instanceof AggregateError) return error.errors.flatMap(problemsOf);
  return [{
    message: error instanceof Error ? error.message : String(error),
    hint: hintOf(error),
  }];
}

/** `REDIS@[::]:6379,…`; undefined if there are none. */
function named(routes: readonly Route[]): string | undefined {
  if (routes.length === 0) return undefined;
  const names = routes.slice(0, MAX_NAMED).map((route) =>
    `${route.aliases.join("+") || route.listen.port}@${formatListen(route.listen)}`
  );
  const more = routes.length - names.length;
  return [...names, ...more > 0 ? [`and ${more} more`] : []].join(",");
}
