"""Films of a trained agent: what it does, beside a picture of its goal."""

import math
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
from gymnasium.vector import VectorEnv
from jaxtyping import Bool, UInt8

from crl_mini import checks
from crl_mini.rollouts import rollouts
from crl_mini.runs.files import write
from crl_mini.runs.run import Run

SUFFIXES = (".mp4", ".gif")
EPISODES = 8  # of a film, all at once
GAP, SIGN = 6, 4  # pixels around a picture, and of the sign in them
HELP = "without a display, pictures of MuJoCo need MUJOCO_GL=egl or MUJOCO_GL=osmesa"
GREEN = (0, 158, 115)  # the sign: the goal is reached

Film = list[UInt8[np.ndarray, "Y X 3"]]


def check(run: Run, path: Path) -> None:
    """Raise ``ValueError`` unless a film of this run can be written there."""
    checks.one_of("--video", path.suffix, SUFFIXES)
    with closing(run.env.make(1)) as env:
        if "rgb_array" not in env.metadata.get("render_modes", ()):
            raise ValueError(f"--video needs pictures; {run.task} has no rgb_array")


def save(path: Path, run: Run, agent, n: int, *, seed: int) -> None:
    """Write a film of `n` episodes, of `EPISODES` at most, whole or not at all.

    The left picture shows what happens, the right one the goal. A maze shows both in
    one picture, and other people's environments show only their own. All episodes run
    at once, and the last picture stays for a second.
    """
    n = min(n, EPISODES)
    settings = {"render_mode": "rgb_array"} | run.env.filming
    with closing(run.env.make(n, **settings)) as env:
        policy = run.policy(agent, run.env.judged)
        film = filmed(env, policy, run.env.length, seed=seed)
        fps = round(env.metadata.get("render_fps", 20))
    write(path, encoded(film + film[-1:] * fps, path.suffix, fps))


def filmed(env: VectorEnv, policy: Callable, length: int, *, seed: int) -> Film:
    """One episode in every copy of the environment: sheets of pictures, one a moment.

    An episode that is over stays as it was until the last one is.
    """
    pictures = []

    def watched(s, g, key):
        pictures.append(np.stack(env.render()))
        return policy(s, g, key)

    seen = rollouts(env, watched, length, env.num_envs, seed=seed)
    pictures.append(np.stack(env.render()))
    reached = np.pad(seen.success, ((0, 0), (1, 0)))  # nobody looked at the start
    moments = np.minimum(np.arange(len(pictures)), seen.lengths[:, None])  # (N, T + 1)
    copies = np.arange(env.num_envs)
    pictures = [
        np.stack([pictures[t][i] for i, t in zip(copies, at, strict=True)])
        for at in moments.T
    ]
    reached = np.take_along_axis(reached, moments, 1).T
    if not hasattr(env, "render_goals"):
        return [sheet(p, r, 4) for p, r in zip(pictures, reached, strict=True)]
    goals = np.pad(
        env.render_goals(), ((0, 0), (0, 0), (GAP, 0), (0, 0)), constant_values=255
    )
    pairs = (np.concatenate([p, goals], axis=2) for p in pictures)
    return [sheet(p, r, 2) for p, r in zip(pairs, reached, strict=True)]


def sheet(
    pictures: UInt8[np.ndarray, "N H W 3"],
    reached: Bool[np.ndarray, " N"],
    columns: int,
) -> UInt8[np.ndarray, "Y X 3"]:
    """Pictures in rows, on white, with a green line around those that are `reached`.

    Height and width are even, as video codecs want them.
    """
    n, height, width, _ = pictures.shape
    rows = math.ceil(n / columns)
    columns = min(n, columns)
    tiles = np.full(
        (rows * columns, height + 2 * GAP, width + 2 * GAP, 3), 255, np.uint8
    )
    inside = tiles[:n]
    inside[reached, GAP - SIGN : SIGN - GAP, GAP - SIGN : SIGN - GAP] = GREEN
    inside[:, GAP:-GAP, GAP:-GAP] = pictures
    table = tiles.reshape(rows, columns, *tiles.shape[1:]).swapaxes(1, 2)
    whole = table.reshape(rows * tiles.shape[1], columns * tiles.shape[2], 3)
    odd = [(0, side % 2) for side in whole.shape[:2]]
    return np.pad(whole, (*odd, (0, 0)), constant_values=255)


def encoded(film: Film, suffix: str, fps: int) -> bytes:
    """The bytes of a GIF that repeats, or of a video that every browser plays."""
    if suffix == ".gif":
        look = {"plugin": "pillow", "duration": 1000 / fps, "loop": 0}
    else:
        look = {"plugin": "pyav", "codec": "libx264", "fps": fps}
        look["out_pixel_format"] = "yuv420p"
    return imageio.imwrite("<bytes>", film, extension=suffix, **look)
