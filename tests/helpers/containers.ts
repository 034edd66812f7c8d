// Real containers, networks and images for tests, all of which are gone at the end of the block.
// Knows docker and podman by the commands that they share, and of the ambassador nothing.

import { copyLibraries } from "../../build/libraries.ts";
import { type Engine, type Ran, run } from "../../build/engine.ts";
import { DNSMASQ_ARGS } from "./dns.ts";
import { until } from "./mod.ts";
import { programPath } from "./needs.ts";

/** What a container is started with. */
export interface ContainerOptions {
  /** Networks that it is on. */
  readonly networks?: readonly string[];
  /** Its names on those networks. */
  readonly names?: readonly string[];
  /** Its variables. */
  readonly env?: Readonly<Record<string, string>>;
  /** Further flags of `run`. */
  readonly flags?: readonly string[];
  /** What follows the image's name. */
  readonly args?: readonly string[];
}

/** Everything that a test makes with the engine. */
export class Containers implements AsyncDisposable {
  readonly #engine: Engine;
  readonly #id = `ambassador-test-${crypto.randomUUID().slice(0, 8)}`;
  readonly #made: (readonly string[])[] = [];

  /** Makes nothing yet. */
  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** Runs a command of the engine to its end, whatever that is. */
  async try(...args: readonly string[]): Promise<Ran> {
    return await run([this.#engine, ...args]);
  }

  /** The same, for a command that has to succeed; what it printed. */
  async command(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.try(...args);
    if (code !== 0) throw new Error(`${this.#engine} ${args.join(" ")}: ${code}\n${stderr}`);
    return stdout;
  }

  /** Makes a network; one that is internal leads nowhere else. Its name. */
  async network({ internal = false, subnet = "" } = {}): Promise<string> {
    const name = `${this.#id}-${this.#made.length}`;
    this.#made.push(["network", "rm", name]);
    const flags = [...(internal ? ["--internal"] : []), ...(subnet ? [`--subnet=${subnet}`] : [])];
    await this.command("network", "create", ...flags, name);
    return name;
  }

  /** Starts a container; its id. */
  async start(image: string, options: ContainerOptions = {}): Promise<string> {
    const { networks = [], names = [], env = {}, flags = [], args = [] } = options;
    const name = `${this.#id}-${this.#made.length}`;
    this.#made.push(["rm", "-f", name]);
    const aliases = names.flatMap((alias) => ["--network-alias", alias]);
    const [first, ...others] = networks;
    await this.command(
      "create",
      ...["--name", name],
      ...(first === undefined ? [] : ["--network", first, ...aliases]),
      ...Object.entries(env).flatMap(([variable, value]) => ["-e", `${variable}=${value}`]),
      ...flags,
      image,
      ...args,
    );
    for (const network of others) {
      const also = names.flatMap((alias) => ["--alias", alias]);
      await this.command("network", "connect", ...also, network, name);
    }
    await this.command("start", name);
    return name;
  }

  /** What `inspect` says of a container or an image in the words of a template. */
  async inspect(name: string, template: string): Promise<string> {
    return await this.command("inspect", "--format", template, name);
  }

  /** Its address on a network. */
  async address(container: string, network: string): Promise<string> {
    const template = `{{(index .NetworkSettings.Networks "${network}").IPAddress}}`;
    return await this.inspect(container, template);
  }

  /** Everything that a container has logged. */
  async logs(container: string): Promise<string> {
    const { stdout, stderr } = await this.try("logs", container);
    return `${stdout}\n${stderr}`;
  }

  /** Waits for a line in a container's log. */
  async line(container: string, pattern: RegExp): Promise<void> {
    let logs = "";
    try {
      await until(
        async () => pattern.test(logs = await this.logs(container)),
        `${pattern} is logged`,
      );
    } catch (cause) {
      throw new Error(`no ${pattern} in the log of ${container}:\n${logs}`, { cause });
    }
  }

  /** Makes an image of a folder that holds a Dockerfile; its name. */
  async image(folder: string): Promise<string> {
    const name = `localhost/${this.#id}:${this.#made.length}`;
    this.#made.push(["rmi", "-f", name]);
    await this.command("build", "-q", "-t", name, folder);
    return name;
  }

  /** An image's name to build by other means; removed at the end as well. */
  imageName(): string {
    const name = `localhost/${this.#id}:${this.#made.length}`;
    this.#made.push(["rmi", "-f", name]);
    return name;
  }

  /** Removes containers first, then networks and images. */
  async [Symbol.asyncDispose](): Promise<void> {
    const last = this.#made.splice(0).reverse();
    for (const command of last.filter(([verb]) => verb === "rm")) await this.try(...command);
    for (const command of last.filter(([verb]) => verb !== "rm")) await this.try(...command);
  }
}

/** An image of this machine's own Redis, server and client. */
export function makeRedisImage(containers: Containers): Promise<string> {
  const server = ["/redis-server", "--save", "", "--protected-mode", "no"];
  return makeProgramImage(containers, ["redis-server", "redis-cli"], server);
}

/** An image of this machine's own dnsmasq, which listens on port 5353, as `DNSMASQ_ARGS` says. */
export function makeDnsmasqImage(containers: Containers): Promise<string> {
  const server = ["/dnsmasq", ...DNSMASQ_ARGS, "--port=5353"];
  return makeProgramImage(containers, ["dnsmasq"], server);
}

/** An image of installed programs and the libraries that they load, with what it runs. */
async function makeProgramImage(
  containers: Containers,
  programs: readonly string[],
  entrypoint: readonly string[],
): Promise<string> {
  const folder = await Deno.makeTempDir();
  try {
    for (const program of programs) {
      const path = programPath(program);
      copyLibraries(path, "", `${folder}/root`);
      await Deno.copyFile(path, `${folder}/root/${program}`);
    }
    const file = ["FROM scratch", "COPY root/ /", "USER 65532"];
    const run = `ENTRYPOINT ${JSON.stringify(entrypoint)}`;
    await Deno.writeTextFile(`${folder}/Dockerfile`, [...file, run].join("\n"));
    return await containers.image(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
