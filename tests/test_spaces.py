"""Features of any space: finite, and apart where the values are, whatever it claims."""

import jax.numpy as jnp
import numpy as np
import pytest
from folders import refused
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from crl_mini.__main__ import main
from crl_mini.rollouts import members
from crl_mini.runs.run import restored
from crl_mini.specs import Spec, fitted

TYPES = (np.float32, np.float64, np.uint8, np.int8, np.int16, np.int32, np.uint32)
CLAIMS = ("true", "wide", "huge", "none", "half", "wrong")


@st.composite
def boxes(draw):
    """A Box with what it claims about each entry, and data of it, (40, ...)."""
    dtype = np.dtype(draw(st.sampled_from(TYPES)))
    shape = tuple(draw(st.lists(st.integers(1, 3), max_size=4)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    if dtype.kind == "f":
        scale = 10.0 ** rng.integers(-4, 6, shape)
        at = scale * rng.uniform(-100, 100, shape)
        low, high = (np.asarray(x, dtype) for x in (at, at + scale))
    else:
        info = np.iinfo(dtype)
        low = rng.integers(info.min, info.max - 6, shape, dtype, endpoint=True)
        high = np.asarray(low + rng.integers(2, 7, shape).astype(dtype), dtype)
    still = rng.random(shape) < 0.2
    high = np.where(still, low, high)
    x = rng.uniform(low.astype(float), high.astype(float), (40, *shape))
    x = np.clip((np.rint(x) if dtype.kind in "iu" else x).astype(dtype), low, high)
    claim = draw(st.sampled_from(CLAIMS if dtype.kind == "f" else ("true", "huge")))
    width = high - low
    if claim == "wide":
        low, high = low - 1000 * width, high + 1000 * width
    elif claim == "huge" and dtype.kind == "f":
        low, high = (np.full(shape, sign * np.finfo(dtype).max) for sign in (-1, 1))
    elif claim == "huge":
        low, high = np.full(shape, info.min, dtype), np.full(shape, info.max, dtype)
    elif claim == "none":
        low, high = np.full(shape, -np.inf), np.full(shape, np.inf)
    elif claim == "half":
        high = np.full(shape, np.inf)
    elif claim == "wrong":
        low, high = low + 10 * width, high + 10 * width
    return spaces.Box(low.astype(dtype), high.astype(dtype), shape, dtype), x


@pytest.mark.tried("spaces", cases=150)
@settings(max_examples=150, deadline=None)
@given(boxes())
def test_features_of_any_box_are_finite_and_tell_values_apart(case):
    space, x = case
    spec = Spec.of(fitted(space, x))
    features = np.asarray(spec.features(jnp.asarray(x)))
    assert features.shape == (40, spec.size)
    assert np.isfinite(features).all()
    assert abs(features).max() < 10
    for column, entry in zip(features.T, x.reshape(40, -1).T, strict=True):
        values, rows = np.unique(entry.astype(np.float32), return_inverse=True)
        if x.dtype.kind in "iu":
            values, rows = np.unique(entry, return_inverse=True)
        if len(values) > 1:
            assert 0.02 < column.std() < 2
            means = [column[rows == k].mean() for k in range(len(values))]
            gaps = np.diff(means) * np.ptp(values.astype(float)) / np.ptp(means)
            want = np.diff(values.astype(float))
            np.testing.assert_allclose(gaps, want, atol=1e-2 * np.ptp(want.cumsum()))
        else:
            assert np.ptp(column) == 0


@pytest.mark.tried("spaces")
@pytest.mark.parametrize(
    ("space", "size"),
    [
        (spaces.Discrete(4), 4),
        (spaces.Discrete(4, start=-2), 4),
        (spaces.MultiBinary(3), 3),
        (spaces.MultiBinary((2, 3)), 6),
        (spaces.MultiDiscrete([3, 1, 5]), 3),
        (spaces.MultiDiscrete([[3, 4]], start=[[5, -2]]), 2),
        (spaces.Box(0, 255, (7, 7, 3), np.uint8), 147),
        (spaces.Box(-1, 1, (16, 16, 3)), 768),
    ],
    ids=str,
)
def test_other_spaces_become_features_too(space, size):
    space.seed(0)
    x = np.array([space.sample() for _ in range(50)])
    features = np.asarray(Spec.of(fitted(space, x)).features(jnp.asarray(x)))
    assert features.shape == (50, size)
    assert -1 <= features.min() < features.max() <= 1
    flat = x.reshape(50, -1)
    same = (flat[:, None] == flat).all(-1)
    np.testing.assert_array_equal((features[:, None] == features).all(-1), same)


def test_spaces_that_are_true_stay_as_they_are():
    box = spaces.Box(-1, 1, (2,))
    data = np.random.default_rng(0).uniform(-0.3, 0.2, (100, 2))
    assert fitted(box, data) is box
    assert fitted(box, 0 * data) is box


@pytest.mark.tried("spaces")
def test_values_that_32_bits_cannot_tell_apart_are_refused():
    box = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    data = np.random.default_rng(0).uniform(0, 1, (100, 2)) + [0, 1e9]
    with pytest.raises(ValueError, match="differ in 32 bits; entry 1 varies by 0.6"):
        fitted(box, data)
    data = np.int64([[2**40], [2**40 + 1]])
    with pytest.raises(ValueError, match="differ in 32 bits; entry 0"):
        fitted(spaces.Box(0, 2**62, (1,), np.int64), data)


ACTIONS = [
    spaces.Box(-0.7, 0.7, (2,)),
    spaces.Box(np.float32([-0.1, 0]), np.float32([0.3, 0.7])),
    spaces.Box(-0.7, 0.7, (2, 1)),
    spaces.Box(-0.7, 0.7, (2,), np.float64),
    spaces.Box(-5, 5, (2,), np.int32),
    spaces.Discrete(3),
]


@pytest.mark.tried("actions")
@pytest.mark.parametrize("space", ACTIONS, ids=str)
def test_actions_that_leave_are_members(space):
    policy = np.random.default_rng(0).uniform(-1, 1, (50, 2))
    policy = np.float32(policy * np.linspace(0, 2, 50)[:, None] + 0.02)
    if isinstance(space, spaces.Discrete):
        policy = np.arange(50) % 3
    kept = policy.copy()
    actions = members(space, policy)
    assert all(space.contains(a) for a in actions)
    assert actions.dtype == space.dtype
    np.testing.assert_array_equal(policy, kept)
    policy = np.rint(policy) if space.dtype == np.int32 else policy
    flat = policy.reshape(50, *space.shape).astype(space.dtype)
    inside = np.array([space.contains(a) for a in flat])
    np.testing.assert_allclose(
        actions.reshape(50, -1)[inside], policy.reshape(50, -1)[inside]
    )
    assert inside.any()
    with pytest.raises(ValueError, match="actions must have shape"):
        members(space, np.zeros((50, 3)))


def test_a_run_keeps_the_scale_of_its_data(tmp_path, capsys):
    """The same line, claimed to be a thousand times as long."""
    few = ["steps=4", "every=2", "episodes=20", "tests=2", "hidden=[8]"]
    what = ["train", "--data", "random", "--preset", "smoke", "--set", *few]
    out = tmp_path / "run"
    assert main([*what, "--task", "line:LineThatClaims-v0", "--out", str(out)]) == 0
    assert "scaled by the data" in capsys.readouterr().err
    run, agent = restored(out)
    low, high = run.bounds["achieved_goal"]
    assert -1.5 < low[0] < 0 < high[0] < 1.5
    assert agent.actor.goal.low == tuple(low)
    again = ["--task", "line:LineThatClaims-v0", "--out", str(out), "--resume"]
    assert main([*what, *again]) == 0
    plain = tmp_path / "plain"
    assert main([*what, "--task", "PointMaze-U-v0", "--out", str(plain)]) == 0
    assert restored(plain)[0].bounds == {}
    assert "scaled by the data" not in capsys.readouterr().err
    config = (out / "config.json").read_text()
    (out / "config.json").write_text(config.replace("achieved_goal", "another"))
    said = refused(["evaluate", "--agent", out], capsys)
    assert "bounds must be one of achieved_goal, desired_goal, observation" in said
