// Formulas: pages carry them as TeX in elements of class arithmatex.
for (const element of document.querySelectorAll(".arithmatex")) {
  const tex = element.textContent.trim();
  katex.render(tex.slice(2, -2), element, { displayMode: tex.startsWith("\\[") });
}

// What is too wide for the window, and so scrolls, is reached by the keyboard too.
function reachable() {
  for (const element of document.querySelectorAll(".arithmatex, .md-typeset__scrollwrap, pre > code")) {
    // The last letter of a formula may reach two pixels out of its box.
    const wide = element.scrollWidth > element.clientWidth + 4;
    element.classList.toggle("wide", wide);
    if (wide) element.tabIndex = 0;
  }
}
reachable();
addEventListener("load", () => requestAnimationFrame(reachable));
addEventListener("resize", reachable);

// Menu and search of a narrow window open by labels, which are no stops of the keyboard in the theme
// (though it listens to Enter there); links of the closed menu are.
const drawer = document.getElementById("__drawer");
const menu = document.querySelector(".md-sidebar--primary");
const narrow = matchMedia("(max-width: 76.2344em)");
function hide() {
  menu.inert = narrow.matches && !drawer.checked;
}
for (const [name, title] of [["__drawer", "Menu"], ["__search", "Search"]]) {
  const button = document.querySelector(`.md-header__button[for=${name}]`);
  button.tabIndex = 0;
  button.title = title;
}
drawer.addEventListener("change", hide);
narrow.addEventListener("change", hide);
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && narrow.matches && drawer.checked) drawer.click();
});
hide();

// Parts of a menu, and the buttons of listings, are no landmarks of their own.
function demote() {
  for (const nav of document.querySelectorAll(".md-nav .md-nav, .md-code__nav")) {
    for (const name of nav.getAttributeNames()) if (name.startsWith("aria-")) nav.removeAttribute(name);
    nav.role = "presentation";
  }
}
addEventListener("load", () => requestAnimationFrame(demote));
