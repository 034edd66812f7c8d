// `ambassador`: puts the forwarder, the log and the status page together.

import { type Address, formatAddress, formatListen, formatTargets } from "../base/address.ts";
import { createLog } from "../base/log.ts";
import type { Command } from "../config/command_line.ts";
import { type Ignored, type Route, routeName } from "../config/routes.ts";
import type { Report } from "../forward/report.ts";
import { type Forwarded, Forwarder, type ForwarderOptions } from "../forward/forwarder.ts";
import type { CertificateInUse } from "../net/credentials.ts";
import { PLAIN_TRANSPORTS, type Transports } from "../net/transports.ts";
import { StatusServer } from "../status/server.ts";
import { type CommandContext, EXIT } from "./command.ts";
import { prepareTransports } from "./transports.ts";

/** Forwards until the signal aborts. */
export async function forward(
  { routes, ignored, warnings, options }: Command,
  { signal, version, onHangup }: CommandContext,
): Promise<number> {
  const { transports, credentials } = await prepareTransports(routes, options);
  const log = createLog({ level: options.logLevel, format: options.logFormat });
  for (const { event, setting, reason } of warnings) log.warn(event, { setting, reason });
  for (const { variable, reason, asked } of ignored) {
    log[asked ? "debug" : "info"]("ignored", { variable, reason });
  }
  if (credentials !== undefined) {
    for (const reason of credentials.current.warnings) log.error("warning", { reason });
    if (credentials.hasFiles) {
      onHangup(() => void credentials.look(log, signal));
      void credentials.watch(log, signal);
    }
  }
  const { cutOff } = await serve(routes, {
    ...options,
    transports,
    certificate: () => credentials?.own,
    ignored,
    version,
    log,
    signal,
  });
  return cutOff > 0 ? EXIT.failed : EXIT.finished;
}

/** Options for {@linkcode serve}. */
export interface ServeOptions extends Omit<ForwarderOptions, "transports" | "onShortage"> {
  /** How each protocol listens and connects; without TLS unless given. */
  readonly transports?: Transports;
  /** This ambassador's own certificate at each time, if it has one. */
  readonly certificate?: () => CertificateInUse | undefined;
  /** Begins the stop when it aborts. */
  readonly signal: AbortSignal;
  /** Told the addresses that were really bound, when all are. */
  readonly onReady?: (routes: readonly Route[], status: Address | undefined) => void;
  /** Where to serve the status page; nowhere unless given. */
  readonly status?: Address | undefined;
  /** The program's version, for the status page. */
  readonly version?: string;
  /** What is not forwarded, for the status page. */
  readonly ignored?: readonly Ignored[];
}

/**
 * Forwards all routes, with a status page where that is wanted, until the signal aborts and the
 * connections have ended.
 *
 * @throws {BindError} if a route or the status page can't be bound; nothing is then
 */
export async function serve(
  routes: readonly Route[],
  { signal, onReady, status, version = "unknown", ignored = [], ...options }: ServeOptions,
): Promise<Forwarded> {
  const { transports = PLAIN_TRANSPORTS, certificate } = options;
  using forwarder = new Forwarder(routes, {
    ...options,
    transports,
    onShortage: (): boolean => page?.shed() ?? false,
  });
  using page = status === undefined ? undefined : new StatusServer(status, (): Report => ({
    version,
    startedAt: performance.timeOrigin,
    ignored,
    certificate: certificate?.(),
    ...forwarder.report(),
  }));
  const { log } = options;
  for (const route of forwarder.routes) {
    const listen = formatListen(route.listen);
    log.info("listening", {
      route: routeName(route),
      listen,
      target: formatTargets(route.targets),
    });
  }
  log.info("ready", { routes: routes.length, status: page && formatAddress(page.address) });
  onReady?.(forwarder.routes, page?.address);
  return await forwarder.run(signal);
}
