// The files under examples/: each ambassador in them is read by the parser that the program itself uses,
// and what every example has to have is held here (limits, rights, probes, who may come). It starts no
// program of ours. Certificates are made in tls_guide_test.ts; prometheus/, grafana/ and systemd/ have
// tests of their own.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { pathOf } from "../../build/sources.ts";
import config from "../../deno.json" with { type: "json" };
import { formatTargets } from "../../src/base/address.ts";
import { parseDuration } from "../../src/base/duration.ts";
import { type Command, parseCommand } from "../../src/config/command_line.ts";
import type { RoutesFile } from "../../src/config/routes_file.ts";
import { readDockerRun, shell } from "../helpers/guide.ts";
import { commandsOf, parseDocument } from "../helpers/markdown.ts";
import { ROOT } from "../helpers/mod.ts";
import { needs, UNIX } from "../helpers/needs.ts";
import { parseYaml, type Yaml, type YamlMap } from "../helpers/yaml.ts";

/** The image of the examples: of the version that stands beside them. */
const IMAGE = `registry.example.com/ambassador:${config.version}`;

/** The variables of the image, under those of a container. */
const IMAGE_ENV = { AMBASSADOR_STATUS: "127.0.0.1:9797" };

/** An image with its registry and its version: what it is does not change, nor depend on the machine. */
const WHOLE_IMAGE = /^[\w-]+(?:\.[\w-]+)+\/[\w./-]+:\d[\w.-]*$/;

function readText(path: string): string {
  return Deno.readTextFileSync(new URL(path, ROOT));
}

function readExample(name: string): Yaml[] {
  return parseYaml(readText(`examples/${name}`));
}

/** The files in examples/ that are called like this. */
function exampleNames(pattern: RegExp): string[] {
  return [...Deno.readDirSync(new URL("examples", ROOT))]
    .filter(({ name, isFile }) => isFile && pattern.test(name)).map(({ name }) => name).sort();
}

const COMPOSE = exampleNames(/^docker-compose.*\.yaml$/);
const KUBERNETES = exampleNames(/^kubernetes.*\.yaml$/);

/** The value at a path such as `spec.containers.0.env`; undefined if there is none. */
function find(value: Yaml | undefined, path: string): Yaml | undefined {
  let found: Yaml | undefined = value;
  for (const key of path.split(".")) {
    found = (found as Readonly<Record<string, Yaml>> | null | undefined)?.[key];
  }
  return found;
}

/** The same where there has to be one. */
function at(value: Yaml | undefined, path: string): Yaml {
  const found = find(value, path);
  if (found === undefined) throw new Error(`nothing at ${path}`);
  return found;
}

/** The list at a path; an empty one if there is none. */
function list(value: Yaml | undefined, path: string): readonly YamlMap[] {
  return (find(value, path) ?? []) as readonly YamlMap[];
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

function formatRoutes({ routes }: Command): string[] {
  return routes.map(({ listen, targets }) => `${listen.port}=${formatTargets(targets)}`);
}

/** How long a stop may take before whoever asked for it has to kill. */
function stopMs({ options }: Command): number {
  return options.drainDelayMs + options.drainTimeoutMs;
}

/** Strangers are kept out of every route of a port that others reach. */
function assertGuarded({ routes }: Command, port: number, where: string): void {
  const there = routes.filter(({ listen }) => listen.port === port);
  assert(there.length > 0, `${where}: nothing listens on ${port}`);
  for (const { listen, settings } of there) {
    const isOpen = settings.allow.has("203.0.113.1") && listen.protocol !== "tls";
    assert(!isOpen, `${where}: ${port} is open to everybody`);
  }
}

/** The paths of the TLS files that a command names. */
function tlsFiles({ options }: Command): string[] {
  return [options.tlsCert, options.tlsKey, options.tlsCa].map((source) => {
    assert(source !== undefined && "path" in source);
    return source.path;
  });
}

Deno.test("examples/docker-run.sh starts ambassadors with settings that are understood", () => {
  const commands = commandsOf({ text: readText("examples/docker-run.sh") });
  const containers = new Map<string, Readonly<Record<string, string>>>();
  const found: string[] = [];
  for (const { words } of commands.filter(({ words: [program] }) => program === "docker")) {
    const line = words.join(" ");
    if (words[1] === "exec") {
      // It has the variables of the container.
      const { name } = settingsOf(containers.get(words[2] ?? "") ?? {}, { args: words.slice(4) });
      assertEquals([words[3], name], ["/ambassador", "wait"]);
    }
    if (words[1] === "run") assert(words.some((word) => WHOLE_IMAGE.test(word)), line);
    const run = words[1] === "run" ? readDockerRun(words) : undefined;
    if (run === undefined) continue;
    assert(words.includes(IMAGE), `${line}: ${IMAGE}`);
    const command = settingsOf(run.env, run);
    for (const published of words.filter((_, index) => words[index - 1] === "-p")) {
      const port = Number(published.split(":").at(-1));
      assert(command.routes.some(({ listen }) => listen.port === port), `${line}: ${published}`);
      if (!published.startsWith("127.0.0.1:")) assertGuarded(command, port, published);
    }
    const stopTimeout = /--stop-timeout=(\d+)/.exec(line)?.[1] ?? "10";
    assert(stopMs(command) < Number(stopTimeout) * 1000, line);
    containers.set(words[words.indexOf("--name") + 1] ?? "", run.env);
    found.push(formatRoutes(command).join(" "));
  }
  assertEquals(found, [
    "6379=192.0.2.10:6379",
    "6379=192.0.2.10:6379",
    "6379=192.0.2.10:6379",
    "6379=redis:6379",
    "5432=db.example.com:5432 6379=192.0.2.10:6379",
  ]);
});

for (const name of exampleNames(/\.sh$/)) {
  Deno.test(`examples/${name} is understood by bash`, needs(UNIX, "bash"), async () => {
    await shell(`bash -n examples/${name}`, pathOf("."));
  });
}

/** The services of a compose file. */
function servicesOf(name: string): Readonly<Record<string, YamlMap>> {
  const [file, ...more] = readExample(name);
  assertEquals(more, []);
  return at(file, "services") as Readonly<Record<string, YamlMap>>;
}

function isAmbassador(container: YamlMap): boolean {
  return String(container["image"]).includes("/ambassador:");
}

/** The text of the files that a compose service mounts, by their paths in it. */
function filesOf(service: YamlMap): Record<string, string> {
  // A file by itself would stay the old one, so folders are mounted.
  return Object.fromEntries(
    list(service, "volumes").flatMap((volume) => {
      const [host = "", inside] = String(volume).split(":");
      const folder = `examples/${host}`;
      return [...Deno.readDirSync(new URL(folder, ROOT))].map(({ name }) => [
        `${inside}/${name}`,
        readText(`${folder}/${name}`),
      ]);
    }),
  );
}

/** The settings of an ambassador in a compose file, which have to be understood. */
function checkService(service: YamlMap): Command {
  const env = service["environment"] as Record<string, string>;
  return settingsOf(env, { files: filesOf(service) });
}

/** What the networks of a service in a compose file are called. */
function networksOf(service: YamlMap): readonly string[] {
  const networks = service["networks"] ?? ["default"];
  return Array.isArray(networks) ? networks : Object.keys(networks);
}

/** What a service in a compose file depends on. */
function dependsOf(service: YamlMap): readonly string[] {
  const depends = service["depends_on"] ?? [];
  return Array.isArray(depends) ? depends.map(String) : Object.keys(depends);
}

/**
 * The commands at the head of a compose file: the project of each, what it does (`up -d`, `run --rm`,
 * `down`), and the services that it names.
 */
function composeCommands(name: string): readonly (readonly string[])[] {
  const text = readText(`examples/${name}`).replaceAll(/ \\\n#\s+/g, " ");
  return [...text.matchAll(/^# {5}docker compose (.*?)(?: {2,}.*)?$/gm)].map(([, line = ""]) => {
    const words = /^-p (\S+) -f (\S+) (up -d|run --rm|down)(?: (\S+))?$/.exec(line);
    assert(words !== null && words[2] === name, line);
    return [words[1] ?? "", words[3] ?? "", ...words[4] === undefined ? [] : [words[4]]];
  });
}

Deno.test("the compose files are a project each, and their heads start and end it", () => {
  const projects = COMPOSE.map((name) => {
    const commands = composeCommands(name);
    assertEquals(commands.map(([, what]) => what === "down"), [false, true], name);
    const [project = "", ...more] = new Set(commands.map(([project]) => project));
    assertMatch(project, /^ambassador-[a-z]+$/);
    assertEquals(more, []);
    return project;
  });
  assertEquals(new Set(projects).size, COMPOSE.length);
});

for (const name of COMPOSE) {
  Deno.test(`examples/${name} starts ambassadors that are locked, have limits and may finish`, () => {
    const services = Object.entries(servicesOf(name));
    assert(services.some(([, service]) => isAmbassador(service)));
    for (const [who, service] of services) {
      assertMatch(String(service["image"]), WHOLE_IMAGE, who);
      if (!isAmbassador(service)) continue;
      const command = checkService(service);
      assertEquals([service["image"], service["build"]], [IMAGE, ".."], who);
      assertEquals([service["read_only"], service["cap_drop"]], [true, ["ALL"]], who);
      assertEquals(service["security_opt"], ["no-new-privileges:true"], who);
      assertEquals(service["restart"], "unless-stopped", who);
      assertEquals(find(service, "ulimits.nofile"), 65536, who);
      assertMatch(String(find(service, "deploy.resources.limits.memory")), /^\d+M$/, who);
      assertMatch(String(find(service, "deploy.resources.limits.cpus")), /^[\d.]+$/, who);
      const graceMs = parseDuration(String(service["stop_grace_period"]));
      assert(stopMs(command) < graceMs, `${who}: it is killed too early`);
      for (const port of list(service, "ports").map(String)) {
        if (port.startsWith("127.0.0.1:")) continue;
        assertGuarded(command, Number(port.split(":").at(-1)), `${who}: ${port}`);
      }
    }
  });

  Deno.test(`examples/${name} names networks, secrets and services that are there`, () => {
    const [file] = readExample(name);
    const services = servicesOf(name);
    const networks = ["default", ...Object.keys((find(file, "networks") ?? {}) as YamlMap)];
    for (const [who, service] of Object.entries(services)) {
      for (const network of networksOf(service)) assert(networks.includes(network), network);
      for (const secret of list(service, "secrets")) at(file, `secrets.${secret}.file`);
      for (const other of dependsOf(service)) {
        assert(services[other] !== undefined, `${who}: ${other}`);
        // The image brings a health check, and other images need not.
        const condition = find(service, `depends_on.${other}.condition`);
        const isHealthy = isAmbassador(services[other]);
        assertEquals(condition, isHealthy ? "service_healthy" : undefined, `${who}: ${other}`);
      }
    }
  });

  Deno.test(`examples/${name} starts all of itself by the first command of its head`, () => {
    const services = servicesOf(name);
    const [[, first = "", ...run] = []] = composeCommands(name);
    if (first.startsWith("up")) return;
    const started = new Set(run);
    for (const who of started) {
      for (const other of dependsOf(services[who] ?? {})) started.add(other);
    }
    assertEquals([...started].sort(), Object.keys(services).sort());
  });
}

/** Whether one service finds another under a name. */
function finds(from: YamlMap, to: YamlMap, name: string, service: string): boolean {
  return networksOf(from).some((network) => {
    const aliases = [service, ...list(to, `networks.${network}.aliases`).map(String)];
    return networksOf(to).includes(network) && aliases.includes(name);
  });
}

Deno.test("examples/docker-compose.yaml leads app to Redis by the ambassador alone", () => {
  const [file] = readExample("docker-compose.yaml");
  const services = servicesOf("docker-compose.yaml");
  const { app = {}, "redis-ambassador": ambassador = {}, "redis-server": redis = {} } = services;
  assertEquals(formatRoutes(checkService(ambassador)), ["6379=redis-server:6379"]);
  assert(finds(app, ambassador, "redis", "redis-ambassador"));
  assert(finds(ambassador, redis, "redis-server", "redis-server"));
  assert(!finds(app, redis, "redis-server", "redis-server"));
  assertEquals(app["command"], ["redis-cli", "-h", "redis", "PING"]);
  assertEquals([app["networks"], at(file, "networks.app.internal")], [["app"], true]);
  // `--scale` makes more of it: each of these can be had by one container alone.
  for (const key of ["ports", "container_name", "network_mode"]) {
    assertEquals(ambassador[key], undefined, key);
  }
});

Deno.test("examples/docker-compose-rewiring.yaml mounts the folder of the file that it names", () => {
  const { "redis-ambassador": ambassador = {} } = servicesOf("docker-compose-rewiring.yaml");
  assertEquals(formatRoutes(checkService(ambassador)), ["6379=redis.example.com:6379"]);
  assertEquals(ambassador["volumes"], ["./ambassador:/etc/ambassador:ro"]);
  assertEquals(Object.keys(filesOf(ambassador)), ["/etc/ambassador/routes"]);
});

/** Each host of the TLS example: its ambassador, its route, and the name in its certificate. */
const TLS_HOSTS = [
  ["service", "redis-server-side", "6380=redis:6379", "big-server"],
  ["consumer", "redis-ambassador", "6379=tls://192.0.2.10:6380", "consumer"],
] as const;

for (const [host, name, route, identity] of TLS_HOSTS) {
  const example = `docker-compose-tls-${host}.yaml`;
  Deno.test(`examples/${example} gives its ambassador the files that it names`, () => {
    const [file] = readExample(example);
    const service = at(file, `services.${name}`) as YamlMap;
    const command = checkService(service);
    assertEquals(formatRoutes(command), [route]);
    const files = tlsFiles(command).map((path) => {
      const secret = path.replace(/^\/run\/secrets\//, "");
      assert((service["secrets"] as string[]).includes(secret), path);
      return at(file, `secrets.${secret}.file`);
    });
    assertEquals(files, [`${identity}.pem`, `${identity}.key`, "ca.pem"]);
    // Compose mounts the key as it is on the host, and the image's user has to read it.
    assertStringIncludes(readText(`examples/${example}`), `sudo chown 65532 ${identity}.key`);
    // What is made with these names stands in the other file.
    assertStringIncludes(readText("examples/tls-certificates.sh"), ` ${identity}`);
  });
}

/** The service's side is reached where the consumer's side looks for it, and both know the other's name. */
function assertPair(service: Command, consumer: Command): void {
  const [listener] = service.routes;
  const [caller] = consumer.routes;
  assert(listener !== undefined && caller !== undefined);
  const [target] = caller.targets;
  assertEquals([listener.listen.protocol, target?.protocol], ["tls", "tls"]);
  assertEquals(listener.listen.port, target?.port);
  assertEquals(caller.settings.tlsName, "big-server");
  assert(listener.settings.tlsAllow.has({ dns: ["consumer"], uris: [] }));
  assert(!listener.settings.tlsAllow.has({ dns: ["big-server"], uris: [] }));
}

Deno.test("examples/docker-compose-tls-consumer.yaml fits examples/docker-compose-tls-service.yaml", () => {
  const [service, consumer] = TLS_HOSTS.map(([host, name]) => {
    const services = servicesOf(`docker-compose-tls-${host}.yaml`);
    return checkService(services[name] ?? {});
  });
  assert(service !== undefined && consumer !== undefined);
  assertPair(service, consumer);
  const { app = {}, "redis-ambassador": near = {} } = servicesOf(
    "docker-compose-tls-consumer.yaml",
  );
  assert(finds(app, near, "redis", "redis-ambassador"));
});

Deno.test("examples/docker-compose-dns.yaml leads DNS of both protocols through two ambassadors", () => {
  const [file] = readExample("docker-compose-dns.yaml");
  const services = servicesOf("docker-compose-dns.yaml");
  const chain = ["app", "dns", "dns-server-side", "name-server"]
    .map((name) => services[name] ?? {});
  const [app = {}, near = {}, far = {}, server = {}] = chain;
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
  // Neither runs as root, and podman gives ports below 1024 to nobody else.
  for (const { sysctls } of [near, far]) {
    assertEquals(sysctls, { "net.ipv4.ip_unprivileged_port_start": 0 });
  }
  // The name server knows what app asks for.
  const name = (app["command"] as string[]).at(-1);
  assertMatch(
    filesOf(server)["/etc/coredns/Corefile"] ?? "",
    new RegExp(`^ +[\\d.]+ ${name}$`, "m"),
  );
  assertEquals(server["command"], ["-conf", "/etc/coredns/Corefile"]);
  // app asks the ambassador, which lets in whoever is on that network.
  assertEquals(app["dns"], [at(near, "networks.app.ipv4_address")]);
  const [{ subnet } = {}] = list(file, "networks.app.ipam.config");
  assertEquals(at(near, "environment.AMBASSADOR_ALLOW"), subnet ?? null);
  for (const { settings } of checkService(near).routes) assert(settings.allow.has("172.30.53.3"));
});

/** A pod of a Kubernetes file: its own or that of a Deployment. */
interface Pod {
  readonly labels: YamlMap;
  readonly spec: YamlMap;
  readonly ambassador: YamlMap;
  readonly isSidecar: boolean;
}

/** The documents of a kind. */
function ofKind(documents: readonly Yaml[], kind: string): readonly YamlMap[] {
  return documents.filter((one) => find(one, "kind") === kind) as YamlMap[];
}

function podsOf(documents: readonly Yaml[]): readonly Pod[] {
  const deployments = ofKind(documents, "Deployment").map((one) => at(one, "spec.template"));
  return [...ofKind(documents, "Pod"), ...deployments].map((pod) => {
    const spec = at(pod, "spec") as YamlMap;
    const sidecar = list(spec, "initContainers").find(isAmbassador);
    const ambassador = sidecar ?? list(spec, "containers").find(isAmbassador);
    assert(ambassador !== undefined, "a pod without an ambassador");
    const labels = (find(pod, "metadata.labels") ?? {}) as YamlMap;
    return { labels, spec, ambassador, isSidecar: sidecar !== undefined };
  });
}

function envOf(container: YamlMap): Record<string, string> {
  const pairs = list(container, "env").map(({ name, value }) => [name, value]);
  return Object.fromEntries(pairs);
}

/** The text of the files that a pod's ConfigMaps bring into a container, by their paths in it. */
function mapFiles(documents: readonly Yaml[], { spec, ambassador }: Pod): Record<string, string> {
  const mounts = list(ambassador, "volumeMounts");
  return Object.fromEntries(mounts.flatMap(({ name, mountPath }) => {
    const volume = list(spec, "volumes").find((one) => one["name"] === name);
    const map = ofKind(documents, "ConfigMap").find((one) =>
      at(one, "metadata.name") === find(volume, "configMap.name")
    );
    return Object.entries((find(map, "data") ?? {}) as YamlMap).map(([file, text]) => [
      `${mountPath}/${file}`,
      String(text),
    ]);
  }));
}

/** The command of a pod's ambassador, which has to be understood. */
function checkPod(documents: readonly Yaml[], pod: Pod): Command {
  return settingsOf(envOf(pod.ambassador), { files: mapFiles(documents, pod) });
}

for (const name of KUBERNETES) {
  const documents = readExample(name);
  const pods = podsOf(documents);

  Deno.test(`examples/${name} starts ambassadors that are locked and have limits`, () => {
    assert(pods.length > 0);
    for (const { spec, ambassador } of pods) {
      assertEquals(spec["enableServiceLinks"], false);
      assertEquals(spec["automountServiceAccountToken"], false);
      for (const container of [...list(spec, "initContainers"), ...list(spec, "containers")]) {
        assertMatch(String(container["image"]), WHOLE_IMAGE);
      }
      assertEquals(ambassador["image"], IMAGE);
      const security = ambassador["securityContext"];
      assertEquals(at(security, "runAsNonRoot"), true);
      assertEquals(at(security, "runAsUser"), 65532);
      assertEquals(at(security, "readOnlyRootFilesystem"), true);
      assertEquals(at(security, "allowPrivilegeEscalation"), false);
      assertEquals(at(security, "capabilities.drop"), ["ALL"]);
      assertEquals(at(security, "seccompProfile.type"), "RuntimeDefault");
      for (const path of ["requests.cpu", "requests.memory", "limits.memory"]) {
        assertMatch(String(at(ambassador["resources"], path)), /^\d+(?:m|Mi)$/);
      }
    }
  });

  Deno.test(`examples/${name} has its ambassadors asked how they are`, () => {
    for (const pod of pods) {
      const { ambassador, isSidecar } = pod;
      const { status } = checkPod(documents, pod).options;
      assert(status !== undefined && status.hostname === "::", "the kubelet comes from outside");
      const ports = new Map(list(ambassador, "ports").map((port) => [port["name"], port]));
      assertEquals(ports.get("status")?.["containerPort"], status.port);
      // What is a sidecar of its own kind has to be ready before the next container starts.
      const ready = isSidecar ? "startupProbe" : "readinessProbe";
      for (const [probe, path] of [["livenessProbe", "/healthz"], [ready, "/readyz"]] as const) {
        assertEquals(at(ambassador, `${probe}.httpGet.path`), path);
        assertEquals(at(ambassador, `${probe}.httpGet.port`), "status");
      }
      if (isSidecar) assertEquals(ambassador["restartPolicy"], "Always");
    }
  });

  Deno.test(`examples/${name} lets connections finish before a pod is killed`, () => {
    for (const pod of pods) {
      const command = checkPod(documents, pod);
      const graceMs = Number(find(pod.spec, "terminationGracePeriodSeconds") ?? 30) * 1000;
      assert(stopMs(command) < graceMs);
      // Clients of a Service come for a while after the stop. A sidecar is told of it last.
      assertEquals(command.options.drainDelayMs > 0, !pod.isSidecar);
      if (!pod.isSidecar || ofKind(documents, "Service").length === 0) continue;
      for (const container of list(pod.spec, "containers")) {
        const [name, seconds] = list(container, "lifecycle.preStop.exec.command").map(String);
        assertEquals(name, "sleep");
        assert(Number(seconds) > 0 && Number(seconds) * 1000 + stopMs(command) < graceMs);
        at(container, "readinessProbe");
      }
    }
  });

  Deno.test(`examples/${name} selects pods that are there, and ports that are listened on`, () => {
    /** The ports of the pod that a selector chooses. */
    function listensOf(selector: Yaml): readonly (Yaml | undefined)[] {
      const wanted = Object.entries(selector as YamlMap);
      const pod = pods.find(({ labels }) =>
        wanted.every(([label, value]) => labels[label] === value)
      );
      assert(pod !== undefined && wanted.length > 0, `no pod has ${JSON.stringify(selector)}`);
      const ports = checkPod(documents, pod).routes.map(({ listen }) => listen.port);
      const named = list(pod.ambassador, "ports").filter(({ containerPort }) =>
        ports.some((port) => port === containerPort)
      );
      // Where sidecars are, a name of their ports is not found by every Kubernetes.
      return [...ports, ...pod.isSidecar ? [] : named.map((port) => port["name"])];
    }
    for (const service of ofKind(documents, "Service")) {
      const listens = listensOf(at(service, "spec.selector"));
      for (const { targetPort } of list(service, "spec.ports")) {
        assert(listens.includes(targetPort), `${targetPort} is not listened on`);
      }
    }
    for (const policy of ofKind(documents, "NetworkPolicy")) {
      const listens = listensOf(at(policy, "spec.podSelector.matchLabels"));
      for (const { port } of list(policy, "spec.ingress").flatMap((one) => list(one, "ports"))) {
        assert(listens.includes(port), `${port} is not listened on`);
      }
    }
    for (const kind of ["Deployment", "PodDisruptionBudget"]) {
      for (const one of ofKind(documents, kind)) listensOf(at(one, "spec.selector.matchLabels"));
    }
    // What others reach has a policy that says who.
    assertEquals(
      ofKind(documents, "NetworkPolicy").length,
      ofKind(documents, "Service").length,
    );
  });

  Deno.test(`examples/${name} mounts folders that change when what is in them does`, () => {
    for (const { spec, ambassador } of pods) {
      const volumes = list(spec, "volumes");
      const mounts = list(ambassador, "volumeMounts");
      assertEquals(mounts.map((mount) => mount["name"]), volumes.map((volume) => volume["name"]));
      // Kubernetes never changes what is mounted by a subPath, nor what is immutable.
      for (const mount of mounts) {
        assertEquals([mount["subPath"], mount["readOnly"]], [undefined, true]);
      }
    }
    for (const map of ofKind(documents, "ConfigMap")) assertEquals(map["immutable"], undefined);
  });
}

/** A text with the rule for Prometheus that stands in it as a comment. */
function withPrometheus(text: string): string {
  const commented = /^ {4}# - from:\n(?: {4}# {3}.*\n?)+/m;
  assertMatch(text, commented);
  return text.replace(commented, (rule) => rule.replace(/^ {4}# /gm, "    "));
}

for (const name of KUBERNETES) {
  const text = readText(`examples/${name}`);
  if (!text.includes("kind: NetworkPolicy")) continue;
  Deno.test(`examples/${name} has a rule that lets in Prometheus alone, once its # is gone`, () => {
    const documents = parseYaml(withPrometheus(text));
    const [policy] = ofKind(documents, "NetworkPolicy");
    const [pod] = podsOf(documents);
    const status = list(pod?.ambassador, "ports").find((port) => port["name"] === "status");
    const rules = list(policy, "spec.ingress");
    const rule = rules.at(-1);
    assertEquals(rules.length, 1 + list(parseYaml(text).at(-1), "spec.ingress").length);
    assertEquals(list(rule, "from").map((from) => at(from, "namespaceSelector.matchLabels")), [
      { "kubernetes.io/metadata.name": "monitoring" },
    ]);
    const ports = list(rule, "ports").map(({ port }) => port);
    assert(ports.length === 1 && [status?.["name"], status?.["containerPort"]].includes(ports[0]));
    // The name of a sidecar's port is not found by every Kubernetes.
    if (pod?.isSidecar) assertEquals(typeof ports[0], "number");
  });
}

Deno.test("examples/kubernetes-deployment.yaml keeps pods that serve, and spreads these pods", () => {
  const documents = readExample("kubernetes-deployment.yaml");
  const [pod, ...pods] = podsOf(documents);
  const [deployment] = ofKind(documents, "Deployment");
  const [budget] = ofKind(documents, "PodDisruptionBudget");
  assert(pod !== undefined && pods.length === 0);
  assertEquals(formatRoutes(checkPod(documents, pod)), ["6379=redis.example.com:6379"]);
  const [spread] = list(pod.spec, "topologySpreadConstraints");
  assertEquals(at(spread, "labelSelector.matchLabels"), pod.labels);
  assertEquals(at(spread, "matchLabelKeys"), ["pod-template-hash"]);
  assertEquals(at(budget, "spec.unhealthyPodEvictionPolicy"), "AlwaysAllow");
  assertEquals(at(deployment, "spec.strategy.rollingUpdate.maxUnavailable"), 0);
  assert(Number(at(deployment, "spec.replicas")) > Number(at(budget, "spec.maxUnavailable")));
});

Deno.test("examples/kubernetes-deployment.yaml lets in who is labelled, and out to the target", () => {
  const documents = readExample("kubernetes-deployment.yaml");
  const [policy] = ofKind(documents, "NetworkPolicy");
  const [rule, ...rules] = list(policy, "spec.ingress");
  assertEquals(rules, []);
  const [from] = list(rule, "from");
  assertEquals(at(from, "podSelector.matchLabels"), { "redis-client": "true" });
  const out = list(policy, "spec.egress").flatMap((one) => list(one, "ports"));
  const open = out.map(({ port, protocol = "TCP" }) => `${port}/${protocol}`);
  assertEquals(open, ["53/UDP", "53/TCP", "6379/TCP"]);
  const [pod] = podsOf(documents);
  assert(pod !== undefined);
  for (const { targets } of checkPod(documents, pod).routes) {
    for (const { port } of targets) assert(open.includes(`${port}/TCP`), `no way to ${port}`);
  }
});

Deno.test("examples/kubernetes-deployment.yaml has its target's name looked up as it stands", () => {
  const documents = readExample("kubernetes-deployment.yaml");
  const [pod] = podsOf(documents);
  assert(pod !== undefined);
  const [option] = list(pod.spec, "dnsConfig.options");
  assertEquals(option?.["name"], "ndots");
  for (const { targets } of checkPod(documents, pod).routes) {
    for (const { hostname } of targets) {
      assert(hostname.split(".").length > Number(option?.["value"]), hostname);
    }
  }
});

Deno.test("examples/kubernetes-sidecar.yaml serves its pod alone, by TCP and UDP", () => {
  const documents = readExample("kubernetes-sidecar.yaml");
  const [pod] = podsOf(documents);
  assert(pod !== undefined);
  const command = checkPod(documents, pod);
  assertEquals(command.options.bind, "127.0.0.1");
  assertEquals(formatRoutes(command), [
    "6379=redis.example.com:6379",
    "8125=udp://statsd.example.com:8125",
  ]);
  const [app = {}] = list(pod.spec, "containers");
  assertEquals(envOf(app), {
    REDIS_URL: "redis://127.0.0.1:6379",
    STATSD_HOST: "127.0.0.1",
    STATSD_PORT: "8125",
  });
});

Deno.test("examples/kubernetes-tls-consumer.yaml fits examples/kubernetes-tls-service.yaml", () => {
  const [service, consumer] = ["service", "consumer"].map((side) => {
    const name = `kubernetes-tls-${side}.yaml`;
    const documents = readExample(name);
    const [pod] = podsOf(documents);
    assert(pod !== undefined);
    const command = checkPod(documents, pod);
    // The files are those that the command at the head of the file puts into the Secret.
    const head = readText(`examples/${name}`);
    const [volume] = list(pod.spec, "volumes");
    assertStringIncludes(head, `create secret generic ${at(volume, "secret.secretName")} `);
    for (const path of tlsFiles(command)) {
      assertStringIncludes(head, `--from-file=${path.replace("/tls/", "")}=`);
    }
    assertEquals(at(pod.spec, "securityContext.fsGroup"), 65532);
    return command;
  });
  assert(service !== undefined && consumer !== undefined);
  assertPair(service, consumer);
  assertEquals(formatRoutes(service), ["6380=127.0.0.1:6379"]);
  assertEquals(consumer.options.bind, "127.0.0.1");
});

Deno.test("every example says at its head what it shows, and how to start itself", () => {
  for (const name of [...COMPOSE, ...KUBERNETES, ...exampleNames(/\.sh$/)]) {
    const text = readText(`examples/${name}`).replace(/^#!.*\n/, "");
    assertMatch(text, /^# \w/, name);
    const head = text.split("\n").findIndex((line) => !line.startsWith("#"));
    assert(head > 0 && head <= 12, `${name}: a head of ${head} lines`);
    for (const [, file] of text.matchAll(/^# .* -f (?:examples\/)?(\S+)/gm)) {
      assertEquals(file, name);
    }
  }
});

Deno.test("what examples/tls-certificates.sh makes in its folder is ignored by git", () => {
  const ignored = readText(".gitignore").split("\n");
  for (
    const [, ending] of readText("examples/tls-certificates.sh").matchAll(/\.(key|pem|csr)\b/g)
  ) {
    assert(ignored.includes(`/examples/*.${ending}`), ending);
  }
});

/** The blocks of a document that are YAML. */
function yamlBlocks(path: string): readonly Yaml[] {
  return parseDocument(path, readText(path)).blocks.filter(({ info }) => info[0] === "yaml")
    .flatMap(({ text }) => parseYaml(text));
}

Deno.test("docs/docker.md has app wait for the service itself", () => {
  const [file, ...more] = yamlBlocks("docs/docker.md");
  assertEquals(more, []);
  const waiting = at(file, "services.redis-is-there");
  assertEquals([at(waiting, "image"), find(waiting, "restart")], [IMAGE, undefined]);
  const { name, bare } = settingsOf({}, { args: at(waiting, "command") as string[] });
  assertEquals([name, bare.length], ["wait", 1]);
  assertEquals(at(file, "services.app.depends_on"), {
    "redis-is-there": { condition: "service_completed_successfully" },
  });
});

Deno.test("docs/kubernetes.md shows Services that would do without an ambassador", () => {
  const [external, service, slice] = yamlBlocks("docs/kubernetes.md");
  assertEquals(at(external, "spec.type"), "ExternalName");
  assertEquals(find(service, "spec.selector"), undefined);
  // What makes the addresses those of the Service is this label, and that the ports are called alike.
  const label = at(slice, "metadata.labels") as YamlMap;
  assertEquals(label["kubernetes.io/service-name"], at(service, "metadata.name"));
  assertEquals(list(service, "spec.ports")[0]?.["name"], list(slice, "ports")[0]?.["name"]);
});

Deno.test("the documents link every example", () => {
  const folder = [...Deno.readDirSync(new URL("docs", ROOT))];
  const paths = folder.map(({ name }) => `docs/${name}`).filter((path) => path.endsWith(".md"));
  const texts = ["README.md", ...paths].map(readText).join("\n");
  const missing = [...Deno.readDirSync(new URL("examples", ROOT))].map(({ name }) => name)
    .filter((name) => ![")", "/"].some((end) => texts.includes(`examples/${name}${end}`)));
  assertEquals(missing, []);
});

Deno.test("the Dockerfile sets the variables that these tests suppose, for both images", () => {
  const lines = readText("Dockerfile").split("\n").filter((line) => line.startsWith("ENV "));
  const expected = Object.entries(IMAGE_ENV).map(([name, value]) => `ENV ${name}=${value}`);
  assertEquals(lines, [...expected, ...expected]);
});
