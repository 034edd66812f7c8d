// Hundreds of busy connections where the program can't reach itself, in the network that this is run
// in: its loopback goes down while the program forwards between two others. Prints how evenly they were
// served. Another network, behind a pair of interfaces, has the Redis and the clients.

import { pathOf } from "../../build/sources.ts";
import { startProgram, until } from "./mod.ts";

const [HERE, THERE] = ["192.0.2.1", "192.0.2.2"];
const CONNECTIONS = 300;

async function run(...command: string[]): Promise<string> {
  const [executable = "", ...args] = command;
  const { success, stdout } = await new Deno.Command(executable, { args, stderr: "inherit" })
    .output();
  if (!success) throw new Error(`${command.join(" ")} has failed`);
  return new TextDecoder().decode(stdout);
}

async function measure(): Promise<void> {
  await using there = startProgram(["60"], { command: ["unshare", "--net", "sleep"] });
  const inThere = ["nsenter", "--target", `${there.pid}`, "--net"];
  const ownNetwork = Deno.readLinkSync("/proc/self/ns/net");
  await until(
    () => Deno.readLinkSync(`/proc/${there.pid}/ns/net`) !== ownNetwork,
    "the other network is there",
  );
  await run("ip", "link", "add", "here", "type", "veth", "peer", "name", "there");
  await run("ip", "link", "set", "there", "netns", `${there.pid}`);
  await run("ip", "address", "add", `${HERE}/24`, "dev", "here");
  await run("ip", "link", "set", "here", "up");
  await run(...inThere, "ip", "address", "add", `${THERE}/24`, "dev", "there");
  await run(...inThere, "ip", "link", "set", "there", "up");
  const redisOptions = ["--protected-mode", "no", "--save", "", "--appendonly", "no"];
  await using redis = startProgram(
    ["redis-server", "--port", "6379", "--bind", THERE, ...redisOptions],
    { command: inThere },
  );
  await redis.output(/Ready to accept connections/);
  await using program = startProgram([`${HERE}:6379=${THERE}:6379`]);
  await program.line(/ ready /);
  await run("ip", "link", "set", "lo", "down");
  const load = ["run", "--quiet", "--no-config", "--allow-all", pathOf("bench/closed_loop.ts")];
  const figures = await run(
    ...[...inThere, Deno.execPath(), ...load, HERE, "6379", `${CONNECTIONS}`, "2"],
  );
  console.log(figures.trim());
}

if (import.meta.main) await measure();
