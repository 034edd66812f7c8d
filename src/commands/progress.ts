// What `wait` shows while it waits: on a terminal one line that is drawn again and again, elsewhere a
// line for each upstream that accepts. It decides the text; where it goes is told.

/** An upstream that is waited for. */
export interface AwaitedUpstream {
  /** `HOST:PORT`. */
  readonly target: string;
  /** Whether it has accepted a connection. */
  accepts: boolean;
  /** Why the last try failed. */
  error: string | undefined;
}

/** Carriage return, and clear to the end of the line. */
export const REDRAW = "\r\x1b[K";

/**
 * What to call after each try of `waitForUpstreams`.
 *
 * @param options `columns` are those of the terminal, undefined where there is none.
 */
export function showProgress(
  { columns, write }: {
    readonly columns: number | undefined;
    readonly write: (text: string) => void;
  },
): (tried: AwaitedUpstream, all: readonly AwaitedUpstream[]) => void {
  if (columns === undefined) {
    return ({ accepts, target }) => {
      if (accepts) write(`ambassador: ${target} accepts connections\n`);
    };
  }
  return (_, all) => {
    const line = progressLine(all);
    // The last column is left free: some terminals go to the next line as soon as it is written.
    const cut = line.length < columns ? line : `${line.slice(0, Math.max(0, columns - 2))}…`;
    write(`${REDRAW}${cut}${all.every(({ accepts }) => accepts) ? "\n" : ""}`);
  };
}

function progressLine(all: readonly AwaitedUpstream[]): string {
  const missing = all.filter(({ accepts }) => !accepts);
  return missing.length === 0
    ? `${all.length} of ${all.length} upstreams accept connections`
    : `waiting for ${missing.length} of ${all.length}: ${describeUpstreams(missing)}`;
}

/** `db:5432 (connection refused), cache:6379 (no answer within 10s)`. */
export function describeUpstreams(upstreams: readonly AwaitedUpstream[]): string {
  return upstreams.map(({ target, error }) => error === undefined ? target : `${target} (${error})`)
    .join(", ");
}
