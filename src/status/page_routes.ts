// The tables of routes on the status page: where each listens, what it has done, and how its targets
// fare. Pure.

import { formatListen } from "../base/address.ts";
import { type ConnectError, type Counts, DROP_REASONS, type Reason } from "../forward/counts.ts";
import {
  failingSince,
  isDatagrams,
  type RouteReport,
  type TargetReport,
} from "../forward/report.ts";
import { formatBytes, formatNumber, formatSpan, formatTime, markup } from "./markup.ts";

/** What it means that a route is leaving. */
export const LEAVING =
  "A leaving route takes no more clients: it is gone from the routes, and its connections finish.";
/** How many targets of a route are shown without being asked for. */
const MAX_TARGETS = 5;
/** Why a client of a stream is refused for what it is or says. */
const REFUSALS: readonly Reason[] = ["not_allowed", "bad_proxy_header"];

/** A table of routes: what stands above it, the names of its columns of numbers, and their cells. */
export interface RoutesTable {
  /** What stands above it. */
  readonly title: string;
  /** What the title is called in the page. */
  readonly id: string;
  /** The names of its columns of numbers. */
  readonly columns: readonly string[];
  /** Their cells. */
  readonly cells: (counts: Counts, failed: string) => string;
}

/** Of routes that pass streams on. */
export const STREAM_TABLE: RoutesTable = {
  title: "Routes",
  id: "streams",
  columns: ["Open", "Total", "Up", "Down", "Failed"],
  cells: streamCells,
};
/** Of routes that pass datagrams on. */
export const DATAGRAM_TABLE: RoutesTable = {
  title: "UDP routes",
  id: "datagrams",
  columns: ["Sessions", "Datagrams up", "Datagrams down", "Dropped", "Failed"],
  cells: datagramCells,
};

/** The table, in pieces; `now` is in milliseconds since the epoch. */
export function* routesTable(
  table: RoutesTable,
  routes: readonly RouteReport[],
  now: number,
): Generator<string> {
  const { title, id } = table;
  const columns = table.columns.map((name) =>
    markup`<th scope="col" class="number">${name}</th>\n`
  );
  yield markup`<h2 id="${id}">${title}</h2>
<div class="wide" role="region" aria-labelledby="${id}" tabindex="0"><table aria-labelledby="${id}">
<thead><tr><th scope="col">Route</th><th scope="col">Listen</th><th scope="col">Target</th>
` + columns.join("") + `<th scope="col">Last error</th></tr></thead>\n<tbody>`;
  for (const route of routes) yield routeRow(route, table, now);
  yield "</tbody>\n</table></div>\n";
}

/** What people call a route: not what it is told apart by. */
export function nameOf({ route: { aliases, listen } }: RouteReport): string {
  return aliases.join(", ") || String(listen.port);
}

/** A link to the row of a route. */
export function linkTo(report: RouteReport): string {
  const fragment = encodeURIComponent(formatListen(report.route.listen));
  return markup`<a href="#${fragment}"><bdi>${nameOf(report)}</bdi></a>`;
}

/** Whether a route wants somebody's attention. */
export function isAlarming(report: RouteReport): boolean {
  return !report.isLeaving && failingSince(report) !== undefined;
}

function routeRow(report: RouteReport, { cells }: RoutesTable, now: number): string {
  const { route: { listen }, counts, isLeaving } = report;
  const isBad = isAlarming(report);
  const state = isLeaving ? "leaving" : isBad ? "failing" : "";
  const mark = isLeaving
    ? markup` <span class="mark" title="${LEAVING}">leaving</span>`
    : isBad
    ? ` <span class="mark">failing</span>`
    : "";
  const address = formatListen(listen);
  // The class is there also where it is empty: the script takes over values, and takes nothing away.
  return markup`
<tr id="${address}" class="${state}">
<td class="name" data-label="Route"><bdi>${nameOf(report)}</bdi>` + mark + markup`</td>
<td class="address" data-label="Listen">${address}</td>
` + targetsCell(report) + cells(counts, isBad ? "bad" : "") + errorCell(report, now);
}

function streamCells(counts: Counts, bad: string): string {
  const { open, connections, closed, bytesUp: up, bytesDown: down } = counts;
  return markup`
<td class="number" data-label="Open">${formatNumber(open)}</td>
<td class="number" data-label="Total"><span>
<span data-rate="opened">${formatNumber(connections)}</span>
` + reasonLines(REFUSALS, closed) + "</span></td>\n" +
    bytesCell("Up", up) + bytesCell("Down", down) + failedCell(counts, bad);
}

/** A small line for each of these that there has been. */
function reasonLines<Name extends string>(
  reasons: readonly Name[],
  numbers: Readonly<Record<Name, number>>,
): string {
  return reasons.filter((reason) => numbers[reason] > 0)
    .map((reason) => markup`<span class="when">${reason} ${formatNumber(numbers[reason])}</span>`)
    .join("\n");
}

function bytesCell(label: string, bytes: number): string {
  const exact = formatNumber(bytes);
  return markup`<td class="number" data-label="${label}" data-rate="${label}" title="${exact}">` +
    `${formatBytes(bytes)}</td>\n`;
}

function failedCell(counts: Counts, bad: string): string {
  return markup`<td class="number ${bad}" data-label="Failed">${formatNumber(failedOf(counts))}</td>
`;
}

function datagramCells(counts: Counts, bad: string): string {
  const { open, connections, bytesUp: up, bytesDown: down } = counts;
  const { datagramsUp, datagramsDown, dropped } = counts;
  // What is beneath a number is one element with it: on a phone each element of a cell is a column.
  return markup`
<td class="number" data-label="Sessions"><span>${formatNumber(open)}
<span class="when">${formatNumber(connections)} so far</span></span></td>
` + datagramsCell("Datagrams up", datagramsUp, up) +
    datagramsCell("Datagrams down", datagramsDown, down) + markup`
<td class="number" data-label="Dropped"><span>${formatNumber(droppedOf(counts))}
` + reasonLines(DROP_REASONS, dropped) + "</span></td>\n" + failedCell(counts, bad);
}

function datagramsCell(label: string, datagrams: number, bytes: number): string {
  return markup`<td class="number" data-label="${label}"><span>
<span data-rate="${label}">${formatNumber(datagrams)}</span>
<span class="when" data-rate="${label} bytes" title="${formatNumber(bytes)}">` +
    `${formatBytes(bytes)}</span></span></td>\n`;
}

/** All targets; where there are many, behind a line that tells how many of them are down. */
function targetsCell(report: RouteReport): string {
  const { targets } = report;
  const rows = targets.map((target) => targetRow(target, report)).join("");
  if (targets.length <= MAX_TARGETS) return `<td data-label="Target"><span>${rows}</span></td>`;
  const down = targets.filter((one) => one.downSince !== undefined && !one.isLeaving).length;
  return markup`<td data-label="Target"><details><summary>${formatNumber(targets.length)} targets,
<span class="${down > 0 ? "bad" : ""}">${formatNumber(down)} down</span></summary>` +
    `${rows}</details></td>`;
}

function targetRow(target: TargetReport, report: RouteReport): string {
  const { name, open, connections } = target;
  return markup`
<span class="address">${name}</span> <span class="when fares">` + targetState(target, report) +
    markup`${formatNumber(open)} open, ${formatNumber(connections)} so far</span>`;
}

/** How a target fares, if that is known: over UDP nobody refuses, and only a failed lookup tells. */
function targetState({ downSince, isLeaving }: TargetReport, route: RouteReport): string {
  if (isLeaving) return `<span class="">leaving</span>,\n`;
  if (downSince !== undefined) return `<span class="down">down</span>,\n`;
  // What answers may be this ambassador itself.
  const isKnown = !isDatagrams(route) && route.counts.loopingSince === undefined;
  return isKnown ? `<span class="up">up</span>,\n` : "";
}

function errorCell(report: RouteReport, now: number): string {
  const { lastConnectError, lastHandshakeError: handshake } = report.counts;
  const connect = connectErrorOf(report);
  if (connect === undefined && handshake === undefined) return `<td class="empty"></td></tr>`;
  const rows: string[] = [];
  if (connect !== undefined) {
    const isWarning = lastConnectError?.noneServedSince;
    const look = isAlarming(report) ? "bad" : isWarning ? "warn" : "past";
    rows.push(markup`<span class="${look}">${connect.message}</span>
<span class="when">${formatTime(connect.at)}, ${failureSpan(report, now)}</span>`);
  }
  if (handshake !== undefined) {
    const { at, message, noneServedSince } = handshake;
    rows.push(markup`<span class="${noneServedSince ? "warn" : "past"}">${message}</span>
<span class="when">${formatTime(at)}, ${formatSpan(now - at)} ago;
${noneServedSince ? "nobody" : "somebody"} has been served since</span>`);
  }
  return `<td class="error" data-label="Last error"><span>${rows.join("\n")}</span></td></tr>`;
}

/** The last connect error; of a route that is failing there is always one. */
export function connectErrorOf(report: RouteReport): ConnectError | undefined {
  const at = failingSince(report);
  // What was said of other targets, before a rewiring, is not kept.
  return report.counts.lastConnectError ??
    (at === undefined ? undefined : { at, message: "no target could be reached" });
}

/** How long ago the last dial failed, and what has come since or before. */
export function failureSpan(report: RouteReport, now: number): string {
  const span = formatSpan(now - (connectErrorOf(report)?.at ?? now));
  const since = failingSince(report);
  if (since !== undefined) {
    const failing = formatSpan(now - since);
    return failing === span ? `${span} ago` : `${span} ago; failing for ${failing}`;
  }
  // A target that is up may have failed this client all the same.
  return report.counts.lastConnectError?.noneServedSince
    ? `${span} ago`
    : `${span} ago; works again`;
}

/** Clients that got no upstream since none could be reached, or since it was the ambassador itself. */
export function failedOf({ connectErrors, closed }: Counts): number {
  return connectErrors + closed.loop;
}

/** Datagrams that were lost, whatever the reason. */
export function droppedOf({ dropped }: Counts): number {
  return DROP_REASONS.reduce((all, reason) => all + dropped[reason], 0);
}
