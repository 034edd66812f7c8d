import { assertEquals } from "@std/assert";
import { isSameMachine, leadsTo, listensAt } from "../../src/forward/loops.ts";

const streamOf = (local: string, remote: string, port: number): Parameters<typeof leadsTo>[0] => ({
  localAddr: { hostname: local, port: 40_000 },
  remoteAddr: { hostname: remote, port },
});

Deno.test("leadsTo() recognises this machine's own address and loopback at a port that is listened on", () => {
  const cases: [local: string, remote: string, listen: string, leads: boolean][] = [
    ["127.0.0.1", "127.0.0.1", "127.0.0.1", true],
    ["127.0.0.1", "127.0.0.1", "::", true],
    ["127.0.0.1", "127.1.2.3", "0.0.0.0", true],
    ["127.0.0.1", "127.1.2.3", "127.0.0.1", false],
    ["::1", "::1", "::", true],
    ["::1", "::1", "0.0.0.0", false],
    ["192.0.2.1", "192.0.2.1", "::", true],
    ["192.0.2.1", "192.0.2.1", "192.0.2.1", true],
    ["192.0.2.1", "192.0.2.1", "127.0.0.1", false],
    ["192.0.2.1", "192.0.2.2", "::", false],
    ["::ffff:192.0.2.1", "::ffff:192.0.2.1", "0.0.0.0", true],
    ["::ffff:127.0.0.1", "::ffff:127.0.0.1", "127.0.0.1", true],
  ];
  for (const [local, remote, listen, leads] of cases) {
    const listeners = [{ addr: { hostname: listen, port: 6379 } }];
    const what = `${local} → ${remote}, listening on ${listen}`;
    assertEquals(leadsTo(streamOf(local, remote, 6379), listeners), leads, what);
    assertEquals(leadsTo(streamOf(local, remote, 6380), listeners), false, what);
  }
});

Deno.test("listensAt() knows whether a listener is reached by an address of this machine", () => {
  const cases: [remote: string, listen: string, listens: boolean][] = [
    ["127.0.0.1", "127.0.0.1", true],
    ["127.0.0.2", "127.0.0.1", false],
    ["192.0.2.1", "0.0.0.0", true],
    ["192.0.2.1", "::", true],
    ["2001:db8::1", "::", true],
    ["2001:db8::1", "0.0.0.0", false],
    ["::ffff:192.0.2.1", "192.0.2.1", true],
    ["192.0.2.1", "::ffff:192.0.2.1", true],
    ["::1", "127.0.0.1", false],
  ];
  for (const [remote, hostname, listens] of cases) {
    const other = { addr: { hostname, port: 54 } };
    const listeners = [other, { addr: { hostname, port: 53 } }];
    const what = `${remote}, listening on ${hostname}`;
    assertEquals(listensAt({ hostname: remote, port: 53 }, listeners), listens, what);
    assertEquals(listensAt({ hostname: remote, port: 53 }, [other]), false, what);
  }
  assertEquals(listensAt({ hostname: "127.0.0.1", port: 53 }, []), false);
});

Deno.test("isSameMachine() knows its own address and loopback, however they are written", () => {
  const cases: [local: string, remote: string, isSame: boolean][] = [
    ["192.0.2.1", "192.0.2.1", true],
    ["192.0.2.1", "192.0.2.2", false],
    ["0.0.0.0", "127.0.0.1", true],
    ["::", "::ffff:127.0.0.1", true],
    ["::", "::1", true],
    ["::", "2001:db8::1", false],
  ];
  for (const [hostname, remote, isSame] of cases) {
    const found = isSameMachine({ hostname, port: 1 }, { hostname: remote, port: 2 });
    assertEquals(found, isSame, `${hostname} → ${remote}`);
  }
});
