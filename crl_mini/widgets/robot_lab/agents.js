// The agents: networks that Python shipped, and two planners without an actor.

const SIDES = [4, 2, 2]; // of the patches of the tower that looks at pictures
const PIXELS = 64;

/** Undo gzip. */
export const unzipped = async (bytes) => new Uint8Array(await new Response(
  new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());

/** Weights: half precision, or 8 bits and a factor (32 bits) for each column. */
function weightsOf(bytes, arrays) {
  let at = 0;
  const take = (n) => new DataView(bytes.buffer, bytes.byteOffset + at, (at += n, n));
  const eights = (rows, columns) => {
    const by = array(Float32Array, take(4 * columns));
    return Float32Array.from(array(Int8Array, take(rows * columns)),
      (x, k) => x * by[k % columns]);
  };
  return arrays.map(([rows, columns, bits]) =>
    (bits === 8 ? eights(rows, columns) : halves(take(2 * rows * columns))));
}

/** The networks of a file: towers by name, and what `header` says of them. */
export function readAgent(bytes) {
  const size = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + size)));
  const parts = weightsOf(bytes.subarray(4 + size), header.arrays), towers = {};
  for (const [name, { norms, count }] of Object.entries(header.towers)) {
    const layers = [...Array(count).keys()].map((k) => {
      const [w, b] = parts.splice(0, 2), to = b.length, hidden = k < count - 1;
      const [scale, shift] = k < norms ? parts.splice(0, 2) : [];
      return { w, b, scale, shift, from: w.length / to, to, hidden };
    });
    towers[name] = { layers };
  }
  return { ...header, towers };
}

/** Squares of side `side` of a picture (S, S, C), each one flat: rows. */
function patches(x, S, C, side) {
  const cells = S / side, rows = new Float64Array(x.length), run = side * C;
  for (let r = 0; r < S; r++) {
    for (let c = 0; c < cells; c++) {
      const row = Math.floor(r / side) * cells + c, from = (r * cells + c) * run;
      rows.set(x.subarray(from, from + run), (row * side + (r % side)) * run);
    }
  }
  return rows;
}

/** What a tower makes of pictures (S, S, 4), one or several stacked. */
function look({ layers }, ...pictures) {
  const n = PIXELS ** 2, C = 3 * pictures.length;
  let x = new Float64Array(n * C), S = PIXELS, channels = C;
  pictures.forEach((picture, which) => {
    for (let p = 0; p < n; p++) {
      for (let k = 0; k < 3; k++) x[p * C + 3 * which + k] = picture[4 * p + k] / 255;
    }
  });
  SIDES.forEach((side, k) => {
    const rows = patches(x, S, channels, side);
    S /= side;
    channels = layers[k].to;
    x = forward({ layers: [layers[k]] }, rows, S * S);
  });
  return forward({ layers: layers.slice(SIDES.length) }, x, 1);
}

/** An observation is { state, picture }: each agent takes what it was trained on. */
function seeing({ obs, low, high, towers }) {
  if (obs === "pixels") return (x) => look(towers.eyes, x.picture);
  return (x) => Float64Array.from(low, (l, k) => (2 * (x.state[k] - l)) / (high[k] - l) - 1);
}

const joined = (...vectors) => Float64Array.from(vectors.flatMap((v) => [...v]));

/** phi, psi and f of a file with a contrastive critic. */
export function criticOf(file) {
  const see = seeing(file), energy = ENERGY[file.energy], H = file.heads.length;
  const D = file.towers.psi0.layers.at(-1).to;
  /** Representations (n, H D): those of the critics, twins have two, side by side. */
  const each = (name, x, n) => {
    const rows = new Float64Array(n * H * D);
    for (let h = 0; h < H; h++) {
      const one = forward(file.towers[name + h], x, n);
      for (let i = 0; i < n; i++) rows.set(one.subarray(i * D, (i + 1) * D), (i * H + h) * D);
    }
    return rows;
  };
  return {
    see,
    /** Representations of features of one state with each of n actions. */
    phi: (features, actions) => each("phi",
      joined(...actions.map((a) => joined(features, a))), actions.length),
    psi: (features) => each("psi", features, 1),
    /** The logit of row i of x, of twins the smaller one. */
    f: (x, y, i = 0) => Math.min(...file.heads.map(({ scale, bias }, h) =>
      scale * energy(x, y, i * H + h, h, D) + bias)),
  };
}

/** The action without noise of a file with an actor: (s, g) -> a. */
export function actorOf(file) {
  const { actor, actor_eyes } = file.towers, see = seeing(file);
  return (s, g) => {
    const x = actor_eyes ? look(actor_eyes, s.picture, g.picture) : joined(see(s), see(g));
    return [...forward(actor, x, 1).slice(0, 4)].map(Math.tanh);
  };
}

/** Straight to where the hand is in the goal, and no thought of the block. */
export const straight = ({ STEP, OPEN }) => (s, g) => {
  const way = [0, 1, 2].map((k) => clamp((g.state[k] - s.state[k]) / STEP, -1, 1));
  return [...way, clamp((2 * g.state[3]) / OPEN - 1, -1, 1)];
};

/** K actions, uniform in [-1, 1], by a generator of uniform numbers. */
export const proposals = (K, u) =>
  [...Array(K)].map(() => [...Array(4)].map(() => 2 * u() - 1));

/** The critic's opinion of each proposal, and the best: greedy in representation space. */
export function greedy(critic, seen, psi, actions) {
  const phi = critic.phi(seen, actions), f = actions.map((_, k) => critic.f(phi, psi, k));
  const best = f.reduce((top, x, k) => (x > f[top] ? k : top), 0);
  return { action: actions[best], actions, best, f, phi };
}
