import { assertEquals, assertMatch } from "@std/assert";
import { formatCommand } from "../../src/commands/check.ts";
import { parseCommand } from "../../src/config/command_line.ts";
import { programCommand, runProgram } from "../helpers/mod.ts";
import { needs, programPath } from "../helpers/needs.ts";

const VARIABLES = {
  REDIS_PORT_6379_TCP: "tcp://192.0.2.10:6379",
  LONG_NAME_PORT_80_TCP: "tcp://192.0.2.11:8080",
  KUBERNETES_PORT_443_TCP: "tcp://192.0.2.1:443",
};

const TABLE = `\
ROUTE      LISTEN     TARGET
LONG_NAME  [::]:80    192.0.2.11:8080
REDIS      [::]:6379  192.0.2.10:6379

IGNORED                  REASON
KUBERNETES_PORT_443_TCP  the Kubernetes API is left out unless --only names it

2 routes, 1 variable ignored`;

/** The text as it is without colours, and the colours that it had. */
function strip(text: string): { plain: string; styles: string[] } {
  const parts = text.split("\x1b[");
  const styles = parts.slice(1).map((part) => part.slice(0, part.indexOf("m")));
  const plain = [parts[0], ...parts.slice(1).map((part) => part.slice(part.indexOf("m") + 1))];
  return { plain: plain.join(""), styles };
}

Deno.test("formatCommand() lines its columns up, with colours and without", () => {
  const routes = parseCommand([], VARIABLES);
  assertEquals(formatCommand(routes, "table").text, TABLE);
  const { plain, styles } = strip(formatCommand(routes, "table", { colour: true }).text);
  assertEquals(plain, TABLE);
  // Each style is ended where it belongs.
  assertEquals(styles, ["1", "0", "32", "0", "32", "0", "1", "0", "33", "0", "1", "0"]);
});

Deno.test("formatCommand() has colours in the table alone", () => {
  const routes = parseCommand([], VARIABLES);
  for (const format of ["json", "socat"] as const) {
    assertEquals(
      formatCommand(routes, format, { colour: true }),
      formatCommand(routes, format),
    );
  }
});

async function checkOnTerminal(env: Record<string, string>): Promise<string> {
  const command = [...programCommand(), "check"].map((word) => `'${word}'`).join(" ");
  const { code, stdout } = await runProgram([], {
    env: { ...VARIABLES, TERM: "xterm", ...env },
    command: [programPath("script"), "-qec", command, "/dev/null"],
  });
  assertEquals(code, 0);
  return stdout.replaceAll("\r\n", "\n");
}

Deno.test("ambassador check has no colours where there is no terminal", async () => {
  const { stdout } = await runProgram(["check"], { env: { ...VARIABLES, TERM: "xterm" } });
  assertEquals(stdout, `${TABLE}\n`);
});

Deno.test({
  name: "ambassador check has colours on a terminal that wants them",
  ...needs("script"),
}, async () => {
  const coloured = await checkOnTerminal({ NO_COLOR: "" });
  assertEquals(strip(coloured).plain, `${TABLE}\n`);
  assertMatch(coloured, /\[1mROUTE/);
  assertEquals(await checkOnTerminal({ NO_COLOR: "1" }), `${TABLE}\n`);
  assertEquals(await checkOnTerminal({ TERM: "dumb" }), `${TABLE}\n`);
});
