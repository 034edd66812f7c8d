// One client, from its accept to its end: the steps of a connection, read from top to bottom in
// `serve`. What each step knows stands in a file of its own.

import type { Address } from "../base/address.ts";
import { formatDuration } from "../base/duration.ts";
import { describeWithHint, errorFields, isResetOnConnect } from "../base/errors.ts";
import type { Log, LogEvent } from "../base/log.ts";
import { startDeadline } from "../base/time.ts";
import type { RouteSettings } from "../config/options.ts";
import { type ProxyHeader, ProxyHeaderError, readProxyHeader } from "../net/proxy_header.ts";
import { newTraffic, relay, type Traffic } from "../net/relay.ts";
import type { Stream } from "../net/stream.ts";
import { TlsError } from "../net/tls_error.ts";
import type { Handshake } from "./admission.ts";
import type { Reason } from "./counts.ts";
import { type ActiveRoute, clientFields, type EntryPoint } from "./entry_point.ts";
import type { Watched } from "./limits.ts";
import { isSameMachine } from "./loops.ts";
import { headerOf } from "./proxy_protocol.ts";
import { LOOP_HINT, LoopError, Reach, type ReachOptions } from "./reach.ts";
import type { Target } from "./targets.ts";

/** What all connections share. */
export interface ConnectionContext extends ReachOptions {
  /** Where to write. */
  readonly log: Log;
}

/** Why a client is not served: an event of the log, and a reason in the metrics. */
type Refusal = "bad_proxy_header" | "tls_failed";

/** How long a route whose target led back to the ambassador refuses clients of this machine. */
const LOOP_MS = 250;

/** A client and, once it is reached, its upstream. */
export class Connection implements Watched, Handshake {
  /** What has moved so far. */
  readonly traffic: Traffic = newTraffic();
  /** What holds for it. */
  settings: RouteSettings;
  /** Who connected. */
  client: Stream;
  /** What the client is connected to; undefined until it is reached. */
  upstream: Stream | undefined;
  readonly #entryPoint: Pick<EntryPoint, "route" | "goneMs">;
  /** The route by which it is served. */
  #route: ActiveRoute;
  readonly #context: ConnectionContext;
  /** When the client came, as `performance.now()` tells it. */
  readonly sinceMs: number = performance.now();
  /** When it had said all that it owes. */
  #welcomeMs = this.sinceMs;
  /** What the client still owes before it is served: a PROXY header, a TLS handshake, nothing. */
  #owes: Refusal | undefined;
  /** Who is announced, if somebody is. */
  #header: ProxyHeader | undefined;
  /** Which of the targets the upstream is. */
  #target: Target | undefined;
  #reach: Reach | undefined;
  #reason: Reason | undefined;
  /** Ends the relay's part in `serve`, whatever the relay still waits for. */
  #stopRelay: (() => void) | undefined;

  /** Takes the client over and closes it at the end. */
  constructor(
    client: Stream,
    entryPoint: Pick<EntryPoint, "route" | "goneMs">,
    context: ConnectionContext,
  ) {
    this.client = client;
    this.#entryPoint = entryPoint;
    this.#route = entryPoint.route;
    this.settings = this.#route.settings;
    this.#context = context;
  }

  /** Serves the client to its end. Never rejects: its trouble is nobody else's. */
  async serve(): Promise<void> {
    this.#accepted();
    try {
      if (this.#owesSomething() ? !await this.#greet() : !this.#isWelcome()) return;
      const upstream = await this.#reachTarget();
      if (upstream !== undefined) await this.#relay(upstream);
    } finally {
      this.#close();
      this.#counted();
    }
  }

  /** Ends it now; the first reason stands. One of which a side has broken has ended for that. */
  end(reason: Reason): void {
    this.#reason ??= this.traffic.failure ?? reason;
    this.#reach?.cancel();
    this.#close();
    this.#stopRelay?.();
  }

  #accepted(): void {
    const { counts, share } = this.#route;
    const { admission, log } = this.#context;
    admission.accepted(share);
    counts.opened(this.traffic);
    if (log.debugs && !this.#isAnnounced()) log.debug("connection_opened", this.#fields());
  }

  /**
   * The routes have changed: a client that waits for its upstream is served by the one that it has now.
   * One that still owes something is judged when it has said it.
   */
  follow(): void {
    if (this.#reach === undefined) return;
    if (this.#judgeAnew()) this.#reach.follow();
    else this.end("not_allowed");
  }

  /** When its route ceased to have its target; undefined as long as it has it. */
  get goneMs(): number | undefined {
    return this.#target === undefined ? this.#entryPoint.goneMs : this.#target.goneMs;
  }

  /** Whether the client still owes something before it is served. */
  get isHandshaking(): boolean {
    return this.#owes !== undefined;
  }

  /** Whether the client has to say something before it is served. */
  #owesSomething(): boolean {
    return this.#route.shakeHands !== undefined || this.#isAnnounced();
  }

  /** Hears what the client owes; whether it is to be served on. */
  async #greet(): Promise<boolean> {
    const isAnnounced = this.#isAnnounced();
    const { share, shakeHands } = this.#route;
    const { handshakeTimeoutMs } = this.settings;
    const { admission } = this.#context;
    // One limit for all of it.
    using _limit = handshakeTimeoutMs === 0 ? null : startDeadline(handshakeTimeoutMs, () => {
      this.#refuseHandshake(`within ${formatDuration(handshakeTimeoutMs)}`);
    });
    this.#owes = isAnnounced ? "bad_proxy_header" : "tls_failed";
    admission.handshakeBegins(share, this);
    try {
      if (isAnnounced && !await this.#readHeader()) return false;
      // Before the handshake: it costs much more than the answer.
      if (!this.#isWelcome()) return false;
      return shakeHands === undefined || await this.#shakeHands(shakeHands);
    } finally {
      this.#welcomeMs = performance.now();
      this.#owes = undefined;
      admission.handshakeEnded(share, this);
    }
  }

  /** Whether the client is to be served, as far as its address tells. */
  #isWelcome(): boolean {
    return !this.#comesRound() && this.#isAllowed();
  }

  /**
   * Takes the route that stands now; whether the client is to be served by that one. Nobody is in before
   * there is an upstream, and whom new rules keep out must not come to what they protect.
   */
  #judgeAnew(): boolean {
    const { shakeHands, settings: { acceptProxy } } = this.#route;
    const { route } = this.#entryPoint;
    if (route === this.#route) return true;
    this.#route = route;
    this.settings = route.settings;
    const { peerNames, remoteAddr } = this.client;
    // It can't begin anew with what is owed by now.
    const owesTheSame = route.shakeHands === shakeHands &&
      route.settings.acceptProxy.has(remoteAddr.hostname) === acceptProxy.has(remoteAddr.hostname);
    const isNamed = peerNames === undefined || route.settings.tlsAllow.has(peerNames);
    return owesTheSame && isNamed
      ? this.#isAllowed()
      : this.#notAllowed("its route was rewired, and asks for something else of its clients");
  }

  /** Refuses a client that is most likely a connection of the ambassador itself, going round. */
  #comesRound(): boolean {
    const { localAddr, remoteAddr } = this.client;
    if (performance.now() >= this.#route.loopsUntilMs) return false;
    if (!isSameMachine(localAddr, remoteAddr)) return false;
    return this.#cutLoop();
  }

  /** Whether the client has to begin with a PROXY header. */
  #isAnnounced(): boolean {
    return this.settings.acceptProxy.has(this.client.remoteAddr.hostname);
  }

  /** Reads the header; whether the client can be served on. */
  async #readHeader(): Promise<boolean> {
    try {
      const read = await readProxyHeader(this.client);
      // Somebody has looked whether the port is open.
      if (read === undefined) this.#reason ??= "finished";
      else [this.#header, this.client] = [read.header, read.rest];
    } catch (error) {
      if (error instanceof ProxyHeaderError) this.#refuse("bad_proxy_header", error);
      else this.#reason ??= "client_reset";
    } finally {
      // Not before: now it is known who has come.
      const { log } = this.#context;
      if (log.debugs) log.debug("connection_opened", this.#fields());
    }
    return this.#reason === undefined;
  }

  /** Shakes hands; whether the client can be served on. */
  async #shakeHands(shakeHands: NonNullable<ActiveRoute["shakeHands"]>): Promise<boolean> {
    this.#owes = "tls_failed";
    try {
      const stream = await shakeHands(this.client, this.settings);
      if (stream === undefined) this.#reason ??= "finished";
      else this.client = stream;
    } catch (error) {
      if (error instanceof TlsError) this.#refuse("tls_failed", error);
      else this.#reason ??= "client_reset";
    }
    return this.#reason === undefined;
  }

  /** Makes way for another client, since there is no place for both. */
  giveWay(): void {
    // Before it has ended, so that one place is not given to many.
    this.#context.admission.handshakeEnded(this.#route.share, this);
    this.#refuseHandshake("yet, and another client needs the place");
  }

  /** Ends a client that has not said in time what it owes. */
  #refuseHandshake(when: string): void {
    const owed = this.#owes === "tls_failed" ? "TLS handshake" : "PROXY header";
    if (this.#owes !== undefined) this.#refuse(this.#owes, new Error(`no ${owed} ${when}`));
  }

  #refuse(reason: Refusal, error: Error): void {
    if (this.#reason !== undefined) return;
    if (reason === "tls_failed") {
      this.#route.counts.noteHandshakeError(describeWithHint(error));
    }
    this.#complain(reason, error);
    this.end(reason);
  }

  #complain(event: LogEvent, error: unknown): void {
    this.#context.log.repeated("warn", event, { ...this.#fields(), ...errorFields(error) });
  }

  #isAllowed(): boolean {
    return this.settings.allow.has(this.#source.hostname) || this.#notAllowed();
  }

  #notAllowed(error?: string): false {
    this.#reason ??= "not_allowed";
    const fields = this.#fields();
    this.#context.log.repeated("warn", "not_allowed", error ? { ...fields, error } : fields);
    return false;
  }

  /** Who the client is: the one that is announced, or who has connected. */
  get #source(): Address {
    return this.#header?.source ?? this.client.remoteAddr;
  }

  /** The upstream; undefined if it can't be reached, or if the connection has ended meanwhile. */
  async #reachTarget(): Promise<Stream | undefined> {
    if (!this.#judgeAnew()) return undefined;
    const { counts, share } = this.#route;
    const { admission } = this.#context;
    this.#reach = new Reach(() => this.#route, this.#context);
    try {
      const destination = this.#header?.destination ?? this.client.localAddr;
      const { upstream, target } = await this.#reach.connect({
        preface: () => headerOf(this.settings, { source: this.#source, destination }),
        onFirstFailure: (error) => this.#noteRetry(error),
      });
      this.upstream = upstream;
      this.#target = target;
      admission.reached(share);
      if (this.#reason !== undefined) return undefined;
      counts.connected((performance.now() - this.#welcomeMs) / 1000);
      return upstream;
    } catch (error) {
      if (error instanceof LoopError) this.#cutLoopTo(error.target);
      else if (this.#reason === undefined) this.#notReached(error);
      return undefined;
    } finally {
      this.#reach = undefined;
    }
  }

  #notReached(error: unknown): void {
    // Whether the connect has been heard of before the reset is a matter of luck: both are one end.
    if (isResetOnConnect(error)) this.#reason = "upstream_reset";
    else this.#notConnected(error instanceof TlsError ? "tls_failed" : "connect_failed", error);
  }

  #notConnected(reason: "connect_failed" | "tls_failed", error: unknown): void {
    this.#reason = reason;
    this.#route.counts.connectFailed(describeWithHint(error));
    this.#complain(reason, error);
  }

  /** Says why the client is held. */
  #noteRetry(error: unknown): void {
    this.#route.counts.noteConnectError(describeWithHint(error));
    this.#complain("connect_retrying", error);
  }

  /**
   * Cuts a connection whose target is the ambassador itself. Its other end is a client like any other,
   * accepted or not, and would be connected on; so until it is known that the loop is gone, this
   * route's clients of this machine are not: through whatever routes it went, it comes round here.
   */
  #cutLoopTo({ name }: Target): void {
    this.#route.loopsUntilMs = performance.now() + LOOP_MS;
    this.#cutLoop(name);
  }

  #cutLoop(target = this.#route.targets.text): true {
    this.#reason ??= "loop";
    this.#route.counts.noteLoop(LOOP_HINT);
    this.#context.log.repeated("error", "loop_detected", {
      ...this.#fields(),
      target,
      hint: LOOP_HINT,
    });
    return true;
  }

  async #relay(upstream: Stream): Promise<void> {
    // Until 2.8 Deno goes on with a pending write after its socket was closed, for as long as the peer
    // neither reads nor leaves: an end that was decided on does not wait for that.
    const { promise, resolve } = Promise.withResolvers<Reason>();
    this.#stopRelay = () => resolve("finished");
    void relay(this.client, upstream, this.traffic).then(resolve);
    const end = await promise;
    if (end === "upstream_reset" && upstream.refusal !== undefined) this.#refused(upstream.refusal);
    this.#reason ??= end;
  }

  /** The upstream was reached, and then would have nothing to do with this ambassador. */
  #refused(error: Error): void {
    if (this.#reason === undefined) this.#notConnected("tls_failed", error);
    const target = this.#target;
    if (target !== undefined) {
      this.#route.targets.failed(target, { error, sinceMs: performance.now() });
    }
  }

  #close(): void {
    this.client[Symbol.dispose]();
    this.upstream?.[Symbol.dispose]();
    // Who is held back finds that out, and the relay ends.
    this.traffic.up.resume?.();
    this.traffic.down.resume?.();
  }

  #counted(): void {
    const { counts, share } = this.#route;
    const { admission, log } = this.#context;
    const reason = this.#reason ?? "connect_failed";
    counts.ended(this.traffic, reason);
    admission.left(share, this.upstream !== undefined);
    this.#target?.left();
    if (!log.accesses) return;
    log.access("connection_closed", {
      ...this.#fields(),
      peer: this.client.peer,
      bytes_up: this.traffic.up.bytes,
      bytes_down: this.traffic.down.bytes,
      duration_ms: Math.round(performance.now() - this.sinceMs),
      reason,
    });
  }

  #fields(): Record<string, string> {
    return clientFields(this.#route, this.#source, this.#target?.name);
  }
}
