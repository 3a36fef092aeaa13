// The maze laboratory: draw a maze, train a critic of walks in it, send a walker.

const GAP = 250; // milliseconds between two measurements
const FRAME = 28; // milliseconds of computing and drawing in a frame, at most
const REST = 120; // seconds after which training stops
const TRAITS = ["rows", "goal", "gamma", "loss", "penalty", "energy", "dim", "walks", "walkers",
  "speed", "brush", "playing"];
const ANEW = ["rows", "loss", "energy", "dim", "walks", "walkers", "seed"]; // begins again

export default widget("maze-lab", TRAITS, (model, root) => {
  const maze = drawn(model.get("rows")), layouts = model.get("layouts");
  let lab, view, key, walker, shown, flat, fit, cursor, pen;
  if (still()) put(model, { playing: false });
  const tasks = taskList();
  const goal = () => maze.at(...model.get("goal")) ?? 0;

  // ------------------------------------------------------------ the laboratory
  function begin() {
    const get = (name) => model.get(name);
    lab = laboratory({
      rows: get("rows"), walkers: get("walkers"), count: get("walks"), gamma: get("gamma"),
      energy: get("energy"), loss: get("loss"), penalty: get("penalty"), dim: get("dim"),
      seed: get("seed"),
    });
    Object.assign(maze, lab.maze);
    flat = fit = shown = undefined;
    lab.update();
    lab.measure();
    look();
    walker = setOut(maze, goal());
  }

  /** What the pictures show of the critic as it is now, for the present goal. */
  function look() {
    const { S, A } = maze, vectors = lab.vectors(), f = lab.table(vectors), g = goal();
    const { Q, goals } = lab.exact, shift = Math.log(goals[g]) + lab.found.constant;
    const top = (value) => Array.from({ length: S }, (_, s) => {
      let most = -Infinity;
      for (let a = 0; a < A; a++) most = Math.max(most, value(s * A + a));
      return most;
    });
    flat = plane(vectors.psi, maze.cells, lab.critic.shape.D, flat);
    view = {
      ...vectors, action: greedy(f, maze, g), best: greedy(Q, maze, g),
      learned: top((k) => f[k * S + g] + shift), exact: top((k) => Math.log(Q[k * S + g])),
    };
    view.high = Math.max(...view.exact);
    view.low = Math.max(Math.min(...view.exact.filter(Number.isFinite)), view.high - 9);
  }
  const shade = (x) => viridis((x - view.low) / (view.high - view.low || 1));

  /** Where the walker ends, it is counted and a new one sets out. */
  function stepWalker(now) {
    const was = walker;
    walker = stepped(walker, maze, view.action, goal(), now);
    if (!walker.end || was.end) return;
    root.dataset[walker.end] = 1 + Number(root.dataset[walker.end] ?? 0);
  }

  // ------------------------------------------------------------ pictures
  function walk(context, centre, size, colour) {
    drawFence(context, maze, centre, size, colour);
    const { path, end, since } = walker, gliding = !end && path.length > 1 && !still();
    const share = gliding ? clamp((performance.now() - since) / PACE, 0, 1) : 1;
    drawWalk(context, path.map((s) => centre(s).reverse()), share, end === "lost", size, colour);
    if (cursor && model.get("brush") !== "goal") drawFrame(context, cursor, size, colour);
  }

  const learned = mazeCanvas(maze, {
    marker: goal,
    move: (s) => put(model, { goal: maze.cells[s] }),
    read: () => {},
    draw: (place, phase) => {
      if (model.get("brush") === "goal") return false;
      cursor = place;
      if (phase === "down" || phase === "drag") paintCell(place, phase);
      return true;
    },
    scene: () => ({
      fill: (s) => shade(view.learned[s]).fill, ink: (s) => shade(view.learned[s]).ink,
      arrows: (s) => [view.action[s]], over: walk, goal: goal(),
    }),
  });
  const exact = mazeCanvas(maze, {
    marker: goal, move: (s) => put(model, { goal: maze.cells[s] }), read: () => {},
    scene: () => ({
      fill: (s) => (maze.shut[s] ? undefined : shade(view.exact[s]).fill),
      ink: (s) => shade(view.exact[s]).ink,
      arrows: (s) => (maze.shut[s] ? [] : [view.best[s]]), goal: goal(),
      over: (context, ...at) => drawFence(context, maze, ...at),
    }),
  });

  const data = mazeCanvas(maze, {
    marker: goal, move: () => {}, read: () => {},
    scene: () => ({ over: (context, centre, size, colour) => {
      drawFence(context, maze, centre, size, colour);
      const at = (s) => centre(s).reverse();
      if (shown) drawPair(context, shown, [...lab.walks.one(shown.walk)], at, size, colour);
    } }),
  });
  data.tabIndex = -1; // it is only looked at
  data.classList.remove("crl-drag");
  data.setAttribute("role", "img");

  /** Another row of the batch; it is played for a second and a half. */
  function stepPair(now) {
    if (!shown || now - shown.since > 2600) {
      const { walk, t, k, g } = lab.batch, row = Math.floor(Math.random() * BATCH);
      const others = [1, 2, 3].map((j) => g[(row + 7 * j) % BATCH]);
      shown = { row, walk: walk[row], t: t[row], k: k[row], others, since: now };
      shown.time = Math.min(1500, 110 * shown.k);
    }
    shown.done = still() ? 1 : clamp((now - shown.since) / shown.time, 0, 1);
  }

  const net = picture("aspect-ratio: 1", (context, width, height, colour) => {
    const D = lab.critic.shape.D, { S, A } = maze, points = project(view.psi, flat, D);
    fit = fitted(points, width, fit?.reach);
    const at = (s) => fit.at(points[2 * s], points[2 * s + 1]), s = walker.path.at(-1);
    drawNet(context, maze, at, (x) => shade(view.learned[x]).fill, colour);
    const own = project(view.phi.subarray(s * A * D, (s + 1) * A * D), flat, D);
    const places = [...Array(A).keys()].map((a) => fit.at(own[2 * a], own[2 * a + 1]));
    drawActions(context, places, view.action[s], at(goal()), colour);
    star(context, ...at(goal()), 10, colour("mark"));
  });

  const heat = picture("aspect-ratio: 1", (context, width, _, colour) =>
    drawLogits(context, lab.critic.logits, BATCH, width, shown?.row, colour));
  const over = (name) => lab.history.map((x) => [x.seconds, x[name]]);
  const curves = picture("", (context, width, height, colour) => drawCurves(context, [
    { name: "correlation", ink: "blue", points: over("correlation") },
    { name: "goals reached", ink: "orange", dash: [5, 3], points: over("arrive") },
  ], width, height, colour));

  // ------------------------------------------------------------ drawing walls
  function paintCell([r, c], phase) {
    const rows = model.get("rows");
    if (r < 1 || c < 1 || r > rows.length - 2 || c > rows[0].length - 2) return;
    const sign = model.get("brush") === "wall" ? "#" : "x";
    if (phase !== "drag") pen = rows[r][c] === sign ? "." : sign;
    const [gr, gc] = model.get("goal");
    if (rows[r][c] === pen || (r === gr && c === gc && pen === "#")) return;
    const next = rows.map((row, k) => (k === r ? row.slice(0, c) + pen + row.slice(c + 1) : row));
    if (next.join("").replace(/[^.]/g, "").length < 8) return; // too few to walk in
    put(model, { rows: next });
  }
  learned.addEventListener("keydown", (event) => {
    if (model.get("brush") === "goal") return;
    const step = ARROW_KEYS[event.key], rows = model.get("rows");
    if (!step && event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    event.stopImmediatePropagation();
    cursor ??= model.get("goal");
    if (!step) paintCell(cursor);
    else {
      const ends = [rows.length - 2, rows[0].length - 2];
      cursor = cursor.map((x, axis) => clamp(x + step[axis], 1, ends[axis]));
    }
    learned.paint();
  }, true);

  // ------------------------------------------------------------ controls
  const play = button("", () => put(model, { playing: !model.get("playing") }));
  play.classList.add("crl-play");
  const told = h("p", { class: "crl-told" });
  const bar = h("div", { class: "crl-bar" }, play,
    button("Step", () => { lab.update(); lab.measure(); refresh(); }),
    button("Reset", () => { begin(); refresh(); }), told);

  const layout = h("select", {}, ...Object.keys(layouts).map((name) => h("option", {}, name)),
    h("option", { value: "" }, "your own"));
  layout.addEventListener("change", () => {
    const rows = layouts[layout.value];
    if (rows) put(model, { rows, goal: drawn(rows).cells.at(-1) });
  });
  const plan = h("label", { class: "crl-select" }, h("span", {}, "Maze"), layout);
  plan.sync = () => {
    const now = JSON.stringify(model.get("rows"));
    layout.value = Object.keys(layouts).find((name) => JSON.stringify(layouts[name]) === now) ?? "";
  };
  const box = h("input", { type: "checkbox" });
  box.addEventListener("change", () => put(model, { penalty: box.checked }));
  const penalty = h("label", { class: "crl-check" }, box, "logsumexp penalty");
  penalty.sync = () => { box.checked = model.get("penalty"); };

  function panel(name, title, canvas) {
    const head = h("p", { class: "crl-name" }, title);
    const node = h("div", { class: `crl-panel crl-${name}` }, head, canvas);
    node.paint = canvas.paint;
    return node;
  }

  // ------------------------------------------------------------ time
  function tell() {
    const { updates, correlation: r, between, arrive } = lab.found;
    told.textContent = `${updates.toLocaleString("en")} updates · correlation ` +
      `${fixed(r, 2)} · ${percent(arrive)} of goals reached`;
    Object.assign(root.dataset, { updates, correlation: r, between, arrive,
      seconds: lab.seconds, walks: lab.walks.n, ticked: tasks.ticked(),
      goal: model.get("goal"), brush: model.get("brush"), rows: model.get("rows").join(" ") });
    heat.say(`The ${BATCH} by ${BATCH} logits of the last batch; true pairs on the diagonal`);
    curves.say(`Over ${Math.round(lab.seconds)} seconds of training: correlation with the ` +
      `exact logits now ${fixed(r, 2)}, ${percent(arrive)} of the goals reached`);
    const [row, column] = model.get("goal");
    learned.say(`Learned Q of the goal at row ${row}, column ${column}, and a greedy walker`);
    exact.say(`Exact Q of the goal at row ${row}, column ${column}`);
    data.say(`${lab.walks.n} recorded walks; a pair of one of them is shown`);
    net.say("Representations in a plane: psi of all cells as a net, phi of the walker's " +
      "five actions as dots, the goal's psi as a star");
  }

  function refresh() {
    look();
    if (still() || !model.get("playing")) walker = arrived(walker, maze, view.action, goal());
    stepPair(performance.now());
    tasks.look(lab);
    tell();
    for (const node of [learned, exact, net, data, heat, curves]) node.paint();
  }

  let measured = 0, looked = 0, drawing = 0, last = 0, asked = false, visible = false;
  function frame(now) {
    asked = false;
    if (!visible || !root.isConnected || !model.get("playing")) { last = 0; return; }
    ask();
    if (last) root.dataset.frame = now - last; // milliseconds
    last = now;
    // On slow machines half of the time is left for training.
    const time = Math.max(FRAME - drawing, Math.min(drawing, FRAME));
    if (lab.seconds < REST) lab.train(model.get("speed"), time);
    const begun = performance.now();
    if (now - measured > (still() ? 4 : 1) * GAP) {
      measured = now;
      lab.measure();
      put(model, { found: lab.found });
      tasks.look(lab);
      tell();
      curves.paint();
      if (still()) refresh();
    }
    if (still()) return;
    if (now - looked > GAP / 3) { looked = now; look(); }
    else {
      Object.assign(view, lab.vectors());
      flat = plane(view.psi, maze.cells, lab.critic.shape.D, flat);
    }
    stepWalker(now);
    stepPair(now);
    for (const node of [learned, net, data, heat]) node.paint();
    drawing = performance.now() - begun;
  }
  const ask = () => { if (!asked) { asked = true; requestAnimationFrame(frame); } };
  new IntersectionObserver(([entry]) => { visible = entry.isIntersecting; ask(); }).observe(root);

  return {
    view: [bar,
      panel("learned", "Learned Q, and a walker that follows it", learned),
      panel("plane", "φ(s, ·) and ψ(g)", net),
      panel("data", "Pairs from walks", data), panel("heat", "Logits", heat),
      panel("exact", "Exact Q", exact), panel("curves", "Against the truth", curves)],
    controls: [
      choice(model, "brush", "Clicks on the first maze set", {
        goal: "the goal ★", wall: "walls ■", fence: "“keep out” ▨",
      }),
      plan,
      select(model, "loss", "Loss", LOSS_NAMES), penalty,
      choice(model, "energy", "Energy", { dot: "dot", l2: "L2", cosine: "cosine" }),
      choice(model, "walkers", "Walkers", { aimless: "aimless", momentum: "with momentum" }),
      select(model, "walks", "Walks recorded", { 20: "20", 200: "200", 2000: "2,000" }),
      slider(model, "gamma", "discount γ", { min: 0.8, max: 0.98, step: 0.01 }),
      slider(model, "dim", "dimension D of φ and ψ", { min: 2, max: 16, step: 1 }),
      slider(model, "speed", "updates a frame, at most", { values: [1, 4, 16, 64] }),
      tasks,
    ],
    caption: CAPTION,
    update() {
      const now = JSON.stringify(ANEW.map((name) => model.get(name)));
      play.textContent = model.get("playing") ? "❚❚ Pause" : "▶ Play";
      if (now !== key) { key = now; begin(); }
      lab.how.penalty = model.get("penalty") ? PENALTY : 0;
      const moved = model.get("gamma") !== lab.gamma;
      if (moved) lab.solve(model.get("gamma"));
      if (moved || lab.found.updates < lab.critic.steps) lab.measure();
      if (walker.end) walker = setOut(maze, goal());
      refresh();
      ask();
    },
  };
});
