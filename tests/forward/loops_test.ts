import { assertEquals } from "@std/assert";
import { leadsTo } from "../../src/forward/loops.ts";

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
