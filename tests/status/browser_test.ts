import { assert, assertEquals, assertMatch } from "@std/assert";
import { RouteCounts } from "../../src/forward/counts.ts";
import type { Report, RouteReport } from "../../src/forward/report.ts";
import { StatusServer } from "../../src/status/server.ts";
import { type BrowserPage, openBrowser } from "../helpers/chromium.ts";
import {
  freePort,
  type Program,
  readExactly,
  startEcho,
  startProgram,
  until,
  writeAll,
} from "../helpers/mod.ts";
import { needs, programPath, SOURCES } from "../helpers/needs.ts";
import { BUSY_DATAGRAMS, datagramRoute, FIXED_WIRING } from "../helpers/reports.ts";
import { routeTo } from "../helpers/routes.ts";

/** An executable makes the same page: what serves it is tested elsewhere. */
const NEEDS = needs("chromium", SOURCES);

const HOSTILE = "</td><script>document.write('run')</script><img src onerror>";

/** The program with a status page, and an upstream. */
async function startScene(): Promise<
  AsyncDisposable & { program: Program; port: number; url: string }
> {
  await using opened = new AsyncDisposableStack();
  const upstream = opened.use(startEcho());
  const [port, status] = [freePort(), freePort()];
  const program = opened.use(startProgram(
    ["--bind", "127.0.0.1", "--status", `127.0.0.1:${status}`],
    {
      env: {
        [`${HOSTILE}_PORT_${port}_TCP`]: `tcp://127.0.0.1:${upstream.address.port}`,
        [`${HOSTILE}_PORT_1_SCTP`]: "sctp://192.0.2.1:1",
      },
    },
  ));
  await program.line(/ ready /);
  const rest = opened.move();
  return {
    program,
    port,
    url: `http://127.0.0.1:${status}/`,
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  };
}

/** A report of routes that came from a file too: their aliases, and whether they are leaving. */
function reportOf(leaving: Readonly<Record<string, boolean>>): Report {
  const routes = Object.entries(leaving).map(([alias, isLeaving]): RouteReport => ({
    route: routeTo({ hostname: "192.0.2.10", port: 6379 }, { aliases: [alias] }),
    targets: [],
    counts: new RouteCounts().report(),
    isLeaving,
  }));
  const [version, startedAt] = ["1.2.3", Date.now()];
  const wiring = { ...FIXED_WIRING, file: "/etc/ambassador/routes", since: startedAt };
  return { version, startedAt, certificate: undefined, ready: true, wiring, ignored: [], routes };
}

/** Problems, with what must neither be run nor make the page wider, many more than are looked at. */
const FLAW = { at: Date.now(), message: `${HOSTILE}${"w".repeat(5000)}\n`.repeat(50) };

async function openWired(
  page: BrowserPage,
  report: () => Report,
): Promise<Disposable> {
  const server = new StatusServer({ hostname: "127.0.0.1", port: 0 }, report);
  await page.open(`http://127.0.0.1:${server.address.port}/`);
  return server;
}

/** The text of the cell with this label in the first row that has one. */
function cell(page: BrowserPage, label: string): Promise<string> {
  return page.evaluate(`document.querySelector('td[data-label="${label}"]').innerText`);
}

async function openAt(page: BrowserPage, url: string): Promise<void> {
  await page.open(url);
  assertEquals(await cell(page, "Open"), "0");
}

Deno.test({
  name: "in a browser, the status page shows a connection that was just opened and closed",
  ...NEEDS,
}, async () => {
  await using scene = await startScene();
  await using page = await openBrowser(programPath("chromium"));
  await openAt(page, scene.url);
  // What is not replaced does not flicker, and stays selected.
  await page.evaluate("window.row = document.querySelector('tbody tr'); 1");
  {
    using client = await Deno.connect({ hostname: "127.0.0.1", port: scene.port });
    await writeAll(client, "12345");
    await readExactly(client, 5);
    await until(async () => await cell(page, "Open") === "1", "the page shows the connection");
    assertEquals(await cell(page, "Up"), "5 B");
    assertEquals(await page.evaluate("document.title"), "Ambassador: ready, 1 open");
  }
  await until(async () => await cell(page, "Open") === "0", "the page shows its end");
  assertEquals(await cell(page, "Total"), "1");
  assertEquals(await page.evaluate("row === document.querySelector('tbody tr')"), true);
  assertEquals(page.complaints, []);
});

Deno.test("in a browser, a hostile alias is shown and not run", NEEDS, async () => {
  await using scene = await startScene();
  await using page = await openBrowser(programPath("chromium"));
  await openAt(page, scene.url);
  assertEquals(await cell(page, "Route"), HOSTILE.toUpperCase());
  // Nor does the refresh make it HTML.
  using _client = await Deno.connect({ hostname: "127.0.0.1", port: scene.port });
  await until(async () => await cell(page, "Open") === "1", "the page is refreshed");
  assertEquals(await cell(page, "Route"), HOSTILE.toUpperCase());
  assertEquals(await cell(page, "Variable"), `${HOSTILE}_PORT_1_SCTP`);
  assertEquals(await page.evaluate("document.images.length"), 0);
  assertEquals(await page.evaluate("document.scripts.length"), 1);
  assertMatch(await page.evaluate("document.title"), /^Ambassador: ready/);
  assertEquals(page.complaints, []);
});

Deno.test({
  name: "in a browser with scripts off, the status page still shows and refreshes itself",
  ...NEEDS,
}, async () => {
  await using scene = await startScene();
  await using page = await openBrowser(programPath("chromium"));
  await page.call("Emulation.setScriptExecutionDisabled", { value: true });
  await openAt(page, scene.url);
  using _client = await Deno.connect({ hostname: "127.0.0.1", port: scene.port });
  await until(
    () => cell(page, "Open").then((open) => open === "1", () => false),
    "the page is loaded again",
  );
});

Deno.test({
  name: "in a browser, the status page says when the ambassador no longer answers",
  ...NEEDS,
}, async () => {
  await using scene = await startScene();
  await using page = await openBrowser(programPath("chromium"));
  await openAt(page, scene.url);
  assertEquals(await page.evaluate("document.getElementById('stale').hidden"), true);
  scene.program.kill("SIGTERM");
  await scene.program.status;
  const isStale = (): Promise<boolean> => page.evaluate("!document.getElementById('stale').hidden");
  await until(isStale, "it says so");
  assertEquals(await cell(page, "Open"), "0");
});

Deno.test({
  name: "in a browser, the status page fits a phone and follows dark mode",
  ...NEEDS,
}, async () => {
  await using scene = await startScene();
  await using page = await openBrowser(programPath("chromium"));
  const size = { width: 360, height: 640, deviceScaleFactor: 1, mobile: true };
  await page.call("Emulation.setDeviceMetricsOverride", size);
  await openAt(page, scene.url);
  assertEquals(await page.evaluate("document.documentElement.scrollWidth"), 360);
  const background = (): Promise<string> =>
    page.evaluate("getComputedStyle(document.body).backgroundColor");
  const prefer = (value: string): Promise<unknown> =>
    page.call("Emulation.setEmulatedMedia", {
      features: [{ name: "prefers-color-scheme", value }],
    });
  await prefer("light");
  assertEquals(await background(), "rgb(245, 246, 248)");
  await prefer("dark");
  assertEquals(await background(), "rgb(18, 21, 27)");
});

Deno.test({
  name:
    "in a browser, the status page shows which routes leave, and what is not in force, as it changes",
  ...NEEDS,
}, async () => {
  let report = reportOf({ A: false, B: true });
  await using page = await openBrowser(programPath("chromium"));
  using _server = await openWired(page, () => report);
  const rows = (): Promise<string> =>
    page.evaluate(`[...document.querySelectorAll('tbody tr')].map((row) =>
      row.cells[0].innerText.replace(/\\s+/g, " ") + " " + getComputedStyle(row.cells[1]).color).join("; ")`);
  const [present, leaving] = ["rgb(28, 35, 48)", "rgb(93, 103, 120)"];
  assertEquals(await rows(), `A ${present}; B leaving ${leaving}`);
  report = reportOf({ A: true, B: false });
  await until(async () => await rows() === `A leaving ${leaving}; B ${present}`, "they change");
  report = { ...report, wiring: { ...report.wiring, flaw: FLAW } };
  const problems = (): Promise<string | null> =>
    page.evaluate("document.querySelector('.flaw .problems')?.innerText.trim() ?? null");
  await until(async () => await problems() === FLAW.message.trim(), "the problems are shown");
  assertEquals(await page.evaluate("document.images.length"), 0);
  report = reportOf({});
  await until(async () => await problems() === null, "they are no more");
  assertEquals(
    await page.evaluate("document.querySelector('.none').innerText"),
    "Nothing is forwarded: neither the environment nor /etc/ambassador/routes gives a route.",
  );
  assertEquals(page.complaints, []);
});

Deno.test({
  name: "in a browser, many long problems neither make the status page wide nor hide its routes",
  ...NEEDS,
}, async () => {
  const report = reportOf({ A: false, B: true });
  const wiring = { ...report.wiring, file: `/${"long".repeat(60)}`, flaw: FLAW };
  await using page = await openBrowser(programPath("chromium"));
  for (const width of [360, 1280]) {
    const size = { width, height: 640, deviceScaleFactor: 1, mobile: width < 500 };
    await page.call("Emulation.setDeviceMetricsOverride", size);
    using _server = await openWired(page, () => ({ ...report, wiring }));
    assertEquals(await page.evaluate("document.documentElement.scrollWidth"), width);
    const height = await page.evaluate<number>("document.querySelector('.flaw').offsetHeight");
    assert(height < 900, `${height} pixels at a width of ${width}`);
  }
});

Deno.test({
  name:
    "in a browser, the status page shows the datagrams of a UDP route as they come and are lost",
  ...NEEDS,
}, async () => {
  let routes = [datagramRoute()];
  await using page = await openBrowser(programPath("chromium"));
  using _server = await openWired(page, () => ({ ...reportOf({ TCP: false }), routes }));
  assertEquals(await cell(page, "Dropped"), "0");
  await page.evaluate("window.row = document.querySelector('tbody tr'); 1");
  routes = [datagramRoute(BUSY_DATAGRAMS)];
  await until(async () => await cell(page, "Dropped") !== "0", "the page shows what is lost");
  assertEquals(
    (await cell(page, "Dropped")).split(/\n+/),
    ["1,024", "not_allowed 1,000", "queue_full 1", "stranger 23"],
  );
  assertEquals(await cell(page, "Sessions"), "4,096\n1,234,567 so far");
  assertEquals(await cell(page, "Datagrams up"), "12,345,678\n1.50 KiB");
  assertEquals(await cell(page, "Datagrams down"), "12,345,000\n1.00 MiB");
  assertEquals(await page.evaluate("row === document.querySelector('tbody tr')"), true);
  assertEquals(page.complaints, []);
});

Deno.test({
  name: "in a browser, long addresses and large numbers of datagrams do not make the page wide",
  ...NEEDS,
}, async () => {
  const busy = datagramRoute({ ...BUSY_DATAGRAMS, datagramsUp: Number.MAX_SAFE_INTEGER });
  const name = `udp://${"long.".repeat(40)}invalid:53`;
  const targets = busy.targets.map((target) => ({ ...target, name }));
  const routes = [...reportOf({ TCP: false }).routes, busy].map((one) => ({ ...one, targets }));
  await using page = await openBrowser(programPath("chromium"));
  for (const width of [360, 1000, 1280]) {
    const size = { width, height: 640, deviceScaleFactor: 1, mobile: width < 500 };
    await page.call("Emulation.setDeviceMetricsOverride", size);
    using _server = await openWired(page, () => ({ ...reportOf({}), routes }));
    assertEquals(await page.evaluate("document.documentElement.scrollWidth"), width);
    // Nothing is cut off or written over something else: what is too wide can be scrolled to.
    const tooWide = await page.evaluate(`[...document.querySelectorAll("dl div, td")]
      .filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.innerText)`);
    assertEquals(tooWide, []);
  }
  assertEquals(page.complaints, []);
});

/** How fast the number in the first cell or tile of this kind is said to grow. */
function rate(page: BrowserPage, of: string): Promise<string | null> {
  return page.evaluate(`document.querySelector('[data-rate="${of}"]').dataset.grows ?? null`);
}

Deno.test({
  name:
    "in a browser, the status page shows how fast numbers grow, and no rate of what begins anew",
  ...NEEDS,
}, async () => {
  const startMs = Date.now();
  let [startedAt, shift] = [startMs, 0];
  // Ten a second, 2 KiB a second up, nothing down, five datagrams a second up.
  const report = (): Report => {
    const seconds = (Date.now() - startMs) / 1000 + shift;
    const shown = reportOf({ TCP: false, QUIET: false });
    const counts = { connections: 10 * seconds, bytesUp: 2048 * seconds, bytesDown: 77 };
    const [busy, quiet] = shown.routes.map((one) => ({
      ...one,
      counts: { ...one.counts, ...counts },
    }));
    assert(busy && quiet);
    const other = { ...quiet.route.listen, port: 2 };
    const still = {
      ...quiet,
      route: { ...quiet.route, listen: other },
      counts: shown.routes[0]?.counts,
    };
    const routes = [busy, { ...still, counts: still.counts ?? quiet.counts }];
    return {
      ...shown,
      startedAt,
      routes: [...routes, datagramRoute({ datagramsUp: 5 * seconds })],
    };
  };
  await using page = await openBrowser(programPath("chromium"));
  using _server = await openWired(page, report);
  assertEquals(await rate(page, "Connections so far"), null);
  const seen = async (): Promise<boolean> => (await rate(page, "Connections so far") ?? "") !== "";
  await until(seen, "a second look");
  assertMatch(await rate(page, "Connections so far") ?? "", /^(9\.[5-9]|10(\.[0-5])?)\/s$/);
  assertMatch(await rate(page, "Bytes up") ?? "", /^(1\.9|2|2\.1) KiB\/s$/);
  assertEquals(await rate(page, "Bytes down"), "0 B/s");
  assertMatch(await rate(page, "opened") ?? "", /^(9\.[5-9]|10(\.[0-5])?)\/s$/);
  assertMatch(await rate(page, "Datagrams up") ?? "", /^(4\.[5-9]|5(\.[0-5])?)\/s$/);
  // In a table what stands still has none.
  assertEquals(await rate(page, "Down"), "");
  assertEquals(
    await page.evaluate(
      `[...document.querySelectorAll('[data-rate="opened"]')].at(-1).dataset.grows`,
    ),
    "",
  );
  // Another process has taken the place of the first, and has counted more.
  [startedAt, shift] = [startMs + 1, 1e6];
  await until(async () => !await seen(), "it has no rate");
  assertEquals(page.complaints, []);
});

/** A thousand routes, of which every hundredth is failing. */
function manyRoutes(): readonly RouteReport[] {
  const working = new RouteCounts().report();
  const failing = new RouteCounts();
  failing.connectFailed("connection refused");
  return Array.from({ length: 1000 }, (_, index): RouteReport => ({
    route: routeTo({ hostname: "192.0.2.10", port: 6379 }, {
      aliases: [`SERVICE_${index}`],
      listen: { hostname: "::", port: 10_000 + index },
    }),
    targets: [{
      name: `t${index}:1`,
      downSince: index % 100 === 7 ? Date.now() : undefined,
      open: 0,
      connections: 0,
      isLeaving: false,
    }],
    counts: index % 100 === 7 ? failing.report() : working,
    isLeaving: false,
  }));
}

Deno.test({
  name:
    "in a browser, a thousand routes can be searched by hand, and are while the page is refreshed",
  ...NEEDS,
}, async () => {
  let routes = manyRoutes();
  await using page = await openBrowser(programPath("chromium"));
  using _server = await openWired(page, () => ({ ...reportOf({}), routes }));
  const shown = (): Promise<string> =>
    page.evaluate(
      `[...document.querySelectorAll("#routes tbody tr")].filter((row) => row.offsetHeight > 0)
      .map((row) => row.id).join()`,
    );
  const said = (): Promise<string> => page.evaluate(`document.querySelector("output").innerText`);
  const press = async (...keys: readonly string[]): Promise<void> => {
    for (const key of keys) {
      const text = key.length === 1 ? { text: key } : {};
      const code = key === "Tab" ? { windowsVirtualKeyCode: 9 } : {};
      await page.call("Input.dispatchKeyEvent", { type: "keyDown", key, ...code, ...text });
      await page.call("Input.dispatchKeyEvent", { type: "keyUp", key, ...code });
    }
  };
  const failing = [7, 107, 207, 307, 407, 507, 607, 707, 807, 907];
  // The routes that are failing are reached first, and are links.
  assertEquals(await page.evaluate(`document.querySelectorAll(".flaw li a").length`), 10);
  await press(...failing.map(() => "Tab"), "Tab");
  assertEquals(await page.evaluate("document.activeElement.id"), "find");
  await press(..."service_1 t107");
  assertEquals([await shown(), await said()], ["[::]:10107", "1 of 1,000 routes"]);
  // What is asked for holds on when there are fewer, so that all rows are others.
  routes = routes.slice(0, -1);
  await until(async () => await said() === "1 of 999 routes", "the page is refreshed");
  assertEquals(await shown(), "[::]:10107");
  assertEquals(await page.evaluate("document.activeElement.id"), "find");
  const type = (text: string): Promise<unknown> =>
    page.evaluate(`document.getElementById("find").value = "${text}"; search()`);
  await type("");
  await page.evaluate(`document.getElementById("only-failing").click()`);
  assertEquals(await shown(), failing.map((index) => `[::]:${10_000 + index}`).join());
  await type("t55");
  assertEquals(await said(), "0 of 999 routes");
  // A link shows its route, whatever was asked for.
  await page.evaluate(`document.querySelectorAll(".flaw a")[9].click()`);
  assertEquals((await shown()).split(",").length, 999);
  const top = await page.evaluate<number>(
    `document.querySelector(":target").getBoundingClientRect().top`,
  );
  assertEquals(await page.evaluate(`document.querySelector(":target").id`), "[::]:10907");
  assert(top >= 0 && top < 640, `${top}`);
  assertEquals(page.complaints, []);
});

Deno.test({
  name:
    "in a browser, a route begins to fail and works again on the status page, and targets stay unfolded",
  ...NEEDS,
}, async () => {
  const target = { name: "a:1", open: 0, connections: 0, isLeaving: false };
  const shown = reportOf({ REDIS: false });
  const at = Date.now();
  const refused = { at, message: "connection refused", noneServedSince: true };
  const made = (counts: Partial<RouteReport["counts"]>, isUp: boolean): Report => ({
    ...shown,
    routes: shown.routes.map((one) => ({
      ...one,
      targets: Array.from({ length: 8 }, () => ({ ...target, downSince: isUp ? undefined : at })),
      counts: { ...one.counts, ...counts },
    })),
  });
  let report = made({}, true);
  await using page = await openBrowser(programPath("chromium"));
  using _server = await openWired(page, () => report);
  await page.evaluate(`document.querySelector("summary").click()`);
  const look = (): Promise<string> =>
    page.evaluate(`[document.title, document.querySelector(".flaw h2")?.innerText,
      document.querySelector("tbody tr").className, document.querySelector("summary").innerText,
      document.querySelector("details").open].join("; ")`);
  const before = "Ambassador: ready, 0 open; ; ; 8 targets, 0 down; true";
  assertEquals(await look(), before);
  report = made({ lastConnectError: refused }, false);
  const during =
    "Ambassador: ready, 1 failing, 0 open; The route is failing; failing; 8 targets, 8 down; true";
  await until(async () => await look() === during, "it fails");
  report = made({ lastConnectError: { ...refused, noneServedSince: false } }, true);
  await until(async () => await look() === before, "it works again");
  assertMatch(await cell(page, "Last error"), /^connection refused\n.* ago; works again$/);
  assertEquals(page.complaints, []);
});
