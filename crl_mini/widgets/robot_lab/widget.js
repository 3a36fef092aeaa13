// The robot laboratory: physics, pictures and agents in the page, loaded at its start.

const RATE = 20; // control steps a second
const JUMP = 10; // steps of a jump where readers want no motion
const SHOVE = 0.6; // m/s, of a blow to the block
const PLANNERS = ["straight", "greedy"]; // minds without a file of their own

/** The bytes of a part: shipped with the widget, in a script beside the page, or asked for. */
async function fetched(model, name) {
  const bytes = () => array(Uint8Array, model.get("parts")[name]);
  if (name in model.get("parts")) return bytes();
  if (model.get("source")) return besidePage(model.get("source"), name);
  return new Promise((resolve) => {
    const arrived = () => {
      if (!(name in model.get("parts"))) return;
      model.off("change:parts", arrived);
      resolve(bytes());
    };
    model.on("change:parts", arrived);
    put(model, { wanted: [...model.get("wanted"), name] });
  });
}

/** A script is loaded from file://, too, where a page may read no other file. */
async function besidePage(folder, name) {
  const kept = (globalThis.crlParts ??= {});
  if (!kept[name]) {
    const { content_root: root = "" } = document.documentElement.dataset; // Sphinx's
    const script = h("script", { src: `${root}${folder}${name}.js` });
    await new Promise((resolve, reject) => {
      script.onload = resolve;
      script.onerror = () => reject(new Error(`${name} is not beside this page`));
      document.head.append(script);
    });
  }
  return Uint8Array.from(atob(kept[name]), (c) => c.charCodeAt(0));
}

/** Loads each part once: files(name) is a promise of its unzipped bytes. */
function libraryOf(model) {
  const kept = {};
  return (name) => (kept[name] ??= fetched(model, name).then(unzipped));
}

const words = (bytes) => new TextDecoder().decode(bytes);

/** MuJoCo and the tasks. */
async function engineOf(files) {
  const [script, wasm, tasks] = await Promise.all(
    ["mujoco.js", "mujoco.wasm", "tasks"].map(files));
  return { mujoco: await startMujoco(words(script), wasm), tasks: JSON.parse(words(tasks)) };
}

export default widget("robot-lab", ["task", "agent", "proposals", "speed"], (model, root) => {
  const files = libraryOf(model), said = readout(), agents = model.get("agents");
  const still = matchMedia("(prefers-reduced-motion: reduce)"), poster = new Image();
  let engine, lab, timer, seed = model.get("seed"), mindName;
  const times = (root.times = []); // milliseconds of the last control steps

  const current = () => lab;
  const stage = stageOf(current, {
    poster,
    moved: () => { tell(); show(); },
    carry(place) {
      lab.table.hold(place);
      lab.look();
      tell();
      show();
    },
  });
  poster.onload = () => stage.paint();
  poster.src = URL.createObjectURL(new Blob([array(Uint8Array, model.get("poster"))]));
  const panels = [eyesOf, valuesOf, distancesOf, pathOf].map((make) => make(current));
  const show = () => [stage, ...panels].forEach((node) => node.paint());

  // ---------------------------------------------------------------- what happens
  /** The mind and the task that the reader has chosen. */
  async function prepare() {
    if (!globalThis.WebAssembly) throw new Error("this one has none");
    const name = model.get("task");
    engine ??= await engineOf(files);
    const chosen = model.get("agent"), [way, whose] = chosen.split(":");
    const planner = PLANNERS.includes(way);
    const read = async (part) => readAgent(await files(part)), { judge } = agents[name];
    const file = planner ? undefined : await read(chosen);
    const critic = file?.heads ? file : await read(whose ?? judge); // asked about all acts
    const task = engine.tasks[name];
    if (lab?.task !== task) {
      lab?.free();
      lab = labOf(engine.mujoco, task);
      lab.begin(drawEpisode(task, uniforms(seed)));
    }
    lab.think(mindOf(chosen, task, file, critic, uniforms(seed + 1)));
    lab.dots = undefined;
    mindName = chosen;
  }

  function advance() {
    const begun = performance.now();
    lab.step(model.get("proposals"));
    show();
    times.push(performance.now() - begun);
    if (times.length > 400) times.shift();
    tell();
  }

  function pause() {
    clearInterval(timer);
    timer = undefined;
    play.textContent = still.matches ? `Play ${JUMP} steps` : "Play";
    said.setAttribute("aria-live", "polite");
    tell();
  }

  function run() {
    clearInterval(timer);
    said.setAttribute("aria-live", "off"); // a screen reader cannot follow
    play.textContent = "Pause";
    timer = setInterval(() => (root.isConnected ? advance() : pause()),
      1000 / RATE / model.get("speed"));
  }

  /** `prepare`, while the reader cannot choose again; false if the browser cannot. */
  async function ready() {
    const boxes = [tasks, minds].map((node) => node.querySelector("select"));
    boxes.forEach((box) => { box.disabled = true; });
    try {
      await prepare();
      boxes.forEach((box) => { box.disabled = false; });
      return true;
    } catch (error) {
      said.textContent = `It needs WebAssembly and a browser of 2023 or later (${error.message}).`;
      return false;
    }
  }

  async function start() {
    begin.disabled = true;
    begin.textContent = "Loading …";
    if (!(await ready())) {
      root.dataset.failed = "true"; // the book's page shows a film instead
      begin.textContent = "It does not start in this browser";
      return;
    }
    begin.replaceWith(...buttons);
    root.dataset.ready = "true";
    pause();
    show();
    stage.focus();
  }

  function episode(next) {
    keep();
    lab.begin(next);
    lab.dots = undefined;
    tell();
    show();
  }

  /** Give Python what happened. */
  function keep() {
    const done = lab.record();
    if (!done.actions.length) return;
    put(model, { episodes: [...model.get("episodes"), { ...done, agent: mindName }] });
    root.dataset.episodes = model.get("episodes").length;
  }

  // ---------------------------------------------------------------- controls
  const begin = button(`Start (loads ${model.get("megabytes")} MB and the agent)`, start);
  const play = button("Play", () => {
    if (still.matches) for (let k = 0; k < JUMP; k++) advance();
    else if (timer) pause();
    else run();
  });
  const disturb = [button("Take it away", away), button("Push it", push)];
  const buttons = [
    play,
    button("Step", () => { pause(); advance(); }),
    button("Again", () => episode(lab.episode)),
    button("New start and goal", () => episode(drawEpisode(lab.task, uniforms(seed += 1)))),
    ...disturb,
  ];
  begin.classList.add("crl-begin");

  /** The block, or the drawer, is put where it was when the episode began. */
  function away() {
    lab.table.lay(lab.episode.start.slice(4));
    lab.look();
    tell();
    show();
  }

  /** A blow from a random side. */
  function push() {
    const turn = 2 * Math.PI * uniforms(lab.steps)();
    lab.table.push(SHOVE * Math.cos(turn), SHOVE * Math.sin(turn));
  }

  function tell() {
    if (!lab) return;
    const { history, task } = lab, last = history.at(-1), done = lab.done();
    const part = partOf(task, lab.now.state), goal = partOf(task, lab.goal.state);
    const far = 100 * Math.hypot(...part.map((x, k) => x - goal[k]));
    said.textContent = `Step ${lab.steps}: ${fixed(far, 1)} cm from the goal` +
      `${done ? ", which counts as reached" : ""}.` +
      (last ? ` f = ${fixed(last.f, 2)}.` : "");
    Object.assign(root.dataset, { step: lab.steps, done, far, state: JSON.stringify(lab.now.state),
      goal: JSON.stringify(lab.goal.state), running: Boolean(timer) });
    stage.say(`${task.name}: the robot's table at step ${lab.steps}, ` +
      `${fixed(far, 1)} centimetres from the goal. Arrow keys move the goal.`);
  }

  const names = (task) => Object.fromEntries(agents[task].names);
  const tasks = select(model, "task", "Task", Object.fromEntries(
    Object.keys(agents).map((name) => [name, name])));
  const minds = select(model, "agent", "Agent", names(model.get("task")));
  minds.follow = () => {
    const list = names(model.get("task")), box = minds.querySelector("select");
    if (box.dataset.task === model.get("task")) return;
    box.dataset.task = model.get("task");
    box.replaceChildren(...Object.entries(list).map(([value, label]) => h("option", { value }, label)));
    if (!(model.get("agent") in list)) put(model, { agent: Object.keys(list)[0] });
  };
  const many = slider(model, "proposals", "Proposals K", { values: [1, 4, 16, 64, 256] });
  const speed = slider(model, "speed", "Speed", { values: [0.1, 0.25, 0.5, 1],
    show: (x) => (x === 1 ? "real time" : `${pretty(x)} × real time`) });
  let before = "";
  if (!globalThis.WebAssembly) start();

  panels[0].say("What the agent sees, 64 times 64 pixels, beside the picture of its goal.");
  panels[1].say("The critic's value f over the last steps.");
  panels[2].say("Distances to the goal in pixels, of the hand, of the object, and in " +
    "representation space, each as a share of its first value.");
  panels[3].say("The path of phi towards psi of the goal, and proposals coloured by f.");
  stage.say("A robot's hand above a table with two bins and a yellow block.");

  return {
    view: [tasks, minds, stage, h("div", { class: "crl-buttons" }, begin), said, many, speed],
    controls: panels,
    caption: "Drag the outlined block to set the goal, or focus the scene and press the arrow " +
      "keys (Page Up and Page Down: its height). Drag the yellow block to carry it away. " +
      "Dots: proposals, bright where f is high; the star is ψ(g).",
    update() {
      minds.follow();
      [tasks, minds, many, speed].forEach((node) => node.sync());
      disturb.forEach((node) => { node.hidden = model.get("task") === "Reach"; });
      many.hidden = !model.get("agent").startsWith("greedy");
      const now = ["task", "agent"].map((name) => model.get(name)).join();
      if (lab && now !== before) {
        keep();
        ready().then((is) => { if (is) { tell(); show(); } });
      }
      before = now;
      if (timer) run();
      tell();
    },
  };
});
