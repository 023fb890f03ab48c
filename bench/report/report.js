// What a reader may do: hide a backend, choose the axis of the curves, sort and download a table.

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

function hidden(section) {
  const buttons = document.querySelectorAll(`section[data-section="${section}"] [aria-pressed="false"]`);
  return [...buttons].map(button => button.dataset.series);
}

async function draw(place) {
  const {section, panel} = place.dataset;
  const spec = structuredClone(charts[section][panel]);
  const by = document.querySelector("[name=by]:checked")?.value;
  spec.encoding.x = spec.usermeta.x[by] ?? spec.encoding.x;
  spec.params[0].value = hidden(section);
  drawn.get(place)?.finalize();
  const actions = {export: true, source: false, compiled: false, editor: false};
  const tooltip = {theme: dark.matches ? "dark" : "light"};
  drawn.set(place, await vegaEmbed(place, spec, {config: colours(), actions, tooltip, renderer: "svg", ast: true}));
}

function toggle(button) {
  button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") === "false");
  const {section} = button.closest("section").dataset;
  for (const place of places.filter(place => place.dataset.section === section)) {
    drawn.get(place)?.view.signal("hidden", hidden(section)).runAsync();
  }
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
  const rows = [...table.tBodies[0].rows];
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

function drawAll() {
  if (typeof vegaEmbed !== "undefined") places.forEach(draw);
}

for (const button of document.querySelectorAll("[data-series]")) button.onclick = () => toggle(button);
for (const heading of document.querySelectorAll("thead th")) heading.firstElementChild.onclick = () => sort(heading);
for (const button of document.querySelectorAll("[data-download]")) {
  const table = button.closest(".results").querySelector("table");
  button.onclick = () => download(table, button.dataset.download);
}
for (const choice of document.querySelectorAll("[name=by]")) choice.onchange = drawAll;
dark.addEventListener("change", drawAll);
drawAll();
