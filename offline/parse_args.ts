// Stands in for @std/cli/parse-args where JSR is out of reach: as much of it as this program uses. It
// is given no options but those it knows. It does without node:util, which ships inside Deno and can
// do the same, since loading that is a quarter of the time that the program takes to start.

/** The options of `parseArgs` that are used here. */
export interface ParseOptions<B extends string, S extends string> {
  /** Options without a value. */
  readonly boolean: readonly B[];
  /** Options with a value; `_` for the positional arguments. */
  readonly string: readonly S[];
  /** Short names. */
  readonly alias: Readonly<Record<string, string>>;
}

/** The positional arguments and the value of each option. */
export type Args<B extends string, S extends string> =
  & { _: string[] }
  & Record<B, boolean>
  & Partial<Record<Exclude<S, "_">, string>>;

/** Takes a command line apart. */
export function parseArgs<B extends string, S extends string>(
  args: string[],
  { boolean, alias }: ParseOptions<B, S>,
): Args<B, S> {
  const positional: string[] = [];
  const values: Record<string, string | boolean> = Object.fromEntries(
    boolean.map((name) => [name, false]),
  );
  const booleans: readonly string[] = boolean;
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
    const isBoolean = booleans.includes(name);
    let value = parts[2];
    // Without a = the value is the next argument, if that can be one.
    const next = args[i + 1] ?? "";
    const follows = next !== "" &&
      (isBoolean ? /^(?:true|false)$/.test(next) : !next.startsWith("-"));
    if (value === undefined && follows) {
      value = next;
      i++;
    }
    values[name] = isBoolean ? value !== "false" : value ?? "";
  }
  return { _: positional, ...values } as Args<B, S>;
}
