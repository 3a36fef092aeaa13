"""One task and its data under ten claims about its observations.

A point in a square, with the same starts, goals and actions each time. Its places are
numbers of another type, scale or shape, and their space claims more or less of them.
What an agent learns should not depend on that. Writes results/claimed-spaces.csv.

    python benchmarks/claimed_spaces.py --seeds 0,1,2 --out results
"""

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import gymnasium
import numpy as np
from gymnasium import spaces
from tqdm import tqdm

from crl_mini.__main__ import Parser, seeds_of
from crl_mini.devices import device
from crl_mini.runs.files import csv_text, text, versions, write
from crl_mini.runs.run import Run

NAMES = ("observation", "achieved_goal", "desired_goal")
NEAR = 0.15  # a goal nearer than this is reached; the square is 2 wide
MODULE = "claimed_spaces"  # of this file, as Gymnasium imports it
SIZES = {"episodes": 400, "steps": 2000, "every": 2000, "tests": 100, "hidden": (64,)}
HUGE = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Claim:
    """How the places (2,) in [-1, 1] are written down, and what their space says."""

    name: str
    low: float
    high: float
    dtype: type = np.float32
    scale: float = 1.0
    shape: tuple[int, ...] = (2,)
    still: bool = False
    """Is there a third entry that cannot vary?"""

    @property
    def space(self) -> spaces.Box:
        """The claimed space."""
        shape = (3,) if self.still else self.shape
        low, high = (np.full(shape, x, float) for x in (self.low, self.high))
        if self.still:
            low[2] = high[2] = 0.5
        return spaces.Box(
            low.astype(self.dtype), high.astype(self.dtype), dtype=self.dtype
        )

    def written(self, place: np.ndarray) -> np.ndarray:
        """A place as the environment shows it."""
        x = place * self.scale + (self.scale if self.dtype == np.uint8 else 0)
        if self.still:
            x = np.append(x, 0.5)
        x = np.rint(x) if np.issubdtype(self.dtype, np.integer) else x
        return x.astype(self.dtype).reshape(self.space.shape)

    def read(self, x: np.ndarray) -> np.ndarray:
        """Places (..., 2) of what the environment has shown (..., *shape)."""
        shape = self.space.shape
        x = np.reshape(x, (*np.shape(x)[: np.ndim(x) - len(shape)], -1))
        shift = self.scale if self.dtype == np.uint8 else 0
        return (x[..., :2].astype(float) - shift) / self.scale


CLAIMS = (
    Claim("true", -1, 1),
    Claim("thousand", -1000, 1000),
    Claim("largest", -HUGE, HUGE),
    Claim("unbounded", -np.inf, np.inf),
    Claim("half", -1, np.inf),
    Claim("float64", -1e6, 1e6, np.float64),
    Claim("still", -1, 1, still=True),
    Claim("bytes", 0, 255, np.uint8, scale=127),
    Claim("int32", -(2**31), 2**31 - 1, np.int32, scale=1000),
    Claim("rank", -1000, 1000, shape=(1, 2, 1)),
)


class Square(gymnasium.Env):
    """A point in the square; it moves by a tenth of its action."""

    action_space = spaces.Box(-1, 1, (2,))

    def __init__(self, claim: Claim):
        self.claim = claim
        self.observation_space = spaces.Dict(dict.fromkeys(NAMES, claim.space))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.goal = self.np_random.uniform(-1, 1, (2, 2))
        return self._look(), {}

    def step(self, action):
        self.at = np.clip(self.at + 0.1 * action, -1, 1)
        now = self._look()
        reward = self.compute_reward(now["achieved_goal"], now["desired_goal"], {})
        return now, float(reward), False, False, {"is_success": reward == 1}

    def compute_reward(self, achieved_goal, desired_goal, info):
        """1 near the goal, else 0; any leading axes."""
        gap = self.claim.read(achieved_goal) - self.claim.read(desired_goal)
        return (np.linalg.norm(gap, axis=-1) < NEAR).astype(np.float32)

    def _look(self) -> dict[str, np.ndarray]:
        places = (self.at, self.at, self.goal)
        return {k: self.claim.written(x) for k, x in zip(NAMES, places, strict=True)}


for claim in CLAIMS:
    name = f"Square-{claim.name}-v0"
    if name not in gymnasium.registry:
        kwargs = {"claim": claim}
        gymnasium.register(name, Square, max_episode_steps=50, kwargs=kwargs)


def reached(claim: Claim, seed: int, sizes: dict, folder: Path) -> dict:
    """A row: how often an agent that learned from random walks reaches its goals."""
    task, out = f"{MODULE}:Square-{claim.name}-v0", folder / f"{claim.name}-{seed}"
    run = Run(task, "smoke", seed, out, data="random", changes=sizes)
    manifest = run()
    space = f"{claim.low:.4g} to {claim.high:.4g}"
    return {
        "claim": claim.name,
        "space": f"{space}, {np.dtype(claim.dtype)}, {claim.space.shape}",
        "seed": seed,
        "ever": manifest["ever"],
        "walk": manifest["ever_of_data"],
    }


def main(argv: list[str] | None = None) -> int:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=seeds_of, default=[0, 1, 2], help="0,1,2")
    parser.add_argument("--out", type=Path, help="folder for claimed-spaces.csv, .json")
    args, begun, rows = parser.parse_args(argv), time.perf_counter(), []
    pairs = [(claim, seed) for claim in CLAIMS for seed in args.seeds]
    with tempfile.TemporaryDirectory() as folder:
        for claim, seed in tqdm(pairs, unit="run"):
            rows.append(reached(claim, seed, SIZES, Path(folder)))
            tqdm.write(str(rows[-1]))
    if args.out:
        minutes = round((time.perf_counter() - begun) / 60, 1)
        command = "python benchmarks/claimed_spaces.py --out results"
        known = {"command": command, "minutes": minutes, "device": device()}
        known |= {"sizes": SIZES, "versions": versions()}
        write(args.out / "claimed-spaces.csv", csv_text(rows))
        write(args.out / "claimed-spaces.json", text(known))
    return 0


if __name__ == "__main__":
    sys.exit(main())
