"""Read and write the files of runs and data; versions of the packages."""

import contextlib
import csv
import functools
import io
import json
import os
import tempfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions, version
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from crl_mini.devices import device

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

REPLAY = "replay/"  # prefix of the names of a replay's arrays in a checkpoint


_owners = functools.cache(packages_distributions)  # it looks at every installed file


def versions(module: str = "crl_mini") -> dict[str, str]:
    """Versions of the packages that influence a result, and of `module`'s package."""
    names = ("crl_mini", "jax", "flax", "optax", "gymnasium", "numpy", "mujoco")
    owners = _owners().get(module, [])
    return {name: version(name) for name in (*names, *owners)}


def text(value: dict) -> bytes:
    """The value as indented JSON, with a newline at the end."""
    return (json.dumps(value, indent=2) + "\n").encode()


def csv_text(rows: list[dict]) -> bytes:
    """Rows as CSV text with a header; values that hold a comma are quoted."""
    out = io.StringIO()
    lines = [rows[0], *(row.values() for row in rows)] if rows else []
    csv.writer(out, lineterminator="\n").writerows(lines)
    return out.getvalue().encode()


def record(folder: Path, name: str, rows: list[dict], known: dict) -> None:
    """Write a study for `results.read`: its rows, and what is known, with what ran it.

    The files are NAME.csv and NAME.json.
    """
    write(folder / f"{name}.csv", csv_text(rows))
    about = known | {"device": device(), "versions": versions()}
    write(folder / f"{name}.json", text(about))


def rows_until(path: Path, step: int) -> list[dict[str, str]]:
    """Rows of a CSV file up to a step. Errors: ``ValueError`` if one is cut off."""
    lines = path.read_text().splitlines(keepends=True)
    rows = [r for r in csv.DictReader(lines) if int(r.get("step") or 0) <= step]
    cut = any(line.count(",") != lines[0].count(",") for line in lines)
    cut = cut or not lines or not lines[-1].endswith("\n")
    if cut or not rows or rows[-1].get("step") != str(step):
        raise ValueError(f"{path} must hold whole rows up to step {step}")
    return rows


def parsed(path: Path):
    """The content of a JSON file. Errors: ``ValueError`` for any other file."""
    try:
        return json.loads(path.read_text())
    except ValueError as problem:
        raise ValueError(f"{path} is no JSON: {problem}") from None


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep other processes away from a file or folder; a kill ends that, too.

    Errors: ``ValueError`` while another process has it. Windows and some network file
    systems have no such locks: there is no protection there.
    """
    if fcntl is None:
        yield
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another process is writing {path}") from None
        except OSError:
            pass  # no locks here
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def taken(folder: Path) -> Iterator[None]:
    """Lock a folder; one that is made for this and stays empty is removed again.

    Errors: ``ValueError`` while another process has it, ``OSError`` where nothing can
    be written.
    """
    new = [x for x in (folder, *folder.parents) if not x.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        try:
            tempfile.TemporaryFile(dir=folder).close()
            yield
        finally:
            _remove_empty(new)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path to write to: the file appears at `path` whole or not at all.

    Errors: ``ValueError`` while another process writes it.
    """
    part = path.with_name(path.name + ".part")
    new = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        with alone(part):
            try:
                yield part
                os.replace(part, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    part.unlink()
                raise
    except BaseException as problem:
        _remove_empty(new)
        if getattr(problem, "errno", None) and problem.filename is None:
            problem.filename = str(path)  # the error of a full disk names none
        raise


def _remove_empty(folders: list[Path]) -> None:
    """Remove those folders that are empty."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with whole(path) as part:
        part.write_bytes(content)


def dump(agent, replay=None) -> bytes:
    """All arrays of an agent, and of a replay, in the safetensors format."""
    arrays = _arrays(agent) | {REPLAY + k: v for k, v in _arrays(replay).items()}
    return save({k: np.asarray(v) for k, v in arrays.items()})


def load(like, path: Path, prefix: str = ""):
    """The agent `like` with the arrays of a checkpoint; its own must have their shapes.

    With the prefix `REPLAY` it loads the replay. Errors: ``ValueError`` for a file that
    is no checkpoint, or that holds other shapes.
    """
    try:
        stored = load_file(path)
    except (AttributeError, SafetensorError) as problem:  # a type that NumPy lacks
        raise ValueError(f"{path} is no safetensors file: {problem}") from None
    of_replay = prefix == REPLAY
    stored = {
        k.removeprefix(prefix): v
        for k, v in stored.items()
        if k.startswith(REPLAY) == of_replay
    }
    own = _arrays(like)
    if {k: v.shape for k, v in stored.items()} != {k: v.shape for k, v in own.items()}:
        raise ValueError(f"{path} was made with other networks or sizes than requested")
    leaves = [
        jax.random.wrap_key_data(jnp.asarray(stored[k]), impl=jax.random.key_impl(leaf))
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        else jnp.asarray(stored[k], leaf.dtype)
        for k, leaf in zip(own, jax.tree.leaves(like), strict=True)
    ]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def names_in(path: Path) -> set[str]:
    """Names of the arrays of a checkpoint. Errors: ``ValueError`` for another file."""
    try:
        with safe_open(path, "numpy") as file:
            return set(file.keys())
    except SafetensorError as problem:
        raise ValueError(f"{path} is no safetensors file: {problem}") from None


def _arrays(agent) -> dict[str, jax.Array]:
    """Array of every leaf by its name; random keys as integers."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): jax.random.key_data(x)
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
        else x
        for path, x in jax.tree_util.tree_leaves_with_path(agent)
    }
