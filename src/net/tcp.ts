// TCP: listening on one address, on both families at once where that is wanted, and connecting to an
// address or a name once. It knows nothing of time limits or retries: a signal says when it is over.

import { type Address, isIp } from "../base/address.ts";
import { isShortage } from "../base/errors.ts";
import { startPause } from "../base/time.ts";
import { listenOnFamilies } from "./families.ts";
import { lookUp } from "./names.ts";
import {
  type ConnectOptions,
  type Listener,
  type ListenOptions,
  type Stream,
  writeAll,
} from "./stream.ts";

/** The next address has its turn when those before it have not answered for so long (RFC 8305). */
const NEXT_ADDRESS_MS = 250;

/**
 * Listens. `::` is IPv6 and IPv4, or one of them on a machine that has only that.
 *
 * @throws the error of `Deno.listen`; then nothing is open
 */
export function listenTcp(address: Address, options: ListenOptions = {}): readonly Listener[] {
  const { reusePort = false } = options;
  return listenOnFamilies(address, (one) => {
    const listener = Deno.listen({ ...one, reusePort });
    return {
      addr: listener.addr,
      accept: async () => prepared(await listener.accept()),
      close: () => listener.close(),
    };
  });
}

/**
 * Connects. A name is looked up now, or its answer shared with others who wait for it now.
 *
 * @throws the last error of its addresses; the signal's reason as soon as it aborts
 */
export async function connectTcp(
  { hostname, port }: Address,
  { signal, onConnected, preface }: Pick<ConnectOptions, "signal" | "onConnected" | "preface">,
): Promise<Stream> {
  const stream = isIp(hostname)
    ? await connectTo(hostname, port, signal)
    : await connectToFirst(await lookUp(hostname, signal), port, signal);
  try {
    onConnected?.(stream);
    if (preface !== undefined) await writeAll(stream, preface);
    return stream;
  } catch (error) {
    stream[Symbol.dispose]();
    throw error;
  }
}

async function connectTo(hostname: string, port: number, signal: AbortSignal): Promise<Stream> {
  const conn = await Deno.connect({ hostname, port, signal });
  if (!isToItself(conn)) return prepared(conn);
  conn.close();
  throw Object.assign(new Deno.errors.ConnectionRefused("connected to itself"), {
    code: "ECONNREFUSED",
  });
}

/**
 * Whether nobody listens and TCP has connected the socket to itself: it does where the system happens
 * to choose the target's own port on this machine to connect from.
 */
function isToItself({ localAddr, remoteAddr }: Deno.TcpConn): boolean {
  return localAddr.port === remoteAddr.port && localAddr.hostname === remoteAddr.hostname;
}

/**
 * Tries one address after the other, and does not give up the earlier ones meanwhile. Exported for
 * its test.
 */
export async function connectToFirst(
  hostnames: readonly string[],
  port: number,
  signal: AbortSignal,
): Promise<Stream> {
  const [first = "", ...others] = hostnames;
  if (others.length === 0) return await connectTo(first, port, signal);
  const over = new AbortController();
  const end = (): void => over.abort(signal.reason);
  signal.addEventListener("abort", end);
  if (signal.aborted) end();
  let winner: Stream | undefined;
  let failure: unknown;
  let endTurn = (): void => {};
  async function attempt(hostname: string): Promise<void> {
    try {
      const stream = await connectTo(hostname, port, over.signal);
      // Two may answer in one moment.
      if (winner === undefined) winner = stream;
      else stream[Symbol.dispose]();
      over.abort();
    } catch (error) {
      failure = error;
      endTurn();
    }
  }
  const attempts: Promise<void>[] = [];
  for (const hostname of hostnames) {
    if (over.signal.aborted) break;
    attempts.push(attempt(hostname));
    const turn = startPause(NEXT_ADDRESS_MS, over.signal);
    endTurn = turn.end;
    await turn.over;
  }
  await Promise.all(attempts);
  signal.removeEventListener("abort", end);
  if (winner !== undefined) return winner;
  throw signal.aborted ? signal.reason : failure;
}

/** The error of opening a descriptor at this moment, if there is none left. */
export function missingDescriptor(): unknown {
  try {
    Deno.listen({ hostname: "127.0.0.1", port: 0 }).close();
    return undefined;
  } catch (error) {
    return isShortage(error) ? error : undefined;
  }
}

/** Small messages go out at once, and a peer that has died is noticed. */
function prepared(conn: Deno.TcpConn): Deno.TcpConn {
  try {
    conn.setNoDelay(true);
    conn.setKeepAlive(true);
  } catch {
    // Some systems refuse this for a peer that has gone; the relay is about to find that out.
  }
  return conn;
}
