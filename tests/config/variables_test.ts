import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { formatAddress, formatListen, formatTargets } from "../../src/base/address.ts";
import { ConfigError, type Problem } from "../../src/base/errors.ts";
import { plain } from "../../src/base/text.ts";
import { formatCommand } from "../../src/commands/check.ts";
import { parseCommand } from "../../src/config/command_line.ts";
import { type Route, routeName } from "../../src/config/routes.ts";
import { DEFAULT_SETTINGS, formatSettings } from "../../src/config/settings.ts";
import { aliasOf, type Environment } from "../../src/config/variables.ts";
import {
  routesOfArguments,
  routesOfVariables as parse,
  type RoutesOptions,
} from "../helpers/config.ts";
import { Random } from "../helpers/mod.ts";

function problems(act: () => unknown): readonly Problem[] {
  return assertThrows(act, ConfigError).problems;
}

/** The messages for an environment that can't be used. */
function messages(environment: Environment, options?: RoutesOptions): string[] {
  return problems(() => parse(environment, options)).map(({ message }) => message);
}

/** Routes as one line each. */
function show(routes: readonly Route[]): string[] {
  return routes.map((route) =>
    `${routeName(route)} ${formatAddress(route.listen)} ${formatTargets(route.targets)}`
  );
}

Deno.test("readVariables() listens on the port in the name and forwards to the value", () => {
  assertEquals(parse({ REDIS_PORT_6379_TCP: "tcp://192.0.2.10:16379" }), {
    routes: [{
      aliases: ["REDIS"],
      listen: { protocol: "tcp", hostname: "::", port: 6379 },
      targets: [{ protocol: "tcp", hostname: "192.0.2.10", port: 16379 }],
      settings: DEFAULT_SETTINGS,
    }],
    ignored: [],
  });
});

Deno.test("readVariables() takes IPv4, IPv6 and names as targets, and listens where it is told", () => {
  const environment = {
    A_PORT_1_TCP: "tcp://192.0.2.10:1",
    B_PORT_2_TCP: "tcp://[2001:DB8::7]:2",
    C_PORT_3_TCP: "tcp://Redis.Example.com:3",
  };
  assertEquals(show(parse(environment, { bind: "127.0.0.1" }).routes), [
    "A 127.0.0.1:1 192.0.2.10:1",
    "B 127.0.0.1:2 [2001:db8::7]:2",
    "C 127.0.0.1:3 redis.example.com:3",
  ]);
});

Deno.test("readVariables() takes the scheme and the names in any case", () => {
  assertEquals(show(parse({ redis_Port_6379_tcp: "TCP://HOST:1" }).routes), [
    "REDIS [::]:6379 host:1",
  ]);
  const environment = { redis_PORT_1_TCP: "tcp://a:1", KUBERNETES_PORT_443_TCP: "tcp://b:1" };
  assertEquals(show(parse(environment, { only: new Set(["REDIS"]) }).routes), ["REDIS [::]:1 a:1"]);
});

Deno.test("readVariables() leaves KUBERNETES out unless only names it", () => {
  const environment = { Kubernetes_PORT_443_TCP: "tcp://192.0.2.1:443" };
  const { routes, ignored } = parse(environment);
  assertEquals(routes, []);
  assertEquals(ignored, [{
    variable: "Kubernetes_PORT_443_TCP",
    reason: "the Kubernetes API is left out unless --only names it",
    asked: false,
  }]);
  assertEquals(parse(environment, { only: new Set(["KUBERNETES"]) }).routes.length, 1);
  const both = { only: new Set(["KUBERNETES"]), ignore: new Set(["KUBERNETES"]) };
  assertEquals(parse(environment, both).routes, []);
});

Deno.test("readVariables() reads only what is named, and never what is to be left out", () => {
  const environment = {
    A_PORT_1_TCP: "tcp://a:1",
    B_PORT_2_TCP: "tcp://b:2",
    C_PORT_3_TCP: "not a route: not looked at",
  };
  const only = parse(environment, { only: new Set(["A"]) });
  assertEquals(show(only.routes), ["A [::]:1 a:1"]);
  assertEquals(only.ignored.map(({ variable, reason }) => [variable, reason]), [
    ["B_PORT_2_TCP", "not named by --only"],
    ["C_PORT_3_TCP", "not named by --only"],
  ]);
  const ignore = parse(environment, { ignore: new Set(["C", "B"]) });
  assertEquals(show(ignore.routes), ["A [::]:1 a:1"]);
  assertEquals(ignore.ignored.map(({ reason, asked }) => [reason, asked]), [
    ["left out by --ignore", true],
    ["left out by --ignore", true],
  ]);
});

Deno.test("readVariables() leaves a link's copied environment out", () => {
  const { routes, ignored } = parse({
    REDIS_NAME: "/consumer/redis",
    REDIS_PORT_6379_TCP: "tcp://192.0.2.10:6379",
    REDIS_ENV_REDIS_PORT_6379_TCP: "tcp://192.0.2.99:6379",
    redis_env_x_PORT_1_TCP: "garbage",
    REDIS_ENV_DNS_PORT_53_UDP: "udp://192.0.2.99:53",
    MY_ENV_PORT_80_TCP: "tcp://192.0.2.10:80",
    OTHER_ENV_X_PORT_81_TCP: "tcp://192.0.2.10:81",
    _NAME: "",
    _ENV_X_PORT_82_TCP: "tcp://192.0.2.10:82",
  });
  assertEquals(show(routes), [
    "MY_ENV [::]:80 192.0.2.10:80",
    "OTHER_ENV_X [::]:81 192.0.2.10:81",
    "_ENV_X [::]:82 192.0.2.10:82",
    "REDIS [::]:6379 192.0.2.10:6379",
  ]);
  assertEquals(ignored.map(({ variable, reason, asked }) => [variable, reason, asked]), [
    ["REDIS_ENV_DNS_PORT_53_UDP", "copied from the environment of the link REDIS", false],
    ["REDIS_ENV_REDIS_PORT_6379_TCP", "copied from the environment of the link REDIS", false],
    ["redis_env_x_PORT_1_TCP", "copied from the environment of the link REDIS", false],
  ]);
});

Deno.test("readVariables() does not look at the other variables of a link", () => {
  assertEquals(
    parse({
      REDIS_PORT: "tcp://192.0.2.10:6379",
      REDIS_PORT_6379_TCP_ADDR: "192.0.2.10",
      REDIS_PORT_6379_TCP_PORT: "6379",
      REDIS_PORT_6379_TCP_PROTO: "tcp",
      REDIS_PORT_6379_TCP_START: "tcp://192.0.2.10:6379",
      REDIS_PORT_6379_TCP_PORT_START: "6379",
      REDIS_PORT_6379_TCP_END: "tcp://192.0.2.10:6381",
      REDIS_PORT_6379_TCP_PORT_END: "6381",
      REDIS_NAME: "/consumer/redis",
      REDIS_ENV_VERSION: "7",
      REDIS_SERVICE_HOST: "192.0.2.10",
      REDIS_SERVICE_PORT: "6379",
      REDIS_SERVICE_PORT_CLIENT: "6379",
      REDIS_PORT__TCP: "x",
      REDIS_PORT_x_TCP: "x",
      "REDIS_PORT_٣_TCP": "x",
      "REDIS_PORT_1_TCP\n": "x",
      PORT_1_TCP: "x",
      PATH: "/bin",
    }),
    { routes: [], ignored: [] },
  );
});

Deno.test("readVariables() tells the named port of a Service from a Service named so", () => {
  const { routes, ignored } = parse({
    REDIS_SERVICE_PORT_6379_TCP: "6379",
    DNS_SERVICE_PORT_53_UDP: "53",
    MY_SERVICE_PORT_80_TCP: "tcp://192.0.2.10:80",
  });
  assertEquals(show(routes), ["MY_SERVICE [::]:80 192.0.2.10:80"]);
  assertEquals(ignored.map(({ variable }) => variable), [
    "DNS_SERVICE_PORT_53_UDP",
    "REDIS_SERVICE_PORT_6379_TCP",
  ]);
});

Deno.test("readVariables() makes two routes of TCP and UDP on one port, and ignores SCTP", () => {
  const { routes, ignored } = parse({
    DNS_PORT_53_UDP: "udp://192.0.2.10:53",
    DNS_PORT_53_TCP: "tcp://192.0.2.10:53",
    DNS_PORT_53_UDP_ADDR: "192.0.2.10",
    DNS_PORT_53_UDP_PROTO: "udp",
    SS7_PORT_99999_SCTP: "whatever",
  });
  assertEquals(routes.map(({ aliases, listen, targets }) => ({ aliases, listen, targets })), [
    {
      aliases: ["DNS"],
      listen: { protocol: "tcp", hostname: "::", port: 53 },
      targets: [{ protocol: "tcp", hostname: "192.0.2.10", port: 53 }],
    },
    {
      aliases: ["DNS"],
      listen: { protocol: "udp", hostname: "::", port: 53 },
      targets: [{ protocol: "udp", hostname: "192.0.2.10", port: 53 }],
    },
  ]);
  assertEquals(ignored, [
    { variable: "SS7_PORT_99999_SCTP", reason: "SCTP is not offered", asked: false },
  ]);
});

Deno.test("readVariables() says so where the port in a route's name is not a number", () => {
  const reason = "the port in its name is not a number";
  const { routes, ignored } = parse({
    REDIS_PORT_637O_TCP: "tcp://h:1",
    R_PORT__TCP: "TCP://h:1",
    r_port_redis_tcp: "tcp://nonsense",
    "X_PORT_-1_TCP": "tcp://h:1",
    KUBERNETES_PORT_https_TCP: "tcp://h:1",
    ASKED_PORT_x_TCP: "tcp://h:1",
    A_PORT_x_UDP: "udp://h:1",
    // Not meant as routes:
    A_PORT_x_TCP: "x",
    A_PORT_y_TCP: "",
    A_PORT_x_TCP_ADDR: "tcp://h:1",
    A_PORT_x_y_TCP: "tcp://h:1",
  }, { ignore: new Set(["ASKED"]) });
  assertEquals(routes, []);
  assertEquals(ignored, [
    { variable: "ASKED_PORT_x_TCP", reason: "left out by --ignore", asked: true },
    { variable: "A_PORT_x_UDP", reason, asked: false },
    {
      variable: "KUBERNETES_PORT_https_TCP",
      reason: "the Kubernetes API is left out unless --only names it",
      asked: false,
    },
    { variable: "REDIS_PORT_637O_TCP", reason, asked: false },
    { variable: "R_PORT__TCP", reason, asked: false },
    { variable: "X_PORT_-1_TCP", reason, asked: false },
    { variable: "r_port_redis_tcp", reason, asked: false },
  ]);
});

Deno.test("readVariables() takes an empty value as a route switched off", () => {
  const { routes, ignored } = parse({
    A_PORT_1_TCP: "",
    A_PORT_99999_TCP: "",
    B_PORT_1_TCP: "tcp://b:2",
  });
  assertEquals(show(routes), ["B [::]:1 b:2"]);
  assertEquals(ignored.map(({ reason, asked }) => [reason, asked]), [
    ["switched off by its empty value", true],
    ["switched off by its empty value", true],
  ]);
});

Deno.test("readVariables() ignores a name without an alias, and takes the longest alias", () => {
  const { routes, ignored } = parse({
    _PORT_1_TCP: "tcp://a:1",
    X_PORT_1_TCP_PORT_2_TCP: "tcp://a:1",
    "é x_PORT_3_TCP": "tcp://a:1",
  });
  assertEquals(routes.map(({ aliases, listen }) => [aliases, listen.port]), [
    [["X_PORT_1_TCP"], 2],
    [["É X"], 3],
  ]);
  assertEquals(ignored.map(({ reason }) => reason), ["no alias stands before _PORT_"]);
});

Deno.test("readVariables() says of each bad value what is wrong with it", () => {
  const cases = {
    "tcp://": "a target is missing",
    "tcp://a": "the port is missing",
    "tcp://a:": "the port is missing",
    "tcp://:1": "the host is missing",
    "tcp://a:0": "the port is not from 1 to 65535",
    "tcp://a:65536": "the port is not from 1 to 65535",
    "tcp://a:01": "the port has a leading zero",
    "tcp://a:x": "the port is not a number",
    "tcp://a:１": "the port is not a number",
    "tcp://::1:1": "an IPv6 address must stand in brackets",
    "tcp://[::1:1": "not an IPv6 address between the brackets",
    "tcp://999.0.0.1:1": "not an IPv4 address",
    "tcp://a b:1": "there is white space in it",
    "tcp://host:1 ": "there is white space in it",
    "tcp://host:1\n": "there is white space in it",
    "tcp://host:1\u2028": "there is white space in it",
    "tcp://a:1/": "something follows the port",
    "tcp://a:1/?x": "something follows the port",
    "tcp://a:1#x": "something follows the port",
    "tcp://tcp://a:1": "the scheme stands there twice",
    "tcp://$(id):1": "a variable in it has not been replaced",
    "tcp://a;id:1": "targets are separated by commas alone",
    "tcp://\ud800:1": "not a host name",
    'tcp://a:1"': "there is a quotation mark in it",
    "tcp://a:1,tcp://A:1": "the target a:1 stands there twice",
    "tcp://a:1?balance=leastconn": "balance: the route has one target",
    "tcp://a:1?fail-timeout=1s": "fail-timeout: the route has one target",
    "tcp://a:1?handshake-timeout=1s":
      "handshake-timeout: its clients begin with neither TLS nor a PROXY header (accept-proxy)",
    "tcp://a:1,": "nothing follows the last comma",
    "tcp://a:1,udp://b:1": "a route that listens by TCP leads to tcp:// and tls:// alone",
  };
  for (const [value, why] of Object.entries(cases)) {
    const [message = "", ...more] = messages({ A_PORT_6379_TCP: value });
    assertEquals(more, []);
    assert(message.startsWith('A_PORT_6379_TCP="tcp://'), message);
    assert(message.endsWith(`": ${why}`), message);
  }
});

Deno.test("readVariables() says of each bad port in a name what is wrong with it", () => {
  const cases = {
    A_PORT_0_TCP: "the port in its name is not from 1 to 65535",
    A_PORT_65536_TCP: "the port in its name is not from 1 to 65535",
    A_PORT_06379_TCP: "the port in its name has a leading zero",
    A_PORT_00_TCP: "the port in its name has a leading zero",
  };
  for (const [name, why] of Object.entries(cases)) {
    assertEquals(messages({ [name]: "tcp://a:1" }), [`${name}="tcp://a:1": ${why}`]);
  }
  assertEquals(parse({ A_PORT_65535_TCP: "tcp://a:65535" }).routes.length, 1);
});

Deno.test("readVariables() refuses a setting that can't act on a UDP route, or on any other", () => {
  const ofUdp = {
    "idle-timeout=1s": "idle-timeout: UDP has no connections: udp-timeout ends its sessions",
    "half-close-timeout=1s":
      "half-close-timeout: UDP has no half-closed connections: udp-timeout ends its sessions",
    "max-connections=1":
      "max-connections: UDP has no connections: max-sessions limits its sessions",
    "send-proxy=v1": "send-proxy: v1 knows no UDP: send-proxy=v2 does",
    "accept-proxy=10.0.0.0/8": "accept-proxy: the source of a datagram can be forged: " +
      "whoever says who a client is can't be known",
    "handshake-timeout=1s":
      "handshake-timeout: UDP clients begin with neither TLS nor a PROXY header",
    "tls-allow=web": "tls-allow: the route does not listen by TLS",
    "tls-name=a": "tls-name: no target of the route is a tls:// one",
    "starttls=postgres": "starttls: no target of the route is a tls:// one",
    "balance=leastconn": "balance: the route has one target",
    "fail-timeout=1s": "fail-timeout: the route has one target",
  };
  for (const [setting, why] of Object.entries(ofUdp)) {
    const value = `udp://a:53?allow=10.0.0.0/8,${setting}`;
    assertEquals(messages({ A_PORT_53_UDP: value }), [
      `A_PORT_53_UDP="udp://a:53?…": ${why}`,
    ]);
  }
  const ofOthers = {
    "udp-timeout=1s": "udp-timeout: the route is not a UDP one: idle-timeout ends its connections",
    "max-sessions=1":
      "max-sessions: the route is not a UDP one: max-connections limits its connections",
  };
  for (const [setting, why] of Object.entries(ofOthers)) {
    for (const [protocol, scheme] of [["TCP", "tcp"], ["TLS", "tcp"], ["TCP", "tls"]]) {
      const name = `A_PORT_1_${protocol}`;
      const value = `${scheme}://a:1?`;
      assertEquals(messages({ [name]: value + setting }), [`${name}="${value}…": ${why}`]);
    }
  }
});

Deno.test("readVariables() takes the settings that act on a UDP route", () => {
  const text = "connect-timeout=1s,retry=2s,balance=leastconn,fail-timeout=3s,udp-timeout=4s," +
    "max-sessions=5,allow=10.0.0.0/8,send-proxy=v2";
  const { routes } = parse({ A_PORT_53_UDP: `udp://a:53,b:53?${text}` });
  assertEquals(routes.map(({ settings }) => formatSettings(settings)), [text]);
  const { routes: [off] } = parse({ A_PORT_53_UDP: "udp://a:53?send-proxy=off,udp-timeout=0" });
  assertEquals([off?.settings.sendProxy, off?.settings.udpTimeoutMs], ["off", 0]);
});

Deno.test("readVariables() never shows a value that may hold a secret", () => {
  const values = [
    "hunter2",
    "hunter2@host:1",
    "http://hunter2:1",
    "postgres://user:hunter2@host:5432",
    " tcp://hunter2:1",
    "tcp:/hunter2",
    "tcp:hunter2",
    "xtcp://hunter2:1",
    "tcp://hunter2@host:1",
    "tcp://user:hunter2@host:1",
    "TCP://user:hunter2@host:1",
    "tcp://hunter2=x@host:1",
    "tcp://x=hunter2@host:1",
    "tcp://hunter2=hunter2@hunter2@host:1",
    "tcp://hunter2\n@host",
    "tcp://6379=hunter2@host:1",
    "tcp://host:1,postgres://h/hunter2",
  ];
  for (const value of values) {
    for (const { message, hint } of problems(() => parse({ A_PORT_1_TCP: value }))) {
      assert(!`${message} ${hint}`.includes("hunter2"), message);
      assertStringIncludes(message, "A_PORT_1_TCP=");
    }
  }
});

Deno.test("readVariables() reports everything that is wrong in one run", () => {
  const found = messages({
    A_PORT_0_TCP: "tcp://a:1",
    B_PORT_1_TCP: "secret",
    C_PORT_2_TCP: "tcp://c",
    D_PORT_3_TCP: "tcp://d:1",
    E_PORT_3_TCP: "tcp://e:1",
    F_PORT_4_TCP: "tcp://localhost:4",
    G_PORT_5_TCP: "tcp://g:5",
  });
  assertEquals(found, [
    'A_PORT_0_TCP="tcp://a:1": the port in its name is not from 1 to 65535',
    "B_PORT_1_TCP=(not shown): the value does not begin with tcp:// or tls://",
    'C_PORT_2_TCP="tcp://c": the port is missing',
    'F_PORT_4_TCP="tcp://localhost:4": the target is the route itself',
    "port 3: one address is wanted more than once: D_PORT_3_TCP ([::]:3=d:1), " +
    "E_PORT_3_TCP ([::]:3=e:1)",
  ]);
});

Deno.test("readVariables() refuses a target that is the route itself", () => {
  const hosts = ["127.0.0.1", "127.9.9.9", "0.0.0.0", "[::1]", "[::]", "LOCALHOST", "localhost."];
  for (const host of [...hosts, "[::ffff:127.0.0.1]", "[::1%1]", "redis.localhost"]) {
    const [message = ""] = messages({ A_PORT_6379_TCP: `tcp://${host}:6379` });
    assert(message.endsWith("the target is the route itself"), message);
    assertEquals(parse({ A_PORT_6379_TCP: `tcp://${host}:6380` }).routes.length, 1);
    const [datagrams = ""] = messages({ A_PORT_6379_UDP: `udp://${host}:6379` });
    assert(datagrams.endsWith("the target is the route itself"), datagrams);
  }
});

Deno.test("readVariables() keeps hostile names and values in one line and of bounded length", () => {
  const hostile = "A\nINFO  ready\x1b[2J\u202e\u2028";
  const environment = {
    [`${hostile}_PORT_1_TCP`]: `tcp://x\n${"y".repeat(1 << 20)}`,
    [`${"B".repeat(1 << 20)}_PORT_2_TCP`]: "x",
    [`C_PORT_${"3".repeat(1 << 20)}_TCP`]: "tcp://c:1",
    [`${hostile}D_PORT_4_TCP`]: "tcp://d:1",
    [`${hostile}E_PORT_4_TCP`]: "tcp://e:1",
  };
  const found = problems(() => parse(environment));
  assertEquals(found.length, 4);
  for (const { message, hint = "" } of found) {
    // deno-lint-ignore no-control-regex
    assert(!/[\x00-\x1f\u2028\u202e]/.test(message + hint), message);
    assert(message.length < 1000, `${message.length}`);
  }
});

Deno.test("readVariables() lets neither a link nor an alias be printed as it stands if it is not plain", () => {
  const { routes, ignored } = parse({
    "A\nB_NAME": "",
    "A\nB_ENV_X_PORT_1_TCP": "tcp://a:1",
    "C\nD_PORT_2_TCP": "tcp://a:1",
  });
  assertEquals(ignored[0]?.reason, 'copied from the environment of the link "A\\nB"');
  assertEquals(routes.map((route) => routeName(route, plain)), ['"C\\nD"']);
});

Deno.test("readVariables() reads names that mean something to JavaScript", () => {
  const { routes } = parse({
    __proto___PORT_1_TCP: "tcp://a:1",
    constructor_PORT_2_TCP: "tcp://a:1",
    toString_PORT_3_TCP: "tcp://hasownproperty:1",
    ["__proto__"]: "tcp://a:1",
  });
  assertEquals(routes.map((route) => routeName(route)), ["__PROTO__", "CONSTRUCTOR", "TOSTRING"]);
});

Deno.test("readVariables() orders routes by port and what is ignored by name", () => {
  const { routes, ignored } = parse({
    Z_PORT_10_TCP: "tcp://a:1",
    A_PORT_9_TCP: "tcp://a:1",
    M_PORT_100_TCP: "tcp://a:1",
    M_PORT_9_UDP: "udp://a:1",
    M_PORT_99_UDP: "udp://a:1",
    Y_PORT_1_SCTP: "x",
    B_PORT_2_SCTP: "x",
    a_PORT_2_SCTP: "x",
  });
  assertEquals(routes.map(({ listen: { port, protocol } }) => `${port}/${protocol}`), [
    "9/tcp",
    "9/udp",
    "10/tcp",
    "99/udp",
    "100/tcp",
  ]);
  assertEquals(ignored.map(({ variable }) => variable), [
    "B_PORT_2_SCTP",
    "Y_PORT_1_SCTP",
    "a_PORT_2_SCTP",
  ]);
});

/** What a random environment gives, errors included, as one text. */
function outcome(environment: Environment): string {
  try {
    return formatCommand(
      { ...parseCommand(["--help"], {}), ...parse(environment) },
      "json",
    ).text;
  } catch (error) {
    if (error instanceof ConfigError) return JSON.stringify(error.problems);
    throw error;
  }
}

Deno.test("readVariables() gives the same whatever the order of the environment", () => {
  const random = new Random();
  console.log(`seed ${random.seed}`);
  for (let round = 0; round < 100; round++) {
    const entries = Array.from({ length: 1 + random.below(30) }, () => {
      const alias = random.pick(["A", "a", "B", "B_ENV_C", "KUBERNETES", "D_SERVICE"]);
      const name = random.below(8) === 0
        ? `${alias}_NAME`
        : `${alias}_PORT_${random.below(12)}_${random.pick(["TCP", "tcp", "UDP"])}`;
      const host = random.pick(["a", "a", "a", "A", "b", "[::1]", "localhost", "u@h", ""]);
      return [name, random.pick(["tcp://", "TCP://", "udp://", ""]) + host + ":7"] as const;
    });
    const expected = outcome(Object.fromEntries(entries));
    const unique = Object.entries(Object.fromEntries(entries));
    assertEquals(outcome(Object.fromEntries(random.shuffled(unique))), expected);
  }
});

Deno.test("readVariables() reads back every route that is printed as a variable", () => {
  const random = new Random();
  console.log(`seed ${random.seed}`);
  const group = (): string => random.pick(["0", "0", "db8", random.below(65536).toString(16)]);
  const hosts = [
    (): string => Array.from({ length: 4 }, () => 1 + random.below(255)).join("."),
    (): string => `[2001:${Array.from({ length: 7 }, group).join(":")}]`,
    (): string => `h${random.below(1e6)}.${random.pick(["example", "Example.COM", "x_y-z"])}`,
  ];
  for (let round = 0; round < 300; round++) {
    const environment = Object.fromEntries(
      Array.from({ length: 1 + random.below(20) }, (_, index) => {
        const name = `${random.pick(["R", "my-svc", "é", "A_ENV_B"])}${index}_PORT_`;
        const listens = random.pick(["TCP", "TLS", "UDP"]);
        const schemes = listens === "UDP" ? ["udp"] : ["tcp", "tls"];
        const targets = Array.from(
          { length: 1 + random.below(3) },
          (_, at) =>
            `${random.pick(schemes)}://${random.pick(hosts)()}:${1 + 3 * at + random.below(3)}`,
        );
        // One port for each variable: a chance conflict is another test.
        const port = 1 + index * 3000 + random.below(3000);
        return [`${name}${port}_${listens}`, targets.join(",")];
      }),
    );
    const { routes } = parse(environment);
    const printed = Object.fromEntries(
      routes.flatMap(({ aliases, listen, targets }) =>
        aliases.map((alias) => [
          `${alias}_PORT_${listen.port}_${listen.protocol}`,
          formatTargets(targets).replace(/^(?!\w+:\/\/)/, "tcp://"),
        ])
      ),
    );
    assertEquals(parse(printed).routes, routes);
    assertEquals(routes.length, Object.keys(environment).length);
    const asArguments = routes.map(({ listen, targets }) =>
      `${formatListen(listen)}=${formatTargets(targets)}`
    );
    assertEquals(
      routesOfArguments(asArguments, { bind: "127.0.0.1" }),
      routes.map((route) => ({ ...route, aliases: [] })),
    );
  }
});

/** What Kubernetes gives a pod in a namespace with so many Services. */
function services(count: number): Record<string, string> {
  return Object.fromEntries(
    Array.from({ length: count }, (_, index) => {
      const name = `MY_SERVICE_${index}`;
      const target = `tcp://10.0.${index >> 8}.${index & 255}:${index + 1}`;
      const link = `${name}_PORT_${index + 1}_TCP`;
      return [
        [`${name}_SERVICE_HOST`, `10.0.${index >> 8}.${index & 255}`],
        [`${name}_SERVICE_PORT`, `${index + 1}`],
        [`${name}_PORT`, target],
        [link, target],
        [`${link}_PROTO`, "tcp"],
        [`${link}_PORT`, `${index + 1}`],
        [`${link}_ADDR`, `10.0.${index >> 8}.${index & 255}`],
      ];
    }).flat(),
  );
}

/** Runs `act` and fails if it takes as long as something that grows with the square would. */
function quickly(what: string, act: () => void): void {
  const start = performance.now();
  act();
  const ms = performance.now() - start;
  assert(ms < 500, `${what}: ${ms} ms`);
}

Deno.test("readVariables() reads thousands of variables in well under a second", () => {
  const environment = services(5000);
  quickly("35,000 variables of 5,000 Services", () => {
    assertEquals(parse(environment).routes.length, 5000);
  });
  const many = (variable: (index: number) => [string, string]): Record<string, string> =>
    Object.fromEntries(Array.from({ length: 5000 }, (_, index) => variable(index)));
  quickly("5,000 aliases of one route", () => {
    const { routes } = parse(many((index) => [`A${index}_PORT_1_TCP`, "tcp://a:1"]));
    assertEquals(routes[0]?.aliases.length, 5000);
  });
  quickly("5,000 targets of one port", () => {
    const found = messages(many((index) => [`A${index}_PORT_1_TCP`, `tcp://a:${index + 1}`]));
    assertEquals(found.length, 1);
  });
  quickly("5,000 bad values", () => {
    assertEquals(messages(many((index) => [`A${index}_PORT_1_TCP`, "tcp://"])).length, 5000);
  });
  quickly("5,000 copied variables of 5,000 links", () => {
    const copied = many((index) => [`A${index}_ENV_B_PORT_1_TCP`, "tcp://b:1"]);
    const { ignored } = parse({ ...copied, ...many((index) => [`A${index}_NAME`, "/a/b"]) });
    assertEquals(ignored.length, 5000);
  });
});

Deno.test("readVariables() takes no time for names and values of a megabyte", () => {
  for (const piece of ["_ENV_", "_PORT_1", "_PORT_1_TCP", "_NAME", "1", "@", "tcp://", ":", "["]) {
    const text = piece.repeat((1 << 20) / piece.length);
    quickly(piece, () => {
      outcome({ [`${text}_PORT_1_TCP`]: "tcp://a:1", B_NAME: "" });
      outcome({ [`${text}_NAME`]: "", [`${text}_ENV_B_PORT_1_TCP`]: "" });
      outcome({ [`A_PORT_${text}_TCP`]: "tcp://a:1", [text]: "" });
      outcome({ A_PORT_1_TCP: text, B_PORT_1_TCP: `tcp://${text}` });
    });
  }
});

Deno.test("readVariables() says what a value is that is shown to nobody", () => {
  const cases = {
    '"a:1"': "quotation marks stand around it",
    "'hunter2'": "quotation marks stand around it",
    "unix:///run/x.sock": "Unix sockets are not offered",
    "unix:/run/x.sock": "Unix sockets are not offered",
    "/run/x.sock": "Unix sockets are not offered",
    "./x.sock": "Unix sockets are not offered",
    "192.0.2.1:6379": "the value does not begin with tcp:// or tls://",
    "http://a:1": "http:// is no scheme of a target",
    "hunter2://a:1": "the scheme is not tcp, tls or udp",
  };
  for (const [value, why] of Object.entries(cases)) {
    assertEquals(messages({ A_PORT_1_TCP: value }), [`A_PORT_1_TCP=(not shown): ${why}`]);
  }
});

Deno.test("readVariables() listens as the name says, and connects as the value says", () => {
  const { routes } = parse({
    A_PORT_1_TLS: "tcp://a:1",
    B_PORT_2_tls: "tls://b:2",
    C_PORT_3_TCP: "TLS://c:3,d:3,tcp://e:3,f:3",
    D_PORT_3_udp: "UDP://c:3,d:3",
  });
  assertEquals(
    routes.map(({ listen, targets }) => `${formatListen(listen)} ${formatTargets(targets)}`),
    [
      "[::]:1/tls a:1",
      "[::]:2/tls tls://b:2",
      "[::]:3 tls://c:3,tls://d:3,tcp://e:3,tcp://f:3",
      "[::]:3/udp udp://c:3,udp://d:3",
    ],
  );
  const wrong = {
    D_PORT_4_TCP: "udp://d:4",
    E_PORT_5_TLS: "udp://e:5",
    F_PORT_6_UDP: "tcp://f:6",
    G_PORT_7_UDP: "udp://g:7,TLS://h:7",
    H_PORT_8_UDP: "h:8",
  };
  assertEquals(messages(wrong), [
    'D_PORT_4_TCP="udp://d:4": a route that listens by TCP leads to tcp:// and tls:// alone',
    'E_PORT_5_TLS="udp://e:5": a route that listens by TLS leads to tcp:// and tls:// alone',
    'F_PORT_6_UDP="tcp://f:6": a route that listens by UDP leads to udp:// alone',
    'G_PORT_7_UDP="udp://g:7,TLS://h:7": a route that listens by UDP leads to udp:// alone',
    "H_PORT_8_UDP=(not shown): the value does not begin with udp://",
  ]);
  const { ignored } = parse({ A_PORT_1_TLS: "", B_PORT_2_TLS: "x" }, { ignore: new Set(["B"]) });
  assertEquals(ignored.map(({ asked }) => asked), [true, true]);
});

Deno.test("readVariables() says where Kubernetes makes a plain twin of an encrypted route", () => {
  for (const value of ["tcp://a:1", "tls://a", "hunter2"]) {
    const environment = { REDIS_PORT_6380_TLS: value, REDIS_PORT_6380_TCP: "tcp://b:1" };
    const [problem, ...more] = problems(() => parse(environment));
    assertEquals(more, []);
    assertStringIncludes(problem?.hint ?? "", "REDIS_PORT_6380_TCP by itself");
    assertStringIncludes(problem?.hint ?? "", "enableServiceLinks: false");
  }
  const [alone] = problems(() => parse({ REDIS_PORT_6380_TLS: "tcp://a" }));
  assert(!alone?.hint?.includes("enableServiceLinks"));
});

Deno.test("readVariables() names what is nearly a route", () => {
  const { routes, ignored } = parse({
    REDIS_PORT_6379: "tcp://a:1",
    DB_5432_TCP: "tcp://a:1",
    "E\nF_PORT_1": "x",
    R_PORT_6380_SSL: "tcp://a:1",
    WEB_443_ssl: "tls://a:1",
    DNS_53_UDP: "udp://a:1",
    DNS_PORT_53: "UDP://a:1",
    // Of these nobody can tell, or they are known to be something else:
    OTHER_5432_TCP: "yes",
    EMPTY_PORT_1: "",
    A_PORT_6380_SSL: "yes",
    KUBERNETES_PORT_443: "tcp://a:1",
    LINK_NAME: "/a/link",
    LINK_ENV_X_PORT_8080: "8080",
    X_SERVICE_PORT_8080: "8080",
    REDIS_PORT: "tcp://a:1",
    SYSLOG_514_UDP: "yes",
  });
  assertEquals(routes, []);
  assertEquals(ignored.map(({ reason, asked }) => [reason, asked]), [
    ["not a route: did you mean DB_PORT_5432_TCP?", false],
    ["not a route: did you mean DNS_PORT_53_UDP?", false],
    ["not a route: did you mean DNS_PORT_53_UDP?", false],
    ['not a route: did you mean "E\\nF_PORT_1_TCP"?', false],
    ["not a route: did you mean REDIS_PORT_6379_TCP?", false],
    ["not a route: did you mean R_PORT_6380_TLS?", false],
    ["not a route: did you mean WEB_PORT_443_TLS?", false],
  ]);
});

Deno.test("aliasOf() gives the alias of a variable named like a route", () => {
  assertEquals(aliasOf("redis_PORT_6379_TCP"), "REDIS");
  assertEquals(aliasOf("DNS_PORT_53_udp"), "DNS");
  assertEquals(aliasOf("REDIS_PORT"), undefined);
  assertEquals(aliasOf("REDIS_PORT_6379_TCP_ADDR"), undefined);
});
