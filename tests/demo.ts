// The demonstration behind `deno task demo`: a client reaches a Redis through two ambassadors that are
// configured by nothing but link variables. Needs nothing installed; ends by itself.

import {
  freePort,
  readExactly,
  startProgram,
  startUpstream,
  within,
  writeAll,
} from "./helpers/mod.ts";
import { findOnPath } from "./helpers/needs.ts";

const [nearPort, farPort] = [freePort(), freePort()];
await using redis = await startRedis();

const near = variables(nearPort, farPort);
const far = variables(farPort, redis.port);
await using nearAmbassador = startProgram([], { env: near });
await using farAmbassador = startProgram([], { env: far });
await Promise.all([nearAmbassador.line(/ ready /), farAmbassador.line(/ ready /)]);

const answer = await ping(nearPort);

console.log(`
  (client) --> (ambassador) --- network --- (ambassador) --> (redis)
               :${nearPort}                     :${farPort}           :${redis.port}

  redis             ${redis.what}
  near ambassador   ${describe(near)}
  far ambassador    ${describe(far)}

  the client sends  PING
  and receives      ${answer}
`);

for (const ambassador of [nearAmbassador, farAmbassador]) ambassador.kill("SIGTERM");
const statuses = await within(
  Promise.all([nearAmbassador.status, farAmbassador.status]),
  "both ambassadors to stop",
);
const codes = statuses.map(({ code }) => code);
console.log(`  both ambassadors have stopped on SIGTERM with exit status ${codes.join(" and ")}\n`);
if (answer !== "PONG" || codes.some((code) => code !== 0)) Deno.exitCode = 1;

/** What a container that is linked to REDIS sees; only the bind address is of the demonstration. */
function variables(listenPort: number, targetPort: number): Record<string, string> {
  return {
    [`REDIS_PORT_${listenPort}_TCP`]: `tcp://127.0.0.1:${targetPort}`,
    AMBASSADOR_BIND: "127.0.0.1",
  };
}

function describe(env: Record<string, string>): string {
  return Object.entries(env).map(([name, value]) => `${name}=${value}`).join(" ");
}

async function ping(port: number): Promise<string> {
  using client = await Deno.connect({ hostname: "127.0.0.1", port });
  await writeAll(client, "PING\r\n");
  const reply = await readExactly(client, "+PONG\r\n".length);
  return reply.slice(1).trimEnd();
}

/** A real redis-server if there is one, else a stand-in that answers PING. */
async function startRedis(): Promise<AsyncDisposable & { port: number; what: string }> {
  const path = findOnPath("redis-server");
  if (path === undefined) {
    const standIn = startUpstream(async (conn) => {
      while (await readExactly(conn, "PING\r\n".length) === "PING\r\n") {
        await writeAll(conn, "+PONG\r\n");
      }
    });
    return {
      port: standIn.address.port,
      what: "a stand-in that answers PING (no redis-server is on the PATH)",
      [Symbol.asyncDispose]: () => standIn[Symbol.asyncDispose](),
    };
  }
  const port = freePort();
  const args = ["--port", `${port}`, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
  const server = startProgram(args, { command: [path] });
  await server.output(/Ready to accept connections/);
  return {
    port,
    what: `a real redis-server (${path})`,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}
