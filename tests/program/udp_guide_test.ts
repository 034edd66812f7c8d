// What docs/udp.md tells people to do, done as it stands there: its lines are understood, the program
// forwards by them, and what it says of sessions, reasons, errors and several addresses is so.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { formatListen } from "../../src/base/address.ts";
import { type Command, parseCommand } from "../../src/config/command_line.ts";
import { DROP_REASONS, REASONS } from "../../src/forward/counts.ts";
import {
  askUdp,
  freeUdpPort,
  startUdpEcho,
  startUdpNamed,
  startUdpPeer,
} from "../helpers/datagrams.ts";
import { readDockerRun, readGuide, shell } from "../helpers/guide.ts";
import { commandsOf } from "../helpers/markdown.ts";
import { runProgram, startProgram } from "../helpers/mod.ts";
import { IPV6, LINUX, needs, UNIX } from "../helpers/needs.ts";
import { linesOf } from "../helpers/process.ts";
import { startUdpRoute } from "../helpers/udp_program.ts";

const GUIDE = readGuide("docs/udp.md");

/** The arguments of every `ambassador` line. */
const ARGUMENTS = GUIDE.commands.filter(({ words: [program] }) => program === "ambassador")
  .map(({ words }) => words.slice(1));

/** A command that has to be understood without a word. */
function understood(args: readonly string[], env: Record<string, string> = {}): Command {
  const command = parseCommand(args, env);
  assertEquals([command.warnings, command.ignored], [[], []], args.join(" "));
  return command;
}

function listensOf({ routes }: Command): string[] {
  return routes.map(({ listen }) => formatListen(listen).replace(/^\[::\]:/, ""));
}

Deno.test("docs/udp.md shows lines that are understood", () => {
  assertEquals(ARGUMENTS.map((args) => listensOf(understood(args)).join(" ")), [
    "5300/udp",
    "53/udp 514/udp",
    "53/udp",
    "53/udp",
    "192.0.2.2:53/udp",
    "127.0.0.1:53/udp 192.0.2.2:53/udp",
  ]);
  const variables = GUIDE.commands.map(({ env }) => env)
    .filter((env) => Object.keys(env).some((name) => name.endsWith("_UDP")));
  assertEquals(variables.length, 2);
  for (const env of variables) assertEquals(listensOf(understood([], env)).length, 1);
});

Deno.test("docs/udp.md starts a container that publishes both protocols of DNS", () => {
  const { words } = GUIDE.commands.find(({ words: [, verb] }) => verb === "run") ?? { words: [] };
  const run = readDockerRun(words);
  assert(run !== undefined);
  assertEquals(listensOf(understood(run.args, run.env)), ["53", "53/udp"]);
  assertEquals(run.published, [53, 53]);
  const published = words.filter((_, index) => words[index - 1] === "-p");
  assertEquals(published, ["53:53/udp", "53:53/tcp"]);
});

Deno.test(
  "docs/udp.md asks a name server by its first lines",
  needs(UNIX, "bash", "dig"),
  async () => {
    // Which says that it knows nothing of it: the question, marked as an answer.
    await using server = startUdpPeer({
      answer: ({ data }) =>
        Uint8Array.from(data, (byte, index) => index === 2 ? byte | 0x80 : byte),
    });
    const port = freeUdpPort();
    const moved = GUIDE.block("ambassador --allow 127").replaceAll("5300", String(port))
      .replace("192.0.2.53:53", `127.0.0.1:${server.address.port}`);
    const [start] = commandsOf({ text: moved });
    const [, ask = ""] = moved.split("\n");
    await using program = startProgram(start?.words.slice(1) ?? [], {
      env: { AMBASSADOR_BIND: "127.0.0.1" },
    });
    await program.line(/ ready /);
    assertMatch(await shell(ask, "."), /status: NOERROR[^]*;example\.com\.\s+IN\s+A/);
  },
);

Deno.test("docs/udp.md names the limits that hold unless others are given", () => {
  const { options } = understood(["53/udp=192.0.2.53:53"]);
  assertStringIncludes(GUIDE.text, `\`--udp-timeout\` (${options.udpTimeoutMs / 1000}s;`);
  assertStringIncludes(GUIDE.text, `\`--max-sessions\` (${options.maxSessions};`);
});

/** The first cells of a table that has these words in its head. */
function firstCells(head: string): string[] {
  const lines = GUIDE.text.split("\n");
  const at = lines.findIndex((line) => line.startsWith("|") && line.includes(head));
  assert(at >= 0, head);
  const length = lines.slice(at).findIndex((line) => !line.startsWith("|"));
  return lines.slice(at + 2, at + length).map((line) => line.split("`")[1] ?? "");
}

Deno.test("docs/udp.md names every reason for which a datagram is lost, and no other", () => {
  assertEquals(firstCells("the datagram").toSorted(), DROP_REASONS.toSorted());
  const known: readonly string[] = REASONS;
  for (const reason of firstCells("the session")) assert(known.includes(reason), reason);
});

Deno.test("docs/udp.md says which sessions give way", async () => {
  await using echo = startUdpEcho();
  await using route = await startUdpRoute([echo.address], {
    args: ["--max-sessions", "2", "--log-level", "debug"],
  });
  await using talks = startUdpPeer();
  const ask = async (): Promise<string> => {
    await talks.send("?", route.address);
    return (await talks.next()).text;
  };
  await ask();
  await ask();
  // It has been quiet for longer than each of these, and they have sent one datagram.
  for (let client = 0; client < 5; client++) assertEquals(await askUdp(route.address, "!"), "!");
  await ask();
  assertEquals(echo.sources, 6);
  const { closed } = await route.counted(({ closed }) => closed["evicted"] === 4, "four to go");
  assertEquals(closed, { evicted: 4 });
  // Merely open ones are no error.
  assertEquals(await route.stop(), 0);
  const reasons = linesOf(route.program, "connection_closed").map((line) =>
    /reason=(\w+)/.exec(line)?.[1]
  );
  assertEquals(reasons, ["evicted", "evicted", "evicted", "evicted", "finished", "finished"]);
});

Deno.test("docs/udp.md says that a quiet session ends, and its client gets another", async () => {
  await using echo = startUdpEcho();
  await using route = await startUdpRoute([echo.address], { args: ["--udp-timeout", "200ms"] });
  await using client = startUdpPeer();
  for (const sources of [1, 2]) {
    await client.send("?", route.address);
    assertEquals((await client.next()).text, "?");
    assertEquals(echo.sources, sources);
    await route.counted(({ closed }) => closed["idle_timeout"] === sources, "the session to end");
  }
});

Deno.test("docs/udp.md says that a stranger is counted, and gets no session", async () => {
  await using echo = startUdpEcho();
  await using route = await startUdpRoute([echo.address], { args: ["--allow", "192.0.2.0/24"] });
  await using stranger = startUdpPeer();
  await stranger.send("?", route.address);
  const { opened } = await route.counted(({ dropped }) => dropped["not_allowed"] === 1, "the drop");
  assertEquals([opened, echo.count], [0, 0]);
});

/** What a PROXY header takes, and the most that a datagram can hold, in bytes. */
const SIZES = [["127.0.0.1", 28, 65_507], ["::1", 52, 65_527, IPV6]] as const;

for (const [hostname, header, most, ...more] of SIZES) {
  Deno.test(
    `docs/udp.md says how long a PROXY header is at ${hostname}, and what is then too long`,
    needs(...more),
    async () => {
      const { text } = GUIDE;
      assertMatch(text, new RegExp(`\\b${header}(?: bytes of a datagram)?\\s+over IP`));
      assertMatch(text, new RegExp(`${most.toLocaleString("en")}(?: bytes)?\\s+over\\s+IP`));
      await using target = startUdpPeer({ hostname });
      await using route = await startUdpRoute([target.address], {
        hostname,
        args: ["--send-proxy", "v2"],
      });
      await using client = startUdpPeer({ hostname });
      await client.send(new Uint8Array(100), route.address);
      assertEquals((await target.next()).data.length, 100 + header);
      await client.send(new Uint8Array(most - header), route.address);
      await target.next();
      await client.send(new Uint8Array(most - header + 1), route.address);
      const { up, lost } = await route.counted(
        ({ dropped }) => dropped["too_large"] === 1,
        "the drop",
      );
      assertEquals([up.datagrams, lost], [2, 1]);
    },
  );
}

Deno.test("docs/udp.md names what is an error on a UDP route, and what does it instead", () => {
  const said = (setting: string, route = "53/udp"): string => {
    try {
      parseCommand([`${route}=192.0.2.53:53?${setting}`], {});
    } catch (error) {
      return String(error);
    }
    return "";
  };
  const part = GUIDE.text.slice(GUIDE.text.indexOf("## Options that mean nothing here"));
  const errors: Record<string, string> = {
    "max-connections=9": "max-sessions",
    "accept-proxy=192.0.2.1": "forged",
    "send-proxy=v1": "v2",
    "idle-timeout=9s": "udp-timeout",
    "half-close-timeout=9s": "udp-timeout",
    "handshake-timeout=9s": "",
    "tls-name=dns": "",
    "tls-allow=dns": "",
    "starttls=postgres": "",
  };
  for (const [setting, instead] of Object.entries(errors)) {
    assertStringIncludes(said(setting), instead, setting);
    assert(said(setting) !== "", setting);
    const [name = ""] = setting.split("=");
    if (!/tls/.test(name)) assertStringIncludes(part, `\`${name}`);
  }
  for (const setting of ["udp-timeout=9s", "max-sessions=9"]) {
    assert(said(setting, "53") !== "", setting);
    assertEquals(said(setting), "");
  }
  const options = [
    ["--max-connections", "9"],
    ["--accept-proxy", "192.0.2.1"],
    ["--send-proxy", "v1"],
    ["--reuse-port"],
  ];
  for (const [option = "", ...value] of options) {
    const { warnings } = parseCommand([
      option,
      ...value,
      "53/udp=192.0.2.53:53",
      "53=192.0.2.53:53",
    ], {});
    assertEquals(warnings.length, 1, option);
    assertStringIncludes(
      part.replaceAll("\n", " "),
      `\`${[option, ...value.filter((v) => v === "v1")].join(" ")}\``,
    );
  }
});

Deno.test("docs/udp.md says what check and wait can't do", async () => {
  const two = "127.0.0.1:9,127.0.0.1:10";
  const check = await runProgram(["check", `5300/udp=${two}`]);
  assertEquals(check.code, 0, check.stderr);
  assertMatch(check.stderr, /UDP.*refus/);
  const waited = await runProgram(["wait", "--timeout", "1s", "udp://127.0.0.1:9"]);
  assertEquals(waited.code, 2, waited.stderr);
  assertStringIncludes(waited.stderr, "udp://127.0.0.1:9");
});

Deno.test(
  "docs/udp.md says that an answer may leave from another address, and what helps",
  needs(LINUX),
  async () => {
    await using server = startUdpNamed("s");
    const port = freeUdpPort("0.0.0.0");
    const to = `127.0.0.1:${server.address.port}`;
    async function answeredFrom(route: string): Promise<string> {
      await using program = startProgram([route]);
      await program.line(/ ready /);
      await using client = startUdpPeer();
      await client.send("?", { hostname: "127.0.0.2", port });
      return (await client.next()).from.hostname;
    }
    assertEquals(await answeredFrom(`0.0.0.0:${port}/udp=${to}`), "127.0.0.1");
    assertEquals(await answeredFrom(`127.0.0.2:${port}/udp=${to}`), "127.0.0.2");
  },
);

Deno.test(
  "docs/udp.md shows where the system counts what it has dropped",
  needs(LINUX, "bash", "nstat"),
  async () => {
    const lines = await shell(GUIDE.block("nstat"), ".");
    assertMatch(lines, /^UdpRcvbufErrors +\d+ /m);
    assertMatch(lines, /^Udp6RcvbufErrors +\d+ /m);
    assertMatch(lines, /^Udp: .* RcvbufErrors /m);
    // docker inspect tells a process in the container.
    const docker = "docker() { [[ $1 = inspect ]] && echo $$; }\n";
    assertMatch(await shell(docker + GUIDE.block("grep Udp: /proc/$("), "."), /^Udp: \d/m);
  },
);
