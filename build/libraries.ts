// Copies the shared libraries that an executable loads, and nothing else, out of one root folder into
// another. It reads the ELF files itself: unlike ldd it runs nothing, so the executable may be for
// another processor than this machine's.

/** What an ELF file asks the dynamic loader for. */
export interface Dynamic {
  /** The loader's path; undefined for a library. */
  readonly interpreter: string | undefined;
  /** Names of the libraries that it needs. */
  readonly needed: readonly string[];
  /** How Debian calls the processor in the paths of libraries. */
  readonly triple: string;
}

const SEGMENT = { load: 1, dynamic: 2, interpreter: 3 } as const;
const TAG = { end: 0, needed: 1, strings: 5 } as const;
const TRIPLES: Readonly<Record<number, string>> = {
  62: "x86_64-linux-gnu",
  183: "aarch64-linux-gnu",
};

/**
 * Reads the dynamic section of a 64-bit little-endian ELF file.
 *
 * @throws {SyntaxError} if it is no such file
 */
export function readDynamic(file: Uint8Array<ArrayBuffer>): Dynamic {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const isElf = file.length > 64 && view.getUint32(0) === 0x7f454c46;
  if (!isElf || file[4] !== 2 || file[5] !== 1) throw new SyntaxError("not a 64-bit ELF file");
  const triple = TRIPLES[view.getUint16(18, true)];
  if (triple === undefined) throw new SyntaxError("neither for x86-64 nor for arm64");
  const segments = Array.from({ length: view.getUint16(56, true) }, (_, index) => {
    const at = number(view, 32) + index * view.getUint16(54, true);
    return {
      type: view.getUint32(at, true),
      offset: number(view, at + 8),
      address: number(view, at + 16),
      size: number(view, at + 32),
    };
  });
  const offsetOf = (address: number): number => {
    const holds = (s: typeof segments[number]): boolean =>
      s.type === SEGMENT.load && address >= s.address && address < s.address + s.size;
    const segment = segments.find(holds);
    if (segment === undefined) throw new SyntaxError("an address outside of the file");
    return address - segment.address + segment.offset;
  };
  const text = (at: number): string =>
    new TextDecoder().decode(file.subarray(at, file.indexOf(0, at)));
  const interpreter = segments.find(({ type }) => type === SEGMENT.interpreter);
  const dynamic = segments.find(({ type }) => type === SEGMENT.dynamic);
  const names: number[] = [];
  let strings = 0;
  for (let at = dynamic?.offset ?? file.length; at < file.length; at += 16) {
    const tag = number(view, at);
    if (tag === TAG.end) break;
    if (tag === TAG.needed) names.push(number(view, at + 8));
    if (tag === TAG.strings) strings = offsetOf(number(view, at + 8));
  }
  return {
    interpreter: interpreter === undefined ? undefined : text(interpreter.offset),
    needed: names.map((name) => text(strings + name)),
    triple,
  };
}

function number(view: DataView, at: number): number {
  return Number(view.getBigUint64(at, true));
}

/**
 * Copies the loader and the libraries of an executable from one root folder to the same places in
 * another.
 *
 * @returns the paths of what was copied, as the executable sees them
 * @throws {Error} if a library is missing
 */
export function copyLibraries(executable: string, from: string, to: string): string[] {
  const { interpreter, needed, triple } = readDynamic(Deno.readFileSync(executable));
  if (interpreter === undefined) throw new Error(`${executable}: loads no libraries`);
  const folders = [`/lib/${triple}`, `/usr/lib/${triple}`, "/lib", "/usr/lib", "/lib64"];
  const copied = new Map([[baseName(interpreter), interpreter]]);
  const wanted = [...needed];
  copy(from, to, interpreter);
  for (let name = wanted.pop(); name !== undefined; name = wanted.pop()) {
    if (copied.has(name)) continue;
    const path = folders.map((folder) => `${folder}/${name}`).find((p) => exists(from, p));
    if (path === undefined) throw new Error(`${name}: in none of ${folders.join(", ")} of ${from}`);
    copied.set(name, path);
    wanted.push(...readDynamic(copy(from, to, path)).needed);
  }
  return [...copied.values()].sort();
}

function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** Copies what is at the path, not a link to it; gives its content. */
function copy(from: string, to: string, path: string): Uint8Array<ArrayBuffer> {
  const data = Deno.readFileSync(from + resolveLinks(from, path));
  Deno.mkdirSync(to + path.slice(0, path.lastIndexOf("/")), { recursive: true });
  Deno.writeFileSync(to + path, data, { mode: 0o755 });
  return data;
}

function exists(root: string, path: string): boolean {
  try {
    return Deno.statSync(root + resolveLinks(root, path)).isFile;
  } catch {
    return false;
  }
}

/** Where a path leads to if the folder is the root; absolute links stay inside of it. */
function resolveLinks(root: string, path: string, depth = 0): string {
  if (depth > 40) throw new Error(`${path}: a link that leads to itself`);
  let resolved = "";
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  for (const [index, part] of parts.entries()) {
    if (part === "..") {
      resolved = resolved.slice(0, Math.max(0, resolved.lastIndexOf("/")));
      continue;
    }
    if (Deno.lstatSync(`${root}${resolved}/${part}`).isSymlink) {
      const link = Deno.readLinkSync(`${root}${resolved}/${part}`);
      const rest = parts.slice(index + 1).join("/");
      const target = link.startsWith("/") ? link : `${resolved}/${link}`;
      return resolveLinks(root, `${target}/${rest}`, depth + 1);
    }
    resolved += `/${part}`;
  }
  return resolved;
}

if (import.meta.main) {
  const [executable, from, to] = Deno.args;
  if (executable === undefined || from === undefined || to === undefined) {
    console.error("usage: libraries.ts EXECUTABLE FROM_ROOT TO_ROOT");
    Deno.exit(2);
  }
  console.log(copyLibraries(executable, from, to).join("\n"));
}
