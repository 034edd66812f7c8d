import { assert, assertEquals, assertThrows } from "@std/assert";
import { OPTIONS, parseReusePort, SPECS, variableOf } from "../../src/config/options.ts";
import "../helpers/mod.ts";

Deno.test("OPTIONS has each option and default of the contract", () => {
  assertEquals(SPECS.map((spec) => [spec.name, spec.default]), [
    ["bind", "::"],
    ["only", undefined],
    ["ignore", undefined],
    ["routes", undefined],
    ["rewire-timeout", "0"],
    ["connect-timeout", "10s"],
    ["retry", "0"],
    ["balance", "first"],
    ["fail-timeout", "10s"],
    ["half-close-timeout", "0"],
    ["idle-timeout", "0"],
    ["udp-timeout", "60s"],
    ["max-connections", "0"],
    ["max-sessions", "4096"],
    ["allow", "all"],
    ["send-proxy", "off"],
    ["accept-proxy", "off"],
    ["handshake-timeout", "5s"],
    ["tls-cert", undefined],
    ["tls-key", undefined],
    ["tls-ca", undefined],
    ["tls-client-ca", undefined],
    ["tls-client", "required"],
    ["tls-allow", "all"],
    ["tls-name", undefined],
    ["starttls", "off"],
    ["reuse-port", "off"],
    ["drain-timeout", "8s"],
    ["drain-delay", "0"],
    ["status", "off"],
    ["log-level", "info"],
    ["log-format", "text"],
    ["log-connections", "off"],
    ["format", "table"],
    ["probe", "off"],
    ["timeout", undefined],
  ]);
});

Deno.test("OPTIONS marks what a route may have of its own, and what adds up", () => {
  const namesOf = (isMarked: (spec: typeof SPECS[number]) => boolean): string[] =>
    SPECS.filter(isMarked).map(({ name }) => name);
  assertEquals(namesOf(({ route }) => route === true), [
    "connect-timeout",
    "retry",
    "balance",
    "fail-timeout",
    "half-close-timeout",
    "idle-timeout",
    "udp-timeout",
    "allow",
    "send-proxy",
    "accept-proxy",
    "handshake-timeout",
    "tls-allow",
    "tls-name",
    "starttls",
  ]);
  assertEquals(namesOf(({ route }) => route === "both"), [
    "max-connections",
    "max-sessions",
  ]);
  assertEquals(namesOf(({ list }) => list === true), [
    "only",
    "ignore",
    "allow",
    "accept-proxy",
    "tls-allow",
  ]);
  assertEquals(namesOf(({ protects }) => protects === true), [
    "allow",
    "accept-proxy",
    "tls-cert",
    "tls-key",
    "tls-ca",
    "tls-client-ca",
    "tls-client",
    "tls-allow",
    "tls-name",
  ]);
});

Deno.test("OPTIONS prints back what it reads", () => {
  const texts = ["::", "127.0.0.1", "A,B", "10s", "500ms", "0", "17", "[::1]:8080", "off", "on"];
  const more = [
    ...texts,
    "debug",
    "json",
    "socat",
    "leastconn",
    "v2",
    "./x",
    "none",
    "postgres",
    "*.a,b://c",
  ];
  for (const { name, kind } of SPECS) {
    const read = more.flatMap((text) => {
      try {
        return [[kind.parse(text), text] as const];
      } catch {
        return [];
      }
    });
    assert(read.length > 0, name);
    for (const [value] of read) assertEquals(kind.parse(kind.format(value)), value);
  }
});

Deno.test("OPTIONS reads each of its own defaults", () => {
  for (const spec of SPECS) if (spec.default !== undefined) spec.kind.parse(spec.default);
});

Deno.test("variableOf() names the variable of an option", () => {
  assertEquals(variableOf("connect-timeout"), "AMBASSADOR_CONNECT_TIMEOUT");
  assertEquals(variableOf("bind"), "AMBASSADOR_BIND");
  assertEquals(new Set(SPECS.map(({ name }) => variableOf(name))).size, SPECS.length);
});

Deno.test("bind takes an address with and without brackets, and no name but localhost", () => {
  const cases = {
    "::": "::",
    "[::]": "::",
    "0.0.0.0": "0.0.0.0",
    "2001:DB8::0:1": "2001:db8::1",
    "::ffff:127.0.0.1": "127.0.0.1",
    "fe80::1%eth0": "fe80::1%eth0",
    "LocalHost": "localhost",
  };
  for (const [text, host] of Object.entries(cases)) {
    assertEquals(OPTIONS.bind.kind.parse(text), host);
  }
  for (const text of ["redis", "127.1", "*", "127.0.0.1:80", "[::", "::]", " ::", "tcp://::"]) {
    assertThrows(() => OPTIONS.bind.kind.parse(text), SyntaxError);
  }
});

Deno.test("only and ignore take names in any case, with white space round them", () => {
  for (const { parse } of [OPTIONS.only.kind, OPTIONS.ignore.kind]) {
    assertEquals(parse("redis, Db ,redis"), new Set(["REDIS", "DB"]));
    assertEquals(parse("my-redis.1"), new Set(["MY-REDIS.1"]));
    for (const text of [",", "a,", ",a", "a,,b", " "]) {
      assertThrows(() => parse(text), SyntaxError, "an alias is missing");
    }
  }
});

Deno.test("max-connections takes a whole number", () => {
  assertEquals(OPTIONS.maxConnections.kind.parse("0"), 0);
  assertEquals(OPTIONS.maxConnections.kind.parse("1000"), 1000);
  for (const text of ["", "-1", "+1", "1.0", "1e3", "0x10", " 1", "1\n", "١", "1000000000"]) {
    assertThrows(() => OPTIONS.maxConnections.kind.parse(text), SyntaxError, "not a whole number");
  }
});

Deno.test("status takes an address with a port, or off", () => {
  for (const off of ["off", "OFF", "Off"]) assertEquals(OPTIONS.status.kind.parse(off), undefined);
  assertEquals(OPTIONS.status.kind.parse("[::]:8080"), { hostname: "::", port: 8080 });
  assertEquals(OPTIONS.status.kind.parse("localhost:1"), { hostname: "localhost", port: 1 });
  for (const text of ["8080", ":8080", "redis:8080", "http://127.0.0.1:8080", "::1:8080", "on"]) {
    assertThrows(() => OPTIONS.status.kind.parse(text), SyntaxError);
  }
});

Deno.test("parseReusePort() takes the usual words in any case, and no others", () => {
  for (const text of ["on", "ON", "true", "True", "yes", "1"]) {
    assertEquals(parseReusePort(text, "linux"), true);
  }
  for (const text of ["off", "Off", "false", "FALSE", "no", "0"]) {
    assertEquals(parseReusePort(text, "linux"), false);
    assertEquals(parseReusePort(text, "windows"), false);
  }
  for (const text of ["", "2", "01", "enabled", "on\n", " on", "y", "10", "truefalse"]) {
    assertThrows(() => parseReusePort(text, "linux"), SyntaxError, "not one of on, off");
  }
});

Deno.test("parseReusePort() says that other systems than Linux can't", () => {
  for (const system of ["darwin", "windows", "freebsd"]) {
    assertThrows(() => parseReusePort("on", system), RangeError, `${system} does not share`);
  }
});

Deno.test("choices are taken in any case and listed where none fits", () => {
  assertEquals(OPTIONS.logLevel.kind.parse("WARN"), "warn");
  assertEquals(OPTIONS.logFormat.kind.parse("Json"), "json");
  assertEquals(OPTIONS.format.kind.parse("socat"), "socat");
  assertThrows(
    () => OPTIONS.logLevel.kind.parse("warning"),
    SyntaxError,
    "debug, info, warn, error",
  );
  assertThrows(() => OPTIONS.logFormat.kind.parse("toString"), SyntaxError, "text, json");
  assertThrows(() => OPTIONS.format.kind.parse("ſocat"), SyntaxError, "table, json, socat");
});

Deno.test("parsing an option takes no time for a megabyte", () => {
  const start = performance.now();
  for (const piece of ["1", ":", ",", "a", ".", "%", " "]) {
    const text = piece.repeat(1 << 20);
    for (const { kind } of SPECS) {
      try {
        kind.parse(text);
      } catch (error) {
        assert(error instanceof SyntaxError && error.message.length < 100);
      }
    }
  }
  const ms = performance.now() - start;
  assert(ms < 3000, `${ms} ms`);
});
