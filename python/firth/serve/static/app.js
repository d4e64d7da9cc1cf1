// The frame of the playground: tabs, models, the key, links. Each tab has a file of its own.

import { models, setKey } from "./api.js";
import { startAttention } from "./attention.js";
import { conversation, setConversation, startChat } from "./chat.js";
import { startCode } from "./code.js";
import { startDocuments } from "./documents.js";
import { byId, copy, make, trouble } from "./dom.js";
import { startEmbeddings } from "./embeddings.js";
import { startNext } from "./next.js";
import { decode, encode, restore, values } from "./share.js";
import { startTokenizer } from "./tokenizer.js";

/** What each tab does when it is shown. @type {Record<string, () => void>} */
const shown = {
  chat: () => {},
  tokenizer: startTokenizer(),
  next: startNext(),
  embeddings: startEmbeddings(),
  attention: startAttention(),
  documents: startDocuments(),
};
const names = Object.keys(shown);
let active = "chat";

function open(name) {
  active = name;
  for (const one of names) {
    byId(one).hidden = one !== name;
    const tab = byId(`tab-${one}`);
    tab.setAttribute("aria-selected", String(one === name));
    tab.tabIndex = one === name ? 0 : -1;
  }
  // To the middle of the row, on a phone. (scrollIntoView would move where Tab goes on from.)
  const [tab, row] = [byId(`tab-${name}`), byId(`tab-${name}`).parentElement];
  row.scrollLeft = tab.offsetLeft - row.offsetLeft - (row.clientWidth - tab.offsetWidth) / 2;
  trouble();
  shown[name]();
}

function startTabs() {
  for (const name of names) {
    const tab = byId(`tab-${name}`);
    tab.addEventListener("click", () => {
      history.replaceState(null, "", `#${name}`);
      open(name);
    });
    tab.addEventListener("keydown", (event) => {
      const place = names.indexOf(name);
      const next = {
        ArrowRight: names[(place + 1) % names.length],
        ArrowLeft: names.at(place - 1),
        Home: names[0],
        End: names.at(-1),
      }[event.key];
      if (!next) return;
      event.preventDefault();
      byId(`tab-${next}`).focus();
      byId(`tab-${next}`).click();
    });
  }
}

/** Ranges say their value. */
function showValues() {
  for (const one of document.querySelectorAll("input[type=range]")) {
    const digits = one.step.split(".")[1]?.length ?? 0;
    byId(one.closest("section").id).querySelector(`output[for="${one.id}"]`).textContent =
      Number(one.value).toFixed(digits);
  }
}

async function startModels() {
  const found = await models();
  for (const select of document.querySelectorAll("select[data-models]")) {
    const kinds = select.dataset.models.split(" ");
    const fitting = kinds.flatMap((kind) => found.filter((one) => (one.kind ?? "chat") === kind));
    select.replaceChildren(...fitting.map(({ id }) => make("option", { value: id, text: id })));
    select.disabled = fitting.length === 0;
    if (!fitting.length) select.append(make("option", { value: "", text: "none is served" }));
  }
}

/** `#tab` or `#tab=state`. */
function fromLink() {
  const [name, state] = location.hash.slice(1).split(/=(.*)/s);
  const tab = names.includes(name) ? name : "chat";
  const given = state && decode(state);
  if (given && typeof given === "object") {
    restore(byId(tab), given);
    if (tab === "chat") setConversation(given.messages);
    showValues();
  }
  open(tab);
}

function share() {
  const state = values(byId(active));
  if (active === "chat") state.messages = conversation();
  history.replaceState(null, "", `#${active}=${encode(state)}`);
  copy(location.href);
}

function startKey() {
  const dialog = byId("key");
  window.addEventListener("firth-key", () => {
    if (!dialog.open) dialog.showModal();
  });
  byId("key-cancel").addEventListener("click", () => dialog.close());
  byId("key-form").addEventListener("submit", () => {
    setKey(byId("key-value").value);
    begin();
  });
}

/** Models, then what the link says: it may choose one of them. */
async function begin() {
  try {
    await startModels();
    fromLink();
  } catch (error) {
    trouble(error);
  }
}

/** On a phone settings are folded until they are wanted. */
function foldSettings() {
  const narrow = matchMedia("(max-width: 860px)");
  const fold = () => {
    for (const one of document.querySelectorAll(".settings")) one.open = !narrow.matches;
  };
  narrow.addEventListener("change", fold);
  fold();
}

startTabs();
startChat();
startCode();
startKey();
foldSettings();
showValues();
document.addEventListener("input", showValues);
window.addEventListener("hashchange", fromLink);
byId("share").addEventListener("click", share);
begin();
