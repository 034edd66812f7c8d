// The list of what an executable is made of, held against a real executable: what it embeds stands at
// its end, with the text of each module as it was.

import { assert, assertEquals } from "@std/assert";
import { missingModules } from "../../build/embedded.ts";
import { type Module, readModules } from "../../build/sbom.ts";
import { hasPackages, pathOf } from "../../build/sources.ts";
import { programCommand } from "../helpers/mod.ts";
import { EXECUTABLE, needs } from "../helpers/needs.ts";

/** How much of the end to look at: the modules are 2 MB. */
const END_BYTES = 8_000_000;

Deno.test(
  "readModules() names what the executable embeds, and nothing else",
  needs(EXECUTABLE),
  async () => {
    const [path = ""] = programCommand();
    const executable = await Deno.readFile(path);
    const end = executable.subarray(-END_BYTES);
    const modules = await readModules(hasPackages() ? "deno.json" : "offline/import_map.json");
    assert(modules.length > 50);
    assertEquals(missingModules(end, modules), []);
    const others = ["build/sbom.ts", "tests/helpers/mod.ts", "offline/assert.ts", "bench/main.ts"]
      .map((specifier): Module => ({ specifier, content: Deno.readFileSync(pathOf(specifier)) }));
    assertEquals(missingModules(end, others), others.map(({ specifier }) => specifier));
  },
);
