// `deno task bench`: the ambassador beside socat, HAProxy, nginx and others on this machine. Needs
// Linux, for what it reads from /proc.

import { parseOptions } from "../build/arguments.ts";
import { BESIDE } from "./beside.ts";
import { EDGE } from "./edge.ts";
import { ambassador, findPeers, type ForwarderSpec, scrapedAmbassador } from "./forwarders.ts";
import { GROWTH } from "./growth.ts";
import { type Measure, MEASURES, type MeasureTable } from "./measures.ts";
import { ambassadorPair, findPairs } from "./pairs.ts";
import { killAll } from "./process.ts";
import { REFUSED } from "./refused.ts";
import { formatCharts, formatJson, formatMeasures, formatRows, rowsOf } from "./report.ts";
import { type Results, runRounds } from "./rounds.ts";
import { startServices } from "./services.ts";
import { candidate } from "./setup.ts";
import { TLS } from "./tls.ts";
import { UDP } from "./udp.ts";
import { findUdpPeers } from "./udp_peers.ts";

/** The tables of `--growth`. */
const TABLES: readonly MeasureTable[] = [...GROWTH, BESIDE, REFUSED, EDGE];

const USAGE = `deno task bench [OPTIONS]

  --rounds COUNT     interleaved rounds; the table shows their medians [5, with --growth or --tls 3]
  --only NAME[,...]  only these: ${namesOf(MEASURES)};
                     with --growth: ${namesOf(TABLES)};
                     with --tls: ${namesOf(TLS)};
                     with --udp: ${namesOf(UDP)}
  --peers NAME[,...] only these peers, by the heads of their columns
  --bin FILE         measure this executable instead of the sources
  --before PATH      an earlier version as one more peer: an executable, or a checkout's folder
  --effort SHARE     0.1 for a quick look: shorter runs [1]
  --status           the ambassador with its metrics read every second, as one more peer
  --growth           the cost of growth, and what each costs the others, instead; every peer with
                     one worker
  --tls              pairs with TLS between the two, both with certificates, instead
  --udp              datagrams instead; "direct" is the server without a forwarder
  --json             all rounds as JSON instead of the table`;

/** What the command line asks for. */
interface BenchOptions {
  readonly rounds: number;
  readonly effort: number;
  /** Of the usual table; none where others were asked for. */
  readonly measures: readonly Measure[];
  /** The others. */
  readonly tables: readonly MeasureTable[];
  readonly peers: readonly ForwarderSpec[];
  /** Makes what they are compared with, of the sources or of something else. */
  readonly ours: (path?: string) => ForwarderSpec;
  /** What to say of peers that are not installed. */
  readonly missing: readonly string[];
  readonly bin: string | undefined;
  readonly before: string | undefined;
  readonly status: boolean;
  readonly udp: boolean;
  readonly json: boolean;
}

/**
 * Reads the command line; undefined is for the help.
 *
 * @throws {SyntaxError | RangeError} of one line, if it can't be read
 */
function parseBenchCommand(args: readonly string[]): BenchOptions | undefined {
  const options = parseOptions(args, {
    rounds: { type: "string" },
    only: { type: "string" },
    peers: { type: "string" },
    bin: { type: "string" },
    before: { type: "string" },
    effort: { type: "string", default: "1" },
    status: { type: "boolean", default: false },
    growth: { type: "boolean", default: false },
    tls: { type: "boolean", default: false },
    udp: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    help: { type: "boolean", short: "h" },
  });
  if (options.help) return undefined;
  const { bin, before, status, growth, tls, udp, json, only } = options;
  const { rounds = growth || tls ? "3" : "5" } = options;
  if (growth && status) throw new SyntaxError("--growth: stands without --status");
  if (tls && (growth || status)) {
    throw new SyntaxError("--tls: stands without --growth and --status");
  }
  if (udp && (growth || tls || status)) {
    throw new SyntaxError("--udp: stands without --growth, --tls and --status");
  }
  const measures = growth ? [] : chosen(tls ? TLS : udp ? UDP : MEASURES, only);
  const tables = growth ? chosen(TABLES, only) : [];
  if (measures.length + tables.length === 0) {
    throw new SyntaxError(`--only "${only}": names nothing`);
  }
  const { peers, missing } = tls
    ? findPairs(bin)
    : udp
    ? findUdpPeers()
    : findPeers({ oneWorker: growth });
  return {
    rounds: Math.ceil(positive("rounds", rounds)),
    effort: positive("effort", options.effort),
    peers: chosen(peers, options.peers),
    ours: tls ? ambassadorPair : ambassador,
    ...{ measures, tables, missing, bin, before, status, udp, json },
  };
}

async function run({ rounds, effort, measures, tables, ...options }: BenchOptions): Promise<void> {
  const onStep = (step: string): void => note(`\r\x1b[K${step}`);
  for (const line of options.missing) note(`left out, since ${line}\n`);
  using scraped = options.status ? scrapedAmbassador(options.bin) : null;
  const all = [
    options.ours(options.bin),
    ...(scraped === null ? [] : [scraped]),
    ...(options.before === undefined ? [] : [{ ...options.ours(options.before), name: "before" }]),
    ...options.peers,
  ];
  const folder = await Deno.makeTempDir({ prefix: "ambassador_bench_" });
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => Deno.remove(folder, { recursive: true }));
  const services = cleanup.use(await startServices(all.length));
  const candidates = all.map((spec, index) => candidate(spec, { index, services, folder }));
  async function measured(list: readonly Measure[]): Promise<Results> {
    const launch = { datagrams: options.udp };
    const results = await runRounds(candidates, list, { rounds, services, effort, launch, onStep });
    onStep("");
    return results;
  }
  if (options.json) {
    const list = [...measures, ...tables.flatMap((table) => table.measures)];
    console.log(formatJson(await measured(list)));
    return;
  }
  if (measures.length > 0) {
    const rows = rowsOf(await measured(measures));
    console.log(`${formatRows(rows)}\n`);
    console.log(
      "In brackets: how many times better the ambassador is; below 1 the peer is ahead.\n",
    );
    console.log(formatCharts(rows));
  }
  for (const table of tables) {
    console.log(`${table.text}\n\n${formatMeasures(await measured(table.measures), table)}\n`);
  }
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new RangeError(`--${name} "${text}": not a number above 0`);
  return value;
}

/** Those that are named in the list, or all. */
function chosen<T extends { readonly name: string }>(all: readonly T[], list?: string): T[] {
  if (list === undefined) return [...all];
  const names = list.split(",").filter((name) => name !== "");
  for (const name of names) {
    if (!all.some((one) => one.name === name)) {
      throw new RangeError(`"${name}": not one of ${namesOf(all)}`);
    }
  }
  return all.filter(({ name }) => names.includes(name));
}

function namesOf(all: readonly { readonly name: string }[]): string {
  return all.map(({ name }) => name).join(", ");
}

function note(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(text));
}

/** The exit status: 2 where the command line is wrong, 1 where the bench fails. */
async function main(args: readonly string[]): Promise<number> {
  let status = 2;
  try {
    const options = parseBenchCommand(args);
    status = 1;
    if (options === undefined) console.log(USAGE);
    else await run(options);
    return 0;
  } catch (error) {
    // Not behind what is about to be measured.
    note(`${status === 1 ? "\n" : ""}bench: ${error instanceof Error ? error.message : error}\n`);
    return status;
  }
}

if (import.meta.main) {
  for (const [name, status] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
    Deno.addSignalListener(name, () => void killAll().finally(() => Deno.exit(status)));
  }
  Deno.exit(await main(Deno.args));
}
