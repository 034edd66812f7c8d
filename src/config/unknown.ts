// What is said of words of the command line that are none of it: which option, which command or which
// route was most likely meant. It takes nothing apart, and knows not what the words would mean.

import type { Problem } from "../base/errors.ts";
import { looksLikeKey, nearest, quoteInput, some } from "../base/text.ts";
import { likelyOption, textFlaw, wordFlaw } from "./likely_meant.ts";
import { type CommandName, COMMANDS, SPECS, variableOf } from "./options.ts";

/** `REDIS_PORT_6379_TCP=tcp://redis:6379`, with or without `export` before it. */
const VARIABLE = /^(?:(?:export|set|env)\s+)?(?!(?:LISTEN|PORT)=)([A-Z_][A-Z0-9_]*)=(.*)$/s;
/** The name of a route's variable, and where a target stands that can be shown. */
const ROUTE_VARIABLE = /^.+_PORT_(\d{1,5})_(TCP|TLS|UDP)$/;
const PLAIN_TARGET = /^(?:tcp|tls|udp):\/\/[\w.-]+:\d{1,5}$/i;
/** A dash that a word processor has made of two. */
const LONG_DASH = /^[\u2010-\u2015\u2212]+/;

/** Maximum length of a word in which two routes are looked for. */
const MAX_LENGTH = 1000;

/** Whether a word begins with a dash that a word processor has made of two. */
export function hasLongDash(word: string): boolean {
  return LONG_DASH.test(word);
}

/** Whether a word is a variable and its value, in upper case. */
export function isVariable(word: string): boolean {
  return VARIABLE.test(word);
}

/**
 * Says that there is no such option, and which was meant.
 *
 * @param options `known` are the options that there are; with `holdsKey` some of the words may be a key.
 */
export function unknownOption(
  argument: string,
  { known, holdsKey }: { readonly known: readonly string[]; readonly holdsKey: boolean },
): Problem {
  const [start = ""] = LONG_DASH.exec(argument) ?? [];
  // `-connect-timeout 5s`, `—bind`: a whole option is no secret.
  const whole = /^[^=\s]*/.exec(argument.slice(start.length).replace(/^-+/, ""))?.[0] ?? "";
  if (known.includes(whole) && (start !== "" || !argument.startsWith("--"))) {
    const isLong = start !== "";
    const shown = quoteInput(`${isLong ? start : "-"}${whole}`, holdsKey);
    const dash = isLong ? "a long dash" : "one dash";
    return { message: `${shown}: ${dash} stands before it, not two`, hint: `write --${whole}` };
  }
  if (known.includes(whole) && /\s/.test(argument)) {
    const shown = quoteInput(`--${whole} …`, holdsKey);
    const hint = `leave out the quotation marks around both, or write --${whole}=VALUE`;
    return { message: `${shown}: an option and its value stand in one word`, hint };
  }
  // The value may hold a secret. Without a name that ends, any part of it may.
  const rest = argument.slice(start.length);
  const short = /^-[^-][^=]/.test(rest) ? `${rest.slice(0, 2)}…` : rest;
  const name = /^-{0,2}[^=:@\s]*(?=[=\s]|$)/.exec(short)?.[0] ?? short;
  const meant = looksLikeKey(argument) ? undefined : meantOption(name, known);
  return {
    message: `${quoteInput(start + name, holdsKey)}: no such option`,
    hint: meant ?? "ambassador --help lists the options",
  };
}

/** What to say of an option that there is not, dashes before it. */
function meantOption(name: string, known: readonly string[]): string | undefined {
  // What other programs have is a short name too, and case matters there: -D is not -d.
  const word = name.replace(/^-+/, "");
  const other = likelyOption(word);
  if (other !== undefined) return other.hint;
  // connectTimeout, CONNECT_TIMEOUT
  const spelled = word.replace(/([a-z])([A-Z])/g, "$1-$2").replaceAll("_", "-").toLowerCase();
  const turned = sorted(spelled);
  const near = known.find((option) => sorted(option) === turned) ?? nearest(spelled, known);
  return near && `did you mean --${near}?`;
}

/** The words of an option in one order for all: people remember the words, not their order. */
function sorted(option: string): string {
  return option.split("-").sort().join("-");
}

/** Whether a word with a `=` in it is no route, but one of the things that are written for one. */
export function isMistaken(word: string): boolean {
  return VARIABLE.test(word) || optionOf(word) !== undefined || /^[^=?]*=$|^=|\s/.test(word) ||
    (textFlaw(word) ?? wordFlaw(word)) !== undefined;
}

/** The option that a word names without its dashes, `bind=127.0.0.1`. */
function optionOf(word: string): string | undefined {
  const [name = ""] = /^[a-z-]+(?==|$)/.exec(word) ?? [];
  return SPECS.some((spec) => spec.name === name) ? name : undefined;
}

/** Says what words are that are neither a command nor a route: one mistake may be several of them. */
export function unknownWords(
  words: readonly string[],
  { holdsKey, name }: { readonly holdsKey: boolean; readonly name: CommandName },
): readonly Problem[] {
  const show = (word: string): string => quoteInput(word, holdsKey);
  const joined = words.join(" ");
  const flaw = words.length > 1 && !holdsKey ? wordFlaw(joined) : undefined;
  if (flaw !== undefined) return [{ message: `${show(joined)}: ${flaw.message}`, hint: flaw.hint }];
  if (name === "wait" && (words.length > 1 || /^\.{0,2}\//.test(joined))) {
    const hint = "wait starts no command: write ambassador wait redis:6379 && ./migrate";
    return [{ message: `${some(words.map(show), ", ")}: neither a target nor a route`, hint }];
  }
  const problems: Problem[] = [];
  const others: string[] = [];
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? "";
    const isAlone = !word.includes("=") && words.length === 1;
    const option = isAlone ? undefined : optionOf(word);
    const variable = VARIABLE.exec(word)?.[1];
    if (holdsKey) {
      others.push(word);
    } else if (option !== undefined) {
      const hint = `write --${option}`;
      problems.push({ message: `${option}: an option without the dashes before it`, hint });
      // Its value.
      if (!word.includes("=")) index++;
    } else if (variable !== undefined) {
      problems.push(misplacedVariable(word));
    } else {
      // `export` before a variable.
      if (VARIABLE.test(`${word} ${words[index + 1]}`)) continue;
      const flaw = flawOfWord(word, name);
      if (flaw === undefined) others.push(word);
      else problems.push({ message: `${show(word)}: ${flaw.message}`, hint: flaw.hint });
    }
  }
  // A word that stands there twice is wrong once.
  const once = [...new Map(problems.map((one) => [one.message, one])).values()];
  if (others.length === 0) return once;
  const [only = ""] = others;
  const near = holdsKey || others.length > 1
    ? undefined
    : nearest(only.toLowerCase(), [...COMMANDS, "help", "version"]);
  const example = name === "wait"
    ? "a target is written HOST:PORT, for example redis:6379"
    : "a route is written LISTEN=TARGET, for example 6379=redis:6379";
  return [...once, {
    message: `${some(others.map(show), ", ")}: neither a command nor a route`,
    hint: near ? `did you mean ${near}?` : example,
  }];
}

/** Why a word is neither a command nor a route, where that can be told. */
function flawOfWord(
  word: string,
  name: CommandName,
): { readonly message: string; readonly hint?: string | undefined } | undefined {
  if (name === "wait" && /^\d{1,5}$/.test(word)) {
    return { message: "the host is missing", hint: `write HOST:${word}` };
  }
  if (word.length < MAX_LENGTH && /^\S*\d=\S*:\d+\s+\S*\d=\S/.test(word)) {
    const hint = "write each as a word of its own, without quotation marks around both";
    return { message: "two routes stand in one word", hint };
  }
  const flaw = textFlaw(word) ?? wordFlaw(word);
  if (flaw === undefined && /\s/.test(word)) {
    const hint = "leave out the white space, or the quotation marks around all of it";
    return { message: "there is white space in it", hint };
  }
  const hint = "write 6379=redis:6379";
  if (/^[^=]+=$/.test(word)) return { message: "the target is missing", hint };
  if (/^=./.test(word)) return { message: "the listen port is missing", hint };
  return flaw;
}

/** Says of a variable among the arguments where it belongs. Of its value only a target is shown. */
function misplacedVariable(word: string): Problem {
  const [, variable = "", value = ""] = VARIABLE.exec(word) ?? [];
  const isTarget = PLAIN_TARGET.test(value);
  const message = `${
    quoteInput(isTarget ? `${variable}=${value}` : variable)
  }: a variable, not a route`;
  const place = "write it before the command, or with -e before the image";
  const [, port, kind = ""] = ROUTE_VARIABLE.exec(variable) ?? [];
  if (port !== undefined) {
    const listen = kind === "TCP" ? port : `${port}/${kind.toLowerCase()}`;
    return {
      message,
      hint: `${place}; as an argument it is ${listen}=${isTarget ? value : "HOST:PORT"}`,
    };
  }
  const option = SPECS.find(({ name }) => variableOf(name) === variable);
  if (option === undefined) return { message, hint: place };
  const { name, kind: { placeholder } } = option;
  return {
    message,
    hint: `${place}; as an argument it is ${`--${name} ${placeholder}`.trimEnd()}`,
  };
}
