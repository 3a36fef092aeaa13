"""Behaviour that asks for no goal and sees no reward: where the data come from."""

import numpy as np
from gymnasium import spaces
from jaxtyping import Float


class Wander:
    """A random walk with momentum: repeat the last action with probability `keep`.

    A policy for :func:`crl_mini.evaluate.rollout`; it ignores states and goals. On
    average an action lasts 1 / (1 - keep) steps.
    """

    def __init__(self, action_space: spaces.Box, *, keep: float = 0.8, seed: int):
        if not 0 <= keep < 1:
            raise ValueError(f"keep must lie in [0, 1); got {keep}")
        self.space, self.keep = action_space, keep
        self.rng, self.last = np.random.default_rng(seed), None

    def __call__(self, s, g, key) -> Float[np.ndarray, "B A"]:
        """Actions (B, A) for B states."""
        size = (len(s), *self.space.shape)
        new = self.rng.uniform(self.space.low, self.space.high, size)
        if self.last is not None:
            keep = self.rng.random((len(s), 1)) < self.keep
            new = np.where(keep, self.last, new)
        self.last = new
        return new
