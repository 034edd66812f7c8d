// The transports that routes want. TLS is loaded, and its files are read, only where one of them does.

import { type Endpoint, formatListen, formatTarget } from "../base/address.ts";
import type { Options } from "../config/options.ts";
import type { CredentialFiles } from "../net/credential_files.ts";
import {
  loadTransports,
  PLAIN_TRANSPORTS,
  requireTls,
  type Transports,
} from "../net/transports.ts";

/** What routes are reached by. */
export interface Prepared {
  /** How each protocol listens and connects. */
  readonly transports: Transports;
  /** Certificates and trust; undefined where no route speaks TLS. */
  readonly credentials?: CredentialFiles;
}

/**
 * Makes ready what the routes want.
 *
 * @param before What was made ready before: it stays as it is if it has all that is wanted.
 * @throws {ConfigError} with everything that is wrong with certificates, keys and trust; or if this Deno
 *   can't speak TLS
 */
export async function prepareTransports(
  routes: readonly { readonly listen?: Endpoint; readonly targets: readonly Endpoint[] }[],
  options: Options,
  before: Prepared = { transports: PLAIN_TRANSPORTS },
): Promise<Prepared> {
  if (before.credentials !== undefined) return before;
  const wanting = routes.map(findTls).find((endpoint) => endpoint !== undefined);
  if (wanting === undefined) return before;
  // First: where TLS can't be spoken, nothing else that may be wrong matters.
  requireTls(wanting);
  const { CredentialFiles } = await import("../net/credential_files.ts");
  const credentials = await CredentialFiles.open(options);
  const { tlsClient } = options;
  const tls = { tlsClient, credentials: () => credentials.current };
  return { transports: await loadTransports(tls), credentials };
}

/** An end of the route that speaks TLS, as it is written. */
function findTls(
  { listen, targets }: { readonly listen?: Endpoint; readonly targets: readonly Endpoint[] },
): string | undefined {
  if (listen?.protocol === "tls") return formatListen(listen);
  const target = targets.find(({ protocol }) => protocol === "tls");
  return target && formatTarget(target);
}
