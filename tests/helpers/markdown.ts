// The documents as tests read them: their code blocks, the commands in those, headings, links. It knows
// of Markdown what `deno fmt` leaves of it, and nothing of what the documents say.

import { ROOT } from "./mod.ts";

/** A document of the repository. */
export interface Document {
  /** Its path in the repository. */
  readonly path: string;
  /** All of it. */
  readonly text: string;
  /** Its code, in the order in which it stands there. */
  readonly blocks: readonly Block[];
  /** Its lines that are not code, with their numbers from 1. */
  readonly prose: readonly (readonly [line: number, text: string])[];
}

/** A code block: between fences, or indented by four and more. */
export interface Block {
  /** What stands behind the opening fence: the language, and `mistake` where it is one on purpose. */
  readonly info: readonly string[];
  /** The number of its first line; that of the document is 1. */
  readonly line: number;
  /** Its lines, without their common indentation. */
  readonly text: string;
}

/** All Markdown files beside README.md and in docs/, but those that are named. */
export function readDocuments(without: readonly string[] = []): readonly Document[] {
  const paths = ["", "docs/"].flatMap((folder) =>
    [...Deno.readDirSync(new URL(folder, ROOT))].map(({ name }) => folder + name)
  );
  return paths.filter((path) => path.endsWith(".md") && !without.includes(path)).sort()
    .map((path) => parseDocument(path, Deno.readTextFileSync(new URL(path, ROOT))));
}

/** Takes the text of a document apart. */
export function parseDocument(path: string, text: string): Document {
  const blocks: Block[] = [];
  const prose: [number, string][] = [];
  const lines = text.split("\n");
  for (let index = 0; index < lines.length; index++) {
    const line = lines[index] ?? "";
    const [, indent = "", fence, info = ""] = /^( *)(```+)(.*)$/.exec(line) ?? [];
    if (fence !== undefined) {
      const end = lines.findIndex((other, at) => at > index && other.trim() === fence);
      const inner = lines.slice(index + 1, end < 0 ? lines.length : end);
      blocks.push({
        info: info.trim().split(/\s+/),
        line: index + 2,
        text: inner.map((one) => one.slice(indent.length)).join("\n"),
      });
      index += inner.length + 1;
    } else if (/^ {4,}\S/.test(line) && (lines[index - 1] ?? "").trim() === "") {
      const end = lines.findIndex((other, at) => at > index && /^ {0,3}\S/.test(other));
      const inner = lines.slice(index, end < 0 ? lines.length : end);
      const indent = /^ */.exec(line)?.[0].length ?? 0;
      const code = inner.map((one) => one.slice(indent)).join("\n").trimEnd();
      blocks.push({ info: [""], line: index + 1, text: code });
      index += inner.length - 1;
    } else prose.push([index + 1, line]);
  }
  return { path, text, blocks, prose };
}

/** What stands behind `#` in links to the headings of a document, as GitHub makes it. */
export function anchorsOf({ prose }: Document): ReadonlySet<string> {
  const anchors = new Set<string>();
  for (const [, line] of prose) {
    const heading = /^#+ (.*)$/.exec(line)?.[1];
    if (heading === undefined) continue;
    const shown = heading.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1");
    const slug = shown.toLowerCase().replaceAll(/[^\p{L}\p{N}_ -]/gu, "").replaceAll(" ", "-");
    let anchor = slug;
    for (let count = 1; anchors.has(anchor); count++) anchor = `${slug}-${count}`;
    anchors.add(anchor);
  }
  return anchors;
}

/** A command as a shell takes it apart. */
export interface ShellCommand {
  /** Variables that stand before it. */
  readonly env: Readonly<Record<string, string>>;
  /** The command and its arguments. */
  readonly words: readonly string[];
}

/**
 * The first command of each line of a block, which may go on behind a `\`. A prompt, `$ `, may stand
 * before it; behind `&&`, `|`, `;`, `>`, `&` or `#` nothing is read.
 */
export function commandsOf(
  { text }: Pick<Block, "text">,
): readonly (ShellCommand & { readonly line: number })[] {
  const joined = text.replaceAll(/\\\n */g, (end) => `\0${end}`);
  let line = 0;
  return joined.split(/(?<!\0\\)\n/).map((whole) => {
    const at = line;
    line += whole.split("\n").length;
    return { ...parseShellLine(whole.replaceAll(/\0\\\n */g, "")), line: at };
  });
}

/** Takes a line apart as a shell does; of quotes it knows '…' and "…". */
function parseShellLine(text: string): ShellCommand {
  const words: string[] = [];
  const word = /\s*((?:'[^']*'|"[^"]*"|\\.|[^\s'"|;&<>\\])+)/y;
  const line = text.replace(/^\s*\$ /, "").trim();
  for (let found = word.exec(line); found !== null; found = word.exec(line)) {
    const [, one = ""] = found;
    if (one.startsWith("#")) break;
    // A redirection: `2>file`.
    if (/^\d$/.test(one) && /^[<>]/.test(line.slice(word.lastIndex))) break;
    words.push(one.replaceAll(/'([^']*)'|"([^"]*)"|\\(.)/g, (_, a, b, c) => a ?? b ?? c));
  }
  const start = words.findIndex((one) => !/^\w+=/.test(one));
  const env = words.slice(0, start < 0 ? words.length : start).map((one) => {
    const [name = ""] = one.split("=");
    return [name, one.slice(name.length + 1)];
  });
  return { env: Object.fromEntries(env), words: start < 0 ? [] : words.slice(start) };
}
