// What docs/tls.md tells people to do, done as it stands there: its shell lines make certificates that
// OpenSSL takes, and two ambassadors that get its files and variables, and nothing else, carry bytes.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { parseCommand } from "../../src/config/command_line.ts";
import { parsePem } from "../../src/config/pem.ts";
import { formatTargets } from "../../src/base/address.ts";
import {
  freePort,
  readText,
  ROOT,
  startEcho,
  startProgram,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { needs, PROGRAM_TLS, programPath, UNIX } from "../helpers/needs.ts";
import { parseYaml, type YamlMap } from "../helpers/yaml.ts";

const GUIDE = Deno.readTextFileSync(new URL("docs/tls.md", ROOT));

/** The block of the guide that begins like this, without its indentation. */
function block(start: string): string {
  const at = GUIDE.indexOf(`\n\n    ${start}`);
  assert(at >= 0, `docs/tls.md has no block that begins with ${start}`);
  const lines = GUIDE.slice(at + 2).split("\n");
  const end = lines.findIndex((line) => line !== "" && !line.startsWith("    "));
  return lines.slice(0, end).map((line) => line.slice(4)).join("\n").trimEnd() + "\n";
}

/** The lines `NAME=VALUE` of a block. */
function variablesOf(start: string): Record<string, string> {
  const lines = block(start).trimEnd().split("\n");
  return Object.fromEntries(lines.map((line) => {
    const [name = ""] = line.split("=");
    return [name, line.slice(name.length + 1)];
  }));
}

/** What a shell prints, in a folder. */
async function shell(script: string, folder: string): Promise<string> {
  const command = new Deno.Command(programPath("bash"), {
    // As a person has it, whatever the machine of the test has.
    args: ["-c", `umask 022; set -e; ${script}`],
    cwd: folder,
  });
  const { code, stdout, stderr } = await within(command.output(), "the shell");
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
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
    const service = moved("REDIS_PORT_6380_TLS=", made.folder, {
      listen: farPort,
      from: "redis:6379",
      to: `127.0.0.1:${echo.address.port}`,
    });
    const consumer = moved("REDIS_PORT_6379_TCP=", made.folder, {
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

Deno.test("docs/tls.md puts PEM into variables in ways that are understood", SHELL, async () => {
  await using made = await runGuide();
  const pem = await Deno.readTextFile(`${made.folder}/ca.pem`);
  const lines = block("AMBASSADOR_TLS_CA=").trimEnd().split("\n");
  assertEquals(lines.length, 3);
  const values = new Set<string>();
  for (const line of lines) {
    const value = await shell(`${line}\nprintf %s "$AMBASSADOR_TLS_CA"`, made.folder);
    values.add(value);
    const source = parsePem(value, "AMBASSADOR_TLS_CA");
    assertEquals("pem" in source ? source.pem.trimEnd() : source.path, pem.trimEnd(), line);
  }
  assertEquals(values.size, 3);
});

Deno.test("docs/tls.md gives a pod settings that are understood, and mounts what they name", () => {
  const [pod] = parseYaml(block("spec:\n      enableServiceLinks: false")) as YamlMap[];
  const [certificate] = parseYaml(block("apiVersion: cert-manager.io/v1")) as YamlMap[];
  const spec = pod?.["spec"] as YamlMap;
  const [container] = spec["containers"] as YamlMap[];
  const env = (container?.["env"] as YamlMap[]).map(({ name, value }) => [name, value]);
  const { routes, warnings, options } = parseCommand([], Object.fromEntries(env));
  assertEquals(warnings, []);
  assertEquals(routes.map(({ targets }) => formatTargets(targets)), [
    "tls://big-server.example.com:6380",
  ]);
  const [mount] = container?.["volumeMounts"] as YamlMap[];
  const [volume] = spec["volumes"] as YamlMap[];
  const { secretName } = volume?.["secret"] as YamlMap;
  assertEquals(mount?.["name"], volume?.["name"] ?? null);
  assertEquals(secretName, (certificate?.["spec"] as YamlMap)["secretName"] ?? null);
  const paths = ["tls.crt", "tls.key", "ca.crt"].map((name) => `${mount?.["mountPath"]}/${name}`);
  const { tlsCert, tlsKey, tlsCa } = options;
  const named = [tlsCert, tlsKey, tlsCa].map((source) =>
    source !== undefined && "path" in source ? source.path : undefined
  );
  assertEquals(named, paths);
});

Deno.test("docs/tls.md gives PostgreSQL's line in words that are understood", () => {
  const { routes } = parseCommand([], variablesOf("DB_PORT_5432_TCP="));
  assertEquals(routes.map(({ settings }) => settings.starttls), ["postgres"]);
});

Deno.test("docs/tls.md explains refusals in the words of the program", () => {
  const sources = [...Deno.readDirSync(new URL("src/net", ROOT))]
    .map(({ name }) => Deno.readTextFileSync(new URL(`src/net/${name}`, ROOT))).join("\n");
  const words = [...GUIDE.matchAll(/^\| `([^`]+)` /gm)].map(([, text = ""]) => text);
  assert(words.length > 8);
  for (const text of words) {
    const [start = ""] = text.split(/ ?"/);
    assertStringIncludes(sources, start, `docs/tls.md: nothing says "${text}"`);
  }
});

Deno.test("docs/tls.md has an alert that Prometheus takes", needs("promtool"), async () => {
  const rules = `groups:\n- name: tls\n  rules:\n${block("- alert:").replaceAll(/^/gm, "  ")}`;
  const file = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(file, rules);
    const args = ["check", "rules", file];
    const { code, stdout, stderr } = await within(
      new Deno.Command(programPath("promtool"), { args }).output(),
      "promtool",
    );
    const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    assertEquals(code, 0, said);
    assertStringIncludes(said, "1 rules found");
  } finally {
    await Deno.remove(file);
  }
});
