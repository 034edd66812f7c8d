// What docs/tls.md tells people to do, done as it stands there: its shell lines make certificates that
// OpenSSL takes, and two ambassadors that get its files and variables, and nothing else, carry bytes.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { parseCommand } from "../../src/config/command_line.ts";
import { parsePem } from "../../src/config/pem.ts";
import { REFUSALS } from "../../src/net/tls_error.ts";
import {
  freePort,
  type Program,
  readText,
  ROOT,
  runProgram,
  startEcho,
  startProgram,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { readGuide, shell } from "../helpers/guide.ts";
import { commandsOf } from "../helpers/markdown.ts";
import { needs, PROGRAM_TLS, UNIX } from "../helpers/needs.ts";
import { parseYaml, type YamlMap } from "../helpers/yaml.ts";

const { text: GUIDE, block } = readGuide("docs/tls.md");

/** What a block exports to the ambassador that its last line starts. */
function variablesOf(start: string): Record<string, string> {
  const commands = commandsOf({ text: block(start).trimEnd() }).map(({ words }) => words);
  assertEquals(commands.pop(), ["ambassador"]);
  return Object.fromEntries(commands.map(([command, word = ""]) => {
    assertEquals(command, "export", word);
    const [name = ""] = word.split("=");
    return [name, word.slice(name.length + 1)];
  }));
}

/** A folder in which the shell lines of the guide have been run. */
async function runGuide(): Promise<AsyncDisposable & { readonly folder: string }> {
  const folder = await Deno.makeTempDir();
  await shell(block("openssl req -x509"), folder);
  return { folder, [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }) };
}

const SHELL = needs(UNIX, "bash", "openssl");

Deno.test("docs/tls.md shows examples/tls-certificates.sh as it is", () => {
  const script = Deno.readTextFileSync(new URL("examples/tls-certificates.sh", ROOT));
  assertEquals(script.replace(/^#.*\n/, ""), block("openssl req -x509"));
});

Deno.test("docs/tls.md makes certificates that OpenSSL takes in both roles", SHELL, async () => {
  await using made = await runGuide();
  for (const host of ["big-server", "consumer"]) {
    for (const purpose of ["sslserver", "sslclient"]) {
      const args = `-x509_strict -CAfile ca.pem -purpose ${purpose} -verify_hostname ${host}`;
      assertEquals(
        await shell(`openssl verify ${args} ${host}.pem`, made.folder),
        `${host}.pem: OK\n`,
      );
    }
  }
});

Deno.test("docs/tls.md makes keys that nobody else can read", SHELL, async () => {
  await using made = await runGuide();
  for (const name of ["ca", "big-server", "consumer"]) {
    const { mode } = await Deno.stat(`${made.folder}/${name}.key`);
    assertEquals((mode ?? 0) & 0o777, 0o600, name);
    // In a container they are read by another user.
    assertEquals(((await Deno.stat(`${made.folder}/${name}.pem`)).mode ?? 0) & 0o777, 0o644, name);
  }
});

/** The variables of the guide, where its files and hosts are those of the test. */
function moved(
  start: string,
  folder: string,
  { listen, from, to }: { listen: number; from: string; to: string },
): Record<string, string> {
  const variables = Object.entries(variablesOf(start)).map(([name, value]) => [
    name.replace(/_PORT_\d+_/, `_PORT_${listen}_`),
    value.replace("/etc/ambassador", folder).replace(from, to),
  ]);
  return { ...Object.fromEntries(variables), AMBASSADOR_BIND: "127.0.0.1" };
}

Deno.test(
  "docs/tls.md starts two ambassadors that carry bytes, by its files and variables alone",
  needs(UNIX, PROGRAM_TLS, "bash", "openssl"),
  async () => {
    await using made = await runGuide();
    await using echo = startEcho();
    const [farPort, nearPort] = [freePort(), freePort()];
    const service = moved("export REDIS_PORT_6380_TLS=", made.folder, {
      listen: farPort,
      from: "redis:6379",
      to: `127.0.0.1:${echo.address.port}`,
    });
    const consumer = moved("export REDIS_PORT_6379_TCP=", made.folder, {
      listen: nearPort,
      // The name is that of the certificate; where it leads to is up to the host.
      from: "big-server:6380",
      to: `127.0.0.1:${farPort}?tls-name=big-server`,
    });
    await using far = startProgram([], { env: service });
    await using near = startProgram([], { env: consumer });
    await far.line(/ ready /);
    await near.line(/ ready /);
    using client = await Deno.connect({ hostname: "127.0.0.1", port: nearPort });
    await writeAll(client, "PING");
    await client.closeWrite();
    assertEquals(await readText(client), "PING");
    for (const program of [near, far]) {
      program.kill("SIGTERM");
      const { code } = await within(program.status, "the end");
      assertEquals([code, program.stderr.includes("WARN")], [0, false], program.stderr);
    }
  },
);

/** An ambassador as on the guide's service host, but that any client may come; and its port. */
async function startService(
  folder: string,
  to: Deno.NetAddr,
): Promise<{ program: Program; port: number }> {
  const port = freePort();
  const { AMBASSADOR_TLS_CA, AMBASSADOR_TLS_ALLOW, ...env } = moved(
    "export REDIS_PORT_6380_TLS=",
    folder,
    { listen: port, from: "redis:6379", to: `127.0.0.1:${to.port}` },
  );
  assert(AMBASSADOR_TLS_CA !== undefined && AMBASSADOR_TLS_ALLOW !== undefined);
  const program = startProgram([], { env: { ...env, AMBASSADOR_TLS_CLIENT: "none" } });
  await program.line(/ ready /);
  return { program, port };
}

Deno.test(
  "docs/tls.md names variables that add CAs where there is no --tls-ca, and nowhere else",
  needs(UNIX, PROGRAM_TLS, "bash", "openssl"),
  async () => {
    await using made = await runGuide();
    await using other = await runGuide();
    await using echo = startEcho();
    const { program, port } = await startService(made.folder, echo.address);
    await using _program = program;
    const ca = `${made.folder}/ca.pem`;
    const additions = [
      { NODE_EXTRA_CA_CERTS: ca },
      { DENO_CERT: ca },
      { DENO_TLS_CA_STORE: "system", SSL_CERT_FILE: ca },
    ];
    const wait = (timeout: string, env: Record<string, string>): ReturnType<typeof runProgram> =>
      runProgram(
        ["wait", "--timeout", timeout, "--tls-name", "big-server", `tls://127.0.0.1:${port}`],
        { env },
      );
    for (const addition of additions) {
      for (const name of Object.keys(addition)) assertStringIncludes(GUIDE, `\`${name}`);
      const trusting = await wait("10s", addition);
      assertEquals(trusting.code, 0, `${JSON.stringify(addition)}: ${trusting.stderr}`);
      const own = { ...addition, AMBASSADOR_TLS_CA: `${other.folder}/ca.pem` };
      const refusing = await wait("1500ms", own);
      assertEquals(refusing.code, 1, JSON.stringify(addition));
      assertStringIncludes(refusing.stderr, "signed by an unknown authority");
    }
  },
);

Deno.test(
  "docs/tls.md says that no application protocol is negotiated, and none is",
  needs(UNIX, PROGRAM_TLS, "bash", "openssl"),
  async () => {
    assertStringIncludes(GUIDE, "No application protocol is negotiated");
    await using made = await runGuide();
    await using echo = startEcho();
    const { program, port } = await startService(made.folder, echo.address);
    await using _program = program;
    for (const version of ["-tls1_2", "-tls1_3"]) {
      const client = `openssl s_client -connect 127.0.0.1:${port} -CAfile ca.pem`;
      const said = await shell(
        `${client} -verify_return_error ${version} -alpn h2,http/1.1 < /dev/null`,
        made.folder,
      );
      assertStringIncludes(said, "No ALPN negotiated");
      assertStringIncludes(said, "Verify return code: 0 (ok)");
    }
  },
);

Deno.test("docs/tls.md puts PEM into variables in ways that are understood", SHELL, async () => {
  await using made = await runGuide();
  const pem = await Deno.readTextFile(`${made.folder}/ca.pem`);
  const lines = block("export AMBASSADOR_TLS_CA=").trimEnd().split("\n");
  assertEquals(lines.length, 3);
  const values = new Set<string>();
  for (const line of lines) {
    // Into a file for --env-file, which has a variable on each line, or into the environment.
    const name = "AMBASSADOR_TLS_CA";
    const show = line.endsWith(" >> env")
      ? `[ $(wc -l < env) = 1 ] && sed s/^${name}=// env && rm env`
      : `printenv ${name}`;
    const value = (await shell(`${line}\n${show}`, made.folder)).trimEnd();
    values.add(value);
    const source = parsePem(value, "AMBASSADOR_TLS_CA");
    assertEquals("pem" in source ? source.pem.trimEnd() : source.path, pem.trimEnd(), line);
  }
  assertEquals(values.size, 3);
});

Deno.test("docs/tls.md asks cert-manager for the secrets that the examples mount", () => {
  const [certificate] = parseYaml(block("apiVersion: cert-manager.io/v1")) as YamlMap[];
  const { secretName } = certificate?.["spec"] as YamlMap;
  for (const [side, name] of [["consumer", secretName], ["service", "redis-tls"]]) {
    const pod = Deno.readTextFileSync(new URL(`examples/kubernetes-tls-${side}.yaml`, ROOT));
    assertStringIncludes(pod, `secretName: ${name}\n`);
    assertStringIncludes(GUIDE, `${name}`);
  }
});

Deno.test("docs/tls.md gives PostgreSQL's line in words that are understood", () => {
  const [{ env } = { env: {} }] = commandsOf({ text: block("DB_PORT_5432_TCP=") });
  const { routes } = parseCommand([], env);
  assertEquals(routes.map(({ settings }) => settings.starttls), ["postgres"]);
});

/** What the tables of the guide say that the log says: every text in code in a first column. */
const PHRASES = [...GUIDE.matchAll(/^\| (`[^|]+`) +\|/gm)].flatMap(([, cell = ""]) =>
  [...cell.matchAll(/`([^`]+)`/g)].map(([, phrase = ""]) => phrase)
);

function sourceOf(path: string): string {
  return Deno.readTextFileSync(new URL(path, ROOT));
}

/** What the program says of alerts; the table is its own. */
function alerts(): string[] {
  const [, table = ""] = /\nconst ALERTS.*? = \{\n(.*?)\n\};/s.exec(
    sourceOf("src/net/tls_words.ts"),
  ) ?? [];
  return table.split("\n").map((line) => {
    const [, words] = /^ +\w+: "(.+)",$/.exec(line) ?? [];
    assert(words !== undefined, `no words in: ${line}`);
    return words;
  });
}

Deno.test("docs/tls.md explains every refusal and every alert", () => {
  const said = [...Object.values(REFUSALS), ...alerts()];
  assert(said.length > 35);
  const unexplained = said.filter((text) => !PHRASES.some((phrase) => text.startsWith(phrase)));
  assertEquals(unexplained, []);
});

Deno.test("docs/tls.md explains refusals in the words of the program", () => {
  const files = [...Deno.readDirSync(new URL("src/net", ROOT))].map(({ name }) =>
    `src/net/${name}`
  );
  // Of what is put together from pieces, the test that sees it whole has the words.
  files.push("tests/program/tls_handshakes_test.ts");
  const sources = files.map(sourceOf).join("\n");
  assert(PHRASES.length > 30);
  for (const phrase of PHRASES) {
    const [start = ""] = phrase.split(/ ?["…]/);
    assertStringIncludes(sources, start, `docs/tls.md: nothing says "${phrase}"`);
  }
});
