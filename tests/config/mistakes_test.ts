// Reads mistakes.txt, where the mistakes that people make stand with the answers to them.

import { assert, assertEquals } from "@std/assert";
import { ConfigError, type Problem } from "../../src/base/errors.ts";
import { parseCommand } from "../../src/config/command_line.ts";
import type { Environment } from "../../src/config/variables.ts";
import "../helpers/mod.ts";

/** What somebody has written, and what is said to it. */
interface Mistake {
  /** As it stands in the list. */
  readonly written: string;
  readonly args: readonly string[];
  readonly env: Environment;
  /** What the file of `--routes` holds. */
  readonly file: string | undefined;
  /** The lines that a person sees. */
  readonly answer: readonly string[];
}

const TEXT = await Deno.readTextFile(new URL("./mistakes.txt", import.meta.url));
/** By what they are about. */
const MISTAKES = new Map(
  TEXT.split(/^# /m).slice(1).map((section) => {
    const [where = "", ...blocks] = section.trimEnd().split("\n\n");
    return [where, blocks.map(readMistake)];
  }),
);
const ALL = [...MISTAKES.values()].flat();

/** Reads `$ NAME=VALUE… ambassador ARGUMENT… < FILE`, and the answer under it. */
function readMistake(block: string): Mistake {
  const [written = "", ...answer] = block.split("\n");
  const tokens = written.slice(2).match(/(?:"(?:[^"\\]|\\.)*"|[^\s"])+/g) ?? [];
  const words = tokens.map((token) =>
    token.replace(/"(?:[^"\\]|\\.)*"/g, (text) => JSON.parse(text))
  );
  const start = words.indexOf("ambassador");
  const end = words.includes("<") ? words.indexOf("<") : words.length;
  const variables = words.slice(0, start).map((word) => /^([^=]*)=(.*)$/s.exec(word) ?? []);
  return {
    written,
    env: Object.fromEntries(variables.map(([, name = "", value = ""]) => [name, value])),
    args: words.slice(start + 1, end),
    file: words[end + 1],
    answer,
  };
}

/** The lines that a person sees: of several equal hints in a row the last. */
function show(problems: readonly Problem[]): string[] {
  return problems.flatMap(({ message, hint }, index) =>
    hint === undefined || problems[index + 1]?.hint === hint
      ? [message]
      : [message, `  hint: ${hint}`]
  );
}

function answer({ args, env, file }: Mistake): string[] {
  const routes = file === undefined
    ? undefined
    : { path: "/etc/routes", text: file, mayEverybodyWrite: false };
  try {
    const { name, warnings, ignored } = parseCommand(args, env, routes);
    return [
      name,
      ...show(warnings.map((one) => ({ ...one, message: `${one.event}: ${one.message}` }))),
      ...ignored.map(({ variable, reason }) => `ignored: ${variable}: ${reason}`),
    ];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return show(error.problems);
  }
}

for (const [where, mistakes] of MISTAKES) {
  Deno.test(`parseCommand() answers mistakes ${where} as whoever made them would want`, () => {
    assert(mistakes.length > 0);
    for (const mistake of mistakes) assertEquals(answer(mistake), mistake.answer, mistake.written);
  });
}

Deno.test("parseCommand() answers mistakes in arguments without a word about variables", () => {
  const inArguments = ALL.filter(({ args, env, file, answer: [first = ""] }) =>
    file === undefined && Object.keys(env).length === 0 &&
    // Without any argument for a route, those of the environment may be meant.
    !first.startsWith("nothing to ") &&
    // Who has written a variable among them is told where it belongs.
    !args.some((word) => /[A-Z]_[A-Z]/.test(word))
  );
  assert(inArguments.length > 120);
  for (const { answer, written } of inArguments) {
    for (const line of answer) assert(!/AMBASSADOR_|_PORT_/.test(line), `${written}: ${line}`);
  }
});

Deno.test("parseCommand() takes the routes and times that it hints at", () => {
  const hints = ALL.flatMap(({ answer }) => answer).filter((line) => line.startsWith("  hint: "));
  const found = hints.flatMap((hint) => /(?:write|it is) ([^\s,]+)/.exec(hint)?.[1] ?? []);
  // What stands in capitals is for the reader to fill in.
  const routes = found.filter((text) => /^[\d[][^A-Z]*=[^A-Z]+$/.test(text));
  const times = found.filter((text) => /^\d+(?:ms|s|m|h)$/.test(text));
  assert(routes.length > 10 && times.length > 3);
  // To wait for a target of TLS no certificate is needed.
  for (const route of routes) {
    assertEquals(parseCommand(["wait", route], {}).routes.length, 1, route);
  }
  for (const time of times) parseCommand([`--retry=${time}`, "6379=redis:6379"], {});
});

Deno.test("parseCommand() answers no mistake with a secret", () => {
  assert(ALL.some(({ written }) => written.includes("hunter2")));
  for (const { answer, written } of ALL) assert(!answer.join().includes("hunter2"), written);
});
