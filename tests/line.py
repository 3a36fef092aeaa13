"""A GoalEnv as others write them: goals are no observations, one simulation at a time.

Importing registers `Line-v0` and variants of it that an agent must refuse.
"""

import gymnasium
import numpy as np
from gymnasium import spaces

LENGTH = 12  # steps of an episode
NEAR = 0.1  # a goal nearer than this is reached


class Line(gymnasium.Env):
    """A point on [-1, 1]. Observation: x, steps so far, a useless number; goal: x."""

    def __init__(
        self, action_space, success="success", ends_at=None, at_goal=False, far=1
    ):
        self.action_space, self.success = action_space, success
        self.ends_at, self.at_goal = ends_at, at_goal  # when an episode is over
        goal = spaces.Box(-far, far, (1,))
        everything = spaces.Box(-np.inf, np.inf, (3,))
        self.observation_space = spaces.Dict(
            {"observation": everything, "achieved_goal": goal, "desired_goal": goal}
        )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.goal, self.useless = self.np_random.uniform(-1, 1, 3)
        self.t = 0
        return self.look(), {}

    def step(self, action):
        move = action - 1 if isinstance(self.action_space, spaces.Discrete) else action
        self.x = float(np.clip(self.x + 0.2 * np.ravel(move)[0], -1, 1))
        self.t += 1
        near = abs(self.x - self.goal) < NEAR
        info = {self.success: np.float32(near)}  # a number, as in the Fetch tasks
        reward = self.compute_reward(np.array([self.x]), np.array([self.goal]), info)
        over = self.t == self.ends_at or (self.at_goal and near)
        return self.look(), reward, bool(over), False, info

    def compute_reward(self, achieved, desired, info):
        """Of one pair of goals only: a batch would be one number."""
        return float(np.abs(achieved - desired).max() < NEAR)

    def look(self):
        values = {
            "observation": [self.x, self.t, self.useless],
            "achieved_goal": [self.x],
            "desired_goal": [self.goal],
        }
        return {name: np.array(value, np.float32) for name, value in values.items()}


class LineInPictures(Line):
    """A line that draws itself: grey, as light as x is far to the right, 7 x 9."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, render_mode=None, **settings):
        super().__init__(**settings)
        self.render_mode = render_mode

    def render(self):
        return np.full((7, 9, 3), 100 + 100 * self.x, np.uint8)


def register(name, length=LENGTH, kind="Line", **settings):
    settings = {"action_space": spaces.Box(-1, 1, (1,))} | settings
    where = {"entry_point": f"{__name__}:{kind}", "max_episode_steps": length}
    gymnasium.register(f"{name}-v0", kwargs=settings, **where)


register("Line")
register("LineOfFetch", success="is_success")
register("LineOfKeys", action_space=spaces.Discrete(3))
register("LineOfBits", action_space=spaces.MultiBinary(2))
register("LineFromOne", action_space=spaces.Discrete(3, start=1))
register("LineWithoutBounds", action_space=spaces.Box(-np.inf, np.inf, (1,)))
register("LineThatClaims", far=1000)
register("LineWithoutEnd", length=None)
register("LineWithoutSuccess", success="solved")
register("LineThatStops", ends_at=5)
register("LineThatEnds", at_goal=True)
register("LineInPictures", kind="LineInPictures")
