// A file of routes that is changed while the real program runs: how soon that is noticed, however it is
// done, and what can't be read.

import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  freePort,
  programCommand,
  runProgram,
  startProgram,
  type Upstream,
  within,
} from "../helpers/mod.ts";
import { LINUX, needs, programPath, ROOT_RIGHTS, UNIX } from "../helpers/needs.ts";
import {
  lineOf,
  LOOK_EVERY_MS,
  NOTICED_MS,
  renameOver,
  sleep,
  startNamed,
  startWired,
  whoAnswers,
  type Wired,
} from "../helpers/rewiring.ts";

/** Less than the file has to stand still before it is taken unasked. */
const AT_ONCE_MS = 500;

/** A way to change a file. */
interface Way {
  /** How, in words. */
  readonly name: string;
  /** Where the file of a program is, that holds the text first; what starts the program. */
  readonly prepare?: (folder: string, text: string) => Promise<Prepared>;
  /** Changes it to the text; resolves when that is done. */
  readonly change: (path: string, text: string) => Promise<void>;
}

/** A file in its place. */
interface Prepared {
  /** What the program is told. */
  readonly path: string;
  /** What is run instead of the program. */
  readonly command?: readonly string[];
}

const inPlace = (path: string, text: string): Promise<void> => Deno.writeTextFile(path, text);

/** Writes the first half, and the rest after a while. */
function inHalves(gapMs: number): Way {
  return {
    name: `in two halves ${gapMs} ms apart`,
    async change(path, text): Promise<void> {
      // So that the program looks at the file while only the half is there.
      await sleep(LOOK_EVERY_MS - gapMs / 2);
      const half = text.length - 3;
      await Deno.writeTextFile(path, text.slice(0, half));
      await sleep(gapMs);
      await Deno.writeTextFile(path, text.slice(half), { append: true });
    },
  };
}

const WAYS: readonly Way[] = [
  { name: "in place", change: inPlace },
  inHalves(300),
  inHalves(500),
  inHalves(700),
  { name: "by a rename", change: renameOver },
  {
    name: "deleted and made again",
    async change(path, text): Promise<void> {
      await Deno.remove(path);
      await sleep(300);
      await Deno.writeTextFile(path, text);
    },
  },
  {
    name: "as kubelet swaps ..data",
    async prepare(folder, text): Promise<Prepared> {
      await Deno.mkdir(`${folder}/..1`);
      await Deno.writeTextFile(`${folder}/..1/routes`, text);
      await Deno.symlink("..1", `${folder}/..data`);
      await Deno.symlink("..data/routes", `${folder}/routes`);
      return { path: `${folder}/routes` };
    },
    async change(path, text): Promise<void> {
      const folder = path.slice(0, path.lastIndexOf("/"));
      await Deno.mkdir(`${folder}/..2`);
      await Deno.writeTextFile(`${folder}/..2/routes`, text);
      await Deno.symlink("..2", `${folder}/..data_tmp`);
      await Deno.rename(`${folder}/..data_tmp`, `${folder}/..data`);
      await Deno.remove(`${folder}/..1`, { recursive: true });
    },
  },
  {
    name: "far below a symlinked folder",
    async prepare(folder, text): Promise<Prepared> {
      await Deno.mkdir(`${folder}/1/a/b/c`, { recursive: true });
      await Deno.writeTextFile(`${folder}/1/a/b/c/routes`, text);
      await Deno.symlink(`${folder}/1`, `${folder}/now`);
      return { path: `${folder}/now/a/b/c/routes` };
    },
    async change(path, text): Promise<void> {
      const folder = path.slice(0, path.indexOf("/now/"));
      await Deno.mkdir(`${folder}/2/a/b/c`, { recursive: true });
      await Deno.writeTextFile(`${folder}/2/a/b/c/routes`, text);
      await Deno.symlink(`${folder}/2`, `${folder}/next`);
      await Deno.rename(`${folder}/next`, `${folder}/now`);
    },
  },
];

/** What only root can do on Linux: mounts that the program alone sees, as a container has them. */
const MOUNTS: readonly Way[] = [
  {
    name: "in place below a bind mount of the file",
    async prepare(folder, text): Promise<Prepared> {
      await Deno.writeTextFile(`${folder}/outside`, text);
      await Deno.writeTextFile(`${folder}/inside`, "");
      return {
        path: `${folder}/inside`,
        command: mounting(`${folder}/outside`, `${folder}/inside`),
      };
    },
    change: (path, text) => inPlace(path.replace(/inside$/, "outside"), text),
  },
  {
    name: "by a rename below a bind mount of its folder",
    async prepare(folder, text): Promise<Prepared> {
      await Deno.mkdir(`${folder}/outside`);
      await Deno.mkdir(`${folder}/inside`);
      await Deno.writeTextFile(`${folder}/outside/routes`, text);
      return {
        path: `${folder}/inside/routes`,
        command: mounting(`${folder}/outside`, `${folder}/inside`),
      };
    },
    change: (path, text) => renameOver(path.replace(/inside\/routes$/, "outside/routes"), text),
  },
];

/** What starts the program where one place is mounted at another. */
function mounting(from: string, to: string): string[] {
  const script = 'mount --bind "$0" "$1"; shift; exec "$@"';
  return [programPath("unshare"), "--mount", "sh", "-c", script, from, to, ...programCommand()];
}

/** Starts a program, changes its file in one way, and waits until it is noticed. */
async function isNoticed(way: Way, [a, b]: readonly [Upstream, Upstream]): Promise<void> {
  await using cleanup = new AsyncDisposableStack();
  const folder = await Deno.makeTempDir({ prefix: "ambassador_ways_" });
  cleanup.defer(() => Deno.remove(folder, { recursive: true }));
  const port = freePort();
  const { path, command } = await way.prepare?.(folder, lineOf(port, a.address)) ?? {};
  const wired = cleanup.use(
    await startWired(lineOf(port, a.address), {
      ...(path === undefined ? {} : { path }),
      ...(command === undefined ? {} : { command }),
    }),
  );
  assertEquals([way.name, await whoAnswers(port)], [way.name, "a"]);
  const { rewired } = wired.said;
  await way.change(wired.path, lineOf(port, b.address));
  await wired.next("rewired", { known: rewired, ms: NOTICED_MS });
  assertEquals([way.name, await whoAnswers(port)], [way.name, "b"]);
  // The half, or the file that was not there, was never taken for the whole.
  assertEquals([way.name, wired.said], [way.name, { rewired: 1, failed: 0 }]);
}

async function areNoticed(ways: readonly Way[]): Promise<void> {
  await using a = startNamed("a");
  await using b = startNamed("b");
  await Promise.all(ways.map((way) => isNoticed(way, [a, b])));
}

Deno.test({
  name: "the program takes a changed file within five seconds, however it was changed",
  ...needs(UNIX),
}, () => areNoticed(WAYS));

Deno.test({
  name: "the program takes a changed file within five seconds through a bind mount",
  ...needs(LINUX, ROOT_RIGHTS, "unshare"),
}, () => areNoticed(MOUNTS));

Deno.test({
  name: "SIGHUP makes the program take a changed file at once",
  ...needs(UNIX),
}, async () => {
  await using a = startNamed("a");
  await using b = startNamed("b");
  const port = freePort();
  await using wired = await startWired(lineOf(port, a.address));
  const tookMs: number[] = [];
  for (const to of [b, a, b]) {
    const startMs = performance.now();
    assertMatch(await wired.taken(lineOf(port, to.address)), / rewired /);
    tookMs.push(performance.now() - startMs);
    assertEquals(await whoAnswers(port), to === a ? "a" : "b");
  }
  // Unasked it never is that soon; a busy machine may keep one of them waiting.
  assert(Math.min(...tookMs) < AT_ONCE_MS, `${tookMs} ms`);
  // Of a file that has not changed there is nothing to say.
  wired.program.kill("SIGHUP");
  await statusOf(wired);
  await wired.taken(lineOf(port, a.address));
  assertEquals(wired.said, { rewired: 4, failed: 0 });
});

Deno.test({
  name: "SIGHUP makes the program take a changed file on a terminal and after nohup too",
  ...needs(LINUX, "script"),
}, async () => {
  await using a = startNamed("a");
  await using b = startNamed("b");
  const folder = await Deno.makeTempDir({ prefix: "ambassador_routes_" });
  try {
    const path = `${folder}/routes`;
    const port = freePort();
    const run = `${programCommand().join(" ")} --bind 127.0.0.1 --routes ${path}`;
    const onTerminal = ["-qec", `${run} & echo pid=$!.; wait $!; echo status=$?.`, "/dev/null"];
    const afterNohup = ["-c", `trap "" HUP; echo pid=$$.; exec ${run} 2>&1`];
    for (
      const command of [[programPath("script"), ...onTerminal], [programPath("sh"), ...afterNohup]]
    ) {
      await Deno.writeTextFile(path, lineOf(port, a.address));
      await using program = startProgram([], { command });
      const [, pid] = await program.output(/pid=(\d+)\./);
      await program.output(/ ready /);
      await renameOver(path, lineOf(port, b.address));
      Deno.kill(Number(pid), "SIGHUP");
      await within(program.output(/ rewired .* changed=REDIS@/), "the change");
      assertEquals(await whoAnswers(port), "b");
      Deno.kill(Number(pid), "SIGTERM");
      await program.output(/ stopped cut_off=0/);
      await within(program.status, "the end");
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test({
  name: "the program starts with an empty file, is ready, and takes routes later",
  ...needs(UNIX),
}, async () => {
  await using a = startNamed("a");
  const port = freePort();
  await using wired = await startWired("");
  assertMatch(wired.program.stderr, / WARN {2}warning setting=--routes reason="nothing to forward/);
  assertMatch(wired.program.stderr, / ready routes=0 /);
  assertEquals(await statusOf(wired), { status: "ready", routes: [] });
  assertMatch(
    await wired.taken(lineOf(port, a.address)),
    / routes=1 added=REDIS@127\.0\.0\.1:\d+$/,
  );
  assertEquals(await whoAnswers(port), "a");
  assertMatch(await wired.taken("# none any more\n"), / routes=0 removed=REDIS@127\.0\.0\.1:\d+$/);
  assertEquals(await statusOf(wired), { status: "ready", routes: [] });
});

async function statusOf({ statusUrl }: Wired): Promise<unknown> {
  const response = await fetch(`${statusUrl}/readyz`);
  assertEquals(response.status, 200);
  return await response.json();
}

Deno.test({
  name:
    "the program forwards what the environment and the file say; of a name in both it takes the file's",
  ...needs(UNIX),
}, async () => {
  await using a = startNamed("a");
  await using b = startNamed("b");
  const [ofBoth, ofEnvironment, ofFile] = [freePort(), freePort(), freePort()];
  const variable = (port: number, upstream: Upstream): Record<string, string> => ({
    [`REDIS_PORT_${port}_TCP`]: `tcp://127.0.0.1:${upstream.address.port}`,
  });
  await using wired = await startWired(
    lineOf(ofBoth, b.address) + lineOf(ofFile, b.address),
    { env: { ...variable(ofBoth, a), ...variable(ofEnvironment, a) } },
  );
  const who = (): Promise<string[]> => Promise.all([ofBoth, ofEnvironment, ofFile].map(whoAnswers));
  assertEquals(await who(), ["b", "a", "b"]);
  // What the file has no longer is the environment's again.
  assertMatch(
    await wired.taken(lineOf(ofFile, a.address)),
    new RegExp(` routes=3 changed=\\S*:${ofBoth}\\b`),
  );
  assertEquals(await who(), ["a", "a", "a"]);
  // An empty value switches the environment's route off.
  assertMatch(
    await wired.taken(`${lineOf(ofFile, a.address)}REDIS_PORT_${ofBoth}_TCP=\n`),
    new RegExp(` routes=2 removed=\\S*:${ofBoth}$`),
  );
});

/** A file that can't be used, and why. */
interface Unusable {
  readonly name: string;
  readonly make: (path: string) => Promise<unknown>;
  readonly reason: RegExp;
}

const UNUSABLE: readonly Unusable[] = [
  { name: "missing", make: () => Promise.resolve(), reason: /no such file/ },
  { name: "a folder", make: (path) => Deno.mkdir(path), reason: /it is a directory/ },
  {
    name: "a device",
    make: (path) => Deno.symlink("/dev/null", path),
    reason: /it is not a regular file|Deno does not allow to read it/,
  },
  {
    name: "a pipe",
    make: (path) => new Deno.Command(programPath("mkfifo"), { args: [path] }).output(),
    reason: /it is not a regular file/,
  },
  {
    name: "too large",
    make: (path) => Deno.writeTextFile(path, "#".repeat(1024 * 1024 + 1)),
    reason: /it is larger than 1 MiB/,
  },
  {
    name: "no text",
    make: (path) => Deno.writeFile(path, new Uint8Array([0x23, 0x0a, 0x41, 0xff, 0x3d])),
    reason: /line 2: it holds bytes that are no UTF-8 text/,
  },
  {
    name: "a loop of links",
    make: (path) => Deno.symlink(path, path),
    reason: /it can't be read \(ELOOP\)/,
  },
];

Deno.test({
  name: "the program does not start with a file that can't be used, and says why in one line",
  ...needs(UNIX, "mkfifo"),
}, async () => {
  const folder = await Deno.makeTempDir({ prefix: "ambassador_unusable_" });
  try {
    await Promise.all(UNUSABLE.map(async ({ name, make, reason }) => {
      const path = `${folder}/${name.replaceAll(" ", "_")}`;
      await make(path);
      for (const command of [[], ["check"], ["wait"]]) {
        const { code, stdout, stderr } = await runProgram([...command, "--routes", path]);
        assertEquals([name, code, stdout], [name, 2, ""]);
        const [first = "", ...more] = stderr.trimEnd().split("\n");
        assert(first.startsWith("ambassador: ") && first.includes(path), stderr);
        assertMatch(first, reason);
        assert(more.every((line) => line.startsWith("  hint: ")), stderr);
      }
    }));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test({
  name: "the program goes on when its file can't be used any more, and takes it when it is back",
  ...needs(UNIX, "mkfifo"),
}, async () => {
  await using a = startNamed("a");
  await using b = startNamed("b");
  await Promise.all(UNUSABLE.map(async ({ name, make, reason }) => {
    const port = freePort();
    await using wired = await startWired(lineOf(port, a.address));
    await Deno.remove(wired.path);
    await make(wired.path);
    assertMatch(await wired.next("rewire_failed", { known: 0 }), reason);
    assertEquals([name, await whoAnswers(port)], [name, "a"]);
    await statusOf(wired);
    await Deno.remove(wired.path).catch(() => {});
    await Deno.writeTextFile(wired.path, lineOf(port, b.address));
    await wired.next("rewired", { known: 0 });
    assertEquals([name, await whoAnswers(port)], [name, "b"]);
    assertEquals([name, wired.said], [name, { rewired: 1, failed: 1 }]);
  }));
});

Deno.test({
  name: "the program says of a file that it may not read whom it has to let read it",
  ...needs(LINUX, ROOT_RIGHTS, "setpriv"),
}, async () => {
  const path = await Deno.makeTempFile();
  try {
    await Deno.chmod(path, 0);
    // What lets root read everything.
    const drop = "--bounding-set=-dac_override,-dac_read_search";
    const command = [programPath("setpriv"), drop, ...programCommand()];
    const { code, stderr } = await runProgram(["--routes", path], { command });
    assertEquals(code, 2);
    assertMatch(stderr, /^ambassador: --routes \S+: permission denied\n {2}hint: the user .*65532/);
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("check and wait read the file, and healthcheck is not disturbed by a broken one", async () => {
  await using a = startNamed("a");
  const folder = await Deno.makeTempDir({ prefix: "ambassador_routes_" });
  try {
    const [good, broken] = [`${folder}/good`, `${folder}/broken`];
    const port = freePort();
    await Deno.writeTextFile(good, lineOf(port, a.address));
    await Deno.writeTextFile(broken, "nonsense\n");
    const check = await runProgram(["check", "--routes", good]);
    assertEquals([check.code, check.stderr], [0, ""]);
    assertMatch(check.stdout, new RegExp(`REDIS .*:${port} .*:${a.address.port}`));
    assertEquals((await runProgram(["wait", "--routes", good])).code, 0);
    const status = `127.0.0.1:${freePort()}`;
    await using program = startProgram(["--routes", good, "--status", status]);
    await program.line(/ ready /);
    for (const path of [good, broken, `${folder}/missing`]) {
      const env = { AMBASSADOR_ROUTES: path, AMBASSADOR_STATUS: status };
      const { code, stderr } = await runProgram(["healthcheck"], { env });
      assertEquals([path, code, stderr], [path, 0, ""]);
      if (path === good) continue;
      for (const command of [[], ["check"], ["wait"]]) {
        assertEquals((await runProgram(command, { env })).code, 2);
      }
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
