import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import config from "../../deno.json" with { type: "json" };
import { parseOptions } from "../../build/arguments.ts";
import {
  compileArguments,
  flawOf,
  outputOf,
  parseCompileCommand,
  parseTarget,
  TARGETS,
} from "../../build/compile.ts";
import { imageCommand, parseImageCommand } from "../../build/image.ts";
import { copyLibraries, readDynamic } from "../../build/libraries.ts";
import { programTests } from "../../build/program_tests.ts";
import { checkTag, notesOf, sumLine } from "../../build/release.ts";
import { V8_FLAGS, v8Flags } from "../../build/sources.ts";
import { ROOT, within } from "../helpers/mod.ts";
import { LINUX, needs, programPath, UNIX } from "../helpers/needs.ts";

const SOME_OPTIONS = {
  all: { type: "boolean" },
  target: { type: "string" },
  tag: { type: "string", multiple: true },
} as const;

Deno.test("parseOptions() reads values, and no more than is given", () => {
  const args = ["--all", "--tag", "a", "--tag=b", "--target="];
  assertEquals({ ...parseOptions(args, SOME_OPTIONS) }, {
    all: true,
    tag: ["a", "b"],
    target: "",
  });
  assertEquals({ ...parseOptions([], SOME_OPTIONS) }, {});
});

Deno.test("parseOptions() refuses with one line that names the option", () => {
  for (
    const [args, named] of [
      [["--targte", "x"], "'--targte': not one of --all, --target, --tag"],
      [["--no-all"], "'--no-all'"],
      [["-a"], "'-a'"],
      [["--target"], "'--target <value>'"],
      [["--target", "--all"], "'--target'"],
      [["--all=yes"], "'--all'"],
      [["--all", "yes"], "'yes'"],
      [["--", "main.ts"], "'main.ts'"],
      [["--target", "x", "--target=y"], "'--target' is given twice"],
      [["--all", "--all"], "'--all' is given twice"],
    ] as const
  ) {
    const { message } = assertThrows(
      () => parseOptions(args, SOME_OPTIONS),
      SyntaxError,
      named,
    );
    assert(!message.includes("\n"), message);
  }
});

Deno.test("the scripts end with status 2 and one line where their options are wrong", async () => {
  for (const name of ["compile", "image"]) {
    const script = new URL(`build/${name}.ts`, ROOT).pathname;
    const command = new Deno.Command(Deno.execPath(), {
      args: ["run", "-q", "-A", script, "--targte", "x"],
      stdin: "null",
    });
    const { code, stdout, stderr } = await within(command.output(), `${name} to end`);
    assertEquals([code, stdout.length], [2, 0]);
    assertMatch(new TextDecoder().decode(stderr), new RegExp(`^${name}: .*'--targte'.*\n$`));
  }
});

Deno.test("v8Flags() finds the flags, and refuses a line without them", () => {
  assert(V8_FLAGS.length > 0);
  assertEquals(v8Flags("deno run --v8-flags=--a,--b main.ts"), ["--v8-flags=--a,--b"]);
  assertThrows(() => v8Flags("deno run --v8-options=--a main.ts"), Error, "--v8-flags");
});

Deno.test("compileArguments() builds in net and env and nothing else", () => {
  const args = compileArguments({ importMap: "deno.json" });
  const grants = args.filter((arg) => /^(?:-P|-A|-[A-Z]|--allow|--permission)/.test(arg));
  assertEquals(grants, ["-P"]);
  assertEquals(config.permissions, { default: { net: true, env: true, read: ["/"] } });
});

Deno.test("compileArguments() never asks for more and keeps no code cache", () => {
  const args = compileArguments({ importMap: "deno.json" });
  for (const flag of ["--no-prompt", "--deny-import", "--no-code-cache"]) {
    assert(args.includes(flag), flag);
  }
});

Deno.test("compileArguments() puts the source last: what follows would be built in", () => {
  for (const target of [undefined, ...Object.keys(TARGETS)]) {
    assertEquals(compileArguments({ importMap: "x", target }).at(-1), "main.ts");
  }
});

Deno.test("outputOf() names the executable by its target", () => {
  assertEquals(Object.keys(TARGETS).map(outputOf), [
    "dist/ambassador-x86_64-unknown-linux-gnu",
    "dist/ambassador-aarch64-unknown-linux-gnu",
    "dist/ambassador-x86_64-apple-darwin",
    "dist/ambassador-aarch64-apple-darwin",
    "dist/ambassador-x86_64-pc-windows-msvc.exe",
  ]);
});

Deno.test(
  "flawOf() finds an executable that does not run, and names DENORT_BIN where it is set",
  needs(UNIX),
  async () => {
    const folder = await Deno.makeTempDir();
    try {
      const path = `${folder}/ambassador`;
      const write = (script: string): Promise<void> =>
        Deno.writeTextFile(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
      await write('test "$*" = --version');
      assertEquals(await flawOf(path, "denort"), undefined);
      await write('printf "error: no section\\n\\nStack backtrace:\\n" >&2; exit 1');
      const flaw = "does not run: error: no section";
      assertEquals(await flawOf(path, ""), flaw);
      const hint = `  hint: DENORT_BIN has to be of Deno ${Deno.version.deno}`;
      assertEquals(await flawOf(path, "denort"), `${flaw}\n${hint}`);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);

Deno.test("parseCompileCommand() takes options with and without an equals sign", () => {
  const wanted = parseCompileCommand(["--import-map=m", "--target", "arm64", "--output=o"]);
  const options = { importMap: "m", target: "aarch64-unknown-linux-gnu", output: "o" };
  assertEquals(wanted, { all: false, fetch: false, options });
  assertEquals(parseCompileCommand(["--all"]).all, true);
  assertEquals(parseCompileCommand(["--fetch"]).fetch, true);
});

Deno.test("parseCompileCommand() refuses what it does not know", () => {
  for (const args of [["--targte", "x"], ["--target"], ["--target", "sparc"], ["main.ts"]]) {
    assertThrows(() => parseCompileCommand(args), SyntaxError);
  }
  assertThrows(() => parseCompileCommand(["--all", "--target", "arm64"]), SyntaxError, "--all");
  assertThrows(() => parseTarget("arm"), SyntaxError, "not one of");
  const windows = ["--target", "x86_64-pc-windows-msvc", "--output", "ambassador"];
  assertThrows(() => parseCompileCommand(windows), SyntaxError, ".exe");
});

Deno.test("readDynamic() reads what an executable asks the loader for", needs(LINUX), () => {
  const { interpreter, needed, triple } = readDynamic(Deno.readFileSync(Deno.execPath()));
  assert(interpreter?.includes("/ld-linux-"));
  assert(needed.includes("libc.so.6"));
  assert(triple.startsWith(Deno.build.arch));
});

Deno.test("readDynamic() refuses what is no ELF file", () => {
  assertThrows(() => readDynamic(new Uint8Array(0)), SyntaxError);
  assertThrows(() => readDynamic(new TextEncoder().encode("#!/bin/sh\n".repeat(20))), SyntaxError);
});

Deno.test("copyLibraries() copies exactly what ldd says", needs(LINUX, "ldd", "ls"), async () => {
  // What ls needs has needs of its own.
  const [ldd, ls] = [programPath("ldd"), programPath("ls")];
  const folder = await Deno.makeTempDir();
  try {
    for (const executable of [Deno.execPath(), ls]) {
      const { stdout } = await new Deno.Command(ldd, { args: [executable] }).output();
      const lines = new TextDecoder().decode(stdout).split("\n");
      const expected = lines.flatMap((line) => /(\/\S+) \(0x/.exec(line)?.[1] ?? []).sort();
      const copied = copyLibraries(executable, "", folder);
      assertEquals(copied, expected);
      for (const path of copied) assert(Deno.lstatSync(folder + path).isFile);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("copyLibraries() says which library is missing", needs(LINUX), async () => {
  const folder = await Deno.makeTempDir();
  try {
    const { interpreter = "" } = readDynamic(Deno.readFileSync(Deno.execPath()));
    const from = `${folder}/from`;
    await Deno.mkdir(from + interpreter.slice(0, interpreter.lastIndexOf("/")), {
      recursive: true,
    });
    await Deno.copyFile(interpreter, from + interpreter);
    assertThrows(() => copyLibraries(Deno.execPath(), from, `${folder}/to`), Error, "in none of");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test({
  name: "copyLibraries() follows links inside of the root, and never out of it",
  ...needs(LINUX),
}, async () => {
  const folder = await Deno.makeTempDir();
  try {
    const { interpreter = "", needed, triple } = readDynamic(Deno.readFileSync(Deno.execPath()));
    copyLibraries(Deno.execPath(), "", `${folder}/real`);
    // As where /lib is a link to /usr/lib, and the loader an absolute link to its library.
    await Deno.mkdir(`${folder}/from/usr/lib/${triple}`, { recursive: true });
    await Deno.symlink("/usr/lib", `${folder}/from/lib`);
    await Deno.symlink("usr/lib", `${folder}/from/lib64`);
    const paths = copyLibraries(Deno.execPath(), `${folder}/real`, `${folder}/flat`);
    for (const path of paths) {
      const name = path.slice(path.lastIndexOf("/") + 1);
      await Deno.copyFile(`${folder}/real${path}`, `${folder}/from/usr/lib/${triple}/${name}`);
    }
    const loader = interpreter.slice(interpreter.lastIndexOf("/") + 1);
    await Deno.symlink(`/usr/lib/${triple}/${loader}`, `${folder}/from/usr/lib/${loader}`);
    const copied = copyLibraries(Deno.execPath(), `${folder}/from`, `${folder}/to`);
    assertEquals(copied.length, paths.length);
    for (const name of [interpreter, ...needed.map((name) => `/lib/${triple}/${name}`)]) {
      if (name.endsWith(`${triple}/${loader}`)) continue;
      assert(Deno.lstatSync(`${folder}/to${name}`).isFile, name);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

const ORIGIN = { deno: "1.2.3", revision: "abc", source: "https://example.com/ambassador" };

Deno.test("imageCommand() pushes several platforms with their provenance", () => {
  const args = ["--push", "--platform", "linux/amd64,linux/arm64", "--tag", "a:1", "--tag", "a:2"];
  const command = imageCommand("docker", parseImageCommand(args), ORIGIN);
  assertEquals(command, [
    "docker",
    "buildx",
    "build",
    "--target=distroless",
    "--tag=a:1",
    "--tag=a:2",
    "--platform=linux/amd64,linux/arm64",
    "--build-arg=DENO_VERSION=1.2.3",
    `--build-arg=VERSION=${config.version}`,
    "--build-arg=REVISION=abc",
    "--build-arg=SOURCE=https://example.com/ambassador",
    "--push",
    "--provenance=mode=max",
    "--sbom=true",
    ".",
  ]);
});

Deno.test("imageCommand() keeps the health check with podman, and pushes nothing with it", () => {
  const command = imageCommand("podman", parseImageCommand(["--target", "scratch"]), ORIGIN);
  assertEquals(command.slice(0, 5), [
    "podman",
    "build",
    "--format=docker",
    "--target=scratch",
    "--tag=ambassador:scratch",
  ]);
  const push = parseImageCommand(["--push"]);
  assertThrows(() => imageCommand("podman", push, ORIGIN), SyntaxError, "docker");
});

Deno.test("parseImageCommand() refuses what it does not know", () => {
  const twice = ["--target", "scratch", "--target", "distroless"];
  for (const args of [["--target", "alpine"], ["--tag"], ["--pusch"], ["."], twice]) {
    assertThrows(() => parseImageCommand(args), SyntaxError);
  }
});

Deno.test("parseImageCommand() names a released image by its version", () => {
  const tagsOf = (...args: string[]): readonly string[] => parseImageCommand(args).tags;
  const { version } = config;
  assertEquals(tagsOf(), ["ambassador"]);
  assertEquals(tagsOf("--target", "scratch"), ["ambassador:scratch"]);
  assertEquals(tagsOf("--release", "r/a"), [`r/a:${version}`, "r/a:latest"]);
  assertEquals(tagsOf("--release", "r/a", "--target", "scratch"), [`r/a:${version}-scratch`]);
  assertEquals(tagsOf("--release", "a", "--tag", "b"), ["b", `a:${version}`, "a:latest"]);
});

Deno.test("the Dockerfile fetches before it copies a source", () => {
  const lines = Deno.readTextFileSync(new URL("Dockerfile", ROOT)).split("\n");
  const fetches = lines.findIndex((line) => line.includes("--fetch"));
  const sources = ["COPY main.ts", "COPY src/"]
    .map((copy) => lines.findIndex((line) => line.startsWith(copy)));
  assert(fetches > 0 && sources.every((at) => at > fetches));
  for (const name of ["ENTRYPOINT", "CMD"]) {
    const forms = lines.filter((line) => new RegExp(`(?:^| )${name} `).test(line));
    assert(forms.every((line) => line.includes(`${name} ["/ambassador"`)), name);
  }
});

Deno.test("notesOf() gives the section of one version", () => {
  const text =
    "# Changelog\n\n## Unreleased\n\n## 0.2.0 (2026-11-22)\n\n- two\n\n## 0.1.0\n\n- one\n";
  assertEquals(notesOf(text, "0.2.0"), "- two\n");
  assertEquals(notesOf(text, "0.1.0"), "- one\n");
  assertThrows(() => notesOf(text, "0.1"), SyntaxError, "no section");
  assertThrows(() => notesOf(text, "Unreleased"), SyntaxError, "nothing stands");
});

Deno.test("notesOf() can read CHANGELOG.md", () => {
  const changelog = Deno.readTextFileSync(new URL("CHANGELOG.md", ROOT));
  const version = /^## (\S+)/m.exec(changelog)?.[1] ?? "";
  assert(notesOf(changelog, version).startsWith("- "));
});

Deno.test("sumLine() writes what sha256sum reads", async () => {
  const line = await sumLine("name", new TextEncoder().encode("abc"));
  const sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  assertEquals(line, `${sum}  name\n`);
});

Deno.test("checkTag() refuses a tag of another version", () => {
  checkTag("v1.2.3", "1.2.3");
  for (const tag of ["1.2.3", "v1.2.30", "v1.2", ""]) {
    assertThrows(() => checkTag(tag, "1.2.3"), SyntaxError, "deno.json");
  }
});

Deno.test("the tasks that run the program from the sources look for no newer Deno", () => {
  for (const name of ["start", "demo", "soak", "bench"] as const) {
    assertMatch(config.tasks[name].command, /^DENO_NO_UPDATE_CHECK=1 deno run /, name);
  }
});

Deno.test("programTests() names every test file that starts the program, and no others", () => {
  const paths = programTests(ROOT);
  assert(paths.includes("tests/program/end_to_end_test.ts"));
  assert(paths.includes("tests/program/executable_test.ts"));
  assert(paths.includes("tests/forward/forwarder_test.ts"));
  assert(!paths.includes("tests/base/duration_test.ts"));
  // Most in tests/program start it.
  const all = [...Deno.readDirSync(new URL("tests/program/", ROOT))]
    .map(({ name }) => `tests/program/${name}`).filter((path) => !/fuzz|examples/.test(path));
  assertEquals(paths.filter((path) => path.startsWith("tests/program/")), all.sort());
});
