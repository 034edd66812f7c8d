import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { formatTargets } from "../../src/base/address.ts";
import { ConfigError, type Problem } from "../../src/base/errors.ts";
import {
  ask,
  type Command,
  CommandError,
  parseCommand,
  readCommand,
} from "../../src/config/command_line.ts";
import { formatRoute, routeName } from "../../src/config/routes.ts";
import { readRoutesLines, type RoutesFile } from "../../src/config/routes_file.ts";
import type { Environment } from "../../src/config/variables.ts";
import { Random } from "../helpers/mod.ts";

const PATH = "/etc/routes";
const ROUTES = ["--routes", PATH];
const CERTIFICATE = ["--tls-cert", "/cert", "--tls-key", "/key"];

function fileOf(text: string): RoutesFile {
  return { path: PATH, text, mayEverybodyWrite: false };
}

/** The variables of a text, by their names. */
function variables(text: string): Record<string, string> {
  const problems: Problem[] = [];
  const read = readRoutesLines(fileOf(text), problems);
  assertEquals(problems, []);
  return Object.fromEntries([...read.variables].map(([name, { value }]) => [name, value]));
}

function parse(text: string, { args = [], environment = {} }: {
  readonly args?: readonly string[];
  readonly environment?: Environment;
} = {}): Command {
  return parseCommand([...args, ...ROUTES], environment, fileOf(text));
}

function problems(...[text, options]: Parameters<typeof parse>): readonly Problem[] {
  return assertThrows(() => parse(text, options), ConfigError).problems;
}

function messages(...given: Parameters<typeof parse>): string[] {
  return problems(...given).map(({ message }) => message);
}

/** Routes as one line each. */
function show({ routes }: Pick<Command, "routes">): string[] {
  return routes.map((route) =>
    `${routeName(route)} ${route.listen.port} ${formatTargets(route.targets)}`
  );
}

/** What is ignored, without a word on whether somebody asked for it. */
function ignored({ ignored }: Command): string[] {
  return ignored.map(({ variable, reason }) => `${variable}: ${reason}`);
}

const NO_ROUTE = "not a route: one is written ALIAS_PORT_6379_TCP=tcp://HOST:PORT";

Deno.test("readRoutesLines() takes lines as docker run --env-file does", () => {
  assertEquals(variables(""), {});
  assertEquals(variables("A=b"), { A: "b" });
  assertEquals(variables("\ufeffA=b\n"), { A: "b" });
  assertEquals(variables("A=b\r\nC=d\r\n\r\n"), { A: "b", C: "d" });
  assertEquals(variables("\n \t\n# A=b\n  # = # \n\t A=b # c\n\n"), { A: "b # c" });
  assertEquals(variables("A=b=c\nB==\nC=\nD=#\nE= f \n"), {
    A: "b=c",
    B: "=",
    C: "",
    D: "#",
    E: " f ",
  });
  assertEquals(variables("A=\"b\"\nB='c'\nC=$A\nD=\\n\n"), {
    A: '"b"',
    B: "'c'",
    C: "$A",
    D: "\\n",
  });
  assertEquals(variables("__proto__=a\nconstructor=b\nA\u00e9-.x=c"), {
    ["__proto__"]: "a",
    constructor: "b",
    "A\u00e9-.x": "c",
  });
});

Deno.test("readRoutesLines() says of each line what is wrong with it", () => {
  const cases: [text: string, ...expected: string[]][] = [
    ["A_PORT_1_TCP", "line 1: A_PORT_1_TCP: there is no = in the line"],
    ["a-b.c_port_1_tls\r", "line 1: a-b.c_port_1_tls: there is no = in the line"],
    ["A_PORT_1_TCP ", "line 1: there is no = in the line"],
    ["A_B", "line 1: there is no = in the line"],
    ["x\r", "line 1: there is no = in the line"],
    ["# c\n\n=x", "line 3: no name stands before the ="],
    ["export A_B=c", 'line 1: "export" stands before the name'],
    ["A_B =c", "line 1: there is white space before the ="],
    ["A\u2028=c", "line 1: there is white space in the name"],
    ["A_B=c\n\nA_B=c", "line 3: A_B: it stands in line 1 too"],
    ["a=c\na=d\na=e", "line 2: it stands in line 1 too", "line 3: it stands in line 1 too"],
    ["AMBASSADOR_BIND=::", "line 1: AMBASSADOR_BIND: options have no place in a file of routes"],
    ["AMBASSADOR_BIND=", "line 1: options have no place in a file of routes"],
    ["ambassador_x=y", "line 1: options have no place in a file of routes"],
    ["AMBASSADOR_=\n", "line 1: options have no place in a file of routes"],
    ["A=\ufffd\n", "line 1: it holds bytes that are no UTF-8 text"],
    ["A=b\n# \0\nC=d", "line 2: it holds bytes that are no UTF-8 text"],
  ];
  for (const [text, ...expected] of cases) {
    const found: Problem[] = [];
    readRoutesLines(fileOf(text), found);
    assertEquals(found.map(({ message }) => message), expected.map((one) => `${PATH} ${one}`));
    for (const { hint } of found) assert(hint !== undefined);
  }
});

Deno.test("readRoutesLines() names at most twenty lines, and says how many more are wrong", () => {
  for (
    const [count, more] of [[20, ""], [21, "1 more line is wrong"], [30, "10 more lines are wrong"]]
  ) {
    const found: Problem[] = [];
    readRoutesLines(fileOf("x\n".repeat(Number(count))), found);
    assertEquals(found.length, more === "" ? 20 : 21);
    if (more !== "") assertEquals(found.at(-1)?.message, `${PATH}: ${more}`);
  }
});

Deno.test("readRoutesLines() shows a path that is not plain in quotes", () => {
  const shown = (path: string): string | undefined => {
    const found: Problem[] = [];
    readRoutesLines({ path, text: "x" }, found);
    return found[0]?.message.replace(" line 1: there is no = in the line", "");
  };
  for (const path of ["/etc/routes", "routes", "~/a-b_c.env", "..", "/a%20/b+"]) {
    assertEquals(shown(path), path);
  }
  assertEquals(shown("/my routes"), '"/my routes"');
  assertEquals(shown("80=user:hunter2@a:1"), '"80=***@a:1"');
  assertEquals(shown("a:1?tls-name=hunter2"), '"a:1?…"');
  assertEquals(shown(`/${"Ab3/".repeat(16)}`)?.length, 65);
  assertEquals(shown(`/${"Ab3x".repeat(16)}`), "(not shown)");
  assert((shown("/" + "a".repeat(4000))?.length ?? 0) < 300);
});

Deno.test("parseCommand() shows nothing of a file that is none of routes", () => {
  const key = `${"Ab3/".repeat(16)}\n${"x9Z+".repeat(16)}\nhunter2A==\n`;
  const files = [
    "hunter2\n",
    "hunter2==\n",
    "hunter2=\n",
    "Hunter2_hunter2=hunter2\n",
    "root:$6$hunter2$hunter2:19000:0:99999:7:::\nhunter2:*:19000\n",
    "root:$6$hunter2=hunter2:1:\n",
    "password: hunter2\npassword = hunter2\n",
    "DB_PASSWORD=hunter2\n",
    "DB_PASSWORD=hunter2\nDB_PASSWORD=hunter2\n",
    "postgres://user:hunter2@host/?x=hunter2\n",
    "A_PORT_1_TCP=hunter2\nB_PORT_2_TCP=tcp://hunter2@host:1\n",
    "HUNTER2HUNTER2\n",
    "JBSWY3DPEHPK3PXPHUNTER2=\n",
    `-----BEGIN PRIVATE KEY-----\n${key}-----END PRIVATE KEY-----\n`,
    `${key}HUNTER2_HUNTER2=\n`,
    `HUNTER2_HUNTER2\n${key}`,
  ];
  for (const text of files) {
    for (const args of [[], ["check"], ["wait"]]) {
      const shown = said(text, args);
      assert(!/hunter2/i.test(shown), shown);
      assert(!/Ab3|x9Z/.test(shown), shown);
    }
  }
});

Deno.test("parseCommand() shows names where comments are drawn with lines", () => {
  assertEquals(messages("# ------ redis ------\n  #-----\nREDIS_PORT_6379_TCP\n"), [
    `${PATH} line 3: REDIS_PORT_6379_TCP: there is no = in the line`,
  ]);
});

/** All that a text makes the program say, whatever becomes of it. */
function said(text: string, args: readonly string[] = []): string {
  try {
    const { ignored, warnings } = parse(text, { args });
    return JSON.stringify({ ignored, warnings });
  } catch (error) {
    assert(error instanceof ConfigError);
    return JSON.stringify(error.problems);
  }
}

Deno.test("parseCommand() shows nothing of a token that stands alone in a line", () => {
  const tokens = [
    `dop_v1_${"0123456789abcdef".repeat(4)}`,
    `shpat_${"0a1b2c3d".repeat(4)}`,
    `sk_live_${"4ec39hq7".repeat(3)}`,
    "correct_horse_battery",
    "CORRECT_HORSE_BATTERY",
    "AKIA2E0A8F3B244C9986",
    "12345",
    "192.0.2.1:12345",
    "swordfish REDIS_PORT_6379_TCP",
    "curl --user admin:swordfish http://$REDIS_PORT_6379_TCP",
  ];
  for (const token of tokens) {
    for (const text of [token, `${token}\n`, `\ufeff  ${token}\r\n`]) {
      assertEquals(messages(text), [`${PATH} line 1: there is no = in the line`]);
    }
    for (const text of [`${token}=\n`, `${token}==\n`, `${token}=\n${token}=\n`]) {
      for (const args of [[], ["check"], ["wait"]]) {
        const shown = said(text, args);
        assert(!shown.includes(token), shown);
      }
    }
  }
});

Deno.test("parseCommand() shows nothing of a line of any kind that has no =", () => {
  const random = new Random();
  console.log(`seed ${random.seed}`);
  const hex = "0123456789abcdef";
  const alphabets = [hex, hex.toUpperCase(), "abcxyz_", "ABCXYZ_", "0123456789", "aZ0_-.:/+@$ ~"];
  const some = (length: number): string => {
    const alphabet = random.pick(alphabets);
    return Array.from({ length }, () => random.pick([...alphabet])).join("");
  };
  for (let round = 0; round < 3000; round++) {
    const parts = Array.from(
      { length: 1 + random.below(4) },
      () =>
        random.below(4) === 0
          ? random.pick(["PORT", "port", "TCP", "tls", "6379", "AMBASSADOR", "NAME"])
          : some(1 + random.below(20)),
    );
    // With this at its start no line is empty, a comment or a route's name.
    const line = `x@${parts.join(random.pick(["_", "_", ".", ""]))}`;
    assertEquals(messages(line), [`${PATH} line 1: there is no = in the line`]);
    // A name of lower case with what base64 ends in is as likely a key.
    const token = `k${parts.join("_")}`.replaceAll(/[^a-z0-9_]/g, "");
    if (token.length < 5 || /_(?:port|tcp|tls)(?:_|$)/.test(token)) continue;
    for (const end of ["", "=", "==", "=x"]) assert(!said(token + end).includes(token), token);
  }
});

Deno.test("parseCommand() reads a file and the environment as if all stood in one", () => {
  const environment = {
    A_PORT_1_TCP: "tcp://a:1",
    B_PORT_2_TCP: "not a route, and not looked at",
    C_PORT_3_TCP: "tcp://c:3",
    D_PORT_4_TCP: "tcp://d:4",
    L_NAME: "/x/l",
  };
  const command = parse(
    "B_PORT_2_TCP=tcp://b:2\nC_PORT_3_TCP=\nE_PORT_4_TCP=tcp://d:4\nF_PORT_5_TLS=tls://f:5\n" +
      "KUBERNETES_PORT_443_TCP=tcp://k:1\nM_NAME=/x/m\nL_ENV_X_PORT_6_TCP=tcp://x:6\n" +
      "M_ENV_X_PORT_7_TCP=tcp://x:7\nDNS_PORT_53_UDP=udp://d:53\n",
    { environment, args: [...CERTIFICATE, "--tls-ca=/ca"] },
  );
  assertEquals(show(command), [
    "A 1 a:1",
    "B 2 b:2",
    "D,E 4 d:4",
    "F 5 tls://f:5",
    "DNS 53 udp://d:53",
  ]);
  assertEquals(ignored(command), [
    "C_PORT_3_TCP: switched off by its empty value",
    "KUBERNETES_PORT_443_TCP: the Kubernetes API is left out unless --only names it",
    "L_ENV_X_PORT_6_TCP: copied from the environment of the link L",
    "M_ENV_X_PORT_7_TCP: copied from the environment of the link M",
  ]);
  const only = parse("B_PORT_2_TCP=tcp://b:2\n", { environment, args: ["--only=B,X"] });
  assertEquals(show(only), ["B 2 b:2"]);
  assertEquals(only.warnings.map(({ message }) => message), [
    "--only: no variable has the alias X",
  ]);
});

Deno.test("parseCommand() reads the same routes from a file as from the environment", () => {
  const random = new Random();
  console.log(`seed ${random.seed}`);
  const outcome = (act: () => Command): unknown => {
    try {
      const { routes, ignored } = act();
      // In a file it may be news where it is none in an environment.
      return { routes, ignored: ignored.map(({ isSlip: _, ...rest }) => rest) };
    } catch (error) {
      assert(error instanceof ConfigError);
      // In a file the order is that of the lines.
      return error.problems.map(({ message }) =>
        message.replaceAll(/\/etc\/routes line \d+: /g, "").split(/, |: /).sort()
      ).sort();
    }
  };
  for (let round = 0; round < 200; round++) {
    const entries = new Map(Array.from({ length: 1 + random.below(20) }, () => {
      const alias = random.pick(["A", "a", "B", "B_ENV_C", "KUBERNETES", "D_SERVICE"]);
      const name = random.below(8) === 0
        ? `${alias}_NAME`
        : `${alias}_PORT_${1 + random.below(40)}_${random.pick(["TCP", "tcp", "UDP"])}`;
      const host = random.pick(["a", "a", "a", "A", "a", "[::1]", "localhost"]);
      return [name, `${random.pick(["tcp://", "TCP://"])}${host}:7`] as const;
    }));
    const all = [...entries];
    const inFile = all.filter(() => random.below(2) === 0);
    const text = random.shuffled(inFile).map((pair) => `${pair.join("=")}\n`).join("");
    const rest = all.filter((entry) => !inFile.includes(entry) || random.below(2) === 0);
    const one = parseCommand.bind(undefined, ["check"], Object.fromEntries(all));
    const two = parse.bind(undefined, text, {
      args: ["check"],
      environment: Object.fromEntries(rest),
    });
    const expected = outcome(one);
    // With a file there may be no route.
    if (JSON.stringify(expected).includes("nothing to forward")) continue;
    assertEquals(outcome(two), expected);
  }
});

Deno.test("parseCommand() names the line of a route that can't be used", () => {
  const text = '\nB_PORT_1_TCP=tcp://a\nA_PORT_2_TCP="tcp://b:2"\n';
  assertEquals(messages(text, { environment: { C_PORT_3_TCP: "tcp://c" } }), [
    'C_PORT_3_TCP="tcp://c": the port is missing',
    `${PATH} line 2: B_PORT_1_TCP="tcp://a": the port is missing`,
    `${PATH} line 3: A_PORT_2_TCP="\\"tcp://b:2\\"": quotation marks stand around it`,
  ]);
  const many = Array.from({ length: 101 }, (_, index) => `A_PORT_${index + 1}_TCP=tcp://a\n`);
  assertEquals(messages(many.slice(1).join("")).length, 100);
  const found = messages(many.join(""));
  assertEquals(found.length, 101);
  assertEquals(found.at(-1), `${PATH}: more lines are wrong than the 100 that are named`);
});

Deno.test("parseCommand() names the lines of routes that want one address", () => {
  const [inFile, ...more] = problems("# c\nA_PORT_1_TCP=tcp://a:1\n\nB_PORT_1_TCP=tcp://b:1\n");
  assertEquals(more, []);
  assertEquals(inFile, {
    message: `port 1: one address is wanted more than once: ${PATH} line 2: A_PORT_1_TCP ` +
      `([::]:1=a:1), ${PATH} line 4: B_PORT_1_TCP ([::]:1=b:1)`,
    hint: "take the wrong line out; as several targets of one route they are " +
      "A_PORT_1_TCP=tcp://a:1,tcp://b:1",
  });
  const environment = { A_PORT_1_TCP: "tcp://a:1" };
  const [mixed] = problems("B_PORT_1_TCP=tcp://b:1", { environment });
  assertEquals(
    mixed?.message,
    "port 1: one address is wanted more than once: A_PORT_1_TCP ([::]:1=a:1), " +
      `${PATH} line 1: B_PORT_1_TCP ([::]:1=b:1)`,
  );
  assert(mixed?.hint?.startsWith("choose with --only or --ignore, or set the wrong variable to"));
  const [status] = messages("A_PORT_1_TCP=tcp://a:1", { args: ["--status=[::]:1"] });
  assertEquals(
    status,
    `port 1: one address is wanted more than once: ${PATH} line 1: A_PORT_1_TCP ([::]:1=a:1), ` +
      "--status ([::]:1)",
  );
});

Deno.test("parseCommand() takes only a variable of the environment for one that Kubernetes made", () => {
  const tls = "A_PORT_1_TLS=tcp://a:1\n";
  for (
    const text of [`${tls}A_PORT_1_TCP=tcp://b:1\n`, "A_PORT_1_TLS=x\nA_PORT_1_TCP=tcp://b:1\n"]
  ) {
    const [problem] = problems(text, { args: [...CERTIFICATE, "--tls-ca=/ca"] });
    assert(!problem?.hint?.includes("enableServiceLinks"), problem?.hint);
  }
  const environment = { A_PORT_1_TCP: "tcp://b:1" };
  for (const text of [tls, "A_PORT_1_TLS=x\n"]) {
    const [problem] = problems(text, { environment });
    assert(problem?.hint?.includes("enableServiceLinks: false"), problem?.hint);
    const [inFile] = problems(`${text}A_PORT_1_TCP=tcp://c:1\n`, { environment });
    assert(!inFile?.hint?.includes("enableServiceLinks"), inFile?.hint);
  }
});

Deno.test("parseCommand() says of a line that is no route how one is written", () => {
  const command = parse(
    "A_PORT_1_TCP=tcp://a:1\nREDIS_PRT_6379=tcp://a:1\nREDIS_PRT_80=a:1\nREDIS=tcp://a:1\n" +
      "B_PORT_x_TCP=x\nC_PORT_2=\nD_PORT_3=tcp://a:1\nhunter2=x\nE_PORT_y_TCP=tcp://a:1\n",
  );
  assertEquals(ignored(command), [
    `B_PORT_x_TCP: ${NO_ROUTE}`,
    "C_PORT_2: not a route: did you mean C_PORT_2_TCP?",
    "D_PORT_3: not a route: did you mean D_PORT_3_TCP?",
    "E_PORT_y_TCP: the port in its name is not a number",
    "REDIS_PRT_6379: not a route: did you mean REDIS_PORT_6379_TCP?",
    `REDIS_PRT_80: ${NO_ROUTE}`,
    `${PATH} line 4: ${NO_ROUTE}`,
    `${PATH} line 8: ${NO_ROUTE}`,
  ]);
  assert(command.ignored.every(({ asked, isSlip }) => !asked && isSlip));
  const inEnvironment = { "6379": "redis:6379", REDIS_PRT_6379: "x", C_PORT_2: "", hunter2: "x" };
  assertEquals(ignored(parse("A_PORT_1_TCP=tcp://a:1", { environment: inEnvironment })), []);
});

Deno.test("parseCommand() refuses a line of a file that is a route argument, and says how to write it", () => {
  const cases = {
    "7031=127.0.0.1:6379": "write ALIAS_PORT_7031_TCP=tcp://127.0.0.1:6379",
    "53/udp=dns:53": "write ALIAS_PORT_53_UDP=udp://dns:53",
    "6380/tls=tls://redis:6380": "write ALIAS_PORT_6380_TLS=tls://redis:6380",
    "127.0.0.1:80/tcp=a:1": "write ALIAS_PORT_80_TCP=tcp://a:1; --bind says on which address",
    "[::1]:80=a:1": "write ALIAS_PORT_80_TCP=tcp://a:1; --bind says on which address",
    // What is no target may be a secret, and base64 ends so.
    "80=user:hunter2@a:1": "write ALIAS_PORT_80_TCP=tcp://HOST:PORT",
    "12345==": "write ALIAS_PORT_6379_TCP=tcp://HOST:PORT",
  };
  for (const [line, hint] of Object.entries(cases)) {
    const [problem, ...others] = problems(`A_PORT_1_TCP=tcp://a:1\n${line}\n`);
    assertEquals(problem?.hint, hint, line);
    assert(problem?.message.startsWith(`${PATH} line 2: `), problem?.message);
    assertEquals(others, []);
  }
});

/** Which of what is ignored is a slip. */
function slips({ ignored }: Command): string[] {
  return ignored.flatMap(({ variable, isSlip }) => isSlip ? variable : []);
}

Deno.test("parseCommand() takes a line of a file that misses a route for a slip", () => {
  const at = (line: number): string => `${PATH} line ${line}`;
  const cases: [line: string, shown: string][] = [
    ["WEB_PORT_443_SSL=tcp://a:1", "WEB_PORT_443_SSL"],
    ["WEB_PORT_443_SSL=", at(1)],
    ["WEB_PORT_443_TPC=tcp://a:1", "WEB_PORT_443_TPC"],
    ["WEB_443_TCP=tcp://a:1", "WEB_443_TCP"],
    ["WEB_443_TCP=a:1", "WEB_443_TCP"],
    ["WEB-PORT-443-TCP=tcp://a:1", "WEB-PORT-443-TCP"],
    ["web_prt_443_tcp=tcp://a:1", "web_prt_443_tcp"],
    ["web_port_443_tpc=tcp://a:1", "web_port_443_tpc"],
    ["web_port_443_abc=tcp://a:1", at(1)],
    ["WEB_PORT_443=tcp://a:1", "WEB_PORT_443"],
    ["WEB_PORT_443=", "WEB_PORT_443"],
    ["WEB_PORT_x_TCP=tcp://a:1", "WEB_PORT_x_TCP"],
    ["WEB_443_UDP=udp://a:1", "WEB_443_UDP"],
    ["WEB_PORT_x_UDP=udp://a:1", "WEB_PORT_x_UDP"],
    ["WEB_PORT_443_SCTP=sctp://a:1", "WEB_PORT_443_SCTP"],
    ["WEB_SERVICE_PORT_443_TPC=tcp://a:1", "WEB_SERVICE_PORT_443_TPC"],
    ["_PORT_443_TCP=tcp://a:1", "_PORT_443_TCP"],
    ["_PORT_443=tcp://a:1", "_PORT_443"],
    ["hello=world", at(1)],
  ];
  for (const [line, shown] of cases) {
    const command = parse(`${line}\nA_PORT_1_TCP=tcp://a:1\n`);
    assertEquals(show(command), ["A 1 a:1"]);
    assertEquals(slips(command), [shown]);
    // The environment has much that is none of the program's business.
    const [name = "", value = ""] = line.split(/=(.*)/);
    const environment = { A_PORT_1_TCP: "tcp://a:1", [name]: value };
    assertEquals(slips(parse("", { environment })), []);
  }
});

Deno.test("parseCommand() takes nothing for a slip that may stand in a file for a reason", () => {
  const lines = [
    "A_PORT_1_TCP=",
    "B_PORT_1_UDP=",
    "KUBERNETES_PORT_443_TCP=tcp://a:1",
    "KUBERNETES_PORT_443=tcp://a:1",
    "KUBERNETES_PORT_443=",
    "C_SERVICE_PORT_6379_TCP=6379",
    "C_SERVICE_HOST=192.0.2.1",
    "C_PORT=tcp://a:1",
    "C_PORT_1_TCP_PROTO=tcp",
    "L_NAME=/x/l\nL_ENV_X_PORT_1_TCP=tcp://a:1",
    "L_NAME=/x/l\nL_ENV_X_PORT_1_UDP=udp://a:1",
  ];
  for (const line of lines) assertEquals(slips(parse(`${line}\n`)), []);
  for (const args of [["--only=B"], ["--ignore=A,C"]]) {
    const command = parse("A_PORT_1_UDP=x\nA_PORT_2=tcp://a:1\nC_PORT_3=\nC_PORT_4_TCP=\n", {
      args,
    });
    assertEquals(slips(command), []);
    assert(command.ignored.every(({ asked }) => asked));
  }
});

Deno.test("parseCommand() names a hundred lines that are no routes, and says how many more there are", async () => {
  const kinds: ((index: number) => string)[] = [
    (index) => `A_${index}=b\n`,
    (index) => `a${index}=b\n`,
    (index) => `A_PORT_${index + 1}_SCTP=sctp://b:1\n`,
    (index) => `A_PORT_${index + 1}=tcp://b:1\n`,
    (index) => [`A_${index}=b\n`, `a${index}=b\n`, `A_PORT_${index + 1}_SCTP=x\n`][index % 3] ?? "",
  ];
  const route = "Z_PORT_1_TCP=tcp://z:1\n";
  const off = Array.from({ length: 200 }, (_, index) => `Y_PORT_${index + 1}_TCP=\n`).join("");
  for (const kind of kinds) {
    for (
      const [count, more] of [[100, ""], [101, "1 more line is no route"], [
        50_000,
        "49900 more lines are no routes",
      ]] as const
    ) {
      const text = Array.from({ length: count }, (_, index) => kind(index)).join("") + route + off;
      const command = parse(text);
      assertEquals(show(command), ["Z 1 z:1"]);
      const slips = command.ignored.filter(({ isSlip }) => isSlip);
      assertEquals(slips.length, more === "" ? 100 : 101);
      if (more !== "") {
        assertEquals(slips.at(-1), { variable: PATH, reason: more, asked: false, isSlip: true });
      }
      // What somebody has switched off is no slip, and named.
      assertEquals(command.ignored.length - slips.length, 200);
      assertEquals((await command.again(fileOf(text))).ignored, command.ignored);
    }
  }
});

Deno.test("parseCommand() orders lines that are not named as they stand", () => {
  const text = Array.from({ length: 12 }, (_, index) => `a${index}=b\n`).join("") + "B_C=d\n";
  assertEquals(parse(text).ignored.map(({ variable }) => variable), [
    "B_C",
    ...Array.from({ length: 12 }, (_, index) => `${PATH} line ${index + 1}`),
  ]);
});

Deno.test("parseCommand() says nothing of what stands beside a link in a file", () => {
  const command = parse(
    "REDIS_PORT=tcp://a:1\nREDIS_PORT_1_TCP=tcp://a:1\nREDIS_PORT_1_TCP_ADDR=a\n" +
      "REDIS_PORT_1_TCP_PORT=1\nREDIS_PORT_1_TCP_PROTO=tcp\nREDIS_PORT_1_TCP_START=tcp://a:1\n" +
      "REDIS_PORT_1_TCP_END=tcp://a:1\nREDIS_NAME=/x/redis\nREDIS_ENV_VERSION=7\n" +
      "REDIS_SERVICE_HOST=a\nREDIS_SERVICE_PORT=1\nREDIS_SERVICE_PORT_CLIENT=1\n",
  );
  assertEquals(show(command), ["REDIS 1 a:1"]);
  assertEquals(command.ignored, []);
  assertEquals(command.warnings, []);
});

Deno.test("parseCommand() refuses route arguments beside a file", () => {
  const text = "A_PORT_1_TCP=tcp://a:1";
  const what = "route arguments stand beside it, which would replace what it reads";
  for (const args of [["1=a:1"], ["check", "1=a:1"], ["wait", "1=a:1"], ["wait", "a:1"]]) {
    assertEquals(problems(text, { args }), [{
      message: `--routes: ${what}`,
      hint: "leave one of the two out, or write the route into the file: " +
        "ALIAS_PORT_6379_TCP=tcp://HOST:PORT",
    }]);
    const environment = { AMBASSADOR_ROUTES: PATH };
    const { problems: found } = assertThrows(
      () => parseCommand(args, environment, fileOf(`${text}\nx`)),
      ConfigError,
    );
    assertEquals(found.map(({ message }) => message), [
      `AMBASSADOR_ROUTES: ${what}`,
      `${PATH} line 2: there is no = in the line`,
    ]);
    assert(found[0]?.hint?.startsWith("set AMBASSADOR_ROUTES to an empty value for this command"));
  }
  // That is the way out that the hint shows.
  assertEquals(parseCommand(["wait", "a:1"], { AMBASSADOR_ROUTES: "" }).bare.length, 1);
});

Deno.test("parseCommand() starts without a route where a file may get one, but does not wait for it", () => {
  for (const text of ["", "# none\n", "A_PORT_1_TCP=\n"]) {
    for (const args of [[], ["check"]]) {
      const { routes, warnings } = parse(text, { args });
      assertEquals(routes, []);
      const [warning, ...more] = warnings;
      assertEquals(more, []);
      assertEquals([warning?.event, warning?.setting], ["warning", "--routes"]);
      assert(warning?.reason.startsWith("nothing to forward: no variable, and no line of"));
    }
  }
  assertEquals(problems("", { args: ["wait"] }), [{
    message: `nothing to wait for: no variable, and no line of ${PATH}, is named ` +
      "<ALIAS>_PORT_<port>_TCP (or _TLS, _UDP)",
    hint: "write one into the file, for example REDIS_PORT_6379_TCP=tcp://192.0.2.10:6379",
  }]);
});

Deno.test("parseCommand() warns of TLS options that no route of a file uses", () => {
  const plainRoute = "A_PORT_1_TCP=tcp://a:1\n";
  const listening = "A_PORT_1_TLS=tcp://a:1\n";
  const none = "--tls-client=none";
  const cases: [text: string, args: string[], ...expected: string[]][] = [
    ["", CERTIFICATE, "--tls-cert, --tls-key: no route uses TLS"],
    [plainRoute, CERTIFICATE, "--tls-cert, --tls-key: no route uses TLS"],
    [plainRoute, ["--tls-cert=/cert"], "--tls-cert: no route uses TLS"],
    [
      "A_PORT_1_TCP=tls://a:1\n",
      ["--tls-allow=web"],
      "--tls-allow: no route listens by TLS",
    ],
    [
      listening,
      [...CERTIFICATE, "--tls-ca=/ca", "--tls-allow=web", "--tls-name=x"],
      "--tls-name: no target is a tls:// one",
    ],
    [
      listening,
      [...CERTIFICATE, "--tls-ca=/ca", none],
      "--tls-client none: --tls-ca has no effect",
    ],
    [
      listening,
      [...CERTIFICATE, "--tls-ca=/ca", "--tls-client-ca=/other", "--tls-allow=web"],
      "--tls-client-ca: --tls-ca has no effect beside it: no target is a tls:// one",
    ],
  ];
  for (const [text, args, ...expected] of cases) {
    const { warnings } = parse(text, { args });
    const idle = warnings.filter(({ event }) => event === "ignored");
    assertEquals(idle.map(({ message }) => message), expected);
    for (const { setting, reason } of idle) assert(setting.startsWith("--tls-") && reason !== "");
  }
});

Deno.test("parseCommand() refuses what TLS routes of a file need and have not got", () => {
  const text = "A_PORT_1_TLS=tcp://a:1\n";
  assertEquals(messages(text), [
    "route A: to listen by TLS --tls-cert and --tls-key are needed",
    "route A: clients need a certificate, and no --tls-ca says whose",
  ]);
  assertEquals(messages(text, { args: ["--tls-cert=/cert", "--tls-ca=/ca"] }), [
    "--tls-cert: --tls-key is missing",
  ]);
  // No route of any file makes use of that.
  assertEquals(
    messages(text, { args: [...CERTIFICATE, "--tls-client=none", "--tls-client-ca=/c"] }),
    [
      "--tls-client none: --tls-client-ca has no effect",
    ],
  );
});

Deno.test("parseCommand() warns of a file that everybody may write", () => {
  const file = { ...fileOf("A_PORT_1_TCP=tcp://a:1\n"), mayEverybodyWrite: true };
  const reason = `everybody may write ${PATH}: whoever does decides where clients are sent`;
  const setting = "AMBASSADOR_ROUTES";
  assertEquals(parseCommand([], { [setting]: PATH }, file).warnings, [
    { event: "warning", setting, reason, message: `${setting}: ${reason}` },
  ]);
});

Deno.test("parseCommand() says why a file can't be read, and all else that is wrong", () => {
  const unreadable = { message: "--routes: no such file", hint: "a hint" };
  const args = [...ROUTES, "--retry=x", "--only=X"];
  const environment = { A_PORT_1_TCP: "tcp://a", AMBASSADOR_BNID: "x" };
  const { problems } = assertThrows(
    () => parseCommand(args, environment, unreadable),
    ConfigError,
  );
  assertEquals(problems.map(({ message }) => message), [
    '--retry "x": not a duration such as 500ms, 10s, 5m or 1h',
    "--routes: no such file",
    "AMBASSADOR_BNID: no such option; did you mean AMBASSADOR_BIND?",
  ]);
  assertEquals(problems[1], unreadable);
});

/** The routes that an error gives, each as one line. */
function understood(file: RoutesFile | Problem, ...args: readonly string[]): string[] {
  const environment = { E_PORT_1_TCP: "tcp://e:1" };
  return show(
    assertThrows(() => parseCommand([...ROUTES, ...args], environment, file), CommandError),
  );
}

Deno.test("CommandError gives the routes that were understood beside what is wrong", () => {
  assertEquals(understood(fileOf("A_PORT_2_TCP=tcp://a:2\nx\nB_PORT_3_TCP=x\n")), [
    "E 1 e:1",
    "A 2 a:2",
  ]);
});

Deno.test("CommandError gives no route that is in the way of the status page", () => {
  const text = "A_PORT_2_TCP=tcp://a:2\nB_PORT_3_TCP=tcp://b:3\nx\n";
  assertEquals(understood(fileOf(text), "--status=127.0.0.1:2"), ["E 1 e:1", "B 3 b:3"]);
  assertEquals(understood(fileOf(text), "--status=0.0.0.0:1"), ["A 2 a:2", "B 3 b:3"]);
  // Beside each other both may listen, and nothing is said of them.
  assertEquals(understood(fileOf(text), "--status=127.0.0.1:2", "--bind=127.0.0.2"), [
    "E 1 e:1",
    "A 2 a:2",
    "B 3 b:3",
  ]);
});

Deno.test("CommandError gives no route where the file can't be read", () => {
  assertEquals(understood({ message: "--routes: no such file" }), []);
});

Deno.test("parseCommand() reads no file for help, version and healthcheck", () => {
  for (const args of [["--help"], ["-V"], ["healthcheck"]]) {
    for (const value of [PATH, '"x"', "x\ny"]) {
      const asked = ask([...args, "--routes", value], { AMBASSADOR_ROUTES: value });
      assertEquals(asked.options.routes, undefined);
      assertEquals(readCommand(asked).warnings, []);
    }
  }
});

Deno.test("parseCommand() takes the path of a file, and says what is none", () => {
  for (const path of ["routes", "./a b", "/etc/routes", "~", "-", "C:\\routes"]) {
    assertEquals(ask([`--routes=${path}`], {}).options.routes, { path });
    assertEquals(ask([], { AMBASSADOR_ROUTES: path }).options.routes, { path });
  }
  assertEquals(ask([], { AMBASSADOR_ROUTES: "" }).options.routes, undefined);
  assertEquals(ask(["--routes=a", "--routes=b"], {}).options.routes, { path: "b" });
  const key = "Ab3/".repeat(16);
  const cases = {
    "": ": the value is missing",
    '"/etc/routes"': ' "\\"/etc/routes\\"": quotation marks stand around it',
    "/a\nb": ' "/a\\nb": not a path',
    "file:///etc/routes": " (not shown): a URL or a route, not a path",
    "A_PORT_1_TCP=tcp://hunter2@a:1": ' "***@a:1": a URL or a route, not a path',
    [key]: " (not shown): not a path",
  };
  for (const [value, why] of Object.entries(cases)) {
    const { problems } = ask([`--routes=${value}`, "1=a:1"], {});
    assertEquals(problems.map(({ message }) => message), [`--routes${why}`]);
  }
});

/** A file of so many routes, of which one leads elsewhere. */
function manyRoutes(count: number, odd: number): string {
  return Array.from({ length: count }, (_, index) => {
    const settings = index % 3 === 0 ? "?idle-timeout=5m" : "";
    const target = `192.0.2.${index % 250}:${index === odd ? 1 : 6379}${settings}`;
    return `SERVICE_${index}_PORT_${index + 1}_TCP=tcp://${target}\n`;
  }).join("");
}

/** All that the forwarder compares of routes. */
function textsOf({ routes }: Command): readonly string[] {
  return routes.map((route) => `${route.aliases} ${formatRoute(route)}`);
}

Deno.test("again() gives the same routes but for those that have changed", async () => {
  const environment = { E_PORT_9000_TCP: "tcp://e:1", F_PORT_9000_TCP: "tcp://e:1" };
  const first = parse(manyRoutes(100, -1), { environment });
  const second = await first.again(fileOf(`# one line more\n${manyRoutes(100, 50)}`));
  const expected = textsOf(first).with(50, "SERVICE_50 [::]:51=192.0.2.50:1");
  assertEquals(expected.length, 101);
  assertEquals(textsOf(second), expected);
  // Another alias comes to a route of the environment.
  const third = await second.again(fileOf(`${manyRoutes(100, 50)}G_PORT_9000_TCP=tcp://e:1`));
  assertEquals(textsOf(third), expected.with(100, "E,F,G [::]:9000=e:1"));
});

Deno.test("again() gives the same as a first reading, whatever was read before", async () => {
  const random = new Random();
  console.log(`seed ${random.seed}`);
  const environment = { A_PORT_1_TCP: "tcp://e:1", L_NAME: "x", B_PORT_2_TCP: "tcp://e:2" };
  const outcome = async (read: () => Command | Promise<Command>): Promise<unknown> => {
    try {
      const { again: _, ...command } = await read();
      return command;
    } catch (error) {
      assert(error instanceof ConfigError);
      return error.problems;
    }
  };
  const asked = ask(ROUTES, environment);
  let command = readCommand(asked, fileOf(""));
  for (let round = 0; round < 300; round++) {
    const line = (): string =>
      random.pick([
        ...Array(6).fill("A_PORT_1_TCP=tcp://a:1\n"),
        "A_PORT_1_TCP=tcp://a:2\n",
        "A_PORT_1_TCP=\n",
        "C_PORT_1_TCP=tcp://a:1\n",
        "L_ENV_X_PORT_3_TCP=tcp://x:3\n",
        "M_ENV_X_PORT_4_TCP=tcp://x:4\n",
        "M_NAME=x\n",
        "B_PORT_2_TCP=tcp://e:2\n",
        "x=y\n",
        "D_PORT_5=tcp://a:1\n",
        "D_PORT_1_UDP=udp://a:1\n",
        "D_PORT_6_SCTP=sctp://a:1\n",
        "# c\n",
        "A_PORT_1_TCP=tcp://a\n",
        "x\n",
      ]);
    const text = [...new Set(Array.from({ length: random.below(6) }, line))].join("");
    const file = fileOf(text);
    assertEquals(
      await outcome(async () => command = await command.again(file)),
      await outcome(() => parse(text, { environment })),
    );
  }
});

Deno.test("again() looks again at what has changed its meaning but not its value", async () => {
  const environment = { C_PORT_2: "", D_PORT_3_TCP: "tcp://d:3" };
  const copy = "L_ENV_X_PORT_1_TCP=tcp://x:1\n";
  const first = parse(`${copy}C_PORT_2=\n`, { environment });
  assertEquals(show(first), ["L_ENV_X 1 x:1", "D 3 d:3"]);
  assertEquals(ignored(first).length, 1);
  const second = await first.again(fileOf(`${copy}L_NAME=/x/l\n`));
  assertEquals(show(second), ["D 3 d:3"]);
  assertEquals(ignored(second), [
    "L_ENV_X_PORT_1_TCP: copied from the environment of the link L",
  ]);
  assertEquals(show(await second.again(fileOf(copy))), ["L_ENV_X 1 x:1", "D 3 d:3"]);
});

Deno.test("again() knows routes after a broken file, and forgets those that are gone", async () => {
  const asked = ask(ROUTES, {});
  const first = readCommand(asked, fileOf(manyRoutes(50, -1)));
  for (const broken of [fileOf("x"), { message: "no such file" }, fileOf("A_PORT_1_TCP=x")]) {
    await assertRejects(() => first.again(broken), ConfigError);
  }
  const after = await first.again(fileOf(manyRoutes(50, -1)));
  assertEquals(textsOf(after), textsOf(first));
  for (let round = 0; round < 5; round++) {
    await first.again(fileOf(`A_PORT_1_TCP=tcp://a:${round + 1}\n`));
    assertEquals(asked.last.variables?.size, 1);
  }
});

Deno.test("formatRoute() says all that a route is but its aliases", () => {
  const { routes } = parse("A_PORT_1_TCP=tls://a:1,tcp://b:1?retry=1s\nB_PORT_2_TCP=tcp://[::1]:3");
  assertEquals(routes.map(formatRoute), [
    "[::]:1=tls://a:1,tcp://b:1?retry=1s",
    "[::]:2=[::1]:3",
  ]);
});

/** Runs `act` and fails if it takes as long as something that grows with the square would. */
function quickly(what: string, act: () => void): void {
  const start = performance.now();
  act();
  const ms = performance.now() - start;
  assert(ms < 2000, `${what}: ${ms} ms`);
}

Deno.test("parseCommand() takes no time for a hostile file of a megabyte", () => {
  const size = 1 << 20;
  const lines = (line: (index: number) => string): string => {
    const all: string[] = [];
    for (let length = 0, index = 0; length < size; index++) {
      const one = `${line(index)}\n`;
      all.push(one);
      length += one.length;
    }
    return all.join("");
  };
  const hostile: Readonly<Record<string, string>> = {
    "lines that are empty": "\n".repeat(size),
    "returns": "\r".repeat(size),
    "blanks": " ".repeat(size),
    "blanks and lines": " \n".repeat(size / 2),
    "one name": lines(() => "A_PORT_1_TCP=tcp://a:1"),
    "bare names": lines((index) => `A_${index}`),
    "variables": lines((index) => `A_${index}=`),
    "near misses": lines((index) => `A${index}_PORT_1=tcp://a:1`),
    "protocols": lines((index) => `A${index}_PORT_1_SCTP=x`),
    "routes of UDP": lines((index) => `A${index}_PORT_${1 + index % 65535}_UDP=udp://a:1`),
    "one line": `A_PORT_1_TCP=${"x".repeat(size)}`,
    "one name of a megabyte": `${"A_".repeat(size / 2)}=x`,
    "one bare name": "A_".repeat(size / 2),
    "signs": "=".repeat(size),
    "comments": lines((index) => `#${index}`),
    "no text": "\0".repeat(size),
    "no text in lines": "\0\n".repeat(size / 2),
    "links": lines((index) => `A${index}_NAME=`),
    "copies": lines((index) =>
      index % 2 === 0 ? `A${index}_NAME=` : `A${index - 1}_ENV_X_PORT_1_TCP=`
    ),
    "targets": `A_PORT_1_TCP=tcp://${"a:1,".repeat(size / 4)}b:1`,
    "different targets": `A_PORT_1_TCP=tcp://${
      lines((index) => `${index}.a:1,`).replaceAll("\n", "")
    }b:1`,
    "settings": `A_PORT_1_TCP=tcp://a:1?${"retry=1s,".repeat(size / 9)}retry=2s`,
    "networks": `A_PORT_1_TCP=tcp://a:1?allow=${"::1,".repeat(size / 4)}::2`,
    "different networks": `A_PORT_1_TCP=tcp://a:1?allow=${
      lines((index) => `::${(index % 65535).toString(16)},`).replaceAll("\n", "")
    }::2`,
    "unknown settings": `A_PORT_1_TCP=tcp://a:1?${
      lines((index) => `a${index}=b,`).replaceAll("\n", "")
    }b=c`,
    "routes": lines((index) => `A${index}_PORT_${1 + index % 65535}_TCP=tcp://a:1`),
    "routes of one port": lines((index) => `A${index}_PORT_1_TCP=tcp://a:${1 + index % 65535}`),
    "bad routes": lines((index) => `A${index}_PORT_1_TCP=tcp://`),
  };
  for (const [what, text] of Object.entries(hostile)) {
    quickly(what, () => {
      try {
        parse(text);
      } catch (error) {
        assert(error instanceof ConfigError);
      }
    });
  }
});
