import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import type { Protocol } from "../../src/base/address.ts";
import { BindError } from "../../src/base/errors.ts";
import { bindRoutes, type BoundRoute, socketOf } from "../../src/forward/entry_point.ts";
import type { Route } from "../../src/config/routes.ts";
import type { ListenOptions } from "../../src/net/stream.ts";
import { PLAIN_TRANSPORTS } from "../../src/net/transports.ts";
import { freeUdpPort } from "../helpers/datagrams.ts";
import { freePort, within } from "../helpers/mod.ts";
import { IPV6, LINUX, needs } from "../helpers/needs.ts";
import { routeContext, routeTo } from "../helpers/routes.ts";

function route(hostname: string, port: number, aliases: readonly string[] = ["REDIS"]): Route {
  return routeTo({ hostname: "192.0.2.1", port: 6379 }, { aliases, listen: { hostname, port } });
}

function bindAll(routes: readonly Route[]): readonly BoundRoute[] {
  return bindRoutes(routes, routeContext());
}

/** Why the first of the routes that can't be bound can't be. */
function bindError(routes: readonly Route[], options: ListenOptions = {}): BindError {
  const { errors } = assertThrows(
    () => bindRoutes(routes, { ...routeContext(), ...options }),
    AggregateError,
  );
  assert(errors[0] instanceof BindError);
  return errors[0];
}

function closeAll(bound: readonly BoundRoute[]): Disposable {
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
  const bound = bindAll([route("127.0.0.1", 0, ["A"]), route("127.0.0.2", 0, ["B"])]);
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
  const bound = bindAll([route("::", 0)]);
  using _closing = closeAll(bound);
  const { port } = bound[0]?.route.listen ?? { port: 0 };
  assert(await isOpen("127.0.0.1", port));
  assert(await isOpen("::1", port));
});

Deno.test({
  name: "bindRoutes() takes one family where it listens on one address",
  ...needs(IPV6),
}, async () => {
  const bound = bindAll([route("0.0.0.0", 0)]);
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
  assertStringIncludes(bindError(routes).message, "TAKEN");
  assert(!await isOpen("127.0.0.1", first));
  assert(!await isOpen("127.0.0.1", last));
});

Deno.test("bindRoutes() names route, address and reason of a port that is taken, with a hint", () => {
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = taken.addr;
  for (const [aliases, name] of [[["B", "A"], "B,A"], [[], String(port)]] as const) {
    const error = bindError([route("127.0.0.1", port, aliases)]);
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
  const error = bindError([route("127.0.0.1", port)], { reusePort: true });
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
  assertStringIncludes(bindError([route("::", taken.addr.port)]).message, "address in use");
});

Deno.test("bindRoutes() sees that two of its own routes want one port", async () => {
  const port = freePort();
  const error = bindError([route("0.0.0.0", port, ["A"]), route("127.0.0.1", port, ["B"])]);
  assertStringIncludes(error.message, "for route B: address in use");
  assertStringIncludes(error.hint ?? "", "another route");
  assert(!await isOpen("127.0.0.1", port));
});

Deno.test("bindRoutes() says so where the machine does not have the address", () => {
  const error = bindError([route("192.0.2.1", 6379)]);
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
  const error = bindError([route("127.0.0.1", 1)]);
  assertStringIncludes(error.message, "permission denied");
  assertStringIncludes(error.hint ?? "", "ports below 1024");
});

Deno.test("bindRoutes() keeps a hostile alias in one line", () => {
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const hostile = route("127.0.0.1", taken.addr.port, ["A\nINFO  ready"]);
  const { message } = bindError([hostile]);
  assertStringIncludes(message, 'for route "A\\nINFO  ready": address in use');
});

Deno.test("socketOf() tells UDP from TCP, and TCP from TLS at the same address not", () => {
  const socket = (protocol: Protocol, hostname = "::"): string =>
    socketOf({ protocol, hostname, port: 53 });
  assertEquals(socket("tcp"), socket("tls"));
  assert(socket("udp") !== socket("tcp") && socket("udp") !== socket("udp", "0.0.0.0"));
});

Deno.test("bindRoutes() binds TCP and UDP at one port, and closes both where a third fails", () => {
  const port = freeUdpPort();
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const both = (["tcp", "udp"] as const).map((protocol) =>
    routeTo({ protocol, hostname: "192.0.2.1", port: 53 }, {
      listen: { protocol, hostname: "127.0.0.1", port },
    })
  );
  for (let times = 0; times < 2; times++) {
    const bound = bindRoutes(both, { transports: PLAIN_TRANSPORTS });
    assertEquals(bound.map(({ route }) => route.listen.port), [port, port]);
    for (const listener of bound.flatMap(({ listeners }) => listeners)) listener.close();
    bindError([...both, route("127.0.0.1", taken.addr.port)]);
  }
});

Deno.test("bindRoutes() says of a port of UDP that is taken that it is, shared or not", () => {
  const taken = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  try {
    const { port } = taken.addr as Deno.NetAddr;
    const udp = routeTo({ protocol: "udp", hostname: "192.0.2.1", port: 53 }, {
      aliases: ["DNS"],
      listen: { protocol: "udp", hostname: "127.0.0.1", port },
    });
    for (const reusePort of [true, false]) {
      const error = bindError([udp], { reusePort });
      assertStringIncludes(error.message, `cannot listen on 127.0.0.1:${port}/udp for route DNS`);
      assertStringIncludes(error.hint ?? "", "another program, or another route");
    }
  } finally {
    taken.close();
  }
});
