// Leaves of text, as boxes: two of them must not cover each other.
const boxes = [];
const shown = e => e.checkVisibility ? e.checkVisibility() : true;
for (const e of document.querySelectorAll('h1,h2,h3,h4,p,dt,dd,summary,label,th,.bars,.curve,.axis text,nav a,#failed li')) {
  if (!shown(e) || e.closest('search, .log, .skip, .scroll table, summary h3')) continue;
  const r = e.getBoundingClientRect();
  if (r.width > 1 && r.height > 1) boxes.push([r.left, r.top, r.right, r.bottom, e.tagName + ' ' + e.textContent.trim().slice(0, 50), e]);
}
boxes.sort((a, b) => a[1] - b[1]);
const found = [];
for (let i = 0; i < boxes.length; i++)
  for (let j = i + 1; j < boxes.length && boxes[j][1] < boxes[i][3] - 1; j++) {
    const [a, b] = [boxes[i], boxes[j]];
    if (a[5].contains(b[5]) || b[5].contains(a[5])) continue;
    if (a[0] < b[2] - 1 && b[0] < a[2] - 1) found.push(`${a[4]} / ${b[4]}`);
  }
return [boxes.length, found.slice(0, 10)]
