// How the status page writes what it shows: markup with everything escaped, numbers, sizes and times.
// Pure; it knows nothing of routes.

/**
 * A template that escapes what is put into it. It is not called `html`, since the formatter would then
 * rewrite what stands in it.
 */
export function markup(
  literals: TemplateStringsArray,
  ...parts: readonly (string | number)[]
): string {
  return literals.reduce((done, literal, at) => done + escape(String(parts[at - 1])) + literal);
}

const NAMED: Readonly<Record<string, string>> = { "&": "amp", "<": "lt", ">": "gt", '"': "quot" };

/** Also what a terminal would act on, for whoever looks at the page with curl. */
function escape(text: string): string {
  return text.replace(
    /[&<>"'\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
    (character) => `&${NAMED[character] ?? `#${character.codePointAt(0)}`};`,
  );
}

/** `1,234,567`. By hand: with Intl the page takes eight times as long to make. */
export function formatNumber(number: number): string {
  return String(number).replace(/\B(?=(?:\d{3})+$)/g, ",");
}

const BYTE_UNITS = ["KiB", "MiB", "GiB", "TiB", "PiB"] as const;

/** `999 B`, `1.5 MiB`: three digits, or the bytes themselves. */
export function formatBytes(bytes: number): string {
  let size = bytes;
  let shown = `${bytes} B`;
  for (const unit of BYTE_UNITS) {
    if (size < 1000) break;
    size /= 1024;
    shown = `${size.toFixed(size < 10 ? 2 : size < 100 ? 1 : 0)} ${unit}`;
  }
  return shown;
}

/** `59 s`, `4 min 10 s`, `2 h 5 min`, `3 d 4 h`. */
export function formatSpan(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  if (minutes === 0) return `${seconds} s`;
  if (hours === 0) return `${minutes} min ${seconds % 60} s`;
  if (hours < 24) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** `2026-11-22 18:20:00 UTC`; `ms` since the epoch. */
export function formatTime(ms: number): string {
  return new Date(ms).toISOString().replace("T", " ").replace(/\.\d+Z$/, " UTC");
}

/** `since 2026-11-22 18:20:00 UTC (5 min 0 s ago)`; both in milliseconds since the epoch. */
export function formatSince(ms: number, now: number): string {
  return `since ${formatTime(ms)} (${formatSpan(now - ms)} ago)`;
}
