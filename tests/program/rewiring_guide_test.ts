// What docs/rewiring.md tells people to do, done as it stands there: its shell lines write and check a
// file of routes, the program takes it, and its log has the lines that the guide shows.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { parseCommand } from "../../src/config/command_line.ts";
import { formatTargets } from "../../src/base/address.ts";
import { createCa } from "../helpers/certificates.ts";
import {
  freePort,
  type Program,
  programCommand,
  readExactly,
  startEcho,
  startProgram,
  startUpstream,
  type Upstream,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { type DockerRun, readDockerRun, readGuide, shell } from "../helpers/guide.ts";
import { commandsOf } from "../helpers/markdown.ts";
import { needs, PROGRAM_TLS, UNIX } from "../helpers/needs.ts";
import { linesOf } from "../helpers/process.ts";
import { sClient } from "../helpers/tls.ts";

const GUIDE = readGuide("docs/rewiring.md");

const NEEDS = needs(UNIX, "bash");

/** How long a change may take to be noticed, as the guide says it. */
const NOTICED_MS = 5000;

/** A server that answers everything with its name, one letter long. */
function startNamed(name: string): Upstream {
  return startUpstream(async (conn) => {
    const buffer = new Uint8Array(64);
    while (await conn.read(buffer) !== null) await writeAll(conn, name);
  });
}

/** The guide's place, moved to a folder and ports of the test. */
interface Place extends AsyncDisposable {
  readonly folder: string;
  /** Where the guide's route listens. */
  readonly port: number;
  readonly old: Upstream;
  readonly new: Upstream;
  /** A text of the guide with the folder, the addresses and the ports of the test. */
  moved(text: string): string;
  /** Runs a block of the guide; `docker` is {@linkcode DOCKER}. */
  run(block: string): Promise<string>;
}

/**
 * Stands for docker: of `run` it notes the words, and what `exec` starts in the container it starts
 * here, with the variables of the container.
 */
const DOCKER = `docker() {
  case $1 in
    run) printf '%s\\n' "$@" > docker-run ;;
    exec) shift 3; env $CONTAINER_ENV "\${PROGRAM[@]}" "$@" ;;
    kill) kill -s "$3" "$CONTAINER_PID" ;;
    *) return 1 ;;
  esac
}`;

async function startPlace(): Promise<Place> {
  // Not the path of a link: on macOS /tmp is one, and the shell says where it is.
  const folder = await Deno.realPath(await Deno.makeTempDir());
  const [old, other] = [startNamed("o"), startNamed("n")];
  const port = freePort();
  const moved = (text: string): string =>
    text.replaceAll("/etc/ambassador", `${folder}/ambassador`)
      .replaceAll("[::]:6379", `127.0.0.1:${port}`)
      .replaceAll("_PORT_6379_", `_PORT_${port}_`)
      .replaceAll("192.0.2.10:6379", `127.0.0.1:${old.address.port}`)
      .replaceAll("192.0.2.20:6379", `127.0.0.1:${other.address.port}`);
  const words = programCommand().map((word) => `'${word.replaceAll("'", `'\\''`)}'`);
  return {
    folder,
    port,
    old,
    new: other,
    moved,
    run: (block) => shell(`PROGRAM=(${words.join(" ")})\n${DOCKER}\n${moved(block)}`, folder),
    async [Symbol.asyncDispose](): Promise<void> {
      await old[Symbol.asyncDispose]();
      await other[Symbol.asyncDispose]();
      await Deno.remove(folder, { recursive: true });
    },
  };
}

const FIRST = GUIDE.block("mkdir ambassador");
const CHECK = GUIDE.block("echo REDIS_PORT_6379_TCP=tcp://192.0.2.20");
const RENAME = GUIDE.block("mv ambassador/routes.new");

/** Does what the guide does first, and starts what it starts. */
async function startGuide(place: Place): Promise<{ program: Program; run: DockerRun }> {
  await place.run(FIRST);
  const words = (await Deno.readTextFile(`${place.folder}/docker-run`)).trimEnd().split("\n");
  const run = readDockerRun(words);
  assert(run !== undefined);
  const program = startProgram(run.args, { env: { ...run.env, AMBASSADOR_BIND: "127.0.0.1" } });
  await program.line(/ ready /);
  return { program, run };
}

async function connect({ port }: Place): Promise<Deno.TcpConn> {
  return await Deno.connect({ hostname: "127.0.0.1", port });
}

/** Who answers a client now. */
async function ask(client: Deno.TcpConn): Promise<string> {
  await writeAll(client, "?");
  return await readExactly(client, 1);
}

async function askNew(place: Place): Promise<string> {
  using client = await connect(place);
  return await ask(client);
}

/** Log lines without their times. */
function timeless(lines: readonly string[]): string[] {
  return lines.filter((line) => line !== "").map((line) => line.replace(/^\S+Z /, ""));
}

Deno.test(
  "docs/rewiring.md mounts the folder that its lines make, and names a file in it",
  NEEDS,
  async () => {
    await using place = await startPlace();
    await place.run(FIRST);
    const words = (await Deno.readTextFile(`${place.folder}/docker-run`)).trimEnd().split("\n");
    const { env, args, published, volumes } = readDockerRun(words) ?? {};
    const mounted = `${place.folder}/ambassador`;
    assertEquals(volumes, [`${mounted}:${mounted}:ro`]);
    assertEquals(env, { AMBASSADOR_ROUTES: `${mounted}/routes` });
    assertEquals([args, published], [[], [6379]]);
    assertStringIncludes(FIRST, '-v "$PWD/ambassador:/etc/ambassador:ro"');
    // In a container another user reads it.
    assertEquals(((await Deno.stat(`${mounted}/routes`)).mode ?? 0) & 0o777, 0o644);
  },
);

Deno.test(
  "docs/rewiring.md sends new clients elsewhere, and its log has the lines of the program",
  NEEDS,
  async () => {
    await using place = await startPlace();
    const { program: started, run } = await startGuide(place);
    await using program = started;
    using before = await connect(place);
    assertEquals(await ask(before), "o");
    const said = program.stderr.length;
    const checked = await place.run(
      `CONTAINER_ENV='AMBASSADOR_BIND=127.0.0.1 AMBASSADOR_ROUTES=${
        run.env["AMBASSADOR_ROUTES"]
      }'\n${CHECK}${RENAME}`,
    );
    assertStringIncludes(checked, place.moved("192.0.2.20:6379"));
    await within(program.line(/ rewired /), "the change to be noticed", NOTICED_MS);
    assertEquals(await askNew(place), "n");
    assertEquals(await ask(before), "o");
    const shown = GUIDE.block("2026-11-22T18:20:00.000Z INFO  listening");
    assertEquals(
      timeless(program.stderr.slice(said).split("\n")),
      timeless(place.moved(shown).split("\n")),
    );
  },
);

Deno.test(
  "docs/rewiring.md has a file read by its reader before it is in force",
  NEEDS,
  async () => {
    await using place = await startPlace();
    await place.run(FIRST);
    /** What the guide's check prints of its file with another line in it, and then its exit status. */
    const check = (line: string): Promise<string> =>
      place.run(
        `set +e; CONTAINER_ENV=AMBASSADOR_BIND=127.0.0.1\n${
          CHECK.replace(/(?<=^echo ).*(?= >)/, line)
        }echo "status $?"`,
      );
    assertEquals(await check("REDIS_PORT_6379_TCP=192.0.2.20:6379"), "status 2\n");
    // What is misspelt is no error, so nothing may follow from the status alone.
    assertMatch(
      await check("REDIS_PORT_6379_TPC=tcp://192.0.2.20:6379"),
      /\nIGNORED .*\nREDIS_PORT_\d+_TPC .*\n\n0 routes, 1 variable ignored\nstatus 0\n$/,
    );
    assertStringIncludes(GUIDE.text, "under IGNORED");
    assertStringIncludes(
      await Deno.readTextFile(`${place.folder}/ambassador/routes`),
      place.moved("192.0.2.10:6379"),
    );
  },
);

Deno.test(
  "docs/rewiring.md shows what the log says of a file that is deleted",
  NEEDS,
  async () => {
    await using place = await startPlace();
    const { program: started } = await startGuide(place);
    await using program = started;
    const said = program.stderr.length;
    await Deno.remove(`${place.folder}/ambassador/routes`);
    await within(program.line(/ rewire_failed .*\n/), "the change to be noticed", NOTICED_MS);
    assertEquals(await askNew(place), "o");
    const shown = GUIDE.block("2026-11-22T18:20:00.000Z ERROR rewire_failed");
    assertEquals(
      timeless(program.stderr.slice(said).split("\n")),
      timeless(place.moved(shown).split("\n")),
    );
  },
);

Deno.test(
  "docs/rewiring.md names the signal by which a change is taken at once",
  NEEDS,
  async () => {
    await using place = await startPlace();
    const { program: started } = await startGuide(place);
    await using program = started;
    const [, signal = ""] = /`(docker kill -s \w+ redis-ambassador)`/.exec(GUIDE.text) ?? [];
    async function changeOften(): Promise<void> {
      for (const [index, host] of ["20", "10", "20", "10"].entries()) {
        const line = `REDIS_PORT_6379_TCP=tcp://192.0.2.${host}:6379\n`;
        await Deno.writeTextFile(`${place.folder}/ambassador/routes`, place.moved(line));
        await place.run(`CONTAINER_PID=${program.pid}; ${signal}`);
        await program.line(new RegExp(`(?: rewired .*[^]*){${index + 1}}`));
      }
    }
    // By itself the program takes none before it has stood still for a second.
    await within(changeOften(), "four changes to be taken at once", 4000);
  },
);

/** A line of a file of routes. */
function lineOf(alias: string, port: number, to: Upstream, kind = "TCP"): string {
  return `${alias}_PORT_${port}_${kind}=tcp://127.0.0.1:${to.address.port}`;
}

/** The program with a file of routes, and a way to give it others at once. */
async function startWired(
  place: Place,
  lines: readonly string[],
  env: Record<string, string> = {},
): Promise<{ program: Program; rewire(...lines: string[]): Promise<void> }> {
  const path = `${place.folder}/routes`;
  const write = (...routes: readonly string[]): Promise<void> =>
    Deno.writeTextFile(path, `${routes.join("\n")}\n`);
  await write(...lines);
  const program = startProgram([], {
    env: { AMBASSADOR_ROUTES: path, AMBASSADOR_BIND: "127.0.0.1", ...env },
  });
  await program.line(/ ready /);
  return {
    program,
    async rewire(...routes): Promise<void> {
      const count = linesOf(program, "rewired").length;
      await write(...routes);
      program.kill("SIGHUP");
      await program.line(new RegExp(`(?: rewired .*[^]*){${count + 1}}`));
    },
  };
}

Deno.test(
  "docs/rewiring.md says that one step is enough, and nobody is cut off",
  NEEDS,
  async () => {
    await using place = await startPlace();
    const [second, third] = [freePort(), freePort()];
    const lines = [lineOf("A", place.port, place.old), lineOf("B", second, place.new)];
    const { program: started, rewire } = await startWired(place, lines);
    await using program = started;
    using before = await connect(place);
    assertEquals(await ask(before), "o");
    // Two that swap their ports.
    await rewire(lineOf("A", second, place.old), lineOf("B", place.port, place.new));
    assertEquals(await askNew(place), "n");
    assertEquals(await askNew({ ...place, port: second }), "o");
    // An alias that moves to another port.
    await rewire(lineOf("A", third, place.old), lineOf("B", place.port, place.new));
    assertEquals(await askNew({ ...place, port: third }), "o");
    // A file without a route takes all away, and is warned of; one comes back.
    await rewire("# nothing");
    await program.line(/ WARN .*nothing to forward/);
    await rewire(lineOf("A", place.port, place.new));
    assertEquals(await askNew(place), "n");
    assertEquals(await ask(before), "o");
    assertEquals(linesOf(program, "rewire_failed"), []);
  },
);

Deno.test(
  "docs/rewiring.md says that a port changes to TLS in one step",
  needs(UNIX, "openssl", PROGRAM_TLS),
  async () => {
    using ca = await createCa();
    const { certPath, keyPath } = await ca.issue({ dns: ["localhost"] });
    await using place = await startPlace();
    await using echo = startEcho();
    const { program: started, rewire } = await startWired(
      place,
      [lineOf("A", place.port, place.old)],
      {
        AMBASSADOR_TLS_CERT: certPath,
        AMBASSADOR_TLS_KEY: keyPath,
        AMBASSADOR_TLS_CLIENT: "none",
      },
    );
    await using program = started;
    using before = await connect(place);
    assertEquals(await ask(before), "o");
    await rewire(lineOf("A", place.port, echo, "TLS"));
    const { isServed, output } = await sClient({ hostname: "127.0.0.1", port: place.port });
    assert(isServed, output);
    await rewire(lineOf("A", place.port, place.new));
    assertEquals(await askNew(place), "n");
    assertEquals(await ask(before), "o");
    assertEquals(linesOf(program, "rewire_failed"), []);
  },
);

Deno.test("docs/rewiring.md shows a file that is understood, and other ways that are too", () => {
  const text = GUIDE.block("# Lines as `docker run");
  const file = { path: "/etc/ambassador/routes", text, mayEverybodyWrite: false };
  const { routes, ignored, warnings } = parseCommand(["--routes", file.path], {}, file);
  assertEquals([ignored, warnings], [[], []]);
  assertEquals(routes.map(({ listen, targets }) => `${listen.port}=${formatTargets(targets)}`), [
    "5432=db-1.example.com:5432,db-2.example.com:5432",
    "6379=192.0.2.20:6379",
  ]);
  const restart = commandsOf({ text: GUIDE.block("docker stop redis") });
  const run = readDockerRun(restart.find(({ words: [, verb] }) => verb === "run")?.words ?? []);
  assertEquals(parseCommand([], run?.env ?? {}).routes.length, 1);
  const [name] = commandsOf({ text: GUIDE.block("REDIS_PORT_6379_TCP=tcp://redis.example.com") });
  assertEquals(parseCommand([], name?.env ?? {}).routes.length, 1);
});

Deno.test("docs/rewiring.md says what a file may not hold, and the program says so too", () => {
  const refuse = (text: string, args: readonly string[] = []): string => {
    const file = { path: "/etc/ambassador/routes", text, mayEverybodyWrite: false };
    try {
      parseCommand(["--routes", file.path, ...args], { B_PORT_2_TCP: "tcp://b:2" }, file);
    } catch (error) {
      return String(error);
    }
    return "";
  };
  assertEquals(refuse("A_PORT_1_TCP=tcp://a:1\n"), "");
  assertEquals(refuse("# no route\n"), "");
  assertEquals(refuse("B_PORT_2_TCP=\n"), "");
  assertMatch(refuse("AMBASSADOR_BIND=::1\n"), /line 1/);
  assertMatch(refuse("A_PORT_1_TCP\n"), /line 1/);
  assertMatch(refuse("A_PORT_1_TCP=tcp://a:1\nA_PORT_1_TCP=tcp://a:1\n"), /line 2/);
  assertMatch(refuse('A_PORT_1_TCP="tcp://a:1"\n'), /quotation marks/);
  assertMatch(refuse("A_PORT_1_TCP=tcp://a:1\n", ["3=c:3"]), /--routes/);
});
