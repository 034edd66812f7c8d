// The workflows can't run where the tests do. So each of their steps is a call to a task, and what is
// left to check is that they are well formed and call tasks that there are.

import { assert, assertEquals } from "@std/assert";
import config from "../../deno.json" with { type: "json" };
import { outputOf, parseCompileCommand, TARGETS } from "../../build/compile.ts";
import { parseImageCommand } from "../../build/image.ts";
import { EXTRAS, parseReleaseCommand } from "../../build/release.ts";
import { ROOT } from "../helpers/mod.ts";
import { parseYaml, type Yaml, type YamlMap } from "../helpers/yaml.ts";

/** How a step begins that calls no task: packages, what is tried of a release, and the release. */
const OTHERS = [
  "sudo apt-get install -y --no-install-recommends ",
  "deno run -A build/tls_smoke.ts ",
  "gh release create ",
];

const ACTIONS = new Set([
  "actions/attest",
  "actions/checkout",
  "denoland/setup-deno",
  "docker/login-action",
  "docker/setup-buildx-action",
]);

function readWorkflow(name: string): YamlMap {
  const text = Deno.readTextFileSync(new URL(`.github/workflows/${name}`, ROOT));
  const [workflow, ...more] = parseYaml(text);
  assertEquals(more, []);
  return workflow as YamlMap;
}

interface Step {
  readonly uses?: string;
  readonly run?: string;
  readonly with?: YamlMap;
}

function stepsOf(workflow: YamlMap): Step[] {
  const jobs = Object.values(workflow["jobs"] as Readonly<Record<string, YamlMap>>);
  return jobs.flatMap((job) => {
    assert(typeof job["runs-on"] === "string");
    const steps = job["steps"] as readonly Step[];
    assertEquals(steps[0]?.uses?.split("@")[0], "actions/checkout");
    return steps;
  });
}

/** The tasks that a workflow calls, with their arguments. */
function tasksOf(workflow: YamlMap): string[][] {
  const tasks: string[][] = [];
  for (const { uses, run } of stepsOf(workflow)) {
    assert((uses === undefined) !== (run === undefined), "a step either uses or runs");
    const [action = "", version = ""] = uses?.split("@") ?? [];
    if (uses !== undefined) assert(ACTIONS.has(action) && /^v\d+$/.test(version), uses);
    if (run === undefined || OTHERS.some((start) => run.startsWith(start))) continue;
    // An expression of the workflow is one word, whatever it stands for.
    const [deno, task, ...words] = run.replaceAll(/\$\{\{.*?\}\}/g, "x").split(" ");
    assertEquals([deno, task], ["deno", "task"]);
    tasks.push(words);
  }
  return tasks;
}

for (const name of ["ci.yml", "release.yml"]) {
  Deno.test(`.github/workflows/${name} calls tasks that there are`, () => {
    for (const [task = ""] of tasksOf(readWorkflow(name))) {
      assert(Object.hasOwn(config.tasks, task), `there is no task ${task}`);
    }
  });

  Deno.test(`.github/workflows/${name} gives the tasks arguments that they understand`, () => {
    for (const [task, ...args] of tasksOf(readWorkflow(name))) {
      if (task === "compile") parseCompileCommand(args);
      if (task === "image") parseImageCommand(args);
      if (task === "release:files") parseReleaseCommand(args);
    }
  });

  Deno.test(`.github/workflows/${name} asks for no more rights than it needs`, () => {
    const workflow = readWorkflow(name);
    assertEquals(workflow["permissions"], { contents: "read" });
    const jobs = Object.entries(workflow["jobs"] as Readonly<Record<string, YamlMap>>);
    for (const [job, { permissions }] of jobs) {
      const publishes = `${name} ${job}` === "release.yml executables";
      const rights = { contents: "write", "id-token": "write", attestations: "write" };
      assertEquals(permissions, publishes ? rights : undefined, job);
    }
  });

  Deno.test(`.github/workflows/${name} takes the newest Deno that the tasks are made for`, () => {
    const readme = Deno.readTextFileSync(new URL("README.md", ROOT));
    const newest = /npx -y deno@([\d.]+) task/.exec(readme)?.[1] ?? "";
    const dockerfile = Deno.readTextFileSync(new URL("Dockerfile", ROOT));
    assert(dockerfile.includes(`ARG DENO_VERSION=${newest}\n`));
    for (const { uses, with: settings } of stepsOf(readWorkflow(name))) {
      if (!uses?.startsWith("denoland/setup-deno@")) continue;
      const version = settings?.["deno-version"] as Yaml;
      assert(version === newest || version === "${{ matrix.deno }}", String(version));
    }
  });
}

Deno.test(".github/workflows/release.yml makes all executables, and images for two processors", () => {
  const tasks = tasksOf(readWorkflow("release.yml"));
  assert(tasks.some(([task]) => task === "compile:all"));
  const images = tasks.filter(([task]) => task === "image").map(([, ...args]) =>
    parseImageCommand(args)
  );
  assertEquals(images.map(({ target }) => target).sort(), ["distroless", "scratch"]);
  for (const { platform, push } of images) {
    assertEquals([platform, push], ["linux/amd64,linux/arm64", true]);
  }
  const { version } = config;
  const tags = images.flatMap(({ tags }) => tags).sort();
  assertEquals(tags, [`x:${version}`, `x:${version}-scratch`, "x:latest"]);
});

/** The steps that make and publish the executables. */
function releaseSteps(): readonly Step[] {
  const jobs = readWorkflow("release.yml")["jobs"] as Readonly<Record<string, YamlMap>>;
  return jobs["executables"]?.["steps"] as readonly Step[];
}

/** Whether a name is among those that a shell would make of the patterns. */
function isNamedBy(patterns: readonly string[], name: string): boolean {
  return patterns.some((pattern) =>
    new RegExp(`^${pattern.replaceAll(".", "\\.").replaceAll("*", ".*")}$`).test(name)
  );
}

Deno.test(".github/workflows/release.yml publishes all that release:files writes, and its sums", () => {
  const { run = "" } = releaseSteps().at(-1) ?? {};
  const published = run.split(" ").filter((word) => word.startsWith("dist/"));
  const made = [...Object.keys(TARGETS).map(outputOf), ...EXTRAS.map((name) => `dist/${name}`)];
  for (const name of [...made, "dist/SHA256SUMS"]) assert(isNamedBy(published, name), name);
  assert(run.includes(" --notes-file dist/NOTES.md "));
});

Deno.test(".github/workflows/release.yml says of every file where it was built, before it is published", () => {
  const steps = releaseSteps();
  const written = steps.findIndex(({ run }) => run?.startsWith("deno task release:files "));
  const published = steps.findIndex(({ run }) => run?.startsWith("gh release create "));
  const attests = steps.flatMap(({ uses, with: settings }, index) =>
    uses?.startsWith("actions/attest@") && written < index && index < published ? [settings] : []
  );
  assertEquals(attests.length, 2);
  // Of all that has a sum, and of the executables what is in them.
  assertEquals(attests[0], { "subject-checksums": "dist/SHA256SUMS" });
  assertEquals(attests[1]?.["sbom-path"], "dist/ambassador.spdx.json");
  const executables = [String(attests[1]?.["subject-path"])];
  for (const name of Object.keys(TARGETS).map(outputOf)) assert(isNamedBy(executables, name), name);
  for (const name of EXTRAS) assert(!isNamedBy(executables, `dist/${name}`), name);
});

Deno.test(".github/workflows/release.yml tries TLS on the executable before anything is published", () => {
  const jobs = readWorkflow("release.yml")["jobs"] as Readonly<Record<string, YamlMap>>;
  const lines = releaseSteps().map(({ run = "" }) => run);
  const compiled = lines.indexOf("deno task compile:all");
  const tried = lines.findIndex((line) => line.startsWith("deno run -A build/tls_smoke.ts "));
  const published = lines.findIndex((line) => line.startsWith("gh release create "));
  assert(compiled >= 0 && compiled < tried && tried < published, lines.join("\n"));
  const [executable = "", ...more] = lines[tried]?.split(" ").slice(4) ?? [];
  assertEquals(more, []);
  const made = Object.keys(TARGETS).map(outputOf);
  assert(made.includes(executable) && executable.includes("x86_64-unknown-linux"), executable);
  // The images are published too.
  for (const [name, { needs }] of Object.entries(jobs)) {
    if (name !== "executables") assertEquals(needs, "executables", name);
  }
});
