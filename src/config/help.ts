// The help text. Its options come from the table that also parses them.

import { OPTIONS, type OptionSpec } from "./options.ts";

/** What `--help` prints. */
export function usage(): string {
  const rows = Object.values(OPTIONS).map((option: OptionSpec) => {
    const left = `--${option.name} ${option.value}`;
    const standard = option.default === undefined ? "" : ` [${option.default}]`;
    return `  ${left.padEnd(29)}${option.help}${standard}`;
  });
  return `\
ambassador: forwards the ports that a container's link variables name

  ambassador [OPTIONS] [LISTEN=TARGET...]         forward until told to stop
  ambassador check [OPTIONS] [LISTEN=TARGET...]   print what would be forwarded, and what is ignored
  ambassador wait [OPTIONS] [LISTEN=TARGET...]    exit 0 as soon as every upstream accepts
  ambassador healthcheck [OPTIONS]                ask the running ambassador: exit 0 if it is ready
  ambassador --help | --version

A variable REDIS_PORT_6379_TCP=tcp://192.0.2.10:6379 is a route: listen on 6379, forward to
192.0.2.10:6379. LISTEN=TARGET arguments replace those of the environment; LISTEN is PORT,
ADDRESS:PORT or [v6]:PORT, TARGET is HOST:PORT.

Examples:
  REDIS_PORT_6379_TCP=tcp://192.0.2.10:6379 ambassador
  ambassador 6379=redis.example.com:6379 127.0.0.1:5432=[2001:db8::7]:5432
  ambassador check --format json
  ambassador wait --timeout 30s 5432=db:5432 && ./migrate

Options (--connect-timeout 5s is also AMBASSADOR_CONNECT_TIMEOUT=5s; an argument wins):
${rows.join("\n")}
  -h, --help                   print this
  --version                    print the version

Times are 500ms, 10s, 5m, 1h; a bare number is seconds; 0 turns a limit off.
Exit status: 0 all connections had finished, 1 some were cut off or it could not go on, 2 wrong
usage or configuration, 129, 130 or 143 ended at once by a second signal (wait: by the first).
`;
}
