import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { parseCommand } from "../../src/config/command_line.ts";
import { COMMANDS, SPECS } from "../../src/config/options.ts";
import { usage } from "../../src/config/help.ts";
import "../helpers/mod.ts";

Deno.test("usage() shows each command, and each option with its default", () => {
  const text = usage();
  for (const command of COMMANDS) assertStringIncludes(text, `  ambassador ${command} `);
  for (const spec of SPECS) {
    const line = text.split("\n").find((other) =>
      other.startsWith(`  --${spec.name} ${spec.kind.placeholder}`.trimEnd() + " ")
    );
    assert(line !== undefined, spec.name);
    assertStringIncludes(line, `${spec.route === undefined ? " " : "*"} ${spec.help}`);
    if (spec.default !== undefined) assert(line.endsWith(` [${spec.default}]`), line);
  }
  assertStringIncludes(text, "-h, --help");
  assertStringIncludes(text, "-V, --version");
  assertStringIncludes(text, "130 or 143");
});

Deno.test("usage() fits a terminal of 100 columns and holds nothing but plain text", () => {
  for (const line of usage().split("\n")) {
    assert(line.length <= 100, line);
    assert(/^[ -~]*$/.test(line), line);
    assertEquals(line, line.trimEnd());
  }
});

Deno.test("usage() gives examples that parse", () => {
  const examples = usage().split("\n").slice(usage().split("\n").indexOf("Examples:") + 1)
    .filter((line) => line.startsWith("  ") && line.includes("ambassador"))
    .map((line) => line.replace(/&&.*/, "").trim().split(/\s+/));
  assertEquals(examples.length, 7);
  for (const words of examples) {
    const at = words.indexOf("ambassador");
    const environment = Object.fromEntries(
      words.slice(0, at).map((word) => word.split("=", 2) as [string, string]),
    );
    const standIn = at === 0 ? { REDIS_PORT_6379_TCP: "tcp://192.0.2.10:6379" } : environment;
    const { routes, bare } = parseCommand(words.slice(at + 1), standIn);
    assert(routes.length + bare.length > 0, words.join(" "));
  }
});

Deno.test("usage() says how TLS and UDP are chosen, by arguments and by variables", () => {
  const text = usage();
  for (
    const [variable = "", value = ""] of text.matchAll(/\w+_PORT_\d+_[TU]\w+=\w+:[\w./:]+/g)
      .map(([route]) => route.split("="))
  ) {
    const { routes } = parseCommand(["wait"], { [variable]: value });
    assertEquals(routes.length, 1, variable);
  }
  for (
    const part of [
      ...["/tls", "tls://HOST:PORT", "_TLS=tcp://", "_TCP=tls://", "6380/tls=redis:6379"],
      ...["/udp", "_UDP=udp://", "53/udp="],
    ]
  ) {
    assertStringIncludes(text, part);
  }
});
