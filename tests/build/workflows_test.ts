// The workflows can't run where the tests do. So each of their steps is a call to a task, and what is
// left to check is that they are well formed and call tasks that there are.

import { assert, assertEquals } from "@std/assert";
import config from "../../deno.json" with { type: "json" };
import { outputOf, parseCompileCommand, TARGETS } from "../../build/compile.ts";
import { parseImageCommand } from "../../build/image.ts";
import { ROOT } from "../helpers/mod.ts";
import { parseYaml, type Yaml, type YamlMap } from "../helpers/yaml.ts";

/** How a step begins that calls no task: packages, what is tried of a release, and the release. */
const OTHERS = [
  "sudo apt-get install -y --no-install-recommends ",
  "deno run -A build/tls_smoke.ts ",
  "gh release create ",
];

const ACTIONS = new Set([
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
    if (uses !== undefined) assert(ACTIONS.has(uses.split("@")[0] ?? ""), uses);
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
    }
  });

  Deno.test(`.github/workflows/${name} asks for no more rights than it needs`, () => {
    const contents = name === "release.yml" ? "write" : "read";
    assertEquals(readWorkflow(name)["permissions"], { contents });
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
});

Deno.test(".github/workflows/release.yml tries TLS on the executable before anything is published", () => {
  const jobs = readWorkflow("release.yml")["jobs"] as Readonly<Record<string, YamlMap>>;
  const steps = jobs["executables"]?.["steps"] as readonly Step[];
  const lines = steps.map(({ run = "" }) => run);
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
