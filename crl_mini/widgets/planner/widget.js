// A learned critic of a maze plans: greedily, by halving the way, over a graph.

export const PLANS = ["greedy", "interpolation", "graph"];

/** Arrays from Python: f[s, a, g], psi (S, D), and the likeliest next states. */
export function readCritic(model, maze) {
  const low = model.get("low"), scale = model.get("scale");
  const f = Float64Array.from(array(Uint16Array, model.get("stored")), (x) => low + scale * x);
  const psi = Float64Array.from(array(Float32Array, model.get("embedded")));
  const step = new Int32Array(maze.S * maze.A), likely = new Float64Array(maze.S * maze.A);
  maze.probs.forEach((p, k) => {
    const [s, a, next] = maze.triples.subarray(3 * k, 3 * k + 3), at = s * maze.A + a;
    if (p > likely[at]) { likely[at] = p; step[at] = next; }
  });
  return { f, psi, step, S: maze.S, A: maze.A, D: psi.length / maze.S };
}

/** cost[s, w] = max_a f(w, a, w) - log mean_a exp f(s, a, w) - log gamma, in nats. */
export function travelCost({ f, S, A }, gamma) {
  const of = (s, w) => Array.from({ length: A }, (_, a) => f[(s * A + a) * S + w]);
  const cost = new Float64Array(S * S), one = -Math.log(gamma);
  for (let w = 0; w < S; w++) {
    const arrived = Math.max(...of(w, w));
    for (let s = 0; s < S; s++) {
      const mean = logsumexp(of(s, w)) - Math.log(A);
      cost[s * S + w] = s === w ? 0 : Math.max(one, arrived - mean + one);
    }
  }
  return cost;
}

/** Best sums of costs over edges of at most `limit`: Floyd and Warshall. */
export function graphDistances(cost, S, limit) {
  const best = cost.map((c) => (c <= limit ? c : Infinity));
  for (let k = 0; k < S; k++) {
    for (let i = 0; i < S; i++) {
      const first = best[i * S + k];
      if (first === Infinity) continue;
      for (let j = 0; j < S; j++) {
        const way = first + best[k * S + j];
        if (way < best[i * S + j]) best[i * S + j] = way;
      }
    }
  }
  return best;
}

/** The first waypoint from s towards g; g itself where there is no path. */
export function nextNode(cost, onward, S, limit, s, g) {
  let best = Infinity, node = g;
  for (let w = 0; w < S; w++) {
    const edge = cost[s * S + w], way = edge + onward[w * S + g];
    if (edge > 0 && edge <= limit && way < best) { best = way; node = w; }
  }
  return node;
}

/** The state whose psi is nearest to the middle of psi(s) and psi(g). */
export function midpoint({ psi, S, D }, s, g) {
  let best = Infinity, node = 0;
  for (let w = 0; w < S; w++) {
    let gap = 0;
    for (let k = 0; k < D; k++) {
      gap += ((psi[s * D + k] + psi[g * D + k]) / 2 - psi[w * D + k]) ** 2;
    }
    if (gap < best) { best = gap; node = w; }
  }
  return node;
}

/** Halve the way from g until the rest costs at most `limit`. */
export function halved(critic, cost, limit, s, g) {
  let way = g;
  for (let rounds = critic.S; rounds >= 1; rounds = Math.floor(rounds / 2)) {
    if (cost[s * critic.S + way] <= limit) return way;
    const closer = midpoint(critic, s, way);
    if (closer === s) return way;
    way = closer;
  }
  return way;
}

/** The greedy action at s towards w: the first of the largest logits. */
export function towards({ f, S, A }, s, w) {
  let action = 0;
  for (let a = 1; a < A; a++) {
    if (f[(s * A + a) * S + w] > f[(s * A + action) * S + w]) action = a;
  }
  return action;
}

/** States from s to g, or to the first one seen twice; next[s] is the state after s. */
export function walk(next, s, g) {
  const path = [s], seen = new Set();
  while (path.at(-1) !== g && !seen.has(path.at(-1))) {
    seen.add(path.at(-1));
    path.push(next[path.at(-1)]);
  }
  return path;
}

/** A map of points into width x height, the same scale for both axes, y upwards. */
export function fitting(points, width, height, margin = 16) {
  const ends = [0, 1].map((k) => points.map((p) => p[k]));
  const [mx, my] = ends.map((xs) => (Math.max(...xs) + Math.min(...xs)) / 2);
  const unit = Math.min(...ends.map((xs, k) =>
    ([width, height][k] - 2 * margin) / (Math.max(...xs) - Math.min(...xs) || 1)));
  return ([x, y]) => [width / 2 + (x - mx) * unit, height / 2 - (y - my) * unit];
}

const MOMENTS = 4; // steps a second
const TRAITS = ["goal", "start", "plan", "held", "limit", "gamma", "t"];

export default widget("planner", TRAITS, (model, root) => {
  const maze = readMaze(model), critic = readCritic(model, maze), { S } = maze;
  const said = readout();
  const flat = array(Float32Array, model.get("plane"));
  const point = (k) => [flat[2 * k], flat[2 * k + 1]];
  const psiAt = (s) => point(s), phiAt = (s, a) => point(S + s * maze.A + a);
  const moveAt = (s) => phiAt(s, plans[model.get("plan")].actions[s]);
  let gamma, limit, cost, onward, plans, planned, hovered, grabbed;

  function ways(s, g) {
    return {
      greedy: g,
      interpolation: halved(critic, cost, limit, s, g),
      graph: nextNode(cost, onward, S, limit, s, g),
    };
  }

  /** For one goal: each plan's waypoint, action and next state at every state. */
  function planAll(g) {
    const all = [...Array(S).keys()].map((s) => ways(s, g));
    return Object.fromEntries(PLANS.map((plan) => {
      const way = all.map((w) => w[plan]);
      const actions = way.map((w, s) => towards(critic, s, w));
      const next = actions.map((a, s) => critic.step[s * critic.A + a]);
      const arrives = next.map((_, s) => walk(next, s, g).at(-1) === g);
      return [plan, { way, actions, next, arrives }];
    }));
  }

  /** The chain of waypoints from s, in the order of the plan. */
  function chain(way, s, g) {
    const nodes = [];
    for (let w = way[s]; w !== g && w !== s && !nodes.includes(w); w = way[w]) nodes.push(w);
    return nodes;
  }

  const walkNow = () => {
    const { next } = plans[model.get("plan")];
    return walk(next, model.get("start"), model.get("goal"));
  };
  const now = () => Math.min(model.get("t"), walkNow().length - 1);

  /** psi of every cell, and phi(s, a) of the walk on its way to psi(g). */
  const plane = picture("aspect-ratio: 1 / 0.7", (context, width, height, colour) => {
    const g = model.get("goal"), moves = walkNow().map(moveAt), t = now();
    const cells = [...Array(S).keys()];
    const at = fitting([...cells.map(psiAt), ...cells.map(moveAt)], width, height, 28);
    for (const s of cells) disc(context, ...at(psiAt(s)), 3, colour("line"));
    line(context, moves.map(at), colour("line"), { width: 1.5 });
    line(context, moves.slice(0, t + 1).map(at), colour("blue"), { width: 3 });
    star(context, ...at(psiAt(g)), 10, colour("mark"));
    disc(context, ...at(moves[t]), 6, colour("orange"), colour("paper"));
    text(context, "dots: ψ of every cell; star: ψ(g)", 2, 8, colour("soft"));
    text(context, "disc: φ(s, a) on the walk", 2, height - 8, colour("soft"));
  });

  const last = () => walkNow().length - 1;
  const play = player(model, root, "t", last, { rate: MOMENTS, jump: 1, said });

  function over(context, centre, size, colour) {
    const { way } = plans[model.get("plan")], s = model.get("start"), g = model.get("goal");
    const path = walkNow(), at = (x) => centre(x).reverse();
    line(context, path.map(at), colour("paper"), { width: size * 0.3 });
    line(context, path.map(at), colour("blue"), { width: size * 0.17 });
    for (const node of chain(way, s, g)) {
      const [x, y] = at(node), r = size * 0.3;
      Object.assign(context, { fillStyle: colour("paper"), strokeStyle: colour("blue") });
      context.lineWidth = 2;
      context.beginPath();
      [[0, -r], [r, 0], [0, r], [-r, 0]].forEach(([u, v]) => context.lineTo(x + u, y + v));
      context.closePath();
      context.fill();
      context.stroke();
    }
    disc(context, ...at(path[now()]), size * 0.24, colour("orange"), colour("paper"));
    if (path.at(-1) !== g) {
      const [x, y] = at(path.at(-1)), r = size * 0.3;
      for (const [ink, width] of [["paper", 7], ["orange", 3.5]]) {
        line(context, [[x - r, y - r], [x + r, y + r]], colour(ink), { width });
        line(context, [[x + r, y - r], [x - r, y + r]], colour(ink), { width });
      }
    }
  }

  const canvas = mazeCanvas(maze, {
    marker: () => model.get(model.get("held")),
    move: (s, phase) => {
      if (phase === "down") {
        grabbed = ["start", "goal"].find((name) => model.get(name) === s) ?? model.get("held");
      }
      hovered = undefined;
      play.stop();
      put(model, { t: 0, [phase ? grabbed : model.get("held")]: s });
    },
    read: (s) => { hovered = s; tell(); canvas.paint(); },
    scene: () => ({
      arrows: (s) => [plans[model.get("plan")].actions[s]],
      broken: (s) => !plans[model.get("plan")].arrives[s],
      goal: model.get("goal"),
      start: model.get("start"),
      read: hovered,
      over,
    }),
  });
  canvas.addEventListener("pointerleave", () => { hovered = undefined; tell(); canvas.paint(); });

  const rows = table("What each planner achieves", ["plan", "this walk", "cells that arrive"],
    PLANS);

  function tell() {
    const plan = model.get("plan"), { way, arrives } = plans[plan];
    const s = hovered ?? model.get("start"), g = model.get("goal");
    const aim = way[s] === g ? "the goal itself" : cellName(maze, way[s]).toLowerCase();
    said.textContent = `${cellName(maze, s)}: the critic puts the goal at ` +
      `${fixed(cost[s * S + g], 1)} nats. ${plan[0].toUpperCase()}${plan.slice(1)} aims at ${aim}` +
      `${arrives[s] ? "." : " and never arrives."}`;
  }

  const scrubber = slider(model, "t", "step of the walk", { min: 0, max: 1, step: 1 });
  for (const kind of ["pointerdown", "keydown"]) scrubber.addEventListener(kind, play.stop);

  return {
    view: [canvas, scrubber, play],
    controls: [
      plane,
      choice(model, "plan", "Plan", {
        greedy: "greedy", interpolation: "interpolate", graph: "graph",
      }),
      slider(model, "limit", "largest trusted cost", {
        min: 0.5, max: 12, step: 0.5, show: (x) => `${fixed(x, 1)} nats`,
      }),
      choice(model, "held", "Clicks and arrow keys move", {
        goal: "the goal ★", start: "the start ●",
      }),
      rows,
      said,
    ],
    caption: "Drag the star or the start, click a cell, or focus the maze and press the arrow " +
      "keys (with Shift they read cells). The line is the walk, the orange disc its present " +
      "step; diamonds are waypoints, a large cross is where it turns in circles. From tinted, " +
      "crossed cells this plan never arrives. The plane holds the two principal axes of ψ.",
    update() {
      const goal = model.get("goal"), start = model.get("start");
      if (model.get("gamma") !== gamma) {
        gamma = model.get("gamma");
        cost = travelCost(critic, gamma);
        limit = undefined;
      }
      if (model.get("limit") !== limit) {
        limit = model.get("limit");
        onward = graphDistances(cost, S, limit);
        planned = undefined;
      }
      if (planned !== goal) plans = planAll(goal);
      planned = goal;
      const walks = PLANS.map((plan) => walk(plans[plan].next, start, goal));
      const counts = PLANS.map((plan) => plans[plan].arrives.filter(Boolean).length);
      PLANS.forEach((plan, k) => {
        const there = walks[k].at(-1) === goal;
        rows.fill(k, there ? `${walks[k].length - 1} steps` : "never arrives",
          `${counts[k]} of ${S}`);
        rows.row(k).classList.toggle("crl-fine", there);
        rows.row(k).classList.toggle("crl-stuck", !there);
      });
      const path = walkNow(), at = now();
      scrubber.querySelector("input").max = Math.max(path.length - 1, 1);
      scrubber.sync();
      plane.say(`The plane of ψ: at step ${at} of ${path.length - 1}, φ(s, a) is ` +
        `${pretty(Math.hypot(...[0, 1].map((k) => moveAt(path[at])[k] - psiAt(goal)[k])), 2)} ` +
        "from ψ(g).");
      root.dataset.at = JSON.stringify([...moveAt(path[at]), ...psiAt(goal)]);
      root.dataset.walks = JSON.stringify(walks);
      root.dataset.arriving = JSON.stringify(counts);
      tell();
      canvas.say(`Maze with the walk of the plan "${model.get("plan")}" from ` +
        `${cellName(maze, start).toLowerCase()} to ${cellName(maze, goal).toLowerCase()}: ` +
        rows.row(PLANS.indexOf(model.get("plan"))).children[1].textContent);
    },
  };
});
