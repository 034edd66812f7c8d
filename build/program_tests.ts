// Prints the test files that start the program: those on which it makes a difference whether that is
// the sources or an executable.

/**
 * What the tests start the program with, from `tests/helpers`. What starts another program
 * (`startOther`) or a forwarder in the test's own process (`serveTls`) has a name of its own.
 */
const STARTS =
  /\b(?:startProgram|runProgram|startRoute|startTraced|programCommand|networkOf|\w+ByTls|startPair|startTls\w+|startUdpRoute|startWired)\(/;

/** The paths in the repository, in their order. */
export function programTests(root: URL): string[] {
  const tests = new URL("tests/", root);
  const paths: string[] = [];
  for (const { name: folder, isDirectory } of Deno.readDirSync(tests)) {
    if (!isDirectory) continue;
    for (const { name } of Deno.readDirSync(new URL(`${folder}/`, tests))) {
      if (!name.endsWith("_test.ts")) continue;
      const text = Deno.readTextFileSync(new URL(`${folder}/${name}`, tests));
      if (STARTS.test(text)) paths.push(`tests/${folder}/${name}`);
    }
  }
  return paths.sort();
}

if (import.meta.main) console.log(programTests(new URL("../", import.meta.url)).join(" "));
