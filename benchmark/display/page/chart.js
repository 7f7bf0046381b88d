// The curves of one task: metric and axes to choose, values at any moment of the budget.

const hidden = new Set(); // methods switched off, on all charts alike
const charts = [];

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
      write(row.querySelector(".value"), text);
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
    const shown = this.visible();
    const many = shown.length > this.data.crowd;
    const banded = shown.filter(({ method }) => !many || this.data.banded.includes(method));
    const whose = many ? ` (of ${banded.map(({ method }) => page.methods[method].name).join(", ")})` : "";
    const bands = banded.length ? `; bands: 95 % Student-t intervals${whose}` : "";
    const hint = document.createElement("span");
    hint.className = "hint";
    hint.textContent =
      " Point at the plot, or focus it and press the arrow keys, to read values" +
      (many ? "; point at a method to see its band." : ".");
    const text = `Mean over n seeds${log}${bands}.`;
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
