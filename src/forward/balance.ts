// The orders in which a client may get the targets of a route. Pure: it knows only how many
// connections each has.

import type { Balance } from "../config/options.ts";

/** What an order looks at. */
export interface Balanced {
  /** Connections that the target has, and those on their way to it. */
  readonly load: number;
}

type Order = <T extends Balanced>(targets: readonly T[], turn: number) => readonly T[];

const ORDERS: Readonly<Record<Balance, Order>> = {
  first: (targets) => targets,
  roundrobin: rotate,
  // Equals take turns: all are, where connections are short.
  leastconn: (targets, turn) => rotate(targets, turn).sort((a, b) => a.load - b.load),
};

/** The targets in the order in which client number `turn` is to get them. */
export function inOrder<T extends Balanced>(
  targets: readonly T[],
  { balance, turn }: { readonly balance: Balance; readonly turn: number },
): readonly T[] {
  return ORDERS[balance](targets, turn);
}

function rotate<T>(targets: readonly T[], turn: number): T[] {
  const start = turn % targets.length;
  return [...targets.slice(start), ...targets.slice(0, start)];
}
