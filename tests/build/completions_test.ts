// The completions, asked in the real shells: bash and zsh on a terminal of their own, where a key puts
// all that is offered into the line, and fish by the command that it has for that. What they should
// offer is read from the table of options.

import { assertEquals } from "@std/assert";
import { optionsOf, valueOf } from "../../build/command_line.ts";
import { completions, writeCompletions } from "../../build/completions.ts";
import { parseLine } from "../../src/config/line.ts";
import {
  ALL_COMMANDS,
  type CommandName,
  COMMANDS,
  commandsOf,
  SPECS,
} from "../../src/config/options.ts";
import { within } from "../helpers/mod.ts";
import { needs } from "../helpers/needs.ts";
import { feed, run } from "../helpers/run.ts";

type Shell = "bash" | "zsh" | "fish";

/** A line up to the cursor, and what is offered there. */
interface Case {
  readonly line: string;
  readonly offered: readonly string[];
}

const SAY = "ambassador() { printf ANSWER; printf '<%s>' \"$@\"; echo; }\n";

/** Keys that put all that is offered into the line, and run it. */
const ALL_KEYS = { bash: "\x1b*\n", zsh: "\x14\n" } as const;

/** Files in the folder where the shells are. */
const FILES = ["ca.pem", "my key.pem", "routes"];

/** The options that the table gives to a command, as a shell shows them. */
function optionsIn(command: CommandName): string[] {
  const names = SPECS.filter((spec) => commandsOf(spec).includes(command)).map(({ name }) =>
    `--${name}`
  );
  return [...names, "--help", "--version"];
}

function casesOf(command: CommandName): Case[] {
  const start = command === "forward" ? "ambassador" : `ambassador ${command}`;
  const words = command === "forward" ? [...COMMANDS] : [];
  const values = SPECS.filter((spec) => commandsOf(spec).includes(command)).map(
    ({ name, kind: { choices, alone, isFile } }) => ({
      line: `${start} --${name} `,
      offered: alone ? words : choices ?? (isFile ? FILES : []),
    }),
  );
  return [
    { line: `${start} `, offered: words },
    { line: `${start} --`, offered: optionsIn(command) },
    { line: `${start} -- `, offered: [] },
    ...values,
  ];
}

/** Lines that a shell may misread. */
const TRICKY: readonly Case[] = [
  // A value is no command, and neither is the name of a host.
  { line: "ambassador --only check --format", offered: [] },
  { line: "ambassador --only=check --format", offered: [] },
  { line: "ambassador --only check check --form", offered: ["--format"] },
  { line: "ambassador 6379=check:6379 --format", offered: [] },
  { line: "ambassador check:6379 --format", offered: [] },
  { line: "ambassador --status 127.0.0.1:9797 wait --time", offered: ["--timeout"] },
  { line: "ambassador --reuse-port check --form", offered: ["--format"] },
  { line: "ambassador --log-level=info check --form", offered: ["--format"] },
  { line: "ambassador 6379=redis:6379 ch", offered: ["check"] },
  { line: "ambassador --log-level w", offered: ["warn"] },
  { line: "ambassador --log-level=w", offered: ["--log-level=warn"] },
  { line: "ambassador --log-level x", offered: [] },
  { line: "ambassador 6379=red", offered: [] },
  { line: "ambassador 6379=", offered: [] },
  { line: "ambassador 6379=redis:", offered: [] },
  { line: "ambassador --routes rou", offered: ["routes"] },
  { line: "ambassador --routes=rou", offered: ["--routes=routes"] },
  { line: "ambassador wait --tls-key my", offered: ["my key.pem"] },
  { line: "ambassador wait --tls-key my\\ k", offered: ["my key.pem"] },
];

const CASES = [...ALL_COMMANDS.flatMap(casesOf), ...TRICKY];

/** The words of a line, the last of them the one at the cursor. */
function wordsOf(line: string): string[] {
  return line.replaceAll("\\ ", "\0").split(" ").map((word) => word.replaceAll("\0", " "));
}

/** What is offered at the end of each line, in no order. */
async function ask(shell: Shell, folder: string): Promise<string[][]> {
  await writeCompletions(`${folder}/completions`);
  for (const name of FILES) await Deno.writeTextFile(`${folder}/here/${name}`, "");
  const enter = `cd '${folder}/here'\n`;
  if (shell === "fish") return await askFish(`${enter}source ../completions/ambassador.fish\n`);
  await Deno.writeTextFile(
    `${folder}/rc.bash`,
    `PS1=\n${SAY}${enter}. ../completions/ambassador.bash\n`,
  );
  await Deno.writeTextFile(
    `${folder}/.zshrc`,
    `PS1=\n${SAY}${enter}fpath=(../completions $fpath)
autoload -Uz compinit; compinit -D -u
zstyle ':completion:*' completer _all_matches _complete
zstyle ':completion:*' insert yes
bindkey -e; bindkey '^T' complete-word
`,
  );
  const start = shell === "bash" ? `bash --noprofile --rcfile ${folder}/rc.bash -i` : "zsh -i";
  const command = `env ZDOTDIR=${folder} TERM=dumb ${start}`;
  await using terminal = feed("script", ["-qec", command, "/dev/null"]);
  const answers: string[][] = [];
  for (const { line } of CASES) {
    await terminal.write(line + ALL_KEYS[shell]);
    answers.push(await nextAnswer(terminal, answers.length));
  }
  await terminal.write("exit\n");
  await within(terminal.result, `${shell} to end`);
  return answers.map((args, index) => offeredOf(CASES[index]?.line ?? "", args));
}

async function nextAnswer(terminal: { readonly text: string }, index: number): Promise<string[]> {
  const end = performance.now() + 20_000;
  for (;;) {
    const line = [...terminal.text.matchAll(/ANSWER(.*)\r?\n/g)][index]?.[1];
    if (line !== undefined) return [...line.matchAll(/<([^>]*)>/g)].map(([, word = ""]) => word);
    if (performance.now() > end) {
      throw new Error(`no answer to ${CASES[index]?.line} in:\n${terminal.text}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** What the key has put in the place of the last word. */
function offeredOf(line: string, args: readonly string[]): string[] {
  const words = wordsOf(line).slice(1);
  const last = words.at(-1) ?? "";
  const offered = args.slice(words.length - 1);
  return offered.length === 1 && offered[0] === last ? [] : offered.filter((word) => word !== "");
}

async function askFish(start: string): Promise<string[][]> {
  const asks = CASES.map(({ line }) => `echo ANSWER; complete -C ${JSON.stringify(line)}\n`);
  const { text, stderr } = await run("fish", ["--no-config", "-c", start + asks.join("")]);
  assertEquals(stderr, "");
  return text.split("ANSWER\n").slice(1).map((answer) =>
    answer.split("\n").slice(0, -1).map((row) => row.replace(/\t.*/, "").replaceAll("\\", ""))
  );
}

/** Bash completes what stands behind a `=` as a word of its own, so that only the first has the name. */
function withoutOption(line: string, offered: readonly string[]): string[] {
  const name = /(--[\w-]+=)\S*$/.exec(line)?.[1] ?? "";
  return offered.map((word) =>
    name !== "" && word.startsWith(name) ? word.slice(name.length) : word
  )
    .toSorted();
}

for (const shell of ["bash", "zsh", "fish"] as const) {
  const programs = shell === "fish" ? ["fish"] : ["script", shell];
  Deno.test({
    name: `completions() offers in ${shell} what the table of options says, and nothing else`,
    ...needs(...programs),
  }, async () => {
    const folder = await Deno.makeTempDir();
    try {
      await Deno.mkdir(`${folder}/here`);
      const answers = await ask(shell, folder);
      const seen = CASES.map(({ line }, index) => ({
        line,
        offered: withoutOption(line, answers[index] ?? []),
      }));
      const expected = CASES.map(({ line, offered }) => ({
        line,
        offered: withoutOption(line, offered),
      }));
      assertEquals(seen, expected);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });

  Deno.test(`completions() are read by ${shell} without a word`, needs(...programs), async () => {
    const name = { bash: "ambassador.bash", zsh: "_ambassador", fish: "ambassador.fish" }[shell];
    const path = await Deno.makeTempFile();
    try {
      await Deno.writeTextFile(path, completions()[name] ?? "");
      const { code, text, stderr } = await run(shell, ["-n", path]);
      assertEquals([code, text, stderr], [0, "", ""]);
    } finally {
      await Deno.remove(path);
    }
  });
}

Deno.test("optionsOf() gives a command the options that the program takes there", () => {
  for (const command of ALL_COMMANDS) {
    const known = optionsOf(command);
    for (const spec of SPECS) {
      if (command === "healthcheck" && spec.commands === undefined) continue;
      const word = command === "forward" ? [] : [command];
      const { faults } = parseLine([...word, `--${spec.name}=x`]);
      assertEquals(faults.length === 0, known.includes(spec), `${command} --${spec.name}`);
    }
  }
});

Deno.test("valueOf() says what follows each option", () => {
  for (const spec of SPECS) {
    const value = valueOf(spec);
    if (value.kind !== "words") continue;
    for (const word of value.words) spec.kind.parse(word);
  }
  const kinds = new Set(SPECS.map((spec) => valueOf(spec).kind));
  assertEquals([...kinds].toSorted(), ["file", "none", "text", "words"]);
});
