// The real program with one TLS route, told everything by variables: an ambassador that listens by TLS,
// one that dials by it, and a pair of both.

import { freePort, type Program, startProgram } from "./mod.ts";
import type { Identity } from "./tls_peers.ts";

/** The program at work. */
export interface Ambassador extends AsyncDisposable {
  /** The child process. */
  readonly program: Program;
  /** Where its route listens at 127.0.0.1. */
  readonly port: number;
}

/** Options for {@linkcode startTlsProgram}. */
export interface StartTlsOptions {
  /** Who it is and whom it trusts. */
  readonly who: Identity;
  /** Settings of its route, separated by commas. */
  readonly settings?: string;
  /** Further variables. */
  readonly env?: Readonly<Record<string, string>>;
  /** What to run instead of the program, for instance the program in another network. */
  readonly command?: readonly string[];
}

/** The variables that say who an ambassador is and whom it trusts. */
export function tlsVariables({ certPath, keyPath, caPath }: Identity): Record<string, string> {
  return {
    AMBASSADOR_TLS_CERT: certPath,
    AMBASSADOR_TLS_KEY: keyPath,
    AMBASSADOR_TLS_CA: caPath,
  };
}

/**
 * Starts the program with a route that listens by `listen` and dials the target, a URL. It logs all
 * that it can.
 */
export async function startTlsProgram(
  listen: "TCP" | "TLS",
  target: string,
  { who, settings = "", env = {}, command }: StartTlsOptions,
): Promise<Ambassador> {
  const port = freePort();
  const program = startProgram([], {
    env: {
      AMBASSADOR_BIND: "127.0.0.1",
      AMBASSADOR_LOG_LEVEL: "debug",
      ...tlsVariables(who),
      [`APP_PORT_${port}_${listen}`]: settings === "" ? target : `${target}?${settings}`,
      ...env,
    },
    ...(command === undefined ? {} : { command }),
  });
  await program.line(/ ready /);
  return { program, port, [Symbol.asyncDispose]: () => program[Symbol.asyncDispose]() };
}

/** Starts one that takes TLS clients and dials a port of 127.0.0.1 plainly. */
export function listenByTls(to: number, options: StartTlsOptions): Promise<Ambassador> {
  return startTlsProgram("TLS", `tcp://127.0.0.1:${to}`, options);
}

/** Starts one that takes plain clients and dials a port of 127.0.0.1 by TLS. */
export function dialByTls(to: number, options: StartTlsOptions): Promise<Ambassador> {
  return startTlsProgram("TCP", `tls://127.0.0.1:${to}`, options);
}

/** Two ambassadors with TLS between them. */
export interface Pair extends AsyncDisposable {
  /** The one whose clients are plain. */
  readonly near: Ambassador;
  /** The one that dials the upstream plainly. */
  readonly far: Ambassador;
  /** Where the near one listens at 127.0.0.1. */
  readonly port: number;
}

/** Starts a pair before a port of 127.0.0.1; the certificate of both has to be for 127.0.0.1. */
export async function startPair(to: number, options: StartTlsOptions): Promise<Pair> {
  await using started = new AsyncDisposableStack();
  const far = started.use(await listenByTls(to, options));
  const near = started.use(await dialByTls(far.port, options));
  const running = started.move();
  return { near, far, port: near.port, [Symbol.asyncDispose]: () => running.disposeAsync() };
}
