// The style and the script of the status page, as they stand in it: the page loads nothing.

/** Light and dark, wide and narrow. On a phone each row of a table becomes a card. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --back: #f5f6f8; --card: #fff; --text: #1c2330; --faint: #5d6778; --line: #e1e5eb;
  --good: #14723c; --good-back: #dcf3e4; --warn: #8a4b00; --warn-back: #fdebcf; --bad: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #12151b; --card: #1b2029; --text: #e4e8ee; --faint: #97a2b3; --line: #2c3440;
    --good: #7ad79c; --good-back: #17382a; --warn: #f2bd6b; --warn-back: #40300f; --bad: #ff8a80;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.5rem; max-width: 84rem;
  background: var(--back); color: var(--text);
  font: 15px/1.45 system-ui, sans-serif; font-variant-numeric: tabular-nums;
}
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: .3rem .9rem; }
h1 { margin: 0; font-size: 1.5rem; }
h2 { margin: 1.8rem 0 .6rem; font-size: 1.05rem; }
.faint, footer, dt { color: var(--faint); }
.state { padding: .1rem .7rem; border-radius: 1rem; font-weight: 600; }
.ready { color: var(--good); background: var(--good-back); }
.draining { color: var(--warn); background: var(--warn-back); }
.bad { color: var(--bad); }
dl { display: flex; flex-wrap: wrap; gap: .7rem; margin: 1.2rem 0 0; }
dl + dl { margin-top: .7rem; }
dl div, table { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; }
dl div { flex: 1 1 8.5rem; padding: .6rem .9rem; }
dt { font-size: .82rem; }
dd { margin: 0; font-size: 1.25rem; font-weight: 600; white-space: nowrap; }
table { width: 100%; border-spacing: 0; }
th, td { padding: .5rem .9rem; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
th { font-size: .82rem; font-weight: 500; color: var(--faint); overflow-wrap: normal; }
tbody td { border-top: 1px solid var(--line); }
.wide { overflow-x: auto; }
.number { text-align: right; }
td.number { white-space: nowrap; }
.name { min-width: 6rem; font-weight: 600; }
.error { min-width: 8rem; }
.when { display: block; font-size: .82rem; color: var(--faint); }
.address { font-family: ui-monospace, monospace; font-size: .87rem; overflow-wrap: break-word; }
.origin { margin: .3rem 0 0; overflow-wrap: anywhere; }
.flaw { margin: 1rem 0 0; padding: .7rem .9rem; border: 1px solid var(--bad); border-left-width: .4rem; border-radius: .5rem; background: var(--card); overflow-wrap: anywhere; }
.flaw h2 { margin: 0; color: var(--bad); }
.flaw p { margin: .2rem 0 0; }
.flaw .problems { margin-top: .5rem; max-height: 20rem; overflow: auto; white-space: pre-line; }
.none { margin: 0; padding: .9rem; background: var(--card); border: 1px solid var(--line); border-radius: .5rem; overflow-wrap: anywhere; }
.leaving td, .leaving .bad { color: var(--faint); }
.leaving .name { font-weight: 400; }
.mark { padding: .05rem .5rem; border: 1px dashed var(--faint); border-radius: 1rem; font-size: .82rem; font-weight: 400; white-space: nowrap; }
#stale { margin: 1rem 0 0; padding: .5rem .9rem; border-radius: .5rem; color: var(--warn); background: var(--warn-back); }
footer { margin-top: 1.5rem; font-size: .87rem; }
a { color: inherit; }
@media (max-width: 80rem) {
  th, td { padding: .5rem; }
}
@media (max-width: 60rem) {
  body { padding: 1rem; }
  thead { display: none; }
  table, tbody, tr, td { display: block; }
  tr { padding: .5rem 0; }
  tr + tr { border-top: 1px solid var(--line); }
  tbody td { display: flex; justify-content: space-between; gap: 1rem; padding: .15rem .9rem; border: 0; text-align: right; white-space: normal; overflow-wrap: anywhere; }
  .address { overflow-wrap: anywhere; }
  td.name { justify-content: start; padding-bottom: .3rem; text-align: left; font-size: 1.05rem; }
  td.name::before { display: none; }
  td::before { content: attr(data-label); flex: none; font-weight: 400; font-family: system-ui, sans-serif; font-size: .87rem; color: var(--faint); }
  .empty { display: none; }
}
`;

/**
 * Fetches the page every two seconds and takes over what has changed, text by text: nothing flickers,
 * what is selected stays so, and what an alias says is never made into HTML. It rests while the page
 * is hidden.
 */
export const SCRIPT = `
"use strict";
const EVERY_MS = 2000;

async function refresh() {
  const stale = document.getElementById("stale");
  try {
    const response = await fetch(location.pathname, { signal: AbortSignal.timeout(5000) });
    if (!response.ok) throw new Error(response.statusText);
    const next = new DOMParser().parseFromString(await response.text(), "text/html");
    update(document.querySelector("main"), next.querySelector("main"));
    document.title = next.title;
    stale.hidden = true;
  } catch {
    stale.hidden = false;
  }
}

function update(old, next) {
  if (old.nodeName !== next.nodeName || old.childNodes.length !== next.childNodes.length) {
    old.replaceWith(document.importNode(next, true));
  } else if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== next.data) old.data = next.data;
  } else {
    for (const { name, value } of next.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    const children = [...next.childNodes];
    [...old.childNodes].forEach((child, index) => update(child, children[index]));
  }
}

async function keepFresh() {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    if (!document.hidden) await refresh();
  }
}

document.addEventListener("visibilitychange", () => document.hidden || refresh());
keepFresh();
`;
