// Sample n of the recorded seeds of two agents: the winner, the interval, all verdicts.

/** Interquartile mean of scores in ascending order: a quarter is cut off at each end. */
export function iqm(sorted) {
  const cut = Math.floor(sorted.length / 4);
  return sum(sorted.slice(cut, sorted.length - cut)) / (sorted.length - 2 * cut);
}

export const ascending = (xs) => [...xs].sort((a, b) => a - b);
export const mean = (xs) => sum(xs) / xs.length;

/**
 * Bootstrap interval (95 %) of the IQM, from all resamples of the n runs. A resample is
 * a list of counts of each run; it stands for n! / (m_1! m_2! ...) orders.
 */
export function interval(scores) {
  const xs = ascending(scores), n = xs.length, counts = new Map();
  const cut = Math.floor(n / 4), drawn = new Array(n);
  (function draw(k, run, ways) { // k runs are sampled, those below `run` are settled
    if (k === n) {
      let total = 0;
      for (let i = cut; i < n - cut; i++) total += drawn[i];
      const key = Math.round(total * 1e9);
      counts.set(key, (counts.get(key) ?? 0) + ways);
      return;
    }
    if (run === n) return;
    let orders = ways;
    for (let m = 0; k + m <= n; m++) { // this run occurs m times: C(n - k, m) places
      if (m) {
        drawn[k + m - 1] = xs[run];
        orders = Math.round((orders * (n - k - m + 1)) / m);
      }
      draw(k + m, run + 1, orders);
    }
  })(0, 0, 1);
  const keys = [...counts.keys()].sort((a, b) => a - b), all = n ** n;
  const at = (parts) => { // the smallest value with at least parts / 1000 of the orders
    let below = 0;
    for (const key of keys) {
      below += counts.get(key);
      if (below * 1000 >= parts * all) return key / 1e9 / (n - 2 * cut);
    }
    return undefined;
  };
  return [at(25), at(975)];
}

/** n different numbers below N, in ascending order, from a stream of uniform numbers. */
export function choose(u, N, n) {
  const all = [...Array(N).keys()];
  for (let k = 0; k < n; k++) {
    const j = k + Math.floor(u() * (N - k));
    [all[k], all[j]] = [all[j], all[k]];
  }
  return ascending(all.slice(0, n));
}

/** Sample number k: indices of the seeds of two agents, with N seeds each. */
export function drawn(k, sizes, n) {
  const u = uniforms(k);
  return sizes.map((N) => choose(u, N, Math.min(n, N)));
}

/** Every choice of n of the scores, each in ascending order. */
export function choices(scores, n) {
  const xs = ascending(scores), found = [], picked = [];
  (function pick(from) {
    if (picked.length === n) { found.push([...picked]); return; }
    for (let i = from; i < xs.length; i++) {
      picked.push(xs[i]);
      pick(i + 1);
      picked.pop();
    }
  })(0);
  return found;
}

/** The IQM of every choice of n from the scores, in ascending order. */
export const allIqms = (scores, n) => ascending(choices(scores, n).map(iqm));

const NEAR = 1e-12; // sums in another order differ by rounding
const wins = (a, b) => (Math.abs(a - b) < NEAR ? 0.5 : Number(a > b));

/** Share of all pairs of choices in which the second of two lists wins; a tie is half. */
export function shareWon(losers, winners) {
  return mean(losers.map((a) => mean(winners.map((b) => wins(a, b)))));
}

/** Whether two intervals do not overlap. */
const apart = (a, b) => a[1] < b[0] || b[1] < a[0];

/**
 * What would have been reported, over all pairs of choices, lists of { iqm, interval }: shares
 * of gaps (second minus first) in bins from -widest to widest, [intervals overlap, are apart];
 * and the shares of clear verdicts for the first and for the second.
 */
export function verdicts(firsts, seconds, bins) {
  const gaps = firsts.flatMap((a) => seconds.map((b) => b.iqm - a.iqm));
  const widest = gaps.reduce((most, x) => Math.max(most, Math.abs(x)), NEAR);
  const share = 1 / gaps.length;
  const shares = Array.from({ length: bins }, () => [0, 0]), clear = [0, 0];
  firsts.forEach((a, i) => seconds.forEach((b, j) => {
    const gap = gaps[i * seconds.length + j], certain = apart(a.interval, b.interval);
    shares[binOf(gap, widest, bins)][Number(certain)] += share;
    if (certain) clear[Number(gap > 0)] += share;
  }));
  return { widest, shares, clear };
}
const binOf = (gap, widest, bins) =>
  clamp(Math.floor(((gap + widest) / (2 * widest)) * bins), 0, bins - 1);

const BINS = 25; // odd: ties stand in the middle
const NAMES = ["group", "measure", "first", "second", "n", "draws"];

export default widget("seeds", NAMES, (model, root) => {
  const scores = model.get("scores"), groups = Object.keys(scores);
  const measures = Object.keys(scores[groups[0]]);
  const agents = Object.keys(scores[groups[0]][measures[0]]);
  const said = readout(), named = (list) => Object.fromEntries(list.map((x) => [x, x]));
  const shades = ["blue", "orange"], known = new Map();
  let rows, low, at, all, mine;

  /** Results that all samples of these scores share; kept, since n = 10 is slow. */
  function reference(xs) {
    const key = xs.join();
    if (!known.has(key)) known.set(key, { iqm: iqm(ascending(xs)), interval: interval(xs) });
    return known.get(key);
  }

  /** All choices of n, with IQM and interval; kept, since there are many. */
  function reports(xs, n) {
    const key = `${n} of ${xs.join()}`;
    if (!known.has(key)) {
      known.set(key, choices(xs, n).map((one) => ({ iqm: iqm(one), interval: interval(one) })));
    }
    return known.get(key);
  }

  const canvas = picture("aspect-ratio: 1 / 1.12", (context, width, height, colour) => {
    const x = (share) => 14 + ((share - low) / (1 - low)) * (width - 28);
    const bottom = height - 24, room = (bottom - 8) / 2;
    const step = low < 0.5 ? 20 : 10; // percent between grid lines
    for (let share = 100; share >= 100 * low - 1e-9; share -= step) {
      const at = x(share / 100), edge = share === 100 ? "right" : at < 30 ? "left" : "center";
      line(context, [[at, 8], [at, bottom]], colour("line"), { width: 0.5 });
      text(context, `${share} %`, at, height - 10, colour("soft"), edge);
    }
    rows.forEach((row, r) => {
      const top = 8 + r * room, shade = colour(shades[r]);
      const name = `${row.name}: ${row.picked.length} of ${row.xs.length} seeds`;
      text(context, name, 14, top + 12, shade);
      const [all, mine] = [top + 0.42 * room, top + 0.74 * room];
      const bar = ([a, b], y, ink, thick) => {
        line(context, [[x(a), y], [x(b), y]], ink, { width: thick });
        for (const end of [a, b]) line(context, [[x(end), y - 7], [x(end), y + 7]], ink);
      };
      context.globalAlpha = 0.45;
      bar(row.all.interval, all, colour("soft"), 2);
      row.xs.forEach((share, k) => disc(context, x(share), all + stack(row.xs, k), 4,
        colour("soft")));
      context.globalAlpha = 1;
      bar(row.interval, mine, shade, 3);
      row.picked.forEach((k) => disc(context, x(row.xs[k]), all + stack(row.xs, k), 6, shade,
        colour("paper")));
      const m = x(row.mean);
      line(context, [[m, mine - 15], [m, mine + 15]], colour("ink"), { width: 2 });
      star(context, x(row.iqm), mine, 9, shade);
    });
  });

  const heap = picture("height: 150px; margin-top: 10px", (context, width, height, colour) => {
    const { widest, shares } = all, base = height - 34, step = (width - 28) / BINS;
    const counts = new Array(BINS).fill(0);
    const x = (gap) => 14 + ((gap / widest + 1) / 2) * (width - 28);
    mine.forEach((gap) => { counts[binOf(gap, widest, BINS)] += 1 / mine.length; });
    const top = 1.1 * Math.max(...shares.map(sum)), y = (share) =>
      base - (Math.min(share, top) / top) * (base - 24);
    line(context, [[14, base], [width - 14, base]], colour("line"), { width: 1 });
    shares.forEach(([overlap, clear], k) => {
      const middle = 2 * k + 1 - BINS, left = 14 + k * step;
      context.fillStyle = colour(middle ? shades[Number(middle > 0)] : "soft");
      context.globalAlpha = 0.4;
      context.fillRect(left + 0.5, y(clear + overlap), step - 1, y(clear) - y(clear + overlap));
      context.globalAlpha = 1;
      context.fillRect(left + 0.5, y(clear), step - 1, base - y(clear));
      if (counts[k]) disc(context, left + step / 2, y(counts[k]), 3, "#ffffff", "#14181d");
    });
    const [truth, now] = [rows[1].all.iqm - rows[0].all.iqm, mine.at(-1)].map(x);
    line(context, [[truth, 22], [truth, base]], colour("ink"), { width: 1.5, dash: [4, 3] });
    context.fillStyle = colour("ink");
    context.beginPath();
    [[0, 2], [-5, 10], [5, 10]].forEach(([dx, dy]) => context.lineTo(now + dx, base + dy));
    context.fill();
    text(context, `← ${rows[0].name} ahead`, 2, 9, colour(shades[0]));
    text(context, `${rows[1].name} ahead →`, width - 2, 9, colour(shades[1]), "right");
    axis(context, [-1, 0, 1].map((end) => `${fixed(100 * end * widest, 0)}${end ? "" : " points"}`),
      height - 8, width, colour("soft"));
  });

  /** Seeds with one score stand above each other. */
  const stack = (xs, k) => -7 * xs.slice(0, k).filter((x) => x === xs[k]).length;

  const percent = (x) => fixed(100 * x, 1);
  const told = table("Mean and interquartile mean of the drawn seeds and of all seeds",
    ["seeds", "mean", "IQM", "95 %"], ["", "", "", ""]);
  const fill = (k, label, middle, of) => {
    told.row(k).children[0].textContent = label;
    told.fill(k, percent(middle), percent(of.iqm), of.interval.map(percent).join("–"));
  };

  function tell(exact, wrong, better, worse, n) {
    if (better === undefined) {
      said.textContent = "With all their seeds both are equal: there is no wrong winner.";
      return;
    }
    const draws = model.get("draws"), clear = [...all.clear];
    if (better !== rows[0].name) clear.reverse();
    said.textContent = `With all seeds ${better} is ahead of ${worse}. With ${n} each, ` +
      `${worse} won ${wrong} of ${draws} draw${draws > 1 ? "s" : ""} ` +
      `(${percent(wrong / draws)}\u00a0%); over all possible draws ${percent(exact)}\u00a0%. ` +
      `In this draw the intervals ${apart(...rows.map((row) => row.interval)) ? "do not overlap"
        : "overlap"}. In ${percent(clear[0])}\u00a0% of all they lie apart with ${better} ahead, ` +
      `in ${percent(clear[1])}\u00a0% with ${worse} ahead.`;
  }

  return {
    view: [canvas, heap],
    controls: [
      select(model, "group", "runs", named(groups)),
      select(model, "measure", "success", named(measures)),
      select(model, "first", "first agent", named(agents)),
      select(model, "second", "second agent", named(agents)),
      slider(model, "n", "seeds drawn, n", { min: 1, max: 10, step: 1 }),
      h("div", { class: "crl-buttons" },
        button("Draw again", () => put(model, { draws: Math.min(model.get("draws") + 1, 10000) })),
        button("100 more", () => put(model, { draws: Math.min(model.get("draws") + 100, 10000) })),
        button("Start over", () => put(model, { draws: 1 }))),
      told,
      said,
    ],
    caption: "Discs: every seed, those drawn in colour; a bar: the bootstrap interval of all " +
      "seeds (grey) and of those drawn (colour), a star: their interquartile mean, an " +
      "upright line: their mean. Seeds are drawn without putting them back; the interval " +
      "counts all ways to draw the drawn ones again. Histogram: the verdicts of all " +
      "possible draws, full where the intervals lie apart; small dots: your draws; triangle: this one; dashed: " +
      "all seeds.",
    update() {
      const of = scores[model.get("group")][model.get("measure")];
      const names = [model.get("first"), model.get("second")], pair = names.map((k) => of[k]);
      const n = Math.min(model.get("n"), ...pair.map((xs) => xs.length));
      at = drawn(model.get("draws"), pair.map((xs) => xs.length), n);
      rows = pair.map((xs, r) => {
        const mine = ascending(at[r].map((k) => xs[k]));
        return { name: names[r], xs, picked: at[r], all: reference(xs), iqm: iqm(mine),
          mean: mean(mine), interval: interval(mine) };
      });
      const least = Math.min(...pair.flat());
      low = Math.max(0, Math.floor(least * 10 - 1e-9) / 10);
      const won = wins(rows[0].all.iqm, rows[1].all.iqm), [best, worst] = won ? [0, 1] : [1, 0];
      const exact = shareWon(allIqms(pair[worst], n), allIqms(pair[best], n));
      all = verdicts(...pair.map((xs) => reports(xs, n)), BINS);
      mine = [];
      let wrong = 0;
      for (let k = 1; k <= model.get("draws"); k++) {
        const [a, b] = drawn(k, pair.map((xs) => xs.length), n)
          .map((list, r) => iqm(ascending(list.map((i) => pair[r][i]))));
        mine.push(b - a);
        wrong += worst ? wins(b, a) : wins(a, b);
      }
      rows.forEach((row, r) => {
        fill(2 * r, `${row.name}, drawn`, row.mean, row);
        fill(2 * r + 1, `${row.name}, all`, mean(row.xs), row.all);
      });
      if (won === 0.5) tell();
      else tell(exact, wrong, names[best], names[worst], n);
      root.dataset.drawn = JSON.stringify(rows.map(({ picked, iqm: middle, interval: ends_ }) =>
        ({ picked, iqm: middle, interval: ends_ })));
      Object.assign(root.dataset, { exact, wrong, n, all: JSON.stringify(all) });
      heap.say(`Histogram of verdicts over all possible draws. ${said.textContent}`);
      canvas.say(`Success of ${rows.map((row) => `${row.name}: ${row.picked.length} of ` +
        `${row.xs.length} seeds, interquartile mean ${percent(row.iqm)} percent`).join("; ")}`);
    },
  };
});
