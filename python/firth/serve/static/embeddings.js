// The embeddings tab: how alike lines are, as a table of colours and as a map.

import { call } from "./api.js";
import { byId, draw, latest, make } from "./dom.js";
import { cosines, principal } from "./vectors.js";

const MOST = 32; // lines

/** @type {string[]} */
let lines = [];
/** @type {number[][]} */
let vectors = [];

const update = latest(async (signal) => {
  const typed = byId("lines").value.split("\n").map((line) => line.trim());
  const given = typed.filter(Boolean).slice(0, MOST);
  byId("embeddings-result").hidden = given.length < 2;
  if (given.length < 2) return;
  const model = byId("embeddings-model").value;
  const body = { model, input: given, encoding_format: "float" };
  const { data } = await call("v1/embeddings", body, signal);
  if (signal.aborted) return;
  lines = given;
  vectors = data.map((one) => one.embedding);
  showMatrix();
  showMap();
});

const signed = (value) => value.toFixed(2).replace("-", "−");

function showMatrix() {
  const found = cosines(vectors);
  const pairs = lines.flatMap((_, i) => lines.slice(0, i).map((_, j) => [j, i]));
  const [i, j] = pairs.reduce((a, b) => (found[b[0]][b[1]] > found[a[0]][a[1]] ? b : a));
  byId("alike").textContent = `Most alike: lines ${i + 1} and ${j + 1} (${signed(found[i][j])})`;
  const head = lines.map((_, n) => make("th", { scope: "col", text: n + 1 }));
  const corner = make("td", { class: "corner" });
  corner.style.setProperty("--weight", 0);
  const rows = found.map((row, r) => {
    const name = make("span", { text: `${r + 1}  ${lines[r]}`, title: lines[r] });
    const cells = row.map((value, c) => {
      const enter = () => head.forEach((one, n) => one.classList.toggle("on", n === c));
      const cell = make("td", { text: signed(value), on: { mouseenter: enter } });
      cell.style.setProperty("--weight", Math.max(0, Math.min(1, value)).toFixed(3));
      return cell;
    });
    return make("tr", {}, make("th", { scope: "row" }, name), ...cells);
  });
  const table = byId("heat");
  const caption = table.querySelector("caption");
  const top = make("thead", {}, make("tr", {}, make("td"), ...head));
  table.replaceChildren(caption, top, make("tbody", {}, ...rows));
}

function showMap() {
  const map = byId("map");
  const width = map.getBoundingClientRect().width;
  if (!vectors.length || !width) return;
  const height = Math.round(Math.max(280, Math.min(420, width * 0.56)));
  const { points, shares } = principal(vectors);
  const most = Math.floor(width / 2 / 7.5); // characters of a label
  const [xs, ys] = [points.map((p) => p[0]), points.map((p) => p[1])];
  const middle = (values) => (Math.min(...values) + Math.max(...values)) / 2;
  const range = (values) => Math.max(...values) - Math.min(...values) || 1e-9;
  const scale = Math.min((width - 160) / range(xs), (height - 72) / range(ys)); // of both axes
  const at = ([x, y]) => [
    width / 2 + scale * (x - middle(xs)),
    height / 2 - scale * (y - middle(ys)),
  ];
  const axes = [
    draw("line", { x1: 0, x2: width, y1: at([0, 0])[1], y2: at([0, 0])[1] }),
    draw("line", { x1: at([0, 0])[0], x2: at([0, 0])[0], y1: 0, y2: height }),
  ];
  const labels = points.map((point, i) => {
    const [x, y] = at(point);
    const long = lines[i].length > most;
    const text = long ? `${lines[i].slice(0, most - 1).trimEnd()}…` : lines[i];
    const [wide, end] = [7.5 * text.length + 10, x > width / 2]; // to the left of its point
    return { x: end ? x - 10 : x + 10, y: y + 4, from: end ? x - wide : x, wide, end, text };
  });
  const placed = []; // from above; one that meets another moves below it
  for (const one of [...labels].sort((a, b) => a.y - b.y)) {
    for (const other of placed) {
      const beside = one.from + one.wide < other.from || other.from + other.wide < one.from;
      if (!beside && Math.abs(one.y - other.y) < 16) one.y = other.y + 16;
    }
    placed.push(one);
    placed.sort((a, b) => a.y - b.y);
  }
  const marks = points.flatMap((point, i) => {
    const [cx, cy] = at(point);
    const { x, y, end, text } = labels[i];
    return [
      draw("circle", { cx, cy, r: 4 }),
      draw("text", { x, y, "text-anchor": end ? "end" : "start", text }),
    ];
  });
  map.setAttribute("viewBox", `0 0 ${width} ${height}`);
  map.replaceChildren(...axes, ...marks);
  const seen = Math.round(100 * (shares[0] + shares[1]));
  byId("map-note").textContent =
    `The two directions in which the lines differ most (PCA); they hold ${seen} % of the variance.`;
}

/** @returns {() => void} What to do when the tab is shown. */
export function startEmbeddings() {
  byId("embeddings").addEventListener("input", () => update(400));
  window.addEventListener("resize", showMap);
  return () => update(0);
}
