import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Address } from "../../src/base/address.ts";
import { TimeLimit } from "../../src/base/time.ts";
import { askReadiness } from "../../src/commands/healthcheck.ts";
import {
  freePort,
  readExactly,
  runProgram,
  startForwarder,
  startProgram,
  startUpstream,
  within,
  writeAll,
} from "../helpers/mod.ts";

async function ask(status: Address, ms = 5000): Promise<string | undefined> {
  using limit = new TimeLimit(ms);
  return await askReadiness(status, limit.signal);
}

/** A server that answers every request with this text and closes. */
function startAnswer(text: string): ReturnType<typeof startUpstream> {
  return startUpstream(async (conn) => {
    await readExactly(conn, "GET /readyz HTTP/1.1\r\n".length);
    await writeAll(conn, text);
  });
}

Deno.test("askReadiness() finds a running ambassador ready", async () => {
  const target = { hostname: "127.0.0.1", port: 9 };
  await using forwarder = await startForwarder([target], {
    status: { hostname: "127.0.0.1", port: 0 },
  });
  const port = Number(new URL(forwarder.statusUrl).port);
  assertEquals(await ask({ hostname: "127.0.0.1", port }), undefined);
});

Deno.test("askReadiness() asks loopback where the status page is on every address", async () => {
  await using ipv4 = startAnswer("HTTP/1.1 200 OK\r\n\r\n");
  const { port } = ipv4.address;
  assertEquals(await ask({ hostname: "0.0.0.0", port }), undefined);
  // Nothing is on ::1, as on a machine without IPv6.
  assertEquals(await ask({ hostname: "::", port }), undefined);
});

Deno.test("askReadiness() says what was answered instead of 200", async () => {
  for (const line of ["HTTP/1.1 503 Service Unavailable", "HTTP/1.1 2000", "SSH-2.0-x", ""]) {
    await using server = startAnswer(`${line}\r\nX: HTTP/1.1 200 OK\r\n\r\n`);
    const problem = await ask(server.address);
    const port = server.address.port;
    assertEquals(problem, `not ready: 127.0.0.1:${port} answered ${JSON.stringify(line)}`);
  }
});

Deno.test("askReadiness() escapes and cuts an answer that is not HTTP", async () => {
  await using server = startAnswer(`\x1b[2J${"x".repeat(100_000)}`);
  const problem = await ask(server.address) ?? "";
  assertMatch(problem, /answered "\\u001b\[2Jx+…"$/);
  assert(problem.length < 200, `${problem.length} characters`);
});

Deno.test("askReadiness() gives a silent server no longer than its limit", async () => {
  await using server = startUpstream(async (conn) => {
    await conn.read(new Uint8Array(1000));
    // Half an answer, and then nothing.
    await writeAll(conn, "HTTP/1.1 2");
    await conn.read(new Uint8Array(1000));
  });
  const problem = within(ask(server.address, 100), "its limit", 2000);
  assertMatch(await problem ?? "", /: no answer within 100ms$/);
});

Deno.test("ambassador healthcheck ends with 0 for one that is ready and with 1 for one that drains", async () => {
  const [port, status] = [freePort(), freePort()];
  const env = { AMBASSADOR_STATUS: `127.0.0.1:${status}` };
  await using program = startProgram(
    ["--drain-delay", "30s", `127.0.0.1:${port}=127.0.0.1:9`],
    { env },
  );
  await program.line(/ ready /);
  // A proxy is for the web, not for asking oneself.
  const proxied = { ...env, HTTP_PROXY: `http://127.0.0.1:${freePort()}` };
  assertEquals(await runProgram(["healthcheck"], { env: proxied }), {
    code: 0,
    stdout: "",
    stderr: "",
  });
  program.kill("SIGTERM");
  await program.line(/ draining /);
  assertEquals(await runProgram(["healthcheck", "--status", `0.0.0.0:${status}`]), {
    code: 1,
    stdout: "",
    stderr:
      `ambassador: not ready: 0.0.0.0:${status} answered "HTTP/1.1 503 Service Unavailable"\n`,
  });
});

Deno.test("ambassador healthcheck ends with 1 where nobody answers and with 2 where nobody can", async () => {
  const status = `127.0.0.1:${freePort()}`;
  assertEquals(await runProgram(["healthcheck"], { env: { AMBASSADOR_STATUS: status } }), {
    code: 1,
    stdout: "",
    stderr: `ambassador: not ready: ${status}: connection refused\n`,
  });
  const off = await runProgram(["healthcheck"]);
  assertEquals([off.code, off.stdout], [2, ""]);
  assertMatch(off.stderr, /^ambassador: healthcheck: .*--status is off\n {2}hint: .*\n$/);
});

Deno.test("ambassador healthcheck is broken by nothing but what it reads", async () => {
  await using server = startAnswer("HTTP/1.1 200 OK\r\n\r\n");
  const env = {
    AMBASSADOR_STATUS: `127.0.0.1:${server.address.port}`,
    AMBASSADOR_BIND: "nowhere",
    AMBASSADOR_TLS_CERT: "/no/such/file",
    AMBASSADOR_ROUTES: "/no/such/file",
    A_PORT_1_TCP: "hunter2",
    B_PORT_2_TLS: "tcp://b:2",
  };
  assertEquals(await runProgram(["healthcheck"], { env }), { code: 0, stdout: "", stderr: "" });
  const args = ["healthcheck", "--tls-cert", "x", "--connect-timeout=x", "1=x", "--bogus"];
  assertEquals((await runProgram(args, { env })).code, 0);
});
