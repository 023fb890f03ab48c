// What a reader may do: hide a backend, choose with which one others are compared and the axis of the
// curves, sort and download a table. What is chosen stands in the address, to be sent to others.

const lines = JSON.parse(document.getElementById("lines").textContent);
const matrix = document.getElementById("matrix");
const base = document.getElementById("with");
const state = {hide: new Set(), with: "", by: "step", at: ""};
const charts = JSON.parse(document.getElementById("charts").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const places = [...document.querySelectorAll(".chart")];
const drawn = new Map();

function colours() {
  const style = getComputedStyle(document.documentElement);
  const [ink, quiet, line] = ["--ink", "--quiet", "--line"].map(name => style.getPropertyValue(name));
  return {
    background: "transparent",
    axis: {labelColor: quiet, titleColor: quiet, gridColor: line, domainColor: line, tickColor: line},
    legend: {labelColor: ink},
    title: {color: ink},
    text: {color: ink}, rule: {color: ink}, tick: {color: ink},
  };
}

// An address without choices is the mere name of a place, as one that was written by hand.
function read() {
  const said = location.hash.slice(1), chosen = new URLSearchParams(said);
  state.hide = new Set(chosen.getAll("hide"));
  state.with = lines.some(line => line.label === chosen.get("with")) ? chosen.get("with") : "";
  state.by = chosen.get("by") === "seconds" ? "seconds" : "step";
  state.at = chosen.get("at") ?? (said.includes("=") ? "" : [...chosen.keys()].join());
}

function write() {
  const chosen = new URLSearchParams([...state.hide].map(label => ["hide", label]));
  for (const name of ["with", "at"]) if (state[name]) chosen.set(name, state[name]);
  if (state.by !== "step") chosen.set("by", state.by);
  history.replaceState(null, "", `#${chosen}`);
}

function go() {
  const place = document.getElementById(state.at);
  for (let folded = place?.closest("details"); folded; folded = folded.parentElement.closest("details")) folded.open = true;
  place?.scrollIntoView();
}

function isShown(line) {
  return !state.hide.has(line.label);
}

// As in the tables: three digits.
function ratio(value) {
  const exponent = Number(value.toExponential(2).split("e")[1]);
  if (exponent < -4 || exponent >= 9) return `${value.toExponential(2)}x`;
  const digits = Math.max(2 - exponent, 0), options = {minimumFractionDigits: digits, maximumFractionDigits: digits};
  return `${Number(value.toPrecision(3)).toLocaleString("en", options)}x`;
}

function compareCell(cell, speed, other) {
  if (speed === null) return;
  const times = other > 0 ? speed / other : undefined;
  cell.firstElementChild.textContent = times === undefined ? "\u2013" : ratio(times);
  cell.classList.toggle("best", times === 1);
  if (times === undefined) delete cell.dataset.value;
  else cell.dataset.value = times;
}

function compareLines() {
  const against = state.with ? lines.filter(line => line.label === state.with) : lines.filter(isShown);
  const others = lines[0].speeds.map((_, i) => Math.max(...against.map(line => line.speeds[i] ?? 0)));
  for (const row of matrix.tBodies[0].rows) {
    const line = lines[row.dataset.line];
    row.hidden = !isShown(line);
    line.speeds.forEach((speed, i) => compareCell(row.cells[i + 1], speed, others[i]));
  }
  document.getElementById("base").textContent = state.with || "the fastest shown";
  base.value = state.with;
  for (const note of document.querySelectorAll("[data-mixed]")) {
    note.hidden = new Set(lines.filter(isShown).map(line => line.filters[note.dataset.mixed])).size < 2;
  }
}

function linesOf({filter, value}) {
  return lines.filter(line => line.filters[filter] === value);
}

function show() {
  for (const button of document.querySelectorAll("[data-series]")) {
    button.setAttribute("aria-pressed", !state.hide.has(button.dataset.series));
  }
  for (const button of document.querySelectorAll("[data-filter]")) {
    button.setAttribute("aria-pressed", linesOf(button.dataset).some(isShown));
  }
  for (const choice of document.querySelectorAll("[name=by]")) choice.checked = choice.value === state.by;
  if (matrix) compareLines();
}

function change(changes) {
  Object.assign(state, changes);
  show();
  write();
}

function specOf({dataset: {section, panel}}) {
  return charts[section][panel];
}

// Vega has no scale for nothing: what has no series left is not drawn.
function isEmpty(place) {
  return Object.values(specOf(place).datasets).flat().every(datum => state.hide.has(datum.series));
}

async function draw(place) {
  drawn.get(place)?.finalize();
  drawn.delete(place);
  place.replaceChildren();
  place.hidden = isEmpty(place);
  if (place.hidden) return;
  const spec = structuredClone(specOf(place));
  spec.encoding.x = spec.usermeta.x[state.by] ?? spec.encoding.x;
  spec.params[0].value = [...state.hide];
  const actions = {export: true, source: false, compiled: false, editor: false};
  const tooltip = {theme: dark.matches ? "dark" : "light"};
  drawn.set(place, await vegaEmbed(place, spec, {config: colours(), actions, tooltip, renderer: "svg", ast: true}));
}

function refresh(place) {
  if (isEmpty(place) || !drawn.has(place)) draw(place);
  else drawn.get(place).view.signal("hidden", [...state.hide]).runAsync();
}

function hide(labels, isHidden) {
  const hidden = new Set(state.hide);
  for (const label of labels) isHidden ? hidden.add(label) : hidden.delete(label);
  change({hide: hidden});
  drawAll(refresh);
}

function toggle(button) {
  const labels = button.dataset.series ? [button.dataset.series] : linesOf(button.dataset).map(line => line.label);
  hide(labels, button.getAttribute("aria-pressed") === "true");
}

// Numbers as numbers, what is missing last.
function compare(a, b) {
  const [x, y] = [a, b].map(cell => cell.dataset.value === undefined ? NaN : Number(cell.dataset.value));
  if (isNaN(x) && isNaN(y)) return a.textContent.localeCompare(b.textContent);
  return isNaN(x) ? Infinity : isNaN(y) ? -Infinity : x - y;
}

function sort(heading) {
  const table = heading.closest("table");
  const descending = heading.getAttribute("aria-sort") === "ascending";
  for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const rows = [...table.tBodies[0].rows];
  rows.sort((a, b) => {
    const order = compare(a.cells[heading.cellIndex], b.cells[heading.cellIndex]);
    return descending && isFinite(order) ? -order : order;
  });
  table.tBodies[0].append(...rows);
}

function titles(table) {
  return [...table.tHead.rows[0].cells].map(heading => heading.textContent.trim());
}

// A column of intervals becomes three; a column of numbers holds no text but where it has no number.
function records(table) {
  const rows = [...table.tBodies[0].rows].filter(row => !row.hidden);
  const columns = titles(table).map((title, i) => ({
    title, i,
    isNumber: rows.some(row => row.cells[i].dataset.value !== undefined),
    hasInterval: rows.some(row => row.cells[i].dataset.low !== undefined),
  }));
  const number = text => text === undefined ? null : Number(text);
  return rows.map(row => Object.fromEntries(columns.flatMap(({title, i, isNumber, hasInterval}) => {
    const cell = row.cells[i], {value, low, high} = cell.dataset;
    const own = [[title, isNumber ? number(value) : cell.textContent]];
    return hasInterval ? [...own, [`${title} low`, number(low)], [`${title} high`, number(high)]] : own;
  })));
}

function csv(found) {
  const quote = value => typeof value === "string" ? `"${value.replaceAll('"', '""')}"` : value ?? "";
  const lines = [Object.keys(found[0] ?? {}), ...found.map(Object.values)];
  return lines.map(line => line.map(quote).join(",")).join("\r\n") + "\r\n";
}

function download(table, format) {
  const found = records(table);
  const text = format === "csv" ? csv(found) : JSON.stringify(found, null, 1);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type: format === "csv" ? "text/csv" : "application/json"}));
  link.download = `${table.dataset.name.replace(/[^\w.-]+/g, "-")}.${format}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function begin() {
  read();
  show();
  drawAll(draw);
  if (state.at) go();
}

function drawAll(drawOne) {
  if (typeof vegaEmbed !== "undefined") places.forEach(place => drawOne(place));
}

for (const button of document.querySelectorAll("[data-series], [data-filter]")) button.onclick = () => toggle(button);
for (const heading of document.querySelectorAll("thead th")) heading.querySelector("button").onclick = () => sort(heading);
for (const link of document.querySelectorAll('a[href^="#"]')) {
  link.onclick = event => {
    event.preventDefault();
    change({at: link.hash.slice(1)});
    go();
  };
}
for (const button of document.querySelectorAll("[data-download]")) {
  const table = button.closest(".results").querySelector("table");
  button.onclick = () => download(table, button.dataset.download);
}
for (const choice of document.querySelectorAll("[name=by]")) {
  choice.onchange = () => {
    change({by: choice.value});
    drawAll(draw);
  };
}
if (base) base.onchange = () => change({with: base.value});
dark.addEventListener("change", () => drawAll(draw));
window.addEventListener("hashchange", begin);
begin();
