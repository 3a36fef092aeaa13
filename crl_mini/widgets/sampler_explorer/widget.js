// Three ways to sample a future goal from an episode that ends: on its tape, in its maze.

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

/** Probability of each of S states as the goal, on a walk from its step t on. */
export function goalShares(walk, t, p, S) {
  const shares = new Float64Array(S);
  p.forEach((share, k) => { shares[walk[t + 1 + k]] += share; });
  return shares;
}

const NAMES = ["gamma", "t", "draws", "seed", "shown"];

export default widget("sampler-explorer", NAMES, (model, root) => {
  const length = model.get("length"), said = readout(), keys = Object.keys(SAMPLERS);
  const maze = readCells(model), walk = model.get("walk");
  let now, all, shares, pointed; // pointed: a cell, or undefined

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
        context.fillStyle = colour(walk[t + 1 + k] === pointed ? "ink" : "blue");
        context.fillRect(x(t + 1 + k) - w / 2, base - high, w, high);
        if (!counts[k]) return;
        const seen = Math.min(counts[k] / draws / top, 1.15) * tall;
        disc(context, x(t + 1 + k), base - seen, Math.min(3, w * 0.6 + 1), "#ffffff", "#14181d");
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
    const time = Math.round(((x - 8) / (canvas.clientWidth - 16)) * length);
    if (phase === "hover") return point(walk[clamp(time, 0, length)]);
    put(model, { t: clamp(time, 0, length - 1), draws: 0 });
  });

  function point(s) {
    pointed = s;
    tell();
    canvas.paint();
    rooms.paint();
  }

  /** The step of the tape in this cell that comes next, or the first one. */
  function jump(s) {
    const times = [...walk.keys()].filter((k) => k < length && walk[k] === s);
    if (!times.length) return point(s);
    pointed = undefined;
    put(model, { t: times.find((k) => k > model.get("t")) ?? times[0], draws: 0 });
  }

  const rooms = mazeCanvas(maze, {
    marker: () => walk[model.get("t")],
    move: jump,
    read: point,
    scene: () => ({
      fill: (s) => (shares[s]
        ? viridis(Math.sqrt(shares[s] / Math.max(...shares))).fill : undefined),
      over: trail,
      start: walk[now.t],
      read: pointed,
    }),
  });

  /** The walk: behind (dashed), ahead, and the sampled goals. */
  function trail(context, centre, size, colour) {
    const at = walk.map((s, k) => {
      const [y, x] = centre(s), [dx, dy] = scatter(k);
      return [x + 0.5 * dx * size, y + 0.5 * dy * size];
    });
    line(context, at.slice(0, now.t + 1), colour("soft"), { width: 1.5, dash: [3, 3] });
    for (const [shade, width] of [["#14181d", 3], ["#ffffff", 1.5]]) {
      line(context, at.slice(now.t), shade, { width });
    }
    const { counts } = all[now.shown], most = Math.max(1, ...counts);
    counts.forEach((n, k) => n && disc(context, ...at[now.t + 1 + k],
      2 + 3 * Math.sqrt(n / most), "#ffffff", "#14181d"));
  }
  for (const node of [canvas, rooms]) node.addEventListener("pointerleave", () => point(undefined));

  function tell() {
    const remaining = length - now.t, s = pointed;
    const { counts } = all[now.shown];
    const drawn = (one) => sum(counts.filter((_, k) => walk[now.t + 1 + k] === one));
    const later = [...walk.keys()].filter((k) => k > now.t && walk[k] === s).length;
    said.textContent = s === undefined
      ? `${remaining} steps remain; an endless episode has mean offset ` +
        `${fixed(1 / (1 - now.gamma), 1)}. ` + (now.draws
          ? `${now.draws} sampled, ${counts.filter(Boolean).length} different steps ` +
            `(${now.shown}).` : "No goal sampled yet.")
      : `${cellName(maze, s)}: ${later} of the steps to come; the goal with probability ` +
        `${pretty(shares[s])} (${now.shown})${now.draws ? `, sampled ${drawn(s)} times` : ""}.`;
    Object.assign(root.dataset, { pointed: s ?? "", said: said.textContent });
  }

  const rows = table("Mean offset and distance of three samplers",
    ["sampler", "mean offset", "distance"], keys);
  const draw = (n) => () => put(model, { draws: Math.min(model.get("draws") + n, 20000) });
  const afresh = (row) => { // counts belong to one t and one gamma
    row.addEventListener("input", () => put(model, { draws: 0 }));
    return row;
  };
  return {
    view: [canvas, rows, said],
    controls: [
      rooms,
      choice(model, "shown", "Colours and dots in the maze",
        Object.fromEntries(keys.map((key) => [key, key]))),
      afresh(slider(model, "t", "current step t", { min: 0, max: length - 1, step: 1 })),
      afresh(slider(model, "gamma", "discount γ", {
        min: 0.5, max: 0.99, step: 0.01, show: (x) => Number(x.toFixed(4)).toString(),
      })),
      h("div", { class: "crl-buttons" }, button("Sample 1", draw(1)),
        button("Sample 100", draw(100)),
        button("Clear", () => put(model, { draws: 0, seed: model.get("seed") + 1 }))),
    ],
    caption: "Drag the orange disc along the episode, or press a cell that the walk crosses. " +
      "Bars: probability of each future step as the goal; triangle: their mean. Maze: the same " +
      "walk, its past dashed; colours: probability of each cell, from dark to bright. Small " +
      "dots: sampled goals. Distance: total variation to the geometric distribution of an " +
      "episode that never ends.",
    update() {
      now = Object.fromEntries(NAMES.map((name) => [name, model.get(name)]));
      const remaining = length - now.t;
      all = Object.fromEntries(keys.map((key) => {
        const p = offsetPmf(key, now.gamma, remaining);
        return [key, { p, ...summary(p, now.gamma), counts: countDraws(p, now.draws, now.seed) }];
      }));
      shares = goalShares(walk, now.t, all[now.shown].p, maze.S);
      keys.forEach((key, k) =>
        rows.fill(k, fixed(all[key].mean, 2), fixed(all[key].distance, 3)));
      tell();
      Object.assign(root.dataset, { summary: JSON.stringify(all), t: now.t,
        shares: JSON.stringify([...shares]) });
      canvas.say(`Future offsets from step ${now.t} of ${length}, discount ${now.gamma}: ` +
        `mean offset ${keys.map((key) => `${key} ${fixed(all[key].mean, 2)}`).join(", ")}`);
      rooms.say(`Maze with the walk of the episode; now ${cellName(maze, walk[now.t])}`);
    },
  };
});
