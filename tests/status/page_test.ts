import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { type ClientError, type Counts, RouteCounts } from "../../src/forward/counts.ts";
import { formatBytes, formatSpan } from "../../src/status/markup.ts";
import { formatPage, pagePolicy } from "../../src/status/page.ts";
import { newTraffic } from "../../src/net/relay.ts";
import type { Report, TargetReport, WiringReport } from "../../src/forward/report.ts";
import type { CertificateInUse } from "../../src/net/credentials.ts";
import "../helpers/mod.ts";
import { BUSY_DATAGRAMS, datagramRoute, FIXED_WIRING } from "../helpers/reports.ts";
import { routeTo } from "../helpers/routes.ts";

const NOW = Date.UTC(2026, 10, 22, 18, 20, 0);

const REFUSED: ClientError = {
  at: NOW - 61_000,
  message: "connection <refused>",
  noneServedSince: false,
};

function report({ aliases = ["REDIS"], ready = true } = {}): Report {
  const counts = new RouteCounts();
  const traffic = newTraffic();
  [traffic.up.bytes, traffic.down.bytes] = [1536, 2_000_000];
  counts.opened(traffic);
  counts.connections = 12_345;
  const route = routeTo({ hostname: "192.0.2.10", port: 6380 }, {
    aliases,
    listen: { hostname: "::", port: 6379 },
  });
  const variable = "X<b>_PORT_1_SCTP";
  return {
    version: "1.2.3",
    startedAt: NOW - 100_000_000,
    certificate: undefined,
    wiring: FIXED_WIRING,
    ready,
    routes: [{
      route,
      targets: [
        {
          name: "192.0.2.10:6380",
          downSince: undefined,
          open: 1,
          connections: 12_300,
          isLeaving: false,
        },
        { name: "192.0.2.11:6380", downSince: 0, open: 0, connections: 45, isLeaving: false },
      ],
      counts: { ...counts.report(), connectErrors: 7, lastConnectError: REFUSED },
      isLeaving: false,
    }],
    ignored: [{ variable, reason: "SCTP & others", asked: false }],
  };
}

function pageOf(shown: Report): string {
  return [...formatPage(shown, NOW)].join("");
}

/** What a reader sees: without tags, style and script. */
function textOf(html: string): string {
  return html.replace(/<(style|script)>.*?<\/\1>/gs, "").replace(/<[^>]*>/g, " ")
    .replace(/\s+/g, " ");
}

/** The report with other counts for its route. */
function counted(counts: Partial<Counts>, shown: Report = report()): Report {
  const routes = shown.routes.map((route) => ({
    ...route,
    counts: { ...route.counts, ...counts },
  }));
  return { ...shown, routes };
}

const UP: TargetReport = {
  name: "192.0.2.10:6380",
  downSince: undefined,
  open: 0,
  connections: 2,
  isLeaving: false,
};
/** It has been down for two hours. */
const DOWN: TargetReport = { ...UP, downSince: NOW - 7_200_000 };

Deno.test("formatPage() shows the last handshake that failed, and whether anybody was served since", () => {
  const error = { at: NOW - 5000, message: "the client sent no certificate" };
  const cases = [[true, "nobody", "warn"], [false, "somebody", "past"]] as const;
  for (const [noneServedSince, who, look] of cases) {
    const page = pageOf(counted({ lastHandshakeError: { ...error, noneServedSince } }));
    assertStringIncludes(
      textOf(page),
      "connection &lt;refused&gt; 2026-11-22 18:18:59 UTC, 1 min 1 s ago; works again " +
        `the client sent no certificate 2026-11-22 18:19:55 UTC, 5 s ago; ${who} has been served since`,
    );
    assertStringIncludes(page, `<span class="${look}">the client sent`);
    // Whoever comes without a certificate makes no route fail.
    assertEquals(textOf(page).includes("failing"), false);
  }
});

Deno.test("formatPage() tells a route that fails now from one that has failed and works again", () => {
  const works = pageOf(report());
  assertEquals(textOf(works).includes("failing"), false);
  assertEquals(works.includes(`class="bad`), false);
  assertStringIncludes(works, `<span class="past">connection &lt;refused&gt;</span>`);
  const shown = report();
  const [route] = shown.routes;
  assert(route);
  const fails = pageOf({ ...shown, routes: [{ ...route, targets: [DOWN] }] });
  assertStringIncludes(fails, "<title>Ambassador: ready, 1 failing, 1 open</title>");
  assertStringIncludes(
    textOf(fails),
    "The route is failing REDIS : connection &lt;refused&gt; " +
      "(1 min 1 s ago; failing for 2 h 0 min) Open connections",
  );
  assertStringIncludes(textOf(fails), " REDIS failing [::]:6379 192.0.2.10:6380 down ");
  assertStringIncludes(fails, `<tr id="[::]:6379" class="failing">`);
  assertStringIncludes(fails, `<a href="#%5B%3A%3A%5D%3A6379">`);
  assertStringIncludes(fails, `<td class="number bad" data-label="Failed">7</td>`);
  assertStringIncludes(fails, `<span class="bad">connection &lt;refused&gt;</span>`);
});

Deno.test("formatPage() says nothing fails while one of several targets is back, or of a route that leaves", () => {
  const [route] = report().routes;
  assert(route);
  const states = [
    [{ targets: [DOWN, UP] }, false],
    [{ targets: [DOWN, DOWN] }, true],
    [{ targets: [DOWN], isLeaving: true }, false],
  ] as const;
  for (const [state, isFailing] of states) {
    const text = textOf(pageOf({ ...report(), routes: [{ ...route, ...state }] }));
    assertEquals(text.includes("is failing"), isFailing);
  }
});

Deno.test("formatPage() claims nothing of a route that is up and has failed its last client", () => {
  const lastConnectError = { ...REFUSED, noneServedSince: true };
  const [route] = counted({ lastConnectError }).routes;
  assert(route);
  const page = pageOf({ ...report(), routes: [{ ...route, targets: [UP, UP] }] });
  assertStringIncludes(textOf(page), " 18:18:59 UTC, 1 min 1 s ago Ignored");
  assertStringIncludes(page, `<span class="warn">connection &lt;refused&gt;</span>`);
  assertEquals(/failing|again|back/.exec(textOf(page)), null);
});

Deno.test("formatPage() says of each route that is failing why, also where that is not known", () => {
  const [route] = counted({ lastConnectError: undefined }).routes;
  assert(route);
  const page = pageOf({ ...report(), routes: [{ ...route, targets: [DOWN] }] });
  const why = "no target could be reached";
  assertStringIncludes(textOf(page), `The route is failing REDIS : ${why} (2 h 0 min ago)`);
  assertStringIncludes(page, `<span class="bad">${why}</span>`);
});

Deno.test("formatPage() takes a route for failing that leads back to the ambassador, and for up no target", () => {
  const shown = counted({ loopingSince: NOW - 7_200_000, lastConnectError: REFUSED });
  const [route] = shown.routes;
  assert(route);
  const counts = { ...route.counts, closed: { ...route.counts.closed, loop: 20 } };
  const page = pageOf({ ...shown, routes: [{ ...route, targets: [UP], counts }] });
  assertStringIncludes(page, "<title>Ambassador: ready, 1 failing, 1 open</title>");
  assertStringIncludes(textOf(page), "failing for 2 h 0 min) Open connections");
  assertStringIncludes(textOf(page), " REDIS failing [::]:6379 192.0.2.10:6380 0 open,");
  assertStringIncludes(page, `<td class="number bad" data-label="Failed">27</td>`);
  assertStringIncludes(textOf(page), "Connect errors 27 ");
});

Deno.test("formatPage() shows under the total how many clients were refused, where any were", () => {
  const refused = (closed: Partial<Counts["closed"]>): string => {
    const all = { ...new RouteCounts().closed, ...closed };
    return textOf(pageOf(counted({ closed: all })));
  };
  assertStringIncludes(refused({ finished: 5, idle_timeout: 4 }), " 1 12,345 1.50 KiB ");
  assertStringIncludes(
    refused({ not_allowed: 1234, bad_proxy_header: 2 }),
    " 1 12,345 not_allowed 1,234 bad_proxy_header 2 1.50 KiB ",
  );
});

Deno.test("formatPage() names the first ten of many routes that are failing, and counts the others", () => {
  const shown = report();
  const [route] = shown.routes;
  assert(route);
  const routes = Array.from({ length: 1200 }, (_, index) => {
    const listen = { ...route.route.listen, port: index + 1 };
    const targets = [index % 100 === 0 ? DOWN : UP];
    return { ...route, route: { ...route.route, aliases: [], listen }, targets };
  });
  const page = pageOf({ ...shown, routes });
  assertStringIncludes(
    textOf(page),
    "12 of 1,200 routes are failing 1 : connection &lt;refused&gt;",
  );
  assertStringIncludes(textOf(page), "and 2 more");
  assertEquals(page.match(/<li><a /g)?.length, 10);
  // It is fetched every two seconds.
  assert(page.length < 1200 * 900, `${page.length}`);
});

Deno.test("formatPage() can be searched where there are more routes than one sees at a glance", () => {
  const [route] = report().routes;
  assert(route);
  for (const [count, isSearched] of [[20, false], [21, true]] as const) {
    const page = pageOf({ ...report(), routes: Array(count).fill(route) });
    assertEquals(page.includes("<input"), isSearched);
  }
});

Deno.test("formatPage() folds many targets into one line, which tells how many are down", () => {
  const [route] = report().routes;
  assert(route);
  const page = (targets: TargetReport[]): string =>
    pageOf({ ...report(), routes: [{ ...route, targets }] });
  assertEquals(page(Array(5).fill(DOWN)).includes("<details>"), false);
  assertStringIncludes(
    textOf(page([...Array(9).fill(UP), DOWN, { ...DOWN, isLeaving: true }, DOWN])),
    " 12 targets, 2 down 192.0.2.10:6380 up , 0 open, 2 so far ",
  );
  assertStringIncludes(
    page(Array(6).fill(UP)),
    `<summary>6 targets,\n<span class="">0 down</span>`,
  );
});

const DAY_MS = 86_400_000;
const CERTIFICATE: CertificateInUse = {
  option: "--tls-cert",
  path: "/run/secrets/tls.crt",
  subject: "redis.example.com",
  names: ["redis.example.com", "spiffe://example.com/redis"],
  issuer: '"Example CA"',
  notBeforeMs: NOW - 30 * DAY_MS,
  notAfterMs: NOW + 60 * DAY_MS,
};

Deno.test("formatPage() shows the own certificate: its names, who signed it, and until when it is valid", () => {
  const text = (certificate: CertificateInUse | undefined): string =>
    textOf(pageOf({ ...report(), certificate }));
  assertStringIncludes(
    text(CERTIFICATE),
    "Certificate redis.example.com, spiffe://example.com/redis " +
      "valid until 2027-01-21 18:20:00 UTC (60 d 0 h), signed by &quot;Example CA&quot; , " +
      "from /run/secrets/tls.crt Ignored",
  );
  assertEquals(/certificate/i.test(text(undefined)), false);
  const { path: _, ...unnamed } = { ...CERTIFICATE, names: [], issuer: undefined };
  assertStringIncludes(text(unnamed), "Certificate redis.example.com valid until");
  assertStringIncludes(text(unnamed), "(60 d 0 h), from --tls-cert");
  const names = Array.from({ length: 100 }, (_, index) => `n${index}`);
  assertStringIncludes(text({ ...CERTIFICATE, names }), "n7 and 92 more");
});

Deno.test("formatPage() puts a certificate above all else that expires within 14 days, or is not valid", () => {
  const cases: [Partial<CertificateInUse>, string][] = [
    [{ notAfterMs: NOW + 14 * DAY_MS - 1 }, "soon The certificate expires in 13 d 23 h"],
    [{ notAfterMs: NOW + 14 * DAY_MS }, "good Certificate"],
    [{ notAfterMs: NOW }, "soon The certificate expires in 0 s"],
    [{ notAfterMs: NOW - 1 }, "expired The certificate has expired: peers refuse it"],
    [{ notBeforeMs: NOW + 1 }, "early The certificate is not valid yet: peers refuse it"],
    // Of one for three hours the last hour is the one to worry about.
    [{ notBeforeMs: NOW - 7_200_000, notAfterMs: NOW + 3_600_000 }, "good Certificate"],
    [{ notBeforeMs: NOW - 7_200_001, notAfterMs: NOW + 3_599_999 }, "soon The certificate expires"],
  ];
  for (const [dates, expected] of cases) {
    const page = pageOf({ ...report(), certificate: { ...CERTIFICATE, ...dates } });
    const found = /<section class="certificate (.*)">\n<h2>(.*)<\/h2>/.exec(page);
    assertStringIncludes(`${found?.[1]} ${found?.[2]}`, expected);
    const isFirst = (found?.index ?? 0) < page.indexOf("Open connections");
    assertEquals(isFirst, !expected.startsWith("good"));
  }
});

Deno.test("formatPage() shows the routes, their numbers and last error, and what is ignored", () => {
  const text = textOf(pageOf(report({ aliases: ["REDIS", "REDIS_1"] })));
  assertStringIncludes(text, "Ambassador ready version 1.2.3, up 1 d 3 h");
  assertStringIncludes(
    text,
    "REDIS, REDIS_1 [::]:6379 192.0.2.10:6380 up , 1 open, 12,300 so far " +
      "192.0.2.11:6380 down , 0 open, 45 so far 1 12,345 1.50 KiB 1.91 MiB 7 " +
      "connection &lt;refused&gt; 2026-11-22 18:18:59 UTC, 1 min 1 s ago",
  );
  assertStringIncludes(text, "X&lt;b&gt;_PORT_1_SCTP SCTP &amp; others");
  assertStringIncludes(text, "As of 2026-11-22 18:20:00 UTC");
  // The bytes themselves are there for who points at them.
  assertStringIncludes(pageOf(report()), 'title="2,000,000"');
});

Deno.test("formatPage() shows sessions and datagrams of a UDP route, and what was lost why", () => {
  const text = textOf(pageOf({ ...report(), routes: [datagramRoute(BUSY_DATAGRAMS)] }));
  assertStringIncludes(
    text,
    "Open sessions 4,096 Sessions so far 1,234,567 Datagrams up 12,345,678 " +
      "Datagrams down 12,345,000 Datagrams dropped 1,024 " +
      "Bytes up 1.50 KiB Bytes down 1.00 MiB Connect errors 7 UDP routes Route",
  );
  assertStringIncludes(
    text,
    "DNS [::]:53/udp udp://192.0.2.53:53 2 open, 30 so far " +
      "udp://dns.invalid:53 down , 0 open, 0 so far 4,096 1,234,567 so far " +
      "12,345,678 1.50 KiB 12,345,000 1.00 MiB 1,024 not_allowed 1,000 queue_full 1 stranger 23 7 Ignored",
  );
  assertEquals(/connection/i.exec(text), null);
});

Deno.test("formatPage() shows UDP routes after the others, and counts their sessions apart", () => {
  const shown = report();
  const routes = [datagramRoute(BUSY_DATAGRAMS), ...shown.routes, datagramRoute()];
  const page = pageOf({ ...shown, routes });
  const text = textOf(page);
  assertStringIncludes(text, "Open connections 1 Connections so far 12,345 Bytes up 3.00 KiB ");
  assertStringIncludes(text, "Open sessions 4,096 Sessions so far 1,234,567 Datagrams up");
  assertMatch(text, / Routes Route .* REDIS .* UDP routes Route .* DNS .* DNS .* Ignored /);
  assertStringIncludes(page, "<title>Ambassador: ready, 4,097 open</title>");
});

Deno.test("formatPage() speaks of no sessions and no datagrams where no route is UDP", () => {
  for (const routes of [report().routes, []]) {
    const text = textOf(pageOf({ ...report(), ignored: [], routes }));
    assertEquals(/session|datagram|UDP|dropped/i.exec(text), null);
    assertStringIncludes(text, "Open connections");
  }
});

Deno.test("formatPage() says when it drains", () => {
  const page = pageOf(report({ ready: false }));
  assertStringIncludes(textOf(page), "Ambassador draining version");
  assertStringIncludes(page, "<title>Ambassador: draining, 1 open</title>");
});

Deno.test("formatPage() calls a route without an alias by its port", () => {
  assertMatch(pageOf(report({ aliases: [] })), /<bdi>6379<\/bdi>/);
});

const FILE = "/etc/ambassador/routes";

/** Routes that came from the file too, five minutes ago. */
function wired(wiring: Partial<WiringReport> = {}): Report {
  return { ...report(), wiring: { ...FIXED_WIRING, file: FILE, since: NOW - 300_000, ...wiring } };
}

Deno.test("formatPage() says when and from where the routes came, and how often they changed", () => {
  const shown = wired({ rewires: { ok: 1234, failed: 2 } });
  const text = textOf(pageOf(shown));
  const since = "2026-11-22 18:15:00 UTC (5 min 0 s ago)";
  assertStringIncludes(text, `1 route from the environment and ${FILE} , since ${since}`);
  assertStringIncludes(text, "Rewired 1,234 Failed to rewire 2 Routes");
  const [route] = shown.routes;
  assert(route);
  const routes = [route, route, { ...route, isLeaving: true }];
  assertStringIncludes(textOf(pageOf({ ...shown, routes })), "2 routes from the environment");
});

Deno.test("formatPage() speaks of no file and of no changes where the routes can't change", () => {
  const text = textOf(pageOf(report()));
  assertEquals(/file|environment|since|rewire|leaving|in force/i.exec(text), null);
});

Deno.test("formatPage() shows every problem while what the file holds is not in force", () => {
  const message = `${FILE}: line 2: <b>: no target\nroute X: address in use`;
  const page = pageOf(wired({ flaw: { at: NOW - 61_000, message } }));
  assertStringIncludes(
    textOf(page),
    `What ${FILE} holds now is not in force since 2026-11-22 18:18:59 UTC (1 min 1 s ago); ` +
      `the routes from before go on ${FILE}: line 2: &lt;b&gt;: no target route X: address in use`,
  );
  assertEquals(pageOf(wired()).includes("in force"), false);
});

Deno.test("formatPage() is made in small pieces, however many problems there are", () => {
  const flaw = { at: NOW, message: `${"<".repeat(100)}\n`.repeat(10_000) };
  const pieces = [...formatPage(wired({ flaw }), NOW)];
  assert(pieces.join("").length > 4_000_000);
  assert(Math.max(...pieces.map(({ length }) => length)) < 10_000);
});

Deno.test("formatPage() marks a route that is leaving, and says what that means", () => {
  const shown = wired();
  const [route] = shown.routes;
  assert(route);
  const page = pageOf({ ...shown, routes: [route, { ...route, isLeaving: true }] });
  const rows = page.split("<tr ").slice(1);
  assertEquals(rows.map((row) => row.includes("leaving</span>")), [false, true]);
  assertEquals(rows.map((row) => row.includes('class="leaving"')), [false, true]);
  assertStringIncludes(
    textOf(page),
    "A leaving route takes no more clients: it is gone from the routes, and its connections finish.",
  );
  assertEquals(textOf(pageOf(shown)).includes("leaving"), false);
});

Deno.test("formatPage() says so where there is no route", () => {
  const text = textOf(pageOf({ ...wired(), routes: [] }));
  assertStringIncludes(text, `0 routes from the environment and ${FILE}`);
  assertStringIncludes(
    text,
    `Routes Nothing is forwarded: neither the environment nor ${FILE} gives a route. Ignored`,
  );
  assertEquals(text.includes("Last error"), false);
  const fixed = textOf(pageOf({ ...report(), routes: [] }));
  assertStringIncludes(fixed, "Nothing is forwarded: there is no route.");
});

Deno.test("formatPage() lets no path and no problem become HTML", () => {
  const hostile = `</p></main><script>alert(1)</script><img src=x>"'\x1b[2J\u202e`;
  const flaw = { at: NOW, message: hostile };
  for (const routes of [wired().routes, []]) {
    const page = pageOf({ ...wired({ file: hostile, flaw }), routes });
    assertEquals(page.split("<script>").length, 2);
    assertEquals(page.split("</main>").length, 2);
    assertEquals(page.includes("<img"), false);
    assertEquals(/(?!\n)[\p{Cc}\p{Cf}]/u.test(page), false);
    const shown = "&lt;img src=x&gt;&quot;&#39;&#27;[2J&#8238;";
    assertEquals(page.split(shown).length, routes.length > 0 ? 4 : 5);
  }
});

Deno.test("formatPage() lets no alias become HTML", () => {
  const hostile = `<script>alert(1)</script>'"&<img src=x onerror=alert(1)>\${1}\`</main>`;
  const certificate = { ...CERTIFICATE, names: [hostile], issuer: hostile, path: hostile };
  const error = { at: NOW, message: hostile };
  const last = { ...error, noneServedSince: true };
  const counts = { lastConnectError: last, lastHandshakeError: last };
  const [route] = counted(counts, report({ aliases: [hostile] })).routes;
  assert(route);
  const targets = Array(7).fill({ ...DOWN, name: hostile });
  const page = pageOf({ ...report(), certificate, routes: [{ ...route, targets }] });
  assertEquals(page.split("<script>").length, 2);
  assertEquals(page.split("</main>").length, 2);
  assertEquals(page.includes("<img"), false);
  assertStringIncludes(page, "&lt;script&gt;alert(1)&lt;/script&gt;&#39;&quot;&amp;&lt;img src=x");
});

Deno.test("formatPage() holds nothing that a terminal acts on", () => {
  const page = pageOf(report({ aliases: ["\x1b[2J\u202e\x9b\né"] }));
  assertStringIncludes(page, "<bdi>&#27;[2J&#8238;&#155;&#10;é</bdi>");
});

Deno.test("formatPage() loads nothing from anywhere", () => {
  const page = pageOf(report());
  const links = [...page.matchAll(/\b(?:src|href|action)="([^"]*)"/g)].map((match) => match[1]);
  assertEquals(links, ["data:,", "metrics", "readyz", "healthz"]);
  assertEquals(/https?:|@import|url\(/.test(page), false);
});

Deno.test("formatPage() refreshes itself where scripts are off", () => {
  assertStringIncludes(
    pageOf(report()),
    '<noscript><meta http-equiv="refresh" content="5"></noscript>',
  );
});

Deno.test("pagePolicy() allows the page's own style and script and no other", async () => {
  const page = pageOf(report());
  const policy = await pagePolicy();
  assertStringIncludes(policy, "default-src 'none'");
  assertEquals(policy.includes("unsafe"), false);
  for (const element of ["style", "script"]) {
    const content = new RegExp(`<${element}>(.*?)</${element}>`, "s").exec(page)?.[1];
    assert(content !== undefined, element);
    const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(content));
    const base64 = btoa(String.fromCharCode(...new Uint8Array(hash)));
    assertStringIncludes(policy, `${element}-src 'sha256-${base64}'`);
  }
});

Deno.test("formatBytes() shows bytes as they are and more in three digits", () => {
  const cases: [number, string][] = [
    [0, "0 B"],
    [999, "999 B"],
    [1000, "0.98 KiB"],
    [10_240, "10.0 KiB"],
    [1_048_576, "1.00 MiB"],
    [5_000_000_000, "4.66 GiB"],
    [Number.MAX_SAFE_INTEGER, "8.00 PiB"],
  ];
  for (const [bytes, text] of cases) assertEquals(formatBytes(bytes), text);
});

Deno.test("formatSpan() shows the two largest units", () => {
  const cases: [number, string][] = [
    [-5, "0 s"],
    [59_999, "59 s"],
    [60_000, "1 min 0 s"],
    [7_500_000, "2 h 5 min"],
    [86_400_000 * 3 + 3_600_000 * 4, "3 d 4 h"],
  ];
  for (const [ms, text] of cases) assertEquals(formatSpan(ms), text);
});
