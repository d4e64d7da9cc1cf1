// The chat tab: a conversation, what is sent of it, and how fast the answer came.

import { call, events, send } from "./api.js";
import { showCode } from "./code.js";
import { byId, copy, make, messageOf, say, stoppable } from "./dom.js";

/**
 * @typedef {object} Message
 * @property {"user"|"assistant"} role
 * @property {string} content
 * @property {object} [request] What was sent to get it.
 * @property {string} [facts] What is said below it.
 * @property {boolean} [bad] Whether that is a warning.
 */

/** @type {Message[]} */
let messages = [];
const writing = stoppable(byId("send"));

const draft = byId("draft");
const control = (name) => byId("chat").querySelector(`[name="${name}"]`);
const number = (name) => (control(name).value === "" ? undefined : Number(control(name).value));

/** The body of a request for an answer to `history`. @param {Message[]} history */
function requestFor(history) {
  const system = control("system").value;
  const told = history.map(({ role, content }) => ({ role, content }));
  if (system.trim()) told.unshift({ role: "system", content: system });
  const stop = control("stop").value.replaceAll("\\n", "\n");
  const body = {
    model: control("model").value,
    messages: told,
    temperature: number("temperature"),
    max_completion_tokens: number("max_completion_tokens"),
    top_p: number("top_p"),
    seed: number("seed"),
    stop: stop || undefined,
    response_format: control("json").checked ? { type: "json_object" } : undefined,
  };
  if (control("stream").checked) {
    Object.assign(body, { stream: true, stream_options: { include_usage: true } });
  }
  return JSON.parse(JSON.stringify(body)); // without what is undefined
}

/** The request that Send would make; with nothing new, the last one that was made. */
function currentRequest() {
  const text = draft.value.trim();
  const last = messages.at(-1);
  if (text) return requestFor([...messages, { role: "user", content: text }]);
  return last?.request ?? requestFor(messages);
}

/** The categories for which a text is flagged. @returns {Promise<string[]>} */
async function flagged(text, signal) {
  const { results } = await call("v1/moderations", { input: text }, signal);
  const names = Object.entries(results[0].categories).filter(([, is]) => is);
  return results[0].flagged ? names.map(([name]) => name) : [];
}

async function answer() {
  const asked = messages.at(-1);
  if (asked?.role !== "user" || writing.isGoing()) return;
  await writing.run((signal) => write(asked, signal));
  show();
}

/** @param {Message} asked @param {AbortSignal} signal */
async function write(asked, signal) {
  delete asked.facts;
  /** @type {Message} */
  const found = { role: "assistant", content: "", request: requestFor(messages) };
  const moderated = control("moderation").checked;
  show();
  try {
    const against = moderated ? await flagged(asked.content, signal) : [];
    if (against.length) {
      asked.facts = `Flagged as ${against.join(", ")}. Not sent.`;
      asked.bad = true;
      say(asked.facts);
      return;
    }
    messages.push(found);
    show();
    say("The model is writing.");
    found.facts = await receive(found, signal);
    const so = moderated ? await flagged(found.content, signal) : [];
    if (so.length) {
      found.facts += ` · flagged as ${so.join(", ")}`;
      found.bad = true;
    }
    say(`Answer: ${found.content}. ${found.facts}`);
  } catch (error) {
    const place = messages.includes(found) ? found : asked;
    const stopped = signal.aborted;
    place.facts = stopped ? [place.facts, "stopped"].filter(Boolean).join(" · ") : messageOf(error);
    place.bad = !stopped;
    if (place === found && !found.content) {
      messages.pop(); // nothing to keep; the reason goes to the question
      Object.assign(asked, { facts: place.facts, bad: place.bad });
    }
    say(stopped ? "Stopped." : place.facts);
  }
}

/** Reads an answer into `message` and returns its figures. */
async function receive(message, signal) {
  const start = performance.now();
  const response = await send("v1/chat/completions", message.request, signal);
  if (!message.request.stream) {
    const { choices, usage } = await response.json();
    message.content = choices[0].message.content ?? "";
    return figures(usage, (performance.now() - start) / 1000, undefined, choices[0].finish_reason);
  }
  let [pieces, first, last, reason, usage] = [0, 0, 0, "", undefined];
  for await (const event of events(response)) {
    usage = event.usage ?? usage;
    const choice = event.choices[0];
    reason = choice?.finish_reason ?? reason;
    if (!choice?.delta.content) continue;
    last = performance.now();
    first ||= last;
    pieces += 1;
    message.content += choice.delta.content;
    const going = (last - first) / 1000;
    const rate = going > 0 ? ` · ${((pieces - 1) / going).toFixed(1)} pieces/s` : "";
    message.facts = `first token after ${((first - start) / 1000).toFixed(2)} s${rate}`;
    grow(message);
  }
  return figures(usage, (last - start) / 1000, (first - start) / 1000, reason);
}

/**
 * @param {any} usage
 * @param {number} whole Seconds to the last token.
 * @param {number | undefined} wait Seconds to the first, where that can be seen.
 * @param {string} reason
 */
function figures(usage, whole, wait, reason) {
  const count = usage?.completion_tokens;
  const parts = [];
  if (count !== undefined) parts.push(`${count} ${count === 1 ? "token" : "tokens"}`);
  if (wait === undefined) {
    if (count && whole > 0) parts.push(`${(count / whole).toFixed(1)} tokens/s with the prompt`);
    parts.push(`${whole.toFixed(2)} s`);
  } else {
    // The first token ends the reading of the prompt; speed is that of the others.
    if (count > 1 && whole > wait) parts.push(`${((count - 1) / (whole - wait)).toFixed(1)} tokens/s`);
    if (wait > 0) parts.push(`first token after ${wait.toFixed(2)} s`);
  }
  if (reason) parts.push(reason === "length" ? "cut at the token limit" : `finish: ${reason}`);
  return parts.join(" · ");
}

const atEnd = () => innerHeight + scrollY > document.documentElement.scrollHeight - 80;

/** The last message has more text. */
function grow(message) {
  const follow = atEnd();
  const place = byId("history").lastElementChild;
  place.querySelector(".body").textContent = message.content;
  place.querySelector(".facts").textContent = message.facts;
  if (follow) scrollTo(0, document.documentElement.scrollHeight);
}

function show() {
  const follow = writing.isGoing() || atEnd();
  byId("history").replaceChildren(...messages.map(element));
  byId("chat-empty").hidden = messages.length > 0;
  byId("clear").disabled = messages.length === 0;
  if (follow) scrollTo(0, document.documentElement.scrollHeight);
}

/** @param {Message} message @param {number} place */
function element(message, place) {
  const { role, content, facts = "", bad } = message;
  const last = place === messages.length - 1;
  const busy = writing.isGoing() && last && role === "assistant";
  const name = role === "user" ? "You" : "Assistant";
  const body = make("div", { class: "body", text: content });
  const button = (text, work) =>
    make("button", { class: "quiet", text, "aria-label": `${text}: ${name}, message ${place + 1}`, on: { click: work } });
  const actions = make("div", { class: "actions" });
  if (!writing.isGoing()) {
    actions.append(
      button("Copy", () => copy(message.content)),
      button("Edit", () => edit(message, body, actions)),
      button("Delete", () => remove(place)),
    );
    if (message.request) actions.append(button("Code", () => showCode(message.request)));
    if (last) actions.append(button(role === "user" ? "Send again" : "Try again", () => again(place)));
  }
  return make(
    "li",
    { class: busy ? "message running" : "message", data: { role } },
    make("h3", { text: name }),
    body,
    make("p", { class: bad ? "facts bad" : "facts", text: facts }),
    actions,
  );
}

function edit(message, body, actions) {
  const area = make("textarea", { "aria-label": "Edit message" });
  area.value = message.content;
  const end = (keep) => {
    if (keep && area.value !== message.content) {
      message.content = area.value;
      delete message.request; // it did not give this text
      message.facts = "edited";
      message.bad = false;
    }
    const place = messages.indexOf(message);
    show();
    byId("history").children[place]?.querySelectorAll("button")[1].focus();
  };
  area.addEventListener("keydown", (event) => {
    if (event.key === "Escape") end(false);
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) end(true);
  });
  body.replaceWith(area);
  actions.replaceChildren(
    make("button", { text: "Save", on: { click: () => end(true) } }),
    make("button", { class: "quiet", text: "Cancel", on: { click: () => end(false) } }),
  );
  area.focus();
}

function remove(place) {
  messages.splice(place, 1);
  show();
  draft.focus();
}

function again(place) {
  if (messages[place].role === "assistant") messages.splice(place, 1);
  byId("send").focus();
  answer();
}

function submit() {
  if (writing.isGoing()) {
    writing.stop();
    return;
  }
  const text = draft.value.trim();
  if (text) {
    messages.push({ role: "user", content: text });
    draft.value = "";
  }
  answer();
}

/** What a link keeps of the conversation. */
export const conversation = () => messages.map(({ role, content }) => ({ role, content }));

/** @param {unknown} given As `conversation` gave it. */
export function setConversation(given) {
  if (!Array.isArray(given)) return;
  messages = given
    .filter((m) => ["user", "assistant"].includes(m?.role) && typeof m.content === "string")
    .map(({ role, content }) => ({ role, content }));
  show();
}

export function startChat() {
  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  draft.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    if (!writing.isGoing()) submit();
  });
  byId("clear").addEventListener("click", () => {
    writing.stop();
    messages = [];
    show();
    draft.focus();
  });
  byId("view-code").addEventListener("click", () => showCode(currentRequest()));
  for (const one of byId("chat-empty").querySelectorAll("button")) {
    one.addEventListener("click", () => {
      draft.value = one.textContent;
      draft.focus();
    });
  }
  show();
}
