import { assert, assertEquals, assertThrows } from "@std/assert";
import { ConfigError, type Problem } from "../../src/base/errors.ts";
import { parseCommand } from "../../src/config/command_line.ts";
import { findUnknown, readEnvironment } from "../../src/config/own_variables.ts";
import type { Environment } from "../../src/config/variables.ts";
import { programCommand, runProgram } from "../helpers/mod.ts";

function find(environment: Environment): { problems: string[]; warnings: string[] } {
  const problems: Problem[] = [];
  const warnings = findUnknown(environment, problems);
  return {
    problems: problems.map(({ message }) => message),
    warnings: warnings.map(({ message }) => message),
  };
}

Deno.test("findUnknown() refuses a slip after AMBASSADOR_TLS, and warns of any other", () => {
  const near = "no such option; did you mean AMBASSADOR_";
  assertEquals(
    find({
      AMBASSADOR_TLS_CRET: "x",
      AMBASSADOR_TLSCERT: "",
      AMBASSADOR_TLSQWERTYUIOP: "x",
      AMBASSADOR_TLS_NAMES: "x",
      AMBASSADOR_BNID: "x",
      AMBASADOR_TLS_CA: "x",
    }),
    {
      problems: [
        `AMBASADOR_TLS_CA: ${near}TLS_CA?`,
        `AMBASSADOR_TLSCERT: ${near}TLS_CERT?`,
        "AMBASSADOR_TLSQWERTYUIOP: no such option; the nearest is AMBASSADOR_TLS_CERT",
        `AMBASSADOR_TLS_CRET: ${near}TLS_CERT?`,
        `AMBASSADOR_TLS_NAMES: ${near}TLS_NAME?`,
      ],
      warnings: [`AMBASSADOR_BNID: ${near}BIND?`],
    },
  );
});

Deno.test("findUnknown() knows what a service called ambassador-tls makes, and nothing beyond", () => {
  const service = {
    AMBASSADOR_TLS_PORT: "tcp://192.0.2.1:443",
    AMBASSADOR_TLS_PORT_443_TCP: "tcp://192.0.2.1:443",
    AMBASSADOR_TLS_PORT_443_TCP_ADDR: "192.0.2.1",
    AMBASSADOR_TLS_PORT_443_UDP: "udp://192.0.2.1:443",
    AMBASSADOR_TLS_SERVICE_HOST: "192.0.2.1",
    AMBASSADOR_TLS_SERVICE_PORT: "443",
  };
  assertEquals(find(service), { problems: [], warnings: [] });
  assertEquals(find({ ...service, AMBASSADOR_TLS_CRT: "x" }).problems.length, 1);
  // A link of this name would hide the option of the same name.
  const cover = { AMBASSADOR_TLS_CA_PORT_1_TCP: "tcp://a:1", AMBASSADOR_TLS_CA_FILE: "x" };
  assertEquals(find(cover).problems.length, 2);
});

Deno.test("findUnknown() knows its options behind something that is nearly AMBASSADOR", () => {
  assertEquals(
    find({
      AMBASADOR_BIND: "x",
      ambassador_DRAIN_DELAY: "x",
      AMBASADOR_ALLOW: "x",
      ambassador_allow: "x",
      AMBASSADOR_Accept_Proxy: "x",
      AMBASADOR_OTHER: "x",
      BIND: "x",
      ADO_STATUS: "x",
      EMBASSY_LOG_LEVEL: "x",
    }),
    {
      problems: [
        "AMBASADOR_ALLOW: no such option; did you mean AMBASSADOR_ALLOW?",
        "AMBASSADOR_Accept_Proxy: no such option; did you mean AMBASSADOR_ACCEPT_PROXY?",
        "ambassador_allow: no such option; did you mean AMBASSADOR_ALLOW?",
      ],
      warnings: [
        "AMBASADOR_BIND: no such option; did you mean AMBASSADOR_BIND?",
        "ambassador_DRAIN_DELAY: no such option; did you mean AMBASSADOR_DRAIN_DELAY?",
      ],
    },
  );
});

Deno.test("findUnknown() names 30,000 misspelt variables in well below two seconds", () => {
  const names = (end: (index: number) => string): Environment =>
    Object.fromEntries(
      Array.from({ length: 30_000 }, (_, index) => [`AMBASSADOR_${end(index)}`, "x"]),
    );
  for (
    const end of [(i: number) => `X${i}QWERTYUIOPASDFGHJK`, (i: number) => `CONECT_TIMEUT${i}`]
  ) {
    const start = performance.now();
    assertEquals(find(names(end)).warnings.length, 30_000);
    const ms = performance.now() - start;
    assert(ms < 2000, `${ms} ms`);
  }
});

/** An environment in which some variables are not UTF-8, as Deno shows it. */
function unreadable(...names: string[]): Pick<Deno.Env, "get" | "toObject"> {
  return {
    toObject: () => ({ A_PORT_1_TCP: "tcp://a:1" }),
    get(name): string | undefined {
      if (names.includes(name)) throw new Deno.errors.InvalidData('not valid: "hunter2\\xff"');
      return undefined;
    },
  };
}

Deno.test("readEnvironment() makes an option that is not UTF-8 an error, where it is read", () => {
  const environment = readEnvironment(unreadable("AMBASSADOR_ONLY", "AMBASSADOR_ROUTES"));
  const { problems } = assertThrows(() => parseCommand([], environment), ConfigError);
  assertEquals(problems.map(({ message }) => message), [
    "AMBASSADOR_ONLY: the value is not UTF-8",
    "AMBASSADOR_ROUTES: the value is not UTF-8",
  ]);
  const one = readEnvironment(unreadable("AMBASSADOR_BIND"));
  assertEquals(parseCommand(["--bind", "::1"], one).options.bind, "::1");
  assertEquals(parseCommand(["healthcheck"], one).name, "healthcheck");
  assertEquals(readEnvironment(unreadable()), { A_PORT_1_TCP: "tcp://a:1" });
});

Deno.test({
  name: "ambassador refuses an option that is not UTF-8",
  ignore: Deno.build.os === "windows",
}, async () => {
  const script = 'AMBASSADOR_BIND=$(printf "\\377") exec "$@"';
  const { code, stderr } = await runProgram(["check", "1=192.0.2.1:1"], {
    command: ["sh", "-c", script, "sh", ...programCommand()],
  });
  assertEquals(code, 2);
  assertEquals(stderr, "ambassador: AMBASSADOR_BIND: the value is not UTF-8\n");
});
