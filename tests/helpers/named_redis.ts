// Redis servers that tell their names, so that a client sees which of them it has reached: real ones
// where there is a redis-server, else stand-ins that know as much of its protocol as is asked here.

import { readExactly, startProgram, startUpstream, writeAll } from "./mod.ts";
import { findOnPath } from "./needs.ts";

/** What can be asked, and how many bytes are answered. */
const ANSWER_BYTES = { "PING": 7, "GET name": 9 } as const;
/** What can be asked. */
export type Request = keyof typeof ANSWER_BYTES;
/** Three letters, as the lengths above have it. */
export type RedisName = "old" | "new";

/** The redis-server that is used, if there is one. */
export const REDIS_PATH: string | undefined = findOnPath("redis-server");

/** A Redis that can be killed, and comes back at its port. */
export class NamedRedis {
  /** What it calls itself. */
  readonly name: RedisName;
  /** Where it listens at 127.0.0.1. */
  readonly port: number;
  readonly #keep: <T extends AsyncDisposable>(start: () => T) => T;
  #running: AsyncDisposable | undefined;

  /** `keep` starts something and sees to its end. */
  constructor(
    name: RedisName,
    port: number,
    keep: <T extends AsyncDisposable>(start: () => T) => T,
  ) {
    this.name = name;
    this.port = port;
    this.#keep = keep;
  }

  /** Resolves when it accepts. */
  async start(): Promise<void> {
    const { name, port } = this;
    if (REDIS_PATH === undefined) {
      this.#running = this.#keep(() => startUpstream((conn) => answer(conn, name), { port }));
      return;
    }
    const command = [REDIS_PATH];
    const args = ["--port", `${port}`, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    const server = this.#keep(() => startProgram(args, { command }));
    this.#running = server;
    await server.output(/Ready to accept connections/);
    using conn = await Deno.connect({ hostname: "127.0.0.1", port });
    await writeAll(conn, `SET name ${name}\r\n`);
    await readExactly(conn, "+OK\r\n".length);
  }

  /** Resolves when it is gone with all its sockets. */
  async kill(): Promise<void> {
    await this.#running?.[Symbol.asyncDispose]();
  }
}

/** What a Redis answers on this connection. */
export async function askOn(conn: Deno.TcpConn, request: Request): Promise<string> {
  await writeAll(conn, `${request}\r\n`);
  const reply = await readExactly(conn, ANSWER_BYTES[request]);
  return reply.replace(/^\+|^\$3\r\n/, "").trimEnd();
}

/** What it answers to a client that connects to this port of 127.0.0.1; undefined if it does not. */
export async function ask(port: number, request: Request): Promise<string | undefined> {
  try {
    using conn = await Deno.connect({ hostname: "127.0.0.1", port });
    return await askOn(conn, request);
  } catch {
    return undefined;
  }
}

async function answer(conn: Deno.TcpConn, name: string): Promise<void> {
  const buffer = new Uint8Array(100);
  for (;;) {
    const count = await conn.read(buffer);
    if (count === null) return;
    const isPing = new TextDecoder().decode(buffer.subarray(0, count)) === "PING\r\n";
    await writeAll(conn, isPing ? "+PONG\r\n" : `$3\r\n${name}\r\n`);
  }
}
