import { assert, assertEquals, assertMatch } from "@std/assert";
import { createLog } from "../../src/base/log.ts";
import { pause } from "../../src/base/time.ts";
import { CredentialFiles } from "../../src/net/credential_files.ts";
import { createCa, type Issued, type RootCa } from "../helpers/certificates.ts";
import { until, within } from "../helpers/mod.ts";
import { needs } from "../helpers/needs.ts";

const OPTIONS = { ...needs("openssl"), sanitizeOps: true, sanitizeResources: true };

/** Files in use, what is logged of them, and a look at them. */
interface Watched extends AsyncDisposable {
  readonly files: CredentialFiles;
  /** The lines since the last call, without their time. */
  takeLines(): string[];
  /** Looks again and again until this is disposed. */
  begin(): void;
  /** Looks as SIGHUP does. */
  look(): Promise<void>;
  /** Where the certificate, the key and the CA lie. */
  readonly paths: { readonly cert: string; readonly key: string; readonly ca: string };
  /** Replaces one: writes another file and renames it. */
  rename(path: string, text: string): Promise<void>;
}

async function watch(ca: RootCa, { cert, key }: Pick<Issued, "cert" | "key">): Promise<Watched> {
  const folder = await Deno.makeTempDir({ dir: ca.directory });
  const paths = { cert: `${folder}/tls.crt`, key: `${folder}/tls.key`, ca: `${folder}/ca.crt` };
  await Deno.writeTextFile(paths.cert, cert);
  await Deno.writeTextFile(paths.key, key);
  await Deno.writeTextFile(paths.ca, ca.pem);
  const files = await CredentialFiles.open({
    tlsCert: { option: "AMBASSADOR_TLS_CERT", path: paths.cert },
    tlsKey: { option: "AMBASSADOR_TLS_KEY", path: paths.key },
    tlsCa: { option: "AMBASSADOR_TLS_CA", path: paths.ca },
    tlsClientCa: undefined,
  });
  const lines: string[] = [];
  const write = (line: string): void =>
    void lines.push(line.replace(/^\S+ /, "").replaceAll(folder, "…"));
  const log = createLog({ level: "debug", format: "text", write });
  const stop = new AbortController();
  let watching = Promise.resolve();
  return {
    begin: () => void (watching = files.watch(log, stop.signal)),
    files,
    paths,
    takeLines: () => lines.splice(0),
    look: () => within(files.look(log, stop.signal), "a look"),
    async rename(path, text): Promise<void> {
      await Deno.writeTextFile(`${path}.new`, text);
      await Deno.rename(`${path}.new`, path);
    },
    async [Symbol.asyncDispose](): Promise<void> {
      stop.abort();
      await watching;
    },
  };
}

Deno.test("CredentialFiles.look() takes a pair that was renamed over", OPTIONS, async () => {
  using ca = await createCa();
  const [first, second] = [
    await ca.issue({ commonName: "first" }),
    await ca.issue({ commonName: "second", days: 60 }),
  ];
  await using watched = await watch(ca, first);
  const { files, paths } = watched;
  const before = files.current;
  await watched.look();
  assertEquals(watched.takeLines(), []);
  assert(files.current === before);
  await watched.rename(paths.cert, second.cert);
  await watched.rename(paths.key, second.key);
  await watched.look();
  const expires = new Date(files.own?.notAfterMs ?? 0).toISOString();
  assertEquals(watched.takeLines(), [
    `INFO  certificate_changed subject=second expires=${expires} files=…/tls.crt,…/tls.key`,
  ]);
  assertEquals([files.current.cert, files.current.key], [second.cert, second.key]);
  // Whoever holds the old set has all of it.
  assertEquals([before.cert, before.key], [first.cert, first.key]);
  await watched.look();
  assertEquals(watched.takeLines(), []);
});

Deno.test("CredentialFiles.look() takes another CA, written in place", OPTIONS, async () => {
  using ca = await createCa();
  using other = await createCa({ name: "other CA" });
  await using watched = await watch(ca, await ca.issue());
  const { files, paths } = watched;
  await Deno.writeTextFile(paths.ca, ca.pem + other.pem);
  await watched.look();
  assertEquals(watched.takeLines().length, 1);
  assertEquals(files.current.upstreamTrust.pem, ca.pem + other.pem);
  assertEquals(files.current.clientTrust?.pem, ca.pem + other.pem);
  await Deno.writeTextFile(paths.ca, other.pem);
  await watched.look();
  assertEquals(files.current.upstreamTrust.pem, other.pem);
});

Deno.test(
  "CredentialFiles.look() waits for the key that belongs to a new certificate",
  OPTIONS,
  async () => {
    using ca = await createCa();
    const [first, second] = [await ca.issue(), await ca.issue({ commonName: "second" })];
    await using watched = await watch(ca, first);
    const { files, paths } = watched;
    await watched.rename(paths.cert, second.cert);
    const looking = watched.look();
    // Time enough to read; on a machine where it is not, this test only shows less.
    await pause(100);
    assertEquals(files.current.cert, first.cert);
    await watched.rename(paths.key, second.key);
    await looking;
    assertEquals([files.current.cert, files.current.key], [second.cert, second.key]);
    const [line = "", ...more] = watched.takeLines();
    assertMatch(line, /^INFO {2}certificate_changed subject=second /);
    assertEquals(more, []);
  },
);

Deno.test(
  "CredentialFiles.look() never takes what is written half, wherever it ends",
  OPTIONS,
  async () => {
    using ca = await createCa();
    const [first, second] = [await ca.issue(), await ca.issue({ commonName: "second" })];
    await using watched = await watch(ca, first);
    const { files, paths } = watched;
    const before = files.current;
    const halves = [0, second.cert.length - 20].map((end) => second.cert.slice(0, end));
    for (const half of halves) {
      await Deno.writeTextFile(paths.cert, half);
      const looking = watched.look();
      await pause(100);
      // It is mended while the look waits.
      await Deno.writeTextFile(paths.cert, first.cert);
      await looking;
      assert(files.current === before);
      assertEquals(watched.takeLines(), []);
    }
  },
);

Deno.test(
  "CredentialFiles.look() says what is wrong, keeps the old, and says once that it is mended",
  OPTIONS,
  async () => {
    using ca = await createCa();
    const [first, second] = [await ca.issue(), await ca.issue({ commonName: "second" })];
    await using watched = await watch(ca, first);
    const { files, paths } = watched;
    const hint = `hint="those from before stay in use"`;
    const broken: readonly (readonly [path: string, text: string, reason: string])[] = [
      [
        paths.cert,
        second.cert,
        `AMBASSADOR_TLS_KEY \\"…/tls.key\\": it is not the key of the certificate`,
      ],
      [paths.cert, "secret", `AMBASSADOR_TLS_CERT \\"…/tls.crt\\": it is not PEM`],
      [paths.key, first.key.slice(0, 90), `AMBASSADOR_TLS_KEY \\"…/tls.key\\": it is cut off: `],
      [paths.ca, first.cert, `AMBASSADOR_TLS_CA \\"…/ca.crt\\": the certificate of test is no CA`],
      [paths.ca, "", `AMBASSADOR_TLS_CA \\"…/ca.crt\\": it is empty`],
    ];
    for (const [path, text, reason] of broken) {
      const good = await Deno.readTextFile(path);
      const before = files.current;
      await watched.rename(path, text);
      await watched.look();
      // Whoever asks for a look is told each time.
      await watched.look();
      const [line = "", ...more] = watched.takeLines();
      assert(line.startsWith(`ERROR certificate_changed error="${reason}`), line);
      assert(line.endsWith(hint), line);
      assert(!line.includes(text.slice(60, 80)) || text.length < 80, line);
      assertEquals(more, [line]);
      assert(files.current === before);
      await watched.rename(path, good);
      await watched.look();
      const [mended = "", ...others] = watched.takeLines();
      assertMatch(mended, /^INFO {2}certificate_changed subject=test expires=/);
      assertEquals(others, []);
    }
  },
);

Deno.test("CredentialFiles.look() goes on without a file that is gone", OPTIONS, async () => {
  using ca = await createCa();
  const [first, second] = [await ca.issue(), await ca.issue({ commonName: "second" })];
  await using watched = await watch(ca, first);
  const { files, paths } = watched;
  await Deno.remove(paths.cert);
  await watched.look();
  assertEquals(watched.takeLines(), [
    `ERROR certificate_changed error="AMBASSADOR_TLS_CERT \\"…/tls.crt\\": no such file" ` +
    `hint="those from before stay in use"`,
  ]);
  assertEquals(files.current.cert, first.cert);
  await Deno.mkdir(paths.cert);
  await watched.look();
  assertMatch(watched.takeLines().join("\n"), /^ERROR [^\n]*it is a directory"[^\n]*$/);
  await Deno.remove(paths.cert);
  // All of it back, and new.
  await Deno.writeTextFile(paths.cert, second.cert);
  await Deno.writeTextFile(paths.key, second.key);
  await watched.look();
  assertMatch(watched.takeLines().join("\n"), /^INFO {2}certificate_changed subject=second/);
  assertEquals(files.current.cert, second.cert);
});

Deno.test("CredentialFiles.look() follows a symlink above the files", OPTIONS, async () => {
  using ca = await createCa();
  const [first, second] = [await ca.issue(), await ca.issue({ commonName: "second" })];
  const folder = await Deno.makeTempDir({ dir: ca.directory });
  for (const [name, { cert, key }] of [["..1", first], ["..2", second]] as const) {
    await Deno.mkdir(`${folder}/${name}`);
    await Deno.writeTextFile(`${folder}/${name}/tls.crt`, cert);
    await Deno.writeTextFile(`${folder}/${name}/tls.key`, key);
  }
  await Deno.symlink("..1", `${folder}/..data`);
  for (const name of ["tls.crt", "tls.key"]) {
    await Deno.symlink(`..data/${name}`, `${folder}/${name}`);
  }
  const files = await CredentialFiles.open({
    tlsCert: { option: "AMBASSADOR_TLS_CERT", path: `${folder}/tls.crt` },
    tlsKey: { option: "AMBASSADOR_TLS_KEY", path: `${folder}/tls.key` },
    tlsCa: undefined,
    tlsClientCa: undefined,
  });
  await Deno.symlink("..2", `${folder}/..data_tmp`);
  await Deno.rename(`${folder}/..data_tmp`, `${folder}/..data`);
  const log = createLog({ level: "debug", format: "text", write: () => {} });
  await files.look(log, new AbortController().signal);
  assertEquals([files.current.cert, files.current.key], [second.cert, second.key]);
});

Deno.test(
  "CredentialFiles.look() sees what changes after another look has read",
  OPTIONS,
  async () => {
    using ca = await createCa();
    const [first, second] = [await ca.issue(), await ca.issue({ commonName: "second" })];
    await using watched = await watch(ca, first);
    const { files, paths } = watched;
    await watched.rename(paths.cert, "broken");
    // It has read the broken one, says so a second later, and meanwhile all is well.
    const looks = [watched.look(), watched.look()];
    await looks[0];
    const [line = "", ...more] = watched.takeLines();
    assertMatch(line, /^ERROR /);
    assertEquals(more, []);
    await watched.rename(paths.cert, second.cert);
    await watched.rename(paths.key, second.key);
    await Promise.all([...looks, watched.look(), watched.look()]);
    assertEquals(files.current.cert, second.cert);
    assertMatch(
      watched.takeLines().join("\n"),
      /^INFO {2}certificate_changed subject=second[^\n]*$/,
    );
  },
);

Deno.test(
  "CredentialFiles.look() warns of a new certificate that has expired, and uses it",
  OPTIONS,
  async () => {
    using ca = await createCa();
    const [first, second] = [
      await ca.issue(),
      await ca.issue({ commonName: "second", notBefore: new Date(0), notAfter: new Date(1e12) }),
    ];
    await using watched = await watch(ca, first);
    const { files, paths } = watched;
    await watched.rename(paths.key, second.key);
    await watched.rename(paths.cert, second.cert);
    await watched.look();
    const [changed = "", warning = "", ...more] = watched.takeLines();
    assertMatch(changed, /^INFO {2}certificate_changed subject=second expires=2001-09-09T/);
    assertMatch(
      warning,
      /^ERROR warning reason=".*the certificate of second has expired, on 2001-09-09T01:46:40Z"$/,
    );
    assertEquals(more, []);
    assertEquals(files.own?.notAfterMs, 1e12);
  },
);

Deno.test(
  "CredentialFiles.watch() takes a file that is written in place once it is whole",
  OPTIONS,
  async () => {
    using ca = await createCa();
    using other = await createCa({ name: "other CA" });
    await using watched = await watch(ca, await ca.issue());
    const { files, paths } = watched;
    const whole = other.pem + ca.pem;
    const seen = new Set<string | undefined>();
    watched.begin();
    // Half of these is a file that could be used; the first look falls into it.
    const end = performance.now() + 9700;
    for (let written = 0; performance.now() < end; written++) {
      await Deno.writeTextFile(paths.ca, `${written}\n${other.pem}`);
      await pause(50);
      seen.add(files.current.upstreamTrust.pem);
    }
    await Deno.writeTextFile(paths.ca, whole);
    await until(() => {
      seen.add(files.current.upstreamTrust.pem);
      return seen.size > 1;
    }, "the new file is in use");
    assertEquals([...seen], [ca.pem, whole]);
    assertEquals(watched.takeLines().length, 1);
  },
);
