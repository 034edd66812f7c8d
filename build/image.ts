// Builds the images, with docker or podman, for this machine or for several platforms. The runtime
// that is embedded is of the version of Deno that runs this: the one that the tests have passed on.

import config from "../deno.json" with { type: "json" };
import { parseOptions } from "./arguments.ts";
import { type Engine, findEngine } from "./engine.ts";

/** The Dockerfile's targets. */
export const IMAGE_TARGETS = ["distroless", "scratch"] as const;

/** What is to be built. */
export interface ImageOptions {
  /** One of {@linkcode IMAGE_TARGETS}. */
  readonly target: string;
  /** Names of the image. */
  readonly tags: readonly string[];
  /** Such as `linux/amd64,linux/arm64`; undefined is this machine's. */
  readonly platform?: string | undefined;
  /** Send it to the registry that the tags name, with its provenance. */
  readonly push: boolean;
}

/** What the image says about its origin. */
export interface Origin {
  /** The version of Deno to embed. */
  readonly deno: string;
  /** The commit, if it is known. */
  readonly revision: string;
  /** The address of the repository, if it is known. */
  readonly source: string;
}

/**
 * The command that builds an image.
 *
 * @throws {SyntaxError} if the engine can't do what is asked for
 */
export function imageCommand(engine: Engine, image: ImageOptions, origin: Origin): string[] {
  if (engine === "podman" && (image.push || image.platform?.includes(","))) {
    throw new SyntaxError("several platforms and --push need docker with buildx");
  }
  const build = engine === "docker"
    ? ["docker", "buildx", "build"]
    // The OCI format has no place for the health check.
    : ["podman", "build", "--format=docker"];
  const push = image.push ? ["--push", "--provenance=mode=max", "--sbom=true"] : ["--load"];
  return [
    ...build,
    `--target=${image.target}`,
    ...image.tags.map((tag) => `--tag=${tag}`),
    ...(image.platform === undefined ? [] : [`--platform=${image.platform}`]),
    `--build-arg=DENO_VERSION=${origin.deno}`,
    `--build-arg=VERSION=${config.version}`,
    `--build-arg=REVISION=${origin.revision}`,
    `--build-arg=SOURCE=${origin.source}`,
    ...(engine === "docker" ? push : []),
    ".",
  ];
}

/**
 * Reads `[--target TARGET] [--tag NAME]... [--release NAME] [--platform LIST] [--push] [--print]`.
 *
 * @throws {SyntaxError} if it can't be read
 */
export function parseImageCommand(args: readonly string[]): ImageOptions & { print: boolean } {
  const { tag, push = false, print = false, ...values } = parseOptions(args, {
    target: { type: "string" },
    tag: { type: "string", multiple: true },
    release: { type: "string" },
    platform: { type: "string" },
    push: { type: "boolean" },
    print: { type: "boolean" },
  });
  const target = values.target ?? IMAGE_TARGETS[0];
  if (!IMAGE_TARGETS.some((known) => known === target)) {
    throw new SyntaxError(`"${target}": neither ${IMAGE_TARGETS.join(" nor ")}`);
  }
  const isFirst = target === IMAGE_TARGETS[0];
  const released = values.release === undefined ? [] : releaseTags(values.release, isFirst);
  const tags = [...tag ?? [], ...released];
  if (tags.length === 0) tags.push(isFirst ? "ambassador" : `ambassador:${target}`);
  return { target, tags, platform: values.platform, push, print };
}

/** The names of a released image: with its version, and the first target without it too. */
function releaseTags(name: string, isFirst: boolean): string[] {
  const { version } = config;
  return isFirst ? [`${name}:${version}`, `${name}:latest`] : [`${name}:${version}-scratch`];
}

/** Where this comes from, as far as the environment and the running Deno say. */
export function readOrigin(): Origin {
  const get = (name: string): string => Deno.env.get(name) ?? "";
  const repository = get("GITHUB_REPOSITORY");
  return {
    deno: Deno.version.deno,
    revision: get("GITHUB_SHA"),
    source: repository === "" ? "" : `${get("GITHUB_SERVER_URL")}/${repository}`,
  };
}

if (import.meta.main) {
  try {
    const { print, ...image } = parseImageCommand(Deno.args);
    // What would be run can be looked at on any machine.
    const engine = print && (image.push || image.platform) ? "docker" : await findEngine();
    const [program = "", ...args] = imageCommand(engine, image, readOrigin());
    if (print) {
      console.log([program, ...args].join(" "));
    } else {
      const { code } = await new Deno.Command(program, { args }).spawn().status;
      Deno.exit(code);
    }
  } catch (error) {
    console.error(`image: ${error instanceof Error ? error.message : error}`);
    Deno.exit(2);
  }
}
