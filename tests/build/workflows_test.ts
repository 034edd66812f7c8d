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
  "sudo apt-get update -q",
  "sudo apt-get install -y -q --no-install-recommends ",
  "sudo RUNLEVEL=1 apt-get install -y -q --no-install-recommends ",
  "deno run -A build/tls_smoke.ts ",
  "sha256sum --check --strict ",
  "gh release create ",
];

const ACTIONS = new Set([
  "actions/attest",
  "actions/checkout",
  "actions/download-artifact",
  "actions/upload-artifact",
  "denoland/setup-deno",
  "docker/login-action",
  "docker/setup-buildx-action",
]);

/** An action by its commit, followed by the version; or by a version alone, which can be moved. */
const ACTION = /^ +- uses: ([\w/-]+)@(?:([0-9a-f]{40}) # (v\d+\.\d+\.\d+)|(v\d+))$/;

function textOf(name: string): string {
  return Deno.readTextFileSync(new URL(`.github/workflows/${name}`, ROOT));
}

function readWorkflow(name: string): YamlMap {
  const [workflow, ...more] = parseYaml(textOf(name).replaceAll(/ # v[\d.]+$/gm, ""));
  assertEquals(more, []);
  return workflow as YamlMap;
}

interface Step {
  readonly uses?: string;
  readonly run?: string;
  readonly with?: YamlMap;
  readonly env?: YamlMap;
}

/** The jobs that have steps, and not those that are a whole workflow. */
function jobsOf(workflow: YamlMap): [string, YamlMap][] {
  const jobs = Object.entries(workflow["jobs"] as Readonly<Record<string, YamlMap>>);
  return jobs.filter(([, { uses }]) => uses === undefined);
}

function stepsOf(workflow: YamlMap): Step[] {
  return jobsOf(workflow).flatMap(([, job]) => {
    assert(typeof job["runs-on"] === "string");
    return job["steps"] as readonly Step[];
  });
}

/** The tasks that a workflow calls, with their arguments. */
function tasksOf(workflow: YamlMap): string[][] {
  const tasks: string[][] = [];
  for (const { uses, run } of stepsOf(workflow)) {
    assert((uses === undefined) !== (run === undefined), "a step either uses or runs");
    if (uses !== undefined) assert(ACTIONS.has(uses.split("@")[0] ?? ""), uses);
    if (run === undefined || OTHERS.some((start) => run.startsWith(start))) continue;
    // A variable is one word, whatever it stands for.
    const [deno, task, ...words] = run.replaceAll(/"\$[A-Z_]+"/g, "x").split(" ");
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
    for (const [job, { permissions }] of jobsOf(workflow)) {
      const publishes = `${name} ${job}` === "release.yml publish";
      const rights = { contents: "write", "id-token": "write", attestations: "write" };
      assertEquals(permissions, publishes ? rights : undefined, job);
    }
  });

  Deno.test(`.github/workflows/${name} leaves no token in a checkout, and names what it uses by commit`, () => {
    for (const { uses, with: settings } of stepsOf(readWorkflow(name))) {
      if (!uses?.startsWith("actions/checkout@")) continue;
      assertEquals(settings, { "persist-credentials": false });
    }
    const named = new Map<string, string>();
    for (const line of textOf(name).split("\n").filter((line) => /^ +- uses:/.test(line))) {
      const [, action = "", commit, ...versions] = ACTION.exec(line) ?? [];
      assert(action !== "", line);
      const version = `${commit} ${versions.join("")}`;
      assertEquals(named.get(action) ?? version, version, action);
      named.set(action, version);
    }
  });

  Deno.test(`.github/workflows/${name} writes nothing into a shell line but words of its own`, () => {
    for (const { run = "" } of stepsOf(readWorkflow(name))) {
      assert(!run.includes("${{"), run);
      // And what a variable says is one word.
      assert(!run.replaceAll(/"\$[A-Z_]+"/g, "").includes("$"), run);
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

function releaseJob(name: string): YamlMap {
  const job = (readWorkflow("release.yml")["jobs"] as Readonly<Record<string, YamlMap>>)[name];
  assert(job !== undefined, name);
  return job;
}

function releaseSteps(job: string): readonly Step[] {
  return releaseJob(job)["steps"] as readonly Step[];
}

/** Whether a name is among those that a shell would make of the patterns. */
function isNamedBy(patterns: readonly string[], name: string): boolean {
  return patterns.some((pattern) =>
    new RegExp(`^${pattern.replaceAll(".", "\\.").replaceAll("*", ".*")}$`).test(name)
  );
}

Deno.test(".github/workflows/release.yml publishes all that release:files writes, and its sums", () => {
  const { run = "" } = releaseSteps("publish").at(-1) ?? {};
  const published = run.split(" ").filter((word) => word.startsWith("dist/"));
  const made = [...Object.keys(TARGETS).map(outputOf), ...EXTRAS.map((name) => `dist/${name}`)];
  for (const name of [...made, "dist/SHA256SUMS"]) assert(isNamedBy(published, name), name);
  assert(run.includes(" --notes-file dist/NOTES.md "));
});

Deno.test(".github/workflows/release.yml says of every file where it was built, before it is published", () => {
  const steps = releaseSteps("publish");
  const published = steps.findIndex(({ run }) => run?.startsWith("gh release create "));
  const checked = steps.findIndex(({ run }) => run === "sha256sum --check --strict SHA256SUMS");
  const attests = steps.flatMap(({ uses, with: settings }, index) =>
    uses?.startsWith("actions/attest@") && checked < index && index < published ? [settings] : []
  );
  assert(checked >= 0);
  assertEquals(attests.length, 2);
  // Of all that has a sum, and of the executables what is in them.
  assertEquals(attests[0], { "subject-checksums": "dist/SHA256SUMS" });
  assertEquals(attests[1]?.["sbom-path"], "dist/ambassador.spdx.json");
  const executables = [String(attests[1]?.["subject-path"])];
  for (const name of Object.keys(TARGETS).map(outputOf)) assert(isNamedBy(executables, name), name);
  for (const name of EXTRAS) assert(!isNamedBy(executables, `dist/${name}`), name);
});

Deno.test(".github/workflows/release.yml publishes where nothing of this repository runs", () => {
  const lines = releaseSteps("publish").flatMap(({ run }) => run ?? []);
  assert(lines.every((line) => /^(?:sha256sum|gh release create) /.test(line)), lines.join("\n"));
  const actions = releaseSteps("publish").flatMap(({ uses }) => uses?.split("@")[0] ?? []);
  assertEquals([...new Set(actions)], ["actions/download-artifact", "actions/attest"]);
  const [{ with: fetched } = {}] = releaseSteps("publish");
  assertEquals(fetched, { name: "release", path: "dist" });
  const { uses, with: kept } = releaseSteps("build").at(-1) ?? {};
  assert(uses?.startsWith("actions/upload-artifact@"));
  assertEquals(kept, { name: "release", path: "dist", "if-no-files-found": "error" });
});

Deno.test(".github/workflows/release.yml tests the executable before anything is published", () => {
  assertEquals(releaseJob("ci"), { uses: "./.github/workflows/ci.yml" });
  assertEquals(releaseJob("build")["needs"], "ci");
  // The images are published too.
  for (const job of ["publish", "images"]) assertEquals(releaseJob(job)["needs"], "build");
  const steps = releaseSteps("build");
  const lines = steps.map(({ run = "" }) => run);
  const compiled = lines.indexOf("deno task compile:all");
  const tried = lines.findIndex((line) => line.startsWith("deno run -A build/tls_smoke.ts "));
  const tested = lines.indexOf("deno task test:program");
  const written = lines.findIndex((line) => line.startsWith("deno task release:files "));
  assert(compiled >= 0 && compiled < Math.min(tried, tested), lines.join("\n"));
  assert(Math.max(tried, tested) < written, lines.join("\n"));
  const [executable = "", ...more] = lines[tried]?.split(" ").slice(4) ?? [];
  assertEquals(more, []);
  const made = Object.keys(TARGETS).map(outputOf);
  assert(made.includes(executable) && executable.includes("x86_64-unknown-linux"), executable);
  assertEquals(steps[tested]?.env, { AMBASSADOR_BIN: executable });
});

Deno.test("the workflows ignore no test for want of a program: they install what .ci/run does", () => {
  const [, list = ""] = /packages=\(\n(.*?)\n {2}\)/s.exec(
    Deno.readTextFileSync(new URL(".ci/run", ROOT)),
  ) ?? [];
  // It is on the runner already, and no package there.
  const packages = list.trim().split(/\s+/).filter((name) => name !== "chromium");
  assert(packages.length > 20, list);
  const line = `sudo RUNLEVEL=1 apt-get install -y -q --no-install-recommends ${
    packages.join(" ")
  }`;
  const jobs = [...jobsOf(readWorkflow("ci.yml")), ...jobsOf(readWorkflow("release.yml"))];
  const testing = jobs.filter(([, { steps }]) =>
    (steps as readonly Step[]).some(({ run }) => /^deno task (?:ok|test:program)$/.test(run ?? ""))
  );
  assertEquals(testing.map(([job]) => job), ["checks", "executable", "build"]);
  for (const [job, { steps, env }] of testing) {
    assertEquals(env, { AMBASSADOR_TESTS_NEED_ALL: 1 }, job);
    assert((steps as readonly Step[]).some(({ run }) => run === line), `${job}: ${line}`);
  }
});
