// `check`: prints the routes and what is ignored, as a table, as JSON or as socat command lines. It
// opens nothing, and the same routes always print the same.

import {
  type Address,
  formatAddress,
  formatHost,
  formatListen,
  formatTargets,
  isIpv4,
  isIpv6,
  isUnspecified,
} from "../base/address.ts";
import { ConfigError } from "../base/errors.ts";
import { complain } from "../base/stdio.ts";
import { escapeInvisible, plain } from "../base/text.ts";
import { type Command, noRoute } from "../config/command_line.ts";
import {
  type CheckFormat,
  OPTIONS,
  type Options,
  type OptionSpec,
  type RouteSettings,
} from "../config/options.ts";
import { type Route, routeName } from "../config/routes.ts";
import { changedSettings, formatSettings } from "../config/settings.ts";
import { type CommandContext, print } from "./command.ts";

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
  const status = await print(text === "" ? "" : `${text}\n`);
  for (const message of notes) complain({ message });
  if (command.routes.length === 0) throw new ConfigError([noRoute(command)]);
  return status;
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
  if (format === "table") return { text: formatTable(command, colour), notes: [] };
  return {
    text: command.routes.map((route) => formatSocat(route, command.options)).join("\n"),
    notes: socatNotes(command),
  };
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

/** How long socat keeps a connection that is half closed, in seconds: three years, as if for ever. */
const SOCAT_HALF_CLOSE_SECONDS = 100_000_000;

function formatSocat(
  { listen, targets: [target], settings }: Route,
  { reusePort }: Pick<Options, "reusePort">,
): string {
  if (target === undefined) return "";
  const { connectTimeoutMs, retryMs, halfCloseTimeoutMs, idleTimeoutMs, maxConnections } = settings;
  const hasLimit = "connect-timeout" in changedSettings(settings);
  const both = "nodelay,keepalive";
  const range = socatRange(listen, settings);
  const from = [
    `${socatProtocol(listen.hostname)}-LISTEN:${listen.port}`,
    ...(listen.hostname === "::" ? ["ipv6only=0"] : []),
    ...(isUnspecified(listen.hostname) ? [] : [`bind=${formatHost(listen.hostname)}`]),
    `fork,reuseaddr,${both}`,
    ...(range === undefined ? [] : [`range=${range}`]),
    ...(reusePort ? ["reuseport"] : []),
    ...(maxConnections > 0 ? [`max-children=${maxConnections}`] : []),
  ].join(",");
  const to = [
    `${socatProtocol(target.hostname)}:${formatAddress(target)},${both}`,
    // The default goes without saying: socat's own is how long the system tries, two minutes.
    ...(hasLimit && connectTimeoutMs > 0 ? [`connect-timeout=${connectTimeoutMs / 1000}`] : []),
    ...(retryMs > 0 ? [`retry=${Math.ceil(retryMs / 1000)},interval=1`] : []),
  ].join(",");
  const halfClose = halfCloseTimeoutMs > 0 ? halfCloseTimeoutMs / 1000 : SOCAT_HALF_CLOSE_SECONDS;
  const idle = idleTimeoutMs > 0 ? ` -T ${idleTimeoutMs / 1000}` : "";
  // Brackets mean something to a shell. Nothing else in an address does.
  const words = [from, to].map((word) => word.includes("[") ? `'${word}'` : word);
  return `socat -t ${halfClose}${idle} ${words.join(" ")}`;
}

/** Options that hold for all routes together, where each socat is a program of its own. */
const NOT_IN_SOCAT = ["maxConnections", "drainTimeoutMs", "drainDelayMs", "status"] as const;

/** The same of settings of a route; socat knows neither a second target nor a PROXY header. */
const NOT_IN_ONE_SOCAT = ["send-proxy", "accept-proxy", "handshake-timeout"] as const;

function socatNotes({ routes, options }: Printed): readonly string[] {
  const ofAll = NOT_IN_SOCAT.flatMap((key) => {
    const { name, kind, default: standard }: OptionSpec = OPTIONS[key];
    const text = kind.format(options[key]);
    return text === standard ? [] : [`--${name} ${text}: socat has nothing like it`];
  });
  return [...ofAll, ...routes.flatMap(socatNotesOf)];
}

function socatNotesOf(route: Route): readonly string[] {
  const { listen, targets, settings } = route;
  const name = `route ${routeName(route, plain)}`;
  const changed = changedSettings(settings);
  const notes = NOT_IN_ONE_SOCAT.filter((one) => one in changed).map((one) =>
    `${name}: ${one} ${changed[one]}: socat has nothing like it`
  );
  if ("allow" in changed && socatRange(listen, settings) === undefined) {
    const line =
      `${name}: allow ${changed["allow"]}: socat knows one network, of the kind that it ` +
      "listens on: the line serves everybody";
    notes.unshift(line);
  }
  if (targets.length > 1) notes.push(`${name}: socat knows one target: the line has the first`);
  return notes;
}

/** The one network that socat lets in; undefined if it can't be said. */
function socatRange(
  { hostname }: Address,
  { allow }: Pick<RouteSettings, "allow">,
): string | undefined {
  const network = /^([^,/]*[.:][^,/]*)(?:\/(\d+))?$/.exec(String(allow));
  if (network === null) return undefined;
  const [, address = "", prefix] = network;
  const isListenIpv6 = isIpv6(hostname);
  if (isIpv6(address)) return isListenIpv6 ? `[${address}]/${prefix ?? 128}` : undefined;
  const bits = Number(prefix ?? 32);
  return isListenIpv6 ? `[::ffff:${address}]/${bits + 96}` : `${address}/${bits}`;
}

function socatProtocol(hostname: string): string {
  if (isIpv4(hostname)) return "TCP4";
  return isIpv6(hostname) ? "TCP6" : "TCP";
}
