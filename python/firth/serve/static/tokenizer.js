// The tokenizer tab: the pieces of a text, their ids, and how many there are.

import { call } from "./api.js";
import { byId, latest, make, visible } from "./dom.js";

/**
 * A piece as the server gives it: text, or bytes that are only a part of a character.
 * @param {string|number[]} piece
 */
export function pieceText(piece) {
  if (typeof piece === "string") return piece;
  return piece.map((byte) => `<${byte.toString(16).padStart(2, "0").toUpperCase()}>`).join("");
}

const update = latest(async (signal) => {
  const model = byId("tokenizer-model").value;
  const special = byId("tokenizer-special").checked;
  const chat = byId("tokenizer-chat").checked;
  const typed = byId("tokenizer-text").value;
  let content = typed;
  if (chat) {
    const messages = [{ role: "user", content }];
    content = (await call("apply-template", { model, messages }, signal)).prompt;
  }
  const body = { model, content, add_special: special && !chat, parse_special: chat, with_pieces: true };
  const { tokens } = await call("tokenize", body, signal);
  if (signal.aborted) return;
  byId("pieces").replaceChildren(
    ...tokens.map(({ id, piece }) =>
      make(
        "li",
        { class: "piece" },
        make("span", {}, visible(pieceText(piece))),
        make("small", { text: id }),
      ),
    ),
  );
  const characters = [...content].length;
  const figures = {
    tokens: tokens.length,
    characters,
    bytes: new TextEncoder().encode(content).length,
    "characters a token": tokens.length ? (characters / tokens.length).toFixed(2) : "–",
  };
  byId("tokenizer-counts").replaceChildren(
    ...Object.entries(figures).map(([name, value]) =>
      make("div", {}, make("dt", { text: name }), make("dd", { text: value })),
    ),
  );
});

const showIds = () => byId("pieces").classList.toggle("plain", !byId("tokenizer-ids").checked);

/** @returns {() => void} What to do when the tab is shown. */
export function startTokenizer() {
  byId("tokenizer").addEventListener("input", (event) => {
    if (event.target.id === "tokenizer-ids") showIds();
    else update();
  });
  return () => {
    showIds();
    update(0);
  };
}
