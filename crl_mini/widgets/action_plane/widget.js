// The plane of actions (dx, dy): what an actor climbs as colours, and its Gaussian on them.

const GRID = 21; // actions along each side of the plane
const EDGE = 1 + 1 / (GRID - 1); // the plane extends half a step beyond its actions
const REACH = 0.05; // metres, within which a press takes a marker
const NUDGE = 0.01; // metres that an arrow key moves
const BLOCK = "rgb(240 227 66)"; // its colour in the tabletop's pictures
const INSIDE = 0.999; // actions beyond it count as clipped: EDGE of crl_mini.actor
const SPAN = 2; // nats below the top, where the colours end
const ARROW = 0.05; // metres, length of the arrow of an action of length one

/** The actions (x, y) of the plane, row by row, y growing. */
export const plane = [...Array(GRID ** 2).keys()].map((k) =>
  [k % GRID, Math.floor(k / GRID)].map((i) => (2 * i) / (GRID - 1) - 1));

/** The critic and the actors that Python shipped. */
export function readNetworks(model) {
  const flat = halves(model.get("weights")), norm = model.get("layer_norm");
  const low = model.get("low"), high = model.get("high"), S = low.length;
  const A = model.get("action_size"), energy = ENERGY[model.get("energy")];
  const scaled = (x) => x.map((v, i) => (2 * (v - low[i])) / (high[i] - low[i]) - 1);
  let at = 0;
  const next = (dIn, sizes) => {
    const found = tower(flat, at, dIn, sizes, norm);
    at = found.end;
    return found;
  };
  const sizes = model.get("sizes"), D = sizes.at(-1);
  const towers = [S + A, S].map((dIn) => next(dIn, sizes));
  const shares = model.get("shares");
  const actors = shares.map(() => next(2 * S, model.get("actor_sizes")));
  const [lowest, highest] = model.get("log_std");
  return {
    /** f(s, a, g) of one state and goal, for each of a list of actions. */
    f(s, actions, g) {
      const state = scaled(s), rows = actions.flatMap((a) => [...state, ...a]);
      const phi = forward(towers[0], Float64Array.from(rows), actions.length);
      const psi = forward(towers[1], Float64Array.from(scaled(g)), 1);
      return Float64Array.from(actions, (_, k) =>
        model.get("scale") * energy(phi, psi, k, 0, D) + model.get("bias"));
    },
    /** The Gaussian before tanh of actor number k: mean and standard deviation. */
    gaussian(k, s, g) {
      const out = [...forward(actors[k], Float64Array.from([...scaled(s), ...scaled(g)]), 1)];
      return { mean: out.slice(0, A),
        std: out.slice(A).map((x) => Math.exp(clamp(x, lowest, highest))) };
    },
    /** The same for any share: on the straight line between those of two trained actors. */
    between(share, s, g) {
      const k = Math.max(1, shares.findIndex((x) => x >= share));
      const by = (share - shares[k - 1]) / (shares[k] - shares[k - 1]);
      const [a, b] = [k - 1, k].map((i) => this.gaussian(i, s, g));
      const mix = (name) => a[name].map((x, i) => x + by * (b[name][i] - x));
      return { mean: mix("mean"), std: mix("std") };
    },
    clone: shares.length - 1,
    typical: model.get("typical"),
  };
}

/** Logarithm of the normal distribution function, to 1e-7 (Chebyshev fit of erfc). */
export function logNdtr(x) {
  const z = Math.abs(x) / Math.SQRT2, t = 1 / (1 + z / 2);
  const fit = [0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807, -0.18628806,
    0.09678418, 0.37409196, 1.00002368, -1.26551223].reduce((total, c) => total * t + c, 0);
  const tail = Math.log(t / 2) + fit - z * z;
  return x < 0 ? tail : Math.log1p(-Math.exp(tail));
}

/** log pi of an action in [-1, 1]^A; entries beyond the edge stand for the whole tail. */
export function logProb({ mean, std }, a) {
  return sum(a.map((x, i) => {
    if (Math.abs(x) >= INSIDE) {
      const beyond = (Math.sign(x) * mean[i] - Math.atanh(INSIDE)) / std[i];
      return logNdtr(beyond) - Math.log1p(-INSIDE);
    }
    const z = (Math.atanh(x) - mean[i]) / std[i];
    return -0.5 * z * z - Math.log(std[i]) - 0.5 * Math.log(2 * Math.PI) - Math.log1p(-x * x);
  }));
}

/** What an actor of this share climbs over the plane, cut at its own mode; f at the mode. */
export function slice(networks, share, s, g) {
  const { mean, std } = networks.between(share, s, g), mode = mean.map(Math.tanh);
  const actions = plane.map((a) => [...a, ...mode.slice(2)]);
  const [here, ...f] = networks.f(s, [mode, ...actions], g);
  const clone = networks.gaussian(networks.clone, s, g);
  const values = f.map((x, k) => ((1 - share) * x) / networks.typical +
    (share && share * logProb(clone, actions[k])));
  return { mean, std, mode, here, values };
}

export default widget("action-plane", ["state", "goal", "share", "moved"], (model, root) => {
  const networks = readNetworks(model), block = model.get("block"), said = readout();
  const low = model.get("low"), high = model.get("high");
  let view, best, ends = [0, 0, 0], begun;

  /** Position of a marker on the table, and the state with the marker at (x, y). */
  const place = (name) => model.get(name).slice(0, 2);
  function moveTo(where, name) {
    const [x, y] = where.map((v, i) => clamp(v, low[i], high[i]));
    const to = [...model.get(name)];
    to.splice(0, 2, x, y);
    if (block && name === "goal") to.splice(block, 2, x, y); // the hand holds the block there
    put(model, { moved: name, [name]: to });
  }

  // ---- the table from above
  const wide = high[0] - low[0], deep = high[1] - low[1];
  let unit = 1;
  const onScreen = ([x, y]) => [(x - low[0]) * unit, (high[1] - y) * unit];
  const table = picture(`aspect-ratio: ${wide} / ${deep}`, (context, width, height, colour) => {
    unit = width / wide;
    context.fillStyle = colour("tile");
    context.fillRect(0, 0, width, height);
    for (const at of [-0.1, 0, 0.1]) {
      line(context, [onScreen([at, low[1]]), onScreen([at, high[1]])], colour("line"), { width: 1 });
      line(context, [onScreen([low[0], at]), onScreen([high[0], at])], colour("line"), { width: 1 });
    }
    text(context, "x →", width - 6, height - 10, colour("soft"), "right");
    text(context, "y ↑", 6, 12, colour("soft"));
    const hand = place("state"), tip = hand.map((x, i) => x + ARROW * view.mode[i]);
    if (block) {
      const [x, y] = onScreen(model.get("state").slice(block, block + 2)), side = 0.04 * unit;
      Object.assign(context, { fillStyle: BLOCK, strokeStyle: "#14181d", lineWidth: 1 });
      context.fillRect(x - side / 2, y - side / 2, side, side);
      context.strokeRect(x - side / 2, y - side / 2, side, side);
    }
    star(context, ...onScreen(place("goal")), 12, colour("mark"));
    line(context, [onScreen(hand), onScreen(tip)], colour("blue"), { width: 3 });
    disc(context, ...onScreen(hand), 8, colour("blue"), "#ffffff");
  });
  draggable(table, (x, y, phase) => {
    if (phase === "hover") return;
    const where = [low[0] + x / unit, high[1] - y / unit];
    const far = (name) => Math.hypot(...place(name).map((v, i) => v - where[i]));
    const near = far("state") < far("goal") ? "state" : "goal";
    const grabbed = phase === "down" && far(near) < REACH;
    moveTo(where, grabbed ? near : model.get("moved"));
  });
  table.tabIndex = 0;
  table.setAttribute("role", "application"); // it takes arrow keys: see maze.js
  table.setAttribute("aria-roledescription", "table");
  table.addEventListener("keydown", (event) => {
    const step = ARROW_KEYS[event.key];
    if (!step) return;
    event.preventDefault();
    const moved = model.get("moved"), [x, y] = place(moved);
    moveTo([x + NUDGE * step[1], y - NUDGE * step[0]], moved);
  });

  // ---- the plane of actions
  const coarse = h("canvas", { width: GRID, height: GRID });
  const heat = picture("aspect-ratio: 1", (context, width) => {
    const dots = coarse.getContext("2d"), image = dots.createImageData(GRID, GRID);
    const by = 255 / Math.max(ends.high - ends.low, 1e-9);
    view.values.forEach((f, k) => {
      const row = GRID - 1 - Math.floor(k / GRID); // y grows upwards
      const shade = RAMP[Math.round(Math.max(f - ends.low, 0) * by)];
      image.data.set([...shade, 255], 4 * (row * GRID + (k % GRID)));
    });
    dots.putImageData(image, 0, 0);
    context.imageSmoothingEnabled = true;
    context.drawImage(coarse, 0, 0, width, width);
    const at = ([x, y]) => [x, -y].map((v) => ((v + EDGE) * width) / (2 * EDGE));
    for (const ends_ of [[[-EDGE, 0], [EDGE, 0]], [[0, -EDGE], [0, EDGE]]]) {
      line(context, ends_.map(at), "rgba(255, 255, 255, 0.5)", { width: 1 });
    }
    for (const [shade, thick] of [["#000000", 4], ["#ffffff", 2]]) {
      for (const k of [1, 2]) line(context, outline(k).map(at), shade, { width: thick });
    }
    const [x, y] = at(plane[best]);
    for (const [shade, thick] of [["#000000", 5], ["#ffffff", 2.5]]) {
      line(context, [[x - 6, y - 6], [x + 6, y + 6]], shade, { width: thick });
      line(context, [[x - 6, y + 6], [x + 6, y - 6]], shade, { width: thick });
    }
    disc(context, ...at(view.mode), 5, "#ffffff", "#000000");
    context.font = "bold 12px system-ui, sans-serif";
    Object.assign(context, { lineWidth: 3, strokeStyle: "#000000" });
    for (const [label, i, j, align] of [["dx →", width - 6, width / 2 - 10, "right"],
      ["dy ↑", width / 2 + 6, 12, "left"]]) {
      Object.assign(context, { textAlign: align, textBaseline: "middle" });
      context.strokeText(label, i, j);
      text(context, label, i, j, "#ffffff", align);
    }
    if (begun) root.dataset.milliseconds = performance.now() - begun; // numbers and plots
    begun = undefined;
  });

  /** The curve at k standard deviations before tanh, squashed as the actions are. */
  const outline = (k) => [...Array(61).keys()].map((i) => (2 * Math.PI * i) / 60).map((t) =>
    [Math.cos, Math.sin].map((turn, j) => Math.tanh(view.mean[j] + k * view.std[j] * turn(t))));

  const vector = (xs) => `(${xs.map((x) => fixed(x, 2)).join(", ")})`;
  return {
    view: [heat, colourBar(() => ends)],
    controls: [
      table,
      slider(model, "share", "share of cloning, β", { min: 0, max: 1, step: 0.01,
        show: (x) => `${fixed(x, 2)}${model.get("shares").includes(x) ? " (trained)" : ""}` }),
      choice(model, "moved", "Arrow keys move", { goal: "goal", state: "hand" }),
      said,
    ],
    caption: "Drag the star (goal) or the disc (hand), or focus the table and press the arrow " +
      "keys; yellow: the block. Colours: what the actor climbs, (1 − β) f / mean |f| + β log π " +
      "of the cloned actor, over dx and dy, the other entries at the actor's mode. White: the " +
      "mode and the outlines at one and two standard deviations, after tanh; trained at β = " +
      `${model.get("shares").join(", ")}, on straight lines between. Cross: the top of the plane.`,
    update() {
      begun = performance.now();
      const share = model.get("share");
      view = slice(networks, share, model.get("state"), model.get("goal"));
      const [bottom, top] = range(view.values), low_ = Math.max(bottom, top - SPAN);
      best = view.values.indexOf(top);
      ends = [low_, (low_ + top) / 2, top].map((x) => fixed(x, 1));
      Object.assign(ends, { low: low_, high: top });
      said.textContent = `Mode (dx, dy, dz, gripper) ${vector(view.mode)}: ` +
        `f = ${fixed(view.here, 2)}. Best of the plane for β = ${fixed(share, 2)}: ` +
        `(dx, dy) ${vector(plane[best])}.`;
      const hand = place("state"), goal = place("goal");
      heat.say(`Plane of actions coloured by what the actor climbs. ${said.textContent}`);
      table.say(`Table from above. Hand at ${vector(hand)}, goal at ${vector(goal)}, in metres.`);
      Object.assign(root.dataset, { f: view.here, top, low: bottom, best,
        mode: JSON.stringify(view.mode), mean: JSON.stringify(view.mean),
        std: JSON.stringify(view.std), state: JSON.stringify(model.get("state")),
        goal: JSON.stringify(model.get("goal")) });
    },
  };
});
