// TLS for tests: engines and streams of the program's own, forwarders that speak it in this process, and
// clients that show whatever certificate is wanted. On an old Deno src/net/tls_engine.ts can't even be
// loaded: so everything of TLS is loaded here, when a test asks for it.

import type { Endpoint } from "../../src/base/address.ts";
import { createLog } from "../../src/base/log.ts";
import { serve, type ServeOptions } from "../../src/commands/forward.ts";
import type { Options, RouteSettings } from "../../src/config/options.ts";
import type { Route } from "../../src/config/routes.ts";
import { type Credentials, loadCredentials } from "../../src/net/credentials.ts";
import { loadTransports } from "../../src/net/transports.ts";
import type { EngineOptions, TlsEngine } from "../../src/net/tls_engine.ts";
import type { TlsStream } from "../../src/net/tls_stream.ts";
import type { Ca, Issued } from "./certificates.ts";
import { freePort, pair, startProgram, within } from "./mod.ts";
import { programPath } from "./needs.ts";
import type { ProgramWithRoute } from "./process.ts";
import { routeTo } from "./routes.ts";

/** The modules that an old Deno can't load. */
export interface TlsModules {
  /** Prepares an engine's certificate and trust. */
  readonly createContext: typeof import("../../src/net/tls_engine.ts").createContext;
  /** Makes an engine. */
  readonly TlsEngine: typeof TlsEngine;
  /** Makes a stream. */
  readonly TlsStream: typeof TlsStream;
}

/** Loads what an old Deno can't. */
export async function loadTls(): Promise<TlsModules> {
  const [{ createContext, TlsEngine }, { TlsStream }] = await Promise.all([
    import("../../src/net/tls_engine.ts"),
    import("../../src/net/tls_stream.ts"),
  ]);
  return { createContext, TlsEngine, TlsStream };
}

/** Two engines that have not begun. */
export interface Engines extends Disposable {
  /** Who connects. */
  readonly client: TlsEngine;
  /** Who is connected to. */
  readonly server: TlsEngine;
}

/** Options of the two engines beside what makes them trust each other. */
export interface EnginesOptions {
  /** Who the client is; somebody of the CA's unless given. */
  readonly clientIs?: Partial<Pick<Issued, "cert" | "key">>;
  /** Who the server is; somebody of the CA's called `localhost` unless given. */
  readonly serverIs?: Pick<Issued, "cert" | "key">;
  /** Of the client. */
  readonly client?: Partial<EngineOptions>;
  /** Of the server. */
  readonly server?: Partial<EngineOptions>;
}

/** Two engines with certificates of the CA; the server is called `localhost` and wants a certificate. */
export async function createEngines(ca: Ca, options: EnginesOptions = {}): Promise<Engines> {
  const { createContext, TlsEngine } = await loadTls();
  const [ofServer, ofClient] = await Promise.all([
    options.serverIs ?? ca.issue({ dns: ["localhost"] }),
    options.clientIs ?? ca.issue({ dns: ["client.example.com"] }),
  ]);
  const server = new TlsEngine({
    isServer: true,
    context: createContext({ ...ofServer, ca: ca.pem }),
    needsCertificate: true,
    ...options.server,
  });
  const client = new TlsEngine({
    isServer: false,
    context: createContext({ ...ofClient, ca: ca.pem }),
    serverName: "localhost",
    ...options.client,
  });
  return {
    client,
    server,
    [Symbol.dispose](): void {
      client[Symbol.dispose]();
      server[Symbol.dispose]();
    },
  };
}

/** Two ends of one connection by TLS, the handshake done, and what lies below them. */
export interface Streams extends Disposable {
  /** Who connected. */
  readonly client: TlsStream;
  /** Who was connected to. */
  readonly server: TlsStream;
  /** The client's socket. */
  readonly clientTcp: Deno.TcpConn;
  /** The server's socket. */
  readonly serverTcp: Deno.TcpConn;
}

/** Connects two streams over real sockets, and shakes hands. */
export async function createStreams(ca: Ca, options: EnginesOptions = {}): Promise<Streams> {
  const { TlsStream } = await loadTls();
  const engines = await createEngines(ca, options);
  const [clientTcp, serverTcp] = await pair();
  const client = new TlsStream(clientTcp, engines.client, "the upstream");
  const server = new TlsStream(serverTcp, engines.server, "the client");
  const hands = [client.shakeHands(() => {}), server.shakeHands(() => {})];
  await within(Promise.all(hands), "a handshake");
  return {
    client,
    server,
    clientTcp,
    serverTcp,
    [Symbol.dispose](): void {
      client[Symbol.dispose]();
      server[Symbol.dispose]();
    },
  };
}

/** PEM texts of whom to be and whom to trust. */
export interface Identity {
  /** Who it is; nobody unless given. Nothing is checked of it. */
  readonly own?: Pick<Issued, "cert" | "key"> | undefined;
  /** Whom it trusts. */
  readonly ca?: string;
  /** Whom it trusts as clients, where that is not the same. */
  readonly clientCa?: string;
}

/** What a transport is told; unlike what the program reads, the own certificate may be anything. */
export async function credentialsOf({ own, ca, clientCa }: Identity): Promise<Credentials> {
  const credentials = await loadCredentials({
    tlsCert: undefined,
    tlsKey: undefined,
    tlsCa: ca === undefined ? undefined : { option: "tls-ca", pem: ca },
    tlsClientCa: clientCa === undefined ? undefined : { option: "tls-client-ca", pem: clientCa },
  });
  return own === undefined ? credentials : { ...credentials, cert: own.cert, key: own.key };
}

/** A forwarder of one route with TLS on one side, or both. */
export interface TlsForwarder extends AsyncDisposable {
  /** Where it listens. */
  readonly address: { readonly hostname: string; readonly port: number };
  /** Every line that it has logged, all levels. */
  readonly lines: readonly string[];
  /** Is somebody else, and trusts others, from now on. */
  use(identity: Identity): Promise<void>;
}

/** Options for {@linkcode serveTls}. */
export interface TlsForwarderOptions extends Partial<Omit<ServeOptions, "maxConnections">> {
  /** How it listens. */
  readonly listen: Endpoint["protocol"];
  /** Who it is, and whom it trusts. */
  readonly identity: Identity;
  /** Whether clients need a certificate; they do unless given. */
  readonly tlsClient?: Options["tlsClient"];
  /** Settings of its route. */
  readonly settings?: Partial<RouteSettings>;
  /** What its transport is told at first, where {@linkcode Identity} can't say it. */
  readonly credentials?: Credentials;
}

/** Forwards a free port to the target, in this process. */
export async function serveTls(
  target: Endpoint,
  { listen, identity, credentials: given, settings = {}, ...options }: TlsForwarderOptions,
): Promise<TlsForwarder> {
  const { tlsClient = "required", ...serveOptions } = options;
  let credentials = given ?? await credentialsOf(identity);
  const transports = await loadTransports({ credentials: () => credentials, tlsClient });
  const lines: string[] = [];
  const stop = new AbortController();
  const ready = Promise.withResolvers<Route>();
  const plain = routeTo(target, { aliases: ["REDIS"], settings });
  const route = { ...plain, listen: { ...plain.listen, protocol: listen }, targets: [target] };
  const served = serve([route], {
    maxConnections: 0,
    drainTimeoutMs: 200,
    drainDelayMs: 0,
    log: createLog({ level: "debug", format: "text", write: (line) => void lines.push(line) }),
    signal: stop.signal,
    onReady: ([bound]) => bound && ready.resolve(bound),
    transports,
    ...serveOptions,
  });
  served.catch(ready.reject);
  const { listen: { hostname, port } } = await within(ready.promise, "a route to be bound");
  return {
    address: { hostname, port },
    lines,
    async use(next: Identity): Promise<void> {
      credentials = await credentialsOf(next);
    },
    async [Symbol.asyncDispose](): Promise<void> {
      stop.abort();
      await within(served, "the forwarder to stop");
    },
  };
}

/** The reasons of a forwarder's lines with this event, the newest last. */
export function errorsOf(lines: readonly string[], event = "tls_failed"): string[] {
  return lines.filter((line) => line.split(/\s+/)[2] === event).map((line) => {
    const [, quoted, bare = ""] = /error=(?:"((?:[^"\\]|\\.)*)"|(\S+))/.exec(line) ?? [];
    return quoted?.replaceAll('\\"', '"') ?? bare;
  });
}

/** What `openssl s_client` has seen. */
export interface SClientResult {
  /** Whether what it has sent came back. */
  readonly isServed: boolean;
  /** All that it has printed. */
  readonly output: string;
}

/** Lets `openssl s_client` send a line to an echo, and hang up once that is back; or be hung up on. */
export async function sClient(
  { hostname, port }: { readonly hostname: string; readonly port: number },
  args: readonly string[] = [],
): Promise<SClientResult> {
  const child = new Deno.Command(programPath("openssl"), {
    args: ["s_client", "-connect", `${hostname}:${port}`, ...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  // Lower case: a line that begins with a Q or R is a command.
  const line = "is anybody there";
  const sent = writer.write(new TextEncoder().encode(`${line}\n`)).catch(() => {});
  let output = "";
  async function read(stream: ReadableStream<Uint8Array>): Promise<void> {
    for await (const text of stream.pipeThrough(new TextDecoderStream() as never)) {
      output += text;
      if (output.includes(line)) await sent.then(() => writer.close()).catch(() => {});
    }
  }
  const done = Promise.all([read(child.stdout), read(child.stderr), child.status]);
  try {
    await within(done, "openssl s_client to end");
  } catch (error) {
    child.kill("SIGKILL");
    await done;
    throw error;
  }
  await sent;
  await writer.close().catch(() => {});
  return { isServed: output.includes(line), output };
}

/** Options for {@linkcode startTlsRoute}. */
export interface StartTlsRouteOptions {
  /** Its certificate and key. */
  readonly own: Pick<Issued, "certPath" | "keyPath">;
  /** The file of whom it trusts; nobody unless given. */
  readonly caPath?: string;
  /** More options of the program. */
  readonly args?: readonly string[];
  /** Settings of the route, as they are written after its target. */
  readonly settings?: string;
  /** Variables. */
  readonly env?: Record<string, string>;
}

/** Starts the program with a TLS listener before the target; the caller disposes of the program. */
export async function startTlsRoute(
  { hostname, port }: { readonly hostname: string; readonly port: number },
  { own, caPath, args = [], settings = "", env = {} }: StartTlsRouteOptions,
): Promise<ProgramWithRoute> {
  const address = { hostname: "127.0.0.1", port: freePort() };
  const ca = caPath === undefined ? [] : ["--tls-ca", caPath];
  const program = startProgram([
    ...["--tls-cert", own.certPath, "--tls-key", own.keyPath, ...ca],
    ...["--log-level", "debug", ...args],
    `127.0.0.1:${address.port}/tls=${hostname}:${port}${settings}`,
  ], { env });
  try {
    await program.line(/ready/);
  } catch (error) {
    await program[Symbol.asyncDispose]();
    throw error;
  }
  return { program, address };
}
