import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { parseCommand } from "../../src/config/command_line.ts";
import { COMMANDS, SPECS } from "../../src/config/options.ts";
import {
  CALLS,
  EXAMPLES,
  PRINTING_CALL,
  PURPOSE,
  STATUSES,
  TIMES,
  usage,
} from "../../src/config/help.ts";
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

Deno.test("usage() says every word that the man page and the completions take from beside it", () => {
  const lines = usage().split("\n");
  const text = usage().replaceAll(/\s+/g, " ");
  assertEquals(lines[0], `ambassador: ${PURPOSE}`);
  for (const { call, help } of Object.values(CALLS)) {
    const line = lines.find((other) => other.startsWith(`  ${call}  `));
    assertEquals(line?.slice(call.length + 2).trim(), help);
  }
  for (const line of [...EXAMPLES, PRINTING_CALL]) assert(lines.includes(`  ${line}`), line);
  for (const { status, help } of STATUSES) assertStringIncludes(text, ` ${status} ${help}`);
  assert(lines.includes(TIMES));
});

Deno.test("EXAMPLES parse", () => {
  const examples = EXAMPLES.map((line) => line.replace(/&&.*/, "").trim().split(/\s+/));
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
