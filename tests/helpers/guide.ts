// What a guide under docs/ shows, for tests that do it: its blocks as they stand there, run by a shell,
// and its `docker run` lines taken apart. It knows nothing of what any of them is about.

import { assert, assertEquals } from "@std/assert";
import { commandsOf, parseDocument, type ShellCommand } from "./markdown.ts";
import { ROOT, within } from "./mod.ts";
import { programPath } from "./needs.ts";

/** A guide under docs/. */
export interface Guide {
  /** All of it. */
  readonly text: string;
  /**
   * The block of code that begins like this, without its indentation; a block in a list too.
   *
   * @throws {AssertionError} if there is none
   */
  block(start: string): string;
  /** The commands of all blocks. */
  readonly commands: readonly ShellCommand[];
}

/** Reads a guide; its path is that in the repository. */
export function readGuide(path: string): Guide {
  const text = Deno.readTextFileSync(new URL(path, ROOT));
  const { blocks } = parseDocument(path, text);
  function block(start: string): string {
    const found = blocks.find(({ text }) => text.startsWith(start));
    assert(found !== undefined, `${path} has no block that begins with ${start}`);
    return `${found.text}\n`;
  }
  return { text, block, commands: blocks.flatMap(commandsOf) };
}

/** What bash prints in a folder; it has to succeed. */
export async function shell(script: string, folder: string): Promise<string> {
  const command = new Deno.Command(programPath("bash"), {
    // As a person has it, whatever the machine of the test has.
    args: ["-c", `umask 022; set -e; ${script}`],
    cwd: folder,
  });
  const { code, stdout, stderr } = await within(command.output(), "the shell");
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

/** An ambassador's container, as `docker run` is asked for it. */
export interface DockerRun {
  /** Its variables. */
  readonly env: Readonly<Record<string, string>>;
  /** What follows the image's name. */
  readonly args: readonly string[];
  /** The ports in the container that `-p` publishes, whatever their protocol. */
  readonly published: readonly number[];
  /** What `-v` mounts. */
  readonly volumes: readonly string[];
}

/** The image of the ambassador, as it was built here or with its registry and version. */
const IMAGE = /^(?:[\w.]+\/(?:[\w-]+\/)*)?ambassador(?::[\w.]+)?$/;

/** Takes the words of a `docker run` line apart; nothing if it starts something else. */
export function readDockerRun(words: readonly string[]): DockerRun | undefined {
  const image = words.findIndex((word) => IMAGE.test(word));
  if (image < 0) return undefined;
  const flags = words.slice(0, image);
  const valuesOf = (flag: string): string[] =>
    flags.flatMap((word, index) => flags[index - 1] === flag ? [word] : []);
  const env = valuesOf("-e").map((word) => {
    const [name = ""] = word.split("=");
    assert(word.includes("="), `${word}: no value`);
    return [name, word.slice(name.length + 1)];
  });
  return {
    env: Object.fromEntries(env),
    args: words.slice(image + 1),
    published: valuesOf("-p").map((port) => parseInt(port.split(":").at(-1) ?? "")),
    volumes: valuesOf("-v"),
  };
}
