// `healthcheck`: asks a running ambassador whether it is ready, as a container's health check does. A
// request of one line needs no HTTP client, and `fetch` would go through an HTTP_PROXY.

import { type Address, formatAddress } from "../base/address.ts";
import { ConfigError, describeError } from "../base/errors.ts";
import { complain } from "../base/stdio.ts";
import { connectTcp, connectToFirst } from "../net/tcp.ts";
import type { Stream } from "../net/stream.ts";
import { quote } from "../base/text.ts";
import { TimeLimit } from "../base/time.ts";
import type { Command } from "../config/command_line.ts";
import { EXIT } from "./command.ts";

/** How long to ask unless told otherwise, in milliseconds. */
const HEALTHCHECK_TIMEOUT_MS = 5000;

/** More than any status line is long. */
const MAX_STATUS_LINE = 1024;

/**
 * Asks, and says why not.
 *
 * @throws {ConfigError} if there is nobody to ask
 */
export async function healthcheck(command: Command): Promise<number> {
  command.warnings.forEach(complain);
  const { status, timeoutMs = HEALTHCHECK_TIMEOUT_MS } = command.options;
  if (status === undefined) {
    throw new ConfigError([{
      message: "healthcheck: there is no status page to ask, --status is off",
      hint: "set AMBASSADOR_STATUS=127.0.0.1:9090 for the ambassador and for its health check",
    }]);
  }
  using limit = new TimeLimit(timeoutMs);
  const problem = await askReadiness(status, limit.signal);
  if (problem === undefined) return EXIT.finished;
  complain({ message: problem });
  return EXIT.failed;
}

/**
 * Asks `/readyz`, until the signal aborts.
 *
 * @param status What `--status` says; where that is every address of the machine, loopback is asked.
 * @returns undefined if it is ready, else one line that says why not
 */
export async function askReadiness(
  status: Address,
  signal: AbortSignal,
): Promise<string | undefined> {
  try {
    const line = await readStatusLine(status, signal);
    const code = /^HTTP\/1\.[01] (\d{3})(?: |$)/.exec(line)?.[1];
    if (code === "200") return undefined;
    return `not ready: ${formatAddress(status)} answered ${quote(line)}`;
  } catch (error) {
    const reason = signal.aborted ? signal.reason : error;
    return `not ready: ${formatAddress(status)}: ${describeError(reason)}`;
  }
}

/** The status line of the answer. */
async function readStatusLine(status: Address, signal: AbortSignal): Promise<string> {
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
    while (answer.length < MAX_STATUS_LINE && !/[\r\n]/.test(answer)) {
      const count = await conn.read(buffer);
      if (count === null) break;
      answer += decoder.decode(buffer.subarray(0, count), { stream: true });
    }
    return answer.replace(/[\r\n].*/s, "").slice(0, MAX_STATUS_LINE);
  } finally {
    signal.removeEventListener("abort", close);
  }
}

async function connect({ hostname, port }: Address, signal: AbortSignal): Promise<Stream> {
  // On a machine without IPv6 the status page is on IPv4 alone.
  if (hostname === "::") return await connectToFirst(["::1", "127.0.0.1"], port, signal);
  return await connectTcp(
    { hostname: hostname.replace(/^0\.0\.0\.0$/, "127.0.0.1"), port },
    { signal },
  );
}
