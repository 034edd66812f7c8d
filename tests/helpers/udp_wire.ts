// UDP in this process, with a hand on its sockets: they are real ones, which a test holds up, lets fail,
// or leads elsewhere. It knows nothing of sessions.

import type { Address } from "../../src/base/address.ts";
import type { ConnectOptions, DatagramListener, Stream } from "../../src/net/stream.ts";
import { PLAIN_TRANSPORTS, type Transports } from "../../src/net/transports.ts";
import { within } from "./mod.ts";

/** What is let through at once, or held until the test lets it go. */
export class Gate {
  /** How many are held now. */
  waiting = 0;
  /** How many have come. */
  count = 0;
  /** What those who come through get instead, if that is to fail. */
  error: Error | undefined;
  #closed: PromiseWithResolvers<void> | undefined;

  /** Holds who comes from now on. */
  hold(): void {
    this.#closed ??= Promise.withResolvers();
  }

  /** Lets all go who are held, and who come from now on. */
  release(): void {
    this.#closed?.resolve();
    this.#closed = undefined;
  }

  /** Passes, perhaps later. */
  async pass(): Promise<void> {
    this.count++;
    if (this.#closed !== undefined) {
      this.waiting++;
      await this.#closed.promise;
      this.waiting--;
    }
    this.check();
  }

  /** Throws the error, if there is one. */
  check(): void {
    if (this.error !== undefined) throw this.error;
  }
}

/** The sockets of a forwarder. */
export interface UdpWire {
  /** What the forwarder uses. */
  readonly transports: Transports;
  /** Opening a socket to a target. */
  readonly connects: Gate;
  /** Telling of a socket to a target that is open. */
  readonly connected: Gate;
  /** Sending to a target. */
  readonly writes: Gate;
  /** Telling that something was sent to a target. */
  readonly written: Gate;
  /** Receiving from a target, once something has come. */
  readonly reads: Gate;
  /** Sending to a client. */
  readonly sends: Gate;
  /** Receiving from a client, once something has come. */
  readonly arrivals: Gate;
  /** Looking a target's name up again. */
  readonly renewals: Gate;
  /** The listeners, in the order in which they were opened. */
  readonly listeners: readonly DatagramListener[];
  /** The sockets to targets that are open. */
  readonly sockets: ReadonlySet<Stream>;
  /** How many datagrams have come from clients. */
  readonly received: number;
  /** Resolves once so many have come. */
  receives(count: number): Promise<void>;
  /** The signals of all renewals that have begun. */
  readonly renewed: readonly AbortSignal[];
  /** Maximum sockets to targets; opening one more fails for want of descriptors. */
  maxSockets: number;
  /** Where else routes listen, as where IPv6 and IPv4 need a listener each. */
  alsoAt: string | undefined;
  /** Where datagrams to targets really go, as a NAT leads them. */
  nat: Address | undefined;
  /** Who seems to have sent what comes from clients. */
  seemsFrom: Address | undefined;
}

/** The error of the system where there is no descriptor. */
export function noDescriptor(): Error {
  return Object.assign(new Error("Too many open files (os error 24)"), { code: "EMFILE" });
}

/** Real sockets, with nothing in their way yet. */
export function createUdpWire(): UdpWire {
  const listeners: DatagramListener[] = [];
  const sockets = new Set<Stream>();
  const renewed: AbortSignal[] = [];
  const [connects, connected, writes, written, reads, sends, arrivals, renewals] = Array.from(
    { length: 8 },
    () => new Gate(),
  ) as [Gate, Gate, Gate, Gate, Gate, Gate, Gate, Gate];
  let received = 0;
  let arrived = Promise.withResolvers<void>();
  function listen(address: Address): readonly DatagramListener[] {
    const { alsoAt } = wire;
    const addresses = [
      address,
      ...(alsoAt === undefined ? [] : [{ ...address, hostname: alsoAt }]),
    ];
    const bound = addresses.flatMap((one) => PLAIN_TRANSPORTS.udp.listen(one));
    const opened = bound.map((one): DatagramListener => ({
      addr: one.addr,
      async receive(buffer): Promise<{ readonly from: Address; readonly length: number }> {
        arrivals.check();
        const { from, length } = await one.receive(buffer);
        received++;
        arrived.resolve();
        arrived = Promise.withResolvers();
        await arrivals.pass();
        return { from: wire.seemsFrom ?? from, length };
      },
      async send(data, to): Promise<void> {
        await sends.pass();
        await one.send(data, to);
      },
      close: () => one.close(),
    }));
    listeners.push(...opened);
    return opened;
  }
  async function connect(address: Address, options: ConnectOptions): Promise<Stream> {
    await connects.pass();
    if (sockets.size >= wire.maxSockets) throw noDescriptor();
    const { nat } = wire;
    const { onConnected, ...rest } = options;
    const stream = await PLAIN_TRANSPORTS.udp.connect(
      nat ?? address,
      nat === undefined ? options : rest,
    );
    if (nat !== undefined) onConnected?.({ localAddr: stream.localAddr, remoteAddr: address });
    const held: Stream = {
      get localAddr(): Address {
        return stream.localAddr;
      },
      get remoteAddr(): Address {
        return stream.remoteAddr;
      },
      async read(buffer): Promise<number | null> {
        reads.check();
        const count = await stream.read(buffer);
        await reads.pass();
        return count;
      },
      async write(data): Promise<number> {
        await writes.pass();
        const count = await stream.write(data);
        await written.pass();
        return count;
      },
      closeWrite: () => stream.closeWrite(),
      async renew(signal): Promise<void> {
        renewed.push(signal);
        await renewals.pass();
        await stream.renew?.(signal);
      },
      [Symbol.dispose](): void {
        sockets.delete(held);
        stream[Symbol.dispose]();
      },
    };
    sockets.add(held);
    await connected.pass();
    return held;
  }
  const wire: UdpWire = {
    transports: { ...PLAIN_TRANSPORTS, udp: { listen, connect } },
    connects,
    connected,
    writes,
    written,
    reads,
    sends,
    arrivals,
    renewals,
    listeners,
    sockets,
    get received(): number {
      return received;
    },
    async receives(count): Promise<void> {
      while (received < count) await within(arrived.promise, "a datagram");
    },
    renewed,
    maxSockets: Infinity,
    alsoAt: undefined,
    nat: undefined,
    seemsFrom: undefined,
  };
  return wire;
}
