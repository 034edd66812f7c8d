// What is to be forwarded, once it is understood: candidates from variables and arguments become
// routes, and no two of them want one address. It knows nothing of how they were written.

import {
  type Endpoint,
  formatAddress,
  formatListen,
  formatTargets,
  isIpv4,
  isUnspecified,
  portKind,
} from "../base/address.ts";
import type { Problem } from "../base/errors.ts";
import type { RouteSettings } from "./options.ts";
import { formatSettings } from "./settings.ts";

/** One port to forward: listen address → targets. */
export interface Route {
  /** The names it goes by, in upper case, sorted; none if it was given as an argument. */
  readonly aliases: readonly string[];
  /** Where clients connect. */
  readonly listen: Endpoint;
  /** Where the upstream is; at least one. */
  readonly targets: readonly Endpoint[];
  /** What holds for this route. */
  readonly settings: RouteSettings;
}

/** A variable that looks like a route and is not forwarded. */
export interface Ignored {
  /**
   * The variable's name as it stands. In a file it may be a secret: then it is the line, and the path
   * alone stands for lines that are not named one by one.
   */
  readonly variable: string;
  /** Why, in a few words. */
  readonly reason: string;
  /** Whether somebody asked for it (`--only`, `--ignore`, an empty value): no news then. */
  readonly asked: boolean;
  /** Whether it is a line of a file of routes that is none: it has most likely been meant as one. */
  readonly isSlip?: true;
  /** Whether its name is almost a route's: the reason says which was most likely meant. */
  readonly isMiss?: true;
}

/** A route of one source, before those that say the same are put together. */
export interface Candidate extends Omit<Route, "aliases"> {
  /** The variable or the argument, as it is shown. */
  readonly source: string;
  /** The name of the variable as it stands. */
  readonly variable?: string;
  /** Of a variable, in upper case. */
  readonly alias?: string;
  /** What may not be meant, one line each. */
  readonly doubts?: readonly string[];
}

/** Whoever wants an address, and what for, `LISTEN=TARGET`; claims that say the same are one. */
interface Claim {
  readonly source: string;
  /** `/etc/routes line 3: `, or nothing. */
  readonly place: string;
  readonly listen: Endpoint;
  readonly alias?: string | undefined;
  readonly text: string;
}

/** Options for {@linkcode mergeRoutes}. */
export interface MergeOptions {
  /** Where the status page listens. */
  readonly status: Endpoint | undefined;
  /** Takes every address that is wanted more than once. */
  readonly problems: Problem[];
  /** In which line of a file a variable stands: `/etc/routes line 3: `, or nothing. */
  readonly placeOf?: ((variable: string) => string) | undefined;
}

/**
 * Puts together what has one listen address, the same targets and the same settings.
 *
 * @returns the routes, ordered by listen port and then protocol
 */
export function mergeRoutes(
  candidates: readonly Candidate[],
  { status, problems, placeOf }: MergeOptions,
): readonly Route[] {
  const byPort = Map.groupBy(candidates, ({ listen }) => listen.port);
  const routes: Route[] = [];
  for (const port of Uint16Array.from(byPort.keys()).sort()) {
    const wanting = byPort.get(port) ?? [];
    const rival = status?.port === port ? status : undefined;
    const [only, second] = wanting;
    if (only !== undefined && second === undefined && rival === undefined) {
      routes.push(routeOf(only, []));
      continue;
    }
    const claims = claimsOf(wanting, { status: rival, placeOf });
    for (const ofOneKind of Map.groupBy(claims, kindOf).values()) {
      const wanted = findOverlaps(ofOneKind);
      if (wanted.length > 0) problems.push(wantedTwice(wanted));
    }
    const same = [...Map.groupBy(wanting, formatRoute).values()];
    const found = same.flatMap(([first, ...others]) =>
      first === undefined ? [] : routeOf(first, others)
    );
    found.sort(({ listen: a }, { listen: b }) =>
      compare(a.protocol, b.protocol) || compare(a.hostname, b.hostname)
    );
    for (const route of found) routes.push(route);
  }
  return routes;
}

function kindOf({ listen }: Claim): string {
  return portKind(listen.protocol);
}

/** What candidates and the status page want. */
function claimsOf(
  candidates: readonly Candidate[],
  { status, placeOf }: Pick<MergeOptions, "status" | "placeOf">,
): readonly Claim[] {
  const claims = candidates.map((one): Claim => {
    const { source, variable, listen, alias } = one;
    const place = variable === undefined ? "" : placeOf?.(variable) ?? "";
    return { source, place, listen, alias, text: formatRoute(one) };
  });
  if (status === undefined) return claims;
  return [
    ...claims,
    { source: "--status", place: "", listen: status, text: formatAddress(status) },
  ];
}

/** The route of a candidate and of others that say the same. */
function routeOf(first: Candidate, others: readonly Candidate[]): Route {
  const { listen, targets, settings } = first;
  const aliases = [...new Set([first, ...others].flatMap(({ alias }) => alias ?? []))].sort();
  const route = { aliases, listen, targets, settings };
  // That of a candidate is known where it was read before.
  texts.set(route, formatRoute(first));
  return route;
}

/**
 * What a route is called in logs and metrics: its aliases, or its listen port if it has none. An alias
 * may hold whatever a variable's name may: logs, metrics and JSON each have a way to escape it;
 * `show` is how it is written where nothing does.
 */
export function routeName(
  { aliases, listen }: Route,
  show: (alias: string) => string = String,
): string {
  return aliases.map((alias) => show(alias)).join(",") || String(listen.port);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** What was formatted once. */
const texts = new WeakMap<object, string>();

/**
 * All that a route is but its aliases, `[::]:6379=192.0.2.1:6379?idle-timeout=5m`, `[::]:6380/tls=…`:
 * routes of the same text are the same. It is worked out once for each object.
 */
export function formatRoute(route: Omit<Route, "aliases">): string {
  const known = texts.get(route);
  if (known !== undefined) return known;
  const { listen, targets, settings } = route;
  const own = formatSettings(settings);
  const text = `${formatListen(listen)}=${formatTargets(targets)}${own === "" ? "" : `?${own}`}`;
  texts.set(route, text);
  return text;
}

/** Those of one port, and of one kind, that can't listen beside another. */
function findOverlaps(claims: readonly Claim[]): readonly Claim[] {
  const different = [...new Map(claims.map(({ text, listen }) => [text, listen]))];
  const overlapping = different.filter(([text, listen]) =>
    different.some(([other, otherListen]) => text !== other && overlaps(listen, otherListen))
  );
  const taken = new Map(overlapping);
  return claims.filter(({ text }) => taken.has(text));
}

/** Whether one can't listen beside the other. */
export function overlaps(one: Endpoint, other: Endpoint): boolean {
  const [a, b] = [one.hostname, other.hostname];
  return one.port === other.port && portKind(one.protocol) === portKind(other.protocol) &&
    (covers(a, b) || covers(b, a));
}

/** Whether listening on one host takes the address of the other. `::` is IPv4 too. */
function covers(wide: string, host: string): boolean {
  if (wide === host) return true;
  if (wide === "localhost") return host === "127.0.0.1" || host === "::1";
  return isUnspecified(wide) && (wide !== "0.0.0.0" || isIpv4(host) || host === "localhost");
}

function wantedTwice(claims: readonly Claim[]): Problem {
  const listen = claims[0]?.listen;
  const port = `${listen?.protocol === "udp" ? "UDP " : ""}port ${listen?.port}`;
  const wanted = claims.map(({ source, place, text }) => `${place}${source} (${text})`).join(", ");
  const variables = claims.filter(({ alias }) => alias !== undefined);
  const message = `${port}: one address is wanted more than once: ${wanted}`;
  const byTls = new Set(
    variables.filter(({ listen }) => listen.protocol === "tls").map(({ alias }) => alias),
  );
  const twin = variables.find(({ alias, listen, place }) =>
    listen.protocol === "tcp" && byTls.has(alias) && place === ""
  );
  if (twin !== undefined) return { message, hint: serviceLinkHint(twin.source) };
  return {
    message,
    hint: new Set(variables.map(({ text }) => text)).size < 2
      ? "give each a port or an address of its own"
      : (variables.every(({ place }) => place !== "")
        ? "take the wrong line out"
        : "choose with --only or --ignore, or set the wrong variable to an empty value") +
        asOneRoute(variables),
  };
}

/** The way out where a variable for TCP stands beside the one for TLS that somebody has set. */
export function serviceLinkHint(variable: string): string {
  return `Kubernetes makes ${variable} by itself: set enableServiceLinks: false in the pod`;
}

/** How variables are written as several targets of one; nothing where anything else differs. */
function asOneRoute(variables: readonly Claim[]): string {
  if (new Set(variables.map(({ listen }) => listen.protocol)).size > 1) return "";
  const parts = variables.map(({ text }) => /^[^=]*=([^?]*)(.*)$/s.exec(text) ?? []);
  const [settings = "", ...others] = new Set(parts.map(([, , own]) => own));
  if (others.length > 0) return "";
  const targets = new Set(
    parts.flatMap(([, list = ""]) => list.split(",")).map((target) =>
      target.includes("://") ? target : `tcp://${target}`
    ),
  );
  const value = [...targets].join(",") + settings;
  return `; as several targets of one route they are ${variables[0]?.source}=${value}`;
}
