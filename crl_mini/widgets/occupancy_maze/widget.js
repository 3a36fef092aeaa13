// Discounted occupancy of an exact maze: drag the goal, turn gamma, send walkers.

const LOW = 1e-6; // the colours go from here to 1, whatever gamma is
const BINS = 32; // of the times at which clocks stop
const MOST = 5000; // walkers

/** From each state, what the policy does: lists of [next state, probability]. */
export function stepsOf(maze) {
  const steps = Array.from({ length: maze.S }, () => new Map());
  maze.probs.forEach((p, k) => {
    const [s, a, next] = maze.triples.subarray(3 * k, 3 * k + 3);
    steps[s].set(next, (steps[s].get(next) ?? 0) + maze.policy[s * maze.A + a] * p);
  });
  return steps.map((found) => [...found]);
}

/** The states that a walker visits until its clock stops; it ends in the last one. */
export function walk(steps, gamma, start, u) {
  const visited = [];
  let s = start;
  do {
    const ways = steps[s];
    let left = u(), k = 0;
    while ((left -= ways[k][1]) >= 0 && k < ways.length - 1) k++;
    visited.push(s = ways[k][0]);
  } while (u() < gamma);
  return visited;
}

/** Ticks in a bin, so that all bins but the last hold 98 % of the clocks. */
export const binWidth = (gamma) => Math.ceil(Math.log(0.02) / Math.log(gamma) / BINS);

/** The chance that a clock stops in each bin; the last one holds all later ticks. */
export function stopping(gamma) {
  const left = (k) => gamma ** (k * binWidth(gamma));
  return Array.from({ length: BINS }, (_, k) => left(k) - (k < BINS - 1 ? left(k + 1) : 0));
}

const NAMES = ["gamma", "goal", "start", "mode", "walkers", "seed"];

export default widget("occupancy-maze", NAMES, (model, root) => {
  const maze = readMaze(model), steps = stepsOf(maze), said = readout();
  let q, values, hovered, held, walks = [], known, tick, old = 0, halt;
  const reaching = () => model.get("mode") === "value";
  const marked = () => (reaching() ? "goal" : "start");
  const marker = () => model.get(marked());
  const shade = (s) => viridis(1 - Math.log(Math.max(values[s], LOW)) / Math.log(LOW));
  const actions = (s) => best(q.subarray(s * maze.A, (s + 1) * maze.A));
  const ended = (one, k) => !halt || k < old || one.length <= tick;
  const stopped = () => walks.filter(ended);
  const stop = () => { halt?.(); halt = undefined; };

  const canvas = mazeCanvas(maze, {
    marker,
    move: (s, phase) => {
      hovered = undefined;
      if (phase !== "drag") held = phase && s === model.get("start") ? "start" : marked();
      put(model, { [held]: s, ...(held === "start" ? { walkers: 0 } : {}) });
    },
    read: (s) => { hovered = s; tell(); canvas.paint(); },
    scene: () => ({
      fill: (s) => shade(s).fill,
      ink: (s) => shade(s).ink,
      arrows: reaching() ? actions : undefined,
      goal: reaching() ? model.get("goal") : undefined,
      start: model.get("start"),
      over: dots,
      read: hovered,
    }),
  });
  canvas.addEventListener("pointerleave", () => { hovered = undefined; tell(); canvas.paint(); });

  /** Small: where clocks stopped. Large: walkers whose clock ticks. */
  function dots(context, centre, size, colour) {
    const small = clamp((size * 3) / Math.sqrt(walks.length + 100), 1.5, 4);
    walks.forEach((one, k) => {
      const over = ended(one, k);
      const [y, x] = centre(over ? one.at(-1) : tick ? one[tick - 1] : model.get("start"));
      const [dx, dy] = scatter(k), at = [x + 0.76 * dx * size, y + 0.76 * dy * size];
      if (over) disc(context, ...at, small, "#ffffff", "#14181d");
      else disc(context, ...at, small + 2.5, colour("mark"), "#ffffff");
    });
  }

  const clock = picture("height: 96px", (context, width, height, colour) => {
    const gamma = model.get("gamma"), chance = stopping(gamma), wide = binWidth(gamma);
    const shares = chance.map(() => 0), left = 84, base = height - 18;
    stopped().forEach((one) => {
      shares[Math.min(BINS - 1, Math.floor((one.length - 1) / wide))] += 1 / walks.length;
    });
    const top = Math.max(...chance, ...shares), step = (width - left) / BINS;
    const y = (share) => base - (share / top) * (base - 22);
    context.fillStyle = colour("blue");
    shares.forEach((share, k) =>
      context.fillRect(left + k * step, y(share), step - 1, base - y(share)));
    line(context, chance.flatMap((share, k) =>
      [[left + k * step, y(share)], [left + (k + 1) * step, y(share)]]), colour("ink"));
    text(context, "clocks that stopped at this tick", width, 8, colour("blue"), "right");
    text(context, "1", left, height - 7, colour("soft"));
    text(context, `${wide * (BINS - 1)} and more`, width, height - 7, colour("soft"), "right");
    const angle = (2 * Math.PI * (tick ?? 0)) / 12 - Math.PI / 2, x = 32;
    disc(context, x, 42, 29, colour("paper"), colour("ink"));
    line(context, [[x, 42], [x + 22 * Math.cos(angle), 42 + 22 * Math.sin(angle)]],
      colour("mark"), { width: 3 });
    disc(context, x, 42, 3, colour("ink"));
    text(context, tick === undefined ? "a clock" : `tick ${tick}`, x, 88, colour("soft"), "center");
  });

  /** n more walkers set out together; without motion they arrive at once. */
  const send = (n) => () => {
    stop();
    [old, tick] = [walks.length, 0];
    put(model, { walkers: Math.min(old + n, MOST) });
    const last = Math.max(0, ...walks.slice(old).map((one) => one.length));
    const mean = 1 / (1 - model.get("gamma")); // of the ticks of a clock
    if (still()) tick = last;
    else {
      halt = ticking(root, clamp(mean / 2, 4, 60), () => {
        if (++tick >= last) stop();
        show();
        return tick < last;
      });
    }
    show();
  };

  const bar = colourBar(() => [LOW, Math.sqrt(LOW), 1].map((x) => pretty(x, 2)));
  const rows = table("Q of each action in this cell", ["action", "Q", ""], ACTIONS);

  /** Counts of the walkers that ended in each state. */
  function tally() {
    const counts = new Array(maze.S).fill(0), ends = stopped();
    ends.forEach((one) => { counts[one.at(-1)] += 1; });
    return { counts, n: ends.length };
  }

  function tell() {
    const s = hovered ?? marker(), value = values[s], { counts, n } = tally();
    const what = reaching() ? "value of reaching the goal" : "share of the discounted future";
    const start = model.get("start"), goal = reaching() ? model.get("goal") : s;
    const from = reaching() ? ` from the disc (value there ${pretty(values[start], 3)})` : "";
    said.textContent = `${cellName(maze, s)}: ${what} ${pretty(value, 4)}.` + (n
      ? ` Of ${n} walker${n > 1 ? "s" : ""}${from}, ${counts[goal]} stopped ` +
        `${reaching() ? "on the star" : "here"}.` : "");
    rows.hidden = !reaching();
    if (reaching()) {
      ACTIONS.forEach((_, a) =>
        rows.fill(a, pretty(q[s * maze.A + a]), actions(s).includes(a) ? "best" : ""));
    }
    Object.assign(root.dataset, { cell: s, value, start, stopped: n,
      walkers: walks.length, counts: JSON.stringify(counts) });
  }

  function show() {
    tell();
    canvas.paint();
    clock.paint();
  }

  const gamma = slider(model, "gamma", "discount γ", {
    min: 0.05, max: 0.99, step: 0.01,
    show: (x) => `${Number(x.toFixed(4))} · about ${Number((1 / (1 - x)).toFixed(1))} steps`,
  });
  gamma.addEventListener("input", () => put(model, { walkers: 0 })); // they had another clock
  return {
    view: [canvas, bar],
    controls: [
      choice(model, "mode", "Show", { value: "reaching the goal", occupancy: "where it ends up" }),
      gamma,
      h("div", { class: "crl-buttons" }, button("Send a walker", send(1)),
        button("Send 100", send(100)),
        button("Clear", () => put(model, { walkers: 0, seed: (model.get("seed") + 1) % 2 ** 20 }))),
      clock,
      said,
      rows,
    ],
    caption: "Drag the star (the goal) or the disc (the start), or focus the maze and press " +
      "the arrow keys; with Shift they read cells. Colours are on a log scale; arrows are the " +
      "greedy actions, several where they tie, a dot where staying is best. A walker leaves the " +
      "disc with a clock that goes on at each tick with probability γ; small dots: where " +
      "clocks stopped. Line: the chance of each tick.",
    update() {
      const [now, start, n] = ["gamma", "start", "walkers"].map((name) => model.get(name));
      if (reaching()) ({ q, v: values } = valueOfGoal(maze, now, model.get("goal")));
      else values = occupancyFrom(maze, now, start);
      const stream = model.get("seed") * (MOST + 1), key = [now, start, stream].join();
      if (key !== known || n < walks.length) {
        stop();
        [walks, tick, known] = [[], undefined, key];
      }
      while (walks.length < n) {
        walks.push(walk(steps, now, start, uniforms(stream + walks.length)));
      }
      tell();
      root.dataset.marker = marker();
      canvas.say(`Maze, ${marked()}: ${cellName(maze, marker())}, ` +
        `discount ${now}; value there ${pretty(values[marker()], 4)}`);
      clock.say(`A clock, and the ticks at which those of ${n} walkers stopped, beside the ` +
        "exact chance of each tick");
    },
  };
});
