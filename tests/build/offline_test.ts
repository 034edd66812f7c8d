// The same cases through the packages' stand-ins and, where JSR is within reach, through the packages
// themselves, so that the two can't drift apart.

import * as mappedAssert from "@std/assert";
import { parseArgs as mappedParseArgs } from "@std/cli/parse-args";
import { BaseHandler as MappedBaseHandler } from "@std/log/base-handler";
import { LogLevels as MappedLogLevels } from "@std/log/levels";
import { Logger as MappedLogger } from "@std/log/logger";
import * as node from "node:assert/strict";
import * as offlineAssert from "../../offline/assert.ts";
import { BaseHandler } from "../../offline/base_handler.ts";
import { LogLevels } from "../../offline/levels.ts";
import { Logger } from "../../offline/logger.ts";
import { parseArgs } from "../../offline/parse_args.ts";
import "../helpers/mod.ts";
import { JSR, needs } from "../helpers/needs.ts";

/** Registers a case for the stand-in and, where there is one, for the package. */
function eachWay<T>(claim: string, standIn: T, mapped: T, test: (subject: T) => void): void {
  Deno.test(`${claim} (stand-in)`, () => test(standIn));
  Deno.test(`${claim} (package)`, needs(JSR), () => test(mapped));
}

type ParseLine = (args: string[]) => Record<string, unknown>;

const OPTIONS = {
  boolean: ["help", "version"],
  string: ["_", "bind", "only", "connect-timeout"],
  alias: { h: "help", V: "version" },
} as const;

function standInParse(args: string[]): Record<string, unknown> {
  return parseArgs(args, OPTIONS);
}

function packageParse(args: string[]): Record<string, unknown> {
  return mappedParseArgs(args, {
    ...OPTIONS,
    boolean: [...OPTIONS.boolean],
    string: [...OPTIONS.string],
  });
}

/** What this program reads of a command line. */
function reading(parse: ParseLine, args: string[]): unknown[] {
  const { _: words, help, version, bind, only, "connect-timeout": timeout } = parse(args);
  return [words, help, version, bind, only, timeout];
}

/** Arguments; then the words, help, version, bind, only and connect-timeout. */
const LINES: readonly [readonly string[], readonly unknown[]][] = [
  [[], [[], false, false]],
  [["check", "1=a:1"], [["check", "1=a:1"], false, false]],
  [["--help"], [[], true, false]],
  [["-h"], [[], true, false]],
  [["-V"], [[], false, true]],
  [["-h", "x"], [["x"], true, false]],
  [["-h", "false"], [[], false, false]],
  [["--help", "true"], [[], true, false]],
  [["--help", "false", "x"], [["x"], false, false]],
  [["--help=false"], [[], false, false]],
  [["--help=true"], [[], true, false]],
  [["--help=x"], [[], true, false]],
  [["--help="], [[], true, false]],
  [["--help", "--help=false"], [[], false, false]],
  [["--version", "--bind", "::"], [[], false, true, "::"]],
  [["--version", "wait"], [["wait"], false, true]],
  [["--bind", "::"], [[], false, false, "::"]],
  [["--bind=::"], [[], false, false, "::"]],
  [["--bind=a=b"], [[], false, false, "a=b"]],
  [["--bind=a\nb"], [[], false, false, "a\nb"]],
  [["--bind==x"], [[], false, false, "=x"]],
  [["--bind=-1"], [[], false, false, "-1"]],
  [["--bind= "], [[], false, false, " "]],
  [["--bind"], [[], false, false, ""]],
  [["--bind="], [[], false, false, ""]],
  [["--bind=", "x"], [["x"], false, false, ""]],
  [["--bind", ""], [[""], false, false, ""]],
  [["--bind", " "], [[], false, false, " "]],
  [["--bind", "-"], [["-"], false, false, ""]],
  [["--bind", "--only", "X"], [[], false, false, "", "X"]],
  [["--bind", "-h"], [[], true, false, ""]],
  [["--bind", "--", "x"], [["x"], false, false, ""]],
  [["--bind", "true"], [[], false, false, "true"]],
  [["--bind", "0x10"], [[], false, false, "0x10"]],
  [["--bind", "a", "--bind", "b"], [[], false, false, "b"]],
  [["--bind", "a", "--bind"], [[], false, false, ""]],
  [["--bind", "a", "b"], [["b"], false, false, "a"]],
  [["--connect-timeout", "1e3"], [[], false, false, undefined, undefined, "1e3"]],
  [["--only", "__proto__"], [[], false, false, undefined, "__proto__"]],
  [["-"], [["-"], false, false]],
  [["", " "], [["", " "], false, false]],
  [["6379", "0x10", "1e3"], [["6379", "0x10", "1e3"], false, false]],
  [["--"], [[], false, false]],
  [["--", "--help", "--", "-x", ""], [["--help", "--", "-x", ""], false, false]],
  [["a", "--", "b"], [["a", "b"], false, false]],
  [["\ud800", "réseau"], [["\ud800", "réseau"], false, false]],
];

eachWay<ParseLine>("parseArgs() reads each command line", standInParse, packageParse, (parse) => {
  for (const [args, expected] of LINES) {
    const whole = Object.assign(Array(6).fill(undefined), expected);
    node.deepStrictEqual(reading(parse, [...args]), whole, JSON.stringify(args));
  }
});

/** Arguments; then the words, and the values of bind and only, each of which is collected. */
const COLLECTED: readonly [readonly string[], readonly unknown[]][] = [
  [[], [[], [], []]],
  [["--bind", "a"], [[], ["a"], []]],
  [["--bind", "a", "--only=b", "x", "--bind=c", "--bind"], [["x"], ["a", "c", ""], ["b"]]],
  [["--only", "--", "--only", "x"], [["--only", "x"], [], [""]]],
  [["--bind", "1", "--bind="], [[], ["1", ""], []]],
];

eachWay<ParseLine>(
  "parseArgs() keeps each value of an option that is collected",
  (args) => parseArgs(args, { ...OPTIONS, collect: ["bind", "only"] }),
  (args) =>
    mappedParseArgs(args, {
      boolean: [...OPTIONS.boolean],
      string: [...OPTIONS.string],
      collect: ["bind", "only"],
      alias: OPTIONS.alias,
    }),
  (parse) => {
    for (const [args, expected] of COLLECTED) {
      const { _: words, bind, only } = parse([...args]);
      node.deepStrictEqual([words, bind, only], expected, JSON.stringify(args));
    }
  },
);

type Logging = (
  level: "DEBUG" | "INFO" | "WARN" | "ERROR",
  handlerLevel?: "ERROR" | "DEBUG",
) => string[];

function standInLog(
  level: "DEBUG" | "INFO" | "WARN" | "ERROR",
  handlerLevel?: "ERROR" | "DEBUG",
): string[] {
  const written: string[] = [];
  class Handler extends BaseHandler {
    override log(line: string): void {
      written.push(line);
    }
  }
  const formatter = format;
  const handler = new Handler(handlerLevel ?? level, { formatter });
  logAll(new Logger("name", level, { handlers: [handler, handler] }));
  return written;
}

function packageLog(
  level: "DEBUG" | "INFO" | "WARN" | "ERROR",
  handlerLevel?: "ERROR" | "DEBUG",
): string[] {
  const written: string[] = [];
  class Handler extends MappedBaseHandler {
    override log(line: string): void {
      written.push(line);
    }
  }
  const formatter = format;
  const handler = new Handler(handlerLevel ?? level, { formatter });
  logAll(new MappedLogger("name", level, { handlers: [handler, handler] }));
  return written;
}

interface Row {
  readonly msg: string;
  readonly args: unknown[];
  readonly datetime: Date;
  readonly level: number;
  readonly levelName: string;
}

function format({ msg, args, datetime, level, levelName }: Row): string {
  const age = Date.now() - datetime.getTime();
  return `${level} ${levelName} ${msg} ${JSON.stringify(args)} ${age >= 0 && age < 60_000}`;
}

function logAll(logger: Pick<Logger, "debug" | "info" | "warn" | "error" | "level">): void {
  logger.debug("d", { n: 1 });
  logger.info("i");
  logger.warn("w", { a: undefined }, "more");
  logger.error(`${logger.level}`, null);
}

eachWay<Logging>("Logger hands each record to each handler", standInLog, packageLog, (log) => {
  const twice = (lines: string[]): string[] => lines.flatMap((line) => [line, line]);
  node.deepStrictEqual(
    log("DEBUG"),
    twice([
      '10 DEBUG d [{"n":1}] true',
      "20 INFO i [] true",
      '30 WARN w [{},"more"] true',
      "40 ERROR 10 [null] true",
    ]),
  );
  node.deepStrictEqual(
    log("WARN"),
    twice(['30 WARN w [{},"more"] true', "40 ERROR 30 [null] true"]),
  );
  node.deepStrictEqual(log("ERROR", "DEBUG"), twice(["40 ERROR 40 [null] true"]));
  node.deepStrictEqual(log("INFO", "ERROR"), twice(["40 ERROR 20 [null] true"]));
});

eachWay<Record<"DEBUG" | "INFO" | "WARN" | "ERROR", number>>(
  "LogLevels gives each level its number",
  LogLevels,
  MappedLogLevels,
  ({ DEBUG, INFO, WARN, ERROR }) =>
    node.deepStrictEqual([DEBUG, INFO, WARN, ERROR], [10, 20, 30, 40]),
);

type Assertions = Pick<
  typeof offlineAssert,
  | "assert"
  | "assertEquals"
  | "assertMatch"
  | "assertStringIncludes"
  | "assertThrows"
  | "assertRejects"
>;

/** Whether an assertion fails. */
function fails(act: () => void): boolean {
  try {
    act();
    return false;
  } catch (error) {
    node.ok(error instanceof Error);
    node.equal(error.name, "AssertionError");
    return true;
  }
}

const EQUAL: readonly [unknown, unknown][] = [
  [1, 1],
  [NaN, NaN],
  ["a", "a"],
  [null, null],
  [[1, [2, { a: 3 }]], [1, [2, { a: 3 }]]],
  [{ a: 1, b: 2 }, { b: 2, a: 1 }],
  [new Set(["a", "b"]), new Set(["b", "a"])],
  [new Map([["a", 1]]), new Map([["a", 1]])],
  [new Uint8Array([1, 2]), new Uint8Array([1, 2])],
];

const UNEQUAL: readonly [unknown, unknown][] = [
  [1, 2],
  [1, "1"],
  [null, undefined],
  [[], [undefined]],
  [[1, 2], [2, 1]],
  [{ a: 1 }, { a: 1, b: 2 }],
  [{ a: 1 }, {}],
  [new Set(["a"]), new Set(["b"])],
  [new Map([["a", 1]]), new Map([["a", 2]])],
  [new Uint8Array([1]), new Uint8Array([2])],
  [{ a: 1 }, [1]],
];

eachWay<Assertions>("assertions fail when they should", offlineAssert, mappedAssert, (subject) => {
  const check: Assertions = subject;
  for (const [a, b] of EQUAL) node.equal(fails(() => check.assertEquals(a, b)), false, `${a} ${b}`);
  for (const [a, b] of UNEQUAL) {
    node.equal(fails(() => check.assertEquals(a, b)), true, `${a} ${b}`);
  }
  for (const value of [true, 1, "a", {}]) node.equal(fails(() => check.assert(value)), false);
  for (const value of [false, 0, "", null, undefined, NaN]) {
    node.equal(fails(() => check.assert(value, "why")), true);
  }
  node.equal(fails(() => check.assertMatch("abc", /b/)), false);
  node.equal(fails(() => check.assertMatch("abc", /^b/)), true);
  node.equal(fails(() => check.assertStringIncludes("abc", "b")), false);
  node.equal(fails(() => check.assertStringIncludes("abc", "x")), true);
});

function throwRange(): void {
  throw new RangeError("too far");
}

eachWay<Assertions>("assertThrows() gives the error", offlineAssert, mappedAssert, (subject) => {
  const check: Assertions = subject;
  node.equal(check.assertThrows(throwRange, RangeError, "far").message, "too far");
  node.equal(check.assertThrows(throwRange, Error).name, "RangeError");
  node.equal(fails(() => check.assertThrows(throwRange, SyntaxError)), true);
  node.equal(fails(() => check.assertThrows(throwRange, RangeError, "near")), true);
  node.equal(fails(() => check.assertThrows(() => {}, Error)), true);
});

async function failsLater(act: () => Promise<unknown>): Promise<boolean> {
  try {
    await act();
    return false;
  } catch (error) {
    return error instanceof Error && error.name === "AssertionError";
  }
}

for (const [name, check] of [["stand-in", offlineAssert], ["package", mappedAssert]] as const) {
  const options = name === "package" ? needs(JSR) : {};
  Deno.test(`assertRejects() gives the error (${name})`, options, async () => {
    const reject = (): Promise<never> => Promise.reject(new RangeError("too far"));
    node.equal((await check.assertRejects(reject, RangeError, "far")).message, "too far");
    node.equal(await failsLater(() => check.assertRejects(reject, SyntaxError)), true);
    node.equal(await failsLater(() => check.assertRejects(reject, RangeError, "near")), true);
    node.equal(await failsLater(() => check.assertRejects(() => Promise.resolve(), Error)), true);
  });
}
