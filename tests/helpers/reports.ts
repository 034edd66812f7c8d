// What the status page is made from, for tests.

import type { WiringReport } from "../../src/forward/report.ts";

/** Routes that can't change while the program runs. */
export const FIXED_WIRING: WiringReport = {
  file: undefined,
  since: 0,
  rewires: { ok: 0, failed: 0 },
  flaw: undefined,
};
