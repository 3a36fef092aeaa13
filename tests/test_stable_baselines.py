"""Others can use these environments: Stable-Baselines3 checks them and trains on one.

Skipped unless the extra `benchmarks` is installed (see CONTRIBUTING.md).
"""

import gymnasium
import numpy as np
import pytest

import crl_mini.envs  # noqa: F401  registers the environments
from crl_mini.envs.tabletop import TASKS

sb3 = pytest.importorskip("stable_baselines3", reason="needs the extra benchmarks")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("obs_type", ["state", "pixels"])
def test_stable_baselines_accepts_the_environment(task, obs_type):
    from stable_baselines3.common.env_checker import check_env

    env = gymnasium.make(f"crl_mini/{task}-v0", obs_type=obs_type)
    check_env(env.unwrapped)  # wrappers of Gymnasium 1 hide compute_reward


def test_td3_with_hindsight_trains_on_reach():
    env = gymnasium.make("crl_mini/Reach-v0")
    agent = sb3.TD3(
        "MultiInputPolicy",
        env,
        replay_buffer_class=sb3.HerReplayBuffer,
        replay_buffer_kwargs={"n_sampled_goal": 4, "goal_selection_strategy": "future"},
        learning_starts=500,
        policy_kwargs={"net_arch": [64, 64]},
        seed=0,
    )
    agent.learn(2000)
    assert agent.num_timesteps == 2000
    batch = agent.replay_buffer.sample(512)
    near = np.linalg.norm(
        (batch.next_observations["achieved_goal"] - batch.observations["desired_goal"])
        .cpu()
        .numpy()[:, :3],
        axis=1,
    )
    rewards = batch.rewards.cpu().numpy()[:, 0]
    np.testing.assert_array_equal(rewards, near < TASKS["Reach"].tolerance)
    assert 0.05 < rewards.mean() < 0.95  # hindsight made successes
