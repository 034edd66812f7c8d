// The counts in the Prometheus text format, version 0.0.4. Pure: a report in, text out.
// https://prometheus.io/docs/instrumenting/exposition_formats/

import { formatAddress } from "../base/address.ts";
import { CONNECT_SECONDS, type Counts, REASONS } from "../forward/counts.ts";
import type { Report } from "../forward/report.ts";
import { routeName } from "../config/routes.ts";

/** The media type of {@linkcode formatMetrics}. */
export const METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** A number of a route, with the label that it has beside the route's own. */
type Sample = readonly [value: number, label?: string];

/** A metric that every route has. */
interface RouteMetric {
  readonly name: string;
  readonly type: "counter" | "gauge";
  readonly help: string;
  readonly read: (counts: Counts) => readonly Sample[];
}

const ROUTE_METRICS: readonly RouteMetric[] = [
  {
    name: "ambassador_connections_open",
    type: "gauge",
    help: "Connections that are open now.",
    read: (counts) => [[counts.open]],
  },
  {
    name: "ambassador_connections_total",
    type: "counter",
    help: "Clients accepted.",
    read: (counts) => [[counts.connections]],
  },
  {
    name: "ambassador_connections_closed_total",
    type: "counter",
    help: "Connections closed, by who or what ended them.",
    read: (counts) => REASONS.map((reason) => [counts.closed[reason], label("reason", reason)]),
  },
  {
    name: "ambassador_bytes_total",
    type: "counter",
    help: "Bytes delivered: up is client to upstream, down is upstream to client.",
    read: (counts) => [
      [counts.bytesUp, label("direction", "up")],
      [counts.bytesDown, label("direction", "down")],
    ],
  },
  {
    name: "ambassador_connect_errors_total",
    type: "counter",
    help: "Clients whose upstream could not be reached.",
    read: (counts) => [[counts.connectErrors]],
  },
  {
    name: "ambassador_accept_errors_total",
    type: "counter",
    help: "Accepts that failed, clients that had already gone included.",
    read: (counts) => [[counts.acceptErrors]],
  },
];

const CONNECT_DURATION = "ambassador_connect_duration_seconds";

/** The text that `/metrics` answers. */
export function formatMetrics({ version, startedAt, routes }: Report): string {
  const labelled = routes.map(({ route, counts }) => {
    const name = label("route", routeName(route));
    return { labels: `${name},${label("listen", formatAddress(route.listen))}`, counts };
  });
  const lines: string[] = [];
  for (const { name, type, help, read } of ROUTE_METRICS) {
    lines.push(...head(name, type, help));
    for (const { labels, counts } of labelled) {
      for (const [value, own] of read(counts)) {
        lines.push(sample(name, own === undefined ? labels : `${labels},${own}`, value));
      }
    }
  }
  lines.push(...head(
    CONNECT_DURATION,
    "histogram",
    "Time from accepting a client to reaching its upstream, name lookup and retries included.",
  ));
  for (const { labels, counts } of labelled) lines.push(...histogram(labels, counts));
  lines.push(
    ...head("ambassador_build_info", "gauge", "Always 1; the version is in the label."),
    sample("ambassador_build_info", label("version", version), 1),
    ...head(
      "process_start_time_seconds",
      "gauge",
      "Start time of the process since unix epoch in seconds.",
    ),
    `process_start_time_seconds ${startedAt / 1000}`,
  );
  return `${lines.join("\n")}\n`;
}

function head(name: string, type: string, help: string): string[] {
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`];
}

function histogram(labels: string, counts: Counts): string[] {
  let below = 0;
  const buckets = counts.connectBuckets.map((count, index) => {
    below += count;
    const bound = label("le", String(CONNECT_SECONDS[index] ?? "+Inf"));
    return sample(`${CONNECT_DURATION}_bucket`, `${labels},${bound}`, below);
  });
  return [
    ...buckets,
    sample(`${CONNECT_DURATION}_sum`, labels, counts.connectSecondsSum),
    sample(`${CONNECT_DURATION}_count`, labels, below),
  ];
}

function sample(name: string, labels: string, value: number): string {
  return `${name}{${labels}} ${value}`;
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
