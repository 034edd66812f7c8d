// Stands in for @std/cli/parse-args where JSR is out of reach: as much of it as this program uses. It
// is given no options but those it knows. It does without node:util, which ships inside Deno and can
// do the same, since loading that is a quarter of the time that the program takes to start.

/** The options of `parseArgs` that are used here. */
export interface ParseOptions {
  /** Options without a value. */
  readonly boolean: readonly string[];
  /** Options with a value; `_` for the positional arguments. */
  readonly string: readonly string[];
  /** Options that keep each of their values, in their order; without one, an empty list. */
  readonly collect?: readonly string[];
  /** Short names. */
  readonly alias: Readonly<Record<string, string>>;
}

/** Takes a command line apart: `_` has the positional arguments, the others are the options. */
export function parseArgs(
  args: string[],
  { boolean, collect = [], alias }: ParseOptions,
): Record<string, unknown> {
  const positional: string[] = [];
  const collected = new Map<string, string[]>(collect.map((name) => [name, []]));
  const values: Record<string, string | boolean> = Object.fromEntries(
    boolean.map((name) => [name, false]),
  );
  for (let i = 0; i < args.length; i++) {
    const argument = args[i] ?? "";
    if (argument === "--") {
      positional.push(...args.slice(i + 1));
      break;
    }
    const parts = /^--?([^-=][^=]*)(?:=(.*))?$/s.exec(argument);
    if (parts === null) {
      positional.push(argument);
      continue;
    }
    const name = alias[parts[1] ?? ""] ?? parts[1] ?? "";
    const isBoolean = boolean.includes(name);
    let value = parts[2];
    // Without a = the value is the next argument, if that can be one.
    const next = args[i + 1] ?? "";
    const follows = next !== "" &&
      (isBoolean ? /^(?:true|false)$/.test(next) : !next.startsWith("-"));
    if (value === undefined && follows) {
      value = next;
      i++;
    }
    const list = collected.get(name);
    if (list !== undefined) list.push(value ?? "");
    else values[name] = isBoolean ? value !== "false" : value ?? "";
  }
  return { _: positional, ...values, ...Object.fromEntries(collected) };
}
