// Elements, and what a screen reader hears. Text only ever becomes text nodes.

/** @param {string} id @returns {any} */
export const byId = (id) => document.getElementById(id);

/**
 * An element. `class`, `text`, `on` (listeners) and `data` (dataset) are special, all else are
 * attributes; false and undefined ones are left out.
 * @param {string} name
 * @param {Object<string, any>} [given]
 * @param {...(Node|string)} children
 * @returns {any}
 */
export function make(name, given = {}, ...children) {
  const made = document.createElement(name);
  fill(made, given);
  made.append(...children);
  return made;
}

/** The same for SVG. @returns {SVGElement} */
export function draw(name, given = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  fill(made, given);
  made.append(...children);
  return made;
}

function fill(made, { text, on = {}, data = {}, ...attributes }) {
  if (text !== undefined) made.textContent = text;
  for (const [event, listener] of Object.entries(on)) made.addEventListener(event, listener);
  Object.assign(made.dataset, data);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== false && value !== undefined) made.setAttribute(key, value === true ? "" : value);
  }
}

/** Tell screen readers; nothing is shown. @param {string} text */
export function say(text) {
  byId("status").textContent = text;
}

let fading = 0;

/** Say and show for two seconds. @param {string} text */
export function toast(text) {
  say(text);
  const place = byId("toast");
  place.textContent = text;
  place.classList.add("on");
  clearTimeout(fading);
  fading = setTimeout(() => place.classList.remove("on"), 2000);
}

/** An error of the whole page, or none. @param {unknown} [error] */
export function trouble(error) {
  const place = byId("trouble");
  place.hidden = error === undefined;
  place.textContent = error === undefined ? "" : messageOf(error);
}

/** @param {unknown} error */
export function messageOf(error) {
  if (error instanceof TypeError) return "The server does not answer. Is it running?"; // of fetch
  return error instanceof Error ? error.message : String(error);
}

/** @param {string} text */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Browsers give the clipboard to https and localhost alone; the older way works anywhere.
    const area = make("textarea", { class: "hidden" });
    area.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  toast("Copied");
}

/**
 * One work at a time, which its button stops while it goes on, and Escape.
 * @param {HTMLButtonElement} button
 */
export function stoppable(button) {
  const label = button.textContent;
  /** @type {AbortController | undefined} */
  let going;
  const stop = () => going?.abort();
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !document.querySelector("dialog[open]")) stop();
  });
  return {
    stop,
    isGoing: () => going !== undefined,
    /** @param {(signal: AbortSignal) => Promise<void>} work */
    async run(work) {
      going = new AbortController();
      button.textContent = "Stop";
      try {
        await work(going.signal);
      } finally {
        going = undefined;
        button.textContent = label;
      }
    },
  };
}

/** The characters of a token, with spaces and line breaks to be seen. @param {string} text */
export function visible(text) {
  const marks = { " ": "·", "\n": "⏎", "\t": "⇥", "\r": "␍" };
  const found = document.createDocumentFragment();
  for (const part of text.split(/([ \n\t\r])/)) {
    if (part in marks) found.append(make("i", { text: marks[part] }));
    else if (part) found.append(part);
  }
  return found;
}

/**
 * Runs `work` with an AbortSignal a moment after the last change, and drops what it overtakes.
 * @param {(signal: AbortSignal) => Promise<void>} work
 * @returns {(wait?: number) => void}
 */
export function latest(work) {
  let timer = 0;
  let running = new AbortController();
  return (wait = 250) => {
    clearTimeout(timer);
    running.abort();
    running = new AbortController();
    const { signal } = running;
    timer = setTimeout(async () => {
      try {
        await work(signal);
        if (!signal.aborted) trouble();
      } catch (error) {
        if (!signal.aborted) trouble(error);
      }
    }, wait);
  };
}
