import { assert, assertEquals } from "@std/assert";
import {
  escapeInvisible,
  looksLikeKey,
  nearest,
  plain,
  prefixFinder,
  quote,
  quoteInput,
  quoteWhole,
  some,
} from "../../src/base/text.ts";
import { Random } from "../helpers/mod.ts";

/** Characters that end a line, move the cursor or turn the text round, for some reader of it. */
const HOSTILE = [
  "\0",
  "\n",
  "\r",
  "\x1b",
  "\x7f",
  "\x85",
  "\x9b",
  "\u00ad",
  "\u061c",
  "\u200b",
  "\u200e",
  "\u2028",
  "\u2029",
  "\u202e",
  "\u2066",
  "\ufeff",
  "\ud800",
  "\u{e0041}",
];

Deno.test("quoteWhole() leaves nothing that a terminal or a log reader acts on", () => {
  for (const hostile of HOSTILE) {
    const quoted = quoteWhole(`a${hostile}b`);
    assert(/^"a(?:\\u[0-9a-f]{4}|\\[nr])+b"$/.test(quoted), quoted);
    assertEquals(JSON.parse(quoted), `a${hostile}b`);
  }
  assertEquals(quoteWhole('say "é\\"'), '"say \\"é\\\\\\""');
});

Deno.test("quoteWhole() is read back by JSON.parse, whatever the text", () => {
  const random = new Random();
  console.log(`seed ${random.seed}`);
  for (let round = 0; round < 500; round++) {
    const text = Array.from(
      { length: random.below(12) },
      () => random.pick([...HOSTILE, '"', "\\", "=", " ", "a", "é", "𐍈"]),
    ).join("");
    assertEquals(JSON.parse(quoteWhole(text)), text);
  }
});

Deno.test("escapeInvisible() changes how JSON is written and not what it says", () => {
  const value = { "na\u2028me": ["\u202e", "plain", 1, null] };
  const json = escapeInvisible(JSON.stringify(value));
  assertEquals(json, '{"na\\u2028me":["\\u202e","plain",1,null]}');
  assertEquals(JSON.parse(json), value);
});

Deno.test("quote() cuts what is long, also in the middle of a character", () => {
  assertEquals(quote("a".repeat(120)), `"${"a".repeat(120)}"`);
  assertEquals(quote("a".repeat(121)), `"${"a".repeat(120)}…"`);
  assertEquals(quote("a".repeat(119) + "😀"), `"${"a".repeat(119)}\\ud83d…"`);
  assert(quote("\ud800".repeat(1 << 20)).length < 1000);
});

Deno.test("quoteInput() shows nothing of what stands before an @", () => {
  const cases = {
    "tcp://host:1": '"tcp://host:1"',
    "tcp://user:secret@host:1": '"tcp://***@host:1"',
    "TLS://user:secret@host:1": '"TLS://***@host:1"',
    "tcp://secret@secret@host:1": '"tcp://***@host:1"',
    "tcp://user:se=cret@host:1": '"tcp://***@host:1"',
    "tcp://user:se?cret@host:1": '"tcp://***"',
    "1=a:1?send-proxy=secret@v3,foo=secret": '"1=***"',
    "6379=udp://user:secret@host:1": '"6379=udp://***@host:1"',
    "6379=user:se=cret@host:1": '"6379=***@host:1"',
    "user:se=cret@host:1": '"***@host:1"',
    "secret=6379=x@host:1": '"***@host:1"',
    "tcp://user:secret@": '"tcp://***@"',
    "tcp://a:1,tls://secret@b:2": '"tcp://***@b:2"',
    "@": '"***@"',
  };
  for (const [text, shown] of Object.entries(cases)) assertEquals(quoteInput(text), shown, text);
});

Deno.test("quoteInput() shows nothing that is called a secret", () => {
  const cases = {
    "password=hunter2": '"password=***"',
    "tcp://h:1 PGPASSWORD=hunter2 x": '"tcp://h:1 PGPASSWORD=*** x"',
    "tcp://h:1&passwd=hunter2&api_key=abc;token = x":
      '"tcp://h:1&passwd=***&api_key=***;token = ***"',
    "6379=key:6379": '"6379=key:6379"',
    "tokens": '"tokens"',
  };
  for (const [text, shown] of Object.entries(cases)) assertEquals(quoteInput(text), shown, text);
});

Deno.test("looksLikeKey() takes many hexadecimal digits for one", () => {
  const hex = "9e2f4d60fda1bd1a8ef170e036b73f93";
  for (const text of [hex, hex.toUpperCase(), `x=${hex}`]) assert(looksLikeKey(text), text);
  const names = [
    hex.slice(1),
    "a".repeat(40),
    "1".repeat(40),
    "2001:db8:85a3:8d3:1319:8a2e:370:7348",
  ];
  for (const text of names) assert(!looksLikeKey(text), text);
});

Deno.test("quoteInput() shows nothing of what stands after a ?", () => {
  assertEquals(quoteInput("tcp://a:1?secret"), '"tcp://a:1?…"');
  assertEquals(quoteInput("1=a:1?x=secret?\nsecret"), '"1=a:1?…"');
  assertEquals(quoteInput("?"), '"?…"');
});

Deno.test("quoteInput() shows nothing of a URL that no target is", () => {
  const cases = {
    "fast": '"fast"',
    "tcp://host:1/x": '"tcp://host:1/x"',
    "7=TCP://u:secret@host:1": '"7=TCP://***@host:1"',
    "tcp://a:1,tls://b:2,UDP://c:3": '"tcp://a:1,tls://b:2,UDP://c:3"',
    "xtls://secret": "(not shown)",
    "://": "(not shown)",
    "postgres://host/db?password=secret": "(not shown)",
    "7=postgres://host/db?password=secret": "7=(not shown)",
    "700000=postgres://host": "(not shown)",
    "secret=postgres://host": "(not shown)",
    "xtcp://secret": "(not shown)",
    "x+tcp://secret": "(not shown)",
    "tcp://host:1?next=redis://:secret@host:1": '"tcp://***"',
    "1/tls=a:1?tls-allow=spiffe://secret": '"1/tls=a:1?…"',
    "redis://secret tcp://host:1": "(not shown)",
    "tctcp://p://secret": "(not shown)",
    "16383/tls=https://h:1": '"16383/tls=https://h:1"',
    "7=redis://h.example.com:6379": '"7=redis://h.example.com:6379"',
    "16383/tls=https://h:1/secret": "16383/tls=(not shown)",
    "https://secret:secret": "(not shown)",
    "https://h:1,secret://h:1": "(not shown)",
  };
  for (const [text, shown] of Object.entries(cases)) assertEquals(quoteInput(text), shown);
});

Deno.test("looksLikeKey() is true of PEM, of its lines and of base64 of it", () => {
  const body = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgm6cIYKeIMvU0xp2o";
  const pem = `-----BEGIN PRIVATE KEY-----\n${body}\n-----END PRIVATE KEY-----\n`;
  const slashes = body.replace(/.{9}/g, "$&/");
  const texts = [
    pem,
    btoa(pem),
    body,
    `/${body}`,
    `./${body}=`,
    `tcp://${slashes}`,
    `1=${slashes}`,
  ];
  for (const text of [...texts, slashes, `x,${body}`]) assert(looksLikeKey(text), text);
});

Deno.test("looksLikeKey() is false of paths, URLs and names", () => {
  const path = "/Users/alice/projects/ambassador/certs/a.pem";
  const uri = "spiffe://example.com/ns/Production/serviceaccount/consumer";
  const texts = [path, `.${path}`, `--tls-cert=${path}`, uri, `redis,${uri}`, "CN=consumer"];
  for (
    const text of [...texts, `6380/tls=redis:6379?tls-allow=${uri}`, "a".repeat(99), "A".repeat(99)]
  ) {
    assert(!looksLikeKey(text), text);
  }
});

Deno.test("plain() quotes every name that is not plain", () => {
  for (const name of ["REDIS_PORT_6379_TCP", "my.redis-1"]) assertEquals(plain(name), name);
  for (const name of ["", " ", "a b", "a=b", "a\nb", 'a"b', "é", "a".repeat(201)]) {
    assert(plain(name).startsWith('"') && plain(name).endsWith('"'), plain(name));
  }
});

Deno.test("prefixFinder() finds the shortest name that stands before the separator", () => {
  const find = prefixFinder(["RED", "REDIS", "A_ENV_B", "A"]);
  assertEquals(find("REDIS_ENV_X", "_ENV_"), "REDIS");
  assertEquals(find("A_ENV_B_ENV_C", "_ENV_"), "A");
  assertEquals(find("B_ENV_A_ENV_C", "_ENV_"), undefined);
  assertEquals(find("REDIS", "_ENV_"), undefined);
  assertEquals(find("REDIS_EN", "_ENV_"), undefined);
  assertEquals(prefixFinder([])("A_ENV_", "_ENV_"), undefined);
});

Deno.test("nearest() names what was probably meant, and nothing where nothing is near", () => {
  const names = ["check", "wait", "healthcheck"];
  assertEquals(nearest("chekc", names), "check");
  assertEquals(nearest("Wait", names), "wait");
  assertEquals(nearest("helthcheck", names), "healthcheck");
  assertEquals(nearest("redis", names), undefined);
  assertEquals(nearest("", names), undefined);
  assertEquals(nearest("redis", names, Infinity), "wait");
  assertEquals(nearest("check", []), undefined);
});

Deno.test("some() shows the first few", () => {
  assertEquals(some(["a", "b"], ", "), "a, b");
  assertEquals(some(["a", "b", "c", "d", "e", "f", "g"], "; "), "a; b; c; d; e; …");
});

Deno.test("nearest() prefers a name that holds what was written, or a word of it", () => {
  const names = [
    "bind",
    "only",
    "connect-timeout",
    "max-sessions",
    "max-connections",
    "drain-timeout",
    "log-level",
  ];
  const cases = {
    "drain": "drain-timeout",
    "max-conn": "max-connections",
    "max-sess": "max-sessions",
    "connections": "max-connections",
    "level": "log-level",
    "timeout-connect": "connect-timeout",
    "log": "log-level",
    "drian-timeout": "drain-timeout",
    "conect-timeout": "connect-timeout",
    "bnid": "bind",
    "x": undefined,
    "co": undefined,
  };
  for (const [name, near] of Object.entries(cases)) assertEquals(nearest(name, names), near, name);
});

Deno.test("nearest(), quote(), quoteInput() and plain() take no time for a megabyte", () => {
  const start = performance.now();
  for (const piece of ["a", "@", "=", "\ud800", "tcp://", "1="]) {
    const text = piece.repeat((1 << 20) / piece.length);
    nearest(text, ["check", "wait", "healthcheck"]);
    quote(text);
    quoteInput(text);
    plain(text);
  }
  const ms = performance.now() - start;
  assert(ms < 1000, `${ms} ms`);
});
