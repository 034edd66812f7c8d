// The counts in the Prometheus text format, version 0.0.4. Pure: a report in, text out, in pieces.
// https://prometheus.io/docs/instrumenting/exposition_formats/

import { formatListen } from "../base/address.ts";
import { CONNECT_SECONDS, type Counts, DROP_REASONS, REASONS } from "../forward/counts.ts";
import { isDatagrams, type Report, type RouteReport } from "../forward/report.ts";
import { type Route, routeName } from "../config/routes.ts";

/** The media type of {@linkcode formatMetrics}. */
export const METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8";
/** A number with the labels of its own, and what stands behind its metric's name in a histogram. */
type Sample = readonly [value: number, labels?: string, suffix?: string];

/** A metric of every route, or of the program: name and type, help, and how its samples are read. */
type Metric<Source> = readonly [
  nameAndType: `${string} ${"counter" | "gauge" | "histogram"}`,
  help: string,
  read: (source: Source) => readonly Sample[],
];

const ROUTE_METRICS: readonly Metric<RouteReport>[] = [
  [
    "ambassador_connections_open gauge",
    "Connections that are open now, sessions of UDP included.",
    ({ counts: c }) => [[c.open]],
  ],
  [
    "ambassador_connections_total counter",
    "Clients accepted, sessions of UDP included.",
    ({ counts: c }) => [[c.connections]],
  ],
  [
    "ambassador_connections_closed_total counter",
    "Connections and sessions of UDP closed, by who or what ended them.",
    ({ counts: c }) => REASONS.map((reason) => [c.closed[reason], `reason="${reason}"`]),
  ],
  [
    "ambassador_bytes_total counter",
    "Bytes delivered: up is client to upstream, down is upstream to client.",
    ({ counts: c }) => [[c.bytesUp, 'direction="up"'], [c.bytesDown, 'direction="down"']],
  ],
  [
    "ambassador_connect_errors_total counter",
    "Clients whose upstream could not be reached.",
    ({ counts: c }) => [[c.connectErrors]],
  ],
  [
    "ambassador_accept_errors_total counter",
    "Accepts that failed, clients that had already gone included.",
    ({ counts: c }) => [[c.acceptErrors]],
  ],
  [
    "ambassador_connect_duration_seconds histogram",
    "Time from accepting a client, or from the end of its handshake, to reaching its upstream.",
    ({ counts }) => histogram(counts),
  ],
  [
    "ambassador_target_up gauge",
    "Whether the target could be reached when it was last tried; of UDP, whether its name was found.",
    // One that is leaving says nothing of the route: it would hide that the new one is down.
    ({ targets }) =>
      targets.filter(({ isLeaving }) => !isLeaving)
        .map((one) => [one.downSince === undefined ? 1 : 0, label("target", one.name)]),
  ],
  [
    "ambassador_target_connections_total counter",
    "Connections that the target has had, sessions of UDP included.",
    ({ targets }) => targets.map(({ name, connections }) => [connections, label("target", name)]),
  ],
];

const DATAGRAM_METRICS: readonly Metric<RouteReport>[] = [
  [
    "ambassador_datagrams_total counter",
    "Datagrams passed on: up is client to upstream, down is upstream to client.",
    ({ counts: c }) => [[c.datagramsUp, 'direction="up"'], [c.datagramsDown, 'direction="down"']],
  ],
  [
    "ambassador_datagrams_dropped_total counter",
    "Datagrams lost inside, by the reason.",
    ({ counts: c }) => DROP_REASONS.map((reason) => [c.dropped[reason], `reason="${reason}"`]),
  ],
];

const PROGRAM_METRICS: readonly Metric<Report>[] = [
  [
    "ambassador_rewires_total counter",
    "Changes of the routes file, by whether they took effect.",
    ({ wiring: { rewires } }) => [
      [rewires.ok, 'result="ok"'],
      [rewires.failed, 'result="failed"'],
    ],
  ],
  [
    "ambassador_routes_file_ok gauge",
    "Whether what the routes file holds is in force.",
    ({ wiring: { file, flaw } }) => file === undefined ? [] : [[flaw === undefined ? 1 : 0]],
  ],
  [
    "ambassador_tls_certificate_expiry_timestamp_seconds gauge",
    "When this ambassador's own certificate expires, since unix epoch in seconds.",
    ({ certificate }) => certificate === undefined ? [] : [[certificate.notAfterMs / 1000]],
  ],
  [
    "ambassador_build_info gauge",
    "Always 1; the version is in the label.",
    ({ version }) => [[1, label("version", version)]],
  ],
  [
    "process_start_time_seconds gauge",
    "Start time of the process since unix epoch in seconds.",
    ({ startedAt }) => [[startedAt / 1000]],
  ],
];

const BUCKET_LABELS = [...CONNECT_SECONDS, "+Inf"].map((bound) => `le="${bound}"`);

/** The text that `/metrics` answers, in pieces of a few lines. */
export function* formatMetrics(report: Report): Generator<string> {
  const routes = report.routes.map((one) => [one, labelsOf(one.route)] as const);
  for (const metric of ROUTE_METRICS) yield* format(metric, routes);
  const ofDatagrams = routes.filter(([one]) => isDatagrams(one));
  for (const metric of DATAGRAM_METRICS) yield* format(metric, ofDatagrams);
  for (const metric of PROGRAM_METRICS) yield* format(metric, [[report, ""]]);
}

/** A metric's head, and a line for each of its samples. */
function* format<Source>(
  [nameAndType, help, read]: Metric<Source>,
  sources: readonly (readonly [source: Source, labels: string])[],
): Generator<string> {
  const [name] = nameAndType.split(" ");
  yield `# HELP ${name} ${help}\n# TYPE ${nameAndType}\n`;
  for (const [source, labels] of sources) {
    let lines = "";
    for (const [value, own = "", suffix = ""] of read(source)) {
      const all = labels !== "" && own !== "" ? `${labels},${own}` : labels + own;
      lines += `${name}${suffix}${all === "" ? "" : `{${all}}`} ${value}\n`;
    }
    yield lines;
  }
}

function histogram({ connectBuckets, connectSecondsSum }: Counts): Sample[] {
  let below = 0;
  const samples = BUCKET_LABELS.map((bound, index): Sample => {
    below += connectBuckets[index] ?? 0;
    return [below, bound, "_bucket"];
  });
  return [...samples, [connectSecondsSum, "", "_sum"], [below, "", "_count"]];
}

const routeLabels = new WeakMap<Route, string>();

/** The labels of all samples of a route, made once: many slow scrapers would hold them many times. */
function labelsOf(route: Route): string {
  let labels = routeLabels.get(route);
  if (labels === undefined) {
    labels = `${label("route", routeName(route))},${label("listen", formatListen(route.listen))}`;
    routeLabels.set(route, labels);
  }
  return labels;
}

const ESCAPES: Readonly<Record<string, string>> = { "\\": "\\\\", '"': '\\"', "\n": "\\n" };

/**
 * An alias is what somebody called a variable: it may hold whatever could end a label. The format has
 * no escape for what else a terminal acts on, so it becomes plain text.
 */
function label(name: string, value: string): string {
  const escaped = value.replace(
    /[\\"\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
    (character) => ESCAPES[character] ?? `\\\\u{${character.codePointAt(0)?.toString(16)}}`,
  );
  return `${name}="${escaped}"`;
}
