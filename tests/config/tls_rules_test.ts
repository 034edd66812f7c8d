import { assert, assertEquals, assertThrows } from "@std/assert";
import { formatCommand } from "../../src/commands/check.ts";
import { ConfigError, type Problem } from "../../src/base/errors.ts";
import { NamePatterns, parseNamePatterns } from "../../src/base/name_patterns.ts";
import { type Command, parseCommand } from "../../src/config/command_line.ts";
import { CHECK_FORMATS, SPECS, variableOf } from "../../src/config/options.ts";
import { formatSettings } from "../../src/config/settings.ts";
import type { Environment } from "../../src/config/variables.ts";
import { Random } from "../helpers/mod.ts";

const OWN = { AMBASSADOR_TLS_CERT: "/cert", AMBASSADOR_TLS_KEY: "/key" };
const ALL = { ...OWN, AMBASSADOR_TLS_CA: "/ca" };
const LISTEN = "1/tls=a:2";
const CONNECT = "1=tls://a:2";
const PLAIN = "1=a:2";

function problems(args: readonly string[], environment: Environment = {}): readonly Problem[] {
  return assertThrows(() => parseCommand(args, environment), ConfigError).problems;
}

function messages(args: readonly string[], environment: Environment = {}): string[] {
  const wrong = problems(args, environment).filter((problem) => !("event" in problem));
  return wrong.map(({ message }) => message);
}

function warnings({ warnings }: Command): string[] {
  return warnings.map(({ message }) => message);
}

Deno.test("parseCommand() gives the options of TLS as they were said", () => {
  const { options } = parseCommand(["1/tls=tls://a:2", "--tls-ca", "ca.pem"], {
    ...ALL,
    AMBASSADOR_TLS_CLIENT_CA: "./clients.pem",
    AMBASSADOR_TLS_CLIENT: "REQUIRED",
    AMBASSADOR_TLS_ALLOW: "Web,spiffe://a/b",
  });
  assertEquals(options.tlsCert, { option: "AMBASSADOR_TLS_CERT", path: "/cert" });
  assertEquals(options.tlsKey, { option: "AMBASSADOR_TLS_KEY", path: "/key" });
  assertEquals(options.tlsCa, { option: "--tls-ca", path: "ca.pem" });
  assertEquals(options.tlsClientCa, { option: "AMBASSADOR_TLS_CLIENT_CA", path: "./clients.pem" });
  assertEquals(options.tlsClient, "required");
  assertEquals(String(options.tlsAllow), "web,spiffe://a/b");
  const names = ["--tls-allow=a,b", "--tls-allow", "c", "--starttls=Postgres", "--tls-name=[::1]"];
  const { options: more } = parseCommand([...names, "1/tls=tls://a:2"], ALL);
  assertEquals(String(more.tlsAllow), "a,b,c");
  assertEquals([more.tlsName, more.starttls], ["::1", "postgres"]);
});

Deno.test("parseCommand() takes a name that an upstream may have, and no other", () => {
  const nameOf = (text: string): string | undefined =>
    parseCommand([CONNECT, "--tls-name", text], {}).options.tlsName;
  assertEquals(nameOf("Redis.Example.com."), "redis.example.com");
  assertEquals(nameOf("192.0.2.1"), "192.0.2.1");
  assertEquals(nameOf("2001:DB8::0:1"), "2001:db8::1");
  for (const text of ["*.example.com", "a b", "a:1", "fe80::1%eth0", "0x7f.1", "tls://a"]) {
    const [message = ""] = messages([CONNECT, "--tls-name", text]);
    assert(message.startsWith(`--tls-name "${text}": `), message);
  }
});

Deno.test("parseCommand() gives a route the settings of TLS that act on it, and refuses its own that don't", () => {
  const args = ["--tls-allow=web", "--tls-name=redis", "--starttls=postgres"];
  const { routes } = parseCommand(
    [
      ...args,
      "1/tls=a:1",
      "2=tls://a:2",
      "3=a:3",
      "4/tls=b:4,tls://a:4?tls-allow=all,starttls=off",
    ],
    ALL,
  );
  assertEquals(routes.map(({ settings }) => formatSettings(settings)), [
    "tls-allow=web",
    "tls-name=redis,starttls=postgres",
    "",
    "tls-name=redis",
  ]);
  const listener = "the route does not listen by TLS";
  const target = "no target of the route is a tls:// one";
  const cases = {
    "1=a:2?tls-allow=web": `tls-allow: ${listener}`,
    "1=tls://a:2?tls-allow=web": `tls-allow: ${listener}`,
    "1=a:2?tls-name=redis": `tls-name: ${target}`,
    "1/tls=a:2?tls-name=redis": `tls-name: ${target}`,
    "1/tls=a:2?starttls=postgres": `starttls: ${target}`,
    "1=tls://a:2?handshake-timeout=1s":
      "handshake-timeout: its clients begin with neither TLS nor a PROXY header (accept-proxy)",
  };
  for (const [route, why] of Object.entries(cases)) {
    for (const command of ["check", "wait"]) {
      assertEquals(messages([command, route], ALL), [`"${route.replace(/\?.*/, "?…")}": ${why}`]);
    }
  }
  assertEquals(parseCommand(["1/tls=a:2?handshake-timeout=1s"], ALL).routes.length, 1);
  assertEquals(messages(["wait", "a:2?tls-name=x", "tls://b:2?tls-allow=x"]), [
    `"a:2?…": tls-name: ${target}`,
    `"tls://b:2?…": tls-allow: ${listener}`,
  ]);
  const { bare } = parseCommand(["wait", "a:1,tls://b:1?tls-name=x,starttls=postgres"], {});
  assertEquals(bare.map(({ settings }) => [settings.tlsName, settings.starttls]), [
    ["x", "postgres"],
  ]);
});

/** A value that each option of TLS takes. */
const VALUES = {
  "tls-cert": "/c",
  "tls-key": "/k",
  "tls-ca": "/ca",
  "tls-client-ca": "/ca",
  "tls-client": "required",
  "tls-allow": "web",
  "tls-name": "redis",
  "starttls": "postgres",
} as const;
const OF_LISTENERS = ["tls-client-ca", "tls-client", "tls-allow"] as const;
const OF_TARGETS = ["tls-name", "starttls"] as const;

Deno.test("parseCommand() refuses each option of TLS where no route uses TLS", () => {
  for (const [name, value] of Object.entries(VALUES)) {
    const used = [`--${name}: no route uses TLS`];
    assertEquals(messages([PLAIN, `--${name}=${value}`]), used);
    assertEquals(messages(["check", PLAIN, `--${name}=${value}`]), used);
    assertEquals(messages([PLAIN], { [variableOf(name)]: value }), [
      `${variableOf(name)}: no route uses TLS`,
    ]);
  }
  const [both, ...more] = problems([PLAIN, "--tls-ca=/ca", "--starttls=postgres"], OWN);
  assertEquals(more, []);
  assertEquals(
    both?.message,
    "AMBASSADOR_TLS_CERT, AMBASSADOR_TLS_KEY, --tls-ca, --starttls: no route uses TLS",
  );
  assert(both?.hint?.includes("6380/tls=HOST:PORT"));
});

Deno.test("parseCommand() refuses an option of listeners where none is TLS, and of targets likewise", () => {
  for (const name of OF_LISTENERS) {
    const found = messages([CONNECT, `--${name}=${VALUES[name]}`], ALL);
    assertEquals(found, [`--${name}: no route listens by TLS`]);
  }
  for (const name of OF_TARGETS) {
    const found = messages([LISTEN], { ...ALL, [variableOf(name)]: VALUES[name] });
    assertEquals(found, [`${variableOf(name)}: no target is a tls:// one`]);
  }
  const all = Object.entries(VALUES).map(([name, value]) => `--${name}=${value}`);
  assertEquals(parseCommand([LISTEN, "2=tls://b:2", ...all], {}).routes.length, 2);
});

Deno.test("parseCommand() says nothing of unused options where a route can't be read or there is none", () => {
  assertEquals(messages(["1/tls=a"], ALL), ['"1/tls=a": the port is missing']);
  const [message = "", ...more] = messages([], ALL);
  assert(message.startsWith("nothing to forward"), message);
  assertEquals(more, []);
  assertEquals(parseCommand(["check"], ALL).routes, []);
});

Deno.test("parseCommand() wants a certificate and its key together, and for a TLS listener both", () => {
  const cert = { AMBASSADOR_TLS_CERT: "/c" };
  for (const args of [[CONNECT], ["check", CONNECT], ["wait", CONNECT], ["wait", "tls://a:1"]]) {
    assertEquals(messages(args, cert), ["AMBASSADOR_TLS_CERT: --tls-key is missing"]);
    assertEquals(messages([...args, "--tls-key=/k"]), ["--tls-key: --tls-cert is missing"]);
    parseCommand(args, OWN);
    parseCommand(args, {});
  }
  const CA = { AMBASSADOR_TLS_CA: "/ca" };
  assertEquals(messages([LISTEN], { ...CA, ...cert }), [
    "AMBASSADOR_TLS_CERT: --tls-key is missing",
  ]);
  assertEquals(messages([LISTEN, "3/tls=b:1", PLAIN.replace("1", "2")], CA), [
    "routes 1, 3: to listen by TLS --tls-cert and --tls-key are needed",
  ]);
  assertEquals(messages(["check"], { WEB_PORT_1_TLS: "tcp://a:1" }), [
    "route WEB: to listen by TLS --tls-cert and --tls-key are needed",
    "route WEB: clients need a certificate, and no --tls-ca says whose",
  ]);
});

Deno.test("parseCommand() wants a CA for a TLS listener unless nobody needs a certificate", () => {
  const needed = ["route 1: clients need a certificate, and no --tls-ca says whose"];
  assertEquals(messages([LISTEN], OWN), needed);
  assertEquals(messages([LISTEN, "--tls-client=required"], OWN), needed);
  for (const ca of ["--tls-ca=/ca", "--tls-client-ca=/ca", "--tls-client=none"]) {
    assertEquals(parseCommand([LISTEN, ca], OWN).routes.length, 1);
  }
  assertEquals(parseCommand([CONNECT], OWN).routes.length, 1);
});

Deno.test("parseCommand() refuses names and a CA for clients that need no certificate", () => {
  const none = ["--tls-client", "none"];
  const wants = (source: string, names: string): string =>
    `${source} none: ${names}: tls-allow needs a client's certificate`;
  assertEquals(messages([LISTEN, ...none, "--tls-allow=web"], OWN), [
    wants("--tls-client", "route 1"),
  ]);
  const variable = { ...OWN, AMBASSADOR_TLS_CLIENT: "none" };
  assertEquals(messages([`${LISTEN}?tls-allow=web`, "3/tls=b:1"], variable), [
    wants("AMBASSADOR_TLS_CLIENT", "route 1"),
  ]);
  assertEquals(messages([LISTEN, ...none, "--tls-client-ca=/ca"], OWN), [
    "--tls-client none: --tls-client-ca has no effect",
  ]);
  assertEquals(messages([LISTEN, "3=b:1", ...none, "--tls-client-ca=/ca"], ALL), [
    "--tls-client none: --tls-client-ca has no effect",
    "--tls-client none: AMBASSADOR_TLS_CA has no effect",
  ]);
  assertEquals(messages([LISTEN, ...none, "--tls-client-ca="], OWN), [
    "--tls-client-ca: the value is missing",
  ]);
  assertEquals(parseCommand([LISTEN, ...none, "--tls-allow=all"], OWN).routes.length, 1);
  assertEquals(parseCommand([LISTEN, "3=tls://b:1", ...none], ALL).routes.length, 2);
});

Deno.test("parseCommand() refuses a CA for upstreams beside one for clients where no upstream has TLS", () => {
  const clients = { ...ALL, AMBASSADOR_TLS_CLIENT_CA: "/clients" };
  for (const command of [[], ["check"]]) {
    const [problem, ...more] = problems([...command, LISTEN, "3=b:1"], clients);
    assertEquals(more, []);
    assertEquals(problem, {
      message: "AMBASSADOR_TLS_CLIENT_CA: AMBASSADOR_TLS_CA has no effect beside it: " +
        "no target is a tls:// one",
      hint: "leave one of the two out",
    });
  }
  assertEquals(parseCommand([LISTEN, "3=tls://b:1"], clients).routes.length, 2);
  assertEquals(parseCommand(["wait", LISTEN, "tls://b:1"], clients).routes.length, 1);
});

Deno.test("parseCommand() asks nothing of wait for listeners, and of healthcheck nothing at all", () => {
  assertEquals(parseCommand(["wait"], { A_PORT_1_TLS: "tcp://a:1" }).routes.length, 1);
  assertEquals(
    parseCommand(["wait", LISTEN, "--tls-client=none", "--tls-allow=x"], {}).warnings,
    [],
  );
  // One environment holds for the ambassador and for the wait beside it.
  const pod = { ...ALL, AMBASSADOR_TLS_ALLOW: "web", AMBASSADOR_TLS_NAME: "redis" };
  assertEquals(parseCommand(["wait", "a:1", "2=b:2"], pod).bare.length, 1);
  assertEquals(parseCommand(["wait", "tls://a:1"], pod).bare[0]?.settings.tlsName, "redis");
  assertEquals(messages(["wait", "a:1", "--tls-ca=/ca", "--tls-name=x"]), [
    "--tls-ca, --tls-name: no route uses TLS",
  ]);
  const broken = { AMBASSADOR_TLS_CERT: "hunter2", AMBASSADOR_TLS_CLIENT: "x", A_PORT_1_TLS: "x" };
  assertEquals(
    parseCommand(["healthcheck"], { ...broken, AMBASSADOR_STATUS: "[::1]:1" }).warnings,
    [],
  );
});

Deno.test("parseCommand() takes an empty variable of TLS for an error, and says it once", () => {
  for (const name of Object.keys(VALUES).filter((name) => name !== "starttls")) {
    const variable = variableOf(name);
    assertEquals(messages([LISTEN, CONNECT.replace("1", "2")], { ...ALL, [variable]: "" }), [
      `${variable}: the value is missing`,
    ]);
    assertEquals(messages([PLAIN], { [variable]: "" }), [`${variable}: the value is missing`]);
  }
  assertEquals(parseCommand([PLAIN], { AMBASSADOR_STARTTLS: "" }).options.starttls, "off");
  const empty = { AMBASSADOR_TLS_CERT: "", AMBASSADOR_TLS_CLIENT: "" };
  assertEquals(problems([PLAIN], empty).map(({ hint }) => hint), [
    "set it, or leave it out; usually a ${VARIABLE} in it is not set",
    "leave it out, or say required; usually a ${VARIABLE} in it is not set",
  ]);
});

Deno.test("parseCommand() warns once where everybody with a certificate may come, and not for wait", () => {
  const routes = ["1/tls=a:1", "2/tls=a:2", "3/tls=a:3?tls-allow=web", "4=tls://a:4"];
  const warning = "no --tls-allow: everybody whom the CA signed may use routes 1, 2";
  assertEquals(warnings(parseCommand(routes, ALL)), [warning]);
  assertEquals(warnings(parseCommand(["check", ...routes], ALL)), [warning]);
  const [first] = parseCommand(routes, ALL).warnings;
  assertEquals([first?.event, first?.setting], ["warning", "--tls-allow"]);
  assertEquals(first?.reason, "without it everybody whom the CA signed may use routes 1, 2");
  assertEquals(warnings(parseCommand(["wait", ...routes], ALL)), []);
  assertEquals(warnings(parseCommand([...routes, "--tls-allow=web"], ALL)), []);
  for (const text of ["all", "web"]) {
    const chosen = parseCommand([...routes, "5/tls=a:5?tls-allow=all", "--tls-allow", text], ALL);
    assertEquals(warnings(chosen), [], text);
  }
  const broken = problems(["1/tls=a:1", "2=x", "--tls-allow=*"], ALL);
  assert(!JSON.stringify(broken).includes("everybody"), JSON.stringify(broken));
  const open = parseCommand(["1/tls=a:1", "--tls-client=none"], OWN);
  assertEquals(warnings(open), []);
});

/** How often a key is spoilt; `FUZZ_CASES` says how long a longer run is. */
const ROUNDS = Number(Deno.env.get("FUZZ_CASES") ?? 3000);

/** A key as openssl writes it; it was made for this test, and opens nothing. */
const KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgm6cIYKeIMvU0xp2o
/oFhTiRb7a4wzGZmGyCsNkh3zQOhRANCAAS/3L7kXWqVdEpN0mJrTfHy1u/sGcZi
V8tPq5nDhLw9OKaEzMj4g/S2eRxY7IUvACb0WlFHk3d6oK/NPyBTm1Xu
-----END PRIVATE KEY-----
`;

Deno.test("parseCommand() warns of a key in a variable, and not of a certificate there", () => {
  const CERT = KEY.replaceAll("PRIVATE KEY", "CERTIFICATE");
  const environment = { ...OWN, AMBASSADOR_TLS_CERT: CERT, AMBASSADOR_TLS_CA: btoa(CERT) };
  assertEquals(warnings(parseCommand([CONNECT], environment)), []);
  const own = { ...environment, AMBASSADOR_TLS_KEY: KEY };
  const warning =
    "AMBASSADOR_TLS_KEY: a key in a variable is seen by docker inspect and by linked " +
    "containers";
  assertEquals(warnings(parseCommand([CONNECT], own)), [warning]);
  assertEquals(warnings(parseCommand(["wait", CONNECT], own)), []);
});

Deno.test("parseCommand() warns of a route that goes on in plain text where TLS fails", () => {
  const route = "6379=tls://a.example.com:6380,tcp://b.example.com:6379";
  const warning = "tls://: route 6379 also has a tcp:// target: whoever breaks the TLS of the " +
    "other is sent plain text";
  assertEquals(warnings(parseCommand([route], {})), [warning]);
  assertEquals(warnings(parseCommand([route.replace("tcp:", "tls:")], {})), []);
});

Deno.test("parseCommand() shows what is wrong beside a long path, and in an option that takes no PEM", () => {
  const path = "/Users/alice/projects/ambassador/certs/MyCompanyProductionRedisCertificate.pem";
  const own = [`--tls-cert=${path}`, "--tls-key", path];
  assertEquals(parseCommand([...own, CONNECT], {}).options.tlsCert, { option: "--tls-cert", path });
  const deep = path.replace("MyCompanyProductionRedisCertificate", "redis");
  assertEquals(messages(["--tls-cert", deep, "--retry=x", "6379"]), [
    '"6379": a port alone is no route',
    '--retry "x": not a duration such as 500ms, 10s, 5m or 1h',
  ]);
  assertEquals(messages([LISTEN], { ...ALL, AMBASSADOR_TLS_CLIENT: "optional" }), [
    'AMBASSADOR_TLS_CLIENT "optional": not one of required, none',
  ]);
  assertEquals(messages([LISTEN, "--tls-allow=web,CN=consumer"], ALL), [
    '--tls-allow "web,CN=consumer": common names (CN) are not looked at, only DNS names and URIs',
  ]);
  assertEquals(messages([LISTEN], { ...ALL, AMBASSADOR_TLS_KEY: "hunter2" }), [
    "AMBASSADOR_TLS_KEY (not shown): neither PEM nor a path, which begins with / or .",
  ]);
});

Deno.test("parseCommand() names the option that a key was meant for, and nothing near the key", () => {
  assertEquals(problems([CONNECT, "--tls-ky", KEY]).map(({ hint }) => hint), [
    "did you mean --tls-key?",
    "ambassador --help lists the options",
  ]);
});

const WAYS: readonly ((pem: string) => string)[] = [
  (pem) => pem,
  (pem) => pem.replaceAll("\n", "\\n"),
  btoa,
  (pem) => btoa(pem).replace(/.{76}/g, "$&\n"),
];

/** Texts of eight characters that a message may hold: those that are in no key. */
function fragments(text: string): ReadonlySet<string> {
  const found = new Set<string>();
  for (let at = 0; at + 8 <= text.length; at++) {
    const piece = text.slice(at, at + 8);
    if (/^[A-Za-z0-9+/=]{8}$/.test(piece)) found.add(piece);
  }
  return found;
}

Deno.test("parseCommand() shows no byte of a key, wherever it stands and however it is spoilt", () => {
  const random = new Random();
  console.log(`seed ${random.seed}`);
  const names = SPECS.filter(({ kind }) => kind.alone === undefined).map(({ name }) => name);
  const more = ["tls-kye", "no-such-option", "udp-timeout", "key"];
  for (let round = 0; round < ROUNDS; round++) {
    let text = random.pick(WAYS)(KEY);
    for (let count = random.below(4); count > 0; count--) {
      const at = random.below(text.length);
      const piece = random.pick([
        "",
        "\n",
        " ",
        "-",
        ",",
        "=",
        "/",
        ".",
        ":",
        "\0",
        "é",
        "?",
        "@",
        "&",
      ]);
      text = text.slice(0, at) + piece + text.slice(at + random.below(3));
    }
    if (random.below(8) === 0) text = random.pick(["/", ".", '"', " ", "tcp://", "1="]) + text;
    // The words of PEM itself are no secret.
    const secrets = new Set([...fragments(text), ...fragments(KEY.replace(/-----.*-----/g, ""))]);
    const name = random.pick(random.below(2) === 0 ? ["tls-key", "tls-cert"] : [...names, ...more]);
    const [args, environment] = random.pick<() => [string[], Environment]>([
      () => [[LISTEN], { ...ALL, [variableOf(name)]: text }],
      () => [[LISTEN, `--${name}=${text}`], ALL],
      () => [[LISTEN, `--${name}`, text], ALL],
      () => [[LISTEN, `--${name}`, ...text.split(/\s/)], ALL],
      () => [[LISTEN, text], ALL],
      () => [["wait", text, `1=${text}`], ALL],
      () => [[`${LISTEN}?${name}=${text}`], ALL],
      () => [[`${LISTEN}?${text}`, `1=tls://${text}`], ALL],
      () => [[], { ...ALL, A_PORT_1_TLS: text, B_PORT_2_TLS: `tcp://a:1?${name}=${text}` }],
    ])();
    const said = everythingSaid(args, environment);
    for (const piece of fragments(said.replace(/(?:BEGIN|END) PRIVATE KEY/g, ""))) {
      assert(
        !secrets.has(piece),
        `${said} shows ${piece} of ${JSON.stringify({ args, environment })}`,
      );
    }
  }
});

/** Whatever may reach a terminal or a log. */
function everythingSaid(args: readonly string[], environment: Environment): string {
  try {
    const command = parseCommand(args, environment);
    const files = {
      tlsCert: undefined,
      tlsKey: undefined,
      tlsCa: undefined,
      tlsClientCa: undefined,
    };
    // Before `check` prints the files as socat's it has read them: what names one is no key.
    const known = { ...command, options: { ...command.options, ...files } };
    const printed = CHECK_FORMATS.map((format) =>
      formatCommand(format === "socat" ? known : command, format)
    );
    const notes = printed.flatMap(({ text, notes }) => [text, ...notes]);
    return JSON.stringify([command.warnings, command.ignored, notes]);
  } catch (error) {
    assert(error instanceof ConfigError);
    return JSON.stringify(error.problems);
  }
}

Deno.test("parseCommand() has options of TLS that print as they were said", () => {
  const { options } = parseCommand([LISTEN, "--tls-allow=*.a,b"], ALL);
  assertEquals(String(options.tlsAllow), String(parseNamePatterns("*.a,b")));
  assertEquals(parseCommand([LISTEN], ALL).options.tlsAllow, NamePatterns.ANY);
});
