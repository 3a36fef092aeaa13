// Balls from two bags: the reader guesses, and a classifier learns the log-ratio.

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

/** Ball number k: from bag p with probability 1/B, and where it lies. */
export function ball(d, k) {
  const u = uniforms(d.seed * 1009 + k + 7_654_321);
  const from = u() * (1 + d.negatives) < 1 ? "p" : "q";
  const z = Math.sqrt(-2 * Math.log(1 - u())) * Math.cos(2 * Math.PI * u());
  return { from, x: d[`${from}_mean`] + d[`${from}_width`] * z };
}

/** How many of the first balls each guesser gets right. */
export function score(d, guesses, learned) {
  const balls = guesses.map((_, k) => ball(d, k));
  const right = (says) => sum(balls.map((b, k) => Number(says(b.x, k) === b.from)));
  const sign = (f) => (x) => (f(x) > 0 ? "p" : "q");
  return {
    you: right((_, k) => guesses[k]),
    best: right(sign((x) => optimum(x, d))),
    learned: right(sign(learned)),
    q: right(() => "q"),
  };
}

/**
 * Errors of the learned f, by quadrature over the mixture of p and q:
 * `calibration` is the mean gap between the predicted probability and the true one of all
 * x in the same tenth; `logit` the mean |f - f*| over positives; `best` the share of balls
 * that no guesser beats.
 */
export function judge(f, d) {
  const bins = Array.from({ length: 10 }, () => [0, 0]), n = 2001, span = 16;
  let total = 0, logit = 0, weight = 0, best = 0;
  for (let k = 0; k < n; k++) {
    const x = -span + (2 * span * k) / (n - 1);
    const p = Math.exp(logNormal(x, d.p_mean, d.p_width));
    const others = d.negatives * Math.exp(logNormal(x, d.q_mean, d.q_width));
    const said = sigmoid(f(x)), bin = bins[Math.min(9, Math.floor(said * 10))];
    bin[0] += (p + others) * said;
    bin[1] += p; // mass times the true probability of being a positive
    total += p + others;
    best += Math.max(p, others);
    logit += p * Math.abs(f(x) - optimum(x, d));
    weight += p;
  }
  return {
    calibration: sum(bins.map(([said, truth]) => Math.abs(said - truth))) / total,
    logit: logit / weight,
    best: best / total,
  };
}

const NAMES = ["p_mean", "p_width", "q_mean", "q_width", "negatives", "n", "seed", "guesses"];
const SHADES = { p: "blue", q: "orange" };
const PEAK = 0.85; // the density at the top of the picture
const NEAR = 30; // pixels within which a press takes a disc

export default widget("density-ratio", [...NAMES, "moved"], (model, root) => {
  const said = readout(), ask = readout();
  let d, learned, data, held, bottom = 1;
  const toX = (x, width) => ((clamp(x, LOW, HIGH) - LOW) / (HIGH - LOW)) * width;
  const toY = (density) => bottom - (Math.min(density, PEAK) / PEAK) * (bottom - 16);
  /** Other bags make other balls: the score begins again. */
  const afresh = (values) => put(model, { ...values, guesses: [] });
  const summit = (which, width) => [toX(d[`${which}_mean`], width),
    toY(Math.exp(logNormal(0, 0, d[`${which}_width`])))];

  const bags = picture("aspect-ratio: 1 / 0.55", (context, width, height, colour) => {
    bottom = height - 40;
    for (const which of ["q", "p"]) {
      const mean = d[`${which}_mean`], spread = d[`${which}_width`], shade = colour(SHADES[which]);
      const curve = GRID.map((x) =>
        [toX(x, width), toY(Math.exp(logNormal(x, mean, spread)))]);
      line(context, curve, shade, { dash: which === "q" ? [6, 4] : [], width: 2.5 });
      disc(context, ...summit(which, width), 8, shade, colour("paper"));
      text(context, which === "p" ? "bag p: positives" : "bag q: negatives",
        which === "p" ? 6 : width - 6, 10, shade, which === "p" ? "left" : "right");
    }
    line(context, [[0, bottom], [width, bottom]], colour("line"), { width: 1 });
    data.positives.slice(0, 150).forEach((x) =>
      disc(context, toX(x, width), bottom + 20, 3, colour("blue")));
    data.others.slice(0, 150).forEach((x) =>
      disc(context, toX(x, width), bottom + 32, 2.5, colour("paper"), colour("orange")));
    asked(context, width, colour);
  });

  /** The ball that is asked about, and what the last one was. */
  function asked(context, width, colour) {
    const k = d.guesses.length, last = k && ball(d, k - 1), x = toX(ball(d, k).x, width);
    if (last) {
      disc(context, toX(last.x, width), bottom, 8, colour(SHADES[last.from]), colour("paper"));
      text(context, last.from, toX(last.x, width), bottom, colour("paper"), "center");
    }
    line(context, [[x, 22], [x, bottom]], colour("soft"), { width: 1, dash: [2, 3] });
    disc(context, x, bottom, 10, colour("ink"), colour("paper"));
    text(context, "?", x, bottom + 1, colour("paper"), "center");
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

  draggable(bags, (x, y, phase) => {
    if (phase === "hover") return;
    const width = bags.clientWidth;
    const mean = clamp(Math.round(20 * (LOW + ((HIGH - LOW) * x) / width)) / 20, -4, 4);
    if (phase === "down") {
      const far = (which) => Math.hypot(...summit(which, width).map((v, i) => v - [x, y][i]));
      const near = far("p") <= far("q") ? "p" : "q";
      held = { which: near, both: far(near) < NEAR }; // a press elsewhere moves the mean only
    }
    const density = Math.max(0.01, (PEAK * (bottom - y)) / (bottom - 16));
    const spread = Math.round(20 / (density * Math.sqrt(2 * Math.PI))) / 20;
    afresh({ moved: held.which, [`${held.which}_mean`]: mean,
      ...(held.both && phase === "drag"
        ? { [`${held.which}_width`]: clamp(spread, 0.5, 2.5) } : {}) });
  });
  bags.tabIndex = 0;
  bags.setAttribute("role", "application"); // it takes arrow keys: see maze.js
  bags.setAttribute("aria-roledescription", "two bags");
  bags.addEventListener("keydown", (event) => {
    const step = ARROW_KEYS[event.key];
    if (!step) return;
    event.preventDefault();
    const [mean, spread] = ["mean", "width"].map((what) => `${model.get("moved")}_${what}`);
    const moved = (name, by, ends) => clamp(Math.round(20 * model.get(name) + by) / 20, ...ends);
    afresh({ [mean]: moved(mean, 2 * step[1], [-4, 4]),
      [spread]: moved(spread, 2 * step[0], [0.5, 2.5]) });
  });

  const guess = (which) => {
    const node = button(`Bag ${which}`, () =>
      put(model, { guesses: [...model.get("guesses"), which].slice(0, 1000) }));
    node.classList.add(`crl-bag-${which}`);
    return node;
  };
  const scores = table("Balls that each guesser got right", ["who guesses", "right"],
    ["you", "the best logit: p where f* > 0", "the learned logit", "always q"]);
  function tell(best) {
    const k = d.guesses.length, right = score(d, d.guesses, learned);
    let last = "";
    if (k) {
      const { x, from } = ball(d, k - 1), f = optimum(x, d);
      last = `It was from ${from}: you were ${d.guesses[k - 1] === from ? "right" : "wrong"}. ` +
        `There f*\u00a0=\u00a0${fixed(f, 2)}, so p has probability ${pretty(sigmoid(f), 2)}. `;
    }
    ask.textContent = `${last}${k ? "The next" : "A"} ball lies at ` +
      `x = ${fixed(ball(d, k).x, 2)}. From which bag? (One ball in ${1 + d.negatives} is from p.)`;
    Object.values(right).forEach((n, row) => scores.fill(row, `${n} of ${k}`));
    root.dataset.right = JSON.stringify(right);
    scores.row(1).children[0].textContent =
      `the best logit: p where f* > 0 (in the long run ${fixed(100 * best, 0)} %)`;
  }
  const negatives = slider(model, "negatives", "negatives for each positive, B−1",
    { values: [1, 3, 7, 15, 31] });
  negatives.addEventListener("input", () => afresh({}));
  const legend = h("p", { class: "crl-legend" },
    h("span", { class: "crl-learned" }, "learned logit"), " ",
    h("span", { class: "crl-optimum" }, "log p/q − log(B−1)"));
  return {
    view: [bags, logits, legend],
    controls: [
      ask,
      h("div", { class: "crl-buttons" }, guess("p"), guess("q")),
      scores,
      negatives,
      slider(model, "n", "positives to learn from, N",
        { values: [10, 20, 50, 100, 200, 500, 1000] }),
      choice(model, "moved", "Arrow keys move", { p: "bag p", q: "bag q" }),
      h("div", { class: "crl-buttons" }, button("Sample new balls",
        () => afresh({ seed: (model.get("seed") + 1) % 2 ** 20 }))),
      said,
    ],
    caption: "Drag the two discs: sideways moves a bag, up and down makes it narrow or wide; or " +
      "focus the picture and press the arrow keys. A logistic regression on (1, x, x²) is " +
      "fitted to the balls below the curves, again at each move; far from them it can only guess.",
    update() {
      d = Object.fromEntries(NAMES.map((name) => [name, model.get(name)]));
      data = samples(d);
      learned = fit(data);
      const { calibration, logit, best } = judge(learned, d);
      const zero = [learned(0), optimum(0, d)];
      said.textContent = `At x = 0: learned logit ${fixed(zero[0], 2)}, optimum ` +
        `${fixed(zero[1], 2)}. Mean error where positives are: ${fixed(logit, 3)}. ` +
        `Calibration error: ${fixed(calibration, 4)}.`;
      Object.assign(root.dataset, { learned: zero[0], optimum: zero[1], calibration, logit, best });
      tell(best);
      bags.say(`Two densities: p has mean ${d.p_mean} and width ${d.p_width}, ` +
        `q has mean ${d.q_mean} and width ${d.q_width}`);
      logits.say(`Learned and optimal logit; ${said.textContent}`);
    },
  };
});
