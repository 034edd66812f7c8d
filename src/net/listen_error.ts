// Says why an address can't be listened on, and what to do about it.

import { type Address, type Endpoint, formatAddress, formatListen } from "../base/address.ts";
import { BindError, describeError, errorCode, PERMISSION_HINT } from "../base/errors.ts";
import type { ListenOptions } from "./stream.ts";

/** What went wrong, for {@linkcode listenError}. */
export interface ListenFailure extends ListenOptions {
  /** The error of listening. */
  readonly cause: unknown;
}

/** Says that an address can't be bound, for whom (`route REDIS`, `--status`), why, and a way out. */
export function listenError(
  listen: Address | Endpoint,
  user: string,
  failure: ListenFailure,
): BindError {
  const { cause } = failure;
  const isUdp = "protocol" in listen && listen.protocol === "udp";
  const place = isUdp ? formatListen(listen) : formatAddress(listen);
  const message = `cannot listen on ${place} for ${user}: ${describe(cause)}`;
  // Nobody shares ports of UDP.
  const reusePort = failure.reusePort === true && !isUdp;
  return new BindError(message, { cause, hint: hintFor(listen, { cause, reusePort }) });
}

function describe(cause: unknown): string {
  return isNotHere(cause) ? "not an address of this machine" : describeError(cause);
}

function isNotHere(cause: unknown): boolean {
  return cause instanceof Deno.errors.AddrNotAvailable || errorCode(cause) === "EADDRNOTAVAIL";
}

function hintFor(listen: Address, { cause, reusePort }: ListenFailure): string | undefined {
  if (cause instanceof Deno.errors.AddrInUse) {
    return reusePort
      ? `port ${listen.port} is held by a program without --reuse-port, or of another user`
      : `another program, or another route, has port ${listen.port}; stop it or listen elsewhere`;
  }
  if (cause instanceof Deno.errors.NotCapable) return PERMISSION_HINT;
  if (cause instanceof Deno.errors.PermissionDenied || errorCode(cause) === "EACCES") {
    return listen.port < 1024
      ? "ports below 1024 need a right: run with --sysctl net.ipv4.ip_unprivileged_port_start=0 " +
        "(podman) or CAP_NET_BIND_SERVICE, or listen on a higher port"
      : undefined;
  }
  return isNotHere(cause)
    ? "choose an address that this machine has, or leave --bind out to listen on all"
    : undefined;
}
