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
import { Bursts } from "./burst.ts";
import { beforeOutputEnds, logToStderr } from "./stdio.ts";
import { escapeInvisible, quoteWhole } from "./text.ts";

/** How much is logged: this level and those after it. */
export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
/** One of {@linkcode LOG_LEVELS}. */
export type LogLevel = typeof LOG_LEVELS[number];

/** How a log line is written. */
export const LOG_FORMATS = ["text", "json"] as const;
/** One of {@linkcode LOG_FORMATS}. */
export type LogFormat = typeof LOG_FORMATS[number];

/** What a line says beside its event; undefined values are left out. */
export type Fields = Readonly<Record<string, string | number | undefined>>;

/** Writes events; each function is one level. */
export interface Log {
  /** Whether debug lines are written: build no fields for nobody. */
  readonly debugs: boolean;
  /** Every connection. */
  debug(event: string, fields?: Fields): void;
  /** What the operator wants to know once. */
  info(event: string, fields?: Fields): void;
  /** A client was not served. */
  warn(event: string, fields?: Fields): void;
  /** Somebody has to act. */
  error(event: string, fields?: Fields): void;
  /**
   * What clients can repeat: the first line at once, then at most one a second with a `count`, but
   * every one at debug. Two failures with the same event, `route` and `error` are the same failure.
   */
  repeated(level: "warn" | "error", event: string, fields: Fields): void;
}

/** Options for {@linkcode createLog}. */
export interface CreateLogOptions {
  /** This level and those after it are written. */
  readonly level: LogLevel;
  /** How a line is written. */
  readonly format: LogFormat;
  /** Takes a line without its end; stderr unless given. */
  readonly write?: (line: string) => void;
}

/** What a formatter looks at. */
type Line = Pick<LogRecord, "datetime" | "levelName" | "msg" | "args">;

/** A log that writes to stderr. */
export function createLog({ level, format, write }: CreateLogOptions): Log {
  const levelName = level.toUpperCase() as LevelName;
  const formatter = format === "json" ? formatJson : formatText;
  function tellLost(count: number): string {
    const lost = { levelName: "WARN", msg: "lines_lost", args: [{ count }] };
    return `${formatter({ ...lost, datetime: new Date() })}\n`;
  }
  const writeLine = write ?? ((line: string) => logToStderr(`${line}\n`, tellLost));
  class LineHandler extends BaseHandler {
    override log(line: string): void {
      writeLine(line);
    }
  }
  const handlers = [new LineHandler(levelName, { formatter })];
  const logger = new Logger("ambassador", levelName, { handlers });
  const debugs = logger.level <= LogLevels.DEBUG;
  const bursts = new Bursts();
  beforeOutputEnds(() => bursts.flush());
  return {
    debugs,
    debug: (event, fields = {}) => void logger.debug(event, fields),
    info: (event, fields = {}) => void logger.info(event, fields),
    warn: (event, fields = {}) => void logger.warn(event, fields),
    error: (event, fields = {}) => void logger.error(event, fields),
    repeated(level, event, fields): void {
      const log = (count?: number): void => void logger[level](event, { ...fields, count });
      if (debugs) log();
      else bursts.note([event, fields["route"], fields["error"]].join(" "), log);
    },
  };
}

function formatText(record: Line): string {
  const fields = fieldsOf(record).map(([name, value]) => ` ${name}=${formatValue(value)}`);
  const level = record.levelName.padEnd(5);
  return `${record.datetime.toISOString()} ${level} ${record.msg}${fields.join("")}`;
}

function formatJson(record: Line): string {
  return escapeInvisible(JSON.stringify({
    time: record.datetime.toISOString(),
    level: record.levelName,
    event: record.msg,
    ...Object.fromEntries(fieldsOf(record)),
  }));
}

function fieldsOf(record: Line): [string, string | number][] {
  const [fields = {}] = record.args as [Fields?];
  return Object.entries(fields).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, value]]
  );
}

function formatValue(value: string | number): string {
  const text = String(value);
  return /^[\w.,:;/+@%()[\]*-]+$/.test(text) ? text : quoteWhole(text);
}
