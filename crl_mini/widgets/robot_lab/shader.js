// The ray caster as a WebGL2 fragment shader, for the reader's large picture.

const KINDS = ["plane", "sphere", "box", "cylinder", "capsule"];

const SHADER = (n) => `#version 300 es
precision highp float;
precision highp int;
const float FAR = 1e20;
uniform int kind[${n}];
uniform vec3 view[${5 * n}], size[${n}], colour[${n}], ambient, directed;
uniform vec2 sides;
uniform float spread;
uniform int grid; // rays along each side of a pixel
out vec4 pixel;

vec3 per(vec3 d) { return 1.0 / mix(d, vec3(1e-12), equal(d, vec3(0.0))); }

vec2 within(float r, float oo, float od, float dd) { // near and far; near > far: a miss
  float by = 1.0 / max(dd, 1e-12), middle = -od * by, square = r * r - oo + od * od * by;
  float half_ = square < 0.0 ? -FAR : sqrt(square * by);
  return vec2(middle - half_, middle + half_);
}

float enter(int k, vec3 s, vec3 o, vec3 d, out vec3 normal) {
  normal = vec3(0.0, 0.0, 1.0);
  if (k == 0) {
    float t = -o.z / (d.z == 0.0 ? 1e-12 : d.z);
    vec2 p = abs(o.xy + t * d.xy);
    return d.z < 0.0 && (s.x <= 0.0 || p.x <= s.x) && (s.y <= 0.0 || p.y <= s.y) ? t : FAR;
  }
  if (k == 1) {
    vec2 t = within(s.x, dot(o, o), dot(o, d), dot(d, d));
    normal = (o + t.x * d) / s.x;
    return t.x > t.y ? FAR : t.x;
  }
  vec3 by = per(d), middle = -o * by;
  if (k == 2) {
    vec3 half_ = abs(s * by), a = middle - half_, b = middle + half_;
    float near = max(max(a.x, a.y), a.z), far = min(min(b.x, b.y), b.z);
    normal = -sign(d) * vec3(equal(a, vec3(near)));
    return near <= far ? near : FAR;
  }
  vec2 tube = within(s.x, dot(o.xy, o.xy), dot(o.xy, d.xy), dot(d.xy, d.xy));
  if (tube.x > tube.y) return FAR;
  normal = vec3((o.xy + tube.x * d.xy) / s.x, 0.0);
  if (k == 3) {
    float cap = middle.z - abs(s.y * by.z), far = min(tube.y, middle.z + abs(s.y * by.z));
    if (cap > tube.x) normal = vec3(0.0, 0.0, -sign(d.z));
    return max(tube.x, cap) <= far ? max(tube.x, cap) : FAR;
  }
  float z = o.z + tube.x * d.z;
  if (abs(z) <= s.y) return tube.x;
  o.z -= z > 0.0 ? s.y : -s.y;
  vec2 t = within(s.x, dot(o, o), dot(o, d), dot(d, d));
  normal = (o + t.x * d) / s.x;
  return t.x > t.y ? FAR : t.x;
}

vec3 look(vec2 at) {
  float depth = FAR, lit = 0.0;
  int first = -1;
  vec3 normal;
  for (int g = 0; g < ${n}; g++) {
    vec3 d = view[5 * g + 1] + at.x * view[5 * g + 2] + at.y * view[5 * g + 3];
    float t = enter(kind[g], size[g], view[5 * g], d, normal);
    if (t > 0.0 && t < depth) {
      depth = t;
      first = g;
      lit = max(dot(normal, view[5 * g + 4]), 0.0);
    }
  }
  if (first < 0) return vec3(1.0);
  if (lit > 0.0) for (int g = 0; g < ${n}; g++) {
    vec3 d = view[5 * g + 1] + at.x * view[5 * g + 2] + at.y * view[5 * g + 3];
    float t = enter(kind[g], size[g], view[5 * g] + depth * d, view[5 * g + 4], normal);
    if (t > 1e-5 && t < FAR) { lit = 0.0; break; }
  }
  return colour[first] * (ambient + directed * lit);
}

void main() {
  vec3 total = vec3(0.0);
  for (int i = 0; i < grid; i++) for (int j = 0; j < grid; j++) {
    vec2 at = gl_FragCoord.xy - 0.5 + (vec2(i, j) + 0.5) / float(grid);
    total += min(look((at - sides / 2.0) * spread / sides.y), 1.0);
  }
  pixel = vec4(total / float(grid * grid), 1.0);
}`;

function compiled(gl, n) {
  const program = gl.createProgram();
  const corner = "#version 300 es\nvoid main() { gl_Position = vec4(" +
    "gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0, 0.0, 1.0); }";
  for (const [kind, source] of [[gl.VERTEX_SHADER, corner], [gl.FRAGMENT_SHADER, SHADER(n)]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error("no shader");
  gl.useProgram(program);
  return (name) => gl.getUniformLocation(program, name);
}

/** Pictures of any size by WebGL: draw(poses, width, height, grid) gives a canvas. */
export function shaderOf(scene) {
  const canvas = document.createElement("canvas");
  const gl = canvas.getContext("webgl2", { antialias: false, preserveDrawingBuffer: true });
  if (!gl) return undefined;
  const { moving, fixed } = scene, kinds = [...moving.kinds, ...fixed.kinds];
  const at = compiled(gl, kinds.length);
  gl.uniform1iv(at("kind"), kinds.map((kind) => KINDS.indexOf(kind)));
  gl.uniform3fv(at("size"), [...moving.sizes, ...fixed.sizes].flat());
  gl.uniform3fv(at("colour"), [...moving.colours, ...fixed.colours].flat().map((c) => c / 255));
  gl.uniform3fv(at("ambient"), scene.ambient);
  gl.uniform3fv(at("directed"), scene.directed);
  gl.uniform1f(at("spread"), scene.spread);
  const views = at("view"), sides = at("sides"), rays = at("grid");
  return function draw(poses, width, height, grid = 2) {
    if (canvas.width !== width || canvas.height !== height) {
      Object.assign(canvas, { width, height });
      gl.viewport(0, 0, width, height);
    }
    const all = [...movingViews(scene, poses), ...scene.fixed_views].flatMap((v) => [...v]);
    gl.uniform3fv(views, all);
    gl.uniform2f(sides, width, height);
    gl.uniform1i(rays, grid);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    return canvas;
  };
}

const ROWS = 200; // of the picture without WebGL
// Trials, each for a shader that passed the one before: width, height, rays a side of a
// pixel, and milliseconds. The first one compiles. The last has as many rays as a large picture.
const TRIALS = [[128, 96, 1, 1000], [128, 96, 1, 15], [480, 360, 2, 40]];

/** Does the shader run on a GPU? Many browsers have WebGL without one, far too slow. */
function isFast(draw, poses) {
  return TRIALS.every(([width, height, grid, most]) => {
    const begun = performance.now(), canvas = draw(poses, width, height, grid);
    canvas.getContext("webgl2").readPixels(0, 0, 1, 1, 6408, 5121, new Uint8Array(4));
    return performance.now() - begun < most;
  });
}

/** Large pictures by WebGL or else in JavaScript: draw(poses, width, height) -> canvas. */
export function painterOf(scene, poses) {
  const shader = shaderOf(scene);
  if (shader && isFast(shader, poses)) return shader;
  const canvas = document.createElement("canvas");
  let draw;
  return function plain(now, width, height) {
    const columns = Math.round((ROWS * width) / height);
    if (!draw || canvas.width !== columns) {
      Object.assign(canvas, { width: columns, height: ROWS });
      draw = caster(scene, ROWS, columns);
    }
    canvas.getContext("2d").putImageData(new ImageData(draw(now), columns, ROWS), 0, 0);
    return canvas;
  };
}
