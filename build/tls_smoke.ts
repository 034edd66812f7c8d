// A smoke test of TLS for what is about to be released: two ambassadors in a row, a client, and
// strangers that have to be kept out. It knows of the program no more than its variables and its log,
// so it runs on an executable as on the sources.

import { pathOf } from "./sources.ts";

/** Limit for each step, in milliseconds. */
const LIMIT_MS = 30_000;

/** How much the client sends, and gets back, in bytes. */
const SIZE = 1_000_000;

/** What the upstream says once the client has finished sending. */
const LAST_WORDS = "that was all";

/** What everybody sends who wants to be let in. */
const WORDS = "let me in";

const LOOPBACK = "127.0.0.1";

/**
 * Runs the smoke test on a program.
 *
 * @param command The program and its first arguments.
 * @returns what holds, in a line
 * @throws {Error} saying what does not, with what the ambassadors have logged
 */
export async function smokeTls(command: readonly string[]): Promise<string> {
  await using started = new AsyncDisposableStack();
  const ours = started.use(await makeCertificates());
  const theirs = started.use(await makeCertificates());
  const upstream = started.use(startUpstream());
  // For what is refused only once the far side has let it in: that is no client of the upstream.
  const decoy = started.use(startUpstream());
  const ports = freePorts();
  const far = started.use(
    startAmbassador("far", command, {
      ...variablesOf(ours.folder, "big-server"),
      AMBASSADOR_TLS_ALLOW: "consumer",
      [`ECHO_PORT_${ports.far}_TLS`]: `tcp://${LOOPBACK}:${upstream.port}`,
      [`DECOY_PORT_${ports.farDecoy}_TLS`]: `tcp://${LOOPBACK}:${decoy.port}`,
    }),
  );
  const near = started.use(
    startAmbassador("near", command, {
      ...variablesOf(ours.folder, "consumer"),
      [`ECHO_PORT_${ports.near}_TCP`]: `tls://${LOOPBACK}:${ports.far}?tls-name=big-server`,
      [`DECOY_PORT_${ports.nearDecoy}_TCP`]: `tls://${LOOPBACK}:${ports.farDecoy}?tls-name=other`,
    }),
  );
  try {
    await far.ready();
    await near.ready();
    await exchange(ports.near);
    check(!await isAnswered(ports.nearDecoy), "an upstream with another name was trusted");

    const who = { port: ports.far, ca: `${ours.folder}/ca.pem` };
    const [consumer, server, stranger] = [
      identityOf(ours.folder, "consumer"),
      identityOf(ours.folder, "big-server"),
      identityOf(theirs.folder, "consumer"),
    ];
    // Who may come is let in: so the others are not kept out by something else.
    check(await isLetIn(who, consumer), "a client with a good certificate was refused");
    check(!await isLetIn(who, []), "a client without a certificate was let in");
    check(!await isLetIn(who, stranger), "a client of another CA was let in");
    check(!await isLetIn(who, server), "a client with a name that is not allowed was let in");

    await near.stop();
    await far.stop();
    // Nothing is under way any more that could still connect.
    const { clients } = upstream;
    check(clients === 2, `${clients} clients have reached the upstream, not 2`);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : cause;
    throw new Error(`${reason}\n${far.log()}${near.log()}`.trimEnd(), { cause });
  }
  return "1 MB each way, half-close, strangers and a wrong name refused, both stopped with status 0";
}

function check(holds: boolean, otherwise: string): void {
  if (!holds) throw new Error(otherwise);
}

/** The certificates that the documentation makes, in a folder of their own. */
async function makeCertificates(): Promise<AsyncDisposable & { readonly folder: string }> {
  const folder = await Deno.makeTempDir();
  const made = {
    folder,
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
  const args = ["-e", pathOf("examples/tls-certificates.sh")];
  const { success, stderr } = await new Deno.Command("bash", { args, cwd: folder }).output();
  if (success) return made;
  await made[Symbol.asyncDispose]();
  throw new Error(`no certificates could be made: ${new TextDecoder().decode(stderr)}`);
}

function variablesOf(folder: string, name: string): Record<string, string> {
  return {
    AMBASSADOR_BIND: LOOPBACK,
    AMBASSADOR_TLS_CERT: `${folder}/${name}.pem`,
    AMBASSADOR_TLS_KEY: `${folder}/${name}.key`,
    AMBASSADOR_TLS_CA: `${folder}/ca.pem`,
  };
}

/** The options of `openssl s_client` for who has a certificate. */
function identityOf(folder: string, name: string): string[] {
  return ["-cert", `${folder}/${name}.pem`, "-key", `${folder}/${name}.key`];
}

/** Ports on which nothing listened a moment ago. */
function freePorts(): Record<"far" | "farDecoy" | "near" | "nearDecoy", number> {
  using listeners = new DisposableStack();
  const port = (): number => listeners.use(Deno.listen({ hostname: LOOPBACK, port: 0 })).addr.port;
  return { far: port(), farDecoy: port(), near: port(), nearDecoy: port() };
}

interface Upstream extends AsyncDisposable {
  readonly port: number;
  /** How many clients it has had. */
  readonly clients: number;
}

/** Echoes, and says its last words when the client has finished. */
function startUpstream(): Upstream {
  const listener = Deno.listen({ hostname: LOOPBACK, port: 0 });
  const open = new Set<Deno.TcpConn>();
  const serving: Promise<void>[] = [];
  async function accept(): Promise<void> {
    for await (const conn of listener) {
      open.add(conn);
      serving.push(answer(conn));
    }
  }
  const accepting = accept();
  return {
    port: listener.addr.port,
    get clients(): number {
      return serving.length;
    },
    async [Symbol.asyncDispose](): Promise<void> {
      listener.close();
      await accepting;
      for (const conn of open) conn.close();
      await Promise.all(serving);
    },
  };
}

async function answer(conn: Deno.TcpConn): Promise<void> {
  const buffer = new Uint8Array(64 * 1024);
  try {
    for (let count = await conn.read(buffer); count !== null; count = await conn.read(buffer)) {
      await writeAll(conn, buffer.subarray(0, count));
    }
    await writeAll(conn, new TextEncoder().encode(LAST_WORDS));
    await conn.closeWrite();
  } catch {
    // The client has gone: it notices itself what it has not got.
  }
}

interface Ambassador extends AsyncDisposable {
  /** Waits until all its routes are bound. */
  ready(): Promise<void>;
  /** Tells it to stop, and waits until it has, with status 0. */
  stop(): Promise<void>;
  /** What it has logged so far. */
  log(): string;
}

/** Starts the program; it sees no variables but these and what `deno run` needs. */
function startAmbassador(
  name: string,
  [program = "", ...args]: readonly string[],
  variables: Readonly<Record<string, string>>,
): Ambassador {
  const env: Record<string, string> = { DENO_NO_UPDATE_CHECK: "1", NO_COLOR: "1", ...variables };
  for (const kept of ["HOME", "PATH", "DENO_DIR", "JSR_URL"]) {
    const value = Deno.env.get(kept);
    if (value !== undefined) env[kept] = value;
  }
  const child = new Deno.Command(program, {
    args,
    env,
    clearEnv: true,
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const bound = Promise.withResolvers<void>();
  let log = "";
  let hasEnded = false;
  async function read(): Promise<Deno.CommandStatus> {
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
      log += text;
      if (/ ready( |$)/m.test(log)) bound.resolve();
    }
    const status = await child.status;
    hasEnded = true;
    bound.reject(new Error(`the ${name} ambassador ended with status ${status.code}`));
    return status;
  }
  const ended = read();
  bound.promise.catch(() => {});
  return {
    ready: () => within(bound.promise, `the ${name} ambassador to be ready`),
    async stop(): Promise<void> {
      child.kill("SIGTERM");
      const { code } = await within(ended, `the ${name} ambassador to stop`);
      check(code === 0, `the ${name} ambassador stopped with status ${code}`);
    },
    log: () => log.replaceAll(/^(?=.)/gm, `${name}: `),
    async [Symbol.asyncDispose](): Promise<void> {
      if (!hasEnded) child.kill("SIGKILL");
      await ended;
    },
  };
}

/** Sends much and finishes, and looks whether all comes back, with the upstream's last words. */
async function exchange(port: number): Promise<void> {
  using conn = await Deno.connect({ hostname: LOOPBACK, port });
  const sent = new Uint8Array(SIZE);
  // More at once than the system gives.
  for (let at = 0; at < SIZE; at += 50_000) {
    crypto.getRandomValues(sent.subarray(at, at + 50_000));
  }
  async function send(): Promise<void> {
    await writeAll(conn, sent);
    await conn.closeWrite();
  }
  const [back] = await within(
    Promise.all([readAll(conn), send()]),
    "what was sent to come back through both ambassadors",
  );
  check(back.length >= SIZE, `${back.length} of ${SIZE} bytes came back`);
  check(sent.every((byte, index) => byte === back[index]), "other bytes came back than were sent");
  const rest = new TextDecoder().decode(back.subarray(SIZE));
  check(rest === LAST_WORDS, "what was said after the client had finished did not arrive");
}

/** Whether anything comes back from a plain port, before it closes the connection. */
async function isAnswered(port: number): Promise<boolean> {
  using conn = await Deno.connect({ hostname: LOOPBACK, port });
  try {
    await writeAll(conn, new TextEncoder().encode(WORDS));
    const count = await within(conn.read(new Uint8Array(1)), "an answer, or the end");
    return count !== null;
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionReset) return false;
    if (error instanceof Deno.errors.BrokenPipe) return false;
    throw error;
  }
}

/** Whether `openssl`, with this identity, gets an answer from the upstream. */
async function isLetIn(
  { port, ca }: { readonly port: number; readonly ca: string },
  identity: readonly string[],
): Promise<boolean> {
  const server = ["-connect", `${LOOPBACK}:${port}`, "-servername", "big-server", "-CAfile", ca];
  const child = new Deno.Command("openssl", {
    args: ["s_client", "-quiet", "-verify_return_error", ...server, ...identity],
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const input = child.stdin.getWriter();
  // It may have been refused already.
  input.write(new TextEncoder().encode(`${WORDS}\n`)).catch(() => {});
  async function read(): Promise<boolean> {
    let text = "";
    for await (const piece of child.stdout.pipeThrough(new TextDecoderStream())) {
      text += piece;
      if (text.includes(WORDS)) return true;
    }
    return false;
  }
  try {
    return await within(read(), "a client to be let in or refused");
  } finally {
    await input.close().catch(() => {});
    try {
      child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await child.status;
  }
}

async function writeAll(conn: Deno.Conn, data: Uint8Array): Promise<void> {
  for (let rest = data; rest.length > 0;) rest = rest.subarray(await conn.write(rest));
}

async function readAll(conn: Deno.Conn): Promise<Uint8Array> {
  const all = new Uint8Array(2 * SIZE);
  let length = 0;
  for (;;) {
    const count = await conn.read(all.subarray(length));
    if (count === null || count === 0) return all.subarray(0, length);
    length += count;
  }
}

async function within<T>(promise: Promise<T>, what: string): Promise<T> {
  const late = Promise.withResolvers<never>();
  const error = new Error(`waited ${LIMIT_MS / 1000} s for ${what}`);
  const timer = setTimeout(() => late.reject(error), LIMIT_MS);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

if (import.meta.main) {
  if (Deno.args.length === 0) {
    console.error("usage: tls_smoke.ts PROGRAM [ARGS...]");
    Deno.exit(2);
  }
  try {
    console.log(`tls_smoke: ${await smokeTls(Deno.args)}`);
  } catch (error) {
    console.error(`tls_smoke: ${error instanceof Error ? error.message : error}`);
    Deno.exit(1);
  }
}
