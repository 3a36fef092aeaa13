"""Data files: episodes of scripted behaviour on the tabletop, in one ``.npz``."""

import json
import math
import os
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZIP_DEFLATED, ZipFile

import gymnasium
import numpy as np
from jaxtyping import Bool, Int, Shaped
from tqdm import tqdm

from crl_mini import checks
from crl_mini.devices import memory_gib
from crl_mini.envs.play import Expert, Play, Wander
from crl_mini.envs.tasks import SEEN, GoalTask, spec_of
from crl_mini.rollouts import rollout
from crl_mini.runs.files import versions, whole

POLICIES = {"play": 0.3, "random": 0.0, "expert": 0.0}  # and their usual noise
CHUNK = 64  # episodes at a time
OBS_TYPES = ("state", "pixels", "poses")  # of our own simulations
FIRST_SEED = 1_000_000  # of data; evaluations use smaller ones


class Data(NamedTuple):
    """What a data file holds: N episodes of up to T steps.

    Of the tabletop, `observations` are float32 states (see `tabletop.ENTRIES`), uint8
    pictures, or float32 poses. `success` tells whether the task's own goal, which play
    does not know, is reached after each step. `about` names the task, how the data were
    made, and versions. Other people's files have less: `achieved`, `lengths` and
    `terminal` are as in `replay.Replay`; None where goals are whole observations, all
    last T steps, and time cut them off.
    """

    observations: Shaped[np.ndarray, "N T1 ..."]
    actions: Shaped[np.ndarray, "N T ..."]
    success: Bool[np.ndarray, "N T"] | None = None
    about: dict[str, Any] | None = None
    achieved: Shaped[np.ndarray, "N T1 ..."] | None = None
    lengths: Int[np.ndarray, " N"] | None = None
    terminal: Bool[np.ndarray, " N"] | None = None


def make(task: str, obs_type: str, n: int) -> gymnasium.vector.VectorEnv:
    """`n` simulations of a task that has scripted policies."""
    checks.one_of("task", task, SEEN)
    return gymnasium.make_vec(spec_of(task), num_envs=n, obs_type=obs_type)


def n_bytes(task: str, obs_type: str, episodes: int) -> int:
    """Memory that the observations of so many episodes take, in bytes."""
    space = make(task, obs_type, 1).single_observation_space["observation"]
    frame = space.dtype.itemsize * math.prod(space.shape)
    return episodes * (spec_of(task).max_episode_steps + 1) * frame


def collect(
    task: str,
    obs_type: str = "state",
    policy: str = "play",
    episodes: int = 1000,
    *,
    noise: float | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Data:
    """Episodes of a scripted policy: `play`, `random` or `expert`.

    `noise` is the standard deviation of Gaussian noise on actions in [-1, 1]; without
    it, play has 0.3 and the expert none. Errors: ``ValueError`` for unknown names, for
    noise on random actions, and for more than the machine's memory.
    """
    checks.one_of("policy", policy, POLICIES)
    checks.at_least("episodes", episodes, 1)
    checks.at_least("seed", seed, 0)
    noise = POLICIES[policy] if noise is None else noise
    if policy == "random" and noise:
        raise ValueError(f"noise must be 0 for the random policy; got {noise}")
    need = n_bytes(task, obs_type, episodes) / 2**30
    if need > memory_gib():
        raise ValueError(
            f"episodes must fit into {memory_gib():.1f} GiB of memory; "
            f"{episodes:,} need {need:,.1f} GiB"
        )
    about = {
        "task": task,
        "obs_type": obs_type,
        "policy": policy,
        "noise": noise,
        "seed": seed,
        "versions": versions(),
    }
    arrays = None
    with tqdm(total=episodes, disable=not progress, unit="episode") as bar:
        for first in range(0, episodes, CHUNK):
            n = min(CHUNK, episodes - first)
            part = _chunk(about, FIRST_SEED * (1 + seed) + first, n)
            if arrays is None:
                arrays = [np.empty((episodes, *x.shape[1:]), x.dtype) for x in part]
            for whole, new in zip(arrays, part, strict=True):
                whole[first : first + n] = new
            bar.update(n)
    return Data(*arrays, about)


def _chunk(about: dict, seed: int, n: int) -> tuple[np.ndarray, ...]:
    """Observations, actions and success of `n` episodes."""
    env = make(about["task"], about["obs_type"], n)
    if about["policy"] == "random":
        policy = Wander(env.unwrapped.single_action_space, seed=seed)
    else:
        kind = {"play": Play, "expert": Expert}[about["policy"]]
        policy = kind(env, noise=about["noise"], seed=seed)
    length = spec_of(about["task"]).max_episode_steps
    episodes = rollout(env, policy, length, seed=seed)
    return episodes.observations, np.float32(episodes.actions), episodes.success


def check_room(path: Path, need: int) -> None:
    """Raise ``OSError`` unless a file of `need` bytes can be written there."""
    if path.is_dir():
        raise IsADirectoryError(f"--out must name a file; {path} is a folder")
    folder = next(p for p in path.absolute().parents if p.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise PermissionError(f"--out must be where one may write; got {path}")
    free = shutil.disk_usage(folder).free
    if free < need:
        raise OSError(
            f"--out needs up to {need / 1e9:,.1f} GB on the disk of {folder}; "
            f"{free / 1e9:,.1f} GB are free"
        )


def save(path: Path, data: Data) -> None:
    """Write a compressed data file, whole or not at all.

    It is what `np.savez_compressed` writes. On a full disk that function leaves the
    archive open before NumPy 2.3, and a traceback follows when it is thrown away.
    """
    arrays = data._replace(about=json.dumps(data.about))._asdict()
    with whole(path) as part, ZipFile(part, "w", ZIP_DEFLATED) as archive:
        for name, x in arrays.items():
            if x is not None:
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, np.asarray(x), allow_pickle=False)


def check_memory(env: GoalTask, episodes: int, length: int) -> None:
    """Say how much a replay takes; ``ValueError`` if this machine has less."""
    with closing(env.make(1)) as one:
        step = one.single_observation_space["observation"], one.single_action_space
    per_step = sum(x.dtype.itemsize * math.prod(x.shape) for x in step)
    need = episodes * (length + 1) * per_step
    print(f"replay: {episodes:,} episodes, {need / 1e9:,.3f} GB")
    if need / 2**30 > memory_gib():
        room = f"{memory_gib():.1f} GiB of memory"
        raise ValueError(f"the replay must fit into {room}; got {need:,} bytes")
