// WAI-ARIA: what a screen reader calls a thing by must not be empty.
const name = e => (e.getAttribute('aria-label') || (e.getAttribute('aria-labelledby') || '').split(' ')
  .map(id => document.getElementById(id)?.textContent || '').join('') || (e.labels && e.labels[0]?.textContent)
  || (['A', 'BUTTON', 'SUMMARY'].includes(e.tagName) ? e.textContent : '') || '').trim();
return [...document.querySelectorAll('a[href],button,input,summary,section,article,nav,[role],svg:not([aria-hidden])')]
  .filter(e => e.getAttribute('role') !== 'search' && !name(e)).map(e => e.outerHTML.slice(0, 90))
