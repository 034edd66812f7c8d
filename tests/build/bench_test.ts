import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { formatChart } from "../../bench/chart.ts";
import type { ClosedLoopFigures } from "../../bench/closed_loop.ts";
import { KIND } from "../../bench/datagram.ts";
import type { ComeFigures, EchoFigures, SendFigures } from "../../bench/datagram_load.ts";
import { connectionsFor, openFilesOf } from "../../bench/descriptors.ts";
import { askOnce, parseRequests } from "../../bench/loads.ts";
import type { Measure } from "../../bench/measures.ts";
import type { OpenLoopFigures } from "../../bench/open_loop.ts";
import { findPairs } from "../../bench/pairs.ts";
import { startPong } from "../../bench/pong.ts";
import { freeDatagramPort, start, untilAccepting } from "../../bench/process.ts";
import { findOnPath } from "../../bench/programs.ts";
import { formatJson, formatMeasures, formatRows, rowsOf } from "../../bench/report.ts";
import { makeCertificates } from "../../bench/certificates.ts";
import { startDatagramServer } from "../../bench/services.ts";
import { untilAnswered, untilEchoed } from "../../bench/setup.ts";
import { formatNumber, formatRatio, median, quantile, ratio } from "../../bench/stats.ts";
import { formatTable } from "../../bench/table.ts";
import { holdSessions } from "../../bench/udp.ts";
import { findUdpPeers } from "../../bench/udp_peers.ts";
import { pathOf } from "../../build/sources.ts";
import { discard, freePort, startUpstream, within, writeAll } from "../helpers/mod.ts";
import { JSR, LINUX, needs, TLS } from "../helpers/needs.ts";

Deno.test("median() is the middle, and between the two middle ones of an even count", () => {
  assertEquals(median([3, 1, 2]), 2);
  assertEquals(median([4, 1, 3, 2]), 2.5);
  assertEquals(median([7]), 7);
});

Deno.test("median() leaves failed runs out, and is no number where all have failed", () => {
  assertEquals(median([NaN, 5, NaN, 1, 9]), 5);
  assert(Number.isNaN(median([])));
  assert(Number.isNaN(median([NaN])));
});

Deno.test("quantile() lies between the values", () => {
  assertEquals(quantile([0, 10], 0.25), 2.5);
  assertEquals(quantile([1, 2, 3], 1), 3);
  assertEquals(quantile([1, 2, 3], 0), 1);
});

Deno.test("ratio() is above 1 where we are better, whichever way is better", () => {
  assertEquals(ratio(20, 10, "more"), 2);
  assertEquals(ratio(20, 10, "less"), 0.5);
});

Deno.test("formatNumber() keeps three digits and sets thousands apart", () => {
  const cases: [number, string][] = [
    [0.1074, "0.107"],
    [9.996, "10.0"],
    [14.23, "14.2"],
    [999.6, "1,000"],
    [48123, "48,100"],
    [1234567, "1,230,000"],
    [0, "0"],
    [-2.5, "-2.50"],
    [NaN, "–"],
    [Infinity, "–"],
  ];
  for (const [value, text] of cases) assertEquals(formatNumber(value), text);
});

Deno.test("formatRatio() has two decimals while they tell something", () => {
  assertEquals(formatRatio(1.666), "1.67×");
  assertEquals(formatRatio(23.4), "23×");
  assertEquals(formatRatio(NaN), "–");
});

Deno.test("formatTable() is Markdown whose columns stand under each other", () => {
  assertEquals(
    formatTable([["what", "ours", "×"], ["a long one", "1", "2.00×"]]),
    [
      "| what       | ours |     × |",
      "| ---------- | ---: | ----: |",
      "| a long one |    1 | 2.00× |",
    ].join("\n"),
  );
});

Deno.test("formatChart() draws what is better to the right and what is worse to the left", () => {
  const [, better = "", same = "", worse = ""] = formatChart("title", [
    { label: "a", ratio: 2 },
    { label: "b", ratio: 1 },
    { label: "c", ratio: 0.5 },
  ]).split("\n");
  assertStringIncludes(better, " │████ ");
  assertStringIncludes(same, " │ ");
  assertStringIncludes(worse, "░░░░│ ");
});

Deno.test("formatChart() keeps in its bounds, and draws nothing for what was not measured", () => {
  const lines = formatChart("title", [
    { label: "a", ratio: 1e9 },
    { label: "b", ratio: 1e-9 },
    { label: "c", ratio: NaN },
    { label: "d", ratio: 0 },
  ]).split("\n").slice(1);
  assertEquals(lines.map((line) => line.indexOf("│")), [20, 20, 20, 20]);
  assertEquals(lines.map((line) => line.includes("░")), [false, true, false, true]);
  assert(lines.every((line) => line.length < 60));
});

Deno.test("parseRequests() reads what redis-benchmark --csv prints", () => {
  const csv = `"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms",` +
    `"p99_latency_ms","max_latency_ms"\n` +
    `"PING_MBULK","50761.42","0.641","0.152","0.567","0.959","3.519","5.991"\n`;
  assertEquals(parseRequests(csv), { perSecond: 50761.42, p50Ms: 0.567, p99Ms: 3.519 });
});

/** Results of two rounds of one measure with two figures. */
function someResults(): Parameters<typeof rowsOf>[0] {
  const measure = {
    name: "some",
    figures: [
      { title: "fast", better: "more" as const },
      { title: "late", better: "less" as const },
    ],
    run: (): Promise<number[]> => Promise.resolve([]),
  };
  return new Map([[
    measure,
    new Map([["ambassador", [[30, 50], [1, 1]]], ["peer", [[10, 30], [2, 4]]]]),
  ]]);
}

Deno.test("formatRows() gives the medians, and in brackets how many times better ours is", () => {
  assertEquals(formatRows(rowsOf(someResults())).split("\n").slice(2), [
    "| fast   |       40.0 | 20.0 (2.00×) |",
    "| late   |       1.00 | 3.00 (3.00×) |",
  ]);
});

Deno.test("formatMeasures() has a row for each measure and candidate, without what was not measured", () => {
  const figures = [{ title: "late", better: "less" as const }];
  function measure(name: string): Measure {
    return { name, figures, run: () => Promise.resolve([]) };
  }
  const results = new Map([
    [measure("alone"), new Map([["ambassador", [[1, 3]]], ["peer", [[4, 4]]]])],
    [measure("beside"), new Map([["ambassador", [[4, 4]]], ["peer", [[NaN, NaN]]]])],
  ]);
  assertEquals(formatMeasures(results, { name: "some", againstFirst: false }).split("\n"), [
    "| some   |            | late |",
    "| ------ | ---------: | ---: |",
    "| alone  | ambassador | 2.00 |",
    "|        |       peer | 4.00 |",
    "| beside | ambassador | 4.00 |",
  ]);
  const [, , , , against] = formatMeasures(results, { name: "some", againstFirst: true }).split(
    "\n",
  );
  assertEquals(against, "| beside | ambassador | 4.00 (0.50×) |");
});

Deno.test("formatMeasures() compares nothing with a first row that was not measured", () => {
  const figures = [{ title: "late", better: "less" as const }];
  const some = (name: string): Measure => ({ name, figures, run: () => Promise.resolve([]) });
  const results = new Map([
    [some("alone"), new Map([["ambassador", [[NaN]]]])],
    [some("beside"), new Map([["ambassador", [[4]]]])],
  ]);
  const table = formatMeasures(results, { name: "some", againstFirst: true });
  assertEquals(table.split("\n").slice(2), ["| beside | ambassador | 4.00 |"]);
});

Deno.test("connectionsFor() leaves two descriptors for each connection, and some to the forwarder", () => {
  assertEquals(connectionsFor(0, 20_000), 9950);
  assertEquals(connectionsFor(5000, 20_000), 7450);
  assertEquals(connectionsFor(0, 1_048_576), 10_000);
});

Deno.test("openFilesOf() reads the limit in force", () => {
  const limits =
    "Limit                     Soft Limit           Hard Limit           Units     \n" +
    "Max processes             96365                96365                processes \n" +
    "Max open files            1024                 20000                files     \n";
  assertEquals(openFilesOf(limits), 1024);
});

/** Runs a load generator with up to so many descriptors. */
async function generator(
  name: string,
  args: readonly (string | number)[],
  { descriptors = 1000 }: { descriptors?: number } = {},
): Promise<{ code: number; out: string; err: string }> {
  const deno = [Deno.execPath(), "run", "-q", "-A", "--no-config", pathOf(`bench/${name}.ts`)];
  const command = new Deno.Command("sh", {
    args: ["-c", `ulimit -n ${descriptors} && exec "$@"`, "sh", ...deno, ...args.map(String)],
    stdin: "null",
  });
  const { code, stdout, stderr } = await within(command.output(), "the generator to end", 60_000);
  const decoder = new TextDecoder();
  return { code, out: decoder.decode(stdout), err: decoder.decode(stderr) };
}

function closedLoop(
  args: readonly (string | number)[],
  options?: { descriptors: number },
): ReturnType<typeof generator> {
  return generator("closed_loop", args, options);
}

const ANSWER = "+PONG\r\n";

async function answerAll(conn: Deno.TcpConn): Promise<void> {
  // A client that resets the connection is done.
  try {
    while (await conn.read(new Uint8Array(6)) !== null) await writeAll(conn, ANSWER);
  } catch (error) {
    if (!(error instanceof Deno.errors.ConnectionReset)) throw error;
  }
}

Deno.test(
  "closed_loop counts answers and processor time, and holds the quiet ones",
  needs(LINUX),
  async () => {
    await using server = startUpstream(answerAll);
    const { port } = server.address;
    const { code, out, err } = await closedLoop(["127.0.0.1", port, 3, 0.2, 2, Deno.pid]);
    assertEquals([code, err], [0, "opened\n"]);
    assertEquals(server.clients, 5);
    assertEquals(server.errors, []);
    const figures: ClosedLoopFigures = JSON.parse(out);
    assert(figures.perSecond > 0);
    assert(figures.p50Ms <= figures.p99Ms && figures.p99Ms <= figures.longestMs);
    assert(figures.leastShare > 0.1 && figures.leastShare <= 1, out);
    assert(figures.cpuMicros > 0 && figures.cpuMicros < 1e5, out);
  },
);

Deno.test("closed_loop tells the one who is left behind", needs(LINUX), async () => {
  let clients = 0;
  await using server = startUpstream(async (conn) => {
    const isLeftBehind = clients++ === 0;
    if (!isLeftBehind) return await answerAll(conn);
    await conn.read(new Uint8Array(6));
    await writeAll(conn, ANSWER);
    await discard(conn).catch(() => {});
  });
  const { code, out, err } = await closedLoop(["127.0.0.1", server.address.port, 3, 0.2]);
  assertEquals(code, 0, err);
  const { leastShare, longestMs, p99Ms }: ClosedLoopFigures = JSON.parse(out);
  assertEquals(leastShare, 0);
  assert(longestMs >= 700 && p99Ms < longestMs, out);
});

Deno.test("closed_loop fails in one line when it is left alone", needs(LINUX), async () => {
  await using server = startUpstream(async (conn) => {
    await conn.read(new Uint8Array(6));
  });
  const { port } = server.address;
  const nobody = freePort();
  for (
    const [args, message] of [
      [["127.0.0.1", port, 1, 1], "connection 0 was closed"],
      [["127.0.0.1", nobody, 2, 1], "connection 0 of 2 could not be opened"],
    ] as const
  ) {
    const { code, out, err } = await closedLoop(args);
    assertEquals([code, out, err], [1, "", `${message}\n`]);
  }
});

Deno.test("closed_loop says that descriptors have run out", needs(LINUX), async () => {
  await using server = startUpstream(answerAll);
  const args = ["127.0.0.1", server.address.port, 100, 1];
  const { code, out, err } = await closedLoop(args, { descriptors: 64 });
  assertEquals([code, out], [1, ""]);
  assertMatch(err, /^no descriptor is left for connection \d+ of 100 \(ulimit -n\)\n$/);
});

/** Clients of the load generator that come at a rate. */
async function openLoop(...args: (string | number)[]): Promise<OpenLoopFigures> {
  const { code, out, err } = await generator("open_loop", args);
  assertEquals([code, err], [0, ""]);
  return JSON.parse(out);
}

Deno.test(
  "open_loop brings clients at a rate from an address, each of whom asks once",
  needs(LINUX),
  async () => {
    const sources = new Set<string>();
    await using server = startUpstream(async (conn) => {
      sources.add(conn.remoteAddr.hostname);
      await answerAll(conn);
    });
    const { port } = server.address;
    const figures = await openLoop("127.0.0.1", port, "127.0.0.2", 200, 0.5, Deno.pid);
    assertEquals([...sources], ["127.0.0.2"]);
    assertEquals(server.errors, []);
    assert(server.clients >= 100 && server.clients < 110, `${server.clients}`);
    assert(figures.answeredPerSecond > 180 && figures.answeredPerSecond < 220);
    assertEquals(figures.refusedPerSecond, 0);
    assert(figures.p99Ms > 0 && figures.p99Ms < 1000, `${figures.p99Ms}`);
    assert(figures.cpuMicros > 0 && figures.cpuMicros < 1e5, `${figures.cpuMicros}`);
  },
);

Deno.test("open_loop counts those who get no answer", needs(LINUX), async () => {
  let clients = 0;
  await using server = startUpstream(async (conn) => {
    const fate = clients++ % 4;
    // Closed with its question unread, which resets it.
    if (fate === 0) return;
    await conn.read(new Uint8Array(6));
    if (fate === 1) return;
    await writeAll(conn, fate === 2 ? "-ERR\r\n" : ANSWER);
    await discard(conn);
  });
  const { port } = server.address;
  const { answeredPerSecond, refusedPerSecond } = await openLoop(
    ...["127.0.0.1", port, "127.0.0.1", 400, 0.5],
  );
  assert(refusedPerSecond > 270 && refusedPerSecond < 330, `${refusedPerSecond}`);
  assert(answeredPerSecond > 90 && answeredPerSecond < 110, `${answeredPerSecond}`);
});

Deno.test(
  "open_loop waits for nobody, and a late answer counts as late",
  needs(LINUX),
  async () => {
    const { promise: asked, resolve: onAsked } = Promise.withResolvers<void>();
    let clients = 0;
    await using server = startUpstream(async (conn) => {
      await conn.read(new Uint8Array(6));
      // The first is answered when the fiftieth has come.
      if (++clients === 50) onAsked();
      await asked;
      await writeAll(conn, ANSWER);
      await discard(conn);
    });
    const { port } = server.address;
    const { answeredPerSecond, p99Ms } = await openLoop(
      ...["127.0.0.1", port, "127.0.0.1", 100, 1],
    );
    assert(answeredPerSecond > 90 && p99Ms > 350 && p99Ms < 1000, `${p99Ms}`);
  },
);

Deno.test("open_loop fails in one line where it can't connect", needs(LINUX), async () => {
  const nobody = freePort();
  for (
    const [source, message] of [
      ["127.0.0.1", "a connection could not be opened (error 111)"],
      ["192.0.2.1", "192.0.2.1 is not an address of this machine"],
    ] as const
  ) {
    const { code, out, err } = await generator("open_loop", ["127.0.0.1", nobody, source, 1, 0.1]);
    assertEquals([code, out, err], [1, "", `${message}\n`]);
  }
});

Deno.test(
  "startPong() answers those behind a PROXY header or those without, as it is told",
  needs(LINUX),
  async () => {
    for (const behindHeader of [true, false]) {
      using server = startPong({ behindHeader });
      for (const announced of [[], ["192.0.2.1"]]) {
        const { answeredPerSecond, refusedPerSecond } = await openLoop(
          ...["127.0.0.1", server.port, "127.0.0.1", 100, 0.2, "", ...announced],
        );
        const isFit = announced.length > 0 === behindHeader;
        assertEquals([answeredPerSecond > 0, refusedPerSecond > 0], [isFit, !isFit]);
      }
    }
  },
);

/** A load generator of datagrams. */
function datagramLoad(...args: readonly (string | number)[]): ReturnType<typeof generator> {
  return generator("datagram_load", args, { descriptors: 64 });
}

/** How many sockets a process has open. */
function socketsOf(pid: number): number {
  const folder = `/proc/${pid}/fd`;
  return [...Deno.readDirSync(folder)].map(({ name }) => Deno.readLinkSync(`${folder}/${name}`))
    .filter((target) => target.startsWith("socket:")).length;
}

/** Leads datagrams of one client to a port of this machine, and back; `passes` may lose some. */
async function startLossy(
  port: number,
  passes: (datagram: Uint8Array) => boolean,
): Promise<{ port: number } & AsyncDisposable> {
  const [here, there] = [0, 0].map((port) =>
    Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port })
  ) as [Deno.DatagramConn, Deno.DatagramConn];
  const target = { transport: "udp", hostname: "127.0.0.1", port } as const;
  let client: Deno.Addr = target;
  async function lead(
    from: Deno.DatagramConn,
    send: (datagram: Uint8Array, source: Deno.Addr) => Promise<unknown>,
  ): Promise<void> {
    try {
      for await (const [datagram, source] of from) await send(datagram, source);
    } catch {
      // It has been closed.
    }
  }
  const leading = [
    lead(here, async (datagram, source) => {
      client = source;
      if (passes(datagram)) await there.send(datagram, target);
    }),
    lead(there, (datagram) => here.send(datagram, client)),
  ];
  return await Promise.resolve({
    port: (here.addr as Deno.NetAddr).port,
    async [Symbol.asyncDispose](): Promise<void> {
      for (const socket of [here, there]) socket.close();
      await Promise.all(leading);
    },
  });
}

/** Echoes datagrams, and knows where they came from, until the stack is disposed. */
function startDatagramEcho(
  cleanup: AsyncDisposableStack,
): { readonly port: number; readonly sources: ReadonlySet<string> } {
  const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  const sources = new Set<string>();
  async function echoAll(): Promise<void> {
    for await (const [datagram, source] of socket) {
      const { hostname, port } = source as Deno.NetAddr;
      sources.add(`${hostname}:${port}`);
      await socket.send(datagram, source);
    }
  }
  const echoing = echoAll();
  cleanup.defer(async () => {
    socket.close();
    await echoing;
  });
  return { port: (socket.addr as Deno.NetAddr).port, sources };
}

Deno.test(
  "datagram_load counts echoes, and the processor time that they take",
  needs(LINUX),
  async () => {
    await using server = await startDatagramServer();
    const args = ["echo", "127.0.0.1", server.port, 4, 128, 0.3, 8, server.pid];
    const { code, out, err } = await datagramLoad(...args);
    assertEquals([code, err], [0, ""]);
    const figures: EchoFigures = JSON.parse(out);
    assert(figures.perSecond > 1000, out);
    assert(figures.p50Ms > 0 && figures.p50Ms <= figures.p99Ms, out);
    assertEquals(figures.lostShare, 0);
    assert(figures.cpuMicros > 0 && figures.cpuMicros < 1000, out);
  },
);

Deno.test("datagram_load goes on without echoes that are lost", needs(LINUX), async () => {
  await using server = await startDatagramServer();
  let count = 0;
  await using lossy = await startLossy(server.port, () => ++count % 4 !== 0);
  const { code, out, err } = await datagramLoad("echo", "127.0.0.1", lossy.port, 1, 128, 1.5, 1);
  assertEquals([code, err], [0, ""]);
  const { lostShare, p99Ms }: EchoFigures = JSON.parse(out);
  assert(lostShare > 0.15 && lostShare < 0.35, out);
  assert(p99Ms < 200, out);
});

Deno.test("datagram_load sends at a rate and says how many have come", needs(LINUX), async () => {
  await using server = await startDatagramServer();
  let count = 0;
  await using lossy = await startLossy(
    server.port,
    ([kind]) => kind !== KIND.count || ++count % 4 !== 0,
  );
  const args = ["send", "127.0.0.1", lossy.port, 1, 128, 0.5, 400, server.port];
  const { code, out, err } = await datagramLoad(...args);
  assertEquals([code, err], [0, ""]);
  const { sentPerSecond, arrivedPerSecond, lostShare }: SendFigures = JSON.parse(out);
  assert(sentPerSecond > 300 && sentPerSecond < 420, out);
  assert(arrivedPerSecond > 0.7 * sentPerSecond && arrivedPerSecond < 0.8 * sentPerSecond, out);
  assert(lostShare > 0.2 && lostShare < 0.3, out);
});

Deno.test("datagram_load brings new clients, each for one echo", needs(LINUX), async () => {
  await using cleanup = new AsyncDisposableStack();
  const { port, sources } = startDatagramEcho(cleanup);
  const { code, out, err } = await datagramLoad("come", "127.0.0.1", port, 2, 128, 40);
  assertEquals([code, err], [0, ""]);
  const { perSecond }: ComeFigures = JSON.parse(out);
  assert(perSecond > 0, out);
  // Two are there before, two are left at the end, and one more may be served with the last.
  assert(sources.size >= 40 && sources.size <= 45, `${sources.size}`);
});

Deno.test("datagram_load says that descriptors have run out", needs(LINUX), async () => {
  await using server = await startDatagramServer();
  const { code, out, err } = await datagramLoad("hold", "127.0.0.1", server.port, 100, 128);
  assertEquals([code, out], [1, ""]);
  assertMatch(err, /^no descriptor is left for client \d+ of 100 \(ulimit -n\)\n$/);
});

Deno.test("datagram_load holds clients that have had an echo each", needs(LINUX), async () => {
  await using cleanup = new AsyncDisposableStack();
  const { port, sources } = startDatagramEcho(cleanup);
  const holder = cleanup.use(await holdSessions(port, 50));
  assertEquals(sources.size, 50);
  // A few more are Deno's own.
  assert(socketsOf(holder.pid) >= 50);
});

/** The peers of the table, and the programs that they are. */
const UDP_PEERS = { nginx: "nginx", Go: "go", socat: "socat" } as const;

for (const [name, program] of Object.entries(UDP_PEERS)) {
  Deno.test(
    `findUdpPeers() has ${name} forward datagrams`,
    needs(LINUX, {
      name: `${program} (apt-get install)`,
      isHere: findOnPath(program) !== undefined,
    }),
    async () => {
      const folder = await Deno.makeTempDir();
      await using cleanup = new AsyncDisposableStack();
      cleanup.defer(() => Deno.remove(folder, { recursive: true }));
      const { port } = cleanup.use(await startDatagramServer());
      const listenPort = freeDatagramPort();
      const routes = [{ listenPort, hostname: "127.0.0.1", port, protocol: "udp" as const }];
      const spec = findUdpPeers().peers.find((peer) => peer.name === name);
      for (const command of spec?.commands(routes, { folder, options: [] }) ?? []) {
        cleanup.use(start(command));
      }
      await untilEchoed(listenPort);
    },
  );
}

/** What the near one of a pair reads. */
const PAIR_FILES = ["ca.pem", "near.pem", "near.pem.key"];

for (const [name, program] of [["stunnel", "stunnel"], ["HAProxy", "haproxy"]] as const) {
  Deno.test(
    `findPairs() has a pair of ${name} whose two want to see each other's certificates`,
    needs(LINUX, "openssl", program),
    async () => {
      const folder = await Deno.makeTempDir();
      await using cleanup = new AsyncDisposableStack();
      cleanup.defer(() => Deno.remove(folder, { recursive: true }));
      const server = cleanup.use(startPong({ behindHeader: false }));
      const listenPort = freePort();
      const routes = [{ listenPort, hostname: "127.0.0.1", port: server.port }];
      const spec = findPairs().peers.find((pair) => pair.name === name);
      const [near = [], far = []] = spec?.commands(routes, { folder, options: [] }) ?? [];
      cleanup.use(start(far));
      {
        await using _near = start(near);
        await untilAnswered(listenPort);
      }
      const own = `${folder}/own`;
      const strange = `${folder}/strange`;
      for (const name of [own, strange]) await Deno.mkdir(name);
      for (const file of PAIR_FILES) await Deno.copyFile(`${folder}/${file}`, `${own}/${file}`);
      makeCertificates(strange);
      // Who the near one is, then whom it trusts.
      for (const changed of [["near.pem", "near.pem.key"], ["ca.pem"]]) {
        for (const file of changed) await Deno.copyFile(`${strange}/${file}`, `${folder}/${file}`);
        await using _near = start(near);
        await untilAccepting(listenPort);
        await assertRejects(() => askOnce(listenPort), Error, "");
        for (const file of changed) await Deno.copyFile(`${own}/${file}`, `${folder}/${file}`);
      }
      // Nothing but that stood in its way.
      await using _near = start(near);
      await untilAnswered(listenPort);
    },
  );
}

Deno.test("formatJson() holds every round", () => {
  const { figures } = JSON.parse(formatJson(someResults()));
  assertEquals(figures.length, 2);
  assertEquals(figures[0].measure, "some");
  assertEquals(figures[0].rounds, { ambassador: [30, 50], peer: [10, 30] });
  assertEquals(figures[1].medians, { ambassador: 1, peer: 3 });
});

/** Runs the bench itself, as the task does. */
async function bench(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const map = JSR.isHere ? "deno.json" : "offline/import_map.json";
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "-A", `--import-map=${pathOf(map)}`, pathOf("bench/main.ts"), ...args],
    stdin: "null",
  });
  const { code, stdout, stderr } = await within(command.output(), "the bench to end", 60_000);
  const decoder = new TextDecoder();
  return { code, out: decoder.decode(stdout), err: decoder.decode(stderr) };
}

/** It reads /proc and needs servers to lead to. */
const BENCH = [LINUX, "redis-server", "redis-benchmark", "iperf3"] as const;

Deno.test({
  name: "the bench measures everything once, in a short run without peers",
  ...needs(...BENCH),
}, async () => {
  const { code, out, err } = await bench(
    "--rounds",
    "1",
    "--effort",
    "0.01",
    "--peers",
    "",
    "--json",
  );
  assertEquals(code, 0, err);
  const figures: { title: string; medians: Record<string, number> }[] = JSON.parse(out).figures;
  assertEquals(figures.length, 26);
  for (const { title, medians: { ambassador = NaN } } of figures) {
    // So few connections and so little CPU time may not show at all.
    const least = /idle|CPU/.test(title) ? -Infinity : 0;
    // One of a crowd may get nothing in so short a time.
    if (title.endsWith("least/median")) assert(ambassador >= 0, err);
    else assert(ambassador > least, `${title}: ${ambassador}\n${err}`);
  }
});

Deno.test({
  name: "the bench prints a table and charts beside a peer",
  ...needs(...BENCH, "socat"),
}, async () => {
  const few = [
    "--rounds",
    "1",
    "--effort",
    "0.01",
    "--only",
    "latency,start",
    "--peers",
    "socat",
  ];
  const { code, out, err } = await bench(...few);
  assertEquals(code, 0, err);
  assertStringIncludes(out, "| median ");
  assertStringIncludes(out, "| one connection, ms/PING ");
  assertStringIncludes(out, "ambassador against socat: ");
});

Deno.test({
  name: "the bench prints the tables of growth that are asked for",
  ...needs(...BENCH),
}, async () => {
  const few = ["--growth", "--rounds", "1", "--effort", "0.01", "--peers", ""];
  const { code, out, err } = await bench(...few, "--only", "routes,beside");
  assertEquals(code, 0, err);
  for (const row of ["1 route", "5,000 routes", "alone", "60 stalled readers"]) {
    assertMatch(out, new RegExp(`^\\| ${row} +\\| ambassador \\| +\\d`, "m"), err);
  }
  assertEquals(out.match(/^\| .+ \| ambassador \|/gm)?.length, 4 + 7, err);
});

Deno.test({
  name: "the bench knows strangers from those who are served, and headers where they belong",
  ...needs(...BENCH),
}, async () => {
  const few = ["--growth", "--rounds", "1", "--effort", "0.02", "--peers", ""];
  const { code, out, err } = await bench(...few, "--only", "refused,edge");
  assertEquals(code, 0, err);
  // A row in which clients did not get what is their due is left out.
  for (const row of ["alone", "10,000 strangers/s", "a new connection"]) {
    assertMatch(out, new RegExp(`^\\| ${row} +\\| ambassador \\| `, "m"), err);
  }
});

/** The bench runs the program with the Deno that it runs on itself. */
Deno.test({
  name: "the bench measures a pair of ambassadors with TLS between them, and one without",
  ...needs(...BENCH, "openssl", TLS),
}, async () => {
  const few = ["--tls", "--rounds", "1", "--effort", "0.01", "--peers", "without TLS", "--json"];
  const { code, out, err } = await bench(...few);
  assertEquals(code, 0, err);
  const figures: { title: string; medians: Record<string, number> }[] = JSON.parse(out).figures;
  assertEquals(figures.length, 17);
  for (const { title, medians } of figures) {
    // So few connections and so little CPU time may not show at all.
    const least = /idle|CPU/.test(title) ? -Infinity : 0;
    for (const name of ["ambassadors", "without TLS"]) {
      assert((medians[name] ?? NaN) > least, `${title}: ${name}\n${err}`);
    }
  }
});

Deno.test({
  name: "the bench measures datagrams once, in a short run without peers",
  ...needs(...BENCH),
}, async () => {
  const few = ["--udp", "--rounds", "1", "--effort", "0.01", "--peers", "", "--json"];
  const { code, out, err } = await bench(...few);
  assertEquals(code, 0, err);
  const figures: { title: string; medians: Record<string, number> }[] = JSON.parse(out).figures;
  assertEquals(figures.length, 17);
  for (const { title, medians: { ambassador = NaN } } of figures) {
    // So few sessions, so little CPU time and so few losses may not show at all.
    const least = /idle|CPU|lost/.test(title) ? -Infinity : 0;
    assert(ambassador > least, `${title}: ${ambassador}\n${err}`);
  }
});

Deno.test({
  name: "the bench prints what datagrams do without a forwarder",
  ...needs(...BENCH),
}, async () => {
  const few = ["--udp", "--rounds", "1", "--effort", "0.01", "--peers", "direct"];
  const { code, out, err } = await bench(...few, "--only", "echo");
  assertEquals(code, 0, err);
  assertMatch(out, /^\| 32 clients, echoes\/s +\| +[\d,]+ \| +[\d,]+ \(\d\.\d\d×\) \|$/m);
  assertMatch(out, /^\| 32 clients, CPU µs\/echo +\| .* – \(–\) \|$/m);
});

Deno.test("the bench says what is wrong with its arguments", needs(...BENCH), async () => {
  for (
    const [args, message] of [
      [["--rounds", "many"], '--rounds "many": not a number above 0'],
      [["--rounds="], '--rounds "": not a number above 0'],
      [["--rounds"], "'--rounds <value>'"],
      [["--rounds", "1", "--rounds=2"], "'--rounds' is given twice"],
      [["--only", "speed"], '"speed": not one of stream, streams, '],
      [["--only", ""], '--only "": names nothing'],
      [["--fast"], "'--fast'"],
      [["--json", "foo"], "'foo'"],
      [
        ["--growth", "--only", "stream"],
        '"stream": not one of busy, memory, routes, beside, refused, edge',
      ],
      [["--growth", "--peers", "socat"], '"socat": not one of '],
      [["--growth", "--status"], "--growth: stands without --status"],
      [["--tls", "--growth"], "--tls: stands without --growth and --status"],
      [["--tls", "--only", "streams"], '"streams": not one of up, down, redis, '],
      [["--tls", "--peers", "nginx"], '"nginx": not one of '],
      [["--udp", "--tls"], "--udp: stands without --growth, --tls and --status"],
      [["--udp", "--only", "redis"], '"redis": not one of echo, window, '],
      [["--udp", "--peers", "HAProxy"], '"HAProxy": not one of '],
    ] as const
  ) {
    const { code, out, err } = await bench(...args);
    assertEquals([code, out], [2, ""], err);
    assertStringIncludes(err, message);
    assertMatch(err, /^bench: .*\n$/);
  }
});

Deno.test({
  name: "the bench fails with status 1 where the executable is missing",
  ...needs(...BENCH),
}, async () => {
  const { code, err } = await bench("--bin", "dist/no-such-file", "--peers=", "--only", "start");
  assertEquals(code, 1);
  assertStringIncludes(err, "dist/no-such-file");
});
