"use strict";
// Everything on the page is made of text nodes from the embedded data: nothing of it can become markup.

const DATA = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
// Symbols of the plot and the same ones as characters.
const SYMBOLS = [
  ["circle", "●"], ["triangle-up", "▲"], ["square", "■"], ["diamond", "◆"], ["triangle-down", "▼"],
  ["cross", "✚"], ["x", "✖"], ["star", "★"], ["pentagon", "⬟"], ["hexagon", "⬢"],
];
const BUTTONS = [["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d", "toImage"]];
const OBJECTIVES = Object.keys(DATA.objectives);
const symbolOf = (objective) => SYMBOLS[OBJECTIVES.indexOf(objective) % SYMBOLS.length];
const shown = { objective: new Set(), dataset: new Set(), seed: new Set(), papers: new Set() };
let chosen = null; // number of the run in the details
let onlyClaim = null; // a claim whose runs alone are shown
let points = [];
const order = { points: { key: "name", down: false }, claims: { key: null, down: false } };

/** An element: properties, then children (text or elements). */
function make(tag, properties = {}, ...children) {
  const { data = {}, ...plain } = properties;
  const element = Object.assign(document.createElement(tag), plain);
  Object.assign(element.dataset, data);
  element.append(...children);
  return element;
}

const path = (file) => file.split("/").map(encodeURIComponent).join("/");
const link = (file, text = file) => make("a", { href: path(file) }, text);
const digits = (number) => String(Number(number.toPrecision(5)));
// Plotly reads markup in its texts.
const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));

function sorted(rows, { key, down }) {
  if (key === null) return rows;
  const found = [...rows].sort((a, b) => compare(a[key], b[key]));
  return down ? found.reverse() : found;
}

/** Heads of a table that sort it. columns: [key, title] */
function heads(table, columns, state, redraw) {
  const cells = columns.map(([key, title]) => {
    const active = state.key === key;
    const button = make("button", { type: "button" }, title + (active ? (state.down ? " ▼" : " ▲") : ""));
    button.addEventListener("click", () => {
      state.down = state.key === key && !state.down;
      state.key = key;
      redraw();
      [...table.querySelectorAll("thead button")][columns.findIndex((column) => column[0] === key)].focus();
    });
    const cell = make("th", { scope: "col" }, button);
    if (active) cell.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    return cell;
  });
  table.tHead.replaceChildren(make("tr", {}, ...cells));
}

// --- filters

/** Boxes to tick, all of them at first; `mark` makes what stands before a name. */
function choices(place, key, values, redraw, mark = () => "") {
  const boxes = values.map((value) => {
    shown[key].add(value);
    const box = make("input", { type: "checkbox", checked: true, data: { value: String(value) } });
    box.addEventListener("change", () => {
      if (box.checked) shown[key].add(value);
      else shown[key].delete(value);
      redraw();
    });
    return [box, make("label", {}, box, " ", mark(value), ` ${value}`)];
  });
  const every = (on) => {
    const button = make("button", { type: "button", className: "link" }, on ? "all" : "none");
    button.addEventListener("click", () => {
      shown[key] = new Set(on ? values : []);
      for (const [box] of boxes) box.checked = on;
      redraw();
    });
    return button;
  };
  if (values.length > 1) place.append(make("div", { className: "all" }, every(true), " / ", every(false)));
  place.append(...boxes.map((pair) => pair[1]));
}

const ofPaper = (paper) => shown.papers.has(paper);
// A run of no paper's group is made for others, and always shown.
const wanted = (run, number) =>
  shown.objective.has(run.objective) && shown.dataset.has(run.dataset) && shown.seed.has(run.seed) &&
  (run.papers.length === 0 || run.papers.some(ofPaper)) &&
  run.name.includes(byId("text").value.trim()) && (onlyClaim === null || onlyClaim.runs.includes(number));

function axisMenu(id) {
  const titles = { accuracy: "Accuracy and robustness", alignment: "Alignment", other: "Other measurements" };
  const groups = Object.entries(titles).map(([role, label]) => {
    const axes = DATA.measurements.filter((axis) => axis.role === role);
    return make("optgroup", { label }, ...axes.map((axis) => make("option", { value: axis.name }, `${axis.name}: ${axis.runs} runs`)));
  });
  byId(id).append(...groups.filter((group) => group.children.length));
  if (DATA.start) byId(id).value = DATA.start[id];
  byId(id).addEventListener("change", drawRuns);
  byId(`${id}-log`).addEventListener("change", drawRuns);
}

/** What a run has on an axis `evaluation.value (kind)`; undefined without it. */
function reading(run, axis) {
  for (const [name, result] of Object.entries(run.results))
    for (const [value, number] of Object.entries(result.values))
      if (axis === `${name}.${value} (${result.kind})`) return { number, settings: result.settings, status: result.status };
  return undefined;
}

// --- plot and its table

function drawRuns() {
  const [x, y] = [byId("x").value, byId("y").value];
  const candidates = DATA.runs.map((run, number) => ({ run, number })).filter((c) => wanted(c.run, c.number));
  points = [];
  const settings = { x: new Set(), y: new Set() };
  for (const { run, number } of candidates) {
    const [across, up] = [reading(run, x), reading(run, y)];
    if (across === undefined || up === undefined) continue;
    settings.x.add(across.settings);
    settings.y.add(up.settings);
    const diverged = [run, across, up].some((part) => part.status === "diverged");
    const { name, objective, dataset, seed } = run;
    points.push({ number, name, objective, dataset, seed, status: diverged ? "diverged" : "complete", x: across.number, y: up.number });
  }
  drawPlot(x, y);
  drawPoints();
  const without = candidates.length - points.length;
  const said = [`${points.length} points`];
  if (without) said.push(`${without} more runs lack one of the two measurements`);
  for (const axis of ["x", "y"])
    if (settings[axis].size > 1) said.push(`${axis === "x" ? "across" : "up"}: measured with ${settings[axis].size} different settings, see the details of a run`);
  byId("about-points").textContent = `${said.join("; ")}. Open symbols: diverged.`;
}

function drawPlot(x, y) {
  const traces = OBJECTIVES.map((objective) => {
    const mine = points.filter((point) => point.objective === objective);
    return {
      type: "scatter", mode: "markers", name: plain(objective), x: mine.map((p) => p.x), y: mine.map((p) => p.y),
      customdata: mine.map((p) => p.number), text: mine.map((p) => plain(p.name)),
      hovertemplate: "%{text}<br>%{x:.5g}, %{y:.5g}<extra></extra>",
      marker: {
        size: 10, color: DATA.objectives[objective], line: { width: 1, color: "#333" },
        symbol: mine.map((p) => symbolOf(objective)[0] + (p.status === "diverged" ? "-open" : "")),
      },
    };
  }).filter((trace) => trace.x.length);
  const ring = points.filter((point) => point.number === chosen);
  traces.push({
    type: "scatter", mode: "markers", x: ring.map((p) => p.x), y: ring.map((p) => p.y), hoverinfo: "skip",
    marker: { size: 20, symbol: "circle-open", color: "#000", line: { width: 3 } }, showlegend: false,
  });
  const axis = (title, log) => ({ title: { text: plain(title) }, type: log ? "log" : "linear", zeroline: false, automargin: true });
  const layout = {
    xaxis: axis(x, byId("x-log").checked), yaxis: axis(y, byId("y-log").checked), hovermode: "closest",
    margin: { t: 30, r: 20 }, legend: { orientation: "h", y: 1.02, yanchor: "bottom" }, showlegend: true,
    font: { size: 13 }, plot_bgcolor: "#fff",
  };
  Plotly.react(byId("plot"), traces, layout, { displaylogo: false, responsive: true, modeBarButtons: BUTTONS });
}

function drawPoints() {
  const columns = [["name", "run"], ["objective", "objective"], ["dataset", "data set"], ["seed", "seed"], ["status", "status"], ["x", "across"], ["y", "up"]];
  heads(byId("points"), columns, order.points, drawPoints);
  const rows = sorted(points, order.points).map((point) => {
    const button = make("button", { type: "button", className: "link" }, point.name);
    button.addEventListener("click", () => choose(point.number));
    const cells = [button, point.objective, point.dataset, String(point.seed), point.status].map((value) => make("td", {}, value));
    cells.push(...[point.x, point.y].map((value) => make("td", { className: "number" }, digits(value))));
    return make("tr", { className: point.number === chosen ? "chosen" : "", data: { run: point.name } }, ...cells);
  });
  byId("points").tBodies[0].replaceChildren(...rows);
}

// --- one run

function choose(number) {
  chosen = number;
  drawRuns();
  drawDetails();
  // The button that was pressed has been drawn anew.
  if (document.activeElement === document.body) byId("points").querySelector("tr.chosen button")?.focus({ preventScroll: true });
}

function drawDetails() {
  const run = DATA.runs[chosen];
  const facts = [
    ["papers", run.papers.join(", ") || "none"], ["groups", run.groups.join(", ") || "none"], ["objective", run.objective],
    ["data set", run.dataset], ["network", run.network], ["seed", String(run.seed)], ["status", run.status],
  ].map(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]);
  for (const id of ["x", "y"]) {
    const axis = byId(id).value;
    const found = reading(run, axis);
    const value = make("b", { id: `run-${id}` }, found ? String(found.number) : "not measured");
    const about = found ? [make("br"), make("span", { className: "note" }, DATA.settings[found.settings])] : [];
    facts.push([make("dt", {}, id === "x" ? "across" : "up"), make("dd", {}, `${axis} = `, value, ...about)]);
  }
  const parts = [make("h3", { id: "run-name" }, run.name), make("dl", {}, ...facts.flat()), ...maps(run), ...claimsOf(chosen)];
  parts.push(make("details", { open: !run.image }, make("summary", {}, "Measurements"), measurements(run)));
  const sidecar = make("pre", { id: "sidecar", tabIndex: 0 }, JSON.stringify(run.sidecar, null, 1));
  const files = make("p", {}, link(`${run.folder}/run.json`), ", ", link(`${run.folder}/history.jsonl`));
  parts.push(make("details", { open: true }, make("summary", {}, "Sidecar: how it was made"), files, sidecar));
  byId("details").replaceChildren(...parts);
  byId("details").scrollTop = 0;
}

function maps(run) {
  if (!run.image) return [make("p", { id: "no-maps" }, "No gradient maps were kept for this run.")];
  const note = "Each map by a scale of its own; one channel: orange is positive, purple negative, white 0.";
  const image = make("img", { id: "maps", src: path(run.image), alt: `Images and gradient maps of ${run.name}` });
  return [make("h3", {}, "Gradient maps"), image, make("p", { className: "note" }, note)];
}

function claimsOf(number) {
  const mine = DATA.claims.filter((claim) => claim.runs.includes(number));
  if (!mine.length) return [make("p", {}, "No claim was judged by this run.")];
  const rows = mine.map((claim) => make("li", {}, badge(claim.verdict), ` ${claim.paper} ${claim.claim}: ${claim.statement}`));
  return [make("details", { open: true }, make("summary", {}, `Claims judged by this run: ${mine.length}`), make("ul", { id: "run-claims" }, ...rows))];
}

function measurements(run) {
  const rows = Object.entries(run.results).flatMap(([name, result]) => {
    const files = [link(`evaluations/${run.name}/${name}.json`, name)];
    if (result.arrays) files.push(" (", link(`evaluations/${run.name}/${name}.npz`, "arrays"), ")");
    const flags = result.flags.length ? [make("br"), make("span", { className: "note" }, result.flags.join("; "))] : [];
    const values = Object.entries(result.values);
    const about = make("td", { rowSpan: Math.max(values.length, 1) }, ...files, make("br"), result.kind, ...flags);
    const cells = values.map(([value, number]) => [make("td", {}, value), make("td", { className: "number" }, digits(number))]);
    if (!cells.length) return [make("tr", {}, about, make("td", {}, "nothing finite"), make("td"))];
    return cells.map((pair, line) => make("tr", {}, ...(line === 0 ? [about] : []), ...pair));
  });
  return rows.length ? make("table", {}, make("tbody", {}, ...rows)) : make("p", {}, "None.");
}

// --- claims, figures, tables

const badge = (verdict, text = verdict) => {
  const element = make("span", { className: "verdict" }, text);
  element.style.backgroundColor = DATA.verdicts[verdict];
  return element;
};

function drawClaims() {
  const columns = [["paper", "paper"], ["claim", "claim"], ["verdict", "verdict"], ["statement", "statement"], ["published", "published"], ["measured", "measured"], ["n_seeds", "seeds"], ["place", "place"]];
  heads(byId("claim-table"), [...columns, ["used", "runs"]], order.claims, drawClaims);
  const [verdict, text] = [byId("verdict").value, byId("claim-text").value.trim().toLowerCase()];
  const found = DATA.claims.filter((claim) => ofPaper(claim.paper) && (!verdict || claim.verdict === verdict) &&
    (!text || columns.some(([key]) => String(claim[key]).toLowerCase().includes(text))));
  const rows = sorted(found.map((claim) => ({ ...claim, n_seeds: Number(claim.n_seeds), used: claim.runs.length })), order.claims);
  byId("claim-table").tBodies[0].replaceChildren(...rows.map(claimRow));
  byId("about-claims").textContent = `${found.length} of ${DATA.claims.length} claims`;
}

/** Long texts are cut into their comparisons, and the reasons are folded. */
function claimRow(claim) {
  const lines = (text) => text.split("; ").flatMap((line, place) => (place ? [make("br"), line] : [line]));
  const folded = (title, text) => (text ? make("details", {}, make("summary", {}, title), ...lines(text)) : "");
  const measured = claim.measured.length > 160 ? folded("comparisons", claim.measured) : make("span", {}, ...lines(claim.measured));
  const places = claim.artifacts.flatMap((name) => [make("br"), make("a", { href: `#${claim.paper}-${name}` }, name)]);
  const button = make("button", { type: "button", className: "link" }, `show ${claim.used}`);
  button.addEventListener("click", () => showRunsOf(claim));
  const cells = [claim.paper, claim.claim, badge(claim.verdict), claim.statement, claim.published];
  const row = cells.map((value) => make("td", {}, value));
  row.push(make("td", {}, measured, folded("reason", claim.reason)), make("td", {}, String(claim.n_seeds)));
  row.push(make("td", {}, claim.place, ...places), make("td", {}, claim.used ? button : "none"));
  return make("tr", { data: { claim: `${claim.paper} ${claim.claim}` } }, ...row);
}

function showRunsOf(claim) {
  onlyClaim = claim;
  const place = byId("claim-filter");
  if (claim) {
    const button = make("button", { type: "button" }, "show all runs again");
    button.addEventListener("click", () => showRunsOf(null));
    place.replaceChildren(`Only runs of ${claim.paper} ${claim.claim}. `, button);
    byId("runs").scrollIntoView();
  }
  place.hidden = !claim;
  drawRuns();
}

function drawArtifacts() {
  const mine = (kind) => DATA.artifacts.filter((artifact) => artifact.kind === kind && ofPaper(artifact.paper));
  const files = (artifact) => artifact.files.flatMap((file, place) => [place ? ", " : "", link(file, file.split(".").pop())]);
  const title = (artifact) => `${artifact.paper}, ${artifact.number}: ${artifact.title}`;
  const cards = mine("figure").map((figure) => {
    const png = figure.files.find((file) => file.endsWith(".png"));
    const image = make("img", { src: path(png), loading: "lazy", alt: title(figure) });
    const caption = make("figcaption", { title: figure.caption }, title(figure), make("br"), ...files(figure));
    return make("figure", { id: `${figure.paper}-${figure.name}` }, make("a", { href: path(png) }, image), caption);
  });
  byId("figures").querySelector(".cards").replaceChildren(...cards);
  const items = mine("table").map((table) => make("li", { id: `${table.paper}-${table.name}` }, `${title(table)}: `, ...files(table)));
  byId("tables").querySelector("ul").replaceChildren(...items);
}

// --- start

function start() {
  const values = (key) => [...new Set(DATA.runs.map((run) => run[key]))].sort(compare);
  const mark = (objective) => {
    const element = make("span", { className: "mark", ariaHidden: "true" }, symbolOf(objective)[1]);
    element.style.color = DATA.objectives[objective];
    element.style.webkitTextStroke = "0.5px #333";
    return element;
  };
  choices(byId("papers"), "papers", DATA.papers, () => { drawRuns(); drawClaims(); drawArtifacts(); });
  choices(byId("objective"), "objective", OBJECTIVES, drawRuns, mark);
  choices(byId("dataset"), "dataset", values("dataset"), drawRuns);
  choices(byId("seed"), "seed", values("seed"), drawRuns);
  axisMenu("x");
  axisMenu("y");
  byId("text").addEventListener("input", drawRuns);
  byId("verdict").append(make("option", { value: "" }, "all"), ...Object.keys(DATA.verdicts).map((word) => make("option", { value: word }, word)));
  byId("verdict").addEventListener("change", drawClaims);
  byId("claim-text").addEventListener("input", drawClaims);
  const counts = Object.keys(DATA.verdicts).flatMap((word) => [badge(word, `${DATA.claims.filter((claim) => claim.verdict === word).length} ${word}`), " "]);
  byId("summary").append(`${DATA.runs.length} of ${DATA.asked} runs are finished. Claims: `, ...counts, link("page.csv"), ", ", link("claims.csv"));
  drawRuns();
  drawClaims();
  drawArtifacts();
  byId("plot").on("plotly_click", (event) => {
    const number = event.points[0].customdata;
    if (number !== undefined) choose(number);
  });
}

start();
