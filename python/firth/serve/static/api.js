// The server's API: JSON in, JSON or events out, errors as OpenAI writes them.

/** Where the server is, with a slash at the end: the page may be mounted below a path. */
export const root = new URL("./", document.baseURI).href;

let key = "";

/** @param {string} value Kept in memory only. */
export function setKey(value) {
  key = value;
}

/** Whether a key is in use: copied code then reads it from the environment. */
export const hasKey = () => key !== "";

export class ApiError extends Error {
  /** @param {number} status @param {string} message */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/**
 * @param {string} path
 * @param {object} [body] None: GET.
 * @param {AbortSignal} [signal]
 * @returns {Promise<Response>}
 */
export async function send(path, body, signal) {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  const method = body === undefined ? "GET" : "POST";
  const given = body === undefined ? undefined : JSON.stringify(body);
  const response = await fetch(root + path, { method, headers, body: given, signal });
  if (response.ok) return response;
  const error = await response.json().then(
    (whole) => whole.error?.message ?? whole.detail,
    () => undefined,
  );
  if (response.status === 401) window.dispatchEvent(new Event("firth-key"));
  const text = typeof error === "string" ? error : `The server answers ${response.status}.`;
  throw new ApiError(response.status, text);
}

/** The same, as JSON. @returns {Promise<any>} */
export async function call(path, body, signal) {
  return (await send(path, body, signal)).json();
}

/**
 * What a stream of server-sent events brings, up to [DONE].
 * @param {Response} response
 * @returns {AsyncGenerator<any>}
 */
export async function* events(response) {
  let rest = "";
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    while (true) {
      const { value, done } = await reader.read();
      if (done) throw new ApiError(0, "The connection ended before the answer did.");
      const lines = (rest + value).split(/\r?\n/);
      rest = lines.pop();
      for (const line of lines) {
        if (!line.startsWith("data:")) continue;
        const data = line.slice(5).trim();
        if (data === "[DONE]") return;
        const event = JSON.parse(data);
        if (event.error) throw new ApiError(event.error.code ?? 0, event.error.message);
        yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // of a stream that was stopped, too
  }
}

/** @typedef {{id: string, kind?: string}} Model */

/** @returns {Promise<Model[]>} */
export async function models() {
  return (await call("v1/models")).data;
}
