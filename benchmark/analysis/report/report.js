"use strict";
// Adds to a page that is complete without it: curves to explore, tables to sort, samples to
// step through. Text enters as text only, so names cannot become markup.

const page = JSON.parse(document.getElementById("data").textContent);
const hidden = new Set(); // methods switched off, on all charts alike
const charts = [];
const GLYPH = 6.4; // pixels of an average letter in a plot
document.documentElement.classList.add("js");

// -- numbers, as benchmark/analysis/formatting.py writes them --------------------------------

const exponentOf = (value) => Math.floor(Math.log10(Math.abs(value)));

function number(value, digits = 3) {
  if (value === null) return "-";
  if (value === 0) return "0";
  const exponent = exponentOf(value);
  if (exponent < -4 || exponent >= 6) {
    return value.toExponential(digits - 1).replace(/e([+-])(\d)$/, "e$10$2");
  }
  return value.toFixed(Math.max(digits - 1 - exponent, 0));
}

function estimate(value, low, high) {
  if (value === null || low === null || high === null) return number(value);
  const half = (high - low) / 2;
  const size = exponentOf(value || half || 1);
  if (half <= 0 || size < -5 || size >= 6) {
    return `${number(value)} [${number(low)}, ${number(high)}]`;
  }
  const decimals = Math.min(Math.max(1 - exponentOf(half), 1 - size, 0), Math.max(3 - size, 0));
  return `${value.toFixed(decimals)} [${low.toFixed(decimals)}, ${high.toFixed(decimals)}]`;
}

// -- axes --------------------------------------------------------------------------------------

function linearTicks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) ticks.push(k * step);
  return ticks;
}

function logTicks(low, high, count) {
  const decades = Math.log10(high / low);
  if (decades < 0.6) return linearTicks(low, high, count).filter((tick) => tick > 0);
  const factors = decades * 3 < 1.6 * count ? [1, 2, 5] : decades * 2 < 1.4 * count ? [1, 3] : [1];
  const every = Math.max(1, Math.ceil(decades / (1.5 * count)));
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += every) {
    for (const factor of factors) {
      const tick = factor * 10 ** power;
      if (tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9)) ticks.push(tick);
    }
  }
  return ticks;
}

function tickText(value) {
  const plain = Number(value.toPrecision(6));
  const large = plain !== 0 && (Math.abs(plain) >= 1e5 || Math.abs(plain) < 1e-4);
  return large ? plain.toExponential().replace("e+", "e") : String(plain);
}

/** The text, cut where about `pixels` are full. */
function fit(text, pixels) {
  const count = Math.max(Math.floor(pixels / GLYPH), 1);
  return text.length > count ? `${text.slice(0, count - 1)}…` : text;
}

/** An axis from `domain` to pixels `range`. */
function axis(domain, range, log) {
  const scale = log ? Math.log : (value) => value;
  const unscale = log ? Math.exp : (value) => value;
  const [start, end] = domain.map(scale);
  const place = (value) => range[0] + ((scale(value) - start) / (end - start)) * (range[1] - range[0]);
  place.invert = (pixel) => unscale(start + ((pixel - range[0]) / (range[1] - range[0])) * (end - start));
  place.ticks = (count) => (log ? logTicks : linearTicks)(...domain, count);
  place.domain = domain;
  return place;
}

// -- curves ------------------------------------------------------------------------------------

/** Index of the last moment of `curve` at or before `time`; -1 where it has no value. */
function indexAt(curve, time) {
  const x = curve.x;
  if (time > x[x.length - 1] * (1 + 1e-4)) return -1;
  let low = 0;
  let high = x.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (x[middle] <= time * (1 + 1e-9)) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const at = (x, y) => `${x.toFixed(1)} ${y.toFixed(1)}`;

/** Runs of consecutive indices at which all `lists` are known and, on a log axis, positive. */
function segments(lists, log) {
  const known = (k) => lists.every((list) => list[k] !== null && (!log || list[k] > 0));
  const found = [];
  for (let k = 0; k < lists[0].length; k++) {
    if (!known(k)) continue;
    if (k && known(k - 1)) found[found.length - 1].push(k);
    else found.push([k]);
  }
  return found;
}

/** Path of steps through (x, y) at `indices`: each value holds until the next moment. */
function steps(indices, x, y) {
  let path = "";
  indices.forEach((k, place) => {
    path += place ? `H${x(k).toFixed(1)}V${y(k).toFixed(1)}` : at(x(k), y(k));
  });
  return path;
}

function linePath(curve, x, y, log) {
  return segments([curve.y], log)
    .map((run) => "M" + steps(run, (k) => x(curve.x[k]), (k) => y(curve.y[k])))
    .join("");
}

function bandPath(curve, x, y, log) {
  return segments([curve.low, curve.high], log)
    .map((run) => {
      const upper = steps(run, (k) => x(curve.x[k]), (k) => y(curve.high[k]));
      let back = `V${y(curve.low[run[run.length - 1]]).toFixed(1)}`;
      for (let k = run.length - 1; k >= 0; k--) {
        back += `H${x(curve.x[run[k]]).toFixed(1)}`;
        if (k) back += `V${y(curve.low[run[k - 1]]).toFixed(1)}`;
      }
      return `M${upper}${back}Z`;
    })
    .join("");
}

class Chart {
  constructor(figure) {
    this.figure = figure;
    this.data = page.charts[Number(figure.dataset.chart)];
    this.plot = figure.querySelector(".plot");
    this.time = null; // null: the end of the budget
    this.highlight = null;
    this.select = figure.querySelector("select");
    this.rows = [...figure.querySelectorAll("tr[data-method]")];
    this.choices = Object.fromEntries(
      ["value", "time"].map((name) => [name, [...figure.querySelectorAll(`input[name^="${name}-"]`)]]),
    );
    this.drop();
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.plot);
  }

  get series() {
    return this.data.series[Number(this.select.value)];
  }

  isLog(name) {
    return this.choices[name].find((input) => input.checked).value === "log";
  }

  /** Leaves out rows of methods that never work on this task. */
  drop() {
    const present = new Set(this.data.series.flatMap((series) => Object.keys(series.curves)));
    for (const row of this.rows) if (!present.has(row.dataset.method)) row.remove();
    this.rows = this.rows.filter((row) => present.has(row.dataset.method));
  }

  listen() {
    this.select.addEventListener("change", () => {
      this.choices.value.find((input) => input.value === (this.series.log ? "log" : "linear")).checked = true;
      this.draw();
    });
    for (const input of Object.values(this.choices).flat()) {
      input.addEventListener("change", () => this.draw());
    }
    for (const row of this.rows) {
      const method = Number(row.dataset.method);
      const box = row.querySelector("input");
      box.addEventListener("change", () => show([method], box.checked));
      row.addEventListener("pointerenter", () => this.emphasise(method));
      row.addEventListener("pointerleave", () => this.emphasise(null));
      box.addEventListener("focus", () => box.matches(":focus-visible") && this.emphasise(method));
      box.addEventListener("blur", () => this.emphasise(null));
    }
    for (const button of this.figure.querySelectorAll("[data-every]")) {
      const methods = page.methods.map((_, index) => index);
      button.addEventListener("click", () => show(methods, Boolean(button.dataset.every)));
    }
    this.plot.tabIndex = 0;
    this.plot.setAttribute("role", "slider");
    this.plot.setAttribute("aria-label", `${this.data.task}: ${this.data.time}`);
    this.plot.addEventListener("pointermove", (event) => this.point(event));
    this.plot.addEventListener("pointerdown", (event) => this.point(event));
    this.plot.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.moveTo(null));
    this.plot.addEventListener("keydown", (event) => this.key(event));
  }

  point(event) {
    const pixel = event.clientX - this.plot.getBoundingClientRect().left;
    this.moveTo(this.x.invert(pixel));
  }

  key(event) {
    const share = { ArrowLeft: -0.02, ArrowDown: -0.02, ArrowRight: 0.02, ArrowUp: 0.02, PageDown: -0.1, PageUp: 0.1 }[event.key];
    const [start, end] = this.x.domain.map(this.x);
    if (share) this.moveTo(this.x.invert(this.x(this.time ?? this.data.budget) + share * (end - start)));
    else if (event.key === "Home") this.moveTo(this.x.domain[0]);
    else if (event.key === "End" || event.key === "Escape") this.moveTo(null);
    else return;
    event.preventDefault();
  }

  moveTo(time) {
    if (time !== null) time = Math.max(time, this.x.domain[0]);
    this.time = time === null || time >= this.data.budget ? null : time;
    this.read();
  }

  emphasise(method) {
    if (method === this.highlight) return;
    this.highlight = method;
    this.draw();
  }

  /** Methods that are drawn, with their curves. */
  visible() {
    return Object.entries(this.series.curves)
      .map(([method, curve]) => ({ method: Number(method), curve }))
      .filter(({ method }) => !hidden.has(method));
  }

  /** Limits of the values from a share of the budget on, without hopeless methods. */
  limits(shown, log) {
    const from = this.data.shownFrom * this.data.budget;
    const values = shown.flatMap(({ curve }) => {
      const first = Math.max(indexAt(curve, Math.min(from, curve.x[curve.x.length - 1])), 0);
      return curve.y.slice(first).filter((value) => value !== null && (!log || value > 0));
    });
    if (!values.length) return log ? [0.1, 1] : [0, 1];
    let [low, high] = [Math.min(...values), Math.max(...values)];
    const room = log ? Math.pow(high / low, 0.08) : 0.08 * (high - low);
    if (log) [low, high] = room > 1 ? [low / room, high * room] : [low / 1.1, high * 1.1];
    else {
      const margin = room || 0.1 * Math.abs(high) || 1;
      [low, high] = [low - margin, high + margin];
    }
    const focus = this.series.focus;
    if (focus && focus[0] < high && focus[1] > low && (!log || focus[0] > 0)) {
      [low, high] = [Math.max(low, focus[0]), Math.min(high, focus[1])];
    }
    return [low, high];
  }

  /** When the first curve enters the limits. */
  start(shown, [low, high]) {
    const entries = shown.map(({ curve }) => {
      const first = curve.y.findIndex((value) => value !== null && value >= low && value <= high);
      return first < 0 ? Infinity : curve.x[first];
    });
    const { budget, timeRange } = this.data;
    return 0.8 * Math.min(Math.max(Math.min(...entries), budget / timeRange), budget / 2);
  }

  allowLog() {
    const values = Object.values(this.series.curves).flatMap((curve) => curve.y);
    const input = this.choices.value.find((choice) => choice.value === "log");
    input.disabled = values.some((value) => value !== null && value <= 0);
    if (input.disabled && input.checked) this.choices.value.find((choice) => choice !== input).checked = true;
  }

  draw() {
    const width = this.plot.clientWidth;
    if (!width) return;
    this.allowLog();
    const shown = this.visible();
    const log = { x: this.isLog("time"), y: this.isLog("value") };
    const labelled = width >= 520;
    const longest = Math.max(0, ...shown.map(({ method }) => page.methods[method].name.length));
    const right = labelled ? Math.min(GLYPH * longest + 30, 0.35 * width) : 14;
    const height = Math.max(Math.min(0.62 * width, 380), 270, labelled ? 14 * shown.length + 80 : 0);
    const box = { left: 50, right: width - right, top: 28, bottom: height - 42 };
    const limits = this.limits(shown, log.y);
    this.y = axis(limits, [box.bottom, box.top], log.y);
    const start = log.x ? this.start(shown, limits) : 0;
    this.x = axis([start, this.data.budget], [box.left, box.right], log.x);
    this.box = box;

    const root = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    const clip = `clip-${this.figure.dataset.chart}`;
    const inside = { x: box.left, y: box.top - 4, width: box.right - box.left + 4, height: box.bottom - box.top + 8 };
    root.append(svg("clipPath", { id: clip }, svg("rect", inside)));
    root.append(this.frame(width));
    const lines = svg("g", { "clip-path": `url(#${clip})` });
    const front = ({ method }) => (method === this.highlight ? 99 : page.methods[method].width);
    for (const { method, curve } of [...shown].sort((a, b) => front(a) - front(b))) {
      lines.append(this.curve(method, curve, shown.length, log.y));
    }
    root.append(lines);
    if (labelled) root.append(this.labels(shown, width));
    if (!shown.length) root.append(svg("text", { class: "empty", x: (box.left + box.right) / 2, y: height / 2 }, "no method chosen"));
    this.cursor = svg("g", { class: "cursor" });
    root.append(this.cursor);
    this.plot.replaceChildren(root);
    this.describe();
    this.read();
  }

  /** Grid, ticks and titles. */
  frame(width) {
    const { left, right, top, bottom } = this.box;
    const group = svg("g", { class: "frame" });
    for (const tick of this.y.ticks(5)) {
      const y = this.y(tick);
      group.append(svg("path", { class: "grid", d: `M${at(left, y)}H${right}` }));
      group.append(svg("text", { x: left - 8, y: y + 4, class: "end" }, tickText(tick)));
    }
    group.append(svg("path", { class: "base", d: `M${at(left, bottom)}H${right}` }));
    for (const tick of this.x.ticks(width < 520 ? 4 : 6)) {
      const x = this.x(tick);
      group.append(svg("path", { class: "base", d: `M${at(x, bottom)}v4` }));
      group.append(svg("text", { x, y: bottom + 18, class: "middle" }, tickText(tick)));
    }
    group.append(svg("text", { x: 0, y: 12, class: "title" }, fit(this.series.label, width)));
    group.append(svg("text", { x: right, y: bottom + 36, class: "title end" }, this.data.time));
    return group;
  }

  curve(method, curve, count, log) {
    const look = page.methods[method];
    const on = this.highlight === method;
    const group = svg("g", { class: `curve m${method}${this.highlight === null || on ? "" : " faded"}` });
    if (on || count <= this.data.crowd || this.data.banded.includes(method)) {
      group.append(svg("path", { class: "band", d: bandPath(curve, this.x, this.y, log) }));
    }
    const line = { class: "line", d: linePath(curve, this.x, this.y, log), "stroke-width": look.width * (on ? 1.4 : 1) };
    if (look.dash) line["stroke-dasharray"] = look.dash;
    group.append(svg("path", line));
    // Markers at even distances, shifted from method to method so that they do not collide.
    const { left, right } = this.box;
    for (let k = 0; k < 5; k++) {
      const pixel = left + ((k + ((0.618 * (method + 1)) % 1)) / 5) * (right - left);
      const value = curve.y[indexAt(curve, this.x.invert(pixel))] ?? null;
      if (value === null || (log && value <= 0)) continue;
      group.append(svg("path", { class: "marker", d: look.marker, transform: `translate(${at(pixel, this.y(value))}) scale(7)` }));
    }
    return group;
  }

  /** Names beside the ends of the lines, moved apart where they would collide. */
  labels(shown, width) {
    const { right, top, bottom } = this.box;
    const labels = shown.flatMap(({ method, curve }) => {
      const last = curve.y.findLastIndex((value) => value !== null);
      if (last < 0) return [];
      const y = this.y(curve.y[last]);
      const off = y < top - 4 || !Number.isFinite(y) ? "↑" : y > bottom + 4 ? "↓" : "";
      const end = Number.isFinite(y) ? Math.min(Math.max(y, top), bottom) : top;
      return [{ method, x: this.x(curve.x[last]), end, y: end, off }];
    });
    labels.sort((a, b) => a.end - b.end);
    const gap = 14;
    labels.forEach((label, k) => (label.y = Math.max(label.end, k ? labels[k - 1].y + gap : top)));
    for (let k = labels.length - 1, floor = bottom; k >= 0; k--, floor -= gap) {
      labels[k].y = Math.min(labels[k].y, floor);
    }
    const group = svg("g", { class: "labels" });
    for (const { method, x, end, y, off } of labels) {
      const faded = this.highlight === null || this.highlight === method ? "" : " faded";
      const leader = `M${at(Math.min(x, right) + 3, end)}L${at(right + 16, y)}h4`;
      const name = fit(page.methods[method].name, width - right - 25 - (off && 12));
      const text = svg("text", { x: right + 23, y: y + 4 }, name + (off && ` ${off}`));
      group.append(svg("g", { class: `label m${method}${faded}` }, svg("path", { class: "leader", d: leader }), text));
    }
    return group;
  }

  /** The cursor and the values at it. */
  read() {
    const time = this.time ?? this.data.budget;
    const { top, bottom } = this.box;
    const x = this.x(time);
    this.cursor.replaceChildren();
    if (this.time !== null) this.cursor.append(svg("path", { class: "hair", d: `M${at(x, top)}V${bottom}` }));
    const spoken = [];
    for (const row of this.rows) {
      const method = Number(row.dataset.method);
      const curve = this.series.curves[method];
      const k = curve ? indexAt(curve, time) : -1;
      const value = k < 0 ? null : curve.y[k];
      const text = value === null ? "-" : estimate(value, curve.low[k], curve.high[k]);
      row.querySelector(".value").textContent = text;
      row.querySelector(".n").textContent = value === null ? "" : curve.n[k];
      if (hidden.has(method) || value === null) continue;
      spoken.push(`${page.methods[method].name} ${text}`);
      const y = this.y(value);
      if (this.time !== null && y >= top - 4 && y <= bottom + 4) {
        this.cursor.append(svg("circle", { class: `m${method}`, cx: x, cy: y, r: 3.5 }));
      }
    }
    const end = this.time === null ? " (the end of the budget)" : "";
    const when = `${number(time)} ${this.data.unit} of ${number(this.data.budget)} ${this.data.unit}`;
    this.figure.querySelector(".readout caption").textContent = `${this.series.label} at ${number(time)} ${this.data.unit}${end}`;
    this.plot.setAttribute("aria-valuemin", this.x.domain[0]);
    this.plot.setAttribute("aria-valuemax", this.data.budget);
    this.plot.setAttribute("aria-valuenow", time);
    this.plot.setAttribute("aria-valuetext", `${when}: ${spoken.join("; ")}`);
  }

  describe() {
    const log = this.series.log ? " on the log scale (geometric mean)" : "";
    const many = this.visible().length > this.data.crowd;
    const whose = many ? " of the methods compared with, and of the one pointed at" : "";
    const hint = document.createElement("span");
    hint.className = "hint";
    hint.textContent = " Point at the plot, or focus it and press the arrow keys, to read values.";
    const text = `Mean over n seeds${log}; bands: 95 % Student-t intervals${whose}.`;
    this.figure.querySelector("figcaption").replaceChildren(text, hint);
  }
}

/** Switches methods on or off, on all charts. */
function show(methods, on) {
  for (const method of methods) on ? hidden.delete(method) : hidden.add(method);
  for (const chart of charts) {
    for (const row of chart.rows) {
      const off = hidden.has(Number(row.dataset.method));
      row.querySelector("input").checked = !off;
      row.classList.toggle("off", off);
    }
    chart.draw();
  }
}

// -- tables ------------------------------------------------------------------------------------

function keyOf(row, column) {
  const cell = row.cells[column];
  if (cell.dataset.key === undefined) return cell.textContent.trim();
  return cell.dataset.key === "inf" ? Infinity : Number(cell.dataset.key);
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a === b ? 0 : a - b;
  if (typeof a === typeof b) return a.localeCompare(b);
  return typeof a === "number" ? -1 : 1;
}

function sortBy(table, column) {
  const header = table.tHead.rows[0].cells[column];
  const descending = header.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => ({ row, key: keyOf(row, column) }));
  const missing = ({ key }) => key === "-" || key === "";
  rows.sort((a, b) => missing(a) - missing(b) || (descending ? -1 : 1) * compare(a.key, b.key));
  body.append(...rows.map(({ row }) => row));
}

function makeSortable(table) {
  [...table.tHead.rows[0].cells].forEach((header, column) => {
    if (header.classList.contains("axis")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => sortBy(table, column));
  });
}

// -- samples -----------------------------------------------------------------------------------

function makeGallery(gallery) {
  const slider = gallery.querySelector("input");
  const moments = [...gallery.querySelectorAll(".moments li")].map((item) => item.textContent);
  slider.addEventListener("input", () => {
    const now = Number(slider.value);
    gallery.querySelector("output").textContent = moments[now];
    slider.setAttribute("aria-valuetext", moments[now]);
    for (const strip of gallery.querySelectorAll(".strip")) {
      const figures = [...strip.querySelectorAll("figure")];
      const shown = figures.findLast((figure) => Number(figure.dataset.since) <= now);
      for (const figure of figures) figure.hidden = figure !== shown;
      strip.querySelector(".nothing").hidden = Boolean(shown);
    }
  });
}

for (const details of document.querySelectorAll("details.fallback")) details.open = false;
for (const figure of document.querySelectorAll(".chart")) charts.push(new Chart(figure));
for (const table of document.querySelectorAll("table.sortable")) makeSortable(table);
for (const gallery of document.querySelectorAll(".gallery")) makeGallery(gallery);
