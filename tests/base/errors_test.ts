import { assert, assertEquals } from "@std/assert";
import {
  BindError,
  ConfigError,
  describeError,
  errorCode,
  isPeerGone,
  isResetOnConnect,
  isShortage,
} from "../../src/base/errors.ts";
import { freePort, within } from "../helpers/mod.ts";

/** The error of a connect that can't succeed. */
async function connectError(
  hostname: string,
  port: number,
  signal?: AbortSignal,
): Promise<unknown> {
  try {
    using _conn = await within(
      Deno.connect({ hostname, port, ...(signal === undefined ? {} : { signal }) }),
      "the connect to fail",
    );
  } catch (error) {
    return error;
  }
  throw new Error("connected");
}

function withCode(code: string): Error {
  return Object.assign(new Error(`${code} (os error 0)`), { code });
}

Deno.test("ConfigError carries every problem", () => {
  const error = new ConfigError([{ message: "a" }, { message: "b", hint: "c" }]);
  assertEquals(error.name, "ConfigError");
  assertEquals(error.message, "a; b");
  assertEquals(error.problems.length, 2);
});

Deno.test("BindError keeps its cause and its hint", () => {
  const cause = new Error("why");
  const error = new BindError("cannot", { cause, hint: "try" });
  assertEquals([error.name, error.message, error.hint], ["BindError", "cannot", "try"]);
  assertEquals(error.cause, cause);
});

Deno.test("errorCode() gives the system's name for a real error", async () => {
  const refused = await connectError("127.0.0.1", freePort());
  assertEquals(errorCode(refused), "ECONNREFUSED");
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  try {
    Deno.listen({ hostname: "127.0.0.1", port: listener.addr.port }).close();
    throw new Error("bound twice");
  } catch (error) {
    assertEquals(errorCode(error), "EADDRINUSE");
  }
});

Deno.test("errorCode() is undefined for what the system did not say", async () => {
  const unknown = await connectError("no-such-host.invalid", 1);
  for (const error of [unknown, new Error("x"), undefined, null, "ECONNRESET", { code: "EPIPE" }]) {
    assertEquals(errorCode(error), undefined);
  }
  assertEquals(errorCode(new DOMException("late", "TimeoutError")), undefined);
});

Deno.test("isPeerGone() is true of what ends one connection and of nothing else", () => {
  for (const code of ["ECONNRESET", "ECONNABORTED", "EPIPE", "ENOTCONN", "ETIMEDOUT"]) {
    assert(isPeerGone(withCode(code)), code);
  }
  const { ConnectionReset, ConnectionAborted, BrokenPipe, NotConnected } = Deno.errors;
  for (const error of [ConnectionReset, ConnectionAborted, BrokenPipe, NotConnected]) {
    assert(isPeerGone(new error("gone")), error.name);
  }
  for (const code of ["EMFILE", "ENOMEM", "EADDRINUSE", "ECONNREFUSED"]) {
    assert(!isPeerGone(withCode(code)), code);
  }
  assert(!isPeerGone(new Deno.errors.Interrupted("x")) && !isPeerGone(undefined));
});

Deno.test("isResetOnConnect() is true of a reset and of nothing else", async () => {
  for (const code of ["ECONNRESET", "ENOTCONN"]) assert(isResetOnConnect(withCode(code)), code);
  for (const code of ["ECONNREFUSED", "ETIMEDOUT", "EHOSTUNREACH", "EMFILE"]) {
    assert(!isResetOnConnect(withCode(code)), code);
  }
  assert(!isResetOnConnect(await connectError("127.0.0.1", freePort())));
  assert(!isResetOnConnect(await connectError("no-such-host.invalid", 1)));
});

Deno.test("isShortage() is true of what the process or the machine has run out of", () => {
  for (const code of ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"]) assert(isShortage(withCode(code)));
  for (const code of ["ECONNRESET", "EACCES", ""]) assert(!isShortage(withCode(code)));
  assert(!isShortage(new Error("EMFILE")) && !isShortage(null));
});

Deno.test("describeError() says in plain words what happened", async () => {
  assertEquals(describeError(await connectError("127.0.0.1", freePort())), "connection refused");
  const unknown = describeError(await connectError("no-such-host.invalid", 1));
  assert(unknown.startsWith("name does not resolve: "), unknown);
  const controller = new AbortController();
  controller.abort(new DOMException("no answer within 10s", "TimeoutError"));
  const late = await connectError("127.0.0.1", 1, controller.signal);
  assertEquals(describeError(late), "no answer within 10s");
  assertEquals(describeError(withCode("EMFILE")), "out of file descriptors");
  assertEquals(describeError(withCode("ENOTCONN")), "not connected any more");
  assertEquals(describeError(withCode("EHOSTUNREACH")), "no route to host");
  assertEquals(describeError(withCode("EWHATEVER")), "EWHATEVER (os error 0)");
  assertEquals(describeError("text"), "text");
  assertEquals(describeError(undefined), "undefined");
});

Deno.test("isResetOnConnect() tells an upstream that was there from one that was not", async () => {
  assert(isResetOnConnect(withCode("ECONNRESET")));
  assert(isResetOnConnect(withCode("ENOTCONN")));
  assert(!isResetOnConnect(await connectError("127.0.0.1", freePort())));
  assert(!isResetOnConnect(new Error("no code")));
});
