// What a release has beside its executables, written for executables that hold nothing but the modules:
// the sums, the archive and the list are read by the programs that people read them with.

import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import config from "../../deno.json" with { type: "json" };
import { outputOf, TARGETS } from "../../build/compile.ts";
import { completions } from "../../build/completions.ts";
import { missingModules } from "../../build/embedded.ts";
import { checkImports, EXTRAS, type ReleaseOptions, writeRelease } from "../../build/release.ts";
import { type Module, readModules, type Spdx } from "../../build/sbom.ts";
import { hasPackages, pathOf } from "../../build/sources.ts";
import { buildTimeMs } from "../../build/time.ts";
import { within } from "../helpers/mod.ts";
import { needs } from "../helpers/needs.ts";
import { run } from "../helpers/run.ts";

const IMPORT_MAP = hasPackages() ? "deno.json" : "offline/import_map.json";

const EXECUTABLES = Object.keys(TARGETS).map((target) => outputOf(target).slice("dist/".length));

/** What every executable holds: found out once, which takes a second. */
let embedded: Promise<Uint8Array<ArrayBuffer>> | undefined;

async function joinModules(): Promise<Uint8Array<ArrayBuffer>> {
  const modules = await readModules(IMPORT_MAP);
  return await new Blob(modules.map(({ content }) => content)).bytes();
}

/** Runs `act` at a fixed build time, with a folder that holds such executables. */
async function withExecutables(
  names: readonly string[],
  act: (options: ReleaseOptions) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  const before = Deno.env.get("SOURCE_DATE_EPOCH");
  Deno.env.set("SOURCE_DATE_EPOCH", "1795772100");
  try {
    const modules = await (embedded ??= joinModules());
    for (const name of names) {
      await Deno.writeTextFile(`${folder}/${name}`, `I am ${name}\n`);
      await Deno.writeFile(`${folder}/${name}`, modules, { append: true });
    }
    await act({
      tag: `v${config.version}`,
      importMap: IMPORT_MAP,
      folder,
      changelog: `## ${config.version}\n\n- one\n`,
    });
  } finally {
    if (before === undefined) Deno.env.delete("SOURCE_DATE_EPOCH");
    else Deno.env.set("SOURCE_DATE_EPOCH", before);
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test({
  name: "writeRelease() writes sums that sha256sum finds true, over all that is published",
  ...needs("sha256sum", "tar"),
}, async () => {
  await withExecutables(EXECUTABLES, async (options) => {
    const names = await writeRelease(options);
    assertEquals(names, [...EXECUTABLES, ...EXTRAS].sort());
    const check = ["-c", `cd ${options.folder} && sha256sum --check --strict SHA256SUMS`];
    const { code, text, stderr } = await run("sh", check);
    assertEquals([code, stderr], [0, ""]);
    assertEquals(text, names.map((name) => `${name}: OK\n`).join(""));
    assertEquals(await Deno.readTextFile(`${options.folder}/NOTES.md`), "- one\n");
  });
});

Deno.test("writeRelease() packs the completions as they are made", needs("tar"), async () => {
  await withExecutables(EXECUTABLES, async (options) => {
    await writeRelease(options);
    const archive = `${options.folder}/ambassador-completions.tar.gz`;
    const { text } = await run("tar", ["--list", "--file", archive]);
    const names = Object.keys(completions()).map((name) => `completions/${name}`).sort();
    assertEquals(text.trimEnd().split("\n").sort(), ["completions/", ...names]);
    for (const [name, content] of Object.entries(completions())) {
      const from = ["--extract", "--to-stdout", "--file", archive, `completions/${name}`];
      assertEquals((await run("tar", from)).text, content);
    }
  });
});

Deno.test("writeRelease() lists the executables that are published", needs("tar"), async () => {
  await withExecutables(EXECUTABLES, async (options) => {
    await writeRelease(options);
    const list: Spdx = JSON.parse(
      await Deno.readTextFile(`${options.folder}/ambassador.spdx.json`),
    );
    const sums = await Deno.readTextFile(`${options.folder}/SHA256SUMS`);
    const made = list.files.filter(({ fileTypes }) => fileTypes.includes("BINARY"));
    assertEquals(made.length, EXECUTABLES.length);
    for (const { fileName, checksums } of made) {
      const [, { checksumValue } = { checksumValue: "" }] = checksums;
      assert(sums.includes(`${checksumValue}  ${fileName.slice(2)}\n`), fileName);
    }
  });
});

Deno.test(
  "writeRelease() writes the same bytes again at the same build time",
  needs("tar"),
  async () => {
    await withExecutables(EXECUTABLES, async (options) => {
      await writeRelease(options);
      const first = await Deno.readTextFile(`${options.folder}/SHA256SUMS`);
      await writeRelease(options);
      assertEquals(await Deno.readTextFile(`${options.folder}/SHA256SUMS`), first);
      assertMatch(
        await Deno.readTextFile(`${options.folder}/ambassador.spdx.json`),
        /"created": "2026-11-27T09:35:00Z"/,
      );
    });
  },
);

Deno.test("writeRelease() refuses another tag, and a release of which an executable is missing", async () => {
  await withExecutables(EXECUTABLES.slice(1), async (options) => {
    await assertRejects(() => writeRelease({ ...options, tag: "v9" }), SyntaxError, "deno.json");
    const { message } = await assertRejects(() => writeRelease(options), Error);
    assert(message.includes(`${EXECUTABLES[0]}: missing; deno task compile:all`), message);
  });
});

Deno.test("writeRelease() refuses an executable that does not hold the modules, and names it", async () => {
  await withExecutables(EXECUTABLES, async (options) => {
    const path = `${options.folder}/${EXECUTABLES.at(-1)}`;
    // One byte of the last module is another one.
    const content = await Deno.readFile(path);
    content[content.length - 2] = 0;
    await Deno.writeFile(path, content);
    const { message } = await assertRejects(() => writeRelease(options), Error);
    assertMatch(message, /-msvc\.exe: does not hold file:\/\/\S+; deno task compile:all makes it$/);
    assert(message.startsWith(path), message);
    await Deno.writeTextFile(path, "not an ambassador");
    await assertRejects(() => writeRelease(options), Error, " more; deno task compile:all");
    assertEquals([...Deno.readDirSync(options.folder)].length, EXECUTABLES.length);
  });
});

Deno.test("missingModules() names the modules that are not there as a whole, byte for byte", () => {
  const encode = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);
  const module = (text: string): Module => ({ specifier: text, content: encode(text) });
  const executable = new Uint8Array([0, 255, ...encode("one; zwölf; "), 0, 128]);
  const modules = ["one;", "zwölf", "one; two", "zwolf"].map(module);
  assertEquals(missingModules(executable, modules), ["one; two", "zwolf"]);
});

Deno.test("checkImports() refuses the stand-ins for the packages", () => {
  checkImports("deno.json");
  assertThrows(() => checkImports("offline/import_map.json"), Error, "stands in for the packages");
});

/** Runs a script of build/ in a folder, as the tasks do in that of the repository. */
async function runScript(
  name: string,
  { folder, args = [] }: { readonly folder: string; readonly args?: readonly string[] },
): Promise<{ code: number; stdout: string; stderr: string }> {
  const config = [`--config=${pathOf("deno.json")}`, `--import-map=${pathOf(IMPORT_MAP)}`];
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "-A", ...config, pathOf(`build/${name}.ts`), ...args],
    cwd: folder,
    stdin: "null",
  });
  const { code, stdout, stderr } = await within(command.output(), `${name} to end`);
  const text = new TextDecoder();
  return { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
}

Deno.test("the tasks completions and manual write into dist/ and say what", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const ran = [
      await runScript("completions", { folder }),
      await runScript("manual", { folder }),
    ];
    assertEquals(ran.map(({ code, stderr }) => [code, stderr]), [[0, ""], [0, ""]]);
    const paths = ran.map(({ stdout }) => stdout).join("").trimEnd().split("\n");
    assertEquals(paths.length, Object.keys(completions()).length + 1);
    for (const path of paths) assert(Deno.statSync(`${folder}/${path}`).size > 1000, path);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("the task release:files ends with status 1 and one line where something is wrong", async () => {
  const folder = await Deno.makeTempDir();
  try {
    for (
      const [args, line] of [
        [["--tag", "v0"], /^release: tag v0: deno\.json says .*\n$/],
        [[], /^release: --tag is missing\n$/],
        [["v0"], /^release: .*'v0'.*\n$/],
        [
          ["--tag", `v${config.version}`, "--import-map", "offline/import_map.json"],
          /^release: offline\/import_map\.json: stands in .*\n$/,
        ],
      ] as const
    ) {
      const { code, stdout, stderr } = await runScript("release", { folder, args });
      assertEquals([code, stdout], [1, ""]);
      assertMatch(stderr, line);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("buildTimeMs() is now, or what SOURCE_DATE_EPOCH says", () => {
  const before = Deno.env.get("SOURCE_DATE_EPOCH");
  try {
    Deno.env.delete("SOURCE_DATE_EPOCH");
    assert(Math.abs(buildTimeMs() - Date.now()) < 60_000);
    Deno.env.set("SOURCE_DATE_EPOCH", "86400");
    assertEquals(buildTimeMs(), 86_400_000);
    Deno.env.set("SOURCE_DATE_EPOCH", "yesterday");
    assertThrows(buildTimeMs, SyntaxError, "yesterday");
  } finally {
    if (before === undefined) Deno.env.delete("SOURCE_DATE_EPOCH");
    else Deno.env.set("SOURCE_DATE_EPOCH", before);
  }
});
