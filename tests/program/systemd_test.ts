// examples/systemd: the unit as systemd reads it, and the real program in it, under a systemd of the
// test's own. Only paths are changed. With the sources it is Deno itself that the unit confines.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { hasPackages, pathOf } from "../../build/sources.ts";
import { parseDuration } from "../../src/base/duration.ts";
import { parseCommand } from "../../src/config/command_line.ts";
import { createCa } from "../helpers/certificates.ts";
import { askUdp, freeUdpPort, startUdpEcho } from "../helpers/datagrams.ts";
import {
  freePort,
  programCommand,
  readExactly,
  startEcho,
  until,
  writeAll,
} from "../helpers/mod.ts";
import { type Ability, EXECUTABLE, needs, PROGRAM_TLS } from "../helpers/needs.ts";
import { run } from "../helpers/run.ts";
import { type Service, startService, SYSTEMD } from "../helpers/systemd.ts";

const UNIT = Deno.readTextFileSync(pathOf("examples/systemd/ambassador.service"));
const ENV_FILE = Deno.readTextFileSync(pathOf("examples/systemd/ambassador.env"));

/** The unit for TLS: those lines are there, as comments. */
const TLS_UNIT = UNIT.replaceAll(/^#(LoadCredential=|Environment=AMBASSADOR_TLS)/gm, "$1");

/** The unit for ports below 1024: two lines are replaced by those below them. */
const LOW_UNIT = UNIT.replace(/^CapabilityBoundingSet=\nPrivateUsers=yes\n/m, "")
  .replaceAll(/^#(CapabilityBoundingSet=|AmbientCapabilities=)/gm, "$1");

const VARIANTS = { "as it is": UNIT, "with TLS": TLS_UNIT, "for low ports": LOW_UNIT };

/** From JSR, Deno would need its cache too. */
const CONFINABLE: Ability = {
  name: "an executable or the stand-ins for the packages",
  isHere: EXECUTABLE.isHere || !hasPackages(),
};
const NEEDED = [SYSTEMD, CONFINABLE];

/** How exposed the unit may be, as systemd counts: of 10, times 10. */
const MOST_EXPOSED = 20;

/** The values of a directive, in their order. */
function valuesOf(name: string, unit = UNIT): string[] {
  return [...unit.matchAll(new RegExp(`^${name}=(.*)$`, "gm"))].map(([, value = ""]) => value);
}

/** The variables in a file for EnvironmentFile=. */
function readVariables(text: string): Record<string, string> {
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return Object.fromEntries(lines.map((line) => {
    const at = line.indexOf("=");
    return [line.slice(0, at), line.slice(at + 1)];
  }));
}

/** Runs `act` with the unit in a file. */
async function withFile(unit: string, act: (path: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/ambassador.service`;
    // Where it is not installed systemd would say so.
    await Deno.writeTextFile(path, unit.replace("/usr/local/bin/ambassador", "/bin/true"));
    await act(path);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The program in the unit, with these variables; the files beside it are in `/etc/ambassador/`. */
async function start(
  unit: string,
  { variables, folder, settings = [], script }: {
    readonly variables: Readonly<Record<string, string>>;
    readonly folder: string;
    readonly settings?: readonly string[];
    /** What a shell runs in the place of the program. */
    readonly script?: string;
  },
): Promise<Service> {
  const lines = Object.entries(variables).map(([name, value]) => `${name}=${value}\n`);
  await Deno.writeTextFile(`${folder}/ambassador.env`, lines.join(""));
  const [program = "", ...args] = programCommand();
  const root = pathOf("").slice(0, -1);
  const command = script === undefined
    ? ["/opt/program", ...args.map((arg) => arg.replace(root, "/opt/sources"))]
    : ["/bin/sh", "/opt/script"];
  // Where they lie the service may not look, which is as it should be.
  const places = [`${program}:/opt/program`, `${root}:/opt/sources`];
  if (script !== undefined) {
    await Deno.writeTextFile(`${folder}/script`, script, { mode: 0o644 });
    places.push(`${folder}/script:/opt/script`);
  }
  return await startService(
    unit.replaceAll("/etc/ambassador/", `${folder}/`)
      .replace("ExecStart=/usr/local/bin/ambassador", `ExecStart=${command.join(" ")}`),
    [
      "TemporaryFileSystem=/opt:ro",
      ...places.map((place) => `BindReadOnlyPaths=${place}`),
      "Environment=DENO_NO_UPDATE_CHECK=1 DENO_DIR=/tmp/deno",
      ...settings,
    ],
  );
}

async function withFolder(act: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await act(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Whether what is sent comes back. */
async function echoes(conn: Deno.Conn): Promise<void> {
  await writeAll(conn, "through");
  assertEquals(await readExactly(conn, 7), "through");
}

for (const [name, unit] of Object.entries(VARIANTS)) {
  Deno.test({
    name: `ambassador.service, ${name}, has nothing that systemd does not know`,
    ...needs("systemd-analyze"),
  }, async () => {
    if (unit !== UNIT) assert(unit.length < UNIT.length);
    await withFile(unit, async (path) => {
      const { code, stderr } = await run("systemd-analyze", ["verify", "--man=no", path]);
      assertEquals([code, stderr], [0, ""]);
    });
  });

  Deno.test({
    name: `ambassador.service, ${name}, is exposed to little, as systemd counts it`,
    ...needs("systemd-analyze"),
  }, async () => {
    await withFile(unit, async (path) => {
      const limits = ["--offline=true", `--threshold=${MOST_EXPOSED}`];
      const { code, text } = await run("systemd-analyze", ["security", ...limits, path]);
      assertEquals(code, 0, text.trimEnd().split("\n").at(-1));
    });
  });
}

Deno.test("ambassador.service gives the program time to drain, and its variables are read", () => {
  const { options, routes, warnings, ignored } = parseCommand([], readVariables(ENV_FILE));
  assertEquals([routes.length, warnings.length, ignored.length], [2, 0, 0]);
  // What may stand in the place of another line does so.
  const others = readVariables(ENV_FILE.replace(/^AMBASSADOR_BIND=.*\n#/m, ""));
  assertEquals([others["AMBASSADOR_BIND"], others["AMBASSADOR_ALLOW"]], [
    undefined,
    "192.0.2.0/24",
  ]);
  assertEquals(parseCommand([], others).warnings, []);
  const [stopAfter = ""] = valuesOf("TimeoutStopSec");
  assert(parseDuration(stopAfter) > options.drainDelayMs + options.drainTimeoutMs);
  const tls = TLS_UNIT.match(/(?<=^Environment=)AMBASSADOR_TLS\w+=.*$/gm) ?? [];
  assertEquals(tls.length, 3);
  const paths = readVariables(tls.join("\n").replaceAll("%d", "/run/credentials/x"));
  parseCommand([], { ...paths, REDIS_PORT_6379_TCP: "tls://192.0.2.10:6380" });
});

Deno.test(
  "ambassador.service forwards by TCP, UDP and name, confined",
  needs(...NEEDED),
  async () => {
    await withFolder(async (folder) => {
      await using upstream = startEcho();
      await using peer = startUdpEcho();
      const [port, udpPort, status] = [freePort(), freeUdpPort(), freePort()];
      await using service = await start(UNIT, {
        folder,
        variables: {
          [`A_PORT_${port}_TCP`]: `tcp://localhost:${upstream.address.port}`,
          [`B_PORT_${udpPort}_UDP`]: `udp://localhost:${peer.address.port}`,
          AMBASSADOR_BIND: "127.0.0.1",
          AMBASSADOR_STATUS: `127.0.0.1:${status}`,
        },
      });
      await service.line(/ ready /);
      {
        using conn = await Deno.connect({ hostname: "127.0.0.1", port });
        await echoes(conn);
      }
      assertEquals(await askUdp({ hostname: "127.0.0.1", port: udpPort }, "datagram"), "datagram");
      const answer = await fetch(`http://127.0.0.1:${status}/readyz`);
      assertEquals([answer.status, (await answer.json()).status], [200, "ready"]);
      const kernel = await service.proc("status");
      assert(Number(/^Uid:\t(\d+)/m.exec(kernel)?.[1]) >= 61_184, kernel);
      for (const line of ["CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"]) {
        assert(kernel.includes(`${line}\n`), kernel);
      }
      // Nothing is there to look at again, and it goes on.
      assertEquals((await service.systemctl("reload", "ambassador")).code, 0);
      {
        using conn = await Deno.connect({ hostname: "127.0.0.1", port });
        await echoes(conn);
      }
      assertEquals((await service.systemctl("stop", "ambassador")).code, 0);
      assertEquals([await service.show("Result"), await service.show("ExecMainStatus")], [
        "success",
        "0",
      ]);
      assertMatch(service.log(), / stopped cut_off=0/);
    });
  },
);

Deno.test({
  name: "ambassador.service shows the program the TLS files that only root may read",
  ...needs("openssl", ...NEEDED, PROGRAM_TLS),
}, async () => {
  await withFolder(async (folder) => {
    using ca = await createCa();
    const own = await ca.issue({ ips: ["127.0.0.1"] });
    const files = { "cert.pem": own.cert, "key.pem": own.key, "ca.pem": ca.pem };
    for (const [name, text] of Object.entries(files)) {
      await Deno.writeTextFile(`${folder}/${name}`, text, { mode: 0o600 });
    }
    await using upstream = startEcho();
    const port = freePort();
    await using service = await start(TLS_UNIT, {
      folder,
      variables: {
        [`A_PORT_${port}_TLS`]: `tcp://127.0.0.1:${upstream.address.port}`,
        AMBASSADOR_BIND: "127.0.0.1",
      },
    });
    await service.line(/ ready /);
    const { cert, key } = await ca.issue({ dns: ["client"] });
    const address = { hostname: "127.0.0.1", port };
    using conn = await Deno.connectTls({ ...address, caCerts: [ca.pem], cert, key });
    await echoes(conn);
  });
});

Deno.test(
  "ambassador.service looks at the file of routes when it is reloaded",
  needs(...NEEDED),
  async () => {
    await withFolder(async (folder) => {
      await using upstream = startEcho();
      const port = freePort();
      const route = (to: number): string => `A_PORT_${port}_TCP=tcp://127.0.0.1:${to}\n`;
      // The service sees no file in /tmp but its own.
      const path = "/opt/routes";
      await Deno.writeTextFile(`${folder}/routes`, route(1), { mode: 0o644 });
      await using service = await start(UNIT, {
        folder,
        variables: { AMBASSADOR_ROUTES: path, AMBASSADOR_BIND: "127.0.0.1" },
        settings: [`BindReadOnlyPaths=${folder}/routes:${path}`],
      });
      await service.line(/ ready /);
      await Deno.writeTextFile(`${folder}/routes`, route(upstream.address.port));
      assertEquals((await service.systemctl("reload", "ambassador")).code, 0);
      await service.line(/ rewired /);
      using conn = await Deno.connect({ hostname: "127.0.0.1", port });
      await echoes(conn);
    });
  },
);

Deno.test("ambassador.service can listen below 1024 as it says", needs(...NEEDED), async () => {
  await withFolder(async (folder) => {
    await using upstream = startEcho();
    const port = 600 + Math.floor(Math.random() * 400);
    await using service = await start(LOW_UNIT, {
      folder,
      // An address that nothing else listens on.
      variables: {
        [`A_PORT_${port}_TCP`]: `tcp://127.0.0.1:${upstream.address.port}`,
        AMBASSADOR_BIND: "127.0.0.86",
      },
    });
    await service.line(/ ready /);
    using conn = await Deno.connect({ hostname: "127.0.0.86", port });
    await echoes(conn);
    assertMatch(await service.proc("status"), /^CapBnd:\t0000000000000400$/m);
  });
});

Deno.test(
  "ambassador.service is not started again with a wrong setting",
  needs(...NEEDED),
  async () => {
    await withFolder(async (folder) => {
      const variables = { AMBASSADOR_BIND: "nonsense" };
      await using service = await start(UNIT, { folder, variables });
      const state = async (): Promise<boolean> => await service.show("ActiveState") === "failed";
      await until(state, "the service has failed");
      assertEquals([await service.show("ExecMainStatus"), await service.show("NRestarts")], [
        "2",
        "0",
      ]);
    });
  },
);

Deno.test(
  "ambassador.service can't have MemoryDenyWriteExecute, as it says",
  needs(...NEEDED),
  async () => {
    await withFolder(async (folder) => {
      const variables = { AMBASSADOR_BIND: "nonsense" };
      const settings = ["MemoryDenyWriteExecute=yes"];
      await using service = await start(UNIT, { folder, variables, settings });
      await service.line(/Fatal error/);
      // It has not come to its own setting, which is wrong too.
      assert(!service.log().includes("AMBASSADOR_BIND"));
    });
  },
);

Deno.test(
  "ambassador.service is started again after a reload that came before the program was ready for it",
  needs(SYSTEMD),
  async () => {
    await withFolder(async (folder) => {
      await using service = await start(UNIT, {
        folder,
        variables: {},
        script: "kill -HUP $$",
        settings: ["RestartSec=100ms"],
      });
      const again = async (): Promise<boolean> => Number(await service.show("NRestarts")) > 0;
      await until(again, "the service is started again");
    });
  },
);

Deno.test(
  "ambassador.service has a call that it does not allow fail, and ends nothing for it",
  needs(SYSTEMD),
  async () => {
    await withFolder(async (folder) => {
      const script = "chroot / true; echo status $? >&2; exec sleep 60";
      await using service = await start(UNIT, { folder, variables: {}, script });
      await service.line(/^status /m);
      assertMatch(service.log(), /Operation not permitted\nstatus 125\n$/);
    });
  },
);

Deno.test(
  "systemd takes backslashes out of ambassador.env, as it says, and nothing out of base64",
  needs(SYSTEMD),
  async () => {
    await withFolder(async (folder) => {
      const script =
        `printf '%s\\n' "$ESCAPED" "$BASE64" "$QUOTED" "$INNER" done >&2; exec sleep 60`;
      const variables = {
        ESCAPED: "-----BEGIN\\nAAA=\\n",
        BASE64: "QUFB/+==",
        QUOTED: '"a b"',
        INNER: 'a"b c"d',
      };
      await using service = await start(UNIT, { folder, variables, script });
      await service.line(/^done$/m);
      assertEquals(service.log(), '-----BEGINnAAA=n\nQUFB/+==\na b\na"b c"d\ndone\n');
    });
  },
);
