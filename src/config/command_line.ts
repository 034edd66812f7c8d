// The command line and the environment become one typed command, or every problem with them at once.
// Pure: it prints nothing and opens nothing.

import { parseArgs } from "@std/cli/parse-args";
import { ConfigError, type Problem } from "../base/errors.ts";
import { OPTIONS, type Options, type OptionSpec, variableOf } from "./options.ts";
import {
  aliasOf,
  type Environment,
  parseRouteArguments,
  parseRoutes,
  type Routes,
  settingsOf,
} from "./routes.ts";
import { nearest, plain, prefixFinder, quoteInput } from "../base/text.ts";

/** The commands beside plain forwarding. */
export const COMMANDS = ["check", "wait", "healthcheck"] as const;

/** A setting that has no effect. */
export interface Warning {
  /** The variable or the option, as it stands. */
  readonly setting: string;
  /** Why it has no effect. */
  readonly reason: string;
}

/** What the program was asked to do. */
export interface Command extends Routes {
  /** `forward` where no command is named. */
  readonly name: "forward" | "help" | "version" | typeof COMMANDS[number];
  /** Every option, from its argument, its variable or its default. */
  readonly options: Options;
  /** Settings that have no effect. */
  readonly warnings: readonly Warning[];
}

/** A warning as a line to the person. */
export function problemOf({ setting, reason }: Warning): Problem {
  return { message: `${plain(setting)}: ${reason}` };
}

const SPECS: readonly OptionSpec[] = Object.values(OPTIONS);

/**
 * Parses the command line and the environment.
 *
 * @returns what to do; only `check` may have no route
 * @throws {ConfigError} with every problem of both, and then the settings that have no effect
 */
export function parseCommand(args: readonly string[], environment: Environment): Command {
  const problems: Problem[] = [];
  const line = parseLine(args, problems);
  if (line.help || line.version) {
    const options = readOptions(line, {}, []);
    const name = line.help ? "help" : "version";
    return { name, options, routes: [], ignored: [], warnings: [] };
  }
  const options = readOptions(line, environment, problems);
  const settings = settingsOf(options);
  const routes = attempt(() => {
    if (line.command === "healthcheck") return { routes: [], ignored: [] };
    if (line.routes.length > 0) {
      return {
        routes: parseRouteArguments(line.routes, { bind: options.bind, settings }),
        ignored: [],
      };
    }
    return parseRoutes(environment, { ...options, settings });
  }, problems);
  // On its own this does not stop `check`: it still has to print what is ignored, and why.
  const isFatal = line.command !== "healthcheck" &&
    (line.command !== "check" || problems.length > 0);
  if (routes?.routes.length === 0 && isFatal) {
    problems.push(noRoute({ ignored: routes.ignored, options }));
  }
  const readsVariables = line.routes.length === 0 && line.command !== "healthcheck";
  const warnings = [
    ...unknownVariables(environment),
    ...(readsVariables ? missingAliases(environment, options) : []),
  ];
  if (routes === undefined || problems.length > 0) {
    // A setting without effect, such as a misspelt one, may be the cause of the rest.
    throw new ConfigError([...problems, ...warnings.map(problemOf)]);
  }
  return { name: line.command ?? "forward", options, ...routes, warnings };
}

/** The command line, taken apart but not yet understood. */
interface Line {
  readonly command: typeof COMMANDS[number] | undefined;
  readonly help: boolean;
  readonly version: boolean;
  /** `LISTEN=TARGET` arguments. */
  readonly routes: readonly string[];
  /** Text by option name. */
  readonly values: Readonly<Record<string, unknown>>;
}

function parseLine(args: readonly string[], problems: Problem[]): Line {
  // Most ambassadors are started without a single argument.
  if (args.length === 0) {
    return { command: undefined, help: false, version: false, routes: [], values: {} };
  }
  const values = parseArgs(knownArguments(joinValues(args), problems), {
    boolean: BOOLEANS,
    string: ["_", ...SPECS.map((spec) => spec.name)],
    alias: { h: "help" },
  });
  const words = values._.map(String);
  const commands = words.filter(isCommand);
  const [command] = commands;
  if (commands.length > 1) {
    problems.push({ message: `${commands.join(" and ")}: one command at a time` });
  }
  const isRest = (word: string): boolean => !word.includes("=") && !isCommand(word);
  for (const word of words.filter(isRest)) problems.push(unknownWord(word));
  for (const spec of SPECS) {
    if (values[spec.name] === undefined || belongs(spec, command)) continue;
    problems.push({ message: `--${spec.name}: only for ${spec.commands?.join(" and ")}` });
  }
  const routes = words.filter((word) => word.includes("="));
  if (command === "healthcheck" && routes.length > 0) {
    problems.push({ message: "healthcheck: takes no routes" });
  }
  return { command, help: values.help, version: values.version, routes, values };
}

const BOOLEANS = ["help", "version"] as const;

/**
 * Joins an option to a value that would not be taken for one, `--drain-timeout -5s` or `--only ""`, so
 * that what is wrong with it is said of the option and not of three other things.
 */
function joinValues(args: readonly string[]): readonly string[] {
  const options = SPECS.map((spec) => `--${spec.name}`);
  const end = args.indexOf("--");
  const isValue = (text: string | undefined): boolean =>
    text !== undefined && /^(?:-\d|$)/.test(text);
  const hasValue = (index: number): boolean =>
    options.includes(args[index] ?? "") && isValue(args[index + 1]) && (end < 0 || index < end);
  return args.flatMap((argument, index) =>
    hasValue(index) ? `${argument}=${args[index + 1]}` : hasValue(index - 1) ? [] : argument
  );
}

/** Leaves unknown options out, so that nobody has to guess whether the next word is their value. */
function knownArguments(args: readonly string[], problems: Problem[]): string[] {
  const known: readonly string[] = [...SPECS.map((spec) => spec.name), ...BOOLEANS];
  const end = args.indexOf("--");
  return args.filter((argument, index) => {
    const isOption = argument.length > 1 && argument.startsWith("-");
    if (!isOption || argument === "-h" || (end >= 0 && index >= end)) return true;
    const name = /^--([^=]*)/.exec(argument)?.[1];
    if (name !== undefined && known.includes(name)) return true;
    problems.push(unknownOption(argument));
    return false;
  });
}

function isCommand(word: string): word is typeof COMMANDS[number] {
  return COMMANDS.some((command) => command === word);
}

function unknownOption(argument: string): Problem {
  // The value may hold a secret. Without a name that ends, any part of it may.
  const name = /^-[^=:@]*(?==|$)/.exec(argument)?.[0] ?? argument;
  const near = nearest(name.replace(/^-+/, ""), [...SPECS.map((spec) => spec.name), ...BOOLEANS]);
  const hint = near === undefined
    ? "ambassador --help lists the options"
    : `did you mean --${near}?`;
  return { message: `${quoteInput(name)}: no such option`, hint };
}

function unknownWord(word: string): Problem {
  const near = nearest(word, COMMANDS);
  return {
    message: `${quoteInput(word)}: neither a command nor a route`,
    hint: near === undefined
      ? "a route is written LISTEN=TARGET, for example 6379=redis:6379"
      : `did you mean ${near}?`,
  };
}

function belongs({ commands }: OptionSpec, command: string | undefined): boolean {
  return commands === undefined || commands.includes(command ?? "");
}

/** Each option from its argument, else its variable, else its default. */
function readOptions(line: Line, environment: Environment, problems: Problem[]): Options {
  const entries = Object.entries(OPTIONS).map(([key, spec]: [string, OptionSpec]) => {
    const fallback = spec.default === undefined ? emptyOf(key) : spec.parse(spec.default);
    const argument = line.values[spec.name];
    const variable = variableOf(spec);
    // An empty variable is one that a compose file passed on unset.
    const inherited = belongs(spec, line.command) ? environment[variable] || undefined : undefined;
    const text = argument === undefined ? inherited : String(argument);
    if (text === undefined) return [key, fallback];
    const source = argument === undefined ? variable : `--${spec.name}`;
    const value = attempt(
      () => {
        if (text === "") throw new SyntaxError("the value is missing");
        return spec.parse(text);
      },
      problems,
      text === "" ? source : `${source} ${quoteInput(text)}`,
    );
    return [key, value ?? fallback];
  });
  return Object.fromEntries(entries) as Options;
}

function emptyOf(key: string): ReadonlySet<string> | undefined {
  return key === "ignore" ? new Set() : undefined;
}

/** The result of `act`; where it throws what is wrong with the input, undefined and a problem. */
function attempt<T>(act: () => T, problems: Problem[], subject?: string): T | undefined {
  try {
    return act();
  } catch (error) {
    if (error instanceof ConfigError) problems.push(...error.problems);
    else if (error instanceof SyntaxError || error instanceof RangeError) {
      problems.push({ message: `${subject}: ${error.message}` });
    } else throw error;
    return undefined;
  }
}

/** Says that there is nothing to forward, what was looked for, and what was found instead. */
export function noRoute({ ignored, options }: Pick<Command, "ignored" | "options">): Problem {
  const { only } = options;
  const looked = only === undefined
    ? "<ALIAS>_PORT_<port>_TCP"
    : some([...only].map((alias) => `${plain(alias)}_PORT_<port>_TCP`), " or ");
  const left = some(ignored.map(({ variable, reason }) => `${plain(variable)}, ${reason}`), "; ");
  return {
    message: ignored.length === 0
      ? `nothing to forward: no variable is named ${looked}`
      : `nothing to forward: no variable named ${looked} is left (${ignored.length} ignored: ${left})`,
    hint: "set one, for example REDIS_PORT_6379_TCP=tcp://192.0.2.10:6379, or give a route as an " +
      "argument, 6379=192.0.2.10:6379; Docker 29 and later set no link variables on their own",
  };
}

/** The first few of a list that may be long. */
function some(texts: readonly string[], separator: string): string {
  return [...texts.slice(0, 5), ...(texts.length > 5 ? ["…"] : [])].join(separator);
}

/** What Docker and Kubernetes make of a service that is itself called ambassador. */
const OWN_SERVICE = /^AMBASSADOR_(?:PORT|SERVICE_|NAME$|ENV_)/;

function unknownVariables(environment: Environment): Warning[] {
  const known = SPECS.map(variableOf);
  const names = Object.keys(environment).filter((name) => name.startsWith("AMBASSADOR_")).sort();
  // Services whose names only begin with "ambassador" bring their own link variables.
  const aliases = names.flatMap((name) => aliasOf(name) ?? []);
  const findLink = prefixFinder(aliases.filter((alias) => alias !== "AMBASSADOR"));
  // What all of them begin with says nothing about which is the nearest.
  const start = "AMBASSADOR_".length;
  const options = known.map((variable) => variable.slice(start));
  return names
    .filter((name) => !known.includes(name) && !OWN_SERVICE.test(name))
    .filter((name) => findLink(name.toUpperCase(), "_") === undefined)
    .map((name) => {
      const near = nearest(name.slice(start), options);
      const hint = near === undefined
        ? `the nearest is AMBASSADOR_${nearest(name.slice(start), options, Infinity)}`
        : `did you mean AMBASSADOR_${near}?`;
      return { setting: name, reason: `no such option; ${hint}` };
    });
}

function missingAliases(environment: Environment, { only, ignore }: Options): Warning[] {
  const aliases = new Set(Object.keys(environment).map(aliasOf));
  const missing = (name: string, wanted: Iterable<string>): Warning[] =>
    [...wanted].filter((alias) => !aliases.has(alias)).map((alias) => ({
      setting: `--${name}`,
      reason: `no variable has the alias ${plain(alias)}`,
    }));
  return [...missing("only", only ?? []), ...missing("ignore", ignore)];
}
