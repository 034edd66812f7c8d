// The real program with UDP routes, and what it has counted, for tests. What stands at the other ends
// is in datagrams.ts.

import { freeUdpPort, type UdpAddress } from "./datagrams.ts";
import { type Program, startProgram, type StartProgramOptions, until, within } from "./mod.ts";

/** The program with one UDP route, ready. */
export interface UdpRoute extends AsyncDisposable {
  /** The child process. */
  readonly program: Program;
  /** Where the route listens. */
  readonly address: UdpAddress;
  /** What the route has counted so far. */
  counts(): Promise<UdpCounts>;
  /** Waits until that holds for what it has counted; gives it. */
  counted(isTrue: (counts: UdpCounts) => boolean, what: string): Promise<UdpCounts>;
  /** Sends SIGTERM and waits for the end; the exit status. */
  stop(): Promise<number>;
}

/** What all UDP routes of a program have counted, by its metrics. */
export interface UdpCounts {
  /** Sessions that are open. */
  readonly open: number;
  /** Sessions that have begun. */
  readonly opened: number;
  /** Sessions that have ended, by reason. */
  readonly closed: Readonly<Record<string, number>>;
  /** Datagrams and their bytes, client → upstream. */
  readonly up: { readonly datagrams: number; readonly bytes: number };
  /** Datagrams and their bytes, upstream → client. */
  readonly down: { readonly datagrams: number; readonly bytes: number };
  /** Datagrams of clients and targets that were lost inside, by reason. */
  readonly dropped: Readonly<Record<string, number>>;
  /** All of these. */
  readonly lost: number;
  /** Datagrams of others: whatever still wanders about on this machine is among them. */
  readonly strangers: number;
}

/** Options for {@linkcode startUdpRoute}. */
export interface StartUdpRouteOptions extends StartProgramOptions {
  /** Options of the program. */
  readonly args?: readonly string[];
  /** Where it listens; 127.0.0.1 unless given. */
  readonly hostname?: string;
  /** Its port; a free one unless given. */
  readonly port?: number;
}

/** Starts the program with one UDP route to these targets. */
export async function startUdpRoute(
  targets: readonly UdpAddress[],
  { args = [], hostname = "127.0.0.1", port = freeUdpPort(hostname), ...options }:
    StartUdpRouteOptions = {},
): Promise<UdpRoute> {
  const status = `127.0.0.1:${freeUdpPort()}`;
  const route = `${format({ hostname, port })}/udp=${targets.map(format).join(",")}`;
  const program = startProgram([...args, "--status", status, route], options);
  try {
    await program.line(/ ready /);
  } catch (error) {
    await program[Symbol.asyncDispose]();
    throw error;
  }
  const counts = (): Promise<UdpCounts> => countsOf(`http://${status}`);
  return {
    program,
    address: { hostname, port },
    counts,
    async counted(isTrue, what): Promise<UdpCounts> {
      let last = await counts();
      try {
        await until(async () => isTrue(last = await counts()), what);
      } catch (cause) {
        throw new Error(`${what}: ${JSON.stringify(last)}`, { cause });
      }
      return last;
    },
    async stop(): Promise<number> {
      program.kill("SIGTERM");
      return (await within(program.status, "the program to end")).code;
    },
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
}

/** `[::1]:53` */
function format({ hostname, port }: UdpAddress): string {
  return hostname.includes(":") ? `[${hostname}]:${port}` : `${hostname}:${port}`;
}

/** What a program has counted whose status page is there. */
export async function countsOf(statusUrl: string): Promise<UdpCounts> {
  const response = await fetch(`${statusUrl}/metrics`);
  const text = await response.text();
  function sum(name: string, label = ""): number {
    const lines = text.split("\n").filter((line) =>
      line.startsWith(`ambassador_${name}{`) && line.includes('/udp"') && line.includes(label)
    );
    return lines.reduce((all, line) => all + Number(line.slice(line.lastIndexOf(" "))), 0);
  }
  function byReason(name: string): Record<string, number> {
    const reasons = [...text.matchAll(/\breason="(\w+)"/g)].map(([, reason]) => reason ?? "");
    const all = reasons.map((reason) => [reason, sum(name, `reason="${reason}"`)] as const);
    return Object.fromEntries(all.filter(([, count]) => count > 0));
  }
  const moved = (direction: string): UdpCounts["up"] => ({
    datagrams: sum("datagrams_total", `direction="${direction}"`),
    bytes: sum("bytes_total", `direction="${direction}"`),
  });
  const { stranger = 0, ...dropped } = byReason("datagrams_dropped_total");
  return {
    open: sum("connections_open"),
    opened: sum("connections_total"),
    closed: byReason("connections_closed_total"),
    up: moved("up"),
    down: moved("down"),
    dropped,
    lost: Object.values(dropped).reduce((all, count) => all + count, 0),
    strangers: stranger,
  };
}
