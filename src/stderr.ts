// Writing to stderr as all of the program does: whoever reads it must not be able to stop it.

const encoder = new TextEncoder();

/** Writes all of the text. What can't be written is lost. */
export function writeToStderr(text: string): void {
  const bytes = encoder.encode(text);
  try {
    for (let done = 0; done < bytes.length;) done += Deno.stderr.writeSync(bytes.subarray(done));
  } catch {
    // Nobody reads it any more.
  }
}
