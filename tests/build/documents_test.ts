// What the documents name is there, what they show is understood, and what they list is whole: files,
// links, commands, variables, YAML, options, events of the log. It knows nothing of what they explain.
// CHANGELOG.md tells of what was, and may name what is gone.
//
// A block that shows a mistake on purpose says so behind its language: ```sh mistake

import { assert, assertEquals } from "@std/assert";
import { withOptionsTable } from "../../build/reference.ts";
import { EVENTS } from "../../src/base/log.ts";
import { parseCommand } from "../../src/config/command_line.ts";
import { readDockerRun } from "../helpers/guide.ts";
import {
  anchorsOf,
  type Block,
  commandsOf,
  type Document,
  readDocuments,
} from "../helpers/markdown.ts";
import { ROOT, runProgram } from "../helpers/mod.ts";
import { needs, PROGRAM_TLS } from "../helpers/needs.ts";
import { parseYaml } from "../helpers/yaml.ts";

const DOCUMENTS = readDocuments(["CHANGELOG.md"]);

/** A path from the repository's folder, in backticks, in an example or in a sentence. */
const PATH = /(?<![\w./-])(?:bench|build|docs|examples|src|tests)\/[\w./-]*(?<!\.)/g;

/** A link to a file or a heading: not to another place. */
const LINK = /\]\((?!\w+:)([^)#]*)(?:#([^)]*))?\)/g;

/** Languages of blocks that a shell reads; an indented block has none. */
const SHELL = ["", "sh", "bash", "console"];

/** A line that is a route, as it stands in a file or an environment. */
const ROUTE_LINE = /^(?:export )?([A-Z]\w*_PORT_\d+_(?:TCP|TLS|UDP))=(\S*)(?:\s+#.*)?$/;

/** The same as an argument. */
const ROUTE_ARGUMENT = /^(?:[\d.]+:|\[[\da-f:.]+\]:)?\d+(?:\/\w+)?=\S+:\d+(?:\?\S+)?$/;

/** What a route that listens by TLS needs; no file is opened to read a command. */
const TLS = {
  AMBASSADOR_TLS_CERT: "/tls/tls.crt",
  AMBASSADOR_TLS_KEY: "/tls/tls.key",
  AMBASSADOR_TLS_CA: "/tls/ca.crt",
};

/** What `--routes` would read, where a document does not show it. */
const FILE = { text: "REDIS_PORT_6379_TCP=tcp://192.0.2.10:6379", mayEverybodyWrite: false };

function documentOf(path: string): Document {
  const found = DOCUMENTS.find((document) => document.path === path);
  assert(found !== undefined, `${path} is not there`);
  return found;
}

/** All blocks that are to be taken at their word. */
function blocks(languages: readonly string[]): readonly (Block & { readonly path: string })[] {
  return DOCUMENTS.flatMap(({ path, blocks }) =>
    blocks.filter(({ info }) => languages.includes(info[0] ?? "") && !info.includes("mistake"))
      .map((block) => ({ ...block, path }))
  );
}

function exists(url: URL): boolean {
  try {
    Deno.statSync(url);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** What is wrong with a command; undefined if nothing is. */
function flawOf(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): string | undefined {
  const at = args.indexOf("--routes");
  const path = at < 0 ? env["AMBASSADOR_ROUTES"] : args[at + 1];
  try {
    parseCommand(args, env, path === undefined ? undefined : { path, ...FILE });
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** What stands before the arguments, where an ambassador is started from the sources. */
const FROM_SOURCES = /^(?:npx -y deno@\S+|deno) (?:run (?:\S+ )*?main\.ts|task -q start)(?: |$)/;

/** The arguments and variables of what starts an ambassador: itself, Deno or docker. */
function startOf(
  { words, env }: ReturnType<typeof commandsOf>[number],
):
  | { readonly args: readonly string[]; readonly env: Readonly<Record<string, string>> }
  | undefined {
  const [program = "", verb = ""] = words;
  if (/^(?:\.\/|dist\/|\/)?ambassador$/.test(program)) return { args: words.slice(1), env };
  const [start] = FROM_SOURCES.exec(words.join(" ")) ?? [];
  if (start !== undefined) return { args: words.slice(start.trim().split(" ").length), env };
  return /^(?:docker|podman)$/.test(program) && verb === "run" ? readDockerRun(words) : undefined;
}

Deno.test("every file that the documents name is there", () => {
  const named = DOCUMENTS.flatMap(({ path, text }) =>
    text.split("\n").flatMap((line, index) => {
      const paths = [...line.matchAll(PATH)].map(([name]) => ({ name, base: ROOT }));
      const links = [...line.matchAll(LINK)].map(([, name = ""]) => ({
        name,
        base: new URL(path, ROOT),
      }));
      return [...paths, ...links].map(({ name, base }) => ({
        where: `${path}:${index + 1} ${name}`,
        url: new URL(name, base),
      }));
    })
  );
  for (const document of ["README.md", "ARCHITECTURE.md", "docs/tls.md"]) {
    assert(named.some(({ where }) => where.startsWith(document)), `${document} names nothing`);
  }
  const missing = named.filter(({ url }) => !exists(url)).map(({ where }) => where);
  assertEquals([...new Set(missing)].sort(), []);
});

Deno.test("every heading that the documents link to is there", () => {
  const anchors = new Map(DOCUMENTS.map((document) => [document.path, anchorsOf(document)]));
  const links = DOCUMENTS.flatMap(({ path, prose }) =>
    prose.flatMap(([line, text]) =>
      [...text.matchAll(LINK)].filter(([, , anchor]) => anchor !== undefined)
        .map(([, name = "", anchor = ""]) => ({ path, line, name, anchor }))
    )
  );
  assert(links.length > 10, "the documents link to no headings");
  const missing = links.filter(({ path, name, anchor }) => {
    const url = new URL(name, new URL(path, ROOT));
    return !anchors.get(url.href.slice(ROOT.href.length))?.has(anchor);
  });
  assertEquals(
    missing.map(({ path, line, name, anchor }) => `${path}:${line} ${name}#${anchor}`),
    [],
  );
});

Deno.test("parseCommand() understands every command that the documents show", () => {
  const flaws: string[] = [];
  let count = 0;
  for (const block of blocks(SHELL)) {
    const exported: Record<string, string> = {};
    for (const command of commandsOf(block)) {
      const { words: [first, word = ""] } = command;
      const [name = ""] = word.split("=");
      if (first === "export") exported[name] = word.slice(name.length + 1);
      const start = startOf(command);
      if (start === undefined) continue;
      count++;
      const flaw = flawOf(start.args, { ...exported, ...start.env });
      if (flaw !== undefined) flaws.push(`${block.path}:${block.line + command.line} ${flaw}`);
    }
  }
  assert(count > 20, `the documents show ${count} commands`);
  assertEquals(flaws, []);
});

Deno.test("parseCommand() understands every route that the documents show", () => {
  const inBlocks = blocks([...SHELL, "env"]).flatMap(({ path, line, text }) =>
    text.split("\n").map((one, index) => ({ where: `${path}:${line + index}`, text: one.trim() }))
  );
  const inProse = DOCUMENTS.flatMap(({ path, prose }) =>
    prose.flatMap(([line, text]) =>
      [...text.matchAll(/`([^`]+)`/g)].map(([, code = ""]) => ({
        where: `${path}:${line}`,
        text: code,
      }))
    )
  );
  const routes = [...inBlocks, ...inProse].flatMap(({ where, text }) => {
    const [, name, value = ""] = ROUTE_LINE.exec(text) ?? [];
    if (text.includes("…")) return [];
    if (ROUTE_ARGUMENT.test(text)) return { where, args: [text], env: {} };
    if (name === undefined || value === "") return [];
    return { where, args: [], env: { [name]: value.replaceAll(/^["']|["']$/g, "") } };
  });
  assert(routes.length > 30, `the documents show ${routes.length} routes`);
  const flaws = routes.flatMap(({ where, args, env }) => {
    const isTls = /_TLS=|\/tls=|=.*\btls:/.test([...args, ...Object.entries(env).flat()].join("="));
    const flaw = flawOf(args, isTls ? { ...env, ...TLS } : env);
    return flaw === undefined ? [] : [`${where} ${flaw}`];
  });
  assertEquals(flaws, []);
});

Deno.test("parseYaml() understands every YAML block of the documents", () => {
  const flaws = blocks(["yaml", "yml"]).flatMap(({ path, line, text }) => {
    try {
      parseYaml(text);
      return [];
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      return [`${path}:${line} ${error.message}`];
    }
  });
  assertEquals(flaws, []);
});

Deno.test("docs/reference.md has the table of options that build/reference.ts makes", () => {
  const { text } = documentOf("docs/reference.md");
  const how = "run deno task reference";
  assertEquals(text, withOptionsTable(text), how);
});

Deno.test("the documents show what check prints", async () => {
  const shown = blocks(["console"]).filter(({ text }) =>
    /^\$ (?:\w+=\S* )*ambassador check\b.*\n/.test(text)
  );
  assert(shown.length > 1, "they show no check");
  for (const block of shown) {
    const [{ words, env } = { words: [], env: {} }] = commandsOf(block);
    const { stdout } = await runProgram(words.slice(1), { env });
    assertEquals(`${block.text.slice(block.text.indexOf("\n") + 1)}\n`, stdout, block.path);
  }
});

Deno.test(
  "docs/reference.md shows what check --format json prints",
  needs(PROGRAM_TLS),
  async () => {
    const { blocks } = documentOf("docs/reference.md");
    const env = {
      REDIS_PORT_6379_TCP: "tls://192.0.2.10:6380?idle-timeout=5m",
      KUBERNETES_PORT_443_TCP: "tcp://10.0.0.1:443",
    };
    const { stdout } = await runProgram(["check", "--format", "json"], { env });
    const json = blocks.find(({ info: [language] }) => language === "json");
    assertEquals(JSON.parse(json?.text ?? ""), JSON.parse(stdout));
  },
);

/** All source files of the program as one text, where texts that go on in another line are one. */
function readSources(): string {
  const texts = [...Deno.readDirSync(new URL("src/", ROOT))].flatMap(({ name: folder }) =>
    [...Deno.readDirSync(new URL(`src/${folder}/`, ROOT))].map(({ name }) =>
      Deno.readTextFileSync(new URL(`src/${folder}/${name}`, ROOT))
    )
  );
  return texts.join("\n").replaceAll(/["`]\s*\+\s*["`]/g, "");
}

/** What stands in backticks in the first column of the tables of a document. */
function firstCells({ prose }: Document): readonly string[] {
  return prose.flatMap(([, line]) => {
    const [, cell = ""] = /^\| (.*?) \|/.exec(line) ?? [];
    return [...cell.matchAll(/`([^`]+)`/g)].map(([, phrase = ""]) => phrase);
  });
}

Deno.test("docs/troubleshooting.md has a row for every event of the log", () => {
  const rows = documentOf("docs/troubleshooting.md").prose.flatMap(([, line]) =>
    /^\| `(\w+)` +\| (?:debug|info|warn|error)\b/.exec(line)?.[1] ?? []
  );
  assertEquals(rows, [...EVENTS].sort());
});

Deno.test("EVENTS has no event that the program never logs", () => {
  const sources = readSources();
  // Once in the list itself.
  const unused = EVENTS.filter((event) => sources.split(`"${event}"`).length < 3);
  assertEquals(unused, []);
});

Deno.test("docs/troubleshooting.md explains messages in the words of the program", () => {
  const sources = readSources();
  // These are put together there.
  const phrases = firstCells(documentOf("docs/troubleshooting.md")).map((phrase) =>
    phrase.replace(/^no PROXY header /, "PROXY header… ").replace(
      /^nothing to forward/,
      "nothing to",
    )
  );
  assert(phrases.length > 60, `it explains ${phrases.length} messages`);
  const pieces = phrases.flatMap((phrase) => phrase.split("…").map((piece) => piece.trim()))
    .filter((piece) => /^[\w<-]/.test(piece));
  assertEquals(pieces.filter((piece) => !sources.includes(piece)), []);
});

Deno.test("docs/guarantees.md names a test for every promise", () => {
  const rows = documentOf("docs/guarantees.md").prose.map(([, line]) => line)
    .filter((line) => line.startsWith("| ") && !/^\| promise /.test(line));
  assert(rows.length > 40, `it has ${rows.length} promises`);
  const promises = rows.filter((row) => !/\| `tests\/[\w/]+\.ts`[^|]*\|$/.test(row));
  assertEquals(promises.filter((row) => !/^\| -+ \|/.test(row)), []);
});
