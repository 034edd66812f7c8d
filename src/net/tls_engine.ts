// TLS without a socket: what the peer sends goes in, what the peer is to get comes out. It is the TLS of
// Deno's node:tls (rustls) without the streams that node puts around it, which halve its speed. All that
// is known of Deno's insides stands here; measured on Deno 2.9.6. It knows nothing of trust but what the
// library says.

import { Duplex } from "node:stream";
import { createSecureContext, TLSSocket } from "node:tls";
import { ConfigError } from "../base/errors.ts";
import { TlsError } from "./tls_error.ts";

/** Who an engine is, and whom it trusts: PEM. */
export interface ContextOptions {
  /** Its certificate, with the chain after it. */
  readonly cert?: string | undefined;
  /** The key of its certificate. */
  readonly key?: string | undefined;
  /** Whom it trusts; the roots that Deno brings unless given. */
  readonly ca?: string | undefined;
}

/** The same as the library takes it. */
export type Context = Readonly<Record<string, unknown>> & { readonly ca?: unknown };

/** Prepares what engines have in common: it costs more than all else of an engine. */
export function createContext({ cert, key, ca }: ContextOptions): Context {
  return createSecureContext({ cert, key, ca, minVersion: "TLSv1.2" }).context as Context;
}

/** What an engine is to do. */
export interface EngineOptions {
  /** Whether it is the server. */
  readonly isServer: boolean;
  /** Who it is, and whom it trusts. */
  readonly context: Context;
  /** Of a server: whether clients need a certificate. */
  readonly needsCertificate?: boolean;
  /** Of a client: the name that is asked for (SNI); none unless given. */
  readonly serverName?: string | undefined;
  /** Of a client: whether it takes any certificate, since it has refused the server before. */
  readonly isDiagnosis?: boolean;
}

/** What makes a handshake or a connection fail, as the library says it. */
export class EngineError extends Error {
  /** Its class, as stack traces show it. */
  override readonly name = "EngineError";

  /** Takes the library's words, and the code that OpenSSL has for it (`ERR_SSL_WRONG_VERSION_NUMBER`). */
  constructor(message: string, readonly code: string) {
    super(message);
  }
}

/** What node:tls keeps behind `socket._handle`, as far as it is used here. */
interface TlsWrap {
  onread(data: ArrayBuffer | undefined): void;
  onhandshakedone(): void;
  onerror(error: Error & { readonly code?: string }): void;
  initClientTls(serverName: string, context: object): number;
  initServerTls(context: object): number;
  attachJsStream(): number;
  setHandle(handle: object): void;
  start(): number;
  readStart(): number;
  readBuffer(data: Uint8Array): void;
  writeBuffer(request: object, data: Uint8Array): number;
  drainEncOut(): Uint8Array<ArrayBuffer>;
  shutdown(request: object): number;
  verifyError(): string;
  getProtocol(result: { protocol?: string }): void;
  getPeerCertificateChain(): { readonly certificates: readonly Uint8Array[] } | null;
  destroySsl(): void;
}

type TlsWrapClass = new (kind: number, provider: number) => TlsWrap;

const KIND = { client: 0, server: 1 } as const;

/** What is asked of Deno's TLS; another Deno may have it no more. */
const NEEDED = [
  "initClientTls",
  "initServerTls",
  "attachJsStream",
  "setHandle",
  "start",
  "readStart",
  "readBuffer",
  "writeBuffer",
  "drainEncOut",
  "shutdown",
  "verifyError",
  "getProtocol",
  "getPeerCertificateChain",
  "destroySsl",
] as const satisfies readonly (keyof TlsWrap)[];

const Wrap = findWrap();

/** The class is not exported: it is taken from a socket that is made for that and goes nowhere. */
function findWrap(): TlsWrapClass {
  const nowhere = new Duplex({ read: () => {}, write: (_data, _encoding, done) => done() });
  const socket = new TLSSocket(nowhere as never, { isServer: true });
  const { _handle: handle } = socket as unknown as { readonly _handle: TlsWrap | null };
  const missing = NEEDED.filter((name) => typeof handle?.[name] !== "function");
  socket.destroy();
  if (handle === null || missing.length > 0) {
    const message = `TLS: that of Deno ${Deno.version.deno} has no ${missing.join(", ")}`;
    throw new ConfigError([{ message, hint: "use the Deno that the release was built with" }]);
  }
  return Object.getPrototypeOf(handle).constructor;
}

/**
 * Keeps a server from sending whom it trusts after its own chain, which peers refuse where that is much.
 * Deno 2.9.6 asks for it twice, first for that, then for what it is meant for. If another Deno asks once,
 * nobody is let in.
 */
function trustingOnly(settings: Context): Context {
  const { ca } = settings;
  let isAsked = false;
  return Object.defineProperty({ ...settings }, "ca", {
    get(): unknown {
      if (isAsked) return ca;
      isAsked = true;
      return undefined;
    },
  });
}

/** How much is encrypted in one go: Deno takes no more of a write at once, and forgets the rest. */
const MAX_WRITE_BYTES = 48 * 1024;

/** Stands for a request whose end nobody waits for. */
const REQUEST = {};

/** How much is decrypted in one go: the library keeps memory for as much as long as the connection lasts. */
const MAX_RECEIVE_BYTES = 64 * 1024;
/** What is as short as this may be an alert, and is decrypted by itself. */
const ALONE_BYTES = 256;

/** The length of what stands before a record: its kind, a version and its length (RFC 8446, 5.1). */
const HEADER_BYTES = 5;

/** Finds where records end in bytes that come in any pieces. */
class Records {
  /** How much of the header has come. */
  #header = 0;
  /** How much of the record is still to come after its header. */
  #left = 0;

  /** Where the record ends that goes on or begins at `start`; the end of the data if it is not there. */
  end(data: Uint8Array, start: number): number {
    let at = start;
    for (; this.#header < HEADER_BYTES && at < data.length; at++) {
      if (++this.#header >= HEADER_BYTES - 1) this.#left = this.#left << 8 | (data[at] ?? 0);
    }
    if (this.#header < HEADER_BYTES) return at;
    const count = Math.min(this.#left, data.length - at);
    this.#left -= count;
    if (this.#left === 0) this.#header = 0;
    return at + count;
  }
}

/** One side of one connection. */
export class TlsEngine implements Disposable {
  /** Whether the handshake is done, as far as the library is concerned. */
  isEstablished = false;
  /** Whether the peer has said that nothing more comes (close_notify). */
  isEnded = false;
  readonly #wrap: TlsWrap;
  readonly #records = new Records();
  /** Decrypted bytes that nobody has taken yet. */
  #plain: Uint8Array[] = [];
  #error: EngineError | undefined;

  /**
   * Sends nothing yet.
   *
   * @throws {TlsError} if the certificate and its key can't be used
   */
  constructor({ isServer, context, serverName, ...options }: EngineOptions) {
    const { needsCertificate = false, isDiagnosis = false } = options;
    const wrap = new Wrap(isServer ? KIND.server : KIND.client, 0);
    const settings = {
      ...context,
      // Whatever NODE_TLS_REJECT_UNAUTHORIZED says.
      rejectUnauthorized: !isDiagnosis,
      requestCert: isServer ? needsCertificate : true,
    };
    const status = isServer
      ? wrap.initServerTls(trustingOnly(settings))
      : wrap.initClientTls(serverName ?? "", settings);
    if (status !== 0) throw new TlsError("this ambassador's certificate or key can't be used");
    wrap.attachJsStream();
    wrap.onread = (data) => {
      if (data === undefined) this.isEnded = true;
      else this.#plain.push(new Uint8Array(data));
    };
    wrap.onhandshakedone = () => this.isEstablished = true;
    wrap.onerror = ({ message, code = "" }) => this.#error ??= new EngineError(message, code);
    wrap.setHandle(wrap);
    wrap.readStart();
    this.#wrap = wrap;
  }

  /** Begins the handshake. */
  start(): void {
    this.#wrap.start();
    this.#check();
  }

  /**
   * Takes what the peer has sent; the bytes may be used again afterwards. There may be something to
   * send then, also after an error: the alert that tells the peer.
   *
   * @throws {EngineError} if it is not what TLS allows here
   */
  receive(data: Uint8Array): void {
    let start = 0;
    for (let end = 0; end < data.length;) {
      const next = this.#records.end(data, end);
      // Of what it is handed together with an alert, the library throws away what was right.
      const isAlone = next - end <= ALONE_BYTES;
      if (end > start && (isAlone || next - start > MAX_RECEIVE_BYTES)) {
        this.#decrypt(data.subarray(start, end));
        start = end;
      }
      end = next;
      if (isAlone || end === data.length) {
        this.#decrypt(start === 0 && end === data.length ? data : data.subarray(start, end));
        start = end;
      }
    }
  }

  #decrypt(data: Uint8Array): void {
    this.#wrap.readBuffer(data);
    this.#check();
  }

  /** Fills a part of the buffer with what has been received; 0 if there is nothing. */
  read(buffer: Uint8Array): number {
    let count = 0;
    let taken = 0;
    for (const piece of this.#plain) {
      const room = buffer.length - count;
      if (piece.length > room) {
        buffer.set(piece.subarray(0, room), count);
        this.#plain[taken] = piece.subarray(room);
        count = buffer.length;
        break;
      }
      buffer.set(piece, count);
      count += piece.length;
      taken++;
    }
    if (taken > 0) this.#plain.splice(0, taken);
    return count;
  }

  /**
   * Encrypts the beginning of the data, and says how many bytes that was.
   *
   * @throws {EngineError} if it can't
   */
  write(data: Uint8Array): number {
    const part = data.length > MAX_WRITE_BYTES ? data.subarray(0, MAX_WRITE_BYTES) : data;
    this.#wrap.writeBuffer(REQUEST, part);
    this.#check();
    return part.length;
  }

  /** Tells the peer that nothing more comes (close_notify). */
  end(): void {
    this.#wrap.shutdown(REQUEST);
  }

  /** What is to be sent to the peer; nothing of it comes again. */
  takeOutput(): Uint8Array<ArrayBuffer> {
    return this.#wrap.drainEncOut();
  }

  /** What the library has against the peer's certificate; empty if nothing. */
  get complaint(): string {
    return this.#wrap.verifyError();
  }

  /** The version in use: `TLSv1.3`. */
  get version(): string {
    const result: { protocol?: string } = {};
    this.#wrap.getProtocol(result);
    return result.protocol ?? "";
  }

  /** The peer's certificates as it sent them, its own first, in DER; also when a session is resumed. */
  get peerChain(): readonly Uint8Array[] {
    const { certificates = [] } = this.#wrap.getPeerCertificateChain() ?? {};
    return certificates;
  }

  /** Forgets all; the wrap refers to itself, and would never be collected. */
  [Symbol.dispose](): void {
    // The library would go on to take what is written, and throw it away.
    this.#error ??= new EngineError("the connection is closed", "");
    this.#plain = [];
    this.#wrap.destroySsl();
  }

  #check(): void {
    if (this.#error !== undefined) throw this.#error;
  }
}
