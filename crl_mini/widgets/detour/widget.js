// A film with distances to its goal, and the moments at which greedy rules would not follow.

/** Is the curve above its lowest value so far by more than `slack`? One flag a moment. */
export function refused(curve, slack) {
  let low = Infinity;
  return [...curve].map((d) => {
    low = Math.min(low, d);
    return d > low + slack;
  });
}

/** The curves that Python shipped, by name. */
export function readCurves(model) {
  const [T] = model.get("shape"), all = array(Float32Array, model.get("curves"));
  return Object.fromEntries(model.get("names").map((name, k) =>
    [name, [...all.subarray(k * T, (k + 1) * T)]]));
}

const LOOKS = [["orange", [6, 3]], ["green", [2, 3]], ["ink", [9, 3, 2, 3]], ["blue", []]];
const MOMENTS = 5; // frames a second
const LEFT = 78, ROW = 26; // pixels: names of the rows, height of a row

export default widget("detour", ["t"], (model, root) => {
  const curves = readCurves(model), names = Object.keys(curves), said = readout();
  const [T, H, W] = model.get("shape"), slack = model.get("slack");
  const flags = names.map((name) => refused(curves[name], slack));
  const top = Math.max(...names.map((name) => Math.max(...curves[name])));
  const look = (k) => LOOKS[k % LOOKS.length];
  let sheet;

  createImageBitmap(new Blob([array(Uint8Array, model.get("sheet"))])).then((decoded) => {
    sheet = decoded;
    root.dataset.ready = "true";
    film.paint();
  });

  const film = picture("aspect-ratio: 2 / 1.1", (context, width, height, colour) => {
    const t = model.get("t"), gap = 8, side = (width - gap) / 2, y = height - (side * H) / W;
    text(context, `step ${t}`, 0, y / 2, colour("ink"));
    text(context, "the goal", side + gap, y / 2, colour("ink"));
    context.imageSmoothingEnabled = false;
    for (const [column, x] of [[t, 0], [T, side + gap]]) {
      if (sheet) context.drawImage(sheet, column * W, 0, W, H, x, y, side, (side * H) / W);
    }
  });

  /** Curves, and below them a row a rule: filled where it would not follow. */
  const chart = picture(`height: ${170 + ROW * names.length}px`,
    (context, width, height, colour) => {
      const t = model.get("t"), bottom = height - ROW * names.length - 20;
      const x = (k) => LEFT + (k / (T - 1)) * (width - LEFT - 8);
      const y = (d) => 20 + (1 - d / top) * (bottom - 24), wide = x(1) - x(0);
      text(context, "distance to the goal (start = 1)", 0, 7, colour("soft"));
      text(context, "1", LEFT - 8, y(1), colour("soft"), "right");
      text(context, "0", LEFT - 8, y(0), colour("soft"), "right");
      for (const d of [0, 1]) line(context, [[LEFT, y(d)], [x(T - 1), y(d)]], colour("line"), { width: 1 });
      line(context, [[x(t), 16], [x(t), height]], colour("line"), { width: 2 });
      names.forEach((name, k) => {
        const [ink, dash] = look(k), curve = curves[name], at = bottom + 30 + ROW * k;
        line(context, curve.map((d, i) => [x(i), y(d)]), colour(ink), { dash });
        disc(context, x(t), y(curve[t]), 4, colour(ink), colour("paper"));
        text(context, name, 0, at, colour(ink));
        line(context, [[LEFT, at], [x(T - 1), at]], colour("line"), { width: 1 });
        context.fillStyle = colour(ink);
        flags[k].forEach((no, i) => {
          if (no) context.fillRect(x(i) - wide / 2, at - 7, wide + 0.5, 14);
        });
      });
      text(context, "filled: the rule would not go here", LEFT, bottom + 12, colour("soft"));
    });
  draggable(chart, (x, _, phase) => {
    if (phase === "hover") return;
    play.stop();
    const share = (x - LEFT) / (chart.clientWidth - LEFT - 8);
    put(model, { t: Math.round(clamp(share, 0, 1) * (T - 1)) });
  });

  const play = player(model, root, "t", T - 1, { rate: MOMENTS, jump: 1, said, film });
  const scrubber = slider(model, "t", "step of the film", { min: 0, max: T - 1, step: 1 });
  for (const kind of ["pointerdown", "keydown"]) scrubber.addEventListener(kind, play.stop);

  return {
    view: [film, scrubber, play],
    controls: [chart, said],
    caption: "The film plays while it is seen. Pause, or drag the scrubber or the " +
      "chart. A greedy rule goes only where its distance is smaller than it ever was; a row " +
      `is filled where the film is more than ${pretty(slack)} above that.`,
    update() {
      const t = model.get("t");
      const above = names.map((name) => curves[name][t] - Math.min(...curves[name].slice(0, t + 1)));
      const no = names.filter((_, k) => flags[k][t]);
      const list = no.map((name) => `${name} (${fixed(above[names.indexOf(name)], 2)} above)`);
      said.textContent = `Step ${t}: ` + (no.length
        ? `against it: ${list.join(", ")}.` : "no rule is against it.") +
        ` In all: ${names.map((name, k) => `${name} ${sum(flags[k].map(Number))}`).join(", ")} ` +
        `of ${T} steps.`;
      film.say(`Picture of the film at step ${t}, beside the picture of its goal.`);
      chart.say(`Distances to the goal at step ${t}: ` +
        names.map((name) => `${name} ${fixed(curves[name][t], 2)}`).join(", ") + ".");
      Object.assign(root.dataset, { step: t, refused: JSON.stringify(flags.map((x) => sum(x.map(Number)))) });
    },
  };
});
