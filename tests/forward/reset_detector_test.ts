import { assert, assertEquals } from "@std/assert";
import { ResetDetector } from "../../src/forward/reset_detector.ts";
import { newTraffic } from "../../src/net/relay.ts";
import type { Stream } from "../../src/net/stream.ts";
import { pair, until, writeAll } from "../helpers/mod.ts";
import { needs, TLS } from "../helpers/needs.ts";
import { tlsPair } from "../helpers/tls_routes.ts";

/** A side whose writes do what the test says, and how many there were. */
function side(write: () => Promise<number>): { stream: Stream; asked: () => number } {
  let asked = 0;
  const nowhere = { hostname: "127.0.0.1", port: 1 };
  const stream: Stream = {
    localAddr: nowhere,
    remoteAddr: nowhere,
    read: () => Promise.resolve(null),
    write(data): Promise<number> {
      assertEquals(data.length, 0);
      asked++;
      return write();
    },
    closeWrite: () => Promise.resolve(),
    [Symbol.dispose]: () => {},
  };
  return { stream, asked: () => asked };
}

/** Lets answers come, and what is done about them. */
async function settle(): Promise<void> {
  for (let i = 0; i < 5; i++) await undefined;
}

/** A side that is there. */
const alive = (): Promise<number> => Promise.resolve(0);
/** A side that is not. */
const gone = (): Promise<number> => Promise.reject(new Deno.errors.BrokenPipe("gone"));

for (
  const { name, connect, wanted } of [
    {
      name: "finds the reset of a client that is held, and of no other",
      connect: pair,
      wanted: [],
    },
    {
      name: "finds the reset of a TLS client that is held, and of no other",
      connect: tlsPair,
      wanted: [TLS, "openssl"],
    },
  ]
) {
  Deno.test(`ResetDetector.check() ${name}`, needs(...wanted), async () => {
    const detector = new ResetDetector();
    for (const isReset of [false, true]) {
      const [client, held] = await connect();
      using _held = held;
      // What is left unread makes the system reset a connection.
      await writeAll(held, "unread");
      if (isReset) client[Symbol.dispose]();
      const traffic = newTraffic();
      const look = (): void => detector.check({ client: held, upstream: undefined, traffic });
      look();
      if (isReset) await until(() => (look(), traffic.failure !== undefined), "it is found");
      await settle();
      assertEquals(traffic.failure, isReset ? "client_reset" : undefined);
      if (!isReset) client[Symbol.dispose]();
    }
  });
}

for (
  const [sent, received, reason] of [
    ["up", "down", "client_reset"],
    ["down", "up", "upstream_reset"],
  ] as const
) {
  Deno.test(`ResetDetector.check() asks the sender of ${sent} that nobody reads`, async () => {
    const detector = new ResetDetector();
    const [asked, other] = [side(gone), side(alive)];
    const traffic = newTraffic();
    const [client, upstream] = sent === "up"
      ? [asked.stream, other.stream]
      : [other.stream, asked.stream];
    const sides = { client, upstream, traffic };
    detector.check(sides);
    assertEquals(asked.asked(), 0);
    traffic[sent].writing = true;
    // The relay is about to notice by itself, or every write fails anyway.
    for (const state of ["writing", "finished"] as const) {
      traffic[received][state] = true;
      detector.check(sides);
      traffic[received][state] = false;
    }
    assertEquals([asked.asked(), other.asked()], [0, 0]);
    detector.check(sides);
    await settle();
    assertEquals([asked.asked(), other.asked(), traffic.failure], [1, 0, reason]);
    detector.check(sides);
    assertEquals(asked.asked(), 1);
  });
}

Deno.test("ResetDetector.check() asks again only when it has been answered", async () => {
  const detector = new ResetDetector();
  const answer = Promise.withResolvers<number>();
  const { stream, asked } = side(() => answer.promise);
  const sides = { client: stream, upstream: undefined, traffic: newTraffic() };
  for (let i = 0; i < 3; i++) detector.check(sides);
  assertEquals(asked(), 1);
  answer.resolve(0);
  await settle();
  detector.check(sides);
  assertEquals(asked(), 2);
});

Deno.test("ResetDetector.check() takes no end that the relay passes on meanwhile for a reset", async () => {
  const detector = new ResetDetector();
  const answer = Promise.withResolvers<number>();
  const { stream } = side(() => answer.promise);
  const traffic = newTraffic();
  traffic.up.finished = true;
  detector.check({ client: stream, upstream: side(alive).stream, traffic });
  traffic.down.finished = true;
  answer.reject(new Deno.errors.BrokenPipe("told the end"));
  await settle();
  assert(traffic.failure === undefined);
});
