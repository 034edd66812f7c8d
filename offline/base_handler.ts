// Stands in for @std/log/base-handler where JSR is out of reach: formats a record and writes it.

import { type LevelName, LogLevels } from "./levels.ts";

/** One event. */
export interface LogRecord {
  /** What happened. */
  readonly msg: string;
  /** What it happened to. */
  readonly args: unknown[];
  /** When. */
  readonly datetime: Date;
  /** How much it matters. */
  readonly level: number;
  /** The same as a word. */
  readonly levelName: string;
}

/** Writes records of a level and those above it. */
export abstract class BaseHandler {
  /** The lowest level that is written. */
  readonly level: number;
  readonly #formatter: (record: LogRecord) => string;

  /** A handler for this level and those above it. */
  constructor(level: LevelName, options: { formatter: (record: LogRecord) => string }) {
    this.level = LogLevels[level];
    this.#formatter = options.formatter;
  }

  /** Writes the record unless its level is too low. */
  handle(record: LogRecord): void {
    if (record.level >= this.level) this.log(this.#formatter(record));
  }

  /** Writes a line. */
  abstract log(line: string): void;
}
