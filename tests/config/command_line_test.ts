import { NamePatterns } from "../../src/base/name_patterns.ts";
import { Networks, parseNetworks } from "../../src/base/networks.ts";
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { ConfigError, type Problem } from "../../src/base/errors.ts";
import { formatTargets } from "../../src/base/address.ts";
import { type Command, CommandError, parseCommand } from "../../src/config/command_line.ts";
import { COMMANDS, OPTIONS, type OptionSpec, SPECS, variableOf } from "../../src/config/options.ts";
import { warningOf } from "../../src/config/own_variables.ts";
import { DEFAULT_SETTINGS, formatSettings } from "../../src/config/settings.ts";
import type { Environment } from "../../src/config/variables.ts";
import "../helpers/mod.ts";
import { LINUX, needs } from "../helpers/needs.ts";

const ROUTE = "6379=192.0.2.10:6379";
const LINK = { REDIS_PORT_6379_TCP: "tcp://192.0.2.10:6379" };

function problems(args: readonly string[], environment: Environment = {}): readonly Problem[] {
  return assertThrows(() => parseCommand(args, environment), ConfigError).problems;
}

function messages(args: readonly string[], environment: Environment = {}): string[] {
  return problems(args, environment).map(({ message }) => message);
}

function settings({ warnings }: Command): string[] {
  return warnings.map(({ message }) => message);
}

Deno.test("parseCommand() forwards what the environment says where nothing is asked for", () => {
  const command = parseCommand([], LINK);
  assertEquals(command.name, "forward");
  assertEquals(command.routes.map(({ aliases }) => aliases), [["REDIS"]]);
  assertEquals(command.warnings, []);
  assertEquals(command.options, {
    bind: "::",
    only: undefined,
    ignore: undefined,
    routes: undefined,
    rewireTimeoutMs: 0,
    connectTimeoutMs: 10_000,
    retryMs: 0,
    balance: "first",
    failTimeoutMs: 10_000,
    halfCloseTimeoutMs: 0,
    idleTimeoutMs: 0,
    udpTimeoutMs: 60_000,
    maxConnections: 0,
    maxSessions: 4096,
    allow: Networks.ALL,
    sendProxy: "off",
    acceptProxy: Networks.NONE,
    handshakeTimeoutMs: 5000,
    tlsCert: undefined,
    tlsKey: undefined,
    tlsCa: undefined,
    tlsClientCa: undefined,
    tlsClient: "required",
    tlsAllow: NamePatterns.ANY,
    tlsName: undefined,
    starttls: "off",
    reusePort: false,
    drainTimeoutMs: 8000,
    drainDelayMs: 0,
    status: undefined,
    logLevel: "info",
    logFormat: "text",
    logConnections: false,
    format: "table",
    probe: false,
    timeoutMs: undefined,
  });
});

Deno.test("parseCommand() knows the commands wherever they stand", () => {
  for (const name of COMMANDS) {
    assertEquals(parseCommand([name], LINK).name, name);
    assertEquals(parseCommand(["--log-level", "debug", name], LINK).name, name);
  }
  assertEquals(parseCommand([ROUTE, "check"], {}).name, "check");
  assertEquals(messages(["check", "wait", ROUTE]), ["check and wait: one command at a time"]);
  assertEquals(messages(["check", "check", ROUTE]), ["check and check: one command at a time"]);
});

Deno.test("parseCommand() takes routes from arguments instead of the environment", () => {
  const environment = {
    A_PORT_1_TCP: "not looked at",
    B_PORT_2_TCP: "",
    C_PORT_6379_TCP: "tcp://c:1",
    D_PORT_4_TLS: "tcp://d:1",
    KUBERNETES_PORT_443_TCP: "tcp://192.0.2.1:443",
    NEAR_PORT_6379: "tcp://near:1",
  };
  const replaced = { reason: "replaced by the route arguments", asked: false };
  for (const args of [[ROUTE], ["check", ROUTE], ["wait", ROUTE], ["wait", "redis:6379"]]) {
    const command = parseCommand(args, environment);
    assertEquals(command.routes.length + command.bare.length, 1);
    assertEquals(command.ignored.map(({ variable }) => variable), [
      "A_PORT_1_TCP",
      "B_PORT_2_TCP",
      "C_PORT_6379_TCP",
      "D_PORT_4_TLS",
      "KUBERNETES_PORT_443_TCP",
    ]);
    for (const index of [0, 2, 3]) {
      assertEquals(command.ignored[index], {
        variable: "",
        ...command.ignored[index],
        ...replaced,
      });
    }
  }
  assertEquals(parseCommand(["--", ROUTE, "1=a:1"], {}).routes.length, 2);
});

Deno.test("parseCommand() asks nothing of the environment for healthcheck", () => {
  const command = parseCommand(["healthcheck", "--status", "127.0.0.1:8080"], {
    A_PORT_1_TCP: "x",
  });
  assertEquals(command.routes, []);
  assertEquals(command.options.status, { hostname: "127.0.0.1", port: 8080 });
  assertEquals(command.options.bind, "::");
});

Deno.test("parseCommand() lets nothing but --status and --timeout break healthcheck", () => {
  const environment = {
    AMBASSADOR_STATUS: "127.0.0.1:1",
    AMBASSADOR_BIND: "x",
    AMBASSADOR_TLS_CERT: "x",
    AMBASSADOR_TLS_CRT: "x",
    AMBASSADOR_BNID: "x",
    A_PORT_1_TCP: "x",
    B_PORT_2_TLS: "x",
    AMBASSADOR_ALLOW: "",
  };
  const args = [
    "healthcheck",
    "--bind",
    "y",
    "--tls-ca",
    "z",
    "--probe",
    "--bogus",
    ROUTE,
    "word",
    "check",
  ];
  const command = parseCommand(args, environment);
  assertEquals(command.options.status?.port, 1);
  assertEquals(settings(command), [
    '"--bogus": no such option',
    "healthcheck and check: one command at a time",
    "healthcheck: takes nothing but options",
    "--probe: only for check",
    "healthcheck: takes no routes",
    "AMBASSADOR_BNID: no such option; did you mean AMBASSADOR_BIND?",
  ]);
  assertEquals(messages(["healthcheck"], { ...environment, AMBASSADOR_STATUS: "x" }), [
    'AMBASSADOR_STATUS "x": the port is missing',
    "AMBASSADOR_BNID: no such option; did you mean AMBASSADOR_BIND?",
  ]);
  assertEquals(messages(["healthcheck", "--timeout", "soon"], {}).length, 1);
});

Deno.test("parseCommand() takes bare targets for wait alone, and its own port there", () => {
  const args = ["wait", "db:5432", "tcp://cache:6379?connect-timeout=2s", "1=localhost:1"];
  const { routes, bare } = parseCommand(args, {});
  assertEquals(bare.map(({ targets, settings }) => [formatTargets(targets), settings]), [
    ["db:5432", DEFAULT_SETTINGS],
    ["cache:6379", { ...DEFAULT_SETTINGS, connectTimeoutMs: 2000 }],
  ]);
  assertEquals(routes.map(({ targets }) => formatTargets(targets)), ["localhost:1"]);
  const datagrams = parseCommand(["wait", "udp://a:1,b:2?retry=1s", "53/udp=localhost:53"], {});
  assertEquals(datagrams.bare.map(({ targets }) => formatTargets(targets)), [
    "udp://a:1,udp://b:2",
  ]);
  assertEquals(datagrams.routes.map(({ targets }) => formatTargets(targets)), [
    "udp://localhost:53",
  ]);
  const environment = { A_PORT_1_TCP: "tcp://localhost:1", AMBASSADOR_STATUS: "127.0.0.1:1" };
  assertEquals(parseCommand(["wait"], environment).routes.length, 1);
  for (const command of [[], ["check"]]) {
    assertEquals(messages([...command, "db:5432", ROUTE]), [
      '"db:5432": a target alone is no route',
    ]);
    assertEquals(messages([...command, "1=localhost:1"]).length, 1);
  }
  assertEquals(messages(["wait", "db", ROUTE]), ['"db": neither a command nor a route']);
  assertEquals(messages(["wait", "db:0", "tls://a:1,udp://db:1", "http://a:1", "a:1,a:1"]), [
    '"db:0": the port is not from 1 to 65535',
    '"tls://a:1,udp://db:1": only tcp:// and tls:// may stand here',
    '"http://a:1": http:// is no scheme of a target',
    '"a:1,a:1": the target a:1 stands there twice',
  ]);
});

Deno.test(
  "parseCommand() takes an option that needs no value with and without one",
  needs(LINUX),
  () => {
    const AMBASSADOR_REUSE_PORT = "1";
    const cases: [args: string[], environment: Environment, isOn: boolean][] = [
      [[], {}, false],
      [["--reuse-port"], {}, true],
      [["--reuse-port=on"], {}, true],
      [["--reuse-port=off"], {}, false],
      [["--reuse-port", "--reuse-port=off"], {}, false],
      [[], { AMBASSADOR_REUSE_PORT }, true],
      [[], { AMBASSADOR_REUSE_PORT: "" }, false],
      [["--reuse-port=off"], { AMBASSADOR_REUSE_PORT }, false],
      [["--reuse-port", "check"], {}, true],
      [["wait", "--reuse-port"], {}, true],
      [["--reuse-port", "--bind", "::1"], {}, true],
    ];
    for (const [args, environment, isOn] of cases) {
      const { options, routes } = parseCommand([...args, ROUTE], environment);
      assertEquals(options.reusePort, isOn, args.join(" "));
      assertEquals(routes.length, 1);
    }
    // What follows is a word of its own.
    assertEquals(messages(["--reuse-port", "on", ROUTE]), ['"on": neither a command nor a route']);
    assertEquals(messages(["--reuse-port=", ROUTE]), ["--reuse-port: the value is missing"]);
    assertEquals(messages([ROUTE], { AMBASSADOR_REUSE_PORT: "2" }), [
      'AMBASSADOR_REUSE_PORT "2": not one of on, off',
    ]);
    assertEquals(messages([`${ROUTE}?reuse-port=on`]).length, 1);
  },
);

Deno.test(
  "parseCommand() refuses one address twice, also where ports are shared",
  needs(LINUX),
  () => {
    const pairs = [
      ["127.0.0.1:1=a:1", "127.0.0.1:1=b:1"],
      ["1=a:1", "127.0.0.1:1=b:1"],
      ["0.0.0.0:1=a:1", "127.0.0.1:1=b:1"],
      ["[::]:1=a:1", "0.0.0.0:1=b:1"],
      ["localhost:1=a:1", "[::1]:1=b:1"],
      ["1=a:1", "--status=127.0.0.1:1"],
    ];
    for (const pair of pairs) {
      const [message = "", ...more] = messages(["--reuse-port", ...pair]);
      assertStringIncludes(message, "port 1: one address is wanted more than once");
      assertEquals(more, []);
    }
  },
);

Deno.test("parseCommand() adds lists up within one source, and lets arguments replace variables", () => {
  const only = (args: string[], environment: Environment = {}): unknown =>
    parseCommand([...args, ROUTE], environment).options.only;
  assertEquals(only(["--only", "A", "--only=B,C"]), new Set(["A", "B", "C"]));
  assertEquals(only(["--only", "A"], { AMBASSADOR_ONLY: "B" }), new Set(["A"]));
  assertEquals(only([], { AMBASSADOR_ONLY: "B,C" }), new Set(["B", "C"]));
  assertEquals(messages(["--only", "A", "--only=", ROUTE]), ["--only: the value is missing"]);
  const last = parseCommand(["--retry", "1s", "--retry=2s", ROUTE], {});
  assertEquals(last.options.retryMs, 2000);
});

Deno.test("parseCommand() gives a route's setting precedence, and keeps both limits of clients", () => {
  const args = ["--retry", "1s", "--max-connections", "9", "1=a:1?retry=5s,max-connections=2"];
  const { routes, options } = parseCommand([...args, "2=a:2"], { AMBASSADOR_IDLE_TIMEOUT: "3s" });
  assertEquals(routes.map(({ settings }) => settings), [
    { ...DEFAULT_SETTINGS, idleTimeoutMs: 3000, retryMs: 5000, maxConnections: 2 },
    { ...DEFAULT_SETTINGS, idleTimeoutMs: 3000, retryMs: 1000 },
  ]);
  assertEquals([options.maxConnections, options.retryMs], [9, 1000]);
});

Deno.test("parseCommand() refuses a status page where a route listens", () => {
  const wanted = 'port 1: one address is wanted more than once: argument "1=a:1" ([::]:1=a:1), ' +
    "--status (127.0.0.1:1)";
  for (const command of [[], ["check"]]) {
    assertEquals(messages([...command, "1=a:1", "--status", "127.0.0.1:1"]), [wanted]);
  }
  const apart = ["1=a:1", "--bind", "127.0.0.2", "--status", "127.0.0.1:1"];
  assertEquals(parseCommand(apart, {}).routes.length, 1);
  // It speaks TCP, and takes no port of UDP.
  assertEquals(parseCommand(["1/udp=a:1", "--status", "[::]:1"], {}).routes.length, 1);
  const both = ["1=a:1", "1/udp=a:1", "2=x", "--status", "127.0.0.1:1"];
  const error = assertThrows(() => parseCommand(both, {}), CommandError);
  assertEquals(error.faults[1]?.message, wanted);
  assertEquals(error.routes.map(({ listen }) => listen.protocol), ["udp"]);
});

Deno.test("parseCommand() shows help and version whatever else is there", () => {
  const broken = { A_PORT_1_TCP: "x", AMBASSADOR_RETRY: "x" };
  for (const args of [["--help"], ["-h"], ["check", "-h"], ["--bogus", "--help"], ["-h", "x"]]) {
    assertEquals(parseCommand(args, broken).name, "help");
  }
  assertEquals(parseCommand(["--version"], broken).name, "version");
  assertEquals(parseCommand(["-V"], broken).name, "version");
  assertEquals(parseCommand(["--version", "--help"], broken).name, "help");
  assertEquals(parseCommand(["--help=false", ROUTE], {}).name, "forward");
  assertEquals(parseCommand(["--", ROUTE], {}).name, "forward");
});

/** For each option that the environment knows: a text, another one, and their values. */
const VALUES: Readonly<Record<string, readonly [string, string, unknown, unknown]>> = {
  bind: ["127.0.0.1", "::1", "127.0.0.1", "::1"],
  only: ["redis", "REDIS,DB", new Set(["REDIS"]), new Set(["REDIS", "DB"])],
  ignore: ["b", "B, c", new Set(["B"]), new Set(["B", "C"])],
  routes: ["/etc/routes", "my routes.env", { path: "/etc/routes" }, { path: "my routes.env" }],
  rewireTimeoutMs: ["1m", "0", 60_000, 0],
  connectTimeoutMs: ["5s", "5ms", 5000, 5],
  retryMs: ["1m", "2", 60_000, 2000],
  balance: ["leastconn", "RoundRobin", "leastconn", "roundrobin"],
  failTimeoutMs: ["5s", "0", 5000, 0],
  halfCloseTimeoutMs: ["1h", "0", 3_600_000, 0],
  idleTimeoutMs: ["1h", "0", 3_600_000, 0],
  udpTimeoutMs: ["1h", "0", 3_600_000, 0],
  maxConnections: ["1", "999999999", 1, 999_999_999],
  maxSessions: ["0", "999999999", 0, 999_999_999],
  allow: [
    "10.0.0.0/8",
    "10.0.0.0/8,::1",
    parseNetworks("10.0.0.0/8"),
    parseNetworks("10.0.0.0/8,::1"),
  ],
  sendProxy: ["v1", "V2", "v1", "v2"],
  acceptProxy: ["::1", "::1,10.0.0.1", parseNetworks("::1"), parseNetworks("::1,10.0.0.1")],
  handshakeTimeoutMs: ["1s", "0", 1000, 0],
  drainTimeoutMs: ["0", "20s", 0, 20_000],
  drainDelayMs: ["5s", "0s", 5000, 0],
  status: ["127.0.0.1:1", "[::1]:2", { hostname: "127.0.0.1", port: 1 }, {
    hostname: "::1",
    port: 2,
  }],
  logLevel: ["debug", "Error", "debug", "error"],
  logFormat: ["json", "TEXT", "json", "text"],
};

Deno.test("parseCommand() takes each option from its argument, else its variable, else its default", () => {
  const rows: readonly [string, OptionSpec][] = Object.entries(OPTIONS);
  const shared = rows.filter(([, { commands, kind }]) =>
    (commands?.includes("forward") ?? true) && kind.alone === undefined
  ).filter(([key]) => !/^(?:tls|starttls)/.test(key));
  assertEquals(Object.keys(VALUES), shared.map(([key]) => key));
  for (const [key, spec] of shared as [keyof typeof OPTIONS, OptionSpec][]) {
    const [first = "", second = "", firstValue, secondValue] = VALUES[key] ?? [];
    const env = { ...LINK, [variableOf(spec.name)]: first };
    const value = (args: string[], environment: Environment): unknown =>
      parseCommand(args, environment).options[key];
    const standard = value([], LINK);
    assertEquals(value([], env), firstValue);
    assertEquals(value([`--${spec.name}`, second], env), secondValue);
    assertEquals(value([`--${spec.name}=${second}`], env), secondValue);
    assertEquals(value([`--${spec.name}=${first}`, `--${spec.name}`, second], LINK), secondValue);
    // Compose passes a variable on that is unset as an empty one.
    const empty = { ...LINK, [variableOf(spec.name)]: "" };
    if (!spec.protects) assertEquals(value([], empty), standard);
    else assertEquals(messages([], empty), [`${variableOf(spec.name)}: the value is missing`]);
    assertEquals(
      parseCommand([], env).warnings,
      key === "ignore" ? [warningOf("--ignore", "no variable has the alias B")] : [],
    );
  }
});

Deno.test("parseCommand() gives a route of an option only what acts on it", () => {
  const args = ["--balance=leastconn", "--fail-timeout=1s", "--handshake-timeout=2s"];
  const settingsOfRoute = (route: string): string => {
    const [only] = parseCommand([...args, route], {}).routes;
    return only === undefined ? "" : formatSettings(only.settings);
  };
  assertEquals(settingsOfRoute("1=a:1"), "");
  assertEquals(settingsOfRoute("1=a:1,b:1"), "balance=leastconn,fail-timeout=1s");
  assertEquals(
    settingsOfRoute("1=a:1?accept-proxy=10.0.0.1"),
    "accept-proxy=10.0.0.1,handshake-timeout=2s",
  );
});

Deno.test("parseCommand() gives a UDP route of an option only what acts on it", () => {
  const args = [
    ...["--idle-timeout=1s", "--half-close-timeout=1s", "--max-connections=1", "--send-proxy=v2"],
    ...["--accept-proxy=10.0.0.1", "--handshake-timeout=1s", "--udp-timeout=2s"],
    ...["--max-sessions=7", "--connect-timeout=3s", "--retry=4s", "--allow=10.0.0.0/8"],
  ];
  const { routes, options } = parseCommand([...args, "1=a:1", "1/udp=a:1"], {});
  const common = (own: string): string => `connect-timeout=3s,retry=4s,${own},send-proxy=v2`;
  assertEquals(routes.map(({ settings }) => formatSettings(settings)), [
    common("half-close-timeout=1s,idle-timeout=1s,allow=10.0.0.0/8") +
    ",accept-proxy=10.0.0.1,handshake-timeout=1s",
    common("udp-timeout=2s,allow=10.0.0.0/8"),
  ]);
  assertEquals(options.maxSessions, 7);
  const [one, own] = parseCommand(["--send-proxy=v1", "1/udp=a:1", "2/udp=a:1?max-sessions=9"], {})
    .routes.map(({ settings }) => settings);
  assertEquals([one?.sendProxy, one?.maxSessions, own?.maxSessions], ["off", 0, 9]);
});

Deno.test(
  "parseCommand() warns of an option that looks as if it held for UDP routes too",
  needs(LINUX),
  () => {
    const routes = ["1=a:1", "2/udp=a:2", "3/udp=a:3?send-proxy=v2"];
    const both = "2 UDP routes (2, 3)";
    const cases: [option: string, text: string, warning: string][] = [
      ["send-proxy", "v1", "UDP route 2: v1 knows no UDP, v2 does"],
      ["accept-proxy", "10.0.0.1", `${both}: the source of a datagram can be forged`],
      ["max-connections", "9", `${both}: --max-sessions limits UDP`],
      [
        "reuse-port",
        "on",
        `${both}: the system would spread the datagrams of one client over all processes`,
      ],
    ];
    for (const [option, text, warning] of cases) {
      const argument = parseCommand([`--${option}=${text}`, ...routes], {});
      assertEquals(settings(argument), [`--${option}: no effect on ${warning}`]);
      assertEquals(argument.warnings.map(({ event }) => event), ["warning"]);
      const variable = variableOf(option);
      assertEquals(settings(parseCommand(routes, { [variable]: text })), [
        `${variable}: no effect on ${warning}`,
      ]);
      assertEquals(parseCommand([`--${option}=${text}`, "1=a:1"], {}).warnings, []);
      assertEquals(parseCommand(["wait", `--${option}=${text}`, ...routes], {}).warnings, []);
    }
    for (
      const option of ["send-proxy=v2", "send-proxy=off", "accept-proxy=off", "idle-timeout=1"]
    ) {
      assertEquals(parseCommand([`--${option}`, ...routes], {}).warnings, [], option);
    }
    const many = Array.from({ length: 9 }, (_, index) => `${index + 1}/udp=a:1`);
    assertEquals(settings(parseCommand(["--max-connections=1", ...many], {})), [
      "--max-connections: no effect on 9 UDP routes (1, 2, 3, 4, 5, …): --max-sessions limits UDP",
    ]);
    assertEquals(parseCommand(["--reuse-port=off", ...many], {}).warnings, []);
  },
);

Deno.test("parseCommand() names the argument or the variable whose value is wrong", () => {
  const cases: [string, string, string][] = [
    ["bind", "redis", "not an IP address"],
    ["bind", "[::1", "not an IPv6 address between the brackets"],
    ["bind", "127.0.0.1:80", "an address without a port is wanted"],
    ["only", "A,,B", "an alias is missing"],
    ["ignore", ",", "an alias is missing"],
    ["connect-timeout", "5x", "not a duration such as 500ms, 10s, 5m or 1h"],
    ["retry", "-1", "not a duration such as 500ms, 10s, 5m or 1h"],
    ["half-close-timeout", "25d", "not a duration such as 500ms, 10s, 5m or 1h"],
    ["idle-timeout", "600h", "longer than 24 days"],
    ["drain-timeout", "0.1ms", "shorter than 1ms"],
    ["drain-delay", "1 s", "not a duration such as 500ms, 10s, 5m or 1h"],
    ["max-connections", "1.5", "not a whole number"],
    ["max-connections", "-1", "not a whole number"],
    ["max-connections", "1e3", "not a whole number"],
    ["udp-timeout", "5x", "not a duration such as 500ms, 10s, 5m or 1h"],
    ["max-sessions", "many", "not a whole number"],
    ["status", "8080", "the address is missing"],
    ["status", "redis:8080", "not an IP address"],
    ["status", "127.0.0.1:0", "the port is not from 1 to 65535"],
    ["log-level", "verbose", "not one of debug, info, warn, error"],
    ["log-format", "xml", "not one of text, json"],
  ];
  for (const [name, text, why] of cases) {
    const shown = `${JSON.stringify(text)}: ${why}`;
    assertEquals(messages([`--${name}=${text}`, ROUTE]), [`--${name} ${shown}`]);
    const variable = variableOf(name);
    assertEquals(messages([ROUTE], { [variable]: text }), [`${variable} ${shown}`]);
    // A wrong variable does not matter where an argument is there.
    const [good = ""] = VALUES[keyOf(name)] ?? [];
    assertEquals(parseCommand([ROUTE, `--${name}`, good], { [variable]: text }).name, "forward");
  }
});

function keyOf(name: string): string {
  return Object.entries(OPTIONS).find(([, spec]) => spec.name === name)?.[0] ?? "";
}

Deno.test("parseCommand() wants a value for every option that has one", () => {
  for (const { name, commands } of SPECS.filter(({ kind }) => kind.alone === undefined)) {
    const [command] = commands ?? [];
    const isWord = command !== undefined && command !== "forward" && command !== "healthcheck";
    const before = isWord ? [command] : [];
    const missing = [`--${name}: the value is missing`];
    assertEquals(messages([...before, ROUTE, `--${name}`]), missing);
    assertEquals(messages([...before, `--${name}=`, ROUTE]), missing);
    assertEquals(messages([...before, ROUTE, `--${name}`, "--version=false"]), missing);
    assertEquals(messages([...before, `--${name}`, "--", ROUTE]), missing);
    assertEquals(messages([...before, ROUTE, `--${name}`, ""]), missing);
    assertEquals(messages([...before, `--${name}`, "", ROUTE]), missing);
  }
});

Deno.test("parseCommand() takes what begins like a negative number as the value of its option", () => {
  const why = "not a duration such as 500ms, 10s, 5m or 1h";
  assertEquals(messages(["--drain-timeout", "-5s", ROUTE]), [`--drain-timeout "-5s": ${why}`]);
  assertEquals(messages([ROUTE, "--retry", "-1", "--idle-timeout", "-2"]), [
    `--retry "-1": ${why}`,
    `--idle-timeout "-2": ${why}`,
  ]);
  assertEquals(messages(["--max-connections", "-1", ROUTE]), [
    '--max-connections "-1": not a whole number',
  ]);
  // What an option can't have taken is still a thing of its own.
  assertEquals(messages(["--retry=1s", "-1", ROUTE]), ['"-1": no such option']);
  assertEquals(messages(["--help=false", "", ROUTE]), ['"": an empty argument']);
  assertEquals(messages([ROUTE, "--", "--retry", "-1"]), [
    '"--retry", "-1": neither a command nor a route',
  ]);
});

Deno.test("parseCommand() names the option that was probably meant", () => {
  const cases: [string, string, string][] = [
    ["--bnid", '"--bnid": no such option', "did you mean --bind?"],
    [
      "--conect-timeout=5s",
      '"--conect-timeout": no such option',
      "did you mean --connect-timeout?",
    ],
    ["--hlep", '"--hlep": no such option', "did you mean --help?"],
    ["--tls-crt", '"--tls-crt": no such option', "did you mean --tls-cert?"],
    ["--no-help", '"--no-help": no such option', "did you mean --help?"],
    ["--bind.x", '"--bind.x": no such option', "did you mean --bind?"],
    ["--BIND", '"--BIND": no such option', "did you mean --bind?"],
    ["-x", '"-x": no such option', "ambassador --help lists the options"],
    ["-hx", '"-h…": no such option', "ambassador --help lists the options"],
    ["-h=false", '"-h": no such option', "ambassador --help lists the options"],
    ["-1", '"-1": no such option', "ambassador --help lists the options"],
    ["---", '"---": no such option', "ambassador --help lists the options"],
    ["--__proto__", '"--__proto__": no such option', "ambassador --help lists the options"],
    ["--constructor=x", '"--constructor": no such option', "ambassador --help lists the options"],
    ["--x\nString", '"--x": no such option', "ambassador --help lists the options"],
  ];
  for (const [argument, message, hint] of cases) {
    assertEquals(problems([argument, ROUTE]), [{ message, hint }]);
    assertEquals(problems([ROUTE, argument]), [{ message, hint }]);
  }
});

Deno.test("parseCommand() says of a word that is neither a command nor a route what it may be", () => {
  const route = "a route is written LISTEN=TARGET, for example 6379=redis:6379";
  const cases: [string, string, string][] = [
    ["chekc", '"chekc": neither a command nor a route', "did you mean check?"],
    ["redis:6379", '"redis:6379": a target alone is no route', "write 6379=redis:6379"],
    ["-", '"-": neither a command nor a route', route],
    ["", '"": an empty argument', "leave it out; usually a ${VARIABLE} is not set"],
    ["user:hunter2@host", '"***@host": neither a command nor a route', route],
    [
      "a\nb",
      '"a\\nb": there is white space in it',
      "leave out the white space, or the quotation marks around all of it",
    ],
  ];
  for (const [word, message, hint] of cases) {
    assertEquals(problems([ROUTE, word]), [{ message, hint }]);
  }
  assertEquals(messages(["--", "--bind", ROUTE]), ['"--bind": neither a command nor a route']);
});

Deno.test("parseCommand() reports the problems of arguments, options and routes in one run", () => {
  const environment = { A_PORT_1_TCP: "x", B_PORT_2_TCP: "tcp://b", AMBASSADOR_RETRY: "x" };
  assertEquals(messages(["nonsense", "--bogus", "--bind", "x"], environment), [
    '"--bogus": no such option',
    '"nonsense": neither a command nor a route',
    '--bind "x": not an IP address',
    'AMBASSADOR_RETRY "x": not a duration such as 500ms, 10s, 5m or 1h',
    "A_PORT_1_TCP=(not shown): the value does not begin with tcp:// or tls://",
    'B_PORT_2_TCP="tcp://b": the port is missing',
  ]);
  assertEquals(messages(["1=", "2=x"]).length, 2);
});

Deno.test("parseCommand() takes format and timeout where they mean something only", () => {
  assertEquals(parseCommand(["check", "--format", "JSON", ROUTE], {}).options.format, "json");
  assertEquals(parseCommand(["wait", "--timeout", "5", ROUTE], {}).options.timeoutMs, 5000);
  assertEquals(parseCommand(["healthcheck", "--timeout=1s"], {}).options.timeoutMs, 1000);
  for (const command of [[], ["wait"]]) {
    assertEquals(messages([...command, "--format", "json"], LINK), ["--format: only for check"]);
  }
  for (const command of [[], ["check"]]) {
    const found = messages([...command, "--timeout", "1s", ROUTE]);
    assertEquals(found, ["--timeout: only for wait and healthcheck"]);
  }
  assertEquals(messages(["check", "--format", "xml", ROUTE]), [
    '--format "xml": not one of table, json, socat',
  ]);
  const pod = { ...LINK, AMBASSADOR_FORMAT: "JSON", AMBASSADOR_TIMEOUT: "5s" };
  for (const command of COMMANDS) {
    const { options, warnings } = parseCommand([command], pod);
    assertEquals(options.format, command === "check" ? "json" : "table");
    assertEquals(options.timeoutMs, command === "check" ? undefined : 5000);
    assertEquals(warnings, []);
  }
  assertEquals(parseCommand(["check", "--format", "socat"], pod).options.format, "socat");
  assertEquals(parseCommand(["wait", "--timeout", "1s"], pod).options.timeoutMs, 1000);
  // A pod sets one environment for all its commands: what is not theirs does not concern them.
  const wrong = { ...LINK, AMBASSADOR_FORMAT: "xml", AMBASSADOR_TIMEOUT: "soon" };
  assertEquals(parseCommand([], wrong).warnings, []);
  assertEquals(messages(["check"], wrong), [
    'AMBASSADOR_FORMAT "xml": not one of table, json, socat',
  ]);
  assertEquals(messages(["wait"], wrong), [
    'AMBASSADOR_TIMEOUT "soon": not a duration such as 500ms, 10s, 5m or 1h',
  ]);
});

Deno.test("parseCommand() warns of an unknown AMBASSADOR_ variable with the nearest name", () => {
  const command = parseCommand([], {
    ...LINK,
    AMBASSADOR_CONECT_TIMEOUT: "5s",
    AMBASSADOR_LOGLEVEL: "debug",
    AMBASSADOR_SERVICE: "x",
    AMBASSADOR_MAX_CONN: "x",
    AMBASSADOR_: "x",
    "AMBASSADOR_\n\x1b": "hunter2",
    AMBASSADORS: "x",
  });
  const found = settings(command);
  assertEquals(found.slice(2), [
    "AMBASSADOR_CONECT_TIMEOUT: no such option; did you mean AMBASSADOR_CONNECT_TIMEOUT?",
    "AMBASSADOR_LOGLEVEL: no such option; did you mean AMBASSADOR_LOG_LEVEL?",
    "AMBASSADOR_MAX_CONN: no such option; did you mean AMBASSADOR_MAX_CONNECTIONS?",
    "AMBASSADOR_SERVICE: no such option; the nearest is AMBASSADOR_BALANCE",
  ]);
  assertStringIncludes(found[0] ?? "", "AMBASSADOR_: no such option; the nearest is AMBASSADOR_");
  assertStringIncludes(found[1] ?? "", '"AMBASSADOR_\\n\\u001b": no such option; the nearest is ');
});

Deno.test("parseCommand() warns of what has no effect also where something else is wrong", () => {
  const environment = {
    AMBASSADOR_IGNROE: "B",
    A_PORT_1_TCP: "tcp://x:1",
    B_PORT_1_TCP: "tcp://y:1",
  };
  const warning = "AMBASSADOR_IGNROE: no such option; did you mean AMBASSADOR_IGNORE?";
  assertEquals(messages(["--ignore", "C"], environment), [
    "port 1: one address is wanted more than once: A_PORT_1_TCP ([::]:1=x:1), " +
    "B_PORT_1_TCP ([::]:1=y:1)",
    warning,
    "--ignore: no variable has the alias C",
  ]);
});

Deno.test("parseCommand() knows what Docker and Kubernetes make of a service called ambassador", () => {
  const environment = {
    AMBASSADOR_NAME: "/consumer/ambassador",
    AMBASSADOR_ENV_VERSION: "1",
    AMBASSADOR_PORT: "tcp://192.0.2.10:6379",
    AMBASSADOR_PORT_6379_TCP: "tcp://192.0.2.10:6379",
    AMBASSADOR_PORT_6379_TCP_ADDR: "192.0.2.10",
    AMBASSADOR_PORT_6379_TCP_PORT: "6379",
    AMBASSADOR_PORT_6379_TCP_PROTO: "tcp",
    AMBASSADOR_PORT_6379_UDP: "udp://192.0.2.10:6379",
    AMBASSADOR_PORT_6379_UDP_PROTO: "udp",
    AMBASSADOR_UDP_SERVICE_HOST: "192.0.2.10",
    AMBASSADOR_UDP_PORT_53_UDP: "udp://192.0.2.10:53",
    AMBASSADOR_UDP_PORT_53_UDP_ADDR: "192.0.2.10",
    AMBASSADOR_SERVICE_HOST: "192.0.2.10",
    AMBASSADOR_SERVICE_PORT: "6379",
    AMBASSADOR_SERVICE_PORT_REDIS: "6379",
    AMBASSADOR_DB_SERVICE_HOST: "192.0.2.11",
    AMBASSADOR_DB_PORT_5432_TCP: "tcp://192.0.2.11:5432",
    AMBASSADOR_DB_PORT_5432_TCP_ADDR: "192.0.2.11",
  };
  const command = parseCommand([], environment);
  assertEquals(command.warnings, []);
  assertEquals(command.routes.map(({ aliases: [alias], listen }) => [alias, listen.protocol]), [
    ["AMBASSADOR_UDP", "udp"],
    ["AMBASSADOR_DB", "tcp"],
    ["AMBASSADOR", "tcp"],
    ["AMBASSADOR", "udp"],
  ]);
  const mistaken = parseCommand([], { ...environment, AMBASSADOR_RETRYY: "5s" });
  assertEquals(settings(mistaken), [
    "AMBASSADOR_RETRYY: no such option; did you mean AMBASSADOR_RETRY?",
  ]);
});

Deno.test("parseCommand() warns of an alias that no variable has", () => {
  const args = ["--only", "redis,rdis", "--ignore", "x,ka\nfka"];
  assertEquals(settings(parseCommand(args, LINK)), [
    "--only: no variable has the alias RDIS; did you mean REDIS?",
    "--ignore: no variable has the alias X",
    '--ignore: no variable has the alias "KA\\nFKA"',
  ]);
  assertEquals(parseCommand([...args, ROUTE], LINK).warnings, []);
});

Deno.test("parseCommand() says what it looked for where there is no route", () => {
  const [problem, ...more] = problems([], { PATH: "/bin" });
  assertEquals(more, []);
  assertEquals(
    problem?.message,
    "nothing to forward: no variable is named <ALIAS>_PORT_<port>_TCP (or _TLS, _UDP)",
  );
  assertStringIncludes(problem?.hint ?? "", "REDIS_PORT_6379_TCP=tcp://192.0.2.10:6379");
  assertStringIncludes(problem?.hint ?? "", "Docker 29 and later set no link variables");
  assertEquals(messages(["--only", "redis,db"]), [
    "nothing to forward: no variable is named REDIS_PORT_<port>_TCP or DB_PORT_<port>_TCP " +
    "(or _TLS, _UDP)",
  ]);
  assertEquals(messages(["wait"], { KUBERNETES_PORT_443_TCP: "tcp://192.0.2.1:443" }), [
    "nothing to wait for: no variable named <ALIAS>_PORT_<port>_TCP (or _TLS, _UDP) is left " +
    "(1 ignored: KUBERNETES_PORT_443_TCP, the Kubernetes API is left out unless --only names it)",
  ]);
});

Deno.test("parseCommand() lets check show what is ignored where no route is left", () => {
  const environment = { A_PORT_1_TCP: "", B_PORT_2_SCTP: "sctp://b:2" };
  const command = parseCommand(["check"], environment);
  assertEquals(command.routes, []);
  assertEquals(command.ignored.map(({ variable }) => variable), ["A_PORT_1_TCP", "B_PORT_2_SCTP"]);
  const found = messages(["check", "bogus"], environment);
  assertEquals(found, [
    '"bogus": neither a command nor a route',
  ]);
});

Deno.test("parseCommand() shows no secret of an option's value, and little of a long one", () => {
  const [message = ""] = messages([ROUTE], { AMBASSADOR_STATUS: "user:hunter2@host:80" });
  assert(message.startsWith('AMBASSADOR_STATUS "***@host:80": '), message);
  const url = "postgres://u:hunter2@h/db?token=hunter2";
  const delay = "(not shown): not a duration such as 500ms, 10s, 5m or 1h";
  assertEquals(messages([ROUTE], { AMBASSADOR_DRAIN_DELAY: url }), [
    `AMBASSADOR_DRAIN_DELAY ${delay}`,
  ]);
  assertEquals(messages([ROUTE, "--drain-delay", url]), [`--drain-delay ${delay}`]);
  assertEquals(messages([ROUTE, url.replace("=", ":")]), [
    "(not shown): a URL is no route",
  ]);
  assertEquals(messages([`7=${url.replace("u:hunter2@", "")}`]), [
    "7=(not shown): postgres:// is no scheme of a target",
  ]);
  for (const argument of [`--redis-url=${url}`, `--${url}`, `-${url}`, "--u:hunter2@h", url]) {
    assert(!JSON.stringify(problems([ROUTE, argument])).includes("hunter2"), argument);
  }
  assertEquals(messages([ROUTE, `--redis-url=${url}`]), ['"--redis-url": no such option']);
  for (const name of ["--only", "--ignore"]) {
    assertEquals(messages([ROUTE, name, `A,${url},B`]), [
      `${name} (not shown): a URL, not an alias`,
    ]);
  }
  const long = "x,".repeat(1 << 19) + "x";
  for (const text of messages(["--only", long, "--bind", long, `--${long}`, long])) {
    assert(text.length < 1000, `${text.length}`);
  }
  const many = Object.fromEntries(
    Array.from({ length: 5000 }, (_, index) => [`A${index}_PORT_1_TCP`, ""]),
  );
  for (const text of messages([], many)) assert(text.length < 1000, `${text.length}`);
});

/** Runs `act` and fails if it takes as long as something that grows with the square would. */
function quickly(what: string, act: () => void): void {
  const start = performance.now();
  act();
  const ms = performance.now() - start;
  assert(ms < 1000, `${what}: ${ms} ms`);
}

Deno.test("parseCommand() takes no time for thousands of variables and arguments of a megabyte", () => {
  const index = Array.from({ length: 5000 }, (_, i) => i);
  quickly("services called ambassador-...", () => {
    const environment = Object.fromEntries(index.flatMap((i) => [
      [`AMBASSADOR_${i}_PORT_${i + 1}_TCP`, "tcp://a:1"],
      [`AMBASSADOR_${i}_SERVICE_HOST`, "a"],
    ]));
    assertEquals(parseCommand([], environment).warnings, []);
  });
  quickly("unknown variables", () => {
    const environment = Object.fromEntries(index.map((i) => [`AMBASSADOR_LOG_LEVE${i}`, ""]));
    assertEquals(parseCommand([ROUTE], environment).warnings.length, 5000);
  });
  quickly("routes as arguments", () => {
    assertEquals(parseCommand(index.map((i) => `${i + 1}=a:1`), {}).routes.length, 5000);
  });
  for (const piece of ["a", "-", "=", "--", "_PORT_1_TCP", ",", "\ud800", "1"]) {
    const text = piece.repeat((1 << 20) / piece.length);
    quickly(piece, () => {
      messages([text, `--${text}`, `-${text}`, `1=${text}`, `${text}=a:1`, "--bind", text, "x"], {
        [`AMBASSADOR_${text}`]: text,
        AMBASSADOR_RETRY: text,
      });
      assertEquals(parseCommand([ROUTE], { [`AMBASSADOR_${text}x`]: text }).warnings.length, 1);
    });
  }
});

Deno.test("parseCommand() shows no word that may be the value of an unknown option", () => {
  for (
    const args of [["--password", "hunter2"], ["-phunter2"], ["--token=hunter2"], ["-p", "hunter2"]]
  ) {
    const { problems } = assertThrows(() => parseCommand([...args, "1=a:1"], {}), ConfigError);
    assertEquals(problems.length, 1);
    assert(!JSON.stringify(problems).includes("hunter2"), JSON.stringify(problems));
  }
  const { problems } = assertThrows(
    () => parseCommand(["--verbose", "check", "1=a:1"], {}),
    ConfigError,
  );
  assertEquals(problems.map(({ message }) => message), ['"--verbose": no such option']);
});
