// Real programs that speak TLS on loopback: OpenSSL's test client and server, stunnel, HAProxy and
// Redis, each with a certificate and asking for one. It knows nothing of the ambassador.

import type { Ca, IssueOptions } from "./certificates.ts";
import { freePort, isRefused, startProgram, until, within } from "./mod.ts";
import { programPath } from "./needs.ts";
import { type Peer, startHaproxy } from "./proxies.ts";
import { type Fed, feed, type Ran } from "./run.ts";

/** The paths of the PEM files that say who somebody is, and whom he trusts. */
export interface Identity {
  /** The certificate, its chain after it. */
  readonly certPath: string;
  /** Its key. */
  readonly keyPath: string;
  /** Whom he trusts. */
  readonly caPath: string;
}

/** Somebody with a certificate of this authority, who trusts it and nobody else. */
export async function identify(ca: Ca, options: IssueOptions = {}): Promise<Identity> {
  const { certPath, keyPath } = await ca.issue(options);
  return { certPath, keyPath, caPath: ca.path };
}

/** A proxy that wraps what others speak. */
export type Wrapper = "stunnel" | "haproxy";

/** What a wrapper that dials by TLS is told. */
export interface DialOptions {
  /** The name that the peer's certificate must have. */
  readonly name: string;
  /** Whether HAProxy announces its clients, before TLS. */
  readonly sendProxy?: boolean;
}

/** What a wrapper that listens by TLS is told. */
export interface ListenOptions {
  /** Whether its clients begin with a PROXY header; HAProxy alone can. */
  readonly acceptProxy?: boolean;
}

/** Starts one that takes plain clients and dials a port of 127.0.0.1 by TLS. */
export async function startDialer(
  wrapper: Wrapper,
  to: number,
  { name, sendProxy = false, ...who }: Identity & DialOptions,
): Promise<Peer> {
  const port = freePort();
  if (wrapper === "stunnel") {
    return await startStunnel(port, who, [
      "client = yes",
      `connect = 127.0.0.1:${to}`,
      `sni = ${name}`,
      `checkHost = ${name}`,
    ]);
  }
  const announce = sendProxy ? " send-proxy-v2" : "";
  return await withBundle(who, (bundle) =>
    startHaproxy(port, [
      "listen dial",
      `  bind 127.0.0.1:${port}`,
      "  retries 0",
      `  server far 127.0.0.1:${to} ssl crt ${bundle} ca-file ${who.caPath} verify required` +
      ` sni str(${name}) verifyhost ${name}${announce}`,
    ]));
}

/** Starts one that takes TLS clients with a certificate and dials a port of 127.0.0.1 plainly. */
export async function startListener(
  wrapper: Wrapper,
  to: number,
  { acceptProxy = false, ...who }: Identity & ListenOptions,
): Promise<Peer> {
  const port = freePort();
  if (wrapper === "stunnel") return await startStunnel(port, who, [`connect = 127.0.0.1:${to}`]);
  const proxy = acceptProxy ? "accept-proxy " : "";
  return await withBundle(who, (bundle) =>
    startHaproxy(port, [
      "listen tls",
      `  bind 127.0.0.1:${port} ${proxy}ssl crt ${bundle} ca-file ${who.caPath} verify required`,
      `  server near 127.0.0.1:${to}`,
    ]));
}

/**
 * Starts a HAProxy that takes TLS clients with a certificate after a PROXY header, and answers as
 * `askWho` reads.
 */
export async function startTlsTeller(who: Identity): Promise<Peer> {
  const port = freePort();
  return await withBundle(who, (bundle) =>
    startHaproxy(port, [
      "frontend tell",
      "  mode http",
      `  bind 127.0.0.1:${port} accept-proxy ssl crt ${bundle} ca-file ${who.caPath}` +
      " verify required",
      "  http-request return status 200 content-type text/plain" +
      ' lf-string "%[src] %[src_port] %[dst] %[dst_port]"',
    ]));
}

/** HAProxy wants certificate and key in one file. */
async function withBundle(
  { certPath, keyPath }: Identity,
  start: (bundle: string) => Promise<Peer>,
): Promise<Peer> {
  await using started = new AsyncDisposableStack();
  const bundle = await makeFile(started, [
    await Deno.readTextFile(certPath),
    await Deno.readTextFile(keyPath),
  ]);
  const haproxy = started.use(await start(bundle));
  const running = started.move();
  return {
    port: haproxy.port,
    get log(): string {
      return haproxy.log;
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

async function startStunnel(
  port: number,
  { certPath, keyPath, caPath }: Identity,
  options: readonly string[],
): Promise<Peer> {
  await using started = new AsyncDisposableStack();
  const file = await makeFile(started, [
    "foreground = yes",
    "debug = info",
    "syslog = no",
    "pid =",
    "[wrap]",
    `accept = 127.0.0.1:${port}`,
    `cert = ${certPath}`,
    `key = ${keyPath}`,
    `CAfile = ${caPath}`,
    "verifyChain = yes",
    ...options,
  ]);
  const stunnel = started.use(startProgram([file], { command: [programPath("stunnel")] }));
  await stunnel.line(/ bound to /);
  const running = started.move();
  return {
    port,
    get log(): string {
      return stunnel.stderr;
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

async function makeFile(started: AsyncDisposableStack, lines: readonly string[]): Promise<string> {
  const path = await Deno.makeTempFile();
  started.defer(() => Deno.remove(path));
  await Deno.writeTextFile(path, lines.join("\n") + "\n");
  return path;
}

/** The arguments by which OpenSSL's programs are somebody and trust somebody. */
function opensslIdentity({ certPath, keyPath, caPath }: Identity): string[] {
  return ["-cert", certPath, "-cert_chain", certPath, "-key", keyPath, "-CAfile", caPath];
}

/** What makes s_client print nothing but what it receives, and close at the end of its stdin. */
export const QUIET: readonly string[] = ["-quiet", "-no_ign_eof"];

/** Options for {@linkcode startClient}. */
export interface ClientOptions {
  /** Who it is; nobody unless given, and then it asks nobody who he is. */
  readonly who?: Identity;
  /** The name that it asks for, and that the server's certificate must have. */
  readonly name?: string;
  /** Further arguments of `openssl s_client`. */
  readonly args?: readonly string[];
}

/**
 * Starts `openssl s_client` to a port of 127.0.0.1: what it is fed is sent, and what it receives
 * stands in its output, among what it says of the connection.
 */
export function startClient(
  port: number,
  { who, name = "", args = [] }: ClientOptions = {},
): Fed {
  const identity = who === undefined ? [] : opensslIdentity(who);
  const checks = name === ""
    ? []
    : ["-servername", name, "-verify_hostname", name, "-verify_return_error"];
  const connect = ["s_client", "-connect", `127.0.0.1:${port}`];
  return feed("openssl", [...connect, ...identity, ...checks, ...args]);
}

/** `openssl s_server` at work. */
export interface OpensslServer extends AsyncDisposable {
  /** Where it listens at 127.0.0.1. */
  readonly port: number;
  /** All that it has said and received. */
  readonly text: string;
}

/** Starts `openssl s_server`, which sends back each line reversed unless it is told otherwise. */
export async function startServer(
  who: Identity,
  args: readonly string[] = ["-rev"],
): Promise<OpensslServer> {
  await using started = new AsyncDisposableStack();
  const accept = ["s_server", "-accept", "127.0.0.1:0"];
  const demand = ["-Verify", "5", "-verify_return_error"];
  const server = started.use(
    feed("openssl", [...accept, ...opensslIdentity(who), ...demand, ...args]),
  );
  let port = 0;
  await until(() => {
    port = Number(/^ACCEPT 127\.0\.0\.1:(\d+)$/m.exec(server.text)?.[1] ?? 0);
    return port > 0;
  }, "s_server listens");
  const running = started.move();
  return {
    port,
    get text(): string {
      return server.text;
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** The arguments by which redis-cli and redis-benchmark speak TLS as somebody. */
export function redisIdentity({ certPath, keyPath, caPath }: Identity): string[] {
  return ["--tls", "--cert", certPath, "--key", keyPath, "--cacert", caPath];
}

/** Starts a redis-server that takes nothing but TLS clients with a certificate. */
export async function startTlsRedis(
  { certPath, keyPath, caPath }: Identity,
): Promise<AsyncDisposable & { readonly port: number }> {
  await using started = new AsyncDisposableStack();
  const port = freePort();
  const files = [
    ...["--tls-cert-file", certPath, "--tls-key-file", keyPath],
    ...["--tls-ca-cert-file", caPath, "--tls-auth-clients", "yes"],
  ];
  const listen = ["--port", "0", "--tls-port", `${port}`, "--bind", "127.0.0.1"];
  const keep = ["--save", "", "--appendonly", "no"];
  const redis = started.use(
    startProgram([...listen, ...files, ...keep], { command: [programPath("redis-server")] }),
  );
  await redis.output(/Ready to accept connections/);
  const running = started.move();
  return { port, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

/** Starts nghttpd, which speaks HTTP/2 without TLS, for the files of a folder. */
export async function startHttp2(
  folder: string,
): Promise<AsyncDisposable & { readonly port: number }> {
  await using started = new AsyncDisposableStack();
  const port = freePort();
  const args = ["--no-tls", "--address=127.0.0.1", `--htdocs=${folder}`, `${port}`];
  const server = started.use(startProgram(args, { command: [programPath("nghttpd")] }));
  let hasEnded = false;
  void server.status.then(() => hasEnded = true);
  await until(async () => hasEnded || !await isRefused({ port }), "nghttpd listens");
  if (hasEnded) throw new Error(`nghttpd did not start:\n${server.stderr}`);
  const running = started.move();
  return { port, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

/** Waits for words in what a program has written to stdout. */
export async function said(program: { readonly text: string }, pattern: RegExp): Promise<void> {
  try {
    await until(() => pattern.test(program.text), `${pattern} is said`);
  } catch (cause) {
    throw new Error(`no ${pattern} in:\n${program.text}`, { cause });
  }
}

/** Waits for the end of a program that is fed. */
export async function ended(program: Fed): Promise<Ran> {
  return await within(program.result, "a program to end");
}
