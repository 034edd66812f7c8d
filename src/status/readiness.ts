// The body of `/readyz`: whether clients are welcome, and how each route fares. Pure.

import type { Counts } from "../forward/counts.ts";
import type { Report, RouteReport } from "../forward/report.ts";
import { escapeInvisible } from "../base/text.ts";

/** The report as JSON, with a line's end, in pieces; routes that are leaving are none any more. */
export function* formatReadiness({ ready, routes }: Report): Generator<string> {
  yield `{\n  "status": "${ready ? "ready" : "draining"}",\n  "routes": [`;
  const present = routes.filter(({ isLeaving }) => !isLeaving);
  let separator = "\n";
  for (const route of present) {
    const json = escapeInvisible(JSON.stringify(readinessOf(route), null, 2));
    yield `${separator}    ${json.replaceAll("\n", "\n    ")}`;
    separator = ",\n";
  }
  yield present.length === 0 ? "]\n}\n" : "\n  ]\n}\n";
}

function readinessOf({ route: { aliases, listen, targets }, counts }: RouteReport): unknown {
  const handshakes = listen.protocol === "tls"
    ? { last_handshake_error: failureOf(counts.lastHandshakeError) }
    : {};
  return {
    aliases,
    listen,
    targets,
    open_connections: counts.open,
    last_connect_error: failureOf(counts.lastConnectError),
    ...handshakes,
  };
}

function failureOf(error: Counts["lastConnectError"]): unknown {
  return error ? { time: new Date(error.at).toISOString(), error: error.message } : null;
}
