// A systemd of the test's own, in namespaces of its own, with one service: what a unit says is enforced
// by nothing else. It sees the files and the network of this machine, and no other process. Only for
// root, and only where cgroups are of the first version, with a hierarchy for systemd.

import { until, within } from "./mod.ts";
import { type Ability, findOnPath, LINUX, programPath, ROOT_RIGHTS } from "./needs.ts";
import { type Ran, run } from "./run.ts";

/** A service under a systemd of its own. */
export interface Service extends AsyncDisposable {
  /** What it has written to stderr so far. */
  log(): string;
  /** Waits for a line of that. */
  line(pattern: RegExp): Promise<void>;
  /** Runs `systemctl` on this systemd. */
  systemctl(...args: readonly string[]): Promise<Ran>;
  /** A property of the service. */
  show(property: string): Promise<string>;
  /** What the kernel says of the service's process: a file of its folder in /proc. */
  proc(file: string): Promise<string>;
}

const NAME = "ambassador.service";
/** Where systemd keeps groups of processes. */
const GROUPS = "/sys/fs/cgroup/systemd";

/** In a group of its own it does not take the place of a systemd that runs this machine. */
const OUTER = `
  mkdir "$1" && echo $$ > "$1/cgroup.procs" &&
  exec unshare --pid --fork --kill-child --mount --mount-proc --cgroup --uts --ipc sh -c "$3" sh "$2"`;

/**
 * What has to be mounted. Where nothing can be made beside its one hierarchy, systemd takes no others.
 * What is not shared hides the files of LoadCredential=.
 */
const MOUNTS = `
  mount --make-rprivate / &&
  mount -t tmpfs tmpfs /run &&
  mount -t tmpfs tmpfs /sys/fs/cgroup &&
  mkdir ${GROUPS} &&
  mount -t cgroup -o none,name=systemd cgroup ${GROUPS} &&
  mount -o remount,ro /sys/fs/cgroup &&
  mount --make-rshared /`;
const INNER = `${MOUNTS} &&
  container=other SYSTEMD_UNIT_PATH="$1" exec /lib/systemd/systemd --system --unit=${NAME}`;

/** Starts systemd with this unit and nothing else; `settings` stand in its part Service too. */
export async function startService(unit: string, settings: readonly string[]): Promise<Service> {
  const folder = await Deno.makeTempDir();
  const group = `${GROUPS}/ambassador-test-${crypto.randomUUID()}`;
  await Deno.mkdir(`${folder}/units/${NAME}.d`, { recursive: true });
  await Deno.writeTextFile(`${folder}/log`, "");
  await Deno.writeTextFile(`${folder}/units/${NAME}`, unit);
  await Deno.writeTextFile(
    `${folder}/units/${NAME}.d/test.conf`,
    // The targets that a whole system has are not there.
    ["[Unit]", "DefaultDependencies=no", "[Service]", `StandardError=append:${folder}/log`]
      .concat(settings, "").join("\n"),
  );
  const child = new Deno.Command("sh", {
    args: ["-c", OUTER, "sh", group, `${folder}/units`, INNER],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  let hasEnded = false;
  const ended = child.status.then(() => hasEnded = true);
  const log = (): string => Deno.readTextFileSync(`${folder}/log`);
  async function inside(...command: readonly string[]): Promise<Ran> {
    const children = await Deno.readTextFile(`/proc/${child.pid}/task/${child.pid}/children`);
    const target = ["--target", children.trim(), "--mount", "--pid"];
    return await run("nsenter", [...target, ...command]);
  }
  const systemctl = (...args: readonly string[]): Promise<Ran> =>
    inside("systemctl", "--no-pager", ...args);
  const show = async (property: string): Promise<string> =>
    (await systemctl("show", "--value", "--property", property, NAME)).text.trim();
  return {
    log,
    systemctl,
    show,
    async line(pattern): Promise<void> {
      try {
        await until(() => hasEnded || pattern.test(log()), `the service logs ${pattern}`);
      } catch (cause) {
        const { text } = await systemctl("status", NAME);
        throw new Error(`no line ${pattern} in:\n${log()}${text}`, { cause });
      }
      if (hasEnded) throw new Error("systemd has ended");
    },
    async proc(file): Promise<string> {
      return (await inside("cat", `/proc/${await show("MainPID")}/${file}`)).text;
    },
    async [Symbol.asyncDispose](): Promise<void> {
      if (!hasEnded) child.kill("SIGKILL");
      await within(ended, "systemd to end");
      await until(() => removeGroups(group), "the groups of systemd are empty");
      await Deno.remove(folder, { recursive: true });
    },
  };
}

/** Whether a cgroup and those below it are gone. */
function removeGroups(group: string): boolean {
  try {
    for (const { name, isDirectory } of Deno.readDirSync(group)) {
      if (isDirectory) removeGroups(`${group}/${name}`);
    }
    Deno.removeSync(group);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return true;
    // Its processes are still ending.
    return false;
  }
}

/** Found out once, and only where a test asks. */
let isHere: boolean | undefined;

/** A systemd that can run a service for a test. */
export const SYSTEMD: Ability = {
  name: "a systemd that can run in namespaces",
  get isHere(): boolean {
    return isHere ??= canRun();
  },
};

/** Tries what would have to be set up, without systemd itself. */
function canRun(): boolean {
  if (!LINUX.isHere || !ROOT_RIGHTS.isHere) return false;
  const programs = ["unshare", "nsenter", "systemctl"];
  if (programs.some((name) => findOnPath(name) === undefined)) return false;
  const script = `[ -d ${GROUPS} ] && [ -x /lib/systemd/systemd ] &&
    unshare --pid --fork --mount --mount-proc --cgroup --uts --ipc sh -c '${MOUNTS}'`;
  return new Deno.Command(programPath("sh"), { args: ["-c", script], stdin: "null" })
    .outputSync().success;
}
