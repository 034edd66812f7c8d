// How an upstream is asked for TLS in the words of its own protocol, before the handshake. An answer that
// is not a plain yes ends the connection: nothing goes on in the clear.

import type { StarttlsProtocol } from "../config/options.ts";
import { type Stream, writeAll } from "./stream.ts";
import { TlsError } from "./tls_error.ts";

type Ask = (stream: Stream) => Promise<void>;

/** How each protocol asks. */
const ASKS: Readonly<Record<StarttlsProtocol, Ask>> = { postgres: askPostgres };

/**
 * Asks for TLS, where that is wanted.
 *
 * @throws {TlsError} unless the upstream agrees
 * @throws what the stream throws
 */
export async function startTls(stream: Stream, protocol: StarttlsProtocol | "off"): Promise<void> {
  if (protocol !== "off") await ASKS[protocol](stream);
}

/** A length of 8 and the number 80877103 (PostgreSQL documentation, "Message Formats", SSLRequest). */
const SSL_REQUEST = Uint8Array.from([0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f]);
const YES = 0x53;
const NO = 0x4e;

async function askPostgres(stream: Stream): Promise<void> {
  await writeAll(stream, SSL_REQUEST);
  // Room for more than the one byte of the answer, so that more is seen: it would be read as if it had
  // come by TLS (CVE-2021-23222).
  const buffer = new Uint8Array(64);
  const count = await stream.read(buffer);
  if (count === null) throw new TlsError("the upstream closed the connection when asked for TLS");
  if (buffer[0] === NO) throw new TlsError("the upstream offers no TLS (ssl = on in PostgreSQL)");
  if (buffer[0] !== YES) throw new TlsError("the upstream does not answer as PostgreSQL does");
  if (count > 1) throw new TlsError("the upstream sent more before TLS than its answer");
}
