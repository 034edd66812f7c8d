import { assert, assertEquals, assertRejects } from "@std/assert";
import { explainFile, mayEverybodyWrite, readSmallFile } from "../../src/base/files.ts";
import { within } from "../helpers/mod.ts";
import { needs, UNIX } from "../helpers/needs.ts";

const MIB = 1024 * 1024;

/** A folder for one test. */
async function inFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Why a file cannot be read. */
async function reasonFor(path: string): Promise<string> {
  const error = await within(
    assertRejects(() => readSmallFile(path), Error),
    `a reason for ${path}`,
  );
  return explainFile(error, path).reason;
}

Deno.test("readSmallFile() gives the text of a file of up to 1 MiB", () =>
  inFolder(async (folder) => {
    const path = `${folder}/file`;
    // A character of several bytes lies on every border between two reads.
    const texts = ["", "A=1\r\nB=2\n", "x".repeat(MIB), "x" + "ä".repeat(MIB / 2 - 1) + "y"];
    for (const text of texts) {
      await Deno.writeTextFile(path, text);
      assert(await readSmallFile(path) === text);
    }
    await Deno.writeTextFile(path, "\ufeffA=1\n\ufeff");
    assertEquals(await readSmallFile(path), "A=1\n\ufeff");
    await Deno.writeFile(path, Uint8Array.of(0x41, 0xff, 0x00, 0xc3));
    assertEquals(await readSmallFile(path), "A\ufffd\0\ufffd");
  }));

Deno.test("readSmallFile() refuses what is larger than 1 MiB", () =>
  inFolder(async (folder) => {
    const path = `${folder}/file`;
    await Deno.writeTextFile(path, "x".repeat(MIB + 1));
    assertEquals(await reasonFor(path), "it is larger than 1 MiB");
  }));

Deno.test(
  "readSmallFile() reads no more than 1 MiB of a file that grows after it was looked at",
  needs(UNIX),
  () =>
    inFolder(async (folder) => {
      const path = `${folder}/file`;
      await Deno.writeTextFile(path, "x");
      const { stat } = Deno;
      Deno.stat = async (...args) => {
        const info = await stat(...args);
        // Sparse: it takes no place on the disk.
        await Deno.truncate(path, 2 ** 30);
        return info;
      };
      try {
        assertEquals(await reasonFor(path), "it is larger than 1 MiB");
      } finally {
        Deno.stat = stat;
      }
    }),
);

Deno.test(
  "readSmallFile() says what is no regular file",
  needs(UNIX, "mkfifo"),
  () =>
    inFolder(async (folder) => {
      assertEquals(await reasonFor(folder), "it is a directory");
      assertEquals(await reasonFor(`${folder}/missing`), "no such file");
      assertEquals(await reasonFor("/dev/zero"), "it is not a regular file");
      const pipe = `${folder}/pipe`;
      assert((await new Deno.Command("mkfifo", { args: [pipe] }).output()).success);
      assertEquals(await reasonFor(pipe), "it is not a regular file");
      await Deno.symlink("missing", `${folder}/link`);
      assertEquals(await reasonFor(`${folder}/link`), "no such file");
      await Deno.symlink("circle", `${folder}/circle`);
      assertEquals(await reasonFor(`${folder}/circle`), "it can't be read (ELOOP)");
    }),
);

Deno.test("explainFile() has hints, and never shows a path", () => {
  const denied = explainFile(new Deno.errors.PermissionDenied("secret"), "secret");
  assertEquals(denied, {
    reason: "permission denied",
    hint: "the user that the ambassador runs as has to be able to read it (65532 in its images)",
  });
  const refused = new Deno.errors.NotCapable("secret");
  const reason = "Deno does not allow to read it";
  assertEquals(explainFile(refused, "/etc/secret"), {
    reason,
    hint: "run with -P, or --allow-read=/",
  });
  assertEquals(explainFile(refused, "/proc/secret"), {
    reason,
    hint: "nothing below /dev, /proc and /sys can be used: write it to a file elsewhere",
  });
  assertEquals(explainFile(new Error("secret"), "secret"), { reason: "it can't be read" });
});

Deno.test(
  "mayEverybodyWrite() looks at the file behind a link",
  needs(UNIX),
  () =>
    inFolder(async (folder) => {
      const path = `${folder}/file`;
      await Deno.writeTextFile(path, "");
      await Deno.symlink("file", `${folder}/link`);
      for (const [mode, may] of [[0o644, false], [0o660, false], [0o666, true], [0o602, true]]) {
        await Deno.chmod(path, Number(mode));
        assertEquals(await mayEverybodyWrite(path), may);
        assertEquals(await mayEverybodyWrite(`${folder}/link`), may);
      }
      assertEquals(await mayEverybodyWrite(`${folder}/missing`), false);
    }),
);
