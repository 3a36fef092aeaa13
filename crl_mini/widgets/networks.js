// Small networks, run in the page: towers of dense layers, and energies of two vectors.

const EPSILON = 1e-6; // in the layer norm

/** Cut a flat array into the layers of one tower; `end` is the start of the next one. */
export function tower(flat, start, dIn, sizes, layerNorm) {
  const layers = [];
  let at = start, from = dIn;
  const take = (n) => flat.subarray(at, (at += n));
  sizes.forEach((to, k) => {
    const layer = { from, to, w: take(from * to), b: take(to) };
    layer.hidden = k < sizes.length - 1;
    if (layer.hidden && layerNorm) Object.assign(layer, { scale: take(to), shift: take(to) });
    layers.push(layer);
    from = to;
  });
  return { layers, end: at };
}

/** The outputs (n, D) of a tower for inputs (n, d): dense, layer norm, ReLU, ..., dense. */
export function forward({ layers }, inputs, n) {
  let x = inputs;
  for (const { from, to, w, b, scale, shift, hidden } of layers) {
    const y = new Float64Array(n * to);
    for (let r = 0; r < n; r++) {
      const row = y.subarray(r * to, (r + 1) * to);
      row.set(b);
      for (let i = 0; i < from; i++) {
        const value = x[r * from + i];
        if (value === 0) continue; // about half of the outputs of a ReLU
        for (let j = 0, k = i * to; j < to; j++, k++) row[j] += value * w[k];
      }
      if (scale) normalise(row, scale, shift);
      if (hidden) for (let j = 0; j < to; j++) if (row[j] < 0) row[j] = 0;
    }
    x = y;
  }
  return x;
}

function normalise(row, scale, shift) {
  const n = row.length;
  let mean = 0, square = 0;
  for (let j = 0; j < n; j++) mean += row[j] / n;
  for (let j = 0; j < n; j++) square += (row[j] - mean) ** 2 / n;
  const by = 1 / Math.sqrt(square + EPSILON);
  for (let j = 0; j < n; j++) row[j] = (row[j] - mean) * by * scale[j] + shift[j];
}

const dot = (x, y, i, j, D) => {
  let total = 0;
  for (let k = 0; k < D; k++) total += x[i * D + k] * y[j * D + k];
  return total;
};

/** The energy of vector i of x with vector j of y. */
export const ENERGY = {
  dot,
  l2: (x, y, i, j, D) => {
    let total = 0;
    for (let k = 0; k < D; k++) total += (x[i * D + k] - y[j * D + k]) ** 2;
    return -Math.sqrt(Math.max(total, 1e-12));
  },
  cosine: (x, y, i, j, D) => dot(x, y, i, j, D) /
    Math.sqrt((dot(x, x, i, i, D) + 1e-12) * (dot(y, y, j, j, D) + 1e-12)),
};

/** Bytes of half-precision numbers, which not every browser reads, as a Float32Array. */
export function halves(view) {
  return Float32Array.from(array(Uint16Array, view), (bits) => {
    const power = (bits >> 10) & 31, part = bits & 1023;
    const size = power ? 2 ** (power - 15) * (1 + part / 1024) : 2 ** -24 * part;
    return bits & 32768 ? -size : size;
  });
}

/** 256 colours, as [red, green, blue]. */
const RAMP = [...Array(256).keys()].map((k) => viridis(k / 255).fill.match(/\d+/g).map(Number));

/** Lowest and highest of many numbers. */
const range = (xs) => xs.reduce(([a, b], x) => [Math.min(a, x), Math.max(b, x)],
  [Infinity, -Infinity]);
