// Loaded before the program, into its own process (`deno run --preload`): says what files that process may
// read, at SIGUSR2 and when it ends. PROBED holds their paths, one a line.

import fs from "node:fs";

/** Every way in which a program might read. */
const WAYS: Readonly<Record<string, (path: string) => unknown>> = {
  "Deno.readTextFileSync": (path) => Deno.readTextFileSync(path),
  "Deno.readFileSync": (path) => Deno.readFileSync(path),
  "Deno.openSync": (path) => Deno.openSync(path).close(),
  "fs.readFileSync": (path) => fs.readFileSync(path),
  "fs.openSync": (path) => fs.closeSync(fs.openSync(path, "r")),
  "Deno.readDirSync": (path) => [...Deno.readDirSync(path)],
  "fs.readdirSync": (path) => fs.readdirSync(path),
};

/** The ways in which a file can be read now. */
function waysTo(path: string): string[] {
  return Object.entries(WAYS).flatMap(([name, read]) => {
    try {
      read(path);
      return name;
    } catch {
      return [];
    }
  });
}

let times = 0;

function say(): void {
  times++;
  for (const path of (Deno.env.get("PROBED") ?? "").split("\n")) {
    const line = `probe ${times}: ${path}: ${waysTo(path).join(" ")}\n`;
    Deno.stdout.writeSync(new TextEncoder().encode(line));
  }
}

Deno.addSignalListener("SIGUSR2", say);
globalThis.addEventListener("unload", say);
