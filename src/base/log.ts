// The log: one line an event, on stderr, for people and machines alike. The only file that imports
// @std/log.
//
// Rules of every line: the time in UTC, the level, the event in one word, then the fields in the order
// in which they are given, which is the same every time. Nothing from outside is written unquoted if
// it could end the line or look like another field. A line that can't be written is lost: whoever
// reads the log must not be able to stop the forwarding. Where lines were lost for want of room, one
// line says how many, whatever the level.

import { BaseHandler } from "@std/log/base-handler";
import { type LevelName, LogLevels } from "@std/log/levels";
import { Logger, type LogRecord } from "@std/log/logger";
import { beforeOutputEnds, writeToStderr } from "./stdio.ts";
import { escapeInvisible, quoteWhole } from "./text.ts";

/** How much is logged: this level and those after it. */
export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
/** How a log line is written. */
export const LOG_FORMATS = ["text", "json"] as const;
/** How often a failure that repeats gets a line. */
const BURST_MS = 1000;
/** Every event of the log: a line has one of these words. Their meaning is in docs/troubleshooting.md. */
export const EVENTS = [
  "accept_failed",
  "bad_proxy_header",
  "certificate_changed",
  "connect_failed",
  "connect_retrying",
  "connection_closed",
  "connection_opened",
  "draining",
  "ignored",
  "lines_lost",
  "listening",
  "loop_detected",
  "not_allowed",
  "ready",
  "rewire_failed",
  "rewired",
  "stopped",
  "target_down",
  "target_up",
  "tls_failed",
  "warning",
] as const;
/** What has happened, in one word. */
export type LogEvent = typeof EVENTS[number];
/** What a line says beside its event; undefined values are left out. */
export type Fields = Readonly<Record<string, string | number | undefined>>;

/** Writes events; each function is one level. */
export interface Log {
  /** Whether debug lines are written: build no fields for nobody. */
  readonly debugs: boolean;
  /** Whether the line of a connection that has ended is written. */
  readonly accesses: boolean;
  /** Every connection. */
  debug(event: LogEvent, fields?: Fields): void;
  /** A connection that has ended: at info where that was asked for, whatever the level, else at debug. */
  access(event: LogEvent, fields: Fields): void;
  /** What the operator wants to know once. */
  info(event: LogEvent, fields?: Fields): void;
  /** A client was not served. */
  warn(event: LogEvent, fields?: Fields): void;
  /** Somebody has to act. */
  error(event: LogEvent, fields?: Fields): void;
  /**
   * What clients can repeat: the first line at once, then at most one a second with a `count`, but
   * every one at debug. Two with the same event, `route`, `target` and `error` are the same.
   */
  repeated(level: "info" | "warn" | "error", event: LogEvent, fields: Fields): void;
}

/** Options for {@linkcode createLog}. */
export interface CreateLogOptions {
  /** This level and those after it are written. */
  readonly level: typeof LOG_LEVELS[number];
  /** How a line is written. */
  readonly format: typeof LOG_FORMATS[number];
  /** Whether connections that have ended get a line at info; not unless given. */
  readonly connections?: boolean;
  /** Takes a line without its end; stderr unless given. */
  readonly write?: (line: string) => void;
}

/** What a formatter looks at. */
type Line = Pick<LogRecord, "datetime" | "levelName" | "msg" | "args">;

/** A failure that has been written within the last second. */
interface Burst {
  /** How often it has come again since. */
  count: number;
  /** Writes the last of these. */
  write: (count: number) => void;
  readonly timer: ReturnType<typeof setInterval>;
}

/** A log that writes to stderr. */
export function createLog(options: CreateLogOptions): Log {
  const { level, format, connections = false, write } = options;
  const levelName = level.toUpperCase() as LevelName;
  const formatter = format === "json" ? formatJson : formatText;
  function tellLost(count: number): string {
    const msg: LogEvent = "lines_lost";
    const line = { datetime: new Date(), levelName: "WARN", msg, args: [{ count }] };
    return `${formatter(line)}\n`;
  }
  class LineHandler extends BaseHandler {
    override log(line: string): void {
      if (write === undefined) writeToStderr(`${line}\n`, tellLost);
      else write(line);
    }
  }
  /** Writes lines of this level and those after it. */
  function loggerFrom(name: LevelName): Logger {
    return new Logger("ambassador", name, { handlers: [new LineHandler(name, { formatter })] });
  }
  const logger = loggerFrom(levelName);
  const debugs = logger.level <= LogLevels.DEBUG;
  const accessLogger = connections ? loggerFrom("INFO") : logger;
  const bursts = new Map<string, Burst>();
  /** Writes what has come within a second; a second without any ends the burst. */
  function tellBurst(kind: string, burst: Burst, isLast = false): void {
    if (burst.count === 0 || isLast) {
      clearInterval(burst.timer);
      bursts.delete(kind);
    }
    if (burst.count > 0) burst.write(burst.count);
    burst.count = 0;
  }
  beforeOutputEnds(() => bursts.forEach((burst, kind) => tellBurst(kind, burst, true)));
  return {
    debugs,
    accesses: connections || debugs,
    debug: (event, fields = {}) => void logger.debug(event, fields),
    access: (event, fields) => void accessLogger[connections ? "info" : "debug"](event, fields),
    info: (event, fields = {}) => void logger.info(event, fields),
    warn: (event, fields = {}) => void logger.warn(event, fields),
    error: (event, fields = {}) => void logger.error(event, fields),
    repeated(level, event, fields): void {
      const tell = (count?: number): void => void logger[level](event, { ...fields, count });
      const kind = [event, fields["route"], fields["target"], fields["error"]].join(" ");
      const known = bursts.get(kind);
      if (known !== undefined) {
        known.count++;
        known.write = tell;
        return;
      }
      tell();
      if (debugs) return;
      const timer = setInterval(() => tellBurst(kind, burst), BURST_MS);
      const burst: Burst = { count: 0, write: tell, timer };
      bursts.set(kind, burst);
    },
  };
}

function formatText({ datetime, levelName, msg, args }: Line): string {
  let line = `${datetime.toISOString()} ${levelName.padEnd(5)} ${msg}`;
  for (const [name, value] of Object.entries(args[0] as Fields)) {
    if (value !== undefined) line += ` ${name}=${formatValue(value)}`;
  }
  return line;
}

function formatJson({ datetime, levelName, msg, args }: Line): string {
  const fields = args[0] as Fields;
  const line = { time: datetime.toISOString(), level: levelName, event: msg, ...fields };
  return escapeInvisible(JSON.stringify(line));
}

function formatValue(value: string | number): string {
  const text = String(value);
  return /^[\w.,:;/+@%()[\]*-]+$/.test(text) ? text : quoteWhole(text);
}
