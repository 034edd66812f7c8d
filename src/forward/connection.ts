// One client, from its accept to its end: reach the upstream, relay, count, and say why it ended.

import {
  type Address,
  formatAddress,
  isIp,
  isLoopback,
  isUnspecified,
  unmapped,
} from "../base/address.ts";
import type { Bursts } from "../base/burst.ts";
import type { Reason, RouteCounts } from "./counts.ts";
import { Dial, type DialOptions } from "./dial.ts";
import type { Ends } from "./ends.ts";
import { describeError, isResetOnConnect } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { startPause } from "../base/time.ts";
import { Probe } from "./reset_detector.ts";
import { type Direction, newTraffic, relay, type RelayEnd, type Traffic } from "../net/relay.ts";

/** What a connection needs to know of its route. */
export interface ConnectionRoute {
  /** The route's name in logs and metrics. */
  readonly name: string;
  /** The listen address as text. */
  readonly listen: string;
  /** Where to connect. */
  readonly target: Address;
  /** What the route has done so far. */
  readonly counts: RouteCounts;
  /** Where failures that clients can repeat are logged. */
  readonly failures: Bursts;
  /** Its dials that are under way. */
  readonly dials: Set<Dial>;
  /** The routes whose dials may come back to this one: their target has its listen port. */
  readonly feeders: readonly Pick<ConnectionRoute, "target" | "dials">[];
}

/** What all connections share. */
export interface ConnectionContext extends DialOptions {
  /** Where to write. */
  readonly log: Log;
  /** The clients' sockets. */
  readonly clients: Ends<Connection>;
  /** The upstreams' sockets. */
  readonly upstreams: Ends<Connection>;
}

/** So long a client of this machine may have to wait for dials that lead nowhere. */
const LOOP_KNOWN_MS = 100;

/** Whether a client comes from this machine: the system gives it the address that it dialled. */
function isSameMachine(remote: string, local: string): boolean {
  return remote === local || isLoopback(unmapped(remote));
}

/** A client and, once it is reached, its upstream. */
export class Connection {
  /** What has moved so far. */
  readonly traffic: Traffic = newTraffic();
  readonly #client: Deno.TcpConn;
  readonly #route: ConnectionRoute;
  readonly #context: ConnectionContext;
  #dial: Dial | undefined;
  #upstream: Deno.TcpConn | undefined;
  #reason: Reason | undefined;
  /** Ends the relay's part in `serve`, whatever the relay still waits for. */
  #stopRelay: (() => void) | undefined;
  // Most connections never need one.
  #clientProbe: Probe | undefined;
  #upstreamProbe: Probe | undefined;

  /** Takes the client over and closes it at the end. */
  constructor(client: Deno.TcpConn, route: ConnectionRoute, context: ConnectionContext) {
    this.#client = client;
    this.#route = route;
    this.#context = context;
  }

  /** Whether the upstream has been reached and bytes can move. */
  get isRelaying(): boolean {
    return this.#upstream !== undefined;
  }

  /** Serves the client to its end. Never rejects: its trouble is nobody else's. */
  async serve(): Promise<void> {
    const { counts } = this.#route;
    const { log } = this.#context;
    const startMs = performance.now();
    counts.opened(this.traffic);
    if (log.debugs) log.debug("connection_opened", this.#fields());
    try {
      const upstream = await this.#connect(startMs);
      if (upstream !== undefined) {
        // Until 2.8 Deno goes on with a pending write after its socket was closed, for as long as the
        // peer neither reads nor leaves: an end that was decided on does not wait for that.
        const { promise, resolve } = Promise.withResolvers<RelayEnd>();
        this.#stopRelay = () => resolve("finished");
        void relay(this.#client, upstream, this.traffic).then(resolve);
        const end = await promise;
        this.#reason ??= this.#ended(end);
      }
    } finally {
      this.#close();
      const reason = this.#reason ?? "connect_failed";
      counts.ended(this.traffic, reason);
      if (log.debugs) {
        log.debug("connection_closed", {
          ...this.#fields(),
          bytes_up: this.traffic.up.bytes,
          bytes_down: this.traffic.down.bytes,
          duration_ms: Math.round(performance.now() - startMs),
          reason,
        });
      }
    }
  }

  /** Ends it now; the first reason stands. */
  end(reason: Reason): void {
    this.#reason ??= reason;
    this.#dial?.cancel();
    this.#close();
    this.#stopRelay?.();
  }

  /** Looks whether a side that nobody reads has been reset. To be called now and then. */
  probe(nowMs: number): void {
    const { up, down } = this.traffic;
    const upstream = this.#upstream;
    const isHeld = upstream === undefined;
    if (isHeld || isUnread(up)) {
      this.#clientProbe ??= new Probe(this.#client, () => this.end("client_reset"));
    }
    if (!isHeld && isUnread(down)) {
      this.#upstreamProbe ??= new Probe(upstream, () => this.end("upstream_reset"));
    }
    this.#clientProbe?.look(isHeld ? undefined : up, down, nowMs);
    this.#upstreamProbe?.look(down, up, nowMs);
  }

  /** How it ended: the relay does not see a reset that a probe has been told of. */
  #ended(end: RelayEnd): RelayEnd {
    if (end !== "finished") return end;
    if (this.#clientProbe?.wasReset) return "client_reset";
    return this.#upstreamProbe?.wasReset ? "upstream_reset" : end;
  }

  /** The upstream, or undefined if it can't be reached or must not be. */
  async #connect(startMs: number): Promise<Deno.TcpConn | undefined> {
    const { counts, target } = this.#route;
    const { clients, upstreams } = this.#context;
    const { remoteAddr, localAddr } = this.#client;
    clients.add(remoteAddr, localAddr, this);
    const origins = this.#possibleOrigins();
    if (origins.length > 0) await untilSettled(origins);
    if (this.#reason !== undefined) return undefined;
    if (this.#cutLoop(upstreams.find(remoteAddr, localAddr))) return undefined;
    const dial = this.#dial = new Dial(target, this.#context);
    const { dials } = this.#route;
    dials.add(dial);
    let upstream: Deno.TcpConn;
    try {
      upstream = await dial.connect((error) => this.#noteRetry(describeError(error)));
      this.#upstream = upstream;
      upstreams.add(upstream.localAddr, upstream.remoteAddr, this);
    } catch (error) {
      if (this.#reason !== undefined) return undefined;
      // Whether the connect has been heard of before the reset is a matter of luck: both are one end.
      if (isResetOnConnect(error)) {
        this.#reason = "upstream_reset";
        return undefined;
      }
      this.#reason = "connect_failed";
      const message = describeError(error);
      counts.connectFailed(message);
      this.#route.failures.note("warn", "connect_failed", { ...this.#fields(), error: message });
      return undefined;
    } finally {
      dials.delete(dial);
      dial.settle();
      this.#dial = undefined;
    }
    if (this.#reason !== undefined) return undefined;
    counts.connected((performance.now() - startMs) / 1000);
    if (this.#cutLoop(clients.find(upstream.localAddr, upstream.remoteAddr))) return undefined;
    prepare(this.#client);
    prepare(upstream);
    return upstream;
  }

  /**
   * For a client of this very machine, the dials under way that it may come from. A connection can be
   * accepted before its dialler hears that it is there; a loop that dialled on in the meantime would
   * run ahead of its own discovery, round and round. One to this machine is known within a moment:
   * what is under way for longer leads elsewhere, and what waits for its next try leads nowhere.
   */
  #possibleOrigins(): readonly Dial[] {
    const { remoteAddr, localAddr } = this.#client;
    const { feeders } = this.#route;
    if (feeders.length === 0 || !isSameMachine(remoteAddr.hostname, localAddr.hostname)) return [];
    const here = unmapped(localAddr.hostname);
    const youngestMs = performance.now() - LOOP_KNOWN_MS;
    return feeders.filter(({ target }) => mayBe(target.hostname, here))
      .flatMap(({ dials }) =>
        [...dials].filter(({ tryingSinceMs = -Infinity }) => tryingSinceMs > youngestMs)
      );
  }

  /** Says why the client is held. */
  #noteRetry(error: string): void {
    this.#route.counts.lastConnectError = { at: Date.now(), message: error };
    this.#route.failures.note("warn", "connect_retrying", { ...this.#fields(), error });
  }

  /** Ends this connection and the other one if they are one that came back. */
  #cutLoop(other: Connection | undefined): boolean {
    if (other === undefined) return false;
    this.#route.failures.note("error", "loop_detected", {
      ...this.#fields(),
      hint: "the target leads back to this ambassador; point the route at the last target",
    });
    other.end("loop");
    this.end("loop");
    return true;
  }

  #close(): void {
    const { clients, upstreams } = this.#context;
    clients.delete(this.#client.remoteAddr, this);
    this.#client[Symbol.dispose]();
    if (this.#upstream === undefined) return;
    upstreams.delete(this.#upstream.localAddr, this);
    this.#upstream[Symbol.dispose]();
  }

  #fields(): Record<string, string> {
    const { hostname, port } = this.#client.remoteAddr;
    return {
      route: this.#route.name,
      listen: this.#route.listen,
      target: formatAddress(this.#route.target),
      client: formatAddress({ hostname: unmapped(hostname), port }),
    };
  }
}

/** Whether nobody reads the side that sends this way. */
function isUnread({ finished, writing }: Direction): boolean {
  return finished || writing;
}

/** Resolves when it is known how the dials went, or after a moment: some may take for ever. */
async function untilSettled(dials: readonly Dial[]): Promise<void> {
  const { over, end } = startPause(LOOP_KNOWN_MS);
  let isOver = false;
  void over.then(() => isOver = true);
  // One after the other: what is left behind at a dial that takes for ever is one wait, not one at each.
  for (const dial of dials) {
    if (isOver) return;
    if (dial.tryingSinceMs !== undefined) await Promise.race([dial.settled(), over]);
  }
  end();
}

/** Whether what is dialled as `hostname` may be reached at this address. */
function mayBe(hostname: string, address: string): boolean {
  return !isIp(hostname) || isUnspecified(hostname) || hostname === address;
}

/** Small messages go out at once, and a peer that has died is noticed. */
function prepare(socket: Deno.TcpConn): void {
  try {
    socket.setNoDelay(true);
    socket.setKeepAlive(true);
  } catch {
    // Some systems refuse this for a peer that has gone; the relay is about to find that out.
  }
}
