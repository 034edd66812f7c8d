// The words of the help, as data that the man page and the completions use too, and the text that they
// make. Its options come from the table that also parses them.

import { type CommandName, SPECS } from "./options.ts";

/** What the program does. */
export const PURPOSE = "forwards the ports that a container's link variables name";

/** How each command is called, and what it does. */
export const CALLS: Readonly<
  Record<CommandName, { readonly call: string; readonly help: string }>
> = {
  forward: {
    call: "ambassador [OPTIONS] [LISTEN=TARGET...]",
    help: "forward until told to stop",
  },
  check: {
    call: "ambassador check [OPTIONS] [LISTEN=TARGET...]",
    help: "print what would be forwarded, and what not",
  },
  wait: {
    call: "ambassador wait [OPTIONS] [LISTEN=TARGET|TARGET...]",
    help: "exit 0 once a target of every route accepts",
  },
  healthcheck: {
    call: "ambassador healthcheck [OPTIONS]",
    help: "ask the running ambassador: exit 0 if ready",
  },
};

/** The call that only prints something. */
export const PRINTING_CALL = "ambassador --help | --version";

/** The options that no table has: they only print something. */
export const PRINTING = [
  { name: "help", letter: "h", help: "print this" },
  { name: "version", letter: "V", help: "print the version" },
] as const;

/** Paragraphs that explain; a line that is indented is an item, and goes on by itself. */
export const EXPLANATION: readonly string[] = [
  `\
A variable REDIS_PORT_6379_TCP=tcp://192.0.2.10:6379 is a route: listen on 6379, forward to
192.0.2.10:6379. LISTEN=TARGET arguments replace those of the environment:
  LISTEN   PORT, ADDRESS:PORT or [v6]:PORT; with /tls after it, clients speak TLS, with /udp UDP
  TARGET   HOST:PORT, or tls://HOST:PORT to connect by TLS; several are separated by commas
As a variable, REDIS_PORT_6380_TLS=tcp://redis:6379 listens by TLS,
REDIS_PORT_6379_TCP=tls://192.0.2.10:6380 connects by TLS, and
DNS_PORT_53_UDP=udp://192.0.2.1:53 forwards datagrams. Settings of one route alone, the options
that are marked with *, follow a question mark: redis:6379?idle-timeout=5m,retry=10s.
A file of such variables, one NAME=VALUE a line, is read with --routes FILE, and changes what is
forwarded without a restart.`,
];

/** Commands to try. */
export const EXAMPLES: readonly string[] = [
  "REDIS_PORT_6379_TCP=tcp://192.0.2.10:6379 ambassador",
  "ambassador 6379=redis.example.com:6379 127.0.0.1:5432=[2001:db8::7]:5432",
  "ambassador 6379=tls://big-server:6380 --tls-cert c.pem --tls-key k.pem --tls-ca ca.pem",
  "ambassador 6380/tls=redis:6379 --tls-cert c.pem --tls-key k.pem --tls-ca ca.pem --tls-allow web",
  "ambassador 53=192.0.2.1:53 53/udp=192.0.2.1:53 --allow 10.0.0.0/8",
  "ambassador check --format json",
  "ambassador wait --timeout 30s db:5432 && ./migrate",
];

/** How a time is written. */
export const TIMES = "Times are 500ms, 10s, 5m, 1h; a bare number is seconds; 0 turns a limit off.";

/** Each exit status, with its meaning. */
export const STATUSES: readonly { readonly status: string; readonly help: string }[] = [
  { status: "0", help: "all connections had finished" },
  { status: "1", help: "some were cut off or it could not go on" },
  { status: "2", help: "wrong usage or configuration" },
  { status: "130 or 143", help: "ended at once by a second signal (wait: by the first)" },
];

/** What `--help` prints. */
export function usage(): string {
  const calls = Object.values(CALLS);
  const width = Math.max(...calls.map(({ call }) => call.length));
  const options = SPECS.map((option) => {
    const left = `--${option.name} ${option.kind.placeholder}`.trimEnd();
    const standard = option.default === undefined ? "" : ` [${option.default}]`;
    const mark = option.route === undefined ? " " : "*";
    return `${left.padEnd(28)}${mark} ${option.help}${standard}`;
  });
  const printing = PRINTING.map(({ letter, name, help }) =>
    `${`-${letter}, --${name}`.padEnd(28)}  ${help}`
  );
  const statuses = STATUSES.map(({ status, help }) => `${status} ${help}`).join(", ");
  return `\
ambassador: ${PURPOSE}

${indented([...calls.map(({ call, help }) => `${call.padEnd(width)}  ${help}`), PRINTING_CALL])}

${EXPLANATION.join("\n\n")}

Examples:
${indented(EXAMPLES)}

Options (--connect-timeout 5s is also AMBASSADOR_CONNECT_TIMEOUT=5s; an argument wins):
${indented([...options, ...printing])}

${TIMES}
${wrap(`Exit status: ${statuses}.`)}
`;
}

function indented(lines: readonly string[]): string {
  return lines.map((line) => `  ${line}`).join("\n");
}

/** Running text in lines of at most 100 columns. */
function wrap(text: string): string {
  return `${text} `.replaceAll(/(.{1,100}) /g, "$1\n").trimEnd();
}
