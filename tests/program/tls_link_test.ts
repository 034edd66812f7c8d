// Two ambassadors on two hosts that reach each other over one wire, and what can be read on it.

import { assertEquals } from "@std/assert";
import { networkOf } from "../helpers/namespace.ts";
import { needs, PROGRAM_TLS } from "../helpers/needs.ts";
import { BIG_SERVER } from "../helpers/tls_link.ts";

const TWO_HOSTS = networkOf("a network of its own with two hosts in it", BIG_SERVER);

Deno.test({
  name: "a pair set up by variables alone keeps from the wire what plain ambassadors show it",
  ...needs(PROGRAM_TLS, TWO_HOSTS, "openssl", "redis-server", "redis-cli", "nsenter", "ip"),
}, async () => {
  const { code, stdout, stderr } = await TWO_HOSTS.run("tests/helpers/tls_link.ts");
  assertEquals([stdout.trim().split("\n"), stderr, code], [
    [
      "tcp SET: OK",
      "tcp GET: the secret",
      "tcp around the wire: nothing",
      "tcp on the wire: bytes, readable",
      "tls SET: OK",
      "tls GET: the secret",
      "tls around the wire: nothing",
      "tls on the wire: bytes, not readable",
    ],
    "",
    0,
  ]);
});
