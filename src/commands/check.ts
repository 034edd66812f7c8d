// `check`: prints the routes, the options that were given and what is ignored, as a table, as JSON or as
// socat command lines (`socat.ts`). It reads the files of TLS, since what they hold may keep the program
// from starting, but opens no socket unless the targets are to be tried (`probe.ts`); and but for that the
// same routes always print the same.

import { formatListen, formatTarget, formatTargets } from "../base/address.ts";
import { ConfigError } from "../base/errors.ts";
import { complain } from "../base/stdio.ts";
import { escapeInvisible, plain, quoteInput } from "../base/text.ts";
import { type Command, noRoute } from "../config/command_line.ts";
import { type CheckFormat, OPTIONS, type Options, type OptionSpec } from "../config/options.ts";
import type { Route } from "../config/routes.ts";
import { changedSettings, formatSettings } from "../config/settings.ts";
import { isUdp } from "../config/targets.ts";
import { namesOf } from "../config/udp_rules.ts";
import { type CommandContext, EXIT, print } from "./command.ts";
import { describeProbe, type Probe, probeAsJson, probeTargets } from "./probe.ts";
import { formatSocat, socatNotes } from "./socat.ts";
import { prepareTransports } from "./transports.ts";

/** How the targets of each route fared. */
export type Probes = readonly (readonly Probe[])[];

/**
 * Prints what would be forwarded, and where that is asked for, which targets can be reached.
 *
 * @throws {ConfigError} if nothing would be forwarded, or if it could not start for want of what TLS needs
 */
export async function check(command: Command, { environment }: CommandContext): Promise<number> {
  const { routes, options: { format, probe } } = command;
  if (probe && format === "socat") {
    const message = "--probe: a socat command line has no place for what it finds";
    throw new ConfigError([{ message, hint: "leave one of the two out" }]);
  }
  command.warnings.forEach(complain);
  const { transports, credentials } = await prepareTransports(routes, command.options);
  for (const message of credentials?.current.warnings ?? []) complain({ message });
  // Colours are for a terminal that wants them (https://no-color.org).
  const colour = Deno.stdout.isTerminal() && !environment["NO_COLOR"] &&
    environment["TERM"] !== "dumb";
  const tried = probe ? probeTargets(routes, transports) : undefined;
  // A table says what it knows at once: a target that does not answer takes a while.
  const probes = format === "json" ? await tried : undefined;
  const { text, notes } = formatCommand(command, format, { colour, probes });
  let status = await print(text === "" ? "" : `${text}\n`);
  for (const message of notes) complain({ message });
  // A file may get a route later.
  if (routes.length === 0 && command.options.routes === undefined) {
    throw new ConfigError([noRoute(command)]);
  }
  if (tried === undefined || status !== EXIT.finished) return status;
  const results = await tried;
  if (format === "table") status = await print(`\n${formatProbes(command, results, colour)}\n`);
  return results.flat().some(({ result }) => result === "failed") ? EXIT.failed : status;
}

/** What is printed of a command: its routes, and what holds for all of them. */
export type Printed = Pick<Command, "routes" | "ignored" | "options" | "given">;

/**
 * What `check` prints, without the last line's end, and lines on what that does not show, or can't carry
 * over.
 *
 * @param options With `colour`, the table has some: only a terminal shows them. With `probes`, the JSON
 *   has them.
 */
export function formatCommand(
  command: Printed,
  format: CheckFormat,
  { colour = false, probes }: {
    readonly colour?: boolean;
    readonly probes?: Probes | undefined;
  } = {},
): { readonly text: string; readonly notes: readonly string[] } {
  const notes = udpNotes(command);
  if (format === "json") return { text: formatJson(command, probes), notes };
  if (format === "table") return { text: formatTable(command, colour), notes };
  return {
    text: command.routes.map((route) => formatSocat(route, command)).join("\n"),
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
const STYLES = { heading: 1, failed: 31, route: 32, ignored: 33, option: 36 } as const;

/** Writes rows as columns, and what is to stand out in its style. */
interface Painter {
  /** A text in a style. */
  paint(style: number, text: string): string;
  /** A heading, and rows whose first column has a style. */
  table(style: number, rows: readonly (readonly string[])[]): readonly string[];
}

function painter(colour: boolean): Painter {
  const paint: Painter["paint"] = (style, text) => colour ? `\x1b[${style}m${text}\x1b[0m` : text;
  return {
    paint,
    table: (style, rows) =>
      alignColumns(rows).map(([first = "", ...rest], index) =>
        index === 0
          ? paint(STYLES.heading, [first, ...rest].join("  "))
          : [paint(style, first), ...rest].join("  ")
      ),
  };
}

function formatTable(command: Printed, colour: boolean): string {
  const { routes, ignored } = command;
  const { paint, table } = painter(colour);
  const rows = routes.map((route) => [
    nameOf(route),
    formatListen(route.listen),
    formatTargets(route.targets),
    formatSettings(route.settings) || "-",
  ]);
  const width = rows.some(([, , , settings]) => settings !== "-") ? 4 : 3;
  const columns = [["ROUTE", "LISTEN", "TARGET", "SETTINGS"], ...rows];
  const lines = [...table(STYLES.route, columns.map((row) => row.slice(0, width)))];
  const given = givenRows(command);
  if (given.length > 0) {
    lines.push("", ...table(STYLES.option, [["OPTION", "VALUE", "FROM"], ...given]));
  }
  if (ignored.length > 0) {
    const left = ignored.map(({ variable, reason }) => [plain(variable), reason]);
    lines.push("", ...table(STYLES.ignored, [["IGNORED", "REASON"], ...left]));
  }
  const summary = `${count(routes.length, "route")}, ${count(ignored.length, "variable")} ignored`;
  return [...lines, "", paint(STYLES.heading, summary)].join("\n");
}

/** What values of options are made of: nothing that a terminal acts on, no @ with a password before it. */
const PLAIN_VALUE = /^[\w .,:*/()[\]%-]*$/;

/** The options that hold for what is forwarded and were given, and where. Of a key nothing is shown. */
function givenRows({ options, given }: Printed): string[][] {
  const rows = Object.entries(OPTIONS) as [keyof Options, OptionSpec][];
  return rows.flatMap(([key, { name, kind, commands }]) => {
    const from = given.get(name);
    const value = options[key];
    const holds = value !== undefined && commands?.includes("forward") !== false;
    if (from === undefined || !holds) return [];
    const text = kind.format(value);
    return [[name, PLAIN_VALUE.test(text) ? text : quoteInput(text), from.source]];
  });
}

function formatProbes({ routes }: Printed, probes: Probes, colour: boolean): string {
  const { paint, table } = painter(colour);
  const rows = routes.flatMap((route, at) =>
    (probes[at] ?? []).map((probe) => {
      const words = describeProbe(probe);
      const shown = probe.result === "failed" ? paint(STYLES.failed, words) : words;
      return [nameOf(route), formatListen(route.listen), formatTarget(probe.target), shown];
    })
  );
  const lines = table(STYLES.route, [["ROUTE", "LISTEN", "TARGET", "PROBE"], ...rows]);
  const all = probes.flat();
  const failed = all.filter(({ result }) => result === "failed").length;
  const untried = all.filter(({ result }) => result === "untried").length;
  const summary = `${count(all.length - untried, "target")} tried, ${failed || "none"} failed` +
    (untried === 0 ? "" : `, ${untried} not tried`);
  return [...lines, "", paint(STYLES.heading, summary)].join("\n");
}

/** Its aliases; its listen address stands beside it. */
function nameOf({ aliases }: Route): string {
  return aliases.map(plain).join(",") || "-";
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

function formatJson({ routes, ignored }: Printed, probes?: Probes): string {
  const shown = {
    routes: routes.map(({ aliases, listen, targets, settings }, at) => ({
      aliases,
      listen,
      targets,
      settings: changedSettings(settings),
      ...(probes === undefined ? {} : { probe: probes[at]?.map(probeAsJson) }),
    })),
    ignored: ignored.map(({ variable, reason }) => ({ variable, reason })),
  };
  return escapeInvisible(JSON.stringify(shown, null, 2));
}
