// Those who are compared, each as the command lines that forward a list of routes. All but the number
// of connections and the listen queues is as they come, unless HAProxy and nginx are to use one
// processor.

import { sourceCommand } from "../build/sources.ts";
import { connectionsFor, descriptors } from "./descriptors.ts";
import { freePort } from "./process.ts";
import { findOnPath, howToInstall, nginxStreamModule, type ProgramName } from "./programs.ts";

/** A port to listen on at 127.0.0.1, and where it leads. */
export interface BenchRoute {
  /** Where to listen. */
  readonly listenPort: number;
  /** An IPv4 address. */
  readonly hostname: string;
  /** The target's port. */
  readonly port: number;
  /** What is forwarded. Default: connections. */
  readonly protocol?: "udp";
}

/** One of those who are compared. */
export interface ForwarderSpec {
  /** The head of its column. */
  readonly name: string;
  /** Whether it is an ambassador, with its log, its status page and the options for these. */
  readonly isAmbassador: boolean;
  /** The command lines. */
  commands(
    routes: readonly BenchRoute[],
    options: CommandOptions,
  ): readonly (readonly string[])[];
}

/** Options for {@linkcode ForwarderSpec.commands}. */
export interface CommandOptions {
  /** Where files are written that they need. */
  readonly folder: string;
  /** Arguments of an ambassador. */
  readonly options: readonly string[];
  /** The address of the only clients that are served; of socat's, all are. */
  readonly allow?: string | undefined;
}

/** The listen queue that Deno and nginx ask for by themselves. */
export const BACKLOG = 511;

/** The ambassador: sources with the Deno that runs the bench (these unless given), or an executable. */
export function ambassador(path?: string): ForwarderSpec {
  const isFolder = path !== undefined && Deno.statSync(path).isDirectory;
  const program = path === undefined || isFolder ? sourceCommand(path) : [path];
  return {
    name: "ambassador",
    isAmbassador: true,
    commands: (routes, { options, allow }) => [[
      ...program,
      ...allow === undefined ? [] : [`--allow=${allow}`],
      ...options,
      ...routes.map(({ listenPort, hostname, port, protocol }) =>
        `127.0.0.1:${listenPort}${protocol === "udp" ? "/udp" : ""}=${hostname}:${port}`
      ),
    ]],
  };
}

/**
 * The ambassador with a status page that is asked for its metrics every second, as Prometheus would
 * (more often than it usually does).
 */
export function scrapedAmbassador(executable?: string): ForwarderSpec & Disposable {
  const { commands } = ambassador(executable);
  const addresses = new Set<string>();
  const timer = setInterval(() => {
    for (const address of addresses) void scrape(address);
  }, 1000);
  return {
    name: "with status",
    isAmbassador: true,
    commands: (routes, { options, ...others }) => {
      const address = `127.0.0.1:${freePort()}`;
      addresses.add(address);
      return commands(routes, { ...others, options: [...options, `--status=${address}`] });
    },
    [Symbol.dispose]: () => clearInterval(timer),
  };
}

/** Asks for the metrics once, as Prometheus would; without an answer where there is none to be had. */
export async function scrape(address: string): Promise<void> {
  try {
    await (await fetch(`http://${address}/metrics`)).text();
  } catch {
    // It has been stopped since, or has not started yet.
  }
}

/**
 * The peers that are installed, and what to say of those that are not. With one worker HAProxy and
 * nginx use one processor, as the ambassador does; socat, a process for each client, is left out.
 */
export function findPeers(
  { oneWorker }: { oneWorker: boolean },
): { peers: ForwarderSpec[]; missing: string[] } {
  const peers: ForwarderSpec[] = [];
  const missing: string[] = [];
  const add = (name: ProgramName, make: (path: string) => ForwarderSpec[]): void => {
    const path = findOnPath(name);
    if (path === undefined) missing.push(howToInstall(name));
    else peers.push(...make(path));
  };
  if (!oneWorker) {
    add("socat", (path) => [socat(path, "socat", ""), socat(path, "socat 512", ",backlog=512")]);
  }
  add("haproxy", (path) => [haproxy(path, oneWorker)]);
  add("nginx", (path) => [nginx(path, oneWorker)]);
  return { peers, missing };
}

/** The line that link-variable images run, one process a route and one a client. */
function socat(path: string, name: string, extra: string): ForwarderSpec {
  return {
    name,
    isAmbassador: false,
    commands: (routes) =>
      routes.map(({ listenPort, hostname, port }) => [
        path,
        "-t",
        "100000000",
        `TCP4-LISTEN:${listenPort},bind=127.0.0.1,fork,reuseaddr${extra}`,
        `TCP4:${hostname}:${port}`,
      ]),
  };
}

function haproxy(path: string, oneWorker: boolean): ForwarderSpec {
  return {
    name: "HAProxy",
    isAmbassador: false,
    commands: (routes, { folder, allow }) => {
      const file = `${folder}/haproxy.cfg`;
      const rule = allow === undefined
        ? ""
        : `\n  tcp-request connection reject if !{ src ${allow} }`;
      const listens = routes.map(({ listenPort, hostname, port }) => `
listen route${listenPort}
  bind 127.0.0.1:${listenPort} backlog ${BACKLOG}${rule}
  server upstream ${hostname}:${port}
`);
      Deno.writeTextFileSync(
        file,
        `global
  maxconn ${connectionsFor(routes.length)}
${oneWorker ? "  nbthread 1\n" : ""}defaults
  mode tcp
  timeout connect 10s
  timeout client 1h
  timeout server 1h
${listens.join("")}`,
      );
      return [[path, "-db", "-q", "-f", file]];
    },
  };
}

/** nginx with its stream module. */
export function nginx(path: string, oneWorker: boolean): ForwarderSpec {
  return {
    name: "nginx",
    isAmbassador: false,
    commands: (routes, { folder, allow }) => {
      const file = `${folder}/nginx.conf`;
      const rule = allow === undefined ? "" : `allow ${allow}; deny all; `;
      const module = nginxStreamModule();
      const servers = routes.map(({ listenPort, hostname, port, protocol }) => {
        const kind = protocol ?? `backlog=${BACKLOG}`;
        return `  server { listen 127.0.0.1:${listenPort} ${kind}; ${rule}proxy_pass ${hostname}:${port}; }\n`;
      });
      Deno.writeTextFileSync(
        file,
        `${module === undefined ? "" : `load_module ${module};\n`}daemon off;
pid ${folder}/nginx.pid;
error_log stderr crit;
worker_processes ${oneWorker ? 1 : "auto"};
worker_rlimit_nofile ${descriptors()};
events { worker_connections ${connectionsFor(0) * 2 + routes.length + 100}; }
stream {
  access_log off;
  proxy_timeout 1h;
${servers.join("")}}
`,
      );
      return [[path, "-p", folder, "-e", "stderr", "-c", file]];
    },
  };
}
