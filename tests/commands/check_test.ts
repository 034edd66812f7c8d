import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { formatCommand, type Printed } from "../../src/commands/check.ts";
import { parseCommand } from "../../src/config/command_line.ts";
import type { Environment } from "../../src/config/variables.ts";
import { createCa } from "../helpers/certificates.ts";
import {
  freePort,
  Random,
  readText,
  runProgram,
  startProgram,
  within,
  writeAll,
} from "../helpers/mod.ts";
import { needs, programPath, UNIX } from "../helpers/needs.ts";

const ENVIRONMENT = {
  REDIS_PORT_6379_TCP: "tcp://192.168.1.52:6379",
  REDIS_1_PORT_6379_TCP: "tcp://192.168.1.52:6379",
  DB_PORT_80_TCP: "tcp://[2001:db8::7]:5432",
  KUBERNETES_PORT_443_TCP: "tcp://192.0.2.1:443",
  DNS_PORT_53_UDP: "udp://192.0.2.1:53",
  SS7_PORT_2905_SCTP: "sctp://192.0.2.1:2905",
};

function read(args: readonly string[], environment: Environment = {}): Printed {
  return parseCommand(["check", ...args], environment);
}

function format(printed: Printed, format: "table" | "json" | "socat"): string {
  return formatCommand(printed, format).text;
}

Deno.test("formatCommand() prints a table of routes and of what is ignored and why", () => {
  assertEquals(format(read([], ENVIRONMENT), "table").split("\n"), [
    "ROUTE          LISTEN       TARGET",
    "DNS            [::]:53/udp  udp://192.0.2.1:53",
    "DB             [::]:80      [2001:db8::7]:5432",
    "REDIS,REDIS_1  [::]:6379    192.168.1.52:6379",
    "",
    "IGNORED                  REASON",
    "KUBERNETES_PORT_443_TCP  the Kubernetes API is left out unless --only names it",
    "SS7_PORT_2905_SCTP       SCTP is not offered",
    "",
    "3 routes, 2 variables ignored",
  ]);
  assertEquals(format(read(["1=a:1"]), "table").split("\n"), [
    "ROUTE  LISTEN  TARGET",
    "-      [::]:1  a:1",
    "",
    "1 route, 0 variables ignored",
  ]);
});

Deno.test("formatCommand() prints the JSON of the contract", () => {
  const json = format(read([], ENVIRONMENT), "json");
  assertEquals(
    JSON.stringify(JSON.parse(json)),
    JSON.stringify({
      routes: [
        {
          aliases: ["DNS"],
          listen: { protocol: "udp", hostname: "::", port: 53 },
          targets: [{ protocol: "udp", hostname: "192.0.2.1", port: 53 }],
          settings: {},
        },
        {
          aliases: ["DB"],
          listen: { protocol: "tcp", hostname: "::", port: 80 },
          targets: [{ protocol: "tcp", hostname: "2001:db8::7", port: 5432 }],
          settings: {},
        },
        {
          aliases: ["REDIS", "REDIS_1"],
          listen: { protocol: "tcp", hostname: "::", port: 6379 },
          targets: [{ protocol: "tcp", hostname: "192.168.1.52", port: 6379 }],
          settings: {},
        },
      ],
      ignored: [
        {
          variable: "KUBERNETES_PORT_443_TCP",
          reason: "the Kubernetes API is left out unless --only names it",
        },
        { variable: "SS7_PORT_2905_SCTP", reason: "SCTP is not offered" },
      ],
    }),
  );
});

Deno.test("formatCommand() prints the same JSON for the same environment in any order", () => {
  const random = new Random();
  console.log(`seed ${random.seed}`);
  const expected = format(read([], ENVIRONMENT), "json");
  for (let round = 0; round < 50; round++) {
    const entries = random.shuffled(Object.entries(ENVIRONMENT));
    const routes = read([], Object.fromEntries(entries));
    assertEquals(format(routes, "json"), expected);
  }
});

Deno.test("formatCommand() prints one socat command line a route", () => {
  const start = "socat -t 100000000 ";
  const both = "nodelay,keepalive";
  const args = ["1=redis:1", "0.0.0.0:2=192.0.2.1:2", "127.0.0.1:3=[2001:db8::7]:3", "[::1]:4=a:4"];
  assertEquals(format(read(args), "socat").split("\n"), [
    `${start}TCP6-LISTEN:1,ipv6only=0,fork,reuseaddr,${both} TCP:redis:1,${both}`,
    `${start}TCP4-LISTEN:2,fork,reuseaddr,${both} TCP4:192.0.2.1:2,${both}`,
    `${start}TCP4-LISTEN:3,bind=127.0.0.1,fork,reuseaddr,${both} 'TCP6:[2001:db8::7]:3,${both}'`,
    `${start}'TCP6-LISTEN:4,bind=[::1],fork,reuseaddr,${both}' TCP:a:4,${both}`,
  ]);
});

const SETTINGS = [
  "1=a:1",
  "2=a:2?retry=1500ms,idle-timeout=300s,connect-timeout=2s,half-close-timeout=500ms",
  "3=a:3?max-connections=5,connect-timeout=0",
];

Deno.test("formatCommand() shows settings where a route differs from the defaults", () => {
  const printed = read(SETTINGS);
  assertEquals(format(printed, "table").split("\n").slice(0, 4), [
    "ROUTE  LISTEN  TARGET  SETTINGS",
    "-      [::]:1  a:1     -",
    "-      [::]:2  a:2     connect-timeout=2s,retry=1500ms,half-close-timeout=500ms,idle-timeout=5m",
    "-      [::]:3  a:3     connect-timeout=0,max-connections=5",
  ]);
  const { routes } = JSON.parse(format(printed, "json"));
  assertEquals(routes.map(({ settings }: { settings: unknown }) => JSON.stringify(settings)), [
    "{}",
    '{"connect-timeout":"2s","retry":"1500ms","half-close-timeout":"500ms","idle-timeout":"5m"}',
    '{"connect-timeout":"0","max-connections":"5"}',
  ]);
  // What an option says holds for each route, but for the clients of all of them together.
  const options = ["--retry", "9", "--max-connections", "9", "--drain-delay", "9"];
  const all = JSON.parse(format(read([...options, "1=a:1"]), "json"));
  assertEquals(all.routes[0].settings, { retry: "9s" });
});

Deno.test("formatCommand() shows the options that were given, and where each comes from", () => {
  const environment = {
    AMBASSADOR_CONNECT_TIMEOUT: "5",
    AMBASSADOR_RETRY: "1s",
    AMBASSADOR_IDLE_TIMEOUT: "",
    AMBASSADOR_TLS_CERT: "/run/a b.pem",
    AMBASSADOR_TLS_KEY: "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----",
    AMBASSADOR_FORMAT: "table",
  };
  const args = [
    "--tls-ca=certs/ca.pem",
    "--retry=2s",
    "--allow=10.1.2.3/8",
    "--allow",
    "::1",
    "--log-connections",
  ];
  assertEquals(format(read([...args, "1=tls://a:1"], environment), "table").split("\n").slice(3), [
    "OPTION           VALUE           FROM",
    "connect-timeout  5s              AMBASSADOR_CONNECT_TIMEOUT",
    "retry            2s              --retry",
    "allow            10.0.0.0/8,::1  --allow",
    "tls-cert         /run/a b.pem    AMBASSADOR_TLS_CERT",
    "tls-key          (not shown)     AMBASSADOR_TLS_KEY",
    "tls-ca           certs/ca.pem    --tls-ca",
    "log-connections  on              --log-connections",
    "",
    "1 route, 0 variables ignored",
  ]);
});

Deno.test("formatCommand() prints the settings that socat has, and names what it can't carry over", () => {
  const both = "nodelay,keepalive";
  const from = (port: number): string => `TCP6-LISTEN:${port},ipv6only=0,fork,reuseaddr,${both}`;
  assertEquals(format(read(SETTINGS), "socat").split("\n"), [
    `socat -t 100000000 ${from(1)} TCP:a:1,${both}`,
    `socat -t 0.5 -T 300 ${from(2)} TCP:a:2,${both},connect-timeout=2,retry=2,interval=1`,
    `socat -t 100000000 ${from(3)},max-children=5 TCP:a:3,${both}`,
  ]);
  assertEquals(formatCommand(read(SETTINGS), "socat").notes, []);
  const shared = { ...read(SETTINGS), options: { ...read(SETTINGS).options, reusePort: true } };
  assertStringIncludes(format(shared, "socat"), `${from(1)},reuseport TCP:a:1,`);
  const options = ["--max-connections=7", "--drain-timeout=1m", "--drain-delay=1s"];
  const printed = read([...options, "--status=127.0.0.1:9090", "--retry=1s", "1=a:1", "2=b:2"]);
  assertEquals(formatCommand(printed, "socat").notes, [
    "--max-connections 7: socat has nothing like it",
    "--drain-timeout 1m: socat has nothing like it",
    "--drain-delay 1s: socat has nothing like it",
    "--status 127.0.0.1:9090: socat has nothing like it",
  ]);
  for (const other of ["table", "json"] as const) {
    assertEquals(formatCommand(printed, other).notes, []);
  }
  // Of one route alone the limit of all is its own.
  const alone = read(["--max-connections=7", "--log-connections", "1=a:1?max-connections=9"]);
  assertEquals(formatCommand(alone, "socat"), {
    text: `socat -d -d -t 100000000 ${from(1)},max-children=7 TCP:a:1,${both}`,
    notes: [],
  });
  const udp = formatCommand(read(["--max-connections=7", "1/udp=a:1"]), "socat");
  assertEquals(udp.notes[0], "--max-connections 7: socat has nothing like it");
});

Deno.test("formatCommand() prints the one network that socat knows, and says where it serves everybody", () => {
  const lineOf = (route: string): string => {
    const line = format(read([route]), "socat");
    return /range=\S*?(?=[ ']|$)/.exec(line)?.[0] ?? "";
  };
  const cases = {
    "1=a:1?allow=10.0.0.0/8": "range=[::ffff:10.0.0.0]/104",
    "1=a:1?allow=10.0.0.1": "range=[::ffff:10.0.0.1]/128",
    "1=a:1?allow=2001:db8::/32": "range=[2001:db8::]/32",
    "127.0.0.1:1=a:1?allow=10.0.0.0/8": "range=10.0.0.0/8",
    "127.0.0.1:1=a:1?allow=::1": "",
    "1=a:1?allow=10.0.0.1,10.0.0.2": "",
    "1=a:1?allow=off": "",
    "1=a:1": "",
  };
  for (const [route, range] of Object.entries(cases)) assertEquals(lineOf(route), range, route);
  const notesOf = (route: string): readonly string[] => formatCommand(read([route]), "socat").notes;
  assertEquals(notesOf("1=a:1?allow=10.0.0.0/8"), []);
  assertEquals(notesOf("1=a:1,b:1?allow=10.0.0.1,::1,send-proxy=v1,accept-proxy=::1"), [
    "route 1: allow 10.0.0.1,::1: socat knows one network, of the kind that it listens on: " +
    "the line serves everybody",
    "route 1: send-proxy v1: socat has nothing like it",
    "route 1: accept-proxy ::1: socat has nothing like it",
    "route 1: socat knows one target: the line has the first",
  ]);
});

const SOCAT_CHECK = [
  ...["check", "--format", "socat", "--drain-delay", "1s", "--bind", "192.0.2.1"],
  "1=127.0.0.1:9?retry=1s,idle-timeout=1.5s,connect-timeout=2s,max-connections=3,allow=10.0.0.0/8",
];

Deno.test("ambassador check --format socat prints what socat lacks on stderr", async () => {
  const { code, stderr } = await runProgram(SOCAT_CHECK);
  assertEquals(code, 0);
  assertEquals(stderr, "ambassador: --drain-delay 1s: socat has nothing like it\n");
});

Deno.test({
  name: "ambassador check --format socat prints what socat understands",
  ...needs("socat"),
}, async () => {
  const { stdout } = await runProgram(SOCAT_CHECK);
  // It complains of an option that it does not know before it complains of an address that is not ours.
  const words = stdout.trim().split(" ").slice(1);
  const tried = await runProgram(words, { command: [programPath("socat")] });
  assertEquals(tried.code, 1);
  assert(/192\.0\.2\.1:1.*assign requested address/.test(tried.stderr), tried.stderr);
});

const TLS = {
  AMBASSADOR_TLS_CERT: "/run/a b/c.pem",
  AMBASSADOR_TLS_KEY: "/run/k,e'y.pem",
  AMBASSADOR_TLS_CA: "/run/ca.pem",
};

Deno.test("formatCommand() shows what is TLS in the table and in the JSON", () => {
  const printed = read(["1/tls=a:1,tls://b:1?tls-allow=*.a,spiffe://b/c,tls-name=x", "2=b:2"], TLS);
  assertEquals(format(printed, "table").split("\n").slice(0, 3), [
    "ROUTE  LISTEN      TARGET               SETTINGS",
    "-      [::]:1/tls  tcp://a:1,tls://b:1  tls-allow=*.a,spiffe://b/c,tls-name=x",
    "-      [::]:2      b:2                  -",
  ]);
  const { routes } = JSON.parse(format(printed, "json"));
  assertEquals(routes[0], {
    aliases: [],
    listen: { protocol: "tls", hostname: "::", port: 1 },
    targets: [
      { protocol: "tcp", hostname: "a", port: 1 },
      { protocol: "tls", hostname: "b", port: 1 },
    ],
    settings: { "tls-allow": "*.a,spiffe://b/c", "tls-name": "x" },
  });
});

Deno.test("formatCommand() prints the OPENSSL addresses of socat, quoted for it and for the shell", () => {
  const start = "socat -t 100000000 ";
  const both = "nodelay,keepalive";
  const shell = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`;
  const own = "cert=/run/a\\ b/c.pem,key=/run/k\\,e\\'y.pem";
  const listen = `OPENSSL-LISTEN:1,pf=ip6,ipv6only=0,fork,reuseaddr,${both},${own}`;
  const checked = `${own},cafile=/run/ca.pem,verify=1`;
  assertEquals(
    format(read(["1/tls=a:1"], TLS), "socat"),
    `${start}${shell(`${listen},cafile=/run/ca.pem,verify=1`)} TCP:a:1,${both}`,
  );
  const args = ["127.0.0.1:1=tls://a:1?tls-name=redis,connect-timeout=2s", "2=tls://[::1]:3"];
  assertEquals(format(read(args, TLS), "socat").split("\n"), [
    `${start}TCP4-LISTEN:1,bind=127.0.0.1,fork,reuseaddr,${both} ` +
    shell(`OPENSSL:a:1,${both},connect-timeout=2,${checked},commonname=redis`),
    `${start}TCP6-LISTEN:2,ipv6only=0,fork,reuseaddr,${both} ` +
    shell(`OPENSSL:[::1]:3,pf=ip6,${both},${checked}`),
  ]);
  const none = {
    AMBASSADOR_TLS_CERT: "/c",
    AMBASSADOR_TLS_KEY: "/k",
    AMBASSADOR_TLS_CLIENT: "none",
  };
  assertEquals(
    format(read(["1/tls=a:1"], none), "socat"),
    `${start}OPENSSL-LISTEN:1,pf=ip6,ipv6only=0,fork,reuseaddr,${both},cert=/c,key=/k,verify=0 ` +
      `TCP:a:1,${both}`,
  );
  assertStringIncludes(
    format(read(["1/tls=a:1?tls-allow=web.example.com"], TLS), "socat"),
    ",cafile=/run/ca.pem,verify=1,commonname=web.example.com",
  );
  const clients = { ...TLS, AMBASSADOR_TLS_CLIENT_CA: "/clients.pem" };
  assertStringIncludes(
    format(read(["1/tls=tls://a:1"], clients), "socat"),
    ",cafile=/clients.pem,",
  );
});

Deno.test("formatCommand() names what of TLS socat can't say", () => {
  const pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----";
  const environment = { AMBASSADOR_TLS_CERT: pem, AMBASSADOR_TLS_KEY: pem };
  const settings = "tls-allow=web,starttls=postgres,handshake-timeout=1s";
  const printed = read([`1/tls=tls://a:1?${settings}`, "--tls-client-ca=/ca"], environment);
  const { text, notes } = formatCommand(printed, "socat");
  assertEquals(notes, [
    "AMBASSADOR_TLS_CERT: socat reads files alone: name one in the place of this",
    "AMBASSADOR_TLS_KEY: socat reads files alone: name one in the place of this",
    "route 1: tls-allow web: socat looks for it in the subject too, and takes a certificate with a " +
    "star for it",
    "route 1: handshake-timeout 1s: socat has nothing like it",
    "route 1: starttls postgres: socat has nothing like it",
    "route 1: socat trusts the roots of the system where no cafile is named",
  ]);
  assert(!text.includes("cert=") && !text.includes("key="), text);
  for (const allow of ["web,db", "*.example.com", "spiffe://example.com/web"]) {
    const many = formatCommand(read([`1/tls=a:1?tls-allow=${allow}`], TLS), "socat");
    assertEquals(many.notes, [
      `route 1: tls-allow ${allow}: socat knows one name without a star: the line serves everybody ` +
      "whom the CA signed",
    ]);
    assert(!many.text.includes("commonname"), many.text);
  }
});

Deno.test({
  name: "ambassador check --format socat prints lines that make a pair with TLS between them",
  ...needs("socat", "openssl", UNIX),
}, async () => {
  using ca = await createCa();
  const { certPath, keyPath } = await ca.issue({ dns: ["redis"] });
  // Everything that socat or a shell would act on.
  const folder = `${ca.directory}/a b,c:d'e\\f"g!!h(i[j{k$l`;
  await Deno.mkdir(folder);
  await Deno.copyFile(certPath, `${folder}/cert`);
  await Deno.copyFile(keyPath, `${folder}/key`);
  await Deno.copyFile(ca.path, `${folder}/ca`);
  const env = {
    AMBASSADOR_TLS_CERT: `${folder}/cert`,
    AMBASSADOR_TLS_KEY: `${folder}/key`,
    AMBASSADOR_TLS_CA: `${folder}/ca`,
  };
  using upstream = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [near, far] = [freePort(), freePort()];
  const lineOf = (route: string): string => format(read([route], env), "socat");
  const lines = [
    lineOf(`127.0.0.1:${far}/tls=127.0.0.1:${upstream.addr.port}`),
    lineOf(`127.0.0.1:${near}=tls://127.0.0.1:${far}?tls-name=redis`),
  ];
  await using programs = new AsyncDisposableStack();
  for (const line of lines) {
    const program = startProgram(["-c", line.replace("socat", "exec socat -d -d")], {
      command: ["sh"],
    });
    programs.use(program);
    await program.line(/listening on/);
  }
  using client = await Deno.connect({ hostname: "127.0.0.1", port: near });
  await writeAll(client, "PING");
  await client.closeWrite();
  using conn = await within(upstream.accept(), "the connection through both");
  assertEquals(await readText(conn), "PING");
  await writeAll(conn, "PONG");
  await conn.closeWrite();
  assertEquals(await readText(client), "PONG");
});

Deno.test("formatCommand() says that UDP shows no refusals where a route has several targets", () => {
  const note = (names: string): string =>
    `${names}: UDP shows no refusals: a target is down only while its name can't be looked up`;
  for (const form of ["table", "json"] as const) {
    const notesOf = (...args: string[]): unknown => formatCommand(read(args), form).notes;
    assertEquals(notesOf("1/udp=a:1", "2=a:1,b:1"), []);
    assertEquals(notesOf("1/udp=a:1,b:1", "2/udp=a:1"), [note("UDP route 1")]);
    assertEquals(notesOf("1/udp=a:1,b:1", "2/udp=a:1,c:1"), [note("2 UDP routes (1, 2)")]);
  }
});

Deno.test("formatCommand() prints the UDP addresses of socat, for whole datagrams, with a timeout", () => {
  const start = "socat -b 65507 -T";
  const args = [
    ...["1/udp=dns:1", "0.0.0.0:2/udp=192.0.2.1:2?udp-timeout=1500ms"],
    ...["127.0.0.1:3/udp=[2001:db8::7]:3", "[::1]:4/udp=a:4?udp-timeout=0"],
  ];
  const options = ["--reuse-port", "--idle-timeout=1s"].slice(Deno.build.os === "linux" ? 0 : 1);
  const printed = read([...args, ...options]);
  assertEquals(format(printed, "socat").split("\n"), [
    `${start} 60 UDP6-LISTEN:1,ipv6only=0,fork,reuseaddr UDP:dns:1`,
    `${start} 1.5 UDP4-LISTEN:2,fork,reuseaddr UDP4:192.0.2.1:2`,
    `${start} 60 UDP4-LISTEN:3,bind=127.0.0.1,fork,reuseaddr 'UDP6:[2001:db8::7]:3'`,
    "socat -b 65507 'UDP6-LISTEN:4,bind=[::1],fork,reuseaddr' UDP:a:4",
  ]);
  assertStringIncludes(
    format(read(["1/udp=a:1?allow=10.0.0.0/8"]), "socat"),
    "UDP6-LISTEN:1,ipv6only=0,fork,reuseaddr,range=[::ffff:10.0.0.0]/104'",
  );
});

Deno.test("formatCommand() names what of UDP socat can't say", () => {
  const settings = "connect-timeout=1s,retry=2s,max-sessions=9,send-proxy=v2,balance=leastconn";
  const printed = read([`1/udp=a:1,b:1?allow=10.0.0.1,::1,${settings}`, "--max-sessions=99"]);
  const nothing = "socat has nothing like it";
  assertEquals(formatCommand(printed, "socat").notes, [
    `--max-sessions 99: ${nothing}: its max-children turns new clients away`,
    "route 1: allow 10.0.0.1,::1: socat knows one network, of the kind that it listens on: " +
    "the line serves everybody",
    `route 1: connect-timeout 1s: ${nothing}`,
    `route 1: retry 2s: ${nothing}`,
    `route 1: max-sessions 9: ${nothing}: its max-children turns new clients away`,
    `route 1: send-proxy v2: ${nothing}`,
    "route 1: socat passes no empty datagrams on",
    "route 1: socat knows one target: the line has the first",
  ]);
});

function open(): Deno.DatagramConn {
  return Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
}

function portOf({ addr }: Deno.DatagramConn): number {
  return "port" in addr ? addr.port : 0;
}

Deno.test({
  name: "ambassador check --format socat prints a line that carries datagrams both ways, whole",
  ...needs("socat", UNIX),
}, async () => {
  await using opened = new AsyncDisposableStack();
  const [target, one, other, place] = [open(), open(), open(), open()];
  for (const socket of [target, one, other]) opened.defer(() => socket.close());
  const ambassador = place.addr;
  // Its port is free from here on.
  place.close();
  const route = `${portOf(place)}/udp=127.0.0.1:${portOf(target)}?udp-timeout=1s`;
  const line = format(read([route, "--bind=127.0.0.1"]), "socat");
  const program = startProgram(["-c", line.replace("socat", "exec socat -d -d")], {
    command: ["sh"],
  });
  opened.use(program);
  await program.line(/listening on/);
  for (const client of [one, other]) {
    for (const size of [1, 3000, 9000, 65_507]) {
      const bytes = crypto.getRandomValues(new Uint8Array(size));
      await client.send(bytes, ambassador);
      const [asked, from] = await within(target.receive(), `${size} bytes at the target`);
      assertEquals(asked, bytes);
      await target.send(asked.toReversed(), from);
      const [answer] = await within(client.receive(), `${size} bytes at the client`);
      assertEquals(answer, bytes.toReversed());
    }
  }
});

Deno.test("formatCommand() prints nothing but plain characters, whatever the names", () => {
  const hostile = 'A\n"x"\x1b[2J\x9b\u2028\u202e,=';
  const routes = read([], {
    [`${hostile}_PORT_1_TCP`]: "tcp://a:1",
    [`${hostile}_PORT_2_SCTP`]: "x",
    [`${hostile}_PORT_2_UDP`]: "udp://a:1,b:1",
    [`${hostile}_ENV_B_PORT_3_TCP`]: "x",
    [`${hostile}_NAME`]: "x",
  });
  for (const format of ["table", "json", "socat"] as const) {
    const { text, notes } = formatCommand(routes, format);
    for (const one of [text, ...notes]) assert(/^[ -~\n]*$/.test(one), one);
  }
  assertEquals(format(routes, "table").split("\n").length, 9);
  const { aliases } = JSON.parse(format(routes, "json")).routes[0];
  assertEquals(aliases, [hostile.toUpperCase()]);
});

Deno.test("formatCommand() prints thousands of routes in well under a second", () => {
  const args = Array.from({ length: 20_000 }, (_, index) => `${index + 1}=a:1`);
  const routes = read(args);
  const start = performance.now();
  for (const format of ["table", "json", "socat"] as const) formatCommand(routes, format);
  const ms = performance.now() - start;
  assert(ms < 1000, `${ms} ms`);
});
