// What the status page says of this ambassador's own certificate. Pure.

import type { CertificateInUse } from "../net/credentials.ts";
import { formatNumber, formatSpan, formatTime, markup } from "./markup.ts";

/** From when on a certificate is said to expire soon, in milliseconds before. */
const SOON_MS = 14 * 86_400_000;
/** How many of its names are shown. */
const MAX_NAMES = 8;

/** What is to be said of a certificate's dates. */
type Dates = "good" | "soon" | "expired" | "early";

/** How it stands with a certificate at this moment, in milliseconds since the epoch. */
function datesOf({ notBeforeMs, notAfterMs }: CertificateInUse, now: number): Dates {
  if (now > notAfterMs) return "expired";
  if (now < notBeforeMs) return "early";
  // One that lives for a day is renewed every day.
  const soonMs = Math.min(SOON_MS, (notAfterMs - notBeforeMs) / 3);
  return notAfterMs - now < soonMs ? "soon" : "good";
}

/** Whether somebody has to do something about a certificate. */
export function isCertificateAlarming(certificate: CertificateInUse, now: number): boolean {
  return datesOf(certificate, now) !== "good";
}

/** Whose it is, who signed it, and how long it is valid. */
export function certificateBox(certificate: CertificateInUse, now: number): string {
  const { option, path = option, subject, names, issuer, notBeforeMs, notAfterMs } = certificate;
  const dates = datesOf(certificate, now);
  const left = formatSpan(notAfterMs - now);
  const titles: Readonly<Record<Dates, string>> = {
    good: "Certificate",
    soon: `The certificate expires in ${left}`,
    expired: "The certificate has expired: peers refuse it",
    early: "The certificate is not valid yet: peers refuse it",
  };
  const until: Readonly<Record<Dates, string>> = {
    good: `valid until ${formatTime(notAfterMs)} (${left})`,
    soon: `valid until ${formatTime(notAfterMs)}`,
    expired: `expired at ${formatTime(notAfterMs)}, ${formatSpan(now - notAfterMs)} ago`,
    early: `valid from ${formatTime(notBeforeMs)} on (in ${formatSpan(notBeforeMs - now)})`,
  };
  const shown = names.length > 0 ? names : [subject];
  const more = shown.length - MAX_NAMES;
  const rest = more > 0 ? ` and ${formatNumber(more)} more` : "";
  return markup`<section class="certificate ${dates}">
<h2>${titles[dates]}</h2>
<p><bdi>${shown.slice(0, MAX_NAMES).join(", ")}</bdi>${rest}</p>
<p class="faint">${until[dates]}` +
    (issuer === undefined ? "" : markup`, signed by <bdi>${issuer}</bdi>`) +
    markup`, from <bdi>${path}</bdi></p>\n</section>\n`;
}
