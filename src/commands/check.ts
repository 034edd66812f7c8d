// What `check` prints: the routes and what is ignored, as a table, as JSON or as socat command lines.
// Pure: the same routes always print the same.

import {
  formatAddress,
  formatHost,
  formatTargets,
  isIpv4,
  isIpv6,
  isUnspecified,
} from "../base/address.ts";
import type { CheckFormat } from "../config/options.ts";
import type { Route, Routes } from "../config/routes.ts";
import { escapeInvisible, plain } from "../base/text.ts";

/** Options for {@linkcode formatRoutes}. */
export interface FormatRoutesOptions {
  /** Whether the table may have colours: only a terminal shows them. */
  readonly colour?: boolean;
}

/** The routes as `check` prints them, without the last line's end. */
export function formatRoutes(
  routes: Routes,
  format: CheckFormat,
  { colour = false }: FormatRoutesOptions = {},
): string {
  switch (format) {
    case "table":
      return formatTable(routes, colour ? painted : unpainted);
    case "json":
      return formatJson(routes);
    case "socat":
      return routes.routes.map(formatSocat).join("\n");
  }
}

/** Styles of the table, as terminals number them (ECMA-48, SGR). */
const STYLES = { heading: 1, route: 32, ignored: 33 } as const;

type Paint = (style: keyof typeof STYLES, text: string) => string;

function painted(style: keyof typeof STYLES, text: string): string {
  return `\x1b[${STYLES[style]}m${text}\x1b[0m`;
}

function unpainted(_: keyof typeof STYLES, text: string): string {
  return text;
}

function formatTable({ routes, ignored }: Routes, paint: Paint): string {
  const rows = routes.map((route) => [
    route.aliases.map(plain).join(",") || "-",
    formatAddress(route.listen),
    formatTargets(route.targets),
  ]);
  const lines = table(["ROUTE", "LISTEN", "TARGET"], rows, "route", paint);
  if (ignored.length > 0) {
    const left = ignored.map(({ variable, reason }) => [plain(variable), reason]);
    lines.push("", ...table(["IGNORED", "REASON"], left, "ignored", paint));
  }
  const summary = `${count(routes.length, "route")}, ${count(ignored.length, "variable")} ignored`;
  lines.push("", paint("heading", summary));
  return lines.join("\n");
}

/** Lines with their columns lined up; the first column has a style. */
function table(
  headings: readonly string[],
  rows: readonly (readonly string[])[],
  style: keyof typeof STYLES,
  paint: Paint,
): string[] {
  const widths = headings.map((heading, column) =>
    rows.reduce((width, row) => Math.max(width, row[column]?.length ?? 0), heading.length)
  );
  const align = (row: readonly string[]): string[] =>
    row.map((cell, column) => column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0));
  return [
    paint("heading", align(headings).join("  ")),
    ...rows.map((row) => {
      const [first = "", ...rest] = align(row);
      return [paint(style, first), ...rest].join("  ");
    }),
  ];
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

function formatJson({ routes, ignored }: Routes): string {
  const shown = {
    routes: routes.map(({ aliases, listen, targets }) => ({
      aliases,
      listen,
      targets,
      settings: {},
    })),
    ignored: ignored.map(({ variable, reason }) => ({ variable, reason })),
  };
  return escapeInvisible(JSON.stringify(shown, null, 2));
}

/** The time that a half-closed connection is kept, in seconds: three years, as good as for ever. */
const SOCAT_HALF_CLOSE_SECONDS = 100_000_000;

function formatSocat({ listen, targets: [target] }: Route): string {
  if (target === undefined) return "";
  const both = "nodelay,keepalive";
  const from = [
    `${socatProtocol(listen.hostname)}-LISTEN:${listen.port}`,
    ...(listen.hostname === "::" ? ["ipv6only=0"] : []),
    ...(isUnspecified(listen.hostname) ? [] : [`bind=${formatHost(listen.hostname)}`]),
    `fork,reuseaddr,${both}`,
  ].join(",");
  const to = `${socatProtocol(target.hostname)}:${formatAddress(target)},${both}`;
  return `socat -t ${SOCAT_HALF_CLOSE_SECONDS} ${shellWord(from)} ${shellWord(to)}`;
}

function socatProtocol(hostname: string): string {
  if (isIpv4(hostname)) return "TCP4";
  return isIpv6(hostname) ? "TCP6" : "TCP";
}

/** Brackets mean something to a shell. Nothing else in an address does. */
function shellWord(word: string): string {
  return word.includes("[") ? `'${word}'` : word;
}
