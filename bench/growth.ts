// The cost of one more connection and of one more route: the same work with more and more of them.

import { idle, requests } from "./loads.ts";
import { memoryBytes } from "./process.ts";
import type { Services } from "./services.ts";
import type { Candidate } from "./setup.ts";
import { formatNumber } from "./stats.ts";
import { formatTable } from "./table.ts";

/** Options for {@linkcode measureGrowth}. */
export interface MeasureGrowthOptions {
  /** The servers. */
  readonly services: Services;
  /** 1 for figures to publish, less for a quick look. */
  readonly effort: number;
  /** Told what is about to be measured. */
  readonly onStep: (step: string) => void;
}

const CONNECTIONS = [10, 100, 1000, 5000] as const;
const ROUTES = [1, 100, 1000] as const;

/** Two tables. */
export async function measureGrowth(
  candidate: Candidate,
  options: MeasureGrowthOptions,
): Promise<string> {
  const connections = await growConnections(candidate, options);
  return `${connections}\n\n${await growRoutes(candidate, options)}`;
}

async function growConnections(
  candidate: Candidate,
  { services, effort, onStep }: MeasureGrowthOptions,
): Promise<string> {
  const rows: string[][] = [["connections", "PING/s", "p50 ms", "p99 ms", "KB each, idle"]];
  for (const connections of CONNECTIONS) {
    onStep(`growth: ${connections} connections`);
    await using forwarder = await candidate.launch();
    const bytes = await idle(forwarder, { connections });
    // More clients than one benchmark thread serves well say more of it than of the forwarder.
    const count = 60_000 * effort + connections * 4;
    const { perSecond, p50Ms, p99Ms } = await requests(services, forwarder, { count, connections });
    rows.push([`${connections}`, ...[perSecond, p50Ms, p99Ms, bytes / 1000].map(formatNumber)]);
  }
  return formatTable(rows);
}

async function growRoutes(
  candidate: Candidate,
  { services, effort, onStep }: MeasureGrowthOptions,
): Promise<string> {
  const rows: string[][] = [["routes", "start ms", "memory MB", "PING/s on the last"]];
  for (const routes of ROUTES) {
    onStep(`growth: ${routes} routes`);
    const beginMs = performance.now();
    await using forwarder = await candidate.launchWithRoutes(routes);
    const startMs = performance.now() - beginMs;
    const memory = memoryBytes(forwarder.processes) / 1e6;
    const options = { count: 60_000 * effort, connections: 50 };
    const { perSecond } = await requests(services, forwarder, options);
    rows.push([`${routes}`, ...[startMs, memory, perSecond].map(formatNumber)]);
  }
  return formatTable(rows);
}
