// Frames of films, and the nearest neighbours of one of them by several measures.

const SHOWN = 5;

/** Every measure: its name, its dimension, queries and answers (N, D). */
export function readSpaces(model) {
  const stored = Float64Array.from(halves(model.get("stored")));
  const N = model.get("names").length;
  let start = 0;
  return model.get("spaces").map(([name, D]) => {
    const [asking, answering] = [0, 1].map((k) =>
      stored.subarray(start + k * N * D, start + (k + 1) * N * D));
    start += 2 * N * D;
    return { name, D, asking, answering };
  });
}

/** The k nearest answers to frame i, of the allowed frames; [index, distance]. */
export function nearest({ D, asking, answering }, i, k, may) {
  const found = [];
  for (let j = 0; j < answering.length / D; j++) {
    if (!may(j)) continue;
    let square = 0;
    for (let d = 0; d < D; d++) square += (asking[i * D + d] - answering[j * D + d]) ** 2;
    found.push([j, Math.sqrt(square)]);
  }
  return found.sort((a, b) => a[1] - b[1] || a[0] - b[0]).slice(0, k);
}

export default widget("neighbours", ["at", "within"], (model, root) => {
  const names = model.get("names"), steps = model.get("steps"), side = model.get("side");
  const episodes = [...new Set(names)], spaces = readSpaces(model), said = readout();
  const rows = episodes.map((name) => names.flatMap((n, i) => (n === name ? [i] : [])));
  const columns = Math.max(...rows.map((row) => row.length));
  const label = (i) => `${names[i]}, step ${steps[i]}`;
  let now = [], sheet;

  function frame(context, i, x, y, size) {
    if (sheet) context.drawImage(sheet, 0, i * side, side, side, x, y, size, size);
  }

  function box(context, x, y, size, colour, width) {
    Object.assign(context, { strokeStyle: colour, lineWidth: width });
    context.strokeRect(x + width / 2, y + width / 2, size - width, size - width);
  }

  const NAMES = 2.8; // width of the rows' names, in frames
  const all = picture(`aspect-ratio: ${columns + NAMES} / ${rows.length}`,
    (context, width, _, colour) => {
      const size = width / (columns + NAMES), at = model.get("at");
      const near = new Set(now.flatMap((found) => found.map(([j]) => j)));
      rows.forEach((row, y) => {
        const own = row.includes(at);
        text(context, episodes[y], 0, (y + 0.5) * size, colour(own ? "blue" : "soft"));
        row.forEach((i, x) => {
          const place = [(NAMES + x) * size, y * size, size];
          frame(context, i, ...place);
          if (near.has(i)) box(context, ...place, colour("orange"), 2);
          if (i === at) box(context, ...place, colour("blue"), 3);
        });
      });
    });
  all.classList.add("crl-sheet");
  all.tabIndex = 0;
  all.setAttribute("role", "application"); // it takes arrow keys
  all.setAttribute("aria-roledescription", "film frames");
  const pick = (y, x) => {
    const row = rows[clamp(y, 0, rows.length - 1)];
    put(model, { at: row[clamp(x, 0, row.length - 1)] });
  };
  all.addEventListener("keydown", (event) => {
    const step = ARROW_KEYS[event.key];
    if (!step) return;
    event.preventDefault();
    const at = model.get("at"), y = rows.findIndex((row) => row.includes(at));
    pick(y + step[0], rows[y].indexOf(at) + step[1]);
  });
  all.addEventListener("pointerdown", (event) => {
    const size = all.clientWidth / (columns + NAMES);
    pick(Math.floor(event.offsetY / size), Math.floor(event.offsetX / size - NAMES));
  });

  const chosen = picture("aspect-ratio: 1; max-width: 220px",
    (context, width, _, colour) => {
      frame(context, model.get("at"), 0, 0, width);
      box(context, 0, 0, width, colour("blue"), 3);
    });

  const results = picture(`aspect-ratio: ${SHOWN} / ${1.75 * spaces.length}`,
    (context, width, height, colour) => {
      const size = width / SHOWN, tall = height / spaces.length;
      now.forEach((found, k) => {
        text(context, spaces[k].name, 0, k * tall + 11, colour("ink"));
        found.forEach(([j], x) => {
          const y = k * tall + 21, small = Math.min(size - 5, tall - 56);
          frame(context, j, x * size, y, small);
          if (names[j] === names[model.get("at")]) {
            box(context, x * size, y, small, colour("blue"), 2);
          }
          text(context, names[j], x * size, y + small + 9, colour("soft"));
          text(context, `step ${steps[j]}`, x * size, y + small + 23, colour("soft"));
        });
      });
    });

  createImageBitmap(new Blob([model.get("sheet")], { type: "image/png" })).then((image) => {
    sheet = image;
    root.dataset.loaded = "true";
    [all, chosen, results].forEach((canvas) => canvas.paint());
  });

  return {
    view: [all],
    controls: [
      chosen,
      choice(model, "within", "Neighbours may come from", {
        others: "other episodes", all: "the same one too",
      }),
      results, said,
    ],
    caption: "Click a frame, or focus the film and press the arrow keys: one row is one " +
      "episode. The episode and step are below each neighbour; a blue frame says that it " +
      "comes from the same episode. In the film, orange frames are neighbours by any measure.",
    update() {
      const at = model.get("at"), others = model.get("within") === "others";
      const may = (j) => (others ? names[j] !== names[at] : j !== at);
      now = spaces.map((space) => nearest(space, at, SHOWN, may));
      const first = now.map(([[j]], k) => `${spaces[k].name}: ${label(j)}`);
      said.textContent = `${label(at)}. First by ${first.join("; ")}.`;
      root.dataset.found = JSON.stringify(now.map((found) => found.map(([j]) => j)));
      all.say(`${names.length} frames of ${rows.length} episodes. ${said.textContent}`);
      chosen.say(`The frame: ${label(at)}, enlarged`);
      results.say(`Nearest neighbours. ${said.textContent}`);
    },
  };
});
