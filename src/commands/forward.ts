// `ambassador`: puts the forwarder, the log and the status page together.

import { type Address, formatAddress } from "../base/address.ts";
import { createLog } from "../base/log.ts";
import type { Command } from "../config/command_line.ts";
import type { Ignored, Route } from "../config/routes.ts";
import type { RoutesFile } from "../config/routes_file.ts";
import type { Report, WiringReport } from "../forward/report.ts";
import { type Forwarded, Forwarder, type ForwarderOptions } from "../forward/forwarder.ts";
import type { CredentialFiles } from "../net/credential_files.ts";
import type { CertificateInUse } from "../net/credentials.ts";
import { PLAIN_TRANSPORTS, type Transports } from "../net/transports.ts";
import { StatusServer } from "../status/server.ts";
import { type CommandContext, EXIT } from "./command.ts";
import { logIgnored, logListening } from "./lines.ts";
import type { Rewiring } from "./rewiring.ts";
import { type Prepared, prepareTransports } from "./transports.ts";

/** Where routes came from that nothing rewires. */
const UNCHANGING: WiringReport = {
  file: undefined,
  since: performance.timeOrigin,
  rewires: { ok: 0, failed: 0 },
  flaw: undefined,
};

/** Forwards until the signal aborts. */
export async function forward(
  command: Command,
  { signal, killed, version, onHangup }: CommandContext,
): Promise<number> {
  const { routes, file, ignored, warnings, options } = command;
  const { logLevel: level, logFormat: format, logConnections: connections } = options;
  const log = createLog({ level, format, connections });
  let prepared: Prepared | undefined;
  /** Makes ready what routes want, at the start or when a rewiring wants more. */
  async function prepare(routes: readonly Route[]): Promise<Transports> {
    const before = prepared?.credentials;
    prepared = await prepareTransports(routes, options, prepared);
    const { transports, credentials } = prepared;
    if (credentials !== undefined && credentials !== before) useCredentials(credentials);
    return transports;
  }
  function useCredentials(credentials: CredentialFiles): void {
    for (const reason of credentials.current.warnings) log.error("warning", { reason });
    if (!credentials.hasFiles) return;
    onHangup(() => void credentials.look(log, signal));
    void credentials.watch(log, signal);
  }
  /** Loads what follows the file. */
  async function follower(file: RoutesFile): Promise<ServeOptions["follow"]> {
    const { Rewiring } = await import("./rewiring.ts");
    return (forwarder) => {
      const rewiring = new Rewiring(command, { forwarder, file, prepare, log, signal });
      onHangup(() => void rewiring.look());
      return rewiring;
    };
  }
  for (const { event, setting, reason } of warnings) log.warn(event, { setting, reason });
  for (const one of ignored) logIgnored(log, one);
  const transports = await prepare(routes);
  const { cutOff } = await serve(routes, {
    ...options,
    transports,
    follow: file && await follower(file),
    certificate: () => prepared?.credentials?.own,
    ignored,
    version,
    log,
    signal,
    killed,
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
  /** Has the log say what is cut off when it aborts, for the reason that it has: the end is another's. */
  readonly killed?: AbortSignal;
  /** Told the addresses that were really bound, when all are. */
  readonly onReady?: (routes: readonly Route[], status: Address | undefined) => void;
  /** Where to serve the status page; nowhere unless given. */
  readonly status?: Address | undefined;
  /** The program's version, for the status page. */
  readonly version?: string;
  /** What is not forwarded, for the status page. */
  readonly ignored?: readonly Ignored[];
  /** Gives what rewires the forwarder while it runs; nothing does unless given. */
  readonly follow?: ((forwarder: Forwarder) => Rewiring) | undefined;
}

/**
 * Forwards all routes, with a status page where that is wanted, until the signal aborts and the
 * connections have ended.
 *
 * @throws {BindError} if a route or the status page can't be bound; nothing is then
 */
export async function serve(
  routes: readonly Route[],
  { signal, killed, onReady, status, version = "unknown", ignored = [], ...options }: ServeOptions,
): Promise<Forwarded> {
  const { transports = PLAIN_TRANSPORTS, certificate, follow, log } = options;
  using forwarder = new Forwarder(routes, {
    ...options,
    transports,
    onShortage: (): boolean => page?.shed() ?? false,
  });
  const rewiring = follow?.(forwarder);
  const report = (): Report => ({
    version,
    startedAt: performance.timeOrigin,
    ignored: rewiring?.command.ignored ?? ignored,
    certificate: certificate?.(),
    wiring: rewiring?.report() ?? UNCHANGING,
    ...forwarder.report(),
  });
  using page = status === undefined
    ? undefined
    : new StatusServer(status, report, (error) => forwarder.giveUpSessions(error));
  for (const route of forwarder.routes) logListening(log, route);
  log.info("ready", { routes: routes.length, status: page && formatAddress(page.address) });
  onReady?.(forwarder.routes, page?.address);
  void rewiring?.watch();
  killed?.addEventListener("abort", () => forwarder.tellKilled(killed.reason));
  return await forwarder.run(signal);
}
