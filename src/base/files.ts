// Small text files that the configuration names, and what keeps one from being read in plain words. It
// doesn't know what they hold, nor when to read again.

import { errorCode } from "./errors.ts";

/** Maximum size of such a file. */
const MAX_BYTES = 1024 * 1024;

/**
 * The text of a file of at most 1 MiB, without a byte order mark. Bytes that are no UTF-8 become
 * U+FFFD. {@linkcode explainFile} puts what it throws into words.
 *
 * @throws {RangeError} if it is larger, or no regular file
 * @throws what the system says of one that can't be read
 */
export async function readSmallFile(path: string): Promise<string> {
  const { isDirectory, isFile, size } = await Deno.stat(path);
  if (isDirectory) throw new RangeError("it is a directory");
  // To open a pipe may take for ever, it could be read only once, and some devices never end.
  if (!isFile) throw new RangeError("it is not a regular file");
  if (size > MAX_BYTES) throw tooLarge();
  using file = await Deno.open(path);
  return await readText(file);
}

/** To the end, or until it is too large: it may have grown in the meantime. */
async function readText(file: Deno.FsFile): Promise<string> {
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(64 * 1024);
  let text = "";
  let size = 0;
  for (;;) {
    const count = await file.read(buffer);
    if (count === null) return text + decoder.decode();
    size += count;
    if (size > MAX_BYTES) throw tooLarge();
    text += decoder.decode(buffer.subarray(0, count), { stream: true });
  }
}

function tooLarge(): RangeError {
  return new RangeError("it is larger than 1 MiB");
}

/** What kept {@linkcode readSmallFile} from reading a file, without its path, and the way out. */
export function explainFile(
  error: unknown,
  path: string,
): { readonly reason: string; readonly hint?: string } {
  if (error instanceof Deno.errors.NotFound) return { reason: "no such file" };
  if (error instanceof Deno.errors.NotCapable) {
    // Deno keeps these for programs that may do everything.
    const isSpecial = /^\/(?:dev|proc|sys)\//.test(path);
    const hint = isSpecial
      ? "nothing below /dev, /proc and /sys can be used: write it to a file elsewhere"
      : "run with -P, or --allow-read=/";
    return { reason: "Deno does not allow to read it", hint };
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    const hint =
      "the user that the ambassador runs as has to be able to read it (65532 in its images)";
    return { reason: "permission denied", hint };
  }
  if (error instanceof RangeError) return { reason: error.message };
  // Not the message: Deno puts the path into it.
  const code = errorCode(error);
  return { reason: code === undefined ? "it can't be read" : `it can't be read (${code})` };
}

/**
 * Whether every user of the machine may write to a file. False where files have no mode, and where
 * there is no file: to read it says why.
 */
export async function mayEverybodyWrite(path: string): Promise<boolean> {
  try {
    const { mode } = await Deno.stat(path);
    return ((mode ?? 0) & 0o002) !== 0;
  } catch {
    return false;
  }
}
