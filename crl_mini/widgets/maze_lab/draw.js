// Pictures of the laboratory: the plane of representations, walks, logits, curves.

/** X (n, D) in a plane of two axes (2, D) around a centre; (n, 2). */
export function project(X, { centre, axes, turn }, D) {
  const n = X.length / D, out = new Float64Array(2 * n);
  for (let i = 0; i < n; i++) {
    let u = 0, v = 0;
    for (let d = 0; d < D; d++) {
      const x = X[i * D + d] - centre[d];
      u += x * axes[d];
      v += x * axes[D + d];
    }
    out[2 * i] = turn[0] * u + turn[1] * v;
    out[2 * i + 1] = turn[2] * u + turn[3] * v;
  }
  return out;
}

/** The plane of the largest spread of psi (S, D): a few steps on from the plane before. */
export function plane(psi, cells, D, before) {
  const n = cells.length, centre = new Float64Array(D), spread = new Float64Array(D * D);
  for (let i = 0; i < n; i++) for (let d = 0; d < D; d++) centre[d] += psi[i * D + d] / n;
  for (let i = 0; i < n; i++) {
    for (let d = 0; d < D; d++) {
      const x = psi[i * D + d] - centre[d];
      for (let e = 0; e < D; e++) spread[d * D + e] += x * (psi[i * D + e] - centre[e]);
    }
  }
  let axes = before?.axes ?? normals(7, 2 * D);
  for (let round = before ? 97 : 0; round < 100; round++) {
    axes = orthogonal(multiply(axes, spread, D), D);
  }
  const flat = { centre, axes, turn: [1, 0, 0, 1] };
  return { ...flat, turn: likeTheMaze(project(psi, flat, D), cells) };
}

function multiply(axes, M, D) {
  return Float64Array.from({ length: 2 * D }, (_, k) => {
    const row = k < D ? 0 : D;
    let total = 0;
    for (let e = 0; e < D; e++) total += axes[row + e] * M[e * D + (k % D)];
    return total;
  });
}

function orthogonal(axes, D) {
  const a = axes.subarray(0, D), b = axes.subarray(D);
  const unit = (x) => { const by = Math.hypot(...x) || 1; x.forEach((_, k) => { x[k] /= by; }); };
  unit(a);
  const along = sum(a.map((x, k) => x * b[k]));
  a.forEach((x, k) => { b[k] -= along * x; });
  unit(b);
  return axes;
}

/** The rotation or reflection that lays points (n, 2) most like the cells of the maze. */
function likeTheMaze(points, cells) {
  const middle = [0, 1].map((k) => sum(cells.map((c) => c[k])) / cells.length);
  const m = [0, 0, 0, 0]; // sums of x u, x v, y u, y v
  cells.forEach(([r, c], i) => {
    const x = c - middle[1], y = r - middle[0], [u, v] = points.subarray(2 * i, 2 * i + 2);
    m[0] += x * u; m[1] += x * v; m[2] += y * u; m[3] += y * v;
  });
  const turned = Math.hypot(m[0] + m[3], m[2] - m[1]) >= Math.hypot(m[0] - m[3], m[2] + m[1]);
  const flip = turned ? 1 : -1, angle = Math.atan2(m[2] - flip * m[1], m[0] + flip * m[3]);
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  return [cos, -sin * flip, sin, cos * flip];
}

/** Points of the plane into a square of `size` pixels, about the middle of all. */
export function fitted(points, size, before) {
  let far = 1e-9;
  for (const x of points) far = Math.max(far, Math.abs(x));
  const reach = before > far ? before + 0.05 * (far - before) : far; // it shrinks calmly
  return { reach, at: (u, v) => [u, v].map((x) => size / 2 + (x / reach) * (size / 2 - 14)) };
}

/** The goals' representations as a net: edges join neighbouring cells. */
export function drawNet(context, maze, at, fill, colour) {
  const { S, A, next } = maze;
  Object.assign(context, { strokeStyle: colour("soft"), lineWidth: 1, globalAlpha: 0.55 });
  context.beginPath();
  for (let s = 0; s < S; s++) {
    for (const a of [2, 3]) {
      if (next[s * A + a] === s) continue;
      context.moveTo(...at(s));
      context.lineTo(...at(next[s * A + a]));
    }
  }
  context.stroke();
  context.globalAlpha = 1;
  for (let s = 0; s < S; s++) disc(context, ...at(s), 4, fill(s));
}

/** A diamond, for a true future; a cross, for what is none. */
export function diamond(context, x, y, r, fill, edge) {
  context.beginPath();
  [[0, -r], [r, 0], [0, r], [-r, 0]].forEach(([u, v]) => context.lineTo(x + u, y + v));
  context.closePath();
  Object.assign(context, { fillStyle: fill, strokeStyle: edge, lineWidth: 1.5 });
  context.fill();
  context.stroke();
}
export function crossing(context, x, y, r, ink, width = 2.5) {
  line(context, [[x - r, y - r], [x + r, y + r]], ink, { width });
  line(context, [[x + r, y - r], [x - r, y + r]], ink, { width });
}

/** phi of the walker's actions at their places; from the chosen one a line to the goal. */
export function drawActions(context, places, chosen, goal, colour) {
  line(context, [places[chosen], goal], colour("blue"), { width: 2, dash: [5, 4] });
  places.forEach((place, a) => {
    const ink = colour(a === chosen ? "blue" : "soft");
    disc(context, ...place, a === chosen ? 9 : 7, ink, colour("paper"));
    text(context, "·↑→↓←"[a], ...place, colour("paper"), "center");
  });
}

// ---------------------------------------------------------------- in the mazes
/** Cells that walkers keep out of: three lines, from the lower left to the upper right. */
export function drawFence(context, { shut }, centre, size, colour) {
  shut.forEach((on, s) => {
    if (!on) return;
    const [y, x] = centre(s), r = size / 2;
    for (const k of [-r, 0, r]) {
      const low = Math.max(-r, k - r), high = Math.min(r, k + r);
      const ends = [[x + low, y + k - low], [x + high, y + k - high]];
      line(context, ends, colour("orange"), { width: 1.2 });
    }
  });
}

/** The frame that the keyboard moves while walls are drawn. */
export function drawFrame(context, place, size, colour) {
  const [y, x] = place.map((k) => (k - CROP) * size);
  Object.assign(context, { strokeStyle: colour("ink"), lineWidth: 2.5 });
  context.strokeRect(x, y, size, size);
}

/** The walker's way; of the last step it has gone a share. */
export function drawWalk(context, points, share, lost, size, colour) {
  const last = points.at(-1), from = points.at(-2) ?? last;
  const now = last.map((x, k) => from[k] + share * (x - from[k]));
  points = [...points.slice(0, -1), now];
  line(context, points, colour("paper"), { width: size * 0.34 });
  line(context, points, colour("blue"), { width: size * 0.2 });
  disc(context, ...now, size * 0.3, colour("blue"), "#ffffff");
  if (lost) crossing(context, ...last, size * 0.34, colour("orange"), 4);
}

/** A pair on its walk: from (s, a) to its future g; goals of other rows are crosses. */
export function drawPair(context, { t, k, others, done }, walk, at, size, colour) {
  const now = t + Math.round(done * k), place = at(walk[now]);
  line(context, walk.map(at), colour("line"), { width: 1.5 });
  line(context, walk.slice(t, now + 1).map(at), colour("blue"), { width: 3 });
  disc(context, ...at(walk[t]), size * 0.32, colour("ink"), colour("paper"));
  if (done < 1) disc(context, ...place, size * 0.28, colour("blue"));
  else {
    others.forEach((s) => crossing(context, ...at(s), size * 0.26, colour("orange")));
    diamond(context, ...place, size * 0.46, colour("blue"), colour("paper"));
  }
}

/** The logits (B, B) as an image; one row is marked. */
export function drawLogits(context, logits, B, width, row, colour) {
  const image = new ImageData(B, B), [low, high] = range(logits);
  logits.forEach((x, k) => {
    image.data.set(RAMP[Math.round((255 * (x - low)) / (high - low || 1))], 4 * k);
    image.data[4 * k + 3] = 255;
  });
  const small = h("canvas", { width: B, height: B });
  small.getContext("2d").putImageData(image, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, width, width);
  if (row === undefined) return;
  const size = width / B;
  Object.assign(context, { strokeStyle: colour("paper"), lineWidth: 1.5 });
  context.strokeRect(-2, row * size - 1, width + 4, size + 2);
  diamond(context, (row + 0.5) * size, (row + 0.5) * size, 4.5, colour("blue"), colour("paper"));
}

/** Curves of [seconds, value] pairs in [0, 1]: { points, ink, dash, name }. */
export function drawCurves(context, curves, width, height, colour) {
  const left = 24, base = height - 16, times = curves.flatMap((c) => c.points.map((p) => p[0]));
  const end = Math.max(5, ...times), x = (t) => left + (t / end) * (width - left - 4);
  const y = (v) => base - clamp(v, 0, 1) * (base - 8);
  for (const v of [0, 0.5, 1]) {
    line(context, [[left, y(v)], [width - 4, y(v)]], colour("line"), { width: 1 });
    text(context, String(v), left - 5, y(v), colour("soft"), "right");
  }
  text(context, `${Math.round(end)} s`, width - 4, height - 7, colour("soft"), "right");
  text(context, "0", left, height - 7, colour("soft"));
  for (const { points, ink, dash } of curves) {
    if (points.length) line(context, points.map(([t, v]) => [x(t), y(v)]), colour(ink), { dash });
  }
  curves.forEach(({ name, ink }, k) =>
    text(context, name, width - 8, base - 12 - 15 * k, colour(ink), "right"));
}
