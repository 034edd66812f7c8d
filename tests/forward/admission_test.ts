// Who may go on when, while places or descriptors are scarce.

import { assert, assertEquals } from "@std/assert";
import { Admission, type Dialler, Share } from "../../src/forward/admission.ts";
import { until, within } from "../helpers/mod.ts";

const never = new AbortController().signal;

/** Resolves to whether the promise has resolved by now. */
async function isDone(promise: Promise<void>): Promise<boolean> {
  let done = false;
  void promise.then(() => done = true);
  await new Promise((resolve) => setTimeout(resolve, 5));
  return done;
}

/** An admission with so many routes. */
function admissionOf(max: number, ...routeMaxes: number[]): [Admission, ...Share[]] {
  const shares = routeMaxes.map((routeMax) => {
    const share = new Share();
    share.limit(routeMax);
    return share;
  });
  return [new Admission(max, shares), ...shares];
}

/** A dial that began so long ago, and whether it has been told to give way. */
class TestDial implements Dialler {
  readonly sinceMs: number;
  gaveWay = false;
  gaveUp = false;

  constructor(ageMs = 0) {
    this.sinceMs = performance.now() - ageMs;
  }

  giveWay(): void {
    this.gaveWay = true;
  }

  giveUp(): void {
    this.gaveUp = true;
  }
}

/** Accepts so many clients, each with a dial under way. */
function dialAll(admission: Admission, share: Share, count: number, ageMs = 0): TestDial[] {
  return Array.from({ length: count }, () => {
    const dial = new TestDial(ageMs);
    admission.accepted(share);
    admission.dialBegins(share, dial);
    return dial;
  });
}

/** Accepts so many clients that reach their upstreams. */
function connectAll(admission: Admission, share: Share, count: number): void {
  for (const dial of dialAll(admission, share, count)) {
    admission.dialEnded(share, dial, true);
    admission.reached(share);
  }
}

Deno.test("Admission lets nobody in at its maximum, of all routes or of one", () => {
  const [admission, one, other] = admissionOf(3, 2, 0);
  assert(one && other);
  connectAll(admission, one, 2);
  assertEquals([admission.mayAccept(one), admission.mayAccept(other)], [false, true]);
  connectAll(admission, other, 1);
  assertEquals([admission.mayAccept(one), admission.mayAccept(other)], [false, false]);
  admission.left(one, true);
  assertEquals([admission.mayAccept(one), admission.mayAccept(other)], [true, true]);
  assertEquals(admission.open, 2);
});

Deno.test("Admission has no maximum if that is 0", () => {
  const [admission, share] = admissionOf(0, 0);
  assert(share);
  connectAll(admission, share, 10_000);
  assert(admission.mayAccept(share));
});

Deno.test("Admission.noteShortage() is news once", () => {
  const [admission, share] = admissionOf(0, 0);
  assert(share);
  connectAll(admission, share, 10);
  assert(!admission.isShort);
  assert(admission.noteShortage());
  assert(admission.isShort);
  assert(!admission.noteShortage());
});

Deno.test("Admission keeps eight descriptors free of clients once there was none", () => {
  const [admission, share] = admissionOf(0, 0);
  assert(share);
  connectAll(admission, share, 20);
  admission.noteShortage();
  for (let left = 1; left <= 4; left++) {
    assertEquals(admission.mayAccept(share), false);
    admission.left(share, true);
  }
  assertEquals(admission.mayAccept(share), false, "a client and its upstream take two");
  admission.left(share, true);
  assert(admission.mayAccept(share));
});

Deno.test("Admission lets one client in however few descriptors there are", () => {
  const [admission, share] = admissionOf(0, 0);
  assert(share);
  admission.noteShortage();
  assert(admission.mayAccept(share));
});

Deno.test("Admission takes dials back at a shortage until a route holds no more than is free, the oldest first", () => {
  const [admission, dead, healthy] = admissionOf(0, 0, 0);
  assert(dead && healthy);
  const dials = dialAll(admission, dead, 20, 1000);
  admission.noteShortage();
  assertEquals(dials.map(({ gaveWay }) => gaveWay), [
    ...Array(14).fill(true),
    ...Array(6).fill(false),
  ]);
  for (const dial of dials.filter(({ gaveWay }) => gaveWay)) admission.dialEnded(dead, dial, false);
  assert(admission.mayAccept(healthy));
  assert(admission.mayDial(healthy));
  assert(!admission.mayAccept(dead), "it holds more clients than there is room for others");
  assert(!admission.mayDial(dead));
});

Deno.test("Admission leaves dials alone that may just be about to connect", () => {
  const [admission, share] = admissionOf(0, 0);
  assert(share);
  const dials = dialAll(admission, share, 20);
  admission.noteShortage();
  assert(dials.every(({ gaveWay }) => !gaveWay));
});

Deno.test("Admission takes dials back for a route that waits, once they have had their time", async () => {
  const [admission, dead, healthy] = admissionOf(0, 0, 0);
  assert(dead && healthy);
  const dials = dialAll(admission, dead, 20);
  admission.noteShortage();
  const waiting = admission.untilMayAccept(healthy, never);
  while (!dials.some(({ gaveWay }) => gaveWay)) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  for (const dial of dials.filter(({ gaveWay }) => gaveWay)) admission.dialEnded(dead, dial, false);
  await within(waiting, "the healthy route to go on");
});

Deno.test("Admission wakes dials in their order and then accepts when a connection ends", async () => {
  const [admission, share] = admissionOf(1, 0);
  assert(share);
  connectAll(admission, share, 1);
  const order: string[] = [];
  const wait = (name: string, waiting: Promise<void>): Promise<void> =>
    waiting.then(() => void order.push(name));
  const all = [
    wait("accept", admission.untilMayAccept(share, never)),
    wait("dial 1", admission.untilMayDial(share, new TestDial(), never)),
    wait("dial 2", admission.untilMayDial(share, new TestDial(), never)),
  ];
  admission.left(share, true);
  await within(Promise.all(all), "all to be woken");
  assertEquals(order, ["dial 1", "dial 2", "accept"]);
});

Deno.test("Admission waits end with their time and with their signal", async () => {
  const [admission, share] = admissionOf(1, 0);
  assert(share);
  connectAll(admission, share, 1);
  await within(admission.untilChange(5, never), "5 ms to pass");
  const stop = new AbortController();
  const waiting = [
    admission.untilMayAccept(share, stop.signal),
    admission.untilMayDial(share, new TestDial(), stop.signal),
  ];
  for (const each of waiting) assertEquals(await isDone(each), false);
  stop.abort();
  await within(Promise.all(waiting), "the signal");
  await within(
    admission.untilMayDial(share, new TestDial(), stop.signal),
    "a signal that has aborted",
  );
});

Deno.test("Admission ends the youngest clients of a silent target where there is no room for another", async () => {
  const [admission, dead, healthy] = admissionOf(0, 0, 0);
  assert(dead && healthy);
  const dials = dialAll(admission, dead, 4, 1000);
  const stop = new AbortController();
  const clients = Array.from({ length: 8 }, () => new TestDial());
  for (const _ of clients) admission.accepted(dead);
  const waiting = clients.map((client) => admission.untilMayDial(dead, client, stop.signal));
  connectAll(admission, healthy, 1);
  admission.noteShortage();
  assert(dials.every(({ gaveWay }) => gaveWay));
  assertEquals(dead.isSilent, true);
  // They look again, and those whose dials have given way wait too by then.
  const gaveUp = (): number => clients.filter((client) => client.gaveUp).length;
  const room = admission.untilMayAccept(healthy, stop.signal);
  await until(() => gaveUp() > 0, "some of them end");
  assert(clients.at(-1)?.gaveUp && !clients[0]?.gaveUp);
  stop.abort();
  await within(Promise.all([room, ...waiting]), "the signal");
});

Deno.test("Admission ends a client where all hold a descriptor and none has an upstream", async () => {
  const [admission, ...shares] = admissionOf(0, 0, 0);
  const stop = new AbortController();
  const clients = shares.map((share) => {
    const client = new TestDial();
    admission.accepted(share);
    return { client, over: admission.untilMayDial(share, client, stop.signal) };
  });
  admission.noteShortage();
  assertEquals(clients.map(({ client }) => client.gaveUp), [false, true]);
  stop.abort();
  await within(Promise.all(clients.map(({ over }) => over)), "the signal");
});

Deno.test("Admission ends the youngest where more wait for a descriptor than are served", async () => {
  const [admission, share] = admissionOf(0, 0);
  assert(share);
  connectAll(admission, share, 1);
  const stop = new AbortController();
  const clients = Array.from({ length: 7 }, () => {
    const client = new TestDial();
    admission.accepted(share);
    return { client, over: admission.untilMayDial(share, client, stop.signal) };
  });
  admission.noteShortage();
  // Two have the descriptors of the two that go, and as many wait as are served.
  const ended = clients.map(({ client }) => client.gaveUp);
  assertEquals(ended, [false, false, false, false, false, true, true]);
  stop.abort();
  await within(Promise.all(clients.map(({ over }) => over)), "the signal");
});

Deno.test("Admission ends nobody for want of a descriptor while others are served", async () => {
  const [admission, share] = admissionOf(0, 0);
  assert(share);
  connectAll(admission, share, 3);
  const stop = new AbortController();
  const clients = [1, 2].map(() => {
    const client = new TestDial();
    admission.accepted(share);
    return { client, over: admission.untilMayDial(share, client, stop.signal) };
  });
  admission.noteShortage();
  assert(clients.every(({ client }) => !client.gaveUp));
  stop.abort();
  await within(Promise.all(clients.map(({ over }) => over)), "the signal");
});

/** A handshake that began so long ago, of a client that leaves when it is told to. */
function shakeHands(admission: Admission, share: Share, ageMs: number): { gaveWay: boolean } {
  const handshake = {
    sinceMs: performance.now() - ageMs,
    gaveWay: false,
    giveWay(): void {
      handshake.gaveWay = true;
      admission.handshakeEnded(share, handshake);
      admission.left(share, false);
    },
  };
  admission.accepted(share);
  admission.handshakeBegins(share, handshake);
  return handshake;
}

Deno.test("Admission takes the place of the oldest who has not said who it is, once it has had its time", () => {
  for (const [max, ofRoute] of [[2, 0], [0, 2]] as const) {
    const [admission, share] = admissionOf(max, ofRoute);
    assert(share);
    shakeHands(admission, share, 100);
    assert(admission.mayAccept(share));
    connectAll(admission, share, 1);
    assert(!admission.mayAccept(share), "it may be about to say it");
    const [other, one] = admissionOf(max, ofRoute);
    assert(one);
    const [oldest, old] = [shakeHands(other, one, 2000), shakeHands(other, one, 1000)];
    assert(other.mayAccept(one));
    other.makePlace(one);
    assertEquals([oldest.gaveWay, old.gaveWay, other.open], [true, false, 1]);
    other.makePlace(one);
    assertEquals(old.gaveWay, false, "there was a place");
  }
});

Deno.test("Admission has the less patience with silent clients, the faster others come", () => {
  const [admission, share] = admissionOf(2, 0);
  assert(share);
  shakeHands(admission, share, 600);
  shakeHands(admission, share, 300);
  for (const [ageMs, mayAccept] of [[130, true], [70, true], [35, true], [20, true], [5, true]]) {
    assertEquals(admission.mayAccept(share), mayAccept, `before one of ${ageMs} ms`);
    admission.makePlace(share);
    shakeHands(admission, share, Number(ageMs));
  }
  assert(admission.mayAccept(share));
  admission.makePlace(share);
  shakeHands(admission, share, 0);
  assert(!admission.mayAccept(share), "one of 5 ms may be about to say it");
  // Once there are places it has as much as ever.
  const [calm, calmShare] = admissionOf(2, 0);
  assert(calmShare);
  shakeHands(calm, calmShare, 600);
  connectAll(calm, calmShare, 1);
  calm.makePlace(calmShare);
  calm.makePlace(calmShare);
  shakeHands(calm, calmShare, 300);
  assert(!calm.mayAccept(calmShare));
});

Deno.test("Admission takes no place of another route's handshake where the route itself is full", () => {
  const [admission, full, other] = admissionOf(0, 1, 0);
  assert(full && other);
  shakeHands(admission, other, 2000);
  connectAll(admission, full, 1);
  assert(!admission.mayAccept(full));
});

Deno.test("Admission.untilMayAccept() sees that a handshake has had its time", async () => {
  const [admission, share] = admissionOf(1, 0);
  assert(share);
  shakeHands(admission, share, 300);
  assert(!admission.mayAccept(share));
  await within(admission.untilMayAccept(share, never), "its time to be over", 2000);
});

Deno.test("Admission ends handshakes that have had their time before dials, while descriptors are short", async () => {
  const [admission, share] = admissionOf(0, 0);
  assert(share);
  const handshakes = [2000, 1000, 100].map((ageMs) => shakeHands(admission, share, ageMs));
  connectAll(admission, share, 20);
  admission.noteShortage();
  void admission.untilMayAccept(share, AbortSignal.timeout(0));
  await new Promise((resolve) => setTimeout(resolve, 5));
  assertEquals(handshakes.map(({ gaveWay }) => gaveWay), [true, true, false]);
});

Deno.test("Admission ends the handshakes of a route that holds more than its share, while descriptors are short", () => {
  const [admission, share, other] = admissionOf(0, 0, 0);
  assert(share && other);
  for (let count = 0; count < 56; count++) shakeHands(admission, share, 2000);
  assert(admission.mayAccept(share));
  admission.noteShortage();
  assert(admission.mayAccept(share), "those that have had their time make room");
  for (let count = 0; count < 24; count++) shakeHands(admission, share, 100);
  assert(!admission.mayAccept(share), "these have not had theirs");
  assert(admission.mayAccept(other));
});
