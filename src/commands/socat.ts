// A route as the command line of socat that does the same, and what such a line can't say. Its words
// are those of socat 1.7.4; it is never run here.

import {
  type Address,
  type Endpoint,
  formatAddress,
  formatHost,
  isIpv4,
  isIpv6,
  isUnspecified,
} from "../base/address.ts";
import { plain } from "../base/text.ts";
import type { Command } from "../config/command_line.ts";
import { OPTIONS, type Options, type OptionSpec, type RouteSettings } from "../config/options.ts";
import type { PemSource } from "../config/pem.ts";
import { type Route, routeName } from "../config/routes.ts";
import { changedSettings } from "../config/settings.ts";
import { isUdp } from "../config/targets.ts";

/** How long socat keeps a connection that is half closed, in seconds: three years, as if for ever. */
const SOCAT_HALF_CLOSE_SECONDS = 100_000_000;

/** What both ends of every line have that is not UDP. */
const BOTH = "nodelay,keepalive";

/** The largest datagram: what is longer than a block, 8 KiB unless said, socat cuts off. */
const SOCAT_DATAGRAM_BYTES = 65_507;

/** What a line is made from: its route, and what holds for all. */
export type Said = Pick<Command, "routes" | "options">;

/** The command line, ready for a shell. */
export function formatSocat(route: Route, said: Said): string {
  const { options } = said;
  const { targets: [target], settings } = route;
  if (target === undefined) return "";
  if (isUdp(route)) return formatUdpSocat(route, target, options);
  const { connectTimeoutMs, retryMs, halfCloseTimeoutMs, idleTimeoutMs } = settings;
  const hasLimit = "connect-timeout" in changedSettings(settings);
  const to = [
    target.protocol === "tls"
      ? `OPENSSL:${formatAddress(target)}${socatFamily(target)}`
      : `${socatProtocol(target)}:${formatAddress(target)}`,
    BOTH,
    // The default goes without saying: socat's own is how long the system tries, two minutes.
    ...(hasLimit && connectTimeoutMs > 0 ? [`connect-timeout=${connectTimeoutMs / 1000}`] : []),
    ...(retryMs > 0 ? [`retry=${Math.ceil(retryMs / 1000)},interval=1`] : []),
    ...(target.protocol === "tls" ? connectByTls(settings, options) : []),
  ];
  const halfClose = halfCloseTimeoutMs > 0 ? halfCloseTimeoutMs / 1000 : SOCAT_HALF_CLOSE_SECONDS;
  const idle = idleTimeoutMs > 0 ? ` -T ${idleTimeoutMs / 1000}` : "";
  const words = [formatListener(route, said), to].map((parts) => shellWord(parts.join(",")));
  return `socat${tells(options)} -t ${halfClose}${idle} ${words.join(" ")}`;
}

/** Who comes and goes, on stderr. */
function tells({ logConnections }: Options): string {
  return logConnections ? " -d -d" : "";
}

function formatUdpSocat({ listen, settings }: Route, target: Endpoint, options: Options): string {
  const { udpTimeoutMs } = settings;
  const from = [
    `${socatProtocol(listen)}-LISTEN:${listen.port}`,
    ...socatPlace(listen),
    "fork,reuseaddr",
    ...rangeOption(listen, settings),
  ].join(",");
  const to = `${socatProtocol(target)}:${formatAddress(target)}`;
  const idle = udpTimeoutMs > 0 ? ` -T ${udpTimeoutMs / 1000}` : "";
  return `socat${tells(options)} -b ${SOCAT_DATAGRAM_BYTES}${idle} ${shellWord(from)} ${
    shellWord(to)
  }`;
}

function formatListener(route: Route, said: Said): readonly string[] {
  const { listen, settings } = route;
  const { options } = said;
  const isTls = listen.protocol === "tls";
  const most = maxChildren(route, said);
  return [
    isTls
      ? `OPENSSL-LISTEN:${listen.port}${socatFamily(listen)}`
      : `${socatProtocol(listen)}-LISTEN:${listen.port}`,
    ...socatPlace(listen),
    `fork,reuseaddr,${BOTH}`,
    ...rangeOption(listen, settings),
    ...(options.reusePort ? ["reuseport"] : []),
    ...(most > 0 ? [`max-children=${most}`] : []),
    ...(isTls ? listenByTls(settings, options) : []),
  ];
}

/** The limit of the route, and of all together where there is no other; 0 is none. */
function maxChildren({ settings }: Route, { routes, options }: Said): number {
  const ofAll = routes.length === 1 ? options.maxConnections : 0;
  const limits = [settings.maxConnections, ofAll].filter((limit) => limit > 0);
  return limits.length === 0 ? 0 : Math.min(...limits);
}

/** The address on which a line listens, where that is not each one that its protocol means. */
function socatPlace({ hostname }: Address): readonly string[] {
  if (hostname === "::") return ["ipv6only=0"];
  return isUnspecified(hostname) ? [] : [`bind=${formatHost(hostname)}`];
}

function rangeOption(listen: Address, settings: RouteSettings): readonly string[] {
  const range = socatRange(listen, settings);
  return range === undefined ? [] : [`range=${range}`];
}

function listenByTls(settings: RouteSettings, options: Options): string[] {
  const { tlsCert, tlsKey, tlsCa, tlsClientCa, tlsClient } = options;
  const own = [...fileOption("cert", tlsCert), ...fileOption("key", tlsKey)];
  if (tlsClient === "none") return [...own, "verify=0"];
  const name = socatClient(settings);
  return [
    ...own,
    ...fileOption("cafile", tlsClientCa ?? tlsCa),
    "verify=1",
    ...(name === undefined ? [] : [`commonname=${name}`]),
  ];
}

function connectByTls(
  { tlsName }: RouteSettings,
  { tlsCert, tlsKey, tlsCa }: Options,
): readonly string[] {
  return [
    ...fileOption("cert", tlsCert),
    ...fileOption("key", tlsKey),
    ...fileOption("cafile", tlsCa),
    "verify=1",
    // It is asked for by SNI too.
    ...(tlsName === undefined ? [] : [`commonname=${tlsName}`]),
  ];
}

/** The one name that socat asks of clients; undefined if it can't be said. */
function socatClient({ tlsAllow }: RouteSettings): string | undefined {
  return tlsAllow.isAny ? undefined : /^[\w.-]+$/.exec(String(tlsAllow))?.[0];
}

/** An option that names a file; nothing where there is none. */
function fileOption(name: string, source: PemSource | undefined): string[] {
  if (source === undefined || !("path" in source)) return [];
  return [`${name}=${source.path.replace(/[^\w./@+-]/gu, "\\$&")}`];
}

/** The word as a shell reads it back. */
function shellWord(word: string): string {
  // A backslash stands before whatever else means something to it.
  return /[[\\]/.test(word) ? `'${word.replaceAll("'", `'\\''`)}'` : word;
}

/** Options that hold for all routes together, where each socat is a program of its own. */
const NOT_IN_SOCAT = [
  ...["maxConnections", "maxSessions"] as const,
  ...["drainTimeoutMs", "drainDelayMs", "status"] as const,
];

/** The same of settings of a route; socat knows neither a second target nor a PROXY header. */
const NOT_IN_ONE_SOCAT = ["send-proxy", "accept-proxy", "handshake-timeout", "starttls"] as const;
/** The same of those of UDP routes. */
const NOT_IN_UDP_SOCAT = [
  ...["connect-timeout", "retry", "max-sessions"] as const,
  ...NOT_IN_ONE_SOCAT,
];

function nothingLike(option: string): string {
  const more = option === "max-sessions" ? ": its max-children turns new clients away" : "";
  return `socat has nothing like it${more}`;
}

/** What the lines of these routes can't say, a line each. */
export function socatNotes({ routes, options }: Said): readonly string[] {
  const ofAll = NOT_IN_SOCAT.flatMap((key) => {
    const { name, kind, default: standard }: OptionSpec = OPTIONS[key];
    const text = kind.format(options[key]);
    const isCarried = key === "maxConnections" && routes.length === 1 && !routes.some(isUdp);
    return text === standard || isCarried ? [] : [`--${name} ${text}: ${nothingLike(name)}`];
  });
  const { tlsCert, tlsKey, tlsCa, tlsClientCa } = options;
  const inVariables = [tlsCert, tlsKey, tlsCa, tlsClientCa].flatMap((source) =>
    source !== undefined && "pem" in source
      ? [`${source.option}: socat reads files alone: name one in the place of this`]
      : []
  );
  return [...ofAll, ...inVariables, ...routes.flatMap((route) => notesOf(route, options))];
}

function notesOf(route: Route, { tlsCa }: Options): readonly string[] {
  const { listen, targets, settings } = route;
  const name = `route ${routeName(route, plain)}`;
  const changed = changedSettings(settings);
  const lacking = isUdp(route) ? NOT_IN_UDP_SOCAT : NOT_IN_ONE_SOCAT;
  const notes = lacking.filter((one) => one in changed).map((one) =>
    `${name}: ${one} ${changed[one]}: ${nothingLike(one)}`
  );
  if ("tls-allow" in changed) {
    const less = socatClient(settings) === undefined
      ? "socat knows one name without a star: the line serves everybody whom the CA signed"
      : "socat looks for it in the subject too, and takes a certificate with a star for it";
    notes.unshift(`${name}: tls-allow ${changed["tls-allow"]}: ${less}`);
  }
  if ("allow" in changed && socatRange(listen, settings) === undefined) {
    const line =
      `${name}: allow ${changed["allow"]}: socat knows one network, of the kind that it ` +
      "listens on: the line serves everybody";
    notes.unshift(line);
  }
  if (targets[0]?.protocol === "tls" && tlsCa === undefined) {
    notes.push(`${name}: socat trusts the roots of the system where no cafile is named`);
  }
  if (isUdp(route)) notes.push(`${name}: socat passes no empty datagrams on`);
  if (targets.length > 1) notes.push(`${name}: socat knows one target: the line has the first`);
  return notes;
}

/** The one network that socat lets in; undefined if it can't be said. */
function socatRange(
  { hostname }: Address,
  { allow }: Pick<RouteSettings, "allow">,
): string | undefined {
  const network = /^([^,/]*[.:][^,/]*)(?:\/(\d+))?$/.exec(String(allow));
  if (network === null) return undefined;
  const [, address = "", prefix] = network;
  const isListenIpv6 = isIpv6(hostname);
  if (isIpv6(address)) return isListenIpv6 ? `[${address}]/${prefix ?? 128}` : undefined;
  const bits = Number(prefix ?? 32);
  return isListenIpv6 ? `[::ffff:${address}]/${bits + 96}` : `${address}/${bits}`;
}

function socatProtocol({ protocol, hostname }: Endpoint): string {
  const name = protocol === "udp" ? "UDP" : "TCP";
  if (isIpv4(hostname)) return `${name}4`;
  return isIpv6(hostname) ? `${name}6` : name;
}

/** What says the same where the protocol's name doesn't. */
function socatFamily({ hostname }: Address): string {
  if (isIpv4(hostname)) return ",pf=ip4";
  return isIpv6(hostname) ? ",pf=ip6" : "";
}
