import { assert, assertEquals, assertThrows } from "@std/assert";
import { formatPem, parsePem, quotePath } from "../../src/config/pem.ts";
import "../helpers/mod.ts";

const VARIABLE = "AMBASSADOR_TLS_KEY";
/** Shaped like a key, and none. */
const PEM = `-----BEGIN PRIVATE KEY-----\n${"Ab3/".repeat(16)}\n${"x9Z+".repeat(9)}\n` +
  "-----END PRIVATE KEY-----\n";

function refusal(text: string, source: string): string {
  return assertThrows(() => parsePem(text, source), SyntaxError).message;
}

Deno.test("parsePem() takes a path from a variable where it begins with / or .", () => {
  for (const path of ["/run/secrets/key", "./key.pem", "../a b,c.pem", "/é"]) {
    assertEquals(parsePem(path, VARIABLE), { option: VARIABLE, path });
  }
  for (const text of ["key.pem", "C:\\key.pem", "~", " /key", "hunter2"]) {
    assertEquals(refusal(text, VARIABLE), "neither PEM nor a path, which begins with / or .");
  }
  assertEquals(refusal('"/key"', VARIABLE), "quotation marks stand around it");
});

Deno.test("parsePem() takes any path from an argument", () => {
  for (const path of ["/run/key", "key.pem", "a/b", "~", "-"]) {
    assertEquals(parsePem(path, "--tls-key"), { option: "--tls-key", path });
  }
});

Deno.test("parsePem() takes no path that nothing can be called, or that would hide in a line", () => {
  for (
    const path of ["/a\nb", "/a\0b", "/a\x1b[2J", "/\u202egnp", "/\ud800", `/${"a".repeat(4096)}`]
  ) {
    for (const source of [VARIABLE, "--tls-key"]) {
      assertEquals(refusal(path, source), "not a path", JSON.stringify(path.slice(0, 9)));
    }
  }
});

/** All the ways in which a variable may hold PEM. */
function waysToWrite(pem: string): string[] {
  const base64 = btoa(pem);
  const lines = (length: number, end: string): string =>
    (base64.match(new RegExp(`.{1,${length}}`, "g")) ?? []).join(end);
  return [
    pem,
    pem.trim(),
    `\ufeff \n${pem}\n`,
    pem.replaceAll("\n", "\\n"),
    pem.replaceAll("\n", "\\r\\n"),
    pem.replaceAll("\n", "\\n\n"),
    base64,
    `${base64}\n`,
    base64.replace(/=+$/, ""),
    lines(64, "\n"),
    lines(76, "\r\n"),
    lines(76, "\\n"),
    lines(60, " "),
    btoa(pem.replaceAll("\n", "\r\n")),
  ];
}

Deno.test("parsePem() takes PEM from a variable as it is, with \\n for its line ends, or as base64", () => {
  for (const text of waysToWrite(PEM)) {
    const source = parsePem(text, VARIABLE);
    assert("pem" in source, text);
    assertEquals(source.option, VARIABLE);
    const lines = source.pem.replace("\ufeff", "").split(/\s*\n\s*/).filter((line) => line !== "");
    assertEquals(lines, PEM.trim().split("\n"), text);
    assertEquals(formatPem(source), "(not shown)");
  }
});

Deno.test("parsePem() takes a path with names as long as a key's lines", () => {
  const long = "/tmp/ab/MyCompanyProductionRedisCertificate.pem";
  for (const source of [VARIABLE, "--tls-cert"]) {
    assertEquals(parsePem(long, source), { option: source, path: long });
  }
  const image = `/var/lib/${"0123456789abcdef".repeat(4)}/_data/key.pem`;
  assertEquals(parsePem(image, VARIABLE), { option: VARIABLE, path: image });
});

Deno.test("parsePem() keeps what stands around PEM, and several blocks of it", () => {
  const bag = `Bag Attributes\n  friendlyName: x\n${PEM}${PEM}`;
  assertEquals(parsePem(bag, VARIABLE), { option: VARIABLE, pem: bag });
  assertEquals(parsePem(btoa(bag), VARIABLE), { option: VARIABLE, pem: bag });
});

Deno.test("parsePem() refuses PEM in an argument, however it is written", () => {
  for (const text of waysToWrite(PEM)) {
    assertEquals(
      refusal(text, "--tls-key"),
      "PEM in an argument is visible to all: write it to a file and name that",
    );
  }
});

Deno.test("parsePem() says what is wrong with PEM, and shows none of it", () => {
  const cut = "PEM that is cut off, or whose line ends are lost: write them as \\n";
  const neither = "neither PEM nor a path, which begins with / or .";
  const cases: [string, string][] = [
    [PEM.slice(0, 90), cut],
    [PEM.replaceAll("\n", ""), cut],
    [PEM.replaceAll("\n", " "), cut],
    [btoa(PEM.slice(0, 90)), cut],
    [PEM.slice(30), neither],
    [btoa("MIIE"), neither],
    [btoa("\x30\x82\x04\xa4\x02\x01\x00"), neither],
    [`"${btoa(PEM)}"`, "quotation marks stand around it"],
    ["YQ===", neither],
  ];
  for (const [text, why] of cases) assertEquals(refusal(text, VARIABLE), why, text);
});

Deno.test("quotePath() shows a path that is no key, and nothing else", () => {
  assertEquals(quotePath("/run/secrets/tls/key.pem"), '"/run/secrets/tls/key.pem"');
  assertEquals(quotePath("./a\x1b"), '"./a\\u001b"');
  const image = `/var/lib/${"0123456789abcdef".repeat(4)}/_data`;
  assert(quotePath(image).startsWith('"/var/lib/0123'));
  const deep = "/Users/alice/projects/ambassador/certs/Production/a.pem";
  assertEquals(quotePath(deep), `"${deep}"`);
  const secrets = ["key.pem", PEM, `/${PEM}`, `.${btoa(PEM)}`, `/${btoa(PEM).slice(0, 80)}`, ""];
  for (const text of [...secrets, `/${"a/".repeat(128)}`]) {
    assertEquals(quotePath(text), "(not shown)", text);
  }
});
