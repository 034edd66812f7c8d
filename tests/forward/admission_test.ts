// Who may go on when, while connections or descriptors are scarce.

import { assert, assertEquals } from "@std/assert";
import { Gate } from "../../src/forward/admission.ts";
import { within } from "../helpers/mod.ts";

const never = new AbortController().signal;

/** Resolves to whether the promise has resolved by now. */
async function isDone(promise: Promise<void>): Promise<boolean> {
  let done = false;
  void promise.then(() => done = true);
  await new Promise((resolve) => setTimeout(resolve, 5));
  return done;
}

Deno.test("Gate is closed at its maximum and open again when a connection ends", () => {
  const gate = new Gate(2);
  gate.enter();
  assert(gate.isOpen);
  gate.enter();
  assert(!gate.isOpen);
  gate.leave();
  assert(gate.isOpen);
  assertEquals(gate.connections, 1);
});

Deno.test("Gate has no maximum if that is 0", () => {
  const gate = new Gate(0);
  for (let i = 0; i < 10_000; i++) gate.enter();
  assert(gate.isOpen);
});

Deno.test("Gate.leave() wakes two dials in their order, and all accepts", async () => {
  const gate = new Gate(0);
  gate.enter();
  const dials = [1, 2, 3].map(() => gate.untilDescriptor(Infinity, never));
  const accepts = [1, 2].map(() => gate.untilChange(Infinity, never));
  gate.leave();
  await within(Promise.all([dials[0], dials[1], ...accepts]), "those that are woken");
  assertEquals(await isDone(dials[2] as Promise<void>), false);
  gate.enter();
  gate.leave();
  await within(dials[2] as Promise<void>, "the third dial");
});

Deno.test("Gate waits end with their time and with their signal", async () => {
  const gate = new Gate(0);
  await within(gate.untilChange(5, never), "5 ms to pass");
  const stop = new AbortController();
  const waiting = gate.untilDescriptor(Infinity, stop.signal);
  assertEquals(await isDone(waiting), false);
  stop.abort();
  await within(waiting, "the signal");
  await within(gate.untilDescriptor(Infinity, stop.signal), "a signal that has aborted");
});

Deno.test("Gate.starve() keeps the gate closed until the last one has what it needs", async () => {
  const gate = new Gate(0);
  const [first, second] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const starving = [gate.starve(() => first.promise), gate.starve(() => second.promise)];
  assert(!gate.isOpen);
  first.resolve();
  await starving[0];
  assert(!gate.isOpen);
  const accept = gate.untilChange(Infinity, never);
  second.resolve();
  await starving[1];
  assert(gate.isOpen);
  await within(accept, "the accept to be woken");
});

Deno.test("Gate.noteShortage() is news once", () => {
  const gate = new Gate(0);
  assert(!gate.isShort);
  assert(gate.noteShortage());
  assert(gate.isShort);
  assert(!gate.noteShortage());
});

Deno.test("Gate.hasRoom() is true where descriptors are free", () => {
  const gate = new Gate(0);
  assert(gate.hasRoom());
  gate.noteShortage();
  assert(gate.hasRoom());
  gate.enter();
  assert(gate.hasRoom());
});

Deno.test("Gate.hasRoom() is false where a few descriptors are missing, but for the only connection", () => {
  const { listen } = Deno;
  let left = 7;
  const scarce = (options: Deno.TcpListenOptions): Deno.TcpListener => {
    if (left-- > 0) return listen(options);
    throw Object.assign(new Error("EMFILE"), { code: "EMFILE" });
  };
  Deno.listen = scarce as typeof listen;
  try {
    const gate = new Gate(0);
    gate.enter();
    assert(gate.hasRoom(), "nothing was short so far");
    gate.noteShortage();
    assert(!gate.hasRoom());
    gate.leave();
    assert(gate.hasRoom(), "somebody has to be served");
  } finally {
    Deno.listen = listen;
  }
});
