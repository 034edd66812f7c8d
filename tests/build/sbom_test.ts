// The list of what an executable is made of, held against the rules of SPDX 2.3 that readers of such
// lists rely on, and against what is really on the disk. A server of the test's own stands in for JSR.

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { createHash } from "node:crypto";
import config from "../../deno.json" with { type: "json" };
import { type Module, readModules, sbom, type Spdx, type SpdxFile } from "../../build/sbom.ts";
import { pathOf } from "../../build/sources.ts";
import { ROOT, within } from "../helpers/mod.ts";

const CREATED_MS = Date.UTC(2026, 10, 27, 9, 35);

function encode(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}

function sum(algorithm: "sha1" | "sha256", content: Uint8Array | string): string {
  return createHash(algorithm).update(content).digest("hex");
}

function sumOf({ checksums }: SpdxFile, algorithm: "SHA1" | "SHA256"): string | undefined {
  return checksums.find((one) => one.algorithm === algorithm)?.checksumValue;
}

/** The names of those that a relationship leads to. */
function relatedTo(list: Spdx, id: string, type: string): string[] {
  return list.relationships.filter((one) =>
    one.spdxElementId === id && one.relationshipType === type
  )
    .map(({ relatedSpdxElement }) => relatedSpdxElement);
}

/** Fails unless the list keeps the rules. */
function checkRules(list: Spdx): void {
  assertEquals([list.spdxVersion, list.dataLicense], ["SPDX-2.3", "CC0-1.0"]);
  assertEquals(list.SPDXID, "SPDXRef-DOCUMENT");
  assert(!new URL(list.documentNamespace).href.includes("#"));
  assertMatch(list.creationInfo.created, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  for (const creator of list.creationInfo.creators) {
    assertMatch(creator, /^(?:Tool|Person|Organization): \S/);
  }
  const elements = [list, ...list.packages, ...list.files].map(({ SPDXID }) => SPDXID);
  for (const id of elements) assertMatch(id, /^SPDXRef-[A-Za-z0-9.-]+$/);
  assertEquals(new Set(elements).size, elements.length);
  for (const { spdxElementId, relatedSpdxElement } of list.relationships) {
    assert(elements.includes(spdxElementId), spdxElementId);
    assert(elements.includes(relatedSpdxElement), relatedSpdxElement);
  }
  const [program] = list.packages;
  assertEquals(relatedTo(list, list.SPDXID, "DESCRIBES"), [program?.SPDXID]);
  for (const one of list.packages) {
    assert(one.name !== "" && one.versionInfo !== "");
    assertMatch(one.downloadLocation, /^(?:NOASSERTION|(?:git\+)?https?:\/\/\S+)$/);
    for (const license of [one.licenseConcluded, one.licenseDeclared]) {
      assert(["MIT", "BSD-3-Clause", "NOASSERTION"].includes(license), license);
    }
    assertMatch(one.externalRefs[0]?.referenceLocator ?? "", /^pkg:[a-z]+\/[^@]+@\d[\w.-]*$|@v\d/);
    const inside = relatedTo(list, one.SPDXID, "CONTAINS");
    const files = list.files.filter(({ SPDXID }) => inside.includes(SPDXID));
    assertEquals(one.filesAnalyzed, files.length > 0, one.name);
    const sums = files.map((file) => sumOf(file, "SHA1")).toSorted().join("");
    for (const { fileName, licenseConcluded } of files) {
      assertEquals(licenseConcluded, one.licenseConcluded, fileName);
    }
    const code = one.filesAnalyzed
      ? { packageVerificationCodeValue: sum("sha1", sums) }
      : undefined;
    assertEquals(one.packageVerificationCode, code);
  }
  for (const one of list.files) {
    assertMatch(one.fileName, /^\.\/[^/]/);
    assertMatch(sumOf(one, "SHA1") ?? "", /^[0-9a-f]{40}$/);
    assertMatch(sumOf(one, "SHA256") ?? "", /^[0-9a-f]{64}$/);
    const isInside = list.packages.some(({ SPDXID }) =>
      relatedTo(list, SPDXID, "CONTAINS").includes(one.SPDXID)
    );
    const isMade = relatedTo(list, one.SPDXID, "GENERATED_FROM").length === 1;
    assertEquals([isInside, isMade].filter(Boolean).length, 1, one.fileName);
    assertEquals(one.fileTypes.includes("BINARY"), isMade);
  }
}

const OFFLINE = await readModules("offline/import_map.json");

Deno.test("sbom() keeps the rules of SPDX 2.3, and names what every executable has", async () => {
  const list = await sbom(OFFLINE, { createdMs: CREATED_MS });
  checkRules(list);
  assertEquals(list.creationInfo.created, "2026-11-27T09:35:00Z");
  const versions = list.packages.map(({ name, versionInfo }) => [name, versionInfo]);
  const { deno, v8 } = Deno.version;
  assertEquals(versions, [["ambassador", config.version], ["deno", deno], ["v8", v8]]);
  assertEquals(relatedTo(list, "SPDXRef-Package-deno", "CONTAINS"), ["SPDXRef-Package-v8"]);
  // JSON has it all.
  checkRules(JSON.parse(JSON.stringify(list)));
});

Deno.test("sbom() gives every file the sums that it has on the disk", async () => {
  const list = await sbom(OFFLINE, { createdMs: CREATED_MS });
  for (const file of list.files) {
    const content = await Deno.readFile(pathOf(file.fileName.slice(2)));
    assertEquals(sumOf(file, "SHA1"), sum("sha1", content), file.fileName);
    assertEquals(sumOf(file, "SHA256"), sum("sha256", content), file.fileName);
  }
});

Deno.test("readModules() finds what the program imports, and no tests, scripts or types alone", () => {
  const paths = OFFLINE.map(({ specifier }) => specifier.slice(ROOT.href.length));
  for (const path of ["main.ts", "deno.json", "src/net/relay.ts", "offline/parse_args.ts"]) {
    assert(paths.includes(path), path);
  }
  const others = paths.filter((path) =>
    !/^(?:main\.ts|deno\.json|(?:src|offline)\/.*)$/.test(path)
  );
  assertEquals(others, []);
  assert(!paths.includes("offline/assert.ts"));
});

Deno.test("sbom() lists the executables as made of the program", async () => {
  const executables = { "ambassador-x86_64-unknown-linux-gnu": encode("an executable") };
  const list = await sbom(OFFLINE, { createdMs: CREATED_MS, executables });
  checkRules(list);
  const [file] = list.files.filter(({ fileTypes }) => fileTypes.includes("BINARY"));
  assertEquals(file?.fileName, "./ambassador-x86_64-unknown-linux-gnu");
  assertEquals(file && sumOf(file, "SHA256"), sum("sha256", "an executable"));
});

Deno.test("sbom() claims no license for a package that it does not know", async () => {
  const specifier = "https://registry.example.com/@example/other/1.0.0/mod.ts";
  const modules = [...OFFLINE, { specifier, content: encode("") }];
  const list = await sbom(modules, { createdMs: CREATED_MS });
  checkRules(list);
  const [file] = list.files.filter(({ fileName }) => fileName === "./mod.ts");
  assertEquals(file?.licenseConcluded, "NOASSERTION");
});

Deno.test("sbom() has another address for every other content, and the same for the same", async () => {
  const address = async (modules: readonly Module[]): Promise<string> =>
    (await sbom(modules, { createdMs: CREATED_MS })).documentNamespace;
  const first = await address(OFFLINE);
  assertEquals(await address(OFFLINE), first);
  assert(await address(OFFLINE.slice(1)) !== first);
});

Deno.test("sbom() names the repository and the commit where they are known", async () => {
  const origin = { repository: "https://example.com/ambassador", revision: "abc" };
  const [program] = (await sbom(OFFLINE, { createdMs: CREATED_MS, origin })).packages;
  assertEquals(program?.downloadLocation, "git+https://example.com/ambassador@abc");
});

Deno.test("sbom() refuses a module that it can't place, and two of one name", async () => {
  const module = (specifier: string): Module => ({ specifier, content: encode("") });
  for (
    const specifier of [
      "https://example.com/x.ts",
      "https://registry.example.com/x.ts",
      "file:///x.ts",
    ]
  ) {
    const modules = [module(specifier)];
    await assertRejects(() => sbom(modules, { createdMs: 0 }), Error, specifier);
  }
  const twins = [module(`${ROOT}a_b.ts`), module(`${ROOT}a-b.ts`)];
  await assertRejects(() => sbom(twins, { createdMs: 0 }), Error, "SPDXRef-File-a-b.ts");
});

/** The version in such an import: `jsr:@std/cli@1.0.32/parse-args`. */
function versionOf(jsr: string): string {
  return /@(\d[^/]*)\//.exec(jsr)?.[1] ?? "";
}

/** Packages as JSR serves them, each with what stands in for it here. */
const PACKAGES = [
  {
    name: "std/cli",
    version: versionOf(config.imports["@std/cli/parse-args"]),
    files: { "./parse-args": "parse_args.ts" },
  },
  {
    name: "std/log",
    version: versionOf(config.imports["@std/log/logger"]),
    files: {
      "./base-handler": "base_handler.ts",
      "./levels": "levels.ts",
      "./logger": "logger.ts",
    },
  },
] as const;

/** What JSR answers for a path without its first slash; undefined where there is nothing. */
function answerOf(path: string): Response | undefined {
  for (const { name, version, files } of PACKAGES) {
    const [scope, rest] = name.split("/");
    if (path === `@${name}/meta.json`) {
      return Response.json({ scope, name: rest, latest: version, versions: { [version]: {} } });
    }
    const contents = Object.values(files).map((file) => ({
      file,
      text: Deno.readTextFileSync(pathOf(`offline/${file}`)),
    }));
    if (path === `@${name}/${version}_meta.json`) {
      const exports = Object.entries(files).map(([key, file]) => [key, `./${file}`]);
      const manifest = contents.map(({ file, text }) => [`/${file}`, {
        size: text.length,
        checksum: `sha256-${sum("sha256", text)}`,
      }]);
      return Response.json({
        exports: Object.fromEntries(exports),
        manifest: Object.fromEntries(manifest),
      });
    }
    const found = contents.find(({ file }) => path === `@${name}/${version}/${file}`);
    if (found) {
      return new Response(found.text, { headers: { "content-type": "application/typescript" } });
    }
  }
  return undefined;
}

Deno.test("sbom() lists the packages of JSR with their versions and files", async () => {
  const folder = await Deno.makeTempDir();
  await using server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    ({ url }) => answerOf(new URL(url).pathname.slice(1)) ?? new Response("", { status: 404 }),
  );
  try {
    const registry = `http://127.0.0.1:${server.addr.port}/`;
    const env = { JSR_URL: registry, DENO_DIR: folder, DENO_NO_UPDATE_CHECK: "1" };
    const modules = await within(readModules("deno.json", env), "deno info to end");
    const list = await sbom(modules, { createdMs: CREATED_MS });
    checkRules(list);
    for (const { name, version, files } of PACKAGES) {
      const [found] = list.packages.filter((one) => one.name === `@${name}`);
      assertEquals(found?.versionInfo, version);
      assertEquals(found?.externalRefs[0]?.referenceLocator, `pkg:jsr/%40${name}@${version}`);
      assertEquals(found?.downloadLocation, `${registry}@${name}/${version}`);
      const inside = relatedTo(list, found?.SPDXID ?? "", "CONTAINS");
      const sums = list.files.filter(({ SPDXID }) => inside.includes(SPDXID))
        .map((file) => [file.fileName, sumOf(file, "SHA256")]);
      const expected = Object.values(files).map((file) => [
        `./${file}`,
        sum("sha256", Deno.readTextFileSync(pathOf(`offline/${file}`))),
      ]);
      assertEquals(sums.toSorted(), expected.toSorted());
    }
    assert(!list.files.some(({ fileName }) => fileName.startsWith("./offline/")));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("readModules() says which module is missing", async () => {
  const env = { JSR_URL: "http://127.0.0.1:1/", DENO_DIR: await Deno.makeTempDir() };
  try {
    await assertRejects(() => readModules("deno.json", env), Error, "jsr:@std/");
  } finally {
    await Deno.remove(env.DENO_DIR, { recursive: true });
  }
});
