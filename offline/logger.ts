// Stands in for @std/log/logger where JSR is out of reach: hands records to handlers.

import type { BaseHandler } from "./base_handler.ts";
import { type LevelName, LogLevels } from "./levels.ts";

export type { LogRecord } from "./base_handler.ts";

/** Hands events of a level and those above it to handlers. */
export class Logger {
  /** The lowest level that is logged. */
  readonly level: number;
  readonly #handlers: readonly BaseHandler[];

  /** A logger; its name is for the reader of the code. */
  constructor(_name: string, level: LevelName, options: { handlers: BaseHandler[] }) {
    this.level = LogLevels[level];
    this.#handlers = options.handlers;
  }

  /** Logs at the debug level. */
  debug(msg: string, ...args: unknown[]): void {
    this.#log("DEBUG", msg, args);
  }

  /** Logs at the info level. */
  info(msg: string, ...args: unknown[]): void {
    this.#log("INFO", msg, args);
  }

  /** Logs at the warning level. */
  warn(msg: string, ...args: unknown[]): void {
    this.#log("WARN", msg, args);
  }

  /** Logs at the error level. */
  error(msg: string, ...args: unknown[]): void {
    this.#log("ERROR", msg, args);
  }

  #log(levelName: LevelName, msg: string, args: unknown[]): void {
    const level = LogLevels[levelName];
    if (level < this.level) return;
    const record = { msg, args, datetime: new Date(), level, levelName };
    for (const handler of this.#handlers) handler.handle(record);
  }
}
