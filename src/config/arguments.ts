// Routes as arguments: `LISTEN[/PROTOCOL]=TARGET`, and the bare targets of `wait`. It knows nothing of
// options, nor of the environment.

import { type Endpoint, isIp, parseAddress, parsePort } from "../base/address.ts";
import { InputError, reasonOf } from "../base/errors.ts";
import { quoteInput } from "../base/text.ts";
import type { Candidate } from "./routes.ts";
import { parseProtocol, parseTargets, type Targets } from "./targets.ts";
import type { ReadOptions } from "./variables.ts";

/** Whether a word is a route, and not a bare target: a `=` may stand among settings too. */
export function isRoute(word: string): boolean {
  return /^[^?]*=/.test(word);
}

/**
 * What arguments say, in their order: routes, and bare targets that no route leads to.
 *
 * @param options With `holdsKey` some of the words may be a key: none is shown.
 */
export function readArguments(
  words: readonly string[],
  { bind, settings, listens, problems, holdsKey }: ReadOptions & {
    readonly holdsKey?: boolean;
  },
): { readonly candidates: readonly Candidate[]; readonly bare: readonly Targets[] } {
  const candidates: Candidate[] = [];
  const bare: Targets[] = [];
  for (const word of words) {
    const equals = isRoute(word) ? word.indexOf("=") : -1;
    const shown = quoteInput(word, holdsKey);
    try {
      const listen = equals < 0 ? undefined : parseListen(word.slice(0, equals), bind);
      const target = word.slice(equals + 1);
      const targets = parseTargets(target, { listen, listens, settings, needsScheme: false });
      if (listen === undefined) bare.push(targets);
      else candidates.push({ source: `argument ${shown}`, listen, ...targets });
    } catch (error) {
      problems.push({
        message: `${shown}: ${reasonOf(error)}`,
        hint: error instanceof InputError
          ? error.hint
          : equals < 0
          ? "a target is written HOST:PORT"
          : "a route is written PORT=HOST:PORT or ADDRESS:PORT=HOST:PORT",
      });
    }
  }
  return { candidates, bare };
}

/** `[ADDRESS:]PORT[/PROTOCOL]` */
function parseListen(text: string, bind: string): Endpoint {
  const slash = text.lastIndexOf("/");
  const protocol = parseProtocol(slash < 0 ? "tcp" : text.slice(slash + 1));
  const place = slash < 0 ? text : text.slice(0, slash);
  const address = place.includes(":") || place.startsWith("[")
    ? parseAddress(place, "the listen port")
    : { hostname: bind, port: parsePort(place, "the listen port") };
  if (!isIp(address.hostname) && address.hostname !== "localhost") {
    throw new InputError(
      "the listen address is not an IP address",
      `before the = stands where to listen: write ${address.port}=HOST:PORT`,
    );
  }
  return { protocol, ...address };
}
