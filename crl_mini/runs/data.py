"""Data files: episodes of scripted behaviour on the tabletop, in one ``.npz``."""

import json
import math
import os
import shutil
import zlib
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile, ZipFile

import gymnasium
import numpy as np
from jaxtyping import Bool, Float, Shaped
from tqdm import tqdm

from crl_mini import checks
from crl_mini.devices import memory_gib
from crl_mini.envs.play import Expert, Play, Wander
from crl_mini.envs.tasks import SEEN, GoalTask, spec_of
from crl_mini.rollouts import rollout
from crl_mini.runs.files import versions, whole

POLICIES = {"play": 0.3, "random": 0.0, "expert": 0.0}  # and their usual noise
CHUNK = 64  # episodes at a time
ALIGNED, PIECE = 64, 2**24  # bytes
# What reading a damaged file may raise, besides OSError.
UNREADABLE = (
    AttributeError,
    BadZipFile,
    EOFError,
    KeyError,
    RuntimeError,
    TypeError,
    ValueError,
    zlib.error,
)
FIRST_SEED = 1_000_000  # of data; evaluations use smaller ones


class Data(NamedTuple):
    """What a data file holds: N episodes of T steps.

    `observations` are float32 states (see `tabletop.ENTRIES`) or uint8 pictures.
    `success` tells whether the task's own goal, which play does not know, is reached
    after each step. `about` names the task, how the data were made, and versions.
    """

    observations: Shaped[np.ndarray, "N T1 ..."]
    actions: Float[np.ndarray, "N T A"]
    success: Bool[np.ndarray, "N T"]
    about: dict


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
    """Write a compressed data file, whole or not at all."""
    with whole(path) as part, part.open("wb") as file:
        about = json.dumps(data.about)
        np.savez_compressed(file, **data._replace(about=about)._asdict())


def load(path: Path) -> Data:
    """Read a data file. Errors: ``ValueError`` for any other file."""
    try:
        with ZipFile(path) as archive:
            arrays = {name: _array(archive, name) for name in Data._fields}
    except UNREADABLE as problem:
        raise ValueError(f"{path} is no data file of `collect`: {problem}") from None
    return Data(**arrays | {"about": json.loads(str(arrays["about"]))})


def _array(archive: ZipFile, name: str) -> np.ndarray:
    """Read-only, where JAX may use it without a copy; np.load's lies elsewhere."""
    with archive.open(f"{name}.npy") as file:
        major, minor = np.lib.format.read_magic(file)
        header = getattr(np.lib.format, f"read_array_header_{major}_{minor}")
        shape, fortran, dtype = header(file)
        if dtype.hasobject:
            raise ValueError(f"{name} holds Python objects")
        size = math.prod(shape) * dtype.itemsize
        whole = np.empty(size + ALIGNED, np.uint8)
        memory = whole[-whole.ctypes.data % ALIGNED :][:size]
        for i in range(0, size, PIECE):
            memory[i : i + PIECE] = np.frombuffer(file.read(PIECE), np.uint8)
    whole.flags.writeable = memory.flags.writeable = False
    return np.ndarray(shape, dtype, memory, order="F" if fortran else "C")


def load_for(path: Path, env: GoalTask) -> Data:
    """Read a data file. Errors: ``ValueError`` where it is of other things."""
    data = load(path)
    if data.about["task"] != env.name:
        raise ValueError(
            f"data must be of {env.name}; {path} is of {data.about['task']}"
        )
    if (data.about["obs_type"] == "state") != (env.obs == "state"):
        has = f"{path} holds {data.about['obs_type']}"
        raise ValueError(f"data must fit the obs {env.obs}; {has}")
    return data


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
