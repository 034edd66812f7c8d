import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { type ActiveRoute, bindRoutes as bind, leadsTo } from "../../src/forward/active_route.ts";
import { BindError } from "../../src/base/errors.ts";
import type { Route } from "../../src/config/routes.ts";
import { freePort, within } from "../helpers/mod.ts";
import { IPV6, LINUX, needs } from "../helpers/needs.ts";
import { routeContext, routeTo } from "../helpers/routes.ts";

function route(hostname: string, port: number, aliases: readonly string[] = ["REDIS"]): Route {
  return routeTo({ hostname: "192.0.2.1", port: 6379 }, { aliases, listen: { hostname, port } });
}

function bindRoutes(routes: readonly Route[]): readonly ActiveRoute[] {
  return bind(routes, routeContext());
}

function closeAll(bound: readonly ActiveRoute[]): Disposable {
  return {
    [Symbol.dispose](): void {
      for (const { listeners } of bound) for (const listener of listeners) listener.close();
    },
  };
}

/** Whether somebody listens there. */
async function isOpen(hostname: string, port: number): Promise<boolean> {
  try {
    using _conn = await within(Deno.connect({ hostname, port }), "a connect");
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused) return false;
    throw error;
  }
}

Deno.test("bindRoutes() binds every route and gives what was really bound, in order", async () => {
  const bound = bindRoutes([route("127.0.0.1", 0, ["A"]), route("127.0.0.2", 0, ["B"])]);
  using _closing = closeAll(bound);
  assertEquals(bound.map((each) => each.route.aliases), [["A"], ["B"]]);
  assertEquals(bound.map((each) => each.route.listen.hostname), ["127.0.0.1", "127.0.0.2"]);
  for (const { route: { listen }, listeners } of bound) {
    assert(listen.port > 0);
    assertEquals(listeners.length, 1);
    assert(await isOpen(listen.hostname, listen.port));
  }
});

Deno.test("bindRoutes() takes IPv4 and IPv6 where it listens on ::", needs(IPV6), async () => {
  const bound = bindRoutes([route("::", 0)]);
  using _closing = closeAll(bound);
  const { port } = bound[0]?.route.listen ?? { port: 0 };
  assert(await isOpen("127.0.0.1", port));
  assert(await isOpen("::1", port));
});

Deno.test({
  name: "bindRoutes() takes one family where it listens on one address",
  ...needs(IPV6),
}, async () => {
  const bound = bindRoutes([route("0.0.0.0", 0)]);
  using _closing = closeAll(bound);
  const { port } = bound[0]?.route.listen ?? { port: 0 };
  assert(await isOpen("127.0.0.1", port));
  assert(!await isOpen("::1", port));
});

Deno.test("bindRoutes() leaves none open if one can't be bound", async () => {
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [first, last] = [freePort(), freePort()];
  const routes = [
    route("127.0.0.1", first, ["FIRST"]),
    route("127.0.0.1", taken.addr.port, ["TAKEN"]),
    route("127.0.0.1", last, ["LAST"]),
  ];
  assertThrows(() => bindRoutes(routes), BindError, "TAKEN");
  assert(!await isOpen("127.0.0.1", first));
  assert(!await isOpen("127.0.0.1", last));
});

Deno.test("bindRoutes() names route, address and reason of a port that is taken, with a hint", () => {
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = taken.addr;
  for (const [aliases, name] of [[["B", "A"], "B,A"], [[], String(port)]] as const) {
    const error = assertThrows(() => bindRoutes([route("127.0.0.1", port, aliases)]), BindError);
    assertEquals(
      error.message,
      `cannot listen on 127.0.0.1:${port} for route ${name}: address in use`,
    );
    assertStringIncludes(error.hint ?? "", `port ${port}`);
    assert(error.cause instanceof Deno.errors.AddrInUse);
  }
});

Deno.test("bindRoutes() says of a port that is not shared who may have it", needs(LINUX), () => {
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = taken.addr;
  const error = assertThrows(
    () => bind([route("127.0.0.1", port)], { ...routeContext(), reusePort: true }),
    BindError,
  );
  assertEquals(
    error.message,
    `cannot listen on 127.0.0.1:${port} for route REDIS: address in use`,
  );
  assertEquals(
    error.hint,
    `port ${port} is held by a program without --reuse-port, or of another user`,
  );
});

Deno.test("bindRoutes() sees that :: wants a port that IPv4 has already", () => {
  using taken = Deno.listen({ hostname: "0.0.0.0", port: 0 });
  assertThrows(() => bindRoutes([route("::", taken.addr.port)]), BindError, "address in use");
});

Deno.test("bindRoutes() sees that two of its own routes want one port", async () => {
  const port = freePort();
  const error = assertThrows(
    () => bindRoutes([route("0.0.0.0", port, ["A"]), route("127.0.0.1", port, ["B"])]),
    BindError,
    "for route B: address in use",
  );
  assertStringIncludes(error.hint ?? "", "another route");
  assert(!await isOpen("127.0.0.1", port));
});

Deno.test("bindRoutes() says so where the machine does not have the address", () => {
  const error = assertThrows(() => bindRoutes([route("192.0.2.1", 6379)]), BindError);
  assertEquals(
    error.message,
    "cannot listen on 192.0.2.1:6379 for route REDIS: not an address of this machine",
  );
  assertStringIncludes(error.hint ?? "", "--bind");
});

/** A user who may not have port 1; root is tried in `tests/program`. */
const GUARDED_PORTS = {
  name: "a user without the right to port 1",
  isHere: !mayListenOn(1),
};

function mayListenOn(port: number): boolean {
  try {
    Deno.listen({ hostname: "127.0.0.1", port }).close();
    return true;
  } catch (error) {
    return !(error instanceof Deno.errors.PermissionDenied);
  }
}

Deno.test("bindRoutes() says what right a port below 1024 needs", needs(GUARDED_PORTS), () => {
  const error = assertThrows(() => bindRoutes([route("127.0.0.1", 1)]), BindError);
  assertStringIncludes(error.message, "permission denied");
  assertStringIncludes(error.hint ?? "", "ports below 1024");
});

Deno.test("bindRoutes() keeps a hostile alias in one line", () => {
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const hostile = route("127.0.0.1", taken.addr.port, ["A\nINFO  ready"]);
  const { message } = assertThrows(() => bindRoutes([hostile]), BindError);
  assertStringIncludes(message, 'for route "A\\nINFO  ready": address in use');
});

const streamOf = (local: string, remote: string, port: number): Parameters<typeof leadsTo>[0] => ({
  localAddr: { hostname: local, port: 40_000 },
  remoteAddr: { hostname: remote, port },
});

Deno.test("leadsTo() recognises this machine's own address and loopback at a port that is listened on", () => {
  const cases: [local: string, remote: string, listen: string, leads: boolean][] = [
    ["127.0.0.1", "127.0.0.1", "127.0.0.1", true],
    ["127.0.0.1", "127.0.0.1", "::", true],
    ["127.0.0.1", "127.1.2.3", "0.0.0.0", true],
    ["127.0.0.1", "127.1.2.3", "127.0.0.1", false],
    ["::1", "::1", "::", true],
    ["::1", "::1", "0.0.0.0", false],
    ["192.0.2.1", "192.0.2.1", "::", true],
    ["192.0.2.1", "192.0.2.1", "192.0.2.1", true],
    ["192.0.2.1", "192.0.2.1", "127.0.0.1", false],
    ["192.0.2.1", "192.0.2.2", "::", false],
    ["::ffff:192.0.2.1", "::ffff:192.0.2.1", "0.0.0.0", true],
    ["::ffff:127.0.0.1", "::ffff:127.0.0.1", "127.0.0.1", true],
  ];
  for (const [local, remote, listen, leads] of cases) {
    const listeners = [{ addr: { hostname: listen, port: 6379 } }];
    const what = `${local} → ${remote}, listening on ${listen}`;
    assertEquals(leadsTo(streamOf(local, remote, 6379), listeners), leads, what);
    assertEquals(leadsTo(streamOf(local, remote, 6380), listeners), false, what);
  }
});
