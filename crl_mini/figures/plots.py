"""Every figure of the book is one call; each returns a matplotlib `Figure`."""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from jaxtyping import Float, Shaped
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullFormatter

from crl_mini.agents import AGENTS
from crl_mini.envs.maze import GridMaze
from crl_mini.measure.statistics import wilson
from crl_mini.runs import results

#: Okabe and Ito's colours, told apart by readers with any kind of colour vision.
BLUE, ORANGE, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, YELLOW, BLACK = "#56B4E9", "#E69F00", "#000000"
COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY, YELLOW, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
WALL, MARK = "#9aa0a6", "#D55E00"
WIDTH = 6.4  # inches: the width of the page's text

Numbers = Shaped[np.ndarray, "..."]
Array = Sequence | Numbers


def style():
    """Context with the look of all figures; the page puts them on a white card."""
    return mpl.rc_context(
        {
            "axes.prop_cycle": cycler(color=COLOURS),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlesize": "medium",
            "axes.titlelocation": "left",
            "figure.constrained_layout.use": True,
            "figure.dpi": 130,
            "figure.facecolor": "white",
            "font.size": 10,
            "image.cmap": "viridis",
            "legend.frameon": False,
            "lines.linewidth": 2,
            "lines.markersize": 5,
        }
    )


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw in the house style and close the figure, so that a cell shows it once."""

    @wraps(draw)
    def drawn(*args, **kwargs) -> Figure:
        with style():
            figure = draw(*args, **kwargs)
        plt.close(figure)
        return figure

    return drawn


def as_grid(maze: GridMaze, values: Numbers) -> Float[np.ndarray, "H W"]:
    """One value per state, laid out as the maze; walls are NaN."""
    grid = np.full(maze.walls.shape, np.nan)
    grid[tuple(maze.cells.T)] = values
    return grid


@styled
def maze_values(
    maze: GridMaze,
    values: Array,
    *,
    goal: int | Sequence[int] | None = None,
    start: int | Sequence[int] | None = None,
    arrows: Array | None = None,
    titles: Sequence[str] = ("",),
    label: str = "value",
    log: bool = False,
    low: float | None = None,
    high: float | None = None,
) -> Figure:
    """Heat over the cells of a maze, one panel for each row of `values`.

    `values` (S,) or (K, S); `goal` (star) and `start` (ring) are one state or K states;
    `arrows` (S, A) or (K, S, A) are policies: an arrow for every action with a positive
    probability, a dot for staying. `log` spreads the colours over powers of ten.
    """
    values = np.atleast_2d(np.asarray(values, float))
    n = len(values)
    rows = -(-n // 3)
    figure, axes = plt.subplots(rows, -(-n // rows), squeeze=False)
    tall = (3.3, 3, 2)[axes.shape[1] - 1]
    figure.set_size_inches(min(WIDTH, 1 + 3 * axes.shape[1]), 0.5 + tall * rows)
    low = np.min(values) if low is None else low
    high = np.max(values) if high is None else high
    norm = LogNorm(max(low, high * 1e-6), high) if log else Normalize(low, high)
    titles, goals, starts = (_each(x, n) for x in (titles, goal, start))
    policies = [None] * n if arrows is None else np.reshape(arrows, (n, -1, 5))
    for k, ax in enumerate(axes.flat[:n]):
        image = _maze(ax, maze, values[k], norm)
        _marks(ax, maze, goals[k], starts[k])
        if policies[k] is not None:
            _arrows(ax, maze, policies[k], np.asarray(norm(values[k])) > 0.6)
        ax.set_title(titles[k] or "")
        ax.set_xlabel("column" if k + axes.shape[1] >= n else "")
        ax.set_ylabel("" if k % axes.shape[1] else "row")
    for ax in axes.flat[n:]:
        ax.set_axis_off()
    figure.colorbar(image, ax=axes, label=label, shrink=0.8, aspect=25)
    return figure


def _each(x, n: int) -> list:
    """A list of n: what is not a list of n already counts for every panel."""
    x = list(x) if np.ndim(x) else [x]
    return x * n if len(x) == 1 else x


def _maze(ax: Axes, maze: GridMaze, values: Numbers, norm: Normalize | None):
    """Cells coloured by value, walls grey; no numbers on the axes."""
    ax.set_facecolor(WALL)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return ax.imshow(as_grid(maze, values), norm=norm, interpolation="none")


def _marks(ax: Axes, maze: GridMaze, goal: int | None, start: int | None) -> None:
    """A star on the goal, a ring on the start."""
    edge = {"ms": 13, "mec": "white", "ls": "none", "clip_on": False}
    if goal is not None:
        row, col = maze.cells[goal]
        ax.plot(col, row, "*", color=MARK, label="goal", **edge)
    if start is not None:
        row, col = maze.cells[start]
        edge |= {"ms": 9, "mec": MARK, "mew": 2}
        ax.plot(col, row, "o", mfc="none", label="start", **edge)


def _arrows(
    ax: Axes, maze: GridMaze, policy: Float[np.ndarray, "S A"], on_light: Numbers
) -> None:
    """An arrow for every action that the policy may take; a dot for staying.

    Black on the light cells, where `on_light` (S,) is true, and white on the others.
    """
    row, col = maze.cells.T
    thin = {"scale": 1, "scale_units": "xy", "angles": "xy", "units": "xy"}
    thin |= {"width": 0.07, "headwidth": 4.5, "headlength": 4, "headaxislength": 4}
    for light, colour in ((False, "white"), (True, "black")):
        for a, (down, right) in enumerate(maze.MOVES):
            on = (policy[:, a] > 0) & (on_light == light)
            if not down and not right:
                ax.plot(col[on], row[on], "o", color=colour, ms=2.5, ls="none")
            elif on.any():
                to = np.full(on.sum(), 0.44)
                ends = (to * right, to * down)
                ax.quiver(col[on], row[on], *ends, color=colour, **thin)


@styled
def monte_carlo_error(n: Array, errors: Array, bound: Array) -> Figure:
    """Error of an estimate against the number of samples, with a bound on its mean.

    `n` (N,) sample sizes, `errors` (N, R) of R repetitions, `bound` (N,).
    """
    figure, ax = plt.subplots(figsize=(WIDTH, 3.2))
    low, high = np.min(errors), np.max([*np.ravel(errors), *bound])
    for k, column in enumerate(np.asarray(errors).T):
        ax.plot(n, column, "o", color=BLUE, alpha=0.5, label="" if k else "measured")
    ax.plot(n, bound, "--", color=ORANGE, label="bound")
    ax.set(xscale="log", yscale="log")
    ax.set(xlabel="walks, n", ylabel="total variation error")
    ax.set_ylim(*10.0 ** np.array([np.log10(low) // 1, -(-np.log10(high) // 1)]))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.legend()
    return figure


@styled
def lines(
    x: Array,
    curves: Mapping[str, Array],
    *,
    xlabel: str,
    ylabel: str,
    log: str = "",
    points: bool = False,
) -> Figure:
    """Named curves over one x; `log` names the logarithmic axes ("", "x", "y", "xy").

    Each curve has a colour, a dash and, with `points`, a marker of its own.
    """
    figure, ax = plt.subplots(figsize=(WIDTH, 3.2))
    dashes = ("-", "--", "-.", ":")
    for k, (name, y) in enumerate(curves.items()):
        marker = MARKERS[k % len(MARKERS)] if points else ""
        ax.plot(x, y, dashes[k % 4], marker=marker, label=name)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.set(**{f"{axis}scale": "log" for axis in log})
    ax.legend()
    return figure


@styled
def two_densities(
    x: Array, p: Array, q: Array, logits: Mapping[str, Array] | None = None
) -> Figure:
    """Densities of positives and negatives and, below them, logits over the same x."""
    figure, axes = plt.subplots(
        1 + bool(logits), sharex=True, squeeze=False, figsize=(WIDTH, 4.5)
    )
    if not logits:
        figure.set_figheight(2.6)
    top = axes[0, 0]
    for y, name, colour, dash in (
        (p, "p: positives", BLUE, "-"),
        (q, "q: negatives", ORANGE, "--"),
    ):
        top.plot(x, y, dash, color=colour, label=name)
        top.fill_between(x, y, color=colour, alpha=0.15, lw=0)
    top.set(ylabel="density")
    bottom = axes[-1, 0]
    for (name, y), dash, wide in zip(
        (logits or {}).items(), ("-", "--", ":", "-."), (4, 2, 2, 2), strict=False
    ):
        bottom.plot(x, y, dash, lw=wide, label=name)
    bottom.set(xlabel="x")
    if logits:
        bottom.set(ylabel="logit")
    for ax in {top, bottom}:
        ax.legend()
    return figure


@styled
def calibration(
    said: Array, happened: Array, weights: Array, *, names: str = "classifier"
) -> Figure:
    """What a classifier said against what happened: on the diagonal it is calibrated.

    One point a bin: `said` (K,) mean prediction, `happened` (K,) share of positives,
    `weights` (K,) number of examples, drawn as the point's area.
    """
    figure, ax = plt.subplots(figsize=(4, 3.6))
    ax.plot([0, 1], [0, 1], "--", color=BLACK, lw=1, label="calibrated")
    area = 20 + 180 * np.asarray(weights) / np.max(weights)
    ax.scatter(said, happened, s=area, color=BLUE, alpha=0.8, label=names)
    ax.set(xlabel="predicted probability of being a positive", ylabel="share that is")
    ax.set(aspect="equal", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    ax.legend(loc="upper left")
    return figure


@styled
def against_truth(
    truth: Array, learned: Array, *, xlabel: str, ylabel: str, at_most: int = 5000
) -> Figure:
    """Learned numbers against exact ones, point by point, with the diagonal.

    Pairs that are not finite are left out; of more than `at_most`, every k-th is drawn.
    """
    truth, learned = np.ravel(truth), np.ravel(learned)
    finite = np.isfinite(truth) & np.isfinite(learned)
    every = -(-finite.sum() // at_most)
    truth, learned = truth[finite][::every], learned[finite][::every]
    figure, ax = plt.subplots(figsize=(4, 3.6))
    ends = [truth.min(), truth.max()]
    ax.plot(truth, learned, ".", ms=3, alpha=0.4, rasterized=True)
    ax.plot(ends, ends, "--", color=BLACK, lw=1, label="equal")
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.legend()
    return figure


@styled
def offset_pmfs(
    panels: Mapping[str, Mapping[str, Array]], *, draws: Mapping[str, Array] = {}
) -> Figure:
    """Probability of each future offset 1, 2, ...: a panel each, a curve a sampler.

    `draws` may hold the observed shares for some of the panels, drawn as dots.
    """
    figure, axes = plt.subplots(
        1, len(panels), sharey=True, squeeze=False, figsize=(WIDTH, 3)
    )
    for ax, (title, pmfs) in zip(axes.flat, panels.items(), strict=True):
        for k, (name, p) in enumerate(pmfs.items()):
            offset = 1 + np.arange(len(p))
            style = {"color": COLOURS[k], "marker": MARKERS[k], "ms": 3, "lw": 1}
            ax.plot(offset, p, label=name, **style)
        if title in draws:
            seen = np.asarray(draws[title])
            offset = 1 + np.arange(len(seen))
            ax.plot(offset, seen, "x", color=BLACK, ms=6, label="drawn")
        ax.set(title=title, xlabel="offset k")
        ax.xaxis.get_major_locator().set_params(integer=True)
    axes[0, 0].set(ylabel="probability")
    axes[0, 0].legend()
    return figure


@styled
def sampler_bias(
    lengths: Array, bias: Mapping[str, Array], *, ylabel: str = "bias (total variation)"
) -> Figure:
    """Bias of each sampler against the length of the episodes, on logarithmic axes."""
    figure, ax = plt.subplots(figsize=(WIDTH, 3.2))
    for k, (name, y) in enumerate(bias.items()):
        ax.plot(lengths, y, marker=MARKERS[k], label=name)
    ax.set(xscale="log", yscale="log", xlabel="steps in an episode, T", ylabel=ylabel)
    ax.set_xticks(lengths, [str(n) for n in lengths])
    ax.minorticks_off()
    ax.legend()
    return figure


@styled
def logits(matrices: Mapping[str, Array]) -> Figure:
    """B x B logits side by side, each with a colour bar of its own."""
    figure, axes = plt.subplots(1, len(matrices), squeeze=False, figsize=(WIDTH, 2.7))
    for ax, (title, matrix) in zip(axes.flat, matrices.items(), strict=True):
        image = ax.imshow(matrix, interpolation="none")
        ax.set(title=title, xlabel="goal j", ylabel="state and action i")
        ax.spines[:].set_visible(False)
        figure.colorbar(image, ax=ax, label="logit", shrink=0.9)
    return figure


@styled
def limits(
    rows: Sequence[Mapping[str, str | int | float]], names: Mapping[str, str]
) -> Figure:
    """What limits the critic: metrics against updates, walks and dimensions."""
    panels = {
        "time": ("step", "updates"),
        "data": ("episodes", "walks of 100 steps"),
        "rank": ("repr_dim", "dimension D"),
    }
    figure, axes = plt.subplots(1, 3, sharey=True, figsize=(WIDTH, 3))
    for ax, (study, (x, words)) in zip(axes, panels.items(), strict=True):
        mine = [row for row in rows if row["study"] == study]
        last = max(row["step"] for row in mine)
        for seed in sorted({row["seed"] for row in mine}):
            path = [row for row in mine if row["seed"] == seed]
            path = [row for row in path if study == "time" or row["step"] == last]
            for k, (key, meaning) in enumerate(names.items()):
                line = {"color": COLOURS[k], "marker": MARKERS[k], "lw": 1.2, "ms": 3}
                label = "" if seed else meaning
                ax.plot(
                    [r[x] for r in path], [r[key] for r in path], label=label, **line
                )
        ax.set(title=study, xlabel=words)
        if study != "time":
            sizes = sorted({row[x] for row in mine})
            ax.set(xscale="log", xticks=sizes, xticklabels=[f"{n:,}" for n in sizes])
            ax.minorticks_off()
        else:
            ax.set_xticks([0, last // 2, last], ["0", f"{last // 2:,}", f"{last:,}"])
    axes[0].set(ylabel="correlation, or success", ylim=(0, 1.02))
    axes[0].legend(fontsize="small")
    return figure


@styled
def runs(found: Sequence[Mapping], x: str = "step") -> Figure:
    """Success of recorded runs: a panel a task and data, a colour an agent.

    Every seed is a thin line, their mean a thick one. `x` is ``step``, updates, or
    ``collected``, steps of the environment that the agent itself has made.
    """
    panels = results.grouped(found, "task", "data")
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        rows, columns, sharey=True, squeeze=False, figsize=(WIDTH, 0.6 + 2.3 * rows)
    )
    for k, (ax, (names, mine)) in enumerate(
        zip(axes.flat, panels.items(), strict=False)
    ):
        for (agent,), seeds in results.grouped(mine, "agent").items():
            _seeds(ax, seeds, x, agent)
        ax.set_title("\n".join(names).replace("; ", "\n"), fontsize="small")
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
        if k + columns >= len(panels):
            ax.set_xlabel({"step": "updates", "collected": "steps collected"}[x])
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    words = {"ever": "success (ever)", "at_end": "success (at the end)"}
    means = [words[name] for name in {results.measure(run) for run in found}]
    for ax in axes[:, 0]:
        ax.set(ylabel=means[0] if len(means) == 1 else "success", ylim=(0, 1.02))
    lines = {line.get_label(): line for ax in axes.flat for line in ax.lines}
    marks = {name: lines[name] for name in AGENTS if name in lines}
    where = {"loc": "outside lower center", "ncols": len(marks)}
    figure.legend(marks.values(), marks, **where)
    return figure


def _seeds(ax: Axes, found: Sequence[Mapping], x: str, agent: str) -> None:
    """Curves of one agent's seeds and, where all of them are known, their mean."""
    k = list(AGENTS).index(agent)
    at = {}
    for run in found:
        known = [row for row in run["curve"] if results.measure(run) in row]
        curve = {row.get(x, 0): row[results.measure(run)] for row in known}
        ax.plot(curve.keys(), curve.values(), color=COLOURS[k], lw=0.8, alpha=0.6)
        for place, y in curve.items():
            at.setdefault(place, []).append(y)
    mean = {place: np.mean(y) for place, y in at.items() if len(y) == len(found)}
    look = {"color": COLOURS[k], "marker": MARKERS[k], "ls": ("-", "--", "-.", ":")[k]}
    ax.plot(mean.keys(), mean.values(), label=agent, ms=4, **look)


@styled
def objective(maze: GridMaze, s: Array, g: Array, matrix: Array, row: int) -> Figure:
    """One row of a batch in the maze, and the table of logits in which it stands.

    `s` and `g` (B,) are states and their futures, `matrix` (B, B) the logits.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.1))
    _maze(left, maze, np.zeros(maze.n_states), None).set(cmap="Greys")
    others = np.delete(np.asarray(g), row)
    y, x = maze.cells[others].T
    edge = {"ms": 8, "mec": "white", "color": SKY, "ls": "none"}
    left.plot(x, y, "X", label="futures of other rows", **edge)
    _marks(left, maze, g[row], s[row])
    words = {"start": "state", "goal": "its future"}
    marks, names = left.get_legend_handles_labels()
    names = [words.get(name, name) for name in names]
    figure.legend(marks, names, loc="outside lower center", ncols=3)
    left.set(title="one row in the maze", xlabel="column", ylabel="row")
    image = right.imshow(matrix, interpolation="none")
    box = plt.Rectangle((-0.5, row - 0.5), len(g), 1, fill=False, ec=MARK, lw=2)
    right.add_patch(box)
    right.set(title="the table of logits", xlabel="goal j", ylabel="row i")
    right.set(xticks=range(len(g)), yticks=range(len(g)))
    right.spines[:].set_visible(False)
    figure.colorbar(image, ax=right, label="logit", shrink=0.9)
    return figure


@styled
def walks(
    maze: GridMaze,
    paths: Mapping[str, Array],
    *,
    goals: Sequence[int | None] | None = None,
    values: Array | None = None,
    label: str = "value",
) -> Figure:
    """Walks through a maze, one panel each: from the ring, towards the star if any.

    `paths` maps a title to states (T + 1,); `values` (S,) may colour the last panel.
    """
    n = len(paths)
    figure, axes = plt.subplots(1, n, squeeze=False, figsize=(WIDTH, 3.1))
    rng = np.random.default_rng(0)
    for k, (ax, (title, path)) in enumerate(zip(axes.flat, paths.items(), strict=True)):
        coloured = values is not None and k == n - 1
        image = _maze(ax, maze, values if coloured else np.zeros(maze.n_states), None)
        row, col = maze.cells[np.asarray(path)].T
        shake = rng.uniform(-0.22, 0.22, (2, len(row)))  # shows cells visited again
        for colour, width in (("black", 3.2), ("white", 1.6)):
            ax.plot(col + shake[0], row + shake[1], color=colour, lw=width)
        _marks(ax, maze, goals[k] if goals else None, path[0])
        ax.set(title=title, xlabel="column", ylabel="" if k else "row")
        if coloured:
            figure.colorbar(image, ax=axes, label=label, shrink=0.8, aspect=25)
        else:
            image.set(cmap="Greys")
    return figure


@styled
def action_tables(
    tables: Mapping[str, Array], actions: Sequence[str], *, label: str = "logit"
) -> Figure:
    """Tables (A, G) of logits at one state; a dot marks each goal's best action.

    A cross marks it where it is not the best action of the first table.
    """
    figure, axes = plt.subplots(1, len(tables), sharey=True, figsize=(WIDTH, 2.5))
    every = np.stack(list(tables.values()))
    norm = Normalize(every.min(), every.max())
    truth = every[0].argmax(0)
    for ax, (title, table) in zip(axes, tables.items(), strict=True):
        image = ax.imshow(table, norm=norm, interpolation="none", aspect="auto")
        best = np.argmax(table, 0)
        for kept, look in (
            (True, {"marker": "o", "ms": 7, "mfc": "white", "mec": "black"}),
            (False, {"marker": "X", "ms": 10, "mfc": MARK, "mec": "white"}),
        ):
            goal = np.flatnonzero((best == truth) == kept)
            ax.plot(goal, best[goal], ls="none", **look)
        ax.set(title=title, xlabel="goal", xticks=range(table.shape[1]))
        ax.set_xticklabels(range(1, table.shape[1] + 1))
        ax.spines[:].set_visible(False)
    axes[0].set(ylabel="action", yticks=range(len(actions)))
    axes[0].set_yticklabels(actions)
    figure.colorbar(image, ax=axes, label=label, aspect=15)
    return figure


@styled
def against_truths(
    truth: Array, learned: Mapping[str, Array], *, xlabel: str, ylabel: str
) -> Figure:
    """Learned numbers against exact ones, a panel each, with the line of slope one.

    The line passes through the means, so that a constant offset does not show.
    """
    rows = -(-len(learned) // 3)
    figure, axes = plt.subplots(
        rows, 3, sharex=True, sharey=True, squeeze=False, figsize=(WIDTH, 2.3 * rows)
    )
    truth = np.ravel(truth)
    every = -(-len(truth) // 3000)
    for ax, (title, values) in zip(axes.flat, learned.items(), strict=False):
        values = np.ravel(values) - np.mean(values) + truth.mean()
        ax.plot(truth[::every], values[::every], ".", ms=2, alpha=0.3, rasterized=True)
        ends = np.array([truth.min(), truth.max()])
        ax.plot(ends, ends, "--", color=BLACK, lw=1)
        ax.set(title=title)
    for ax in axes.flat[len(learned) :]:
        ax.set_axis_off()
    for ax in axes.flat[max(len(learned) - 3, 0) : len(learned)]:
        ax.set(xlabel=xlabel)
        ax.tick_params(labelbottom=True)
    for ax in axes[:, 0]:
        ax.set(ylabel=ylabel)
    return figure


@styled
def all_runs(
    scores: Mapping[str, Mapping[str, Array]], *, xlabel: str, ylabel: str = "loss"
) -> Figure:
    """Every run as a mark: a row a method, a marker a measure, one mark a seed."""
    figure, ax = plt.subplots(figsize=(WIDTH, 0.8 + 0.42 * len(scores)))
    for k, measure in enumerate(next(iter(scores.values()))):
        for row, (_, values) in enumerate(scores.items()):
            x = np.ravel(values[measure])
            y = np.full(len(x), row + 0.22 * k)
            look = {"color": COLOURS[k], "marker": MARKERS[k], "alpha": 0.8}
            ax.plot(x, y, ls="none", ms=7, label="" if row else measure, **look)
    ax.set(xlabel=xlabel, ylabel=ylabel, yticks=range(len(scores)))
    ax.set_yticklabels(scores)
    ax.set_xlim(left=min(0, ax.get_xlim()[0]))
    ax.invert_yaxis()
    ax.grid(axis="y", color="#dddddd", lw=0.8)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.2), ncols=3)
    return figure


@styled
def rates(
    counts: Mapping[str, tuple[int, int]], *, xlabel: str, ylabel: str = "policy"
) -> Figure:
    """Success rates with Wilson intervals: a row a name, (successes, episodes)."""
    figure, ax = plt.subplots(figsize=(WIDTH, 0.7 + 0.36 * len(counts)))
    for row, (k, n) in enumerate(counts.values()):
        low, high = wilson(k, n)
        ax.plot([low, high], [row, row], "|-", color=BLUE, lw=1.5, ms=8)
        ax.plot(k / n, row, "o", color=BLUE, ms=7)
    ax.set(xlabel=xlabel, ylabel=ylabel, yticks=range(len(counts)), xlim=(-0.02, 1.02))
    ax.set_yticklabels(counts)
    ax.invert_yaxis()
    ax.grid(axis="y", color="#dddddd", lw=0.8)
    return figure


@styled
def run_curves(
    x: Array, curves: Mapping[str, Array], *, xlabel: str, ylabel: str
) -> Figure:
    """Named families of curves (R, N) over one x (N,): every run is drawn."""
    figure, ax = plt.subplots(figsize=(WIDTH, 3.4))
    dashes = ("-", "--", "-.", ":")
    for k, (name, runs_of_it) in enumerate(curves.items()):
        for r, y in enumerate(runs_of_it):
            look = {"color": COLOURS[k], "marker": MARKERS[k], "lw": 1.4, "ms": 4}
            ax.plot(x, y, dashes[k % 4], label="" if r else name, **look)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.set_ylim(bottom=0)
    ax.legend()
    return figure


@styled
def pictures(rows: Mapping[str, Array], columns: Sequence[str]) -> Figure:
    """A contact sheet or film strips: labelled rows of pictures (H, W, 3), uint8."""
    size = (WIDTH, WIDTH / len(columns) * len(rows))
    figure, axes = plt.subplots(len(rows), len(columns), figsize=size, squeeze=False)
    for line, (label, images) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(label, fontsize="small")
        for ax, image in zip(line, images, strict=True):
            ax.imshow(image, interpolation="nearest")
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
    for ax, title in zip(axes[0], columns, strict=True):
        ax.set_title(title, loc="center", fontsize="small")
    return figure


@styled
def embeddings(
    maze: GridMaze, panels: Mapping[str, Array], values: Array, *, label: str
) -> Figure:
    """Cells of a maze as points (S, 2) of a plane, coloured, neighbours linked.

    Each panel has a scale of its own, the same along both of its axes.
    """
    n = len(panels)
    figure, axes = plt.subplots(1, n, squeeze=False, figsize=(WIDTH, 2.4))
    links = np.argwhere(np.triu(maze.distances == 1))  # (L, 2)
    for ax, (title, points) in zip(axes.flat, panels.items(), strict=True):
        points = np.asarray(points)
        ax.plot(*points[links].transpose(2, 1, 0), color=WALL, lw=0.8, zorder=1)
        look = {"c": values, "s": 16, "edgecolors": "black", "linewidths": 0.3}
        image = ax.scatter(*points.T, **look)
        ax.set(title=title, xticks=[], yticks=[], aspect="equal", adjustable="datalim")
        ax.set(xlabel="first axis")
    axes[0, 0].set(ylabel="second axis")
    figure.colorbar(image, ax=axes, label=label, shrink=0.8, aspect=25)
    return figure


@styled
def action_planes(panels: Mapping[str, tuple[Array, Array, Array]]) -> Figure:
    """Critic over the actions (dx, dy), a panel each, and an actor's Gaussian on it.

    A panel holds f (n, n) over [-1, 1]^2, rows dy, and the Gaussian's mean and standard
    deviation (A,) before tanh: the disc is the mode, the lines lie at one and two
    standard deviations, the cross is the best action of the plane.
    """
    n = len(panels)
    figure, axes = plt.subplots(1, n, squeeze=False, sharey=True)
    figure.set_size_inches(min(WIDTH, 1 + 3 * n), 3.3 if n < 3 else 2.4)
    every = np.stack([values for values, _, _ in panels.values()])
    norm, turn = Normalize(every.min(), every.max()), np.linspace(0, 2 * np.pi, 100)
    for ax, (title, (values, mean, std)) in zip(axes.flat, panels.items(), strict=True):
        ticks = np.linspace(-1, 1, len(values))
        image = ax.pcolormesh(ticks, ticks, values, norm=norm, rasterized=True)
        for k in (1, 2):
            circle = np.stack([np.cos(turn), np.sin(turn)], 1)
            x, y = np.tanh(mean[:2] + k * std[:2] * circle).T
            ax.plot(x, y, color="black", lw=3)
            ax.plot(x, y, color="white", lw=1.5)
        row, column = np.unravel_index(np.argmax(values), np.shape(values))
        edge = {"mec": "black", "color": "white", "ls": "none", "clip_on": False}
        ax.plot(*np.tanh(mean[:2]), "o", ms=7, **edge)
        ax.plot(ticks[column], ticks[row], "X", ms=9, **edge)
        ax.set(title=title, xlabel="dx", aspect="equal")
        ax.set(xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    axes[0, 0].set(ylabel="dy")
    figure.colorbar(image, ax=axes, label="f(s, a, g)", shrink=0.8, aspect=25)
    return figure


@styled
def maps_over(
    images: Array, columns: Sequence[str], maps: Mapping[str, Array]
) -> Figure:
    """Pictures (K, H, W, 3), and below each, laid over it, a map (h, w) by every name.

    `maps` hold K maps each, of signed numbers, drawn as parts of the largest of their
    row; orange is positive, violet negative.
    """
    size = (WIDTH, 0.3 + 1.5 * (1 + len(maps)))
    figure, axes = plt.subplots(1 + len(maps), len(images), figsize=size, squeeze=False)
    whole = (0, np.shape(images)[2], np.shape(images)[1], 0)
    for line, (name, row) in zip(axes, ({"": images} | maps).items(), strict=True):
        for ax, image, values in zip(line, images, row, strict=True):
            grey = np.dstack([np.mean(image, -1) / 255] * 3)  # below the colours
            ax.imshow(grey if name else image, extent=whole)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
            if not name:
                continue
            part = values / (np.abs(row).max() or 1.0)
            look = {"cmap": "PuOr_r", "norm": Normalize(-1, 1), "extent": whole}
            ax.imshow(part, alpha=0.15 + 0.75 * np.abs(part), **look)
        line[0].set_ylabel(name or "picture", fontsize="small")
    heat = mpl.cm.ScalarMappable(Normalize(-1, 1), "PuOr_r")
    label = "change, as a part of the row's largest"
    figure.colorbar(heat, ax=axes, label=label, shrink=0.7, aspect=25)
    for ax, title in zip(axes[0], columns, strict=True):
        ax.set_title(title, loc="center", fontsize="small")
    return figure
