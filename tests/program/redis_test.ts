// A real redis-server behind the ambassador, and behind two in a chain.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { concat, freePort, hash, Random, startProgram, within, writeAll } from "../helpers/mod.ts";
import { needs, programPath } from "../helpers/needs.ts";
import { startRedis } from "../helpers/redis.ts";

/** A reply of Redis: text, a number, an error as it is, nothing, or several of these. */
type Reply = Uint8Array<ArrayBuffer> | string | number | null | Reply[];

/** As much of a Redis client as these tests need (RESP2). */
class RedisClient implements Disposable {
  readonly #conn: Deno.TcpConn;
  #buffered: Uint8Array<ArrayBuffer> = new Uint8Array();

  constructor(conn: Deno.TcpConn) {
    this.#conn = conn;
  }

  static async connect(port: number): Promise<RedisClient> {
    return new RedisClient(await Deno.connect({ hostname: "127.0.0.1", port }));
  }

  async send(...parts: (string | Uint8Array)[]): Promise<void> {
    await writeAll(this.#conn, encodeCommand(parts));
  }

  async sendRaw(data: Uint8Array): Promise<void> {
    await writeAll(this.#conn, data);
  }

  async call(...parts: (string | Uint8Array)[]): Promise<Reply> {
    await this.send(...parts);
    return await this.reply();
  }

  async reply(): Promise<Reply> {
    const line = await this.#line();
    const rest = line.slice(1);
    switch (line[0]) {
      case "+":
        return rest;
      case "-":
        return `error: ${rest}`;
      case ":":
        return Number(rest);
      case "$":
        return rest === "-1" ? null : (await this.#take(Number(rest) + 2)).slice(0, -2);
      case "*": {
        const replies: Reply[] = [];
        while (replies.length < Number(rest)) replies.push(await this.reply());
        return replies;
      }
      default:
        throw new Error(`not a reply: ${line}`);
    }
  }

  async #line(): Promise<string> {
    for (let from = 0;;) {
      const end = this.#buffered.indexOf(10, from);
      if (end >= 0) return new TextDecoder().decode((await this.#take(end + 1)).slice(0, -2));
      from = this.#buffered.length;
      await this.#fill(1);
    }
  }

  async #take(count: number): Promise<Uint8Array<ArrayBuffer>> {
    await this.#fill(count - this.#buffered.length);
    const taken = this.#buffered.slice(0, count);
    this.#buffered = this.#buffered.subarray(count);
    return taken;
  }

  async #fill(missing: number): Promise<void> {
    const chunks = [this.#buffered];
    for (let left = missing; left > 0;) {
      const chunk = new Uint8Array(64 * 1024);
      const count = await within(this.#conn.read(chunk), "a reply");
      if (count === null) throw new Error("Redis has closed the connection");
      chunks.push(chunk.subarray(0, count));
      left -= count;
    }
    this.#buffered = concat(chunks);
  }

  [Symbol.dispose](): void {
    this.#conn.close();
  }
}

function encodeCommand(parts: readonly (string | Uint8Array)[]): Uint8Array {
  const encoder = new TextEncoder();
  return concat([
    encoder.encode(`*${parts.length}\r\n`),
    ...parts.flatMap((part) => {
      const bytes = typeof part === "string" ? encoder.encode(part) : part;
      return [encoder.encode(`$${bytes.length}\r\n`), bytes, encoder.encode("\r\n")];
    }),
  ]);
}

function text(reply: Reply | undefined): string {
  return reply instanceof Uint8Array ? new TextDecoder().decode(reply) : String(reply);
}

/** A redis-server and as many ambassadors before it as asked for; the port to use. */
async function startChain(ambassadors: number): Promise<
  AsyncDisposable & { port: number }
> {
  await using started = new AsyncDisposableStack();
  let { port } = started.use(await startRedis());
  for (let i = 0; i < ambassadors; i++) {
    const listen = freePort();
    const env = { [`REDIS_PORT_${listen}_TCP`]: `tcp://127.0.0.1:${port}` };
    const program = started.use(startProgram([], { env }));
    await program.line(/ ready /);
    port = listen;
  }
  const running = started.move();
  return { port, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

for (const [ambassadors, where] of [[1, "the ambassador"], [2, "two in a chain"]] as const) {
  Deno.test({
    name: `Redis behind ${where} answers PING`,
    ...needs("redis-server"),
    async fn(): Promise<void> {
      await using chain = await startChain(ambassadors);
      using client = await RedisClient.connect(chain.port);
      assertEquals(await client.call("PING"), "PONG");
    },
  });

  Deno.test({
    name: `Redis behind ${where} takes 10 MiB and gives them back unchanged`,
    ...needs("redis-server"),
    async fn(): Promise<void> {
      await using chain = await startChain(ambassadors);
      using client = await RedisClient.connect(chain.port);
      const random = new Random();
      const value = new Uint8Array(10 * 1024 * 1024);
      for (let at = 0; at < value.length; at += 65536) {
        crypto.getRandomValues(value.subarray(at, at + 65536));
      }
      value[random.below(value.length)] = 0;
      assertEquals(await client.call("SET", "large", value), "OK");
      const back = await client.call("GET", "large");
      assert(back instanceof Uint8Array);
      assertEquals(await hash(back), await hash(value));
    },
  });

  Deno.test({
    name: `Redis behind ${where} pushes what others publish`,
    ...needs("redis-server"),
    async fn(): Promise<void> {
      await using chain = await startChain(ambassadors);
      using subscriber = await RedisClient.connect(chain.port);
      using publisher = await RedisClient.connect(chain.port);
      const subscribed = await subscriber.call("SUBSCRIBE", "news");
      assertEquals((subscribed as Reply[]).map(text), ["subscribe", "news", "1"]);
      for (const message of ["one", "two", "three"]) {
        assertEquals(await publisher.call("PUBLISH", "news", message), 1);
        const push = await subscriber.reply();
        assertEquals((push as Reply[]).map(text), ["message", "news", message]);
      }
    },
  });

  Deno.test({
    name: `Redis behind ${where} answers a pipeline of 10,000 commands in order`,
    ...needs("redis-server"),
    async fn(): Promise<void> {
      await using chain = await startChain(ambassadors);
      using client = await RedisClient.connect(chain.port);
      const commands = Array.from({ length: 10_000 }, () => encodeCommand(["INCR", "counter"]));
      const sending = client.sendRaw(concat(commands));
      for (let i = 1; i <= commands.length; i++) assertEquals(await client.reply(), i);
      await sending;
    },
  });
}

Deno.test({
  name: "Redis behind the ambassador serves redis-benchmark without an error",
  ...needs("redis-server", "redis-benchmark"),
  async fn(): Promise<void> {
    await using chain = await startChain(1);
    const args = ["-h", "127.0.0.1", "-p", `${chain.port}`, "-n", "10000", "-c", "50", "--csv"];
    const tests = ["-t", "ping,set,get,incr,lpush,mset"];
    const command = [programPath("redis-benchmark")];
    await using benchmark = startProgram([...args, ...tests], { command });
    assertEquals((await within(benchmark.status, "redis-benchmark to end", 60_000)).code, 0);
    assertMatch(benchmark.stdout, /"MSET \(10 keys\)","\d/);
    assert(!/error/i.test(benchmark.stdout + benchmark.stderr), benchmark.stderr);
  },
});
