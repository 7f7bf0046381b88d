// One described figure: panels and scales to choose, looks to switch off, values on hover.

const hidden = new Set(); // looks switched off, on all charts alike
const charts = [];

class Chart {
  constructor(figure) {
    this.figure = figure;
    this.data = page.charts[Number(figure.dataset.chart)];
    this.plot = figure.querySelector(".plot");
    this.cursorAt = null; // null: the end
    this.highlight = null;
    this.select = figure.querySelector("select");
    this.rows = [...figure.querySelectorAll("tr[data-look]")];
    this.choices = Object.fromEntries(["y", "x"].map((name) => [name, [...figure.querySelectorAll(`input[name^="${name}-"]`)]]));
    this.choose();
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.plot);
  }

  get panel() {
    return this.data.panels[this.select ? Number(this.select.value) : 0];
  }

  /** The scales that the panel is described with. */
  choose() {
    for (const name of ["x", "y"]) this.choices[name][Number(this.panel[name].log)].checked = true;
  }

  listen() {
    this.select?.addEventListener("change", () => (this.choose(), this.draw()));
    for (const input of Object.values(this.choices).flat()) input.addEventListener("change", () => this.draw());
    for (const row of this.rows) {
      const look = Number(row.dataset.look);
      const box = row.querySelector("input");
      box.addEventListener("change", () => show([look], box.checked));
      for (const name of ["pointerenter", "focusin"]) row.addEventListener(name, () => this.emphasise(look));
      for (const name of ["pointerleave", "focusout"]) row.addEventListener(name, () => this.emphasise(null));
    }
    for (const button of this.figure.querySelectorAll("[data-every]")) {
      const looks = this.rows.map((row) => Number(row.dataset.look));
      button.addEventListener("click", () => show(looks, Boolean(button.dataset.every)));
    }
    for (const name of ["pointermove", "pointerdown"]) {
      this.plot.addEventListener(name, (event) => this.moveTo(this.x.invert(event.clientX - this.plot.getBoundingClientRect().left)));
    }
    this.plot.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.moveTo(null));
    this.plot.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    const share = { ArrowLeft: -0.02, ArrowDown: -0.02, ArrowRight: 0.02, ArrowUp: 0.02, PageDown: -0.1, PageUp: 0.1 }[event.key];
    const [start, end] = this.x.domain.map(this.x);
    if (share) this.moveTo(this.x.invert(this.x(this.cursorAt ?? this.end) + share * (end - start)));
    else if (event.key === "Home") this.moveTo(this.x.domain[0]);
    else if (event.key === "End" || event.key === "Escape") this.moveTo(null);
    else return;
    event.preventDefault();
  }

  moveTo(place) {
    if (place !== null) place = Math.max(place, this.x.domain[0]);
    this.cursorAt = place === null || place >= this.end ? null : place;
    this.read();
  }

  emphasise(look) {
    this.highlight = look;
    this.draw();
  }

  /** The described limits; for another scale or with looks switched off, those of what is left. */
  limits(name, shown, log) {
    const described = this.panel[name];
    if (log === described.log && this.panel.series.length === shown.length) return [described.low, described.high];
    if (name === "x") return log ? [Math.max(described.low, described.high / 300), described.high] : [Math.min(0, described.low), described.high];
    const inside = (value) => value !== null && value <= described.high && (value >= described.low || described.zero) && (!log || value > 0);
    const values = shown.filter((series) => !series.faint).flatMap((series) => series.y.filter(inside));
    if (!values.length) return [described.low, described.high];
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const room = log ? Math.max((high / low) ** 0.08, 1.05) : 0.08 * (high - low) || 0.1 * Math.abs(high) || 1;
    return log ? [low / room, high * room] : [low - room, high + room];
  }

  /** No log scale where there is something that it cannot show. */
  allowLog() {
    for (const name of ["x", "y"]) {
      const described = this.panel[name];
      const [linear, log] = this.choices[name];
      const values = this.panel.series.flatMap((series) => series[name]);
      linear.closest("fieldset").hidden = described.names.length > 0;
      log.disabled = !described.log && (described.high <= 0 || values.some((value) => value !== null && value <= 0));
      if (log.disabled && log.checked) linear.checked = true;
    }
  }

  draw() {
    const width = this.plot.clientWidth;
    if (!width) return;
    this.allowLog();
    const { panel } = this;
    const shown = panel.series.filter((series) => !hidden.has(series.look));
    const names = panel.y.names;
    const wide = width >= 520;
    const joined = shown.filter((series) => series.join && series.join !== "bars" && !series.faint);
    const labelled = wide && joined.length > 0;
    const nameWidth = GLYPH * Math.max(0, ...names.map((name) => name.length)) + 12;
    const longest = Math.max(0, ...joined.map(({ look }) => page.looks[look].name.length));
    const right = labelled ? Math.min(GLYPH * longest + 30, 0.35 * width) : 14;
    const height = names.length ? (wide ? 32 : 52) * names.length + 70 : Math.max(Math.min(0.62 * width, 380), 270, labelled ? 14 * joined.length + 80 : 0);
    this.box = { left: names.length ? (wide ? Math.min(nameWidth, 0.4 * width) : 4) : 50, right: width - right, top: 28, bottom: height - 42 };
    const { left, top, bottom } = this.box;
    const log = { x: this.choices.x[1].checked, y: this.choices.y[1].checked };
    const rowSpace = names.length ? [names.length - 0.5, -0.5] : this.limits("y", shown, log.y);
    this.y = axis(rowSpace, [bottom, top], !names.length && log.y, panel.y.zero);
    this.x = axis(this.limits("x", shown, log.x), [left, this.box.right], log.x, panel.x.zero);
    this.end = Math.min(this.x.domain[1], Math.max(...joined.flatMap((series) => series.x.slice(-1)), this.x.domain[0]));

    const root = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    const clip = `clip-${this.figure.dataset.chart}`;
    root.append(svg("clipPath", { id: clip }, svg("rect", { x: left, y: top - 6, width: this.box.right - left + 6, height: bottom - top + 12 })));
    root.append(this.frame(width, wide));
    const lines = svg("g", { "clip-path": `url(#${clip})` });
    for (const rule of panel.rules) {
      const [x, y] = [this.x(rule.at).toFixed(1), this.y(rule.at).toFixed(1)];
      const d = rule.axis === "x" ? `M${x} ${top}V${bottom}` : `M${left} ${y}H${this.box.right}`;
      lines.append(svg("path", { class: "rule", d }));
    }
    const front = (series) => (series.faint ? -1 : series.marks === "none" ? 0 : series.look === this.highlight ? 99 : page.looks[series.look].width);
    for (const series of [...shown].sort((a, b) => front(a) - front(b))) lines.append(this.series(series));
    root.append(lines);
    if (labelled) root.append(this.labels(joined, width));
    const message = panel.empty || (shown.length ? "" : "nothing chosen");
    if (message) root.append(svg("text", { class: "empty", x: (left + this.box.right) / 2, y: height / 2 }, message));
    this.cursor = svg("g", { class: "cursor" });
    root.append(this.cursor);
    this.plot.replaceChildren(root);
    this.figure.querySelector(".remark").textContent = panel.remark && `${panel.remark[0].toUpperCase()}${panel.remark.slice(1)}. `;
    this.read();
  }

  /** Grid, ticks, names of rows and titles. */
  frame(width, wide) {
    const { left, right, top, bottom } = this.box;
    const { x, y, title } = this.panel;
    const group = svg("g", { class: "frame" });
    y.names.forEach((name, row) => {
      const place = wide ? { x: left - 8, y: this.y(row) + 4, class: "row end" } : { x: left, y: this.y(row) - 21, class: "row" };
      group.append(svg("text", place, wide ? fit(name, left - 8) : fit(name, width)));
    });
    for (const [tick, text] of y.names.length ? [] : this.y.ticks(5)) {
      group.append(svg("path", { class: "grid", d: `M${at(left, this.y(tick))}H${right}` }));
      group.append(svg("text", { x: left - 8, y: this.y(tick) + 4, class: "end" }, text));
    }
    group.append(svg("path", { class: "base", d: `M${at(left, bottom)}H${right}` }));
    for (const [tick, text] of this.panel.empty ? [] : this.x.ticks(wide ? 6 : 4)) {
      if (y.names.length) group.append(svg("path", { class: "grid", d: `M${at(this.x(tick), top)}V${bottom}` }));
      group.append(svg("path", { class: "base", d: `M${at(this.x(tick), bottom)}v4` }));
      group.append(svg("text", { x: this.x(tick), y: bottom + 18, class: "middle" }, text));
    }
    group.append(svg("text", { x: 0, y: 12, class: "title" }, fit(y.label || title, width)));
    group.append(svg("text", { x: right, y: bottom + 36, class: "title end" }, x.label));
    return group;
  }

  series(series) {
    const look = page.looks[series.look];
    const on = this.highlight === series.look;
    const faded = (this.highlight === null || on ? "" : " faded") + (series.faint ? " faint" : "");
    const group = svg("g", { class: `${series.join ? "curve" : "points"} m${series.look}${faded}` });
    if (series.join === "bars") {
      series.left.forEach((start, k) => {
        const [from, to, row] = [this.x(start), this.x(series.right[k]), this.y(series.y[k])];
        const bar = svg("rect", { class: "bar", x: from, y: row - 7, width: Math.max(to - from, 0), height: 14 });
        if (to > from) group.append(svg("g", {}, svg("title", {}, `${look.name}: ${number(series.right[k] - start)}`), bar));
      });
      return group;
    }
    if (series.join && series.low && (on || series.band)) group.append(svg("path", { class: "band", d: bandPath(series, this.x, this.y) }));
    if (series.join) {
      const line = { class: "line", d: linePath(series, this.x, this.y), "stroke-width": look.width * (on ? 1.4 : 1) };
      if (look.dash) line["stroke-dasharray"] = look.dash;
      group.append(svg("path", line));
    }
    for (const [x, y, k] of this.places(series)) {
      const mark = svg("path", { class: series.marks === "open" ? "marker open" : "marker", d: look.marker, transform: `translate(${at(x, y)}) scale(${series.faint ? 4 : series.join ? 7 : 9})` });
      if (k === undefined) { group.append(mark); continue; }
      const span = (low, high) => series[low] && series[low][k] !== null && series[high][k] !== null;
      if (span("left", "right")) group.append(svg("path", { class: "line", d: `M${at(this.x(series.left[k]), y)}H${this.x(series.right[k]).toFixed(1)}` }));
      if (!series.join && span("low", "high")) group.append(svg("path", { class: "line", d: `M${at(x, this.y(series.low[k]))}V${this.y(series.high[k]).toFixed(1)}` }));
      const value = this.panel.y.names.length ? estimate(series.x[k], series.left?.[k] ?? null, series.right?.[k] ?? null) : `${number(series.x[k])}, ${number(series.y[k])}`;
      group.append(svg("g", {}, svg("title", {}, `${look.name}: ${value}`), mark));
    }
    return group;
  }

  /** Pixels of marks: at all points, or a few at even distances, shifted from look to look. */
  places(series) {
    if (series.marks === "none") return [];
    const point = (k) => [this.x(series.x[k]), this.y(series.y[k]), k];
    if (series.marks !== "few") return series.x.map((_, k) => k).filter((k) => series.x[k] !== null && series.y[k] !== null).map(point);
    const { left, right } = this.box;
    const pixels = [0, 1, 2, 3, 4].map((k) => left + ((k + ((0.618 * (series.look + 1)) % 1)) / 5) * (right - left));
    return pixels.flatMap((pixel) => {
      const value = series.y[indexAt(series, this.x.invert(pixel))] ?? null;
      return value === null ? [] : [[pixel, this.y(value)]];
    });
  }

  /** Names beside the ends of the lines, moved apart where they would collide. */
  labels(joined, width) {
    const { right, top, bottom } = this.box;
    const gap = 14;
    const labels = joined.filter(({ y }) => y.some((value) => value !== null)).map(({ look, x, y }) => {
      const last = y.findLastIndex((value) => value !== null);
      const height = this.y(y[last]);
      const off = height < top - 4 ? "↑" : height > bottom + 4 ? "↓" : "";
      return { look, x: this.x(x[last]), end: Math.min(Math.max(height, top), bottom), off };
    });
    labels.sort((a, b) => a.end - b.end);
    labels.forEach((label, k) => (label.y = Math.max(label.end, k ? labels[k - 1].y + gap : top)));
    for (let k = labels.length - 1, floor = bottom; k >= 0; k--, floor -= gap) labels[k].y = Math.min(labels[k].y, floor);
    const group = svg("g", { class: "labels" });
    for (const { look, x, end, y, off } of labels) {
      const faded = this.highlight === null || this.highlight === look ? "" : " faded";
      const leader = `M${at(Math.min(x, right) + 3, end)}L${at(right + 16, y)}h4`;
      const name = fit(page.looks[look].name, width - right - 25 - (off && 12));
      const text = svg("text", { x: right + 23, y: y + 4 }, name + (off && ` ${off}`));
      group.append(svg("g", { class: `label m${look}${faded}` }, svg("path", { class: "leader", d: leader }), text));
    }
    return group;
  }

  /** The cursor and the values at it. */
  read() {
    const place = this.cursorAt ?? this.end;
    const { top, bottom } = this.box;
    const { x: axisX, y: axisY, title } = this.panel;
    const spoken = [];
    let readable = false;
    this.cursor.replaceChildren();
    if (this.cursorAt !== null) this.cursor.append(svg("path", { class: "hair", d: `M${at(this.x(place), top)}V${bottom}` }));
    for (const row of this.rows) {
      const look = Number(row.dataset.look);
      const series = this.panel.series.find((one) => one.look === look && one.join && one.join !== "bars" && !one.faint);
      const k = series ? indexAt(series, place) : -1;
      const value = k < 0 ? null : series.y[k];
      readable ||= Boolean(series);
      const text = value === null ? "-" : estimate(value, series.low ? series.low[k] : null, series.high ? series.high[k] : null);
      row.querySelector(".value").textContent = text;
      row.querySelector(".n").textContent = value === null || !series.n ? "" : series.n[k];
      if (hidden.has(look) || value === null) continue;
      spoken.push(`${page.looks[look].name} ${text}`);
      const y = this.y(value);
      if (this.cursorAt !== null && y >= top - 4 && y <= bottom + 4) this.cursor.append(svg("circle", { class: `m${look}`, cx: this.x(place), cy: y, r: 3.5 }));
    }
    if (!readable) this.cursor.replaceChildren();
    this.figure.classList.toggle("unread", !readable);
    const when = `${axisX.label} ${number(place)}${this.cursorAt === null ? " (the end)" : ""}`;
    this.figure.querySelector(".readout caption").textContent = readable ? `${axisY.label || title} at ${when}` : title;
    const slider = { role: "slider", tabindex: 0, "aria-label": `${title}: ${axisX.label}`, "aria-valuemin": this.x.domain[0], "aria-valuemax": this.end, "aria-valuenow": place, "aria-valuetext": `${when}: ${spoken.join("; ")}` };
    const still = { role: "img", "aria-label": `${this.data.title} ${title}` };
    const wanted = readable ? slider : still;
    for (const name of Object.keys(slider)) if (!(name in wanted)) this.plot.removeAttribute(name);
    for (const [name, value] of Object.entries(wanted)) this.plot.setAttribute(name, value);
  }
}

/** Switches looks on or off, on all charts. */
function show(looks, on) {
  for (const look of looks) on ? hidden.delete(look) : hidden.add(look);
  for (const chart of charts) {
    for (const row of chart.rows) {
      row.querySelector("input").checked = !row.classList.toggle("off", hidden.has(Number(row.dataset.look)));
    }
    chart.draw();
  }
}
