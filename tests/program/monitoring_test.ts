// The files under examples/ for those who watch ambassadors: Prometheus takes them, and a real one that
// scrapes a real ambassador answers every question that they ask of it. It knows nothing of Grafana but
// the form of its dashboards. Nothing of it depends on what the program is made of, so it is not run on
// an executable.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { EVENTS } from "../../src/base/log.ts";
import type { Route } from "../../src/config/routes.ts";
import { REASONS } from "../../src/forward/counts.ts";
import { createCa } from "../helpers/certificates.ts";
import { askUdp, freeUdpPort, startUdpEcho } from "../helpers/datagrams.ts";
import { freePort, readAll, readText, ROOT, startEcho, until, writeAll } from "../helpers/mod.ts";
import { needs, SOURCES, TLS } from "../helpers/needs.ts";
import { type Prometheus, startPrometheus } from "../helpers/prometheus.ts";
import { get, metricsOf, startWired, tlsOptionsOf, type Wired } from "../helpers/rewiring.ts";
import { run } from "../helpers/run.ts";

const FOLDER = new URL("examples/prometheus/", ROOT);
const RULES = readExample("alerts.yaml");
const GUIDE = Deno.readTextFileSync(new URL("docs/observability.md", ROOT));
const DASHBOARD: Dashboard = JSON.parse(
  Deno.readTextFileSync(new URL("examples/grafana/dashboard.json", ROOT)),
);

/** What these tests look at in a dashboard. */
interface Dashboard {
  readonly templating: { readonly list: readonly Variable[] };
  readonly panels: readonly Panel[];
}
interface Variable {
  readonly name: string;
  readonly type: string;
  readonly datasource?: DataSource;
  readonly query: string | { readonly query: string };
}
interface Panel {
  readonly id: number;
  readonly title: string;
  readonly description?: string;
  readonly datasource: DataSource;
  readonly gridPos: {
    readonly x: number;
    readonly y: number;
    readonly w: number;
    readonly h: number;
  };
  readonly targets: readonly {
    readonly refId: string;
    readonly datasource: DataSource;
    readonly expr: string;
  }[];
}
interface DataSource {
  readonly type: string;
  readonly uid: string;
}

/** A rule as Prometheus tells it. */
interface Rule {
  readonly name: string;
  readonly query: string;
  readonly health: string;
  readonly lastError?: string;
  readonly annotations: Readonly<Record<string, string>>;
  readonly alerts: readonly {
    readonly labels: Readonly<Record<string, string>>;
    readonly annotations: Readonly<Record<string, string>>;
  }[];
}

function readExample(name: string): string {
  return Deno.readTextFileSync(new URL(name, FOLDER));
}

Deno.test("promtool accepts examples/prometheus/", needs(SOURCES, "promtool"), async () => {
  const path = (name: string): string => new URL(name, FOLDER).pathname;
  // Debian's knows nothing of Kubernetes, so what finds the pods is left out.
  const found = /\n {4}kubernetes_sd_configs:\n {6}- role: pod\n/;
  const kubernetes = readExample("prometheus-kubernetes.yaml");
  assertMatch(kubernetes, found);
  const folder = await Deno.makeTempDir({ prefix: "ambassador_rules_" });
  try {
    await Deno.writeTextFile(`${folder}/alerts.yaml`, RULES);
    await Deno.writeTextFile(`${folder}/kubernetes.yaml`, kubernetes.replace(found, "\n"));
    const ran = await Promise.all([
      run("promtool", ["test", "rules", path("alerts_test.yaml")]),
      run("promtool", ["check", "config", path("prometheus.yaml")]),
      run("promtool", ["check", "config", `${folder}/kubernetes.yaml`]),
    ]);
    for (const { code, text, stderr } of ran) assertEquals(code, 0, text + stderr);
    for (const { text } of ran.slice(1)) assertStringIncludes(text, "1 rule files found");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("the examples for Kubernetes name what Prometheus looks for", needs(SOURCES), () => {
  const [, container = "", port = ""] =
    /regex: (\w+);(\w+)\n/.exec(readExample("prometheus-kubernetes.yaml")) ?? [];
  const folder = new URL("examples/", ROOT);
  const names = [...Deno.readDirSync(folder)].map(({ name }) => name)
    .filter((name) => /^kubernetes.*\.yaml$/.test(name));
  assert(names.length > 0);
  for (const name of names) {
    const text = Deno.readTextFileSync(new URL(name, folder));
    assertMatch(text, new RegExp(` - name: ${container}\n[^]* - name: ${port}\n`), name);
  }
});

Deno.test("pod-monitor.yaml asks for what prometheus-kubernetes.yaml does", needs(SOURCES), () => {
  const rules = (yaml: string): string[] =>
    yaml.replaceAll(/^ *#.*\n/gm, "").split(/^ {8}- /m).slice(1)
      .map((rule) => rule.replaceAll(/\s+/g, " ").trim());
  const monitor = readExample("pod-monitor.yaml");
  const [, relabelings = ""] = monitor.split("relabelings:\n");
  const snake = relabelings.replaceAll(/\b(source|target)L(abels?):/g, "$1_l$2:");
  const [container = "", instance = "", job = ""] = rules(snake);
  assertEquals(job, "target_label: job replacement: ambassador");
  const kubernetes = readExample("prometheus-kubernetes.yaml");
  assertMatch(kubernetes, /job_name: ambassador\n/);
  const known = rules(kubernetes.replaceAll(/^ {6}- /gm, "        - "));
  assert(known.includes(instance), instance);
  const [, name = ""] = /regex: (\w+) action: keep$/.exec(container) ?? [];
  const [, port = ""] = /- port: (\w+)\n/.exec(monitor) ?? [];
  assertMatch(kubernetes, new RegExp(`regex: ${name};${port}\n`));
  for (const [, label] of monitor.matchAll(/podTargetLabels: \[(\w+)\]/g)) {
    assertStringIncludes(kubernetes, `_pod_label_${label}]\n        target_label: ${label}\n`);
  }
});

Deno.test("every alert has a test, a severity, and says what to do", needs(SOURCES), () => {
  const tests = readExample("alerts_test.yaml");
  const alerts = RULES.split("- alert: ").slice(1);
  assert(alerts.length > 10);
  for (const alert of alerts) {
    const [name = ""] = alert.split("\n");
    assertStringIncludes(tests, `alertname="${name}"`);
    assertMatch(alert, /severity: (?:critical|warning)\n/, name);
    assertMatch(alert, /summary: .*\n[^]*description: >-\n/, name);
    const words = alert.replaceAll(/\s+/g, " ");
    const pages = [...words.matchAll(/(?:"([A-Z][^"]+)" in )?(docs\/\w+\.md)/g)];
    assert(pages.length > 0, `${name} names no page`);
    for (const [, heading = "", page = ""] of pages) {
      const text = Deno.readTextFileSync(new URL(page, ROOT));
      assertMatch(text, new RegExp(`^#+ .*${heading}`, "m"), `${name}: ${heading} in ${page}`);
    }
  }
});

Deno.test(
  "the dashboard asks the chosen data source, and no panel lies on another",
  needs(SOURCES),
  () => {
    const { panels, templating: { list } } = DASHBOARD;
    assertEquals(list.map(({ name }) => name), ["datasource", "job", "instance", "route"]);
    const source = { type: "prometheus", uid: "${datasource}" };
    for (const { datasource } of list.slice(1)) assertEquals(datasource, source);
    const ids = new Set(panels.map(({ id }) => id));
    assertEquals(ids.size, panels.length);
    const cells = new Set<string>();
    for (const { title, datasource, gridPos: { x, y, w, h }, targets } of panels) {
      for (const { datasource: own } of targets) assertEquals([datasource, own], [source, source]);
      assertEquals(new Set(targets.map(({ refId }) => refId)).size, targets.length, title);
      for (let column = x; column < x + w; column++) {
        assert(column < 24, title);
        for (let row = y; row < y + h; row++) {
          assert(!cells.has(`${column} ${row}`), `${title} lies on another panel`);
          cells.add(`${column} ${row}`);
        }
      }
    }
    const rows = Math.max(...panels.map(({ gridPos: { y, h } }) => y + h));
    assertEquals(cells.size, 24 * rows, "there is a hole");
  },
);

Deno.test("docs/observability.md has every event, reason and alert", needs(SOURCES), () => {
  assertEquals(readTable("event").map(([event]) => event).sort(), [...EVENTS].sort());
  const [, reasons = ""] = /`reason` is one\s+of (.*?): see/s.exec(GUIDE) ?? [];
  assertEquals([...reasons.matchAll(/`(\w+)`/g)].map(([, one]) => one).sort(), [...REASONS].sort());
  const alerts = RULES.split("- alert: ").slice(1).map((rule) => {
    const [, name, severity] = /^(\w+)\n[^]*severity: (\w+)/.exec(rule) ?? [];
    return `${name} ${severity}`;
  });
  const told = readTable("alert").map(([name, severity]) => `${name} ${severity}`);
  assertEquals(told.sort(), alerts.sort());
});

/** The cells of the guide's table whose first column has this head, without backticks. */
function readTable(head: string): string[][] {
  const [, after = ""] = GUIDE.split(new RegExp(`^\\| ${head} .*\\n\\|[ |-]+\\n`, "m"));
  const [rows = ""] = /^(?:\|.*\n)+/.exec(after) ?? [];
  assert(rows !== "", `no table of ${head}`);
  return rows.trim().split("\n").map((row) =>
    row.split("|").slice(1, -1).map((cell) => cell.trim().replaceAll("`", ""))
  );
}

/** An ambassador with every kind of route and of failure, watched by a Prometheus. */
interface Scene extends AsyncDisposable {
  readonly wired: Wired;
  readonly prometheus: Prometheus;
  /** Lets every route be used, one way or the other. */
  use(): Promise<void>;
}

async function startScene(): Promise<Scene> {
  await using opened = new AsyncDisposableStack();
  const echo = opened.use(startEcho());
  const udpEcho = opened.use(startUdpEcho());
  const ca = opened.use(await createCa());
  const own = await ca.issue({ dns: ["localhost"], days: 10 });
  const port = { shop: freePort(), gone: freePort(), secret: freePort(), dns: freeUdpPort() };
  // No system gives this port to anybody.
  const nobody = "tcp://127.0.0.1:1";
  const routes = [
    `SHOP_PORT_${port.shop}_TCP=${nobody},tcp://127.0.0.1:${echo.address.port}`,
    `GONE_PORT_${port.gone}_TCP=${nobody}`,
    `SECRET_PORT_${port.secret}_TLS=tcp://127.0.0.1:${echo.address.port}`,
    `DNS_PORT_${port.dns}_UDP=udp://127.0.0.1:${udpEcho.address.port}`,
    "",
  ].join("\n");
  const args = [
    ...tlsOptionsOf(own),
    "--tls-client",
    "none",
    "--fail-timeout",
    "1m",
    "--log-connections",
  ];
  const wired = opened.use(await startWired(routes, { args }));
  const status = wired.statusUrl.replace("http://", "");
  const prometheus = opened.use(
    await startPrometheus({
      scrapes: `${staticJob(status)}${podsJob(status)}`,
      ruleFiles: [new URL("alerts.yaml", FOLDER).pathname],
    }),
  );
  // What a counter has counted before the first scrape is no change.
  await prometheus.untilTrue('up{job="ambassador"} == 1');
  await prometheus.untilTrue('up{job="pods"} == 1');
  const all = opened.move();
  return {
    wired,
    prometheus,
    async use(): Promise<void> {
      await askTcp(await Deno.connect({ port: port.shop, hostname: "127.0.0.1" }));
      await askTcp(
        await Deno.connectTls({ port: port.secret, hostname: "localhost", caCerts: [ca.pem] }),
      );
      // One client that fails is no route that is down.
      for (let client = 0; client < 2; client++) {
        using gone = await Deno.connect({ port: port.gone, hostname: "127.0.0.1" });
        assertEquals((await readAll(gone)).length, 0);
      }
      using plain = await Deno.connect({ port: port.secret, hostname: "127.0.0.1" });
      await writeAll(plain, "GET / HTTP/1.0\r\n\r\n");
      await readAll(plain);
      assertEquals(await askUdp({ port: port.dns, hostname: "127.0.0.1" }, "who"), "who");
      assertMatch(await wired.taken(`${routes}\n# the same\n`), /rewired/);
      assertMatch(await wired.taken("SHOP_PORT_1_TCP=nonsense\n"), /rewire_failed/);
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

async function askTcp(opened: Deno.Conn): Promise<void> {
  using conn = opened;
  await writeAll(conn, "ping");
  await conn.closeWrite();
  assertEquals(await readText(conn), "ping");
}

/** The job of examples/prometheus/prometheus.yaml, with another address. */
function staticJob(address: string): string {
  const jobs = readExample("prometheus.yaml").split("scrape_configs:\n")[1] ?? "";
  const [targets = ""] = /(?: {10}- \S+:9797\n)+/.exec(jobs) ?? [];
  return jobs.replace(targets, `          - ${address}\n`);
}

/** That of prometheus-kubernetes.yaml, with pods that are listed here: Debian's can't look for any. */
function podsJob(address: string): string {
  const jobs = readExample("prometheus-kubernetes.yaml").split("scrape_configs:\n")[1] ?? "";
  const pod = (container: string, port: string, phase = "Running"): string => {
    const labels = {
      __meta_kubernetes_namespace: "shop",
      __meta_kubernetes_pod_name: `${container}-${port}-${phase}`,
      __meta_kubernetes_pod_container_name: container,
      __meta_kubernetes_pod_container_port_name: port,
      __meta_kubernetes_pod_phase: phase,
      __meta_kubernetes_pod_label_app: "redis",
    };
    return `      - ${JSON.stringify({ targets: [address], labels })}\n`;
  };
  const pods = pod("ambassador", "status") + pod("ambassador", "redis") + pod("app", "status") +
    pod("ambassador", "status", "Succeeded");
  return jobs.replace("job_name: ambassador", "job_name: pods")
    .replace(/kubernetes_sd_configs:\n {6}- role: pod\n/, `static_configs:\n${pods}`);
}

/** The alerts whose condition holds after {@linkcode Scene.use}. */
const WITH_CAUSE = [
  "AmbassadorCertificateExpiresSoon",
  "AmbassadorConnectErrors",
  "AmbassadorHandshakesFail",
  "AmbassadorRewireFailed",
  "AmbassadorRouteDown",
  "AmbassadorTargetDown",
];

Deno.test({
  name: "Prometheus has an answer to every query of the dashboard and of the alerts",
  ...needs(SOURCES, TLS, "openssl", "prometheus", "promtool"),
  fn: async () => {
    await using scene = await startScene();
    const { wired, prometheus } = scene;
    await scene.use();
    const seen = 'ambassador_rewires_total{job="ambassador",result="failed"} == 1';
    await prometheus.untilTrue(seen);
    const known = typesOf(await metricsOf(wired));
    await checkGuide(scene);
    await checkPods(prometheus);
    const asked = await checkDashboard(prometheus, wired);
    // What is counted is shown.
    assertEquals([...known.keys()].filter((name) => !asked.has(name)), []);
    const rules = await checkRules(prometheus);
    for (const { query } of rules) metricsIn(query).forEach((name) => asked.add(name));
    const unknown = [...asked].filter((name) => name !== "up" && !known.has(name));
    assertEquals(unknown, [], "the ambassador has no such metric");
  },
});

/** The metrics that an ambassador has, by their types. */
function typesOf(metrics: string): Map<string, string> {
  const types = [...metrics.matchAll(/^# TYPE (\S+) (\S+)$/gm)];
  return new Map(types.map(([, name = "", type = ""]) => [name, type]));
}

/** The guide's table of metrics, its expression, its line of the access log and its JSON are so. */
async function checkGuide({ wired, prometheus }: Scene): Promise<void> {
  const types = typesOf(await metricsOf(wired));
  const told = readTable("metric").map(([name = "", type = ""]) => [name, type] as const);
  assertEquals(told.toSorted(), [...types].toSorted());
  const [, expression = ""] = /```promql\n(.*)\n```/.exec(GUIDE) ?? [];
  assertEquals((await prometheus.query(expression)).length, 0);
  assertEquals((await prometheus.query(expression.replace("> 900", "< 900"))).length, 2);
  const fields = (line: string): string[] => line.match(/(?<= )\w+(?==)/g) ?? [];
  const [shown = ""] = GUIDE.match(/^.* connection_closed .*$/m) ?? [];
  const [closed] = await wired.program.line(/.* INFO {2}connection_closed route=SHOP .*/);
  assertEquals(fields(shown), fields(closed));
  const [, json = ""] = /```json\n(.*?)\n```/s.exec(GUIDE) ?? [];
  const [, answer] = await get(wired, "readyz");
  const keys = (text: string): string[] => {
    const { routes, ...rest } = JSON.parse(text);
    const route = routes.find(({ listen }: Route) => listen.protocol === "tcp");
    return [...Object.keys(rest), ...Object.keys(route), ...Object.keys(route.targets[0])];
  };
  assertEquals(keys(json), keys(answer));
}

/** The metrics that an expression names; those of a histogram by the name of that. */
function metricsIn(expression: string): string[] {
  const bare = expression.replaceAll(/"[^"]*"/g, "").replaceAll(/\{[^}]*\}|\[[^\]]*\]/g, " ")
    .replaceAll(/\b(?:by|without|on|ignoring)\s*\([^)]*\)/g, " ");
  const words = bare.match(/\b[a-z_]\w*\b(?!\s*\()/g) ?? [];
  return words.filter((word) => !/^(?:and|or|unless|group_left)$/.test(word))
    .map((word) => word.replace(/_bucket$/, ""));
}

/** One pod of four is scraped, and called what the alerts look for. */
async function checkPods(prometheus: Prometheus): Promise<void> {
  const found = await prometheus.query('up{pod!=""}');
  const labels = found.map(({ metric: { namespace, pod, instance, app } }) => ({
    namespace,
    pod,
    instance,
    app,
  }));
  const pod = "ambassador-status-Running";
  assertEquals(labels, [{ namespace: "shop", pod, instance: `shop/${pod}`, app: "redis" }]);
}

/** What a variable of the dashboard may be, where that is more than what is chosen. */
const VARIABLES: Readonly<Record<string, readonly string[]>> = {
  job: ["ambassador", "pods"],
  route: ["DNS", "GONE", "SECRET", "SHOP"],
};

/** Asks all that the dashboard does; the names of the metrics in it. */
async function checkDashboard(prometheus: Prometheus, { statusUrl }: Wired): Promise<Set<string>> {
  const chosen = { job: "ambassador", instance: statusUrl.replace("http://", ""), route: ".*" };
  const asked = new Set<string>();
  for (const { name, type, query } of DASHBOARD.templating.list) {
    if (type === "datasource" || typeof query === "string") continue;
    const [, series = "", label = ""] = /^label_values\((.+), (\w+)\)$/.exec(query.query) ?? [];
    assertEquals(label, name, query.query);
    const values = await prometheus.get(`label/${label}/values`, {
      "match[]": substitute(series, chosen),
    });
    assertEquals(values, VARIABLES[name] ?? [chosen[name as keyof typeof chosen]], name);
  }
  for (const { title, targets } of DASHBOARD.panels) {
    for (const { expr } of targets) {
      const samples = await prometheus.query(substitute(expr, chosen));
      assert(samples.length > 0, `${title}: ${expr} gives nothing`);
      for (const { value: [, number] } of samples) {
        assert(Number.isFinite(Number(number)), `${title}: ${expr} gives ${number}`);
      }
      metricsIn(expr).forEach((name) => asked.add(name));
    }
  }
  return asked;
}

/** The expression as Grafana would send it. */
function substitute(expression: string, chosen: Readonly<Record<string, string>>): string {
  const values: Record<string, string> = { __rate_interval: "1m", __range: "1h", ...chosen };
  return expression.replaceAll(/\$(\w+)/g, (_, name: string) => {
    const value = values[name];
    if (value === undefined) throw new Error(`${expression}: nothing stands for $${name}`);
    return value;
  });
}

/** Prometheus can evaluate every rule, and those have a cause that should; gives all. */
async function checkRules(prometheus: Prometheus): Promise<readonly Rule[]> {
  await prometheus.untilTrue(
    `count(count by (alertname) (ALERTS)) >= ${WITH_CAUSE.length}`,
  );
  const { groups } = await prometheus.get("rules", { type: "alert" }) as {
    readonly groups: readonly { readonly rules: readonly Rule[] }[];
  };
  const rules = groups.flatMap(({ rules }) => rules);
  assertEquals(rules.length, RULES.split("- alert: ").length - 1);
  const withCause: string[] = [];
  for (const { name, query, health, lastError } of rules) {
    assertEquals([health, lastError ?? ""], ["ok", ""], name);
    if ((await prometheus.query(query)).length > 0) withCause.push(name);
  }
  assertEquals(withCause.sort(), WITH_CAUSE);
  for (const { name, annotations, alerts } of rules) {
    const templates = Object.values(annotations).join();
    for (const { labels, annotations: filled } of alerts) {
      for (const [, label = ""] of templates.matchAll(/\$labels\.(\w+)/g)) {
        assert(labels[label], `${name} has no label ${label}`);
      }
      for (const text of Object.values(filled)) assert(!/[{}<>]/.test(text), text);
    }
  }
  return rules;
}

Deno.test({
  name: "Deno tells an OTLP collector of V8 and of nothing else, as docs/opentelemetry.md says",
  ...needs(SOURCES),
  fn: async () => {
    const told = new Map<string, string>();
    await using collector = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen: () => {} },
      async (request) => {
        const { pathname } = new URL(request.url);
        told.set(pathname, (told.get(pathname) ?? "") + await request.text());
        return Response.json({});
      },
    );
    const env = {
      OTEL_DENO: "true",
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${collector.addr.port}`,
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
      OTEL_METRIC_EXPORT_INTERVAL: "100",
      OTEL_BSP_SCHEDULE_DELAY: "100",
    };
    const guide = Deno.readTextFileSync(new URL("docs/opentelemetry.md", ROOT));
    assertStringIncludes(guide, "OTEL_DENO=true OTEL_EXPORTER_OTLP_ENDPOINT=http://");
    await using wired = await startWired(`A_PORT_${freePort()}_TCP=tcp://192.0.2.1:1`, { env });
    await metricsOf(wired);
    // What the request has led to would be told by then. The stop is not waited for: it may hang.
    const sent = (): number =>
      told.get("/v1/metrics")?.match(/v8js\.memory\.heap\.size/g)?.length ?? 0;
    await until(() => sent() >= 5, "V8's memory is told five times");
    assertEquals([...told.keys()], ["/v1/metrics"]);
    const metrics = told.get("/v1/metrics")?.match(/"name": *"[^"]+"/g) ?? [];
    for (const name of new Set(metrics)) assertMatch(name, /"v8js/);
  },
});
