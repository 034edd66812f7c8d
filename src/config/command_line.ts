// The command line and the environment become one typed command, or every problem with them at once.
// Pure: it prints nothing and opens nothing.

import { doubtOf } from "../base/duration.ts";
import { ConfigError, hintOf, type Problem, reasonOf } from "../base/errors.ts";
import { nearest, plain, some } from "../base/text.ts";
import { pause } from "../base/time.ts";
import { readArguments } from "./arguments.ts";
import { textFlaw } from "./likely_meant.ts";
import { type Line, parseLine, textsOf } from "./line.ts";
import {
  type CommandName,
  commandsOf,
  isTime,
  OPTIONS,
  type Options,
  type OptionSpec,
  quoteValue,
  variableOf,
} from "./options.ts";
import { findUnknown, UNREADABLE, type Warning, warningOf } from "./own_variables.ts";
import { formatPath } from "./path.ts";
import {
  type Candidate,
  type Ignored,
  mergeRoutes,
  overlaps,
  type Route,
  routeName,
} from "./routes.ts";
import { type FileVariables, readRoutesLines, type RoutesFile } from "./routes_file.ts";
import { settingsOf } from "./settings.ts";
import type { Targets } from "./targets.ts";
import { checkTls, findTlsWarnings, type Given, type TlsUse } from "./tls_rules.ts";
import { findUdpWarnings } from "./udp_rules.ts";
import {
  aliasOf,
  type Environment,
  type FoundVariables,
  linkVariables,
  readVariables,
} from "./variables.ts";

/** A route where the value of an option stands: somebody has forgotten the value. */
const ROUTE = /^(?:[\d.]+:|\[[\da-f:.]+\]:)?\d{1,5}(?:\/\w+)?=\S*:\d/i;
/** Maximum number of times that are doubted aloud: nobody reads more. */
const MAX_DOUBTS = 20;

/** What the program was asked to do. */
export interface Command {
  /** `forward` where no command is named. */
  readonly name: CommandName | "help" | "version";
  /** Every option, from its argument, its variable or its default. */
  readonly options: Options;
  /** The options that were given, by their names. */
  readonly given: ReadonlyMap<string, Given>;
  /** Ordered by listen port. */
  readonly routes: readonly Route[];
  /** Targets that `wait` is to reach, and that no route leads to. */
  readonly bare: readonly Targets[];
  /** Variables that look like a route and are not forwarded, ordered by name. */
  readonly ignored: readonly Ignored[];
  /** What is worth a line, and stops nothing: settings without effect, or with more than is meant. */
  readonly warnings: readonly Warning[];
  /** The file that routes were read from too. */
  readonly file: RoutesFile | undefined;
  /**
   * The same with another content of the file of routes, or with why it can't be read. With thousands of
   * routes it takes several turns of the event loop, so that connections have theirs; one reading at a
   * time.
   *
   * @throws {CommandError} with every problem
   */
  readonly again: (file: RoutesFile | Problem) => Promise<Command>;
}

/** A command that can't be obeyed: every problem, and then the warnings. */
export class CommandError extends ConfigError {
  /** The problems alone. */
  readonly faults: readonly Problem[];
  /**
   * The routes that were understood, but those in the way of the status page, of which the faults speak.
   * None where the file of routes can't be read: it might switch off those of the environment.
   */
  readonly routes: readonly Route[];

  /** A setting without effect, such as a misspelt one, may be the cause of the rest. */
  constructor(
    faults: readonly Problem[],
    { warnings, routes = [] }: {
      readonly warnings: readonly Warning[];
      readonly routes?: readonly Route[];
    },
  ) {
    super([...faults, ...warnings]);
    this.faults = faults;
    this.routes = routes;
  }
}

/** What was asked, before any route is read. */
export interface Asked {
  /** `forward` where no command is named. */
  readonly name: Command["name"];
  /** Every option; one that is wrong has its default. */
  readonly options: Options;
  /** The command line. */
  readonly line: Line;
  /** The variables. */
  readonly environment: Environment;
  /** Those that may be routes; where routes are read once, all of them. */
  readonly variables: Environment;
  /** The options that were given, by their names. */
  readonly given: ReadonlyMap<string, Given>;
  /** What is wrong with the options. */
  readonly problems: readonly Problem[];
  /** Warnings of the options: those that have no effect, and variables of no option. */
  readonly warnings: readonly Warning[];
  /** What the last reading of the routes has found: the next one takes from it what is the same. */
  readonly last: { variables?: FoundVariables };
}

/** Reads the command and the options. What is wrong with them is kept for {@linkcode readCommand}. */
export function ask(args: readonly string[], environment: Environment): Asked {
  const line = parseLine(args);
  const problems: Problem[] = [];
  if (line.shown !== undefined) {
    const { options, given } = readOptions({ ...line, values: {} }, {}, []);
    const name = line.shown;
    const variables = environment;
    return { name, options, line, environment, variables, given, problems, warnings: [], last: {} };
  }
  const { name } = line;
  const { options, given } = readOptions(line, environment, problems);
  const variables = options.routes === undefined ? environment : linkVariables(environment);
  const asked = { name, options, line, environment, variables, given, problems, last: {} };
  if (name === "healthcheck") {
    // A container must not be restarted for anything that its health check has no use for.
    const faults = line.faults.map((fault): Warning => ({
      ...fault,
      event: "ignored",
      setting: name,
      reason: fault.message,
    }));
    return { ...asked, warnings: [...faults, ...findUnknown(environment, [])] };
  }
  problems.unshift(...line.faults);
  return { ...asked, warnings: findUnknown(environment, problems) };
}

/**
 * Reads the routes.
 *
 * @param file What the file of `--routes` holds, or why it can't be read.
 * @returns what to do; only `check`, and where there is a file `forward`, may have no route
 * @throws {CommandError} with every problem of all
 */
export function readCommand(asked: Asked, file?: RoutesFile | Problem): Command {
  const steps = reading(asked, file);
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

async function readCommandSlowly(asked: Asked, file: RoutesFile | Problem): Promise<Command> {
  const steps = reading(asked, file);
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
    await pause(0);
  }
}

/** The steps of {@linkcode readCommand}: with thousands of routes each takes milliseconds. */
function* reading(asked: Asked, file?: RoutesFile | Problem): Generator<undefined, Command> {
  const { name, options, line, environment, given, last } = asked;
  const again: Command["again"] = (other) => readCommandSlowly(asked, other);
  const problems = [...asked.problems];
  const warnings = [...asked.warnings];
  if (name === "help" || name === "version" || name === "healthcheck") {
    if (problems.length > 0) throw new CommandError(problems, { warnings });
    const nothing = { routes: [], bare: [], ignored: [], file: undefined };
    return { name, options, given, ...nothing, warnings, again };
  }
  const isClear = problems.length === 0;
  const listens = name !== "wait";
  const isReplaced = line.routes.length > 0;
  const { source: setting } = given.get("routes") ?? { source: "--routes" };
  if (isReplaced && options.routes !== undefined) problems.push(besideArguments(setting));
  const lines = readFile(file, problems);
  yield;
  const common = { ...options, settings: settingsOf(options), listens, problems };
  // Which variables are meant is not known where that can't be read: nothing is wrong with them yet.
  const isChosen = (["only", "ignore"] as const).every((option) =>
    options[option] !== undefined || !given.has(option)
  );
  const variables = readVariables(asked.variables, {
    ...common,
    problems: isChosen ? problems : [],
    isReplaced,
    file: isReplaced ? undefined : lines,
    before: last.variables,
  });
  const { holdsKey } = line;
  const { candidates, bare } = readArguments(line.routes, { ...common, holdsKey });
  // What is wrong before may be why the rest seems to be: a route that can't be read may be the one that
  // an option is for, and what was meant as a route may have been taken for the value of an option.
  const isRead = isClear && problems.length === 0;
  // What a file that can't be read names nobody knows.
  const missing = !isReplaced && (lines !== undefined || file === undefined)
    ? missingAliases([environment, lines?.variables], options)
    : [];
  yield;
  const status = listens && options.status
    ? { protocol: "tcp" as const, ...options.status }
    : undefined;
  const routes = mergeRoutes(isReplaced ? candidates : variables.candidates, {
    status,
    problems: isReplaced || isChosen ? problems : [],
    placeOf: lines?.placeOf,
  });
  yield;
  const { ignored } = variables;
  const isEmpty = routes.length + bare.length === 0;
  if (isRead && (!isEmpty || lines !== undefined)) {
    for (const fault of checkTls({ routes, bare, listens, options, given })) {
      // Where routes come and go, one may come that makes use of it.
      if ("event" in fault && lines !== undefined) warnings.push(fault);
      else problems.push({ message: fault.message, hint: fault.hint });
    }
  }
  // That nothing is left says it already.
  const isSaid = isEmpty && isRead && name !== "check" && (lines === undefined || !listens);
  warnings.push(...missing.filter(({ setting }) => !isSaid || setting !== "--only"));
  if (isEmpty && isRead) {
    const nothing = noRoute({ name, ignored, options });
    if (lines !== undefined && listens) {
      warnings.push({ ...nothing, event: "warning", setting, reason: nothing.message });
    } else if (name !== "check") {
      // This does not stop `check`: it still has to print what is ignored, and why.
      problems.push(nothing);
    }
  }
  if (problems.length > 0) {
    const isUnknown = file !== undefined && lines === undefined;
    const understood = isUnknown
      ? []
      : routes.filter(({ listen }) => status === undefined || !overlaps(listen, status));
    throw new CommandError(problems, { warnings, routes: understood });
  }
  if (listens) {
    const use = { routes, options, given };
    warnings.push(...findDoubts(asked, isReplaced ? candidates : variables.candidates));
    warnings.push(...findTrusting(routes), ...findUdpWarnings(use), ...findTlsWarnings(use));
  }
  const read = file !== undefined && "text" in file ? file : undefined;
  if (read?.mayEverybodyWrite) {
    const shown = formatPath(read.path);
    const reason = `everybody may write ${shown}: whoever does decides where clients are sent`;
    warnings.push({ event: "warning", setting, reason, message: `${setting}: ${reason}` });
  }
  last.variables = variables.found;
  return { name, options, given, routes, bare, ignored, warnings, file: read, again };
}

/**
 * The command line, the environment and the file of routes at once.
 *
 * @throws {CommandError} with every problem of all
 */
export function parseCommand(
  args: readonly string[],
  environment: Environment,
  file?: RoutesFile | Problem,
): Command {
  return readCommand(ask(args, environment), file);
}

/** The lines of the file, if there is one that can be read. */
function readFile(
  file: RoutesFile | Problem | undefined,
  problems: Problem[],
): FileVariables | undefined {
  if (file === undefined) return undefined;
  if ("text" in file) return readRoutesLines(file, problems);
  problems.push(file);
  return undefined;
}

/** Says that routes stand in two places of which one would replace the other. */
function besideArguments(source: string): Problem {
  const isVariable = !source.startsWith("--");
  return {
    message: `${source}: route arguments stand beside it, which would replace what it reads`,
    hint:
      (isVariable
        ? `set ${source} to an empty value for this command, `
        : "leave one of the two out, ") +
      "or write the route into the file: ALIAS_PORT_6379_TCP=tcp://HOST:PORT",
  };
}

/** Options, and those of them that were given. */
type ReadValues = Pick<TlsUse, "options" | "given">;

/** Each option from its argument, else its variable, else its default. */
function readOptions(line: Line, environment: Environment, problems: Problem[]): ReadValues {
  const given = new Map<string, Given>();
  const rows: readonly [string, OptionSpec][] = Object.entries(OPTIONS);
  const entries = rows.map(([key, spec]) => {
    const fallback = spec.default === undefined ? undefined : spec.kind.parse(spec.default);
    if (!commandsOf(spec).includes(line.name)) return [key, fallback];
    const own = textsOf(line.values, spec.name).slice(spec.list ? 0 : -1);
    // An empty variable is one that a compose file passed on unset.
    const value = environment[variableOf(spec.name)];
    const variable = value === "" && !spec.protects ? undefined : value;
    const [source, texts] = own.length > 0 || variable === undefined
      ? [`--${spec.name}`, own]
      : [variableOf(spec.name), [variable]];
    if (texts.length === 0) return [key, fallback];
    const isEmpty = texts.includes("");
    const text = texts.join(",");
    const doubt = isTime(spec) ? doubtOf(text) : undefined;
    given.set(spec.name, { source, isEmpty, ...(doubt === undefined ? {} : { doubt }) });
    try {
      if (own.some((one) => ROUTE.test(one))) {
        const shown = quoteValue(spec, text, line.holdsKey);
        const message = `${source} ${shown}: a route stands where its value is missing`;
        const hint = `write ${source} ${spec.kind.placeholder} before the route`;
        problems.push({ message, hint });
      } else if (isEmpty) {
        const ways = spec.default
          ? `leave it out, or say ${spec.default}`
          : "set it, or leave it out";
        const hint = spec.protects
          ? `${ways}; usually a \${VARIABLE} in it is not set`
          : own.length > 0 && spec.kind.alone === undefined
          ? `write --${spec.name} ${spec.kind.placeholder}`
          : undefined;
        problems.push({ message: `${source}: the value is missing`, hint });
      } else if (text === UNREADABLE) {
        problems.push({ message: `${source}: the value is not UTF-8` });
      } else {
        return [key, spec.kind.parse(text, source)];
      }
    } catch (error) {
      const holdsKey = own.length > 0 ? line.holdsKey : undefined;
      const shown = quoteValue(spec, text, holdsKey);
      const { message, hint } = explainValue(error, text);
      problems.push({ message: `${source} ${shown}: ${message}`, hint });
    }
    return [key, fallback];
  });
  return { options: Object.fromEntries(entries) as Options, given };
}

/** Why the value of an option can't be read: what has happened to it on its way is said first. */
function explainValue(error: unknown, text: string): Problem {
  const message = reasonOf(error);
  const flaw = textFlaw(text);
  if (flaw !== undefined) return flaw;
  if (/^\s|\s$/.test(text)) {
    return { message: "white space stands around it", hint: "leave it out" };
  }
  return { message, hint: hintOf(error) };
}

/** Bare numbers that were most likely meant as milliseconds. */
function findDoubts({ given }: Pick<Asked, "given">, candidates: readonly Candidate[]): Warning[] {
  const found = [...given.values()].flatMap(({ source, doubt }) =>
    doubt === undefined ? [] : [{ setting: source, reason: doubt }]
  );
  for (const { source, doubts = [] } of candidates) {
    found.push(...doubts.map((reason) => ({ setting: source, reason })));
  }
  return found.slice(0, MAX_DOUBTS).map(({ setting, reason }) => ({
    event: "warning",
    setting,
    reason,
    message: `${setting}: ${reason}`,
  }));
}

/** Says that there is nothing to forward, what was looked for, and what was found instead. */
export function noRoute(
  { name, ignored, options }: Pick<Command, "name" | "ignored" | "options">,
): Problem {
  const { only, routes: file } = options;
  const what = name === "wait" ? "wait for" : "forward";
  const looked = only === undefined
    ? "<ALIAS>_PORT_<port>_TCP (or _TLS, _UDP)"
    : some([...only].map((alias) => `${plain(alias)}_PORT_<port>_TCP`), " or ") +
      " (or _TLS, _UDP)";
  const left = some(ignored.map(({ variable, reason }) => `${plain(variable)}, ${reason}`), "; ");
  const where = file === undefined ? "" : `, and no line of ${formatPath(file.path)},`;
  const found = ignored.length === 0
    ? `is named ${looked}`
    : `named ${looked} is left (${ignored.length} ignored: ${left})`;
  const example = "for example REDIS_PORT_6379_TCP=tcp://192.0.2.10:6379";
  const others = only === undefined
    ? []
    : ignored.flatMap(({ variable }) => aliasOf(variable) ?? []);
  if (others.length > 0) {
    const here = some([...new Set(others)].map(plain), ", ");
    const message = `nothing to ${what}: no variable${where} ${found}`;
    return { message, hint: `--only takes what stands before _PORT_ in a name, here ${here}` };
  }
  // What was found says it.
  if (ignored.some(({ isMiss }) => isMiss)) {
    return { message: `nothing to ${what}: no variable${where} ${found}` };
  }
  const argument = name === "wait"
    ? "or name a target, wait redis:6379"
    : "or give a route as an argument, 6379=192.0.2.10:6379";
  return {
    message: `nothing to ${what}: no variable${where} ${found}`,
    hint: file === undefined
      ? `set one, ${example}, ${argument}; ` +
        "Docker 29 and later set no link variables on their own"
      : `write one into the file, ${example}`,
  };
}

/** Routes that believe what anybody announces. */
function findTrusting(routes: readonly Route[]): Warning[] {
  const trusting = routes.filter(({ settings }) => settings.acceptProxy.isEverybody);
  if (trusting.length === 0) return [];
  const names = some(trusting.map((route) => routeName(route, plain)), ", ");
  const setting = "--accept-proxy";
  const reason = `whoever reaches ${names} may announce any address, one that --allow names too`;
  return [{ event: "warning", setting, reason, message: `${setting}: ${reason}` }];
}

function missingAliases(
  [environment, lines]: readonly [Environment, FileVariables["variables"] | undefined],
  { only, ignore }: Options,
): Warning[] {
  if (only === undefined && ignore === undefined) return [];
  const names = [...Object.keys(environment), ...lines?.keys() ?? []];
  const aliases = new Set(names.map(aliasOf));
  return Object.entries({ only, ignore }).flatMap(([name, wanted]) =>
    [...wanted ?? []].filter((alias) => !aliases.has(alias)).map((alias, index) => {
      const known = index < MAX_DOUBTS ? [...aliases].filter((one) => one !== undefined) : [];
      const near = alias.length > 2 ? nearest(alias, known) : undefined;
      const meant = near === undefined ? "" : `; did you mean ${plain(near)}?`;
      return warningOf(`--${name}`, `no variable has the alias ${plain(alias)}${meant}`);
    })
  );
}
