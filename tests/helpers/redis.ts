// A real redis-server on loopback, for as long as a test needs it.

import { freePort, startProgram } from "./mod.ts";
import { programPath } from "./needs.ts";

/** Starts one that keeps nothing on disk, and waits until it accepts. */
export async function startRedis(): Promise<AsyncDisposable & { readonly port: number }> {
  await using started = new AsyncDisposableStack();
  const port = freePort();
  const args = ["--port", `${port}`, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
  const redis = started.use(startProgram(args, { command: [programPath("redis-server")] }));
  await redis.output(/Ready to accept connections/);
  const running = started.move();
  return { port, [Symbol.asyncDispose]: () => running.disposeAsync() };
}
