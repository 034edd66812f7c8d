// A real Prometheus on loopback, for as long as a test needs it: it scrapes what it is told to five times
// a second and answers questions. It knows nothing of what it scrapes.

import { freePort, startProgram, until, within } from "./mod.ts";
import { programPath } from "./needs.ts";

/** One series of an answer. */
export interface Sample {
  /** Its labels. */
  readonly metric: Readonly<Record<string, string>>;
  /** When, in seconds since the epoch, and what. */
  readonly value: readonly [number, string];
}

/** A Prometheus at work. */
export interface Prometheus extends AsyncDisposable {
  /**
   * What a path below `/api/v1/` answers as `data`.
   *
   * @throws with what it says is wrong
   */
  get(path: string, parameters?: Readonly<Record<string, string>>): Promise<unknown>;
  /** What an expression gives now. */
  query(expression: string): Promise<readonly Sample[]>;
  /** Waits until an expression gives something. */
  untilTrue(expression: string): Promise<void>;
}

/** Options for {@linkcode startPrometheus}. */
export interface StartPrometheusOptions {
  /** What stands below `scrape_configs:`, as YAML. */
  readonly scrapes: string;
  /** Absolute paths of files of rules. */
  readonly ruleFiles: readonly string[];
}

/**
 * Starts one with a folder of its own, and waits until it answers. It begins to scrape five seconds
 * later (2.42 takes up new targets every five seconds, and nothing changes that).
 */
export async function startPrometheus(
  { scrapes, ruleFiles }: StartPrometheusOptions,
): Promise<Prometheus> {
  await using started = new AsyncDisposableStack();
  const folder = await Deno.makeTempDir({ prefix: "ambassador_prometheus_" });
  started.defer(() => Deno.remove(folder, { recursive: true }));
  const config = `global: { scrape_interval: 200ms, evaluation_interval: 200ms }
rule_files: ${JSON.stringify(ruleFiles)}
scrape_configs:
${scrapes}`;
  await Deno.writeTextFile(`${folder}/prometheus.yaml`, config);
  const address = `127.0.0.1:${freePort()}`;
  const args = [
    `--config.file=${folder}/prometheus.yaml`,
    `--storage.tsdb.path=${folder}/data`,
    `--web.listen-address=${address}`,
  ];
  const program = started.use(startProgram(args, { command: [programPath("prometheus")] }));
  await program.line(/Server is ready to receive web requests/);
  const running = started.move();
  async function get(path: string, parameters = {}): Promise<unknown> {
    const url = `http://${address}/api/v1/${path}?${new URLSearchParams(parameters)}`;
    const response = await within(fetch(url), path);
    const { status, error, data } = await response.json();
    if (status !== "success") throw new Error(`${path} ${JSON.stringify(parameters)}: ${error}`);
    return data;
  }
  async function query(expression: string): Promise<readonly Sample[]> {
    const { resultType, result } = await get("query", { query: expression }) as {
      readonly resultType: string;
      readonly result: readonly Sample[];
    };
    if (resultType !== "vector") throw new Error(`${expression}: gives a ${resultType}`);
    return result;
  }
  return {
    get,
    query,
    untilTrue: (expression) =>
      until(async () => (await query(expression)).length > 0, `Prometheus sees: ${expression}`),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}
