import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { formatCommand, type Printed } from "../../src/commands/check.ts";
import { parseCommand } from "../../src/config/command_line.ts";
import type { Environment } from "../../src/config/variables.ts";
import { Random, runProgram } from "../helpers/mod.ts";
import { needs, programPath } from "../helpers/needs.ts";

const ENVIRONMENT = {
  REDIS_PORT_6379_TCP: "tcp://192.168.1.52:6379",
  REDIS_1_PORT_6379_TCP: "tcp://192.168.1.52:6379",
  DB_PORT_80_TCP: "tcp://[2001:db8::7]:5432",
  KUBERNETES_PORT_443_TCP: "tcp://192.0.2.1:443",
  DNS_PORT_53_UDP: "udp://192.0.2.1:53",
};

function read(args: readonly string[], environment: Environment = {}): Printed {
  return parseCommand(["check", ...args], environment);
}

function format(printed: Printed, format: "table" | "json" | "socat"): string {
  return formatCommand(printed, format).text;
}

Deno.test("formatCommand() prints a table of routes and of what is ignored and why", () => {
  assertEquals(format(read([], ENVIRONMENT), "table").split("\n"), [
    "ROUTE          LISTEN     TARGET",
    "DB             [::]:80    [2001:db8::7]:5432",
    "REDIS,REDIS_1  [::]:6379  192.168.1.52:6379",
    "",
    "IGNORED                  REASON",
    "DNS_PORT_53_UDP          UDP is not supported yet",
    "KUBERNETES_PORT_443_TCP  the Kubernetes API is left out unless --only names it",
    "",
    "2 routes, 2 variables ignored",
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
        { variable: "DNS_PORT_53_UDP", reason: "UDP is not supported yet" },
        {
          variable: "KUBERNETES_PORT_443_TCP",
          reason: "the Kubernetes API is left out unless --only names it",
        },
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
  const printed = read([...options, "--status=127.0.0.1:9090", "--retry=1s", "1=a:1"]);
  assertEquals(formatCommand(printed, "socat").notes, [
    "--max-connections 7: socat has nothing like it",
    "--drain-timeout 1m: socat has nothing like it",
    "--drain-delay 1s: socat has nothing like it",
    "--status 127.0.0.1:9090: socat has nothing like it",
  ]);
  for (const other of ["table", "json"] as const) {
    assertEquals(formatCommand(printed, other).notes, []);
  }
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

Deno.test("formatCommand() prints nothing but plain characters, whatever the names", () => {
  const hostile = 'A\n"x"\x1b[2J\x9b\u2028\u202e,=';
  const routes = read([], {
    [`${hostile}_PORT_1_TCP`]: "tcp://a:1",
    [`${hostile}_PORT_2_UDP`]: "x",
    [`${hostile}_ENV_B_PORT_3_TCP`]: "x",
    [`${hostile}_NAME`]: "x",
  });
  for (const format of ["table", "json", "socat"] as const) {
    const { text } = formatCommand(routes, format);
    assert(/^[ -~\n]*$/.test(text), text);
  }
  assertEquals(format(routes, "table").split("\n").length, 8);
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
