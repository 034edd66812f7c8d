// Ratios as bars in the terminal, around the line where both are equal.

import { formatRatio } from "./stats.ts";

/** One bar. */
export interface Bar {
  /** What is compared. */
  readonly label: string;
  /** Above 1: better than the peer. */
  readonly ratio: number;
}

/** Bars of one peer, on a scale of halvings and doublings: `│` is where both are equal. */
export function formatChart(title: string, bars: readonly Bar[]): string {
  const labelWidth = Math.max(...bars.map(({ label }) => [...label].length));
  const lines = bars.map(({ label, ratio }) =>
    `  ${label.padEnd(labelWidth)} ${bar(ratio)} ${formatRatio(ratio)}`
  );
  return [title, ...lines].join("\n");
}

/** Cells on each side of the middle, and how many of them are one doubling. */
const SIDE = 16;
const CELLS_A_DOUBLING = 4;

function bar(ratio: number): string {
  const cells = Number.isFinite(ratio)
    ? Math.max(-SIDE, Math.min(SIDE, Math.round(Math.log2(ratio) * CELLS_A_DOUBLING)))
    : 0;
  const left = "░".repeat(Math.max(0, -cells)).padStart(SIDE);
  const right = "█".repeat(Math.max(0, cells)).padEnd(SIDE);
  return `${left}│${right}`;
}
