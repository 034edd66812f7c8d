// Writes the table of options into docs/reference.md, between two comments, from the table that the
// program parses them by. It knows nothing of what else stands there, nor of what an option does.

import {
  ALL_COMMANDS,
  commandsOf,
  type OptionSpec,
  SPECS,
  variableOf,
} from "../src/config/options.ts";

const DOCUMENT = new URL("../docs/reference.md", import.meta.url);
const START = "<!-- The table of options: made by build/reference.ts -->";
const END = "<!-- The end of the table -->";

const HEADINGS = ["option", "variable", "default", "route", "commands", "meaning"];

/** The table of options, in Markdown, as `deno fmt` lays it out. */
export function optionsTable(specs: readonly OptionSpec[] = SPECS): string {
  const rows = specs.map((spec) => [
    code(`--${spec.name} ${spec.kind.placeholder}`.trimEnd()),
    code(variableOf(spec.name)),
    spec.default === undefined ? "" : code(spec.default),
    spec.route === undefined ? "" : "yes",
    readers(spec),
    // A `*` or `_` would be laid out as emphasis.
    cell(spec.help.replaceAll(/[*_]/g, "\\$&")),
  ]);
  const widths = HEADINGS.map((heading, column) =>
    Math.max(...[heading, ...rows.map((row) => row[column] ?? "")].map(({ length }) => length))
  );
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((text, column) => text.padEnd(widths[column] ?? 0)).join(" | ")} |`;
  const rule = widths.map((width) => "-".repeat(width));
  return [HEADINGS, rule, ...rows].map(line).join("\n");
}

/**
 * The document with the table as it has to be.
 *
 * @throws {SyntaxError} if it has no place for it
 */
export function withOptionsTable(document: string): string {
  const start = document.indexOf(START);
  const end = document.indexOf(END);
  if (start < 0 || end < start) {
    throw new SyntaxError("docs/reference.md: the two comments are gone");
  }
  const before = document.slice(0, start + START.length);
  return `${before}\n\n${optionsTable()}\n\n${document.slice(end)}`;
}

/** Those that read it; empty is all but `healthcheck`, as it is of most. */
function readers(spec: OptionSpec): string {
  if (spec.commands === undefined) return "";
  const commands = commandsOf(spec);
  return commands.length === ALL_COMMANDS.length ? "all" : commands.map(code).join(", ");
}

function code(text: string): string {
  return `\`${cell(text)}\``;
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|");
}

if (import.meta.main) {
  await Deno.writeTextFile(DOCUMENT, withOptionsTable(await Deno.readTextFile(DOCUMENT)));
}
