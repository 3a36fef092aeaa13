"""Folders of runs, made without training, and commands that are refused."""

import jax
import pytest

from crl_mini.__main__ import main
from crl_mini.runs.files import dump, text
from crl_mini.runs.run import Run

TINY = ["steps=10", "every=5", "episodes=4", "tests=2", "hidden=[8]"]


def slow(values) -> list:
    """Values of a parameter, or tuples of several, as slow tests."""
    rows = (x if isinstance(x, tuple) else (x,) for x in values)
    return [pytest.param(*row, marks=pytest.mark.slow) for row in rows]


def first_is_quick(values) -> list:
    """The same, but the first one is no slow test."""
    first, *others = values
    return [first, *slow(others)]


def begun(out, task, **settings):
    """The folder of a run that was stopped before its first update."""
    run = Run(task, "smoke", 0, out, **settings)
    out.mkdir()
    (out / "config.json").write_bytes(text(run.identity))
    (out / "checkpoint.safetensors").write_bytes(dump(run.fresh()))
    return out


def raw(x):
    """An array, or the numbers of a random key."""
    key = jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(x) if key else x


def refused(argv, capsys) -> str:
    """The one line that a command which is refused leaves below its bars."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in argv])
    assert stop.value.code == 2
    *bars, line = capsys.readouterr().err.splitlines()
    assert all(not bar or "%|" in bar for bar in bars)
    return line
