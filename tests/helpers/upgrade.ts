// An upgrade in the network that this is run in: a new program is started beside one that has clients
// in its listen queue, and the old one is stopped. Prints how many of the clients got their answer.
// A program of its own: its clients have to be in a namespace with the ambassadors.

import { freePort, readExactly, startEcho, startProgram, within, writeAll } from "./mod.ts";

/** Enough that the system surely gives some to each of the two. */
const CLIENTS = 60;

async function askOnce(conn: Deno.TcpConn): Promise<boolean> {
  try {
    await writeAll(conn, "ping");
    return await readExactly(conn, 4) === "ping";
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionReset) return false;
    throw error;
  }
}

async function upgrade(): Promise<void> {
  await using upstream = startEcho();
  const port = freePort();
  const route = `127.0.0.1:${port}=127.0.0.1:${upstream.address.port}`;
  // With room for one client, the others of the old one wait in its queue.
  await using old = startProgram(["--reuse-port", "--max-connections=1", route]);
  await old.line(/ ready /);
  await using young = startProgram(["--reuse-port", route]);
  await young.line(/ ready /);
  using clients = new DisposableStack();
  const answers: Promise<boolean>[] = [];
  for (let client = 0; client < CLIENTS; client++) {
    const conn = await within(Deno.connect({ hostname: "127.0.0.1", port }), "a connect");
    answers.push(askOnce(clients.use(conn)));
  }
  old.kill("SIGTERM");
  const answered = (await Promise.all(answers)).filter((isAnswered) => isAnswered).length;
  console.log(`${answered} of ${CLIENTS} answered`);
}

if (import.meta.main) await upgrade();
