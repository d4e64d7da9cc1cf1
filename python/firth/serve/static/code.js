// A call as code that anyone can run: what was sent, no more and no less, but for the key.

import { hasKey, root } from "./api.js";
import { byId, copy } from "./dom.js";

const GROQ_LACKS = ["stream_options"]; // groq's `create` takes these through extra_body alone

/** A value of JSON as Python writes it. A JSON string is a Python string, too. */
function literal(value, indent) {
  if (value === true) return "True";
  if (value === false) return "False";
  if (value === null) return "None";
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = `${indent}    `;
  const list = Array.isArray(value);
  const items = list
    ? value.map((one) => inner + literal(one, inner))
    : Object.entries(value).map(([k, v]) => `${inner}${JSON.stringify(k)}: ${literal(v, inner)}`);
  const [open, close] = list ? "[]" : "{}";
  if (items.length === 0) return open + close;
  const flat = open + items.map((one) => one.trim()).join(", ") + close;
  if (flat.length + indent.length < 76 && !flat.includes("\n")) return flat;
  return `${open}\n${items.join(",\n")},\n${indent}${close}`;
}

/** @param {Record<string, any>} body @param {"openai"|"groq"} client */
function python(body, client) {
  const groq = client === "groq";
  const name = groq ? "Groq" : "OpenAI";
  const base = groq ? root.replace(/\/$/, "") : `${root}v1`;
  const extra = Object.entries(body).filter(([k]) => groq && GROQ_LACKS.includes(k));
  const own = Object.entries(body).filter(([k]) => !(groq && GROQ_LACKS.includes(k)));
  if (extra.length) own.push(["extra_body", Object.fromEntries(extra)]);
  const given = own.map(([k, v]) => `    ${k}=${literal(v, "    ")},`).join("\n");
  const key = hasKey() ? 'os.environ["FIRTH_API_KEY"]' : '"none"';
  const imports = `${hasKey() ? "import os\n\n" : ""}from ${client} import ${name}`;
  const after = body.stream
    ? `for chunk in answer:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
print()`
    : "print(answer.choices[0].message.content)";
  return `${imports}

client = ${name}(
    base_url=${JSON.stringify(base)},
    api_key=${key},
)
answer = client.chat.completions.create(
${given}
)
${after}
`;
}

/** @param {Record<string, any>} body */
function curl(body) {
  const quoted = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
  const key = hasKey() ? '  -H "Authorization: Bearer $FIRTH_API_KEY" \\\n' : "";
  const buffer = body.stream ? "--no-buffer " : "";
  return `curl ${buffer}${root}v1/chat/completions \\
  -H 'Content-Type: application/json' \\
${key}  -d '${quoted}'
`;
}

let shown = {};

function show() {
  const client = document.querySelector("#code [name=client]:checked").value;
  const text = client === "curl" ? curl(shown) : python(shown, client);
  byId("code-text").firstChild.textContent = text;
  byId("code-hint").textContent = hasKey()
    ? "Put the key into FIRTH_API_KEY first."
    : client === "curl"
      ? ""
      : `pip install ${client}`;
}

/** Open the dialog. @param {object} body The request. */
export function showCode(body) {
  shown = body;
  show();
  byId("code").showModal();
}

export function startCode() {
  byId("code").addEventListener("change", show);
  byId("code-close").addEventListener("click", () => byId("code").close());
  byId("code-copy").addEventListener("click", () => copy(byId("code-text").textContent));
}
