// The command line and the environment become one typed command, or every problem with them at once.
// Pure: it prints nothing and opens nothing.

import { parseArgs } from "@std/cli/parse-args";
import { ConfigError, type Problem, reasonOf } from "../base/errors.ts";
import { looksLikeKey, nearest, plain, quoteInput, some } from "../base/text.ts";
import { isRoute, readArguments } from "./arguments.ts";
import { FLAGS_NOT_YET, NOT_YET, OPTIONS_NOT_YET } from "./not_yet.ts";
import {
  type CommandName,
  COMMANDS,
  OPTIONS,
  type Options,
  type OptionSpec,
  quoteValue,
  SPECS,
  variableOf,
} from "./options.ts";
import { findUnknown, UNREADABLE, type Warning, warningOf } from "./own_variables.ts";
import { type Ignored, mergeRoutes, type Route, routeName } from "./routes.ts";
import { settingsOf } from "./settings.ts";
import type { Targets } from "./targets.ts";
import { checkTls, findTlsWarnings, type Given, type TlsUse } from "./tls_rules.ts";
import { aliasOf, type Environment, readVariables } from "./variables.ts";

/** What the program was asked to do. */
export interface Command {
  /** `forward` where no command is named. */
  readonly name: CommandName | "help" | "version";
  /** Every option, from its argument, its variable or its default. */
  readonly options: Options;
  /** Ordered by listen port. */
  readonly routes: readonly Route[];
  /** Targets that `wait` is to reach, and that no route leads to. */
  readonly bare: readonly Targets[];
  /** Variables that look like a route and are not forwarded, ordered by name. */
  readonly ignored: readonly Ignored[];
  /** Settings that have no effect. */
  readonly warnings: readonly Warning[];
}

/**
 * Parses the command line and the environment.
 *
 * @returns what to do; only `check` may have no route
 * @throws {ConfigError} with every problem of both, and then the settings that have no effect
 */
export function parseCommand(args: readonly string[], environment: Environment): Command {
  const line = parseLine(args);
  const nothing = { routes: [], bare: [], ignored: [], warnings: [] };
  if (line.shown !== undefined) {
    return { ...nothing, name: line.shown, options: readOptions(line, {}, []).options };
  }
  const { name } = line;
  const problems: Problem[] = [];
  const { options, given } = readOptions(line, environment, problems);
  if (name === "healthcheck") {
    // A container must not be restarted for anything that its health check has no use for.
    const faults = line.faults.map((fault): Warning => ({
      ...fault,
      event: "ignored",
      setting: name,
      reason: fault.message,
    }));
    const warnings = [...faults, ...findUnknown(environment, [])];
    if (problems.length > 0) throw new ConfigError([...problems, ...warnings]);
    return { ...nothing, name, options, warnings };
  }
  problems.unshift(...line.faults);
  const warnings = [...findUnknown(environment, problems)];
  const listens = name !== "wait";
  const reading = { ...options, settings: settingsOf(options), listens, problems };
  const isReplaced = line.routes.length > 0;
  const before = problems.length;
  const variables = readVariables(environment, { ...reading, isReplaced });
  const isEmpty = !isReplaced && variables.candidates.length === 0 && problems.length === before;
  const { holdsKey } = line;
  const { candidates, bare } = readArguments(line.routes, { ...reading, holdsKey });
  const isRead = problems.length === before;
  if (!isReplaced) warnings.push(...missingAliases(environment, options));
  const routes = mergeRoutes(isReplaced ? candidates : variables.candidates, {
    status: options.status && listens ? { protocol: "tcp", ...options.status } : undefined,
    problems,
  });
  // A route that can't be read may be the one that an option is for.
  if (isRead && routes.length + bare.length > 0) {
    problems.push(...checkTls({ routes, bare, listens, options, given }));
  }
  const { ignored } = variables;
  // On its own this does not stop `check`: it still has to print what is ignored, and why.
  if (isEmpty && (name !== "check" || problems.length > 0)) {
    problems.push(noRoute({ ignored, options }));
  }
  // A setting without effect, such as a misspelt one, may be the cause of the rest.
  if (problems.length > 0) throw new ConfigError([...problems, ...warnings]);
  if (listens) {
    warnings.push(...findTrusting(routes), ...findTlsWarnings({ routes, options, given }));
  }
  return { name, options, routes, bare, ignored, warnings };
}

/** The command line, taken apart but not yet understood. */
interface Line {
  readonly name: CommandName;
  /** What is only to be shown, whatever else is there. */
  readonly shown: "help" | "version" | undefined;
  /** `LISTEN=TARGET` arguments, and of `wait` bare targets. */
  readonly routes: readonly string[];
  /** The texts of each option, by its name. */
  readonly values: Readonly<Record<string, unknown>>;
  /** Whether a word looks like a key. A shell may have cut it, and some words of it may be short. */
  readonly holdsKey: boolean;
  /** What is wrong with it: problems, or no more than warnings where the command has no use for it. */
  readonly faults: readonly Problem[];
}

const FLAGS = ["help", "version"] as const;
const VALUED = [...SPECS.map(({ name }) => name), ...OPTIONS_NOT_YET];
/** What each option means that may stand without a value. */
const ALONE = new Map(SPECS.map(({ name, kind }) => [name, kind.alone]));
const KNOWN: readonly string[] = [...VALUED, ...FLAGS, ...FLAGS_NOT_YET];

function parseLine(args: readonly string[]): Line {
  const faults: Problem[] = [];
  const holdsKey = args.some(looksLikeKey);
  const values: Line["values"] = parseArgs(readable(args, { faults, holdsKey }), {
    boolean: [...FLAGS, ...FLAGS_NOT_YET],
    string: ["_", ...VALUED],
    collect: VALUED,
    alias: { h: "help", V: "version" },
  });
  const words = textsOf(values, "_");
  const commands = words.filter(isCommand);
  const [name = "forward"] = commands;
  if (commands.length > 1) {
    faults.push({ message: `${commands.join(" and ")}: one command at a time` });
  }
  const routes: string[] = [];
  for (const word of words.filter((word) => !isCommand(word))) {
    // What listens nowhere needs no more than the address that it connects to.
    if (isRoute(word) || (name === "wait" && word.includes(":"))) routes.push(word);
    else faults.push(unknownWord(word, holdsKey));
  }
  for (const option of [...OPTIONS_NOT_YET, ...FLAGS_NOT_YET]) {
    if (textsOf(values, option).some((text) => text !== "false")) {
      faults.push({ message: `--${option}: ${NOT_YET}` });
    }
  }
  for (const { name: option, commands } of SPECS) {
    if (commands === undefined || commands.includes(name)) continue;
    if (textsOf(values, option).length === 0) continue;
    faults.push({ message: `--${option}: only for ${commands.join(" and ")}` });
  }
  if (name === "healthcheck" && routes.length > 0) {
    faults.push({ message: "healthcheck: takes no routes" });
  }
  const shown = FLAGS.find((flag) => values[flag] === true);
  return { name, shown, routes, values, faults, holdsKey };
}

/** The texts of an option, or of `_`, in their order. */
function textsOf(values: Line["values"], name: string): readonly string[] {
  return [values[name] ?? []].flat().map(String);
}

/**
 * What `parseArgs` can read without a guess. It leaves unknown options out: the next word may be their
 * value or not. It joins an option to a value that would not be taken for one, `--drain-timeout -5s` or
 * `--only ""`, so that what is wrong with it is said of the option and not of three other things. One
 * that needs no value is given the one that it stands for.
 */
function readable(
  args: readonly string[],
  { faults, holdsKey }: Pick<Line, "holdsKey"> & { readonly faults: Problem[] },
): string[] {
  const result: string[] = [];
  const end = args.includes("--") ? args.indexOf("--") : args.length;
  for (let index = 0; index < end; index++) {
    const argument = args[index] ?? "";
    const name = /^--([^=]*)/.exec(argument)?.[1] ?? "";
    const isOption = argument.length > 1 && argument.startsWith("-") && !/^-[hV]$/.test(argument);
    const isBare = VALUED.includes(name) && !argument.includes("=");
    const alone = ALONE.get(name);
    if (isBare && alone !== undefined) {
      result.push(`${argument}=${alone}`);
    } else if (isBare && /^(?:-\d|-----|$)/.test(args[index + 1] ?? "x")) {
      result.push(`${argument}=${args[++index]}`);
    } else if (isOption && !KNOWN.includes(name)) {
      faults.push(unknownOption(argument, holdsKey));
      // The next word is probably its value, which may be a secret: it is not read as anything else.
      const next = args[index + 1] ?? "-";
      if (!argument.includes("=") && !/^-|=/.test(next) && !isCommand(next)) index++;
    } else {
      result.push(argument);
    }
  }
  return [...result, ...args.slice(end)];
}

function unknownOption(argument: string, holdsKey: boolean): Problem {
  // The value may hold a secret. Without a name that ends, any part of it may.
  const short = /^-[^-][^=]/.test(argument) ? `${argument.slice(0, 2)}…` : argument;
  const name = /^--?[^=:@]*(?==|$)/.exec(short)?.[0] ?? short;
  const near = looksLikeKey(argument) ? undefined : nearest(name.replace(/^-+/, ""), KNOWN);
  return {
    message: `${quoteInput(name, holdsKey)}: no such option`,
    hint: near ? `did you mean --${near}?` : "ambassador --help lists the options",
  };
}

function isCommand(word: string): word is typeof COMMANDS[number] {
  return COMMANDS.some((command) => command === word);
}

function unknownWord(word: string, holdsKey: boolean): Problem {
  const near = holdsKey ? undefined : nearest(word, COMMANDS);
  const example = "a route is written LISTEN=TARGET, for example 6379=redis:6379";
  return {
    message: `${quoteInput(word, holdsKey)}: neither a command nor a route`,
    hint: near ? `did you mean ${near}?` : example,
  };
}

function isReadBy({ commands }: OptionSpec, name: CommandName): boolean {
  return commands === undefined ? name !== "healthcheck" : commands.includes(name);
}

/** Options, and those of them that were given. */
type ReadValues = Pick<TlsUse, "options" | "given">;

/** Each option from its argument, else its variable, else its default. */
function readOptions(line: Line, environment: Environment, problems: Problem[]): ReadValues {
  const given = new Map<string, Given>();
  const rows: readonly [string, OptionSpec][] = Object.entries(OPTIONS);
  const entries = rows.map(([key, spec]) => {
    const fallback = spec.default === undefined ? undefined : spec.kind.parse(spec.default);
    if (!isReadBy(spec, line.name)) return [key, fallback];
    const own = textsOf(line.values, spec.name).slice(spec.list ? 0 : -1);
    // An empty variable is one that a compose file passed on unset.
    const value = environment[variableOf(spec.name)];
    const variable = value === "" && !spec.protects ? undefined : value;
    const [source, texts] = own.length > 0 || variable === undefined
      ? [`--${spec.name}`, own]
      : [variableOf(spec.name), [variable]];
    if (texts.length === 0) return [key, fallback];
    const isEmpty = texts.includes("");
    given.set(spec.name, { source, isEmpty });
    const text = texts.join(",");
    try {
      if (isEmpty) {
        const ways = spec.default
          ? `leave it out, or say ${spec.default}`
          : "set it, or leave it out";
        const hint = spec.protects && `${ways}; usually a \${VARIABLE} in it is not set`;
        problems.push({ message: `${source}: the value is missing`, hint });
      } else if (text === UNREADABLE) {
        problems.push({ message: `${source}: the value is not UTF-8` });
      } else {
        return [key, spec.kind.parse(text, source)];
      }
    } catch (error) {
      const holdsKey = own.length > 0 ? line.holdsKey : undefined;
      const shown = quoteValue(spec, text, holdsKey);
      problems.push({ message: `${source} ${shown}: ${reasonOf(error)}` });
    }
    return [key, fallback];
  });
  return { options: Object.fromEntries(entries) as Options, given };
}

/** Says that there is nothing to forward, what was looked for, and what was found instead. */
export function noRoute({ ignored, options }: Pick<Command, "ignored" | "options">): Problem {
  const { only } = options;
  const looked = only === undefined
    ? "<ALIAS>_PORT_<port>_TCP (or _TLS)"
    : some([...only].map((alias) => `${plain(alias)}_PORT_<port>_TCP`), " or ") + " (or _TLS)";
  const left = some(ignored.map(({ variable, reason }) => `${plain(variable)}, ${reason}`), "; ");
  const found = ignored.length === 0
    ? `is named ${looked}`
    : `named ${looked} is left (${ignored.length} ignored: ${left})`;
  return {
    message: `nothing to forward: no variable ${found}`,
    hint: "set one, for example REDIS_PORT_6379_TCP=tcp://192.0.2.10:6379, or give a route as an " +
      "argument, 6379=192.0.2.10:6379; Docker 29 and later set no link variables on their own",
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

function missingAliases(environment: Environment, { only, ignore }: Options): Warning[] {
  const aliases = new Set(Object.keys(environment).map(aliasOf));
  return Object.entries({ only, ignore }).flatMap(([name, wanted]) =>
    [...wanted ?? []].filter((alias) => !aliases.has(alias)).map((alias) =>
      warningOf(`--${name}`, `no variable has the alias ${plain(alias)}`)
    )
  );
}
