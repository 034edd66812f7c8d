// A network of its own for a program: one in which no name server answers, or with few ports. Linux
// only, and only where a namespace may be made.

import { findProgram, programCommand } from "./mod.ts";

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

/**
 * What starts the program in a network that the script has set up, or undefined after a line that says
 * what is skipped.
 */
export function inNetwork(script: string, skipped: string): string[] | undefined {
  if (Deno.build.os !== "linux") return undefined;
  const unshare = findProgram("unshare", skipped);
  if (unshare === undefined || findProgram("ip", skipped) === undefined) return undefined;
  // What is mounted there is gone with the namespace.
  const setUp = `set -e; PATH=$PATH:/usr/sbin:/sbin; ip link set lo up
    dir=/mnt; mount -t tmpfs none /mnt
    ${script}
    exec "$0" "$@"`;
  const command = [unshare, "-rnm", "sh", "-c", setUp];
  const [executable = "", ...args] = [...command, "true"];
  const { success, stderr } = new Deno.Command(executable, { args }).outputSync();
  if (success) return [...command, ...programCommand()];
  console.error(`SKIPPED, since ${new TextDecoder().decode(stderr).trim()}: ${skipped}`);
  return undefined;
}
