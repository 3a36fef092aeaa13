"""One part of a run is swapped: what stays is the same, what is measured is known."""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crl_mini.critic import paired
from crl_mini.runs import results
from crl_mini.runs.run import Run, restored

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import swaps  # noqa: E402


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that ended, on its own data."""
    changes = {"collect": 400, "copies": 4, "per_update": 200, "tests": 4, "nce": True}
    out = tmp_path_factory.mktemp("swaps") / "run"
    run = Run("Reach", "smoke", 0, out, "c_learning", changes=changes)
    run()
    return run


def test_a_new_actor_climbs_a_critic_that_stays(run):
    _, agent = restored(run.out)
    replay = swaps.start(run, resume=True)[2]
    new = swaps.climber(run, agent.critic, 40, 0.0)
    ended, _ = swaps.train_offline(
        new, replay, 40, key=jax.random.key(0), every=40, progress=False
    )
    for before, after in zip(
        *map(jax.tree.leaves, (agent.critic, ended.critic)), strict=True
    ):
        np.testing.assert_array_equal(before, after)
    batch = replay.sample(jax.random.key(1), 500, 0.97)
    f = [
        agent.critic(
            batch.s,
            x.act(batch.s, batch.g, key=jax.random.key(2), greedy=True),
            batch.g,
            pairs=paired,
        )
        for x in (new, ended)
    ]
    assert f[1].mean() > f[0].mean()


def test_an_actor_that_only_clones_forgets_the_critic(run):
    _, agent = restored(run.out)
    replay = swaps.start(run, resume=True)[2]
    how = {"key": jax.random.key(0), "every": 20, "progress": False}
    both = [agent.critic, run.fresh().critic]
    ended = [
        swaps.train_offline(swaps.climber(run, x, 20, 1.0), replay, 20, **how)[0].actor
        for x in both
    ]
    for one, other in zip(*map(jax.tree.leaves, ended), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_size_spread_and_ratios_of_a_known_critic(run):
    _, agent = restored(run.out)
    replay = swaps.start(run, resume=True)[2]

    class Known:
        """f is 2 a_0 + c, whatever the state and the goal."""

        def __init__(self, c):
            self.c = c

        def __call__(self, s, a, g, *, pairs):
            return 2 * a[:, 0] + self.c

    class Always:
        """It takes the action 1/2."""

        config = agent.config

        def act(self, s, g, *, key):
            return jnp.full((len(s), 4), 0.5)

    for c in (-5.0, 0.5):
        Always.critic = Known(c)
        found = swaps.of_critic(Always(), replay)
        assert found["size"] == pytest.approx(abs(1 + c))
        assert found["spread"] == pytest.approx(2 / np.sqrt(3), rel=0.05)  # of U(-2, 2)
        assert found["ratio of actor"] == pytest.approx(np.exp(1 + c), rel=1e-5)


def test_the_command_writes_a_row_a_swap(run, tmp_path):
    words = [str(run.out), "--bc", "0.1", "--agents", "gcbc", "crl", "--updates", "3"]
    assert swaps.main([*words, "--out", str(tmp_path)]) == 0
    rows = results.rows(tmp_path / "swaps.csv")
    told = json.loads((tmp_path / "swaps.json").read_text())
    assert [(r["kind"], r.get("agent", "")) for r in rows] == [
        ("actor", ""),
        ("agent", "gcbc"),
        ("agent", "crl"),
    ]
    assert {r["updates"] for r in rows} == {3}
    assert [r["size"] > 0 for r in rows if r.get("agent") != "gcbc"] == [True, True]
    assert told["command"].endswith(" ".join([*words, "--out", str(tmp_path)]))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--bc", "2"], "--bc must lie in [0, 1]"),
        (["--agents", "nobody"], "--agents must be one of"),
        (["--updates", "-1"], "--updates must be at least 0; got -1"),
        ([], "a run has config.json and a checkpoint"),
    ],
)
def test_wrong_words_get_one_line(words, message, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        swaps.main([str(tmp_path), *words])
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
