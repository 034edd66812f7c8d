// A route at work: what holds for the clients that come while it stands. A rewiring that only leads
// elsewhere changes it, so that clients who wait follow; one that changes anything else, such as who may
// come, puts another in its place, and who came before stays with what let them in.

import { formatListen } from "../base/address.ts";
import type { RouteSettings } from "../config/options.ts";
import { type Route, routeName } from "../config/routes.ts";
import { formatSettings } from "../config/settings.ts";
import type { Transport } from "../net/stream.ts";
import type { Share } from "./admission.ts";
import type { RouteCounts } from "./counts.ts";
import type { Targets } from "./targets.ts";

/** What an {@linkcode ActiveRoute} is made with. */
export interface ActiveRouteOptions {
  /** Where to connect. */
  readonly targets: Targets;
  /** What its clients owe before they are served, if anything. */
  readonly shakeHands: Transport["shakeHands"];
  /** What is held where it listens. */
  readonly share: Share;
  /** What has been done there so far. */
  readonly counts: RouteCounts;
}

/** A route at work. */
export class ActiveRoute {
  /** Its listen address as text. */
  readonly listen: string;
  /** What holds for it. */
  readonly settings: RouteSettings;
  /** What its clients owe before they are served, if anything. */
  readonly shakeHands: Transport["shakeHands"];
  /** What it holds; shared with those before and after it. */
  readonly share: Share;
  /** What it has done so far; shared likewise. */
  readonly counts: RouteCounts;
  /** Until when its clients from this machine are taken for its own connections coming round. */
  loopsUntilMs: number = -Infinity;
  /** When it ceased to be a route, as `performance.now()` tells it; undefined as long as it is one. */
  goneMs: number | undefined;
  #route: Route;
  #name: string;
  #targets: Targets;

  /** Takes the route with the port that was really bound. */
  constructor(route: Route, { targets, shakeHands, share, counts }: ActiveRouteOptions) {
    this.#route = route;
    this.#name = routeName(route);
    this.#targets = targets;
    this.listen = formatListen(route.listen);
    this.settings = route.settings;
    this.shakeHands = shakeHands;
    this.share = share;
    this.counts = counts;
  }

  /** The route, with the port that was really bound. */
  get route(): Route {
    return this.#route;
  }

  /** Its name in logs and metrics. */
  get name(): string {
    return this.#name;
  }

  /** Where to connect. */
  get targets(): Targets {
    return this.#targets;
  }

  /** Whether another route lets in whom this one does, and does with them what this one does. */
  isLike({ listen, settings }: Route): boolean {
    return listen.protocol === this.#route.listen.protocol &&
      formatSettings(settings) === formatSettings(this.settings);
  }

  /** Leads elsewhere from now on: to the targets of a route that is like it. */
  lead(route: Route, targets: Targets): void {
    this.#route = route;
    this.#name = routeName(route);
    this.#targets = targets;
    this.goneMs = undefined;
    this.loopsUntilMs = -Infinity;
  }
}
