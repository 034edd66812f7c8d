// Finds what builds and runs images on this machine: docker or podman. It knows of images nothing.

/** A program that builds and runs images; both take the same commands for what is done here. */
export type Engine = "docker" | "podman";

/**
 * The engine of `AMBASSADOR_ENGINE`, else docker if its daemon answers, else podman.
 *
 * @throws {Error} saying what is needed, if there is none
 */
export async function findEngine(): Promise<Engine> {
  const wanted = Deno.env.get("AMBASSADOR_ENGINE");
  for (const engine of ["docker", "podman"] as const) {
    if (wanted !== undefined && wanted !== engine) continue;
    if ((await run([engine, "info"])).code === 0) return engine;
  }
  throw new Error("needs podman, or docker and its daemon: neither answers to `info`");
}

/** How a command ended. */
export interface Ran {
  /** Its exit status; 127 if there is no such program. */
  readonly code: number;
  /** What it wrote to stdout, without the last line's end. */
  readonly stdout: string;
  /** What it wrote to stderr. */
  readonly stderr: string;
}

/** Runs a command to its end. */
export async function run([program = "", ...args]: readonly string[]): Promise<Ran> {
  try {
    const command = new Deno.Command(program, { args, stdin: "null" });
    const { code, stdout, stderr } = await command.output();
    const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
    return { code, stdout: text(stdout).trimEnd(), stderr: text(stderr) };
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return { code: 127, stdout: "", stderr: `${program}: no such program` };
  }
}

// Alone it says whether there is one, before anything is begun that needs it.
if (import.meta.main) {
  try {
    await findEngine();
  } catch (error) {
    console.error(`test:image: ${error instanceof Error ? error.message : error}`);
    Deno.exit(1);
  }
}
