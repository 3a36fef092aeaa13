"""Mazes: transitions against a plain loop, Gymnasium's checker, collisions, seeds."""

from collections import deque

import gymnasium
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from crl_mini.envs import maze as mazes
from crl_mini.envs.maze import LAYOUTS, GridMaze

each = pytest.mark.parametrize("name", LAYOUTS)


@each
@pytest.mark.parametrize("slip", [0.0, 0.25])
def test_transitions_equal_a_plain_loop(name, slip):
    maze = GridMaze(name, slip)
    P = np.zeros((maze.n_states, 5, maze.n_states))
    for s, (row, col) in enumerate(maze.cells):
        for a in range(5):
            for taken in range(5):
                p = slip / 5 + (1 - slip) * (taken == a)
                to = (row + maze.MOVES[taken][0], col + maze.MOVES[taken][1])
                P[s, a, s if maze.walls[to] else maze.index(*to)] += p
    np.testing.assert_allclose(maze.P, P, atol=1e-15)


@each
def test_distances_equal_breadth_first_search(name):
    maze = GridMaze(name)
    for start in (0, maze.n_states // 2):
        distance, queue = {start: 0}, deque([start])
        while queue:
            s = queue.popleft()
            for x in np.flatnonzero(maze.P[s].max(0)):
                if x not in distance:
                    distance[x] = distance[s] + 1
                    queue.append(x)
        assert [distance[x] for x in range(maze.n_states)] == list(
            maze.distances[start]
        )


def test_random_walk_follows_the_transitions():
    maze = GridMaze("U", slip=0.1)
    states, actions = maze.random_walk(np.random.default_rng(0), 50, 40)
    assert states.shape == (50, 41)
    assert actions.shape == (50, 40)
    assert (maze.P[states[:, :-1], actions, states[:, 1:]] > 0).all()
    assert set(np.unique(actions)) == set(range(5))
    always_left = np.eye(5)[np.full(maze.n_states, 4)]
    _, actions = maze.random_walk(np.random.default_rng(0), 5, 4, always_left)
    assert (actions == 4).all()


@pytest.mark.parametrize("kind", ["single", "vector"])
def test_one_seed_repeats_and_two_seeds_differ(kind):
    def episode(seed):
        name = "crl_mini/PointMaze-U-v0"
        if kind == "single":
            env = gymnasium.make(name)
        else:
            env = gymnasium.make_vec(name, num_envs=3)
        now, _ = env.reset(seed=seed)
        rng = np.random.default_rng(0)
        seen = [now["observation"], now["desired_goal"]]
        for _ in range(5):
            now, *_ = env.step(rng.uniform(-1, 1, env.action_space.shape))
            seen.append(now["observation"])
        return np.array(seen)

    np.testing.assert_array_equal(episode(1), episode(1))
    assert np.abs(episode(1) - episode(2)).max() > 0.1
    walks = [GridMaze().random_walk(np.random.default_rng(k), 4, 9) for k in (1, 1, 2)]
    np.testing.assert_array_equal(walks[0][0], walks[1][0])
    assert (walks[0][0] != walks[2][0]).any()


@each
@pytest.mark.filterwarnings("ignore:.*render.*")
def test_gymnasiums_checker_accepts_the_environment(name):
    env = gymnasium.make(f"crl_mini/PointMaze-{name}-v0", render_mode="rgb_array")
    check_env(env.unwrapped)
    assert env.spec.max_episode_steps == mazes.LENGTHS[name]


@each
def test_points_stay_in_free_cells_and_reach_the_walls(name):
    env = gymnasium.make_vec(f"crl_mini/PointMaze-{name}-v0", num_envs=64)
    now, _ = env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(45):
        before = now["observation"]
        action = rng.choice([-1, 1], (64, 2))  # hard pushes
        now, *_ = env.step(action)
        col, row = np.floor(now["observation"]).astype(int).T
        assert not env.unwrapped.walls[row, col].any()
        assert np.abs(now["observation"] - before).max() <= mazes.STEP + 1e-5


def test_move_equals_a_plain_loop():
    walls = mazes.walls_of("FourRooms")
    rng = np.random.default_rng(0)
    places = mazes._places(rng, walls, 200)
    actions = rng.uniform(-1.5, 1.5, (200, 2)).astype(np.float32)
    moved = mazes.move(jnp.asarray(walls), jnp.asarray(places), jnp.asarray(actions))
    for place, action, got in zip(places, actions, np.asarray(moved), strict=True):
        at = place.copy()
        for _ in range(mazes.SUBSTEPS):
            for axis in (0, 1):
                to = at.copy()
                to[axis] += np.clip(action[axis], -1, 1) * np.float32(0.1)
                if not walls[int(to[1]), int(to[0])]:
                    at = to
        np.testing.assert_allclose(got, at, atol=1e-5)


def test_vector_form_moves_like_single_environments():
    single = gymnasium.make("crl_mini/PointMaze-FourRooms-v0").unwrapped
    vector = gymnasium.make_vec("crl_mini/PointMaze-FourRooms-v0", num_envs=2)
    single.reset(seed=0)
    now, _ = vector.reset(seed=0)
    single._position, single._goal = now["observation"][1], now["desired_goal"][1]
    for action in np.random.default_rng(0).uniform(-1, 1, (20, 2, 2)):
        now, reward, _, _, info = vector.step(action)
        alone, alone_reward, _, _, alone_info = single.step(action[1])
        np.testing.assert_allclose(
            now["observation"][1], alone["observation"], atol=1e-5
        )
        assert (reward[1], info["success"][1]) == (alone_reward, alone_info["success"])


def test_vector_form_truncates_all_and_resets_on_the_next_step():
    env = gymnasium.make_vec("crl_mini/PointMaze-U-v0", num_envs=4)
    first, _ = env.reset(seed=0)
    zeros = np.zeros((4, 2))
    over = [env.step(zeros)[3].all() for _ in range(50)]
    assert over == [False] * 49 + [True]
    now, reward, _, truncated, _ = env.step(zeros)
    assert not truncated.any()
    assert not reward.any()
    assert (now["observation"] != first["observation"]).all()
    fewer = gymnasium.make_vec("crl_mini/PointMaze-U-v0", 1, max_episode_steps=7)
    assert fewer.unwrapped.max_episode_steps == 7


def test_reward_is_one_inside_the_radius_for_any_leading_axes():
    goal = np.array([2.0, 3.0])
    near, far = goal + [0.3, 0.39], goal + [0.3, 0.41]
    achieved = np.array([[goal, near], [far, goal]])
    env = gymnasium.make("crl_mini/PointMaze-U-v0").unwrapped
    np.testing.assert_array_equal(
        env.compute_reward(achieved, goal, {}), [[1, 1], [0, 1]]
    )


def test_picture_shows_point_and_goal():
    env = gymnasium.make("crl_mini/PointMaze-U-v0", render_mode="rgb_array").unwrapped
    env.reset(seed=0)
    env._position, env._goal = np.array([1.5, 1.5]), np.array([4.5, 3.5])
    image = env.render()
    assert image.shape == (5 * 48, 7 * 48, 3)
    assert tuple(image[72, 72]) == (0, 90, 180)
    assert tuple(image[168, 216]) == (230, 159, 0)
    assert tuple(image[0, 0]) == (90, 90, 90)
    assert tuple(image[49, 49]) == (245, 245, 245)
    many = gymnasium.make_vec("crl_mini/PointMaze-U-v0", num_envs=2).unwrapped
    many.reset(seed=0)
    many._position[1], many._goal[1] = env._position, env._goal
    np.testing.assert_array_equal(many.render()[1], image)
    assert (many.render()[0] != image).any()


def test_bad_input_gets_one_clear_line():
    with pytest.raises(ValueError, match="name must be one of U, FourRooms, NineRooms"):
        GridMaze("Maze")
    with pytest.raises(ValueError, match=r"slip must lie in \[0, 1\]"):
        GridMaze("U", slip=2.0)
    with pytest.raises(ValueError, match="must be a free cell"):
        GridMaze("U").index(0, 0)
    with pytest.raises(ValueError, match="maze must be one of U, FourRooms"):
        gymnasium.make("crl_mini/PointMaze-U-v0", maze="Maze")
    with pytest.raises(ValueError, match="num_envs must be at least 1"):
        gymnasium.make_vec("crl_mini/PointMaze-U-v0", num_envs=0)
    env = gymnasium.make("crl_mini/PointMaze-U-v0").unwrapped
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"action must have shape \(2\); got \(3,\)"):
        env.step(np.zeros(3))
    with pytest.raises(ValueError, match="action must be finite"):
        env.step(np.array([np.nan, 0]))
    for bad in ({"episodes": 0, "length": 3}, {"episodes": 3, "length": 0}):
        with pytest.raises(ValueError, match="must be at least 1"):
            GridMaze("U").random_walk(np.random.default_rng(0), **bad)
