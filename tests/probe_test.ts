// When a side is given up, by answers and times that no system has to give.

import { assertEquals } from "@std/assert";
import { Probe } from "../src/probe.ts";
import type { Direction } from "../src/relay.ts";
import "./helpers.ts";

function direction(state: Partial<Direction> = {}): Direction {
  return { bytes: 0, finished: false, writing: false, ...state };
}

/** A probe of a socket that refuses every write, and what has become of both. */
function startProbe(code = "ECONNRESET"): { probe: Probe; asked: number; gone: number } {
  const state = { asked: 0, gone: 0 };
  const socket = {
    write(data: Uint8Array): Promise<number> {
      assertEquals(data.length, 0);
      state.asked++;
      return Promise.reject(Object.assign(new Error(code), { code }));
    },
  };
  return Object.assign(state, { probe: new Probe(socket, () => void state.gone++) });
}

/** Looks once a second, so often; each look has its answer before the next. */
async function look(
  { probe }: { probe: Probe },
  sent: Direction | undefined,
  { from = 0, times = 2, received = direction() } = {},
): Promise<void> {
  for (let i = 0; i < times; i++) {
    probe.look(sent, received, (from + i) * 1000);
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
}

Deno.test("Probe gives a side up after two failures where nothing it has sent is on its way", async () => {
  for (const sent of [undefined, direction({ bytes: 5, finished: true })]) {
    const state = startProbe();
    await look(state, sent, { times: 1 });
    assertEquals([state.asked, state.gone], [1, 0]);
    await look(state, sent, { times: 1, from: 1 });
    assertEquals(state.gone, 1);
  }
});

Deno.test("Probe waits ten seconds for a reader that takes nothing", async () => {
  const state = startProbe();
  const sent = direction({ bytes: 5, writing: true });
  // The first look sees only where it stands, the second one fails first.
  await look(state, sent, { times: 11 });
  assertEquals([state.asked, state.gone], [10, 0]);
  await look(state, sent, { times: 1, from: 11 });
  assertEquals(state.gone, 1);
});

Deno.test("Probe begins to wait again whenever the reader has taken something", async () => {
  const state = startProbe();
  const sent = direction({ writing: true });
  for (let round = 0; round < 5; round++) {
    sent.bytes += 5;
    await look(state, sent, { times: 11, from: round * 11 });
  }
  assertEquals(state.gone, 0);
});

Deno.test("Probe asks nothing of a side that is read, that is written to, or that was told the end", async () => {
  const state = startProbe();
  const still = direction({ writing: true });
  await look(state, direction(), { times: 20 });
  await look(state, still, { times: 20, received: direction({ writing: true }) });
  await look(state, still, { times: 20, received: direction({ finished: true }) });
  assertEquals([state.asked, state.gone], [0, 0]);
});

Deno.test("Probe.wasReset tells a reset from a socket that has been told the end", async () => {
  for (const [code, wasReset] of [["ECONNRESET", true], ["EPIPE", false]] as const) {
    const state = startProbe(code);
    await look(state, undefined, { times: 1 });
    assertEquals([state.probe.wasReset, state.gone], [wasReset, 0]);
  }
});
