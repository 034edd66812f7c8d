import { assertEquals, assertMatch } from "@std/assert";
import { describeProbe, probeTargets } from "../../src/commands/probe.ts";
import type { Endpoint } from "../../src/base/address.ts";
import type { Stream } from "../../src/net/stream.ts";
import { PLAIN_TRANSPORTS } from "../../src/net/transports.ts";
import {
  freePort,
  readText,
  runProgram,
  startEcho,
  startUpstream,
  within,
} from "../helpers/mod.ts";
import { needs, TLS } from "../helpers/needs.ts";
import { routeTo } from "../helpers/routes.ts";
import { ALLOWED, everybody, startTlsEcho } from "../helpers/tls_routes.ts";

const LOOPBACK = "127.0.0.1";

Deno.test("probeTargets() says of each target of each route how it fares, in their order", async () => {
  await using upstream = startEcho();
  const dead: Endpoint = { protocol: "tcp", hostname: LOOPBACK, port: freePort() };
  const alive: Endpoint = { protocol: "tcp", ...upstream.address };
  const route = { ...routeTo(alive), targets: [dead, alive] };
  const probes = await within(probeTargets([route, routeTo(dead)], PLAIN_TRANSPORTS), "the probes");
  assertEquals(
    probes.map((all) => all.map(({ target, error }) => ({ target, error }))),
    [
      [{ target: dead, error: "connection refused" }, { target: alive, error: undefined }],
      [{ target: dead, error: "connection refused" }],
    ],
  );
});

Deno.test("probeTargets() tries a hundred targets at once, and gives up each after its --connect-timeout", async () => {
  // Its queue is full: nobody accepts.
  using hung = Deno.listen({ hostname: LOOPBACK, port: 0, tcpBacklog: 1 });
  const place = { hostname: LOOPBACK, port: hung.addr.port };
  await using upstream = startEcho();
  const waiting: Deno.TcpConn[] = [];
  for (let free = 2; free > 0; free--) waiting.push(await Deno.connect(place));
  const settings = { connectTimeoutMs: 300 };
  const routes = [
    routeTo(place, { settings }),
    ...Array.from({ length: 300 }, () => routeTo(upstream.address)),
  ];
  let [underWay, most] = [0, 0];
  const { tcp } = PLAIN_TRANSPORTS;
  async function connect(...args: Parameters<typeof tcp.connect>): Promise<Stream> {
    most = Math.max(most, ++underWay);
    return await tcp.connect(...args).finally(() => underWay--);
  }
  const counted = { ...PLAIN_TRANSPORTS, tcp: { ...tcp, connect } };
  const probes = await within(probeTargets(routes, counted), "the probes");
  assertEquals(most, 100);
  const errors = probes.flat().map(({ error }) => error);
  assertEquals(errors.slice(1).filter((error) => error !== undefined), []);
  if (Deno.build.os === "linux") assertEquals(errors[0], "no answer within 300ms");
  for (const conn of waiting) conn.close();
});

Deno.test("probeTargets() sends the PROXY header that its route sends, of nobody", async () => {
  const seen = Promise.withResolvers<string>();
  await using upstream = startUpstream(async (conn) => seen.resolve(await readText(conn)));
  const route = routeTo(upstream.address, { settings: { sendProxy: "v1" } });
  const [[probe] = []] = await within(probeTargets([route], PLAIN_TRANSPORTS), "the probe");
  assertEquals(probe?.error, undefined);
  assertEquals(await within(seen.promise, "the header"), "PROXY UNKNOWN\r\n");
});

Deno.test(
  "probeTargets() shakes hands with a TLS target, and says why that fails",
  needs(TLS, "openssl"),
  async () => {
    const { transports } = await everybody();
    await using upstream = startTlsEcho();
    const routes = [ALLOWED, "wrong.example.com"].map((tlsName) => ({
      ...routeTo(upstream.address, { settings: { tlsName } }),
      targets: [{ protocol: "tls" as const, ...upstream.address }],
    }));
    const probing = probeTargets(routes, transports);
    const [[good] = [], [bad] = []] = await within(probing, "the probes");
    assertEquals(good?.error, undefined);
    assertMatch(bad?.error ?? "", /not for the name "wrong\.example\.com"/);
  },
);

Deno.test("probeTargets() looks up no more than the name of a UDP target", async () => {
  const targets = [LOOPBACK, "localhost", "nowhere.invalid"].map((hostname) => ({
    protocol: "udp" as const,
    hostname,
    port: 53,
  }));
  const route = { ...routeTo({ hostname: LOOPBACK, port: 53 }), targets };
  const [probes = []] = await within(probeTargets([route], PLAIN_TRANSPORTS), "the probes");
  const [address = "", name = "", nowhere = ""] = probes.map(describeProbe);
  assertEquals(address, "not tried: UDP does not show whether a target is there");
  assertMatch(name, /^name found in \d+ ms; UDP does not show more$/);
  assertMatch(nowhere, /^name does not resolve: /);
});

Deno.test("ambassador check --probe prints what it has found, and exits with 1 if a target fails", async () => {
  await using upstream = startEcho();
  const { port } = upstream.address;
  const dead = freePort();
  const alive = `1=${LOOPBACK}:${port}`;
  const good = await runProgram(["check", "--probe", alive]);
  assertEquals([good.code, good.stderr], [0, ""]);
  assertMatch(
    good.stdout,
    /ignored\n\nROUTE +LISTEN +TARGET +PROBE\n- +\S+:1 +127\S+ +reached in \d+ ms\n\n1 target tried, none failed\n$/,
  );
  const bad = await runProgram(["check", "--probe", `${alive},${LOOPBACK}:${dead}`]);
  assertEquals([bad.code, bad.stderr], [1, ""]);
  assertMatch(bad.stdout, /\n- +\S+:1 +127\S+ +connection refused\n\n2 targets tried, 1 failed\n$/);
  const json = await runProgram([
    "check",
    "--format=json",
    "--probe",
    alive,
    `2=${LOOPBACK}:${dead}`,
  ]);
  assertEquals(json.code, 1);
  const [one, two] = JSON.parse(json.stdout).routes;
  assertEquals(one.probe.length, 1);
  assertEquals(one.probe[0].reached, true);
  assertEquals(one.probe[0].target, { protocol: "tcp", hostname: LOOPBACK, port });
  assertEquals(two.probe[0].error, "connection refused");
  const udp = await runProgram(["check", "--probe", alive, `3/udp=${LOOPBACK}:${dead}`]);
  assertEquals(udp.code, 0);
  assertMatch(udp.stdout, /\n1 target tried, none failed, 1 not tried\n$/);
  const socat = await runProgram(["check", "--format=socat", "--probe", alive]);
  assertEquals(socat.code, 2);
  assertEquals(socat.stdout, "");
  assertEquals(
    socat.stderr,
    "ambassador: --probe: a socat command line has no place for what it finds\n" +
      "  hint: leave one of the two out\n",
  );
});
