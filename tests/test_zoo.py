"""Agents of the zoo act as those that were kept, and wrong files are refused."""

import json
from hashlib import sha256

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from folders import begun, first_is_quick
from safetensors.numpy import load_file

from crl_mini.__main__ import main
from crl_mini.agents import AGENTS
from crl_mini.measure.statistics import wilson
from crl_mini.runs import zoo
from crl_mini.runs.run import restored

STATES = np.float32(np.random.default_rng(0).uniform(0, 0.1, (5, 7)))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    return tmp_path


def finished(out, agent="gcbc", task="BinPick"):
    """The folder of a run that says to have finished."""
    data = "play" if task == "BinPick" else "random"
    begun(out, task, agent=agent, data=data)
    (out / "manifest.json").write_text('{"task": "BinPick", "ever": 0.5}')
    return out


def networks_of(agent):
    """All weights of its networks, as arrays."""
    both = agent.actor, getattr(agent, "critic", None)
    return [np.asarray(x) for x in jax.tree.leaves(both)]


@pytest.mark.parametrize("name", AGENTS)
def test_a_kept_agent_acts_and_looks_as_before(name, tmp_path):
    out = finished(tmp_path / "run", name)
    zoo.keep(out, f"bin-{name}")
    assert zoo.names() == [f"bin-{name}"]
    (_, before), (run, after) = restored(out), zoo.load(f"bin-{name}")
    assert (run.task, run.agent, run.seed) == ("BinPick", name, 0)
    for mine, kept in zip(networks_of(before), networks_of(after), strict=True):
        np.testing.assert_array_equal(kept, np.float32(np.float16(mine)))
        assert kept.dtype == mine.dtype == np.float32
    for greedy in (True, False):
        want, got = (
            agent.act(STATES, STATES[::-1], key=jax.random.key(0), greedy=greedy)
            for agent in (before, after)
        )
        np.testing.assert_allclose(got, want, atol=0.01)
    if name != "gcbc":
        s, actions = jnp.asarray(STATES), jnp.zeros((5, 4))
        want, got = (x.critic(s, actions, s) for x in (before, after))
        np.testing.assert_allclose(got, want, atol=0.01)


@pytest.mark.parametrize("name", AGENTS)
def test_networks_only_are_kept_with_what_tells_them_apart(name, tmp_path):
    out = finished(tmp_path / "run", name)
    manifest = json.loads(zoo.keep(out, "bin").read_text())
    path = tmp_path / "bin.safetensors"
    arrays = load_file(path)
    parts = {"actor"} if name == "gcbc" else {"actor", "critic"}
    assert {key.split("/")[0] for key in arrays} == parts
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float16)}
    assert manifest["ever"] == 0.5
    assert manifest["config"] == json.loads((out / "config.json").read_text())
    assert manifest["bytes"] == path.stat().st_size
    assert path.stat().st_size < (out / "checkpoint.safetensors").stat().st_size / 4
    assert manifest["sha256"] == sha256(path.read_bytes()).hexdigest()


def test_the_command_takes_agents_of_the_zoo(tmp_path, capsys):
    out = finished(tmp_path / "run", task="line:Line-v0")
    zoo.keep(out, "line")
    for agent in (str(out), "zoo:line"):
        main(["evaluate", "--agent", agent, "--episodes", "20"])
    said = capsys.readouterr().out.splitlines()
    assert said[0] == said[1]
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "--agent", "zoo:lion"])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "zoo:NAME must be one of line; got 'lion'" in error
    assert error.count("\n") == 1


def other_bytes(path, manifest):
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def no_safetensors(path, manifest):
    path.write_bytes(b"no tensors at all")
    manifest["sha256"] = sha256(path.read_bytes()).hexdigest()


def other_networks(path, manifest):
    manifest["config"]["settings"]["hidden"] = [8]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_bytes, "bin.safetensors has the SHA-256 .*, not that of its manifest"),
        (no_safetensors, "bin.safetensors is no safetensors file: "),
        (other_networks, "bin.safetensors was made with other networks"),
    ],
)
def test_wrong_files_are_refused(change, message, tmp_path):
    path = zoo.keep(finished(tmp_path / "run"), "bin")
    manifest = json.loads(path.read_text())
    change(path.with_suffix(".safetensors"), manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=message) as problem:
        zoo.load("bin")
    assert "\n" not in str(problem.value)


def test_runs_that_are_not_finished_are_not_kept(tmp_path):
    out = begun(tmp_path / "run", "line:Line-v0")
    with pytest.raises(ValueError, match="run holds no finished run"):
        zoo.keep(out, "line")
    assert zoo.names() == []


def test_the_agents_that_ship_are_small(monkeypatch):
    monkeypatch.undo()
    sizes = [path.stat().st_size for path in zoo.FOLDER.iterdir() if path.is_file()]
    assert sum(sizes) < 12e6
    named = {path.stem for path in zoo.FOLDER.glob("*.safetensors")}
    assert named == {*zoo.names()}


SHIPPED = [path.stem for path in sorted(zoo.FOLDER.glob("*.json"))]
FROM_PIXELS = [name for name in SHIPPED if "-pixels-" in name]
FROM_STATES = [name for name in SHIPPED if name not in FROM_PIXELS]


@pytest.mark.parametrize("name", first_is_quick(FROM_STATES + FROM_PIXELS))
def test_an_agent_that_ships_does_what_its_manifest_says(name, monkeypatch):
    monkeypatch.undo()
    run, agent = zoo.load(name)
    manifest = json.loads((zoo.FOLDER / f"{name}.json").read_text())
    tried = run.env.episodes(run.policy(agent, run.env.judged), 64, seed=40_000)
    low, high = wilson(int(tried.at_end.sum()), 64, level=0.999)
    assert low <= manifest["at_end"] <= high


def test_of_each_task_an_agent_that_ships_solves_it(monkeypatch):
    """From play, and from scratch; rivals of it may hold less."""
    monkeypatch.undo()
    best = {}
    for name in SHIPPED:
        told = json.loads((zoo.FOLDER / f"{name}.json").read_text())
        kind = told["task"], told["data"] == "own"
        best[kind] = max(best.get(kind, 0), told["at_end"])
    assert {task for task, own in best if own} == {"Reach", "Push", "BinPick"}
    assert min(best.values()) > 0.7
