"""Sampling of futures against the distribution it must follow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from crl_mini.measure.occupancy import SAMPLERS, offset_pmf
from crl_mini.replay import Replay, truncated_geometric

GAMMA = 0.9


@pytest.mark.parametrize("remaining", [1, 2, 7, 60])
def test_offsets_follow_the_truncated_geometric_distribution(remaining):
    n = 50_000
    k = truncated_geometric(jax.random.key(0), GAMMA, jnp.full(n, remaining))
    counts = np.bincount(k, minlength=remaining + 1)
    assert counts[0] == 0
    assert len(counts) == remaining + 1
    pmf = GAMMA ** np.arange(remaining)
    pmf /= pmf.sum()
    if remaining > 1:
        assert chisquare(counts[1:], n * pmf).pvalue > 1e-3


def test_each_row_has_its_own_end():
    remaining = jnp.tile(jnp.arange(1, 11), 2000)
    k = truncated_geometric(jax.random.key(0), 0.999, remaining)
    assert (k >= 1).all()
    assert (k <= remaining).all()
    assert (k == remaining).any()


def test_pmfs_of_the_three_samplers_by_hand():
    expected = {
        "truncated": np.array([1, 0.9, 0.81]) / 2.71,
        "clipped": np.array([0.1, 0.09, 0.81]),
        "uniform": np.ones(3) / 3,
    }
    for name in SAMPLERS:
        np.testing.assert_allclose(offset_pmf(name, GAMMA, 3), expected[name])


def trajectories(n=20, length=12):
    """Observations that say their episode and time; actions that say them again."""
    episode, t = np.indices((n, length + 1))
    observations = np.stack([episode, t], -1).astype(np.float32)
    return observations, 100.0 + observations[:, :-1]


def test_a_batch_holds_transitions_and_futures_of_the_same_episode():
    observations, actions = trajectories()
    replay = Replay.from_trajectories(observations, actions)
    assert replay.n_transitions == 20 * 12
    s, a, g, next_s, next_g, ended = replay.sample(jax.random.key(0), 5000, GAMMA)
    np.testing.assert_array_equal(next_s, s + np.float32([0, 1]))
    np.testing.assert_array_equal(next_g, next_s)
    assert ended is None
    np.testing.assert_array_equal(a, 100 + s)
    np.testing.assert_array_equal(g[:, 0], s[:, 0])
    offset = (g - s)[:, 1]
    assert (offset >= 1).all()
    assert (g[:, 1] <= 12).all()
    visited = {tuple(map(int, row)) for row in np.asarray(s)}
    assert len(visited) == 20 * 12  # every transition, and only those
    from_start = offset[s[:, 1] == 0].astype(int)
    counts = np.bincount(from_start, minlength=13)[1:]
    pmf = offset_pmf("truncated", GAMMA, 12)
    assert chisquare(counts, counts.sum() * pmf).pvalue > 1e-3


@pytest.mark.parametrize("remaining", [1, 2, 12])
def test_offsets_of_a_batch_end_with_its_episodes(remaining):
    """Also close to the end, where one index too many would pass without a word."""
    replay = Replay.from_trajectories(*trajectories())
    s, _, g, *_ = replay.sample(jax.random.key(0), 100_000, GAMMA)
    rows = s[:, 1] == 12 - remaining
    counts = np.bincount((g - s)[rows, 1].astype(int), minlength=remaining + 1)
    assert counts[0] == 0
    pmf = offset_pmf("truncated", GAMMA, remaining)
    assert chisquare(counts[1:], counts.sum() * pmf).pvalue > 1e-3 or remaining == 1
    assert counts.sum() > 7000


def test_one_key_repeats_and_two_keys_differ():
    replay = Replay.from_trajectories(*trajectories())
    batches = [replay.sample(jax.random.key(k), 64, GAMMA) for k in (1, 1, 2)]
    for first, again, other in zip(*map(jax.tree.leaves, batches), strict=True):
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()


def test_goals_are_what_was_achieved_later_in_the_episode():
    observations, actions = trajectories()
    achieved = (1000 + observations[..., 1:]).astype(np.int16)
    replay = Replay.from_trajectories(observations, actions, achieved)
    plain = Replay.from_trajectories(observations, actions)
    batches = [x.sample(jax.random.key(0), 500, GAMMA) for x in (replay, plain)]
    (s, a, g, next_s, next_g, _), (same_s, same_a, future, *_) = batches
    np.testing.assert_array_equal(s, same_s)
    np.testing.assert_array_equal(a, same_a)
    np.testing.assert_array_equal(g, 1000 + future[:, 1:])
    np.testing.assert_array_equal(next_s, same_s + np.float32([0, 1]))
    np.testing.assert_array_equal(next_g, 1000 + next_s[:, 1:])
    assert g.dtype == next_g.dtype == np.int16


def test_observations_that_are_goals_too_are_stored_once():
    frames = np.random.default_rng(0).integers(256, size=(2, 5, 4, 4, 3), dtype="uint8")
    for given in ((), (None,), (frames,)):
        replay = Replay.from_trajectories(frames, np.zeros((2, 4, 1)), *given)
        stored = sum(x.nbytes for x in jax.tree.leaves(replay))
        count = replay.added.nbytes
        assert stored == frames.nbytes + replay.actions.nbytes + count
        batch = replay.sample(jax.random.key(0), 8, GAMMA)
        pictures = jax.tree.leaves(batch._replace(a=batch.s))
        assert {x.dtype.name for x in pictures} == {"uint8"}


def test_a_full_replay_forgets_the_oldest_episodes():
    observations, actions = trajectories(n=9)
    goals = -observations[..., :1]
    for achieved in (None, goals):
        cut = [None if x is None else x[:2] for x in (observations, actions, achieved)]
        replay = Replay.from_trajectories(*cut, capacity=4)
        assert replay.n_transitions == 2 * 12
        batch = replay.sample(jax.random.key(0), 500, GAMMA)
        assert {*np.asarray(batch.s[:, 0])} == {0, 1}  # free room is never drawn
        for first, last in ((2, 5), (5, 9)):
            new = [
                None if x is None else x[first:last]
                for x in (observations, actions, achieved)
            ]
            older, replay = replay, replay.add(*new)
            s, a, g, *_ = replay.sample(jax.random.key(0), 500, GAMMA)
            assert {*np.asarray(s[:, 0])} == {*range(last - 4, last)}
            np.testing.assert_array_equal(a, 100 + s)
            np.testing.assert_array_equal(abs(g[:, 0]), s[:, 0])
        assert int(older.added) == 5
        assert int(replay.added) == 9
        assert replay.n_transitions == 4 * 12
        assert (replay.achieved is None) == (achieved is None)


LENGTHS = np.array([12, 3, 1, 7, 12])


def of_lengths(terminal=(0, 1, 1, 0, 1), **more):
    """Five episodes; what stands behind their ends must never be seen."""
    observations, actions = trajectories(n=len(LENGTHS))
    for i, length in enumerate(LENGTHS):
        observations[i, length + 1 :] = -1
        actions[i, length:] = -1
    ends = {"lengths": LENGTHS, "terminal": terminal}
    return Replay.from_trajectories(observations, actions, **ends, **more)


def test_episodes_of_different_lengths():
    """Real transitions, all equally often, each with a future of its own episode."""
    replay, n = of_lengths(), 70_000
    assert replay.n_transitions == LENGTHS.sum() == 35
    s, a, g, next_s, _, ended = replay.sample(jax.random.key(0), n, GAMMA)
    np.testing.assert_array_equal(a, 100 + s)
    np.testing.assert_array_equal(next_s, s + np.float32([0, 1]))
    np.testing.assert_array_equal(g[:, 0], s[:, 0])
    episode, t = np.asarray(s, int).T
    real = [(i, t) for i, length in enumerate(LENGTHS) for t in range(length)]
    counts = np.array([((episode == i) & (t == j)).sum() for i, j in real])
    assert chisquare(counts).pvalue > 1e-3
    left, offset = LENGTHS[episode] - t, np.asarray(g - s, int)[:, 1]
    assert ((offset >= 1) & (offset <= left)).all()
    for remaining in (1, 2, 3, 7, 12):
        counts = np.bincount(offset[left == remaining])[1:]
        pmf = offset_pmf("truncated", GAMMA, remaining)
        assert remaining == 1 or chisquare(counts, counts.sum() * pmf).pvalue > 1e-3
    last = left == 1
    np.testing.assert_array_equal(ended, last & np.isin(episode, (1, 2, 4)))


def test_episodes_of_one_length_are_sampled_as_if_nobody_had_told_their_lengths():
    plain = Replay.from_trajectories(*trajectories())
    told = Replay.from_trajectories(*trajectories(), lengths=np.full(20, 12))
    assert told.lengths is None
    told = told.with_lengths()
    batches = [x.sample(jax.random.key(0), 500, GAMMA) for x in (plain, told)]
    assert not batches[1].terminal.any()
    for one, other in zip(*(batch[:5] for batch in batches), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_replay_takes_in_episodes_of_other_lengths():
    """Into the place of the oldest; shorter arrays, and room for longer ones."""
    observations, actions = trajectories(n=9)
    short = Replay.from_trajectories(
        observations[:2, :5], actions[:2, :4], room=12, capacity=4
    )
    plain = Replay.from_trajectories(observations[:2], actions[:2], capacity=4)
    assert (short.n_transitions, plain.n_transitions) == (2 * 4, 2 * 12)
    for replay, length in ((short, 4), (plain, 12)):
        more = {"lengths": [3, 12], "terminal": [True, False]}
        replay = replay.add(observations[2:4], actions[2:4], **more)
        assert replay.n_transitions == 2 * length + 3 + 12
        replay = replay.add(observations[4:5, :7], actions[4:5, :6])
        replay = replay.add(observations[5:6], actions[5:6])
        assert replay.n_transitions == 3 + 12 + 6 + 12
        s, a, g, *_, ended = replay.sample(jax.random.key(0), 3000, GAMMA)
        np.testing.assert_array_equal(a, 100 + s)
        np.testing.assert_array_equal(g[:, 0], s[:, 0])
        last = {i: int(g[s[:, 0] == i, 1].max()) for i in range(2, 6)}
        assert last == {2: 3, 3: 12, 4: 6, 5: 12}
        np.testing.assert_array_equal(ended, (s[:, 0] == 2) & (s[:, 1] == 2))


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        ({"lengths": [12, 3, 0, 7, 12]}, "lengths must be within 1 and 12; got 0 to"),
        (
            {"lengths": [12, 3, 1, 7, 13]},
            "lengths must be within 1 and 12; got 1 to 13",
        ),
        ({"lengths": [12]}, r"lengths must have shape \(5\)"),
        ({"terminal": [True]}, r"terminal must have shape \(5\)"),
    ],
)
def test_bad_lengths_get_one_clear_line(ends, message):
    with pytest.raises(ValueError, match=message):
        Replay.from_trajectories(*trajectories(n=5), **ends)


def test_a_replay_takes_only_what_fits():
    replay = Replay.from_trajectories(*trajectories(n=3))
    for n, length, message in (
        (4, 12, "the capacity must be"),
        (2, 13, "must have shape"),
    ):
        with pytest.raises(ValueError, match=message):
            replay.add(*trajectories(n, length))


@pytest.mark.parametrize(
    ("achieved", "message"),
    [
        (np.zeros((3, 4, 2)), r"achieved must have shape \(3, 5, 2\)"),
        (np.zeros((2, 5, 2)), r"achieved must have shape \(3, 5, 2\)"),
        (np.full((3, 5, 2), np.nan), "achieved must be finite"),
    ],
)
def test_bad_achieved_goals_get_one_clear_line(achieved, message):
    with pytest.raises(ValueError, match=message):
        Replay.from_trajectories(np.zeros((3, 5, 2)), np.zeros((3, 4, 1)), achieved)


@pytest.mark.parametrize(
    ("observations", "actions", "message"),
    [
        (np.zeros((0, 5, 2)), np.zeros((0, 4, 1)), "N >= 1"),
        (np.zeros(5), np.zeros(4), "N >= 1"),
        (
            np.zeros((3, 1, 2)),
            np.zeros((3, 0, 1)),
            r"T \+ 1 >= 3, ...\); got \(3, 1, 2\)",
        ),
        (
            np.zeros((3, 2, 2)),
            np.zeros((3, 1, 1)),
            r"T \+ 1 >= 3, ...\); got \(3, 2, 2\)",
        ),
        (np.zeros((3, 5, 2)), np.zeros((3, 5, 1)), r"actions must have shape \(3, 4"),
        (np.zeros((3, 5, 2)), np.zeros((2, 4, 1)), r"actions must have shape \(3, 4"),
        (np.full((3, 5, 2), np.nan), np.zeros((3, 4, 1)), "observations must be fin"),
        (np.zeros((3, 5, 2)), np.full((3, 4, 1), np.inf), "actions must be finite"),
    ],
)
def test_bad_trajectories_get_one_clear_line(observations, actions, message):
    with pytest.raises(ValueError, match=message):
        Replay.from_trajectories(observations, actions)


def test_bad_sampler_gets_one_clear_line():
    with pytest.raises(ValueError, match="sampler must be one of truncated, clipped"):
        offset_pmf("geometric", 0.9, 3)
    with pytest.raises(ValueError, match=r"gamma must lie inside \(0, 1\)"):
        offset_pmf("uniform", 1.0, 3)
    with pytest.raises(ValueError, match="remaining must be at least 1"):
        offset_pmf("uniform", 0.9, 0)
