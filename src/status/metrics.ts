// The counts in the Prometheus text format, version 0.0.4. Pure: a report in, text out, in pieces.
// https://prometheus.io/docs/instrumenting/exposition_formats/

import { formatListen } from "../base/address.ts";
import { CONNECT_SECONDS, type Counts, REASONS } from "../forward/counts.ts";
import type { Report, RouteReport } from "../forward/report.ts";
import { type Route, routeName } from "../config/routes.ts";

/** The media type of {@linkcode formatMetrics}. */
export const METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** A number with the labels of its own, and what stands behind its metric's name in a histogram. */
type Sample = readonly [value: number, labels?: string, suffix?: string];

/** A metric: of every route, or of the program. */
interface Metric<Source> {
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly help: string;
  readonly read: (source: Source) => readonly Sample[];
}

const REASON_LABELS = REASONS.map((reason) => [reason, label("reason", reason)] as const);
const UP = label("direction", "up");
const DOWN = label("direction", "down");
const BUCKET_LABELS = [...CONNECT_SECONDS, "+Inf"].map((bound) => label("le", String(bound)));

const ROUTE_METRICS: readonly Metric<RouteReport>[] = [
  {
    name: "ambassador_connections_open",
    type: "gauge",
    help: "Connections that are open now.",
    read: ({ counts }) => [[counts.open]],
  },
  {
    name: "ambassador_connections_total",
    type: "counter",
    help: "Clients accepted.",
    read: ({ counts }) => [[counts.connections]],
  },
  {
    name: "ambassador_connections_closed_total",
    type: "counter",
    help: "Connections closed, by who or what ended them.",
    read: ({ counts }) => REASON_LABELS.map(([reason, own]) => [counts.closed[reason], own]),
  },
  {
    name: "ambassador_bytes_total",
    type: "counter",
    help: "Bytes delivered: up is client to upstream, down is upstream to client.",
    read: ({ counts }) => [[counts.bytesUp, UP], [counts.bytesDown, DOWN]],
  },
  {
    name: "ambassador_connect_errors_total",
    type: "counter",
    help: "Clients whose upstream could not be reached.",
    read: ({ counts }) => [[counts.connectErrors]],
  },
  {
    name: "ambassador_accept_errors_total",
    type: "counter",
    help: "Accepts that failed, clients that had already gone included.",
    read: ({ counts }) => [[counts.acceptErrors]],
  },
  {
    name: "ambassador_connect_duration_seconds",
    type: "histogram",
    help:
      "Time from accepting a client to reaching its upstream, name lookup and retries included.",
    read: ({ counts }) => histogram(counts),
  },
];

const PROGRAM_METRICS: readonly Metric<Report>[] = [
  {
    name: "ambassador_build_info",
    type: "gauge",
    help: "Always 1; the version is in the label.",
    read: ({ version }) => [[1, label("version", version)]],
  },
  {
    name: "process_start_time_seconds",
    type: "gauge",
    help: "Start time of the process since unix epoch in seconds.",
    read: ({ startedAt }) => [[startedAt / 1000]],
  },
];

/** The text that `/metrics` answers, in pieces of a few lines. */
export function* formatMetrics(report: Report): Generator<string> {
  for (const metric of ROUTE_METRICS) {
    yield head(metric);
    for (const route of report.routes) yield format(metric, route, labelsOf(route.route));
  }
  for (const metric of PROGRAM_METRICS) yield head(metric) + format(metric, report, "");
}

function head({ name, type, help }: Metric<never>): string {
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;
}

/** A line for each sample of a metric. */
function format<Source>({ name, read }: Metric<Source>, source: Source, labels: string): string {
  let lines = "";
  for (const [value, own = "", suffix = ""] of read(source)) {
    const all = labels !== "" && own !== "" ? `${labels},${own}` : labels + own;
    lines += all === "" ? `${name}${suffix} ${value}\n` : `${name}${suffix}{${all}} ${value}\n`;
  }
  return lines;
}

function histogram({ connectBuckets, connectSecondsSum }: Counts): Sample[] {
  let below = 0;
  const samples = BUCKET_LABELS.map((bound, index): Sample => {
    below += connectBuckets[index] ?? 0;
    return [below, bound, "_bucket"];
  });
  samples.push([connectSecondsSum, "", "_sum"], [below, "", "_count"]);
  return samples;
}

const routeLabels = new WeakMap<Route, string>();

/** The labels of all samples of a route, made once. */
function labelsOf(route: Route): string {
  let labels = routeLabels.get(route);
  if (labels === undefined) {
    labels = `${label("route", routeName(route))},${label("listen", formatListen(route.listen))}`;
    routeLabels.set(route, labels);
  }
  return labels;
}

function label(name: string, value: string): string {
  return `${name}="${escape(value)}"`;
}

/** An alias is what somebody called a variable: it may hold whatever could end a label. */
function escape(text: string): string {
  const escaped = text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
  // The format has no escape for what else a terminal acts on, so it becomes plain text.
  return escaped.replace(
    /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
    (character) => `\\\\u{${character.codePointAt(0)?.toString(16)}}`,
  );
}
