import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { RouteCounts } from "../../src/forward/counts.ts";
import { formatBytes, formatPage, formatSpan, pagePolicy } from "../../src/status/page.ts";
import { newTraffic } from "../../src/net/relay.ts";
import type { Report, WiringReport } from "../../src/forward/report.ts";
import "../helpers/mod.ts";
import { BUSY_DATAGRAMS, datagramRoute, FIXED_WIRING } from "../helpers/reports.ts";
import { routeTo } from "../helpers/routes.ts";

const NOW = Date.UTC(2026, 10, 22, 18, 20, 0);

function report({ aliases = ["REDIS"], ready = true } = {}): Report {
  const counts = new RouteCounts();
  const traffic = newTraffic();
  [traffic.up.bytes, traffic.down.bytes] = [1536, 2_000_000];
  counts.opened(traffic);
  counts.connections = 12_345;
  counts.lastConnectError = { at: NOW - 61_000, message: "connection <refused>" };
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
        { name: "192.0.2.10:6380", isUp: true, open: 1, connections: 12_300, isLeaving: false },
        { name: "192.0.2.11:6380", isUp: false, open: 0, connections: 45, isLeaving: false },
      ],
      counts: { ...counts.report(), connectErrors: 7 },
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

Deno.test("formatPage() shows the last handshake that failed beside the last connect that did", () => {
  const shown = report();
  const routes = shown.routes.map((route) => {
    const lastHandshakeError = { at: NOW - 5000, message: "the client sent no certificate" };
    return { ...route, counts: { ...route.counts, lastHandshakeError } };
  });
  assertStringIncludes(
    textOf(pageOf({ ...shown, routes })),
    "connection &lt;refused&gt; 2026-11-22 18:18:59 UTC, 1 min 1 s ago " +
      "the client sent no certificate 2026-11-22 18:19:55 UTC, 5 s ago",
  );
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
  assertEquals(rows.map((row) => row.startsWith('class="leaving"')), [false, true]);
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
  const page = pageOf(report({ aliases: [hostile] }));
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
