// A real name server, dnsmasq, and a real client of it, dig. What uses them needs("dnsmasq", "dig").

import { freeUdpPort, type UdpAddress } from "./datagrams.ts";
import { until } from "./mod.ts";
import { programPath } from "./needs.ts";
import { feed, run } from "./run.ts";

/** dnsmasq at work: it answers for `example.com`, and knows nobody whom it could ask. */
export interface Dnsmasq extends AsyncDisposable {
  /** Where it is, for UDP and for TCP. */
  readonly address: UdpAddress;
}

/** The address that {@linkcode startDnsmasq} gives for every name below `example.com`. */
export const DNS_ANSWER = "192.0.2.1";

/** What {@linkcode startDnsmasq} is started with, but for its addresses. */
export const DNSMASQ_ARGS: readonly string[] = [
  "--no-daemon",
  "--conf-file=/dev/null",
  "--no-hosts",
  "--no-resolv",
  "--bind-interfaces",
  "--pid-file=",
  // It stays who it is, also where nobody has a name.
  "--user=",
  "--edns-packet-max=4096",
  `--address=/example.com/${DNS_ANSWER}`,
  // One that is larger than an Ethernet frame, so that it comes in pieces.
  `--txt-record=large.example.com,${Array(12).fill("x".repeat(250)).join(",")}`,
];

/** Starts dnsmasq at an address of loopback. */
export async function startDnsmasq(
  { hostname = "127.0.0.1" }: { readonly hostname?: string } = {},
): Promise<Dnsmasq> {
  const port = freeUdpPort(hostname);
  const own = [`--port=${port}`, `--listen-address=${hostname}`];
  await using started = new AsyncDisposableStack();
  const server = started.use(feed(programPath("dnsmasq"), [...DNSMASQ_ARGS, ...own]));
  // It says so once it has bound.
  await until(() => /\bstarted\b/.test(server.stderr), "dnsmasq has started");
  const running = started.move();
  return { address: { hostname, port }, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

/**
 * Asks for the IPv4 address of each name, in one run of dig: with a socket of its own for each, and
 * never twice. Gives what it prints with `+short`: a line for each, which begins with `;` where no
 * answer has come.
 *
 * @param words More words of dig's own, such as `+tcp`.
 */
export async function dig(
  { hostname, port }: UdpAddress,
  names: readonly string[],
  words: readonly string[] = [],
): Promise<string[]> {
  const options = ["+short", "+tries=1", "+time=5", ...words];
  const server = [`@${hostname}`, "-p", String(port)];
  const { text } = await run("dig", [...server, ...options, "-f", "-"], {
    stdin: names.join("\n"),
  });
  return text.split("\n").filter((line) => line !== "");
}
