// A server that sends as much as it can, for clients that never read.

const CHUNK = new Uint8Array(64 * 1024);

/** Sends to everybody who connects until that one leaves. */
export function startSender(): { readonly port: number } & Disposable {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  void acceptAll(listener);
  return { port: listener.addr.port, [Symbol.dispose]: () => listener.close() };
}

async function acceptAll(listener: Deno.TcpListener): Promise<void> {
  try {
    for await (const conn of listener) void send(conn);
  } catch {
    // It has been closed.
  }
}

async function send(conn: Deno.TcpConn): Promise<void> {
  using _conn = conn;
  try {
    for (;;) await conn.write(CHUNK);
  } catch {
    // The client has left.
  }
}
