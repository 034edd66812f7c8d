// A real PostgreSQL on loopback, with a cluster of its own, for as long as a test needs it.

import { freePort, startProgram, within } from "./mod.ts";
import { programPath } from "./needs.ts";
import { type Ran, run } from "./run.ts";
import type { Identity } from "./tls_peers.ts";

/** The programs that a cluster is made with and run by. */
export const POSTGRES: readonly string[] = [
  ...["initdb", "postgres", "psql"],
  ...(Deno.uid() === 0 ? ["setpriv"] : []),
];

/** A PostgreSQL at work; its user and its database are called `postgres`, without a password. */
export interface Postgres extends AsyncDisposable {
  /** Where it listens at 127.0.0.1. */
  readonly port: number;
  /** What it has logged. */
  readonly log: string;
}

/** Options for {@linkcode startPostgres}. */
export interface StartPostgresOptions {
  /** Who it is and whose clients it trusts; it has no TLS unless given. */
  readonly who?: Identity;
  /** Whether clients without TLS, or without a certificate of that CA, are turned away. */
  readonly isStrict?: boolean;
}

/** Makes a cluster, starts it and waits until it accepts. */
export async function startPostgres(
  { who, isStrict = false }: StartPostgresOptions = {},
): Promise<Postgres> {
  await using started = new AsyncDisposableStack();
  const folder = await Deno.makeTempDir();
  started.defer(() => Deno.remove(folder, { recursive: true }));
  const user = await unprivileged(folder);
  const data = `${folder}/data`;
  const port = freePort();
  const [initdb = "", ...as] = [...user, programPath("initdb")];
  const flags = ["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C"];
  const made = await run(initdb, [...as, "-D", data, "--no-sync", "--no-instructions", ...flags]);
  if (made.code !== 0) throw new Error(`initdb: ${made.code}\n${made.stderr}`);
  const settings = [
    "listen_addresses=127.0.0.1",
    `port=${port}`,
    "unix_socket_directories=",
    "fsync=off",
    "max_connections=20",
    "shared_buffers=2MB",
    "log_connections=on",
    ...(who === undefined ? [] : await tlsSettings(who, folder)),
  ];
  if (isStrict) {
    const rules = "hostssl all all all trust clientcert=verify-ca\n";
    await Deno.writeTextFile(`${data}/pg_hba.conf`, rules);
  }
  const postgres = startProgram(["-D", data, ...settings.flatMap((setting) => ["-c", setting])], {
    command: [...user, programPath("postgres")],
  });
  // Its children end with it only where it is asked to end.
  started.defer(async () => {
    postgres.kill("SIGQUIT");
    await within(postgres.status, "PostgreSQL to end");
  });
  await postgres.line(/database system is ready to accept connections/);
  const running = started.move();
  return {
    port,
    get log(): string {
      return postgres.stderr;
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** PostgreSQL reads a key only if nobody else can. */
async function tlsSettings(who: Identity, folder: string): Promise<string[]> {
  const { uid, gid } = await Deno.stat(folder);
  const files = { cert: who.certPath, key: who.keyPath, ca: who.caPath };
  const settings = ["ssl=on"];
  for (const [name, from] of Object.entries(files)) {
    const path = `${folder}/${name}.pem`;
    await Deno.copyFile(from, path);
    await Deno.chmod(path, 0o600);
    await Deno.chown(path, uid, gid);
    settings.push(`ssl_${name}_file=${path}`);
  }
  return settings;
}

/** It refuses to run as root: what starts a program as somebody else, to whom the folder then belongs. */
async function unprivileged(folder: string): Promise<string[]> {
  if (Deno.uid() !== 0) return [];
  const names = (await Deno.readTextFile("/etc/passwd")).split("\n").map((line) => line.split(":"));
  const found = names.find(([name]) => name === "postgres") ??
    names.find(([name]) => name === "nobody");
  if (found === undefined) throw new Error("no user but root");
  const [, , uid = "", gid = ""] = found;
  await Deno.chown(folder, Number(uid), Number(gid));
  return [programPath("setpriv"), `--reuid=${uid}`, `--regid=${gid}`, "--clear-groups"];
}

/** Asks a port of 127.0.0.1 by psql, whose further words for the connection are given. */
export async function psql(port: number, connection: string, query: string): Promise<Ran> {
  const where = `hostaddr=127.0.0.1 port=${port} user=postgres dbname=postgres connect_timeout=15`;
  return await run("psql", ["-X", "-A", "-t", "-q", "-d", `${where} ${connection}`, "-c", query]);
}
