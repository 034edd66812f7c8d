// Serves the status page, the probes and the metrics: the paths and what stands behind them. Who makes
// the report, and what it says, is not its business.

import type { Address } from "../base/address.ts";
import { isPeerGone } from "../base/errors.ts";
import { Backoff, pause } from "../base/time.ts";
import { listenError } from "../net/listen_error.ts";
import type { Listener, Stream } from "../net/stream.ts";
import { listenTcp } from "../net/tcp.ts";
import type { Report } from "../forward/report.ts";
import { type HttpAnswer, serveHttp } from "./http.ts";
import { formatMetrics, METRICS_TYPE } from "./metrics.ts";
import { formatPage, pagePolicy } from "./page.ts";
import { formatReadiness } from "./readiness.ts";

/** Maximum number of clients at once; the oldest gives way to one more. */
const MAX_CLIENTS = 48;
/** How long a probe has to get its answer while descriptors are short. */
const SHED_AT_MOST_EVERY_MS = 10_000;

/** The status page at work. */
export class StatusServer implements Disposable {
  /** Where it really listens. */
  readonly address: Address;
  readonly #report: () => Report;
  readonly #onShortage: (error: unknown) => void;
  readonly #listeners: readonly Listener[];
  readonly #clients = new Set<Stream>();
  readonly #stop = new AbortController();
  #lastShedMs = -Infinity;

  /**
   * Listens and answers; asks for the report at each request that shows it.
   *
   * @param onShortage Told when there is no descriptor for a client.
   * @throws {BindError} if the address can't be bound
   */
  constructor(
    address: Address,
    report: () => Report,
    onShortage: (error: unknown) => void = () => {},
  ) {
    this.#report = report;
    this.#onShortage = onShortage;
    try {
      this.#listeners = listenTcp(address);
    } catch (cause) {
      throw listenError(address, "--status", { cause });
    }
    const { hostname, port } = this.#listeners[0]?.addr ?? address;
    this.address = { hostname, port };
    for (const listener of this.#listeners) void this.#accept(listener);
  }

  /** Gives the descriptors of all its clients back, since forwarding is short of them; if there are any. */
  shed(): boolean {
    const nowMs = performance.now();
    if (nowMs - this.#lastShedMs < SHED_AT_MOST_EVERY_MS) return false;
    this.#lastShedMs = nowMs;
    const hasClients = this.#clients.size > 0;
    this.#closeClients();
    return hasClients;
  }

  /** Ends at once, whatever is still being asked. */
  [Symbol.dispose](): void {
    this.#stop.abort();
    for (const listener of this.#listeners) listener.close();
    this.#closeClients();
  }

  async #accept(listener: Listener): Promise<void> {
    const { signal } = this.#stop;
    let backoff = new Backoff();
    while (!signal.aborted) {
      try {
        void this.#serve(await listener.accept());
        backoff = new Backoff();
      } catch (error) {
        // A client that has already gone says nothing about the next one.
        if (isPeerGone(error)) continue;
        // There is no descriptor.
        this.#onShortage(error);
        await pause(backoff.next(), signal);
      }
    }
  }

  async #serve(client: Stream): Promise<void> {
    this.#clients.add(client);
    const [oldest] = this.#clients;
    if (oldest !== undefined && this.#clients.size > MAX_CLIENTS) {
      oldest[Symbol.dispose]();
      this.#clients.delete(oldest);
    }
    try {
      await serveHttp(client, (method, path) => answer(method, path, this.#report));
    } catch {
      // It has gone, or was too slow.
    }
    this.#clients.delete(client);
  }

  #closeClients(): void {
    for (const client of this.#clients) client[Symbol.dispose]();
  }
}

async function answer(method: string, path: string, report: () => Report): Promise<HttpAnswer> {
  if (method !== "GET" && method !== "HEAD") {
    const body = ["only GET and HEAD are answered here\n"];
    return { status: "405 Method Not Allowed", headers: { allow: "GET, HEAD" }, body };
  }
  switch (path) {
    case "/": {
      const headers = {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": await pagePolicy(),
      };
      return { headers, body: formatPage(report(), Date.now()) };
    }
    case "/healthz":
      return { body: ["ok\n"] };
    case "/readyz": {
      const shown = report();
      const status = shown.ready ? "200 OK" : "503 Service Unavailable";
      const headers = { "content-type": "application/json" };
      return { status, headers, body: formatReadiness(shown) };
    }
    case "/metrics":
      return { headers: { "content-type": METRICS_TYPE }, body: formatMetrics(report()) };
    default:
      return { status: "404 Not Found", body: ["there are /, /healthz, /readyz and /metrics\n"] };
  }
}
