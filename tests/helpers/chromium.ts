// Drives a headless Chromium over its debugging protocol (https://chromedevtools.github.io/devtools-protocol/).

import { within } from "./mod.ts";

/** A page in a browser of its own. */
export interface BrowserPage extends AsyncDisposable {
  /** Calls a method of the protocol. */
  call(method: string, params?: Record<string, unknown>): Promise<Record<string, unknown>>;
  /** Goes to an address and waits until it is loaded. */
  open(url: string): Promise<void>;
  /** The value of an expression in the page. */
  evaluate<T>(expression: string): Promise<T>;
  /** Console messages, exceptions and refused resources so far. */
  readonly complaints: readonly string[];
}

interface Message {
  readonly id?: number;
  readonly method?: string;
  readonly params?: Record<string, unknown>;
  readonly result?: Record<string, unknown>;
  readonly error?: { readonly message: string };
}

const COMPLAINTS = new Set([
  "Runtime.consoleAPICalled",
  "Runtime.exceptionThrown",
  "Log.entryAdded",
]);

/** Starts the browser; it ends with the page. */
export async function openBrowser(executable: string): Promise<BrowserPage> {
  const folder = await Deno.makeTempDir({ prefix: "ambassador-chromium-" });
  const child = new Deno.Command(executable, {
    args: [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--disable-dev-shm-usage",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--hide-scrollbars",
      "--remote-debugging-port=0",
      `--user-data-dir=${folder}`,
      "about:blank",
    ],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const stderr = child.stderr.pipeThrough(new TextDecoderStream());
  const found = Promise.withResolvers<string>();
  let text = "";
  const reading = (async (): Promise<void> => {
    for await (const chunk of stderr) {
      text += chunk;
      const match = /DevTools listening on (ws:\S+)/.exec(text);
      if (match?.[1] !== undefined) found.resolve(match[1]);
    }
    found.reject(new Error(`chromium ended:\n${text}`));
  })();
  async function end(): Promise<void> {
    child.kill("SIGKILL");
    await Promise.all([child.status, reading]);
    // Its helpers may still be writing there.
    await Deno.remove(folder, { recursive: true }).catch(() =>
      Deno.remove(folder, { recursive: true })
    );
  }
  try {
    return await attach(await within(found.promise, "chromium to start", 60_000), end);
  } catch (error) {
    await end();
    throw error;
  }
}

async function attach(url: string, end: () => Promise<void>): Promise<BrowserPage> {
  const socket = new WebSocket(url);
  const opened = Promise.withResolvers<void>();
  socket.onopen = (): void => opened.resolve();
  socket.onerror = (): void => opened.reject(new Error(`cannot reach ${url}`));
  await within(opened.promise, "the debugging protocol");
  const calls = new Map<number, PromiseWithResolvers<Record<string, unknown>>>();
  const complaints: string[] = [];
  let onLoaded = (): void => {};
  let sessionId: unknown = undefined;
  let lastId = 0;
  socket.onmessage = ({ data }): void => {
    const message = JSON.parse(data) as Message;
    const call = calls.get(message.id ?? 0);
    if (message.error !== undefined) call?.reject(new Error(message.error.message));
    else call?.resolve(message.result ?? {});
    if (message.method === "Page.loadEventFired") onLoaded();
    if (COMPLAINTS.has(message.method ?? "")) complaints.push(JSON.stringify(message.params));
  };
  async function call(method: string, params = {}): Promise<Record<string, unknown>> {
    const id = ++lastId;
    const answer = Promise.withResolvers<Record<string, unknown>>();
    calls.set(id, answer);
    socket.send(JSON.stringify({ id, method, params, ...(sessionId ? { sessionId } : {}) }));
    try {
      return await within(answer.promise, `chromium to do ${method}`);
    } finally {
      calls.delete(id);
    }
  }
  const { targetId } = await call("Target.createTarget", { url: "about:blank" });
  sessionId = (await call("Target.attachToTarget", { targetId, flatten: true }))["sessionId"];
  for (const domain of ["Page", "Runtime", "Log"]) await call(`${domain}.enable`);
  return {
    call,
    complaints,
    async open(address): Promise<void> {
      const loaded = Promise.withResolvers<void>();
      onLoaded = loaded.resolve;
      await call("Page.navigate", { url: address });
      await within(loaded.promise, `${address} to load`);
    },
    async evaluate<T>(expression: string): Promise<T> {
      const { result } = await call("Runtime.evaluate", {
        expression,
        returnByValue: true,
        awaitPromise: true,
      });
      return (result as { value: T }).value;
    },
    async [Symbol.asyncDispose](): Promise<void> {
      const closed = Promise.withResolvers<void>();
      socket.onclose = (): void => closed.resolve();
      socket.close();
      await end();
      await within(closed.promise, "the debugging protocol to close");
    },
  };
}
