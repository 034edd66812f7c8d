// The results as tables, as bars, and as JSON.

import { formatChart } from "./chart.ts";
import type { Figure, MeasureTable } from "./measures.ts";
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

/** One row for each measure and candidate, the figures beside each other. */
export function formatMeasures(
  results: Results,
  { name: title, againstFirst }: Pick<MeasureTable, "name" | "againstFirst">,
): string {
  const [first] = results.keys();
  const rows = [...results].flatMap(([measure, byName]) => {
    const measured = [...byName].map(([name, lists]) => ({ name, medians: lists.map(median) }))
      .filter(({ medians }) => medians.some((value) => !Number.isNaN(value)));
    return measured.map(({ name, medians }, index) => [
      index === 0 ? measure.name : "",
      name,
      ...medians.map((value, column) => {
        const before = median((first && results.get(first)?.get(name)?.[column]) ?? []);
        const figure = measure.figures[column];
        const isCompared = againstFirst && measure !== first && !Number.isNaN(before);
        if (!isCompared || !figure) return formatNumber(value);
        const times = ratio(value, before, figure.better);
        return `${formatNumber(value)} (${formatRatio(times)})`;
      }),
    ]);
  });
  return formatTable([[title, "", ...first?.figures.map(({ title }) => title) ?? []], ...rows]);
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
