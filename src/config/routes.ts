// What is to be forwarded: link variables and `LISTEN=TARGET` arguments become routes, or every
// problem at once. Pure: it opens nothing and knows neither options nor logs.
//
// Link variables are made by Docker (moby daemon/links/links.go), Kubernetes
// (pkg/kubelet/envvars/envvars.go) and people.

import {
  type Address,
  type Endpoint,
  formatAddress,
  formatTargets,
  isIp,
  isLoopback,
  isUnspecified,
  parseAddress,
  parsePort,
} from "../base/address.ts";
import { ConfigError, type Problem } from "../base/errors.ts";
import { plain, prefixFinder, quoteInput } from "../base/text.ts";

/** One port to forward: listen address → target. */
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

/** What holds for one route; see the options of the same names. Times in milliseconds, 0 is no limit. */
export interface RouteSettings {
  /** Limit for resolving and connecting to a target. */
  readonly connectTimeoutMs: number;
  /** How long to keep trying while no target can be reached. */
  readonly retryMs: number;
  /** Once one side has finished sending, close when no byte has moved for this long. */
  readonly halfCloseTimeoutMs: number;
  /** Close when no byte has moved either way for this long. */
  readonly idleTimeoutMs: number;
  /** At this many of this route, further clients stay in the listen queue. */
  readonly maxConnections: number;
}

/** What holds where nothing is said. */
export const DEFAULT_SETTINGS: RouteSettings = {
  connectTimeoutMs: 10_000,
  retryMs: 0,
  halfCloseTimeoutMs: 0,
  idleTimeoutMs: 0,
  maxConnections: 0,
};

/** The settings of a route that says nothing of its own. */
export function settingsOf(options: Omit<RouteSettings, "maxConnections">): RouteSettings {
  const { connectTimeoutMs, retryMs, halfCloseTimeoutMs, idleTimeoutMs } = options;
  return { connectTimeoutMs, retryMs, halfCloseTimeoutMs, idleTimeoutMs, maxConnections: 0 };
}

/** A variable that looks like a route and is not forwarded. */
export interface Ignored {
  /** The variable's name as it stands in the environment. */
  readonly variable: string;
  /** Why, in a few words. */
  readonly reason: string;
  /** Whether somebody asked for it (`--only`, `--ignore`, an empty value): no news then. */
  readonly asked: boolean;
}

/** What an environment says. */
export interface Routes {
  /** Ordered by listen port. */
  readonly routes: readonly Route[];
  /** Ordered by name. */
  readonly ignored: readonly Ignored[];
}

/** How an environment is read. */
export interface ParseRoutesOptions {
  /** Where the routes listen. */
  readonly bind: string;
  /** What holds for a route that says nothing of its own. */
  readonly settings?: RouteSettings;
  /** Read only these aliases, in upper case; undefined reads all. */
  readonly only?: ReadonlySet<string> | undefined;
  /** Leave these aliases out, in upper case. */
  readonly ignore?: ReadonlySet<string> | undefined;
}

/** The environment as an object, as `Deno.env.toObject()` gives it. */
export type Environment = Readonly<Record<string, string>>;

const ROUTE_NAME = /^(.*)_PORT_([^_]*)_(TCP|UDP|SCTP)$/is;

/** The alias of a variable that is named like a route, in upper case; undefined for any other. */
export function aliasOf(variable: string): string | undefined {
  return ROUTE_NAME.exec(variable)?.[1]?.toUpperCase();
}

/**
 * The routes of an environment.
 *
 * @throws {ConfigError} with every variable that can't be used
 */
export function parseRoutes(environment: Environment, options: ParseRoutesOptions): Routes {
  const problems: Problem[] = [];
  const ignored: Ignored[] = [];
  const found: Candidate[] = [];
  const findLink = prefixFinder(links(environment));
  for (const variable of Object.keys(environment).sort(byCodeUnit)) {
    const [, alias, port, protocol] = ROUTE_NAME.exec(variable) ?? [];
    if (alias === undefined || port === undefined || protocol === undefined) continue;
    const value = environment[variable] ?? "";
    // Without a number it is some other variable, unless its value can't be meant for anything else.
    const hasNumber = /^\d+$/.test(port);
    if (!hasNumber && !(/^tcp$/i.test(protocol) && /^tcp:\/\//i.test(value))) continue;
    const why = reasonToIgnore(
      alias.toUpperCase(),
      protocol.toUpperCase(),
      value,
      findLink,
      options,
    ) ?? (hasNumber ? undefined : { reason: "the port in its name is not a number", asked: false });
    if (why !== undefined) {
      ignored.push({ variable, ...why });
      continue;
    }
    try {
      const listen = { hostname: options.bind, port: parsePort(port) };
      const target = parseTarget(value, { scheme: "required" });
      refuseSelf(listen, target);
      found.push({
        source: plain(variable),
        alias: alias.toUpperCase(),
        listen: { protocol: "tcp", ...listen },
        targets: [{ protocol: "tcp", ...target }],
        settings: options.settings ?? DEFAULT_SETTINGS,
      });
    } catch (error) {
      problems.push({
        message: `${plain(variable)}=${quoteValue(value)}: ${reasonOf(error)}`,
        hint:
          "a route is written ALIAS_PORT_6379_TCP=tcp://HOST:PORT; an empty value switches it off",
      });
    }
  }
  return { routes: merge(found, problems), ignored };
}

/**
 * The routes of `LISTEN=TARGET` arguments, such as `6379=redis:6379`.
 *
 * @throws {ConfigError} with every argument that can't be used
 */
export function parseRouteArguments(
  args: readonly string[],
  { bind, settings = DEFAULT_SETTINGS }: Pick<ParseRoutesOptions, "bind" | "settings">,
): readonly Route[] {
  const problems: Problem[] = [];
  const found: Candidate[] = [];
  for (const argument of args) {
    const equals = argument.indexOf("=");
    const listenText = argument.slice(0, equals);
    const targetText = argument.slice(equals + 1);
    try {
      const listen = listenText.includes(":") || listenText.startsWith("[")
        ? parseAddress(listenText)
        : { hostname: bind, port: parsePort(listenText) };
      if (!isIp(listen.hostname) && listen.hostname !== "localhost") {
        throw new SyntaxError("the listen address is not an IP address");
      }
      const target = parseTarget(targetText, { scheme: "optional" });
      refuseSelf(listen, target);
      found.push({
        source: `argument ${quoteInput(argument)}`,
        listen: { protocol: "tcp", ...listen },
        targets: [{ protocol: "tcp", ...target }],
        settings,
      });
    } catch (error) {
      problems.push({
        message: `${quoteInput(argument)}: ${reasonOf(error)}`,
        hint: "a route is written PORT=HOST:PORT, ADDRESS:PORT=HOST:PORT or [v6]:PORT=HOST:PORT",
      });
    }
  }
  return merge(found, problems);
}

/**
 * What a route is called in logs and metrics: its aliases, or its listen port if it has none. An alias
 * may hold whatever a variable's name may: logs, metrics and JSON each have a way to escape it.
 *
 * @param show How an alias is written where nothing escapes it; as it stands unless given.
 */
export function routeName(route: Route, show = (alias: string): string => alias): string {
  return route.aliases.map((alias) => show(alias)).join(",") || String(route.listen.port);
}

/** A route of one source, before those that say the same are put together. */
interface Candidate {
  /** The variable or the argument, as it is shown. */
  readonly source: string;
  readonly alias?: string;
  readonly listen: Endpoint;
  readonly targets: readonly Endpoint[];
  readonly settings: RouteSettings;
}

function byCodeUnit(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The links X of the variables X_NAME, in upper case. */
function links(environment: Environment): readonly string[] {
  return Object.keys(environment).map((name) => name.toUpperCase())
    .filter((name) => name.endsWith("_NAME") && name !== "_NAME")
    .map((name) => name.slice(0, -"_NAME".length));
}

/** Why a variable is left alone, or undefined if it is a route. */
function reasonToIgnore(
  alias: string,
  protocol: string,
  value: string,
  findLink: (alias: string, separator: string) => string | undefined,
  { only, ignore }: ParseRoutesOptions,
): { reason: string; asked: boolean } | undefined {
  if (alias === "") return { reason: "no alias stands before _PORT_", asked: false };
  if (ignore?.has(alias)) return { reason: "left out by --ignore", asked: true };
  if (only !== undefined && !only.has(alias)) return { reason: "not named by --only", asked: true };
  if (value === "") return { reason: "switched off by its empty value", asked: true };
  if (alias === "KUBERNETES" && only === undefined) {
    return { reason: "the Kubernetes API is left out unless --only names it", asked: false };
  }
  const link = findLink(alias, "_ENV_");
  if (link !== undefined) {
    return { reason: `copied from the environment of the link ${plain(link)}`, asked: false };
  }
  // A Kubernetes Service FOO with a port that is named "6379-tcp" makes FOO_SERVICE_PORT_6379_TCP.
  if (alias.endsWith("_SERVICE") && /^\d+$/.test(value)) {
    return { reason: "the named port of a Kubernetes Service, not a route", asked: false };
  }
  if (protocol !== "TCP") return { reason: `${protocol} is not supported yet`, asked: false };
  return undefined;
}

function parseTarget(value: string, { scheme }: { scheme: "required" | "optional" }): Address {
  const parts = /^([A-Za-z][A-Za-z0-9+.-]*):\/\/(.*)$/s.exec(value);
  if (parts === null && scheme === "required") {
    throw new SyntaxError("the value does not begin with tcp://");
  }
  if (parts !== null && parts[1]?.toLowerCase() !== "tcp") {
    throw new SyntaxError("only tcp:// can be forwarded");
  }
  const address = parts?.[2] ?? value;
  if (address.includes("@")) {
    throw new SyntaxError("user information before an @ has no place in a target");
  }
  if (/\s/.test(address)) throw new SyntaxError("there is white space in it");
  if (/[/?#]/.test(address)) throw new SyntaxError("something follows the port");
  return parseAddress(address);
}

/** @throws {SyntaxError} if the target is the route's own listener */
function refuseSelf(listen: Address, target: Address): void {
  if (listen.port !== target.port) return;
  const local = isLoopback(target.hostname) || isUnspecified(target.hostname);
  // A listener on one address is not reached through another: 192.0.2.1:6379=127.0.0.1:6379 is fine.
  const covered = isUnspecified(listen.hostname)
    ? local && !(listen.hostname === "0.0.0.0" && target.hostname === "::1")
    : listen.hostname === target.hostname ||
      (isLoopback(listen.hostname) &&
        (isUnspecified(target.hostname) || (local && !isIp(target.hostname)))) ||
      (listen.hostname === "localhost" && local);
  if (covered) throw new SyntaxError("the target is the route itself");
}

/** Puts together what has one listen address and one target; different targets are a problem. */
function merge(found: readonly Candidate[], problems: Problem[]): readonly Route[] {
  const byListen = Map.groupBy(found, (candidate) => formatAddress(candidate.listen));
  const routes: Route[] = [];
  for (const [listenText, candidates] of byListen) {
    const [first] = candidates;
    if (first === undefined) continue;
    const targets = new Set(candidates.map((candidate) => formatTargets(candidate.targets)));
    if (targets.size > 1) {
      const claims = candidates.map((one) => `${one.source} (${formatTargets(one.targets)})`);
      problems.push({
        message: `${listenText}: several targets for one listen port: ${claims.join(", ")}`,
        hint: "choose with --only or --ignore, or set the wrong variable to an empty value",
      });
    }
    const aliases = candidates.flatMap(({ alias }) => alias ?? []);
    routes.push({
      aliases: [...new Set(aliases)].sort(byCodeUnit),
      listen: first.listen,
      targets: first.targets,
      settings: first.settings,
    });
  }
  if (problems.length > 0) throw new ConfigError(problems);
  return routes.sort((a, b) =>
    a.listen.port - b.listen.port || byCodeUnit(a.listen.hostname, b.listen.hostname)
  );
}

function reasonOf(error: unknown): string {
  if (error instanceof SyntaxError || error instanceof RangeError) return error.message;
  throw error;
}

/** A value that is safe to show: only a `tcp://` one is, and never what stands before an @ in it. */
function quoteValue(value: string): string {
  return /^tcp:\/\//i.test(value) ? quoteInput(value) : "(not shown)";
}
