// Writes the man page, dist/ambassador.1. Its words are those of the help and of the table of options;
// only what the help has no room for, signals and where to read on, stands here.

import config from "../deno.json" with { type: "json" };
import {
  CALLS,
  EXAMPLES,
  EXPLANATION,
  PRINTING,
  PRINTING_CALL,
  PURPOSE,
  STATUSES,
  TIMES,
} from "../src/config/help.ts";
import { type OptionSpec, SPECS, variableOf } from "../src/config/options.ts";
import { buildTimeMs } from "./time.ts";

/** What a signal does, as in docs/reference.md. */
const SIGNALS: readonly (readonly [string, string])[] = [
  [
    "SIGTERM, SIGINT",
    "Stop: go on accepting for --drain-delay, then accept no more, let open connections finish for " +
    "--drain-timeout, and close the rest. A second one ends at once. The other commands end at the " +
    "first.",
  ],
  [
    "SIGHUP",
    "Read the file of --routes and the TLS files again, where there are such files. Elsewhere it " +
    "ends the program on a terminal, and does nothing under nohup or in a service.",
  ],
];

const SEE_ALSO = `\
.SH "SEE ALSO"
.BR socat (1),
.BR haproxy (1)
.PP
The documentation that comes with the sources: README.md,
and docs/reference.md for every option at length.
`;

/** What stands in the page beside the words of the help. */
export interface ManualOptions {
  /** The version of the program. */
  readonly version: string;
  /** The day that stands in the footer, as `2026-11-27`. */
  readonly date: string;
}

/** The text of the man page, in the macros of man(7). */
export function manual({ version, date }: ManualOptions): string {
  const calls = Object.values(CALLS);
  const synopsis = [...calls.map(({ call }) => call), PRINTING_CALL]
    .map((call) => `.B ${escape(call)}`).join("\n.br\n");
  const commands = calls.map(({ call, help }) => item(bold(call), sentence(help)));
  const printing = PRINTING.map((option) =>
    item(`${bold(`-${option.letter}`)}, ${bold(`--${option.name}`)}`, sentence(option.help))
  );
  const statuses = STATUSES.map((row) => item(bold(row.status), sentence(row.help)));
  const signals = SIGNALS.map(([name, text]) => item(bold(name), escape(text)));
  const examples = EXAMPLES.map((line) => `.EX\n${escape(line)}\n.EE`);
  const text = [
    '.\\" Made from the help and the table of options: do not edit.',
    `.TH AMBASSADOR 1 "${date}" "ambassador ${version}" "User Commands"`,
    // No hyphen within a name, and no stretched lines.
    ".nh",
    ".ad l",
    ".SH NAME",
    `ambassador \\- ${escape(PURPOSE)}`,
    ".SH SYNOPSIS",
    synopsis,
    ".SH DESCRIPTION",
    EXPLANATION.map(paragraph).join("\n.PP\n"),
    ".SH COMMANDS",
    ...commands,
    ".SH OPTIONS",
    "Every option may also be given as the environment variable that is named with it; an argument",
    "wins. Of an option given twice the last counts, but lists add up.",
    escape(TIMES),
    ...SPECS.map(optionItem),
    ...printing,
    ".SH ENVIRONMENT",
    item(
      `${italic("ALIAS")}${bold("_PORT_")}${italic("port")}${bold("_TCP")}, ${bold("_TLS")}, ${
        bold("_UDP")
      }`,
      "A route, as above. All such variables are read unless routes are given as arguments.",
    ),
    item(
      `${bold("AMBASSADOR_")}${italic("OPTION")}`,
      escape("An option, as named above. An empty one counts as unset, unless it protects."),
    ),
    ".SH SIGNALS",
    ...signals,
    '.SH "EXIT STATUS"',
    ...statuses,
    ".SH EXAMPLES",
  ].join("\n").replaceAll(/^.{81,}$/gm, wrap);
  // A command may not be cut as running text is.
  return `${text}\n${examples.join("\n.PP\n")}\n${SEE_ALSO}`;
}

function optionItem(spec: OptionSpec): string {
  const { name, kind, help, route, list } = spec;
  const { choices = [] } = kind;
  const value = kind.placeholder === "" ? "" : ` ${italic(kind.placeholder)}`;
  const facts = [
    escape(`${help}.`),
    ...(choices.every((choice) => help.includes(choice))
      ? []
      : [escape(`One of ${choices.join(", ")}.`)]),
    ...(spec.default === undefined ? [] : [`Default: ${escape(spec.default)}.`]),
    ...(list ? ["Several values are separated by commas."] : []),
    `Variable: ${bold(variableOf(name))}.`,
  ];
  // The mark of the help, which its text speaks of.
  const mark = route ? " *" : "";
  return item(bold(`--${name}`) + value + mark, facts.join("\n"));
}

function item(head: string, text: string): string {
  return `.TP\n${head}\n${text}`;
}

/** A paragraph of the help: running text, and what is indented as items. */
function paragraph(text: string): string {
  const parts: string[] = [];
  let isItem = false;
  for (const line of text.split("\n")) {
    const [, head, rest = ""] = /^ +(\S+) +(.*)$/.exec(line) ?? [];
    if (head !== undefined) parts.push(item(italic(head), escape(rest)));
    else parts.push(isItem ? `.PP\n${escape(line)}` : escape(line));
    isItem = head !== undefined;
  }
  return parts.join("\n");
}

/** A phrase of the help as a sentence. */
function sentence(text: string): string {
  return escape(`${text.charAt(0).toUpperCase()}${text.slice(1)}${text.endsWith(".") ? "" : "."}`);
}

function bold(text: string): string {
  return `\\fB${escape(text)}\\fR`;
}

function italic(text: string): string {
  return `\\fI${escape(text)}\\fR`;
}

/** Text that roff prints as it is: a dash is one that can be copied, and no line is a request. */
function escape(text: string): string {
  return text.replaceAll("\\", "\\e").replaceAll("-", "\\-").replace(/^[.']/, "\\&$&");
}

/** A line of running text as several short ones; none of them begins as a request does. */
function wrap(line: string): string {
  return line.replaceAll(/(.{1,78}) (?![.'])/g, "$1\n");
}

/** Writes the file, and gives its path. */
export async function writeManual(folder = "dist"): Promise<string> {
  await Deno.mkdir(folder, { recursive: true });
  const path = `${folder}/ambassador.1`;
  const date = new Date(buildTimeMs()).toISOString().slice(0, 10);
  await Deno.writeTextFile(path, manual({ version: config.version, date }));
  return path;
}

if (import.meta.main) console.log(await writeManual());
