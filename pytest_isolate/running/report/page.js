"use strict";
(() => {
  const MOST_HITS = 200;
  const MOST_MARKED = 2000;
  const find = (selector, within = document) => within.querySelector(selector);
  const form = find("#search"), query = find("#query"), count = find("#count"), hits = find("#hits"), scope = find("#scope");
  let logs = null;
  let only = null;
  let pending = 0;

  document.documentElement.classList.add("script");
  form.hidden = false;

  // Where a fragment is in something closed, older browsers do not open it.
  function reveal(element) {
    for (let up = element; up; up = up.parentElement) if (up.tagName === "DETAILS") up.open = true;
  }
  function follow() {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target) { reveal(target); target.scrollIntoView(); }
  }
  addEventListener("hashchange", follow);
  follow();

  // The texts are read when they are first needed: closed logs cost nothing until then.
  function readLogs() {
    if (logs) return logs;
    logs = [];
    for (const log of document.querySelectorAll(".log")) {
      for (const pre of log.querySelectorAll("pre")) {
        pre.normalize();
        const text = pre.textContent;
        logs.push({ pre, log: log.dataset.log, name: log.dataset.name, text, lower: text.toLowerCase() });
      }
    }
    return logs;
  }

  function positions(part, wanted, most) {
    const found = [];
    for (let at = part.lower.indexOf(wanted); at >= 0 && found.length < most; at = part.lower.indexOf(wanted, at + wanted.length)) found.push(at);
    return found;
  }

  function lineAround(text, at) {
    const end = text.indexOf("\n", at), start = text.lastIndexOf("\n", at - 1) + 1;
    return { start, text: text.slice(start, end < 0 ? text.length : end) };
  }

  function range(part, at, length) {
    const made = document.createRange(), node = part.pre.firstChild;
    made.setStart(node, at);
    made.setEnd(node, at + length);
    return made;
  }

  function mark(name, ranges) {
    if (!globalThis.CSS || !CSS.highlights) return;
    if (ranges.length) CSS.highlights.set(name, new Highlight(...ranges)); else CSS.highlights.delete(name);
  }

  function show(part, at, length) {
    reveal(part.pre);
    const place = range(part, at, length), box = part.pre.closest(".log");
    mark("current", [place]);
    box.scrollIntoView({ block: "center" });
    box.scrollTop += place.getBoundingClientRect().top - box.getBoundingClientRect().top - box.clientHeight / 3;
    box.focus({ preventScroll: true });
  }

  function excerpt(text, at, length) {
    const code = document.createElement("code"), hit = document.createElement("mark");
    const from = Math.max(0, at - 60);
    hit.textContent = text.slice(at, at + length);
    code.append((from ? "…" : "") + text.slice(from, at).trimStart(), hit, text.slice(at + length, at + length + 120));
    return code;
  }

  function addHit(where, text, at, length, go) {
    const item = document.createElement("li"), link = document.createElement("a");
    link.href = "#";
    link.textContent = where;
    link.addEventListener("click", (event) => { event.preventDefault(); go(); });
    item.append(link, " ", excerpt(text, at, length));
    hits.append(item);
  }

  function searchTests(wanted) {
    let found = 0;
    for (const row of only ? [] : document.querySelectorAll("tr[data-test]")) {
      const at = row.dataset.test.toLowerCase().indexOf(wanted);
      if (at < 0) continue;
      if (++found <= MOST_HITS / 4) addHit("test", row.dataset.test, at, wanted.length, () => {
        reveal(row);
        row.scrollIntoView({ block: "center" });
        find("th", row).tabIndex = -1;
        find("th", row).focus({ preventScroll: true });
      });
    }
    return found;
  }

  function searchLogs(wanted) {
    const marked = [], within = new Set();
    let lines = 0;
    for (const part of readLogs()) {
      if (only && part.log !== only) continue;
      let last = -1;
      for (const at of positions(part, wanted, Infinity)) {
        if (marked.length < MOST_MARKED) marked.push(range(part, at, wanted.length));
        const line = lineAround(part.text, at);
        if (line.start === last) continue;
        last = line.start;
        within.add(part.log);
        if (++lines <= MOST_HITS) addHit(part.name, line.text, at - line.start, wanted.length, () => show(part, at, wanted.length));
      }
    }
    mark("hit", marked);
    return [lines, within.size];
  }

  const some = (number, one, many) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

  function search() {
    clearTimeout(pending);
    const wanted = query.value.trim().toLowerCase();
    hits.replaceChildren();
    mark("hit", []);
    mark("current", []);
    hits.hidden = !wanted;
    count.textContent = "";
    if (!wanted) return;
    const began = performance.now();
    const tests = searchTests(wanted), [lines, services] = searchLogs(wanted);
    const shown = hits.childElementCount < lines + tests ? `, the first ${hits.childElementCount} are shown` : "";
    count.textContent = `${only ? "" : some(tests, "test, ", "tests, ")}${some(lines, "line", "lines")} in ${some(services, "log", "logs")}${shown}`;
    count.dataset.took = (performance.now() - began).toFixed(1);
  }

  query.addEventListener("input", () => { clearTimeout(pending); pending = setTimeout(search, 120); });
  form.addEventListener("submit", (event) => { event.preventDefault(); search(); find("#hits a")?.focus(); });
  query.addEventListener("keydown", (event) => { if (event.key === "Escape") { query.value = ""; search(); } });

  function searchWithin(log, name) {
    only = log;
    scope.hidden = !log;
    find("strong", scope).textContent = name;
    search();
    query.focus();
  }
  find("button", scope).addEventListener("click", () => searchWithin(null, ""));
  document.addEventListener("click", (event) => {
    const button = event.target.closest(".search-this"), bar = event.target.closest("[data-to]");
    if (button) searchWithin(button.dataset.log, button.dataset.name);
    if (bar) location.hash = bar.dataset.to;
  });

  const zoom = find("#zoom");
  zoom.addEventListener("input", () => {
    const canvas = find(".canvas"), frame = canvas.parentElement;
    const middle = (frame.scrollLeft + frame.clientWidth / 2) / frame.scrollWidth;
    canvas.style.setProperty("--zoom", zoom.value);
    find("#zoomed").textContent = `${zoom.value}×`;
    frame.scrollLeft = middle * frame.scrollWidth - frame.clientWidth / 2;
  });

  // On paper nothing can be opened.
  addEventListener("beforeprint", () => {
    for (const closed of document.querySelectorAll("#failed details:not([open]), #logs details:has(.window):not([open])")) closed.open = true;
  });
})();
