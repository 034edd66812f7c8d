// What README.md shows first, done as it stands there: the route of its thirty seconds, what the program
// says to it, and a Redis behind it.

import { assertEquals } from "@std/assert";
import { freePort, readExactly, ROOT, startProgram, writeAll } from "../helpers/mod.ts";
import { needs } from "../helpers/needs.ts";
import { startRedis } from "../helpers/redis.ts";

const README = Deno.readTextFileSync(new URL("README.md", ROOT));

/** What is found, or an error that says what was looked for. */
function find(pattern: RegExp): readonly string[] {
  const found = pattern.exec(README);
  if (found === null) throw new Error(`README.md has no ${pattern}`);
  return found.slice(1);
}

Deno.test(
  "README.md shows in thirty seconds what the program does and says",
  needs("redis-server"),
  async () => {
    const [route = "", listening = "", ready = ""] = find(
      /^\$ npx -y deno@[\d.]+ task -q start (\S+)\n\S+Z (.*)\n\S+Z (.*)\n\n\$/m,
    );
    const [asked = "", answer] = find(/^\$ redis-cli -p (\d+) ping .*\n(.*)\n```$/m);
    await using redis = await startRedis();
    const port = freePort();
    const here = (text: string): string =>
      text.replaceAll(asked, String(port)).replaceAll(":6379", `:${redis.port}`);
    await using program = startProgram([here(route)]);
    await program.line(/ ready /);
    const said = program.stderr.trimEnd().split("\n").map((line) => line.replace(/^\S+ /, ""));
    assertEquals(said, [here(listening), here(ready)]);
    using client = await Deno.connect({ hostname: "127.0.0.1", port });
    await writeAll(client, "PING\r\n");
    assertEquals(await readExactly(client, "+PONG\r\n".length), `+${answer}\r\n`);
  },
);
