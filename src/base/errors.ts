// What goes wrong, as types: a configuration that can't be used, a listener that can't be bound, and
// the kinds of socket error that are handled apart. It knows nothing of routes, logs or exit codes.

/** One thing that is wrong, in the words its reader sees. */
export interface Problem {
  /** What failed, the quoted value, a colon, why. One line. */
  readonly message: string;
  /** The way out, where there is a likely one. One line. */
  readonly hint?: string | undefined;
}

/** The command line or the environment can't be used. Carries every problem, not only the first. */
export class ConfigError extends Error {
  /** Its class, as stack traces show it. */
  override readonly name = "ConfigError";

  /** Takes everything that is wrong, at least one thing, in the order in which it is to be shown. */
  constructor(readonly problems: readonly Problem[]) {
    super(problems.map((problem) => problem.message).join("; "));
  }
}

/** Text that can't be read, and the way out where its parser knows one. */
export class InputError extends SyntaxError {
  /** The way out; undefined where the message says all. */
  readonly hint: string | undefined;

  /** Takes what is wrong and what to write instead, without a byte of what may be secret. */
  constructor(message: string, hint?: string) {
    super(message);
    this.hint = hint;
  }
}

/** What a parser says is wrong with its input; any other error is thrown on. */
export function reasonOf(error: unknown): string {
  if (error instanceof SyntaxError || error instanceof RangeError) return error.message;
  throw error;
}

/** A listen address can't be bound. */
export class BindError extends Error {
  /** Its class, as stack traces show it. */
  override readonly name = "BindError";
  /** The way out, where there is a likely one. */
  readonly hint: string | undefined;

  /** Takes one line that says what could not be bound, and as `cause` the error of `Deno.listen`. */
  constructor(message: string, options: { cause: unknown; hint: string | undefined }) {
    super(message, { cause: options.cause });
    this.hint = options.hint;
  }
}

/** The way out where Deno was not given what the program needs. */
export const PERMISSION_HINT =
  "run with -P, or --allow-net --allow-env --allow-read=/ (the last for files alone)";

/** The system's name for an error (`ECONNREFUSED`); a name that can't be resolved has none. */
export function errorCode(error: unknown): string | undefined {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof code === "string" ? code : undefined;
}

const { ConnectionReset, ConnectionAborted, BrokenPipe, NotConnected } = Deno.errors;
const PEER_GONE_TYPES = [ConnectionReset, ConnectionAborted, BrokenPipe, NotConnected];

/** Whether an error means that the other end of this one connection has gone. */
export function isPeerGone(error: unknown): boolean {
  return /^(?:ECONNRESET|ECONNABORTED|EPIPE|ENOTCONN|ETIMEDOUT)$/.test(errorCode(error) ?? "") ||
    PEER_GONE_TYPES.some((type) => error instanceof type);
}

/** Whether an error of connecting means that the upstream was there and reset it: not a refusal. */
export function isResetOnConnect(error: unknown): boolean {
  return /^(?:ECONNRESET|ENOTCONN|EPIPE)$/.test(errorCode(error) ?? "");
}

/** Whether an error means that the process or the machine has run out of descriptors or memory. */
export function isShortage(error: unknown): boolean {
  return /^(?:EMFILE|ENFILE|ENOBUFS|ENOMEM)$/.test(errorCode(error) ?? "");
}

const PLAIN_WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  ECONNRESET: "connection reset",
  ENOTCONN: "not connected any more",
  EHOSTUNREACH: "no route to host",
  ENETUNREACH: "network unreachable",
  ETIMEDOUT: "no answer",
  EADDRINUSE: "address in use",
  // Of a connect; what it means of a listener, `listenError` says.
  EADDRNOTAVAIL: "no local address or port is left to connect from",
  EACCES: "permission denied",
  EPERM: "permission denied",
  EMFILE: "out of file descriptors",
  ENFILE: "the machine is out of file descriptors",
  ENOBUFS: "out of network buffers",
  ENOMEM: "out of memory",
};

/** What went wrong in a few plain words, for a log line. */
export function describeError(error: unknown): string {
  const words = PLAIN_WORDS[errorCode(error) ?? ""];
  if (words !== undefined) return words;
  const message = error instanceof Error ? error.message : String(error);
  return message.replace(/^failed to lookup address information: /, "name does not resolve: ");
}

/** The way out that an error itself knows, if any. One line. */
export function hintOf(error: unknown): string | undefined {
  const hint = error instanceof Error && "hint" in error ? error.hint : undefined;
  return typeof hint === "string" ? hint : undefined;
}

/** What went wrong and the way out, as fields of a log line. */
export function errorFields(error: unknown): { error: string; hint: string | undefined } {
  return { error: describeError(error), hint: hintOf(error) };
}

/** What went wrong and the way out, where there is room for one text alone. */
export function describeWithHint(error: unknown): string {
  const hint = hintOf(error);
  return hint === undefined ? describeError(error) : `${describeError(error)}; ${hint}`;
}
