// What options of TLS need of each other and of the routes, so that none only looks like protection. It
// reads no certificate, and does not know whether one is any good.

import type { Problem } from "../base/errors.ts";
import { plain, some } from "../base/text.ts";
import type { Options } from "./options.ts";
import type { Warning } from "./own_variables.ts";
import { type Route, routeName } from "./routes.ts";
import { reachesByTls, type Targets } from "./targets.ts";

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
  /** Where each option was said that was: `tls-key` → `AMBASSADOR_TLS_KEY`, or "" if without a value. */
  readonly sources: ReadonlyMap<string, string>;
}

/** Options that do something wherever there is TLS. */
const OF_BOTH = ["tls-cert", "tls-key", "tls-ca"] as const;
/** Options that do something only where clients speak TLS. */
const OF_LISTENERS = ["tls-client-ca", "tls-client", "tls-allow"] as const;
/** Options that do something only where an upstream speaks TLS. */
const OF_TARGETS = ["tls-name", "starttls"] as const;

/** Everything that is wrong with the options of TLS, as the routes are. */
export function checkTls(use: TlsUse): readonly Problem[] {
  return [...findIdle(use), ...findUnpaired(use), ...use.listens ? checkListeners(use) : []];
}

/** What is given and does nothing. */
function findIdle({ routes, bare, listens, sources }: TlsUse): Problem[] {
  const given = (names: readonly string[]): string[] =>
    names.flatMap((name) => sources.get(name) || []).filter((source) =>
      // One environment is set for all commands of a container, and `wait` may want less than it says.
      listens || source.startsWith("--")
    );
  const isListening = routes.some(listensByTls);
  const isReaching = [...routes, ...bare].some(reachesByTls);
  const ofBoth = given(OF_BOTH);
  const ofListeners = listens ? given(OF_LISTENERS) : [];
  const ofTargets = given(OF_TARGETS);
  const hint =
    "a route listens by TLS as ALIAS_PORT_6380_TLS=… or 6380/tls=…, and connects by TLS to " +
    "tls://HOST:PORT";
  if (!isListening && !isReaching) {
    const all = [...ofBoth, ...ofListeners, ...ofTargets];
    return all.length === 0 ? [] : [{ message: `${all.join(", ")}: no route uses TLS`, hint }];
  }
  const problems: Problem[] = [];
  if (!isListening && ofListeners.length > 0) {
    problems.push({ message: `${ofListeners.join(", ")}: no route listens by TLS`, hint });
  }
  if (!isReaching && ofTargets.length > 0) {
    problems.push({ message: `${ofTargets.join(", ")}: no target is a tls:// one`, hint });
  }
  return problems;
}

/** A certificate without its key, or the reverse. */
function findUnpaired({ routes, bare, listens, sources }: TlsUse): Problem[] {
  const isUsed = [...routes, ...bare].some(reachesByTls) || (listens && routes.some(listensByTls));
  const [cert, key] = [sources.get("tls-cert"), sources.get("tls-key")];
  const alone = cert || key;
  if (!isUsed || !alone || (cert !== undefined && key !== undefined)) return [];
  const missing = cert === undefined ? "--tls-cert" : "--tls-key";
  const hint = "a certificate and its key are given together";
  return [{ message: `${alone}: ${missing} is missing`, hint }];
}

function checkListeners({ routes, options, sources }: TlsUse): Problem[] {
  const listening = routes.filter(listensByTls);
  if (listening.length === 0) return [];
  const problems: Problem[] = [];
  if (!sources.has("tls-cert") && !sources.has("tls-key")) {
    problems.push({
      message: `${namesOf(listening)}: to listen by TLS --tls-cert and --tls-key are needed`,
      hint: "set AMBASSADOR_TLS_CERT and AMBASSADOR_TLS_KEY to a file each, or to the PEM itself",
    });
  }
  const clientSource = sources.get("tls-client") ?? "--tls-client";
  const clientCa = sources.get("tls-client-ca");
  if (options.tlsClient === "required") {
    if (clientCa === undefined && !sources.has("tls-ca")) {
      problems.push({
        message: `${namesOf(listening)}: clients need a certificate, and no --tls-ca says whose`,
        hint: "name the CA that signs them, or say --tls-client none: then anybody is served",
      });
    }
    return problems;
  }
  const hint = "leave one of the two out";
  const choosy = listening.filter(({ settings }) => !settings.tlsAllow.isAny);
  if (choosy.length > 0) {
    const message = `${clientSource} none: ${
      namesOf(choosy)
    }: tls-allow needs a client's certificate`;
    problems.push({ message, hint });
  }
  if (clientCa !== undefined) {
    problems.push({ message: `${clientSource} none: ${clientCa} has no effect`, hint });
  }
  return problems;
}

/** What lets in or shows more than may be meant. */
export function findTlsWarnings(
  { routes, options }: Pick<TlsUse, "routes" | "options">,
): Warning[] {
  const warnings: Warning[] = [];
  const warn = (setting: string, reason: string): void =>
    void warnings.push({ event: "warning", setting, reason, message: `${setting}: ${reason}` });
  const open = routes.filter((route) => listensByTls(route) && route.settings.tlsAllow.isAny);
  if (open.length > 0 && options.tlsClient === "required") {
    warn("--tls-allow", `everybody whom the CA signed may use ${namesOf(open)}`);
  }
  if (options.tlsKey !== undefined && "pem" in options.tlsKey) {
    const reason = "a key in a variable is seen by docker inspect and by linked containers";
    warn(options.tlsKey.option, reason);
  }
  return warnings;
}

function listensByTls({ listen }: Route): boolean {
  return listen.protocol === "tls";
}

function namesOf(routes: readonly Route[]): string {
  const names = routes.map((route) => routeName(route, plain));
  return `route${names.length === 1 ? "" : "s"} ${some(names, ", ")}`;
}
