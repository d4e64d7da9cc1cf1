// The attention tab: where the heads of a layer look, for the token that is pointed at.

import { call } from "./api.js";
import { byId, latest, make } from "./dom.js";

/** @type {{tokens: string[], layers: number, heads: number, layer: number, weights: number[][][]}} */
let found;
let from = 2; // the first may be a special token

const update = latest(async (signal) => {
  const layer = Number(byId("attention-layer").value);
  const input = byId("attention-text").value;
  byId("attention-result").hidden = !input.trim();
  if (!input.trim()) return;
  const body = { model: byId("attention-model").value, input, layer: layer - 1 };
  const next = await call("v1/attention", body, signal);
  if (signal.aborted) return;
  found = next;
  byId("attention-layer").max = found.layers;
  from = Math.min(from, found.tokens.length - 1);
  showWords();
  showHeads();
});

/** A token of any tokenizer with its spaces to be seen. */
const shown = (token) => token.replaceAll(" ", "·").replaceAll("\n", "⏎") || "∅";

function showWords() {
  const words = byId("attention-words");
  const focused = words.contains(document.activeElement);
  words.replaceChildren(
    ...found.tokens.map((token, i) =>
      make("button", {
        role: "radio",
        text: shown(token),
        "aria-checked": String(i === from),
        tabindex: i === from ? 0 : -1,
        on: { mouseenter: () => look(i), focus: () => look(i), click: () => look(i) },
      }),
    ),
  );
  if (focused) words.children[from].focus();
}

/** @param {number} i The token that looks. */
function look(i) {
  if (i === from) return;
  from = i;
  [...byId("attention-words").children].forEach((one, n) => {
    one.setAttribute("aria-checked", String(n === from));
    one.tabIndex = n === from ? 0 : -1;
  });
  showHeads();
}

function showHeads() {
  byId("attention-heads-label").textContent =
    `Where “${shown(found.tokens[from])}” looks in layer ${found.layer + 1} of ${found.layers}`;
  byId("attention-heads").replaceChildren(
    ...found.weights.map((head, h) => {
      const shares = head[from];
      const best = shares.indexOf(Math.max(...shares));
      const words = found.tokens.map((token, i) => {
        const word = make("span", {
          text: shown(token),
          class: i === from ? "from" : false,
          title: `${Math.round(100 * shares[i])} %`,
        });
        word.style.setProperty("--weight", Math.sqrt(shares[i]).toFixed(3)); // small shares show
        return word;
      });
      const spoken = `Most to ${found.tokens[best]}, ${Math.round(100 * shares[best])} percent.`;
      return make(
        "li",
        {},
        make("h4", { text: `Head ${h + 1}` }),
        make("p", { "aria-hidden": "true" }, ...words),
        make("span", { class: "hidden", text: spoken }),
      );
    }),
  );
}

/** @returns {() => void} What to do when the tab is shown. */
export function startAttention() {
  byId("attention").addEventListener("input", (event) => {
    if (event.target.id === "attention-model") {
      byId("attention-layer").value = 1; // the other model may have fewer
      byId("attention").querySelector("output").textContent = "1";
    }
    update(event.target.type === "range" ? 40 : 400);
  });
  byId("attention-words").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const words = byId("attention-words").children;
    words[(from + step + words.length) % words.length].focus();
  });
  return () => update(0);
}
