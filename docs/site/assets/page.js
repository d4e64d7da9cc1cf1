// Formulas: pages carry them as TeX in elements of class arithmatex.
for (const element of document.querySelectorAll(".arithmatex")) {
  const tex = element.textContent.trim();
  katex.render(tex.slice(2, -2), element, { displayMode: tex.startsWith("\\[") });
}

// What is too wide for the window, and so scrolls, is reached by the keyboard too.
function reachable() {
  for (const element of document.querySelectorAll(".arithmatex, .md-typeset__scrollwrap, pre > code")) {
    if (element.scrollWidth > element.clientWidth) element.tabIndex = 0;
  }
}
addEventListener("load", () => requestAnimationFrame(reachable));
addEventListener("resize", reachable);
