// What stands behind a listener: `[SCHEME://]HOST:PORT[,…][?SETTINGS]`, and whether that may stand
// there. It knows nothing of where the text came from.

import {
  type Endpoint,
  formatAddress,
  isIp,
  isLoopback,
  isUnspecified,
  parseAddress,
  portKind,
  type Protocol,
} from "../base/address.ts";
import { InputError } from "../base/errors.ts";
import { Networks } from "../base/networks.ts";
import { addressFlaw, schemeFlaw, targetsFlaw } from "./likely_meant.ts";
import { OPTIONS, type RouteSettings } from "./options.ts";
import { DEFAULT_SETTINGS, parseSettings } from "./settings.ts";

/** For each way to listen, how its targets may be reached; the first unless said. */
const TARGET_PROTOCOLS: Readonly<Record<Protocol, readonly Protocol[]>> = {
  tcp: ["tcp", "tls"],
  tls: ["tcp", "tls"],
  udp: ["udp"],
};

/**
 * Settings that need something of their route, and what is said where it has not got it. What UDP lacks
 * comes first: it is the reason for the rest.
 */
const NEEDS: readonly (readonly [
  keyof RouteSettings,
  (route: Targets & { readonly listen: Endpoint | undefined }) => boolean,
  string,
])[] = [
  ["idleTimeoutMs", isNotUdp, "UDP has no connections: udp-timeout ends its sessions"],
  [
    "halfCloseTimeoutMs",
    isNotUdp,
    "UDP has no half-closed connections: udp-timeout ends its sessions",
  ],
  ["maxConnections", isNotUdp, "UDP has no connections: max-sessions limits its sessions"],
  [
    "sendProxy",
    (route) => isNotUdp(route) || route.settings.sendProxy !== "v1",
    "v1 knows no UDP: send-proxy=v2 does",
  ],
  [
    "acceptProxy",
    isNotUdp,
    "the source of a datagram can be forged: whoever says who a client is can't be known",
  ],
  ["handshakeTimeoutMs", isNotUdp, "UDP clients begin with neither TLS nor a PROXY header"],
  ["udpTimeoutMs", isUdp, "the route is not a UDP one: idle-timeout ends its connections"],
  ["maxSessions", isUdp, "the route is not a UDP one: max-connections limits its connections"],
  ["balance", ({ targets }) => targets.length > 1, "the route has one target"],
  ["failTimeoutMs", ({ targets }) => targets.length > 1, "the route has one target"],
  [
    "handshakeTimeoutMs",
    ({ listen, settings }) => listen?.protocol === "tls" || settings.acceptProxy !== Networks.NONE,
    "its clients begin with neither TLS nor a PROXY header (accept-proxy)",
  ],
  ["tlsAllow", ({ listen }) => listen?.protocol === "tls", "the route does not listen by TLS"],
  ["tlsName", reachesByTls, "no target of the route is a tls:// one"],
  ["starttls", reachesByTls, "no target of the route is a tls:// one"],
];

/** Whether its targets are reached by UDP: all of them are, or none. */
export function isUdp({ targets }: Pick<Targets, "targets">): boolean {
  return targets.some(({ protocol }) => protocol === "udp");
}

function isNotUdp(route: Targets): boolean {
  return !isUdp(route);
}

/** Whether any of its targets is reached by TLS. */
export function reachesByTls({ targets }: Pick<Targets, "targets">): boolean {
  return targets.some(({ protocol }) => protocol === "tls");
}

/** Where a route leads. */
export interface Targets {
  /** At least one, in the order written. */
  readonly targets: readonly Endpoint[];
  /** What holds for the route. */
  readonly settings: RouteSettings;
  /** What may not be meant, one line each; undefined where there is nothing. */
  readonly doubts?: readonly string[];
}

/**
 * Reads targets and the settings after them.
 *
 * @param options `listen` is where the route listens, undefined where the targets are no route's;
 *   `listens` is whether anything will, so that a target may be the route itself; `settings` is what
 *   holds where the text says nothing.
 * @throws {SyntaxError} if it is none, or does not fit the listener; an InputError where a hint helps
 *   more, or less, than how a route is written
 * @throws {RangeError} if a number is out of range
 */
export function parseTargets(
  text: string,
  { listen, listens, settings, needsScheme }: {
    readonly listen: Endpoint | undefined;
    readonly listens: boolean;
    readonly settings: RouteSettings;
    readonly needsScheme: boolean;
  },
): Targets {
  const flaw = targetsFlaw(text);
  if (flaw !== undefined) throw flaw;
  const question = text.indexOf("?");
  const list = question < 0 ? text : text.slice(0, question);
  // Without a listener the first target says of what kind all are.
  const allowed = TARGET_PROTOCOLS[listen?.protocol ?? (/^udp:/i.test(list) ? "udp" : "tcp")];
  const schemes = allowed.map((protocol) => `${protocol}://`);
  let scheme = needsScheme ? undefined : allowed[0];
  const targets = list.split(",").map((piece): Endpoint => {
    const parts = /^([A-Za-z][A-Za-z0-9+.-]*):\/\/(.*)$/s.exec(piece);
    if (parts !== null) {
      scheme = findProtocol(allowed, parts[1] ?? "");
      if (scheme === undefined) {
        throw wrongScheme(piece, { listen, schemes, isVariable: needsScheme });
      }
    }
    if (scheme === undefined) {
      throw new SyntaxError(`the value does not begin with ${schemes.join(" or ")}`);
    }
    const address = parts?.[2] ?? piece;
    const flaw = addressFlaw(address);
    if (flaw !== undefined) throw flaw;
    return { protocol: scheme, ...parseAddress(address) };
  });
  // One port does not speak both TCP and TLS.
  const twice = findRepeated(targets.map(formatAddress));
  if (twice !== undefined) {
    throw new InputError(`the target ${twice} stands there twice`, "leave one of them out");
  }
  if (listen !== undefined && listens && targets.some((target) => isItself(listen, target))) {
    throw new InputError(
      "the target is the route itself",
      "name another host, or another port: in a container localhost is the container itself",
    );
  }
  const { own, doubts = [] } = question < 0 ? {} : parseSettings(text.slice(question + 1));
  const route = { listen, targets, settings: own ? { ...settings, ...own } : settings };
  const idle = NEEDS.filter(([, has]) => !has(route));
  for (const [key, , reason] of idle) {
    // Without an effect it would only look like one.
    if (own && key in own) throw new InputError(`${OPTIONS[key].name}: ${reason}`);
  }
  const keys = idle.map(([key]) => key);
  const read = { targets, settings: unset(route.settings, keys) };
  return doubts.length > 0 ? { ...read, doubts } : read;
}

/** Why a target can't begin so. */
function wrongScheme(
  target: string,
  { listen, schemes, isVariable }: {
    readonly listen: Endpoint | undefined;
    readonly schemes: readonly string[];
    readonly isVariable: boolean;
  },
): InputError {
  const known = /^(tcp|tls|udp):/i.exec(target)?.[1]?.toLowerCase();
  if (known === undefined) return schemeFlaw(target);
  const names = schemes.join(" and ");
  if (listen === undefined) return new InputError(`only ${names} may stand here`);
  const { protocol, port } = listen;
  const kind = known === "udp" ? "UDP" : "TCP";
  return new InputError(
    `a route that listens by ${protocol.toUpperCase()} leads to ${names} alone`,
    isVariable
      ? `a route for ${known}:// is named ALIAS_PORT_${port}_${kind}`
      : `a route for ${known}:// is written ${port}${
        { tcp: "=", tls: "=tls://", udp: "/udp=" }[known]
      }HOST:PORT`,
  );
}

/** The first of several texts that has been there before. */
function findRepeated(texts: readonly string[]): string | undefined {
  const before = new Set<string>();
  return texts.find((text) => before.has(text) || !before.add(text));
}

/**
 * What an option says without an effect on a route is not shown of it either. Where there is no such
 * option the object stays the same, so that thousands of routes share one, and what is worked out of it.
 */
function unset(settings: RouteSettings, keys: readonly (keyof RouteSettings)[]): RouteSettings {
  const given = keys.filter((key) => settings[key] !== DEFAULT_SETTINGS[key]);
  if (given.length === 0) return settings;
  const standard = given.map((key) => [key, DEFAULT_SETTINGS[key]]);
  return { ...settings, ...Object.fromEntries(standard) };
}

/**
 * A way to listen, in any case: `tcp`, `tls` or `udp`.
 *
 * @throws {SyntaxError} if there is none of that name
 */
export function parseProtocol(text: string): Protocol {
  const known = Object.keys(TARGET_PROTOCOLS) as Protocol[];
  const found = findProtocol(known, text);
  if (found === undefined) {
    throw new InputError(
      "the protocol is not tcp, tls or udp",
      /^(?:ssl|https|tls.*)$/i.test(text)
        ? "write PORT/tls"
        : /tcp.*udp|udp.*tcp/i.test(text)
        ? "write two routes, one with PORT for TCP and one with PORT/udp"
        : "write PORT alone for TCP, PORT/tls or PORT/udp",
    );
  }
  return found;
}

/** The one of `allowed` that a text names, in any case. */
function findProtocol(allowed: readonly Protocol[], text: string): Protocol | undefined {
  const name = text.toLowerCase();
  return allowed.find((protocol) => protocol === name);
}

/** Whether a target is its route's own listener, whose socket is one whether or not it speaks TLS. */
function isItself(listen: Endpoint, target: Endpoint): boolean {
  if (portKind(listen.protocol) !== portKind(target.protocol)) return false;
  if (listen.port !== target.port) return false;
  const local = isLoopback(target.hostname) || isUnspecified(target.hostname);
  // A listener on one address is not reached through another: 192.0.2.1:6379=127.0.0.1:6379 is fine.
  if (isUnspecified(listen.hostname)) {
    return local && !(listen.hostname === "0.0.0.0" && target.hostname === "::1");
  }
  return listen.hostname === target.hostname ||
    (isLoopback(listen.hostname) &&
      (isUnspecified(target.hostname) || (local && !isIp(target.hostname)))) ||
    (listen.hostname === "localhost" && local);
}
