// Makes the executables: `deno compile` with the flags that this program wants, for this machine, for
// one target or for all. A script rather than a line in deno.json, since what is appended to such a
// line would be taken for arguments of the program.

import { parseOptions } from "./arguments.ts";
import { V8_FLAGS } from "./sources.ts";

/** The targets that `deno compile` knows, and how Docker calls those that images are made for. */
export const TARGETS: Readonly<Record<string, string | undefined>> = {
  "x86_64-unknown-linux-gnu": "amd64",
  "aarch64-unknown-linux-gnu": "arm64",
  "x86_64-apple-darwin": undefined,
  "aarch64-apple-darwin": undefined,
  "x86_64-pc-windows-msvc": undefined,
};

/** What is to be compiled. */
export interface CompileOptions {
  /** The import map: `deno.json`, or the stand-ins. */
  readonly importMap: string;
  /** One of {@linkcode TARGETS}; undefined is this machine. */
  readonly target?: string | undefined;
  /** The file to write; in dist/ and named by the target unless given. */
  readonly output?: string | undefined;
}

/** The arguments of `deno` that make one executable. */
export function compileArguments({ importMap, target, output }: CompileOptions): string[] {
  return [
    "compile",
    "-q",
    // The default permission set of deno.json, and never a question where that is not enough.
    "-P",
    "--no-prompt",
    // Some hosts may be imported from unless that is denied.
    "--deny-import",
    // The cache would be a file in the temporary folder, which need not be there or writable.
    "--no-code-cache",
    ...V8_FLAGS,
    `--import-map=${importMap}`,
    `--output=${output ?? outputOf(target)}`,
    ...(target === undefined ? [] : [`--target=${target}`]),
    "main.ts",
  ];
}

/** Where an executable goes: `dist/ambassador`, followed by the target if there is one. */
export function outputOf(target?: string): string {
  const name = target === undefined ? "ambassador" : `ambassador-${target}`;
  const isWindows = target?.includes("windows") ?? Deno.build.os === "windows";
  return `dist/${name}${isWindows ? ".exe" : ""}`;
}

/**
 * A target by its own name or by Docker's.
 *
 * @throws {SyntaxError} if there is no such target
 */
export function parseTarget(text: string): string {
  for (const [target, docker] of Object.entries(TARGETS)) {
    if (text === target || text === docker) return target;
  }
  throw new SyntaxError(`"${text}": not one of ${Object.keys(TARGETS).join(", ")}`);
}

/** What the command line asks for. */
export interface Wanted {
  /** Every target instead of one. */
  readonly all: boolean;
  /** Only fetch the runtime that the target embeds. */
  readonly fetch: boolean;
  /** What to compile. */
  readonly options: CompileOptions;
}

/**
 * Reads `--import-map=FILE [--target TARGET | --all] [--output FILE] [--fetch]`.
 *
 * @throws {SyntaxError} if it can't be read
 */
export function parseCompileCommand(args: readonly string[]): Wanted {
  const { all = false, fetch = false, target, output, ...values } = parseOptions(args, {
    "import-map": { type: "string" },
    target: { type: "string" },
    all: { type: "boolean" },
    output: { type: "string" },
    fetch: { type: "boolean" },
  });
  if (all && (target !== undefined || output !== undefined)) {
    throw new SyntaxError("--all: stands without --target and --output");
  }
  if (target?.includes("windows") && output?.endsWith(".exe") === false) {
    throw new SyntaxError(`--output ${output}: has to end in .exe for Windows`);
  }
  return {
    all,
    fetch,
    options: {
      importMap: values["import-map"] ?? "deno.json",
      target: target === undefined ? undefined : parseTarget(target),
      output,
    },
  };
}

/** Compiles an empty program, so that the runtime is in Deno's cache before the sources are there. */
async function fetchRuntime(target: string | undefined): Promise<void> {
  const folder = await Deno.makeTempDir();
  await Deno.writeTextFile(`${folder}/empty.ts`, "");
  const to = target === undefined ? [] : [`--target=${target}`];
  await deno(["compile", "-q", "--no-config", `--output=${folder}/x`, ...to, `${folder}/empty.ts`]);
  await Deno.remove(folder, { recursive: true });
}

async function deno(args: readonly string[]): Promise<void> {
  const { code } = await new Deno.Command(Deno.execPath(), { args: [...args] }).spawn().status;
  if (code !== 0) Deno.exit(code);
}

/**
 * What an executable for this machine says where it does not run, in lines; undefined where it does.
 * `deno compile` embeds any DENORT_BIN without a look at it.
 *
 * @param denort What DENORT_BIN names.
 */
export async function flawOf(
  path: string,
  denort: string | undefined = Deno.env.get("DENORT_BIN"),
): Promise<string | undefined> {
  const command = new Deno.Command(await Deno.realPath(path), {
    args: ["--version"],
    stdin: "null",
    stdout: "null",
  });
  const { success, stderr } = await command.output();
  if (success) return undefined;
  const [line = ""] = new TextDecoder().decode(stderr).trim().split("\n");
  const hint = `\n  hint: DENORT_BIN has to be of Deno ${Deno.version.deno}`;
  return `does not run: ${line}${denort ? hint : ""}`;
}

async function make({ all, fetch, options }: Wanted): Promise<void> {
  for (const target of all ? Object.keys(TARGETS) : [options.target]) {
    if (fetch) {
      await fetchRuntime(target);
      continue;
    }
    const output = options.output ?? outputOf(target);
    await deno(compileArguments({ ...options, target, output }));
    const flaw = [undefined, Deno.build.target].includes(target) ? await flawOf(output) : undefined;
    if (flaw !== undefined) {
      console.error(`compile: ${output} ${flaw}`);
      await Deno.remove(output);
      Deno.exit(1);
    }
    const { size } = await Deno.stat(output);
    console.log(`${output}  ${(size / 1e6).toFixed(1)} MB`);
  }
}

if (import.meta.main) {
  let wanted: Wanted;
  try {
    wanted = parseCompileCommand(Deno.args);
  } catch (error) {
    console.error(`compile: ${error instanceof Error ? error.message : error}`);
    Deno.exit(2);
  }
  await make(wanted);
}
