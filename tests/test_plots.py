"""Figures show the data they are given, label every axis, and keep the house style."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.quiver import Quiver

from crl_mini.envs.maze import GridMaze
from crl_mini.figures import plots
from crl_mini.measure import occupancy
from crl_mini.measure.occupancy import offset_pmf
from crl_mini.measure.statistics import wilson

MAZE = GridMaze("U")
M = occupancy.discounted_occupancy(MAZE.P, MAZE.uniform_policy, 0.9)
GREEDY = occupancy.greedy_policy(M)
X = np.linspace(-1, 1, 7)
PMFS = {"truncated": offset_pmf("truncated", 0.9, 5), "uniform": np.full(5, 0.2)}
MAPS = np.array([[[4.0, -2.0], [0.0, 1.0]], np.zeros((2, 2))])
LIMITS = [
    {"study": study, "seed": seed, "episodes": n, "repr_dim": n, "step": k, "reach": k}
    for study, seeds, sizes in (("time", (0, 1), (2,)), ("data", (0,), (2, 20)))
    for seed in seeds
    for n in sizes
    for k in (1, 2)
]
LIMITS += [{**row, "study": "rank"} for row in LIMITS if row["study"] == "data"]
SEEDS = [
    {
        **{"task": task, "data": "play", "agent": agent, "judged": judged},
        "curve": [{"step": k, "at_end": k / 4, "ever": k / 4} for k in (1, 2)],
    }
    for task, judged in zip("abcd", ["mode"] * 3 + ["drawn"], strict=True)
    for agent in ("crl", "gcbc", "gcbc")
]
FIGURES = {
    "runs": lambda: plots.runs(SEEDS),
    "runs_of_one_task": lambda: plots.runs(SEEDS[:3], "collected"),
    "maze_values": lambda: plots.maze_values(MAZE, M[0, 1], goal=10, start=0, log=True),
    "maze_panels": lambda: plots.maze_values(
        MAZE, M[:5, 2], start=[0, 1, 2, 3, 4], titles=list("abcde"), label="p"
    ),
    "monte_carlo_error": lambda: plots.monte_carlo_error(
        [10, 100], [[0.5, 0.4], [0.2, 0.1]], [0.6, 0.2]
    ),
    "lines": lambda: plots.lines(X, {"a": X, "b": X**2}, xlabel="x", ylabel="y"),
    "two_densities": lambda: plots.two_densities(X, X**2, X**4),
    "densities_and_logits": lambda: plots.two_densities(X, X**2, X**4, {"f": X}),
    "calibration": lambda: plots.calibration([0.1, 0.6], [0.2, 0.5], [100, 50]),
    "against_truth": lambda: plots.against_truth(X, X + 1, xlabel="x", ylabel="y"),
    "offset_pmfs": lambda: plots.offset_pmfs({"5": PMFS, "also": PMFS}),
    "logits": lambda: plots.logits({"a": M[:, 0], "b": M[:, 1]}),
    "limits": lambda: plots.limits(LIMITS, {"reach": "success"}),
    "sampler_bias": lambda: plots.sampler_bias([10, 20], {"truncated": [0.2, 0.1]}),
    "objective": lambda: plots.objective(MAZE, [0, 1, 2], [3, 4, 5], np.eye(3), row=1),
    "walks": lambda: plots.walks(
        MAZE, {"a": [0, 1, 2], "b": [0, 0]}, goals=[None, 10], values=M[:, 0, 10]
    ),
    "action_tables": lambda: plots.action_tables(
        {"f": np.eye(2), "g": np.ones((2, 2)) - [[0], [1]]}, ["left", "right"]
    ),
    "against_truths": lambda: plots.against_truths(
        X, dict.fromkeys("abcde", X + 1), xlabel="x", ylabel="y"
    ),
    "all_runs": lambda: plots.all_runs(
        {"a": {"x": [0.1, 0.2], "y": [0.3, 0.4]}, "b": {"x": [0.5, 0.6], "y": [0.7]}},
        xlabel="success",
    ),
    "rates": lambda: plots.rates({"a": (9, 10), "b": (0, 4)}, xlabel="success"),
    "embeddings": lambda: plots.embeddings(
        MAZE, {"a": MAZE.cells, "b": MAZE.cells**2}, M[0, 0], label="p"
    ),
    "run_curves": lambda: plots.run_curves(
        X, {"a": [X, X + 1], "b": [X + 2]}, xlabel="x", ylabel="y"
    ),
}


def curves(figure, axes=0):
    """label -> (x, y) of every line with a label."""
    lines = figure.axes[axes].lines
    return {x.get_label(): x.get_data() for x in lines if x.get_label()[0] != "_"}


@pytest.mark.parametrize("name", FIGURES)
def test_every_axis_is_labelled_or_shared(name):
    figure = FIGURES[name]()
    panels = [ax for ax in figure.axes if ax.axison]
    assert panels
    for ax in panels:
        across = {*ax.get_shared_x_axes().get_siblings(ax), *same_place(ax, panels, 0)}
        down = {*ax.get_shared_y_axes().get_siblings(ax), *same_place(ax, panels, 1)}
        assert any(a.get_xlabel() for a in across) or ax.get_ylabel()
        assert any(a.get_ylabel() for a in down)


def same_place(ax, panels, k):
    """Panels of the same column (k = 0) or row (k = 1) of a grid of panels."""
    spec = ax.get_subplotspec()
    if spec is None:
        return [ax]
    place = (lambda s: s.colspan.start, lambda s: s.rowspan.start)[k]
    grid = [a for a in panels if a.get_subplotspec() is not None]
    return [a for a in grid if place(a.get_subplotspec()) == place(spec)]


@pytest.mark.parametrize("name", FIGURES)
def test_drawing_leaves_no_open_figure_and_no_changed_style(name):
    before = dict(mpl.rcParams)
    figure = FIGURES[name]()
    figure.canvas.draw()  # whatever cannot be drawn fails here
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == before
    assert figure.get_figwidth() <= plots.WIDTH


def test_a_maze_shows_each_value_in_its_cell_and_walls_as_walls():
    figure = plots.maze_values(MAZE, M[0, 1], goal=10, start=3)
    image = figure.axes[0].images[0].get_array()
    for s, (row, col) in enumerate(MAZE.cells):
        assert image[row, col] == M[0, 1, s]
    assert np.ma.getmaskarray(np.ma.masked_invalid(image))[MAZE.walls].all()
    marks = curves(figure)
    np.testing.assert_array_equal(np.ravel(marks["goal"]), MAZE.cells[10][::-1])
    np.testing.assert_array_equal(np.ravel(marks["start"]), MAZE.cells[3][::-1])


def test_panels_share_one_scale_of_colour():
    figure = plots.maze_values(MAZE, M[:3, 2], titles=["a", "b", "c"])
    panels = [ax for ax in figure.axes if ax.get_title(loc="left") in ("a", "b", "c")]
    assert len(panels) == 3
    for k, ax in enumerate(panels):
        assert ax.images[0].get_array()[1, 1] == M[k, 2, 0]
        assert ax.images[0].get_clim() == (M[:3, 2].min(), M[:3, 2].max())


def test_arrows_point_where_the_policy_goes():
    figure = plots.maze_values(MAZE, M[..., 10].max(1), arrows=GREEDY[:, 10])
    drawn, tails = set(), []
    for quiver in (a for a in figure.axes[0].collections if isinstance(a, Quiver)):
        ends = zip(quiver.X, quiver.Y, quiver.U, quiver.V, strict=True)
        for x, y, u, v in ends:
            assert max(abs(x + u - round(x)), abs(y + v - round(y))) < 0.5  # inside
            drawn.add((round(y), round(x), np.sign(v), np.sign(u)))
            tails.append((x, y))
    assert len(set(tails)) == len(tails)  # no two begin at the same place
    best = np.argwhere(GREEDY[:, 10] > 0)
    assert drawn == {(*MAZE.cells[s], *MAZE.MOVES[a]) for s, a in best if a > 0}
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    staying = [xy for line in dots for xy in zip(*line.get_data(), strict=True)]
    assert staying == [tuple(MAZE.cells[s][::-1]) for s, a in best if a == 0]


@pytest.mark.parametrize("name", ["lines", "sampler_bias", "monte_carlo_error"])
def test_curves_are_the_given_ones(name):
    given = {
        "lines": {"a": (X, X), "b": (X, X**2)},
        "sampler_bias": {"truncated": ([10, 20], [0.2, 0.1])},
        "monte_carlo_error": {
            "measured": ([10, 100], [0.5, 0.2]),
            "bound": ([10, 100], [0.6, 0.2]),
        },
    }[name]
    drawn = curves(FIGURES[name]())
    assert drawn.keys() == given.keys()
    for label, data in given.items():
        np.testing.assert_array_equal(drawn[label], data)


def test_limits_show_all_of_time_and_the_ends_of_the_other_studies():
    time, data, rank = FIGURES["limits"]().axes
    assert [list(line.get_xdata()) for line in time.lines] == [[1, 2], [1, 2]]
    for ax in (data, rank):
        (line,) = ax.lines
        assert list(line.get_xdata()) == [2, 20]
        assert list(line.get_ydata()) == [2, 2]


def test_every_matrix_has_its_panel():
    first = FIGURES["logits"]().axes[0].images[0].get_array()
    np.testing.assert_array_equal(first, M[:, 0])


def test_all_repetitions_are_drawn():
    ax = FIGURES["monte_carlo_error"]().axes[0]
    points = [y for line in ax.lines[:2] for y in line.get_ydata()]
    assert sorted(points) == [0.1, 0.2, 0.4, 0.5]


def test_densities_stand_above_logits():
    figure = FIGURES["densities_and_logits"]()
    assert curves(figure).keys() == {"p: positives", "q: negatives"}
    np.testing.assert_array_equal(curves(figure, 1)["f"], (X, X))


def test_calibration_draws_each_bin_with_its_weight():
    dots = FIGURES["calibration"]().axes[0].collections[0]
    np.testing.assert_array_equal(dots.get_offsets(), [[0.1, 0.2], [0.6, 0.5]])
    assert dots.get_sizes()[0] > dots.get_sizes()[1]


def test_against_truth_leaves_out_what_is_not_finite_and_thins():
    truth = np.array([-np.inf, 0, 1, 2, 3])
    ax = plots.against_truth(truth, truth + 1, xlabel="a", ylabel="b", at_most=2).axes[
        0
    ]
    np.testing.assert_array_equal(ax.lines[0].get_data(), ([0, 2], [1, 3]))


def test_offsets_start_at_one_and_draws_are_shown():
    shares = [0.3, 0.2, 0.2, 0.2, 0.1]
    figure = plots.offset_pmfs({"five": PMFS}, draws={"five": shares})
    drawn = curves(figure)
    for name, p in PMFS.items():
        np.testing.assert_array_equal(drawn[name], (np.arange(1, 6), p))
    np.testing.assert_array_equal(drawn["drawn"], (np.arange(1, 6), shares))


def test_colours_are_okabe_and_itos():
    drawn = [line.get_color() for line in FIGURES["lines"]().axes[0].lines]
    assert [to_hex(c).upper() for c in drawn] == list(plots.COLOURS[:2])


def test_objective_frames_one_row_and_marks_its_own_future():
    left, right = FIGURES["objective"]().axes[:2]
    drawn = {line.get_label(): line.get_data() for line in left.lines}
    np.testing.assert_array_equal(np.ravel(drawn["start"]), MAZE.cells[1][::-1])
    np.testing.assert_array_equal(np.ravel(drawn["goal"]), MAZE.cells[4][::-1])
    others = np.transpose(drawn["futures of other rows"])
    np.testing.assert_array_equal(others, MAZE.cells[[3, 5]][:, ::-1])
    assert right.patches[0].get_xy() == (-0.5, 0.5)


def test_walks_stay_in_their_cells():
    figure = FIGURES["walks"]()
    x, y = figure.axes[0].lines[0].get_data()
    assert (np.abs(np.transpose([y, x]) - MAZE.cells[[0, 1, 2]]) < 0.5).all()
    assert "goal" not in curves(figure)
    np.testing.assert_array_equal(
        np.ravel(curves(figure, 1)["goal"]), MAZE.cells[10][::-1]
    )


def test_crosses_mark_what_is_no_longer_the_best_action():
    first, second = FIGURES["action_tables"]().axes[:2]
    kept, moved = (line.get_xydata().tolist() for line in first.lines)
    assert (kept, moved) == ([[0, 0], [1, 1]], [])
    kept, moved = (line.get_xydata().tolist() for line in second.lines)
    assert (kept, moved) == ([[0, 0]], [[1, 0]])


def test_a_constant_offset_does_not_show():
    for ax in FIGURES["against_truths"]().axes[:5]:
        np.testing.assert_allclose(*ax.lines[0].get_data(), atol=1e-12)


def test_every_run_is_drawn():
    lines = FIGURES["all_runs"]().axes[0].lines
    assert [x.get_xdata().tolist() for x in lines] == [
        [0.1, 0.2],
        [0.5, 0.6],
        [0.3, 0.4],
        [0.7],
    ]
    lines = FIGURES["run_curves"]().axes[0].lines
    np.testing.assert_array_equal([x.get_ydata() for x in lines], [X, X + 1, X + 2])


def test_rates_stand_inside_their_intervals():
    lines = FIGURES["rates"]().axes[0].lines
    assert [x.get_xdata().tolist() for x in lines[1::2]] == [[0.9], [0.0]]
    assert tuple(lines[0].get_xdata()) == wilson(9, 10)
    assert tuple(lines[2].get_xdata()) == wilson(0, 4)


def test_pictures_stand_in_labelled_rows_and_columns():
    images = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones(
        (6, 4, 4, 3), np.uint8
    )
    rows = {"start": images[:3], "goal": images[3:]}
    figure = plots.pictures(rows, ["a", "b", "c"])
    figure.canvas.draw()
    assert figure.get_figwidth() <= plots.WIDTH
    shown = [ax.images[0].get_array()[0, 0, 0] for ax in figure.axes]
    assert shown == [0, 1, 2, 3, 4, 5]
    assert [ax.get_title() for ax in figure.axes[:3]] == ["a", "b", "c"]
    assert [ax.get_ylabel() for ax in figure.axes[::3]] == ["start", "goal"]


def test_few_rows_of_many_pictures_go_on_below():
    images = np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones(
        (10, 4, 4, 3), np.uint8
    )
    rows = {"state, here": images[:5], "goal": images[5:]}
    figure = plots.pictures(rows, list("abcde"))
    shown = [ax.images[0].get_array()[0, 0, 0] for ax in figure.axes if ax.images]
    assert shown == [0, 1, 2, 5, 6, 7, 3, 4, 8, 9]
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == [*"abc", "", "", "", "d", "e", "", "", "", ""]
    assert [ax.axison for ax in figure.axes] == [*[True] * 8, False, *[True] * 2, False]
    names = [ax.get_ylabel() for ax in figure.axes[::3]]
    assert names == ["state, here", "goal"] * 2


def test_embeddings_are_points_with_links_between_neighbours():
    points = np.random.default_rng(0).normal(size=(MAZE.n_states, 2))
    figure = plots.embeddings(MAZE, {"a": points}, M[0, 0], label="p")
    (dots,) = figure.axes[0].collections
    np.testing.assert_allclose(dots.get_offsets(), points)
    np.testing.assert_allclose(dots.get_array(), M[0, 0])
    drawn = {frozenset(map(tuple, x.get_xydata())) for x in figure.axes[0].lines}
    near = np.argwhere(MAZE.distances == 1)
    assert drawn == {frozenset((tuple(points[i]), tuple(points[j]))) for i, j in near}


def test_misses_are_arrows_from_goals_to_ends():
    goals = np.array([[0.0, 0], [1, 2], [3, 1], [0, 5]])
    moves = np.array([[1.0, 0], [0, 4.9], [6, 0], [0, 16]])
    figure = plots.misses({"a": (goals, goals + moves), "b": (goals, goals)}, 5)
    (few, many), (all_, none) = (ax.collections for ax in figure.axes)
    for arrows, rows in ((few, [0, 1]), (many, [2]), (all_, [0, 1, 2, 3]), (none, [])):
        np.testing.assert_array_equal(arrows.get_offsets(), goals[rows])
    np.testing.assert_array_equal(np.stack([few.U, few.V], 1), moves[:2])
    assert many.get_facecolor().tolist() != few.get_facecolor().tolist()
    (left, right), (low, high) = figure.axes[0].get_xlim(), figure.axes[0].get_ylim()
    assert left <= 0 < 9 <= right  # the ends, too
    assert low <= 0 < 6.9 <= high < 16
    figure = plots.misses({"a": (goals, goals)}, 5, "yz")
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == (
        "y, cm",
        "z, cm",
    )


def test_action_planes_mark_the_mode_and_the_best_action():
    values = np.zeros((5, 5))
    values[4, 1] = 1  # dy = 1, dx = -0.5
    mean, std = np.array([0.3, -0.6, 9.0]), np.array([0.2, 0.4, 9.0])
    figure = plots.action_planes({"a": (values, mean, std), "b": (values, mean, std)})
    lines = figure.axes[0].lines
    *_, mode, best = (line.get_xydata() for line in lines)
    np.testing.assert_allclose(mode, [np.tanh([0.3, -0.6])])
    np.testing.assert_allclose(best, [[-0.5, 1.0]])
    one = np.arctanh(lines[1].get_xydata())  # the white line at one deviation
    np.testing.assert_allclose((((one - mean[:2]) / std[:2]) ** 2).sum(1), 1)
    assert [ax.get_title("left") for ax in figure.axes[:2]] == ["a", "b"]


def test_maps_lie_over_their_pictures_as_parts_of_the_largest():
    images = np.zeros((2, 8, 8, 3), np.uint8)
    figure = plots.maps_over(images, ["a", "b"], {"f": MAPS, "g": -MAPS})
    axes = np.reshape(figure.axes[:6], (3, 2))
    assert [len(ax.images) for ax in axes[:, 0]] == [1, 2, 2]
    for row, sign in ((1, 1), (2, -1)):
        for ax, values in zip(axes[row], MAPS, strict=True):
            below, above = ax.images
            np.testing.assert_allclose(above.get_array(), sign * values / 4)
            assert below.get_extent() == above.get_extent()
            assert above.get_clim() == (-1, 1)
    assert [ax.get_title() for ax in axes[0]] == ["a", "b"]
    assert [ax.get_ylabel() for ax in axes[:, 0]] == ["picture", "f", "g"]
