// A name server of the tests' own, which takes its time. It knows one answer.

import dgram from "node:dgram";
import { Random } from "./mod.ts";

/** A name server at work. */
export interface NameServer extends AsyncDisposable {
  /** The line of a resolv.conf that leads to it. */
  readonly config: string;
}

/** Answers every question for an IPv4 address with 127.0.0.1, after a while; needs root for its port. */
export async function startNameServer(delayMs: number): Promise<NameServer> {
  const socket = dgram.createSocket("udp4");
  const timers = new Set<ReturnType<typeof setTimeout>>();
  socket.on("message", (question, { port, address }) => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      socket.send(answerTo(question), port, address);
    }, delayMs);
    timers.add(timer);
  });
  // The port is given, so the address is one that nobody else has.
  const random = new Random(Deno.pid);
  const address = `127.${1 + random.below(250)}.${random.below(250)}.${1 + random.below(250)}`;
  const bound = Promise.withResolvers<void>();
  socket.once("error", bound.reject);
  socket.bind(53, address, bound.resolve);
  await bound.promise;
  return {
    config: `nameserver ${address}\n`,
    async [Symbol.asyncDispose](): Promise<void> {
      timers.forEach(clearTimeout);
      const closed = Promise.withResolvers<void>();
      socket.close(closed.resolve);
      await closed.promise;
    },
  };
}

/** RFC 1035: the question again, and where it asks for an IPv4 address (type A) one that holds now. */
function answerTo(message: Uint8Array): Uint8Array {
  // The name ends with an empty label; type and class follow.
  const end = message.indexOf(0, 12) + 5;
  const isIpv4 = message[end - 3] === 1;
  const header = [...message.subarray(0, 2), 0x81, 0x80, 0, 1, 0, isIpv4 ? 1 : 0, 0, 0, 0, 0];
  const record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1];
  return Uint8Array.from([...header, ...message.subarray(12, end), ...(isIpv4 ? record : [])]);
}
