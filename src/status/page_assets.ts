// The style and the script of the status page, as they stand in it: the page loads nothing.

/** Light and dark, wide and narrow. On a phone each row of a table becomes a card. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --back: #f5f6f8; --card: #fff; --text: #1c2330; --faint: #5d6778; --line: #e1e5eb;
  --good: #14723c; --good-back: #dcf3e4; --warn: #8a4b00; --warn-back: #fdebcf;
  --bad: #b3261e; --bad-back: #fdecea; --focus: #2457c5;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #12151b; --card: #1b2029; --text: #e4e8ee; --faint: #97a2b3; --line: #2c3440;
    --good: #7ad79c; --good-back: #17382a; --warn: #f2bd6b; --warn-back: #40300f;
    --bad: #ff8a80; --bad-back: #35191b; --focus: #8ab4ff;
  }
}
* { box-sizing: border-box; }
[hidden] { display: none !important; }
:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; }
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
.warn { color: var(--warn); }
.past { color: var(--faint); }
.up { color: var(--good); }
.down { color: var(--bad); font-weight: 600; }
dl { display: flex; flex-wrap: wrap; gap: .7rem; margin: 1.2rem 0 0; }
dl + dl { margin-top: .7rem; }
dl div, table { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; }
dl div { flex: 1 1 8.5rem; padding: .6rem .9rem; }
dt { font-size: .82rem; white-space: nowrap; }
dd { display: flex; flex-wrap: wrap; align-items: baseline; column-gap: .6rem; margin: 0; font-size: 1.25rem; font-weight: 600; white-space: nowrap; }
[data-grows]::after { content: attr(data-grows); font-size: .82rem; font-weight: 400; color: var(--faint); white-space: nowrap; }
td [data-grows]:not(.when)::after, td[data-grows]::after { display: block; }
td .when[data-grows]::after { content: ", " attr(data-grows); font-size: inherit; }
[data-grows=""][data-rate]::after, td .when[data-grows=""]::after { content: none; }
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
.fares { white-space: nowrap; }
.address { font-family: ui-monospace, monospace; font-size: .87rem; overflow-wrap: break-word; }
.origin { margin: .3rem 0 0; overflow-wrap: anywhere; }
.flaw, .certificate { margin: 1rem 0 0; padding: .7rem .9rem; border: 1px solid var(--line); border-radius: .5rem; background: var(--card); overflow-wrap: anywhere; }
.flaw, .expired, .early { border-color: var(--bad); border-left-width: .4rem; }
.soon { border-color: var(--warn); border-left-width: .4rem; }
.flaw h2, .certificate h2 { margin: 0; }
.flaw h2, .expired h2, .early h2 { color: var(--bad); }
.soon h2 { color: var(--warn); }
.flaw p, .certificate p { margin: .2rem 0 0; }
.flaw ul { margin: .4rem 0 0; padding: 0; list-style: none; }
.flaw li + li { margin-top: .3rem; }
.flaw a { font-weight: 600; }
.flaw .problems { margin-top: .5rem; max-height: 20rem; overflow: auto; white-space: pre-line; }
.good { margin-top: 1.8rem; }
.search { display: none; flex-wrap: wrap; align-items: center; gap: .5rem 1.2rem; margin: 1.8rem 0 0; }
.scripted .search:not(:empty) { display: flex; }
.search + h2 { margin-top: 1.2rem; }
.search input { margin: 0 .2rem; vertical-align: middle; }
.search input[type="search"] { width: 18rem; max-width: 100%; padding: .35rem .6rem; border: 1px solid var(--faint); border-radius: .4rem; background: var(--card); color: inherit; font: inherit; }
.search output { color: var(--faint); }
.none { margin: 0; padding: .9rem; background: var(--card); border: 1px solid var(--line); border-radius: .5rem; overflow-wrap: anywhere; }
.leaving td, .leaving td span { color: var(--faint); }
.leaving .name { font-weight: 400; }
.failing td { background: var(--bad-back); }
.failing td:first-child { box-shadow: inset .3rem 0 var(--bad); }
.failing .mark { border: 0; background: var(--bad); color: var(--card); font-weight: 600; }
tr { scroll-margin: 4rem; }
tr:target { outline: 2px solid var(--focus); outline-offset: -2px; }
summary { cursor: pointer; }
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
  tbody td { display: flex; justify-content: end; gap: .6rem; padding: .15rem .9rem; border: 0; text-align: right; white-space: normal; overflow-wrap: anywhere; }
  .address { overflow-wrap: anywhere; }
  td.name { justify-content: start; padding-bottom: .3rem; text-align: left; font-size: 1.05rem; }
  td.name::before { display: none; }
  td::before { content: attr(data-label); flex: none; margin-right: auto; font-weight: 400; font-family: system-ui, sans-serif; font-size: .87rem; color: var(--faint); }
  .empty { display: none; }
  td [data-grows]:not(.when)::after, td[data-grows]::after { display: inline; }
  .failing td, .failing td:first-child { background: none; box-shadow: none; }
  .fares { white-space: normal; }
  .failing { box-shadow: inset .3rem 0 var(--bad); background: var(--bad-back); }
}
`;

/**
 * Fetches the page every two seconds and takes over what has changed, text by text: nothing flickers,
 * what is selected stays so, and what an alias says is never made into HTML. It rests while the page
 * is hidden. What grows gets a rate: by how much more it is than at the look before.
 */
export const SCRIPT = `
"use strict";
const EVERY_MS = 2000;
/** Share of the time that the page may be busy with itself. */
const MAX_BUSY = 1 / 20;
const UNITS = ["B/s", "KiB/s", "MiB/s", "GiB/s", "TiB/s"];
let before = look(document.querySelector("main"));

async function keepFresh() {
  for (let pauseMs = EVERY_MS;;) {
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
    while (document.hidden) {
      await new Promise((resolve) =>
        document.addEventListener("visibilitychange", resolve, { once: true })
      );
    }
    pauseMs = Math.max(EVERY_MS, await refresh() / MAX_BUSY);
  }
}

/** Shows how it is now; gives how long that has kept the page busy. */
async function refresh() {
  const stale = document.getElementById("stale");
  try {
    const response = await fetch(location.pathname, { signal: AbortSignal.timeout(5000) });
    if (!response.ok) throw new Error(response.statusText);
    const text = await response.text();
    const startMs = performance.now();
    const next = new DOMParser().parseFromString(text, "text/html");
    const main = next.querySelector("main");
    const now = look(main);
    addRates(main, now);
    before = now;
    update(document.querySelector("main"), main);
    document.title = next.title;
    search();
    stale.hidden = true;
    // What the browser does about it counts as well.
    document.body.getBoundingClientRect();
    return performance.now() - startMs;
  } catch {
    stale.hidden = false;
    return 0;
  }
}

function update(old, next) {
  if (old.isEqualNode(next)) return;
  if (old.nodeName !== next.nodeName || old.childNodes.length !== next.childNodes.length) {
    // What is written there is the script's own.
    if (old.nodeName !== "OUTPUT") old.replaceWith(document.importNode(next, true));
  } else if (old.nodeType === Node.TEXT_NODE) {
    old.data = next.data;
  } else {
    for (const { name, value } of next.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    const children = [...next.childNodes];
    [...old.childNodes].forEach((child, index) => update(child, children[index]));
  }
}

/** The numbers that have a rate, and when and of which process they are. */
function look(main) {
  const counts = new Map();
  for (const row of main.querySelectorAll("dl, tr[id]")) {
    for (const one of row.querySelectorAll("[data-rate]")) {
      const text = one.title || one.textContent;
      counts.set(row.id + " " + one.dataset.rate, Number(text.replaceAll(",", "")));
    }
  }
  return { at: Number(main.dataset.at), started: main.dataset.started, counts };
}

/** Writes beside the numbers how fast they have grown since the look before. */
function addRates(main, now) {
  // Of another process nothing can be said: it has begun to count anew.
  const isSame = now.started === before.started && now.at > before.at;
  const seconds = isSame ? (now.at - before.at) / 1000 : NaN;
  for (const row of main.querySelectorAll("dl, tr[id]")) {
    for (const one of row.querySelectorAll("[data-rate]")) {
      const key = row.id + " " + one.dataset.rate;
      const rate = (now.counts.get(key) - before.counts.get(key)) / seconds;
      one.dataset.grows = formatRate(rate, one);
    }
  }
}

/** Nothing for what is new or counts anew. In a table the numbers that stand still have none either. */
function formatRate(rate, { title, nodeName }) {
  if (!(rate > 0 || rate === 0 && nodeName === "DD")) return "";
  return title === "" ? formatDigits(rate) + "/s" : formatByteRate(rate);
}

/** One digit behind the point where there is one before it. */
function formatDigits(rate) {
  return rate.toLocaleString("en", { maximumFractionDigits: rate < 10 ? 1 : 0 });
}

function formatByteRate(rate) {
  let unit = 0;
  for (; rate >= 1000 && unit < UNITS.length - 1; unit++) rate /= 1024;
  return formatDigits(rate) + " " + UNITS[unit];
}

/** Shows those routes alone that are asked for. */
function search() {
  const find = document.getElementById("find");
  const words = find === null ? [] : find.value.toLowerCase().split(/\\s+/).filter(Boolean);
  const onlyFailing = document.getElementById("only-failing")?.checked ?? false;
  const rows = [...document.querySelectorAll("#routes tbody tr")];
  for (const row of rows) {
    const text = words.length === 0 ? "" : textOf(row);
    row.hidden = onlyFailing && !row.classList.contains("failing") ||
      !words.every((word) => text.includes(word));
  }
  if (find === null) return;
  const isSearched = onlyFailing || words.length > 0;
  const shown = rows.filter((row) => !row.hidden).length;
  const said = isSearched ? shown.toLocaleString("en") + " of " + rows.length.toLocaleString("en") + " routes" : "";
  const output = document.querySelector(".search output");
  if (output.textContent !== said) output.textContent = said;
}

/** What can be searched for: no numbers that change, and no words that all have. */
function textOf(row) {
  return [...row.querySelectorAll(".name, .address, .error")]
    .map((one) => one.textContent).join(" ").toLowerCase();
}

/** A link to a route that is not shown would lead nowhere. */
function showAll() {
  const [find, onlyFailing] = ["find", "only-failing"].map((id) => document.getElementById(id));
  if (find === null) return;
  find.value = "";
  onlyFailing.checked = false;
  search();
}

document.documentElement.classList.add("scripted");
document.addEventListener("input", search);
document.addEventListener("click", ({ target }) => target.closest(".flaw a") && showAll());
// The browser may have kept what was asked for before.
search();
keepFresh();
`;
