// The variables that begin with AMBASSADOR_: which of them mean nothing, which must not mean nothing
// without a word, and which can't be read at all. What the options among them say is read elsewhere.

import type { Problem } from "../base/errors.ts";
import { nearest, plain, prefixFinder } from "../base/text.ts";
import { likelyOption, ROUTE_VARIABLE, verified } from "./likely_meant.ts";
import { SPECS, variableOf } from "./options.ts";
import { aliasOf, type Environment } from "./variables.ts";

/** A setting that has no effect, or more than may be meant, and the line that says so to a person. */
export interface Warning extends Problem {
  /** What the log calls it: `ignored` if it has no effect. */
  readonly event: "ignored" | "warning";
  /** The variable or the option, as it stands. */
  readonly setting: string;
  /** Why it has no effect, or what it has. */
  readonly reason: string;
}

const START = "AMBASSADOR_";
/** Options by their variables without the start, which says nothing about which is the nearest. */
const KNOWN = optionsByEnd(SPECS.map(({ name }) => name));
const PROTECTING = optionsByEnd(SPECS.filter(({ protects }) => protects).map(({ name }) => name));
const TLS = optionsByEnd(SPECS.map(({ name }) => name).filter((name) => name.startsWith("tls-")));

/** Maximum number of unknown names that the nearest option is looked for: nobody reads more. */
const MAX_HINTS = 1000;

/** What Docker and Kubernetes make of a service that is itself called ambassador, or ambassador-tls. */
const OWN_SERVICE = /^AMBASSADOR_(?:(?:TLS_)?(?:PORT|SERVICE_)|NAME$|ENV_)/;

/** Stands for a value that is not UTF-8: no variable can hold it. */
export const UNREADABLE = "\0";

/** Says that `setting`, as it stands, has no effect. */
export function warningOf(setting: string, reason: string): Warning {
  return { event: "ignored", setting, reason, message: `${plain(setting)}: ${reason}` };
}

/**
 * The environment. `Deno.env` leaves out whatever is not UTF-8: of an option it is an error, which the
 * value given here leads to. Of any other variable nothing can be known.
 */
export function readEnvironment(env: Pick<Deno.Env, "get" | "toObject">): Environment {
  const environment = env.toObject();
  for (const end of KNOWN.keys()) {
    try {
      env.get(START + end);
    } catch (error) {
      if (!(error instanceof Deno.errors.InvalidData)) throw error;
      environment[START + end] = UNREADABLE;
    }
  }
  return environment;
}

/**
 * Names that begin with AMBASSADOR_, or almost, and mean nothing.
 *
 * @param problems Takes those that may be meant as protection.
 */
export function findUnknown(environment: Environment, problems: Problem[]): readonly Warning[] {
  const names = Object.keys(environment).sort();
  // Services whose names only begin with "ambassador" bring their own link variables.
  const aliases = names.filter((name) => name.startsWith(START)).flatMap((n) => aliasOf(n) ?? []);
  const findLink = prefixFinder(aliases.filter((alias) => alias !== "AMBASSADOR"));
  const warnings: Warning[] = [];
  let unknown = 0;
  for (const name of names) {
    const end = name.slice(name.indexOf("_") + 1).toUpperCase();
    const isTls = end.startsWith("TLS");
    if (!name.startsWith(START)) {
      if (!KNOWN.has(end)) continue;
      const start = name.slice(0, name.indexOf("_")).toUpperCase();
      if (start.length < 8 || nearest(start, ["AMBASSADOR"], 3) === undefined) continue;
    } else if (
      KNOWN.has(name.slice(START.length)) || OWN_SERVICE.test(name) ||
      (!isTls && findLink(name.toUpperCase(), "_") !== undefined)
    ) {
      continue;
    }
    const mayProtect = isTls || PROTECTING.has(end);
    const ends = [...(isTls ? TLS : KNOWN).keys()];
    const hint = ++unknown > MAX_HINTS ? "ambassador --help lists all" : hintFor(end, ends);
    (mayProtect ? problems : warnings).push(warningOf(name, `no such option; ${hint}`));
  }
  return warnings;
}

function hintFor(end: string, ends: readonly string[]): string {
  const { option, wants } = likelyOption(end) ?? {};
  if (option !== undefined && ends.includes(variableOf(option).slice(START.length))) {
    return `did you mean ${variableOf(option)}?`;
  }
  if (wants === "no verification") return verified(variableOf("tls-ca"));
  if (/^(?:HELP|VERSION)$/.test(end)) return `did you mean the option --${end.toLowerCase()}?`;
  const near = nearest(end, ends);
  if (near === undefined && wants === "route") return ROUTE_VARIABLE;
  return near === undefined
    ? `the nearest is ${START}${nearest(end, ends, Infinity)}`
    : `did you mean ${START}${near}?`;
}

function optionsByEnd(names: readonly string[]): ReadonlyMap<string, string> {
  return new Map(names.map((name) => [variableOf(name).slice(START.length), name]));
}
