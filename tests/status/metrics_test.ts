import { assert, assertEquals } from "@std/assert";
import * as net from "node:net";
import { CONNECT_SECONDS, DROP_REASONS, REASONS, RouteCounts } from "../../src/forward/counts.ts";
import { formatMetrics } from "../../src/status/metrics.ts";
import { newTraffic } from "../../src/net/relay.ts";
import type { Protocol } from "../../src/base/address.ts";
import type { Report } from "../../src/forward/report.ts";
import {
  freePort,
  readAll,
  readExactly,
  readText,
  startEcho,
  startForwarder,
  startProgram,
  until,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { serveClient } from "../helpers/connections.ts";
import { LINUX, needs, RESETS } from "../helpers/needs.ts";
import { connectAndReset } from "../helpers/process.ts";
import { checkMetrics } from "../helpers/promtool.ts";
import { BUSY_TARGET, FIXED_WIRING } from "../helpers/reports.ts";
import { routeTo } from "../helpers/routes.ts";

function reportOf(
  counts: RouteCounts,
  aliases: readonly string[] = ["REDIS"],
  protocol: Protocol = "tcp",
): Report {
  const route = routeTo({ protocol, hostname: "192.0.2.10", port: 6379 }, {
    aliases,
    listen: { protocol, hostname: "::", port: 6379 },
  });
  return {
    version: "1.2.3",
    startedAt: 1500,
    certificate: undefined,
    wiring: FIXED_WIRING,
    ready: true,
    routes: [{
      route,
      targets: [BUSY_TARGET],
      counts: counts.report(),
      isLeaving: false,
    }],
    ignored: [],
  };
}

/** The value of every sample, by its name and labels as they stand in the text. */
function samplesOf(text: string): Map<string, number> {
  return new Map(
    text.split("\n").filter((line) => line !== "" && !line.startsWith("#")).map((line) => {
      const at = line.lastIndexOf(" ");
      return [line.slice(0, at), Number(line.slice(at + 1))];
    }),
  );
}

/** The value of the only sample of this name that has these labels. */
function valueOf(text: string, name: string, ...labels: readonly string[]): number {
  const found = [...samplesOf(text)].filter(([key]) =>
    (key === name || key.startsWith(`${name}{`)) && labels.every((label) => key.includes(label))
  );
  assertEquals(found.length, 1, `${name} ${labels} in ${text}`);
  return found[0]?.[1] ?? NaN;
}

async function scrape(url: string): Promise<string> {
  const response = await within(fetch(`${url}/metrics`), "the metrics");
  return await response.text();
}

Deno.test("formatMetrics() says when the own certificate expires, where there is one", () => {
  const name = "ambassador_tls_certificate_expiry_timestamp_seconds";
  const none = [...formatMetrics(reportOf(new RouteCounts()))].join("");
  assert(!samplesOf(none).has(name), none);
  const certificate = {
    option: "--tls-cert",
    subject: "redis",
    names: ["redis"],
    issuer: undefined,
    notBeforeMs: 0,
    notAfterMs: Date.UTC(2027, 0, 1),
  };
  const text = [...formatMetrics({ ...reportOf(new RouteCounts()), certificate })].join("");
  assertEquals(samplesOf(text).get(name), Date.UTC(2027, 0, 1) / 1000);
});

Deno.test("formatMetrics() counts the changes of the routes, also where there were none", () => {
  const shown = reportOf(new RouteCounts());
  const rewires = { ok: 5, failed: 2 };
  for (
    const [wiring, ok, failed] of [[FIXED_WIRING, 0, 0], [
      { ...FIXED_WIRING, rewires },
      5,
      2,
    ]] as const
  ) {
    const samples = samplesOf([...formatMetrics({ ...shown, wiring })].join(""));
    assertEquals(samples.get('ambassador_rewires_total{result="ok"}'), ok);
    assertEquals(samples.get('ambassador_rewires_total{result="failed"}'), failed);
  }
});

Deno.test("formatMetrics() says whether the routes file is in force, where there is one", () => {
  const name = "ambassador_routes_file_ok";
  const wirings = [
    FIXED_WIRING,
    { ...FIXED_WIRING, file: "/routes" },
    { ...FIXED_WIRING, file: "/routes", flaw: { at: 0, message: "no such file" } },
  ];
  const shown = reportOf(new RouteCounts());
  const values = wirings.map((wiring) =>
    samplesOf([...formatMetrics({ ...shown, wiring })].join("")).get(name)
  );
  assertEquals(values, [undefined, 1, 0]);
});

Deno.test("formatMetrics() goes on with a route that is leaving", () => {
  const shown = reportOf(new RouteCounts());
  const leaving = shown.routes.map((route) => ({ ...route, isLeaving: true }));
  assertEquals(
    [...formatMetrics({ ...shown, routes: leaving })].join(""),
    [...formatMetrics(shown)].join(""),
  );
});

Deno.test("formatMetrics() says of no target that is leaving whether it is up", () => {
  const shown = reportOf(new RouteCounts());
  const routes = shown.routes.map((route) => ({
    ...route,
    targets: route.targets.flatMap((target) => [
      { ...target, name: "old:1", isLeaving: true },
      { ...target, name: "new:1", downSince: 0 },
    ]),
  }));
  const samples = samplesOf([...formatMetrics({ ...shown, routes })].join(""));
  const ofTargets = [...samples].filter(([name]) => name.startsWith("ambassador_target_"))
    .map(([name, value]) => [/_target_(\w+).*target="(.*)"/.exec(name)?.slice(1).join(" "), value]);
  assertEquals(ofTargets, [["up new:1", 0], ["connections_total old:1", 2], [
    "connections_total new:1",
    2,
  ]]);
});

Deno.test("formatMetrics() gives every number of a route with its name and listen address", () => {
  const counts = new RouteCounts();
  counts.acceptErrors = 3;
  counts.connectFailed("connection refused");
  const traffic = newTraffic();
  [traffic.up.bytes, traffic.down.bytes] = [5, 7];
  counts.opened(traffic);
  const text = [...formatMetrics(reportOf(counts))].join("");
  const labels = 'route="REDIS",listen="[::]:6379"';
  const samples = samplesOf(text);
  assertEquals(samples.get(`ambassador_connections_open{${labels}}`), 1);
  assertEquals(samples.get(`ambassador_connections_total{${labels}}`), 1);
  for (const reason of REASONS) {
    const name = `ambassador_connections_closed_total{${labels},reason="${reason}"}`;
    assertEquals(samples.get(name), 0, reason);
  }
  assertEquals(samples.get(`ambassador_bytes_total{${labels},direction="up"}`), 5);
  assertEquals(samples.get(`ambassador_bytes_total{${labels},direction="down"}`), 7);
  assertEquals(samples.get(`ambassador_connect_errors_total{${labels}}`), 1);
  assertEquals(samples.get(`ambassador_accept_errors_total{${labels}}`), 3);
  assertEquals(samples.get('ambassador_build_info{version="1.2.3"}'), 1);
  assertEquals(samples.get("process_start_time_seconds"), 1.5);
});

Deno.test("formatMetrics() counts each dial in its bucket and in all after it", () => {
  const counts = new RouteCounts();
  for (const seconds of [0.0001, 0.005, 0.3, 60]) counts.connected(seconds);
  const text = [...formatMetrics(reportOf(counts))].join("");
  const name = "ambassador_connect_duration_seconds";
  const buckets = [...CONNECT_SECONDS, "+Inf"].map((le) =>
    valueOf(text, `${name}_bucket`, `le="${le}"`)
  );
  assertEquals(buckets, [1, 1, 1, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 4]);
  assertEquals(valueOf(text, `${name}_count`), 4);
  assertEquals(valueOf(text, `${name}_sum`), 0.0001 + 0.005 + 0.3 + 60);
});

/** What a UDP route has done that has lost so many datagrams for each reason: 1, 2, and so on. */
function lossyCounts(): RouteCounts {
  const counts = new RouteCounts();
  counts.opened({ up: { bytes: 5 }, down: { bytes: 7 } });
  [counts.datagramsUp, counts.datagramsDown] = [2, 3];
  DROP_REASONS.forEach((reason, index) => counts.dropped[reason] = index + 1);
  return counts;
}

Deno.test("formatMetrics() counts the datagrams of a UDP route, and those lost by every reason", () => {
  const counts = lossyCounts();
  const samples = samplesOf([...formatMetrics(reportOf(counts, ["DNS"], "udp"))].join(""));
  const labels = 'route="DNS",listen="[::]:6379/udp"';
  assertEquals(samples.get(`ambassador_connections_open{${labels}}`), 1);
  assertEquals(samples.get(`ambassador_bytes_total{${labels},direction="up"}`), 5);
  assertEquals(samples.get(`ambassador_bytes_total{${labels},direction="down"}`), 7);
  assertEquals(samples.get(`ambassador_datagrams_total{${labels},direction="up"}`), 2);
  assertEquals(samples.get(`ambassador_datagrams_total{${labels},direction="down"}`), 3);
  DROP_REASONS.forEach((reason, index) => {
    const name = `ambassador_datagrams_dropped_total{${labels},reason="${reason}"}`;
    assertEquals(samples.get(name), index + 1, reason);
  });
});

Deno.test("formatMetrics() has nothing of datagrams for other routes, also beside one of UDP", () => {
  const [tcp, tls] = (["tcp", "tls"] as const).map((protocol) =>
    reportOf(new RouteCounts(), ["PLAIN"], protocol)
  );
  const udp = reportOf(lossyCounts(), ["DNS"], "udp");
  assert(tcp && tls);
  const both = { ...tcp, routes: [...tcp.routes, ...udp.routes] };
  for (const [report, count] of [[tcp, 0], [tls, 0], [both, 2 + DROP_REASONS.length]] as const) {
    const names = [...samplesOf([...formatMetrics(report)].join("")).keys()];
    const found = names.filter((name) => name.startsWith("ambassador_datagrams_"));
    assertEquals(found.length, count);
    assertEquals(found.filter((name) => name.includes("PLAIN")), []);
  }
});

const HOSTILE = 'A\\"} 1\nevil_metric{x="\\\\\n\r{},#\u2028é\u0000';

/** The value of a label of the first sample that has it, as Prometheus reads it. */
function labelOf(text: string, label: string): string | undefined {
  const quoted = new RegExp(`[{,]${label}="((?:[^"\\\\\n]|\\\\.)*)"`).exec(text)?.[1];
  return quoted?.replace(/\\(.)/g, (_, character) => character === "n" ? "\n" : character);
}

Deno.test("formatMetrics() lets no alias and no address end its label", () => {
  const report = reportOf(new RouteCounts(), [HOSTILE]);
  const routes = report.routes.map(({ route, counts }) => ({
    targets: [{ name: HOSTILE, downSince: undefined, open: 0, connections: 0, isLeaving: false }],
    route: { ...route, listen: { protocol: "tcp" as const, hostname: HOSTILE, port: 1 } },
    counts,
    isLeaving: false,
  }));
  const text = [...formatMetrics({ ...report, routes })].join("");
  const shown = HOSTILE.replace("\r", "\\u{d}").replace("\u2028", "\\u{2028}")
    .replace("\0", "\\u{0}");
  assertEquals(labelOf(text, "route"), shown);
  assertEquals(labelOf(text, "listen"), `${shown}:1`);
  assertEquals(labelOf(text, "target"), shown);
  assertEquals(/(?!\n)[\p{Cc}\p{Cf}\p{Zl}]/u.test(text), false);
  assertEquals(/^evil_metric/m.test(text), false);
});

Deno.test("formatMetrics() passes promtool without a remark", needs("promtool"), async () => {
  const counts = new RouteCounts();
  counts.connected(0.2);
  const [plain, hostile] = [reportOf(counts), reportOf(counts, [HOSTILE])];
  const udp = reportOf(lossyCounts(), ["REDIS"], "udp");
  const reports = [
    plain,
    hostile,
    udp,
    { ...plain, routes: [...plain.routes, ...udp.routes] },
    { ...plain, routes: [] },
  ];
  for (const report of reports) {
    const text = [...formatMetrics(report)].join("");
    assertEquals(await checkMetrics(text), { code: 0, remarks: "" });
  }
});

const STATUS = { hostname: "127.0.0.1", port: 0 } as const;

Deno.test("metrics are true to the last byte and connection, failed dials included", async () => {
  await using upstream = startEcho();
  const nobody = { hostname: "127.0.0.1", port: freePort() };
  await using forwarder = await startForwarder([upstream.address, nobody], { status: STATUS });
  const [echoing, down] = forwarder.routes.map(({ listen }) => listen);
  assert(echoing && down);
  for (const size of [0, 1, 70_000]) {
    using client = await Deno.connect(echoing);
    const sent = writeAll(client, "x".repeat(size)).then(() => client.closeWrite());
    assertEquals((await readAll(client)).length, size);
    await sent;
  }
  for (let i = 0; i < 5; i++) {
    using client = await Deno.connect(down);
    assertEquals(await readText(client), "");
  }
  using open = await Deno.connect(echoing);
  await writeAll(open, "four");
  await readExactly(open, 4);
  const text = await settled(forwarder.statusUrl, [1, 0]);
  const read = (name: string, route: number, label = ""): number =>
    valueOf(text, `ambassador_${name}`, `route="ROUTE${route}"`, label);
  assertEquals([0, 1].map((i) => read("connections_total", i)), [4, 5]);
  assertEquals(read("connections_closed_total", 0, '"finished"'), 3);
  assertEquals(read("connections_closed_total", 1, '"connect_failed"'), 5);
  assertEquals([0, 1].map((i) => read("connect_errors_total", i)), [0, 5]);
  assertEquals([0, 1].map((i) => read("connect_duration_seconds_count", i)), [4, 0]);
  assertEquals([0, 1].map((i) => read("bytes_total", i, '"up"')), [70_005, 0]);
  assertEquals([0, 1].map((i) => read("bytes_total", i, '"down"')), [70_005, 0]);
});

/** The metrics once each route has so many connections open. */
async function settled(url: string, open: readonly number[]): Promise<string> {
  let text = "";
  await until(async () => {
    text = await scrape(url);
    return open.every((count, index) =>
      valueOf(text, "ambassador_connections_open", `"ROUTE${index}"`) === count
    );
  }, `${open} connections are open`);
  return text;
}

Deno.test({
  name: "metrics are true to the last byte after resets of either side",
  ...needs(RESETS),
}, async () => {
  await using upstream = startEcho();
  const rude = net.createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => socket.write("12345", () => socket.resetAndDestroy()));
  });
  const listening = Promise.withResolvers<void>();
  rude.listen(0, "127.0.0.1", listening.resolve);
  await within(listening.promise, "the rude server");
  const { port } = rude.address() as net.AddressInfo;
  await using forwarder = await startForwarder(
    [upstream.address, { hostname: "127.0.0.1", port }],
    { status: STATUS },
  );
  const [echoing, resetting] = forwarder.routes.map(({ listen }) => listen);
  assert(echoing && resetting);
  const client = net.connect(echoing.port, echoing.hostname);
  client.on("error", () => {});
  client.write("1234567");
  await until(async () => {
    const text = await scrape(forwarder.statusUrl);
    return valueOf(text, "ambassador_bytes_total", "ROUTE0", '"down"') === 7;
  }, "bytes are counted while the connection is open");
  client.resetAndDestroy();
  {
    using other = await Deno.connect(resetting);
    await writeAll(other, "123");
    await readAll(other).catch(() => {});
  }
  const text = await settled(forwarder.statusUrl, [0, 0]);
  for (const [route, reason, up] of [[0, "client_reset", 7], [1, "upstream_reset", 3]] as const) {
    const name = `route="ROUTE${route}"`;
    assertEquals(valueOf(text, "ambassador_connections_closed_total", name, `"${reason}"`), 1);
    assertEquals(valueOf(text, "ambassador_connections_total", name), 1);
    assertEquals(valueOf(text, "ambassador_bytes_total", name, '"up"'), up);
  }
  await new Promise((resolve) => rude.close(resolve));
});

Deno.test("metrics count what a connection had moved when a drain cut it off", async () => {
  await using upstream = startEcho();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  using client = await Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
  const { connection, counts, end } = serveClient(await listener.accept(), upstream.address);
  await writeAll(client, "12345");
  await readExactly(client, 5);
  connection.end("drain_timeout");
  await within(end, "the connection to end");
  const text = [...formatMetrics(reportOf(counts))].join("");
  assertEquals(valueOf(text, "ambassador_connections_open"), 0);
  assertEquals(valueOf(text, "ambassador_connections_closed_total", '"drain_timeout"'), 1);
  assertEquals(valueOf(text, "ambassador_bytes_total", '"up"'), 5);
  assertEquals(valueOf(text, "ambassador_bytes_total", '"down"'), 5);
});

Deno.test("ambassador counts on while it drains, and its log agrees with its metrics", async () => {
  await using upstream = startEcho();
  const [port, status] = [freePort(), freePort()];
  await using program = startProgram([
    ...["--status", `127.0.0.1:${status}`, "--drain-timeout", "300ms", "--log-level", "debug"],
    `127.0.0.1:${port}=127.0.0.1:${upstream.address.port}`,
  ]);
  await program.line(/ ready /);
  using client = await Deno.connect({ hostname: "127.0.0.1", port });
  await writeAll(client, "12345");
  await readExactly(client, 5);
  program.kill("SIGTERM");
  await program.line(/ draining /);
  const text = await scrape(`http://127.0.0.1:${status}`);
  assertEquals(valueOf(text, "ambassador_connections_open"), 1);
  assertEquals(valueOf(text, "ambassador_bytes_total", '"up"'), 5);
  assertEquals((await within(program.status, "the end")).code, 1);
  await program.line(/ connection_closed .* bytes_up=5 bytes_down=5 .* reason=drain_timeout\n/);
});

Deno.test({
  name: "metrics count the accepts that failed",
  ...needs(LINUX, RESETS),
}, async () => {
  const [port, status] = [freePort(), freePort()];
  await using program = startProgram([
    ...["--status", `127.0.0.1:${status}`],
    `127.0.0.1:${port}=127.0.0.1:9`,
  ]);
  await program.line(/ ready /);
  program.kill("SIGSTOP");
  for (let i = 0; i < 20; i++) await connectAndReset({ hostname: "127.0.0.1", port });
  program.kill("SIGCONT");
  await until(async () => {
    const text = await scrape(`http://127.0.0.1:${status}`);
    return valueOf(text, "ambassador_accept_errors_total") > 0;
  }, "they are counted");
});
