import { assert, assertEquals } from "@std/assert";
import { formatRoutes } from "../../src/commands/check.ts";
import { parseRouteArguments, parseRoutes, type Routes } from "../../src/config/routes.ts";
import { Random } from "../helpers/mod.ts";

const ENVIRONMENT = {
  REDIS_PORT_6379_TCP: "tcp://192.168.1.52:6379",
  REDIS_1_PORT_6379_TCP: "tcp://192.168.1.52:6379",
  DB_PORT_80_TCP: "tcp://[2001:db8::7]:5432",
  KUBERNETES_PORT_443_TCP: "tcp://192.0.2.1:443",
  DNS_PORT_53_UDP: "udp://192.0.2.1:53",
};

function read(args: readonly string[], bind = "::"): Routes {
  return { routes: parseRouteArguments(args, { bind }), ignored: [] };
}

Deno.test("formatRoutes() prints a table of routes and of what is ignored and why", () => {
  assertEquals(formatRoutes(parseRoutes(ENVIRONMENT, { bind: "::" }), "table").split("\n"), [
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
  assertEquals(formatRoutes(read(["1=a:1"]), "table").split("\n"), [
    "ROUTE  LISTEN  TARGET",
    "-      [::]:1  a:1",
    "",
    "1 route, 0 variables ignored",
  ]);
});

Deno.test("formatRoutes() prints the JSON of the contract", () => {
  const json = formatRoutes(parseRoutes(ENVIRONMENT, { bind: "::" }), "json");
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

Deno.test("formatRoutes() prints the same JSON for the same environment in any order", () => {
  const random = new Random();
  console.log(`seed ${random.seed}`);
  const expected = formatRoutes(parseRoutes(ENVIRONMENT, { bind: "::" }), "json");
  for (let round = 0; round < 50; round++) {
    const entries = random.shuffled(Object.entries(ENVIRONMENT));
    const routes = parseRoutes(Object.fromEntries(entries), { bind: "::" });
    assertEquals(formatRoutes(routes, "json"), expected);
  }
});

Deno.test("formatRoutes() prints one socat command line a route", () => {
  const start = "socat -t 100000000 ";
  const both = "nodelay,keepalive";
  const args = ["1=redis:1", "0.0.0.0:2=192.0.2.1:2", "127.0.0.1:3=[2001:db8::7]:3", "[::1]:4=a:4"];
  assertEquals(formatRoutes(read(args), "socat").split("\n"), [
    `${start}TCP6-LISTEN:1,ipv6only=0,fork,reuseaddr,${both} TCP:redis:1,${both}`,
    `${start}TCP4-LISTEN:2,fork,reuseaddr,${both} TCP4:192.0.2.1:2,${both}`,
    `${start}TCP4-LISTEN:3,bind=127.0.0.1,fork,reuseaddr,${both} 'TCP6:[2001:db8::7]:3,${both}'`,
    `${start}'TCP6-LISTEN:4,bind=[::1],fork,reuseaddr,${both}' TCP:a:4,${both}`,
  ]);
});

Deno.test("formatRoutes() prints nothing but plain characters, whatever the names", () => {
  const hostile = 'A\n"x"\x1b[2J\x9b\u2028\u202e,=';
  const routes = parseRoutes({
    [`${hostile}_PORT_1_TCP`]: "tcp://a:1",
    [`${hostile}_PORT_2_UDP`]: "x",
    [`${hostile}_ENV_B_PORT_3_TCP`]: "x",
    [`${hostile}_NAME`]: "x",
  }, { bind: "::" });
  for (const format of ["table", "json", "socat"] as const) {
    const text = formatRoutes(routes, format);
    assert(/^[ -~\n]*$/.test(text), text);
  }
  assertEquals(formatRoutes(routes, "table").split("\n").length, 8);
  const { aliases } = JSON.parse(formatRoutes(routes, "json")).routes[0];
  assertEquals(aliases, [hostile.toUpperCase()]);
});

Deno.test("formatRoutes() prints thousands of routes in well under a second", () => {
  const args = Array.from({ length: 20_000 }, (_, index) => `${index + 1}=a:1`);
  const routes = read(args);
  const start = performance.now();
  for (const format of ["table", "json", "socat"] as const) formatRoutes(routes, format);
  const ms = performance.now() - start;
  assert(ms < 1000, `${ms} ms`);
});
