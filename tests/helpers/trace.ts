// The real program and the system calls that it makes, as strace sees them.

import { programPath } from "./needs.ts";
import { type Program, startProgram, type StartProgramOptions } from "./mod.ts";

/** The program under strace; its process id is its own. */
export interface TracedProgram extends AsyncDisposable {
  /** The child process. */
  readonly program: Program;
  /** The calls so far, one a line. */
  calls(): Promise<string[]>;
}

/** Starts the program and notes its calls of these names, as `-e trace=` takes them. */
export async function startTraced(
  args: readonly string[],
  { names, command, ...options }: StartProgramOptions & {
    readonly names: string;
    readonly command: readonly string[];
  },
): Promise<TracedProgram> {
  const file = await Deno.makeTempFile();
  // By -D it is strace that is the child, so that signals and the end are the program's own.
  const strace = [programPath("strace"), "-D", "-f", "-qq", "-e", `trace=${names}`, "-o", file];
  const program = startProgram(args, { ...options, command: [...strace, ...command] });
  return {
    program,
    async calls(): Promise<string[]> {
      return (await Deno.readTextFile(file)).split("\n");
    },
    async [Symbol.asyncDispose](): Promise<void> {
      await program[Symbol.asyncDispose]();
      await Deno.remove(file);
    },
  };
}
