// What the real program says of TLS where the Deno that runs it has none that asks clients who they are.

import { assertEquals, assertMatch } from "@std/assert";
import { freePort, runProgram } from "../helpers/mod.ts";
import { needs, NO_TLS } from "../helpers/needs.ts";

for (
  const [name, value] of [["TLS", "tcp://127.0.0.1:9"], ["TCP", "tls://127.0.0.1:9"]] as const
) {
  for (const command of [[], ["check"]]) {
    const what = `ambassador ${command.join()}`.trim();
    Deno.test({
      name: `${what} says that a ${name} route to ${value.slice(0, 3)} needs a newer Deno`,
      ...needs(NO_TLS),
    }, async () => {
      const env = { [`APP_PORT_${freePort()}_${name}`]: value };
      const { code, stdout, stderr } = await runProgram(command, { env });
      assertEquals([code, stdout], [2, ""]);
      assertMatch(stderr, /APP_PORT_\d+_T\w+.* TLS .*Deno 2\.9/);
    });
  }
}
