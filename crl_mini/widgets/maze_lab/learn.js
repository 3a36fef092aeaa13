// A contrastive critic that is trained in the page: two small networks, their gradients
// by hand, Adam. Matrices are flat and row-major; the names are those of the book.

const WIDTH = 96; // of the hidden layers
const RATE = 0.01, SETTLE = 3000; // step size of Adam, RATE / sqrt(1 + updates / SETTLE)
const MEMORY = 500; // updates over which the weights are averaged, at first

/** C (n, m) += X (n, k) Y (k, m); k is a multiple of 4. X may be read by its transpose. */
export function addProduct(C, X, Y, n, k, m, row = k, column = 1) {
  for (let i = 0; i < n; i++) {
    const c = i * m;
    for (let l = 0; l < k; l += 4) {
      const at = i * row + l * column, y0 = l * m, y1 = y0 + m, y2 = y1 + m, y3 = y2 + m;
      const x0 = X[at], x1 = X[at + column], x2 = X[at + 2 * column], x3 = X[at + 3 * column];
      for (let j = 0; j < m; j++) {
        C[c + j] += x0 * Y[y0 + j] + x1 * Y[y1 + j] + x2 * Y[y2 + j] + x3 * Y[y3 + j];
      }
    }
  }
}

/** C (n, m) = X (n, k) times the transpose of Y (m, k); m is 4 or more. */
export function productT(C, X, Y, n, k, m) {
  for (let i = 0; i < n; i++) {
    for (let block = 0; block < m; block += 4) {
      const j = Math.min(block, m - 4), c = i * m + j, x = i * k;
      const y0 = j * k, y1 = y0 + k, y2 = y1 + k, y3 = y2 + k;
      let c0 = 0, c1 = 0, c2 = 0, c3 = 0;
      for (let l = 0; l < k; l++) {
        const value = X[x + l];
        c0 += value * Y[y0 + l];
        c1 += value * Y[y1 + l];
        c2 += value * Y[y2 + l];
        c3 += value * Y[y3 + l];
      }
      C[c] = c0; C[c + 1] = c1; C[c + 2] = c2; C[c + 3] = c3;
    }
  }
}

// ---------------------------------------------------------------- the two networks
/** Names and sizes of all parameters. A one-hot input times a matrix is a row of it. */
const sizes = ({ S, A, D }) => ({
  phiCell: S * WIDTH, phiAction: A * WIDTH, phiOut: WIDTH * D, phiBias: D,
  psiCell: S * WIDTH, psiOut: WIDTH * D, psiBias: D, bias: 1, logScale: 1,
});

/** The parts of one flat vector by their names; they share its memory. */
export function parts(flat, shape) {
  let at = 0;
  return Object.fromEntries(Object.entries(sizes(shape)).map(([name, n]) =>
    [name, flat.subarray(at, (at += n))]));
}

/** Fresh parameters: small normal first layers, second ones by 1 / sqrt(width), no biases. */
export function fresh(shape, seed) {
  const n = sum(Object.values(sizes(shape))), theta = new Float64Array(n);
  const noise = normals(seed, n), scale = { Cell: 0.3, Action: 0.3, Out: 1 / Math.sqrt(WIDTH) };
  let at = 0;
  for (const [name, size] of Object.entries(sizes(shape))) {
    const by = scale[name.slice(3)] ?? 0;
    for (let k = 0; k < size; k++, at++) theta[at] = by * noise[at];
  }
  return theta;
}

/** The two networks: which tables their inputs are looked up in, and their outputs. */
const phiNet = (p, s, a) =>
  ({ inputs: [[p.phiCell, s], [p.phiAction, a]], W: p.phiOut, c: p.phiBias });
const psiNet = (p, g) => ({ inputs: [[p.psiCell, g]], W: p.psiOut, c: p.psiBias });

/** One network: y (n, D) = relu(sum of rows of tables) W + c. */
function run({ inputs, W, c }, n, hidden, y) {
  const D = c.length;
  hidden.fill(0);
  for (const [table, index] of inputs) {
    for (let i = 0; i < n; i++) {
      for (let j = 0, from = index[i] * WIDTH, to = i * WIDTH; j < WIDTH; j++) {
        hidden[to + j] += table[from + j];
      }
    }
  }
  for (let k = 0; k < n * WIDTH; k++) if (hidden[k] < 0) hidden[k] = 0;
  for (let i = 0; i < n; i++) y.set(c, i * D);
  addProduct(y, hidden, W, n, WIDTH, D);
  return y;
}

/** Backwards through one network: add to the gradients `d`, given the slopes dy (n, D). */
function back({ W }, d, n, hidden, dy, dHidden) {
  const D = d.c.length;
  for (let i = 0, k = 0; i < n; i++) for (let j = 0; j < D; j++, k++) d.c[j] += dy[k];
  addProduct(d.W, hidden, dy, WIDTH, n, D, 1, WIDTH);
  productT(dHidden, dy, W, n, D, WIDTH);
  for (let k = 0; k < n * WIDTH; k++) if (hidden[k] === 0) dHidden[k] = 0;
  for (const [table, index] of d.inputs) {
    for (let i = 0; i < n; i++) {
      for (let j = 0, to = index[i] * WIDTH, from = i * WIDTH; j < WIDTH; j++) {
        table[to + j] += dHidden[from + j];
      }
    }
  }
}

const outputs = (net, n) =>
  run(net, n, new Float64Array(n * WIDTH), new Float64Array(n * net.c.length));
/** phi of the pairs (s_i, a_i) and psi of the goals g_j, (n, D). */
export const phiOf = (p, s, a) => outputs(phiNet(p, s, a), s.length);
export const psiOf = (p, g) => outputs(psiNet(p, g), g.length);

// ---------------------------------------------------------------- energies of all pairs
/**
 * An energy sees two vectors x and y by three inner products: `of` x.y, x.x and y.y. Its
 * slope by x is cross y + own x, written with the energy f itself.
 */
export const FORMS = {
  dot: { of: (xy) => xy, cross: () => 1, own: () => 0 },
  l2: {
    of: (xy, xx, yy) => -Math.sqrt(Math.max(xx + yy - 2 * xy, 1e-12)),
    cross: (f) => -1 / f, own: (f) => 1 / f,
  },
  cosine: {
    of: (xy, xx, yy) => xy / Math.sqrt((xx + 1e-12) * (yy + 1e-12)),
    cross: (f, xx, yy) => 1 / Math.sqrt((xx + 1e-12) * (yy + 1e-12)),
    own: (f, xx) => -f / (xx + 1e-12),
  },
};

/** Squared lengths of the rows of X (n, D). */
function squares(X, n, D) {
  const out = new Float64Array(n);
  for (let i = 0, k = 0; i < n; i++) for (let j = 0; j < D; j++, k++) out[i] += X[k] * X[k];
  return out;
}

/** Energies F (n, m) of all rows of phi with all rows of psi. */
export function energies(form, F, phi, psi, n, m, D) {
  const { of } = FORMS[form], xx = squares(phi, n, D), yy = squares(psi, m, D);
  productT(F, phi, psi, n, D, m);
  for (let i = 0, k = 0; i < n; i++) {
    for (let j = 0; j < m; j++, k++) F[k] = of(F[k], xx[i], yy[j]);
  }
  return F;
}

/** Slopes of phi and psi (B, D), given those of the energies, R (B, B), used up here. */
function pull(form, R, F, phi, psi, B, D, dphi, dpsi) {
  const { cross, own } = FORMS[form], xx = squares(phi, B, D), yy = squares(psi, B, D);
  const u = new Float64Array(B), v = new Float64Array(B);
  for (let i = 0, k = 0; i < B; i++) {
    for (let j = 0; j < B; j++, k++) {
      u[i] += R[k] * own(F[k], xx[i]);
      v[j] += R[k] * own(F[k], yy[j]);
      R[k] *= cross(F[k], xx[i], yy[j]);
    }
  }
  for (let i = 0, k = 0; i < B; i++) {
    for (let j = 0; j < D; j++, k++) { dphi[k] = u[i] * phi[k]; dpsi[k] = v[i] * psi[k]; }
  }
  addProduct(dphi, R, psi, B, B, D);
  addProduct(dpsi, R, phi, B, B, D, 1, B);
}

// ---------------------------------------------------------------- losses
/** logsumexp of B numbers, `step` apart. */
function lse(x, at, B, step) {
  let top = -Infinity, total = 0;
  for (let k = 0; k < B; k++) top = Math.max(top, x[at + k * step]);
  for (let k = 0; k < B; k++) total += Math.exp(x[at + k * step] - top);
  return top + Math.log(total);
}

/** How much of the loss each logit gets: R (B, B), of the loss and weight x penalty. */
export function slopes(R, logits, B, loss, penalty) {
  R.fill(0);
  if (loss === "nce") {
    for (let k = 0; k < B * B; k++) R[k] = 1 / (1 + Math.exp(-logits[k])) / (B * B);
    for (let i = 0; i < B; i++) R[i * B + i] -= 1 / (B * B);
  }
  const both = loss === "symmetric_infonce", share = both ? 0.5 / B : 1 / B;
  const forward = both || loss === "infonce", backward = both || loss === "backward_infonce";
  for (let i = 0; i < B && (forward || penalty); i++) {
    const row = lse(logits, i * B, B, 1);
    const by = (forward ? share : 0) + (2 * penalty * row) / B;
    for (let k = i * B; k < i * B + B; k++) R[k] += by * Math.exp(logits[k] - row);
  }
  for (let j = 0; j < B && backward; j++) {
    const column = lse(logits, j, B, B);
    for (let k = j; k < B * B; k += B) R[k] += share * Math.exp(logits[k] - column);
  }
  if (loss !== "nce") for (let i = 0; i < B; i++) R[i * B + i] -= 1 / B;
}

// ---------------------------------------------------------------- one update
/** Memory that every update of B pairs uses again. */
export function memory(B, D) {
  const of = (...names) => (n) => Object.fromEntries(names.map((x) => [x, new Float64Array(n)]));
  return {
    ...of("F", "logits", "R")(B * B), ...of("phi", "psi", "dphi", "dpsi")(B * D),
    ...of("hiddenPhi", "hiddenPsi", "dHidden")(B * WIDTH),
  };
}

/**
 * The gradient of the loss of a batch { s, a, g } by all parameters; fills d with it and
 * m.logits with the B x B logits. `how` holds energy, loss and penalty.
 */
export function gradient(p, d, batch, how, m) {
  const { s, a, g } = batch, B = s.length, D = p.phiBias.length;
  const nets = [phiNet(p, s, a), psiNet(p, g)], scaled = how.energy === "cosine";
  const scale = scaled ? Math.exp(p.logScale[0]) : 1;
  run(nets[0], B, m.hiddenPhi, m.phi);
  run(nets[1], B, m.hiddenPsi, m.psi);
  energies(how.energy, m.F, m.phi, m.psi, B, B, D);
  for (let k = 0; k < B * B; k++) m.logits[k] = scale * m.F[k] + p.bias[0];
  slopes(m.R, m.logits, B, how.loss, how.penalty);
  for (let k = 0; k < B * B; k++) {
    d.bias[0] += m.R[k];
    if (scaled) d.logScale[0] += m.R[k] * scale * m.F[k];
    m.R[k] *= scale;
  }
  pull(how.energy, m.R, m.F, m.phi, m.psi, B, D, m.dphi, m.dpsi);
  back(nets[0], phiNet(d, s, a), B, m.hiddenPhi, m.dphi, m.dHidden);
  back(nets[1], psiNet(d, g), B, m.hiddenPsi, m.dpsi, m.dHidden);
}

/** A critic with its optimiser. `p` are the weights, `mean` their running mean. */
export function critic(shape, B, seed) {
  const theta = fresh(shape, seed), n = theta.length, mean = theta.slice();
  const [slope, first, second] = [0, 0, 0].map(() => new Float64Array(n));
  const p = parts(theta, shape), d = parts(slope, shape), m = memory(B, shape.D);
  const made = { shape, p, mean: parts(mean, shape), logits: m.logits, steps: 0 };
  made.update = (batch, how) => {
    slope.fill(0);
    gradient(p, d, batch, how, m);
    const t = (made.steps += 1), slow = Math.sqrt(1 + t / SETTLE);
    const by = RATE / slow / (1 - 0.9 ** t), full = 1 - 0.999 ** t;
    const fade = Math.max(1 / t, 1 / (MEMORY * slow));
    for (let k = 0; k < n; k++) { // Adam
      first[k] += 0.1 * (slope[k] - first[k]);
      second[k] += 0.001 * (slope[k] * slope[k] - second[k]);
      theta[k] -= (by * first[k]) / (Math.sqrt(second[k] / full) + 1e-8);
      mean[k] += fade * (theta[k] - mean[k]);
    }
  };
  return made;
}
