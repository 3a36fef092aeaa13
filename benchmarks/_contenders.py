"""Contenders that take turns, round after round, and the ratios of their speeds."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm


@dataclass(eq=False, kw_only=True)
class Contender:
    """A program that acts again and again, and its measured speeds."""

    name: str
    measure: Callable[[float], float]
    """Seconds to act -> actions a second."""
    rates: list[float] = field(default_factory=list)
    """Actions a second, one measurement a round."""


def per_second(act: Callable[[], int], seconds: float) -> float:
    """Actions a second, over `seconds` or more; `act` returns how many it did."""
    done, begun, passed = 0, time.perf_counter(), 0.0
    while passed < seconds or not done:
        done += act()
        passed = time.perf_counter() - begun
    return done / passed


def take_turns(contenders: Sequence[Contender], rounds: int, seconds: float) -> None:
    """Measure all contenders once in each round."""
    turns = [contender for _ in range(rounds) for contender in contenders]
    for contender in tqdm(turns, desc="measuring", leave=False):
        contender.rates.append(contender.measure(seconds))


def medians(values: Iterable[float]) -> tuple[float, float, float]:
    """Median, lowest and highest."""
    return float(np.median(values)), float(np.min(values)), float(np.max(values))


def ratio(ours: Contender, other: Contender) -> tuple[float, float, float]:
    """Ratios of the rates of two contenders, round by round: see `medians`."""
    return medians(np.divide(ours.rates, other.rates))
