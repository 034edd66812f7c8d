// Gives up rights that the program was started with and does not need. It doesn't know what the files are.

/**
 * Gives up reading all files but these, for good; symbolic links in their paths are followed anew each
 * time. Where reading was allowed without a path, Deno (2.9.6) can't narrow it: then it stays.
 */
export function keepReading(paths: readonly string[]): void {
  // No question is asked: what is not allowed yet stays so, and the reading says it.
  for (const path of paths) {
    const descriptor = { name: "read", path } as const;
    if (Deno.permissions.querySync(descriptor).state === "granted") {
      Deno.permissions.requestSync(descriptor);
    }
  }
  Deno.permissions.revokeSync({ name: "read", path: "/" });
}
