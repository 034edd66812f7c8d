import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { formatAddress, formatListen, formatTargets } from "../../src/base/address.ts";
import { ConfigError, type Problem } from "../../src/base/errors.ts";
import { plain } from "../../src/base/text.ts";
import { formatRoute, type Route, routeName } from "../../src/config/routes.ts";
import { routesOfArguments, routesOfVariables as parse } from "../helpers/config.ts";
import { routeTo } from "../helpers/routes.ts";
import "../helpers/mod.ts";

function problems(act: () => unknown): readonly Problem[] {
  return assertThrows(act, ConfigError).problems;
}

function messages(act: () => unknown): string[] {
  return problems(act).map(({ message }) => message);
}

/** Routes as one line each. */
function show(routes: readonly Route[]): string[] {
  return routes.map((route) =>
    `${routeName(route)} ${formatAddress(route.listen)} ${formatTargets(route.targets)}`
  );
}

Deno.test("mergeRoutes() merges the aliases of one listen port and one target", () => {
  const { routes } = parse({
    REDIS_1_PORT_6379_TCP: "tcp://192.0.2.10:6379",
    PROJECT_REDIS_1_PORT_6379_TCP: "tcp://192.0.2.10:6379",
    REDIS_PORT_6379_TCP: "TCP://192.0.2.10:6379",
    redis_PORT_6379_TCP: "tcp://192.0.2.10:6379",
    V6_PORT_6380_TCP: "tcp://[2001:db8::1]:1",
    V6_LONG_PORT_6380_TCP: "tcp://[2001:db8:0::0:1]:1",
  });
  assertEquals(show(routes), [
    "PROJECT_REDIS_1,REDIS,REDIS_1 [::]:6379 192.0.2.10:6379",
    "V6,V6_LONG [::]:6380 [2001:db8::1]:1",
  ]);
});

Deno.test("mergeRoutes() names every variable that claims one listen port for another target", () => {
  const [problem, ...more] = problems(() =>
    parse({
      C_PORT_6379_TCP: "tcp://c:1",
      A_PORT_6379_TCP: "tcp://a:1",
      B_PORT_6379_TCP: "tcp://a:1",
      OTHER_PORT_1_TCP: "tcp://a:1",
    })
  );
  assertEquals(more, []);
  assertEquals(
    problem?.message,
    "port 6379: one address is wanted more than once: A_PORT_6379_TCP ([::]:6379=a:1), " +
      "B_PORT_6379_TCP ([::]:6379=a:1), C_PORT_6379_TCP ([::]:6379=c:1)",
  );
  const { hint = "" } = problem ?? {};
  for (const way of ["--only", "--ignore", "an empty value"]) {
    assertStringIncludes(hint, way);
  }
  assert(hint.endsWith(" A_PORT_6379_TCP=tcp://a:1,tcp://c:1"), hint);
});

Deno.test("mergeRoutes() shows how to write several targets of one only where nothing is lost", () => {
  const hintOf = (one: string, other: string): string => {
    const [problem] = problems(() => parse({ A_PORT_1_TCP: one, B_PORT_1_TCP: other }));
    return /A_PORT_1_TCP=.*/.exec(problem?.hint ?? "")?.[0] ?? "";
  };
  assertEquals(
    hintOf("tcp://a:1,b:1", "tcp://b:1,c:1"),
    "A_PORT_1_TCP=tcp://a:1,tcp://b:1,tcp://c:1",
  );
  const allow = "?allow=10.0.0.0/8";
  assertEquals(
    hintOf(`tcp://a:1${allow}`, `tcp://b:1${allow}`),
    `A_PORT_1_TCP=tcp://a:1,tcp://b:1${allow}`,
  );
  assertEquals(hintOf(`tcp://a:1${allow}`, "tcp://b:1"), "");
  assertEquals(hintOf(`tcp://a:1${allow}`, "tcp://b:1?allow=192.0.2.1"), "");
});

Deno.test("mergeRoutes() writes several targets with their schemes, and never TLS and TCP as one", () => {
  const hintOf = (variables: Readonly<Record<string, string>>): string =>
    problems(() => parse(variables))[0]?.hint ?? "";
  const tls = { A_PORT_1_TLS: "tcp://a:1,tls://b:1", B_PORT_1_TLS: "tls://b:1,c:1" };
  assert(hintOf(tls).endsWith(" A_PORT_1_TLS=tcp://a:1,tls://b:1,tls://c:1"), hintOf(tls));
  const both = hintOf({ A_PORT_1_TLS: "tcp://a:1", B_PORT_1_TCP: "tcp://b:1" });
  assert(both.endsWith("to an empty value"), both);
  assertEquals(messages(() => parse({ A_PORT_1_TLS: "tcp://a:1", B_PORT_1_TCP: "tcp://a:1" })), [
    "port 1: one address is wanted more than once: A_PORT_1_TLS ([::]:1/tls=a:1), " +
    "B_PORT_1_TCP ([::]:1=a:1)",
  ]);
});

Deno.test("mergeRoutes() keeps TCP and UDP on one port apart, and orders them by protocol", () => {
  const { routes } = parse({
    DNS_PORT_53_UDP: "udp://a:53",
    DNS_PORT_53_TCP: "tcp://b:53",
    OTHER_PORT_53_UDP: "UDP://A:53",
    LATER_PORT_54_TCP: "tcp://c:54",
    WEB_PORT_52_TLS: "tcp://localhost:53",
    WEB_PORT_52_UDP: "udp://localhost:53",
  });
  assertEquals(routes.map((route) => `${routeName(route)} ${formatRoute(route)}`), [
    "WEB [::]:52/tls=localhost:53",
    "WEB [::]:52/udp=udp://localhost:53",
    "DNS [::]:53=b:53",
    "DNS,OTHER [::]:53/udp=udp://a:53",
    "LATER [::]:54=c:54",
  ]);
  const apart = ["0.0.0.0:53/udp=a:53", "[::]:53=a:53", "[::1]:53/udp=a:53"];
  assertEquals(routesOfArguments(apart).map(({ listen }) => formatListen(listen)), [
    "[::]:53",
    "0.0.0.0:53/udp",
    "[::1]:53/udp",
  ]);
});

Deno.test("mergeRoutes() names who wants one UDP port, apart from who wants the TCP port", () => {
  const found = problems(() =>
    parse({
      A_PORT_53_UDP: "udp://a:53",
      B_PORT_53_UDP: "udp://b:53,c:53",
      A_PORT_53_TCP: "tcp://a:53",
      B_PORT_53_TLS: "tcp://a:53",
      C_PORT_54_UDP: "udp://a:53?udp-timeout=1s",
      D_PORT_54_UDP: "udp://a:53",
      E_PORT_54_TCP: "tcp://a:53",
    })
  );
  const more = ": one address is wanted more than once: ";
  assertEquals(found.map(({ message }) => message), [
    `port 53${more}A_PORT_53_TCP ([::]:53=a:53), B_PORT_53_TLS ([::]:53/tls=a:53)`,
    `UDP port 53${more}A_PORT_53_UDP ([::]:53/udp=udp://a:53), ` +
    "B_PORT_53_UDP ([::]:53/udp=udp://b:53,udp://c:53)",
    `UDP port 54${more}C_PORT_54_UDP ([::]:54/udp=udp://a:53?udp-timeout=1s), ` +
    "D_PORT_54_UDP ([::]:54/udp=udp://a:53)",
  ]);
  const [, udp] = found;
  assert(udp?.hint?.endsWith(" A_PORT_53_UDP=udp://a:53,udp://b:53,udp://c:53"), udp?.hint);
  assertEquals(messages(() => routesOfArguments(["53/udp=a:1", "127.0.0.1:53/udp=a:1"])).length, 1);
});

Deno.test("mergeRoutes() sees the conflict of two spellings of one name", () => {
  assertEquals(messages(() => parse({ a_PORT_1_TCP: "tcp://b:1", A_PORT_1_TCP: "tcp://c:1" })), [
    "port 1: one address is wanted more than once: A_PORT_1_TCP ([::]:1=c:1), " +
    "a_PORT_1_TCP ([::]:1=b:1)",
  ]);
});

Deno.test("mergeRoutes() knows which addresses a listener covers", () => {
  function isItself(bind: string, host: string): boolean {
    try {
      parse({ A_PORT_1_TCP: `tcp://${host}:1` }, { bind });
      return false;
    } catch {
      return true;
    }
  }
  const itself = [
    ["127.0.0.1", "127.0.0.1"],
    ["127.0.0.1", "[::ffff:127.0.0.1]"],
    ["127.0.0.1", "localhost"],
    ["127.0.0.1", "0.0.0.0"],
    ["::1", "[::1]"],
    ["localhost", "127.0.0.1"],
    ["192.0.2.1", "192.0.2.1"],
    ["0.0.0.0", "127.0.0.1"],
  ] as const;
  for (const [bind, host] of itself) assert(isItself(bind, host), `${bind} ${host}`);
  const other = [
    ["127.0.0.1", "127.0.0.2"],
    ["127.0.0.1", "[::1]"],
    ["192.0.2.1", "127.0.0.1"],
    ["0.0.0.0", "[::1]"],
    ["::", "192.0.2.1"],
  ] as const;
  for (const [bind, host] of other) assert(!isItself(bind, host), `${bind} ${host}`);
});

Deno.test("routeName() is the aliases, or the port where there are none", () => {
  const route = routeTo({ hostname: "a", port: 2 }, { listen: { hostname: "::", port: 1 } });
  assertEquals(routeName({ ...route, aliases: ["A", "B"] }), "A,B");
  assertEquals(routeName({ ...route, aliases: [] }), "1");
  assertEquals(routeName({ ...route, aliases: ["É\n", "B"] }), "É\n,B");
  assertEquals(routeName({ ...route, aliases: ["É\n", "B"] }, plain), '"É\\n",B');
});

Deno.test("mergeRoutes() sees addresses that overlap, and none that only look alike", () => {
  const isRefused = (...hosts: string[]): boolean => {
    try {
      routesOfArguments(hosts.map((host, index) => `${host}:1=target${index}:2`));
      return false;
    } catch (error) {
      assert(error instanceof ConfigError);
      for (const host of hosts) assertStringIncludes(error.message, `"${host}:1=target`);
      return true;
    }
  };
  const overlapping = [
    ["127.0.0.1", "127.0.0.1"],
    ["[::]", "127.0.0.1"],
    ["192.0.2.1", "[::]"],
    ["[::]", "[::1]"],
    ["[::]", "0.0.0.0"],
    ["0.0.0.0", "[::]"],
    ["0.0.0.0", "127.0.0.1"],
    ["0.0.0.0", "localhost"],
    ["[::]", "localhost"],
    ["localhost", "127.0.0.1"],
    ["[::1]", "localhost"],
    ["[::]", "192.0.2.1", "192.0.2.2"],
  ] as const;
  for (const hosts of overlapping) assert(isRefused(...hosts), hosts.join(" "));
  const apart = [
    ["127.0.0.1", "127.0.0.2"],
    ["0.0.0.0", "[::1]"],
    ["127.0.0.1", "[::1]"],
    ["127.0.0.2", "localhost"],
    ["[fe80::1%eth0]", "[fe80::1%eth1]"],
  ] as const;
  for (const hosts of apart) assert(!isRefused(...hosts), hosts.join(" "));
});

Deno.test("mergeRoutes() refuses one target at two addresses that overlap", () => {
  assertEquals(messages(() => routesOfArguments(["1=a:1", "127.0.0.1:1=a:1", "2=a:1"])), [
    'port 1: one address is wanted more than once: argument "1=a:1" ([::]:1=a:1), ' +
    'argument "127.0.0.1:1=a:1" (127.0.0.1:1=a:1)',
  ]);
});

Deno.test("mergeRoutes() counts the same targets with different settings as different", () => {
  assertEquals(
    messages(() => parse({ A_PORT_1_TCP: "tcp://a:1", B_PORT_1_TCP: "tcp://a:1?retry=1s" })),
    [
      "port 1: one address is wanted more than once: A_PORT_1_TCP ([::]:1=a:1), " +
      "B_PORT_1_TCP ([::]:1=a:1?retry=1s)",
    ],
  );
  const same = { A_PORT_1_TCP: "tcp://a:1?retry=1000ms", B_PORT_1_TCP: "tcp://a:1?RETRY=1s" };
  assertEquals(show(parse(same).routes), ["A,B [::]:1 a:1"]);
});
