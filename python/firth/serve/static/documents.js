// The documents tab: passages of a knowledge base, and an answer that cites them.

import { call, events, send } from "./api.js";
import { byId, make, messageOf, say, stoppable, trouble } from "./dom.js";

/** @typedef {{document: string, text: string, score: number, start: number, end: number}} Passage */

const work = stoppable(byId("documents-ask"));
const count = () => Number(byId("documents-k").value) || 5;

/** What comes before the last folder that all names have in common. @param {string[]} names */
function common(names) {
  const folders = names.map((name) => name.slice(0, name.lastIndexOf("/") + 1));
  return folders.reduce((a, b) => {
    while (!b.startsWith(a)) a = a.slice(0, a.lastIndexOf("/", a.length - 2) + 1);
    return a;
  }, folders[0] ?? "");
}

/** @param {Passage[]} passages */
function showPassages(passages) {
  const front = common(passages.map((one) => one.document)).length;
  byId("documents-passages").hidden = false;
  byId("passages").replaceChildren(
    ...passages.map(({ document, text, score, start, end }, i) =>
      make(
        "li",
        { class: "passage", id: `passage-${i + 1}`, tabindex: -1 },
        make("span", { class: "number", text: `[${i + 1}]` }),
        make("h4", { title: document }, document.slice(front), make("span", { class: "hint", text: `  ${start}–${end}` })),
        make("span", { class: "score", text: score.toFixed(3), title: "Score" }),
        make("p", { class: "body", text }),
      ),
    ),
  );
  const none = make("p", { class: "body", text: "No passage fits." });
  if (!passages.length) byId("passages").append(make("li", { class: "passage" }, none));
}

/** The text of an answer, whose [n] lead to passage n. @param {string} text @param {number} count */
function linked(text, count) {
  return text.split(/(\[\d+\])/).map((part) => {
    const number = Number(/^\[(\d+)\]$/.exec(part)?.[1]);
    if (!(number >= 1 && number <= count)) return part;
    const passage = () => byId(`passage-${number}`);
    const on = (is) => () => passage().classList.toggle("on", is);
    return make("button", {
      class: "cite",
      text: part,
      "aria-label": `Passage ${number}`,
      on: {
        mouseenter: on(true), mouseleave: on(false), focus: on(true), blur: on(false),
        click: () => {
          passage().focus();
          passage().scrollIntoView({ block: "center" });
        },
      },
    });
  });
}

/** Show an answer, or what there is of it, and mark what it cites. @param {string} text @param {number} count */
function showAnswer(text, count) {
  byId("documents-answer").hidden = false;
  byId("answer-text").replaceChildren(...linked(text, count));
  const cited = [...text.matchAll(/\[(\d+)\]/g)].map((one) => Number(one[1]));
  for (let i = 1; i <= count; i++) byId(`passage-${i}`).classList.toggle("cited", cited.includes(i));
}

/** @param {string} question @param {AbortSignal} signal */
async function ask(question, signal) {
  let text = "";
  let passages = [];
  const response = await send("v1/kb/ask", { question, k: count(), stream: true }, signal);
  for await (const one of events(response)) {
    if (one.passages) showPassages((passages = one.passages));
    if (one.text) showAnswer((text += one.text).trimStart(), passages.length);
    if (!one.answer) continue;
    ({ text, passages } = one.answer);
    showPassages(passages);
    showAnswer(text, passages.length);
  }
  say(`Answer: ${text}`);
}

/** @param {string} question @param {AbortSignal} signal */
async function search(question, signal) {
  const mode = byId("documents-mode").value;
  const { passages } = await call("v1/kb/search", { query: question, k: count(), mode }, signal);
  showPassages(passages);
  say(`${passages.length} passages`);
}

/** @param {boolean} asking Whether an answer is wanted, too. */
async function run(asking) {
  const question = byId("question").value.trim();
  if (!question) return;
  byId("documents-search").disabled = true;
  byId("documents-note").textContent = asking ? "Reading…" : "Searching…";
  byId("documents-answer").hidden = true;
  byId("documents-passages").hidden = true;
  await work.run(async (signal) => {
    let told = "";
    try {
      await (asking ? ask : search)(question, signal);
    } catch (error) {
      told = signal.aborted ? "Stopped." : messageOf(error);
      say(told);
    }
    byId("documents-note").textContent = told;
  });
  byId("documents-search").disabled = false;
}

async function look() {
  const { documents, passages, chat } = await call("v1/kb");
  byId("documents-form").hidden = documents === 0;
  byId("documents-empty").hidden = documents > 0;
  byId("documents-ask").hidden = !chat;
  if (!documents) return;
  byId("documents-lead").textContent =
    `${documents.toLocaleString("en")} documents in ${passages.toLocaleString("en")} passages. ` +
    (chat ? "Answers come from the passages below and name them." : "No chat model: search only.");
}

/** @returns {() => void} What to do when the tab is shown. */
export function startDocuments() {
  byId("documents-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (work.isGoing()) work.stop();
    else run(!byId("documents-ask").hidden);
  });
  byId("documents-search").addEventListener("click", () => run(false));
  byId("question").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    if (!work.isGoing()) byId("documents-form").requestSubmit();
  });
  return () => look().catch(trouble);
}
