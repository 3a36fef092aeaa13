// The tabletop of tabletop.py in the page: MuJoCo's WebAssembly build and the five tasks.

/** MuJoCo from its two files: a JavaScript module's text, and WebAssembly. */
export async function startMujoco(script, wasmBinary) {
  const url = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  try {
    const { default: load } = await import(url);
    return await load({ wasmBinary, locateFile: (name) => name });
  } finally {
    URL.revokeObjectURL(url);
  }
}

/** A point of a box, given as [low, high], by a generator of uniform numbers. */
const inside = ([low, high], u) => low.map((x, k) => x + u() * (high[k] - x));

/** Hand and opening of a goal state, from where the object is to be and where it is. */
const HANDS = {
  Reach: ({ OPEN }, place) => [...place, OPEN / 2],
  Push: ({ REST }, [x, y], [, from]) =>
    [x, y - Math.sign(y - from) * (REST + 0.01), REST, 0],
  Drawer: ({ HANDLE, GRIP }, [out]) => [HANDLE[0], HANDLE[1] - out, HANDLE[2], GRIP],
  PickPlace: ({ REST }, place) => [...place, 2 * REST],
  BinPick: ({ REST }, place) => [...place, 2 * REST],
};

/** The task's state whose deciding part is `place`, as a goal asked for from `here`. */
export const goalState = (task, place, here) =>
  [...HANDS[task.name](task.world, place, here), ...(task.part[0] ? place : [])];

export const partOf = (task, state) => state.slice(...task.part);

const apart = (x, y) => Math.hypot(...x.map((v, k) => v - y[k]));
export const reached = (task, state, goal) =>
  apart(partOf(task, state), partOf(task, goal)) < task.tolerance;

/** Start, goal and the block's turn of an episode, as `begin` in Python samples them. */
export function drawEpisode(task, u) {
  const { AIR, OPEN, TURN } = task.world, place = inside(task.start, u);
  const hand = [...inside(AIR, u), task.closed ? 0 : OPEN];
  const start = task.part[0] ? [...hand, ...place] : [...place, OPEN / 2];
  let there = place;
  while (apart(there, place) < task.tolerance) {
    there = inside(task.ends[Math.floor(u() * task.ends.length)], u);
  }
  return { start, goal: goalState(task, there, place), turn: TURN * (2 * u() - 1) };
}

/** One simulation of a task. */
export function tabletop(mujoco, task) {
  const model = mujoco.MjModel.from_xml_string(task.xml), data = new mujoco.MjData(model);
  model.actuator_biasprm.set(task.actuators);
  const [low, high] = [0, 1].map((k) => [0, 1, 2].map((i) => model.actuator_ctrlrange[2 * i + k]));
  const block = task.entries.includes("block_x"), size = task.entries.length - 4;
  const { SUBSTEPS, STEP, OPEN } = task.world;
  let held; // where the reader holds the block, if so

  function hold() {
    if (!held) return;
    data.qpos.set(held, 5);
    data.qvel.fill(0, 5, 11);
  }

  return {
    /** Everything where a state says, at rest; the block turned. */
    place(state, turn = 0) {
      mujoco.mj_resetData(model, data);
      const q = data.qpos, half = state[3] / 2;
      q.set([...state.slice(0, 3), half, half, ...state.slice(4)]);
      if (block) q.set([Math.cos(turn / 2), 0, 0, Math.sin(turn / 2)], 8);
      data.ctrl.set(q.slice(0, 5));
      mujoco.mj_fwdPosition(model, data);
    },
    /** Act for 0.05 s. The hand's target is never more than a step ahead of the hand. */
    step(action) {
      const a = action.map((x) => clamp(x, -1, 1)), q = data.qpos, ctrl = data.ctrl;
      for (let k = 0; k < 3; k++) {
        const target = clamp(ctrl[k] + STEP * a[k], q[k] - STEP, q[k] + STEP);
        ctrl[k] = clamp(target, low[k], high[k]);
      }
      ctrl[3] = ctrl[4] = task.closed ? 0 : (OPEN * (1 + a[3])) / 4;
      for (let k = 0; k < SUBSTEPS; k++) {
        hold();
        mujoco.mj_step(model, data);
      }
      mujoco.mj_fwdPosition(model, data);
    },
    /** The physical state, within the bounds of the observations. */
    state() {
      const q = data.qpos, raw = [...q.slice(0, 3), q[3] + q[4], ...q.slice(5, 5 + size)];
      return raw.map((x, k) => Math.fround(clamp(x, task.low[k], task.high[k])));
    },
    /** Poses (K, 7) of the moving bodies: all that a picture needs. */
    poses() {
      const { xpos, xquat } = data, out = new Float32Array(7 * task.scene.bodies.length);
      task.scene.bodies.forEach((b, k) => {
        out.set(xpos.slice(3 * b, 3 * b + 3), 7 * k);
        out.set(xquat.slice(4 * b, 4 * b + 4), 7 * k + 3);
      });
      return out;
    },
    /** Hold the block, or the drawer, at a place of the reader's; undefined lets it go. */
    hold(place) {
      held = place;
      hold();
      mujoco.mj_fwdPosition(model, data);
    },
    /** Put the object somewhere, at rest. */
    lay(place) {
      data.qpos.set(place, 5);
      data.qvel.fill(0, 5);
      mujoco.mj_fwdPosition(model, data);
    },
    /** A blow to the object: its speed in m/s along x and y; a drawer's along its way. */
    push(vx, vy) {
      if (size) data.qvel.set(block ? [vx, vy] : [-vy], 5);
    },
    free() {
      data.delete();
      model.delete();
    },
  };
}
