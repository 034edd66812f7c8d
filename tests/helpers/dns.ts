// Real name servers, dnsmasq and dnsdist, and a real client of them, dig. What uses them needs them by
// these names.

import { freeUdpPort, type UdpAddress } from "./datagrams.ts";
import { until } from "./mod.ts";
import { programPath } from "./needs.ts";
import { feed, run } from "./run.ts";

/** A name server at work. */
export interface DnsServer extends AsyncDisposable {
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

/**
 * Starts dnsmasq at an address of loopback. It answers for `example.com`, and knows nobody whom it
 * could ask.
 */
export async function startDnsmasq(
  { hostname = "127.0.0.1" }: { readonly hostname?: string } = {},
): Promise<DnsServer> {
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
 * Starts dnsdist at 127.0.0.1. It answers those questions before which a PROXY header stands, and
 * whatever they ask for, with the address that is announced there.
 */
export async function startDnsdist(): Promise<DnsServer> {
  const address = { hostname: "127.0.0.1", port: freeUdpPort() };
  await using started = new AsyncDisposableStack();
  const file = await Deno.makeTempFile({ suffix: ".conf" });
  started.defer(() => Deno.remove(file));
  const config = [
    `setLocal("${address.hostname}:${address.port}")`,
    'setProxyProtocolACL({"127.0.0.0/8"})',
    'setACL({"0.0.0.0/0"})',
    // Else it would ask somebody for the faults of its version.
    'setSecurityPollSuffix("")',
    "function tell(dq) return DNSAction.Spoof, dq.remoteaddr:toString() end",
    "addAction(AllRule(), LuaAction(tell))",
  ];
  await Deno.writeTextFile(file, config.join("\n"));
  const args = ["--supervised", "--disable-syslog", "--config", file];
  const server = started.use(feed(programPath("dnsdist"), args));
  // It says so once it has bound.
  await until(
    () => /No downstream servers/.test(server.text + server.stderr),
    "dnsdist has started",
  );
  const running = started.move();
  return { address, [Symbol.asyncDispose]: () => running.disposeAsync() };
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
