// A network of its own for a program: one in which no name server answers, or with few ports. Linux
// only, and only where a namespace may be made.

import { hasPackages, pathOf } from "../../build/sources.ts";
import { programCommand, runProgram } from "./mod.ts";
import { type Ability, programPath } from "./needs.ts";

/** Tells the system to ask a name server behind an interface that drops what it is given. */
export const NAMES_HANG = `
  ip link add hole type veth peer name end
  ip address add 192.0.2.1/24 dev hole
  ip link set hole up arp off
  ip link set end up
  echo nameserver 192.0.2.53 > "$dir/resolv.conf"
  mount --bind "$dir/resolv.conf" /etc/resolv.conf
  echo hosts: files dns > "$dir/nsswitch.conf"
  [ ! -e /etc/nsswitch.conf ] || mount --bind "$dir/nsswitch.conf" /etc/nsswitch.conf
  echo 127.0.0.1 localhost > "$dir/hosts"
  mount --bind "$dir/hosts" /etc/hosts`;

/** Leaves the ports 40000 to 40007 for clients. */
export const FEW_PORTS = "echo 40000 40007 > /proc/sys/net/ipv4/ip_local_port_range";

/** What starts the program where this file stands for /etc/resolv.conf; for root, with `unshare`. */
export function withResolver(file: string): string[] {
  return withMounted(file, "/etc/resolv.conf");
}

/** What starts the program where this file stands for /etc/hosts; for root, with `unshare`. */
export function withHosts(file: string): string[] {
  return withMounted(file, "/etc/hosts");
}

function withMounted(file: string, place: string): string[] {
  const script = `mount --bind "$0" ${place}; exec "$@"`;
  return [programPath("unshare"), "--mount", "sh", "-c", script, file, ...programCommand()];
}

/** A network that a script has set up, for `needs` and for a test's commands. */
export interface Network extends Ability {
  /** What starts the program in it. */
  readonly command: readonly string[];
  /** Runs a script of `tests/` in it, with the program that is tested, to its end. */
  run(path: string): ReturnType<typeof runProgram>;
}

/** Tries whether this machine makes such a network. */
export function networkOf(name: string, script: string): Network {
  // What is mounted there is gone with the namespace.
  const setUp = `set -e; PATH=$PATH:/usr/sbin:/sbin; ip link set lo up
    dir=/mnt; mount -t tmpfs none /mnt
    ${script}
    exec "$0" "$@"`;
  const command = ["unshare", "-rnm", "sh", "-c", setUp];
  return {
    name,
    isHere: succeeds([...command, "true"]),
    command: [...command, ...programCommand()],
    run(path): ReturnType<typeof runProgram> {
      const map = pathOf(hasPackages() ? "deno.json" : "offline/import_map.json");
      const options = ["-q", "-A", `--config=${pathOf("deno.json")}`, `--import-map=${map}`];
      const executable = Deno.env.get("AMBASSADOR_BIN");
      return runProgram([], {
        command: [...command, Deno.execPath(), "run", ...options, pathOf(path)],
        env: executable === undefined ? {} : { AMBASSADOR_BIN: executable },
      });
    },
  };
}

function succeeds([executable = "", ...args]: readonly string[]): boolean {
  try {
    return new Deno.Command(executable, { args, stdout: "null", stderr: "null" }).outputSync()
      .success;
  } catch {
    return false;
  }
}
