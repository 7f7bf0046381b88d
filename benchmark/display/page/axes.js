"use strict";
// Numbers, axes and paths: what charts are made of.
const GLYPH = 7; // pixels of an average letter in a plot
const exponentOf = (value) => Math.floor(Math.log10(Math.abs(value)));

/** As benchmark.display.formatting writes it. */
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
  if (half > 0 && size >= -5 && size < 6) {
    const decimals = Math.min(Math.max(1 - exponentOf(half), 1 - size, 0), Math.max(3 - size, 0));
    for (let more = decimals; more < decimals + 3; more++) {
      const [middle, ...ends] = [value, low, high].map((part) => part.toFixed(more));
      if ([low, high].every((end, k) => end === 0 || Number(ends[k]))) return `${middle} [${ends[0]}, ${ends[1]}]`;
    }
  }
  return `${number(value)} [${number(low)}, ${number(high)}]`;
}

function linearTicks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) ticks.push(k * step);
  return ticks;
}

function logTicks(low, high, count) {
  const decades = Math.log10(high) - Math.log10(low);
  if (decades < 0.6) return linearTicks(low, high, count).filter((tick) => tick > 0);
  const factors = decades * 3 < 1.6 * count ? [1, 2, 5] : decades * 2 < 1.4 * count ? [1, 3] : [1];
  const every = Math.max(1, Math.ceil(decades / (1.5 * count)));
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += every) {
    ticks.push(...factors.map((factor) => factor * 10 ** power));
  }
  return ticks.filter((tick) => tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9));
}

function tickText(value) {
  const plain = Number(value.toPrecision(6));
  const large = plain !== 0 && (Math.abs(plain) >= 1e5 || Math.abs(plain) < 1e-4);
  return large ? plain.toExponential().replace("e+", "e") : String(plain);
}

/** The text, without its middle where about `pixels` are full. */
function fit(text, pixels) {
  const count = Math.max(Math.floor(pixels / GLYPH), 3);
  const half = Math.floor((count - 1) / 2);
  return text.length > count ? `${text.slice(0, count - 1 - half)}…${text.slice(-half)}` : text;
}

/** An axis from `domain` to pixels `range`; on a log axis zero is at its edge. */
function axis(domain, range, log, zero) {
  const scale = log ? (value) => Math.log(value <= 0 ? domain[0] : value) : (value) => value;
  const [start, end] = domain.map(scale);
  const place = (value) => range[0] + ((scale(value) - start) / (end - start)) * (range[1] - range[0]);
  place.invert = (pixel) => {
    const value = start + ((pixel - range[0]) / (range[1] - range[0])) * (end - start);
    return log ? Math.exp(value) : value;
  };
  place.ticks = (count) => {
    const ticks = (log ? logTicks : linearTicks)(...domain, count);
    if (!log || !zero) return ticks.map((tick) => [tick, tickText(tick)]);
    return [[domain[0], "0"], ...ticks.filter((tick) => tick > 1.2 * domain[0]).map((tick) => [tick, tickText(tick)])];
  };
  place.domain = domain;
  return place;
}

/** Index of the last point of `series` at or before `x`; -1 where it has no value. */
function indexAt(series, x) {
  const places = series.x;
  if (x > places[places.length - 1] * (1 + 1e-4)) return -1;
  let [low, high] = [0, places.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (places[middle] <= x * (1 + 1e-9)) low = middle + 1;
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

/** Runs of consecutive indices at which all `lists` are known. */
function segments(lists) {
  const known = (k) => lists.every((list) => list[k] !== null);
  const found = [];
  for (let k = 0; k < lists[0].length; k++) {
    if (!known(k)) continue;
    if (k && known(k - 1)) found[found.length - 1].push(k);
    else found.push([k]);
  }
  return found;
}

/** Path through (x, y) at `indices`; in steps each value holds until the next. */
function through(indices, x, y, steps) {
  const join = (k) => (steps ? `H${x(k).toFixed(1)}V${y(k).toFixed(1)}` : `L${at(x(k), y(k))}`);
  return indices.map((k, place) => (place ? join(k) : at(x(k), y(k)))).join("");
}

function linePath(series, x, y) {
  const paths = segments([series.x, series.y]).map((run) =>
    through(run, (k) => x(series.x[k]), (k) => y(series.y[k]), series.join === "steps"));
  return paths.map((path) => `M${path}`).join("");
}

function bandPath(series, x, y) {
  const steps = series.join === "steps";
  return segments([series.low, series.high]).map((run) => {
    const upper = through(run, (k) => x(series.x[k]), (k) => y(series.high[k]), steps);
    const back = [...run].reverse().map((k, place, all) => {
      const low = y(series.low[k]).toFixed(1);
      if (!steps) return `L${x(series.x[k]).toFixed(1)} ${low}`;
      return (place ? `H${x(series.x[all[place - 1]]).toFixed(1)}` : "") + `V${low}`;
    });
    return `M${upper}${back.join("")}${steps ? `H${x(series.x[run[0]]).toFixed(1)}` : ""}Z`;
  }).join("");
}
