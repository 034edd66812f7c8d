// The lines of a file of routes, as `docker run --env-file` takes them (docker/cli, opts/file.go), become
// variables, or every line that is wrong is named. It knows of a route only how one is named, and opens
// no file.

import type { Problem } from "../base/errors.ts";
import { looksLikeKey, plain } from "../base/text.ts";
import { formatPath } from "./path.ts";

/** What `--routes` names, as it was read. */
export interface RoutesFile {
  /** Where it stands. */
  readonly path: string;
  /** All of it. */
  readonly text: string;
  /** Whether any user of the machine may write it. */
  readonly mayEverybodyWrite: boolean;
}

/** A variable that a file gives. */
export interface FileVariable {
  /** What stands behind the `=`. */
  readonly value: string;
  /** The number of its line; the first is 1. */
  readonly line: number;
}

/** The variables of a file, and where each of them stands. */
export interface FileVariables {
  /** The path of the file, as a line shows it. */
  readonly shownPath: string;
  /** By their names, in the order of the lines. */
  readonly variables: ReadonlyMap<string, FileVariable>;
  /** `/etc/routes line 3: ` for a variable of the file, else nothing. */
  placeOf(name: string): string;
  /** A name that is no route's; its line, `/etc/routes line 3`, if it may be a secret. */
  nameOrLine(name: string): string;
}

/** Maximum number of wrong lines that are named one by one. */
const MAX_PROBLEMS = 20;

/** What decoding leaves of bytes that are no UTF-8, and what no text holds. */
const NO_TEXT = /[\0\ufffd]/;

/** Maximum length of a name that is shown where it is no route's. */
const MAX_SHOWN_NAME = 100;
/** What no secret looks like, whatever stands behind it. */
const LIKE_ROUTE = /^[\w.-]+_PORT_\d{1,9}_(?:TCP|TLS|UDP)$/i;
/**
 * What hardly is one if a value stands behind it: a variable, almost a route, a listen address. Keys of
 * many services are words of lower case with a _ between them.
 */
const LIKE_NAME = [
  /^[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+$/,
  /^[\w.-]+_PORT_[^\W_]{1,9}_(?:TCP|TLS|UDP)$/i,
  /^(?:[\d.]+:|\[[\da-f:.]+\]:)?\d{1,5}(?:\/\w{1,4})?$/i,
];
/** How base64 may end: what stands before it is no name. */
const PADDING = /^=*$/;

/** What no name of a route has. */
const ODD = /\s|^AMBASSADOR_/i;

/** What a line without a = was most likely meant as. */
interface LikelyLine {
  readonly pattern: RegExp;
  /** What to say of it. */
  readonly hint: string;
  /** Whether the file as a whole is written in another way. */
  readonly isOfFile?: true;
}

const LIKELY_LINES: readonly LikelyLine[] = [
  { pattern: /^(?:;|\/\/|--\s|<!--|rem\s)/i, hint: "a comment begins with #" },
  {
    pattern: /^[{}]|^[[\]],?$|^"[^"]*"\s*:/,
    hint: "JSON is not read: a line is written NAME=VALUE, without quotation marks",
    isOfFile: true,
  },
  {
    pattern: /^\[.*\]$/,
    hint: "sections have no place here: a line is written NAME=VALUE",
  },
  {
    pattern: /^[\w.' -]+:(?:\s|$)/,
    hint: "YAML is not read: a line is written NAME=VALUE",
    isOfFile: true,
  },
];

/** A listen address, as a route argument has it before its `=`. */
const LISTEN = /^([\d.]+:|\[[\da-f:.]+\]:)?(\d{1,5})(?:\/(tcp|tls|udp))?$/i;
/** A target that can be shown. */
const PLAIN_TARGET = /^(?:(?:tcp|tls|udp):\/\/)?[\w.-]+:\d{1,5}$/i;

const HINT = "a line is written NAME=VALUE, for example REDIS_PORT_6379_TCP=tcp://192.0.2.10:6379";

/**
 * Reads the lines of a file.
 *
 * @param problems Takes every line that is wrong, or the first of them and how many more there are. Of
 *   what may be secret nothing is shown.
 */
export function readRoutesLines(
  { path, text }: Pick<RoutesFile, "path" | "text">,
  problems: Problem[],
): FileVariables {
  const shownPath = formatPath(path);
  const lines = text.split("\n");
  const variables = new Map<string, FileVariable>();
  let isKey: boolean | undefined;
  /** Somebody may name the file of a key by mistake. In comments lines are drawn with `-----`. */
  const holdsKey = (): boolean =>
    isKey ??= looksLikeKey(lines.filter((line) => !line.trimStart().startsWith("#")).join("\n"));
  /** Where no `=` is, there is no value, and the name may be all of a secret. */
  const mayShow = (name: string, value: string): boolean =>
    name.length <= MAX_SHOWN_NAME &&
    (LIKE_ROUTE.test(name) ||
      (!PADDING.test(value) && LIKE_NAME.some((form) => form.test(name)))) &&
    !holdsKey();

  const isText = !NO_TEXT.test(text);
  let wrong = 0;
  let isNoFile = false;
  let isPem = false;
  for (const [index, raw] of lines.entries()) {
    // This takes away a byte order mark too.
    const content = raw.trimStart();
    const isTextToo = isText || !NO_TEXT.test(content);
    if (content === "" || (isTextToo && content.startsWith("#"))) continue;
    const end = content.endsWith("\r") ? content.length - 1 : content.length;
    const equals = content.indexOf("=");
    const name = content.slice(0, equals < 0 ? end : equals);
    const value = equals < 0 ? "" : content.slice(equals + 1, end);
    if (
      isTextToo && equals > 0 && !ODD.test(name) && !LISTEN.test(name) && !variables.has(name)
    ) {
      variables.set(name, { value, line: index + 1 });
    } else {
      const before = variables.get(name)?.line;
      const flaw = !isTextToo
        ? NOT_TEXT
        : content.startsWith("-----BEGIN ")
        ? PEM
        : equals > 0 && LISTEN.test(name)
        ? (mayShow(name, value) ? argumentFlaw(name, value) : argumentFlaw("6379", ""))
        : flawOf(name, { hasValue: equals >= 0, before });
      // What is said of its first line is said of all of them.
      if ((flaw.isOfFile || isPem) && isNoFile) continue;
      isNoFile ||= flaw.isOfFile ?? false;
      isPem ||= flaw === PEM;
      if (++wrong > MAX_PROBLEMS) continue;
      const what = flaw.isNamed && mayShow(name, value)
        ? `${plain(name)}: ${flaw.reason}`
        : flaw.reason;
      problems.push({ message: `${shownPath} line ${index + 1}: ${what}`, hint: flaw.hint });
    }
  }
  if (wrong > MAX_PROBLEMS) {
    const more = wrong - MAX_PROBLEMS;
    problems.push({
      message: `${shownPath}: ${more} more line${more === 1 ? " is" : "s are"} wrong`,
    });
  }
  return {
    shownPath,
    variables,
    placeOf(name): string {
      const line = variables.get(name)?.line;
      return line === undefined ? "" : `${shownPath} line ${line}: `;
    },
    nameOrLine(name): string {
      const { value = "", line } = variables.get(name) ?? {};
      return line === undefined || mayShow(name, value) ? name : `${shownPath} line ${line}`;
    },
  };
}

/** Why a line can't be read. */
interface Flaw {
  readonly reason: string;
  readonly hint?: string;
  /** Whether its name helps to find it. */
  readonly isNamed?: true;
  /** Whether the file as a whole is written in another way. */
  readonly isOfFile?: boolean;
}

const NOT_TEXT: Flaw = {
  reason: "it holds bytes that are no UTF-8 text",
  hint: "save it as UTF-8",
};

const PEM: Flaw = {
  reason: "it begins a key or a certificate, not a route",
  hint: "--routes names a file of lines such as REDIS_PORT_6379_TCP=tcp://192.0.2.10:6379",
  isOfFile: true,
};

/** Says how a route argument is written in a file; of its target only what can be no secret. */
function argumentFlaw(name: string, value: string): Flaw {
  const [, address, port = "", kind = "tcp"] = LISTEN.exec(name) ?? [];
  const target = PLAIN_TARGET.test(value) ? value : "HOST:PORT";
  const scheme = target.includes("://") ? "" : /udp/i.test(kind) ? "udp://" : "tcp://";
  const where = address === undefined ? "" : "; --bind says on which address";
  return {
    reason: "a route is an argument in this form, and a variable in a file",
    hint: `write ALIAS_PORT_${port}_${kind.toUpperCase()}=${scheme}${target}${where}`,
    isNamed: true,
  };
}

/** What is wrong with a line that can't be used. */
function flawOf(
  name: string,
  { hasValue, before }: { readonly hasValue: boolean; readonly before: number | undefined },
): Flaw {
  if (!hasValue) {
    const { hint = HINT, isOfFile = false } = LIKELY_LINES.find(({ pattern }) =>
      pattern.test(name)
    ) ?? {};
    return { reason: "there is no = in the line", hint, isNamed: true, isOfFile };
  }
  if (name === "") return { reason: "no name stands before the =", hint: HINT };
  const [, word] = /^(export|set|setx|env|declare|-)\s+\S/i.exec(name) ?? [];
  if (word !== undefined) {
    return { reason: `"${word}" stands before the name`, hint: "leave it out" };
  }
  if (/^\S+[ \t]+$/.test(name)) {
    return { reason: "there is white space before the =", hint: "leave it out, on both sides" };
  }
  if (/\s/.test(name)) return { reason: "there is white space in the name", hint: HINT };
  if (before === undefined) {
    const hint = "set options in the environment or on the command line";
    return { reason: "options have no place in a file of routes", hint, isNamed: true };
  }
  return {
    reason: `it stands in line ${before} too`,
    hint: "of one name there is one line",
    isNamed: true,
  };
}
