// Mazes: exact discounted occupancy, and a canvas with cells, arrows and markers.

export const ACTIONS = ["stay", "up", "right", "down", "left"];
const MOVES = [[0, 0], [-1, 0], [0, 1], [1, 0], [0, -1]];
const TIE = 1e-9; // two actions are tied when their values agree to this relative size

/** The cells that Python shipped, by number and by row and column. */
export function readCells(model) {
  const cells = model.get("cells"), [rows, columns] = model.get("shape");
  const where = new Map(cells.map(([r, c], s) => [r * columns + c, s]));
  return {
    cells, rows, columns, S: cells.length, A: ACTIONS.length,
    at: (r, c) => (c >= 0 && c < columns ? where.get(r * columns + c) : undefined),
  };
}

/** The whole maze: cells, transitions as a list, the policy (S, A). */
export function readMaze(model) {
  return {
    ...readCells(model),
    triples: array(Uint16Array, model.get("triples")), // s, a, s' of each transition
    probs: array(Float64Array, model.get("probs")),
    policy: array(Float64Array, model.get("policy")),
  };
}

/** Call visit(s, a, next, probability) for every transition. */
function transitions({ triples, probs }, visit) {
  probs.forEach((p, k) => visit(triples[3 * k], triples[3 * k + 1], triples[3 * k + 2], p));
}

/** I - gamma P_pi, or its transpose, (S, S). */
function resolvent(maze, gamma, transpose = false) {
  const { S, A, policy } = maze, matrix = new Float64Array(S * S);
  for (let s = 0; s < S; s++) matrix[s * S + s] = 1;
  transitions(maze, (s, a, next, p) => {
    matrix[transpose ? next * S + s : s * S + next] -= gamma * policy[s * A + a] * p;
  });
  return matrix;
}

/** Q_g(s, a) = (1 - gamma) [P (I - gamma P_pi)^-1]_{sa,g} as (S, A), and V_g (S,). */
export function valueOfGoal(maze, gamma, goal) {
  const { S, A, policy } = maze, unit = new Float64Array(S);
  unit[goal] = 1;
  const x = solve(resolvent(maze, gamma), unit, S);
  const q = new Float64Array(S * A), v = new Float64Array(S);
  transitions(maze, (s, a, next, p) => { q[s * A + a] += (1 - gamma) * p * x[next]; });
  q.forEach((value, k) => { v[Math.floor(k / A)] += policy[k] * value; });
  return { q, v };
}

/** Discounted occupancy from `start`: (1 - gamma) [P_pi (I - gamma P_pi)^-1]_{start,.} */
export function occupancyFrom(maze, gamma, start) {
  const { S, A, policy } = maze, first = new Float64Array(S);
  transitions(maze, (s, a, next, p) => {
    if (s === start) first[next] += (1 - gamma) * policy[s * A + a] * p;
  });
  return solve(resolvent(maze, gamma, true), first, S);
}

/** The whole occupancy M[s, a, g], (S, A, S). */
export function occupancy(maze, gamma) {
  const { S, A } = maze, identity = new Float64Array(S * S), M = new Float64Array(S * A * S);
  for (let s = 0; s < S; s++) identity[s * S + s] = 1;
  const X = solve(resolvent(maze, gamma), identity, S, S);
  transitions(maze, (s, a, next, p) => {
    for (let g = 0; g < S; g++) M[(s * A + a) * S + g] += (1 - gamma) * p * X[next * S + g];
  });
  return M;
}

/** Actions of the largest value, ties included. */
export function best(values) {
  const top = values.reduce((m, x) => Math.max(m, x), -Infinity);
  return [...values.keys()].filter((a) => top - values[a] <= TIE * Math.abs(top));
}

/** The next state of an action without slip; an action into a wall stays. */
function leads(maze, s, a) {
  const [r, c] = maze.cells[s];
  return a > 0 && maze.at(r + MOVES[a][0], c + MOVES[a][1]) !== undefined ? a : 0;
}

/** Places in a cell for number k, evenly spread: shares of its side from the centre. */
export const scatter = (k) => [0.7548776662, 0.5698402910].map((step) =>
  (((k + 1) * step) % 1) - 0.5);

export const cellName = (maze, s) => `Row ${maze.cells[s][0]}, column ${maze.cells[s][1]}`;

/** The arrows of one cell; actions that stay or hit a wall are a dot. */
function arrows(context, maze, s, actions, x, y, size, ink) {
  Object.assign(context, { strokeStyle: ink, fillStyle: ink, lineCap: "round" });
  context.lineWidth = Math.max(1.2, size * 0.07);
  const ways = new Set(actions.map((action) => leads(maze, s, action)));
  const tail = ways.size === 1 ? -0.3 : 0; // tied arrows meet in the middle
  for (const a of ways) {
    context.save();
    context.translate(x + size / 2, y + size / 2);
    context.rotate(Math.atan2(MOVES[a][0], MOVES[a][1]));
    context.beginPath();
    if (a === 0) context.arc(0, 0, size * 0.1, 0, 2 * Math.PI);
    else {
      const tip = tail + (tail ? 0.64 : 0.42);
      context.moveTo(tail * size, 0);
      context.lineTo((tip - 0.18) * size, 0);
      context.stroke();
      context.beginPath();
      context.moveTo(tip * size, 0);
      context.lineTo((tip - 0.22) * size, size * 0.14);
      context.lineTo((tip - 0.22) * size, -size * 0.14);
    }
    context.fill();
    context.restore();
  }
}

/**
 * The canvas of a maze. scene() returns its contents:
 * { fill(s), ink(s), arrows(s), broken(s), over(context, centre, size, colour), goal,
 * start, read }.
 * move(s, phase) is called when the marker is dragged or moved by the arrow keys,
 * read(s) when the pointer hovers or Shift and an arrow key are pressed.
 */
export function mazeCanvas(maze, { scene, move, read, marker }) {
  const crop = 0.6; // of the outer wall, in cells
  const high = maze.rows - 2 * crop, wide = maze.columns - 2 * crop;
  let size = 1;
  const node = picture(`aspect-ratio: ${wide} / ${high}`, (context, width, height, colour) => {
    size = width / wide;
    const now = scene(), left = (c) => (c - crop) * size;
    context.fillStyle = colour("wall");
    context.fillRect(0, 0, width, height);
    maze.cells.forEach(([r, c], s) => {
      const x = left(c), y = left(r), ink = now.ink?.(s) ?? colour("ink");
      context.fillStyle = now.fill?.(s) ?? colour("tile");
      context.fillRect(x + 0.5, y + 0.5, size - 1, size - 1);
      if (s === now.goal || !now.arrows) return;
      const broken = now.broken?.(s);
      if (broken) cross(context, x, y, size, colour("orange"), colour("broken"));
      arrows(context, maze, s, now.arrows(s), x, y, size, broken ? colour("orange") : ink);
    });
    const centre = (s) => maze.cells[s].map((k) => left(k + 0.5));
    now.over?.(context, centre, size, colour);
    if (now.read !== undefined) {
      const [y, x] = centre(now.read);
      Object.assign(context, { strokeStyle: colour("ink"), lineWidth: 2 });
      context.strokeRect(x - size / 2, y - size / 2, size, size);
    }
    if (now.start !== undefined) {
      const [y, x] = centre(now.start);
      disc(context, x, y, size * 0.26, colour("mark"), "#ffffff");
    }
    if (now.goal !== undefined) {
      const [y, x] = centre(now.goal);
      star(context, x, y, size * 0.42, colour("mark"));
    }
  });
  const under = (x, y) => maze.at(Math.floor(y / size + crop), Math.floor(x / size + crop));
  draggable(node, (x, y, phase) => {
    const s = under(x, y);
    if (s !== undefined) (phase === "hover" ? read : move)(s, phase);
  });
  node.tabIndex = 0;
  // Not role="img": a screen reader must hand the arrow keys to this canvas.
  node.setAttribute("role", "application");
  node.setAttribute("aria-roledescription", "maze");
  node.addEventListener("keydown", (event) => {
    const step = ARROW_KEYS[event.key];
    if (!step) return;
    event.preventDefault();
    const [act, from] = event.shiftKey ? [read, scene().read] : [move, marker()];
    const [r, c] = maze.cells[from ?? marker()], s = maze.at(r + step[0], c + step[1]);
    if (s !== undefined) act(s);
  });
  return node;
}

/** A broken cell: tinted, with a cross in its corner, so that colour is not the only sign. */
function cross(context, x, y, size, ink, tint) {
  context.fillStyle = tint;
  context.fillRect(x + 0.5, y + 0.5, size - 1, size - 1);
  const a = size * 0.08, b = size * 0.27;
  line(context, [[x + a, y + a], [x + b, y + b]], ink, { width: 1.5 });
  line(context, [[x + b, y + a], [x + a, y + b]], ink, { width: 1.5 });
}
