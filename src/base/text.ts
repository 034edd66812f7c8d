// Text that came from outside, made safe to stand in one line of a log or a terminal, and names that
// are compared with it. It knows nothing of what the text means.

const MAX_QUOTED = 120;
/** Stands for text that may hold a secret. */
export const HIDDEN = "(not shown)";
/** How a path begins, or a URL that no target is. */
const PATH = /^(?:[/.]|(?!(?:tcp|tls|udp):)[a-z][a-z0-9+.-]*:\/\/)/i;
/** Nothing that is spelled like an option is longer. */
const MAX_COMPARED = 24;

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
  const escape = (unit: string): string => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return json.replace(
    /[\x7f-\x9f\p{Cf}\p{Zl}\p{Zp}]/gu,
    (character) => character.split("").map(escape).join(""),
  );
}

/** As `openssl rand -hex` writes a key: letters and digits. */
const HEX_KEY = /^(?=.*\d)(?=.*[a-f])[0-9a-f]{32,}$/i;

/** What is called a secret, and stands behind its name. */
const NAMED_SECRET = /((?:pass(?:word|wd|phrase)?|pwd|secret|token|key)\s*=\s*)[^\s,;&"'=]+/gi;

/**
 * Whether a text may be, or hold, PEM, base64 of it, or a line of either: no name has so many letters of
 * both cases in one piece. So may so many hexadecimal digits be a key. A path or a URL that no target is (`spiffe://…`) is judged piece by piece.
 */
export function looksLikeKey(text: string): boolean {
  if (text.includes("-----")) return true;
  return (text.match(/[^=,?\s]{32,}/g) ?? []).some((word) => {
    const isPath = PATH.test(word);
    const runs = word.match(isPath ? /[A-Za-z0-9+]{32,}/g : /[A-Za-z0-9+/]{32,}/g) ?? [];
    // Docker calls folders by such digits.
    return runs.some((run) =>
      /[a-z]/.test(run) && /[A-Z]/.test(run) || (!isPath && HEX_KEY.test(run))
    );
  });
}

/**
 * Input that is wrong, quoted without what may be a secret in it: a key, what a password is called, what
 * stands before an @, what stands after a ?, and any URL but the three that a target may be. Another URL was meant for something
 * else, and may hold a password anywhere but in `SCHEME://HOST:PORT`.
 *
 * @param holdsKey Whether it, or what it is a part of, may be a key.
 */
export function quoteInput(text: string, holdsKey: boolean = looksLikeKey(text)): string {
  if (holdsKey) return HIDDEN;
  // Anything looser than a port would show the part of a password that stands before a `=` in it.
  const start = /^(?:\d{1,5}(?:\/\w{1,4})?=)?/.exec(text)?.[0] ?? "";
  if (/^[a-z][a-z0-9+.-]*:\/\/[\w.-]+:\d{1,5}$/i.test(text.slice(start.length))) return quote(text);
  const question = text.indexOf("?");
  const list = question < 0 ? text : text.slice(0, question);
  if (list.replace(/(?<![\w+.-])(?:tcp|tls|udp):\/\//gi, "").includes("://")) {
    return `${start}${HIDDEN}`;
  }
  const at = text.lastIndexOf("@");
  const scheme = /^(?:tcp|tls|udp):\/\//i.exec(text.slice(start.length))?.[0] ?? "";
  const shown = at < 0 ? text : `${start}${scheme}***${text.slice(at)}`;
  // Behind a ? the @ may be part of a setting, or the ? before it part of a password.
  if (at > question && question >= 0) return quote(`${start}${scheme}***`);
  return quote(shown.replace(/\?.*/s, "?…").replace(NAMED_SECRET, "$1***"));
}

/** A name as it stands if it is plain, else quoted. */
export function plain(text: string): string {
  return /^[\w.-]{1,200}$/.test(text) ? text : quote(text);
}

/** The first few of a list that may be long. */
export function some(texts: readonly string[], separator: string): string {
  return [...texts.slice(0, 5), ...(texts.length > 5 ? ["…"] : [])].join(separator);
}

/** Which of `names` stands at the start of a text, before the separator: the shortest such one. */
export function prefixFinder(
  names: Iterable<string>,
): (text: string, separator: string) => string | undefined {
  const known = new Set(names);
  // There are few lengths, so that few texts are cut and looked up, however hostile the text.
  const lengths = [...new Set([...known].map((name) => name.length))].sort((a, b) => a - b);
  return (text, separator) =>
    lengths.filter((length) => text.startsWith(separator, length))
      .map((length) => text.slice(0, length)).find((start) => known.has(start));
}

/**
 * The one of `names` that was probably meant, or undefined if none is near: of those that hold `name`,
 * else of those that have one of its words, else of all, the one that is spelled most like it.
 *
 * @param limit From this number of different characters on, none is near that shares no word.
 */
export function nearest(
  name: string,
  names: readonly string[],
  limit = Math.ceil(name.length / 3) + 1,
): string | undefined {
  const start = name.slice(0, MAX_COMPARED);
  const words = start.split(/[-_]/).filter((word) => word.length > 2);
  // A letter or two mean nothing.
  const whole = start.length > 2 ? names.filter((candidate) => candidate.includes(start)) : [];
  const related = whole.length > 0
    ? whole
    : names.filter((candidate) =>
      words.some((word) => candidate.includes(word) && candidate.split(/[-_]/).includes(word))
    );
  let best: string | undefined;
  let bestDistance = related.length > 0 ? Infinity : limit;
  for (const candidate of related.length > 0 ? related : names) {
    const distance = editDistance(start, candidate, bestDistance);
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

/**
 * How many characters have to be inserted, removed or replaced (Levenshtein), Infinity where that turns
 * out to be `limit` or more. One row of numbers: thousands of misspelt names cost little.
 */
function editDistance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) >= limit) return Infinity;
  const row = new Uint16Array(b.length + 1);
  for (let j = 1; j <= b.length; j++) row[j] = j;
  for (let i = 1; i <= a.length; i++) {
    let diagonal = i - 1;
    let left = row[0] = i;
    let least = i;
    for (let j = 1; j <= b.length; j++) {
      const above = row[j] ?? 0;
      const replaced = a.charCodeAt(i - 1) === b.charCodeAt(j - 1) ? diagonal : diagonal + 1;
      left = row[j] = Math.min(replaced, above + 1, left + 1);
      if (left < least) least = left;
      diagonal = above;
    }
    // It never gets less from row to row.
    if (least >= limit) return Infinity;
  }
  return row[b.length] ?? 0;
}
