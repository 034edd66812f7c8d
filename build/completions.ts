// Writes the completions for bash, zsh and fish into dist/completions. They offer commands, the options
// that the command of the line reads, the words that an option takes, and files where it takes a file;
// and nothing where any text may stand. They start no program.

import { CALLS, PRINTING } from "../src/config/help.ts";
import { ALL_COMMANDS, type CommandName, commandsOf, SPECS } from "../src/config/options.ts";
import { optionsOf, type Value, valueOf } from "./command_line.ts";

/** The commands that are words. */
const WORDS = ALL_COMMANDS.filter((command) => command !== "forward");

/** The text of each completion, by the name of its file. */
export function completions(): Readonly<Record<string, string>> {
  return {
    "ambassador.bash": bashCompletion(),
    "_ambassador": zshCompletion(),
    "ambassador.fish": fishCompletion(),
  };
}

/** The options that are followed by such values, with their dashes. */
function namesOf(...kinds: readonly Value["kind"][]): string[] {
  return SPECS.filter((spec) => kinds.includes(valueOf(spec).kind)).map(({ name }) => `--${name}`);
}

/** The options of a command as words. */
function wordsOf(command: CommandName): string {
  const names = [...optionsOf(command), ...PRINTING].map(({ name }) => `--${name}`);
  return names.join(" ");
}

/** For bash 3.2, as macOS has it, and later. */
export function bashCompletion(): string {
  const files = namesOf("file").join("|");
  const valued = namesOf("words", "file", "text").join("|");
  const words = SPECS.flatMap((spec) => {
    const value = valueOf(spec);
    return value.kind === "words"
      ? [`    --${spec.name}) words="${value.words.join(" ")}" ;;`]
      : [];
  });
  const options = WORDS.map((command) => `      ${command}) words="${wordsOf(command)}" ;;`);
  return `\
# Completion of ambassador for bash. Made from its table of options.

_ambassador() {
  local current=\${COMP_WORDS[COMP_CWORD]} command= option= words= after= word i
  local IFS=$' \\t\\n'
  COMPREPLY=()
  # Bash cuts words at = and :, so that --log-level=info is three, and 6379=wait:5432 five.
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if [[ $word == [=:]* ]]; then
      after=yes
      continue
    fi
    if [[ -n $option ]]; then
      option=
    elif [[ -n $after || \${COMP_WORDS[i + 1]} == [=:]* && $word != -* ]]; then
      :
    else
      case $word in
      --) return ;;
      ${valued}) option=$word ;;
      ${WORDS.join("|")}) [[ -n $command ]] || command=$word ;;
      esac
    fi
    after=
  done
  [[ $current == [=:]* ]] && current= after=yes
  case $option in
    "") ;;
    ${files})
      compopt -o filenames 2>/dev/null
      while IFS= read -r word; do
        COMPREPLY+=("$word")
      done < <(compgen -f -- "\${current//\\\\/}")
      return
      ;;
${words.join("\n")}
    *) return ;;
  esac
  if [[ -z $option && -z $after ]]; then
    if [[ $current == -* ]]; then
      case $command in
${options.join("\n")}
      *) words="${wordsOf("forward")}" ;;
      esac
    elif [[ -z $command ]]; then
      words="${WORDS.join(" ")}"
    fi
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -F _ambassador ambassador
`;
}

/** For zsh: a function that \`fpath\` finds. */
export function zshCompletion(): string {
  const specs = ALL_COMMANDS.map((command) => {
    const rows = optionsOf(command).map((spec) => {
      const value = valueOf(spec);
      const again = spec.list ? "*" : "";
      const start = `${again}--${spec.name}${value.kind === "none" ? "" : "="}`;
      return `    ${quoteZsh(`${start}[${escapeZsh(spec.help)}]${zshValue(value)}`)}`;
    });
    return `  ${command})\n    specs=(\n${rows.map((row) => `  ${row}\n`).join("")}    )\n    ;;`;
  });
  const printing = PRINTING.map(({ name, letter, help }) =>
    `    '(- *)'{-${letter},--${name}}${quoteZsh(`[${escapeZsh(help)}]`)}\n`
  );
  const words = WORDS.map((command) =>
    `      ${quoteZsh(`${command}:${CALLS[command].help.replaceAll(":", "\\:")}`)}\n`
  );
  const valued = namesOf("words", "file", "text").join("|");
  return `\
#compdef ambassador
# Completion of ambassador for zsh. Made from its table of options.

_ambassador() {
  local command=forward word before
  local -a specs words_of_commands
  integer i
  # The command may stand anywhere but in the place of a value.
  for ((i = 2; i < CURRENT; i++)); do
    word=$words[i] before=$words[i-1]
    [[ $before == (${valued}) ]] && continue
    [[ $word == -- ]] && return 1
    if [[ $word == (${WORDS.join("|")}) ]]; then
      command=$word
      break
    fi
  done
  case $command in
${specs.join("\n")}
  esac
  specs+=(
${printing.join("")}  )
  local state line context
  typeset -A opt_args
  _arguments -S $specs '*: :->word' && return
  [[ $state == word && $command == forward ]] || return 1
  words_of_commands=(
${words.join("")}  )
  _describe -t commands command words_of_commands
}

_ambassador "$@"
`;
}

function zshValue(value: Value): string {
  switch (value.kind) {
    case "none":
      return "";
    case "words":
      return `:word:(${value.words.join(" ")})`;
    case "file":
      return ":file:_files";
    case "text":
      // An action of one blank: nothing to offer, and the message says what is wanted.
      return `:${value.placeholder.replaceAll(":", "\\:")}: `;
  }
}

function escapeZsh(text: string): string {
  return text.replaceAll(/[\[\]\\]/g, "\\$&");
}

function quoteZsh(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** For fish. */
export function fishCompletion(): string {
  const valued = namesOf("words", "file", "text").join(" ");
  const rows = SPECS.map((spec) => {
    const commands = commandsOf(spec);
    const value = valueOf(spec);
    return `complete -c ambassador -n "__ambassador_runs ${commands.join(" ")}" -l ${spec.name}` +
      `${fishValue(value)} -d ${quoteFish(spec.help)}`;
  });
  const printing = PRINTING.map(({ name, letter, help }) =>
    `complete -c ambassador -s ${letter} -l ${name} -d ${quoteFish(help)}`
  );
  const words = WORDS.map((command) =>
    `complete -c ambassador -n "__ambassador_runs forward" -a ${command} -d ` +
    quoteFish(CALLS[command].help)
  );
  return `\
# Completion of ambassador for fish. Made from its table of options.

# Whether the command of the line is one of these. It may stand anywhere but in the place of a value.
function __ambassador_runs
    set -l words (commandline -opc)
    set -e words[1]
    set -l command forward
    set -l is_value no
    for word in $words
        if test $is_value = yes
            set is_value no
            continue
        end
        switch $word
            case --
                return 1
            case ${WORDS.join(" ")}
                test $command = forward; and set command $word
            case ${valued}
                set is_value yes
        end
    end
    contains -- $command $argv
end

complete -c ambassador -f
${[...words, ...rows, ...printing].join("\n")}
`;
}

function fishValue(value: Value): string {
  switch (value.kind) {
    case "none":
      return "";
    case "words":
      return ` -x -a ${quoteFish(value.words.join(" "))}`;
    case "file":
      return " -r -F";
    case "text":
      return " -x";
  }
}

function quoteFish(text: string): string {
  return `'${text.replaceAll(/['\\]/g, "\\$&")}'`;
}

/** Writes the files, and gives their paths. */
export async function writeCompletions(folder = "dist/completions"): Promise<string[]> {
  await Deno.mkdir(folder, { recursive: true });
  const paths: string[] = [];
  for (const [name, text] of Object.entries(completions())) {
    await Deno.writeTextFile(`${folder}/${name}`, text);
    paths.push(`${folder}/${name}`);
  }
  return paths;
}

if (import.meta.main) console.log((await writeCompletions()).join("\n"));
