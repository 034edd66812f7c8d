// Which programs of others are here, and how to get those that are not.

/** How a program is installed on Debian and Ubuntu. */
export const PACKAGES = {
  "redis-server": "redis-server",
  "redis-benchmark": "redis-tools",
  iperf3: "iperf3",
  socat: "socat",
  haproxy: "haproxy",
  nginx: "nginx libnginx-mod-stream",
  stunnel: "stunnel4",
  openssl: "openssl",
  go: "golang-go",
} as const;

/** A program that the bench can use. */
export type ProgramName = keyof typeof PACKAGES;

/** The path of a program, or undefined if it is not installed. */
export function findOnPath(name: string): string | undefined {
  const folders = [...(Deno.env.get("PATH") ?? "").split(":"), "/usr/sbin", "/sbin"];
  return folders.map((folder) => `${folder}/${name}`).find(isFile);
}

/** The file of nginx's stream module where it is not built in, as Debian has it. */
export function nginxStreamModule(): string | undefined {
  return [
    "/usr/lib/nginx/modules/ngx_stream_module.so",
    "/usr/lib64/nginx/modules/ngx_stream_module.so",
    "/etc/nginx/modules/ngx_stream_module.so",
  ].find(isFile);
}

/** What to say of a program that is missing. */
export function howToInstall(name: ProgramName): string {
  return `${name} is not installed: apt-get install ${PACKAGES[name]}`;
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}
