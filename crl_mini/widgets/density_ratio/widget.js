// Two Gaussians, their log-ratio, and a classifier that learns it from samples.

const LOW = -6, HIGH = 6, POINTS = 241; // the x axis, and the grid of the curves
const FLOOR = -10, TOP = 6; // the logit axis
const GRID = Array.from({ length: POINTS }, (_, k) => LOW + ((HIGH - LOW) * k) / (POINTS - 1));
const RIDGE = 1e-3; // keeps the fit finite when the samples can be separated

export const logNormal = (x, mean, width) =>
  -0.5 * ((x - mean) / width) ** 2 - Math.log(width) - 0.5 * Math.log(2 * Math.PI);

/** The best possible logit: log p(x)/q(x) - log(B - 1). */
export const optimum = (x, d) => logNormal(x, d.p_mean, d.p_width) -
  logNormal(x, d.q_mean, d.q_width) - Math.log(d.negatives);

/** n positives and n (B - 1) negatives; the same seed moves smoothly with the sliders. */
export function samples({ p_mean, p_width, q_mean, q_width, negatives, n, seed }) {
  return {
    positives: normals(2 * seed, n).map((z) => p_mean + p_width * z),
    others: normals(2 * seed + 1, n * negatives).map((z) => q_mean + q_width * z),
  };
}

/** Logistic regression on (1, x, x^2), by Newton's method; returns x -> logit. */
export function fit({ positives, others }) {
  const all = new Float64Array(positives.length + others.length);
  all.set(positives);
  all.set(others, positives.length);
  all.forEach((x, k) => { all[k] = x / 3; }); // of order one, so that squares stay small
  const logit = (w, u) => w[0] + u * (w[1] + u * w[2]);
  const loss = (w) => {
    let total = (RIDGE / 2) * (w[0] ** 2 + w[1] ** 2 + w[2] ** 2);
    all.forEach((u, k) => {
      const f = logit(w, u);
      total += softplus(k < positives.length ? -f : f);
    });
    return total;
  };
  let w = [0, 0, 0], now = loss(w);
  for (let round = 0; round < 50; round++) {
    const gradient = w.map((v) => RIDGE * v), moments = [0, 0, 0, 0, 0]; // of x^0 .. x^4
    all.forEach((u, k) => {
      const prob = sigmoid(logit(w, u)), error = prob - (k < positives.length ? 1 : 0);
      let weight = prob * (1 - prob);
      gradient[0] += error;
      gradient[1] += error * u;
      gradient[2] += error * u * u;
      for (let power = 0; power < 5; power++, weight *= u) moments[power] += weight;
    });
    const hessian = Array.from({ length: 9 }, (_, k) =>
      moments[Math.floor(k / 3) + (k % 3)] + (k % 4 ? 0 : RIDGE));
    const step = solve(hessian, gradient, 3);
    let size = 1, next, after;
    do {
      next = w.map((v, i) => v - size * step[i]);
      after = loss(next);
      size /= 2;
    } while (after > now && size > 1e-9);
    if (!(now - after > 1e-12 * now)) break;
    w = next;
    now = after;
  }
  return (x) => logit(w, x / 3);
}

/**
 * Errors of the learned f, by quadrature over the mixture of p and q:
 * `calibration` is the mean gap between the predicted probability and the true one of all
 * x in the same tenth; `logit` the mean |f - f*| over positives.
 */
export function judge(f, d) {
  const bins = Array.from({ length: 10 }, () => [0, 0]), n = 2001, span = 16;
  let total = 0, logit = 0, weight = 0;
  for (let k = 0; k < n; k++) {
    const x = -span + (2 * span * k) / (n - 1);
    const p = Math.exp(logNormal(x, d.p_mean, d.p_width));
    const mass = p + d.negatives * Math.exp(logNormal(x, d.q_mean, d.q_width));
    const said = sigmoid(f(x)), bin = bins[Math.min(9, Math.floor(said * 10))];
    bin[0] += mass * said;
    bin[1] += p; // mass times the true probability of being a positive
    total += mass;
    logit += p * Math.abs(f(x) - optimum(x, d));
    weight += p;
  }
  return {
    calibration: sum(bins.map(([said, truth]) => Math.abs(said - truth))) / total,
    logit: logit / weight,
  };
}

const NAMES = ["p_mean", "p_width", "q_mean", "q_width", "negatives", "n", "seed"];

export default widget("density-ratio", NAMES, (model, root) => {
  const said = readout();
  let d, learned, data, held;
  const toX = (x, width) => ((x - LOW) / (HIGH - LOW)) * width;

  const densities = picture("aspect-ratio: 1 / 0.46", (context, width, height, colour) => {
    const bottom = height - 30, peak = 0.85;
    const y = (density) => bottom - (Math.min(density, peak) / peak) * (bottom - 16);
    for (const [which, shade, dash] of [["q", "orange", [6, 4]], ["p", "blue", []]]) {
      const mean = d[`${which}_mean`], spread = d[`${which}_width`];
      const curve = GRID.map((x) =>
        [toX(x, width), y(Math.exp(logNormal(x, mean, spread)))]);
      line(context, curve, colour(shade), { dash, width: 2.5 });
      const peakY = y(Math.exp(logNormal(mean, mean, spread)));
      disc(context, toX(mean, width), peakY, 8, colour(shade), colour("paper"));
      const label = which === "p" ? "p  positives" : "q  negatives";
      text(context, label, which === "p" ? 6 : width - 6, 10, colour(shade),
        which === "p" ? "left" : "right");
    }
    ticks(context, data.positives, bottom + 3, colour("blue"), width);
    ticks(context, data.others, bottom + 12, colour("orange"), width);
    line(context, [[0, bottom], [width, bottom]], colour("line"), { width: 1 });
  });

  function ticks(context, xs, y, shade, width) {
    context.fillStyle = shade;
    context.globalAlpha = 0.7;
    xs.slice(0, 150).forEach((x) => context.fillRect(toX(x, width), y, 1, 7));
    context.globalAlpha = 1;
  }

  const logits = picture("aspect-ratio: 1 / 0.6", (context, width, height, colour) => {
    const y = (f) => 6 + ((TOP - f) / (TOP - FLOOR)) * (height - 26);
    for (const f of [-8, -4, 0, 4]) {
      line(context, [[0, y(f)], [width, y(f)]], colour("line"), { width: f ? 0.5 : 1.5 });
      text(context, fixed(f, 0), 4, y(f) - 8, colour("soft"));
    }
    for (const x of [-4, -2, 0, 2, 4]) {
      text(context, fixed(x, 0), toX(x, width), height - 8, colour("soft"), "center");
    }
    text(context, "logit", width - 6, 10, colour("soft"), "right");
    context.save();
    context.beginPath();
    context.rect(0, 0, width, height - 20);
    context.clip();
    const curve = (f) => GRID.map((x) => [toX(x, width), y(f(x))]);
    line(context, curve(learned), colour("green"), { width: 4 });
    line(context, curve((x) => optimum(x, d)), colour("ink"), { width: 2, dash: [5, 5] });
    context.restore();
  });

  draggable(densities, (x, _, phase) => {
    const at = LOW + ((HIGH - LOW) * x) / densities.clientWidth;
    if (phase === "down") {
      held = Math.abs(at - d.p_mean) <= Math.abs(at - d.q_mean) ? "p_mean" : "q_mean";
    }
    if (phase !== "hover") put(model, { [held]: clamp(Math.round(at * 20) / 20, -4, 4) });
  });

  const mean = { min: -4, max: 4, step: 0.05, show: (x) => fixed(x, 2) };
  const spread = { min: 0.5, max: 2.5, step: 0.05, show: (x) => fixed(x, 2) };
  const legend = h("p", { class: "crl-legend" },
    h("span", { class: "crl-learned" }, "learned logit"), " ",
    h("span", { class: "crl-optimum" }, "log p/q − log(B−1)"));
  return {
    view: [densities, logits, legend],
    controls: [
      slider(model, "p_mean", "mean of p", mean),
      slider(model, "p_width", "width of p", spread),
      slider(model, "q_mean", "mean of q", mean),
      slider(model, "q_width", "width of q", spread),
      slider(model, "negatives", "negatives a positive, B−1", { values: [1, 3, 7, 15, 31] }),
      slider(model, "n", "positives to learn from, N",
        { values: [10, 20, 50, 100, 200, 500, 1000] }),
      h("div", { class: "crl-buttons" },
        button("Draw other samples", () => put(model, { seed: model.get("seed") + 1 }))),
      said,
    ],
    caption: "Drag the two discs or use the sliders. A logistic regression on (1, x, x²) is " +
      "fitted to the samples marked below the curves, again at each move; far from the " +
      "samples it can only guess.",
    update() {
      d = Object.fromEntries(NAMES.map((name) => [name, model.get(name)]));
      data = samples(d);
      learned = fit(data);
      const { calibration, logit } = judge(learned, d);
      const zero = [learned(0), optimum(0, d)];
      said.textContent = `At x = 0: learned logit ${fixed(zero[0], 2)}, optimum ` +
        `${fixed(zero[1], 2)}. Mean error where positives are: ${fixed(logit, 3)}. ` +
        `Calibration error: ${fixed(calibration, 4)}.`;
      Object.assign(root.dataset, { learned: zero[0], optimum: zero[1], calibration, logit });
      densities.say(`Two densities: p has mean ${d.p_mean} and width ${d.p_width}, ` +
        `q has mean ${d.q_mean} and width ${d.q_width}`);
      logits.say(`Learned and optimal logit; ${said.textContent}`);
    },
  };
});
