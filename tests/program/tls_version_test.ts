// What the real program says of TLS where the Deno that runs it has none that asks clients who they are.

import { assertEquals, assertMatch } from "@std/assert";
import { freePort, runProgram, startProgram } from "../helpers/mod.ts";
import { needs, NO_TLS } from "../helpers/needs.ts";

/** Files that are not there: that does not matter where no TLS can be spoken. */
const FILES = {
  AMBASSADOR_TLS_CERT: "/nowhere/tls.crt",
  AMBASSADOR_TLS_KEY: "/nowhere/tls.key",
  AMBASSADOR_TLS_CA: "/nowhere/ca.crt",
};

/** What wants TLS, by what it is called. */
const WANTING = [
  [
    "a route that listens by TLS",
    { APP_PORT_6380_TLS: "tcp://192.0.2.1:9?tls-allow=app" },
    "[::]:6380/tls",
  ],
  ["a tls target", { APP_PORT_6379_TCP: "tls://192.0.2.1:9" }, "tls://192.0.2.1:9"],
] as const;

const REFUSED =
  /^ambassador: (\S+): TLS needs Deno 2\.9 or later, and this is Deno \d\S+\n {2}hint: [^\n]+\n$/;

for (const [what, route, name] of WANTING) {
  for (const command of ["", "check", "wait"]) {
    // Who waits does not listen.
    if (command === "wait" && name.endsWith("/tls")) continue;
    Deno.test({
      name: `ambassador ${command} says that ${what} needs a newer Deno`.replace("  ", " "),
      ...needs(NO_TLS),
    }, async () => {
      const args = command === "" ? [] : [command];
      const { code, stdout, stderr } = await runProgram(args, { env: { ...FILES, ...route } });
      assertEquals([code, stdout], [2, ""]);
      assertMatch(stderr, REFUSED);
      assertEquals(REFUSED.exec(stderr)?.[1], name);
    });
  }
}

Deno.test({
  name: "ambassador healthcheck asks an ambassador without TLS, whatever is said of TLS",
  ...needs(NO_TLS),
}, async () => {
  const env = { AMBASSADOR_STATUS: `127.0.0.1:${freePort()}` };
  await using program = startProgram([`127.0.0.1:${freePort()}=127.0.0.1:9`], { env });
  await program.line(/ ready /);
  assertEquals(await runProgram(["healthcheck"], { env: { ...env, ...FILES } }), {
    code: 0,
    stdout: "",
    stderr: "",
  });
});
