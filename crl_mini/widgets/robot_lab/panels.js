// Beside the scene: what the agent sees, f, four distances, and the path of phi.

const CURVES = [ // name, colour, dash
  ["pixels", "orange", [6, 3]], ["hand", "soft", [2, 2]], ["object", "green", [8, 2, 2, 2]],
  ["representation", "blue", []],
];

/** The two pictures of 64 x 64: now, and the goal. */
export function eyesOf(lab) {
  const small = document.createElement("canvas");
  Object.assign(small, { width: PIXELS, height: PIXELS });
  return picture("aspect-ratio: 2 / 1.12", (context, width, height, colour) => {
    const gap = 8, side = (width - gap) / 2, top = height - side;
    ["what is", "what is asked for"].forEach((words, k) => {
      text(context, words, k * (side + gap), top / 2, colour("ink"));
      if (!lab()) {
        context.fillStyle = colour("tile");
        context.fillRect(k * (side + gap), top, side, side);
        return;
      }
      const { picture: seen } = k ? lab().goal : lab().now;
      small.getContext("2d").putImageData(new ImageData(seen, PIXELS, PIXELS), 0, 0);
      context.imageSmoothingEnabled = false;
      context.drawImage(small, k * (side + gap), top, side, side);
    });
  });
}

const linearly = (low, high, from, to) => (x) =>
  (high > low ? from + ((x - low) / (high - low)) * (to - from) : (from + to) / 2);

/** f over the last steps. */
export const valuesOf = (lab) => picture("aspect-ratio: 1 / 0.3; min-height: 92px",
  (context, width, height, colour) => {
    text(context, "f(s, a, g)", 2, 8, colour("blue"));
    const told = lab()?.history ?? [], f = told.map((x) => x.f);
    if (!f.length) return;
    const [low, high] = range(f), y = linearly(low, high, height - 18, 22);
    const x = linearly(0, Math.max(50, f.length - 1), 4, width - 6);
    line(context, f.map((v, k) => [x(k), y(v)]), colour("blue"));
    disc(context, x(f.length - 1), y(f.at(-1)), 4, colour("blue"));
    axis(context, [fixed(low, 1), "", fixed(high, 1)], height - 6, width, colour("soft"));
    text(context, fixed(f.at(-1), 2), width - 2, 8, colour("ink"), "right");
  });

/** The distances to the goal, each as a share of what it was when the goal was set. */
export const distancesOf = (lab) => picture("aspect-ratio: 1 / 0.5; min-height: 150px",
  (context, width, height, colour) => {
    const told = lab()?.history ?? [], object = lab()?.task.entries[4]?.split("_")[0];
    const shown = CURVES.filter(([name]) => name !== "object" || object || !lab());
    text(context, "distance to the goal, 1 at first", 2, 8, colour("ink"));
    const curves = shown.map(([name]) => told.map((x) => x[name] / (told[0][name] || 1)));
    const top = Math.max(1.2, Math.min(3, range(curves.flat())[1]));
    const x = linearly(0, Math.max(50, told.length - 1), 4, width - 6);
    const y = linearly(0, top, height - 36, 20);
    line(context, [[4, y(1)], [width - 6, y(1)]], colour("line"), { width: 1 });
    curves.forEach((curve, c) => {
      const [, ink, dash] = shown[c];
      if (told.length) {
        line(context, curve.map((v, k) => [x(k), y(Math.min(v, top))]), colour(ink), { dash });
      }
    });
    shown.forEach(([name, ink, dash], c) => {
      const left = 2 + ((c % 2) * width) / 2, row = height - 22 + 15 * Math.floor(c / 2);
      line(context, [[left, row], [left + 26, row]], colour(ink), { dash });
      text(context, name === "object" ? object ?? "block" : name, left + 32, row, colour("ink"));
    });
  });

/**
 * phi in the plane that it began in: to the right the share of the straight way to
 * psi(g), upwards how far it is off that way, in the same unit.
 */
export function planeAt(first, psi) {
  const way = psi.map((x, k) => x - first[k]), whole = Math.hypot(...way) || 1;
  return (phi, at = 0) => {
    let along = 0, square = 0;
    for (let k = 0; k < way.length; k++) {
      const d = phi[at + k] - first[k];
      along += (d * way[k]) / whole;
      square += d * d;
    }
    return [along / whole, Math.sqrt(Math.max(square - along * along, 0)) / whole];
  };
}

export const pathOf = (lab) => picture("aspect-ratio: 1 / 0.55; min-height: 150px",
  (context, width, height, colour) => {
    const told = lab()?.history ?? [];
    text(context, "φ(s, a) on its way to ψ(g)", 2, 8, colour("ink"));
    if (!told.length) return;
    const project = planeAt(told[0].phi, told.at(-1).psi), D = told[0].phi.length;
    const path = told.map((x) => project(x.phi)), dots = lab().dots;
    const at = ([u, v]) => [linearly(-0.25, 1.25, 8, width - 8)(u),
      linearly(0, 1.3, height - 22, 18)(v)];
    line(context, [at([0, 0]), at([1, 0])], colour("line"), { width: 1, dash: [3, 3] });
    if (dots) {
      const [low, high] = range(dots.f);
      dots.f.forEach((f, k) => disc(context, ...at(project(dots.phi, k * D)), 3,
        viridis((f - low) / (high - low || 1)).fill));
    }
    line(context, path.map(at), colour("blue"));
    disc(context, ...at(path.at(-1)), 5, colour("blue"), colour("paper"));
    star(context, ...at([1, 0]), 9, colour("mark"));
    const [[left, low], [right]] = [at([0, 0]), at([1, 0])];
    text(context, "at first", left, low + 12, colour("soft"), "center");
    text(context, "ψ(g)", right, low + 14, colour("soft"), "center");
    text(context, "↑ off the straight way", width - 2, 24, colour("soft"), "right");
  });
