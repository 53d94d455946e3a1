/* The charts of a report, and the controls that change them. */
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const NAMES = { ssr: "SSR", steps: "Steps", samples: "Samples", tokens: "Tokens", seconds: "Time", cost: "Cost" };
  const LABELS = { ssr: data.ssr_label, steps: "optimizer steps", samples: "samples", tokens: "tokens", cost: "cost of a run" };
  const SHIFT = 10; // pixels between a mean and a run at the same position
  const state = { axis: data.axis, curveAxis: "", rateAxis: "", xlog: true, ylog: false, raw: true, intervals: true, controls: true,
    fits: true, untrusted: false, hidden: new Set(), curveLog: false, rateLog: false };
  const arms = data.arms.map((each) => ({ ...each, hue: each.recipe % 8, shape: each.recipe % 7 }));
  const ssrs = [...new Set(data.cells.map((cell) => cell.ssr))].sort((a, b) => a - b);
  const redraw = [];
  const folders = new Map(data.runs.arm.map((arm, i) => [`${arm} ${data.runs.ssr[i]}`, data.runs.folder[i]]));

  const css = (arm, kind) => `${kind} hue${arms[arm].hue}${arms[arm].control ? ` control control${arms[arm].control}` : ""}`;
  const shown = (arm) => !state.hidden.has(arms[arm].recipe) && (state.controls || !arms[arm].control);
  const quality = (value) => (Number.isFinite(value) ? (Math.abs(value) < 1e7 && data.decimals < 10 ? value.toFixed(data.decimals) : number(value)) : "–");
  const sign = (value) => (value > 0 ? "+" : "") + quality(value);
  const range = (low, high) => (low === null || high === null ? "no interval" : `${data.confidence * 100} % interval ${quality(low)} to ${quality(high)}`);
  const better = data.direction === "max" ? "higher is better" : "lower is better";

  function clock(seconds) {
    for (const [least, divisor, unit] of [[172800, 86400, "d"], [7200, 3600, "h"], [120, 60, "min"]]) {
      if (seconds >= least) return `${number(seconds / divisor, 3)} ${unit}`;
    }
    return `${number(seconds, 3)} s`;
  }

  /* Return a divisor that gives all values of an axis one unit, and the label with this unit. */
  function timeUnit(values) {
    const longest = Math.max(0, ...extremes(values.filter(Number.isFinite)));
    const [, divisor, unit] = [[172800, 86400, "days"], [7200, 3600, "hours"], [120, 60, "minutes"], [0, 1, "seconds"]].find((each) => longest >= each[0]);
    return { divisor, label: `training time (${unit})` };
  }

  function compact(value) {
    for (const [least, unit] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e4, "k"]]) {
      const divisor = { T: 1e12, B: 1e9, M: 1e6, k: 1e3 }[unit];
      if (Math.abs(value) >= least) return `${number(value / divisor, 3)}${unit}`;
    }
    return number(value);
  }

  function column(source, axis, i) {
    if (axis === "cost" && !source.cost) return (source.seconds[i] / 3600) * data.price;
    return source[axis][i];
  }

  function took(each, axis) {
    const parts = [];
    if (each.steps) parts.push(`${Math.round(each.steps).toLocaleString("en-US")} steps`);
    if (each.samples) parts.push(`${compact(each.samples)} samples`);
    if (each.tokens) parts.push(`${compact(each.tokens)} tokens`);
    if (each.seconds) parts.push(clock(each.seconds));
    if (each.cost) parts.push(`cost ${number(each.cost, 3)}`);
    return parts.join(", ");
  }

  function xAxis(axis, log, values) {
    if (axis !== "seconds") return { axis: { label: LABELS[axis], log, format: axis === "ssr" ? number : compact, at: axis === "ssr" ? ssrs : null, zero: !log }, map: (v) => v };
    const { divisor, label } = timeUnit(values);
    return { axis: { label, log, zero: !log }, map: (v) => v / divisor };
  }

  const BY = { ssr: "SSR", steps: "steps", seconds: "time" };
  /* Return the positions in ascending order. Positions that differ by less than one percent count as one. */
  function distinct(values) {
    const found = [];
    for (const value of values.filter((v) => v > 0).sort((a, b) => a - b)) if (!found.length || value > 1.01 * found[found.length - 1]) found.push(value);
    return found;
  }

  const STATUS = { frontier: "on the frontier", within_noise: "no better within noise", dominated: "dominated", unreplicated: "dominated by the mean" };

  function frontier() {
    const key = state.axis, marks = [];
    const cells = data.cells.filter((cell) => shown(cell.arm));
    const { axis, map: plain } = xAxis(key, state.xlog, cells.map((cell) => cell[key]));
    // Draw recipes at equal positions side by side, so that their intervals do not hide each other.
    const visible = arms.map((_, i) => i).filter((i) => cells.some((cell) => cell.arm === i));
    const places = distinct(cells.map((cell) => cell[key])), nudge = nudges(places, visible.length, 0.06, 0.24);
    if (key === "steps" && places.length <= 40) axis.at = places;
    const side = (arm) => (key === "seconds" || key === "cost" ? 1 : nudge[visible.indexOf(arm)]);
    const map = (value, arm) => plain(value) * side(arm);
    if (state.raw) {
      const runs = data.runs, groups = new Map();
      const counts = new Map(cells.map((cell) => [`${cell.arm} ${cell.ssr}`, cell.n]));
      const means = new Map(cells.map((cell) => [`${cell.arm} ${cell.ssr}`, cell[key]]));
      runs.arm.forEach((arm, i) => {
        if (!shown(arm)) return;
        if (!groups.has(arm)) groups.set(arm, []);
        const x = column(runs, key, i), mean = means.get(`${arm} ${runs.ssr[i]}`);
        groups.get(arm).push([map(x, arm), runs.quality[i], () => ({
          title: `${arms[arm].name}, SSR ${number(runs.ssr[i])}`,
          lines: [`${data.objective} ${number(runs.quality[i], 6)}`, runs.seed[i] === null ? "no seed" : `seed ${runs.seed[i]}`,
            took({ steps: runs.steps && runs.steps[i], samples: runs.samples && runs.samples[i], tokens: runs.tokens && runs.tokens[i], seconds: runs.seconds && runs.seconds[i] })],
          path: runs.folder[i],
        }), "", counts.get(`${arm} ${runs.ssr[i]}`) > 1 && Math.abs(x / mean - 1) < 0.004 ? SHIFT : 0]);
      });
      for (const [arm, points] of groups) marks.push({ kind: "dots", points, shape: 0, size: 2.6, css: css(arm, "raw") });
    }
    for (const fit of data.fits) {
      const trusted = fit.verdict === "trusted";
      if (!shown(fit.arm) || !(trusted ? state.fits : state.untrusted)) continue;
      const points = (part) => part.quality.map((q, i) => [map(part[key][i], fit.arm), q]);
      marks.push({ kind: "line", points: points(fit.inside), css: css(fit.arm, "fit"), opacity: 0.6 });
      if (trusted) marks.push({ kind: "line", points: points(fit.beyond), css: css(fit.arm, "fit") });
    }
    arms.forEach((arm, index) => {
      const own = cells.filter((cell) => cell.arm === index).sort((a, b) => a[key] - b[key]);
      if (!own.length) return;
      marks.push({ kind: "line", points: own.map((cell) => [map(cell[key], index), cell.mean]), css: css(index, "line") });
      if (state.intervals) marks.push({ kind: "whiskers", points: own.filter((c) => c.low !== null).map((c) => [map(c[key], index), c.low, c.high]), css: css(index, "whisker") });
      marks.push({ kind: "dots", rank: 40, shape: arm.shape, size: 5, css: "", points: own.map((cell) => [map(cell[key], index), cell.mean, () => ({
        title: `${arm.name}, SSR ${number(cell.ssr)}`,
        lines: [`${data.objective} ${quality(cell.mean)}, mean of ${cell.n}`, range(cell.low, cell.high), took(cell), STATUS[cell.status] ? `${STATUS[cell.status]}, by ${BY[data.axis] || data.axis}` : ""].filter(Boolean),
        path: cell.n === 1 ? folders.get(`${cell.arm} ${cell.ssr}`) : undefined,
      }), `dot hue${arm.hue} ${cell.status === "dominated" ? "hollow" : cell.status === "frontier" ? "" : "unsure"}`]) });
    });
    if (data.target !== null) marks.push({ kind: "level", y: data.target, text: `target ${number(data.target)}` });
    const choice = data.choice && cells.find((cell) => cell.arm === data.choice[0] && cell.ssr === data.choice[1]);
    if (choice) marks.push({ kind: "callout", x: map(choice[key], choice.arm), y: choice.mean, text: "recommended" });
    return { x: axis, y: { label: `${data.objective} (${better})`, log: state.ylog }, marks, height: 460,
      label: `Quality against ${LABELS[key] || "training time"}; the table below has the same numbers` };
  }

  function gains() {
    const marks = [{ kind: "level", y: 0, css: "axis" }];
    if (data.tolerance !== null) marks.push({ kind: "level", y: data.tolerance, text: `tolerance ${number(data.tolerance, 3)}` });
    const visible = arms.map((_, i) => i).filter((i) => shown(i) && data.gains.some((g) => g[0] === i));
    const at = [...new Set(data.gains.map((gain) => gain[1]))].sort((a, b) => a - b);
    // Draw recipes side by side, a few percent apart, so that their intervals do not hide each other.
    const side = nudges(at, visible.length, 0.03, 0.1);
    visible.forEach((index, place) => {
      const nudge = side[place];
      const own = data.gains.filter((gain) => gain[0] === index && gain[3] !== null);
      if (state.intervals) marks.push({ kind: "whiskers", points: own.filter((g) => g[4] !== null).map((g) => [g[1] * nudge, g[4], g[5]]), css: css(index, "whisker") });
      marks.push({ kind: "dots", shape: arms[index].shape, size: 4.6, css: `dot hue${arms[index].hue}${arms[index].control ? " hollow" : ""}`, points: own.map((g) => [g[1] * nudge, g[3], () => ({
        title: `${arms[index].name}, SSR ${number(g[1])} to ${number(g[2])}`,
        lines: [`gains ${sign(g[3])}`, range(g[4], g[5]), g[7] ? "interpolated at the double" : `${g[6]} seeds`],
      })]) });
    });
    return { x: { label: "from SSR to its double", log: true, at }, y: { label: `gain in ${data.objective}`, log: false, format: (v) => (v > 0 ? "+" : "") + number(v) }, marks, height: 330, label: "Gain per doubling of the training; the table below has the same numbers" };
  }

  /* Return the opacity of a curve. Shorter runs are paler; the hue shows the recipe. */
  function pale(ssr) {
    return ssrs.length < 2 ? 1 : 0.35 + 0.65 * (ssrs.indexOf(ssr) / (ssrs.length - 1));
  }

  function curves(list, key, log, ylog, field, label, precise) {
    const visible = list.filter((each) => shown(each.arm));
    const { axis, map } = xAxis(key, log, visible.flatMap((each) => extremes(each[key] || each.seconds)));
    const bands = visible.filter((each) => each.low).map((each) => ({ kind: "band", css: css(each.arm, "band"), opacity: 0.15 * pale(each.ssr),
      points: each.low.map((low, i) => [map(column(each, key, i)), low, each.high[i]]) }));
    const marks = visible.map((each) => ({ kind: "line", css: css(each.arm, "thin"), opacity: pale(each.ssr),
      single: each[field].filter(Number.isFinite).length === 1, dots: each.dots, arm: each.arm,
      points: each[field].map((value, i) => [map(column(each, key, i)), value, () => ({
        title: `${arms[each.arm].name}, SSR ${number(each.ssr)}${each.seed === undefined || each.seed === null ? "" : `, seed ${each.seed}`}`,
        lines: [`${precise} ${number(value, 5)}`, took(Object.fromEntries(["steps", "samples", "tokens", "seconds"].filter((k) => each[k]).map((k) => [k, each[k][i]])))],
        path: each.folder,
      })]) }));
    // A curve with one value is a point.
    for (const each of marks.filter((mark) => mark.single)) {
      marks.push({ kind: "dots", shape: arms[each.arm].shape, size: 3.6, opacity: each.opacity, css: `dot hue${arms[each.arm].hue}`,
        points: each.points.filter((point) => Number.isFinite(point[1])).map((point) => point.slice(0, 2)) });
    }
    // Logged rates are dots without lines, because the rate between them is unknown.
    for (const each of marks.filter((mark) => mark.dots)) Object.assign(each, { kind: "dots", shape: 0, size: 2.2, css: css(each.arm, "raw") });
    return { x: axis, y: { label, log: ylog, zero: field === "lr" }, marks: [...bands, ...marks], height: 340, label };
  }

  function group(bar, name, css = "group") {
    const made = html("div", css, bar);
    made.setAttribute("role", "group");
    made.setAttribute("aria-label", name);
    if (name) html("span", "", made, name);
    return made;
  }

  function update() {
    for (const each of document.querySelectorAll("button[data-state]")) each.dispatchEvent(new Event("sync"));
    redraw.forEach((draw) => draw());
  }

  function button(into, text, pressed, press) {
    const made = html("button", "", into, text);
    made.type = "button";
    made.dataset.state = "";
    const sync = () => made.setAttribute("aria-pressed", String(pressed()));
    made.addEventListener("click", () => { press(); update(); });
    made.addEventListener("sync", sync);
    sync();
    return made;
  }

  function toggle(into, text, name) { return button(into, text, () => state[name], () => { state[name] = !state[name]; }); }

  function pick(bar, name, field, options) {
    if (options.length < 2) return;
    const into = group(bar, name);
    for (const [value, text] of options) button(into, text, () => state[field] === value, () => { state[field] = value; });
  }

  function sample(into, look) {
    const svg = node("svg", { class: `key hue${look.recipe % 8}`, viewBox: look.control ? "-12 -8 24 16" : "-8 -8 16 16" });
    if (look.control) node("path", { class: `line control control${look.control}`, d: "M-12 0H12" }, svg);
    node("path", { class: "dot", d: shape(look.recipe % 7, 0, 0, look.control ? 4 : 5.4) }, svg);
    into.prepend(svg);
  }

  function recipes(bar) {
    const names = new Map();
    for (const each of data.arms) if (!each.control && !names.has(each.recipe)) names.set(each.recipe, each);
    for (const each of data.arms) if (!names.has(each.recipe)) names.set(each.recipe, each);
    if (names.size < 2) return;
    const into = group(bar, "Recipes", "group recipes");
    for (const [recipe, look] of names) {
      const made = button(into, look.name, () => !state.hidden.has(recipe), () => {
        if (!state.hidden.delete(recipe)) state.hidden.add(recipe);
      });
      sample(made, look);
    }
  }

  /* Add a legend of the shades, for at most six SSRs. */
  function shades(bar) {
    if (ssrs.length < 2) return;
    const into = group(bar, "SSR", "group shades"), most = Math.min(6, ssrs.length);
    for (let i = 0; i < most; i++) {
      const ssr = ssrs[Math.round((i * (ssrs.length - 1)) / (most - 1))], made = html("span", "shade", into, number(ssr));
      const svg = node("svg", { class: "key", viewBox: "0 -8 20 16" });
      node("path", { class: "swatch", d: "M0 0H20", "stroke-opacity": pale(ssr) }, svg);
      made.prepend(svg);
    }
  }

  function add(id, spec) {
    const box = document.getElementById(id);
    if (box) redraw.push(chart(box, spec));
  }

  const counted = ["steps", "samples", "tokens", "seconds", "cost"].filter((axis) => data.axes.includes(axis));
  const scales = [[true, "log"], [false, "linear"]];
  const bar = document.getElementById("frontier-bar");
  recipes(bar);
  pick(bar, "Against", "axis", data.axes.map((axis) => [axis, NAMES[axis]]));
  pick(bar, "Horizontal", "xlog", scales);
  if (data.cells.every((cell) => cell.mean > 0)) pick(bar, "Vertical", "ylog", scales);
  const show = group(bar, "Show");
  toggle(show, "each run", "raw");
  if (data.cells.some((cell) => cell.low !== null)) toggle(show, "intervals", "intervals");
  if (arms.some((arm) => arm.control)) toggle(show, "controls", "controls");
  if (data.fits.some((fit) => fit.verdict === "trusted")) toggle(show, "fits that predict", "fits");
  if (data.fits.some((fit) => fit.verdict !== "trusted")) toggle(show, "other fits", "untrusted");
  add("frontier", frontier);

  const gainsBar = document.getElementById("gains-bar");
  if (gainsBar) {
    recipes(gainsBar);
    if (data.gains.some((gain) => arms[gain[0]].control)) toggle(group(gainsBar, "Show"), "controls", "controls");
  }
  add("gains", gains);

  const curvesBar = document.getElementById("curves-bar");
  if (curvesBar) {
    recipes(curvesBar);
    if (arms.some((arm) => arm.control)) toggle(group(curvesBar, "Show"), "controls", "controls");
    shades(curvesBar);
  }
  for (const [id, field, list, log, draw] of [
    ["learning", "curveAxis", data.learning, "curveLog", () => curves(data.learning, state.curveAxis, state.curveLog, state.ylog, "value", `${data.objective} (${better})`, data.objective)],
    ["rates", "rateAxis", data.rates, "rateLog", () => curves(data.rates, state.rateAxis, false, state.rateLog, "lr", "learning rate", "learning rate")],
  ]) {
    if (!list.length) continue;
    const axes = counted.filter((axis) => list[0][axis] || (axis === "cost" && list[0].seconds));
    state[field] = axes[0];
    const into = document.getElementById(`${id}-bar`);
    pick(into, "Against", field, axes.map((axis) => [axis, NAMES[axis]]));
    pick(into, id === "rates" ? "Vertical" : "Horizontal", log, scales);
    add(id, draw);
  }

  for (const into of document.querySelectorAll("[data-arm]")) sample(into, data.arms[Number(into.dataset.arm)]);

  const theme = document.getElementById("theme");
  const dark = () => (document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const name = () => { theme.textContent = dark() ? "Light" : "Dark"; };
  const stored = (value) => { try { if (value) localStorage.setItem("ssr-report-theme", value); return localStorage.getItem("ssr-report-theme"); } catch { return null; } };
  if (["light", "dark"].includes(stored())) document.documentElement.dataset.theme = stored();
  theme.hidden = false;
  theme.addEventListener("click", () => { document.documentElement.dataset.theme = dark() ? "light" : "dark"; stored(document.documentElement.dataset.theme); name(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", name);
  name();
  for (const each of document.querySelectorAll("details")) addEventListener("beforeprint", () => { each.open = true; });
})();
