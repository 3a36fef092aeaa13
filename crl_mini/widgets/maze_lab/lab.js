// The laboratory without its pictures: walks, training, and what it measures.

export const BATCH = 64;
const PER_FRAME = 40; // walks recorded at a time
const PENALTY = 0.1; // weight of the logsumexp penalty
const PACE = 130; // milliseconds a step of the walker
const LONGEST = 60; // steps after which it gives up

/** Everything about one maze: the walkers' data, the exact answer, a critic in training. */
export function laboratory({ rows, walkers, count, gamma, energy, loss, penalty, dim, seed }) {
  const maze = drawn(rows), random = uniforms(seed), { S, A } = maze;
  const walks = recorder(maze, count, KEEP[walkers], random);
  const lab = {
    maze, walks, gamma, seconds: 0, batch: undefined, found: undefined, history: [],
    how: { energy, loss, penalty: penalty ? PENALTY : 0 },
    critic: critic({ S, A, D: dim }, BATCH, seed),
    all: pairsOf(maze),
  };

  /** Solve for the walkers' Q; its logits f* = log Q / p(g) where Q is above zero. */
  lab.solve = (discount) => {
    lab.gamma = discount;
    const Q = exactQ(maze, discount, KEEP[walkers]);
    const { goals } = marginals(maze, Q, KEEP[walkers]);
    const known = Q.map((q, k) => (q > 0 && !maze.shut[k % S] ? 1 : 0));
    lab.exact = { Q, goals, known, f: Q.map((q, k) => known[k] && Math.log(q / goals[k % S])) };
  };

  lab.update = () => {
    walks.more(PER_FRAME);
    lab.batch = pairs(walks, BATCH, lab.gamma, random);
    lab.critic.update(lab.batch, lab.how);
  };

  /** As many updates as are asked for and fit into the time, in milliseconds. */
  lab.train = (most, time) => {
    const start = performance.now();
    for (let k = 0; k < most && performance.now() - start < time; k++) lab.update();
    lab.seconds += (performance.now() - start) / 1000;
  };

  /** phi of all pairs (s, a) and psi of all goals, by the running mean of the weights. */
  lab.vectors = () => {
    const p = lab.critic.mean, { s, a, g } = lab.all;
    return { phi: phiOf(p, s, a), psi: psiOf(p, g) };
  };
  /** f(s, a, g) of all of them, but for the critic's constant, (S, A, S). */
  lab.table = ({ phi, psi } = lab.vectors()) =>
    energies(energy, new Float64Array(S * A * S), phi, psi, S * A, S, dim);

  lab.measure = () => {
    lab.found = { updates: lab.critic.steps, ...judge(lab.table(), lab) };
    lab.history.push({ seconds: lab.seconds, ...lab.found });
    if (lab.history.length > 400) lab.history = lab.history.filter((_, k) => k % 2 === 0);
    return lab.found;
  };
  lab.solve(gamma);
  return lab;
}

/** Numbers of all pairs (s, a), in order, and of all goals. */
function pairsOf({ S, A }) {
  const k = [...Array(S * A).keys()];
  return {
    s: Int32Array.from(k, (x) => Math.floor(x / A)), a: Int32Array.from(k, (x) => x % A),
    g: Int32Array.from(Array(S).keys()),
  };
}

/** f minus its mean over actions: what a greedy walker sees of it. */
export function centred(f, { S, A }) {
  const out = f.slice();
  for (let s = 0; s < S; s++) {
    for (let g = 0; g < S; g++) {
      let mean = 0;
      for (let a = 0; a < A; a++) mean += f[(s * A + a) * S + g] / A;
      for (let a = 0; a < A; a++) out[(s * A + a) * S + g] -= mean;
    }
  }
  return out;
}

/**
 * Correlation with the exact logits, of all and of differences between actions (weighted
 * by Q); the constant that f lacks; the shares of goals at which the greedy walk arrives.
 */
export function judge(f, { maze, exact }) {
  const { known } = exact, full = known.map((x, k) => x * exact.Q[k]);
  let gap = 0;
  known.forEach((x, k) => { if (x) gap += exact.f[k] - f[k]; });
  return {
    correlation: correlation(f, exact.f, known),
    between: correlation(centred(f, maze), centred(exact.f, maze), full),
    constant: gap / sum(known),
    ...arriving((g) => greedy(f, maze, g), maze),
  };
}

/**
 * Shares of arrivals under an action for each state, given for each goal: of all pairs of
 * start and goal that a path connects, and from outside the fence to outside, to inside.
 */
export function arriving(action, maze) {
  const count = { arrive: [0, 0], outside: [0, 0], inside: [0, 0] };
  for (let g = 0; g < maze.S; g++) {
    const there = arrivals(action(g), maze, g), place = maze.shut[g] ? "inside" : "outside";
    for (let s = 0; s < maze.S; s++) {
      if (s === g || maze.part[s] !== maze.part[g]) continue;
      for (const name of maze.shut[s] ? ["arrive"] : ["arrive", place]) {
        count[name][0] += there[s] === 1 ? 1 : 0;
        count[name][1] += 1;
      }
    }
  }
  return Object.fromEntries(Object.entries(count).map(([name, [k, n]]) => [name, n ? k / n : 0]));
}

// ---------------------------------------------------------------- the walker
/** A walker at a random cell from which a path leads to the goal. */
export function setOut({ open, part }, goal) {
  const others = open.filter((s) => s !== goal && part[s] === part[goal]);
  const s = others[Math.floor(Math.random() * others.length)] ?? goal;
  return { path: [s], since: performance.now(), end: undefined };
}

/** Its next step, when it is time; after its end it sets out anew. */
export function stepped(walker, maze, action, goal, now) {
  const { path, since, end } = walker, s = path.at(-1);
  if (now - since < (end ? 6 * PACE : PACE)) return walker;
  if (end) return setOut(maze, goal);
  if (s === goal) return { path, since: now, end: "arrived" };
  if (path.length > LONGEST) return { path, since: now, end: "lost" };
  return { path: [...path, maze.next[s * maze.A + action[s]]], since: now };
}

/** Its whole way, for readers who want no motion. */
export function arrived(walker, maze, action, goal) {
  let now = { path: walker.path.slice(0, 1), since: -Infinity };
  while (!now.end) now = { ...stepped(now, maze, action, goal, 0), since: -Infinity };
  return { ...now, since: performance.now() };
}
