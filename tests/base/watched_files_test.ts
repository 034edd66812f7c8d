import { assert, assertEquals } from "@std/assert";
import { ConfigError } from "../../src/base/errors.ts";
import { pause } from "../../src/base/time.ts";
import { readFiles, WatchedFiles, type WatchedFilesOptions } from "../../src/base/watched_files.ts";
import { startOther, until, within } from "../helpers/mod.ts";
import { type Ability, LINUX, needs, programPath, TLS, UNIX } from "../helpers/needs.ts";
import { lease } from "../helpers/rewiring.ts";

/** Mounts that no other process sees. */
const MOUNTS: Ability = { name: "a namespace for mounts", isHere: mayMount() };

/** Long enough for a test to fail before it is over. */
const NEVER_MS = 60_000;

/** A file that is watched, and what comes of it. */
interface Watched extends AsyncDisposable {
  readonly files: WatchedFiles;
  readonly path: string;
  readonly folder: string;
  /** What was taken or refused, in this order; `!` stands before what was refused. */
  readonly takes: string[];
  /** What was complained of, and `mended`. */
  readonly said: string[];
  /** Writes another file, and renames that: nobody sees it half. */
  write(text: string): Promise<void>;
  /** Watches until this is disposed; gives the end of that. */
  begin(): Promise<void>;
  look(): Promise<void>;
  /** Aborts. */
  stop(): void;
  /** Waits until this was the latest to be taken or refused. */
  taken(text: string): Promise<void>;
}

/** What a test wants otherwise. */
interface WatchOptions
  extends Partial<Pick<WatchedFilesOptions, "everyMs" | "settleMs" | "mayPass">> {
  /** Says why a text can't be used; if it has BAD in it unless given. */
  readonly judge?: (text: string) => string | undefined | Promise<string | undefined>;
  /** Makes the file, with `first` in it, and gives its path; in place unless given. */
  readonly make?: (folder: string) => Promise<string>;
}

async function watch(
  { everyMs = 20, settleMs = 40, mayPass = () => false, judge = isBad, make = makeFile }:
    WatchOptions = {},
): Promise<Watched> {
  const folder = await Deno.makeTempDir();
  const path = await make(folder);
  const takes: string[] = [];
  const said: string[] = [];
  const stop = new AbortController();
  const watching: Promise<void>[] = [];
  const files = new WatchedFiles(await readFiles([path]), {
    everyMs,
    settleMs,
    mayPass,
    async take(texts, changed): Promise<ConfigError | undefined> {
      assertEquals(changed, [path]);
      const text = texts.get(path);
      const reason = typeof text === "string" ? await judge(text) : nameOf(text);
      takes.push(reason === undefined ? String(text) : `!${text instanceof Error ? reason : text}`);
      return reason === undefined ? undefined : new ConfigError([{ message: reason }]);
    },
    complain: ({ message }) => void said.push(message),
    mended: (paths) => {
      assertEquals(paths, [path]);
      said.push("mended");
    },
  });
  assertEquals((await readFiles([path])).get(path), "first");
  return {
    files,
    path,
    folder,
    takes,
    said,
    async write(text): Promise<void> {
      await Deno.writeTextFile(`${path}.new`, text);
      await Deno.rename(`${path}.new`, path);
    },
    begin(): Promise<void> {
      const end = files.watch(stop.signal);
      watching.push(end);
      return end;
    },
    look: () => within(files.look(stop.signal), "a look"),
    stop: () => stop.abort(),
    taken: (text) => until(() => takes.at(-1) === text, `${text} is taken: ${takes}`),
    async [Symbol.asyncDispose](): Promise<void> {
      stop.abort();
      await within(Promise.all(watching), "the end of watching");
      await Deno.remove(folder, { recursive: true });
    },
  };
}

/** The system's messages hold paths. */
function nameOf(error: Error | undefined): string | undefined {
  return error instanceof RangeError ? error.message : error?.name;
}

function isBad(text: string): string | undefined {
  return text.includes("BAD") ? `bad: ${text}` : undefined;
}

async function makeFile(folder: string): Promise<string> {
  await Deno.writeTextFile(`${folder}/file`, "first");
  return `${folder}/file`;
}

function mayMount(): boolean {
  try {
    const args = ["-rm", "mount", "-t", "tmpfs", "none", "/mnt"];
    return new Deno.Command("unshare", { args, stderr: "null" }).outputSync().success;
  } catch {
    return false;
  }
}

/** Calls `act` before each look at a file, while `run` runs. */
async function beforeEachRead(act: () => Promise<void>, run: () => Promise<void>): Promise<void> {
  const { stat } = Deno;
  Deno.stat = async (...args) => {
    await act();
    return await stat(...args);
  };
  try {
    await run();
  } finally {
    Deno.stat = stat;
  }
}

Deno.test("WatchedFiles.watch() never takes the first half of what is written in place", async () => {
  await using watched = await watch({ settleMs: 1000 });
  void watched.begin();
  for (const [half, other] of [["a", "b"], ["", "c"], ["d\n", "e\n"]] as const) {
    {
      using file = await Deno.open(watched.path, { write: true, truncate: true });
      await file.write(new TextEncoder().encode(half));
      await pause(300);
      await file.write(new TextEncoder().encode(other));
    }
    await watched.taken(half + other);
  }
  assertEquals(watched.takes, ["ab", "c", "d\ne\n"]);
  assertEquals(watched.said, []);
});

Deno.test("WatchedFiles.watch() takes what is renamed over the file", async () => {
  await using watched = await watch();
  void watched.begin();
  for (const text of ["second", "third", "first"]) {
    await watched.write(text);
    await watched.taken(text);
  }
  assertEquals(watched.takes, ["second", "third", "first"]);
});

Deno.test("WatchedFiles.watch() refuses a missing file, and takes nothing if it comes back", async () => {
  await using watched = await watch();
  void watched.begin();
  await Deno.remove(watched.path);
  await until(() => watched.said.length > 0, "something is said");
  assertEquals(watched.files.flaw?.message, "NotFound");
  await watched.write("first");
  await until(() => watched.files.flaw === undefined, "the flaw is forgotten");
  assertEquals(watched.takes, ["!NotFound"]);
  assertEquals(watched.said, ["NotFound", "mended"]);
  // Another one is taken.
  await Deno.remove(watched.path);
  await until(() => watched.said.length > 2, "something is said");
  await watched.write("second");
  await watched.taken("second");
  assertEquals(watched.files.flaw, undefined);
  assertEquals(watched.takes, ["!NotFound", "!NotFound", "second"]);
  assertEquals(watched.said, ["NotFound", "mended", "NotFound"]);
});

Deno.test("WatchedFiles.watch() follows the links that kubelet swaps", needs(UNIX), async () => {
  async function fill(folder: string, version: string, text: string): Promise<void> {
    await Deno.mkdir(`${folder}/${version}`);
    await Deno.writeTextFile(`${folder}/${version}/routes`, text);
    await Deno.symlink(version, `${folder}/..data_tmp`);
    await Deno.rename(`${folder}/..data_tmp`, `${folder}/..data`);
  }
  await using watched = await watch({
    async make(folder): Promise<string> {
      await fill(folder, "..2026_a", "first");
      await Deno.symlink("..data/routes", `${folder}/routes`);
      return `${folder}/routes`;
    },
  });
  void watched.begin();
  let before = "..2026_a";
  for (const text of ["second", "third"]) {
    await fill(watched.folder, `..2026_${text}`, text);
    await Deno.remove(`${watched.folder}/${before}`, { recursive: true });
    before = `..2026_${text}`;
    await watched.taken(text);
  }
  assertEquals(watched.takes, ["second", "third"]);
  assertEquals(watched.said, []);
});

Deno.test("WatchedFiles.watch() sees what changes behind a bind mount", needs(MOUNTS), async () => {
  const folder = await Deno.makeTempDir();
  try {
    await makeFile(folder);
    const script = `mount --bind "$0" /mnt && echo mounted && exec sleep 60`;
    const command = [programPath("unshare"), "-rm", "sh", "-c", script, folder];
    await using mounting = startOther(command, { env: { PATH: Deno.env.get("PATH") ?? "" } });
    await mounting.output(/mounted/);
    const path = `/proc/${mounting.pid}/root/mnt/file`;
    await using watched = await watch({ make: () => Promise.resolve(path) });
    void watched.begin();
    await Deno.writeTextFile(`${folder}/file`, "second");
    await watched.taken("second");
    await Deno.writeTextFile(`${folder}/new`, "third");
    await Deno.rename(`${folder}/new`, `${folder}/file`);
    await watched.taken("third");
    assertEquals(watched.takes, ["second", "third"]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("WatchedFiles.watch() complains once of what can't be used, and takes what comes then", async () => {
  await using watched = await watch();
  void watched.begin();
  await watched.write("BAD 1");
  await watched.taken("!BAD 1");
  let reads = 0;
  const looks = (): Promise<void> => until(() => reads > 5, "it was looked at again and again");
  await beforeEachRead(() => Promise.resolve(void reads++), looks);
  await watched.write("BAD 2");
  await watched.taken("!BAD 2");
  assertEquals(watched.files.flaw?.message, "bad: BAD 2");
  await watched.write("second");
  await watched.taken("second");
  assertEquals(watched.files.flaw, undefined);
  assertEquals(watched.takes, ["!BAD 1", "!BAD 2", "second"]);
  assertEquals(watched.said, ["bad: BAD 1", "bad: BAD 2"]);
});

Deno.test("WatchedFiles.watch() tries again what it could not use where the cause may lie elsewhere", async () => {
  let reason: string | undefined = "in use elsewhere";
  await using watched = await watch({ mayPass: () => true, judge: () => reason });
  void watched.begin();
  await watched.write("second");
  const tried = (times: number): Promise<void> =>
    until(() => watched.takes.length >= times, `it was tried: ${watched.takes}`);
  await tried(5);
  assertEquals(watched.said, ["in use elsewhere"]);
  // Something else is wrong now, and then what was wrong before.
  reason = "too large";
  await until(() => watched.said.length === 2, "that is said");
  await tried(watched.takes.length + 3);
  reason = "in use elsewhere";
  await until(() => watched.said.length === 3, "it is said again");
  assertEquals(watched.files.flaw?.message, "in use elsewhere");
  reason = undefined;
  await watched.taken("second");
  await until(() => watched.files.flaw === undefined, "nothing is wrong any more");
  assertEquals(watched.said, ["in use elsewhere", "too large", "in use elsewhere"]);
  assertEquals(watched.takes.filter((text) => text === "second").length, 1);
});

Deno.test("WatchedFiles.look() says of what is tried at each look only what it is asked for", async () => {
  await using watched = await watch({ mayPass: () => true });
  void watched.begin();
  await watched.write("BAD");
  await until(() => watched.takes.length > 3, "it was tried again");
  assertEquals(watched.said, ["bad: BAD"]);
  await watched.look();
  assertEquals(watched.said, ["bad: BAD", "bad: BAD"]);
  // What had been in use all the time needs no use.
  await watched.write("first");
  await until(() => watched.said.length > 2, "it is mended");
  assertEquals(watched.said.slice(2), ["mended"]);
  assert(watched.takes.every((text) => text === "!BAD"), `${watched.takes}`);
});

Deno.test({
  name: "WatchedFiles.watch() takes what comes after a file whose opening hangs",
  // 2.7 opens files on the thread that does all the rest.
  ...needs(LINUX, "perl", TLS),
}, async () => {
  await using watched = await watch({ mayPass: () => true });
  const held = `${watched.folder}/held`;
  await Deno.link(watched.path, held);
  const { open } = Deno;
  let opening = 0;
  let most = 0;
  Deno.open = async (...args) => {
    most = Math.max(most, ++opening);
    return await open(...args).finally(() => opening--);
  };
  try {
    {
      await using _lease = await lease(held);
      void watched.begin();
      await until(() => watched.said.length > 0, "something is said", 30_000);
      assertEquals(watched.said, ["it could not be read within 5s"]);
      await watched.write("second");
      await until(() => watched.takes.at(-1) === "second", "it is taken", 30_000);
      assert(opening > 0);
    }
    // Three that are late, and the one that waits.
    assert(most <= 4, `${most} at once`);
    await until(() => opening === 0 && !isOpen(held), "no read is left");
  } finally {
    Deno.open = open;
  }
  await watched.write("third");
  await watched.taken("third");
  assertEquals(watched.said.length, 1);
});

/** Whether this process has a file open. */
function isOpen(path: string): boolean {
  const { dev, ino } = Deno.statSync(path);
  return [...Deno.readDirSync("/proc/self/fd")].some(({ name }) => {
    try {
      const one = Deno.statSync(`/proc/self/fd/${name}`);
      return one.dev === dev && one.ino === ino;
    } catch {
      return false;
    }
  });
}

Deno.test("WatchedFiles.watch() takes a file that changed all the time once it stands still", async () => {
  await using watched = await watch({ settleMs: 5 });
  let reads = 0;
  await beforeEachRead(() => watched.write(`${++reads}`), async () => {
    void watched.begin();
    // More than one look waits for.
    await until(() => reads > 30, "it was looked at again");
  });
  await until(() => watched.takes.length > 0, "it is taken");
  assertEquals(watched.takes, [`${reads}`]);
  assertEquals(watched.said, []);
});

Deno.test("WatchedFiles.watch() takes in time what changes while it takes something else", async () => {
  // The time does not count from the end of what was taken before.
  const [everyMs, settleMs] = [1000, 100];
  const began = Promise.withResolvers<void>();
  async function judge(text: string): Promise<undefined> {
    if (text !== "slow") return;
    began.resolve();
    await pause(everyMs);
  }
  await using watched = await watch({ everyMs, settleMs, judge });
  void watched.begin();
  await watched.write("slow");
  await within(began.promise, "it is being taken");
  const beganMs = performance.now();
  await watched.write("quick");
  await watched.taken("quick");
  const tookMs = performance.now() - beganMs;
  assert(tookMs < everyMs + settleMs + 700, `${tookMs} ms`);
  assertEquals(watched.takes, ["slow", "quick"]);
});

Deno.test("WatchedFiles.look() takes at once what has changed, and nothing else", async () => {
  await using watched = await watch({ everyMs: NEVER_MS, settleMs: NEVER_MS });
  void watched.begin();
  await watched.look();
  assertEquals(watched.takes, []);
  await watched.write("second");
  await watched.look();
  await watched.look();
  assertEquals(watched.takes, ["second"]);
  assertEquals(watched.said, []);
});

Deno.test("WatchedFiles.look() does not wait for what settles", async () => {
  await using watched = await watch({ settleMs: NEVER_MS });
  let reads = 0;
  await beforeEachRead(() => Promise.resolve(void reads++), async () => {
    void watched.begin();
    await watched.write("second");
    await until(() => reads > 0, "it is read");
    // Time enough for it to settle from then on; where it is not, this test only shows less.
    await pause(200);
  });
  await watched.look();
  assertEquals(watched.takes, ["second"]);
});

Deno.test("WatchedFiles.look() complains each time of what can't be used, and tries it anew", async () => {
  let reason: string | undefined = "in use elsewhere";
  await using watched = await watch({ everyMs: NEVER_MS, judge: () => reason });
  await watched.write("second");
  await watched.look();
  // At once, and when it has settled.
  assertEquals(watched.takes, ["!second", "!second"]);
  assertEquals(watched.said, ["in use elsewhere"]);
  await watched.look();
  assertEquals(watched.takes.length, 3);
  assertEquals(watched.said, ["in use elsewhere", "in use elsewhere"]);
  reason = undefined;
  await watched.look();
  assertEquals(watched.takes.slice(3), ["second"]);
  assertEquals(watched.said.length, 2);
  assertEquals(watched.files.flaw, undefined);
});

Deno.test("WatchedFiles.look() says nothing of what is mended while it waits", async () => {
  await using watched = await watch({ everyMs: NEVER_MS, settleMs: 1000 });
  await watched.write("BAD half");
  const looking = watched.look();
  await watched.taken("!BAD half");
  await watched.write("second");
  await looking;
  assertEquals(watched.takes, ["!BAD half", "second"]);
  assertEquals(watched.said, []);
});

Deno.test("WatchedFiles.look() looks again for those who ask while it is under way", async () => {
  const first = Promise.withResolvers<void>();
  await using watched = await watch({
    everyMs: NEVER_MS,
    judge: (text) => text === "second" ? first.promise.then(() => undefined) : undefined,
  });
  await watched.write("second");
  let reads = 0;
  const looks: Promise<void>[] = [];
  await beforeEachRead(() => Promise.resolve(void reads++), async () => {
    looks.push(watched.look(), watched.look());
    await until(() => reads > 0, "it is read");
    await pause(100);
    await watched.write("third");
    looks.push(watched.look(), watched.look(), watched.look());
    first.resolve();
    await Promise.all(looks);
  });
  assertEquals(watched.takes, ["second", "third"]);
  assertEquals(reads, 2);
});

Deno.test("WatchedFiles takes nothing after the signal aborts, whatever waits for it", async () => {
  for (const begin of [true, false]) {
    await using watched = await watch({ settleMs: NEVER_MS });
    let reads = 0;
    await beforeEachRead(() => Promise.resolve(void reads++), async () => {
      await watched.write(begin ? "second" : "BAD");
      const end = begin ? watched.begin() : watched.look();
      await until(() => reads > 0, "it is read");
      // In most runs it settles from then on.
      await pause(100);
      watched.stop();
      await within(end, "its end");
    });
    assertEquals(watched.takes, begin ? [] : ["!BAD"]);
    assertEquals(watched.said, []);
    await watched.write("third");
    await watched.look();
    await within(watched.begin(), "an end at once");
    assertEquals(watched.takes.length, begin ? 0 : 1);
  }
});

Deno.test("WatchedFiles takes nothing in a look that waited when the signal aborts", async () => {
  const first = Promise.withResolvers<void>();
  const began = Promise.withResolvers<void>();
  await using watched = await watch({
    async judge(): Promise<undefined> {
      began.resolve();
      await first.promise;
    },
  });
  const end = watched.begin();
  await watched.write("second");
  await began.promise;
  await watched.write("third");
  const looking = watched.look();
  watched.stop();
  first.resolve();
  await within(Promise.all([looking, end]), "the end of all");
  assertEquals(watched.takes, ["second"]);
});
