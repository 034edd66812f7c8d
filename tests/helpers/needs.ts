// What a test needs beyond Deno: programs, and what the machine can do. A test that can't have it is
// ignored and shown as ignored. It knows nothing of what the tests do with it.

import net from "node:net";
import { hasPackages } from "../../build/sources.ts";

/** Something that a machine, or a Deno, has or has not; nothing that could be installed for a test. */
export interface Ability {
  /** What it is, in a line that says what is missing. */
  readonly name: string;
  /** Whether it is here. */
  readonly isHere: boolean;
}

/** Linux: `/proc` tells what another process holds, and loopback has more than one IPv4 address. */
export const LINUX: Ability = { name: "Linux", isHere: Deno.build.os === "linux" };

/** A system with signals, shells and limits on descriptors. */
export const UNIX: Ability = { name: "Unix", isHere: Deno.build.os !== "windows" };

/** An IPv6 loopback. */
export const IPV6: Ability = { name: "IPv6", isHere: hasIpv6() };

/** The rights of root: some cases need a namespace or a right that only root can give away. */
export const ROOT_RIGHTS: Ability = { name: "root's rights", isHere: Deno.uid() === 0 };

/** A `node:net` that can send a reset: Deno 2.7 can't. */
export const RESETS: Ability = {
  name: "a Deno that can send a reset",
  isHere: "resetAndDestroy" in net.Socket.prototype,
};

/** The packages themselves, and not what stands in for them. */
export const JSR: Ability = { name: "the packages from JSR", isHere: hasPackages() };

/** The executable is what is tested. */
export const EXECUTABLE: Ability = {
  name: "an executable in AMBASSADOR_BIN",
  isHere: Deno.env.has("AMBASSADOR_BIN"),
};

/** The sources are what is tested. */
export const SOURCES: Ability = {
  name: "the sources, without AMBASSADOR_BIN",
  isHere: !EXECUTABLE.isHere,
};

/** A Deno whose TLS can be used in the tests' own process. */
export const TLS: Ability = { name: "Deno 2.9 or later", isHere: hasTls() };

/** A program whose TLS can be used: an executable may be made of another Deno than the tests run on. */
export const PROGRAM_TLS: Ability = {
  name: "a program on Deno 2.9 or later",
  get isHere(): boolean {
    return isTlsHere ??= programHasTls();
  },
};

/** A Deno that is too old for TLS. */
export const NO_TLS: Ability = {
  name: "a program on a Deno before 2.9",
  get isHere(): boolean {
    return !PROGRAM_TLS.isHere;
  },
};

/** What {@linkcode needs} tells `Deno.test`. */
export interface Needs {
  /** Whether something is missing. */
  readonly ignore: boolean;
}

/**
 * For the options of a test: ignores it where one of these is missing, after a line that names what
 * is. Where `AMBASSADOR_TESTS_NEED_ALL` is set, a test that lacks nothing but programs is run, and
 * fails when it looks for them with {@linkcode programPath}.
 */
export function needs(...wanted: readonly (string | Ability)[]): Needs {
  const missing = wanted.filter((one) => !isHere(one));
  const needsAll = Deno.env.has("AMBASSADOR_TESTS_NEED_ALL");
  const ignore = missing.some((one) => !needsAll || typeof one !== "string");
  if (ignore) missing.forEach(sayOnce);
  return { ignore };
}

function isHere(wanted: string | Ability): boolean {
  return typeof wanted === "string" ? findOnPath(wanted) !== undefined : wanted.isHere;
}

const said = new Set<string>();

function sayOnce(missing: string | Ability): void {
  const name = typeof missing === "string" ? missing : missing.name;
  if (said.has(name)) return;
  said.add(name);
  const file = Deno.mainModule.slice(Deno.mainModule.lastIndexOf("/tests/") + 1);
  console.error(`ignored in ${file}: what needs ${name}`);
}

/**
 * The path of an installed program.
 *
 * @throws if it is missing
 */
export function programPath(name: string): string {
  const path = findOnPath(name);
  if (path === undefined) throw new Error(`${name} is not installed`);
  return path;
}

/** The path of a program if it is installed. */
export function findOnPath(name: string): string | undefined {
  const path = (Deno.env.get("PATH") ?? "").split(":");
  for (const folder of [...path, "/usr/sbin", "/sbin", ...postgresFolders()]) {
    try {
      if (Deno.statSync(`${folder}/${name}`).isFile) return `${folder}/${name}`;
    } catch {
      // Not in this folder.
    }
  }
  return undefined;
}

/** Where Debian keeps what belongs to a PostgreSQL server, the newest first. */
function postgresFolders(): string[] {
  const folder = "/usr/lib/postgresql";
  try {
    const versions = [...Deno.readDirSync(folder)].map(({ name }) => name);
    return versions.sort((a, b) => Number(b) - Number(a)).map((one) => `${folder}/${one}/bin`);
  } catch {
    return [];
  }
}

/** Found out once, and only where a test asks: an executable has to be started for it. */
let isTlsHere: boolean | undefined;

function hasTls(): boolean {
  const [major = 0, minor = 0] = Deno.version.deno.split(".").map(Number);
  return major > 2 || (major === 2 && minor >= 9);
}

function programHasTls(): boolean {
  const executable = Deno.env.get("AMBASSADOR_BIN");
  if (executable === undefined) return hasTls();
  // A target that speaks TLS needs no certificate: nothing else can be wrong.
  const { stderr } = new Deno.Command(executable, { args: ["check", "1=tls://127.0.0.1:2"] })
    .outputSync();
  return !/Deno 2\.9/.test(new TextDecoder().decode(stderr));
}

function hasIpv6(): boolean {
  try {
    Deno.listen({ hostname: "::1", port: 0 }).close();
    return true;
  } catch {
    return false;
  }
}
