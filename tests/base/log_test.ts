import { assert, assertEquals } from "@std/assert";
import { createLog, type CreateLogOptions, type Fields, type Log } from "../../src/base/log.ts";
import { LOG_LEVELS } from "../../src/base/log.ts";
import { endOutput } from "../../src/base/stdio.ts";
import { Random } from "../helpers/mod.ts";

/** The lines that `act` logs. */
function lines(act: (log: Log) => void, options: Partial<CreateLogOptions> = {}): string[] {
  const written: string[] = [];
  act(createLog({
    level: "debug",
    format: "text",
    write: (line) => void written.push(line),
    ...options,
  }));
  return written;
}

function line(format: "text" | "json", fields: Fields): string {
  const [written = "", ...more] = lines((log) => log.info("ready", fields), { format });
  assertEquals(more, []);
  return written;
}

/** A reader of text lines: fields are separated by spaces, values bare or in double quotes. */
function fieldsOf(text: string): Record<string, string> {
  const rest = text.replace(/^\S+ \w+ +\w+/, "");
  const field = / (\w+)=("(?:[^"\\]|\\.)*"|[^\s"=]+)/gy;
  const fields: Record<string, string> = {};
  let read = 0;
  for (const [whole, name = "", value = ""] of rest.matchAll(field)) {
    fields[name] = value.startsWith('"') ? JSON.parse(value) : value;
    read += whole.length;
  }
  assertEquals(read, rest.length, `not a line of fields: ${text}`);
  return fields;
}

const HOSTILE = [
  "",
  " ",
  "a b",
  'say "x"',
  "\\",
  '\\" level=ERROR',
  "a=b",
  "x\n2026-11-22T18:20:00.000Z ERROR stopped cut_off=1",
  "x\r\nx",
  "x\u2028x\u2029x",
  "\x1b[2J\x1b[31m",
  "\x9b31m\x7f\x85",
  "\u202eevil\u2066",
  "\0",
  "\ud800",
  '","level":"ERROR","x":"',
  "é",
  "REDIS target=192.0.2.1:1",
];

Deno.test("createLog() writes text as time, level, event and fields in the order given", () => {
  const [text = ""] = lines((log) =>
    log.info("listening", { route: "REDIS", listen: "[::]:6379", target: "192.168.1.52:6379" })
  );
  const [time = "", ...rest] = text.split(/ (.*)/);
  assertEquals(new Date(time).toISOString(), time);
  assert(Math.abs(Date.now() - Date.parse(time)) < 60_000);
  assertEquals(rest[0], "INFO  listening route=REDIS listen=[::]:6379 target=192.168.1.52:6379");
});

Deno.test("createLog() writes JSON as one object with time, level, event and fields in the order given", () => {
  const text = line("json", { zebra: "x", apple: 1, none: undefined, mango: "é" });
  const value = JSON.parse(text);
  assertEquals(Object.keys(value), ["time", "level", "event", "zebra", "apple", "mango"]);
  assertEquals(new Date(value.time).toISOString(), value.time);
  assertEquals([value.level, value.event, value.apple, value.mango], ["INFO", "ready", 1, "é"]);
});

Deno.test("createLog() names each level in five columns", () => {
  const written = lines((log) => LOG_LEVELS.forEach((level) => log[level]("ready")));
  assertEquals(written.map((text) => text.slice(25)), [
    "DEBUG ready",
    "INFO  ready",
    "WARN  ready",
    "ERROR ready",
  ]);
});

Deno.test("createLog() writes its level and those after it", () => {
  for (const [index, level] of LOG_LEVELS.entries()) {
    for (const format of ["text", "json"] as const) {
      const all = (log: Log): void => LOG_LEVELS.forEach((each) => log[each]("ready"));
      assertEquals(lines(all, { level, format }).length, LOG_LEVELS.length - index);
    }
    assertEquals(createLog({ level, format: "text" }).debugs, level === "debug");
  }
});

Deno.test("createLog() writes the lines of connections at info where they are wanted, whatever the level", () => {
  const access = (log: Log): void => log.access("connection_closed", { route: "REDIS" });
  const shown = (options: Partial<CreateLogOptions>): string[] =>
    lines(access, options).map((line) => line.slice(25));
  assertEquals(shown({ level: "info" }), []);
  assertEquals(shown({ level: "debug" }), ["DEBUG connection_closed route=REDIS"]);
  for (const level of LOG_LEVELS) {
    const options = { level, connections: true };
    assertEquals(shown(options), ["INFO  connection_closed route=REDIS"]);
    assertEquals(createLog({ ...options, format: "text" }).accesses, true);
  }
  assertEquals(createLog({ level: "info", format: "text" }).accesses, false);
  assertEquals(createLog({ level: "debug", format: "text" }).accesses, true);
});

Deno.test("createLog() quotes nothing that is plain", () => {
  const plain = [
    "REDIS,REDIS_1",
    "[::]:6379",
    "192.0.2.1:1",
    "redis.example-1",
    "fe80::1%eth0",
    "8s",
  ];
  for (const value of plain) assert(line("text", { x: value }).endsWith(` x=${value}`), value);
  assert(line("text", { x: 0 }).endsWith(" x=0"));
});

Deno.test("createLog() leaves out a field that is undefined, and the rest in place", () => {
  assert(line("text", { a: 1, b: undefined, c: 2 }).endsWith("ready a=1 c=2"));
  assertEquals(lines((log) => log.warn("ready"))[0]?.slice(25), "WARN  ready");
});

Deno.test("createLog() lets no value end the line or look like another field", () => {
  for (const value of HOSTILE) {
    for (const format of ["text", "json"] as const) {
      const text = line(format, { first: value, second: value, last: "x" });
      // Latin letters with accents are no danger and stay readable.
      assert(/^[ -~é]*$/.test(text), text);
      const expected = { first: value, second: value, last: "x" };
      if (format === "text") assertEquals(fieldsOf(text), expected);
      else {
        const { time: _time, level: _level, event: _event, ...fields } = JSON.parse(text);
        assertEquals(fields, expected);
      }
    }
  }
});

Deno.test("createLog() writes what is read back equal, whatever the values", () => {
  const random = new Random();
  console.log(`seed ${random.seed}`);
  for (let round = 0; round < 500; round++) {
    const value = (): string =>
      Array.from({ length: random.below(5) }, () => random.pick(HOSTILE)).join("");
    const fields = { a: value(), b: value(), c: value() };
    assertEquals(fieldsOf(line("text", fields)), fields);
    const { a, b, c } = JSON.parse(line("json", fields));
    assertEquals({ a, b, c }, fields);
  }
});

Deno.test("createLog() writes a megabyte in no time", () => {
  const start = performance.now();
  for (const value of ["\u202e", "a", '"', "\ud800", " "]) {
    for (const format of ["text", "json"] as const) line(format, { x: value.repeat(1 << 20) });
  }
  const ms = performance.now() - start;
  assert(ms < 5000, `${ms} ms`);
});

Deno.test("Log.repeated() takes two failures of one event, route and error for the same, and ends with the output", async () => {
  const written: string[] = [];
  const log = createLog({
    level: "info",
    format: "text",
    write: (line) => void written.push(line.replace(/^\S+ /, "")),
  });
  for (const client of ["a", "b", "c"]) {
    for (const route of ["R", "S"]) {
      for (const error of ["x", "y"]) {
        log.repeated("warn", "connect_failed", { route, client, error });
      }
    }
    log.repeated("error", "loop_detected", { client });
  }
  const kinds = ["route=R client=a error=x", "route=R client=a error=y"]
    .flatMap((fields) => [fields, fields.replace("R", "S")]).sort((a, b) => a.localeCompare(b));
  const firsts = [
    ...kinds.map((fields) => `WARN  connect_failed ${fields}`),
    "ERROR loop_detected client=a",
  ];
  assertEquals(written, firsts);
  await endOutput();
  const counts = firsts.map((line) => `${line.replace("client=a", "client=c")} count=2`);
  assertEquals(written.slice(firsts.length), counts);
});

Deno.test("Log.repeated() leaves nothing out at debug", () => {
  const written = lines((log) => {
    for (let i = 0; i < 10; i++) log.repeated("warn", "connect_failed", { error: "x" });
  });
  assertEquals(
    written.map((text) => text.slice(25)),
    Array(10).fill("WARN  connect_failed error=x"),
  );
});
