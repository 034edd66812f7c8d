// Recognising a socket by both its ends.

import { assertEquals } from "@std/assert";
import { type End, Ends } from "../../src/forward/ends.ts";
import "../helpers/mod.ts";

function end(hostname: string, port: number): End {
  return { transport: "tcp", hostname, port };
}

Deno.test("Ends finds the owner of a socket by both ends", () => {
  const ends = new Ends<string>();
  ends.add(end("127.0.0.1", 40000), end("127.0.0.1", 6379), "a");
  assertEquals(ends.find(end("127.0.0.1", 40000), end("127.0.0.1", 6379)), "a");
  assertEquals(ends.find(end("127.0.0.1", 40000), end("127.0.0.1", 6380)), undefined);
  assertEquals(ends.find(end("127.0.0.2", 40000), end("127.0.0.1", 6379)), undefined);
  assertEquals(ends.find(end("127.0.0.1", 6379), end("127.0.0.1", 40000)), undefined);
});

Deno.test("Ends takes IPv4 and its form in IPv6 for one address", () => {
  const ends = new Ends<string>();
  ends.add(end("::ffff:192.0.2.1", 40000), end("::ffff:192.0.2.2", 6379), "a");
  assertEquals(ends.find(end("192.0.2.1", 40000), end("192.0.2.2", 6379)), "a");
  assertEquals(ends.find(end("192.0.2.1", 40000), end("192.0.2.1", 6379)), undefined);
});

Deno.test("Ends tells sockets apart that share a port", () => {
  const ends = new Ends<string>();
  ends.add(end("192.0.2.1", 40000), end("192.0.2.2", 6379), "a");
  ends.add(end("192.0.2.1", 40000), end("192.0.2.3", 6379), "b");
  ends.delete(end("192.0.2.1", 40000), "a");
  assertEquals(ends.find(end("192.0.2.1", 40000), end("192.0.2.2", 6379)), undefined);
  assertEquals(ends.find(end("192.0.2.1", 40000), end("192.0.2.3", 6379)), "b");
  ends.delete(end("192.0.2.1", 40000), "nobody");
  assertEquals(ends.find(end("192.0.2.1", 40000), end("192.0.2.3", 6379)), "b");
  ends.delete(end("192.0.2.1", 40000), "b");
  assertEquals(ends.find(end("192.0.2.1", 40000), end("192.0.2.3", 6379)), undefined);
});

Deno.test("Ends keeps IPv6 addresses apart from each other", () => {
  const ends = new Ends<string>();
  ends.add(end("2001:db8::1", 40000), end("2001:db8::2", 6379), "a");
  assertEquals(ends.find(end("2001:db8::1", 40000), end("2001:db8::2", 6379)), "a");
  assertEquals(ends.find(end("2001:db8::3", 40000), end("2001:db8::2", 6379)), undefined);
});
