// The four ways through the forwarder: plain or TLS on the client's side, plain or TLS on the
// upstream's. A test that is written once for all of them says nothing of TLS; with TLS all three, the
// client, the ambassador and the upstream, show one certificate and want to see it. It knows nothing of
// what the tests do.

import type { Address, Protocol } from "../../src/base/address.ts";
import { DEFAULT_SETTINGS } from "../../src/config/settings.ts";
import type { Stream, Transport } from "../../src/net/stream.ts";
import { loadTransports, type Transports } from "../../src/net/transports.ts";
import { createCa, type Issued, type RootCa } from "./certificates.ts";
import {
  echo,
  type Forwarder,
  freePort,
  readExactly,
  startForwarder,
  type StartForwarderOptions,
  startProgram,
  startUpstream,
  type Upstream,
  within,
  writeAll,
} from "./mod.ts";
import { type Ability, needs, PROGRAM_TLS, TLS } from "./needs.ts";
import { commandWithLimit, connectAndReset, type ProgramWithRoute } from "./process.ts";
import type { StartRouteOptions } from "./process.ts";
import { credentialsOf, type Identity } from "./tls.ts";

/** Who everybody is, and whom everybody trusts. */
export interface Everybody {
  /** Has signed the certificate. */
  readonly ca: RootCa;
  /** For both usages, `localhost` and the addresses of this machine. */
  readonly own: Issued;
  /** With it. */
  readonly transports: Transports;
}

/** The name in everybody's certificate by which it is let in. */
export const ALLOWED = "ambassador.example.com";

let made: Promise<Everybody> | undefined;

/** The one identity of this file's tests; its files go when they are over. */
export function everybody(): Promise<Everybody> {
  return made ??= makeEverybody();
}

async function makeEverybody(): Promise<Everybody> {
  const ca = await createCa();
  addEventListener("unload", () => ca[Symbol.dispose]());
  const own = await ca.issue({
    dns: ["localhost", ALLOWED],
    ips: ["127.0.0.1", "127.0.0.2", "127.0.0.3", "::1"],
  });
  return { ca, own, transports: await transportsOf({ own, ca: ca.pem }) };
}

/** The transports of somebody who is this, and trusts those. */
export async function transportsOf(identity: Identity): Promise<Transports> {
  const credentials = await credentialsOf(identity);
  return await loadTransports({ credentials: () => credentials, tlsClient: "required" });
}

/** The options of the program for that identity. */
export function argsOf({ ca, own }: Pick<Everybody, "ca" | "own">): string[] {
  return ["--tls-cert", own.certPath, "--tls-key", own.keyPath, "--tls-ca", ca.path];
}

/** Connects, and shakes hands. */
export async function connectTls({ hostname, port }: Address, tls?: Transport): Promise<Stream> {
  const { connect } = tls ?? (await everybody()).transports.tls;
  const signal = AbortSignal.timeout(20_000);
  return await connect({ hostname, port }, { signal, settings: DEFAULT_SETTINGS });
}

/** Shakes hands with somebody who has connected; fails if that leaves. */
export async function acceptTls(conn: Stream, tls?: Transport): Promise<Stream> {
  const { shakeHands } = tls ?? (await everybody()).transports.tls;
  const stream = await within(
    shakeHands?.(conn, DEFAULT_SETTINGS) ?? Promise.resolve(undefined),
    "a handshake",
  );
  if (stream === undefined) throw new Error("the client left before its handshake");
  return stream;
}

/** An upstream that everybody trusts, and that says what it hears. */
export function startTlsEcho(): Upstream {
  return startUpstream(async (conn) => {
    using stream = await acceptTls(conn);
    await echo(stream);
  });
}

/** Both ends of one TLS connection: who dialled and who accepted. */
export async function tlsPair(): Promise<[Stream, Stream]> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const accepting = listener.accept().then((conn) => acceptTls(conn));
  return await Promise.all([connectTls(listener.addr), accepting]);
}

/** A way through the forwarder. A TLS end that is disposed has hung up: it sends no close_notify. */
export interface Way {
  /** How clients speak to the ambassador. */
  readonly listen: Protocol;
  /** How the ambassador speaks to the upstream. */
  readonly target: Protocol;
  /** `tls → tcp`. */
  readonly name: string;
  /** Connects as a client. */
  connect(address: Deno.ConnectOptions): Promise<Stream>;
  /** Connects, says `text`, and breaks the connection off once the answer has begun. */
  breakOff(address: Deno.ConnectOptions, text: string): Promise<void>;
  /** A server whose clients have shaken hands. Where the handler succeeds they are told the end. */
  startUpstream(handle: (conn: Stream) => Promise<void>, options?: Partial<Address>): Upstream;
  /** `startForwarder` with routes of this way. */
  startForwarder(targets: readonly Address[], options?: StartForwarderOptions): Promise<Forwarder>;
  /** Starts the program with one route of this way to the target. */
  startRoute(target: Address, options?: StartRouteOptions): Promise<ProgramWithRoute>;
}

/** All four; the plain one first. */
export const WAYS: readonly Way[] = (["tcp", "tls"] as const).flatMap((listen) =>
  (["tcp", "tls"] as const).map((target) => wayOf(listen, target))
);

/** Those with TLS. */
export const TLS_WAYS: readonly Way[] = WAYS.slice(1);

/** Runs a test over all four ways; those with TLS are ignored where there is none. */
export function testEveryWay(
  name: string,
  body: (way: Way) => Promise<void>,
  { ways = WAYS, abilities = [], isProgram = false }: {
    /** Only these. */
    readonly ways?: readonly Way[];
    /** What it needs besides TLS. */
    readonly abilities?: readonly (Ability | string)[];
    /** Whether it starts the program. */
    readonly isProgram?: boolean;
  } = {},
): void {
  const tls = [isProgram ? PROGRAM_TLS : TLS, "openssl"];
  for (const way of ways) {
    const isPlain = way === WAYS[0];
    Deno.test({
      name: isPlain ? name : `${name} (${way.name})`,
      ...needs(...(isPlain ? [] : tls), ...abilities),
      fn: () => body(way),
    });
  }
}

function wayOf(listen: Protocol, target: Protocol): Way {
  const usesTls = listen === "tls" || target === "tls";
  async function connect({ hostname = "127.0.0.1", port }: Deno.ConnectOptions): Promise<Stream> {
    const address = { hostname, port };
    return listen === "tls"
      ? await connectTls(address)
      : await within(Deno.connect(address), "a connect");
  }
  return {
    listen,
    target,
    name: `${listen} → ${target}`,
    connect,
    async breakOff(address, text): Promise<void> {
      if (listen === "tcp") return await connectAndReset(address, text);
      using client = await connect(address);
      await writeAll(client, text);
      await readExactly(client, 1);
    },
    startUpstream: (handle, options = {}) =>
      startUpstream(async (conn) => {
        if (target === "tcp") return await handle(conn);
        conn.setNoDelay();
        using stream = await acceptTls(conn);
        await handle(stream);
        await stream.closeWrite().catch(() => {});
      }, options),
    async startForwarder(targets, options = {}): Promise<Forwarder> {
      if (!usesTls) return await startForwarder(targets, options);
      const { transports } = await everybody();
      return await startForwarder(targets, {
        transports,
        protocols: { listen, target },
        ...options,
      });
    },
    async startRoute(
      address,
      { args = [], maxDescriptors, port = freePort() } = {},
    ): Promise<ProgramWithRoute> {
      const allow = listen === "tls" ? ["--tls-allow", ALLOWED] : [];
      const tls = usesTls ? [...argsOf(await everybody()), ...allow] : [];
      const route = `127.0.0.1:${port}/${listen}=${target}://${address.hostname}:${address.port}`;
      const program = startProgram(
        [...args, ...tls, route],
        maxDescriptors === undefined ? {} : { command: commandWithLimit(maxDescriptors) },
      );
      await program.line(/ready/);
      return { program, address: { hostname: "127.0.0.1", port } };
    },
  };
}
