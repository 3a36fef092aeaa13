// Shared by every widget: linear algebra, random numbers, colours, controls.
// Python puts this file in front of each widget's own, so that a widget is one module.

/** Solve A X = B by elimination with partial pivoting. A (n, n), B (n, m), row-major. */
export function solve(A, B, n, m = 1) {
  const a = Float64Array.from(A), x = Float64Array.from(B);
  const swap = (v, width, i, j) => {
    for (let k = 0; k < width; k++) {
      [v[i * width + k], v[j * width + k]] = [v[j * width + k], v[i * width + k]];
    }
  };
  for (let k = 0; k < n; k++) {
    let pivot = k;
    for (let i = k + 1; i < n; i++) {
      if (Math.abs(a[i * n + k]) > Math.abs(a[pivot * n + k])) pivot = i;
    }
    if (pivot !== k) { swap(a, n, k, pivot); swap(x, m, k, pivot); }
    for (let i = k + 1; i < n; i++) {
      const r = a[i * n + k] / a[k * n + k];
      if (r === 0) continue; // mazes are sparse: most rows are zero here
      for (let j = k; j < n; j++) a[i * n + j] -= r * a[k * n + j];
      for (let j = 0; j < m; j++) x[i * m + j] -= r * x[k * m + j];
    }
  }
  for (let k = n - 1; k >= 0; k--) {
    for (let i = k + 1; i < n; i++) {
      const r = a[k * n + i];
      if (r !== 0) for (let j = 0; j < m; j++) x[k * m + j] -= r * x[i * m + j];
    }
    for (let j = 0; j < m; j++) x[k * m + j] /= a[k * n + k];
  }
  return x;
}

export const sum = (xs) => xs.reduce((total, x) => total + x, 0);
export const clamp = (x, low, high) => Math.min(high, Math.max(low, x));

export function logsumexp(xs) {
  const top = xs.reduce((m, x) => Math.max(m, x), -Infinity);
  return top + Math.log(sum(xs.map((x) => Math.exp(x - top))));
}

export const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
export const sigmoid = (x) => 1 / (1 + Math.exp(-x));

/** The four losses and the penalty for logits (B, B), positives on the diagonal. */
export function losses(logits, B) {
  const at = (i, j) => logits[i * B + j], all = [...Array(B).keys()];
  const mean = (f) => sum(all.map(f)) / B;
  const rows = all.map((i) => logsumexp(all.map((j) => at(i, j))));
  const columns = all.map((j) => logsumexp(all.map((i) => at(i, j))));
  const nce = mean((i) => mean((j) => softplus(i === j ? -at(i, j) : at(i, j))));
  const infonce = mean((i) => rows[i] - at(i, i));
  const backward_infonce = mean((j) => columns[j] - at(j, j));
  return {
    nce, infonce, backward_infonce,
    symmetric_infonce: (infonce + backward_infonce) / 2,
    logsumexp: mean((i) => rows[i] ** 2),
  };
}

export const LOSS_NAMES = {
  nce: "binary NCE",
  infonce: "InfoNCE, forward",
  backward_infonce: "InfoNCE, backward",
  symmetric_infonce: "InfoNCE, symmetric",
};

/** Seeded uniform numbers in [0, 1): mulberry32. */
export function uniforms(seed) {
  let state = (Math.imul(seed, 2654435761) + 1) >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** n standard normal numbers (Box-Muller). */
export function normals(seed, n) {
  const u = uniforms(seed);
  return Float64Array.from({ length: n }, () =>
    Math.sqrt(-2 * Math.log(1 - u())) * Math.cos(2 * Math.PI * u()));
}

/** Bytes arrive as a DataView, at any offset: copy them into a typed array. */
export function array(Type, view) {
  const start = view.byteOffset;
  return new Type(view.buffer.slice(start, start + view.byteLength));
}

// ---------------------------------------------------------------- colours and text
const VIRIDIS = [[68, 1, 84], [71, 45, 123], [59, 82, 139], [44, 114, 142],
  [33, 145, 140], [40, 174, 128], [94, 201, 98], [173, 220, 48], [253, 231, 37]];

/** Colour of t in [0, 1], and the ink (black or white) that is readable on it. */
export function viridis(t) {
  const x = clamp(t, 0, 1) * (VIRIDIS.length - 1);
  const k = Math.min(Math.floor(x), VIRIDIS.length - 2);
  const rgb = VIRIDIS[k].map((c, i) => Math.round(c + (x - k) * (VIRIDIS[k + 1][i] - c)));
  return { fill: `rgb(${rgb})`, ink: t > 0.55 ? "#14181d" : "#ffffff" };
}

/** A number for readers: 0.0123, or 1.2e-7 as 1.2 × 10⁻⁷. */
export function pretty(x, digits = 3) {
  if (x === 0 || (Math.abs(x) >= 1e-3 && Math.abs(x) < 1e4)) {
    return String(Number(x.toPrecision(digits))).replace("-", "−");
  }
  const [mantissa, power] = x.toExponential(digits - 1).split("e");
  const raise = (c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)];
  const raised = [...power.replace("+", "")].map(raise);
  return `${mantissa} × 10${raised.join("")}`.replace(/^-/, "−");
}

/** Never "−0". */
export const fixed = (x, digits) =>
  x.toFixed(digits).replace(/^-(?=[0.]*$)/, "").replace("-", "−");

/** Whether the page is dark; books, JupyterLab, Colab and VS Code mark it differently. */
function isDark() {
  const html = document.documentElement, body = document.body;
  const lab = { true: "light", false: "dark" }[body.dataset.jpThemeLight];
  const code = body.dataset.vscodeThemeKind?.includes("dark") ? "dark" : undefined;
  const named = html.dataset.theme ?? lab ?? html.getAttribute("theme") ?? code;
  if (named === "dark" || named === "light") return named === "dark";
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

function watchTheme(root, repaint) {
  const apply = () => { root.classList.toggle("crl-dark", isDark()); repaint(); };
  const observer = new MutationObserver(apply), system = matchMedia("(prefers-color-scheme: dark)");
  const options = { attributeFilter:
    ["data-theme", "theme", "data-jp-theme-light", "data-vscode-theme-kind"] };
  observer.observe(document.documentElement, options);
  observer.observe(document.body, options);
  system.addEventListener("change", apply);
  apply();
  return () => { observer.disconnect(); system.removeEventListener("change", apply); };
}

// ---------------------------------------------------------------- elements and controls
/** An element: h("p", { class: "x" }, "text", child). */
export function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

export function put(model, values) {
  for (const [name, value] of Object.entries(values)) model.set(name, value);
  model.save_changes();
}

/** A labelled range input for the trait `name`; `values` makes it step through a list. */
export function slider(model, name, label, { min, max, step, values, show = String }) {
  const input = h("input", { type: "range", ...(values
    ? { min: 0, max: values.length - 1, step: 1 } : { min, max, step }) });
  const output = h("span", { class: "crl-value", "aria-hidden": "true" });
  const nearest = (x) => values.reduce((best, v, k) =>
    (Math.abs(v - x) < Math.abs(values[best] - x) ? k : best), 0);
  input.addEventListener("input", () =>
    put(model, { [name]: values ? values[input.value] : Number(input.value) }));
  const row = h("label", { class: "crl-slider" }, h("span", {}, label), output, input);
  row.sync = () => {
    const value = model.get(name);
    input.value = values ? nearest(value) : value;
    input.setAttribute("aria-valuetext", show(value));
    output.textContent = show(value);
  };
  return row;
}

/** Radio buttons side by side for the trait `name`. options: { value: label }. */
export function choice(model, name, label, options) {
  const group = `crl-choice-${Math.random()}`; // a notebook imports this file often
  const inputs = Object.keys(options).map((value) =>
    h("input", { type: "radio", name: group, value }));
  const row = h("fieldset", { class: "crl-choice" }, h("legend", {}, label),
    ...inputs.map((input) => h("label", {}, input, h("span", {}, options[input.value]))));
  row.addEventListener("change", (event) => put(model, { [name]: event.target.value }));
  row.sync = () => inputs.forEach((i) => { i.checked = i.value === model.get(name); });
  return row;
}

/** A list to choose from for the trait `name`, of numbers or of texts. */
export function select(model, name, label, options) {
  const input = h("select", {}, ...Object.entries(options).map(([value, text]) =>
    h("option", { value }, text)));
  const typed = (value) => (typeof model.get(name) === "number" ? Number(value) : value);
  input.addEventListener("change", () => put(model, { [name]: typed(input.value) }));
  const row = h("label", { class: "crl-select" }, h("span", {}, label), input);
  row.sync = () => { input.value = model.get(name); };
  return row;
}

export function button(text, action) {
  const node = h("button", { type: "button" }, text);
  node.addEventListener("click", action);
  return node;
}

/** Whether the reader asked for pages without motion. */
export const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Call tick() `rate` times a second until it says false; returns what stops it before. */
export function ticking(root, rate, tick) {
  const timer = setInterval(() => {
    if (!root.isConnected || !tick()) clearInterval(timer);
  }, 1000 / rate);
  return () => clearInterval(timer);
}

/**
 * A button that plays the whole-numbered trait `name` up to `last`, a number or a function,
 * `rate` steps a second.
 * Readers who want no motion go `jump` steps at a press. While it plays, `said` is not
 * spoken: a screen reader cannot follow. With `film`, an element, it plays by itself
 * while that is seen, again and again, until node.stop().
 */
export function player(model, root, name, last, { rate, jump, said, film }) {
  let halt, seen;
  const at = () => model.get(name), end = () => (last.call ? last() : last);
  const node = button("", () => (halt ? node.stop() : node.play()));
  const pause = () => {
    halt?.();
    halt = undefined;
    node.textContent = !still() ? "Play" : jump > 1 ? `Skip ${jump} steps` : "Next";
    said.setAttribute("aria-live", "polite");
  };
  node.stop = () => { seen?.disconnect(); pause(); };
  node.play = () => {
    if (still()) return put(model, { [name]: at() >= end() ? 0 : Math.min(at() + jump, end()) });
    let rest = 2 * rate; // ticks at the end, before it begins again
    said.setAttribute("aria-live", "off");
    node.textContent = "Pause";
    if (at() >= end()) put(model, { [name]: 0 });
    halt = ticking(root, rate, () => {
      if (at() < end()) put(model, { [name]: at() + 1 });
      else if (!film) node.stop();
      else if (--rest === 0) [rest] = [2 * rate, put(model, { [name]: 0 })];
      return halt;
    });
  };
  pause();
  if (film && !still()) {
    seen = new IntersectionObserver((entries) => {
      const now = entries.at(-1).isIntersecting;
      if (now && !halt) node.play();
      else if (!now) pause();
    }, { threshold: 0.6 });
    seen.observe(film);
  }
  return node;
}

/** A table of texts; the first column holds the names of the rows. */
export function table(label, head, names) {
  const rows = names.map((name) => h("tr", {}, h("th", { scope: "row" }, name),
    ...head.slice(1).map(() => h("td"))));
  const node = h("table", { "aria-label": label },
    h("thead", {}, h("tr", {}, ...head.map((t) => h("th", { scope: "col" }, t)))),
    h("tbody", {}, ...rows));
  node.fill = (k, ...texts) =>
    texts.forEach((t, j) => { rows[k].children[j + 1].textContent = t; });
  node.row = (k) => rows[k];
  return node;
}

/** Text that a screen reader speaks when it changes. */
export const readout = () => h("p", { class: "crl-readout", "aria-live": "polite" });

// ---------------------------------------------------------------- canvas
/** A canvas, sharp on every screen; paint(context, width, height, colour by its name). */
export function picture(style, paint) {
  const node = h("canvas", { role: "img", style });
  node.paint = () => {
    const { clientWidth: width, clientHeight: height } = node, dots = devicePixelRatio || 1;
    if (!width) return;
    node.width = Math.round(width * dots);
    node.height = Math.round(height * dots);
    const context = node.getContext("2d");
    context.scale(dots, dots);
    context.font = "12px system-ui, sans-serif";
    const css = getComputedStyle(node);
    paint(context, width, height, (name) => css.getPropertyValue(`--${name}`).trim());
  };
  node.say = (label) => node.setAttribute("aria-label", label);
  return node;
}

/** Call at(x, y, phase) with positions in pixels while the pointer drags on the canvas. */
export function draggable(node, at) {
  const call = (event, phase) => {
    const box = node.getBoundingClientRect();
    at(event.clientX - box.left, event.clientY - box.top, phase);
  };
  node.classList.add("crl-drag");
  node.addEventListener("pointerdown", (event) => {
    node.setPointerCapture(event.pointerId);
    call(event, "down");
  });
  node.addEventListener("pointermove", (event) =>
    call(event, node.hasPointerCapture(event.pointerId) ? "drag" : "hover"));
}

export const ARROW_KEYS = {
  ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowDown: [1, 0], ArrowLeft: [0, -1],
};

/** A line of text; align and baseline as in canvas. */
export function text(context, string, x, y, color, align = "left", baseline = "middle") {
  Object.assign(context, { fillStyle: color, textAlign: align, textBaseline: baseline });
  context.fillText(string, x, y);
}

export function line(context, points, color, { width = 2, dash = [] } = {}) {
  context.save();
  Object.assign(context, { strokeStyle: color, lineWidth: width, lineJoin: "round" });
  context.setLineDash(dash);
  context.beginPath();
  points.forEach(([x, y], k) => (k ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.stroke();
  context.restore();
}

export function disc(context, x, y, radius, fill, stroke) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = fill;
  context.fill();
  if (!stroke) return;
  Object.assign(context, { strokeStyle: stroke, lineWidth: 2 });
  context.stroke();
}

export function star(context, x, y, radius, fill) {
  context.beginPath();
  for (let k = 0; k < 10; k++) {
    const r = k % 2 ? radius * 0.45 : radius, angle = (k * Math.PI) / 5 - Math.PI / 2;
    context.lineTo(x + r * Math.cos(angle), y + r * Math.sin(angle));
  }
  context.closePath();
  Object.assign(context, { fillStyle: fill, strokeStyle: "#ffffff", lineWidth: 1.5 });
  context.stroke();
  context.fill();
}

/** The colour scale below a heat map; labels() are the texts at its low end, middle, top. */
export function colourBar(labels) {
  const node = picture("height: 36px", (context, width, _, colour) => {
    for (let k = 0; k < width; k++) {
      context.fillStyle = viridis(k / width).fill;
      context.fillRect(k, 8, 1.5, 10);
    }
    axis(context, labels(), 28, width, colour("soft"));
    node.say(`Colour scale from ${labels().join(" to ")}`);
  });
  return node;
}

/** Three labels: left, in the middle, right. */
export function axis(context, labels, y, width, ink) {
  labels.forEach((label, k) =>
    text(context, label, (k * width) / 2, y, ink, ["left", "center", "right"][k]));
}

// ---------------------------------------------------------------- the frame of a widget
/**
 * The anywidget module: build(model, root) returns { view, controls, caption, update }.
 * `view` and `controls` are lists of elements; those with .sync follow their trait, those
 * with .paint are repainted after each update, at each new size and in each theme.
 */
export function widget(name, traits, build) {
  function render({ model, el }) {
    const root = h("div", { class: `crl-widget crl-${name}`, role: "group",
      "aria-label": name.replace("-", " ") });
    const { view, controls, caption, update } = build(model, root);
    root.append(
      h("div", { class: "crl-body" }, h("div", { class: "crl-view" }, ...view),
        h("div", { class: "crl-controls" }, ...controls)),
      h("p", { class: "crl-caption" }, caption));
    root.querySelectorAll("input, select, button, canvas").forEach((node) => {
      node.dataset.lmSuppressShortcuts = "true"; // otherwise JupyterLab takes the arrow keys
    });
    const pictures = [...view, ...controls].filter((node) => node.paint);
    const paint = () => pictures.forEach((node) => node.paint());
    const change = () => {
      [...view, ...controls].forEach((node) => node.sync?.());
      update();
      paint();
    };
    el.append(root);
    change();
    const forgetTheme = watchTheme(root, paint);
    const resize = new ResizeObserver(paint);
    pictures.forEach((node) => resize.observe(node));
    traits.forEach((trait) => model.on(`change:${trait}`, change));
    return () => {
      forgetTheme();
      resize.disconnect();
      traits.forEach((trait) => model.off(`change:${trait}`, change));
      root.remove();
    };
  }
  return { render };
}
