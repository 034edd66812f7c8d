// The results as a table with the ratio to each peer, as bars, and as JSON.

import { formatChart } from "./chart.ts";
import type { Figure } from "./measures.ts";
import type { Results } from "./rounds.ts";
import { formatNumber, formatRatio, median, ratio } from "./stats.ts";
import { formatTable } from "./table.ts";

/** The median of one figure for each candidate. */
export interface Row extends Figure {
  /** By candidate, in the order of the columns; the ambassador is the first. */
  readonly medians: ReadonlyMap<string, number>;
}

/** One row for each figure. */
export function rowsOf(results: Results): Row[] {
  return [...results].flatMap(([{ figures }, byName]) =>
    figures.map((figure, index) => ({
      ...figure,
      medians: new Map([...byName].map(([name, lists]) => [name, median(lists[index] ?? [])])),
    }))
  );
}

/** Each peer's figure and, in brackets, how many times better the ambassador's is. */
export function formatRows(rows: readonly Row[]): string {
  const names = [...rows[0]?.medians.keys() ?? []];
  return formatTable([
    ["median", ...names],
    ...rows.map(({ title, better, medians }) => [
      title,
      ...[...medians.values()].map((value, column) => {
        if (column === 0) return formatNumber(value);
        return `${formatNumber(value)} (${formatRatio(ratio(ours(medians), value, better))})`;
      }),
    ]),
  ]);
}

/** One chart a peer. */
export function formatCharts(rows: readonly Row[]): string {
  const [own = "", ...peers] = rows[0]?.medians.keys() ?? [];
  return peers.map((peer) =>
    formatChart(
      `${own} against ${peer}: █ better, ░ worse, 4 cells are twice as good`,
      rows.map(({ title, better, medians }) => ({
        label: title,
        ratio: ratio(ours(medians), medians.get(peer) ?? NaN, better),
      })),
    )
  ).join("\n\n");
}

/** Everything, the single rounds included. */
export function formatJson(results: Results): string {
  const figures = [...results].flatMap(([measure, byName]) =>
    measure.figures.map((figure, index) => ({
      measure: measure.name,
      ...figure,
      rounds: Object.fromEntries([...byName].map(([name, lists]) => [name, lists[index] ?? []])),
      medians: Object.fromEntries(
        [...byName].map(([name, lists]) => [name, median(lists[index] ?? [])]),
      ),
    }))
  );
  return JSON.stringify({ figures }, null, 2);
}

function ours(medians: ReadonlyMap<string, number>): number {
  return [...medians.values()][0] ?? NaN;
}
