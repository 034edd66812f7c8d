// Moves bytes between two streams, both ways at once, until both directions have ended. It knows the
// two streams and nothing else: no routes, no limits, no log.

import { PumpBuffer } from "./buffers.ts";
import type { Stream } from "./stream.ts";
import { Turns } from "./turns.ts";

/** One direction of a connection, kept up to date while bytes move. */
export interface Direction {
  /** Bytes that the receiver has taken. */
  bytes: number;
  /** Bytes that were thrown away, since the receiver can take no more. */
  discarded: number;
  /** Whether nothing more comes from the sender; the receiver is told. */
  finished: boolean;
  /** Whether the receiver has still to take bytes. */
  writing: boolean;
  /** Lets a sender that is held back, since its receiver is gone, send a little more. */
  resume?: (() => void) | undefined;
}

/** Who broke a connection. */
export type Reset = "client_reset" | "upstream_reset";

/** Both directions of a connection. */
export interface Traffic {
  /** Client → upstream. */
  readonly up: Direction;
  /** Upstream → client. */
  readonly down: Direction;
  /** The first failure of either side; those after it are its consequences. */
  failure: Reset | undefined;
}

/** A connection on which nothing has moved yet. */
export function newTraffic(): Traffic {
  return {
    up: { bytes: 0, discarded: 0, finished: false, writing: false },
    down: { bytes: 0, discarded: 0, finished: false, writing: false },
    failure: undefined,
  };
}

/**
 * Passes bytes and the end of each direction on until both senders have ended, and never rejects.
 *
 * A side that is gone ends the other at once, but does not close it: the kernel would reset a socket
 * that holds unread bytes, and throw away what was sent to it. So its sender is read to its end, and
 * what comes is thrown away. Whoever does not want to wait for that end closes both streams. A sender
 * that is held back goes on by `resume`, which is to be called now and then.
 */
export async function relay(
  client: Stream,
  upstream: Stream,
  traffic: Traffic,
): Promise<Reset | "finished"> {
  const up = pump(client, upstream, { traffic, way: "up" });
  await pump(upstream, client, { traffic, way: "down" });
  await up;
  return traffic.failure ?? "finished";
}

/**
 * How much is read at full speed from a sender whose receiver is gone, once nothing more is written to
 * it either. Then it is held back: it may still be taking what was sent to it, and one that never stops,
 * like a long download that was broken off, must not go on for nobody.
 */
const FULL_SPEED_BYTES = 16 * 1024 * 1024;
/** How much that was sent to it has certainly arrived by then: any system takes this much unread. */
const ARRIVED_BYTES = 64 * 1024;

interface PumpOptions {
  readonly traffic: Traffic;
  readonly way: "up" | "down";
}

async function pump(from: Stream, to: Stream, { traffic, way }: PumpOptions): Promise<void> {
  const isUp = way === "up";
  const direction = isUp ? traffic.up : traffic.down;
  const opposite = isUp ? traffic.down : traffic.up;
  const unreadable = isUp ? "client_reset" : "upstream_reset";
  const unwritable = isUp ? "upstream_reset" : "client_reset";
  using buffer = new PumpBuffer();
  using turns = new Turns();
  let isTaken = true;
  let isCut = false;
  let lingering = 0;
  for (;;) {
    let count: number | null;
    try {
      count = await from.read(buffer.bytes);
    } catch {
      traffic.failure ??= unreadable;
      isCut = true;
      from[Symbol.dispose]();
      break;
    }
    if (count === null) break;
    let rest = buffer.filled(count);
    if (isTaken) {
      direction.writing = true;
      try {
        let written = await to.write(rest);
        direction.bytes += written;
        while (written < rest.length) {
          rest = rest.subarray(written);
          written = await to.write(rest);
          direction.bytes += written;
        }
      } catch {
        traffic.failure ??= unwritable;
        isTaken = false;
      }
      direction.writing = false;
    }
    if (!isTaken) {
      direction.discarded += rest.length;
      if (opposite.finished) {
        lingering += rest.length;
        // A reset takes nothing away from a sender that was sent nothing.
        if (opposite.bytes === 0) break;
        if (lingering > FULL_SPEED_BYTES) {
          if (opposite.bytes <= ARRIVED_BYTES) break;
          buffer[Symbol.dispose]();
          await new Promise<void>((resolve) => direction.resume = resolve);
        }
      }
    }
    buffer.adapt(count);
    const turn = turns.wait(count);
    if (turn !== undefined) await turn;
  }
  // First: a write of nothing that fails from now on says nothing about the receiver.
  direction.finished = true;
  try {
    if (traffic.failure === unreadable && direction.bytes === 0) to[Symbol.dispose]();
    else await to.closeWrite(isCut);
  } catch {
    traffic.failure ??= unwritable;
  }
}
