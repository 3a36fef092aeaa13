// Three ways to sample a future goal from an episode that ends.

const SAMPLERS = {
  truncated: "truncated (cut and renormalised)",
  clipped: "clipped to the last state",
  uniform: "uniform over what remains",
};

/** Probability of the offsets 1..remaining. */
export function offsetPmf(sampler, gamma, remaining) {
  const p = Array.from({ length: remaining }, (_, k) => (1 - gamma) * gamma ** k);
  if (sampler === "clipped") p[remaining - 1] = gamma ** (remaining - 1);
  if (sampler === "uniform") p.fill(1 / remaining);
  const total = sum(p);
  return p.map((x) => x / total);
}

/** Mean offset, and total variation distance to the geometric without an end. */
export function summary(p, gamma) {
  const endless = p.map((_, k) => (1 - gamma) * gamma ** k), tail = gamma ** p.length;
  return {
    mean: sum(p.map((x, k) => (k + 1) * x)),
    distance: (sum(p.map((x, k) => Math.abs(x - endless[k]))) + tail) / 2,
  };
}

/** Counts of each offset in the first n samples of a seed (inverse of the CDF). */
export function countDraws(p, n, seed) {
  const u = uniforms(seed), counts = p.map(() => 0);
  for (let draw = 0; draw < n; draw++) {
    let k = 0;
    for (let left = u() - p[0]; left >= 0 && k < p.length - 1; left -= p[k]) k++;
    counts[k]++;
  }
  return counts;
}

const NAMES = ["gamma", "t", "draws", "seed"];

export default widget("sampler-explorer", NAMES, (model, root) => {
  const length = model.get("length"), said = readout(), keys = Object.keys(SAMPLERS);
  let now, all;

  const canvas = picture("aspect-ratio: 1 / 1.1", (context, width, height, colour) => {
    const x = (time) => 8 + (time / length) * (width - 16), { t, draws } = now;
    const w = Math.max(1, ((width - 16) / length) * 0.72), y0 = 34;
    line(context, [[x(0), y0], [x(length), y0]], colour("line"), { width: 3 });
    for (let k = 0; k <= length; k++) {
      disc(context, x(k), y0, Math.min(3, w / 2), colour(k > t ? "blue" : "line"));
    }
    disc(context, x(t), y0, 8, colour("orange"), colour("paper"));
    const edge = t < length / 6 ? "left" : t > (length * 5) / 6 ? "right" : "center";
    text(context, `now, t = ${t}`, clamp(x(t), 8, width - 8), 12, colour("orange"), edge);
    const top = Math.max(...keys.flatMap((key) => all[key].p)), room = (height - 60) / 3;
    keys.forEach((key, row) => {
      const { p, counts } = all[key], base = 52 + (row + 1) * room - 10, tall = room - 38;
      text(context, SAMPLERS[key], 8, base - tall - 18, colour("ink"));
      p.forEach((share, k) => {
        const high = (share / top) * tall;
        context.fillStyle = colour("blue");
        context.fillRect(x(t + 1 + k) - w / 2, base - high, w, high);
        if (!counts[k]) return;
        const seen = Math.min(counts[k] / draws / top, 1.15) * tall;
        disc(context, x(t + 1 + k), base - seen, Math.min(3.5, w * 0.6 + 1), colour("orange"));
      });
      line(context, [[x(0), base], [x(length), base]], colour("line"), { width: 1 });
      const mean = x(t + all[key].mean);
      context.fillStyle = colour("ink");
      context.beginPath();
      [[0, 1], [-5, 9], [5, 9]].forEach(([dx, dy]) => context.lineTo(mean + dx, base + dy));
      context.fill();
    });
  });

  draggable(canvas, (x, _, phase) => {
    if (phase === "hover") return;
    const time = Math.round(((x - 8) / (canvas.clientWidth - 16)) * length);
    put(model, { t: clamp(time, 0, length - 1), draws: 0 });
  });

  const rows = table("Mean offset and distance of three samplers",
    ["sampler", "mean offset", "distance"], keys);
  const draw = (n) => () => put(model, { draws: Math.min(model.get("draws") + n, 20000) });
  const afresh = (row) => { // counts belong to one t and one gamma
    row.addEventListener("input", () => put(model, { draws: 0 }));
    return row;
  };
  return {
    view: [canvas],
    controls: [
      afresh(slider(model, "t", "current step t", { min: 0, max: length - 1, step: 1 })),
      afresh(slider(model, "gamma", "discount γ", {
        min: 0.5, max: 0.99, step: 0.01, show: (x) => Number(x.toFixed(4)).toString(),
      })),
      h("div", { class: "crl-buttons" }, button("Draw 1", draw(1)),
        button("Draw 100", draw(100)),
        button("Clear", () => put(model, { draws: 0, seed: model.get("seed") + 1 }))),
      rows,
      said,
    ],
    caption: "Drag the orange disc along the episode or use the sliders. Bars: probability of " +
      "each future step as the goal; triangle: their mean. Orange dots: how often a step was " +
      "drawn. Distance: total " +
      "variation to the geometric distribution of an episode that never ends.",
    update() {
      now = Object.fromEntries(NAMES.map((name) => [name, model.get(name)]));
      const remaining = length - now.t;
      all = Object.fromEntries(keys.map((key) => {
        const p = offsetPmf(key, now.gamma, remaining);
        return [key, { p, ...summary(p, now.gamma), counts: countDraws(p, now.draws, now.seed) }];
      }));
      keys.forEach((key, k) =>
        rows.fill(k, fixed(all[key].mean, 2), fixed(all[key].distance, 3)));
      said.textContent = `${remaining} steps remain; an endless episode has mean offset ` +
        `${fixed(1 / (1 - now.gamma), 1)}. ` + (now.draws
        ? `${now.draws} drawn; most often ${keys.map((key) => {
          const { counts } = all[key];
          return `t+${counts.indexOf(Math.max(...counts)) + 1} (${key})`;
        }).join(", ")}.` : "No goal drawn yet.");
      root.dataset.summary = JSON.stringify(all);
      canvas.say(`Future offsets from step ${now.t} of ${length}, discount ${now.gamma}: ` +
        `mean offset ${keys.map((key) => `${key} ${fixed(all[key].mean, 2)}`).join(", ")}`);
    },
  };
});
