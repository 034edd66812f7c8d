// Binds the listeners of all routes, or none, and says why an address can't be had.

import { type Address, formatAddress } from "../base/address.ts";
import { BindError, describeError, errorCode, PERMISSION_HINT } from "../base/errors.ts";
import { type Route, routeName } from "../config/routes.ts";
import { plain } from "../base/text.ts";

/** A route and what listens for it. */
export interface BoundRoute {
  /** The route, with the address and port that were really bound. */
  readonly route: Route;
  /** One, or two where IPv6 and IPv4 need one each. */
  readonly listeners: readonly Deno.TcpListener[];
}

/**
 * Binds every route. If one can't be bound, those before it are closed again.
 *
 * @throws {BindError} naming the route, the address and the reason
 */
export function bindRoutes(routes: readonly Route[]): BoundRoute[] {
  using opened = new DisposableStack();
  const bound = routes.map((route) => {
    try {
      const listeners = listen(route.listen.hostname, route.listen.port);
      for (const listener of listeners) opened.use(listener);
      const { hostname = "", port = 0 } = listeners[0]?.addr ?? {};
      return { route: { ...route, listen: { ...route.listen, hostname, port } }, listeners };
    } catch (cause) {
      throw bindError(route.listen, `route ${routeName(route, plain)}`, cause);
    }
  });
  opened.move();
  return bound;
}

function listen(hostname: string, port: number): Deno.TcpListener[] {
  if (hostname !== "::") return [Deno.listen({ hostname, port })];
  let isDual: boolean;
  let ipv6: Deno.TcpListener;
  try {
    isDual = takesIpv4();
    ipv6 = Deno.listen({ hostname, port });
  } catch (error) {
    if (!lacksFamily(error)) throw error;
    return [Deno.listen({ hostname: "0.0.0.0", port })];
  }
  if (isDual) return [ipv6];
  try {
    return [ipv6, Deno.listen({ hostname: "0.0.0.0", port: ipv6.addr.port })];
  } catch (error) {
    if (lacksFamily(error)) return [ipv6];
    ipv6.close();
    throw error;
  }
}

let dualStack: boolean | undefined;

/**
 * Whether a listener on `::` takes IPv4 too, which is the machine's choice (net.ipv6.bindv6only; Windows
 * never does): then its port is taken for IPv4 as well. Asked with a port that nobody else has.
 */
function takesIpv4(): boolean {
  if (dualStack !== undefined) return dualStack;
  using ipv6 = Deno.listen({ hostname: "::", port: 0 });
  try {
    Deno.listen({ hostname: "0.0.0.0", port: ipv6.addr.port }).close();
    dualStack = false;
  } catch (error) {
    dualStack = error instanceof Deno.errors.AddrInUse;
  }
  return dualStack;
}

/** Whether the machine has no IPv6, or no IPv4, at all. */
export function lacksFamily(error: unknown): boolean {
  const code = errorCode(error);
  return code === "EAFNOSUPPORT" || code === "EADDRNOTAVAIL" ||
    (error instanceof Error && /os error (?:97|99)\b/.test(error.message));
}

/** Says that an address can't be bound, for whom (`route REDIS`, `--status`), why, and a way out. */
export function bindError(listen: Address, user: string, cause: unknown): BindError {
  const message = `cannot listen on ${formatAddress(listen)} for ${user}: ${describeError(cause)}`;
  return new BindError(message, { cause, hint: bindHint(listen, cause) });
}

function bindHint(listen: Address, cause: unknown): string | undefined {
  if (cause instanceof Deno.errors.AddrInUse) {
    return `another program, or another route, has port ${listen.port}; stop it or listen elsewhere`;
  }
  if (cause instanceof Deno.errors.NotCapable) return PERMISSION_HINT;
  const code = errorCode(cause);
  if (cause instanceof Deno.errors.PermissionDenied || code === "EACCES") {
    return listen.port < 1024
      ? "ports below 1024 need a right: run with --sysctl net.ipv4.ip_unprivileged_port_start=0 " +
        "(docker) or CAP_NET_BIND_SERVICE, or listen on a higher port"
      : undefined;
  }
  if (cause instanceof Deno.errors.AddrNotAvailable || code === "EADDRNOTAVAIL") {
    return "choose an address that this machine has, or leave --bind out to listen on all";
  }
  return undefined;
}
