// The names that the program finds: a hosts file and a name server of the test's own, mounted over those
// of the machine for one process alone. What uses it needs(...NAMES).

import { programCommand } from "./mod.ts";
import { type Ability, programPath, ROOT_RIGHTS } from "./needs.ts";

/** What a test with names of its own needs. */
export const NAMES: readonly (string | Ability)[] = [ROOT_RIGHTS, "unshare"];

/** Names at work. */
export interface Names extends AsyncDisposable {
  /** What starts the program where they hold. */
  readonly command: readonly string[];
  /** Says which names there are, at once: `{ "db.example.com": "127.0.0.2" }`. */
  write(addresses: Readonly<Record<string, string>>): Promise<void>;
}

/**
 * Makes a hosts file with these names; others are asked of the name server, and fail at once where
 * there is none.
 *
 * @param config A line of a resolv.conf.
 */
export async function startNames(
  addresses: Readonly<Record<string, string>>,
  config = "nameserver 127.0.0.1\n",
): Promise<Names> {
  const folder = await Deno.makeTempDir({ prefix: "ambassador_names_" });
  async function write(names: Readonly<Record<string, string>>): Promise<void> {
    const lines = Object.entries(names).map(([name, address]) => `${address} ${name}\n`);
    // In place: what is mounted is the file that was there.
    await Deno.writeTextFile(`${folder}/hosts`, lines.join(""));
  }
  await write(addresses);
  await Deno.writeTextFile(`${folder}/resolv.conf`, config);
  await Deno.writeTextFile(`${folder}/nsswitch.conf`, "hosts: files dns\n");
  const mount = 'for file in hosts resolv.conf nsswitch.conf; do [ ! -e "/etc/$file" ] || ' +
    'mount --bind "$0/$file" "/etc/$file"; done; exec "$@"';
  return {
    command: [programPath("unshare"), "--mount", "sh", "-c", mount, folder, ...programCommand()],
    write,
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}
