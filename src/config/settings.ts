// The settings of one route, as they follow the `?` of its targets: which there are comes from the
// table of options. It knows nothing of routes but what a setting means.

import { doubtOf } from "../base/duration.ts";
import { hintOf, InputError, reasonOf } from "../base/errors.ts";
import { looksLikeKey, nearest, quoteInput, some } from "../base/text.ts";
import {
  isTime,
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

/** What a route says of its own. */
export interface OwnSettings {
  /** What it says, and nothing else. */
  readonly own: Partial<RouteSettings>;
  /** What may not be meant, one line each. */
  readonly doubts: readonly string[];
}

/**
 * What a route says of its own, `name=value,…`, and nothing else.
 *
 * @throws {SyntaxError} with everything that is wrong; of an unknown setting only the name is quoted
 */
export function parseSettings(text: string): OwnSettings {
  // A shell cuts an unquoted line at a &, and with it what may be the protection of the route. The name of
  // a client, a URI, may hold a ; or a ?, but nothing that looks like a setting behind it.
  const [wrong] = /&|[;?](?=[a-z-]+=)|^\?/i.exec(text) ?? [];
  if (wrong === "?") {
    throw new InputError("a second ? stands there", "settings are separated by commas");
  }
  if (wrong !== undefined) {
    throw new InputError(`settings are separated by commas, not by ${wrong}`);
  }
  if (text === "") throw new InputError("no setting follows the ?");
  if (!/^[^=,]*=/.test(text)) {
    throw new InputError(
      "a setting is written NAME=VALUE",
      "for example ?idle-timeout=5m,retry=10s",
    );
  }
  if (text.endsWith(",")) throw new InputError("nothing follows the last comma", "leave it out");
  const given = textsOfSettings(text);
  const holdsKey = looksLikeKey(text);
  const own: Partial<Record<keyof RouteSettings, unknown>> = {};
  const doubts: string[] = [];
  const reasons: string[] = [];
  let hint: string | undefined;
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
        const doubt = isTime(spec) ? doubtOf(value) : undefined;
        if (doubt !== undefined) doubts.push(`${name}: ${doubt}`);
      } catch (error) {
        reasons.push(`${name} ${quoteValue(spec, value, holdsKey)}: ${reasonOf(error)}`);
        hint ??= hintOf(error);
      }
    }
  }
  // With several, nobody would know of which it speaks.
  if (reasons.length > 0) {
    throw new InputError(some(reasons, "; "), reasons.length === 1 ? hint : undefined);
  }
  return { own: own as Partial<RouteSettings>, doubts };
}

/** The text of each setting, by its name. */
function textsOfSettings(text: string): ReadonlyMap<string, string> {
  const given = new Map<string, string>();
  // A comma begins another setting only where a name and a = follow: elsewhere a list goes on.
  for (const setting of text.split(/,(?=[^=,]*=)/)) {
    const equals = setting.indexOf("=");
    const name = setting.slice(0, equals).toLowerCase();
    const value = setting.slice(equals + 1);
    const before = ROW_BY_NAME.get(name)?.[1].list ? given.get(name) : undefined;
    given.set(name, before === undefined ? value : `${before},${value}`);
  }
  return given;
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
  const isForAll = ALL.some(([, spec]) =>
    spec.name === name && (spec.commands?.includes("forward") ?? true)
  );
  if (/^\d{1,5}(?:\/\w+)?$/.test(name)) return `${shown}: a second route in one argument`;
  if (isForAll) {
    return `${shown}: no such setting, only an option for all routes`;
  }
  return `${shown}: no such setting; the nearest is ${nearest(name, NAMES, Infinity)}`;
}
