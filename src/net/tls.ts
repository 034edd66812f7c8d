// TLS: a listener of TCP whose clients then shake hands, and connecting to an upstream that does. Whom to
// trust is asked at every connection, and answered twice: by the library, and by `Trust`, since the
// library lets those in who resume a session of another trust, and a few more.

import { type Address, formatAddress, isIp, withoutDot } from "../base/address.ts";
import { quote, some } from "../base/text.ts";
import { isTimeout, TimeLimit } from "../base/time.ts";
import type { Options, RouteSettings } from "../config/options.ts";
import { type Certificate, hasHost } from "./certificate.ts";
import type { Credentials } from "./credentials.ts";
import { startTls } from "./starttls.ts";
import type { ConnectOptions, Stream, Transport } from "./stream.ts";
import { connectTcp, listenTcp } from "./tcp.ts";
import { type Context, createContext, TlsEngine } from "./tls_engine.ts";
import { REFUSALS, TlsError } from "./tls_error.ts";
import { TlsStream } from "./tls_stream.ts";
import { isUnclear, lacksKey } from "./tls_words.ts";
import type { Trust } from "./trust.ts";

/** How long an upstream that is only tried may take to refuse, in milliseconds. */
const REFUSAL_MS = 500;

/** What TLS is spoken with. */
export interface TlsOptions {
  /** Who this ambassador is and whom it trusts, now. */
  readonly credentials: () => Credentials;
  /** Whether clients need a certificate. */
  readonly tlsClient: Options["tlsClient"];
}

/** The transport of TLS. */
export function createTls(options: TlsOptions): Transport {
  const context: DialContext = { ...options, diagnoses: new Map() };
  return {
    listen: listenTcp,
    connect: (address, connectOptions) => connectTls(address, connectOptions, context),
    shakeHands: (client, settings) => acceptTls(client, settings, options),
  };
}

/** What engines are made with, by what they do. */
interface Contexts {
  readonly server: Context;
  readonly client: Context;
  /** A client that does not say who it is. */
  readonly nobody: Context;
}

const contexts = new WeakMap<Credentials, Contexts>();

/** Made once for each set of credentials. */
function contextsOf(credentials: Credentials): Contexts {
  let made = contexts.get(credentials);
  if (made === undefined) {
    const { cert, key, clientTrust, upstreamTrust: { pem: ca } } = credentials;
    const server = createContext({ cert, key, ca: clientTrust?.pem });
    made = { server, client: createContext({ cert, key, ca }), nobody: createContext({ ca }) };
    contexts.set(credentials, made);
  }
  return made;
}

/** Shakes hands with a client; undefined if it leaves without a byte. */
async function acceptTls(
  client: Stream,
  { tlsAllow }: RouteSettings,
  { credentials, tlsClient }: TlsOptions,
): Promise<Stream | undefined> {
  const needsCertificate = tlsClient === "required";
  const context = contextsOf(credentials()).server;
  using opened = new DisposableStack();
  const engine = opened.use(new TlsEngine({ isServer: true, context, needsCertificate }));
  const stream = new TlsStream(client, engine, "the client");
  const isHere = await stream.shakeHands(() => {
    if (!needsCertificate) return;
    // What is trusted now, and not when the handshake began.
    const { clientTrust } = credentials();
    const { peerChain } = engine;
    if (peerChain.length === 0 || clientTrust === undefined) {
      throw new TlsError("the client sent no certificate");
    }
    const leaf = clientTrust.verify(peerChain, { purpose: "client", nowMs: Date.now() });
    heed(engine);
    if (!tlsAllow.has(leaf.names)) {
      throw new TlsError(`--tls-allow does not have the client: ${namesOf(leaf)}`);
    }
    // Whoever has several names is told by the one that has let it in.
    stream.peer = tlsAllow.find(leaf.names) ?? nameOf(leaf);
    stream.peerNames = leaf.names;
  });
  if (!isHere) return undefined;
  opened.move();
  return stream;
}

/** What dials share. */
interface DialContext {
  readonly credentials: () => Credentials;
  /** What is being found out about upstreams whose certificates were refused. */
  readonly diagnoses: Map<string, Promise<TlsError | undefined>>;
}

/** Connects, shakes hands, and makes sure that it is the upstream that is wanted. */
async function connectTls(
  address: Address,
  options: ConnectOptions,
  context: DialContext,
): Promise<Stream> {
  try {
    return await dial(address, options, context);
  } catch (error) {
    if (!isUnclear(error)) throw error;
    const { diagnoses } = context;
    const name = `${formatAddress(address)} ${options.settings.tlsName ?? ""}`;
    // Once for all who are refused at a time.
    const diagnosis = diagnoses.get(name) ?? diagnose(address, options, context);
    diagnoses.set(name, diagnosis);
    const found = await diagnosis;
    diagnoses.delete(name);
    throw found ?? error;
  }
}

/**
 * Says what is wrong with an upstream's certificate where the library does not (Deno 2.9.6: expired and
 * signed by a stranger are one to it, and it keeps the certificate to itself). The upstream is refused
 * already: it is asked for its certificate once more, and sent nothing that it has not had before.
 */
async function diagnose(
  address: Address,
  options: ConnectOptions,
  { credentials }: DialContext,
): Promise<TlsError | undefined> {
  try {
    const stream = await dial(address, options, { credentials, isDiagnosis: true });
    stream[Symbol.dispose]();
  } catch (error) {
    if (error instanceof TlsError) return error.of("the upstream");
  }
  return undefined;
}

async function dial(
  address: Address,
  options: ConnectOptions,
  { credentials, isDiagnosis = false }: Pick<DialContext, "credentials"> & {
    readonly isDiagnosis?: boolean;
  },
): Promise<Stream> {
  const { signal, settings, isTrial } = options;
  const tcp = await connectTcp(address, options);
  using opened = new DisposableStack();
  opened.use(tcp);
  const close = (): void => tcp[Symbol.dispose]();
  signal.addEventListener("abort", close);
  if (signal.aborted) close();
  opened.defer(() => signal.removeEventListener("abort", close));
  let awaited = "the request for TLS (--starttls)";
  try {
    await startTls(tcp, settings.starttls);
    awaited = "the TLS handshake: it may not speak TLS";
    const host = settings.tlsName ?? address.hostname;
    const context = contextsOf(credentials())[isDiagnosis ? "nobody" : "client"];
    const serverName = isIp(host) ? undefined : withoutDot(host);
    const engine = opened.use(
      new TlsEngine({ isServer: false, context, serverName, isDiagnosis }),
    );
    const stream = new TlsStream(tcp, engine, "the upstream");
    const verify = (): void => verifyUpstream(engine, host, credentials().upstreamTrust);
    const isThere = await stream.shakeHands(verify).catch((error) => {
      if (!isDiagnosis) throw error;
      // Whatever its chain is worth.
      if (isUnclear(error)) throw lacksKey("the upstream");
      // It may have failed afterwards, since the upstream misses something.
      if (engine.peerChain.length > 0) verify();
      throw new Error("no certificate has come");
    });
    if (!isThere) {
      throw new TlsError("the upstream closed the connection: it may not speak TLS", {
        hint: "write tcp:// for an upstream without TLS; some want --starttls",
      });
    }
    if (isTrial) {
      // One that only waits has accepted, also where there is less time than this.
      using limit = new TimeLimit(REFUSAL_MS, signal);
      await stream.untilAccepted(limit.signal);
    } else {
      signal.throwIfAborted();
    }
    opened.move();
    signal.removeEventListener("abort", close);
    return stream;
  } catch (error) {
    throw signal.aborted ? inWords(signal.reason, awaited) : error;
  }
}

/** Throws if the upstream is not the one that is wanted. */
function verifyUpstream(engine: TlsEngine, host: string, trust: Trust): void {
  const leaf = trust.verify(engine.peerChain, { purpose: "server", nowMs: Date.now() });
  heed(engine);
  if (!hasHost(leaf, host)) {
    throw new TlsError(`not for the name ${quote(host)}: the certificate has ${namesOf(leaf)}`, {
      hint: "--tls-name says which name it must have",
    });
  }
}

/** What its certificate calls a peer; a common name counts for nothing, and is marked as one. */
function nameOf({ subject, names: { dns, ips, uris } }: Certificate): string {
  return dns.length + ips.length + uris.length > 0 ? subject : `CN=${subject}`;
}

/** For people: names that others have chosen, so that each is quoted. */
function namesOf({ names: { dns, ips, uris } }: Certificate): string {
  return some([...dns, ...ips, ...uris].map(quote), ", ") || "no usable name (subjectAltName)";
}

/** Refuses a peer that the library would not have. */
function heed({ complaint }: TlsEngine): void {
  if (complaint !== "") throw new TlsError(REFUSALS.unknownAuthority);
}

/** A server that waits for its client to speak never answers: the time is up then. */
function inWords(reason: unknown, awaited: string): unknown {
  if (!isTimeout(reason)) return reason;
  return new TlsError(`${reason.message} to ${awaited}`, { cause: reason });
}
