// The laboratory's world: a maze that the reader draws, walks recorded in it, and the
// exact Q-function of those walkers.

const LENGTH = 200; // steps of a walk
export const KEEP = { aimless: 0, momentum: 0.3 }; // probability of the same action again

/** A drawn maze: rows of "#" (wall), "." (free) and "x" (free, but walkers keep out). */
export function drawn(rows) {
  const cells = [], where = new Map(), columns = rows[0].length;
  rows.forEach((row, r) => [...row].forEach((c, k) => {
    if (c === "#") return;
    where.set(r * columns + k, cells.length);
    cells.push([r, k]);
  }));
  const at = (r, c) => (c >= 0 && c < columns ? where.get(r * columns + c) : undefined);
  const shut = cells.map(([r, c]) => rows[r][c] === "x");
  const maze = { rows: rows.length, columns, cells, at, shut, S: cells.length, A: ACTIONS.length };
  maze.next = steps(maze, () => false); // of the agent
  maze.tread = steps(maze, (s) => shut[s]); // of the walkers, who turn back at a fence
  maze.open = [...cells.keys()].filter((s) => !shut[s]);
  maze.part = components(maze);
  return maze;
}

/** The next state of every (s, a); no step leads into a wall or where none may go. */
function steps({ cells, at, S, A }, forbidden) {
  const next = new Int32Array(S * A);
  cells.forEach(([r, c], s) => MOVES.forEach(([down, right], a) => {
    const to = at(r + down, c + right);
    next[s * A + a] = to === undefined || forbidden(to) ? s : to;
  }));
  return next;
}

/** Which cells a path connects: the first state of each state's part of the maze. */
function components({ S, A, next }) {
  const part = new Int32Array(S).fill(-1);
  for (let first = 0; first < S; first++) {
    const reached = part[first] < 0 ? [first] : [];
    while (reached.length) {
      const s = reached.pop();
      if (part[s] >= 0) continue;
      part[s] = first;
      for (let a = 1; a < A; a++) reached.push(next[s * A + a]);
    }
  }
  return part;
}

// ---------------------------------------------------------------- walks, and pairs
/** Walks, recorded some at a time: states (n, LENGTH + 1) and actions (n, LENGTH). */
export function recorder({ open, tread, A }, count, keep, random) {
  const states = new Uint16Array(count * (LENGTH + 1)), actions = new Uint8Array(count * LENGTH);
  const walks = { n: 0, count, states, actions };
  walks.one = (k) => states.subarray(k * (LENGTH + 1), (k + 1) * (LENGTH + 1));
  walks.more = (some) => {
    for (const stop = Math.min(count, walks.n + some); walks.n < stop; walks.n++) {
      const walk = walks.one(walks.n), taken = actions.subarray(walks.n * LENGTH);
      walk[0] = open[Math.floor(random() * open.length)];
      for (let t = 0; t < LENGTH; t++) {
        taken[t] = t && random() < keep ? taken[t - 1] : Math.floor(random() * A);
        walk[t + 1] = tread[walk[t] * A + taken[t]];
      }
    }
  };
  return walks;
}

/** B pairs: (s, a) at a random time of a random walk, g a geometric future, truncated. */
export function pairs(walks, B, gamma, random) {
  const batch = { walk: new Int32Array(B), t: new Int32Array(B), k: new Int32Array(B) };
  for (const name of "sag") batch[name] = new Int32Array(B);
  for (let i = 0; i < B; i++) {
    const walk = Math.floor(random() * walks.n), t = Math.floor(random() * LENGTH);
    const tail = gamma ** (LENGTH - t), u = 1 - random() * (1 - tail);
    const k = clamp(Math.ceil(Math.log(u) / Math.log(gamma)), 1, LENGTH - t);
    const at = walk * (LENGTH + 1) + t;
    batch.walk[i] = walk; batch.t[i] = t; batch.k[i] = k;
    batch.s[i] = walks.states[at];
    batch.a[i] = walks.actions[walk * LENGTH + t];
    batch.g[i] = walks.states[at + k];
  }
  return batch;
}

// ---------------------------------------------------------------- the exact answer
/**
 * Q (S, A, S) of walkers who keep their action with probability `keep` and else draw one
 * anew. Pairs (s, a) are then the states of a Markov chain without memory:
 * Q(s, a, g) = (1 - gamma) [s' = g] + gamma sum_a' p(a' | a) Q(s', a', g).
 */
export function exactQ({ S, A, tread, shut }, gamma, keep) {
  const n = S * A, matrix = new Float64Array(n * n), reward = new Float64Array(n * S);
  for (let k = 0; k < n; k++) {
    matrix[k * n + k] = 1;
    if (shut[Math.floor(k / A)]) continue; // walkers are never here
    reward[k * S + tread[k]] = 1 - gamma;
    for (let a = 0; a < A; a++) {
      const p = (1 - keep) / A + (a === k % A ? keep : 0);
      matrix[k * n + tread[k] * A + a] -= gamma * p;
    }
  }
  return solve(matrix, reward, n, S);
}

/** p(s, a) over all steps of the walks, and p(g), the goals' marginal distribution. */
export function marginals({ S, A, tread, open }, Q, keep) {
  let now = new Float64Array(S * A), p = new Float64Array(S * A);
  for (const s of open) now.fill(1 / open.length / A, s * A, (s + 1) * A);
  for (let t = 0; t < LENGTH; t++) {
    const later = new Float64Array(S * A);
    now.forEach((x, k) => {
      p[k] += x / LENGTH;
      later[tread[k] * A + (k % A)] += keep * x;
      for (let a = 0; a < A; a++) later[tread[k] * A + a] += ((1 - keep) * x) / A;
    });
    now = later;
  }
  const goals = new Float64Array(S);
  p.forEach((x, k) => { for (let g = 0; g < S; g++) goals[g] += x * Q[k * S + g]; });
  return { p, goals };
}

/** Correlation of x and y where keep(k), weighted. */
export function correlation(x, y, weight) {
  let n = 0, mx = 0, my = 0, xx = 0, yy = 0, xy = 0;
  for (let k = 0; k < x.length; k++) {
    if (!weight[k]) continue;
    n += weight[k]; mx += weight[k] * x[k]; my += weight[k] * y[k];
  }
  for (let k = 0; k < x.length; k++) {
    if (!weight[k]) continue;
    const dx = x[k] - mx / n, dy = y[k] - my / n;
    xx += weight[k] * dx * dx; yy += weight[k] * dy * dy; xy += weight[k] * dx * dy;
  }
  return xy / Math.sqrt(xx * yy);
}

// ---------------------------------------------------------------- walking to a goal
/**
 * The walker's action at every state, for one goal: that of the largest f(s, a, g) among
 * those that move it. (Where its choice leaves it standing, it takes the next best.)
 */
export function greedy(f, { S, A, next }, g) {
  const action = new Uint8Array(S);
  for (let s = 0; s < S; s++) {
    let most = -Infinity;
    for (let a = 1; a < A; a++) {
      const value = f[(s * A + a) * S + g];
      if (next[s * A + a] !== s && value > most) [most, action[s]] = [value, a];
    }
  }
  return action;
}

/** From which states the greedy walk arrives at g. */
export function arrivals(action, { S, A, next }, g) {
  const known = new Int8Array(S); // 1 arrives, -1 does not, 2 on the present way
  known[g] = 1;
  for (let start = 0; start < S; start++) {
    const way = [];
    let s = start;
    for (; known[s] === 0; s = next[s * A + action[s]]) { known[s] = 2; way.push(s); }
    const end = known[s] === 1 ? 1 : -1;
    for (const x of way) known[x] = end;
  }
  return known;
}
