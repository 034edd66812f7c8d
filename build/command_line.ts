// What a shell or a man page has to know of the command line: its commands, the options of each, and
// what may follow an option. All of it comes from the table of options and from the help. It knows no
// shell and no format.

import { usage } from "../src/config/help.ts";
import { type CommandName, COMMANDS, type OptionSpec, SPECS } from "../src/config/options.ts";

/** What follows an option: nothing, one of some words, a file, or any text. */
export type Value =
  | { readonly kind: "none" }
  | { readonly kind: "words"; readonly words: readonly string[] }
  | { readonly kind: "file" }
  | { readonly kind: "text"; readonly placeholder: string };

/** The options that no table has: they only print something. */
export const PRINTING = [
  { name: "help", letter: "h", help: "print this" },
  { name: "version", letter: "V", help: "print the version" },
] as const;

/** Every command, first the one that needs no word. */
export const ALL_COMMANDS: readonly CommandName[] = ["forward", ...COMMANDS];

/** The options that a command reads. */
export function optionsOf(command: CommandName): readonly OptionSpec[] {
  return SPECS.filter((spec) => commandsOf(spec).includes(command));
}

/** The commands that read an option. */
export function commandsOf({ commands }: OptionSpec): readonly CommandName[] {
  return commands ?? ALL_COMMANDS.filter((command) => command !== "healthcheck");
}

/** What follows an option. */
export function valueOf({ kind }: OptionSpec): Value {
  if (kind.alone !== undefined) return { kind: "none" };
  if (kind.choices !== undefined) return { kind: "words", words: kind.choices };
  if (kind.placeholder === "FILE") return { kind: "file" };
  return { kind: "text", placeholder: kind.placeholder };
}

/** The help, taken apart. */
export interface Help {
  /** What the program does, in a line without its name. */
  readonly purpose: string;
  /** Each way to call it, with what that does. */
  readonly calls: readonly { readonly call: string; readonly help: string }[];
  /** Paragraphs that explain; a line that is indented is an item, and goes on by itself. */
  readonly explanation: readonly string[];
  /** Commands to try. */
  readonly examples: readonly string[];
  /** How a time is written. */
  readonly times: string;
  /** Each exit status, such as `130 or 143`, with its meaning. */
  readonly statuses: readonly { readonly status: string; readonly help: string }[];
}

/**
 * Takes the help apart.
 *
 * @throws {Error} if it is built in another way than it was
 */
export function readHelp(text: string = usage()): Help {
  const [head = "", calls = "", ...more] = text.trim().split("\n\n");
  const at = more.findIndex((block) => block.startsWith("Examples:\n"));
  const options = more.findIndex((block) => block.startsWith("Options"));
  const last = more.at(-1)?.replaceAll("\n", " ") ?? "";
  const [, times, statuses] = /^(Times .*\.) Exit status: (.*)\.$/.exec(last) ?? [];
  const purpose = /^ambassador: (.*)$/.exec(head)?.[1];
  if (!purpose || at < 0 || options < at || !times || !statuses) {
    throw new Error("the help is built in another way: build/command_line.ts can't read it");
  }
  return {
    purpose,
    calls: calls.split("\n").map((line) => {
      const [, call = "", help = ""] = /^ {2}(\S.*?)(?: {2,}(.*))?$/.exec(line) ?? [];
      return { call, help };
    }),
    explanation: more.slice(0, at),
    examples: more.slice(at, options).join("\n").split("\n").slice(1).map((line) => line.trim()),
    times,
    statuses: readStatuses(statuses),
  };
}

/** `0 all is well, 1 some, 2 or 3 none` → each with its meaning. */
function readStatuses(text: string): Help["statuses"] {
  const parts = text.split(/(?:^|,? )(\d+(?: or \d+)?) /).slice(1);
  return parts.flatMap((status, index) =>
    index % 2 === 0 ? [{ status, help: parts[index + 1] ?? "" }] : []
  );
}

/** What a command does, in the words of the help. */
export function helpOf(command: CommandName): string {
  const word = command === "forward" ? "[OPTIONS]" : command;
  const found = readHelp().calls.find(({ call }) => call.startsWith(`ambassador ${word} `));
  if (found === undefined) throw new Error(`the help does not name the command ${command}`);
  return found.help;
}
