// What options of TLS need of each other and of the routes, so that none only looks like protection. It
// reads no certificate, and does not know whether one is any good.

import type { Problem } from "../base/errors.ts";
import { plain, some } from "../base/text.ts";
import type { Options } from "./options.ts";
import type { Warning } from "./own_variables.ts";
import { type Route, routeName } from "./routes.ts";
import { reachesByTls, type Targets } from "./targets.ts";

/** An option that was given. */
export interface Given {
  /** Where, as it is written: `--tls-key` or `AMBASSADOR_TLS_KEY`. */
  readonly source: string;
  /** Whether it has no value, which is an error of its own. */
  readonly isEmpty: boolean;
  /** What may not be meant by it, in one line. */
  readonly doubt?: string;
}

/** What was said of TLS, and of what routes. */
export interface TlsUse {
  /** Every route. */
  readonly routes: readonly Route[];
  /** Targets that no route leads to. */
  readonly bare: readonly Targets[];
  /** Whether anything will listen. */
  readonly listens: boolean;
  /** Every option. */
  readonly options: Options;
  /** Those that were given, by their names. */
  readonly given: ReadonlyMap<string, Given>;
}

/** Options that do something wherever there is TLS. */
const OF_BOTH = ["tls-cert", "tls-key", "tls-ca"] as const;
/** Options that do something only where clients speak TLS. */
const OF_LISTENERS = ["tls-client-ca", "tls-client", "tls-allow"] as const;
/** Options that do something only where an upstream speaks TLS. */
const OF_TARGETS = ["tls-name", "starttls"] as const;

/**
 * Everything that is wrong with the options of TLS, as the routes are. What is merely idle, since there
 * is no route for it, comes as the warning that it is where there may be one later.
 */
export function checkTls(use: TlsUse): readonly (Problem | Warning)[] {
  return [...findIdle(use), ...findUnpaired(use), ...use.listens ? checkListeners(use) : []];
}

/** Says that options have no route to act on. */
function idle(
  sources: readonly string[],
  { reason, hint }: { readonly reason: string; readonly hint: string },
): Warning[] {
  if (sources.length === 0) return [];
  const setting = sources.join(", ");
  return [{ event: "ignored", setting, reason, message: `${setting}: ${reason}`, hint }];
}

/** What is given and has no route that it could act on. */
function findIdle({ routes, bare, listens, given }: TlsUse): Warning[] {
  const sourcesOf = (names: readonly string[]): string[] =>
    names.flatMap((name) => sourceOf(given, name) ?? []).filter((source) =>
      // One environment is set for all commands of a container, and `wait` may want less than it says.
      listens || source.startsWith("--")
    );
  const isListening = routes.some(listensByTls);
  const isReaching = [...routes, ...bare].some(reachesByTls);
  const ofBoth = sourcesOf(OF_BOTH);
  const ofListeners = listens ? sourcesOf(OF_LISTENERS) : [];
  const ofTargets = sourcesOf(OF_TARGETS);
  const hint = areArguments(routes)
    ? "a route listens by TLS as 6380/tls=HOST:PORT, and connects by TLS as 6379=tls://HOST:PORT"
    : "a route listens by TLS as ALIAS_PORT_6380_TLS=tcp://HOST:PORT, and connects by TLS as " +
      "ALIAS_PORT_6379_TCP=tls://HOST:PORT";
  if (!isListening && !isReaching) {
    return idle([...ofBoth, ...ofListeners, ...ofTargets], { reason: "no route uses TLS", hint });
  }
  return [
    ...isListening ? [] : idle(ofListeners, { reason: "no route listens by TLS", hint }),
    ...isReaching ? [] : idle(ofTargets, { reason: "no target is a tls:// one", hint }),
  ];
}

/** A certificate without its key, or the reverse. */
function findUnpaired({ routes, bare, listens, given }: TlsUse): Problem[] {
  const isUsed = [...routes, ...bare].some(reachesByTls) || (listens && routes.some(listensByTls));
  if (!isUsed || given.has("tls-cert") === given.has("tls-key")) return [];
  const [name, missing] = given.has("tls-cert") ? ["tls-cert", "tls-key"] : ["tls-key", "tls-cert"];
  const alone = sourceOf(given, name);
  const hint = "a certificate and its key are given together";
  return alone === undefined ? [] : [{ message: `${alone}: --${missing} is missing`, hint }];
}

function checkListeners({ routes, options, given }: TlsUse): (Problem | Warning)[] {
  const listening = routes.filter(listensByTls);
  if (listening.length === 0) return [];
  const problems: (Problem | Warning)[] = [];
  if (!given.has("tls-cert") && !given.has("tls-key")) {
    problems.push({
      message: `${namesOf(listening)}: to listen by TLS --tls-cert and --tls-key are needed`,
      hint: areArguments(routes)
        ? "write --tls-cert FILE --tls-key FILE"
        : "set AMBASSADOR_TLS_CERT and AMBASSADOR_TLS_KEY to a file each, or to the PEM itself",
    });
  }
  const hint = "leave one of the two out";
  const clientCa = sourceOf(given, "tls-client-ca");
  /** The CA for upstreams, where there are none. */
  const idleCa = routes.some(reachesByTls) ? undefined : sourceOf(given, "tls-ca");
  if (options.tlsClient === "required") {
    if (!given.has("tls-client-ca") && !given.has("tls-ca")) {
      problems.push({
        message: `${namesOf(listening)}: clients need a certificate, and no --tls-ca says whose`,
        hint: areArguments(routes)
          ? "write --tls-ca FILE, the CA that signs them, or --tls-client none: then anybody is served"
          : "set AMBASSADOR_TLS_CA to the CA that signs them, or AMBASSADOR_TLS_CLIENT=none: " +
            "then anybody is served",
      });
    }
    if (clientCa !== undefined && idleCa !== undefined) {
      const why = "no target is a tls:// one";
      const message = `${clientCa}: ${idleCa} has no effect beside it: ${why}`;
      const reason = `no effect beside ${clientCa}: ${why}`;
      problems.push({ event: "ignored", setting: idleCa, reason, message, hint });
    }
    return problems;
  }
  const none = `${sourceOf(given, "tls-client") ?? "--tls-client"} none`;
  const choosy = listening.filter(({ settings }) => !settings.tlsAllow.isAny);
  if (choosy.length > 0) {
    const message = `${none}: ${namesOf(choosy)}: tls-allow needs a client's certificate`;
    problems.push({ message, hint });
  }
  // No route whatever makes use of this one.
  if (clientCa !== undefined) {
    problems.push({ message: `${none}: ${clientCa} has no effect`, hint });
  }
  if (idleCa !== undefined) {
    const reason = `no effect with ${none}: no target is a tls:// one`;
    const message = `${none}: ${idleCa} has no effect`;
    problems.push({ event: "ignored", setting: idleCa, reason, message, hint });
  }
  return problems;
}

/** What lets in or shows more than may be meant. */
export function findTlsWarnings(
  { routes, options, given }: Pick<TlsUse, "routes" | "options" | "given">,
): Warning[] {
  const warnings: Warning[] = [];
  const event = "warning";
  const open = routes.filter((route) => listensByTls(route) && route.settings.tlsAllow.isAny);
  // Whoever says `all` knows.
  if (open.length > 0 && options.tlsClient === "required" && !given.has("tls-allow")) {
    const setting = "--tls-allow";
    const what = `everybody whom the CA signed may use ${namesOf(open)}`;
    warnings.push({
      event,
      setting,
      reason: `without it ${what}`,
      message: `no ${setting}: ${what}`,
    });
  }
  const mixed = routes.filter((route) =>
    reachesByTls(route) && route.targets.some(({ protocol }) => protocol !== "tls")
  );
  if (mixed.length > 0) {
    const setting = "tls://";
    const reason =
      `${namesOf(mixed)} also has a tcp:// target: whoever breaks the TLS of the other ` +
      "is sent plain text";
    warnings.push({ event, setting, reason, message: `${setting}: ${reason}` });
  }
  if (options.tlsKey !== undefined && "pem" in options.tlsKey) {
    const setting = options.tlsKey.option;
    const reason = "a key in a variable is seen by docker inspect and by linked containers";
    warnings.push({ event, setting, reason, message: `${setting}: ${reason}` });
  }
  return warnings;
}

/** Where an option was given a value. */
function sourceOf(given: TlsUse["given"], name: string): string | undefined {
  const option = given.get(name);
  return option?.isEmpty ? undefined : option?.source;
}

/** Whether routes were given as arguments: hints speak of what was used. */
function areArguments(routes: readonly Route[]): boolean {
  return routes.every(({ aliases }) => aliases.length === 0);
}

function listensByTls({ listen }: Route): boolean {
  return listen.protocol === "tls";
}

function namesOf(routes: readonly Route[]): string {
  const names = routes.map((route) => routeName(route, plain));
  return `route${names.length === 1 ? "" : "s"} ${some(names, ", ")}`;
}
