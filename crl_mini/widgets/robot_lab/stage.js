// The large picture: the scene, the ghost of the goal, and what the reader moves in it.

const NEAR = 44; // pixels around an object within which a press takes it
const LIFTED = 0.09; // metres, height at which the reader carries the block

/** The camera: where points of the room appear, and what lies under the pointer. */
function cameraOf({ view, spread }) {
  const [eye, forward, right, up] = [0, 3, 6, 9].map((k) => view.slice(k, k + 3));
  const dot3 = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  return {
    show(point, width, height) {
      const d = point.map((x, k) => x - eye[k]), far = dot3(d, forward), unit = height / spread;
      return [width / 2 + (dot3(d, right) / far) * unit, height / 2 - (dot3(d, up) / far) * unit];
    },
    /** The point at height z under a pixel. */
    under(px, py, z, width, height) {
      const x = ((px - width / 2) * spread) / height, y = ((height / 2 - py) * spread) / height;
      const d = forward.map((f, k) => f + x * right[k] + y * up[k]), t = (z - eye[2]) / d[2];
      return [eye[0] + t * d[0], eye[1] + t * d[1]];
    },
  };
}

/** Corners of what the goal's ghost is: a cube, or the drawer's front. */
function ghostBox({ name, world }, [x, y, z]) {
  const h = world.REST;
  if (name === "Drawer") return { centre: [0, 0.015 - x, 0.036], half: [0.068, 0.005, 0.034] };
  return { centre: [x, y, z], half: name === "Reach" ? [h / 2, h / 2, h / 2] : [h, h, h] };
}

const CORNERS = [...Array(8).keys()].map((k) => [k & 1, (k >> 1) & 1, k >> 2].map((b) => 2 * b - 1));
const EDGES = CORNERS.flatMap((_, i) => [1, 2, 4].filter((b) => !(i & b)).map((b) => [i, i | b]));

/** The smallest box around all places that a task starts from or ends at. */
export function reach({ start, ends }) {
  const boxes = [start, ...ends];
  return [Math.min, Math.max].map((best, side) =>
    start[0].map((_, k) => best(...boxes.map((box) => box[side][k]))));
}

/** Where the goal may be: `place` moved into the reach of the task. */
export function allowed(task, place) {
  const [low, high] = reach(task), free = task.name === "BinPick";
  const out = place.map((x, k) => clamp(x, low[k], free && k === 2 ? 0.15 : high[k]));
  if (free && Math.abs(out[0]) < 0.03 && out[2] < 0.1) out[0] = out[0] < 0 ? -0.03 : 0.03;
  return out;
}

/** The canvas of the scene. `lab()` is the laboratory, `moved()` is called after a move. */
export function stageOf(lab, { poster, moved, carry }) {
  let camera, painter, scene, drag;

  function prepare() {
    if (scene === lab().task.scene) return;
    scene = lab().task.scene;
    camera = cameraOf(scene);
    painter = painterOf(scene, lab().now.poses);
  }

  function ghost(context, width, height, colour) {
    const { task, goal } = lab(), { centre, half } = ghostBox(task, partOf(task, goal.state));
    const at = CORNERS.map((c) =>
      camera.show(c.map((s, k) => centre[k] + s * half[k]), width, height));
    const ink = lab().done() ? colour("green") : colour("mark");
    const floor = camera.show([centre[0], centre[1], 0], width, height);
    line(context, [camera.show(centre, width, height), floor], ink, { width: 1, dash: [3, 3] });
    for (const [i, j] of EDGES) {
      line(context, [at[i], at[j]], "#ffffff", { width: 4 });
    }
    for (const [i, j] of EDGES) line(context, [at[i], at[j]], ink, { width: 2 });
  }

  /** Proposed moves of the hand as dots, coloured by f; the chosen one has a ring. */
  function dots(context, width, height) {
    const { dots: told, now, task } = lab();
    if (!told) return;
    const [low, high] = range(told.f), far = 2 * task.world.STEP;
    const at = (a) => camera.show([0, 1, 2].map((k) => now.state[k] + far * a[k]), width, height);
    told.actions.forEach((a, k) => {
      disc(context, ...at(a), 3.5, viridis((told.f[k] - low) / (high - low || 1)).fill);
    });
    disc(context, ...at(told.actions[told.best]), 5, viridis(1).fill, "#1d2329");
  }

  const node = picture("aspect-ratio: 5 / 4", (context, width, height, colour) => {
    if (!lab()) {
      if (poster.complete) context.drawImage(poster, 0, 0, width, height);
      return;
    }
    prepare();
    const sharp = Math.min(devicePixelRatio || 1, 2);
    const big = [width, height].map((x) => Math.round(x * sharp));
    context.drawImage(painter(lab().now.poses, ...big), 0, 0, width, height);
    ghost(context, width, height, colour);
    dots(context, width, height);
  });
  node.tabIndex = 0;
  node.setAttribute("role", "application"); // it takes keys
  node.setAttribute("aria-roledescription", "robot scene");

  const size = () => [node.clientWidth, node.clientHeight];
  const place = () => partOf(lab().task, lab().goal.state);
  function aim(to) {
    lab().aim(allowed(lab().task, to));
    moved("goal");
  }

  /** The goal or the block, whichever is nearer to the pointer; undefined: neither. */
  function under(x, y) {
    const { task, now, goal } = lab(), gap = (p) => {
      const [px, py] = camera.show(p, ...size());
      return Math.hypot(px - x, py - y);
    };
    const found = [["goal", gap(ghostBox(task, partOf(task, goal.state)).centre)]];
    if (task.entries.includes("block_x")) found.push(["block", gap(now.state.slice(4))]);
    const [name, far] = found.sort((a, b) => a[1] - b[1])[0];
    return far < NEAR ? name : undefined;
  }

  draggable(node, (x, y, phase) => {
    if (!lab() || !camera) return;
    if (phase === "hover") {
      node.style.cursor = under(x, y) ? "grab" : "default";
      return;
    }
    if (phase === "down") drag = under(x, y) ?? "goal";
    const { task } = lab(), here = place();
    if (drag === "block") {
      const [bx, by] = camera.under(x, y, LIFTED, ...size()), [low, high] = reach(task);
      carry([clamp(bx, low[0], high[0]), clamp(by, low[1], high[1]), LIFTED]);
    } else if (task.name === "Drawer") {
      aim([task.world.HANDLE[1] - camera.under(x, y, task.world.HANDLE[2], ...size())[1]]);
    } else aim([...camera.under(x, y, here[2], ...size()), here[2]]);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    node.addEventListener(end, () => {
      if (drag === "block") carry(undefined);
      drag = undefined;
    });
  }

  node.addEventListener("keydown", (event) => {
    const way = ARROW_KEYS[event.key], lift = { PageUp: 0.01, PageDown: -0.01 }[event.key];
    if (!lab() || !(way || lift)) return;
    event.preventDefault();
    const [down, right] = way ?? [0, 0], here = place();
    if (here.length === 1) aim([here[0] + 0.01 * down]);
    else aim([here[0] + 0.01 * right, here[1] - 0.01 * down, here[2] + (lift ?? 0)]);
  });
  return node;
}
