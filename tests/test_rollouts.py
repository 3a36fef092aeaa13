"""Rollouts against what the environment did, step by step."""

import gymnasium
import jax
import line
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from crl_mini.rollouts import rollout, rollouts

ENV = "crl_mini/PointMaze-U-v0"


def still(s, g, key):
    return np.zeros((len(s), 2))


def test_rollout_records_what_happened():
    env = gymnasium.make_vec(ENV, num_envs=40)
    seen = rollout(env, lambda s, g, key: np.sign(g - s), 12, seed=0)
    assert seen.observations.shape == (40, 13, 2)
    assert seen.actions.shape == (40, 12, 2)
    near = np.linalg.norm(seen.observations[:, 1:] - seen.goals[:, None], axis=-1) < 0.5
    np.testing.assert_array_equal(seen.success, near)
    np.testing.assert_array_equal(seen.ever, near.any(1))
    np.testing.assert_array_equal(seen.at_end, near[:, -1])
    assert 0 < seen.ever.mean() < 1


@pytest.mark.tried("ends")
@pytest.mark.parametrize("name", ["Line", "LineOfFetch", "LineOfKeys"])
@pytest.mark.parametrize("mode", AutoresetMode)
def test_an_episode_of_full_length_ends_where_it_ended(mode, name):
    """Whatever the vector does after the last step, and whatever success is called."""
    settings = {"autoreset_mode": mode, "copy": False}
    env = gymnasium.make_vec(f"line:{name}-v0", num_envs=5, vector_kwargs=settings)
    step = {"LineOfKeys": lambda g: (g[:, 0] > 0) * 2}.get(name, np.sign)
    for seed in (0, 1):  # the second rollout starts after the end of the first
        seen = rollout(env, lambda s, g, key: step(g), line.LENGTH, seed=seed)
        x, t, useless = np.moveaxis(seen.observations, -1, 0)
        np.testing.assert_array_equal(t, np.tile(np.arange(line.LENGTH + 1), (5, 1)))
        np.testing.assert_array_equal(useless, useless[:, :1].repeat(13, 1))
        np.testing.assert_array_equal(seen.achieved, x[..., None])
        moved = x[:, :1] + 0.2 * np.sign(seen.goals) * t
        np.testing.assert_allclose(x, np.clip(moved, -1, 1), atol=1e-5)
        near = np.abs(x[:, 1:] - seen.goals) < line.NEAR
        np.testing.assert_array_equal(seen.success, near)
        assert seen.success.dtype == bool
        assert 0 < near.sum() < near.size


def test_achieved_goals_are_the_same_array_where_they_are_the_observations():
    env = gymnasium.make_vec(ENV, num_envs=2)
    for n in (2, 3):
        seen = rollouts(env, still, 3, n, seed=0)
        assert seen.achieved is seen.observations
        assert len(seen.observations) == n


def test_rounds_give_as_many_episodes_as_asked_for_and_no_seed_twice():
    env = gymnasium.make_vec("line:Line-v0", num_envs=4)

    def starts(n, seed):
        seen = rollouts(env, lambda s, g, key: -s[:, :1], 3, n, seed=seed)
        assert {len(x) for x in seen} == {n}
        np.testing.assert_array_equal(seen.achieved, seen.observations[..., :1])
        return seen.observations[:, 0, 2]

    first, again, other = (starts(10, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert len({*first, *other}) == 20
    np.testing.assert_array_equal(starts(4, 0), first[:4])


@pytest.mark.tried("ends")
@pytest.mark.parametrize("name", ["LineThatEnds", "LineThatStops"])
@pytest.mark.parametrize("mode", AutoresetMode)
def test_episodes_end_where_their_environment_ends_them(mode, name):
    """Each against the same episode, played alone."""
    settings = {"autoreset_mode": mode, "copy": False}
    env = gymnasium.make_vec(f"line:{name}-v0", num_envs=12, vector_kwargs=settings)
    for seed in (0, 7):
        seen = rollout(
            env, lambda s, g, key: np.sign(g - s[:, :1]), line.LENGTH, seed=seed
        )
        for i, length in enumerate(seen.lengths):
            alone = gymnasium.make(f"line:{name}-v0")
            now, _ = alone.reset(seed=seed + i)
            looked, success, done = [now], [], False
            while not done:
                towards = np.sign(now["desired_goal"] - now["achieved_goal"])
                now, _, over, cut, info = alone.step(towards)
                done = over or cut
                looked.append(now)
                success.append(bool(info["success"]))
            assert (length, seen.terminal[i]) == (len(success), over)
            for mine, of in (
                (seen.observations, "observation"),
                (seen.achieved, "achieved_goal"),
            ):
                got, want = mine[i], np.stack([x[of] for x in looked])
                np.testing.assert_array_equal(got[: length + 1], want)
                rest = want[-1:].repeat(line.LENGTH - length, 0)
                np.testing.assert_array_equal(got[length + 1 :], rest)
            np.testing.assert_array_equal(seen.success[i, :length], success)
            assert not seen.success[i, length:].any()
            assert seen.at_end[i] == success[-1]
        if name == "LineThatEnds":
            assert len({*seen.lengths}) > 2
            np.testing.assert_array_equal(seen.terminal, seen.ever)
        else:
            assert {*seen.lengths} == {5}


def test_what_cannot_be_recorded_gets_one_clear_line():
    env = gymnasium.make_vec("line:LineWithoutSuccess-v0", num_envs=2)
    message = "info must hold success or is_success; got .*solved"
    with pytest.raises(ValueError, match=message):
        rollout(env, lambda s, g, key: -s[:, :1], line.LENGTH, seed=0)


def test_one_seed_repeats_and_two_seeds_differ():
    env = gymnasium.make_vec(ENV, num_envs=3)
    goals = [rollout(env, still, 2, seed=seed).goals for seed in (1, 1, 2)]
    np.testing.assert_array_equal(goals[0], goals[1])
    assert (goals[0] != goals[2]).any()


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="length must be at least 1"):
        rollout(gymnasium.make_vec(ENV, num_envs=1), still, 0, seed=0)


@pytest.mark.tried("arrays")
def test_what_others_write_again_is_copied():
    """An environment and a policy that keep one array each, and write into both."""

    class Kept(line.Line):
        def step(self, action):
            now, reward, terminated, truncated, info = super().step(action)
            action[...] = 9
            return now, reward, terminated, truncated, info

    space = gymnasium.spaces.Box(-1, 1, (1,))
    steps, reached = np.zeros((3, 1)), np.zeros(3, bool)
    env = gymnasium.vector.SyncVectorEnv([lambda: Kept(space)] * 3, copy=False)
    inner = env.step

    def step(action):
        now, reward, terminated, truncated, info = inner(action)
        reached[:] = info["success"]
        return now, reward, terminated, truncated, info | {"success": reached}

    def policy(s, g, key):
        steps[:] = np.sign(g - s[:, :1])
        return steps

    env.step = step
    seen = rollout(env, policy, line.LENGTH, seed=3)
    x = seen.achieved[..., 0]
    np.testing.assert_array_equal(seen.actions[..., 0], np.sign(seen.goals - x[:, :-1]))
    near = np.abs(x[:, 1:] - seen.goals) < line.NEAR
    np.testing.assert_array_equal(seen.success, near)
    assert 0 < near.sum() < near.size


def test_a_policy_gets_a_key_of_its_own_in_every_step():
    env = gymnasium.make_vec(ENV, num_envs=2)
    keys = []

    def policy(s, g, key):
        keys.append(jax.random.key_data(key).tolist())
        return np.zeros((2, 2))

    rollout(env, policy, 3, seed=7)
    start = jax.random.key(7, impl="threefry2x32")
    folded = [jax.random.fold_in(start, t) for t in range(3)]
    assert keys == [jax.random.key_data(key).tolist() for key in folded]
