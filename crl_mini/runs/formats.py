"""Read episodes from files: our own, OGBench's, and Minari's."""

import json
import math
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np
from gymnasium.spaces import Box, Discrete, Space
from jaxtyping import Shaped

from crl_mini import checks
from crl_mini.devices import memory_gib
from crl_mini.envs.tasks import OURS, GoalTask
from crl_mini.runs.data import OBS_TYPES, Data

MINARI = "minari:"  # before the name of a data set
ALIGNED, PIECE = 64, 2**24  # bytes
# What reading a damaged file may raise, besides OSError.
UNREADABLE = (
    AttributeError,
    BadZipFile,
    EOFError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
    zlib.error,
)


def check_there(name: str, env: GoalTask) -> None:
    """Raise ``ValueError`` unless the data are a file, or of Minari."""
    if not (name.startswith(MINARI) or Path(name).is_file()):
        allowed = f"{', '.join(env.data)}, a file of episodes, or {MINARI}NAME"
        raise ValueError(f"data must be one of {allowed}; got {name!r}")


def load_for(name: str, env: GoalTask) -> Data:
    """Episodes from a file, or from Minari, checked against the task.

    Errors: ``ValueError`` that names the file, the field, and what is allowed.
    """
    if name.startswith(MINARI):
        data = of_minari(name.removeprefix(MINARI), env)
    else:
        data = load(Path(name))
    try:
        return checked(data, env)
    except ValueError as problem:
        raise ValueError(f"data {name}: {problem}") from None


def load(path: Path) -> Data:
    """Read a file of `collect` or of OGBench. Errors: ``ValueError`` for others."""
    try:
        with ZipFile(path) as archive:
            names = {x.removesuffix(".npy") for x in archive.namelist()}
            if "terminals" in names and "about" not in names:
                return of_ogbench(archive, names)
            wanted = names & set(Data._fields)
            arrays = {name: _array(archive, name) for name in wanted}
        for name in ("observations", "actions", "about"):
            if name not in arrays:
                raise ValueError(f"{name} is missing")
        about = json.loads(str(arrays.pop("about")))
        if not isinstance(about, dict):
            raise ValueError(f"about must be a JSON object; got {about!r:.40}")
    except (OSError, *UNREADABLE) as problem:
        if getattr(problem, "filename", None):  # the disk, not what stands in the file
            raise
        what = "no file of `collect` or of OGBench"
        raise ValueError(f"{path} is {what}: {problem}") from None
    return Data(**arrays, about=about)


def _array(archive: ZipFile, name: str) -> np.ndarray:
    """Read-only, where JAX may use it without a copy; np.load's lies elsewhere."""
    with archive.open(f"{name}.npy") as file:
        major, minor = np.lib.format.read_magic(file)
        header = getattr(np.lib.format, f"read_array_header_{major}_{minor}")
        shape, fortran, dtype = header(file)
        if dtype.hasobject:
            raise ValueError(f"{name} holds Python objects")
        size = math.prod(shape) * dtype.itemsize
        if size > archive.getinfo(f"{name}.npy").file_size:
            raise ValueError(f"{name} is shorter than its header says")
        if size / 2**30 > memory_gib():
            raise ValueError(f"{name} must fit into {memory_gib():.1f} GiB of memory")
        whole = np.empty(size + ALIGNED, np.uint8)
        memory = whole[-whole.ctypes.data % ALIGNED :][:size]
        for i in range(0, size, PIECE):
            memory[i : i + PIECE] = np.frombuffer(file.read(PIECE), np.uint8)
    whole.flags.writeable = memory.flags.writeable = False
    return np.ndarray(shape, dtype, memory, order="F" if fortran else "C")


def of_ogbench(archive: ZipFile, names: set[str]) -> Data:
    """Episodes one after the other in flat arrays, the last row of each marked.

    The action of a last row was never taken. ``terminals`` say where an episode stops,
    not why: they cut it off, as time does.

    Source: Park et al. (2025), OGBench, format of its data sets.
    """
    known = ("observations", "actions", "terminals", "achieved")
    arrays = {name: _array(archive, name) for name in known if name in names}
    for name in known[:3]:
        if name not in arrays:
            raise ValueError(f"{name} is missing")
    rows = len(arrays["observations"])
    for name, x in arrays.items():
        checks.shaped(name, x, (rows, *x.shape[1:]))
    marks = arrays["terminals"].reshape(rows, -1)[:, 0] != 0
    last = np.flatnonzero(np.append(marks[:-1], True))
    return cut(arrays["observations"], arrays["actions"], arrays.get("achieved"), last)


def of_minari(name: str, env: GoalTask) -> Data:
    """A Minari data set on the disk. Errors: ``ValueError`` for another name.

    Data of another environment may be useful, for example if only its reward differs.
    So a difference is printed, but is no error.

    Source: Farama's Minari, class ``EpisodeData``.
    """
    try:
        import minari
    except ImportError:
        wanted = "pip install 'crl_mini[minari]'"
        raise ValueError(f"data {MINARI}{name} need Minari: {wanted}") from None
    try:
        known = minari.load_dataset(name)
        data = of_episodes(known.iterate_episodes())
    except (OSError, *UNREADABLE) as problem:
        said = " ".join(str(problem).split())
        raise ValueError(f"data {MINARI}{name} cannot be read: {said}") from None
    if known.env_spec and known.env_spec.id != env.spec.id:
        print(
            f"data {MINARI}{name}: of {known.env_spec.id}, not of {env.spec.id}",
            file=sys.stderr,
        )
    return data


def of_episodes(episodes: Iterable) -> Data:
    """Episodes of Minari, of environments with goals or of any others."""
    seen, goals, actions, terminal = [], [], [], []
    for episode in episodes:
        s = episode.observations
        if isinstance(s, dict):
            goals.append(s["achieved_goal"])
            s = s["observation"]
        seen.append(s)
        a = np.asarray(episode.actions)
        actions.append(np.concatenate([a, a[-1:]]))  # of the last row: never taken
        terminal.append(bool(np.asarray(episode.terminations)[-1]))
    last = np.cumsum([len(s) for s in seen]) - 1
    achieved = np.concatenate(goals) if goals else None
    data = cut(np.concatenate(seen), np.concatenate(actions), achieved, last)
    return data._replace(terminal=np.array(terminal))


def cut(observations, actions, achieved, last: Shaped[np.ndarray, " N"]) -> Data:
    """Episodes of flat arrays; `last` is the last row of each.

    Rows that are alone are left out. Shorter episodes repeat their last row.
    """
    first = np.concatenate([[0], last[:-1] + 1])
    lengths = last - first
    first, last, lengths = (x[lengths > 0] for x in (first, last, lengths))
    if not len(lengths):
        raise ValueError("terminals must leave an episode of two rows or more")
    longest = max(lengths.max(), 2)
    row = observations.nbytes // len(observations)
    need = len(lengths) * (longest + 1) * row / 2**30
    if need > memory_gib():
        got = f"{len(lengths):,} episodes of up to {longest:,} steps: {need:,.1f} GiB"
        raise ValueError(f"episodes must fit into {memory_gib():.1f} GiB; got {got}")
    at = np.minimum(first[:, None] + np.arange(longest + 1), last[:, None])
    return Data(
        observations[at],
        actions[at[:, :-1]],
        achieved=None if achieved is None else achieved[at],
        lengths=lengths.astype(np.int32),
        terminal=np.zeros(len(lengths), bool),
    )


def checked(data: Data, env: GoalTask) -> Data:
    """The episodes, if they fit the task. Errors: ``ValueError``."""
    about = data.about or {}
    if data.about is not None:
        _check_about(data.about, env)
    (observation, action), (n, steps) = env.spaces, np.shape(data.actions)[:2]
    seen, goal = observation["observation"], observation["achieved_goal"]
    if env.scene is not None and about.get("obs_type") == "poses":
        seen = goal = None  # pictures are drawn of them
    _check("observations", data.observations, (n, steps + 1), seen)
    _check("actions", data.actions, (n, steps), action)
    if data.achieved is not None:
        _check("achieved", data.achieved, (n, steps + 1), goal)
    elif goal is not None and goal.shape != seen.shape:
        raise ValueError(f"achieved is missing; goals have shape {goal.shape}")
    for name, shape in (("success", (n, steps)), ("lengths", (n,)), ("terminal", (n,))):
        if (x := getattr(data, name)) is not None:
            checks.shaped(name, x, shape)
    if data.lengths is not None:
        checks.lengths(data.lengths, steps)
    a = data.actions
    if isinstance(action, Discrete):
        low, high, unit = 0, action.n - 1, 0
    else:
        low, high = action.low, action.high
        unit = 1e-3 * (high - low)  # files are rounded
    if (a < low - unit).any() or (a > high + unit).any():
        got = f"{a.min():.4g} to {a.max():.4g}"
        raise ValueError(f"actions must be of {action}; got {got}")
    return data


def _check_about(about: dict, env: GoalTask) -> None:
    """Raise ``ValueError`` unless the file's own words name this task."""
    for name in ("task", "obs_type"):
        if not isinstance(about.get(name), str):
            got = about.get(name)
            raise ValueError(f"{name} of about must be a name; got {got!r:.40}")
    checks.one_of("obs_type of about", about["obs_type"], OBS_TYPES)
    task = about["task"].rpartition(":")[2].removeprefix(OURS).removesuffix("-v0")
    if task != env.name.removesuffix("-v0"):
        raise ValueError(f"it must be of {env.name}; it is of {about['task']!r:.60}")
    if (about["obs_type"] == "state") != (env.obs == "state"):
        raise ValueError(f"it must fit the obs {env.obs}; it holds {about['obs_type']}")


def _check(name: str, x, shape: tuple[int, int], space: Space | None) -> None:
    """Raise ``ValueError`` unless these are numbers, a member of the space a row."""
    if x.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be numbers; got {x.dtype}")
    if space is None:
        return
    checks.shaped(name, x, (*shape, *space.shape))
    if isinstance(space, Box) and space.dtype == np.uint8 and x.dtype != np.uint8:
        raise ValueError(f"{name} must be bytes; got {x.dtype}")
    if isinstance(space, Discrete) and x.dtype.kind not in "iu":
        raise ValueError(f"{name} must be whole numbers; got {x.dtype}")
    checks.finite(name, x)
