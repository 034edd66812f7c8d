// One HTTP request and its answer, which ends the connection. It knows no paths. Deno's own server
// (2.9.6) takes the whole of a stream whoever reads it (60 slow readers: 270 MB), can't close a single
// connection, and ends when it can't accept for want of a descriptor.

import type { Stream } from "../net/stream.ts";
import { pause, startDeadline } from "../base/time.ts";

/** What is answered. */
export interface HttpAnswer {
  /** The code and its words; `200 OK` unless given. */
  readonly status?: string;
  /** Beside those of every answer, which they replace; names in lower case. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Made piece by piece, as fast as the client reads. */
  readonly body: Iterable<string>;
}

const MAX_REQUEST_LENGTH = 16 * 1024;
/** How long a client may take to send its request. */
const REQUEST_WITHIN_MS = 10_000;
/** How long a client may take nothing of its answer. */
const READ_WITHIN_MS = 30_000;
/** How long a client may take to close: closed before it, its unread bytes would become a reset. */
const CLOSE_WITHIN_MS = 1000;
/** Length of what is made and sent at a time: it takes less than a millisecond. */
const PART_BYTES = 64 * 1024;
const encoder = new TextEncoder();

/**
 * Reads a request, answers it and closes the connection.
 *
 * @param answer Told the method and the path, without the query.
 * @throws if the client goes away, or is too slow
 */
export async function serveHttp(
  conn: Stream,
  answer: (method: string, path: string) => Promise<HttpAnswer>,
): Promise<void> {
  using _conn = conn;
  // Nothing here that could match in two ways: on a long line V8 would try them all.
  const [, method = "", target, version] =
    /^([A-Z]+) (\S+) HTTP\/(1\.[01])\r?\n/.exec(await readRequest(conn)) ?? [];
  const path = target?.replace(/^\w+:\/\/[^/?#]*/, "").replace(/[?#].*/, "") ?? "";
  const answered = target === undefined
    ? { status: "400 Bad Request", body: ["not an HTTP/1.1 request\n"] }
    : await answer(method, path).catch(() => ({
      status: "500 Internal Server Error",
      body: ["this can't be answered\n"],
    }));
  await send(conn, answered, { hasBody: method !== "HEAD", mayChunk: version !== "1.0" });
  await conn.closeWrite();
  using _limit = startDeadline(CLOSE_WITHIN_MS, () => conn[Symbol.dispose]());
  const rest = new Uint8Array(4096);
  while (await conn.read(rest) !== null);
}

/** All up to the empty line; nothing if the client ends before it, or goes on for too long. */
async function readRequest(conn: Stream): Promise<string> {
  using _limit = startDeadline(REQUEST_WITHIN_MS, () => conn[Symbol.dispose]());
  const buffer = new Uint8Array(4096);
  const decoder = new TextDecoder();
  let text = "";
  while (text.length < MAX_REQUEST_LENGTH) {
    const count = await conn.read(buffer);
    if (count === null) break;
    text += decoder.decode(buffer.subarray(0, count), { stream: true });
    if (/\n\r?\n/.test(text.slice(-count - 3))) return text;
  }
  return "";
}

/** Sends an answer. One that is cut off is told from a whole one by its length or its chunks. */
async function send(
  conn: Stream,
  { status = "200 OK", headers, body }: HttpAnswer,
  { hasBody, mayChunk }: { hasBody: boolean; mayChunk: boolean },
): Promise<void> {
  const parts = encode(body);
  let part = parts.next();
  const length = part.done ? 0 : part.value.length;
  const isWhole = length < PART_BYTES / 2;
  const isChunked = !isWhole && mayChunk;
  const fields = {
    "content-type": "text/plain; charset=utf-8",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    date: new Date().toUTCString(),
    connection: "close",
    ...(isWhole && { "content-length": length }),
    ...(isChunked && { "transfer-encoding": "chunked" }),
    ...headers,
  };
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`);
  await write(conn, `HTTP/1.1 ${status}\r\n${lines.join("")}\r\n`);
  if (!hasBody) return;
  for (; !part.done; part = parts.next()) {
    if (isChunked) await write(conn, `${part.value.length.toString(16)}\r\n`);
    await write(conn, part.value);
    if (isChunked) await write(conn, "\r\n");
    // A write that is done at once is no turn of the event loop: forwarding gets one.
    if (!isWhole) await pause(0);
  }
  if (isChunked) await write(conn, "0\r\n\r\n");
}

/**
 * The bytes of all pieces, a buffer at a time. It is the same buffer each time: as text or as many
 * buffers, what waits for slow clients would outgrow the memory where V8 is quick to find garbage.
 */
function* encode(pieces: Iterable<string>): Generator<Uint8Array> {
  const buffer = new Uint8Array(PART_BYTES);
  let length = 0;
  for (let piece of pieces) {
    for (;;) {
      const { read, written } = encoder.encodeInto(piece, buffer.subarray(length));
      length += written;
      piece = piece.slice(read);
      if (piece === "") break;
      yield buffer.subarray(0, length);
      length = 0;
    }
  }
  if (length > 0) yield buffer.subarray(0, length);
}

async function write(conn: Stream, data: Uint8Array | string): Promise<void> {
  const bytes = typeof data === "string" ? encoder.encode(data) : data;
  for (let done = 0; done < bytes.length;) {
    using _limit = startDeadline(READ_WITHIN_MS, () => conn[Symbol.dispose]());
    done += await conn.write(bytes.subarray(done));
  }
}
