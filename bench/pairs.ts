// Those who are compared with TLS between them: a near forwarder that takes plain connections, and a
// far one that leads to the servers. Both show a certificate, and each checks the other's and the
// address in the far one's. All but that, the number of connections and the listen queues is as it
// comes; HAProxy has one worker.

import { makeCertificates, type PairCertificates } from "./certificates.ts";
import { connectionsFor } from "./descriptors.ts";
import { ambassador, BACKLOG, type BenchRoute, type ForwarderSpec } from "./forwarders.ts";
import { freePorts } from "./process.ts";
import { findOnPath, howToInstall, type ProgramName } from "./programs.ts";

/** A route of both: what leads from the one to the other is between them. */
interface PairRoute extends BenchRoute {
  /** Where the far one listens, at 127.0.0.1. */
  readonly betweenPort: number;
}

/** The command lines of the near one and the far one. */
type PairCommands = (
  routes: readonly PairRoute[],
  options: Parameters<ForwarderSpec["commands"]>[1],
) => readonly [near: readonly string[], far: readonly string[]];

function pair(name: string, isAmbassador: boolean, commands: PairCommands): ForwarderSpec {
  return {
    name,
    isAmbassador,
    commands: (routes, options) => {
      const ports = freePorts(routes.length);
      return commands(
        routes.map((route, index) => ({ ...route, betweenPort: ports[index] ?? 0 })),
        options,
      );
    },
  };
}

/** Those of each folder: others would change under a pair that runs, and it would notice. */
const made = new Map<string, PairCertificates>();

function certificatesIn(folder: string): PairCertificates {
  const certificates = made.get(folder) ?? makeCertificates(folder);
  made.set(folder, certificates);
  return certificates;
}

/** Two ambassadors with TLS between them. */
export function ambassadorPair(path?: string): ForwarderSpec {
  const [program = []] = ambassador(path).commands([], { folder: "", options: [] });
  return pair("ambassadors", true, (routes, { folder, options }) => {
    const { ca, near, far } = certificatesIn(folder);
    const run = ({ cert, key }: typeof near): string[] => [
      ...program,
      ...["--tls-cert", cert, "--tls-key", key, "--tls-ca", ca],
      ...options,
    ];
    return [
      [
        ...run(near),
        ...routes.map((r) => `127.0.0.1:${r.listenPort}=tls://127.0.0.1:${r.betweenPort}`),
      ],
      [...run(far), ...routes.map((r) => `127.0.0.1:${r.betweenPort}/tls=${r.hostname}:${r.port}`)],
    ];
  });
}

/** The same two with nothing between them: what TLS could cost at the least. */
function plainPair(path?: string): ForwarderSpec {
  const [program = []] = ambassador(path).commands([], { folder: "", options: [] });
  return pair("without TLS", true, (routes, { options }) => [
    [
      ...program,
      ...options,
      ...routes.map((r) => `127.0.0.1:${r.listenPort}=127.0.0.1:${r.betweenPort}`),
    ],
    [
      ...program,
      ...options,
      ...routes.map((r) => `127.0.0.1:${r.betweenPort}=${r.hostname}:${r.port}`),
    ],
  ]);
}

/** The pairs beside that of ambassadors that can be had here, and what to say of those that can't. */
export function findPairs(bin?: string): { peers: ForwarderSpec[]; missing: string[] } {
  const peers: ForwarderSpec[] = [];
  const missing: string[] = [];
  const add = (name: ProgramName, make: (path: string) => ForwarderSpec): void => {
    const path = findOnPath(name);
    if (path === undefined) missing.push(howToInstall(name));
    else peers.push(make(path));
  };
  add("stunnel", stunnelPair);
  add("haproxy", haproxyPair);
  peers.push(plainPair(bin));
  return { peers, missing };
}

function stunnelPair(path: string): ForwarderSpec {
  return pair("stunnel", false, (routes, { folder }) => {
    const { ca, near, far } = certificatesIn(folder);
    const half = (
      name: string,
      { cert, key }: typeof near,
      service: (route: PairRoute) => string,
    ): string[] => {
      const file = `${folder}/stunnel_${name}.conf`;
      Deno.writeTextFileSync(
        file,
        `foreground = quiet
syslog = no
pid =
cert = ${cert}
key = ${key}
CAfile = ${ca}
verifyChain = yes
${routes.map((route) => `[route${route.listenPort}]\n${service(route)}\n`).join("")}`,
      );
      return [path, file];
    };
    return [
      half("near", near, ({ listenPort, betweenPort }) =>
        `client = yes
accept = 127.0.0.1:${listenPort}
connect = 127.0.0.1:${betweenPort}
checkIP = 127.0.0.1`),
      half("far", far, ({ betweenPort, hostname, port }) =>
        `accept = 127.0.0.1:${betweenPort}
connect = ${hostname}:${port}`),
    ];
  });
}

function haproxyPair(path: string): ForwarderSpec {
  return pair("HAProxy", false, (routes, { folder }) => {
    const { ca, near, far } = certificatesIn(folder);
    const half = (name: string, listen: (route: PairRoute) => [string, string]): string[] => {
      const file = `${folder}/haproxy_${name}.cfg`;
      const listens = routes.map((route) => {
        const [bind, server] = listen(route);
        return `listen route${route.listenPort}
  bind 127.0.0.1:${bind}
  server upstream ${server}
`;
      });
      Deno.writeTextFileSync(
        file,
        `global
  maxconn ${connectionsFor(routes.length)}
  nbthread 1
defaults
  mode tcp
  timeout connect 10s
  timeout client 1h
  timeout server 1h
${listens.join("")}`,
      );
      return [path, "-db", "-q", "-f", file];
    };
    const trust = `ca-file ${ca} verify required`;
    return [
      half("near", ({ listenPort, betweenPort }) => [
        `${listenPort} backlog ${BACKLOG}`,
        // It compares DNS names alone.
        `127.0.0.1:${betweenPort} ssl crt ${near.cert} ${trust} verifyhost localhost`,
      ]),
      half("far", ({ betweenPort, hostname, port }) => [
        `${betweenPort} backlog ${BACKLOG} ssl crt ${far.cert} ${trust}`,
        `${hostname}:${port}`,
      ]),
    ];
  });
}
