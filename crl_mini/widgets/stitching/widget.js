// Trajectories in a maze: futures counted inside each, and futures stitched together.

const METHODS = ["inside one trajectory", "stitched, by TD"];
const DEPTH = 4, MOST = 8, LONGEST = 120; // powers of ten of colour; trajectories; states

/** next[s * A + a]: the next state of an action; these mazes do not slip. */
export function leadsTo(maze) {
  const next = new Int32Array(maze.S * maze.A);
  maze.probs.forEach((_, k) => {
    const [s, a, to] = maze.triples.subarray(3 * k, 3 * k + 3);
    next[s * maze.A + a] = to;
  });
  return next;
}

/** The actions of a walk: the first that leads from each state to the next. */
export function actionsOf(walk, next, A) {
  return walk.slice(1).map((to, t) =>
    [...Array(A).keys()].find((a) => next[walk[t] * A + a] === to));
}

/** Futures counted inside each walk, offsets geometric and truncated: M (S, A, S). */
export function monteCarlo(walks, next, { S, A }, gamma) {
  const M = new Float64Array(S * A * S), visits = new Float64Array(S * A);
  for (const walk of walks) {
    const actions = actionsOf(walk, next, A);
    actions.forEach((a, t) => {
      const row = walk[t] * A + a, n = actions.length - t;
      visits[row] += 1;
      for (let k = 1; k <= n; k++) {
        M[row * S + walk[t + k]] += (gamma ** (k - 1) * (1 - gamma)) / (1 - gamma ** n);
      }
    });
  }
  return M.map((x, k) => x && x / visits[Math.floor(k / S)]);
}

/** Recorded transitions and behaviour, in the form that `occupancy` takes. */
export function empirical(walks, next, { S, A }) {
  const seen = new Float64Array(S * A), policy = new Float64Array(S * A);
  for (const walk of walks) {
    actionsOf(walk, next, A).forEach((a, t) => { seen[walk[t] * A + a] += 1; });
  }
  const rows = [...seen.keys()].filter((k) => seen[k]);
  for (const k of rows) {
    const s = Math.floor(k / A);
    policy[k] = seen[k] / sum(seen.slice(s * A, (s + 1) * A));
  }
  const triples = rows.flatMap((k) => [Math.floor(k / A), k % A, next[k]]);
  return { S, A, policy, triples, probs: rows.map(() => 1) };
}

/** Distribution of futures from s: the behaviour's mean over its actions. */
export function futuresOf(M, { policy, S, A }, s) {
  const all = new Float64Array(S);
  for (let a = 0; a < A; a++) {
    for (let g = 0; g < S; g++) all[g] += policy[s * A + a] * M[(s * A + a) * S + g];
  }
  return all;
}

/** The greedy actions at s; none where every value is zero. */
export function known(M, { S, A }, s, g) {
  const q = Array.from({ length: A }, (_, a) => M[(s * A + a) * S + g]);
  return Math.max(...q) > 0 ? best(q) : [];
}

/** States from s: to g, to a state without a known way, or to the first repeat. */
export function follow(actions, next, A, s, g) {
  const path = [s], seen = new Set();
  while (path.at(-1) !== g && !seen.has(path.at(-1)) && actions[path.at(-1)].length) {
    seen.add(path.at(-1));
    path.push(next[path.at(-1) * A + actions[path.at(-1)][0]]);
  }
  return path;
}

/** The shortest way between two cells, without the first: cells a fast pointer skips. */
export function between(next, { S, A }, from, to) {
  const before = new Int32Array(S).fill(-1), queue = [from];
  before[from] = from;
  for (const s of queue) {
    for (let a = 0; a < A; a++) {
      const x = next[s * A + a];
      if (before[x] < 0) { before[x] = s; queue.push(x); }
    }
  }
  const path = [];
  for (let s = to; s !== from; s = before[s]) path.unshift(s);
  return path;
}

const TRAITS = ["walks", "used", "start", "goal", "gamma", "held"];

export default widget("stitching", TRAITS, (model, root) => {
  const maze = readMaze(model), { S, A } = maze, next = leadsTo(maze), all = [...Array(S).keys()];
  const first = { walks: model.get("walks"), used: model.get("used") };
  const said = readout(), walks = () => model.get("walks");
  let tables, futures, arrows, paths, counts, high, low, hovered, cursor, grabbed;

  // ------------------------------------------------------------ drawing trajectories
  const note = (text) => { said.textContent = text; };
  const pen = () => walks().at(-1)?.at(-1) ?? model.get("start");

  function begin(s) {
    if (walks().length === MOST) { note(`${MOST} trajectories are the most: remove one.`); return false; }
    put(model, { walks: [...walks(), [s]], used: [...model.get("used"), true] });
    return true;
  }
  function extend(s) {
    const last = walks().at(-1), more = between(next, maze, last.at(-1), s);
    put(model, { walks: [...walks().slice(0, -1), [...last, ...more].slice(0, LONGEST)] });
  }

  let drawing = false;
  const tape = mazeCanvas(maze, {
    marker: pen,
    move: (s, phase) => {
      cursor = undefined;
      if (phase === "down") drawing = begin(s);
      else if (phase ? drawing : walks().length || begin(pen())) extend(s);
    },
    read: (s) => { if (s !== cursor) { cursor = s; tape.paint(); } },
    scene: () => ({ over: trails, goal: model.get("goal"), read: cursor }),
  });
  tape.addEventListener("pointerleave", () => { cursor = undefined; tape.paint(); });
  tape.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    begin(cursor ?? model.get("start"));
  });

  function trails(context, centre, size, colour) {
    const [row, column] = centre(model.get("start")); // a ring, for a number may stand inside
    disc(context, column, row, size * 0.4, colour("paper"), colour("mark"));
    walks().forEach((walk, k) => {
      if (!model.get("used")[k]) return;
      const shift = ((k % 4) - 1.5) * 0.16 * size;
      const points = walk.map(centre).map(([y, x]) => [x + shift, y + shift]);
      const ink = colour(["blue", "orange", "green", "ink"][k % 4]), dash = k < 4 ? [] : [4, 3];
      line(context, points, ink, { width: size * 0.13, dash });
      const [[x, y], [u, v]] = [points[0], points.at(-1)], r = size * 0.16;
      line(context, [[u - r, v - r], [u + r, v + r]], ink, { width: 2.5 }); // the end
      line(context, [[u + r, v - r], [u - r, v + r]], ink, { width: 2.5 });
      disc(context, x, y, size * 0.3, ink);
      text(context, String(k + 1), x, y + 0.5, colour("paper"), "center");
    });
  }

  // ------------------------------------------------------------ the two estimates
  const shade = (x) => viridis(1 + Math.log10(x / high) / DEPTH);

  function over(method) {
    return (context, centre, size, colour) => {
      const points = paths[method].map(centre).map(([y, x]) => [x, y]);
      line(context, points, colour("paper"), { width: size * 0.34 });
      line(context, points, colour("blue"), { width: size * 0.19 });
      if (paths[method].at(-1) === model.get("goal")) return;
      const [x, y] = points.at(-1), r = size * 0.36;
      for (const [ink, width] of [["paper", 7], ["orange", 3.5]]) {
        line(context, [[x - r, y - r], [x + r, y + r]], colour(ink), { width });
        line(context, [[x + r, y - r], [x - r, y + r]], colour(ink), { width });
      }
    };
  }

  const maps = METHODS.map((_, method) => {
    const map = mazeCanvas(maze, {
      marker: () => model.get(model.get("held")),
      move: (s, phase) => {
        if (phase === "down") {
          grabbed = ["start", "goal"].find((name) => model.get(name) === s) ?? model.get("held");
        }
        hovered = undefined;
        put(model, { [phase ? grabbed : model.get("held")]: s });
      },
      read: (s) => { hovered = s; tell(); maps.forEach((m) => m.paint()); },
      scene: () => ({
        fill: (s) => (futures[method][s] > 0 ? shade(futures[method][s]).fill : undefined),
        ink: (s) => (futures[method][s] > 0 ? shade(futures[method][s]).ink : undefined),
        arrows: (s) => arrows[method][s],
        over: over(method),
        goal: model.get("goal"),
        start: model.get("start"),
        read: hovered,
      }),
    });
    map.addEventListener("pointerleave", () => {
      hovered = undefined;
      tell();
      maps.forEach((m) => m.paint());
    });
    return map;
  });

  function panel(title, canvas) {
    const node = h("div", { class: "crl-panel" }, h("p", { class: "crl-name" }, title), canvas);
    node.paint = canvas.paint;
    return node;
  }

  const bar = colourBar(() => [low, Math.sqrt(low * high), high].map((x) => pretty(x, 2)));
  bar.removeAttribute("style");
  const legend = h("div", { class: "crl-bar" }, bar);
  legend.paint = bar.paint;

  // ------------------------------------------------------------ controls
  const boxes = h("fieldset", { class: "crl-tapes" }, h("legend", {}, "Trajectories that count"));
  boxes.sync = () => {
    const old = boxes.querySelectorAll("label");
    if (old.length !== walks().length) {
      old.forEach((node) => node.remove());
      walks().forEach((_, k) => {
        const input = h("input", { type: "checkbox", "data-lm-suppress-shortcuts": "true" });
        input.addEventListener("change", () => {
          put(model, { used: model.get("used").map((on, j) => (j === k ? input.checked : on)) });
        });
        boxes.append(h("label", {}, input, h("span")));
      });
    }
    boxes.querySelectorAll("label").forEach((node, k) => {
      node.firstChild.checked = model.get("used")[k];
      node.lastChild.textContent = `${k + 1} (${walks()[k].length - 1} steps)`;
    });
  };

  const buttons = h("div", { class: "crl-buttons" },
    button("Begin one at ●", () => begin(model.get("start"))),
    button("Remove the last", () => put(model, {
      walks: walks().slice(0, -1), used: model.get("used").slice(0, -1),
    })),
    button("As at first", () => put(model, first)));

  const rows = table("What each estimate says and achieves",
    ["futures", "p(★|●)", "greedy walk", "cells that arrive"], METHODS);

  function tell() {
    const s = hovered ?? model.get("goal");
    const [counted, stitched] = futures.map((f) => (f[s] ? pretty(f[s], 3) : "never"));
    note(`${cellName(maze, s)}, as a future of ●: ${counted} inside one trajectory, ` +
      `${stitched} when stitched.`);
  }

  return {
    view: [panel("The tape: draw here", tape), ...maps.map((m, k) =>
      panel(METHODS[k][0].toUpperCase() + METHODS[k].slice(1), m)), legend],
    controls: [
      boxes,
      choice(model, "held", "On the two maps, clicks and arrow keys move", {
        goal: "the goal ★", start: "the start ●",
      }),
      buttons,
      slider(model, "gamma", "discount γ", { min: 0.5, max: 0.99, step: 0.01 }),
      rows,
      said,
    ],
    caption: "Tape: drag to draw a trajectory, from its number to its cross. By keyboard: " +
      "arrow keys extend the last one, Shift and arrows choose a cell, Enter begins one there " +
      "(else at ●). Maps: colours are futures of ● on a log scale, plain cells are never " +
      "futures; arrows are greedy actions to ★, none where no way is known; the line is the " +
      "greedy walk, a large cross is where it gives up or turns in circles.",
    update() {
      const start = model.get("start"), goal = model.get("goal"), gamma = model.get("gamma");
      const kept = walks().filter((_, k) => model.get("used")[k]);
      const world = empirical(kept, next, maze);
      tables = [monteCarlo(kept, next, maze, gamma), occupancy(world, gamma)];
      futures = tables.map((M) => futuresOf(M, world, start));
      arrows = tables.map((M) => all.map((s) => known(M, maze, s, goal)));
      paths = arrows.map((of) => follow(of, next, A, start, goal));
      counts = arrows.map((of) =>
        all.filter((s) => follow(of, next, A, s, goal).at(-1) === goal).length);
      high = Math.max(...futures.flatMap((f) => [...f])) || 1;
      low = high * 10 ** -DEPTH;
      METHODS.forEach((_, k) => {
        const there = paths[k].at(-1) === goal, lost = !arrows[k][paths[k].at(-1)].length;
        rows.fill(k, futures[k][goal] ? pretty(futures[k][goal], 2) : "0",
          there ? `${paths[k].length - 1} steps` : lost ? "knows no way" : "turns in circles",
          `${counts[k]} of ${S}`);
        rows.row(k).classList.toggle("crl-fine", there);
        rows.row(k).classList.toggle("crl-stuck", !there);
      });
      Object.assign(root.dataset, {
        futures: JSON.stringify(futures.map((f) => [...f])),
        paths: JSON.stringify(paths),
        arriving: JSON.stringify(counts),
        walks: JSON.stringify(walks()),
      });
      tell();
      tape.say(`Maze with ${kept.length} trajectories; the pen is at ` +
        `${cellName(maze, pen()).toLowerCase()}`);
      maps.forEach((map, k) => map.say(`Futures of ${cellName(maze, start).toLowerCase()}, ` +
        `${METHODS[k]}; greedy to ${cellName(maze, goal).toLowerCase()}: ` +
        rows.row(k).children[2].textContent));
    },
  };
});
