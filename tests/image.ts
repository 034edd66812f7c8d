// Both images in real containers, with a real Redis. Run by `deno task test:image`: it needs docker or
// podman and takes a minute, so the name of this file keeps it out of `deno task test`.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import config from "../deno.json" with { type: "json" };
import { findEngine, run } from "../build/engine.ts";
import { IMAGE_TARGETS, imageCommand, readOrigin } from "../build/image.ts";
import { pathOf } from "../build/sources.ts";
import { createCa, type Issued } from "./helpers/certificates.ts";
import { Containers, makeDnsmasqImage, makeRedisImage } from "./helpers/containers.ts";
import { dig, DNS_ANSWER } from "./helpers/dns.ts";
import { Random, readExactly, until, within, writeAll } from "./helpers/mod.ts";
import { type Needs, needs, NO_TLS, PROGRAM_TLS } from "./helpers/needs.ts";

const engine = await findEngine();

/** As an operator who trusts nothing would start it: both images have to do with that. */
const LOCKED = [
  "--read-only",
  ...(engine === "podman" ? ["--read-only-tmpfs=false"] : []),
  "--cap-drop=all",
  "--security-opt=no-new-privileges",
];

const images = new Containers(engine);
const built: Record<string, string> = {};
let redisImage = "";

Deno.test.beforeAll(async () => {
  const folder = pathOf(".");
  for (const target of IMAGE_TARGETS) {
    const name = images.imageName();
    const image = { target, tags: [name], push: false };
    const [program = "", ...args] = imageCommand(engine, image, readOrigin());
    // podman would keep the stages between as images without a name.
    if (engine === "podman") args.splice(1, 0, "--layers=false");
    const { code, stderr } = await run([program, ...args.slice(0, -1), folder]);
    if (code !== 0) throw new Error(`${program} ${args.join(" ")}: ${code}\n${stderr}`);
    built[target] = name;
  }
  redisImage = await makeRedisImage(images);
});

Deno.test.afterAll(async () => {
  await images[Symbol.asyncDispose]();
});

/** A claim about the image that is made for each of the two. */
function testBoth(
  claim: string,
  test: (image: string, target: string) => Promise<void>,
  wanted: Needs = { ignore: false },
): void {
  for (const target of IMAGE_TARGETS) {
    Deno.test({ name: `image ${target} ${claim}`, ...wanted }, async () => {
      const image = built[target];
      if (image === undefined) throw new Error(`${target} was not built`);
      await test(image, target);
    });
  }
}

/** Waits until the ambassador forwards. */
async function ready(containers: Containers, container: string): Promise<void> {
  await containers.line(container, / ready /);
}

/** A consumer that does nothing by itself. */
async function startConsumer(containers: Containers, network: string): Promise<string> {
  // While an engine's own name server learns of a new container, the next one may not be reachable.
  const flags = ["--dns-opt=timeout:1", "--dns-opt=attempts:2"];
  return await containers.start(redisImage, { networks: [network], flags });
}

/** A Redis of this name that answers already. */
async function startRedis(containers: Containers, network: string, name: string): Promise<string> {
  const server = await containers.start(redisImage, { networks: [network], names: [name] });
  await until(
    async () => await redis(containers, server, "127.0.0.1", "SET", "me", name) === "OK",
    `${name} is up`,
  );
  return server;
}

/** What Redis answers to a consumer. */
async function redis(
  containers: Containers,
  consumer: string,
  address: string,
  ...command: readonly string[]
): Promise<string> {
  const [host = "", port = "6379"] = address.split(":");
  const cli = ["exec", consumer, "/redis-cli", "-h", host, "-p", port];
  const { stdout, stderr } = await within(containers.try(...cli, ...command), "redis-cli");
  return `${stdout}${stderr}`.trim();
}

testBoth("forwards one link to a real Redis", async (image) => {
  await using containers = new Containers(engine);
  const [near, far] = [await containers.network({ internal: true }), await containers.network()];
  await startRedis(containers, far, "db");
  const ambassador = await containers.start(image, {
    networks: [near, far],
    names: ["redis"],
    env: { REDIS_PORT_6379_TCP: "tcp://db:6379" },
    flags: LOCKED,
  });
  const consumer = await startConsumer(containers, near);
  await ready(containers, ambassador);
  assertEquals(await redis(containers, consumer, "redis", "SET", "key", "value"), "OK");
  assertEquals(await redis(containers, consumer, "redis", "GET", "key"), "value");
});

testBoth("takes routes as arguments", async (image) => {
  await using containers = new Containers(engine);
  const network = await containers.network();
  await startRedis(containers, network, "db");
  const ambassador = await containers.start(image, {
    networks: [network],
    names: ["ambassador"],
    flags: LOCKED,
    args: ["7000=db:6379"],
  });
  const consumer = await startConsumer(containers, network);
  await ready(containers, ambassador);
  assertEquals(await redis(containers, consumer, "ambassador:7000", "PING"), "PONG");
});

testBoth("forwards from host to host in a chain of two", async (image) => {
  await using containers = new Containers(engine);
  const near = await containers.network({ internal: true });
  const far = await containers.network();
  const db = await startRedis(containers, far, "db");
  const farAmbassador = await containers.start(image, {
    networks: [far],
    names: ["far"],
    env: { REDIS_PORT_6379_TCP: "tcp://db:6379" },
    flags: LOCKED,
  });
  const nearAmbassador = await containers.start(image, {
    networks: [near, far],
    names: ["redis"],
    env: { REDIS_PORT_6379_TCP: "tcp://far:6379" },
    flags: LOCKED,
  });
  const consumer = await startConsumer(containers, near);
  await ready(containers, farAmbassador);
  await ready(containers, nearAmbassador);
  assertEquals(await redis(containers, consumer, "redis", "SET", "key", "value"), "OK");
  for (const container of [db, farAmbassador]) {
    const address = await containers.address(container, far);
    assertMatch(await redis(containers, consumer, address, "PING"), /Could not connect/);
  }
  assertMatch(await redis(containers, consumer, "far", "PING"), /Could not connect/);
  assertEquals(await redis(containers, db, "127.0.0.1", "GET", "key"), "value");
});

/** The variables of an ambassador that is somebody, with the PEM itself in them. */
function pemVariables({ cert, key }: Issued, ca: string): Record<string, string> {
  return { AMBASSADOR_TLS_CERT: cert, AMBASSADOR_TLS_KEY: key, AMBASSADOR_TLS_CA: ca };
}

// What runs this test is embedded in the images, and has TLS or has not.
testBoth(
  "forwards from host to host by TLS, and to nobody without a certificate",
  async (image) => {
    using ca = await createCa();
    await using containers = new Containers(engine);
    const near = await containers.network({ internal: true });
    const far = await containers.network();
    const db = await startRedis(containers, far, "db");
    const farAmbassador = await containers.start(image, {
      networks: [far],
      names: ["big-server"],
      env: {
        ...pemVariables(await ca.issue({ dns: ["big-server"] }), ca.pem),
        REDIS_PORT_6380_TLS: "tcp://db:6379",
      },
      flags: LOCKED,
    });
    const nearAmbassador = await containers.start(image, {
      networks: [near, far],
      names: ["redis"],
      env: {
        ...pemVariables(await ca.issue({ dns: ["consumer"] }), ca.pem),
        REDIS_PORT_6379_TCP: "tls://big-server:6380",
      },
      flags: LOCKED,
    });
    const consumer = await startConsumer(containers, near);
    await ready(containers, farAmbassador);
    await ready(containers, nearAmbassador);
    assertEquals(await redis(containers, consumer, "redis", "SET", "key", "value"), "OK");
    assertEquals(await redis(containers, db, "127.0.0.1", "GET", "key"), "value");
    assert(!(await redis(containers, db, "big-server:6380", "PING")).includes("PONG"));
    await containers.line(farAmbassador, / tls_failed .*not TLS/);
  },
  needs(PROGRAM_TLS, "openssl"),
);

testBoth("says of a TLS target that its Deno is too old", async (image) => {
  await using containers = new Containers(engine);
  const env = ["-e", "REDIS_PORT_6379_TCP=tls://big-server:6380"];
  const { code, stderr } = await containers.try("run", "--rm", ...LOCKED, ...env, image);
  assertEquals(code, 2);
  assertMatch(stderr, /TLS needs Deno 2\.9 or later/);
}, needs(NO_TLS));

testBoth("forwards several links from one container", async (image) => {
  await using containers = new Containers(engine);
  const network = await containers.network();
  for (const name of ["one", "two"]) {
    await startRedis(containers, network, name);
  }
  const ambassador = await containers.start(image, {
    networks: [network],
    names: ["ambassador"],
    env: { ONE_PORT_6379_TCP: "tcp://one:6379", TWO_PORT_6380_TCP: "tcp://two:6379" },
    flags: LOCKED,
  });
  const consumer = await startConsumer(containers, network);
  await ready(containers, ambassador);
  assertEquals(await redis(containers, consumer, "ambassador:6379", "GET", "me"), "one");
  assertEquals(await redis(containers, consumer, "ambassador:6380", "GET", "me"), "two");
});

testBoth("is rewired without touching the consumer", async (image) => {
  await using containers = new Containers(engine);
  // As links did it: addresses, and a line in the consumer's /etc/hosts. An engine's name server may
  // take its time to learn that a name has moved, and that is not what is tried here.
  const random = new Random();
  const prefix = `10.${100 + random.below(100)}.${random.below(256)}`;
  // The same hardware address too: what remembers the old one for a while is no part of this either.
  const place = [`--ip=${prefix}.77`, "--mac-address=02:42:0a:00:00:4d"];
  const near = await containers.network({ internal: true, subnet: `${prefix}.0/24` });
  const far = await containers.network();
  const consumer = await containers.start(redisImage, {
    networks: [near],
    flags: [`--add-host=redis:${prefix}.77`],
  });
  const started = await containers.inspect(consumer, "{{.State.Pid}} {{.State.StartedAt}}");
  for (const name of ["old", "new"]) {
    const target = await containers.address(await startRedis(containers, far, name), far);
    const ambassador = await containers.start(image, {
      networks: [near, far],
      env: { REDIS_PORT_6379_TCP: `tcp://${target}:6379` },
      flags: [...LOCKED, ...place],
    });
    await ready(containers, ambassador);
    assertEquals(await redis(containers, consumer, "redis", "GET", "me"), name);
    await containers.command("rm", "-f", ambassador);
  }
  assertEquals(await containers.inspect(consumer, "{{.State.Pid}} {{.State.StartedAt}}"), started);
});

/** A folder that any user can read; gone at the end of the block. */
async function makeFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await Deno.makeTempDir();
  await Deno.chmod(path, 0o755);
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

/** Writes a file of routes as `mv` puts it there. */
async function renameOver(folder: string, text: string): Promise<void> {
  await Deno.writeTextFile(`${folder}/routes.new`, text);
  await Deno.rename(`${folder}/routes.new`, `${folder}/routes`);
}

/** Writes it as kubelet does: `routes` → `..data/routes`, where `..data` → a folder of its own. */
async function swapData(folder: string, text: string): Promise<void> {
  const [link, data] = [`${folder}/..data`, `..${crypto.randomUUID()}`];
  await Deno.mkdir(`${folder}/${data}`);
  await Deno.writeTextFile(`${folder}/${data}/routes`, text);
  await Deno.symlink(data, `${link}_tmp`);
  const before = [...Deno.readDirSync(folder)].some(({ name }) => name === "routes")
    ? await Deno.readLink(link)
    : undefined;
  await Deno.rename(`${link}_tmp`, link);
  if (before === undefined) await Deno.symlink("..data/routes", `${folder}/routes`);
  else await Deno.remove(`${folder}/${before}`, { recursive: true });
}

/** Which Redis answers a client; each has a name of three letters. */
async function whoAnswers(client: Deno.TcpConn): Promise<string> {
  await writeAll(client, "GET me\r\n");
  return (await readExactly(client, "$3\r\nold\r\n".length)).slice(4, 7);
}

/** Lines of routes to each of two that are called `old` and `new`. */
async function startOldAndNew(
  containers: Containers,
  network: string,
): Promise<Readonly<Record<"old" | "new", string>>> {
  const [old = "", other = ""] = await Promise.all(["old", "new"].map(async (name) => {
    const redis = await startRedis(containers, network, name);
    return `REDIS_PORT_6379_TCP=tcp://${await containers.address(redis, network)}:6379\n`;
  }));
  return { old, new: other };
}

const ROUTES = { AMBASSADOR_ROUTES: "/etc/ambassador/routes" };

for (const [how, write] of [["as mv does", renameOver], ["as kubelet does", swapData]] as const) {
  testBoth(
    `is rewired by a file in a folder, changed ${how}, and refuses nobody`,
    async (image) => {
      await using containers = new Containers(engine);
      await using folder = await makeFolder();
      const network = await containers.network();
      const routes = await startOldAndNew(containers, network);
      await write(folder.path, routes.old);
      const volume = `--volume=${folder.path}:/etc/ambassador:ro`;
      const ambassador = await containers.start(image, {
        networks: [network],
        env: ROUTES,
        flags: [...LOCKED, volume, "--publish=127.0.0.1::6379"],
      });
      await ready(containers, ambassador);
      const port = await publishedPort(containers, ambassador);
      const connect = (): Promise<Deno.TcpConn> => Deno.connect({ hostname: "127.0.0.1", port });
      const answers = { old: 0, new: 0 };
      let goesOn = true;
      async function comeAgain(): Promise<void> {
        while (goesOn) {
          using client = await connect();
          const who = await whoAnswers(client);
          assert(who === "old" || who === "new", who);
          answers[who]++;
        }
      }
      using before = await connect();
      assertEquals(await whoAnswers(before), "old");
      const coming = Promise.all(Array.from({ length: 4 }, comeAgain));
      // It is asked for below; until then a failure must not end the test from outside.
      coming.catch(() => {});
      await until(() => answers.old > 10, "clients are served");
      await write(folder.path, routes.new);
      try {
        await containers.line(ambassador, / rewired .*changed=REDIS@/);
        const oldOnes = answers.old;
        const newOnes = answers.new;
        await until(() => answers.new > newOnes + 10, "clients are served by the new one");
        // Those that were on their way when it was logged.
        assert(
          answers.old <= oldOnes + 4,
          `${answers.old - oldOnes} clients still went to the old one`,
        );
      } finally {
        goesOn = false;
        await within(coming, "every client to be served");
      }
      assertEquals(await whoAnswers(before), "old");
    },
  );
}

testBoth("keeps a file that is mounted by itself, until it is written in place", async (image) => {
  await using containers = new Containers(engine);
  await using folder = await makeFolder();
  const path = `${folder.path}/routes`;
  const routeTo = (host: string): string => `REDIS_PORT_6379_TCP=tcp://${host}:6379\n`;
  await Deno.writeTextFile(path, routeTo("192.0.2.10"));
  const volume = `--volume=${path}:${ROUTES.AMBASSADOR_ROUTES}:ro`;
  const ambassador = await containers.start(image, { env: ROUTES, flags: [...LOCKED, volume] });
  await ready(containers, ambassador);
  await Deno.writeTextFile(path, routeTo("192.0.2.20"));
  await containers.line(ambassador, / rewired .*changed=REDIS@/);
  await renameOver(folder.path, routeTo("192.0.2.30"));
  const seen = await containers.command("exec", ambassador, "/ambassador", "check");
  assertMatch(seen, /^REDIS .* 192\.0\.2\.20:6379$/m);
});

testBoth("says in one line that its user can't read the file of routes", async (image) => {
  await using containers = new Containers(engine);
  await using folder = await makeFolder();
  const path = `${folder.path}/routes`;
  await Deno.writeTextFile(path, "REDIS_PORT_6379_TCP=tcp://192.0.2.10:6379\n", { mode: 0o600 });
  const volume = `--volume=${folder.path}:/etc/ambassador:ro`;
  const env = ["-e", `AMBASSADOR_ROUTES=${ROUTES.AMBASSADOR_ROUTES}`];
  const { code, stderr } = await containers.try("run", "--rm", ...LOCKED, volume, ...env, image);
  assertEquals(code, 2, stderr);
  // The engine may have something to say too.
  const lines = stderr.split("\n").filter((line) => line.startsWith("ambassador: "));
  assertEquals(lines, ["ambassador: --routes /etc/ambassador/routes: permission denied"]);
  assertMatch(stderr, /^ {2}hint: .*65532/m);

  await Deno.chmod(path, 0o644);
  const ambassador = await containers.start(image, { env: ROUTES, flags: [...LOCKED, volume] });
  await ready(containers, ambassador);
  await Deno.chmod(path, 0o600);
  await containers.line(ambassador, / rewire_failed .*\/etc\/ambassador\/routes.*65532/);
});

testBoth("makes one route of the three aliases of compose v1", async (image) => {
  await using containers = new Containers(engine);
  const network = await containers.network();
  await startRedis(containers, network, "db");
  const value = "tcp://db:6379";
  const ambassador = await containers.start(image, {
    networks: [network],
    names: ["redis"],
    env: {
      REDIS_PORT: value,
      REDIS_PORT_6379_TCP: value,
      REDIS_1_PORT: value,
      REDIS_1_PORT_6379_TCP: value,
      PROJECT_REDIS_1_PORT: value,
      PROJECT_REDIS_1_PORT_6379_TCP: value,
      PROJECT_REDIS_1_NAME: "/project_ambassador_1/project_redis_1",
      PROJECT_REDIS_1_ENV_REDIS_VERSION: "2.8.9",
    },
    flags: LOCKED,
  });
  const consumer = await startConsumer(containers, network);
  await containers.line(ambassador, / listening route=PROJECT_REDIS_1,REDIS,REDIS_1 /);
  await containers.line(ambassador, / ready routes=1/);
  assertEquals(await redis(containers, consumer, "redis", "PING"), "PONG");
});

testBoth("ends within a second of `stop`, with status 0", async (image) => {
  await using containers = new Containers(engine);
  const ambassador = await containers.start(image, { flags: LOCKED, args: ["6379=127.0.0.1:1"] });
  await ready(containers, ambassador);
  const startMs = performance.now();
  await containers.command("stop", ambassador);
  const tookMs = performance.now() - startMs;
  assertEquals(await containers.inspect(ambassador, "{{.State.ExitCode}}"), "0");
  assert(tookMs < 1000, `it took ${tookMs} ms`);
});

/** Where this machine reaches port 6379, or another one, of a container that publishes it. */
async function publishedPort(
  containers: Containers,
  container: string,
  inside = "6379/tcp",
): Promise<number> {
  const published = await containers.command("port", container, inside);
  return Number(published.slice(published.lastIndexOf(":") + 1));
}

testBoth("serves 600 clients with 1024 open files", async (image) => {
  await using containers = new Containers(engine);
  const network = await containers.network();
  await startRedis(containers, network, "db");
  const ambassador = await containers.start(image, {
    networks: [network],
    env: { REDIS_PORT_6379_TCP: "tcp://db:6379" },
    flags: [
      ...LOCKED,
      "--ulimit=nofile=1024:1024",
      // Where one limit is given podman asks for the machine's highest of the others, and may not get it.
      "--ulimit=nproc=1000:1000",
      "--publish=127.0.0.1::6379",
    ],
  });
  await ready(containers, ambassador);
  const port = await publishedPort(containers, ambassador);
  let served = 0;
  const many = Promise.withResolvers<void>();
  async function ask(): Promise<void> {
    using client = await Deno.connect({ hostname: "127.0.0.1", port });
    await writeAll(client, "PING\r\n");
    assertEquals(await readExactly(client, 7), "+PONG\r\n");
    // All stay until there are more than the ambassador can have open.
    if (++served === 450) many.resolve();
    await within(many.promise, "450 clients to be served at once", 60_000);
  }
  await within(Promise.all(Array.from({ length: 600 }, ask)), "600 clients to be served", 60_000);
  assertEquals(served, 600);
  assertEquals(await containers.inspect(ambassador, "{{.State.Running}}"), "true");
  await ask();
});

testBoth("resolves names of the network, those of /etc/hosts and localhost", async (image) => {
  await using containers = new Containers(engine);
  const network = await containers.network();
  const db = await startRedis(containers, network, "db");
  const address = await containers.address(db, network);
  const ambassador = await containers.start(image, {
    networks: [network],
    names: ["ambassador"],
    flags: [...LOCKED, `--add-host=byhand:${address}`],
    args: ["7001=db:6379", "7002=byhand:6379", "7003=localhost:7001", "7004=missing.invalid:6379"],
  });
  const consumer = await startConsumer(containers, network);
  await ready(containers, ambassador);
  for (const port of [7001, 7002]) {
    assertEquals(await redis(containers, consumer, `ambassador:${port}`, "PING"), "PONG");
  }
  // Where nothing but the ambassador itself is, to have been recognised is to have been reached.
  await redis(containers, consumer, "ambassador:7003", "PING");
  await containers.line(ambassador, /loop_detected route=7003/);
  await redis(containers, consumer, "ambassador:7004", "PING");
  await containers.line(ambassador, /connect_failed route=7004 .*name does not resolve/);
});

testBoth("listens below 1024 without being root", async (image) => {
  await using containers = new Containers(engine);
  const network = await containers.network();
  await startRedis(containers, network, "db");
  const ambassador = await containers.start(image, {
    networks: [network],
    names: ["ambassador"],
    flags: [...LOCKED, "--sysctl=net.ipv4.ip_unprivileged_port_start=0"],
    args: ["80=db:6379"],
  });
  const consumer = await startConsumer(containers, network);
  await ready(containers, ambassador);
  assertEquals(await redis(containers, consumer, "ambassador:80", "PING"), "PONG");
});

testBoth(
  "forwards DNS by UDP and TCP from published ports, through two of it, to a real dnsmasq",
  async (image) => {
    await using containers = new Containers(engine);
    const network = await containers.network();
    const dnsmasq = await makeDnsmasqImage(containers);
    await containers.start(dnsmasq, { networks: [network], names: ["dns"] });
    const port53 = "--sysctl=net.ipv4.ip_unprivileged_port_start=0";
    const far = await containers.start(image, {
      networks: [network],
      names: ["far"],
      env: { DNS_PORT_53_TCP: "tcp://dns:5353", DNS_PORT_53_UDP: "udp://dns:5353" },
      flags: [...LOCKED, port53],
    });
    const near = await containers.start(image, {
      networks: [network],
      args: ["53=far:53", "53/udp=far:53"],
      flags: [...LOCKED, port53, "--publish=127.0.0.1::53/udp", "--publish=127.0.0.1::53/tcp"],
    });
    await ready(containers, far);
    await ready(containers, near);
    const names = Array.from({ length: 100 }, (_, index) => `name${index}.example.com`);
    for (const [inside, words] of [["53/udp", []], ["53/tcp", ["+tcp"]]] as const) {
      const port = await publishedPort(containers, near, inside);
      const answers = await dig({ hostname: "127.0.0.1", port }, names, words);
      assertEquals(answers, names.map(() => DNS_ANSWER), inside);
    }
    // Every question was a session, and all of them are merely open.
    await containers.command("stop", near);
    assertEquals(await containers.inspect(near, "{{.State.ExitCode}}"), "0");
  },
  needs("dnsmasq", "dig"),
);

testBoth("answers its own health check", async (image) => {
  await using containers = new Containers(engine);
  const ambassador = await containers.start(image, { flags: LOCKED, args: ["6379=127.0.0.1:1"] });
  await ready(containers, ambassador);
  const asked = await containers.try("exec", ambassador, "/ambassador", "healthcheck");
  assertEquals(asked.code, 0, asked.stderr);
  // podman leaves the clock of its health checks to systemd, which is not on every machine.
  if (engine === "podman") await containers.command("healthcheck", "run", ambassador);
  else {
    const isHealthy = async (): Promise<boolean> =>
      await containers.inspect(ambassador, "{{.State.Health.Status}}") === "healthy";
    await until(isHealthy, "docker calls it healthy", 60_000);
  }
});

testBoth("says what it is, and runs as nobody in particular", async (image) => {
  await using containers = new Containers(engine);
  const configuration = JSON.parse(await containers.inspect(image, "{{json .Config}}"));
  assertEquals(configuration.User, "65532:65532");
  assertEquals(configuration.Entrypoint, ["/ambassador"]);
  const { stdout } = await containers.try("inspect", image);
  assertStringIncludes(stdout, `"/ambassador"`);
  assertStringIncludes(stdout, `"healthcheck"`);
  assertEquals(configuration.Labels["org.opencontainers.image.title"], "ambassador");
  assertEquals(configuration.Labels["org.opencontainers.image.version"], config.version);
  const version = await containers.command("run", "--rm", ...LOCKED, image, "--version");
  assertEquals(version, `ambassador ${config.version}`);
});

testBoth("has no shell in it", async (image) => {
  await using containers = new Containers(engine);
  for (const shell of ["/bin/sh", "/bin/bash", "/busybox/sh", "/usr/bin/env"]) {
    const { code } = await containers.try("run", "--rm", `--entrypoint=${shell}`, image, "-c", "");
    assert(code === 126 || code === 127, `${shell}: ${code}`);
  }
});

testBoth("writes no file where it could", async (image) => {
  await using containers = new Containers(engine);
  const ambassador = await containers.start(image, {
    flags: ["--user=0", "--env=HOME=/", "--env=TMPDIR=/"],
    args: ["6379=127.0.0.1:1"],
  });
  await ready(containers, ambassador);
  await containers.command("stop", ambassador);
  const changes = (await containers.command("diff", ambassador)).split("\n");
  // What the engine puts there itself: the files that it mounts.
  const own = /^[AC] \/(?:etc|run|dev|proc|sys|\.dockerenv)(?:\/|$)/;
  assertEquals(changes.filter((change) => change !== "" && !own.test(change)), []);
});

Deno.test("image scratch holds the executable and the libraries that it loads", async () => {
  await using containers = new Containers(engine);
  const ambassador = await containers.start(built["scratch"] ?? "", { args: ["--version"] });
  const folder = await Deno.makeTempDir();
  try {
    await containers.command("export", "-o", `${folder}/image.tar`, ambassador);
    const { stdout } = await run(["tar", "-tf", `${folder}/image.tar`]);
    const own = /^(?:etc|run|dev|proc|sys|\.dockerenv)(?:\/|$)/;
    const files = stdout.split("\n").filter((path) => !path.endsWith("/") && !own.test(path));
    const others = files.filter((path) => !/^(?:usr\/)?lib(?:64)?\/.*\.so(?:\.\d+)?$/.test(path));
    assertEquals(others, ["ambassador"]);
    assertEquals(files.filter((path) => path.endsWith("/libc.so.6")).length, 1);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
