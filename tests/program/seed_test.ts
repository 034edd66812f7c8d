// The same forwarding cases through socat, as `check --format socat` prints it, and through the
// ambassador: what people had before is the yardstick.

import { assertEquals, assertMatch } from "@std/assert";
import {
  echo,
  freePort,
  hash,
  type Program,
  Random,
  readAll,
  readText,
  runProgram,
  startProgram,
  startUpstream,
  until,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { LINUX, needs, programPath } from "../helpers/needs.ts";

/** One conversation: what the upstream does, and what the client does and finds. */
interface Case {
  readonly name: string;
  readonly upstream: (conn: Deno.TcpConn) => Promise<void>;
  readonly client: (conn: Deno.TcpConn) => Promise<string>;
  readonly found: string;
}

const LARGE = new Uint8Array(16 * 1024 * 1024);
const random = new Random();
for (let at = 0; at < LARGE.length; at += 65536) {
  crypto.getRandomValues(LARGE.subarray(at, at + 65536));
}
LARGE[random.below(LARGE.length)] = 0;
const LARGE_HASH = await hash(LARGE);

const CASES: readonly Case[] = [
  {
    name: "an echo comes back",
    upstream: echo,
    async client(conn): Promise<string> {
      await writeAll(conn, "hello");
      await conn.closeWrite();
      return await readText(conn);
    },
    found: "hello",
  },
  {
    name: "a reply to the end of the request arrives after it",
    async upstream(conn): Promise<void> {
      const request = await readText(conn);
      // socat without -t gives up half a second after one side has finished.
      await new Promise((resolve) => setTimeout(resolve, 800));
      await writeAll(conn, `got ${request}`);
    },
    async client(conn): Promise<string> {
      await writeAll(conn, "request");
      await conn.closeWrite();
      return await readText(conn);
    },
    found: "got request",
  },
  {
    name: "a server that speaks first is heard",
    async upstream(conn): Promise<void> {
      await writeAll(conn, "220 ready\r\n");
      await echo(conn);
    },
    async client(conn): Promise<string> {
      const banner = new Uint8Array(11);
      await within(conn.read(banner), "the banner");
      await conn.closeWrite();
      return new TextDecoder().decode(banner) + await readText(conn);
    },
    found: "220 ready\r\n",
  },
  {
    name: "a server that finishes first still hears the client",
    async upstream(conn): Promise<void> {
      await conn.closeWrite();
      finalWords.resolve(await readText(conn));
    },
    async client(conn): Promise<string> {
      const heard = await readText(conn);
      await writeAll(conn, "final words");
      await conn.closeWrite();
      return heard + await within(finalWords.promise, "the upstream to hear the client");
    },
    found: "final words",
  },
  {
    name: "a large transfer both ways at once arrives whole",
    upstream: exchangeLarge,
    async client(conn): Promise<string> {
      const [received] = await Promise.all([readAll(conn), sendLarge(conn)]);
      return await hash(received);
    },
    found: LARGE_HASH,
  },
];

let finalWords = Promise.withResolvers<string>();

async function sendLarge(conn: Deno.TcpConn): Promise<void> {
  await writeAll(conn, LARGE);
  await conn.closeWrite();
}

/** Sends while it receives, and breaks the connection if something else has come. */
async function exchangeLarge(conn: Deno.TcpConn): Promise<void> {
  const [received] = await Promise.all([readAll(conn), sendLarge(conn)]);
  if (await hash(received) !== LARGE_HASH) throw new Error("the upstream received something else");
}

/** The socat that `check` prints for a route, at work. */
async function startSocat(route: string): Promise<Program> {
  const check = ["check", "--format", "socat", "--bind", "127.0.0.1", route];
  const { stdout } = await runProgram(check);
  assertMatch(stdout, /^socat -t 100000000 TCP4-LISTEN:\d+,\S*fork,reuseaddr\S* TCP4:\S+\n$/);
  const args = stdout.trim().split(" ").slice(1);
  return startProgram(["-d", "-d", ...args], { command: [programPath("socat")] });
}

for (const through of ["socat", "the ambassador"]) {
  for (const { name, upstream, client, found } of CASES) {
    Deno.test({
      name: `through ${through}, ${name}`,
      ...(through === "socat" ? needs(LINUX, "socat") : needs(LINUX)),
      async fn(): Promise<void> {
        finalWords = Promise.withResolvers();
        await using server = startUpstream(upstream);
        const port = freePort();
        const route = `${port}=127.0.0.1:${server.address.port}`;
        await using program = through === "socat"
          ? await startSocat(route)
          : startProgram([route, "--bind", "127.0.0.1"]);
        await program.line(/listening on|ready/);
        {
          using conn = await Deno.connect({ hostname: "127.0.0.1", port });
          assertEquals(await client(conn), found);
        }
        assertEquals(server.errors, []);
        // socat's child for this connection ends by itself once both sides have finished.
        const children = `/proc/${program.pid}/task/${program.pid}/children`;
        await until(() => Deno.readTextFileSync(children) === "", "the connection has ended");
      },
    });
  }
}
