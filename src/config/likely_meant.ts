// What somebody most likely meant who wrote something else: tables of patterns, of what is wrong, and of
// what to write. Each pattern is one that nothing right has. It knows no option and no variable, and
// repeats only what can be no secret: a host, a port, a word that stands here.

import { InputError } from "../base/errors.ts";
import { nearest } from "../base/text.ts";

/** A way to write something wrong. */
interface Mistake {
  readonly pattern: RegExp;
  /** What is wrong, in the words of whoever wrote it. */
  readonly reason: string;
  /** What to write. */
  readonly hint?: string | ((...parts: readonly string[]) => string);
}

/** Maximum length of words that are looked at: nobody types longer ones. */
const MAX_LENGTH = 1000;

const UNQUOTE = "leave them out: only a shell takes quotation marks away";

/** What any text may suffer on its way here. */
const TEXT: readonly Mistake[] = [
  {
    pattern: /^(["'`“”‘’]).*["'`“”‘’]$/s,
    reason: "quotation marks stand around it",
    hint: UNQUOTE,
  },
  {
    pattern: /["'`“”‘’]/,
    reason: "there is a quotation mark in it",
    hint: "leave it out: only a shell takes quotation marks away",
  },
  {
    pattern: /\r$/,
    reason: "a carriage return stands at its end",
    hint: "save the file with the line ends of Unix (LF), not those of Windows (CRLF)",
  },
  {
    pattern: /\p{Cf}/u,
    reason: "there is an invisible character in it",
    hint: "type it anew: it came along when the text was copied",
  },
  {
    pattern: /\$[{(\w]|\{\{/,
    reason: "a variable in it has not been replaced",
    hint: "write the value itself: env files and containers without a shell replace nothing",
  },
  {
    pattern: /<[\w-]+>|\b(?:HOST|ADDRESS|HOST:PORT|TARGET):PORT\b|^\[?LISTEN=TARGET/,
    reason: "a placeholder stands in it",
    hint: "write a real host and a real port, for example redis:6379",
  },
];

/** What targets are not. */
const TARGETS: readonly Mistake[] = [
  ...TEXT,
  {
    pattern: /@/,
    reason: "user information before an @ has no place in a target",
    hint: "write HOST:PORT alone: clients send user and password themselves",
  },
  {
    pattern: /\s#/,
    reason: "a comment can't stand behind a value",
    hint: "give the comment a line of its own",
  },
  {
    pattern: /\s\\$/,
    reason: "a backslash does not join two lines",
    hint: "write the value in one line",
  },
  {
    pattern: /\s/,
    reason: "there is white space in it",
    hint: "leave it out: targets and settings are separated by commas alone",
  },
  {
    pattern: /^(?:unix(?:-\w+)?:|\.{0,2}\/)/i,
    reason: "Unix sockets are not offered",
    hint: "write HOST:PORT: the server has to listen on a TCP port",
  },
  {
    pattern: /^(tcp|tls|udp)(?:;\/\/|:\/(?!\/)|\/\/|[:;]\\+|:(?=[^/\d][^:]*:))/i,
    reason: "the scheme is not written with a colon and two slashes",
    hint: (_, scheme) => `write ${scheme.toLowerCase()}://HOST:PORT`,
  },
  { pattern: /\\/, reason: "there is a backslash in it", hint: "leave it out" },
  {
    pattern: /^[^?]*[&;][a-z]+(?:-[a-z]+)*=/i,
    reason: "settings follow a ? and are separated by commas",
    hint: "write HOST:PORT?NAME=VALUE,NAME=VALUE",
  },
  {
    pattern: /^[^?]*[;,]\s*(?:[\d.]+:|\[[\da-f:.]+\]:)?\d{1,5}(?:\/\w+)?=/i,
    reason: "two routes stand in one argument",
    hint: "write each as an argument of its own",
  },
  { pattern: /^[^?]*;$/, reason: "a ; stands at its end", hint: "leave it out" },
  {
    pattern: /^[^?]*,(?:\?|$)/,
    reason: "nothing follows the last comma",
    hint: "leave it out",
  },
  {
    pattern: /^[^?]*[;|&]/,
    reason: "targets are separated by commas alone",
    hint: "write HOST:PORT,HOST:PORT",
  },
  {
    pattern: /^[^?]*,[a-z]+(?:-[a-z]+)*=/i,
    reason: "settings follow a ?, not a comma",
    hint: "write HOST:PORT?NAME=VALUE,NAME=VALUE",
  },
];

/** What stands for `HOST:PORT` in a list of targets, without its scheme. */
const ADDRESSES: readonly Mistake[] = [
  { pattern: /^$/, reason: "a target is missing", hint: "write HOST:PORT" },
  {
    pattern: /^(?:tcp|tls|udp):\/\//i,
    reason: "the scheme stands there twice",
    hint: "write it once",
  },
  {
    pattern: /^\/+/,
    reason: "there is a slash too many before the host",
    hint: "write two, as in tcp://HOST:PORT",
  },
  {
    pattern: /\/(?:tcp|udp|tls)$/i,
    reason: "the protocol stands behind the port of the target",
    hint: "a target has it before, as in udp://HOST:PORT, a listen address behind, as in 53/udp",
  },
  { pattern: /^[\d.:]+\/\d+/, reason: "a network can't be a target", hint: "write HOST:PORT" },
  {
    pattern: /\/|#/,
    reason: "something follows the port",
    hint: "write HOST:PORT alone: the rest is between the client and its server",
  },
  {
    pattern: /^(\d{1,5})$/,
    reason: "the host is missing",
    hint: (_, port) => `write HOST:${port}`,
  },
];

/** Schemes of other programs: all that is shown of an address that begins with one. */
const SCHEMES =
  /^(https?|wss?|redis|postgres(?:ql)?|mysql|mariadb|mongodb(?:\+srv)?|amqp|mqtt|ftp|ssh|ldap|smtp|nats|kafka|memcached?|grpc|tcp[46]|udp[46]|h2c?):\/\//i;
const TLS_SCHEMES = /^(rediss|amqps|mqtts|ldaps|smtps|ftps|ssl|tcps|tls1\.[23]|openssl):\/\//i;

const ROUTE = "a route is written LISTEN=TARGET, for example 6379=redis:6379";
const IPV4 = String.raw`\d{1,3}(?:\.\d{1,3}){3}`;
const LISTEN = String.raw`(?:(?:${IPV4}|\[[\da-f:.]+\]):)?\d{1,5}`;
const HOST = String.raw`(?:\w(?:[\w.-]*\w)?|\[[\da-f:.]+\])`;
const KIND = String.raw`(?:\/(?:tcp|tls|udp))?`;
/** What stands for the `=` of a route. */
const ARROW = String.raw`(?: ?(?:->|=>|→|==|:=|,|\/) ?|= | =? ?)`;

/** Words of the command line that are neither a command nor a route. */
const WORDS: readonly Mistake[] = [
  {
    pattern: /^$/,
    reason: "an empty argument",
    hint: "leave it out; usually a ${VARIABLE} is not set",
  },
  {
    pattern: RegExp(`^(${LISTEN}):(${HOST}):(\\d{1,5})(${KIND})$`, "i"),
    reason: "a route is written with a =",
    hint: (_, listen, host, port, kind) => `write ${listen}${kind}=${host}:${port}`,
  },
  {
    pattern: RegExp(`^(${LISTEN}):(\\d{1,5})(${KIND})$`, "i"),
    reason: "a route is written with a =, and names a host",
    hint: (_, listen, port, kind) => `write ${listen}${kind}=HOST:${port}`,
  },
  {
    pattern: RegExp(`^(${LISTEN}${KIND})${ARROW}(${HOST}:\\d{1,5})$`, "i"),
    reason: "a route is written with a = alone",
    hint: (_, listen, target) => `write ${listen}=${target}`,
  },
  {
    pattern: RegExp(`^((?:(tcp|tls|udp):\\/\\/)?${HOST}:(\\d{1,5}))$`, "i"),
    reason: "a target alone is no route",
    hint: (_, target, scheme, port) =>
      `write ${port}${scheme?.toLowerCase() === "udp" ? "/udp" : ""}=${target}`,
  },
  {
    pattern: RegExp(`^(${LISTEN}${KIND}=)?(${HOST}) (\\d{1,5})$`, "i"),
    reason: "host and port are joined by a colon",
    hint: (_, listen, host, port) => `write ${listen}${host}:${port}`,
  },
  {
    pattern: /^(\d{1,5})$/,
    reason: "a port alone is no route",
    hint: (_, port) => `write ${port}=HOST:${port}`,
  },
  {
    pattern: /^[\d.]+\/\d{1,2}(?: [\d.]+\/\d{1,2})*$/,
    reason: "a network alone is no route",
    hint: "the networks of an option are separated by commas: --allow 10.0.0.0/8,192.168.0.0/16",
  },
  {
    pattern: /^(?:tcp|udp|openssl|ssl|unix)[46]?(?:-(?:listen|connect|client|server|l))?:[^/]/i,
    reason: "an address as socat has it",
    hint: ROUTE,
  },
  { pattern: /^[a-z][a-z0-9+.-]*:\/\/[^=]*$/i, reason: "a URL is no route", hint: ROUTE },
  {
    pattern: /^(tcp|tls|udp):?\/+(\d{1,5})=/i,
    reason: "the protocol stands behind the listen port",
    hint: (_, kind, port) => `write ${port}/${kind?.toLowerCase()}=HOST:PORT`,
  },
  {
    pattern: RegExp(`^(?:tcp|tls|udp):\\/\\/(${LISTEN})=`, "i"),
    reason: "a listen address has no scheme",
    hint: (_, listen) => `write ${listen}=HOST:PORT`,
  },
  {
    pattern: RegExp(`^\\*:(\\d{1,5}(?:\\/\\w+)?)=(${HOST}:\\d{1,5}$)?`),
    reason: "a * is no address",
    hint: everyAddress,
  },
  {
    pattern: RegExp(`^:(\\d{1,5}(?:\\/\\w+)?)=(${HOST}:\\d{1,5}$)?`),
    reason: "no address stands before the colon",
    hint: everyAddress,
  },
  {
    pattern: /^(?:unix(?:-\w+)?:|\.{0,2}\/)[^=]*=/i,
    reason: "Unix sockets are not offered",
    hint: "listen on a port: 6379=HOST:PORT",
  },
  { pattern: /^\/(?:\?|h|help)$/i, reason: "no such option", hint: "did you mean --help?" },
  {
    pattern: /^\?/,
    reason: "settings stand directly behind their target",
    hint: "write 6379=redis:6379?NAME=VALUE without a space",
  },
  {
    pattern: /^[^=?]+\?[^=]*=/,
    reason: "settings stand behind the target",
    hint: "write 6379=redis:6379?NAME=VALUE",
  },
  {
    pattern: /^(?:start|run|up|forward|serve|listen|proxy|exec|daemon|server|relay|connect)$/i,
    reason: "no such command",
    hint: "to forward, leave it out: ambassador 6379=redis:6379",
  },
  {
    pattern: /^(?:stop|restart|reload|kill|quit|down|shutdown)$/i,
    reason: "no such command",
    hint: "signals do that: SIGTERM stops it, SIGHUP makes it read its files again",
  },
  {
    pattern: /^(?:test|config|configtest|validate|lint|show|list|ls|routes|verify|dry-?run)$/i,
    reason: "no such command",
    hint: "did you mean check?",
  },
  {
    pattern: /^(?:status|health|healthz|ready|readyz|ping|probe)$/i,
    reason: "no such command",
    hint: "did you mean healthcheck?",
  },
  {
    pattern: /^completions?$/i,
    reason: "no such command",
    hint: "completions for shells are files of a release",
  },
  {
    pattern: /^(?:\S*\/)?(?:ba|da|a)?sh$/,
    reason: "no such command",
    hint: "the image has no shell: it starts ambassador itself",
  },
  {
    pattern: /^(?:\S*\/)?ambassador$/,
    reason: "the program's own name",
    hint: "leave it out: the image names the program already",
  },
  {
    pattern: /^(?:on|off|yes|no|true|false)$/i,
    reason: "neither a command nor a route",
    hint: (word) =>
      "an option that needs no value stands alone, or with " +
      `=${word.toLowerCase()} directly behind it`,
  },
  {
    pattern: /^(?:help|version)$/,
    reason: "neither a command nor a route",
    hint: (word) => `write --${word}: without dashes it stands first, or directly behind a command`,
  },
  {
    pattern: /^(?!(?:CHECK|WAIT|HEALTHCHECK|HELP|VERSION)$)([A-Z][A-Z0-9_]{1,30})$/,
    reason: "neither a command nor a route",
    hint: (_, alias) => `if it is an alias, write --only ${alias}`,
  },
];

/** What is said of a variable that is no option, where a route is wanted. */
export const ROUTE_VARIABLE = "a route is a variable such as REDIS_PORT_6379_TCP=tcp://redis:6379";
const BEFORE_IMAGE = "docker run takes it, before the name of the image";

/** An option of other programs, or of nobody. */
interface OtherOption {
  /** How it is called, in lower case. */
  readonly names: string;
  /** The one that does that here, and the value for it. */
  readonly option?: string;
  readonly value?: string;
  /** What is said where there is none, or more than it. */
  readonly hint?: string;
  /** Who gives it wants a route, or no certificates verified. */
  readonly wants?: "route" | "no verification";
}

const OPTIONS: readonly OtherOption[] = [
  { names: "verbose vv vvv debug d trace log loglevel", option: "log-level", value: "debug" },
  { names: "v", hint: "did you mean -V, or --log-level debug?" },
  { names: "t", hint: "did you mean --timeout, of wait and healthcheck, or --connect-timeout?" },
  { names: "quiet q silent", option: "log-level", value: "error" },
  { names: "? usage info", option: "help" },
  {
    names: "listen l L target to upstream backend dest destination remote local server from " +
      "port host hostname address connect route forward source",
    hint: ROUTE,
    wants: "route",
  },
  { names: "p publish expose", hint: `${BEFORE_IMAGE}; ${ROUTE}` },
  { names: "e env name rm network restart", hint: BEFORE_IMAGE },
  { names: "env-file", hint: `${BEFORE_IMAGE}; a file of routes is named by --routes FILE` },
  {
    names: "config c conf f file configuration",
    hint: "options are arguments or variables; a file of routes is named by --routes FILE",
  },
  {
    names: "daemon daemonize detach background bg D",
    hint: "it stays in the foreground: docker run -d, systemd or a shell's & sends it to the back",
  },
  {
    names: "tls ssl https",
    hint: "TLS is said of a route: 6380/tls=redis:6379 listens by it, " +
      "6379=tls://redis:6380 connects by it",
  },
  { names: "udp", hint: "UDP is said of a route: 53/udp=dns:53" },
  { names: "tcp", hint: ROUTE, wants: "route" },
  { names: "cert certificate crt tls-crt ssl-cert", option: "tls-cert" },
  { names: "key tls-private-key private-key ssl-key", option: "tls-key" },
  { names: "ca cacert ca-cert cafile ca-file tls-cacert tls-ca-cert", option: "tls-ca" },
  { names: "sni servername server-name", option: "tls-name" },
  {
    names:
      "insecure k skip-verify tls-skip-verify tls-verify verify no-verify no-check-certificate " +
      "tls-insecure ssl-verify",
    hint: verified("--tls-ca"),
    wants: "no verification",
  },
  { names: "no-tls no-ssl plain", hint: "TLS is spoken only where a route says tls" },
  {
    names: "proxy-protocol proxyprotocol proxy",
    hint: "did you mean --send-proxy v2, or --accept-proxy 10.0.0.0/8?",
  },
  { names: "keepalive keep-alive so-keepalive nodelay no-delay", hint: "it is always on" },
  { names: "maxconn max-conn max-conns maxconns limit connections", option: "max-connections" },
  { names: "whitelist allowlist allow-list allow-from acl permit", option: "allow" },
  {
    names: "deny blacklist denylist block deny-from",
    hint: "--allow names who may come, and nobody else may",
  },
  { names: "dry-run dryrun test validate check-config", hint: "did you mean the command check?" },
  { names: "check wait healthcheck", hint: "a command is written without dashes" },
  { names: "json", hint: "did you mean --log-format json, or check --format json?" },
  {
    names: "metrics metrics-port metrics-addr health-port status-port admin admin-port http " +
      "prometheus healthz health",
    option: "status",
    value: "127.0.0.1:9090",
  },
  {
    names: "workers worker threads processes jobs j cpus",
    hint: "one process serves all; several share their ports with --reuse-port",
  },
  {
    names: "grace grace-period stop-timeout shutdown-timeout graceful-timeout drain",
    option: "drain-timeout",
  },
  { names: "retries retry-timeout reconnect", option: "retry" },
  { names: "access-log accesslog log-requests log-clients", option: "log-connections" },
  { names: "read-timeout write-timeout keepalive-timeout session-timeout", option: "idle-timeout" },
  { names: "lb load-balance loadbalance policy algorithm strategy", option: "balance" },
];
const OPTION_BY_NAME = new Map(
  OPTIONS.flatMap((option) => option.names.split(" ").map((name) => [name, option] as const)),
);

/** Values by the words of other programs; of several, the first that there is. */
const CHOICES: Readonly<Record<string, string>> = {
  warning: "warn",
  trace: "debug",
  verbose: "debug",
  all: "debug",
  notice: "info",
  information: "info",
  fatal: "error",
  critical: "error",
  crit: "error",
  err: "error",
  none: "off",
  false: "off",
  no: "off",
  disabled: "off",
  on: "v2 postgres required",
  yes: "on v2 postgres required",
  true: "on v2 postgres required",
  enabled: "on v2",
  logfmt: "text",
  plain: "text",
  console: "text",
  pretty: "text",
  "1": "v1",
  "2": "v2",
  rr: "roundrobin",
  lc: "leastconn",
  leastconnections: "leastconn",
  failover: "first",
  postgresql: "postgres",
  require: "required",
  requireandverify: "required",
};

/** How to write a route that listens on every address. */
function everyAddress(_: string, port = "", target = ""): string {
  return `a port alone is that of every address: write ${port}=${target || "HOST:PORT"}`;
}

/** The first row of a table that a text has. */
function find(table: readonly Mistake[], text: string): InputError | undefined {
  for (const { pattern, reason, hint } of table) {
    const parts = pattern.exec(text);
    if (parts === null) continue;
    return new InputError(
      reason,
      typeof hint === "function" ? hint(...[...parts].map((part = "") => part)) : hint,
    );
  }
  return undefined;
}

/** What has happened to a text before it came here, if that can be seen. */
export function textFlaw(text: string): InputError | undefined {
  return find(TEXT, text);
}

/** Why the targets of a route can't be read, where a common mistake is why. */
export function targetsFlaw(text: string): InputError | undefined {
  return find(TARGETS, text);
}

/** The same of one address in a list of targets, without its scheme. */
export function addressFlaw(text: string): InputError | undefined {
  return find(ADDRESSES, text);
}

/** What to say of a scheme that no target has; the text begins with it. */
export function schemeFlaw(text: string): InputError {
  const [, plain] = SCHEMES.exec(text) ?? [];
  if (plain !== undefined) {
    const hint = "write tcp:// instead: it does not matter what is spoken over it";
    return new InputError(`${plain.toLowerCase()}:// is no scheme of a target`, hint);
  }
  const [, secret] = TLS_SCHEMES.exec(text) ?? [];
  if (secret !== undefined) {
    const hint = "write tls:// where the ambassador is to speak TLS for its clients, " +
      "tcp:// where they speak it themselves";
    return new InputError(`${secret.toLowerCase()}:// is no scheme of a target`, hint);
  }
  return new InputError("the scheme is not tcp, tls or udp");
}

/** Why words of the command line, joined by spaces, are none of it, where a common mistake is why. */
export function wordFlaw(text: string): InputError | undefined {
  return text.length > MAX_LENGTH ? undefined : find(WORDS, text);
}

/** What does here what an option of another program does there. */
export interface LikelyOption {
  /** The option, if it is one, without its dashes. */
  readonly option: string | undefined;
  /** What to say of it. */
  readonly hint: string;
  /** What is wanted, where it is no option. */
  readonly wants: "route" | "no verification" | undefined;
}

/** What somebody means who gives an option of that name, without its dashes, as other programs have it. */
export function likelyOption(name: string): LikelyOption | undefined {
  // Of one letter there are two.
  const lower = name.length > 1 ? name.toLowerCase() : name;
  const found = OPTION_BY_NAME.get(lower.replaceAll("_", "-"));
  if (found === undefined) return undefined;
  const { option, value, wants } = found;
  const full = `--${option}${value === undefined ? "" : ` ${value}`}`;
  return { option, hint: found.hint ?? `did you mean ${full}?`, wants };
}

/** What to say to whoever wants no certificate verified; `option` is how the CA is named there. */
export function verified(option: string): string {
  return `every certificate is verified: name the CA that signed it with ${option}`;
}

/** The one of `choices` that was most likely meant. */
export function likelyChoice(text: string, choices: readonly string[]): string | undefined {
  const word = text.toLowerCase().replace(/[-_ ]/g, "");
  const meant = Object.hasOwn(CHOICES, word) ? CHOICES[word]?.split(" ") ?? [] : [word];
  const found = meant.find((choice) => choices.includes(choice));
  return found ?? (word.length > 2 && word.length < 20 ? nearest(word, choices, 3) : undefined);
}
