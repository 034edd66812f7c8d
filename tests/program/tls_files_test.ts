// Certificates, keys and trust that are replaced while the real program runs.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { X509Certificate } from "node:crypto";
import tls from "node:tls";
import { createCa, type Issued, type RootCa } from "../helpers/certificates.ts";
import {
  freePort,
  type Program,
  programCommand,
  readExactly,
  runProgram,
  startEcho,
  startProgram,
  until,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { LINUX, needs, PROGRAM_TLS, programPath, UNIX } from "../helpers/needs.ts";
import { linesOf } from "../helpers/process.ts";

/** Less than it takes until the program looks at its files by itself. */
const AT_ONCE_MS = 5000;

const NEEDS = needs(UNIX, "openssl", PROGRAM_TLS);

/** The program with a route that listens by TLS, and the files that it was told of. */
interface Rotating {
  readonly program: Program;
  /** Where it listens. */
  readonly port: number;
  /** Where its status page is. */
  readonly status: string;
  /** Where the certificate, the key and the CA lie. */
  readonly paths: { readonly cert: string; readonly key: string; readonly ca: string };
}

/** Starts it with files in the way of Kubernetes: `tls.crt` → `..data/tls.crt` → `..1/tls.crt`. */
async function startRotating(
  { directory, pem }: RootCa,
  { own, target }: { readonly own: Issued; readonly target: Deno.NetAddr },
): Promise<Rotating> {
  const folder = await Deno.makeTempDir({ dir: directory });
  const paths = { cert: `${folder}/tls.crt`, key: `${folder}/tls.key`, ca: `${folder}/ca.crt` };
  await writeFolder(`${folder}/..1`, own, pem);
  await Deno.symlink("..1", `${folder}/..data`);
  for (const name of ["tls.crt", "tls.key", "ca.crt"]) {
    await Deno.symlink(`..data/${name}`, `${folder}/${name}`);
  }
  const port = freePort();
  const status = `127.0.0.1:${freePort()}`;
  const program = startProgram([`127.0.0.1:${port}/tls=127.0.0.1:${target.port}`], {
    env: {
      AMBASSADOR_TLS_CERT: paths.cert,
      AMBASSADOR_TLS_KEY: paths.key,
      AMBASSADOR_TLS_CA: paths.ca,
      AMBASSADOR_STATUS: status,
    },
  });
  await program.line(/ ready /);
  return { program, port, status, paths };
}

async function writeFolder(folder: string, { cert, key }: Issued, ca: string): Promise<void> {
  await Deno.mkdir(folder);
  await Deno.writeTextFile(`${folder}/tls.crt`, cert);
  await Deno.writeTextFile(`${folder}/tls.key`, key);
  await Deno.writeTextFile(`${folder}/ca.crt`, ca);
}

/** Writes a file of its own and renames it to that path. */
async function renameOver(path: string, text: string): Promise<void> {
  await Deno.writeTextFile(`${path}.new`, text);
  await Deno.rename(`${path}.new`, path);
}

/** A client that has shaken hands. */
interface Client extends Disposable {
  /** The name in the certificate that it was shown. */
  readonly peer: string;
  /** Sends a text that comes back. */
  echo(text: string): Promise<void>;
}

/** Connects; rejects where it is not served. */
async function connect(
  port: number,
  { ca, own }: { readonly ca: string; readonly own: Issued },
): Promise<Client> {
  const socket = tls.connect({ port, host: "127.0.0.1", servername: "localhost", ca, ...own });
  const failed = Promise.withResolvers<never>();
  // Nobody waits for it between two steps.
  failed.promise.catch(() => {});
  socket.on("error", failed.reject);
  socket.on("close", () => failed.reject(new Error("closed")));
  let text = "";
  socket.setEncoding("utf8");
  socket.on("data", (more: string) => void (text += more));
  const client = {
    peer: "",
    async echo(sent: string): Promise<void> {
      text = "";
      socket.write(sent);
      const back = until(() => text === sent, `${sent} comes back`);
      await Promise.race([back, failed.promise]);
    },
    [Symbol.dispose]: (): void => void socket.destroy(),
  };
  try {
    const { promise, resolve } = Promise.withResolvers<void>();
    socket.once("secureConnect", resolve);
    await within(Promise.race([promise, failed.promise]), "a handshake");
    // With TLS 1.3 a client is refused only after that.
    await client.echo("hello");
    return { ...client, peer: String(socket.getPeerCertificate().subject.CN) };
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

async function isRefused(port: number, who: Parameters<typeof connect>[1]): Promise<boolean> {
  try {
    using _client = await connect(port, who);
    return false;
  } catch {
    return true;
  }
}

/** The moment, in seconds since 1970, that the metrics say. */
async function expiryOf(status: string): Promise<number> {
  const response = await fetch(`http://${status}/metrics`);
  const name = "ambassador_tls_certificate_expiry_timestamp_seconds";
  return Number(new RegExp(`^${name} (.*)$`, "m").exec(await response.text())?.[1]);
}

function endOf({ cert }: Issued): number {
  return Date.parse(new X509Certificate(cert).validTo) / 1000;
}

Deno.test({
  name: "SIGHUP makes the program take other certificates at once, for new connections alone",
  ...NEEDS,
}, async () => {
  using ca = await createCa();
  using other = await createCa({ name: "other CA" });
  await using upstream = startEcho();
  const own = await ca.issue({ dns: ["first", "localhost"], commonName: "first" });
  const second = await other.issue({
    dns: ["second", "localhost"],
    commonName: "second",
    days: 60,
  });
  const [old, young] = [
    { ca: ca.pem, own: await ca.issue() },
    { ca: other.pem, own: await other.issue() },
  ];
  const { program, port, status, paths } = await startRotating(ca, {
    own,
    target: upstream.address,
  });
  await using _program = program;
  using before = await connect(port, old);
  assertEquals(before.peer, "first");
  assert(await isRefused(port, young));
  assertEquals(await expiryOf(status), endOf(own));
  for (
    const [path, text] of [
      [paths.cert, second.cert],
      [paths.key, second.key],
      [paths.ca, other.pem],
    ] as const
  ) await renameOver(path, text);
  // Twice is not too much.
  program.kill("SIGHUP");
  program.kill("SIGHUP");
  const changed = program.line(
    / INFO {2}certificate_changed subject=second expires=\S+ files=\S+\n/,
  );
  await within(changed, "the new pair", AT_ONCE_MS);
  using after = await connect(port, young);
  assertEquals(after.peer, "second");
  assert(await isRefused(port, old));
  assertEquals(await expiryOf(status), endOf(second));
  // Who was there before is not asked again.
  await before.echo("still here");
  await after.echo("and here");
  assertEquals(linesOf(program, "certificate_changed").length, 1);
});

Deno.test({
  name:
    "the program says that new certificates can't be used, goes on with the old, and says that they are mended",
  ...NEEDS,
}, async () => {
  using ca = await createCa();
  await using upstream = startEcho();
  const [own, client] = [
    await ca.issue({ dns: ["first", "localhost"], commonName: "first" }),
    await ca.issue(),
  ];
  const second = await ca.issue({ dns: ["second", "localhost"], commonName: "second" });
  const { program, port, status, paths } = await startRotating(ca, {
    own,
    target: upstream.address,
  });
  await using _program = program;
  await Deno.writeTextFile(paths.key, second.key);
  program.kill("SIGHUP");
  const said = program.line(/^.* ERROR certificate_changed .*$/m);
  const [line] = await within(said, "the error", AT_ONCE_MS);
  assertMatch(line, /TLS_KEY .*tls\.key\\": it is not the key of the certificate" hint=/);
  assert(!program.stderr.includes("-----BEGIN"), program.stderr);
  // Silence would be taken for a yes.
  program.kill("SIGHUP");
  await until(() => linesOf(program, "certificate_changed").length === 2, "it is said again");
  using before = await connect(port, { ca: ca.pem, own: client });
  assertEquals(before.peer, "first");
  assertEquals(await expiryOf(status), endOf(own));
  await Deno.writeTextFile(paths.cert, second.cert);
  program.kill("SIGHUP");
  await program.line(/ INFO {2}certificate_changed subject=second /);
  using after = await connect(port, { ca: ca.pem, own: client });
  assertEquals(after.peer, "second");
  assertEquals(linesOf(program, "certificate_changed").length, 3);
});

Deno.test({
  name:
    "the program takes a folder that is swapped as Kubernetes does, within ten seconds and unasked",
  ...NEEDS,
}, async () => {
  using ca = await createCa();
  await using upstream = startEcho();
  const [own, client] = [await ca.issue({ dns: ["localhost"] }), await ca.issue()];
  const second = await ca.issue({ dns: ["second", "localhost"], commonName: "second" });
  const { program, port, status, paths } = await startRotating(ca, {
    own,
    target: upstream.address,
  });
  await using _program = program;
  const folder = paths.cert.replace(/\/[^/]*$/, "");
  await writeFolder(`${folder}/..2`, second, ca.pem);
  await Deno.symlink("..2", `${folder}/..data_tmp`);
  await Deno.rename(`${folder}/..data_tmp`, `${folder}/..data`);
  await Deno.remove(`${folder}/..1`, { recursive: true });
  await within(program.line(/ certificate_changed subject=second /), "the new pair", 15_000);
  using after = await connect(port, { ca: ca.pem, own: client });
  assertEquals(after.peer, "second");
  assertEquals(await expiryOf(status), endOf(second));
  assertEquals(linesOf(program, "certificate_changed").length, 1);
});

Deno.test({
  name: "the program starts with a certificate that has expired, and says so",
  ...NEEDS,
}, async () => {
  using ca = await createCa();
  await using upstream = startEcho();
  const own = await ca.issue({ notBefore: new Date(0), notAfter: new Date(1e12) });
  const { program, status, paths } = await startRotating(ca, { own, target: upstream.address });
  await using _program = program;
  assertMatch(
    program.stderr,
    / ERROR warning reason="[^\n]*the certificate of test has expired, on 2001-09-09T01:46:40Z"\n/,
  );
  assertEquals(await expiryOf(status), 1e9);
  const env = {
    AMBASSADOR_TLS_CERT: paths.cert,
    AMBASSADOR_TLS_KEY: paths.key,
    AMBASSADOR_TLS_CA: paths.ca,
  };
  const { code, stderr } = await runProgram(["check", "1/tls=127.0.0.1:2"], { env });
  assertEquals(code, 0);
  assertMatch(stderr, /^ambassador: .*: the certificate of test has expired, on 2001-.*\n/m);
});

Deno.test({
  name: "SIGHUP ends a program on a terminal whose certificates are in variables, not in files",
  ...needs(LINUX, "openssl", "script", PROGRAM_TLS),
}, async () => {
  using ca = await createCa();
  const route = `127.0.0.1:${freePort()}=tls://127.0.0.1:${freePort()}`;
  const run = `${programCommand().join(" ")} ${route} & echo pid=$!.; wait $!; echo status=$?.`;
  for (const [source, isFile] of [[ca.pem, false], [ca.path, true]] as const) {
    await using program = startProgram([], {
      env: { AMBASSADOR_TLS_CA: source },
      command: [programPath("script"), "-qec", run, "/dev/null"],
    });
    const [, pid] = await program.output(/pid=(\d+)\./);
    await program.output(/ ready /);
    Deno.kill(Number(pid), "SIGHUP");
    // Where it looks at files, it is still there to be stopped.
    if (isFile) Deno.kill(Number(pid), "SIGTERM");
    const [, status] = await program.output(/status=(\d+)\./);
    assertEquals([isFile, status], [isFile, isFile ? "0" : "129"]);
  }
});

Deno.test({
  name: "SIGHUP reloads also where the program was started with nohup",
  ...NEEDS,
}, async () => {
  using ca = await createCa();
  using other = await createCa({ name: "other CA" });
  await using upstream = startEcho();
  const port = freePort();
  await using program = startProgram([
    `127.0.0.1:${port}=127.0.0.1:${upstream.address.port},tls://127.0.0.1:1`,
  ], {
    env: { AMBASSADOR_TLS_CA: ca.path },
    command: ["sh", "-c", 'trap "" HUP; exec "$0" "$@"', ...programCommand()],
  });
  await program.line(/ ready /);
  using client = await Deno.connect({ port });
  await writeAll(client, "x");
  await readExactly(client, 1);
  await Deno.writeTextFile(ca.path, other.pem);
  program.kill("SIGHUP");
  await within(program.line(/ certificate_changed files=\S+\n/), "the new CA", AT_ONCE_MS);
  await writeAll(client, "y");
  assertEquals(await readExactly(client, 1), "y");
});
