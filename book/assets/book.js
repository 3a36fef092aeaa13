// The theme lets the keyboard scroll wide code only where it was visible when the page
// was loaded. Opening a fold shows more: ask the theme to look again.
const again = () => setTimeout(() => dispatchEvent(new Event("resize")));
addEventListener("toggle", again, true);
addEventListener("click", (event) => event.target.closest?.(".admonition") && again());

// A symbol tells what it means: the rows of the notation card that begin with it. The first row lists several symbols, the others one each.
const glyph = (mi) => mi.firstElementChild?.classList[0];
function meanings() {
  const found = new Map();
  for (const row of document.querySelectorAll(".notation-card tbody tr")) {
    const symbols = [...row.cells[0].querySelectorAll("mjx-mi")];
    const text = row.cells[0].querySelector("mjx-assistive-mml")?.textContent ?? "";
    for (const mi of /^\p{L}+(, *\p{L}+)+$/u.test(text.trim()) ? symbols : symbols.slice(0, 1))
      found.set(glyph(mi), [...(found.get(glyph(mi)) ?? []), row]);
  }
  return found;
}

// What is under the pointer or has the focus, and what can be said about it: of a symbol
// its rows, of a term its entry in the glossary, of a source its line in the references,
// which the link brings as its title.
let known;
function about(target) {
  const mi = target.closest?.(".bd-content mjx-container mjx-mi");
  if (mi && !mi.closest(".notation-card")) {
    const rows = (known ??= meanings()).get(glyph(mi));
    if (!rows) return;
    const table = document.createElement("table");
    table.append(...rows.map((row) => row.cloneNode(true)));
    return [mi, table];
  }
  const link = target.closest?.("a.reference.internal");
  const [, page, name] = link?.getAttribute("href").match(/([^/]*)#(.+)$/) ?? [];
  const entry = name && document.querySelector(`template[data-term="${CSS.escape(name)}"]`);
  if (entry) return [link, entry.content.cloneNode(true)];
  if (page !== "references.html" || !(link.title || link.dataset.source)) return;
  link.dataset.source ??= link.title;
  link.removeAttribute("title"); // or the browser shows it, too
  return [link, link.dataset.source];
}

const tip = document.createElement("div");
Object.assign(tip, { className: "notation-tip", id: "tip", role: "tooltip", hidden: true });
let asked;
function hide() {
  tip.hidden = true;
  asked?.removeAttribute("aria-describedby");
  asked = undefined;
}
function place() {
  if (!asked) return;
  const at = asked.getClientRects()[0];
  const left = Math.min(at.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
  tip.style.left = `${Math.max(8, left) + scrollX}px`;
  tip.style.top = `${at.bottom + scrollY}px`;
}
function tell({ target }) {
  if (target === tip || tip.contains(target)) return; // it stays while the pointer is on it
  const [at, content] = about(target) ?? [];
  if (at === asked) return;
  hide();
  if (!at) return;
  asked = at;
  tip.replaceChildren(content);
  tip.hidden = false;
  document.body.append(tip);
  if (at.matches("a")) at.setAttribute("aria-describedby", "tip");
  place();
  if (tip.querySelector("span.math")) window.MathJax?.typesetPromise?.([tip]).then(place);
}
addEventListener("pointerover", tell);
addEventListener("focusin", tell);
addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  hide();
  document.querySelector(".notation-card")?.removeAttribute("open");
});

// On paper every fold is open: the toggle buttons' script opens admonitions only.
addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details:not([open], .notation-card)"))
    fold.open = fold.dataset.forPrint = true;
});
addEventListener("afterprint", () => {
  for (const fold of document.querySelectorAll("details[data-for-print]")) {
    fold.open = false;
    delete fold.dataset.forPrint;
  }
});

// The results right after a question wait until its reader has made a choice.
addEventListener("DOMContentLoaded", () => {
  for (const choice of document.querySelectorAll(".predict > .choice:last-child")) {
    const box = choice.parentElement, cells = [];
    for (let next = box; (next = next.nextElementSibling)?.matches(".cell"); ) cells.push(next);
    const wait = (on) => cells.forEach((cell) => cell.classList.toggle("waits", on));
    wait(true);
    box.addEventListener("toggle", () => wait(false), true);
  }
});

// The version in the footer opens to other versions and to files of this one, where
// versions.js knows of some. The same page is chosen, if the other version has it.
addEventListener("DOMContentLoaded", () => {
  const place = document.querySelector(".version");
  const { downloads, versions } = globalThis.beside ?? { downloads: {}, versions: [] };
  const root = new URL(document.documentElement.dataset.content_root, location);
  const page = location.pathname.slice(root.pathname.length);
  const list = document.createElement("ul");
  const add = (text, address) => {
    const item = list.appendChild(document.createElement("li"));
    const link = item.appendChild(document.createElement("a"));
    Object.assign(link, { textContent: text, href: new URL(address, root) });
  };
  for (const [text, file] of Object.entries(downloads)) add(text, file);
  for (const { name, path, pages } of versions)
    add(name, path + (pages.includes(page) ? page : "index.html"));
  if (!list.children.length || !place) return;
  const fold = document.createElement("details");
  const summary = fold.appendChild(document.createElement("summary"));
  summary.textContent = place.textContent;
  fold.append(list);
  place.replaceChildren(fold);
});

// On a phone a tap shows a figure larger, to be moved sideways, and another tap whole again.
addEventListener("click", ({ target }) => {
  const box = target.matches?.(".cell_output > img") && target.parentElement;
  if (box) box.tabIndex = box.classList.toggle("large") ? 0 : -1; // arrow keys move it, too
});

// The front page's film stands still for those who ask for less motion.
addEventListener("DOMContentLoaded", () => {
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  for (const film of document.querySelectorAll("video[autoplay]")) {
    film.autoplay = false;
    film.pause();
  }
});

// The arrows beside chapters with a deeper page have no words of their own.
addEventListener("DOMContentLoaded", () => {
  for (const arrow of document.querySelectorAll(".has-children summary"))
    arrow.setAttribute("aria-label", "Deeper pages");
});
