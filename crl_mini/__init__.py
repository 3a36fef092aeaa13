"""Contrastive learning as goal-conditioned reinforcement learning, in JAX."""

from crl_mini.agents.crl import CRL, CRLConfig
from crl_mini.critic import Critic
from crl_mini.envs import GridMaze
from crl_mini.figures.show import show
from crl_mini.replay import Batch, Replay
from crl_mini.train import train_offline

__all__ = [
    "CRL",
    "Batch",
    "CRLConfig",
    "Critic",
    "GridMaze",
    "Replay",
    "show",
    "train_offline",
]
