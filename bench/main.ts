// `deno task bench`: the ambassador beside socat, HAProxy and nginx on this machine. Needs Linux, for
// what it reads from /proc.

import { parseArgs } from "@std/cli/parse-args";
import { ambassador, findPeers, scrapedAmbassador } from "./forwarders.ts";
import { measureGrowth } from "./growth.ts";
import { MEASURES } from "./measures.ts";
import { killAll } from "./process.ts";
import { formatCharts, formatJson, formatRows, rowsOf } from "./report.ts";
import { runRounds } from "./rounds.ts";
import { startServices } from "./services.ts";
import { candidate } from "./setup.ts";

const USAGE = `deno task bench [OPTIONS]

  --rounds COUNT     interleaved rounds; the table shows their medians [5]
  --only NAME[,...]  only these: ${MEASURES.map(({ name }) => name).join(", ")}
  --peers NAME[,...] only these peers, by the heads of their columns
  --bin FILE         measure this executable instead of the sources
  --effort SHARE     0.1 for a quick look: shorter runs [1]
  --status           the ambassador with its metrics read every second, as one more peer
  --growth           the cost of one more connection and of one more route instead
  --json             all rounds as JSON instead of the table`;

async function main(args: readonly string[]): Promise<number> {
  refuseUnknown(args);
  const options = parseArgs([...args], {
    boolean: ["help", "json", "growth", "status"],
    string: ["_", "rounds", "only", "peers", "bin", "effort"],
    alias: { h: "help" },
  });
  if (options.help) {
    console.log(USAGE);
    return 0;
  }
  const rounds = Math.ceil(positive("rounds", options.rounds ?? "5"));
  const measures = chosen(MEASURES, options.only);
  const onStep = (step: string): void => note(`\r\x1b[K${step}`);
  const effort = positive("effort", options.effort ?? "1");
  const { peers, missing } = findPeers();
  for (const line of missing) note(`left out, since ${line}\n`);
  using scraped = options.status ? scrapedAmbassador(options.bin) : null;
  const all = [
    ambassador(options.bin),
    ...(scraped === null ? [] : [scraped]),
    ...chosen(peers, options.peers),
  ];
  const folder = await Deno.makeTempDir({ prefix: "ambassador_bench_" });
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => Deno.remove(folder, { recursive: true }));
  const services = cleanup.use(await startServices(all.length));
  const candidates = all.map((spec, index) => candidate(spec, { index, services, folder }));
  const [first] = candidates;
  if (options.growth && first !== undefined) {
    const tables = await measureGrowth(first, { services, effort, onStep });
    onStep("");
    console.log(tables);
    return 0;
  }
  const results = await runRounds(candidates, measures, { rounds, services, effort, onStep });
  onStep("");
  if (options.json) {
    console.log(formatJson(results));
    return 0;
  }
  const rows = rowsOf(results);
  console.log(`${formatRows(rows)}\n`);
  console.log("In brackets: how many times better the ambassador is; below 1 the peer is ahead.\n");
  console.log(formatCharts(rows));
  return 0;
}

const NAMES = ["help", "h", "json", "growth", "status", "rounds", "only", "peers", "bin", "effort"];

/** @throws {TypeError} naming the first argument that is neither an option nor the value of one */
function refuseUnknown(args: readonly string[]): void {
  const unknown = args.find((argument, index) => {
    const name = /^--?([^=]*)/.exec(argument)?.[1];
    return name === undefined ? !args[index - 1]?.startsWith("--") : !NAMES.includes(name);
  });
  if (unknown !== undefined) throw new TypeError(`${unknown}: no such option\n\n${USAGE}`);
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
      throw new RangeError(`"${name}": not one of ${all.map((one) => one.name).join(", ")}`);
    }
  }
  return all.filter(({ name }) => names.includes(name));
}

function note(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(text));
}

if (import.meta.main) {
  for (const [name, status] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
    Deno.addSignalListener(name, () => void killAll().finally(() => Deno.exit(status)));
  }
  try {
    Deno.exit(await main(Deno.args));
  } catch (error) {
    note(`\nbench: ${error instanceof Error ? error.message : String(error)}\n`);
    Deno.exit(1);
  }
}
