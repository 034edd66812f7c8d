// The help text. Its options come from the table that also parses them.

import { SPECS } from "./options.ts";

/** What `--help` prints. */
export function usage(): string {
  const rows = SPECS.map((option) => {
    const left = `--${option.name} ${option.kind.placeholder}`.trimEnd();
    const standard = option.default === undefined ? "" : ` [${option.default}]`;
    const mark = option.route === undefined ? " " : "*";
    return `  ${left.padEnd(28)}${mark} ${option.help}${standard}`;
  });
  return `\
ambassador: forwards the ports that a container's link variables name

  ambassador [OPTIONS] [LISTEN=TARGET...]              forward until told to stop
  ambassador check [OPTIONS] [LISTEN=TARGET...]        print what would be forwarded, and what not
  ambassador wait [OPTIONS] [LISTEN=TARGET|TARGET...]  exit 0 once a target of every route accepts
  ambassador healthcheck [OPTIONS]                     ask the running ambassador: exit 0 if ready
  ambassador --help | --version

A variable REDIS_PORT_6379_TCP=tcp://192.0.2.10:6379 is a route: listen on 6379, forward to
192.0.2.10:6379. LISTEN=TARGET arguments replace those of the environment:
  LISTEN   PORT, ADDRESS:PORT or [v6]:PORT; with /tls after it, clients speak TLS, with /udp UDP
  TARGET   HOST:PORT, or tls://HOST:PORT to connect by TLS; several are separated by commas
As a variable, REDIS_PORT_6380_TLS=tcp://redis:6379 listens by TLS,
REDIS_PORT_6379_TCP=tls://192.0.2.10:6380 connects by TLS, and
DNS_PORT_53_UDP=udp://192.0.2.1:53 forwards datagrams. Settings of one route alone, the options
that are marked with *, follow a question mark: redis:6379?idle-timeout=5m,retry=10s.
A file of such variables, one NAME=VALUE a line, is read with --routes FILE, and changes what is
forwarded without a restart.

Examples:
  REDIS_PORT_6379_TCP=tcp://192.0.2.10:6379 ambassador
  ambassador 6379=redis.example.com:6379 127.0.0.1:5432=[2001:db8::7]:5432
  ambassador 6379=tls://big-server:6380 --tls-cert c.pem --tls-key k.pem --tls-ca ca.pem
  ambassador 6380/tls=redis:6379 --tls-cert c.pem --tls-key k.pem --tls-ca ca.pem --tls-allow web
  ambassador 53=192.0.2.1:53 53/udp=192.0.2.1:53 --allow 10.0.0.0/8
  ambassador check --format json
  ambassador wait --timeout 30s db:5432 && ./migrate

Options (--connect-timeout 5s is also AMBASSADOR_CONNECT_TIMEOUT=5s; an argument wins):
${rows.join("\n")}
  -h, --help                    print this
  -V, --version                 print the version

Times are 500ms, 10s, 5m, 1h; a bare number is seconds; 0 turns a limit off.
Exit status: 0 all connections had finished, 1 some were cut off or it could not go on, 2 wrong
usage or configuration, 130 or 143 ended at once by a second signal (wait: by the first).
`;
}
