// What the reader is told and asked to do, and how the page sees that it is done.

const CAPTION =
  "Click a cell of the first maze: the walker goes there. Both Qs share a " +
  "logarithmic scale of colours, yellow is likely; the learned one is right up to one " +
  "constant. Arrows are greedy actions; where one would leave the walker standing, it takes " +
  "the next best. In the plane the net is ψ of all cells, its edges " +
  "join neighbours; the dots with arrows are φ(s, ·) of the walker, the blue one is " +
  "nearest to ψ(★). The networks are told the number of a cell and nothing of where it " +
  "lies. Below, a pair on its walk: from ● to a later state ◆; ✕ are goals of other " +
  "walks. Keyboard: arrow keys move the goal, or the frame when you draw; Enter draws.";

const percent = (x) => `${Math.round(100 * x)} %`;
const READY = 2500; // updates after which a failure counts

/**
 * Each task: what to do, and done(lab, seen): `seen` keeps what it has met before.
 * A task that is done stays done until the page is left.
 */
const TASKS = [
  {
    name: "Make greedy fail",
    how: "Choose forward InfoNCE without its penalty. The correlation is fair; watch the " +
      "walker.",
    done: ({ how, found }) => how.loss === "infonce" && !how.penalty && found.updates > READY &&
      found.correlation > 0.7 && found.arrive < 0.5,
    tell: ({ found }) => `correlation ${fixed(found.correlation, 2)}, ` +
      `yet ${percent(found.arrive)} of the goals reached`,
  },
  {
    name: "Mend it",
    how: "While it fails, switch the logsumexp penalty on.",
    done: ({ how, found }, seen) => {
      if (how.loss !== "infonce") seen.failed = false;
      else if (!how.penalty && found.updates > READY) seen.failed = found.arrive < 0.5;
      return Boolean(seen.failed && how.penalty && found.arrive > 0.75);
    },
    tell: ({ found }) => `${percent(found.arrive)} of the goals reached again`,
  },
  {
    name: "Make it know nothing of a room",
    how: "Choose “keep out” and drag over a whole room: walkers turn back there. Send the " +
      "agent in and out of it.",
    done: ({ maze, found }) => sum(maze.shut.map(Number)) >= 9 && found.outside > 0.7 &&
      found.inside < 0.2,
    tell: ({ found }) => `${percent(found.outside)} of the goals outside reached, ` +
      `${percent(found.inside)} of those in the room`,
  },
  {
    name: "20 walks against 2,000",
    how: "Train on 20 walks for ten seconds, then on 2,000. Same networks, same loss.",
    done: ({ walks, critic, found }, seen) => {
      if (critic.steps > READY) seen[walks.count] = found.arrive;
      return seen[2000] - seen[20] > 0.2;
    },
    tell: (_, seen) => `${percent(seen[20])} of the goals reached after 20 walks, ` +
      `${percent(seen[2000])} after 2,000`,
  },
];

/** The list of tasks; look(lab) ticks those that are done. */
export function taskList() {
  const items = TASKS.map((task) => {
    const said = h("span", { class: "crl-done" });
    const words = [h("strong", {}, task.name), ". ", task.how, " ", said];
    return { task, seen: {}, said, node: h("li", {}, ...words) };
  });
  const node = h("div", { class: "crl-tasks", role: "group", "aria-label": "Four things to try" },
    h("p", { class: "crl-name" }, "Four things to try"),
    h("ol", { "aria-live": "polite" }, ...items.map((item) => item.node)));
  node.look = (lab) => items.forEach((item) => {
    if (!item.task.done(lab, item.seen) || item.ticked) return;
    item.ticked = true;
    item.node.classList.add("crl-ticked");
    item.said.textContent = `✓ Done: ${item.task.tell(lab, item.seen)}.`;
  });
  node.ticked = () => items.filter((item) => item.ticked).length;
  return node;
}
