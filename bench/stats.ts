// Numbers to one number, and numbers to text. It knows nothing of what was measured.

/** The middle value; NaN where there is none. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** The value below which a share (0 to 1) of the values lies, interpolated; NaN where there is none. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.filter((value) => !Number.isNaN(value)).sort((a, b) => a - b);
  const position = (sorted.length - 1) * share;
  const low = sorted[Math.floor(position)] ?? NaN;
  const high = sorted[Math.ceil(position)] ?? NaN;
  return low + (high - low) * (position - Math.floor(position));
}

/** All together. */
export function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** How many times better `ours` is than `theirs`: above 1 is better, whichever way is better. */
export function ratio(ours: number, theirs: number, better: "more" | "less"): number {
  return better === "more" ? ours / theirs : theirs / ours;
}

/** Three significant digits, thousands apart: `0.107`, `14.2`, `48,100`. */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return "–";
  const [whole = "", fraction] = (value === 0 ? "0" : plainDigits(value)).split(".");
  const grouped = whole.replace(/\B(?=(?:\d{3})+$)/g, ",");
  return fraction === undefined ? grouped : `${grouped}.${fraction}`;
}

function plainDigits(value: number): string {
  const rounded = Number(value.toPrecision(3));
  const whole = Math.floor(Math.log10(Math.abs(rounded))) + 1;
  return rounded.toFixed(Math.max(0, 3 - whole));
}

/** `2.35×`, `12×`; a dash where there is none. */
export function formatRatio(value: number): string {
  if (!Number.isFinite(value)) return "–";
  return `${value.toFixed(value < 10 ? 2 : 0)}×`;
}
