// The status page for people: one HTML page that needs nothing else and works with scripts off. Pure:
// a report in, HTML out. Everything that came from outside is escaped in `markup`, and nowhere else.

import { formatListen } from "../base/address.ts";
import { type Counts, DROP_REASONS } from "../forward/counts.ts";
import { SCRIPT, STYLE } from "./page_assets.ts";
import {
  isDatagrams,
  type Report,
  type RouteReport,
  type TargetReport,
  type WiringReport,
} from "../forward/report.ts";
import type { Ignored } from "../config/routes.ts";

const LEAVING =
  "A leaving route takes no more clients: it is gone from the routes, and its connections finish.";

/** The `content-security-policy` of the page: its own style and script, and nothing else at all. */
export async function pagePolicy(): Promise<string> {
  const [style, script] = await Promise.all([STYLE, SCRIPT].map(hashOf));
  return `default-src 'none'; style-src '${style}'; script-src '${script}'; connect-src 'self'; ` +
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
}

async function hashOf(text: string): Promise<string> {
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return `sha256-${btoa(String.fromCharCode(...new Uint8Array(hash)))}`;
}

/** The page, in pieces; `now` is in milliseconds since the epoch. */
export function* formatPage(report: Report, now: number): Generator<string> {
  const { version, startedAt, ready, routes, wiring, ignored } = report;
  const state = ready ? "ready" : "draining";
  yield markup`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Ambassador: ${state}, ${formatNumber(sum(routes, "open"))} open</title>
<link rel="icon" href="data:,">
<noscript><meta http-equiv="refresh" content="5"></noscript>
<style>`;
  yield STYLE;
  yield markup`</style>
</head>
<body>
<p id="stale" role="status" hidden>The ambassador does not answer; what follows is as it last was.</p>
<main>
<header>
<h1>Ambassador</h1>
<span class="state ${state}">${state}</span>
<span class="faint">version ${version}, up ${formatSpan(now - startedAt)}</span>
</header>`;
  yield origin(report, now);
  yield* flawBox(wiring, now);
  const datagrams = routes.filter(isDatagrams);
  const streams = datagrams.length === 0 ? routes : routes.filter((one) => !isDatagrams(one));
  yield summary(report, { streams, datagrams });
  if (routes.length === 0) yield "<h2>Routes</h2>\n" + noRoute(wiring);
  if (streams.length > 0) yield* routesTable(STREAM_TABLE, streams, now);
  if (datagrams.length > 0) yield* routesTable(DATAGRAM_TABLE, datagrams, now);
  if (routes.some(({ isLeaving }) => isLeaving)) yield markup`<p class="faint">${LEAVING}</p>\n`;
  if (ignored.length > 0) yield* ignoredTable(ignored);
  const time = formatTime(now);
  yield markup`<footer>Up is client to upstream, down is upstream to client. As of ${time}. For
machines: <a href="metrics">metrics</a>, <a href="readyz">readyz</a>,
<a href="healthz">healthz</a>.</footer>
</main>
<script>`;
  yield SCRIPT;
  yield "</script>\n</body>\n</html>\n";
}

/** When and from where the present routes came, where they may change. */
function origin({ routes, wiring: { file, since } }: Report, now: number): string {
  if (file === undefined) return "";
  const count = routes.filter(({ isLeaving }) => !isLeaving).length;
  const shown = `${formatNumber(count)} ${count === 1 ? "route" : "routes"}`;
  return markup`
<p class="origin faint">${shown} from the environment and <bdi>${file}</bdi>,
${formatSince(since, now)}</p>`;
}

/** Why the routes are not those that their file holds, if they are not. */
function* flawBox({ file, flaw }: WiringReport, now: number): Generator<string> {
  if (file === undefined || flaw === undefined) return;
  yield markup`
<section class="flaw">
<h2>What <bdi>${file}</bdi> holds now is not in force</h2>
<p class="faint">${formatSince(flaw.at, now)}; the routes from before go on</p>
<p class="problems">`;
  // A file of a megabyte may have as many problems.
  for (const problem of flaw.message.split("\n")) yield markup`${problem}\n`;
  yield "</p>\n</section>";
}

/** Routes by what they pass on. */
interface Sorted {
  readonly streams: readonly RouteReport[];
  readonly datagrams: readonly RouteReport[];
}

function summary({ routes, wiring }: Report, { streams, datagrams }: Sorted): string {
  const { file, rewires } = wiring;
  const ofAll = (streams.length > 0 || datagrams.length === 0 ? connectionTiles(streams) : "") +
    bytesTile("Bytes up", sum(routes, "bytesUp")) +
    bytesTile("Bytes down", sum(routes, "bytesDown")) +
    badTile("Connect errors", sum(routes, "connectErrors")) +
    (file === undefined ? "" : tile("Rewired", rewires.ok)) +
    (file === undefined ? "" : badTile("Failed to rewire", rewires.failed));
  const rows = datagrams.length > 0 ? [ofAll, sessionTiles(datagrams)] : [ofAll];
  if (streams.length === 0) rows.reverse();
  return rows.map((row) => `\n<dl>\n${row}</dl>\n`).join("");
}

function connectionTiles(routes: readonly RouteReport[]): string {
  return tile("Open connections", sum(routes, "open")) +
    tile("Connections so far", sum(routes, "connections"));
}

function sessionTiles(routes: readonly RouteReport[]): string {
  return tile("Open sessions", sum(routes, "open")) +
    tile("Sessions so far", sum(routes, "connections")) +
    tile("Datagrams up", sum(routes, "datagramsUp")) +
    tile("Datagrams down", sum(routes, "datagramsDown")) +
    tile("Datagrams dropped", routes.reduce((all, { counts }) => all + droppedOf(counts), 0));
}

function tile(name: string, number: number): string {
  return markup`<div><dt>${name}</dt><dd>${formatNumber(number)}</dd></div>\n`;
}

/** A number that should be 0. */
function badTile(name: string, number: number): string {
  return markup`<div><dt>${name}</dt><dd class="${badIf(number)}">${formatNumber(number)}</dd></div>
`;
}

function bytesTile(name: string, bytes: number): string {
  const exact = formatNumber(bytes);
  return markup`<div><dt>${name}</dt><dd title="${exact}">${formatBytes(bytes)}</dd></div>\n`;
}

function badIf(number: number): string {
  return number > 0 ? "bad" : "";
}

/** A table of routes: what stands above it, the names of its columns of numbers, and their cells. */
interface RoutesTable {
  readonly title: string;
  readonly columns: readonly string[];
  readonly cells: (counts: Counts) => string;
}

const STREAM_TABLE: RoutesTable = {
  title: "Routes",
  columns: ["Open", "Total", "Up", "Down", "Failed"],
  cells: streamCells,
};
const DATAGRAM_TABLE: RoutesTable = {
  title: "UDP routes",
  columns: ["Sessions", "Datagrams up", "Datagrams down", "Dropped", "Failed"],
  cells: datagramCells,
};

function* routesTable(
  table: RoutesTable,
  routes: readonly RouteReport[],
  now: number,
): Generator<string> {
  const columns = table.columns.map((name) => markup`<th class="number">${name}</th>\n`);
  yield markup`<h2>${table.title}</h2>
<div class="wide"><table>
<thead><tr><th>Route</th><th>Listen</th><th>Target</th>` + columns.join("") +
    "<th>Last error</th></tr></thead>\n<tbody>";
  for (const route of routes) yield routeRow(route, table, now);
  yield "</tbody>\n</table></div>\n";
}

function noRoute({ file }: WiringReport): string {
  if (file === undefined) return `<p class="none">Nothing is forwarded: there is no route.</p>\n`;
  return markup`<p class="none">Nothing is forwarded: neither the environment nor <bdi>${file}</bdi>
gives a route.</p>\n`;
}

function routeRow(report: RouteReport, { cells }: RoutesTable, now: number): string {
  const { route: { aliases, listen }, counts, isLeaving } = report;
  const mark = isLeaving ? markup` <span class="mark" title="${LEAVING}">leaving</span>` : "";
  // The class is there also where it is empty: the script takes over values, and takes nothing away.
  return markup`
<tr class="${isLeaving ? "leaving" : ""}">
<td class="name" data-label="Route"><bdi>${aliases.join(", ") || listen.port}</bdi>` + mark +
    markup`</td>
<td class="address" data-label="Listen">${formatListen(listen)}</td>
` + targetsCell(report) + cells(counts) + errorCell(counts, now);
}

function streamCells(counts: Counts): string {
  const { open, connections, bytesUp: up, bytesDown: down, connectErrors: failed } = counts;
  return markup`
<td class="number" data-label="Open">${formatNumber(open)}</td>
<td class="number" data-label="Total">${formatNumber(connections)}</td>
<td class="number" data-label="Up" title="${formatNumber(up)}">${formatBytes(up)}</td>
<td class="number" data-label="Down" title="${formatNumber(down)}">${formatBytes(down)}</td>
<td class="number ${badIf(failed)}" data-label="Failed">${formatNumber(failed)}</td>
`;
}

function datagramCells(counts: Counts): string {
  const { open, connections, bytesUp: up, bytesDown: down, connectErrors: failed } = counts;
  const { datagramsUp, datagramsDown, dropped } = counts;
  const reasons = DROP_REASONS.filter((reason) => dropped[reason] > 0)
    .map((reason) => markup`<span class="when">${reason} ${formatNumber(dropped[reason])}</span>`);
  // What is beneath a number is one element with it: on a phone each element of a cell is a column.
  return markup`
<td class="number" data-label="Sessions"><span>${formatNumber(open)}
<span class="when">${formatNumber(connections)} so far</span></span></td>
<td class="number" data-label="Datagrams up"><span>${formatNumber(datagramsUp)}
<span class="when" title="${formatNumber(up)}">${formatBytes(up)}</span></span></td>
<td class="number" data-label="Datagrams down"><span>${formatNumber(datagramsDown)}
<span class="when" title="${formatNumber(down)}">${formatBytes(down)}</span></span></td>
<td class="number" data-label="Dropped"><span>${formatNumber(droppedOf(counts))}
` + reasons.join("\n") + markup`</span></td>
<td class="number ${badIf(failed)}" data-label="Failed">${formatNumber(failed)}</td>
`;
}

function targetsCell(report: RouteReport): string {
  const rows = report.targets.map((target) => {
    const { name, open, connections } = target;
    return markup`
<span class="address">${name}</span> <span class="when">` + targetState(target, report) +
      markup`${formatNumber(open)} open, ${formatNumber(connections)} so far</span>`;
  });
  return `<td data-label="Target"><span>${rows.join("")}</span></td>`;
}

/** How a target fares, if that is known: over UDP nobody refuses, and only a failed lookup tells. */
function targetState({ isUp, isLeaving }: TargetReport, route: RouteReport): string {
  if (isLeaving) return `<span class="">leaving</span>,\n`;
  if (!isUp) return `<span class="bad">down</span>,\n`;
  return isDatagrams(route) ? "" : `<span class="">up</span>,\n`;
}

function errorCell({ lastConnectError, lastHandshakeError }: Counts, now: number): string {
  const errors = [lastConnectError, lastHandshakeError].filter((error) => error !== undefined);
  if (errors.length === 0) return `<td class="empty"></td></tr>`;
  const rows = errors.map(({ at, message }) =>
    markup`<span class="bad">${message}</span>
<span class="when">${formatTime(at)}, ${formatSpan(now - at)} ago</span>`
  );
  return `<td class="error" data-label="Last error"><span>${rows.join("\n")}</span></td></tr>`;
}

function* ignoredTable(ignored: readonly Ignored[]): Generator<string> {
  yield "<h2>Ignored</h2>\n<table>\n<thead><tr><th>Variable</th><th>Reason</th></tr></thead>\n<tbody>";
  for (const { variable, reason } of ignored) {
    yield markup`
<tr><td class="name" data-label="Variable"><bdi>${variable}</bdi></td>
<td data-label="Reason">${reason}</td></tr>`;
  }
  yield "</tbody>\n</table>\n";
}

/** The counts that are a number. */
type Summed = {
  [Key in keyof Counts]: Counts[Key] extends number ? Key : never;
}[keyof Counts];

function sum(routes: readonly RouteReport[], count: Summed): number {
  return routes.reduce((all, { counts }) => all + counts[count], 0);
}

/** Datagrams that were lost, whatever the reason. */
function droppedOf({ dropped }: Counts): number {
  return DROP_REASONS.reduce((all, reason) => all + dropped[reason], 0);
}

/** `1,234,567`. By hand: with Intl the page takes eight times as long to make. */
function formatNumber(number: number): string {
  return String(number).replace(/\B(?=(?:\d{3})+$)/g, ",");
}

const BYTE_UNITS = ["KiB", "MiB", "GiB", "TiB", "PiB"] as const;

/** `999 B`, `1.5 MiB`: three digits, or the bytes themselves. */
export function formatBytes(bytes: number): string {
  let size = bytes;
  let shown = `${bytes} B`;
  for (const unit of BYTE_UNITS) {
    if (size < 1000) break;
    size /= 1024;
    shown = `${size.toFixed(size < 10 ? 2 : size < 100 ? 1 : 0)} ${unit}`;
  }
  return shown;
}

/** `59 s`, `4 min 10 s`, `2 h 5 min`, `3 d 4 h`. */
export function formatSpan(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  if (minutes === 0) return `${seconds} s`;
  if (hours === 0) return `${minutes} min ${seconds % 60} s`;
  if (hours < 24) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

function formatTime(ms: number): string {
  return new Date(ms).toISOString().replace("T", " ").replace(/\.\d+Z$/, " UTC");
}

function formatSince(ms: number, now: number): string {
  return `since ${formatTime(ms)} (${formatSpan(now - ms)} ago)`;
}

/**
 * A template that escapes what is put into it. It is not called `html`, since the formatter would then
 * rewrite what stands in it.
 */
function markup(literals: TemplateStringsArray, ...parts: readonly (string | number)[]): string {
  return literals.reduce((done, literal, at) => done + escape(String(parts[at - 1])) + literal);
}

const NAMED: Readonly<Record<string, string>> = { "&": "amp", "<": "lt", ">": "gt", '"': "quot" };

/** Also what a terminal would act on, for whoever looks at the page with curl. */
function escape(text: string): string {
  return text.replace(
    /[&<>"'\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
    (character) => `&${NAMED[character] ?? `#${character.codePointAt(0)}`};`,
  );
}
