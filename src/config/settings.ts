// The settings of one route, as they follow the `?` of its targets: which there are comes from the
// table of options. It knows nothing of routes but what a setting means.

import { reasonOf } from "../base/errors.ts";
import { looksLikeKey, nearest, quoteInput, some } from "../base/text.ts";
import {
  OPTIONS,
  type Options,
  type OptionSpec,
  quoteValue,
  type RouteSettings,
} from "./options.ts";

const ALL: readonly [string, OptionSpec][] = Object.entries(OPTIONS);
const ROWS = ALL.filter(([, spec]) => spec.route !== undefined) as readonly [
  keyof RouteSettings,
  OptionSpec,
][];
const ROW_BY_NAME = new Map(ROWS.map((row) => [row[1].name, row]));
const NAMES = [...ROW_BY_NAME.keys()];

/** What holds where nothing is said. What limits all routes together is no limit of one of them. */
export const DEFAULT_SETTINGS: RouteSettings = settingsFrom(([, spec]) => {
  const text = spec.route === "both" ? "0" : spec.default;
  return text === undefined ? undefined : spec.kind.parse(text);
});

/** The same as text, by name. */
const DEFAULT_TEXTS = new Map(
  ROWS.map(([key, spec]) => [spec.name, formatValue(spec, DEFAULT_SETTINGS[key])]),
);

/** The settings of a route that says nothing of its own. */
export function settingsOf(options: Options): RouteSettings {
  return settingsFrom(([key, spec]) =>
    spec.route === "both" ? DEFAULT_SETTINGS[key] : options[key]
  );
}

/**
 * What a route says of its own, `name=value,…`, and nothing else.
 *
 * @throws {SyntaxError} with everything that is wrong; of an unknown setting only the name is quoted
 */
export function parseSettings(text: string): Partial<RouteSettings> {
  // A shell cuts an unquoted line at a &, and with it what may be the protection of the route.
  if (text.includes("&")) throw new SyntaxError("settings are separated by commas, not by &");
  if (!/^[^=,]*=/.test(text)) throw new SyntaxError("a setting is written NAME=VALUE");
  const given = new Map<string, string>();
  // A comma begins another setting only where a name and a = follow: elsewhere a list goes on.
  for (const setting of text.split(/,(?=[^=,]*=)/)) {
    const equals = setting.indexOf("=");
    const name = setting.slice(0, equals).toLowerCase();
    const value = setting.slice(equals + 1);
    const before = ROW_BY_NAME.get(name)?.[1].list ? given.get(name) : undefined;
    given.set(name, before === undefined ? value : `${before},${value}`);
  }
  const holdsKey = looksLikeKey(text);
  const own: Partial<Record<keyof RouteSettings, unknown>> = {};
  const reasons: string[] = [];
  for (const [name, value] of given) {
    // More reasons than these say nothing new of one text.
    if (reasons.length > 5) break;
    const [key, spec] = ROW_BY_NAME.get(name) ?? [];
    if (key === undefined || spec === undefined) {
      reasons.push(unknownSetting(name, quoteInput(name, holdsKey)));
    } else if (value === "") {
      reasons.push(`${name}: the value is missing`);
    } else {
      try {
        own[key] = spec.kind.parse(value);
      } catch (error) {
        reasons.push(`${name} ${quoteValue(spec, value, holdsKey)}: ${reasonOf(error)}`);
      }
    }
  }
  if (reasons.length > 0) throw new SyntaxError(some(reasons, "; "));
  return own as Partial<RouteSettings>;
}

/** Those that differ from the defaults, as text by name, in the order of the options. */
export function changedSettings(settings: RouteSettings): Readonly<Record<string, string>> {
  // Most are the very value of the default, and cost nothing.
  const given = ROWS.filter(([key]) => settings[key] !== DEFAULT_SETTINGS[key]);
  const texts = given.map(([key, spec]) => [spec.name, formatValue(spec, settings[key])] as const);
  return Object.fromEntries(texts.filter(([name, text]) => text !== DEFAULT_TEXTS.get(name)));
}

/** What was formatted once: thousands of routes may share their settings. */
const texts = new WeakMap<RouteSettings, string>();

/** `idle-timeout=5m,retry=1s`: what {@linkcode parseSettings} reads back; empty for the defaults. */
export function formatSettings(settings: RouteSettings): string {
  const known = texts.get(settings);
  if (known !== undefined) return known;
  const text = Object.entries(changedSettings(settings)).map((pair) => pair.join("=")).join(",");
  texts.set(settings, text);
  return text;
}

/** The text of a value; of none, an empty one. */
function formatValue({ kind }: OptionSpec, value: unknown): string {
  return value === undefined ? "" : kind.format(value);
}

function settingsFrom(value: (row: typeof ROWS[number]) => unknown): RouteSettings {
  return Object.fromEntries(ROWS.map((row) => [row[0], value(row)])) as unknown as RouteSettings;
}

function unknownSetting(name: string, shown: string): string {
  return `${shown}: no such setting; the nearest is ${nearest(name, NAMES, Infinity)}`;
}
