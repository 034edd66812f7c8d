// Text that came from outside, made safe to stand in one line of a log or a terminal.

const MAX_QUOTED = 120;

/** Nothing that is spelled like an option is longer. */
const MAX_COMPARED = 60;

/** In double quotes, control characters escaped, cut if it is long. */
export function quote(text: string): string {
  const cut = text.length > MAX_QUOTED ? `${text.slice(0, MAX_QUOTED)}…` : text;
  return quoteWhole(cut);
}

/** In double quotes as in JSON, and nothing left in it that a terminal or a log reader may act on. */
export function quoteWhole(text: string): string {
  return escapeInvisible(JSON.stringify(text));
}

/** JSON of the same meaning without the invisible characters that JSON itself leaves alone. */
export function escapeInvisible(json: string): string {
  // Control and format characters (bidi, zero width, tags) and the two separators that end a line.
  return json.replace(
    /[\x7f-\x9f\p{Cf}\p{Zl}\p{Zp}]/gu,
    (character) => character.split("").map(escapeUnit).join(""),
  );
}

function escapeUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** Hides what stands before the last @, but for a scheme or the `PORT=` of an argument. */
export function hideUser(text: string): string {
  const at = text.lastIndexOf("@");
  if (at < 0) return text;
  // Anything looser than a port would show the part of a password that stands before a `=` in it.
  const start = /^(?:\d{1,5}=)?(?:tcp:\/\/)?/i.exec(text)?.[0] ?? "";
  return `${start}***${text.slice(at)}`;
}

/**
 * A setting that is wrong, quoted without what may be a secret in it: a URL that is not `tcp://` was
 * meant for something else, and may hold a password anywhere.
 */
export function quoteInput(text: string): string {
  const isForeign = text.replace(/(?<![\w+.-])tcp:\/\//gi, "").includes("://");
  if (!isForeign) return quote(hideUser(text));
  return `${/^\d{1,5}=/.exec(text)?.[0] ?? ""}(not shown)`;
}

/** A name as it stands if it is plain, else quoted. */
export function plain(text: string): string {
  return /^[\w.-]{1,200}$/.test(text) ? text : quote(text);
}

/** Which of `names` stands at the start of a text, before the separator: the shortest such one. */
export function prefixFinder(
  names: Iterable<string>,
): (text: string, separator: string) => string | undefined {
  const known = new Set(names);
  // There are few lengths, so that few texts are cut and looked up, however hostile the text.
  const lengths = [...new Set([...known].map((name) => name.length))].sort((a, b) => a - b);
  return (text, separator) => {
    const isNamed = (length: number): boolean =>
      text.startsWith(separator, length) && known.has(text.slice(0, length));
    const length = lengths.find(isNamed);
    return length === undefined ? undefined : text.slice(0, length);
  };
}

/**
 * The one of `names` that was probably meant, or undefined if none is near: of those that hold `name`
 * or one of its words, else of all, the one that is spelled most like it.
 *
 * @param limit From this number of different characters on, none is near that shares no word.
 */
export function nearest(
  name: string,
  names: Iterable<string>,
  limit = Math.ceil(name.length / 3) + 1,
): string | undefined {
  const start = name.slice(0, MAX_COMPARED);
  const all = [...names];
  const related = all.filter((candidate) => isRelated(start, candidate));
  let best: string | undefined;
  let bestDistance = related.length > 0 ? Infinity : limit;
  for (const candidate of related.length > 0 ? related : all) {
    const distance = editDistance(start, candidate);
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

/** Whether a candidate holds the name or one of its words. A letter or two mean nothing. */
function isRelated(name: string, candidate: string): boolean {
  const words = candidate.split(/[-_]/);
  return (name.length > 2 && candidate.includes(name)) ||
    name.split(/[-_]/).some((word) => word.length > 2 && words.includes(word));
}

/** How many characters have to be inserted, removed or replaced (Levenshtein). */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 0; i < a.length; i++) {
    const next = [i + 1];
    for (let j = 0; j < b.length; j++) {
      const replace = (row[j] ?? 0) + (a[i] === b[j] ? 0 : 1);
      next.push(Math.min(replace, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
