// What Prometheus' own tool says of metrics.

import { within } from "./mod.ts";
import { programPath } from "./needs.ts";

/** Has `promtool check metrics` read a text; 0 and no remark if it finds nothing wrong. */
export async function checkMetrics(text: string): Promise<{ code: number; remarks: string }> {
  const child = new Deno.Command(programPath("promtool"), {
    args: ["check", "metrics"],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  await new Blob([text]).stream().pipeTo(child.stdin);
  const { code, stdout, stderr } = await within(child.output(), "promtool");
  return { code, remarks: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
}
