// The body of `/readyz`: whether clients are welcome, and how each route fares. Pure.

import type { Report } from "../forward/report.ts";
import { escapeInvisible } from "../base/text.ts";

/** The report as JSON, with a line's end. */
export function formatReadiness({ ready, routes }: Report): string {
  const body = {
    status: ready ? "ready" : "draining",
    routes: routes.map(({ route: { aliases, listen, targets }, counts }) => ({
      aliases,
      listen,
      targets,
      open_connections: counts.open,
      last_connect_error: counts.lastConnectError === undefined ? null : {
        time: new Date(counts.lastConnectError.at).toISOString(),
        error: counts.lastConnectError.message,
      },
    })),
  };
  return `${escapeInvisible(JSON.stringify(body, null, 2))}\n`;
}
