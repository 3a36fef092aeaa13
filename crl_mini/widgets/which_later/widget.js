// Which of two cells did the walker come to later? The reader against the best critic.

/** A function (s, u) that samples an action and where it leads: [a, next]. */
function mover(maze) {
  const { S, A, policy } = maze, ends = Array.from({ length: S * A }, () => []);
  transitions(maze, (s, a, next, p) => ends[s * A + a].push([next, p]));
  const actions = (s) => [...policy.subarray(s * A, (s + 1) * A)].map((p, a) => [a, p]);
  const pick = (pairs, x) => pairs.find(([, p]) => (x -= p) < 0)?.[0] ?? pairs[0][0];
  return (s, u) => {
    const a = pick(actions(s), u());
    return [a, pick(ends[s * A + a], u())];
  };
}

/** Round k: a walk until its clock stops, where two walks ended, and which end is its own. */
export function roundOf(maze, gamma, seed, k) {
  const u = uniforms(10000 * seed + k), move = mover(maze);
  function walk() {
    const path = [Math.floor(u() * maze.S)];
    let first;
    do {
      const [a, next] = move(path.at(-1), u);
      first ??= a;
      path.push(next);
    } while (u() < gamma);
    return { path, a: first, s: path[0], end: path.at(-1) };
  }
  for (;;) {
    const own = walk(), other = walk().end, right = u() < 0.5 ? 0 : 1;
    if (new Set([own.s, own.end, other]).size < 3) continue; // three cells, all different
    return { ...own, right, ends: right ? [other, own.end] : [own.end, other] };
  }
}

/** The best critic of this game, log p(g | s, a) / p(g), as a function. */
export function bestCritic(maze, gamma) {
  const { S, A, policy } = maze, M = occupancy(maze, gamma), p = new Float64Array(S);
  M.forEach((m, k) => { p[k % S] += (policy[Math.floor(k / S)] * m) / S; });
  return (s, a, g) => Math.log(M[(s * A + a) * S + g] / p[g]);
}

/** The index of the end that the critic prefers. */
export const answer = (f, { s, a, ends }) => (f(s, a, ends[1]) > f(s, a, ends[0]) ? 1 : 0);

const NAMES = ["guesses", "played", "seed", "gamma"], LETTERS = ["A", "B"];

export default widget("which-later", NAMES, (model, root) => {
  const maze = readMaze(model), said = readout(), shades = ["blue", "orange"];
  let f, known, now, open; // open: the round still waits for a guess

  function letter(context, k, [y, x], size, colour) {
    const hollow = !open && k !== now.right;
    const shade = colour(shades[k]), paper = colour("paper");
    disc(context, x, y, size * 0.46, hollow ? paper : shade, hollow ? shade : paper);
    context.font = `bold ${Math.round(size * 0.5)}px system-ui, sans-serif`;
    text(context, LETTERS[k], x, y + 1, hollow ? shade : paper, "center");
  }

  function over(context, centre, size, colour) {
    const at = now.path.map((s, k) => {
      const [y, x] = centre(s), u = uniforms(k), spread = k ? 0.5 * size : 0;
      return [x + (u() - 0.5) * spread, y + (u() - 0.5) * spread];
    });
    if (!open) {
      line(context, at, "#14181d", { width: 3.5 });
      line(context, at, "#ffffff", { width: 1.5 });
    }
    const [y, x] = centre(now.s);
    disc(context, x, y, size * 0.42, colour("paper"), colour("ink"));
    arrows(context, maze, now.s, [now.a], x - size / 2, y - size / 2, size, colour("ink"));
    now.ends.forEach((s, k) => letter(context, k, centre(s), size, colour));
  }

  /** Colours after the guess: what the critic says of every cell. */
  function fill(s) {
    if (open) return undefined;
    const all = maze.cells.map((_, g) => f(now.s, now.a, g));
    const low = Math.max(Math.min(...all), -6), high = Math.max(...all);
    return viridis((f(now.s, now.a, s) - low) / (high - low)).fill;
  }

  const canvas = mazeCanvas(maze, {
    scene: () => ({ fill, over }),
    move: (s, phase) => {
      const k = now.ends.indexOf(s);
      if (phase === "down" && k >= 0) guess(k);
    },
    read: () => {},
    marker: () => now.s,
  });
  canvas.removeAttribute("tabindex"); // the buttons are for the keyboard
  canvas.removeAttribute("aria-roledescription");
  canvas.setAttribute("role", "img");

  function guess(k) {
    if (!open) return;
    put(model, { guesses: [...model.get("guesses"), LETTERS[k]] });
    next.focus({ preventScroll: true });
  }
  const choices = LETTERS.map((name, k) => button(name, () => guess(k)));
  choices.forEach((node, k) => node.classList.add(`crl-${LETTERS[k].toLowerCase()}`));
  const next = button("Next round", () => {
    put(model, { played: model.get("guesses").length });
    choices[0].focus({ preventScroll: true });
  });
  const score = table("Score: rounds won", ["score", "right", "rounds", "share"],
    ["you", "best critic"]);

  function tell(guesses, rounds) {
    const right = LETTERS[now.right], steps = now.path.length - 1;
    const critic = answer(f, now), mine = LETTERS.indexOf(guesses.at(-1));
    const verdict = (k) => (k === now.right ? "right" : "wrong");
    const values = now.ends.map((g, k) =>
      `${fixed(f(now.s, now.a, g), 2)} for ${LETTERS[k]}`).join(" and ");
    said.textContent = open
      ? `Round ${rounds + 1}. A walker stands at the ring. Its first action is ` +
        `“${ACTIONS[now.a]}”; then it moves at random. Which cell came later, A or B?`
      : `${right} came later, after ${steps} step${steps > 1 ? "s" : ""}. You were ` +
        `${verdict(mine)}, the critic was ${verdict(critic)}: its f is ${values}.`;
  }

  return {
    view: [canvas],
    controls: [
      said,
      h("div", { class: "crl-buttons" }, ...choices, next),
      score,
      h("div", { class: "crl-buttons" }, button("Start over", () =>
        put(model, { guesses: [], played: 0, seed: (model.get("seed") + 1) % 100 }))),
    ],
    caption: "Press A or B, in the maze or beside it. Then the line shows the walk, and the " +
      "colours what the critic says of every cell, from low (dark) to high (bright).",
    update() {
      const [guesses, played, seed, gamma] = NAMES.map((name) => model.get(name));
      if (known !== gamma) [f, known] = [bestCritic(maze, gamma), gamma];
      open = guesses.length === played;
      now = roundOf(maze, gamma, seed, played);
      choices.forEach((node) => { node.disabled = !open; });
      next.disabled = open;
      const rounds = guesses.map((_, k) => roundOf(maze, gamma, seed, k));
      const won = [
        rounds.filter((r, k) => LETTERS[r.right] === guesses[k]).length,
        rounds.filter((r) => r.right === answer(f, r)).length,
      ];
      won.forEach((n, k) => score.fill(k, String(n), String(rounds.length),
        rounds.length ? `${Math.round((100 * n) / rounds.length)} %` : "–"));
      tell(guesses, played);
      Object.assign(root.dataset, { won: JSON.stringify(won), right: LETTERS[now.right],
        ends: JSON.stringify(now.ends), open });
      canvas.say(`Maze. The walker stands in ${cellName(maze, now.s)} and goes ` +
        `${ACTIONS[now.a]}. A is ${cellName(maze, now.ends[0])}, B is ` +
        `${cellName(maze, now.ends[1])}.`);
    },
  };
});
