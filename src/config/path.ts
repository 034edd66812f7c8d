// Text that names a file: what no path can be, and how one is shown. It reads no file.

import { InputError } from "../base/errors.ts";
import { looksLikeKey, quoteInput } from "../base/text.ts";
import { textFlaw } from "./likely_meant.ts";

/** Maximum length of a path in Linux, its end included (PATH_MAX), in bytes. */
const MAX_PATH = 4096;
/** What would change a line of a shell or a terminal, and what no path can hold. */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u;
/** What a line of text may show as it stands. */
const PLAIN_PATH = /^[\w./%+~-]{1,255}$/;

/** Whether a text can be nothing but a path. */
export function isPath(text: string): boolean {
  return /^[/.]/.test(text);
}

/** Whether quotation marks, which a shell would have taken away, stand around a text. */
export function isQuoted(text: string): boolean {
  return /^["'`]/.test(text);
}

/**
 * Reads a path, of any form.
 *
 * @throws {SyntaxError} if no file can be called so
 */
export function parsePath(text: string): string {
  if (isQuoted(text)) throw textFlaw(text) ?? new SyntaxError("not a path");
  if (/^~[\w-]*\//.test(text)) {
    throw new InputError("no shell has replaced the ~", "write the whole path");
  }
  if (/^[a-z][a-z0-9+.-]+:\/\//i.test(text)) {
    throw new InputError("a URL, not a path", "write the path of a file on this machine");
  }
  if (text.length >= MAX_PATH || INVISIBLE.test(text)) throw new SyntaxError("not a path");
  return text;
}

/**
 * A path as a line shows it: as it stands if it is plain, else quoted. Somebody may have written
 * something else in its place: no key is shown, nor what stands before an @ or behind a ?.
 */
export function formatPath(path: string): string {
  return PLAIN_PATH.test(path) && !looksLikeKey(path) ? path : quoteInput(path);
}
