// Optimal logits plus an offset that a loss cannot see: which greedy arrows break?

/** f*[s, a, g] = log M - log p(g) - log(B - 1), with (s, a) uniform. */
export function optimalLogits(M, S, A, batch) {
  const p = new Float64Array(S);
  M.forEach((m, k) => { p[k % S] += m / (S * A); });
  return M.map((m, k) => Math.log(m) - Math.log(p[k % S]) - Math.log(batch - 1));
}

/** f* plus size times a seeded normal number for each (s, a) or each g. */
export function shifted(f, S, { kind, size, seed }) {
  if (kind === "none") return f;
  const z = normals(seed, kind === "goal" ? S : f.length / S);
  return f.map((x, k) => x + size * z[kind === "goal" ? k % S : Math.floor(k / S)]);
}

/** Greedy actions at s for goal g of logits f[s, a, g]; ties are those of exp f. */
export function greedy(f, S, A, s, g) {
  const values = Array.from({ length: A }, (_, a) => f[(s * A + a) * S + g]);
  const top = Math.max(...values);
  return best(values.map((x) => Math.exp(x - top)));
}

/** The logits (B, B) of a batch of triples (s, a, g). */
export function batchLogits(f, S, A, triples) {
  return triples.flatMap(([s, a]) => triples.map(([, , g]) => f[(s * A + a) * S + g]));
}

export default widget("free-offsets", ["gamma", "kind", "size", "seed", "goal"], (model, root) => {
  const maze = readMaze(model), { S, A } = maze, batch = model.get("batch"), said = readout();
  let gamma, f, truth, before, moved, broken, shown, hovered;
  const goal = () => model.get("goal");

  function solveFor(discount) {
    gamma = discount;
    f = optimalLogits(occupancy(maze, gamma), S, A, batch.length);
    truth = Array.from({ length: S * S }, (_, k) => greedy(f, S, A, Math.floor(k / S), k % S));
    before = losses(batchLogits(f, S, A, batch), batch.length);
  }

  function add(options) {
    moved = shifted(f, S, options);
    broken = truth.map((good, k) =>
      greedy(moved, S, A, Math.floor(k / S), k % S).some((a) => !good.includes(a)));
    const after = losses(batchLogits(moved, S, A, batch), batch.length);
    Object.keys(names).forEach((key, k) => {
      const change = after[key] - before[key], still = Math.abs(change) < 1e-9;
      rows.fill(k, fixed(before[key], 4), fixed(after[key], 4),
        still ? "none" : (change > 0 ? "+" : "") + fixed(change, 4));
      rows.row(k).classList.toggle("crl-still", still);
    });
    root.dataset.brokenAll = broken.filter(Boolean).length;
    root.dataset.losses = JSON.stringify({ before, after });
  }

  const canvas = mazeCanvas(maze, {
    marker: goal,
    move: (s) => { hovered = undefined; put(model, { goal: s }); },
    read: (s) => { hovered = s; tell(); canvas.paint(); },
    scene: () => ({
      arrows: (s) => greedy(moved, S, A, s, goal()),
      broken: (s) => broken[s * S + goal()],
      goal: goal(),
      read: hovered,
    }),
  });
  canvas.addEventListener("pointerleave", () => { hovered = undefined; tell(); canvas.paint(); });

  const names = { ...LOSS_NAMES, logsumexp: "logsumexp penalty" };
  const rows = table("Losses without and with the offset",
    ["loss of one batch", "f*", "with c", "change"], Object.values(names));

  function tell() {
    const all = root.dataset.brokenAll / (S * S);
    const listed = (list) => list.map((a) => ACTIONS[a]).join(" or ");
    said.textContent = hovered === undefined
      ? `Goal in ${cellName(maze, goal()).toLowerCase()}: ${root.dataset.broken} of ${S} ` +
        `cells are broken. Over all goals: ${fixed(100 * all, 1)} %.`
      : `${cellName(maze, hovered)}: f* prefers ${listed(truth[hovered * S + goal()])}; ` +
        `now ${listed(greedy(moved, S, A, hovered, goal()))}.`;
  }

  return {
    view: [canvas],
    controls: [
      choice(model, "kind", "Add to f*", { none: "nothing", pair: "c(s, a)", goal: "c(g)" }),
      slider(model, "size", "size of the offset", {
        min: 0, max: 3, step: 0.05, show: (x) => `${fixed(x, 2)} nats`,
      }),
      h("div", { class: "crl-buttons" },
        button("Sample another offset", () => put(model, { seed: model.get("seed") + 1 }))),
      rows,
      said,
    ],
    caption: "Drag the star, or focus the maze and press the arrow keys (with Shift they read " +
      "cells). A broken cell, tinted and crossed, takes an action that f* does not rank " +
      "first. A loss that shows no change cannot see the offset.",
    update() {
      const options = { kind: model.get("kind"), size: model.get("size"), seed: model.get("seed") };
      const now = JSON.stringify([options, model.get("gamma")]);
      if (model.get("gamma") !== gamma) solveFor(model.get("gamma"));
      if (now !== shown) add(options); // moving the goal needs no new losses
      shown = now;
      root.dataset.broken = broken.filter((bad, k) => bad && k % S === goal()).length;
      root.dataset.marker = goal();
      tell();
      canvas.say(`Maze with greedy arrows, goal in ${cellName(maze, goal()).toLowerCase()}; ` +
        `${root.dataset.broken} of ${S} cells broken`);
    },
  };
});
