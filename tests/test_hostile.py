"""Files from strangers: whatever stands in them, one line or the right answer.

Each format gets 1,000 files that begin as good ones and are spoilt at random, others in
every run; a failure prints the seed that repeats it. A file that is refused raises
``ValueError``, of which the command makes one line; nothing else may come out.
"""

import json
import os
import struct

import jaxtyping
import numpy as np
import pytest
from folders import begun
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from crl_mini.envs.tasks import task
from crl_mini.runs import files, results, run, zoo
from crl_mini.runs.data import collect, save
from crl_mini.runs.formats import load_for

many = settings(
    max_examples=1000,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@st.composite
def spoilt(draw):
    """A function that spoils bytes: cut off, turned over, put in, or doubled."""
    kind = draw(st.sampled_from(["cut", "flip", "insert", "double", "random"]))
    at = draw(st.floats(0, 1, exclude_max=True))
    more = draw(st.binary(max_size=16))
    bits = draw(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=8))

    def spoil(content: bytes) -> bytes:
        k, content = int(at * len(content)), bytearray(content)
        if kind == "cut":
            return bytes(content[:k])
        if kind == "insert":
            return bytes(content[:k] + more + content[k:])
        if kind == "double":
            return bytes(content[:k] + content[k // 2 :])
        if kind == "random":
            return more
        for place, bit in bits:
            # half of them near the beginning, where headers are
            place = place if bit % 2 else place**6
            content[min(int(place * len(content)), len(content) - 1)] ^= bit
        return bytes(content)

    return spoil


@pytest.fixture(autouse=True)
def without_checks_of_types():
    """Readers run the library without them."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def one_line(problem: ValueError, path="") -> None:
    assert "\n" not in str(problem).strip()
    assert str(path) in str(problem)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return begun(tmp_path_factory.mktemp("runs") / "good", "Reach", agent="gcbc")


# Checkpoints.

HEADERS = [
    {"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}},
    {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
    {"a": {"dtype": "X9", "shape": [1], "data_offsets": [0, 4]}},
    {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}},
    {"../../a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}},
    {"a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}},
    {"a": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}},
    [],
    "name",
    {"__metadata__": 3},
]


def headed(header) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(4)


@pytest.fixture(scope="module")
def agent(folder):
    return run.restored(folder)[1]


def loads(agent, path, content: bytes) -> None:
    path.write_bytes(content)
    for read in (lambda: files.load(agent, path), lambda: files.names_in(path)):
        try:
            read()
        except ValueError as problem:
            one_line(problem, path)


@pytest.mark.tried("files", cases=1000)
@many
@given(spoil=spoilt())
def test_checkpoints(spoil, agent, folder, tmp_path):
    loads(
        agent, tmp_path / "x", spoil((folder / "checkpoint.safetensors").read_bytes())
    )


@pytest.mark.tried("files")
@pytest.mark.parametrize("header", HEADERS)
def test_headers_of_checkpoints(header, agent, tmp_path):
    loads(agent, tmp_path / "x", headed(header))
    loads(agent, tmp_path / "x", struct.pack("<Q", 2**63) + bytes(9))


# Data.


@pytest.fixture(scope="module")
def episodes(tmp_path_factory):
    """Files of both formats, one of them compressed."""
    folder = tmp_path_factory.mktemp("data")
    ours, flat = folder / "ours.npz", folder / "flat.npz"
    data = collect("Reach", episodes=1, progress=False)
    save(ours, data)
    arrays = {"observations": data.observations[0], "terminals": np.arange(51) == 50}
    np.savez(flat, actions=np.zeros((51, 4), np.float32), **arrays)
    for path in (ours, flat):
        load_for(str(path), task("Reach"))
    return [ours, flat]


@pytest.mark.tried("files", cases=1000)
@many
@given(spoil=spoilt(), which=st.integers(0, 1))
def test_data(spoil, which, episodes, tmp_path):
    path = tmp_path / "x.npz"
    path.write_bytes(spoil(episodes[which].read_bytes()))
    try:
        data = load_for(str(path), task("Reach"))
    except ValueError as problem:
        one_line(problem, path)
    else:
        assert np.isfinite(data.observations).all()
        assert data.actions.shape[2:] == (4,)


# Settings.

VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=9),
        st.sampled_from(
            ["crl", "Reach", "pixels", "<script>alert(1)</script>", "../.."]
        ),
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@st.composite
def settings_of(draw, config: dict) -> dict:
    """Settings with some of them replaced, left out or added."""
    config = json.loads(json.dumps(config))
    for _ in range(draw(st.integers(1, 3))):
        inside = config["settings"] if draw(st.booleans()) else config
        if not isinstance(inside, dict) or not inside:
            continue
        name = draw(st.sampled_from(sorted(inside)))
        if draw(st.integers(0, 4)):
            inside[name] = draw(VALUES)
        elif inside is not config or name != "settings":
            del inside[name]
    return config


@pytest.mark.tried("files", cases=1000)
@many
@given(data=st.data())
def test_settings(data, folder, tmp_path, monkeypatch):
    """Up to the networks, whose making is left out: it takes too long."""
    config = json.loads((folder / "config.json").read_text())
    if data.draw(st.booleans()):
        text = json.dumps(data.draw(settings_of(config))).encode()
    else:
        text = data.draw(spoilt())((folder / "config.json").read_bytes())
    (tmp_path / "config.json").write_bytes(text)
    (tmp_path / "checkpoint.safetensors").touch()
    monkeypatch.setattr(run, "blank", lambda one: one.config)
    monkeypatch.setattr(run, "load", lambda like, path: like)
    try:
        run.restored(tmp_path)
    except ValueError as problem:
        one_line(problem)


# Recorded results.


@pytest.mark.tried("files", cases=1000)
@many
@given(spoil=spoilt())
def test_results(spoil, tmp_path):
    path, good = tmp_path / "x.csv", b"step,loss,ever\n50,1.5,0.25\n100,1.25,\n"
    path.write_bytes(spoil(good))
    for read in (lambda: files.rows_until(path, 100), lambda: results.rows(path)):
        try:
            rows = read()
        except ValueError as problem:
            one_line(problem)
        else:
            assert isinstance(rows, list)


# Names.


@pytest.mark.tried("files", cases=1000)
@many
@given(name=st.text() | st.sampled_from(["../x", "/etc/passwd", "x\0", *os.sep]))
@example(name="../zoo/binpick-crl")
def test_names_of_agents_that_ship(name):
    if name not in zoo.names():
        with pytest.raises(ValueError, match="zoo:NAME must be one of"):
            zoo.load(name)
