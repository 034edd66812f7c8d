// The command lines of the scripts in build/ and bench/. The program reads its own without node:util,
// for the sake of its start; these scripts have the time.

import { parseArgs, type ParseArgsOptionsConfig } from "node:util";

/** What is read with such options. */
export type Parsed<T extends ParseArgsOptionsConfig> = ReturnType<
  typeof parseArgs<{ options: T; strict: true; tokens: true }>
>;

/**
 * Reads a command line of options only, each at most once unless it is `multiple`.
 *
 * @throws {SyntaxError} of one line, if it can't be read
 */
export function parseOptions<const T extends ParseArgsOptionsConfig>(
  args: readonly string[],
  options: T,
): Parsed<T>["values"] {
  const { values, tokens } = readStrictly(args, options);
  const seen = new Set<string>();
  for (const token of tokens) {
    if (token.kind !== "option" || options[token.name]?.multiple) continue;
    // The last one would stand, in silence.
    if (seen.has(token.name)) throw new SyntaxError(`Option '--${token.name}' is given twice`);
    seen.add(token.name);
  }
  return values;
}

function readStrictly<T extends ParseArgsOptionsConfig>(
  args: readonly string[],
  options: T,
): Parsed<T> {
  try {
    return parseArgs({ args: [...args], options, strict: true, tokens: true });
  } catch (cause) {
    if (!(cause instanceof TypeError)) throw cause;
    const names = Object.keys(options).map((name) => `--${name}`).join(", ");
    const isUnknown = "code" in cause && cause.code === "ERR_PARSE_ARGS_UNKNOWN_OPTION";
    const message = cause.message.replaceAll("\n", " ");
    throw new SyntaxError(isUnknown ? `${message}: not one of ${names}` : message, { cause });
  }
}
