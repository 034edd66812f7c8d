// What is promised of the executable alone. Run with AMBASSADOR_BIN; there is nothing to look at
// without.

import { assert, assertEquals } from "@std/assert";
import { freePort, programCommand, startProgram, until, within } from "../helpers/mod.ts";
import { EXECUTABLE, needs, programPath } from "../helpers/needs.ts";

const [executable = ""] = programCommand();

/** More than is appended to Deno's runtime. */
const TAIL_BYTES = 8_000_000;

Deno.test({
  name: "the executable has net, env and read built in and nothing else",
  ...needs(EXECUTABLE),
}, async () => {
  const file = await Deno.readFile(executable);
  const tail = new TextDecoder("latin1").decode(file.subarray(-TAIL_BYTES));
  const text = /"permissions":(\{"allow_[^}]*\})/.exec(tail)?.[1] ?? "{}";
  const permissions: Record<string, unknown> = JSON.parse(text);
  const allowed = Object.keys(permissions).filter((name) =>
    name.startsWith("allow_") && permissions[name] !== null && permissions[name] !== false
  );
  // Deno always writes the hosts that code may be imported from; denied, they are none.
  assertEquals(allowed.sort(), ["allow_env", "allow_import", "allow_net", "allow_read"]);
  // By a path: what is allowed without one can't be given up at the start.
  assertEquals(permissions["allow_read"], ["/"]);
  assertEquals(permissions["deny_import"], []);
  assertEquals(permissions["prompt"], false);
});

Deno.test({
  name: "the executable writes no file, and needs no variable",
  ...needs(EXECUTABLE, "strace"),
}, async () => {
  const strace = programPath("strace");
  const trace = await Deno.makeTempFile();
  try {
    const command = ["/usr/bin/env", "-i", strace, "-f", "-e", "trace=%file", "-o", trace];
    const port = freePort();
    await using program = startProgram([`127.0.0.1:${port}=127.0.0.1:1`], {
      command: [...command, executable],
    });
    await program.line(/ ready /);
    using client = await Deno.connect({ hostname: "127.0.0.1", port });
    await program.line(/ connect_failed /);
    assertEquals(await within(client.read(new Uint8Array(1)), "the end"), null);
    // The signal is for the executable, the only child of the program that watches it.
    const children = await Deno.readTextFile(`/proc/${program.pid}/task/${program.pid}/children`);
    Deno.kill(Number(children.trim().split(" ")[0]), "SIGTERM");
    assertEquals((await within(program.status, "the end")).code, 0);
    await until(async () => (await Deno.stat(trace)).size > 0, "the trace is written");
    const calls = (await Deno.readTextFile(trace)).split("\n");
    // A code cache would be read first, and written when it is not there.
    const writes =
      /deno-compile-|O_CREAT|O_WRONLY|O_RDWR|\b(?:mkdir|rename|unlink|link|symlink|truncate|chmod)\w*\(/;
    assertEquals(calls.filter((call) => writes.test(call)), []);
    assert(calls.some((call) => call.includes("openat(")));
  } finally {
    await Deno.remove(trace);
  }
});
