"""Figures of the book: each function returns a finished matplotlib `Figure`."""

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from itertools import product

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

#: Okabe and Ito's colours: distinct for readers with any kind of colour vision.
BLUE, ORANGE, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, YELLOW, BLACK = "#56B4E9", "#E69F00", "#000000"
COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY, YELLOW, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":")
WALL, MARK = "#9aa0a6", "#D55E00"
WIDTH = 6.4  # inches: the width of the page's text

#: Style of all figures; the page puts them on a white card.
STYLE = {
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

Numbers = Shaped[np.ndarray, "..."]
Array = Sequence | Numbers


def styled(plot: Callable[..., Figure]) -> Callable[..., Figure]:
    """Plot in the style of the book and close the figure: a cell then shows it once."""

    @wraps(plot)
    def plotted(*args, **kwargs) -> Figure:
        with mpl.rc_context(STYLE):
            figure = plot(*args, **kwargs)
        plt.close(figure)
        return figure

    return plotted


def _axes(height: float, xlabel: str, ylabel: str, width=WIDTH):
    """A figure of one panel with labelled axes; sizes in inches."""
    figure, ax = plt.subplots(figsize=(width, height))
    ax.set(xlabel=xlabel, ylabel=ylabel)
    return figure, ax


def _panels(n: int, height: float, columns=0, margin=0.0, width=WIDTH, **shared):
    """A figure and its n panels, in rows of `columns` (one row unless given).

    `height` is that of a row in inches; `margin` is added once.
    """
    columns = columns or n
    rows = math.ceil(n / columns)
    size = (width, margin + height * rows)
    figure, axes = plt.subplots(rows, columns, squeeze=False, figsize=size, **shared)
    for ax in axes.flat[n:]:
        ax.set_axis_off()
    return figure, list(axes.flat[:n])


def _colour_bar(figure: Figure, image, label: str, shrink=0.8, aspect=25) -> None:
    """One colour bar for all panels."""
    label = textwrap.fill(label, 26)
    figure.colorbar(image, ax=figure.axes, label=label, shrink=shrink, aspect=aspect)


def _series(ax: Axes, k: int, x: Array, y: Array, **settings) -> None:
    """Curve number k, with a colour and a marker of its own."""
    ax.plot(
        x,
        y,
        color=COLOURS[k % len(COLOURS)],
        marker=MARKERS[k % len(MARKERS)],
        **settings,
    )


def _named_rows(ax: Axes, names: Mapping) -> None:
    """Rows 0, 1, ... with their names, from the top, each on a grey line."""
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.grid(axis="y", color="#dddddd", lw=0.8)


def _each(x, n: int) -> list:
    """A list of n; a single value is repeated for every panel."""
    x = list(x) if np.ndim(x) else [x]
    return x * n if len(x) == 1 else x


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
    """Heat map over the cells of a maze, one panel for each row of `values`.

    `values` (S,) or (K, S); `goal` (star) and `start` (ring) are one state or K states;
    `arrows` (S, A) or (K, S, A) are policies: an arrow for every action with a positive
    probability, a dot for staying. `log` spreads the colours over powers of ten.
    """
    values = np.atleast_2d(np.asarray(values, float))
    n = len(values)
    columns = math.ceil(n / math.ceil(n / 3))
    height, width = (3.3, 3, 2)[columns - 1], min(WIDTH, 1 + 3 * columns)
    figure, axes = _panels(n, height, columns, margin=0.5, width=width)
    low = np.min(values) if low is None else low
    high = np.max(values) if high is None else high
    norm = LogNorm(max(low, high * 1e-6), high) if log else Normalize(low, high)
    titles, goals, starts = (_each(x, n) for x in (titles, goal, start))
    policies = [None] * n if arrows is None else np.reshape(arrows, (n, -1, 5))
    for k, ax in enumerate(axes):
        image = _maze(ax, maze, values[k], norm)
        _marks(ax, maze, goals[k], starts[k])
        if policies[k] is not None:
            _arrows(ax, maze, policies[k], np.asarray(norm(values[k])) > 0.6)
        ax.set_title(titles[k] or "")
        ax.set_xlabel("column" if k + columns >= n else "")
        ax.set_ylabel("" if k % columns else "row")
    _colour_bar(figure, image, label)
    return figure


def _maze(ax: Axes, maze: GridMaze, values: Numbers, norm: Normalize | None):
    """Cells coloured by value, walls grey; no numbers on the axes."""
    ax.set_facecolor(WALL)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return ax.imshow(as_grid(maze, values), norm=norm, interpolation="none")


def _marks(ax: Axes, maze: GridMaze, goal: int | None, start: int | None) -> None:
    """A star on the goal, a ring on the start."""

    def mark(state, label, marker, **settings):
        row, col = maze.cells[state]
        ax.plot(col, row, marker, ls="none", clip_on=False, label=label, **settings)

    if goal is not None:
        mark(goal, "goal", "*", ms=13, color=MARK, mec="white")
    if start is not None:
        mark(start, "start", "o", ms=9, mfc="none", mec=MARK, mew=2)


def _arrows(
    ax: Axes, maze: GridMaze, policy: Float[np.ndarray, "S A"], on_light: Numbers
) -> None:
    """An arrow for every action that the policy may take; a dot for staying.

    Black on the light cells, where `on_light` (S,) is true, and white on the others.
    Arrows that share a cell begin away from its middle.
    """
    row, col = maze.cells.T
    for light, colour in ((False, "white"), (True, "black")):
        s, a = np.nonzero((policy > 0) & (on_light == light)[:, None])
        stay, s, a = s[a == 0], s[a > 0], a[a > 0]
        begin = np.where((policy[s, 1:] > 0).sum(1) > 1, 0.12, 0)
        down, right = maze.MOVES[a].T
        ax.plot(col[stay], row[stay], "o", color=colour, ms=2.5, ls="none")
        tails = col[s] + begin * right, row[s] + begin * down
        arrows = (*tails, (0.44 - begin) * right, (0.44 - begin) * down)
        ax.quiver(
            *arrows,
            color=colour,
            scale=1,
            scale_units="xy",
            angles="xy",
            units="xy",
            width=0.07,
            headwidth=4.5,
            headlength=4,
            headaxislength=4,
        )


@styled
def objective(maze: GridMaze, s: Array, g: Array, matrix: Array, row: int) -> Figure:
    """One row of a batch in the maze, and the same row in the matrix of logits.

    `s` and `g` (B,) are states and their futures, `matrix` (B, B) the logits.
    """
    figure, (left, right) = _panels(2, 3.1)
    _maze(left, maze, np.zeros(maze.n_states), None).set(cmap="Greys")
    y, x = maze.cells[np.delete(np.asarray(g), row)].T
    label = "futures of other rows"
    left.plot(x, y, "X", label=label, ms=8, mec="white", color=SKY, ls="none")
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
    figure, axes = _panels(len(paths), 3.1)
    rng = np.random.default_rng(0)
    for k, (ax, (title, path)) in enumerate(zip(axes, paths.items(), strict=True)):
        coloured = values is not None and ax is axes[-1]
        image = _maze(ax, maze, values if coloured else np.zeros(maze.n_states), None)
        row, col = maze.cells[np.asarray(path)].T
        shake = rng.uniform(-0.22, 0.22, (2, len(row)))  # shows cells visited again
        for colour, width in (("black", 3.2), ("white", 1.6)):
            ax.plot(col + shake[0], row + shake[1], color=colour, lw=width)
        _marks(ax, maze, goals[k] if goals else None, path[0])
        ax.set(title=title, xlabel="column", ylabel="" if k else "row")
        if coloured:
            _colour_bar(figure, image, label)
        else:
            image.set(cmap="Greys")
    return figure


@styled
def embeddings(
    maze: GridMaze, panels: Mapping[str, Array], values: Array, *, label: str
) -> Figure:
    """Cells of a maze as coloured points (S, 2) of a plane, with neighbours linked.

    Each panel has a scale of its own, the same along both of its axes.
    """
    figure, axes = _panels(len(panels), 2.4)
    links = np.argwhere(np.triu(maze.distances == 1))  # (L, 2)
    for ax, (title, points) in zip(axes, panels.items(), strict=True):
        points = np.asarray(points)
        ax.plot(*points[links].transpose(2, 1, 0), color=WALL, lw=0.8, zorder=1)
        image = ax.scatter(
            *points.T, c=values, s=16, edgecolors="black", linewidths=0.3
        )
        ax.set(title=title, xticks=[], yticks=[], aspect="equal", adjustable="datalim")
        ax.set(xlabel="first axis")
    axes[0].set(ylabel="second axis")
    _colour_bar(figure, image, label)
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
    figure, ax = _axes(3.2, xlabel, ylabel)
    for k, (name, y) in enumerate(curves.items()):
        marker = MARKERS[k % len(MARKERS)] if points else ""
        ax.plot(x, y, DASHES[k % len(DASHES)], marker=marker, label=name)
    ax.set(**{f"{axis}scale": "log" for axis in log})
    ax.legend()
    return figure


@styled
def run_curves(
    x: Array, curves: Mapping[str, Array], *, xlabel: str, ylabel: str
) -> Figure:
    """Named families of curves (R, N) over one x (N,): every run is a curve."""
    figure, ax = _axes(3.4, xlabel, ylabel)
    for k, (name, family) in enumerate(curves.items()):
        for r, y in enumerate(family):
            label = "" if r else name
            _series(ax, k, x, y, ls=DASHES[k % len(DASHES)], label=label, lw=1.4, ms=4)
    ax.set_ylim(bottom=0)
    ax.legend()
    return figure


@styled
def monte_carlo_error(n: Array, errors: Array, bound: Array) -> Figure:
    """Error of an estimate against the number of samples, with a bound on its mean.

    `n` (N,) sample sizes, `errors` (N, R) of R repetitions, `bound` (N,).
    """
    figure, ax = _axes(3.2, "walks, n", "total variation error")
    low, high = np.min(errors), np.max([*np.ravel(errors), *bound])
    for k, column in enumerate(np.asarray(errors).T):
        ax.plot(n, column, "o", color=BLUE, alpha=0.5, label="" if k else "measured")
    ax.plot(n, bound, "--", color=ORANGE, label="bound")
    ax.set(xscale="log", yscale="log")
    ax.set_ylim(10.0 ** np.floor(np.log10(low)), 10.0 ** np.ceil(np.log10(high)))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.legend()
    return figure


@styled
def sampler_bias(
    lengths: Array, bias: Mapping[str, Array], *, ylabel: str = "bias (total variation)"
) -> Figure:
    """Bias of each sampler against the length of the episodes, on logarithmic axes."""
    figure, ax = _axes(3.2, "steps in an episode, T", ylabel)
    for k, (name, y) in enumerate(bias.items()):
        _series(ax, k, lengths, y, label=name)
    ax.set(xscale="log", yscale="log")
    ax.set_xticks(lengths, [str(n) for n in lengths])
    ax.minorticks_off()
    ax.legend()
    return figure


@styled
def offset_pmfs(
    panels: Mapping[str, Mapping[str, Array]], *, draws: Mapping[str, Array] = {}
) -> Figure:
    """Probability of each future offset 1, 2, ...: a panel each, a curve a sampler.

    `draws` may hold the observed shares for some of the panels, plotted as crosses.
    """
    figure, axes = _panels(len(panels), 3, sharey=True)
    for ax, (title, pmfs) in zip(axes, panels.items(), strict=True):
        for k, (name, p) in enumerate(pmfs.items()):
            _series(ax, k, 1 + np.arange(len(p)), p, label=name, ms=3, lw=1)
        if title in draws:
            offset = 1 + np.arange(len(draws[title]))
            ax.plot(offset, draws[title], "x", color=BLACK, ms=6, label="drawn")
        ax.set(title=title, xlabel="offset k")
        ax.xaxis.get_major_locator().set_params(integer=True)
    axes[0].set(ylabel="probability")
    axes[0].legend()
    return figure


@styled
def two_densities(
    x: Array, p: Array, q: Array, logits: Mapping[str, Array] | None = None
) -> Figure:
    """Densities of positives and negatives and, below them, logits over the same x."""
    n, height = (2, 2.25) if logits else (1, 2.6)
    figure, axes = _panels(n, height, 1, sharex=True)
    top, bottom = axes[0], axes[-1]
    top.plot(x, p, "-", color=BLUE, label="p: positives")
    top.plot(x, q, "--", color=ORANGE, label="q: negatives")
    for y, colour in ((p, BLUE), (q, ORANGE)):
        top.fill_between(x, y, color=colour, alpha=0.15, lw=0)
    top.set(ylabel="density")
    top.legend()
    bottom.set(xlabel="x")
    if logits:
        for k, (name, y) in enumerate(logits.items()):
            dash = ("-", "--", ":", "-.")[k % 4]
            bottom.plot(x, y, dash, lw=2 if k else 4, label=name)
        bottom.set(ylabel="logit")
        bottom.legend()
    return figure


@styled
def calibration(
    predicted: Array, observed: Array, weights: Array, *, names: str = "classifier"
) -> Figure:
    """Observed against predicted probability: on the diagonal it is calibrated.

    One point a bin: `predicted` (K,) mean prediction, `observed` (K,) share of
    positives, `weights` (K,) number of examples, which set the point's area.
    """
    figure, ax = _axes(
        3.6, "predicted probability of being a positive", "share that is", width=4
    )
    ax.plot([0, 1], [0, 1], "--", color=BLACK, lw=1, label="calibrated")
    area = 20 + 180 * np.asarray(weights) / np.max(weights)
    ax.scatter(predicted, observed, s=area, color=BLUE, alpha=0.8, label=names)
    ax.set(aspect="equal", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    ax.legend(loc="upper left")
    return figure


@styled
def against_truth(
    truth: Array, learned: Array, *, xlabel: str, ylabel: str, at_most: int = 5000
) -> Figure:
    """Learned numbers against exact ones, point by point, with the diagonal.

    Pairs that are not finite are left out; of more than `at_most`, every k-th is shown.
    """
    truth, learned = np.ravel(truth), np.ravel(learned)
    finite = np.isfinite(truth) & np.isfinite(learned)
    every = math.ceil(finite.sum() / at_most)
    truth, learned = truth[finite][::every], learned[finite][::every]
    ends = [truth.min(), truth.max()]
    figure, ax = _axes(3.6, xlabel, ylabel, width=4)
    ax.plot(truth, learned, ".", ms=3, alpha=0.4, rasterized=True)
    ax.plot(ends, ends, "--", color=BLACK, lw=1, label="equal")
    ax.legend()
    return figure


@styled
def against_truths(
    truth: Array, learned: Mapping[str, Array], *, xlabel: str, ylabel: str
) -> Figure:
    """Learned numbers against exact ones, a panel each, with the line of slope one.

    The line passes through the means, so that a constant offset does not show.
    """
    figure, axes = _panels(len(learned), 2.3, 3, sharex=True, sharey=True)
    truth = np.ravel(truth)
    every, ends = math.ceil(len(truth) / 3000), [truth.min(), truth.max()]
    for ax, (title, values) in zip(axes, learned.items(), strict=True):
        values = np.ravel(values) - np.mean(values) + truth.mean()
        ax.plot(truth[::every], values[::every], ".", ms=2, alpha=0.3, rasterized=True)
        ax.plot(ends, ends, "--", color=BLACK, lw=1)
        ax.set(title=title)
    for ax in axes[-3:]:
        ax.set(xlabel=xlabel)
        ax.tick_params(labelbottom=True)
    for ax in axes[::3]:
        ax.set(ylabel=ylabel)
    return figure


@styled
def logits(matrices: Mapping[str, Array]) -> Figure:
    """B x B logits side by side, each with a colour bar of its own."""
    figure, axes = _panels(len(matrices), 2.7)
    for ax, (title, matrix) in zip(axes, matrices.items(), strict=True):
        image = ax.imshow(matrix, interpolation="none")
        ax.set(title=title, xlabel="goal j", ylabel="state and action i")
        ax.spines[:].set_visible(False)
        figure.colorbar(image, ax=ax, label="logit", shrink=0.9)
    return figure


@styled
def action_tables(
    tables: Mapping[str, Array], actions: Sequence[str], *, label: str = "logit"
) -> Figure:
    """Matrices (A, G) of logits at one state; a dot marks each goal's best action.

    A cross marks it where it is not the best action of the first matrix.
    """
    figure, axes = _panels(len(tables), 2.5, sharey=True)
    every = np.stack(list(tables.values()))
    norm = Normalize(every.min(), every.max())
    truth = every[0].argmax(0)
    for ax, (title, matrix) in zip(axes, tables.items(), strict=True):
        image = ax.imshow(matrix, norm=norm, interpolation="none", aspect="auto")
        best = np.argmax(matrix, 0)
        kept, goal = best == truth, np.arange(matrix.shape[1])
        dots, crosses = (goal[kept], best[kept]), (goal[~kept], best[~kept])
        ax.plot(*dots, "o", ls="none", ms=7, mfc="white", mec="black")
        ax.plot(*crosses, "X", ls="none", ms=10, mfc=MARK, mec="white")
        ax.set(title=title, xlabel="goal")
        ax.set_xticks(goal, goal + 1)
        ax.spines[:].set_visible(False)
    axes[0].set(ylabel="action")
    axes[0].set_yticks(range(len(actions)), actions)
    _colour_bar(figure, image, label, shrink=1, aspect=15)
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
    figure, axes = _panels(3, 3, sharey=True)
    for ax, (study, (x, xlabel)) in zip(axes, panels.items(), strict=True):
        mine = [row for row in rows if row["study"] == study]
        last = max(row["step"] for row in mine)
        for seed in sorted({row["seed"] for row in mine}):
            path = [row for row in mine if row["seed"] == seed]
            path = [row for row in path if study == "time" or row["step"] == last]
            for k, (key, meaning) in enumerate(names.items()):
                label = "" if seed else meaning
                across, up = ([row[name] for row in path] for name in (x, key))
                _series(ax, k, across, up, label=label, lw=1.2, ms=3)
        ax.set(title=study, xlabel=xlabel)
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
def runs(recorded: Sequence[Mapping], x: str = "step") -> Figure:
    """Success of recorded runs: a panel a task and data, a colour an agent.

    Every seed is a thin line, their mean a thick one. `x` is ``step``, updates, or
    ``collected``, steps of the environment that the agent itself has made.
    """
    panels = results.grouped(recorded, "task", "data")
    columns = min(len(panels), 3)
    figure, axes = _panels(len(panels), 2.3, columns, margin=0.6, sharey=True)
    for k, (ax, (names, mine)) in enumerate(zip(axes, panels.items(), strict=True)):
        for seeds in results.grouped(mine, "agent").values():
            _seeds(ax, seeds, x)
        ax.set_title("\n".join(names).replace("; ", "\n"), fontsize="small")
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
        if k + columns >= len(panels):
            ax.set_xlabel({"step": "updates", "collected": "steps collected"}[x])
    labels = {"ever": "success (ever)", "at_end": "success (at the end)"}
    labels["paper"] = "success (paper's protocol)"
    measures = {results.measure(run) for run in recorded}
    for ax in axes[::columns]:
        ylabel = labels[min(measures)] if len(measures) == 1 else "success"
        ax.set(ylabel=ylabel, ylim=(0, 1.02))
    lines = {line.get_label(): line for ax in axes for line in ax.lines}
    named = results.grouped(recorded, "agent")
    names = [results.called(named[key,][0]) for key in AGENTS if (key,) in named]
    marks = {name: lines[name] for name in names}
    figure.legend(marks.values(), marks, loc="outside lower center", ncols=len(marks))
    return figure


def _seeds(ax: Axes, seeds: Sequence[Mapping], x: str) -> None:
    """Curves of one agent's seeds and, where all of them are known, their mean."""
    k = list(AGENTS).index(seeds[0]["agent"])
    at = {}
    for run in seeds:
        known = [row for row in run["curve"] if results.measure(run) in row]
        curve = {row.get(x, 0): row[results.measure(run)] for row in known}
        ax.plot(
            curve.keys(),
            curve.values(),
            color=COLOURS[k % len(COLOURS)],
            lw=0.8,
            alpha=0.6,
        )
        for place, y in curve.items():
            at.setdefault(place, []).append(y)
    mean = {place: np.mean(y) for place, y in at.items() if len(y) == len(seeds)}
    _series(
        ax,
        k,
        list(mean),
        list(mean.values()),
        label=results.called(seeds[0]),
        ms=4,
        ls=DASHES[k % len(DASHES)],
    )


@styled
def all_runs(
    scores: Mapping[str, Mapping[str, Array]], *, xlabel: str, ylabel: str = "loss"
) -> Figure:
    """Every run as a mark: a row a method, a marker a measure, one mark a seed."""
    figure, ax = _axes(0.8 + 0.42 * len(scores), xlabel, ylabel)
    for k, measure in enumerate(next(iter(scores.values()))):
        for row, values in enumerate(scores.values()):
            x = np.ravel(values[measure])
            y = np.full(len(x), row + 0.22 * k)
            label = "" if row else measure
            _series(ax, k, x, y, ls="none", alpha=0.8, ms=7, label=label)
    ax.set_xlim(left=min(0, ax.get_xlim()[0]))
    _named_rows(ax, scores)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.2), ncols=3)
    return figure


@styled
def rates(
    counts: Mapping[str, tuple[int, int]], *, xlabel: str, ylabel: str = "policy"
) -> Figure:
    """Success rates with Wilson intervals: a row a name, (successes, episodes)."""
    figure, ax = _axes(0.7 + 0.36 * len(counts), xlabel, ylabel)
    for row, (k, n) in enumerate(counts.values()):
        ax.plot(wilson(k, n), [row, row], "|-", color=BLUE, lw=1.5, ms=8)
        ax.plot(k / n, row, "o", color=BLUE, ms=7)
    ax.set(xlim=(-0.02, 1.02))
    _named_rows(ax, counts)
    return figure


def _strip(axes: list[Axes], label: str, images: Array, titles=None, **settings):
    """A labelled row of images, with small titles above them if given."""
    axes[0].set_ylabel(textwrap.fill(label, 12), fontsize="small")
    for ax, image in zip(axes, images, strict=True):
        ax.imshow(image, **settings)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    for ax, title in zip(axes, titles or [], strict=titles is not None):
        ax.set_title(title, loc="center", fontsize="small")


@styled
def pictures(rows: Mapping[str, Array], columns: Sequence[str]) -> Figure:
    """A contact sheet or film strips: labelled rows of pictures (H, W, 3), uint8.

    Of up to three rows the pictures after the fourth go on below, to be larger.
    """
    most = 4 if len(rows) <= 3 else len(columns)
    n = math.ceil(len(columns) / math.ceil(len(columns) / most))
    parts = [slice(first, first + n) for first in range(0, len(columns), n)]
    figure, axes = _panels(n * len(rows) * len(parts), WIDTH / n, n)
    for k, (part, row) in enumerate(product(parts, rows)):
        line, here = axes[k * n :][:n], columns[part]
        titles = here if k % len(rows) == 0 else None
        pictures = line[: len(here)], row, rows[row][part]
        _strip(*pictures, titles, interpolation="nearest")
        for ax in line[len(here) :]:
            ax.set_axis_off()
    return figure


@styled
def action_planes(panels: Mapping[str, tuple[Array, Array, Array]]) -> Figure:
    """Critic over the actions (dx, dy), a panel each, and an actor's Gaussian on it.

    A panel holds f (n, n) over [-1, 1]^2, rows dy, and the Gaussian's mean and standard
    deviation (A,) before tanh: the disc is the mode, the lines lie at one and two
    standard deviations, the cross is the best action of the plane.
    """
    n = len(panels)
    height, width = 3.3 if n < 3 else 2.4, min(WIDTH, 1 + 3 * n)
    figure, axes = _panels(n, height, width=width, sharey=True)
    every = np.stack([values for values, _, _ in panels.values()])
    norm = Normalize(every.min(), every.max())
    turn = np.linspace(0, 2 * np.pi, 100)
    circle = np.stack([np.cos(turn), np.sin(turn)], 1)
    for ax, (title, (values, mean, std)) in zip(axes, panels.items(), strict=True):
        ticks = np.linspace(-1, 1, len(values))
        image = ax.pcolormesh(ticks, ticks, values, norm=norm, rasterized=True)
        for k in (1, 2):
            x, y = np.tanh(mean[:2] + k * std[:2] * circle).T
            ax.plot(x, y, color="black", lw=3)
            ax.plot(x, y, color="white", lw=1.5)
        row, column = np.unravel_index(np.argmax(values), np.shape(values))
        best = (ticks[column], ticks[row])
        ax.plot(*np.tanh(mean[:2]), "wo", ms=7, mec="black", clip_on=False)
        ax.plot(*best, "wX", ms=9, mec="black", clip_on=False)
        ax.set(title=title, xlabel="dx", aspect="equal")
        ax.set(xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    axes[0].set(ylabel="dy")
    _colour_bar(figure, image, "f(s, a, g)")
    return figure


@styled
def misses(
    panels: Mapping[str, tuple[Array, Array]], limit: float, along: str = "xy"
) -> Figure:
    """Arrows from where the goals are, (N, 2) in cm, to what was reached, a panel each.

    `along` names both axes. Orange ones miss by more than `limit`; of more than three
    limits none is drawn.
    """
    kinds = {f"below {limit:g} cm": (0, limit), "more": (limit, 3 * limit)}
    figure, axes = _panels(len(panels), 3.6, sharex=True, sharey=True)
    how = {"angles": "xy", "scale_units": "xy", "scale": 1, "units": "xy", "width": 0.2}
    for ax, (title, (goals, ends)) in zip(axes, panels.items(), strict=True):
        far = np.linalg.norm(ends - goals, axis=1)
        for (label, (low, high)), colour in zip(
            kinds.items(), (BLUE, ORANGE), strict=True
        ):
            use = (far >= low) & (far < high)
            arrows = *goals[use].T, *(ends - goals)[use].T
            ax.quiver(*arrows, color=colour, label=label, **how)
            ax.update_datalim(ends[use])
        ax.autoscale_view()
        ax.set(title=title, xlabel=f"{along[0]}, cm", aspect="equal")
    axes[0].set(ylabel=f"{along[1]}, cm")
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2
    )
    return figure


@styled
def maps_over(
    images: Array, columns: Sequence[str], maps: Mapping[str, Array]
) -> Figure:
    """Pictures (K, H, W, 3), and below each, laid over it, a map (h, w) by every name.

    `maps` hold K maps each, of signed numbers, shown as parts of the largest of their
    row; orange is positive, violet negative.
    """
    n = len(images)
    figure, axes = _panels(n * (1 + len(maps)), 1.5, n, margin=0.3)
    extent = (0, np.shape(images)[2], np.shape(images)[1], 0)
    _strip(axes[:n], "picture", images, columns, extent=extent)
    heat = mpl.cm.ScalarMappable(Normalize(-1, 1), "PuOr_r")
    greys = [np.dstack([np.mean(image, -1) / 255] * 3) for image in images]
    for k, (name, values) in enumerate(maps.items(), 1):
        row = axes[k * n :][:n]
        _strip(row, name, greys, extent=extent)
        parts = values / (np.abs(values).max() or 1.0)
        for ax, part in zip(row, parts, strict=True):
            alpha = 0.15 + 0.75 * np.abs(part)
            ax.imshow(part, cmap=heat.cmap, norm=heat.norm, extent=extent, alpha=alpha)
    _colour_bar(figure, heat, "change, as a part of the row's largest", shrink=0.7)
    return figure
