// A real redis-server on loopback, for as long as a test needs it.

import { freePort, startProgram } from "./mod.ts";
import { programPath } from "./needs.ts";

/** A redis-server at work. */
export interface Redis extends AsyncDisposable {
  /** Where it listens. */
  readonly hostname: string;
  /** Where it listens. */
  readonly port: number;
  /** Kills it, and waits until it is gone with all its sockets. */
  kill(): Promise<void>;
}

/**
 * Starts one that keeps nothing on disk, and waits until it accepts: at a free port of 127.0.0.1
 * unless told otherwise. One that is to come back at its port after others have connected needs an
 * address from which nobody connects, such as 127.0.0.2: their ports are taken at 127.0.0.1.
 */
export async function startRedis(
  { hostname = "127.0.0.1", port = freePort(hostname) }: {
    readonly hostname?: string;
    readonly port?: number;
  } = {},
): Promise<Redis> {
  await using started = new AsyncDisposableStack();
  const args = ["--port", `${port}`, "--bind", hostname, "--save", "", "--appendonly", "no"];
  const redis = started.use(startProgram(args, { command: [programPath("redis-server")] }));
  await redis.output(/Ready to accept connections/);
  const running = started.move();
  return {
    hostname,
    port,
    async kill(): Promise<void> {
      redis.kill("SIGKILL");
      await redis.status;
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}
