"""Checks of arguments: one clear line with name, value and allowed values."""

from collections.abc import Iterable

import numpy as np
from gymnasium.error import ResetNeeded


def one_of(name: str, value: object, allowed: Iterable[str]) -> None:
    """Raise ``ValueError`` unless `value` is one of the `allowed` names."""
    allowed = list(allowed)
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {value!r}")


def begun(episode: object) -> None:
    """Raise ``ResetNeeded`` where an environment has no episode yet."""
    if episode is None:
        raise ResetNeeded("reset the environment before its first step")


def inside(name: str, value: float, low: float, high: float) -> None:
    """Raise ``ValueError`` unless low < value < high."""
    if not low < value < high:
        raise ValueError(f"{name} must lie inside ({low}, {high}); got {value}")


def at_least(name: str, value: float, low: float) -> None:
    """Raise ``ValueError`` unless value >= low."""
    if not value >= low:
        raise ValueError(f"{name} must be at least {low}; got {value}")


def less(name: str, value: float, high: float) -> None:
    """Raise ``ValueError`` unless value < high."""
    if not value < high:
        raise ValueError(f"{name} must be less than {high:,}; got {value:,}")


def share(name: str, value: float) -> None:
    """Raise ``ValueError`` unless 0 <= value <= 1."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie in [0, 1]; got {value}")


def shaped(name: str, array, shape: tuple[int | None, ...]) -> None:
    """Raise ``ValueError`` unless the array has the shape; ``None`` fits any size."""
    got = np.shape(array)
    fits = len(got) == len(shape) and all(
        want in (None, have) for want, have in zip(shape, got, strict=True)
    )
    if not fits:
        wanted = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
        raise ValueError(f"{name} must have shape {wanted}; got {got}")


def lengths(array, most: int) -> None:
    """Raise ``ValueError`` unless all lengths of episodes lie within 1 and `most`."""
    short, longest = np.min(array), np.max(array)
    if short < 1 or longest > most:
        got = f"{short} to {longest}"
        raise ValueError(f"lengths must be within 1 and {most}; got {got}")


def square(name: str, array) -> None:
    """Raise ``ValueError`` unless the array is a square matrix of at least 2 x 2."""
    got = np.shape(array)
    if len(got) != 2 or got[0] != got[1] or got[0] < 2:
        raise ValueError(f"{name} must be square, (B, B) with B >= 2; got {got}")


def finite(name: str, array) -> None:
    """Raise ``ValueError`` if the array holds a NaN or an infinity."""
    if np.asarray(array).dtype.kind in "bui":
        return  # always finite, and a check of many frames needs much memory
    bad = int(np.size(array) - np.isfinite(array).sum())
    if bad:
        raise ValueError(f"{name} must be finite; {bad} entries are NaN or infinite")
