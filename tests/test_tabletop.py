"""Tabletop: Gymnasium's checker, geometry, physics, seeds, pictures, bad input."""

import os
import subprocess
import sys

import gymnasium
import mujoco
import numpy as np
import pytest
from folders import first_is_quick
from gymnasium.utils.env_checker import check_env

import crl_mini.envs  # noqa: F401  registers the environments
from crl_mini.envs.play import Expert
from crl_mini.envs.tabletop import (
    BLOCK,
    GREEN,
    HAND,
    OBJECT,
    OPEN,
    OPENING,
    PAPERS,
    STEP,
    SUBSTEPS,
    TASKS,
    TURN,
    TabletopVector,
)
from crl_mini.rollouts import rollout

each = pytest.mark.parametrize("task", TASKS)
# Of tests that compile much; all tasks have the same code.
each_quick_in_one = pytest.mark.parametrize("task", first_is_quick(sorted(TASKS)))
blocks = pytest.mark.parametrize("task", ["Push", "PickPlace", "BinPick"])
obs_types = pytest.mark.parametrize("obs_type", ["state", "pixels"])


def vector(task, n=1, **settings):
    return gymnasium.make_vec(f"crl_mini/{task}-v0", num_envs=n, **settings)


def geom_gap(sims, i):
    """Distance between the inner faces of the fingers, from MuJoCo's own geometry."""
    data = sims._batch.get_data(i)
    mujoco.mj_kinematics(sims.model, data)
    left, right = (data.geom(f"{side}_finger").xpos[0] for side in ("left", "right"))
    return right - left - 2 * sims.model.geom("left_finger").size[0]


@each_quick_in_one
@obs_types
@pytest.mark.filterwarnings("ignore:.*not within the expected range.*")
def test_gymnasium_accepts_the_environment(task, obs_type):
    settings = {"obs_type": obs_type, "render_mode": "rgb_array"}
    settings |= {"width": 40, "height": 30}
    env = gymnasium.make(f"crl_mini/{task}-v0", **settings)
    check_env(env.unwrapped)
    assert env.reset(seed=0)[0]["observation"].dtype == (
        np.float32 if obs_type == "state" else np.uint8
    )
    assert env.render().shape == (30, 40, 3)


@each_quick_in_one
def test_pictures_of_the_goals_are_what_pixels_ask_for(task):
    settings = {"obs_type": "pixels", "width": 64, "height": 64}
    env = gymnasium.make_vec(f"crl_mini/{task}-v0", num_envs=3, **settings)
    now, _ = env.reset(seed=0)
    env.step(np.ones((3, 4)))
    np.testing.assert_array_equal(env.render_goals(), now["desired_goal"])


@each
def test_an_episode_is_truncated_at_its_length(task):
    env = gymnasium.make(f"crl_mini/{task}-v0")
    env.reset(seed=0)
    over = [env.step(np.zeros(4))[2:4] for _ in range(TASKS[task].length)]
    assert not any(terminated for terminated, _ in over)
    assert [truncated for _, truncated in over].index(True) == TASKS[task].length - 1


def test_a_control_step_is_a_twentieth_of_a_second():
    seconds = TASKS["Reach"].model.opt.timestep * SUBSTEPS
    assert seconds == pytest.approx(1 / TabletopVector.metadata["render_fps"])


@each
def test_a_state_is_what_mujoco_says(task):
    env = vector(task, 3)
    sims = env.unwrapped
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(15):
        env.step(rng.uniform(-1, 1, (3, 4)))
    for i in range(3):
        data = sims._batch.get_data(i)
        mujoco.mj_kinematics(sims.model, data)
        want = [*data.body("hand").xpos, geom_gap(sims, i)]
        if "block" in sims.task.keep:
            want += [*data.body("block").xpos]
        if task == "Drawer":
            want += [0.075 - data.body("drawer").xpos[1]]
        np.testing.assert_allclose(sims.state[i], want, atol=1e-6)


@each
@pytest.mark.parametrize("goals", ["final", "mixed"])
def test_goals_are_states_with_the_task_done(task, goals):
    env = vector(task, 300, goals=goals)
    sims = env.unwrapped
    now, info = env.reset(seed=0)
    space = sims.single_observation_space["observation"]
    assert not info["success"].any()  # never at the start
    for states in (now["observation"], now["desired_goal"]):
        assert (states > space.low).all()
        assert (states < space.high).all()
    sims._place(now["desired_goal"].astype(float))
    contacts = [sims._batch.get_data(i) for i in range(0, 300, 10)]
    for data in contacts:
        mujoco.mj_forward(sims.model, data)
        assert min([0.0, *data.contact.dist]) > -0.002  # nothing inside another thing
    grip = np.zeros((300, 4))
    grip[:, 3] = 0 if task == "Reach" else -1
    for _ in range(10):  # the goal is a place to stay
        _, _, _, _, info = env.step(grip)
    assert info["success"].mean() > 0.99


@each_quick_in_one
def test_goals_are_near_and_far(task):
    start, goal = (vector(task, 2000).reset(seed=0)[0][k] for k in GOALS)
    part = TASKS[task].part
    gap = np.linalg.norm((goal - start)[:, part], axis=1)
    assert gap.min() >= TASKS[task].tolerance
    assert gap.max() > 3 * TASKS[task].tolerance
    start, goal = (vector(task, 2000, goals="mixed").reset(seed=0)[0][k] for k in GOALS)
    assert np.linalg.norm((goal - start)[:, part], axis=1).mean() < gap.mean()


GOALS = ("observation", "desired_goal")


@pytest.mark.parametrize("task", ["PickPlace", "BinPick"])
def test_a_mixed_start_is_on_the_way_down_to_the_block(task):
    (far, _), (near, _) = (
        vector(task, 400, goals=goals).reset(seed=0) for goals in ("final", "mixed")
    )
    assert (far["observation"][:, 2] > 0.1).all()
    sims = vector(task, 400, goals="mixed").unwrapped
    sims.reset(seed=0)
    np.testing.assert_array_equal(near["observation"], sims.state)
    gap = np.abs(sims.state[:, HAND] - sims.state[:, OBJECT])
    above = gap[:, :2].max(1) < 1e-6
    assert 0.7 < above.mean() < 0.8
    assert 0.2 < (gap[:, 2] < 0.01).mean() < 0.4  # the fingers are around it
    assert (sims.state[~above, 2] > 0.06).all()
    before = sims.state
    for _ in range(3):
        sims.step(np.tile([0.0, 0, 0, 1], (400, 1)))
    np.testing.assert_allclose(sims.state[:, OBJECT], before[:, OBJECT], atol=1e-4)


def test_bins():
    """Blocks start in the red bin; goals are in the two others, or on the way."""
    now, _ = vector("BinPick", 500).reset(seed=0)
    start, goal = now["observation"][:, OBJECT], now["desired_goal"][:, OBJECT]
    assert (start[:, 0] < -0.03).all()
    assert (goal[:, 0] > 0.03).all()
    green = (goal[:, 1] < 0) == (goal[:, 1] < GREEN[1][1] + 0.01)
    assert green.all()
    assert 0.4 < (goal[:, 1] < 0).mean() < 0.6
    mixed = vector("BinPick", 500, goals="mixed").reset(seed=0)[0]["desired_goal"]
    lifted = mixed[:, OBJECT][:, 2] > 0.06
    assert 0.4 < lifted.mean() < 1
    over_wall = np.abs(mixed[:, 4]) < 0.025
    assert (mixed[over_wall, 6] > 0.1).all()


@pytest.mark.parametrize("obs_type", ["state", "poses"])
@pytest.mark.parametrize("task", PAPERS)
def test_the_papers_protocol(task, obs_type):
    """The hand starts above the block; goals on the way, or final ones in pictures."""
    env = vector(f"{task}Paper", 400, obs_type=obs_type)
    sims, part = env.unwrapped, TASKS[task].part
    assert sims.spec.max_episode_steps == 150
    env.reset(seed=0)
    start, goal = sims.state, sims.goal_state
    hand = start[:, HAND] - start[:, part]
    np.testing.assert_allclose(hand, np.tile([0, 0, 0.05], (400, 1)), atol=1e-6)
    assert (start[:, OPENING] > OPEN - 0.001).all() == (task == "BinPick")
    usual, _ = vector(task, 400).reset(seed=0)
    gaps = [
        np.linalg.norm((g - s)[:, part], axis=1)
        for s, g in ((start, goal), (usual["observation"], usual["desired_goal"]))
    ]
    assert (gaps[0] >= TASKS[task].tolerance).all()
    nearer = gaps[0].mean() < 0.9 * gaps[1].mean()
    assert nearer == (obs_type == "state")
    if task == "BinPick":
        height = goal[:, part][:, 2]
        low, high = (0.03, 0.12) if obs_type == "state" else (0.0199, 0.0201)
        assert (height.min() >= low, height.max() <= high) == (True, True)
    high = goal.copy()
    high[:, part.start + 2] += 0.1
    goals = goal.astype(float)
    sims._place(high.astype(float))
    assert sims._info()["success"].all() == (obs_type == "poses")
    goals[:, part.start] += 1.01 * TASKS[task].tolerance
    sims._place(goals)
    assert not sims._info()["success"].any()


@each_quick_in_one
@obs_types
def test_the_seed_decides_at_any_thread_count_and_number(task, obs_type):
    """Simulation i of seed s is the single environment of seed s + i, to the byte."""
    actions = np.random.default_rng(0).uniform(-1, 1, (12, 5, 4))
    seen = []
    for n, nthread in ((5, 1), (5, 2), (2, 2)):
        env = vector(task, n, obs_type=obs_type, nthread=nthread)
        frames = [env.reset(seed=7)[0]]
        frames += [env.step(a[:n])[0] for a in actions]
        seen.append({k: np.stack([f[k] for f in frames]) for k in GOALS})
    env = gymnasium.make(f"crl_mini/{task}-v0", obs_type=obs_type)
    frames = [env.reset(seed=8)[0]] + [env.step(a[1])[0] for a in actions]
    for k in GOALS:
        np.testing.assert_array_equal(seen[0][k], seen[1][k])
        np.testing.assert_array_equal(seen[0][k][:, :2], seen[2][k])
        np.testing.assert_array_equal(seen[0][k][:, 1], [f[k] for f in frames])
        assert (seen[0][k][0, 0] != seen[0][k][0, 1]).any()


@each
def test_the_reward_is_a_distance(task):
    env = vector(task, 6)
    now, _ = env.reset(seed=0)
    part, gap = TASKS[task].part, TASKS[task].tolerance
    goals = now["desired_goal"]
    near, far = goals.copy(), goals.copy()
    near[:, part.start] += 0.99 * gap
    far[:, part.start] += 1.01 * gap
    other = goals.copy()
    entries = range(goals.shape[1])
    others = [i for i in entries if i not in entries[part]]
    other[:, others] += 1
    reward = env.unwrapped.compute_reward
    assert reward(near, goals, {}).tolist() == [1] * 6
    assert reward(far, goals, {}).tolist() == [0] * 6
    assert reward(other, goals, {}).tolist() == [1] * 6
    stacked = np.stack([near, far])
    np.testing.assert_array_equal(
        reward(stacked, goals),
        [[reward(a, g) for a, g in zip(x, goals, strict=True)] for x in stacked],
    )
    now, r, _, _, info = env.step(np.zeros((6, 4)))
    np.testing.assert_array_equal(
        r, reward(now["achieved_goal"], now["desired_goal"], info)
    )
    np.testing.assert_array_equal(r, info["success"])


def test_pictures_are_rewarded_where_they_are_the_same():
    env = vector("Reach", 2, obs_type="pixels")
    now, _ = env.reset(seed=0)
    reward = env.unwrapped.compute_reward
    assert reward(now["desired_goal"], now["desired_goal"]).tolist() == [1, 1]
    assert reward(now["achieved_goal"], now["desired_goal"]).tolist() == [0, 0]
    assert reward(now["desired_goal"][0], now["desired_goal"]).tolist() == [1, 0]


def test_the_picture_of_a_goal_is_that_of_its_state():
    env = vector("BinPick", 3, obs_type="pixels")
    sims = env.unwrapped
    now, _ = env.reset(seed=0)
    sims._place(sims.goal_state.astype(float))
    again = np.asarray(sims.pictures.draw(sims.poses))
    np.testing.assert_array_equal(now["desired_goal"], again)


def test_a_seed_is_not_needed():
    """Two fresh vectors without one differ, and a second reset goes on."""
    envs = [vector("Reach", 2) for _ in range(2)]
    first, other = (env.reset()[0]["observation"] for env in envs)
    assert (first != other).any()
    assert (envs[0].reset()[0]["observation"] != first).any()
    begun = envs[0].reset(seed=3)[0]["observation"]
    np.testing.assert_array_equal(begun, envs[1].reset(seed=3)[0]["observation"])


def test_the_step_after_the_last_resets():
    env = vector("Reach", 2, max_episode_steps=3)
    first, _ = env.reset(seed=0)
    ends = [env.step(np.zeros((2, 4)))[3].tolist() for _ in range(3)]
    assert ends == [[False] * 2, [False] * 2, [True] * 2]
    now, reward, terminated, truncated, _ = env.step(np.ones((2, 4)))
    assert (now["desired_goal"] != first["desired_goal"]).any()
    assert not (terminated | truncated).any()
    assert reward.tolist() == [0, 0]
    assert not env.step(np.zeros((2, 4)))[3].any()


def test_actions_move_the_hand_and_the_fingers():
    env = vector("Reach", 8, max_episode_steps=10**6)
    sims = env.unwrapped
    env.reset(seed=0)
    middle = np.tile([0, 0, 0.1, 0.04], (8, 1))
    sims._place(middle)
    actions = np.zeros((8, 4))
    actions[np.arange(6), np.arange(6) // 2] = [1, -1, 1, -1, 5, -1]  # 5 is clipped
    actions[6:, 3] = [1, -1]
    env.step(actions)
    moved = sims.state[:6, HAND] - middle[:6, HAND]
    expected = np.clip(actions[:6, :3], -1, 1) * STEP
    np.testing.assert_allclose(moved, expected, atol=0.3 * STEP)
    for _ in range(5):
        env.step(actions * [0, 0, 0, 1])
    np.testing.assert_allclose(sims.state[6:, OPENING], [OPEN, 0], atol=2e-3)
    stays = sims.state[7]
    for _ in range(40):
        env.step(np.zeros((8, 4)))
    np.testing.assert_allclose(sims.state[7, HAND], stays[HAND], atol=1e-4)


def test_a_blocked_hand_does_not_wind_up():
    """After a long push against a wall, two steps back are on the way back."""
    env = vector("BinPick", 1)
    sims = env.unwrapped
    env.reset(seed=0)
    sims._place(np.array([[-0.04, 0.05, 0.03, 0, -0.1, -0.05, 0.02]]))
    for _ in range(20):
        env.step(np.array([[1.0, 0, 0, -1]]))
    stuck = sims.state[0, 0]
    assert stuck < 0
    for _ in range(2):
        env.step(np.array([[-1.0, 0, 0, -1]]))
    assert sims.state[0, 0] < stuck - 0.2 * STEP


def test_pictures_show_the_state_after_the_step():
    env = vector("BinPick", 2, obs_type="pixels")
    sims = env.unwrapped
    env.reset(seed=0)
    for _ in range(3):
        env.step(np.ones((2, 4)))
    data = sims._batch.get_data(1)
    mujoco.mj_kinematics(sims.model, data)
    now = sims.pictures.poses(data.xpos[None], data.xquat[None])
    np.testing.assert_array_equal(sims.poses[1], now[0])


def test_blocks_start_turned_and_goals_are_straight():
    env = vector("Push", 200)
    env.reset(seed=0)
    turns = 2 * np.arctan2(env.unwrapped._qpos[:, 11], env.unwrapped._qpos[:, 8])
    assert -TURN < turns.min() < -0.8 * TURN
    assert 0.8 * TURN < turns.max() < TURN


def test_the_hand_pushes_from_behind():
    """In the goal it touches the face that looks back to the start, along y."""
    now, _ = vector("Push", 200).reset(seed=0)
    start, goal = now["observation"], now["desired_goal"]
    to_block = goal[:, 5] - goal[:, 1]
    np.testing.assert_allclose(np.abs(to_block), 0.03, atol=1e-5)
    np.testing.assert_array_equal(np.sign(to_block), np.sign(goal[:, 5] - start[:, 5]))
    np.testing.assert_allclose(goal[:, 4], goal[:, 0], atol=1e-6)


def test_push_keeps_the_fingers_closed():
    env = vector("Push", 4)
    env.reset(seed=0)
    for _ in range(20):
        now, *_ = env.step(np.tile([0, 0, 0, 1.0], (4, 1)))
    assert (np.abs(now["observation"][:, OPENING]) < 1e-3).all()


# --- Physics.


@blocks
def test_a_block_rests(task):
    env = vector(task, 50, max_episode_steps=10**6)
    now, _ = env.reset(seed=0)
    for _ in range(200):
        later, *_ = env.step(np.zeros((50, 4)))
    drift = (later["observation"] - now["observation"])[:, OBJECT]
    assert np.abs(drift).max() < 2e-4


def test_a_closed_gripper_holds_the_block_at_full_speed():
    """Random corners of the action box, for 10 s, in free air."""
    env = vector("PickPlace", 50, max_episode_steps=10**6)
    sims = env.unwrapped
    env.reset(seed=0)
    sims._place(np.tile([0, 0, 0.1, BLOCK, 0, 0, 0.1], (50, 1)))
    rng, speed = np.random.default_rng(0), []
    for t in range(200):
        if t % 4 == 0:
            a = np.sign(rng.uniform(-1, 1, (50, 3)))
        hand = sims.state[:, HAND]
        a = np.where(hand < [-0.1, -0.08, 0.07], 1, a)
        a = np.where(hand > [0.1, 0.08, 0.18], -1, a)
        env.step(np.column_stack([a, -np.ones(50)]))
        speed.append(np.abs(sims.state[:, HAND] - hand).max(1).mean() / 0.05)
        slip = np.abs(sims.state[:, OBJECT] - sims.state[:, HAND]).max()
        assert slip < 0.006  # m
    assert np.mean(speed) > 0.25  # m/s
    for _ in range(20):
        env.step(np.tile([0, 0, 0, 1.0], (50, 1)))
    assert (sims.state[:, 6] < 0.05).all()  # it was the grip


@blocks
def test_a_block_stays_on_the_table(task):
    """Wild actions near the block, and a thrown block."""
    env = vector(task, 100, max_episode_steps=10**6)
    sims = env.unwrapped
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for t in range(100):
        gap = sims.state[:, OBJECT] - sims.state[:, HAND]
        a = gap / STEP + 1.5 * rng.standard_normal((100, 3))
        env.step(np.column_stack([a, rng.uniform(-1, 1, 100)]))
        if t % 25 == 0:
            velocity = sims._batch.bind("qvel")
            velocity[:, 5:8] = rng.uniform(-2, 2, (100, 3))  # m/s
        x, y, z = sims._qpos[:, 5:8].T
        assert np.isfinite(sims._qpos).all()
        assert (np.abs(x) < 0.165).all()
        assert (np.abs(y) < 0.125).all()
        assert (z > 0.01).all()


# --- Behaviour.


@each
def test_the_expert_solves_the_task(task):
    env = vector(task, 100)
    done = rollout(env, Expert(env), TASKS[task].length, seed=0)
    assert done.at_end.mean() >= 0.95


def greedy(env):
    """Move the hand straight to where it is in the goal, with its opening."""

    def act(s, g, key):
        grip = 2 * g[:, OPENING] / OPEN - 1
        return np.column_stack([(g - s)[:, HAND] / STEP, grip])

    return act


def test_greedy_in_state_space_never_picks_from_the_bin():
    env = vector("BinPick", 200)
    tried = rollout(env, greedy(env), 100, seed=0)
    assert tried.ever.sum() == 0
    hand = tried.observations[:, -1, HAND] - tried.goals[:, HAND]
    assert (np.abs(hand).max(1) < 0.05).mean() > 0.6  # it gets there, without the block
    env = vector("Reach", 200)
    assert rollout(env, greedy(env), 50, seed=0).at_end.all()  # where it is enough


def test_sliding_does_not_leave_a_bin():
    env = vector("BinPick", 100, max_episode_steps=10**6)
    sims = env.unwrapped
    now, _ = env.reset(seed=0)
    state = now["observation"].astype(float)
    state[:, HAND] = state[:, OBJECT] - [0.03, 0, 0]  # behind the block
    state[:, OPENING] = 0
    sims._place(state)
    for _ in range(60):
        env.step(np.tile([1.0, 0, 0, -1], (100, 1)))
    assert (sims.state[:, 4] > -0.06).mean() > 0.5  # pushed to the wall
    assert (sims.state[:, 4] < -0.005).all()  # and no further


# --- Pictures, processes, bad input.


def test_pixels_need_no_graphics():
    code = (
        "import gymnasium, crl_mini.envs, sys;"
        "e = gymnasium.make('crl_mini/Push-v0', obs_type='pixels');"
        "x = e.reset(seed=0)[0]['observation'];"
        "assert x.std() > 10;"
        "assert not [m for m in sys.modules if 'OpenGL' in m]"
    )
    keep = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "MUJOCO_GL")}
    for more in ({}, {"MUJOCO_GL": "disabled"}):
        run = [sys.executable, "-c", code]
        done = subprocess.run(run, env=keep | more, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_the_environments_register_without_mujoco():
    code = (
        "import sys; sys.modules['mujoco'] = None;"
        "import gymnasium, crl_mini.envs;"
        "gymnasium.make('crl_mini/PointMaze-U-v0').reset(seed=0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_envs": 0}, "num_envs must be at least 1; got 0"),
        ({"task": "Throw"}, "task must be one of Reach, Push, PickPlace, BinPick"),
        ({"obs_type": "text"}, "obs_type must be one of state, pixels, poses; got"),
        ({"goals": "hard"}, "goals must be one of final, mixed, paper; got 'hard'"),
        ({"render_mode": "human"}, "render_mode must be one of None, rgb_array"),
        ({"width": 0}, "width must be at least 1; got 0"),
        ({"max_episode_steps": 0}, "max_episode_steps must be at least 1; got 0"),
        ({"nthread": 0}, "nthread must be at least 1; got 0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        TabletopVector(**{"task": "Reach", **settings})


@pytest.mark.parametrize("kind", ["single", "vector"])
def test_bad_actions(kind):
    if kind == "single":
        env, shape = gymnasium.make("crl_mini/Reach-v0").unwrapped, (4,)
    else:
        env, shape = vector("Reach", 2), (2, 4)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="must have shape"):
        env.step(np.zeros((*shape, 1)))
    bad = np.zeros(shape)
    bad[..., 1] = np.nan
    with pytest.raises(ValueError, match="must be finite"):
        env.step(bad)
