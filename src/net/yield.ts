// Lets quiet connections in between the megabytes of streams. It knows only how much has moved.

/**
 * Deno looks for new events on other sockets only when nothing is ready any more, or else after 61
 * turns of its event loop (`event_interval` in its runtime/tokio_util.rs; measured on 2.7.11 and
 * 2.9.6). Beside streams that are always ready, a quiet connection would wait for most of a second.
 */
const TURNS = 64;
/** How much may move before the streams wait for these turns, which are empty and short. */
const BYTES_BEFORE_YIELDING = 2 * 1024 * 1024;
/** A read of this size is a stream's. */
const STREAM_READ = 32 * 1024;

let bytesMoved = 0;
let yielding: Promise<void> | undefined;

/** Calls back in the next turn of the event loop. Every supported Deno has it; not all declare it. */
declare function setImmediate(callback: () => void): unknown;

/** Counts bytes that have moved; what their pump has to wait for, if it is time for that. */
export function yieldToQuietSockets(count: number): Promise<void> | undefined {
  bytesMoved += count;
  if (count < STREAM_READ || bytesMoved < BYTES_BEFORE_YIELDING) return undefined;
  return yielding ??= waitTurns();
}

async function waitTurns(): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) {
    await new Promise<void>((resolve) => void setImmediate(resolve));
  }
  bytesMoved = 0;
  yielding = undefined;
}
