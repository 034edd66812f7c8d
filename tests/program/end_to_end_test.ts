// The real program as its user meets it: a child process, its stdout, stderr and exit status.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { formatAddress } from "../../src/base/address.ts";
import {
  echo,
  freePort,
  isRefused,
  programCommand,
  readExactly,
  readText,
  ROOT,
  runProgram,
  startEcho,
  startProgram,
  startUpstream,
  until,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { everybody, testEveryWay, TLS_WAYS } from "../helpers/tls_routes.ts";
import { IPV6, LINUX, needs, programPath, ROOT_RIGHTS, SOURCES } from "../helpers/needs.ts";

const LOOPBACK = { AMBASSADOR_BIND: "127.0.0.1" };

async function roundTrip(port: number, hostname = "127.0.0.1"): Promise<string> {
  using client = await Deno.connect({ hostname, port });
  await writeAll(client, "hello");
  await client.closeWrite();
  return await readText(client);
}

Deno.test("ambassador forwards what the environment says and stops on SIGTERM with 0", async () => {
  await using upstream = startEcho();
  const port = freePort();
  const target = `127.0.0.1:${upstream.address.port}`;
  await using program = startProgram([], {
    env: { [`REDIS_PORT_${port}_TCP`]: `tcp://${target}` },
  });
  await program.line(/ ready /);
  assertEquals(await roundTrip(port), "hello");
  program.kill("SIGTERM");
  assertEquals((await within(program.status, "the end")).code, 0);
  assertEquals(program.stdout, "");
  const [listening = "", ready = "", draining = "", stopped = ""] = program.stderr.split("\n");
  const time = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`;
  const listen = String.raw`(\[::\]|0\.0\.0\.0):${port}`;
  assertMatch(
    listening,
    new RegExp(`^${time} INFO  listening route=REDIS listen=${listen} target=${target}$`),
  );
  assertMatch(ready, new RegExp(`^${time} INFO  ready routes=1`));
  assertMatch(draining, new RegExp(`^${time} INFO  draining connections=0`));
  assertMatch(stopped, new RegExp(`^${time} INFO  stopped cut_off=0`));
});

Deno.test("ambassador --log-connections writes one line a connection, whatever the level", async () => {
  await using upstream = startEcho();
  const port = freePort();
  const route = `127.0.0.1:${port}=127.0.0.1:${upstream.address.port}`;
  await using program = startProgram(["--log-connections", "--log-level=warn", route]);
  await until(async () => !await isRefused({ port }), "the listener");
  assertEquals(await roundTrip(port), "hello");
  await program.line(/ bytes_up=5 /);
  program.kill("SIGTERM");
  assertEquals((await within(program.status, "the end")).code, 0);
  const lines = program.stderr.trimEnd().split("\n").filter((line) => !/ bytes_up=0 /.test(line));
  const end = String.raw`bytes_up=5 bytes_down=5 duration_ms=\d+ reason=finished$`;
  assertEquals(lines.length, 1, program.stderr);
  assertMatch(lines[0] ?? "", new RegExp(`^\\S+ INFO  connection_closed route=${port} .* ${end}`));
});

testEveryWay(
  "ambassador listens as a variable's name says, and connects as its value does",
  async (way) => {
    const { own, ca } = await everybody();
    await using upstream = way.startUpstream(echo);
    const address = { hostname: "127.0.0.1", port: freePort() };
    const name = `REDIS_PORT_${address.port}_${way.listen.toUpperCase()}`;
    const value = `${way.target}://127.0.0.1:${upstream.address.port}`;
    await using program = startProgram(["--log-level", "debug"], {
      env: {
        ...LOOPBACK,
        AMBASSADOR_TLS_CERT: own.certPath,
        AMBASSADOR_TLS_KEY: own.keyPath,
        AMBASSADOR_TLS_CA: ca.path,
        [name]: value,
      },
    });
    await program.line(/ ready /);
    using client = await way.connect(address);
    await writeAll(client, "hello");
    assertEquals(await readExactly(client, 5), "hello");
    program.kill("SIGTERM");
    await program.line(/ draining connections=1/);
    await until(() => isRefused(address), "new clients are refused");
    await writeAll(client, " again");
    await client.closeWrite();
    assertEquals(await readText(client), " again");
    assertEquals((await within(program.status, "the end")).code, 0);
    const listen = `127.0.0.1:${address.port}${way.listen === "tls" ? "/tls" : ""}`;
    const target = value.replace("tcp://", "");
    assertStringIncludes(program.stderr, ` route=REDIS listen=${listen} target=${target}\n`);
    const peer = way.listen === "tls" ? " peer=localhost" : "";
    const end = `${peer} bytes_up=11 bytes_down=11 duration_ms=\\d+ reason=finished\n`;
    assertMatch(program.stderr, new RegExp(end));
    assertMatch(program.stderr, / stopped cut_off=0/);
  },
  { ways: TLS_WAYS, isProgram: true },
);

Deno.test({
  name: "ambassador forwards over IPv6 and IPv4 from one route, to either",
  ...needs(IPV6),
}, async () => {
  const hosts = ["127.0.0.1", "::1"];
  await using upstream4 = startEcho();
  await using upstream6 = startEcho({ hostname: hosts.at(-1) ?? "" });
  const [port4, port6] = [freePort("::"), freePort("::")];
  await using program = startProgram([
    `${port4}=127.0.0.1:${upstream4.address.port}`,
    `${port6}=${formatAddress(upstream6.address)}`,
  ]);
  await program.line(/ ready /);
  for (const port of [port4, port6]) {
    for (const hostname of hosts) {
      assertEquals(await roundTrip(port, hostname), "hello");
    }
  }
});

Deno.test({
  name: "ambassador takes IPv4 also on a machine where :: is IPv6 alone",
  ...needs(ROOT_RIGHTS, "unshare"),
}, async () => {
  const script = 'echo 1 >/proc/sys/net/ipv6/bindv6only; exec "$@"';
  await using program = startProgram(["6379=127.0.0.1:9"], {
    command: [programPath("unshare"), "--net", "sh", "-c", script, "sh", ...programCommand()],
  });
  await program.line(/ ready /);
  const port = (6379).toString(16).toUpperCase();
  for (const table of ["tcp", "tcp6"]) {
    const sockets = Deno.readTextFileSync(`/proc/${program.pid}/net/${table}`);
    assertMatch(sockets, new RegExp(`: 0+:${port} 0+:0000 0A `));
  }
});

Deno.test("ambassador logs JSON with the same fields", async () => {
  const port = freePort();
  await using program = startProgram(["--log-format", "json", "--bind", "127.0.0.1"], {
    env: { [`DB_PORT_${port}_TCP`]: "tcp://127.0.0.1:9", X_PORT_53_SCTP: "sctp://192.0.2.1:53" },
  });
  await program.line(/"ready"/);
  program.kill("SIGINT");
  assertEquals((await within(program.status, "the end")).code, 0);
  const events = program.stderr.trim().split("\n").map((line) => JSON.parse(line));
  const names = events.map(({ event }) => event);
  assertEquals(names, ["ignored", "listening", "ready", "draining", "stopped"]);
  assertEquals(Object.keys(events[1]), ["time", "level", "event", "route", "listen", "target"]);
  assertEquals(events[1].route, "DB");
  assertEquals(events[0].variable, "X_PORT_53_SCTP");
});

Deno.test("ambassador calls a route by the alias that check prints, harmless whatever it holds", async () => {
  const [port, status] = [freePort(), freePort()];
  const alias = 'É"\\\n\x1b[2J\u202e\n2026-01-01T00:00:00.000Z ERROR FORGED';
  const env = {
    ...LOOPBACK,
    [`${alias}_PORT_${port}_TCP`]: "tcp://127.0.0.1:9",
    "AMBASSADOR_É\n": "x",
  };
  const checked = await runProgram(["check", "--format", "json"], { env });
  assertEquals(JSON.parse(checked.stdout).routes[0].aliases, [alias]);
  const table = await runProgram(["check"], { env });
  const shown: string[] = [checked.stdout, checked.stderr, table.stdout, table.stderr];
  for (const format of ["json", "text"]) {
    await using program = startProgram(
      ["--log-format", format, "--status", `127.0.0.1:${status}`],
      { env },
    );
    await program.line(/ready/);
    for (const path of ["", "readyz", "metrics"]) {
      const response = await fetch(`http://127.0.0.1:${status}/${path}`);
      shown.push(await response.text());
    }
    program.kill("SIGTERM");
    await within(program.status, "the end");
    shown.push(program.stderr);
    if (format === "text") continue;
    const events = program.stderr.trim().split("\n").map((line) => JSON.parse(line));
    assertEquals(events.find(({ event }) => event === "listening").route, alias);
    assertEquals(events.find(({ event }) => event === "ignored").setting, "AMBASSADOR_É\n");
  }
  for (const text of shown) {
    assert(!/(?!\n)[\p{Cc}\p{Cf}]/u.test(text), JSON.stringify(text));
    assert(!/^\d{4}-\S+ ERROR/m.test(text), text);
  }
});

Deno.test("ambassador lets an open connection finish, refuses new ones, and ends with 0", async () => {
  await using upstream = startEcho();
  const port = freePort();
  await using program = startProgram([`${port}=127.0.0.1:${upstream.address.port}`], {
    env: LOOPBACK,
  });
  await program.line(/ ready /);
  using client = await Deno.connect({ hostname: "127.0.0.1", port });
  await writeAll(client, "before ");
  assertEquals(await readExactly(client, 7), "before ");
  program.kill("SIGTERM");
  await program.line(/ draining connections=1/);
  await until(() => isRefused({ port }), "new clients are refused");
  await writeAll(client, "after");
  await client.closeWrite();
  assertEquals(await readText(client), "after");
  assertEquals((await within(program.status, "the end")).code, 0);
  assertMatch(program.stderr, / stopped cut_off=0/);
});

Deno.test("ambassador cuts off what has not finished in time, says so, and ends with 1", async () => {
  await using upstream = startEcho();
  const port = freePort();
  const args = [`${port}=127.0.0.1:${upstream.address.port}`, "--drain-timeout", "100ms"];
  await using program = startProgram(args, { env: LOOPBACK });
  await program.line(/ ready /);
  using client = await Deno.connect({ hostname: "127.0.0.1", port });
  await writeAll(client, "x");
  await readExactly(client, 1);
  program.kill("SIGTERM");
  assertEquals((await within(program.status, "the end")).code, 1);
  assertMatch(program.stderr, / stopped cut_off=1/);
});

for (const [signal, code] of [["SIGTERM", 143], ["SIGINT", 130]] as const) {
  Deno.test(`ambassador ends at once with ${code} on a second ${signal}`, async () => {
    await using upstream = startEcho();
    const port = freePort();
    const args = [`${port}=127.0.0.1:${upstream.address.port}`, "--drain-timeout", "1h"];
    await using program = startProgram(args, { env: LOOPBACK });
    await program.line(/ ready /);
    using client = await Deno.connect({ hostname: "127.0.0.1", port });
    await writeAll(client, "x");
    await readExactly(client, 1);
    program.kill(signal);
    await program.line(/ draining /);
    program.kill(signal);
    assertEquals((await within(program.status, "the end")).code, code);
  });
}

Deno.test("ambassador stops on SIGTERM also as PID 1", needs(ROOT_RIGHTS, "unshare"), async () => {
  const port = freePort();
  await using outer = startProgram([`${port}=127.0.0.1:9`], {
    env: LOOPBACK,
    command: [
      programPath("unshare"),
      "--pid",
      "--fork",
      "--mount-proc",
      "--kill-child",
      ...programCommand(),
    ],
  });
  await outer.line(/ ready /);
  const children = `/proc/${outer.pid}/task/${outer.pid}/children`;
  const inner = Number(Deno.readTextFileSync(children).trim());
  assertMatch(Deno.readTextFileSync(`/proc/${inner}/status`), /NSpid:\s+\d+\s+1\n/);
  Deno.kill(inner, "SIGTERM");
  assertEquals((await within(outer.status, "the end")).code, 0);
  assertMatch(outer.stderr, / stopped /);
});

Deno.test("ambassador starts before its upstream and forwards once that is there", async () => {
  const [port, upstreamPort] = [freePort(), freePort()];
  await using program = startProgram([`${port}=127.0.0.1:${upstreamPort}`], { env: LOOPBACK });
  await program.line(/ ready /);
  assertEquals(await roundTripOrClosed(port), "");
  const [line] = await program.line(/.*connect_failed.*/);
  assertMatch(line, / WARN {2}connect_failed route=\d+ listen=\S+ target=127\.0\.0\.1:\d+ /);
  assertStringIncludes(line, 'error="connection refused"');
  await using _upstream = startEcho({ port: upstreamPort });
  assertEquals(await roundTrip(port), "hello");
});

/** What comes back; nothing where the connection is closed or reset. */
async function roundTripOrClosed(port: number): Promise<string> {
  try {
    return await roundTrip(port);
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionReset) return "";
    if (error instanceof Deno.errors.BrokenPipe) return "";
    throw error;
  }
}

Deno.test({
  name: "ambassador resolves the upstream's name for each connection",
  ...needs(ROOT_RIGHTS, "unshare"),
}, async () => {
  const answer = (text: string) => (conn: Deno.TcpConn): Promise<void> => writeAll(conn, text);
  await using first = startUpstream(answer("first"), { hostname: "127.0.0.1" });
  const upstreamPort = first.address.port;
  await using _second = startUpstream(answer("second"), {
    hostname: "127.0.0.2",
    port: upstreamPort,
  });
  const folder = await Deno.makeTempDir();
  const hosts = `${folder}/hosts`;
  const resolver = `${folder}/resolv.conf`;
  await Deno.writeTextFile(resolver, "nameserver 127.0.0.1\n");
  await Deno.writeTextFile(hosts, "127.0.0.1 upstream.invalid\n");
  const script = 'mount --bind "$1" /etc/hosts; mount --bind "$2" /etc/resolv.conf; ' +
    'shift 2; exec "$@"';
  const [port, unknownPort] = [freePort(), freePort()];
  const args = [`${port}=upstream.invalid:${upstreamPort}`, `${unknownPort}=nobody.invalid:1`];
  await using program = startProgram(args, {
    env: LOOPBACK,
    command: [
      programPath("unshare"),
      "--mount",
      "sh",
      "-c",
      script,
      "sh",
      hosts,
      resolver,
      ...programCommand(),
    ],
  });
  await program.line(/ ready /);
  assertEquals(await readFrom(port), "first");
  await Deno.writeTextFile(hosts, "127.0.0.2 upstream.invalid\n");
  assertEquals(await readFrom(port), "second");
  assertEquals(await readFrom(unknownPort), "");
  await program.line(/connect_failed .*nobody\.invalid:1 .*error="name does not resolve/);
  await Deno.remove(folder, { recursive: true });
});

async function readFrom(port: number): Promise<string> {
  using client = await Deno.connect({ hostname: "127.0.0.1", port });
  return await readText(client);
}

Deno.test("ambassador delivers a reply that comes long after the client has finished", async () => {
  const reply = Promise.withResolvers<void>();
  await using upstream = startUpstream(async (conn) => {
    const request = await readText(conn);
    await reply.promise;
    await writeAll(conn, `late ${request}`);
  });
  const port = freePort();
  await using program = startProgram([`${port}=127.0.0.1:${upstream.address.port}`], {
    env: LOOPBACK,
  });
  await program.line(/ ready /);
  using client = await Deno.connect({ hostname: "127.0.0.1", port });
  await writeAll(client, "request");
  await client.closeWrite();
  // Another whole conversation takes place before the answer.
  await until(() => upstream.clients === 1, "the upstream has its client");
  using other = await Deno.connect({ hostname: "127.0.0.1", port });
  await writeAll(other, "other");
  await other.closeWrite();
  reply.resolve();
  assertEquals(await readText(client), "late request");
  assertEquals(await readText(other), "late other");
});

Deno.test("ambassador reports every wrong setting in one run, opens nothing and ends with 2", async () => {
  const port = freePort();
  const { code, stdout, stderr } = await runProgram(["--idle-timeout", "soon", "--colour"], {
    env: {
      [`GOOD_PORT_${port}_TCP`]: "tcp://127.0.0.1:9",
      BAD_PORT_1_TCP: "tcp://127.0.0.1",
      SECRET_PORT_2_TCP: "hunter2",
      USER_PORT_3_TCP: "tcp://root:hunter2@db:5432",
      FAR_PORT_70000_TCP: "tcp://db:5432",
    },
  });
  assertEquals(code, 2);
  assertEquals(stdout, "");
  for (const name of ["BAD_PORT_1_TCP", "SECRET_PORT_2_TCP", "USER_PORT_3_TCP", "--colour"]) {
    assertStringIncludes(stderr, name);
  }
  assertStringIncludes(stderr, "FAR_PORT_70000_TCP");
  assertStringIncludes(stderr, '--idle-timeout "soon"');
  assert(!stderr.includes("hunter2"), stderr);
  assert(await isRefused({ port }));
});

Deno.test("ambassador says of every command which setting has no effect", async () => {
  const env = { AMBASSADOR_STATSU: "127.0.0.1:1" };
  for (
    const args of [["check", "1=a:1"], ["healthcheck"], [
      "wait",
      "--timeout",
      "1ms",
      "1=127.0.0.1:9",
    ], ["bogus"]]
  ) {
    const { stderr } = await runProgram(args, { env });
    assertMatch(stderr, /^ambassador: AMBASSADOR_STATSU: .*AMBASSADOR_STATUS\?$/m, args.join(" "));
  }
});

Deno.test({
  name: "ambassador ends with 2 on wrong usage also when stderr is full",
  ...needs(LINUX),
}, async () => {
  const command = ["sh", "-c", '"$@" 2>/dev/full', "sh", ...programCommand()];
  assertEquals(await runProgram(["check", "bogus"], { command }), {
    code: 2,
    stdout: "",
    stderr: "",
  });
});

Deno.test("ambassador without a route says what it looked for and ends with 2", async () => {
  const { code, stdout, stderr } = await runProgram([]);
  assertEquals(code, 2);
  assertEquals(stdout, "");
  assertStringIncludes(stderr, "<ALIAS>_PORT_<port>_TCP");
  assertStringIncludes(stderr, "REDIS_PORT_6379_TCP=tcp://192.0.2.10:6379");
  assertStringIncludes(stderr, "Docker 29");
});

Deno.test("ambassador gives no value to a shell", async () => {
  const folder = await Deno.makeTempDir();
  const file = `${folder}/run`;
  for (
    const value of [`tcp://$(touch ${file}):1`, `tcp://a:1;touch ${file}`, `\`touch ${file}\``]
  ) {
    const { code } = await runProgram([], { env: { A_PORT_1_TCP: value, EVIL: `_TCP=${value}` } });
    assertEquals(code, 2);
  }
  assertEquals([...Deno.readDirSync(folder)], []);
  await Deno.remove(folder);
});

Deno.test("ambassador that can't have a port keeps none, names it and ends with 1", async () => {
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const free = freePort();
  const { code, stderr } = await runProgram([
    `${free}=127.0.0.1:9`,
    `${taken.addr.port}=127.0.0.1:9`,
  ], { env: LOOPBACK });
  assertEquals(code, 1);
  assertMatch(
    stderr,
    new RegExp(`^ambassador: cannot listen on 127.0.0.1:${taken.addr.port} .*: address in use\n`),
  );
  assertMatch(stderr, /^ {2}hint: /m);
  assert(!stderr.includes("listening"), stderr);
});

const FIRST_FREE_PORT = "/proc/sys/net/ipv4/ip_unprivileged_port_start";

const GUARDED_PORTS = {
  name: "a machine that keeps ports below 1024 for those with a right to them",
  isHere: LINUX.isHere && Number(Deno.readTextFileSync(FIRST_FREE_PORT)) >= 1024,
};

Deno.test({
  name: "ambassador without the right to a port below 1024 says how to get it",
  ...needs(GUARDED_PORTS, ROOT_RIGHTS, "setpriv"),
}, async () => {
  const drop = ["--bounding-set", "-net_bind_service", "--inh-caps", "-net_bind_service"];
  const { code, stderr } = await runProgram(["127.0.0.1:1=127.0.0.1:9"], {
    command: [programPath("setpriv"), ...drop, ...programCommand()],
  });
  assertEquals(code, 1);
  assertMatch(
    stderr,
    /^ambassador: cannot listen on 127\.0\.0\.1:1 .*: permission denied\n {2}hint: .*1024/,
  );
});

Deno.test("ambassador check prints the same for the same environment, on stdout only", async () => {
  const env = {
    REDIS_PORT_6379_TCP: "tcp://192.168.1.52:6379",
    REDIS_1_PORT_6379_TCP: "tcp://192.168.1.52:6379",
    KUBERNETES_PORT_443_TCP: "tcp://10.0.0.1:443",
  };
  const json = await runProgram(["check", "--format", "json"], { env });
  assertEquals(json.code, 0);
  assertEquals(json.stderr, "");
  assertEquals(JSON.parse(json.stdout), {
    routes: [{
      aliases: ["REDIS", "REDIS_1"],
      listen: { protocol: "tcp", hostname: "::", port: 6379 },
      targets: [{ protocol: "tcp", hostname: "192.168.1.52", port: 6379 }],
      settings: {},
    }],
    ignored: [{
      variable: "KUBERNETES_PORT_443_TCP",
      reason: JSON.parse(json.stdout).ignored[0].reason,
    }],
  });
  const table = await runProgram(["check"], { env });
  assertMatch(table.stdout, /^REDIS,REDIS_1 +\[::\]:6379 +192\.168\.1\.52:6379$/m);
  assertMatch(table.stdout, /^KUBERNETES_PORT_443_TCP +\w+/m);
  const socat = await runProgram(["check", "--format", "socat", "--bind", "0.0.0.0"], { env });
  assertMatch(
    socat.stdout,
    /^socat -t 100000000 TCP4-LISTEN:6379,fork,reuseaddr\S* TCP4:192\.168\.1\.52:6379\S*\n$/,
  );
});

Deno.test("ambassador check prints what is ignored where no route is left, and ends with 2", async () => {
  const env = { A_PORT_1_TCP: "" };
  const reason = "switched off by its empty value";
  const json = await runProgram(["check", "--format", "json"], { env });
  assertEquals(json.code, 2);
  assertEquals(JSON.parse(json.stdout), {
    routes: [],
    ignored: [{ variable: "A_PORT_1_TCP", reason }],
  });
  assertMatch(
    json.stderr,
    /^ambassador: nothing to forward: no variable named .* is left \(1 ignored/,
  );
  assertStringIncludes(json.stderr, "Docker 29");
  const table = await runProgram(["check"], { env });
  assertEquals(table.code, 2);
  assertMatch(table.stdout, /^A_PORT_1_TCP +switched off .*$/m);
  const socat = await runProgram(["check", "--format", "socat"], { env });
  assertEquals([socat.code, socat.stdout], [2, ""]);
});

Deno.test("ambassador --help and --version print on stdout and end with 0", async () => {
  const help = await runProgram(["--help"]);
  assertEquals([help.code, help.stderr], [0, ""]);
  assertStringIncludes(help.stdout, "Examples:");
  for (const option of ["--bind", "--only", "--drain-delay", "--log-format", "--timeout"]) {
    assertStringIncludes(help.stdout, option);
  }
  const { version } = JSON.parse(await Deno.readTextFile(new URL("deno.json", ROOT)));
  assertEquals(await runProgram(["--version"]), {
    code: 0,
    stdout: `ambassador ${version}\n`,
    stderr: "",
  });
});

Deno.test("ambassador goes on when nobody reads its log", async () => {
  await using upstream = startUpstream(echo);
  const port = freePort();
  // The reader of stderr goes away at once; the next line finds a broken pipe.
  const args = [`${port}=127.0.0.1:${upstream.address.port}`, "--log-level", "debug"];
  const command = ["sh", "-c", '{ "$@" 2>&1 >&3 | head -c 1; } 3>&1', "sh", ...programCommand()];
  await using program = startProgram(args, { env: LOOPBACK, command });
  await until(async () => !await isRefused({ port }), "it listens");
  for (let i = 0; i < 5; i++) assertEquals(await roundTrip(port), "hello");
  const { stdout } = program;
  assertEquals(stdout.length <= 1, true);
  const pids = Deno.readTextFileSync(`/proc/${program.pid}/task/${program.pid}/children`);
  for (const pid of pids.trim().split(" ")) await stopTree(Number(pid));
});

/** Stops a process and its children by their ids. */
async function stopTree(pid: number): Promise<void> {
  try {
    const children = Deno.readTextFileSync(`/proc/${pid}/task/${pid}/children`).trim();
    for (const child of children.split(" ").filter(Boolean)) await stopTree(Number(child));
    Deno.kill(pid, "SIGTERM");
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

Deno.test("ambassador is given net, env and a read that it gives up, and nothing else", async () => {
  const { permissions } = JSON.parse(await Deno.readTextFile(new URL("deno.json", ROOT)));
  assertEquals(permissions.default, { net: true, env: true, read: ["/"] });
});

Deno.test("ambassador says which permission is missing", needs(SOURCES), async () => {
  const command = programCommand().filter((argument) => argument !== "-P");
  const { code, stderr } = await runProgram([], { command });
  assertEquals(code, 1);
  assertMatch(stderr, /^ambassador: .*env.*\n {2}hint: .*--allow-net --allow-env/);
  const envOnly = programCommand().map((argument) => argument === "-P" ? "--allow-env" : argument);
  for (const args of [[], ["--bind", "127.0.0.1"], ["--status", "127.0.0.1:1"]]) {
    const denied = await runProgram([...args, `${freePort()}=127.0.0.1:9`], { command: envOnly });
    assertEquals(denied.code, 1);
    assertMatch(
      denied.stderr,
      /^ambassador: cannot listen on .*net access.*\n {2}hint: .*--allow-net --allow-env .*\n$/,
    );
  }
});
