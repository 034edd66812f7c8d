// Other people's programs, run to their end: what goes in, what comes out, byte by byte.

import { concat, within } from "./mod.ts";
import { programPath } from "./needs.ts";

/** What a program has done. */
export interface Ran {
  /** Its exit status. */
  readonly code: number;
  /** What it has written to stdout. */
  readonly stdout: Uint8Array<ArrayBuffer>;
  /** The same as text. */
  readonly text: string;
  /** What it has written to stderr. */
  readonly stderr: string;
}

/** A program that is fed by hand. */
export interface Fed extends AsyncDisposable {
  /** What it has written to stdout so far. */
  readonly text: string;
  /** How many bytes that is. */
  readonly count: number;
  /** What it has written to stderr so far. */
  readonly stderr: string;
  /** Writes to its stdin. */
  write(data: Uint8Array | string): Promise<void>;
  /** Ends its stdin. */
  end(): Promise<void>;
  /** Waits for its end. */
  readonly result: Promise<Ran>;
}

/** Starts an installed program whose stdin is open; ends it at the end of the block. */
export function feed(name: string, args: readonly string[]): Fed {
  const child = new Deno.Command(name.startsWith("/") ? name : programPath(name), {
    args: [...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  const out: Uint8Array[] = [];
  const err: Uint8Array[] = [];
  const read = Promise.all([collect(child.stdout, out), collect(child.stderr, err)]);
  async function finish(): Promise<Ran> {
    const { code } = await child.status;
    await read;
    const stdout = concat(out);
    return { code, stdout, text: decode(stdout), stderr: decode(concat(err)) };
  }
  const result = finish();
  return {
    get text(): string {
      return decode(concat(out));
    },
    get stderr(): string {
      return decode(concat(err));
    },
    get count(): number {
      return out.reduce((sum, chunk) => sum + chunk.length, 0);
    },
    write: (data) => writer.write(typeof data === "string" ? encode(data) : data),
    end: () => writer.close(),
    result,
    async [Symbol.asyncDispose](): Promise<void> {
      // Where it has ended its stdin is gone.
      await writer.abort().catch(() => {});
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended by itself.
      }
      await result;
    },
  };
}

/** Runs an installed program to its end, with all of this as its stdin. */
export async function run(
  name: string,
  args: readonly string[],
  { stdin = "", ms = 20_000 }: {
    readonly stdin?: Uint8Array | string;
    readonly ms?: number;
  } = {},
): Promise<Ran> {
  await using program = feed(name, args);
  // One that ends early does not read it all; what it says is then what matters.
  void program.write(stdin).then(() => program.end()).catch(() => {});
  return await within(program.result, `${name} to end`, ms);
}

async function collect(stream: ReadableStream<Uint8Array>, to: Uint8Array[]): Promise<void> {
  for await (const chunk of stream) to.push(chunk);
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function decode(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
