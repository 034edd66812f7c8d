// Gives memory back to the machine once a rush of connections is over. V8 keeps what it has had for as
// long as a process is quiet, and only its most thorough collection returns it.

import { bytesLetGo } from "../net/arena.ts";

/** V8's collector, as `--v8-flags=--expose-gc` shows it. */
type Collect = (options: { type: "major"; flavor: "last-resort" }) => void;

/** How many connections at once are a rush; what fewer leave behind is not worth the pause. */
const RUSH = 500;
/** The part of a rush that is left when it is over. */
const LEFT_OVER = 1 / 4;
/** How many connections, one after the other, leave as much behind. */
const MANY = 5000;
/** How many bytes of datagrams' buffers are as much. */
const MANY_BYTES = 16 * 1024 * 1024;
const LOOK_EVERY_MS = 1000;
/** How long to wait at least from one return to the next: a load that comes and goes is not paused. */
const RETURN_EVERY_MS = 3000;

/**
 * Watches how many connections there are, until it is disposed.
 *
 * @param countOpen How many are open.
 * @param countAccepted How many there have been.
 */
export function watchMemory(
  countOpen: () => number,
  countAccepted: () => number,
): Disposable {
  let most = 0;
  let acceptedBefore = 0;
  let acceptedAtReturn = 0;
  let letGoAtReturn = bytesLetGo();
  let returnedMs = -Infinity;
  const timer = setInterval(() => {
    const accepted = countAccepted();
    const isQuiet = accepted === acceptedBefore;
    acceptedBefore = accepted;
    const open = countOpen();
    most = Math.max(most, open);
    const isRushOver = most >= RUSH && open <= most * LEFT_OVER;
    const isMuch = accepted - acceptedAtReturn >= MANY ||
      bytesLetGo() - letGoAtReturn >= MANY_BYTES;
    if (!isRushOver && !(isQuiet && isMuch)) return;
    if (performance.now() - returnedMs < RETURN_EVERY_MS) return;
    returnedMs = performance.now();
    most = open;
    acceptedAtReturn = accepted;
    letGoAtReturn = bytesLetGo();
    void returnMemory();
  }, LOOK_EVERY_MS);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

async function returnMemory(): Promise<void> {
  const collect = (globalThis as { gc?: Collect }).gc ?? await exposeCollector();
  // Some tens of milliseconds, and by now there are few connections that have to wait for it.
  collect?.({ type: "major", flavor: "last-resort" });
}

/** The collector where the command line has not exposed it; undefined where that can't be done. */
async function exposeCollector(): Promise<Collect | undefined> {
  try {
    const [{ setFlagsFromString }, { runInNewContext }] = await Promise.all([
      import("node:v8"),
      import("node:vm"),
    ]);
    setFlagsFromString("--expose-gc");
    return runInNewContext("gc") as Collect;
  } catch {
    // Deno 2.7 takes the flag from its command line alone.
    return undefined;
  }
}
