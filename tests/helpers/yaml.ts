// Reads the part of YAML that the files of this repository are written in, and refuses the rest: no
// anchors, tags, flow mappings, or text over several lines other than after `|`. A whole parser would
// be a dependency, and a file that needs one is harder to read for people too.

/** What a document is made of. */
export type Yaml = null | boolean | number | string | readonly Yaml[] | YamlMap;
/** A mapping; its keys are always text. */
export interface YamlMap {
  readonly [key: string]: Yaml;
}

/**
 * Reads every document of a file.
 *
 * @throws {SyntaxError} with the line's number, at what this reader does not know
 */
export function parseYaml(text: string): Yaml[] {
  return text.split(/^---$/m).map((document, index, all) => {
    const before = all.slice(0, index).join("---").split("\n").length - 1;
    return new Reader(document, index === 0 ? 0 : before).read();
  });
}

interface Line {
  readonly indent: number;
  readonly text: string;
}

class Reader {
  readonly #lines: string[];
  readonly #before: number;
  #at = 0;

  constructor(text: string, before: number) {
    this.#lines = text.split("\n");
    this.#before = before;
  }

  read(): Yaml {
    const first = this.#next();
    if (first === undefined) return null;
    const value = this.#block(first);
    if (this.#next() !== undefined) throw this.#error("indented in another way than before");
    return value;
  }

  /** The next line that says something, left where it is. */
  #next(): Line | undefined {
    for (; this.#at < this.#lines.length; this.#at++) {
      const line = this.#lines[this.#at] ?? "";
      if (line.includes("\t")) throw this.#error("a tab");
      const text = line.trimStart();
      if (text !== "" && !text.startsWith("#")) return { indent: line.length - text.length, text };
    }
    return undefined;
  }

  #block({ indent, text }: Line): Yaml {
    return isItem(text) ? this.#sequence(indent) : this.#mapping(indent);
  }

  #sequence(indent: number): Yaml[] {
    const items: Yaml[] = [];
    for (
      let line = this.#next();
      line?.indent === indent && isItem(line.text);
      line = this.#next()
    ) {
      const rest = line.text.slice(1).trimStart();
      if (splitKey(rest) === undefined) {
        this.#at++;
        items.push(this.#scalar(rest));
      } else {
        // `- key: value` begins a mapping that goes on below its first key.
        const inner = indent + line.text.length - rest.length;
        this.#lines[this.#at] = " ".repeat(inner) + rest;
        items.push(this.#mapping(inner));
      }
    }
    return items;
  }

  #mapping(indent: number): YamlMap {
    const map = new Map<string, Yaml>();
    for (
      let line = this.#next();
      line?.indent === indent && !isItem(line.text);
      line = this.#next()
    ) {
      const pair = splitKey(line.text);
      if (pair === undefined) throw this.#error("not a key and a value");
      if (map.has(pair.key)) throw this.#error(`${pair.key} stands twice`);
      this.#at++;
      map.set(pair.key, this.#value(pair.rest, indent));
    }
    return Object.fromEntries(map);
  }

  #value(rest: string, indent: number): Yaml {
    if (rest === "|") return this.#literal(indent);
    if (rest !== "") return this.#scalar(rest);
    const line = this.#next();
    if (line === undefined || line.indent < indent) return null;
    return line.indent > indent || isItem(line.text) ? this.#block(line) : null;
  }

  #literal(indent: number): string {
    const lines: string[] = [];
    for (; this.#at < this.#lines.length; this.#at++) {
      const line = this.#lines[this.#at] ?? "";
      if (line.trim() !== "" && line.length - line.trimStart().length <= indent) break;
      lines.push(line);
    }
    const inner = /^ */.exec(lines[0] ?? "")?.[0].length ?? 0;
    return `${lines.map((line) => line.slice(inner)).join("\n").trimEnd()}\n`;
  }

  #scalar(text: string): Yaml {
    if (text.startsWith("[")) {
      const inner = /^\[(.*)\]$/.exec(text)?.[1];
      if (inner === undefined) throw this.#error("a list that does not end on its line");
      if (/[[\]{}]/.test(inner)) throw this.#error("a list in a list");
      return inner.trim() === "" ? [] : inner.split(",").map((item) => this.#scalar(item.trim()));
    }
    if (text.startsWith('"')) return this.#quoted(text);
    if (/^[-?&*!|>{}%@`'"\]]|: |:$| #/.test(text)) throw this.#error(`not plain text: ${text}`);
    if (text === "" || text === "null" || text === "~") return null;
    if (text === "true" || text === "false") return text === "true";
    if (/^(?:yes|no|on|off)$/i.test(text)) throw this.#error(`${text}: put it in quotes`);
    return /^(?:0|[1-9]\d*)$/.test(text) ? Number(text) : text;
  }

  #quoted(text: string): string {
    try {
      return JSON.parse(text);
    } catch (cause) {
      throw this.#error(`not a quoted text: ${text}`, cause);
    }
  }

  #error(what: string, cause?: unknown): SyntaxError {
    return new SyntaxError(`line ${this.#before + this.#at}: ${what}`, { cause });
  }
}

function isItem(text: string): boolean {
  return text === "-" || text.startsWith("- ");
}

function splitKey(text: string): { key: string; rest: string } | undefined {
  const parts = /^([A-Za-z_][\w./-]*):(?: +(.*))?$/.exec(text);
  const key = parts?.[1];
  return key === undefined ? undefined : { key, rest: parts?.[2] ?? "" };
}
