// phi(s, a), psi(g) and the critic over a maze; a walk to where the critic points.

const FINE = 5; // places in a cell, along each side
const DIRECTIONS = 16;
const ARROW = 0.9; // cells, length of the arrow of an action of length one

/** The critics that Python shipped, by the names of their energies. */
export function readCritics(model) {
  const names = model.get("energies"), sizes = model.get("sizes"), D = sizes.at(-1);
  const norm = model.get("layer_norm"), flat = array(Float32Array, model.get("weights"));
  const planes = array(Float32Array, model.get("projections"));
  const [rows, columns] = model.get("shape");
  const scaled = ([x, y]) => [(2 * x) / columns - 1, (2 * y) / rows - 1];
  const constants = flat.subarray(flat.length - 2 * names.length);
  let at = 0;
  return Object.fromEntries(names.map((name, k) => {
    const towers = [4, 2].map((dIn) => {
      const found = tower(flat, at, dIn, sizes, norm);
      at = found.end;
      return found;
    });
    const [bias, logScale] = constants.subarray(2 * k, 2 * k + 2);
    const plane = planes.subarray(3 * D * k, 3 * D * (k + 1)), energy = ENERGY[name];
    return [name, {
      D,
      /** phi (n, D) of places and actions, lists of pairs. */
      phi: (s, a) => forward(towers[0],
        Float64Array.from(s.flatMap((p, i) => [...scaled(p), ...a[i]])), s.length),
      /** psi (n, D) of places. */
      psi: (g) => forward(towers[1], Float64Array.from(g.flatMap(scaled)), g.length),
      /** The logit of phi number i and psi number j. */
      f: (phi, psi, i, j) => Math.exp(logScale) * energy(phi, psi, i, j, D) + bias,
      /** Position of vector i in the plane of the largest variance of psi. */
      project: (x, i) => {
        const length = name === "cosine" ? Math.sqrt(dot(x, x, i, i, D)) : 1;
        return [0, 1].map((axis) => {
          let total = 0;
          for (let d = 0; d < D; d++) {
            total += (x[i * D + d] / length - plane[d]) * plane[D + 2 * d + axis];
          }
          return total;
        });
      },
    }];
  }));
}

/** FINE x FINE places in every free cell, and the pixel (column, row) of each. */
export function places(cells) {
  const points = [], pixels = [];
  const inner = [...Array(FINE).keys()];
  cells.forEach(([r, c]) => inner.forEach((i) => inner.forEach((j) => {
    points.push([c + (j + 0.5) / FINE, r + (i + 0.5) / FINE]);
    pixels.push([c * FINE + j, r * FINE + i]);
  })));
  return { points, pixels };
}

/** Actions of length one around the circle, from the right, clockwise on the screen. */
export const compass = [...Array(DIRECTIONS).keys()].map((k) =>
  [Math.cos, Math.sin].map((turn) => turn((2 * Math.PI * k) / DIRECTIONS)));

/** Where an action leads, sliding along walls: `move` of crl_mini.envs.maze, in its 32 bits. */
export function moved({ step, substeps }, free, place, action) {
  const at = place.map(Math.fround);
  const part = action.map((x) => Math.fround(
    Math.fround(clamp(x, -1, 1)) * Math.fround(step / substeps)));
  for (let k = 0; k < substeps; k++) {
    for (const axis of [0, 1]) {
      const from = at[axis];
      at[axis] = Math.fround(from + part[axis]);
      if (!free(at)) at[axis] = from;
    }
  }
  return at;
}

/**
 * A walk that takes the best direction at each step, until it is at the goal, comes back to a
 * place or is too long: its places, one more than its actions, and how it ended.
 */
export function greedyWalk(critic, rules, free, start, g) {
  const far = (p, q) => Math.hypot(p[0] - q[0], p[1] - q[1]), psi = critic.psi([g]);
  const places = [start], actions = [];
  let arrived = false, again = false;
  while (!arrived && !again && actions.length < LONGEST) {
    const s = places.at(-1), phi = critic.phi(compass.map(() => s), compass);
    const f = compass.map((_, k) => critic.f(phi, psi, k, 0));
    actions.push(compass[f.indexOf(Math.max(...f))]);
    const next = moved(rules, free, s, actions.at(-1));
    arrived = far(next, g) < rules.radius;
    again = places.some((p) => far(p, next) < 0.01);
    places.push(next);
  }
  return { places, actions, arrived, again, left: far(places.at(-1), g) };
}

const NAMES = { dot: "dot", l2: "L2", cosine: "cosine" };
const LONGEST = 100; // steps of a walk
const TRAITS = ["state", "action", "goal", "energy", "over", "moved"];

export default widget("representation-explorer", TRAITS, (model, root) => {
  const critics = readCritics(model), cells = model.get("cells");
  const [rows, columns] = model.get("shape"), said = readout();
  const { points, pixels } = places(cells), middles = cells.map(([r, c]) => [c + 0.5, r + 0.5]);
  const key = ([x, y]) => Math.floor(y) * columns + Math.floor(x);
  const numbers = new Map(middles.map((p, k) => [key(p), k]));
  const free = ([x, y]) => x >= 0 && x < columns && numbers.has(key([x, y]));
  const repeated = (x, n) => Array(n).fill(x);
  const links = middles.flatMap((p, k) => [[1, 0], [0, 1]]
    .map((step) => numbers.get(key([p[0] + step[0], p[1] + step[1]])))
    .filter((other) => other !== undefined).map((other) => [k, other]));
  for (const critic of Object.values(critics)) { // no drag changes these
    critic.finePsi = critic.psi(points);
    const psi = critic.psi(middles);
    critic.map = middles.map((_, k) => critic.project(psi, k));
    const rays = compass.filter((_, k) => k % 4 === 0).flatMap((a) => {
      const phi = critic.phi(middles, repeated(a, middles.length));
      return middles.map((_, k) => critic.project(phi, k));
    });
    const all = [...critic.map, ...rays];
    critic.box = [0, 1].map((axis) => range(all.map((p) => p[axis])));
  }
  const rules = model.get("rules"); // step, substeps, radius of the point in the maze
  let values, ends = [0, 0, 0], spots, begun, trail = [], halt, outcome = "", walked;
  const gone = () => { halt?.(); [halt, trail, outcome] = [undefined, [], ""]; walker.sync(); };

  function compute() {
    const critic = critics[model.get("energy")];
    const s = model.get("state"), a = model.get("action"), g = model.get("goal");
    const psi = critic.psi([g]), phi = critic.phi(repeated(s, 1 + DIRECTIONS), [a, ...compass]);
    const overGoals = model.get("over") === "goals";
    const others = overGoals ? critic.finePsi : critic.phi(points, repeated(a, points.length));
    values = Float64Array.from(points, (_, k) =>
      (overGoals ? critic.f(phi, others, 0, k) : critic.f(others, psi, k, 0)));
    const [low, high] = range(values), ring = [...Array(1 + DIRECTIONS).keys()];
    const f = ring.map((k) => critic.f(phi, psi, k, 0)), best = f.indexOf(Math.max(...f.slice(1)), 1);
    ends = [low, (low + high) / 2, high].map((x) => fixed(x, 1));
    spots = { best: best - 1, f: f[0], top: f[best], low, high, goal: critic.project(psi, 0),
      phi: ring.map((k) => critic.project(phi, k)), critic };
  }

  // ---- the maze
  const crop = 0.6, wide = columns - 2 * crop, high = rows - 2 * crop; // of the outer wall
  const coarse = h("canvas", { width: columns * FINE, height: rows * FINE });
  let size = 1;
  const onScreen = ([x, y]) => [(x - crop) * size, (y - crop) * size];
  const tip = () => model.get("state").map((x, k) => x + ARROW * model.get("action")[k]);
  const canvas = picture(`aspect-ratio: ${wide} / ${high}`, (context, width, height, colour) => {
    size = width / wide;
    context.fillStyle = colour("wall");
    context.fillRect(0, 0, width, height);
    const dots = coarse.getContext("2d"), image = dots.createImageData(coarse.width, coarse.height);
    const scale = 255 / Math.max(spots.high - spots.low, 1e-9);
    pixels.forEach(([x, y], k) => {
      const rgb = RAMP[Math.round((values[k] - spots.low) * scale)];
      image.data.set([...rgb, 255], 4 * (y * coarse.width + x));
    });
    dots.putImageData(image, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(coarse, -crop * size, -crop * size, columns * size, rows * size);
    const path = [...trail.map((one) => one.place), model.get("state")].map(onScreen);
    for (const [shade, wideness] of [["#ffffff", 5], [colour("mark"), 2.5]]) {
      if (trail.length) line(context, path, shade, { width: wideness });
    }
    const [sx, sy] = onScreen(model.get("state")), [tx, ty] = onScreen(tip());
    for (const [shade, wideness] of [["#ffffff", 6], [colour("mark"), 3]]) {
      line(context, [[sx, sy], [tx, ty]], shade, { width: wideness });
    }
    disc(context, tx, ty, size * 0.2, "#ffffff", colour("mark"));
    disc(context, sx, sy, size * 0.34, colour("mark"), "#ffffff");
    star(context, ...onScreen(model.get("goal")), size * 0.5, colour("mark"));
  });

  /** The marker that a press takes: one within reach, or else the chosen one jumps. */
  function nearest(place) {
    const far = (p) => Math.hypot(p[0] - place[0], p[1] - place[1]);
    const marks = [["action", tip()], ["state", model.get("state")], ["goal", model.get("goal")]];
    const [name, where] = marks.reduce((a, b) => (far(b[1]) < far(a[1]) ? b : a));
    return far(where) < 0.8 ? name : model.get("moved");
  }
  function moveTo(place, moved) {
    gone();
    const s = model.get("state"), a = place.map((x, k) => clamp((x - s[k]) / ARROW, -1, 1));
    if (moved === "action") put(model, { moved, action: a });
    else if (free(place)) put(model, { moved, [moved]: place });
    else put(model, { moved });
  }
  draggable(canvas, (x, y, phase) => {
    if (phase === "hover") return;
    const place = [x / size + crop, y / size + crop];
    moveTo(place, phase === "down" ? nearest(place) : model.get("moved"));
  });
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application"); // it takes arrow keys: see maze.js
  canvas.setAttribute("aria-roledescription", "maze");
  canvas.addEventListener("keydown", (event) => {
    const step = ARROW_KEYS[event.key];
    if (!step) return;
    event.preventDefault();
    const moved = model.get("moved"), from = moved === "action" ? tip() : model.get(moved);
    moveTo([from[0] + 0.25 * step[1], from[1] + 0.25 * step[0]], moved);
  });

  // ---- a walk: at each step the best of all directions
  const walker = button("", () => {
    const going = halt;
    gone();
    if (!going) begin();
  });
  walker.sync = () => { walker.textContent = halt ? "Stop" : "Walk greedily"; };
  walker.sync();

  function begin() {
    const critic = critics[model.get("energy")];
    const plan = greedyWalk(critic, rules, free, model.get("state"), model.get("goal"));
    const { places, actions } = plan, steps = actions.length;
    const phi = critic.phi(places.slice(0, -1), actions);
    const step = (k) => { // k steps are done
      trail = actions.slice(0, k).map((_, i) => ({ place: places[i], at: critic.project(phi, i) }));
      if (k === steps) [halt, outcome] = [halt?.(), ending(plan, steps)];
      put(model, { state: places[k], action: actions[k - 1] });
      return k < steps;
    };
    let done = 0;
    walked = model.get("energy");
    if (still()) step(steps);
    else halt = ticking(root, 6, () => step(++done));
    walker.sync();
  }
  const ending = ({ arrived, again, left }, steps) => (arrived ? `It arrived after ${steps} steps. `
    : `It gave up after ${steps} steps, ${fixed(left, 1)} cells from the goal` +
      `${again ? ": it comes back to where it was" : ""}. `);

  // ---- the plane
  const plane = picture("aspect-ratio: 1", (context, width, height, colour) => {
    const { critic, phi, goal } = spots, [[left, right], [low, top]] = critic.box, rim = 14;
    const unit = Math.min((width - 2 * rim) / (right - left), (height - 2 * rim) / (top - low));
    const at = ([x, y]) => [width / 2 + (x - (left + right) / 2) * unit,
      height / 2 + (y - (low + top) / 2) * unit];
    links.forEach(([i, j]) =>
      line(context, [at(critic.map[i]), at(critic.map[j])], colour("line"), { width: 1 }));
    critic.map.forEach((p) => disc(context, ...at(p), 2.5, colour("soft")));
    const path = [...trail.map((one) => one.at), phi[0]].map(at);
    if (trail.length) line(context, path, colour("mark"));
    line(context, [...phi.slice(1), phi[1]].map(at), colour("blue"), { width: 2 });
    line(context, [at(phi[0]), at(goal)], colour("mark"), { width: 1.5, dash: [4, 4] });
    star(context, ...at(goal), 10, colour("mark"));
    disc(context, ...at(phi[0]), 6, colour("mark"), colour("paper"));
    if (begun) root.dataset.milliseconds = performance.now() - begun; // numbers and plots
    begun = undefined;
  });

  const place = (p) => `(${p.map((x) => fixed(x, 2)).join(", ")})`;
  const ways = ["right", "right and down", "down", "left and down", "left", "left and up",
    "up", "right and up"];
  function tell() {
    const way = ways[Math.round((spots.best * ways.length) / DIRECTIONS) % ways.length];
    said.textContent = `${outcome}s ${place(model.get("state"))}, a ${place(model.get("action"))}, ` +
      `g ${place(model.get("goal"))}: f = ${fixed(spots.f, 3)}. The best of ${DIRECTIONS} ` +
      `directions is ${way}: f = ${fixed(spots.top, 3)}.`;
  }

  return {
    view: [canvas, colourBar(() => ends), plane],
    controls: [
      choice(model, "energy", "Energy", Object.fromEntries(
        model.get("energies").map((name) => [name, NAMES[name]]))),
      choice(model, "over", "Colours", { goals: "f(s, a, ·)", states: "f(·, a, g)" }),
      choice(model, "moved", "Arrow keys move", { state: "s", action: "a", goal: "g" }),
      h("div", { class: "crl-buttons" }, walker),
      said,
    ],
    caption: "Drag the disc (state), its arrow (action) or the star (goal), or focus the maze " +
      "and press the arrow keys. Plane: ψ of every cell, neighbours linked; disc: φ(s, a); " +
      "blue: φ(s, ·) for all directions; star: ψ(g). A greedy walk takes the best direction at " +
      "each step; its line runs through both pictures. Colours span what is shown. " +
      "In this plane, lengths mean nothing for the dot product.",
    update() {
      begun = performance.now();
      if (trail.length && model.get("energy") !== walked) gone(); // it followed another critic
      compute();
      tell();
      const { textContent } = said;
      canvas.say(`Maze coloured by the critic. ${textContent}`);
      plane.say(`Plane of the representation. ${textContent}`);
      Object.assign(root.dataset, { f: spots.f, best: spots.best, low: spots.low,
        high: spots.high, at: JSON.stringify(spots.phi[0]), goal: JSON.stringify(spots.goal),
        state: JSON.stringify(model.get("state")), action: JSON.stringify(model.get("action")),
        marked: JSON.stringify(model.get("goal")),
        trail: JSON.stringify(trail.map((one) => one.place)), outcome });
    },
  };
});
