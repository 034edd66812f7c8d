// Serves the status page, the probes and the metrics. It knows HTTP and a report; who makes the
// report, and what it says, is not its business.
//
// Deno's HTTP server holds idle connections for ever, and ends when it can't accept for want of a
// descriptor. Neither may touch the forwarding: when descriptors are short its connections are the
// first to go, and a server that has ended is started again.

import type { Address } from "../base/address.ts";
import { listenError } from "../net/listen_error.ts";
import { lacksFamily } from "../net/tcp.ts";
import { formatMetrics, METRICS_TYPE } from "./metrics.ts";
import { formatPage, pagePolicy } from "./page.ts";
import { Backoff, pause } from "../base/time.ts";
import { formatReadiness } from "./readiness.ts";
import type { Report } from "../forward/report.ts";

/** However long descriptors are short, a probe between two of these gets its answer. */
const SHED_AT_MOST_EVERY_MS = 10_000;

/** The status page at work. */
export class StatusServer implements Disposable {
  /** Where it really listens. */
  readonly address: Address;
  readonly #report: () => Report;
  readonly #stop = new AbortController();
  /** Ends the server and its connections; there is a new one after each restart. */
  #restart = new AbortController();
  #lastShedMs = -Infinity;

  /**
   * Listens and answers.
   *
   * @param address Where to listen.
   * @param report Asked at each request.
   * @throws {BindError} if the address can't be bound
   */
  constructor(address: Address, report: () => Report) {
    this.#report = report;
    // The page would be served where this says, not where --status does.
    Deno.env.delete("DENO_SERVE_ADDRESS");
    const server = this.#listenFirst(address);
    this.address = { hostname: server.addr.hostname, port: server.addr.port };
    void this.#keep(server);
  }

  /** Gives the descriptors of all its connections back, since forwarding is short of them; or not. */
  shed(): boolean {
    const nowMs = performance.now();
    if (nowMs - this.#lastShedMs < SHED_AT_MOST_EVERY_MS) return false;
    this.#lastShedMs = nowMs;
    this.#restart.abort();
    return true;
  }

  /** Ends at once, whatever is still being asked. */
  [Symbol.dispose](): void {
    this.#stop.abort();
    this.#restart.abort();
  }

  #listenFirst(address: Address): Deno.HttpServer<Deno.NetAddr> {
    try {
      try {
        return this.#listen(address);
      } catch (error) {
        if (address.hostname !== "::" || !lacksFamily(error)) throw error;
        return this.#listen({ ...address, hostname: "0.0.0.0" });
      }
    } catch (cause) {
      throw listenError(address, "--status", cause);
    }
  }

  #listen({ hostname, port }: Address): Deno.HttpServer<Deno.NetAddr> {
    this.#restart = new AbortController();
    return Deno.serve({
      hostname,
      port,
      signal: this.#restart.signal,
      // Without these it says so on stdout, and prints what failed on stderr.
      onListen: () => {},
      onError: () => text("this can't be answered\n", { status: 500 }),
    }, (request) => answer(request, this.#report()));
  }

  /** Starts it again whenever it has ended, until the stop. */
  async #keep(first: Deno.HttpServer<Deno.NetAddr>): Promise<void> {
    let server: Deno.HttpServer<Deno.NetAddr> | undefined = first;
    while (server !== undefined) {
      try {
        await server.finished;
      } catch {
        // It could not accept. What it had accepted goes too: these are descriptors.
      }
      this.#restart.abort();
      server = await this.#listenAgain();
    }
  }

  /** The next server; undefined after the stop. */
  async #listenAgain(): Promise<Deno.HttpServer<Deno.NetAddr> | undefined> {
    const { signal } = this.#stop;
    const backoff = new Backoff();
    while (!signal.aborted) {
      try {
        return this.#listen(this.address);
      } catch {
        // There is no descriptor, or the last server has not quite gone.
        await pause(backoff.next(), signal);
      }
    }
    return undefined;
  }
}

/** The answer to one request. */
export async function answer(request: Request, report: Report): Promise<Response> {
  if (request.method !== "GET" && request.method !== "HEAD") {
    return text("only GET and HEAD are answered here\n", { status: 405, allow: "GET, HEAD" });
  }
  switch (pathOf(request.url)) {
    case "/":
      return await page(report);
    case "/healthz":
      return text("ok\n");
    case "/readyz":
      return text(formatReadiness(report), {
        status: report.ready ? 200 : 503,
        "content-type": "application/json",
      });
    case "/metrics":
      return text(formatMetrics(report), { "content-type": METRICS_TYPE });
    default:
      return text("there are /, /healthz, /readyz and /metrics\n", { status: 404 });
  }
}

/** What stands behind the host, which is whatever the request says it is: it need not make a URL. */
function pathOf(url: string): string | undefined {
  return /^\w+:\/\/[^/?#]*([^?#]*)/.exec(url)?.[1];
}

async function page(report: Report): Promise<Response> {
  return text(formatPage(report, Date.now()), {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": await pagePolicy(),
  });
}

function text(
  body: string,
  { status = 200, ...headers }: { status?: number } & Record<string, string | number> = {},
): Response {
  return new Response(body, {
    status,
    headers: {
      "content-type": "text/plain; charset=utf-8",
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
      ...headers,
    },
  });
}
