// The book's ray caster in plain JavaScript: the pictures of `Scene.draw` in Python.

const SKIN = 1e-5; // metres; a shadow ray ignores hits nearer than this to its surface
const TINY = 1e-12; // replaces a divisor of zero
const per = (d) => 1 / (d === 0 ? TINY : d);
const NORMAL = new Float64Array(3); // of the surface that was hit last, in its geom's frame

function facing(x, y, z, t) {
  NORMAL[0] = x; NORMAL[1] = y; NORMAL[2] = z;
  return t;
}

/** Ends of a ray's part in a ball or tube, from products of o and d: half < 0 is a miss. */
function within(r, oo, od, dd) {
  const by = 1 / Math.max(dd, TINY), middle = -od * by, square = r * r - oo + od * od * by;
  return [middle, square < 0 ? -1 : Math.sqrt(square * by)];
}

/** Where the ray o + t d enters a shape, t; infinite if it misses. It sets NORMAL. */
export const SHAPES = {
  plane([w, h], ox, oy, oz, dx, dy, dz) {
    const t = -oz * per(dz);
    const misses = !(dz < 0) || (w > 0 && Math.abs(ox + t * dx) > w) ||
      (h > 0 && Math.abs(oy + t * dy) > h);
    return misses ? Infinity : facing(0, 0, 1, t);
  },
  sphere([r], ox, oy, oz, dx, dy, dz) {
    const [middle, half] = within(r, ox * ox + oy * oy + oz * oz,
      ox * dx + oy * dy + oz * dz, dx * dx + dy * dy + dz * dz), t = middle - half;
    if (half < 0) return Infinity;
    return facing((ox + t * dx) / r, (oy + t * dy) / r, (oz + t * dz) / r, t);
  },
  box([w, h, l], ox, oy, oz, dx, dy, dz) {
    const px = per(dx), py = per(dy), pz = per(dz);
    const hx = Math.abs(w * px), hy = Math.abs(h * py), hz = Math.abs(l * pz);
    const nx = -ox * px - hx, ny = -oy * py - hy, nz = -oz * pz - hz;
    const t = Math.max(nx, ny, nz);
    if (t > Math.min(-ox * px + hx, -oy * py + hy, -oz * pz + hz)) return Infinity;
    return facing(nx === t ? -Math.sign(dx) : 0, ny === t ? -Math.sign(dy) : 0,
      nz === t ? -Math.sign(dz) : 0, t);
  },
  cylinder([r, h], ox, oy, oz, dx, dy, dz) {
    const [middle, half] = within(r, ox * ox + oy * oy, ox * dx + oy * dy, dx * dx + dy * dy);
    const pz = per(dz), hz = Math.abs(h * pz), cap = -oz * pz - hz;
    const t = Math.max(middle - half, cap);
    if (half < 0 || t > Math.min(middle + half, -oz * pz + hz)) return Infinity;
    if (t === cap) return facing(0, 0, -Math.sign(dz), t);
    return facing((ox + t * dx) / r, (oy + t * dy) / r, 0, t);
  },
  capsule([r, h], ox, oy, oz, dx, dy, dz) {
    const [middle, half] = within(r, ox * ox + oy * oy, ox * dx + oy * dy, dx * dx + dy * dy);
    const z = oz + (middle - half) * dz;
    if (half < 0) return Infinity;
    if (Math.abs(z) <= h) {
      const t = middle - half;
      return facing((ox + t * dx) / r, (oy + t * dy) / r, 0, t);
    }
    const end = z > 0 ? h : -h, t = SHAPES.sphere([r], ox, oy, oz - end, dx, dy, dz);
    return t;
  },
};

/** Radius of the ball around a shape: most rays miss it. */
const AROUND = {
  plane: () => Infinity, sphere: ([r]) => r, box: (size) => Math.hypot(...size),
  cylinder: ([r, h]) => Math.hypot(r, h), capsule: ([r, h]) => r + h,
};

/** A view (5, 3), see pixels.py, in the frame of a pose (x, y, z, quaternion). */
export function seenFrom(pose, at, view) {
  const [w, x, y, z] = pose.slice(at + 3, at + 7), out = new Float64Array(15);
  for (let k = 0; k < 15; k += 3) {
    const [a, b, c] = [0, 1, 2].map((i) => view[k + i] - (k ? 0 : pose[at + i]));
    const u = y * c - z * b - w * a, v = z * a - x * c - w * b, t = x * b - y * a - w * c;
    out[k] = a + 2 * (y * t - z * v);
    out[k + 1] = b + 2 * (z * u - x * t);
    out[k + 2] = c + 2 * (x * v - y * u);
  }
  return out;
}

/** The view in the frame of each moving geom. */
export const movingViews = ({ moving, view }, poses) => moving.kinds.map((_, g) =>
  seenFrom(moving.poses[g], 0, seenFrom(poses, 7 * moving.rows[g], view)));

/** What tracing needs of geoms. */
const geomsOf = ({ kinds, sizes }, views) => kinds.map((kind, g) => {
  const v = views[g], r = AROUND[kind](sizes[g]), eye2 = v[0] ** 2 + v[1] ** 2 + v[2] ** 2;
  return { shape: SHAPES[kind], size: sizes[g], v, square: r * r, r, eye2 };
});

const HIT = { depth: 0, geom: 0, cosine: 0 };
/** The first geom before `depth` on the ray through (x, y); -1: none. It sets HIT. */
function firstHit(geoms, x, y, depth) {
  HIT.depth = depth;
  HIT.geom = -1;
  for (let g = 0; g < geoms.length; g++) {
    const { shape, size, v, square, eye2 } = geoms[g];
    const dx = v[3] + x * v[6] + y * v[9], dy = v[4] + x * v[7] + y * v[10];
    const dz = v[5] + x * v[8] + y * v[11], od = v[0] * dx + v[1] * dy + v[2] * dz;
    if ((eye2 - square) * (dx * dx + dy * dy + dz * dz) > od * od) continue;
    const t = shape(size, v[0], v[1], v[2], dx, dy, dz);
    if (!(t > 0 && t < HIT.depth)) continue;
    HIT.depth = t;
    HIT.geom = g;
    HIT.cosine = Math.max(NORMAL[0] * v[12] + NORMAL[1] * v[13] + NORMAL[2] * v[14], 0);
  }
  return HIT.geom;
}

/** Does one of the geoms stand between the light and the ray's point at `depth`? */
function isShaded(geoms, x, y, depth) {
  for (let g = 0; g < geoms.length; g++) {
    const { shape, size, v, square, r } = geoms[g];
    const px = v[0] + depth * (v[3] + x * v[6] + y * v[9]);
    const py = v[1] + depth * (v[4] + x * v[7] + y * v[10]);
    const pz = v[2] + depth * (v[5] + x * v[8] + y * v[11]);
    const along = px * v[12] + py * v[13] + pz * v[14];
    if (along > r || px * px + py * py + pz * pz - along * along > square) continue;
    const t = shape(size, px, py, pz, v[12], v[13], v[14]);
    if (t > SKIN && t < Infinity) return true;
  }
  return false;
}

/** `draw(poses)` gives pictures (H, W, 4) in red, green, blue and 255, of one scene. */
export function caster(scene, height, width = height) {
  const step = scene.spread / height, n = height * width;
  const x = (p) => step * ((p % width) - (width - 1) / 2);
  const y = (p) => step * ((height - 1) / 2 - Math.floor(p / width));
  const still = geomsOf(scene.fixed, scene.fixed_views);
  const depth = new Float64Array(n), cosine = new Float64Array(n), geom = new Int8Array(n);
  for (let p = 0; p < n; p++) { // what does not move is traced once
    geom[p] = firstHit(still, x(p), y(p), Infinity);
    depth[p] = HIT.depth;
    cosine[p] = geom[p] < 0 || isShaded(still, x(p), y(p), HIT.depth) ? 0 : HIT.cosine;
  }
  const out = new Uint8ClampedArray(4 * n).fill(255);

  function put(p, colour, lit) {
    for (let k = 0; k < 3; k++) {
      out[4 * p + k] = colour[k] * (scene.ambient[k] + scene.directed[k] * lit);
    }
  }

  return function draw(poses) {
    const geoms = geomsOf(scene.moving, movingViews(scene, poses));
    for (let p = 0; p < n; p++) {
      const px = x(p), py = y(p), g = firstHit(geoms, px, py, depth[p]);
      const far = HIT.depth, moved = g >= 0;
      let lit = moved ? HIT.cosine : cosine[p];
      if (lit && isShaded(geoms, px, py, far)) lit = 0;
      if (lit && moved && isShaded(still, px, py, far)) lit = 0;
      if (moved) put(p, scene.moving.colours[g], lit);
      else if (geom[p] < 0) out.fill(255, 4 * p, 4 * p + 3);
      else put(p, scene.fixed.colours[geom[p]], lit);
    }
    return out;
  };
}
