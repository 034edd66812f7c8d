// The order of the house: what each folder of `src/` may import, and which files may touch the
// network and the process. It reads the sources as text, without what their comments say.

import { assertEquals } from "@std/assert";
import { ROOT } from "../helpers/mod.ts";

/** From the top to the bottom: imports go down, or stay in the folder. */
const LAYERS = ["main.ts", "commands", "status", "forward", "net", "config", "base"];

/** What `main.ts` puts together; all else is reached through a command. */
const BELOW_MAIN = ["commands", "config", "base"];

/** Folders of `tests/` that no folder of `src/` stands for. */
const OTHER_TESTS = ["build", "helpers", "program"];

/** Sockets of Deno, and their types. */
const NETWORK = /\bDeno\.(?:connect|listen|resolveDns|serve|Tcp|Tls|startTls|Datagram)\w*/g;

/** What belongs to the process as a whole. */
const PROCESS = /\bDeno\.(?:args|env|exit|exitCode|addSignalListener|kill)\b/g;

interface Source {
  /** Its path in the repository. */
  readonly path: string;
  /** Its folder in `src/`, or `main.ts`. */
  readonly layer: string;
  /** Its text without comments. */
  readonly code: string;
  /** The paths of the files of this repository that it imports. */
  readonly imports: readonly string[];
}

function readSources(): Source[] {
  const paths = ["main.ts"];
  for (const { name: folder } of Deno.readDirSync(new URL("src/", ROOT))) {
    for (const { name } of Deno.readDirSync(new URL(`src/${folder}/`, ROOT))) {
      if (name.endsWith(".ts")) paths.push(`src/${folder}/${name}`);
    }
  }
  return paths.sort().map((path) => {
    const url = new URL(path, ROOT);
    const code = Deno.readTextFileSync(url).replaceAll(/\/\*[^]*?\*\/|^ *\/\/.*$/gm, "");
    const names = code.matchAll(/(?:\bfrom|\bimport) *\(? *"(\.[^"]*)"/g);
    const imports = [...names].map(([, name = ""]) =>
      new URL(name, url).href.slice(ROOT.href.length)
    );
    return { path, layer: layerOf(path), code, imports };
  });
}

function layerOf(path: string): string {
  return path.startsWith("src/") ? path.split("/")[1] ?? "" : path;
}

const SOURCES = readSources();

/** Each use outside of one layer, as `path what`. */
function usesOf(pattern: RegExp, but: string): string[] {
  const uses = SOURCES.filter(({ layer }) => layer !== but)
    .flatMap(({ path, code }) => [...code.matchAll(pattern)].map(([what]) => `${path} ${what}`));
  return [...new Set(uses)].sort();
}

Deno.test("every file of src/ is in one of the folders, and every folder of tests/ has its like", () => {
  const folders = [...new Set(SOURCES.map(({ layer }) => layer))];
  assertEquals(folders.toSorted(), LAYERS.toSorted());
  const tests = [...Deno.readDirSync(new URL("tests/", ROOT))]
    .filter(({ isDirectory, name }) => isDirectory && !OTHER_TESTS.includes(name))
    .map(({ name }) => name);
  assertEquals(tests.toSorted(), LAYERS.filter((layer) => layer !== "main.ts").toSorted());
});

Deno.test("no import runs up", () => {
  const up = SOURCES.flatMap(({ path, layer, imports }) =>
    imports.filter((to) => to.startsWith("src/") || to === "main.ts")
      .filter((to) => LAYERS.indexOf(layerOf(to)) < LAYERS.indexOf(layer))
      .map((to) => `${path} → ${to}`)
  );
  assertEquals(up, []);
});

Deno.test("no import closes a circle, between the files of one folder either", () => {
  const importsOf = new Map(SOURCES.map(({ path, imports }) => [path, imports]));
  const done = new Set<string>();
  const circles: string[] = [];
  function visit(path: string, way: readonly string[]): void {
    const at = way.indexOf(path);
    if (at >= 0) circles.push([...way.slice(at), path].join(" → "));
    if (at >= 0 || done.has(path)) return;
    for (const to of importsOf.get(path) ?? []) visit(to, [...way, path]);
    done.add(path);
  }
  for (const { path } of SOURCES) visit(path, []);
  assertEquals(circles, []);
});

Deno.test("main.ts imports commands, what they are told and the basics, and nothing else", () => {
  const main = SOURCES.find(({ path }) => path === "main.ts")?.imports ?? [];
  const others = main.filter((to) => to.startsWith("src/") && !BELOW_MAIN.includes(layerOf(to)));
  assertEquals(others, []);
});

Deno.test("src/net alone names the sockets of Deno", () => {
  assertEquals(usesOf(NETWORK, "net"), []);
});

Deno.test("main.ts alone names arguments, environment, signals and the exit status", () => {
  assertEquals(usesOf(PROCESS, "main.ts"), []);
});
