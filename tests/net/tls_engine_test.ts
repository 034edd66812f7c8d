import { assert, assertEquals, assertThrows } from "@std/assert";
import { createCa, derOf, selfSigned } from "../helpers/certificates.ts";
import { Random } from "../helpers/mod.ts";
import { needs, TLS } from "../helpers/needs.ts";
import type { TlsEngine } from "../../src/net/tls_engine.ts";
import { createEngines, type Engines } from "../helpers/tls.ts";

const NEEDS = needs(TLS, "openssl");

/** Gives what one engine has to send to the other, perhaps changed; how many bytes that were. */
function pass(
  from: TlsEngine,
  to: TlsEngine,
  change: (output: Uint8Array) => void = () => {},
): number {
  const output = from.takeOutput();
  if (output.length === 0) return 0;
  change(output);
  to.receive(output);
  return output.length;
}

/** Lets the engines talk until neither has anything to say. */
function shakeHands(
  { client, server }: Engines,
  change?: (output: Uint8Array) => void,
): void {
  client.start();
  server.start();
  while (pass(client, server, change) + pass(server, client, change) > 0);
}

function toHex(data: Uint8Array): string {
  return data.toHex();
}

/** All that an engine has received. */
function readAll(engine: TlsEngine): Uint8Array {
  const all = new Uint8Array(4 * 1024 * 1024);
  let at = 0;
  for (;;) {
    const count = engine.read(all.subarray(at, at + 10_000));
    if (count === 0) return all.subarray(0, at);
    at += count;
  }
}

/** What something throws. */
function errorOf(act: () => void): Error & { readonly code?: string } {
  try {
    act();
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return error;
  }
  throw new Error("nothing was thrown");
}

Deno.test(
  "TlsEngine shakes hands with another one, and knows its certificates",
  NEEDS,
  async () => {
    using ca = await createCa();
    const intermediate = await ca.intermediate();
    const ofServer = await intermediate.issue({ dns: ["localhost"] });
    const ofClient = await intermediate.issue({ dns: ["client.example.com"] });
    using engines = await createEngines(ca, {
      serverIs: ofServer,
      clientIs: ofClient,
    });
    const { client, server } = engines;
    shakeHands(engines);
    assertEquals([client.isEstablished, server.isEstablished], [true, true]);
    assertEquals([client.version, server.version], ["TLSv1.3", "TLSv1.3"]);
    assertEquals([client.complaint, server.complaint], ["", ""]);
    // Each sends its own chain, and nobody whom it trusts.
    const chains = [client.peerChain.map(toHex), server.peerChain.map(toHex)];
    const sent = [ofServer.cert, ofClient.cert].map((cert) => derOf(cert).map(toHex));
    assertEquals(chains, sent);
  },
);

Deno.test("TlsEngine delivers data in order, whatever its size, and the end", NEEDS, async () => {
  using ca = await createCa();
  using engines = await createEngines(ca);
  shakeHands(engines);
  const random = new Random();
  for (const [from, to] of [[engines.client, engines.server], [engines.server, engines.client]]) {
    for (const size of [1, 16_383, 16_384, 16_385, 49_151, 49_152, 49_153, 1_000_000]) {
      const sent = random.bytes(size);
      let rest: Uint8Array = sent;
      while (rest.length > 0) {
        const count = from?.write(rest) ?? 0;
        assert(count > 0 && count <= rest.length, `${count}`);
        rest = rest.subarray(count);
      }
      if (from && to) pass(from, to);
      assertEquals(to && readAll(to), sent, `seed ${random.seed}`);
    }
    from?.end();
    assertEquals(to?.isEnded, false);
    if (from && to) pass(from, to);
    assertEquals(to?.isEnded, true);
  }
});

Deno.test("TlsEngine can be sent to after its own end", NEEDS, async () => {
  using ca = await createCa();
  using engines = await createEngines(ca);
  const { client, server } = engines;
  shakeHands(engines);
  client.end();
  pass(client, server);
  server.write(new TextEncoder().encode("late"));
  server.end();
  pass(server, client);
  assertEquals(new TextDecoder().decode(readAll(client)), "late");
  assertEquals(client.isEnded, true);
});

Deno.test("TlsEngine refuses what is not TLS, and has an alert to send", NEEDS, async () => {
  using ca = await createCa();
  using engines = await createEngines(ca);
  const { server } = engines;
  server.start();
  const http = new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n");
  assertEquals(errorOf(() => server.receive(http)).code, "ERR_SSL_WRONG_VERSION_NUMBER");
  assertEquals(server.takeOutput()[0], 0x15);
  // It does not come to itself again.
  assertThrows(() => server.receive(new Uint8Array(100)), Error);
});

Deno.test(
  "TlsEngine as a client refuses a server that its CA does not vouch for",
  NEEDS,
  async () => {
    using ca = await createCa();
    using other = await createCa({ name: "another CA" });
    for (
      const { cert, key } of [
        await other.issue({ dns: ["localhost"] }),
        await selfSigned(ca, { dns: ["localhost"] }),
      ]
    ) {
      using engines = await createEngines(ca, { serverIs: { cert, key } });
      assert(errorOf(() => shakeHands(engines)).name === "EngineError");
      assertEquals(engines.client.isEstablished, false);
    }
  },
);

Deno.test("TlsEngine as a server refuses a client without a certificate", NEEDS, async () => {
  using ca = await createCa();
  using engines = await createEngines(ca, { clientIs: {} });
  const error = errorOf(() => shakeHands(engines));
  assertEquals(error.code, "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE");
  assertEquals(engines.server.isEstablished, false);
});

Deno.test(
  "TlsEngine as a server never takes a client of another CA without a complaint",
  NEEDS,
  async () => {
    using ca = await createCa();
    using other = await createCa({ name: "another CA" });
    const { cert, key } = await other.issue({ dns: ["client.example.com"] });
    using engines = await createEngines(ca, { clientIs: { cert, key } });
    const { server } = engines;
    try {
      shakeHands(engines);
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      assertEquals(error.name, "EngineError");
      assertEquals(server.isEstablished, false);
      return;
    }
    assert(server.complaint !== "");
  },
);

Deno.test("TlsEngine may be disposed at any time, and be used no more", NEEDS, async () => {
  using ca = await createCa();
  const acts: readonly ((engines: Engines) => void)[] = [
    () => {},
    ({ client }) => client.start(),
    (engines) => shakeHands(engines),
    (engines) => {
      shakeHands(engines);
      engines.client.write(new Uint8Array(1000));
      engines.client.end();
      pass(engines.client, engines.server);
    },
    ({ server }) => {
      server.start();
      errorOf(() => server.receive(new Uint8Array(64)));
    },
  ];
  const uses: readonly ((engine: TlsEngine) => unknown)[] = [
    (engine) => engine.receive(new Uint8Array(64)),
    (engine) => engine.write(new Uint8Array(64)),
    (engine) => engine.read(new Uint8Array(64)),
    (engine) => engine.end(),
    (engine) => engine.takeOutput(),
    (engine) => engine.peerChain,
    (engine) => engine.complaint,
    (engine) => engine.version,
    (engine) => engine[Symbol.dispose](),
  ];
  for (const act of acts) {
    using engines = await createEngines(ca);
    act(engines);
    for (const engine of [engines.client, engines.server]) {
      engine[Symbol.dispose]();
      for (const use of uses) {
        // It may throw, but nothing worse.
        try {
          use(engine);
        } catch (error) {
          if (!(error instanceof Error)) throw error;
        }
      }
      assertEquals(engine.read(new Uint8Array(64)), 0);
    }
  }
});

Deno.test(
  "TlsEngine survives any damage on the way, and is never fooled by it",
  NEEDS,
  async () => {
    using ca = await createCa();
    const random = new Random();
    const message = new TextEncoder().encode("what was meant");
    const [ofServer, ofClient] = await Promise.all([ca.issue({ dns: ["localhost"] }), ca.issue()]);
    for (let round = 0; round < 300; round++) {
      using engines = await createEngines(ca, { serverIs: ofServer, clientIs: ofClient });
      const { client, server } = engines;
      let left = random.below(6);
      const hurt = (output: Uint8Array): void => void (left-- === 0 && damage(output, random));
      try {
        shakeHands(engines, hurt);
        if (!client.isEstablished) continue;
        client.write(message);
        pass(client, server, hurt);
      } catch (error) {
        if (error instanceof Error && error.name === "EngineError") continue;
        throw new Error(`seed ${random.seed}, round ${round}`, { cause: error });
      }
      const received = readAll(server);
      if (received.length > 0) assertEquals(received, message, `seed ${random.seed}`);
    }
  },
);

/** Changes something. */
function damage(data: Uint8Array, random: Random): void {
  const at = random.below(data.length);
  const kind = random.below(3);
  if (kind === 0) data[at] = (data[at] ?? 0) ^ 1 << random.below(8);
  else if (kind === 1) data.fill(random.below(256), at, at + random.below(40));
  else data.copyWithin(at, random.below(data.length));
}
