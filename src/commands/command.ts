// What every command is given, what it gives back, and what is said of one that fails.

import { ConfigError, hintOf, PERMISSION_HINT } from "../base/errors.ts";
import { complain, writeToStdout } from "../base/stdio.ts";
import type { Environment } from "../config/variables.ts";

/** Exit statuses; a signal that ends the program at once is 128 and its number. */
export const EXIT = { finished: 0, failed: 1, usage: 2 } as const;

/** What a command is given beside what it was asked. */
export interface CommandContext {
  /** The environment, for what terminals say there. */
  readonly environment: Environment;
  /** Aborts at a stop signal. */
  readonly signal: AbortSignal;
  /** Aborts when the program ends at once, at a second stop signal: the reason is its name. */
  readonly killed: AbortSignal;
  /** The program's version. */
  readonly version: string;
  /** Calls this whenever the program is told to look at its files again (SIGHUP). */
  readonly onHangup: (look: () => void) => void;
}

/** Prints on stdout, and gives the exit status. */
export async function print(text: string): Promise<number> {
  return text === "" || await writeToStdout(text) ? EXIT.finished : EXIT.failed;
}

/** Says why a command failed, one line a problem, and gives the exit status. */
export function fail(error: unknown): number {
  if (error instanceof ConfigError) {
    error.problems.forEach(({ message, hint }, index) => {
      // Several that go wrong in the same way get one hint, after the last.
      const isRepeated = error.problems[index + 1]?.hint === hint;
      complain({ message, hint: isRepeated ? undefined : hint });
    });
    return EXIT.usage;
  }
  const permission = error instanceof Deno.errors.NotCapable ? PERMISSION_HINT : undefined;
  const hint = hintOf(error) ?? permission;
  complain({ message: error instanceof Error ? error.message : String(error), hint });
  return EXIT.failed;
}
