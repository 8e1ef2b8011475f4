// Texts that are wider than what holds them, where that neither wraps nor scrolls.
return [...document.querySelectorAll('h1,h2,h3,h4,p,dt,dd,li,th,td,summary,button,label,pre,caption')]
  .filter(e => e.offsetParent && e.clientWidth && e.scrollWidth > e.clientWidth + 1)
  .map(e => `${e.tagName} ${e.textContent.trim().slice(0, 60)}`)
