// The status page for people: one HTML page that needs nothing else and works with scripts off. Pure:
// a report in, HTML out. Everything that came from outside is escaped in `markup`, and nowhere else.

import type { Ignored } from "../config/routes.ts";
import type { Counts } from "../forward/counts.ts";
import {
  isDatagrams,
  type Report,
  type RouteReport,
  type WiringReport,
} from "../forward/report.ts";
import {
  formatBytes,
  formatNumber,
  formatSince,
  formatSpan,
  formatTime,
  markup,
} from "./markup.ts";
import { SCRIPT, STYLE } from "./page_assets.ts";
import { certificateBox, isCertificateAlarming } from "./page_certificate.ts";
import {
  connectErrorOf,
  DATAGRAM_TABLE,
  droppedOf,
  failedOf,
  failureSpan,
  isAlarming,
  LEAVING,
  linkTo,
  routesTable,
  STREAM_TABLE,
} from "./page_routes.ts";

/** How many routes that are failing are named above all others. */
const MAX_FAILING = 10;
/** How many routes are seen at a glance: with more, they can be searched. */
const MAX_UNSEARCHED = 20;

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
  const { version, startedAt, ready, routes, wiring, ignored, certificate } = report;
  const state = ready ? "ready" : "draining";
  const failing = routes.filter(isAlarming);
  const states = failing.length === 0 ? state : `${state}, ${formatNumber(failing.length)} failing`;
  yield markup`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Ambassador: ${states}, ${formatNumber(sum(routes, "open"))} open</title>
<link rel="icon" href="data:,">
<noscript><meta http-equiv="refresh" content="5"></noscript>
<style>`;
  yield STYLE;
  // The script replaces a part whose parts have become more or fewer: hence the parts that stay.
  yield markup`</style>
</head>
<body>
<p id="stale" role="status" hidden>The ambassador does not answer; what follows is as it last was.</p>
<main data-at="${now}" data-started="${startedAt}">
<header>
<h1>Ambassador</h1>
<span class="state ${state}">${state}</span>
<span class="faint">version ${version}, up ${formatSpan(now - startedAt)}</span>
</header>
<div>`;
  yield origin(report, now);
  yield* flawBox(wiring, now);
  const present = routes.filter(({ isLeaving }) => !isLeaving).length;
  if (failing.length > 0) yield failingBox(failing, { present, now });
  const isLate = certificate !== undefined && isCertificateAlarming(certificate, now);
  if (isLate) yield certificateBox(certificate, now);
  yield "</div>\n<div>";
  const datagrams = routes.filter(isDatagrams);
  const streams = datagrams.length === 0 ? routes : routes.filter((one) => !isDatagrams(one));
  yield summary(report, { streams, datagrams, isFailing: failing.length > 0 });
  yield '</div>\n<div id="routes">\n';
  yield searchBox(routes.length);
  if (routes.length === 0) yield "<h2>Routes</h2>\n" + noRoute(wiring);
  if (streams.length > 0) yield* routesTable(STREAM_TABLE, streams, now);
  if (datagrams.length > 0) yield* routesTable(DATAGRAM_TABLE, datagrams, now);
  if (present < routes.length) yield markup`<p class="faint">${LEAVING}</p>\n`;
  yield "</div>\n<div>";
  if (certificate !== undefined && !isLate) yield certificateBox(certificate, now);
  if (ignored.length > 0) yield* ignoredTable(ignored);
  const time = formatTime(now);
  yield markup`</div>
<footer>Up is client to upstream, down is upstream to client. As of ${time}. For
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
<p class="problems" tabindex="0">`;
  // A file of a megabyte may have as many problems.
  for (const problem of flaw.message.split("\n")) yield markup`${problem}\n`;
  yield "</p>\n</section>";
}

/** Which routes serve nobody at this moment, and why. */
function failingBox(
  failing: readonly RouteReport[],
  { present, now }: { readonly present: number; readonly now: number },
): string {
  const [count, all] = [formatNumber(failing.length), formatNumber(present)];
  const title = present === 1
    ? "The route is failing"
    : `${count} of ${all} routes ${failing.length === 1 ? "is" : "are"} failing`;
  const rows = failing.slice(0, MAX_FAILING).map((route) =>
    `<li>${linkTo(route)}: ` + markup`<span>${connectErrorOf(route)?.message ?? ""}</span>
<span class="faint">(${failureSpan(route, now)})</span></li>\n`
  );
  const more = failing.length - rows.length;
  return markup`
<section class="flaw">
<h2>${title}</h2>
<ul>
` + rows.join("") + (more > 0 ? markup`<li>and ${formatNumber(more)} more</li>\n` : "") +
    "</ul>\n</section>";
}

/** For a script: without one there is nothing to search with, and it is not shown. */
function searchBox(count: number): string {
  if (count <= MAX_UNSEARCHED) return `<div class="search"></div>\n`;
  return markup`<div class="search">
<label>Find <input type="search" id="find" placeholder="name, address, error" autocomplete="off"
spellcheck="false"></label>
<label><input type="checkbox" id="only-failing"> failing only</label>
<output for="find only-failing"></output></div>\n`;
}

/** Routes by what they pass on, and whether one of them is failing. */
interface Sorted {
  readonly streams: readonly RouteReport[];
  readonly datagrams: readonly RouteReport[];
  readonly isFailing: boolean;
}

function summary(
  { routes, wiring }: Report,
  { streams, datagrams, isFailing }: Sorted,
): string {
  const { file, rewires, flaw } = wiring;
  const ofAll = (streams.length > 0 || datagrams.length === 0 ? connectionTiles(streams) : "") +
    bytesTile("Bytes up", sum(routes, "bytesUp")) +
    bytesTile("Bytes down", sum(routes, "bytesDown")) +
    badTile("Connect errors", sumOf(routes, failedOf), isFailing) +
    (file === undefined ? "" : tile("Rewired", rewires.ok)) +
    (file === undefined ? "" : badTile("Failed to rewire", rewires.failed, flaw !== undefined));
  const rows = datagrams.length > 0 ? [ofAll, sessionTiles(datagrams)] : [ofAll];
  if (streams.length === 0) rows.reverse();
  return rows.map((row) => `\n<dl>\n${row}</dl>\n`).join("");
}

function connectionTiles(routes: readonly RouteReport[]): string {
  return tile("Open connections", sum(routes, "open")) +
    rateTile("Connections so far", sum(routes, "connections"));
}

function sessionTiles(routes: readonly RouteReport[]): string {
  return tile("Open sessions", sum(routes, "open")) +
    rateTile("Sessions so far", sum(routes, "connections")) +
    rateTile("Datagrams up", sum(routes, "datagramsUp")) +
    rateTile("Datagrams down", sum(routes, "datagramsDown")) +
    rateTile("Datagrams dropped", sumOf(routes, droppedOf));
}

function tile(name: string, number: number): string {
  return markup`<div><dt>${name}</dt><dd>${formatNumber(number)}</dd></div>\n`;
}

/** A number of which the script tells how fast it grows. */
function rateTile(name: string, number: number): string {
  return markup`<div><dt>${name}</dt><dd data-rate="${name}">${formatNumber(number)}</dd></div>\n`;
}

/** The same in bytes. */
function bytesTile(name: string, bytes: number): string {
  return markup`<div><dt>${name}</dt><dd data-rate="${name}" title="${formatNumber(bytes)}">` +
    `${formatBytes(bytes)}</dd></div>\n`;
}

/** A number that should be 0; it is loud only while it grows. */
function badTile(name: string, number: number, isBad: boolean): string {
  return markup`<div><dt>${name}</dt><dd class="${isBad ? "bad" : ""}">${
    formatNumber(number)
  }</dd></div>
`;
}

function noRoute({ file }: WiringReport): string {
  if (file === undefined) return `<p class="none">Nothing is forwarded: there is no route.</p>\n`;
  return markup`<p class="none">Nothing is forwarded: neither the environment nor <bdi>${file}</bdi>
gives a route.</p>\n`;
}

function* ignoredTable(ignored: readonly Ignored[]): Generator<string> {
  yield `<h2 id="ignored">Ignored</h2>
<table aria-labelledby="ignored">
<thead><tr><th scope="col">Variable</th><th scope="col">Reason</th></tr></thead>\n<tbody>`;
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
  return sumOf(routes, (counts) => counts[count]);
}

function sumOf(routes: readonly RouteReport[], read: (counts: Counts) => number): number {
  return routes.reduce((all, { counts }) => all + read(counts), 0);
}
