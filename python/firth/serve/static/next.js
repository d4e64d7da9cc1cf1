// The next-token tab: the distribution, and what temperature and top-p make of it.

import { call } from "./api.js";
import { byId, latest, make, say, visible } from "./dom.js";

const SHOWN = 20;
/** @typedef {{id: number, token: string, before: number, after: number}} Row */
/** @type {Row[]} */
let rows = [];

const percent = (share) =>
  share > 0 && share < 0.001 ? "<0.1 %" : `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;

const update = latest(async (signal) => {
  const body = {
    model: byId("next-model").value,
    input: byId("next-text").value,
    temperature: Number(byId("next-temperature").value),
    top_p: Number(byId("next-top-p").value),
    top: SHOWN,
  };
  const found = await call("v1/next", body, signal);
  if (signal.aborted) return;
  rows = found.tokens;
  const seen = rows.reduce((sum, row) => sum + row.after, 0);
  const kept = found.kept.toLocaleString("en");
  byId("next-mass").textContent =
    `${kept} of ${found.vocabulary.toLocaleString("en")} tokens can be drawn; ` +
    `those below hold ${percent(seen)} of the probability`;
  const focused = document.activeElement?.closest("#next-bars li");
  const place = focused ? [...byId("next-bars").children].indexOf(focused) : -1;
  byId("next-bars").replaceChildren(...rows.map(bar));
  if (place >= 0) byId("next-bars").children[place]?.firstChild.focus();
});

/** @param {Row} row */
function bar(row) {
  const graph = make("span", { class: "bar", "aria-hidden": "true" });
  graph.style.setProperty("--after", row.after);
  graph.style.setProperty("--before", row.before);
  const was = `, ${percent(row.before)} as the model gives it`;
  return make(
    "li",
    { class: row.after === 0 ? "out" : "" },
    make(
      "button",
      { on: { click: () => append(row) } },
      make("code", {}, visible(row.token)),
      graph,
      make("span", { class: "share", text: row.after === 0 ? "cut" : percent(row.after) }),
      make("span", { class: "hidden", text: was }),
    ),
  );
}

/** @param {Row} row */
function append(row) {
  byId("next-text").value += row.token;
  say(`Added ${row.token}`);
  update(0);
}

/** One of the tokens that are shown, by their chances. */
function drawToken() {
  let left = Math.random() * rows.reduce((sum, row) => sum + row.after, 0);
  const drawn = rows.find((row) => (left -= row.after) < 0);
  if (drawn) append(drawn);
}

/** @returns {() => void} What to do when the tab is shown. */
export function startNext() {
  byId("next").addEventListener("input", (event) => {
    update(event.target.type === "range" ? 40 : 250);
  });
  byId("next-draw").addEventListener("click", drawToken);
  return () => update(0);
}
