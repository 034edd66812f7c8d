// A client with a link-local address, in the network that this is run in: an interface `side` with
// fe80::1. Prints for a few lists who it was in the log, and whether it was served. A program of its
// own: its client has to be in a namespace with the ambassador.

import { formatAddress } from "../../src/base/address.ts";
import { freePort, startEcho, startProgram, within, writeAll } from "./mod.ts";

/** Lists that have the client in them, and two that have not. */
const LISTS = ["fe80::/10", "fe80::1", "fe80::/128", "127.0.0.0/8,::1"];

async function visit(list: string): Promise<string> {
  await using upstream = startEcho();
  const port = freePort();
  const route = `${port}=${formatAddress(upstream.address)}`;
  await using program = startProgram(["--log-level=debug", `--allow=${list}`, route]);
  await program.line(/ ready /);
  const address = { hostname: "fe80::1%side", port };
  using client = await within(Deno.connect(address), "a connect");
  let count: number | null = null;
  try {
    await writeAll(client, "ping");
    count = await within(client.read(new Uint8Array(4)), "an answer");
  } catch (error) {
    // Its words are unread where it is refused.
    if (!isGone(error)) throw error;
  }
  const [, who = ""] = await program.line(/ client="?\[([^\]]*)\]:\d/);
  return `${list} ${count === 4 ? "serves" : "refuses"} ${who}`;
}

function isGone(error: unknown): boolean {
  return error instanceof Deno.errors.ConnectionReset || error instanceof Deno.errors.BrokenPipe;
}

if (import.meta.main) { for (const list of LISTS) console.log(await visit(list)); }
