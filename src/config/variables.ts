// Link variables, as Docker (moby daemon/links/links.go), Kubernetes (pkg/kubelet/envvars/envvars.go)
// and people write them: which are routes, which are left alone and why, which can't be used. It knows
// nothing of the program's own variables.

import { parsePort } from "../base/address.ts";
import { InputError, type Problem, reasonOf } from "../base/errors.ts";
import { HIDDEN, plain, prefixFinder, quoteInput } from "../base/text.ts";
import type { Options, RouteSettings } from "./options.ts";
import { type Candidate, type Ignored, serviceLinkHint } from "./routes.ts";
import type { FileVariables } from "./routes_file.ts";
import { parseProtocol, parseTargets } from "./targets.ts";

/** The environment as an object, as `Deno.env.toObject()` gives it. */
export type Environment = Readonly<Record<string, string>>;

/** How routes are read, wherever they stand. */
export interface ReadOptions extends Pick<Options, "bind" | "only" | "ignore"> {
  /** What holds for a route that says nothing of its own. */
  readonly settings: RouteSettings;
  /** Whether anything will listen: if not, a target may be what its route listens on. */
  readonly listens: boolean;
  /** Takes everything that is wrong. */
  readonly problems: Problem[];
}

/** Why a variable is left alone where arguments say what to forward. */
export const REPLACED = "replaced by the route arguments";

const ROUTE_NAME = /^(.*)_PORT_([^_]*)_(TCP|TLS|UDP|SCTP)$/is;
/** A route's name without its protocol. */
const CUT_OFF = /_PORT_(?<port>\d+)$/i;
/**
 * A route's name with other separators or none, in another order, without a part, or with another
 * protocol or letters of one in another order. NAME_PORT, NAME_HOST and NAME_URL are of somebody else.
 */
const MISSES: readonly RegExp[] = [
  /[_.-](?:PORTS?[_.-]?)?(?<port>\d+)[_.-]?(?<kind>[TCPS]{3,4}|[TLS]{3}|[UDP]{3}|HTTPS?)\s?$/i,
  /[_.-](?:PORT[_.-])?(?<kind>TCP|TLS|SSL|UDP)[_.-](?<port>\d+)$/i,
  /[_.-]PORT[_.-](?<kind>TCP|TLS|SSL|UDP)$/i,
  /[_.-](?:PORTS?)?(?<port>\d{2,5})$/i,
];
const TARGET = /^(?:tcp|tls|udp):\/\//i;
/** The same in the quotation marks that a shell would have taken away. */
const QUOTED_TARGET = /^["'`“‘]?(?:tcp|tls|udp):\/\//i;

/** What else Docker and Kubernetes say of a link. */
const COMPANION = /_(?:ADDR|PORT|PROTO|START|END|NAME)$|_ENV_/i;
/** The same where the value is a number or a host. */
const SERVICE = /_SERVICE_/i;

/** Why a line of a file is left alone that nothing else is known of. */
const NO_ROUTE = "not a route: one is written ALIAS_PORT_6379_TCP=tcp://HOST:PORT";

/** A variable X_NAME says that X is a link. */
const LINK_NAME = /^(.+)_NAME$/is;

/** Maximum number of wrong routes of a file that are named: nobody reads more. */
const MAX_WRONG = 100;
/** Maximum number of lines of a file that are named although they are no routes. */
const MAX_SLIPS = 100;

/**
 * Those variables that {@linkcode readVariables} makes something of, in the order of their names: for
 * whoever reads them again and again.
 */
export function linkVariables(environment: Environment): Environment {
  const entries = Object.entries(environment).filter(([name, value]) =>
    LINK_NAME.test(name) || parseName(name, value) !== undefined
  );
  return Object.fromEntries(entries.sort(([a], [b]) => a < b ? -1 : 1));
}

/** The alias of a variable that is named like a route, in upper case; undefined for any other. */
export function aliasOf(variable: string): string | undefined {
  return ROUTE_NAME.exec(variable)?.[1]?.toUpperCase();
}

/** What a variable is: a route, or something that is left alone. */
export type Meaning = { readonly candidate: Candidate } | { readonly ignored: Ignored };

/** What was found of a variable, and all that it depends on. */
export interface Found {
  /** Its value. */
  readonly value: string;
  /** Whether it stands in the file. */
  readonly isInFile: boolean;
  /** The alias in its name. */
  readonly alias: string;
  /** The link that it may have been copied from. */
  readonly link: string | undefined;
  /** What it is. */
  readonly meaning: Meaning;
}

/** What was found the last time, by variable: what has not changed need not be read again. */
export type FoundVariables = ReadonlyMap<string, Found>;

/** Options for {@linkcode readVariables}. */
export interface ReadVariablesOptions extends ReadOptions {
  /** Whether arguments stand in the place of all of them. */
  readonly isReplaced: boolean;
  /** Variables of a file. A name in both is the file's. */
  readonly file?: FileVariables | undefined;
  /** What was found the last time, with the same other options: the same objects are given again. */
  readonly before?: FoundVariables | undefined;
}

/**
 * The routes of an environment and a file, as if all stood in the environment, and what looks like one:
 * the former in the order of the names in the environment, then of the lines, the latter by name, then
 * lines that are not named, and then how many more there are.
 */
export function readVariables(environment: Environment, options: ReadVariablesOptions): {
  readonly candidates: readonly Candidate[];
  readonly ignored: readonly Ignored[];
  readonly found: FoundVariables;
} {
  const { file, before } = options;
  const lines = file?.variables ?? new Map<never, never>();
  const own = Object.keys(environment).sort();
  const names = [...own.filter((name) => !lines.has(name)), ...lines.keys()];
  const links = names.flatMap((name) => LINK_NAME.exec(name)?.[1] ?? []);
  const findLink = prefixFinder(links.map((link) => link.toUpperCase()));
  const found = new Map<string, Found>();
  const candidates: Candidate[] = [];
  const ignored: Ignored[] = [];
  const unnamed: Ignored[] = [];
  let wrong = 0;
  let slips = 0;
  for (const variable of names) {
    const line = lines.get(variable);
    const isInFile = line !== undefined;
    const value = line?.value ?? environment[variable] ?? "";
    let one = before?.get(variable);
    if (
      one?.value !== value || one.isInFile !== isInFile || one.link !== findLink(one.alias, "_ENV_")
    ) {
      const name = parseName(variable, value);
      if (name === undefined) {
        if (file === undefined || !isInFile || isCompanion(variable, value)) continue;
        if (++slips > MAX_SLIPS) continue;
        const shown = file.nameOrLine(variable);
        const slip = { variable: shown, reason: NO_ROUTE, asked: false, isSlip: true } as const;
        (shown === variable ? ignored : unnamed).push(slip);
        continue;
      }
      if (wrong > MAX_WRONG) continue;
      const link = findLink(name.alias, "_ENV_");
      try {
        const meaning = readRoute({ variable, name, value }, { ...options, link, isInFile });
        if (meaning === undefined) continue;
        one = { value, isInFile, alias: name.alias, link, meaning };
      } catch (error) {
        if (isInFile && ++wrong > MAX_WRONG) continue;
        // Only a value that begins like a target is safe to show.
        const shown = QUOTED_TARGET.test(value) ? quoteInput(value) : HIDDEN;
        const twin = variable.replace(/TLS$/i, "TCP");
        const hasTwin = twin !== variable && environment[twin] !== undefined && !lines.has(twin);
        options.problems.push({
          message: `${file?.placeOf(variable) ?? ""}${plain(variable)}=${shown}: ${
            reasonOf(error)
          }`,
          hint: hasTwin
            ? serviceLinkHint(plain(twin))
            : error instanceof InputError
            ? error.hint
            : `write ${plain(variable)}=${name.protocol === "UDP" ? "udp" : "tcp"}://HOST:PORT`,
        });
        continue;
      }
    }
    found.set(variable, one);
    if ("candidate" in one.meaning) candidates.push(one.meaning.candidate);
    else if (!one.meaning.ignored.isSlip || ++slips <= MAX_SLIPS) ignored.push(one.meaning.ignored);
  }
  if (wrong > MAX_WRONG) {
    const message = `${file?.shownPath}: more lines are wrong than the ${MAX_WRONG} that are named`;
    options.problems.push({ message });
  }
  if (file !== undefined && slips > MAX_SLIPS) {
    const more = slips - MAX_SLIPS;
    const reason = more === 1 ? "1 more line is no route" : `${more} more lines are no routes`;
    unnamed.push({ variable: file.shownPath, reason, asked: false, isSlip: true });
  }
  ignored.sort(({ variable: a }, { variable: b }) => a < b ? -1 : a > b ? 1 : 0);
  return { candidates, ignored: [...ignored, ...unnamed], found };
}

/** Whether a line of a file only stands beside a route, as Docker and Kubernetes make it. */
function isCompanion(variable: string, value: string): boolean {
  return COMPANION.test(variable) || (SERVICE.test(variable) && !TARGET.test(value));
}

/**
 * What a variable means that is named like a route, or almost; undefined if that is no news.
 *
 * @throws {SyntaxError} if it is a route, and its value is none
 * @throws {RangeError} if a number is out of range
 */
function readRoute(
  { variable, name, value }: {
    readonly variable: string;
    readonly name: Name;
    readonly value: string;
  },
  options: ReadVariablesOptions & {
    readonly link: string | undefined;
    readonly isInFile: boolean;
  },
): Meaning | undefined {
  const { alias, port, flaw, isMiss } = name;
  const why = reasonToIgnore(name, value, options);
  // A near miss is news only where the route that it misses would be one.
  if (why !== undefined && isMiss && !why.isSlip) return undefined;
  if (flaw !== undefined && why === undefined) {
    const ignored = { variable, reason: flaw, asked: false, ...slipIf(options.isInFile) };
    return { ignored: isMiss ? { ...ignored, isMiss } : ignored };
  }
  if (why !== undefined) return { ignored: { variable, ...why } };
  const { bind: hostname, settings, listens } = options;
  const listen = { protocol: parseProtocol(name.protocol), hostname, port: portOf(port) };
  const targets = parseTargets(value, { listen, listens, settings, needsScheme: true });
  return { candidate: { source: plain(variable), variable, alias, listen, ...targets } };
}

/** The port in a variable's name. */
function portOf(text: string): number {
  try {
    return parsePort(text, "the port in its name");
  } catch (error) {
    throw new InputError(reasonOf(error), "write ALIAS_PORT_6379_TCP=tcp://HOST:PORT");
  }
}

/** A variable's name, taken apart. */
interface Name {
  readonly alias: string;
  readonly port: string;
  readonly protocol: string;
  /** Why it can't be a route, although it may be meant as one. */
  readonly flaw?: string;
  /** Whether it is only spelled a little like a route. */
  readonly isMiss?: true;
}

function parseName(variable: string, value: string): Name | undefined {
  const [, alias, port = "", protocol = ""] = ROUTE_NAME.exec(variable) ?? [];
  if (alias !== undefined) {
    const name = { alias: alias.toUpperCase(), port, protocol: protocol.toUpperCase() };
    if (/^\d+$/.test(port)) return name;
    // It is some other variable, unless its value can't be meant for anything else.
    if (!TARGET.test(value)) return undefined;
    return { ...name, flaw: "the port in its name is not a number" };
  }
  const miss = CUT_OFF.exec(variable) ??
    (TARGET.test(value) ? MISSES.map((form) => form.exec(variable)).find(Boolean) : undefined);
  if (!miss) return undefined;
  const { port: number = /:(\d{1,5})\b/.exec(value)?.[1] ?? "6379", kind = "" } = miss.groups ?? {};
  // Slips of PORT are no part of the alias; POP or ROOT may be.
  const start = variable.slice(0, miss.index).toUpperCase().replace(
    /_(?:PROT|POTR|PRT|POR|OPRT)$/,
    "",
  );
  const right = kind.toUpperCase().replace(/^(?:SSL|[TLS]{3})$/, "TLS").replace(
    /^[UDP]{3}$/,
    "UDP",
  );
  const isKnown = /^(?:TCP|TLS|UDP)$/.test(right);
  const meant = `${/^(?:PORTS?)?$/.test(start) ? "ALIAS" : start}_PORT_${number}_${
    isKnown ? right : /^udp:/i.test(value) ? "UDP" : "TCP"
  }`;
  const flaw = `not a route: did you mean ${plain(meant)}?`;
  return { alias: start, port, protocol, isMiss: true, flaw };
}

/** Why a variable is left alone, or undefined if it is a route. */
function reasonToIgnore(
  { alias, protocol, isMiss }: Name,
  value: string,
  { only, ignore, link, isReplaced, isInFile }: Pick<Options, "only" | "ignore"> & {
    readonly link: string | undefined;
    readonly isReplaced: boolean;
    readonly isInFile: boolean;
  },
): Omit<Ignored, "variable"> | undefined {
  // A Kubernetes Service FOO with a port that is named "6379-tcp" makes FOO_SERVICE_PORT_6379_TCP.
  const isServicePort = alias.endsWith("_SERVICE") && /^\d+$/.test(value);
  const isKubernetes = alias === "KUBERNETES" && only === undefined;
  const reasons: readonly (readonly [boolean, string, ("asked" | "slip")?])[] = [
    [alias === "", "no alias stands before _PORT_", "slip"],
    [ignore?.has(alias) ?? false, "left out by --ignore", "asked"],
    [only !== undefined && !only.has(alias), "not named by --only", "asked"],
    // In a file a near miss is a slip, with a value or without one: it switches nothing off.
    [value === "" && !(isMiss && isInFile), "switched off by its empty value", "asked"],
    [isKubernetes, "the Kubernetes API is left out unless --only names it"],
    [link !== undefined, `copied from the environment of the link ${plain(link ?? "")}`],
    [isServicePort, "the named port of a Kubernetes Service, not a route"],
    [isReplaced, REPLACED],
    // Kubernetes makes these unasked, so that they can't be errors.
    [protocol === "SCTP", "SCTP is not offered", "slip"],
  ];
  const [, reason, kind] = reasons.find(([holds]) => holds) ?? [];
  if (reason === undefined) return undefined;
  return { reason, asked: kind === "asked", ...slipIf(isInFile && kind === "slip") };
}

/** In an environment, what is no route may be there for somebody else. */
function slipIf(isSlip: boolean): Pick<Ignored, "isSlip"> {
  return isSlip ? { isSlip } : {};
}
