import { assert, assertEquals, assertThrows } from "@std/assert";
import { NamePatterns, parseNamePatterns } from "../../src/base/name_patterns.ts";
import { Random } from "../helpers/mod.ts";

function hasDns(patterns: string, ...dns: string[]): boolean {
  return parseNamePatterns(patterns).has({ dns, uris: [] });
}

Deno.test("NamePatterns finds DNS names in any case, with and without a dot at the end", () => {
  for (const name of ["redis.example.com", "REDIS.example.COM", "redis.example.com."]) {
    assert(hasDns("Redis.Example.com", name), name);
    assert(hasDns("a,redis.example.com.", "x", name), name);
  }
  const others = ["redis.example.com..", "example.com", "x.redis.example.com", "redisxexample.com"];
  for (const name of [...others, "", ".", ".redis.example.com", "redis.example.com\0", "redis"]) {
    assert(!hasDns("redis.example.com", name), JSON.stringify(name));
  }
  assert(!hasDns("redis.example.com"));
});

Deno.test("NamePatterns takes a * for one whole label, and no more", () => {
  for (const name of ["a.example.com", "A-1.EXAMPLE.com.", "x_y.example.com"]) {
    assert(hasDns("*.example.com", name), name);
    assert(hasDns("*.Example.COM.", name), name);
  }
  const others = ["example.com", ".example.com", "a.b.example.com", "a.example.com.evil.com"];
  for (
    const name of [...others, "-a.example.com", "a*.example.com", "aexample.com", "a b.example.com"]
  ) {
    assert(!hasDns("*.example.com", name), name);
  }
});

Deno.test("NamePatterns takes the wildcard of a certificate for none of the names it stands for", () => {
  for (const pattern of ["redis.example.com", "*.b.example.com", "example.com"]) {
    assert(!hasDns(pattern, "*.example.com"), pattern);
  }
  assert(!hasDns("*.example.com", "*.b.example.com"));
  assert(!hasDns("*.example.com", "*.com"));
  assert(hasDns("*.example.com", "*.example.com"));
});

Deno.test("NamePatterns takes no character for a letter that only looks or folds like one", () => {
  // The Kelvin sign's lower case is k, and a dotless I is none of i's.
  for (const name of ["\u212aafka", "kafk\u0430", "kafka\u200b", "kafka ", " kafka", "kafka\n"]) {
    assert(!hasDns("kafka", name), JSON.stringify(name));
    assert(!hasDns("*.example.com", `${name}.example.com`), JSON.stringify(name));
  }
  assert(!hasDns("a,b", "a,b"));
});

Deno.test("NamePatterns compares URIs exactly, and never with a DNS name", () => {
  const patterns = parseNamePatterns("spiffe://example.com/web,redis");
  const has = (uri: string): boolean => patterns.has({ dns: [], uris: ["x", uri] });
  assert(has("spiffe://example.com/web"));
  for (
    const uri of ["spiffe://example.com/web/", "SPIFFE://example.com/web", "redis", "spiffe://*"]
  ) {
    assert(!has(uri), uri);
  }
  assert(!patterns.has({ dns: ["spiffe://example.com/web"], uris: ["redis"] }));
});

Deno.test("NamePatterns.ANY has every name and none, and prints as all", () => {
  for (const text of ["all", "ALL"]) assertEquals(parseNamePatterns(text), NamePatterns.ANY);
  assert(NamePatterns.ANY.isAny);
  assert(NamePatterns.ANY.has({ dns: [], uris: [] }));
  assertEquals(String(NamePatterns.ANY), "all");
  const none = new NamePatterns([]);
  assert(!none.isAny && !none.has({ dns: ["a"], uris: ["a"] }));
});

Deno.test("parseNamePatterns() says what is wrong with a piece", () => {
  const cases = {
    "": "a name is missing",
    "a,": "a name is missing",
    ",a": "a name is missing",
    "a, b": "there is white space in it",
    " a": "there is white space in it",
    "a\n": "there is white space in it",
    "spiffe://a/b c": "there is white space in it",
    "*": "a * stands only for the whole first label, as in *.example.com",
    "a.*": "a * stands only for the whole first label, as in *.example.com",
    "a*.b": "a * stands only for the whole first label, as in *.example.com",
    "*a.b": "a * stands only for the whole first label, as in *.example.com",
    "*.*.b": "a * stands only for the whole first label, as in *.example.com",
    "spiffe://a/*": "a * has no meaning in a URI",
    "*://a": "a * has no meaning in a URI",
    "spiffe://": "not a URI such as spiffe://example.com/web, without = and @ in it",
    "://a": "not a URI such as spiffe://example.com/web, without = and @ in it",
    "spiffe://a/b=c": "not a URI such as spiffe://example.com/web, without = and @ in it",
    "spiffe://u@a": "not a URI such as spiffe://example.com/web, without = and @ in it",
    "192.0.2.1": "neither a DNS name nor a URI; IP addresses can't be used here",
    "::1": "neither a DNS name nor a URI; IP addresses can't be used here",
    "[::1]": "neither a DNS name nor a URI; IP addresses can't be used here",
    "redis:6379": "neither a DNS name nor a URI; IP addresses can't be used here",
    "*.192.0.2.1": "neither a DNS name nor a URI; IP addresses can't be used here",
    "0x7f.1": "not an IPv4 address",
    "a..b": "not a host name",
    "-a": "not a host name",
    "CN=consumer": "common names (CN) are not looked at, only DNS names and URIs",
    "a,cn=*": "common names (CN) are not looked at, only DNS names and URIs",
    "é": "not a host name",
    "*.": "the host is missing",
    "a,all": "for clients of any name say all, without names beside it",
    "any": "for clients of any name say all, without names beside it",
    "off": "for clients of any name say all, without names beside it",
  };
  for (const [text, why] of Object.entries(cases)) {
    assertEquals(assertThrows(() => parseNamePatterns(text), SyntaxError).message, why, text);
  }
});

Deno.test("parseNamePatterns() reads back what it prints, and finds what is written", () => {
  const random = new Random();
  console.log(`seed ${random.seed}`);
  for (let round = 0; round < 500; round++) {
    const pieces = Array.from({ length: 1 + random.below(5) }, () =>
      random.pick([
        () => `h${random.below(9)}.Example.com`,
        () => `*.h${random.below(9)}.example`,
        () => `spiffe://h${random.below(9)}/x`,
      ])());
    const patterns = parseNamePatterns(pieces.join(","));
    const again = parseNamePatterns(String(patterns));
    assertEquals(String(again), String(patterns));
    for (const piece of pieces) {
      const names = piece.includes("://") ? { dns: [], uris: [piece] } : { dns: [piece], uris: [] };
      assert(patterns.has(names) && again.has(names), piece);
    }
  }
});
