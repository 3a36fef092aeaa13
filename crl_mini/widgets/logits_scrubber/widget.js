// The B x B logits of one batch through training, linked to the maze they are about.

/** The logits of one checkpoint, (B, B): stored as low + scale * 16-bit integer. */
export function checkpoint({ stored, low, scale, B }, k) {
  return Float64Array.from(stored.subarray(k * B * B, (k + 1) * B * B), (x) => low + scale * x);
}

/** Share of rows whose largest logit is on the diagonal. */
export function accuracy(logits, B) {
  const rows = [...Array(B).keys()];
  return rows.filter((i) => {
    const row = logits.subarray(i * B, (i + 1) * B);
    return row.indexOf(Math.max(...row)) === i;
  }).length / B;
}

/** Share of values in each of n equal bins from low to high. */
export function histogram(values, low, high, n) {
  const counts = Array(n).fill(0);
  values.forEach((x) => {
    counts[clamp(Math.floor(((x - low) / (high - low)) * n), 0, n - 1)] += 1 / values.length;
  });
  return counts;
}

export default widget("logits-scrubber", ["k", "loss"], (model, root) => {
  const B = model.get("size"), steps = model.get("steps"), low = model.get("low");
  const scale = model.get("scale"), stored = array(Uint16Array, model.get("stored"));
  const high = low + 65535 * scale, said = readout();
  const series = steps.map((_, k) => {
    const logits = checkpoint({ stored, low, scale, B }, k);
    return { logits, ...losses(logits, B), accuracy: accuracy(logits, B) };
  });
  const maze = readCells(model), pairs = model.get("pairs");
  let now, cell = [0, 0], size = 1;

  const heat = picture("aspect-ratio: 1", (context, width, _, colour) => {
    size = width / B;
    now.logits.forEach((x, k) => {
      context.fillStyle = viridis((x - low) / (high - low)).fill;
      const gap = size > 6 ? 0.5 : 0, i = Math.floor(k / B), j = k % B;
      context.fillRect(j * size, i * size, size - gap, size - gap);
    });
    context.lineWidth = clamp(size * 0.14, 1, 2.5);
    for (let i = 0; i < B; i++) {
      const { ink } = viridis((now.logits[i * B + i] - low) / (high - low));
      context.strokeStyle = ink;
      context.strokeRect((i + 0.12) * size, (i + 0.12) * size, size * 0.76, size * 0.76);
    }
    Object.assign(context, { strokeStyle: colour("orange"), lineWidth: 3 });
    context.strokeRect(cell[1] * size, cell[0] * size, size, size);
  });
  const ends = [low, (low + high) / 2, high].map((x) => fixed(x, 1));
  heat.tabIndex = 0;
  heat.setAttribute("role", "application"); // it takes arrow keys: see maze.js
  heat.setAttribute("aria-roledescription", "matrix");
  const point = (at) => { cell = at; stop(); tell(); heat.paint(); rooms.paint(); };
  heat.addEventListener("keydown", (event) => {
    const step = ARROW_KEYS[event.key];
    if (!step) return;
    event.preventDefault();
    point(cell.map((x, axis) => clamp(x + step[axis], 0, B - 1)));
  });
  const follow = (event) => {
    const at = [event.offsetY, event.offsetX].map((x) => Math.floor(x / size));
    if (Math.max(...at) < B && Math.min(...at) >= 0) point(at);
  };
  heat.addEventListener("pointermove", follow);
  heat.addEventListener("pointerdown", follow); // a tap reads too

  /** In the maze: the pair of the row, and its logits for the goals of all columns. */
  const [states, actions, goals] = [0, 1, 2].map((k) => pairs.map((pair) => pair[k]));
  const rooms = mazeCanvas(maze, {
    marker: () => goals[cell[1]],
    read: () => {},
    move(s) { // the next goal in this cell, or else the next pair
      const all = [...goals.keys()], later = [...all.slice(cell[1] + 1), ...all];
      const column = later.find((j) => goals[j] === s), row = states.indexOf(s);
      if (column !== undefined) point([cell[0], column]);
      else if (row >= 0) point([row, cell[1]]);
    },
    scene: () => ({
      fill: (s) => {
        const column = goals.indexOf(s);
        if (column < 0) return undefined;
        return viridis((now.logits[cell[0] * B + column] - low) / (high - low)).fill;
      },
      over(context, centre, side, colour) {
        const [y, x] = centre(states[cell[0]]), [dy, dx] = MOVES[actions[cell[0]]];
        line(context, [[x, y], [x + 0.75 * dx * side, y + 0.75 * dy * side]], colour("mark"),
          { width: 4 });
      },
      start: states[cell[0]],
      goal: goals[cell[1]],
    }),
  });

  const bars = picture("aspect-ratio: 1 / 0.44", (context, width, height, colour) => {
    const bins = 40, base = height - 18, x = (k) => (k / bins) * width;
    const diagonal = now.logits.filter((_, k) => k % (B + 1) === 0);
    const rest = now.logits.filter((_, k) => k % (B + 1) !== 0);
    const both = [rest, diagonal].map((values) => histogram(values, low, high, bins));
    const top = Math.max(...both.flat());
    both.forEach((shares, which) => {
      const outline = shares.flatMap((share, k) => {
        const y = base - (share / top) * (base - 20);
        return [[x(k), y], [x(k + 1), y]];
      });
      const shade = colour(which ? "blue" : "orange");
      context.globalAlpha = 0.25;
      context.fillStyle = shade;
      context.beginPath();
      [[0, base], ...outline, [width, base]].forEach(([a, b]) => context.lineTo(a, b));
      context.fill();
      context.globalAlpha = 1;
      line(context, outline, shade, { dash: which ? [] : [4, 3] });
    });
    text(context, "negatives", 2, 8, colour("orange"));
    text(context, "positives", width - 2, 8, colour("blue"), "right");
    line(context, [[0, base], [width, base]], colour("line"), { width: 1 });
    axis(context, ends, height - 7, width, colour("soft"));
  });

  const most = Math.log1p(steps.at(-1) || 1); // most happens early: time is on a log scale
  const curves = picture("aspect-ratio: 1 / 0.34", (context, width, height, colour) => {
    const at = model.get("k"), x = (k) => 4 + (Math.log1p(steps[k]) / most) * (width - 8);
    const curve = (value, top) => series.map((one, k) =>
      [x(k), 22 + (1 - value(one) / top) * (height - 42)]);
    const loss = model.get("loss"), top = Math.max(...series.map((one) => one[loss]));
    const lines = [[curve((one) => one[loss], top), "ink", []],
      [curve((one) => one.accuracy, 1), "green", [6, 3]]];
    line(context, [[x(at), 18], [x(at), height - 14]], colour("line"), { width: 2 });
    for (const [points, shade, dash] of lines) {
      line(context, points, colour(shade), { dash });
      disc(context, ...points[at], 5, colour(shade), colour("paper"));
    }
    text(context, "loss", 2, 8, colour("ink"));
    text(context, "accuracy", width - 2, 8, colour("green"), "right");
    axis(context, [`step ${steps[0]}`, "(log scale)", String(steps.at(-1))], height - 6, width,
      colour("soft"));
  });

  function tell() {
    const k = model.get("k"), loss = model.get("loss"), [i, j] = cell;
    const value = now.logits[i * B + j], place = (s) => cellName(maze, s).toLowerCase();
    const where = pairs.length && ` From ${place(states[i])} by "${ACTIONS[actions[i]]}" to ` +
      `${place(goals[j])}.`;
    said.textContent = `Step ${steps[k]}: loss ${fixed(now[loss], 4)}, ` +
      `accuracy ${fixed(100 * now.accuracy, 1)} %. ` +
      `f(s${i}, a${i}, g${j}) = ${fixed(value, 2)}, ` +
      `${i === j ? "positive" : "negative"}, probability ${pretty(sigmoid(value))}.${where || ""}`;
    Object.assign(root.dataset, { step: steps[k], loss: now[loss], accuracy: now.accuracy,
      value, cell: JSON.stringify(cell) });
  }

  const play = player(model, root, "k", steps.length - 1, { rate: 3, jump: 1, said });
  const stop = () => play.stop();
  const scrubber = slider(model, "k", "training step", {
    min: 0, max: steps.length - 1, step: 1, show: (k) => String(steps[k]),
  });
  for (const kind of ["pointerdown", "keydown"]) scrubber.addEventListener(kind, stop);

  return {
    view: [heat, colourBar(() => ends), scrubber, play, ...(pairs.length ? [rooms] : [])],
    controls: [
      select(model, "loss", "loss", LOSS_NAMES),
      bars, curves, said,
    ],
    caption: "Play, or move the slider through training. Row i is the pair (s, a), column j the " +
      "goal; the outlined diagonal holds the positives. Hover, or focus the matrix and press the " +
      "arrow keys, to read a logit." + (pairs.length ? " Maze: that state (disc), its action and " +
      "that goal (star); cells that are goals of the batch have the colours of the row. Press " +
      "one to go to its column." : "") + " Accuracy: rows whose largest logit is on the diagonal.",
    update() {
      now = series[model.get("k")];
      tell();
      const { textContent } = said;
      heat.say(`Matrix of ${B} by ${B} logits. ${textContent}`);
      bars.say(`Histograms of positive and negative logits. ${textContent}`);
      rooms.say(`Maze with the pair of one row and the goals of all columns. ${textContent}`);
      curves.say(`Loss and accuracy over training. ${textContent}`);
    },
  };
});
