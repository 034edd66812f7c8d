// The options: their names, defaults and meaning in one table, and how the text of each becomes a
// value. The command line, the environment and the help all read this table.

import { type Address, isIp, parseAddress, parseHost } from "../base/address.ts";
import { parseDuration } from "../base/duration.ts";
import { LOG_FORMATS, LOG_LEVELS, type LogFormat, type LogLevel } from "../base/log.ts";

/** How `check` prints what would be forwarded. */
export const CHECK_FORMATS = ["table", "json", "socat"] as const;
/** One of {@linkcode CHECK_FORMATS}. */
export type CheckFormat = typeof CHECK_FORMATS[number];

/** Every option as a value. Times are in milliseconds, and 0 turns a limit off. */
export interface Options {
  /** Where routes without an address listen. */
  readonly bind: string;
  /** Read only these aliases, in upper case. */
  readonly only: ReadonlySet<string> | undefined;
  /** Leave these aliases out, in upper case. */
  readonly ignore: ReadonlySet<string>;
  /** Limit for resolving and connecting to the upstream. */
  readonly connectTimeoutMs: number;
  /** How long to keep trying an upstream that refuses or cannot be reached. */
  readonly retryMs: number;
  /** Once one side has finished sending, close when no byte has moved for this long. */
  readonly halfCloseTimeoutMs: number;
  /** Close when no byte has moved either way for this long. */
  readonly idleTimeoutMs: number;
  /** At this many, further clients stay in the listen queue. */
  readonly maxConnections: number;
  /** How long open connections may finish after a stop signal. */
  readonly drainTimeoutMs: number;
  /** How long to go on accepting after a stop signal. */
  readonly drainDelayMs: number;
  /** Where the status page is served; undefined is nowhere. */
  readonly status: Address | undefined;
  /** How much is logged. */
  readonly logLevel: LogLevel;
  /** How a log line is written. */
  readonly logFormat: LogFormat;
  /** How `check` prints. */
  readonly format: CheckFormat;
  /** How long `wait` and `healthcheck` try; undefined is each command's own default. */
  readonly timeoutMs: number | undefined;
}

/** What is known of an option beside its value. */
export interface OptionSpec<Key extends keyof Options = keyof Options> {
  /** The long name, without the dashes. */
  readonly name: string;
  /** The placeholder in the help. */
  readonly value: string;
  /** The default as it is written; undefined where there is none. */
  readonly default?: string;
  /** One line for the help. */
  readonly help: string;
  /** Text to value; throws SyntaxError or RangeError with the reason. */
  readonly parse: (text: string) => Options[Key];
  /** The commands that it belongs to; undefined is all. Others don't look at its variable. */
  readonly commands?: readonly string[];
}

/** The options in the order of the help, by the name of their value in {@linkcode Options}. */
export const OPTIONS: { readonly [Key in keyof Options]: OptionSpec<Key> } = {
  bind: {
    name: "bind",
    value: "ADDRESS",
    default: "::",
    help: "where routes without an address listen (:: is IPv6 and IPv4)",
    parse: parseBind,
  },
  only: {
    name: "only",
    value: "ALIAS[,...]",
    help: "read only these aliases",
    parse: parseAliases,
  },
  ignore: {
    name: "ignore",
    value: "ALIAS[,...]",
    help: "leave these out (KUBERNETES is, unless --only names it)",
    parse: parseAliases,
  },
  connectTimeoutMs: {
    name: "connect-timeout",
    value: "TIME",
    default: "10s",
    help: "limit for resolving and connecting to the upstream",
    parse: parseDuration,
  },
  retryMs: {
    name: "retry",
    value: "TIME",
    default: "0",
    help: "keep trying an unreachable upstream, the client held",
    parse: parseDuration,
  },
  halfCloseTimeoutMs: {
    name: "half-close-timeout",
    value: "TIME",
    default: "0",
    help: "one side has finished: close after this long without a byte",
    parse: parseDuration,
  },
  idleTimeoutMs: {
    name: "idle-timeout",
    value: "TIME",
    default: "0",
    help: "close after this long without a byte either way",
    parse: parseDuration,
  },
  maxConnections: {
    name: "max-connections",
    value: "COUNT",
    default: "0",
    help: "at this many, further clients wait in the listen queue",
    parse: parseCount,
  },
  drainTimeoutMs: {
    name: "drain-timeout",
    value: "TIME",
    default: "8s",
    help: "on a stop signal, how long open connections may finish",
    parse: parseDuration,
  },
  drainDelayMs: {
    name: "drain-delay",
    value: "TIME",
    default: "0",
    help: "on a stop signal, go on accepting for this long first",
    parse: parseDuration,
  },
  status: {
    name: "status",
    value: "ADDRESS:PORT",
    default: "off",
    help: "serve /healthz, /readyz and /metrics here",
    parse: parseStatus,
  },
  logLevel: {
    name: "log-level",
    value: "LEVEL",
    default: "info",
    help: "debug, info, warn or error",
    parse: (text) => parseChoice(text, LOG_LEVELS),
  },
  logFormat: {
    name: "log-format",
    value: "FORMAT",
    default: "text",
    help: "text or json",
    parse: (text) => parseChoice(text, LOG_FORMATS),
  },
  format: {
    name: "format",
    value: "FORMAT",
    default: "table",
    help: "check only: table, json or socat",
    parse: (text) => parseChoice(text, CHECK_FORMATS),
    commands: ["check"],
  },
  timeoutMs: {
    name: "timeout",
    value: "TIME",
    help: "wait (60s) and healthcheck (5s) only: give up after this long",
    parse: parseDuration,
    commands: ["wait", "healthcheck"],
  },
};

/** `connect-timeout` → `AMBASSADOR_CONNECT_TIMEOUT`. */
export function variableOf(option: { readonly name: string }): string {
  return `AMBASSADOR_${option.name.toUpperCase().replaceAll("-", "_")}`;
}

function parseBind(text: string): string {
  // Unlike in HOST:PORT nothing follows, so IPv6 may stand without brackets as it does in `::`.
  const hostname = parseHost(text.includes(":") && !text.startsWith("[") ? `[${text}]` : text);
  if (!isIp(hostname) && hostname !== "localhost") {
    throw new SyntaxError("not an IP address");
  }
  return hostname;
}

function parseStatus(text: string): Address | undefined {
  if (text.toLowerCase() === "off") return undefined;
  const address = parseAddress(text);
  parseBind(address.hostname);
  return address;
}

function parseAliases(text: string): ReadonlySet<string> {
  // An alias that no variable has is shown: a URL that got here may hold a password.
  if (text.includes("://")) throw new SyntaxError("a URL, not an alias");
  const aliases = text.split(",").map((alias) => alias.trim().toUpperCase());
  if (aliases.includes("")) throw new SyntaxError("an alias is missing");
  return new Set(aliases);
}

function parseCount(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new SyntaxError("not a whole number");
  return Number(text);
}

function parseChoice<T extends string>(text: string, choices: readonly T[]): T {
  const choice = choices.find((candidate) => candidate === text.toLowerCase());
  if (choice === undefined) throw new SyntaxError(`not one of ${choices.join(", ")}`);
  return choice;
}
