// `check`: prints the routes and what is ignored, as a table, as JSON or as socat command lines. It
// opens nothing, and the same routes always print the same.

import {
  formatAddress,
  formatHost,
  formatTargets,
  isIpv4,
  isIpv6,
  isUnspecified,
} from "../base/address.ts";
import { ConfigError } from "../base/errors.ts";
import { complain, writeToStdout } from "../base/stdio.ts";
import { escapeInvisible, plain } from "../base/text.ts";
import { type Command, noRoute } from "../config/command_line.ts";
import { type CheckFormat, OPTIONS, type OptionSpec } from "../config/options.ts";
import type { Route } from "../config/routes.ts";
import { changedSettings, formatSettings } from "../config/settings.ts";
import { type CommandContext, EXIT } from "./command.ts";

/**
 * Prints what would be forwarded.
 *
 * @throws {ConfigError} if that is nothing
 */
export async function check(command: Command, { environment }: CommandContext): Promise<number> {
  command.warnings.forEach(complain);
  // Colours are for a terminal that wants them (https://no-color.org).
  const colour = Deno.stdout.isTerminal() && !environment["NO_COLOR"] &&
    environment["TERM"] !== "dumb";
  const { text, notes } = formatCommand(command, command.options.format, { colour });
  const isPrinted = text === "" || await writeToStdout(`${text}\n`);
  for (const message of notes) complain({ message });
  if (command.routes.length === 0) throw new ConfigError([noRoute(command)]);
  return isPrinted ? EXIT.finished : EXIT.failed;
}

/** What is printed of a command: its routes, and what holds for all of them. */
export type Printed = Pick<Command, "routes" | "ignored" | "options">;

/**
 * What `check` prints, without the last line's end, and lines on what the format can't carry over.
 *
 * @param options With `colour`, the table has some: only a terminal shows them.
 */
export function formatCommand(
  command: Printed,
  format: CheckFormat,
  { colour = false }: { readonly colour?: boolean } = {},
): { readonly text: string; readonly notes: readonly string[] } {
  if (format === "json") return { text: formatJson(command), notes: [] };
  if (format === "table") {
    return { text: formatTable(command, colour ? painted : (_, text) => text), notes: [] };
  }
  return { text: command.routes.map(formatSocat).join("\n"), notes: socatNotes(command) };
}

/** Styles of the table, as terminals number them (ECMA-48, SGR). */
const STYLES = { heading: 1, route: 32, ignored: 33 } as const;

type Paint = (style: keyof typeof STYLES, text: string) => string;

function painted(style: keyof typeof STYLES, text: string): string {
  return `\x1b[${STYLES[style]}m${text}\x1b[0m`;
}

function formatTable({ routes, ignored }: Printed, paint: Paint): string {
  const rows = routes.map((route) => [
    route.aliases.map(plain).join(",") || "-",
    formatAddress(route.listen),
    formatTargets(route.targets),
    formatSettings(route.settings) || "-",
  ]);
  const width = rows.some(([, , , settings]) => settings !== "-") ? 4 : 3;
  const columns = [["ROUTE", "LISTEN", "TARGET", "SETTINGS"], ...rows];
  const lines = table(columns.map((row) => row.slice(0, width)), { style: "route", paint });
  if (ignored.length > 0) {
    const left = ignored.map(({ variable, reason }) => [plain(variable), reason]);
    lines.push("", ...table([["IGNORED", "REASON"], ...left], { style: "ignored", paint }));
  }
  const summary = `${count(routes.length, "route")}, ${count(ignored.length, "variable")} ignored`;
  lines.push("", paint("heading", summary));
  return lines.join("\n");
}

/** Lines with their columns lined up, a heading and then rows whose first column has a style. */
function table(
  rows: readonly (readonly string[])[],
  { style, paint }: { readonly style: keyof typeof STYLES; readonly paint: Paint },
): string[] {
  const widths = (rows[0] ?? []).map((_, column) =>
    rows.reduce((width, row) => Math.max(width, row[column]?.length ?? 0), 0)
  );
  return rows.map((row, index) => {
    const [first = "", ...rest] = row.map((cell, column) =>
      column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)
    );
    if (index === 0) return paint("heading", [first, ...rest].join("  "));
    return [paint(style, first), ...rest].join("  ");
  });
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

/** How long socat keeps a connection that is half closed, in seconds: three years, as if for ever. */
const SOCAT_HALF_CLOSE_SECONDS = 100_000_000;

function formatSocat({ listen, targets: [target], settings }: Route): string {
  if (target === undefined) return "";
  const { connectTimeoutMs, retryMs, halfCloseTimeoutMs, idleTimeoutMs, maxConnections } = settings;
  const both = "nodelay,keepalive";
  const from = [
    `${socatProtocol(listen.hostname)}-LISTEN:${listen.port}`,
    ...(listen.hostname === "::" ? ["ipv6only=0"] : []),
    ...(isUnspecified(listen.hostname) ? [] : [`bind=${formatHost(listen.hostname)}`]),
    `fork,reuseaddr,${both}`,
    ...(maxConnections > 0 ? [`max-children=${maxConnections}`] : []),
  ].join(",");
  const to = [
    `${socatProtocol(target.hostname)}:${formatAddress(target)},${both}`,
    // The default goes without saying: socat's own is how long the system tries, two minutes.
    ...(connectTimeoutMs > 0 && "connect-timeout" in changedSettings(settings)
      ? [`connect-timeout=${connectTimeoutMs / 1000}`]
      : []),
    ...(retryMs > 0 ? [`retry=${Math.ceil(retryMs / 1000)},interval=1`] : []),
  ].join(",");
  const halfClose = halfCloseTimeoutMs > 0 ? halfCloseTimeoutMs / 1000 : SOCAT_HALF_CLOSE_SECONDS;
  const idle = idleTimeoutMs > 0 ? ` -T ${idleTimeoutMs / 1000}` : "";
  return `socat -t ${halfClose}${idle} ${shellWord(from)} ${shellWord(to)}`;
}

/** Options that hold for all routes together, where each socat is a program of its own. */
const NOT_IN_SOCAT = ["maxConnections", "drainTimeoutMs", "drainDelayMs", "status"] as const;

function socatNotes({ options }: Printed): readonly string[] {
  return NOT_IN_SOCAT.flatMap((key) => {
    const { name, kind, default: standard }: OptionSpec = OPTIONS[key];
    const text = kind.format(options[key]);
    return text === standard ? [] : [`--${name} ${text}: socat has nothing like it`];
  });
}

function socatProtocol(hostname: string): string {
  if (isIpv4(hostname)) return "TCP4";
  return isIpv6(hostname) ? "TCP6" : "TCP";
}

/** Brackets mean something to a shell. Nothing else in an address does. */
function shellWord(word: string): string {
  return word.includes("[") ? `'${word}'` : word;
}
