// Two hosts and the way between them, in the network that this is run in: one has a Redis, the other
// its client, each has an ambassador, and all that they send each other goes through a relay that keeps
// it. Prints what the relay could read. A program of its own: the hosts are networks within this one.

import { createCa } from "./certificates.ts";
import {
  concat,
  programCommand,
  startProgram,
  startUpstream,
  until,
  type Upstream,
  writeAll,
} from "./mod.ts";
import { programPath } from "./needs.ts";
import { type Ran, run } from "./run.ts";
import { identify } from "./tls_peers.ts";
import { tlsVariables } from "./tls_program.ts";

const NEAR = { address: "192.0.2.2", wire: "192.0.2.1" };
const FAR = { address: "192.0.2.130", wire: "192.0.2.129" };
const SECRET = "the password is correct horse battery staple";

/** What a network of this name has to be set up with. */
export const BIG_SERVER = `
  echo 127.0.0.1 localhost > "$dir/hosts"
  echo ${NEAR.wire} big-server >> "$dir/hosts"
  mount --bind "$dir/hosts" /etc/hosts`;

/** A network of its own that one cable joins to this one. */
interface Host extends AsyncDisposable {
  /** What runs a command there. */
  readonly command: readonly string[];
}

async function startHost(
  name: string,
  { address, wire }: { readonly address: string; readonly wire: string },
): Promise<Host> {
  await using started = new AsyncDisposableStack();
  const command = [programPath("unshare"), "--net", "sleep"];
  const { pid } = started.use(startProgram(["600"], { command }));
  const own = Deno.readLinkSync("/proc/self/ns/net");
  await until(() => Deno.readLinkSync(`/proc/${pid}/ns/net`) !== own, "the host is there");
  const there = [programPath("nsenter"), "--target", `${pid}`, "--net"];
  const ip = programPath("ip");
  for (
    const line of [
      [ip, "link", "add", name, "type", "veth", "peer", "name", `${name}-end`],
      [ip, "link", "set", `${name}-end`, "netns", `${pid}`],
      [ip, "address", "add", `${wire}/25`, "dev", name],
      [ip, "link", "set", name, "up"],
      [...there, ip, "address", "add", `${address}/25`, "dev", `${name}-end`],
      [...there, ip, "link", "set", `${name}-end`, "up"],
      [...there, ip, "link", "set", "lo", "up"],
    ]
  ) {
    const [program = "", ...args] = line;
    const { code, stderr } = await run(program, args);
    if (code !== 0) throw new Error(`${line.join(" ")}: ${stderr}`);
  }
  // The system would remove it some time after the host.
  started.defer(async () => void await run(ip, ["link", "del", name]));
  const running = started.move();
  return { command: there, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

/** The way between the two: a relay that keeps all that goes over it. */
function startWire(): Upstream & { read(): string } {
  const kept: Uint8Array[] = [];
  async function pass(from: Deno.TcpConn, to: Deno.TcpConn): Promise<void> {
    const buffer = new Uint8Array(64 * 1024);
    for (;;) {
      const count = await from.read(buffer);
      if (count === null) return await to.closeWrite();
      kept.push(buffer.slice(0, count));
      await writeAll(to, buffer.subarray(0, count));
    }
  }
  const relay = startUpstream(async (near) => {
    using far = await Deno.connect({ hostname: FAR.address, port: 6380 });
    await Promise.all([pass(near, far), pass(far, near)]);
  }, { hostname: NEAR.wire, port: 6380 });
  return Object.assign(relay, { read: () => new TextDecoder().decode(concat(kept)) });
}

async function show(protocol: "TCP" | "TLS"): Promise<void> {
  using ca = await createCa();
  await using far = await startHost("far", FAR);
  await using near = await startHost("near", NEAR);
  await using wire = startWire();
  const redisCommand = [...far.command, programPath("redis-server")];
  await using redis = startProgram(["--save", "", "--appendonly", "no"], { command: redisCommand });
  await redis.output(/Ready to accept connections/);
  const isTls = protocol === "TLS";
  const scheme = protocol.toLowerCase();
  await using farAmbassador = startProgram([], {
    command: [...far.command, ...programCommand()],
    env: {
      ...(isTls ? tlsVariables(await identify(ca, { dns: ["big-server"] })) : {}),
      [`REDIS_PORT_6380_${protocol}`]: "tcp://127.0.0.1:6379",
    },
  });
  await farAmbassador.line(/ ready /);
  await using nearAmbassador = startProgram([], {
    command: [...near.command, ...programCommand()],
    env: {
      ...(isTls ? tlsVariables(await identify(ca, { dns: ["consumer"] })) : {}),
      REDIS_PORT_6379_TCP: `${scheme}://big-server:6380`,
    },
  });
  await nearAmbassador.line(/ ready /);
  const [nsenter = "", ...there] = near.command;
  const ask = (...args: string[]): Promise<Ran> =>
    run(nsenter, [...there, programPath("redis-cli"), ...args]);
  const set = await ask("SET", "note", SECRET);
  const got = await ask("GET", "note");
  const around = await ask("-h", FAR.address, "-p", "6380", "PING");
  console.log(`${scheme} SET: ${set.text.trim()}${set.stderr.trim()}`);
  console.log(`${scheme} GET: ${got.text.trim() === SECRET ? "the secret" : got.text}`);
  console.log(`${scheme} around the wire: ${around.code === 0 ? "reached" : "nothing"}`);
  const seen = wire.read();
  const words = SECRET.split(" ").filter((word) => word.length > 4 && seen.includes(word));
  console.log(
    `${scheme} on the wire: ${seen.length > 0 ? "bytes" : "nothing"}, ${
      words.length > 0 || seen.includes("note") ? "readable" : "not readable"
    }`,
  );
}

if (import.meta.main) {
  await show("TCP");
  await show("TLS");
}
