"""How the page of the ledger looks, and what it does when it is pointed at."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --ink: #1e293b; --pale: #64748b; --line: #cbd5e1; --ground: #ffffff; --card: #f8fafc;
  --strong: #2563eb; }
@media (prefers-color-scheme: dark) { :root { --ink: #e2e8f0; --pale: #94a3b8; --line: #475569; --ground: #0f172a;
  --card: #1e293b; --strong: #60a5fa; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); max-width: 1360px;
  margin: 2rem auto; padding: 0 1.5rem; }
h1, h2 { line-height: 1.2; margin: 1.6em 0 .5em; } h1 { margin-top: 0; }
p { color: var(--pale); max-width: 62rem; margin: .4em 0 .8em; }
.facts { display: flex; flex-wrap: wrap; gap: .8rem; }
.facts div { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .5rem 1rem; }
.facts b { display: block; font-size: 1.3rem; } .facts span { color: var(--pale); font-size: .85rem; }
.scroll, svg.roofline { background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
.scroll { overflow: auto; max-height: 85vh; }
.legend i { display: inline-block; width: 16px; height: 12px; vertical-align: -1px; }
svg { font: 12px system-ui, sans-serif; } svg text { fill: var(--ink); }
svg.roofline { width: 100%; max-width: 1000px; }
svg.graph { display: block; margin: 0 auto; }
svg .middle { text-anchor: middle; } svg .end { text-anchor: end; } svg .pale { fill: var(--pale); }
svg .grid { stroke: var(--line); stroke-width: .6; } svg .roof { fill: none; stroke: var(--strong); stroke-width: 2; }
svg .roofname { fill: var(--strong); font-weight: 600; }
svg .point { stroke: #475569; stroke-width: .8; fill-opacity: .85; }
svg .edge { fill: none; stroke: var(--pale); stroke-width: 1.1; stroke-opacity: .75; } svg .head { fill: var(--pale); }
svg .box { stroke: #64748b; stroke-width: .8; } svg .host { stroke-dasharray: 4 3; stroke-width: 2; }
svg text.dark { fill: #1e293b; } svg text.light { fill: #ffffff; }
.on .box, .point.on { stroke: var(--strong); stroke-width: 3; }
tr.on td { background: color-mix(in srgb, var(--strong) 18%, transparent); }
table { border-collapse: collapse; font-size: 13px; width: 100%; }
th { position: sticky; top: 0; background: var(--card); cursor: pointer; text-align: left; white-space: nowrap; }
th, td { padding: .25rem .5rem; border-bottom: 1px solid var(--line); }
td { max-width: 15rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.bar { display: inline-block; height: 9px; margin-right: 6px; background: #f98c3c; border-radius: 2px; }
th[aria-sort="ascending"]::after { content: " ↑"; } th[aria-sort="descending"]::after { content: " ↓"; }
#find { font: inherit; padding: .3rem .6rem; width: 20rem; max-width: 100%; }
#hint { position: fixed; pointer-events: none; z-index: 9; background: var(--ground); border: 1px solid var(--line);
  border-radius: 8px; padding: .5rem .8rem; font-size: 13px; box-shadow: 0 4px 16px #0004; max-width: 34rem; }
#hint div { overflow-wrap: anywhere; }
#hint div:first-child { font-weight: 600; }
"""

SCRIPT = """
const rows = JSON.parse(document.getElementById("rows").textContent);
const hint = document.getElementById("hint");
const body = document.querySelector("tbody");
let lit = null;
function light(row) {
  if (row === lit) return;
  document.querySelectorAll(".on").forEach(e => e.classList.remove("on"));
  if (row !== null) document.querySelectorAll(`[data-row="${row}"]`).forEach(e => e.classList.add("on"));
  lit = row;
}
document.addEventListener("pointermove", event => {
  const over = event.target.closest("[data-row]");
  light(over ? over.dataset.row : null);
  hint.hidden = !over;
  if (!over) return;
  hint.replaceChildren(...rows[over.dataset.row].map(text => {
    const line = document.createElement("div");
    line.textContent = text;
    return line;
  }));
  hint.style.left = Math.max(0, Math.min(event.clientX + 16, innerWidth - hint.offsetWidth - 8)) + "px";
  const below = event.clientY + 16 + hint.offsetHeight < innerHeight;
  hint.style.top = (below ? event.clientY + 16 : event.clientY - hint.offsetHeight - 12) + "px";
});
document.querySelectorAll("svg [data-row]").forEach(e => e.addEventListener("click", () =>
  body.querySelector(`[data-row="${e.dataset.row}"]`).scrollIntoView({ block: "center", behavior: "smooth" })));
document.querySelectorAll("th").forEach((head, column) => head.addEventListener("click", () => {
  const number = head.classList.contains("number") || column === 0;
  const down = head.getAttribute("aria-sort") ? head.getAttribute("aria-sort") === "ascending" : number && column > 0;
  document.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = tr => number ? Number(tr.cells[column].dataset.value) : tr.cells[column].textContent;
  const order = (a, b) => key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0;
  body.append(...[...body.rows].sort((a, b) => down ? order(b, a) : order(a, b)));
}));
document.getElementById("find").addEventListener("input", event => {
  const word = event.target.value.toLowerCase();
  for (const tr of body.rows) tr.hidden = !tr.textContent.toLowerCase().includes(word);
});
"""
