// Those who are compared for datagrams: forwarders as they come, nginx with one worker, and nobody at
// all: what the load generator and the server can do without any.

import { pathOf } from "../build/sources.ts";
import { type ForwarderSpec, nginx } from "./forwarders.ts";
import { findOnPath, howToInstall, type ProgramName } from "./programs.ts";

/** How long a process of socat waits for the next datagram of its client, in seconds. */
const SOCAT_TIMEOUT = 30;

/** The peers that can be had here, and what to say of those that can't. */
export function findUdpPeers(): { peers: ForwarderSpec[]; missing: string[] } {
  const peers: ForwarderSpec[] = [];
  const missing: string[] = [];
  const add = (name: ProgramName, make: (path: string) => ForwarderSpec): void => {
    const path = findOnPath(name);
    if (path === undefined) missing.push(howToInstall(name));
    else peers.push(make(path));
  };
  add("nginx", (path) => nginx(path, true));
  add("go", goForwarder);
  add("socat", socat);
  peers.push(DIRECT);
  return { peers, missing };
}

/** Nobody: clients ask the server itself. */
const DIRECT: ForwarderSpec = { name: "direct", isAmbassador: false, commands: () => [] };

/** One process a route and one a client. */
function socat(path: string): ForwarderSpec {
  return {
    name: "socat",
    isAmbassador: false,
    commands: (routes) =>
      routes.map(({ listenPort, hostname, port }) => [
        ...[path, "-T", `${SOCAT_TIMEOUT}`],
        `UDP4-LISTEN:${listenPort},bind=127.0.0.1,fork,reuseaddr`,
        `UDP4:${hostname}:${port}`,
      ]),
  };
}

/** The small program beside this file, made in the folder when it is first needed. */
function goForwarder(path: string): ForwarderSpec {
  return {
    name: "Go",
    isAmbassador: false,
    commands: (routes, { folder }) => {
      const program = `${folder}/udp_forwarder`;
      if (!exists(program)) {
        const args = ["build", "-o", program, pathOf("bench/udp_forwarder.go")];
        const { success, stderr } = new Deno.Command(path, { args }).outputSync();
        if (!success) throw new Error(`go build: ${new TextDecoder().decode(stderr)}`);
      }
      return routes.map(({ listenPort, hostname, port }) => [
        ...[program, `127.0.0.1:${listenPort}`, `${hostname}:${port}`],
      ]);
    },
  };
}

function exists(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}
