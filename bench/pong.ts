// A server that answers clients who ask once, behind a PROXY header or without one.

import { HEADER_BYTES, SIGNATURE } from "./proxy_header.ts";

const PING = "PING\r\n";
const PONG = new TextEncoder().encode("+PONG\r\n");

/** Options for {@linkcode startPong}. */
export interface StartPongOptions {
  /** Whether all clients begin with a header; else none may. Others are closed without an answer. */
  readonly behindHeader: boolean;
}

/** Answers everybody who connects until it is disposed. */
export function startPong(options: StartPongOptions): { readonly port: number } & Disposable {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  void acceptAll(listener, options);
  return { port: listener.addr.port, [Symbol.dispose]: () => listener.close() };
}

async function acceptAll(listener: Deno.TcpListener, options: StartPongOptions): Promise<void> {
  try {
    for await (const conn of listener) void answer(conn, options);
  } catch {
    // It has been closed.
  }
}

async function answer(conn: Deno.TcpConn, { behindHeader }: StartPongOptions): Promise<void> {
  using _conn = conn;
  const awaited = (behindHeader ? HEADER_BYTES : 0) + PING.length;
  const buffer = new Uint8Array(64);
  try {
    let text = "";
    while (text.length < awaited) {
      const count = await conn.read(buffer);
      if (count === null) return;
      text += String.fromCharCode(...buffer.subarray(0, count));
      if (text.startsWith(PING) === behindHeader) return;
    }
    if (text.length !== awaited || !text.endsWith(PING)) return;
    if (behindHeader && !text.startsWith(SIGNATURE)) return;
    await conn.write(PONG);
    // Until the client leaves: who closes first keeps the port for a minute.
    await conn.read(buffer);
  } catch {
    // The client has left.
  }
}
