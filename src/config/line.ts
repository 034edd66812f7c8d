// The words of the command line, taken apart: which command, which options with which texts, and which
// routes. It does not know what the texts mean, nor the environment.

import { parseArgs } from "@std/cli/parse-args";
import type { Problem } from "../base/errors.ts";
import { looksLikeKey } from "../base/text.ts";
import { isRoute } from "./arguments.ts";
import { type CommandName, COMMANDS, SPECS } from "./options.ts";
import { hasLongDash, isMistaken, isVariable, unknownOption, unknownWords } from "./unknown.ts";

/** The command line, taken apart but not yet understood. */
export interface Line {
  /** The command. */
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
const VALUED = SPECS.map(({ name }) => name);
/** What each option means that may stand without a value. */
const ALONE = new Map(SPECS.map(({ name, kind }) => [name, kind.alone]));
const KNOWN: readonly string[] = [...VALUED, ...FLAGS];
/** What is one more way to say an option that only some commands have. */
const INSTEAD: Readonly<Record<string, string>> = {
  format: "did you mean check --format, or --log-format?",
  probe: "did you mean check --probe?",
  timeout: "did you mean --connect-timeout or --idle-timeout?",
};
/** Takes the command line apart; what is wrong with it stands among its faults. */
export function parseLine(args: readonly string[]): Line {
  const faults: Problem[] = [];
  const holdsKey = args.some(looksLikeKey);
  const values: Line["values"] = parseArgs(readable(args, { faults, holdsKey }), {
    boolean: [...FLAGS],
    string: ["_", ...VALUED],
    collect: VALUED,
    alias: { h: "help", V: "version" },
  });
  const all = textsOf(values, "_");
  const dashes = args.indexOf("--");
  const end = dashes < 0 ? all.length : all.length - (args.length - dashes - 1);
  // Other programs that wait run what stands behind a --. One answer is enough for all of it, and any
  // word of it may be a secret.
  const program = all[end];
  const isProgram = all.slice(0, end).find(isCommand) === "wait" && program !== undefined &&
    (!program.includes(":") || isVariable(program));
  const words = isProgram ? all.slice(0, end) : all;
  if (isProgram) {
    const hint = "it starts no command: write ambassador wait redis:6379 && ./migrate";
    faults.push({ message: "wait: a command stands behind the --, not a target", hint });
  }
  const commands = words.filter(isCommand);
  const [name = "forward"] = commands;
  const [first = "", second = ""] = words.slice(0, end);
  const asked = isCommand(first) && isFlag(second) ? second : first;
  if (commands.length > 1) {
    faults.push({ message: `${commands.join(" and ")}: one command at a time` });
  }
  const routes: string[] = [];
  const unknown: string[] = [];
  const others = words.filter((word) => !isCommand(word));
  for (let index = 0; index < others.length; index++) {
    const word = others[index] ?? "";
    const next = others[index + 1] ?? "";
    if (/^[^=?]*=[\w.-]+$/.test(word) && /^\d{1,5}$/.test(next)) {
      unknown.push(word, next);
      index++;
      continue;
    }
    // What listens nowhere needs no more than the address that it connects to.
    const isMeant = name === "wait" && word.includes(":")
      ? !isRoute(word) || !isMistaken(word)
      : isRoute(word) && !isMistaken(word);
    (isMeant ? routes : unknown).push(word);
  }
  if (name === "healthcheck" && unknown.length > 0) {
    const hint = "it asks the status page: write --status ADDRESS:PORT";
    faults.push({ message: `healthcheck: takes nothing but options`, hint });
  } else {
    faults.push(...unknownWords(unknown, { holdsKey, name }));
  }
  for (const { name: option, commands } of SPECS) {
    if (commands === undefined || commands.includes(name)) continue;
    if (textsOf(values, option).length === 0) continue;
    const hint = INSTEAD[option];
    faults.push({ message: `--${option}: only for ${commands.join(" and ")}`, hint });
  }
  if (name === "healthcheck" && routes.length > 0) {
    faults.push({ message: "healthcheck: takes no routes" });
  }
  const shown = FLAGS.find((flag) => values[flag] === true || asked === flag);
  return { name, shown, routes, values, faults, holdsKey };
}

/** The texts of an option, or of `_`, in their order. */
export function textsOf(values: Line["values"], name: string): readonly string[] {
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
    const isOption =
      (argument.length > 1 && argument.startsWith("-") && !/^-[hV]$/.test(argument)) ||
      hasLongDash(argument);
    const isBare = VALUED.includes(name) && !argument.includes("=");
    const alone = ALONE.get(name);
    if (isBare && alone !== undefined) {
      result.push(`${argument}=${alone}`);
    } else if (isBare && /^(?:-\d|-----|$)/.test(args[index + 1] ?? "x")) {
      result.push(`${argument}=${args[++index]}`);
    } else if (isOption && !KNOWN.includes(name)) {
      // Once is enough of `-d -d`.
      if (args.indexOf(argument) === index) {
        faults.push(unknownOption(argument, { known: KNOWN, holdsKey }));
      }
      // The next word is probably its value, which may be a secret: it is not read as anything else.
      const next = args[index + 1] ?? "-";
      const isOfDocker = isVariable(next) && /^--?e(?:nv)?$/.test(argument);
      if (isOfDocker || (!argument.includes("=") && !/^-|=/.test(next) && !isCommand(next))) {
        index++;
      }
    } else {
      result.push(argument);
    }
  }
  return [...result, ...args.slice(end)];
}

function isCommand(word: string): word is typeof COMMANDS[number] {
  return COMMANDS.some((command) => command === word);
}

/** Whether a word is what people write for an option that only shows something. */
function isFlag(word: string): boolean {
  return FLAGS.some((flag) => flag === word);
}
