"""Switches of JAX and Python, sizes beyond any machine, and copied environments."""

import copy
import os
import pickle
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from folders import TINY, first_is_quick, raw, refused, slow
from gymnasium.error import ResetNeeded
from small import batch_of, create

from crl_mini import Replay, losses
from crl_mini.__main__ import _line, main
from crl_mini.agents import AGENTS
from crl_mini.agents.crl import logit_metrics
from crl_mini.envs.maze import PointMaze
from crl_mini.runs.run import Run, restored

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def wide():
    """Numbers of 64 bits: the lowest JAX has no `jax.enable_x64`."""
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", False)


FLAGS = {
    "JAX_DISABLE_JIT": jax.disable_jit,
    "JAX_ENABLE_X64": wide,
    "JAX_DEBUG_NANS": partial(jax.debug_nans, True),
    "JAX_DEFAULT_PRNG_IMPL=rbg": partial(jax.default_prng_impl, "rbg"),
    "JAX_DEFAULT_PRNG_IMPL=unsafe_rbg": partial(jax.default_prng_impl, "unsafe_rbg"),
}
ENVIRONMENTS = ("PointMaze-U-v0", "PointMaze-Spiral-v0", "Reach-v0", "BinPick-v0")


def tiny(out, *more):
    what = ["--task", "PointMaze-U-v0", "--agent", "gcbc", "--preset", "smoke"]
    few = ["--length", "12", "--set", *TINY, "batch_size=8"]
    return ["train", *what, "--out", str(out), *few, *more]


def evaluated(folder, capsys) -> str:
    capsys.readouterr()
    assert main(["evaluate", "--agent", str(folder), "--episodes", "8"]) == 0
    return capsys.readouterr().out


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A run without any flag."""
    out = tmp_path_factory.mktemp("flags") / "plain"
    assert main(tiny(out)) == 0
    return out


@pytest.mark.tried("flags")
@pytest.mark.parametrize("flag", FLAGS)
def test_kept_runs_act_under_every_flag(flag, plain, capsys):
    said = evaluated(plain, capsys)
    with FLAGS[flag]():
        there = evaluated(plain, capsys)
    if "X64" not in flag:  # random numbers of 64 bits are others
        assert there == said


@pytest.mark.tried("flags")
@pytest.mark.parametrize("flag", slow(name for name in FLAGS if "JIT" not in name))
def test_runs_are_the_same_under_every_flag(flag, plain, tmp_path, capsys):
    with FLAGS[flag]():
        assert main(tiny(tmp_path / "run")) == 0
    assert "of 8 goals" in evaluated(tmp_path / "run", capsys)
    if "X64" not in flag:
        for a, b in zip(*leaves(plain, tmp_path / "run"), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def leaves(*folders):
    return [map(raw, jax.tree.leaves(restored(folder)[1])) for folder in folders]


@pytest.mark.tried("flags")
@pytest.mark.parametrize("agent", first_is_quick(AGENTS))
def test_an_update_without_compiling_is_the_same(agent):
    one, batch = create(agent), batch_of()
    _, usual = jax.jit(lambda agent, batch: agent.update(batch))(one, batch)
    with jax.disable_jit():
        _, metrics = one.update(batch)
    for name, value in usual.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.tried("flags")
@pytest.mark.parametrize("agent", first_is_quick(AGENTS))
def test_networks_keep_their_types_where_numbers_have_64_bits(agent):
    with wide():
        one = create(agent)
        new, metrics = jax.jit(lambda agent, batch: agent.update(batch))(
            one, batch_of()
        )
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(new), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
    assert np.isfinite(list(metrics.values())).all()


@pytest.mark.tried("flags")
@pytest.mark.parametrize("switch", first_is_quick(["-OO", "-O"]))
def test_python_without_assertions(switch, plain, tmp_path, capsys):
    """Also without docstrings: a process of its own."""
    words = ["evaluate", "--agent", str(plain), "--episodes", "8"]
    command = [sys.executable, switch, "-m", "crl_mini", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout == evaluated(plain, capsys)


@pytest.mark.tried("flags")
@pytest.mark.parametrize("platform", ["cuda", "banana"])
def test_platforms_that_are_not_there_get_one_line(platform, tmp_path):
    env = {**os.environ, "JAX_PLATFORMS": platform}
    command = [sys.executable, "-m", "crl_mini", *tiny(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env)
    if platform == "cuda" and done.returncode == 0:
        pytest.skip("there is a GPU")
    *_, line = done.stderr.splitlines()
    assert done.returncode == 2, done.stderr
    assert line.endswith(f"that JAX_PLATFORMS asks for; got '{platform}'")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.tried("sizes")
@pytest.mark.parametrize(
    "size",
    [
        "batch_size=1000000000000",
        f"batch_size={10**20}",
        "hidden=[1000000000,1000000000]",
        "episodes=1000000000000",
        f"episodes={10**20}",
        "tests=1000000000000",
        "steps=1000000000000",
        "copies=1000000000000",
    ],
)
def test_absurd_sizes_get_one_line(size, tmp_path, capsys):
    line = refused(tiny(tmp_path / "run", size), capsys)
    assert "too large for this machine" in line or " must " in line
    assert len(line) < 400
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


@pytest.mark.tried("sizes")
def test_errors_of_memory_are_told_from_errors_of_the_program():
    full = "RESOURCE_EXHAUSTED: Out of memory allocating 40000000000 bytes."
    assert "batch_size" in _line(jax.errors.JaxRuntimeError(full))
    assert "batch_size" in _line(MemoryError())
    assert _line(jax.errors.JaxRuntimeError("INTERNAL: a fault")) is None
    assert _line(TypeError("a fault")) is None


@pytest.mark.tried("sizes")
def test_batches_whose_pairs_do_not_fit_into_32_bits():
    """B = 46,341 is the first whose square overflows; the shapes alone are traced."""
    logits = jax.ShapeDtypeStruct((100_000, 100_000), jnp.float32)
    for f in (*losses.LOSSES.values(), losses.logsumexp_penalty, logit_metrics):
        jax.eval_shape(f, logits)
    compiled = jax.jit(losses.binary_nce).lower(logits).as_text()
    assert "1.000000e+10" in compiled


@pytest.mark.tried("sizes")
def test_replays_count_their_transitions_in_32_bits():
    s = np.broadcast_to(np.float32(0), (2**16, 2**15 + 1, 1))
    with pytest.raises(ValueError, match="number of transitions must be less than"):
        Replay.from_trajectories(s, s[:, 1:])


# Environments.


@pytest.mark.tried("copies")
@pytest.mark.parametrize("name", ENVIRONMENTS)
@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_copies_go_on_as_the_environment_does(name, copied):
    env = gymnasium.make_vec(f"crl_mini/{name}", num_envs=2)
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(12)]
    for action in actions[:6]:
        env.step(action)
    other = copied(env)
    for action in actions[6:]:
        mine, yours = env.step(action), other.step(action)
        jax.tree.map(np.testing.assert_array_equal, mine, yours)
    mine, yours = env.reset(), other.reset()
    jax.tree.map(np.testing.assert_array_equal, mine, yours)


@pytest.mark.tried("copies")
def test_a_copy_of_a_single_environment_is_its_own():
    env = gymnasium.make("crl_mini/BinPick-v0")
    env.reset(seed=0)
    other = copy.deepcopy(env)
    before = other.unwrapped.sims.state.copy()
    for _ in range(4):
        env.step(np.ones(4))
    np.testing.assert_array_equal(other.unwrapped.sims.state, before)
    assert other.unwrapped.compute_reward.__self__ is other.unwrapped.sims


@pytest.mark.tried("copies")
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_step_before_the_first_reset_gets_one_line(name):
    env = gymnasium.make_vec(f"crl_mini/{name}", num_envs=2)
    with pytest.raises(ResetNeeded, match="before its first step"):
        env.step(env.action_space.sample())
    with pytest.raises(ResetNeeded, match="before its first step"):
        PointMaze().step(np.zeros(2))


# Importing, and memory.

EVERY = """
import importlib, pkgutil, warnings
# Older matplotlib, of its grammar in today's pyparsing.
warnings.filterwarnings("ignore", ".*deprecated(,| -) use", DeprecationWarning)
import crl_mini
for module in pkgutil.walk_packages(crl_mini.__path__, "crl_mini."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""


@pytest.mark.tried("flags")
def test_every_module_is_imported_without_a_warning(tmp_path):
    command = [sys.executable, "-W", "error", "-c", EVERY]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux tells it")
def test_memory_stays_flat_over_200_rounds_of_collecting(tmp_path):
    used = []

    def look(row):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        used.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)

    changes = {"hidden": (8,), "batch_size": 8, "steps": 0, "episodes": 4, "tests": 2}
    changes |= {"copies": 2, "per_update": 20, "collect": 200 * 2 * 50}
    run = Run("PointMaze-U-v0", "smoke", 0, tmp_path / "run", changes=changes)
    run(log=look)
    assert len(used) == 200
    assert np.mean(used[-20:]) - np.mean(used[40:60]) < 20  # MiB
