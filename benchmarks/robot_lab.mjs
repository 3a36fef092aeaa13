// What benchmarks/robot_lab.py asks the laboratory's script: node harness FOLDER.
import fs from "fs";
import zlib from "zlib";

const folder = process.argv[2], w = await import(`${folder}/widget.mjs`);
const kept = (name) => fs.readFileSync(`${folder}/${name}`);
const files = (name) => new Uint8Array(zlib.gunzipSync(kept(name)));
const tasks = JSON.parse(new TextDecoder().decode(files("tasks")));
const given = JSON.parse(kept("given.json"));
fs.writeFileSync(`${folder}/mujoco.mjs`, files("mujoco.js"));
const { default: load } = await import(`${folder}/mujoco.mjs`);
const mujoco = await load({ wasmBinary: files("mujoco.wasm"), locateFile: (x) => x });

const bytes = (x) => Buffer.from(x, "base64");
const agent = (name) => w.readAgent(files(name));
const plain = (_, x) => (ArrayBuffer.isView(x) ? [...x] : x);

const WAYS = {
  pictures({ task, poses, pictures }) {
    const draw = w.caster(tasks[task].scene, 64), truth = bytes(pictures);
    const off = [0, 0];
    poses.forEach((pose, i) => {
      const got = draw(Float32Array.from(pose));
      for (let p = 0; p < 4096; p++) {
        const gaps = [0, 1, 2].map((k) =>
          Math.abs(got[4 * p + k] - truth[(i * 4096 + p) * 3 + k]));
        [0, 1].forEach((most) => { off[most] += Math.max(...gaps) > most; });
      }
    });
    return off.map((n) => n / poses.length / 4096);
  },
  physics: ({ task, episodes, actions }) => episodes.map(({ start, turn }, i) => {
    const table = w.tabletop(mujoco, tasks[task]);
    table.place(start, turn);
    actions[i].forEach((a) => table.step(a));
    const end = table.state();
    table.free();
    return end;
  }),
  networks({ name, pairs }) {
    const file = agent(name), act = w.actorOf(file), see = (x) => ({ ...x,
      picture: x.picture && Uint8Array.from(bytes(x.picture)) });
    const critic = file.heads && w.criticOf(file);
    return pairs.map(({ s, g, a }) => {
      const action = act(see(s), see(g));
      if (!critic) return { action };
      const phi = critic.phi(critic.see(see(s)), [a]);
      const psi = critic.psi(critic.see(see(g)));
      return { action, phi, psi, f: critic.f(phi, psi) };
    });
  },
  minds({ task, name, file, judge, episodes, K }) {
    const files = [file && agent(file), agent(judge)];
    const { critic, act } = w.mindOf(name, tasks[task], ...files, w.uniforms(1));
    return episodes.map(({ start, goal }) => {
      const [s, g] = [start, goal].map((state) => ({ state }));
      const told = { seen: critic.see(s), psi: critic.psi(critic.see(g)), K };
      const { action, dots } = act(s, g, told);
      return { action, actions: dots.actions };
    });
  },
  goals: ({ task, asked }) => ({
    states: asked.map(({ place, here }) => w.goalState(tasks[task], place, here)),
    drawn: asked.map((_, k) => w.drawEpisode(tasks[task], w.uniforms(k))),
  }),
  episodes({ task, name, file, judge, episodes, length, K }) {
    const lab = w.labOf(mujoco, tasks[task]), u = w.uniforms(1);
    lab.think(w.mindOf(name, tasks[task], file && agent(file), agent(judge), u));
    return episodes.map((episode) => {
      lab.begin(episode);
      let high = 0;
      for (let t = 0; t < length; t++) {
        lab.step(K);
        high = Math.max(high, lab.now.state[6] ?? 0);
      }
      return { done: lab.done(), high };
    });
  },
};

fs.writeFileSync(`${folder}/out.json`, JSON.stringify(WAYS[given.way](given), plain));
