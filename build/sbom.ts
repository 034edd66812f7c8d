// Makes the list of what an executable is made of (an SBOM), in SPDX 2.3: the modules that it embeds, as
// `deno info` finds them, with their sums, the packages that they are of, and the runtime. What the
// runtime itself is made of is Deno's to list, but for V8.

import config from "../deno.json" with { type: "json" };
import { pathOf } from "./sources.ts";

/** One module that is embedded. */
export interface Module {
  /** Its address: a `file:` URL, or one of JSR. */
  readonly specifier: string;
  /** What it holds. */
  readonly content: Uint8Array<ArrayBuffer>;
}

/** A sum, as SPDX writes it. */
export interface Checksum {
  /** How it was made. */
  readonly algorithm: "SHA1" | "SHA256";
  /** In lower-case hexadecimal digits. */
  readonly checksumValue: string;
}

/** A file in the list. */
export interface SpdxFile {
  /** Its name in the list. */
  readonly SPDXID: string;
  /** Its path in its package. */
  readonly fileName: string;
  /** Its sums. */
  readonly checksums: readonly Checksum[];
  /** What it is. */
  readonly fileTypes: readonly string[];
  /** Its license. */
  readonly licenseConcluded: string;
  /** What it says of a license itself. */
  readonly licenseInfoInFiles: readonly string[];
  /** Whose it is. */
  readonly copyrightText: string;
}

/** A package in the list. */
export interface SpdxPackage {
  /** Its name in the list. */
  readonly SPDXID: string;
  /** Its name. */
  readonly name: string;
  /** Its version. */
  readonly versionInfo: string;
  /** What it is for. */
  readonly primaryPackagePurpose: "APPLICATION" | "LIBRARY" | "FRAMEWORK";
  /** Who made it. */
  readonly supplier: string;
  /** Where it comes from. */
  readonly downloadLocation: string;
  /** Whether its files are listed. */
  readonly filesAnalyzed: boolean;
  /** One sum over the sums of its files. */
  readonly packageVerificationCode?: { readonly packageVerificationCodeValue: string };
  /** The license as this list finds it. */
  readonly licenseConcluded: string;
  /** The license as its makers say it. */
  readonly licenseDeclared: string;
  /** Whose it is. */
  readonly copyrightText: string;
  /** What a reader should know. */
  readonly comment?: string;
  /** Its names elsewhere, for those who look for known weaknesses. */
  readonly externalRefs: readonly {
    readonly referenceCategory: "PACKAGE-MANAGER" | "SECURITY";
    readonly referenceType: "purl" | "cpe23Type";
    readonly referenceLocator: string;
  }[];
}

/** How two things in the list stand to each other. */
export interface Relationship {
  /** The one. */
  readonly spdxElementId: string;
  /** Such as `CONTAINS`. */
  readonly relationshipType: "DESCRIBES" | "CONTAINS" | "GENERATED_FROM";
  /** The other. */
  readonly relatedSpdxElement: string;
}

/** The list. */
export interface Spdx {
  /** The version of the format. */
  readonly spdxVersion: "SPDX-2.3";
  /** The license of the list itself. */
  readonly dataLicense: "CC0-1.0";
  /** Its own name in itself. */
  readonly SPDXID: "SPDXRef-DOCUMENT";
  /** What it is a list of. */
  readonly name: string;
  /** An address that no other list has; nothing need be there. */
  readonly documentNamespace: string;
  /** When and by what it was made. */
  readonly creationInfo: { readonly created: string; readonly creators: readonly string[] };
  /** The packages, first the program itself. */
  readonly packages: readonly SpdxPackage[];
  /** The files. */
  readonly files: readonly SpdxFile[];
  /** What belongs where. */
  readonly relationships: readonly Relationship[];
}

/** What a list is made of beside the modules. */
export interface SbomOptions {
  /** The executables that were made of them, each by its name. */
  readonly executables?: Readonly<Record<string, Uint8Array<ArrayBuffer>>>;
  /** When the list is made, in milliseconds since 1970. */
  readonly createdMs: number;
  /** The address of the repository and the commit, if they are known. */
  readonly origin?: { readonly repository: string; readonly revision: string } | undefined;
}

const DOCUMENT = "SPDXRef-DOCUMENT";
const PROGRAM = "SPDXRef-Package-ambassador";
const ROOT = new URL("../", import.meta.url).href;

/** A package of JSR, by the address of one of its modules. */
interface JsrModule {
  /** The address that it was fetched from, up to the package's name. */
  readonly registry: string;
  readonly name: string;
  readonly version: string;
  readonly path: string;
}

/** What a package is made of, until it is listed. */
interface Part {
  readonly id: string;
  readonly files: SpdxFile[];
}

/**
 * The list for an executable that embeds these modules.
 *
 * @throws {Error} if a module is neither of this repository nor of JSR, or two would have one name
 */
export async function sbom(modules: readonly Module[], options: SbomOptions): Promise<Spdx> {
  const { executables = {}, createdMs, origin } = options;
  const own: Part = { id: PROGRAM, files: [] };
  const libraries = new Map<string, Part & JsrModule>();
  for (const { specifier, content } of modules) {
    if (specifier.startsWith(ROOT)) {
      const path = decodeURIComponent(specifier.slice(ROOT.length));
      own.files.push(await file(path, content, { license: config.license }));
      continue;
    }
    const from = readJsr(specifier);
    const key = `${from.name}@${from.version}`;
    const library = libraries.get(key) ?? { id: idOf("Package", key), files: [], ...from };
    libraries.set(key, library);
    const license = licenseOf(from.name);
    library.files.push(await file(from.path, content, { license, of: key }));
  }
  const made: SpdxFile[] = [];
  for (const [name, content] of Object.entries(executables)) {
    // As a whole: it is made of parts with licenses of their own.
    const binary = await file(name, content, { license: "NOASSERTION" });
    made.push({ ...binary, fileTypes: ["BINARY"] });
  }
  const parts = [own, ...libraries.values()];
  const [deno, engine] = runtime();
  const packages = [
    { ...program(own.files, origin), ...await analyzed(own) },
    ...await Promise.all([...libraries.values()].map(async (library) => ({
      ...jsrPackage(library),
      ...await analyzed(library),
    }))),
    deno,
    engine,
  ];
  const relationships: Relationship[] = [
    relate(DOCUMENT, "DESCRIBES", PROGRAM),
    ...[...libraries.values()].map(({ id }) => relate(PROGRAM, "CONTAINS", id)),
    relate(PROGRAM, "CONTAINS", deno.SPDXID),
    relate(deno.SPDXID, "CONTAINS", engine.SPDXID),
    ...parts.flatMap(({ id, files }) => files.map(({ SPDXID }) => relate(id, "CONTAINS", SPDXID))),
    ...made.map(({ SPDXID }) => relate(SPDXID, "GENERATED_FROM", PROGRAM)),
  ];
  const files = [...parts.flatMap(({ files }) => files), ...made];
  checkNames([...packages, ...files].map(({ SPDXID }) => SPDXID));
  const name = `ambassador-${config.version}`;
  const sums = new TextEncoder().encode(JSON.stringify([packages, files, createdMs]));
  return {
    spdxVersion: "SPDX-2.3",
    dataLicense: "CC0-1.0",
    SPDXID: DOCUMENT,
    name,
    documentNamespace: `https://spdx.org/spdxdocs/${name}-${await digest("SHA-256", sums)}`,
    creationInfo: {
      created: new Date(createdMs).toISOString().replace(/\.\d+Z$/, "Z"),
      creators: [`Tool: ambassador-build-sbom-${config.version}`],
    },
    packages,
    files,
    relationships,
  };
}

/** What is the same of every package until somebody says more. */
const UNKNOWN = { supplier: "NOASSERTION", copyrightText: "NOASSERTION" } as const;

function program(
  files: readonly SpdxFile[],
  origin: SbomOptions["origin"],
): Omit<SpdxPackage, "filesAnalyzed"> {
  const { version } = config;
  const at = origin && `${origin.repository}@${origin.revision}`;
  return {
    SPDXID: PROGRAM,
    name: "ambassador",
    versionInfo: version,
    primaryPackagePurpose: "APPLICATION",
    ...UNKNOWN,
    downloadLocation: at === undefined ? "NOASSERTION" : `git+${at}`,
    licenseConcluded: config.license,
    licenseDeclared: config.license,
    ...(files.some(({ fileName }) => fileName.startsWith("./offline/")) && {
      comment: "What is in offline/ stands in for packages of JSR, which was out of reach.",
    }),
    externalRefs: [purl(`pkg:generic/ambassador@${version}`)],
  };
}

function jsrPackage(
  { id, registry, name, version }: Part & JsrModule,
): Omit<SpdxPackage, "filesAnalyzed"> {
  return {
    SPDXID: id,
    name,
    versionInfo: version,
    primaryPackagePurpose: "LIBRARY",
    ...UNKNOWN,
    downloadLocation: `${registry}${name}/${version}`,
    licenseConcluded: licenseOf(name),
    licenseDeclared: licenseOf(name),
    // The type that is proposed for JSR: none is agreed on yet.
    externalRefs: [purl(`pkg:jsr/${name.replace("@", "%40")}@${version}`)],
  };
}

/** That of all of @std; nothing else is imported. */
function licenseOf(name: string): string {
  return name.startsWith("@std/") ? "MIT" : "NOASSERTION";
}

/** The runtime that is embedded, which is of the version of the Deno that embeds it, and its engine. */
function runtime(): readonly [SpdxPackage, SpdxPackage] {
  const { deno, v8 } = Deno.version;
  const [engine = v8] = v8.split("-");
  return [
    {
      SPDXID: "SPDXRef-Package-deno",
      name: "deno",
      versionInfo: deno,
      primaryPackagePurpose: "FRAMEWORK",
      ...UNKNOWN,
      downloadLocation: `https://github.com/denoland/deno/releases/tag/v${deno}`,
      filesAnalyzed: false,
      licenseConcluded: "NOASSERTION",
      licenseDeclared: "MIT",
      comment: "The runtime (denort) that every executable embeds. Of what it is made of itself, " +
        "V8 alone is listed here; the rest are the crates in the Cargo.lock of that release.",
      externalRefs: [
        purl(`pkg:github/denoland/deno@v${deno}`),
        {
          referenceCategory: "SECURITY",
          referenceType: "cpe23Type",
          referenceLocator: `cpe:2.3:a:deno:deno:${deno}:*:*:*:*:*:*:*`,
        },
      ],
    },
    {
      SPDXID: "SPDXRef-Package-v8",
      name: "v8",
      versionInfo: v8,
      primaryPackagePurpose: "LIBRARY",
      ...UNKNOWN,
      downloadLocation: "https://github.com/denoland/rusty_v8",
      filesAnalyzed: false,
      licenseConcluded: "NOASSERTION",
      licenseDeclared: "BSD-3-Clause",
      externalRefs: [purl(`pkg:github/v8/v8@${engine}`)],
    },
  ];
}

function purl(referenceLocator: string): SpdxPackage["externalRefs"][number] {
  return { referenceCategory: "PACKAGE-MANAGER", referenceType: "purl", referenceLocator };
}

/** One sum over the sums of the files, as SPDX 2.3 says in its clause 7.9. */
async function analyzed(
  { files }: Part,
): Promise<Pick<SpdxPackage, "filesAnalyzed" | "packageVerificationCode">> {
  const sums = files.map(({ checksums }) => checksums[0]?.checksumValue ?? "").sort().join("");
  const packageVerificationCodeValue = await digest("SHA-1", new TextEncoder().encode(sums));
  return { filesAnalyzed: true, packageVerificationCode: { packageVerificationCodeValue } };
}

async function file(
  path: string,
  content: Uint8Array<ArrayBuffer>,
  { license, of }: { readonly license: string; readonly of?: string },
): Promise<SpdxFile> {
  return {
    SPDXID: idOf("File", of === undefined ? path : `${of}/${path}`),
    fileName: `./${path}`,
    checksums: [
      { algorithm: "SHA1", checksumValue: await digest("SHA-1", content) },
      { algorithm: "SHA256", checksumValue: await digest("SHA-256", content) },
    ],
    fileTypes: [path.endsWith(".json") ? "TEXT" : "SOURCE"],
    licenseConcluded: license,
    licenseInfoInFiles: ["NOASSERTION"],
    copyrightText: "NOASSERTION",
  };
}

async function digest(
  name: "SHA-1" | "SHA-256",
  content: Uint8Array<ArrayBuffer>,
): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest(name, content)).toHex();
}

/** A name for the list: letters, digits, dots and dashes alone. */
function idOf(kind: "File" | "Package", name: string): string {
  return `SPDXRef-${kind}-${name.replace(/^@/, "").replaceAll(/[^A-Za-z0-9.]+/g, "-")}`;
}

function checkNames(names: readonly string[]): void {
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new Error(`two things in the list would be called ${twice}`);
}

function relate(
  spdxElementId: string,
  relationshipType: Relationship["relationshipType"],
  relatedSpdxElement: string,
): Relationship {
  return { spdxElementId, relationshipType, relatedSpdxElement };
}

/** `https://HOST/@std/log/0.224.14/logger.ts`, taken apart. */
function readJsr(specifier: string): JsrModule {
  const parts = /^(https?:\/\/[^/]+\/)(@[^/]+\/[^/]+)\/([^/]+)\/(.+)$/.exec(specifier);
  const [, registry = "", name = "", version = "", path = ""] = parts ?? [];
  if (parts === null) throw new Error(`${specifier}: neither of this repository nor of JSR`);
  return { registry, name, version, path };
}

/** What `deno info --json` says, as far as it is read here. */
interface Graph {
  readonly roots: readonly string[];
  readonly modules: readonly {
    readonly kind?: string;
    readonly specifier: string;
    readonly local?: string | null;
    readonly size?: number;
    readonly error?: string;
    readonly dependencies?: readonly { readonly code?: { readonly specifier: string } }[];
  }[];
  readonly redirects: Readonly<Record<string, string>>;
}

/**
 * The modules that an executable embeds: those that the program's code comes to, not those that only
 * types are taken from, nor what the runtime brings.
 *
 * @param importMap `deno.json`, or the stand-ins.
 * @param env Variables for Deno beside those that there are.
 * @throws {Error} if a module is missing
 */
export async function readModules(
  importMap: string,
  env: Readonly<Record<string, string>> = {},
): Promise<Module[]> {
  const { roots, modules, redirects } = await readGraph(importMap, env);
  const known = new Map(modules.map((module) => [module.specifier, module]));
  const found = new Map<string, Module>();
  const left = [...roots];
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    const specifier = redirects[next] ?? next;
    const module = known.get(specifier);
    if (found.has(specifier) || module?.kind === "node") continue;
    if (module?.error !== undefined || !module?.local) {
      throw new Error(`${specifier}: ${module?.error ?? "not among the modules"}`);
    }
    // In the cache more follows: what the server said of it.
    const content = (await Deno.readFile(module.local)).slice(0, module.size);
    found.set(specifier, { specifier, content });
    left.push(...module.dependencies?.flatMap(({ code }) => code?.specifier ?? []) ?? []);
  }
  return [...found.values()].sort((a, b) => a.specifier < b.specifier ? -1 : 1);
}

async function readGraph(
  importMap: string,
  env: Readonly<Record<string, string>>,
): Promise<Graph> {
  const args = ["info", "--json", `--import-map=${pathOf(importMap)}`, pathOf("main.ts")];
  const command = new Deno.Command(Deno.execPath(), { args, env, cwd: pathOf(""), stdin: "null" });
  const { success, stdout, stderr } = await command.output();
  const text = new TextDecoder();
  if (!success) throw new Error(`deno info: ${text.decode(stderr).trim()}`);
  return JSON.parse(text.decode(stdout));
}
