// Connects to an address or a name, once. It knows how a name is looked up and in which order its
// addresses are tried, and nothing of time limits or retries: a signal says when it is over.

import { type Address, isIp } from "../base/address.ts";
import { startPause } from "../base/time.ts";
import { SharedLookup } from "./shared_lookup.ts";

/**
 * So many lookups at once are left to `Deno.connect`. Those beyond are shared by all who want the same
 * name: Deno looks names up on 32 threads, and a name server that does not answer keeps each of them
 * for ten seconds, whoever has stopped waiting. One dead name would take them all from the others.
 *
 * Not all are shared, since Deno 2.9 has to load `node:dns` for that: 15 ms at the first time. Earlier
 * versions have it at hand, and their `Deno.connect` tries the first address only, and can't be
 * stopped while it looks up.
 */
const MAX_LEFT_TO_DENO = /^2\.[0-8]\./.test(Deno.version.deno) ? 0 : 8;

/** So long a lookup that was abandoned may go on, in milliseconds: three name servers, two tries. */
const ABANDONED_MS = 30_000;

/** The next address has its turn when those before it have not answered for so long (RFC 8305). */
const NEXT_ADDRESS_MS = 250;

/** When each of the lookups that are left to Deno has ended for certain. */
const leftToDeno: number[] = Array(MAX_LEFT_TO_DENO).fill(0);

/**
 * Connects. A name is looked up now, or its answer shared with others who wait for it now.
 *
 * @throws the last error of its addresses; the signal's reason as soon as it aborts
 */
export async function connectTo(
  { hostname, port }: Address,
  signal: AbortSignal,
): Promise<Deno.TcpConn> {
  if (isIp(hostname)) return await connectOnce({ hostname, port }, signal);
  const nowMs = performance.now();
  const place = leftToDeno.findIndex((endMs) => endMs <= nowMs);
  if (place < 0) {
    const addresses = await unlessAborted(lookUp(hostname), signal);
    return await connectToFirst(addresses, port, signal);
  }
  leftToDeno[place] = Infinity;
  try {
    return await connectOnce({ hostname, port }, signal);
  } finally {
    leftToDeno[place] = signal.aborted ? performance.now() + ABANDONED_MS : 0;
  }
}

async function connectOnce(address: Address, signal: AbortSignal): Promise<Deno.TcpConn> {
  const conn = await Deno.connect({ ...address, signal });
  if (!isToItself(conn)) return conn;
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
): Promise<Deno.TcpConn> {
  const [first = "", ...others] = hostnames;
  if (others.length === 0) return await connectOnce({ hostname: first, port }, signal);
  const over = new AbortController();
  const end = (): void => over.abort(signal.reason);
  signal.addEventListener("abort", end);
  if (signal.aborted) end();
  let winner: Deno.TcpConn | undefined;
  let failure: unknown;
  let endTurn = (): void => {};
  async function attempt(hostname: string): Promise<void> {
    try {
      const conn = await connectOnce({ hostname, port }, over.signal);
      // Two may answer in one moment.
      if (winner === undefined) winner = conn;
      else conn.close();
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

const sharedLookups = new Map<string, SharedLookup>();

/** The addresses of a name, in the system's order. */
function lookUp(name: string): Promise<readonly string[]> {
  let shared = sharedLookups.get(name);
  if (shared === undefined) {
    shared = new SharedLookup(() => addressesOf(name), () => sharedLookups.delete(name));
    sharedLookups.set(name, shared);
  }
  return shared.join();
}

async function addressesOf(name: string): Promise<readonly string[]> {
  const { lookup } = await import("node:dns/promises");
  try {
    const found = await lookup(name, { all: true, verbatim: true });
    return found.map(({ address }) => address);
  } catch (cause) {
    // As `Deno.connect` says it, without a code: it is none of the system's.
    const { code } = cause as { code?: unknown };
    const reason = code === "EAI_AGAIN"
      ? "Temporary failure in name resolution"
      : "Name or service not known";
    throw new Error(`failed to lookup address information: ${reason}`, { cause });
  }
}

async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(signal.reason);
  signal.addEventListener("abort", onAbort);
  if (signal.aborted) onAbort();
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
