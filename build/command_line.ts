// What a shell or a man page has to know of the command line: its commands, the options of each, and
// what may follow an option. All of it comes from the table of options and from the help. It knows no
// shell and no format.

import { type CommandName, commandsOf, type OptionSpec, SPECS } from "../src/config/options.ts";

/** What follows an option: nothing, one of some words, a file, or any text. */
export type Value =
  | { readonly kind: "none" }
  | { readonly kind: "words"; readonly words: readonly string[] }
  | { readonly kind: "file" }
  | { readonly kind: "text"; readonly placeholder: string };

/** The options that a command reads. */
export function optionsOf(command: CommandName): readonly OptionSpec[] {
  return SPECS.filter((spec) => commandsOf(spec).includes(command));
}

/** What follows an option. */
export function valueOf({ kind }: OptionSpec): Value {
  if (kind.alone !== undefined) return { kind: "none" };
  if (kind.choices !== undefined) return { kind: "words", words: kind.choices };
  if (kind.isFile) return { kind: "file" };
  return { kind: "text", placeholder: kind.placeholder };
}
