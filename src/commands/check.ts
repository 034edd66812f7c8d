// `check`: prints the routes and what is ignored, as a table, as JSON or as socat command lines
// (`socat.ts`). It reads the files of TLS, since what they hold may keep the program from starting, but
// opens no socket; and the same routes always print the same.

import { formatListen, formatTargets } from "../base/address.ts";
import { ConfigError } from "../base/errors.ts";
import { complain } from "../base/stdio.ts";
import { escapeInvisible, plain } from "../base/text.ts";
import { type Command, noRoute } from "../config/command_line.ts";
import type { CheckFormat } from "../config/options.ts";
import { changedSettings, formatSettings } from "../config/settings.ts";
import { isUdp } from "../config/targets.ts";
import { namesOf } from "../config/udp_rules.ts";
import { type CommandContext, print } from "./command.ts";
import { formatSocat, socatNotes } from "./socat.ts";
import { prepareTransports } from "./transports.ts";

/**
 * Prints what would be forwarded.
 *
 * @throws {ConfigError} if that is nothing, or if it could not start for want of what TLS needs
 */
export async function check(command: Command, { environment }: CommandContext): Promise<number> {
  command.warnings.forEach(complain);
  const { credentials } = await prepareTransports(command.routes, command.options);
  for (const message of credentials?.current.warnings ?? []) complain({ message });
  // Colours are for a terminal that wants them (https://no-color.org).
  const colour = Deno.stdout.isTerminal() && !environment["NO_COLOR"] &&
    environment["TERM"] !== "dumb";
  const { text, notes } = formatCommand(command, command.options.format, { colour });
  const status = await print(text === "" ? "" : `${text}\n`);
  for (const message of notes) complain({ message });
  // A file may get a route later.
  if (command.routes.length === 0 && command.options.routes === undefined) {
    throw new ConfigError([noRoute(command)]);
  }
  return status;
}

/** What is printed of a command: its routes, and what holds for all of them. */
export type Printed = Pick<Command, "routes" | "ignored" | "options">;

/**
 * What `check` prints, without the last line's end, and lines on what that does not show, or can't carry
 * over.
 *
 * @param options With `colour`, the table has some: only a terminal shows them.
 */
export function formatCommand(
  command: Printed,
  format: CheckFormat,
  { colour = false }: { readonly colour?: boolean } = {},
): { readonly text: string; readonly notes: readonly string[] } {
  const notes = udpNotes(command);
  if (format === "json") return { text: formatJson(command), notes };
  if (format === "table") return { text: formatTable(command, colour), notes };
  return {
    text: command.routes.map((route) => formatSocat(route, command.options)).join("\n"),
    notes: socatNotes(command),
  };
}

/** What nobody expects who knows several targets from TCP. */
function udpNotes({ routes }: Printed): readonly string[] {
  const several = routes.filter((route) => isUdp(route) && route.targets.length > 1);
  if (several.length === 0) return [];
  return [
    `${namesOf(several)}: UDP shows no refusals: a target is down only while its name can't be ` +
    "looked up",
  ];
}

/** Styles of the table, as terminals number them (ECMA-48, SGR). */
const STYLES = { heading: 1, route: 32, ignored: 33 } as const;

function formatTable({ routes, ignored }: Printed, colour: boolean): string {
  const paint = (style: number, text: string): string =>
    colour ? `\x1b[${style}m${text}\x1b[0m` : text;
  /** A heading, and rows whose first column has a style. */
  const table = (style: number, rows: readonly (readonly string[])[]): string[] =>
    alignColumns(rows).map(([first = "", ...rest], index) =>
      index === 0
        ? paint(STYLES.heading, [first, ...rest].join("  "))
        : [paint(style, first), ...rest].join("  ")
    );
  const rows = routes.map((route) => [
    route.aliases.map(plain).join(",") || "-",
    formatListen(route.listen),
    formatTargets(route.targets),
    formatSettings(route.settings) || "-",
  ]);
  const width = rows.some(([, , , settings]) => settings !== "-") ? 4 : 3;
  const columns = [["ROUTE", "LISTEN", "TARGET", "SETTINGS"], ...rows];
  const lines = table(STYLES.route, columns.map((row) => row.slice(0, width)));
  if (ignored.length > 0) {
    const left = ignored.map(({ variable, reason }) => [plain(variable), reason]);
    lines.push("", ...table(STYLES.ignored, [["IGNORED", "REASON"], ...left]));
  }
  const summary = `${count(routes.length, "route")}, ${count(ignored.length, "variable")} ignored`;
  return [...lines, "", paint(STYLES.heading, summary)].join("\n");
}

/** Pads every cell but the last of a row to the width of its column. */
function alignColumns(rows: readonly (readonly string[])[]): string[][] {
  const widths = (rows[0] ?? []).map((_, column) =>
    rows.reduce((width, row) => Math.max(width, row[column]?.length ?? 0), 0)
  );
  return rows.map((row) =>
    row.map((cell, column) => column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0))
  );
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

function formatJson({ routes, ignored }: Printed): string {
  const shown = {
    routes: routes.map(({ aliases, listen, targets, settings }) => ({
      aliases,
      listen,
      targets,
      settings: changedSettings(settings),
    })),
    ignored: ignored.map(({ variable, reason }) => ({ variable, reason })),
  };
  return escapeInvisible(JSON.stringify(shown, null, 2));
}
