// Environments and arguments to routes, for tests: the same two steps that the command line takes, and
// everything that is wrong as one error.

import { ConfigError, type Problem } from "../../src/base/errors.ts";
import { readArguments } from "../../src/config/arguments.ts";
import { type Ignored, mergeRoutes, type Route } from "../../src/config/routes.ts";
import { DEFAULT_SETTINGS } from "../../src/config/settings.ts";
import { type Environment, type ReadOptions, readVariables } from "../../src/config/variables.ts";

/** What routes are read with; the defaults unless given. */
export type RoutesOptions = Partial<Omit<ReadOptions, "problems">>;

/** The routes of an environment; throws a ConfigError if anything is wrong with it. */
export function routesOfVariables(
  environment: Environment,
  options: RoutesOptions = {},
): { routes: readonly Route[]; ignored: readonly Ignored[] } {
  const problems: Problem[] = [];
  const reading = { ...complete(options, problems), isReplaced: false };
  const { candidates, ignored } = readVariables(environment, reading);
  return { routes: merged(candidates, problems), ignored };
}

/** The routes of arguments; throws a ConfigError if anything is wrong with them. */
export function routesOfArguments(
  words: readonly string[],
  options: RoutesOptions = {},
): readonly Route[] {
  const problems: Problem[] = [];
  const { candidates } = readArguments(words, complete(options, problems));
  return merged(candidates, problems);
}

function complete(options: RoutesOptions, problems: Problem[]): ReadOptions {
  const standard = { bind: "::", only: undefined, ignore: undefined };
  return { ...standard, settings: DEFAULT_SETTINGS, listens: true, ...options, problems };
}

function merged(
  candidates: Parameters<typeof mergeRoutes>[0],
  problems: Problem[],
): readonly Route[] {
  const routes = mergeRoutes(candidates, { status: undefined, problems });
  if (problems.length > 0) throw new ConfigError(problems);
  return routes;
}
