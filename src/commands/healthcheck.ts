// Asks a running ambassador whether it is ready, as a container's health check does. A request of one
// line needs no HTTP client, and `fetch` would take the way through an HTTP_PROXY of the environment.

import { type Address, formatAddress } from "../base/address.ts";
import { TimeLimit } from "../base/time.ts";
import { describeError } from "../base/errors.ts";
import { quote } from "../base/text.ts";

/** Options for {@linkcode healthcheck}. */
export interface HealthcheckOptions {
  /** Give up after this long, in milliseconds; 0 is no limit. */
  readonly timeoutMs: number;
}

/** How long to ask unless told otherwise, in milliseconds. */
export const HEALTHCHECK_TIMEOUT_MS = 5000;

/** More than any status line is long. */
const MAX_STATUS_LINE = 1024;

/**
 * Asks `/readyz`.
 *
 * @param status What `--status` says; where that is every address of the machine, loopback is asked.
 * @returns undefined if it is ready, else one line that says why not
 */
export async function healthcheck(
  status: Address,
  { timeoutMs }: HealthcheckOptions,
): Promise<string | undefined> {
  using limit = new TimeLimit(timeoutMs);
  try {
    const line = await askReadiness(status, limit.signal);
    const code = /^HTTP\/1\.[01] (\d{3})(?: |$)/.exec(line)?.[1];
    if (code === "200") return undefined;
    return `not ready: ${formatAddress(status)} answered ${quote(line)}`;
  } catch (error) {
    const reason = limit.signal.aborted ? limit.signal.reason : error;
    return `not ready: ${formatAddress(status)}: ${describeError(reason)}`;
  }
}

/** The status line of the answer. */
async function askReadiness(status: Address, signal: AbortSignal): Promise<string> {
  using conn = await connect(status, signal);
  // A pending read can't be cancelled, but ends with its socket.
  const close = (): void => conn[Symbol.dispose]();
  signal.addEventListener("abort", close);
  try {
    const host = formatAddress(status);
    const request = `GET /readyz HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`;
    await conn.write(new TextEncoder().encode(request));
    const decoder = new TextDecoder();
    const buffer = new Uint8Array(MAX_STATUS_LINE);
    let answer = "";
    for (;;) {
      const count = await conn.read(buffer);
      if (count === null) return answer;
      answer += decoder.decode(buffer.subarray(0, count), { stream: true });
      const end = answer.search(/[\r\n]/);
      if (end >= 0 || answer.length >= MAX_STATUS_LINE) {
        return answer.slice(0, end < 0 ? MAX_STATUS_LINE : end);
      }
    }
  } finally {
    signal.removeEventListener("abort", close);
  }
}

async function connect({ hostname, port }: Address, signal: AbortSignal): Promise<Deno.TcpConn> {
  if (hostname === "0.0.0.0") return await Deno.connect({ hostname: "127.0.0.1", port, signal });
  if (hostname !== "::") return await Deno.connect({ hostname, port, signal });
  try {
    return await Deno.connect({ hostname: "::1", port, signal });
  } catch (error) {
    if (signal.aborted) throw error;
    // On a machine without IPv6 the status page is on IPv4 alone.
    return await Deno.connect({ hostname: "127.0.0.1", port, signal });
  }
}
