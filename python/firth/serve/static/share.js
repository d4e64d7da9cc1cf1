// What a tab holds as the fragment of a link, and back. Fragments are not sent to servers.

/** @param {unknown} state @returns {string} */
export function encode(state) {
  let binary = "";
  for (const byte of new TextEncoder().encode(JSON.stringify(state))) {
    binary += String.fromCharCode(byte);
  }
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** @param {string} text @returns {any} undefined where it is no state. */
export function decode(text) {
  try {
    const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
    const bytes = Uint8Array.from(binary, (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    return undefined;
  }
}

const controls = (panel) => panel.querySelectorAll("[name]");

/** The values of a panel's controls by name. @param {HTMLElement} panel */
export function values(panel) {
  const found = {};
  for (const one of controls(panel)) {
    found[one.name] = one.type === "checkbox" ? one.checked : one.value;
  }
  return found;
}

/** Put values back, as far as they are of the right kind. @param {HTMLElement} panel */
export function restore(panel, given) {
  for (const one of controls(panel)) {
    if (!Object.hasOwn(given, one.name)) continue;
    const value = given[one.name];
    if (one.type === "checkbox") one.checked = value === true;
    else if (typeof value !== "string") continue;
    else if (one.tagName !== "SELECT" || [...one.options].some((o) => o.value === value)) {
      one.value = value;
    }
  }
}
