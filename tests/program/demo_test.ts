// The demonstration as strangers meet it: on a terminal, where there is none, ended early, and on a
// machine where something does not work. However it ends, nothing of it is left.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { hasPackages, pathOf } from "../../build/sources.ts";
import { parseCommand } from "../../src/config/command_line.ts";
import { programCommand, runProgram, until, within } from "../helpers/mod.ts";
import { EXECUTABLE, findOnPath, LINUX, needs, programPath } from "../helpers/needs.ts";
import { feed } from "../helpers/run.ts";

/** A place for one run, where it can be seen what is left of it. */
interface Place extends AsyncDisposable {
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Files and processes that are still there. */
  left(): string[];
}

/** @param redis A script that is found as redis-server; what is installed unless given. */
async function makePlace({ redis }: { readonly redis?: string } = {}): Promise<Place> {
  const folder = await Deno.makeTempDir();
  const [bin, temp] = [`${folder}/bin`, `${folder}/temp`];
  await Deno.mkdir(bin);
  await Deno.mkdir(temp);
  if (redis !== undefined) await Deno.writeTextFile(`${bin}/redis-server`, redis, { mode: 0o755 });
  const map = pathOf(hasPackages() ? "deno.json" : "offline/import_map.json");
  const options = ["-q", "-A", `--config=${pathOf("deno.json")}`, `--import-map=${map}`];
  const [executable = ""] = programCommand();
  return {
    // All that it starts is at work in this folder.
    command: [
      ...["sh", "-c", 'cd "$0" && exec "$@"', folder, Deno.execPath(), "run"],
      ...[...options, pathOf("tests/demo.ts")],
    ],
    env: {
      PATH: `${bin}:${Deno.env.get("PATH")}`,
      TMPDIR: temp,
      TERM: "xterm",
      ...EXECUTABLE.isHere ? { AMBASSADOR_BIN: executable } : {},
    },
    left: () => [...[...Deno.readDirSync(temp)].map(({ name }) => name), ...processesIn(folder)],
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}

/** The ids of processes whose working directory this is. */
function processesIn(folder: string): string[] {
  return [...Deno.readDirSync("/proc")].map(({ name }) => name).filter((name) => {
    try {
      return /^\d+$/.test(name) && Deno.readLinkSync(`/proc/${name}/cwd`) === folder;
    } catch {
      // It has ended, or is another user's.
      return false;
    }
  });
}

Deno.test({
  name: "deno task demo shows all its steps in plain lines, and leaves nothing behind",
  ...needs(LINUX),
}, async () => {
  await using place = await makePlace();
  const { code, stdout, stderr } = await runProgram([], place);
  assertEquals([code, stderr], [0, ""]);
  const lines = stdout.split("\n");
  assertEquals(
    lines.flatMap((line) => /^\d+(?=\. [A-Z])/.exec(line) ?? []),
    ["1", "2", "3", "4", "5", "6", "7"],
  );
  assert(!/[\p{Cc}]/u.test(stdout.replaceAll("\n", "")), JSON.stringify(stdout));
  assertEquals(lines.filter((line) => line.length > 100), []);
  for (const event of ["connect_failed", "rewired", "target_down", "target_up", "draining"]) {
    assertMatch(stdout, new RegExp(`^ +(INFO|WARN) +${event} `, "m"));
  }
  // What is recommended at its end can be done.
  const commands = lines.flatMap((line) => / task start (.*)/.exec(line)?.[1] ?? []);
  assertEquals(commands.length, 3);
  for (const args of commands) parseCommand(args.split(" "), {});
  assertEquals(place.left(), []);
});

Deno.test({
  name: "deno task demo has colours on a terminal, where Ctrl-C leaves nothing of it",
  ...needs(LINUX, "script"),
}, async () => {
  await using place = await makePlace();
  const variables = Object.entries(place.env).map(([name, value]) => `${name}=${value}`);
  const line = place.command.map((word) => `'${word}'`).join(" ");
  const args = ["-u", "NO_COLOR", ...variables, programPath("script"), "-qec", line, "/dev/null"];
  await using terminal = feed("env", args);
  // Both ambassadors and a Redis are at work then.
  await until(() => terminal.text.includes("PONG"), "the second step is shown");
  assertStringIncludes(terminal.text, "\x1b[32m✓\x1b[0m both ambassadors are ready");
  // Its files, itself, both ambassadors, and a Redis where one is installed.
  const isReal = findOnPath("redis-server") !== undefined;
  assert(place.left().length >= (isReal ? 5 : 4), "what is at work is not seen");
  await terminal.write("\x03");
  assertEquals((await within(terminal.result, "the end", 5000)).code, 130);
  assertEquals(place.left(), []);
});

Deno.test({
  name: "deno task demo says what went wrong, ends with 1, and leaves nothing behind",
  ...needs(LINUX),
}, async () => {
  await using place = await makePlace({ redis: "#!/bin/sh\nexit 3\n" });
  const { code, stderr } = await runProgram([], place);
  assertEquals(code, 1);
  assertMatch(stderr, /^\ndemo: ended without a line \/Ready to accept connections\/:\n/);
  assertEquals(place.left(), []);
});
