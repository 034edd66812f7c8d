// What it costs to know who may come, to tell who it was and to have another target: the CPU time of a
// new connection with each of them, and with all, as a share of what a plain one takes.

import { arrivals } from "./loads.ts";
import type { MeasureTable } from "./measures.ts";
import { startPong } from "./pong.ts";

/** One way to serve a new connection. */
interface Edge {
  /** The head of its column. */
  readonly title: string;
  /** Of the route. */
  readonly settings: readonly string[];
  /** How many there are. Default: 1. */
  readonly targets?: number;
  /** Whether clients begin with a PROXY header. Default: no. */
  readonly announces?: boolean;
  /** Whether the targets want one. Default: no. */
  readonly behindHeader?: boolean;
}

/** Where the clients come from. */
const SOURCE = "127.0.0.1";
/** Whom they announce. */
const ANNOUNCED = "192.0.2.1";
/** Clients a second; more would fill the machine's connection tracking in a few minutes. */
const RATE = 1000;
/** How long clients come to one route before they come to the next, in seconds. */
const TURN_SECONDS = 0.5;
/** How often they come to each; the first time, in which the program becomes fast, is not counted. */
const TURNS = 13;

/** A hundred networks; the clients, and those whom they announce, are of the last two. */
const NETWORKS = [
  ...Array.from({ length: 98 }, (_, index) => `10.${index}.0.0/16`),
  "192.0.2.0/24",
  "127.0.0.0/8",
];
const ALLOW = `allow=${NETWORKS.join()}`;
const SEND_PROXY = "send-proxy=v2";
const ACCEPT_PROXY = "accept-proxy=127.0.0.0/8";
const BALANCE = "balance=roundrobin";

const PLAIN: Edge = { title: "plain, µs", settings: [] };
/** The others are measured beside it. */
const EDGES: readonly Edge[] = [
  { title: "--allow, 100 networks", settings: [ALLOW] },
  { title: "--send-proxy=v2", settings: [SEND_PROXY], behindHeader: true },
  { title: "--accept-proxy", settings: [ACCEPT_PROXY], announces: true },
  { title: "2 targets, roundrobin", settings: [BALANCE], targets: 2 },
  {
    title: "all of them",
    settings: [ALLOW, SEND_PROXY, ACCEPT_PROXY, BALANCE],
    ...{ targets: 2, announces: true, behindHeader: true },
  },
];
const ALL = [PLAIN, ...EDGES];

/** What stands behind the listener of a route that leads to servers which run with the stack. */
function targetOf(
  { settings, targets = 1, behindHeader = false }: Edge,
  servers: DisposableStack,
): string {
  const addresses = Array.from({ length: targets }, () => {
    const { port } = servers.use(startPong({ behindHeader }));
    return `127.0.0.1:${port}`;
  });
  return [addresses.join(), settings.join()].filter((part) => part !== "").join("?");
}

/** One row. */
export const EDGE: MeasureTable = {
  name: "edge",
  text:
    "CPU time of the ambassador for a new connection that asks once: plain, and how many times " +
    "that with what stands above.",
  measures: [{
    name: "a new connection",
    figures: ALL.map(({ title }) => ({ title, better: "less" })),
    async run({ candidate, effort }): Promise<number[]> {
      if (!candidate.isAmbassador) return [];
      using servers = new DisposableStack();
      // One process serves all, and in turns, so that whatever slows it for a while slows all.
      await using forwarder = await candidate.launch({
        targets: ALL.map((edge) => targetOf(edge, servers)),
      });
      const { targetPorts, processes } = forwarder;
      const micros = ALL.map((): number[] => []);
      for (let turn = 0; turn < TURNS; turn++) {
        for (const [index, { title, announces }] of ALL.entries()) {
          const { answeredPerSecond, cpuMicros } = await arrivals(targetPorts[index] ?? 0, {
            ...{ source: SOURCE, rate: RATE, seconds: TURN_SECONDS * effort, processes },
            announced: announces ? ANNOUNCED : undefined,
          });
          if (answeredPerSecond < 0.9 * RATE) throw new Error(`${title}: some were not answered`);
          if (turn > 0) micros[index]?.push(cpuMicros);
        }
      }
      const [plain = NaN, ...others] = micros.map(mean);
      return [plain, ...others.map((one) => one / plain)];
    },
  }],
  againstFirst: false,
};

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
