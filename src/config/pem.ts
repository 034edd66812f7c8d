// Where a certificate or a key is: in a file, or in a variable itself. What is no path may be a key, so
// nothing of it ever reaches a message. This reads no file, and does not know what the PEM means.

import { InputError } from "../base/errors.ts";
import { HIDDEN, looksLikeKey, quoteInput } from "../base/text.ts";
import { isPath, isQuoted, parsePath } from "./path.ts";

/** PEM, or the file that holds it. */
export type PemSource =
  & {
    /** Where it was said, as it is written: `--tls-key` or `AMBASSADOR_TLS_KEY`. */
    readonly option: string;
  }
  & ({
    /** The file. */
    readonly path: string;
  } | {
    /** The PEM itself, with real line ends. */
    readonly pem: string;
  });

/** No path that is shown is as long as this, in characters. */
const MAX_SHOWN_PATH = 256;

/** A name that files of PEM have, and keys don't look like. */
const FILE_NAME = /^[\w/.-]{1,255}\.(?:pem|crt|cer|key)$/i;

const BEGIN = "-----BEGIN ";
const BLOCK = /-----BEGIN [A-Z0-9 ]+-----\r?\n[^]*?\n-----END [A-Z0-9 ]+-----/;

/**
 * Reads what `source` says: `--tls-key` a path, `AMBASSADOR_TLS_KEY` a path that begins with `/` or `.`,
 * or the PEM as it is, with `\n` for its line ends, or as base64 of it.
 *
 * @throws {SyntaxError} if it is neither; no message holds any of it
 */
export function parsePem(text: string, source = ""): PemSource {
  const isArgument = source.startsWith("--");

  const pem = isPath(text) ? undefined : findPem(text);
  if (pem !== undefined) {
    if (isArgument) {
      throw new InputError(
        "PEM in an argument is visible to all: write it to a file and name that",
      );
    }
    if (!BLOCK.test(pem)) {
      throw new SyntaxError("PEM that is cut off, or whose line ends are lost: write them as \\n");
    }
    return { option: source, pem };
  }
  if (
    !isArgument && !isPath(text) && !isQuoted(text) && !/^(?:~[\w-]*\/|[a-z]+:\/\/)/i.test(text)
  ) {
    throw new InputError(
      "neither PEM nor a path, which begins with / or .",
      "write a whole path, or ./FILE",
    );
  }
  return { option: source, path: parsePath(text) };
}

/** The path, or what stands for PEM and for what may be a part of it: that is never shown. */
export function formatPem(source: PemSource): string {
  if (!("path" in source)) return HIDDEN;
  const { path } = source;
  return isShowable(path) || FILE_NAME.test(path) ? path : HIDDEN;
}

/** Text that was meant as a path, in quotes if it can be nothing else: then it is no secret. */
export function quotePath(text: string): string {
  return isShowable(text) ? quoteInput(text) : HIDDEN;
}

function isShowable(text: string): boolean {
  return isPath(text) && text.length < MAX_SHOWN_PATH && !looksLikeKey(text);
}

/** The PEM in a text, however it is written, or undefined if there is none. */
function findPem(text: string): string | undefined {
  if (text.includes(BEGIN)) return unescaped(text);
  // Lines of any length; with or without the = at the end.
  const base64 = unescaped(text).replace(/\s+/g, "");
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) return undefined;
  try {
    const decoded = atob(base64);
    return decoded.includes(BEGIN) ? unescaped(decoded) : undefined;
  } catch {
    return undefined;
  }
}

/** With real line ends: a line of an env file can hold none, so that people write `\n`. */
function unescaped(text: string): string {
  return text.replace(/\\r\\n|\\n/g, "\n");
}
