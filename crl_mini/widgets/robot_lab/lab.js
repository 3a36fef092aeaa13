// The laboratory without its looks: who acts, what for, and what was seen on the way.

const MEMORY = 300; // steps that the curves show

/** A mind: act(s, g, told) -> { action, dots }, and the critic that is asked. */
export function mindOf(name, task, file, judge, u) {
  const critic = criticOf(judge), n = file?.proposals; // beside the actor's, if its critic acts
  const best = ({ seen, psi }, actions) => {
    const dots = greedy(critic, seen, psi, actions);
    return { action: dots.action, dots };
  };
  if (name.startsWith("greedy")) {
    return { critic, act: (s, g, told) => best(told, proposals(told.K, u)) };
  }
  const own = name === "straight" ? straight(task.world) : actorOf(file);
  if (n) return { critic, act: (s, g, told) => best(told, [own(s, g), ...proposals(n, u)]) };
  return { critic, act: (s, g) => ({ action: own(s, g) }) };
}

const length = (x, y, start = 0, stop = x.length) => {
  let total = 0;
  for (let k = start; k < stop; k++) total += (x[k] - y[k]) ** 2;
  return Math.sqrt(total);
};

/** A task in physics, with a goal that can be moved and a mind that can be changed. */
export function labOf(mujoco, task) {
  const table = tabletop(mujoco, task), other = tabletop(mujoco, task); // `other` shows goals
  const draw = caster(task.scene, PIXELS);
  const lab = { task, table, history: [], steps: 0 };
  let mind, asked, taken = [], visited = [];

  const observe = (from) => {
    const state = from.state(), poses = from.poses();
    return { state, poses, picture: draw(poses).slice() };
  };

  function pursue(goal) {
    other.place(goal);
    lab.goal = observe(other);
    ask();
  }

  /** Phi and psi of the moment, with what they say. */
  function judged(s, action, seen) {
    const { critic } = mind, phi = critic.phi(seen, [action]), { psi } = asked, g = lab.goal;
    return { phi, psi, f: critic.f(phi, psi), hand: length(s.state, g.state, 0, 3),
      object: length(s.state, g.state, 4), pixels: length(s.picture, g.picture),
      representation: length(phi, psi) };
  }

  function ask() {
    asked = mind && lab.goal && { psi: mind.critic.psi(mind.critic.see(lab.goal)) };
    lab.history = [];
  }

  return Object.assign(lab, {
    /** Begin an episode: { start, goal, turn }. */
    begin(episode) {
      lab.episode = episode;
      lab.steps = 0;
      table.hold();
      table.place(episode.start, episode.turn);
      lab.now = observe(table);
      [taken, visited] = [[], [lab.now.state]];
      pursue(episode.goal);
    },
    /** Ask for another goal, its deciding part at `place`; the rest goes on. */
    aim: (place) => pursue(goalState(task, place, partOf(task, lab.now.state))),
    /** Let another mind act. */
    think(next) {
      mind = next;
      ask();
    },
    /** Look again, after the reader has moved something. */
    look() { lab.now = observe(table); },
    /** One control step. */
    step(K = 64) {
      const s = lab.now, { critic } = mind, seen = critic.see(s);
      const { action, dots } = mind.act(s, lab.goal, { seen, psi: asked.psi, K });
      lab.history.push(judged(s, action, seen));
      if (lab.history.length > MEMORY) lab.history.shift();
      lab.dots = dots;
      table.step(action);
      lab.now = observe(table);
      lab.steps += 1;
      taken.push(action);
      visited.push(lab.now.state);
      return lab.done();
    },
    done: () => reached(task, lab.now.state, lab.goal.state),
    /** What happened since the last record, for Python. */
    record() {
      const done = { task: task.name, states: visited, actions: taken,
        goal: lab.goal.state, success: lab.done() };
      [taken, visited] = [[], [lab.now.state]];
      return done;
    },
    free() {
      table.free();
      other.free();
    },
  });
}
