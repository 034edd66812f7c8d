// Real nginx and HAProxy on loopback, each with a configuration of its own, for as long as a test needs
// it: peers that announce clients by the PROXY protocol, or tell who was announced to them. And headers
// written by hand, clients from another address, and the connection that they make.

import net from "node:net";
import type { ProxyVersion } from "../../src/config/options.ts";
import { nginxStreamModule } from "../../bench/programs.ts";
import {
  freePort,
  isRefused,
  type Program,
  readText,
  startProgram,
  until,
  within,
  writeAll,
} from "./mod.ts";
import { programPath } from "./needs.ts";

/** A proxy that other people use. */
export type PeerName = "nginx" | "haproxy";

/** A proxy at work. */
export interface Peer extends AsyncDisposable {
  /** Where it listens at 127.0.0.1. */
  readonly port: number;
  /** All that it has logged. */
  readonly log: string;
}

/** What makes HAProxy send each version. */
const HAPROXY_SENDS = { v1: "send-proxy", v2: "send-proxy-v2" } as const;

/** Starts one that answers every client with what its header announced, as {@linkcode askWho} reads. */
export async function startTeller(name: PeerName): Promise<Peer> {
  const port = freePort();
  if (name === "haproxy") {
    return await startHaproxy(port, [
      "frontend tell",
      "  mode http",
      `  bind 127.0.0.1:${port} accept-proxy`,
      "  http-request return status 200 content-type text/plain" +
      ' lf-string "%[src] %[src_port] %[dst] %[dst_port]"',
    ]);
  }
  const from = "$proxy_protocol_addr $proxy_protocol_port";
  const to = "$proxy_protocol_server_addr $proxy_protocol_server_port";
  return await startNginx(port, [
    `listen 127.0.0.1:${port} proxy_protocol;`,
    `return "${from} ${to}";`,
  ]);
}

/** Starts one that forwards to a port of 127.0.0.1 and announces its clients there. nginx sends v1. */
export async function startSender(
  name: PeerName,
  to: number,
  version: ProxyVersion = "v1",
): Promise<Peer> {
  const port = freePort();
  if (name === "haproxy") {
    return await startHaproxy(port, [
      "listen send",
      `  bind 127.0.0.1:${port}`,
      `  server next 127.0.0.1:${to} ${HAPROXY_SENDS[version]}`,
    ]);
  }
  if (version !== "v1") throw new TypeError("nginx sends v1 alone");
  return await startNginx(port, [
    `listen 127.0.0.1:${port};`,
    `proxy_pass 127.0.0.1:${to};`,
    "proxy_protocol on;",
    // Else the end of what a client sends would be the end of what it receives.
    "proxy_half_close on;",
  ]);
}

async function startNginx(port: number, directives: readonly string[]): Promise<Peer> {
  await using started = new AsyncDisposableStack();
  const folder = makeFolder(started);
  const module = nginxStreamModule();
  const file = `${folder}/nginx.conf`;
  await Deno.writeTextFile(
    file,
    `${module === undefined ? "" : `load_module ${module};\n`}daemon off;
pid ${folder}/nginx.pid;
error_log stderr notice;
events {}
stream { server { ${directives.join(" ")} } }
`,
  );
  const command = [programPath("nginx")];
  const nginx = startProgram(["-p", folder, "-e", "stderr", "-c", file], { command });
  // Its workers end with the first process only where that is asked to.
  started.defer(() => endSoftly(nginx));
  // It has bound by then, and whoever comes before its workers waits in the queue.
  await nginx.line(/start worker process /);
  return peer(port, nginx, started.move());
}

/** Starts a HAProxy with these sections, of which one listens at this port. */
export async function startHaproxy(port: number, sections: readonly string[]): Promise<Peer> {
  await using started = new AsyncDisposableStack();
  const file = `${makeFolder(started)}/haproxy.cfg`;
  // It says nothing when it has bound, and a connect to the port of the test would be a client there.
  const ready = freePort();
  await Deno.writeTextFile(
    file,
    `global
  log stdout format raw local0
  nbthread 1
defaults
  mode tcp
  timeout connect 10s
  timeout client 1m
  timeout server 1m
frontend ready
  bind 127.0.0.1:${ready}
defaults
  mode tcp
  log global
  timeout connect 10s
  timeout client 1m
  timeout server 1m
${sections.join("\n")}
`,
  );
  const haproxy = startProgram(["-db", "-f", file], { command: [programPath("haproxy")] });
  started.defer(() => endSoftly(haproxy));
  let hasEnded = false;
  void haproxy.status.then(() => hasEnded = true);
  await until(async () => hasEnded || !await isRefused({ port: ready }), "HAProxy listens");
  if (hasEnded) throw new Error(`HAProxy did not start:\n${haproxy.stderr}`);
  return peer(port, haproxy, started.move());
}

function makeFolder(started: AsyncDisposableStack): string {
  const folder = Deno.makeTempDirSync();
  started.defer(() => Deno.remove(folder, { recursive: true }));
  return folder;
}

async function endSoftly(program: Program): Promise<void> {
  program.kill("SIGTERM");
  await within(program.status, "a proxy to end");
}

function peer(port: number, program: Program, running: AsyncDisposableStack): Peer {
  return {
    port,
    get log(): string {
      return program.stdout + program.stderr;
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** What a teller says to its client: who was announced to it, and where that one had connected to. */
export async function askWho(name: PeerName, conn: Deno.Conn): Promise<string> {
  // nginx speaks first, and would reset a client whose words it has not read.
  if (name === "haproxy") await writeAll(conn, "GET / HTTP/1.0\r\n\r\n");
  return (await readText(conn)).split("\r\n\r\n").at(-1) ?? "";
}

/** What {@linkcode askWho} hears of a client whose connection is this one, told as it was made. */
export function endsOf({ localAddr, remoteAddr }: Deno.TcpConn): string {
  return [localAddr, remoteAddr].map(({ hostname, port }) => `${hostname} ${port}`).join(" ");
}

/** The 12 bytes that begin a header of version 2. */
const SIGNATURE = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];

/** A header of version 2: its command (0x21, 0x20), its family (0x11, 0x21) and what follows. */
export function headerV2(
  command: number,
  family: number,
  rest: readonly number[],
): Uint8Array<ArrayBuffer> {
  const length = [rest.length >> 8, rest.length & 255];
  return Uint8Array.from([...SIGNATURE, command, family, ...length, ...rest]);
}

/** The part of a header of version 2 that announces 192.0.2.7:1234, connected to 198.51.100.9:6379. */
export const ANNOUNCED_V2 = [192, 0, 2, 7, 198, 51, 100, 9, 1234 >> 8, 1234 & 255, 24, 235];

/** What a client from another address has come to. */
export interface Visit {
  /** All that it has received. */
  readonly text: string;
  /** Its own address and port. */
  readonly client: string;
}

/** Connects from an address of this machine, sends the text, finishes and reads to the end. */
export async function visitFrom(
  localAddress: string,
  { port, text = "" }: { readonly port: number; readonly text?: string },
): Promise<Visit> {
  const closed = Promise.withResolvers<void>();
  const socket = net.connect({ host: "127.0.0.1", port, localAddress });
  let received = "";
  let client = "";
  socket.once("connect", () => {
    client = `${socket.localAddress}:${socket.localPort}`;
    socket.end(text);
  });
  socket.on("data", (data) => received += data.toString());
  // What it has sent may be unread when it is closed: that is a reset.
  socket.once("error", () => {});
  socket.once("close", () => closed.resolve());
  await within(closed.promise, `a client from ${localAddress} to be done`);
  return { text: received, client };
}

/** Reads until the peer has closed or reset the connection; how many bytes came. */
export async function untilClosed(conn: Deno.Conn): Promise<number> {
  const buffer = new Uint8Array(4096);
  let count = 0;
  try {
    for (;;) {
      const read = await within(conn.read(buffer), "the connection to be closed");
      if (read === null) return count;
      count += read;
    }
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionReset) return count;
    throw error;
  }
}
