// Discounted occupancy of an exact maze: drag the goal, turn gamma.

const LOW = 1e-6; // the colours go from here to 1, whatever gamma is

export default widget("occupancy-maze", ["gamma", "goal", "start", "mode"], (model, root) => {
  const maze = readMaze(model), said = readout();
  let q, values, hovered;
  const reaching = () => model.get("mode") === "value";
  const marker = () => model.get(reaching() ? "goal" : "start");
  const shade = (s) => viridis(1 - Math.log(Math.max(values[s], LOW)) / Math.log(LOW));
  const actions = (s) => best(q.subarray(s * maze.A, (s + 1) * maze.A));

  const canvas = mazeCanvas(maze, {
    marker,
    move: (s) => { hovered = undefined; put(model, { [reaching() ? "goal" : "start"]: s }); },
    read: (s) => { hovered = s; tell(); canvas.paint(); },
    scene: () => ({
      fill: (s) => shade(s).fill,
      ink: (s) => shade(s).ink,
      arrows: reaching() ? actions : undefined,
      [reaching() ? "goal" : "start"]: marker(),
      read: hovered,
    }),
  });
  canvas.addEventListener("pointerleave", () => { hovered = undefined; tell(); canvas.paint(); });

  const bar = colourBar(() => [LOW, Math.sqrt(LOW), 1].map((x) => pretty(x, 2)));
  const rows = table("Q of each action in this cell", ["action", "Q", ""], ACTIONS);

  function tell() {
    const s = hovered ?? marker(), value = values[s];
    const what = reaching() ? "value of reaching the goal" : "share of the discounted future";
    said.textContent = `${cellName(maze, s)}: ${what} ${pretty(value, 4)}.`;
    rows.hidden = !reaching();
    if (reaching()) {
      ACTIONS.forEach((_, a) =>
        rows.fill(a, pretty(q[s * maze.A + a]), actions(s).includes(a) ? "best" : ""));
    }
    Object.assign(root.dataset, { cell: s, value });
  }

  return {
    view: [canvas, bar],
    controls: [
      choice(model, "mode", "Show", { value: "reaching the goal", occupancy: "where it ends up" }),
      slider(model, "gamma", "discount γ", {
        min: 0.05, max: 0.99, step: 0.01,
        show: (x) => `${Number(x.toFixed(4))} · about ${Number((1 / (1 - x)).toFixed(1))} steps`,
      }),
      said,
      rows,
    ],
    caption: "Drag the star (the goal) or the disc (the start), or focus the maze and press " +
      "the arrow keys; with Shift they read cells. Colours are on a log scale; arrows are the " +
      "greedy actions, several where they tie, a dot where staying is best.",
    update() {
      const gamma = model.get("gamma");
      if (reaching()) ({ q, v: values } = valueOfGoal(maze, gamma, model.get("goal")));
      else values = occupancyFrom(maze, gamma, model.get("start"));
      tell();
      root.dataset.marker = marker();
      canvas.say(`Maze, ${reaching() ? "goal" : "start"}: ${cellName(maze, marker())}, ` +
        `discount ${gamma}; value there ${pretty(values[marker()], 4)}`);
    },
  };
});
