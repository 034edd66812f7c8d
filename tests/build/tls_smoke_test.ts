// The smoke test of a release, run long before: so that it does not fail on the day of the release for
// a reason of its own, and so that it is seen to fail where it has to.

import { assertRejects, assertStringIncludes } from "@std/assert";
import { smokeTls } from "../../build/tls_smoke.ts";
import { programCommand } from "../helpers/mod.ts";
import { needs, PROGRAM_TLS, UNIX } from "../helpers/needs.ts";

const NEEDED = needs(UNIX, PROGRAM_TLS, "openssl", "bash");

/** The program, after a shell line that has changed something for it. */
function changed(line: string): string[] {
  return ["bash", "-c", `${line}; exec "$0" "$@"`, ...programCommand()];
}

Deno.test("smokeTls() passes on the program", NEEDED, async () => {
  assertStringIncludes(await smokeTls(programCommand()), "1 MB each way");
});

/** What is broken, by which shell line (only the far side has names to allow), and what is said. */
const BROKEN = [
  [
    "clients need no certificate",
    "[[ $AMBASSADOR_TLS_ALLOW ]] && unset AMBASSADOR_TLS_{ALLOW,CA} && " +
    "export AMBASSADOR_TLS_CLIENT=none",
    "a client without a certificate was let in",
  ],
  [
    "every name is allowed",
    "[[ $AMBASSADOR_TLS_ALLOW ]] && export AMBASSADOR_TLS_ALLOW=all",
    "a client with a name that is not allowed was let in",
  ],
  [
    "nobody is allowed",
    "[[ $AMBASSADOR_TLS_ALLOW ]] && export AMBASSADOR_TLS_ALLOW=other",
    "0 of 1000000 bytes came back",
  ],
  [
    "every upstream is trusted",
    'for name in ${!DECOY_PORT_@}; do export $name="${!name/=other/=big-server}"; done',
    "an upstream with another name was trusted",
  ],
  [
    "it does not start",
    "exit 3",
    "the far ambassador ended with status 3",
  ],
] as const;

for (const [what, line, message] of BROKEN) {
  Deno.test(`smokeTls() fails where ${what}`, NEEDED, async () => {
    await assertRejects(() => smokeTls(changed(line)), Error, message);
  });
}
