// The options: their names, defaults and meaning in one table, and how the text of each becomes a
// value and back. The command line, the environment, the settings of routes and the help all read this
// table; it knows nothing of them.

import {
  type Address,
  formatAddress,
  isIp,
  isIpv4,
  parseAddress,
  parseHost,
  withoutDot,
} from "../base/address.ts";
import { formatDuration, parseDuration } from "../base/duration.ts";
import { InputError } from "../base/errors.ts";
import { LOG_FORMATS, LOG_LEVELS } from "../base/log.ts";
import { type NamePatterns, parseNamePatterns } from "../base/name_patterns.ts";
import { type Networks, parseNetworks } from "../base/networks.ts";
import { looksLikeKey, quoteInput } from "../base/text.ts";
import { likelyChoice, textFlaw } from "./likely_meant.ts";
import { isPath, parsePath } from "./path.ts";
import { formatPem, parsePem, type PemSource, quotePath } from "./pem.ts";

/** The commands that are named by a word. */
export const COMMANDS = ["check", "wait", "healthcheck"] as const;
/** One of {@linkcode COMMANDS}, or `forward` where no command is named. */
export type CommandName = "forward" | typeof COMMANDS[number];
/** Every command, first the one that needs no word. */
export const ALL_COMMANDS: readonly CommandName[] = ["forward", ...COMMANDS];

/** How `check` prints what would be forwarded. */
export const CHECK_FORMATS = ["table", "json", "socat"] as const;
/** One of {@linkcode CHECK_FORMATS}. */
export type CheckFormat = typeof CHECK_FORMATS[number];

/** Which of several targets a client gets. */
export const BALANCES = ["first", "roundrobin", "leastconn"] as const;
/** One of {@linkcode BALANCES}. */
export type Balance = typeof BALANCES[number];

/** How the upstream is told who the client is: versions of HAProxy's PROXY protocol. */
export const PROXY_VERSIONS = ["v1", "v2"] as const;
/** One of {@linkcode PROXY_VERSIONS}. */
export type ProxyVersion = typeof PROXY_VERSIONS[number];

/** Which clients of TLS listeners need a certificate. */
export const TLS_CLIENTS = ["required", "none"] as const;
/** One of {@linkcode TLS_CLIENTS}. */
export type TlsClient = typeof TLS_CLIENTS[number];

/** Protocols in whose words an upstream is asked for TLS first. */
export const STARTTLS_PROTOCOLS = ["postgres"] as const;
/** One of {@linkcode STARTTLS_PROTOCOLS}. */
export type StarttlsProtocol = typeof STARTTLS_PROTOCOLS[number];

/** A kind of value, between its text and the program. */
export interface Kind<T> {
  /** The placeholder in the help. */
  readonly placeholder: string;
  /** The value where the option stands alone. One that has this takes another behind a `=` only. */
  readonly alone?: string;
  /** Whether the value names a file, for completions. */
  readonly isFile?: true;
  /** The only texts that there are, for completions; undefined where there are countless. */
  readonly choices?: readonly string[];
  /**
   * Text to value; throws SyntaxError or RangeError with the reason. Where the text stands, `--tls-key`
   * or `AMBASSADOR_TLS_KEY`, matters to few kinds.
   */
  parse(text: string, source?: string): T;
  /** A text that `parse` reads back as the same value. */
  format(value: T): string;
}

/** One option. */
export interface OptionSpec<T = unknown> {
  /** The long name, without the dashes. */
  readonly name: string;
  /** What its value is. */
  readonly kind: Kind<T>;
  /** The default as it is written; undefined where there is none. */
  readonly default?: string;
  /** One line for the help. */
  readonly help: string;
  /**
   * Whether it is a setting of a route too; `both`: the option is a limit of all routes together, and a
   * route has none of its own (0) unless it says so.
   */
  readonly route?: true | "both";
  /** Given several times, the texts add up, joined by commas; of any other option the last counts. */
  readonly list?: true;
  /** Whether an empty variable is an error: unset, it lets in whom it was to keep out. */
  readonly protects?: true;
  /** The commands that read it; undefined is all but `healthcheck`. */
  readonly commands?: readonly CommandName[];
}

const TIME = time();
const RETRY_TIME = time("0 is no second try");
const DELAY = time("0 is no delay");
/** A setting of routes too; 0 is no limit, and the default. */
const ROUTE_LIMIT = { kind: TIME, default: "0", route: true } as const;
/** Networks of clients. */
const NETWORKS: Kind<Networks> = {
  placeholder: "CIDR[,...]",
  parse: parseClients,
  format: String,
};
const COUNT: Kind<number> = { placeholder: "COUNT", parse: parseCount, format: String };
const BIND: Kind<string> = { placeholder: "ADDRESS", parse: parseBind, format: String };
const BALANCE = choice("ORDER", BALANCES);
const SEND_PROXY = choice("VERSION", ["off", ...PROXY_VERSIONS] as const);
const PEM: Kind<PemSource> = {
  placeholder: "FILE",
  isFile: true,
  parse: parsePem,
  format: formatPem,
};
const TLS_CLIENT = choice(TLS_CLIENTS.join("|"), TLS_CLIENTS);
/** Names of clients. */
const NAMES: Kind<NamePatterns> = {
  placeholder: "NAME[,...]",
  parse: parseNamePatterns,
  format: String,
};
/** The name of an upstream: that of a host, or an IP address. */
const TLS_NAME: Kind<string> = { placeholder: "NAME", parse: parseTlsName, format: String };
const STARTTLS = choice("PROTOCOL", ["off", ...STARTTLS_PROTOCOLS] as const);
const LEVEL = choice("LEVEL", LOG_LEVELS);
const LOG_FORMAT = choice("FORMAT", LOG_FORMATS);
/** One that is on where it stands alone. */
const SWITCH: Kind<boolean> = {
  placeholder: "",
  alone: "on",
  parse: parseSwitch,
  format: (isOn) => isOn ? "on" : "off",
};
const REUSE_PORT: Kind<boolean> = {
  ...SWITCH,
  parse: (text) => parseReusePort(text, Deno.build.os),
};
/** Undefined is off. */
const STATUS: Kind<Address | undefined> = {
  placeholder: "ADDRESS:PORT",
  parse: parseStatus,
  format: (address) => address === undefined ? "off" : formatAddress(address),
};
/** In upper case. */
const ALIASES: Kind<ReadonlySet<string>> = {
  placeholder: "ALIAS[,...]",
  parse: parseAliases,
  format: (aliases) => [...aliases].join(","),
};

const ROUTES: Kind<{ readonly path: string }> = {
  placeholder: "FILE",
  isFile: true,
  parse: parseRoutesPath,
  format: ({ path }) => path,
};

/** The options in the order of the help, by the name of their value in {@linkcode Options}. */
export const OPTIONS = {
  bind: {
    name: "bind",
    kind: BIND,
    default: "::",
    help: "where routes without an address listen (:: is IPv6 and IPv4)",
  },
  only: { name: "only", kind: ALIASES, list: true, help: "read only these aliases" },
  ignore: {
    name: "ignore",
    kind: ALIASES,
    list: true,
    help: "leave these out (KUBERNETES is, unless --only names it)",
  },
  routes: {
    name: "routes",
    kind: ROUTES,
    help: "read routes from this file too, and again when it changes",
  },
  rewireTimeoutMs: {
    name: "rewire-timeout",
    kind: TIME,
    default: "0",
    help: "how long connections to a target that is gone may go on",
  },
  connectTimeoutMs: {
    name: "connect-timeout",
    kind: TIME,
    default: "10s",
    route: true,
    help: "limit for connecting to a target, its TLS handshake included",
  },
  retryMs: {
    name: "retry",
    ...ROUTE_LIMIT,
    kind: RETRY_TIME,
    help: "hold a client and try again for this long (0: no second try)",
  },
  balance: {
    name: "balance",
    kind: BALANCE,
    default: "first",
    route: true,
    help: "which of several targets: first, roundrobin, leastconn",
  },
  failTimeoutMs: {
    name: "fail-timeout",
    kind: TIME,
    default: "10s",
    route: true,
    help: "how often a target that could not be reached is tried again",
  },
  halfCloseTimeoutMs: {
    name: "half-close-timeout",
    ...ROUTE_LIMIT,
    help: "one side has finished: close after this long without a byte",
  },
  idleTimeoutMs: {
    name: "idle-timeout",
    ...ROUTE_LIMIT,
    help: "close after this long without a byte either way",
  },
  udpTimeoutMs: {
    name: "udp-timeout",
    kind: TIME,
    default: "60s",
    route: true,
    help: "end a session after this long without a datagram either way",
  },
  maxConnections: {
    name: "max-connections",
    kind: COUNT,
    default: "0",
    route: "both",
    help: "at this many, further clients wait in the listen queue",
  },
  maxSessions: {
    name: "max-sessions",
    kind: COUNT,
    default: "4096",
    route: "both",
    help: "at this many, the longest quiet one gives way to a new one",
  },
  allow: {
    name: "allow",
    kind: NETWORKS,
    default: "all",
    route: true,
    list: true,
    protects: true,
    help: "serve only clients from these networks or addresses",
  },
  sendProxy: {
    name: "send-proxy",
    kind: SEND_PROXY,
    default: "off",
    route: true,
    help: "tell the upstream who its client is: v1 or v2 (PROXY)",
  },
  acceptProxy: {
    name: "accept-proxy",
    kind: NETWORKS,
    default: "off",
    route: true,
    list: true,
    protects: true,
    help: "clients from here say who they are in a PROXY header",
  },
  handshakeTimeoutMs: {
    name: "handshake-timeout",
    kind: TIME,
    default: "5s",
    route: true,
    help: "limit for a client's TLS handshake and PROXY header",
  },
  tlsCert: {
    name: "tls-cert",
    kind: PEM,
    protects: true,
    help: "its own certificate, to both sides: PEM, the chain after it",
  },
  tlsKey: { name: "tls-key", kind: PEM, protects: true, help: "the key of --tls-cert: PEM" },
  tlsCa: {
    name: "tls-ca",
    kind: PEM,
    protects: true,
    help: "whom it trusts, and nobody else: PEM [upstreams: public roots]",
  },
  tlsClientCa: {
    name: "tls-client-ca",
    kind: PEM,
    protects: true,
    help: "whom it trusts as clients of TLS listeners [--tls-ca]",
  },
  tlsClient: {
    name: "tls-client",
    kind: TLS_CLIENT,
    default: "required",
    protects: true,
    help: "whether clients of TLS need a certificate",
  },
  tlsAllow: {
    name: "tls-allow",
    kind: NAMES,
    default: "all",
    route: true,
    list: true,
    protects: true,
    help: "only clients with one of these DNS names or URIs",
  },
  tlsName: {
    name: "tls-name",
    kind: TLS_NAME,
    route: true,
    protects: true,
    help: "the name that the upstream's certificate must have [the host]",
  },
  starttls: {
    name: "starttls",
    kind: STARTTLS,
    default: "off",
    route: true,
    help: "ask the upstream for TLS in the words of postgres first",
  },
  reusePort: {
    name: "reuse-port",
    kind: REUSE_PORT,
    default: "off",
    help: "share the ports with other processes of this user (Linux)",
  },
  drainTimeoutMs: {
    name: "drain-timeout",
    kind: TIME,
    default: "8s",
    help: "on a stop signal, how long open connections may finish",
  },
  drainDelayMs: {
    name: "drain-delay",
    kind: DELAY,
    default: "0",
    help: "on a stop signal, go on accepting for this long first",
  },
  status: {
    name: "status",
    kind: STATUS,
    default: "off",
    help: "serve a status page, /healthz, /readyz and /metrics here",
    commands: ["forward", "check", "wait", "healthcheck"],
  },
  logLevel: { name: "log-level", kind: LEVEL, default: "info", help: "debug, info, warn or error" },
  logFormat: { name: "log-format", kind: LOG_FORMAT, default: "text", help: "text or json" },
  logConnections: {
    name: "log-connections",
    kind: SWITCH,
    default: "off",
    help: "a line for each connection when it ends (connection_closed)",
  },
  format: {
    name: "format",
    kind: choice("FORMAT", CHECK_FORMATS),
    default: "table",
    help: "check only: table, json or socat",
    commands: ["check"],
  },
  probe: {
    name: "probe",
    kind: SWITCH,
    default: "off",
    help: "check only: try every target once, and say how it went",
    commands: ["check"],
  },
  timeoutMs: {
    name: "timeout",
    kind: TIME,
    help: "wait (60s) and healthcheck (5s) only: give up after this long",
    commands: ["wait", "healthcheck"],
  },
} as const satisfies Readonly<Record<string, OptionSpec>>;

/** Every option as a value; undefined only where there is no default. Times are in milliseconds. */
export type Options = {
  readonly [Key in keyof typeof OPTIONS]:
    | ReturnType<(typeof OPTIONS)[Key]["kind"]["parse"]>
    | ((typeof OPTIONS)[Key] extends { readonly default: string } ? never : undefined);
};

/** What holds for one route: the options that are settings too. Times are in milliseconds. */
export type RouteSettings = {
  readonly [
    Key in keyof Options as (typeof OPTIONS)[Key] extends { readonly route: unknown } ? Key : never
  ]: Options[Key];
};

/** The rows of {@linkcode OPTIONS} alone. */
export const SPECS: readonly OptionSpec[] = Object.values(OPTIONS);

/** The commands that read an option. */
export function commandsOf({ commands }: Pick<OptionSpec, "commands">): readonly CommandName[] {
  return commands ?? ALL_COMMANDS.filter((command) => command !== "healthcheck");
}

/** `connect-timeout` → `AMBASSADOR_CONNECT_TIMEOUT`. */
export function variableOf(option: string): string {
  return `AMBASSADOR_${option.toUpperCase().replaceAll("-", "_")}`;
}

/**
 * The value of an option as an error shows it. Where PEM may stand it may be any secret: only what can
 * be nothing but a path is shown.
 *
 * @param holdsKey Whether it, or what it is a part of, may be a key.
 */
export function quoteValue(
  { kind }: Pick<OptionSpec, "kind">,
  text: string,
  holdsKey: boolean = looksLikeKey(text),
): string {
  return kind === PEM && !holdsKey ? quotePath(text) : quoteInput(text, holdsKey);
}

/** Whether the value of an option is a time. */
export function isTime(spec: Pick<OptionSpec, "kind"> | undefined): boolean {
  return [TIME, RETRY_TIME, DELAY].some((kind) => kind === spec?.kind);
}

/** A time; `zero` says what 0 means where it turns no limit off. */
function time(zero?: string): Kind<number> {
  return {
    placeholder: "TIME",
    parse: (text) => parseDuration(text, zero),
    format: formatDuration,
  };
}

function parseRoutesPath(text: string): { readonly path: string } {
  // The path is shown wherever the file is spoken of: a URL may hold a password, and worse is a key.
  if (text.includes("://") || /^\d{1,5}(?:\/\w+)?=/.test(text)) {
    throw new InputError(
      "a URL or a route, not a path",
      "--routes names a file whose lines are routes; an argument 6379=redis:6379 is one itself",
    );
  }
  if (!isPath(text) && looksLikeKey(text)) throw new SyntaxError("not a path");
  return { path: parsePath(text) };
}

function parseBind(text: string): string {
  const [, address = "", port] = /^([\w.-]*|\*|\[[\da-f:.]+\]):(\d{1,5})$/i.exec(text) ?? [];
  if (port !== undefined) {
    const listen = /\d/.test(address) ? `${address}:${port}` : port;
    const hint = `to listen on one port of an address alone write a route ${listen}=HOST:PORT`;
    throw new InputError("an address without a port is wanted", hint);
  }
  if (text === "*") throw new InputError("not an IP address", "every address is ::, or 0.0.0.0");
  if (/^\d{1,5}$/.test(text)) {
    const hint = `a port is named by a route, ${text}=HOST:PORT`;
    throw new InputError("a port, not an IP address", hint);
  }
  if (text.includes("/")) {
    const isPath = /^[./]/.test(text);
    const reason = isPath ? "Unix sockets are not offered" : "not an IP address";
    throw new InputError(reason, "write one address of this machine");
  }
  // Unlike in HOST:PORT nothing follows, so IPv6 may stand without brackets as it does in `::`.
  const hostname = parseHost(text.includes(":") && !text.startsWith("[") ? `[${text}]` : text);
  if (!isIp(hostname) && hostname !== "localhost") {
    const hint = "write an IP address of this machine, or localhost: " +
      "other names and network cards can't be used here";
    throw new InputError("not an IP address", hint);
  }
  return hostname;
}

function parseSwitch(text: string): boolean {
  const isOn = /^(?:on|true|yes|1)$/i.test(text);
  if (!isOn && !/^(?:off|false|no|0)$/i.test(text)) {
    const likely = likelyChoice(text, ["on", "off"]);
    throw new InputError("not one of on, off", likely && `did you mean ${likely}?`);
  }
  return isOn;
}

/**
 * Whether ports are to be shared. Exported for its test.
 *
 * @param system The operating system, as Deno calls it.
 * @throws {RangeError} where it would give all clients of a port to one program
 */
export function parseReusePort(text: string, system: string): boolean {
  const isOn = parseSwitch(text);
  if (isOn && system !== "linux") {
    throw new RangeError(`${system} does not share clients out among programs, only Linux does`);
  }
  return isOn;
}

function parseTlsName(text: string): string {
  if (text.includes("/")) throw new InputError("a URL, not a name", "write the host alone");
  const [, host, port] = /^([\w.-]+):(\d{1,5})$/.exec(text) ?? [];
  if (port !== undefined) throw new InputError("a name has no port", `write ${host}`);
  // Nothing follows, so IPv6 may stand without brackets.
  const name = parseHost(text.includes(":") && !text.startsWith("[") ? `[${text}]` : text);
  if (name.includes("%")) throw new SyntaxError("no certificate names a zone");
  return withoutDot(name);
}

function parseStatus(text: string): Address | undefined {
  if (text.toLowerCase() === "off") return undefined;
  const [, port] = /^(?:\*?:)?(\d{1,5})$/.exec(text) ?? [];
  const likely = Number(port) > 0 && Number(port) < 65536 ? port : "9090";
  const hint = `write 127.0.0.1:${likely}, or 0.0.0.0:${likely} to let other machines ask`;
  if (port !== undefined) throw new InputError("the address is missing", hint);
  if (text.includes("/")) throw new InputError("neither ADDRESS:PORT nor off", hint);
  if (!text.includes(":")) {
    const isOn = /^(?:on|yes|true|enabled?)$/i.test(text);
    const address = isIpv4(text) || text === "localhost" ? text : "127.0.0.1";
    const what = isOn ? "an address and a port are wanted" : "the port is missing";
    throw new InputError(what, `write ${address}:9090`);
  }
  const address = parseAddress(text);
  if (!isIp(address.hostname) && address.hostname !== "localhost") {
    throw new InputError("not an IP address", hint);
  }
  return address;
}

function parseAliases(text: string): ReadonlySet<string> {
  // An alias that no variable has is shown: a URL that got here may hold a password, and worse is a key.
  if (text.includes("://")) throw new SyntaxError("a URL, not an alias");
  if (looksLikeKey(text)) throw new SyntaxError("not an alias");
  const flaw = textFlaw(text);
  if (flaw !== undefined) throw flaw;
  if (/[;*@:/]/.test(text)) {
    throw new InputError("not aliases separated by commas", "write REDIS,DB");
  }
  const aliases = text.split(",").map((alias) => alias.trim().toUpperCase());
  if (aliases.includes("")) {
    throw new InputError("an alias is missing", "write REDIS,DB, with a name beside each comma");
  }
  return new Set(aliases);
}

function parseClients(text: string): Networks {
  const networks = parseNetworks(text);
  // Whoever writes this for everybody would lock everybody out.
  if (/(?:^|,)\s*(?:0\.0\.0\.0(?:\/32)?|::(?:\/128)?)\s*(?:,|$)/.test(text)) {
    throw new InputError("no client has this address", "everybody is all, 0.0.0.0/0 or ::/0");
  }
  return networks;
}

function parseCount(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InputError("not a whole number", countHint(text));
  return Number(text);
}

/** How to write what is no number of things. */
function countHint(text: string): string | undefined {
  if (/^(?:-\d.*|off|no|none|infinite|∞|unlimited|max)$/i.test(text)) return "0 is no limit";
  const [, digits = "", kilo] = /^(\d{1,3}(?:[,._' ]?\d{3}){0,2})(k)?$/i.exec(text) ?? [];
  const count = Number(digits.replace(/\D/g, "")) * (kilo === undefined ? 1 : 1000);
  return digits === "" || count > 999_999_999 ? undefined : `write ${count}`;
}

function choice<T extends string>(placeholder: string, choices: readonly T[]): Kind<T> {
  function parse(text: string): T {
    const found = choices.find((candidate) => candidate === text.toLowerCase());
    if (found !== undefined) return found;
    const likely = likelyChoice(text, choices);
    const hint = likely && `did you mean ${likely}?`;
    throw new InputError(`not one of ${choices.join(", ")}`, hint);
  }
  return { placeholder, choices, parse, format: String };
}

/** The files that the options name. */
export function filesOf(options: Options): readonly string[] {
  return Object.values(options).flatMap((value) =>
    typeof value === "object" && "path" in value ? value.path : []
  );
}
