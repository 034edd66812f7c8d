import { assert, assertEquals, assertThrows } from "@std/assert";
import { formatListen, formatTargets } from "../../src/base/address.ts";
import { ConfigError, type Problem } from "../../src/base/errors.ts";
import { readArguments } from "../../src/config/arguments.ts";
import { type Route, routeName } from "../../src/config/routes.ts";
import { DEFAULT_SETTINGS } from "../../src/config/settings.ts";
import { routesOfArguments as parse } from "../helpers/config.ts";
import "../helpers/mod.ts";

function problems(act: () => unknown): readonly Problem[] {
  return assertThrows(act, ConfigError).problems;
}

/** Routes as one line each. */
function show(routes: readonly Route[]): string[] {
  return routes.map((route) =>
    `${routeName(route)} ${formatListen(route.listen)} ${formatTargets(route.targets)}`
  );
}

Deno.test("readArguments() reads each way to write a route", () => {
  const routes = parse([
    "6379=redis:6379",
    "127.0.0.1:5432=tcp://[2001:db8::7]:15432",
    "[::1]:5433=TCP://192.0.2.1:5433",
    "localhost:81=a:80",
  ], { bind: "0.0.0.0" });
  assertEquals(show(routes), [
    "81 localhost:81 a:80",
    "5432 127.0.0.1:5432 [2001:db8::7]:15432",
    "5433 [::1]:5433 192.0.2.1:5433",
    "6379 0.0.0.0:6379 redis:6379",
  ]);
  assertEquals(routes.map(({ aliases }) => aliases), [[], [], [], []]);
});

Deno.test("readArguments() listens on one port of several addresses", () => {
  const routes = parse(["127.0.0.2:1=a:1", "127.0.0.1:1=b:1"], { bind: "::" });
  assertEquals(show(routes), ["1 127.0.0.1:1 b:1", "1 127.0.0.2:1 a:1"]);
});

Deno.test("readArguments() takes the same route twice as one, and two targets as an error", () => {
  assertEquals(
    parse(["1=a:1", "1=A:1", "[::]:1=tcp://a:1"], { bind: "::" }).length,
    1,
  );
  const [problem] = problems(() => parse(["1=a:1", "1=u:1"], { bind: "::" }));
  assertEquals(
    problem?.message,
    'port 1: one address is wanted more than once: argument "1=a:1" ([::]:1=a:1), ' +
      'argument "1=u:1" ([::]:1=u:1)',
  );
});

Deno.test("readArguments() says of each bad argument what is wrong with it, all in one run", () => {
  const cases = {
    "=a:1": "the listen port is not a number",
    "x=a:1": "the listen port is not a number",
    "0=a:1": "the listen port is not from 1 to 65535",
    "65536=a:1": "the listen port is not from 1 to 65535",
    "01=a:1": "the listen port has a leading zero",
    "1=": "a target is missing",
    "1=a": "the port is missing",
    "1=a:0": "the port is not from 1 to 65535",
    "1=a:1/x": "something follows the port",
    "1=a:1 ": "there is white space in it",
    "1=127.0.0.1:1": "the target is the route itself",
    "redis:1=a:1": "the listen address is not an IP address",
    "[::1]=a:1": "the listen port is missing",
    "::1:1=a:1": "an IPv6 address must stand in brackets",
    "1=2=a:1": "not a host name",
  };
  const found = problems(() => parse(Object.keys(cases), { bind: "::" }));
  assertEquals(
    found.map(({ message }) => message),
    Object.entries(cases).map(([text, why]) => `${JSON.stringify(text)}: ${why}`),
  );
});

Deno.test("readArguments() shows nothing of a target that is neither a tcp:// nor a tls:// one", () => {
  const [problem] = problems(() => parse(["1=http://a:1/hunter2"], { bind: "::" }));
  assertEquals(
    problem?.message,
    "1=(not shown): http:// is no scheme of a target",
  );
});

Deno.test("readArguments() shows nothing of what stands before an @", () => {
  for (
    const text of ["1=u:hunter2@h:1", "1=tcp://hunter2=x@h:1", "hunter2=x@h:1", "1=x=hunter2@h"]
  ) {
    for (const { message } of problems(() => parse([text], { bind: "::" }))) {
      assert(!message.includes("hunter2"), message);
    }
  }
});

Deno.test("readArguments() takes a protocol after the port, as Docker writes it", () => {
  assertEquals(show(parse(["1/tcp=a:1", "[::1]:2/TCP=a:2", "127.0.0.1:3/tcp=a:3"])), [
    "1 [::]:1 a:1",
    "2 [::1]:2 a:2",
    "3 127.0.0.1:3 a:3",
  ]);
  assertEquals(show(parse(["1/tls=a:1", "[::1]:2/TLS=TLS://a:2,b:2", "3=tls://a:3,tcp://b:3"])), [
    "1 [::]:1/tls a:1",
    "2 [::1]:2/tls tls://a:2,tls://b:2",
    "3 [::]:3 tls://a:3,tcp://b:3",
  ]);
  assertEquals(show(parse(["1/udp=a:1", "[::1]:2/UDP=UDP://a:2,b:2", "2/tcp=a:2"])), [
    "1 [::]:1/udp udp://a:1",
    "2 [::]:2 a:2",
    "2 [::1]:2/udp udp://a:2,udp://b:2",
  ]);
  const cases = {
    "1/sctp=a:1": "the protocol is not tcp, tls or udp",
    "1/=a:1": "the protocol is not tcp, tls or udp",
    "/tcp=a:1": "the listen port is not a number",
    "1/tcp/tcp=a:1": "the listen port is not a number",
    "1=udp://a:1": "a route that listens by TCP leads to tcp:// and tls:// alone",
    "1/tls=a:1,udp://b:1": "a route that listens by TLS leads to tcp:// and tls:// alone",
    "1/udp=tcp://a:1": "a route that listens by UDP leads to udp:// alone",
    "1/udp=a:1,tls://b:1": "a route that listens by UDP leads to udp:// alone",
    "1/udp=a:1,udp://A:1": "the target a:1 stands there twice",
    "1/udp=localhost:1": "the target is the route itself",
    "127.0.0.1:1/udp=udp://127.0.0.1:1": "the target is the route itself",
    "1=a:1,tcp://a:1": "the target a:1 stands there twice",
    "1=a:1,tls://a:1": "the target a:1 stands there twice",
    "1/tls=localhost:1": "the target is the route itself",
    "1/tls=tls://[::]:1": "the target is the route itself",
    "1/tls/tls=a:1": "the listen port is not a number",
  };
  for (const [word, why] of Object.entries(cases)) {
    assertEquals(problems(() => parse([word])).map(({ message }) => message), [
      `${JSON.stringify(word)}: ${why}`,
    ]);
  }
});

Deno.test("readArguments() takes targets that no route leads to, with settings", () => {
  const problems: Problem[] = [];
  const { bare, candidates } = readArguments(["tcp://a:1", "b:2?retry=1s", "3=c:3?retry=2s"], {
    bind: "::",
    only: undefined,
    ignore: undefined,
    settings: DEFAULT_SETTINGS,
    listens: false,
    problems,
  });
  assertEquals(problems, []);
  assertEquals(bare.map(({ targets, settings }) => [formatTargets(targets), settings.retryMs]), [
    ["a:1", 0],
    ["b:2", 1000],
  ]);
  assertEquals(candidates.map(({ settings }) => settings.retryMs), [2000]);
});
