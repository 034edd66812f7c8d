// The memory that datagrams are received into: nobody's slice is anybody else's, and what is not needed
// goes back.

import { assert, assertEquals } from "@std/assert";
import {
  bytesLetGo,
  type Chunk,
  giveSlice,
  HEADROOM,
  type Slice,
  SLICES_A_CHUNK,
  takeSlice,
} from "../../src/net/arena.ts";
import { Random } from "../helpers/mod.ts";

function take(count: number): Slice[] {
  return Array.from({ length: count }, () => takeSlice());
}

function chunksOf(slices: readonly Slice[]): Set<Chunk> {
  return new Set(slices.map(({ chunk }) => chunk));
}

/** The pages of a slice. */
function pagesOf({ bytes }: Slice): DataView[] {
  const pages = Array.from({ length: bytes.length / 4096 }, (_, index) => index * 4096);
  return pages.map((at) => new DataView(bytes.buffer, bytes.byteOffset + at, 4096));
}

Deno.test("takeSlice() gives room for a header and the largest datagram, in whole pages", () => {
  const slice = takeSlice();
  const { bytes, payload } = slice;
  assert(payload.length >= 65_527 && HEADROOM >= 52);
  assertEquals(payload.byteOffset - bytes.byteOffset, HEADROOM);
  assertEquals(payload.length, bytes.length - HEADROOM);
  assertEquals([bytes.length % 4096, bytes.byteOffset % 4096], [0, 0]);
  giveSlice(slice);
});

Deno.test("takeSlice() gives no memory twice, in whatever order it comes back", () => {
  const random = new Random();
  const marks = new Map<Slice, number>();
  let mark = 0;
  for (let step = 0; step < 12_000; step++) {
    // It grows to a few chunks, and shrinks again.
    const grows = random.below(100) < (step % 6000 < 3600 ? 60 : 30);
    if (grows) {
      const slice = takeSlice();
      assert(!marks.has(slice), `taken twice, seed ${random.seed}`);
      marks.set(slice, ++mark);
      for (const view of pagesOf(slice)) view.setUint32(0, mark);
      continue;
    }
    const slice = [...marks.keys()][random.below(Math.max(1, marks.size))];
    if (slice === undefined) continue;
    const found = pagesOf(slice).map((view) => view.getUint32(0));
    const expected = marks.get(slice);
    assert(found.every((one) => one === expected), `overwritten, seed ${random.seed}`);
    marks.delete(slice);
    giveSlice(slice);
  }
  for (const slice of marks.keys()) giveSlice(slice);
});

Deno.test("takeSlice() takes what was used last, of the chunk that is oldest", () => {
  const slices = take(2 * SLICES_A_CHUNK);
  const [old, young] = [...chunksOf(slices)];
  assert(chunksOf(slices).size === 2 && old !== young);
  const ofOld = slices.filter(({ chunk }) => chunk === old);
  const ofYoung = slices.filter(({ chunk }) => chunk === young);
  const [first, second] = ofOld;
  assert(first !== undefined && second !== undefined);
  giveSlice(first);
  giveSlice(second);
  for (const slice of ofYoung.slice(1)) giveSlice(slice);
  assertEquals([takeSlice() === second, takeSlice() === first], [true, true]);
  // Only now the other's turn has come.
  const next = takeSlice();
  assertEquals(next.chunk === young, true);
  for (const slice of [...ofOld, next, ...ofYoung.slice(0, 1)]) giveSlice(slice);
});

Deno.test("giveSlice() lets chunks go that nobody uses, but for one", () => {
  const slices = take(3 * SLICES_A_CHUNK);
  const before = chunksOf(slices);
  assertEquals(before.size, 3);
  const letGoBefore = bytesLetGo();
  // One after the other, so that the last of each comes back while others are in use.
  for (const slice of slices) giveSlice(slice);
  const length = slices[0]?.bytes.buffer.byteLength ?? 0;
  assert(length > 32 * 1024 * 1024);
  assertEquals(bytesLetGo() - letGoBefore, 2 * length);
  const again = take(2 * SLICES_A_CHUNK);
  const kept = [...chunksOf(again)].filter((chunk) => before.has(chunk));
  assertEquals([chunksOf(again).size, kept.length], [2, 1]);
  for (const slice of again) giveSlice(slice);
});

Deno.test("giveSlice() keeps a chunk of which something is in use", () => {
  const slices = take(2 * SLICES_A_CHUNK);
  const [first, ...others] = slices;
  assert(first !== undefined);
  for (const slice of others) giveSlice(slice);
  const again = take(SLICES_A_CHUNK - 1);
  assertEquals(new Set([...again, first]).size, SLICES_A_CHUNK);
  assertEquals([...chunksOf(again)], [first.chunk]);
  for (const slice of [...again, first]) giveSlice(slice);
});

Deno.test("giveSlice() gives what comes back to others, of however many chunks", () => {
  const slices = take(4 * SLICES_A_CHUNK);
  const ofEach = [...chunksOf(slices)].map((chunk) => slices.find((one) => one.chunk === chunk));
  for (const slice of ofEach) if (slice !== undefined) giveSlice(slice);
  assertEquals(new Set(take(4)), new Set(ofEach));
  for (const slice of slices) giveSlice(slice);
});
