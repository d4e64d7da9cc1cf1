// The colours: those of the system, or the ones that were chosen here. Runs before the page is
// painted, so that no page flashes in the wrong ones.
"use strict";
{
  const themes = ["auto", "light", "dark"];
  let theme = "auto";
  try {
    theme = localStorage.getItem("firth-theme") ?? theme;
  } catch {
    // no storage: the choice lasts as long as the page
  }
  const show = () => {
    if (!themes.includes(theme)) theme = "auto";
    document.documentElement.dataset.theme = theme;
    const button = document.getElementById("theme");
    if (button) button.textContent = `Theme: ${theme}`;
  };
  show();
  document.addEventListener("DOMContentLoaded", () => {
    show();
    document.getElementById("theme").addEventListener("click", () => {
      theme = themes[(themes.indexOf(theme) + 1) % themes.length];
      show();
      try {
        localStorage.setItem("firth-theme", theme);
      } catch {
        // as above
      }
    });
  });
}
