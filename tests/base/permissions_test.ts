// What the real program may read, tried from within its own process.

import { assertEquals, assertMatch } from "@std/assert";
import { pathOf } from "../../build/sources.ts";
import { createCa } from "../helpers/certificates.ts";
import { freePort, programCommand, runProgram, startEcho, startProgram } from "../helpers/mod.ts";
import { needs, SOURCES, TLS, UNIX } from "../helpers/needs.ts";

const PROBE = pathOf("tests/helpers/read_probe.ts");

/** What can be read whatever way is tried: a file. */
const READABLE =
  "Deno.readTextFileSync Deno.readFileSync Deno.openSync fs.readFileSync fs.openSync";

/** Files that nobody has named: one of the system, one of the program's own, one of a process. */
const STRANGE = ["/etc/passwd", pathOf("main.ts"), "/proc/self/environ"];

/** The program with the probe in it, and with other permissions where they are given. */
function probed({ permissions = ["-P"], folder }: {
  readonly permissions?: readonly string[] | undefined;
  readonly folder?: string | undefined;
} = {}): string[] {
  const command = programCommand().flatMap((word) => word === "-P" ? permissions : word);
  command.splice(-1, 0, `--preload=${PROBE}`);
  return folder === undefined ? command : ["sh", "-c", 'cd "$0" && exec "$@"', folder, ...command];
}

/** What a probe found: the ways to read each file. */
function found(stdout: string, time = 1): Record<string, string> {
  const lines = stdout.matchAll(new RegExp(`^probe ${time}: (.*?): (.*)$`, "gm"));
  return Object.fromEntries([...lines].map(([, path = "", ways = ""]) => [path, ways]));
}

/** The same for each. */
function each(paths: readonly string[], ways: string): Record<string, string> {
  return Object.fromEntries(paths.map((path) => [path, ways]));
}

/** Runs a command to its end; gives its status, and what it could read when it ended. */
async function readBy(
  args: readonly string[],
  { files, permissions, folder, env = {} }: {
    readonly files: readonly string[];
    readonly permissions?: readonly string[];
    readonly folder?: string;
    readonly env?: Record<string, string>;
  },
): Promise<{ code: number; stderr: string; ways: Record<string, string> }> {
  const { code, stdout, stderr } = await runProgram(args, {
    env: { ...env, PROBED: files.join("\n") },
    command: probed({ permissions, folder }),
  });
  return { code, stderr, ways: found(stdout) };
}

Deno.test("keepReading() takes all reading from a program that names no file", {
  ...needs(SOURCES, UNIX),
}, async () => {
  await using up = startEcho();
  const { port } = up.address;
  const commands = [
    ["check", `1=127.0.0.1:${port}`],
    ["wait", `127.0.0.1:${port}`],
    ["healthcheck", "--status", `127.0.0.1:${freePort()}`],
  ];
  const files = [...STRANGE, pathOf("")];
  for (const args of commands) {
    const { code, ways } = await readBy(args, { files });
    assertEquals([args[0], code], [args[0], args[0] === "healthcheck" ? 1 : 0]);
    assertEquals(ways, each(files, ""));
  }
  await using program = startProgram([`127.0.0.1:${freePort()}=127.0.0.1:${port}`], {
    env: { PROBED: files.join("\n") },
    command: probed(),
  });
  await program.line(/ ready /);
  program.kill("SIGTERM");
  assertEquals((await program.status).code, 0);
  assertEquals(found(program.stdout), each(files, ""));
});

Deno.test("keepReading() leaves a program the files that its options name, and no others", {
  ...needs(SOURCES, UNIX, "openssl", TLS),
}, async () => {
  using ca = await createCa();
  const [own, other] = [await ca.issue({ dns: ["localhost"] }), await ca.issue()];
  const named = [own.certPath, own.keyPath, ca.path];
  const [cert = "", key = "", trust = ""] = named;
  const options = ["--tls-cert", cert, "--tls-key", key, "--tls-ca", trust];
  const others = [...STRANGE, other.keyPath, ca.own.keyPath, ca.directory];
  const files = [...named, ...others];
  const expected = { ...each(named, READABLE), ...each(others, "") };
  await using program = startProgram([...options, `127.0.0.1:${freePort()}/tls=127.0.0.1:1`], {
    env: { PROBED: files.join("\n") },
    command: probed(),
  });
  await program.line(/ ready /);
  program.kill("SIGUSR2");
  await program.output(new RegExp(`^probe 1: ${others.at(-1)}: `, "m"));
  assertEquals(found(program.stdout), expected);
  // Waiting, and checking, are no different.
  const check = await readBy(["check", ...options, "1/tls=127.0.0.1:2"], { files });
  assertEquals([check.code, check.ways], [0, expected]);
  const wait = ["wait", "--timeout", "50ms", "tls://127.0.0.1:1"];
  const waited = await readBy([...wait, ...options], { files });
  assertEquals([waited.code, waited.ways], [1, expected]);
  // A health check has no business with them, though the environment is that of the program.
  const env = { AMBASSADOR_TLS_CERT: cert, AMBASSADOR_TLS_KEY: key, AMBASSADOR_TLS_CA: trust };
  const asked = ["healthcheck", "--status", `127.0.0.1:${freePort()}`];
  const healthcheck = await readBy(asked, { files, env });
  assertEquals([healthcheck.code, healthcheck.ways], [1, each(files, "")]);
});

Deno.test(
  "keepReading() follows a symlink that is swapped later, and only from the name it was given",
  {
    ...needs(SOURCES, UNIX, "openssl", TLS),
  },
  async () => {
    using ca = await createCa();
    const [first, second] = [await ca.issue(), await ca.issue({ commonName: "second" })];
    const folder = `${ca.directory}/mounted`;
    for (const [name, { cert, key }] of [["..1", first], ["..2", second]] as const) {
      await Deno.mkdir(`${folder}/${name}`, { recursive: true });
      await Deno.writeTextFile(`${folder}/${name}/tls.crt`, cert);
      await Deno.writeTextFile(`${folder}/${name}/tls.key`, key);
    }
    await Deno.symlink("..1", `${folder}/..data`);
    for (const name of ["tls.crt", "tls.key"]) {
      await Deno.symlink(`..data/${name}`, `${folder}/${name}`);
    }
    const files = [`${folder}/tls.key`, `${folder}/..2/other`, `${folder}/..data`];
    await Deno.writeTextFile(`${folder}/..2/other`, "");
    const options = ["--tls-cert", `${folder}/tls.crt`, "--tls-key", `${folder}/tls.key`];
    const route = `127.0.0.1:${freePort()}/tls=127.0.0.1:1`;
    await using program = startProgram([...options, "--tls-ca", ca.path, route], {
      env: { PROBED: files.join("\n") },
      command: probed(),
    });
    await program.line(/ ready /);
    await Deno.symlink("..2", `${folder}/..data_tmp`);
    await Deno.rename(`${folder}/..data_tmp`, `${folder}/..data`);
    program.kill("SIGHUP");
    await program.line(/ certificate_changed subject=second /);
    program.kill("SIGUSR2");
    await program.output(/^probe 1: .*\/..data: /m);
    const [named = "", ...others] = files;
    assertEquals(found(program.stdout), { [named]: READABLE, ...each(others, "") });
  },
);

Deno.test("keepReading() understands paths that begin where the program was started", {
  ...needs(SOURCES, UNIX, "openssl", TLS),
}, async () => {
  using ca = await createCa();
  const { certPath, keyPath } = await ca.issue();
  const folder = ca.directory;
  const relative = (path: string): string => path.replace(`${folder}/`, "./");
  const env = { AMBASSADOR_TLS_CERT: relative(certPath), AMBASSADOR_TLS_KEY: relative(keyPath) };
  const files = [relative(certPath), keyPath, ca.path, `./${ca.path.split("/").at(-1)}`];
  const wait = ["wait", "--timeout", "50ms", "tls://127.0.0.1:1"];
  const { code, ways } = await readBy(wait, { files, env, folder });
  const [one = "", two = "", ...others] = files;
  assertEquals([code, ways], [1, { ...each([one, two], READABLE), ...each(others, "") }]);
});

Deno.test("keepReading() leaves what was allowed by its path, and asks for nothing more", {
  ...needs(SOURCES, UNIX, "openssl", TLS),
}, async () => {
  using ca = await createCa();
  const files = [ca.path, ca.own.keyPath];
  const wait = ["wait", "--timeout", "50ms", "--tls-ca", ca.path, "tls://127.0.0.1:1"];
  const permissions = ["--allow-net", "--allow-env", `--allow-read=${ca.path}`];
  const { code, ways } = await readBy(wait, { files, permissions });
  assertEquals([code, ways], [1, { [ca.path]: READABLE, [ca.own.keyPath]: "" }]);
});

Deno.test("ambassador works without the permission to read, but for the files of TLS", {
  ...needs(SOURCES, UNIX, TLS),
}, async () => {
  const permissions = ["--allow-net", "--allow-env"];
  await using up = startEcho();
  const target = `127.0.0.1:${up.address.port}`;
  for (const args of [["check", `1=${target}`], ["wait", target], ["wait", `tcp://${target}`]]) {
    const { code, ways } = await readBy(args, { files: STRANGE, permissions });
    assertEquals([code, ways], [0, each(STRANGE, "")]);
  }
  const options = ["--tls-ca", "/etc/ca.pem"];
  for (const args of [["check", "1=tls://192.0.2.1:2"], ["wait", "tls://192.0.2.1:2"]]) {
    const { code, stderr } = await readBy([...args, ...options], { files: STRANGE, permissions });
    assertEquals(code, 2);
    assertMatch(
      stderr,
      /^ambassador: -*tls-ca "\/etc\/ca.pem": Deno does not allow to read it\n {2}hint: run with .*--allow-read=\/\n$/,
    );
  }
  // Where no file is named, TLS needs none.
  const args = ["wait", "--timeout", "50ms", "tls://127.0.0.1:1"];
  const { code, stderr } = await readBy(args, { files: STRANGE, permissions });
  assertEquals(code, 1);
  assertMatch(
    stderr,
    /no connection within 50ms: tls:\/\/127\.0\.0\.1:1 \(connection refused\)\n$/,
  );
});
