// The files under examples/ and the blocks of README.md that show them: each ambassador in them is
// read by the parser that the program itself uses. Certificates are made in tls_guide_test.ts.

import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { type Command, parseCommand } from "../../src/config/command_line.ts";
import type { RoutesFile } from "../../src/config/routes_file.ts";
import { formatTargets } from "../../src/base/address.ts";
import { readDockerRun } from "../helpers/guide.ts";
import { ROOT } from "../helpers/mod.ts";
import { parseYaml, type Yaml, type YamlMap } from "../helpers/yaml.ts";

/** The variables of the image, under those of a container. */
const IMAGE_ENV = { AMBASSADOR_STATUS: "127.0.0.1:9797" };

function readText(path: string): string {
  return Deno.readTextFileSync(new URL(path, ROOT));
}

function readExample(name: string): Yaml[] {
  return parseYaml(readText(`examples/${name}`));
}

/** The value at a path such as `spec.containers.0.env`. */
function at(value: Yaml | undefined, path: string): Yaml {
  let found: Yaml | undefined = value;
  for (const key of path.split(".")) {
    found = (found as Readonly<Record<string, Yaml>> | undefined)?.[key];
  }
  if (found === undefined) throw new Error(`nothing at ${path}`);
  return found;
}

function list(value: Yaml | undefined, path: string): readonly YamlMap[] {
  return at(value, path) as readonly YamlMap[];
}

/** What a container has. */
interface Inside {
  readonly args?: readonly string[];
  /** The text of each file in it, by its path. */
  readonly files?: Readonly<Record<string, string>>;
}

/** The container's command, as the program reads it; a setting without effect fails. */
function settingsOf(
  env: Readonly<Record<string, string>>,
  { args = [], files = {} }: Inside = {},
): Command {
  const path = env["AMBASSADOR_ROUTES"];
  const command = parseCommand(args, { ...IMAGE_ENV, ...env }, routesFile(path, files));
  assertEquals(command.warnings, []);
  assertEquals(command.ignored, []);
  return command;
}

/** The file of routes in a container that names one. */
function routesFile(
  path: string | undefined,
  files: Readonly<Record<string, string>>,
): RoutesFile | undefined {
  if (path === undefined) return undefined;
  const text = files[path];
  if (text === undefined) throw new Error(`nothing is mounted at ${path}`);
  return { path, text, mayEverybodyWrite: false };
}

function envOf(container: YamlMap): Record<string, string> {
  const pairs = list(container, "env").map(({ name, value }) => [name, value]);
  return Object.fromEntries(pairs);
}

function formatRoutes({ routes }: Command): string[] {
  return routes.map(({ listen, targets }) => `${listen.port}=${formatTargets(targets)}`);
}

/** What every ambassador in a pod has to have. */
function checkContainer(container: YamlMap, inside?: Inside): Command {
  const command = settingsOf(envOf(container), inside);
  const { status } = command.options;
  assert(status !== undefined && status.hostname === "::", "the kubelet comes from outside");
  const ports = new Map(list(container, "ports").map((port) => [port["name"], port]));
  assertEquals(ports.get("status")?.["containerPort"], status.port);
  for (const [probe, path] of [["livenessProbe", "/healthz"], ["readinessProbe", "/readyz"]]) {
    const settings = container[probe ?? ""] ?? container["startupProbe"];
    assertEquals(at(settings, "httpGet.path"), path ?? "");
    assertEquals(at(settings, "httpGet.port"), "status");
  }
  const security = container["securityContext"];
  assertEquals(at(security, "runAsNonRoot"), true);
  assertEquals(at(security, "runAsUser"), 65532);
  assertEquals(at(security, "readOnlyRootFilesystem"), true);
  assertEquals(at(security, "allowPrivilegeEscalation"), false);
  assertEquals(at(security, "capabilities.drop"), ["ALL"]);
  return command;
}

Deno.test("examples/docker-run.sh starts ambassadors with settings that are understood", () => {
  const text = readText("examples/docker-run.sh").replaceAll("\\\n", " ");
  const found = text.split("\n").filter((line) => line.startsWith("docker run")).flatMap((line) => {
    const run = readDockerRun(line.trim().split(/\s+/));
    if (run === undefined) return [];
    const command = settingsOf(run.env, run);
    for (const port of run.published) {
      assert(command.routes.some(({ listen }) => listen.port === port), `${line}: ${port}`);
    }
    return [formatRoutes(command).join(" ")];
  });
  assertEquals(found, [
    "6379=192.0.2.10:6379",
    "6379=redis:6379",
    "6379=192.0.2.10:6379",
    "5432=db.example.com:5432 6379=192.0.2.10:6379",
    "6379=192.0.2.10:6379",
  ]);
});

/** The ambassador of a compose file, which has to have settings that are understood. */
function checkCompose(name: string, inside?: Inside): YamlMap {
  const [file, ...more] = readExample(name);
  assertEquals(more, []);
  const service = at(file, "services.redis") as YamlMap;
  assertEquals(formatRoutes(checkService(service, inside)), ["6379=redis.example.com:6379"]);
  return service;
}

/** The settings of an ambassador in a compose file, which have to be understood. */
function checkService(service: YamlMap, inside?: Inside): Command {
  assertEquals(service["image"], "ambassador");
  const command = settingsOf(service["environment"] as Record<string, string>, inside);
  // Compose kills ten seconds after it has told to stop, and the file asks for no longer.
  assertEquals(service["stop_grace_period"], undefined);
  const { drainDelayMs, drainTimeoutMs } = command.options;
  assert(drainDelayMs + drainTimeoutMs < 10_000);
  return command;
}

Deno.test("examples/docker-compose.yaml gives its ambassador settings that are understood", () => {
  checkCompose("docker-compose.yaml");
});

Deno.test("examples/docker-compose-replicas.yaml has several ambassadors that can stand side by side", () => {
  const service = checkCompose("docker-compose-replicas.yaml");
  assertEquals(at(service, "deploy.replicas"), 3);
  // Each of these can be had by one container alone.
  for (const key of ["ports", "container_name", "network_mode"]) {
    assertEquals(service[key], undefined, key);
  }
});

Deno.test("examples/docker-compose-rewiring.yaml mounts the folder of the file that it names", () => {
  const files = { "/etc/ambassador/routes": readText("examples/ambassador/routes") };
  const service = checkCompose("docker-compose-rewiring.yaml", { files });
  // A file by itself would stay the old one, and nothing else is to be seen in the container.
  assertEquals(service["volumes"], ["./ambassador:/etc/ambassador:ro"]);
  const found = [...Deno.readDirSync(new URL("examples/ambassador", ROOT))];
  assertEquals(found.map(({ name }) => name), ["routes"]);
});

/** Each host of the TLS example: its ambassador, its route, and the name in its certificate. */
const TLS_HOSTS = [
  ["service", "redis-server-side", "6380=redis:6379", "big-server"],
  ["consumer", "redis", "6379=tls://192.0.2.10:6380", "consumer"],
] as const;

for (const [host, name, route, identity] of TLS_HOSTS) {
  Deno.test(`examples/docker-compose-tls-${host}.yaml gives its ambassador the files that it names`, () => {
    const [file] = readExample(`docker-compose-tls-${host}.yaml`);
    const service = at(file, `services.${name}`) as YamlMap;
    const command = checkService(service);
    assertEquals(formatRoutes(command), [route]);
    const { tlsCert, tlsKey, tlsCa } = command.options;
    const files = [tlsCert, tlsKey, tlsCa].map((source) => {
      assert(source !== undefined && "path" in source);
      const secret = source.path.replace(/^\/run\/secrets\//, "");
      assert((service["secrets"] as string[]).includes(secret), source.path);
      return at(file, `secrets.${secret}.file`);
    });
    assertEquals(files, [`${identity}.pem`, `${identity}.key`, "ca.pem"]);
    // Compose mounts the key as it is on the host.
    const head = readText(`examples/docker-compose-tls-${host}.yaml`).replaceAll("\n# ", " ");
    assertStringIncludes(head, "The key has to be readable by user 65532.");
    // What is made with these names stands in the other file.
    assertStringIncludes(readText("examples/tls-certificates.sh"), ` ${identity}`);
  });
}

Deno.test("examples/docker-compose-tls-consumer.yaml fits examples/docker-compose-tls-service.yaml", () => {
  const routeOf = (host: string, name: string): Command["routes"][number] => {
    const [file] = readExample(`docker-compose-tls-${host}.yaml`);
    const [route] = checkService(at(file, `services.${name}`) as YamlMap).routes;
    assert(route !== undefined);
    return route;
  };
  const [service, consumer] = [
    routeOf("service", "redis-server-side"),
    routeOf("consumer", "redis"),
  ];
  assertEquals([service.listen.protocol, service.listen.port], ["tls", consumer.targets[0]?.port]);
  assertEquals(consumer.settings.tlsName, "big-server");
  assert(service.settings.tlsAllow.has({ dns: ["consumer"], uris: [] }));
  assert(!service.settings.tlsAllow.has({ dns: ["big-server"], uris: [] }));
});

/** What the networks of a service in a compose file are called. */
function networksOf(service: YamlMap): readonly string[] {
  const networks = service["networks"] ?? [];
  return Array.isArray(networks) ? networks : Object.keys(networks);
}

Deno.test("examples/docker-compose-dns.yaml leads DNS of both protocols through two ambassadors", () => {
  const [file, ...more] = readExample("docker-compose-dns.yaml");
  assertEquals(more, []);
  const services = at(file, "services") as Readonly<Record<string, YamlMap>>;
  const chain = ["app", "dns", "dns-server-side", "name-server"]
    .map((name) => services[name] ?? {});
  const [app = {}, near = {}, far = {}] = chain;
  assertEquals(formatRoutes(checkService(near)), [
    "53=dns-server-side:53",
    "53=udp://dns-server-side:53",
  ]);
  assertEquals(formatRoutes(checkService(far)), ["53=name-server:53", "53=udp://name-server:53"]);
  // Each reaches the next one, and none a later one.
  const networks = chain.map(networksOf);
  const shared = (from: number, to: number): string[] =>
    (networks[from] ?? []).filter((name) => networks[to]?.includes(name));
  const names = Object.keys(at(file, "networks") as YamlMap);
  assertEquals([...shared(0, 1), ...shared(1, 2), ...shared(2, 3)], names);
  assertEquals([shared(0, 2), shared(0, 3), shared(1, 3)], [[], [], []]);
  // app asks the ambassador, which lets in whoever is on that network.
  assertEquals(app["dns"], [at(near, "networks.consumer.ipv4_address")]);
  const [{ subnet } = {}] = list(file, "networks.consumer.ipam.config");
  assertEquals(at(near, "environment.AMBASSADOR_ALLOW"), subnet ?? null);
  for (const { settings } of checkService(near).routes) assert(settings.allow.has("172.30.53.3"));
});

/** A pod whose sidecar is an ambassador for it alone; the container of the app. */
function checkSidecar(name: string, routes: readonly string[]): YamlMap {
  const [pod, ...more] = readExample(name);
  assertEquals(more, []);
  assertEquals(at(pod, "spec.enableServiceLinks"), false);
  const container = list(pod, "spec.initContainers")[0] ?? {};
  assertEquals(container["restartPolicy"], "Always");
  const command = checkContainer(container);
  assertEquals(formatRoutes(command), routes);
  assertEquals(command.options.bind, "127.0.0.1");
  return list(pod, "spec.containers")[0] ?? {};
}

Deno.test("examples/kubernetes-sidecar.yaml gives its ambassador settings that are understood", () => {
  checkSidecar("kubernetes-sidecar.yaml", ["6379=redis.example.com:6379"]);
});

Deno.test("examples/kubernetes-statsd.yaml sends what app sends to the place that it is told", () => {
  const app = checkSidecar("kubernetes-statsd.yaml", ["8125=udp://statsd.example.com:8125"]);
  assertEquals(envOf(app), { STATSD_HOST: "127.0.0.1", STATSD_PORT: "8125" });
});

/** A Service and the Deployment behind it; the Deployment. */
function checkDeployment(
  service: Yaml | undefined,
  deployment: Yaml | undefined,
  inside?: Inside,
): YamlMap {
  const pod = at(deployment, "spec.template");
  const label = at(pod, "metadata.labels.app");
  assertEquals(at(service, "spec.selector.app"), label);
  assertEquals(at(deployment, "spec.selector.matchLabels.app"), label);
  assertEquals(at(pod, "spec.enableServiceLinks"), false);
  const container = list(pod, "spec.containers")[0] ?? {};
  const command = checkContainer(container, inside);
  assertEquals(formatRoutes(command), ["6379=redis.example.com:6379"]);
  const names = new Map(list(container, "ports").map((port) => [port["name"], port]));
  const listens = command.routes.map(({ listen }) => listen.port);
  for (const { targetPort } of list(service, "spec.ports")) {
    const port = names.get(targetPort ?? null)?.["containerPort"];
    assert(listens.some((listen) => listen === port), `${targetPort} is not listened on`);
  }
  const { drainDelayMs, drainTimeoutMs } = command.options;
  const graceMs = Number(at(pod, "spec.terminationGracePeriodSeconds")) * 1000;
  assert(drainDelayMs > 0 && drainDelayMs + drainTimeoutMs < graceMs);
  return deployment as YamlMap;
}

Deno.test("examples/kubernetes-deployment.yaml gives its ambassador settings that are understood", () => {
  const [service, deployment, ...more] = readExample("kubernetes-deployment.yaml");
  assertEquals(more, []);
  checkDeployment(service, deployment);
});

Deno.test("examples/kubernetes-rewiring.yaml mounts the folder of the file that it names", () => {
  const [map, service, deployment, ...more] = readExample("kubernetes-rewiring.yaml");
  assertEquals(more, []);
  const files = { "/etc/ambassador/routes": at(map, "data.routes") as string };
  const { spec } = checkDeployment(service, deployment, { files });
  const [mount = {}, ...mounts] = list(spec, "template.spec.containers.0.volumeMounts");
  const [volume, ...volumes] = list(spec, "template.spec.volumes");
  assertEquals([mounts, volumes], [[], []]);
  assertEquals(at(volume, "name"), at(mount, "name"));
  assertEquals(at(volume, "configMap.name"), at(map, "metadata.name"));
  // Kubernetes never changes what is mounted by a subPath, nor what is immutable.
  assertEquals([mount["mountPath"], mount["subPath"]], ["/etc/ambassador", undefined]);
  assertEquals((map as YamlMap)["immutable"], undefined);
});

Deno.test("examples/kubernetes-replicas.yaml keeps pods that serve, and spreads these pods", () => {
  const [service, deployment, budget, ...more] = readExample("kubernetes-replicas.yaml");
  assertEquals(more, []);
  const { spec } = checkDeployment(service, deployment);
  const label = at(spec, "template.metadata.labels.app");
  const [spread = {}] = list(spec, "template.spec.topologySpreadConstraints");
  assertEquals(at(spread, "labelSelector.matchLabels.app"), label);
  assertEquals(at(budget, "kind"), "PodDisruptionBudget");
  assertEquals(at(budget, "spec.selector.matchLabels.app"), label);
  assertEquals(at(spec, "strategy.rollingUpdate.maxUnavailable"), 0);
  assert(Number(at(spec, "replicas")) > Number(at(budget, "spec.maxUnavailable")));
});

Deno.test("README.md shows the files of examples/ as they are, and docs/ links the others", () => {
  const readme = readText("README.md");
  const guides = ["rewiring", "scaling", "tls", "udp"];
  const texts = guides.map((name) => readText(`docs/${name}.md`)).join();
  const found = [...Deno.readDirSync(new URL("examples", ROOT))];
  // Of the folder, the test of the compose file that mounts it knows what is in it.
  const names = found.map(({ name, isFile }) => isFile ? name : `${name}/routes`).sort();
  assertEquals(names, [
    "ambassador/routes",
    "docker-compose-dns.yaml",
    "docker-compose-replicas.yaml",
    "docker-compose-rewiring.yaml",
    "docker-compose-tls-consumer.yaml",
    "docker-compose-tls-service.yaml",
    "docker-compose.yaml",
    "docker-run.sh",
    "kubernetes-deployment.yaml",
    "kubernetes-replicas.yaml",
    "kubernetes-rewiring.yaml",
    "kubernetes-sidecar.yaml",
    "kubernetes-statsd.yaml",
    "tls-certificates.sh",
  ]);
  for (const name of names) {
    if (texts.includes(`](../examples/${name})`)) continue;
    const block = readText(`examples/${name}`).trimEnd().split("\n")
      .map((line) => line === "" ? "" : `    ${line}`).join("\n");
    assert(readme.includes(`\n${block}\n`), `README.md does not show examples/${name} as it is`);
    assertStringIncludes(readme, `](examples/${name})`);
  }
});

Deno.test("the Dockerfile sets the variables that these tests suppose, for both images", () => {
  const lines = readText("Dockerfile").split("\n").filter((line) => line.startsWith("ENV "));
  const expected = Object.entries(IMAGE_ENV).map(([name, value]) => `ENV ${name}=${value}`);
  assertEquals(lines, [...expected, ...expected]);
});

Deno.test("parseYaml() reads maps, lists, text and numbers", () => {
  const text = [
    "# a comment",
    "a: some text",
    "b:",
    "  - c: 1",
    '    d: [x, "y: z", true]',
    "  - plain",
    "e:",
    "- at the same depth",
    "f: |",
    "  two",
    "   lines",
    'g: "quo\\"ted"',
    "h:",
    "---",
    "i: tcp://host:1",
  ].join("\n");
  assertEquals(parseYaml(text), [
    {
      a: "some text",
      b: [{ c: 1, d: ["x", "y: z", true] }, "plain"],
      e: ["at the same depth"],
      f: "two\n lines\n",
      g: 'quo"ted',
      h: null,
    },
    { i: "tcp://host:1" },
  ]);
});

Deno.test("parseYaml() refuses what it does not know", () => {
  for (
    const text of [
      "a: &anchor x",
      "a: *alias",
      "a: !tag x",
      "a: { b: c }",
      "a: [b, [c]]",
      "a: >",
      "a: 'b'",
      "a: b: c",
      "a: b # comment",
      "a: 1\na: 2",
      "a: x\n  b: y",
      "\ta: x",
      "a: yes",
      "just text",
      "a: [b,\n  c]",
    ]
  ) {
    assertThrows(() => parseYaml(text), SyntaxError, "line ");
  }
});
