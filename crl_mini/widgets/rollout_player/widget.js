// A rollout on one scrubber: frames, the critic's value, the representation, the action.

/** The arrays that Python shipped. */
export function readRollouts(model) {
  const [R, T, H, W, D] = model.get("shape");
  const [phi, psi, plane, moves] = ["phi", "psi", "projection", "moves"].map((name) =>
    array(Float32Array, model.get(name)));
  const reached = array(Uint8Array, model.get("reached"));
  const f = (r, t, g) => model.get("scale") *
    ENERGY[model.get("energy")](phi, psi, r * T + t, g, D) + model.get("bias");
  /** Place of row i of x, (n, D), on the two principal axes. */
  const project = (x, i) => [0, 1].map((axis) => {
    let total = 0;
    for (let k = 0; k < D; k++) {
      total += (x[i * D + k] - plane[k]) * plane[D + 2 * k + axis];
    }
    return total;
  });
  const action = (which, r, t) => [...moves.subarray(
    ((which * R + r) * T + t) * 4, ((which * R + r) * T + t + 1) * 4)];
  return { R, T, H, W, D, phi, psi, f, project, action,
    path: (r) => Array.from({ length: T }, (_, t) => project(phi, r * T + t)),
    goalAt: (g) => project(psi, g),
    curve: (r, g) => Array.from({ length: T }, (_, t) => f(r, t, g)),
    ok: (r, t) => t > 0 && reached[r * T + t - 1] === 1 };
}

/** Linear map of [low, high] to [from, to]; an empty range maps to the middle. */
export const linear = (low, high, from, to) => (x) =>
  (high > low ? from + ((x - low) / (high - low)) * (to - from) : (from + to) / 2);

const MOMENTS = 10; // frames a second; frames of a jump where readers want no motion

export default widget("rollout-player", ["rollout", "goal", "t"], (model, root) => {
  const all = readRollouts(model), { R, T, H, W } = all, said = readout();
  const now = () => ["rollout", "goal", "t"].map((name) => model.get(name));
  const paths = [...Array(R).keys()].map(all.path), goals = [...Array(R).keys()].map(all.goalAt);
  const every = goals.flatMap((_, r) => goals.flatMap((_, g) => all.curve(r, g)));
  const low = Math.min(...every), high = Math.max(...every); // one scale for all curves
  let sheet;

  createImageBitmap(new Blob([array(Uint8Array, model.get("sheet"))])).then((decoded) => {
    sheet = decoded;
    root.dataset.ready = "true";
    film.paint();
  });

  /** The picture in a row and column of the sheet, with a frame if the goal is reached. */
  function frame(context, row, column, x, y, side, sign) {
    context.imageSmoothingEnabled = false;
    if (sheet) context.drawImage(sheet, column * W, row * H, W, H, x, y, side, (side * H) / W);
    if (!sign) return;
    Object.assign(context, { strokeStyle: sign, lineWidth: 4 });
    context.strokeRect(x + 2, y + 2, side - 4, (side * H) / W - 4);
  }

  const film = picture("aspect-ratio: 2 / 1.1", (context, width, height, colour) => {
    const [r, g, t] = now(), gap = 8, side = (width - gap) / 2, top = height - (side * H) / W;
    text(context, `step ${t}`, 0, top / 2, colour("ink"));
    text(context, g === r ? "its goal" : `goal ${g + 1}`, side + gap, top / 2, colour("ink"));
    frame(context, r, t, 0, top, side, all.ok(r, t) && colour("green"));
    frame(context, g, T + 1, side + gap, top, side);
  });
  film.tabIndex = 0;
  film.setAttribute("role", "application"); // it takes arrow keys
  film.setAttribute("aria-roledescription", "film");
  film.addEventListener("keydown", (event) => {
    const step = ARROW_KEYS[event.key];
    if (!step) return;
    event.preventDefault();
    stop();
    put(model, { t: clamp(model.get("t") + step[1] - 10 * step[0], 0, T) });
  });

  const curve = picture("aspect-ratio: 1 / 0.42; min-height: 120px",
    (context, width, height, colour) => {
      const [r, g, t] = now(), own = all.curve(r, r), asked = all.curve(r, g);
      const x = linear(0, T, 6, width - 6), y = linear(low, high, height - 20, 24);
      const at = Math.min(t, T - 1);
      line(context, [[x(t), 16], [x(t), height - 14]], colour("line"), { width: 2 });
      if (g !== r) {
        line(context, own.map((f, k) => [x(k), y(f)]), colour("soft"),
          { width: 1.5, dash: [4, 3] });
      }
      line(context, asked.map((f, k) => [x(k), y(f)]), colour("blue"));
      disc(context, x(at), y(asked[at]), 5, colour("blue"), colour("paper"));
      text(context, `f(s, a, goal ${g + 1})`, 2, 8, colour("blue"));
      if (g !== r) text(context, "dashed: its own goal", width - 2, 8, colour("soft"), "right");
      axis(context, ["step 0", `${fixed(low, 1)} to ${fixed(high, 1)}`, String(T)],
        height - 6, width, colour("soft"));
    });
  draggable(curve, (x, _, phase) => {
    if (phase === "hover") return;
    stop();
    const width = curve.clientWidth;
    put(model, { t: Math.round(clamp(linear(6, width - 6, 0, T)(x), 0, T)) });
  });

  const plane = picture("aspect-ratio: 1 / 0.62", (context, width, height, colour) => {
    const [r, g, t] = now(), points = [...paths.flat(), ...goals];
    const ends = [0, 1].map((k) => points.map((p) => p[k]));
    const unit = Math.min(...ends.map((values, k) =>
      ([width, height][k] - 30) / (Math.max(...values) - Math.min(...values) || 1)));
    const [mx, my] = ends.map((values) => (Math.max(...values) + Math.min(...values)) / 2);
    const at = ([x, y]) => [width / 2 + (x - mx) * unit, height / 2 - (y - my) * unit];
    paths.forEach((path, k) => {
      if (k !== r) line(context, path.map(at), colour("line"), { width: 1 });
    });
    line(context, paths[r].map(at), colour("blue"), { width: 2 });
    goals.forEach((goal, k) => {
      const [x, y] = at(goal);
      if (k !== g) disc(context, x, y, 4, colour("soft"));
    });
    star(context, ...at(goals[g]), 10, colour("mark"));
    disc(context, ...at(paths[r][Math.min(t, T - 1)]), 6, colour("blue"), colour("paper"));
    text(context, "two principal axes of φ and ψ", 2, 8, colour("soft"));
  });

  /** Two actions: an arrow seen from above, a bar up or down, two fingers. */
  const pads = picture("aspect-ratio: 1 / 0.42; min-height: 120px",
    (context, width, height, colour) => {
      const [r, , t] = now(), k = Math.min(t, T - 1), half = width / 2;
      [["actor", "blue"], ["best under f", "orange"]].forEach(([name, ink], which) => {
        const [dx, dy, dz, grip] = all.action(which, r, k);
        const left = which * half, size = Math.min(height - 44, half * 0.42);
        const cx = left + size / 2 + 4, cy = 22 + size / 2, shade = colour(ink);
        text(context, name, left + 2, 8, shade);
        context.lineWidth = 1;
        context.strokeStyle = colour("line");
        context.strokeRect(cx - size / 2, cy - size / 2, size, size);
        const tip = [cx + (dx * size) / 2, cy - (dy * size) / 2];
        line(context, [[cx, cy], tip], shade, { width: 3, dash: which ? [5, 3] : [] });
        disc(context, ...tip, 4, shade);
        const bx = left + size + 18, gx = left + size + 44 + size * 0.12;
        line(context, [[bx - 6, cy], [bx + 6, cy]], colour("line"), { width: 1 });
        line(context, [[bx, cy], [bx, cy - (dz * size) / 2]], shade, { width: 8 });
        const wide = 4 + ((1 + grip) / 2) * Math.min(16, half * 0.1);
        for (const side of [-1, 1]) {
          const x = gx + side * wide;
          line(context, [[x, cy - size * 0.3], [x, cy + size * 0.3]], shade, { width: 4 });
        }
        text(context, "dx, dy", cx, cy + size / 2 + 12, colour("soft"), "center");
        text(context, "dz", bx, cy + size / 2 + 12, colour("soft"), "center");
        text(context, "fingers", gx, cy + size / 2 + 12, colour("soft"), "center");
      });
    });

  const play = player(model, root, "t", T, { rate: MOMENTS, jump: MOMENTS, said, film });
  const stop = () => play.stop();

  const names = [...Array(R).keys()].map((r) =>
    [r, `${r + 1}: ${all.ok(r, T) ? "reached" : "missed"}`]);
  const chosen = select(model, "rollout", "Rollout and its goal", Object.fromEntries(names));
  chosen.addEventListener("change", () => {
    stop();
    put(model, { goal: model.get("rollout"), t: 0 });
  });
  const scrubber = slider(model, "t", "step", { min: 0, max: T, step: 1 });
  for (const kind of ["pointerdown", "keydown"]) scrubber.addEventListener(kind, stop);

  return {
    view: [film, scrubber, play, plane],
    controls: [
      chosen,
      select(model, "goal", "Ask the critic about", Object.fromEntries(
        [...Array(R).keys()].map((g) => [g, `goal ${g + 1}`]))),
      curve, pads, said,
    ],
    caption: "It plays while it is seen. Pause, drag the scrubber or the curve, or focus the film " +
      "and press the arrow keys " +
      "(up and down: ten steps). A green line around the film: the block is at the goal. The " +
      "star is ψ of the goal asked about, the disc φ(s, a) of this moment, thin lines are " +
      "the other rollouts. Arrows are seen from above.",
    update() {
      const [r, g, t] = now(), k = Math.min(t, T - 1), f = all.f(r, k, g);
      const list = (which) => all.action(which, r, k).map((x) => fixed(x, 2)).join(", ");
      said.textContent = `Step ${t} of rollout ${r + 1}${all.ok(r, t) ? ", at the goal" : ""}: ` +
        `f(s, a, goal ${g + 1}) = ${fixed(f, 2)}. Actor (${list(0)}), best (${list(1)}).`;
      film.say(`Film of rollout ${r + 1} at step ${t}, beside a picture of goal ${g + 1}.`);
      curve.say(`The critic's value along rollout ${r + 1} for goal ${g + 1}. ` +
        `Now ${fixed(f, 2)}.`);
      plane.say(`Path of phi along rollout ${r + 1} and psi of goal ${g + 1}, in two ` +
        "principal axes.");
      pads.say(`Actions at step ${k}: dx, dy, dz, gripper. Actor ${list(0)}; best ${list(1)}.`);
      Object.assign(root.dataset, { f, at: JSON.stringify(paths[r][k]),
        best: JSON.stringify(all.action(1, r, k)), step: t });
    },
  };
});
