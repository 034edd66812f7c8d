// Runs the measures in rounds: in each, every measure is made of one candidate after the other, so that
// a machine that is busy for a while is busy for all of them.

import type { Measure } from "./measures.ts";
import type { Services } from "./services.ts";
import type { Candidate, Forwarder, LaunchOptions } from "./setup.ts";

/** Options for {@linkcode runRounds}. */
export interface RunRoundsOptions {
  /** How many. */
  readonly rounds: number;
  /** The servers. */
  readonly services: Services;
  /** 1 for figures to publish, less for a quick look. */
  readonly effort: number;
  /** How the forwarders are launched that all measures share. Default: as they come. */
  readonly launch?: LaunchOptions;
  /** Told what is about to be measured. */
  readonly onStep: (step: string) => void;
}

/** The values of each figure of each measure, by candidate: one value a round. */
export type Results = ReadonlyMap<Measure, ReadonlyMap<string, readonly (readonly number[])[]>>;

/** Runs all rounds. A measure that fails for one candidate counts as no value. */
export async function runRounds(
  candidates: readonly Candidate[],
  measures: readonly Measure[],
  { rounds, services, effort, launch, onStep }: RunRoundsOptions,
): Promise<Results> {
  await using stack = new AsyncDisposableStack();
  const running = new Map<Candidate, Forwarder>();
  for (const candidate of candidates) {
    running.set(candidate, stack.use(await candidate.launch(launch)));
  }
  const results = new Map(measures.map((measure) => {
    const lists = candidates.map(({ name }) => [name, measure.figures.map(() => [])] as const);
    return [measure, new Map<string, number[][]>(lists)];
  }));
  for (let round = 0; round < rounds; round++) {
    for (const measure of measures) {
      for (const [candidate, forwarder] of turned([...running], round)) {
        onStep(`round ${round + 1} of ${rounds}: ${measure.name}, ${candidate.name}`);
        const values = await attempt(measure, { candidate, forwarder, services, effort }, onStep);
        const lists = results.get(measure)?.get(candidate.name) ?? [];
        lists.forEach((list, figure) => list.push(values[figure] ?? NaN));
      }
    }
  }
  return results;
}

/** Each round begins with another candidate, so that none is always the first. */
function turned<T>(items: readonly T[], by: number): readonly T[] {
  const at = by % items.length;
  return [...items.slice(at), ...items.slice(0, at)];
}

async function attempt(
  measure: Measure,
  subject: Parameters<Measure["run"]>[0],
  onStep: (step: string) => void,
): Promise<readonly number[]> {
  try {
    return await measure.run(subject);
  } catch (error) {
    onStep(`failed: ${error instanceof Error ? error.message : String(error)}\n`);
    return [];
  }
}
