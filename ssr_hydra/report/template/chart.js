/* A chart in SVG: axes, marks, and a tooltip of the mark nearest to the pointer. All text is in text nodes. */
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const LINE = 14; // height of a line of text, in pixels

/* Return the width of text in a chart, in pixels. */
const wide = (() => {
  const pen = document.createElement("canvas").getContext("2d");
  return (text, weight = 400) => {
    pen.font = `${weight} 12px ${getComputedStyle(document.documentElement).fontFamily}`;
    return pen.measureText(text).width;
  };
})();

function node(name, attributes, parent, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function html(name, className, parent, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

/* Format a number with four significant digits, like the tables. Only very small and very large numbers have an exponent. */
function number(value, digits = 4) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e15)) return value.toExponential(digits - 1).replace(/\.?0+e/, "e").replace("e+", "e");
  if (size >= 1e4) return Math.round(value).toLocaleString("en-US");
  return String(Number(value.toPrecision(digits)));
}

function linearTicks(low, high, most) {
  const rough = (high - low) / most || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((m) => m >= rough * 0.999);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9 && ticks.length < 60; i++) ticks.push(i * step);
  return ticks;
}

function logTicks(low, high, most) {
  let best = [];
  for (const mantissas of [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 5, 7]]) {
    const ticks = [];
    for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++) {
      for (const m of mantissas) {
        const tick = m * 10 ** e;
        if (tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9)) ticks.push(tick);
      }
    }
    if (ticks.length > most && best.length) break;
    best = ticks;
  }
  while (best.length > most) best = best.filter((_, i) => i % 2 === 0);
  return best.length >= 2 ? best : linearTicks(low, high, most);
}

/* Return a function from values to pixels, and the ticks. The pixel of a value without a position, such as 0 on a log axis, is null. */
function scale(values, log, from, to, options) {
  const usable = values.filter((v) => Number.isFinite(v) && (!log || v > 0));
  let low = Math.min(...[Infinity].concat(extremes(usable)));
  let high = Math.max(...[-Infinity].concat(extremes(usable)));
  if (!(low <= high)) [low, high] = log ? [0.1, 1] : [0, 1];
  if (options.zero && !log) low = Math.min(low, 0);
  const t = log ? Math.log10 : (v) => v;
  let [a, b] = [t(low), t(high)];
  const pad = a === b ? (log ? 0.15 : Math.abs(a) * 0.05 || 0.5) : (b - a) * options.pad;
  if (!(options.zero && !log && low === 0)) a -= pad;
  b += pad;
  const place = (v) => {
    if (!Number.isFinite(v) || (log && v <= 0)) return null;
    return from + ((t(v) - a) / (b - a)) * (to - from);
  };
  const ends = log ? [10 ** a, 10 ** b] : [a, b];
  const most = Math.max(2, Math.floor(Math.abs(to - from) / options.room));
  let ticks = (log ? logTicks : linearTicks)(ends[0], ends[1], most);
  if (options.at && options.at.length > 1 && log) {
    const all = options.at.filter((v) => v >= ends[0] && v <= ends[1]);
    return { place, ticks: apart(all, place, options.text), marked: all }; // each position has a tick, and a number if there is room
  }
  return { place, ticks, marked: ticks };
}

/* Return the positions whose numbers do not overlap. Both ends are preferred. The positions must be ascending. */
function apart(places, px, text) {
  if (places.length < 2) return places;
  const clear = (a, b) => Math.abs(px(b) - px(a)) >= (wide(text(a)) + wide(text(b))) / 2 + 10;
  const last = places[places.length - 1], kept = [places[0]];
  for (const v of places.slice(1, -1)) if (clear(kept[kept.length - 1], v) && clear(v, last)) kept.push(v);
  return [...kept, last];
}

/* Return for each recipe the factor that moves its positions, so that marks of recipes are side by side. */
function nudges(places, count, each, overAll) {
  const gap = Math.min(1, ...places.slice(1).map((v, i) => Math.log2(v / places[i])));
  return Array.from({ length: count }, (_, i) => 2 ** (gap * Math.min(each, overAll / count) * (i - (count - 1) / 2)));
}

/* Space on an axis for the ends of intervals, on each side, as a fraction of the range of the points. */
const STRETCH = 0.25;

/* Return the ends of intervals, cut to that space: with few seeds, intervals are much larger than the range of the points. */
function within(ends, values) {
  const [low, high] = extremes(values.filter(Number.isFinite));
  if (!(low < high)) return ends;
  const room = STRETCH * (high - low);
  return ends.map((v) => Math.min(high + room, Math.max(low - room, v)));
}

function extremes(values) {
  let low = Infinity, high = -Infinity;
  for (const v of values) { if (v < low) low = v; if (v > high) high = v; }
  return values.length ? [low, high] : [];
}

/* Return the path of a mark. Recipes differ in shape as well as in hue. */
function shape(kind, x, y, r) {
  const f = (v) => v.toFixed(1);
  switch (kind % 7) {
    case 1: return `M${f(x - r * 0.9)} ${f(y - r * 0.9)}h${f(r * 1.8)}v${f(r * 1.8)}h${f(-r * 1.8)}z`;
    case 2: return `M${f(x)} ${f(y - r * 1.25)}L${f(x + r * 1.25)} ${f(y)}L${f(x)} ${f(y + r * 1.25)}L${f(x - r * 1.25)} ${f(y)}z`;
    case 3: return `M${f(x)} ${f(y - r * 1.15)}L${f(x + r * 1.15)} ${f(y + r * 0.9)}L${f(x - r * 1.15)} ${f(y + r * 0.9)}z`;
    case 4: return `M${f(x)} ${f(y + r * 1.15)}L${f(x + r * 1.15)} ${f(y - r * 0.9)}L${f(x - r * 1.15)} ${f(y - r * 0.9)}z`;
    case 5: return `M${f(x - r * 0.4)} ${f(y - r * 1.2)}h${f(r * 0.8)}v${f(r * 0.8)}h${f(r * 0.8)}v${f(r * 0.8)}h${f(-r * 0.8)}v${f(r * 0.8)}h${f(-r * 0.8)}v${f(-r * 0.8)}h${f(-r * 0.8)}v${f(-r * 0.8)}h${f(r * 0.8)}z`;
    case 6: return `M${f(x - r * 1.2)} ${f(y)}L${f(x - r * 0.6)} ${f(y - r * 1.05)}H${f(x + r * 0.6)}L${f(x + r * 1.2)} ${f(y)}L${f(x + r * 0.6)} ${f(y + r * 1.05)}H${f(x - r * 0.6)}z`;
    default: return `M${f(x - r)} ${f(y)}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`;
  }
}

/*
 * Draw a chart in a box, and return the function that draws it again.
 * spec() returns {x: {label, log, at, zero}, y: {label, log, zero}, marks, height}. The kinds of marks are:
 *   {kind: "line", points: [[x, y, tip?]], css}       {kind: "dots", points: [[x, y, tip]], shape, size, css}
 *   {kind: "whiskers", points: [[x, low, high]], css} {kind: "level", y, text}   {kind: "callout", x, y, text}
 *   {kind: "band", points: [[x, low, high]], css, opacity}
 * tip() returns {title, lines, path}. The point of a dot may also have a class and an offset in pixels: [x, y, tip, css, right].
 */
function chart(box, spec) {
  const tip = html("div", "tip", null);
  tip.hidden = true;
  tip.setAttribute("role", "status");
  let targets = [], labels = [], solid = [], svg = null, cursor = null, chosen = -1;

  function draw() {
    const { x, y, marks, height, label } = spec();
    const width = Math.max(280, box.clientWidth);
    const tall = Math.max(300, Math.min(height || 420, width * 0.72));
    const left = 60, right = width - 16, top = 26, bottom = tall - 44;
    const xs = [], points = [], ends = [];
    for (const mark of marks) {
      if (mark.kind === "level") points.push(mark.y);
      for (const point of mark.points || []) {
        xs.push(point[0]);
        if (mark.kind === "whiskers" || mark.kind === "band") ends.push(point[1], point[2]); else points.push(point[1]);
      }
    }
    const ys = points.concat(within(ends, points));
    const sx = scale(xs, x.log, left, right, { pad: 0.04, room: 64, at: x.at, zero: x.zero, text: x.format || number });
    const sy = scale(ys, y.log, bottom, top, { pad: 0.08, room: 46, zero: y.zero });
    const fresh = node("svg", { viewBox: `0 0 ${width} ${tall}`, role: "img", "aria-label": label, tabindex: 0 });
    const xText = x.format || number, yText = y.format || number;
    for (const tick of sy.ticks) {
      const at = sy.place(tick);
      node("line", { class: "grid", x1: left, x2: right, y1: at, y2: at }, fresh);
      node("text", { x: left - 8, y: at + 4, "text-anchor": "end" }, fresh, yText(tick));
    }
    for (const tick of sx.marked) node("line", { class: "axis tick", x1: sx.place(tick), x2: sx.place(tick), y1: bottom, y2: bottom + 5 }, fresh);
    for (const tick of sx.ticks) node("text", { x: sx.place(tick), y: bottom + 19, "text-anchor": "middle" }, fresh, xText(tick));
    node("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }, fresh);
    node("text", { class: "title", x: right, y: bottom + 38, "text-anchor": "end" }, fresh, x.label);
    node("text", { class: "title", x: 4, y: 12 }, fresh, y.label);
    targets = [];
    labels = [];
    solid = [];
    for (const mark of marks) place(mark, sx.place, sy.place, fresh, { left, right, top, bottom });
    for (const label of labels) settle(label, fresh, { left, right, top, bottom });
    if (!targets.length && !marks.some((mark) => (mark.points || []).length)) {
      node("text", { x: (left + right) / 2, y: (top + bottom) / 2, "text-anchor": "middle" }, fresh, "nothing to show");
    }
    cursor = node("circle", { class: "cursor", r: 8, visibility: "hidden" }, fresh);
    if (svg) svg.replaceWith(fresh); else box.append(fresh, tip);
    svg = fresh;
    svg.addEventListener("keydown", key);
    svg.addEventListener("blur", hide);
    hide();
  }

  function place(mark, px, py, into, area) {
    const drawn = (mark.points || [])
      .map((p) => [px(p[0]), py(p[1]), p])
      .filter((p) => p[0] !== null && p[1] !== null)
      .map(([a, b, p]) => [a + (p[4] || 0), b, p]);
    if (mark.kind === "line") {
      // A point without a position, such as 0 on a log axis, interrupts the line.
      let path = "", pen = "M", from = null;
      for (const p of mark.points) {
        const a = px(p[0]), b = py(p[1]);
        if (a === null || b === null) { pen = "M"; continue; }
        path += `${pen}${a.toFixed(1)} ${b.toFixed(1)}`;
        if (pen === "L") solid.push({ from, to: [a, b], cost: 1 });
        from = [a, b];
        pen = "L";
      }
      const made = node("path", { class: mark.css, d: path }, into);
      if (mark.opacity !== undefined) made.setAttribute("stroke-opacity", mark.opacity);
    } else if (mark.kind === "band") {
      const upper = [], lower = [];
      for (const [x, low, high] of mark.points) {
        const a = px(x), b = py(low), c = py(high);
        if (a === null || b === null || c === null) continue;
        const inside = (v) => Math.min(area.bottom, Math.max(area.top, v)).toFixed(1);
        upper.push(`${a.toFixed(1)} ${inside(c)}`);
        lower.unshift(`${a.toFixed(1)} ${inside(b)}`);
      }
      if (upper.length > 1) node("path", { class: mark.css, "fill-opacity": mark.opacity, d: `M${upper.concat(lower).join("L")}z` }, into);
    } else if (mark.kind === "dots") {
      const r = mark.size || 4.5;
      for (const [a, b, p] of drawn) {
        const made = node("path", { class: p[3] || mark.css, d: shape(mark.shape || 0, a, b, r) }, into);
        if (mark.opacity !== undefined) made.setAttribute("fill-opacity", mark.opacity);
        solid.push({ left: a - r - 2, right: a + r + 2, top: b - r - 2, bottom: b + r + 2, cost: r > 4 ? 4 : 1 });
      }
    } else if (mark.kind === "whiskers") {
      for (const [x, low, high] of mark.points) {
        const a = px(x), b = py(low), c = py(high);
        if (a === null || c === null) continue;
        // An interval that leaves the plot has no cap at this end.
        const cut = b === null || b > area.bottom, foot = cut ? area.bottom : b, open = c < area.top, head = open ? area.top : c;
        solid.push({ left: a - 5, right: a + 5, top: head - 3, bottom: foot + 3, cost: 3 });
        node("path", { class: mark.css, d: `M${a} ${foot}V${head}${open ? "" : `M${a - 4} ${head}h8`}${cut ? "" : `M${a - 4} ${foot}h8`}` }, into);
      }
    } else if (mark.kind === "level") {
      const at = py(mark.y);
      if (at === null) return;
      node("line", { class: mark.css || "level", x1: area.left, x2: area.right, y1: at, y2: at }, into);
      solid.push({ left: area.left, right: area.right, top: at - 1, bottom: at + 1, cost: 3 });
      if (mark.text) labels.push({ text: mark.text, css: "over", places: alongside(mark.text, at, area) });
    } else if (mark.kind === "callout") {
      const a = px(mark.x), b = py(mark.y);
      if (a === null || b === null) return;
      node("circle", { class: "halo", cx: a, cy: b, r: 9.5 }, into);
      solid.push({ left: a - 10, right: a + 10, top: b - 10, bottom: b + 10, cost: 4 });
      labels.unshift({ text: mark.text, css: "callout over", places: around(mark.text, a, b), from: [a, b] });
    }
    for (const [a, b, p] of drawn) if (typeof p[2] === "function") targets.push({ x: a, y: b, tip: p[2], rank: mark.rank || 0 });
  }

  /* Return possible positions for the name of a level: above or below its line, from left to right. */
  function alongside(text, at, area) {
    const size = wide(text), found = [];
    for (const y of [at - 6, at + LINE + 2]) for (let x = area.left + 6; x + size <= area.right; x += 10) found.push([x, y]);
    return found.length ? found : [[area.left + 6, at - 6]];
  }

  /* Return possible positions for the name of a point, the nearest first. */
  function around(text, a, b) {
    const size = wide(text, 600), found = [];
    for (const far of [16, 24, 34, 46, 60, 76, 94]) {
      for (const [x, y] of [[a + 9 - size, b - far], [a - 9, b - far], [a - size / 2, b - far], [a - far - size, b + 4], [a + far, b + 4],
        [a + 9 - size, b + far + 10], [a - 9, b + far + 10], [a - far - size, b - far * 0.7], [a - far - size, b + far * 0.7 + 8]]) found.push([x, y]);
    }
    return found;
  }

  /* Draw text at the position where it covers the fewest marks. If the text is far from its point, draw a line between them. */
  function settle(label, into, area) {
    const size = wide(label.text, label.from ? 600 : 400);
    let best = null, least = Infinity;
    for (const [x, y] of label.places) {
      const box = { left: x - 3, right: x + size + 3, top: y - LINE + 2, bottom: y + 4 };
      let cost = box.left < area.left || box.right > area.right + 16 || box.top < 14 || box.bottom > area.bottom ? 50 : 0;
      for (const each of solid) { if (cost >= least) break; if (meets(each, box)) cost += each.cost; }
      if (cost < least) { least = cost; best = { x, y, box }; }
      if (!cost) break;
    }
    solid.push({ ...best.box, cost: 9 });
    if (label.from) {
      const [a, b] = label.from, { left, right, top, bottom } = best.box;
      const x = Math.min(right, Math.max(left, a)), y = Math.min(bottom, Math.max(top, b)), far = Math.hypot(x - a, y - b);
      if (far > 22) node("line", { class: "leader", x1: a + ((x - a) * 10) / far, y1: b + ((y - b) * 10) / far, x2: x, y2: y }, into);
    }
    node("text", { class: label.css, x: best.x, y: best.y }, into, label.text);
  }

  function meets(each, box) {
    if (!each.from) return each.left < box.right && each.right > box.left && each.top < box.bottom && each.bottom > box.top;
    const [[a, b], [c, d]] = [each.from, each.to], steps = Math.max(1, Math.ceil(Math.hypot(c - a, d - b) / 5));
    if (Math.max(a, c) < box.left || Math.min(a, c) > box.right || Math.max(b, d) < box.top || Math.min(b, d) > box.bottom) return false;
    for (let i = 0; i <= steps; i++) {
      const x = a + ((c - a) * i) / steps, y = b + ((d - b) * i) / steps;
      if (x > box.left && x < box.right && y > box.top && y < box.bottom) return true;
    }
    return false;
  }

  function show(index) {
    chosen = index;
    const target = targets[index], { title, lines, path } = target.tip();
    tip.textContent = "";
    html("b", "", tip, title);
    for (const line of lines) html("span", "", tip, line);
    if (path) html("span", "soft", tip, path);
    tip.hidden = false;
    cursor.setAttribute("cx", target.x);
    cursor.setAttribute("cy", target.y);
    cursor.setAttribute("visibility", "visible");
    const ratio = box.clientWidth / svg.viewBox.baseVal.width;
    const x = target.x * ratio, y = target.y * ratio, w = tip.offsetWidth, h = tip.offsetHeight;
    tip.style.left = `${Math.max(0, Math.min(box.clientWidth - w, x + 14 + w > box.clientWidth ? x - w - 14 : x + 14))}px`;
    tip.style.top = `${Math.max(0, y - h - 12 < 0 ? y + 14 : y - h - 12)}px`;
  }

  function hide() {
    chosen = -1;
    tip.hidden = true;
    if (cursor) cursor.setAttribute("visibility", "hidden");
  }

  function point(event) {
    const ratio = svg.viewBox.baseVal.width / box.clientWidth;
    const frame = svg.getBoundingClientRect();
    const x = (event.clientX - frame.left) * ratio, y = (event.clientY - frame.top) * ratio;
    let best = -1, least = 30 * 30;
    targets.forEach((t, i) => {
      const far = (t.x - x) ** 2 + (t.y - y) ** 2 - t.rank; // a mean is in front of its runs
      if (far < least) { least = far; best = i; }
    });
    if (best < 0) hide(); else if (best !== chosen) show(best);
  }

  function key(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === "Escape") hide();
    if (!step || !targets.length) return;
    event.preventDefault();
    const order = targets.map((_, i) => i).sort((a, b) => targets[a].x - targets[b].x || targets[a].y - targets[b].y);
    const now = order.indexOf(chosen);
    show(order[now < 0 ? (step > 0 ? 0 : order.length - 1) : (now + step + order.length) % order.length]);
  }

  box.addEventListener("pointermove", point);
  box.addEventListener("pointerdown", point);
  box.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") hide(); });
  let seen = 0;
  new ResizeObserver(() => { if (Math.abs(box.clientWidth - seen) > 1) { seen = box.clientWidth; draw(); } }).observe(box);
  return draw;
}
