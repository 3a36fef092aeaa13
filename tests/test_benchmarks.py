"""The benchmarks: small runs, known ratios, a sanity check that sees what is wrong."""

import json
import subprocess
import sys
import time
from contextlib import ExitStack
from functools import partial
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from crl_mini.runs import results
from crl_mini.runs.files import csv_text
from crl_mini.runs.run import Run

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import claimed_spaces  # noqa: E402
import folders  # noqa: E402
import learner  # noqa: E402
import simulation  # noqa: E402
import three_jobs  # noqa: E402
from simulation import FETCH, ONE, OURS, PROCESSES, RAYS, Simulator  # noqa: E402


def timed(name, obs, n, rates):
    return Simulator(name=name, obs=obs, simulations=n, measure=None, rates=rates)


def test_own_environments_are_measured_and_shown():
    contenders = list(simulation.ours("Reach", (2,)))
    simulation.take_turns(contenders, rounds=2, seconds=0.01)
    rows = [contender.row for contender in contenders]
    assert [tuple(row.values())[:3] for row in rows] == [
        (ONE, "state", 1),
        (OURS, "state", 2),
        (ONE, "pixels", 1),
        (OURS, "pixels", 2),
        (RAYS, "shadows", 64),
        (RAYS, "no shadows", 64),
    ]
    for contender, row in zip(contenders, rows, strict=True):
        assert len(contender.rates) == 2
        assert 0 < row["slowest"] <= row["fastest"]
        assert (row["steps_per_second"] == "") == (row["contender"] == RAYS)
        assert (row["frames_per_second"] == "") == (row["obs"] == "state")
    lines = simulation.report(contenders).splitlines()
    for line, row in zip(lines[1:], rows, strict=False):
        assert line.startswith(row["contender"])
        speed = row["steps_per_second"] or row["frames_per_second"]
        assert f"{speed:,}" in line
    assert "One simulation" in lines[-1]
    assert len(lines) == 1 + len(rows) + 2


def test_rates_count_control_steps_and_no_resets(monkeypatch):
    clock = iter(range(1000))  # every look at the clock takes a second
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    assert simulation.per_second(lambda: 3, 3.5) == 3

    space = SimpleNamespace(seed=lambda seed: None, sample=lambda: 0)
    ends = iter([[False, False], [True, True], [False, False], [False, True]])
    env = SimpleNamespace(
        num_envs=2,
        action_space=space,
        reset=lambda seed: None,
        step=lambda action: (0, 0, 0, np.array(next(ends)), {}),
    )
    act = simulation.acting(env)
    assert [act(), act(), act()] == [0, 2, 1]


def test_a_single_environment_is_reset_when_its_episode_ends():
    resets, ends = [], cycle([False, False, True])
    env = SimpleNamespace(
        action_space=SimpleNamespace(seed=lambda seed: None, sample=lambda: 0),
        reset=lambda **settings: resets.append(settings),
        step=lambda action: (0, 0, False, next(ends), {}),
    )
    act = simulation.acting(env)  # acts once
    assert [act() for _ in range(8)] == [1] * 8
    assert resets == [{"seed": 0}, {}, {}, {}]


def test_ratios_are_medians_of_the_rounds():
    contenders = [
        timed(OURS, "pixels", 16, [1, 1, 1]),
        timed(OURS, "pixels", 64, [100, 40, 90]),
        timed(OURS, "state", 64, [50, 50, 50]),
        timed(PROCESSES, "pixels", 2, [10, 20, 30]),
        timed(FETCH, "state", 3, [5, 10, 5]),
    ]
    processes, fetch = simulation.comparisons(contenders)
    assert list(processes.values()) == [PROCESSES, "pixels", 64, 2, 3, 2, 10]
    assert list(fetch.values()) == [FETCH, "state", 64, 3, 10, 5, 10]
    shown = simulation.report(contenders)
    assert f"3.0 times as fast as {PROCESSES} in 2 processes (2.0 to 10.0)" in shown


def test_what_cannot_run_is_said(capsys):
    assert simulation.opengl(["disabled"]) is None
    args = SimpleNamespace(task="Reach", fetch_python=None, processes=[])
    with ExitStack() as stack:
        assert list(simulation.others(stack, args, None)) == []
    assert "apt install libegl1" in capsys.readouterr().out


def test_others_run_in_processes_of_their_own(capsys):
    """No OpenGL here: only the row of states, which draws nothing."""
    args = SimpleNamespace(task="Reach", fetch_python=None, processes=[])
    with ExitStack() as stack:
        (one,) = simulation.others(stack, args, ("disabled", "nothing"))
        assert (one.name, one.obs) == (PROCESSES, "state")
        assert one.measure(0.05) > 0
        assert one.measure.versions["mujoco"]
    assert one.measure.process.returncode == 0
    assert "Environments from elsewhere" in capsys.readouterr().out


def test_a_contender_that_dies_says_why(tmp_path):
    with (tmp_path / "errors").open("w+") as errors:
        settings = (PROCESSES, "state", "Nonsense", "1")
        with pytest.raises(RuntimeError, match="Nonsense"):
            simulation.Elsewhere(sys.executable, "disabled", settings, errors)


def test_random_steps_are_sane():
    found = simulation.explore("Push", 64 * 100)
    assert found["steps"] == 64 * 100
    assert found["not finite"] == found["outside"] == found["warnings"] == 0
    assert (found["lowest"] > [-0.16, -0.12, 0.015]).all()
    assert (found["highest"] < [0.16, 0.12, 0.2]).all()
    assert (found["lowest"] < found["highest"]).all()


@pytest.mark.parametrize(
    ("value", "seen"),
    [(1.0, "outside"), (np.nan, "warnings")],
)
def test_what_is_not_sane_is_seen(value, seen, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # MuJoCo keeps a log of its warnings
    step = simulation.TabletopVector.step

    def broken(env, actions):
        step(env, actions)
        env._qpos[3, 5] = value

    monkeypatch.setattr(simulation.TabletopVector, "step", broken)
    found = simulation.explore("Push", 1)
    assert found[seen] > 0
    assert (found["not finite"] > 0) == np.isnan(value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "Fly"], "--task must be one of Reach, Push"),
        (["--rounds", "0"], "--rounds must be at least 1; got 0"),
        (["--seconds", "-1"], "--seconds must lie inside"),
        (["--processes", "0"], "--processes must be at least 1; got 0"),
        (["--fetch-python", "/nowhere/python"], "/nowhere/python is no program"),
        (["--out", "/dev/null/here"], "Not a directory"),
        (["--wrong"], "unrecognized arguments: --wrong"),
    ],
)
def test_wrong_arguments_get_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        simulation.main(arguments)
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("program", "option"),
    [
        ("simulation", "--fetch-python"),
        ("learner", "--json"),
        ("three_jobs", "--films"),
    ],
)
def test_it_starts_as_a_program(program, option):
    command = [sys.executable, BENCHMARKS / f"{program}.py", "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0
    assert option in done.stdout


# The learner.

SMALL = {
    "W1": learner.Workload(8, (16,), many=2),
    "W3": learner.Workload(8, (16,), many=2, pixels=16),
}


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(learner, "WORKLOADS", SMALL)
    monkeypatch.setattr(learner, "CUBE", 32)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_our_form_gives_what_the_originals_gives(name, small):
    """Adam moves parameters by about 3e-4 in each of two updates."""
    found = learner.compared(name)
    assert found["losses"] < 1e-5
    assert found["parameters"] < 1e-6


@pytest.mark.slow
def test_batches_are_drawn_from_poses_in_the_step(small):
    workload = SMALL["W3"]
    replay, agent = learner.poses(workload), learner.agent_of(workload)
    batch = replay.sample(jax.random.key(0), workload.batch, 0.97)
    given = workload.batches(1)
    assert batch.s.shape == given.s.shape[1:]
    assert batch.s.dtype == given.s.dtype
    act = learner.acting(learner.sampling, agent, workload, scanned=True)
    assert act() == workload.many


def products(jaxpr):
    """Multiply-adds of all products of matrices in a program."""
    total = 0
    for eqn in jaxpr.eqns:
        inner = (getattr(p, "jaxpr", None) for p in eqn.params.values())
        total += sum(products(j) for j in inner if j is not None)
        if eqn.primitive.name == "dot_general":
            ((over, _), _) = eqn.params["dimension_numbers"]
            shape = eqn.invars[0].aval.shape
            total += eqn.outvars[0].aval.size * int(np.prod([shape[k] for k in over]))
    return total


def test_float_operations_are_those_of_the_program():
    """It has one product that is not needed: the actor's gradient of the states."""
    workload = learner.Workload(32, (16, 12), many=1, repr_dim=8)
    batch = jax.tree.map(lambda x: x[0], workload.batches(1))
    program = jax.make_jaxpr(learner.CRL.update)(learner.agent_of(workload), batch)
    spare = 2 * 32 * 25 * 16
    assert learner.needed(workload) == 2 * (products(program.jaxpr) - spare)


def test_everybody_updates_and_is_shown(small, capsys, tmp_path):
    run = ["--workloads", "W1", "--rounds", "2", "--seconds", "0.001"]
    assert learner.main([*run, "--json", "--out", str(tmp_path)]) == 0
    known = json.loads(capsys.readouterr().out)
    rows = known.pop("rows")
    assert [(row["form"], row["scanned"]) for row in rows] == [
        (what, scanned)
        for what in (learner.ORIGINAL, learner.OURS)
        for scanned in (False, True)
    ]
    assert len(known["ratios"]) == 3
    assert known["differences"]["W1"]["losses"] < 1e-5
    assert known["peak_used"] in ("16 x 16 x 16", "32 x 32 x 32")
    for row in rows:
        assert 0 < row["slowest"] <= row["updates_per_second"] <= row["fastest"]
        assert (row["share_of_peak"] == "") == (row["form"] == learner.ORIGINAL)
    shown = learner.report(rows, known)
    for words in ("ours, in a scan: ", "differ by", ": the peak", known["device"]):
        assert words in shown
    assert json.loads((tmp_path / "learner.json").read_text()) == known
    kept = {k: v for k, v in rows[-1].items() if v != ""}
    kept["scanned"] = str(kept["scanned"])
    assert results.rows(tmp_path / "learner.csv")[-1] == kept


def test_a_name_with_a_comma_is_one_field(tmp_path):
    known = [{"form": "ours, conv", "speed": 1.5}, {"form": 'a "b"', "speed": 2}]
    (tmp_path / "speeds.csv").write_bytes(csv_text(known))
    assert results.rows(tmp_path / "speeds.csv") == known
    assert csv_text([]) == b""


def test_pictures_are_measured_in_calls_where_there_are_convolutions(
    small, monkeypatch
):
    begun = []

    def acting(update, agent, workload, scanned):
        begun.append((update, agent.critic.eyes, scanned))
        return partial(int, 1)

    monkeypatch.setattr(learner, "acting", acting)
    labels = [contender.label for contender in learner.forms("W3")]
    assert labels[0] == learner.ORIGINAL
    assert labels[-1] == "ours, patch, in a scan"
    update, eyes, _ = begun[0]
    assert update is learner.original
    assert isinstance(eyes, learner.Convolution)
    assert not any(
        type(eyes) is learner.Convolution for *_, eyes, scan in begun if scan
    )
    from_poses = [learner.FROM_POSES in label for label in labels]
    assert sum(from_poses) == 3
    for (update, *_), sampled in zip(begun[1:], from_poses[1:], strict=True):
        assert update is (learner.sampling if sampled else learner.CRL.update)


def test_speeds_are_medians_and_shares_are_of_the_same_round(small):
    def form(name, rates, workload="W1"):
        return learner.Form(name=name, workload=workload, measure=None, rates=rates)

    ours = form(learner.OURS, [10.0, 30.0, 20.0])
    other = form(learner.ORIGINAL, [10.0, 10.0, 10.0])
    flops = learner.needed(SMALL["W1"])
    peak = [form("a", [20.0 * flops, 40 * flops, 80 * flops], "peak")]
    peak += [form("b", [1.0, 1.0, 1.0], "peak")]
    row = learner.row(ours, peak)
    assert (row["updates_per_second"], row["share_of_peak"]) == (20, 0.5)
    assert learner.row(other, peak)["share_of_peak"] == ""
    (found,) = learner.comparisons([other, ours])
    assert list(found.values())[-3:] == [2, 1, 3]
    sampled = form(learner.OURS + learner.FROM_POSES, [5.0, 15.0, 10.0])
    found = learner.comparisons([ours, sampled])
    halves = {"times_as_fast": 0.5, "lowest": 0.5, "highest": 0.5}
    assert found == [{"workload": "W1", "of": sampled.label, "to": "ours"} | halves]
    wide, narrow = (form(f"a {name} tower", ours.rates) for name in ("patch", "narrow"))
    (found,) = learner.comparisons([wide, narrow])
    assert (found["of"], found["to"]) == ("a narrow tower", "a patch tower")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workloads", "W9"], "--workloads must be one of W1, W2, W3"),
        (["--rounds", "0"], "--rounds must be at least 1; got 0"),
        (["--seconds", "-1"], "--seconds must lie inside"),
        (["--out", "/dev/null/here"], "Not a directory"),
    ],
)
def test_wrong_arguments_of_the_learner_get_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        learner.main(arguments)
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


# The three jobs.


@pytest.mark.parametrize(
    ("agent", "obs"),
    folders.first_is_quick([("crl", "state"), ("crl", "pixels"), ("gcbc", "pixels")]),
)
def test_three_jobs_of_an_untrained_agent(agent, obs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(three_jobs, "RIVALS", 16)
    monkeypatch.setattr(three_jobs, "CANDIDATES", 2)
    run = folders.begun(tmp_path / "run", "Reach", agent=agent, obs=obs, data="play")
    few = ["--films", "4", "--play", "2", "--out", str(tmp_path)]
    assert three_jobs.main([str(run), *few]) == 0
    rows = results.rows(tmp_path / "three-jobs.csv")
    shown = capsys.readouterr().out
    assert shown.count("\n") == len(rows)
    of = {(r["training"], r["measure"], r["of"]): r["value"] for r in rows}
    assert len(of) == len(rows)
    features = ["tower"] * (obs == "pixels") + ["phi", "psi"] * (agent == "crl")
    for training in ("trained", "untrained"):
        for name in features:
            assert of[training, "probe of hand", name] <= 1
        if agent == "gcbc":
            assert not any("success" in key for key in of)
            continue
        assert of[training, "retrieval", "chance"] == 1 / 16
        assert abs(of[training, "rank correlation", "f"]) <= 1
        assert of[training, "rise", "hand"] >= 0
        assert ((training, "rise", "pixels") in of) == (obs == "pixels")
    # begun() keeps the untrained networks, so both must be the same
    for (training, *what), value in of.items():
        if what[0] != "success":
            assert (
                of["untrained" if training == "trained" else "trained", *what] == value
            )


def test_the_experts_films_hold_what_it_did(tmp_path):
    run = Run("Reach", "smoke", 0, tmp_path, obs="pixels", data="play")
    films = three_jobs.Films(run, 4)
    at, to = films.states[..., :3], films.goal_states[:, None, :3]
    near = np.linalg.norm(at - to, axis=-1) < 0.03
    for i, end in enumerate(films.until):
        assert near[i, end]
        assert not near[i, :end].any()
    pictures = films.of(lambda x: x.reshape(len(x), -1)[:, :5], films.seen)
    assert pictures.shape == (*films.seen.shape[:2], 5)
    drawn = run.env.scene.draw(films.seen[2, :3]).reshape(3, -1)[:, :5]
    np.testing.assert_array_equal(pictures[2, :3], drawn)


def test_three_jobs_refuse_what_is_no_agent(capsys):
    with pytest.raises(SystemExit, match="2"):
        three_jobs.main(["zoo:nobody"])
    said = capsys.readouterr().err
    assert "zoo:NAME must be one of" in said
    assert said.count("\n") == 1


# One task under ten claims.


@pytest.mark.tried("spaces")
@pytest.mark.parametrize("claim", claimed_spaces.CLAIMS, ids=lambda claim: claim.name)
def test_every_claim_tells_of_the_same_places(claim):
    square, plain = (
        claimed_spaces.Square(c) for c in (claim, claimed_spaces.CLAIMS[0])
    )
    rng = np.random.default_rng(0)
    (one, _), (same, _) = square.reset(seed=1), plain.reset(seed=1)
    for _ in range(30):
        assert square.observation_space.contains(one)
        for name, place in same.items():
            np.testing.assert_allclose(claim.read(one[name]), place, atol=0.005)
        action = rng.uniform(-1, 1, 2).astype(np.float32)
        (one, *_), (same, *_) = square.step(action), plain.step(action)
    shown = np.stack([one["achieved_goal"]] * 3)
    assert (square.compute_reward(shown, shown, {}) == 1).all()


def test_recorded_claims_are_those_of_the_benchmark():
    rows = results.rows(results.folder() / "claimed-spaces.csv")
    names = [claim.name for claim in claimed_spaces.CLAIMS for _ in range(3)]
    assert [row["claim"] for row in rows] == names
    assert {row["seed"] for row in rows} == {0, 1, 2}
