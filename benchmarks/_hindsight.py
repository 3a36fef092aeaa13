"""TD3 with hindsight of Stable-Baselines3 on one of our tasks.

`python benchmarks/_hindsight.py TASK STEPS SCALE` prints how many of 100 goals it
reaches. CONTRIBUTING has commands; `make bench` leaves this file out.
"""

import sys

import gymnasium
import numpy as np
from stable_baselines3 import TD3, HerReplayBuffer
from stable_baselines3.common.noise import NormalActionNoise

import crl_mini.envs  # noqa: F401  registers the environments

SEED = 10_000  # of the first test


class Scaled(gymnasium.ObservationWrapper):
    """Observations and goals, times `scale`: SB3's networks scale nothing."""

    def __init__(self, env, scale: float):
        super().__init__(env)
        self.scale = scale

    def observation(self, now):
        return {name: self.scale * x for name, x in now.items()}

    def compute_reward(self, achieved, desired, info):
        goals = achieved / self.scale, desired / self.scale
        return self.unwrapped.compute_reward(*goals, info)


def trained(env, steps: int) -> TD3:
    """An agent after so many steps."""
    width = np.full(env.action_space.shape, 0.2)
    agent = TD3(
        "MultiInputPolicy",
        env,
        gamma=0.95,
        tau=0.05,
        learning_starts=2000,
        action_noise=NormalActionNoise(0 * width, width),
        replay_buffer_class=HerReplayBuffer,
        policy_kwargs={"net_arch": [64, 64]},
        seed=0,
    )
    return agent.learn(steps)


def reaches(agent, env, seed: int) -> bool:
    """Is the goal reached at any step?"""
    (now, _), over, ever = env.reset(seed=seed), False, False
    while not over:
        action, _ = agent.predict(now, deterministic=True)
        now, _, terminated, truncated, info = env.step(action)
        ever, over = ever or info["success"], terminated or truncated
    return ever


if __name__ == "__main__":
    task, steps, scale = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    env = Scaled(gymnasium.make(f"crl_mini/{task}-v0"), scale)
    agent = trained(env, steps)
    reached = sum(reaches(agent, env, seed) for seed in range(SEED, SEED + 100))
    print(f"{task}: {reached} of 100 goals reached")
