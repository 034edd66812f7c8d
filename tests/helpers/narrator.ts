// How the demonstration speaks to a person: numbered steps, what has been seen in each, and what the
// program itself has said. A terminal gets colours, where it wants them, and time to read; whatever
// else reads gets plain lines. It knows nothing of what is demonstrated.

import type { Program } from "./mod.ts";
import { linesOf } from "./process.ts";

/** How long a reader at a terminal gets before the next step. */
const READING_MS = 600;
/** As much of a line as fits into 100 columns, to the end of a word if it has any. */
const FITTING = /.{1,90}(?:(?<=[ ,?])|$)|.{1,90}/g;
/** Styles, as terminals number them (ECMA-48, SGR). */
const STYLES = { bold: 1, dim: 2, green: 32 } as const;

const isTerminal = Deno.stdout.isTerminal();
// https://no-color.org
const hasColours = isTerminal && !Deno.env.get("NO_COLOR") && Deno.env.get("TERM") !== "dumb";
let steps = 0;

function paint(style: keyof typeof STYLES, text: string): string {
  return hasColours && text !== "" ? `\x1b[${STYLES[style]}m${text}\x1b[0m` : text;
}

/** Stands out. */
export function heading(text: string): void {
  console.log(paint("bold", text));
}

/** Begins a step, with a sentence on what it shows. */
export async function step(sentence: string): Promise<void> {
  if (isTerminal) await new Promise((resolve) => setTimeout(resolve, READING_MS));
  console.log("");
  heading(`${++steps}. ${sentence}`);
}

/** Says what has been seen. */
export function seen(text: string): void {
  console.log(`   ${hasColours ? paint("green", "✓") : "-"} ${text}`);
}

/** Shows what the program or a file says; what is too wide goes on in the next line. */
export function quote(text: string): void {
  for (const line of text.trimEnd().split("\n")) {
    const rows = line.match(FITTING) ?? [""];
    rows.forEach((row, index) => {
      console.log(paint("dim", `${" ".repeat(index === 0 ? 7 : 9)}${row.trimEnd()}`.trimEnd()));
    });
  }
}

/** Shows the last line of the log with this event: without its time, and fields that say little here. */
export function quoteLog(program: Program, event: string): void {
  const line = linesOf(program, event).at(-1) ?? "";
  const fields = /( (listen|client|file|delay)=("[^"]*"|\S+))+/g;
  quote(line.replace(/^\S+ /, "").replaceAll(fields, " …"));
}

/** `3 ms`, `1.4 s`. */
export function formatMs(ms: number): string {
  return ms < 1000 ? `${Math.ceil(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
